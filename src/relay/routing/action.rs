//! What tracks may hold, and what they want done.

use std::time::Duration;

use bytes::Bytes;
use moqswitch_proto::wire::{
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
    /// Subscribe at a publisher of this shard; answered by [`Tracks::on_subscribed`].
    ///
    /// [`Tracks::on_subscribed`]: super::Tracks::on_subscribed
    Subscribe {
        /// The publisher's session.
        peer: PeerKey,
        /// The track that is subscribed for.
        track: TrackKey,
        /// The path of the broadcast.
        broadcast: BroadcastPath,
        /// The name of the track.
        name: TrackName,
        /// What all its subscribers together want.
        demand: Demand,
    },
    /// The subscribers of a track want something else now.
    UpdateSubscription {
        /// The publisher's session.
        peer: PeerKey,
        /// The session's subscription.
        id: SubscribeId,
        /// What they want, in place of what was asked before.
        update: SubscribeUpdate,
    },
    /// Nobody wants the track any more.
    Unsubscribe {
        /// The publisher's session.
        peer: PeerKey,
        /// The session's subscription, which is over.
        id: SubscribeId,
    },
    /// Ask a publisher of this shard for TRACK_INFO; answered by [`Tracks::on_track_requested`].
    ///
    /// [`Tracks::on_track_requested`]: super::Tracks::on_track_requested
    RequestTrack {
        /// The publisher's session.
        peer: PeerKey,
        /// The track whose properties are wanted.
        track: TrackKey,
        /// The message to send.
        request: TrackRequest,
    },
    /// Fetch a group at a publisher of this shard; answered by [`Tracks::on_fetching`].
    ///
    /// [`Tracks::on_fetching`]: super::Tracks::on_fetching
    Fetch {
        /// The publisher's session.
        peer: PeerKey,
        /// The fetch that the answer is for.
        fetch: FetchKey,
        /// The message to send.
        message: Fetch,
    },
    /// Give up a request at a publisher that nobody waits for any more.
    CancelRequest {
        /// The publisher's session.
        peer: PeerKey,
        /// The request's stream.
        stream: StreamId,
    },
    /// Tell a subscriber SUBSCRIBE_OK (up to 04).
    Accept {
        /// The subscriber's session.
        peer: PeerKey,
        /// Its Subscribe Stream.
        request: StreamId,
        /// The message to send.
        ok: SubscribeOk,
        /// What the publisher says of the track in words of its own, for those who speak the same.
        said: Option<Bytes>,
    },
    /// Tell a subscriber SUBSCRIBE_START (05 and later).
    Start {
        /// The subscriber's session.
        peer: PeerKey,
        /// Its Subscribe Stream.
        request: StreamId,
        /// The first group that it will get.
        group: GroupSequence,
    },
    /// Tell a subscriber SUBSCRIBE_END (05 and later).
    End {
        /// The subscriber's session.
        peer: PeerKey,
        /// Its Subscribe Stream.
        request: StreamId,
        /// The first group that it will never get.
        end: GroupSequence,
    },
    /// Tell a subscriber SUBSCRIBE_DROP (03 and later).
    Drop {
        /// The subscriber's session.
        peer: PeerKey,
        /// Its Subscribe Stream.
        request: StreamId,
        /// The first group that it will not get.
        start: GroupSequence,
        /// The last of them, inclusive.
        end: GroupSequence,
        /// Why.
        code: ErrorCode,
    },
    /// Everything of a request was answered: finish its stream.
    Finish {
        /// The session of the peer that asked.
        peer: PeerKey,
        /// The request's stream.
        request: StreamId,
    },
    /// The scheduler has ended this request's stream itself.
    Fetched {
        /// The session of the peer that asked.
        peer: PeerKey,
        /// The request's stream.
        request: StreamId,
    },
    /// A request cannot be served: reset its stream.
    Refuse {
        /// The session of the peer that asked.
        peer: PeerKey,
        /// The request's stream.
        request: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// Answer a TRACK and finish its stream.
    TrackInfo {
        /// The session of the peer that asked.
        peer: PeerKey,
        /// The request's stream.
        request: StreamId,
        /// The message to send.
        info: TrackInfo,
    },
    /// Take a message to another shard. When its queue is full, [`Tracks::handle_remote_overflow`] is told.
    ///
    /// [`Tracks::handle_remote_overflow`]: super::Tracks::handle_remote_overflow
    Remote(ShardId, RemoteMessage),
}

impl Action {
    /// The peer whose session it is for. `None` for a message to another shard.
    pub fn peer(&self) -> Option<PeerKey> {
        match self {
            Self::Subscribe { peer, .. }
            | Self::UpdateSubscription { peer, .. }
            | Self::Unsubscribe { peer, .. }
            | Self::RequestTrack { peer, .. }
            | Self::Fetch { peer, .. }
            | Self::CancelRequest { peer, .. }
            | Self::Accept { peer, .. }
            | Self::Start { peer, .. }
            | Self::End { peer, .. }
            | Self::Drop { peer, .. }
            | Self::Finish { peer, .. }
            | Self::Fetched { peer, .. }
            | Self::Refuse { peer, .. }
            | Self::TrackInfo { peer, .. } => Some(*peer),
            Self::Remote(..) => None,
        }
    }
}
