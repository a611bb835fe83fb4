//! How loud samples are.

/// The loudness of samples, in decibels below the loudest that there is (dBov, as RFC 6464 has it): 0 to 127. A square wave
/// of full amplitude has 0, a sine 3, silence 127.
pub fn level(samples: &[i16]) -> u8 {
    let sum: u64 = samples
        .iter()
        .map(|sample| u64::from(sample.unsigned_abs()).pow(2))
        .sum();
    if sum == 0 {
        return SILENCE;
    }
    let mean = sum as f64 / samples.len() as f64;
    let decibel = -10.0 * (mean / f64::from(i16::MAX).powi(2)).log10();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let level = decibel.round().clamp(0.0, f64::from(SILENCE)) as u8;
    level
}

/// What [`level`] is of silence.
pub const SILENCE: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;
    use crate::exercise::sine;

    #[test]
    fn levels_are_those_of_the_standard() {
        assert_eq!(level(&[i16::MAX, -i16::MAX]), 0);
        assert_eq!(level(&[i16::MIN; 9]), 0);
        assert_eq!(level(&sine(Rate::Hz8000, 1000.0, 32_767.0, 800)), 3);
        assert_eq!(level(&sine(Rate::Hz8000, 1000.0, 3276.7, 800)), 23);
        assert_eq!(level(&[0; 160]), SILENCE);
        assert_eq!(level(&[]), SILENCE);
    }
}
