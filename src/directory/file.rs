//! A file of TOML, read with bounds, and its faults with their lines.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// What is wrong with a file, and where. Says nothing of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    path: PathBuf,
    /// From 1. `None`: it concerns the whole.
    line: Option<usize>,
    reason: String,
}

/// A file that is TOML of the right form: to say where something stands in it.
pub(super) struct Document {
    path: PathBuf,
    text: String,
}

impl FileError {
    pub(super) fn new(path: &Path, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.line {
            Some(line) => write!(formatter, "{path}:{line}: {}", self.reason),
            None => write!(formatter, "{path}: {}", self.reason),
        }
    }
}

impl std::error::Error for FileError {}

impl Document {
    pub(super) fn read<T: DeserializeOwned>(path: &Path, bytes_max: usize) -> Result<(Self, T), FileError> {
        let text = read(path, bytes_max)?;
        let document = Self {
            path: path.to_owned(),
            text,
        };
        match toml::from_str(&document.text) {
            Ok(value) => Ok((document, value)),
            // Its own words would quote the line, and with it a secret.
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                Err(document.fault(span, error.message()))
            }
        }
    }

    pub(super) fn fault(&self, span: Range<usize>, reason: impl Into<String>) -> FileError {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        FileError::new(&self.path, Some(line), reason)
    }

    /// Where it is: what it names is beside it.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// Text of at most so many bytes.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<String, FileError> {
    let failed = |error: io::Error| FileError::new(path, None, format!("cannot be read: {error}"));
    let mut text = String::new();
    // One byte more than allowed tells a file that is too long from one that just fits.
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let file = File::open(path).map_err(failed)?;
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    match text.len() > bytes_max {
        true => Err(FileError::new(path, None, format!("has more than {bytes_max} bytes"))),
        false => Ok(text),
    }
}
