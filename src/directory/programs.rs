//! Keys of programs that use REST, and what each is for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use moqswitch_signalling::{ApiKey, Scope, Scopes};
use serde::Deserialize;
use toml::Spanned;

use crate::limits::{API_KEYS_MAX, PROGRAMS_BYTES_MAX};

use super::file::{Document, FileError};
use super::secret::{self, SECRET_BYTES_MIN};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    keys: BTreeMap<Spanned<String>, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// SHA-256 of the key, in hexadecimal.
    sha256: Option<Spanned<String>>,
    /// Has the key itself.
    secret_file: Option<Spanned<PathBuf>>,
    scopes: Vec<Spanned<String>>,
}

pub(super) fn read(path: &Path) -> Result<Vec<ApiKey>, FileError> {
    let (document, File { keys }) = Document::read::<File>(path, PROGRAMS_BYTES_MAX)?;
    if keys.len() > API_KEYS_MAX {
        return Err(FileError::new(path, None, format!("has more than {API_KEYS_MAX} keys")));
    }
    keys.iter().map(|(name, entry)| key(&document, name, entry)).collect()
}

fn key(document: &Document, name: &Spanned<String>, entry: &Entry) -> Result<ApiKey, FileError> {
    let scope = |text: &Spanned<String>| {
        let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        let reason = || format!("there is no scope `{}`; there are {}", text.get_ref(), known.join(", "));
        Scope::parse(text.get_ref()).ok_or_else(|| document.fault(text.span(), reason()))
    };
    let scopes: Scopes = entry.scopes.iter().map(scope).collect::<Result<_, _>>()?;
    if entry.scopes.is_empty() {
        let reason = format!("{} needs a scope: without any it may do nothing", name.get_ref());
        return Err(document.fault(name.span(), reason));
    }
    match (&entry.sha256, &entry.secret_file) {
        (Some(digits), None) => match decoded(digits.get_ref()) {
            Some(hash) => Ok(ApiKey::of_hash(name.get_ref(), hash, scopes)),
            None => Err(document.fault(digits.span(), "`sha256` is 64 hexadecimal digits")),
        },
        (None, Some(file)) => {
            let secret = secret::read(&document.beside(file.get_ref()), SECRET_BYTES_MIN)
                .map_err(|error| document.fault(file.span(), format!("`secret_file`: {error}")))?;
            Ok(ApiKey::new(name.get_ref(), &secret, scopes))
        }
        (None, None) | (Some(_), Some(_)) => {
            let reason = format!("{} needs one of `sha256` and `secret_file`", name.get_ref());
            Err(document.fault(name.span(), reason))
        }
    }
}

fn decoded(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
