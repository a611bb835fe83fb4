//! Transfers, conferences and supervisors.

use super::switch::*;
use crate::*;

fn three() -> (Switch, SessionId, SessionId, SessionId) {
    let mut switch = Switch::new();
    let phones = (
        switch.phone(1, "5001"),
        switch.phone(2, "5002"),
        switch.phone(3, "5003"),
    );
    (switch, phones.0, phones.1, phones.2)
}

fn blind(call: CallId, to: &str) -> CallEvent {
    CallEvent::Transfer {
        call,
        to: TransferTo::Number(number(to)),
    }
}

fn progress(switch: &mut Switch, session: SessionId) -> Vec<TransferProgress> {
    let told = switch.told(session).into_iter();
    let progress = told.filter_map(|notice| match notice {
        Notice::Transfer { progress, .. } => Some(progress),
        _ => None,
    });
    progress.collect()
}

#[test]
fn a_blind_transfer_connects_the_others_when_it_is_answered() {
    let (mut switch, alice, bob, carol) = three();
    let call = switch.talk(alice, bob, "5002");
    switch.done(bob, blind(call, "5003"));
    assert_eq!(switch.may(alice).1, ["moh/default"], "who is transferred hears music");
    let told = switch.told(carol);
    let [Notice::Incoming(incoming)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((incoming.from.number.as_str(), incoming.call), ("5002", call));
    assert_eq!(incoming.forwarded_by, Some(number("5002")));
    switch.ring(carol, call);
    switch.answer(carol, call);
    use TransferProgress::{Done, Ringing, Trying};
    assert_eq!(progress(&mut switch, bob), [Trying, Ringing, Done]);
    assert!(switch.grants[&bob].is_empty());
    assert_eq!(switch.may(alice).1, [format!("call/{call}/**")]);
    assert_eq!(
        switch.may(carol),
        (vec![&*format!("call/{call}/3/**")], vec![&*format!("call/{call}/**")])
    );
    assert_eq!(switch.hang_up(carol, call), Reply::Done);
    let record = switch.call_records()[0];
    let bobs = &record.legs[0];
    assert_eq!((bobs.party.number.as_str(), bobs.cause), ("5002", Cause::Transferred));
    assert_eq!(record.transfers.len(), 1);
    assert_eq!(record.transfers[0].by, Some(number("5002")));
    switch.assert_empty();
}

#[test]
fn a_transfer_that_fails_returns_to_the_old_call() {
    for held in [false, true] {
        let (mut switch, alice, bob, carol) = three();
        let call = switch.talk(alice, bob, "5002");
        switch.hold(bob, call, held);
        switch.done(bob, blind(call, "5003"));
        assert_eq!(switch.hold(bob, call, false), Reply::Refused(Refusal::Pending));
        assert_eq!(switch.ask(alice, blind(call, "5003")), Reply::Refused(Refusal::Pending));
        let reject = CallEvent::Reject {
            call,
            reason: RejectReason::Busy,
            scope: RejectScope::All,
        };
        switch.done(carol, reject);
        assert_eq!(
            progress(&mut switch, bob),
            [TransferProgress::Trying, TransferProgress::Failed(Cause::Busy)]
        );
        let heard = if held {
            "moh/default".to_owned()
        } else {
            format!("call/{call}/**")
        };
        assert_eq!(switch.may(alice).1, [heard]);
        assert_eq!(switch.ended(alice), []);
        switch.hang_up(alice, call);
        switch.assert_empty();
    }
}

#[test]
fn a_transfer_to_nobody_fails_at_once_and_nothing_else_happens() {
    let (mut switch, alice, bob, _) = three();
    let call = switch.talk(alice, bob, "5002");
    switch.done(bob, blind(call, "4242"));
    assert_eq!(
        progress(&mut switch, bob),
        [TransferProgress::Failed(Cause::Unallocated)]
    );
    assert_eq!(switch.may(alice).1, [format!("call/{call}/**")]);
}

#[test]
fn whoever_transfers_may_hang_up_meanwhile_and_whoever_is_transferred_too() {
    let (mut switch, alice, bob, carol) = three();
    let call = switch.talk(alice, bob, "5002");
    switch.done(bob, blind(call, "5003"));
    assert_eq!(switch.hang_up(bob, call), Reply::Done);
    assert_eq!(switch.may(alice).1, ["moh/default"]);
    switch.answer(carol, call);
    assert_eq!(switch.may(alice).1, [format!("call/{call}/**")]);
    switch.hang_up(alice, call);
    switch.told.clear();

    let call = switch.talk(alice, bob, "5002");
    switch.done(bob, blind(call, "5003"));
    switch.hang_up(alice, call);
    assert_eq!(switch.ended(bob), [(call, Cause::Normal)]);
    assert_eq!(switch.ended(carol), [(call, Cause::Cancelled)]);

    // Nobody is left for the one who was transferred.
    let call = switch.talk(alice, bob, "5002");
    switch.done(bob, blind(call, "5003"));
    switch.hang_up(bob, call);
    switch.told.clear();
    switch.pass(seconds(31));
    assert_eq!(switch.ended(alice), [(call, Cause::NoReply)]);
    switch.assert_empty();
}

#[test]
fn an_attended_transfer_connects_two_calls_without_new_paths() {
    let (mut switch, alice, bob, carol) = three();
    let first = switch.talk(alice, bob, "5002");
    switch.hold(bob, first, true);
    let second = switch.dial(bob, "5003");
    let attended = CallEvent::Transfer {
        call: first,
        to: TransferTo::Call(second),
    };
    // Not answered yet: nothing changes.
    assert_eq!(switch.ask(bob, attended.clone()), Reply::Refused(Refusal::WrongState));
    switch.answer(carol, second);
    switch.told.clear();
    switch.done(bob, attended);
    let ended: Vec<Cause> = switch.ended(bob).into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(ended, [Cause::Transferred, Cause::Transferred]);
    let (alices, carols) = (format!("call/{first}/1/**"), format!("call/{second}/2/**"));
    assert_eq!(switch.may(alice), (vec![&*alices], vec![&*carols]));
    assert_eq!(switch.may(carol), (vec![&*carols], vec![&*alices]));
    // Carol knows the call by the id that it had.
    assert!(switch.told(carol).iter().any(|notice| matches!(
        notice,
        Notice::Participants { call, participants, leg } if *call == second && participants.len() == 2 && leg.call == second
    )));
    assert_eq!(switch.call_records()[0].transfers[0].to, TransferredTo::Into(first));
    assert_eq!(switch.hang_up(carol, second), Reply::Done);
    assert_eq!(switch.ended(alice), [(first, Cause::Normal)]);
    assert_eq!(switch.call_records().len(), 2);
    switch.assert_empty();
}

#[test]
fn a_conference_is_one_more_who_hears_and_is_heard() {
    let (mut switch, alice, bob, carol) = three();
    let call = switch.talk(alice, bob, "5002");
    let add = CallEvent::Add {
        call,
        to: number("5003"),
    };
    switch.done(alice, add);
    assert_eq!(switch.may(alice).1, [format!("call/{call}/**")], "nobody waits");
    switch.told.clear();
    switch.answer(carol, call);
    assert!(
        switch
            .told(bob)
            .iter()
            .any(|notice| matches!(notice, Notice::Joined { .. }))
    );
    for session in [alice, bob, carol] {
        assert_eq!(switch.may(session).1, [format!("call/{call}/**")]);
    }
    // One holds: the others hear each other, and no music.
    switch.hold(bob, call, true);
    assert_eq!(switch.may(alice).1, [format!("call/{call}/3/**")]);
    assert_eq!(switch.may(bob).1, Vec::<&str>::new());
    switch.hold(bob, call, false);
    // Only who called sends somebody out.
    let bobs = switch.leg(call, bob);
    assert_eq!(
        switch.ask(carol, CallEvent::Remove { call, leg: bobs }),
        Reply::Refused(Refusal::NotAllowed)
    );
    switch.done(alice, CallEvent::Remove { call, leg: bobs });
    assert!(switch.grants[&bob].is_empty());
    assert!(
        switch
            .told(carol)
            .iter()
            .any(|notice| matches!(notice, Notice::Left { leg, .. } if *leg == bobs))
    );
    // One leaves of two: it is over.
    switch.hang_up(alice, call);
    assert_eq!(switch.call_records()[0].legs.len(), 3);
    switch.assert_empty();
}

#[test]
fn two_calls_of_a_device_become_a_conference() {
    let (mut switch, alice, bob, carol) = three();
    let first = switch.talk(alice, bob, "5002");
    switch.hold(alice, first, true);
    let second = switch.talk(alice, carol, "5003");
    switch.done(
        alice,
        CallEvent::Merge {
            call: first,
            other: second,
        },
    );
    let carols = format!("call/{second}/2/**");
    assert_eq!(switch.may(alice).1, [&*format!("call/{first}/2/**"), &*carols]);
    assert_eq!(switch.may(bob).1, [&*format!("call/{first}/1/**"), &*carols]);
    assert_eq!(switch.plane.calls_count(), 1);
    switch.hang_up(alice, first);
    assert_eq!(switch.plane.calls_count(), 1, "two are left");
    switch.hang_up(carol, second);
    switch.assert_empty();
}

#[test]
fn supervisors_listen_whisper_and_barge_in() {
    let (mut switch, alice, bob, carol) = three();
    let boss = switch.supervisor(4, "5004");
    let call = switch.talk(alice, bob, "5002");
    let agent = switch.leg(call, bob);
    let refused = switch.try_supervise(carol, call, SuperviseMode::Listen);
    assert_eq!(refused, Reply::Refused(Refusal::NotAllowed));

    let all = format!("call/{call}/**");
    switch.supervise(boss, call, SuperviseMode::Listen);
    assert_eq!(switch.may(boss), (vec![], vec![&*all]));
    switch.supervise(boss, call, SuperviseMode::Whisper(agent));
    let own = format!("call/{call}/3/**");
    assert_eq!(switch.may(boss), (vec![&*own], vec![&*all]));
    assert_eq!(switch.may(bob).1, [&*all]);
    assert_eq!(
        switch.may(alice).1,
        [format!("call/{call}/2/**")],
        "the customer hears the agent alone"
    );
    switch.supervise(boss, call, SuperviseMode::Barge);
    assert_eq!(switch.may(alice).1, [&*all]);
    let stop = SuperviseEvent::Stop { session: boss, call };
    assert_eq!(switch.ask_supervisor(boss, stop), Reply::Done);
    assert!(switch.grants[&boss].is_empty());
    assert_eq!(switch.may(alice).1, [&*all]);
    let audit = switch
        .reports
        .iter()
        .filter(|report| matches!(report, Report::Supervision { .. }));
    assert_eq!(audit.count(), 4);
    let disconnect = SuperviseEvent::Disconnect { call };
    assert_eq!(switch.ask_supervisor(boss, disconnect), Reply::Done);
    assert_eq!(switch.call_records()[0].by, EndedBy::Supervisor);
    switch.assert_empty();
}

#[test]
fn a_supervisor_does_not_keep_a_call_alive_and_may_take_it_over() {
    let (mut switch, alice, bob, _) = three();
    let boss = switch.supervisor(4, "5004");
    let call = switch.talk(alice, bob, "5002");
    switch.supervise(boss, call, SuperviseMode::Listen);
    switch.hang_up(bob, call);
    assert!(switch.grants[&boss].is_empty());
    switch.told.clear();

    let call = switch.talk(alice, bob, "5002");
    let leg = switch.leg(call, bob);
    let session = boss;
    assert_eq!(
        switch.ask_supervisor(boss, SuperviseEvent::TakeOver { session, call, leg }),
        Reply::Done
    );
    assert_eq!(switch.ended(bob), [(call, Cause::Transferred)]);
    let all = format!("call/{call}/**");
    assert_eq!((switch.may(boss).1, switch.may(alice).1), (vec![&*all], vec![&*all]));
    switch.hang_up(boss, call);
    assert_eq!(switch.ended(alice), [(call, Cause::Normal)]);
    switch.assert_empty();
}

#[test]
fn participants_are_told_of_supervisors_unless_the_policy_is_silent() {
    for is_told in [true, false] {
        let mut switch = Switch::with(Settings {
            supervision_is_told: is_told,
            ..Settings::default()
        });
        let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
        let boss = switch.supervisor(4, "5004");
        let call = switch.talk(alice, bob, "5002");
        switch.told.clear();
        switch.supervise(boss, call, SuperviseMode::Listen);
        assert_eq!(!switch.told(alice).is_empty(), is_told);
        assert!(!switch.told(boss).is_empty());
        switch.told.clear();
        switch.supervise(boss, call, SuperviseMode::Barge);
        let joined = switch
            .told(alice)
            .iter()
            .any(|notice| matches!(notice, Notice::Joined { .. }));
        assert_eq!(joined, !is_told, "told once, when it can be heard at the latest");
    }
}

fn by_program(switch: &mut Switch, event: SuperviseEvent) -> Reply {
    let request = switch.request();
    let actor = Actor::Api { leg: None };
    switch.handle(Event::Supervise { request, actor, event });
    switch.last_reply().clone()
}

/// Nobody rings a supervisor's device, so it has to be one that takes a leg that is up.
#[test]
fn supervisors_take_part_by_a_device_that_can_be_made_to_answer() {
    let (mut switch, alice, bob, _) = three();
    let call = switch.talk(alice, bob, "5002");
    let leg = switch.leg(call, bob);
    let telephone = switch.telephone(10, "5010");
    let join = |mode| SuperviseEvent::Join {
        session: telephone,
        call,
        mode,
    };
    let take_over = SuperviseEvent::TakeOver {
        session: telephone,
        call,
        leg,
    };
    for event in [join(SuperviseMode::Listen), take_over.clone()] {
        let reply = by_program(&mut switch, event);
        assert_eq!(reply, Reply::Refused(Refusal::AnswersItself));
    }
    let browser = switch.phone(11, "5010");
    assert_eq!(by_program(&mut switch, join(SuperviseMode::Listen)), Reply::Done);
    assert_eq!(switch.may(browser).1, [format!("call/{call}/**")]);
    assert!(!switch.grants.contains_key(&telephone));
    // It is the same one that whispers, stops and takes over.
    assert_eq!(by_program(&mut switch, join(SuperviseMode::Barge)), Reply::Done);
    assert_eq!(switch.plane.call(call).unwrap().legs.len(), 3);
    let stop = SuperviseEvent::Stop {
        session: telephone,
        call,
    };
    assert_eq!(by_program(&mut switch, stop), Reply::Done);
    assert!(switch.grants[&browser].is_empty());
    assert_eq!(by_program(&mut switch, take_over), Reply::Done);
    assert_eq!(switch.leg(call, browser).leg, LegNumber(4));
}

#[test]
fn a_supervisor_who_names_a_telephone_of_his_own_is_refused() {
    let (mut switch, alice, bob, _) = three();
    let call = switch.talk(alice, bob, "5002");
    let registration = Registration {
        meets: false,
        supervisor: true,
        ..Registration::phone(session(9), number("5009"))
    };
    switch.register(registration);
    let refused = switch.try_supervise(session(9), call, SuperviseMode::Listen);
    assert_eq!(refused, Reply::Refused(Refusal::AnswersItself));
    assert_eq!(
        (Refusal::AnswersItself.code(), Refusal::AnswersItself.http_status()),
        (409, 409)
    );
}

const FORBIDDEN: &str = r#"
[[rules]]
to = "_9."
strip = 1
[[profiles]]
from = "5002"
forbidden = ["0900"]
[[profiles]]
from = "5001"
forbidden = ["0180"]
"#;

/// What a number may not call it may not have called: before translation, after it, nor by a forward.
#[test]
fn transfers_and_additions_lead_nobody_to_what_is_forbidden() {
    let settings = Settings {
        counters_wait: seconds(0),
        half_dead: seconds(0),
        ..Settings::default()
    };
    let mut switch = Switch::planned(settings, Dialplan::parse(FORBIDDEN).unwrap());
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    for text in ["09001", "01801"] {
        let exist = AdminEvent::Declare {
            numbers: vec![number(text)],
            exist: true,
        };
        switch.handle(Event::Admin(exist));
    }
    let call = switch.talk(alice, bob, "5002");
    let add = |to: &str| CallEvent::Add { call, to: number(to) };
    for event in [blind(call, "09001"), add("09001")] {
        assert_eq!(switch.ask(bob, event), Reply::Refused(Refusal::Forbidden));
    }
    // Translated to what the one who transfers, or the one who is transferred, may not call.
    for to in ["909001", "901801"] {
        for event in [blind(call, to), add(to)] {
            switch.told.clear();
            switch.done(bob, event);
            assert_eq!(
                progress(&mut switch, bob),
                [TransferProgress::Failed(Cause::Forbidden)],
                "{to}"
            );
        }
    }
    assert_eq!(switch.plane.call(call).unwrap().state, CallState::Up);
    // Bob himself may be sent to what is forbidden to Alice alone by nobody, but may call it.
    switch.hang_up(alice, call);
    switch.told.clear();
    let call = switch.dial(bob, "901801");
    assert_eq!(switch.ended(bob), [(call, Cause::Unreachable)]);
}

/// A telephone's end that says "normal", a phone that goes while it rings: neither is an answer.
#[test]
fn a_transfer_that_fails_never_looks_as_if_it_was_done() {
    for way in 0..4 {
        let (mut switch, alice, bob, carol) = three();
        let call = switch.talk(alice, bob, "5002");
        switch.done(bob, blind(call, "5003"));
        switch.told.clear();
        let cause = Some(Cause::Normal);
        match way {
            0 => switch.done(carol, CallEvent::Hangup { call, cause }),
            1 => {
                let request = switch.request();
                let session = carol;
                switch.handle(Event::Register(RegisterEvent::Unregister { request, session }));
            }
            2 => {
                let cause = Some(Cause::AnsweredElsewhere);
                switch.done(carol, CallEvent::Hangup { call, cause });
            }
            _ => {
                let cause = Some(Cause::Transferred);
                switch.done(carol, CallEvent::Hangup { call, cause });
            }
        }
        let failed = if way == 0 { Cause::Rejected } else { Cause::Unreachable };
        assert_eq!(progress(&mut switch, bob), [TransferProgress::Failed(failed)]);
        assert_eq!(switch.plane.call(call).unwrap().state, CallState::Up);
    }
}

#[test]
fn in_a_lecture_those_who_are_named_are_heard_and_whoever_comes_later_listens() {
    let (mut switch, alice, bob, carol) = three();
    let call = switch.talk(alice, bob, "5002");
    let leg = |number| LegId {
        call,
        leg: LegNumber(number),
    };
    let lecture = |speakers: Option<Vec<LegId>>| CallEvent::Lecture { call, speakers };
    assert_eq!(
        switch.ask(alice, lecture(Some(vec![leg(1)]))),
        Reply::Refused(Refusal::NotAllowed),
        "nobody in a call stands above the others"
    );
    let program = Actor::Api { leg: None };
    assert_eq!(
        switch.ask_as(program, lecture(Some(vec![leg(7)]))),
        Reply::Refused(Refusal::UnknownLeg)
    );
    assert_eq!(switch.ask_as(program, lecture(Some(vec![leg(1)]))), Reply::Done);
    assert_eq!(switch.may(bob).1, [format!("call/{call}/1/**")]);
    assert!(switch.may(alice).1.is_empty(), "nobody else is heard");
    switch.done(
        alice,
        CallEvent::Add {
            call,
            to: number("5003"),
        },
    );
    switch.answer(carol, call);
    assert_eq!(switch.may(carol).1, [format!("call/{call}/1/**")]);
    assert_eq!(switch.may(bob).1, [format!("call/{call}/1/**")]);
    let view = switch.plane.call(call).unwrap();
    let muted: Vec<bool> = view.legs.iter().map(|leg| leg.muted).collect();
    assert_eq!(muted, [false, true, true], "what nobody hears is not recorded");
    assert_eq!(switch.ask_as(program, lecture(Some(vec![leg(1), leg(3)]))), Reply::Done);
    assert_eq!(switch.may(alice).1, [format!("call/{call}/3/**")]);
    assert_eq!(switch.ask_as(program, lecture(None)), Reply::Done);
    assert_eq!(switch.may(alice).1, [format!("call/{call}/**")]);
    assert_eq!(switch.may(bob).1, [format!("call/{call}/**")]);
}
