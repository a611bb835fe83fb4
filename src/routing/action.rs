//! What tracks may hold, and what they want done.

use std::time::Duration;

use crate::wire::{
    BroadcastPath, ErrorCode, Fetch, GroupSequence, StreamId, SubscribeId, SubscribeOk, SubscribeUpdate, TrackInfo,
    TrackName, TrackRequest,
};

use super::demand::Demand;
use super::ids::{FetchKey, PeerKey, ShardId, TrackKey};
use super::remote::RemoteMessage;

/// Bounds of a shard's tracks; each says what happens at it.
#[derive(Clone, Debug)]
pub struct TrackLimits {
    /// Bytes of all cached groups. The oldest that is no track's latest goes first.
    pub cache_bytes_max: usize,
    /// How long a group is kept after a newer one came, at most.
    pub cache_age_max: Duration,
    /// How long a track nobody wants stays subscribed, in case someone comes back.
    pub linger: Duration,
    /// Cached groups of one track. The oldest goes.
    pub groups_per_track_max: usize,
    /// Bytes of one group. A longer one is reset for all its subscribers.
    pub group_bytes_max: usize,
    /// Tracks of a shard. A request for a further one is refused.
    pub tracks_max: usize,
    /// Fetches that wait for publishers. A further one is refused.
    pub fetches_max: usize,
}

impl Default for TrackLimits {
    fn default() -> Self {
        Self {
            cache_bytes_max: 256 * 1024 * 1024,
            cache_age_max: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            groups_per_track_max: 1024,
            group_bytes_max: 32 * 1024 * 1024,
            tracks_max: 1 << 18,
            fetches_max: 4096,
        }
    }
}

/// Something for a session or another shard to do. `broadcast` is a full path.
#[derive(Debug)]
pub enum Action {
    /// Subscribe at a publisher of this shard; answered by `Tracks::on_subscribed`.
    Subscribe {
        peer: PeerKey,
        track: TrackKey,
        broadcast: BroadcastPath,
        name: TrackName,
        demand: Demand,
    },
    UpdateSubscription {
        peer: PeerKey,
        id: SubscribeId,
        update: SubscribeUpdate,
    },
    Unsubscribe {
        peer: PeerKey,
        id: SubscribeId,
    },
    RequestTrack {
        peer: PeerKey,
        track: TrackKey,
        request: TrackRequest,
    },
    Fetch {
        peer: PeerKey,
        fetch: FetchKey,
        message: Fetch,
    },
    CancelRequest {
        peer: PeerKey,
        stream: StreamId,
    },
    Accept {
        peer: PeerKey,
        request: StreamId,
        ok: SubscribeOk,
    },
    Start {
        peer: PeerKey,
        request: StreamId,
        group: GroupSequence,
    },
    End {
        peer: PeerKey,
        request: StreamId,
        end: GroupSequence,
    },
    Drop {
        peer: PeerKey,
        request: StreamId,
        start: GroupSequence,
        end: GroupSequence,
        code: ErrorCode,
    },
    Finish {
        peer: PeerKey,
        request: StreamId,
    },
    /// The scheduler has ended this request's stream itself.
    Fetched {
        peer: PeerKey,
        request: StreamId,
    },
    Refuse {
        peer: PeerKey,
        request: StreamId,
        code: ErrorCode,
    },
    TrackInfo {
        peer: PeerKey,
        request: StreamId,
        info: TrackInfo,
    },
    Remote(ShardId, RemoteMessage),
}
