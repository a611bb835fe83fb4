//! Deadlines of many connections, without a scan of them.
//!
//! A heap with lazy deletion: a deadline that moves later, as nearly every packet moves those of its
//! connection, costs nothing until the earlier one fires, and then no more than a new entry. An entry
//! stays until its deadline, so the caller arms for no further than a horizon, and the heap holds few
//! per connection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Deadlines of things named by a small copyable key.
#[derive(Debug)]
pub(super) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

/// What one thing keeps of its place in [`Timers`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed {
    /// When its nearest entry fires.
    entry: Option<Instant>,
    /// Its deadline, as it was armed last.
    deadline: Option<Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }

    /// Makes sure that `key` fires no later than `deadline`.
    pub(super) fn arm(&mut self, armed: &mut Armed, key: K, deadline: Option<Instant>) {
        armed.deadline = deadline;
        let Some(deadline) = deadline else { return };
        if armed.entry.is_none_or(|current| deadline < current) {
            armed.entry = Some(deadline);
            self.heap.push(Reverse((deadline, key)));
        }
    }

    /// Arms again what fired before the deadline it was armed for last; false if that is due.
    pub(super) fn defer(&mut self, armed: &mut Armed, key: K, now: Instant) -> bool {
        let is_early = armed.deadline.is_some_and(|deadline| deadline > now);
        if is_early {
            self.arm(armed, key, armed.deadline);
        }
        is_early
    }

    /// The instant of the next firing, which may turn out to be early.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes one key whose entry is due. The caller calls [`Armed::fired`] and [`Self::defer`], and
    /// when the deadline is due checks the thing's real one and arms it again.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(K, Instant)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((deadline, key))| (key, deadline))
    }
}

impl<K: Copy + Ord> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl Armed {
    /// Notes that the entry made for `deadline` fired. False when a nearer entry replaced
    /// it: then there is nothing to do.
    pub(super) fn fired(&mut self, deadline: Instant) -> bool {
        if self.entry == Some(deadline) {
            self.entry = None;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_fire_in_order_and_later_moves_cost_no_entry() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        let (mut a, mut b) = (Armed::default(), Armed::default());
        timers.arm(&mut a, 1, Some(at(10)));
        timers.arm(&mut b, 2, Some(at(20)));
        for later in 11..1000 {
            timers.arm(&mut a, 1, Some(at(later)));
        }
        assert_eq!(timers.heap.len(), 2);
        timers.arm(&mut b, 2, Some(at(5)));

        assert_eq!(timers.pop_due(at(4)), None);
        let (key, deadline) = timers.pop_due(at(30)).unwrap();
        assert_eq!((key, b.fired(deadline)), (2, true));
        assert!(!timers.defer(&mut b, 2, at(30)), "it is due");
        let (key, deadline) = timers.pop_due(at(30)).unwrap();
        assert_eq!((key, a.fired(deadline)), (1, true));
        assert!(timers.defer(&mut a, 1, at(30)), "it had moved");
        let (key, deadline) = timers.pop_due(at(30)).unwrap();
        assert_eq!((key, b.fired(deadline)), (2, false), "replaced by the nearer one");
        assert_eq!(timers.next_deadline(), Some(at(999)));
    }
}
