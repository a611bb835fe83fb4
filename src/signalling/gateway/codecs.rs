//! Codecs of the call plane and those of descriptions: the same four.

use moqswitch_calls::{Codec, Codecs};
use moqswitch_sip::sdp::{self, Description};

pub(super) const fn to_sdp(codec: Codec) -> sdp::Codec {
    match codec {
        Codec::Opus => sdp::Codec::Opus,
        Codec::Pcmu => sdp::Codec::Pcmu,
        Codec::Pcma => sdp::Codec::Pcma,
        Codec::G722 => sdp::Codec::G722,
    }
}

pub(super) const fn of_sdp(codec: sdp::Codec) -> Codec {
    match codec {
        sdp::Codec::Opus => Codec::Opus,
        sdp::Codec::Pcmu => Codec::Pcmu,
        sdp::Codec::Pcma => Codec::Pcma,
        sdp::Codec::G722 => Codec::G722,
    }
}

/// What an offer has of them.
pub(super) fn offered(offer: &Description) -> Codecs {
    let audio = offer.sections.iter().filter_map(|section| section.audio.as_ref());
    audio
        .flat_map(|audio| audio.codecs())
        .map(|(codec, _)| of_sdp(codec))
        .collect()
}

/// For an offer of ours, or to choose from another's: the chosen one first, then what else may be.
pub(super) fn in_order(first: Option<Codec>, all: Codecs) -> Vec<sdp::Codec> {
    let others = all.iter().filter(|codec| Some(*codec) != first);
    first.into_iter().chain(others).map(to_sdp).collect()
}

/// What telephones are registered with, as they say it only when they call.
pub(super) fn of_telephones() -> Codecs {
    Codecs::all()
}
