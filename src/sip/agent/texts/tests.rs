//! Texts both ways, by whom they are taken.

use std::time::Duration;

use super::super::exercise::{PEER, World, at, flow};
use super::super::{Access, Trunk};
use super::*;
use crate::digest::Secret;

fn letter(to: usize, body: &str) -> Letter {
    Letter {
        target: Target {
            flow: flow(to),
            uri: format!("sip:1002@{}", at(to)),
            route: Vec::new(),
        },
        from: ("1001".to_owned(), "Al".to_owned()),
        to: "sip:1002@realm".to_owned(),
        body: body.to_owned(),
        account: None,
    }
}

fn send(world: &mut World, letter: Letter) -> TextId {
    let id = world.agents[0].text(world.now, letter).unwrap();
    world.settle();
    id
}

fn came(world: &mut World, number: usize) -> Text {
    let found = world.events[number].iter().find_map(|event| match event {
        Event::Text(text) => Some((**text).clone()),
        _ => None,
    });
    let text = found.expect("a text came");
    world.told(number, &Event::Text(Box::new(text.clone())));
    text
}

#[test]
fn a_text_comes_through_and_its_fate_is_told() {
    let mut world = World::new(2);
    for (texts, is_taken) in [(200, true), (202, true), (404, false), (405, false), (0, false)] {
        world.houses[1].texts = texts;
        let text = send(&mut world, letter(1, "Grüße\r\n\r\nAl"));
        let status = texts.max(300 * u16::from(texts == 0));
        assert!(world.told(0, &Event::TextSent { text, status }), "{texts}");
        if is_taken {
            let text = came(&mut world, 1);
            assert_eq!(text.from, ("1001".to_owned(), "realm".to_owned(), "Al".to_owned()));
            assert_eq!(text.to, ("1002".to_owned(), "192.0.2.2".to_owned()));
            assert_eq!(
                (text.body.as_str(), text.leg, text.trunk),
                ("Grüße\r\n\r\nAl", None, None)
            );
        }
        assert!(world.events[1].is_empty(), "{:?}", world.events[1]);
    }
    // What is lost is sent again, and told once; what never comes is told, too.
    world.houses[1].texts = 200;
    world.lost = ["MESSAGE", "SIP/2.0 200"].map(str::to_owned).to_vec();
    let text = send(&mut world, letter(1, "again"));
    world.seconds(10);
    assert!(world.told(0, &Event::TextSent { text, status: 200 }));
    assert_eq!(came(&mut world, 1).body, "again");
    assert!(world.events[1].is_empty(), "{:?}", world.events[1]);
    let text = send(&mut world, letter(PEER, "nobody"));
    world.seconds(33);
    assert!(world.told(0, &Event::TextSent { text, status: 408 }));
    world.assert_empty();
}

#[test]
fn texts_by_a_trunk_answer_what_it_asks_and_come_from_it_without() {
    let mut world = World::new(2);
    world.houses[1].access = Access::Password("realm".to_owned());
    let trunk = Trunk {
        secret: Some(Secret::Password("secret".to_owned())),
        ..Trunk::to(flow(1), "carrier.example", "4930")
    };
    world.agents[0].set_trunk(world.now, TrunkId(3), trunk).unwrap();
    let by_trunk = |from: &str| Letter {
        account: Some(3),
        from: (from.to_owned(), String::new()),
        ..letter(1, "x")
    };
    let text = send(&mut world, by_trunk("4930"));
    assert_eq!(world.lines(), ["MESSAGE", "407", "MESSAGE", "200"]);
    assert!(world.told(0, &Event::TextSent { text, status: 200 }));
    assert_eq!(came(&mut world, 1).from.1, "carrier.example");
    send(&mut world, by_trunk("4930"));
    assert_eq!(world.lines(), ["MESSAGE", "200"], "it is known by now");
    // Under another name the password is none.
    let text = send(&mut world, by_trunk("4931"));
    assert!(world.told(0, &Event::TextSent { text, status: 407 }));
    world.lines();
    // The other way: who is there needs none.
    world.houses[0].access = Access::Password("realm".to_owned());
    let back = world.agents[1].text(world.now, letter(0, "y")).unwrap();
    world.settle();
    assert!(world.told(
        1,
        &Event::TextSent {
            text: back,
            status: 200
        }
    ));
    assert_eq!(came(&mut world, 0).trunk, Some(TrunkId(3)));
    world.agents[0].remove_trunk(world.now, TrunkId(3));
    let back = world.agents[1].text(world.now, letter(0, "z")).unwrap();
    world.settle();
    assert!(world.told(
        1,
        &Event::TextSent {
            text: back,
            status: 407
        }
    ));
    world.assert_empty();
}

#[test]
fn what_is_no_text_or_is_too_long_is_refused() {
    let mut world = World::new(1);
    let mut number = 0;
    let mut say = |world: &mut World, kind: &str, body: &[u8]| {
        number += 1;
        let head = format!(
            "MESSAGE sip:1002@realm SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bKm{number};rport\r\n\
             From: <sip:1001@realm>;tag=1\r\nTo: <sip:1002@realm>\r\nCall-ID: m{number}\r\nCSeq: 1 MESSAGE\r\n{kind}\r\n"
        );
        let bytes = [head.as_bytes(), body].concat();
        world.agents[0].receive(world.now, flow(PEER), &bytes, &mut world.houses[0]);
        world.settle();
        world.hear()
    };
    assert_eq!(say(&mut world, "", b"plain").status(), 200);
    assert_eq!(
        say(&mut world, "Content-Type: text/plain;charset=utf-8\r\n", b"").status(),
        200
    );
    let composing = say(&mut world, "Content-Type: application/im-iscomposing+xml\r\n", b"<x/>");
    assert_eq!((composing.status(), composing.get("Accept")), (415, Some("text/plain")));
    assert_eq!(say(&mut world, "", b"\xFF\xFE").status(), 400);
    assert_eq!(say(&mut world, "", &vec![b'a'; TEXT_BYTES_MAX + 1]).status(), 413);
    assert_eq!(say(&mut world, "", &vec![b'a'; TEXT_BYTES_MAX]).status(), 200);
    assert_eq!(world.events[0].len(), 3);
    // Ours: what a datagram may have, and on streams what we would take.
    let long = "a".repeat(TEXT_DATAGRAM_BYTES_MAX);
    let mut own = letter(PEER, &long);
    assert_eq!(world.agents[0].text(world.now, own.clone()), Err(TextError::TooLong));
    own.target.flow.transport = crate::flow::Transport::Tcp;
    assert!(world.agents[0].text(world.now, own.clone()).is_ok());
    own.body = "a".repeat(TEXT_BYTES_MAX + 1);
    assert_eq!(world.agents[0].text(world.now, own), Err(TextError::TooLong));
    world.pass(Duration::from_secs(40));
    world.assert_empty();
}

#[test]
fn a_text_in_a_call_is_of_the_call() {
    let mut world = World::new(2);
    let [own, other] = world.talk(0, 1);
    let say = |world: &mut World| {
        let leg = world.agents[0].legs.get_mut(&own).unwrap();
        let mut request = leg.dialog.request(Method::Message);
        // Others than those of the call: nobody checked them.
        for (name, user) in [("From", "1000"), ("To", "1001")] {
            let forged = request.get(name).unwrap().replace(user, "1007");
            request.set(name, forged);
        }
        request.push_front("Via", world.agents[0].via(crate::flow::Transport::Udp));
        request.set_body(TEXT, "in the call");
        world.agents[1].receive(world.now, flow(0), &request.to_bytes(), &mut world.houses[1]);
        world.lines();
        world.settle();
        world.lines()
    };
    // Its peer was let in before.
    world.houses[1].access = Access::Password("realm".to_owned());
    assert_eq!(say(&mut world), ["200"]);
    let text = came(&mut world, 1);
    assert_eq!(
        (text.leg, text.from.0.as_str(), text.to.0.as_str()),
        (Some(other), "1000", "1001")
    );
    world.houses[1].texts = 404;
    assert_eq!(say(&mut world), ["404"]);
    assert!(world.events[1].is_empty());
    world.agents[0].hang_up(world.now, own, 487, None);
    world.settle();
    world.assert_empty();
}
