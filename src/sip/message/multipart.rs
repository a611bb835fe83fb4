//! Bodies of several parts (RFC 2046, section 5.1), as far as one of them is wanted (RFC 5621, section 3.1).

use crate::limits::BODY_PARTS_MAX;

use super::syntax::Parameters;

/// The first part of that kind. `own` is what the whole says that it is.
pub(super) fn part<'a>(own: &str, body: &'a [u8], kind: &str) -> Option<&'a [u8]> {
    let (own, parameters) = own.split_once(';')?;
    if !own.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let parameters = Parameters::parse(parameters);
    let boundary = parameters.value("boundary")?;
    if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return None;
    }
    let mut rest = behind_boundary(body, boundary.as_bytes())?.1;
    for _ in 0..BODY_PARTS_MAX {
        let (part, next) = behind_boundary(rest, boundary.as_bytes())?;
        if let Some(content) = content_of(part, kind) {
            return Some(content);
        }
        rest = next;
    }
    None
}

/// What is before the next line that is the boundary, and what is behind that line. None: there is none.
fn behind_boundary<'a>(body: &'a [u8], boundary: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut at = 0;
    while at < body.len() {
        let end = body[at..].iter().position(|byte| *byte == b'\n');
        let end = end.map_or(body.len(), |end| at + end + 1);
        let line = body[at..end]
            .strip_prefix(b"--")
            .and_then(|line| line.strip_prefix(boundary));
        // The last one has two dashes more.
        if line.is_some_and(|rest| matches!(rest.trim_ascii(), b"" | b"--")) {
            // The line break before it is its own.
            let before = &body[..at];
            let before = before.strip_suffix(b"\n").unwrap_or(before);
            return Some((before.strip_suffix(b"\r").unwrap_or(before), &body[end..]));
        }
        at = end;
    }
    None
}

/// Of a part that is of this kind and not empty.
fn content_of<'a>(part: &'a [u8], kind: &str) -> Option<&'a [u8]> {
    let mut at = 0;
    let mut is_kind = false;
    while let Some(end) = part[at..].iter().position(|byte| *byte == b'\n') {
        let line = part[at..at + end].trim_ascii();
        at += end + 1;
        if line.is_empty() {
            return Some(&part[at..]).filter(|content| is_kind && !content.is_empty());
        }
        let line = std::str::from_utf8(line).unwrap_or_default();
        if let Some((name, value)) = line.split_once(':')
            && (name.trim().eq_ignore_ascii_case("Content-Type") || name.trim().eq_ignore_ascii_case("c"))
        {
            let value = value.split(';').next().unwrap_or_default();
            is_kind = value.trim().eq_ignore_ascii_case(kind);
        }
    }
    None
}

/// RFC 2046, section 5.1.1.
const BOUNDARY_BYTES_MAX: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "application/sdp";

    #[test]
    fn the_first_part_of_a_kind_is_found() {
        let kind = "multipart/mixed;boundary=\"a b\"";
        for (body, expected) in [
            (
                "ignored\r\n--a b\r\nContent-Type: text/plain\r\n\r\nx\r\n--a b \r\nContent-ID: <1>\r\n\
                 Content-Type: Application/SDP; x=y\r\n\r\nv=0\r\n\r\n--a b\r\nc: application/sdp\r\n\r\nv=1\r\n--a b--",
                Some("v=0\r\n"),
            ),
            ("--a b\nc: application/sdp\n\nv=0\n--a b--", Some("v=0")),
            ("--a b\n\nv=0\n--a b--", None),
            ("--a b\nc: application/sdp\n\n\n--a b--", None),
            ("--a b\nc: application/sdp\n\nv=0\n--a bc", None),
            ("--a b\nc: application/sdp", None),
            ("--a b--", None),
            ("", None),
        ] {
            let found = part(kind, body.as_bytes(), SDP);
            assert_eq!(found, expected.map(str::as_bytes), "{body}");
        }
        let body = b"--\nc: application/sdp\n\nv=0\n----";
        for kind in [
            "multipart/mixed",
            "multipart/mixed;boundary=\"\"",
            "multipart/alternative;boundary=a",
            "",
        ] {
            assert_eq!(part(kind, body, SDP), None, "{kind}");
        }
        let many = "--a\n\nx\n".repeat(BODY_PARTS_MAX) + "--a\nc: application/sdp\n\nv=0\n--a--";
        assert_eq!(part("multipart/mixed;boundary=a", many.as_bytes(), SDP), None);
        let fewer = &many["--a\n\nx\n".len()..];
        assert_eq!(
            part("multipart/mixed;boundary=a", fewer.as_bytes(), SDP),
            Some(&b"v=0"[..])
        );
    }

    #[test]
    fn whatever_is_cut_is_borne() {
        let body = b"--a\r\nc: application/sdp\r\n\r\nv=0\r\n--a\r\n\r\n--a--";
        for begin in 0..body.len() {
            for end in begin..body.len() {
                part("multipart/mixed;boundary=a", &body[begin..end], SDP);
            }
        }
    }
}
