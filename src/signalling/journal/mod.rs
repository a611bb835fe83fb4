//! What outlives the process besides records: who is registered, and which calls go on. A switch that is started again lets
//! its devices resume, and ends the calls of those who do not.
//!
//! One file of JSON in lines, only written to at its end, by a thread of its own. It is there for a process that died; of a
//! host that lost its power everything has to register again. Sessions are in it by their hash.

mod entry;
mod file;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::limits::JOURNAL_WAITING_MAX;

pub(crate) use entry::{CallEntry, DeviceEntry, Entry, Found, LegEntry, PartyEntry, SessionHash};

use file::File;

/// The way to the journal's thread.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: SyncSender<Entry>,
    thread: thread::JoinHandle<()>,
    lost: Arc<AtomicU64>,
}

impl Journal {
    /// Opens the file, says what was in force when it was written to last, and starts the thread.
    pub(crate) fn start(directory: &Path) -> io::Result<(Self, Found)> {
        let (file, found) = File::open(directory)?;
        let (entries, inbox) = sync_channel(JOURNAL_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(file, &inbox, &counted))?;
        let journal = Self { entries, thread, lost };
        Ok((journal, found))
    }

    /// Notes something. Without room it is lost and counted: then a device has to register again after a restart, or a call
    /// has no record.
    pub(crate) fn note(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            count_lost(&self.lost);
        }
    }

    /// What is not in the file.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, or cannot be.
    pub(crate) fn close(self) {
        drop(self.entries);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the journal has failed");
        }
    }
}

fn count_lost(lost: &AtomicU64) {
    let lost = lost.fetch_add(1, Ordering::Relaxed) + 1;
    if lost.is_power_of_two() {
        tracing::error!(lost, "who is registered is not all noted: the disk is full or too slow");
    }
}

fn run(mut file: File, inbox: &Receiver<Entry>, lost: &AtomicU64) {
    while let Ok(entry) = inbox.recv() {
        let mut next = Some(entry);
        while let Some(entry) = next {
            if let Err(error) = file.append(&entry) {
                tracing::debug!(%error, "the journal cannot be written");
                count_lost(lost);
            }
            next = inbox.try_recv().ok();
        }
        if let Err(error) = file.flush() {
            tracing::debug!(%error, "the journal cannot be written");
            count_lost(lost);
        }
    }
}
