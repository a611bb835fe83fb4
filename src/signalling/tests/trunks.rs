//! Carriers of SIP: which of them a call goes by, what they are told and what they tell.

use std::net::SocketAddr;

use moqswitch_signalling::calls::Number;
use moqswitch_signalling::sip::agent::{NumberRule, NumberRules, Passes, Trunk};
use moqswitch_signalling::sip::flow::Flow;
use moqswitch_signalling::sip::message::{Framed, Framer, Message, Method};
use moqswitch_signalling::{TrunkGroupSettings, TrunkPlan, TrunkSettings};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::gateway::{House, Telephone, description};

/// A socket that is a carrier; where the switch is it is told later.
pub(crate) async fn carrier(user: &str) -> Telephone {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    Telephone {
        socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        switch: nowhere,
        user: user.to_owned(),
        sent: 0,
    }
}

pub(crate) fn trunk(name: &str, carrier: &Telephone) -> TrunkSettings {
    let peer = carrier.socket.local_addr().unwrap();
    TrunkSettings {
        number: Number::new(name).unwrap(),
        trunk: Trunk::to(Flow::datagrams(peer), "carrier.example", "line"),
        encryption: None,
        srtp: None,
        calls_max: 0,
        numbers_out: NumberRules::default(),
        numbers_in: NumberRules::default(),
    }
}

fn rules(prefix: &str, strip: usize, add: &str) -> NumberRules {
    NumberRules::new(vec![NumberRule::new(prefix, strip, add)]).unwrap()
}

/// The request that came, and from where the switch sends.
async fn invited(carrier: &mut Telephone) -> Message {
    let mut bytes = [0; 4096];
    loop {
        let (length, from) = carrier.socket.recv_from(&mut bytes).await.unwrap();
        carrier.switch = from;
        let message = Message::parse(&bytes[..length]).unwrap();
        if message.method() == Some(&Method::Invite) {
            return message;
        }
    }
}

fn group(members: &[(&str, u16, u16)]) -> TrunkGroupSettings {
    let members = members
        .iter()
        .map(|(name, priority, weight)| (Number::new(name).unwrap(), *priority, *weight));
    TrunkGroupSettings {
        number: Number::new("out").unwrap(),
        members: members.collect(),
    }
}

#[tokio::test]
async fn a_call_goes_by_the_next_trunk_where_the_first_cannot() {
    let (mut first, mut second) = (carrier("first").await, carrier("second").await);
    let mut city = trunk("city", &first);
    city.numbers_out = rules("0", 1, "+49");
    city.numbers_in = rules("+49", 3, "0");
    city.trunk.passes = Passes::new(&["X-*"]).unwrap();
    let house = House::with(TrunkPlan {
        trunks: vec![city, trunk("spare", &second)],
        groups: vec![group(&[("city", 0, 1), ("spare", 1, 1)])],
    })
    .await;
    house.plan("[[rules]]\nto = \"_0.\"\ntarget = \"trunk/out\"\n").await;
    let mut desk = house.telephone("desk").await;
    let mut invite = desk.request(Method::Invite, "sip:030123@moqswitch", "030123");
    invite.push("Contact", desk.contact());
    invite.push("X-Customer", "7");
    invite.set_body("application/sdp", description("0 101"));
    desk.send(&invite).await;

    // As the carrier writes numbers, with the header that may pass.
    let at_first = invited(&mut first).await;
    assert!(at_first.uri().starts_with("sip:+4930123@"), "{}", at_first.uri());
    assert_eq!(at_first.get("X-Customer"), Some("7"));
    first.answer(&at_first, 503, None).await;
    let at_second = invited(&mut second).await;
    assert!(at_second.uri().starts_with("sip:030123@"), "{}", at_second.uri());
    second.answer(&at_second, 200, Some(&description("0 101"))).await;
    let answered = desk.response().await;
    assert_eq!(answered.status(), 200);
    let body = String::from_utf8_lossy(&answered.body).into_owned();
    assert!(body.contains("RTP/AVP 0 101"), "{body}");

    // It ends from there, and the trunk's place is free.
    // Calls are counted there once a second.
    let shown = loop {
        let shown = house.switch.get("/api/trunks").await.json();
        if shown.to_string().contains("\"calls\":1") {
            break shown;
        }
        house.switch.breathe().await;
    };
    let calls = |name: &str| {
        let rows = shown["trunks"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["calls"].clone()
    };
    assert_eq!(
        (calls("city"), calls("spare"), calls("out")),
        (json!(0), json!(1), json!(1)),
        "{shown}"
    );
}

#[tokio::test]
async fn who_takes_a_place_behind_a_full_trunk_is_one_for_one() {
    let mut there = carrier("+4917012345").await;
    let mut city = trunk("city", &there);
    city.calls_max = 1;
    let house = House::with(TrunkPlan {
        trunks: vec![city],
        groups: Vec::new(),
    })
    .await;
    let mut alice = house.switch.phone("alice").await;
    there.switch = house.sip();
    let wanted = |there: &mut Telephone, call: &str| {
        let mut invite = there.request(Method::Invite, "sip:alice@moqswitch", "alice");
        invite.set("Call-ID", call);
        invite.push("Contact", there.contact());
        invite.set_body("application/sdp", description("0"));
        invite
    };
    let mut named: Option<String> = None;
    // More than once: each leaves the place that it took.
    for call in ["one", "two", "three"] {
        let mut invite = wanted(&mut there, call);
        if let Some(named) = &named {
            invite.push("Replaces", named);
        }
        there.send(&invite).await;
        if named.is_none() {
            let incoming = alice.expect("incomingCall").await;
            alice.send("answer", json!({ "callId": incoming["callId"] })).await;
        }
        let answer = there.response().await;
        assert_eq!((answer.status(), answer.call_id()), (200, call));
        let tag = answer.to_tag().unwrap();
        let mut ack = Message::request(Method::Ack, answer.get("Contact").unwrap().trim_matches(['<', '>']));
        for header in ["Via", "From", "To", "Call-ID"] {
            ack.push(header, answer.get(header).unwrap());
        }
        ack.push("CSeq", format!("{} ACK", answer.cseq().unwrap().0));
        there.send(&ack).await;
        if named.is_some() {
            let bye = there.incoming(&Method::Bye).await;
            there.answer(&bye, 200, None).await;
        }
        let from = answer.from_tag().unwrap();
        named = Some(format!("{call};to-tag={tag};from-tag={from}"));
    }
    let other = wanted(&mut there, "other");
    there.send(&other).await;
    assert_eq!(there.status().await, 503);
}

#[tokio::test]
async fn callers_of_a_carrier_are_nobody_of_here_and_have_so_many_places() {
    let mut there = carrier("+4917012345").await;
    let mut city = trunk("city", &there);
    city.calls_max = 1;
    city.numbers_in = rules("+49", 3, "0");
    let house = House::with(TrunkPlan {
        trunks: vec![city],
        groups: Vec::new(),
    })
    .await;
    let mut alice = house.switch.phone("alice").await;
    there.switch = house.sip();
    let mut invite = there.request(Method::Invite, "sip:alice@moqswitch", "alice");
    invite.push("Contact", there.contact());
    invite.set_body("application/sdp", description("0"));
    there.send(&invite).await;
    let incoming = alice.expect("incomingCall").await;
    assert_eq!(incoming["from"], "017012345", "{incoming}");
    // One is all that it may have.
    let mut other = there.request(Method::Invite, "sip:alice@moqswitch", "alice");
    other.set("Call-ID", "another");
    other.push("Contact", there.contact());
    other.set_body("application/sdp", description("0"));
    there.send(&other).await;
    assert_eq!(there.status().await, 503);
}

#[tokio::test]
async fn what_is_too_long_for_a_datagram_goes_to_a_carrier_by_tcp_if_it_takes_that() {
    let mut first = carrier("first").await;
    let (second, listener) = loop {
        // Somebody else may have the port of TCP.
        let second = carrier("second").await;
        if let Ok(listener) = TcpListener::bind(second.socket.local_addr().unwrap()).await {
            break (second, listener);
        }
    };
    let plan = |name: &str, carrier: &Telephone| {
        let mut trunk = trunk(name, carrier);
        trunk.trunk.passes = Passes::new(&["X-*"]).unwrap();
        trunk
    };
    let house = House::with(TrunkPlan {
        trunks: vec![plan("city", &first), plan("spare", &second)],
        groups: vec![group(&[("city", 0, 1), ("spare", 1, 1)])],
    })
    .await;
    house.plan("[[rules]]\nto = \"_0.\"\ntarget = \"trunk/out\"\n").await;
    let mut desk = house.telephone("desk").await;
    let mut invite = desk.request(Method::Invite, "sip:030123@moqswitch", "030123");
    invite.push("Contact", desk.contact());
    for number in 0..6 {
        invite.push(&format!("X-Customer-{number}"), "7".repeat(200));
    }
    invite.set_body("application/sdp", description("0 101"));
    desk.send(&invite).await;

    // Nobody takes connections there: it comes as a datagram, in pieces if need be.
    let at_first = invited(&mut first).await;
    assert!(at_first.to_bytes().len() > 1300 && at_first.get("Via").unwrap().starts_with("SIP/2.0/UDP "));
    first.answer(&at_first, 503, None).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut framer = Framer::default();
    let at_second = loop {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).await.unwrap();
        framer.push(&bytes[..length]);
        if let Ok(Some(Framed::Message(message))) = framer.poll() {
            break Message::parse(&message).unwrap();
        }
    };
    // Its connection is gone: the answer comes by another one, to where Via says (section 18.2.2).
    drop(stream);
    let via = at_second.get("Via").and_then(|via| via.strip_prefix("SIP/2.0/TCP "));
    let at: SocketAddr = via.and_then(|via| via.split(';').next()).unwrap().parse().unwrap();
    assert_ne!(at, second.switch, "the port of TCP is another one");
    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut answer = Message::response(&at_second, 200, "OK");
    answer.set("To", format!("{};tag=second", at_second.get("To").unwrap()));
    answer.push(
        "Contact",
        format!("<sip:second@{}>", second.socket.local_addr().unwrap()),
    );
    answer.set_body("application/sdp", description("0 101"));
    stream.write_all(&answer.to_bytes()).await.unwrap();
    assert_eq!(desk.response().await.status(), 200);
    // What is short comes as it always did.
    let mut bytes = [0; 4096];
    let (length, _) = second.socket.recv_from(&mut bytes).await.unwrap();
    assert_eq!(Message::parse(&bytes[..length]).unwrap().method(), Some(&Method::Ack));
}
