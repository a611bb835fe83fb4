//! One call from register to record.

use super::switch::*;
use crate::*;

#[test]
fn two_phones_call_talk_hold_and_hang_up() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.dial(alice, "5002");
    let told = switch.told(alice);
    assert!(matches!(
        told[..],
        [Notice::Progress {
            state: LegState::Calling,
            devices: 1,
            request: Some(_),
            ..
        }]
    ));
    let told = switch.told(bob);
    let [Notice::Incoming(incoming)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((incoming.call, incoming.from.number.as_str()), (call, "5001"));
    assert_eq!(incoming.lifetime, seconds(30));

    switch.pass(seconds(1));
    assert_eq!(switch.ring(bob, call), Reply::Done);
    assert!(matches!(
        switch.told(alice)[..],
        [Notice::Progress {
            state: LegState::Ringing,
            ..
        }]
    ));
    assert!(switch.grants.is_empty(), "nothing is heard before the answer");

    switch.pass(seconds(2));
    assert_eq!(switch.answer(bob, call), Reply::Done);
    let own = |leg: u16| format!("call/{call}/{leg}/**");
    let all = format!("call/{call}/**");
    assert_eq!(switch.may(alice), (vec![&*own(1)], vec![&*all]));
    assert_eq!(switch.may(bob), (vec![&*own(2)], vec![&*all]));
    let told = switch.told(alice);
    let [Notice::Accepted(accepted), Notice::Participants { participants, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(accepted.peer.number.as_str(), "5002");
    assert_eq!(accepted.grants, switch.grants[&alice]);
    assert_eq!(participants.len(), 2);
    assert!(
        participants
            .iter()
            .all(|participant| participant.sends == Some(Codec::Opus))
    );
    assert!(
        participants
            .iter()
            .any(|participant| participant.audible && !participant.own)
    );

    // Bob hears nobody, Alice hears music.
    assert_eq!(switch.hold(bob, call, true), Reply::Done);
    assert_eq!(switch.may(alice), (vec![&*own(1)], vec!["moh/default"]));
    assert_eq!(switch.may(bob), (vec![&*own(2)], vec![]));
    assert!(switch.told(alice).iter().any(|notice| matches!(
        notice,
        Notice::Held { hold: true, music: Some(music), .. } if music == "moh/default"
    )));
    assert_eq!(switch.hold(alice, call, true), Reply::Done);
    assert_eq!(switch.hold(bob, call, false), Reply::Done);
    assert_eq!(switch.may(alice), (vec![&*own(1)], vec![]));
    assert_eq!(switch.may(bob), (vec![&*own(2)], vec!["moh/default"]));
    assert_eq!(switch.hold(alice, call, false), Reply::Done);
    assert_eq!(switch.may(bob), (vec![&*own(2)], vec![&*all]));

    switch.pass(seconds(10));
    assert_eq!(switch.hang_up(alice, call), Reply::Done);
    let told = switch.told(bob);
    let Some(Notice::Ended(ended)) = told.last() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (ended.cause, ended.duration, ended.setup),
        (Cause::Normal, seconds(10), Some(seconds(3)))
    );
    assert!(!told.iter().any(|notice| matches!(notice, Notice::Left { .. })));
    let [record] = switch.call_records()[..] else {
        panic!("one call, one record")
    };
    let start = 1_795_964_400_000;
    assert_eq!(record.times.start_ms, start);
    assert_eq!(record.times.ring_ms, Some(start + 1000));
    assert_eq!(record.times.answer_ms, Some(start + 3000));
    assert_eq!(record.times.end_ms, start + 13_000);
    assert_eq!(record.times.duration, seconds(10));
    let first = LegId {
        call,
        leg: LegNumber(1),
    };
    assert_eq!((record.cause, record.by), (Cause::Normal, EndedBy::Leg(first)));
    assert_eq!(record.legs.len(), 2);
    assert_eq!(record.answered_by.as_ref().unwrap().number.as_str(), "5002");
    assert_eq!(switch.leg_records().len(), 2);
    switch.assert_empty();
    // Once more: there is no such call.
    assert_eq!(switch.hang_up(alice, call), Reply::Refused(Refusal::UnknownCall));
}

#[test]
fn leg_events_come_in_order_one_start_and_one_end_each() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    switch.hang_up(bob, call);
    let states = |leg: u16| -> Vec<LegState> {
        let views = switch.reports.iter().filter_map(|report| match report {
            Report::Leg(view) if view.leg.leg == LegNumber(leg) => Some(view.state),
            _ => None,
        });
        views.collect()
    };
    let whole = [LegState::Calling, LegState::Ringing, LegState::Up, LegState::Hangup];
    assert_eq!(states(1), whole);
    assert_eq!(states(2), whole);
}
