//! What was recorded: `<yyyy-mm-dd>/<recording>.json`, and its files beside it. Days are those of UTC on which recordings began.
#![expect(
    clippy::disallowed_types,
    reason = "threads that wait for the disk and the one that decides on calls share it, none of them a shard"
)]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

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
    lock: Mutex<Option<File>>,
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
    /// To know which are the newest, more would have to be read than one question may.
    #[error("more than {READ_MAX} recordings would have to be looked at: the question is to be narrower")]
    TooMany,
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
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Nothing is removed from here on, so that another process may write there. What there is can still be read.
    pub fn release(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The newest that are asked for.
    ///
    /// # Errors
    /// The directory cannot be read, or more would have to be looked at than may be.
    pub fn list(&self, filter: &Filter) -> Result<Found, ArchiveError> {
        self.list_within(filter, READ_MAX)
    }

    fn list_within(&self, filter: &Filter, mut readable: usize) -> Result<Found, ArchiveError> {
        let mut found = Found::default();
        let (first, last) = (day_of(filter.since_ms), filter.until_ms.map(day_of));
        for day in self.days()?.into_iter().rev() {
            if day < first || last.as_ref().is_some_and(|last| day > *last) {
                continue;
            }
            let left = filter.limit.saturating_sub(found.recordings.len());
            let mut of_day = self.newest_of(&day, filter, left, &mut readable)?;
            found.recordings.append(&mut of_day);
            if found.recordings.len() > filter.limit {
                found.has_more = true;
                break;
            }
        }
        found.recordings.truncate(filter.limit);
        Ok(found)
    }

    /// The newest of a day, one more than so many. Those whose descriptions were written before all of these began are not
    /// read: a description is written when a recording begins, or later.
    fn newest_of(
        &self,
        day: &str,
        filter: &Filter,
        limit: usize,
        readable: &mut usize,
    ) -> Result<Vec<Sidecar>, ArchiveError> {
        let mut candidates = Vec::new();
        for id in self.names(day)? {
            if filter.call.is_some_and(|call| call != id.call) {
                continue;
            }
            let path = self.sidecar_path(day, id);
            // One that is removed meanwhile, or was damaged, is none.
            let changed = fs::metadata(&path).and_then(|data| data.modified());
            candidates.extend(changed.ok().map(|changed| (unix_ms(changed), path)));
        }
        candidates.sort_by(|(one, _), (other, _)| other.cmp(one));
        let mut newest: BTreeMap<(Reverse<u64>, PathBuf), Sidecar> = BTreeMap::new();
        for (changed_ms, path) in candidates {
            let oldest = newest.last_key_value().map(|((Reverse(start_ms), _), _)| *start_ms);
            if newest.len() > limit && oldest.is_some_and(|start_ms| start_ms > changed_ms) {
                break;
            }
            *readable = readable.checked_sub(1).ok_or(ArchiveError::TooMany)?;
            let Some(sidecar) = Sidecar::read(&path).ok().filter(|sidecar| filter.takes(sidecar)) else {
                continue;
            };
            newest.insert((Reverse(sidecar.start_ms), path), sidecar);
            if newest.len() > limit.saturating_add(1) {
                newest.pop_last();
            }
        }
        Ok(newest.into_values().collect())
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
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none() {
            return Err(io::Error::other("another process has the recordings now").into());
        }
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

    /// Where what is to be uploaded has its marks.
    pub(crate) fn uploads_path(&self) -> PathBuf {
        self.directory.join(UPLOADS)
    }

    pub(crate) fn is_released(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_none()
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

fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is said in calls is nobody else's.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn is_day(name: &str) -> bool {
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

/// No day.
pub(crate) const UPLOADS: &str = "uploads";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_has_what_was_released_and_reading_goes_on() {
        let directory = std::env::temp_dir().join(format!("moqswitch-archive-released-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let archive = Archive::open(&directory, Arc::default()).unwrap();
        assert!(Archive::open(&directory, Arc::default()).is_err(), "one process alone");
        archive.release();
        let next = Archive::open(&directory, Arc::default()).unwrap();
        assert!(archive.list(&Filter::default()).is_ok());
        let id = RecordingId {
            call: CallId(1),
            number: 1,
        };
        assert!(matches!(archive.remove(id), Err(ArchiveError::Disk(_))));
        assert!(matches!(next.remove(id), Err(ArchiveError::Unknown)));
        let _ = fs::remove_dir_all(&directory);
    }

    #[test]
    fn the_newest_are_found_however_many_there_are() {
        let directory = std::env::temp_dir().join(format!("moqswitch-archive-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let archive = Archive::open(&directory, Arc::default()).unwrap();
        let day = "2026-11-30";
        make_directory(&archive.day_path(day)).unwrap();
        let write = |number: u64, start_ms: u64, dn: &str| {
            let id = RecordingId {
                call: CallId(number.into()),
                number: 1,
            };
            let sidecar = Sidecar {
                id: id.to_string(),
                start_ms,
                to: dn.to_owned(),
                ..Sidecar::default()
            };
            let path = archive.sidecar_path(day, id);
            sidecar.write(&path).unwrap();
            let at = UNIX_EPOCH + std::time::Duration::from_millis(start_ms + 5);
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(at)
                .unwrap();
        };
        let begin: u64 = 1_796_000_000_000;
        // In an order that is neither that of names nor that of time; one with a number that no other has is the oldest.
        for number in 0..600 {
            let dn = if number == 0 { "rare" } else { "usual" };
            write(number * 7919 % 600, begin + number * 100, dn);
        }
        let starts = |filter: &Filter, readable| {
            let found = archive.list_within(filter, readable)?;
            let starts: Vec<u64> = found.recordings.iter().map(|one| one.start_ms - begin).collect();
            Ok::<_, ArchiveError>((starts, found.has_more))
        };
        let filter = |dn: Option<&str>, limit| Filter {
            dn: dn.map(str::to_owned),
            limit,
            ..Filter::default()
        };
        assert_eq!(starts(&filter(None, 2), 5).unwrap(), (vec![59_900, 59_800], true));
        assert_eq!(starts(&filter(Some("rare"), 2), 600).unwrap(), (vec![0], false));
        assert!(matches!(
            starts(&filter(Some("rare"), 2), 599),
            Err(ArchiveError::TooMany)
        ));
        let before = Filter {
            until_ms: Some(begin + 200),
            ..filter(None, 1)
        };
        assert_eq!(starts(&before, 600).unwrap(), (vec![100], true));
        fs::remove_dir_all(directory).unwrap();
    }

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
