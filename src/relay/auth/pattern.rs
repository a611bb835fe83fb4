//! Path patterns that say which broadcasts anonymous peers may reach.
//! `*` is exactly one segment, a final `**` any number of segments, none included;
//! so `anon/**` also matches `anon`. Slashes at the ends and doubled ones carry no meaning,
//! in patterns as in paths.
use std::fmt;
use std::str::FromStr;

/// One pattern over the segments of a broadcast path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// The pattern ends in `**`.
    open: bool,
}

/// Patterns any of which grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Any,
    Literal(String),
}

/// Why a text is no pattern. Its message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no segment in it.
    #[error("an empty pattern matches nothing useful; write `**` for every path")]
    Empty,
    /// `**` stands before another segment.
    #[error("`**` may only be the last segment")]
    OpenInside,
    /// A segment, which is named here, has a `*` and something else.
    #[error("`{0}` mixes `*` with text; a wildcard stands for a whole segment")]
    PartialWildcard(String),
}

impl Pattern {
    /// The pattern `**`.
    pub fn everything() -> Self {
        Self {
            segments: Vec::new(),
            open: true,
        }
    }

    /// Does the pattern match exactly this path?
    pub fn matches(&self, path: &str) -> bool {
        let mut path = segments(path);
        for expected in &self.segments {
            match path.next() {
                Some(segment) if expected.accepts(segment) => {}
                _ => return false,
            }
        }
        self.open || path.next().is_none()
    }

    /// Can any path at or below `prefix` match?
    pub fn may_match_below(&self, prefix: &str) -> bool {
        let mut expected = self.segments.iter();
        for segment in segments(prefix) {
            match expected.next() {
                Some(pattern) if pattern.accepts(segment) => {}
                Some(_) => return false,
                None => return self.open,
            }
        }
        true
    }
}

impl Patterns {
    /// Grants what any of `patterns` grants; nothing when there is none.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    /// Grants every path.
    pub fn everything() -> Self {
        Self(vec![Pattern::everything()])
    }

    /// Whether one of the patterns matches exactly this path.
    pub fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether any path at or below `prefix` can match one of the patterns.
    pub fn may_match_below(&self, prefix: &str) -> bool {
        self.0.iter().any(|pattern| pattern.may_match_below(prefix))
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pattern = Self {
            segments: Vec::new(),
            open: false,
        };
        for segment in segments(text) {
            if pattern.open {
                return Err(PatternError::OpenInside);
            }
            match segment {
                "**" => pattern.open = true,
                "*" => pattern.segments.push(Segment::Any),
                _ if segment.contains('*') => {
                    return Err(PatternError::PartialWildcard(segment.to_owned()));
                }
                _ => pattern.segments.push(Segment::Literal(segment.to_owned())),
            }
        }
        if pattern.segments.is_empty() && !pattern.open {
            return Err(PatternError::Empty);
        }
        Ok(pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for segment in &self.segments {
            let text = match segment {
                Segment::Any => "*",
                Segment::Literal(text) => text,
            };
            write!(formatter, "{separator}{text}")?;
            separator = "/";
        }
        if self.open {
            write!(formatter, "{separator}**")?;
        }
        Ok(())
    }
}

impl Segment {
    fn accepts(&self, segment: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(text) => text == segment,
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

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
        assert_eq!("**/a".parse::<Pattern>(), Err(PatternError::OpenInside));
        assert_eq!(
            "room*".parse::<Pattern>(),
            Err(PatternError::PartialWildcard("room*".to_owned()))
        );
    }

    #[test]
    fn display_round_trips() {
        for text in ["**", "anon/**", "*/cam", "a/b"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }
}
