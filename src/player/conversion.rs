//! Samples of any rate as samples of one of those that codecs have: a whole file at once, by a sinc under a Hann window.

use std::f64::consts::PI;

use moqswitch_audio::Rate;

use crate::limits::{FILE_RATE_MAX, FILE_RATE_MIN};

/// The least rate that loses nothing of another one. `None`: nobody has such a rate.
pub(crate) fn rate_above(hertz: u32) -> Option<Rate> {
    match hertz {
        FILE_RATE_MIN..=8000 => Some(Rate::Hz8000),
        8001..=16_000 => Some(Rate::Hz16000),
        16_001..=FILE_RATE_MAX => Some(Rate::Hz48000),
        _ => None,
    }
}

/// Samples at `from` hertz as samples at `to`.
pub(crate) fn converted(samples: Vec<i16>, from: u32, to: Rate) -> Vec<i16> {
    if from == to.hertz() || from == 0 {
        return samples;
    }
    let divisor = common_divisor(from, to.hertz());
    // So many of one are as long as so many of the other.
    let (step, phases) = ((from / divisor) as usize, (to.hertz() / divisor) as usize);
    let filter = Filter::new(step, phases);
    let count = samples.len() * phases / step;
    (0..count).map(|index| filter.at(&samples, index * step)).collect()
}

/// What each sample is made of, for each place that it can have between two of the others.
struct Filter {
    /// In rows of `taps`.
    weights: Vec<f32>,
    taps: usize,
    phases: usize,
}

impl Filter {
    fn new(step: usize, phases: usize) -> Self {
        // What the lower rate does not have is taken away. The lower it is, the more samples of the higher one that takes.
        let cutoff = CUTOFF * (phases as f64 / step as f64).min(1.0);
        let half = (HALF_TAPS / cutoff * CUTOFF).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
        let taps = half as usize * 2;
        let mut weights = Vec::with_capacity(taps * phases);
        for phase in 0..phases {
            let offset = phase as f64 / phases as f64;
            let row = weights.len();
            for tap in 0..taps {
                let distance = tap as f64 - (half - 1.0) - offset;
                let window = 0.5 + 0.5 * (PI * distance / half).cos();
                #[expect(clippy::cast_possible_truncation, reason = "a weight")]
                weights.push((sinc(2.0 * cutoff * distance) * window) as f32);
            }
            // What does not move keeps its height, whatever the place.
            let sum: f32 = weights[row..].iter().sum();
            weights[row..].iter_mut().for_each(|weight| *weight /= sum);
        }
        Self { weights, taps, phases }
    }

    /// What is at a place, counted in parts of a sample.
    fn at(&self, samples: &[i16], place: usize) -> i16 {
        let (whole, phase) = (place / self.phases, place % self.phases);
        let weights = &self.weights[phase * self.taps..(phase + 1) * self.taps];
        let first = whole + 1;
        let half = self.taps / 2;
        let sample = |tap: usize| (first + tap).checked_sub(half).and_then(|index| samples.get(index));
        let sum: f32 = weights
            .iter()
            .enumerate()
            .filter_map(|(tap, weight)| Some(weight * f32::from(*sample(tap)?)))
            .sum();
        #[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
        let rounded = sum.round_ties_even() as i16;
        rounded
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

fn common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 {
        one
    } else {
        common_divisor(other, one % other)
    }
}

/// Where the filter is at half, as a part of the lower rate.
const CUTOFF: f64 = 0.46;
/// Samples of the lower rate on each side.
const HALF_TAPS: f64 = 32.0;

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "not the loudest")]
    fn sine(rate: u32, hertz: f64, seconds: f64) -> Vec<i16> {
        let count = (f64::from(rate) * seconds) as u32;
        let at = |n: u32| (8000.0 * (TAU * hertz * f64::from(n) / f64::from(rate)).sin()).round() as i16;
        (0..count).map(at).collect()
    }

    fn rms(samples: impl Iterator<Item = f64> + Clone) -> f64 {
        let count = samples.clone().count() as f64;
        (samples.map(|sample| sample * sample).sum::<f64>() / count).sqrt()
    }

    #[test]
    fn a_tone_is_the_same_tone_at_another_rate() {
        for (from, to) in [
            (44_100, Rate::Hz48000),
            (22_050, Rate::Hz48000),
            (11_025, Rate::Hz16000),
            (6000, Rate::Hz8000),
            (96_000, Rate::Hz48000),
        ] {
            let converted = converted(sine(from, 440.0, 0.5), from, to);
            let wanted = sine(to.hertz(), 440.0, 0.5);
            assert!(
                converted.len().abs_diff(wanted.len()) <= 1,
                "{from}: {}",
                converted.len()
            );
            let middle = wanted.len() / 4..wanted.len() * 3 / 4;
            let error = rms(middle.map(|n| f64::from(converted[n]) - f64::from(wanted[n])));
            assert!(error < 8.0, "{from}: {error}");
        }
    }

    #[test]
    fn what_the_lower_rate_does_not_have_is_gone() {
        let converted = converted(sine(96_000, 30_000.0, 0.2), 96_000, Rate::Hz48000);
        let left = rms(converted[2000..7000].iter().map(|sample| f64::from(*sample)));
        assert!(left < 30.0, "{left}");
    }

    #[test]
    fn each_rate_has_one_above() {
        assert_eq!(rate_above(8000), Some(Rate::Hz8000));
        assert_eq!(rate_above(11_025), Some(Rate::Hz16000));
        assert_eq!(rate_above(44_100), Some(Rate::Hz48000));
        assert_eq!((rate_above(0), rate_above(1_000_000)), (None, None));
        assert!(converted(vec![1, 2, 3], 8000, Rate::Hz8000) == [1, 2, 3]);
        assert!(converted(Vec::new(), 44_100, Rate::Hz48000).is_empty());
    }
}
