//! How many calls a number begins within an hour, whatever way it begins them.

use super::switch::*;
use crate::*;

fn bounded(max: u32) -> Switch {
    Switch::with(Settings {
        counters_wait: seconds(0),
        half_dead: seconds(0),
        calls_per_hour_max: max,
        ..Settings::default()
    })
}

fn refused(reply: &Reply) -> bool {
    *reply == Reply::Refused(Refusal::TooOften)
}

#[test]
fn a_number_begins_so_many_calls_within_an_hour() {
    let mut switch = bounded(3);
    let (alice, second, bob) = (
        switch.phone(1, "5001"),
        switch.phone(2, "5001"),
        switch.phone(3, "5002"),
    );
    let city = switch.trunk(9, "city");
    let dial = |to: &str| CallEvent::Dial(Box::new(Dial::to(number(to))));
    for _ in 0..2 {
        let call = switch.dial(alice, "5002");
        switch.hang_up(alice, call);
    }
    // Of all its devices together. Programs that have it call count as well.
    let call = switch.dial(second, "5002");
    switch.hang_up(second, call);
    assert!(refused(&switch.ask(alice, dial("5002"))));
    let originate = CallEvent::Originate {
        from: number("5001"),
        to: number("5002"),
        call: None,
        timeout: None,
    };
    assert!(refused(&switch.ask_as(Actor::Api { leg: None }, originate)));
    // It is still called, and others call.
    for _ in 0..5 {
        let Reply::Calling { call, .. } = switch.dial_by(city, "5001", "5002") else {
            panic!("callers of a trunk are not counted")
        };
        switch.hang_up(city, call);
    }
    let call = switch.dial(bob, "5001");
    switch.answer(alice, call);
    let to = || TransferTo::Number(number("5003"));
    assert!(refused(&switch.ask(alice, CallEvent::Transfer { call, to: to() })));
    let add = CallEvent::Add {
        call,
        to: number("5003"),
    };
    assert!(refused(&switch.ask(alice, add)));
    assert_eq!(switch.plane.call(call).unwrap().legs.len(), 2, "the call goes on");
    switch.hang_up(bob, call);
    switch.pass(seconds(3600 + 300));
    let alice = switch.phone(1, "5001");
    let call = switch.dial(alice, "5002");
    switch.hang_up(alice, call);
    switch.assert_empty();
}

#[test]
fn a_call_that_is_sent_out_by_a_trunk_is_one_of_who_sends_it_on() {
    let plan = r#"
[[rules]]
to = "_0."
target = "trunk/city"
"#;
    let settings = Settings {
        counters_wait: seconds(0),
        half_dead: seconds(0),
        calls_per_hour_max: 2,
        ..Settings::default()
    };
    let mut switch = Switch::planned(settings, Dialplan::parse(plan).unwrap());
    let (alice, bob, desk) = (
        switch.phone(1, "5001"),
        switch.phone(2, "5002"),
        switch.telephone(3, "5003"),
    );
    let (third, far, city) = (switch.phone(4, "5004"), switch.trunk(8, "far"), switch.trunk(9, "city"));
    let send_on = |call, to: &str| CallEvent::Forward { call, to: number(to) };
    // Within the house as often as others call.
    for _ in 0..5 {
        let Reply::Calling { call, .. } = switch.dial_by(far, "030111", "5003") else {
            panic!("callers of a trunk are not counted")
        };
        switch.done(desk, send_on(call, "5004"));
        switch.answer(third, call);
        switch.hang_up(far, call);
    }
    for _ in 0..2 {
        let call = switch.dial(alice, "5003");
        switch.done(desk, send_on(call, "0301"));
        switch.answer(city, call);
        switch.hang_up(alice, call);
    }
    let call = switch.dial(bob, "5003");
    switch.told.clear();
    switch.done(desk, send_on(call, "0301"));
    assert_eq!(switch.ended(bob), [(call, Cause::Forbidden)]);
    let mut refused = switch.reports.iter().filter_map(|report| match report {
        Report::Forward { refused, .. } => Some(*refused),
        _ => None,
    });
    assert_eq!(refused.next_back(), Some(Some(Cause::Forbidden)));
    switch.assert_empty();
}

#[test]
fn a_plane_that_failed_gives_nobody_a_new_hour() {
    let mut switch = bounded(1);
    let (alice, _bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.dial(alice, "5002");
    switch.hang_up(alice, call);
    switch.plane.renew(switch.now);
    let dial = CallEvent::Dial(Box::new(Dial::to(number("5002"))));
    assert!(refused(&switch.ask(alice, dial)));
}
