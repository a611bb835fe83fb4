//! Devices that speak WebRTC with who does not, while shards have too much to do.

use moqswitch_signalling::{RecordingRtp, RtpCommand, RtpError, Settings};
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
