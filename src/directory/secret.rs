//! Secrets, each in a file of its own: so that a service manager can hand them over, and nothing that is shown has them.

use std::path::Path;

use moqswitch_signalling::TokenKey;
use moqswitch_signalling::limits::SECRET_BYTES_MAX;

use super::file::{self, FileError};

/// What the file says, without the end of its line.
pub(super) fn read(path: &Path, bytes_min: usize) -> Result<String, FileError> {
    let text = file::read(path, SECRET_BYTES_MAX)?;
    let secret = text.trim_end_matches(['\n', '\r']);
    let reason = match secret {
        _ if secret.len() < bytes_min => format!("is no secret: it needs {bytes_min} bytes, and has {}", secret.len()),
        _ if secret.contains(['\n', '\r']) => "is no secret: it has more than one line".to_owned(),
        _ => return Ok(secret.to_owned()),
    };
    Err(FileError::new(path, None, reason))
}

/// The secret that tokens are signed with.
pub(super) fn token_key(path: &Path) -> Result<TokenKey, FileError> {
    read(path, TOKEN_SECRET_BYTES_MIN).map(|secret| TokenKey::new(secret.as_bytes()))
}

/// A secret is compared by a fast hash, so it must not be one that can be guessed.
pub(super) const SECRET_BYTES_MIN: usize = 16;

/// As long as what HMAC-SHA-256 makes of it (RFC 7518, section 3.2).
const TOKEN_SECRET_BYTES_MIN: usize = 32;
