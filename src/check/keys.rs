//! Configured keys of tokens: readable, well-formed, for verifying, kept from others.

use std::path::Path;

use moqswitch_relay::auth::token::Key;

use crate::config::AuthConfig;
use crate::keys;

use super::access::{self, Access};
use super::{Check, Status, TOKEN_KEYS};

pub(super) fn check(auth: &AuthConfig) -> Check {
    let check = |status, reason: String| Check::new(TOKEN_KEYS, status, reason);
    if let Some(authority) = &auth.authority {
        let ca = authority.ca.as_ref();
        return match ca.map(|ca| (ca, std::fs::File::open(ca))) {
            Some((ca, Err(error))) => check(
                Status::Fail,
                format!("auth.url_ca: cannot read {}: {error}", ca.display()),
            )
            .advise("check the path, and that the user running moqswitch may read it"),
            _ => check(Status::Pass, "none: the auth server of `auth.url` decides".to_owned()),
        };
    }
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
    if let Some((open, access)) = writable(path) {
        return check(
            access.status(),
            format!("{} may be written by {access}", open.display()),
        )
        .advise("who writes there makes keys, and with them tokens for everything: chmod go-w");
    }
    if keys.iter().any(Key::is_private) && is_readable(path) {
        return check(
            Status::Warn,
            format!("{} holds secrets, and others may read it", path.display()),
        )
        .advise(
            "chmod go-rwx; or leave only public halves there, which is all the relay needs but for HS256 to HS512",
        );
    }
    if keys.is_empty() {
        return check(Status::Warn, format!("{} has no key yet", path.display()))
            .advise("every token is refused until there is one; it is seen within 2 s");
    }
    check(Status::Pass, format!("{} in {}", keys.iter().count(), path.display()))
}

/// What of the keys others may write: a file, or the directory that it is in.
fn writable(path: &Path) -> Option<(std::path::PathBuf, Access)> {
    let mut places = vec![path.to_owned()];
    if path.is_dir() {
        places.extend(keys::list(path).unwrap_or_default());
    } else {
        places.extend(access::directory_of(path));
    }
    let open = places.into_iter().filter_map(|place| {
        let access = access::writers(&place)?;
        Some((place, access))
    });
    // The worst is told.
    open.max_by_key(|(_, access)| *access)
}

/// Whether the group or everybody may read the file, or what is in the directory.
fn is_readable(path: &Path) -> bool {
    if !path.is_dir() {
        return access::readers(path).is_some();
    }
    let files = keys::list(path).unwrap_or_default();
    access::readers(path).is_some() && files.iter().any(|file| access::readers(file).is_some())
}
