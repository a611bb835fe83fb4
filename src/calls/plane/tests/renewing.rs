//! A plane that failed is followed by another.

use super::switch::*;
use crate::*;

#[test]
fn calls_that_are_up_go_on_and_what_was_under_way_ends() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let (carol, dave) = (switch.phone(3, "5003"), switch.phone(4, "5004"));
    let (erin, lost) = (switch.phone(5, "5005"), switch.phone(6, "5006"));
    let up = switch.talk(alice, bob, "5002");
    switch.hold(bob, up, true);
    let rings = switch.dial(carol, "5004");
    switch.ring(dave, rings);
    switch.handle(Event::Register(RegisterEvent::Lost { session: lost }));
    let request = switch.request();
    switch.handle(Event::Watch {
        request,
        session: erin,
        event: WatchEvent::Numbers(vec![number("5001")]),
    });
    let before = (switch.may(alice).0.join(""), switch.may(bob).0.join(""));
    for session in [alice, bob, carol, dave, erin] {
        switch.told(session);
    }
    switch.reports.clear();
    switch.pass(seconds(3));

    switch.plane.renew(switch.now);
    switch.pass(seconds(0));
    switch.handle(Event::Admin(AdminEvent::Declare {
        numbers: Vec::new(),
        exist: true,
    }));
    // Nobody of the call that is up is told anything, and both may do what they might.
    assert!(switch.told(alice).is_empty() && switch.told(bob).is_empty());
    assert_eq!((switch.may(alice).0.join(""), switch.may(bob).0.join("")), before);
    assert_eq!(switch.plane.calls_count(), 1);
    assert_eq!(switch.plane.devices_count(), 6);
    // What rang is over, once for each.
    for session in [carol, dave] {
        assert_eq!(switch.ended(session), [(rings, Cause::Internal)]);
    }
    let records = switch.call_records();
    assert_eq!(
        (records.len(), records[0].call, records[0].cause),
        (1, rings, Cause::Internal)
    );
    assert_eq!(records[0].legs.len(), 2);
    assert!(
        !switch
            .reports
            .iter()
            .any(|report| matches!(report, Report::Registration { .. }))
    );
    // The call is what it was: on hold, as long as it has been, and ends as any.
    switch.hold(bob, up, false);
    assert!(!switch.told(alice).is_empty());
    switch.pass(seconds(4));
    switch.hang_up(alice, up);
    let record = switch.call_records().pop().unwrap().clone();
    assert_eq!((record.cause, record.times.duration), (Cause::Normal, seconds(7)));
    assert_eq!(record.legs.len(), 2);
    // Watchers watch, numbers can be called, and who was lost is gone in time.
    assert!(
        switch
            .told(erin)
            .iter()
            .any(|notice| matches!(notice, Notice::Presence { .. }))
    );
    let again = switch.talk(carol, dave, "5004");
    assert_ne!(again, rings);
    switch.pass(seconds(60));
    assert_eq!(switch.plane.devices_count(), 5);
}

#[test]
fn records_that_wait_for_counters_are_written_after_all() {
    let settings = Settings {
        half_dead: seconds(0),
        ..Settings::default()
    };
    let mut switch = Switch::with(settings);
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    switch.hang_up(alice, call);
    assert!(switch.call_records().is_empty(), "it waits");
    let waits = switch
        .reports
        .iter()
        .any(|report| matches!(report, Report::CallEnded(record) if record.legs.len() == 2));
    assert!(waits, "what is known is told before");
    switch.plane.renew(switch.now);
    let counters = Counters {
        frames: 7,
        ..Counters::default()
    };
    let leg = LegId {
        call,
        leg: LegNumber(1),
    };
    switch.handle(Event::Media(MediaEvent::Counters { leg, counters }));
    switch.pass(seconds(2));
    let records = switch.call_records();
    assert_eq!((records.len(), records[0].cause), (1, Cause::Normal));
    let frames: Vec<Option<u64>> = records[0]
        .legs
        .iter()
        .map(|leg| leg.counters.map(|counted| counted.frames))
        .collect();
    assert!(frames.contains(&Some(7)) && frames.contains(&None), "{frames:?}");
}
