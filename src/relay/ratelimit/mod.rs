//! Rate limit for repeated log lines: a burst per period passes, the rest is counted,
//! and the next line that passes tells how many were left out. And buckets for each address prefix.
//! Pure: time is an argument.
#![forbid(unsafe_code)]

mod prefixes;

pub use prefixes::{BURST_SECONDS, PrefixBuckets, SLOTS};

use std::time::{Duration, Instant};

/// Lets `burst` events through per period and counts those it holds back.
#[derive(Clone, Debug)]
pub struct RateLimit {
    period: Duration,
    burst: u32,
    period_start: Option<Instant>,
    passed: u32,
    suppressed: u64,
}

impl RateLimit {
    /// A burst of zero lets nothing through.
    pub const fn new(period: Duration, burst: u32) -> Self {
        Self {
            period,
            burst,
            period_start: None,
            passed: 0,
            suppressed: 0,
        }
    }

    /// `Some(n)`: log this one, `n` were suppressed since the last that passed. `None`: stay silent.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        let expired = self
            .period_start
            .is_none_or(|start| now.saturating_duration_since(start) >= self.period);
        if expired {
            self.period_start = Some(now);
            self.passed = 0;
        }
        if self.passed < self.burst {
            self.passed += 1;
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed = self.suppressed.saturating_add(1);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn burst_passes_then_silence_until_the_period_ends() {
        let start = Instant::now();
        let mut limit = RateLimit::new(SECOND, 2);
        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start + SECOND / 2), None);
        assert_eq!(limit.allow(start + SECOND), Some(2));
    }

    #[test]
    fn suppressed_count_is_reported_once() {
        let start = Instant::now();
        let mut limit = RateLimit::new(SECOND, 1);
        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start + SECOND), Some(1));
        assert_eq!(limit.allow(start + SECOND * 2), Some(0));
    }

    #[test]
    fn a_clock_that_steps_back_opens_no_period() {
        let start = Instant::now() + SECOND * 10;
        let mut limit = RateLimit::new(SECOND, 1);
        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start - SECOND * 5), None);
    }

    #[test]
    fn zero_burst_passes_nothing() {
        let start = Instant::now();
        let mut limit = RateLimit::new(SECOND, 0);
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start + SECOND * 2), None);
    }
}
