//! Many phones at once.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Phone, Switch};

/// One call from its beginning to its end, hung up by either side, or not answered at all.
async fn pair(switch: &Switch, number: usize) {
    let mut caller = Phone::connect(switch.address, "/ws").await;
    let mut callee = Phone::connect(switch.address, "/signaling").await;
    let (from, to) = (format!("1{number:04}"), format!("2{number:04}"));
    caller.register(&from).await;
    callee.register(&to).await;
    for round in 0..3 {
        let alias = format!("call-{round}");
        caller.send("call", json!({ "to": to, "callId": alias })).await;
        let call = callee.expect("incomingCall").await["callId"].clone();
        if number.is_multiple_of(3) {
            // Both at once: one of them is first.
            caller.send("hangup", json!({ "callId": alias })).await;
            callee.send("answer", json!({ "callId": call })).await;
        } else {
            callee.send("answer", json!({ "callId": call })).await;
            caller.expect("callAccepted").await;
            let (phone, name) = if round == 0 {
                (&mut caller, json!(alias))
            } else {
                (&mut callee, call)
            };
            phone.send("hangup", json!({ "callId": name })).await;
        }
        caller.expect("callEnded").await;
        callee.expect("callEnded").await;
    }
    caller.send("unregister", json!({})).await;
    caller.expect("unregistered").await;
    callee.send("unregister", json!({})).await;
    callee.expect("unregistered").await;
    assert!(switch.grants(&caller).is_empty() && switch.grants(&callee).is_empty());
}

#[tokio::test]
async fn hundred_calls_at_once_leave_nothing_behind() {
    let switch = Switch::plain().await;
    join_all((0..100).map(|number| pair(&switch, number))).await;
    let health = switch.get("/api/health").await.json();
    assert_eq!(
        (&health["registered_agents"], &health["active_calls"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(switch.get("/api/cdr?limit=1000").await.json()["count"], 300);
    assert_eq!(switch.media.over().len(), 200);
    let now = switch.get("/api/stats").await.json()["now"].clone();
    assert_eq!((&now["slowClients"], &now["sessions"]), (&json!(0), &json!(0)));
}
