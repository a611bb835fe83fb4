//! Sounds to try with, and what is measured of them.

use std::f64::consts::TAU;

use crate::Rate;

/// A vowel of 120 Hz: ten of its harmonics, falling.
#[expect(clippy::cast_possible_truncation, reason = "far from the loudest")]
pub(crate) fn voice(rate: Rate, milliseconds: usize) -> Vec<i16> {
    let harmonics = |time: f64| -> f64 {
        (1..=10)
            .map(f64::from)
            .map(|n| 4000.0 / n * (TAU * 120.0 * n * time + n * n).sin())
            .sum()
    };
    let count = rate.samples(milliseconds);
    (0..count)
        .map(|n| harmonics(n as f64 / f64::from(rate.hertz())) as i16)
        .collect()
}

/// One sine.
#[expect(clippy::cast_possible_truncation, reason = "as loud as is said")]
pub(crate) fn sine(rate: Rate, hertz: f64, amplitude: f64, count: usize) -> Vec<i16> {
    let step = TAU * hertz / f64::from(rate.hertz());
    (0..count)
        .map(|n| (amplitude * (step * n as f64).sin()).round() as i16)
        .collect()
}

pub(crate) fn rms(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

/// How far below the signal its error is.
pub(crate) fn decibel_of_error(signal: &[i16], other: &[i16]) -> f64 {
    assert_eq!(signal.len(), other.len());
    let error = signal
        .iter()
        .zip(other)
        .map(|(one, other)| (f64::from(*one) - f64::from(*other)).powi(2));
    let error = (error.sum::<f64>() / signal.len() as f64).sqrt();
    20.0 * (rms(signal) / error.max(0.1)).log10()
}

/// The same with the delay at which it is least, and that delay.
pub(crate) fn decibel_after(signal: &[i16], late: &[i16], delay_max: usize) -> (f64, usize) {
    let count = signal.len().min(late.len()) - delay_max;
    let tried = (0..delay_max).map(|delay| (decibel_of_error(&signal[..count], &late[delay..delay + count]), delay));
    tried
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .expect("there is a delay")
}
