//! Keys that are heard in audio itself (ITU-T Q.23 and Q.24): the energy at eight frequencies, by Goertzel's algorithm.

use std::f32::consts::TAU;

use crate::tones::{COLUMNS, KEYS, ROWS};

/// Finds keys in samples of 8 kHz.
#[derive(Clone, Debug)]
pub struct KeyDetector {
    /// Samples that are not judged yet.
    block: Vec<f32>,
    /// What was found in the block before, and in how many on end.
    found: Option<char>,
    blocks: u32,
    /// What is told to be pressed, and for how many blocks it was not there.
    pressed: Option<char>,
    missing: u32,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeard {
    /// A key is pressed.
    Pressed(char),
    /// It is no longer.
    Released(char),
}

impl Default for KeyDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyDetector {
    /// Nothing was heard.
    pub fn new() -> Self {
        Self {
            block: Vec::with_capacity(BLOCK),
            found: None,
            blocks: 0,
            pressed: None,
            missing: 0,
        }
    }

    /// Hears the next samples; tells what begins and ends in them. A tone of 40 ms is found, one of 20 ms is not.
    pub fn process(&mut self, samples: &[i16], mut told: impl FnMut(KeyHeard)) {
        for sample in samples {
            self.block.push(f32::from(*sample));
            if self.block.len() == BLOCK {
                let found = key_in(&self.block);
                self.block.clear();
                self.judge(found, &mut told);
            }
        }
    }

    fn judge(&mut self, found: Option<char>, told: &mut impl FnMut(KeyHeard)) {
        self.blocks = if found == self.found { self.blocks + 1 } else { 1 };
        self.found = found;
        if let Some(key) = self.pressed {
            if found == Some(key) {
                self.missing = 0;
                return;
            }
            self.missing += 1;
            if self.missing < BLOCKS_MISSING {
                return;
            }
            self.pressed = None;
            told(KeyHeard::Released(key));
        }
        if self.blocks >= BLOCKS_FOUND
            && let Some(key) = found
        {
            self.pressed = Some(key);
            self.missing = 0;
            told(KeyHeard::Pressed(key));
        }
    }
}

fn key_in(block: &[f32]) -> Option<char> {
    let total: f32 = block.iter().map(|sample| sample * sample).sum();
    if total < QUIETEST * BLOCK as f32 {
        return None;
    }
    let (row, of_row, second_row) = loudest(block, &ROWS);
    let (column, of_column, second_column) = loudest(block, &COLUMNS);
    let is_key = of_row > second_row * APART
        && of_column > second_column * APART
        // Q.24: the higher one may be up to 4 dB louder, the lower one up to 8 dB.
        && of_column < of_row * 2.512
        && of_row < of_column * 6.31
        // Nearly all of it is in both: speech has harmonics besides.
        && (of_row + of_column) > total * PURE;
    is_key.then(|| KEYS[row][column])
}

/// Which of the frequencies is the loudest, its energy in the block, and that of the next.
fn loudest(block: &[f32], frequencies: &[f64; 4]) -> (usize, f32, f32) {
    let (mut best, mut energy, mut second) = (0, 0.0, 0.0);
    for (index, hertz) in frequencies.iter().enumerate() {
        let found = energy_at(block, *hertz);
        if found > energy {
            (best, second, energy) = (index, energy, found);
        } else if found > second {
            second = found;
        }
    }
    (best, energy, second)
}

/// The energy that a sine of that frequency has in the block.
#[expect(clippy::cast_possible_truncation, reason = "frequencies of keys")]
fn energy_at(block: &[f32], hertz: f64) -> f32 {
    let factor = 2.0 * (TAU * hertz as f32 / 8000.0).cos();
    let (mut last, mut before) = (0.0_f32, 0.0_f32);
    for sample in block {
        (last, before) = (factor * last - before + sample, last);
    }
    (last * last + before * before - factor * last * before) * 2.0 / block.len() as f32
}

/// 12.75 ms: two of them on end are in a tone of 40 ms, however it lies.
const BLOCK: usize = 102;
const BLOCKS_FOUND: u32 = 2;
/// A gap of less than 25 ms is none.
const BLOCKS_MISSING: u32 = 2;
/// The mean square of about -45 dBov.
const QUIETEST: f32 = 34_000.0;
/// By how much a frequency is above the others of its group.
const APART: f32 = 6.0;
const PURE: f32 = 0.82;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exercise::{sine, voice};
    use crate::{ComfortNoise, Rate, Tone};

    fn heard(samples: &[i16]) -> Vec<KeyHeard> {
        let mut heard = Vec::new();
        let mut detector = KeyDetector::new();
        for piece in samples.chunks(160) {
            detector.process(piece, |event| heard.push(event));
        }
        heard
    }

    #[test]
    fn every_key_is_heard_once_however_it_lies() {
        for key in KEYS.into_iter().flatten() {
            for offset in [0, 13, 40, 77, 101] {
                let mut samples = vec![0; 200 + offset];
                samples.extend(Tone::digit(Rate::Hz8000, key, 45).unwrap());
                samples.extend([0; 400]);
                samples.extend(Tone::digit(Rate::Hz8000, key, 45).unwrap());
                samples.extend([0; 400]);
                let once = [KeyHeard::Pressed(key), KeyHeard::Released(key)];
                assert_eq!(heard(&samples), [once, once].concat(), "{key} at {offset}");
            }
        }
    }

    #[test]
    fn quiet_and_noisy_keys_are_heard() {
        let mut noise = Vec::new();
        ComfortNoise::new(40).fill(1600, &mut noise);
        let tone: Vec<i16> = Tone::digit(Rate::Hz8000, '7', 100).unwrap().collect();
        for (n, sample) in tone.iter().enumerate() {
            noise[400 + n] += sample / 8;
        }
        assert_eq!(heard(&noise), [KeyHeard::Pressed('7'), KeyHeard::Released('7')]);
    }

    #[test]
    fn what_is_no_key_is_not_heard() {
        assert_eq!(heard(&voice(Rate::Hz8000, 2000)), []);
        let mut noise = Vec::new();
        ComfortNoise::new(15).fill(80_000, &mut noise);
        assert_eq!(heard(&noise), []);
        for hertz in [697.0, 941.0, 1209.0, 1633.0, 350.0, 1000.0] {
            assert_eq!(heard(&sine(Rate::Hz8000, hertz, 10_000.0, 8000)), [], "{hertz}");
        }
        // Too short (Q.24), and one half of it much louder than the other.
        for offset in [0, 33, 60, 90] {
            let mut short = vec![0; offset];
            short.extend(Tone::digit(Rate::Hz8000, '1', 20).unwrap());
            short.extend([0; 400]);
            assert_eq!(heard(&short), []);
        }
        let high = sine(Rate::Hz8000, 1209.0, 10_000.0, 1600);
        let low = sine(Rate::Hz8000, 697.0, 3000.0, 1600);
        let twisted: Vec<i16> = high.iter().zip(low).map(|(high, low)| high + low).collect();
        assert_eq!(heard(&twisted), []);
    }
}
