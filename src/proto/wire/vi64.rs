//! Variable-length integers of the IETF's moq-transport (draft-ietf-moq-transport-18, section 1.4.1): the number of
//! leading ones of the first byte is the number of bytes behind it. All 64 bits can be said. Sent in the shortest form,
//! accepted in any.

use bytes::BytesMut;

use super::DecodeError;

/// The most bytes that [`put`] appends.
pub const BYTES_MAX: usize = 9;

/// Appends a value.
#[inline]
pub fn put(out: &mut BytesMut, value: u64) {
    let length = len(value);
    if length == BYTES_MAX {
        out.extend_from_slice(&[0xff]);
        return out.extend_from_slice(&value.to_be_bytes());
    }
    // The ones go above the value, which leaves room for them and a zero.
    let ones = !0u64 << 1 << (8 - length) & 0xff;
    let bytes = (value | ones << (8 * (length - 1))).to_be_bytes();
    out.extend_from_slice(&bytes[8 - length..]);
}

/// Reads a value from the front of `input`; also returns how many bytes it took.
#[inline]
pub fn get(input: &[u8]) -> Result<(u64, usize), DecodeError> {
    let Some(&first) = input.first() else {
        return Err(DecodeError::Truncated);
    };
    if first < 0x80 {
        return Ok((u64::from(first), 1));
    }
    let more = first.leading_ones() as usize;
    let rest = input.get(1..=more).ok_or(DecodeError::Truncated)?;
    // With seven ones or eight nothing of the first byte is left.
    let mask = 0x7fu8.checked_shr(first.leading_ones()).unwrap_or(0);
    let value = rest
        .iter()
        .fold(u64::from(first & mask), |value, byte| value << 8 | u64::from(*byte));
    Ok((value, more + 1))
}

/// How many bytes [`put`] appends for a value.
#[inline]
pub fn len(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()).max(1);
    (bits.div_ceil(7) as usize).min(BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_draft_decode() {
        let examples: [(&[u8], u64); 8] = [
            (&[0x25], 37),
            (&[0x80, 0x25], 37),
            (&[0xbb, 0xbd], 15_293),
            (&[0xed, 0x7f, 0x3e, 0x7d], 226_442_877),
            (&[0xfa, 0xa1, 0xa0, 0xe4, 0x03, 0xd8], 2_893_212_287_960),
            (&[0xfc, 0x89, 0x98, 0xab, 0xc6, 0x6b, 0xc0], 151_288_809_941_952),
            (
                &[0xfe, 0xfa, 0x31, 0x8f, 0xa8, 0xe3, 0xca, 0x11],
                70_423_237_261_249_041,
            ),
            (&[0xff; 9], u64::MAX),
        ];
        for (bytes, value) in examples {
            assert_eq!(get(bytes), Ok((value, bytes.len())), "{value}");
            for cut in 0..bytes.len() {
                assert_eq!(get(&bytes[..cut]), Err(DecodeError::Truncated));
            }
        }
    }

    #[test]
    fn values_around_each_length_round_trip_in_the_shortest_form() {
        for bytes in 1..=8usize {
            let edge = 1u64 << (7 * bytes);
            for (value, length) in [(edge - 1, bytes), (edge, bytes + 1)] {
                let mut out = BytesMut::new();
                put(&mut out, value);
                assert_eq!((out.len(), len(value)), (length, length), "{value}");
                assert_eq!(get(&out), Ok((value, length)));
            }
        }
        let mut out = BytesMut::new();
        for value in [0, u64::MAX] {
            out.clear();
            put(&mut out, value);
            assert_eq!(get(&out), Ok((value, len(value))));
        }
    }
}
