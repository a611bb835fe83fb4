//! The announce table: who publishes what, shared by all shards and locked by none.
//!
//! A skip list keyed by path and source. Each shard writes only entries of its own
//! sessions; all read. Paths below a prefix lie next to each other.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;

use moqswitch_proto::wire::{Advertisement, BroadcastPath};

use super::ids::{PeerKey, ShardId, Source};
use super::route::Entry;
use super::select::is_same_content;

/// One advertisement of a source; it may for a moment have two, and the later one counts.
type Key = (BroadcastPath, Source, u64);

/// The table is full; the broadcast is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the announce table holds its maximum of {BROADCASTS_MAX} broadcasts")]
pub struct TableFull;

/// All broadcasts that all shards' sessions publish.
#[derive(Debug, Default)]
pub struct AnnounceTable {
    entries: SkipMap<Key, Entry>,
    received: AtomicU64,
    count: AtomicUsize,
}

impl AnnounceTable {
    /// A table without any broadcast.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source's advertisement or replaces the one it had. `link_cost` is what the
    /// link to it costs (draft, "Cost Parameter").
    pub fn insert(
        &self,
        path: &BroadcastPath,
        source: Source,
        mut advertisement: Advertisement,
        link_cost: u64,
    ) -> Result<(), TableFull> {
        // Only the source's own shard writes its entries, so this cannot race.
        let old = self.of(path, source);
        if old.is_none() && self.count.fetch_add(1, Ordering::Relaxed) >= BROADCASTS_MAX {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(TableFull);
        }
        advertisement.cost = advertisement.cost.plus_link(link_cost);
        let received = self.received.fetch_add(1, Ordering::Relaxed);
        let continued = old.as_ref().filter(|old| is_same_content(old, &advertisement));
        let entry = Entry {
            source,
            generation: continued.map_or(received, |old| old.generation),
            advertisement: Arc::new(advertisement),
            received,
        };
        // The new one first: readers never find the source without any.
        self.entries.insert((path.clone(), source, received), entry);
        if let Some(old) = old {
            self.entries.remove(&(path.clone(), source, old.received));
        }
        Ok(())
    }

    /// Takes a source's advertisement away. Nothing happens when it has none.
    pub fn remove(&self, path: &BroadcastPath, source: Source) {
        if let Some(old) = self.of(path, source) {
            self.entries.remove(&(path.clone(), source, old.received));
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn of(&self, path: &BroadcastPath, source: Source) -> Option<Entry> {
        let range = (path.clone(), source, 0)..=(path.clone(), source, u64::MAX);
        self.entries.range(range).next_back().map(|entry| entry.value().clone())
    }

    /// What the sources of one path advertise.
    pub fn entries(&self, path: &BroadcastPath) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for entry in self.entries.range((path.clone(), SOURCE_MIN, 0)..) {
            if entry.key().0 != *path {
                break;
            }
            let entry = entry.value().clone();
            match entries.last_mut() {
                Some(last) if last.source == entry.source => *last = entry,
                _ => entries.push(entry),
            }
        }
        entries
    }

    /// Paths announced at or below a prefix, each once, at most `limit`.
    pub fn paths_under(&self, prefix: &BroadcastPath, limit: usize) -> Vec<BroadcastPath> {
        let mut paths = Vec::new();
        self.visit_under(prefix, |path| collect(&mut paths, path, limit));
        paths
    }

    /// Those of them behind `after` in their order.
    pub fn paths_under_after(
        &self,
        prefix: &BroadcastPath,
        after: Option<&BroadcastPath>,
        limit: usize,
    ) -> Vec<BroadcastPath> {
        let Some(after) = after else {
            return self.paths_under(prefix, limit);
        };
        let mut paths = Vec::new();
        self.visit_from(Bound::Excluded((after.clone(), SOURCE_MAX, u64::MAX)), |path| {
            if path.is_under(prefix) {
                collect(&mut paths, path, limit)
            } else {
                ControlFlow::Break(())
            }
        });
        paths
    }

    /// Visits each path announced at or below a prefix once, until the visitor breaks off.
    pub fn visit_under(&self, prefix: &BroadcastPath, mut visit: impl FnMut(&BroadcastPath) -> ControlFlow<()>) {
        let from = (prefix.range_start(), SOURCE_MIN, 0);
        self.visit_from(Bound::Included(from), |path| {
            if path.is_under(prefix) {
                visit(path)
            } else {
                ControlFlow::Break(())
            }
        });
    }

    /// Announced paths behind `after` in their order, each once, at most `limit`.
    pub fn paths_after(&self, after: Option<&BroadcastPath>, limit: usize) -> Vec<BroadcastPath> {
        let from = after.map_or(Bound::Unbounded, |path| {
            Bound::Excluded((path.clone(), SOURCE_MAX, u64::MAX))
        });
        let mut paths = Vec::new();
        self.visit_from(from, |path| collect(&mut paths, path, limit));
        paths
    }

    fn visit_from(&self, from: Bound<Key>, mut visit: impl FnMut(&BroadcastPath) -> ControlFlow<()>) {
        let mut last: Option<BroadcastPath> = None;
        for entry in self.entries.range((from, Bound::Unbounded)) {
            let path = &entry.key().0;
            if last.as_ref() == Some(path) {
                continue;
            }
            if visit(path).is_break() {
                return;
            }
            last = Some(path.clone());
        }
    }

    /// Advertisements in the table, one for each path and source.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether nothing is advertised.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Adds a path unless there are `limit` already.
fn collect(paths: &mut Vec<BroadcastPath>, path: &BroadcastPath, limit: usize) -> ControlFlow<()> {
    if paths.len() >= limit {
        return ControlFlow::Break(());
    }
    paths.push(path.clone());
    ControlFlow::Continue(())
}

/// Below every source that there is.
const SOURCE_MIN: Source = Source {
    shard: ShardId(0),
    peer: PeerKey {
        index: 0,
        generation: 0,
    },
};

/// Above every source that there is.
const SOURCE_MAX: Source = Source {
    shard: ShardId(u8::MAX),
    peer: PeerKey {
        index: u32::MAX,
        generation: u32::MAX,
    },
};

/// Advertisements of all sources together. Further ones are refused.
pub const BROADCASTS_MAX: usize = 1 << 20;
