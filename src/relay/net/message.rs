//! Socket addresses and control messages as the kernel lays them out, and the `msghdr`s that point
//! to them. Byte layouts are read and written with safe code; only the pointers need care.
//!
//! ```text
//! control message   length (size_t, header included) | level (i32) | type (i32) | data | padding to 8
//! sockaddr_in       family (u16) | port (be16) | address (4) | zero (8)
//! sockaddr_in6      family (u16) | port (be16) | flow (be32) | address (16) | scope (u32)
//! ```

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;
use std::time::Duration;

/// Which kind of addresses a socket speaks to the kernel; a dual-stack socket speaks IPv6 and maps
/// IPv4 into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What the control messages of a received datagram say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReceiveControl {
    pub(super) local: Option<IpAddr>,
    /// Size of each datagram but the last, when the kernel coalesced several.
    pub(super) segment_bytes: Option<u16>,
    /// When the kernel took it in, since 1970.
    pub(super) arrived: Option<Duration>,
}

/// One outgoing message. The kernel reads it while a submission is consumed, so it must stay where
/// it is, unchanged, until then.
#[repr(C)]
pub(super) struct SendMessage {
    header: libc::msghdr,
    payload: libc::iovec,
    control: Control,
    name: [u8; NAME_BYTES],
}

impl SendMessage {
    pub(super) fn new() -> Box<Self> {
        // SAFETY: `msghdr` is plain data for which all zeros, null pointers included, is valid.
        let header: libc::msghdr = unsafe { mem::zeroed() };
        let payload = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Box::new(Self {
            header,
            payload,
            control: Control([0; SEND_CONTROL_BYTES]),
            name: [0; NAME_BYTES],
        })
    }

    /// Points at `payload_bytes` bytes to be sent as datagrams of `segment_bytes`, if given, to
    /// `destination` or else the peer of a connected socket.
    pub(super) fn fill(
        &mut self,
        payload: *mut u8,
        payload_bytes: usize,
        segment_bytes: Option<u16>,
        destination: Option<SocketAddr>,
        source: Option<IpAddr>,
        family: Family,
    ) -> *const libc::msghdr {
        let name_bytes = destination.map_or(0, |destination| encode_address(&mut self.name, destination, family));
        let scope = match destination {
            Some(SocketAddr::V6(destination)) => destination.scope_id(),
            _ => 0,
        };
        let mut control = ControlWriter {
            bytes: &mut self.control.0,
            used: 0,
        };
        if let Some(segment_bytes) = segment_bytes {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_bytes.to_ne_bytes());
        }
        if let Some(source) = source {
            control.push_source(source, scope, family);
        }
        let control_bytes = control.used;
        self.payload = libc::iovec {
            iov_base: payload.cast(),
            iov_len: payload_bytes,
        };
        self.header.msg_name = match name_bytes {
            0 => ptr::null_mut(),
            _ => self.name.as_mut_ptr().cast(),
        };
        self.header.msg_namelen = name_bytes;
        self.header.msg_iov = &raw mut self.payload;
        self.header.msg_iovlen = 1;
        self.header.msg_control = match control_bytes {
            0 => ptr::null_mut(),
            _ => self.control.0.as_mut_ptr().cast(),
        };
        self.header.msg_controllen = control_bytes as _;
        &raw const self.header
    }

    /// Where it goes; null for the peer of a connected socket.
    pub(super) fn address(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        (self.header.msg_name.cast_const().cast(), self.header.msg_namelen)
    }
}

/// The template of a multishot receive: it says how much room each buffer reserves for the name
/// and the control messages in front of the payload.
pub(super) fn receive_template() -> libc::msghdr {
    // SAFETY: `msghdr` is plain data for which all zeros, null pointers included, is valid.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_namelen = NAME_LENGTH;
    header.msg_controllen = RECEIVE_CONTROL_BYTES as _;
    header
}

/// The peer's address, an IPv4 one as such even when a dual-stack socket shows it mapped.
pub(super) fn parse_address(name: &[u8]) -> Option<SocketAddr> {
    let family = libc::c_int::from(u16::from_ne_bytes(array(name, 0)?));
    let port = u16::from_be_bytes(array(name, 2)?);
    match family {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(array::<4>(name, 4)?);
            Some(SocketAddrV4::new(ip, port).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(array::<16>(name, 8)?);
            if let Some(ip) = ip.to_ipv4_mapped() {
                return Some(SocketAddrV4::new(ip, port).into());
            }
            // The flow label says nothing about who the peer is, and two labels of one peer must
            // not make two addresses.
            let scope = u32::from_ne_bytes(array(name, 24)?);
            Some(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => None,
    }
}

/// Unknown and cut-off control messages are skipped.
pub(super) fn parse_control(mut bytes: &[u8]) -> ReceiveControl {
    let mut control = ReceiveControl::default();
    while let Some((level, kind, data, rest)) = next_control(bytes) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = array(data, 0).map(i32::from_ne_bytes);
                control.segment_bytes = size.and_then(|size| u16::try_from(size).ok());
            }
            // in_pktinfo: interface (i32) | local address for replies (4) | destination (4)
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                control.local = array::<4>(data, 8).map(|ip| Ipv4Addr::from(ip).into());
            }
            // in6_pktinfo: destination (16) | interface (u32)
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let ip = array::<16>(data, 0).map(Ipv6Addr::from);
                control.local = ip.map(|ip| IpAddr::V6(ip).to_canonical());
            }
            // timespec: seconds (i64) | nanoseconds (i64)
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let part = |offset| u64::try_from(i64::from_ne_bytes(array(data, offset)?)).ok();
                let whole = |seconds, nanoseconds| Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds);
                control.arrived = part(0).zip(part(8)).map(|(seconds, rest)| whole(seconds, rest));
            }
            _ => {}
        }
        bytes = rest;
    }
    control
}

fn next_control(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let length = usize::from_ne_bytes(array(bytes, 0)?);
    let level = i32::from_ne_bytes(array(bytes, LENGTH_BYTES)?);
    let kind = i32::from_ne_bytes(array(bytes, LENGTH_BYTES + 4)?);
    let data = bytes.get(CONTROL_HEADER_BYTES..length)?;
    let rest = bytes
        .get(length.checked_next_multiple_of(LENGTH_BYTES)?..)
        .unwrap_or_default();
    Some((level, kind, data, rest))
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Writes the address and returns how many bytes of `name` it takes.
fn encode_address(name: &mut [u8; NAME_BYTES], address: SocketAddr, family: Family) -> libc::socklen_t {
    let mut write = |offset: usize, bytes: &[u8]| {
        name[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    write(2, &address.port().to_be_bytes());
    match (family, address) {
        (Family::V4, SocketAddr::V4(address)) => {
            write(0, &address_family(libc::AF_INET));
            write(4, &address.ip().octets());
            write(8, &[0; 8]);
            return NAME_LENGTH_V4;
        }
        // The kernel refuses an IPv6 destination on an IPv4 socket, which is counted as any
        // refused send.
        (_, SocketAddr::V6(address)) => {
            write(4, &address.flowinfo().to_be_bytes());
            write(8, &address.ip().octets());
            write(24, &address.scope_id().to_ne_bytes());
        }
        (Family::V6, SocketAddr::V4(address)) => {
            write(4, &[0; 4]);
            write(8, &address.ip().to_ipv6_mapped().octets());
            write(24, &[0; 4]);
        }
    }
    write(0, &address_family(libc::AF_INET6));
    NAME_LENGTH
}

fn address_family(family: libc::c_int) -> [u8; 2] {
    u16::try_from(family).expect("address families are small").to_ne_bytes()
}

struct ControlWriter<'a> {
    bytes: &'a mut [u8; SEND_CONTROL_BYTES],
    used: usize,
}

impl ControlWriter<'_> {
    fn push_source(&mut self, source: IpAddr, scope: u32, family: Family) {
        match (family, source) {
            (Family::V4, IpAddr::V4(source)) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&source.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            (_, source) => {
                let source = match source {
                    IpAddr::V4(source) => source.to_ipv6_mapped(),
                    IpAddr::V6(source) => source,
                };
                let mut info = [0; 20];
                info[..16].copy_from_slice(&source.octets());
                // A link-local address means nothing without its interface.
                if source.is_unicast_link_local() {
                    info[16..].copy_from_slice(&scope.to_ne_bytes());
                }
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = CONTROL_HEADER_BYTES + data.len();
        let space = length.next_multiple_of(LENGTH_BYTES);
        let message = &mut self.bytes[self.used..self.used + space];
        message[..LENGTH_BYTES].copy_from_slice(&length.to_ne_bytes());
        message[LENGTH_BYTES..LENGTH_BYTES + 4].copy_from_slice(&level.to_ne_bytes());
        message[LENGTH_BYTES + 4..CONTROL_HEADER_BYTES].copy_from_slice(&kind.to_ne_bytes());
        message[CONTROL_HEADER_BYTES..length].copy_from_slice(data);
        message[length..].fill(0);
        self.used += space;
    }
}

#[repr(align(8))]
struct Control([u8; SEND_CONTROL_BYTES]);

/// Room for the larger of the two address forms.
pub(super) const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
/// The same two as the kernel's type has them.
const NAME_LENGTH: libc::socklen_t = 28;
const NAME_LENGTH_V4: libc::socklen_t = 16;
const _: () = assert!(NAME_LENGTH as usize == NAME_BYTES);
const _: () = assert!(NAME_LENGTH_V4 as usize == size_of::<libc::sockaddr_in>());
/// Room for the kernel's GRO size and the larger packet information, with some to spare for
/// options that are not ours: a message that does not fit would be cut off.
pub(super) const RECEIVE_CONTROL_BYTES: usize = 128;
/// Room for the segment size (24) and the larger packet information (40).
const SEND_CONTROL_BYTES: usize = 64;
const LENGTH_BYTES: usize = size_of::<usize>();
const CONTROL_HEADER_BYTES: usize = LENGTH_BYTES + 8;
const _: () = assert!(CONTROL_HEADER_BYTES == size_of::<libc::cmsghdr>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_mapped_ones_come_back_as_ipv4() {
        let addresses = ["192.0.2.7:4443", "[2001:db8::7]:4443", "[fe80::1%3]:9"];
        for address in addresses.map(|text| text.parse::<SocketAddr>().unwrap()) {
            let mut name = [0xff; NAME_BYTES];
            let bytes = encode_address(&mut name, address, Family::V6);
            assert_eq!(bytes as usize, NAME_BYTES);
            assert_eq!(parse_address(&name), Some(address));
        }
        let mut name = [0xff; NAME_BYTES];
        let address = "192.0.2.7:4443".parse().unwrap();
        assert_eq!(encode_address(&mut name, address, Family::V4), 16);
        assert_eq!(parse_address(&name[..16]), Some(address));
    }

    #[test]
    fn addresses_cut_short_are_refused() {
        let mut name = [0; NAME_BYTES];
        for (address, family, bytes) in [
            ("192.0.2.7:1", Family::V4, 8),
            ("[2001:db8::7]:1", Family::V6, NAME_BYTES),
        ] {
            encode_address(&mut name, address.parse().unwrap(), family);
            for cut in 0..bytes {
                assert_eq!(parse_address(&name[..cut]), None);
            }
        }
        assert_eq!(parse_address(&[0xff; NAME_BYTES]), None);
    }

    #[test]
    fn control_messages_are_read_whole_or_skipped() {
        let mut bytes = [0; SEND_CONTROL_BYTES];
        let mut writer = ControlWriter {
            bytes: &mut bytes,
            used: 0,
        };
        writer.push(libc::SOL_UDP, libc::UDP_GRO, &1_200_i32.to_ne_bytes());
        let first = writer.used;
        writer.push_source("192.0.2.7".parse().unwrap(), 0, Family::V6);
        let all = writer.used;
        let segment_bytes = Some(1_200);
        let local = Some("192.0.2.7".parse().unwrap());
        let whole = ReceiveControl {
            local,
            segment_bytes,
            arrived: None,
        };
        assert_eq!(parse_control(&bytes[..all]), whole);
        for cut in first..all - 4 {
            assert_eq!(parse_control(&bytes[..cut]), ReceiveControl { local: None, ..whole });
        }
        for cut in 0..CONTROL_HEADER_BYTES + 4 {
            assert_eq!(parse_control(&bytes[..cut]), ReceiveControl::default());
        }
    }

    #[test]
    fn the_kernels_time_is_read_unless_it_makes_no_sense() {
        for (seconds, nanoseconds, arrived) in [
            (1_700_000_000_i64, 5_i64, Some(Duration::new(1_700_000_000, 5))),
            (-1, 0, None),
            (
                i64::MAX,
                i64::MAX,
                Some(Duration::from_secs(i64::MAX as u64) + Duration::from_nanos(i64::MAX as u64)),
            ),
        ] {
            let mut bytes = [0; SEND_CONTROL_BYTES];
            let mut writer = ControlWriter {
                bytes: &mut bytes,
                used: 0,
            };
            let timespec: Vec<u8> = [seconds.to_ne_bytes(), nanoseconds.to_ne_bytes()].concat();
            writer.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &timespec);
            assert_eq!(parse_control(&bytes).arrived, arrived);
        }
    }

    #[test]
    fn control_lengths_that_lie_end_the_parsing() {
        for length in [0, 1, CONTROL_HEADER_BYTES - 1, 1 << 20, usize::MAX] {
            let mut bytes = [0xff; 64];
            bytes[..LENGTH_BYTES].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(parse_control(&bytes), ReceiveControl::default());
        }
    }
}
