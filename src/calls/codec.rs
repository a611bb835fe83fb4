//! Codecs of audio, and which of them a leg sends: the first of the configured order that all who hear it take.
//! Nothing is transcoded that need not be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::CODECS_PER_DEVICE_MAX;

/// A codec of audio, by the names of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// 48 kHz (RFC 6716).
    Opus,
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.722, 16 kHz.
    G722,
}

/// What a device takes and sends. Order has no meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub struct Codecs(u8);

/// The text names no codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("codecs are opus, pcmu, pcma and g722")]
pub struct UnknownCodec;

impl Codec {
    /// Every codec, in the order of the policy by default.
    pub const ALL: [Self; 4] = [Self::Opus, Self::G722, Self::Pcmu, Self::Pcma];

    /// As the catalog has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "pcmu",
            Self::Pcma => "pcma",
            Self::G722 => "g722",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Opus => 1,
            Self::Pcmu => 2,
            Self::Pcma => 4,
            Self::G722 => 8,
        }
    }
}

impl From<Codecs> for u8 {
    fn from(codecs: Codecs) -> Self {
        codecs.0
    }
}

/// Codecs of another machine. Those that are not known here are left out.
impl From<u8> for Codecs {
    fn from(bits: u8) -> Self {
        Self(bits).and(Self::all())
    }
}

impl Codecs {
    /// All of them: what a browser takes and sends.
    pub fn all() -> Self {
        Codec::ALL.into_iter().collect()
    }

    /// Is this one among them?
    pub const fn contains(self, codec: Codec) -> bool {
        self.0 & codec.bit() != 0
    }

    /// Those that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Is there none?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These, and one more.
    #[must_use]
    pub const fn with(self, codec: Codec) -> Self {
        Self(self.0 | codec.bit())
    }

    /// Each of them, in the order of the policy by default.
    pub fn iter(self) -> impl Iterator<Item = Codec> {
        Codec::ALL.into_iter().filter(move |codec| self.contains(*codec))
    }
}

/// What one leg sends, and into what it has to be transcoded for hearers that do not take it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// On the track `audio`. None: the leg can send nothing of the order.
    pub sends: Option<Codec>,
    /// On tracks `audio.<codec>`, while somebody is subscribed.
    pub transcoded: Vec<Codec>,
}

/// What one leg could speak, and what it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) codecs: Codecs,
    /// The one that it agreed on both ways, until it agrees on another. None: any of them at any moment, as browsers do.
    pub(crate) speaks: Option<Codec>,
}

impl Voice {
    /// Does it take this without agreeing on anything?
    pub(crate) fn takes(self, codec: Codec) -> bool {
        self.speaks.map_or(self.codecs.contains(codec), |own| own == codec)
    }

    /// What it is given when it does not take what is sent.
    pub(crate) fn heard_as(self, order: &[Codec]) -> Option<Codec> {
        let first = || order.iter().copied().find(|codec| self.codecs.contains(*codec));
        self.speaks.or_else(first)
    }
}

/// Chooses for one speaker: what it sends, and what it should speak, which is another where it has to agree on that first.
/// Of what all could speak it is what the fewest have to change for, then the first. Without hearers it is what the speaker
/// speaks, or the first that it has.
pub(crate) fn choose(
    order: &[Codec],
    speaker: Voice,
    hearers: impl Iterator<Item = Voice> + Clone,
) -> (Choice, Option<Codec>) {
    let mut candidates = order.iter().copied().filter(|codec| speaker.codecs.contains(*codec));
    let could = |codec: &Codec| hearers.clone().all(|hearer| hearer.codecs.contains(*codec));
    let takes = |codec: &Codec| hearers.clone().all(|hearer| hearer.takes(*codec));
    let changes = |codec: &Codec| {
        let voices = hearers.clone().chain([speaker]);
        voices.filter(|voice| !voice.takes(*codec)).count()
    };
    let common = candidates.clone().filter(could).min_by_key(changes);
    let at_once = candidates.clone().find(takes);
    let wanted = common.or(speaker.speaks).or_else(|| candidates.next());
    let sends = speaker.speaks.or(at_once).or(wanted);
    let mut transcoded = Vec::new();
    for hearer in hearers {
        if sends.is_some_and(|codec| hearer.takes(codec)) {
            continue;
        }
        if let Some(codec) = hearer.heard_as(order)
            && !transcoded.contains(&codec)
        {
            transcoded.push(codec);
        }
    }
    (Choice { sends, transcoded }, wanted)
}

impl FromIterator<Codec> for Codecs {
    fn from_iter<T: IntoIterator<Item = Codec>>(codecs: T) -> Self {
        let codecs = codecs.into_iter().take(CODECS_PER_DEVICE_MAX);
        Self(codecs.fold(0, |bits, codec| bits | codec.bit()))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name() == text)
            .ok_or(UnknownCodec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: [Codec; 3] = [Codec::Opus, Codec::Pcmu, Codec::Pcma];

    fn of(codecs: &[Codec]) -> Codecs {
        codecs.iter().copied().collect()
    }

    fn free(codecs: &[Codec]) -> Voice {
        Voice {
            codecs: of(codecs),
            speaks: None,
        }
    }

    fn speaking(codec: Codec, codecs: &[Codec]) -> Voice {
        Voice {
            codecs: of(codecs).with(codec),
            speaks: Some(codec),
        }
    }

    #[test]
    fn the_first_that_all_take_is_sent() {
        let (browser, phone) = (free(&Codec::ALL), free(&[Codec::Pcma, Codec::Pcmu]));
        let (choice, _) = choose(&ORDER, browser, [browser, phone].into_iter());
        assert_eq!(choice.sends, Some(Codec::Pcmu));
        assert!(choice.transcoded.is_empty());
        let (choice, _) = choose(&ORDER, browser, [browser].into_iter());
        assert_eq!(choice.sends, Some(Codec::Opus));
        assert_eq!(choose(&ORDER, phone, std::iter::empty()).0.sends, Some(Codec::Pcmu));
    }

    #[test]
    fn only_who_takes_nothing_of_it_has_it_transcoded() {
        let hearers = [free(&[Codec::Pcma]), free(&[Codec::Opus]), free(&[Codec::Pcma])];
        let (choice, _) = choose(&ORDER, free(&[Codec::Opus, Codec::Pcmu]), hearers.into_iter());
        assert_eq!(choice.sends, Some(Codec::Opus));
        assert_eq!(choice.transcoded, [Codec::Pcma]);
        // Nothing of the order: there is nothing to send.
        let (choice, wanted) = choose(&ORDER, free(&[Codec::G722]), hearers.into_iter());
        assert_eq!((choice.sends, wanted), (None, None));
    }

    #[test]
    fn what_is_agreed_on_stays_as_long_as_it_can() {
        let (browser, phone) = (free(&Codec::ALL), speaking(Codec::Pcma, &ORDER));
        // Opus comes first, but the phone would have to agree on it.
        let (choice, _) = choose(&ORDER, browser, [phone].into_iter());
        assert_eq!(choice.sends, Some(Codec::Pcma));
        let (choice, wanted) = choose(&ORDER, phone, [browser].into_iter());
        assert_eq!((choice.sends, wanted), (Some(Codec::Pcma), Some(Codec::Pcma)));
        assert!(choice.transcoded.is_empty());
        assert_eq!(choose(&ORDER, phone, std::iter::empty()).1, Some(Codec::Pcma));
    }

    #[test]
    fn as_few_as_can_be_change_what_they_speak() {
        let carrier = speaking(Codec::Pcma, &[]);
        let phone = speaking(Codec::Opus, &ORDER);
        let (choice, wanted) = choose(&ORDER, phone, [carrier].into_iter());
        // Until then it is transcoded.
        assert_eq!((choice.sends, wanted), (Some(Codec::Opus), Some(Codec::Pcma)));
        assert_eq!(choice.transcoded, [Codec::Pcma]);
        let (choice, wanted) = choose(&ORDER, carrier, [phone].into_iter());
        assert_eq!((choice.sends, wanted), (Some(Codec::Pcma), Some(Codec::Pcma)));
        assert_eq!(choice.transcoded, [Codec::Opus]);
        // Two that could both: both are told the same, and one has it already.
        let (one, two) = (speaking(Codec::Pcma, &ORDER), speaking(Codec::Pcmu, &ORDER));
        assert_eq!(choose(&ORDER, one, [two].into_iter()).1, Some(Codec::Pcmu));
        assert_eq!(choose(&ORDER, two, [one].into_iter()).1, Some(Codec::Pcmu));
        // Nothing would do for all: nobody changes.
        let third = free(&[Codec::G722]);
        assert_eq!(choose(&ORDER, phone, [carrier, third].into_iter()).1, Some(Codec::Opus));
    }
}
