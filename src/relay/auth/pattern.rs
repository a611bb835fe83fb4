//! Path patterns: which broadcasts may be reached.
//!
//! `*` is exactly one segment, `pre*post` one that begins and ends so, `**` any number of segments, none included. It may
//! stand once in a pattern, anywhere; so `anon/**` also matches `anon`. Slashes at the ends and doubled ones carry no
//! meaning in paths; in patterns of a configuration neither, in those of a token they are an error.
//!
//! To match is linear in the length of the path: what stands before `**` is compared from the front, the rest from the
//! back.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::limits::{PATTERN_BYTES_MAX, PATTERN_SEGMENTS_MAX};

/// One pattern over the segments of a broadcast path.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What `head` goes on from. Patterns of one root share it.
    root: Arc<[Segment]>,
    /// What stands before `**`; everything, if there is none.
    head: Vec<Segment>,
    /// What stands behind `**`. `None`: the pattern has none.
    tail: Option<Vec<Segment>>,
}

/// A path that patterns are put below. It is held once for all of them.
#[derive(Clone, Debug, Default)]
pub struct Root {
    segments: Arc<[Segment]>,
    bytes: usize,
}

/// Patterns any of which grants. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Arc<[Pattern]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Any,
    Literal(Box<str>),
    /// Begins and ends so, and the two do not overlap. Never are both empty.
    Part {
        prefix: Box<str>,
        suffix: Box<str>,
    },
}

/// Why a text is no pattern. Its message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no segment in it.
    #[error("an empty pattern matches nothing useful; write `**` for every path")]
    Empty,
    /// There is a second `**`.
    #[error("`**` may stand in a pattern once")]
    OpenTwice,
    /// A segment, of which this is the beginning, has a second `*`.
    #[error("`{0}` has more than one `*`; a segment may have one")]
    Stars(String),
    /// A slash at an end, or two together.
    #[error("a pattern has no slash at its ends, and none doubled")]
    EmptySegment,
    /// The path that patterns are put below has a `*`.
    #[error("a root has no `*`")]
    RootStar,
    /// It is longer than [`PATTERN_BYTES_MAX`].
    #[error("a pattern has at most {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// It has more segments than [`PATTERN_SEGMENTS_MAX`].
    #[error("a pattern has at most {PATTERN_SEGMENTS_MAX} segments, its root included")]
    TooManySegments,
}

impl Root {
    /// A path; it has no `*`.
    pub fn parse(path: &str) -> Result<Self, PatternError> {
        if path.contains('*') {
            return Err(PatternError::RootStar);
        }
        let mut length = Length::default();
        let parsed = segments(path).map(|text| {
            length.add(text)?;
            Segment::parse(text)
        });
        Ok(Self {
            segments: parsed.collect::<Result<_, _>>()?,
            bytes: length.bytes,
        })
    }

    /// The pattern `text` below it, as tokens have it: an empty text is the root itself.
    pub fn pattern(&self, text: &str) -> Result<Pattern, PatternError> {
        if !text.is_empty() && text.split('/').any(str::is_empty) {
            return Err(PatternError::EmptySegment);
        }
        self.with(segments(text))
    }

    /// `prefix` and every path below it. No star has a meaning here, and none is allowed.
    pub fn subtree(&self, prefix: &str) -> Result<Pattern, PatternError> {
        if prefix.contains('*') {
            return Err(PatternError::Stars(beginning(prefix)));
        }
        let count = self.segments.len() + segments(prefix).count();
        // Below the deepest path there is nothing.
        let open = (count < PATTERN_SEGMENTS_MAX).then_some("**");
        self.with(segments(prefix).chain(open))
    }

    fn with<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Result<Pattern, PatternError> {
        let (mut head, mut tail) = (Vec::new(), None);
        let mut length = Length {
            bytes: self.bytes,
            segments: self.segments.len(),
        };
        for text in texts {
            length.add(text)?;
            if text != "**" {
                tail.as_mut().unwrap_or(&mut head).push(Segment::parse(text)?);
            } else if tail.replace(Vec::new()).is_some() {
                return Err(PatternError::OpenTwice);
            }
        }
        // `*/**` is `**/*`: one form for one meaning.
        if let Some(tail) = &mut tail {
            while head.pop_if(|last| *last == Segment::Any).is_some() {
                tail.insert(0, Segment::Any);
            }
        }
        head.shrink_to_fit();
        Ok(Pattern {
            root: self.segments.clone(),
            head,
            tail,
        })
    }

    /// Memory that it takes, once for all patterns below it.
    pub(super) fn held_bytes(&self) -> usize {
        held_bytes(&self.segments)
    }
}

/// How long a pattern has become.
#[derive(Default)]
struct Length {
    bytes: usize,
    segments: usize,
}

impl Length {
    fn add(&mut self, text: &str) -> Result<(), PatternError> {
        self.bytes += text.len() + 1;
        self.segments += 1;
        if self.bytes > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if self.segments > PATTERN_SEGMENTS_MAX {
            return Err(PatternError::TooManySegments);
        }
        Ok(())
    }
}

impl Pattern {
    /// The pattern `**`.
    pub fn everything() -> Self {
        Self {
            root: Arc::default(),
            head: Vec::new(),
            tail: Some(Vec::new()),
        }
    }

    /// The pattern `text` below the path `root`, see [`Root::pattern`].
    pub fn below(root: &str, text: &str) -> Result<Self, PatternError> {
        Root::parse(root)?.pattern(text)
    }

    /// `prefix` and every path below it, below the path `root`, see [`Root::subtree`].
    pub fn subtree(root: &str, prefix: &str) -> Result<Self, PatternError> {
        Root::parse(root)?.subtree(prefix)
    }

    /// What stands before `**`, the root included.
    fn head(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.root.iter().chain(&self.head)
    }

    fn head_length(&self) -> usize {
        self.root.len() + self.head.len()
    }

    /// Memory that it takes, without its root.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>() + held_bytes(&self.head) + self.tail.as_deref().map_or(0, held_bytes)
    }

    /// Does the pattern match exactly this path?
    pub fn matches(&self, path: &str) -> bool {
        let mut path = segments(path);
        let tail = self.tail.iter().flatten();
        self.head()
            .all(|expected| path.next().is_some_and(|segment| expected.accepts(segment)))
            && tail
                .rev()
                .all(|expected| path.next_back().is_some_and(|segment| expected.accepts(segment)))
            && (self.tail.is_some() || path.next().is_none())
    }

    /// Can any path at or below `prefix` match?
    pub fn may_match_below(&self, prefix: &str) -> bool {
        let mut expected = self.head();
        for segment in segments(prefix) {
            match expected.next() {
                Some(pattern) if pattern.accepts(segment) => {}
                Some(_) => return false,
                None => return self.tail.is_some(),
            }
        }
        true
    }

    /// Does the pattern match every path that `other` matches?
    pub fn contains(&self, other: &Self) -> bool {
        let Some(tail) = &self.tail else {
            let is_as_long = self.head_length() == other.head_length();
            return other.tail.is_none() && is_as_long && covers(self.head(), other.head());
        };
        let shortest = other.head_length() + other.tail.as_ref().map_or(0, Vec::len);
        // Its shortest path must be long enough. What reaches into its `**` must be `*`.
        shortest >= self.head_length() + tail.len()
            && covers(self.head(), other.head())
            && match &other.tail {
                Some(other_tail) => covers(tail.iter().rev(), other_tail.iter().rev()),
                None => covers(tail.iter().rev(), other.head().rev()),
            }
    }
}

/// By what they match, however much of it is a root.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.head().eq(other.head()) && self.tail == other.tail
    }
}

impl Eq for Pattern {}

impl Patterns {
    /// Grants what any of `patterns` grants; nothing when there is none.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns.into())
    }

    /// Grants every path.
    pub fn everything() -> Self {
        Self([Pattern::everything()].into())
    }

    /// Whether one of them is that of every path.
    pub fn is_everything(&self) -> bool {
        self.0.contains(&Pattern::everything())
    }

    /// Whether there is none, so that nothing matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the patterns matches exactly this path.
    pub fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether any path at or below `prefix` can match one of the patterns.
    pub fn may_match_below(&self, prefix: &str) -> bool {
        self.0.iter().any(|pattern| pattern.may_match_below(prefix))
    }

    /// Whether each pattern of `others` is contained in one of these. What only several together contain is not.
    pub fn cover(&self, others: &Self) -> bool {
        let is_covered = |other| self.0.iter().any(|pattern| pattern.contains(other));
        others.0.iter().all(is_covered)
    }
}

/// As a configuration has it.
impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if segments(text).next().is_none() {
            return Err(PatternError::Empty);
        }
        Root::default().with(segments(text))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head().map(Segment::to_string);
        let open = self.tail.is_some().then(|| "**".to_owned());
        let tail = self.tail.iter().flatten().map(Segment::to_string);
        let texts: Vec<String> = head.chain(open).chain(tail).collect();
        formatter.write_str(&texts.join("/"))
    }
}

/// Separated by commas. The pattern of the root alone, which is empty, is put between quotes.
impl fmt::Display for Patterns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |pattern: &Pattern| match pattern.to_string() {
            text if text.is_empty() => "\"\"".to_owned(),
            text => text,
        };
        let texts: Vec<String> = self.0.iter().map(text).collect();
        formatter.write_str(&texts.join(", "))
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text.split_once('*') {
            None => Ok(Self::Literal(text.into())),
            Some(("", "")) => Ok(Self::Any),
            Some((_, suffix)) if suffix.contains('*') => Err(PatternError::Stars(beginning(text))),
            Some((prefix, suffix)) => Ok(Self::Part {
                prefix: prefix.into(),
                suffix: suffix.into(),
            }),
        }
    }

    fn accepts(&self, segment: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(text) => **text == *segment,
            Self::Part { prefix, suffix } => segment
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.ends_with(&**suffix)),
        }
    }

    /// Does it accept every segment that `other` accepts?
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (_, Self::Literal(text)) => self.accepts(text),
            (Self::Literal(_), Self::Part { .. }) => false,
            (
                Self::Part { prefix, suffix },
                Self::Part {
                    prefix: other_prefix,
                    suffix: other_suffix,
                },
            ) => other_prefix.starts_with(&**prefix) && other_suffix.ends_with(&**suffix),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("*"),
            Self::Literal(text) => formatter.write_str(text),
            Self::Part { prefix, suffix } => write!(formatter, "{prefix}*{suffix}"),
        }
    }
}

/// Each of these covers the one of `others` in its place. Where `others` has no more, only `*` will do.
fn covers<'a>(these: impl IntoIterator<Item = &'a Segment>, others: impl IntoIterator<Item = &'a Segment>) -> bool {
    let mut others = others.into_iter();
    these.into_iter().all(|segment| {
        others
            .next()
            .map_or(*segment == Segment::Any, |other| segment.covers(other))
    })
}

/// Memory behind some segments: each has its place, and its texts with what an allocation costs.
fn held_bytes(segments: &[Segment]) -> usize {
    let texts = |segment: &Segment| match segment {
        Segment::Any => 0,
        Segment::Literal(text) => text.len() + ALLOCATION_BYTES,
        Segment::Part { prefix, suffix } => prefix.len() + suffix.len() + 2 * ALLOCATION_BYTES,
    };
    size_of_val(segments) + segments.iter().map(texts).sum::<usize>()
}

fn segments(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// So much of a text as an error may show.
fn beginning(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS_MAX).collect()
}

const SHOWN_CHARACTERS_MAX: usize = 64;

/// What an allocator adds to a small text, about.
const ALLOCATION_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_pattern_matches_whole_segments_only() {
        assert!(pattern("room/1").matches("room/1"));
        assert!(pattern("room/1").matches("/room//1/"));
        assert!(!pattern("room/1").matches("room/12"));
        assert!(!pattern("room/1").matches("room/1/cam"));
        assert!(!pattern("room/1").matches("room"));
    }

    #[test]
    fn star_is_exactly_one_segment() {
        assert!(pattern("*/cam").matches("alice/cam"));
        assert!(!pattern("*/cam").matches("cam"));
        assert!(!pattern("*/cam").matches("a/b/cam"));
        assert!(!pattern("*").matches(""));
    }

    #[test]
    fn double_star_is_any_number_of_segments() {
        assert!(pattern("anon/**").matches("anon"));
        assert!(pattern("anon/**").matches("anon/a/b"));
        assert!(!pattern("anon/**").matches("anonymous"));
        assert!(pattern("**").matches(""));
        assert!(pattern("**").matches("a/b/c"));
    }

    #[test]
    fn double_star_may_stand_anywhere() {
        assert!(pattern("**/chat").matches("chat") && pattern("**/chat").matches("a/b/chat"));
        assert!(!pattern("**/chat").matches("chat/a") && !pattern("**/chat").matches(""));
        assert!(pattern("a/**/b").matches("a/b") && pattern("a/**/b").matches("a/x/y/b"));
        // What stands before it and behind does not share a segment.
        assert!(!pattern("a/**/a").matches("a"));
        assert!(pattern("a/*/**").matches("a/b/c") && !pattern("a/*/**").matches("a"));
    }

    #[test]
    fn a_star_may_stand_for_a_part_of_a_segment() {
        assert!(pattern("a*").matches("a") && pattern("a*").matches("abc") && !pattern("a*").matches("ba"));
        assert!(pattern("*.hang").matches("x.hang") && pattern("**/*.hang").matches("a/.hang"));
        assert!(pattern("ab*b").matches("abb") && !pattern("ab*b").matches("ab"));
        assert!(!pattern("a*").matches("a/b"));
    }

    #[test]
    fn patterns_are_put_below_a_root() {
        let below = |root, text| Pattern::below(root, text).map(|pattern| pattern.to_string());
        assert_eq!(below("/a//b/", "c/*").unwrap(), "a/b/c/*");
        assert_eq!(
            (below("a", "").unwrap(), below("", "").unwrap()),
            ("a".into(), String::new())
        );
        assert_eq!(below("a*", "b"), Err(PatternError::RootStar));
        for text in ["/b", "b/", "b//c", "/"] {
            assert_eq!(below("a", text), Err(PatternError::EmptySegment));
        }
        let subtree = |root, prefix| Pattern::subtree(root, prefix).map(|pattern| pattern.to_string());
        assert_eq!(subtree("a", "/b/").unwrap(), "a/b/**");
        assert_eq!(subtree("a", "b*"), Err(PatternError::Stars("b*".to_owned())));
        let deepest = ["a"; 32].join("/");
        assert_eq!(subtree("", &deepest).unwrap(), deepest);
    }

    #[test]
    fn a_root_is_no_part_of_what_a_pattern_means() {
        let below = |root, text| Pattern::below(root, text).unwrap();
        assert_eq!(below("a/b", "c/*"), pattern("a/b/c/*"));
        assert_ne!(below("a/b", "c"), pattern("a/b"));
        assert!(below("a", "**").contains(&below("a/b", "c/**")) && !below("a/b", "**").contains(&below("a", "c")));
        assert!(below("a", "b").contains(&below("a/b", "")) && pattern("a/b").contains(&below("a/b", "")));
        assert!(below("a", "**/c").contains(&below("a/b/c", "")));
        // It is held once.
        let root = Root::parse(&["x"; 31].join("/")).unwrap();
        let one = root.pattern("a").unwrap();
        assert!(Arc::ptr_eq(&one.root, &root.pattern("b").unwrap().root));
        assert!(
            one.held_bytes() < 256 && root.held_bytes() > 1024,
            "{}",
            one.held_bytes()
        );
    }

    #[test]
    fn one_pattern_contains_another() {
        for (one, other) in [
            ("**", "a/*/b"),
            ("a/**", "a"),
            ("a/**", "a/*/**/b"),
            ("*/**", "a*/**"),
            ("a*", "ab*c"),
            ("**/b", "a/**/b"),
            ("a/*", "a/b"),
        ] {
            assert!(pattern(one).contains(&pattern(other)), "{one}, {other}");
            assert!(!pattern(other).contains(&pattern(one)), "{other}, {one}");
        }
        assert!(!pattern("a/**").contains(&pattern("ab")) && !pattern("a/*/b").contains(&pattern("a/**")));
    }

    #[test]
    fn may_match_below_finds_overlap_in_both_directions() {
        assert!(pattern("anon/**").may_match_below(""));
        assert!(pattern("anon/**").may_match_below("anon/room"));
        assert!(!pattern("anon/**").may_match_below("other"));
        assert!(pattern("a/*/c").may_match_below("a/b"));
        assert!(!pattern("a/*/c").may_match_below("a/b/d"));
        assert!(!pattern("*").may_match_below("rooms/123"));
    }

    #[test]
    fn no_patterns_grant_nothing() {
        let none = Patterns::default();
        assert!(!none.matches(""));
        assert!(!none.may_match_below(""));
        let two = Patterns::new(vec![pattern("a/**"), pattern("b")]);
        assert!(two.matches("a/x") && two.matches("b") && !two.matches("b/x"));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert_eq!("/".parse::<Pattern>(), Err(PatternError::Empty));
        assert_eq!("**/a/**".parse::<Pattern>(), Err(PatternError::OpenTwice));
        for text in ["room**", "***", "a*b*c", "*a*"] {
            assert_eq!(text.parse::<Pattern>(), Err(PatternError::Stars(text.to_owned())));
        }
        assert_eq!("a/".repeat(33).parse::<Pattern>(), Err(PatternError::TooManySegments));
        assert_eq!("a".repeat(1025).parse::<Pattern>(), Err(PatternError::TooLong));
    }

    #[test]
    fn display_round_trips() {
        for text in ["**", "anon/**", "*/cam", "a/b", "**/chat", "a/**/*/b", "a*b/*c/d*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }
}
