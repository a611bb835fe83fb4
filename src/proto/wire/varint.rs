//! QUIC variable-length integers (RFC 9000 section 16): the top two bits of the first byte say
//! whether it is 1, 2, 4 or 8 bytes long. Sent in the shortest form, accepted in any.

use bytes::BytesMut;

use super::{DecodeError, EncodeError};

/// The largest value the wire carries.
pub const VALUE_MAX: u64 = (1 << 62) - 1;

const TOO_LARGE: EncodeError = EncodeError::TooLarge("integer above 2^62-1");

/// Appends a value.
#[inline]
pub fn put(out: &mut BytesMut, value: u64) -> Result<(), EncodeError> {
    match len(value) {
        1 => out.extend_from_slice(&value.to_be_bytes()[7..]),
        2 => out.extend_from_slice(&(value | 0b01 << 14).to_be_bytes()[6..]),
        4 => out.extend_from_slice(&(value | 0b10 << 30).to_be_bytes()[4..]),
        _ if value <= VALUE_MAX => out.extend_from_slice(&(value | 0b11 << 62).to_be_bytes()),
        _ => return Err(TOO_LARGE),
    }
    Ok(())
}

/// Appends some values, or none of them.
#[inline]
pub fn put_all<const COUNT: usize>(out: &mut BytesMut, values: [u64; COUNT]) -> Result<(), EncodeError> {
    if values.iter().any(|value| *value > VALUE_MAX) {
        return Err(TOO_LARGE);
    }
    let mut words = [[0; 8]; COUNT];
    let mut length = 0;
    let bytes = words.as_flattened_mut();
    for value in values {
        // What is behind the value in its word is written over by the next.
        let value_bytes = len(value);
        let tag = (value_bytes.trailing_zeros() as u64) << 62;
        let word = value << (64 - 8 * value_bytes) | tag;
        if let Some(place) = bytes.get_mut(length..).and_then(|rest| rest.first_chunk_mut()) {
            *place = word.to_be_bytes();
        }
        length += value_bytes;
    }
    out.extend_from_slice(bytes.get(..length).unwrap_or_default());
    Ok(())
}

/// Reads a value from the front of `input`; also returns how many bytes it took.
#[inline]
pub fn get(input: &[u8]) -> Result<(u64, usize), DecodeError> {
    let Some(&first) = input.first() else {
        return Err(DecodeError::Truncated);
    };
    let read = match first >> 6 {
        0b00 => Some((u64::from(first), 1)),
        0b01 => input
            .first_chunk()
            .map(|bytes| (u64::from(u16::from_be_bytes(*bytes) & 0x3fff), 2)),
        0b10 => input
            .first_chunk()
            .map(|bytes| (u64::from(u32::from_be_bytes(*bytes) & 0x3fff_ffff), 4)),
        _ => input
            .first_chunk()
            .map(|bytes| (u64::from_be_bytes(*bytes) & VALUE_MAX, 8)),
    };
    read.ok_or(DecodeError::Truncated)
}

/// How many bytes [`put`] appends for a value.
#[inline]
pub fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9000_examples_decode() {
        let examples: [(&[u8], u64); 5] = [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in examples {
            assert_eq!(get(bytes), Ok((value, bytes.len())));
        }
    }

    #[test]
    fn values_around_each_length_round_trip_in_the_shortest_form() {
        let edges = [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            ((1 << 30) - 1, 4),
            (1 << 30, 8),
            (VALUE_MAX, 8),
        ];
        for (value, bytes) in edges {
            let mut out = BytesMut::new();
            put(&mut out, value).unwrap();
            assert_eq!((out.len(), len(value)), (bytes, bytes));
            assert_eq!(get(&out), Ok((value, bytes)));
            let mut all = BytesMut::from(&b"before"[..]);
            put_all(&mut all, [value, 63, value]).unwrap();
            assert_eq!(all, [&b"before"[..], &out, &[63], &out].concat());
            for cut in 0..bytes {
                assert_eq!(get(&out[..cut]), Err(DecodeError::Truncated));
            }
        }
    }

    #[test]
    fn a_value_the_wire_cannot_carry_is_refused_without_output() {
        for value in [VALUE_MAX + 1, u64::MAX] {
            let mut out = BytesMut::new();
            assert!(matches!(put(&mut out, value), Err(EncodeError::TooLarge(_))));
            assert!(matches!(put_all(&mut out, [1, value]), Err(EncodeError::TooLarge(_))));
            assert!(out.is_empty());
        }
    }
}
