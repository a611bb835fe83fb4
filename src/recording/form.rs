//! What kind of file can have what is spoken.

use moqswitch_audio::{Codec, Rate};
use moqswitch_containers::Encoding;

use crate::settings::Format;

/// What a packet is, as far as files make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// 20 ms of it.
    Opus,
    /// More at once, which cannot be cut: it has to be decoded.
    LongOpus,
    Pcmu,
    Pcma,
    G722,
}

impl Spoken {
    /// What is usual of a codec. `None`: nothing is recorded of it.
    pub(crate) fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Opus => Some(Self::Opus),
            Codec::Pcmu => Some(Self::Pcmu),
            Codec::Pcma => Some(Self::Pcma),
            Codec::G722 => Some(Self::G722),
            Codec::L16 => None,
        }
    }

    /// As catalogs have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Opus | Self::LongOpus => "opus",
            Self::Pcmu => "pcmu",
            Self::Pcma => "pcma",
            Self::G722 => "g722",
        }
    }

    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::Opus | Self::LongOpus => Codec::Opus,
            Self::Pcmu => Codec::Pcmu,
            Self::Pcma => Codec::Pcma,
            Self::G722 => Codec::G722,
        }
    }
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Packets as they are.
    Opus,
    /// Bytes of G.711 as they are.
    Plain(Encoding),
    /// Samples.
    Samples(Rate),
}

impl Form {
    /// The least that has all of these as they are, or decoded. `None`: nothing is known to be spoken.
    pub(crate) fn of(spoken: &[Spoken], format: Format) -> Option<Self> {
        let first = *spoken.first()?;
        let is_one = spoken.iter().all(|other| *other == first);
        let is_narrow = spoken.iter().all(|other| matches!(other, Spoken::Pcmu | Spoken::Pcma));
        Some(match (first, is_one) {
            (Spoken::Opus, true) if format == Format::Native => Self::Opus,
            (Spoken::Pcmu, true) => Self::Plain(Encoding::Mulaw),
            (Spoken::Pcma, true) => Self::Plain(Encoding::Alaw),
            _ if is_narrow => Self::Samples(Rate::Hz8000),
            _ => Self::Samples(Rate::Hz16000),
        })
    }

    /// Whether a file of this kind can have it.
    pub(crate) fn holds(self, spoken: Spoken) -> bool {
        match self {
            Self::Opus => spoken == Spoken::Opus,
            Self::Plain(Encoding::Mulaw) => spoken == Spoken::Pcmu,
            Self::Plain(Encoding::Alaw) => spoken == Spoken::Pcma,
            Self::Plain(Encoding::Pcm16) => false,
            Self::Samples(Rate::Hz8000) => matches!(spoken, Spoken::Pcmu | Spoken::Pcma),
            Self::Samples(_) => true,
        }
    }

    /// The end of its file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Plain(_) | Self::Samples(_) => "wav",
        }
    }

    /// As descriptions have it.
    pub(crate) fn encoding(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Plain(Encoding::Mulaw) => "pcmu",
            Self::Plain(Encoding::Alaw) => "pcma",
            Self::Plain(Encoding::Pcm16) | Self::Samples(_) => "pcm16",
        }
    }

    /// In hertz.
    pub(crate) fn sample_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Plain(_) => 8000,
            Self::Samples(rate) => rate.hertz(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_decoded_that_need_not_be() {
        use Spoken::{G722, LongOpus, Opus, Pcma, Pcmu};
        let native = |spoken: &[Spoken]| Form::of(spoken, Format::Native);
        assert_eq!(native(&[]), None);
        assert_eq!(native(&[Opus, Opus]), Some(Form::Opus));
        assert_eq!(native(&[Pcmu, Pcmu]), Some(Form::Plain(Encoding::Mulaw)));
        assert_eq!(native(&[Pcma]), Some(Form::Plain(Encoding::Alaw)));
        assert_eq!(native(&[Pcma, Pcmu]), Some(Form::Samples(Rate::Hz8000)));
        assert_eq!(native(&[Opus, Pcmu]), Some(Form::Samples(Rate::Hz16000)));
        assert_eq!(native(&[G722]), Some(Form::Samples(Rate::Hz16000)));
        assert_eq!(native(&[LongOpus]), Some(Form::Samples(Rate::Hz16000)));
        let wav = |spoken: &[Spoken]| Form::of(spoken, Format::Wav);
        assert_eq!(wav(&[Opus, Opus]), Some(Form::Samples(Rate::Hz16000)));
        assert_eq!(wav(&[Pcmu]), Some(Form::Plain(Encoding::Mulaw)));
        for spoken in [&[Opus, Opus][..], &[Pcmu], &[Pcma, Pcmu], &[Opus, G722], &[LongOpus]] {
            let form = native(spoken).unwrap();
            assert!(spoken.iter().all(|spoken| form.holds(*spoken)), "{spoken:?}");
        }
        assert!(!Form::Samples(Rate::Hz8000).holds(Opus) && !Form::Opus.holds(LongOpus));
    }
}
