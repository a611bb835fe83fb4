//! What outlives the process besides records: who is registered, and which calls go on. A switch that is started again lets
//! its devices resume, and ends the calls of those who do not.
//!
//! One file of JSON in lines, only written to at its end, by a thread of its own. It is there for a process that died; of a
//! host that lost its power everything has to register again. Sessions are in it by their hash.

mod entry;
mod file;

mod noted;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::limits::{JOURNAL_PER_FLUSH_MAX, JOURNAL_WAITING_MAX};

pub(crate) use entry::{
    CallEntry, ContactEntry, DeviceEntry, DomainEntry, DomainFound, Entry, Found, LegEntry, PartyEntry, SessionHash,
    UserEntry,
};
pub(crate) use noted::Noted;

use file::File;
use noted::Filed;

/// The way to the journal's thread.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: SyncSender<Entry>,
    thread: thread::JoinHandle<()>,
    lost: Arc<AtomicU64>,
    noted: Noted,
}

impl Journal {
    /// Opens the file, says what was in force when it was written to last, and starts the thread.
    pub(crate) fn start(directory: &Path) -> io::Result<(Self, Found)> {
        let (file, found) = File::open(directory)?;
        let (entries, inbox) = sync_channel(JOURNAL_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let written = Arc::new(Filed::default());
        let noted = Noted::new(Arc::clone(&written));
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(file, &inbox, &counted, &written))?;
        let journal = Self {
            entries,
            thread,
            lost,
            noted,
        };
        Ok((journal, found))
    }

    /// Notes something. Without room it is lost and counted: then a device has to register again after a restart, or a call
    /// has no record.
    pub(crate) fn note(&self, entry: Entry) {
        match self.entries.try_send(entry) {
            Ok(()) => self.noted.count(),
            Err(_) => count_lost(&self.lost),
        }
    }

    /// By which others wait until what was noted outlives the process.
    pub(crate) fn noted(&self) -> Noted {
        self.noted.clone()
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

fn run(mut file: File, inbox: &Receiver<Entry>, lost: &AtomicU64, written: &Filed) {
    while let Ok(entry) = inbox.recv() {
        let mut count = 0;
        for entry in std::iter::once(entry).chain(inbox.try_iter().take(JOURNAL_PER_FLUSH_MAX - 1)) {
            if let Err(error) = file.append(&entry) {
                tracing::debug!(%error, "the journal cannot be written");
                count_lost(lost);
            }
            count += 1;
        }
        if let Err(error) = file.flush() {
            tracing::debug!(%error, "the journal cannot be written");
            count_lost(lost);
        }
        // Whether it worked or not: nobody waits for a disk that fails.
        written.add(count);
    }
}
