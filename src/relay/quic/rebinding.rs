//! A peer whose address changed, told to quiche so that nothing in flight is lost.
//!
//! quiche 0.30 keeps loss recovery per path. What was in flight to the old address belongs
//! to the old path, where nothing is acknowledged any more: of it, only the two oldest
//! packets are ever sent again, and a third one's stream frames stay lost permanently. So quiche
//! sees the move as it is, validates the new address by itself (RFC 9000, section 9.3), and
//! once it has, the old path is made to lead to the new address too: the peer's next packet
//! is said to come from the old one, quiche takes that path up again, and its recovery goes on.
//!
//! Congestion state goes on too, which RFC 9000, section 9.4, allows when only the port
//! changed. When the host changed as well, the old path is kept for a few packets only, for
//! the sake of what was in flight, and then the new one takes over with its fresh state.

use std::net::SocketAddr;

/// Which address quiche is told for which of a connection's peer.
pub(super) struct Rebinding {
    /// The peer's address as quiche knows it on the path that is kept.
    home: SocketAddr,
    /// Where the peer really is, while that is not `home`.
    moved: Option<Moved>,
    /// The name of the path that quiche uses for a peer who has come back to `home`, until it
    /// takes up `home` again.
    alias: Option<SocketAddr>,
}

#[derive(Clone, Copy)]
struct Moved {
    to: SocketAddr,
    /// Packets until the new path is used as such; `None` when it never will be.
    packets_left: Option<u8>,
}

impl Moved {
    /// The peer's next packet makes quiche follow to the new path.
    fn is_over(self) -> bool {
        self.packets_left == Some(0)
    }
}

impl Rebinding {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            home: peer,
            moved: None,
            alias: None,
        }
    }

    /// The source of a packet, as quiche is told it. The two addresses change places, so that
    /// a peer which goes back to the first is seen to move.
    pub(super) fn source(&self, real: SocketAddr) -> SocketAddr {
        match self.moved {
            Some(moved) if moved.is_over() => real,
            Some(moved) if real == moved.to => self.home,
            Some(moved) if real == self.home => moved.to,
            _ => real,
        }
    }

    /// Where a packet really goes that quiche addresses to `destination`.
    pub(super) fn destination(&self, destination: SocketAddr) -> SocketAddr {
        match self.moved {
            Some(moved) if destination == self.home => moved.to,
            None if self.alias == Some(destination) => self.home,
            _ => destination,
        }
    }

    /// A packet came from the peer, whose real address this is.
    pub(super) fn on_packet(&mut self, source: SocketAddr) {
        if self.alias == Some(source) {
            self.alias = None;
        }
        match &mut self.moved {
            // It is back before quiche had followed.
            Some(moved) if moved.is_over() && source == self.home => self.moved = None,
            Some(moved) if source == moved.to => {
                moved.packets_left = moved.packets_left.map(|left| left.saturating_sub(1));
            }
            _ => {}
        }
    }

    /// quiche validated an address, given as it knows it, and moved there. True when the
    /// peer really is elsewhere than before.
    pub(super) fn on_migrated(&mut self, address: SocketAddr) -> bool {
        let from = self.destination(self.home);
        if self.moved.is_some_and(Moved::is_over) && address == from {
            *self = Self::new(address);
            return false;
        }
        // The two change places back and forth by the same rule.
        let to = self.source(address);
        self.alias = (to == self.home && address != to).then_some(address);
        if from == to {
            return false;
        }
        self.moved = (to != self.home).then_some(Moved {
            to,
            packets_left: (to.ip() != self.home.ip()).then_some(SETTLING_PACKETS),
        });
        true
    }
}

/// Packets of the peer within which the old path's recovery has found what was lost: the
/// first takes the path up again, the next acknowledge its probes.
const SETTLING_PACKETS: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_new_port_takes_the_old_ones_place_for_good() {
        let (old, new) = (address("192.0.2.1:1000"), address("192.0.2.1:2000"));
        let mut rebinding = Rebinding::new(old);
        assert_eq!(rebinding.source(new), new);
        assert!(rebinding.on_migrated(new));
        for _ in 0..100 {
            rebinding.on_packet(new);
            assert_eq!(rebinding.source(new), old);
            assert_eq!(rebinding.destination(old), new);
            // What quiche still sends by the new path's name.
            assert_eq!(rebinding.destination(new), new);
        }
        // quiche takes the old path up again, which is no move.
        assert!(!rebinding.on_migrated(old));
        assert_eq!(rebinding.source(new), old);
    }

    #[test]
    fn ports_may_change_again_and_back() {
        let [first, second, third] = [1000, 2000, 3000].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let mut rebinding = Rebinding::new(first);
        assert!(rebinding.on_migrated(second));
        assert!(rebinding.on_migrated(third));
        assert_eq!(rebinding.source(third), first);
        assert_eq!(rebinding.source(second), second);
        // Back at the first: quiche knows that one by the name of the third.
        let known_as = rebinding.source(first);
        assert_eq!(known_as, third);
        assert!(rebinding.on_migrated(known_as));
        for port in [first, second, third] {
            assert_eq!(rebinding.source(port), port);
        }
        // quiche sends by the third's name until the next packet, to who is at the first.
        assert_eq!(rebinding.destination(third), first);
        assert!(!rebinding.on_migrated(first));
        assert_eq!(rebinding.destination(third), third);
        assert_eq!(rebinding.destination(first), first);
    }

    #[test]
    fn a_new_host_gets_a_path_of_its_own_after_some_packets() {
        let (old, new) = (address("192.0.2.1:1000"), address("198.51.100.1:1000"));
        let mut rebinding = Rebinding::new(old);
        assert!(rebinding.on_migrated(new));
        for _ in 1..SETTLING_PACKETS {
            rebinding.on_packet(new);
            assert_eq!(rebinding.source(new), old);
        }
        rebinding.on_packet(old);
        assert_eq!(rebinding.source(new), old);
        rebinding.on_packet(new);
        assert_eq!(rebinding.source(new), new);
        // Until the next packet quiche goes on sending by the old path's name.
        assert_eq!(rebinding.destination(old), new);
        // Then it follows to the new path, which is where the peer was already.
        assert!(!rebinding.on_migrated(new));
        assert_eq!(rebinding.destination(old), old);
        assert_eq!(rebinding.destination(new), new);
    }

    #[test]
    fn a_host_that_comes_back_before_quiche_followed_is_where_it_was() {
        let (old, new) = (address("192.0.2.1:1000"), address("198.51.100.1:1000"));
        let mut rebinding = Rebinding::new(old);
        assert!(rebinding.on_migrated(new));
        for _ in 0..SETTLING_PACKETS {
            rebinding.on_packet(new);
        }
        rebinding.on_packet(old);
        assert_eq!(rebinding.destination(old), old);
    }
}
