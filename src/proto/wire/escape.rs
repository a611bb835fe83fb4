//! Text of a peer as it may be shown: on one line, and without a say in how the rest of the line looks.

use std::fmt;

/// Shows text of a peer: a path, a name, a reason. Control characters, and others that move or hide what stands beside them,
/// are shown as Rust writes them in a string, and so is the backslash, so that two texts never look the same.
///
/// ```
/// use moqswitch_proto::wire::escaped;
/// assert_eq!(escaped("room/al\u{00ef}ce").to_string(), "room/al\u{00ef}ce");
/// assert_eq!(escaped("x\ny\0\u{1b}[2J").to_string(), r"x\ny\0\u{1b}[2J");
/// assert_eq!(escaped(r"x\ny").to_string(), r"x\\ny");
/// ```
pub fn escaped(text: &str) -> impl fmt::Display + '_ {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_escaped) {
            let (plain, tail) = rest.split_at(at);
            formatter.write_str(plain)?;
            let mut characters = tail.chars();
            match characters.next() {
                Some(character) if is_hidden(character) => write!(formatter, "\\u{{{:x}}}", u32::from(character))?,
                Some(character) => write!(formatter, "{}", character.escape_debug())?,
                None => {}
            }
            rest = characters.as_str();
        }
        formatter.write_str(rest)
    }
}

fn is_escaped(character: char) -> bool {
    character == '\\' || character.is_control() || is_hidden(character)
}

/// Zero width, ends of lines and paragraphs, changes of direction, marks of byte order.
fn is_hidden(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_peer_ends_a_line_or_rules_a_terminal() {
        let all: String = (0..=0x2_0000).filter_map(char::from_u32).collect();
        let shown = escaped(&all).to_string();
        assert!(!shown.contains(char::is_control));
        assert!(!shown.contains(['\u{2028}', '\u{202e}', '\u{feff}', '\u{200b}']));
        for (text, expected) in [
            ("", ""),
            ("a/b c\u{301}", "a/b c\u{301}"),
            ("\r\n\t", r"\r\n\t"),
            ("\u{7f}\u{85}", r"\u{7f}\u{85}"),
            ("\"'", "\"'"),
            ("\u{202e}cba", r"\u{202e}cba"),
        ] {
            assert_eq!(escaped(text).to_string(), expected);
        }
    }

    #[test]
    fn two_texts_never_look_the_same() {
        let texts = ["x\ny", r"x\ny", r"x\\ny", "x\u{5c}\ny", "xny"];
        let shown: std::collections::BTreeSet<String> = texts.map(|text| escaped(text).to_string()).into();
        assert_eq!(shown.len(), texts.len());
    }
}
