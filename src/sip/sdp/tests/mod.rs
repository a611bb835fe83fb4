//! Descriptions as telephones, carriers and switches write them, and what is made of them.

mod noise;
mod parsing;
mod phones;
mod reports;
mod sessions;

use std::net::SocketAddr;

use super::{Agreed, Audio, Codec, Description, Direction, Refused, Session};

/// The order that most tests prefer codecs in.
const ORDER: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma];
const NARROW: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Ours, with an address that no description of a peer has.
fn session() -> Session {
    Session::new(address("192.0.2.10:10000"), 4_611_686_018, 1)
}

fn parsed(text: &str) -> Description {
    Description::parse(text.as_bytes()).unwrap()
}

fn audio(text: &str) -> Audio {
    let sections = parsed(text).sections;
    sections.into_iter().find_map(|section| section.audio).unwrap()
}

/// The answer, which is checked to be one.
fn answer(session: &mut Session, offer: &str, preferred: &[Codec]) -> (String, Agreed) {
    let offered = parsed(offer);
    let (text, agreed) = session.answer(&offered, preferred, Direction::SendReceive).unwrap();
    check_answer(&offered, &parsed(&text));
    (text, agreed)
}

fn refusal(session: &mut Session, offer: &str, preferred: &[Codec]) -> Refused {
    session
        .answer(&parsed(offer), preferred, Direction::SendReceive)
        .unwrap_err()
}

/// RFC 3264, section 6: as many sections, in their order, with their protocols; of ours a part of what was offered.
fn check_answer(offer: &Description, answer: &Description) {
    assert_eq!(answer.sections.len(), offer.sections.len());
    let mut streams = 0;
    for (offered, answered) in offer.sections.iter().zip(&answer.sections) {
        assert_eq!(answered.kind, offered.kind);
        assert_eq!(answered.protocol, offered.protocol);
        if answered.port == 0 {
            assert_eq!(answered.formats, offered.formats);
            continue;
        }
        assert_ne!(offered.port, 0, "it was not wanted");
        streams += 1;
        let (theirs, ours) = (offered.audio.as_ref().unwrap(), answered.audio.as_ref().unwrap());
        let is_offered = |number| theirs.formats.iter().any(|format| format.payload_type == number);
        assert!(ours.formats.iter().all(|format| is_offered(format.payload_type)));
        assert_eq!(ours.codecs().count(), 1, "one codec is chosen");
        assert!(
            ours.formats
                .iter()
                .all(|format| format.codec().is_some() || format.event().is_some())
        );
        assert!(!ours.direction.sends() || theirs.effective_direction().receives());
        assert!(!ours.direction.receives() || theirs.effective_direction().sends());
    }
    assert!(streams <= 1);
}

/// The value of a line, or of an attribute.
fn line<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    lines.next().unwrap_or_else(|| panic!("no {key} in {text}"))
}

fn version(text: &str) -> u64 {
    line(text, "o=").split(' ').nth(2).unwrap().parse().unwrap()
}
