//! One moment by the wall clock, which tokens go by. Who asks what is granted says when.

use std::time::{Duration, SystemTime};

/// Now, as the caller's wall clock has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub SystemTime);

impl Moment {
    /// Whether it is before the given second since 1970. A clock that stands before 1970 tells nothing: false.
    pub(super) fn is_before(self, seconds: i64) -> bool {
        let Some(at) = second(seconds) else { return false };
        self.since_1970().is_some_and(|now| now < at)
    }

    /// Whether the given second since 1970 has begun. Of a clock that tells nothing, false too.
    pub(super) fn has_reached(self, seconds: i64) -> bool {
        self.since_1970().is_some() && !self.is_before(seconds)
    }

    fn since_1970(self) -> Option<Duration> {
        self.0.duration_since(SystemTime::UNIX_EPOCH).ok()
    }
}

/// The beginning of a second since 1970. `None`: no clock tells it.
pub(super) fn time_of(seconds: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(second(seconds)?)
}

fn second(seconds: i64) -> Option<Duration> {
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
