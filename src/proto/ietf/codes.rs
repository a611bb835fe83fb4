//! Error codes of the draft (section 15.8), and what stands for those of moq-lite in it.

use crate::wire::{ErrorCode, stream_error};

/// Codes of CONNECTION_CLOSE that moq-lite does not have.
pub(crate) mod session_code {
    use crate::wire::ErrorCode;

    pub(crate) const INVALID_REQUEST_ID: ErrorCode = ErrorCode(0x4);
    pub(crate) const DUPLICATE_TRACK_ALIAS: ErrorCode = ErrorCode(0x5);
}

/// Codes of REQUEST_ERROR.
pub(crate) mod request_code {
    pub(crate) const INTERNAL_ERROR: u64 = 0x0;
    pub(crate) const TIMEOUT: u64 = 0x2;
    pub(crate) const NOT_SUPPORTED: u64 = 0x3;
    pub(crate) const GOING_AWAY: u64 = 0x6;
    pub(crate) const EXCESSIVE_LOAD: u64 = 0x9;
    pub(crate) const DOES_NOT_EXIST: u64 = 0x10;
    pub(crate) const INVALID_RANGE: u64 = 0x11;
    pub(crate) const MALFORMED_TRACK: u64 = 0x12;
    pub(crate) const DUPLICATE_SUBSCRIPTION: u64 = 0x19;
    pub(crate) const PREFIX_OVERLAP: u64 = 0x30;
    pub(crate) const UNSUPPORTED_EXTENSION: u64 = 0x33;
}

/// Codes of PUBLISH_DONE.
pub(crate) mod done_code {
    pub(crate) const INTERNAL_ERROR: u64 = 0x0;
    pub(crate) const TRACK_ENDED: u64 = 0x2;
    pub(crate) const SUBSCRIPTION_ENDED: u64 = 0x3;
    pub(crate) const GOING_AWAY: u64 = 0x4;
    pub(crate) const TOO_FAR_BEHIND: u64 = 0x5;
    pub(crate) const EXCESSIVE_LOAD: u64 = 0x9;
    pub(crate) const MALFORMED_TRACK: u64 = 0x12;
}

/// Why a request is refused that a session of moq-lite would reset with `code`.
pub(crate) fn refusal(code: ErrorCode) -> u64 {
    match code {
        stream_error::NOT_FOUND | stream_error::UNROUTABLE => request_code::DOES_NOT_EXIST,
        stream_error::GOING_AWAY | stream_error::SESSION_CLOSED => request_code::GOING_AWAY,
        stream_error::TOO_FAR_BEHIND => request_code::EXCESSIVE_LOAD,
        stream_error::DELIVERY_TIMEOUT => request_code::TIMEOUT,
        stream_error::MALFORMED_TRACK => request_code::MALFORMED_TRACK,
        stream_error::UNSUPPORTED_EXTENSION => request_code::UNSUPPORTED_EXTENSION,
        _ => request_code::INTERNAL_ERROR,
    }
}

/// Why a subscription ends that a session of moq-lite would reset with `code`.
pub(crate) fn done(code: ErrorCode) -> u64 {
    match code {
        stream_error::GOING_AWAY => done_code::GOING_AWAY,
        stream_error::TOO_FAR_BEHIND => done_code::TOO_FAR_BEHIND,
        stream_error::MALFORMED_TRACK => done_code::MALFORMED_TRACK,
        stream_error::NOT_FOUND | stream_error::UNROUTABLE | stream_error::CANCEL => done_code::TRACK_ENDED,
        _ => done_code::INTERNAL_ERROR,
    }
}

/// What a REQUEST_ERROR says in terms of moq-lite.
pub(crate) fn refused(code: u64) -> ErrorCode {
    match code {
        request_code::DOES_NOT_EXIST => stream_error::NOT_FOUND,
        request_code::GOING_AWAY => stream_error::GOING_AWAY,
        request_code::EXCESSIVE_LOAD => stream_error::TOO_FAR_BEHIND,
        request_code::MALFORMED_TRACK => stream_error::MALFORMED_TRACK,
        request_code::UNSUPPORTED_EXTENSION => stream_error::UNSUPPORTED_EXTENSION,
        _ => stream_error::INTERNAL,
    }
}

/// What a PUBLISH_DONE says in terms of moq-lite; `None`: the track is over as planned.
pub(crate) fn ended(code: u64) -> Option<ErrorCode> {
    match code {
        done_code::TRACK_ENDED | done_code::SUBSCRIPTION_ENDED => None,
        done_code::GOING_AWAY => Some(stream_error::GOING_AWAY),
        done_code::TOO_FAR_BEHIND | done_code::EXCESSIVE_LOAD => Some(stream_error::TOO_FAR_BEHIND),
        done_code::MALFORMED_TRACK => Some(stream_error::MALFORMED_TRACK),
        _ => Some(stream_error::INTERNAL),
    }
}

/// The code of a stream that is reset: the draft's registry ends where that of moq-lite goes on.
pub(crate) fn reset(code: ErrorCode) -> ErrorCode {
    match code {
        stream_error::OLD | stream_error::EVICTED => stream_error::DELIVERY_TIMEOUT,
        stream_error::NOT_FOUND | stream_error::UNROUTABLE => stream_error::CANCEL,
        code if code.0 <= stream_error::MALFORMED_TRACK.0 => code,
        _ => stream_error::INTERNAL,
    }
}
