//! What waits to be sent to one peer: cursors into groups, the most important first.
//!
//! Invariants: each cursor with something to send is once in `ready`, or in `unopened`
//! while it has no stream yet, both sorted so that the best is last; a cursor holds no
//! media, only its place; idle and blocked ones cost nothing.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;

use moqswitch_proto::wire::{
    DatagramHeader, ErrorCode, GroupSequence, StreamId, SubscribeId, Transcoder, Version, stream_error,
};

use super::counting::CountedGroup;
use super::group::GroupToken;
use super::ids::{FetchKey, RequestKey, TrackKey};

/// Order of sending; the smallest is sent first. Priority of the subscriber, then of the
/// publisher, then age: the newest first unless the subscriber wants order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    subscriber: Reverse<u8>,
    publisher: Reverse<u8>,
    age: u64,
}

impl Rank {
    pub(super) fn new(subscriber: u8, publisher: u8, ordered: bool, arrival: u64) -> Self {
        Self {
            subscriber: Reverse(subscriber),
            publisher: Reverse(publisher),
            age: if ordered { arrival } else { u64::MAX - arrival },
        }
    }
}

/// What a request of a peer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requested {
    Subscription {
        track: TrackKey,
        slot: usize,
    },
    Info(TrackKey),
    /// Waits for the publisher.
    Fetch(FetchKey),
    /// Being sent from a group.
    Fetched {
        out: u32,
    },
}

/// Which request a cursor serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    Subscription {
        track: TrackKey,
        slot: usize,
        id: SubscribeId,
    },
    Fetch(RequestKey),
}

/// One group on its way to one peer.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) serves: Serves,
    pub(super) group: GroupToken,
    pub(super) sequence: GroupSequence,
    pub(super) rank: Rank,
    pub(super) arrival: u64,
    pub(super) frames: (u64, Option<u64>),
    pub(super) stream: Option<StreamId>,
    /// Next chunk, and bytes of it that were sent.
    pub(super) chunk: usize,
    pub(super) offset: usize,
    /// Present when frames must be rewritten; `pieces` waits then.
    pub(super) transcoder: Option<Box<Transcoder>>,
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) state: OutState,
    /// It had no room for what there was when it was last sent, and has not caught up since.
    pub(super) is_behind: bool,
}

/// What is to be known of a cursor that is no more. It is small: a cursor is not, and each
/// group on its way ends with this.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removed {
    pub(super) serves: Serves,
    pub(super) group: GroupToken,
    pub(super) sequence: GroupSequence,
    pub(super) stream: Option<StreamId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutState {
    /// Everything there is was sent.
    Idle,
    Ready,
    /// The stream takes nothing until the peer says so.
    Blocked,
}

/// Counters of everything sent to peers of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressStatistics {
    /// Frames that were sent, once for each subscriber.
    pub frames: u64,
    /// Groups given up because they were older than the subscriber wanted.
    pub expired: u64,
    /// Groups given up because the cache let go of them before the subscriber read them.
    pub evicted: u64,
    /// Datagram groups that could not be sent at once.
    pub datagrams_dropped: u64,
}

impl EgressStatistics {
    pub(super) fn count_frames(&mut self, frames: usize) {
        self.frames += frames as u64;
    }

    /// A group is given up for this reason.
    pub(super) fn count_given_up(&mut self, code: ErrorCode) {
        match code {
            stream_error::DELIVERY_TIMEOUT => self.expired += 1,
            stream_error::EVICTED => self.evicted += 1,
            _ => {}
        }
    }

    pub(super) fn count_dropped_datagram(&mut self) {
        self.datagrams_dropped += 1;
    }
}

/// A group that is to go as a datagram, and what it takes to make it a stream.
#[derive(Debug)]
pub(super) struct QueuedDatagram {
    pub(super) track: TrackKey,
    pub(super) slot: usize,
    pub(super) header: DatagramHeader,
    pub(super) payload: Bytes,
    pub(super) arrived: Instant,
    pub(super) counted: Option<CountedGroup>,
}

/// One peer's share.
#[derive(Debug)]
pub(super) struct Egress {
    version: Version,
    takes_datagrams: bool,
    outs: Slab<Out>,
    ready: Vec<(Reverse<Rank>, u32)>,
    unopened: Vec<(Reverse<Rank>, u32)>,
    by_stream: FxHashMap<StreamId, u32>,
    /// What the peer asked for, by the stream it asked on.
    requests: FxHashMap<StreamId, Requested>,
    datagrams: VecDeque<QueuedDatagram>,
    /// Subscriptions that end when the datagrams are sent.
    ends_after_datagrams: Vec<(TrackKey, usize)>,
    /// Streams of cursors that were given up, to be reset at the next pumping.
    resets: Vec<(StreamId, ErrorCode)>,
    is_dirty: bool,
}

impl Out {
    /// Whether its group is on its way to a peer that takes all of it as it comes in.
    pub(super) fn is_in_step(&self) -> bool {
        self.stream.is_some() && !self.is_behind
    }

    /// Forgets what was prepared and not sent: a cursor without a stream holds no media.
    pub(super) fn rewind(&mut self) {
        self.chunk = 0;
        self.transcoder = None;
        self.pieces = VecDeque::new();
    }
}

impl Egress {
    pub(super) fn new(version: Version, takes_datagrams: bool) -> Self {
        Self {
            version,
            takes_datagrams,
            outs: Slab::new(),
            ready: Vec::new(),
            unopened: Vec::new(),
            by_stream: FxHashMap::default(),
            requests: FxHashMap::default(),
            datagrams: VecDeque::new(),
            ends_after_datagrams: Vec::new(),
            resets: Vec::new(),
            is_dirty: false,
        }
    }

    /// True when it was not dirty before.
    pub(super) fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.is_dirty, true)
    }

    pub(super) fn clear_dirty(&mut self) {
        self.is_dirty = false;
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Whether it has as many cursors as it may.
    pub(super) fn is_full(&self) -> bool {
        self.outs.len() >= OUTS_PER_PEER_MAX
    }

    pub(super) fn insert(&mut self, out: Out) -> u32 {
        if let Some(stream) = out.stream {
            let index = self.outs.vacant_key();
            self.by_stream.insert(stream, u32_of(index));
        }
        u32_of(self.outs.insert(out))
    }

    pub(super) fn out(&self, index: u32) -> Option<&Out> {
        self.outs.get(index as usize)
    }

    pub(super) fn out_mut(&mut self, index: u32) -> Option<&mut Out> {
        self.outs.get_mut(index as usize)
    }

    /// All cursors with their indices.
    pub(super) fn outs(&self) -> impl Iterator<Item = (usize, &Out)> {
        self.outs.iter()
    }

    /// The cursor whose group goes on this stream.
    pub(super) fn on_stream(&self, stream: StreamId) -> Option<u32> {
        self.by_stream.get(&stream).copied()
    }

    /// Has a stream reset at the next pumping.
    pub(super) fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.resets.push((stream, code));
    }

    pub(super) fn drain_resets(&mut self) -> impl Iterator<Item = (StreamId, ErrorCode)> {
        self.resets.drain(..)
    }

    pub(super) fn insert_request(&mut self, request: StreamId, requested: Requested) {
        self.requests.insert(request, requested);
    }

    pub(super) fn remove_request(&mut self, request: StreamId) -> Option<Requested> {
        self.requests.remove(&request)
    }

    pub(super) fn request(&self, request: StreamId) -> Option<Requested> {
        self.requests.get(&request).copied()
    }

    pub(super) fn requests(&self) -> impl ExactSizeIterator<Item = StreamId> {
        self.requests.keys().copied()
    }

    /// Whether a group may go to the peer as a datagram, if its path takes one so long.
    pub(super) fn takes_as_datagram(&self, header: &DatagramHeader, payload: &Bytes) -> bool {
        self.takes_datagrams && header.fits(payload.len())
    }

    /// False when the oldest that waited had to go for it.
    pub(super) fn queue_datagram(&mut self, queued: QueuedDatagram) -> bool {
        let has_room = self.datagrams.len() < DATAGRAMS_PER_PEER_MAX;
        if !has_room {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back(queued);
        has_room
    }

    pub(super) fn has_datagrams(&self) -> bool {
        !self.datagrams.is_empty()
    }

    pub(super) fn next_datagram(&mut self) -> Option<QueuedDatagram> {
        self.datagrams.pop_front()
    }

    /// A cursor has something to send. True when it had nothing before.
    pub(super) fn mark_ready(&mut self, index: u32) -> bool {
        let Some(out) = self.outs.get_mut(index as usize) else {
            return false;
        };
        if out.state != OutState::Idle {
            return false;
        }
        out.state = OutState::Ready;
        let entry = (Reverse(out.rank), index);
        let queue = match out.stream {
            Some(_) => &mut self.ready,
            None => &mut self.unopened,
        };
        let at = queue.partition_point(|other| *other < entry);
        queue.insert(at, entry);
        true
    }

    /// The best cursor with something to send; one that needs a new stream only if
    /// `may_open`.
    pub(super) fn best(&self, may_open: bool) -> Option<u32> {
        let unopened = self.unopened.last().filter(|_| may_open);
        self.ready.last().max(unopened).map(|(_, index)| *index)
    }

    /// A cursor got its stream.
    pub(super) fn open(&mut self, index: u32, stream: StreamId) {
        let Some(state) = self.outs.get(index as usize).map(|out| out.state) else {
            return;
        };
        self.set_state(index, OutState::Idle);
        if let Some(out) = self.outs.get_mut(index as usize) {
            out.stream = Some(stream);
        }
        self.by_stream.insert(stream, index);
        if state == OutState::Ready {
            self.mark_ready(index);
        }
    }

    /// The connection takes no more: what has not been sent of groups that have a stream is late from here on.
    pub(super) fn mark_behind(&mut self) {
        for (_, index) in &self.ready {
            if let Some(out) = self.outs.get_mut(*index as usize) {
                out.is_behind = true;
            }
        }
    }

    /// Takes a cursor out of the ready ones into another state.
    pub(super) fn set_state(&mut self, index: u32, state: OutState) {
        let Some(out) = self.outs.get_mut(index as usize) else {
            return;
        };
        if out.state == OutState::Ready {
            let entry = (Reverse(out.rank), index);
            let queue = match out.stream {
                Some(_) => &mut self.ready,
                None => &mut self.unopened,
            };
            if let Ok(at) = queue.binary_search(&entry) {
                queue.remove(at);
            }
        }
        out.state = state;
    }

    /// Gives cursors other ranks, by their arrival.
    pub(super) fn set_ranks(&mut self, indices: &[u32], rank: impl Fn(u64) -> Rank) {
        for index in indices {
            if let Some(out) = self.outs.get_mut(*index as usize) {
                out.rank = rank(out.arrival);
            }
        }
        for queue in [&mut self.ready, &mut self.unopened] {
            for (entry, index) in queue.iter_mut() {
                if let Some(out) = self.outs.get(*index as usize) {
                    *entry = Reverse(out.rank);
                }
            }
            queue.sort_unstable();
        }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Removed> {
        self.set_state(index, OutState::Idle);
        let out = self.outs.get(index as usize)?;
        let removed = Removed {
            serves: out.serves,
            group: out.group,
            sequence: out.sequence,
            stream: out.stream,
        };
        drop(self.outs.remove(index as usize));
        if let Some(stream) = removed.stream {
            self.by_stream.remove(&stream);
        }
        Some(removed)
    }

    /// A blocked stream may be tried again.
    pub(super) fn unblock(&mut self, stream: StreamId) {
        let Some(index) = self.by_stream.get(&stream).copied() else {
            return;
        };
        if let Some(out) = self.outs.get_mut(index as usize)
            && out.state == OutState::Blocked
        {
            out.state = OutState::Idle;
            self.mark_ready(index);
        }
    }

    /// Notes that a subscription is to end when its datagrams are sent; false when none waits.
    pub(super) fn ends_after_datagrams(&mut self, track: TrackKey, slot: usize) -> bool {
        let is_queued = self
            .datagrams
            .iter()
            .any(|queued| (queued.track, queued.slot) == (track, slot));
        if is_queued {
            self.ends_after_datagrams.push((track, slot));
        }
        is_queued
    }

    /// Drops the datagrams of a subscription that is over.
    pub(super) fn forget_datagrams(&mut self, track: TrackKey, slot: usize) {
        self.datagrams
            .retain(|queued| (queued.track, queued.slot) != (track, slot));
    }

    pub(super) fn take_ends_after_datagrams(&mut self) -> Vec<(TrackKey, usize)> {
        std::mem::take(&mut self.ends_after_datagrams)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.unopened.is_empty() || !self.datagrams.is_empty()
    }
}

fn u32_of(index: usize) -> u32 {
    u32::try_from(index).expect("OUTS_PER_PEER_MAX is far below 2^32")
}

/// Groups on their way to one peer. A further one is not sent, and told to be dropped.
pub(super) const OUTS_PER_PEER_MAX: usize = 8192;

/// Datagrams waiting for one peer. The oldest goes first.
const DATAGRAMS_PER_PEER_MAX: usize = 128;
