//! Broadcast paths: `/`-separated segments, compared and prefixed by whole segments.
//!
//! Always normalised: no leading, trailing or doubled `/`. The draft compares paths byte by byte
//! and says nothing of slashes; the released peers normalise on receipt, and so do we.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::limits::{PATH_BYTES_MAX, PATH_SEGMENTS_MAX};

/// The path of a broadcast, or a prefix of such paths. Clones share one allocation.
///
/// Sorted with `/` below every other byte, so that a path, all paths under it, and then its
/// next sibling follow each other: in a sorted map the paths under a prefix are one run. Scan it
/// from [`range_start`](Self::range_start) while [`is_under`](Self::is_under) holds:
///
/// ```
/// use moqswitch_proto::wire::BroadcastPath;
/// let paths = ["a", "a!b", "a/b", "b"].map(BroadcastPath::new);
/// let map: std::collections::BTreeSet<_> = paths.into_iter().collect();
/// let prefix = BroadcastPath::new("a");
/// let under: Vec<_> = map.range(prefix.range_start()..).take_while(|path| path.is_under(&prefix)).collect();
/// assert_eq!(under, [&BroadcastPath::new("a"), &BroadcastPath::new("a/b")]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BroadcastPath(Arc<str>);

/// The name of a track within its broadcast; opaque, any UTF-8.
pub type TrackName = Arc<str>;

impl BroadcastPath {
    /// Normalises `text`; nothing is refused here (see [`is_within_limits`](Self::is_within_limits)).
    pub fn new(text: &str) -> Self {
        let trimmed = text.trim_matches('/');
        if !trimmed.contains("//") {
            return Self(Arc::from(trimmed));
        }
        let mut normal = String::with_capacity(trimmed.len());
        for segment in trimmed.split('/').filter(|segment| !segment.is_empty()) {
            if !normal.is_empty() {
                normal.push('/');
            }
            normal.push_str(segment);
        }
        Self(Arc::from(normal))
    }

    /// The empty path: the prefix of every path.
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// The path in its normal form: no `/` at either end, none doubled. Empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has characters that no name needs and that a line of a log or a list would be broken by (Unicode
    /// general category Cc: U+0000 to U+001F, U+007F to U+009F). The drafts allow them; the relay refuses them.
    pub fn has_control_characters(&self) -> bool {
        self.0.chars().any(char::is_control)
    }

    /// Whether this is the empty path, the prefix of every path.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The segments from the root; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// This path with `suffix` below it.
    pub fn join(&self, suffix: &BroadcastPath) -> BroadcastPath {
        if self.is_root() {
            return suffix.clone();
        }
        if suffix.is_root() {
            return self.clone();
        }
        let mut joined = String::with_capacity(self.0.len() + 1 + suffix.0.len());
        joined.push_str(&self.0);
        joined.push('/');
        joined.push_str(&suffix.0);
        Self(Arc::from(joined))
    }

    /// Suffix below `prefix`, matching whole segments ("a/b" is under "a", "ab" is not); `None`
    /// when not under it.
    pub fn strip_prefix(&self, prefix: &BroadcastPath) -> Option<BroadcastPath> {
        if prefix.is_root() {
            return Some(self.clone());
        }
        self.suffix(prefix).map(|suffix| Self(Arc::from(suffix)))
    }

    /// Whether this path is `prefix` or below it, by whole segments. Does not allocate.
    pub fn is_under(&self, prefix: &BroadcastPath) -> bool {
        prefix.is_root() || self.suffix(prefix).is_some()
    }

    /// The least path under this one in sort order, which is the path itself: where a scan of
    /// everything under it starts.
    pub fn range_start(&self) -> BroadcastPath {
        self.clone()
    }

    /// The next shorter prefix; `None` for the root.
    pub fn parent(&self) -> Option<BroadcastPath> {
        if self.is_root() {
            return None;
        }
        let parent = self.0.rsplit_once('/').map_or("", |(parent, _)| parent);
        Some(Self(Arc::from(parent)))
    }

    /// Whether peers accept this path. Joining paths that are within the limits can exceed them.
    pub fn is_within_limits(&self) -> bool {
        self.0.len() <= PATH_BYTES_MAX && self.segments().count() <= PATH_SEGMENTS_MAX
    }

    /// What follows a prefix that is not the root.
    fn suffix(&self, prefix: &BroadcastPath) -> Option<&str> {
        let rest = self.0.strip_prefix(prefix.as_str())?;
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix('/')
        }
    }
}

impl Ord for BroadcastPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        match left.iter().zip(right).find(|(left, right)| left != right) {
            Some((b'/', _)) => Ordering::Less,
            Some((_, b'/')) => Ordering::Greater,
            Some((left, right)) => left.cmp(right),
            None => left.len().cmp(&right.len()),
        }
    }
}

impl PartialOrd for BroadcastPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for BroadcastPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&str> for BroadcastPath {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn path(text: &str) -> BroadcastPath {
        BroadcastPath::new(text)
    }

    #[test]
    fn slashes_are_normalised() {
        for text in ["a/b", "/a/b", "a/b/", "//a///b//"] {
            assert_eq!(path(text).as_str(), "a/b");
        }
        for text in ["", "/", "///"] {
            assert!(path(text).is_root());
            assert_eq!(path(text), BroadcastPath::root());
        }
    }

    #[test]
    fn prefixes_match_whole_segments() {
        assert_eq!(path("a/b/c").strip_prefix(&path("a/b")), Some(path("c")));
        assert_eq!(path("a/b").strip_prefix(&path("a/b")), Some(BroadcastPath::root()));
        assert_eq!(path("a/b").strip_prefix(&BroadcastPath::root()), Some(path("a/b")));
        assert_eq!(path("ab").strip_prefix(&path("a")), None);
        assert_eq!(path("a").strip_prefix(&path("a/b")), None);
        assert_eq!(BroadcastPath::root().strip_prefix(&path("a")), None);
        assert!(path("é/x").is_under(&path("é")));
    }

    #[test]
    fn join_undoes_strip_prefix() {
        for (prefix, suffix) in [("a", "b"), ("", "b"), ("a", ""), ("", ""), ("a/b", "c/d")] {
            let joined = path(prefix).join(&path(suffix));
            assert_eq!(joined, path(&format!("{prefix}/{suffix}")));
            assert_eq!(joined.strip_prefix(&path(prefix)), Some(path(suffix)));
        }
    }

    #[test]
    fn parents_lead_to_the_root() {
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), Some(BroadcastPath::root()));
        assert_eq!(BroadcastPath::root().parent(), None);
    }

    #[test]
    fn paths_under_a_prefix_are_contiguous() {
        let texts = [
            "", "a", "a\0b", "a!", "a!/b", "a-b", "a/", "a/\0", "a/b", "a/b!", "a/b/c", "a/é", "a0", "aa/b", "b", "é",
            "é/a",
        ];
        let sorted: BTreeSet<BroadcastPath> = texts.into_iter().map(BroadcastPath::new).collect();
        for prefix in &sorted {
            let run: Vec<_> = sorted
                .range(prefix.range_start()..)
                .take_while(|path| path.is_under(prefix))
                .collect();
            let all: Vec<_> = sorted.iter().filter(|path| path.is_under(prefix)).collect();
            assert_eq!(run, all, "prefix {prefix:?}");
        }
    }

    #[test]
    fn order_agrees_with_equality() {
        let texts = ["", "a", "a/b", "a!b", "ab", "a/b/c", "b"];
        for left in texts.map(BroadcastPath::new) {
            for right in texts.map(BroadcastPath::new) {
                assert_eq!(left.cmp(&right), right.cmp(&left).reverse());
                assert_eq!(left.cmp(&right) == Ordering::Equal, left == right);
            }
        }
    }

    #[test]
    fn depth_and_length_are_limited() {
        assert!(path(&vec!["a"; PATH_SEGMENTS_MAX].join("/")).is_within_limits());
        assert!(!path(&vec!["a"; PATH_SEGMENTS_MAX + 1].join("/")).is_within_limits());
        assert!(path(&"a".repeat(PATH_BYTES_MAX)).is_within_limits());
        assert!(!path(&"a".repeat(PATH_BYTES_MAX + 1)).is_within_limits());
        assert!(BroadcastPath::root().is_within_limits());
    }
}
