//! Patterns of dialled numbers, as Asterisk has them.
//!
//! A text that begins with `_` is a pattern: `X` is a digit, `Z` one of 1 to 9, `N` one of 2 to 9, `[13-5]` one of these,
//! `.` at the end at least one more character of any kind, `!` at the end any number of them, none included. Any other
//! character is itself. A text without `_` is the number itself.

use std::fmt;

use crate::limits::NUMBER_BYTES_MAX;

/// Which numbers a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    pieces: Vec<Piece>,
    rest: Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(u8),
    /// One bit for each ASCII character.
    Set(u128),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing follows.
    None,
    /// At least one more.
    Some,
    /// Any number more.
    Any,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing would match.
    #[error("the pattern is empty")]
    Empty,
    /// It is longer than numbers are.
    #[error("the pattern is longer than any number")]
    TooLong,
    /// Something follows `.` or `!`.
    #[error("`.` and `!` end a pattern")]
    RestInside,
    /// A `[` without its `]`.
    #[error("`[` has no `]`")]
    Open,
    /// Nothing, or a range that runs backwards, between `[` and `]`.
    #[error("between `[` and `]` stand characters and ranges such as 1-5")]
    Set,
    /// Numbers do not have this character.
    #[error("a pattern has letters, digits and + * # - _ . ! @ [ ]")]
    Character,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > NUMBER_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err(PatternError::Character);
        }
        let mut pattern = Self {
            text: text.to_owned(),
            pieces: Vec::new(),
            rest: Rest::None,
        };
        let Some(body) = text.strip_prefix('_') else {
            pattern.pieces = text.bytes().map(Piece::Literal).collect();
            return if text.is_empty() {
                Err(PatternError::Empty)
            } else {
                Ok(pattern)
            };
        };
        let mut bytes = body.bytes();
        while let Some(byte) = bytes.next() {
            if pattern.rest != Rest::None {
                return Err(PatternError::RestInside);
            }
            match byte {
                b'X' => pattern.pieces.push(Piece::Set(range(b'0', b'9'))),
                b'Z' => pattern.pieces.push(Piece::Set(range(b'1', b'9'))),
                b'N' => pattern.pieces.push(Piece::Set(range(b'2', b'9'))),
                b'.' => pattern.rest = Rest::Some,
                b'!' => pattern.rest = Rest::Any,
                b'[' => pattern.pieces.push(Piece::Set(set(&mut bytes)?)),
                byte => pattern.pieces.push(Piece::Literal(byte)),
            }
        }
        if pattern.pieces.is_empty() && pattern.rest == Rest::None {
            return Err(PatternError::Empty);
        }
        Ok(pattern)
    }

    /// Is this number meant? Linear in its length.
    pub(super) fn matches(&self, number: &str) -> bool {
        let bytes = number.as_bytes();
        let Some((front, rest)) = bytes.split_at_checked(self.pieces.len()) else {
            return false;
        };
        let accepts = |(piece, byte): (&Piece, &u8)| match piece {
            Piece::Literal(literal) => literal == byte,
            Piece::Set(set) => byte.is_ascii() && set >> byte & 1 == 1,
        };
        self.pieces.iter().zip(front).all(accepts)
            && match self.rest {
                Rest::None => rest.is_empty(),
                Rest::Some => !rest.is_empty(),
                Rest::Any => true,
            }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// What stands up to the `]`.
fn set(bytes: &mut std::str::Bytes<'_>) -> Result<u128, PatternError> {
    let mut characters = Vec::new();
    loop {
        match bytes.next() {
            Some(b']') => break,
            Some(byte) => characters.push(byte),
            None => return Err(PatternError::Open),
        }
    }
    let mut set = 0;
    let mut rest = characters.as_slice();
    while let Some((&first, behind)) = rest.split_first() {
        rest = match behind {
            [b'-', last, behind @ ..] if *last >= first => {
                set |= range(first, *last);
                behind
            }
            [b'-', _, ..] => return Err(PatternError::Set),
            _ => {
                set |= range(first, first);
                behind
            }
        };
    }
    if set == 0 { Err(PatternError::Set) } else { Ok(set) }
}

/// The characters from one to another, both included, as bits. Both are ASCII.
fn range(first: u8, last: u8) -> u128 {
    (first..=last.min(127)).fold(0, |set, byte| set | 1 << (byte & 127))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, number: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(number)
    }

    #[test]
    fn patterns_are_those_of_asterisk() {
        assert!(matches("_9XXX.", "90301"));
        assert!(!matches("_9XXX.", "9030"));
        assert!(matches("_9XXX!", "9030"));
        assert!(matches("_NXX", "200") && !matches("_NXX", "100"));
        assert!(matches("_ZX", "19") && !matches("_ZX", "09"));
        assert!(matches("_[13-5]X", "40") && !matches("_[13-5]X", "20"));
        assert!(matches("_.", "alice") && !matches("_.", ""));
        assert!(matches("_+49.", "+4930") && !matches("_+49.", "4930"));
        assert!(matches("5001", "5001") && !matches("5001", "50011") && !matches("5001", "500"));
        // Without `_` letters are letters.
        assert!(matches("XN", "XN") && !matches("XN", "12"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let error = |text| Pattern::parse(text).unwrap_err();
        assert_eq!(error(""), PatternError::Empty);
        assert_eq!(error("_"), PatternError::Empty);
        assert_eq!(error("_9.X"), PatternError::RestInside);
        assert_eq!(error("_[12"), PatternError::Open);
        assert_eq!(error("_[]"), PatternError::Set);
        assert_eq!(error("_[5-1]"), PatternError::Set);
        assert_eq!(error("_ä"), PatternError::Character);
        assert_eq!(error(&"1".repeat(200)), PatternError::TooLong);
    }
}
