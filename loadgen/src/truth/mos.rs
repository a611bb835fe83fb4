//! An estimate of how a listener would judge a call: the E-model of ITU-T G.107, simplified.
//!
//! ```text
//! R   = 93.2 - Id - Ie,eff
//! Id  = 0.024 d + 0.11 (d - 177.3) H(d - 177.3)          d: mouth to ear, ms
//! Ie,eff = Ie + (95 - Ie) P / (P / BurstR + Bpl)         P: loss in per cent, BurstR = 1
//! MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6          (G.107, annex B)
//! ```

use std::time::Duration;

/// A codec's part in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Impairment {
    pub(crate) codec: &'static str,
    /// Equipment impairment without loss.
    pub(crate) ie: f64,
    /// Robustness against loss.
    pub(crate) bpl: f64,
    /// From the first sample of a frame to its sending, and the codec's look-ahead.
    pub(crate) codec_delay_ms: f64,
    pub(crate) origin: &'static str,
}

/// What the model assumes of a codec; `None` for what is not speech.
pub(crate) fn impairment(codec: &str) -> Option<Impairment> {
    IMPAIRMENTS.iter().find(|known| known.codec == codec).copied()
}

/// Those among names of codecs that something is assumed of.
pub(crate) fn known_codecs(names: &[String]) -> Vec<&'static str> {
    IMPAIRMENTS
        .iter()
        .map(|known| known.codec)
        .filter(|known| names.iter().any(|name| name == known))
        .collect()
}

/// MOS, 1 to 4.5.
pub(crate) fn estimate(codec: Impairment, loss: f64, playout_delay: Duration) -> f64 {
    let delay = playout_delay.as_secs_f64() * 1000.0 + codec.codec_delay_ms;
    let delay_impairment = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let percent = loss * 100.0;
    let equipment = codec.ie + (95.0 - codec.ie) * percent / (percent + codec.bpl);
    let rating = R_DEFAULT - delay_impairment - equipment;
    mos(rating)
}

fn mos(rating: f64) -> f64 {
    if rating <= 0.0 {
        return 1.0;
    }
    if rating >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
}

/// G.107 with all other parameters at their defaults.
const R_DEFAULT: f64 = 93.2;

const IMPAIRMENTS: [Impairment; 3] = [
    Impairment {
        codec: "pcmu",
        ie: 0.0,
        bpl: 25.1,
        codec_delay_ms: 20.0,
        origin: "G.113 appendix I, G.711 with concealment, random loss",
    },
    Impairment {
        codec: "pcma",
        ie: 0.0,
        bpl: 25.1,
        codec_delay_ms: 20.0,
        origin: "G.113 appendix I, G.711 with concealment, random loss",
    },
    Impairment {
        codec: "opus",
        ie: 0.0,
        bpl: 25.1,
        codec_delay_ms: 26.5,
        origin: "assumed as G.711 with concealment; G.113 has no values for Opus",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ratings_have_their_known_scores() {
        // G.107 annex B, table B.1: R 93.2 is 4.41, 80 is 4.03, 70 is 3.60, 60 is 3.10, 50 is 2.58.
        for (rating, score) in [(93.2, 4.41), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            assert!((mos(rating) - score).abs() < 0.01, "{rating}: {}", mos(rating));
        }
    }

    #[test]
    fn loss_and_delay_cost_what_the_formula_says() {
        let pcmu = impairment("pcmu").unwrap();
        let clean = estimate(pcmu, 0.0, Duration::from_millis(60));
        assert!((clean - mos(93.2 - 0.024 * 80.0)).abs() < 1e-9);
        // 2 % lost: 95 * 2 / 27.1 = 7.01 below.
        let lossy = estimate(pcmu, 0.02, Duration::from_millis(60));
        assert!((lossy - mos(93.2 - 1.92 - 7.011)).abs() < 0.001);
        let slow = estimate(pcmu, 0.0, Duration::from_millis(380));
        assert!((slow - mos(93.2 - 9.6 - 0.11 * 222.7)).abs() < 1e-9);
        assert!(clean > lossy && lossy > slow);
        assert_eq!(estimate(pcmu, 1.0, Duration::from_secs(2)), 1.0);
    }

    #[test]
    fn what_is_not_speech_has_no_score() {
        assert_eq!(impairment("video"), None);
        assert_eq!(impairment("fixed"), None);
    }
}
