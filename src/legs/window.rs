//! How many of something there may be in a second.

use std::time::{Duration, Instant};

/// How many of something there were in the second that began then.
pub(crate) struct Window(Instant, u32);

impl Window {
    pub(crate) fn new(now: Instant) -> Self {
        Self(now, 0)
    }

    pub(crate) fn admits(&mut self, now: Instant, max: u32) -> bool {
        let Self(since, count) = self;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= max
    }
}
