//! What of a packet is not encrypted.

use crate::rtp::HEADER_BYTES;

/// What of the header of an RTP packet is not encrypted, and counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// With sources and extension.
    pub(super) bytes: usize,
    pub(super) sequence: u16,
    pub(super) ssrc: u32,
}

impl Header {
    /// `None`: it is no packet of RTP.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk::<HEADER_BYTES>()?;
        let [first, _, s0, s1, _, _, _, _, ssrc @ ..] = *header;
        if first >> 6 != 2 {
            return None;
        }
        let mut bytes = HEADER_BYTES + usize::from(first & 0x0f) * 4;
        let rest = rest.get(bytes - HEADER_BYTES..)?;
        if first & EXTENSION != 0 {
            let [_, _, l0, l1] = *rest.first_chunk::<4>()?;
            bytes += 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
        }
        (bytes <= packet.len()).then_some(Self {
            bytes,
            sequence: u16::from_be_bytes([s0, s1]),
            ssrc: u32::from_be_bytes(ssrc),
        })
    }
}

/// The source of a packet of RTCP. `None`: it is none.
pub(super) fn control_source(packet: &[u8]) -> Option<u32> {
    let [first, _, _, _, ssrc @ ..] = *packet.first_chunk::<CONTROL_HEADER_BYTES>()?;
    (first >> 6 == 2).then_some(u32::from_be_bytes(ssrc))
}

/// Of RTCP what is not encrypted (RFC 3711, section 3.4).
pub(super) const CONTROL_HEADER_BYTES: usize = 8;
const EXTENSION: u8 = 1 << 4;
