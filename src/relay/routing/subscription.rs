//! One subscription that this shard serves: to a peer, or to another shard for its own.

use std::time::Duration;

use smallvec::SmallVec;

use moqswitch_proto::wire::{GroupRange, GroupSequence, HopId, SubscribeId, SubscribeUpdate, Version};

use super::demand::starts_at_latest;
use super::ids::{RemoteTrack, RequestKey, ShardId};

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
    target: Target,
    priority: u8,
    ordered: bool,
    max_latency: Duration,
    range: GroupRange,
    /// Groups below are not delivered. Set at once by a start in the request, else by the
    /// first group when the draft says that one is the start.
    floor: Option<GroupSequence>,
    /// Floor and end before updates whose consequences are still to be drawn.
    before_update: Option<(Option<GroupSequence>, Option<GroupSequence>)>,
    is_started: bool,
    is_accepted: bool,
    /// Cursors in the egress of the peer.
    outs: SmallVec<[u32; 2]>,
    /// Groups that another shard was told of and not yet of their end.
    open: SmallVec<[GroupSequence; 2]>,
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

    pub(super) fn target(&self) -> Target {
        self.target
    }

    pub(super) fn priority(&self) -> u8 {
        self.priority
    }

    pub(super) fn ordered(&self) -> bool {
        self.ordered
    }

    pub(super) fn max_latency(&self) -> Duration {
        self.max_latency
    }

    pub(super) fn range(&self) -> GroupRange {
        self.range
    }

    pub(super) fn floor(&self) -> Option<GroupSequence> {
        self.floor
    }

    /// Takes over an update. False when consequences of an earlier one are to be drawn still.
    pub(super) fn update(&mut self, preferences: &SubscribeUpdate) -> bool {
        let before = (self.floor, self.range.end);
        self.apply(preferences);
        let is_first = self.before_update.is_none();
        if is_first {
            self.before_update = Some(before);
        }
        is_first
    }

    /// Floor and end before updates, whose consequences are drawn at this moment.
    pub(super) fn take_before_update(&mut self) -> Option<(Option<GroupSequence>, Option<GroupSequence>)> {
        self.before_update.take()
    }

    /// False when its subscriber knows already that it stands.
    pub(super) fn accept(&mut self) -> bool {
        !std::mem::replace(&mut self.is_accepted, true)
    }

    /// It starts at this group; false when it has started already.
    pub(super) fn start(&mut self, group: GroupSequence) -> bool {
        if std::mem::replace(&mut self.is_started, true) {
            return false;
        }
        if self.pins_start() && self.floor.is_none() {
            self.floor = Some(group);
        }
        true
    }

    pub(super) fn outs(&self) -> &SmallVec<[u32; 2]> {
        &self.outs
    }

    pub(super) fn add_out(&mut self, out: u32) {
        self.outs.push(out);
    }

    pub(super) fn remove_out(&mut self, out: u32) {
        self.outs.retain(|other| *other != out);
    }

    /// Its shard was told of a group.
    pub(super) fn open(&mut self, sequence: GroupSequence) {
        self.open.push(sequence);
    }

    pub(super) fn has_open(&self, sequence: GroupSequence) -> bool {
        self.open.contains(&sequence)
    }

    /// Its shard gets no more of a group; false when it knows.
    pub(super) fn close(&mut self, sequence: GroupSequence) -> bool {
        let known = self.open.len();
        self.open.retain(|open| *open != sequence);
        self.open.len() < known
    }

    /// Takes over what SUBSCRIBE or SUBSCRIBE_UPDATE asks for.
    fn apply(&mut self, preferences: &SubscribeUpdate) {
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
