//! SRTP of telephones and carriers: who is offered keys, who has to have some, and what is refused.

use moqswitch_signalling::sip::message::{Message, Method};
use moqswitch_signalling::sip::sdp::Suite;
use moqswitch_signalling::{RtpCommand, SrtpPolicy, TrunkPlan, TrunkSettings};
use serde_json::json;

use crate::gateway::{House, description};
use crate::trunks::{carrier, trunk};

/// A description over SRTP, with these lines.
fn secure(types: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("a=crypto:{line}\r\n")).collect();
    description(types).replace("RTP/AVP", "RTP/SAVP") + &lines
}

/// A line with a key of zeros, or of whatever a letter of base64 stands for.
fn line_of(tag: u32, suite: &str, letter: &str) -> String {
    format!("{tag} {suite} inline:{}", letter.repeat(40))
}

const CM_80: &str = "AES_CM_128_HMAC_SHA1_80";

/// The values of `a=crypto` in a message.
fn keys_in(message: &Message) -> Vec<String> {
    let body = String::from_utf8_lossy(&message.body).into_owned();
    let lines = body.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_secure_offer_is_answered_with_keys_that_stay_and_a_plain_one_without() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let mut desk = house.telephone("desk").await;
    let mut invite = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
    invite.push("Contact", desk.contact());
    let offered = [line_of(1, "AES_256_CM_HMAC_SHA1_80", "b"), line_of(2, CM_80, "c")];
    invite.set_body("application/sdp", secure("0 101", &offered));
    desk.send(&invite).await;
    let incoming = alice.expect("incomingCall").await;
    alice.send("answer", json!({ "callId": incoming["callId"] })).await;
    let accepted = desk.response().await;
    let ours = keys_in(&accepted);
    assert!(
        ours.len() == 1 && ours[0].starts_with("2 AES_CM_128_HMAC_SHA1_80 inline:"),
        "{ours:?}"
    );
    assert!(String::from_utf8_lossy(&accepted.body).contains(" RTP/SAVP 0 101"));
    let first = house.agreed().await.srtp.unwrap();
    assert_eq!(first.theirs.suite(), Suite::AesCm80);
    assert!(first.ours != first.theirs && first.ours.key_and_salt() != [0; 30]);

    let to = accepted.get("To").unwrap().to_owned();
    let mut again = |body: String| {
        let mut request = desk.request(Method::Invite, "sip:alice@127.0.0.1", "alice");
        request.set("To", &to);
        request.push("Contact", desk.contact());
        request.set_body("application/sdp", body);
        request
    };
    let (plain, other) = (
        again(description("0 101")),
        again(secure("0 101", &[line_of(7, CM_80, "d")])),
    );
    // Nothing is plain that was secret.
    let mut ack = desk.request(Method::Ack, "sip:alice@127.0.0.1", "alice");
    ack.set("To", &to);
    for (request, status, number) in [(None, 200, 2), (Some(&plain), 488, 3), (Some(&other), 200, 4)] {
        if let Some(request) = request {
            desk.send(request).await;
            let answer = desk.response().await;
            assert_eq!(answer.status(), status);
            if status == 200 {
                // The same key of ours, under the tag of the offer.
                assert_eq!(keys_in(&answer), [ours[0].replacen('2', "7", 1)]);
            }
        }
        ack.set("CSeq", format!("{number} ACK"));
        desk.send(&ack).await;
    }
    let second = house.agreed().await.srtp.unwrap();
    assert!(second.ours == first.ours && second.theirs != first.theirs);
    alice.send("hangup", json!({ "callId": incoming["callId"] })).await;
    desk.incoming(&Method::Bye).await;
}

#[tokio::test]
async fn what_may_not_or_cannot_be_secret_is_refused() {
    use SrtpPolicy::{Accept, Off, Require};
    let usable = || secure("0", &[line_of(1, CM_80, "a")]);
    for (policy, body) in [
        (Off, usable()),
        (Require, description("0")),
        (Accept, secure("0", &[])),
        (Accept, secure("0", &[line_of(1, "AES_256_CM_HMAC_SHA1_80", "a")])),
        (Accept, secure("0", &[format!("1 {CM_80} inline:short")])),
        (Accept, secure("0", &[line_of(1, CM_80, "a") + " KDR=1"])),
    ] {
        let house = House::with_srtp(policy).await;
        let mut alice = house.switch.phone("alice").await;
        let mut desk = house.telephone("desk").await;
        let mut invite = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
        invite.push("Contact", desk.contact());
        invite.set_body("application/sdp", body.as_str());
        desk.send(&invite).await;
        assert_eq!(desk.status().await, 488, "{policy:?} {body}");
        let mut next = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
        next.set("Call-ID", "another");
        next.push("Contact", desk.contact());
        next.set_body(
            "application/sdp",
            if policy == Off { description("0") } else { usable() },
        );
        desk.send(&next).await;
        alice.expect("incomingCall").await;
    }
}

#[tokio::test]
async fn a_telephone_that_needs_keys_has_some_and_is_not_called_without() {
    let house = House::with_srtp(SrtpPolicy::Require).await;
    let mut alice = house.switch.phone("alice").await;
    let desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    let offered = keys_in(&invite);
    assert_eq!(offered.len(), Suite::ALL.len());
    let tag = offered
        .iter()
        .find(|line| line.contains(CM_80))
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let answer = secure("0", &[line_of(tag.parse().unwrap(), CM_80, "e")]);
    desk.answer(&invite, 200, Some(&answer)).await;
    let accepted = alice.expect("callAccepted").await;
    desk.incoming(&Method::Ack).await;
    let keys = house.agreed().await.srtp.unwrap();
    assert_eq!(keys.ours.suite(), Suite::AesCm80);
    alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
    let bye = desk.incoming(&Method::Bye).await;
    desk.answer(&bye, 200, None).await;
    alice.expect("callEnded").await;

    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    // Other keys for another call.
    assert!(keys_in(&invite).iter().all(|line| !offered.contains(line)));
    desk.answer(&invite, 488, None).await;
    alice.expect("callEnded").await;
}

#[tokio::test]
async fn a_trunk_that_refuses_keys_is_called_without() {
    let mut carrier = carrier("carrier").await;
    let settings = TrunkSettings {
        srtp: Some(SrtpPolicy::Offer),
        ..trunk("city", &carrier)
    };
    let plan = TrunkPlan {
        trunks: vec![settings],
        groups: Vec::new(),
    };
    let house = House::with_trunks(SrtpPolicy::Off, plan).await;
    carrier.switch = house.sip();
    let mut alice = house.switch.phone("alice").await;
    alice.send("call", json!({ "to": "city" })).await;
    let invite = carrier.incoming(&Method::Invite).await;
    assert_eq!(keys_in(&invite).len(), Suite::ALL.len());
    carrier.answer(&invite, 488, None).await;
    carrier.incoming(&Method::Ack).await;
    let invite = carrier.incoming(&Method::Invite).await;
    assert!(keys_in(&invite).is_empty());
    assert!(String::from_utf8_lossy(&invite.body).contains(" RTP/AVP "));
    carrier.answer(&invite, 200, Some(&description("0"))).await;
    let accepted = alice.expect("callAccepted").await;
    carrier.incoming(&Method::Ack).await;
    assert_eq!(house.agreed().await.srtp, None);
    alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
    carrier.incoming(&Method::Bye).await;
    house.told(|command| matches!(command, RtpCommand::Close(_))).await;
    assert!(house.rtp.open_legs().is_empty());
}
