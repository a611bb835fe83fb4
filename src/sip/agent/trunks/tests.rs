//! Trunks that register, are asked, and carry calls.

use super::super::exercise::{PEER, World, at, flow};
use super::super::{Access, Call, End, EndedBy, Member, NoTrunk, Noticed, TrunkGroup, TrunkLoads};
use super::*;
use crate::limits::TRUNK_PINGS_MISSED_MAX;
use crate::message::{Message, Method};

const ID: TrunkId = TrunkId(7);

fn trunk(to: usize) -> Trunk {
    Trunk {
        secret: Some(Secret::Password("secret".to_owned())),
        registers: Some(Duration::from_secs(600)),
        ..Trunk::to(flow(to), "realm", "4930")
    }
}

/// With a carrier that asks for a password.
fn registered() -> World {
    let mut world = World::new(2);
    world.houses[1].access = Access::Password("realm".to_owned());
    world.agents[0].set_trunk(world.now, ID, trunk(1)).unwrap();
    world.settle();
    world
}

fn view(world: &World) -> TrunkView {
    world.agents[0].trunk(ID).expect("it is there")
}

fn remove(world: &mut World) {
    assert!(world.agents[0].remove_trunk(world.now, ID));
    world.settle();
    assert_eq!(world.agents[0].trunk(ID), None);
}

fn numbers(requests: &[Message]) -> Vec<u32> {
    requests.iter().filter_map(|request| Some(request.cseq()?.0)).collect()
}

#[test]
fn a_trunk_is_registered_with_renewed_and_taken_back() {
    let mut world = registered();
    let until = world.now + Duration::from_secs(600);
    assert_eq!(view(&world).registered, Registered::Until(until));
    assert_eq!(world.changes(0), [TrunkChange::Registered]);
    assert_eq!(world.houses[1].bindings.len(), 1);
    let first = world.of_method(&Method::Register);
    assert_eq!(numbers(&first), [1, 2], "one challenge, one answer");
    // Once, without being asked: the nonce is good for a while.
    world.seconds(590);
    let again = world.of_method(&Method::Register);
    assert!(again.len() <= 2 && again[0].get("Authorization").is_some());
    assert!(again.iter().all(|request| request.call_id() == first[0].call_id()));
    assert_eq!(numbers(&again)[0], 3);
    world.seconds(3600);
    let many = world.of_method(&Method::Register).len();
    assert!((7..=24).contains(&many), "{many}");
    assert!(matches!(view(&world).registered, Registered::Until(until) if until > world.now));
    assert_eq!(world.changes(0), [], "what goes on is not told");
    assert_eq!(world.houses[1].bindings.len(), 1, "always the same contact");
    remove(&mut world);
    assert!(world.houses[1].bindings.is_empty());
    world.assert_empty();
}

#[test]
fn what_is_lost_is_sent_again() {
    let mut world = World::new(2);
    world.houses[1].access = Access::Password("realm".to_owned());
    world.loss = 40;
    let ping = Duration::from_secs(30);
    let lossy = Trunk { ping, ..trunk(1) };
    world.agents[0].set_trunk(world.now, ID, lossy).unwrap();
    world.settle();
    world.seconds(60);
    let mut gone = 0;
    for _ in 0..60 {
        world.seconds(60);
        gone += u32::from(!matches!(view(&world).registered, Registered::Until(_)));
    }
    assert!(gone <= 2, "{gone} minutes without a registration");
    world.loss = 0;
    world.seconds(60);
    assert_eq!(view(&world).reachable, Reachable::Up);
    remove(&mut world);
    assert!(world.houses[1].bindings.is_empty());
    world.assert_empty();
}

#[test]
fn a_wrong_password_is_tried_ever_more_rarely() {
    let mut world = World::new(2);
    world.houses[1].access = Access::Password("realm".to_owned());
    let wrong = Trunk {
        secret: Some(Secret::Password("wrong".to_owned())),
        ..trunk(1)
    };
    world.agents[0].set_trunk(world.now, ID, wrong).unwrap();
    world.settle();
    assert_eq!(world.lines(), ["REGISTER", "401", "REGISTER", "401"], "no loop");
    assert_eq!(world.changes(0), [TrunkChange::Unregistered(401)]);
    let mut waits = Vec::new();
    let mut last = world.now;
    for _ in 0..8 {
        let Registered::Not {
            status,
            again: Some(again),
        } = view(&world).registered
        else {
            panic!("{:?}", view(&world));
        };
        assert_eq!(status, Some(401));
        waits.push((again - last).as_secs());
        last = again;
        world.pass(again - world.now);
    }
    for (wait, least) in waits.iter().zip([30, 60, 120, 240, 480, 480, 480, 480]) {
        assert!((least..=least + least / 4).contains(wait) && *wait <= 600, "{waits:?}");
    }
    assert_eq!(world.changes(0), [], "the same is told once");
    // Another one counts at once.
    world.agents[0].set_trunk(world.now, ID, trunk(1)).unwrap();
    world.settle();
    assert_eq!(world.changes(0), [TrunkChange::Registered]);
    world.lines();
    // Without any there is nothing to answer.
    let none = Trunk {
        secret: None,
        ..trunk(1)
    };
    world.agents[0].set_trunk(world.now, ID, none).unwrap();
    world.settle();
    assert_eq!(world.lines(), ["REGISTER", "401"]);
    assert_eq!(world.changes(0), [TrunkChange::Unregistered(401)]);
    remove(&mut world);
    world.seconds(700);
    world.assert_empty();
}

#[test]
fn a_stale_nonce_costs_one_request_more() {
    // Report 22: the count goes on in hexadecimal, the nonce ends after five minutes.
    let mut world = World::new(2);
    world.houses[1].access = Access::Password("realm".to_owned());
    let short = Trunk {
        registers: Some(Duration::from_secs(60)),
        ..trunk(1)
    };
    world.agents[0].set_trunk(world.now, ID, short).unwrap();
    world.settle();
    world.seconds(1200);
    let lines = world.lines();
    let refused = lines.iter().filter(|line| *line == "401").count();
    let taken = lines.iter().filter(|line| *line == "200").count();
    assert!(taken >= 38 && (4..=6).contains(&refused), "{taken} {refused}");
    assert_eq!(world.changes(0), [TrunkChange::Registered]);
    remove(&mut world);
    assert!(world.houses[1].bindings.is_empty());
    world.assert_empty();
}

#[test]
fn too_short_a_time_becomes_what_the_registrar_wants() {
    let mut world = World::new(2);
    let short = Trunk {
        registers: Some(Duration::from_secs(10)),
        ..trunk(1)
    };
    world.agents[0].set_trunk(world.now, ID, short).unwrap();
    world.settle();
    assert_eq!(world.lines(), ["REGISTER", "423", "REGISTER", "200"]);
    assert_eq!(
        view(&world).registered,
        Registered::Until(world.now + Duration::from_secs(60))
    );
    remove(&mut world);
    world.assert_empty();
}

/// With a registrar that says what the test wants.
fn asked() -> World {
    let mut world = World::new(1);
    world.agents[0].set_trunk(world.now, ID, trunk(PEER)).unwrap();
    world.settle();
    world
}

fn again(world: &World) -> Option<Duration> {
    match view(world).registered {
        Registered::Not { again, .. } => again.map(|again| again - world.now),
        _ => None,
    }
}

#[test]
fn what_a_registrar_says_of_our_contact_counts() {
    let mut world = asked();
    let request = world.answer(0, &Method::Register, 423, &[("Min-Expires", "999999999")]);
    assert_eq!(request.uri(), "sip:realm");
    assert_eq!(
        world.changes(0),
        [TrunkChange::Unregistered(423)],
        "what is out of reason is not followed"
    );
    world.agents[0].refresh_trunk(world.now, ID);
    world.settle();
    let contact = request.get("Contact").unwrap().replace("expires=600", "expires=90");
    assert!(contact.contains(";line="), "{contact}");
    let other = "<sip:4930@198.51.100.7>;expires=3000";
    let headers = [("Contact", other), ("Contact", &contact), ("Expires", "1000")];
    world.answer(0, &Method::Register, 200, &headers);
    let until = |seconds: u64, world: &World| Registered::Until(world.now + Duration::from_secs(seconds));
    assert_eq!(view(&world).registered, until(90, &world));
    // Renewed at half of it; without our Contact the header counts, without both what was asked for.
    world.seconds(46);
    world.answer(0, &Method::Register, 200, &[("Contact", other), ("Expires", "1000")]);
    assert_eq!(view(&world).registered, until(1000, &world));
    world.agents[0].refresh_trunk(world.now, ID);
    world.settle();
    world.answer(0, &Method::Register, 200, &[]);
    assert_eq!(view(&world).registered, until(600, &world));
    // One that leaves out what it does not know has our place.
    world.agents[0].refresh_trunk(world.now, ID);
    world.settle();
    let plain = format!("<sip:4930@{}>;expires=70", at(0));
    world.answer(0, &Method::Register, 200, &[("Contact", &plain)]);
    assert_eq!(view(&world).registered, until(70, &world));
    // It says yes, and has us not.
    world.seconds(36);
    world.answer(0, &Method::Register, 200, &[("Expires", "0")]);
    assert_eq!(
        world.changes(0),
        [TrunkChange::Registered, TrunkChange::Unregistered(480)]
    );
    world.heard.clear();
    remove(&mut world);
    assert!(world.heard.is_empty(), "there is nothing to take back");
    world.assert_empty();
}

#[test]
fn a_registrar_says_when_to_come_again() {
    let mut world = asked();
    world.answer(0, &Method::Register, 503, &[("Retry-After", "77 (busy);duration=9")]);
    assert_eq!(again(&world), Some(Duration::from_secs(77)));
    world.seconds(76);
    assert!(world.heard.is_empty());
    world.seconds(1);
    world.answer(0, &Method::Register, 403, &[("Retry-After", "0")]);
    assert_eq!(again(&world), Some(Duration::from_secs(5)), "not at once");
    world.seconds(5);
    world.answer(0, &Method::Register, 500, &[("Retry-After", "999999")]);
    assert_eq!(again(&world), Some(Duration::from_secs(3600)), "not never");
    assert_eq!(
        world.changes(0),
        [503, 403, 500].map(TrunkChange::Unregistered),
        "each reason is told"
    );
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn a_registration_lasts_while_the_registrar_is_silent() {
    let mut world = asked();
    world.answer(0, &Method::Register, 200, &[("Expires", "300")]);
    let end = world.now + Duration::from_secs(300);
    world.heard.clear();
    world.seconds(299);
    assert!(world.heard.len() > 7, "it is tried again before the end");
    assert_eq!(view(&world).registered, Registered::Until(end));
    assert_eq!(world.changes(0), [TrunkChange::Registered]);
    world.seconds(2);
    assert_eq!(world.changes(0), [TrunkChange::Unregistered(408)]);
    world.seconds(700);
    let first = world.heard[0].call_id().to_owned();
    world.heard.clear();
    world.agents[0].refresh_trunk(world.now, ID);
    world.settle();
    // It is sent, or what is under way is sent again.
    while world.heard.is_empty() {
        world.seconds(1);
    }
    let last = world.answer(0, &Method::Register, 200, &[]);
    assert_eq!(last.call_id(), first);
    assert_eq!(world.changes(0), [TrunkChange::Registered]);
    // A refusal ends it at once.
    world.agents[0].refresh_trunk(world.now, ID);
    world.settle();
    world.answer(0, &Method::Register, 403, &[]);
    assert_eq!(world.changes(0), [TrunkChange::Unregistered(403)]);
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn one_request_is_under_way_and_what_was_is_taken_back() {
    let mut world = asked();
    world.agents[0].refresh_trunk(world.now, ID);
    world.agents[0].set_trunk(world.now, ID, trunk(PEER)).unwrap();
    world.settle();
    assert_eq!(world.heard.len(), 1);
    let first = world.answer(0, &Method::Register, 200, &[]);
    let second = world.answer(0, &Method::Register, 200, &[]);
    assert_eq!(
        (first.call_id(), numbers(&[first.clone(), second])),
        (first.call_id(), vec![1, 2])
    );
    // The trunk goes while it is renewed: it is taken back when that is answered.
    world.agents[0].refresh_trunk(world.now, ID);
    world.settle();
    remove(&mut world);
    assert_eq!(world.heard.len(), 1);
    world.answer(0, &Method::Register, 200, &[]);
    let nonce = [("WWW-Authenticate", "Digest realm=\"realm\", nonce=\"n\", qop=\"auth\"")];
    let last = world.answer(0, &Method::Register, 401, &nonce);
    assert!(last.get("Contact").unwrap().ends_with(";expires=0"), "{last:?}");
    let answered = world.answer(0, &Method::Register, 200, &[]);
    assert!(answered.get("Authorization").is_some() && answered.get("Expires") == Some("0"));
    world.assert_empty();
    // One that never came about is not taken back; one whose end is not answered is forgotten.
    let mut world = asked();
    remove(&mut world);
    world.answer(0, &Method::Register, 403, &[]);
    assert!(world.heard.is_empty());
    world.assert_empty();
    let mut world = asked();
    world.answer(0, &Method::Register, 200, &[]);
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn another_state_of_a_trunk_goes_on_or_begins_anew() {
    let mut world = registered();
    let call = world.of_method(&Method::Register)[0].call_id().to_owned();
    world.agents[0].set_trunk(world.now, ID, trunk(1)).unwrap();
    world.settle();
    let again = world.of_method(&Method::Register);
    assert!(again.iter().all(|request| request.call_id() == call));
    assert_eq!(world.houses[1].bindings.len(), 1);
    // Somebody else there: the one before is taken back.
    let other = Trunk {
        user: "4931".to_owned(),
        ..trunk(1)
    };
    world.agents[0].set_trunk(world.now, ID, other).unwrap();
    world.settle();
    assert_eq!(world.houses[1].bindings.len(), 1);
    assert!(world.agents[1].bindings().all(|(_, binding)| binding.user == "4931"));
    // It does not register any more.
    let quiet = Trunk {
        registers: None,
        ..trunk(1)
    };
    world.agents[0].set_trunk(world.now, ID, quiet).unwrap();
    world.settle();
    assert!(world.houses[1].bindings.is_empty());
    assert_eq!(view(&world).registered, Registered::Unwanted);
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn what_cannot_be_is_not_taken() {
    let mut world = World::new(1);
    let mut set = |id: u64, trunk: Trunk| world.agents[0].set_trunk(world.now, TrunkId(id), trunk);
    let plain = Trunk::to(flow(PEER), "carrier.example:5070", "");
    for domain in ["", "a b", "a@b", "a>b", "a:0", "a;b", "[::1"] {
        let bad = Trunk::to(flow(PEER), domain, "x");
        assert_eq!(set(1, bad), Err(TrunkError::Domain), "{domain}");
    }
    let nobody = Trunk {
        registers: Some(Duration::from_secs(60)),
        ..plain.clone()
    };
    assert_eq!(set(1, nobody), Err(TrunkError::User));
    let many = Trunk {
        addresses: vec![at(3).ip(); TRUNK_ADDRESSES_MAX + 1],
        ..plain.clone()
    };
    assert_eq!(set(1, many), Err(TrunkError::TooManyAddresses));
    for id in 0..TRUNKS_MAX as u64 {
        set(id, plain.clone()).unwrap();
    }
    assert_eq!(set(u64::MAX, plain.clone()), Err(TrunkError::TooMany));
    assert_eq!(set(1, plain), Ok(()), "one that is there may change");
    assert_eq!(world.agents[0].trunks().count(), TRUNKS_MAX);
    for id in 0..TRUNKS_MAX as u64 {
        assert!(world.agents[0].remove_trunk(world.now, TrunkId(id)));
    }
    assert!(!world.agents[0].remove_trunk(world.now, TrunkId(1)));
    assert!(!world.agents[0].refresh_trunk(world.now, TrunkId(1)));
    world.assert_empty();
}

#[test]
fn a_trunk_is_asked_whether_it_is_there() {
    let mut world = World::new(1);
    let pinged = Trunk {
        ping: Duration::from_secs(60),
        registers: None,
        ..trunk(PEER)
    };
    world.agents[0].set_trunk(world.now, ID, pinged).unwrap();
    world.settle();
    assert_eq!((view(&world).reachable, view(&world).since), (Reachable::Unknown, None));
    world.pass(Duration::from_millis(30));
    let request = world.answer(0, &Method::Options, 404, &[]);
    assert_eq!(
        (
            request.uri(),
            request.get("From").unwrap().starts_with("<sip:4930@realm>;")
        ),
        ("sip:realm", true)
    );
    let up = view(&world);
    assert_eq!(
        (up.reachable, up.round_trip, up.since),
        (Reachable::Up, Some(Duration::from_millis(30)), Some(world.now))
    );
    assert_eq!(world.changes(0), [TrunkChange::Up]);
    // Two that are missed say nothing yet.
    world.heard.clear();
    world.seconds(60 + 10 + 5);
    assert_eq!((view(&world).reachable, world.changes(0)), (Reachable::Up, vec![]));
    world.seconds(10);
    assert_eq!(
        (view(&world).reachable, world.changes(0)),
        (Reachable::Down, vec![TrunkChange::Down])
    );
    assert_eq!(view(&world).since, Some(world.now - Duration::from_millis(30)));
    // While it is down it is asked more often.
    let calls = |world: &mut World| -> BTreeSet<String> {
        let all = world.of_method(&Method::Options);
        all.iter().map(|request| request.call_id().to_owned()).collect()
    };
    let before = calls(&mut world);
    world.seconds(60);
    let more = calls(&mut world).difference(&before).count();
    assert_eq!(more, 6);
    world.pass(Duration::from_millis(5100));
    world.heard.retain(|request| request.method() == Some(&Method::Options));
    world.answer(0, &Method::Options, 503, &[("Retry-After", "30")]);
    assert_eq!(view(&world).reachable, Reachable::Down, "503 is no answer of it");
    assert_eq!(view(&world).busy_until, Some(world.now + Duration::from_secs(30)));
    assert_eq!(world.changes(0), [TrunkChange::Busy(Duration::from_secs(30))]);
    world.seconds(10);
    world.answer(0, &Method::Options, 200, &[]);
    assert_eq!(world.changes(0), [TrunkChange::Up]);
    // One that is answered too late was missed.
    let before = view(&world);
    world.heard.clear();
    world.seconds(66);
    world.answer(0, &Method::Options, 200, &[]);
    assert_eq!(view(&world), before);
    let silent = Trunk {
        registers: None,
        ..trunk(PEER)
    };
    world.agents[0].set_trunk(world.now, ID, silent).unwrap();
    world.heard.clear();
    world.seconds(300);
    assert!(world.heard.is_empty(), "never any more");
    assert_eq!(view(&world).reachable, Reachable::Unknown);
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn a_trunk_on_a_stream_is_registered_with_anew_when_that_ends() {
    let mut world = World::new(1);
    let tcp = |connection: u64| Flow {
        transport: Transport::Tcp,
        connection,
        ..flow(PEER)
    };
    let streams = Trunk {
        target: tcp(0),
        ..trunk(PEER)
    };
    world.agents[0].set_trunk(world.now, ID, streams).unwrap();
    world.settle();
    let take = |world: &mut World, connection: u64| {
        let request = world.hear();
        assert_eq!(request.uri(), "sip:realm;transport=tcp");
        let response = Message::response(&request, 200, "OK").to_bytes();
        world.agents[0].receive(world.now, tcp(connection), &response, &mut world.houses[0]);
        world.settle();
    };
    take(&mut world, 5);
    world.seconds(60);
    world.agents[0].connection_closed(4, &mut world.houses[0]);
    world.seconds(1);
    assert!(world.heard.is_empty());
    world.agents[0].connection_closed(5, &mut world.houses[0]);
    world.seconds(0);
    take(&mut world, 6);
    // One that closes each time is not followed each time.
    world.agents[0].connection_closed(6, &mut world.houses[0]);
    world.seconds(4);
    assert!(world.heard.is_empty());
    world.seconds(1);
    take(&mut world, 7);
    assert_eq!(world.changes(0), [TrunkChange::Registered]);
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn a_trunk_on_a_stream_is_down_when_connections_to_it_are_refused_often_enough() {
    let mut world = World::new(1);
    let stream = Flow {
        transport: Transport::Tls,
        ..flow(PEER)
    };
    let pinged = Trunk {
        target: stream,
        ping: Duration::from_secs(10),
        registers: None,
        ..trunk(PEER)
    };
    world.agents[0].set_trunk(world.now, ID, pinged).unwrap();
    world.settle();
    for _ in 1..TRUNK_PINGS_MISSED_MAX {
        // Nothing is waited for twice, nor for somebody else.
        for peer in [flow(PEER), flow(PEER), flow(5)] {
            world.agents[0].connection_refused(world.now, peer.peer);
        }
        assert_eq!(view(&world).reachable, Reachable::Unknown);
        world.seconds(10);
    }
    world.agents[0].connection_refused(world.now, flow(PEER).peer);
    world.settle();
    assert_eq!(
        (view(&world).reachable, world.changes(0)),
        (Reachable::Down, vec![TrunkChange::Down])
    );
    remove(&mut world);
    world.assert_empty();
}

fn offer(world: &World, number: &str, from: &str) -> Call {
    let from = (from.to_owned(), "Al".to_owned());
    let call = world.agents[0].trunk_call(ID, number, from, "v=0 offer".to_owned());
    call.expect("the trunk is there")
}

/// One that is told who calls in our own words, and calls from our own user there.
fn carrier() -> Trunk {
    Trunk {
        is_from_line: true,
        ..Trunk::to(flow(PEER), "carrier.example:5070", "4930")
    }
}

/// The INVITE of a call by a trunk in this state, which comes to nothing.
fn invite_by(world: &mut World, trunk: Trunk, headers: &[(&str, &str)]) -> Message {
    world.agents[0].set_trunk(world.now, ID, trunk).unwrap();
    let mut call = offer(world, "+49 1", "1001");
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    call.headers = headers.collect();
    let leg = world.agents[0].call(world.now, call).unwrap();
    world.settle();
    let invite = world.answer(0, &Method::Invite, 486, &[]);
    world.heard.clear();
    let end = End {
        by: EndedBy::Peer,
        status: 486,
        cause: None,
        forward: None,
    };
    assert!(world.told(0, &Event::Ended { leg, end }));
    invite
}

const HEADERS: &[(&str, &str)] = &[
    ("X-Call", "7"),
    ("Subject", "s"),
    ("Via", "x"),
    (ASSERTED, "<sip:9@x>"),
    ("Diversion", "<sip:8@x>"),
];

#[test]
fn calls_by_a_trunk_are_in_its_words() {
    let mut world = World::new(1);
    let invite = invite_by(&mut world, carrier(), HEADERS);
    assert_eq!(invite.uri(), "sip:+49%201@carrier.example:5070");
    assert_eq!(invite.get("To"), Some("<sip:+49%201@carrier.example>"));
    let from = invite.get("From").unwrap();
    assert!(from.starts_with("\"Al\" <sip:4930@carrier.example>;tag="), "{from}");
    assert_eq!(invite.get("X-Call"), Some("7"));
    assert_eq!(invite.get("Diversion"), Some("<sip:8@x>"));
    let others = (invite.get("Subject"), invite.get(ASSERTED), invite.all("Via").count());
    assert_eq!(others, (None, None, 1));
    let streams = Trunk {
        target: Flow {
            transport: Transport::Tls,
            ..flow(PEER)
        },
        ..carrier()
    };
    world.agents[0].set_trunk(world.now, ID, streams).unwrap();
    let target = offer(&world, "1", "1001").target;
    assert_eq!(target.uri, "sip:1@carrier.example:5070;transport=tls");
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn a_trunk_that_is_trusted_is_told_who_calls() {
    // What was asserted before, or our own caller.
    let mut world = World::new(1);
    let trusted = Trunk {
        is_trusted: true,
        is_from_line: false,
        passes: Passes::new(&["Subject", ASSERTED]).unwrap(),
        ..carrier()
    };
    let invite = invite_by(&mut world, trusted.clone(), HEADERS);
    let from = invite.get("From").unwrap();
    assert!(from.starts_with("\"Al\" <sip:1001@carrier.example>;"), "{from}");
    assert_eq!(invite.all(ASSERTED).collect::<Vec<_>>(), ["<sip:9@x>"]);
    assert_eq!((invite.get("Subject"), invite.get("X-Call")), (Some("s"), None));
    let invite = invite_by(&mut world, trusted, &[]);
    assert_eq!(invite.get(ASSERTED), Some("\"Al\" <sip:1001@carrier.example>"));
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn calls_by_a_trunk_answer_what_it_asks() {
    // Report 22, for INVITE.
    let mut world = registered();
    world.lines();
    let ring = |world: &mut World| {
        let call = offer(world, "1002", "4930");
        let leg = world.agents[0].call(world.now, call).unwrap();
        world.settle();
        leg
    };
    let leg = ring(&mut world);
    assert_eq!(world.agents[0].trunk_of_leg(leg), Some(ID));
    assert_eq!(
        world.lines(),
        ["INVITE", "407", "ACK", "INVITE", "100"],
        "asked once, by a proxy for the first time"
    );
    let invited = world.invited(1);
    world.agents[1].answer(world.now, invited.leg, "v=0 answer");
    world.settle();
    // By now it is known before it asks.
    world.lines();
    let other = ring(&mut world);
    assert_eq!(world.lines(), ["INVITE", "100"]);
    world.agents[0].hang_up(world.now, leg, 487, None);
    world.agents[0].hang_up(world.now, other, 487, None);
    world.settle();
    remove(&mut world);
    world.assert_empty();
}

fn invite(uri: &str, from: &str, more: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bK{};rport\r\nFrom: {from};tag=1\r\n\
         To: <sip:493077@realm>\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@192.0.2.100>\r\n{more}\r\n",
        uri.len() * 1000 + from.len() * 100 + more.len(),
        uri.len() * 1000 + from.len() * 100 + more.len() + 1,
    )
}

#[test]
fn calls_from_a_trunk_are_known_by_where_they_come_from() {
    let mut world = World::new(1);
    world.houses[0].access = Access::Password("realm".to_owned());
    let carrier = Trunk {
        is_trusted: true,
        registers: None,
        ..Trunk::to(flow(PEER), "carrier.example", "4930")
    };
    let more = "P-Asserted-Identity: \"Bo\" <sip:+491@carrier.example>, <tel:+491>\r\nX-A: b\r\nSubject: no\r\n";
    let from = "<sip:anonymous@anonymous.invalid>";
    world.say(0, &invite("sip:493077@192.0.2.1", from, more));
    assert_eq!(world.lines(), ["407"], "a stranger");
    world.agents[0].set_trunk(world.now, ID, carrier.clone()).unwrap();
    world.say(0, &invite("sip:493078@192.0.2.1", from, &format!("{more}X-Two: c\r\n")));
    let invited = world.invited(0);
    assert_eq!((invited.trunk, invited.to.as_str()), (Some(ID), "493078"));
    assert_eq!(invited.asserted(), Some(("+491".to_owned(), "Bo".to_owned())));
    let names: Vec<&str> = invited.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [ASSERTED, "X-A", "X-Two"]);
    assert_eq!(world.agents[0].trunk_of_leg(invited.leg), Some(ID));
    world.agents[0].hang_up(world.now, invited.leg, 486, None);
    // One that asks for our user there says in To which number was dialled.
    let doubtful = Trunk {
        is_trusted: false,
        // By a star it does not pass either.
        passes: Passes::new(&["P-*", "X-*"]).unwrap(),
        ..carrier.clone()
    };
    world.agents[0].set_trunk(world.now, ID, doubtful).unwrap();
    world.say(
        0,
        &invite("sip:4930@192.0.2.1", from, &format!("{more}X-Three: dd\r\n")),
    );
    let invited = world.invited(0);
    assert_eq!((invited.to.as_str(), invited.asserted()), ("493077", None));
    assert!(
        invited.headers.iter().all(|(name, _)| name.starts_with("X-")),
        "{invited:?}"
    );
    world.agents[0].hang_up(world.now, invited.leg, 486, None);
    // The host may want a password nevertheless.
    world.houses[0].trusts = false;
    world.settle();
    world.lines();
    world.say(
        0,
        &invite("sip:493079@192.0.2.1", from, &format!("{more}X-Four: eee\r\n")),
    );
    assert_eq!(world.lines(), ["407"]);
    world.houses[0].trusts = true;
    // A second address.
    let elsewhere = Trunk {
        target: flow(50),
        addresses: vec![at(PEER).ip()],
        ..carrier
    };
    world.agents[0].set_trunk(world.now, ID, elsewhere).unwrap();
    world.say(0, &invite("sip:493080@192.0.2.1", from, "X-Five: ffff\r\n"));
    let invited = world.invited(0);
    assert_eq!(invited.trunk, Some(ID));
    world.agents[0].hang_up(world.now, invited.leg, 486, None);
    remove(&mut world);
    world.settle();
    world.assert_empty();
}

#[test]
fn of_several_trunks_at_one_address_the_likeliest_is_meant() {
    let mut world = World::new(1);
    let mut set = |id: u64, port: u16, domain: &str, user: &str| {
        let mut target = flow(PEER);
        target.peer.set_port(port);
        let trunk = Trunk::to(target, domain, user);
        world.agents[0].set_trunk(world.now, TrunkId(id), trunk).unwrap();
    };
    set(1, 5080, "one.example", "11");
    set(2, 5081, "two.example", "22");
    set(3, 5081, "three.example", "33");
    let find = |world: &World, port: u16, uri: &str, from: &str| {
        let mut from_flow = flow(PEER);
        from_flow.peer.set_port(port);
        let message = Message::parse(invite(uri, from, "").as_bytes()).unwrap();
        world.agents[0].trunk_of(from_flow, &message).map(|trunk| trunk.0)
    };
    let (us, them) = ("sip:5@192.0.2.1", "<sip:9@x>");
    assert_eq!(find(&world, 5080, us, them), Some(1));
    assert_eq!(find(&world, 5081, us, them), Some(2));
    assert_eq!(find(&world, 5081, "sip:33@192.0.2.1", them), Some(3));
    assert_eq!(find(&world, 5081, us, "<sip:9@three.example>"), Some(3));
    assert_eq!(find(&world, 999, "sip:22@192.0.2.1", them), Some(2));
    assert_eq!(find(&world, 999, us, them), Some(1));
    let stranger = Flow::datagrams("203.0.113.1:5080".parse().unwrap());
    let message = Message::parse(invite(us, them, "").as_bytes()).unwrap();
    assert_eq!(world.agents[0].trunk_of(stranger, &message), None);
    // On this host, by the port alone.
    let local = |port: u16| Flow::datagrams(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    let pbx = Trunk::to(local(5090), "localhost", "");
    world.agents[0].set_trunk(world.now, TrunkId(4), pbx).unwrap();
    assert_eq!(world.agents[0].trunk_of(local(5090), &message), Some(TrunkId(4)));
    assert_eq!(world.agents[0].trunk_of(local(5091), &message), None);
    for id in 1..5 {
        world.agents[0].remove_trunk(world.now, TrunkId(id));
    }
    world.assert_empty();
}

#[test]
fn a_call_to_our_contact_there_is_the_trunks_wherever_it_comes_from() {
    let mut world = registered();
    world.houses[0].access = Access::Password("realm".to_owned());
    let contact = world.houses[1].bindings.values().next().unwrap().clone();
    world.say(0, &invite(&contact, "<sip:9@x>", ""));
    let invited = world.invited(0);
    assert_eq!((invited.trunk, invited.to.as_str()), (Some(ID), "493077"));
    world.agents[0].hang_up(world.now, invited.leg, 486, None);
    world.settle();
    // What nobody was told is nobody's.
    let (start, _) = contact.split_once("line=").unwrap();
    world.lines();
    world.say(
        0,
        &invite(&format!("{start}line=0123456789abcdef"), "<sip:9@x>", "X: y\r\n"),
    );
    assert_eq!(world.lines(), ["407"]);
    remove(&mut world);
    world.lines();
    world.say(0, &invite(&contact, "<sip:9@x>", "X: yy\r\n"));
    assert_eq!(world.lines(), ["407"], "nor what was taken back");
    world.assert_empty();
}

#[test]
fn a_telephone_beside_a_trunk_needs_its_password() {
    let mut world = World::new(1);
    let carrier = Trunk::to(flow(PEER), "carrier.example", "");
    world.agents[0].set_trunk(world.now, ID, carrier).unwrap();
    world.agents[0].settings.ping = Duration::ZERO;
    world.say(
        0,
        "REGISTER sip:realm SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.100;branch=z9hG4bKr;rport\r\nFrom: <sip:1001@realm>;tag=1\r\n\
         To: <sip:1001@realm>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\nContact: <sip:1001@192.0.2.100>;expires=60\r\n\r\n",
    );
    world.houses[0].access = Access::Password("realm".to_owned());
    world.lines();
    world.say(0, &invite("sip:1002@192.0.2.1", "<sip:1001@realm>", ""));
    assert_eq!(world.lines(), ["407"]);
    world.say(0, &invite("sip:1002@192.0.2.1", "<sip:1003@realm>", "X: y\r\n"));
    let invited = world.invited(0);
    assert_eq!((invited.trunk, invited.caller.binding), (Some(ID), None));
    world.agents[0].hang_up(world.now, invited.leg, 403, None);
    world.settle();
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn a_trunk_with_a_certificate_is_none_without_it_and_one_with_it_wherever_it_is() {
    let mut world = World::new(1);
    world.houses[0].access = Access::Password("realm".to_owned());
    let certified = Trunk {
        certificate_name: Some("carrier".to_owned()),
        ..Trunk::to(flow(1), "realm", "4930")
    };
    world.agents[0].set_trunk(world.now, ID, certified).unwrap();
    let by = |peer: Flow, connection| Flow {
        transport: Transport::Tls,
        connection,
        ..peer
    };
    let call = Message::parse(invite("sip:100@realm", "sip:49@realm", "").as_bytes()).unwrap();
    let (there, elsewhere) = (by(flow(1), 3), by(flow(5), 4));
    assert_eq!(
        world.agents[0].trunk_of(flow(1), &call),
        None,
        "its address does not count"
    );
    assert!(!world.agents[0].certify(4, vec!["somebody".to_owned()]));
    assert_eq!(world.agents[0].trunk_of(elsewhere, &call), None);
    assert!(world.agents[0].certify(4, vec!["somebody".to_owned(), "carrier".to_owned()]));
    assert_eq!(world.agents[0].trunk_of(elsewhere, &call), Some(ID));
    assert_eq!(world.agents[0].trunk_of(there, &call), None, "another connection");
    // What our Contact there says was heard by somebody else.
    let line = ("0123".to_owned(), ID);
    world.agents[0].trunks.lines.extend([line]);
    let named = Message::parse(invite("sip:4930@192.0.2.1;line=0123", "sip:49@realm", "").as_bytes()).unwrap();
    assert_eq!(world.agents[0].trunk_of(there, &named), None);
    assert_eq!(world.agents[0].trunk_of(elsewhere, &named), Some(ID));
    world.agents[0].trunks.lines.clear();
    // The next one of that number has to show it again.
    world.agents[0].end_trunk_connection(4);
    assert_eq!(world.agents[0].trunk_of(elsewhere, &call), None);
    remove(&mut world);
    world.assert_empty();
}

#[test]
fn a_call_fails_over_to_the_next_trunk() {
    let mut world = World::new(2);
    let other = TrunkId(8);
    let plain = |to: usize| Trunk::to(flow(to), "carrier.example", "");
    world.agents[0].set_trunk(world.now, ID, plain(PEER)).unwrap();
    world.agents[0].set_trunk(world.now, other, plain(1)).unwrap();
    let member = |trunk: TrunkId, priority: u16| Member {
        trunk,
        priority,
        weight: 1,
    };
    let group = TrunkGroup::new([member(ID, 1), member(other, 2)]);
    let (mut loads, mut tried) = (TrunkLoads::default(), Vec::new());
    let mut legs = Vec::new();
    for expected in [ID, other] {
        let chosen = group.choose(world.now, &loads, &tried, 5).unwrap();
        assert_eq!(chosen, expected);
        tried.push(chosen);
        assert!(loads.begin(chosen));
        let from = ("1001".to_owned(), String::new());
        let call = world.agents[0].trunk_call(chosen, "1002", from, "v=0 offer".to_owned());
        let leg = world.agents[0].call(world.now, call.unwrap()).unwrap();
        legs.push(leg);
        world.settle();
        if chosen == ID {
            world.answer(0, &Method::Invite, 503, &[("Retry-After", "20")]);
        }
        for event in std::mem::take(&mut world.events[0]) {
            match event {
                Event::Trunk { trunk, change } => loads.take_change(world.now, trunk, change),
                Event::Ended { end, .. } => assert!(loads.end(world.now, chosen, &end)),
                _ => {}
            }
        }
    }
    assert_eq!((loads.calls(ID), loads.calls(other)), (0, 1));
    let invited = world.invited(1);
    assert_eq!(
        (invited.to.as_str(), invited.domain.as_str()),
        ("1002", "carrier.example")
    );
    // The next caller does not try the first one.
    assert_eq!(group.choose(world.now, &loads, &[], 5), Ok(other));
    let wait = Duration::from_secs(20);
    assert_eq!(
        group.choose(world.now, &loads, &[other], 5),
        Err(NoTrunk::Out(Some(wait)))
    );
    world.heard.clear();
    world.agents[0].hang_up(world.now, legs[1], 487, None);
    world.settle();
    for id in [ID, other] {
        world.agents[0].remove_trunk(world.now, id);
    }
    world.assert_empty();
}

#[test]
fn names_of_users_are_counted_as_they_are_by_the_carrier() {
    // Who guesses the password of a trunk of ours there is noticed there.
    let mut world = World::new(2);
    world.houses[1].access = Access::Password("realm".to_owned());
    let login = Trunk {
        login: Some("somebody".to_owned()),
        ..trunk(1)
    };
    world.agents[0].set_trunk(world.now, ID, login).unwrap();
    world.settle();
    let noticed = world.events[1].iter().any(|event| {
        matches!(
            event,
            Event::Noticed {
                notice: Noticed::UnknownUser | Noticed::WrongPassword,
                ..
            }
        )
    });
    assert!(noticed && world.changes(0) == [TrunkChange::Unregistered(401)]);
    remove(&mut world);
    world.assert_empty();
}
