//! Configured keys of tokens: readable, well-formed, for verifying, kept from others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use moqswitch_relay::auth::token::Key;

use crate::config::AuthConfig;
use crate::keys;

use super::{Check, Status, TOKEN_KEYS};

pub(super) fn check(auth: &AuthConfig) -> Check {
    let check = |status, reason: String| Check::new(TOKEN_KEYS, status, reason);
    let Some(path) = &auth.key else {
        return check(Status::Pass, "none configured: there are no tokens".to_owned());
    };
    let keys = match keys::load(path) {
        Ok(keys) => keys,
        Err(error) => {
            return check(Status::Fail, error.to_string()).advise(
                "check the path in `auth.key`, that the user running moqswitch may read it, and that each key is a JWK; \
                 `moqswitch token generate` makes one",
            );
        }
    };
    if let Some(key) = keys.iter().find(|key| !key.may_verify()) {
        let name = key.id().unwrap_or("without a name");
        return check(Status::Fail, format!("the key {name} is not for verifying"))
            .advise("take `verify` up in its `key_ops`");
    }
    if keys.iter().any(Key::is_private) && is_open(path) {
        return check(
            Status::Warn,
            format!("{} holds secrets, and others may read it", path.display()),
        )
        .advise(
            "chmod go-rwx; or leave only public halves there, which is all the relay needs but for HS256 to HS512",
        );
    }
    check(Status::Pass, format!("{} in {}", keys.iter().count(), path.display()))
}

/// Whether the group or everybody may read the file, or what is in the directory.
fn is_open(path: &Path) -> bool {
    let is_readable = |path: &Path| {
        let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o044 != 0)
    };
    if !path.is_dir() {
        return is_readable(path);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    is_readable(path) && entries.map(|entry| entry.path()).any(|file| is_readable(&file))
}
