//! Recordings that are to be uploaded. Each has a file of nothing in a directory of its own, `uploads/<yyyy-mm-dd>.<recording>`,
//! from its beginning until somebody says that it is done: what waits survives the process, and is bounded by the disk alone.

use std::collections::BinaryHeap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{Archive, UPLOADS, is_day, make_directory};
use crate::desk::Desk;
use crate::sidecar::{RECORDING, RecordingId, Sidecar};

/// What waits, in the order of days, round and round. It waits for the disk.
pub struct Pending {
    archive: Arc<Archive>,
    desk: Arc<Desk>,
    /// The last that was taken.
    after: String,
}

/// A recording that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRecording {
    /// The day on which it began, which is the directory of its files.
    pub day: String,
    /// Its name.
    pub id: RecordingId,
}

/// A file that is to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingFile {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Pending {
    pub(crate) fn new(archive: Arc<Archive>, desk: Arc<Desk>) -> Self {
        Self {
            archive,
            desk,
            after: String::new(),
        }
    }

    /// Another process has the recordings now.
    pub fn is_released(&self) -> bool {
        self.archive.is_released()
    }

    /// The next that are over, so many at most. None: nothing waits behind those that were taken before, and the next call
    /// begins again with the first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn take(&mut self, limit: usize) -> io::Result<Vec<PendingRecording>> {
        let mut next: BinaryHeap<String> = BinaryHeap::new();
        let entries = match fs::read_dir(self.archive.uploads_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        for entry in entries {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if name > self.after && split(&name).is_some_and(|(_, id)| !self.is_written(id)) {
                next.push(name);
                if next.len() > limit {
                    next.pop();
                }
            }
        }
        let next = next.into_sorted_vec();
        self.after = next.last().cloned().unwrap_or_default();
        let split = |name: &String| {
            split(name).map(|(day, id)| PendingRecording {
                day: day.to_owned(),
                id,
            })
        };
        Ok(next.iter().filter_map(split).collect())
    }

    /// Its files, the description last. None: it has been removed, or goes on after all.
    ///
    /// # Errors
    /// The description cannot be read.
    pub fn files(&self, one: &PendingRecording) -> io::Result<Option<Vec<PendingFile>>> {
        let path = self.archive.sidecar_path(&one.day, one.id);
        let sidecar = match Sidecar::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.done(one)?;
                return Ok(None);
            }
            sidecar => sidecar?,
        };
        // A killed process left it, and nobody has looked at it yet.
        if sidecar.state == RECORDING {
            return Ok(None);
        }
        let directory = self.archive.day_path(&one.day);
        let begin = format!("{}.", one.id);
        let is_own = |name: &String| name.starts_with(&begin) && !name.contains('/');
        let names = sidecar.files.into_iter().map(|file| file.name).filter(is_own);
        let names = names.chain([format!("{}.json", one.id)]);
        let file = |name: String| PendingFile {
            path: directory.join(&name),
            name,
        };
        Ok(Some(names.map(file).collect()))
    }

    /// It was uploaded.
    ///
    /// # Errors
    /// The disk: it will be uploaded again.
    pub fn done(&self, one: &PendingRecording) -> io::Result<()> {
        match fs::remove_file(self.archive.uploads_path().join(marker(&one.day, one.id))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn is_written(&self, id: RecordingId) -> bool {
        self.desk.writing().contains(&id.to_string())
    }
}

/// A recording that begins is to be uploaded when it is over.
pub(crate) fn mark(directory: &Path, day: &str, id: RecordingId) -> io::Result<()> {
    let uploads = directory.join(UPLOADS);
    make_directory(&uploads)?;
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    options.open(uploads.join(marker(day, id))).map(drop)
}

fn marker(day: &str, id: RecordingId) -> String {
    format!("{day}.{id}")
}

fn split(name: &str) -> Option<(&str, RecordingId)> {
    let (day, id) = name.split_once('.')?;
    Some((day, id.parse().ok()?)).filter(|_| is_day(day))
}

#[cfg(test)]
mod tests {
    use moqswitch_calls::CallId;

    use super::*;

    fn id(call: u128) -> RecordingId {
        RecordingId {
            call: CallId(call),
            number: 1,
        }
    }

    #[test]
    fn what_is_over_is_taken_round_and_round_until_it_is_done() {
        let directory = std::env::temp_dir().join(format!("moqswitch-pending-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let desk = Arc::<Desk>::default();
        let archive = Arc::new(Archive::open(&directory, Arc::clone(&desk)).unwrap());
        let mut pending = Pending::new(archive, Arc::clone(&desk));
        assert_eq!(pending.take(9).unwrap(), []);
        for (day, call) in [
            ("2026-11-30", 1),
            ("2026-11-29", 2),
            ("2026-11-30", 3),
            ("2026-11-30", 4),
        ] {
            mark(&directory, day, id(call)).unwrap();
        }
        fs::write(directory.join("uploads/readme.txt"), "").unwrap();
        desk.writing().insert(id(4).to_string());
        let calls = |taken: Vec<PendingRecording>| taken.iter().map(|one| one.id.call.0).collect::<Vec<_>>();
        assert_eq!(calls(pending.take(2).unwrap()), [2, 1]);
        assert_eq!(calls(pending.take(2).unwrap()), [3]);
        assert_eq!(calls(pending.take(2).unwrap()), []);
        let taken = pending.take(1).unwrap();
        assert_eq!(calls(taken.clone()), [2]);
        // It was removed meanwhile: nothing of it waits.
        assert_eq!(pending.files(&taken[0]).unwrap(), None);
        let again = PendingRecording {
            day: "2026-11-30".to_owned(),
            id: id(1),
        };
        pending.done(&again).unwrap();
        pending.done(&again).unwrap();
        desk.writing().clear();
        assert_eq!(calls(pending.take(9).unwrap()), [3, 4]);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn its_files_are_those_of_the_description_and_that_comes_last() {
        let directory = std::env::temp_dir().join(format!("moqswitch-pending-files-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let archive = Arc::new(Archive::open(&directory, Arc::default()).unwrap());
        let pending = Pending::new(Arc::clone(&archive), Arc::default());
        let one = PendingRecording {
            day: "2026-11-30".to_owned(),
            id: id(7),
        };
        make_directory(&archive.day_path(&one.day)).unwrap();
        let mut sidecar: Sidecar = serde_json::from_value(serde_json::json!({
            "id": one.id.to_string(),
            "state": RECORDING,
            "files": [{ "name": format!("{}.opus", one.id) }, { "name": "/etc/passwd" }],
        }))
        .unwrap();
        let path = archive.sidecar_path(&one.day, one.id);
        sidecar.write(&path).unwrap();
        assert_eq!(pending.files(&one).unwrap(), None, "it goes on");
        "complete".clone_into(&mut sidecar.state);
        sidecar.write(&path).unwrap();
        let files = pending.files(&one).unwrap().unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
        assert_eq!(names, [format!("{}.opus", one.id), format!("{}.json", one.id)]);
        assert_eq!(files[1].path, path);
        fs::remove_dir_all(directory).unwrap();
    }
}
