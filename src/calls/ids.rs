//! Names of things: calls, legs, sessions, requests, numbers. Each is a type of its own, and each text is bounded and
//! has no control characters, so that no adapter has to look at it again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{FILE_NAME_BYTES_MAX, NUMBER_BYTES_MAX, PAYLOAD_BYTES_MAX, TEXT_BYTES_MAX};

/// One conversation: 128 random bits. It is part of the paths of its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CallId(pub u128);

/// A leg within the call that it began in, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegNumber(pub u16);

/// A leg. `call` is the call that it began in: it stays the same when the leg is moved to another conversation, so that
/// the path of its broadcast stays the same, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegId {
    /// Where the leg began.
    pub call: CallId,
    /// Which of its legs it is.
    pub leg: LegNumber,
}

/// A registered device's session: 128 random bits that the adapter chose. It survives the loss of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SessionId(pub u128);

/// A request of an adapter. Its one [`Reply`](crate::Reply) has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// An announcement that is played once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlayId(pub u64);

/// A question to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookId(pub u64);

/// What is dialled: letters, digits and `+ * # - _ . @`, at most [`NUMBER_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Number(Arc<str>);

/// A text for people or of an adapter: at most [`TEXT_BYTES_MAX`] bytes, without characters that control how it, or what
/// stands beside it, is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Text(Arc<str>);

/// What is handed on unread (SDP, a candidate, metadata): at most [`PAYLOAD_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Payload(Arc<str>);

/// Why a text is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It has more bytes than its kind may have.
    #[error("it is too long")]
    TooLong,
    /// A character that numbers do not have.
    #[error("a number has letters, digits and + * # - _ . @ only")]
    Character,
    /// An id that is not 32 hexadecimal digits.
    #[error("an id has 32 hexadecimal digits")]
    Digits,
}

impl LegId {
    /// The broadcast that the leg publishes.
    pub fn path(self) -> String {
        format!("call/{}/{}", self.call, self.leg)
    }

    /// The leg whose broadcast has this path, if it is one's.
    pub fn of_path(path: &str) -> Option<Self> {
        let (call, leg) = path.strip_prefix("call/")?.split_once('/')?;
        let (call, number) = (call.parse().ok()?, leg.parse().ok()?);
        let id = Self {
            call,
            leg: LegNumber(number),
        };
        (id.path() == path).then_some(id)
    }
}

impl Text {
    /// The name of a file of sound without its ending. `None`: files are not called so.
    pub fn of_file(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte);
        let is_name = (1..=FILE_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain);
        (is_name && text.trim() == text && !text.starts_with('.')).then(|| Self::new(text))
    }
}

impl Number {
    /// Takes a number as it was dialled.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NUMBER_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let is_dialable = |character: char| character.is_ascii_alphanumeric() || "+*#-_.@".contains(character);
        if !text.chars().all(is_dialable) {
            return Err(NameError::Character);
        }
        Ok(Self(text.into()))
    }

    /// The number as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text {
    /// Takes a text. Control characters become spaces, and what is too long is cut: a name that a stranger chose can
    /// neither add a header, nor turn around what stands beside it, nor look like another's, nor fill the memory.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let clean = |character: char| if controls(character) { ' ' } else { character };
        Self(text[..end].chars().map(clean).collect::<String>().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Payload {
    /// Takes what is handed on.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > PAYLOAD_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// What it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for LegNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.call, self.leg)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// As other machines are told: in the same form, and looked at as anything else that comes in.

impl From<CallId> for String {
    fn from(id: CallId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for CallId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SessionId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        number.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for Number {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0.as_ref().to_owned()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Payload> for String {
    fn from(payload: Payload) -> Self {
        payload.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for Payload {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl FromStr for CallId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        hexadecimal(text).map(Self)
    }
}

impl FromStr for SessionId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        hexadecimal(text).map(Self)
    }
}

impl FromStr for Number {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// Controls and line ends of Unicode, what changes the direction of writing, and what is not seen. Those that join letters
/// (U+200C, U+200D) and choose their form are part of how some languages are written.
fn controls(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// One form for one id: 32 lower-case digits.
fn hexadecimal(text: &str) -> Result<u128, NameError> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 32 || !text.bytes().all(is_digit) {
        return Err(NameError::Digits);
    }
    u128::from_str_radix(text, 16).map_err(|_| NameError::Digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = CallId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "00000000000000000123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            "00000000000000000123456789ABCDEF".parse::<CallId>(),
            Err(NameError::Digits)
        );
        assert_eq!("+1".parse::<SessionId>(), Err(NameError::Digits));
        let leg = LegId {
            call: id,
            leg: LegNumber(2),
        };
        assert_eq!(leg.path(), format!("call/{id}/2"));
    }

    #[test]
    fn numbers_are_what_can_be_dialled() {
        for good in ["5001", "+49-30.1", "*97", "alice", "1003@bling.example"] {
            assert_eq!(Number::new(good).unwrap().as_str(), good);
        }
        for bad in ["a b", "a/b", "a\r\nVia: x", "ä", "<x>"] {
            assert_eq!(Number::new(bad), Err(NameError::Character));
        }
        assert_eq!(Number::new(""), Err(NameError::Empty));
        assert_eq!(Number::new(&"1".repeat(NUMBER_BYTES_MAX + 1)), Err(NameError::TooLong));
    }

    #[test]
    fn names_of_strangers_add_no_header_and_are_cut_between_characters() {
        assert_eq!(Text::new("Bob\r\nVia: x").as_str(), "Bob  Via: x");
        for unseen in [
            "\u{202e}",
            "\u{2066}",
            "\u{200f}",
            "\u{2028}",
            "\u{feff}",
            "\u{e0041}",
            "\u{85}",
            "\u{1b}",
        ] {
            assert_eq!(Text::new(&format!("1{unseen}2")).as_str(), "1 2", "{unseen:?}");
        }
        assert_eq!(Text::new("می\u{200c}خواهم").as_str(), "می\u{200c}خواهم");
        assert_eq!(Text::new(&"ä".repeat(TEXT_BYTES_MAX)).as_str().len(), TEXT_BYTES_MAX);
        assert_eq!(
            Text::new(&("x".to_owned() + &"ä".repeat(TEXT_BYTES_MAX)))
                .as_str()
                .len(),
            TEXT_BYTES_MAX - 1
        );
    }
}
