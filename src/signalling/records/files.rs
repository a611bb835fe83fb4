//! Files of records: `cdr-<milliseconds>.ndjson`, one JSON object a line. Only the newest is written to, only at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::row::Row;
use crate::limits::{RECORD_BYTES_MAX, RECORDS_KEPT_MAX};
use crate::settings::RecordSettings;

/// The files, of which this process alone writes.
#[derive(Debug)]
pub(super) struct Files {
    settings: RecordSettings,
    /// Locked as long as this is held.
    _lock: File,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    bytes: u64,
}

/// What was there at the start.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The oldest first.
    pub(super) rows: Vec<Row>,
    /// Lines that are no records: the last of a file that was being written when the power went.
    pub(super) unreadable: u64,
}

impl Files {
    /// Makes the directory where there is none.
    pub(super) fn open(settings: RecordSettings) -> io::Result<Self> {
        fs::create_dir_all(&settings.directory)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(settings.directory.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another process writes records there"))?;
        Ok(Self {
            settings,
            _lock: lock,
            current: None,
        })
    }

    /// Reads the newest records, as many as are kept in memory.
    pub(super) fn read(&self) -> io::Result<Found> {
        let mut found = Found::default();
        for path in self.paths()?.into_iter().rev() {
            let (mut rows, unreadable) = read_file(&path)?;
            found.unreadable += unreadable;
            rows.append(&mut found.rows);
            found.rows = rows;
            if found.rows.len() >= RECORDS_KEPT_MAX {
                let over = found.rows.len() - RECORDS_KEPT_MAX;
                found.rows.drain(..over);
                break;
            }
        }
        Ok(found)
    }

    /// Writes lines and waits until the disk has them. On an error nothing of them is in the file, as far as that can be
    /// had.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        let current = match self.current.take() {
            Some(current) if current.bytes < self.settings.file_bytes_max => current,
            Some(_) | None => self.next_file()?,
        };
        let current = self.current.insert(current);
        let written = current.file.write_all(lines.as_bytes()).and_then(|()| {
            self.settings.before_sync.run();
            current.file.sync_data()
        });
        match written {
            Ok(()) => {
                current.bytes += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                Ok(())
            }
            Err(error) => {
                // Half a line would spoil the next. If this fails as well, another file is begun.
                let restored = current.file.set_len(current.bytes);
                if restored.and_then(|()| current.file.seek(SeekFrom::End(0))).is_err() {
                    self.current = None;
                }
                Err(error)
            }
        }
    }

    /// A file of its own for each start, and whenever one is full.
    fn next_file(&self) -> io::Result<Current> {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut stamp = u64::try_from(since.as_millis()).unwrap_or(0);
        // Names go up, whatever the clock does.
        if let Some(last) = self.paths()?.last().and_then(|path| stamp_of(path)) {
            stamp = stamp.max(last + 1);
        }
        let path = self.settings.directory.join(format!("cdr-{stamp:013}.ndjson"));
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        // The name has to be there as well when the power goes.
        File::open(&self.settings.directory)?.sync_all()?;
        Ok(Current { file, bytes: 0 })
    }

    /// Removes what is too old or too much; never the newest.
    pub(super) fn retain(&self) -> io::Result<u64> {
        let mut paths = self.paths()?;
        paths.pop();
        let mut removed = 0;
        let sizes = paths.iter().map(|path| fs::metadata(path).map_or(0, |data| data.len()));
        let mut total: u64 = sizes.sum();
        for path in paths {
            let Ok(data) = fs::metadata(&path) else { continue };
            let age = data
                .modified()
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok());
            let is_old = !self.settings.age_max.is_zero() && age.is_some_and(|age| age > self.settings.age_max);
            let is_over = self.settings.total_bytes_max > 0 && total > self.settings.total_bytes_max;
            if is_old || is_over {
                fs::remove_file(&path)?;
                total = total.saturating_sub(data.len());
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        paths(&self.settings.directory)
    }
}

/// The files of a directory, the oldest first.
pub(super) fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| stamp_of(path).is_some());
    paths.sort_unstable();
    Ok(paths)
}

/// When a file began, in milliseconds since 1970.
pub(super) fn stamp_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix("cdr-")?.strip_suffix(".ndjson")?;
    (digits.len() == 13).then(|| digits.parse().ok())?
}

fn read_file(path: &Path) -> io::Result<(Vec<Row>, u64)> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut rows, mut unreadable) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(RECORD_BYTES_MAX).unwrap_or(u64::MAX);
        if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok((rows, unreadable));
        }
        let value: Option<Value> = serde_json::from_slice(&line).ok();
        match value.as_ref().and_then(Row::of) {
            Some(row) => rows.push(row),
            None => unreadable += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// Gone when the test is.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("moqswitch-records-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn settings(&self) -> RecordSettings {
            RecordSettings::below(&self.0)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn line(call: u32) -> String {
        let record = json!({
            "callId": format!("{call:032x}"), "startMs": call, "endMs": call, "durationMs": 0, "reason": "busy",
        });
        record.to_string() + "\n"
    }

    #[test]
    fn records_are_there_after_a_restart_and_half_a_line_spoils_nothing() {
        let directory = Directory::new("restart");
        let mut files = Files::open(directory.settings()).unwrap();
        files.append(&(line(1) + &line(2))).unwrap();
        assert!(Files::open(directory.settings()).is_err(), "one process writes");
        // Killed in the middle of a line.
        files
            .current
            .as_mut()
            .unwrap()
            .file
            .write_all(b"{\"callId\":\"0")
            .unwrap();
        drop(files);
        let mut files = Files::open(directory.settings()).unwrap();
        files.append(&line(3)).unwrap();
        let found = files.read().unwrap();
        let starts: Vec<u64> = found.rows.iter().map(|row| row.start_ms).collect();
        assert_eq!((starts, found.unreadable), (vec![1, 2, 3], 1));
    }

    #[test]
    fn full_files_are_followed_by_others_and_the_oldest_go() {
        let directory = Directory::new("retention");
        let settings = RecordSettings {
            file_bytes_max: 1,
            total_bytes_max: u64::try_from(line(1).len() * 2).unwrap(),
            ..directory.settings()
        };
        let mut files = Files::open(settings).unwrap();
        for call in 1..=5 {
            files.append(&line(call)).unwrap();
        }
        assert_eq!(files.paths().unwrap().len(), 5);
        // The newest does not count: it cannot go.
        assert_eq!(files.retain().unwrap(), 2);
        let starts: Vec<u64> = files.read().unwrap().rows.iter().map(|row| row.start_ms).collect();
        assert_eq!(starts, [3, 4, 5]);
        files.settings.age_max = Duration::from_nanos(1);
        assert_eq!(files.retain().unwrap(), 2);
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let directory = Directory::new("failure");
        let mut files = Files::open(directory.settings()).unwrap();
        files.append(&line(1)).unwrap();
        // A file that takes nothing, as on a disk that is full.
        let current = files.current.as_mut().unwrap();
        let taking = std::mem::replace(&mut current.file, File::open(directory.0.join("lock")).unwrap());
        assert!(files.append(&line(2)).is_err());
        drop(taking);
        files.append(&line(2)).unwrap();
        assert_eq!(files.read().unwrap().rows.len(), 2);
    }
}
