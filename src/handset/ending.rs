//! What is said to who watches, and how it ends.

use std::fmt::Display;
use std::io::Write;

/// How it ended, when it began at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All was played or heard, or nobody wants more.
    Whole,
    /// There is no such broadcast.
    NotThere(String),
    /// The relay has gone, and why.
    Gone(String),
}

/// A line for who watches. Nobody may.
pub(super) fn tell(line: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
