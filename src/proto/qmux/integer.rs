//! Integers of frames and transport parameters.

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::varint;

use super::error::Violation;

/// Takes one off the front.
pub(super) fn take(input: &mut Bytes) -> Result<u64, Violation> {
    let (value, length) = varint::get(input)?;
    input.advance(length);
    Ok(value)
}

/// Appends one. Ours are counters and ids that cannot reach the bound.
pub(super) fn put(out: &mut BytesMut, value: u64) {
    let put = varint::put(out, value.min(varint::VALUE_MAX));
    debug_assert!(put.is_ok(), "the largest value fits");
}
