//! What claims and the scope of a key grant: `publish` and `subscribe`, which are lists of patterns, or the older `put` and
//! `get`, which are prefixes. One document has one of the two forms.

use serde_json::Value;

use crate::auth::grant::Grant;
use crate::auth::limits::{GRANT_BYTES_MAX, PATTERNS_MAX};
use crate::auth::pattern::{Pattern, PatternError, Patterns, Root};

use super::members::Members;

/// Why what is granted cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternsError {
    /// A member has a wrong type; `null` is one.
    #[error("`{0}` has a wrong type")]
    Type(&'static str),
    /// Both forms are there.
    #[error("`put` and `get` do not go together with `publish` and `subscribe`")]
    Mixed,
    /// A text is no pattern, or not below its root.
    #[error("{0}")]
    Pattern(#[from] PatternError),
    /// There are more than [`PATTERNS_MAX`] for one direction.
    #[error("more than {PATTERNS_MAX} patterns for one direction")]
    TooMany,
    /// They take more memory than [`GRANT_BYTES_MAX`].
    #[error("patterns that take more than {GRANT_BYTES_MAX} bytes of memory")]
    TooLarge,
    /// There is no pattern.
    #[error("nothing is granted")]
    Nothing,
}

/// Full paths: the root is part of the patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) root: String,
    pub(super) publish: Patterns,
    pub(super) subscribe: Patterns,
}

/// Whether a prefix may stand for a list of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefixes {
    OneOrMany,
    Many,
}

impl Granted {
    pub(super) fn take(members: &mut Members, prefixes: Prefixes) -> Result<Self, PatternsError> {
        // All are taken before any is looked at: what is left then is unknown.
        let root = members.take("root");
        let [put, get, publish, subscribe] = ["put", "get", "publish", "subscribe"].map(|name| members.take(name));
        let root = match root {
            None => String::new(),
            Some(Value::String(root)) => root,
            Some(_) => return Err(PatternsError::Type("root")),
        };
        let older = [texts(put, "put", prefixes)?, texts(get, "get", prefixes)?];
        let newer = [
            texts(publish, "publish", Prefixes::Many)?,
            texts(subscribe, "subscribe", Prefixes::Many)?,
        ];
        let is_older = older.iter().any(Option::is_some);
        if is_older && newer.iter().any(Option::is_some) {
            return Err(PatternsError::Mixed);
        }
        let lists = if is_older { older } else { newer };
        let below = match is_older {
            true => Root::subtree,
            false => Root::pattern,
        };
        let [publish, subscribe] = patterns_below(&root, lists.map(Option::unwrap_or_default), below)?;
        if publish.is_empty() && subscribe.is_empty() {
            return Err(PatternsError::Nothing);
        }
        Ok(Self {
            root,
            publish,
            subscribe,
        })
    }
}

/// What an auth server grants: `publish` and `subscribe`, lists of patterns below a path. Within the bounds of a token.
pub fn grant_below(root: &str, publish: Vec<String>, subscribe: Vec<String>) -> Result<Grant, PatternsError> {
    for texts in [&publish, &subscribe] {
        if texts.len() > PATTERNS_MAX {
            return Err(PatternsError::TooMany);
        }
    }
    let [publish, subscribe] = patterns_below(root, [publish, subscribe], Root::pattern)?;
    if publish.is_empty() && subscribe.is_empty() {
        return Err(PatternsError::Nothing);
    }
    Ok(Grant {
        publish,
        subscribe,
        ..Grant::nothing()
    })
}

/// All share the root, and one bound in memory.
fn patterns_below(
    root: &str,
    lists: [Vec<String>; 2],
    below: fn(&Root, &str) -> Result<Pattern, PatternError>,
) -> Result<[Patterns; 2], PatternsError> {
    let root = Root::parse(root)?;
    let mut held_bytes = root.held_bytes();
    let mut read = |texts: Vec<String>| -> Result<Patterns, PatternsError> {
        let mut patterns = Vec::new();
        for text in texts {
            let pattern = below(&root, &text)?;
            held_bytes += pattern.held_bytes();
            if held_bytes > GRANT_BYTES_MAX {
                return Err(PatternsError::TooLarge);
            }
            patterns.push(pattern);
        }
        Ok(Patterns::new(patterns))
    };
    let [publish, subscribe] = lists;
    Ok([read(publish)?, read(subscribe)?])
}

fn texts(value: Option<Value>, name: &'static str, prefixes: Prefixes) -> Result<Option<Vec<String>>, PatternsError> {
    let texts = match value {
        None => return Ok(None),
        Some(Value::String(text)) if prefixes == Prefixes::OneOrMany => vec![Value::String(text)],
        Some(Value::Array(texts)) => texts,
        Some(_) => return Err(PatternsError::Type(name)),
    };
    if texts.len() > PATTERNS_MAX {
        return Err(PatternsError::TooMany);
    }
    let texts = texts.into_iter().map(|text| match text {
        Value::String(text) => Ok(text),
        _ => Err(PatternsError::Type(name)),
    });
    texts.collect::<Result<_, _>>().map(Some)
}
