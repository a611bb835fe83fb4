//! What synthetic frames carry, so that the other end can tell whether, when and whole they came.
//!
//! ```text
//! magic (4) | call (4) | participant (2) | track (1) | 0 (1) | sequence (8) |
//! intended send time, Unix ns (8) | CRC-32 of all else (4) | filler
//! ```

use bytes::{BufMut, Bytes, BytesMut};

/// The identity of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) call: u32,
    pub(crate) participant: u16,
    pub(crate) track: u8,
    /// Counts the frames of its track from 0.
    pub(crate) sequence: u64,
    /// When the schedule wanted it sent, Unix time in nanoseconds.
    pub(crate) intended_ns: u64,
}

pub(crate) const STAMP_BYTES: usize = 32;

const MAGIC: u32 = 0x6d6f_7132;
const CHECKSUM_AT: usize = 28;

/// A frame payload of `bytes`, at least [`STAMP_BYTES`].
pub(crate) fn build(stamp: Stamp, bytes: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.max(STAMP_BYTES));
    out.put_u32(MAGIC);
    out.put_u32(stamp.call);
    out.put_u16(stamp.participant);
    out.put_u8(stamp.track);
    out.put_u8(0);
    out.put_u64(stamp.sequence);
    out.put_u64(stamp.intended_ns);
    out.put_u32(0);
    let filler = u8::try_from(stamp.sequence & 0x7f).unwrap_or_default();
    out.put_bytes(filler, bytes.saturating_sub(STAMP_BYTES));
    let sum = checksum(&out);
    out[CHECKSUM_AT..STAMP_BYTES].copy_from_slice(&sum.to_be_bytes());
    out.freeze()
}

/// What a received payload says. `None`: it is not what was sent.
pub(crate) fn read(payload: &[u8]) -> Option<Stamp> {
    let (head, _) = payload.split_first_chunk::<STAMP_BYTES>()?;
    let u32_at = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| (u64::from(u32_at(at)) << 32) | u64::from(u32_at(at + 4));
    if u32_at(0) != MAGIC || u32_at(CHECKSUM_AT) != checksum(payload) {
        return None;
    }
    Some(Stamp {
        call: u32_at(4),
        participant: u16::from_be_bytes([head[8], head[9]]),
        track: head[10],
        sequence: u64_at(12),
        intended_ns: u64_at(20),
    })
}

/// Over everything but the checksum itself.
fn checksum(payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&payload[..CHECKSUM_AT]);
    sum.update(&payload[STAMP_BYTES..]);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_is_noticed() {
        let stamp = Stamp {
            call: 7,
            participant: 3,
            track: 1,
            sequence: 99,
            intended_ns: 1_700_000_000_123_456_789,
        };
        for bytes in [STAMP_BYTES, 200, 1500] {
            let payload = build(stamp, bytes);
            assert_eq!(payload.len(), bytes);
            assert_eq!(read(&payload), Some(stamp));
            for bit in 0..payload.len() * 8 {
                let mut changed = payload.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&changed), None, "bit {bit}");
            }
            assert_eq!(read(&payload[..bytes - 1]), None);
        }
    }
}
