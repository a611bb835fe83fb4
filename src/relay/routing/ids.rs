//! Names of things that routing keeps.

use moqswitch_proto::wire::StreamId;

/// One shard of this relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// A session on this shard: index into the shard's connections plus its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    pub index: u32,
    pub generation: u32,
}

/// Who publishes: a session on some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub shard: ShardId,
    pub peer: PeerKey,
}

/// A request stream of a peer on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    pub peer: PeerKey,
    pub request: StreamId,
}

/// A track on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackKey {
    pub index: u32,
    pub generation: u32,
}

/// A subscription of one shard at another, by the subscribing shard's names: its track, and
/// which of the subscriptions that the track has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteTrack {
    pub track: TrackKey,
    pub subscription: u32,
}

/// A fetch that waits for its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchKey(pub u64);
