//! The header of an RTP packet (RFC 3550, section 5.1).

use std::time::Duration;

/// A packet, as it lies in the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// A talkspurt begins, or whatever the payload's profile says.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Counts packets, modulo 2^16.
    pub sequence: u16,
    /// When the first sample was taken, in the payload's clock, modulo 2^32.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
    /// What is said, without padding.
    pub payload: &'a [u8],
}

/// Why a datagram is no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends within its header.
    #[error("it is shorter than its header says")]
    Short,
    /// Another version than 2: STUN, SIP, or nonsense.
    #[error("it is not of version 2")]
    Version,
    /// The padding is longer than what is there, or zero.
    #[error("its padding is no padding")]
    Padding,
    /// Types 64 to 95 (with the marker: 192 to 223) are those of RTCP on one port with RTP (RFC 5761, section 4).
    #[error("it is a packet of RTCP")]
    Control,
}

impl<'a> Packet<'a> {
    /// Reads a datagram. CSRCs and header extensions are passed over.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, mut rest) = datagram.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Short)?;
        let [first, second, s0, s1, t0, t1, t2, t3, ssrc @ ..] = *header;
        if first >> 6 != 2 {
            return Err(Malformed::Version);
        }
        if (192..=223).contains(&second) {
            return Err(Malformed::Control);
        }
        let sources = usize::from(first & 0x0f) * 4;
        rest = rest.get(sources..).ok_or(Malformed::Short)?;
        if first & EXTENSION != 0 {
            let (extension, behind) = rest.split_first_chunk::<4>().ok_or(Malformed::Short)?;
            let words = usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            rest = behind.get(words * 4..).ok_or(Malformed::Short)?;
        }
        if first & PADDING != 0 {
            let padding = usize::from(*rest.last().ok_or(Malformed::Padding)?);
            let length = rest.len().checked_sub(padding).filter(|_| padding > 0);
            rest = &rest[..length.ok_or(Malformed::Padding)?];
        }
        Ok(Self {
            marker: second & MARKER != 0,
            payload_type: second & !MARKER,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes(ssrc),
            payload: rest,
        })
    }

    /// Writes the packet behind what `out` has.
    pub fn write(&self, out: &mut Vec<u8>) {
        let marker = if self.marker { MARKER } else { 0 };
        out.extend_from_slice(&[VERSION, marker | (self.payload_type & !MARKER)]);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(self.payload);
    }
}

/// Whether a datagram is of RTCP, where that comes on one port with RTP (RFC 5761, section 4). It says so by its second byte,
/// which is not encrypted.
pub fn is_control(datagram: &[u8]) -> bool {
    matches!(datagram, [first, second, ..] if first >> 6 == 2 && (192..=223).contains(second))
}

/// A time in units of a clock. In 64 bits, which last for twelve years of the fastest: it is done several times for each packet.
pub(crate) fn units(time: Duration, clock_hz: u32) -> u64 {
    let seconds = time.as_secs().saturating_mul(1_000_000);
    let micros = seconds.saturating_add(time.subsec_micros().into());
    micros.saturating_mul(clock_hz.into()) / 1_000_000
}

/// Bytes of a header without CSRCs and extension.
pub const HEADER_BYTES: usize = 12;

const VERSION: u8 = 2 << 6;
const PADDING: u8 = 1 << 5;
const EXTENSION: u8 = 1 << 4;
const MARKER: u8 = 1 << 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_another_library_writes_them() {
        let payload = [7_u8; 33];
        for (sources, extension, padding) in [(0, false, 0), (3, false, 0), (15, true, 4), (0, true, 200)] {
            let mut builder = rtp_types::RtpPacketBuilder::new()
                .marker_bit(true)
                .payload_type(101)
                .sequence_number(65_535)
                .timestamp(0xfedc_ba98)
                .ssrc(0x0102_0304)
                .payload(&payload[..]);
            builder = (0..sources).fold(builder, rtp_types::RtpPacketBuilder::add_csrc);
            let bytes = [9_u8; 12];
            if extension {
                builder = builder.extension(0xbede, &bytes[..]);
            }
            if padding > 0 {
                builder = builder.padding(padding);
            }
            let datagram = builder.write_vec().unwrap();
            let packet = Packet::parse(&datagram).unwrap();
            assert_eq!(packet, PACKET, "{sources} {extension} {padding}");
        }
    }

    #[test]
    fn packets_are_written_as_another_library_reads_them() {
        let mut out = Vec::new();
        PACKET.write(&mut out);
        let read = rtp_types::RtpPacket::parse(&out).unwrap();
        assert!(read.marker_bit() && read.payload_type() == 101 && read.sequence_number() == 65_535);
        assert_eq!((read.timestamp(), read.ssrc()), (0xfedc_ba98, 0x0102_0304));
        assert_eq!(read.payload(), PACKET.payload);
    }

    #[test]
    fn what_is_no_packet_is_refused_at_every_length() {
        let whole = [
            0b1011_0010,
            0,
            0,
            1,
            0,
            0,
            0,
            2,
            0,
            0,
            0,
            3, // P, X, two CSRCs
            0,
            0,
            0,
            4,
            0,
            0,
            0,
            5,
            0xbe,
            0xde,
            0,
            1,
            1,
            2,
            3,
            4,
            8,
            8,
            2,
            2,
        ];
        assert_eq!(Packet::parse(&whole).unwrap().payload, [8, 8]);
        for length in 0..28 {
            assert_eq!(Packet::parse(&whole[..length]), Err(Malformed::Short), "{length}");
        }
        assert_eq!(Packet::parse(&whole[..28]), Err(Malformed::Padding));
        for (at, byte, fault) in [
            (0, 0b0111_0010, Malformed::Version),
            (1, 200, Malformed::Control),
            (31, 0, Malformed::Padding),
            (31, 5, Malformed::Padding),
            (21, 0xff, Malformed::Short),
        ] {
            let mut broken = whole;
            broken[at] = byte;
            // The length of the extension is in bytes 22 and 23.
            if fault == Malformed::Short {
                broken[22] = 0xff;
            }
            assert_eq!(Packet::parse(&broken), Err(fault));
        }
    }

    const PACKET: Packet<'static> = Packet {
        marker: true,
        payload_type: 101,
        sequence: 65_535,
        timestamp: 0xfedc_ba98,
        ssrc: 0x0102_0304,
        payload: &[7; 33],
    };
}
