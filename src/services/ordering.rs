//! Groups that come in any order, put in order. Who is missing is waited for a little.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::{HELD_MAX, HOLD};

/// One track's groups.
#[derive(Debug)]
pub(crate) struct Ordering<T> {
    /// The number that is next. `None`: the first that comes is.
    next: Option<u64>,
    held: BTreeMap<u64, T>,
    /// Since when something is missing.
    missing_since: Option<Instant>,
}

impl<T> Default for Ordering<T> {
    fn default() -> Self {
        Self {
            next: None,
            held: BTreeMap::new(),
            missing_since: None,
        }
    }
}

impl<T> Ordering<T> {
    /// A group has come. One that is too late, or there already, is dropped.
    pub(crate) fn push(&mut self, number: u64, group: T, now: Instant) {
        if self.next.is_some_and(|next| number < next) {
            return;
        }
        self.held.entry(number).or_insert(group);
        self.missing_since.get_or_insert(now);
    }

    /// The next group, and how many before it are lost. `None`: there is none, or one before it is waited for.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(u64, T)> {
        let (first, _) = self.held.first_key_value()?;
        let lost = first - self.next.unwrap_or(*first);
        if lost > 0 && self.held.len() < HELD_MAX && self.deadline().is_some_and(|deadline| deadline > now) {
            return None;
        }
        let (number, group) = self.held.pop_first()?;
        self.next = Some(number + 1);
        self.missing_since = (!self.held.is_empty()).then_some(now);
        Some((lost, group))
    }

    /// When what is missing is given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.missing_since.map(|since| since + HOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ordering: &mut Ordering<char>, now: Instant) -> Vec<(u64, char)> {
        std::iter::from_fn(|| ordering.pop(now)).collect()
    }

    #[test]
    fn order_is_kept_and_what_is_lost_is_counted() {
        let (mut ordering, now) = (Ordering::default(), Instant::now());
        ordering.push(7, 'a', now);
        ordering.push(9, 'c', now);
        assert_eq!(all(&mut ordering, now), [(0, 'a')]);
        assert_eq!(ordering.deadline(), Some(now + HOLD));
        ordering.push(8, 'b', now);
        ordering.push(8, 'x', now);
        assert_eq!(all(&mut ordering, now), [(0, 'b'), (0, 'c')]);
        assert_eq!(ordering.deadline(), None);
        ordering.push(8, 'x', now);
        assert_eq!(all(&mut ordering, now), []);
        // Time is over, or too many wait.
        ordering.push(12, 'd', now);
        assert_eq!(all(&mut ordering, now), []);
        assert_eq!(all(&mut ordering, now + HOLD), [(2, 'd')]);
        for (number, group) in [(14, 'e'), (15, 'f'), (16, 'g')] {
            ordering.push(number, group, now);
        }
        assert_eq!(all(&mut ordering, now), [(1, 'e'), (0, 'f'), (0, 'g')]);
    }
}
