//! What strangers, third parties and bad peers do, and what it costs.

use super::bench::{Bench, datagrams};
use super::*;
use crate::limits::{BINDINGS_PER_USER_MAX, FORKS_MAX, PROVISIONALS_MAX};

pub(super) const PEER: &str = "203.0.113.9:5070";
const OTHER: &str = "198.51.100.66:5060";

pub(super) fn bench() -> Bench {
    Bench::new(datagrams(PEER))
}

/// A request of the peer's. `to`: what stands behind the address.
pub(super) fn ask(method: &str, branch: &str, number: u32, to: &str, more: &str) -> String {
    format!(
        "{method} sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{branch};rport\n\
         From: <sip:1001@realm>;tag=p\nTo: <sip:1002@realm>{to}\nCall-ID: c\nCSeq: {number} {method}\n\
         Contact: <sip:1001@{PEER}>\n{more}\n"
    )
}

pub(super) fn body(more: &str) -> String {
    format!("{more}Content-Type: application/sdp\n\nv=0")
}

/// A call of the peer's that is up: the leg, and what stands in its `To`.
pub(super) fn up(bench: &mut Bench, more: &str) -> (LegKey, String) {
    let (answers, calls) = bench.take(ask("INVITE", "i", 1, "", &body(more)).replace('\n', "\r\n").as_bytes());
    assert_eq!((answers[0].status(), calls.len()), (100, 1));
    let key = calls[0].leg;
    bench.agent.answer(bench.now, key, "v=0 answer");
    let tag = bench.outcome().0[0].to_tag().unwrap();
    let to = format!(";tag={tag}");
    bench.say(&ask("ACK", "a", 1, &to, ""));
    assert!(bench.told.contains(&Event::Confirmed { leg: key, body: None }));
    bench.told.clear();
    (key, to)
}

/// A call to the peer: the leg, and its INVITE.
pub(super) fn call(bench: &mut Bench) -> (LegKey, Message) {
    call_by(bench, None)
}

/// The same, by an account of ours at the peer.
pub(super) fn call_by(bench: &mut Bench, account: Option<u64>) -> (LegKey, Message) {
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
        account,
        max_forwards: None,
    };
    let key = bench.agent.call(bench.now, call).unwrap();
    (key, bench.outcome().0.remove(0))
}

/// An answer of the peer's.
pub(super) fn answer(request: &Message, status: u16, tag: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut response = Message::response(request, status, "X");
    response.append("To", &format!(";tag={tag}"));
    response.push("Contact", format!("<sip:1001@{PEER}>"));
    for (name, value) in more {
        response.push(name, value);
    }
    if status < 300 && status > 100 {
        response.set_body("application/sdp", "v=0 answer");
    }
    response.to_bytes()
}

pub(super) fn methods(messages: &[Message]) -> Vec<&str> {
    messages.iter().filter_map(Message::method).map(Method::name).collect()
}

#[test]
fn a_stranger_gets_one_answer_and_leaves_nothing() {
    let mut bench = bench();
    bench.house.access = Access::Password("realm".to_owned());
    let mut worst = 0.0_f64;
    for method in [
        "INVITE",
        "REGISTER",
        "OPTIONS",
        "MESSAGE",
        "SUBSCRIBE",
        "PUBLISH",
        "BYE",
        "CANCEL",
        "UPDATE",
        "PRACK",
        "REFER",
        "NOTIFY",
        "INFO",
        "ACK",
        "FLY",
    ] {
        for (number, to) in [";tag=x", "", "\nRequire: x", "\nTo: <sip:a@b>", "\nContent-Length: 9"]
            .iter()
            .enumerate()
        {
            // As short as it may be.
            let text = format!(
                "{method} sip:a@b SIP/2.0\nv:SIP/2.0/UDP a;branch=z9hG4bK{number}\nf:<sip:a@b>;tag=1\nt:<sip:a@b>{to}\ni:1\n\
                 CSeq:1 {method}\nm:<sip:a@b>\n\n"
            );
            bench
                .agent
                .receive(bench.now, bench.flow, text.as_bytes(), &mut bench.house);
            let answered = bench.agent.poll_send();
            assert_eq!(bench.agent.poll_send(), None, "{text}");
            assert_eq!(answered.is_none(), method == "ACK", "{text}");
            if let Some((flow, bytes)) = answered {
                assert_eq!(flow.peer.ip(), bench.flow.peer.ip());
                worst = worst.max(bytes.len() as f64 / text.len() as f64);
            }
            bench.agent.check().unwrap();
            bench.agent.check_idle().unwrap();
            assert_eq!(bench.agent.poll_timeout(), None, "nothing is sent again");
        }
    }
    println!("an answer is at most {worst:.1} times as long");
    assert!(worst < 5.5, "{worst}");
}

#[test]
fn who_is_let_in_is_answered_as_often_as_the_rfc_has_it() {
    // What a forged INVITE with the address of a peer that needs no password costs that peer.
    let mut bench = bench();
    let (_, calls) = bench.take(ask("INVITE", "i", 1, "", &body("")).replace('\n', "\r\n").as_bytes());
    bench.agent.hang_up(bench.now, calls[0].leg, 486, None);
    bench.outcome();
    assert_eq!(bench.pass(Duration::from_secs(40)).len(), 10, "refused: 11 in all");
    bench.agent.check_idle().unwrap();
    let (_, calls) = bench.take(ask("INVITE", "j", 2, "", &body("")).replace('\n', "\r\n").as_bytes());
    bench.agent.answer(bench.now, calls[0].leg, "v=0");
    bench.outcome();
    let sent = bench.pass(Duration::from_secs(100));
    let byes = methods(&sent).len();
    assert_eq!(
        (sent.len() - byes, byes),
        (10, 11),
        "answered: 11, and its end 11 times"
    );
    bench.agent.check_idle().unwrap();
}

#[test]
fn who_knows_the_call_and_not_its_tags_changes_nothing() {
    let mut bench = bench();
    let (key, to) = up(&mut bench, "");
    for (number, method) in ["BYE", "UPDATE", "PRACK", "INFO", "REFER", "INVITE", "NOTIFY"]
        .into_iter()
        .enumerate()
    {
        for (place, to) in [";tag=x", "", &to].into_iter().enumerate() {
            // With our tag it still has not the peer's.
            let text = ask(method, &format!("x{number}{place}"), 9, to, &body("RAck: 1 1 INVITE\n"));
            let text = text.replace(";tag=p", ";tag=q");
            if method == "INVITE" && place == 1 {
                continue;
            }
            for peer in [PEER, OTHER] {
                bench.flow = datagrams(peer);
                assert_eq!(bench.status(&text.replace("x", peer)), 481, "{text}");
            }
        }
    }
    bench.flow = datagrams(OTHER);
    // Neither whose branch it has seen.
    assert_eq!(bench.status(&ask("CANCEL", "i", 1, "", "")), 481);
    assert_eq!(bench.status(&ask("ACK", "i", 1, ";tag=x", "")), 0);
    bench.flow = datagrams(PEER);
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    // The peer itself goes on.
    assert_eq!(bench.status(&ask("BYE", "b", 2, &to, "")), 200);
    assert!(matches!(bench.told[..], [Event::Ended { leg, .. }] if leg == key));
    bench.is_idle();
}

#[test]
fn an_ack_is_the_peers() {
    let mut bench = bench();
    let (_, calls) = bench.take(ask("INVITE", "i", 1, "", &body("")).replace('\n', "\r\n").as_bytes());
    bench.agent.answer(bench.now, calls[0].leg, "v=0");
    let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
    bench.say(&ask("ACK", "a", 1, &to, "").replace(";tag=p", ";tag=q"));
    bench.say(&ask("ACK", "a", 2, &to, ""));
    bench.say(&ask("ACK", "a", 1, ";tag=x", ""));
    assert!(bench.told.is_empty());
    assert_eq!(bench.pass(Duration::from_secs(1)).len(), 1, "it is sent again");
    bench.say(&ask("ACK", "a", 1, &to, ""));
    assert_eq!(bench.told.len(), 1);
    // After the BYE, too, nothing is sent any more.
    assert_eq!(bench.status(&ask("BYE", "b", 2, &to, "")), 200);
    assert!(bench.pass(Duration::from_secs(40)).is_empty());
    bench.agent.check_idle().unwrap();
}

#[test]
fn after_the_peers_bye_the_answer_is_not_sent_again() {
    let mut bench = bench();
    let (_, calls) = bench.take(ask("INVITE", "i", 1, "", &body("")).replace('\n', "\r\n").as_bytes());
    bench.agent.answer(bench.now, calls[0].leg, "v=0");
    let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
    assert_eq!(bench.status(&ask("BYE", "b", 2, &to, "")), 200);
    assert!(bench.pass(Duration::from_secs(40)).is_empty());
    bench.agent.check_idle().unwrap();
}

#[test]
fn answers_that_nobody_wants_are_ended_once_each_and_not_without_end() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    bench.take(&answer(&invite, 200, "first", &[]));
    let (mut acks, mut byes) = (0, 0);
    for _ in 0..3 {
        for number in 0..100 {
            let (sent, _) = bench.take(&answer(&invite, 200, &format!("t{number}"), &[]));
            acks += methods(&sent).iter().filter(|method| **method == "ACK").count();
            byes += methods(&sent).iter().filter(|method| **method == "BYE").count();
        }
    }
    assert_eq!((acks, byes), (3 * FORKS_MAX, FORKS_MAX));
    // That of the call is acknowledged as often as it comes.
    let (sent, _) = bench.take(&answer(&invite, 200, "first", &[]));
    assert_eq!(methods(&sent), ["ACK"]);
    bench.pass(Duration::from_secs(40));
    assert!(bench.take(&answer(&invite, 200, "late", &[])).0.is_empty());
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}

#[test]
fn provisional_answers_are_acknowledged_in_order_and_not_without_end() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    let pracks = |bench: &mut Bench, tag: &str, number: u32| {
        let more = [("Require", "100rel"), ("RSeq", &*number.to_string())];
        let (sent, _) = bench.take(&answer(&invite, 183, tag, &more));
        let told = std::mem::take(&mut bench.told).len();
        assert_eq!(sent.len(), told, "what is not acknowledged is not told");
        sent.iter()
            .map(|prack| prack.get("RAck").unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(pracks(&mut bench, "a", 7), ["7 1 INVITE"]);
    assert!(pracks(&mut bench, "a", 7).is_empty(), "it came again");
    assert!(pracks(&mut bench, "a", 9).is_empty(), "one is missing");
    assert_eq!(pracks(&mut bench, "a", 8), ["8 1 INVITE"]);
    assert_eq!(pracks(&mut bench, "a", 9), ["9 1 INVITE"]);
    assert!(pracks(&mut bench, "b", 0).is_empty());
    let tags = (0..100).map(|number| pracks(&mut bench, &format!("t{number}"), 1).len());
    assert_eq!(tags.sum::<usize>(), FORKS_MAX - 2);
    let many = (10..1000).map(|number| pracks(&mut bench, "a", number).len());
    let before = 3 + FORKS_MAX - 2;
    assert_eq!(many.sum::<usize>() + before, PROVISIONALS_MAX as usize);
    // Others are told however many there are, and nothing is kept or sent.
    for _ in 0..1000 {
        assert!(bench.take(&answer(&invite, 180, "a", &[])).0.is_empty());
    }
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.take(&answer(&invite, 487, "a", &[]));
    bench.is_idle();
}

#[test]
fn answers_of_others_are_none() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    for (name, value) in [
        ("Call-ID", "other"),
        ("CSeq", "7 INVITE"),
        ("CSeq", "1 BYE"),
        ("From", "<sip:1002@realm>;tag=x"),
        ("Via", "SIP/2.0/UDP a;branch=z9hG4bKother"),
    ] {
        let mut other = Message::parse(&answer(&invite, 200, "t", &[])).unwrap();
        other.set(name, value);
        assert!(bench.take(&other.to_bytes()).0.is_empty(), "{name}");
    }
    assert!(bench.told.is_empty());
    bench.take(&answer(&invite, 603, "t", &[]));
    assert!(matches!(bench.told[..], [Event::Ended { leg, .. }] if leg == key));
    bench.is_idle();
}

#[test]
fn a_prack_names_what_it_acknowledges() {
    let mut bench = bench();
    let invite = ask("INVITE", "i", 5, "", &body("Require: 100rel\n"));
    let (_, calls) = bench.take(invite.replace('\n', "\r\n").as_bytes());
    bench.agent.ring(bench.now, calls[0].leg, None);
    let ringing = bench.outcome().0.remove(0);
    assert_eq!(ringing.get("RSeq"), Some("1"));
    let to = format!(";tag={}", ringing.to_tag().unwrap());
    let mut number = 5;
    let mut prack = |bench: &mut Bench, rack: &str| {
        number += 1;
        bench.status(&ask("PRACK", &format!("p{number}"), number, &to, rack))
    };
    for (rack, status) in [
        ("", 400),
        ("RAck: 1\n", 400),
        ("RAck: 1 5 BYE\n", 400),
        ("RAck: 1 5 INVITE x\n", 400),
        ("RAck: 99999999999 5 INVITE\n", 400),
        ("RAck: 2 5 INVITE\n", 481),
        ("RAck: 1 6 INVITE\n", 481),
    ] {
        assert_eq!(prack(&mut bench, rack), status, "{rack}");
    }
    assert_eq!(bench.pass(Duration::from_secs(1)).len(), 1, "it is sent again");
    // It may come after the answer (RFC 3262, section 3).
    bench.agent.answer(bench.now, calls[0].leg, "v=0");
    bench.outcome();
    assert_eq!(prack(&mut bench, "RAck: 1 5 INVITE\n"), 200);
    assert_eq!(prack(&mut bench, "RAck: 1 5 INVITE\n"), 481, "once");
    assert_eq!(bench.status(&ask("BYE", "b", 99, &to, "")), 200);
    bench.is_idle();
}

#[test]
fn numbers_of_requests_go_up_to_their_end() {
    let mut bench = bench();
    let last = (1 << 31) - 1;
    let (_, calls) = bench.take(
        ask("INVITE", "i", last - 2, "", &body(""))
            .replace('\n', "\r\n")
            .as_bytes(),
    );
    bench.agent.answer(bench.now, calls[0].leg, "v=0");
    let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
    bench.say(&ask("ACK", "a", last - 2, &to, ""));
    assert_eq!(bench.status(&ask("OPTIONS", "o", last - 1, &to, "")), 200);
    // Neither what is older nor what cannot be.
    assert_eq!(bench.status(&ask("INFO", "p", last - 1, &to, "")), 500);
    assert_eq!(bench.status(&ask("BYE", "q", 0, &to, "")), 500);
    assert_eq!(bench.status(&ask("BYE", "r", 1 << 31, &to, "")), 400);
    assert_eq!(bench.status(&ask("BYE", "s", u32::MAX, &to, "")), 400);
    assert_eq!(bench.status(&ask("BYE", "t", last, &to, "")), 200);
    bench.is_idle();
}

#[test]
fn an_invite_in_the_middle_of_everything() {
    let mut bench = bench();
    let first = ask("INVITE", "i", 1, "", &body(""));
    let (_, calls) = bench.take(first.replace('\n', "\r\n").as_bytes());
    let key = calls[0].leg;
    bench.agent.ring(bench.now, key, None);
    let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
    // By another way, and once more by it after something else.
    let again = first.replace("z9hG4bKi", "z9hG4bKj");
    assert_eq!(bench.status(&again), 482);
    assert_eq!(bench.status(&ask("OPTIONS", "o", 2, &to, "")), 200);
    assert_eq!(bench.status(&again.replace("bKj", "bKk")), 482);
    // Before the answer, before its ACK, and while another is open.
    assert_eq!(bench.status(&ask("INVITE", "1", 3, &to, &body(""))), 500);
    bench.agent.answer(bench.now, key, "v=0");
    bench.outcome();
    assert_eq!(bench.status(&ask("INVITE", "2", 4, &to, &body(""))), 500);
    assert_eq!(bench.status(&ask("UPDATE", "3", 5, &to, &body(""))), 500);
    bench.say(&ask("ACK", "a", 1, &to, ""));
    assert_eq!(
        bench.status(&ask("INVITE", "4", 6, &to, "Content-Type: text/plain\n\nx")),
        415
    );
    assert_eq!(
        bench.status(&ask("INVITE", "5", 7, &to, &body("Session-Expires: 1\n"))),
        422
    );
    assert_eq!(bench.status(&ask("INVITE", "6", 8, &to, &body(""))), 0);
    assert_eq!(bench.status(&ask("INVITE", "7", 9, &to, &body(""))), 500);
    // It is given up: nothing is left of it.
    let answers = bench.say(&ask("CANCEL", "6", 8, &to, ""));
    assert_eq!(answers.iter().map(Message::status).collect::<Vec<_>>(), [200, 487]);
    bench.say(&ask("ACK", "6", 8, &to, ""));
    // While ours is open.
    assert!(bench.agent.offer(bench.now, key, "v=0 ours"));
    let ours = bench.outcome().0.remove(0);
    assert_eq!(bench.status(&ask("INVITE", "8", 10, &to, &body(""))), 491);
    bench.take(&Message::response(&ours, 488, "X").to_bytes());
    // A call of the same name, and another number, is another call. The first ends, and the second is still known.
    let (_, calls) = bench.take(ask("INVITE", "9", 99, "", &body("")).replace('\n', "\r\n").as_bytes());
    assert_eq!(calls.len(), 1);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.outcome();
    assert_eq!(bench.status(&ask("INVITE", "x", 99, "", &body(""))), 482);
    bench.agent.hang_up(bench.now, calls[0].leg, 603, None);
    bench.is_idle();
}

#[test]
fn a_re_invite_that_was_given_up_and_not_acknowledged_does_not_end_the_call() {
    let mut bench = bench();
    let (_, to) = up(&mut bench, "");
    bench.say(&ask("INVITE", "6", 8, &to, &body("")));
    bench.say(&ask("CANCEL", "6", 8, &to, ""));
    bench.pass(Duration::from_secs(40));
    assert!(matches!(bench.told[..], [Event::Offered { .. }]), "{:?}", bench.told);
    assert_eq!(bench.status(&ask("BYE", "b", 9, &to, "")), 200);
    bench.is_idle();
}

#[test]
fn what_was_ended_tells_nothing_more() {
    // Before the ACK of its answer.
    let mut bench = bench();
    let (_, calls) = bench.take(ask("INVITE", "i", 1, "", &body("")).replace('\n', "\r\n").as_bytes());
    let key = calls[0].leg;
    bench.agent.answer(bench.now, key, "v=0");
    let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
    bench.agent.hang_up(bench.now, key, 487, None);
    let digit = "Content-Type: application/dtmf-relay\n\nSignal=5";
    assert_eq!(bench.status(&ask("INFO", "1", 2, &to, digit)), 481);
    assert_eq!(
        bench.status(&ask("REFER", "2", 3, &to, "Refer-To: <sip:1@realm>\n")),
        481
    );
    assert_eq!(bench.status(&ask("BYE", "3", 4, &to, "")), 200);
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    bench.is_idle();
    // Before there is an answer.
    let mut bench = self::bench();
    let (key, invite) = call(&mut bench);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.take(&answer(&invite, 180, "t", &[]));
    bench.take(&answer(&invite, 486, "t", &[]));
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    bench.is_idle();
    // What fails twice ends once.
    let mut bench = self::bench();
    let (_, calls) = bench.take(ask("INVITE", "i", 1, "", &body("")).replace('\n', "\r\n").as_bytes());
    let key = calls[0].leg;
    bench.agent.answer(bench.now, key, "v=0");
    bench.outcome();
    for digit in ['1', '2'] {
        assert!(bench.agent.press(bench.now, key, digit, Duration::from_millis(100)));
    }
    for info in bench.outcome().0 {
        bench.take(&Message::response(&info, 481, "X").to_bytes());
    }
    assert!(matches!(bench.told[..], [Event::Ended { .. }]), "{:?}", bench.told);
    bench.is_idle();
}

#[test]
fn a_bye_that_overtakes_the_answer_ends_the_ringing_of_others() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    bench.take(&answer(&invite, 180, "t", &[]));
    bench.told.clear();
    let bye = format!(
        "BYE sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKb;rport\nFrom: <sip:1001@realm>;tag=t\n\
         To: <sip:1002@realm>;tag={}\nCall-ID: {}\nCSeq: 1 BYE\n\n",
        invite.from_tag().unwrap(),
        invite.call_id(),
    );
    let sent = bench.say(&bye);
    assert_eq!((sent[0].status(), methods(&sent)), (200, vec!["CANCEL"]));
    assert!(matches!(bench.told[..], [Event::Ended { leg, .. }] if leg == key));
    // The answer comes in the end.
    let (sent, _) = bench.take(&answer(&invite, 200, "t", &[]));
    assert_eq!(methods(&sent), ["ACK", "BYE"]);
    assert_eq!(bench.told.len(), 1);
    bench.is_idle();
}

#[test]
fn transfers_are_asked_for_one_at_a_time_and_do_not_end_the_call() {
    let mut bench = bench();
    let (key, to) = up(&mut bench, "");
    let refer = |number: u32| ask("REFER", &number.to_string(), number, &to, "Refer-To: <sip:1@realm>\n");
    assert_eq!(bench.status(&refer(2)), 202);
    for number in 3..100 {
        assert_eq!(bench.status(&refer(number)), 491);
    }
    assert_eq!(std::mem::take(&mut bench.told).len(), 1);
    bench.agent.tell_transfer(bench.now, key, 100);
    let notify = bench.outcome().0.remove(0);
    bench.take(&Message::response(&notify, 481, "X").to_bytes());
    assert!(bench.told.is_empty(), "the call goes on");
    bench.agent.tell_transfer(bench.now, key, 200);
    assert!(bench.outcome().0.is_empty(), "nobody wants to know");
    assert_eq!(bench.status(&refer(100)), 202);
    bench.agent.tell_transfer(bench.now, key, 200);
    bench.outcome();
    bench.pass(Duration::from_secs(40));
    assert!(matches!(bench.told[..], [Event::Transfer { .. }]), "{:?}", bench.told);
    assert_eq!(bench.status(&ask("BYE", "b", 999, &to, "")), 200);
    bench.is_idle();
}

#[test]
fn what_a_peer_is_called_becomes_no_header() {
    for (place, evil) in [
        ("sip:1001@realm", "sip:1001@realm?Route=%0D%0AX:%20y"),
        ("<sip:1001@realm>", "\"a\\\r\"<sip:1001@realm;x=\u{b}X: y>"),
        ("<sip:1001@realm>", "\"a\u{85}X: y\" <sip:1%0D%0A001@realm>"),
        (
            &*format!("<sip:1001@{PEER}>"),
            "<sip:1001@203.0.113.9:5070;x=%0D%0AX?Evil=1>",
        ),
    ] {
        let mut bench = bench();
        let invite = ask("INVITE", "i", 1, "", &body("")).replace(place, evil);
        let (_, calls) = bench.take(invite.replace('\n', "\r\n").as_bytes());
        let Some(called) = calls.first() else { continue };
        bench.agent.answer(bench.now, called.leg, "v=0");
        let to = format!(";tag={}", bench.outcome().0[0].to_tag().unwrap());
        bench.say(&ask("ACK", "a", 1, &to, "").replace(place, evil));
        bench.agent.hang_up(bench.now, called.leg, 487, None);
        let (_, bytes) = bench.agent.poll_send().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let names: Vec<&str> = text
            .lines()
            .skip(1)
            .filter(|line| !line.is_empty())
            .filter_map(|line| line.split(':').next())
            .collect();
        let expected = [
            "Via",
            "Max-Forwards",
            "From",
            "To",
            "Call-ID",
            "CSeq",
            "User-Agent",
            "Content-Length",
        ];
        assert_eq!(names, expected, "{text}");
        assert!(!text.contains("Evil"), "{text}");
        assert!(Message::parse(text.as_bytes()).is_ok(), "{text}");
        bench.is_idle();
    }
}

#[test]
fn registrations_are_bounded_and_whole() {
    let mut bench = bench();
    let mut number = 0;
    let mut register = |bench: &mut Bench, contacts: &[String], more: &str| {
        number += 1;
        let contacts: String = contacts.iter().map(|contact| format!("Contact: {contact}\n")).collect();
        let text = format!(
            "REGISTER sip:realm SIP/2.0\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{number};rport\nFrom: <sip:1001@realm>;tag=1\n\
             To: <sip:1001@realm>\nCall-ID: r\nCSeq: {number} REGISTER\n{contacts}{more}\n"
        );
        bench.status(&text)
    };
    let contacts = |from: usize, to: usize| -> Vec<String> {
        (from..to)
            .map(|number| format!("<sip:1001@203.0.113.9:{}>", 6000 + number))
            .collect()
    };
    let some = BINDINGS_PER_USER_MAX - 2;
    for (contacts, more, status) in [
        (contacts(0, 64), "", 403),
        (contacts(0, 120), "", 403),
        (contacts(0, some), "", 200),
        // All or nothing.
        (contacts(some, some + 3), "", 403),
        (contacts(0, some), "", 200),
        (vec![format!("<sip:{}@b>", "x".repeat(2048))], "", 400),
        (vec!["<sip:1001@b".to_owned()], "", 400),
        (vec!["*".to_owned(), "<sip:a@b>".to_owned()], "Expires: 0\n", 400),
        (
            contacts(some, some + 1),
            &format!("Path: {}\n", "<sip:p;lr>,".repeat(17)),
            400,
        ),
        (
            contacts(some, some + 1),
            &format!("Path: <sip:{};lr>\n", "p".repeat(5000)),
            400,
        ),
        (
            contacts(some, some + 2),
            &format!("Path: {}\n", "<sip:p;lr>,".repeat(16)),
            200,
        ),
        (contacts(99, 100), "", 403),
        // The same, gone and there.
        (
            vec![
                "<sip:1001@203.0.113.9:6000>;expires=0".to_owned(),
                "<sip:1001@203.0.113.9:6000>".to_owned(),
            ],
            "",
            200,
        ),
    ] {
        assert_eq!(register(&mut bench, &contacts, more), status, "{contacts:?}");
        let count = bench.agent.bindings().count();
        assert_eq!(bench.house.bindings.len(), count);
        assert!(count == 0 || count == some || count == some + 2, "{count}");
    }
    assert_eq!(register(&mut bench, &["*".to_owned()], "Expires: 0\n"), 200);
    assert!(bench.house.bindings.is_empty());
    assert_eq!(
        bench.agent.poll_timeout().map(|due| due - bench.now),
        Some(Duration::from_secs(32))
    );
    bench.is_idle();
}

#[test]
fn contacts_go_with_their_connection_and_no_others() {
    let mut bench = bench();
    for connection in 1..=3 {
        let flow = Flow {
            transport: Transport::Tcp,
            peer: PEER.parse().unwrap(),
            connection,
        };
        for number in 0..2 {
            let text = format!(
                "REGISTER sip:realm SIP/2.0\r\nVia: SIP/2.0/TCP {PEER};branch=z9hG4bK{connection}{number}\r\n\
                 From: <sip:{number}@realm>;tag=1\r\nTo: <sip:{number}@realm>\r\nCall-ID: r{connection}{number}\r\n\
                 CSeq: 1 REGISTER\r\nContact: <sip:{number}@10.0.0.{connection}>\r\n\r\n"
            );
            bench.agent.receive(bench.now, flow, text.as_bytes(), &mut bench.house);
            bench.agent.check().unwrap();
        }
    }
    for (connection, left) in [(2, 4), (2, 4), (0, 4), (9, 4), (3, 2), (1, 0)] {
        bench.agent.connection_closed(connection, &mut bench.house);
        bench.agent.check().unwrap();
        assert_eq!((bench.agent.counts().1, bench.house.bindings.len()), (left, left));
    }
    bench.is_idle();
}

#[test]
fn routes_that_are_too_long_are_not_taken() {
    let mut bench = bench();
    let route = format!("Record-Route: {}\n", "<sip:203.0.113.9;lr>,".repeat(17));
    assert_eq!(bench.status(&ask("INVITE", "i", 1, "", &body(&route))), 400);
    bench.agent.check_idle().unwrap();
    // Of an answer the call goes on, on the way that it came.
    let (key, invite) = call(&mut bench);
    let route = "<sip:203.0.113.9;lr>,".repeat(17);
    let (sent, _) = bench.take(&answer(&invite, 200, "t", &[("Record-Route", &route)]));
    assert_eq!((methods(&sent), sent[0].get("Route")), (vec!["ACK"], None));
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}

#[test]
fn a_longer_interval_is_asked_for_once() {
    let mut bench = bench();
    let (key, mut invite) = call(&mut bench);
    for (least, is_followed) in [("3600", true), ("3601", false)] {
        let (sent, _) = bench.take(&answer(&invite, 422, "t", &[("Min-SE", least)]));
        assert_eq!(methods(&sent).contains(&"INVITE"), is_followed);
        invite = sent.last().unwrap().clone();
    }
    assert!(matches!(bench.told[..], [Event::Ended { leg, .. }] if leg == key));
    bench.is_idle();
}

#[test]
fn a_refresh_that_fails_is_tried_again_and_stays_a_refresh() {
    let mut bench = bench();
    let (key, invite) = call(&mut bench);
    let more = [("Session-Expires", "1800;refresher=uac"), ("Allow", "UPDATE")];
    bench.take(&answer(&invite, 200, "t", &more));
    bench.told.clear();
    let refresh = |bench: &mut Bench, span: u64, status: u16, more: &[(&str, &str)]| {
        let sent = bench.pass(Duration::from_secs(span));
        assert_eq!(methods(&sent), ["UPDATE"], "after {span} s");
        let mut response = Message::response(&sent[0], status, "X");
        for (name, value) in more {
            response.push(name, value);
        }
        let (sent, _) = bench.take(&response.to_bytes());
        assert!(bench.told.is_empty(), "{:?}", bench.told);
        sent
    };
    refresh(&mut bench, 900, 491, &[]);
    refresh(&mut bench, 225, 500, &[]);
    // 422 is answered at once, and who refreshes stays the same.
    let again = refresh(&mut bench, 225, 422, &[("Min-SE", "3600")]);
    assert_eq!(methods(&again), ["UPDATE"]);
    assert_eq!(again[0].get("Session-Expires"), Some("3600;refresher=uac"));
    let (sent, _) = bench.take(&answer(
        &again[0],
        200,
        "t",
        &[("Session-Expires", "3600;refresher=uac")],
    ));
    assert!(sent.is_empty(), "an UPDATE has no ACK: {sent:?}");
    refresh(&mut bench, 1800, 200, &[("Session-Expires", "3600;refresher=uac")]);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}

#[test]
fn a_refresh_that_is_asked_for_a_password_stays_an_update() {
    let mut bench = bench();
    let secret = crate::digest::Secret::Password("secret".to_owned());
    bench.agent.set_account(1, "1002", secret);
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
        account: Some(1),
        max_forwards: None,
    };
    let key = bench.agent.call(bench.now, call).unwrap();
    let invite = bench.outcome().0.remove(0);
    let more = [("Session-Expires", "1800;refresher=uac"), ("Allow", "UPDATE")];
    bench.take(&answer(&invite, 200, "t", &more));
    bench.told.clear();
    let update = bench.pass(Duration::from_secs(900)).remove(0);
    let challenge = "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\", algorithm=MD5";
    let mut asked = Message::response(&update, 407, "X");
    asked.push("Proxy-Authenticate", challenge);
    let (sent, _) = bench.take(&asked.to_bytes());
    assert_eq!(methods(&sent), ["UPDATE"]);
    assert!(sent[0].get("Proxy-Authorization").is_some());
    let (sent, _) = bench.take(&answer(
        &sent[0],
        200,
        "t",
        &[("Session-Expires", "1800;refresher=uac")],
    ));
    assert!(sent.is_empty(), "{sent:?}");
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}
