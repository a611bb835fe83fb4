//! How late the calls thread is: what becomes due waits until everything before it has had its turn. It is looked at while
//! messages come.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Looks a hundred times a second whether the thread comes when it is due.
#[derive(Debug)]
pub(super) struct Lag {
    due: Instant,
    worked: Duration,
    /// Nothing has come since: it is not looked at.
    busy_until: Instant,
}

impl Lag {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now + PERIOD,
            worked: worked(),
            busy_until: now,
        }
    }

    /// Something came.
    pub(super) fn on_work(&mut self, now: Instant) {
        if self.due().is_none() {
            *self = Self::new(now);
        }
        self.busy_until = now + REST_AFTER;
    }

    /// When to look again. None: not before something comes.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.due <= self.busy_until).then_some(self.due)
    }

    /// How late it is at `now`. A thread that did not run because others had its core is not one that has too much to do: no
    /// more counts than it has worked since.
    pub(super) fn measure(&mut self, now: Instant) -> Duration {
        let (late, before, busy_until) = (now.saturating_duration_since(self.due), self.worked, self.busy_until);
        *self = Self {
            busy_until,
            ..Self::new(now)
        };
        if self.due().is_none() {
            return Duration::ZERO;
        }
        late.min(self.worked.saturating_sub(before))
    }
}

/// What this thread has had of its core.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

const PERIOD: Duration = Duration::from_millis(10);

/// After so long without a message it is not looked at any more.
const REST_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_is_late_and_who_waits_is_not() {
        let mut lag = Lag::new(Instant::now());
        assert_eq!(lag.due(), None);
        lag.on_work(Instant::now());
        let due = lag.due().unwrap();
        while due + Duration::from_millis(20) > Instant::now() {}
        let worked = lag.measure(Instant::now());
        let until = Instant::now() + Duration::from_millis(50);
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            std::thread::park_timeout(left);
        }
        let slept = lag.measure(Instant::now());
        assert!(worked > slept, "{worked:?} {slept:?}");
        let due = lag.due().unwrap();
        assert_eq!(lag.measure(due), Duration::ZERO);
        lag.measure(due + 2 * REST_AFTER);
        assert_eq!(lag.due(), None);
    }
}
