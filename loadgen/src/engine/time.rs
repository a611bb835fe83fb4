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

/// When the kernel took in what is read from it, by a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readings {
    clock: Clock,
    /// What the host's clock showed more than ours.
    offset_ns: i64,
    host_ns: u64,
    now: Instant,
    is_same_clock: bool,
}

impl Readings {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            offset_ns: 0,
            host_ns: 0,
            now: Instant::now(),
            is_same_clock: false,
        }
    }

    /// Something may have been read up to now; returns that.
    ///
    /// When the host's clock has not gone on as ours since this was last called, it was set, and nobody knows how long ago
    /// something arrived; then it did so now, which is late.
    pub(crate) fn begin(&mut self) -> Instant {
        // In this order: who is interrupted in between finds delays longer, not shorter.
        self.host_ns = unix_ns();
        self.now = Instant::now();
        let offset_ns = self.host_ns.wrapping_sub(self.clock.ns(self.now)).cast_signed();
        let step_ns = offset_ns.abs_diff(std::mem::replace(&mut self.offset_ns, offset_ns));
        self.is_same_clock = step_ns < nanoseconds(STEP_MIN);
        self.now
    }

    /// When something came, by what the kernel noted.
    pub(crate) fn at(&self, arrived: Option<Duration>) -> Instant {
        let arrived = arrived.filter(|_| self.is_same_clock);
        let age_ns = arrived.map_or(0, |arrived| self.host_ns.saturating_sub(nanoseconds(arrived)));
        self.now - Duration::from_nanos(age_ns)
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

/// The host's clock was set when it jumps so far between two turns; steered, it moves by a twentieth of that.
const STEP_MIN: Duration = Duration::from_micros(200);
