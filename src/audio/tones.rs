//! Tones: those of keys (ITU-T Q.23), and those that say who comes and goes.

use std::f64::consts::TAU;

use crate::Rate;

/// A sound of one or two sines after another, at one rate. It ends by itself.
#[derive(Clone, Debug)]
pub struct Tone {
    rate: Rate,
    parts: Vec<Part>,
    /// Samples that were played, of the first part that is left.
    played: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    /// Of both sines; zero: none.
    hertz: [f64; 2],
    /// Of each.
    amplitude: f64,
    milliseconds: usize,
}

/// Rows and columns of keys, in hertz.
pub(crate) const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
pub(crate) const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
pub(crate) const KEYS: [[char; 4]; 4] = [
    ['1', '2', '3', 'A'],
    ['4', '5', '6', 'B'],
    ['7', '8', '9', 'C'],
    ['*', '0', '#', 'D'],
];

/// The longest tone of a key.
pub const DIGIT_MS_MAX: usize = 5000;

impl Tone {
    /// The two tones of a key, at about -12 dBov each. `None`: there is no such key. At most [`DIGIT_MS_MAX`].
    pub fn digit(rate: Rate, key: char, milliseconds: usize) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        let row = KEYS.iter().position(|row| row.contains(&key))?;
        let column = KEYS[row].iter().position(|other| *other == key)?;
        let part = Part {
            hertz: [ROWS[row], COLUMNS[column]],
            amplitude: 8000.0,
            milliseconds: milliseconds.min(DIGIT_MS_MAX),
        };
        Some(Self::of(rate, vec![part]))
    }

    /// Somebody comes: two tones, the higher one last.
    pub fn join(rate: Rate) -> Self {
        Self::of(rate, vec![beep(523.25), beep(783.99)])
    }

    /// Somebody goes: the same, the lower one last.
    pub fn leave(rate: Rate) -> Self {
        Self::of(rate, vec![beep(783.99), beep(523.25)])
    }

    /// One sine, at about -13 dBov. At most [`DIGIT_MS_MAX`].
    pub fn sine(rate: Rate, hertz: f64, milliseconds: usize) -> Self {
        let part = Part {
            hertz: [hertz, 0.0],
            amplitude: 10_000.0,
            milliseconds: milliseconds.min(DIGIT_MS_MAX),
        };
        Self::of(rate, vec![part])
    }

    fn of(rate: Rate, parts: Vec<Part>) -> Self {
        Self { rate, parts, played: 0 }
    }
}

impl Iterator for Tone {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        let part = loop {
            let part = *self.parts.first()?;
            if self.played < self.rate.samples(part.milliseconds) {
                break part;
            }
            self.parts.remove(0);
            self.played = 0;
        };
        let (at, length) = (self.played, self.rate.samples(part.milliseconds));
        self.played += 1;
        let time = at as f64 / f64::from(self.rate.hertz());
        let sines: f64 = part.hertz.iter().map(|hertz| (TAU * hertz * time).sin()).sum();
        // It begins and ends without a click.
        let ramp = self.rate.samples(RAMP_MS).max(1);
        let part_of = (at.min(length - 1 - at) as f64 / ramp as f64).min(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "two amplitudes are below the loudest sample"
        )]
        let sample = (part.amplitude * part_of * sines) as i16;
        Some(sample)
    }
}

fn beep(hertz: f64) -> Part {
    Part {
        hertz: [hertz, 0.0],
        amplitude: 4000.0,
        milliseconds: 120,
    }
}

const RAMP_MS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_are_as_long_as_is_said_and_end_softly() {
        for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000] {
            let tone: Vec<i16> = Tone::digit(rate, '5', 100).unwrap().collect();
            assert_eq!(tone.len(), rate.samples(100));
            assert_eq!((tone[0], tone[tone.len() - 1]), (0, 0));
            assert!(tone.iter().any(|sample| *sample > 14_000));
            assert_eq!(Tone::join(rate).count(), rate.samples(240));
            assert_eq!(Tone::leave(rate).count(), rate.samples(240));
        }
        assert!(Tone::digit(Rate::Hz8000, 'E', 100).is_none());
        assert_eq!(Tone::digit(Rate::Hz8000, '1', usize::MAX).unwrap().count(), 40_000);
        assert_eq!(Tone::digit(Rate::Hz8000, 'd', 0).unwrap().count(), 0);
    }
}
