//! Limits on how often something happens. Pure: time is an argument.
//!
//! For repeated log lines: a burst per period passes, the rest is counted, and the next line that passes tells how many
//! were left out. For work that others cause: a bucket that fills steadily, and one for each address prefix.
#![forbid(unsafe_code)]

mod prefixes;

pub use prefixes::{BURST_SECONDS, PrefixBuckets, SLOTS, prefix};

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

/// Fills by so many a second up to its burst; whoever takes from it while it is empty is refused.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: u32,
    burst: u32,
    /// Billionths of what is taken at once.
    level: u64,
    filled: Option<Instant>,
}

impl Bucket {
    /// It is full at first.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second,
            burst,
            level: burst as u64 * ONE,
            filled: None,
        }
    }

    /// Takes one. False: it is empty.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_many(1, now)
    }

    /// Takes `count`, or nothing when it holds less. False: nothing was taken.
    pub fn take_many(&mut self, count: u32, now: Instant) -> bool {
        self.fill(now);
        let wanted = u64::from(count) * ONE;
        let has_enough = self.level >= wanted;
        if has_enough {
            self.level -= wanted;
        }
        has_enough
    }

    /// Whether nothing could be taken.
    pub fn is_empty(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level < ONE
    }

    fn fill(&mut self, now: Instant) {
        let since = self
            .filled
            .map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        if self.filled.is_none_or(|then| now > then) {
            self.filled = Some(now);
        }
        let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let gained = nanoseconds.saturating_mul(u64::from(self.per_second));
        self.level = self.level.saturating_add(gained).min(u64::from(self.burst) * ONE);
    }
}

/// What is taken at once, in the units of a bucket's level: one a second is one unit a nanosecond.
const ONE: u64 = 1_000_000_000;

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

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert!(bucket.is_empty(start + SECOND / 20));
        assert_eq!(taken(&mut bucket, start + SECOND / 5), 2);
        assert_eq!(taken(&mut bucket, start + SECOND * 60), 3);
        assert_eq!(taken(&mut bucket, start), 0, "a clock that steps back fills nothing");
    }

    #[test]
    fn a_bucket_gives_all_that_is_asked_for_or_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 5);
        assert!(!bucket.take_many(6, start));
        assert!(bucket.take_many(5, start));
        assert!(!bucket.take_many(1, start));
    }
}
