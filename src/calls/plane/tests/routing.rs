//! Groups, queues, hooks, fallbacks, limits and presence.

use super::switch::*;
use crate::*;

fn planned(plan: &str) -> Switch {
    let settings = Settings {
        counters_wait: seconds(0),
        half_dead: seconds(0),
        ..Settings::default()
    };
    Switch::planned(settings, Dialplan::parse(plan).unwrap())
}

fn rings(switch: &mut Switch, session: SessionId) -> bool {
    let told = switch.told(session);
    told.iter().any(|notice| matches!(notice, Notice::Incoming(_)))
}

const GROUPS: &str = r#"
[groups.all]
members = ["1", "2", "3"]
[groups.turn]
members = ["1", "2", "3"]
strategy = "in-turn"
ring = 10
no_answer = "reject/rejected"
[groups.recent]
members = ["1", "2"]
strategy = "least-recent"
[[rules]]
to = "80"
target = "group/all"
[[rules]]
to = "81"
target = "group/turn"
[[rules]]
to = "82"
target = "group/recent"
"#;

#[test]
fn groups_ring_all_at_once_in_turn_or_least_recent_first() {
    let mut switch = planned(GROUPS);
    let (one, two) = (switch.phone(1, "1"), switch.phone(2, "2"));
    let caller = switch.phone(9, "9");
    let call = switch.dial(caller, "80");
    assert!(rings(&mut switch, one) && rings(&mut switch, two));
    switch.answer(two, call);
    switch.hang_up(caller, call);
    switch.told.clear();

    // The third is not there, and costs no time.
    let call = switch.dial(caller, "81");
    assert!(rings(&mut switch, one) && !rings(&mut switch, two));
    switch.pass(seconds(10));
    assert!(rings(&mut switch, two));
    switch.pass(seconds(10));
    let ended = switch.told(caller).into_iter().find_map(|notice| match notice {
        Notice::Ended(ended) => Some((ended.call, ended.cause)),
        _ => None,
    });
    assert_eq!(ended, Some((call, Cause::Rejected)), "the fallback's cause");
    switch.told.clear();

    // Two had a call, one had none.
    switch.dial(caller, "82");
    assert!(rings(&mut switch, one) && !rings(&mut switch, two));
}

#[test]
fn fallbacks_are_for_no_answer_busy_and_unreachable() {
    let plan = r#"
[[rules]]
to = "1"
ring = 5
no_answer = "number/3"
busy = "number/4"
unreachable = "number/5"
"#;
    let mut switch = planned(plan);
    let caller = switch.phone(9, "9");
    let others = [switch.phone(3, "3"), switch.phone(4, "4"), switch.phone(5, "5")];
    switch.dial(caller, "1");
    assert!(rings(&mut switch, others[2]), "nobody is registered");
    let one = switch.phone(1, "1");
    let call = switch.dial(caller, "1");
    let reject = CallEvent::Reject {
        call,
        reason: RejectReason::Busy,
        scope: RejectScope::All,
    };
    switch.done(one, reject);
    assert!(rings(&mut switch, others[1]));
    let call = switch.dial(caller, "1");
    switch.pass(seconds(5));
    assert!(rings(&mut switch, others[0]));
    assert!(switch.ended(one).contains(&(call, Cause::NoReply)));
    switch.answer(others[0], call);
    switch.hang_up(caller, call);
    let record = switch.call_records().pop().unwrap();
    assert_eq!(record.rule.as_ref().unwrap().as_str(), "1");
    assert_eq!(record.transfers[0].to, TransferredTo::Target(Text::new("number/3")));
    assert_eq!(record.legs[0].party.number, number("1"));
}

#[test]
fn forwards_that_lead_back_end_the_call() {
    let mut switch = planned(
        "[[rules]]\nto = \"1\"\nring = 5\nno_answer = \"dial/2\"\n[[rules]]\nto = \"2\"\nring = 5\nno_answer = \"dial/1\"",
    );
    let (caller, _, _) = (switch.phone(9, "9"), switch.phone(1, "1"), switch.phone(2, "2"));
    let call = switch.dial(caller, "1");
    switch.pass(seconds(10));
    assert_eq!(switch.ended(caller), [(call, Cause::LoopDetected)]);
    assert_eq!(Cause::LoopDetected.sip_status(), 482);
    switch.assert_empty();
}

#[test]
fn numbers_are_unallocated_or_nobody_is_there() {
    let mut switch = Switch::new();
    let caller = switch.phone(9, "9");
    let call = switch.dial(caller, "1");
    assert_eq!(switch.ended(caller), [(call, Cause::Unallocated)]);
    switch.handle(Event::Admin(AdminEvent::Declare {
        numbers: vec![number("1")],
        exist: true,
    }));
    let call = switch.dial(caller, "1");
    assert_eq!(switch.ended(caller), [(call, Cause::Unreachable)]);
    assert_eq!(switch.plane.number(&number("1")).unwrap().status, Status::Offline);
    assert_eq!(switch.call_records().len(), 2, "each call that began has a record");
    switch.assert_empty();
}

const HOOK: &str = "[[rules]]\nto = \"_8X\"\nhook = \"http://hook\"\nhook_fallback = \"2\"";

#[test]
fn hooks_decide_and_their_fallback_does_when_they_do_not() {
    let mut switch = planned(HOOK);
    let (one, two) = (switch.phone(1, "1"), switch.phone(2, "2"));
    let caller = switch.phone(9, "9");
    let call = switch.dial(caller, "80");
    assert_eq!(switch.plane.call(call).unwrap().state, CallState::Routing);
    let question = switch.questions.pop().unwrap();
    assert_eq!(
        (question.url.as_str(), question.dialled.as_str()),
        ("http://hook", "80")
    );
    let answer = HookAnswer::Target("1".parse().unwrap());
    let hook = question.hook;
    switch.handle(Event::Admin(AdminEvent::HookAnswered { hook, answer }));
    assert!(rings(&mut switch, one));
    // Twice is too late.
    let answer = HookAnswer::Reject(Cause::Busy);
    switch.handle(Event::Admin(AdminEvent::HookAnswered { hook, answer }));
    assert!(switch.ended(caller).is_empty());
    switch.hang_up(caller, call);

    switch.dial(caller, "80");
    switch.pass(seconds(2));
    assert!(rings(&mut switch, two));
    // Nobody waits for the answer any more.
    let call = switch.dial(caller, "80");
    switch.hang_up(caller, call);
    let hook = switch.questions.pop().unwrap().hook;
    let answer = HookAnswer::Reject(Cause::Forbidden);
    switch.told.clear();
    switch.handle(Event::Admin(AdminEvent::HookAnswered { hook, answer }));
    assert!(switch.told.is_empty());
}

const ANNOUNCED: &str = r#"
[[rules]]
to = "80"
play = "welcome"
target = "number/1"
no_answer = "dial/81"
[[rules]]
to = "81"
play = "nobody is here"
target = "reject/no_answer"
[[rules]]
to = "82"
hook = "http://127.0.0.1:1/"
hook_fallback = "reject/busy"
"#;

/// What is played, by name and broadcast, and what is no longer.
fn played(switch: &mut Switch) -> (Vec<(PlayId, String, String)>, Vec<String>) {
    let (mut begun, mut stopped) = (Vec::new(), Vec::new());
    for action in std::mem::take(&mut switch.media) {
        match action {
            MediaAction::Play { play, name, path } => begun.push((play, name.to_string(), path)),
            MediaAction::StopPlaying { path } => stopped.push(path),
            _ => {}
        }
    }
    (begun, stopped)
}

fn announced(switch: &mut Switch, session: SessionId) -> Vec<(String, Option<String>)> {
    let told = switch.told(session).into_iter();
    let announced = told.filter_map(|notice| match notice {
        Notice::Announcement { name, music, .. } => Some((name.to_string(), music)),
        _ => None,
    });
    announced.collect()
}

#[test]
fn an_announcement_is_heard_once_and_then_the_call_goes_on() {
    let mut switch = planned(ANNOUNCED);
    let (caller, callee) = (switch.phone(7, "7"), switch.phone(1, "1"));
    let call = switch.dial(caller, "80");
    let (begun, stopped) = played(&mut switch);
    let [(play, name, path)] = &begun[..] else {
        panic!("{begun:?}")
    };
    assert_eq!((name.as_str(), stopped.len()), ("welcome", 0));
    assert_eq!(*path, format!("prompt/welcome/{call}-{}", play.0));
    assert_eq!(
        announced(&mut switch, caller),
        [("welcome".to_owned(), Some(path.clone()))]
    );
    assert_eq!(switch.may(caller), (vec![], vec![path.as_str()]));
    assert!(!rings(&mut switch, callee), "nobody is called yet");
    assert_eq!(switch.plane.call(call).unwrap().state, CallState::Routing);

    let over = |play, whole| Event::Media(MediaEvent::Played { play, whole });
    switch.handle(over(PlayId(99), true));
    assert!(!rings(&mut switch, callee), "another one is over");
    switch.handle(over(*play, true));
    assert!(rings(&mut switch, callee));
    assert_eq!(announced(&mut switch, caller), [("welcome".to_owned(), None)]);
    assert_eq!(switch.may(caller), (vec![], vec![]));
    switch.handle(over(*play, true));
    // Nobody answers: another one is heard, of a rule that the call comes to later.
    switch.pass(limits::RING_MAX);
    let (begun, _) = played(&mut switch);
    let [(play, name, _)] = &begun[..] else {
        panic!("{begun:?}")
    };
    assert_eq!(name, "nobody is here");
    assert!(switch.ended(caller).is_empty());
    switch.handle(over(*play, true));
    assert_eq!(switch.ended(caller), [(call, Cause::NoAnswer)]);
    let told = switch.reports.iter().filter_map(|report| match report {
        Report::Announcement { whole, .. } => Some(*whole),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [None, Some(true), None, Some(true)]);
    // Who hangs up meanwhile has come by that rule.
    let call = switch.dial(caller, "80");
    switch.hang_up(caller, call);
    let record = switch.call_records().pop().unwrap();
    assert_eq!(record.rule.as_ref().unwrap().as_str(), "1");
    switch.assert_empty();
}

#[test]
fn an_announcement_that_nobody_ends_or_hears_holds_nobody_up() {
    let mut switch = planned(ANNOUNCED);
    let (caller, callee) = (switch.phone(7, "7"), switch.phone(1, "1"));
    // There is no such file.
    let call = switch.dial(caller, "80");
    let (begun, _) = played(&mut switch);
    let (play, whole) = (begun[0].0, false);
    switch.handle(Event::Media(MediaEvent::Played { play, whole }));
    assert!(rings(&mut switch, callee));
    switch.hang_up(caller, call);
    // Nobody says that it is over.
    let call = switch.dial(caller, "80");
    switch.pass(limits::PLAY_MAX);
    assert!(rings(&mut switch, callee));
    assert_eq!(played(&mut switch).1.len(), 1, "it is stopped");
    switch.hang_up(caller, call);
    // The caller goes.
    let call = switch.dial(caller, "80");
    let (begun, _) = played(&mut switch);
    switch.hang_up(caller, call);
    assert_eq!(played(&mut switch).1, [begun[0].2.clone()]);
    switch.assert_empty();
    // Who transfers is up, and whom it transfers hears music.
    let other = switch.phone(8, "8");
    let call = switch.talk(caller, other, "8");
    let to = TransferTo::Number(number("80"));
    switch.done(caller, CallEvent::Transfer { call, to });
    assert!(rings(&mut switch, callee));
    assert!(played(&mut switch).0.is_empty());
}

#[test]
fn a_hook_has_something_played_before_the_call_goes_on_or_ends() {
    let mut switch = planned(ANNOUNCED);
    let (caller, callee) = (switch.phone(7, "7"), switch.phone(1, "1"));
    for target in ["1", "reject/forbidden"] {
        switch.told.clear();
        let call = switch.dial(caller, "82");
        let hook = switch.questions.pop().unwrap().hook;
        let decision = HookDecision {
            target: target.parse().unwrap(),
            play: Text::of_file("closed"),
            ring: None,
            record: None,
            codecs: None,
            name: None,
        };
        let answer = HookAnswer::Decided(Box::new(decision));
        switch.handle(Event::Admin(AdminEvent::HookAnswered { hook, answer }));
        let (begun, _) = played(&mut switch);
        assert_eq!((begun.len(), begun[0].1.as_str()), (1, "closed"));
        assert!(!rings(&mut switch, callee) && switch.ended(caller).is_empty());
        let (play, whole) = (begun[0].0, true);
        switch.handle(Event::Media(MediaEvent::Played { play, whole }));
        if target == "1" {
            assert!(rings(&mut switch, callee));
            switch.hang_up(caller, call);
        } else {
            assert_eq!(switch.ended(caller), [(call, Cause::Forbidden)]);
        }
    }
    switch.assert_empty();
}

const QUEUE: &str = r#"
[queues.line]
agents = ["1", "2"]
music = "jazz"
ring = 10
wrap_up = 15
waiting = 2
wait = 60
[[rules]]
to = "80"
target = "queue/line"
"#;

fn places(switch: &mut Switch, session: SessionId) -> Vec<usize> {
    let told = switch.told(session).into_iter();
    let places = told.filter_map(|notice| match notice {
        Notice::Queue { position, .. } => Some(position),
        _ => None,
    });
    places.collect()
}

#[test]
fn callers_wait_in_order_with_music_until_an_agent_answers() {
    let mut switch = planned(QUEUE);
    let agent = switch.phone(1, "1");
    let callers = [switch.phone(7, "7"), switch.phone(8, "8"), switch.phone(9, "9")];
    let first = switch.dial(callers[0], "80");
    assert!(rings(&mut switch, agent));
    assert_eq!(places(&mut switch, callers[0]), [1]);
    assert_eq!(switch.may(callers[0]), (vec![], vec!["moh/jazz"]));
    let second = switch.dial(callers[1], "80");
    assert_eq!(places(&mut switch, callers[1]), [2]);
    let third = switch.dial(callers[2], "80");
    assert_eq!(switch.ended(callers[2]), [(third, Cause::Busy)], "the queue is full");
    assert_eq!(switch.plane.call(second).unwrap().state, CallState::Queued);

    switch.answer(agent, first);
    assert_eq!(switch.may(callers[0]).1, [format!("call/{first}/**")]);
    assert_eq!(places(&mut switch, callers[1]), [1]);
    switch.hang_up(callers[0], first);
    assert!(!rings(&mut switch, agent), "the agent writes up");
    let view = switch.plane.queue(&Text::new("line")).unwrap();
    assert_eq!(view.agents[0], (number("1"), Status::Away, AgentState::WrapUp));
    switch.pass(seconds(15));
    assert!(rings(&mut switch, agent));
    // Does not answer: away. The caller waits on.
    switch.pass(seconds(10));
    assert!(switch.plane.call(second).is_some());
    assert_eq!(switch.plane.number(&number("1")).unwrap().agent, AgentState::Away);
    // Another agent comes.
    let other = switch.phone(2, "2");
    assert!(rings(&mut switch, other));
    switch.answer(other, second);
    switch.hang_up(other, second);
    let record = switch.call_records().pop().unwrap();
    assert_eq!(record.queue, Some(Text::new("line")));
    switch.assert_empty();
}

#[test]
fn callers_wait_no_longer_than_the_queue_says() {
    let mut switch = planned(QUEUE);
    let caller = switch.phone(7, "7");
    let call = switch.dial(caller, "80");
    switch.pass(seconds(59));
    assert!(switch.ended(caller).is_empty());
    switch.pass(seconds(1));
    assert_eq!(switch.ended(caller), [(call, Cause::NoAnswer)]);
    switch.assert_empty();
}

#[test]
fn click_to_dial_rings_from_first_then_to() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "5002"));
    let originate = |from: &str| CallEvent::Originate {
        from: number(from),
        to: number("5002"),
        call: None,
        timeout: None,
    };
    let api = Actor::Api { leg: None };
    assert_eq!(
        switch.ask(alice, originate("5001")),
        Reply::Refused(Refusal::NotAllowed)
    );
    assert_eq!(
        switch.ask_as(api, originate("4242")),
        Reply::Refused(Refusal::UnknownNumber)
    );
    let Reply::Calling { call, leg: None } = switch.ask_as(api, originate("5001")) else {
        panic!("it begins")
    };
    assert!(rings(&mut switch, alice) && !rings(&mut switch, bob));
    switch.answer(alice, call);
    assert!(rings(&mut switch, bob));
    assert_eq!(switch.plane.call(call).unwrap().state, CallState::Alerting);
    switch.answer(bob, call);
    assert_eq!(switch.may(alice).1, [format!("call/{call}/**")]);
    switch.hang_up(bob, call);
    assert_eq!(switch.call_records()[0].from.number, number("5001"));
    switch.assert_empty();
}

#[test]
fn what_is_full_refuses_and_says_so() {
    let mut switch = Switch::with(Settings {
        calls_max: 2,
        calls_per_number_max: 2,
        devices_per_number_max: 2,
        ..Settings::default()
    });
    let (alice, _) = (switch.phone(1, "1"), switch.phone(2, "2"));
    let dial = |to: &str| CallEvent::Dial(Box::new(Dial::to(number(to))));
    switch.dial(alice, "2");
    switch.dial(alice, "2");
    assert_eq!(switch.ask(alice, dial("2")), Reply::Refused(Refusal::TooManyCalls));
    let carol = switch.phone(3, "3");
    assert_eq!(switch.ask(carol, dial("2")), Reply::Refused(Refusal::Full));
    assert_eq!(Refusal::Full.code(), 503);
    switch.phone(4, "3");
    let reply = switch.register(Registration::phone(session(5), number("3")));
    assert_eq!(reply, Reply::Refused(Refusal::TooManyDevices));
    assert_eq!(Refusal::TooManyDevices.code(), 429);
}

#[test]
fn a_number_with_all_its_calls_is_busy_and_without_call_waiting_with_one() {
    for call_waiting in [true, false] {
        let mut switch = Switch::with(Settings {
            call_waiting,
            calls_per_number_max: 2,
            ..Settings::default()
        });
        let bob = switch.phone(2, "2");
        let mut rung = 0;
        for id in 10..13 {
            let caller = switch.phone(id, &id.to_string());
            let call = switch.dial(caller, "2");
            if rings(&mut switch, bob) {
                rung += 1;
            } else {
                assert_eq!(switch.ended(caller), [(call, Cause::Busy)]);
            }
        }
        assert_eq!(rung, if call_waiting { 2 } else { 1 });
    }
}

#[test]
fn profiles_forbid_limit_name_and_record() {
    let mut switch = planned(
        "[[profiles]]\nfrom = \"_5XXX\"\nname = \"Desk\"\nforbidden = [\"0900\"]\ncalls = 1\nrecord = true\ncodecs = [\"pcmu\"]",
    );
    let (alice, bob) = (switch.phone(1, "5001"), switch.phone(2, "2"));
    let dial = |to: &str| CallEvent::Dial(Box::new(Dial::to(number(to))));
    assert_eq!(switch.ask(alice, dial("09001")), Reply::Refused(Refusal::Forbidden));
    let call = switch.dial(alice, "2");
    let told = switch.told(bob);
    assert!(matches!(&told[0], Notice::Incoming(incoming) if incoming.from.name.as_str() == "Desk"));
    assert_eq!(switch.ask(alice, dial("2")), Reply::Refused(Refusal::TooManyCalls));
    switch.answer(bob, call);
    let view = switch.plane.call(call).unwrap();
    assert!(view.recorded);
    assert_eq!(view.legs[1].sends, Some(Codec::Pcmu));
}

#[test]
fn no_translation_leads_to_a_forbidden_number() {
    let plan = "[[rules]]\nto = \"_9.\"\nstrip = 1\n[[profiles]]\nfrom = \"_5XXX\"\nforbidden = [\"0900\"]";
    let mut switch = planned(plan);
    let alice = switch.phone(1, "5001");
    let call = switch.dial(alice, "909001");
    assert_eq!(switch.ended(alice), [(call, Cause::Forbidden)]);
    let explanation = switch
        .plane
        .dialplan()
        .explain(&number("909001"), &number("5001"), switch.now.local());
    assert!(explanation.to_string().contains("forbids 09001"), "{explanation}");
}

#[test]
fn watchers_are_told_how_numbers_are() {
    let mut switch = Switch::new();
    let boss = switch.supervisor(4, "4");
    let request = switch.request();
    let event = WatchEvent::Numbers(vec![number("1"), number("2")]);
    switch.handle(Event::Watch {
        request,
        session: boss,
        event,
    });
    let statuses = |switch: &mut Switch| -> Vec<(String, Status)> {
        let told = switch.told(boss).into_iter();
        let told = told.filter_map(|notice| match notice {
            Notice::Presence { number, status, .. } => Some((number.to_string(), status)),
            _ => None,
        });
        told.collect()
    };
    let one = |status| ("1".to_owned(), status);
    let two = |status| ("2".to_owned(), status);
    assert_eq!(statuses(&mut switch), [one(Status::Offline), two(Status::Offline)]);
    let (alice, bob) = (switch.phone(1, "1"), switch.phone(2, "2"));
    assert_eq!(statuses(&mut switch), [one(Status::Available), two(Status::Available)]);
    let call = switch.dial(alice, "2");
    assert_eq!(statuses(&mut switch), [one(Status::Busy), two(Status::Ringing)]);
    switch.answer(bob, call);
    assert_eq!(statuses(&mut switch), [two(Status::Busy)]);
    switch.hang_up(bob, call);
    assert_eq!(statuses(&mut switch), [one(Status::Available), two(Status::Available)]);
    let request = switch.request();
    let event = WatchEvent::Agent(AgentState::Away);
    switch.handle(Event::Watch {
        request,
        session: bob,
        event,
    });
    assert_eq!(statuses(&mut switch), [two(Status::Away)]);
}

#[test]
fn only_supervisors_watch_all_calls() {
    let mut switch = Switch::new();
    let (alice, bob) = (switch.phone(1, "1"), switch.phone(2, "2"));
    let boss = switch.supervisor(4, "4");
    for (session, expected) in [(alice, Reply::Refused(Refusal::NotAllowed)), (boss, Reply::Done)] {
        let request = switch.request();
        let event = WatchEvent::Calls(true);
        switch.handle(Event::Watch {
            request,
            session,
            event,
        });
        assert_eq!(*switch.last_reply(), expected);
    }
    let call = switch.talk(alice, bob, "2");
    switch.hold(alice, call, true);
    switch.hang_up(alice, call);
    let told = switch.told(boss).into_iter();
    let states: Vec<CallState> = told
        .filter_map(|notice| match notice {
            Notice::Call(view) => Some(view.state),
            _ => None,
        })
        .collect();
    use CallState::{Alerting, Ended, Held, Up};
    assert_eq!(states, [Alerting, Alerting, Up, Held, Ended]);
}

#[test]
fn one_device_of_a_number_is_called_alone_where_the_number_is_that_of_its_devices() {
    let plan = "[[rules]]\nto = \"80\"\ntarget = \"number/5003\"\n";
    let mut switch = Switch::planned(Settings::default(), Dialplan::parse(plan).unwrap());
    let caller = switch.phone(1, "5001");
    let device = |switch: &mut Switch, id: u128, text: &str, name: &str| {
        let registration = Registration {
            device: Some(Text::new(name)),
            ..Registration::phone(session(id), number(text))
        };
        assert!(matches!(switch.register(registration), Reply::Registered(_)));
        session(id)
    };
    let (first, second) = (device(&mut switch, 2, "5002", "a"), device(&mut switch, 3, "5002", "b"));
    let third = switch.phone(4, "5003");
    let is_called = |switch: &mut Switch, session: SessionId| {
        let told = switch.told(session);
        told.iter().any(|notice| matches!(notice, Notice::Incoming(_)))
    };
    let dial = |switch: &mut Switch, to: &str, device: SessionId| {
        let mut dial = Dial::to(number(to));
        dial.device = Some(device);
        match switch.ask(caller, CallEvent::Dial(Box::new(dial))) {
            Reply::Calling { call, .. } => call,
            other => panic!("{other:?}"),
        }
    };
    let call = dial(&mut switch, "5002", second);
    assert!(is_called(&mut switch, second) && !is_called(&mut switch, first));
    switch.hang_up(caller, call);
    // A rule that leads elsewhere does so, and nobody is left out there.
    dial(&mut switch, "80", second);
    assert!(is_called(&mut switch, third) && !is_called(&mut switch, second) && !is_called(&mut switch, first));
    // It is gone meanwhile: no other is called in its place.
    let call = dial(&mut switch, "5002", session(9));
    assert!(!is_called(&mut switch, second) && !is_called(&mut switch, first));
    assert!(switch.ended(caller).contains(&(call, Cause::Unreachable)));
}
