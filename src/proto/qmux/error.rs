//! What a peer did wrong, with the transport error code that tells it so (RFC 9000, section 20.1).

use crate::wire::DecodeError;

/// Ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u64,
    pub(super) reason: &'static str,
}

impl Violation {
    pub(super) const fn new(code: u64, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

impl From<DecodeError> for Violation {
    fn from(_: DecodeError) -> Self {
        Self::new(FRAME_ENCODING_ERROR, "a frame is cut off")
    }
}

pub(super) const INTERNAL_ERROR: u64 = 0x1;
pub(super) const FLOW_CONTROL_ERROR: u64 = 0x3;
pub(super) const STREAM_LIMIT_ERROR: u64 = 0x4;
pub(super) const STREAM_STATE_ERROR: u64 = 0x5;
pub(super) const FINAL_SIZE_ERROR: u64 = 0x6;
pub(super) const FRAME_ENCODING_ERROR: u64 = 0x7;
pub(super) const TRANSPORT_PARAMETER_ERROR: u64 = 0x8;
pub(super) const PROTOCOL_VIOLATION: u64 = 0xa;
