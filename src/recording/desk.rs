//! What the thread that decides on calls leaves for the writer: of each recording the newest of what is so. Nothing of it can
//! be lost, and there is no more of it than there are recordings.
#![expect(
    clippy::disallowed_types,
    reason = "one decides on calls, one writes files, one answers questions on recordings; no shard is near"
)]

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use moqswitch_calls::{CallId, LegId};
use rustc_hash::FxHashMap;

use crate::form::Spoken;
use crate::limits::{PAUSES_MAX, UNSYNCED_MAX};
use crate::sidecar::RecordingId;

/// Shared by the threads.
#[derive(Default)]
pub(crate) struct Desk {
    orders: Mutex<FxHashMap<u64, Order>>,
    writing: Mutex<HashSet<String>>,
    unsynced: Mutex<Vec<(PathBuf, RecordingId)>>,
    /// Who looks at it.
    threads: OnceLock<[Thread; 2]>,
    is_over: AtomicBool,
    /// Nothing more is written.
    is_written: AtomicBool,
    /// There is no room on the disk.
    is_full: AtomicBool,
}

/// What is so of a recording. It is complete but for pauses, of which there are those that were not told.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) call: CallId,
    pub(crate) from: (String, String),
    pub(crate) dialled: String,
    /// Who may be heard, since when.
    pub(crate) legs: Vec<Wanted>,
    pub(crate) at: Instant,
    pub(crate) pauses: Vec<(Instant, bool)>,
    pub(crate) ended: Option<Instant>,
}

/// A leg that is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stream: u64,
    pub(crate) leg: LegId,
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) spoken: Option<Spoken>,
}

impl Desk {
    /// The first of them writes.
    pub(crate) fn set_threads(&self, threads: [Thread; 2]) {
        // It is set once, by whoever starts them.
        let _ = self.threads.set(threads);
    }

    /// Who may be heard from now on, of a recording that begins or goes on.
    pub(crate) fn put(&self, recording: u64, order: Order) {
        {
            let mut orders = self.orders();
            let pauses = orders.remove(&recording).map(|before| before.pauses);
            let pauses = pauses.unwrap_or_default();
            orders.insert(recording, Order { pauses, ..order });
        }
        self.wake();
    }

    /// Changes what is so; `order` is what is, where nothing of it waits.
    pub(crate) fn change(&self, recording: u64, order: impl FnOnce() -> Order, change: impl FnOnce(&mut Order)) {
        change(self.orders().entry(recording).or_insert_with(order));
        self.wake();
    }

    pub(crate) fn take(&self) -> FxHashMap<u64, Order> {
        std::mem::take(&mut self.orders())
    }

    /// The names of recordings that go on.
    pub(crate) fn writing(&self) -> MutexGuard<'_, HashSet<String>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A recording of a directory is over: the disk is to have it.
    pub(crate) fn sync(&self, directory: PathBuf, id: RecordingId) {
        {
            let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            if unsynced.len() < UNSYNCED_MAX {
                unsynced.push((directory, id));
            }
        }
        if let Some([_, keeper]) = self.threads.get() {
            keeper.unpark();
        }
    }

    pub(crate) fn take_unsynced(&self) -> Vec<(PathBuf, RecordingId)> {
        std::mem::take(&mut self.unsynced.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wake();
    }

    /// The writer has ended.
    pub(crate) fn set_written(&self) {
        self.is_written.store(true, Ordering::Release);
        if let Some([_, keeper]) = self.threads.get() {
            keeper.unpark();
        }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.is_written.load(Ordering::Acquire)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(crate) fn set_full(&self, is_full: bool) -> bool {
        self.is_full.swap(is_full, Ordering::AcqRel)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    fn orders(&self) -> MutexGuard<'_, FxHashMap<u64, Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some([writer, _]) = self.threads.get() {
            writer.unpark();
        }
    }
}

impl Order {
    /// When there is no room for a further pause, the last is not over any more.
    pub(crate) fn pause(&mut self, at: Instant, is_paused: bool) {
        if self.pauses.len() < PAUSES_MAX {
            self.pauses.push((at, is_paused));
        } else if let Some(last) = self.pauses.last_mut() {
            last.1 = true;
        }
    }
}
