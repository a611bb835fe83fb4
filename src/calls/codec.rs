//! Codecs of audio, and which of them a leg sends: the first of the configured order that all who hear it take.
//! Nothing is transcoded that need not be.

use std::fmt;
use std::str::FromStr;

use crate::limits::CODECS_PER_DEVICE_MAX;

/// A codec of audio, by the names of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Chooses for one speaker. Without hearers it is the first that the speaker has.
pub(crate) fn choose(order: &[Codec], speaker: Codecs, hearers: impl Iterator<Item = Codecs> + Clone) -> Choice {
    let mut candidates = order.iter().copied().filter(|codec| speaker.contains(*codec));
    let common = candidates
        .clone()
        .find(|codec| hearers.clone().all(|hearer| hearer.contains(*codec)));
    if common.is_some() {
        return Choice {
            sends: common,
            transcoded: Vec::new(),
        };
    }
    let sends = candidates.next();
    let mut transcoded = Vec::new();
    for hearer in hearers {
        if sends.is_some_and(|codec| hearer.contains(codec)) {
            continue;
        }
        if let Some(codec) = heard_as(order, hearer)
            && !transcoded.contains(&codec)
        {
            transcoded.push(codec);
        }
    }
    Choice { sends, transcoded }
}

/// What a hearer is given that does not take what is sent.
pub(crate) fn heard_as(order: &[Codec], hearer: Codecs) -> Option<Codec> {
    order.iter().copied().find(|codec| hearer.contains(*codec))
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

    #[test]
    fn the_first_that_all_take_is_sent() {
        let phone = of(&[Codec::Pcma, Codec::Pcmu]);
        let choice = choose(&ORDER, Codecs::all(), [Codecs::all(), phone].into_iter());
        assert_eq!(choice.sends, Some(Codec::Pcmu));
        assert!(choice.transcoded.is_empty());
        let choice = choose(&ORDER, Codecs::all(), [Codecs::all()].into_iter());
        assert_eq!(choice.sends, Some(Codec::Opus));
        assert_eq!(choose(&ORDER, phone, std::iter::empty()).sends, Some(Codec::Pcmu));
    }

    #[test]
    fn only_who_takes_nothing_of_it_has_it_transcoded() {
        let hearers = [of(&[Codec::Pcma]), of(&[Codec::Opus]), of(&[Codec::Pcma])];
        let choice = choose(&ORDER, of(&[Codec::Opus, Codec::Pcmu]), hearers.into_iter());
        assert_eq!(choice.sends, Some(Codec::Opus));
        assert_eq!(choice.transcoded, [Codec::Pcma]);
        // Nothing of the order: there is nothing to send.
        assert_eq!(choose(&ORDER, of(&[Codec::G722]), hearers.into_iter()).sends, None);
    }
}
