//! The beginning of a run: when every shard is ready, all begin at one time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Between shards, and who starts them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    ready: AtomicUsize,
    /// Zero: not yet.
    epoch_ns: AtomicU64,
}

impl Gate {
    /// A shard is ready.
    pub(crate) fn report(&self) {
        self.ready.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Acquire)
    }

    /// The run begins then.
    pub(crate) fn open(&self, epoch_ns: u64) {
        self.epoch_ns.store(epoch_ns, Ordering::Release);
    }

    pub(crate) fn epoch_ns(&self) -> Option<u64> {
        Some(self.epoch_ns.load(Ordering::Acquire)).filter(|epoch_ns| *epoch_ns > 0)
    }
}
