//! The tracks of one shard, whole: state, limits, and the queues that decisions leave by.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use moqswitch_proto::wire::{BroadcastPath, ErrorCode, HopId, StreamId, SubscribeId, TrackName, Version, stream_error};

use super::action::{Action, TrackLimits};
use super::egress::{Egress, EgressStatistics};
use super::fetch::Fetching;
use super::group::{GroupToken, Groups};
use super::ids::{FetchKey, PeerKey, RemoteTrack, RequestKey, ShardId, Source, TrackKey};
use super::remote::RemoteMessage;
use super::route::RouteFate;
use super::track_state::{GONE, Target, Track, Upstream};

/// How much is held, for metrics and for tests that look for leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracksStatistics {
    pub peers: usize,
    pub tracks: usize,
    pub subscriptions: usize,
    pub upstream_subscriptions: usize,
    pub groups: usize,
    pub cache_bytes: usize,
    pub requests: usize,
    pub fetches_pending: usize,
    pub fetches: u64,
    pub fetches_from_cache: u64,
    pub cache_full: u64,
    pub egress: EgressStatistics,
}

/// What a request of a local peer is for.
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

/// The tracks of one shard.
#[derive(Debug)]
pub struct Tracks {
    pub(super) shard: ShardId,
    pub(super) limits: TrackLimits,
    pub(super) peers: FxHashMap<PeerKey, Egress>,
    pub(super) tracks: Slab<(u32, Track)>,
    next_generation: u32,
    /// Tracks of each broadcast and of each source.
    broadcasts: FxHashMap<BroadcastPath, FxHashSet<TrackKey>>,
    sources: FxHashMap<Source, FxHashSet<TrackKey>>,
    /// What new requests find. A track that its source no longer publishes is not here.
    pub(super) by_name: FxHashMap<(BroadcastPath, TrackName, Source), TrackKey>,
    /// Upstream subscriptions at sessions of this shard.
    pub(super) upstream: FxHashMap<(PeerKey, SubscribeId), TrackKey>,
    pub(super) info_streams: FxHashMap<(PeerKey, StreamId), TrackKey>,
    /// Subscriptions of other shards, by their names for the tracks.
    pub(super) remotes: FxHashMap<(ShardId, RemoteTrack), (TrackKey, usize)>,
    pub(super) groups: Groups,
    /// Cached groups in order of their start.
    pub(super) cache: VecDeque<GroupToken>,
    pub(super) fetching: FxHashMap<FetchKey, Fetching>,
    pub(super) fetch_streams: FxHashMap<(PeerKey, StreamId), FetchKey>,
    pub(super) next_fetch: u64,
    pub(super) arrivals: u64,
    /// In the order of their deadlines, since all linger equally long.
    lingering: VecDeque<(Instant, TrackKey)>,
    /// Likewise those that wait for groups which should be there.
    straggling: VecDeque<(Instant, TrackKey)>,
    /// Tracks that began to wait for groups since the last look at the clock.
    pub(super) incomplete: Vec<TrackKey>,
    /// Subscriptions with other preferences since the last turn.
    pub(super) updated: Vec<(TrackKey, usize)>,
    /// Tracks whose publishers are to be told of a changed demand, once in a turn.
    pub(super) updates: Vec<TrackKey>,
    /// The same, after a queue to another shard was full.
    pub(super) owed_updates: Vec<TrackKey>,
    /// Tracks that lost their last subscriber since the last look at the clock.
    unwanted: Vec<TrackKey>,
    pub(super) actions: VecDeque<Action>,
    pub(super) dirty: VecDeque<PeerKey>,
    pub(super) statistics: TracksStatistics,
}

impl Tracks {
    pub fn new(shard: ShardId, limits: TrackLimits) -> Self {
        Self {
            shard,
            limits,
            peers: FxHashMap::default(),
            tracks: Slab::new(),
            next_generation: 0,
            broadcasts: FxHashMap::default(),
            sources: FxHashMap::default(),
            by_name: FxHashMap::default(),
            upstream: FxHashMap::default(),
            info_streams: FxHashMap::default(),
            remotes: FxHashMap::default(),
            groups: Groups::default(),
            cache: VecDeque::new(),
            fetching: FxHashMap::default(),
            fetch_streams: FxHashMap::default(),
            next_fetch: 0,
            arrivals: 0,
            lingering: VecDeque::new(),
            straggling: VecDeque::new(),
            incomplete: Vec::new(),
            updated: Vec::new(),
            updates: Vec::new(),
            owed_updates: Vec::new(),
            unwanted: Vec::new(),
            actions: VecDeque::new(),
            dirty: VecDeque::new(),
            statistics: TracksStatistics::default(),
        }
    }

    /// A session begins.
    pub fn handle_peer(&mut self, peer: PeerKey, version: Version, takes_datagrams: bool) {
        self.peers.insert(peer, Egress::new(version, takes_datagrams));
    }

    /// A session is over: its requests, and as a publisher its tracks.
    pub fn handle_peer_gone(&mut self, peer: PeerKey, now: Instant) {
        let requests: Vec<StreamId> = self
            .peers
            .get(&peer)
            .map(|egress| egress.requests.keys().copied().collect())
            .unwrap_or_default();
        for request in requests {
            self.end_request(RequestKey { peer, request }, now);
        }
        if let Some(egress) = self.peers.remove(&peer) {
            for (index, out) in &egress.outs {
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
        for key in keys(self.sources.get(&source)) {
            self.lose_source(key);
        }
        self.end_fetches(source);
    }

    /// A publisher that had said its last before it left is not missed.
    fn lose_source(&mut self, key: TrackKey) {
        let Some(track) = self.track(key) else { return };
        let is_complete = match track.upstream {
            Upstream::Ending(_) => {
                self.finish_upstream(key);
                true
            }
            other => other == Upstream::Finished && track.failed.is_none(),
        };
        let is_over = self
            .track(key)
            .is_some_and(|track| track.upstream == Upstream::Finished);
        if !is_complete || !is_over {
            return self.end_track(key, GONE);
        }
        self.retire(key);
        let Some(track) = self.track_mut(key) else { return };
        let waiters = std::mem::take(&mut track.info_waiters);
        let groups: Vec<GroupToken> = track.groups.iter().map(|(_, token)| *token).collect();
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
        for key in keys(self.broadcasts.get(path)) {
            let Some(track) = self.track(key).filter(|track| track.failed.is_none()) else {
                continue;
            };
            match fate(track.source) {
                RouteFate::Unchanged => {}
                RouteFate::Ended => self.retire(key),
                RouteFate::ContinuedBy { source, hops } => self.splice(key, source, &hops, now),
            }
        }
    }

    /// A source may not publish a broadcast any more: its tracks end, for those who have them, too.
    pub fn handle_revoked(&mut self, path: &BroadcastPath, source: Source) {
        for key in keys(self.broadcasts.get(path)) {
            if self.track(key).is_some_and(|track| track.source == source) {
                self.end_track(key, GONE);
            }
        }
    }

    /// New requests for the track begin another one.
    fn retire(&mut self, key: TrackKey) {
        let Some(track) = self.track(key) else { return };
        let name = (track.broadcast.clone(), track.name.clone(), track.source);
        if self.by_name.get(&name) == Some(&key) {
            self.by_name.remove(&name);
        }
    }

    /// Another source continues the track: subscribers go on from its next group, but for
    /// those through whom that source has it (draft, "Routing").
    fn splice(&mut self, key: TrackKey, source: Source, hops: &[HopId], now: Instant) {
        self.release_upstream(key);
        self.cancel_info(key);
        self.retire(key);
        let Some(track) = self.track_mut(key) else { return };
        let name = (track.broadcast.clone(), track.name.clone(), source);
        let old = std::mem::replace(&mut track.source, source);
        track.is_accepted = false;
        (track.end, track.upstream_end, track.served_to) = (None, None, None);
        // An unfinished group will not be continued by the other source.
        let groups: Vec<GroupToken> = track.groups.iter().map(|(_, token)| *token).collect();
        remove_from(&mut self.sources, &old, key);
        self.sources.entry(source).or_default().insert(key);
        for token in groups {
            self.abort_if_open(token, GONE);
        }
        // Where the source has a track of that name already, this one goes on beside it for
        // those who have it, and new requests find the other.
        self.by_name.entry(name).or_insert(key);
        for slot in self.slots(key) {
            let target = self
                .track(key)
                .and_then(|track| track.subscriptions.get(slot))
                .map(|s| s.target);
            if let Some(Target::Peer { hop, .. }) = target
                && hop != HopId::UNKNOWN
                && hops.contains(&hop)
            {
                self.end_subscription(key, slot, Ending::Refused(GONE));
            }
        }
        self.ask_upstream(key);
        if self.track(key).is_some_and(|track| !track.info_waiters.is_empty()) {
            self.ask_info(key, now);
        }
    }

    /// The tracks of one name and source, made when there is none.
    pub(super) fn track_of(&mut self, broadcast: &BroadcastPath, name: &TrackName, source: Source) -> Option<TrackKey> {
        let full = (broadcast.clone(), name.clone(), source);
        if let Some(key) = self.by_name.get(&full) {
            return Some(*key);
        }
        if self.tracks.len() >= self.limits.tracks_max {
            return None;
        }
        self.next_generation = self.next_generation.wrapping_add(1);
        let track = Track::new(broadcast.clone(), name.clone(), source);
        let index = self.tracks.insert((self.next_generation, track));
        let key = track_key(index, self.next_generation);
        self.broadcasts.entry(broadcast.clone()).or_default().insert(key);
        self.sources.entry(source).or_default().insert(key);
        self.by_name.insert(full, key);
        Some(key)
    }

    pub(super) fn track(&self, key: TrackKey) -> Option<&Track> {
        match self.tracks.get(key.index as usize) {
            Some((generation, track)) if *generation == key.generation => Some(track),
            _ => None,
        }
    }

    pub(super) fn track_mut(&mut self, key: TrackKey) -> Option<&mut Track> {
        match self.tracks.get_mut(key.index as usize) {
            Some((generation, track)) if *generation == key.generation => Some(track),
            _ => None,
        }
    }

    /// A track's publisher is lost, or refused. Subscribers get what is there whole, and are
    /// then reset; who comes later finds another source, or none.
    pub(super) fn end_track(&mut self, key: TrackKey, code: ErrorCode) {
        self.release_upstream(key);
        let Some(track) = self.track_mut(key) else { return };
        if track.failed.is_some() {
            return;
        }
        track.upstream = Upstream::Finished;
        track.failed = Some(code);
        let waiters = std::mem::take(&mut track.info_waiters);
        let groups: Vec<GroupToken> = track.groups.iter().map(|(_, token)| *token).collect();
        self.retire(key);
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
        if track.failed.is_some() {
            return self.remove_track(key);
        }
        // Its time runs from the next look at the clock.
        self.unwanted.push(key);
    }

    /// Forgets a track that has no subscribers.
    pub(super) fn remove_track(&mut self, key: TrackKey) {
        self.release_upstream(key);
        self.cancel_info(key);
        self.retire(key);
        let Some(track) = self.track_mut(key) else { return };
        let groups = std::mem::take(&mut track.groups);
        let (broadcast, source) = (track.broadcast.clone(), track.source);
        for (_, token) in groups {
            self.let_go(token);
        }
        remove_from(&mut self.broadcasts, &broadcast, key);
        remove_from(&mut self.sources, &source, key);
        self.tracks.remove(key.index as usize);
    }

    /// Stops asking for TRACK_INFO.
    fn cancel_info(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        let peer = track.source.peer;
        track.is_info_requested = false;
        if let Some(stream) = track.info_stream.take() {
            self.info_streams.remove(&(peer, stream));
            self.actions.push_back(Action::CancelRequest { peer, stream });
        }
    }

    /// Ends the upstream subscription, if there is one.
    pub(super) fn release_upstream(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        let source = track.source;
        track.demand = None;
        track.incoming.clear();
        match std::mem::replace(&mut track.upstream, Upstream::Idle) {
            Upstream::Local(id) | Upstream::Ending(id) => {
                self.upstream.remove(&(source.peer, id));
                self.actions.push_back(Action::Unsubscribe { peer: source.peer, id });
            }
            Upstream::Remote => {
                let track = track.remote_name(key);
                self.send(source.shard, RemoteMessage::Unsubscribe { track });
            }
            _ => {}
        }
    }

    /// A subscription ends; the track may be left alone then.
    pub(super) fn end_subscription(&mut self, key: TrackKey, slot: usize, ending: Ending) {
        let Some(track) = self.track_mut(key) else { return };
        let Some(subscription) = track.subscriptions.try_remove(slot) else {
            return;
        };
        self.settle_track(key);
        match subscription.target {
            Target::Peer { key: request, .. } => {
                self.remove_request(request);
                let RequestKey { peer, request } = request;
                for out in subscription.outs {
                    self.abandon(peer, out, stream_error::CANCEL);
                }
                match ending {
                    Ending::ByPeer => {}
                    Ending::Finished => self.actions.push_back(Action::Finish { peer, request }),
                    Ending::Refused(code) => self.actions.push_back(Action::Refuse { peer, request, code }),
                }
            }
            Target::Shard { shard, track } => {
                self.remotes.remove(&(shard, track));
                match ending {
                    Ending::ByPeer => {}
                    Ending::Finished => self.send(shard, RemoteMessage::Finished { track }),
                    Ending::Refused(code) => self.send(shard, RemoteMessage::Refused { track, code }),
                }
            }
        }
    }

    /// A track that nobody wants stays for a while.
    pub(super) fn linger(&mut self, key: TrackKey, now: Instant) {
        let linger = self.limits.linger;
        let Some(track) = self.track_mut(key) else { return };
        if track.is_wanted() || track.linger_until.is_some() {
            return;
        }
        let until = now + linger;
        track.linger_until = Some(until);
        self.lingering.push_back((until, key));
    }

    /// The next moment at which something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [self.lingering.front(), self.straggling.front()];
        due.into_iter().flatten().map(|(until, _)| *until).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.owed_updates) {
            self.ask_upstream(key);
        }
        for key in std::mem::take(&mut self.unwanted) {
            self.linger(key, now);
        }
        for key in std::mem::take(&mut self.incomplete) {
            self.wait_for_stragglers(key, now);
        }
        while let Some((until, key)) = pop_due(&mut self.lingering, now) {
            // Someone who came in between took the deadline away, or set a later one.
            let is_due = self
                .track(key)
                .is_some_and(|track| track.linger_until == Some(until) && !track.is_wanted());
            if is_due {
                self.remove_track(key);
            }
        }
        while let Some((until, key)) = pop_due(&mut self.straggling, now) {
            if let Some(track) = self.track_mut(key)
                && track.stragglers_until == Some(until)
            {
                track.stragglers_until = None;
                self.give_up_stragglers(key);
            }
        }
    }

    fn wait_for_stragglers(&mut self, key: TrackKey, now: Instant) {
        if let Some(track) = self.track_mut(key)
            && track.stragglers_until.is_none()
        {
            let until = now + STRAGGLERS_WAIT;
            track.stragglers_until = Some(until);
            self.straggling.push_back((until, key));
        }
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        for (key, slot) in std::mem::take(&mut self.updated) {
            self.settle_update(key, slot);
        }
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        while let Some(key) = self.updates.pop() {
            if let Some(action) = self.update_upstream(key) {
                return Some(action);
            }
        }
        None
    }

    pub(super) fn insert_request(&mut self, key: RequestKey, requested: Requested) {
        if let Some(egress) = self.peers.get_mut(&key.peer) {
            egress.requests.insert(key.request, requested);
        }
    }

    pub(super) fn remove_request(&mut self, key: RequestKey) -> Option<Requested> {
        self.peers.get_mut(&key.peer)?.requests.remove(&key.request)
    }

    pub(super) fn request(&self, key: RequestKey) -> Option<Requested> {
        self.peers.get(&key.peer)?.requests.get(&key.request).copied()
    }

    /// A peer with something to send since it was last pumped.
    pub fn poll_dirty_peer(&mut self) -> Option<PeerKey> {
        while let Some(peer) = self.dirty.pop_front() {
            if let Some(egress) = self.peers.get_mut(&peer) {
                egress.is_dirty = false;
                return Some(peer);
            }
        }
        None
    }

    pub(super) fn mark_dirty(&mut self, peer: PeerKey) {
        if let Some(egress) = self.peers.get_mut(&peer)
            && !std::mem::replace(&mut egress.is_dirty, true)
        {
            self.dirty.push_back(peer);
        }
    }

    pub(super) fn send(&mut self, shard: ShardId, message: RemoteMessage) {
        self.actions.push_back(Action::Remote(shard, message));
    }

    pub fn statistics(&self) -> TracksStatistics {
        TracksStatistics {
            peers: self.peers.len(),
            tracks: self.tracks.len(),
            subscriptions: self
                .tracks
                .iter()
                .map(|(_, (_, track))| track.subscriptions.len())
                .sum(),
            upstream_subscriptions: self.upstream.len(),
            groups: self.groups.len(),
            cache_bytes: self.groups.bytes,
            requests: self.peers.values().map(|egress| egress.requests.len()).sum(),
            fetches_pending: self.fetching.len(),
            ..self.statistics
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

pub(super) fn track_key(index: usize, generation: u32) -> TrackKey {
    TrackKey {
        index: u32::try_from(index).expect("tracks_max is far below 2^32"),
        generation,
    }
}

fn keys(set: Option<&FxHashSet<TrackKey>>) -> Vec<TrackKey> {
    set.map(|keys| keys.iter().copied().collect()).unwrap_or_default()
}

fn remove_from<Name: Eq + std::hash::Hash>(
    index: &mut FxHashMap<Name, FxHashSet<TrackKey>>,
    name: &Name,
    key: TrackKey,
) {
    if let Some(keys) = index.get_mut(name) {
        keys.remove(&key);
        if keys.is_empty() {
            index.remove(name);
        }
    }
}

fn pop_due(deadlines: &mut VecDeque<(Instant, TrackKey)>, now: Instant) -> Option<(Instant, TrackKey)> {
    deadlines.pop_front_if(|(until, _)| *until <= now)
}

/// How long groups are waited for that were sent before the end was told, or that are
/// missing before the last one of a range. Longer than a retransmission takes.
const STRAGGLERS_WAIT: Duration = Duration::from_secs(1);
