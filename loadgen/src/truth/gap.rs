//! How long somebody who was spoken to heard nothing: the longest time between two frames that were heard in time.

use std::time::Duration;

use super::log::TrackLog;

/// Of one listener and one speaker, whatever becomes of their connections meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// From one frame of speech to the next. A pause of the speaker counts for no more.
    spacing_ns: u64,
    /// The last frame that was heard, and when.
    last: Option<(u64, u64)>,
    /// The first that was owed.
    from: Option<u64>,
    longest_ns: u64,
}

impl Gap {
    pub(crate) fn new(spacing: Duration) -> Self {
        Self {
            spacing_ns: u64::try_from(spacing.as_nanos()).unwrap_or(u64::MAX),
            last: None,
            from: None,
            longest_ns: 0,
        }
    }

    /// Owed from `first` on, if nothing was before.
    pub(crate) fn begin(&mut self, first: u64, log: &TrackLog) {
        self.from.get_or_insert(first.min(log.len()));
    }

    /// A frame is heard. `first` is the first that the listener is owed.
    pub(crate) fn handle_frame(&mut self, log: &TrackLog, sequence: u64, first: u64, now_ns: u64) {
        if self.last.is_some_and(|(heard, _)| sequence <= heard) {
            return;
        }
        let from = *self.from.get_or_insert(first);
        self.longest_ns = self
            .longest_ns
            .max(now_ns.saturating_sub(self.began_ns(log, from, now_ns)));
        self.last = Some((sequence, now_ns));
    }

    /// How long the listener hears nothing by now, of what was said before `end`.
    pub(crate) fn silent_ns(&self, log: &TrackLog, first: u64, end: u64) -> u64 {
        let from = self.from.unwrap_or(first);
        if self.next(from) >= end {
            return 0;
        }
        let said_ns = log.get(end - 1).map_or(0, |sent| sent.intended_ns + self.spacing_ns);
        said_ns.saturating_sub(self.began_ns(log, from, said_ns))
    }

    /// The longest, when nothing more comes of what was said before `end`.
    pub(crate) fn longest_ns(&self, log: &TrackLog, first: u64, end: u64) -> u64 {
        self.longest_ns.max(self.silent_ns(log, first, end))
    }

    fn next(&self, from: u64) -> u64 {
        self.last.map_or(from, |(heard, _)| heard + 1)
    }

    /// When it became silent: with the last frame heard, or when the next was due, if the speaker paused in between.
    fn began_ns(&self, log: &TrackLog, from: u64, now_ns: u64) -> u64 {
        let due_ns = log.get(self.next(from)).map(|sent| sent.intended_ns);
        match (self.last, due_ns) {
            (Some((_, heard_ns)), Some(due_ns)) => heard_ns.max(due_ns.saturating_sub(self.spacing_ns)),
            (Some((_, heard_ns)), None) => heard_ns,
            (None, Some(due_ns)) => due_ns,
            (None, None) => now_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Says a frame every 20 ms from 0 on, and pauses from 200 ms to 1 s.
    fn log() -> TrackLog {
        let mut log = TrackLog::default();
        for frame in 0..20 {
            log.begin_group();
            let pause = if frame < 10 { 0 } else { 800 };
            log.push((frame * 20 + pause) * MS, None);
        }
        log
    }

    fn heard(frames: &[(u64, u64)], end: u64) -> u64 {
        let log = log();
        let mut gap = Gap::new(Duration::from_millis(20));
        for (frame, at_ms) in frames {
            gap.handle_frame(&log, *frame, 0, at_ms * MS);
        }
        gap.longest_ns(&log, 0, end) / MS
    }

    #[test]
    fn the_longest_time_between_two_frames_counts_but_for_pauses() {
        let all: Vec<(u64, u64)> = (0..20)
            .map(|frame| (frame, if frame < 10 { frame * 20 + 1 } else { frame * 20 + 801 }))
            .collect();
        assert_eq!(heard(&all, 20), 21, "a pause is no silence");
        let mut some = all.clone();
        some.drain(3..8);
        assert_eq!(heard(&some, 20), 120);
        // Frames that come again, or in the wrong order, are not heard anew.
        some.insert(4, (2, 100));
        assert_eq!(heard(&some, 20), 120);
    }

    #[test]
    fn what_never_comes_counts_to_the_end_of_what_was_said() {
        assert_eq!(heard(&[(0, 1), (1, 21)], 10), 179);
        assert_eq!(heard(&[], 10), 200);
        assert_eq!(heard(&[(4, 300)], 5), 300, "it was due at 0");
        assert_eq!(heard(&[], 0), 0);
    }
}
