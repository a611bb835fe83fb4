//! The state directory: there or to be made, with a key that only its owner may read.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::state::{self, Place, StateError};

use super::{Check, STATE_DIRECTORY, Status};

pub(super) fn check(place: &Place) -> Check {
    let check = |status, reason: String| Check::new(STATE_DIRECTORY, status, reason);
    let Some(directory) = place.path() else {
        return check(
            Status::Warn,
            "none: clients learn of a crash when they time out".to_owned(),
        )
        .advise("set `state_directory`, or StateDirectory= in the systemd unit");
    };
    let file = state::reset_key_file(directory);
    let failed = |status, reason: String| check(status, reason).advise("see `state_directory` in the configuration");
    let worst = match place {
        Place::Configured(_) => Status::Fail,
        Place::Usual(_) | Place::None => Status::Warn,
    };
    match state::read_reset_key(&file) {
        Err(StateError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            match nearest(directory).map(|parent| (parent, fs::metadata(parent))) {
                Some((_, Ok(parent))) if parent.is_dir() => check(
                    Status::Pass,
                    format!("{}: a key will be made in it", directory.display()),
                ),
                Some((parent, _)) => failed(worst, format!("{} is no directory", parent.display())),
                None => failed(worst, format!("{} cannot be made", directory.display())),
            }
        }
        Err(error) => failed(worst, error.to_string()),
        Ok(_) => match fs::metadata(&file).map(|file| file.permissions().mode()) {
            Ok(mode) if mode & 0o077 != 0 => check(
                Status::Warn,
                format!("{} may be read by others, who could end connections", file.display()),
            )
            .advise(format!("chmod 600 {}", file.display())),
            _ => check(Status::Pass, directory.display().to_string()),
        },
    }
}

/// What is there of a path.
fn nearest(directory: &Path) -> Option<&Path> {
    directory.ancestors().find(|path| fs::symlink_metadata(path).is_ok())
}
