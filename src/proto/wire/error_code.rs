//! The two registries of error codes. They are disjoint: one number means different things on a
//! stream and on a session. The draft names PROTOCOL_VIOLATION and gives no numbers; these are the
//! released peers' (64 and up belong to the application, 32 to 47 are reserved).

/// Codes of RESET_STREAM and STOP_SENDING.
pub mod stream_error {
    use crate::wire::ErrorCode;

    /// A failure of the sender that no other code names.
    pub const INTERNAL: ErrorCode = ErrorCode(0x0);
    /// Done with this stream, not a failure: the routine unsubscribe.
    pub const CANCEL: ErrorCode = ErrorCode(0x1);
    /// The group is older than the subscription's maximum latency allows.
    pub const DELIVERY_TIMEOUT: ErrorCode = ErrorCode(0x2);
    /// The session that the answer would have come from has ended.
    pub const SESSION_CLOSED: ErrorCode = ErrorCode(0x3);
    /// The session that would serve the request takes no further ones, as after a GOAWAY.
    pub const GOING_AWAY: ErrorCode = ErrorCode(0x4);
    /// The receiver of the stream, or a queue on the way to it, cannot keep up.
    pub const TOO_FAR_BEHIND: ErrorCode = ErrorCode(0x5);
    /// What came on the stream does not follow the draft.
    pub const MALFORMED_TRACK: ErrorCode = ErrorCode(0x12);
    /// The released peers' code for a control message that did not come in time. Never sent by us.
    pub const CONTROL_TIMEOUT: ErrorCode = ErrorCode(0x31);
    /// The group has more bytes than the sender keeps of one group.
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
    /// A frame declares more payload than the receiver accepts.
    pub const FRAME_TOO_LARGE: ErrorCode = ErrorCode(0x38);
    /// The track needs an extension that is not known here (0x33 of moq-transport's requests). Never on a wire under this number.
    pub const UNSUPPORTED_EXTENSION: ErrorCode = ErrorCode(0x3a);
    /// Named by the released peers for timestamps that do not agree. Never sent by us.
    pub const TIMESTAMP_MISMATCH: ErrorCode = ErrorCode(0x39);

    /// The name of a code, for people; `None` for one that this registry does not have.
    pub fn name(code: ErrorCode) -> Option<&'static str> {
        Some(match code {
            INTERNAL => "INTERNAL",
            CANCEL => "CANCEL",
            DELIVERY_TIMEOUT => "DELIVERY_TIMEOUT",
            SESSION_CLOSED => "SESSION_CLOSED",
            GOING_AWAY => "GOING_AWAY",
            TOO_FAR_BEHIND => "TOO_FAR_BEHIND",
            MALFORMED_TRACK => "MALFORMED_TRACK",
            CONTROL_TIMEOUT => "CONTROL_TIMEOUT",
            GROUP_TOO_LARGE => "GROUP_TOO_LARGE",
            NOT_FOUND => "NOT_FOUND",
            OLD => "OLD",
            EVICTED => "EVICTED",
            UNROUTABLE => "UNROUTABLE",
            WRONG_SIZE => "WRONG_SIZE",
            FRAME_TOO_LARGE => "FRAME_TOO_LARGE",
            TIMESTAMP_MISMATCH => "TIMESTAMP_MISMATCH",
            UNSUPPORTED_EXTENSION => "UNSUPPORTED_EXTENSION",
            _ => return None,
        })
    }
}

/// Codes of CONNECTION_CLOSE.
pub mod session_error {
    use crate::wire::ErrorCode;

    /// The session ends as planned.
    pub const NO_ERROR: ErrorCode = ErrorCode(0x0);
    /// A failure of the sender that no other code names.
    pub const INTERNAL: ErrorCode = ErrorCode(0x1);
    /// The peer may not have what it asked for.
    pub const UNAUTHORIZED: ErrorCode = ErrorCode(0x2);
    /// The peer broke a rule of the draft.
    pub const PROTOCOL_VIOLATION: ErrorCode = ErrorCode(0x3);
    /// A parameter was malformed or repeated.
    pub const KEY_VALUE_FORMATTING: ErrorCode = ErrorCode(0x6);
    /// The peer did not close within the deadline of a GOAWAY.
    pub const GOAWAY_TIMEOUT: ErrorCode = ErrorCode(0x10);
    /// The peer did not send SETUP, SESSION_CLIENT or another message within its deadline.
    pub const CONTROL_TIMEOUT: ErrorCode = ErrorCode(0x11);
    /// No version was offered that both ends speak.
    pub const VERSION: ErrorCode = ErrorCode(0x15);

    /// The name of a code, for people; `None` for one that this registry does not have.
    pub fn name(code: ErrorCode) -> Option<&'static str> {
        Some(match code {
            NO_ERROR => "NO_ERROR",
            INTERNAL => "INTERNAL",
            UNAUTHORIZED => "UNAUTHORIZED",
            PROTOCOL_VIOLATION => "PROTOCOL_VIOLATION",
            KEY_VALUE_FORMATTING => "KEY_VALUE_FORMATTING",
            GOAWAY_TIMEOUT => "GOAWAY_TIMEOUT",
            CONTROL_TIMEOUT => "CONTROL_TIMEOUT",
            VERSION => "VERSION",
            _ => return None,
        })
    }
}
