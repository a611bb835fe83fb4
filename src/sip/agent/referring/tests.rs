//! Transfers that we ask for.

use super::super::event::{EndedBy, Event as Told};
use super::super::exercise::{PEER, World, flow};
use super::super::{Call, Named, Target, Trunk, TrunkId};
use super::*;
use crate::digest::Secret;

fn progress(leg: LegKey, status: u16) -> Told {
    Told::ReferProgress { leg, status }
}

fn refer(world: &mut World, leg: LegKey, replaces: Option<LegKey>) -> bool {
    let done = world.agents[0].refer(world.now, leg, "sip:1003@realm", replaces);
    world.settle();
    done
}

#[test]
fn a_peer_is_asked_to_call_somebody_else_and_tells_how_it_goes() {
    let mut world = World::new(2);
    let [own, other] = world.talk(0, 1);
    world.lines();
    assert!(refer(&mut world, own, None));
    assert!(!refer(&mut world, own, None), "one is under way");
    let asked = Told::Transfer {
        leg: other,
        to: Named {
            user: "1003".to_owned(),
            domain: "realm".to_owned(),
            gr: None,
        },
        replaces: None,
    };
    assert!(world.told(1, &asked));
    let sent = world.messages();
    assert_eq!(sent[0].get("Refer-To"), Some("<sip:1003@realm>"));
    assert!(sent[0].get("Referred-By").is_some() && sent[0].get("Contact").is_some());
    for status in [100, 180, 200] {
        world.agents[1].tell_transfer(world.now, other, status);
        world.settle();
        assert!(world.told(0, &progress(own, status)), "{status}");
    }
    // Report 23: the last notice was answered before the end.
    assert!(world.events[0].is_empty());
    world.agents[0].hang_up(world.now, own, 487, None);
    world.settle();
    world.assert_empty();
}

#[test]
fn a_transfer_that_fails_keeps_the_call_and_may_be_tried_again() {
    let mut world = World::new(2);
    let [own, other] = world.talk(0, 1);
    assert!(refer(&mut world, own, None));
    world.agents[1].tell_transfer(world.now, other, 486);
    world.settle();
    assert!(world.told(0, &progress(own, 486)));
    // Lost on the way, both ways.
    world.lost = ["REFER", "SIP/2.0 202", "NOTIFY", "SIP/2.0 200"]
        .map(str::to_owned)
        .to_vec();
    assert!(refer(&mut world, own, None));
    world.seconds(5);
    world.agents[1].tell_transfer(world.now, other, 404);
    world.settle();
    world.seconds(5);
    assert!(world.told(0, &progress(own, 404)));
    assert!(world.events[0].is_empty(), "told once");
    // One that says nothing any more.
    assert!(refer(&mut world, own, None));
    world.seconds(REFER_WAIT.as_secs() + 1);
    assert!(world.told(0, &progress(own, 408)));
    assert!(world.agents[0].legs[&own].is_up());
    world.agents[0].hang_up(world.now, own, 487, None);
    world.settle();
    world.assert_empty();
}

#[test]
fn an_attended_transfer_names_the_other_call() {
    let mut world = World::new(3);
    let [own, other] = world.talk(0, 1);
    let [second, third] = world.talk(0, 2);
    world.lines();
    assert!(!refer(&mut world, own, Some(LegKey(999_999))), "there is no such call");
    assert!(refer(&mut world, own, Some(second)));
    let sent = world.messages();
    let named = sent[0].get("Refer-To").unwrap().to_owned();
    assert!(
        named.starts_with("<sip:1003@realm?Replaces=") && !named.contains(';'),
        "{named}"
    );
    // What is named is found where that call is.
    let address = crate::message::syntax::NameAddress::parse(&named)
        .unwrap()
        .address()
        .unwrap();
    let (name, value) = &address.headers[0];
    assert_eq!(name, "Replaces");
    assert_eq!(world.agents[2].leg_of_replaces(value), Some(third));
    // Not where it is not.
    assert_eq!(world.agents[1].legs[&other].transfer, None);
    assert!(world.told(0, &progress(own, 481)));
    for leg in [own, second] {
        world.agents[0].hang_up(world.now, leg, 487, None);
    }
    world.settle();
    world.assert_empty();
}

/// A call to the peer that is up.
fn call_peer(world: &mut World, account: Option<u64>) -> LegKey {
    let call = Call {
        target: Target {
            flow: flow(PEER),
            uri: "sip:2@192.0.2.100".to_owned(),
            route: Vec::new(),
        },
        from: ("1001".to_owned(), String::new()),
        to: "sip:2@realm".to_owned(),
        offer: "v=0 offer".to_owned(),
        headers: Vec::new(),
        account,
        max_forwards: None,
    };
    let leg = world.agents[0].call(world.now, call).unwrap();
    world.settle();
    let invite = world.heard.pop().unwrap();
    let mut response = Message::response(&invite, 200, "OK");
    response.set("To", "<sip:2@realm>;tag=peer");
    response.push("Contact", "<sip:2@192.0.2.100>");
    response.set_body("application/sdp", "v=0 answer");
    world.say(0, &String::from_utf8(response.to_bytes()).unwrap());
    world.heard.clear();
    world.events[0].clear();
    leg
}

fn notify(world: &mut World, refer: &Message, number: u32, event: &str, state: &str, body: &str) -> u16 {
    let from = refer.get("To").unwrap();
    let to = refer.get("From").unwrap();
    let text = format!(
        "NOTIFY sip:1001@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bKn{number};rport\r\nFrom: {from}\r\n\
         To: {to}\r\nCall-ID: {}\r\nCSeq: {number} NOTIFY\r\nEvent: {event}\r\nSubscription-State: {state}\r\n\
         Content-Type: message/sipfrag;version=2.0\r\n\r\n{body}",
        refer.call_id()
    );
    world.say(0, &text);
    world.heard.pop().unwrap().status()
}

#[test]
fn notices_are_read_as_peers_write_them() {
    let mut world = World::new(1);
    let leg = call_peer(&mut world, None);
    assert!(!world.agents[0].refer(world.now, leg, "not an address", None));
    assert!(!world.agents[0].refer(world.now, leg, "sip:a@b?X=y", None));
    assert!(refer(&mut world, leg, None));
    let asked = world.hear();
    let number = asked.cseq().unwrap().0;
    let own = format!("refer;id={number}");
    // Before the answer to the REFER.
    assert_eq!(
        notify(&mut world, &asked, 1, &own, "active;expires=60", "SIP/2.0 100 Trying"),
        200
    );
    assert!(world.told(0, &progress(leg, 100)));
    world.heard.push(asked.clone());
    world.answer(0, &Method::Refer, 202, &[]);
    let other = format!("refer;id={}", number + 1);
    for (number, event, state, body) in [
        (2, other.as_str(), "terminated", "SIP/2.0 200 OK"),
        (3, "presence", "terminated", "SIP/2.0 200 OK"),
        (4, "refer", "active", "nonsense"),
        (5, "refer", "active", "SIP/2.0 999 X"),
    ] {
        assert_eq!(notify(&mut world, &asked, number, event, state, body), 200);
        assert!(world.events[0].is_empty(), "{event} {body}");
    }
    assert_eq!(
        notify(
            &mut world,
            &asked,
            6,
            "Refer",
            "pending",
            "sip/2.0  183 Progress\r\nX: y\r\n"
        ),
        200
    );
    assert!(world.told(0, &progress(leg, 183)));
    // Over without a word is no success.
    assert_eq!(
        notify(&mut world, &asked, 7, "refer", "terminated;reason=noresource", ""),
        200
    );
    assert!(world.told(0, &progress(leg, 408)));
    assert_eq!(
        notify(&mut world, &asked, 8, "refer", "terminated", "SIP/2.0 200 OK"),
        200
    );
    assert!(world.events[0].is_empty(), "told once");
    world.agents[0].hang_up(world.now, leg, 487, None);
    world.settle();
    world.answer(0, &Method::Bye, 200, &[]);
    world.assert_empty();
}

#[test]
fn a_peer_that_does_not_transfer_says_so_or_asks_who_we_are() {
    let mut world = World::new(1);
    let trunk = Trunk {
        secret: Some(Secret::Password("secret".to_owned())),
        ..Trunk::to(flow(PEER), "realm", "4930")
    };
    world.agents[0].set_trunk(world.now, TrunkId(3), trunk).unwrap();
    let leg = call_peer(&mut world, Some(3));
    for status in [405, 603, 501] {
        assert!(refer(&mut world, leg, None));
        world.answer(0, &Method::Refer, status, &[]);
        assert!(world.told(0, &progress(leg, status)));
    }
    assert!(refer(&mut world, leg, None));
    let asked = [(
        "Proxy-Authenticate",
        "Digest realm=\"realm\", nonce=\"n\", qop=\"auth\"",
    )];
    let first = world.answer(0, &Method::Refer, 407, &asked);
    let second = world.answer(0, &Method::Refer, 202, &[]);
    let (first, number) = (first.cseq().unwrap().0, second.cseq().unwrap().0);
    assert_eq!((number, second.get("Proxy-Authorization").is_some()), (first + 1, true));
    // It is known by the number that was taken.
    let event = format!("refer;id={number}");
    assert_eq!(
        notify(&mut world, &second, 1, &event, "terminated", "SIP/2.0 200 OK"),
        200
    );
    assert!(world.told(0, &progress(leg, 200)));
    // A call that ends takes its transfer with it.
    assert!(refer(&mut world, leg, None));
    world.answer(0, &Method::Refer, 202, &[]);
    let bye = format!(
        "BYE sip:1001@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bKb;rport\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 9 BYE\r\n\r\n",
        second.get("To").unwrap(),
        second.get("From").unwrap(),
        second.call_id()
    );
    world.say(0, &bye);
    let ended = world.events[0]
        .iter()
        .any(|event| matches!(event, Told::Ended { end, .. } if end.by == EndedBy::Peer));
    assert!(ended && !refer(&mut world, leg, None));
    world.agents[0].remove_trunk(world.now, TrunkId(3));
    world.assert_empty();
}
