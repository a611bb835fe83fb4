//! Trunks: several legs in one call, and who may go out by one.

use super::switch::*;
use crate::*;

const PLAN: &str = r#"
[[rules]]
name = "outside"
to = "_0."
strip = 1
target = "trunk/city"
[[rules]]
to = "5005"
no_answer = "dial/0170"
busy = "trunk/city"
[[rules]]
to = "5006"
target = "dial/0171"
"#;

fn planned(plan: &str) -> Switch {
    let settings = Settings {
        counters_wait: seconds(0),
        half_dead: seconds(0),
        ..Settings::default()
    };
    Switch::planned(settings, Dialplan::parse(plan).unwrap())
}

fn begun(reply: &Reply) -> (CallId, LegId) {
    match reply {
        Reply::Calling { call, leg: Some(leg) } => (*call, *leg),
        other => panic!("{other:?}"),
    }
}

/// The leg that a session was called on last.
fn called(switch: &mut Switch, session: SessionId) -> LegId {
    let told = switch.told(session);
    let incoming = told.iter().rev().find_map(|notice| match notice {
        Notice::Incoming(incoming) => Some(incoming.leg),
        _ => None,
    });
    incoming.unwrap_or_else(|| panic!("it was called: {told:?}"))
}

impl Switch {
    fn by_leg(&mut self, leg: LegId, event: impl FnOnce(CallId) -> CallEvent) -> Reply {
        self.ask_as(Actor::Leg(leg), event(leg.call))
    }

    fn answer_by(&mut self, leg: LegId) {
        let answer = |call| CallEvent::Answer { call, sdp: None };
        assert_eq!(self.by_leg(leg, answer), Reply::Done);
    }

    fn legs_up(&self, call: CallId) -> Vec<LegId> {
        let view = self.plane.call(call).expect("it is there");
        let up = view.legs.iter().filter(|leg| leg.state == LegState::Up);
        up.map(|leg| leg.leg).collect()
    }

    /// A caller on the trunk talks to a phone.
    fn talk_from(&mut self, trunk: SessionId, phone: SessionId, dialled: &str) -> (CallId, LegId) {
        let reply = self.dial_by(trunk, "030111", dialled);
        let (call, leg) = begun(&reply);
        assert_eq!(self.answer(phone, call), Reply::Done);
        (call, leg)
    }

    /// A phone talks to somebody by the trunk.
    fn talk_by(&mut self, phone: SessionId, trunk: SessionId, dialled: &str) -> (CallId, LegId) {
        let call = self.dial(phone, dialled);
        let leg = called(self, trunk);
        self.answer_by(leg);
        (call, leg)
    }
}

/// The usual case in a call centre: a customer and somebody who is consulted, both by one trunk.
#[test]
fn two_calls_by_one_trunk_are_put_together() {
    let mut switch = planned(PLAN);
    let (agent, trunk) = (switch.phone(1, "5001"), switch.trunk(9, "city"));
    let (first, customer) = switch.talk_by(agent, trunk, "0301");
    switch.hold(agent, first, true);
    let (second, expert) = switch.talk_by(agent, trunk, "0302");
    let to = TransferTo::Call(second);
    switch.done(agent, CallEvent::Transfer { call: first, to });
    assert_eq!(switch.legs_up(first), [customer, expert]);
    assert!(switch.grants[&agent].is_empty());
    // Each leg is told, of the call as it knows it.
    let told = switch.told(trunk);
    let who = told.iter().filter_map(|notice| match notice {
        Notice::Participants {
            call,
            leg,
            participants,
        } => Some((*call, *leg, participants.iter().filter(|who| who.audible).count())),
        _ => None,
    });
    let last: Vec<_> = who.collect();
    assert_eq!(last[last.len() - 2..], [(first, customer, 1), (second, expert, 1)]);
    // Keys of one go to the other.
    let press = |call| CallEvent::Dtmf {
        call,
        digits: Text::new("5"),
        duration: seconds(0),
    };
    assert_eq!(switch.by_leg(expert, press), Reply::Done);
    let told = switch.told(trunk);
    assert!(
        matches!(&told[..], [Notice::Dtmf { leg, by, .. }] if (*leg, *by) == (customer, expert)),
        "{told:?}"
    );
    let hold = |call| CallEvent::Hold { call, hold: true };
    assert_eq!(switch.by_leg(expert, hold), Reply::Done);
    let view = switch.plane.call(first).unwrap();
    assert_eq!(view.legs.iter().map(|leg| leg.holds).collect::<Vec<_>>(), [false, true]);
    let hang_up = |call| CallEvent::Hangup { call, cause: None };
    assert_eq!(switch.by_leg(expert, hang_up), Reply::Done);
    assert_eq!(switch.ended(trunk).len(), 2);
    switch.assert_empty();
}

#[test]
fn callers_on_a_trunk_are_forwarded_and_transferred_out_by_it() {
    let mut switch = planned(PLAN);
    let (agent, trunk) = (switch.phone(1, "5001"), switch.trunk(9, "city"));
    // Forwarded: nobody answers at 5005.
    let phone = switch.phone(5, "5005");
    let (call, caller) = begun(&switch.dial_by(trunk, "030111", "5005"));
    assert_eq!(switch.ring(phone, call), Reply::Done);
    switch.told.clear();
    switch.pass(seconds(31));
    let out = called(&mut switch, trunk);
    switch.answer_by(out);
    assert_eq!(switch.legs_up(call), [caller, out]);
    // The one that hangs up is the one that says so.
    let hang_up = |call| CallEvent::Hangup { call, cause: None };
    assert_eq!(switch.by_leg(out, hang_up), Reply::Done);
    assert_eq!(switch.call_records().last().unwrap().by, EndedBy::Leg(out));
    // Transferred by an agent.
    let (call, caller) = switch.talk_from(trunk, agent, "5001");
    let to = TransferTo::Number(number("0302"));
    switch.done(agent, CallEvent::Transfer { call, to });
    let out = called(&mut switch, trunk);
    switch.answer_by(out);
    assert_eq!(switch.legs_up(call), [caller, out]);
    switch.hang_up(trunk, call);
    switch.assert_empty();
}

#[test]
fn a_conference_has_two_from_outside_by_one_trunk() {
    let mut switch = planned(PLAN);
    let (alice, trunk) = (switch.phone(1, "5001"), switch.trunk(9, "city"));
    let (call, first) = switch.talk_by(alice, trunk, "0301");
    let to = number("0302");
    switch.done(alice, CallEvent::Add { call, to });
    let second = called(&mut switch, trunk);
    switch.answer_by(second);
    let told = switch.told(trunk);
    let joined = told.iter().filter_map(|notice| match notice {
        Notice::Joined { leg, participant, .. } => Some((*leg, participant.leg)),
        _ => None,
    });
    assert_eq!(joined.collect::<Vec<_>>(), [(first, second)]);
    assert_eq!(switch.legs_up(call).len(), 3);
    let quality = Quality {
        rtt: seconds(1),
        ..Quality::default()
    };
    switch.handle(Event::Media(MediaEvent::Quality { leg: second, quality }));
    let told = switch.told(trunk);
    assert!(
        matches!(&told[..], [Notice::QualityWarning { leg, .. }] if *leg == second),
        "{told:?}"
    );
    // One goes, and the other is told who.
    let hang_up = |call| CallEvent::Hangup { call, cause: None };
    assert_eq!(switch.by_leg(second, hang_up), Reply::Done);
    let told = switch.told(trunk);
    assert!(
        told.iter()
            .any(|notice| matches!(notice, Notice::Left { own, leg, .. } if (*own, *leg) == (first, second)))
    );
    assert_eq!(switch.legs_up(call).len(), 2);
}

/// REFER with Replaces says which leg; the plane is told it.
#[test]
fn the_other_end_of_a_trunk_puts_two_of_its_legs_together() {
    let mut switch = planned(PLAN);
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let trunk = switch.trunk(9, "city");
    let (first, own) = switch.talk_from(trunk, alice, "5001");
    let (_, other) = switch.talk_from(trunk, bob, "5002");
    let to = TransferTo::Leg(other);
    let transfer = CallEvent::Transfer { call: first, to };
    assert_eq!(switch.ask_as(Actor::Leg(own), transfer), Reply::Done);
    let sessions = |switch: &Switch| -> Vec<SessionId> {
        let view = switch.plane.call(first).unwrap();
        view.legs.iter().map(|leg| leg.session).collect()
    };
    assert_eq!(sessions(&switch), [alice, bob]);
    // A leg of somebody else is none.
    let (third, own) = switch.talk_from(trunk, alice, "5001");
    let to = TransferTo::Leg(switch.leg(first, bob));
    let transfer = CallEvent::Transfer { call: third, to };
    assert_eq!(
        switch.ask_as(Actor::Leg(own), transfer),
        Reply::Refused(Refusal::UnknownCall)
    );
}

#[test]
fn a_leg_may_what_its_session_may_and_in_its_own_call_alone() {
    let mut switch = planned(PLAN);
    let (alice, trunk) = (switch.phone(1, "5001"), switch.trunk(9, "city"));
    let (call, leg) = switch.talk_from(trunk, alice, "5001");
    let other = switch.dial(alice, "0301");
    let hold = |call| CallEvent::Hold { call, hold: true };
    let unknown = Reply::Refused(Refusal::UnknownCall);
    assert_eq!(switch.ask_as(Actor::Leg(leg), hold(other)), unknown);
    assert_eq!(switch.ask_as(Actor::Leg(leg), hold(call)), Reply::Done);
    // Only the session is known: what rings is answered, what is up is hung up first.
    let (call, caller) = begun(&switch.dial_by(trunk, "030111", "5005"));
    assert!(switch.plane.call(call).is_none(), "nobody is there");
    assert_eq!(switch.ask_as(Actor::Leg(caller), hold(call)), unknown);
    switch.phone(5, "5005");
    let (call, caller) = begun(&switch.dial_by(trunk, "030111", "5005"));
    switch.told.clear();
    switch.pass(seconds(31));
    let out = called(&mut switch, trunk);
    assert_eq!(switch.ring(trunk, call), Reply::Done);
    assert_eq!(switch.plane.leg(out).unwrap().0, LegState::Ringing);
    assert_eq!(switch.answer(trunk, call), Reply::Done);
    assert_eq!(switch.plane.leg_of_device(trunk, call), Some(caller));
    assert_eq!(switch.legs_up(call), [caller, out]);
}

#[test]
fn a_phone_still_has_one_leg_in_a_call() {
    let mut switch = planned(
        "[groups.all]\nmembers = [\"5001\", \"5001\", \"city\", \"city\"]\n[[rules]]\nto = \"80\"\ntarget = \"group/all\"",
    );
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    switch.trunk(9, "city");
    let call = switch.dial(bob, "80");
    assert_eq!(switch.plane.call(call).unwrap().legs.len(), 3, "each is called once");
    switch.answer(alice, call);
    let add = CallEvent::Add {
        call,
        to: number("5001"),
    };
    switch.told.clear();
    switch.done(bob, add);
    assert!(switch.told(alice).is_empty());
}

/// A phone cannot be what a trunk was: its legs are too many for it.
#[test]
fn a_device_stays_what_it_is() {
    let mut switch = planned(PLAN);
    let trunk = Registration {
        kind: DeviceKind::Trunk,
        device: Some(Text::new("sip")),
        ..Registration::phone(session(9), number("city"))
    };
    switch.register(trunk.clone());
    for id in [9, 10] {
        let phone = Registration {
            kind: DeviceKind::Phone,
            session: session(id),
            ..trunk.clone()
        };
        assert_eq!(switch.register(phone), Reply::Refused(Refusal::Duplicate));
    }
    assert!(matches!(switch.register(trunk), Reply::Registered(_)));
}

fn is_called(switch: &mut Switch, session: SessionId) -> bool {
    let told = switch.told(session);
    told.iter().any(|notice| matches!(notice, Notice::Incoming(_)))
}

/// Whoever the carrier lets call must not call out at our expense.
#[test]
fn callers_on_a_trunk_go_out_by_one_only_where_a_rule_says_so() {
    let mut switch = planned(PLAN);
    let (city, far) = (switch.trunk(9, "city"), switch.trunk(8, "far"));
    let (call, _) = begun(&switch.dial_by(far, "030111", "0900123"));
    assert_eq!(switch.ended(far), [(call, Cause::Unallocated)]);
    // Nor one who says that he is of the house, nor by the trunk's own name.
    let (call, _) = begun(&switch.dial_by(far, "5001", "city"));
    assert_eq!(switch.ended(far), [(call, Cause::Forbidden)]);
    assert!(!is_called(&mut switch, city));
    // What a number that was reached says is as before.
    for to in ["5005", "5006"] {
        let phone = switch.phone(5, "5005");
        let (call, _) = begun(&switch.dial_by(far, "030111", to));
        if to == "5005" {
            let reject = CallEvent::Reject {
                call,
                reason: RejectReason::Busy,
                scope: RejectScope::All,
            };
            switch.done(phone, reject);
        }
        assert!(is_called(&mut switch, city), "{to}");
    }
    let plan = PLAN.replace("strip = 1", "strip = 1\ntransit = true");
    let plan = AdminEvent::ReplaceDialplan(Box::new(Dialplan::parse(&plan).unwrap()));
    switch.handle(Event::Admin(plan));
    switch.dial_by(far, "030111", "0900123");
    assert!(is_called(&mut switch, city));
}

/// A trunk under another name is a trunk: as a number, in a group, by a hook, as the fallback of what nobody has.
#[test]
fn no_other_way_leads_from_a_trunk_to_a_trunk() {
    let plan = r#"
[groups.ways]
members = ["city"]
[[rules]]
to = "_1X."
target = "number/city"
TRANSIT
[[rules]]
to = "_2X."
target = "group/ways"
TRANSIT
[[rules]]
to = "_3X."
hook = "http://hook"
TRANSIT
[[rules]]
to = "_4X."
unreachable = "trunk/city"
TRANSIT
[[rules]]
to = "_5X."
hook = "http://hook"
hook_fallback = "trunk/city"
TRANSIT
[[rules]]
to = "_0."
target = "trunk/city"
TRANSIT
"#;
    for (text, may) in [("", false), ("transit = true", true)] {
        let mut switch = planned(&plan.replace("TRANSIT", text));
        let (city, far, alice) = (switch.trunk(9, "city"), switch.trunk(8, "far"), switch.phone(1, "7001"));
        for (to, answer) in [
            ("1900", None),
            ("2900", None),
            ("3900", Some(HookAnswer::Target("trunk/city".parse().unwrap()))),
            ("3900", Some(HookAnswer::Target("dial/0900".parse().unwrap()))),
            ("3900", Some(HookAnswer::Target("number/city".parse().unwrap()))),
            ("4900", None),
            ("5900", Some(HookAnswer::Failed)),
        ] {
            for (session, may) in [(far, may), (alice, true)] {
                switch.told.clear();
                switch.dial(session, to);
                if let Some(answer) = answer.clone() {
                    let hook = switch.questions.pop().expect("it was asked").hook;
                    switch.handle(Event::Admin(AdminEvent::HookAnswered { hook, answer }));
                }
                assert_eq!(is_called(&mut switch, city), may, "{to} {session}");
            }
        }
    }
}

/// The other end of a trunk transfers who talks to it: the same rule holds. A program may.
#[test]
fn a_transfer_from_a_trunk_goes_out_by_one_only_where_a_rule_says_so() {
    let mut switch = planned(PLAN);
    let (alice, city) = (switch.phone(1, "5001"), switch.trunk(9, "city"));
    let (call, leg) = switch.talk_from(city, alice, "5001");
    let transfer = || CallEvent::Transfer {
        call,
        to: TransferTo::Number(number("0900123")),
    };
    switch.told.clear();
    assert_eq!(switch.ask_as(Actor::Leg(leg), transfer()), Reply::Done);
    assert!(!is_called(&mut switch, city));
    assert_eq!(switch.ask_as(Actor::Api { leg: None }, transfer()), Reply::Done);
    assert!(is_called(&mut switch, city));
}

#[test]
fn profiles_of_a_trunk_are_for_who_comes_by_it() {
    let plan = r#"
[[profiles]]
from = "_."
by = "trunk/city"
name = "Outside"
forbidden = ["5002"]
[[profiles]]
from = "_."
by = "trunk/*"
record = true
[[profiles]]
from = "5001"
forbidden = ["5003"]
"#;
    let mut switch = planned(plan);
    let (alice, _, _) = (
        switch.phone(1, "5001"),
        switch.phone(2, "5002"),
        switch.phone(3, "5003"),
    );
    let (city, far) = (switch.trunk(9, "city"), switch.trunk(8, "far"));
    assert_eq!(switch.dial_by(city, "5001", "5002"), Reply::Refused(Refusal::Forbidden));
    let (call, _) = begun(&switch.dial_by(far, "5001", "5002"));
    assert!(switch.plane.call(call).unwrap().recorded);
    assert!(matches!(switch.dial_by(city, "5001", "5003"), Reply::Calling { .. }));
    let dial = CallEvent::Dial(Box::new(Dial::to(number("5003"))));
    assert_eq!(switch.ask(alice, dial), Reply::Refused(Refusal::Forbidden));
    let call = switch.dial(alice, "5002");
    assert!(!switch.plane.call(call).unwrap().recorded);
}
