//! What meets on the way: two answers, an answer and a cancel, two hang-ups, two calls.

use super::switch::*;
use crate::*;

/// 5001 has one phone, 5002 has two.
fn forked() -> (Switch, SessionId, SessionId, SessionId) {
    let mut switch = Switch::new();
    let (alice, bob, tablet) = (
        switch.phone(1, "5001"),
        switch.phone(2, "5002"),
        switch.phone(3, "5002"),
    );
    (switch, alice, bob, tablet)
}

#[test]
fn of_two_who_answer_the_first_has_the_call() {
    let (mut switch, alice, bob, tablet) = forked();
    let call = switch.dial(alice, "5002");
    switch.ring(bob, call);
    switch.ring(tablet, call);
    assert_eq!(switch.answer(tablet, call), Reply::Done);
    let told = switch.told(bob);
    let Some(Notice::Ended(ended)) = told.last() else {
        panic!("{told:?}")
    };
    assert_eq!((ended.cause, ended.by), (Cause::AnsweredElsewhere, EndedBy::System));
    assert_eq!(
        ended.answered_by.as_ref().unwrap().device.as_str(),
        switch.plane.device(tablet).unwrap().device.as_str()
    );
    // Too late: there is no call for this device any more.
    assert_eq!(switch.answer(bob, call), Reply::Refused(Refusal::UnknownCall));
    assert_eq!(Refusal::UnknownCall.code(), 481);
    assert!(!switch.grants.contains_key(&bob));
    // Whoever has answered does not answer again.
    assert_eq!(switch.answer(tablet, call), Reply::Refused(Refusal::WrongState));
    switch.hang_up(alice, call);
    assert_eq!(switch.call_records().len(), 1);
    assert_eq!(switch.leg_records().len(), 3);
    switch.assert_empty();
}

#[test]
fn who_loses_cannot_reject_the_call_of_another() {
    let (mut switch, alice, bob, tablet) = forked();
    let call = switch.dial(alice, "5002");
    switch.answer(tablet, call);
    let reject = CallEvent::Reject {
        call,
        reason: RejectReason::Declined,
        scope: RejectScope::All,
    };
    assert_eq!(switch.ask(bob, reject), Reply::Refused(Refusal::UnknownCall));
    assert_eq!(switch.hang_up(bob, call), Reply::Refused(Refusal::UnknownCall));
    assert_eq!(switch.plane.call(call).unwrap().state, CallState::Up);
}

#[test]
fn an_answer_that_crosses_a_cancel_is_too_late() {
    let (mut switch, alice, bob, tablet) = forked();
    let call = switch.dial(alice, "5002");
    switch.ring(bob, call);
    assert_eq!(switch.hang_up(alice, call), Reply::Done);
    assert_eq!(switch.answer(bob, call), Reply::Refused(Refusal::UnknownCall));
    for session in [alice, bob, tablet] {
        assert_eq!(switch.ended(session), [(call, Cause::Cancelled)]);
    }
    assert_eq!(switch.call_records()[0].cause, Cause::Cancelled);
    switch.assert_empty();
}

#[test]
fn both_hang_up_and_there_is_one_record() {
    let (mut switch, alice, bob, _) = forked();
    let call = switch.talk(alice, bob, "5002");
    assert_eq!(switch.hang_up(alice, call), Reply::Done);
    assert_eq!(switch.hang_up(bob, call), Reply::Refused(Refusal::UnknownCall));
    let hang_up = CallEvent::Hangup { call, cause: None };
    let reply = switch.ask_as(Actor::Api { leg: None }, hang_up);
    assert_eq!(reply, Reply::Refused(Refusal::UnknownCall));
    assert_eq!(Refusal::UnknownCall.http_status(), 404);
    assert_eq!(switch.call_records().len(), 1);
}

#[test]
fn programs_hang_up_in_any_state() {
    for stage in 0..4 {
        let (mut switch, alice, bob, _) = forked();
        let call = switch.dial(alice, "5002");
        if stage > 0 {
            switch.ring(bob, call);
        }
        if stage > 1 {
            switch.answer(bob, call);
        }
        if stage > 2 {
            switch.hold(bob, call, true);
        }
        let hang_up = CallEvent::Hangup { call, cause: None };
        assert_eq!(switch.ask_as(Actor::Api { leg: None }, hang_up), Reply::Done);
        let cause = if stage > 1 { Cause::Normal } else { Cause::Cancelled };
        assert_eq!(switch.ended(alice), [(call, cause)]);
        assert_eq!(switch.call_records()[0].by, EndedBy::Api);
        switch.assert_empty();
    }
}

#[test]
fn rejecting_is_for_one_device_or_for_all() {
    let (mut switch, alice, bob, tablet) = forked();
    let call = switch.dial(alice, "5002");
    let reject = |scope| CallEvent::Reject {
        call,
        reason: RejectReason::Busy,
        scope,
    };
    switch.done(bob, reject(RejectScope::Device));
    assert_eq!(switch.ended(bob), [(call, Cause::Busy)]);
    assert!(switch.ended(tablet).is_empty(), "the tablet rings on");
    switch.done(tablet, reject(RejectScope::All));
    assert_eq!(switch.ended(alice), [(call, Cause::Busy)]);
    switch.told.clear();

    let call = switch.dial(alice, "5002");
    let reject = CallEvent::Reject {
        call,
        reason: RejectReason::Declined,
        scope: RejectScope::All,
    };
    switch.done(bob, reject);
    assert_eq!(switch.ended(tablet), [(call, Cause::Rejected)]);
    assert_eq!(switch.ended(alice), [(call, Cause::Rejected)]);
    switch.assert_empty();
}

#[test]
fn nobody_answers_and_the_cause_says_whether_it_rang() {
    for (rings, cause, q850) in [(true, Cause::NoAnswer, 19), (false, Cause::NoReply, 18)] {
        let (mut switch, alice, bob, _) = forked();
        let call = switch.dial(alice, "5002");
        if rings {
            switch.ring(bob, call);
        }
        switch.pass(seconds(29));
        assert!(switch.ended(alice).is_empty());
        switch.pass(seconds(2));
        assert_eq!(switch.ended(alice), [(call, cause)]);
        assert_eq!(cause.q850(), q850);
        switch.assert_empty();
    }
}

#[test]
fn callers_may_ask_for_a_time_to_ring_up_to_three_minutes() {
    for (asked, rings) in [(5, 5), (1000, 180), (0, 1)] {
        let (mut switch, alice, ..) = forked();
        let mut dial = Dial::to(number("5002"));
        dial.timeout = Some(seconds(asked));
        switch.ask(alice, CallEvent::Dial(Box::new(dial)));
        switch.pass(seconds(rings) - std::time::Duration::from_millis(1));
        assert!(switch.ended(alice).is_empty());
        switch.pass(std::time::Duration::from_millis(1));
        assert_eq!(switch.ended(alice).len(), 1, "after {rings} s");
    }
}

#[test]
fn two_who_call_each_other_are_connected_by_the_smaller_id() {
    for smaller_first in [true, false] {
        let mut switch = Switch::new();
        let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
        let mut call = |session, to, id| {
            let mut dial = Dial::to(number(to));
            dial.call = Some(CallId(id));
            switch.ask(session, CallEvent::Dial(Box::new(dial)));
        };
        let (first, second) = if smaller_first { (7, 9) } else { (9, 7) };
        call(alice, "5002", first);
        call(bob, "5001", second);
        let view = switch.plane.call(CallId(7)).expect("the smaller one stays");
        assert_eq!(view.state, CallState::Up);
        assert!(switch.plane.call(CallId(9)).is_none());
        // Whoever dialled the other call was told of its end, and so was whom it rang.
        let dialled = if smaller_first { bob } else { alice };
        assert_eq!(switch.ended(dialled), [(CallId(9), Cause::Glare)]);
        assert_eq!(switch.may(alice).1, [format!("call/{}/**", CallId(7))]);
        switch.hang_up(alice, CallId(7));
        let causes: Vec<Cause> = switch.call_records().iter().map(|record| record.cause).collect();
        assert_eq!(causes, [Cause::Glare, Cause::Normal]);
        switch.assert_empty();
    }
}

/// Nobody answers for a telephone or for a trunk: both calls go on, each as any other.
#[test]
fn two_who_call_each_other_both_go_on_where_one_answers_itself_alone() {
    for kinds in 0..3 {
        for smaller_first in [true, false] {
            let mut switch = Switch::new();
            let (alice, bob) = match kinds {
                0 => (switch.telephone(1, "5001"), switch.phone(2, "5002")),
                1 => (switch.phone(1, "5001"), switch.telephone(2, "5002")),
                _ => (switch.telephone(1, "5001"), switch.telephone(2, "5002")),
            };
            let (first, second) = if smaller_first { (7, 9) } else { (9, 7) };
            for (session, to, id) in [(alice, "5002", first), (bob, "5001", second)] {
                let mut dial = Dial::to(number(to));
                dial.call = Some(CallId(id));
                switch.ask(session, CallEvent::Dial(Box::new(dial)));
            }
            for id in [7, 9] {
                let view = switch.plane.call(CallId(id)).expect("it goes on");
                assert_eq!(view.state, CallState::Alerting);
            }
            assert_eq!(switch.answer(bob, CallId(first)), Reply::Done);
            assert_eq!(switch.answer(alice, CallId(second)), Reply::Done);
        }
    }
}

#[test]
fn whom_somebody_else_calls_by_the_same_trunk_is_not_met() {
    let rules = "[[rules]]\nto = \"_0.\"\nstrip = 1\ntarget = \"trunk/city\"";
    let mut switch = Switch::planned(Settings::default(), Dialplan::parse(rules).unwrap());
    let (alice, trunk) = (switch.phone(1, "1001"), switch.trunk(2, "city"));
    let out = switch.dial(alice, "030123");
    // Another calls Alice by the same trunk, and then the one whom she calls.
    for from in ["040999", "30123"] {
        assert!(matches!(switch.dial_by(trunk, from, "1001"), Reply::Calling { .. }));
    }
    assert_eq!(switch.plane.calls_count(), 3);
    assert_eq!(switch.plane.call(out).unwrap().state, CallState::Alerting);
    assert!(switch.plane.calls(None, 9).iter().all(|call| call.answer_ms.is_none()));
}

/// The group's call is for whoever answers, and the one who calls back wants somebody else.
#[test]
fn who_calls_a_group_is_not_met_by_one_of_it() {
    let plan = "[groups.all]\nmembers = [\"5002\", \"5003\"]\n[[rules]]\nto = \"80\"\ntarget = \"group/all\"";
    let mut switch = Switch::planned(Settings::default(), Dialplan::parse(plan).unwrap());
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let group = switch.dial(alice, "80");
    let back = switch.dial(bob, "5001");
    for call in [group, back] {
        assert_eq!(switch.plane.call(call).unwrap().state, CallState::Alerting);
    }
}

#[test]
fn programs_answer_for_browsers_and_for_nobody_else() {
    let (mut switch, alice, _, _) = forked();
    for (text, reply) in [("5002", Reply::Done), ("5009", Reply::Refused(Refusal::AnswersItself))] {
        if text == "5009" {
            switch.telephone(9, text);
        }
        let call = switch.dial(alice, text);
        let actor = Actor::Api {
            leg: Some(LegNumber(2)),
        };
        assert_eq!(switch.ask_as(actor, CallEvent::Answer { call, sdp: None }), reply);
    }
}

#[test]
fn a_number_that_calls_itself_rings_its_other_devices() {
    let (mut switch, _, bob, tablet) = forked();
    let call = switch.dial(bob, "5002");
    assert!(matches!(switch.told(tablet)[..], [Notice::Incoming(_)]));
    switch.answer(tablet, call);
    switch.hang_up(bob, call);
    switch.told(bob);
    // Alone it is busy.
    let alice = session(1);
    let call = switch.dial(alice, "5001");
    assert_eq!(switch.ended(alice), [(call, Cause::Busy)]);
    switch.assert_empty();
}

#[test]
fn ids_and_calls_of_others_are_of_no_use() {
    let (mut switch, alice, bob, _) = forked();
    let carol = switch.phone(4, "5003");
    let call = switch.talk(alice, bob, "5002");
    for event in [
        CallEvent::Hangup { call, cause: None },
        CallEvent::Hold { call, hold: true },
        CallEvent::Answer { call, sdp: None },
        CallEvent::Mute { call, muted: true },
        CallEvent::Transfer {
            call,
            to: TransferTo::Number(number("5003")),
        },
    ] {
        assert_eq!(switch.ask(carol, event), Reply::Refused(Refusal::UnknownCall));
    }
    let mut dial = Dial::to(number("5002"));
    dial.call = Some(call);
    dial.from = Some((number("5001"), Text::new("Alice")));
    let reply = switch.ask(carol, CallEvent::Dial(Box::new(dial.clone())));
    assert_eq!(reply, Reply::Refused(Refusal::Duplicate));
    // Only trunks say who calls.
    dial.call = None;
    switch.told(bob);
    switch.ask(carol, CallEvent::Dial(Box::new(dial)));
    let told = switch.told(bob);
    let [Notice::Incoming(incoming)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(incoming.from.number, number("5003"));
    let nobody = session(99);
    assert_eq!(switch.hang_up(nobody, call), Reply::Refused(Refusal::UnknownSession));
}

#[test]
fn grants_are_taken_before_they_are_given() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let boss = switch.supervisor(3, "5003");
    let call = switch.talk(alice, bob, "5002");
    let agent = switch.leg(call, bob);
    switch.supervise(boss, call, SuperviseMode::Barge);
    switch.media.clear();
    switch.supervise(boss, call, SuperviseMode::Whisper(agent));
    // Alice loses the supervisor. Nobody was given anything before that.
    let sessions: Vec<SessionId> = switch
        .media
        .iter()
        .filter_map(|action| match action {
            MediaAction::Grants { session, .. } => Some(*session),
            _ => None,
        })
        .collect();
    assert_eq!(sessions.first(), Some(&alice));
}
