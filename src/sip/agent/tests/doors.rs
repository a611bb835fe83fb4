//! Who is let in, what is told of who is not, and what is kept of users.

use super::bench::{Bench, datagrams, stream};
use super::hostile::{PEER, ask, bench, body};
use super::*;
use crate::limits::REALMS_MAX;

/// A REGISTER of a user, with what else it says.
fn register(user: &str, number: u32, more: &str) -> String {
    format!(
        "REGISTER sip:realm SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKd{number};rport\nFrom: <sip:{user}@realm>;tag=1\n\
         To: <sip:{user}@realm>\nCall-ID: d\nCSeq: {number} REGISTER\nContact: <sip:{user}@{PEER}>\n{more}\n"
    )
}

fn closed(flow: Flow) -> Bench {
    let mut bench = Bench::new(flow);
    bench.house.access = Access::Password("realm".to_owned());
    bench
}

/// What answers a challenge.
fn credentials(challenge: &Message, user: &str, password: &str) -> String {
    let challenges: Vec<&str> = challenge.all("WWW-Authenticate").collect();
    let mut client = Client::new(user, crate::digest::Secret::Password(password.to_owned()));
    let mut attempt = crate::digest::Attempt::default();
    let place = crate::digest::Place::Server;
    let all = client
        .answer(&mut attempt, place, &challenges, "REGISTER", "sip:realm", "abc")
        .unwrap();
    format!("Authorization: {}\n", all[0].value)
}

fn noticed(bench: &mut Bench) -> Vec<Noticed> {
    let told = std::mem::take(&mut bench.told);
    let notice = |event: &Event| match event {
        Event::Noticed { notice, .. } => Some(*notice),
        _ => None,
    };
    told.iter().filter_map(notice).collect()
}

#[test]
fn a_failure_counts_only_where_the_sender_is_where_it_says() {
    let mut bench = closed(datagrams(PEER));
    let challenge = bench.say(&register("nobody", 1, "")).remove(0);
    assert_eq!((challenge.status(), noticed(&mut bench)), (401, vec![]));
    // A nonce that was sent to somebody else.
    let mut other = closed(datagrams("198.51.100.66:5060"));
    let foreign = other.say(&register("nobody", 1, "").replace(PEER, "a")).remove(0);
    let forged = credentials(&foreign, "nobody", "x");
    assert_eq!(bench.status(&register("nobody", 2, &forged)), 401);
    assert_eq!(
        bench.status(&register("1001", 3, &forged.replace("nobody", "1001"))),
        401
    );
    assert_eq!(noticed(&mut bench), []);
    let own = credentials(&challenge, "nobody", "x");
    assert_eq!(bench.status(&register("nobody", 4, &own)), 401);
    assert_eq!(noticed(&mut bench), [Noticed::UnknownUser]);
    let own = credentials(&challenge, "1001", "x");
    assert_eq!(bench.status(&register("1001", 5, &own)), 401);
    assert_eq!(noticed(&mut bench), [Noticed::WrongPassword]);
    let mut bench = closed(stream(PEER));
    assert_eq!(bench.status(&register("nobody", 1, "")), 401);
    assert_eq!(noticed(&mut bench), [Noticed::UnknownUser]);
}

#[test]
fn users_that_there_are_not_are_asked_in_the_realm_of_those_that_there_are() {
    let mut bench = closed(datagrams(PEER));
    bench.agent.settings.realm = "elsewhere".to_owned();
    let realms = |bench: &mut Bench, user: &str, number: u32| {
        let challenge = bench.say(&register(user, number, "")).remove(0);
        let all = challenge.all("WWW-Authenticate");
        all.map(|value| value.split(", nonce").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let known = realms(&mut bench, "1001", 1);
    assert_eq!(realms(&mut bench, "nobody", 2), known);
    assert!(known[0].contains("\"realm\""), "{known:?}");
}

#[test]
fn what_was_used_of_a_realm_is_used_when_realms_are_forgotten() {
    let mut bench = closed(datagrams(PEER));
    let challenge = bench.say(&register("1001", 1, "")).remove(0);
    let own = credentials(&challenge, "1001", "secret");
    assert_eq!(bench.status(&register("1001", 2, &own)), 200);
    assert_eq!(bench.status(&register("1001", 3, &own)), 401, "it was used");
    for number in 0..REALMS_MAX {
        bench.house.access = Access::Password(format!("realm{number}"));
        bench.say(&register("1002", 10 + u32::try_from(number).unwrap(), ""));
    }
    bench.house.access = Access::Password("realm".to_owned());
    assert_eq!(bench.status(&register("1001", 4, &own)), 401);
}

#[test]
fn a_call_goes_no_further_than_its_hops() {
    for (hops, status, left) in [
        ("", 100, None),
        ("Max-Forwards: 70\n", 100, Some(69)),
        ("Max-Forwards: 1\n", 100, Some(0)),
        ("Max-Forwards: 9999\n", 100, Some(255)),
        ("Max-Forwards: 0\n", 483, None),
    ] {
        let mut bench = bench();
        let invite = ask("INVITE", "i", 1, "", &body(hops)).replace('\n', "\r\n");
        let (answers, calls) = bench.take(invite.as_bytes());
        assert_eq!(answers[0].status(), status, "{hops}");
        assert_eq!(calls.first().and_then(|invited| invited.max_forwards), left, "{hops}");
    }
    let mut bench = bench();
    for (given, said) in [(None, "70"), (Some(9), "9")] {
        let call = Call {
            target: Target {
                flow: bench.flow,
                uri: format!("sip:1001@{PEER}"),
                route: Vec::new(),
            },
            from: ("1002".to_owned(), String::new()),
            to: "sip:1001@realm".to_owned(),
            offer: "v=0 offer".to_owned(),
            headers: Vec::new(),
            account: None,
            max_forwards: given,
        };
        bench.agent.call(bench.now, call).unwrap();
        let invite = bench.outcome().0.remove(0);
        assert_eq!(invite.all("Max-Forwards").collect::<Vec<_>>(), [said]);
    }
}

#[test]
fn all_contacts_are_taken_back_in_their_order_only() {
    let mut bench = bench();
    let all = |number: u32, call: &str| {
        let text = register("1001", number, "Expires: 0\n").replace(&format!("<sip:1001@{PEER}>"), "*");
        text.replace("Call-ID: d", &format!("Call-ID: {call}"))
    };
    assert_eq!(bench.status(&register("1001", 7, "")), 200);
    assert_eq!(bench.status(&all(6, "d")), 500, "it is late");
    assert_eq!(bench.house.bindings.len(), 1);
    assert_eq!(bench.status(&all(8, "d")), 200);
    assert!(bench.house.bindings.is_empty());
    assert_eq!(bench.status(&register("1001", 9, "")), 200);
    assert_eq!(
        bench.status(&all(1, "e")),
        200,
        "of another one, that knows nothing of it"
    );
    assert!(bench.house.bindings.is_empty());
    bench.is_idle();
}
