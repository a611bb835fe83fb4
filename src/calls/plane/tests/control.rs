//! Calls that a control program decides on: by hand, and against a simple model.

use std::collections::BTreeMap;

use super::random::Random;
use super::switch::*;
use crate::*;

const DOMAIN: &str = "bling.example";

fn controlled() -> Switch {
    let mut switch = Switch::new();
    control(&mut switch, true);
    switch
}

fn control(switch: &mut Switch, on: bool) {
    let domain = Text::new(DOMAIN);
    switch.handle(Event::Admin(AdminEvent::Control { domain, on }));
}

fn at(user: &str) -> String {
    format!("{user}@{DOMAIN}")
}

impl Switch {
    fn decide(&mut self, event: ControlEvent) -> Reply {
        let request = self.request();
        self.handle(Event::Control { request, event });
        let mut replies = self.replies.iter().filter(|(of, _)| *of == request);
        let reply = replies.next().expect("a request is answered").1.clone();
        assert!(replies.next().is_none(), "a request is answered once");
        reply
    }

    fn invite(&mut self, id: u128, to: &str) -> CallId {
        let dialog = CallId(id);
        let invite = Invite {
            dialog,
            to: number(to),
            via: None,
            from: (number("1000"), Text::new("Alice")),
            timeout: None,
        };
        let reply = self.decide(ControlEvent::Invite(Box::new(invite)));
        assert_eq!(
            reply,
            Reply::Calling {
                call: dialog,
                leg: None
            }
        );
        dialog
    }

    fn over(&mut self) -> Vec<(CallId, Cause)> {
        let notices = std::mem::take(&mut self.control).into_iter();
        let over = notices.filter_map(|notice| match notice {
            ControlNotice::Over { dialog, cause, .. } => Some((dialog, cause)),
            _ => None,
        });
        over.collect()
    }

    /// Two dialogs that are up and together.
    fn mixed(&mut self, alice: SessionId, bob: SessionId) -> (CallId, CallId) {
        let first = self.dial(alice, "3");
        let second = self.invite(500, &at("1003"));
        assert_eq!(self.answer(bob, second), Reply::Done);
        assert_eq!(self.decide(ControlEvent::Answer { dialog: first }), Reply::Done);
        let mix = ControlEvent::Mix {
            dialog: first,
            other: second,
        };
        assert_eq!(self.decide(mix), Reply::Done);
        (first, second)
    }
}

#[test]
fn program_decides_on_calls_of_its_domain_and_no_others() {
    let mut switch = controlled();
    let alice = switch.phone(1, &at("1000"));
    let bob = switch.phone(2, "5002");
    switch.phone(3, "5003");
    let call = switch.dial(alice, "3");
    assert_eq!(
        switch.control,
        [ControlNotice::Dialled {
            dialog: call,
            domain: Text::new(DOMAIN),
            from: switch.plane.call(call).unwrap().from,
            dialled: number("3"),
        }]
    );
    switch.control.clear();
    // What is dialled comes first, in any letters.
    let call = switch.dial(bob, "4@BLING.example");
    assert!(matches!(&switch.control[..], [ControlNotice::Dialled { dialog, .. }] if *dialog == call));
    switch.control.clear();
    switch.dial(bob, "5003");
    control(&mut switch, false);
    switch.dial(alice, "5003");
    assert!(switch.control.is_empty());
}

#[test]
fn program_mixes_two_dialogs_by_one_trunk() {
    let mut switch = controlled();
    let trunk = switch.trunk(9, "city");
    let dialogs = [(501, "0301"), (502, "0302")].map(|(id, to)| {
        let dialog = CallId(id);
        let invite = Invite {
            dialog,
            to: number(to),
            via: Some(number("city")),
            from: (number("1000"), Text::default()),
            timeout: None,
        };
        switch.decide(ControlEvent::Invite(Box::new(invite)));
        assert_eq!(switch.answer(trunk, dialog), Reply::Done);
        dialog
    });
    let [dialog, other] = dialogs;
    assert_eq!(switch.decide(ControlEvent::Mix { dialog, other }), Reply::Done);
    let view = switch.plane.call(dialog).expect("both are in it");
    let legs: Vec<CallId> = view.legs.iter().map(|leg| leg.leg.call).collect();
    assert_eq!(legs, dialogs);
    // The one that hangs up is the one that is over.
    assert_eq!(switch.hang_up(trunk, other), Reply::Done);
    assert_eq!(switch.over(), [(other, Cause::Normal)]);
}

#[test]
fn program_rings_and_answers_and_the_caller_is_alone() {
    let mut switch = controlled();
    let alice = switch.phone(1, &at("1000"));
    let call = switch.dial(alice, "3");
    for _ in 0..2 {
        assert_eq!(switch.decide(ControlEvent::Ring { dialog: call }), Reply::Done);
    }
    let rings = |notice: &&Notice| matches!(notice, Notice::Progress { state, .. } if *state == LegState::Ringing);
    assert_eq!(switch.told(alice).iter().filter(rings).count(), 1);
    // Nobody else answers it, the caller last of all.
    assert_eq!(switch.answer(alice, call), Reply::Refused(Refusal::WrongState));
    for _ in 0..2 {
        assert_eq!(switch.decide(ControlEvent::Answer { dialog: call }), Reply::Done);
    }
    let accepted = |notice: &&Notice| matches!(notice, Notice::Accepted(_));
    assert_eq!(switch.told(alice).iter().filter(accepted).count(), 1);
    assert_eq!(switch.may(alice), (vec![format!("call/{call}/1/**").as_str()], vec![]));
    switch.pass(seconds(300));
    assert_eq!(switch.plane.call(call).unwrap().state, CallState::Up);
    switch.hang_up(alice, call);
    assert_eq!(switch.over(), [(call, Cause::Normal)]);
    switch.assert_empty();
}

#[test]
fn program_that_says_nothing_has_three_minutes() {
    let mut switch = controlled();
    let alice = switch.phone(1, &at("1000"));
    let call = switch.dial(alice, "3");
    switch.pass(seconds(179));
    assert_eq!(switch.ended(alice), []);
    switch.pass(seconds(1));
    assert_eq!(switch.ended(alice), [(call, Cause::NoReply)]);
    assert_eq!(switch.over(), [(call, Cause::NoReply)]);
    switch.assert_empty();
}

#[test]
fn program_refuses_with_a_cause_of_its_own() {
    for cause in [Cause::Busy, Cause::PaymentRequired, Cause::Unallocated] {
        let mut switch = controlled();
        let alice = switch.phone(1, &at("1000"));
        let dialog = switch.dial(alice, "3");
        let hang_up = ControlEvent::Hangup {
            dialog,
            cause: Some(cause),
        };
        assert_eq!(switch.decide(hang_up.clone()), Reply::Done);
        assert_eq!(switch.ended(alice), [(dialog, cause)]);
        assert_eq!(switch.over(), [(dialog, cause)]);
        assert_eq!(switch.decide(hang_up), Reply::Refused(Refusal::UnknownCall));
        switch.assert_empty();
    }
}

#[test]
fn invited_number_has_one_winner_and_one_end() {
    let mut switch = controlled();
    let desk = switch.phone(1, &at("1003"));
    let web = switch.phone(2, &at("1003"));
    let dialog = switch.invite(500, &at("1003"));
    let told = switch.told(desk);
    let Some(Notice::Incoming(incoming)) = told.first() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (incoming.from.number.as_str(), incoming.from.name.as_str()),
        ("1000", "Alice")
    );
    assert_eq!(switch.answer(desk, dialog), Reply::Done);
    assert_eq!(switch.ended(web), [(dialog, Cause::AnsweredElsewhere)]);
    assert_eq!(switch.over(), [], "it is up");
    switch.hang_up(desk, dialog);
    assert_eq!(switch.over(), [(dialog, Cause::Normal)]);
    // Both decline: it is over once.
    let dialog = switch.invite(501, &at("1003"));
    for session in [desk, web] {
        let event = CallEvent::Reject {
            call: dialog,
            reason: RejectReason::Busy,
            scope: RejectScope::Device,
        };
        switch.done(session, event);
    }
    assert_eq!(switch.over(), [(dialog, Cause::Busy)]);
    // Nobody is there: it has begun and is over.
    let dialog = switch.invite(502, &at("1009"));
    assert_eq!(switch.over(), [(dialog, Cause::Unallocated)]);
    switch.assert_empty();
}

#[test]
fn trunk_is_sent_what_is_to_be_called() {
    let mut switch = controlled();
    let registration = Registration {
        kind: DeviceKind::Trunk,
        ..Registration::phone(session(9), number("city"))
    };
    switch.register(registration);
    let invite = Invite {
        dialog: CallId(500),
        to: number("0301234"),
        via: Some(number("city")),
        from: (number("1000"), Text::default()),
        timeout: None,
    };
    switch.decide(ControlEvent::Invite(Box::new(invite)));
    let told = switch.told(session(9));
    assert!(matches!(&told[0], Notice::Incoming(incoming) if incoming.dialled.as_str() == "0301234"));
}

#[test]
fn mixed_dialogs_hear_each_other_until_they_are_taken_apart() {
    let mut switch = controlled();
    let (alice, bob) = (switch.phone(1, &at("1000")), switch.phone(2, &at("1003")));
    let (first, second) = switch.mixed(alice, bob);
    let path = |call: CallId| format!("call/{call}/1/**");
    assert_eq!(switch.grants[&alice].subscribe, [path(second)]);
    assert_eq!(switch.grants[&bob].subscribe, [path(first)]);
    let mix = ControlEvent::Mix {
        dialog: first,
        other: second,
    };
    assert_eq!(switch.decide(mix.clone()), Reply::Done, "they are");
    assert!(matches!(
        switch.decide(ControlEvent::Unmix { dialog: second }),
        Reply::Calling { .. }
    ));
    assert!(switch.grants[&alice].subscribe.is_empty() && switch.grants[&bob].subscribe.is_empty());
    assert_eq!(switch.decide(ControlEvent::Unmix { dialog: second }), Reply::Done);
    switch.decide(mix);
    assert_eq!(switch.grants[&alice].subscribe, [path(second)]);
    // One leaves, the other stays: its program decides.
    switch.hang_up(bob, second);
    assert_eq!(switch.over(), [(second, Cause::Normal)]);
    assert_eq!(switch.ended(alice), []);
    switch.decide(ControlEvent::Hangup {
        dialog: first,
        cause: None,
    });
    assert_eq!(switch.over(), [(first, Cause::Normal)]);
    switch.assert_empty();
}

#[test]
fn transfers_are_for_the_program_to_carry_out() {
    let mut switch = controlled();
    let (alice, bob) = (switch.phone(1, &at("1000")), switch.phone(2, &at("1003")));
    let (first, second) = switch.mixed(alice, bob);
    let blind = |to| CallEvent::Transfer {
        call: second,
        to: TransferTo::Number(number(to)),
    };
    switch.control.clear();
    switch.done(bob, blind("1004"));
    let to = number("1004");
    let referred = ControlNotice::Referred {
        dialog: second,
        to,
        replaces: None,
    };
    assert_eq!(switch.control, [referred]);
    assert_eq!(switch.ask(bob, blind("1005")), Reply::Refused(Refusal::Pending));
    let failed = ControlEvent::Referred {
        dialog: second,
        failed: Some(Cause::Busy),
    };
    assert_eq!(switch.decide(failed), Reply::Done);
    assert_eq!(switch.ended(bob), []);
    switch.done(bob, blind("1005"));
    let done = ControlEvent::Referred {
        dialog: second,
        failed: None,
    };
    assert_eq!(switch.decide(done.clone()), Reply::Done);
    assert_eq!(switch.ended(bob), [(second, Cause::Transferred)]);
    assert_eq!(switch.ended(alice), []);
    assert_eq!(switch.decide(done), Reply::Refused(Refusal::UnknownCall));
    assert_eq!(switch.over(), [(second, Cause::Transferred)]);
    // What a device cannot do behind its program's back.
    let add = CallEvent::Add {
        call: first,
        to: number("1005"),
    };
    assert_eq!(switch.ask(alice, add), Reply::Refused(Refusal::NotAllowed));
}

#[test]
fn attended_transfer_names_the_other_dialog() {
    let mut switch = controlled();
    let (alice, bob) = (switch.phone(1, &at("1000")), switch.phone(2, &at("1003")));
    let (_, second) = switch.mixed(alice, bob);
    let third = switch.dial(bob, "1004");
    switch.decide(ControlEvent::Answer { dialog: third });
    let merge = CallEvent::Merge {
        call: second,
        other: third,
    };
    assert_eq!(switch.ask(bob, merge), Reply::Refused(Refusal::NotAllowed));
    switch.control.clear();
    switch.done(
        bob,
        CallEvent::Transfer {
            call: second,
            to: TransferTo::Call(third),
        },
    );
    let to = number("1004");
    let referred = ControlNotice::Referred {
        dialog: second,
        to,
        replaces: Some(third),
    };
    assert_eq!(switch.control, [referred]);
}

/// Each dialog is at one place, or over; those at one place hear each other.
#[derive(Default)]
struct Model {
    dialogs: BTreeMap<CallId, Simple>,
    places: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Simple {
    session: SessionId,
    state: LegState,
    is_caller: bool,
    place: u32,
}

impl Model {
    fn place(&mut self) -> u32 {
        self.places += 1;
        self.places
    }

    fn of(&self, session: SessionId) -> usize {
        self.dialogs.values().filter(|dialog| dialog.session == session).count()
    }

    fn change(&mut self, dialog: CallId, change: impl FnOnce(&mut Simple)) {
        self.dialogs.get_mut(&dialog).map(change);
    }

    fn mix(&mut self, dialog: CallId, other: CallId) {
        let (Some(to), Some(from)) = (self.dialogs.get(&dialog), self.dialogs.get(&other)) else {
            return;
        };
        let (to, from) = (*to, *from);
        let is_up = to.state == LegState::Up && from.state == LegState::Up;
        let there = |place: u32| self.dialogs.values().filter(move |dialog| dialog.place == place);
        let is_twice = there(to.place).any(|one| there(from.place).any(|two| one.session == two.session));
        if is_up && to.place != from.place && !is_twice {
            for dialog in self.dialogs.values_mut().filter(|dialog| dialog.place == from.place) {
                dialog.place = to.place;
            }
        }
    }
}

/// The plane, in the form of the model: who is where, as who hears whom.
fn compare(switch: &Switch, model: &Model, trace: &dyn Fn() -> String) {
    let mut legs: Vec<(CallId, SessionId, LegState)> = Vec::new();
    for leg in switch.plane.legs.values() {
        legs.push((leg.id.call, leg.session, leg.state));
    }
    let expected: Vec<_> = model
        .dialogs
        .iter()
        .map(|(id, dialog)| (*id, dialog.session, dialog.state))
        .collect();
    assert_eq!(legs, expected, "legs: {}", trace());
    for (id, dialog) in &model.dialogs {
        for (other, second) in &model.dialogs {
            let place = |id: &CallId| switch.plane.legs.values().find(|leg| leg.id.call == *id).unwrap().call;
            assert_eq!(
                place(id) == place(other),
                dialog.place == second.place,
                "{id} and {other}: {}",
                trace()
            );
        }
    }
    for session in (1..=3).map(session) {
        let own: Vec<&Simple> = model
            .dialogs
            .values()
            .filter(|dialog| dialog.session == session)
            .collect();
        let hears = |other: &Simple| {
            let is_up = |dialog: &Simple| dialog.state == LegState::Up;
            own.iter()
                .any(|own| own.place == other.place && other.session != session && is_up(own) && is_up(other))
        };
        let expected: Vec<CallId> = model
            .dialogs
            .iter()
            .filter(|(_, other)| hears(other))
            .map(|(id, _)| *id)
            .collect();
        let may = switch.may(session).1;
        let heard = |id: &CallId| may.iter().any(|pattern| pattern.starts_with(&format!("call/{id}/")));
        let heard: Vec<CallId> = model
            .dialogs
            .iter()
            .filter(|(id, dialog)| dialog.session != session && heard(id))
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(heard, expected, "{session} hears: {}", trace());
    }
}

/// Tells both the same. What, for the message of a failure.
fn step(switch: &mut Switch, model: &mut Model, random: &mut Random, turn: u128) -> String {
    let session = session(random.below(3) as u128 + 1);
    let ids: Vec<CallId> = model.dialogs.keys().copied().collect();
    let mut any = || match ids.len() {
        0 => CallId(9999),
        count => ids[random.below(count)],
    };
    let (dialog, other) = (any(), any());
    let what = random.below(9);
    match what {
        0 | 1 if model.of(session) < 8 => {
            let is_caller = what == 0;
            let id = if is_caller {
                switch.dial(session, "6")
            } else {
                switch.invite(1_000_000 + turn, &at(&format!("100{}", session.0)))
            };
            let begun = Simple {
                session,
                state: LegState::Calling,
                is_caller,
                place: model.place(),
            };
            model.dialogs.insert(id, begun);
        }
        2 => {
            switch.decide(ControlEvent::Ring { dialog });
            model.change(dialog, |known| {
                if known.is_caller && known.state == LegState::Calling {
                    known.state = LegState::Ringing;
                }
            });
        }
        3 => {
            switch.decide(ControlEvent::Answer { dialog });
            model.change(dialog, |known| {
                if known.is_caller {
                    known.state = LegState::Up;
                }
            });
        }
        4 => {
            if let Some(known) = model.dialogs.get(&dialog) {
                switch.answer(known.session, dialog);
            }
            model.change(dialog, |known| {
                if !known.is_caller {
                    known.state = LegState::Up;
                }
            });
        }
        5 => {
            switch.decide(ControlEvent::Hangup { dialog, cause: None });
            model.dialogs.remove(&dialog);
        }
        6 | 7 => {
            switch.decide(ControlEvent::Mix { dialog, other });
            model.mix(dialog, other);
        }
        8 => {
            switch.decide(ControlEvent::Unmix { dialog });
            let place = model.place();
            // Who was alone is at another place, and still alone.
            model.change(dialog, |known| {
                if known.state == LegState::Up {
                    known.place = place;
                }
            });
        }
        _ => {}
    }
    format!("{what} by {session}, {dialog}, {other}")
}

#[test]
fn dialogs_are_where_a_simple_model_says() {
    for seed in 0..200 {
        let (mut random, mut switch, mut model) = (Random(seed), controlled(), Model::default());
        for id in 1..=3 {
            switch.phone(id, &at(&format!("100{id}")));
        }
        let mut past: Vec<String> = Vec::new();
        for turn in 0..100 {
            past.push(step(&mut switch, &mut model, &mut random, turn));
            compare(&switch, &model, &|| format!("seed {seed}, after\n{}", past.join("\n")));
        }
        for dialog in model.dialogs.keys() {
            switch.decide(ControlEvent::Hangup {
                dialog: *dialog,
                cause: None,
            });
        }
        switch.assert_empty();
    }
}
