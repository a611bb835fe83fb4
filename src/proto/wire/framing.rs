//! The length prefix of a message (draft "Message Length"):
//!
//! ```text
//! [ Type (i) ] | Message Length (i) | body of that many bytes
//! ```

use bytes::BytesMut;

use crate::limits::MESSAGE_BYTES_MAX;

use super::body::Body;
use super::{DecodeError, EncodeError, varint};

/// Decodes a length-prefixed message whose fields `fields` reads; they must use up the body.
#[inline]
pub(super) fn decode<'a, M>(
    input: &'a [u8],
    fields: impl FnOnce(&mut Body<'a>) -> Result<M, DecodeError>,
) -> Result<(M, usize), DecodeError> {
    decode_limited(input, MESSAGE_BYTES_MAX, DecodeError::TooLarge("message"), fields)
}

/// The same for a message whose body has at most `bytes_max` bytes, else `error`: as soon as the
/// length is there, so nothing is buffered for a message that cannot be right.
#[inline]
pub(super) fn decode_limited<'a, M>(
    input: &'a [u8],
    bytes_max: usize,
    error: DecodeError,
    fields: impl FnOnce(&mut Body<'a>) -> Result<M, DecodeError>,
) -> Result<(M, usize), DecodeError> {
    let (length, prefix_bytes) = varint::get(input)?;
    let length = usize::try_from(length).map_err(|_| error)?;
    if length > bytes_max {
        return Err(error);
    }
    let rest = input.get(prefix_bytes..).ok_or(DecodeError::Truncated)?;
    let mut body = Body::new(rest.get(..length).ok_or(DecodeError::Truncated)?);
    let message = fields(&mut body)?;
    body.finish()?;
    Ok((message, prefix_bytes + length))
}

/// Decodes a typed message: `fields` gets the type and reads the body after it.
pub(super) fn decode_typed<'a, M>(
    input: &'a [u8],
    fields: impl FnOnce(u64, &mut Body<'a>) -> Result<M, DecodeError>,
) -> Result<(M, usize), DecodeError> {
    let (kind, kind_bytes) = varint::get(input)?;
    let rest = input.get(kind_bytes..).ok_or(DecodeError::Truncated)?;
    let (message, used) = decode(rest, |body| fields(kind, body))?;
    Ok((message, kind_bytes + used))
}

/// Decodes a message whose length is two bytes, as moq-transport up to 14 has it.
pub(super) fn decode_short<'a, M>(
    input: &'a [u8],
    fields: impl FnOnce(&mut Body<'a>) -> Result<M, DecodeError>,
) -> Result<(M, usize), DecodeError> {
    let length = input.first_chunk().ok_or(DecodeError::Truncated)?;
    let end = SHORT_PREFIX_BYTES + usize::from(u16::from_be_bytes(*length));
    let mut body = Body::new(input.get(SHORT_PREFIX_BYTES..end).ok_or(DecodeError::Truncated)?);
    let message = fields(&mut body)?;
    body.finish()?;
    Ok((message, end))
}

/// Encodes a length-prefixed message whose fields `fields` writes.
pub(super) fn encode(
    out: &mut BytesMut,
    fields: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = fields(out).and_then(|()| put_prefix(out, start));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Encodes a typed message.
pub(super) fn encode_typed(
    out: &mut BytesMut,
    kind: u64,
    fields: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = varint::put(out, kind).and_then(|()| encode(out, fields));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Encodes a message whose length is two bytes.
pub(super) fn encode_short(
    out: &mut BytesMut,
    fields: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; SHORT_PREFIX_BYTES]);
    let result = fields(out).and_then(|()| {
        let length = out.len() - start - SHORT_PREFIX_BYTES;
        let length = u16::try_from(length).map_err(|_| EncodeError::TooLarge("message"))?;
        if let Some(prefix) = out.get_mut(start..start + SHORT_PREFIX_BYTES) {
            prefix.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Puts the length before the body that starts at `start`: written behind it, then rotated to the
/// front, which needs no second buffer.
fn put_prefix(out: &mut BytesMut, start: usize) -> Result<(), EncodeError> {
    let length = out.len() - start;
    if length > MESSAGE_BYTES_MAX {
        return Err(EncodeError::TooLarge("message"));
    }
    varint::put(out, length as u64)?;
    let prefix_bytes = out.len() - start - length;
    if let Some(message) = out.get_mut(start..) {
        message.rotate_right(prefix_bytes);
    }
    Ok(())
}

const SHORT_PREFIX_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_byte(input: &[u8]) -> Result<(u8, usize), DecodeError> {
        decode(input, |body| body.byte())
    }

    #[test]
    fn length_is_strict_and_missing_bytes_are_told_from_short_bodies() {
        assert_eq!(decode_byte(&[1, 7]), Ok((7, 2)));
        assert_eq!(decode_byte(&[1, 7, 9]), Ok((7, 2)));
        assert_eq!(decode_byte(&[]), Err(DecodeError::Truncated));
        assert_eq!(decode_byte(&[1]), Err(DecodeError::Truncated));
        assert_eq!(decode_byte(&[2, 7]), Err(DecodeError::Truncated));
        assert_eq!(decode_byte(&[2, 7, 9]), Err(DecodeError::Trailing));
        assert!(matches!(decode_byte(&[0]), Err(DecodeError::Invalid(_))));
    }

    #[test]
    fn an_oversized_message_is_refused_at_its_length() {
        let mut input = BytesMut::new();
        varint::put(&mut input, MESSAGE_BYTES_MAX as u64 + 1).unwrap();
        assert_eq!(decode_byte(&input), Err(DecodeError::TooLarge("message")));
        let mut input = BytesMut::new();
        varint::put(&mut input, MESSAGE_BYTES_MAX as u64).unwrap();
        assert_eq!(decode_byte(&input), Err(DecodeError::Truncated));
        assert_eq!(decode_byte(&[0xff; 8]), Err(DecodeError::TooLarge("message")));
    }

    #[test]
    fn every_prefix_length_is_put_in_front() {
        for length in [0, 1, 63, 64, 16_383, 16_384, MESSAGE_BYTES_MAX] {
            let mut out = BytesMut::from(&b"before"[..]);
            let body: Vec<u8> = (0..length).map(|index| (index % 251).to_le_bytes()[0]).collect();
            encode_typed(&mut out, 2, |out| {
                out.extend_from_slice(&body);
                Ok(())
            })
            .unwrap();
            assert_eq!(&out[..7], b"before\x02");
            let (got, used) = decode(&out[7..], |rest| {
                (0..length).map(|_| rest.byte()).collect::<Result<Vec<u8>, _>>()
            })
            .unwrap();
            assert_eq!((got, used), (body, out.len() - 7));
        }
    }

    #[test]
    fn short_lengths_are_two_bytes() {
        for length in [0, 1, 255, 256, usize::from(u16::MAX)] {
            let mut out = BytesMut::from(&b"before"[..]);
            encode_short(&mut out, |out| {
                out.resize(out.len() + length, 7);
                Ok(())
            })
            .unwrap();
            let (got, used) = decode_short(&out[6..], |body| {
                let got = body.len();
                body.skip_rest();
                Ok(got)
            })
            .unwrap();
            assert_eq!((got, used), (length, out.len() - 6));
            let cut = decode_short(&out[6..out.len() - 1], |_| Ok(()));
            assert_eq!(cut, Err(DecodeError::Truncated));
        }
        let mut out = BytesMut::from(&b"before"[..]);
        let refused = encode_short(&mut out, |out| {
            out.resize(out.len() + usize::from(u16::MAX) + 1, 7);
            Ok(())
        });
        assert_eq!(refused, Err(EncodeError::TooLarge("message")));
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn a_failed_encoder_leaves_no_bytes() {
        let mut out = BytesMut::from(&b"before"[..]);
        let result = encode_typed(&mut out, 2, |out| {
            out.extend_from_slice(b"partial");
            Err(EncodeError::Invalid("test"))
        });
        assert_eq!(result, Err(EncodeError::Invalid("test")));
        let oversized = encode_typed(&mut out, 2, |out| {
            out.extend_from_slice(&[0; MESSAGE_BYTES_MAX + 1]);
            Ok(())
        });
        assert_eq!(oversized, Err(EncodeError::TooLarge("message")));
        assert_eq!(&out[..], b"before");
    }
}
