//! What synthetic frames carry, so that the other end can tell whether, when and whole they
//! came.
//!
//! ```text
//! magic (4) | publisher (4) | sequence (8) | intended send time, ns (8) | checksum (8) | filler
//! ```

use std::hash::Hasher;

use bytes::{BufMut, Bytes, BytesMut};
use rustc_hash::FxHasher;

/// The content of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    pub(crate) sequence: u64,
    /// Nanoseconds from the start of the run to the moment the schedule wanted it sent.
    pub(crate) intended_ns: u64,
}

pub(crate) const STAMP_BYTES: usize = 32;

const MAGIC: u32 = 0x6d6f_7131;

/// A frame payload of `bytes`, at least [`STAMP_BYTES`].
pub(crate) fn build(stamp: Stamp, bytes: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.max(STAMP_BYTES));
    out.put_u32(MAGIC);
    out.put_u32(stamp.publisher);
    out.put_u64(stamp.sequence);
    out.put_u64(stamp.intended_ns);
    out.put_u64(0);
    let filler = u8::try_from(stamp.sequence & 0x7f).unwrap_or_default();
    out.put_bytes(filler, bytes.saturating_sub(STAMP_BYTES));
    let sum = checksum(&out);
    out[24..32].copy_from_slice(&sum.to_be_bytes());
    out.freeze()
}

/// What a received payload says. `None`: it is not what was sent.
pub(crate) fn read(payload: &[u8]) -> Option<Stamp> {
    let u32_at = |at: usize| Some(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?));
    let stamp = Stamp {
        publisher: u32_at(4)?,
        sequence: u64_at(8)?,
        intended_ns: u64_at(16)?,
    };
    (u32_at(0)? == MAGIC && u64_at(24)? == checksum(payload)).then_some(stamp)
}

/// Over everything but the checksum itself.
fn checksum(payload: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(&payload[..24]);
    hasher.write(&payload[32..]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_is_noticed() {
        let stamp = Stamp {
            publisher: 7,
            sequence: 99,
            intended_ns: 123_456_789,
        };
        for bytes in [STAMP_BYTES, 200, 1500] {
            let payload = build(stamp, bytes);
            assert_eq!(payload.len(), bytes);
            assert_eq!(read(&payload), Some(stamp));
            for bit in 0..payload.len() * 8 {
                let mut changed = payload.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(read(&changed), Some(stamp), "bit {bit}");
            }
            assert_eq!(read(&payload[..bytes - 1]), None);
        }
    }
}
