//! Bounds on everything a peer can make grow in a session. The unit is in the name; what
//! happens at the bound is said beside it. Those in [`SessionLimits`](super::SessionLimits)
//! are its defaults.

use crate::limits::MESSAGE_BYTES_MAX;

/// Live SUBSCRIBE requests of the peer. One more is reset.
pub const SUBSCRIPTIONS_MAX: usize = 4096;

/// Live ANNOUNCE_REQUESTs of the peer. One more is reset.
pub const ANNOUNCE_REQUESTS_MAX: usize = 64;

/// Live FETCH requests of the peer. One more is reset.
pub const FETCHES_MAX: usize = 1024;

/// Unanswered TRACK requests of the peer. One more is reset.
pub const TRACK_REQUESTS_MAX: usize = 1024;

/// Live Probe Streams of the peer. One more is reset.
pub const PROBES_MAX: usize = 4;

/// Request streams of the peer in any state, those without a type included. One more is reset.
pub const REQUESTS_MAX: usize = 8192;

/// Requests that wait for the peer's SETUP. One more is reset.
pub const REQUESTS_HELD_MAX: usize = 256;

/// Broadcasts the peer announces to us, over all our Announce Streams. The stream with one more
/// is reset, which ends all its announcements. It is for clients; a relay lets a session announce 4096 by default.
pub const ANNOUNCED_MAX: usize = 65_536;

/// Group streams of the peer that are not finished. One more gets STOP_SENDING.
pub const GROUPS_MAX: usize = 16_384;

/// Bytes of one held request. With more the request is reset.
pub const CONTROL_BUFFER_BYTES_MAX: usize = MESSAGE_BYTES_MAX + MESSAGE_PREFIX_BYTES_MAX;

/// Bytes of incomplete and held messages over all streams. With more the session is closed.
pub const CONTROL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Events the caller has not taken. With more the session is closed; a caller that takes events
/// after each read never gets there.
pub const EVENTS_QUEUED_MAX: usize = 256 * 1024;

/// Subscriptions that the publisher has finished but whose last groups may still arrive, out of
/// order with the FIN. The oldest is forgotten, and its stragglers are refused.
pub const SUBSCRIPTIONS_ENDED_MAX: usize = 256;

/// Gaps in the order in which the peer's streams of one direction appear. With more the session
/// is closed. Streams appear nearly in order: transports open them so.
pub const STREAM_GAPS_MAX: usize = 1024;

/// Gaps in the Subscribe IDs the peer has used. A peer that chooses ids so that there are more
/// goes unchecked for the ids beyond them.
pub const SUBSCRIBE_ID_GAPS_MAX: usize = 1024;

/// Bytes that consecutive messages for one stream are gathered into before a write of its own.
pub const WRITE_BYTES_MAX: usize = 16 * 1024;

/// Stream type, message type and message length.
const MESSAGE_PREFIX_BYTES_MAX: usize = 24;

const _: () = {
    assert!(REQUESTS_HELD_MAX <= REQUESTS_MAX);
    assert!(ANNOUNCE_REQUESTS_MAX + SUBSCRIPTIONS_MAX + FETCHES_MAX + TRACK_REQUESTS_MAX + PROBES_MAX <= REQUESTS_MAX);
    // Every announced broadcast can go at once, in one call, which may also have read a
    // message a byte.
    assert!(ANNOUNCED_MAX + MESSAGE_BYTES_MAX < EVENTS_QUEUED_MAX);
    assert!(CONTROL_BUFFER_BYTES_MAX < CONTROL_BYTES_MAX);
};
