//! Telephones send calls on (302).

use super::switch::*;
use crate::*;

const PLAN: &str = r#"
[groups.all]
members = ["5002", "5003"]
[groups.turn]
members = ["5002", "5003", "5005"]
strategy = "in-turn"
[queues.line]
agents = ["5002"]
[[rules]]
to = "80"
target = "group/all"
[[rules]]
to = "82"
target = "group/turn"
[[rules]]
to = "81"
target = "queue/line"
[[rules]]
to = "_0."
strip = 1
target = "trunk/city"
[[rules]]
to = "_7."
strip = 1
prepend = "0900"
target = "trunk/city"
[[profiles]]
from = "5003"
forbidden = ["0900", "0800"]
[[profiles]]
from = "5006"
forbidden = ["0"]
"#;

fn planned() -> Switch {
    let settings = Settings {
        counters_wait: seconds(0),
        half_dead: seconds(0),
        ..Settings::default()
    };
    Switch::planned(settings, Dialplan::parse(PLAN).unwrap())
}

fn forward(switch: &mut Switch, session: SessionId, call: CallId, to: &str) {
    switch.done(session, CallEvent::Forward { call, to: number(to) });
}

/// What was dialled for the session's last call.
fn dialled(switch: &mut Switch, session: SessionId) -> Option<Number> {
    let told = switch.told(session).into_iter();
    let incoming = told.filter_map(|notice| match notice {
        Notice::Incoming(incoming) => Some(incoming.dialled),
        _ => None,
    });
    incoming.last()
}

fn forwards(switch: &mut Switch) -> Vec<Option<Cause>> {
    let reports = std::mem::take(&mut switch.reports).into_iter();
    let forwards = reports.filter_map(|report| match report {
        Report::Forward { refused, .. } => Some(refused),
        _ => None,
    });
    forwards.collect()
}

#[test]
fn a_call_goes_where_a_telephone_sends_it() {
    let mut switch = planned();
    let (alice, desk, bob) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.phone(3, "5004"),
    );
    let call = switch.dial(alice, "5002");
    forward(&mut switch, desk, call, "5004");
    assert_eq!(switch.ended(desk), [(call, Cause::Transferred)]);
    assert_eq!(dialled(&mut switch, bob), Some(number("5004")));
    assert_eq!(forwards(&mut switch), [None]);
    switch.answer(bob, call);
    switch.hang_up(alice, call);
    assert_eq!(switch.ended(bob), [(call, Cause::Normal)]);
    switch.assert_empty();
}

#[test]
fn forwards_that_lead_back_or_too_far_end_the_call() {
    let mut switch = planned();
    let alice = switch.phone(1, "5001");
    let (one, two) = (switch.telephone(2, "5002"), switch.telephone(3, "5005"));
    let call = switch.dial(alice, "5002");
    forward(&mut switch, one, call, "5002");
    assert_eq!(switch.ended(alice), [(call, Cause::LoopDetected)]);
    let call = switch.dial(alice, "5002");
    forward(&mut switch, one, call, "5005");
    forward(&mut switch, two, call, "5002");
    assert_eq!(switch.ended(alice), [(call, Cause::LoopDetected)]);
    let looped = Some(Cause::LoopDetected);
    assert_eq!(forwards(&mut switch), [looped, None, looped]);
    let chain: Vec<SessionId> = (0..12)
        .map(|at| switch.telephone(100 + at, &format!("61{at:02}")))
        .collect();
    let call = switch.dial(alice, "6100");
    for (at, telephone) in chain.iter().enumerate() {
        let event = CallEvent::Forward {
            call,
            to: number(&format!("61{:02}", at + 1)),
        };
        if !matches!(switch.ask(*telephone, event), Reply::Done) {
            assert_eq!(at, limits::FORWARDS_MAX + 1);
            break;
        }
    }
    assert_eq!(switch.ended(alice), [(call, Cause::TooManyHops)]);
    switch.assert_empty();
}

#[test]
fn nobody_calls_by_a_forward_what_caller_or_telephone_may_not() {
    let mut switch = planned();
    let (alice, careful, city) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5003"),
        switch.trunk(9, "city"),
    );
    // As it is written, and as it is translated.
    for to in ["0800123", "71"] {
        let call = switch.dial(alice, "5003");
        forward(&mut switch, careful, call, to);
        assert_eq!(switch.ended(alice), [(call, Cause::Forbidden)], "{to}");
        assert_eq!(dialled(&mut switch, city), None);
    }
    assert_eq!(
        forwards(&mut switch),
        [Some(Cause::Forbidden), Some(Cause::Forbidden)],
        "what comes of it is told, not what is asked"
    );
    // The caller's own profile counts as well.
    let careful = switch.phone(3, "5003");
    let desk = switch.telephone(4, "5002");
    let call = switch.dial(careful, "5002");
    forward(&mut switch, desk, call, "71");
    assert_eq!(switch.ended(careful), [(call, Cause::Forbidden)]);
    // Somebody of here goes out; who came by a trunk does not.
    let call = switch.dial(alice, "5002");
    forward(&mut switch, desk, call, "0301");
    assert_eq!(dialled(&mut switch, city), Some(number("301")));
    switch.hang_up(alice, call);
    let far = switch.trunk(8, "far");
    let reply = switch.dial_by(far, "030111", "5002");
    let Reply::Calling { call, .. } = reply else {
        panic!("{reply:?}")
    };
    forward(&mut switch, desk, call, "0301");
    assert_eq!(dialled(&mut switch, city), None);
    assert_eq!(switch.ended(far), [(call, Cause::Unallocated)]);
    switch.assert_empty();
}

#[test]
fn nobody_calls_by_a_forward_what_caller_forwarder_or_transferor_may_not_dial() {
    let mut switch = planned();
    let (bound, alice, desk, second, city) = (
        switch.telephone(1, "5006"),
        switch.phone(2, "5001"),
        switch.telephone(3, "5002"),
        switch.telephone(4, "5007"),
        switch.trunk(9, "city"),
    );
    let dial = CallEvent::Dial(Box::new(Dial::to(number("0301"))));
    assert_eq!(switch.ask(bound, dial), Reply::Refused(Refusal::Forbidden));
    // The caller.
    let call = switch.dial(bound, "5002");
    forward(&mut switch, desk, call, "0301");
    assert_eq!(switch.ended(bound), [(call, Cause::Forbidden)]);
    // Who has sent it on before.
    let call = switch.dial(alice, "5006");
    forward(&mut switch, bound, call, "5007");
    forward(&mut switch, second, call, "0301");
    assert_eq!(switch.ended(alice), [(call, Cause::Forbidden)]);
    // Who transfers.
    let call = switch.dial(alice, "5006");
    switch.answer(bound, call);
    let to = TransferTo::Number(number("5002"));
    switch.done(bound, CallEvent::Transfer { call, to });
    forward(&mut switch, desk, call, "0301");
    switch.hang_up(alice, call);
    assert_eq!(dialled(&mut switch, city), None);
    switch.assert_empty();
}

#[test]
fn the_record_says_who_sent_a_call_on() {
    let mut switch = planned();
    let (alice, desk, bob) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.phone(3, "5004"),
    );
    let call = switch.dial(alice, "5002");
    forward(&mut switch, desk, call, "5004");
    switch.answer(bob, call);
    switch.hang_up(alice, call);
    let records = switch.call_records();
    let by: Vec<_> = records[0]
        .transfers
        .iter()
        .map(|transfer| transfer.by.clone())
        .collect();
    assert_eq!(by, [Some(number("5002"))]);
}

#[test]
fn while_others_ring_a_forward_waits_and_an_answer_comes_first() {
    let mut switch = planned();
    let (alice, one, two, bob) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5003"),
        switch.phone(4, "5004"),
    );
    let call = switch.dial(alice, "80");
    forward(&mut switch, one, call, "5004");
    assert_eq!(dialled(&mut switch, bob), None);
    switch.answer(two, call);
    assert_eq!(dialled(&mut switch, bob), None);
    switch.hang_up(alice, call);
    let call = switch.dial(alice, "80");
    forward(&mut switch, one, call, "5004");
    let reject = CallEvent::Reject {
        call,
        reason: RejectReason::Busy,
        scope: RejectScope::Device,
    };
    switch.done(two, reject);
    assert_eq!(dialled(&mut switch, bob), Some(number("5004")));
    switch.hang_up(alice, call);
    // What a number has declined for all its telephones is declined.
    let second = switch.telephone(5, "5002");
    let call = switch.dial(alice, "5002");
    forward(&mut switch, one, call, "5004");
    let reject = CallEvent::Reject {
        call,
        reason: RejectReason::Declined,
        scope: RejectScope::All,
    };
    switch.done(second, reject);
    assert_eq!(dialled(&mut switch, bob), None);
    assert_eq!(switch.ended(alice).last(), Some(&(call, Cause::Rejected)));
    switch.assert_empty();
}

#[test]
fn one_member_does_not_take_the_calls_of_a_group_that_rings_in_turn() {
    let mut switch = planned();
    let (alice, one, two, bob) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5003"),
        switch.phone(4, "5004"),
    );
    let call = switch.dial(alice, "82");
    forward(&mut switch, one, call, "5004");
    assert_eq!(dialled(&mut switch, bob), None);
    switch.answer(two, call);
    switch.hang_up(alice, call);
    assert_eq!(switch.ended(two), [(call, Cause::Normal)]);
    assert_eq!(forwards(&mut switch), [], "nobody was called by it");
    // When nobody is left to ring it is followed. The third has no telephone.
    let call = switch.dial(alice, "82");
    forward(&mut switch, one, call, "5004");
    let reject = CallEvent::Reject {
        call,
        reason: RejectReason::Busy,
        scope: RejectScope::All,
    };
    switch.done(two, reject);
    assert_eq!(dialled(&mut switch, bob), Some(number("5004")));
    assert_eq!(forwards(&mut switch), [None]);
    switch.hang_up(alice, call);
    switch.assert_empty();
}

#[test]
fn forwards_of_trunks_and_of_agents_are_not_followed() {
    let mut switch = planned();
    let (alice, city, desk, bob) = (
        switch.phone(1, "5001"),
        switch.trunk(9, "city"),
        switch.telephone(2, "5002"),
        switch.phone(3, "5004"),
    );
    let call = switch.dial(alice, "0301");
    forward(&mut switch, city, call, "5004");
    assert_eq!(switch.ended(alice), [(call, Cause::Unreachable)]);
    let call = switch.dial(alice, "81");
    forward(&mut switch, desk, call, "5004");
    assert_eq!(dialled(&mut switch, bob), None);
    assert_eq!(
        forwards(&mut switch),
        [Some(Cause::Unreachable), Some(Cause::Unreachable)]
    );
    switch.hang_up(alice, call);
    switch.assert_empty();
}
