//! The sequences of the two older clients, letter by letter.

use serde_json::{Value, json};

use crate::harness::{Phone, Switch, compare};

/// The client of the call centre: it knows neither `ringing` nor `reject`, and sends what it has always sent.
#[tokio::test]
async fn client_of_the_call_centre() {
    let switch = Switch::plain().await;
    let mut bob = switch.phone("1003").await;
    let mut agent = Phone::connect(switch.address, "/ws").await;
    agent
        .raw(json!({"type":"register","payload":{"dn":"5001","password":"(a password)","displayName":"Agent 5001"},"id":"msg-1"}))
        .await;
    let registered = agent.expect_whole("registered").await;
    assert_eq!(
        (&registered["id"], &registered["payload"]["expires"]),
        (&json!("msg-1"), &json!(3600))
    );
    agent
        .raw(json!({"type":"call","payload":{"to":"1003","callId":"call-1734522035000","sdp":"v=0\r\noffer"},"id":"msg-2"}))
        .await;
    let candidate =
        json!({"candidate":"candidate:1 1 udp 2122260223 127.0.0.1 5000 typ host","sdpMid":"0","sdpMLineIndex":0});
    agent
        .raw(
            json!({"type":"iceCandidate","payload":{"callId":"call-1734522035000","candidate":candidate},"id":"msg-3"}),
        )
        .await;
    agent.sync().await;
    let incoming = bob.expect("incomingCall").await;
    assert_eq!(
        (&incoming["from"], &incoming["displayName"], &incoming["sdp"]),
        (&json!("5001"), &json!("Agent 5001"), &json!("v=0\r\noffer"))
    );
    assert_eq!(bob.expect("iceCandidate").await["candidate"], candidate);
    bob.raw(json!({"type":"answer","payload":{"callId":incoming["callId"],"sdp":"v=0\r\nanswer"},"id":"msg-9"}))
        .await;
    let accepted = agent.expect_whole("callAccepted").await;
    assert_eq!(
        (&accepted["id"], &accepted["payload"]["sdp"]),
        (&json!("msg-2"), &json!("v=0\r\nanswer"))
    );
    assert_eq!(accepted["payload"]["callId"], "call-1734522035000");
    for (id, kind, payload) in [
        ("msg-4", "hold", json!({"callId":"call-1734522035000","hold":true})),
        ("msg-5", "hold", json!({"callId":"call-1734522035000","hold":false})),
        ("msg-6", "dtmf", json!({"callId":"call-1734522035000","digit":"1"})),
        (
            "msg-7",
            "hangup",
            json!({"callId":"call-1734522035000","reason":"user_hangup"}),
        ),
        ("msg-8", "unregister", json!({"dn":"5001"})),
    ] {
        agent.raw(json!({ "type": kind, "payload": payload, "id": id })).await;
    }
    let ended = agent.expect("callEnded").await;
    assert_eq!(
        (&ended["reason"], ended["duration"].is_u64()),
        (&json!("normal_clearing"), true)
    );
    assert_eq!(agent.expect("unregistered").await["reason"], "requested");
    compare("seed-call-centre.txt", &[("agent", &agent)]);
}

fn types(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["type"].as_str()).collect()
}

/// The phone of the channel driver: its offer comes before its call, and nobody else is told of what is not theirs.
#[tokio::test]
async fn phone_of_the_channel_driver() {
    let switch = Switch::plain().await;
    let mut alice = Phone::connect(switch.address, "/ws").await;
    let mut bob = Phone::connect(switch.address, "/signaling").await;
    let mut eve = Phone::connect(switch.address, "/ws").await;
    for (phone, user) in [(&mut alice, "alice"), (&mut bob, "bob"), (&mut eve, "eve")] {
        phone.raw(json!({"type":"register","user_id":user})).await;
        let registered = phone.next().await.unwrap();
        assert_eq!(
            (&registered["user_id"], &registered["status"]),
            (&json!(user), &json!("success"))
        );
    }
    let offer = json!({"type":"offer","sdp":"v=0\r\noffer"});
    alice
        .raw(json!({"type":"sdp_offer","sdp":offer,"session_id":"s-1","dest":"bob","from":"alice"}))
        .await;
    alice
        .raw(json!({"type":"ice_candidate","candidate":{"candidate":"candidate:1"},"session_id":"s-1","dest":"bob"}))
        .await;
    // Who calls is not believed.
    alice
        .raw(json!({"type":"call","session_id":"s-1","dest":"bob","from":"mallory"}))
        .await;
    let incoming = bob.next().await.unwrap();
    assert_eq!(
        (&incoming["type"], &incoming["from"]),
        (&json!("incoming_call"), &json!("alice"))
    );
    let offered = bob.next().await.unwrap();
    assert_eq!((&offered["type"], &offered["sdp"]), (&json!("sdp_offer"), &offer));
    assert_eq!(
        bob.next().await.unwrap()["candidate"],
        json!({"candidate":"candidate:1"})
    );
    assert_eq!(
        alice.next().await.unwrap(),
        json!({"type":"ringing","session_id":"s-1"})
    );
    let session = incoming["session_id"].clone();
    bob.raw(json!({"type":"answer","session_id":session,"from":"bob"}))
        .await;
    assert_eq!(
        alice.next().await.unwrap(),
        json!({"type":"call_answered","session_id":"s-1"})
    );
    bob.raw(
        json!({"type":"sdp_answer","sdp":{"type":"answer","sdp":"v=0\r\nanswer"},"session_id":session,"dest":"alice"}),
    )
    .await;
    assert_eq!(alice.next().await.unwrap()["sdp"]["sdp"], "v=0\r\nanswer");
    // Another's session is nothing to eve, and what she says of it is heard by nobody.
    eve.raw(json!({"type":"hangup","session_id":session})).await;
    assert_eq!(eve.next().await.unwrap()["code"], 481);
    alice.raw(json!({"type":"hangup","session_id":"s-1"})).await;
    assert_eq!(alice.next().await.unwrap()["type"], "call_ended");
    assert_eq!(bob.next().await.unwrap()["type"], "call_ended");
    alice
        .raw(json!({"type":"call","session_id":"s-2","dest":"nobody","from":"alice"}))
        .await;
    let failed = alice.next().await.unwrap();
    assert_eq!(
        failed,
        json!({"type":"call_failed","session_id":"s-2","reason":"user_not_found"})
    );
    eve.raw(json!({"type":"nonsense"})).await;
    assert_eq!(eve.next().await.unwrap()["message"], "Unknown message type");
    assert_eq!(types(&eve.heard()), ["registered", "error", "error"]);
    compare("seed-channel-driver.txt", &[("alice", &alice), ("bob", &bob)]);
}

/// Who is there keeps its name, and both ring: nobody steals it.
#[tokio::test]
async fn names_of_the_channel_driver_are_not_stolen() {
    let switch = Switch::plain().await;
    let mut phones = Vec::new();
    for user in ["alice", "bob", "bob"] {
        let mut phone = Phone::connect(switch.address, "/ws").await;
        phone.raw(json!({"type":"register","user_id":user})).await;
        phone.next().await.unwrap();
        phones.push(phone);
    }
    phones[0]
        .raw(json!({"type":"call","session_id":"s-3","dest":"bob","from":"alice"}))
        .await;
    for bob in &mut phones[1..] {
        assert_eq!(bob.next().await.unwrap()["type"], "incoming_call");
    }
}

/// A phone of the one dialect calls one of the other.
#[tokio::test]
async fn dialects_understand_each_other() {
    let switch = Switch::plain().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = Phone::connect(switch.address, "/ws").await;
    bob.raw(json!({"type":"register","user_id":"bob"})).await;
    bob.next().await.unwrap();
    alice.send("call", json!({ "to": "bob", "sdp": "v=0 offer" })).await;
    let incoming = bob.next().await.unwrap();
    let session = incoming["session_id"].clone();
    assert_eq!(
        bob.next().await.unwrap()["sdp"],
        json!({ "type": "offer", "sdp": "v=0 offer" })
    );
    bob.raw(json!({"type":"answer","session_id":session})).await;
    bob.raw(json!({"type":"sdp_answer","sdp":{"type":"answer","sdp":"v=0 answer"},"session_id":session}))
        .await;
    alice.expect("callAccepted").await;
    assert_eq!(alice.expect("sdpAnswer").await["sdp"], "v=0 answer");
    // Its dialect has no word for coming back.
    bob.cut();
    let ended = alice.expect("callEnded").await;
    assert_eq!(ended["by"], "remote");
}
