//! Which payload type means what in a session. A number keeps its meaning, in offers and answers of both sides (RFC 3264,
//! section 8.3.2).

use super::codec::{Codec, DYNAMIC, EVENT_CLOCK_HZ, Format, Meaning};

/// What was told of each number, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Vec<Format>);

impl Numbers {
    /// What a description tells. It is right where it contradicts what was told before: sides change behind a switch.
    pub(super) fn learn(&mut self, formats: &[Format]) {
        for format in formats.iter().filter(|format| format.meaning != Meaning::Untold) {
            match self
                .0
                .iter_mut()
                .find(|known| known.payload_type == format.payload_type)
            {
                Some(known) => known.meaning = format.meaning,
                None => self.0.push(*format),
            }
        }
    }

    /// The formats, with what was told before of numbers that are not explained: some leave that out of a call that they
    /// hold (pjproject#1411).
    pub(super) fn explain(&self, formats: &[Format]) -> Vec<Format> {
        let explain = |format: &Format| match format.meaning {
            Meaning::Untold => self.known(format.payload_type).unwrap_or(*format),
            _ => *format,
        };
        formats.iter().map(explain).collect()
    }

    /// The formats of an offer: these codecs, each with a number, and the telephone events that go with them.
    pub(super) fn offer(&mut self, codecs: &[Codec]) -> Vec<Format> {
        let mut meanings = Vec::new();
        for codec in codecs {
            if !meanings.contains(&Meaning::Codec(*codec)) {
                meanings.push(Meaning::Codec(*codec));
            }
        }
        meanings.push(EVENT);
        if codecs.contains(&Codec::Opus) {
            meanings.push(EVENT_WITH_OPUS);
        }
        meanings
            .into_iter()
            .filter_map(|meaning| self.number(meaning))
            .collect()
    }

    /// The number of a meaning: its own, the one it has in this session, the usual one, or one that is free. `None`: none
    /// is.
    fn number(&mut self, meaning: Meaning) -> Option<Format> {
        if let Meaning::Codec(codec) = meaning
            && let Some(payload_type) = codec.static_payload_type()
        {
            return Some(Format { payload_type, meaning });
        }
        if let Some(known) = self.0.iter().find(|known| known.meaning == meaning) {
            return Some(*known);
        }
        let usual = match meaning {
            Meaning::Codec(_) => OPUS_USUALLY,
            EVENT => EVENT_USUALLY,
            _ => EVENT_WITH_OPUS_USUALLY,
        };
        let mut candidates = [usual].into_iter().chain(DYNAMIC..=DYNAMIC_MAX);
        let payload_type = candidates.find(|number| self.known(*number).is_none())?;
        let format = Format { payload_type, meaning };
        self.0.push(format);
        Some(format)
    }

    fn known(&self, payload_type: u8) -> Option<Format> {
        self.0.iter().find(|known| known.payload_type == payload_type).copied()
    }
}

const EVENT: Meaning = Meaning::Event {
    clock_hz: EVENT_CLOCK_HZ,
};
/// Events have the clock of the audio that they interrupt (RFC 4733, section 2.1).
const EVENT_WITH_OPUS: Meaning = Meaning::Event {
    clock_hz: Codec::Opus.clock_hz(),
};

const OPUS_USUALLY: u8 = 111;
const EVENT_USUALLY: u8 = 101;
const EVENT_WITH_OPUS_USUALLY: u8 = 110;
const DYNAMIC_MAX: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(formats: &[Format]) -> Vec<u8> {
        formats.iter().map(|format| format.payload_type).collect()
    }

    const fn format(payload_type: u8, meaning: Meaning) -> Format {
        Format { payload_type, meaning }
    }

    #[test]
    fn the_usual_numbers_are_offered() {
        let mut of = Numbers::default();
        assert_eq!(numbers(&of.offer(&Codec::ALL)), [0, 8, 9, 111, 101, 110]);
        assert_eq!(numbers(&of.offer(&[Codec::Pcma, Codec::Pcma])), [8, 101]);
    }

    #[test]
    fn numbers_of_theirs_are_kept_and_not_given_another_meaning() {
        let mut of = Numbers::default();
        of.learn(&[
            format(0, Meaning::Codec(Codec::Pcmu)),
            format(96, Meaning::Codec(Codec::Opus)),
            format(101, Meaning::Other),
            format(111, EVENT),
        ]);
        assert_eq!(numbers(&of.offer(&[Codec::Opus, Codec::Pcmu])), [96, 0, 111, 110]);
        let explained = of.explain(&[format(111, Meaning::Untold), format(112, Meaning::Untold)]);
        assert_eq!(explained, [format(111, EVENT), format(112, Meaning::Untold)]);
        of.learn(&[format(111, Meaning::Other), format(110, Meaning::Other)]);
        assert_eq!(numbers(&of.offer(&[Codec::Opus])), [96, 97, 98]);
    }

    #[test]
    fn without_a_free_number_it_is_not_offered() {
        let mut of = Numbers::default();
        let all: Vec<Format> = (0..=127).map(|number| format(number, Meaning::Other)).collect();
        of.learn(&all);
        assert_eq!(numbers(&of.offer(&Codec::ALL)), [0, 8, 9]);
    }
}
