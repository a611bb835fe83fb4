//! What a publisher has sent on a track, as long as anybody may still be asked about it.

use std::collections::{BTreeSet, VecDeque};

/// Frames and groups of one track, numbered from 0; those long settled are forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrackLog {
    frames: VecDeque<SentFrame>,
    frames_forgotten: u64,
    /// First frame of each group.
    groups: VecDeque<u64>,
    groups_forgotten: u64,
    /// Groups that the publisher gave up itself.
    unsent: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentFrame {
    pub(crate) intended_ns: u64,
    pub(crate) group: u64,
    /// Of a replay: which frame of the file.
    pub(crate) replayed: Option<u32>,
}

impl TrackLog {
    /// Frames ever sent, which is the next one's number.
    pub(crate) fn len(&self) -> u64 {
        self.frames_forgotten + self.frames.len() as u64
    }

    /// Begins a group; returns its number.
    pub(crate) fn begin_group(&mut self) -> u64 {
        self.groups.push_back(self.len());
        self.groups_forgotten + self.groups.len() as u64 - 1
    }

    /// Adds a frame to the latest group; returns its number.
    pub(crate) fn push(&mut self, intended_ns: u64, replayed: Option<u32>) -> u64 {
        let group = (self.groups_forgotten + self.groups.len() as u64).saturating_sub(1);
        self.frames.push_back(SentFrame {
            intended_ns,
            group,
            replayed,
        });
        self.len() - 1
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<SentFrame> {
        let index = sequence.checked_sub(self.frames_forgotten)?;
        self.frames.get(usize::try_from(index).ok()?).copied()
    }

    /// The number of the frame at a place of a group.
    pub(crate) fn sequence_at(&self, group: u64, index: u64) -> Option<u64> {
        let at = usize::try_from(group.checked_sub(self.groups_forgotten)?).ok()?;
        let sequence = self.groups.get(at)? + index;
        (self.get(sequence)?.group == group).then_some(sequence)
    }

    /// The publisher gives a group up: nobody, or not everybody, is sent the whole of it.
    pub(crate) fn give_up(&mut self, group: u64) {
        self.unsent.insert(group);
    }

    pub(crate) fn is_unsent(&self, group: u64) -> bool {
        self.unsent.contains(&group)
    }

    /// The groups that are not forgotten.
    pub(crate) fn groups(&self) -> std::ops::Range<u64> {
        self.groups_forgotten..self.groups_forgotten + self.groups.len() as u64
    }

    /// The frames of a group that were sent so far.
    pub(crate) fn frames_of(&self, group: u64) -> std::ops::Range<u64> {
        let at = group
            .checked_sub(self.groups_forgotten)
            .and_then(|at| usize::try_from(at).ok());
        let Some((at, first)) = at.and_then(|at| Some((at, *self.groups.get(at)?))) else {
            return 0..0;
        };
        first..self.groups.get(at + 1).copied().unwrap_or_else(|| self.len())
    }

    /// Forgets frames that were to be sent before a time.
    pub(crate) fn forget_before(&mut self, ns: u64) {
        while self.frames.front().is_some_and(|frame| frame.intended_ns < ns) {
            self.frames.pop_front();
            self.frames_forgotten += 1;
        }
        while self.groups.get(1).is_some_and(|next| *next <= self.frames_forgotten) {
            self.groups.pop_front();
            self.groups_forgotten += 1;
        }
        while self.unsent.first().is_some_and(|group| *group < self.groups_forgotten) {
            self.unsent.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_numbers_agree_before_and_after_forgetting() {
        let mut log = TrackLog::default();
        for group in 0..10 {
            assert_eq!(log.begin_group(), group);
            for frame in 0..=group {
                log.push((group * 100 + frame) * 10, None);
            }
        }
        assert_eq!(log.frames_of(3), 6..10);
        assert_eq!(log.sequence_at(3, 3), Some(9));
        assert_eq!(log.sequence_at(3, 4), None, "that is a frame of group 4");
        assert_eq!(log.sequence_at(10, 0), None);
        log.forget_before(5020);
        assert_eq!(log.len(), 55);
        assert_eq!(log.get(16), None);
        assert_eq!(
            log.get(17),
            Some(SentFrame {
                intended_ns: 5020,
                group: 5,
                replayed: None,
            })
        );
        assert_eq!(log.sequence_at(5, 2), Some(17));
        assert_eq!(log.sequence_at(5, 1), None);
        assert_eq!(log.frames_of(9), 45..55);
        assert_eq!(log.frames_of(4), 0..0);
    }

    #[test]
    fn what_was_given_up_is_remembered_as_long_as_its_frames() {
        let mut log = TrackLog::default();
        for group in 0..10 {
            log.begin_group();
            log.push(group, None);
        }
        log.give_up(3);
        log.give_up(7);
        log.forget_before(5);
        let unsent: Vec<u64> = (0..10).filter(|group| log.is_unsent(*group)).collect();
        assert_eq!(unsent, [7]);
    }
}
