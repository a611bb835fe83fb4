//! Why a text is no dialplan, with the line.

use std::fmt;

use super::pattern::PatternError;
use super::schedule::ScheduleError;
use super::target::TargetError;
use crate::codec::UnknownCodec;
use crate::ids::NameError;

/// Why a text is no dialplan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialplanError {
    /// Where, from 1. None: it concerns the whole.
    pub line: Option<usize>,
    /// What.
    pub fault: Fault,
}

/// What is wrong with a dialplan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// It is longer than plans may be.
    #[error("a dialplan has at most {0} bytes")]
    TooLong(usize),
    /// A key that nothing has.
    #[error("there is no `{key}` here; known are {known}")]
    UnknownKey {
        /// What is written.
        key: String,
        /// What could be.
        known: String,
    },
    /// Something that has to be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A value of another kind.
    #[error("`{key}` is {expected}")]
    Kind {
        /// Whose value.
        key: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// More entries than plans may have.
    #[error("`{key}` has at most {max} entries")]
    TooMany {
        /// Of what.
        key: String,
        /// How many there may be.
        max: usize,
    },
    /// Something refers to what is not there.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Two keys that exclude each other.
    #[error("`{0}` and `{1}` exclude each other")]
    Both(&'static str, &'static str),
    /// A pattern.
    #[error("{0}")]
    Pattern(#[from] PatternError),
    /// A time condition.
    #[error("{0}")]
    Schedule(#[from] ScheduleError),
    /// A target.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// A number.
    #[error("{0}")]
    Number(#[from] NameError),
    /// A codec.
    #[error("{0}")]
    Codec(#[from] UnknownCodec),
}

impl fmt::Display for DialplanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "line {line}: {}", self.fault),
            None => self.fault.fmt(formatter),
        }
    }
}

impl std::error::Error for DialplanError {}
