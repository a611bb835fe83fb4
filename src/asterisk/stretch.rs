//! Rates that telephone codecs do not have, brought to one that they have: by means of the samples that a new one covers, or
//! by a line between two. It is meant for speech, and cheap.

/// From one rate to another, in pieces of any length.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    from: u32,
    to: u32,
    /// The last sample of the piece before.
    last: i16,
    /// Where the next new sample is, from `last` on, in parts of which an old sample has `to`.
    at: u64,
}

impl Stretch {
    pub(crate) fn new(from: u32, to: u32) -> Self {
        Self {
            from: from.max(1),
            to: to.max(1),
            last: 0,
            at: 0,
        }
    }

    /// The next samples; what becomes of them is added to `out`.
    pub(crate) fn process(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        if self.from == self.to {
            return out.extend(samples);
        }
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let length = samples.len() as u64 * to;
        // Of a lower rate each new sample stands for several.
        let covered = (from / to).max(1);
        while self.at + (covered - 1) * to < length {
            let first = usize::try_from(self.at / to).unwrap_or(usize::MAX);
            let part = i64::try_from(self.at % to).unwrap_or(0);
            let sample = if covered > 1 {
                let end = first.saturating_add(usize::try_from(covered).unwrap_or(1));
                let part = samples.get(first..end.min(samples.len())).unwrap_or_default();
                let sum: i64 = part.iter().map(|sample| i64::from(*sample)).sum();
                sum / i64::try_from(part.len().max(1)).unwrap_or(1)
            } else {
                let before = match first.checked_sub(1) {
                    Some(before) => samples.get(before).copied().unwrap_or(0),
                    None => self.last,
                };
                let (low, high) = (i64::from(before), i64::from(samples.get(first).copied().unwrap_or(0)));
                low + (high - low) * part / i64::from(self.to)
            };
            out.push(i16::try_from(sample).unwrap_or(0));
            self.at += from;
        }
        self.at -= length.min(self.at);
        self.last = samples.last().copied().unwrap_or(self.last);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[test]
    fn a_tone_is_the_same_tone_at_every_rate() {
        for (from, to) in [
            (12_000, 16_000),
            (16_000, 12_000),
            (24_000, 48_000),
            (48_000, 24_000),
            (32_000, 48_000),
            (44_100, 48_000),
            (48_000, 44_100),
            (96_000, 48_000),
            (192_000, 48_000),
            (48_000, 192_000),
        ] {
            let tone: Vec<i16> = (0..from)
                .map(|index| {
                    #[expect(clippy::cast_possible_truncation, reason = "an amplitude below the loudest sample")]
                    let sample = (10_000.0 * (TAU * 440.0 * f64::from(index) / f64::from(from)).sin()) as i16;
                    sample
                })
                .collect();
            let mut stretch = Stretch::new(from, to);
            let mut out = Vec::new();
            for piece in tone.chunks(from as usize / 50 + 1) {
                stretch.process(piece, &mut out);
            }
            let length = i64::try_from(out.len()).unwrap();
            assert!((length - i64::from(to)).abs() <= 52, "{from} to {to}: {length}");
            // Each period has two crossings of zero.
            let crossings = out.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
            assert!(
                (876..=884).contains(&crossings),
                "{from} to {to}: {crossings} crossings"
            );
            let loudest = out.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            assert!((9000..=10_000).contains(&loudest), "{from} to {to}: {loudest}");
        }
    }
}
