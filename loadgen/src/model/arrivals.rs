//! When calls begin: a rate that may change over time, as a steady beat or a Poisson process.

use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// How calls arrive. Rates are calls per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "pattern")]
pub(crate) enum Arrivals {
    /// Evenly spaced.
    Constant { rate: f64 },
    /// Independent of each other, as callers are.
    Poisson { rate: f64 },
    /// From one rate to another in a straight line, then at that.
    Ramp {
        from: f64,
        to: f64,
        #[serde(with = "humantime_serde")]
        over: Duration,
    },
    /// From one rate to another at once.
    Step {
        from: f64,
        to: f64,
        #[serde(with = "humantime_serde")]
        at: Duration,
    },
    /// A base rate, and a higher one for a while.
    Spike {
        base: f64,
        peak: f64,
        #[serde(with = "humantime_serde")]
        at: Duration,
        #[serde(with = "humantime_serde")]
        length: Duration,
    },
}

/// The arrivals of a run, in order. Every shard and process walks through all of them and takes
/// its own, so that together they offer what one would. But for the limit of calls at once: each
/// shard has its share of it, and blocks a little more than one with the whole limit would.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    random: Pcg64Mcg,
    /// Grid steps walked.
    steps: u64,
    /// How much of an arrival is still to pass before the next.
    missing: f64,
}

impl Arrivals {
    /// Calls per second at a time from the start of the run.
    pub(crate) fn rate_at(&self, at: Duration) -> f64 {
        match *self {
            Self::Constant { rate } | Self::Poisson { rate } => rate,
            Self::Ramp { from, to, over } => {
                let part = (at.as_secs_f64() / over.as_secs_f64().max(f64::MIN_POSITIVE)).min(1.0);
                from + (to - from) * part
            }
            Self::Step { from, to, at: change } => {
                if at < change {
                    from
                } else {
                    to
                }
            }
            Self::Spike {
                base,
                peak,
                at: start,
                length,
            } => {
                if at >= start && at < start + length {
                    peak
                } else {
                    base
                }
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let rates = match *self {
            Self::Constant { rate } | Self::Poisson { rate } => [rate, rate],
            Self::Ramp { from, to, .. } | Self::Step { from, to, .. } => [from, to],
            Self::Spike { base, peak, .. } => [base, peak],
        };
        let is_sane = |rate: &f64| rate.is_finite() && (0.0..=RATE_MAX).contains(rate);
        if rates.iter().all(is_sane) {
            Ok(())
        } else {
            Err(format!("rates are 0 to {RATE_MAX} calls per second"))
        }
    }
}

impl Schedule {
    pub(crate) fn new(arrivals: Arrivals, mut random: Pcg64Mcg) -> Self {
        let missing = match arrivals {
            Arrivals::Poisson { .. } => exponential(&mut random),
            // The first comes at once.
            _ => 0.0,
        };
        Self {
            arrivals,
            random,
            steps: 0,
            missing,
        }
    }

    /// Walks on to `until` and gives every arrival on the way to `arrive`, with its time from the
    /// start. `scale` multiplies the rate.
    ///
    /// Time is walked in whole steps, so that it does not matter how often this is called.
    pub(crate) fn advance(&mut self, until: Duration, scale: f64, mut arrive: impl FnMut(Duration)) {
        while step_start(self.steps + 1) <= until {
            let start = step_start(self.steps);
            let offered = self.arrivals.rate_at(start) * scale * STEP.as_secs_f64();
            let mut left = offered;
            while offered > 0.0 && self.missing < left {
                left -= self.missing;
                arrive(start + STEP.mul_f64((offered - left) / offered));
                self.missing = self.draw();
            }
            self.missing -= left;
            self.steps += 1;
        }
    }

    fn draw(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Poisson { .. } => exponential(&mut self.random),
            _ => 1.0,
        }
    }
}

fn step_start(steps: u64) -> Duration {
    Duration::from_micros(steps * 1000)
}

fn exponential(random: &mut Pcg64Mcg) -> f64 {
    random.sample(rand_distr::Exp1)
}

const STEP: Duration = Duration::from_millis(1);
const RATE_MAX: f64 = 100_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Purpose, random};

    #[test]
    fn a_constant_rate_is_evenly_spaced_from_the_start() {
        let times = all(Arrivals::Constant { rate: 4.0 }, 1.9);
        let expected: Vec<f64> = (0..8).map(|n| f64::from(n) * 0.25).collect();
        assert_eq!(times.len(), expected.len());
        for (time, expected) in times.iter().zip(expected) {
            assert!((time - expected).abs() < 0.001, "{times:?}");
        }
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_its_variance() {
        let times = all(Arrivals::Poisson { rate: 50.0 }, 200.0);
        let per_second: Vec<f64> = (0..200)
            .map(|second| count(&times, f64::from(second), f64::from(second + 1)) as f64)
            .collect();
        let mean = per_second.iter().sum::<f64>() / 200.0;
        let variance = per_second.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 200.0;
        assert!((mean - 50.0).abs() < 2.0, "{mean}");
        assert!((variance - 50.0).abs() < 15.0, "{variance}");
    }

    #[test]
    fn rates_follow_their_pattern() {
        let seconds = Duration::from_secs;
        let ramp = all(
            Arrivals::Ramp {
                from: 0.0,
                to: 20.0,
                over: seconds(10),
            },
            20.0,
        );
        assert_eq!(count(&ramp, 0.0, 10.0), 100);
        assert_eq!(count(&ramp, 10.0, 20.0), 200);
        let spike = all(
            Arrivals::Spike {
                base: 1.0,
                peak: 50.0,
                at: seconds(5),
                length: seconds(2),
            },
            10.0,
        );
        assert!(
            (99..=101).contains(&count(&spike, 5.0, 7.0)),
            "{}",
            count(&spike, 5.0, 7.0)
        );
        let step = all(
            Arrivals::Step {
                from: 2.0,
                to: 8.0,
                at: seconds(5),
            },
            10.0,
        );
        assert_eq!((count(&step, 0.0, 4.9), count(&step, 5.1, 9.1)), (10, 32));
    }

    #[test]
    fn how_often_it_is_asked_changes_nothing() {
        let arrivals = Arrivals::Poisson { rate: 30.0 };
        let at_once = all(arrivals.clone(), 10.0);
        let mut schedule = Schedule::new(arrivals, random(1, Purpose::Arrivals, 0));
        let mut in_parts = Vec::new();
        for tick in 1..=3333 {
            schedule.advance(Duration::from_millis(tick * 3), 1.0, |at| {
                in_parts.push(at.as_secs_f64())
            });
        }
        schedule.advance(Duration::from_secs(10), 1.0, |at| in_parts.push(at.as_secs_f64()));
        assert_eq!(at_once, in_parts);
    }

    fn all(arrivals: Arrivals, seconds: f64) -> Vec<f64> {
        let mut times = Vec::new();
        Schedule::new(arrivals, random(1, Purpose::Arrivals, 0))
            .advance(Duration::from_secs_f64(seconds), 1.0, |at| times.push(at.as_secs_f64()));
        times
    }

    fn count(times: &[f64], from: f64, to: f64) -> usize {
        times.iter().filter(|time| (from..to).contains(time)).count()
    }
}
