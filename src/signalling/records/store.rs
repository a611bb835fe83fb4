//! The store's thread: it writes what it is given, in batches, and says what the disk has.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::files::Files;
use super::row::{Filter, Row};
use super::search::Search;
use crate::figures::RecordFigures;
use crate::limits::{RECORDS_KEPT_MAX, RECORDS_PER_SYNC_MAX, RECORDS_RETRY, RECORDS_WAITING_MAX};
use crate::settings::RecordSettings;

/// Records in memory, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Kept(VecDeque<Arc<Row>>);

/// The way to the store's thread.
#[derive(Debug)]
pub(crate) struct Store {
    waiting: SyncSender<Arc<Row>>,
    thread: thread::JoinHandle<()>,
    counts: Arc<StoreCounts>,
    search: Search,
}

/// A store that was opened: the way to it, what was there before, and what it says that the disk has.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) kept: Kept,
    pub(crate) stored: mpsc::Receiver<Vec<Arc<Row>>>,
}

/// How the store does, since the start.
#[derive(Debug, Default)]
pub(crate) struct StoreCounts {
    /// Records that wait to be written.
    pub(crate) waiting: AtomicU64,
    /// Records that the disk has.
    pub(crate) stored: AtomicU64,
    /// Records that there was no room for.
    pub(crate) lost: AtomicU64,
    /// Attempts to write that failed.
    pub(crate) failures: AtomicU64,
    /// Lines that could not be read at the start.
    pub(crate) unreadable: AtomicU64,
    /// Does writing fail now?
    pub(crate) is_failing: AtomicBool,
    /// The switch stops: a disk that fails is not waited for any more.
    is_stopping: AtomicBool,
}

impl Kept {
    pub(crate) fn push(&mut self, row: Arc<Row>) {
        if self.0.len() >= RECORDS_KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(row);
    }

    /// The newest first.
    pub(crate) fn find<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Row>> {
        self.0.iter().rev().filter(|row| filter.matches(row))
    }
}

impl Store {
    /// Opens the files and starts the thread.
    pub(crate) fn start(settings: RecordSettings) -> io::Result<Opened> {
        let search = Search::start(&settings.directory)?;
        let files = Files::open(settings)?;
        let found = files.read()?;
        let counts = Arc::new(StoreCounts::default());
        counts.unreadable.store(found.unreadable, Ordering::Relaxed);
        let mut kept = Kept::default();
        found.rows.into_iter().for_each(|row| kept.push(Arc::new(row)));
        let (waiting, rows) = sync_channel(RECORDS_WAITING_MAX);
        let (sender, stored) = mpsc::channel(BATCHES_TOLD_MAX);
        let thread_counts = Arc::clone(&counts);
        let thread = thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || run(files, &rows, &sender, &thread_counts))?;
        let store = Self {
            waiting,
            thread,
            counts,
            search,
        };
        Ok(Opened { store, kept, stored })
    }

    /// Gives a record to be written. Without room it is lost and counted: a call never waits for a disk.
    pub(crate) fn write(&self, row: Arc<Row>) -> bool {
        // Before it is there: the other thread may have it at once.
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        match self.waiting.try_send(row) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                let lost = self.counts.lost.fetch_add(1, Ordering::Relaxed) + 1;
                if lost.is_power_of_two() {
                    tracing::error!(lost, "records of calls are lost: the disk is full or too slow");
                }
                false
            }
        }
    }
}

impl Store {
    pub(crate) fn counts(&self) -> &StoreCounts {
        &self.counts
    }

    /// Queries over all that is in files.
    pub(crate) fn search(&self) -> Search {
        self.search.clone()
    }

    pub(crate) fn figures(&self) -> RecordFigures {
        let counts = &self.counts;
        RecordFigures {
            waiting: counts.waiting.load(Ordering::Relaxed),
            stored: counts.stored.load(Ordering::Relaxed),
            lost: counts.lost.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            is_failing: counts.is_failing.load(Ordering::Relaxed),
        }
    }

    /// Waits until everything is written, or cannot be.
    pub(crate) fn close(self) {
        let Self {
            waiting,
            thread,
            counts,
            search: _,
        } = self;
        counts.is_stopping.store(true, Ordering::Relaxed);
        drop(waiting);
        if thread.join().is_err() {
            tracing::error!("the thread of records has failed");
        }
    }
}

fn run(mut files: Files, rows: &Receiver<Arc<Row>>, stored: &mpsc::Sender<Vec<Arc<Row>>>, counts: &StoreCounts) {
    let mut retained = Instant::now();
    retain(&files);
    loop {
        let first = match rows.recv_timeout(RETAIN_EVERY) {
            Ok(row) => Some(row),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if retained.elapsed() >= RETAIN_EVERY {
            retained = Instant::now();
            retain(&files);
        }
        let Some(first) = first else { continue };
        let mut batch = vec![first];
        batch.extend(rows.try_iter().take(RECORDS_PER_SYNC_MAX - 1));
        let lines: String = batch.iter().flat_map(|row| [&*row.line, "\n"]).collect();
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let is_written = write(&mut files, &lines, count, counts);
        counts.waiting.fetch_sub(count, Ordering::Relaxed);
        if !is_written {
            continue;
        }
        counts.stored.fetch_add(count, Ordering::Relaxed);
        // This thread may wait for the calls thread, never the other way round. When that is gone nobody has to be told.
        let _ = stored.blocking_send(batch);
    }
}

/// Tries until the disk has it.
fn write(files: &mut Files, lines: &str, count: u64, counts: &StoreCounts) -> bool {
    while let Err(error) = files.append(lines) {
        let failures = counts.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if !counts.is_failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, failures, "records of calls cannot be written; they wait");
        }
        if counts.is_stopping.load(Ordering::Relaxed) {
            counts.lost.fetch_add(count, Ordering::Relaxed);
            tracing::error!(count, lines, "these records are lost");
            return false;
        }
        thread::park_timeout(RECORDS_RETRY);
    }
    if counts.is_failing.swap(false, Ordering::Relaxed) {
        tracing::info!("records of calls are written again");
    }
    true
}

fn retain(files: &Files) {
    match files.retain() {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "old files of records were removed"),
        Err(error) => tracing::warn!(%error, "old files of records cannot be removed"),
    }
}

/// How often files are looked at that may have to go.
const RETAIN_EVERY: Duration = Duration::from_secs(60);

/// Batches of which the calls thread has not heard yet. This thread waits then.
const BATCHES_TOLD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_lost_at_a_stop_is_counted_record_by_record() {
        let directory = std::env::temp_dir().join(format!("moqswitch-store-{}", std::process::id()));
        let files = Files::open(RecordSettings::below(&directory)).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let counts = StoreCounts::default();
        counts.is_stopping.store(true, Ordering::Relaxed);
        let (waiting, rows) = sync_channel(8);
        for call in 0..5 {
            let record = json!({ "callId": format!("{call}"), "startMs": 1, "durationMs": 0, "reason": "busy" });
            waiting.send(Arc::new(Row::of(&record).unwrap())).unwrap();
            counts.waiting.fetch_add(1, Ordering::Relaxed);
        }
        drop(waiting);
        let (stored, _) = mpsc::channel(1);
        run(files, &rows, &stored, &counts);
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!((count(&counts.lost), count(&counts.waiting)), (5, 0));
        assert_eq!((count(&counts.failures), count(&counts.stored)), (1, 0), "one batch");
    }
}
