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
    let records = switch.call_records();
    let transfer = &records[0].transfers[0];
    let to = TransferredTo::Target(Text::new("030222"));
    assert_eq!((&transfer.by, &transfer.to), (&Some(number("030111")), &to));
    switch.assert_empty();
}

/// Two talk, and the second telephone of the second number is there.
fn talking() -> (Switch, CallId, [SessionId; 3]) {
    let mut switch = Switch::new();
    let (alice, desk, mobile) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5002"),
    );
    let call = switch.dial(alice, "5002");
    switch.answer(desk, call);
    (switch, call, [alice, desk, mobile])
}

fn come(switch: &mut Switch, session: SessionId, other: LegId) -> LegId {
    let reply = switch.ask(session, replace(other));
    let Reply::Calling { leg: Some(own), .. } = reply else {
        panic!("{reply:?}")
    };
    own
}

#[test]
fn who_comes_in_the_place_of_one_who_lectures_is_heard() {
    let (mut switch, call, [alice, desk, mobile]) = talking();
    let speakers = Some(vec![switch.leg(call, desk)]);
    let program = Actor::Api { leg: None };
    assert_eq!(
        switch.ask_as(program, CallEvent::Lecture { call, speakers }),
        Reply::Done
    );
    let old = switch.leg(call, desk);
    let own = come(&mut switch, mobile, old);
    assert_eq!(switch.may(alice).1, [format!("call/{call}/{}/**", own.leg.0)]);
    assert!(switch.may(mobile).1.is_empty(), "nobody else is heard");
    switch.hang_up(alice, call);
    switch.assert_empty();
}

#[test]
fn to_who_comes_in_the_place_of_another_a_supervisor_whispers_on() {
    let (mut switch, call, [alice, desk, mobile]) = talking();
    let boss = switch.supervisor(4, "5004");
    let old = switch.leg(call, desk);
    switch.supervise(boss, call, SuperviseMode::Whisper(old));
    let own = come(&mut switch, mobile, old);
    let all = format!("call/{call}/**");
    assert_eq!(switch.may(mobile).1, [&*all]);
    assert_eq!(
        switch.may(alice).1,
        [format!("call/{call}/{}/**", own.leg.0)],
        "the customer hears the agent alone"
    );
    switch.hang_up(alice, call);
    switch.assert_empty();
}

#[test]
fn who_comes_in_the_place_of_another_is_muted_as_that_was_and_the_caller() {
    let (mut switch, call, [alice, desk, _]) = talking();
    let second = switch.telephone(5, "5001");
    let old = switch.leg(call, alice);
    switch.done(alice, CallEvent::Mute { call, muted: true });
    let own = come(&mut switch, second, old);
    let view = switch.plane.call(call).unwrap();
    let muted: Vec<LegId> = view.legs.iter().filter(|leg| leg.muted).map(|leg| leg.leg).collect();
    assert_eq!(muted, [own]);
    assert_eq!(switch.plane.calls[&call].caller, Some(own));
    switch.hang_up(desk, call);
    switch.assert_empty();
}

#[test]
fn an_agent_who_goes_on_by_another_telephone_does_not_write_up_yet() {
    let plan = r#"
[queues.line]
agents = ["5002"]
wrap_up = 15
[[rules]]
to = "80"
target = "queue/line"
"#;
    let settings = Settings {
        counters_wait: seconds(0),
        half_dead: seconds(0),
        ..Settings::default()
    };
    let mut switch = Switch::planned(settings, Dialplan::parse(plan).unwrap());
    let (alice, desk, mobile) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5002"),
    );
    let call = switch.dial(alice, "80");
    switch.answer(desk, call);
    let old = switch.leg(call, desk);
    come(&mut switch, mobile, old);
    let agent = |switch: &Switch| switch.plane.number(&number("5002")).unwrap().agent;
    assert_eq!(agent(&switch), AgentState::Ready);
    switch.hang_up(alice, call);
    assert_eq!(agent(&switch), AgentState::WrapUp);
}
