//! The callers: one pinned glommio executor for each shard, on the relay's own UDP ring, QUIC
//! endpoint and session state machine.

mod behaviour;
mod call;
mod lines;
mod listen;
mod lost;
mod paths;
mod publish;
pub(crate) mod shard;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

pub(crate) use lines::Target;

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

/// What may be changed while shards run, and what they tell of the moment.
#[derive(Debug)]
pub(crate) struct Controls {
    /// Of the rate as configured.
    rate_percent: AtomicU32,
    is_paused: AtomicBool,
    is_ending: AtomicBool,
    /// Somebody watches: shards tell what goes on before it is settled.
    pub(crate) is_watched: AtomicBool,
    pub(crate) calls_up: AtomicU64,
    /// Connections begun, and those that came up.
    pub(crate) dials: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    /// Why the latest connection was lost.
    pub(crate) last_reason: ArrayQueue<String>,
}

impl Controls {
    pub(crate) fn new() -> Self {
        Self {
            rate_percent: AtomicU32::new(100),
            is_paused: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
            calls_up: AtomicU64::new(0),
            dials: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
            last_reason: ArrayQueue::new(1),
        }
    }

    /// What the rate of arrivals is multiplied with.
    pub(crate) fn rate_scale(&self) -> f64 {
        if self.is_paused() {
            return 0.0;
        }
        f64::from(self.rate_percent.load(Ordering::Relaxed)) / 100.0
    }

    pub(crate) fn set_rate_percent(&self, percent: u32) {
        self.rate_percent
            .store(percent.min(RATE_PERCENT_MAX), Ordering::Relaxed);
    }

    pub(crate) fn rate_percent(&self) -> u32 {
        self.rate_percent.load(Ordering::Relaxed)
    }

    /// No calls begin until it is called again.
    pub(crate) fn toggle_pause(&self) {
        self.is_paused.fetch_xor(true, Ordering::Relaxed);
    }

    /// Begins no more calls and ends those that are up.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }
}

/// Frames are meant for times that lie so far apart, and timers keep to them, so that a shard does
/// not wake for each of thousands of clients by itself. No part of what a relay may gather for, nor of
/// a frame's time: else the two would keep step.
pub(crate) const GRID: Duration = Duration::from_nanos(GRID_NS);
const GRID_NS: u64 = 230_000;

const RATE_PERCENT_MAX: u32 = 10_000;
