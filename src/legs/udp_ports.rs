//! Which UDP port the next leg gets.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Instant;

use socket2::SockRef;

use crate::limits::PORT_REST_MIN;

/// Even ports of a range, one for each leg; the odd ones above them are those of RTCP (RFC 3550, section 11).
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    capacity: usize,
    used: HashSet<u16>,
    /// The longest unused one first, with when it was given back.
    free: VecDeque<(Option<Instant>, u16)>,
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
        // The last one needs the odd port above it, too.
        let all = (*range.start()..*range.end()).filter(|port| port.is_multiple_of(2));
        let free: VecDeque<_> = all.map(|port| (None, port)).collect();
        Self {
            address,
            capacity: free.len(),
            used: HashSet::new(),
            free,
        }
    }

    /// How many legs the range has ports for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many there are still, at `now`.
    pub fn available(&self, now: Instant) -> usize {
        self.free.partition_point(|(since, _)| is_rested(*since, now))
    }

    /// The address that ports are of.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Binds the next one, and leaves the one above it free.
    pub fn bind(&mut self, now: Instant) -> Result<UdpSocket, PortError> {
        self.bind_next(now, voice_socket)
    }

    /// Binds the next one for RTP, and the one above it for RTCP.
    pub fn bind_pair(&mut self, now: Instant) -> Result<(UdpSocket, UdpSocket), PortError> {
        self.bind_next(now, |address, port| {
            Ok((voice_socket(address, port)?, voice_socket(address, port + 1)?))
        })
    }

    /// The longest unused one first: packets that are still on their way to it are gone by then. One that another program
    /// has is passed over.
    fn bind_next<T>(&mut self, now: Instant, bind: impl Fn(IpAddr, u16) -> io::Result<T>) -> Result<T, PortError> {
        for _ in 0..self.available(now) {
            let Some((_, port)) = self.free.pop_front() else { break };
            match bind(self.address, port) {
                Ok(socket) => {
                    self.used.insert(port);
                    return Ok(socket);
                }
                Err(error) => {
                    self.free.push_back((Some(now), port));
                    // Another port is no remedy for an address that is not this host's.
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(error.into());
                    }
                }
            }
        }
        Err(PortError::Exhausted)
    }

    /// Gives a port back.
    pub fn release(&mut self, port: u16, now: Instant) {
        if self.used.remove(&port) {
            self.free.push_back((Some(now), port));
        }
    }
}

/// Its packets go before others where the network knows of such (RFC 4594, section 4.1).
fn voice_socket(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, port))?;
    let options = SockRef::from(&socket);
    let marked = match address {
        IpAddr::V4(_) => options.set_tos_v4(EXPEDITED << 2),
        IpAddr::V6(_) => options.set_tclass_v6(EXPEDITED << 2),
    };
    if let Err(error) = marked {
        tracing::debug!(%error, "a socket of a leg is not marked");
    }
    Ok(socket)
}

fn is_rested(since: Option<Instant>, now: Instant) -> bool {
    since.is_none_or(|since| now.saturating_duration_since(since) >= PORT_REST_MIN)
}

/// DSCP EF (RFC 3246).
const EXPEDITED: u32 = 46;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// Longer than a port rests.
    const RESTED: std::time::Duration = PORT_REST_MIN.saturating_add(std::time::Duration::from_secs(1));
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
    fn pairs_are_of_both_families_and_their_packets_go_first() {
        for host in [HOST, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let taken = UdpSocket::bind((host, 21_021)).unwrap();
            let mut ports = Ports::new(host, 21_020..=21_023);
            // Of the first pair the upper one is another program's.
            let (rtp, rtcp) = ports.bind_pair(Instant::now()).unwrap();
            assert_eq!(rtp.local_addr().unwrap(), (host, 21_022).into());
            assert_eq!(rtcp.local_addr().unwrap(), (host, 21_023).into());
            for socket in [&rtp, &rtcp] {
                let options = SockRef::from(socket);
                let class = match host {
                    IpAddr::V4(_) => options.tos_v4(),
                    IpAddr::V6(_) => options.tclass_v6(),
                };
                assert_eq!(class.unwrap(), 46 << 2);
            }
            drop(taken);
        }
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
