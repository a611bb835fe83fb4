//! Calls that come in the place of others (RFC 3891).

use super::bench::Bench;
use super::hostile::{answer, ask, bench, body, call, up};
use super::*;
use crate::limits::REPLACED_LATE_MAX;

/// An INVITE with these headers: the status of the refusal, or whose place it is to take.
fn wanted(bench: &mut Bench, name: &str, headers: &str) -> Result<Option<LegKey>, u16> {
    let text = ask("INVITE", name, 1, "", &body(headers)).replace("Call-ID: c\n", &format!("Call-ID: {name}\n"));
    let (answers, calls) = bench.take(text.replace('\n', "\r\n").as_bytes());
    let Some(invited) = calls.first() else {
        return Err(answers[0].status());
    };
    bench.agent.hang_up(bench.now, invited.leg, 486, None);
    bench.outcome();
    Ok(invited.replaces)
}

fn replaces(call: &str, to: &str, from: &str) -> String {
    format!("Replaces: {call};to-tag={to};from-tag={from}\n")
}

#[test]
fn who_names_a_call_that_is_up_is_told_of_it_and_of_one_that_is_over_that_it_is() {
    let mut bench = bench();
    let (key, to) = up(&mut bench, "");
    let own = to.trim_start_matches(";tag=").to_owned();
    let mut names = (0..).map(|number| format!("n{number}"));
    let mut ask = |bench: &mut Bench, headers: &str| wanted(bench, &names.next().unwrap(), headers);
    assert_eq!(ask(&mut bench, &replaces("c", &own, "p")), Ok(Some(key)));
    // As who called has written it.
    assert_eq!(ask(&mut bench, &replaces("c", "p", &own)), Ok(Some(key)));
    let early_only = replaces("c", &own, "p").replace('\n', ";early-only\n");
    assert_eq!(ask(&mut bench, &early_only), Err(486));
    for (call, to, from) in [("c", own.as_str(), "x"), ("x", &own, "p"), ("c", "x", "p")] {
        assert_eq!(ask(&mut bench, &replaces(call, to, from)), Err(481));
    }
    for wrong in [
        "Replaces: c\n".to_owned(),
        format!("Replaces: c;to-tag={own}\n"),
        format!("{0}{0}", replaces("c", &own, "p")),
    ] {
        assert_eq!(ask(&mut bench, &wrong), Err(400), "{wrong}");
    }
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.outcome();
    assert_eq!(ask(&mut bench, &replaces("c", &own, "p")), Err(603));
    assert_eq!(ask(&mut bench, &replaces("c", &own, "x")), Err(481));
    bench.is_idle();
}

#[test]
fn of_calls_that_ring_those_that_we_began_may_be_taken_over() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    let (call, own) = (invite.call_id().to_owned(), invite.from_tag().unwrap());
    assert_eq!(wanted(&mut bench, "n1", &replaces(&call, &own, "t")), Err(481));
    bench.take(&answer(&invite, 180, "t", &[]));
    let early_only = replaces(&call, &own, "t").replace('\n', ";early-only\n");
    for (name, headers) in [("n2", replaces(&call, &own, "t")), ("n3", early_only)] {
        assert_eq!(wanted(&mut bench, name, &headers), Ok(Some(key)));
    }
    assert_eq!(wanted(&mut bench, "n4", &replaces(&call, &own, "u")), Err(481));
    // It is being cancelled.
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.outcome();
    assert_eq!(wanted(&mut bench, "n5", &replaces(&call, &own, "t")), Err(603));
    bench.take(&answer(&invite, 487, "t", &[]));
    // Nobody answered it, so it was none.
    assert_eq!(wanted(&mut bench, "n6", &replaces(&call, &own, "t")), Err(481));
    // One that the peer began.
    let text = ask("INVITE", "i", 1, "", &body("")).replace('\n', "\r\n");
    let (_, calls) = bench.take(text.as_bytes());
    bench.agent.ring(bench.now, calls[0].leg, None);
    let own = bench.outcome().0[0].to_tag().unwrap();
    assert_eq!(wanted(&mut bench, "n7", &replaces("c", &own, "p")), Err(481));
    bench.agent.hang_up(bench.now, calls[0].leg, 486, None);
    bench.is_idle();
}

#[test]
fn of_calls_that_are_over_so_many_are_remembered() {
    let mut bench = bench();
    let mut first = None;
    for _ in 0..=REPLACED_LATE_MAX {
        let (key, invite) = call(&mut bench);
        bench.take(&answer(&invite, 200, "t", &[]));
        bench.agent.hang_up(bench.now, key, 487, None);
        bench.outcome();
        first.get_or_insert((invite.call_id().to_owned(), invite.from_tag().unwrap()));
    }
    let (call, own) = first.unwrap();
    assert_eq!(wanted(&mut bench, "n1", &replaces(&call, &own, "t")), Err(481));
    bench.is_idle();
}
