//! A fault of the program on the calls thread: calls that are up do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moqswitch_signalling::calls::{CallId, Grants, LegCodecs, LegId, SessionId};
use moqswitch_signalling::{Busy, Media, MediaPlane, RecordingMedia, Settings, UtcOffset};
use serde_json::json;

use crate::harness::Switch;
use crate::innocent::assert_nothing_is_left;
use crate::main_path::connect;

/// The clock on the wall fails once when it is told to: in the middle of an event.
fn failing(settings: Settings) -> (Settings, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&fails);
    let utc_offset = UtcOffset::new(move |_| {
        assert!(!armed.swap(false, Ordering::SeqCst), "a fault of the test's own");
        0
    });
    (Settings { utc_offset, ..settings }, fails)
}

#[tokio::test]
async fn plane_that_fails_costs_what_was_under_way_and_no_call_that_is_up() {
    let (settings, fails) = failing(Switch::patient());
    let switch = Switch::start(settings).await;
    let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
    let (mut carol, mut dave) = (switch.phone("5003").await, switch.phone("5004").await);
    let (alices, call) = connect(&mut alice, &mut bob, "5002").await;
    carol.send("call", json!({ "to": "5004", "callId": "rings" })).await;
    dave.expect("incomingCall").await;
    alice.sync().await;
    bob.sync().await;
    let before = (switch.grants(&alice), switch.grants(&bob));
    let told = switch.media.history().len();
    alice.heard();
    bob.heard();

    fails.store(true, Ordering::SeqCst);
    dave.send("subscribe", json!({ "dns": ["5001"] })).await;
    // Who asked is told, what rang is over for both, and has its record.
    assert_eq!(dave.expect("callEnded").await["reason"], "internal");
    assert_eq!(carol.expect("callEnded").await["reason"], "internal");
    carol.sync().await;
    let of_call = [alice.session(), bob.session()];
    let since = switch.media.history().split_off(told);
    for (session, grants) in since.iter().filter(|(session, _)| of_call.contains(session)) {
        let was = if *session == of_call[0] { &before.0 } else { &before.1 };
        assert_eq!(grants, was, "they may do what they might, all the time");
    }
    assert_eq!((switch.grants(&alice), switch.grants(&bob)), before);
    assert!(
        alice.rest().await.is_empty() && bob.rest().await.is_empty(),
        "they notice nothing"
    );
    // The call is one as any other.
    alice.send("hold", json!({ "callId": alices, "hold": true })).await;
    alice.expect("held").await;
    assert_eq!(bob.expect("held").await["callId"], *call);
    bob.send("hangup", json!({ "callId": call })).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "normal_clearing");
    // And there are others.
    let (again, _) = connect(&mut carol, &mut dave, "5004").await;
    carol.send("hangup", json!({ "callId": again })).await;
    carol.expect("callEnded").await;
    let figures = switch.handle().figures().await.unwrap();
    assert_eq!((figures.faults, figures.renewals, figures.devices), (1, 1, 4));
    assert_nothing_is_left(&switch, 3).await;
}

/// Tells the relay, and fails once when it is told to.
struct Failing(RecordingMedia, Arc<AtomicBool>);

impl MediaPlane for Failing {
    fn grants(&mut self, session: SessionId, grants: &Grants) -> Result<(), Busy> {
        assert!(!self.1.swap(false, Ordering::SeqCst), "a fault of the test's own");
        self.0.grants(session, grants)
    }

    fn media(&mut self, session: SessionId) -> Media {
        self.0.media(session)
    }

    fn over(&mut self, session: SessionId) {
        MediaPlane::over(&mut self.0, session);
    }

    fn codecs(&mut self, _call: CallId, _legs: &[LegCodecs]) {}

    fn count(&mut self, _leg: LegId) {}
}

#[tokio::test]
async fn what_cannot_be_told_is_left_out_and_the_rest_is_told() {
    let (media, fails) = (RecordingMedia::default(), Arc::new(AtomicBool::new(false)));
    let plane = Box::new(Failing(media.clone(), Arc::clone(&fails)));
    let switch = Switch::with_media(Switch::settings(), media, plane).await;
    let (mut alice, mut bob) = (switch.phone("5001").await, switch.phone("5002").await);
    alice.send("call", json!({ "to": "5002", "callId": "c" })).await;
    let incoming = bob.expect("incomingCall").await;
    fails.store(true, Ordering::SeqCst);
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    alice.expect("callAccepted").await;
    bob.expect("callAccepted").await;
    // A grant is told again.
    while switch.grants(&alice).is_empty() || switch.grants(&bob).is_empty() {
        switch.breathe().await;
    }
    alice.send("hangup", json!({ "callId": "c" })).await;
    alice.expect("callEnded").await;
    bob.expect("callEnded").await;
    let figures = switch.handle().figures().await.unwrap();
    assert_eq!((figures.faults, figures.renewals), (1, 0));
    assert_nothing_is_left(&switch, 1).await;
}
