//! The tracks of one shard, whole: state, limits, and the queues that decisions leave by.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::wire::{
    BroadcastPath, ErrorCode, Fetch, GroupSequence, StreamId, SubscribeId, SubscribeOk, SubscribeUpdate, TrackInfo,
    TrackName, TrackRequest, Version, stream_error,
};

use super::demand::Demand;
use super::egress::{Egress, EgressStatistics};
use super::fetch::Fetching;
use super::group::{GroupToken, Groups};
use super::ids::{FetchKey, PeerKey, RequestKey, ShardId, Source, TrackKey};
use super::remote::RemoteMessage;
use super::track::{GONE, Target, Track, Upstream};

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
    Subscribe {
        peer: PeerKey,
        track: TrackKey,
        broadcast: BroadcastPath,
        name: TrackName,
        demand: Demand,
    },
    UpdateSubscription {
        peer: PeerKey,
        id: SubscribeId,
        update: SubscribeUpdate,
    },
    Unsubscribe {
        peer: PeerKey,
        id: SubscribeId,
    },
    RequestTrack {
        peer: PeerKey,
        track: TrackKey,
        request: TrackRequest,
    },
    Fetch {
        peer: PeerKey,
        fetch: FetchKey,
        message: Fetch,
    },
    CancelRequest {
        peer: PeerKey,
        stream: StreamId,
    },
    Accept {
        peer: PeerKey,
        request: StreamId,
        ok: SubscribeOk,
    },
    Start {
        peer: PeerKey,
        request: StreamId,
        group: GroupSequence,
    },
    End {
        peer: PeerKey,
        request: StreamId,
        end: GroupSequence,
    },
    Drop {
        peer: PeerKey,
        request: StreamId,
        start: GroupSequence,
        end: GroupSequence,
        code: ErrorCode,
    },
    Finish {
        peer: PeerKey,
        request: StreamId,
    },
    /// The scheduler has ended this request's stream itself.
    Fetched {
        peer: PeerKey,
        request: StreamId,
    },
    Refuse {
        peer: PeerKey,
        request: StreamId,
        code: ErrorCode,
    },
    TrackInfo {
        peer: PeerKey,
        request: StreamId,
        info: TrackInfo,
    },
    Remote(ShardId, RemoteMessage),
}

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
    /// Tracks of each broadcast, counted: most changes of routes concern none of ours.
    broadcasts: FxHashMap<BroadcastPath, usize>,
    pub(super) by_name: FxHashMap<(BroadcastPath, TrackName, Source), TrackKey>,
    /// Upstream subscriptions at sessions of this shard.
    pub(super) upstream: FxHashMap<(PeerKey, SubscribeId), TrackKey>,
    pub(super) info_streams: FxHashMap<(PeerKey, StreamId), TrackKey>,
    pub(super) requests: FxHashMap<RequestKey, Requested>,
    /// Subscriptions of other shards, by their names for the tracks.
    pub(super) remotes: FxHashMap<(ShardId, TrackKey), (TrackKey, usize)>,
    pub(super) groups: Groups,
    /// Cached groups in order of their start.
    pub(super) cache: VecDeque<GroupToken>,
    pub(super) fetching: FxHashMap<FetchKey, Fetching>,
    pub(super) fetch_streams: FxHashMap<(PeerKey, StreamId), FetchKey>,
    pub(super) next_fetch: u64,
    pub(super) arrivals: u64,
    /// In the order of their deadlines, since all linger equally long.
    lingering: VecDeque<(Instant, TrackKey)>,
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
            by_name: FxHashMap::default(),
            upstream: FxHashMap::default(),
            info_streams: FxHashMap::default(),
            requests: FxHashMap::default(),
            remotes: FxHashMap::default(),
            groups: Groups::default(),
            cache: VecDeque::new(),
            fetching: FxHashMap::default(),
            fetch_streams: FxHashMap::default(),
            next_fetch: 0,
            arrivals: 0,
            lingering: VecDeque::new(),
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
        let requests: Vec<RequestKey> = self.requests.keys().filter(|key| key.peer == peer).copied().collect();
        for key in requests {
            self.end_request(key, now);
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
        for key in self.keys_of(|track| track.source == source) {
            self.end_track(key, GONE);
        }
        self.end_fetches(source);
    }

    /// The sources of a broadcast changed. `successor` tells who has the same content as a
    /// source that does not publish it any more. Without one nothing happens here: a
    /// broadcast that ends does not disturb subscriptions in flight (draft, "ANNOUNCE_START",
    /// `Ended`).
    pub fn handle_route_changed(
        &mut self,
        path: &BroadcastPath,
        now: Instant,
        successor: impl Fn(Source) -> Option<Source>,
    ) {
        if !self.broadcasts.contains_key(path) {
            return;
        }
        for key in self.keys_of(|track| track.broadcast == *path && track.failed.is_none()) {
            let source = self.track(key).map(|track| track.source);
            if let Some(other) = source.and_then(&successor) {
                self.splice(key, other, now);
            }
        }
    }

    fn keys_of(&self, matches: impl Fn(&Track) -> bool) -> Vec<TrackKey> {
        self.tracks
            .iter()
            .filter(|(_, (_, track))| matches(track))
            .map(|(index, (generation, _))| track_key(index, *generation))
            .collect()
    }

    /// Another source continues the track: subscribers go on from its next group.
    fn splice(&mut self, key: TrackKey, source: Source, now: Instant) {
        let Some(track) = self.track_mut(key) else { return };
        let name = (track.broadcast.clone(), track.name.clone(), track.source);
        self.release_upstream(key);
        self.by_name.remove(&name);
        if self.by_name.contains_key(&(name.0.clone(), name.1.clone(), source)) {
            return self.end_track(key, GONE);
        }
        self.by_name.insert((name.0, name.1, source), key);
        let Some(track) = self.track_mut(key) else { return };
        track.source = source;
        track.is_accepted = false;
        track.end = None;
        // An unfinished group will not be continued by the other source.
        let open: Vec<GroupToken> = track.groups.iter().map(|(_, token)| *token).collect();
        for token in open {
            self.abort_if_open(token, GONE);
        }
        self.ask_upstream(key, now);
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
        *self.broadcasts.entry(broadcast.clone()).or_default() += 1;
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
        let name = (track.broadcast.clone(), track.name.clone(), track.source);
        let waiters = std::mem::take(&mut track.info_waiters);
        let groups: Vec<GroupToken> = track.groups.iter().map(|(_, token)| *token).collect();
        if self.by_name.get(&name) == Some(&key) {
            self.by_name.remove(&name);
        }
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
        let Some(track) = self.track_mut(key) else { return };
        let groups = std::mem::take(&mut track.groups);
        let name = (track.broadcast.clone(), track.name.clone(), track.source);
        let info = track.info_stream.take().map(|stream| (track.source.peer, stream));
        for (_, token) in groups {
            self.let_go(token);
        }
        if let Some((peer, stream)) = info {
            self.info_streams.remove(&(peer, stream));
            self.actions.push_back(Action::CancelRequest { peer, stream });
        }
        if self.by_name.get(&name) == Some(&key) {
            self.by_name.remove(&name);
        }
        if let Some(count) = self.broadcasts.get_mut(&name.0) {
            *count -= 1;
            if *count == 0 {
                self.broadcasts.remove(&name.0);
            }
        }
        self.tracks.remove(key.index as usize);
    }

    /// Ends the upstream subscription, if there is one.
    pub(super) fn release_upstream(&mut self, key: TrackKey) {
        let shard = self.shard;
        let Some(track) = self.track_mut(key) else { return };
        let source = track.source;
        track.demand = None;
        match std::mem::replace(&mut track.upstream, Upstream::Idle) {
            Upstream::Local(id) => {
                self.upstream.remove(&(source.peer, id));
                self.actions.push_back(Action::Unsubscribe { peer: source.peer, id });
            }
            Upstream::Remote if source.shard != shard => {
                self.send(source.shard, RemoteMessage::Unsubscribe { track: key });
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
                self.requests.remove(&request);
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
        self.lingering.front().map(|(until, _)| *until)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.unwanted) {
            self.linger(key, now);
        }
        while let Some((until, key)) = self.lingering.front().copied() {
            if until > now {
                return;
            }
            self.lingering.pop_front();
            // Someone who came in between took the deadline away, or set a later one.
            let is_due = self
                .track(key)
                .is_some_and(|track| track.linger_until == Some(until) && !track.is_wanted());
            if is_due {
                self.remove_track(key);
            }
        }
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
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
            requests: self.requests.len(),
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
