//! What stands in for lost audio of codecs that have nothing for it themselves: the last period of the voice, again and
//! again, more quietly each time, as appendix I of G.711 does it. It adds no delay: what was played is not touched, and what
//! comes after a loss is faded in.

use crate::Rate;

/// One stream: what was heard last, and what has been made up since.
#[derive(Clone, Debug)]
pub struct Concealment {
    rate: Rate,
    /// The last [`HISTORY_MS`] that were really heard.
    history: Vec<i16>,
    /// Of a loss that is under way.
    loss: Option<Loss>,
}

#[derive(Clone, Debug)]
struct Loss {
    /// Played round and round.
    period: Vec<i16>,
    /// Where in it.
    at: usize,
    /// Samples since the loss began.
    played: usize,
}

impl Concealment {
    /// A stream of which nothing was heard.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            history: Vec::new(),
            loss: None,
        }
    }

    /// These were really heard. After a loss their first 4 ms are changed so that they join what was made up.
    pub fn heard(&mut self, samples: &mut [i16]) {
        if let Some(mut loss) = self.loss.take() {
            let fade = self.rate.samples(FADE_MS).min(samples.len());
            for (n, sample) in samples[..fade].iter_mut().enumerate() {
                *sample = crossed(loss.next(self.rate), *sample, n + 1, fade + 1);
            }
        }
        let kept = self.rate.samples(HISTORY_MS);
        let new = &samples[samples.len().saturating_sub(kept)..];
        let surplus = (self.history.len() + new.len()).saturating_sub(kept);
        self.history.drain(..surplus);
        self.history.extend_from_slice(new);
    }

    /// So many are lost: as many are made up, and added to `out`. After 60 ms they are silence.
    pub fn lost(&mut self, count: usize, out: &mut Vec<i16>) {
        let rate = self.rate;
        let history = &self.history;
        let loss = self.loss.get_or_insert_with(|| Loss {
            period: last_period(history, rate),
            at: 0,
            played: 0,
        });
        out.extend((0..count).map(|_| loss.next(rate)));
    }
}

impl Loss {
    fn next(&mut self, rate: Rate) -> i16 {
        let Some(sample) = self.period.get(self.at).copied() else {
            return 0;
        };
        self.at = (self.at + 1) % self.period.len();
        // As it was for 10 ms, then a fifth less every 10 ms, nothing from 60 ms on.
        let (begin, end) = (rate.samples(LOUD_MS), rate.samples(END_MS));
        let left = end.saturating_sub(self.played).min(end - begin);
        self.played += 1;
        crossed(0, sample, left, end - begin)
    }
}

/// The last period of what was heard; its end is faded into what came before it, so that it can be played round and round.
/// Empty: nothing was heard that could be repeated.
fn last_period(history: &[i16], rate: Rate) -> Vec<i16> {
    let (shortest, longest) = (
        rate.hertz() as usize / PITCH_HERTZ_MAX,
        rate.hertz() as usize / PITCH_HERTZ_MIN,
    );
    let window = rate.samples(COMPARED_MS);
    if history.len() < longest + window {
        return Vec::new();
    }
    // At the higher rates first in steps of one sample of 8 kHz, then exactly.
    let step = rate.hertz() as usize / 8000;
    let best_of = |periods: &mut dyn Iterator<Item = usize>, step: usize| {
        let likeness = |period: usize| likeness(history, window, period, step);
        periods.max_by(|one, other| likeness(*one).total_cmp(&likeness(*other)))
    };
    let near = best_of(&mut (shortest..=longest).step_by(step), step).unwrap_or(longest);
    let range = near.saturating_sub(step - 1).max(shortest)..=(near + step - 1).min(longest);
    let period = best_of(&mut range.into_iter(), step).unwrap_or(near);
    let begin = history.len() - period;
    let mut found = history[begin..].to_vec();
    let fade = period / 4;
    for n in 0..fade {
        let at = period - fade + n;
        found[at] = crossed(found[at], history[begin - fade + n], n + 1, fade + 1);
    }
    found
}

/// How alike the last samples are to those one period before: their correlation, normalized.
fn likeness(history: &[i16], window: usize, period: usize, step: usize) -> f32 {
    let last = &history[history.len() - window..];
    let before = &history[history.len() - window - period..];
    let (mut product, mut energy) = (0.0_f32, 1.0_f32);
    for (one, other) in last.iter().zip(before).step_by(step) {
        let (one, other) = (f32::from(*one), f32::from(*other));
        product += one * other;
        energy += other * other;
    }
    product / energy.sqrt()
}

/// So much of the second, the rest of the first.
#[expect(clippy::cast_possible_truncation, reason = "a mean of two samples is a sample")]
fn crossed(from: i16, to: i16, part: usize, whole: usize) -> i16 {
    let (part, whole) = (part as i64, whole as i64);
    ((i64::from(from) * (whole - part) + i64::from(to) * part) / whole) as i16
}

/// Of a voice.
const PITCH_HERTZ_MIN: usize = 66;
const PITCH_HERTZ_MAX: usize = 400;
/// Over which periods are compared.
const COMPARED_MS: usize = 20;
const HISTORY_MS: usize = 50;
/// What comes after a loss is faded in for so long.
const FADE_MS: usize = 4;
const LOUD_MS: usize = 10;
const END_MS: usize = 60;

const _: () = assert!(HISTORY_MS * PITCH_HERTZ_MIN > (1000 + COMPARED_MS * PITCH_HERTZ_MIN));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exercise::{decibel_of_error, rms, voice};

    const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000];

    #[test]
    fn a_lost_frame_of_a_voice_sounds_like_the_voice() {
        for rate in RATES {
            let whole = voice(rate, 200);
            let (begin, end) = (rate.samples(100), rate.samples(110));
            let mut concealment = Concealment::new(rate);
            let mut heard = whole.clone();
            concealment.heard(&mut heard[..begin]);
            let mut made_up = Vec::new();
            concealment.lost(end - begin, &mut made_up);
            let decibel = decibel_of_error(&whole[begin..end], &made_up);
            assert!(decibel > 12.0, "{rate:?}: {decibel} dB");
            // And what comes then joins it: no step is higher than those of the voice.
            concealment.heard(&mut heard[end..]);
            let highest = |samples: &[i16]| samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max();
            let mut joined = whole[..begin].to_vec();
            joined.extend(made_up);
            joined.extend_from_slice(&heard[end..]);
            assert!(highest(&joined) < highest(&whole).map(|step| step * 2), "{rate:?}");
            assert_eq!(
                joined[end + rate.samples(FADE_MS)..],
                whole[end + rate.samples(FADE_MS)..]
            );
        }
    }

    #[test]
    fn a_long_loss_becomes_silence() {
        let mut concealment = Concealment::new(Rate::Hz8000);
        concealment.heard(&mut voice(Rate::Hz8000, 100));
        let mut out = Vec::new();
        for _ in 0..5 {
            concealment.lost(160, &mut out);
        }
        let loud: Vec<f64> = out.chunks(160).map(rms).collect();
        assert!(loud[0] > loud[1] && loud[1] > loud[2] && loud[2] > 0.0, "{loud:?}");
        assert_eq!(loud[3..], [0.0, 0.0]);
    }

    #[test]
    fn without_anything_heard_it_is_silence() {
        let mut concealment = Concealment::new(Rate::Hz48000);
        let mut out = Vec::new();
        concealment.lost(7, &mut out);
        concealment.heard(&mut [100; 3]);
        concealment.lost(1, &mut out);
        assert_eq!(out, [0; 8]);
    }
}
