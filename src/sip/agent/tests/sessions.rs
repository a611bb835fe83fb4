//! How long a session is, what rings before it, and what is offered in it.

use super::hostile::{answer, ask, bench, body, call, methods, up};
use super::*;

#[test]
fn a_transfer_is_answered_and_told_by_who_can_be_reached() {
    let mut bench = bench();
    let (key, to) = up(&mut bench, "");
    let answers = bench.say(&ask("REFER", "r", 2, &to, "Refer-To: <sip:1@realm>\n"));
    assert_eq!(answers[0].status(), 202);
    assert_eq!(answers[0].get("Contact"), Some("<sip:1002@192.0.2.1:5060>"));
    bench.agent.tell_transfer(bench.now, key, 100);
    let notify = bench.outcome().0.remove(0);
    assert_eq!(notify.get("Contact"), Some("<sip:1002@192.0.2.1:5060>"));
    assert_eq!(bench.status(&ask("BYE", "b", 3, &to, "")), 200);
    bench.is_idle();
}

#[test]
fn a_session_is_no_shorter_than_whoever_asks_can_bear() {
    for (more, expected) in [
        ("Session-Expires: 7200\n", "1800"),
        ("Session-Expires: 7200\nMin-SE: 3600\n", "3600"),
        ("Session-Expires: 3600\nMin-SE: 3600\n", "3600"),
        ("Session-Expires: 90\nMin-SE: 90\n", "90"),
    ] {
        let mut bench = bench();
        let invite = ask("INVITE", "i", 1, "", &body(&format!("Supported: timer\n{more}")));
        let (_, calls) = bench.take(invite.replace('\n', "\r\n").as_bytes());
        bench.agent.answer(bench.now, calls[0].leg, "v=0");
        let accepted = bench.outcome().0.remove(0);
        let agreed = accepted.get("Session-Expires").unwrap();
        assert_eq!(agreed.split(';').next(), Some(expected), "{more}");
    }
}

#[test]
fn an_update_without_a_description_begins_a_session_that_is_refreshed() {
    let mut bench = bench();
    let (key, to) = up(&mut bench, "Allow: UPDATE\nSupported: timer\n");
    assert!(bench.pass(Duration::from_secs(100)).is_empty());
    let more = "Supported: timer\nSession-Expires: 90;refresher=uas\n";
    assert_eq!(bench.status(&ask("UPDATE", "u", 2, &to, more)), 200);
    let sent = bench.pass(Duration::from_secs(45));
    assert_eq!(methods(&sent), ["UPDATE"]);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
    // Before the answer there is no session to be over.
    let invite = ask("INVITE", "j", 1, "", &body("")).replace("Call-ID: c", "Call-ID: d");
    let (_, calls) = bench.take(invite.replace('\n', "\r\n").as_bytes());
    bench.agent.ring(bench.now, calls[0].leg, None);
    let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
    let update = ask("UPDATE", "v", 2, &to, "Session-Expires: 90;refresher=uac\n");
    assert_eq!(bench.status(&update.replace("Call-ID: c", "Call-ID: d")), 200);
    bench.told.clear();
    bench.pass(Duration::from_secs(120));
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    bench.agent.hang_up(bench.now, calls[0].leg, 486, None);
    bench.is_idle();
}

#[test]
fn what_there_is_to_hear_waits_for_the_prack_of_the_ringing() {
    let mut bench = bench();
    let invite = ask("INVITE", "i", 1, "", &body("Require: 100rel\n"));
    let (_, calls) = bench.take(invite.replace('\n', "\r\n").as_bytes());
    let key = calls[0].leg;
    bench.agent.ring(bench.now, key, None);
    let ringing = bench.outcome().0.remove(0);
    let to = format!(";tag={}", ringing.to_tag().unwrap());
    bench.agent.ring(bench.now, key, Some("v=0 first"));
    bench.agent.ring(bench.now, key, Some("v=0 early"));
    bench.agent.ring(bench.now, key, None);
    assert!(bench.outcome().0.is_empty(), "one at a time");
    let answers = bench.say(&ask("PRACK", "p", 2, &to, "RAck: 1 1 INVITE\n"));
    assert_eq!(answers.iter().map(Message::status).collect::<Vec<_>>(), [200, 183]);
    assert_eq!(
        (&*answers[1].body, answers[1].get("RSeq")),
        (&b"v=0 early"[..], Some("2"))
    );
    assert_eq!(bench.status(&ask("PRACK", "q", 3, &to, "RAck: 2 1 INVITE\n")), 200);
    bench.agent.hang_up(bench.now, key, 486, None);
    bench.is_idle();
}

#[test]
fn what_was_refused_is_not_what_a_refresh_says() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    bench.take(&answer(&invite, 200, "t", &[("Session-Expires", "1800;refresher=uac")]));
    for (status, kept) in [(488, "v=0 offer"), (200, "v=0 hold")] {
        assert!(bench.agent.offer(bench.now, key, "v=0 hold"));
        let offer = bench.outcome().0.remove(0);
        assert_eq!(offer.body, b"v=0 hold");
        bench.take(&answer(
            &offer,
            status,
            "t",
            &[("Session-Expires", "1800;refresher=uac")],
        ));
        let refresh = bench.pass(Duration::from_secs(900)).remove(0);
        assert_eq!(
            (refresh.method(), &*refresh.body),
            (Some(&Method::Invite), kept.as_bytes())
        );
        bench.take(&answer(
            &refresh,
            200,
            "t",
            &[("Session-Expires", "1800;refresher=uac")],
        ));
    }
    // One that met the peer's is tried again as it was.
    assert!(bench.agent.offer(bench.now, key, "v=0 again"));
    let offer = bench.outcome().0.remove(0);
    bench.take(&answer(&offer, 491, "t", &[]));
    let again = bench.pass(Duration::from_secs(5)).remove(0);
    assert_eq!(again.body, b"v=0 again");
    bench.take(&answer(&again, 200, "t", &[]));
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}
