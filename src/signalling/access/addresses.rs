//! How many sockets each address has: one host alone cannot take all there are.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use crate::limits::SOCKETS_PER_ADDRESS_MAX;

/// Sockets by address. Used by one thread.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Rc<RefCell<BTreeMap<IpAddr, usize>>>);

/// One of an address's sockets, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    sockets: Rc<RefCell<BTreeMap<IpAddr, usize>>>,
    address: Option<IpAddr>,
}

impl Addresses {
    /// A place for one more socket. `None`: the address has as many as it may have. This host, and what a proxy on it hands
    /// on, may have all.
    pub(crate) fn take(&self, peer: Option<IpAddr>) -> Option<Place> {
        let sockets = Rc::clone(&self.0);
        let address = peer.map(site).filter(|address| !address.is_loopback());
        if let Some(address) = address {
            let mut all = sockets.borrow_mut();
            let count = all.entry(address).or_default();
            if *count >= SOCKETS_PER_ADDRESS_MAX {
                return None;
            }
            *count += 1;
        }
        Some(Place { sockets, address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut all = self.sockets.borrow_mut();
        if let Some(count) = all.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&address);
            }
        }
    }
}

/// Of IPv6 a host has a whole /64.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all() {
        let addresses = Addresses::default();
        let take = |address: &str| addresses.take(Some(address.parse().unwrap()));
        let mut places: Vec<_> = (0..SOCKETS_PER_ADDRESS_MAX)
            .map(|_| take("2001:db8::1").unwrap())
            .collect();
        assert!(take("2001:db8::2").is_none(), "the same /64");
        assert!(take("2001:db8:0:1::1").is_some());
        assert!(take("::1").is_some() && addresses.take(None).is_some());
        places.pop();
        assert!(take("2001:db8::2").is_some());
        places.clear();
        assert!(addresses.0.borrow().is_empty());
    }
}
