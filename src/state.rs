//! What outlives the process: the key of stateless resets, in a file of the state directory. With the same key a relay that
//! was started again tells the clients of the one before, at their first packet, that their connections are gone.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use moqswitch_relay::ResetKey;
use ring::rand::{SecureRandom, SystemRandom};

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// As configured: what is wrong with it ends the start.
    Configured(PathBuf),
    /// Where such things usually are: what is wrong with it is told, and nothing is kept.
    Usual(PathBuf),
    /// Nowhere.
    None,
}

/// Why the key could not be read or kept. Names the file, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot make the state directory {}: {source}; make it, or name another by `state_directory`", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}; the user of the relay must own it", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}; the user of the relay must own its directory", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a line of {} hexadecimal digits; remove it, and the next start makes another", path.display(), 2 * ResetKey::BYTES)]
    Damaged { path: PathBuf },
}

impl Place {
    /// The setting, else what the environment says: that of systemd, else that of the user.
    pub fn find(configured: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        match configured {
            Some(path) if path.as_os_str().is_empty() => return Self::None,
            Some(path) => return Self::Configured(path.to_owned()),
            None => {}
        }
        // A relative path is not to be used (XDG Base Directory Specification).
        let absolute = |name: &str| {
            let text = variable(name)?;
            // Of several state directories, systemd names all, with colons.
            let path = PathBuf::from(text.to_string_lossy().split(':').next().unwrap_or_default());
            path.is_absolute().then_some(path)
        };
        absolute("STATE_DIRECTORY")
            .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("moqswitch")))
            .or_else(|| Some(absolute("HOME")?.join(".local/state/moqswitch")))
            .map_or(Self::None, Self::Usual)
    }

    /// The directory, if there is to be one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Configured(path) | Self::Usual(path) => Some(path),
            Self::None => None,
        }
    }
}

/// The key kept at `place`, made at the first start. `None`: there is to be none that lasts, or it cannot be kept where it
/// usually is, which is logged.
pub fn reset_key(place: &Place) -> Result<Option<ResetKey>, StateError> {
    let outcome = match place.path() {
        Some(directory) => kept_in(directory),
        None => return Ok(None),
    };
    match outcome {
        Ok(key) => Ok(Some(key)),
        Err(error) if matches!(place, Place::Usual(_)) => {
            tracing::warn!("nothing is kept over a restart, clients learn of a crash when they time out: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The file of the key.
pub fn reset_key_file(directory: &Path) -> PathBuf {
    directory.join("reset.key")
}

/// What is in a file of a key.
pub fn read_reset_key(path: &Path) -> Result<ResetKey, StateError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| StateError::Read {
            path: path.to_owned(),
            source,
        })?;
    let mut bytes = [0; ResetKey::BYTES];
    match decode(text.trim_end(), &mut bytes) {
        Some(()) => Ok(ResetKey::new(bytes)),
        None => Err(StateError::Damaged { path: path.to_owned() }),
    }
}

fn kept_in(directory: &Path) -> Result<ResetKey, StateError> {
    let path = reset_key_file(directory);
    match read_reset_key(&path) {
        Err(StateError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        outcome => return outcome,
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| StateError::Directory {
            path: directory.to_owned(),
            source,
        })?;
    make(&path).map_err(|source| StateError::Write {
        path: path.clone(),
        source,
    })?;
    // Another relay that starts at this moment may have been first.
    read_reset_key(&path)
}

/// Writes a fresh key beside, then gives it its name, if no other has it by then: nobody reads half of a key.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = [0; ResetKey::BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gave no randomness"))?;
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    let written = (|| {
        // One that was left behind may have other rights.
        file.set_permissions(Permissions::from_mode(0o600))?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(file, "{digits}")?;
        file.sync_all()?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    })();
    let _ = fs::remove_file(&beside);
    written
}

fn decode(text: &str, bytes: &mut [u8; ResetKey::BYTES]) -> Option<()> {
    if text.len() != 2 * bytes.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(())
}

/// Enough for the digits and an end of line; a longer file is no key.
const KEY_FILE_BYTES_MAX: u64 = 2 * ResetKey::BYTES as u64 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let directory = Directory::new("once");
        let place = Place::Configured(directory.0.join("below"));
        let first = reset_key(&place).unwrap().unwrap();
        assert_eq!(reset_key(&place).unwrap().unwrap(), first);
        let file = reset_key_file(place.path().unwrap());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let left: Vec<_> = fs::read_dir(place.path().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        fs::remove_file(file).unwrap();
        assert_ne!(reset_key(&place).unwrap().unwrap(), first);
    }

    #[test]
    fn what_is_wrong_ends_a_start_only_where_the_place_is_configured() {
        let directory = Directory::new("wrong");
        let file = reset_key_file(&directory.0);
        for text in ["", "00", "zz".repeat(32).as_str(), "00".repeat(33).as_str()] {
            fs::write(&file, text).unwrap();
            let error = reset_key(&Place::Configured(directory.0.clone()))
                .unwrap_err()
                .to_string();
            assert!(error.contains("reset.key") && error.contains("remove it"), "{error}");
            assert_eq!(reset_key(&Place::Usual(directory.0.clone())).unwrap(), None);
        }
        // A file where the directory should be.
        let error = reset_key(&Place::Configured(file.join("x"))).unwrap_err().to_string();
        assert!(error.contains("reset.key/x"), "{error}");
        assert_eq!(reset_key(&Place::None).unwrap(), None);
    }

    #[test]
    fn the_place_is_configured_or_that_of_systemd_or_of_the_user() {
        let find = |configured: Option<&str>, variables: &[(&str, &str)]| {
            let of = |name: &str| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).into())
            };
            Place::find(configured.map(Path::new), of)
        };
        let all = [("STATE_DIRECTORY", "/a:/b"), ("XDG_STATE_HOME", "/c"), ("HOME", "/d")];
        assert_eq!(find(Some("/e"), &all), Place::Configured("/e".into()));
        assert_eq!(find(Some(""), &all), Place::None);
        assert_eq!(find(None, &all), Place::Usual("/a".into()));
        assert_eq!(find(None, &all[1..]), Place::Usual("/c/moqswitch".into()));
        assert_eq!(find(None, &all[2..]), Place::Usual("/d/.local/state/moqswitch".into()));
        assert_eq!(find(None, &[("HOME", "relative")]), Place::None);
    }

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("moqswitch-state-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
