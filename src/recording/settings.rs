//! What an operator decides on recordings.

use std::path::PathBuf;
use std::time::Duration;

/// Where recordings go, how, and for how long they stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Made where there is none. One process alone writes there.
    pub directory: PathBuf,
    /// Of the files.
    pub format: Format,
    /// Calls at once. A further one is not recorded.
    pub calls_max: usize,
    /// Recordings that ended longer ago are removed. Zero: none is.
    pub age_max: Duration,
    /// Beyond this the oldest are removed. Zero: none is.
    pub bytes_max: u64,
    /// With less free room on the disk nothing is recorded.
    pub free_min: u64,
    /// Somebody uploads what is over: it waits for that.
    pub uploads: bool,
}

/// What files there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As it is spoken, where one file can have that: Ogg Opus, or WAV of G.711. Else WAV of samples.
    #[default]
    Native,
    /// WAV, always.
    Wav,
}

impl Settings {
    /// Recordings below this directory, and no limit but that of the disk.
    pub fn below(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            format: Format::Native,
            calls_max: 500,
            age_max: Duration::ZERO,
            bytes_max: 0,
            free_min: 1 << 30,
            uploads: false,
        }
    }
}
