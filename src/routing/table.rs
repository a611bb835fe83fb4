//! The announce table: who publishes what, shared by all shards and locked by none.
//!
//! A skip list keyed by path and source. Each shard writes only entries of its own
//! sessions; all read. Paths below a prefix lie next to each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;

use crate::wire::{Advertisement, BroadcastPath};

use super::ids::{PeerKey, ShardId, Source};

/// One source's advertisement of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub source: Source,
    /// With the link's cost added to its own.
    pub advertisement: Advertisement,
    /// Rises with every insertion: the most recently received has the highest.
    pub received: u64,
}

/// The table is full; the broadcast is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the announce table holds its maximum of {BROADCASTS_MAX} broadcasts")]
pub struct TableFull;

/// All broadcasts that all shards' sessions publish.
#[derive(Debug, Default)]
pub struct AnnounceTable {
    entries: SkipMap<(BroadcastPath, Source), Entry>,
    received: AtomicU64,
    count: AtomicUsize,
}

impl AnnounceTable {
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
        let key = (path.clone(), source);
        // Only the source's own shard writes its entries, so this cannot race.
        let is_new = !self.entries.contains_key(&key);
        if is_new && self.count.fetch_add(1, Ordering::Relaxed) >= BROADCASTS_MAX {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(TableFull);
        }
        advertisement.cost = advertisement.cost.plus_link(link_cost);
        let received = self.received.fetch_add(1, Ordering::Relaxed);
        self.entries.insert(
            key,
            Entry {
                source,
                advertisement,
                received,
            },
        );
        Ok(())
    }

    pub fn remove(&self, path: &BroadcastPath, source: Source) {
        if self.entries.remove(&(path.clone(), source)).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What the sources of one path advertise.
    pub fn entries(&self, path: &BroadcastPath) -> Vec<Entry> {
        self.entries
            .range((path.clone(), SOURCE_MIN)..)
            .take_while(|entry| entry.key().0 == *path)
            .map(|entry| entry.value().clone())
            .collect()
    }

    /// Paths announced at or below a prefix, each once, at most `limit`.
    pub fn paths_under(&self, prefix: &BroadcastPath, limit: usize) -> Vec<BroadcastPath> {
        let mut paths: Vec<BroadcastPath> = Vec::new();
        for entry in self.entries.range((prefix.range_start(), SOURCE_MIN)..) {
            let path = &entry.key().0;
            if paths.len() >= limit || !path.is_under(prefix) {
                break;
            }
            if paths.last() != Some(path) {
                paths.push(path.clone());
            }
        }
        paths
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Below every source that there is.
const SOURCE_MIN: Source = Source {
    shard: ShardId(0),
    peer: PeerKey {
        index: 0,
        generation: 0,
    },
};

/// Advertisements of all sources together. Further ones are refused.
pub const BROADCASTS_MAX: usize = 1 << 20;
