//! What TRACK_INFO says of one track, the request for it, and who waits for its answer.

use bytes::Bytes;
use smallvec::SmallVec;

use moqswitch_proto::wire::{StreamId, TrackInfo};

use super::ids::{RemoteTrack, RequestKey, ShardId};

/// Who waits for TRACK_INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InfoWaiter {
    Peer(RequestKey),
    Shard { shard: ShardId, track: RemoteTrack },
}

/// All of them of one track.
pub(super) type InfoWaiters = SmallVec<[InfoWaiter; 1]>;

#[derive(Debug, Default)]
pub(super) struct Properties {
    info: Option<TrackInfo>,
    /// What a publisher says beside that in words of its own, for subscribers who speak the same.
    said: Option<Bytes>,
    /// Where the publisher was asked.
    stream: Option<StreamId>,
    is_requested: bool,
    waiters: InfoWaiters,
}

impl Properties {
    pub(super) fn info(&self) -> Option<TrackInfo> {
        self.info
    }

    /// The publisher's, as far as it is known.
    pub(super) fn priority(&self) -> u8 {
        self.info.map_or(0, |info| info.priority)
    }

    pub(super) fn said(&self) -> Option<Bytes> {
        self.said.clone()
    }

    pub(super) fn set_said(&mut self, said: Option<Bytes>) {
        self.said = said;
    }

    /// False when the publisher need not be asked: it was, or has answered.
    pub(super) fn begin_request(&mut self) -> bool {
        self.info.is_none() && !std::mem::replace(&mut self.is_requested, true)
    }

    /// The request has a stream; false when it is not wanted any more.
    pub(super) fn set_stream(&mut self, stream: StreamId) -> bool {
        let is_wanted = self.is_requested && self.stream.is_none();
        if is_wanted {
            self.stream = Some(stream);
        }
        is_wanted
    }

    /// Stops asking. The stream to be cancelled, if there is one.
    pub(super) fn cancel_request(&mut self) -> Option<StreamId> {
        self.is_requested = false;
        self.stream.take()
    }

    /// The answer is there, for those who waited.
    pub(super) fn set_info(&mut self, info: TrackInfo) -> InfoWaiters {
        self.info = Some(info);
        self.stream = None;
        self.take_waiters()
    }

    /// There is no answer; the next who asks makes another request.
    pub(super) fn set_refused(&mut self) -> InfoWaiters {
        self.stream = None;
        self.is_requested = false;
        self.take_waiters()
    }

    pub(super) fn take_waiters(&mut self) -> InfoWaiters {
        std::mem::take(&mut self.waiters)
    }

    /// False when there are too many.
    pub(super) fn add_waiter(&mut self, waiter: InfoWaiter) -> bool {
        if self.waiters.len() >= INFO_WAITERS_MAX {
            return false;
        }
        self.waiters.push(waiter);
        true
    }

    pub(super) fn remove_waiter(&mut self, waiter: InfoWaiter) {
        self.waiters.retain(|other| *other != waiter);
    }

    pub(super) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }
}

/// Requests that wait for one track's TRACK_INFO. A further one is refused.
const INFO_WAITERS_MAX: usize = 1 << 16;
