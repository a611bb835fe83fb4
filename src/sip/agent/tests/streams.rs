//! Calls over streams: a connection ends, and the call does not.

use super::bench::{Bench, stream};
use super::hostile::{PEER, answer, methods};
use super::*;

fn by(connection: u64) -> Flow {
    Flow {
        connection,
        ..stream(PEER)
    }
}

/// A device registers by a connection.
fn register(bench: &mut Bench, connection: u64, number: u32, instance: &str) {
    let text = format!(
        "REGISTER sip:realm SIP/2.0\r\nVia: SIP/2.0/TCP {PEER};branch=z9hG4bKr{connection}{number}\r\n\
         From: <sip:1001@realm>;tag=1\r\nTo: <sip:1001@realm>\r\nCall-ID: r\r\nCSeq: {number} REGISTER\r\n\
         Contact: <sip:1001@203.0.113.9:{};transport=tcp>;expires=7200;+sip.instance=\"<{instance}>\"\r\n\r\n",
        50_000 + connection
    );
    let (now, agent) = (bench.now, &mut bench.agent);
    agent.receive(now, by(connection), text.as_bytes(), &mut bench.house);
    agent.check().unwrap();
    let (_, bytes) = agent.poll_send().unwrap();
    assert_eq!(Message::parse(&bytes).unwrap().status(), 200);
}

/// A call to the device at the first connection, that is up: its leg.
fn talk(bench: &mut Bench) -> LegKey {
    let call = Call {
        target: Target {
            flow: by(7),
            uri: "sip:1001@203.0.113.9:50007;transport=tcp".to_owned(),
            route: Vec::new(),
        },
        from: ("1002".to_owned(), String::new()),
        to: "sip:1001@realm".to_owned(),
        offer: "v=0 offer".to_owned(),
        headers: Vec::new(),
        account: None,
        max_forwards: None,
    };
    let key = bench.agent.call(bench.now, call).unwrap();
    let invite = bench.outcome().0.remove(0);
    let more = [("Session-Expires", "1800;refresher=uac"), ("Allow", "UPDATE")];
    bench.take(&answer(&invite, 200, "t", &more));
    bench.told.clear();
    key
}

fn begin() -> (Bench, LegKey) {
    let mut bench = Bench::new(by(7));
    register(&mut bench, 7, 1, "one");
    let key = talk(&mut bench);
    (bench, key)
}

fn close(bench: &mut Bench, connection: u64) {
    bench.agent.connection_closed(connection, &mut bench.house);
    bench.agent.check().unwrap();
}

/// What goes out, and by which connection.
fn sent(bench: &mut Bench) -> Vec<(u64, String)> {
    let all = std::iter::from_fn(|| bench.agent.poll_send());
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).split(' ').next().unwrap().to_owned();
    all.map(|(flow, bytes)| (flow.connection, line(&bytes))).collect()
}

#[test]
fn a_device_that_comes_back_is_reached_in_its_call() {
    let (mut bench, key) = begin();
    close(&mut bench, 7);
    // Another device of the user's is another one.
    register(&mut bench, 8, 2, "two");
    register(&mut bench, 9, 3, "one");
    assert!(bench.agent.press(bench.now, key, '5', Duration::from_millis(100)));
    assert_eq!(sent(&mut bench), [(9, "INFO".to_owned())]);
    // And once more; it may come back before the old connection is seen to be gone.
    register(&mut bench, 10, 4, "one");
    close(&mut bench, 9);
    bench.agent.hang_up(bench.now, key, 487, None);
    assert_eq!(sent(&mut bench), [(10, "BYE".to_owned())]);
    bench.agent.check().unwrap();
}

#[test]
fn a_call_that_nobody_is_reached_in_is_refreshed_when_somebody_is() {
    let (mut bench, key) = begin();
    bench.pass(Duration::from_secs(10));
    close(&mut bench, 7);
    assert!(bench.pass(Duration::from_secs(1200)).is_empty());
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    register(&mut bench, 8, 2, "one");
    bench.agent.handle_timeout(bench.now, &mut bench.house);
    let (flow, bytes) = bench.agent.poll_send().unwrap();
    let update = Message::parse(&bytes).unwrap();
    assert_eq!((flow.connection, update.method()), (8, Some(&Method::Update)));
    bench.flow = by(8);
    bench.take(&answer(&update, 200, "t", &[("Session-Expires", "1800;refresher=uac")]));
    assert_eq!(methods(&bench.pass(Duration::from_secs(900))), ["UPDATE"]);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}

#[test]
fn what_went_by_a_connection_that_is_gone_says_nothing_of_the_call() {
    let (mut bench, key) = begin();
    assert_eq!(methods(&bench.pass(Duration::from_secs(900))), ["UPDATE"]);
    bench.agent.press(bench.now, key, '5', Duration::from_millis(100));
    bench.outcome();
    close(&mut bench, 7);
    assert!(bench.pass(Duration::from_secs(40)).is_empty());
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    // The session has an end nevertheless.
    bench.pass(Duration::from_secs(840));
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    bench.pass(Duration::from_secs(60));
    let end = End::of(EndedBy::Time, 408);
    assert_eq!(bench.told, [Event::Ended { leg: key, end }]);
    bench.is_idle();
    // An offer is as one that was not taken.
    register(&mut bench, 7, 2, "one");
    let key = talk(&mut bench);
    assert!(bench.agent.offer(bench.now, key, "v=0 hold"));
    bench.outcome();
    close(&mut bench, 7);
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.told, [Event::OfferAnswered { leg: key, body: None }]);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
    // Who is there and does not answer has no call any more.
    register(&mut bench, 7, 3, "one");
    let key = talk(&mut bench);
    bench.told.clear();
    bench.agent.press(bench.now, key, '5', Duration::from_millis(100));
    bench.pass(Duration::from_secs(40));
    assert!(matches!(bench.told[..], [Event::Ended { .. }]), "{:?}", bench.told);
    bench.is_idle();
}

#[test]
fn a_trunk_is_where_it_always_is() {
    let mut bench = Bench::new(by(7));
    let target = Flow {
        peer: "203.0.113.9:5061".parse().unwrap(),
        ..by(0)
    };
    let trunk = Trunk::to(target, "carrier.example", "4930");
    bench.agent.set_trunk(bench.now, TrunkId(1), trunk).unwrap();
    let invite = hostile::ask("INVITE", "i", 1, "", &hostile::body(""));
    let (_, calls) = bench.take(invite.replace('\n', "\r\n").as_bytes());
    assert_eq!(calls[0].trunk, Some(TrunkId(1)));
    bench.agent.answer(bench.now, calls[0].leg, "v=0");
    let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
    bench.say(&hostile::ask("ACK", "a", 1, &to, ""));
    close(&mut bench, 7);
    bench.agent.hang_up(bench.now, calls[0].leg, 487, None);
    let (flow, _) = bench.agent.poll_send().unwrap();
    assert_eq!(flow, target);
    bench.is_idle();
}
