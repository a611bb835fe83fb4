//! Addresses of single devices (RFC 5627): who calls one, or is handed to one, reaches it and no other telephone of its number.

use moqswitch_signalling::TrunkPlan;
use moqswitch_signalling::sip::agent::{NumberRule, NumberRules};
use moqswitch_signalling::sip::message::{Message, Method};
use serde_json::json;

use crate::gateway::{House, Telephone, description};
use crate::trunks::{carrier, trunk};

/// A telephone with a name for ever, and the address that it is told for it.
async fn named(house: &House, user: &str, name: &str) -> (Telephone, String) {
    let telephone = house.telephone_at(user).await;
    let (telephone, answer) = register(telephone, name, 60).await;
    let contacts: Vec<&str> = answer.items("Contact").collect();
    let own = contacts
        .iter()
        .find(|contact| contact.contains(&format!("uuid:{name}>")))
        .unwrap();
    let gruu = own.split("pub-gruu=\"").nth(1).and_then(|rest| rest.split('"').next());
    let gruu = gruu.unwrap_or_else(|| panic!("{own}")).to_owned();
    assert_eq!(gruu, format!("sip:{user}@moqswitch;gr=urn:uuid:{name}"));
    (telephone, gruu)
}

async fn register(mut telephone: Telephone, name: &str, seconds: u32) -> (Telephone, Message) {
    let user = telephone.user.clone();
    let contact = telephone.contact();
    let mut register = telephone.request(Method::Register, "sip:moqswitch", &user);
    register.push(
        "Contact",
        format!("{contact};+sip.instance=\"<urn:uuid:{name}>\";expires={seconds}"),
    );
    register.push("Supported", "gruu");
    telephone.send(&register).await;
    let answer = telephone.response().await;
    assert_eq!(answer.status(), 200);
    (telephone, answer)
}

/// An INVITE in a call of this name.
async fn invite(caller: &mut Telephone, uri: &str, call: &str) -> Message {
    let mut invite = caller.request(Method::Invite, uri, "desk");
    invite.set("Call-ID", call);
    invite.push("Contact", caller.contact());
    invite.set_body("application/sdp", description("0 101"));
    caller.send(&invite).await;
    invite
}

/// In the dialog that this answer began.
fn inside(caller: &mut Telephone, method: Method, answer: &Message) -> Message {
    let contact = answer.get("Contact").unwrap().trim_matches(['<', '>']).to_owned();
    let mut request = caller.request(method.clone(), &contact, "desk");
    request.set("To", answer.get("To").unwrap());
    request.set("Call-ID", answer.call_id());
    if method == Method::Ack {
        request.set("CSeq", format!("{} ACK", answer.cseq().unwrap().0));
    }
    request
}

/// Takes a call, and says that it is at its own address of one device, as RFC 5627 has it.
async fn accept(telephone: &Telephone, called: &Message, gruu: &str) {
    let mut response = Message::response(called, 200, "OK");
    response.set("To", format!("{};tag=own", called.get("To").unwrap()));
    response.push("Contact", format!("<{gruu}>"));
    response.set_body("application/sdp", description("0 101"));
    telephone.send(&response).await;
}

#[tokio::test]
async fn who_calls_a_device_reaches_it_alone() {
    let house = House::start().await;
    let (first, _) = named(&house, "desk", "a").await;
    let (second, gruu) = named(&house, "desk", "b").await;
    let mut caller = house.telephone("caller").await;
    invite(&mut caller, &gruu, "one").await;
    let called = second.incoming(&Method::Invite).await;
    let contact = second.contact();
    assert_eq!(called.uri(), contact.trim_matches(['<', '>']));
    assert!(
        called.get("Contact").unwrap().starts_with("<sip:caller@127.0.0.1:"),
        "as always"
    );
    accept(&second, &called, &gruu).await;
    let accepted = caller.response().await;
    assert_eq!(accepted.status(), 200);
    let ack = inside(&mut caller, Method::Ack, &accepted);
    caller.send(&ack).await;
    second.incoming(&Method::Ack).await;
    // Its own address of one device is its Contact: what is said in the call comes to it all the same.
    let bye = inside(&mut caller, Method::Bye, &accepted);
    caller.send(&bye).await;
    let bye = second.incoming(&Method::Bye).await;
    assert_eq!(bye.uri(), contact.trim_matches(['<', '>']));
    second.answer(&bye, 200, None).await;
    assert_eq!(caller.status().await, 200);

    // The number is that of both, and this is the first that the first one hears.
    let mut other = house.telephone("other").await;
    invite(&mut other, "sip:desk@moqswitch", "two").await;
    let at_first = first.incoming(&Method::Invite).await;
    assert!(at_first.get("From").unwrap().contains("sip:other@"), "{at_first:?}");
    assert!(
        second
            .incoming(&Method::Invite)
            .await
            .get("From")
            .unwrap()
            .contains("sip:other@")
    );
}

#[tokio::test]
async fn a_device_that_is_away_is_another_thing_than_one_that_nobody_knows() {
    let house = House::start().await;
    let (_first, _) = named(&house, "desk", "a").await;
    let (second, gruu) = named(&house, "desk", "b").await;
    let (_second, answer) = register(second, "b", 0).await;
    assert!(answer.items("Contact").all(|contact| !contact.contains("uuid:b")));
    let mut caller = house.telephone("caller").await;
    for (number, (uri, status)) in [
        (gruu.as_str(), 480),
        ("sip:desk@moqswitch;gr=urn:uuid:c", 404),
        ("sip:desk@moqswitch;gr", 404),
        ("sip:nobody@moqswitch;gr=urn:uuid:a", 404),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("call-{number}");
        invite(&mut caller, uri, &name).await;
        assert_eq!(answer_to(&caller, &name).await.status(), status, "{uri}");
    }
}

#[tokio::test]
async fn who_calls_by_a_trunk_reaches_a_device_only_where_it_reaches_its_number() {
    let mut there = carrier("030").await;
    let mut city = trunk("city", &there);
    // Whatever is called there, it is the desk.
    city.numbers_in = NumberRules::new(vec![NumberRule::new("third", 5, "desk")]).unwrap();
    let house = House::with(TrunkPlan {
        trunks: vec![city],
        groups: Vec::new(),
    })
    .await;
    there.switch = house.sip();
    let (third, to_third) = named(&house, "third", "a").await;
    let (desk, to_desk) = named(&house, "desk", "b").await;
    for (number, uri) in [&to_third, "sip:desk@moqswitch;gr=urn:uuid:a"].into_iter().enumerate() {
        let name = format!("call-{number}");
        invite(&mut there, uri, &name).await;
        assert_eq!(answer_to(&there, &name).await.status(), 404, "{uri}");
    }
    invite(&mut there, &to_desk, "to-desk").await;
    let called = desk.incoming(&Method::Invite).await;
    desk.answer(&called, 486, None).await;
    assert_eq!(answer_to(&there, "to-desk").await.status(), 486);
    // This is the first that the other one hears.
    let mut caller = house.telephone("caller").await;
    invite(&mut caller, &to_third, "to-third").await;
    let called = third.incoming(&Method::Invite).await;
    assert!(called.get("From").unwrap().contains("sip:caller@"), "{called:?}");

    // Nobody is told of a device that is away where its number is not reached.
    let (_third, _) = register(third, "a", 0).await;
    let _second = named(&house, "desk", "c").await;
    let (_desk, _) = register(desk, "b", 0).await;
    for (name, uri, status) in [("away", &to_third, 404), ("away-desk", &to_desk, 480)] {
        invite(&mut there, uri, name).await;
        assert_eq!(answer_to(&there, name).await.status(), status, "{uri}");
    }
}

#[tokio::test]
async fn a_rule_that_leads_elsewhere_does_so_for_a_device_that_is_away() {
    let house = House::start().await;
    let (_first, _) = named(&house, "desk", "a").await;
    let (second, gruu) = named(&house, "desk", "b").await;
    register(second, "b", 0).await;
    let other = house.telephone("other").await;
    house
        .plan("[[rules]]\nto = \"desk\"\ntarget = \"number/other\"\n")
        .await;
    let mut caller = house.telephone("caller").await;
    invite(&mut caller, &gruu, "one").await;
    let called = other.incoming(&Method::Invite).await;
    other.answer(&called, 486, None).await;
    assert_eq!(answer_to(&caller, "one").await.status(), 486);
}

#[tokio::test]
async fn where_a_device_of_another_is_reached_is_told_to_nobody() {
    let house = House::start().await;
    let (victim, gruu) = named(&house, "victim", "a").await;
    let thief = house.telephone("thief").await;
    let mut caller = house.telephone("caller").await;
    invite(&mut caller, "sip:thief@moqswitch", "one").await;
    let called = thief.incoming(&Method::Invite).await;
    accept(&thief, &called, &gruu).await;
    let accepted = caller.response().await;
    assert_eq!(accepted.status(), 200);
    let ack = inside(&mut caller, Method::Ack, &accepted);
    caller.send(&ack).await;
    let bye = inside(&mut caller, Method::Bye, &accepted);
    caller.send(&bye).await;
    let place = victim.contact();
    let place = place.trim_matches(['<', '>']);
    for method in [Method::Ack, Method::Bye] {
        let heard = thief.incoming(&method).await;
        assert_eq!(heard.uri(), gruu);
        assert!(!String::from_utf8_lossy(&heard.to_bytes()).contains(place), "{heard:?}");
    }
}

/// The final one to a call of this name. Answers to those before are repeated.
async fn answer_to(caller: &Telephone, name: &str) -> Message {
    loop {
        let answer = caller.response().await;
        if answer.call_id() == name {
            return answer;
        }
    }
}

#[tokio::test]
async fn who_is_handed_to_a_device_rings_at_it_alone_or_talks_to_who_has_it() {
    let house = House::start().await;
    let (first, _) = named(&house, "third", "a").await;
    let (second, gruu) = named(&house, "third", "b").await;
    let mut alice = house.switch.phone("alice").await;
    let mut desk = house.telephone("desk").await;
    invite(&mut desk, "sip:alice@moqswitch", "one").await;
    let incoming = alice.expect("incomingCall").await;
    alice.send("answer", json!({ "callId": incoming["callId"] })).await;
    alice.expect("callAccepted").await;
    let to_alice = desk.response().await;
    let ack = inside(&mut desk, Method::Ack, &to_alice);
    desk.send(&ack).await;

    // It does not want to.
    let mut refer = inside(&mut desk, Method::Refer, &to_alice);
    refer.push("Contact", desk.contact());
    refer.push("Refer-To", format!("<{gruu}>"));
    desk.send(&refer).await;
    let rung = second.incoming(&Method::Invite).await;
    second.answer(&rung, 486, None).await;
    second.incoming(&Method::Ack).await;
    until_told(&desk, 486).await;
    let mut refer = inside(&mut desk, Method::Refer, &to_alice);
    refer.push("Contact", desk.contact());
    refer.push("Refer-To", "<sip:third@moqswitch;gr=urn:uuid:c>");
    desk.send(&refer).await;
    until_told(&desk, 404).await;

    // It is asked, and agrees: who hands on puts the two together.
    invite(&mut desk, &gruu, "two").await;
    let called = second.incoming(&Method::Invite).await;
    accept(&second, &called, &gruu).await;
    let to_third = desk.response().await;
    let ack = inside(&mut desk, Method::Ack, &to_third);
    desk.send(&ack).await;
    second.incoming(&Method::Ack).await;
    let tag = to_third.to_tag().unwrap();
    let mut refer = inside(&mut desk, Method::Refer, &to_alice);
    refer.push("Contact", desk.contact());
    let replaced = format!("two%3Bto-tag%3D{tag}%3Bfrom-tag%3Dtdesk");
    refer.push("Refer-To", format!("<{gruu}?Replaces={replaced}>"));
    desk.send(&refer).await;
    until_told(&desk, 200).await;
    alice.send("hangup", json!({ "callId": incoming["callId"] })).await;
    second.incoming(&Method::Bye).await;

    // Nobody has rung the other telephone of that number.
    let mut last = house.telephone("last").await;
    invite(&mut last, "sip:third@moqswitch", "last").await;
    let rung = first.incoming(&Method::Invite).await;
    assert!(rung.get("From").unwrap().contains("sip:last@"), "{rung:?}");
}

/// What came of a transfer, at its end.
async fn until_told(desk: &Telephone, status: u16) {
    loop {
        let notify = desk.incoming(&Method::Notify).await;
        desk.answer(&notify, 200, None).await;
        let told = String::from_utf8_lossy(&notify.body).into_owned();
        if notify.get("Subscription-State").unwrap().starts_with("terminated") {
            assert!(told.starts_with(&format!("SIP/2.0 {status} ")), "{told}");
            return;
        }
    }
}
