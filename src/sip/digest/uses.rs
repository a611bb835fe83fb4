//! How far each nonce has been used, so that no request counts twice (RFC 7616, section 3.4, `nc`).
//!
//! Only nonces that were answered rightly are here, so strangers fill nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::nonce::NonceId;
use crate::limits::DIGEST_COUNT_WINDOW;

/// What was used, by nonce; the oldest nonce is the first.
#[derive(Debug)]
pub(super) struct Uses {
    nonces: BTreeMap<NonceId, Use>,
    nonces_max: usize,
    /// Of all that had to go for want of room the newest. What is not there and no newer may have been used.
    forgotten: Option<NonceId>,
}

#[derive(Clone, Copy, Debug)]
enum Use {
    /// By a client that counts.
    Counted(Window),
    /// By one that does not: that was all.
    Spent,
}

/// Counts that were there: the highest, and of those closely below it each one's bit.
#[derive(Clone, Copy, Debug)]
struct Window {
    highest: u32,
    below: u32,
}

/// Why a use does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The nonce may have been used up.
    Stale,
    /// This use was there before, or is too late to know.
    Replayed,
}

impl Uses {
    pub(super) fn new(nonces_max: usize) -> Self {
        Self {
            nonces: BTreeMap::new(),
            nonces_max: nonces_max.max(1),
            forgotten: None,
        }
    }

    /// Notes one use. `count`: what the client says it is; an old one says nothing, and may use a nonce once.
    pub(super) fn note(&mut self, id: NonceId, count: Option<u32>) -> Result<(), Refusal> {
        if let Some(known) = self.nonces.get_mut(&id) {
            return match (known, count) {
                (Use::Counted(window), Some(count)) => window.take(count).then_some(()).ok_or(Refusal::Replayed),
                (Use::Spent, _) | (Use::Counted(_), None) => Err(Refusal::Stale),
            };
        }
        if self.forgotten.is_some_and(|forgotten| id <= forgotten) {
            return Err(Refusal::Stale);
        }
        let first = count.map_or(Use::Spent, |highest| Use::Counted(Window { highest, below: 0 }));
        self.nonces.insert(id, first);
        if self.nonces.len() > self.nonces_max
            && let Some((oldest, _)) = self.nonces.pop_first()
        {
            self.forgotten = self.forgotten.max(Some(oldest));
        }
        Ok(())
    }

    /// Lets go of nonces that are too old to be used.
    pub(super) fn expire(&mut self, now: Duration, lifetime: Duration) {
        while let Some(oldest) = self.nonces.first_entry() {
            if oldest.key().age(now).is_none_or(|age| age <= lifetime) {
                break;
            }
            oldest.remove();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nonces.len()
    }
}

impl Window {
    /// False: it was there, or is too far below the highest to know.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            // The bit of the count that was the highest, and above it those that were below.
            let highest = 1_u32.checked_shl(step - 1).unwrap_or(0);
            self.below = self.below.checked_shl(step).unwrap_or(0) | highest;
            self.highest = count;
            return true;
        }
        let depth = self.highest - count;
        if depth == 0 || depth > DIGEST_COUNT_WINDOW {
            return false;
        }
        let bit = 1 << (depth - 1);
        let is_new = self.below & bit == 0;
        self.below |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_up_and_may_overtake_each_other_a_little() {
        let (mut uses, id) = (Uses::new(8), NonceId::new(1, 1));
        let mut note = |count| uses.note(id, Some(count));
        for count in [1, 2, 5, 4, 3, 40, 39, 8] {
            assert_eq!(note(count), Ok(()), "{count}");
        }
        for count in [1, 2, 3, 4, 5, 8, 39, 40, 7, 0] {
            assert_eq!(note(count), Err(Refusal::Replayed), "{count}");
        }
        assert_eq!(note(9), Ok(()));
        assert_eq!(note(u32::MAX), Ok(()));
        assert_eq!(note(u32::MAX - 1), Ok(()));
        assert_eq!(note(u32::MAX - DIGEST_COUNT_WINDOW), Ok(()));
        assert_eq!(note(u32::MAX - DIGEST_COUNT_WINDOW), Err(Refusal::Replayed));
        assert_eq!(note(u32::MAX - DIGEST_COUNT_WINDOW - 1), Err(Refusal::Replayed));
    }

    /// Against a set of all counts.
    #[test]
    fn the_window_forgets_nothing_within_it() {
        let mut seed = 7_u32;
        let mut window = Window { highest: 100, below: 0 };
        let mut seen = std::collections::BTreeSet::from([100]);
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let count = (window.highest + 5).saturating_sub(seed >> 24 & 63);
            let is_in_window = count + DIGEST_COUNT_WINDOW >= window.highest;
            // What is below the first count of all was never there, and is taken while it is in the window.
            assert_eq!(window.take(count), is_in_window && seen.insert(count), "{count}");
        }
    }

    #[test]
    fn who_does_not_count_uses_a_nonce_once() {
        let mut uses = Uses::new(8);
        assert_eq!(uses.note(NonceId::new(1, 1), None), Ok(()));
        assert_eq!(uses.note(NonceId::new(1, 1), None), Err(Refusal::Stale));
        assert_eq!(uses.note(NonceId::new(1, 1), Some(1)), Err(Refusal::Stale));
        assert_eq!(uses.note(NonceId::new(1, 2), Some(1)), Ok(()));
        assert_eq!(uses.note(NonceId::new(1, 2), None), Err(Refusal::Stale));
    }

    #[test]
    fn the_oldest_nonce_goes_and_is_stale() {
        let mut uses = Uses::new(2);
        for serial in 2..5 {
            assert_eq!(uses.note(NonceId::new(1, serial), Some(1)), Ok(()));
        }
        assert_eq!(uses.len(), 2);
        assert_eq!(uses.note(NonceId::new(1, 2), Some(2)), Err(Refusal::Stale));
        assert_eq!(
            uses.note(NonceId::new(1, 1), Some(1)),
            Err(Refusal::Stale),
            "it may have been used"
        );
        assert_eq!(uses.note(NonceId::new(1, 3), Some(2)), Ok(()));
        assert_eq!(uses.note(NonceId::new(1, 4), Some(2)), Ok(()));
    }

    #[test]
    fn nonces_go_when_their_time_is_over() {
        let mut uses = Uses::new(8);
        let seconds = Duration::from_secs;
        assert_eq!(uses.note(NonceId::new(1_000, 1), Some(1)), Ok(()));
        assert_eq!(uses.note(NonceId::new(2_000, 2), Some(1)), Ok(()));
        uses.expire(seconds(0), seconds(5));
        uses.expire(seconds(6), seconds(5));
        assert_eq!(uses.len(), 2);
        uses.expire(Duration::from_millis(6_001), seconds(5));
        assert_eq!(uses.len(), 1);
        uses.expire(seconds(60), seconds(5));
        assert_eq!(uses.len(), 0);
    }
}
