//! One entry to paths, shared by the fuzz target and the replay of its corpus: whatever the text, there is one normal form,
//! and what is said of it agrees.

use super::BroadcastPath;
use super::escape::escaped;

/// Two texts, cut at the first 0xff. An error describes a broken promise.
pub fn exercise(input: &[u8]) -> Result<usize, String> {
    let mut texts = input.splitn(2, |byte| *byte == 0xff);
    let mut next = || String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
    let (left, right) = (next(), next());
    let (one, other) = (BroadcastPath::new(&left), BroadcastPath::new(&right));
    let fails = |what: &str| Err(format!("{what}: {left:?} {right:?}"));
    for path in [&one, &other] {
        let text = path.as_str();
        if BroadcastPath::new(text) != *path {
            return fails("the normal form has another");
        }
        if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
            return fails("the normal form has an empty segment");
        }
        if path.segments().collect::<Vec<_>>().join("/") != text {
            return fails("the segments are not the path");
        }
        if path.has_control_characters() && escaped(text).to_string().chars().any(char::is_control) {
            return fails("an escaped text has control characters");
        }
        if path.parent().is_some_and(|parent| !path.is_under(&parent)) {
            return fails("a path is not under its parent");
        }
    }
    let joined = one.join(&other);
    if joined.strip_prefix(&one).as_ref() != Some(&other) || !joined.is_under(&one) {
        return fails("what is joined cannot be taken apart");
    }
    if joined.segments().count() != one.segments().count() + other.segments().count() {
        return fails("joining makes or loses segments");
    }
    if one.is_under(&other) != one.strip_prefix(&other).is_some() {
        return fails("under, and without a suffix");
    }
    if (one.cmp(&other) == std::cmp::Ordering::Equal) != (one == other) || one.cmp(&other) != other.cmp(&one).reverse()
    {
        return fails("the order is none");
    }
    Ok(joined.segments().count())
}

/// Inputs to start a fuzzer from.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |name: &str, left: &str, right: &[u8]| (name.to_owned(), [left.as_bytes(), &[0xff], right].concat());
    vec![
        seed("plain", "call/7", b"alice"),
        seed("slashes", "//a///b/", b"/c//"),
        seed("dots", "a/../b", b"./../c"),
        seed("percent", "a%2fb", b"%2e%2e/c"),
        seed("controls", "a\n\u{85}b", b"\x00\x1b[2J"),
        seed("look-alikes", "anon", "\u{430}non/\u{202e}x".as_bytes()),
        seed("no-text", "a", b"\xc0\xaf/\x80"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_hold() {
        for (name, input) in seeds() {
            exercise(&input).unwrap_or_else(|broken| panic!("{name}: {broken}"));
        }
    }
}
