//! One moment by both clocks: that of tokens, and that of deadlines. Who asks what is granted says when.

use std::time::{Duration, Instant, SystemTime};

/// Now, as the caller's clocks have it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the clock that deadlines go by.
    pub instant: Instant,
    /// By the clock that tokens go by.
    pub system: SystemTime,
}

impl Moment {
    /// Whether it is before the given second since 1970. A clock that stands before 1970 tells nothing: false.
    pub(super) fn is_before(self, seconds: i64) -> bool {
        self.until(seconds).is_some_and(|left| !left.is_zero())
    }

    /// Whether the given second since 1970 has begun. Of a clock that tells nothing, false too.
    pub(super) fn has_reached(self, seconds: i64) -> bool {
        self.since_1970().is_some() && !self.is_before(seconds)
    }

    /// When that second begins. `None`: it lies beyond what the clock can tell, or in the past.
    pub(super) fn instant_of(self, seconds: i64) -> Option<Instant> {
        self.instant.checked_add(self.until(seconds)?)
    }

    fn until(self, seconds: i64) -> Option<Duration> {
        Duration::from_secs(u64::try_from(seconds).ok()?).checked_sub(self.since_1970()?)
    }

    fn since_1970(self) -> Option<Duration> {
        self.system.duration_since(SystemTime::UNIX_EPOCH).ok()
    }
}
