//! Comfort noise (RFC 3389): white noise at a level, where there would be silence.

/// A source of noise.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    state: u32,
    /// Of the square root of its mean square.
    amplitude: f32,
}

impl ComfortNoise {
    /// At so many decibels below the loudest (dBov): 0 to 127. From 96 on it is silence.
    pub fn new(level: u8) -> Self {
        let mut noise = Self {
            state: 0x9e37_79b9,
            amplitude: 0.0,
        };
        noise.set_level(level);
        noise
    }

    /// Another level.
    pub fn set_level(&mut self, level: u8) {
        self.amplitude = f32::from(i16::MAX) * 10.0_f32.powf(-f32::from(level) / 20.0);
    }

    /// What a payload of comfort noise says: the level is its first byte, and what follows, the spectrum, is passed over.
    /// Whether there was one.
    pub fn set_payload(&mut self, payload: &[u8]) -> bool {
        let Some(level) = payload.first() else { return false };
        self.set_level(*level & 0x7f);
        true
    }

    /// So many samples, added to `out`.
    pub fn fill(&mut self, count: usize, out: &mut Vec<i16>) {
        out.extend((0..count).map(|_| self.next()));
    }

    fn next(&mut self) -> i16 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        let [low, high, _, _] = self.state.to_le_bytes();
        // Even between -1 and 1: its mean square is a third.
        let even = f32::from(i16::from_le_bytes([low, high])) / 32_768.0;
        crate::resampling::rounded(even * self.amplitude * 3.0_f32.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level;

    #[test]
    fn noise_is_as_loud_as_is_said() {
        let mut noise = ComfortNoise::new(127);
        for wanted in [20, 40, 60, 70] {
            assert!(noise.set_payload(&[wanted, 1, 2, 3]));
            let mut out = Vec::new();
            noise.fill(8000, &mut out);
            assert!(level(&out).abs_diff(wanted) <= 1, "{} for {wanted}", level(&out));
        }
        assert!(!noise.set_payload(&[]));
        let mut out = Vec::new();
        ComfortNoise::new(127).fill(100, &mut out);
        assert_eq!(out, [0; 100]);
    }
}
