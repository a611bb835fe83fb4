//! What telephones write and the parser does not take, put right before it. Lines keep their numbers.
//!
//! Kept are the lines that a call needs: `v=`, `c=`, `m=` and `a=`. Those of names, times and origins are often wrong
//! (Latin-1 names, spaces in user names, versions beyond 64 bits), and nothing is done by them.

/// The text with other lines emptied, other ends of lines, and single spaces within `c=` and `m=`.
pub(super) fn repaired(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    let mut out = String::with_capacity(text.len());
    for line in text.split(['\r', '\n']) {
        let line = line.trim();
        match line.split_once('=') {
            Some(("v" | "a", _)) => out.extend(line.chars().filter(|character| *character != '\0')),
            Some((key @ ("c" | "m"), value)) => {
                let value = value.replace('\0', "");
                let mut fields: Vec<&str> = value.split_whitespace().collect();
                // Some list no formats of what is refused or has none (pjproject#75, #1233; MRCP). One must be there.
                if key == "m" && fields.len() == 3 {
                    fields.push("0");
                }
                out.push_str(key);
                out.push('=');
                out.push_str(&fields.join(" "));
            }
            _ => {}
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_lines_are_of_any_kind() {
        for text in ["v=0\r\na=x\r\n", "v=0\na=x\n", "v=0\ra=x\r", "v=0\n a=x "] {
            assert_eq!(repaired(text.as_bytes()).trim_end(), "v=0\na=x", "{text:?}");
        }
        assert_eq!(repaired(b"v=0\r\na=last"), "v=0\na=last\n");
    }

    #[test]
    fn what_a_call_does_not_need_is_left_out() {
        let text = b"v=0\r\no=J\xf6rg Meier 1 99999999999999999999 IN IP4 a\r\ns=\r\nt=0\r\nb=AS\r\nk=clear:x\r\nrubbish\r\na=x";
        assert_eq!(repaired(text), "v=0\n\n\n\n\n\n\na=x\n");
    }

    #[test]
    fn fields_are_spaced_and_there_is_a_format() {
        assert_eq!(repaired(b"c=IN  IP4\t10.0.0.1 "), "c=IN IP4 10.0.0.1\n");
        assert_eq!(
            repaired(b"m=audio  4000 RTP/AVP  0\x00 8"),
            "m=audio 4000 RTP/AVP 0 8\n"
        );
        assert_eq!(repaired(b"m=video 0 RTP/AVP"), "m=video 0 RTP/AVP 0\n");
    }
}
