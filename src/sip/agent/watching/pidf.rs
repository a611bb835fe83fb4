//! What a telephone publishes of its user (PIDF, RFC 3863): as much of XML as that takes. No declarations are followed, so
//! nothing grows while it is read.

use crate::limits::{PUBLISHED_BYTES_MAX, PUBLISHED_PIECES_MAX, WATCHED_TEXT_MAX};

use super::state::{Activity, Presence};

/// Of a document. None: it is none, or says of nobody whether it is there.
pub(super) fn parse(body: &[u8]) -> Option<Presence> {
    let text = std::str::from_utf8(body).ok()?;
    if text.len() > PUBLISHED_BYTES_MAX {
        return None;
    }
    let mut presence = Presence::default();
    let (mut is_root, mut is_said) = (false, false);
    // What is open: its names, the innermost last.
    let mut open: Vec<&str> = Vec::new();
    for piece in Pieces(text).take(PUBLISHED_PIECES_MAX) {
        match piece {
            Piece::Begin { name, is_empty } => {
                if open.is_empty() {
                    is_root = name == "presence";
                }
                if open.last() == Some(&"activities") && presence.activity == Activity::Unknown {
                    presence.activity = activity(name);
                }
                if !is_empty {
                    open.push(name);
                }
            }
            Piece::End(name) => {
                if open.pop() != Some(name) {
                    return None;
                }
            }
            Piece::Text(text) => match open.last() {
                Some(&"basic") => {
                    is_said = true;
                    // One of its devices is enough.
                    presence.is_open |= text.trim().eq_ignore_ascii_case("open");
                }
                Some(&"note") if presence.note.is_empty() => presence.note = plain(text.trim()),
                _ => {}
            },
        }
    }
    (is_root && is_said && open.is_empty()).then_some(presence)
}

enum Piece<'a> {
    /// Without what stands before the colon.
    Begin {
        name: &'a str,
        is_empty: bool,
    },
    End(&'a str),
    Text(&'a str),
}

/// Of a document that is not read yet.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let Some(rest) = self.0.strip_prefix('<') else {
                let end = self.0.find('<').unwrap_or(self.0.len());
                let (text, rest) = self.0.split_at(end);
                self.0 = rest;
                return Some(Piece::Text(text));
            };
            // Comments, declarations, instructions.
            let skipped = [("!--", "-->"), ("?", "?>"), ("!", ">")];
            if let Some((_, end)) = skipped.iter().find(|(begin, _)| rest.starts_with(begin)) {
                self.0 = rest.find(end).map_or("", |at| &rest[at + end.len()..]);
                continue;
            }
            let end = end_of_tag(rest)?;
            let tag = &rest[..end];
            self.0 = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                return Some(Piece::End(local_name(name)));
            }
            let is_empty = tag.ends_with('/');
            return Some(Piece::Begin {
                name: local_name(tag),
                is_empty,
            });
        }
    }
}

/// A `>` outside of quotes.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, quote) {
            (b'"' | b'\'', None) => quote = Some(byte),
            (byte, Some(begin)) if byte == begin => quote = None,
            (b'>', None) => return Some(at),
            _ => {}
        }
    }
    None
}

fn local_name(tag: &str) -> &str {
    let is_end = |sign: char| sign.is_ascii_whitespace() || sign == '/';
    let name = tag.split(is_end).next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// RFC 4480, section 3.2: what telephones publish.
fn activity(name: &str) -> Activity {
    match name {
        "on-the-phone" => Activity::OnThePhone,
        "busy" | "meeting" | "appointment" | "presentation" | "worship" | "performance" | "dnd" => Activity::Busy,
        "away" | "vacation" | "holiday" | "permanent-absence" | "sleeping" | "meal" | "breakfast" | "dinner"
        | "in-transit" | "travel" | "steering" | "shopping" => Activity::Away,
        _ => Activity::Unknown,
    }
}

/// With its escapes undone, and cut.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let known = [
            ("lt;", '<'),
            ("gt;", '>'),
            ("amp;", '&'),
            ("quot;", '"'),
            ("apos;", '\''),
        ];
        match known.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, sign)) => {
                plain.push(*sign);
                rest = &rest[name.len()..];
            }
            None => plain.push('&'),
        }
    }
    plain.push_str(rest);
    let signs = plain.chars().filter(|sign| !sign.is_control());
    signs.take(WATCHED_TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::super::bodies;
    use super::*;

    #[test]
    fn what_telephones_publish_is_understood() {
        let text = "<?xml version='1.0'?>\n<!-- <basic>open</basic> --><pr:presence xmlns:pr='urn:x' entity=\"sip:a>b@c\">\
                    <pr:tuple id='1'><pr:status><pr:basic>closed</pr:basic></pr:status><pr:note>Lunch &amp; &lt;more&#x3e;</pr:note>\
                    </pr:tuple><tuple id='2'><status><basic> open </basic></status></tuple>\
                    <dm:person><rp:activities><rp:unknown/><rp:meal/><rp:busy/></rp:activities></dm:person></pr:presence>";
        let presence = parse(text.as_bytes()).expect("a document");
        assert_eq!((presence.is_open, presence.activity), (true, Activity::Away));
        assert_eq!(presence.note, "Lunch & <more&#x3e;");
        let own = Presence {
            is_open: true,
            activity: Activity::OnThePhone,
            note: "in \"1\" <minute>".to_owned(),
        };
        assert_eq!(parse(bodies::presence("sip:a@b", &own).as_bytes()), Some(own));
    }

    #[test]
    fn what_is_no_document_is_none_and_costs_little() {
        for bad in [
            "",
            "x",
            "<presence>",
            "<presence/>",
            "<presence></presence>",
            "<html><basic>open</basic></html>",
            "<presence><basic>open</presence>",
            "<presence><basic>open</basic",
            "<presence a='><basic>open</basic></presence>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]>",
            "</presence>",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"<presence><basic>open</basic></presence>\xFF"), None);
        assert_eq!(parse("<a>".repeat(5000).as_bytes()), None);
        let text = bodies::presence("sip:a@b", &Presence::default());
        for end in 0..text.len() - "</presence>\r\n".len() + 1 {
            assert_eq!(parse(&text.as_bytes()[..end]), None, "{end}");
        }
    }
}
