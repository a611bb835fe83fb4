//! Users: numbers, and the passwords by which their devices register.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use moqswitch_signalling::calls::limits::TEXT_BYTES_MAX;
use moqswitch_signalling::calls::{Number, Text};
use moqswitch_signalling::sip::digest::{Algorithm, Ha1};
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
    /// What telephones of SIP are let in by: hexadecimal digits of the MD5 and the SHA-256 of number, realm and password.
    ha1: Option<Spanned<String>>,
    ha1_sha256: Option<Spanned<String>>,
    /// Has the password in the clear.
    password_file: Option<Spanned<PathBuf>>,
    /// Shown to others, whatever the device says.
    name: Option<Spanned<String>>,
    #[serde(default)]
    supervisor: bool,
}

/// `realm` is that of telephones of SIP.
pub(super) fn read(path: &Path, realm: &str) -> Result<Users, FileError> {
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
        users.insert(number, user(&document, key, entry, realm)?);
    }
    Ok(users)
}

fn user(document: &Document, key: &Spanned<String>, entry: &Entry, realm: &str) -> Result<User, FileError> {
    let mut digests = digests(document, key, entry)?;
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
            let of = |algorithm| Ha1::of(algorithm, key.get_ref(), realm, &password);
            digests = vec![of(Algorithm::Sha256), of(Algorithm::Md5)];
            User::of_password(&password, key.get_ref(), entry.supervisor)
                .map_err(|error| document.fault(file.span(), format!("`password_file`: {error}")))
        }
        (None, None) | (Some(_), Some(_)) => {
            let reason = format!("{} needs one of `hash` and `password_file`", key.get_ref());
            Err(document.fault(key.span(), reason))
        }
    }?
    .with_digests(digests);
    match &entry.name {
        Some(name) if name.get_ref().len() > TEXT_BYTES_MAX => {
            Err(document.fault(name.span(), format!("`name` has at most {TEXT_BYTES_MAX} bytes")))
        }
        Some(name) => Ok(user.named(Text::new(name.get_ref()))),
        None => Ok(user),
    }
}

/// Both, or none: a telephone answers whichever it likes best.
fn digests(document: &Document, key: &Spanned<String>, entry: &Entry) -> Result<Vec<Ha1>, FileError> {
    let (Some(md5), Some(sha256)) = (&entry.ha1, &entry.ha1_sha256) else {
        if entry.ha1.is_none() && entry.ha1_sha256.is_none() {
            return Ok(Vec::new());
        }
        let reason = format!("{} needs both of `ha1` and `ha1_sha256`, or none", key.get_ref());
        return Err(document.fault(key.span(), reason));
    };
    let read = |name: &str, algorithm, text: &Spanned<String>| {
        Ha1::from_hex(algorithm, text.get_ref()).ok_or_else(|| {
            let reason = format!("`{name}` is no such hash (`moqswitch user hash --sip NUMBER` makes one)");
            document.fault(text.span(), reason)
        })
    };
    Ok(vec![
        read("ha1_sha256", Algorithm::Sha256, sha256)?,
        read("ha1", Algorithm::Md5, md5)?,
    ])
}
