//! How long a call lasts once it is up.

use std::time::Duration;

use rand::RngExt;
use rand_distr::{Exp1, StandardNormal};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

// Variants without fields have braces: serde refuses unknown keys only of those.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "distribution")]
pub(crate) enum Hold {
    /// To the end of the run.
    Forever {},
    Fixed {
        #[serde(with = "humantime_serde")]
        time: Duration,
    },
    /// What Erlang's formulas assume.
    Exponential {
        #[serde(with = "humantime_serde")]
        mean: Duration,
    },
    /// What is measured of people: many short calls, few very long ones.
    Lognormal {
        #[serde(with = "humantime_serde")]
        mean: Duration,
        /// Of the logarithm; telephone calls have about 1.
        sigma: f64,
    },
}

impl Hold {
    /// `None`: to the end of the run.
    pub(crate) fn draw(&self, random: &mut Pcg64Mcg) -> Option<Duration> {
        let seconds = match *self {
            Self::Forever {} => return None,
            Self::Fixed { time } => time.as_secs_f64(),
            Self::Exponential { mean } => mean.as_secs_f64() * random.sample::<f64, _>(Exp1),
            Self::Lognormal { mean, sigma } => {
                let normal: f64 = random.sample(StandardNormal);
                // The mean of a lognormal is exp(mu + sigma^2 / 2).
                mean.as_secs_f64() * (sigma * normal - sigma * sigma / 2.0).exp()
            }
        };
        Some(Duration::from_secs_f64(
            seconds.clamp(HOLD_SECONDS_MIN, HOLD_SECONDS_MAX),
        ))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {
            Self::Lognormal { sigma, .. } if !(0.0..=3.0).contains(&sigma) => {
                Err("sigma of a lognormal hold time is 0 to 3".into())
            }
            _ => Ok(()),
        }
    }
}

/// A call is at least this long, so that something can be heard of it.
const HOLD_SECONDS_MIN: f64 = 0.1;
const HOLD_SECONDS_MAX: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Purpose, random};

    #[test]
    fn drawn_times_have_the_mean_that_was_asked_for() {
        let mean = Duration::from_secs(90);
        for hold in [
            Hold::Exponential { mean },
            Hold::Lognormal { mean, sigma: 1.0 },
            Hold::Fixed { time: mean },
        ] {
            let total: f64 = (0..40_000)
                .map(|call| hold.draw(&mut random(7, Purpose::Hold, call)).unwrap().as_secs_f64())
                .sum();
            let drawn = total / 40_000.0;
            assert!((drawn / 90.0 - 1.0).abs() < 0.05, "{hold:?}: {drawn}");
        }
        assert_eq!(Hold::Forever {}.draw(&mut random(7, Purpose::Hold, 0)), None);
    }
}
