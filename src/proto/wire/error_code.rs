//! The two registries of error codes. They are disjoint: one number means different things on a
//! stream and on a session. The draft names PROTOCOL_VIOLATION and gives no numbers; these are the
//! released peers' (64 and up belong to the application, 32 to 47 are reserved).

/// Codes of RESET_STREAM and STOP_SENDING.
pub mod stream_error {
    use crate::wire::ErrorCode;

    pub const INTERNAL: ErrorCode = ErrorCode(0x0);
    /// Done with this stream, not a failure: the routine unsubscribe.
    pub const CANCEL: ErrorCode = ErrorCode(0x1);
    pub const DELIVERY_TIMEOUT: ErrorCode = ErrorCode(0x2);
    pub const SESSION_CLOSED: ErrorCode = ErrorCode(0x3);
    pub const GOING_AWAY: ErrorCode = ErrorCode(0x4);
    pub const TOO_FAR_BEHIND: ErrorCode = ErrorCode(0x5);
    pub const MALFORMED_TRACK: ErrorCode = ErrorCode(0x12);
    pub const CONTROL_TIMEOUT: ErrorCode = ErrorCode(0x31);
    pub const GROUP_TOO_LARGE: ErrorCode = ErrorCode(0x32);
    /// No such broadcast or track at the publisher.
    pub const NOT_FOUND: ErrorCode = ErrorCode(0x33);
    /// The group was superseded by a newer one.
    pub const OLD: ErrorCode = ErrorCode(0x34);
    /// The group was dropped for want of memory; it may be fetched again.
    pub const EVICTED: ErrorCode = ErrorCode(0x35);
    /// Nobody announces the broadcast, so there is no route to it.
    pub const UNROUTABLE: ErrorCode = ErrorCode(0x36);
    /// A frame's payload did not have the size it declared.
    pub const WRONG_SIZE: ErrorCode = ErrorCode(0x37);
    pub const FRAME_TOO_LARGE: ErrorCode = ErrorCode(0x38);
    pub const TIMESTAMP_MISMATCH: ErrorCode = ErrorCode(0x39);
}

/// Codes of CONNECTION_CLOSE.
pub mod session_error {
    use crate::wire::ErrorCode;

    pub const NO_ERROR: ErrorCode = ErrorCode(0x0);
    pub const INTERNAL: ErrorCode = ErrorCode(0x1);
    pub const UNAUTHORIZED: ErrorCode = ErrorCode(0x2);
    pub const PROTOCOL_VIOLATION: ErrorCode = ErrorCode(0x3);
    /// A parameter was malformed or repeated.
    pub const KEY_VALUE_FORMATTING: ErrorCode = ErrorCode(0x6);
    /// The peer did not close within the deadline of a GOAWAY.
    pub const GOAWAY_TIMEOUT: ErrorCode = ErrorCode(0x10);
    pub const CONTROL_TIMEOUT: ErrorCode = ErrorCode(0x11);
    pub const VERSION: ErrorCode = ErrorCode(0x15);
}
