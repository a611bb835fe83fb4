//! Which UDP port the next leg gets.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Instant;

use crate::limits::PORT_REST;

/// Even ports of a range, one for each leg; the odd ones above them are those of RTCP (RFC 3550, section 11).
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    range: RangeInclusive<u16>,
    next: u16,
    used: HashSet<u16>,
    resting: VecDeque<(Instant, u16)>,
}

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// All of the range are used, or rest.
    #[error("no port is free")]
    Exhausted,
    /// The host refuses.
    #[error("no port can be bound: {0}")]
    Io(#[from] io::Error),
}

impl Ports {
    /// Of a range on an address of this host.
    pub fn new(address: IpAddr, range: RangeInclusive<u16>) -> Self {
        Self {
            address,
            next: even_from(*range.start()),
            range,
            used: HashSet::new(),
            resting: VecDeque::new(),
        }
    }

    /// How many legs the range has ports for.
    pub fn capacity(&self) -> usize {
        let (first, last) = (
            usize::from(even_from(*self.range.start())),
            usize::from(*self.range.end()),
        );
        // The last one needs the odd port above it, too.
        (last + 1).saturating_sub(first) / 2
    }

    /// How many there are still, at `now`.
    pub fn available(&self, now: Instant) -> usize {
        let resting = self.resting.iter().filter(|(since, _)| !is_rested(*since, now)).count();
        self.capacity() - self.used.len() - resting
    }

    /// Binds the next one. The longest unused one first: packets that are still on their way to it are gone by then. One
    /// that another program has is passed over.
    pub fn bind(&mut self, now: Instant) -> Result<UdpSocket, PortError> {
        while self.resting.front().is_some_and(|(since, _)| is_rested(*since, now)) {
            self.resting.pop_front();
        }
        let mut tries = self.available(now);
        while tries > 0 {
            let port = self.next;
            self.advance();
            if self.used.contains(&port) || self.resting.iter().any(|(_, resting)| *resting == port) {
                continue;
            }
            tries -= 1;
            match UdpSocket::bind((self.address, port)) {
                Ok(socket) => {
                    self.used.insert(port);
                    return Ok(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                // Another port is no remedy for an address that is not this host's.
                Err(error) => return Err(error.into()),
            }
        }
        Err(PortError::Exhausted)
    }

    /// Gives a port back.
    pub fn release(&mut self, port: u16, now: Instant) {
        if self.used.remove(&port) {
            self.resting.push_back((now, port));
        }
    }

    fn advance(&mut self) {
        let next = self.next.checked_add(2).filter(|next| *next < *self.range.end());
        self.next = next.unwrap_or_else(|| even_from(*self.range.start()));
    }
}

fn is_rested(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= PORT_REST
}

const fn even_from(port: u16) -> u16 {
    if port.is_multiple_of(2) {
        port
    } else {
        port.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a port rests.
    const RESTED: std::time::Duration = PORT_REST.saturating_add(std::time::Duration::from_secs(1));
    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 77, 1));

    #[test]
    fn ports_are_even_rest_and_run_out() {
        let now = Instant::now();
        let mut ports = Ports::new(HOST, 21_001..=21_008);
        assert_eq!(ports.capacity(), 3);
        let bind = |ports: &mut Ports, now| ports.bind(now).map(|socket| socket.local_addr().unwrap().port());
        assert_eq!(bind(&mut ports, now).unwrap(), 21_002);
        assert_eq!(bind(&mut ports, now).unwrap(), 21_004);
        ports.release(21_002, now);
        assert_eq!(bind(&mut ports, now).unwrap(), 21_006);
        assert!(matches!(bind(&mut ports, now), Err(PortError::Exhausted)));
        assert_eq!(ports.available(now), 0);
        assert_eq!(bind(&mut ports, now + RESTED).unwrap(), 21_002);
        ports.release(1, now);
        assert_eq!(ports.available(now + RESTED), 0);
    }

    #[test]
    fn what_another_program_has_is_passed_over() {
        let taken = UdpSocket::bind((HOST, 21_010)).unwrap();
        let mut ports = Ports::new(HOST, 21_010..=21_013);
        let socket = ports.bind(Instant::now()).unwrap();
        assert_eq!(socket.local_addr().unwrap().port(), 21_012);
        drop(taken);
    }
}
