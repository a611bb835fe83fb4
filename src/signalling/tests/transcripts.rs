//! Transcripts of every message, compared exactly.

use moqswitch_signalling::calls::{Dialplan, MediaEvent};
use moqswitch_signalling::{RecordingMedia, Settings};
use serde_json::json;

use crate::harness::{Phone, Switch, compare};
use crate::main_path::connect;

#[tokio::test]
async fn call_from_beginning_to_end() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (alices, bobs) = connect(&mut alice, &mut bob, "5002").await;
    for (kind, payload) in [
        (
            "iceCandidate",
            json!({ "callId": alices, "candidate": { "candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0 } }),
        ),
        ("hold", json!({ "callId": alices, "hold": true })),
        ("hold", json!({ "callId": alices, "hold": false })),
        ("mute", json!({ "callId": alices, "muted": true })),
        ("dtmf", json!({ "callId": alices, "digit": "12#" })),
        (
            "quality",
            json!({ "callId": alices, "rtt": 500, "jitter": 1, "loss": 0.01, "mos": 2.5 }),
        ),
    ] {
        alice.send(kind, payload).await;
        alice.sync().await;
        bob.sync().await;
    }
    bob.send("hangup", json!({ "callId": bobs })).await;
    bob.sync().await;
    alice.sync().await;
    compare("call.txt", &[("alice", &alice), ("bob", &bob)]);
}

#[tokio::test]
async fn transfers_conferences_and_recording() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let mut carol = switch.phone("5003").await;
    let (alices, bobs) = connect(&mut alice, &mut bob, "5002").await;
    alice.send("add", json!({ "callId": alices, "to": "5003" })).await;
    let incoming = carol.expect("incomingCall").await;
    carol.send("answer", json!({ "callId": incoming["callId"] })).await;
    carol.sync().await;
    alice.send("record", json!({ "callId": alices })).await;
    alice.sync().await;
    let party = format!("{bobs}/2");
    alice.send("remove", json!({ "callId": alices, "party": party })).await;
    alice.sync().await;
    // Nobody is there: it fails, and the call goes on.
    alice.send("transfer", json!({ "callId": alices, "to": "9999" })).await;
    alice.sync().await;
    // Bob, who is out of it, takes it over.
    alice.send("transfer", json!({ "callId": alices, "to": "5002" })).await;
    let incoming = bob.expect("incomingCall").await;
    bob.send(
        "reject",
        json!({ "callId": incoming["callId"], "reason": "busy", "scope": "device" }),
    )
    .await;
    bob.sync().await;
    alice.sync().await;
    alice.send("transfer", json!({ "callId": alices, "to": "5002" })).await;
    let incoming = bob.expect("incomingCall").await;
    bob.send("ringing", json!({ "callId": incoming["callId"] })).await;
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    bob.sync().await;
    alice.sync().await;
    carol.send("hangup", json!({ "callId": bobs })).await;
    carol.sync().await;
    bob.sync().await;
    compare("conference.txt", &[("alice", &alice), ("bob", &bob), ("carol", &carol)]);
}

#[tokio::test]
async fn supervisors_watch_and_take_part() {
    let switch = Switch::plain().await;
    let mut chief = Phone::connect(switch.address, "/ws").await;
    chief
        .send(
            "register",
            json!({ "dn": "5009", "role": "supervisor", "device": "desk" }),
        )
        .await;
    chief.sync().await;
    chief
        .send("subscribe", json!({ "dns": ["5001", "5002"], "calls": true }))
        .await;
    chief.sync().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    // Everything of the call's beginning has been told.
    alice.sync().await;
    for (kind, payload) in [
        ("subscribe", json!({ "calls": false })),
        ("agent", json!({ "state": "away" })),
        ("listen", json!({ "callId": call })),
        ("whisper", json!({ "callId": call })),
        ("barge", json!({ "callId": call })),
        ("stop", json!({ "callId": call })),
        ("takeOver", json!({ "callId": call, "party": format!("{call}/1") })),
    ] {
        chief.send(kind, payload).await;
        chief.sync().await;
    }
    alice.send("hold", json!({ "callId": alices, "hold": true })).await;
    alice.sync().await;
    chief.send("disconnect", json!({ "callId": call })).await;
    chief.sync().await;
    bob.sync().await;
    compare("supervisor.txt", &[("chief", &chief), ("alice", &alice), ("bob", &bob)]);
}

#[tokio::test]
async fn queues_and_calls_that_there_were() {
    let plan = "[queues.support]\nagents = [\"5002\"]\nmusic = \"jazz\"\n\n[[rules]]\nto = \"100\"\ntarget = \"queue/support\"\n";
    let settings = Settings {
        dialplan: Dialplan::parse(plan).unwrap(),
        ..Switch::settings()
    };
    let switch = Switch::start(settings).await;
    let mut alice = switch.phone("5001").await;
    let mut carol = switch.phone("5003").await;
    alice.send("call", json!({ "to": "100", "callId": "first" })).await;
    alice.sync().await;
    carol.send("call", json!({ "to": "100", "callId": "second" })).await;
    carol.sync().await;
    let queue = switch.get("/api/queues/support").await.json();
    assert_eq!(queue["waiting"].as_array().unwrap().len(), 2);
    let mut chief = Phone::connect(switch.address, "/ws").await;
    chief
        .send(
            "register",
            json!({ "dn": "5009", "role": "supervisor", "device": "desk" }),
        )
        .await;
    chief.sync().await;
    chief.send("subscribe", json!({ "calls": true })).await;
    chief.sync().await;
    assert_eq!(
        chief.said.last().unwrap().1["payload"]["calls"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let mut bob = switch.phone("5002").await;
    let incoming = bob.expect("incomingCall").await;
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    bob.sync().await;
    alice.sync().await;
    carol.sync().await;
    compare("queue.txt", &[("alice", &alice), ("carol", &carol), ("bob", &bob)]);
}

#[tokio::test]
async fn resumption_and_end() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (alices, _) = connect(&mut alice, &mut bob, "5002").await;
    bob.sync().await;
    let (session, seq) = (bob.session.clone(), bob.last_seq());
    bob.cut();
    alice.send("mute", json!({ "callId": alices, "muted": true })).await;
    alice.sync().await;
    let mut back = Phone::connect(switch.address, "/signaling").await;
    back.send("resume", json!({ "session": session, "seq": seq })).await;
    back.sync().await;
    back.raw(json!({ "type": "ack", "payload": { "seq": back.last_seq() } }))
        .await;
    switch.handle().stop();
    assert_eq!(back.closed().await, 1012);
    compare("resume.txt", &[("bob", &back)]);
}

#[tokio::test]
async fn calls_that_come_to_nothing() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    alice
        .send(
            "call",
            json!({ "to": "5002", "callId": "c-1", "metadata": { "ticket": 7 } }),
        )
        .await;
    let incoming = bob.expect("incomingCall").await;
    bob.send("reject", json!({ "callId": incoming["callId"] })).await;
    bob.sync().await;
    alice.sync().await;
    alice
        .send("call", json!({ "to": "5002", "callId": "c-2", "timeout": 1 }))
        .await;
    while alice.expect("callEnded").await["callId"] != "c-2" {}
    alice.send("call", json!({ "to": "5001", "callId": "c-3" })).await;
    alice.sync().await;
    bob.sync().await;
    compare("failed-calls.txt", &[("alice", &alice), ("bob", &bob)]);
}

/// Somebody begins to watch when a call is up already, and two browsers agree on media anew.
#[tokio::test]
async fn calls_that_are_up_and_offers_that_come_later() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (alices, bobs) = connect(&mut alice, &mut bob, "5002").await;
    for phone in [&mut alice, &mut bob] {
        phone.sync().await;
        phone.said.clear();
    }
    alice
        .send("sdpOffer", json!({ "callId": alices, "sdp": "v=0 another offer" }))
        .await;
    bob.expect("sdpOffer").await;
    bob.send("sdpAnswer", json!({ "callId": bobs, "sdp": "v=0 another answer" }))
        .await;
    alice.expect("sdpAnswer").await;
    let quality = json!({ "callId": alices, "rtt": 10, "jitter": 1, "loss": 0 });
    alice.send("quality", quality).await;
    alice.sync().await;
    bob.sync().await;
    let mut chief = Phone::connect(switch.address, "/ws").await;
    chief
        .send(
            "register",
            json!({ "dn": "5009", "role": "supervisor", "device": "desk" }),
        )
        .await;
    chief.send("subscribe", json!({ "calls": true })).await;
    chief.sync().await;
    compare("late.txt", &[("alice", &alice), ("bob", &bob), ("chief", &chief)]);
}

/// What is played once to a caller, before its call goes on and before it ends.
#[tokio::test]
async fn announcements_are_heard_before_the_call_goes_on() {
    let plan = "[[rules]]\nto = \"900\"\nplay = \"welcome\"\ntarget = \"number/5002\"\nbusy = \"dial/901\"\n\
                [[rules]]\nto = \"901\"\nplay = \"all busy\"\ntarget = \"reject/busy\"\n";
    let settings = Settings {
        dialplan: Dialplan::parse(plan).unwrap(),
        ..Switch::settings()
    };
    let media = RecordingMedia::default().with_player();
    let switch = Switch::with_media(settings, media.clone(), Box::new(media.clone())).await;
    let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
    let over = |play, whole| switch.handle().media(MediaEvent::Played { play, whole }).unwrap();
    alice.send("call", json!({ "to": "900", "callId": "c" })).await;
    let told = alice.expect("announcement").await;
    let (play, path) = media.played().remove(0);
    assert_eq!((&told["on"], &told["music"]), (&json!(true), &json!(path)));
    assert_eq!(
        switch.grants(&alice).subscribe,
        std::slice::from_ref(&path),
        "it may be heard, and nothing else"
    );
    over(play, true);
    assert_eq!(alice.expect("announcement").await["on"], false);
    let incoming = bob.expect("incomingCall").await;
    assert!(switch.grants(&alice).subscribe.is_empty());
    bob.send("reject", json!({ "callId": incoming["callId"], "reason": "busy" }))
        .await;
    while alice.expect("announcement").await["name"] != "all busy" {}
    let (play, _) = media.played().remove(1);
    over(play, true);
    assert_eq!(alice.expect("callEnded").await["reason"], "busy");
    bob.sync().await;
    alice.sync().await;
    compare("announcement.txt", &[("alice", &alice), ("bob", &bob)]);
    // Who hangs up hears no more of it, and nothing is waited for.
    alice.send("call", json!({ "to": "900", "callId": "d" })).await;
    alice.expect("announcement").await;
    alice.send("hangup", json!({ "callId": "d" })).await;
    alice.expect("callEnded").await;
    let (_, path) = media.played().remove(2);
    assert_eq!(media.stopped(), [path]);
}
