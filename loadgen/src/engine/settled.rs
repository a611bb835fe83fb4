//! Intervals that can no longer change, on their way to who gathers them.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use crate::truth::interval::{Interval, Ledger};

/// The way out of one shard's ledger. When the queue is full, intervals wait.
pub(crate) struct Settled {
    queue: Arc<ArrayQueue<Interval>>,
    unsent: Option<Interval>,
}

impl Settled {
    pub(crate) fn new(queue: Arc<ArrayQueue<Interval>>) -> Self {
        Self { queue, unsent: None }
    }

    /// Hands over those that ended before a time. False when some wait.
    pub(crate) fn send_before(&mut self, ns: u64, ledger: &mut Ledger) -> bool {
        while let Some(interval) = self.unsent.take().or_else(|| ledger.poll_before(ns)) {
            if let Err(interval) = self.queue.push(interval) {
                self.unsent = Some(interval);
                return false;
            }
        }
        true
    }

    /// Hands over the rest, when everything is settled.
    pub(crate) async fn send_rest(&mut self, end_ns: u64, ledger: &mut Ledger) {
        while !self.send_before(end_ns, ledger) {
            glommio::timer::sleep(PAUSE).await;
        }
    }
}

/// Until the queue is looked at again.
const PAUSE: Duration = Duration::from_millis(1);
