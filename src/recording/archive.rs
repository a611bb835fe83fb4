//! What was recorded: `<yyyy-mm-dd>/<recording>.json`, and its files beside it. Days are those of UTC on which recordings began.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moqswitch_calls::CallId;

use crate::desk::Desk;
use crate::limits::READ_MAX;
use crate::sidecar::{RecordingId, Sidecar};

/// Finds and removes recordings. It waits for the disk.
pub struct Archive {
    directory: PathBuf,
    desk: Arc<Desk>,
    /// Locked as long as this is held.
    _lock: File,
}

/// Which recordings are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
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

/// The newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Those that were found.
    pub recordings: Vec<Sidecar>,
    /// There may be older ones.
    pub has_more: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is none of that name.
    #[error("there is no such recording")]
    Unknown,
    /// It goes on.
    #[error("the recording goes on")]
    Writing,
    /// The disk.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// A recording on the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) bytes: u64,
    /// When its description was last written.
    pub(crate) changed: SystemTime,
}

impl Archive {
    /// Makes the directory where there is none.
    pub(crate) fn open(directory: &Path, desk: Arc<Desk>) -> io::Result<Self> {
        make_directory(directory)?;
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(directory.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another process writes recordings there"))?;
        Ok(Self {
            directory: directory.to_owned(),
            desk,
            _lock: lock,
        })
    }

    /// The newest that are asked for.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self, filter: &Filter) -> io::Result<Found> {
        let mut found = Found::default();
        let mut read = 0;
        let (first, last) = (day_of(filter.since_ms), filter.until_ms.map(day_of));
        for day in self.days()?.into_iter().rev() {
            if day < first || last.as_ref().is_some_and(|last| day > *last) {
                continue;
            }
            let mut of_day = Vec::new();
            for id in self.names(&day)? {
                if filter.call.is_some_and(|call| call != id.call) {
                    continue;
                }
                read += 1;
                if read > READ_MAX {
                    found.has_more = true;
                    break;
                }
                // One that is removed meanwhile, or was damaged, is none.
                let sidecar = Sidecar::read(&self.sidecar_path(&day, id)).ok();
                of_day.extend(sidecar.filter(|sidecar| filter.takes(sidecar)));
            }
            of_day.sort_by_key(|sidecar| std::cmp::Reverse(sidecar.start_ms));
            found.recordings.append(&mut of_day);
            if found.has_more || found.recordings.len() > filter.limit {
                break;
            }
        }
        found.has_more |= found.recordings.len() > filter.limit;
        found.recordings.truncate(filter.limit);
        Ok(found)
    }

    /// What is known of one.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn get(&self, id: RecordingId) -> Result<Sidecar, ArchiveError> {
        Ok(Sidecar::read(&self.sidecar_path(&self.day(id)?, id))?)
    }

    /// One of its files, the first being 0, and what is known of that.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open_file(&self, id: RecordingId, index: usize) -> Result<(File, crate::sidecar::FileOf), ArchiveError> {
        let day = self.day(id)?;
        let sidecar = Sidecar::read(&self.sidecar_path(&day, id))?;
        let file = sidecar.files.into_iter().nth(index).ok_or(ArchiveError::Unknown)?;
        // A description may have been changed by hand: its files are its own.
        let is_own = file.name.starts_with(&format!("{id}.")) && !file.name.contains('/');
        if !is_own {
            return Err(ArchiveError::Unknown);
        }
        Ok((File::open(self.directory.join(day).join(&file.name))?, file))
    }

    /// Removes one that is over, with its files.
    ///
    /// # Errors
    /// There is none, it goes on, or it cannot be removed.
    pub fn remove(&self, id: RecordingId) -> Result<(), ArchiveError> {
        let day = self.day(id)?;
        if self.desk.writing().contains(&id.to_string()) {
            return Err(ArchiveError::Writing);
        }
        Ok(self.remove_from(&day, id)?)
    }

    /// The description comes last: what is not removed is found again.
    pub(crate) fn remove_from(&self, day: &str, id: RecordingId) -> io::Result<()> {
        let directory = self.directory.join(day);
        let begin = format!("{id}.");
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_file = name.to_str().is_some_and(|name| name.starts_with(&begin));
            if is_file && entry.path() != self.sidecar_path(day, id) {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_file(self.sidecar_path(day, id))
    }

    /// The oldest first.
    pub(crate) fn days(&self) -> io::Result<Vec<String>> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name().into_string();
            days.extend(name.ok().filter(|name| is_day(name)));
        }
        days.sort();
        Ok(days)
    }

    /// What recordings of a day take.
    pub(crate) fn kept(&self, day: &str) -> io::Result<BTreeMap<RecordingId, Kept>> {
        let mut kept: BTreeMap<RecordingId, Kept> = BTreeMap::new();
        for entry in fs::read_dir(self.directory.join(day))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((id, rest)) = name.to_str().and_then(split) else {
                continue;
            };
            // Removed meanwhile.
            let Ok(data) = entry.metadata() else { continue };
            let one = kept.entry(id).or_insert(Kept {
                bytes: 0,
                changed: SystemTime::UNIX_EPOCH,
            });
            one.bytes = one.bytes.saturating_add(data.len());
            if rest == "json" || one.changed == SystemTime::UNIX_EPOCH {
                one.changed = data.modified()?;
            }
        }
        Ok(kept)
    }

    pub(crate) fn sidecar_path(&self, day: &str, id: RecordingId) -> PathBuf {
        self.directory.join(day).join(format!("{id}.json"))
    }

    pub(crate) fn day_path(&self, day: &str) -> PathBuf {
        self.directory.join(day)
    }

    /// Those that have a description.
    pub(crate) fn names(&self, day: &str) -> io::Result<Vec<RecordingId>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.directory.join(day))? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(split).filter(|(_, rest)| *rest == "json");
            names.extend(id.map(|(id, _)| id));
        }
        Ok(names)
    }

    fn day(&self, id: RecordingId) -> Result<String, ArchiveError> {
        let days = self.days()?.into_iter().rev();
        let mut with_it = days.filter(|day| self.sidecar_path(day, id).exists());
        with_it.next().ok_or(ArchiveError::Unknown)
    }
}

impl Filter {
    fn takes(&self, sidecar: &Sidecar) -> bool {
        let is_theirs = |dn: &String| {
            let mut legs = sidecar.legs.iter();
            sidecar.from.dn == *dn || sidecar.to == *dn || legs.any(|leg| leg.dn == *dn)
        };
        sidecar.start_ms >= self.since_ms
            && self.until_ms.is_none_or(|until| sidecar.start_ms < until)
            && self.dn.as_ref().is_none_or(is_theirs)
    }
}

/// Which day it is, of UTC.
pub(crate) fn day_of(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().map(Timestamp::from_millisecond);
    let moment = moment.and_then(Result::ok).unwrap_or(Timestamp::MAX);
    moment.to_zoned(TimeZone::UTC).date().to_string()
}

/// What is said in calls is nobody else's.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn is_day(name: &str) -> bool {
    let is_of_day = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    name.len() == 10 && name.bytes().enumerate().all(is_of_day)
}

/// The recording, and what is behind its name.
fn split(name: &str) -> Option<(RecordingId, &str)> {
    let (id, rest) = name.split_once('.')?;
    Some((id.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day_of(0), "1970-01-01");
        assert_eq!(day_of(1_796_083_199_999), "2026-11-30");
        assert_eq!(day_of(u64::MAX), "9999-12-30");
        for name in ["1970-01-01", "9999-12-30"] {
            assert!(is_day(name));
        }
        for name in ["", "..", "lock", "1970-1-001", "1970-01-0x", "1970_01_01"] {
            assert!(!is_day(name), "{name}");
        }
    }
}
