//! What each announce stream of this shard is told, as a difference to what it was told.
//!
//! Invariant: `told` of a stream is what its peer knows; an action is queued only when that
//! changes. A change of one path costs as much as the path has segments and as there are
//! streams that match it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::wire::{Advertisement, BroadcastPath, HopId, StreamId};

use super::ids::{PeerKey, RequestKey, ShardId, Source};
use super::select::{is_spliceable, select};
use super::table::{AnnounceTable, BROADCASTS_MAX, Entry};

/// Something to tell a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnounceAction {
    Ok {
        peer: PeerKey,
        request: StreamId,
        active_count: u64,
    },
    /// New, or changed: the session knows which and in what form.
    Announce {
        peer: PeerKey,
        request: StreamId,
        suffix: BroadcastPath,
        advertisement: Advertisement,
    },
    Unannounce {
        peer: PeerKey,
        request: StreamId,
        suffix: BroadcastPath,
    },
}

/// A shard has its maximum of announce streams; the request is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard serves its maximum of {REQUESTS_MAX} announce streams")]
pub struct TooManyRequests;

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
    actions: VecDeque<AnnounceAction>,
    /// What was last seen of each path, to tell what became of a source that is gone.
    followed: FxHashMap<BroadcastPath, Vec<Entry>>,
    /// Broadcasts that a stream was not told of because it knows its maximum.
    pub untold: u64,
}

struct Request {
    prefix: BroadcastPath,
    exclude: HopId,
    wants_ended: bool,
    visible: Option<Visible>,
    told: FxHashMap<BroadcastPath, Advertisement>,
}

/// Where a subscription of a path goes.
#[derive(Clone, Debug)]
pub struct Route {
    pub source: Source,
    pub epoch: u64,
}

/// The sources of a path after it changed, and before.
#[derive(Clone, Debug)]
pub struct PathChange {
    before: Vec<Entry>,
    after: Vec<Entry>,
}

impl PathChange {
    /// Who has the same content as `source`, which does not publish it any more (draft,
    /// "Routing": live subscriptions may go on there at a group boundary).
    pub fn successor_of(&self, source: Source) -> Option<Source> {
        if self.after.iter().any(|entry| entry.source == source) {
            return None;
        }
        let gone = self.before.iter().find(|entry| entry.source == source)?;
        let same: Vec<Entry> = self
            .after
            .iter()
            .filter(|entry| is_spliceable(entry, gone))
            .cloned()
            .collect();
        select(&same, HopId::UNKNOWN, false).map(|entry| entry.source)
    }
}

impl Announcer {
    pub fn new(table: Arc<AnnounceTable>, shard: ShardId, our_hop: HopId) -> Self {
        Self {
            table,
            shard,
            our_hop,
            requests: FxHashMap::default(),
            by_prefix: FxHashMap::default(),
            actions: VecDeque::new(),
            followed: FxHashMap::default(),
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
            return Err(TooManyRequests);
        }
        let key = RequestKey { peer, request };
        let state = Request {
            prefix: prefix.clone(),
            exclude,
            wants_ended,
            visible,
            told: FxHashMap::default(),
        };
        let mut initial = Vec::new();
        for path in self.table.paths_under(&prefix, TOLD_PER_REQUEST_MAX) {
            let entries = self.table.entries(&path);
            if let Some(advertisement) = state.wanted(&path, &entries, key.source(self.shard), self.our_hop) {
                initial.push((path, advertisement));
            }
        }
        self.actions.push_back(AnnounceAction::Ok {
            peer,
            request,
            active_count: initial.len() as u64,
        });
        self.by_prefix.entry(prefix).or_default().push(key);
        self.requests.insert(key, state);
        for (path, advertisement) in initial {
            self.tell(key, &path, Some(advertisement));
        }
        Ok(())
    }

    pub fn handle_request_ended(&mut self, peer: PeerKey, request: StreamId) {
        let key = RequestKey { peer, request };
        let Some(state) = self.requests.remove(&key) else {
            return;
        };
        if let Some(keys) = self.by_prefix.get_mut(&state.prefix) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_prefix.remove(&state.prefix);
            }
        }
    }

    pub fn handle_peer_gone(&mut self, peer: PeerKey) {
        let keys: Vec<RequestKey> = self.requests.keys().filter(|key| key.peer == peer).copied().collect();
        for key in keys {
            self.handle_request_ended(key.peer, key.request);
        }
    }

    /// The table changed at `path`: streams that match it are told what is new to them.
    pub fn handle_change(&mut self, path: &BroadcastPath) -> PathChange {
        let entries = self.table.entries(path);
        let mut prefix = Some(path.clone());
        while let Some(current) = prefix {
            for key in self.by_prefix.get(&current).cloned().unwrap_or_default() {
                self.update(key, path, &entries);
            }
            prefix = current.parent();
        }
        let before = self.followed.remove(path).unwrap_or_default();
        if !entries.is_empty() && before.len() + self.followed.len() < FOLLOWED_MAX {
            self.followed.insert(path.clone(), entries.clone());
        }
        PathChange { before, after: entries }
    }

    /// Looks at everything again, after changes were missed. Returns all paths that are or
    /// were told, for whoever else follows them.
    pub fn resync(&mut self) {
        let keys: Vec<RequestKey> = self.requests.keys().copied().collect();
        for key in keys {
            let Some(state) = self.requests.get(&key) else { continue };
            let mut paths = self.table.paths_under(&state.prefix, TOLD_PER_REQUEST_MAX);
            paths.extend(state.told.keys().cloned());
            paths.sort_unstable();
            paths.dedup();
            for path in paths {
                let entries = self.table.entries(&path);
                self.update(key, &path, &entries);
            }
        }
    }

    pub fn poll_action(&mut self) -> Option<AnnounceAction> {
        self.actions.pop_front()
    }

    /// Where a subscription by a peer who declared `exclude` goes.
    pub fn route(&self, path: &BroadcastPath, exclude: HopId) -> Option<Route> {
        let entries = self.table.entries(path);
        // FETCH reads ended broadcasts too; a publisher resets a SUBSCRIBE of one.
        select(&entries, exclude, true).map(|entry| Route {
            source: entry.source,
            epoch: entry.advertisement.epoch,
        })
    }

    pub fn request_count(&self) -> usize {
        self.requests.len()
    }

    fn update(&mut self, key: RequestKey, path: &BroadcastPath, entries: &[Entry]) {
        let Some(state) = self.requests.get(&key) else { return };
        let wanted = state.wanted(path, entries, key.source(self.shard), self.our_hop);
        self.tell(key, path, wanted);
    }

    /// Brings what a stream knows of a path to `wanted`.
    fn tell(&mut self, key: RequestKey, path: &BroadcastPath, wanted: Option<Advertisement>) {
        let Some(state) = self.requests.get_mut(&key) else {
            return;
        };
        let Some(suffix) = path.strip_prefix(&state.prefix) else {
            return;
        };
        let RequestKey { peer, request } = key;
        match wanted {
            Some(advertisement) => {
                if state.told.get(path) == Some(&advertisement) {
                    return;
                }
                if !state.told.contains_key(path) && state.told.len() >= TOLD_PER_REQUEST_MAX {
                    self.untold += 1;
                    return;
                }
                state.told.insert(path.clone(), advertisement.clone());
                self.actions.push_back(AnnounceAction::Announce {
                    peer,
                    request,
                    suffix,
                    advertisement,
                });
            }
            None => {
                if state.told.remove(path).is_some() {
                    self.actions
                        .push_back(AnnounceAction::Unannounce { peer, request, suffix });
                }
            }
        }
    }
}

impl Request {
    /// What this stream shall know of a path: the best that does not come from its own
    /// peer, or pass through it, or end at us.
    fn wanted(&self, path: &BroadcastPath, entries: &[Entry], own: Source, our_hop: HopId) -> Option<Advertisement> {
        if self.visible.as_ref().is_some_and(|visible| !visible(path)) {
            return None;
        }
        let others: Vec<Entry> = entries
            .iter()
            .filter(|entry| entry.source != own)
            .filter(|entry| our_hop == HopId::UNKNOWN || !entry.advertisement.hops.contains(&our_hop))
            .cloned()
            .collect();
        select(&others, self.exclude, self.wants_ended).map(|entry| entry.advertisement.clone())
    }
}

impl RequestKey {
    fn source(self, shard: ShardId) -> Source {
        Source { shard, peer: self.peer }
    }
}

/// Announce streams of one shard. A further one is refused.
const REQUESTS_MAX: usize = 1 << 16;

/// Broadcasts one announce stream is told of. Further ones are counted and left out.
const TOLD_PER_REQUEST_MAX: usize = 1 << 17;

/// Paths whose sources are remembered. Of others a lost source ends its tracks, even if
/// another has the same content.
const FOLLOWED_MAX: usize = BROADCASTS_MAX;
