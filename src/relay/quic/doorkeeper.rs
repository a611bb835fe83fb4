//! What strangers may cost: bounds on the answers they are sent, on the connections they begin, and on the bytes that
//! go to an address nobody has proven to be at. Pure: time is an argument.
//!
//! Nothing here grows: attempts are counted in a table of fixed size, where two prefixes may share a place.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::ratelimit::{Bucket, PrefixBuckets};

/// What a shard answers to packets of no connection, and which of them may begin one.
pub(super) struct Doorkeeper {
    /// Stateless resets and version negotiations.
    answers: Bucket,
    retries: Bucket,
    /// Attempts from unproven addresses that came to nothing.
    failures: Bucket,
    attempts: PrefixBuckets,
    /// Connections that begin though there is too much to do.
    told: Bucket,
    /// The same of each prefix.
    told_each: PrefixBuckets,
}

impl Doorkeeper {
    pub(super) fn new(attempts_per_second: u32, answers_per_second: u32, now: Instant) -> Self {
        Self {
            answers: Bucket::new(answers_per_second, answers_per_second.div_ceil(ANSWERS_BURST_PART)),
            retries: Bucket::new(RETRIES_PER_SECOND, RETRIES_BURST),
            failures: Bucket::new(FAILURES_PER_SECOND, FAILURES_BURST),
            attempts: PrefixBuckets::with_depth(attempts_per_second, ATTEMPTS_DEPTH, now),
            told: Bucket::new(TOLD_PER_SECOND, TOLD_PER_SECOND),
            told_each: PrefixBuckets::with_depth(TOLD_EACH_PER_SECOND, ATTEMPTS_DEPTH, now),
        }
    }

    /// Whether a stateless reset or a version negotiation may go out.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        self.answers.take(now)
    }

    /// Whether a Retry may go out.
    pub(super) fn may_retry(&mut self, now: Instant) -> bool {
        self.retries.take(now)
    }

    /// Whether an address may begin one more connection.
    pub(super) fn may_begin(&mut self, source: SocketAddr, now: Instant) -> bool {
        self.attempts.take(source.ip(), now)
    }

    /// Whether one more client of an address that was proven may begin though there is too much to do: to be told so, or to
    /// be let in.
    pub(super) fn may_be_told(&mut self, source: SocketAddr, now: Instant) -> bool {
        if !self.told_each.take(source.ip(), now) {
            return false;
        }
        let is_left = self.told.take(now);
        if !is_left {
            self.told_each.give_back(source.ip());
        }
        is_left
    }

    /// An attempt from an address that was not proven came to nothing.
    pub(super) fn on_failure(&mut self, now: Instant) {
        // Whether it was the last one allowed shows when the next attempt asks.
        let _ = self.failures.take(now);
    }

    /// So many attempts came to nothing that everybody has to prove an address first.
    pub(super) fn is_suspicious(&mut self, now: Instant) -> bool {
        self.failures.is_empty(now)
    }
}

/// An address that may not be the client's: it is sent three times what came from it at most (RFC 9000, section 8.1).
/// quiche keeps to this but for the padding of Initial packets that it sends again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unproven {
    received: u64,
    sent: u64,
}

impl Unproven {
    pub(super) fn on_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    pub(super) fn on_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// What may go out.
    pub(super) fn budget(&self) -> usize {
        let allowed = self.received.saturating_mul(AMPLIFICATION_MAX);
        usize::try_from(allowed.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }
}

/// The packets of a datagram of which all but the last have long headers: how many, and whether one is of the
/// handshake (RFC 9000, sections 12.2 and 17.2).
pub(super) fn look_at_packets(mut datagram: &[u8]) -> (usize, bool) {
    let mut packets = 0;
    let mut has_handshake = false;
    while let Some((first, after)) = datagram.split_first() {
        packets += 1;
        if first & LONG_HEADER == 0 {
            break;
        }
        has_handshake |= first & PACKET_TYPE == HANDSHAKE;
        let Some(rest) = skip_long(first & PACKET_TYPE == INITIAL, after) else {
            break;
        };
        datagram = rest;
    }
    (packets, has_handshake)
}

/// What follows a packet with a long header, of which the first byte is left out.
fn skip_long(has_token: bool, packet: &[u8]) -> Option<&[u8]> {
    let mut rest = packet.get(VERSION_BYTES..)?;
    for _ in 0..2 {
        let (length, after) = rest.split_first()?;
        rest = after.get(usize::from(*length)..)?;
    }
    if has_token {
        let (length, after) = varint(rest)?;
        rest = after.get(length..)?;
    }
    let (length, after) = varint(rest)?;
    after.get(length..)
}

fn varint(input: &[u8]) -> Option<(usize, &[u8])> {
    let first = *input.first()?;
    let (bytes, rest) = input.split_at_checked(1 << (first >> 6))?;
    let value = bytes[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((usize::try_from(value).ok()?, rest))
}

const LONG_HEADER: u8 = 0x80;
const PACKET_TYPE: u8 = 0x30;
const INITIAL: u8 = 0x00;
const HANDSHAKE: u8 = 0x20;
const VERSION_BYTES: usize = 4;

const AMPLIFICATION_MAX: u64 = 3;

/// Of what may be answered in a second this part may be at once. Further ones are left out and counted: whoever waits
/// for one asks again.
const ANSWERS_BURST_PART: u32 = 5;

/// Handshakes of a shard that has too much to do, and those of one prefix. Further first packets are dropped and counted.
const TOLD_PER_SECOND: u32 = 40;
const TOLD_EACH_PER_SECOND: u32 = 10;

/// Retries of one shard. Further first packets are dropped and counted; a client sends its own again.
const RETRIES_PER_SECOND: u32 = 5_000;
const RETRIES_BURST: u32 = 500;

/// Attempts from unproven addresses that may come to nothing before everybody has to prove an address.
const FAILURES_PER_SECOND: u32 = 100;
const FAILURES_BURST: u32 = 200;

/// One address may use up what it may begin in so long at once.
const ATTEMPTS_DEPTH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unproven_address_gets_three_times_what_it_sent() {
        let mut unproven = Unproven::default();
        assert_eq!(unproven.budget(), 0);
        unproven.on_received(1_200);
        assert_eq!(unproven.budget(), 3_600);
        unproven.on_sent(3_500);
        assert_eq!(unproven.budget(), 100);
        unproven.on_sent(1_200);
        assert_eq!(unproven.budget(), 0);
        unproven.on_received(400);
        assert_eq!(unproven.budget(), 100);
    }

    #[test]
    fn one_prefix_uses_up_its_own_attempts_only() {
        let now = Instant::now();
        let mut doorkeeper = Doorkeeper::new(10, 500, now);
        let one: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let begun = (0..50u16)
            .filter(|port| doorkeeper.may_begin(SocketAddr::new(one.ip(), 1_000 + port), now))
            .count();
        assert_eq!(begun, 10);
        // One place of 4,096 is used up: of a hundred others hardly any shares it.
        let others = (0..100u8)
            .filter(|last| doorkeeper.may_begin(SocketAddr::from(([198, 51, 100, *last], 1)), now))
            .count();
        assert!(others >= 98, "{others} of 100");
        assert!(doorkeeper.may_begin(one, now + Duration::from_secs(1)));
    }

    #[test]
    fn one_prefix_is_not_told_in_the_place_of_others() {
        let now = Instant::now();
        let mut doorkeeper = Doorkeeper::new(10, 500, now);
        let mut told = |last: u8| {
            let source = SocketAddr::from(([192, 0, 2, last], 1));
            (0..100).filter(|_| doorkeeper.may_be_told(source, now)).count()
        };
        assert_eq!(told(1), 10);
        // Hardly any of them shares its place.
        let others: usize = (2..9).map(&mut told).sum();
        assert!((20..=30).contains(&others), "{others}");
        assert!(doorkeeper.may_be_told(SocketAddr::from(([192, 0, 2, 1], 1)), now + Duration::from_secs(1)));
    }

    #[test]
    fn failures_make_it_suspicious_until_they_end() {
        let now = Instant::now();
        let mut doorkeeper = Doorkeeper::new(10, 500, now);
        for _ in 0..FAILURES_BURST {
            assert!(!doorkeeper.is_suspicious(now));
            doorkeeper.on_failure(now);
        }
        assert!(doorkeeper.is_suspicious(now));
        assert!(!doorkeeper.is_suspicious(now + Duration::from_millis(100)));
    }

    #[test]
    fn packets_of_a_datagram_are_told_apart() {
        // First byte, version, ids of 1 and 2 bytes, a token of 1 where there is one, a length of 3.
        let initial = [0xc3, 0, 0, 0, 1, 1, 9, 2, 9, 9, 1, 7, 3, 1, 2, 3];
        let handshake = [0xe3, 0, 0, 0, 1, 1, 9, 2, 9, 9, 3, 1, 2, 3];
        assert_eq!(look_at_packets(&initial), (1, false));
        let both = [&initial[..], &handshake[..]].concat();
        assert_eq!(look_at_packets(&both), (2, true));
        let three = [&both[..], &[0x40, 1, 2]].concat();
        assert_eq!(look_at_packets(&three), (3, true));
        assert_eq!(look_at_packets(&[0x40, 1, 2]), (1, false));
        for end in 0..three.len() {
            let (packets, _) = look_at_packets(&three[..end]);
            assert!(packets <= 3);
        }
        assert_eq!(look_at_packets(&[]), (0, false));
    }
}
