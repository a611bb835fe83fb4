//! The tracks of one shard, whole: what they consist of, how they begin, change their source
//! and end, and the calls that their decisions leave by.

use std::time::Instant;

use moqswitch_proto::wire::{BroadcastPath, ErrorCode, HopId, StreamId, TrackName, Version, stream_error};

use super::action::{Action, TrackLimits};
use super::cache::CacheOrder;
use super::counting::Counting;
use super::deadlines::Deadlines;
use super::decisions::Decisions;
use super::derived::Derived;
use super::egress::{Egress, EgressStatistics};
use super::fetch::FetchTable;
use super::group::Groups;
use super::ids::{PeerKey, RequestKey, ShardId, Source, TrackKey};
use super::names::Names;
use super::peers::Peers;
use super::remote::RemoteMessage;
use super::route::RouteFate;
use super::store::TrackStore;
use super::subscription::Target;
use super::track_state::{GONE, Track, Upstream};

/// How much is held, for metrics and for tests that look for leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracksStatistics {
    /// Sessions that are known.
    pub peers: usize,
    /// Tracks that are held, those that nobody wants at present included.
    pub tracks: usize,
    /// Subscriptions of peers and of other shards.
    pub subscriptions: usize,
    /// Subscriptions at publishers of this shard.
    pub upstream_subscriptions: usize,
    /// Groups that are held.
    pub groups: usize,
    /// Bytes of those groups.
    pub cache_bytes: usize,
    /// Requests of peers that are served or wait.
    pub requests: usize,
    /// Fetches that wait for their publisher.
    pub fetches_pending: usize,
    /// Fetches that peers have asked for so far.
    pub fetches: u64,
    /// Those of them that the cache had.
    pub fetches_from_cache: u64,
    /// Groups that the cache has let go so far because it was full.
    pub cache_full: u64,
    /// What was sent so far, and what could not be.
    pub egress: EgressStatistics,
}

/// The tracks of one shard. What it does is told in the files named for it (`upstream`,
/// `downstream`, `serving`, `pump`, `cache`, `datagrams`, `fetch`, `remote`); each part keeps
/// its own invariants.
#[derive(Debug)]
pub struct Tracks {
    /// Never changed, as the limits.
    pub(super) shard: ShardId,
    pub(super) limits: TrackLimits,
    pub(super) peers: Peers,
    pub(super) store: TrackStore,
    pub(super) names: Names,
    pub(super) groups: Groups,
    pub(super) cache: CacheOrder,
    pub(super) fetches: FetchTable,
    pub(super) deadlines: Deadlines,
    pub(super) decisions: Decisions,
    pub(super) sent: EgressStatistics,
    pub(super) counting: Counting,
    pub(super) derived: Derived,
}

impl Tracks {
    /// The tracks of `shard`: none yet.
    pub fn new(shard: ShardId, limits: TrackLimits) -> Self {
        Self {
            shard,
            peers: Peers::default(),
            store: TrackStore::default(),
            names: Names::default(),
            groups: Groups::default(),
            cache: CacheOrder::default(),
            fetches: FetchTable::default(),
            deadlines: Deadlines::new(limits.linger),
            decisions: Decisions::default(),
            sent: EgressStatistics::default(),
            counting: Counting::default(),
            derived: Derived::default(),
            limits,
        }
    }

    /// A session begins.
    pub fn handle_peer(&mut self, peer: PeerKey, version: Version, takes_datagrams: bool) {
        self.peers.insert(peer, Egress::new(version, takes_datagrams));
    }

    /// A session is over: its requests, and as a publisher its tracks.
    pub fn handle_peer_gone(&mut self, peer: PeerKey, now: Instant) {
        self.derived.forget(peer);
        let requests: Vec<StreamId> = self
            .peers
            .get(peer)
            .map(|egress| egress.requests().collect())
            .unwrap_or_default();
        for request in requests {
            self.end_request(RequestKey { peer, request }, now);
        }
        if let Some(egress) = self.peers.remove(peer) {
            for (index, out) in egress.outs() {
                self.forget_reader(out.group, peer, index);
            }
        }
        self.handle_source_gone(Source {
            shard: self.shard,
            peer,
        });
    }

    /// A publisher is gone, or none of its broadcasts are routed any more.
    pub fn handle_source_gone(&mut self, source: Source) {
        for key in self.store.of_source(source) {
            self.lose_source(key);
        }
        self.end_fetches(source, |_| true);
    }

    /// A publisher that had said its last before it left is not missed.
    fn lose_source(&mut self, key: TrackKey) {
        let Some(track) = self.track(key) else { return };
        let is_complete = match track.upstream() {
            Upstream::Ending(_) => {
                self.finish_upstream(key);
                true
            }
            other => other == Upstream::Finished && track.failed().is_none(),
        };
        let is_over = self
            .track(key)
            .is_some_and(|track| track.upstream() == Upstream::Finished);
        if !is_complete || !is_over {
            return self.end_track(key, GONE);
        }
        self.store.retire(key);
        let Some(track) = self.track_mut(key) else { return };
        let waiters = track.properties.take_waiters();
        let groups = track.groups.tokens();
        for waiter in waiters {
            self.refuse_info(waiter, GONE);
        }
        for token in groups {
            self.abort_if_open(token, GONE);
        }
        self.settle_track(key);
    }

    /// The sources of a broadcast changed; `fate` tells what that means for the tracks of
    /// one of them.
    pub fn handle_route_changed(&mut self, path: &BroadcastPath, now: Instant, fate: impl Fn(Source) -> RouteFate) {
        for key in self.store.of_broadcast(path) {
            let Some(track) = self.track(key).filter(|track| track.failed().is_none()) else {
                continue;
            };
            match fate(track.source()) {
                RouteFate::Unchanged => {}
                RouteFate::Ended => self.store.retire(key),
                RouteFate::ContinuedBy { source, hops } => self.splice(key, source, &hops, now),
            }
        }
    }

    /// A source may publish no more than this: its other tracks end, for those who have them, too, whether their
    /// broadcasts are announced still or not. So do fetches that it has not answered.
    pub fn handle_revoked(&mut self, source: Source, may_publish: impl Fn(&BroadcastPath) -> bool) {
        for key in self.store.of_source(source) {
            if self.track(key).is_some_and(|track| !may_publish(track.broadcast())) {
                self.end_track(key, GONE);
            }
        }
        self.end_fetches(source, |broadcast| !may_publish(broadcast));
    }

    /// Another source continues the track: subscribers go on from its next group, but for
    /// those through whom that source has it (draft, "Routing").
    fn splice(&mut self, key: TrackKey, source: Source, hops: &[HopId], now: Instant) {
        self.release_upstream(key);
        self.cancel_info(key);
        self.store.change_source(key, source);
        let Some(track) = self.track_mut(key) else { return };
        // An unfinished group will not be continued by the other source.
        let groups = track.groups.tokens();
        for token in groups {
            self.abort_if_open(token, GONE);
        }
        for slot in self.slots(key) {
            let target = self
                .track(key)
                .and_then(|track| track.subscription(slot))
                .map(|s| s.target());
            if let Some(Target::Peer { hop, .. }) = target
                && hop != HopId::UNKNOWN
                && hops.contains(&hop)
            {
                self.end_subscription(key, slot, Ending::Refused(GONE));
            }
        }
        self.ask_upstream(key);
        if self.track(key).is_some_and(|track| track.properties.is_awaited()) {
            self.ask_info(key, now);
        }
    }

    /// The track of one name and source, made when there is none and it may be.
    pub(super) fn track_of(&mut self, broadcast: &BroadcastPath, name: &TrackName, source: Source) -> Option<TrackKey> {
        let source = self.maker_of(broadcast, name, source);
        let key = self.store.track_of(broadcast, name, source, self.limits.tracks_max)?;
        if let Some(track) = self.store.track_mut(key)
            && track.counted.is_none()
        {
            track.counted = self.counting.of(broadcast);
        }
        Some(key)
    }

    pub(super) fn track(&self, key: TrackKey) -> Option<&Track> {
        self.store.track(key)
    }

    pub(super) fn track_mut(&mut self, key: TrackKey) -> Option<&mut Track> {
        self.store.track_mut(key)
    }

    /// A track's publisher is lost, or refused. Subscribers get what is there whole, and are
    /// then reset; who comes later finds another source, or none.
    pub(super) fn end_track(&mut self, key: TrackKey, code: ErrorCode) {
        self.release_upstream(key);
        let Some(track) = self.track_mut(key) else { return };
        if !track.fail(code) {
            return;
        }
        let waiters = track.properties.take_waiters();
        let groups = track.groups.tokens();
        self.store.retire(key);
        for waiter in waiters {
            self.refuse_info(waiter, code);
        }
        for token in groups {
            self.abort_if_open(token, code);
        }
        for slot in self.slots(key) {
            self.finish_if_done(key, slot);
        }
        self.settle_track(key);
    }

    /// A track that nobody wants is forgotten: at once when its publisher is lost, else after
    /// a while.
    pub(super) fn settle_track(&mut self, key: TrackKey) {
        let Some(track) = self.track(key) else { return };
        if track.is_wanted() {
            return;
        }
        if track.failed().is_some() {
            return self.remove_track(key);
        }
        self.deadlines.on_unwanted(key);
    }

    /// Forgets a track that has no subscribers.
    pub(super) fn remove_track(&mut self, key: TrackKey) {
        self.release_upstream(key);
        self.cancel_info(key);
        let Some(track) = self.track_mut(key) else { return };
        for (_, token) in track.groups.take_cached() {
            self.let_go(token);
        }
        self.store.remove(key);
    }

    /// Stops asking for TRACK_INFO.
    fn cancel_info(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        let peer = track.source().peer;
        if let Some(stream) = track.properties.cancel_request() {
            self.names.remove_info(peer, stream);
            self.decisions.push(Action::CancelRequest { peer, stream });
        }
    }

    /// Ends the upstream subscription, if there is one.
    pub(super) fn release_upstream(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        let source = track.source();
        match track.release() {
            Upstream::Local(id) | Upstream::Ending(id) => {
                self.names.remove_subscription(source.peer, id);
                self.decisions.push(Action::Unsubscribe { peer: source.peer, id });
            }
            Upstream::Remote => {
                let track = track.remote_name(key);
                self.decisions.send(source.shard, RemoteMessage::Unsubscribe { track });
            }
            Upstream::Idle | Upstream::Requested | Upstream::Finished => {}
        }
    }

    /// A subscription ends; the track may be left alone then.
    pub(super) fn end_subscription(&mut self, key: TrackKey, slot: usize, ending: Ending) {
        let Some(track) = self.track_mut(key) else { return };
        let Some(subscription) = track.remove_subscription(slot) else {
            return;
        };
        self.settle_track(key);
        match subscription.target() {
            Target::Peer { key: request, .. } => {
                self.peers.remove_request(request);
                let RequestKey { peer, request } = request;
                for out in subscription.outs() {
                    self.abandon(peer, *out, stream_error::CANCEL);
                }
                if let Some(egress) = self.peers.get_mut(peer) {
                    egress.forget_datagrams(key, slot);
                }
                match ending {
                    Ending::ByPeer => {}
                    Ending::Finished => self.decisions.push(Action::Finish { peer, request }),
                    Ending::Refused(code) => self.decisions.push(Action::Refuse { peer, request, code }),
                }
            }
            Target::Shard { shard, track } => {
                self.names.remove_remote(shard, track);
                match ending {
                    Ending::ByPeer => {}
                    Ending::Finished => self.decisions.send(shard, RemoteMessage::Finished { track }),
                    Ending::Refused(code) => self.decisions.send(shard, RemoteMessage::Refused { track, code }),
                }
            }
        }
    }

    /// A track that nobody wants stays for a while.
    pub(super) fn linger(&mut self, key: TrackKey, now: Instant) {
        if let Some(track) = self.store.track_mut(key)
            && track.may_linger()
        {
            track.set_lingering(self.deadlines.linger(key, now));
        }
    }

    /// A track that nobody wants goes now.
    pub(super) fn leave_unwanted(&mut self, key: TrackKey) {
        if self.track(key).is_some_and(|track| !track.is_wanted()) {
            self.remove_track(key);
        }
    }

    /// The next moment at which something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Does what is due by `now`. To be called at [`poll_timeout`](Self::poll_timeout), and in each turn that took
    /// something in.
    pub fn handle_timeout(&mut self, now: Instant) {
        for key in self.deadlines.take_owed_updates() {
            self.ask_upstream(key);
        }
        for key in self.deadlines.take_unwanted() {
            self.linger(key, now);
        }
        for key in self.deadlines.take_incomplete() {
            self.wait_for_stragglers(key, now);
        }
        while let Some((until, key)) = self.deadlines.poll_lingered(now) {
            // Someone who came in between took the deadline away, or set a later one.
            let is_due = self.track(key).is_some_and(|track| track.has_lingered(until));
            if is_due {
                self.remove_track(key);
            }
        }
        while let Some((until, key)) = self.deadlines.poll_straggled(now) {
            if let Some(track) = self.track_mut(key)
                && track.stop_straggling(until)
            {
                self.give_up_stragglers(key);
            }
        }
    }

    fn wait_for_stragglers(&mut self, key: TrackKey, now: Instant) {
        if let Some(track) = self.store.track_mut(key)
            && !track.awaits_stragglers()
        {
            track.set_straggling(self.deadlines.await_stragglers(key, now));
        }
    }

    /// The next thing to be done, in order. `None`: nothing is left to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        for (key, slot) in self.decisions.take_changed_preferences() {
            self.settle_update(key, slot);
        }
        if let Some(action) = self.decisions.pop() {
            return Some(action);
        }
        while let Some(key) = self.decisions.pop_changed_demand() {
            if let Some(action) = self.update_upstream(key) {
                return Some(action);
            }
        }
        None
    }

    /// A peer with something to send since it was last pumped.
    pub fn poll_dirty_peer(&mut self) -> Option<PeerKey> {
        self.peers.poll_dirty()
    }

    /// What is held now, and what was counted so far. Walks over tracks and peers.
    pub fn statistics(&self) -> TracksStatistics {
        TracksStatistics {
            peers: self.peers.len(),
            tracks: self.store.len(),
            subscriptions: self.store.iter().map(|track| track.subscriptions().len()).sum(),
            upstream_subscriptions: self.names.subscription_count(),
            groups: self.groups.len(),
            cache_bytes: self.groups.bytes(),
            requests: self.peers.request_count(),
            fetches_pending: self.fetches.pending(),
            fetches: self.fetches.asked(),
            fetches_from_cache: self.fetches.answered_from_cache(),
            cache_full: self.cache.overflows(),
            egress: self.sent,
        }
    }
}

/// How a subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    ByPeer,
    Finished,
    Refused(ErrorCode),
}
