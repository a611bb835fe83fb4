//! What is known of a recording, as JSON beside its files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use moqswitch_calls::CallId;
use serde::{Deserialize, Serialize};

use crate::limits::{PER_CALL_MAX, SIDECAR_BYTES_MAX};

/// The name of a recording: that of its call, and from the second of a call on its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingId {
    /// Of which call.
    pub call: CallId,
    /// Which of them, from 1.
    pub number: u32,
}

/// The description. Times are milliseconds since 1970, offsets those since the recording began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// The name of the recording.
    pub id: String,
    /// The call.
    pub call_id: String,
    /// `recording`, `complete`, `failed` or `interrupted`.
    pub state: String,
    /// Why it did not end as it should: `full`, `disk` or `interrupted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the first was heard.
    pub start_ms: u64,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
    /// How long it is.
    pub duration_ms: u64,
    /// Who called.
    pub from: Party,
    /// What was dialled.
    pub to: String,
    /// Whoever was recorded, in the order in which they came.
    pub legs: Vec<LegOf>,
    /// In the order in which they were begun.
    pub files: Vec<FileOf>,
    /// When nothing was recorded because somebody wanted so.
    pub pauses: Vec<Pause>,
}

/// Who is at one end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Party {
    /// The number.
    pub dn: String,
    /// The name for people.
    pub display_name: String,
}

/// One who was recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LegOf {
    /// The leg, as in records of calls.
    pub party: String,
    /// The number.
    pub dn: String,
    /// The name for people.
    pub display_name: String,
    /// The part in the call.
    pub role: String,
    /// What was spoken last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// The channel in its files, from 0.
    pub channel: usize,
    /// Since when.
    pub from_ms: u64,
    /// Until when. Without it: to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<u64>,
    /// Frames that came, and their bytes.
    pub frames: u64,
    /// See `frames`.
    pub bytes: u64,
    /// Frames that did not come, by their numbers: loss, or silence that was not sent.
    pub lost: u64,
    /// 20 ms of it each that are in files.
    pub written: u64,
    /// What came and is not in them.
    pub dropped: u64,
    /// Why: their sum is `dropped`.
    pub dropped_as: Dropped,
}

/// Why something that came is in no file. Frames of 20 ms count as one each, longer ones as so many of 20 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dropped {
    /// What was said at the time was written when it came.
    pub late: u64,
    /// Something else was said at the same time.
    pub doubled: u64,
    /// As much as may wait did: it came too fast, or its times are of no use.
    pub no_room: u64,
    /// None of the codec's, or of a length that is not recorded.
    pub unfit: u64,
    /// The queue to whoever writes was full: the disk, or the machine, is too slow.
    pub queue_full: u64,
    /// There were as many files as there may be.
    pub no_file: u64,
    /// The recording was over, or who spoke had left.
    pub after_end: u64,
}

impl Dropped {
    /// All of it.
    pub fn sum(&self) -> u64 {
        let kinds = [
            self.late,
            self.doubled,
            self.no_room,
            self.unfit,
            self.queue_full,
            self.no_file,
            self.after_end,
        ];
        kinds.iter().fold(0, |sum: u64, kind| sum.saturating_add(*kind))
    }
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileOf {
    /// Beside the description.
    pub name: String,
    /// `opus`, `pcmu`, `pcma` or `pcm16`.
    pub encoding: String,
    /// In hertz.
    pub sample_rate: u32,
    /// How many there are.
    pub channels: u16,
    /// When it begins, as an offset.
    pub at_ms: u64,
    /// How long the file is; once it is ended.
    pub bytes: u64,
    /// Whoever is on its channels: places in `legs`.
    pub legs: Vec<usize>,
}

/// From here to there, as offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pause {
    /// It began.
    pub from_ms: u64,
    /// It ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<u64>,
}

pub(crate) const RECORDING: &str = "recording";
pub(crate) const COMPLETE: &str = "complete";
pub(crate) const FAILED: &str = "failed";
pub(crate) const INTERRUPTED: &str = "interrupted";

impl Sidecar {
    /// Whole or not at all: who reads it meanwhile, and after a crash, reads this one or the one before.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let unfinished = unfinished(path);
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).mode(0o600);
        let written = options.open(&unfinished).and_then(|mut file| file.write_all(&text));
        let renamed = written.and_then(|()| fs::rename(&unfinished, path));
        if renamed.is_err() {
            // What could not be written is in nobody's way; if that fails, too, the next start finds it.
            let _ = fs::remove_file(&unfinished);
        }
        renamed
    }

    /// # Errors
    /// It is not there, too long or no description.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(path)?.take(SIDECAR_BYTES_MAX).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }
}

/// Where a description is while it is written.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

impl std::fmt::Display for RecordingId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.call.fmt(formatter)?;
        match self.number {
            1 => Ok(()),
            number => write!(formatter, "-{number}"),
        }
    }
}

/// It is no name of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no name of a recording")]
pub struct NoRecordingId;

impl FromStr for RecordingId {
    type Err = NoRecordingId;

    /// Only as it is written: nothing else becomes part of a path.
    fn from_str(text: &str) -> Result<Self, NoRecordingId> {
        let (call, number) = match text.split_once('-') {
            Some((call, number)) => (call, number.parse().map_err(|_| NoRecordingId)?),
            None => (text, 1),
        };
        let call = call.parse().map_err(|_| NoRecordingId)?;
        let id = Self { call, number };
        let is_one = (1..=PER_CALL_MAX).contains(&number) && id.to_string() == text;
        is_one.then_some(id).ok_or(NoRecordingId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_names() {
        let hex = "0123456789abcdef0123456789abcdef";
        for text in [hex.to_owned(), format!("{hex}-2"), format!("{hex}-999")] {
            assert_eq!(text.parse::<RecordingId>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "..",
            "0123456789ABCDEF0123456789abcdef",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef-1",
            "0123456789abcdef0123456789abcdef-02",
            "0123456789abcdef0123456789abcdef-1000",
            "0123456789abcdef0123456789abcdef-",
            "0123456789abcdef0123456789abcdef/../x",
            "+123456789abcdef0123456789abcdef",
        ] {
            assert!(text.parse::<RecordingId>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_strangers_do_no_harm() {
        let path = std::env::temp_dir().join(format!("moqswitch-sidecar-{}.json", std::process::id()));
        let sidecar = Sidecar {
            id: "x".to_owned(),
            end_ms: Some(7),
            pauses: vec![Pause::default()],
            ..Sidecar::default()
        };
        sidecar.write(&path).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), sidecar);
        assert!(!unfinished(&path).exists());
        for text in ["", "{", "[]", "{\"legs\":7}"] {
            fs::write(&path, text).unwrap();
            assert!(Sidecar::read(&path).is_err() || text == "[]", "{text}");
        }
        fs::write(&path, "{\"unknown\":7}").unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), Sidecar::default());
        fs::remove_file(path).unwrap();
    }
}
