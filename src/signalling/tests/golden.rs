//! Transcripts of every message, compared exactly.

use serde_json::json;

use crate::harness::{Switch, compare};
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
