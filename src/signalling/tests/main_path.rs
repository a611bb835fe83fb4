//! Two phones, from registering to hanging up.

use serde_json::{Value, json};

use crate::harness::{Phone, Switch};

/// Alice calls bob, who answers. The call as both know it.
pub(crate) async fn connect(alice: &mut Phone, bob: &mut Phone, to: &str) -> (String, String) {
    alice
        .send("call", json!({ "to": to, "callId": "call-1", "sdp": "v=0 offer" }))
        .await;
    let incoming = bob.expect("incomingCall").await;
    let call = incoming["callId"].as_str().unwrap().to_owned();
    bob.send("answer", json!({ "callId": call, "sdp": "v=0 answer" })).await;
    bob.expect("callAccepted").await;
    alice.expect("callAccepted").await;
    ("call-1".to_owned(), call)
}

fn types(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["type"].as_str()).collect()
}

#[tokio::test]
async fn two_phones_register_call_hold_and_hang_up() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    alice.heard();
    bob.heard();
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    alice.sync().await;
    bob.sync().await;
    let heard = alice.heard();
    assert_eq!(
        types(&heard),
        ["callProgress", "callProgress", "callAccepted", "participants"]
    );
    let states: Vec<_> = heard
        .iter()
        .filter_map(|message| message["payload"]["state"].as_str())
        .collect();
    assert_eq!(states, ["calling", "ringing"]);
    assert_eq!(heard[2]["payload"]["sdp"], "v=0 answer");
    assert_eq!(heard[2]["id"], "msg-2", "the call's own id");
    assert_eq!(heard[2]["payload"]["callId"], "call-1");
    assert_eq!(heard[2]["payload"]["media"]["publish"], format!("call/{call}/1"));
    let seqs: Vec<_> = heard.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [2, 3, 4, 5], "each message has the next number");

    // The relay was told exactly this.
    let grants = switch.grants(&alice);
    assert_eq!(grants.publish, [format!("call/{call}/1/**")]);
    assert_eq!(grants.subscribe, [format!("call/{call}/**")]);
    assert_eq!(switch.grants(&bob).publish, [format!("call/{call}/2/**")]);

    bob.send("hold", json!({ "callId": call, "hold": true })).await;
    let held = bob.expect_whole("held").await;
    assert_eq!(
        (held["payload"]["by"].as_str(), held["id"].as_str()),
        (Some("local"), Some("msg-3"))
    );
    let held = alice.expect("held").await;
    assert_eq!(
        (held["by"].as_str(), held["music"].as_str()),
        (Some("remote"), Some("moh/default"))
    );
    assert_eq!(switch.grants(&bob).subscribe, Vec::<String>::new());
    assert_eq!(switch.grants(&alice).subscribe, ["moh/default"]);
    bob.send("hold", json!({ "callId": call, "hold": false })).await;
    assert_eq!(alice.expect("held").await["hold"], false);
    assert_eq!(switch.grants(&bob).subscribe, [format!("call/{call}/**")]);

    alice.send("dtmf", json!({ "callId": alices, "digit": "5" })).await;
    assert_eq!(bob.expect("dtmf").await["digit"], "5");
    alice
        .send("hangup", json!({ "callId": alices, "reason": "user_hangup" }))
        .await;
    let ended = alice.expect("callEnded").await;
    assert_eq!(
        (&ended["reason"], &ended["by"]),
        (&json!("normal_clearing"), &json!("local"))
    );
    let ended = bob.expect("callEnded").await;
    assert_eq!(
        (&ended["reason"], &ended["by"]),
        (&json!("normal_clearing"), &json!("remote"))
    );
    assert!(switch.grants(&alice).is_empty() && switch.grants(&bob).is_empty());
}

#[tokio::test]
async fn stopping_says_so_and_ends_every_call() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    connect(&mut alice, &mut bob, "5002").await;
    switch.handle().stop();
    alice.expect("goaway").await;
    assert_eq!(alice.expect("callEnded").await["reason"], "shutdown");
    assert_eq!(alice.closed().await, 1012);
    assert_eq!(bob.closed().await, 1012);
    switch.handle().ended().await;
    assert!(switch.grants(&alice).is_empty());
}

#[tokio::test]
async fn grants_that_the_relay_had_no_room_for_are_told_again() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    switch.media.refuse(2);
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    while switch.grants(&alice).is_empty() || switch.grants(&bob).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(switch.grants(&bob).publish, [format!("call/{call}/2/**")]);
}
