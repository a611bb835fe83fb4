//! Tracks that wait for time to pass, and those whose time has yet to begin: what is noted
//! between two looks at the clock is taken up at the second.
//!
//! Invariant: both queues are in the order of their moments, since all wait equally long. An
//! entry may be out of date; the track itself knows until when it waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ids::TrackKey;

#[derive(Debug)]
pub(super) struct Deadlines {
    linger: Duration,
    /// Until when tracks that nobody wants are kept.
    lingering: VecDeque<(Instant, TrackKey)>,
    /// Until when groups that should be there are waited for.
    straggling: VecDeque<(Instant, TrackKey)>,
    unwanted: Vec<TrackKey>,
    incomplete: Vec<TrackKey>,
    owed_updates: Vec<TrackKey>,
}

impl Deadlines {
    /// A track that nobody wants is kept for as long as `linger`.
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            linger,
            lingering: VecDeque::new(),
            straggling: VecDeque::new(),
            unwanted: Vec::new(),
            incomplete: Vec::new(),
            owed_updates: Vec::new(),
        }
    }

    /// A track lost its last subscriber: its time runs from the next look at the clock.
    pub(super) fn on_unwanted(&mut self, key: TrackKey) {
        self.unwanted.push(key);
    }

    /// Groups of a track are missing: they are waited for from the next look at the clock.
    pub(super) fn on_incomplete(&mut self, key: TrackKey) {
        self.incomplete.push(key);
    }

    /// A queue to another shard was full: the publisher there is told of the demand later.
    pub(super) fn owe_update(&mut self, key: TrackKey) {
        self.owed_updates.push(key);
    }

    pub(super) fn take_unwanted(&mut self) -> Vec<TrackKey> {
        std::mem::take(&mut self.unwanted)
    }

    pub(super) fn take_incomplete(&mut self) -> Vec<TrackKey> {
        std::mem::take(&mut self.incomplete)
    }

    pub(super) fn take_owed_updates(&mut self) -> Vec<TrackKey> {
        std::mem::take(&mut self.owed_updates)
    }

    /// When a track that is unwanted from this moment on is to go.
    pub(super) fn linger(&mut self, key: TrackKey, now: Instant) -> Instant {
        push(&mut self.lingering, now + self.linger, key)
    }

    /// When groups that are missing at this moment are to be given up.
    pub(super) fn await_stragglers(&mut self, key: TrackKey, now: Instant) -> Instant {
        push(&mut self.straggling, now + STRAGGLERS_WAIT, key)
    }

    /// A track that has lingered until the moment named with it.
    pub(super) fn poll_lingered(&mut self, now: Instant) -> Option<(Instant, TrackKey)> {
        self.lingering.pop_front_if(|(until, _)| *until <= now)
    }

    /// A track whose missing groups were waited for until the moment named with it.
    pub(super) fn poll_straggled(&mut self, now: Instant) -> Option<(Instant, TrackKey)> {
        self.straggling.pop_front_if(|(until, _)| *until <= now)
    }

    /// The next moment at which something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = [self.lingering.front(), self.straggling.front()];
        due.into_iter().flatten().map(|(until, _)| *until).min()
    }
}

fn push(queue: &mut VecDeque<(Instant, TrackKey)>, until: Instant, key: TrackKey) -> Instant {
    debug_assert!(queue.back().is_none_or(|(last, _)| *last <= until), "time runs forward");
    queue.push_back((until, key));
    until
}

/// How long groups are waited for that were sent before the end was told, or that are
/// missing before the last one of a range. Longer than a retransmission takes.
const STRAGGLERS_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(2);

    fn key(index: u32) -> TrackKey {
        TrackKey { index, generation: 1 }
    }

    #[test]
    fn tracks_go_in_the_order_in_which_they_were_left_and_not_before_their_time() {
        let (mut deadlines, start) = (Deadlines::new(LINGER), Instant::now());
        let later = start + Duration::from_millis(1);
        assert_eq!(deadlines.linger(key(1), start), start + LINGER);
        assert_eq!(deadlines.linger(key(2), later), later + LINGER);
        assert_eq!(deadlines.poll_lingered(start + LINGER - Duration::from_nanos(1)), None);
        assert_eq!(deadlines.poll_lingered(start + LINGER), Some((start + LINGER, key(1))));
        assert_eq!(deadlines.poll_lingered(start + LINGER), None);
        assert_eq!(deadlines.poll_lingered(later + LINGER), Some((later + LINGER, key(2))));
    }

    #[test]
    fn the_next_moment_is_the_earlier_of_both_queues() {
        let (mut deadlines, start) = (Deadlines::new(LINGER), Instant::now());
        assert_eq!(deadlines.next(), None);
        deadlines.linger(key(1), start);
        assert_eq!(deadlines.next(), Some(start + LINGER));
        let until = deadlines.await_stragglers(key(2), start);
        assert_eq!(deadlines.next(), Some(until));
        assert_eq!(deadlines.poll_lingered(until), None);
        assert_eq!(deadlines.poll_straggled(until), Some((until, key(2))));
        assert_eq!(deadlines.next(), Some(start + LINGER));
    }

    #[test]
    fn what_is_noted_between_two_looks_at_the_clock_is_taken_once() {
        let mut deadlines = Deadlines::new(LINGER);
        deadlines.on_unwanted(key(1));
        deadlines.on_incomplete(key(2));
        deadlines.owe_update(key(3));
        assert_eq!(deadlines.next(), None, "their time has not begun");
        assert_eq!(deadlines.take_unwanted(), [key(1)]);
        assert_eq!(deadlines.take_incomplete(), [key(2)]);
        assert_eq!(deadlines.take_owed_updates(), [key(3)]);
        assert!(deadlines.take_unwanted().is_empty() && deadlines.take_incomplete().is_empty());
        assert!(deadlines.take_owed_updates().is_empty());
    }
}
