//! What a session is told when it starts, and what it tells of itself.

use super::limits;
use crate::wire::{BroadcastPath, GroupRange, HopId, Setup, StreamHeads, TrackName, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub side: Side,
    /// The version that ALPN named. One that is agreed on in band makes a client offer it and those
    /// before it, and a server take any of them.
    pub version: Version,
    /// Ours, sent on 05 and later; of a client's the path is in SESSION_CLIENT too.
    pub setup: Setup,
    /// Ours: named in ANNOUNCE_OK, appended to hops before 05, and what reflected announcements
    /// are known by. `UNKNOWN` turns the last off.
    pub hop: HopId,
    pub limits: SessionLimits,
    /// What stands before the session's bytes on streams that we open.
    pub heads: StreamHeads,
}

/// Bounds of one session; see [`limits`] for what happens at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    pub subscriptions_max: usize,
    pub announce_requests_max: usize,
    pub fetches_max: usize,
    pub track_requests_max: usize,
    pub probes_max: usize,
    pub requests_max: usize,
    pub requests_held_max: usize,
    pub announced_max: usize,
    pub groups_max: usize,
    pub control_buffer_bytes_max: usize,
    pub control_bytes_max: usize,
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
    pub broadcast: BroadcastPath,
    pub track: TrackName,
    pub epoch: u64,
    pub priority: u8,
    pub ordered: bool,
    pub max_latency_ms: u64,
    pub range: GroupRange,
}

/// What the session holds, and what it has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// All streams with state.
    pub streams: usize,
    pub live: SessionLive,
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
