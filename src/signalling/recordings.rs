//! The seam to recordings of calls, for REST and metrics.

use std::fmt::Debug;
use std::fs::File;
use std::io;

use moqswitch_calls::CallId;
use serde_json::Value;

/// What was recorded. But for [`figures`](Self::figures), methods wait for a disk: they are called where nobody waits for it.
pub trait Recordings: Debug + Send + Sync {
    /// Descriptions, the newest first, and whether there may be further ones.
    ///
    /// # Errors
    /// The disk, or there are too many to look through.
    fn list(&self, filter: &RecordingFilter) -> Result<(Vec<Value>, bool), NoRecording>;

    /// The description of one.
    ///
    /// # Errors
    /// There is none.
    fn describe(&self, id: &str) -> Result<Value, NoRecording>;

    /// One of its files, the first being 0.
    ///
    /// # Errors
    /// There is none.
    fn open(&self, id: &str, file: usize) -> Result<RecordingFile, NoRecording>;

    /// Removes one that is over.
    ///
    /// # Errors
    /// There is none, it goes on, or it cannot be removed.
    fn remove(&self, id: &str) -> Result<(), NoRecording>;

    /// Calls have ended, and nothing is written any more: another process may. It can wait for the disk.
    fn release(&self);

    /// What was recorded so far.
    fn figures(&self) -> RecordingFigures;
}

/// Which are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    /// They began then or later, in milliseconds since 1970.
    pub since_ms: u64,
    /// They began before.
    pub until_ms: Option<u64>,
    /// Somebody with this number is part of them.
    pub dn: Option<String>,
    /// Of this call.
    pub call: Option<CallId>,
    /// So many at most.
    pub limit: usize,
}

/// A file that can be read.
#[derive(Debug)]
pub struct RecordingFile {
    /// At its beginning.
    pub file: File,
    /// For whoever keeps it.
    pub name: String,
    /// How long it is now.
    pub bytes: u64,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoRecording {
    /// There is none of that name.
    Unknown,
    /// It goes on.
    Active,
    /// More would have to be looked at than one question may.
    TooMany,
    /// The disk.
    Disk(io::Error),
}

/// Since the start, but for what goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingFigures {
    /// Recordings that go on.
    pub active: u64,
    /// Recordings that ended as they should.
    pub finished: u64,
    /// Recordings that ended because of the disk.
    pub failed: u64,
    /// Calls that were to be recorded and are not.
    pub refused: u64,
    /// Recordings that were removed because of their age or number.
    pub removed: u64,
    /// Frames that were written.
    pub frames: u64,
    /// Frames that did not come.
    pub lost: u64,
    /// Frames that came and are in no file.
    pub dropped: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Recordings that are over and wait to be uploaded.
    pub uploads_waiting: u64,
    /// Recordings that were.
    pub uploaded: u64,
    /// Attempts that failed.
    pub upload_failures: u64,
}
