use super::times::T1X64;
use std::time::Duration;

use super::*;
use crate::flow::Transport;

const PEER: &str = "192.0.2.9:5070";

fn flow() -> Flow {
    Flow::datagrams(PEER.parse().unwrap())
}

fn message(text: &str) -> Message {
    Message::parse(text.replace('\n', "\r\n").as_bytes()).unwrap()
}

fn request(method: &str, branch: &str, via: &str) -> Message {
    message(&format!(
        "{method} sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP {via};branch={branch}\nFrom: <sip:a@b>;tag=1\nTo: <sip:c@d>\n\
         Call-ID: x\nCSeq: 1 {method}\n\n"
    ))
}

fn sent(transactions: &mut Transactions) -> Vec<String> {
    std::iter::from_fn(|| transactions.poll_send())
        .map(|(_, bytes)| {
            String::from_utf8_lossy(&bytes)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

/// Lets time pass, and says what is sent when.
fn run(transactions: &mut Transactions, now: &mut Instant, span: Duration) -> Vec<u128> {
    let (begin, end) = (*now, *now + span);
    let mut times = Vec::new();
    while let Some(at) = transactions.poll_timeout().filter(|at| *at <= end) {
        *now = at;
        transactions.handle_timeout(at);
        transactions.check().unwrap();
        times.extend(sent(transactions).iter().map(|_| (at - begin).as_millis()));
    }
    *now = end;
    times
}

fn take(transactions: &mut Transactions, now: Instant, message: Message) -> Received {
    take_from(transactions, now, PEER, message)
}

fn take_from(transactions: &mut Transactions, now: Instant, peer: &str, message: Message) -> Received {
    let received = transactions.receive(now, Flow::datagrams(peer.parse().unwrap()), message);
    transactions.check().unwrap();
    received
}

fn open(transactions: &mut Transactions, now: Instant, message: Message) -> (ServerId, Box<Message>) {
    match take(transactions, now, message) {
        Received::Request(id, message) => (id, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_go_where_the_request_came_from() {
    let mut transactions = Transactions::default();
    let now = Instant::now();
    let (id, _) = open(&mut transactions, now, request("OPTIONS", "z9hG4bK1", "192.0.2.9:5062"));
    assert_eq!(transactions.reply_flow(id).unwrap().peer.port(), 5062, "section 18.2.2");
    let (id, told) = open(
        &mut transactions,
        now,
        request("OPTIONS", "z9hG4bK2", "192.0.2.9:5062;rport"),
    );
    assert_eq!(transactions.reply_flow(id).unwrap().peer.port(), 5070, "RFC 3581");
    assert_eq!(told.via().unwrap().parameters.value("rport"), Some("5070"));
    let (id, told) = open(&mut transactions, now, request("OPTIONS", "z9hG4bK3", "10.0.0.1:5062"));
    assert_eq!(transactions.reply_flow(id).unwrap(), flow(), "behind a translator");
    assert_eq!(told.via().unwrap().parameters.value("received"), Some("192.0.2.9"));
}

#[test]
fn hops_behind_the_first_stay_as_they_came() {
    let mut transactions = Transactions::default();
    let hops = format!("a;branch=z9hG4bK1{}", " ,SIP/2.0/UDP b;x=\",;\"".repeat(100));
    let text = format!(
        "OPTIONS sip:a SIP/2.0\nVia: SIP/2.0/UDP {hops}\nVia: SIP / 2.0/TLS c\nFrom: <sip:a@b>;tag=1\nTo: <sip:c@d>\n\
         Call-ID: x\nCSeq: 1 OPTIONS\n\n"
    );
    let (_, told) = open(&mut transactions, Instant::now(), message(&text));
    let expected = hops.replacen("z9hG4bK1", "z9hG4bK1;received=192.0.2.9", 1);
    assert_eq!(told.get("Via"), Some(&*format!("SIP/2.0/UDP {expected}")));
    assert_eq!(told.all("Via").nth(1), Some("SIP / 2.0/TLS c"));
}

#[test]
fn what_comes_twice_is_answered_once_and_remembered() {
    let (mut transactions, mut now) = (Transactions::default(), Instant::now());
    let options = request("OPTIONS", "z9hG4bK1", PEER);
    let (id, told) = open(&mut transactions, now, options.clone());
    assert!(matches!(
        take(&mut transactions, now, options.clone()),
        Received::Nothing
    ));
    assert!(sent(&mut transactions).is_empty(), "there is no answer yet");
    transactions.respond(now, id, &Message::response(&told, 200, "OK"));
    transactions.respond(now, id, &Message::response(&told, 500, "Late"));
    assert!(matches!(take(&mut transactions, now, options), Received::Nothing));
    assert_eq!(sent(&mut transactions), ["SIP/2.0 200 OK"; 2]);
    assert!(run(&mut transactions, &mut now, T1X64).is_empty());
    assert_eq!(
        (
            transactions.count(),
            transactions.server_keys.len(),
            transactions.finished.len()
        ),
        (0, 0, 0)
    );
}

#[test]
fn an_answer_to_an_invite_is_repeated_until_it_is_acknowledged() {
    for (status, is_acknowledged) in [(486, true), (486, false), (200, true), (200, false)] {
        let (mut transactions, mut now) = (Transactions::default(), Instant::now());
        let (id, told) = open(&mut transactions, now, request("INVITE", "z9hG4bK1", PEER));
        transactions.respond(now, id, &Message::response(&told, 180, "Ringing"));
        transactions.respond(now, id, &Message::response(&told, status, "X"));
        assert_eq!(sent(&mut transactions).len(), 2);
        let times = run(&mut transactions, &mut now, Duration::from_secs(4));
        assert_eq!(times, [500, 1500, 3500]);
        if is_acknowledged {
            // The ACK of a 2xx has a branch of its own.
            let branch = if status == 200 { "z9hG4bK2" } else { "z9hG4bK1" };
            match (take(&mut transactions, now, request("ACK", branch, PEER)), status) {
                (Received::Ack(_), 200) => transactions.acknowledged(id),
                (Received::Nothing, 486) => {}
                other => panic!("{other:?}"),
            }
        }
        let times = run(&mut transactions, &mut now, T1X64);
        assert_eq!(times.is_empty(), is_acknowledged, "{status}: {times:?}");
        assert_eq!(
            transactions.poll_expired(),
            (!is_acknowledged).then_some(Expired::Response(id))
        );
        assert_eq!(transactions.count(), 0);
    }
}

#[test]
fn a_cancel_is_answered_and_told_while_its_invite_is_open() {
    let (mut transactions, now) = (Transactions::default(), Instant::now());
    take(&mut transactions, now, request("CANCEL", "z9hG4bK0", PEER));
    assert_eq!(sent(&mut transactions), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    let (id, told) = open(&mut transactions, now, request("INVITE", "z9hG4bK1", PEER));
    let cancel = request("CANCEL", "z9hG4bK1", PEER);
    assert!(matches!(take(&mut transactions, now, cancel.clone()), Received::Cancel(of) if of == id));
    assert!(matches!(take(&mut transactions, now, cancel), Received::Nothing));
    transactions.respond(now, id, &Message::response(&told, 487, "Request Terminated"));
    assert_eq!(
        sent(&mut transactions),
        ["SIP/2.0 200 OK", "SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    );
    // Report 3: after the 2xx it changes nothing.
    let (id, told) = open(&mut transactions, now, request("INVITE", "z9hG4bK2", PEER));
    transactions.respond(now, id, &Message::response(&told, 200, "OK"));
    let late = take(&mut transactions, now, request("CANCEL", "z9hG4bK2", PEER));
    assert!(matches!(late, Received::Nothing));
    assert_eq!(sent(&mut transactions), ["SIP/2.0 200 OK"; 2]);
}

#[test]
fn requests_are_repeated_until_an_answer_comes() {
    for (method, expected) in [
        ("INVITE", &[500, 1500, 3500, 7500, 15_500, 31_500][..]),
        (
            "OPTIONS",
            &[500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500][..],
        ),
    ] {
        let (mut transactions, mut now) = (Transactions::default(), Instant::now());
        let id = transactions
            .request(now, flow(), request(method, "z9hG4bK1", PEER))
            .unwrap();
        assert_eq!(sent(&mut transactions).len(), 1);
        assert_eq!(run(&mut transactions, &mut now, T1X64), expected);
        assert_eq!(transactions.poll_expired(), Some(Expired::Request(id, flow())));
        assert_eq!((transactions.count(), transactions.client_keys.len()), (0, 0));
    }
}

#[test]
fn final_answers_are_acknowledged_and_told_once_but_each_2xx_is_told() {
    let (mut transactions, mut now) = (Transactions::default(), Instant::now());
    let invite = request("INVITE", "z9hG4bK1", PEER);
    let answer = |status| Message::response(&invite, status, "X");
    let id = transactions.request(now, flow(), invite.clone()).unwrap();
    assert!(
        !transactions.cancel(now, id, None),
        "it may not be cancelled before it is answered"
    );
    assert!(matches!(
        take(&mut transactions, now, answer(180)),
        Received::Response(..)
    ));
    assert!(run(&mut transactions, &mut now, Duration::from_secs(100)).is_empty());
    sent(&mut transactions);
    assert!(transactions.cancel(now, id, None));
    assert!(!transactions.cancel(now, id, None));
    assert_eq!(sent(&mut transactions), ["CANCEL sip:1002@192.0.2.1 SIP/2.0"]);
    assert!(matches!(
        take(&mut transactions, now, answer(487)),
        Received::Response(..)
    ));
    assert!(matches!(take(&mut transactions, now, answer(487)), Received::Nothing));
    assert_eq!(sent(&mut transactions), ["ACK sip:1002@192.0.2.1 SIP/2.0"; 2]);
    // Report 2: the 2xx crosses the CANCEL.
    let other = request("INVITE", "z9hG4bK2", PEER);
    let id = transactions.request(now, flow(), other.clone()).unwrap();
    take(&mut transactions, now, Message::response(&other, 180, "X"));
    transactions.cancel(now, id, None);
    for _ in 0..2 {
        let answered = take(&mut transactions, now, Message::response(&other, 200, "OK"));
        assert!(matches!(answered, Received::Response(of, _) if of == id));
    }
    run(&mut transactions, &mut now, T1X64 * 2);
    assert_eq!(transactions.count(), 0);
}

#[test]
fn an_invite_that_rings_for_too_long_is_cancelled_and_then_over() {
    let (mut transactions, mut now) = (Transactions::default(), Instant::now());
    let invite = request("INVITE", "z9hG4bK1", PEER);
    let id = transactions.request(now, flow(), invite.clone()).unwrap();
    take(&mut transactions, now, Message::response(&invite, 180, "X"));
    sent(&mut transactions);
    now += Duration::from_secs(185);
    transactions.handle_timeout(now);
    transactions.check().unwrap();
    assert_eq!(sent(&mut transactions), ["CANCEL sip:1002@192.0.2.1 SIP/2.0"]);
    assert_eq!(transactions.poll_expired(), Some(Expired::Cancelled(id)));
    run(&mut transactions, &mut now, T1X64);
    let over: Vec<Expired> = std::iter::from_fn(|| transactions.poll_expired()).collect();
    assert!(over.contains(&Expired::Request(id, flow())), "{over:?}");
    assert_eq!(transactions.count(), 0);
}

#[test]
fn what_was_answered_is_not_waited_for() {
    let (mut transactions, mut now) = (Transactions::default(), Instant::now());
    for number in 0..500 {
        let invite = request("INVITE", &format!("z9hG4bK{number}"), PEER);
        transactions.request(now, flow(), invite.clone()).unwrap();
        assert_eq!(transactions.open(), 1);
        take(&mut transactions, now, Message::response(&invite, 200, "OK"));
        assert_eq!((transactions.open(), transactions.count()), (0, number + 1));
    }
    run(&mut transactions, &mut now, T1X64);
    assert_eq!((transactions.open(), transactions.count()), (0, 0));
}

#[test]
fn who_is_elsewhere_neither_cancels_nor_confirms_nor_repeats() {
    const OTHER: &str = "192.0.2.66:5070";
    let (mut transactions, mut now) = (Transactions::default(), Instant::now());
    let invite = request("INVITE", "z9hG4bK1", PEER);
    let (id, told) = open(&mut transactions, now, invite.clone());
    transactions.respond(now, id, &Message::response(&told, 180, "Ringing"));
    sent(&mut transactions);
    let cancel = request("CANCEL", "z9hG4bK1", PEER);
    assert!(matches!(
        take_from(&mut transactions, now, OTHER, cancel.clone()),
        Received::Nothing
    ));
    assert_eq!(sent(&mut transactions), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert_eq!(transactions.count(), 1, "nothing is kept of it");
    transactions.respond(now, id, &Message::response(&told, 486, "Busy Here"));
    sent(&mut transactions);
    let ack = request("ACK", "z9hG4bK1", PEER);
    assert!(matches!(
        take_from(&mut transactions, now, OTHER, ack.clone()),
        Received::Ack(_)
    ));
    assert_eq!(run(&mut transactions, &mut now, Duration::from_secs(2)), [500, 1500]);
    // From the same host, by another port, all of it goes.
    assert!(matches!(
        take_from(&mut transactions, now, "192.0.2.9:6", ack),
        Received::Nothing
    ));
    assert!(run(&mut transactions, &mut now, T1X64).is_empty());
    assert_eq!(transactions.count(), 0);
}

#[test]
fn an_answer_is_one_to_the_request_that_has_its_branch() {
    let (mut transactions, now) = (Transactions::default(), Instant::now());
    let options = request("OPTIONS", "z9hG4bK1", PEER);
    let id = transactions.request(now, flow(), options.clone()).unwrap();
    for (name, value) in [("Call-ID", "y"), ("CSeq", "2 OPTIONS"), ("From", "<sip:a@b>;tag=2")] {
        let mut other = Message::response(&options, 200, "OK");
        other.set(name, value);
        assert!(matches!(take(&mut transactions, now, other), Received::Nothing));
    }
    // From wherever it comes.
    let answer = Message::response(&options, 200, "OK");
    let taken = take_from(&mut transactions, now, "198.51.100.1:9", answer);
    assert!(matches!(taken, Received::Response(of, _) if of == id));
}

#[test]
fn what_is_answered_once_is_forgotten_and_answered_again() {
    let (mut transactions, now) = (Transactions::default(), Instant::now());
    for _ in 0..2 {
        let (id, told) = open(&mut transactions, now, request("INVITE", "z9hG4bK1", PEER));
        transactions.answer_once(id, &Message::response(&told, 407, "X"));
        assert_eq!(sent(&mut transactions), ["SIP/2.0 407 X"]);
        assert_eq!((transactions.count(), transactions.open()), (0, 0));
        assert_eq!(transactions.poll_timeout(), None);
    }
}

#[test]
fn what_ends_in_another_order_leaves_nothing_behind() {
    let (mut transactions, mut now) = (Transactions::default(), Instant::now());
    // Those that are confirmed end long before those that were answered before them.
    for number in 0..300 {
        let branch = format!("z9hG4bK{number}");
        let (id, told) = open(&mut transactions, now, request("OPTIONS", &branch, PEER));
        transactions.respond(now, id, &Message::response(&told, 200, "OK"));
    }
    for number in 0..300 {
        let branch = format!("z9hG4bKi{number}");
        let (id, told) = open(&mut transactions, now, request("INVITE", &branch, PEER));
        transactions.respond(now, id, &Message::response(&told, 486, "X"));
        take(&mut transactions, now, request("ACK", &branch, PEER));
    }
    assert_eq!((transactions.count(), transactions.open()), (600, 0));
    run(&mut transactions, &mut now, Duration::from_secs(6));
    assert_eq!((transactions.count(), transactions.finished.len()), (300, 300));
    run(&mut transactions, &mut now, T1X64);
    assert_eq!((transactions.count(), transactions.finished.len()), (0, 0));
}

#[test]
fn the_table_is_bounded() {
    let (mut transactions, now) = (Transactions::default(), Instant::now());
    let ask = |transactions: &mut Transactions, method: &str, branch: &str| {
        transactions.receive(now, flow(), request(method, branch, PEER))
    };
    // One whose ACK is waited for does not make room: somebody wants to know what becomes of it.
    let Received::Request(invite, told) = ask(&mut transactions, "INVITE", "z9hG4bKi") else {
        panic!("it is new");
    };
    transactions.respond(now, invite, &Message::response(&told, 200, "OK"));
    for number in 1..SERVER_TRANSACTIONS_MAX {
        let Received::Request(id, told) = ask(&mut transactions, "OPTIONS", &format!("z9hG4bK{number}")) else {
            panic!("it is new");
        };
        if number < 3 {
            transactions.respond(now, id, &Message::response(&told, 200, "OK"));
        }
    }
    sent(&mut transactions);
    for number in 0..2 {
        let branch = format!("z9hG4bKx{number}");
        assert!(matches!(
            ask(&mut transactions, "OPTIONS", &branch),
            Received::Request(..)
        ));
    }
    assert!(matches!(
        take(&mut transactions, now, request("OPTIONS", "z9hG4bKy", PEER)),
        Received::Nothing
    ));
    transactions.acknowledged(invite);
    assert!(matches!(
        ask(&mut transactions, "OPTIONS", "z9hG4bKz"),
        Received::Request(..)
    ));
    transactions.check().unwrap();
    assert_eq!(sent(&mut transactions), ["SIP/2.0 503 Service Unavailable"]);
    assert_eq!(transactions.count(), SERVER_TRANSACTIONS_MAX);
}

/// What is sent, whole, and by what.
fn gone(transactions: &mut Transactions) -> Vec<(Transport, String)> {
    std::iter::from_fn(|| transactions.poll_send())
        .map(|(flow, bytes)| {
            assert_eq!((flow.peer, flow.connection), (self::flow().peer, 0));
            (flow.transport, String::from_utf8(bytes.to_vec()).unwrap())
        })
        .collect()
}

/// A request of so many bytes.
fn of_bytes(method: &str, branch: &str, bytes: usize) -> Message {
    let mut message = request(method, branch, "192.0.2.1:5060");
    // The length of the body has four digits in any case.
    message.set_body("text/plain", vec![b'a'; 1000]);
    let rest = bytes - message.to_bytes().len();
    message.set_body("text/plain", vec![b'a'; 1000 + rest]);
    assert_eq!(message.to_bytes().len(), bytes);
    message
}

#[test]
fn what_is_too_long_for_a_datagram_goes_by_tcp_with_all_that_belongs_to_it() {
    let (mut transactions, mut now) = (streaming(), Instant::now());
    transactions
        .request(now, flow(), of_bytes("INVITE", "z9hG4bK1", 1300))
        .unwrap();
    assert_eq!(gone(&mut transactions)[0].0, Transport::Udp, "section 18.1.1");
    let id = transactions
        .request(now, flow(), of_bytes("INVITE", "z9hG4bK2", 1301))
        .unwrap();
    let sent = gone(&mut transactions);
    assert!(
        sent[0].0 == Transport::Tcp
            && sent[0]
                .1
                .contains("Via: SIP/2.0/TCP 192.0.2.1:5070;branch=z9hG4bK2\r\n"),
        "answers come to our port of TCP, section 18.2.2"
    );
    assert_eq!(transactions.flow_of(id), Some(flow()), "the peer is who it was");
    let invite = transactions.sent(id).unwrap().clone();
    take(&mut transactions, now, Message::response(&invite, 180, "Ringing"));
    // It was answered: it is not said as a datagram, and not said again.
    let later = run(&mut transactions, &mut now, Duration::from_secs(20));
    assert!(
        gone(&mut transactions)
            .iter()
            .all(|(transport, _)| *transport == Transport::Udp),
        "{later:?}"
    );
    assert!(transactions.cancel(now, id, None));
    let cancel = gone(&mut transactions).remove(0);
    assert!(cancel.0 == Transport::Tcp && cancel.1.starts_with("CANCEL ") && cancel.1.contains(VIA));
    take(
        &mut transactions,
        now,
        Message::response(&invite, 487, "Request Terminated"),
    );
    let ack = gone(&mut transactions).remove(0);
    assert!(ack.0 == Transport::Tcp && ack.1.starts_with("ACK ") && ack.1.contains(VIA));
}

/// Of what goes by a stream.
const VIA: &str = "Via: SIP/2.0/TCP 192.0.2.1:5070;branch=z9hG4bK2\r\n";

#[test]
fn what_there_is_no_place_for_on_streams_goes_as_a_datagram_and_the_next_is_tried_again() {
    let (mut transactions, now) = (streaming(), Instant::now());
    let long = |branch: &str| of_bytes("OPTIONS", branch, 1500);
    transactions.request(now, flow(), long("z9hG4bK1")).unwrap();
    assert_eq!(gone(&mut transactions)[0].0, Transport::Tcp);
    let way = Flow {
        transport: Transport::Tcp,
        ..flow()
    };
    assert!(transactions.is_for_length(way) && !transactions.is_for_length(flow()));
    assert!(
        !transactions.is_for_length(Flow { connection: 7, ..way }),
        "it is there"
    );
    transactions.leave_streams(now, flow().peer);
    assert_eq!(gone(&mut transactions)[0].0, Transport::Udp);
    transactions.request(now, flow(), long("z9hG4bK2")).unwrap();
    assert_eq!(
        gone(&mut transactions)[0].0,
        Transport::Tcp,
        "there may be a place by now"
    );
}

#[test]
fn who_takes_no_streams_has_a_datagram_at_once_and_for_an_hour() {
    let (mut transactions, mut now) = (streaming(), Instant::now());
    let long = |branch: &str| of_bytes("OPTIONS", branch, 1500);
    transactions.request(now, flow(), long("z9hG4bK1")).unwrap();
    assert_eq!(gone(&mut transactions)[0].0, Transport::Tcp);
    transactions.refuse_streams(now, flow().peer);
    transactions.refuse_streams(now, flow().peer);
    let sent = gone(&mut transactions);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].0 == Transport::Udp && sent[0].1.contains("Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"));
    // It is lost, and said again.
    assert_eq!(
        run(&mut transactions, &mut now, Duration::from_millis(1600)),
        [500, 1500]
    );
    for (branch, after, transport) in [
        ("z9hG4bK2", Duration::ZERO, Transport::Udp),
        ("z9hG4bK3", Duration::from_secs(3600), Transport::Tcp),
    ] {
        now += after;
        transactions.request(now, flow(), long(branch)).unwrap();
        assert_eq!(gone(&mut transactions).pop().unwrap().0, transport);
    }
    // A peer of streams never has datagrams.
    let stream = Flow {
        transport: Transport::Tls,
        ..flow()
    };
    transactions.request(now, stream, long("z9hG4bK4")).unwrap();
    assert_eq!(gone(&mut transactions).pop().unwrap().0, Transport::Tls);
}

#[test]
fn who_was_not_named_has_datagrams_of_any_length_and_a_slow_one_is_not_asked_twice() {
    let (mut transactions, mut now) = (Transactions::default(), Instant::now());
    let begin = now;
    let long = |branch: &str| of_bytes("OPTIONS", branch, 1500);
    transactions.request(now, flow(), long("z9hG4bK1")).unwrap();
    assert_eq!(gone(&mut transactions)[0].0, Transport::Udp);
    let mut transactions = streaming();
    transactions.request(now, flow(), long("z9hG4bK2")).unwrap();
    assert_eq!(gone(&mut transactions)[0].0, Transport::Tcp);
    // Nobody answers: it ends when it would have, and goes by no other way meanwhile.
    let over = run(&mut transactions, &mut now, T1X64 + T1X64);
    assert!(over.is_empty() && now > begin + T1X64, "{over:?}");
    assert_eq!(transactions.open(), 0);
}

/// To whose peer what is long may go by a stream.
fn streaming() -> Transactions {
    let mut transactions = Transactions::default();
    transactions.set_streamed([flow().peer].into(), "192.0.2.1:5070".parse().unwrap());
    transactions
}
