//! Where packets come from and go to. A peer behind an address translator says one address and sends from another, so the
//! address of its packets counts: for a moment, and from then on no other one's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The addresses of one peer. Times are on any clock that does not go back.
#[derive(Debug)]
pub struct Latch {
    /// What signalling says.
    told: Option<SocketAddr>,
    /// Where packets came from, and whether that is settled.
    heard: Option<SocketAddr>,
    /// Until when another address than `heard` may take its place.
    open_until: Duration,
    /// Whether the packets of another host than the told one count at all.
    may_be_elsewhere: bool,
    foreign: u64,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the peer's.
    Ours,
    /// It is the peer's, which sends from here from now on.
    Moved,
    /// It is somebody else's.
    Foreign,
}

impl Latch {
    /// A peer of which nothing is known yet: nothing of it counts.
    pub fn new() -> Self {
        Self {
            told: None,
            heard: None,
            open_until: Duration::ZERO,
            may_be_elsewhere: false,
            foreign: 0,
        }
    }

    /// Signalling says where the peer is. For a moment from now on its packets tell better.
    ///
    /// `is_translated`: it may be behind an address translator, so another host's packets count as well if they come
    /// before those of the told one. An address that only a private network has says so by itself.
    pub fn tell(&mut self, address: SocketAddr, is_translated: bool, now: Duration) {
        let is_new = self.told != Some(address);
        self.told = Some(address);
        self.may_be_elsewhere = is_translated || !is_public(address.ip());
        if is_new {
            self.heard = None;
        }
        self.open_until = now + WINDOW;
    }

    /// A datagram came from there, which looks as those of the peer should: only such ones may be told.
    pub fn judge(&mut self, from: SocketAddr, now: Duration) -> Verdict {
        if self.heard == Some(from) {
            return Verdict::Ours;
        }
        let is_told_host = self.told.is_some_and(|told| told.ip() == from.ip());
        let may_move = match self.heard {
            // The told host is believed however late it comes: a phone may be answered and say nothing for a while. Others
            // are not, or whoever sprays packets at all ports would have the calls in which the peer is silent.
            None => is_told_host || now < self.open_until,
            // From where the peer said, it is more likely the peer than from anywhere else: at any time if another host is
            // heard, for a moment if it is another port of the same.
            Some(heard) => {
                let is_another_host = self.told.is_some_and(|told| told.ip() != heard.ip());
                is_told_host && (is_another_host || (now < self.open_until && Some(heard) != self.told))
            }
        };
        if self.told.is_some() && may_move && (is_told_host || self.may_be_elsewhere) {
            self.heard = Some(from);
            return Verdict::Moved;
        }
        self.foreign += 1;
        Verdict::Foreign
    }

    /// Whether packets from there are the peer's as far as is settled. Nothing moves by it.
    pub fn knows(&self, from: SocketAddr) -> bool {
        self.destination() == Some(from)
    }

    /// Where to send.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.heard.or(self.told)
    }

    /// Datagrams of others so far.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether an address may be that of a host which everybody reaches.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && (v4.octets()[1] & 0b1100_0000) == 64;
            !(v4.is_private() || v4.is_link_local() || v4.is_unspecified() || is_shared)
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            !(v6.is_unspecified() || (first & 0xfe00) == 0xfc00 || (first & 0xffc0) == 0xfe80)
        }
    }
}

/// How long after signalling has told an address another one may take its place.
const WINDOW: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_counts_before_signalling_has_told_an_address() {
        let mut latch = Latch::new();
        assert_eq!(latch.judge(at("203.0.113.9:4000"), SECOND), Verdict::Foreign);
        assert_eq!((latch.destination(), latch.foreign()), (None, 1));
    }

    #[test]
    fn a_public_peer_may_send_from_another_port_and_nobody_else_may() {
        let mut latch = Latch::new();
        latch.tell(at("203.0.113.9:4000"), false, SECOND);
        assert_eq!(latch.destination(), Some(at("203.0.113.9:4000")));
        assert_eq!(latch.judge(at("198.51.100.1:4000"), SECOND), Verdict::Foreign);
        assert_eq!(latch.judge(at("203.0.113.9:5000"), 60 * SECOND), Verdict::Moved);
        assert_eq!(latch.judge(at("203.0.113.9:5000"), 61 * SECOND), Verdict::Ours);
        assert_eq!(latch.judge(at("203.0.113.9:6000"), 61 * SECOND), Verdict::Foreign);
        assert_eq!(latch.destination(), Some(at("203.0.113.9:5000")));
        assert!(latch.knows(at("203.0.113.9:5000")) && !latch.knows(at("203.0.113.9:4000")));
    }

    #[test]
    fn a_peer_behind_a_translator_is_where_its_first_packets_come_from() {
        let mut latch = Latch::new();
        latch.tell(at("192.168.1.7:4000"), false, SECOND);
        assert_eq!(latch.judge(at("198.51.100.1:6000"), SECOND), Verdict::Moved);
        // Whoever sprays packets later does not get the call.
        assert_eq!(latch.judge(at("198.51.100.66:6000"), SECOND), Verdict::Foreign);
        assert_eq!(latch.destination(), Some(at("198.51.100.1:6000")));
        // The told host itself may still come, in a moment.
        assert_eq!(latch.judge(at("192.168.1.7:4000"), 2 * SECOND), Verdict::Moved);
        assert_eq!(latch.judge(at("198.51.100.1:6000"), 2 * SECOND), Verdict::Foreign);
        // Whoever was first: the told host takes its call back, however late.
        let mut latch = Latch::new();
        latch.tell(at("192.168.1.7:4000"), false, SECOND);
        assert_eq!(latch.judge(at("198.51.100.66:6000"), SECOND), Verdict::Moved);
        assert_eq!(latch.judge(at("192.168.1.7:4000"), 60 * SECOND), Verdict::Moved);
        assert_eq!(latch.judge(at("198.51.100.66:6000"), 60 * SECOND), Verdict::Foreign);
        // Nor does who comes first, but late.
        let mut latch = Latch::new();
        latch.tell(at("192.168.1.7:4000"), false, SECOND);
        assert_eq!(latch.judge(at("198.51.100.66:6000"), 5 * SECOND), Verdict::Foreign);
    }

    #[test]
    fn another_address_by_signalling_opens_the_latch_again() {
        let mut latch = Latch::new();
        latch.tell(at("203.0.113.9:4000"), true, SECOND);
        assert_eq!(latch.judge(at("203.0.113.9:4000"), SECOND), Verdict::Moved);
        latch.tell(at("203.0.113.77:4000"), true, 100 * SECOND);
        assert_eq!(latch.destination(), Some(at("203.0.113.77:4000")));
        assert_eq!(latch.judge(at("203.0.113.77:4000"), 101 * SECOND), Verdict::Moved);
        assert_eq!(latch.judge(at("203.0.113.9:4000"), 101 * SECOND), Verdict::Foreign);
        // The same address told again changes nothing.
        latch.tell(at("203.0.113.77:4000"), true, 200 * SECOND);
        assert_eq!(latch.judge(at("203.0.113.77:4000"), 201 * SECOND), Verdict::Ours);
        assert_eq!(latch.judge(at("[2001:db8::1]:1"), 201 * SECOND), Verdict::Foreign);
    }
}
