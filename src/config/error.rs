//! What can be wrong with a configuration, said so that the reader knows what to change and where.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{fmt, io};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    /// Line of a file; the file is unnamed when the text was passed in.
    File {
        path: Option<PathBuf>,
        line: usize,
    },
    Variable(String),
    Flag(&'static str),
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{at}: {message}")]
    Syntax { at: Source, message: String },
    #[error("{at}: unknown key `{key}`{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        at: Source,
        key: String,
        nearest: Option<String>,
    },
    #[error("unknown environment variable `{name}`{}", suggestion(nearest.as_deref()))]
    UnknownVariable { name: String, nearest: Option<String> },
    #[error("{at}: `{key}` must be {expected}")]
    Kind {
        at: Source,
        key: String,
        expected: &'static str,
    },
    #[error("{at}: `{key}` cannot be `{text}`: {reason}")]
    Value {
        at: Source,
        key: &'static str,
        text: String,
        reason: String,
    },
    #[error("{at}: {certificates} certificate(s) but {keys} key(s); each certificate needs its key, in the same order")]
    Unpaired {
        at: Source,
        certificates: usize,
        keys: usize,
    },
    #[error(
        "{address} is reachable from other machines, so anonymous access must be decided: set `auth.public` \
         (MOQSWITCH_AUTH_PUBLIC, --auth-public) to the paths open to everyone, such as `anon/**`, \
         or to `**` for all of them; or set `auth.key`, so that clients need a token; or `auth.url`, so that a server decides; or listen on 127.0.0.1 and [::1] only"
    )]
    PublicAccessUndecided { address: SocketAddr },
    #[error(
        "{at}: `{setting}` needs `tls.client_ca`, and does not go with `auth.url`, whose server decides on certificates"
    )]
    NoClientAuthority { at: Source, setting: &'static str },
    #[error(
        "{at}: calls are enabled, and {address} is reachable from other machines, so it must be decided who may register: \
         set `calls.users` (MOQSWITCH_CALLS_USERS) to a file with numbers and passwords, or `calls.tokens` to the secret of \
         tokens, or `calls.callback` to a program that decides; or listen on 127.0.0.1 and [::1] only. \
         `calls.keys` lets programs of other machines use REST: without it they may not"
    )]
    CallersUndecided { at: Source, address: SocketAddr },
    #[error("{at}: `{setting}` and `auth.url` cannot both be set: with `auth.url` the auth server decides on everyone")]
    TwoDeciders { at: Source, setting: &'static str },
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(formatter, "default"),
            Self::File { path: None, line } => write!(formatter, "line {line}"),
            Self::File { path: Some(path), line } => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(name) => write!(formatter, "flag {name}"),
        }
    }
}

/// The candidate a mistyped `name` most likely meant, if one is close.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.len() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edit distance; the right last word in the wrong section counts as one edit.
fn distance(name: &str, candidate: &str) -> usize {
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let edits = strsim::damerau_levenshtein(name, candidate);
    if edits > 1 && last(name) == last(candidate) {
        1
    } else {
        edits
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `moqswitch config` prints the known ones".to_owned(),
        |nearest| format!(": did you mean `{nearest}`?"),
    )
}
