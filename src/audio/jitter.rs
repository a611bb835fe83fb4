//! Frames of one speaker, put in order and handed out evenly. What waits is as little as keeps it even.

use std::collections::BTreeMap;

/// Frames that come by number, early and late, and go one at a time. It has no clock: whoever plays asks for a frame each
/// time that one is due.
#[derive(Clone, Debug)]
pub struct JitterBuffer<T> {
    waiting: BTreeMap<u64, T>,
    /// The number of the frame that is due. `None`: nothing came yet.
    next: Option<u64>,
    /// Frames that wait before the first is played.
    depth: usize,
    depth_max: usize,
    /// Nothing is played until so many wait.
    is_filling: bool,
    /// Frames that have been asked for since the depth was looked at, and the least that waited meanwhile.
    asked: u32,
    fewest: usize,
    statistics: JitterStatistics,
}

/// What is to be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Played<T> {
    /// This frame.
    Frame(T),
    /// A frame is lost; others are behind it.
    Lost,
    /// Nothing is there: a pause, or all of it is late.
    Nothing,
}

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitterStatistics {
    /// Came when their turn was over, or twice.
    pub late: u64,
    /// Did not come before those behind them were due.
    pub lost: u64,
    /// Left out, because more waited than had to.
    pub skipped: u64,
    /// Found no room, or were too far from the others.
    pub overflowed: u64,
}

/// Frames that one buffer has at most: what comes when it is full takes the place of all that wait.
pub const WAITING_MAX: usize = 64;
/// Frames after which it is made less deep, if more waited than had to all that time: 2 s of 20 ms.
const CALM: u32 = 100;

impl<T> JitterBuffer<T> {
    /// A buffer whose depth is between both, in frames; it begins with the lower one. At most half of [`WAITING_MAX`].
    pub fn new(depth_min: usize, depth_max: usize) -> Self {
        let depth_max = depth_max.clamp(1, WAITING_MAX / 2);
        Self {
            waiting: BTreeMap::new(),
            next: None,
            depth: depth_min.clamp(1, depth_max),
            depth_max,
            is_filling: true,
            asked: 0,
            fewest: usize::MAX,
            statistics: JitterStatistics::default(),
        }
    }

    /// A frame has come.
    pub fn push(&mut self, number: u64, frame: T) {
        let is_far = self.next.is_some_and(|next| number.abs_diff(next) > FAR);
        if is_far || self.waiting.len() >= WAITING_MAX {
            // Another speaker's numbers, or nobody played for long: it begins anew.
            self.statistics.overflowed += self.waiting.len() as u64;
            self.waiting.clear();
            self.next = None;
            self.is_filling = true;
        }
        if self.next.is_some_and(|next| number < next) {
            self.statistics.late += 1;
            // It would have been of use, had more waited. In a pause there is nothing that it is late for.
            if !self.is_filling || self.waiting.is_empty() {
                self.deepen();
            }
            return;
        }
        if self.waiting.insert(number, frame).is_some() {
            self.statistics.late += 1;
        }
    }

    /// A frame is due.
    pub fn play(&mut self) -> Played<T> {
        if self.is_filling {
            if self.waiting.len() < self.depth {
                return Played::Nothing;
            }
            self.is_filling = false;
            self.calm();
            self.next = self.waiting.keys().next().copied();
        }
        let Some((first, _)) = self.waiting.first_key_value() else {
            self.is_filling = true;
            return Played::Nothing;
        };
        let next = self.next.unwrap_or(*first);
        if *first > next {
            self.next = Some(next + 1);
            self.statistics.lost += 1;
            return Played::Lost;
        }
        self.next = Some(next + 1);
        let frame = self.waiting.remove(&next);
        self.look();
        frame.map_or(Played::Lost, Played::Frame)
    }

    /// What the frame after a lost one is, if it is there.
    pub fn peek(&self) -> Option<&T> {
        self.next.and_then(|next| self.waiting.get(&next))
    }

    /// Frames that it lets wait before it plays.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Frames that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What became of frames.
    pub fn statistics(&self) -> JitterStatistics {
        self.statistics
    }

    /// One that is late is enough to wait longer; to wait less, all has to be calm for long.
    fn deepen(&mut self) {
        if self.depth < self.depth_max {
            self.depth += 1;
            // It is played as it is, but what is due next waits for one more.
            self.is_filling = true;
        }
        self.calm();
    }

    fn calm(&mut self) {
        self.asked = 0;
        self.fewest = usize::MAX;
    }

    fn look(&mut self) {
        self.asked += 1;
        self.fewest = self.fewest.min(self.waiting.len());
        if self.asked < CALM {
            return;
        }
        // One that waits all the time is one too many; half of what more there is goes at once.
        let surplus = self.fewest.saturating_sub(1).div_ceil(2);
        for _ in 0..surplus {
            if let Some((number, _)) = self.waiting.pop_first() {
                self.next = Some(number + 1);
                self.statistics.skipped += 1;
            }
        }
        if surplus > 0 {
            self.depth = self.depth.saturating_sub(surplus).max(1);
        }
        self.calm();
    }
}

/// Numbers that are further apart are of another stream: 20 s of 20 ms.
const FAR: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that take so many ticks longer; what is played at each tick.
    fn played(delays: &[u64], ticks: u64, buffer: &mut JitterBuffer<u64>) -> Vec<Played<u64>> {
        let mut arriving: Vec<(u64, u64)> = delays.iter().zip(0..).map(|(delay, n)| (n + delay, n)).collect();
        arriving.sort_unstable();
        let mut played = Vec::new();
        for tick in 0..ticks {
            for (_, number) in arriving.iter().filter(|(at, _)| *at == tick) {
                buffer.push(*number, *number);
            }
            played.push(buffer.play());
        }
        played
    }

    #[test]
    fn what_comes_evenly_goes_at_once_and_in_order() {
        let mut buffer = JitterBuffer::new(1, 10);
        let played = played(&[0; 500], 500, &mut buffer);
        let all: Vec<_> = (0..500).map(Played::Frame).collect();
        assert_eq!(played, all);
        assert_eq!(buffer.statistics(), JitterStatistics::default());
    }

    #[test]
    fn what_is_out_of_order_is_put_in_order_and_what_is_lost_is_told() {
        let mut buffer = JitterBuffer::new(3, 10);
        for number in [5, 7, 6, 9, 8, 11] {
            buffer.push(number, number);
        }
        let played: Vec<_> = (0..8).map(|_| buffer.play()).collect();
        let expected = [5, 6, 7, 8, 9].map(Played::Frame);
        assert_eq!(played[..5], expected);
        assert_eq!(played[5..], [Played::Lost, Played::Frame(11), Played::Nothing]);
        assert_eq!(buffer.statistics().lost, 1);
    }

    #[test]
    fn it_gets_deeper_while_frames_are_late_and_less_deep_when_all_is_calm() {
        let mut buffer = JitterBuffer::new(1, 10);
        // Every seventh comes 4 ticks late.
        let delays: Vec<u64> = (0..1400).map(|n| if n % 7 == 3 { 4 } else { 0 }).collect();
        let rough = played(&delays, 1400, &mut buffer);
        let bad = |played: &[Played<u64>]| played.iter().filter(|one| !matches!(one, Played::Frame(_))).count();
        assert!(bad(&rough[..200]) > 5, "{}", bad(&rough[..200]));
        // Once it knows, next to nothing is missing.
        assert!(bad(&rough[1000..]) <= 8, "{} {buffer:?}", bad(&rough[1000..]));
        assert!(buffer.waiting() >= 2, "{buffer:?}");
        for number in 1400..2600 {
            buffer.push(number, number);
            buffer.play();
        }
        assert!(buffer.waiting() <= 2, "{}", buffer.waiting());
        assert!(buffer.statistics().skipped > 0);
    }

    #[test]
    fn a_pause_is_nothing_and_another_stream_begins_anew() {
        let mut buffer = JitterBuffer::new(2, 4);
        buffer.push(1, 1);
        assert_eq!(buffer.play(), Played::Nothing);
        buffer.push(2, 2);
        assert_eq!((buffer.play(), buffer.play()), (Played::Frame(1), Played::Frame(2)));
        assert_eq!(buffer.play(), Played::Nothing);
        // Numbers go on after a pause, and may be anything with another speaker.
        for number in [3, 4, 1_000_000, 1_000_001] {
            buffer.push(number, number);
        }
        assert_eq!(buffer.play(), Played::Frame(1_000_000));
        assert_eq!(buffer.statistics().overflowed, 2);
    }

    #[test]
    fn it_does_not_grow_when_nobody_plays() {
        let mut buffer = JitterBuffer::new(1, 1000);
        for number in 0..100_000_u64 {
            buffer.push(number * 3, number);
        }
        assert!(buffer.waiting() <= WAITING_MAX);
        assert_eq!(buffer.depth_max, WAITING_MAX / 2);
    }
}
