//! FRAME: the head of each payload in a group.
//!
//! ```text
//! plain (to 04)    Size (i) | payload
//! timed (05, 06)   Timestamp Delta (i) | Size (i) | payload
//! ```
//!
//! The delta is from the frame before, from 0 for the first of a group, zigzag-mapped.

use bytes::BytesMut;

use super::{DecodeError, EncodeError, FrameForm, varint};
use crate::limits::FRAME_BYTES_MAX;

/// What stands before the payload of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// In units of the track's timescale; 0 in the plain form.
    pub timestamp_delta: i64,
    /// Bytes of payload.
    pub size: u64,
}

impl FrameHeader {
    /// The most bytes a header takes in any form.
    pub const BYTES_MAX: usize = 16;

    /// Appends the header. `TooLarge` above [`FRAME_BYTES_MAX`].
    #[inline]
    pub fn encode(&self, form: FrameForm, out: &mut BytesMut) -> Result<(), EncodeError> {
        if form.is_of_objects() {
            return Err(EncodeError::NotInVersion("frame that is no object"));
        }
        if self.size > FRAME_BYTES_MAX {
            return Err(EncodeError::TooLarge("frame"));
        }
        if form == FrameForm::Timed {
            varint::put(out, zigzag(self.timestamp_delta))?;
        }
        varint::put(out, self.size)
    }

    /// Reads a header from the front of `input`; also returns how many bytes it took. `TooLarge` above
    /// [`FRAME_BYTES_MAX`].
    #[inline]
    pub fn decode(form: FrameForm, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (timestamp_delta, delta_bytes) = match form {
            FrameForm::Plain => (0, 0),
            FrameForm::Timed => {
                let (delta, used) = varint::get(input)?;
                (unzigzag(delta), used)
            }
            FrameForm::Objects | FrameForm::BareObjects => {
                return Err(DecodeError::Invalid("frame that is no object"));
            }
        };
        let (size, size_bytes) = varint::get(input.get(delta_bytes..).unwrap_or_default())?;
        if size > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge("frame"));
        }
        Ok((Self { timestamp_delta, size }, delta_bytes + size_bytes))
    }

    /// How many bytes [`encode`](Self::encode) appends.
    #[inline]
    pub fn encoded_len(&self, form: FrameForm) -> usize {
        let delta_bytes = match form {
            FrameForm::Plain | FrameForm::Objects | FrameForm::BareObjects => 0,
            FrameForm::Timed => varint::len(zigzag(self.timestamp_delta)),
        };
        delta_bytes + varint::len(self.size)
    }
}

/// Draft "FRAME": small magnitudes of either sign become small integers.
#[inline]
fn zigzag(signed: i64) -> u64 {
    ((signed << 1) ^ (signed >> 63)).cast_unsigned()
}

#[inline]
fn unzigzag(unsigned: u64) -> i64 {
    (unsigned >> 1).cast_signed() ^ -(unsigned & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_each_form() {
        let cases: [(FrameForm, i64, u64, &[u8]); 6] = [
            (FrameForm::Plain, 0, 5, &[5]),
            (FrameForm::Plain, 0, 1200, &[0x44, 0xb0]),
            (FrameForm::Timed, 0, 5, &[0, 5]),
            (FrameForm::Timed, -1, 0, &[1, 0]),
            (FrameForm::Timed, 31, 0, &[62, 0]),
            (FrameForm::Timed, 3000, 1200, &[0x57, 0x70, 0x44, 0xb0]),
        ];
        for (form, timestamp_delta, size, bytes) in cases {
            let header = FrameHeader { timestamp_delta, size };
            let mut out = BytesMut::new();
            header.encode(form, &mut out).unwrap();
            assert_eq!(out[..], *bytes);
            assert_eq!(header.encoded_len(form), bytes.len());
            assert_eq!(FrameHeader::decode(form, bytes), Ok((header, bytes.len())));
        }
    }

    #[test]
    fn deltas_reach_as_far_as_the_wire() {
        for timestamp_delta in [-(1 << 61), (1 << 61) - 1] {
            let header = FrameHeader {
                timestamp_delta,
                size: FRAME_BYTES_MAX,
            };
            let mut out = BytesMut::new();
            header.encode(FrameForm::Timed, &mut out).unwrap();
            assert!(out.len() <= FrameHeader::BYTES_MAX);
            assert_eq!(FrameHeader::decode(FrameForm::Timed, &out), Ok((header, out.len())));
        }
        for timestamp_delta in [i64::MIN, -(1 << 61) - 1, 1 << 61, i64::MAX] {
            let header = FrameHeader {
                timestamp_delta,
                size: 0,
            };
            let mut out = BytesMut::new();
            assert!(matches!(
                header.encode(FrameForm::Timed, &mut out),
                Err(EncodeError::TooLarge(_))
            ));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_at_its_header() {
        let mut input = BytesMut::new();
        varint::put(&mut input, FRAME_BYTES_MAX + 1).unwrap();
        assert_eq!(
            FrameHeader::decode(FrameForm::Plain, &input),
            Err(DecodeError::TooLarge("frame"))
        );
        let header = FrameHeader {
            timestamp_delta: 0,
            size: FRAME_BYTES_MAX + 1,
        };
        assert!(header.encode(FrameForm::Plain, &mut BytesMut::new()).is_err());
    }
}
