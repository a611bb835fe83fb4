//! Who messages come from, as far as addresses say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// All whose first `bits` are those of `address`. `None`: it has not as many.
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let is_address = bits <= bits_of(address);
        is_address.then(|| Self {
            address: cut(address, bits),
            bits,
        })
    }

    /// Of `192.0.2.0/24`, or of one address. `None`: it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((address, bits)) => Self::new(address.parse().ok()?, bits.parse().ok()?),
            None => {
                let address = text.parse().ok()?;
                Self::new(address, bits_of(address))
            }
        }
    }

    /// Is it one of them?
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && cut(address, self.bits) == self.address
    }
}

/// What messages are counted by: those of one /24, or of one customer's IPv6 /56, come from one line more often than not.
pub(super) fn line(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => cut(address, IPV4_LINE_BITS),
        address @ IpAddr::V6(_) => cut(address, IPV6_SITE_BITS),
    }
}

/// What is banned: one IPv4 address, whose neighbours are others, or an IPv6 /56, of which one customer has all.
pub(super) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        address @ IpAddr::V6(_) => cut(address, IPV6_SITE_BITS),
    }
}

/// In one form only, without what is of no account.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

const fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn cut(address: IpAddr, bits: u8) -> IpAddr {
    let rest = u32::from(bits_of(address).saturating_sub(bits));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

const IPV4_LINE_BITS: u8 = 24;

/// One customer has a /56, as a rule.
const IPV6_SITE_BITS: u8 = 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_what_begins_like_them() {
        let contains = |network: &str, other: &str| Network::parse(network).unwrap().contains(address(other));
        assert!(contains("192.0.2.77/24", "192.0.2.1") && contains("192.0.2.0/24", "::ffff:192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "255.255.255.255") && contains("::/0", "ffff::"));
        assert!(contains("2001:db8::/32", "2001:db8:ff::1") && !contains("2001:db8::/32", "2001:db9::1"));
        for text in [
            "",
            "/",
            "192.0.2.0/33",
            "::/129",
            "192.0.2.0/-1",
            "192.0.2.0/24/1",
            "host",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn neighbours_share_a_line_and_not_a_ban() {
        let same = |of: fn(IpAddr) -> IpAddr, first: &str, second: &str| of(address(first)) == of(address(second));
        assert!(same(line, "192.0.2.1", "::ffff:192.0.2.2") && !same(line, "192.0.2.1", "192.0.3.1"));
        assert!(!same(site, "192.0.2.1", "192.0.2.2") && same(site, "192.0.2.1", "::ffff:192.0.2.1"));
        for of in [line, site] {
            assert!(same(of, "2001:db8:0:ff01::1", "2001:db8:0:ff02:ffff::2"));
            assert!(!same(of, "2001:db8:0:ff00::1", "2001:db8:0:fe00::1"));
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
