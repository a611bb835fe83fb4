//! The file of the journal. It is written anew when most of it is no longer in force.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::entry::{Entry, Found};
use crate::limits::{JOURNAL_BYTES, JOURNAL_LINE_BYTES_MAX};

#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Locked as long as this is held.
    _lock: fs::File,
    file: BufWriter<fs::File>,
    bytes: u64,
    /// With so many it is written anew.
    bytes_max: u64,
}

impl File {
    /// Makes the directory where there is none. What cannot be read of the file is passed over.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Found)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = open(&directory.join("lock"), false)?;
        lock.try_lock()
            .map_err(|_| io::Error::other(format!("another process has {}", directory.display())))?;
        let path = directory.join("journal.ndjson");
        let found = read(&path)?;
        let (file, bytes) = write_anew(&path, &found)?;
        let file = Self {
            path,
            _lock: lock,
            file,
            bytes,
            bytes_max: JOURNAL_BYTES.saturating_add(bytes.saturating_mul(4)),
        };
        Ok((file, found))
    }

    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        self.file.write_all(line.as_bytes())?;
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > self.bytes_max {
            // What fails is not tried again with each line.
            self.bytes_max = self.bytes.saturating_add(JOURNAL_BYTES);
            self.flush()?;
            let found = read(&self.path)?;
            (self.file, self.bytes) = write_anew(&self.path, &found)?;
            self.bytes_max = JOURNAL_BYTES.saturating_add(self.bytes.saturating_mul(4));
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path, is_new: bool) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(is_new).mode(0o600).open(path)
}

/// Beside, and then in its place: who dies meanwhile leaves the old one.
fn write_anew(path: &Path, found: &Found) -> io::Result<(BufWriter<fs::File>, u64)> {
    let beside = path.with_extension("new");
    let mut file = BufWriter::new(open(&beside, true)?);
    let mut bytes = 0;
    for entry in found.entries() {
        let line = serde_json::to_string(&entry)? + "\n";
        file.write_all(line.as_bytes())?;
        bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
    }
    file.flush()?;
    file.get_ref().sync_all()?;
    fs::rename(&beside, path)?;
    Ok((file, bytes))
}

/// A line that is none is the last that a process wrote that was killed.
fn read(path: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader
            .by_ref()
            .take(JOURNAL_LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(found);
        }
        if let Ok(entry) = serde_json::from_slice(&line) {
            found.take(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_found_and_the_rest_is_dropped() {
        let directory = std::env::temp_dir().join(format!("moqswitch-journal-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let (mut file, found) = File::open(&directory).unwrap();
        assert!(found.devices.is_empty() && found.calls.is_empty());
        assert!(File::open(&directory).is_err(), "one process writes");
        let device = |session: &str, name: &str| {
            let text = format!(
                r#"{{"device":{{"session":"{session}","dn":"5001","device":"","displayName":"{name}","ringable":true,
                "supervisor":false,"codecs":[],"ringsItself":false,"proof":null,"expiresMs":1,"untilMs":2}}}}"#
            );
            serde_json::from_str::<Entry>(&text).unwrap()
        };
        file.bytes_max = 2000;
        for round in 0..100 {
            file.append(&device("a", &format!("round {round}"))).unwrap();
            file.append(&device("b", "b")).unwrap();
            file.append(&Entry::Gone("b".to_owned())).unwrap();
        }
        file.flush().unwrap();
        assert!(file.bytes_max > JOURNAL_BYTES, "it was written anew");
        // Killed in the middle of a line.
        file.file.write_all(b"{\"gone\":\"a").unwrap();
        drop(file);
        let (_file, found) = File::open(&directory).unwrap();
        let names: Vec<&str> = found.devices.values().map(|device| &*device.display_name).collect();
        assert_eq!(names, ["round 99"]);
        fs::remove_dir_all(directory).unwrap();
    }
}
