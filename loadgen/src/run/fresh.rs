//! The last whole interval as shards know it so far, for who watches.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::truth::interval::Interval;

/// What the shards say of the last whole interval, together.
pub(super) struct Fresh {
    queues: Vec<Arc<ArrayQueue<Interval>>>,
    latest: Vec<Option<Interval>>,
    sum: Option<Interval>,
}

impl Fresh {
    pub(super) fn new(queues: Vec<Arc<ArrayQueue<Interval>>>) -> Self {
        Self {
            latest: vec![None; queues.len()],
            queues,
            sum: None,
        }
    }

    pub(super) fn poll(&mut self) -> Option<&Interval> {
        let mut has_news = false;
        for (queue, latest) in self.queues.iter().zip(&mut self.latest) {
            if let Some(interval) = queue.pop() {
                *latest = Some(interval);
                has_news = true;
            }
        }
        if has_news {
            let mut known = self.latest.iter().flatten();
            self.sum = known.next().cloned();
            if let Some(sum) = &mut self.sum {
                known.for_each(|other| sum.add(other));
            }
        }
        self.sum.as_ref()
    }
}
