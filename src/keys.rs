//! Keys of tokens from files: one key, a set of them, or a directory with a file `ID.jwk` for each.
//! All are read or none.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use moqswitch_relay::auth::limits::{KEY_TEXT_BYTES_MAX, KEYS_MAX};
use moqswitch_relay::auth::token::{Keys, KeysError};

/// Why keys were not read. Names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {error}", path.display())]
    Keys { path: PathBuf, error: KeysError },
    #[error("{}: more than {KEYS_MAX} files", path.display())]
    TooMany { path: PathBuf },
}

/// What tells that files have changed, also where a deployment keeps their times: which file it is, when it was written
/// and when that was noted, how long it is. Reading tells the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, FileStamp)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    modified: Option<SystemTime>,
    /// Of its entry, in seconds and nanoseconds.
    noted: (i64, i64),
    /// Device and number.
    file: (u64, u64),
    bytes: u64,
}

/// Reads the keys in a file or a directory.
pub fn load(path: &Path) -> Result<Keys, KeyFileError> {
    let keys = if path.is_dir() {
        let files = list(path)?.into_iter().map(|file| {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            read(&file).map(|text| (name, text))
        });
        Keys::of_files(files.collect::<Result<Vec<_>, _>>()?)
    } else {
        Keys::parse(&read(path)?)
    };
    keys.map_err(|error| KeyFileError::Keys {
        path: path.to_owned(),
        error,
    })
}

impl Stamp {
    /// As it is now. What cannot be looked at has no stamp.
    pub fn of(path: &Path) -> Self {
        let files = match path.is_dir() {
            true => list(path).unwrap_or_default(),
            false => vec![path.to_owned()],
        };
        let stamp = |file: PathBuf| {
            let metadata = fs::metadata(&file).ok()?;
            let stamp = FileStamp {
                modified: metadata.modified().ok(),
                noted: (metadata.ctime(), metadata.ctime_nsec()),
                file: (metadata.dev(), metadata.ino()),
                bytes: metadata.len(),
            };
            Some((file, stamp))
        };
        Self(files.into_iter().filter_map(stamp).collect())
    }
}

/// The files of a directory that end with `.jwk`, in the order of their names.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, KeyFileError> {
    let failed = |source| KeyFileError::Read {
        path: directory.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_none_or(|ending| ending != "jwk") {
            continue;
        }
        if files.len() == KEYS_MAX {
            let path = directory.to_owned();
            return Err(KeyFileError::TooMany { path });
        }
        files.push(file);
    }
    files.sort_unstable();
    Ok(files)
}

fn read(path: &Path) -> Result<String, KeyFileError> {
    let mut text = String::new();
    // One byte more than allowed tells a file that is too long, which is refused as a key.
    let limit = KEY_TEXT_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_string(&mut text))
        .map_err(|source| KeyFileError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use moqswitch_relay::auth::token::{Algorithm, Key};
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn a_directory_has_a_file_for_each_key() {
        let directory = Directory::new("each");
        directory.write("a.jwk", &key("a"));
        directory.write("b.jwk", &key("b"));
        directory.write("README", "no key");
        let keys = load(&directory.0).unwrap();
        let names: Vec<_> = keys.iter().filter_map(Key::id).map(str::to_owned).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn one_file_that_is_wrong_is_named_and_none_is_taken() {
        let directory = Directory::new("wrong");
        assert!(load(&directory.0).unwrap().is_empty(), "they may come later");
        directory.write("a.jwk", &key("a"));
        directory.write("b.jwk", "{}");
        let error = load(&directory.0).unwrap_err().to_string();
        assert!(error.contains("key b: `alg` is missing"), "{error}");
        directory.write("b.jwk", &key("c"));
        let error = load(&directory.0).unwrap_err().to_string();
        assert!(error.contains("the key of the file b has the `kid` c"), "{error}");
        assert!(
            load(Path::new("/nowhere/x.jwk"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere/x.jwk")
        );
    }

    #[test]
    fn a_stamp_tells_what_came_went_or_grew() {
        let directory = Directory::new("stamp");
        let none = Stamp::of(&directory.0);
        directory.write("a.jwk", "1");
        let one = Stamp::of(&directory.0);
        assert_eq!(one, Stamp::of(&directory.0));
        directory.write("a.jwk", "12");
        let grown = Stamp::of(&directory.0);
        fs::remove_file(directory.0.join("a.jwk")).unwrap();
        assert!(none != one && one != grown && none == Stamp::of(&directory.0));
    }

    fn key(id: &str) -> String {
        Key::generate(Algorithm::HS256, id, &SystemRandom::new())
            .unwrap()
            .to_json()
    }

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("moqswitch-keys-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
