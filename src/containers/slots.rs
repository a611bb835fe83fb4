//! What one party says, in slots of 20 ms since a recording began, so that two parties are heard as they spoke.
//!
//! A packet goes where its timestamp says, counted from one whose place is by its arrival. Where both disagree by more than
//! [`DRIFT_SLOTS_MAX`], arrival counts and later packets are placed from there: so jitter moves nothing, and clocks that run
//! apart, streams that begin anew and lies about time are made good. What comes in one go after it waited somewhere is behind for
//! a moment, and moves nothing either.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::{BEHIND_MAX, BEHIND_SLOTS_MAX, DRIFT_SLOTS_MAX, SLOTS_WAITING_MAX};

/// What one party has said and nobody has taken.
#[derive(Debug)]
pub struct Slots {
    waiting: BTreeMap<u64, Vec<u8>>,
    /// The next slot that is taken.
    next: u64,
    /// A slot, and the timestamp that is there.
    anchor: Option<(u64, u64)>,
    /// Since when packets come further behind than they may for good.
    behind_since: Option<Duration>,
    units: u64,
    counts: SlotCounts,
}

/// What became of packets and slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Slots that were taken and had something.
    pub said: u64,
    /// Slots that were taken and had nothing: silence or loss.
    pub empty: u64,
    /// Packets that came when their slot was taken.
    pub late: u64,
    /// Packets of a slot that had one.
    pub doubled: u64,
    /// Packets that found no room.
    pub dropped: u64,
}

impl Slots {
    /// `units`: what timestamps count in 20 ms.
    pub fn new(units: u64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
            anchor: None,
            behind_since: None,
            units: units.max(1),
            counts: SlotCounts::default(),
        }
    }

    /// A packet of 20 ms, and when it came since the recording began. One that is late, or finds its slot or all room taken,
    /// is dropped and counted.
    pub fn place(&mut self, arrived: Duration, timestamp: u64, packet: Vec<u8>) {
        let slot = self.slot(arrived, timestamp);
        if slot < self.next {
            self.counts.late += 1;
        } else if self.waiting.contains_key(&slot) {
            self.counts.doubled += 1;
        } else if self.waiting.len() >= SLOTS_WAITING_MAX {
            self.counts.dropped += 1;
        } else {
            self.waiting.insert(slot, packet);
        }
    }

    /// What was said in the next slot.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let said = self.waiting.remove(&self.next);
        self.next += 1;
        match said {
            Some(_) => self.counts.said += 1,
            None => self.counts.empty += 1,
        }
        said
    }

    /// Packets that nobody has taken yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What became of packets and slots so far.
    pub fn counts(&self) -> SlotCounts {
        self.counts
    }

    fn slot(&mut self, arrived: Duration, timestamp: u64) -> u64 {
        let by_arrival = u64::try_from(arrived.as_millis()).unwrap_or(u64::MAX) / SLOT_MS;
        let by_timestamp = self
            .anchor
            .and_then(|(slot, begin)| match timestamp.checked_sub(begin) {
                Some(after) => slot.checked_add(after / self.units),
                None => slot.checked_sub((begin - timestamp).div_ceil(self.units)),
            });
        if let Some(slot) = by_timestamp.filter(|slot| slot.abs_diff(by_arrival) <= DRIFT_SLOTS_MAX) {
            self.behind_since = None;
            return slot;
        }
        let is_behind = |slot: &u64| *slot < by_arrival && by_arrival - slot <= BEHIND_SLOTS_MAX;
        if let Some(slot) = by_timestamp.filter(is_behind)
            && arrived.saturating_sub(*self.behind_since.get_or_insert(arrived)) < BEHIND_MAX
        {
            return slot;
        }
        self.behind_since = None;
        self.anchor = Some((by_arrival, timestamp));
        by_arrival
    }
}

const SLOT_MS: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn take(slots: &mut Slots, count: usize) -> Vec<Option<u8>> {
        (0..count).map(|_| slots.take().map(|packet| packet[0])).collect()
    }

    #[test]
    fn jitter_and_order_move_nothing() {
        let mut slots = Slots::new(160);
        for (arrived, number) in [(45, 0), (99, 2), (100, 1), (101, 3), (170, 5)] {
            slots.place(
                ms(arrived),
                7_000_000 + number * 160,
                vec![u8::try_from(number).unwrap()],
            );
        }
        let taken = take(&mut slots, 9);
        assert_eq!(
            taken,
            [None, None, Some(0), Some(1), Some(2), Some(3), None, Some(5), None]
        );
        let counts = SlotCounts {
            said: 5,
            empty: 4,
            ..SlotCounts::default()
        };
        assert_eq!(slots.counts(), counts);
    }

    #[test]
    fn a_stream_that_begins_anew_is_where_it_arrives() {
        let mut slots = Slots::new(960);
        slots.place(ms(0), 5000, vec![1]);
        slots.place(ms(1000), 0, vec![2]);
        slots.place(ms(1020), 960, vec![3]);
        slots.place(ms(1040), u64::MAX, vec![4]);
        let taken = take(&mut slots, 53);
        assert_eq!((taken[0], &taken[50..]), (Some(1), &[Some(2), Some(3), Some(4)][..]));
        assert!(taken[1..50].iter().all(Option::is_none));
    }

    #[test]
    fn what_waited_and_comes_in_one_go_is_where_it_was_said() {
        let mut slots = Slots::new(160);
        slots.place(ms(0), 0, vec![0]);
        // Half a second of it.
        for number in 1..25u8 {
            slots.place(ms(500), u64::from(number) * 160, vec![number]);
        }
        slots.place(ms(520), 25 * 160, vec![25]);
        let taken = take(&mut slots, 26);
        assert!(
            taken.iter().zip(0..).all(|(said, number)| *said == Some(number)),
            "{taken:?}"
        );
    }

    #[test]
    fn who_is_slower_for_good_is_where_it_arrives() {
        let mut slots = Slots::new(160);
        slots.place(ms(0), 0, vec![0]);
        for number in 1..100u64 {
            slots.place(ms(500 + number * 20), number * 160, vec![1]);
        }
        // Behind for 400 ms, then where they arrive.
        let taken = take(&mut slots, 125);
        assert_eq!((taken[1], taken[20], taken[22]), (Some(1), Some(1), None));
        assert_eq!((taken[46], taken[124]), (Some(1), Some(1)));
    }

    #[test]
    fn what_is_late_or_double_is_counted() {
        let mut slots = Slots::new(160);
        slots.place(ms(0), 0, vec![1]);
        slots.place(ms(1), 0, vec![2]);
        assert_eq!(take(&mut slots, 3), [Some(1), None, None]);
        slots.place(ms(70), 160, vec![3]);
        let counts = slots.counts();
        assert_eq!((counts.late, counts.doubled, counts.dropped), (1, 1, 0));
    }

    #[test]
    fn room_is_bounded_whatever_comes() {
        let mut slots = Slots::new(1);
        for i in 0..10_000u64 {
            slots.place(ms(i * 20), i.wrapping_mul(0x9e37_79b9_7f4a_7c15), vec![0]);
        }
        assert_eq!(slots.waiting.len(), SLOTS_WAITING_MAX);
        assert!(slots.counts().dropped > 9000);
    }
}
