//! From one rate to another: a linear-phase low-pass filter (a sinc under a Kaiser window), in its polyphase form.
//!
//! What is above 0.47 of the lower rate is taken away, so nothing folds back. The filter looks 24 samples of the lower
//! rate ahead: 3 ms at 8 kHz, 1.5 ms at 16 kHz.

use std::f64::consts::PI;
use std::sync::{Arc, OnceLock};

use crate::Rate;

/// One stream of samples on its way to another rate. What it was given last is kept, so pieces may be of any length.
#[derive(Clone, Debug)]
pub struct Resampler {
    way: Way,
    /// For each phase its taps, the oldest sample's first.
    taps: Arc<[f32]>,
    /// What the filter looks back at, then what is given.
    line: Vec<f32>,
    /// Of a lower rate: samples that come before the next one that is taken.
    skip: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Same,
    Up(usize),
    Down(usize),
}

impl Resampler {
    /// From this rate to that one. Nothing was heard before.
    pub fn new(from: Rate, to: Rate) -> Self {
        let (from, to) = (from.hertz() as usize, to.hertz() as usize);
        let (way, kept) = match from.cmp(&to) {
            std::cmp::Ordering::Equal => (Way::Same, 0),
            std::cmp::Ordering::Less => (Way::Up(to / from), TAPS - 1),
            std::cmp::Ordering::Greater => (Way::Down(from / to), TAPS * (from / to) - 1),
        };
        Self {
            way,
            taps: taps_of(way),
            line: vec![0.0; kept],
            skip: 0,
        }
    }

    /// The next samples; what becomes of them is added to `out`. Of `n` samples come `n * to / from`, over time.
    pub fn process(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        if self.way == Way::Same {
            out.extend_from_slice(samples);
            return;
        }
        let kept = self.line.len();
        self.line.extend(samples.iter().map(|sample| f32::from(*sample)));
        match self.way {
            Way::Same => {}
            Way::Up(_) => {
                for window in self.line.windows(TAPS) {
                    out.extend(self.taps.chunks_exact(TAPS).map(|taps| weighted(taps, window)));
                }
            }
            Way::Down(times) => {
                let (skip, size) = (self.skip.min(samples.len()), TAPS * times);
                out.extend(
                    self.line[skip..]
                        .windows(size)
                        .step_by(times)
                        .map(|window| weighted(&self.taps, window)),
                );
                self.skip = (self.skip + times - samples.len() % times) % times;
            }
        }
        self.line.copy_within(samples.len().., 0);
        self.line.truncate(kept);
    }
}

/// Samples of the lower rate that one sample is made of. A multiple of [`LANES`].
const TAPS: usize = 48;
/// Sums side by side, so that they are made at once.
const LANES: usize = 8;
/// Where the filter is at half, as a part of the lower rate. Its slope is 0.075 wide.
const CUTOFF: f64 = 0.465;
/// Of Kaiser's window: what is to be gone is 60 dB down.
const BETA: f64 = 5.653;

const _: () = assert!(TAPS.is_multiple_of(LANES));

fn weighted(taps: &[f32], window: &[f32]) -> i16 {
    let mut sums = [0.0; LANES];
    for (taps, window) in taps.chunks_exact(LANES).zip(window.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += taps[lane] * window[lane];
        }
    }
    rounded(sums.iter().sum())
}

/// The nearest sample; what is too loud is cut off.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
pub(crate) fn rounded(value: f32) -> i16 {
    value.round_ties_even() as i16
}

/// Filters are the same for every stream, and made once.
fn taps_of(way: Way) -> Arc<[f32]> {
    static FILTERS: [OnceLock<Arc<[f32]>>; 6] = [const { OnceLock::new() }; 6];
    let (times, is_up) = match way {
        Way::Same => return Arc::new([]),
        Way::Up(times) => (times, true),
        Way::Down(times) => (times, false),
    };
    let index = match times {
        2 => 0,
        3 => 1,
        _ => 2,
    };
    let slot = &FILTERS[index + if is_up { 3 } else { 0 }];
    slot.get_or_init(|| designed(times, is_up)).clone()
}

/// The filter at the higher rate, `times` the lower one. Upwards it is cut into phases, each for one of the samples
/// between two given ones.
fn designed(times: usize, is_up: bool) -> Arc<[f32]> {
    let size = TAPS * times;
    let middle = (size - 1) as f64 / 2.0;
    let at = |index: usize| {
        let offset = index as f64 - middle;
        let x = 2.0 * CUTOFF * offset / times as f64;
        let sinc = if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
        let window = bessel(BETA * (1.0 - (offset / middle).powi(2)).max(0.0).sqrt()) / bessel(BETA);
        sinc * window
    };
    let sum: f64 = (0..size).map(at).sum();
    // Each phase has one `times`-th of the taps, and has to weigh as much as all of them do downwards.
    let gain = if is_up { times as f64 } else { 1.0 } / sum;
    #[expect(clippy::cast_possible_truncation, reason = "precision beyond that of a sample")]
    let tap = |index: usize| (at(index) * gain) as f32;
    if is_up {
        (0..times)
            .flat_map(|phase| (0..TAPS).rev().map(move |step| step * times + phase))
            .map(tap)
            .collect()
    } else {
        (0..size).map(tap).collect()
    }
}

/// The modified Bessel function of the first kind, of order zero.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for step in 1..32 {
        term *= (x / (2.0 * f64::from(step))).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000];

    #[expect(clippy::cast_possible_truncation, reason = "precision beyond that of a sample")]
    fn tone(rate: Rate, hertz: f64, count: usize) -> Vec<i16> {
        let step = 2.0 * PI * hertz / f64::from(rate.hertz());
        (0..count)
            .map(|n| rounded(10_000.0 * (step * n as f64).sin() as f32))
            .collect()
    }

    fn resampled(from: Rate, to: Rate, samples: &[i16]) -> Vec<i16> {
        let mut out = Vec::new();
        Resampler::new(from, to).process(samples, &mut out);
        out
    }

    /// The amplitude at one frequency, and what is left besides it, both as root mean squares.
    fn parts(rate: Rate, hertz: f64, samples: &[i16]) -> (f64, f64) {
        let (mut sine, mut cosine, mut all) = (0.0, 0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = 2.0 * PI * hertz * n as f64 / f64::from(rate.hertz());
            sine += f64::from(*sample) * angle.sin();
            cosine += f64::from(*sample) * angle.cos();
            all += f64::from(*sample).powi(2);
        }
        let count = samples.len() as f64;
        let power = (sine.powi(2) + cosine.powi(2)) * 2.0 / count.powi(2);
        (power.sqrt(), (all / count - power).max(0.0).sqrt())
    }

    #[test]
    fn a_tone_is_the_same_tone_at_every_rate() {
        for from in RATES {
            for to in RATES {
                for hertz in [300.0, 1000.0, 3200.0] {
                    let out = resampled(from, to, &tone(from, hertz, from.samples(1000)));
                    // The first hundredth is where the filter has not heard enough.
                    let (tone, rest) = parts(to, hertz, &out[to.samples(100)..to.samples(1000)]);
                    let decibel = 20.0 * (tone / rest.max(0.1)).log10();
                    let level = 20.0 * (tone / (10_000.0 / 2.0_f64.sqrt())).log10();
                    assert!(decibel > 60.0, "{from:?} to {to:?}, {hertz} Hz: {decibel} dB");
                    assert!(level.abs() < 0.1, "{from:?} to {to:?}, {hertz} Hz: {level} dB");
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_has_no_room_for_is_gone() {
        for (from, to, hertz) in [
            (Rate::Hz48000, Rate::Hz8000, 4300.0),
            (Rate::Hz48000, Rate::Hz8000, 7000.0),
            (Rate::Hz16000, Rate::Hz8000, 5000.0),
            (Rate::Hz48000, Rate::Hz16000, 9000.0),
        ] {
            let out = resampled(from, to, &tone(from, hertz, from.samples(500)));
            let loudest = out[to.samples(100)..].iter().map(|sample| sample.abs()).max();
            assert!(
                loudest < Some(20),
                "{from:?} to {to:?}, {hertz} Hz: {loudest:?} of 10000"
            );
        }
    }

    #[test]
    fn pieces_of_any_length_are_one_stream() {
        for from in RATES {
            for to in RATES {
                let samples = tone(from, 440.0, from.samples(100));
                let whole = resampled(from, to, &samples);
                assert_eq!(whole.len(), to.samples(100));
                for size in [1, 5, 7, 160, 161, 480] {
                    let mut resampler = Resampler::new(from, to);
                    let mut out = Vec::new();
                    for piece in samples.chunks(size) {
                        resampler.process(piece, &mut out);
                    }
                    assert_eq!(out, whole, "{from:?} to {to:?} by {size}");
                }
            }
        }
    }

    #[test]
    fn the_loudest_samples_stay_the_loudest() {
        let square: Vec<i16> = (0..800)
            .map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let out = resampled(Rate::Hz8000, Rate::Hz48000, &square);
        // Overshoot is cut off: it never turns into the other sign.
        for (n, sample) in out
            .iter()
            .enumerate()
            .skip(300)
            .filter(|(n, _)| (n - 144) % 120 > 12 && (n - 144) % 120 < 108)
        {
            assert_eq!(*sample > 0, (n - 144) / 120 % 2 == 0, "at {n}: {sample}");
        }
        assert!(out.contains(&i16::MAX));
    }
}
