//! Who besides its owner may read or write a file.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Status;

/// From few to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Group,
    Everybody,
}

impl Access {
    /// A group may be meant; everybody is not.
    pub(super) fn status(self) -> Status {
        match self {
            Self::Group => Status::Warn,
            Self::Everybody => Status::Fail,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Group => "its group",
            Self::Everybody => "everybody",
        })
    }
}

/// Who may read it. `None`: its owner alone.
pub(super) fn readers(path: &Path) -> Option<Access> {
    access(path, 0o4)
}

/// Who may write it; of a directory, who may put files there or replace others' files. `None`: its owner alone.
pub(super) fn writers(path: &Path) -> Option<Access> {
    access(path, 0o2)
}

/// The directory in which a file could be replaced. Not one like /tmp, in which only owners replace their files.
pub(super) fn directory_of(file: &Path) -> Option<PathBuf> {
    let directory = fs::canonicalize(file).ok()?.parent()?.to_owned();
    let mode = fs::metadata(&directory).ok()?.permissions().mode();
    (mode & STICKY == 0).then_some(directory)
}

/// `bit` is that of everybody.
fn access(path: &Path, bit: u32) -> Option<Access> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    match (mode & bit != 0, mode & bit << 3 != 0) {
        (true, _) => Some(Access::Everybody),
        (false, true) => Some(Access::Group),
        (false, false) => None,
    }
}

const STICKY: u32 = 0o1000;
