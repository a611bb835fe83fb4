//! Codecs, counters, reports of quality, calls without media, DTMF, signals and recordings.

use std::time::Duration;

use super::switch::*;
use crate::*;

fn with_codecs(id: u128, text: &str, codecs: &[Codec]) -> Registration {
    Registration {
        codecs: codecs.iter().copied().collect(),
        ..Registration::phone(session(id), number(text))
    }
}

fn codecs_told(switch: &Switch) -> Vec<LegCodecs> {
    let last = switch.media.iter().rev().find_map(|action| match action {
        MediaAction::Codecs { legs, .. } => Some(legs.clone()),
        _ => None,
    });
    last.expect("codecs were told")
}

#[test]
fn a_browser_that_talks_to_a_sip_phone_sends_what_that_takes() {
    let mut switch = Switch::new();
    let browser = switch.phone(1, "5001");
    switch.register(with_codecs(2, "5002", &[Codec::Pcma, Codec::Pcmu]));
    let call = switch.talk(browser, session(2), "5002");
    let told = codecs_told(&switch);
    assert!(
        told.iter()
            .all(|leg| leg.sends == Some(Codec::Pcmu) && leg.transcoded.is_empty())
    );
    // A third that takes none of it has it transcoded, alone.
    switch.register(with_codecs(3, "5003", &[Codec::G722]));
    let add = CallEvent::Add {
        call,
        to: number("5003"),
    };
    switch.done(browser, add);
    switch.answer(session(3), call);
    let told = codecs_told(&switch);
    assert_eq!(
        (told[0].sends, &told[0].transcoded[..]),
        (Some(Codec::Opus), &[Codec::Pcmu, Codec::G722][..])
    );
    let notice = switch.told(session(3)).pop();
    let Some(Notice::Participants { participants, .. }) = notice else {
        panic!("{notice:?}")
    };
    assert_eq!(participants[0].heard_as, Some(Codec::G722));
    assert_eq!(participants[2].heard_as, None, "nobody hears himself");
}

#[test]
fn what_a_phone_agreed_on_in_a_call_is_what_it_takes_there() {
    let mut switch = Switch::new();
    let browser = switch.phone(1, "5001");
    switch.register(with_codecs(2, "5002", &[Codec::G722, Codec::Pcma, Codec::Pcmu]));
    let call = switch.dial(browser, "5002");
    let agreed = |codecs: &[Codec]| CallEvent::Codecs {
        call,
        codecs: codecs.iter().copied().collect(),
        speaks: None,
    };
    switch.done(session(2), agreed(&[Codec::Pcma, Codec::Opus]));
    // Nothing of what it registered with: it stays as it is.
    let nothing = switch.ask(session(2), agreed(&[Codec::Opus]));
    assert_eq!(nothing, Reply::Refused(Refusal::Incompatible));
    let speaks = CallEvent::Codecs {
        call,
        codecs: Codecs::all(),
        speaks: Some(Codec::Opus),
    };
    assert_eq!(switch.ask(session(2), speaks), Reply::Refused(Refusal::Incompatible));
    assert_eq!(
        (Refusal::Incompatible.code(), Refusal::Incompatible.http_status()),
        (488, 409)
    );
    switch.answer(session(2), call);
    assert!(codecs_told(&switch).iter().all(|leg| leg.sends == Some(Codec::Pcma)));
    // Who is called is told what the caller takes.
    switch.hang_up(browser, call);
    switch.told(browser);
    switch.dial(session(2), "5001");
    let told = switch.told(browser);
    let Some(Notice::Incoming(incoming)) = told.last() else {
        panic!("{told:?}")
    };
    assert!(incoming.codecs.contains(Codec::G722) && !incoming.codecs.contains(Codec::Opus));
}

fn speaks(codec: Codec, codecs: &[Codec]) -> impl Fn(CallId) -> CallEvent {
    let codecs: Codecs = codecs.iter().copied().collect();
    move |call| CallEvent::Codecs {
        call,
        codecs,
        speaks: Some(codec),
    }
}

fn asked_to_speak(switch: &mut Switch, session: SessionId) -> Vec<Codec> {
    let told = switch.told(session).into_iter();
    let asked = told.filter_map(|notice| match notice {
        Notice::Speak { codec, .. } => Some(codec),
        _ => None,
    });
    asked.collect()
}

fn sent(switch: &Switch) -> Vec<(Option<Codec>, Vec<Codec>)> {
    let told = codecs_told(switch).into_iter();
    told.map(|leg| (leg.sends, leg.transcoded)).collect()
}

/// A telephone that speaks Opus is transferred to a carrier that has PCMU alone. Both have that, so it is agreed on anew.
#[test]
fn a_telephone_speaks_another_codec_when_its_partner_changes() {
    use Codec::{Opus, Pcmu};
    for is_willing in [true, false] {
        let mut switch = Switch::new();
        let (telephone, browser) = (switch.telephone(1, "5001"), switch.phone(2, "5002"));
        let trunk = switch.trunk(3, "city");
        let mut dial = Dial::to(number("5002"));
        dial.codecs = [Opus, Pcmu].into_iter().collect();
        let Reply::Calling { call, .. } = switch.ask(telephone, CallEvent::Dial(Box::new(dial))) else {
            panic!("it begins")
        };
        switch.answer(browser, call);
        switch.done(telephone, speaks(Opus, &[Opus, Pcmu])(call));
        assert_eq!(sent(&switch), [(Some(Opus), vec![]), (Some(Opus), vec![])]);
        let to = TransferTo::Number(number("city"));
        switch.done(browser, CallEvent::Transfer { call, to });
        let told = switch.told(trunk);
        let [Notice::Incoming(incoming)] = &told[..] else {
            panic!("{told:?}")
        };
        assert!(
            incoming.codecs.contains(Pcmu) && incoming.codecs.contains(Opus),
            "both may be offered"
        );
        switch.done(trunk, speaks(Pcmu, &[Pcmu])(call));
        switch.answer(trunk, call);
        assert_eq!(asked_to_speak(&mut switch, telephone), [Pcmu]);
        assert_eq!(asked_to_speak(&mut switch, trunk), []);
        // Nobody is deaf until then.
        assert_eq!(sent(&switch), [(Some(Opus), vec![Pcmu]), (Some(Pcmu), vec![Opus])]);
        if is_willing {
            switch.done(telephone, speaks(Pcmu, &[Opus, Pcmu])(call));
            assert_eq!(sent(&switch), [(Some(Pcmu), vec![]), (Some(Pcmu), vec![])]);
        } else {
            switch.done(telephone, speaks(Opus, &[Opus])(call));
            assert_eq!(sent(&switch), [(Some(Opus), vec![Pcmu]), (Some(Pcmu), vec![Opus])]);
        }
        switch.hold(trunk, call, true);
        switch.hold(trunk, call, false);
        assert_eq!(asked_to_speak(&mut switch, telephone), [], "once is enough");
        switch.hang_up(telephone, call);
    }
}

/// What the one who transfers speaks is no matter to who comes.
#[test]
fn whom_a_transfer_leads_to_is_offered_what_the_one_who_stays_could_speak() {
    use Codec::{Opus, Pcma, Pcmu};
    let mut switch = Switch::new();
    let (alice, bob, trunk) = (
        switch.telephone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.trunk(3, "city"),
    );
    let call = switch.talk(alice, bob, "5002");
    switch.done(alice, speaks(Opus, &[Opus, Pcmu])(call));
    switch.done(bob, speaks(Opus, &[Opus, Pcma])(call));
    let to = TransferTo::Number(number("city"));
    switch.done(bob, CallEvent::Transfer { call, to });
    let told = switch.told(trunk);
    let [Notice::Incoming(incoming)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(incoming.codecs, [Opus, Pcmu].into_iter().collect());
    assert_eq!(switch.plane.takes_beside(incoming.leg), incoming.codecs);
    assert_eq!(switch.plane.may_speak(incoming.leg), Codecs::default());
    switch.plane.settings.transcodes = true;
    assert_eq!(switch.plane.may_speak(incoming.leg), Codecs::all());
}

/// What works is left as it is, whatever the policy would choose; of two that differ one is asked, once.
#[test]
fn nobody_is_asked_to_speak_another_codec_without_need() {
    use Codec::{Opus, Pcma, Pcmu};
    let all = [Opus, Pcmu, Pcma];
    let mut switch = Switch::new();
    let (browser, one, two) = (
        switch.phone(1, "5001"),
        switch.telephone(2, "5002"),
        switch.telephone(3, "5003"),
    );
    let call = switch.talk(browser, one, "5002");
    switch.done(one, speaks(Pcma, &all)(call));
    assert_eq!(sent(&switch), [(Some(Pcma), vec![]), (Some(Pcma), vec![])]);
    assert_eq!(asked_to_speak(&mut switch, one), []);
    switch.hang_up(browser, call);

    let call = switch.talk(one, two, "5003");
    switch.done(one, speaks(Pcma, &all)(call));
    switch.told.clear();
    switch.done(two, speaks(Pcmu, &all)(call));
    assert_eq!(asked_to_speak(&mut switch, one), [Pcmu]);
    // It says the same again: it is not asked again.
    switch.done(one, speaks(Pcma, &all)(call));
    assert_eq!(asked_to_speak(&mut switch, one), []);
    assert_eq!(asked_to_speak(&mut switch, two), []);
}

#[test]
fn records_wait_for_the_relays_counters_but_not_for_ever() {
    for is_answered in [true, false] {
        let mut switch = Switch::with(Settings::default());
        let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
        let call = switch.talk(alice, bob, "5002");
        let leg = switch.leg(call, alice);
        switch.hang_up(alice, call);
        assert!(switch.call_records().is_empty());
        let asked = switch
            .media
            .iter()
            .filter(|action| matches!(action, MediaAction::Count { .. }));
        assert_eq!(asked.count(), 2);
        let counters = Counters {
            frames: 500,
            bytes: 40_000,
            ..Counters::default()
        };
        if is_answered {
            switch.handle(Event::Media(MediaEvent::Counters { leg, counters }));
            // Once more changes nothing.
            switch.handle(Event::Media(MediaEvent::Counters { leg, counters }));
            assert_eq!(switch.leg_records().len(), 1);
        }
        switch.pass(seconds(1));
        let record = switch.call_records()[0];
        let of_alice = record.legs.iter().find(|record| record.leg == leg).unwrap();
        assert_eq!(of_alice.counters, is_answered.then_some(counters));
        assert_eq!(record.legs.len(), 2);
        switch.assert_empty();
    }
}

#[test]
fn what_hearers_report_is_in_the_record_and_worth_a_warning() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    let leg = switch.leg(call, bob);
    let report = |rtt, mos| {
        let quality = Quality {
            rtt: Duration::from_millis(rtt),
            mos: Some(mos),
            ..Quality::default()
        };
        Event::Media(MediaEvent::Quality { leg, quality })
    };
    switch.told.clear();
    for (rtt, mos) in [(100, 4.4), (500, 2.0), (500, 2.0), (100, 4.4)] {
        switch.handle(report(rtt, mos));
    }
    let warnings: Vec<(Warning, bool)> = switch
        .told(bob)
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::QualityWarning { warning, on, .. } => Some((warning, on)),
            _ => None,
        })
        .collect();
    let both = |on| [(Warning::HighRtt, on), (Warning::LowMos, on)];
    assert_eq!(warnings, [both(true), both(false)].concat());
    switch.hang_up(bob, call);
    let record = switch
        .leg_records()
        .into_iter()
        .find(|record| record.party.number == number("5002"))
        .unwrap();
    assert_eq!((record.quality.reports, record.quality.mos_worst), (4, Some(2.0)));
    assert!((299..=300).contains(&record.quality.rtt.as_millis()));
    // Nobody is in the call: nothing to report.
    switch.handle(report(1, 1.0));
}

#[test]
fn calls_without_media_end_but_not_while_one_holds() {
    let mut switch = Switch::with(Settings {
        counters_wait: seconds(0),
        ..Settings::default()
    });
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    let leg = switch.leg(call, bob);
    for _ in 0..5 {
        switch.pass(seconds(20));
        switch.handle(Event::Media(MediaEvent::Flowing { leg }));
    }
    switch.hold(alice, call, true);
    switch.pass(seconds(100));
    switch.hold(alice, call, false);
    switch.pass(seconds(29));
    switch.hold(alice, call, true);
    switch.pass(seconds(100));
    assert!(switch.ended(alice).is_empty());
    switch.hold(alice, call, false);
    switch.handle(Event::Media(MediaEvent::Flowing { leg }));
    switch.pass(seconds(61));
    assert_eq!(switch.ended(alice), [(call, Cause::MediaTimeout)]);
    switch.assert_empty();
}

#[test]
fn calls_whose_media_goes_another_way_do_not_end_for_want_of_it() {
    let mut switch = Switch::with(Settings {
        counters_wait: seconds(0),
        ..Settings::default()
    });
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    switch.talk(alice, bob, "5002");
    switch.pass(seconds(600));
    assert!(switch.ended(alice).is_empty() && switch.ended(bob).is_empty());
}

#[test]
fn calls_last_as_long_as_calls_may() {
    let mut switch = Switch::with(Settings {
        call_duration_max: seconds(60),
        counters_wait: seconds(0),
        half_dead: seconds(0),
        ..Settings::default()
    });
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    switch.pass(seconds(61));
    assert_eq!(switch.ended(bob), [(call, Cause::DurationExceeded)]);
}

#[test]
fn digits_go_to_the_other_side_in_order() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    switch.told.clear();
    let press = |text: &str| CallEvent::Dtmf {
        call,
        digits: Text::new(text),
        duration: seconds(0),
    };
    for text in ["1", "2#", "AB*,"] {
        switch.done(alice, press(text));
    }
    for text in ["", "E", "12a", &"1".repeat(33), "1\n"] {
        assert_eq!(switch.ask(alice, press(text)), Reply::Refused(Refusal::Malformed));
    }
    let digits: Vec<String> = switch
        .told(bob)
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Dtmf { digits, .. } => Some(digits.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(digits, ["1", "2#", "AB*,"]);
    assert!(switch.told(alice).is_empty());
}

#[test]
fn offers_answers_and_candidates_pass_between_two_browsers() {
    let mut switch = Switch::new();
    let (alice, bob, carol) = (
        switch.phone(1, "5001"),
        switch.phone(2, "5002"),
        switch.phone(3, "5003"),
    );
    let sdp = |text| Some(Payload::new(text).unwrap());
    let mut dial = Dial::to(number("5002"));
    (dial.sdp, dial.alias) = (sdp("offer"), Some(Text::new("call-17")));
    let Reply::Calling { call, .. } = switch.ask(alice, CallEvent::Dial(Box::new(dial))) else {
        panic!("it begins")
    };
    assert_eq!(switch.plane.call_by_alias(alice, &Text::new("call-17")), Some(call));
    let told = switch.told(bob);
    let [Notice::Incoming(incoming)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(incoming.sdp, sdp("offer"));
    let candidate = |text| CallEvent::Signal {
        call,
        to: None,
        signal: Signal::Candidate(Payload::new(text).unwrap()),
    };
    switch.done(alice, candidate("a"));
    switch.done(bob, candidate("b"));
    assert_eq!(switch.ask(carol, candidate("c")), Reply::Refused(Refusal::UnknownCall));
    assert!(
        matches!(&switch.told(bob)[..], [Notice::Signal { signal: Signal::Candidate(text), .. }] if text.as_str() == "a")
    );
    switch.told.clear();
    switch.ask(
        bob,
        CallEvent::Answer {
            call,
            sdp: sdp("answer"),
        },
    );
    let told = switch.told(alice);
    assert!(matches!(&told[0], Notice::Accepted(accepted) if accepted.sdp == sdp("answer")));
    switch.done(alice, candidate("late"));
    assert!(switch.told(carol).is_empty());
}

fn payload(text: &str) -> Payload {
    Payload::new(text).unwrap()
}

fn signal_of(call: CallId, signal: Signal) -> CallEvent {
    CallEvent::Signal { call, to: None, signal }
}

/// Phones that ring in turn: the second has the caller's latest offer and what was sent ahead of it.
#[test]
fn offer_and_candidates_reach_devices_that_ring_later() {
    let plan = "[groups.turn]\nmembers = [\"5002\", \"5003\"]\nstrategy = \"in-turn\"\n[[rules]]\nto = \"80\"\ntarget = \"group/turn\"\n";
    let mut switch = Switch::planned(Settings::default(), Dialplan::parse(plan).unwrap());
    let (alice, bob, carol) = (
        switch.phone(1, "5001"),
        switch.phone(2, "5002"),
        switch.phone(3, "5003"),
    );
    let call = switch.dial(alice, "80");
    switch.done(alice, signal_of(call, Signal::Candidate(payload("of no offer"))));
    switch.done(alice, signal_of(call, Signal::Offer(payload("offer"))));
    let mut sent = 0;
    // More than are kept: those reach only who rings.
    for _ in 0..limits::CANDIDATES_KEPT_MAX + 5 {
        switch.done(alice, signal_of(call, Signal::Candidate(payload(&sent.to_string()))));
        sent += 1;
    }
    assert_eq!(switch.told(bob).len(), 1 + 2 + sent);
    switch.hang_up(bob, call);
    let told = switch.told(carol);
    let Some((Notice::Incoming(incoming), signals)) = told.split_first() else {
        panic!("{told:?}")
    };
    assert_eq!(incoming.sdp, Some(payload("offer")));
    let candidates: Vec<&str> = signals
        .iter()
        .map(|notice| match notice {
            Notice::Signal {
                signal: Signal::Candidate(candidate),
                by,
                ..
            } if by.leg == LegNumber(1) => candidate.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<String> = (0..limits::CANDIDATES_KEPT_MAX).map(|at| at.to_string()).collect();
    assert_eq!(candidates, expected);
    switch.answer(carol, call);
    switch.told.clear();
    // Once it is answered everything goes to who answered.
    switch.done(alice, signal_of(call, Signal::Candidate(payload("later"))));
    assert_eq!(switch.told(carol).len(), 1);
}

#[test]
fn candidates_that_are_kept_have_a_bound_in_bytes() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.dial(alice, "5002");
    let long = "c".repeat(limits::CANDIDATE_BYTES_KEPT_MAX / 2);
    for _ in 0..10 {
        switch.done(alice, signal_of(call, Signal::Candidate(payload(&long))));
    }
    let kept: usize = switch.plane.calls[&call]
        .candidates
        .iter()
        .map(|kept| kept.as_str().len())
        .sum();
    assert_eq!(kept, limits::CANDIDATE_BYTES_KEPT_MAX);
    switch.answer(bob, call);
    assert!(switch.plane.calls[&call].candidates.is_empty());
}

#[test]
fn recording_is_told_and_in_the_record() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    let record = |on| CallEvent::Record { call, on };
    switch.done(alice, record(true));
    switch.done(alice, record(true));
    let leg = switch.leg(call, bob);
    assert!(switch.told(bob).contains(&Notice::Recording {
        call,
        leg,
        on: true,
        paused: false,
        tone: None,
    }));
    switch.hang_up(bob, call);
    let switched: Vec<bool> = switch
        .media
        .iter()
        .filter_map(|action| match action {
            MediaAction::Record { on, .. } => Some(*on),
            _ => None,
        })
        .collect();
    assert_eq!(switched, [true, false]);
    assert!(switch.call_records()[0].recorded);
}

#[test]
fn a_recording_pauses_and_tells_so_and_knows_what_a_call_is_like() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    let pause = |paused| CallEvent::PauseRecording { call, paused };
    assert_eq!(switch.ask(alice, pause(true)), Reply::Refused(Refusal::WrongState));
    switch.done(alice, CallEvent::Record { call, on: true });
    switch.done(alice, CallEvent::Mute { call, muted: true });
    switch.done(bob, pause(true));
    switch.done(bob, pause(true));
    let leg = switch.leg(call, alice);
    let told = |on, paused| Notice::Recording {
        call,
        leg,
        on,
        paused,
        tone: None,
    };
    assert!(switch.told(alice).contains(&told(true, true)));
    switch.done(alice, pause(false));
    switch.done(alice, CallEvent::Record { call, on: false });
    switch.done(alice, CallEvent::Mute { call, muted: false });
    let told: Vec<String> = switch
        .media
        .iter()
        .filter_map(|action| match action {
            MediaAction::Record { on, .. } => Some(format!("{on}")),
            MediaAction::PauseRecording { paused, .. } => Some(format!("paused {paused}")),
            MediaAction::Recorded(view) => {
                assert_eq!((view.call, view.legs.len()), (call, 2));
                Some(format!("muted {}", view.legs[0].muted))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            "true",
            "muted false",
            "muted true",
            "paused true",
            "paused false",
            "false"
        ]
    );
}

#[test]
fn who_comes_into_a_recorded_call_is_told_and_hears_a_tone_unless_it_pauses() {
    let mut switch = Switch::new();
    switch.plane.settings.recording_tone = Duration::from_secs(15);
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.dial(alice, "5002");
    // A rule or a hook says so before anybody answers.
    let record = CallEvent::Record { call, on: true };
    assert_eq!(switch.ask_as(Actor::Api { leg: None }, record), Reply::Done);
    assert!(
        !switch
            .told(alice)
            .iter()
            .any(|notice| matches!(notice, Notice::Recording { .. }))
    );
    switch.answer(bob, call);
    let told = |switch: &mut Switch, device| -> Vec<(bool, bool, Option<Duration>)> {
        let notices = switch.told(device);
        let of = |notice: &Notice| match notice {
            Notice::Recording { on, paused, tone, .. } => Some((*on, *paused, *tone)),
            _ => None,
        };
        notices.iter().filter_map(of).collect()
    };
    let sounds = Some(Duration::from_secs(15));
    for device in [alice, bob] {
        assert_eq!(told(&mut switch, device), [(true, false, sounds)]);
    }
    switch.done(alice, CallEvent::PauseRecording { call, paused: true });
    switch.done(alice, CallEvent::PauseRecording { call, paused: false });
    switch.done(alice, CallEvent::Record { call, on: false });
    let expected = [(true, true, None), (true, false, sounds), (false, false, None)];
    for device in [alice, bob] {
        assert_eq!(told(&mut switch, device), expected);
    }
}

#[test]
fn muting_is_information_and_changes_no_grant() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let call = switch.talk(alice, bob, "5002");
    let grants = switch.grants.clone();
    switch.told.clear();
    switch.done(alice, CallEvent::Mute { call, muted: true });
    assert!(matches!(switch.told(bob)[0], Notice::Muted { muted: true, .. }));
    assert_eq!(switch.grants, grants);
    // Through hold and back it stays.
    switch.hold(alice, call, true);
    switch.hold(alice, call, false);
    assert!(switch.plane.call(call).unwrap().legs[0].muted);
}

#[test]
fn trunks_and_telephones_may_be_heard_before_the_answer_by_the_caller_alone() {
    let mut switch = Switch::planned(
        Settings::default(),
        Dialplan::parse("[[rules]]\nto = \"_0.\"\nstrip = 1\ntarget = \"trunk/city\"").unwrap(),
    );
    let alice = switch.phone(1, "5001");
    let trunk = Registration {
        kind: DeviceKind::Trunk,
        ..Registration::phone(session(2), number("city"))
    };
    switch.register(trunk);
    let call = switch.dial(alice, "0301");
    let told = switch.told(session(2));
    let [Notice::Incoming(incoming)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(incoming.dialled, number("301"));
    ring_early(&mut switch, session(2), call);
    assert_eq!(switch.may(alice), (vec![], vec![&*format!("call/{call}/2/**")]));
    assert!(
        switch
            .told(alice)
            .iter()
            .any(|notice| matches!(notice, Notice::Progress { early: Some(_), .. }))
    );
    switch.answer(session(2), call);
    assert_eq!(
        switch.may(alice),
        (vec![&*format!("call/{call}/1/**")], vec![&*format!("call/{call}/**")])
    );
    // A browser, which the plane can have answer, is not.
    let bob = switch.phone(3, "5002");
    let call = switch.dial(alice, "5002");
    ring_early(&mut switch, bob, call);
    assert!(!switch.grants.contains_key(&bob));
    let desk = switch.telephone(4, "5003");
    let call = switch.dial(alice, "5003");
    ring_early(&mut switch, desk, call);
    assert_eq!(early(&mut switch, alice), [2]);
    let own = format!("call/{call}/2/**");
    assert_eq!(switch.may(desk), (vec![&*own], vec![]));
    assert!(switch.may(alice).1.contains(&&*own));
}

fn ring_early(switch: &mut Switch, session: SessionId, call: CallId) {
    let ringing = CallEvent::Ringing {
        call,
        early_media: true,
        sdp: None,
    };
    switch.done(session, ringing);
}

/// The legs that a caller was told to hear before the answer.
fn early(switch: &mut Switch, caller: SessionId) -> Vec<u16> {
    let told = switch.told(caller).into_iter();
    let early = told.filter_map(|notice| match notice {
        Notice::Progress { early, .. } => early.map(|(leg, _)| leg.leg.0),
        _ => None,
    });
    early.collect()
}

#[test]
fn of_several_the_first_is_heard_before_the_answer_then_the_next() {
    let mut switch = Switch::new();
    let alice = switch.phone(1, "5001");
    let desks = [
        switch.telephone(2, "5002"),
        switch.telephone(3, "5002"),
        switch.telephone(4, "5002"),
    ];
    let call = switch.dial(alice, "5002");
    // Who speaks first is heard, not who was called first; a second time it is nothing new.
    for desk in [desks[2], desks[0], desks[2], desks[1]] {
        ring_early(&mut switch, desk, call);
    }
    assert_eq!(early(&mut switch, alice), [4]);
    let heard = |leg: u16| format!("call/{call}/{leg}/**");
    assert_eq!(switch.may(alice), (vec![], vec![&*heard(4)]));
    for (gone, next) in [(desks[2], 2), (desks[0], 3)] {
        let reject = CallEvent::Reject {
            call,
            reason: RejectReason::Busy,
            scope: RejectScope::Device,
        };
        switch.done(gone, reject);
        assert_eq!(early(&mut switch, alice), [next]);
        assert_eq!(switch.may(alice), (vec![], vec![&*heard(next)]));
    }
    switch.answer(desks[1], call);
    assert_eq!(early(&mut switch, alice), []);
    assert_eq!(switch.may(alice).1, [&*format!("call/{call}/**")]);
}

#[test]
fn who_waits_in_a_queue_or_is_transferred_hears_music_and_no_early_media() {
    let plan =
        "[queues.line]\nagents = [\"5002\"]\nmusic = \"jazz\"\n[[rules]]\nto = \"80\"\ntarget = \"queue/line\"\n";
    let mut switch = Switch::planned(Settings::default(), Dialplan::parse(plan).unwrap());
    let (alice, bob, desk) = (
        switch.phone(1, "5001"),
        switch.phone(2, "5003"),
        switch.telephone(3, "5002"),
    );
    let call = switch.dial(alice, "80");
    ring_early(&mut switch, desk, call);
    assert_eq!(early(&mut switch, alice), []);
    assert_eq!(switch.may(alice), (vec![], vec!["moh/jazz"]));
    assert_eq!(switch.may(desk), (vec![], vec![]));
    switch.hang_up(alice, call);
    let call = switch.dial(alice, "5003");
    switch.answer(bob, call);
    let to = TransferTo::Number(number("5002"));
    switch.done(bob, CallEvent::Transfer { call, to });
    switch.told.clear();
    ring_early(&mut switch, desk, call);
    assert_eq!(early(&mut switch, alice), []);
    assert_eq!(switch.may(desk), (vec![], vec![]));
}
