//! The socket that all WebRTC legs of a shard share, and whose each datagram is: by the name in a check of ICE, and then by
//! the address that it came from.

use std::net::SocketAddr;

use moqswitch_relay::net::SocketId;
use moqswitch_webrtc::username_of;
use rustc_hash::FxHashMap;

use crate::limits::{ADDRESSES_OF_LEG_MAX, ADDRESSES_PER_PEER_MAX, WEBRTC_LEGS_MAX};

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Entrance {
    socket: Option<SocketId>,
    names: FxHashMap<String, u64>,
    addresses: FxHashMap<SocketAddr, u64>,
    /// The name of each leg, and where its peer was heard of, the newest last.
    legs: FxHashMap<u64, (String, Vec<SocketAddr>, usize)>,
}

impl Entrance {
    pub(crate) fn serve(&mut self, socket: SocketId) {
        self.socket = Some(socket);
    }

    /// The socket, if there is room for a further leg.
    pub(crate) fn room(&self) -> Option<SocketId> {
        self.socket.filter(|_| self.legs.len() < WEBRTC_LEGS_MAX)
    }

    pub(crate) fn is_served(&self) -> bool {
        self.socket.is_some()
    }

    pub(crate) fn is(&self, socket: SocketId) -> bool {
        self.socket == Some(socket)
    }

    pub(crate) fn insert(&mut self, leg: u64, name: &str) {
        self.names.insert(name.to_owned(), leg);
        self.legs.insert(leg, (name.to_owned(), Vec::new(), 0));
    }

    pub(crate) fn remove(&mut self, leg: u64) {
        let Some((name, addresses, _)) = self.legs.remove(&leg) else {
            return;
        };
        self.names.remove(&name);
        for address in addresses {
            if self.addresses.get(&address) == Some(&leg) {
                self.addresses.remove(&address);
            }
        }
    }

    /// Whose a datagram is. `None`: nobody's, and it is dropped. A peer may come from several addresses before it has chosen
    /// one; `chosen` is the one that a leg sends to, which is not forgotten for others.
    pub(crate) fn leg_of(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        chosen: impl Fn(u64) -> Option<SocketAddr>,
    ) -> Option<u64> {
        let Some(name) = username_of(datagram) else {
            return self.addresses.get(&source).copied();
        };
        let leg = *self.names.get(name)?;
        if self.addresses.get(&source) == Some(&leg) {
            return Some(leg);
        }
        // An address that is one peer's does not become another's by what anybody may have read.
        if let Some(owner) = self.addresses.get(&source)
            && chosen(*owner) == Some(source)
        {
            return None;
        }
        let (_, known, came) = self.legs.get_mut(&leg)?;
        // Whoever speaks ICE remembers each of them.
        if *came >= ADDRESSES_OF_LEG_MAX {
            return None;
        }
        *came += 1;
        if known.len() >= ADDRESSES_PER_PEER_MAX {
            let kept = chosen(leg);
            let oldest = known.iter().position(|address| Some(*address) != kept)?;
            let forgotten = known.remove(oldest);
            if self.addresses.get(&forgotten) == Some(&leg) {
                self.addresses.remove(&forgotten);
            }
        }
        known.push(source);
        self.addresses.insert(source, leg);
        Some(leg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) -> Vec<u8> {
        let mut check = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        check.extend([0; 12]);
        let name = format!("{name}:theirs");
        check.extend([0, 6, 0, u8::try_from(name.len()).unwrap()]);
        check.extend(name.as_bytes());
        check.resize(check.len().next_multiple_of(4), 0);
        check
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_check_says_whose_an_address_is() {
        let mut entrance = Entrance::default();
        entrance.insert(7, "seven");
        entrance.insert(8, "eight");
        let nowhere = |_| None;
        assert_eq!(entrance.leg_of(at(1), &[128, 0, 0], nowhere), None);
        assert_eq!(entrance.leg_of(at(1), &check("nobody"), nowhere), None);
        assert_eq!(entrance.leg_of(at(1), &check("seven"), nowhere), Some(7));
        assert_eq!(entrance.leg_of(at(1), &[128, 0, 0], nowhere), Some(7));
        assert_eq!(entrance.leg_of(at(2), &[128, 0, 0], nowhere), None);
        // One that sends to it keeps it.
        let chosen = |leg| (leg == 7).then(|| at(1));
        assert_eq!(entrance.leg_of(at(1), &check("eight"), chosen), None);
        assert_eq!(entrance.leg_of(at(1), &check("eight"), nowhere), Some(8));
        entrance.remove(7);
        assert_eq!(entrance.leg_of(at(1), &[128, 0, 0], nowhere), Some(8));
        entrance.remove(8);
        assert!(entrance.addresses.is_empty() && entrance.names.is_empty());
    }

    #[test]
    fn addresses_of_a_peer_are_bounded() {
        let mut entrance = Entrance::default();
        entrance.insert(7, "seven");
        let chosen = |_| Some(at(1));
        for port in 1..=1000 {
            let is_admitted = usize::from(port) <= ADDRESSES_OF_LEG_MAX;
            assert_eq!(
                entrance.leg_of(at(port), &check("seven"), chosen),
                is_admitted.then_some(7),
                "{port}"
            );
        }
        assert_eq!(entrance.addresses.len(), ADDRESSES_PER_PEER_MAX);
        assert_eq!(entrance.leg_of(at(1), &[128, 0, 0], chosen), Some(7));
        assert_eq!(entrance.leg_of(at(2), &[128, 0, 0], chosen), None);
    }
}
