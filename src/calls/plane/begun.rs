//! How many calls each number began within the last hour, where that is limited: what a stolen password may cost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{LegId, Number};
use crate::limits::{BEGUN_SLICE, NUMBERS_MAX};
use crate::refusal::Refusal;

use super::CallPlane;

/// Numbers that began some lately. Those that began none within an hour are forgotten when there are too many.
#[derive(Debug, Default)]
pub(super) struct Begun {
    numbers: BTreeMap<Number, Slices>,
    /// When it was looked for some to forget.
    tidied: Option<u64>,
}

/// Calls in each slice of an hour, and the slice before it, of which a part may be within the hour.
#[derive(Debug, Default)]
struct Slices {
    counts: [u32; SLICES],
    /// The latest.
    slice: u64,
}

impl Slices {
    /// Slices that are over for an hour count nothing.
    fn advance(&mut self, slice: u64) {
        let passed = usize::try_from(slice.saturating_sub(self.slice)).unwrap_or(SLICES);
        let passed = passed.min(SLICES);
        self.counts.copy_within(..SLICES - passed, passed);
        self.counts[..passed].fill(0);
        self.slice = self.slice.max(slice);
    }

    fn sum(&self) -> u32 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Begun {
    /// One more. False: it would be too many, and does not count.
    fn take(&mut self, now: Duration, number: &Number, max: u32) -> bool {
        let slice = now.as_secs() / BEGUN_SLICE.as_secs();
        if self.numbers.len() >= NUMBERS_MAX && !self.numbers.contains_key(number) {
            self.tidy(slice);
            if self.numbers.len() >= NUMBERS_MAX {
                return false;
            }
        }
        let slices = self.numbers.entry(number.clone()).or_default();
        slices.advance(slice);
        let may = slices.sum() < max;
        if may {
            slices.counts[0] = slices.counts[0].saturating_add(1);
        }
        may
    }

    /// Once in a slice, as it looks at all.
    fn tidy(&mut self, slice: u64) {
        if self.tidied == Some(slice) {
            return;
        }
        self.tidied = Some(slice);
        self.numbers.retain(|_, slices| {
            slices.advance(slice);
            slices.sum() > 0
        });
    }
}

impl CallPlane {
    /// A number of the house begins a call, transfers one, has one more come or sends one on. Who comes by a trunk is bounded by
    /// its trunk.
    pub(super) fn count_begun(&mut self, number: &Number, trunk: Option<&Number>) -> Result<(), Refusal> {
        let max = self.settings.calls_per_hour_max;
        if max == 0 || trunk.is_some() || self.begun.take(self.now.since_start, number, max) {
            Ok(())
        } else {
            Err(Refusal::TooOften)
        }
    }

    /// The same, of who has a leg.
    pub(super) fn count_begun_by(&mut self, leg: LegId) -> Result<(), Refusal> {
        let leg = self.legs.get(&leg).ok_or(Refusal::UnknownLeg)?;
        let (number, trunk) = (leg.party.number.clone(), self.trunk_of(leg.session).cloned());
        self.count_begun(&number, trunk.as_ref())
    }
}

/// An hour, and one more.
const SLICES: usize = 13;

const _: () = assert!(BEGUN_SLICE.as_secs() * (SLICES as u64 - 1) == 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn within_any_hour_there_are_no_more_than_the_limit_and_then_there_are_again() {
        let (mut begun, number) = (Begun::default(), Number::new("5001").unwrap());
        let mut taken = Vec::new();
        for minute in 0..600 {
            if begun.take(at(minute), &number, 10) {
                taken.push(minute);
            }
        }
        for minute in &taken {
            let within = taken.iter().filter(|other| (*minute..minute + 60).contains(*other));
            assert!(within.count() <= 10, "{taken:?}");
        }
        assert!(taken.len() >= 80, "{taken:?}");
        let other = Number::new("5002").unwrap();
        assert!(begun.take(at(600), &other, 1));
        assert!(!begun.take(at(659), &other, 1));
        assert!(begun.take(at(665), &other, 1));
    }

    #[test]
    fn at_the_very_start_room_is_made_as_well() {
        let mut begun = Begun::default();
        for number in 0..NUMBERS_MAX {
            assert!(!begun.take(at(0), &Number::new(&format!("{number}")).unwrap(), 0));
        }
        assert!(begun.take(at(0), &Number::new("next").unwrap(), 1));
    }

    #[test]
    fn numbers_that_begin_none_are_forgotten_where_there_are_too_many() {
        let mut begun = Begun::default();
        for number in 0..NUMBERS_MAX {
            let number = Number::new(&format!("{number}")).unwrap();
            assert!(begun.take(at(0), &number, 1));
        }
        let next = Number::new("next").unwrap();
        assert!(!begun.take(at(30), &next, 1));
        assert!(begun.take(at(90), &next, 1));
        assert_eq!(begun.numbers.len(), 1);
    }
}
