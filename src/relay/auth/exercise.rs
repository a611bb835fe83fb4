//! One entry to patterns, keys, tokens and queries, shared by the fuzz target and the replay of its corpus.
//!
//! A pattern matches what a slow and plain matcher says; what is written is read back the same; a token grants nothing
//! outside of its root, and nothing that its key may not grant.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::rand::SystemRandom;

use super::grant::Grant;
use super::moment::Moment;
use super::pattern::{Pattern, Patterns};
use super::policy::{Credentials, Policy};
use super::token::{Claims, Key, Keys};

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, or there was no input.
    Rejected,
    /// It was taken, and what it gave held.
    Accepted,
}

/// Does what the first byte picks; an error describes a broken promise.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let moment = Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let Some((&selector, body)) = input.split_first() else {
        return Ok(Outcome::Rejected);
    };
    let Ok(text) = std::str::from_utf8(body) else {
        return Ok(Outcome::Rejected);
    };
    let is_accepted = match selector % SELECTORS {
        0 => check_pattern(text)?,
        1 => check_keys(text)?,
        2 => check_claims(text, moment)?,
        3 => keys()?.verify(text).is_ok(),
        _ => check_target(text, moment)?,
    };
    Ok(match is_accepted {
        true => Outcome::Accepted,
        false => Outcome::Rejected,
    })
}

/// Inputs to start a fuzzer from: one of each kind that is accepted, and some that are not.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let token = keys_of_seeds().and_then(|key| {
        key.sign(CLAIMS, &SystemRandom::new())
            .map_err(|error| error.to_string())
    });
    let token = token.unwrap_or_default();
    let seed = |name: &str, selector: u8, text: &str| (name.to_owned(), [&[selector], text.as_bytes()].concat());
    vec![
        seed("pattern", 0, "call/*/a/**\ncall/7/a/b"),
        seed("pattern-inside", 0, "a/**/b*c/*\na/b/bxc/d"),
        seed("key", 1, KEY),
        seed("keys", 1, &format!("{{\"keys\":[{KEY}]}}")),
        seed("claims", 2, CLAIMS),
        seed("claims-older", 2, r#"{"root":"demo","put":"a","get":["","b"],"nbf":1}"#),
        seed("token", 3, &token),
        seed(
            "target",
            4,
            &format!("/demo/x?a=b&jwt=&jwt={}", token.replace('.', "%2E")),
        ),
    ]
}

/// A pattern, and behind a line end a path.
fn check_pattern(text: &str) -> Result<bool, String> {
    let (text, path) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(pattern) = text.parse::<Pattern>() else {
        return Ok(false);
    };
    let segments = |text: &str| -> Vec<String> {
        let segments = text.split('/').filter(|segment| !segment.is_empty());
        segments.map(str::to_owned).collect()
    };
    let expected = plainly_matches(&segments(text), &segments(path));
    if pattern.matches(path) != expected {
        return Err(format!("{text:?} and {path:?}: not {expected}"));
    }
    if expected && !pattern.may_match_below(path) {
        return Err(format!("{text:?} matches {path:?}, and may not match below it"));
    }
    let again: Pattern = pattern
        .to_string()
        .parse()
        .map_err(|error| format!("{pattern} is not read back: {error}"))?;
    if again != pattern || !pattern.contains(&again) || !Pattern::everything().contains(&pattern) {
        return Err(format!("{text:?} comes back as {again}"));
    }
    // A path is a pattern, if it has no stars: to contain it is to match it.
    if let Ok(literal) = Pattern::below("", &segments(path).join("/"))
        && !path.contains('*')
        && pattern.contains(&literal) != expected
    {
        return Err(format!("{text:?} contains {path:?}: not {expected}"));
    }
    Ok(true)
}

/// Each number of segments for `**` in turn.
fn plainly_matches(pattern: &[String], path: &[String]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return path.is_empty();
    };
    if first == "**" {
        return (0..=path.len()).any(|count| plainly_matches(rest, &path[count..]));
    }
    let Some((segment, path)) = path.split_first() else {
        return false;
    };
    let fits = match first.split_once('*') {
        None => first == segment,
        Some((before, behind)) => {
            segment.len() >= before.len() + behind.len() && segment.starts_with(before) && segment.ends_with(behind)
        }
    };
    fits && plainly_matches(rest, path)
}

fn check_keys(text: &str) -> Result<bool, String> {
    let Ok(keys) = Keys::parse(text) else {
        return Ok(false);
    };
    for key in keys.iter() {
        let again = Key::parse(&key.to_json()).map_err(|error| format!("a key is not read back: {error}"))?;
        if again.id() != key.id() || again.algorithm() != key.algorithm() {
            return Err("a key comes back as another".to_owned());
        }
        // Whether it can be signed by depends on numbers that may be anything.
        let _ = key.sign(CLAIMS, &SystemRandom::new());
    }
    let _ = keys.verify("e30.e30.e30");
    Ok(true)
}

fn check_claims(text: &str, moment: Moment) -> Result<bool, String> {
    let key = keys_of_seeds()?;
    let Ok(claims) = Claims::parse(text.as_bytes()) else {
        let signed = key.sign(text, &SystemRandom::new());
        return match signed {
            Ok(_) => Err("claims that are refused were signed".to_owned()),
            Err(_) => Ok(false),
        };
    };
    let root = Pattern::subtree("", &claims.root).map_err(|error| format!("the root: {error}"))?;
    let root = Patterns::new(vec![root]);
    if !root.cover(&claims.publish) || !root.cover(&claims.subscribe) {
        return Err(format!("{claims:?} grants what is not below its root"));
    }
    if claims.publish.is_empty() && claims.subscribe.is_empty() {
        return Err("nothing is granted".to_owned());
    }
    let _ = claims.grant(moment);
    match key
        .sign(text, &SystemRandom::new())
        .map(|token| (keys().map(|keys| keys.verify(&token)), token))
    {
        Ok((Ok(Ok(verified)), _)) if verified == claims => Ok(true),
        // Longer than a token may be.
        Ok((_, token)) if token.len() > super::limits::TOKEN_BYTES_MAX => Ok(false),
        other => Err(format!("{claims:?} comes back as {other:?}")),
    }
}

fn check_target(text: &str, moment: Moment) -> Result<bool, String> {
    let public = Grant::of(Patterns::new(Vec::new()));
    let policy = Policy::uniform(public).with_keys(Some(Arc::new(keys()?)));
    let Ok(admission) = policy.admit(text, Credentials::default(), moment, || true) else {
        return Ok(false);
    };
    match admission.key.is_some() && text.contains("jwt=") && text.starts_with(admission.root) {
        true => Ok(true),
        false => Err(format!("{text:?} was let in without a token")),
    }
}

fn keys_of_seeds() -> Result<Key, String> {
    Key::parse(KEY).map_err(|error| error.to_string())
}

fn keys() -> Result<Keys, String> {
    Keys::parse(KEY).map_err(|error| error.to_string())
}

const KEY: &str = r#"{"kty":"oct","alg":"HS256","kid":"seed","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;
const CLAIMS: &str = r#"{"root":"demo","publish":["a/**/b*"],"subscribe":["**"],"exp":4102444800,"iat":1}"#;
const SELECTORS: u8 = 5;
