//! Several machines as one phone system, without a network between them: who is registered at one is called from another,
//! each call has one record, and what carries messages may be away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moqswitch_signalling::{FromEngine, NodeEngine, NodeSettings, NodeTimes, Settings, ToEngine, node_link};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::harness::{Phone, Switch};

#[tokio::test]
async fn a_phone_of_one_machine_is_called_from_another_and_hangs_up() {
    let hub = Hub::default();
    let (a, b) = (hub.node("a").await, hub.node("b").await);
    let mut alice = a.phone("5001").await;
    let mut bob = b.phone("5002").await;
    until_known(&[&a, &b], &["5001", "5002"]).await;

    let (call, path) = connect(&mut alice, &mut bob, "5002").await;
    // Each may do at its relay what a call lets it do, and nothing else.
    let grants = b.grants(&bob);
    assert_eq!(grants.subscribe, [format!("call/{call}/**")]);
    assert_eq!(grants.publish, [format!("{path}/**")]);
    assert_eq!(a.grants(&alice).subscribe, [format!("call/{call}/**")]);
    // Both machines know the call and who is in it.
    for node in [&a, &b] {
        until(node, &format!("/api/call/{call}"), |found| {
            found["state"] == "up" && found["parties"].as_array().is_some_and(|legs| legs.len() == 2)
        })
        .await;
        until(node, "/api/dn/5001", |found| found["status"] == "busy").await;
        until(node, "/api/dn/5002", |found| found["status"] == "busy").await;
    }

    bob.send("hangup", json!({ "callId": call })).await;
    let ended = bob.expect("callEnded").await;
    assert_eq!(
        (&ended["reason"], &ended["by"]),
        (&json!("normal_clearing"), &json!("local"))
    );
    let ended = alice.expect("callEnded").await;
    assert_eq!(
        (&ended["reason"], &ended["by"]),
        (&json!("normal_clearing"), &json!("remote"))
    );
    until_no_grants(&b, &bob).await;
    until_no_grants(&a, &alice).await;
    // One record, at the machine of who called.
    until_records(&a, 1).await;
    assert_eq!(records(&b).await, 0);
    until(&b, "/api/calls", |found| {
        found["calls"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    until(&b, "/api/dn/5001", |found| found["status"] == "available").await;
}

#[tokio::test]
async fn hold_keys_busy_cancel_and_ringing_in_vain_cross_machines() {
    let hub = Hub::default();
    let (a, b) = (hub.node("a").await, hub.node("b").await);
    let mut alice = a.phone("5001").await;
    let mut bob = b.phone("5002").await;
    until_known(&[&a, &b], &["5001", "5002"]).await;

    let (call, _) = connect(&mut alice, &mut bob, "5002").await;
    bob.send("hold", json!({ "callId": call, "hold": true })).await;
    assert_eq!(bob.expect("held").await["hold"], true);
    assert_eq!(alice.expect("held").await["hold"], true);
    alice.sync().await;
    assert!(a.grants(&alice).subscribe.iter().all(|path| path.starts_with("moh/")));
    bob.send("hold", json!({ "callId": call, "hold": false })).await;
    bob.expect("held").await;
    alice.expect("held").await;
    bob.send("dtmf", json!({ "callId": call, "digit": "5" })).await;
    assert_eq!(alice.expect("dtmf").await["digit"], "5");
    alice.send("hangup", json!({ "callId": call })).await;
    bob.expect("callEnded").await;
    alice.expect("callEnded").await;

    // Busy.
    alice.send("call", json!({ "to": "5002" })).await;
    let call = bob.expect("incomingCall").await["callId"].clone();
    bob.send("reject", json!({ "callId": call, "reason": "busy" })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "busy");
    bob.expect("callEnded").await;
    // The caller gives up.
    alice.send("call", json!({ "to": "5002" })).await;
    let call = bob.expect("incomingCall").await["callId"].clone();
    alice.send("hangup", json!({ "callId": call })).await;
    assert_eq!(bob.expect("callEnded").await["reason"], "cancelled");
    alice.expect("callEnded").await;
    // It rings in vain.
    alice.send("call", json!({ "to": "5002", "timeout": 1 })).await;
    bob.expect("incomingCall").await;
    assert_eq!(alice.expect("callEnded").await["reason"], "no_answer");
    bob.expect("callEnded").await;
    until_records(&a, 4).await;
    assert_eq!(records(&b).await, 0);
}

#[tokio::test]
async fn the_first_of_two_machines_to_answer_has_the_call_and_a_third_ends_it() {
    let hub = Hub::default();
    let (a, b, c) = (hub.node("a").await, hub.node("b").await, hub.node("c").await);
    let mut alice = a.phone("5001").await;
    let mut bob = b.phone("5002").await;
    let mut other = c.phone("5002").await;
    until(&a, "/api/dn/5002", |found| found["devices"] == 2).await;

    alice.send("call", json!({ "to": "5002" })).await;
    let call = bob.expect("incomingCall").await["callId"].clone();
    assert_eq!(other.expect("incomingCall").await["callId"], call);
    other.send("answer", json!({ "callId": call })).await;
    other.expect("callAccepted").await;
    alice.expect("callAccepted").await;
    assert_eq!(bob.expect("callEnded").await["reason"], "answered_elsewhere");
    // A late answer is refused.
    bob.send("answer", json!({ "callId": call })).await;
    assert_eq!(bob.expect("error").await["code"], 481);
    // A program at the third machine ends it.
    let id = call.as_str().unwrap();
    until(&b, &format!("/api/call/{id}"), |found| found["state"] == "up").await;
    let answer = b.post("/api/call/hangup", &json!({ "call_id": id })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    alice.expect("callEnded").await;
    other.expect("callEnded").await;
    until_records(&a, 1).await;
}

#[tokio::test]
async fn who_is_in_a_call_of_another_machine_consults_and_transfers() {
    let hub = Hub::default();
    let (a, b, c) = (hub.node("a").await, hub.node("b").await, hub.node("c").await);
    let mut alice = a.phone("5001").await;
    let mut bob = b.phone("5002").await;
    let mut carol = c.phone("5003").await;
    until_known(&[&a, &b, &c], &["5001", "5002", "5003"]).await;
    let (first, _) = connect(&mut alice, &mut bob, "5002").await;
    // Bob asks Carol: by the machine that has the first call.
    let (second, _) = connect(&mut bob, &mut carol, "5003").await;
    until(&a, &format!("/api/call/{second}"), |found| found["state"] == "up").await;
    bob.send("transfer", json!({ "callId": first, "replaces": second }))
        .await;
    let mut ended = [bob.expect("callEnded").await, bob.expect("callEnded").await];
    ended.sort_by_key(|ended| ended["callId"].to_string());
    let carol_hears = |found: &Value| found["parties"].as_array().is_some_and(|legs| legs.len() == 2);
    until(&c, &format!("/api/call/{first}"), carol_hears).await;
    carol.sync().await;
    alice.send("hangup", json!({ "callId": first })).await;
    alice.expect("callEnded").await;
    carol.expect("callEnded").await;
    until_records(&a, 2).await;
    assert_eq!((records(&b).await, records(&c).await), (0, 0));
}

#[tokio::test]
async fn while_nothing_carries_messages_calls_go_on_and_then_both_sides_agree() {
    let hub = Hub::default();
    let (a, b) = (hub.node("a").await, hub.node("b").await);
    let mut alice = a.phone("5001").await;
    let mut bob = b.phone("5002").await;
    let mut bert = b.phone("5003").await;
    until_known(&[&a, &b], &["5001", "5002", "5003"]).await;
    let (call, _) = connect(&mut alice, &mut bob, "5002").await;
    let mut amy = a.phone("5004").await;
    until_known(&[&b], &["5004"]).await;
    let (kept, _) = connect(&mut amy, &mut bert, "5003").await;

    hub.cut(true).await;
    // Longer than a machine may be silent that could be heard.
    tokio::time::sleep(times().silence * 3).await;
    // What is known stays known; nobody is rung in vain.
    let found = a.get("/api/dn/5002").await;
    assert_eq!(found.status, 200, "{found:?}");
    let mut ann = a.phone("5005").await;
    ann.send("call", json!({ "to": "5002" })).await;
    assert_eq!(ann.expect("callEnded").await["reason"], "unreachable");
    // Nobody waits to hang up, and who holds is refused.
    bert.send("hold", json!({ "callId": kept, "hold": true })).await;
    assert_eq!(bert.expect("error").await["code"], 503);
    bob.send("hangup", json!({ "callId": call })).await;
    assert_eq!(bob.expect("callEnded").await["reason"], "normal_clearing");
    until_no_grants(&b, &bob).await;
    alice.sync().await;
    assert!(!a.grants(&alice).is_empty(), "nobody has told this machine");
    let new = b.phone("5006").await;

    hub.cut(false).await;
    alice.expect("callEnded").await;
    until_known(&[&a], &["5006"]).await;
    until_known(&[&b], &["5005"]).await;
    // The other call goes on, and can be held again.
    bert.send("hold", json!({ "callId": kept, "hold": true })).await;
    amy.expect("held").await;
    bert.send("hangup", json!({ "callId": kept })).await;
    amy.expect("callEnded").await;
    until_records(&a, 3).await;
    assert_eq!(records(&b).await, 0);
    drop(new);
}

#[tokio::test]
async fn messages_that_are_lost_are_made_good() {
    let hub = Hub::default();
    let (a, b) = (hub.node("a").await, hub.node("b").await);
    let mut alice = a.phone("5001").await;
    let mut bob = b.phone("5002").await;
    until_known(&[&a, &b], &["5001", "5002"]).await;
    let (_, _) = connect(&mut alice, &mut bob, "5002").await;
    // What the first machine says is lost, and nobody tells it.
    hub.lose("a", true).await;
    alice.send("hangup", json!({ "callId": call_of(&alice) })).await;
    alice.expect("callEnded").await;
    let amy = a.phone("5004").await;
    hub.lose("a", false).await;
    // The next thing that it says shows the gap.
    bob.expect("callEnded").await;
    until_known(&[&b], &["5004"]).await;
    until_no_grants(&b, &bob).await;
    drop(amy);
}

#[tokio::test]
async fn a_machine_that_dies_takes_its_devices_and_calls_with_it() {
    let hub = Hub::default();
    let (a, b) = (hub.node("a").await, hub.node("b").await);
    let mut alice = a.phone("5001").await;
    let mut bob = b.phone("5002").await;
    let mut amy = a.phone("5003").await;
    let mut bert = b.phone("5004").await;
    until_known(&[&a, &b], &["5001", "5002", "5003", "5004"]).await;
    let (of_a, _) = connect(&mut alice, &mut bob, "5002").await;
    let (of_b, _) = connect(&mut bert, &mut amy, "5003").await;
    for call in [&of_a, &of_b] {
        until(&b, &format!("/api/call/{call}"), |found| found["state"] == "up").await;
    }
    hub.kill("a").await;
    // A call that was its, and one that was not.
    let ended = bob.expect("callEnded").await;
    assert_eq!(
        (&ended["reason"], &ended["by"]),
        (&json!("unreachable"), &json!("system"))
    );
    assert_eq!(bert.expect("callEnded").await["reason"], "unreachable");
    until_no_grants(&b, &bob).await;
    until(&b, "/api/dn/5001", |found| {
        found["status"].is_null() || found["status"] == "offline"
    })
    .await;
    // Both have records at the machine that is left.
    until_records(&b, 2).await;
    let found = b.get("/api/cdr").await.json();
    let causes: Vec<&Value> = found["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| &record["reason"])
        .collect();
    assert!(causes.iter().all(|cause| **cause == "unreachable"), "{found}");
}

#[tokio::test]
async fn a_device_that_comes_to_another_machine_takes_its_calls_along() {
    let hub = Hub::default();
    let (a, b) = (hub.node("a").await, hub.node("b").await);
    let mut alice = a.phone("5001").await;
    let mut bob = named(&b, "5002", "desk").await;
    until_known(&[&a, &b], &["5001", "5002"]).await;
    let (call, _) = connect(&mut alice, &mut bob, "5002").await;
    // The page is loaded anew.
    let mut again = named(&b, "5002", "desk").await;
    assert_eq!(bob.closed().await, 4403);
    again.expect("participants").await;
    until(&b, "/api/dn/5002", |found| found["devices"] == 1).await;
    assert!(!b.grants(&again).is_empty());
    // The same device at the other machine.
    let mut moved = named(&a, "5002", "desk").await;
    assert_eq!(again.closed().await, 4403);
    moved.sync().await;
    until(&b, "/api/dn/5002", |found| found["devices"] == 1).await;
    moved.send("hangup", json!({ "callId": call })).await;
    moved.expect("callEnded").await;
    alice.expect("callEnded").await;
    until_records(&a, 1).await;
}

#[tokio::test]
async fn a_machine_that_stops_says_so_and_what_is_no_message_is_passed_over() {
    let hub = Hub::default();
    let (a, b) = (hub.node("a").await, hub.node("b").await);
    let _alice = a.phone("5001").await;
    until_known(&[&b], &["5001"]).await;
    for message in [
        "",
        "{}",
        "[1]",
        "{\"form\":1,\"from\":\"x y\",\"run\":1,\"number\":0,\"body\":\"Bye\"}",
    ] {
        hub.tell("b", message.as_bytes()).await;
    }
    a.handle().stop();
    until(&b, "/api/dn/5001", |found| {
        found["status"].is_null() || found["status"] == "offline"
    })
    .await;
    let figures = b.handle().figures().await.unwrap().nodes.unwrap();
    assert!(
        figures.is_up && figures.peers == 0 && figures.unread == 4,
        "{figures:?}"
    );
}

async fn named(switch: &Switch, dn: &str, device: &str) -> Phone {
    let mut phone = Phone::connect(switch.address, "/signaling").await;
    phone
        .send("register", json!({ "dn": dn, "password": "x", "device": device }))
        .await;
    let registered = phone.expect("registered").await;
    phone.session = registered["session"].as_str().map(str::to_owned);
    phone
}

/// The call's id, and the path that the callee publishes.
async fn connect(caller: &mut Phone, callee: &mut Phone, to: &str) -> (String, String) {
    caller.send("call", json!({ "to": to })).await;
    let incoming = callee.expect("incomingCall").await;
    let call = incoming["callId"].as_str().unwrap().to_owned();
    caller.expect("callProgress").await;
    callee.send("answer", json!({ "callId": call })).await;
    let accepted = callee.expect("callAccepted").await;
    caller.expect("callAccepted").await;
    let path = accepted["media"]["publish"].as_str().unwrap().to_owned();
    callee.expect("participants").await;
    caller.expect("participants").await;
    (call, path)
}

fn call_of(phone: &Phone) -> Value {
    let accepted = phone
        .said
        .iter()
        .rev()
        .find(|(_, message)| message["type"] == "callAccepted");
    accepted.unwrap().1["payload"]["callId"].clone()
}

async fn until(switch: &Switch, path: &str, is_so: impl Fn(&Value) -> bool) {
    loop {
        let answer = switch.get(path).await;
        let found = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        if is_so(&found) {
            return;
        }
        switch.breathe().await;
    }
}

async fn until_known(switches: &[&Switch], numbers: &[&str]) {
    for switch in switches {
        for number in numbers {
            until(switch, &format!("/api/dn/{number}"), |found| {
                found["status"] == "available"
            })
            .await;
        }
    }
}

async fn until_no_grants(switch: &Switch, phone: &Phone) {
    while !switch.grants(phone).is_empty() {
        switch.breathe().await;
    }
}

async fn records(switch: &Switch) -> usize {
    let found = switch.get("/api/cdr").await.json();
    found["records"].as_array().map_or(0, Vec::len)
}

async fn until_records(switch: &Switch, count: usize) {
    while records(switch).await < count {
        switch.breathe().await;
    }
    assert_eq!(records(switch).await, count);
}

fn times() -> NodeTimes {
    NodeTimes {
        beat: Duration::from_millis(50),
        silence: Duration::from_secs(1),
        request: Duration::from_secs(60),
    }
}

/// What carries messages between machines, in this process.
#[derive(Clone, Default)]
struct Hub(Arc<Mutex<Wires>>);

#[derive(Default)]
struct Wires {
    nodes: BTreeMap<String, mpsc::Sender<FromEngine>>,
    is_cut: bool,
    lost: Vec<String>,
}

impl Hub {
    async fn node(&self, name: &str) -> Switch {
        let (link, NodeEngine { heard, mut said }) = node_link();
        heard.send(FromEngine::Up).await.unwrap();
        self.0.lock().await.nodes.insert(name.to_owned(), heard);
        let (hub, own) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            while let Some(message) = said.recv().await {
                hub.carry(&own, message).await;
            }
        });
        let settings = Settings {
            nodes: Some(NodeSettings {
                name: name.parse().unwrap(),
                link,
                times: times(),
            }),
            ..Switch::patient()
        };
        Switch::start(settings).await
    }

    async fn carry(&self, from: &str, message: ToEngine) {
        let wires = self.0.lock().await;
        if wires.is_cut || wires.lost.iter().any(|lost| lost == from) || !wires.nodes.contains_key(from) {
            return;
        }
        for (name, node) in &wires.nodes {
            let is_meant = message.to.as_ref().is_none_or(|to| to.as_str() == name);
            if is_meant && name != from {
                let _ = node.send(FromEngine::Message(message.message.clone())).await;
            }
        }
    }

    async fn cut(&self, is_cut: bool) {
        let mut wires = self.0.lock().await;
        wires.is_cut = is_cut;
        for node in wires.nodes.values() {
            let _ = node.send(if is_cut { FromEngine::Down } else { FromEngine::Up }).await;
        }
    }

    async fn lose(&self, name: &str, is_lost: bool) {
        let mut wires = self.0.lock().await;
        wires.lost.retain(|lost| lost != name);
        if is_lost {
            wires.lost.push(name.to_owned());
        }
    }

    /// Nothing comes from it any more, and nothing reaches it.
    async fn kill(&self, name: &str) {
        self.0.lock().await.nodes.remove(name);
    }

    async fn tell(&self, name: &str, message: &[u8]) {
        let wires = self.0.lock().await;
        let _ = wires.nodes[name].send(FromEngine::Message(message.to_vec())).await;
    }
}
