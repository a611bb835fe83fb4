//! Faults that users of other phone systems reported, each as what has to hold here. Those that need two phones that race are in
//! `races.rs`; those that need a browser are tests of the web phone.

use std::collections::BTreeMap;

use moqswitch_signalling::Settings;
use moqswitch_signalling::calls::Dialplan;
use serde_json::{Value, json};

use crate::harness::{Phone, Switch};
use crate::innocent::assert_nothing_is_left;
use crate::main_path::connect;
use crate::rest::{event, follow};

async fn resume(switch: &Switch, session: Option<&String>, seq: u64) -> (Phone, Value) {
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone.send("resume", json!({ "session": session, "seq": seq })).await;
    let resumed = phone.expect("resumed").await;
    (phone, resumed)
}

async fn named(switch: &Switch, dn: &str, device: &str) -> Phone {
    let mut phone = Phone::connect(switch.address, "/ws").await;
    phone.send("register", json!({ "dn": dn, "device": device })).await;
    let registered = phone.expect("registered").await;
    phone.session = registered["session"].as_str().map(str::to_owned);
    phone
}

/// versatica/JsSIP#99 and `DoubangoTelecom/sipml5#252`: the socket was lost in a call, and the call died or could not be hung up
/// any more.
#[tokio::test]
async fn call_outlives_its_socket_and_can_be_hung_up_afterwards() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    bob.sync().await;
    let (session, seq, grants) = (bob.session.clone(), bob.last_seq(), switch.grants(&bob));
    bob.cut();
    while switch.get("/api/numbers/5002").await.json()["devices"][0]["lost"] == false {
        switch.breathe().await;
    }
    // Audio goes on: what bob may publish and hear is as it was, and the other side was told nothing.
    assert_eq!(
        switch.media.grants_of(session.as_deref().unwrap().parse().unwrap()),
        grants
    );
    assert!(!grants.publish.is_empty());
    alice.sync().await;
    assert!(alice.heard().iter().all(|message| message["type"] != "callEnded"));
    let (mut bob, resumed) = resume(&switch, session.as_ref(), seq).await;
    assert_eq!(resumed["calls"][0]["state"], "up");
    bob.send("hangup", json!({ "callId": call })).await;
    assert_eq!(bob.expect("callEnded").await["by"], "local");
    assert_eq!(alice.expect("callEnded").await["by"], "remote");
    assert_nothing_is_left(&switch, 1).await;
}

/// onsip/SIP.js#1095: the socket came back, but the phone was not registered. To resume is to be registered.
#[tokio::test]
async fn phone_that_resumed_is_rung_without_registering() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    let bob = switch.phone("5002").await;
    let (session, seq) = (bob.session.clone(), bob.last_seq());
    bob.cut();
    let (mut bob, _) = resume(&switch, session.as_ref(), seq).await;
    connect(&mut alice, &mut bob, "5002").await;
    assert_eq!(
        switch.get("/api/numbers/5002").await.json()["devices"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// element-android#1921, #8178 and #8591: other devices rang on, once for four hours. They stop when one answers, also those
/// that missed it; and each knows beforehand how long it may ring at most.
#[tokio::test]
async fn other_devices_stop_ringing_also_those_that_missed_the_answer() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    let mut first = switch.phone("5002").await;
    let mut second = switch.phone("5002").await;
    let mut third = switch.phone("5002").await;
    alice.send("call", json!({ "to": "5002", "timeout": 40 })).await;
    let call = first.expect("incomingCall").await["callId"].clone();
    second.expect("incomingCall").await;
    assert_eq!(third.expect("incomingCall").await["lifetime"], 40);
    let (session, seq) = (third.session.clone(), third.last_seq());
    third.cut();
    first.send("answer", json!({ "callId": call })).await;
    first.expect("callAccepted").await;
    assert_eq!(second.expect("callEnded").await["reason"], "answered_elsewhere");
    let (mut third, resumed) = resume(&switch, session.as_ref(), seq).await;
    assert_eq!(resumed["calls"], json!([]), "nothing rings");
    assert_eq!(third.expect("callEnded").await["reason"], "answered_elsewhere");
}

/// The same: nobody answers, and it stops after the time that was told.
#[tokio::test]
async fn ringing_ends_after_its_lifetime() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    alice.send("call", json!({ "to": "5002", "timeout": 1 })).await;
    assert_eq!(bob.expect("incomingCall").await["lifetime"], 1);
    assert_eq!(bob.expect("callEnded").await["reason"], "no_answer");
    assert_eq!(alice.expect("callEnded").await["reason"], "no_answer");
    assert_nothing_is_left(&switch, 1).await;
}

/// livekit/client-sdk-js#561 and client-sdk-flutter#1198: after a resume there were participants who had left. The snapshot says
/// what is so, and says whether what was missed is all there.
#[tokio::test]
async fn snapshot_has_no_ghosts_even_when_messages_are_gone() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    alice.send("add", json!({ "callId": alices, "to": "5003" })).await;
    let incoming = carol.expect("incomingCall").await;
    carol.send("answer", json!({ "callId": incoming["callId"] })).await;
    carol.expect("callAccepted").await;
    bob.sync().await;
    let (session, seq) = (bob.session.clone(), bob.last_seq());
    bob.cut();
    // Carol leaves, and then more is said than is kept for bob.
    carol.send("hangup", json!({ "callId": incoming["callId"] })).await;
    carol.expect("callEnded").await;
    let party = format!("{call}/2");
    for _ in 0..25 {
        let candidate = "c".repeat(15 * 1024);
        alice
            .send(
                "iceCandidate",
                json!({ "callId": alices, "party": party, "candidate": candidate }),
            )
            .await;
    }
    alice.sync().await;
    let (mut bob, resumed) = resume(&switch, session.as_ref(), seq).await;
    assert_eq!(resumed["complete"], false);
    let parties = resumed["calls"][0]["parties"].as_array().unwrap();
    let numbers: Vec<&str> = parties.iter().map(|party| party["dn"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["5001", "5002"], "carol is no ghost");
    // And so is a call that is over altogether.
    bob.sync().await;
    let seq = bob.last_seq();
    bob.cut();
    alice.send("hangup", json!({ "callId": alices })).await;
    alice.expect("callEnded").await;
    let (_, resumed) = resume(&switch, session.as_ref(), seq).await;
    assert_eq!(resumed["calls"], json!([]));
}

/// livekit/livekit#3456: after a reload somebody could not join, as the old session was in the way. The same device anew takes
/// its place, and the old socket is told so.
#[tokio::test]
async fn reloaded_page_takes_the_place_of_the_old_one() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = named(&switch, "5002", "laptop").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    let mut reloaded = named(&switch, "5002", "laptop").await;
    assert_eq!(bob.expect("unregistered").await["reason"], "replaced");
    assert_eq!(bob.closed().await, 4403);
    let devices = switch.get("/api/numbers/5002").await.json()["devices"].clone();
    assert_eq!(devices.as_array().unwrap().len(), 1);
    // The old secret is of no use, and the call is that of the page that is there.
    let mut old = Phone::connect(switch.address, "/ws").await;
    old.send("resume", json!({ "session": bob.session, "seq": 0 })).await;
    assert_eq!(old.expect("error").await["code"], 404);
    assert!(switch.grants(&bob).is_empty() && !switch.grants(&reloaded).is_empty());
    reloaded.send("hangup", json!({ "callId": call })).await;
    alice.expect("callEnded").await;
}

/// twilio-voice.js#110: a laptop woke up, registered and listened at once, and was rung by neither. However many of its sockets
/// register, the last one is the device, and it is rung.
#[tokio::test]
async fn device_that_registers_twice_at_once_is_there_once() {
    let switch = Switch::start(Switch::patient()).await;
    let mut alice = switch.phone("5001").await;
    for _ in 0..10 {
        let mut sockets = Vec::new();
        for _ in 0..3 {
            sockets.push(Phone::connect(switch.address, "/ws").await);
        }
        let register = json!({ "dn": "5002", "device": "laptop" });
        let [first, second, third] = &mut sockets[..] else {
            panic!("three")
        };
        tokio::join!(
            first.send("register", register.clone()),
            second.send("register", register.clone()),
            third.send("register", register)
        );
        let mut there = Vec::new();
        for mut socket in sockets {
            socket.expect("registered").await;
            there.push(socket);
        }
        while switch.get("/api/numbers/5002").await.json()["devices"]
            .as_array()
            .unwrap()
            .len()
            != 1
        {
            switch.breathe().await;
        }
        alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
        let mut rung = 0;
        for mut socket in there {
            match socket.next().await {
                Ok(message) if message["type"] == "incomingCall" => {
                    socket
                        .send("reject", json!({ "callId": message["payload"]["callId"] }))
                        .await;
                    socket.expect("callEnded").await;
                    socket.send("unregister", json!({})).await;
                    socket.expect("unregistered").await;
                    rung += 1;
                }
                // Told that another took its place, and closed.
                other => {
                    assert_eq!(other.unwrap()["payload"]["reason"], "replaced");
                    assert_eq!(socket.closed().await, 4403);
                }
            }
        }
        assert_eq!(rung, 1);
        alice.expect("callEnded").await;
    }
}

/// A call that alice has begun, and calls `c`, comes into a state.
async fn bring_to(state: &str, call: &Value, [alice, bob, carol]: [&mut Phone; 3]) {
    let bobs = json!({ "callId": call });
    if state == "ringing" {
        bob.expect("incomingCall").await;
        bob.send("ringing", bobs.clone()).await;
        while alice.expect("callProgress").await["state"] != "ringing" {}
    }
    if ["up", "held", "transferring", "conference"].contains(&state) {
        bob.expect("incomingCall").await;
        bob.send("answer", bobs.clone()).await;
        alice.expect("callAccepted").await;
    }
    match state {
        "held" => {
            alice.send("hold", json!({ "callId": "c", "hold": true })).await;
            bob.expect("held").await;
        }
        "transferring" => {
            alice.send("transfer", json!({ "callId": "c", "to": "5003" })).await;
            carol.expect("incomingCall").await;
        }
        "conference" => {
            alice.send("add", json!({ "callId": "c", "to": "5003" })).await;
            let incoming = carol.expect("incomingCall").await;
            carol.send("answer", json!({ "callId": incoming["callId"] })).await;
            carol.expect("callAccepted").await;
        }
        _ => {}
    }
}

/// jambonz-feature-server#94 and #95: whether REST could hang up depended on the call's state, and the second attempt was an
/// error of the server. It ends a call in any state; afterwards there is no such call.
#[tokio::test]
async fn programs_hang_up_in_any_state_once() {
    // A hook that takes the question and does not answer.
    let hook = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hook.local_addr().unwrap();
    let queue = "[queues.support]\nagents = [\"5009\"]\n[[rules]]\nto = \"100\"\ntarget = \"queue/support\"\n";
    let plan = format!(
        "{queue}[[rules]]\nto = \"200\"\nhook = \"http://{address}/\"\nhook_timeout_ms = 30000\nhook_fallback = \"queue/support\"\n"
    );
    let settings = Settings {
        dialplan: Dialplan::parse(&plan).unwrap(),
        ..Switch::patient()
    };
    let switch = Switch::start(settings).await;
    let states = [
        "calling",
        "ringing",
        "up",
        "held",
        "queued",
        "hook",
        "transferring",
        "conference",
        "first",
    ];
    for (done, state) in states.iter().enumerate() {
        let mut alice = switch.phone("5001").await;
        let mut bob = named(&switch, "5002", "one").await;
        let mut carol = switch.phone("5003").await;
        let to = match *state {
            "queued" => "100",
            "hook" => "200",
            _ => "5002",
        };
        let call = if *state == "first" {
            let body = json!({ "from": "5001", "to": "5002" });
            let made = switch.post("/api/call/make", &body).await.json();
            alice.expect("incomingCall").await;
            made["call_id"].clone()
        } else {
            alice.send("call", json!({ "to": to, "callId": "c" })).await;
            alice.expect("callProgress").await["call"].clone()
        };
        bring_to(state, &call, [&mut alice, &mut bob, &mut carol]).await;
        let body = json!({ "call_id": call });
        let answer = switch.post("/api/call/hangup", &body).await;
        assert_eq!(answer.status, 200, "{state}: {answer:?}");
        assert_eq!(alice.expect("callEnded").await["by"], "system", "{state}");
        for _ in 0..2 {
            assert_eq!(switch.post("/api/call/hangup", &body).await.status, 404, "{state}");
        }
        assert_nothing_is_left(&switch, done as u64 + 1).await;
        for mut phone in [alice, bob, carol] {
            assert!(switch.grants(&phone).is_empty(), "{state}");
            phone.send("unregister", json!({})).await;
            phone.expect("unregistered").await;
        }
    }
}

/// jambonz-feature-server#281, #822 and #620, livekit/livekit#1130: events were missing, or had no counterpart. Each leg begins
/// once, ends once, and goes through its states in order; also one whose caller cancels.
#[tokio::test]
async fn each_leg_has_one_beginning_and_one_end_in_the_events() {
    let switch = Switch::start(Switch::patient()).await;
    let mut events = follow(&switch, None).await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut tablet = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    // Answered by one of two, transferred, hung up.
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    tablet.expect("callEnded").await;
    bob.send("transfer", json!({ "callId": call, "to": "5003" })).await;
    let incoming = carol.expect("incomingCall").await;
    carol.send("answer", json!({ "callId": incoming["callId"] })).await;
    bob.expect("callEnded").await;
    alice.send("hangup", json!({ "callId": "call-1" })).await;
    carol.expect("callEnded").await;
    // Cancelled by its caller, declined, and to nobody.
    alice.send("call", json!({ "to": "5003", "callId": "c-2" })).await;
    carol.expect("incomingCall").await;
    alice.send("hangup", json!({ "callId": "c-2" })).await;
    carol.expect("callEnded").await;
    alice.send("call", json!({ "to": "5003", "callId": "c-3" })).await;
    let incoming = carol.expect("incomingCall").await;
    carol.send("reject", json!({ "callId": incoming["callId"] })).await;
    carol.expect("callEnded").await;
    alice.send("call", json!({ "to": "7777", "callId": "c-4" })).await;
    while alice.expect("callEnded").await["callId"] != "c-4" {}
    let mut legs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut ended = 0;
    while ended < 4 {
        let (_, kind, told) = event(&mut events, &["leg", "callRecord"]).await;
        if kind == "callRecord" {
            ended += 1;
            continue;
        }
        let states = legs.entry(told["party"].as_str().unwrap().to_owned()).or_default();
        let state = told["state"].as_str().unwrap();
        // Told once more when something else of the leg has changed.
        if states.last().is_none_or(|last| last != state) {
            states.push(state.to_owned());
        } else {
            assert_ne!(state, "hangup", "two ends");
        }
    }
    // Caller, two forks and whom it was transferred to; two, two, and one without anybody.
    assert_eq!(legs.len(), 4 + 2 + 2 + 1, "{legs:#?}");
    let order = ["calling", "ringing", "up", "hangup"];
    for (leg, states) in &legs {
        let places: Vec<usize> = states
            .iter()
            .map(|state| order.iter().position(|known| known == state).unwrap())
            .collect();
        assert!(places.is_sorted_by(|one, next| one < next), "{leg}: {states:?}");
        assert_eq!(
            (&*states[0], states.last().map(String::as_str)),
            ("calling", Some("hangup")),
            "{leg}"
        );
    }
}

/// jambonz-feature-server#1206 and #1103: a call that is unknown was an error of the server, and it was told wrongly who had
/// ended one. An unknown call is 404 on every path; `by` is right for each side, a supervisor and the switch.
#[tokio::test]
async fn it_is_told_who_ended_a_call() {
    let switch = Switch::start(Switch::patient()).await;
    for verb in ["hangup", "hold", "mute", "record", "disconnect"] {
        let path = format!("/api/call/{:032x}/{verb}", 7);
        assert_eq!(switch.post(&path, &json!({})).await.status, 404, "{verb}");
    }
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut chief = Phone::connect(switch.address, "/ws").await;
    chief
        .send(
            "register",
            json!({ "dn": "5009", "device": "desk", "role": "supervisor" }),
        )
        .await;
    chief.expect("registered").await;
    for (who, of_alice, of_bob, recorded) in [
        ("alice", "local", "remote", "/1"),
        ("bob", "remote", "local", "/2"),
        ("chief", "supervisor", "supervisor", "supervisor"),
        ("program", "system", "system", "api"),
        ("supervising program", "system", "system", "api"),
    ] {
        let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
        match who {
            "alice" => drop(alice.send("hangup", json!({ "callId": alices })).await),
            "bob" => drop(bob.send("hangup", json!({ "callId": call })).await),
            "chief" => drop(chief.send("disconnect", json!({ "callId": call })).await),
            "program" => drop(switch.post("/api/call/hangup", &json!({ "call_id": call })).await),
            _ => drop(switch.post(&format!("/api/call/{call}/disconnect"), &json!({})).await),
        }
        assert_eq!(alice.expect("callEnded").await["by"], of_alice, "{who}");
        assert_eq!(bob.expect("callEnded").await["by"], of_bob, "{who}");
        let record = switch.get(&format!("/api/call/{call}")).await.json();
        assert!(
            record["by"].as_str().unwrap().ends_with(recorded),
            "{who}: {}",
            record["by"]
        );
    }
    // The switch itself: the time to ring is over.
    alice.send("call", json!({ "to": "5002", "timeout": 1 })).await;
    assert_eq!(alice.expect("callEnded").await["by"], "system");
}
