//! Devices that come, go, are lost and come back, in each state of a call and on both sides.

use super::switch::*;
use crate::*;

fn resume(switch: &mut Switch, session: SessionId) -> Reply {
    let request = switch.request();
    switch.handle(Event::Register(RegisterEvent::Resume { request, session }));
    switch.last_reply().clone()
}

fn lose(switch: &mut Switch, session: SessionId) {
    switch.handle(Event::Register(RegisterEvent::Lost { session }));
}

fn is_over(switch: &mut Switch, session: SessionId) -> Option<UnregisterReason> {
    let told = switch.told(session).into_iter();
    let mut reasons = told.filter_map(|notice| match notice {
        Notice::Unregistered { reason } => Some(reason),
        _ => None,
    });
    reasons.next()
}

/// A call at one of three stages: calling, ringing, up.
fn call_at(stage: usize) -> (Switch, SessionId, SessionId, CallId) {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.dial(alice, "5002");
    if stage > 0 {
        switch.ring(bob, call);
    }
    if stage > 1 {
        switch.answer(bob, call);
    }
    switch.told.clear();
    (switch, alice, bob, call)
}

#[test]
fn a_socket_that_is_cut_keeps_its_call_for_its_grace() {
    for stage in 0..3 {
        for caller_is_lost in [true, false] {
            let (mut switch, alice, bob, call) = call_at(stage);
            let (lost, other) = if caller_is_lost { (alice, bob) } else { (bob, alice) };
            lose(&mut switch, lost);
            let grace = if stage == 2 { 30 } else { 5 };
            let before = std::time::Duration::from_millis(1);
            switch.pass(seconds(grace) - before);
            assert!(switch.ended(other).is_empty(), "stage {stage}");
            // Back in time: nothing has happened.
            let Reply::Resumed(resumed) = resume(&mut switch, lost) else {
                panic!("stage {stage}")
            };
            assert_eq!(resumed.calls.len(), 1);
            assert_eq!(
                (resumed.calls[0].call, resumed.number.as_str()),
                (call, if caller_is_lost { "5001" } else { "5002" })
            );
            // Lost for good.
            lose(&mut switch, lost);
            switch.pass(seconds(grace));
            assert_eq!(switch.ended(other).len(), 1, "stage {stage}");
            let record = switch.call_records()[0];
            assert_eq!((record.cause, record.by), (Cause::Unreachable, EndedBy::System));
            switch.pass(seconds(30));
            assert_eq!(resume(&mut switch, lost), Reply::Refused(Refusal::UnknownSession));
            switch.assert_empty();
        }
    }
}

#[test]
fn a_call_goes_on_while_its_sockets_are_lost() {
    let (mut switch, alice, bob, call) = call_at(2);
    let before = switch.may(alice).1.join("");
    lose(&mut switch, alice);
    lose(&mut switch, bob);
    switch.pass(seconds(20));
    assert_eq!(
        switch.may(alice).1.join(""),
        before,
        "media is no matter of the signalling's socket"
    );
    resume(&mut switch, bob);
    assert_eq!(switch.hang_up(bob, call), Reply::Done);
    assert_eq!(switch.ended(alice), [(call, Cause::Normal)]);
    let Reply::Resumed(resumed) = resume(&mut switch, alice) else {
        panic!("still in time")
    };
    assert!(resumed.calls.is_empty(), "the snapshot is what is so");
}

#[test]
fn a_phone_that_is_away_rings_if_it_is_back_soon() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    lose(&mut switch, bob);
    switch.pass(seconds(10));
    let call = switch.dial(alice, "5002");
    switch.pass(seconds(4));
    let Reply::Resumed(resumed) = resume(&mut switch, bob) else {
        panic!("in time")
    };
    assert_eq!(resumed.calls[0].legs.len(), 2);
    assert_eq!(switch.answer(bob, call), Reply::Done);
    switch.hang_up(bob, call);
    lose(&mut switch, bob);
    switch.told(alice);
    switch.pass(seconds(10));
    let call = switch.dial(alice, "5002");
    switch.pass(seconds(5));
    assert_eq!(switch.ended(alice), [(call, Cause::Unreachable)]);
}

#[test]
fn the_same_device_anew_takes_over_with_its_calls() {
    let mut switch = Switch::new();
    let alice = switch.phone(1, "5001");
    let desk = |id| Registration {
        device: Some(Text::new("desk")),
        ..Registration::phone(session(id), number("5002"))
    };
    switch.register(desk(2));
    let call = switch.talk(alice, session(2), "5002");
    switch.told.clear();
    let Reply::Registered(registered) = switch.register(desk(3)) else {
        panic!("it replaces the old one")
    };
    assert_eq!(registered.calls[0].call, call);
    assert_eq!(is_over(&mut switch, session(2)), Some(UnregisterReason::Replaced));
    assert!(switch.grants[&session(2)].is_empty());
    assert_eq!(switch.may(session(3)).0, [format!("call/{call}/2/**")]);
    assert!(switch.ended(alice).is_empty());
    assert_eq!(
        switch.hang_up(session(2), call),
        Reply::Refused(Refusal::UnknownSession)
    );
    assert_eq!(switch.hang_up(session(3), call), Reply::Done);
    switch.assert_empty();
}

#[test]
fn a_page_that_is_loaded_anew_rings_on_and_sees_who_is_in_its_calls() {
    let mut switch = Switch::new();
    let (alice, carol) = (switch.phone(1, "5001"), switch.phone(9, "5003"));
    let desk = |id| Registration {
        device: Some(Text::new("desk")),
        ..Registration::phone(session(id), number("5002"))
    };
    switch.register(desk(2));
    let up = switch.talk(alice, session(2), "5002");
    let ringing = switch.dial(carol, "5002");
    switch.told.clear();
    switch.register(desk(3));
    let told = switch.told(session(3));
    assert!(matches!(&told[0], Notice::Incoming(incoming) if incoming.call == ringing));
    assert!(
        matches!(&told[1], Notice::Participants { call, participants, .. } if *call == up && participants.len() == 2)
    );
    // A socket that comes back was told what rings; it may have missed who is there.
    resume(&mut switch, session(3));
    assert!(matches!(switch.told(session(3))[..], [Notice::Participants { .. }]));
    assert_eq!(switch.answer(session(3), ringing), Reply::Done);
}

/// A trunk that does not answer is there, and is not called: its calls go on, and what is dialled goes another way.
#[test]
fn a_device_that_cannot_be_reached_keeps_its_calls_and_gets_no_other() {
    let plan = "[[rules]]\nto = \"_0.\"\ntarget = \"trunk/city\"\nunreachable = \"number/5009\"";
    let mut switch = Switch::planned(Settings::default(), Dialplan::parse(plan).unwrap());
    let (alice, boss, other) = (
        switch.phone(1, "5001"),
        switch.supervisor(4, "5004"),
        switch.phone(9, "5009"),
    );
    let trunk = |ringable| Registration {
        kind: DeviceKind::Trunk,
        device: Some(Text::new("sip")),
        ringable,
        ..Registration::phone(session(2), number("city"))
    };
    switch.register(trunk(true));
    let request = switch.request();
    let event = WatchEvent::Numbers(vec![number("city")]);
    switch.handle(Event::Watch {
        request,
        session: boss,
        event,
    });
    let up = switch.dial(alice, "0301");
    assert_eq!(switch.answer(session(2), up), Reply::Done);
    let ringing = switch.dial(alice, "0302");
    switch.told.clear();
    let statuses = |switch: &mut Switch| -> Vec<Status> {
        let told = switch.told(boss).into_iter();
        let told = told.filter_map(|notice| match notice {
            Notice::Presence { status, .. } => Some(status),
            _ => None,
        });
        told.collect()
    };
    let Reply::Registered(registered) = switch.register(trunk(false)) else {
        panic!("it is refreshed")
    };
    assert_eq!(registered.calls.len(), 2);
    assert_eq!(statuses(&mut switch), [Status::Offline]);
    let view = switch.plane.number(&number("city")).expect("it is registered");
    assert_eq!((view.status, view.calls), (Status::Offline, 2));
    assert!(!view.devices[0].is_ringable && !view.devices[0].is_lost);
    assert!(switch.told(session(2)).is_empty(), "it has missed nothing");
    // What is dialled goes another way.
    switch.dial(alice, "0303");
    assert!(matches!(&switch.told(other)[..], [Notice::Incoming(_)]));
    assert!(switch.told(session(2)).is_empty());
    assert_eq!(switch.answer(session(2), ringing), Reply::Done);
    assert_eq!(switch.plane.call(up).unwrap().state, CallState::Up);
    assert_eq!(switch.hang_up(session(2), up), Reply::Done);
    // It may call.
    assert!(matches!(
        switch.dial_by(session(2), "030111", "5004"),
        Reply::Calling { .. }
    ));
    switch.told.clear();
    switch.register(trunk(true));
    assert_eq!(statuses(&mut switch), [Status::Available]);
    switch.dial(alice, "0304");
    assert!(matches!(&switch.told(session(2))[..], [Notice::Incoming(_)]));
}

/// Its flow is gone, and it comes back by registering again: with the same session, as an adapter knows its contact.
#[test]
fn a_telephone_that_is_lost_keeps_its_calls_for_a_while() {
    for comes_back in [true, false] {
        let mut switch = Switch::new();
        let (alice, telephone) = (switch.phone(1, "5001"), switch.telephone(2, "5002"));
        let up = switch.talk(alice, telephone, "5002");
        let ringing = switch.dial(alice, "5002");
        let may = (switch.grants[&alice].clone(), switch.grants[&telephone].clone());
        switch.told.clear();
        lose(&mut switch, telephone);
        switch.pass(seconds(4));
        assert_eq!((&switch.grants[&alice], &switch.grants[&telephone]), (&may.0, &may.1));
        assert!(switch.told.is_empty(), "nobody is told");
        assert!(switch.plane.device(telephone).unwrap().is_lost);
        switch.pass(seconds(1));
        assert_eq!(switch.ended(alice), [(ringing, Cause::Unreachable)]);
        switch.told.clear();
        switch.pass(seconds(24));
        let again = Registration {
            meets: false,
            ..Registration::phone(telephone, number("5002"))
        };
        if comes_back {
            assert!(matches!(switch.register(again), Reply::Registered(_)));
            // It may have missed who is there.
            assert!(matches!(&switch.told(telephone)[..], [Notice::Participants { call, .. }] if *call == up));
            switch.pass(seconds(60));
            assert!(switch.ended(alice).is_empty());
            // What it says while it is lost counts.
            lose(&mut switch, telephone);
            assert_eq!(switch.hang_up(telephone, up), Reply::Done);
            assert_eq!(switch.ended(alice), [(up, Cause::Normal)]);
        } else {
            switch.pass(seconds(1));
            assert_eq!(switch.ended(alice), [(up, Cause::Unreachable)]);
            assert_eq!(is_over(&mut switch, telephone), Some(UnregisterReason::Lost));
            assert!(switch.plane.number(&number("5002")).is_none());
        }
    }
}

#[test]
fn a_name_is_not_stolen_by_another_number() {
    let mut switch = Switch::new();
    let named = |id, text| Registration {
        device: Some(Text::new("desk")),
        ..Registration::phone(session(id), number(text))
    };
    switch.register(named(1, "5001"));
    switch.register(named(2, "5002"));
    assert_eq!(switch.plane.devices_count(), 2);
    // Nor is a session.
    assert_eq!(switch.register(named(1, "5003")), Reply::Refused(Refusal::Duplicate));
}

#[test]
fn registrations_expire_unless_they_are_refreshed() {
    let mut switch = Switch::new();
    let mut registration = Registration::phone(session(1), number("5001"));
    registration.expires = Some(seconds(60));
    switch.register(registration.clone());
    switch.pass(seconds(50));
    assert!(matches!(switch.register(registration), Reply::Registered(_)));
    switch.pass(seconds(50));
    assert_eq!(is_over(&mut switch, session(1)), None);
    switch.pass(seconds(10));
    assert_eq!(is_over(&mut switch, session(1)), Some(UnregisterReason::Expired));
    assert!(switch.plane.number(&number("5001")).is_none());
}

#[test]
fn coming_back_does_not_prolong_a_registration() {
    let mut switch = Switch::new();
    let mut registration = Registration::phone(session(1), number("5001"));
    registration.expires = Some(seconds(60));
    switch.register(registration);
    for left in [40, 20] {
        switch.pass(seconds(20));
        lose(&mut switch, session(1));
        let Reply::Resumed(resumed) = resume(&mut switch, session(1)) else {
            panic!("it is registered")
        };
        assert_eq!(resumed.expires, seconds(left));
    }
    switch.pass(seconds(20));
    assert_eq!(is_over(&mut switch, session(1)), Some(UnregisterReason::Expired));
    assert_eq!(resume(&mut switch, session(1)), Reply::Refused(Refusal::UnknownSession));
    switch.assert_empty();
}

/// Four phones of one number, of which two are lost: the second first.
fn four_with_two_lost() -> Switch {
    let mut switch = Switch::new();
    for id in 1..=4 {
        switch.phone(id, "5001");
    }
    for id in [2, 3] {
        lose(&mut switch, session(id));
        switch.pass(seconds(1));
    }
    switch
}

#[test]
fn one_device_too_many_takes_the_place_of_the_longest_lost() {
    let mut switch = four_with_two_lost();
    switch.phone(5, "5001");
    assert_eq!(is_over(&mut switch, session(2)), Some(UnregisterReason::Lost));
    assert!(matches!(resume(&mut switch, session(3)), Reply::Resumed(_)));
    let reply = switch.register(Registration::phone(session(6), number("5001")));
    assert_eq!(reply, Reply::Refused(Refusal::TooManyDevices), "nobody is lost");
    assert_eq!(switch.plane.number(&number("5001")).unwrap().devices.len(), 4);
}

#[test]
fn who_may_come_back_to_a_call_keeps_its_place() {
    let mut switch = Switch::new();
    for id in 1..=4 {
        switch.phone(id, "5001");
    }
    let bob = switch.phone(10, "5002");
    let call = switch.talk(session(2), bob, "5002");
    for id in [2, 3] {
        lose(&mut switch, session(id));
        switch.pass(seconds(1));
    }
    switch.phone(5, "5001");
    assert_eq!(is_over(&mut switch, session(3)), Some(UnregisterReason::Lost));
    let reply = switch.register(Registration::phone(session(6), number("5001")));
    assert_eq!(reply, Reply::Refused(Refusal::TooManyDevices));
    assert!(matches!(resume(&mut switch, session(2)), Reply::Resumed(_)));
    assert!(switch.plane.call(call).is_some());
}

#[test]
fn a_name_that_a_device_did_not_choose_says_nothing_of_its_session() {
    let mut switch = Switch::new();
    let (alice, tablet) = (switch.phone(0xabcd_ef01, "5001"), switch.phone(0xabcd_ef02, "5001"));
    let name = |switch: &Switch, session| switch.plane.device(session).unwrap().device;
    assert!(!name(&switch, alice).as_str().contains("abcdef01"));
    assert_ne!(name(&switch, alice), name(&switch, tablet));
    let before = name(&switch, alice);
    switch.register(Registration::phone(alice, number("5001")));
    assert_eq!(name(&switch, alice), before, "it is the same device");
}

#[test]
fn whoever_unregisters_leaves_its_calls() {
    let (mut switch, alice, bob, call) = call_at(2);
    let request = switch.request();
    switch.handle(Event::Register(RegisterEvent::Unregister { request, session: bob }));
    assert_eq!(switch.ended(alice), [(call, Cause::Normal)]);
    assert_eq!(is_over(&mut switch, bob), Some(UnregisterReason::Requested));
    switch.assert_empty();
}

#[test]
fn a_clock_that_goes_back_or_jumps_ends_nothing_early_and_nothing_twice() {
    let (mut switch, alice, bob, call) = call_at(2);
    let now = switch.now;
    // The wall clock of 1970, and a monotonic clock that went back.
    switch.now = Now {
        since_start: seconds(1),
        unix_ms: 0,
        utc_offset_min: -600,
    };
    switch.hold(bob, call, true);
    switch.hold(bob, call, false);
    switch.plane.handle_timeout(switch.now);
    assert!(switch.ended(alice).is_empty());
    switch.now = now;
    switch.now.unix_ms = u64::MAX;
    assert_eq!(switch.hang_up(alice, call), Reply::Done);
    assert_eq!(switch.call_records()[0].times.duration, seconds(0));
    // Far ahead: everything is due at once.
    switch.now.since_start = std::time::Duration::MAX;
    while switch.plane.poll_timeout().is_some() {
        switch.plane.handle_timeout(switch.now);
    }
    assert_eq!(switch.plane.devices_count(), 0);
}

#[test]
fn a_switch_that_stops_ends_everything_and_lets_nothing_in() {
    let (mut switch, alice, bob, call) = call_at(2);
    switch.handle(Event::Admin(AdminEvent::Shutdown));
    assert_eq!(switch.call_records()[0].cause, Cause::Shutdown);
    let told = switch.told(alice);
    assert!(
        told.iter()
            .any(|notice| matches!(notice, Notice::Ended(ended) if ended.call == call))
    );
    assert_eq!(is_over(&mut switch, bob), Some(UnregisterReason::Shutdown));
    let reply = switch.register(Registration::phone(session(5), number("5001")));
    assert_eq!(reply, Reply::Refused(Refusal::Stopping));
    switch.assert_empty();
}

#[test]
fn calls_of_other_machines_make_a_number_busy_and_a_device_that_is_gone_ends_its_legs() {
    let mut switch = Switch::with(Settings {
        call_waiting: false,
        calls_per_number_max: 3,
        counters_wait: std::time::Duration::ZERO,
        ..Settings::default()
    });
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let elsewhere = |switch: &mut Switch, legs, is_busy| {
        switch.handle(Event::Register(RegisterEvent::Elsewhere {
            session: bob,
            legs,
            is_busy,
        }));
        switch.plane.number(&number("5002")).unwrap().status
    };
    assert_eq!(elsewhere(&mut switch, 1, false), Status::Ringing);
    assert_eq!(elsewhere(&mut switch, 1, true), Status::Busy);
    let call = switch.dial(alice, "5002");
    assert_eq!(switch.ended(alice), [(call, Cause::Busy)]);
    assert_eq!(elsewhere(&mut switch, 0, false), Status::Available);
    let call = switch.dial(alice, "5002");
    switch.answer(bob, call);
    switch.handle(Event::Register(RegisterEvent::Gone { session: bob }));
    assert_eq!(switch.ended(alice), [(call, Cause::Unreachable)]);
    assert!(switch.plane.device(bob).is_none());
    // Of one that is not there nothing follows.
    switch.handle(Event::Register(RegisterEvent::Gone { session: bob }));
    assert_eq!(elsewhere_of_nobody(&mut switch), None);
}

fn elsewhere_of_nobody(switch: &mut Switch) -> Option<Status> {
    switch.handle(Event::Register(RegisterEvent::Elsewhere {
        session: session(77),
        legs: 1,
        is_busy: true,
    }));
    switch.plane.number(&number("5077")).map(|view| view.status)
}
