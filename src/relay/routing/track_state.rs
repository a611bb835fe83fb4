//! One track on this shard: its source, its subscribers and its cached groups.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use slab::Slab;
use smallvec::SmallVec;

use moqswitch_proto::wire::{
    BroadcastPath, ErrorCode, GroupRange, GroupSequence, HopId, StreamId, SubscribeId, SubscribeUpdate, TrackInfo,
    TrackName, Version,
};

use super::demand::{Demand, starts_at_latest};
use super::group::GroupToken;
use super::ids::{RemoteTrack, RequestKey, ShardId, Source, TrackKey};

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Peer {
        key: RequestKey,
        id: SubscribeId,
        version: Version,
        /// Whom not to serve from what passed through them.
        hop: HopId,
    },
    /// Another shard, by its name for the subscription.
    Shard { shard: ShardId, track: RemoteTrack },
}

/// One subscription that is served.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) target: Target,
    pub(super) priority: u8,
    pub(super) ordered: bool,
    pub(super) max_latency: Duration,
    pub(super) range: GroupRange,
    /// Groups below are not delivered. Set at once by a start in the request, else by the
    /// first group when the draft says that one is the start.
    pub(super) floor: Option<GroupSequence>,
    /// Floor and end before updates whose consequences are still to be drawn.
    pub(super) before_update: Option<(Option<GroupSequence>, Option<GroupSequence>)>,
    pub(super) is_started: bool,
    pub(super) is_accepted: bool,
    /// Cursors in the egress of the peer.
    pub(super) outs: SmallVec<[u32; 2]>,
    /// Groups that another shard was told of and not yet of their end.
    pub(super) open: SmallVec<[GroupSequence; 2]>,
}

/// How the track is had from its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upstream {
    /// Not subscribed.
    Idle,
    /// Asked of the session; its id is not known yet.
    Requested,
    Local(SubscribeId),
    Remote,
    /// The publisher has said its last; groups sent before may still arrive.
    Ending(SubscribeId),
    /// All groups were delivered; what is cached is all there is.
    Finished,
}

/// Who waits for TRACK_INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InfoWaiter {
    Peer(RequestKey),
    Shard { shard: ShardId, track: RemoteTrack },
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) broadcast: BroadcastPath,
    pub(super) name: TrackName,
    pub(super) source: Source,
    pub(super) upstream: Upstream,
    /// What was last asked of the publisher.
    pub(super) demand: Option<Demand>,
    /// The demand has changed and the publisher is to be told.
    pub(super) is_update_owed: bool,
    /// Subscriptions of this track at other shards so far.
    pub(super) subscription: u32,
    /// Groups that another shard is sending.
    pub(super) incoming: SmallVec<[(GroupSequence, GroupToken); 2]>,
    /// The publisher has accepted the subscription, as far as its draft says so.
    pub(super) is_accepted: bool,
    pub(super) info: Option<TrackInfo>,
    pub(super) info_stream: Option<StreamId>,
    pub(super) is_info_requested: bool,
    pub(super) info_waiters: SmallVec<[InfoWaiter; 1]>,
    pub(super) subscriptions: Slab<Subscription>,
    /// Ascending by sequence.
    pub(super) groups: VecDeque<(GroupSequence, GroupToken)>,
    pub(super) latest: Option<GroupSequence>,
    /// When that arrived.
    pub(super) latest_at: Option<Instant>,
    /// Exclusive end of all groups, once the publisher told it.
    pub(super) end: Option<GroupSequence>,
    /// The same, or of the range that was asked for.
    pub(super) upstream_end: Option<GroupSequence>,
    /// The last group of an upstream subscription that is over: none up to it will come.
    pub(super) served_to: Option<GroupSequence>,
    /// Sequences of groups that came as datagrams of late.
    pub(super) datagrams: VecDeque<GroupSequence>,
    /// Why the publisher is lost. Subscribers still get what came, and then this.
    pub(super) failed: Option<ErrorCode>,
    /// When nobody has wanted it for long enough.
    pub(super) linger_until: Option<Instant>,
    /// Until when groups that should be there are waited for.
    pub(super) stragglers_until: Option<Instant>,
}

impl Track {
    pub(super) fn new(broadcast: BroadcastPath, name: TrackName, source: Source) -> Self {
        Self {
            broadcast,
            name,
            source,
            upstream: Upstream::Idle,
            demand: None,
            is_update_owed: false,
            subscription: 0,
            incoming: SmallVec::new(),
            is_accepted: false,
            info: None,
            info_stream: None,
            is_info_requested: false,
            info_waiters: SmallVec::new(),
            subscriptions: Slab::new(),
            groups: VecDeque::new(),
            latest: None,
            latest_at: None,
            end: None,
            upstream_end: None,
            served_to: None,
            datagrams: VecDeque::new(),
            failed: None,
            linger_until: None,
            stragglers_until: None,
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.subscriptions.is_empty() || !self.info_waiters.is_empty()
    }

    /// The place of a sequence in `groups`, or where it would be.
    pub(super) fn find(&self, sequence: GroupSequence) -> Result<usize, usize> {
        // Nearly always at or behind the end.
        if self.groups.back().is_none_or(|(last, _)| *last < sequence) {
            return Err(self.groups.len());
        }
        self.groups.binary_search_by_key(&sequence, |(at, _)| *at)
    }

    pub(super) fn group(&self, sequence: GroupSequence) -> Option<GroupToken> {
        self.find(sequence)
            .ok()
            .and_then(|at| self.groups.get(at))
            .map(|(_, token)| *token)
    }

    /// Whether no group is missing between the oldest cached one and `last`.
    pub(super) fn has_all_to(&self, last: GroupSequence) -> bool {
        match (self.find(last), self.groups.front()) {
            (Ok(at), Some((first, _))) => last.0 - first.0 == at as u64,
            _ => false,
        }
    }

    /// Whether every group up to the end that the publisher told is here.
    pub(super) fn is_whole(&self) -> bool {
        self.upstream_end.is_some_and(|end| {
            end.0
                .checked_sub(1)
                .is_none_or(|last| self.has_all_to(GroupSequence(last)))
        })
    }

    /// Another shard's name for what this track is sent.
    pub(super) fn remote_name(&self, track: TrackKey) -> RemoteTrack {
        RemoteTrack {
            track,
            subscription: self.subscription,
        }
    }

    /// What all subscribers together want. The priority is the publisher's when it is known:
    /// a relay cannot choose one of its subscribers' (draft, "Priority").
    pub(super) fn wanted(&self) -> Option<Demand> {
        let mut merged = self
            .subscriptions
            .iter()
            .map(|(_, subscription)| Demand::of(&subscription.preferences()))
            .reduce(|one, other| one.merge(other, self.latest))?;
        if let Some(info) = &self.info {
            merged.priority = info.priority;
        }
        Some(merged)
    }
}

impl Subscription {
    pub(super) fn new(target: Target, preferences: &SubscribeUpdate) -> Self {
        let mut subscription = Self {
            target,
            priority: 0,
            ordered: false,
            max_latency: Duration::ZERO,
            range: GroupRange::default(),
            floor: None,
            before_update: None,
            is_started: false,
            is_accepted: false,
            outs: SmallVec::new(),
            open: SmallVec::new(),
        };
        subscription.apply(preferences);
        subscription
    }

    /// Takes over what SUBSCRIBE or SUBSCRIBE_UPDATE asks for.
    pub(super) fn apply(&mut self, preferences: &SubscribeUpdate) {
        self.priority = preferences.priority;
        self.ordered = preferences.ordered;
        self.max_latency = Duration::from_millis(preferences.max_latency_ms);
        self.range = preferences.range;
        if preferences.range.start.is_some() || matches!(self.target, Target::Shard { .. }) {
            self.floor = preferences.range.start;
        }
    }

    pub(super) fn preferences(&self) -> SubscribeUpdate {
        SubscribeUpdate {
            priority: self.priority,
            ordered: self.ordered,
            max_latency_ms: u64::try_from(self.max_latency.as_millis()).unwrap_or(u64::MAX),
            range: self.range,
        }
    }

    pub(super) fn wants(&self, sequence: GroupSequence) -> bool {
        self.floor.is_none_or(|floor| sequence >= floor) && self.range.end.is_none_or(|end| sequence <= end)
    }

    /// Whether a subscription without a start is pinned to the first group it gets.
    pub(super) fn pins_start(&self) -> bool {
        match self.target {
            Target::Peer { version, .. } => starts_at_latest(version),
            Target::Shard { .. } => false,
        }
    }

    /// The frames of one group that are wanted (06: a range may begin and end inside one).
    pub(super) fn frames(&self, sequence: GroupSequence) -> (u64, Option<u64>) {
        let start = if self.range.start == Some(sequence) {
            self.range.frame_start
        } else {
            0
        };
        let end = if self.range.end == Some(sequence) {
            self.range.frame_end
        } else {
            None
        };
        (start, end)
    }
}

/// The code that a subscriber gets when its publisher is gone.
pub(super) const GONE: ErrorCode = moqswitch_proto::wire::stream_error::SESSION_CLOSED;
