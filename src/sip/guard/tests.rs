//! Strangers, scanners, guessers and those who are known.

use super::*;
use crate::limits::{
    GUARD_BAN, GUARD_BURST, GUARD_FAILURES_MAX, GUARD_FAILURES_PERIOD, GUARD_KNOWN_FOR, GUARD_MESSAGE_BYTES_MAX,
    GUARD_MESSAGES_PER_SECOND, GUARD_TRANSACTIONS_BUSY,
};

const START: Duration = Duration::from_secs(1000);
const SECOND: Duration = Duration::from_secs(1);
const MESSAGE: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: phone\r\n\r\n";
const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nServer: phone\r\n\r\n";
const SCAN: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: Friendly-Scanner\r\n\r\n";

/// A guard and what time it is.
struct Edge {
    guard: Guard,
    now: Duration,
}

impl Edge {
    fn new() -> Self {
        Self {
            guard: Guard::new(Settings::default()),
            now: START,
        }
    }

    fn send(&mut self, peer: &str, message: &[u8]) -> Result<(), Reason> {
        self.guard.admit(self.now, address(peer), Transport::Udp, message)
    }

    fn scan(&mut self, peer: &str) -> Result<(), Reason> {
        self.guard.admit(self.now, address(peer), Transport::Tcp, SCAN)
    }

    fn passes(&mut self, peer: &str) -> bool {
        self.send(peer, MESSAGE).is_ok()
    }

    /// Fails so often. True: it is banned.
    fn fail(&mut self, peer: &str, count: u32) -> bool {
        let mut fail = || self.guard.told(self.now, address(peer), Outcome::WrongPassword);
        (0..count).filter(|_| fail()).count() > 0
    }

    fn succeed(&mut self, peer: &str) {
        assert!(!self.guard.told(self.now, address(peer), Outcome::Succeeded));
    }

    fn refused(&self, reason: Reason) -> u64 {
        let mut all = self.guard.refused();
        all.find(|(other, _)| *other == reason).unwrap().1
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const A: &str = "192.0.2.1:5060";
const A_OTHER_PORT: &str = "192.0.2.1:5070";
const NEIGHBOUR: &str = "192.0.2.2:5060";
const STRANGER: &str = "198.51.100.1:5060";

#[test]
fn a_source_has_a_burst_and_then_its_rate() {
    let mut edge = Edge::new();
    let burst = u64::from(GUARD_MESSAGES_PER_SECOND) * GUARD_BURST.as_secs();
    for index in 0..burst {
        let peer = if index % 2 == 0 { A } else { NEIGHBOUR };
        assert!(edge.passes(peer), "{index}");
    }
    assert_eq!(edge.send(A, MESSAGE), Err(Reason::TooOften));
    assert_eq!(edge.send(NEIGHBOUR, MESSAGE), Err(Reason::TooOften), "the same /24");
    assert!(edge.passes(STRANGER));
    assert_eq!(edge.refused(Reason::TooOften), 2);
    edge.now += SECOND;
    let passed = (0..1000).filter(|_| edge.passes(A)).count();
    assert_eq!(passed, usize::try_from(GUARD_MESSAGES_PER_SECOND).unwrap());
}

#[test]
fn a_site_of_ipv6_is_one_source() {
    let mut edge = Edge::new();
    while edge.passes("[2001:db8:0:ff01::1]:5060") {}
    assert!(!edge.passes("[2001:db8:0:ff02::2]:5060"));
    assert!(edge.passes("[2001:db8:0:fe00::1]:5060"));
}

#[test]
fn this_host_and_carriers_may_send_as_they_like() {
    let mut edge = Edge::new();
    edge.guard = Guard::new(Settings {
        trusted: vec![Network::parse("192.0.2.0/24").unwrap()],
        messages_per_second: 1,
        ..Settings::default()
    });
    assert!((0..1000).all(|_| edge.send(A, SCAN).is_ok()));
    assert!(!edge.fail(A, 1000) && edge.passes(A));
    let long = vec![0; GUARD_MESSAGE_BYTES_MAX + 1];
    assert_eq!(edge.send(A, &long), Err(Reason::MessageTooLong));
    let mut edge = Edge::new();
    assert!((0..10_000).all(|_| edge.passes("127.0.0.1:5060") && edge.passes("[::1]:5060")));
}

#[test]
fn who_is_trusted_by_name_has_a_large_bucket_of_its_own_and_no_ban() {
    let mut edge = Edge::new();
    edge.guard.trust([address(A).ip(), address(STRANGER).ip()]);
    assert!(!edge.fail(A, 1000));
    assert!(edge.scan(A).is_ok() && edge.scan(NEIGHBOUR).is_err());
    let burst = u64::from(GUARD_TRUSTED_MESSAGES_PER_SECOND) * GUARD_BURST.as_secs();
    let passed = (0..burst + 10).filter(|_| edge.passes(A)).count() as u64;
    assert_eq!(passed, burst - 1, "its address can be forged, too");
    assert!(edge.passes(STRANGER));
    edge.now += GUARD_BURST;
    assert!(edge.passes(A));
    // In the place of those before.
    edge.guard.trust([address("[::ffff:192.0.2.2]:1").ip()]);
    assert!(edge.fail(A, GUARD_FAILURES_MAX) && !edge.passes(A));
    assert!(edge.passes(NEIGHBOUR), "its ban does not count any more");
    let all = (0..=u32::try_from(GUARD_TRUSTED_MAX).unwrap()).map(|number| IpAddr::from(number.to_be_bytes()));
    edge.guard.trust(all);
    assert_eq!(edge.guard.trusted.len(), GUARD_TRUSTED_MAX);
}

#[test]
fn who_is_known_does_not_wait_for_its_neighbours_and_answers_are_counted_apart() {
    let mut edge = Edge::new();
    edge.succeed(A);
    while edge.passes(NEIGHBOUR) {}
    assert!(!edge.passes(A_OTHER_PORT) && edge.passes(A));
    // As many as many calls need, and no more.
    let answers = (0..1_000_000)
        .take_while(|_| edge.send(NEIGHBOUR, ANSWER).is_ok())
        .count() as u64;
    assert_eq!(answers, u64::from(GUARD_ANSWERS_PER_SECOND) * GUARD_BURST.as_secs());
    assert!(edge.passes(A) && edge.send(STRANGER, ANSWER).is_ok());
    let own = (0..1_000_000).take_while(|_| edge.passes(A)).count() as u64 + 2;
    assert_eq!(own, u64::from(GUARD_PEER_MESSAGES_PER_SECOND) * GUARD_BURST.as_secs());
}

#[test]
fn scanners_are_dropped_and_banned_where_they_are_who_they_say() {
    let mut edge = Edge::new();
    assert_eq!(edge.send(A, SCAN), Err(Reason::Scanner));
    assert!(edge.passes(A), "anybody may write its address on a datagram");
    assert_eq!(edge.scan(A), Err(Reason::Scanner));
    assert_eq!(edge.send(A_OTHER_PORT, MESSAGE), Err(Reason::Banned));
    assert!(edge.passes(NEIGHBOUR), "a neighbour in the /24 is another");
    edge.now += GUARD_BAN - SECOND;
    assert!(!edge.passes(A));
    edge.now += SECOND;
    assert!(edge.passes(A));
    assert_eq!((edge.refused(Reason::Scanner), edge.refused(Reason::Banned)), (2, 2));
}

#[test]
fn every_known_scanner_is_known_in_any_letter_case() {
    for word in SCANNERS {
        for agent in [word.to_uppercase(), format!("x/{word} 0.3")] {
            let message = format!("REGISTER sip:x SIP/2.0\r\nuser-agent : {agent}\r\n");
            assert_eq!(Edge::new().send(A, message.as_bytes()), Err(Reason::Scanner), "{agent}");
            let cut = message.trim_end();
            assert_eq!(Edge::new().send(A, cut.as_bytes()), Err(Reason::Scanner), "{agent}");
        }
        let elsewhere = format!("OPTIONS sip:x SIP/2.0\r\nSubject: {word}\r\n\r\nUser-Agent: {word}\r\n");
        assert!(Edge::new().send(A, elsewhere.as_bytes()).is_ok(), "{word}");
    }
    let mut guard = Guard::new(Settings {
        scanners: vec![String::new(), "phone".to_owned()],
        ..Settings::default()
    });
    assert!(guard.admit(START, address(A), Transport::Tcp, SCAN).is_ok());
    let refused = guard.admit(START, address(A), Transport::Tcp, MESSAGE);
    assert_eq!(refused, Err(Reason::Scanner));
}

#[test]
fn guessers_are_banned_for_a_time_and_then_forgiven() {
    let mut edge = Edge::new();
    assert!(!edge.fail(A, GUARD_FAILURES_MAX - 1));
    assert!(edge.passes(A));
    assert!(
        edge.guard.told(edge.now, address(A_OTHER_PORT), Outcome::UnknownUser),
        "the same address"
    );
    assert!(!edge.passes(A) && !edge.passes(A_OTHER_PORT) && edge.passes(NEIGHBOUR));
    assert_eq!(edge.guard.bans(edge.now).count(), 1);
    edge.now += GUARD_BAN;
    assert!(edge.passes(A));
    assert_eq!(edge.guard.bans(edge.now).count(), 0);
    assert!(!edge.fail(A, GUARD_FAILURES_MAX - 1), "the count begins anew");
}

#[test]
fn failures_are_forgotten_with_time() {
    let mut edge = Edge::new();
    for _ in 0..10 {
        assert!(!edge.fail(A, GUARD_FAILURES_MAX - 1));
        edge.now += GUARD_FAILURES_PERIOD;
    }
    assert!(edge.passes(A));
}

#[test]
fn operators_forgive_as_well() {
    let mut edge = Edge::new();
    assert!(edge.fail(A, GUARD_FAILURES_MAX) && !edge.passes(A));
    edge.guard.forgive(address(NEIGHBOUR).ip());
    assert!(!edge.passes(A));
    let ban = Ban {
        address: address(A).ip(),
        port: None,
        left: GUARD_BAN,
    };
    assert!(edge.guard.bans(edge.now).eq([ban]));
    edge.guard.forgive(ban.address);
    assert!(edge.passes(A));
}

#[test]
fn who_just_succeeded_is_never_banned() {
    let mut edge = Edge::new();
    edge.succeed(A);
    // Others at its address, or who write its address on what they send.
    assert!(edge.fail(A_OTHER_PORT, GUARD_FAILURES_MAX));
    assert!(!edge.passes(A_OTHER_PORT) && edge.passes(A));
    assert_eq!(edge.guard.bans(edge.now).next().unwrap().port, Some(5070));
    assert_eq!(edge.send(A, SCAN), Err(Reason::Scanner));
    assert!(edge.passes(A));
    assert!(
        edge.passes("192.0.2.1:5080"),
        "who was restarted behind the same address"
    );
    edge.guard.forgive(address(A).ip());
    assert!(edge.passes(A_OTHER_PORT));
}

#[test]
fn a_success_takes_no_failure_and_no_ban_back() {
    let mut edge = Edge::new();
    // Who has one password guesses others.
    for round in 1..GUARD_FAILURES_MAX {
        edge.succeed(A);
        assert!(!edge.fail(A, 1), "{round}");
    }
    edge.succeed(A);
    assert!(edge.fail(A, 1) && !edge.passes(A));
    edge.succeed(A);
    assert!(!edge.passes(A) && edge.passes(A_OTHER_PORT));
    edge.now += GUARD_BAN;
    assert!(edge.passes(A));
    // Nor where nobody is known.
    assert!(edge.fail(STRANGER, GUARD_FAILURES_MAX));
    edge.succeed(STRANGER);
    assert!(!edge.passes(STRANGER));
}

#[test]
fn a_success_protects_for_its_time_from_what_others_do() {
    let mut edge = Edge::new();
    edge.succeed(A);
    assert!(edge.fail(A_OTHER_PORT, GUARD_FAILURES_MAX) && edge.passes(A));
    assert!(edge.fail(A, GUARD_FAILURES_MAX) && !edge.passes(A));
    assert!(edge.passes("192.0.2.1:5080"));
    edge.now += GUARD_KNOWN_FOR;
    assert!(edge.fail(A, GUARD_FAILURES_MAX));
    assert!(!edge.passes("192.0.2.1:5080"), "nobody there is known any more");
}

#[test]
fn an_address_is_banned_for_very_many_failures_but_not_who_is_known_there() {
    let mut edge = Edge::new();
    edge.succeed(A);
    for port in 1..100 {
        assert!(!edge.fail(&format!("192.0.2.1:{port}"), 1), "{port}");
    }
    assert!(edge.passes("192.0.2.1:100"));
    assert!(edge.fail("192.0.2.1:100", 1));
    assert!(edge.passes(A) && !edge.passes(A_OTHER_PORT) && edge.passes(NEIGHBOUR));
    // Who has a password at such an address does not let guessers in by it.
    edge.succeed(A);
    assert!(!edge.passes(A_OTHER_PORT));
    edge.now += GUARD_BAN;
    assert!(edge.passes(A_OTHER_PORT));
}

#[test]
fn tables_are_bounded_and_the_oldest_goes() {
    let mut edge = Edge::new();
    edge.succeed(A);
    for index in 0..33_000_u32 {
        let peer = SocketAddr::new(IpAddr::from((0x0a00_0000 + index).to_be_bytes()), 5060);
        edge.guard.told(edge.now, peer, Outcome::UnknownUser);
        edge.guard
            .told(edge.now, SocketAddr::new(peer.ip(), 1), Outcome::Succeeded);
        edge.guard.told(edge.now, peer, Outcome::UnknownUser);
        let scan = edge.guard.admit(edge.now, peer, Transport::Tcp, SCAN);
        assert_eq!(scan, Err(Reason::Scanner));
        let _ = edge.guard.should_log(Reason::Scanner, peer, edge.now);
    }
    let guard = &edge.guard;
    assert_eq!(guard.failing.len(), GUARD_FAILING_MAX);
    assert_eq!(guard.known.len(), GUARD_KNOWN_MAX);
    assert_eq!(guard.banned.len(), GUARD_BANS_MAX);
    assert!(guard.buckets.len() <= GUARD_SOURCES_MAX);
    assert!(!guard.is_known(edge.now, Who::Peer(address(A))));
}

#[test]
fn no_peer_is_known_longer_than_its_address() {
    let mut edge = Edge::new();
    edge.succeed(A);
    for index in 1..GUARD_KNOWN_MAX / 2 {
        let address = u32::try_from(index).unwrap() + 0x0a00_0000;
        let peer = SocketAddr::new(IpAddr::from(address.to_be_bytes()), 5060);
        edge.guard.told(edge.now, peer, Outcome::Succeeded);
    }
    let (site, peer) = (Who::site_of(address(A)), Who::Peer(address(A)));
    let is_known = |edge: &Edge| [peer, site].map(|who| edge.guard.is_known(edge.now, who));
    assert_eq!(is_known(&edge), [true, true]);
    // One place more is needed.
    edge.succeed("10.0.0.1:5070");
    assert_eq!(is_known(&edge), [false, true]);
}

#[test]
fn what_is_over_makes_room() {
    let mut edge = Edge::new();
    for index in 0..100_u8 {
        edge.now += GUARD_KNOWN_FOR;
        let peer = format!("10.0.0.{index}:5060");
        edge.fail(&peer, GUARD_FAILURES_MAX + 1);
        edge.succeed(&format!("10.1.0.{index}:5060"));
    }
    let guard = &edge.guard;
    assert_eq!((guard.failing.len(), guard.banned.len(), guard.known.len()), (2, 1, 2));
}

#[test]
fn streams_are_measured_while_they_are_read() {
    let mut guard = Guard::new(Settings::default());
    for end in 0..MESSAGE.len() {
        assert_eq!(guard.measure(Transport::Tcp, &MESSAGE[..end]), Ok(None), "{end}");
    }
    assert_eq!(guard.measure(Transport::Tcp, MESSAGE), Ok(Some(MESSAGE.len())));
    let endless = [b'x'; 20_000];
    assert_eq!(guard.measure(Transport::Tls, &endless), Err(Reason::HeaderTooLong));
    assert!(guard.refused().any(|refused| refused == (Reason::HeaderTooLong, 1)));
}

#[test]
fn refusals_for_want_of_room_are_counted() {
    let mut edge = Edge::new();
    let mut weigh = |transactions| {
        let load = Load {
            transactions,
            ..Load::default()
        };
        edge.guard.weigh(Traffic::Invite, load, 3)
    };
    assert_eq!(weigh(0), Verdict::Accept);
    assert_eq!(
        weigh(GUARD_TRANSACTIONS_BUSY),
        Verdict::Unavailable { retry_after_s: 8 }
    );
    assert_eq!(weigh(40_000), Verdict::Drop);
    assert_eq!((edge.refused(Reason::Busy), edge.refused(Reason::Overloaded)), (1, 1));
    assert_eq!(edge.guard.refused().map(|(_, count)| count).sum::<u64>(), 2);
}

#[test]
fn addresses_in_either_form_are_one() {
    let mut edge = Edge::new();
    assert!(edge.fail("[::ffff:192.0.2.1]:5060", GUARD_FAILURES_MAX));
    assert!(!edge.passes(A));
    assert_eq!(edge.guard.should_log(Reason::Banned, address(A), edge.now), Some(0));
    let mapped = address("[::ffff:192.0.2.1]:1");
    assert_eq!(edge.guard.should_log(Reason::Banned, mapped, edge.now), None);
}
