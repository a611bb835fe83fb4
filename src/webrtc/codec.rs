//! Codecs, and what was agreed on of them.

use str0m::format;
use str0m::media::Frequency;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Opus.
    Opus,
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722.
    G722,
}

/// What both sides take, and what each does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Payload types, the peer's favourite first.
    pub codecs: Vec<(u8, Codec)>,
    /// Payload types of telephone events, and what their durations count in a second.
    pub events: Vec<(u8, u32)>,
    /// The peer wants to hear.
    pub sends: bool,
    /// The peer speaks.
    pub receives: bool,
}

impl Codec {
    pub(crate) fn of(codec: format::Codec) -> Option<Self> {
        Some(match codec {
            format::Codec::Opus => Self::Opus,
            format::Codec::PCMU => Self::Pcmu,
            format::Codec::PCMA => Self::Pcma,
            format::Codec::G722 => Self::G722,
            _ => return None,
        })
    }
}

/// Only these codecs, in this order, and telephone events for the clocks that they have.
pub(crate) fn configure(config: &mut format::CodecConfig, codecs: &[Codec]) {
    config.clear();
    for codec in codecs {
        match codec {
            Codec::Opus => config.enable_opus(true, false),
            Codec::Pcmu => config.enable_pcmu(true, false),
            Codec::Pcma => config.enable_pcma(true, false),
            Codec::G722 => config.enable_g722(true, false),
        }
    }
    let mut events = |payload_type: u8, clock| {
        let range = format::FormatParams::parse_line("0-15");
        config.add_config(payload_type.into(), None, format::Codec::Tele, clock, None, range);
    };
    if codecs.contains(&Codec::Opus) {
        events(EVENTS_OF_OPUS, Frequency::FORTY_EIGHT_KHZ);
    }
    if codecs.iter().any(|codec| *codec != Codec::Opus) {
        events(EVENTS_USUAL, Frequency::EIGHT_KHZ);
    }
}

/// As telephones of SIP and Chromium have them.
const EVENTS_OF_OPUS: u8 = 110;
const EVENTS_USUAL: u8 = 101;
