//! One track on this shard: its source, what its publisher was asked and has said, who
//! subscribes, and until when it waits.

use std::time::Instant;

use slab::Slab;
use smallvec::SmallVec;

use moqswitch_proto::wire::{BroadcastPath, ErrorCode, GroupSequence, SubscribeId, TrackName};

use super::counting::CountedTrack;
use super::demand::Demand;
use super::group::GroupToken;
use super::ids::{RemoteTrack, Source, TrackKey};
use super::properties::Properties;
use super::subscription::Subscription;
use super::track_groups::TrackGroups;

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

#[derive(Debug)]
pub(super) struct Track {
    broadcast: BroadcastPath,
    name: TrackName,
    source: Source,
    upstream: Upstream,
    /// What was last asked of the publisher.
    demand: Option<Demand>,
    /// The demand has changed and the publisher is to be told.
    is_update_owed: bool,
    /// Subscriptions of this track at other shards so far.
    subscription: u32,
    /// Groups that another shard is sending.
    incoming: SmallVec<[(GroupSequence, GroupToken); 2]>,
    /// The publisher has accepted the subscription, as far as its draft says so.
    is_accepted: bool,
    pub(super) properties: Properties,
    subscriptions: Slab<Subscription>,
    pub(super) groups: TrackGroups,
    /// Exclusive end of all groups, once the publisher told it.
    end: Option<GroupSequence>,
    /// The same, or of the range that was asked for.
    upstream_end: Option<GroupSequence>,
    /// The last group of an upstream subscription that is over: none up to it will come.
    served_to: Option<GroupSequence>,
    /// Why the publisher is lost. Subscribers still get what came, and then this.
    failed: Option<ErrorCode>,
    /// When nobody has wanted it for long enough.
    linger_until: Option<Instant>,
    /// Until when groups that should be there are waited for.
    stragglers_until: Option<Instant>,
    /// Where it is counted, if anybody wants to know.
    pub(super) counted: Option<CountedTrack>,
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
            properties: Properties::default(),
            subscriptions: Slab::new(),
            groups: TrackGroups::default(),
            end: None,
            upstream_end: None,
            served_to: None,
            failed: None,
            linger_until: None,
            stragglers_until: None,
            counted: None,
        }
    }

    pub(super) fn broadcast(&self) -> &BroadcastPath {
        &self.broadcast
    }

    pub(super) fn name(&self) -> &TrackName {
        &self.name
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// Another source takes over, with ends of its own. The one it had.
    pub(super) fn change_source(&mut self, source: Source) -> Source {
        self.is_accepted = false;
        (self.end, self.upstream_end, self.served_to) = (None, None, None);
        std::mem::replace(&mut self.source, source)
    }

    pub(super) fn upstream(&self) -> Upstream {
        self.upstream
    }

    /// The session of its publisher is asked for it.
    pub(super) fn request(&mut self, demand: Demand) {
        self.begin(demand);
        self.upstream = Upstream::Requested;
    }

    /// The shard of its publisher is asked for it, under another name than before.
    pub(super) fn request_at_shard(&mut self, demand: Demand) {
        self.begin(demand);
        self.upstream = Upstream::Remote;
        self.subscription = self.subscription.wrapping_add(1);
    }

    fn begin(&mut self, demand: Demand) {
        self.demand = Some(demand);
        (self.served_to, self.upstream_end) = (None, None);
        if let Some(counted) = &mut self.counted {
            counted.begin();
        }
    }

    /// The session has named the subscription; false when it is not wanted any more.
    pub(super) fn set_subscribed(&mut self, id: SubscribeId) -> bool {
        let is_wanted = self.upstream == Upstream::Requested;
        if is_wanted {
            self.upstream = Upstream::Local(id);
        }
        is_wanted
    }

    /// The publisher is to be told of a changed demand; false when that was known.
    pub(super) fn owe_update(&mut self) -> bool {
        !std::mem::replace(&mut self.is_update_owed, true)
    }

    /// The demand, if it is another than the publisher was told.
    pub(super) fn take_update(&mut self) -> Option<Demand> {
        self.is_update_owed = false;
        let demand = self.wanted()?;
        (self.demand != Some(demand)).then_some(demand)
    }

    pub(super) fn set_demand(&mut self, demand: Demand) {
        self.demand = Some(demand);
    }

    /// The publisher was not told of the demand after all.
    pub(super) fn forget_demand(&mut self) {
        self.demand = None;
    }

    /// The publisher serves it; false when that was known.
    pub(super) fn accept(&mut self) -> bool {
        !std::mem::replace(&mut self.is_accepted, true)
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// No group at or behind `end` will come from upstream. False when that is the end of the
    /// range that was asked for, not the track's.
    pub(super) fn set_end(&mut self, end: GroupSequence) -> bool {
        self.upstream_end = Some(end);
        let asked = self.demand.and_then(|demand| demand.end);
        let is_ours = asked.is_some_and(|last| end.0 == last.0.saturating_add(1));
        if !is_ours {
            self.end = Some(end);
        }
        !is_ours
    }

    pub(super) fn end(&self) -> Option<GroupSequence> {
        self.end
    }

    pub(super) fn upstream_end(&self) -> Option<GroupSequence> {
        self.upstream_end
    }

    /// The publisher has said its last.
    pub(super) fn begin_ending(&mut self, id: SubscribeId) {
        self.upstream = Upstream::Ending(id);
    }

    /// The upstream subscription is over. When it was for a range that ends before the track,
    /// the last group of that.
    pub(super) fn finish(&mut self) -> Option<GroupSequence> {
        let asked = self.demand.and_then(|demand| demand.end);
        let range = asked.filter(|last| self.end.is_none_or(|end| end > *last));
        if range.is_some() {
            self.upstream = Upstream::Idle;
            self.demand = None;
            self.served_to = range;
        } else {
            self.upstream = Upstream::Finished;
        }
        range
    }

    /// Whether all groups up to this one have come or will not come.
    pub(super) fn is_served_to(&self, last: GroupSequence) -> bool {
        self.served_to >= Some(last) || self.groups.has_all_to(last) || self.groups.has_datagram(last)
    }

    /// Nothing is left to unsubscribe from.
    pub(super) fn forget_upstream(&mut self) {
        self.upstream = Upstream::Idle;
    }

    /// Gives the upstream subscription up. What it was.
    pub(super) fn release(&mut self) -> Upstream {
        self.demand = None;
        self.incoming.clear();
        std::mem::replace(&mut self.upstream, Upstream::Idle)
    }

    /// The publisher is lost; false when it was before.
    pub(super) fn fail(&mut self, code: ErrorCode) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.upstream = Upstream::Finished;
        self.failed = Some(code);
        true
    }

    pub(super) fn failed(&self) -> Option<ErrorCode> {
        self.failed
    }

    /// Whether another shard means the subscription that this track has, not an earlier one.
    pub(super) fn is_named(&self, name: RemoteTrack) -> bool {
        self.subscription == name.subscription
    }

    pub(super) fn add_incoming(&mut self, sequence: GroupSequence, token: GroupToken) {
        self.incoming.push((sequence, token));
    }

    /// A group that another shard is sending.
    pub(super) fn incoming(&self, sequence: GroupSequence) -> Option<GroupToken> {
        let mut incoming = self.incoming.iter();
        incoming.find(|(open, _)| *open == sequence).map(|(_, token)| *token)
    }

    pub(super) fn remove_incoming(&mut self, sequence: GroupSequence) {
        self.incoming.retain(|(open, _)| *open != sequence);
    }

    /// The slot of a subscriber that joins.
    pub(super) fn insert_subscription(&mut self, subscription: Subscription) -> usize {
        self.linger_until = None;
        self.subscriptions.insert(subscription)
    }

    pub(super) fn remove_subscription(&mut self, slot: usize) -> Option<Subscription> {
        self.subscriptions.try_remove(slot)
    }

    pub(super) fn subscription(&self, slot: usize) -> Option<&Subscription> {
        self.subscriptions.get(slot)
    }

    pub(super) fn subscription_mut(&mut self, slot: usize) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(slot)
    }

    pub(super) fn subscriptions(&self) -> &Slab<Subscription> {
        &self.subscriptions
    }

    pub(super) fn subscriptions_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.subscriptions.iter_mut().map(|(_, subscription)| subscription)
    }

    /// Nobody wants it, and that has not been noted yet.
    pub(super) fn may_linger(&self) -> bool {
        !self.is_wanted() && self.linger_until.is_none()
    }

    pub(super) fn set_lingering(&mut self, until: Instant) {
        self.linger_until = Some(until);
    }

    /// Someone wants it again.
    pub(super) fn stop_lingering(&mut self) {
        self.linger_until = None;
    }

    /// Whether nobody has wanted it until this moment, which was set for it.
    pub(super) fn has_lingered(&self, until: Instant) -> bool {
        self.linger_until == Some(until) && !self.is_wanted()
    }

    pub(super) fn awaits_stragglers(&self) -> bool {
        self.stragglers_until.is_some()
    }

    pub(super) fn set_straggling(&mut self, until: Instant) {
        self.stragglers_until = Some(until);
    }

    /// Ends the wait for stragglers if this is the moment that was set for it.
    pub(super) fn stop_straggling(&mut self, until: Instant) -> bool {
        let is_due = self.stragglers_until == Some(until);
        if is_due {
            self.stragglers_until = None;
        }
        is_due
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.subscriptions.is_empty() || self.properties.is_awaited()
    }

    /// Whether every group up to the end that the publisher told is here.
    pub(super) fn is_whole(&self) -> bool {
        self.upstream_end.is_some_and(|end| {
            end.0
                .checked_sub(1)
                .is_none_or(|last| self.groups.has_all_to(GroupSequence(last)))
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
            .reduce(|one, other| one.merge(other, self.groups.latest()))?;
        if let Some(info) = self.properties.info() {
            merged.priority = info.priority;
        }
        Some(merged)
    }
}

/// The code that a subscriber gets when its publisher is gone.
pub(super) const GONE: ErrorCode = moqswitch_proto::wire::stream_error::SESSION_CLOSED;
