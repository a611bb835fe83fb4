//! What an application is told.

use std::time::Instant;

use bytes::Bytes;

use moqswitch_proto::wire::{BroadcastPath, ErrorCode, GroupSequence, SubscribeId, TrackInfo};

use crate::net::SocketId;
use crate::routing::{Demand, PeerKey};

/// What an application is told. `tag` is the number that it gave the track, subscription or watch.
#[derive(Clone, Debug)]
pub enum LocalEvent {
    /// Somebody wants a track that a peer offers: what is sent under `id` from now on goes to all who do. Nothing sent
    /// under it before `Unwanted` is refused.
    Wanted {
        /// The peer that publishes.
        peer: PeerKey,
        /// Of the track.
        tag: u64,
        /// Names the subscription in what is sent.
        id: SubscribeId,
        /// Whose track it is: one that the peer publishes, or that it derives tracks of.
        broadcast: BroadcastPath,
        /// What all subscribers together want.
        demand: Demand,
    },
    /// The subscribers together want something else.
    DemandChanged {
        /// Of the track.
        tag: u64,
        /// What they want now.
        demand: Demand,
    },
    /// Nobody wants the track any more.
    Unwanted {
        /// Of the track.
        tag: u64,
        /// The subscription that is over.
        id: SubscribeId,
    },
    /// A whole frame of a subscribed track. Frames of a group come in order; groups may come in any, and interleaved.
    Frame {
        /// Of the subscription.
        tag: u64,
        /// The group that the frame is in.
        group: GroupSequence,
        /// In units of the track's timescale. From a publisher whose draft has none: milliseconds, when it came in.
        timestamp: u64,
        /// Shared with the cache; copied only where the frame came in several pieces.
        payload: Bytes,
        /// No frame of the group follows. When that becomes known later, `GroupEnded` says it.
        ends_group: bool,
    },
    /// No further frame of a group comes.
    GroupEnded {
        /// Of the subscription.
        tag: u64,
        /// The group.
        group: GroupSequence,
        /// `None`: the group is whole. Else why it is not.
        code: Option<ErrorCode>,
    },
    /// Groups of a subscribed track will not come.
    GroupsDropped {
        /// Of the subscription.
        tag: u64,
        /// The first of them.
        start: GroupSequence,
        /// The last of them, inclusive.
        end: GroupSequence,
        /// Why.
        code: ErrorCode,
    },
    /// The properties of a subscribed track, once for each subscription. Frames may come before.
    Info {
        /// Of the subscription.
        tag: u64,
        /// What the publisher says of the track.
        info: TrackInfo,
    },
    /// A subscription is over.
    Closed {
        /// Of the subscription.
        tag: u64,
        /// `None`: all was delivered. Else why it is not: for NOT_FOUND there is no such broadcast or track.
        code: Option<ErrorCode>,
    },
    /// A broadcast is there, or there anew, below a prefix that is watched.
    Announced {
        /// Of the watch.
        tag: u64,
        /// The full path.
        path: BroadcastPath,
    },
    /// A broadcast below a prefix that is watched is gone.
    Unannounced {
        /// Of the watch.
        tag: u64,
        /// The full path.
        path: BroadcastPath,
    },
    /// A watch is over, since it fell too far behind. It may be begun anew.
    WatchClosed {
        /// Of the watch.
        tag: u64,
    },
    /// A socket receives no more: its receive failed too often in a row. It still sends.
    SocketStopped {
        /// The socket.
        socket: SocketId,
    },
    /// The shard ends when its sessions have, and no later than this.
    Draining {
        /// When the shard ends.
        deadline: Instant,
    },
}
