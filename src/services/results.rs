//! Frames on their way back from workers to a shard, and what workers count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;

use crate::limits::RESULTS_MAX;

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) frames: AtomicU64,
    pub(crate) shed: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) named: AtomicU64,
    pub(crate) mixers: AtomicUsize,
    pub(crate) mixed: AtomicU64,
}

/// Where frames of a shard's streams come back.
pub(crate) struct Results {
    queue: ArrayQueue<Done>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// A frame that came back.
pub(crate) struct Done {
    pub(crate) stream: u64,
    pub(crate) number: u64,
    /// In units of the target's clock.
    pub(crate) timestamp: u64,
    pub(crate) payload: Bytes,
}

impl Results {
    pub(crate) fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            queue: ArrayQueue::new(RESULTS_MAX),
            wake,
        }
    }

    /// False: there is no room.
    pub(crate) fn push(&self, done: Done) -> bool {
        self.queue.push(done).is_ok()
    }

    /// The shard is to look.
    pub(crate) fn wake(&self) {
        (self.wake)();
    }

    pub(crate) fn pop(&self) -> Option<Done> {
        self.queue.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Counters {
    /// A frame was mixed, and the shard had room for it or not.
    pub(crate) fn mixed(&self, has_room: bool) {
        self.mixed.fetch_add(1, Ordering::Relaxed);
        if !has_room {
            self.missed(1);
        }
    }

    pub(crate) fn missed(&self, frames: u64) {
        self.shed.fetch_add(frames, Ordering::Relaxed);
    }

    pub(crate) fn malformed(&self, payloads: u64) {
        self.malformed.fetch_add(payloads, Ordering::Relaxed);
    }
}
