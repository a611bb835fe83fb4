//! Time in a run: Unix time from a clock that never jumps, and the grid that frames and timers keep to.

use std::time::{Duration, Instant};

use crate::clock::unix_ns;

/// Unix time from a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            started_ns: unix_ns(),
        }
    }

    pub(crate) fn ns(&self, at: Instant) -> u64 {
        self.started_ns + nanoseconds(at.saturating_duration_since(self.started))
    }

    pub(crate) fn instant(&self, ns: u64) -> Instant {
        self.started + Duration::from_nanos(ns.saturating_sub(self.started_ns))
    }

    /// The next time on the grid.
    pub(crate) fn on_grid(&self, at: Instant) -> Instant {
        self.instant(on_grid(self.ns(at)))
    }
}

/// The next time on the grid, of Unix ns.
pub(crate) fn on_grid(ns: u64) -> u64 {
    ns.next_multiple_of(GRID_NS)
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Frames are meant for times that lie so far apart, and timers keep to them, so that a shard does
/// not wake for each of thousands of clients by itself. No part of what a relay may gather for, nor of
/// a frame's time: else the two would keep step.
pub(crate) const GRID: Duration = Duration::from_nanos(GRID_NS);
const GRID_NS: u64 = 230_000;
