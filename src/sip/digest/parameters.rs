//! The text of a challenge and of credentials: `Digest name=value, name="quoted value", …` (RFC 3261, section 25.1).

use crate::limits::{DIGEST_HEADER_BYTES_MAX, DIGEST_PARAMETERS_MAX};

/// Why a header value is refused. The answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than [`DIGEST_HEADER_BYTES_MAX`], or the name of the user too long.
    #[error("it is too long")]
    TooLong,
    /// Of another scheme than `Digest`.
    #[error("it is not of the Digest scheme")]
    Scheme,
    /// No list of parameters, or more than [`DIGEST_PARAMETERS_MAX`].
    #[error("it is no list of parameters")]
    Syntax,
    /// A parameter stands there twice.
    #[error("a parameter stands there twice")]
    Duplicate,
    /// A parameter is not there, or empty.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// An algorithm that was not offered.
    #[error("the algorithm was not offered")]
    Algorithm,
    /// A `qop` that was not offered, or none where it is asked for.
    #[error("the qop was not offered")]
    Quality,
    /// `nc` is no count.
    #[error("nc is no count")]
    Count,
    /// The response is no hash of the algorithm.
    #[error("the response is no hash")]
    Response,
    /// The user's name is hashed, which was not offered.
    #[error("hashed names of users were not offered")]
    UserHash,
    /// `uri` is not what the request asks for.
    #[error("uri is not what the request asks for")]
    Uri,
}

/// What stands behind `Digest`. Names are in small letters, values without quotes and escapes.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(value: &str) -> Result<Self, Fault> {
        if value.len() > DIGEST_HEADER_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let value = value.trim_matches(SPACES);
        let (scheme, list) = value.split_at_checked(SCHEME.len()).ok_or(Fault::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || !list.starts_with(SPACES) {
            return Err(Fault::Scheme);
        }
        let mut cursor = Cursor(list);
        let mut parameters: Vec<(String, String)> = Vec::new();
        while let Some((name, value)) = cursor.next_parameter()? {
            if parameters.len() >= DIGEST_PARAMETERS_MAX {
                return Err(Fault::Syntax);
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(Fault::Duplicate);
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// One that must be there.
    pub(super) fn need(&self, name: &'static str) -> Result<&str, Fault> {
        self.get(name).ok_or(Fault::Missing(name))
    }

    /// Is it there, and says `true`?
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// Between quotes, with what must be escaped. Of control characters, which nothing can escape, none is left.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// What is left of a list.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// `None`: the list is at its end.
    fn next_parameter(&mut self) -> Result<Option<(String, String)>, Fault> {
        // Places between commas may be empty.
        self.0 = self
            .0
            .trim_start_matches(|character| character == ',' || SPACES.contains(&character));
        if self.0.is_empty() {
            return Ok(None);
        }
        let name = self.take_while(is_of_token);
        if name.is_empty() {
            return Err(Fault::Syntax);
        }
        self.skip_spaces();
        self.0 = self.0.strip_prefix('=').ok_or(Fault::Syntax)?;
        self.skip_spaces();
        let value = match self.0.strip_prefix('"') {
            Some(rest) => {
                self.0 = rest;
                self.take_quoted()?
            }
            // Some leave out quotes where they belong: more than the characters of a token may stand here.
            None => {
                let is_of_value = |character: char| {
                    !matches!(character, ',' | '"') && !SPACES.contains(&character) && !character.is_control()
                };
                self.take_while(is_of_value).to_owned()
            }
        };
        self.skip_spaces();
        if self.0.is_empty() || self.0.starts_with(',') {
            Ok(Some((name.to_ascii_lowercase(), value)))
        } else {
            Err(Fault::Syntax)
        }
    }

    /// Up to the quote that ends it; the one that begins it is gone.
    fn take_quoted(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        let mut characters = self.0.chars();
        loop {
            match characters.next().ok_or(Fault::Syntax)? {
                '"' => break,
                '\\' => text.push(characters.next().ok_or(Fault::Syntax)?),
                character => text.push(character),
            }
        }
        self.0 = characters.as_str();
        if text.contains(|character: char| character.is_control() && character != '\t') {
            return Err(Fault::Syntax);
        }
        Ok(text)
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|character| !is_part(character)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start_matches(SPACES);
    }
}

fn is_of_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(character)
}

const SCHEME: &str = "Digest";

/// Those of folded lines as well (RFC 3261, section 7.3.1).
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_spaces_and_letter_case_will_do() {
        let text = "  dIgEsT\t NC=00000001 ,realm = \"a b\",\r\n Qop=\"auth\",, uri=sip:x@y;lr ,opaque=,";
        let parameters = Parameters::parse(text).unwrap();
        for (name, value) in [
            ("nc", "00000001"),
            ("realm", "a b"),
            ("qop", "auth"),
            ("uri", "sip:x@y;lr"),
            ("opaque", ""),
        ] {
            assert_eq!(parameters.get(name), Some(value), "{name}");
        }
        assert_eq!(parameters.need("nonce"), Err(Fault::Missing("nonce")));
    }

    #[test]
    fn quotes_and_escapes_come_back() {
        for text in ["", "plain", "a\"b\\c", "\\\\\"", "Zoë, with=all"] {
            let parameters = Parameters::parse(&format!("Digest a=1,u={},b=2", quote(text))).unwrap();
            assert_eq!(parameters.get("u"), Some(text));
            assert_eq!(parameters.get("b"), Some("2"));
        }
        assert_eq!(quote("a\r\nb: c"), "\"ab: c\"");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, fault) in [
            ("", Fault::Scheme),
            ("Digest", Fault::Scheme),
            ("Digestive a=b", Fault::Scheme),
            ("Basic QWxhZGRpbg==", Fault::Scheme),
            ("D\u{ef}gest a=b", Fault::Scheme),
            ("Digest a", Fault::Syntax),
            ("Digest =b", Fault::Syntax),
            ("Digest a=\"b", Fault::Syntax),
            ("Digest a=\"b\\", Fault::Syntax),
            ("Digest a=\"b\"c", Fault::Syntax),
            ("Digest a=b c=d", Fault::Syntax),
            ("Digest a=b\"c\"", Fault::Syntax),
            ("Digest a=\"b\r\nc\"", Fault::Syntax),
            ("Digest a=\"b\\\0c\"", Fault::Syntax),
            ("Digest a=b\0", Fault::Syntax),
            ("Digest a=b, A=c", Fault::Duplicate),
        ] {
            assert_eq!(Parameters::parse(text).unwrap_err(), fault, "{text}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let list = |count: usize| (0..count).map(|index| format!("p{index}=1,")).collect::<String>();
        assert!(Parameters::parse(&format!("Digest {}", list(DIGEST_PARAMETERS_MAX))).is_ok());
        let long = Parameters::parse(&format!("Digest {}", list(DIGEST_PARAMETERS_MAX + 1)));
        assert_eq!(long.unwrap_err(), Fault::Syntax);
        let text = format!("Digest a={}", "x".repeat(DIGEST_HEADER_BYTES_MAX - 9));
        assert!(Parameters::parse(&text).is_ok());
        assert_eq!(Parameters::parse(&(text + "x")).unwrap_err(), Fault::TooLong);
    }
}
