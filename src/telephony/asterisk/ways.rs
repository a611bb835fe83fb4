//! What channels of a format could speak, and how ways are shown.

use moqswitch_asterisk::Format;
use moqswitch_signalling::calls::{Codec, Codecs};

use crate::directory::Way;

/// What channels of a format could speak and hear. All of it but Opus is brought from one to another at little cost.
pub(super) fn codecs(format: Format) -> Codecs {
    let narrow = [Codec::Pcmu, Codec::Pcma];
    match format {
        Format::Opus => [Codec::Opus].into_iter().collect(),
        Format::Ulaw | Format::Alaw | Format::Linear(..=8000) => narrow.into_iter().collect(),
        Format::G722 | Format::Linear(_) => narrow.into_iter().chain([Codec::G722]).collect(),
    }
}

/// Where it is, for people.
pub(super) fn contact(way: &Way) -> String {
    match way {
        Way::AudioSocket { address, .. } => format!("audiosocket {address}"),
        Way::Ari(way) => format!("{} by {}", way.channel, way.host),
    }
}

pub(super) fn format(way: &Way) -> Format {
    match way {
        Way::AudioSocket { format, .. } => *format,
        Way::Ari(way) => way.format,
    }
}
