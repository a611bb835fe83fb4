//! Bounds of what moq-transport has on the wire and of what its peer can make a session hold, beside those that it shares
//! with moq-lite ([`session::limits`](crate::session::limits)).

/// Fields of a namespace. More close the session (section 2.4.1).
pub const NAMESPACE_FIELDS_MAX: usize = 32;

/// Bytes of a namespace and the name of a track together. More close the session (section 2.4.1). What is above the
/// limits of paths and names of moq-lite, but not above this, is refused.
pub const FULL_NAME_BYTES_MAX: usize = 4096;

/// Bytes of a reason. More close the session (section 1.4.4).
pub const REASON_BYTES_MAX: usize = 1024;

/// Parameters of one message. More close the session.
pub const PARAMETERS_MAX: usize = 64;

/// Properties of a track, in bytes as they came. They are kept for those who subscribe to it. A track with more is refused.
pub const TRACK_PROPERTIES_BYTES_MAX: usize = 4096;

/// Streams of groups whose track alias is not known yet. One more gets STOP_SENDING.
pub const UNBOUND_STREAMS_MAX: usize = 64;

/// Bytes of one of them. With more it gets STOP_SENDING.
pub const UNBOUND_BYTES_MAX: usize = 32 * 1024;

/// Track aliases of subscriptions that are over, which late streams still name. The oldest is forgotten.
pub const RETIRED_ALIASES_MAX: usize = 256;

/// Tracks that the peer publishes by PUBLISH. One more is refused with EXCESSIVE_LOAD.
pub const PUBLISHED_TRACKS_MAX: usize = 1024;

/// Gaps in the order of the peer's request ids. With more the session is closed.
pub const REQUEST_ID_GAPS_MAX: usize = 1024;

const _: () = {
    assert!(UNBOUND_STREAMS_MAX * UNBOUND_BYTES_MAX <= crate::session::limits::CONTROL_BYTES_MAX / 2);
    assert!(FULL_NAME_BYTES_MAX + TRACK_PROPERTIES_BYTES_MAX < u16::MAX as usize);
};
