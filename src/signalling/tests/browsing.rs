//! Devices that speak WebRTC with who does not, while shards have too much to do.

use std::time::Duration;

use moqswitch_signalling::{RecordingRtp, RtpCommand, RtpError, RtpIceServer, Settings, calls};
use serde_json::json;

use crate::harness::{Phone, Switch};

const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000\r\n";

async fn house() -> (Switch, RecordingRtp) {
    let rtp = RecordingRtp::default().with_browsers();
    let switch = Switch::start(Settings {
        browsers: Box::new(rtp.clone()),
        ..Switch::settings()
    });
    (switch.await, rtp)
}

async fn until(switch: &Switch, rtp: &RecordingRtp, wanted: impl Fn(&RtpCommand) -> bool) {
    while !rtp.take_history().iter().any(&wanted) {
        switch.breathe().await;
    }
}

#[tokio::test]
async fn an_offer_that_a_busy_shard_could_not_take_is_answered_a_little_later() {
    let (switch, rtp) = house().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let offered = json!({ "to": "5002", "sdp": "an offer of a browser" });
    alice.send("call", offered).await;
    let call = bob.expect("incomingCall").await["callId"].clone();
    for _ in 0..3 {
        rtp.refuse(RtpError::Busy);
    }
    bob.send("answer", json!({ "callId": call })).await;
    let accepted = alice.expect("callAccepted").await;
    assert_eq!(accepted.get("sdp"), None);
    assert_eq!(alice.expect("sdpAnswer").await["sdp"], "an answer");
    until(&switch, &rtp, |command| matches!(command, RtpCommand::Hear(..))).await;
}

#[tokio::test]
async fn an_answer_that_a_busy_shard_could_not_take_opens_its_leg_a_little_later() {
    let (switch, rtp) = house().await;
    let mut alice = switch.phone("5001").await;
    let mut bob = Phone::connect(switch.address, "/ws").await;
    bob.send("register", json!({ "dn": "5002", "device": "page", "webrtc": true }))
        .await;
    bob.expect("registered").await;
    alice.send("call", json!({ "to": "5002" })).await;
    let incoming = bob.expect("incomingCall").await;
    assert_eq!(incoming["sdp"], "an offer");
    for _ in 0..3 {
        rtp.refuse(RtpError::Busy);
    }
    bob.send("answer", json!({ "callId": incoming["callId"], "sdp": ANSWER }))
        .await;
    alice.expect("callAccepted").await;
    until(
        &switch,
        &rtp,
        |command| matches!(command, RtpCommand::Answered(_, sdp) if sdp == ANSWER),
    )
    .await;
    // Its end closes the leg.
    alice.send("hangup", json!({ "callId": incoming["callId"] })).await;
    bob.expect("callEnded").await;
    until(&switch, &rtp, |command| matches!(command, RtpCommand::Close(_))).await;
    assert!(rtp.open_legs().is_empty());
}

#[tokio::test]
async fn who_registers_is_told_of_servers_of_turn_and_nobody_else_is() {
    let stun = RtpIceServer {
        urls: "stun:relay.example:3478".to_owned(),
        username: None,
        credential: None,
        expires: None,
    };
    let turn = RtpIceServer {
        urls: "turn:relay.example:3478".to_owned(),
        username: Some(String::new()),
        credential: Some("a password".to_owned()),
        expires: Some(600),
    };
    let rtp = RecordingRtp::default().with_ice_servers(vec![stun, turn]);
    let switch = Switch::start(Settings {
        browsers: Box::new(rtp),
        ..Switch::settings()
    })
    .await;
    let mut stranger = Phone::connect(switch.address, "/ws").await;
    stranger.send("call", json!({ "to": "5001" })).await;
    let refused = stranger.expect("error").await;
    assert!(!refused.to_string().contains("relay.example"), "{refused}");
    let mut alice = Phone::connect(switch.address, "/ws").await;
    let told = json!([
        { "urls": "stun:relay.example:3478" },
        { "urls": "turn:relay.example:3478", "username": "5001", "credential": "a password", "expires": 600 },
    ]);
    // The second time on the same socket, for credentials that are about to lapse.
    for _ in 0..2 {
        alice.send("register", json!({ "dn": "5001", "device": "page" })).await;
        let registered = alice.expect("registered").await;
        assert_eq!(registered["iceServers"], told);
    }
}

#[tokio::test]
async fn who_is_recorded_hears_a_tone_by_its_leg_or_is_told_to_sound_one() {
    let rtp = RecordingRtp::default().with_browsers();
    let switch = Switch::start(Settings {
        browsers: Box::new(rtp.clone()),
        calls: calls::Settings {
            recording_tone: Duration::from_secs(15),
            ..calls::Settings::default()
        },
        ..Switch::settings()
    })
    .await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    alice
        .send("call", json!({ "to": "5002", "sdp": "an offer of a browser" }))
        .await;
    let call = bob.expect("incomingCall").await["callId"].clone();
    bob.send("answer", json!({ "callId": call })).await;
    alice.expect("callAccepted").await;
    for (on, tone) in [(true, Some(15)), (false, None)] {
        bob.send("record", json!({ "callId": call, "on": on })).await;
        let (of_leg, of_phone) = (alice.expect("recording").await, bob.expect("recording").await);
        assert_eq!((&of_leg["on"], of_leg.get("tone")), (&json!(on), None));
        assert_eq!(of_phone.get("tone"), tone.map(|tone| json!(tone)).as_ref());
        let every = tone.map(Duration::from_secs);
        let is_told = |command: &RtpCommand| matches!(command, RtpCommand::Announce(_, told) if *told == every);
        until(&switch, &rtp, is_told).await;
    }
}
