//! What may be changed while shards run, and what they tell of the moment.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

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

const RATE_PERCENT_MAX: u32 = 10_000;
