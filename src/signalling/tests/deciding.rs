//! Control programs decide on calls, and fail at it.

use std::time::Duration;

use moqswitch_signalling::MediaswitchSettings;
use serde_json::{Value, json};

use crate::control::{Control, DOMAIN, Edge};
use crate::harness::Phone;

/// Alice's call is answered, and Bob, who was called for it, is put together with her: their dialogs.
async fn mixed(edge: &Edge, control: &mut Control, alice: &mut Phone, bob: &mut Phone) -> (String, String) {
    alice.send("call", json!({ "to": "3" })).await;
    let first = control.call().await;
    let second = invite(edge, "1003", Some(&first)).await;
    let incoming = bob.expect("incomingCall").await;
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    control
        .dialog(|state| state["callid"] == *second && state["answered"] == true)
        .await;
    edge.act("answer", &json!({ "callid": first })).await;
    edge.act("mix", &json!({ "callid": first, "with": second })).await;
    alice.expect("callAccepted").await;
    bob.expect("callAccepted").await;
    (first, second)
}

async fn invite(edge: &Edge, user: &str, parent: Option<&str>) -> String {
    let body = json!({ "from": { "user": "1000", "domain": DOMAIN }, "to": { "user": user }, "parent": parent });
    let answer = edge.post("/dialog/invite", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["callid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn caller_is_refused_as_the_program_says() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000"]).await;
    let mut alice = edge.phone("1000").await;
    for (body, reason, code) in [
        (json!({ "reason": "Busy here", "code": 486 }), "busy", 486),
        (
            json!({ "reason": "Payment required", "code": 402 }),
            "payment_required",
            402,
        ),
        (json!({ "reason": "Not found", "code": 404 }), "unallocated", 404),
        (json!({}), "unallocated", 404),
        (json!({ "code": 599 }), "congestion", 503),
    ] {
        alice.send("call", json!({ "to": "3" })).await;
        let call = control.call().await;
        let mut request = body.clone();
        request["callid"] = json!(call);
        edge.act("hangup", &request).await;
        let ended = alice.expect("callEnded").await;
        assert_eq!((&ended["reason"], &ended["code"]), (&json!(reason), &json!(code)));
        let state = control.dialog(|state| state["hangup"] == true).await;
        let said =
            json!({ "code": body["code"].as_u64().unwrap_or(404), "status": body["reason"].as_str().unwrap_or("") });
        assert_eq!(state["error"], said);
        let again = edge.post("/dialog/hangup", &request).await;
        assert_eq!(again.status, 404);
    }
}

#[tokio::test]
async fn mixed_dialogs_hear_each_other_and_the_program_may_listen() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000", "1003"]).await;
    let (mut alice, mut bob) = (edge.phone("1000").await, edge.phone("1003").await);
    let (first, second) = mixed(&edge, &mut control, &mut alice, &mut bob).await;
    let path = |call: &str| format!("call/{call}/1/**");
    alice.sync().await;
    assert_eq!(edge.switch.grants(&alice).subscribe, [path(&second)]);
    assert_eq!(edge.switch.grants(&bob).subscribe, [path(&first)]);
    // The program's own token is for the one dialog, and for hearing only.
    let is_heard = edge.switch.media.history().iter().any(|(session, grants)| {
        let is_own = *session == alice.session() || *session == bob.session();
        !is_own && grants.publish.is_empty() && grants.subscribe == [path(&first)]
    });
    assert!(is_heard);
    edge.act("unmix", &json!({ "callid": second })).await;
    alice.expect("participantLeft").await;
    assert!(edge.switch.grants(&alice).subscribe.is_empty());
    let apart = edge.post("/dialog/mix", &json!({ "callid": first })).await;
    assert_eq!(apart.status, 404, "with whom?");
    edge.act("mix", &json!({ "callid": second, "with": first })).await;
    edge.act("mix", &json!({ "callid": second, "with": first })).await;
    alice.sync().await;
    assert_eq!(edge.switch.grants(&alice).subscribe, [path(&second)]);
    // The caller goes; the program decides about the other.
    alice.send("hangup", json!({ "callId": first })).await;
    let state = control.dialog(|state| state["hangup"] == true).await;
    assert_eq!((&state["callid"], &state["error"]["code"]), (&json!(first), &json!(0)));
    assert_eq!(edge.live().await.0, 1);
    edge.act("hangup", &json!({ "callid": second })).await;
    assert_eq!(bob.expect("callEnded").await["reason"], "normal_clearing");
    assert_eq!(edge.live().await, (json!(0), json!([])));
    let over = edge.switch.media.over();
    assert_eq!(over.len(), 2, "both tokens are worth nothing any more");
}

#[tokio::test]
async fn two_phones_of_a_user_ring_and_one_has_the_call() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1003"]).await;
    let (mut desk, mut web) = (edge.phone("1003").await, edge.phone("1003").await);
    let call = invite(&edge, "1003", None).await;
    desk.expect("incomingCall").await;
    web.expect("incomingCall").await;
    web.send("answer", json!({ "callId": call })).await;
    assert_eq!(desk.expect("callEnded").await["reason"], "answered_elsewhere");
    let state = control.dialog(|state| state["answered"] == true).await;
    assert_eq!((&state["hangup"], &state["error"]["code"]), (&json!(false), &json!(0)));
    web.send("hangup", json!({ "callId": call })).await;
    let state = control.dialog(|state| state["hangup"] == true).await;
    assert_eq!(state["error"], json!({ "code": 0, "status": "" }));
}

/// Whatever the control server does wrong: callers hear 480, and nothing is left.
async fn fails(control: &mut Control, edge: &Edge, fail: impl Fn(&Control)) {
    let (mut alice, mut bob) = (edge.phone("1000").await, edge.phone("1003").await);
    let (first, second) = mixed(edge, control, &mut alice, &mut bob).await;
    fail(control);
    // Something changes, and the server does not take it: that dialog ends, and with it who would be alone.
    alice.send("hold", json!({ "callId": first, "hold": true })).await;
    for (phone, call) in [(&mut alice, first), (&mut bob, second)] {
        let ended = phone.expect("callEnded").await;
        assert_eq!((&ended["callId"], &ended["code"]), (&json!(call), &json!(480)));
        assert_eq!(ended["reason"], "unreachable");
    }
    // So does a call that begins.
    alice.send("call", json!({ "to": "3" })).await;
    assert_eq!(alice.expect("callEnded").await["code"], 480);
    // And one that rings.
    let call = invite(edge, "1003", None).await;
    let ended = bob.expect("callEnded").await;
    assert_eq!((&ended["callId"], &ended["code"]), (&json!(call), &json!(487)));
    assert_eq!(edge.live().await, (json!(0), json!([])));
}

#[tokio::test]
async fn control_server_that_answers_500_ends_its_calls() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000", "1003"]).await;
    fails(&mut control, &edge, |control| control.answer(500)).await;
}

#[tokio::test]
async fn control_server_that_does_not_answer_ends_its_calls() {
    let mut control = Control::start().await;
    let edge = Edge::start(MediaswitchSettings {
        // Those before it are answered, on a busy machine as well.
        control_wait: Duration::from_secs(3),
        ..MediaswitchSettings::default()
    })
    .await;
    edge.push(&control.url(), &["1000", "1003"]).await;
    fails(&mut control, &edge, |control| control.answer(0)).await;
}

#[tokio::test]
async fn control_server_that_is_not_there_ends_its_calls() {
    let edge = Edge::plain().await;
    edge.push("http://127.0.0.1:1", &["1000", "1003"]).await;
    let (mut alice, mut bob) = (edge.phone("1000").await, edge.phone("1003").await);
    alice.send("call", json!({ "to": "3" })).await;
    let ended = alice.expect("callEnded").await;
    assert_eq!((&ended["reason"], &ended["code"]), (&json!("unreachable"), &json!(480)));
    invite(&edge, "1003", None).await;
    bob.expect("callEnded").await;
    assert_eq!(edge.live().await, (json!(0), json!([])));
}

#[tokio::test]
async fn caller_whose_server_fails_takes_along_whom_it_had_called() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000", "1003"]).await;
    let (mut alice, mut bob) = (edge.phone("1000").await, edge.phone("1003").await);
    alice.send("call", json!({ "to": "3" })).await;
    let first = control.call().await;
    invite(&edge, "1003", Some(&first)).await;
    control.dialog(|state| state["ring"] == true).await;
    control.answer(500);
    alice.send("hangup", json!({ "callId": first })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "cancelled");
    bob.expect("callEnded").await;
    assert_eq!(edge.live().await, (json!(0), json!([])));
}

#[tokio::test]
async fn domain_without_control_server_is_decided_by_the_dialplan() {
    let edge = Edge::plain().await;
    edge.put(
        &format!("/dir/{DOMAIN}"),
        &json!({ "users": [{ "username": "1000", "secret": "s" }, { "username": "1003", "secret": "s" }] }),
    )
    .await;
    let (mut alice, mut bob) = (edge.phone("1000").await, edge.phone("1003").await);
    alice.send("call", json!({ "to": format!("1003@{DOMAIN}") })).await;
    bob.expect("incomingCall").await;
    // A user that is not registered is known all the same.
    edge.put(&format!("/dir/{DOMAIN}/1004"), &json!({ "secret": "s" }))
        .await;
    alice
        .send("call", json!({ "to": format!("1004@{DOMAIN}"), "callId": "two" }))
        .await;
    let ended: Value = alice.expect("callEnded").await;
    assert_eq!(ended["reason"], "unreachable");
}

#[tokio::test]
async fn numbers_without_a_domain_are_of_the_one_that_is_set() {
    let mut control = Control::start().await;
    let edge = Edge::start(MediaswitchSettings {
        domain: Some(DOMAIN.to_owned()),
        ..MediaswitchSettings::default()
    })
    .await;
    edge.push(&control.url(), &["1000", "1003"]).await;
    let mut bob = Phone::connect(edge.switch.address, "/ws").await;
    bob.send("register", json!({ "dn": "1003", "password": "wrong" })).await;
    bob.expect("registrationFailed").await;
    bob.send("register", json!({ "dn": "1003", "password": "s" })).await;
    bob.expect("registered").await;
    let (what, _) = control.next().await;
    assert_eq!(what, format!("PUT /reg/{DOMAIN}/1003"));
    invite(&edge, "1003", None).await;
    bob.expect("incomingCall").await;
    bob.send("call", json!({ "to": "5", "callId": "mine" })).await;
    let state = control.dialog(|state| state["originator"] == false).await;
    assert_eq!(
        (&state["from"], &state["to"], &state["domain"], &state["authenticated"]),
        (&json!("1003"), &json!("5"), &json!(DOMAIN), &json!(true))
    );
}

#[tokio::test]
async fn switch_that_stops_tells_control_servers() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000"]).await;
    let mut alice = edge.phone("1000").await;
    alice.send("call", json!({ "to": "3" })).await;
    let call = control.call().await;
    edge.act("answer", &json!({ "callid": call })).await;
    edge.switch.handle().stop();
    let state = control.dialog(|state| state["hangup"] == true).await;
    assert_eq!(state["error"], json!({ "code": 503, "status": "Service Unavailable" }));
    edge.switch.handle().ended().await;
}
