//! Groups that come in any order, put in order. What is missing is waited for a little.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::{HANDSET_HELD_MAX, HANDSET_HOLD};

/// The groups of one track.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// The number that is next. `None`: the first that comes is.
    next: Option<u64>,
    held: BTreeMap<u64, (Instant, T)>,
}

/// A group, and how many before it are lost.
#[derive(Debug)]
pub(super) struct InOrder<T> {
    pub(super) lost: u64,
    pub(super) group: T,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            next: None,
            held: BTreeMap::new(),
        }
    }
}

impl<T> Order<T> {
    /// A group has come. False: its turn is over, or it was there already.
    pub(super) fn push(&mut self, number: u64, group: T, now: Instant) -> bool {
        if self.next.is_some_and(|next| number.abs_diff(next) > FAR) {
            // The source has begun anew.
            self.next = None;
            self.held.clear();
        }
        if self.next.is_some_and(|next| number < next) || self.held.contains_key(&number) {
            return false;
        }
        self.held.insert(number, (now, group));
        true
    }

    /// The next group. `None`: there is none, or one before it is waited for.
    pub(super) fn pop(&mut self, now: Instant) -> Option<InOrder<T>> {
        let (first, _) = self.held.first_key_value()?;
        let lost = first - self.next.unwrap_or(*first);
        if lost > 0 && self.held.len() <= HANDSET_HELD_MAX && self.deadline().is_some_and(|deadline| deadline > now) {
            return None;
        }
        let (number, (_, group)) = self.held.pop_first()?;
        self.next = Some(number.saturating_add(1));
        Some(InOrder { lost, group })
    }

    /// When what is missing is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held.values().map(|(came, _)| *came + HANDSET_HOLD).min()
    }

    /// Nothing more is waited for: what there is comes out.
    pub(super) fn drain(&mut self) -> Option<InOrder<T>> {
        self.pop(Instant::now() + 2 * HANDSET_HOLD)
    }
}

/// Numbers that are further apart are of another source: 20 s of 20 ms.
const FAR: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(order: &mut Order<u64>, now: Instant) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| order.pop(now))
            .map(|next| (next.group, next.lost))
            .collect()
    }

    #[test]
    fn what_is_missing_is_waited_for_and_then_lost() {
        let (mut order, now) = (Order::default(), Instant::now());
        for (number, is_taken) in [(7, true), (9, true), (8, true), (8, false), (11, true)] {
            assert_eq!(order.push(number, number, now), is_taken, "{number}");
        }
        assert_eq!(all(&mut order, now), [(7, 0), (8, 0), (9, 0)]);
        assert!(!order.push(8, 8, now), "its turn is over");
        assert_eq!(all(&mut order, now + HANDSET_HOLD), [(11, 1)]);
        for number in 13..=13 + HANDSET_HELD_MAX as u64 {
            order.push(number, number, now);
        }
        let there = all(&mut order, now);
        assert_eq!(
            (there[0], there.len()),
            ((13, 1), HANDSET_HELD_MAX + 1),
            "too many wait"
        );
        order.push(40, 40, now);
        assert_eq!(order.drain().map(|next| (next.group, next.lost)), Some((40, 10)));
    }

    #[test]
    fn a_source_that_begins_anew_has_lost_nothing() {
        let (mut order, now) = (Order::default(), Instant::now());
        for number in [1_000_000, 3, 4, u64::MAX] {
            order.push(number, number, now);
            assert_eq!(all(&mut order, now), [(number, 0)]);
        }
    }
}
