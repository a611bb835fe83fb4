//! What was recorded, dropped and refused.

use std::sync::atomic::{AtomicU64, Ordering};

/// Since the start, but for what goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Recordings that go on.
    pub active: u64,
    /// Recordings that ended as they should.
    pub finished: u64,
    /// Recordings that ended because of the disk.
    pub failed: u64,
    /// Calls that were to be recorded and are not: there were too many, or no room on the disk.
    pub refused: u64,
    /// Frames that were written.
    pub frames: u64,
    /// Frames that did not come, by their numbers.
    pub lost: u64,
    /// Frames that came and are in no file: too late, too long, of no use, without room.
    pub dropped: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Recordings that were removed because of their age or number.
    pub removed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) active: AtomicU64,
    pub(crate) finished: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) removed: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            active: read(&self.active),
            finished: read(&self.finished),
            failed: read(&self.failed),
            refused: read(&self.refused),
            frames: read(&self.frames),
            lost: read(&self.lost),
            dropped: read(&self.dropped),
            bytes: read(&self.bytes),
            removed: read(&self.removed),
        }
    }
}
