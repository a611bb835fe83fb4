//! What each announce stream of this shard is told, as a difference to what it was told.
//!
//! Invariant: `told` of a stream is what its peer knows, or will by what was handed out. A
//! change only names its path to the streams that match it; what they are told of it is
//! decided when their connections have room, so that a slow reader skips what is over by
//! then. A change costs as much as the path has segments and as there are such streams.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use moqswitch_proto::limits::HOPS_MAX;
use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId, StreamId};

use super::ids::{PeerKey, RequestKey, ShardId, Source};
use super::route::{Entry, RouteFate};
use super::select::{is_spliceable, select};
use super::settling::{Dues, Settling, Verdict};
use super::table::{AnnounceTable, BROADCASTS_MAX};

/// Something to tell a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnounceAction {
    /// The answer to the request begins (draft "ANNOUNCE_OK").
    Ok {
        /// The session that asked.
        peer: PeerKey,
        /// Its Announce Stream.
        request: StreamId,
        /// How many announcements follow as the initial set.
        active_count: u64,
    },
    /// New, or changed: the session knows which and in what form.
    Announce {
        /// The session that asked.
        peer: PeerKey,
        /// Its Announce Stream.
        request: StreamId,
        /// The path below the prefix that it asked for.
        suffix: BroadcastPath,
        /// What it is told of the broadcast.
        advertisement: Arc<Advertisement>,
    },
    /// A broadcast that the peer was told of is gone, or not for it any more.
    Unannounce {
        /// The session that asked.
        peer: PeerKey,
        /// Its Announce Stream.
        request: StreamId,
        /// The path below the prefix that it asked for.
        suffix: BroadcastPath,
    },
    /// The peer did not read for so long that it can no longer be told what it missed.
    Reset {
        /// The session that asked.
        peer: PeerKey,
        /// Its Announce Stream, which serves no more.
        request: StreamId,
    },
}

/// The request is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyRequests {
    /// The shard has its maximum.
    #[error("the shard serves its maximum of {REQUESTS_MAX} announce streams")]
    OfShard,
    /// The peer has asked for the same often enough.
    #[error("the peer has asked for this prefix {REQUESTS_ALIKE_MAX} times")]
    Alike,
}

/// Which paths a peer may be told of.
pub type Visible = Rc<dyn Fn(&BroadcastPath) -> bool>;

/// Who is interested and what they know.
pub struct Announcer {
    table: Arc<AnnounceTable>,
    shard: ShardId,
    our_hop: HopId,
    requests: FxHashMap<RequestKey, Request>,
    /// Streams by the prefix they asked for.
    by_prefix: FxHashMap<BroadcastPath, Vec<RequestKey>>,
    by_peer: FxHashMap<PeerKey, FxHashSet<StreamId>>,
    /// Streams with something to be told.
    ready: VecDeque<RequestKey>,
    /// What was last seen of each path, to tell what became of a source that is gone.
    followed: BTreeMap<BroadcastPath, Vec<Entry>>,
    resync: Resync,
    /// Changed paths that wait, of all streams.
    waiting: usize,
    /// Streams that may hear of other broadcasts than before, and have not been told what that changes.
    rescans: VecDeque<RequestKey>,
    /// Peers of the mesh, whose streams settle before they are told of changes.
    links: FxHashSet<PeerKey>,
    dues: Dues,
    now: Option<Instant>,
    /// Broadcasts that a stream was not told of because it knows its maximum.
    pub untold: u64,
}

/// What a stream is told of a path.
#[derive(Clone)]
struct Told {
    advertisement: Arc<Advertisement>,
    source: Source,
    /// Of the source's content. See [`Entry::generation`].
    generation: u64,
}

struct Request {
    prefix: BroadcastPath,
    exclude: HopId,
    wants_ended: bool,
    visible: Option<Visible>,
    told: FxHashMap<BroadcastPath, Told>,
    /// How many broadcasts the initial set has, until that is said.
    active_count: Option<u64>,
    /// The initial set as it was counted, until it is said.
    initial: VecDeque<(BroadcastPath, Told)>,
    /// Paths that may have changed since.
    changed: VecDeque<BroadcastPath>,
    is_changed: FxHashSet<BroadcastPath>,
    is_ready: bool,
    /// How far the look at everything has come that follows a change of `visible`.
    rescan: Resync,
    is_rescan_queued: bool,
    /// It has missed changes for want of room, and can only be reset.
    is_lost: bool,
    /// Of a peer of the mesh.
    settling: Option<Box<Settling>>,
}

/// A second look at everything, after changes were missed.
enum Resync {
    Idle,
    /// Paths up to this one were looked at.
    After(Option<BroadcastPath>),
}

/// Where a subscription of a path goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The session that publishes.
    pub source: Source,
    /// The generation of its content; 0 when unspecified.
    pub epoch: u64,
}

/// The sources of a path after it changed, and before.
#[derive(Clone, Debug)]
pub struct PathChange {
    before: Vec<Entry>,
    after: Vec<Entry>,
}

impl PathChange {
    /// The sources that the path has.
    pub fn entries(&self) -> &[Entry] {
        &self.after
    }

    /// What became of a source's broadcast (draft, "Routing": live subscriptions may go on
    /// at another source of the same content at a group boundary).
    pub fn fate_of(&self, source: Source) -> RouteFate {
        let find = |entries: &[Entry]| entries.iter().find(|entry| entry.source == source).cloned();
        match (find(&self.before), find(&self.after)) {
            (Some(before), Some(after)) if before.generation != after.generation => RouteFate::Ended,
            // It serves until it closes, but another that will stay does that better.
            (_, Some(leaving)) if leaving.is_draining => self.continued(&leaving).unwrap_or(RouteFate::Unchanged),
            (_, Some(_)) | (None, None) => RouteFate::Unchanged,
            (Some(gone), None) => self.continued(&gone).unwrap_or(RouteFate::Ended),
        }
    }

    /// Another source of the same content, that takes requests if there is one that does.
    fn continued(&self, gone: &Entry) -> Option<RouteFate> {
        let same: Vec<Entry> = self
            .after
            .iter()
            .filter(|entry| entry.source != gone.source && is_spliceable(entry, gone))
            .filter(|entry| !gone.is_draining || !entry.is_draining)
            .cloned()
            .collect();
        select(&same, HopId::UNKNOWN, false).map(|entry| RouteFate::ContinuedBy {
            source: entry.source,
            hops: entry.advertisement.hops.to_vec(),
        })
    }
}

impl Announcer {
    /// The announcer of `shard`, which knows no request yet. `our_hop` is the relay's own hop id, by which loops are
    /// known.
    pub fn new(table: Arc<AnnounceTable>, shard: ShardId, our_hop: HopId) -> Self {
        Self {
            table,
            shard,
            our_hop,
            requests: FxHashMap::default(),
            by_prefix: FxHashMap::default(),
            by_peer: FxHashMap::default(),
            ready: VecDeque::new(),
            followed: BTreeMap::new(),
            resync: Resync::Idle,
            waiting: 0,
            rescans: VecDeque::new(),
            links: FxHashSet::default(),
            dues: Dues::default(),
            now: None,
            untold: 0,
        }
    }

    /// A peer wants to hear of broadcasts below `prefix`, a full path, but not of what
    /// passed through `exclude`.
    pub fn handle_request(
        &mut self,
        peer: PeerKey,
        request: StreamId,
        prefix: BroadcastPath,
        exclude: HopId,
        wants_ended: bool,
        visible: Option<Visible>,
    ) -> Result<(), TooManyRequests> {
        if self.requests.len() >= REQUESTS_MAX {
            return Err(TooManyRequests::OfShard);
        }
        if self.alike(peer, &prefix) >= REQUESTS_ALIKE_MAX {
            return Err(TooManyRequests::Alike);
        }
        let key = RequestKey { peer, request };
        let mut state = Request {
            prefix: prefix.clone(),
            exclude,
            wants_ended,
            visible,
            told: FxHashMap::default(),
            active_count: None,
            initial: VecDeque::new(),
            changed: VecDeque::new(),
            is_changed: FxHashSet::default(),
            is_ready: false,
            rescan: Resync::Idle,
            is_rescan_queued: false,
            is_lost: false,
            settling: self.links.contains(&peer).then(Box::default),
        };
        for path in self.table.paths_under(&prefix, TOLD_PER_REQUEST_MAX) {
            let entries = self.table.entries(&path);
            if let Some(wanted) = state.wanted(&path, &entries, key.source(self.shard), self.our_hop) {
                state.initial.push_back((path.clone(), wanted));
            }
            // Its end must be noticed even if its beginning is never heard of.
            if !entries.is_empty() && self.followed.len() < FOLLOWED_MAX {
                self.followed.entry(path).or_insert(entries);
            }
        }
        state.active_count = Some(state.initial.len() as u64);
        self.by_prefix.entry(prefix).or_default().push(key);
        self.by_peer.entry(peer).or_default().insert(request);
        self.requests.insert(key, state);
        self.set_ready(key);
        Ok(())
    }

    /// A session turns out to be another relay of the mesh: changes of routes settle before it is told of them.
    pub fn set_link(&mut self, peer: PeerKey) {
        self.links.insert(peer);
        for request in self.by_peer.get(&peer).into_iter().flatten() {
            let key = RequestKey {
                peer,
                request: *request,
            };
            if let Some(state) = self.requests.get_mut(&key) {
                state.settling.get_or_insert_default();
            }
        }
    }

    /// The time of this turn. What has settled by now is told.
    pub fn handle_time(&mut self, now: Instant) {
        self.now = Some(now);
        while let Some((key, path)) = self.dues.poll(now) {
            let Some(state) = self.requests.get_mut(&key) else {
                continue;
            };
            if state
                .settling
                .as_mut()
                .is_some_and(|settling| settling.on_due(&path, now))
            {
                let before = state.changed.len();
                state.note_change(&path, self.waiting >= CHANGED_PER_SHARD_MAX);
                self.waiting = self.waiting + state.changed.len() - before;
                self.set_ready(key);
            }
        }
    }

    /// When something will have settled.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.dues.next()
    }

    /// How many streams of a peer have this prefix.
    fn alike(&self, peer: PeerKey, prefix: &BroadcastPath) -> usize {
        let requests = self.by_peer.get(&peer).into_iter().flatten();
        requests
            .filter(|request| {
                let key = RequestKey {
                    peer,
                    request: **request,
                };
                self.requests.get(&key).is_some_and(|state| state.prefix == *prefix)
            })
            .count()
    }

    /// The peer wants no more announcements on this stream.
    pub fn handle_request_ended(&mut self, peer: PeerKey, request: StreamId) {
        let key = RequestKey { peer, request };
        let Some(state) = self.requests.remove(&key) else {
            return;
        };
        self.waiting -= state.changed.len();
        if let Some(requests) = self.by_peer.get_mut(&peer) {
            requests.remove(&request);
            if requests.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
        if let Some(keys) = self.by_prefix.get_mut(&state.prefix) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_prefix.remove(&state.prefix);
            }
        }
    }

    /// A peer may hear of other broadcasts from now on: its streams are told what begins and what ends by that, as
    /// [`Self::rescan`] comes to it.
    pub fn set_visible(&mut self, peer: PeerKey, visible: &Visible) {
        let requests: Vec<StreamId> = self.by_peer.get(&peer).into_iter().flatten().copied().collect();
        for request in requests {
            let key = RequestKey { peer, request };
            let Some(state) = self.requests.get_mut(&key) else {
                continue;
            };
            state.visible = Some(visible.clone());
            // Once the peer knows how many come first, so many come.
            if state.active_count.is_some() {
                state.initial.retain(|(path, _)| visible(path));
                state.active_count = Some(state.initial.len() as u64);
            }
            state.rescan = Resync::After(None);
            self.queue_rescan(key);
        }
    }

    /// Looks at up to `limit` announced paths for streams that may hear of other broadcasts than before. A stream is
    /// told what was found before more is looked for.
    pub fn rescan(&mut self, limit: usize) {
        let mut left = limit;
        while left > 0
            && let Some(key) = self.rescans.pop_front()
        {
            let Some(state) = self.requests.get_mut(&key) else {
                continue;
            };
            state.is_rescan_queued = false;
            let Resync::After(after) = &state.rescan else { continue };
            if state.is_lost {
                continue;
            }
            let paths = self.table.paths_under_after(&state.prefix, after.as_ref(), left);
            state.rescan = match paths.last() {
                Some(last) if paths.len() == left => Resync::After(Some(last.clone())),
                _ => Resync::Idle,
            };
            left -= paths.len().max(1).min(left);
            for path in paths {
                let is_visible = state.visible.as_ref().is_none_or(|visible| visible(&path));
                if is_visible != state.told.contains_key(&path) && state.is_changed.insert(path.clone()) {
                    state.changed.push_back(path);
                    self.waiting += 1;
                }
            }
            if state.changed.is_empty() {
                self.queue_rescan(key);
            } else {
                self.set_ready(key);
            }
        }
    }

    /// Whether [`rescan`](Self::rescan) has something to look at.
    pub fn has_rescans(&self) -> bool {
        !self.rescans.is_empty()
    }

    fn queue_rescan(&mut self, key: RequestKey) {
        if let Some(state) = self.requests.get_mut(&key)
            && matches!(state.rescan, Resync::After(_))
            && !std::mem::replace(&mut state.is_rescan_queued, true)
        {
            self.rescans.push_back(key);
        }
    }

    /// The session is over: all its announce streams are forgotten.
    pub fn handle_peer_gone(&mut self, peer: PeerKey) {
        self.links.remove(&peer);
        for request in self.by_peer.remove(&peer).unwrap_or_default() {
            self.handle_request_ended(peer, request);
        }
    }

    /// The table changed at `path`: streams that match it will be told what is new to them.
    pub fn handle_change(&mut self, path: &BroadcastPath) -> PathChange {
        let entries = self.table.entries(path);
        let mut prefix = Some(path.clone());
        while let Some(current) = prefix {
            for key in self.by_prefix.get(&current).into_iter().flatten() {
                let Some(state) = self.requests.get_mut(key) else {
                    continue;
                };
                let before = state.changed.len();
                state.note_change(path, self.waiting >= CHANGED_PER_SHARD_MAX);
                self.waiting = self.waiting + state.changed.len() - before;
                if !std::mem::replace(&mut state.is_ready, true) {
                    self.ready.push_back(*key);
                }
            }
            prefix = current.parent();
        }
        let before = self.followed.remove(path).unwrap_or_default();
        if !entries.is_empty() && self.followed.len() < FOLLOWED_MAX {
            self.followed.insert(path.clone(), entries.clone());
        }
        PathChange { before, after: entries }
    }

    /// Changes were missed: everything is to be looked at again, from the beginning.
    pub fn begin_resync(&mut self) {
        self.resync = Resync::After(None);
    }

    /// Whether a second look at everything is under way. [`poll_resync`](Self::poll_resync) goes on with it.
    pub fn is_resyncing(&self) -> bool {
        matches!(self.resync, Resync::After(_))
    }

    /// The next paths to be looked at as if they had changed, at most `limit`: those that
    /// are announced, and those that were.
    pub fn poll_resync(&mut self, limit: usize) -> Vec<BroadcastPath> {
        let Resync::After(after) = &self.resync else {
            return Vec::new();
        };
        let mut paths = self.table.paths_after(after.as_ref(), limit);
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.followed.range::<BroadcastPath, _>((from, Bound::Unbounded));
        paths.extend(known.take(limit).map(|(path, _)| path.clone()));
        paths.sort_unstable();
        paths.dedup();
        paths.truncate(limit);
        self.resync = match paths.last() {
            Some(last) => Resync::After(Some(last.clone())),
            None => Resync::Idle,
        };
        paths
    }

    /// A stream with something to be told, once. See [`Self::next_action`].
    pub fn poll_ready(&mut self) -> Option<RequestKey> {
        while let Some(key) = self.ready.pop_front() {
            if let Some(state) = self.requests.get_mut(&key) {
                state.is_ready = false;
                return Some(key);
            }
        }
        None
    }

    /// Whether [`poll_ready`](Self::poll_ready) would give a stream.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A stream may have more to be told than there was room for.
    pub fn set_ready(&mut self, key: RequestKey) {
        if let Some(state) = self.requests.get_mut(&key)
            && !std::mem::replace(&mut state.is_ready, true)
        {
            self.ready.push_back(key);
        }
    }

    /// What a stream is told next; `None` when it knows everything.
    pub fn next_action(&mut self, key: RequestKey) -> Option<AnnounceAction> {
        let RequestKey { peer, request } = key;
        let state = self.requests.get_mut(&key)?;
        if let Some(active_count) = state.active_count.take() {
            return Some(AnnounceAction::Ok {
                peer,
                request,
                active_count,
            });
        }
        if state.is_lost {
            self.handle_request_ended(peer, request);
            return Some(AnnounceAction::Reset { peer, request });
        }
        if let Some((path, wanted)) = state.initial.pop_front() {
            return self.tell(key, &path, Some(wanted));
        }
        loop {
            let state = self.requests.get_mut(&key)?;
            let Some(path) = state.changed.pop_front() else {
                self.queue_rescan(key);
                return None;
            };
            self.waiting -= 1;
            state.is_changed.remove(&path);
            let entries = self.table.entries(&path);
            let wanted = state.wanted(&path, &entries, key.source(self.shard), self.our_hop);
            if let Some(action) = self.tell(key, &path, wanted) {
                return Some(action);
            }
        }
    }

    /// Where a request of `peer`, who declared `exclude`, goes. What is live comes before
    /// what has ended, which only FETCH can read: a publisher resets a SUBSCRIBE of it.
    pub fn route(&self, path: &BroadcastPath, peer: PeerKey, exclude: HopId) -> Option<Route> {
        let own = Source {
            shard: self.shard,
            peer,
        };
        let mut entries = self.table.entries(path);
        entries.retain(|entry| entry.source != own);
        let entry = select(&entries, exclude, false).or_else(|| select(&entries, exclude, true))?;
        Some(Route {
            source: entry.source,
            epoch: entry.advertisement.epoch,
        })
    }

    /// Whether a peer has announce streams.
    pub fn has_requests(&self, peer: PeerKey) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Announce streams that are served now.
    pub fn request_count(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is told of a path yet, because the mesh has not settled. See `settling`.
    fn settles(&mut self, key: RequestKey, path: &BroadcastPath, wanted: Option<&Advertisement>) -> bool {
        let (Some(state), Some(now)) = (self.requests.get_mut(&key), self.now) else {
            return false;
        };
        let Some(settling) = state.settling.as_mut() else {
            return false;
        };
        // What could not be seen to later is told now.
        if self.dues.is_full() {
            return false;
        }
        match (state.told.get(path), wanted) {
            (None, None) => false,
            (Some(told), None) => {
                if let Some(until) = settling.on_end(path, &told.advertisement, now) {
                    self.dues.quarantine(until, key, path.clone());
                }
                false
            }
            (Some(told), Some(wanted)) if *told.advertisement == *wanted => {
                settling.on_settled(path);
                false
            }
            (Some(_), Some(_)) => match settling.on_update(path, now) {
                Verdict::Tell => false,
                Verdict::Waits => true,
                Verdict::Wait(until) => {
                    self.dues.hold(until, key, path.clone());
                    true
                }
            },
            // Its quarantine is among the dues already.
            (None, Some(wanted)) => settling.on_start(path, wanted, now) != Verdict::Tell,
        }
    }

    /// Brings what a stream knows of a path to `wanted`.
    fn tell(&mut self, key: RequestKey, path: &BroadcastPath, wanted: Option<Told>) -> Option<AnnounceAction> {
        let RequestKey { peer, request } = key;
        let told = self.requests.get(&key)?.told.get(path);
        // Its source ended it and began anew since: whoever subscribed to what was there before has to know.
        let is_anew = |wanted: &Told| {
            told.is_some_and(|told| told.source == wanted.source && told.generation != wanted.generation)
        };
        let begins_anew = wanted.as_ref().is_some_and(is_anew);
        let wanted = wanted.filter(|_| !begins_anew);
        if self.settles(key, path, wanted.as_ref().map(|wanted| &*wanted.advertisement)) {
            return None;
        }
        let state = self.requests.get_mut(&key)?;
        let suffix = path.strip_prefix(&state.prefix)?;
        let Some(wanted) = wanted else {
            state.told.remove(path)?;
            if begins_anew && state.is_changed.insert(path.clone()) {
                state.changed.push_front(path.clone());
                self.waiting += 1;
            }
            return Some(AnnounceAction::Unannounce { peer, request, suffix });
        };
        let advertisement = wanted.advertisement.clone();
        if let Some(told) = state.told.get_mut(path)
            && told.advertisement == advertisement
        {
            *told = wanted;
            return None;
        }
        if !state.told.contains_key(path) && state.told.len() >= TOLD_PER_REQUEST_MAX {
            self.untold += 1;
            return None;
        }
        state.told.insert(path.clone(), wanted);
        Some(AnnounceAction::Announce {
            peer,
            request,
            suffix,
            advertisement,
        })
    }
}

impl Request {
    /// Queues a path that may have changed. Of a stream that is too far behind nothing is kept: the peer has to ask anew.
    fn note_change(&mut self, path: &BroadcastPath, is_shard_full: bool) {
        if self.is_lost || !self.is_changed.insert(path.clone()) {
            return;
        }
        self.changed.push_back(path.clone());
        let room = if is_shard_full {
            CHANGED_SPARED
        } else {
            CHANGED_PER_REQUEST_MAX
        };
        if self.changed.len() > room {
            self.is_lost = true;
            self.changed = VecDeque::new();
            self.is_changed = FxHashSet::default();
            self.initial = VecDeque::new();
            self.told = FxHashMap::default();
        }
    }

    /// What this stream shall know of a path: the best that does not come from its own
    /// peer, or pass through it, or end at us, and whose path has room for us.
    fn wanted(&self, path: &BroadcastPath, entries: &[Entry], own: Source, our_hop: HopId) -> Option<Told> {
        if self.visible.as_ref().is_some_and(|visible| !visible(path)) {
            return None;
        }
        let others: SmallVec<[Entry; 2]> = entries
            .iter()
            .filter(|entry| entry.source != own)
            .filter(|entry| our_hop == HopId::UNKNOWN || !entry.advertisement.hops.contains(&our_hop))
            .filter(|entry| entry.advertisement.hops.len() < HOPS_MAX)
            .cloned()
            .collect();
        let entry = select(&others, self.exclude, self.wants_ended)?;
        Some(Told {
            advertisement: entry.advertisement.clone(),
            source: entry.source,
            generation: entry.generation,
        })
    }
}

impl RequestKey {
    fn source(self, shard: ShardId) -> Source {
        Source { shard, peer: self.peer }
    }
}

/// Announce streams of one shard. A further one is refused.
const REQUESTS_MAX: usize = 1 << 16;

/// Announce streams of one peer for one prefix: each is told the same. A further one is refused.
const REQUESTS_ALIKE_MAX: usize = 4;

/// Broadcasts one announce stream is told of. Further ones are counted and left out.
const TOLD_PER_REQUEST_MAX: usize = 1 << 17;

/// Changed paths that wait for one announce stream to be read. At more it is reset.
const CHANGED_PER_REQUEST_MAX: usize = 1 << 17;

/// Changed paths that wait for all announce streams of a shard together, of some 50 bytes each. At more the streams that
/// are behind most, those with more than `CHANGED_SPARED`, are reset as they come to need room.
const CHANGED_PER_SHARD_MAX: usize = 1 << 22;
const CHANGED_SPARED: usize = CHANGED_PER_SHARD_MAX / REQUESTS_MAX;

/// Paths whose sources are remembered. Of others a lost source ends its tracks, even if
/// another has the same content.
const FOLLOWED_MAX: usize = BROADCASTS_MAX;
