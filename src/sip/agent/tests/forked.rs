//! What comes of an INVITE of ours, of one peer or of several.

use super::bench::Bench;
use super::hostile::{PEER, answer, ask, bench, call, methods};
use super::*;

/// A reliable provisional answer. Its PRACK.
fn provisional(bench: &mut Bench, invite: &Message, tag: &str, number: u32, body: &str) -> Message {
    let number = number.to_string();
    let more = [("Require", "100rel"), ("RSeq", number.as_str())];
    let mut response = Message::parse(&answer(invite, 183, tag, &more)).unwrap();
    response.body = body.into();
    response.set("Contact", format!("<sip:{tag}@{PEER}>"));
    let (sent, _) = bench.take(&response.to_bytes());
    assert_eq!(methods(&sent), ["PRACK"]);
    sent[0].clone()
}

/// Without a description.
fn accepted(invite: &Message, tag: &str) -> Vec<u8> {
    let mut response = Message::parse(&answer(invite, 200, tag, &[])).unwrap();
    response.body.clear();
    response.remove("Content-Type");
    response.remove("Contact");
    response.to_bytes()
}

fn number(message: &Message) -> u32 {
    message.cseq().unwrap().0
}

/// A request of one of them.
fn inside(invite: &Message, tag: &str, method: &str, number: u32, more: &str) -> String {
    format!(
        "{method} sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{tag}{number};rport\n\
         From: <sip:1001@realm>;tag={tag}\nTo: <sip:1002@realm>;tag={}\nCall-ID: {}\nCSeq: {number} {method}\n{more}\n",
        invite.from_tag().unwrap(),
        invite.call_id(),
    )
}

#[test]
fn an_answer_that_came_early_and_reliably_is_the_answer() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    provisional(&mut bench, &invite, "b", 1, "v=0 of another");
    provisional(&mut bench, &invite, "a", 1, "v=0 early");
    bench.told.clear();
    let (sent, _) = bench.take(&accepted(&invite, "a"));
    assert_eq!(methods(&sent), ["ACK"]);
    let body = b"v=0 early".to_vec();
    assert_eq!(bench.told, [Event::Answered { leg: key, body }]);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
    // One that was not is none, and there is nothing to talk by.
    let (key, invite) = call(&mut bench);
    provisional(&mut bench, &invite, "b", 1, "v=0 of another");
    bench.take(&answer(&invite, 183, "a", &[]));
    bench.told.clear();
    let (sent, _) = bench.take(&accepted(&invite, "a"));
    assert_eq!(methods(&sent), ["ACK", "BYE"]);
    let end = End::of(EndedBy::Own, 488);
    assert_eq!(bench.told, [Event::Ended { leg: key, end }]);
    bench.is_idle();
}

#[test]
fn each_of_those_that_ring_has_numbers_and_a_way_of_its_own() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    for (tag, rseq, expected) in [("a", 1, 2), ("b", 5, 2), ("a", 2, 3), ("b", 6, 3), ("b", 7, 4)] {
        let prack = provisional(&mut bench, &invite, tag, rseq, "v=0 early");
        assert_eq!(number(&prack), expected, "{tag} {rseq}");
        assert_eq!(prack.uri(), format!("sip:{tag}@{PEER}"));
    }
    assert_eq!(bench.status(&inside(&invite, "a", "OPTIONS", 900, "")), 200);
    assert_eq!(bench.status(&inside(&invite, "b", "OPTIONS", 3, "")), 200);
    assert_eq!(
        bench.status(&inside(&invite, "b", "OPTIONS", 3, "X: y\n").replace("bKb", "bKx")),
        500
    );
    let elsewhere = format!("Contact: <sip:elsewhere@{PEER}>\n");
    assert_eq!(bench.status(&inside(&invite, "b", "UPDATE", 4, &elsewhere)), 200);
    let (sent, _) = bench.take(&accepted(&invite, "a"));
    assert_eq!(sent[0].uri(), format!("sip:a@{PEER}"));
    // The other one is ended with a number that it has not seen.
    let (sent, _) = bench.take(&answer(&invite, 200, "b", &[]));
    assert_eq!(methods(&sent), ["ACK", "BYE"]);
    assert!(number(&sent[1]) > 4);
    assert_eq!(
        bench.status(&inside(&invite, "a", "OPTIONS", 900, "X: y\n").replace("bKa", "bKy")),
        500
    );
    bench.agent.hang_up(bench.now, key, 487, None);
    let bye = bench.outcome().0.remove(0);
    assert_eq!((number(&bye), bye.uri()), (4, &*format!("sip:a@{PEER}")));
    bench.is_idle();
    // There are so many, and not more.
    let (key, invite) = call(&mut bench);
    let statuses: Vec<u16> = (0..100)
        .map(|at| bench.status(&inside(&invite, &format!("t{at}"), "OPTIONS", 1, "")))
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        crate::limits::FORKS_MAX
    );
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.take(&answer(&invite, 486, "t", &[]));
    bench.is_idle();
}

#[test]
fn who_rings_for_too_long_is_told_to_stop() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    bench.take(&answer(&invite, 180, "a", &[]));
    bench.told.clear();
    let sent = bench.pass(Duration::from_secs(186));
    assert_eq!(methods(&sent)[0], "CANCEL");
    let end = End::of(EndedBy::Time, 408);
    assert_eq!(bench.told, [Event::Ended { leg: key, end }]);
    let (sent, _) = bench.take(&answer(&invite, 487, "a", &[]));
    assert_eq!(methods(&sent), ["ACK"]);
    assert_eq!(bench.told.len(), 1);
    bench.is_idle();
    // It answers all the same.
    let (_, invite) = call(&mut bench);
    bench.take(&answer(&invite, 180, "a", &[]));
    bench.pass(Duration::from_secs(186));
    let (sent, _) = bench.take(&answer(&invite, 200, "a", &[]));
    assert_eq!(methods(&sent), ["ACK", "BYE"]);
    bench.is_idle();
}

#[test]
fn where_a_peer_sends_a_call_is_told() {
    let to = |user: &str, domain: &str| {
        Some(Forward::To(Named {
            user: user.to_owned(),
            domain: domain.to_owned(),
            gr: None,
        }))
    };
    for (status, contact, forward) in [
        (
            302,
            "<sip:nobody>, \"Al\" <sip:1005@realm>;q=0.5, <sip:1006@realm>",
            to("1005", "realm"),
        ),
        (301, "<tel:+49-30>", to("+4930", "")),
        (302, "<sip:host>", None),
        (302, "<sip:1005@192.0.2.1:5060>", to("1005", "")),
        // At somebody else's.
        (
            302,
            "<sip:1005@elsewhere>, <sip:1006@203.0.113.99>",
            Some(Forward::Elsewhere),
        ),
        (302, "<http://x>", None),
        (305, "<sip:1005@proxy>", None),
        (486, "<sip:1005@realm>", None),
    ] {
        let mut bench = bench();
        let (key, invite) = call(&mut bench);
        let mut response = Message::parse(&answer(&invite, status, "a", &[])).unwrap();
        response.set("Contact", contact);
        bench.take(&response.to_bytes());
        let end = End {
            forward,
            ..End::of(EndedBy::Peer, status)
        };
        assert_eq!(bench.told, [Event::Ended { leg: key, end }]);
        bench.is_idle();
    }
}

#[test]
fn a_description_among_other_parts_is_found() {
    let mut bench = bench();
    let parts = "--b\nContent-Type: application/isup\n\nx\n--b\nContent-Type: application/sdp\n\nv=0 part\n--b--\n";
    let more = format!("Content-Type: multipart/mixed;boundary=b\n\n{parts}");
    let text = ask("INVITE", "i", 1, "", &more).replace('\n', "\r\n");
    let (_, calls) = bench.take(text.as_bytes());
    assert_eq!(calls[0].body.as_deref(), Some(&b"v=0 part"[..]));
    bench.agent.hang_up(bench.now, calls[0].leg, 486, None);
    bench.is_idle();
    let (key, invite) = call(&mut bench);
    let mut response = Message::parse(&answer(&invite, 200, "a", &[])).unwrap();
    response.set_body("multipart/mixed;boundary=b", parts);
    bench.take(&response.to_bytes());
    let body = b"v=0 part".to_vec();
    assert!(bench.told.contains(&Event::Answered { leg: key, body }));
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}
