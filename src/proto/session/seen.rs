//! Numbers that have been used once and must not be taken for new: stream ids, Subscribe IDs.
//!
//! Kept as ranges, which is one while the peer counts up. This is what lets all state of a
//! stream go when it ends, and its late bytes still be known for what they are.

#[derive(Debug)]
pub(crate) struct SeenSet {
    /// Inclusive, ascending, with at least one number between two of them.
    ranges: Vec<(u64, u64)>,
    ranges_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    New,
    Repeated,
    /// New, but there is no room to remember it.
    Full,
}

impl SeenSet {
    pub(crate) fn new(ranges_max: usize) -> Self {
        Self {
            ranges: Vec::new(),
            ranges_max,
        }
    }

    pub(crate) fn insert(&mut self, number: u64) -> Sighting {
        let index = match self.ranges.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(number) => {
                *end = number;
                return Sighting::New;
            }
            Some((start, end)) if *start <= number && number <= *end => return Sighting::Repeated,
            _ => self.ranges.partition_point(|(_, end)| *end < number),
        };
        let follows = index
            .checked_sub(1)
            .is_some_and(|before| self.ranges[before].1.checked_add(1) == Some(number));
        let (precedes, contains) = self.ranges.get(index).map_or((false, false), |(start, _)| {
            (number.checked_add(1) == Some(*start), *start <= number)
        });
        match (contains, follows, precedes) {
            (true, ..) => return Sighting::Repeated,
            (_, true, true) => {
                self.ranges[index - 1].1 = self.ranges[index].1;
                self.ranges.remove(index);
            }
            (_, true, false) => self.ranges[index - 1].1 = number,
            (_, false, true) => self.ranges[index].0 = number,
            (_, false, false) if self.ranges.len() >= self.ranges_max => return Sighting::Full,
            (_, false, false) => self.ranges.insert(index, (number, number)),
        }
        Sighting::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_join_and_repeat() {
        let mut seen = SeenSet::new(8);
        for number in [5, 3, 4, 0, u64::MAX, 1, 7, 6] {
            assert_eq!(seen.insert(number), Sighting::New, "{number}");
            assert_eq!(seen.insert(number), Sighting::Repeated, "{number}");
        }
        assert_eq!(seen.ranges, [(0, 1), (3, 7), (u64::MAX, u64::MAX)]);
        assert_eq!(seen.insert(2), Sighting::New);
        assert_eq!(seen.ranges, [(0, 7), (u64::MAX, u64::MAX)]);
    }

    #[test]
    fn every_order_remembers_the_same() {
        let mut state = 1u64;
        for _ in 0..200 {
            let mut seen = SeenSet::new(100);
            let mut model = std::collections::BTreeSet::new();
            for _ in 0..100 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let number = (state >> 33) % 64;
                let expected = if model.insert(number) {
                    Sighting::New
                } else {
                    Sighting::Repeated
                };
                assert_eq!(seen.insert(number), expected);
            }
            assert!(seen.ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }

    #[test]
    fn a_full_set_still_counts_up() {
        let mut seen = SeenSet::new(2);
        assert_eq!(seen.insert(0), Sighting::New);
        assert_eq!(seen.insert(10), Sighting::New);
        assert_eq!(seen.insert(20), Sighting::Full);
        assert_eq!(seen.insert(20), Sighting::Full);
        assert_eq!(seen.insert(11), Sighting::New);
        assert_eq!(seen.insert(0), Sighting::Repeated);
    }
}
