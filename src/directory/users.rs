//! Users: numbers, and the passwords by which their devices register.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use moqswitch_signalling::calls::limits::TEXT_BYTES_MAX;
use moqswitch_signalling::calls::{Number, Text};
use moqswitch_signalling::{User, Users};
use serde::Deserialize;
use toml::Spanned;

use crate::limits::{PASSWORD_FILES_MAX, USERS_BYTES_MAX, USERS_MAX};

use super::file::{Document, FileError};
use super::secret;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    users: BTreeMap<Spanned<String>, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// By `moqswitch user hash`.
    hash: Option<Spanned<String>>,
    /// Has the password in the clear.
    password_file: Option<Spanned<PathBuf>>,
    /// Shown to others, whatever the device says.
    name: Option<Spanned<String>>,
    #[serde(default)]
    supervisor: bool,
}

pub(super) fn read(path: &Path) -> Result<Users, FileError> {
    let (document, File { users: entries }) = Document::read::<File>(path, USERS_BYTES_MAX)?;
    if entries.len() > USERS_MAX {
        return Err(FileError::new(path, None, format!("has more than {USERS_MAX} users")));
    }
    let in_files = entries.values().filter(|entry| entry.password_file.is_some()).count();
    if in_files > PASSWORD_FILES_MAX {
        let reason = format!(
            "has more than {PASSWORD_FILES_MAX} users with `password_file`: each is hashed at the start and at SIGHUP; \
             use `hash`"
        );
        return Err(FileError::new(path, None, reason));
    }
    let mut users = Users::default();
    for (key, entry) in &entries {
        let number = Number::new(key.get_ref()).map_err(|error| document.fault(key.span(), error.to_string()))?;
        users.insert(number, user(&document, key, entry)?);
    }
    Ok(users)
}

fn user(document: &Document, key: &Spanned<String>, entry: &Entry) -> Result<User, FileError> {
    let user = match (&entry.hash, &entry.password_file) {
        (Some(hash), None) => User::new(hash.get_ref(), entry.supervisor).map_err(|error| {
            document.fault(
                hash.span(),
                format!("`hash`: {error} (`moqswitch user hash` makes one)"),
            )
        }),
        (None, Some(file)) => {
            let password = secret::read(&document.beside(file.get_ref()), 1)
                .map_err(|error| document.fault(file.span(), format!("`password_file`: {error}")))?;
            User::of_password(&password, key.get_ref(), entry.supervisor)
                .map_err(|error| document.fault(file.span(), format!("`password_file`: {error}")))
        }
        (None, None) | (Some(_), Some(_)) => {
            let reason = format!("{} needs one of `hash` and `password_file`", key.get_ref());
            Err(document.fault(key.span(), reason))
        }
    }?;
    match &entry.name {
        Some(name) if name.get_ref().len() > TEXT_BYTES_MAX => {
            Err(document.fault(name.span(), format!("`name` has at most {TEXT_BYTES_MAX} bytes")))
        }
        Some(name) => Ok(user.named(Text::new(name.get_ref()))),
        None => Ok(user),
    }
}
