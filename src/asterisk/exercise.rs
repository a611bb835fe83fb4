//! What strangers send, for the fuzz target and the replay of its corpus. The first byte says what the others are.
//!
//! It returns what does not hold; who calls it decides whether to panic.

use crate::audiosocket::Message;
use crate::request::Request;
use crate::websocket::Event;
use crate::{Codec, Format, Intake, Playout, Uuid};

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, or there was no input.
    Rejected,
    /// It was taken, and what it gave held.
    Accepted,
}

/// Reads an input.
///
/// # Errors
/// What does not hold.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let Some((kind, bytes)) = input.split_first() else {
        return Ok(Outcome::Rejected);
    };
    match kind % 4 {
        0 => messages(bytes),
        1 => Ok(text(bytes, |text| Event::read(text).is_ok())),
        2 => Ok(text(bytes, |text| Request::read(text).is_ok())),
        _ => sound(bytes),
    }
}

/// Inputs that are taken, one of each kind and more.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut call = Vec::new();
    for message in [
        Message::Uuid(Uuid(0x5ec2_e700_1234_100e_4711_ffff_ffff_ffff)),
        Message::Audio {
            hertz: 8000,
            samples: &[1, 0, 255, 127],
        },
        Message::Digit('5'),
        Message::Error(Some(1)),
        Message::Hangup,
    ] {
        message.write(&mut call);
    }
    let seed = |name: &str, kind: u8, bytes: &[u8]| (name.to_owned(), [&[kind], bytes].concat());
    let start = "MEDIA_START connection_id:moqswitch channel:WebSocket/moqswitch/1 channel_id:1.1 format:ulaw \
                 optimal_frame_size:160 ptime:20";
    let json =
        r#"{"event":"MEDIA_START","format":"slin16","optimal_frame_size":640,"ptime":20,"channel_variables":{}}"#;
    vec![
        seed("audiosocket-call", 0, &call),
        seed("websocket-start", 1, start.as_bytes()),
        seed("websocket-start-json", 1, json.as_bytes()),
        seed("websocket-digit", 1, b"DTMF_END digit:# channel_id:1"),
        seed("websocket-status", 1, b"STATUS queue_length:43 queue_full:true"),
        seed("websocket-error", 1, br#"{"event":"ERROR","error_text":"no"}"#),
        seed(
            "request",
            2,
            b"/calls?to=%2B49100&from=4711&name=Anna+B&channel=x&key=5e",
        ),
        seed("sound", 3, &[4, 1, 0x55, 0xaa, 0x00, 0x80, 0xff, 0x7f]),
    ]
}

fn messages(bytes: &[u8]) -> Result<Outcome, String> {
    let (mut rest, mut outcome) = (bytes, Outcome::Rejected);
    while let Ok(Some((message, length))) = Message::read(rest) {
        let Some((own, behind)) = rest.split_at_checked(length) else {
            return Err(format!("{message:?} is longer than what there is"));
        };
        let mut again = Vec::new();
        let is_written = message.write(&mut again);
        // Small letters become great ones, and a code has one byte.
        let is_exact = !matches!(message, Message::Digit(_) | Message::Error(_));
        if is_written && is_exact && again != own {
            return Err(format!("{message:?} is written otherwise than it was read"));
        }
        if message.is_for_asterisk() && !is_written {
            return Err(format!("{message:?} is for Asterisk, and cannot be written"));
        }
        (rest, outcome) = (behind, Outcome::Accepted);
    }
    Ok(outcome)
}

fn text(bytes: &[u8], is_taken: impl Fn(&str) -> bool) -> Outcome {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_taken(text) => Outcome::Accepted,
        _ => Outcome::Rejected,
    }
}

fn sound(bytes: &[u8]) -> Result<Outcome, String> {
    let [format, codec, noise @ ..] = bytes else {
        return Ok(Outcome::Rejected);
    };
    let pick = |index: u8, length: usize| usize::from(index) % length;
    let format = FORMATS[pick(*format, FORMATS.len())];
    let codec = CODECS[pick(*codec, CODECS.len())];
    let mut playout = Playout::new(format);
    let (Ok(mut intake), Ok(())) = (Intake::new(format, codec), playout.hear(Some(codec))) else {
        return Ok(Outcome::Rejected);
    };
    let mut number = 0;
    intake.take(noise, |frame| {
        playout.push(number, frame);
        number += 1;
    });
    playout.push(number, noise);
    for _ in 0..8 {
        let played = playout.play().map(<[u8]>::len);
        if let (Some(wanted), Some(length)) = (format.frame_bytes(), played)
            && length != wanted
        {
            return Err(format!("a frame of {length} bytes of {format}"));
        }
    }
    Ok(Outcome::Accepted)
}

const FORMATS: [Format; 7] = [
    Format::Ulaw,
    Format::Alaw,
    Format::G722,
    Format::Opus,
    Format::Linear(8000),
    Format::Linear(44_100),
    Format::Linear(192_000),
];
const CODECS: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_hold_and_are_taken() {
        for (name, bytes) in seeds() {
            assert_eq!(exercise(&bytes), Ok(Outcome::Accepted), "{name}");
            for end in 0..bytes.len() {
                exercise(&bytes[..end]).unwrap_or_else(|broken| panic!("{name} up to {end}: {broken}"));
            }
        }
    }
}
