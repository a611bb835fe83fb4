//! Who comes in the place of another (RFC 3891).

use super::switch::*;
use crate::*;

fn replace(leg: LegId) -> CallEvent {
    CallEvent::Replace(Box::new(Replace {
        leg,
        from: None,
        codecs: Codecs::default(),
    }))
}

fn leg(call: CallId, number: u16) -> LegId {
    LegId {
        call,
        leg: LegNumber(number),
    }
}

#[test]
fn a_device_of_the_same_number_comes_in_the_place_of_one_that_talks() {
    let mut switch = Switch::new();
    let (alice, desk, mobile) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5002"),
    );
    let stranger = switch.telephone(4, "5003");
    let call = switch.dial(alice, "5002");
    switch.answer(desk, call);
    for (who, what, refusal) in [
        (stranger, leg(call, 2), Refusal::NotAllowed),
        (mobile, leg(call, 1), Refusal::NotAllowed),
        (mobile, leg(call, 9), Refusal::UnknownLeg),
    ] {
        assert_eq!(switch.ask(who, replace(what)), Reply::Refused(refusal));
    }
    switch.told.clear();
    let reply = switch.ask(mobile, replace(leg(call, 2)));
    let Reply::Calling {
        call: same,
        leg: Some(own),
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!(same, call);
    assert_eq!(switch.ended(desk), [(call, Cause::Transferred)]);
    let told = switch.told(mobile);
    assert!(
        told.iter()
            .any(|notice| matches!(notice, Notice::Accepted(accepted) if accepted.leg == own)),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|notice| matches!(notice, Notice::Participants { participants, .. } if participants.len() == 2))
    );
    let told = switch.told(alice);
    assert!(
        told.iter().any(|notice| matches!(notice, Notice::Joined { .. })),
        "{told:?}"
    );
    // A second time it is gone.
    assert_eq!(
        switch.ask(desk, replace(leg(call, 2))),
        Reply::Refused(Refusal::UnknownLeg)
    );
    switch.hang_up(alice, call);
    assert_eq!(switch.ended(mobile), [(call, Cause::Normal)]);
    switch.assert_empty();
}

#[test]
fn a_device_of_the_same_number_answers_for_one_that_rings() {
    let mut switch = Switch::new();
    let (alice, desk, mobile) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5002"),
    );
    let call = switch.dial(alice, "5002");
    switch.ring(desk, call);
    let reply = switch.ask(mobile, replace(leg(call, 2)));
    assert!(matches!(reply, Reply::Calling { .. }), "{reply:?}");
    assert_eq!(switch.ended(desk), [(call, Cause::AnsweredElsewhere)]);
    // It rang as well.
    assert_eq!(switch.ended(mobile), [(call, Cause::AnsweredElsewhere)]);
    let up = switch.plane.call(call).unwrap().legs;
    assert_eq!(up.iter().filter(|leg| leg.state == LegState::Up).count(), 2);
    switch.hang_up(alice, call);
    switch.assert_empty();
}

#[test]
fn nobody_comes_in_the_place_of_another_without_a_codec_or_while_somebody_is_called() {
    let mut switch = Switch::new();
    let (alice, desk, mobile) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5002"),
    );
    let bob = switch.telephone(4, "5004");
    let call = switch.dial(alice, "5002");
    switch.answer(desk, call);
    let pcma = CallEvent::Codecs {
        call,
        codecs: Codecs::default().with(Codec::Pcma),
        speaks: Some(Codec::Pcma),
    };
    switch.done(alice, pcma);
    let opus = CallEvent::Replace(Box::new(Replace {
        leg: leg(call, 2),
        from: None,
        codecs: Codecs::default().with(Codec::Opus),
    }));
    assert_eq!(switch.ask(mobile, opus), Reply::Refused(Refusal::Incompatible));
    let to = TransferTo::Number(number("5004"));
    switch.done(desk, CallEvent::Transfer { call, to });
    assert_eq!(
        switch.ask(mobile, replace(leg(call, 2))),
        Reply::Refused(Refusal::Pending)
    );
    switch.answer(bob, call);
    switch.hang_up(alice, call);
    switch.assert_empty();
}

#[test]
fn who_is_behind_a_trunk_comes_in_the_place_of_another_behind_it() {
    let mut switch = Switch::new();
    let (alice, city, far) = (switch.phone(1, "5001"), switch.trunk(8, "city"), switch.trunk(9, "far"));
    let reply = switch.dial_by(city, "030111", "5001");
    let Reply::Calling { call, leg: Some(own) } = reply else {
        panic!("{reply:?}")
    };
    switch.answer(alice, call);
    let come = CallEvent::Replace(Box::new(Replace {
        leg: own,
        from: Some((number("030222"), Text::new("Second"))),
        codecs: Codecs::default(),
    }));
    assert_eq!(switch.ask(far, come.clone()), Reply::Refused(Refusal::NotAllowed));
    assert_eq!(switch.ask(alice, come.clone()), Reply::Refused(Refusal::NotAllowed));
    assert!(matches!(switch.ask(city, come), Reply::Calling { .. }));
    let view = switch.plane.call(call).unwrap();
    assert!(
        view.legs.iter().any(|leg| leg.party.number == number("030222")),
        "{view:?}"
    );
    assert_eq!(view.legs.len(), 2);
    switch.hang_up(alice, call);
    switch.assert_empty();
}
