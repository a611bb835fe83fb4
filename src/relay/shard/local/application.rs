//! What an embedder writes, and what it is told.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use moqswitch_proto::wire::{BroadcastPath, ErrorCode, GroupSequence, SubscribeId, TrackInfo};

use crate::limits::APPLICATIONS_MAX;
use crate::net::SocketId;
use crate::routing::{Demand, PeerKey};

use super::host::Host;

/// Code on a shard that has peers there. All calls come on the shard's thread.
pub trait Application {
    /// Something happened to what it publishes, subscribes or waits for.
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>);

    /// A datagram came on a socket that it added by [`Host::add_socket`].
    fn handle_datagram(&mut self, _datagram: SocketDatagram<'_>, _host: &mut Host<'_>) {}

    /// Once in each turn, after what came in and before media is sent: for what other threads have left in queues of
    /// its own, and for what is due. To be called sooner than its next deadline, wake the shard by
    /// [`ShardPort::wake`](crate::shard::ShardPort::wake).
    fn handle_turn(&mut self, _host: &mut Host<'_>) {}

    /// When it wants [`Self::handle_turn`] at the latest. Timers are no more exact than the shard's batch window.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether something waits for its next turn, so that the shard must not sleep first. A wake that comes while the
    /// shard goes to sleep is not lost; this is for what was left undone in a turn.
    fn has_work(&self) -> bool {
        false
    }
}

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

/// A datagram on an application's socket. The bytes are lent for the call: [`Host::copy`] keeps them.
#[derive(Debug)]
pub struct SocketDatagram<'a> {
    /// The socket that received it.
    pub socket: SocketId,
    /// Who sent it.
    pub source: SocketAddr,
    /// The address that it was sent to.
    pub local: IpAddr,
    /// When the kernel took it in, since 1970, if the ring was told to note that
    /// ([`RingConfig::notes_arrivals`](crate::net::RingConfig::notes_arrivals)).
    pub arrived: Option<Duration>,
    /// Its bytes, to be changed in place at will.
    pub payload: &'a mut [u8],
}

/// Makes an application on the shard's thread, so that it need not be `Send` itself.
pub struct Installation(Box<dyn FnOnce() -> Box<dyn Application> + Send>);

/// A shard runs its maximum of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard runs its maximum of {APPLICATIONS_MAX} applications")]
pub struct TooManyApplications;

impl Installation {
    /// Of what makes the application. Its first call is `handle_turn`.
    pub fn new<A: Application + 'static>(make: impl FnOnce() -> A + Send + 'static) -> Self {
        Self(Box::new(move || Box::new(make())))
    }

    pub(super) fn make(self) -> Box<dyn Application> {
        (self.0)()
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Installation")
    }
}
