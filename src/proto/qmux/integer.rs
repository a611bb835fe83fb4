//! Integers of frames and parameters.

use bytes::BytesMut;

use crate::wire::varint;

/// Appends an integer. Ours are counters and ids that cannot reach the bound.
pub(super) fn put(out: &mut BytesMut, value: u64) {
    let put = varint::put(out, value.min(varint::VALUE_MAX));
    debug_assert!(put.is_ok(), "the largest value fits");
}
