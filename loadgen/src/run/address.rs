//! Which address of a name answers: the addresses are tried in turn, as browsers do, since a relay may listen on IPv4 alone
//! though its name, or `localhost`, has an address of IPv6 as well.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// The first that answered, else the first that might yet.
    pub(crate) chosen: SocketAddr,
    /// Those that did not answer, and why.
    pub(crate) tried: Vec<(SocketAddr, String)>,
}

impl Addresses {
    /// Looks a name up and chooses by `answers`, which says whether somebody is there. Of a single address nothing is asked.
    pub(crate) fn choose(
        name: &str,
        port: u16,
        answers: impl Fn(SocketAddr) -> io::Result<()>,
    ) -> anyhow::Result<Self> {
        let found = (name.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .with_context(|| format!("{name} cannot be looked up"))?;
        Self::choose_of(found, answers).with_context(|| format!("{name} has no address"))
    }

    fn choose_of(
        found: impl Iterator<Item = SocketAddr>,
        answers: impl Fn(SocketAddr) -> io::Result<()>,
    ) -> Option<Self> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        // An IPv4 address that is written as one of IPv6 is reached as what it is.
        for address in found.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())) {
            if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
        let mut tried = Vec::new();
        let mut silent = None;
        let first = *addresses.first()?;
        if addresses.len() == 1 {
            return Some(Self { chosen: first, tried });
        }
        for address in addresses {
            match answers(address) {
                Ok(()) => return Some(Self { chosen: address, tried }),
                Err(error) => {
                    let is_silent = error.kind() == io::ErrorKind::TimedOut;
                    silent = silent.or(is_silent.then_some(address));
                    tried.push((address, error.to_string()));
                }
            }
        }
        // Who does not answer this question may answer a handshake.
        let chosen = silent.unwrap_or(first);
        Some(Self { chosen, tried })
    }
}

/// What is said beside an error: nothing, if there was one address only.
impl fmt::Display for Addresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tried.is_empty() {
            return Ok(());
        }
        let tried: Vec<String> = self
            .tried
            .iter()
            .map(|(address, why)| format!("{address} ({why})"))
            .collect();
        write!(
            formatter,
            "; of its addresses these do not answer: {}",
            tried.join(", ")
        )
    }
}

/// Whether a QUIC server is at an address: each answers a version that it does not know with those that it does (RFC 9000,
/// section 6). No connection is made.
pub(crate) fn quic_answers(address: SocketAddr) -> io::Result<()> {
    let any: IpAddr = match address.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    // A long header with a version that is reserved for this (section 15), and ids that come back the other way round.
    let mut packet = [0; PACKET_BYTES];
    packet[..6].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8]);
    packet[6..14].copy_from_slice(b"where?? ");
    packet[14] = 0;
    let end = Instant::now() + ANSWER_MAX;
    let mut answer = [0; PACKET_BYTES];
    while Instant::now() < end {
        socket.send(&packet)?;
        socket.set_read_timeout(Some(ANSWER_MAX / SENDS))?;
        match socket.recv(&mut answer) {
            // A long header, with version 0.
            Ok(bytes) if bytes > 6 && answer[0] & 0x80 != 0 && answer[1..5] == [0; 4] => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("nothing within {ANSWER_MAX:?}"),
    ))
}

/// Addresses of a name that are tried; further ones are not.
const ADDRESSES_MAX: usize = 8;
/// The least that a first packet may have (RFC 9000, section 14.1).
const PACKET_BYTES: usize = 1200;
const ANSWER_MAX: Duration = Duration::from_millis(900);
const SENDS: u32 = 3;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn addresses_are_tried_in_turn_until_one_answers() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["[::1]:1", "127.0.0.1:2", "127.0.0.1:3"].map(address);
        let choose = |answering: Option<&str>, silent: Option<&str>| {
            Addresses::choose_of(all.into_iter(), |asked| match asked {
                asked if answering.map(address) == Some(asked) => Ok(()),
                asked if silent.map(address) == Some(asked) => Err(io::ErrorKind::TimedOut.into()),
                _ => Err(io::ErrorKind::ConnectionRefused.into()),
            })
            .unwrap()
        };
        let found = choose(Some("127.0.0.1:2"), None);
        assert_eq!(found.chosen, all[1]);
        assert!(found.to_string().contains("[::1]:1 (connection refused)"), "{found}");
        // Whoever says nothing may still be there.
        let found = choose(None, Some("127.0.0.1:3"));
        assert_eq!((found.chosen, found.tried.len()), (all[2], 3));
        assert_eq!(choose(None, None).chosen, all[0]);
        assert!(Addresses::choose_of(std::iter::empty(), |_| Ok(())).is_none());
    }

    #[test]
    fn one_address_is_taken_as_it_is_and_ipv4_as_ipv4() {
        let asked_nothing = |_| -> io::Result<()> { panic!("there is nothing to choose") };
        let found = Addresses::choose("[::ffff:127.0.0.1]", 7, asked_nothing).unwrap();
        assert_eq!(found.chosen, "127.0.0.1:7".parse().unwrap());
        assert_eq!(found.to_string(), "");
        let twice = ["[::ffff:127.0.0.1]:7", "127.0.0.1:7"].map(|text| text.parse().unwrap());
        assert!(Addresses::choose_of(twice.into_iter(), asked_nothing).is_some());
    }

    #[test]
    fn a_relay_answers_and_no_connection_is_made() {
        let relay = moqswitch_relay::Relay::start(moqswitch_relay::RelayOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            shards: std::num::NonZeroUsize::new(1),
            ..Default::default()
        })
        .unwrap();
        quic_answers(relay.address()).unwrap();
        relay.drain(Duration::ZERO);
        relay.join().unwrap();
    }

    #[test]
    fn an_address_that_nobody_listens_at_is_refused() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = quic_answers(free).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
