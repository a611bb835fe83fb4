//! Codecs that are spoken here, as descriptions name them, and the formats of an audio section.

/// A codec of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722.
    G722,
    /// Opus (RFC 6716).
    Opus,
}

/// What a payload type of a section means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Audio of a codec that is spoken here.
    Codec(Codec),
    /// Telephone events (RFC 4733).
    Event {
        /// Units of time in a second.
        clock_hz: u32,
    },
    /// Something else: another codec, or a known number that is said to be what it is not.
    Other,
    /// A number from 96 on, and no word of what it is.
    Untold,
}

/// A payload type of a section, and what it means there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// What it is.
    pub meaning: Meaning,
}

/// Telephone events, and the number that they go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventType {
    /// 0 to 127.
    pub payload_type: u8,
    /// Units of time in a second, in which their durations are told.
    pub clock_hz: u32,
}

impl Codec {
    /// Every codec, in the order of an offer that names none.
    pub const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// The encoding name (RFC 3551, section 6; RFC 7587, section 7).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// The clock of its timestamps. G.722 counts 8000 though it takes 16000 samples (RFC 3551, section 4.5.2).
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }

    /// The number that is its own everywhere (RFC 3551, section 6).
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::Opus => None,
        }
    }

    /// What stands behind the number in `a=rtpmap`.
    pub(super) const fn encoding(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    fn of_static(payload_type: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.static_payload_type() == Some(payload_type))
    }
}

impl Meaning {
    /// Of a number, by what its `a=rtpmap` says behind it.
    ///
    /// A number that is a codec's own means that codec, or is left alone: everybody else on the way takes it for what it is.
    pub(super) fn of(payload_type: u8, encoding: Option<&str>) -> Self {
        let own = Codec::of_static(payload_type);
        let Some(encoding) = encoding else {
            return match own {
                Some(codec) => Self::Codec(codec),
                None if payload_type < DYNAMIC => Self::Other,
                None => Self::Untold,
            };
        };
        let told = Self::of_encoding(encoding, own.is_some());
        match own {
            Some(codec) if told != Self::Codec(codec) => Self::Other,
            _ => told,
        }
    }

    /// Names are told in either case. Some say of G.722 that its clock is 16000; under its own number it is believed not.
    fn of_encoding(encoding: &str, is_own_number: bool) -> Self {
        let mut parts = encoding.split('/');
        let name = parts.next().unwrap_or_default();
        let clock_hz = parts.next().map(str::parse::<u32>);
        let channels = parts.next();
        if name.eq_ignore_ascii_case("telephone-event") {
            return match clock_hz {
                None => Self::Event {
                    clock_hz: EVENT_CLOCK_HZ,
                },
                Some(Ok(clock_hz)) if clock_hz > 0 => Self::Event { clock_hz },
                Some(_) => Self::Other,
            };
        }
        let named = Codec::ALL
            .into_iter()
            .find(|codec| name.eq_ignore_ascii_case(codec.name()));
        let Some(codec) = named else {
            return Self::Other;
        };
        let is_its_clock = match clock_hz {
            None => is_own_number,
            Some(Ok(16_000)) if is_own_number && codec == Codec::G722 => true,
            Some(clock_hz) => clock_hz == Ok(codec.clock_hz()),
        };
        let are_its_channels = match codec {
            Codec::Opus => channels.is_none_or(|channels| channels == "2"),
            _ => channels.is_none_or(|channels| channels == "1"),
        };
        if is_its_clock && are_its_channels {
            Self::Codec(codec)
        } else {
            Self::Other
        }
    }
}

impl Format {
    /// The codec, if it is one.
    pub const fn codec(self) -> Option<Codec> {
        match self.meaning {
            Meaning::Codec(codec) => Some(codec),
            _ => None,
        }
    }

    /// Telephone events, if it is these.
    pub const fn event(self) -> Option<EventType> {
        match self.meaning {
            Meaning::Event { clock_hz } => Some(EventType {
                payload_type: self.payload_type,
                clock_hz,
            }),
            _ => None,
        }
    }
}

/// The clock of telephone events that name none (RFC 4733, section 2.1).
pub(super) const EVENT_CLOCK_HZ: u32 = 8000;

/// From here on a number means what the description says (RFC 3551, section 6).
pub(super) const DYNAMIC: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_numbers_need_no_word() {
        assert_eq!(Meaning::of(0, None), Meaning::Codec(Codec::Pcmu));
        assert_eq!(Meaning::of(8, None), Meaning::Codec(Codec::Pcma));
        assert_eq!(Meaning::of(9, None), Meaning::Codec(Codec::G722));
        assert_eq!(Meaning::of(18, None), Meaning::Other);
        assert_eq!(Meaning::of(111, None), Meaning::Untold);
    }

    #[test]
    fn encodings_are_told_in_many_ways() {
        for (payload_type, encoding, codec) in [
            (0, "pcmu/8000/1", Codec::Pcmu),
            (8, "PCMA", Codec::Pcma),
            (9, "G722/8000", Codec::G722),
            (9, "G722/16000", Codec::G722),
            (98, "PCMU/8000", Codec::Pcmu),
            (107, "OPUS/48000/2", Codec::Opus),
            (107, "opus/48000", Codec::Opus),
        ] {
            assert_eq!(
                Meaning::of(payload_type, Some(encoding)),
                Meaning::Codec(codec),
                "{encoding}"
            );
        }
    }

    #[test]
    fn what_is_not_spoken_is_something_else() {
        for (payload_type, encoding) in [
            (0, "G722/8000"),
            (0, "MPEG4-GENERIC/16000/2"),
            (96, "G722/16000"),
            (96, "PCMU/16000"),
            (96, "PCMU/8000/2"),
            (96, "opus/48000/1"),
            (96, "opus/16000/2"),
            (96, "opus"),
            (96, "telephone-event/0"),
            (96, "telephone-event/many"),
            (96, ""),
            (18, "G729/8000"),
        ] {
            assert_eq!(Meaning::of(payload_type, Some(encoding)), Meaning::Other, "{encoding}");
        }
    }

    #[test]
    fn events_have_a_clock() {
        let of = |clock_hz| Meaning::Event { clock_hz };
        assert_eq!(Meaning::of(101, Some("telephone-event/8000")), of(8000));
        assert_eq!(Meaning::of(110, Some("Telephone-Event/48000")), of(48_000));
        assert_eq!(Meaning::of(101, Some("telephone-event")), of(8000));
        // baresip-studio#520: under the number of L16.
        assert_eq!(Meaning::of(10, Some("telephone-event/8000")), of(8000));
    }
}
