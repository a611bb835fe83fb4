//! Directories of files, each of which is to be a broadcast.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use moqswitch_containers::limits::FILE_BYTES_MAX;

use crate::limits::{ENTRIES_MAX, FAULTS_MAX, FILES_MAX, NAME_BYTES_MAX};
use crate::sound::Sound;

/// Where files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelves {
    /// Of music: `moh/<name>` is played in a loop.
    pub music: Option<PathBuf>,
    /// Of prompts: `prompt/<name>` is played once, and anew for who comes when it is over.
    pub prompts: Option<PathBuf>,
    /// Where no file of music is `default`, tones of our own are `moh/default`.
    pub has_tones: bool,
}

/// What is played how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// In a loop.
    Music,
    /// Once.
    Prompts,
}

/// A file that is not played, or a directory that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub reason: String,
}

/// What was found out about files without playing them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Files of music that would be played.
    pub music: usize,
    /// Prompts that would be.
    pub prompts: usize,
    /// What would not.
    pub faults: Vec<Fault>,
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) file: PathBuf,
    pub(crate) stamp: Stamp,
}

/// By which it is known that a file is the one that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64, Option<SystemTime>);

impl Shelf {
    pub(crate) const ALL: [Self; 2] = [Self::Music, Self::Prompts];

    /// Broadcasts are below this.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Music => "moh",
            Self::Prompts => "prompt",
        }
    }
}

impl Shelves {
    pub(crate) fn directory(&self, shelf: Shelf) -> Option<&Path> {
        match shelf {
            Shelf::Music => self.music.as_deref(),
            Shelf::Prompts => self.prompts.as_deref(),
        }
    }

    /// Reads every file, and says which would be played.
    pub fn inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        for shelf in Shelf::ALL {
            let Some(directory) = self.directory(shelf) else {
                continue;
            };
            let found = match find(directory, &mut inspection.faults) {
                Ok(found) => found,
                Err(fault) => {
                    inspection.faults.push(fault);
                    continue;
                }
            };
            for found in found.into_values() {
                match (read(&found.file), shelf) {
                    (Ok(_), Shelf::Music) => inspection.music += 1,
                    (Ok(_), Shelf::Prompts) => inspection.prompts += 1,
                    (Err(fault), _) => inspection.faults.push(fault),
                }
            }
        }
        inspection
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.file.display(), self.reason)
    }
}

/// The files of a directory by the names of their broadcasts. What has no such name is a fault. Subdirectories, and what
/// begins with a dot, are passed over.
pub(crate) fn find(directory: &Path, faults: &mut Vec<Fault>) -> Result<BTreeMap<String, Found>, Fault> {
    let cannot = |error: io::Error| fault(directory, format!("cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        if files.len() >= ENTRIES_MAX {
            return Err(fault(directory, format!("has more than {ENTRIES_MAX} entries")));
        }
        files.push(entry.map_err(cannot)?.path());
    }
    files.sort();
    let mut found = BTreeMap::new();
    let mut faults = Faults {
        told: faults,
        more: 0,
        directory,
    };
    for file in files {
        if file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        {
            continue;
        }
        let stamp = match fs::metadata(&file) {
            Ok(data) if data.is_dir() => continue,
            Ok(data) => Stamp::of(&data),
            Err(error) => {
                faults.push(fault(&file, format!("cannot be read: {error}")));
                continue;
            }
        };
        match name_of(&file) {
            Err(reason) => faults.push(fault(&file, reason.to_owned())),
            Ok(_) if found.len() >= FILES_MAX => {
                faults.push(fault(
                    &file,
                    format!("at most {FILES_MAX} files of a directory are played"),
                ));
            }
            Ok(name) => match found.get(&name) {
                Some(Found { file: other, .. }) => {
                    faults.push(fault(&file, format!("{} has the same name", other.display())));
                }
                None => drop(found.insert(name, Found { file, stamp })),
            },
        }
    }
    Ok(found)
}

/// What is wrong with a directory, as far as somebody reads it.
struct Faults<'a> {
    told: &'a mut Vec<Fault>,
    /// Those that are not told one by one.
    more: usize,
    directory: &'a Path,
}

impl Faults<'_> {
    fn push(&mut self, fault: Fault) {
        if self.told.len() < FAULTS_MAX {
            self.told.push(fault);
        } else {
            self.more += 1;
        }
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        if self.more > 0 {
            let reason = format!("{} further files are not played", self.more);
            self.told.push(fault(self.directory, reason));
        }
    }
}

/// What a file has to say.
pub(crate) fn read(file: &Path) -> Result<Sound, Fault> {
    let cannot = |error: io::Error| fault(file, format!("cannot be read: {error}"));
    let data = fs::metadata(file).map_err(cannot)?;
    if !data.is_file() {
        return Err(fault(file, "it is no file".to_owned()));
    }
    if data.len() > FILE_BYTES_MAX as u64 {
        return Err(fault(file, format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(file).map_err(cannot)?;
    Sound::read(&bytes).map_err(|error| fault(file, error.to_string()))
}

pub(crate) fn fault(file: &Path, reason: String) -> Fault {
    Fault {
        file: file.to_owned(),
        reason,
    }
}

/// The name of a file's broadcast.
fn name_of(file: &Path) -> Result<String, &'static str> {
    let ending = file.extension().map(|ending| ending.to_ascii_lowercase());
    if !ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
        return Err("only .wav, .ogg, .oga and .opus are played");
    }
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let is_good = |byte: u8| byte.is_ascii_graphic() && !b"/*".contains(&byte);
    match !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_good) {
        true => Ok(name.to_owned()),
        false => Err("its name is to have at most 64 letters, digits and signs of ASCII, no space and no *"),
    }
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self(data.len(), data.modified().ok())
    }
}

const ENDINGS: [&str; 4] = ["wav", "ogg", "oga", "opus"];

const _: () = assert!(NAME_BYTES_MAX == 64, "it is said in a text");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_directory_have_a_bound() {
        let directory = std::env::temp_dir().join(format!("moqswitch-shelf-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for number in 0..FAULTS_MAX + 7 {
            fs::write(directory.join(format!("{number}.mp3")), "").unwrap();
        }
        let mut faults = Vec::new();
        assert!(find(&directory, &mut faults).unwrap().is_empty());
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        assert_eq!(faults[FAULTS_MAX].reason, "7 further files are not played");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn names_are_those_of_files_without_their_endings() {
        let name = |file: &str| name_of(Path::new(file));
        assert_eq!(name("/x/jazz.wav").as_deref(), Ok("jazz"));
        assert_eq!(name("good-bye_2.OGG").as_deref(), Ok("good-bye_2"));
        assert_eq!(name("a.b.opus").as_deref(), Ok("a.b"));
        for bad in [
            "jazz",
            "jazz.mp3",
            "two words.wav",
            "st*r.wav",
            "ärger.wav",
            &("x".repeat(65) + ".wav"),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
