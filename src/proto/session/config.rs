//! What a session is told when it starts, and what it tells of itself.

use super::limits;
use crate::wire::{BroadcastPath, GroupRange, HopId, Setup, StreamHeads, TrackName, Version};

/// Which end of the connection a session is. It decides whose stream ids are whose (RFC 9000 section 2.1), and who may
/// send what in SETUP. Both ends may publish and subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that opened the connection. It speaks first in the handshake of 01 and 02.
    Client,
    /// The end that accepted the connection. It never sends Path or Role (draft "Path Parameter", "Role Parameter").
    Server,
}

/// What [`Session::new`](super::Session::new) takes.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Which end we are.
    pub side: Side,
    /// The version that ALPN named. One that is agreed on in band makes a client offer it and those
    /// before it, and a server take any of them.
    pub version: Version,
    /// Ours, sent on 05 and later; of a client's the path is in SESSION_CLIENT too.
    pub setup: Setup,
    /// Ours: named in ANNOUNCE_OK, appended to hops before 05, and what reflected announcements
    /// are known by. `UNKNOWN` turns the last off.
    pub hop: HopId,
    /// What the peer can make the session hold.
    pub limits: SessionLimits,
    /// What stands before the session's bytes on streams that we open.
    pub heads: StreamHeads,
}

/// Bounds of one session; see [`limits`] for what happens at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Live SUBSCRIBE requests of the peer. One more is reset.
    pub subscriptions_max: usize,
    /// Live ANNOUNCE_REQUESTs of the peer. One more is reset.
    pub announce_requests_max: usize,
    /// Live FETCH requests of the peer. One more is reset.
    pub fetches_max: usize,
    /// Unanswered TRACK requests of the peer. One more is reset.
    pub track_requests_max: usize,
    /// Live Probe Streams of the peer. One more is reset.
    pub probes_max: usize,
    /// Request streams of the peer in any state. One more is reset.
    pub requests_max: usize,
    /// Requests that wait for the peer's SETUP. One more is reset.
    pub requests_held_max: usize,
    /// Broadcasts that the peer announces to us, over all our Announce Streams. The stream with one more is reset.
    pub announced_max: usize,
    /// Group streams of the peer that are not finished. One more gets STOP_SENDING.
    pub groups_max: usize,
    /// Bytes of one request that waits for SETUP. With more it is reset.
    pub control_buffer_bytes_max: usize,
    /// Bytes of incomplete and held messages over all streams. With more the session is closed.
    pub control_bytes_max: usize,
    /// Events that the caller has not taken. With more the session is closed.
    pub events_queued_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            subscriptions_max: limits::SUBSCRIPTIONS_MAX,
            announce_requests_max: limits::ANNOUNCE_REQUESTS_MAX,
            fetches_max: limits::FETCHES_MAX,
            track_requests_max: limits::TRACK_REQUESTS_MAX,
            probes_max: limits::PROBES_MAX,
            requests_max: limits::REQUESTS_MAX,
            requests_held_max: limits::REQUESTS_HELD_MAX,
            announced_max: limits::ANNOUNCED_MAX,
            groups_max: limits::GROUPS_MAX,
            control_buffer_bytes_max: limits::CONTROL_BUFFER_BYTES_MAX,
            control_bytes_max: limits::CONTROL_BYTES_MAX,
            events_queued_max: limits::EVENTS_QUEUED_MAX,
        }
    }
}

/// A SUBSCRIBE without its id, which the session assigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeParameters {
    /// The full path of the broadcast.
    pub broadcast: BroadcastPath,
    /// The name of the track within the broadcast.
    pub track: TrackName,
    /// The generation wanted, 0 for the current one. In the draft 06 text alone, never sent.
    pub epoch: u64,
    /// Higher first; 0 to 255.
    pub priority: u8,
    /// Older groups first. Sent from 03 to 05.
    pub ordered: bool,
    /// How late a group may be, in milliseconds. Sent from 03 on.
    pub max_latency_ms: u64,
    /// Which groups are wanted. Sent from 03 on; before, a subscription starts at the latest group and has no end.
    pub range: GroupRange,
}

/// What the session holds, and what it has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// All streams with state.
    pub streams: usize,
    /// What is held at this moment.
    pub live: SessionLive,
    /// What was counted since the session began.
    pub counters: SessionCounters,
}

/// State that is held now. All zero when no stream is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLive {
    /// The peer's request streams in any state.
    pub requests: usize,
    /// Of those, the ones that wait for the peer's SETUP.
    pub requests_held: usize,
    /// Request streams we opened.
    pub opened: usize,
    /// Our subscriptions whose stream is open.
    pub subscriptions: usize,
    /// One-way streams of the peer that are not finished.
    pub incoming: usize,
    /// Broadcasts the peer announces.
    pub announced: usize,
    /// Bytes of incomplete and held messages.
    pub buffered_bytes: usize,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Requests of the peer that were reset because a limit was reached.
    pub requests_refused: u64,
    /// Streams of a type the version does not have.
    pub streams_unknown: u64,
    /// Group streams for a subscription that is not live, or above the limit.
    pub groups_refused: u64,
    /// Datagrams that are malformed, too large or for a subscription that is not live.
    pub datagrams_dropped: u64,
    /// Announcements that came back to us, or whose path is too long to be used.
    pub announcements_discarded: u64,
    /// Messages of ours that cannot be said in this version or are above its limits.
    pub messages_unsendable: u64,
}
