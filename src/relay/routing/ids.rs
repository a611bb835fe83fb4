//! Names of things that routing keeps.

use moqswitch_proto::wire::StreamId;

/// One shard of this relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// A session on this shard: index into the shard's connections plus its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// The place among the shard's connections, used again by a later session.
    pub index: u32,
    /// Tells apart the sessions that have had the place.
    pub generation: u32,
}

/// Who publishes: a session on some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The shard that has the session.
    pub shard: ShardId,
    /// The session.
    pub peer: PeerKey,
}

/// A request stream of a peer on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// The session of the peer that asked.
    pub peer: PeerKey,
    /// The stream of the request.
    pub request: StreamId,
}

/// A track on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackKey {
    /// The place among the shard's tracks, used again by a later track.
    pub index: u32,
    /// Tells apart the tracks that have had the place.
    pub generation: u32,
}

/// A subscription of one shard at another, by the subscribing shard's names: its track, and
/// which of the subscriptions that the track has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteTrack {
    /// The subscribing shard's track.
    pub track: TrackKey,
    /// Counts the subscriptions that the track has had.
    pub subscription: u32,
}

/// A fetch that waits for its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchKey(pub u64);
