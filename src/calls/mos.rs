//! An estimate of how a hearer would judge what it hears: the E-model of ITU-T G.107, simplified.
//!
//! ```text
//! R   = 93.2 - Id - Ie,eff
//! Id  = 0.024 d + 0.11 (d - 177.3) H(d - 177.3)          d: mouth to ear, ms
//! Ie,eff = Ie + (95 - Ie) P / (P + Bpl)                  P: loss in per cent, at random
//! MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6          (G.107, annex B)
//! ```

use std::time::Duration;

use crate::codec::Codec;

/// 1 to 4.5. `loss` is a share of one, `delay` all but what the codec itself takes.
pub(crate) fn estimate(codec: Codec, loss: f32, delay: Duration) -> f32 {
    let impairment = impairment(codec);
    let delay = delay.as_secs_f32() * 1000.0 + impairment.delay_ms;
    let percent = loss * 100.0;
    let equipment = impairment.ie + (95.0 - impairment.ie) * percent / (percent + BPL);
    let rating = R_DEFAULT - 0.024 * delay - 0.11 * (delay - 177.3).max(0.0) - equipment;
    if rating <= 0.0 {
        return 1.0;
    }
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
}

/// A codec's part in it.
struct Impairment {
    ie: f32,
    /// From the first sample of a frame to its sending, and the codec's look-ahead.
    delay_ms: f32,
}

/// G.113, appendix I, has G.711. Opus is taken for as good; G.722 at 64 kbit/s has 13 on the wideband scale (G.113,
/// appendix IV) and nothing on this one, where it is no worse than G.711.
fn impairment(codec: Codec) -> Impairment {
    let delay_ms = match codec {
        Codec::Opus => 26.5,
        Codec::Pcmu | Codec::Pcma => 20.0,
        Codec::G722 => 21.5,
    };
    Impairment { ie: 0.0, delay_ms }
}

/// G.107 with all other parameters at their defaults.
const R_DEFAULT: f32 = 93.2;

/// Robustness against loss of G.711 with concealment, at random (G.113, appendix I).
const BPL: f32 = 25.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_formula() {
        // G.107, table B.1: R 91.28 is 4.38. 2 % lost: 95 * 2 / 27.1 = 7.01 below.
        let clean = estimate(Codec::Pcmu, 0.0, Duration::from_millis(60));
        assert!((clean - 4.38).abs() < 0.02, "{clean}");
        let lossy = estimate(Codec::Pcmu, 0.02, Duration::from_millis(60));
        assert!((lossy - 4.18).abs() < 0.03, "{lossy}");
        assert_eq!(estimate(Codec::Pcmu, 1.0, Duration::from_secs(2)), 1.0);
        assert!(estimate(Codec::Opus, 0.0, Duration::from_millis(300)) < clean);
    }
}
