//! The groups of one track: which are cached, which came as datagrams, and which is the
//! latest.
//!
//! Invariant: cached groups are ascending by sequence, and no sequence is among them twice.

use std::collections::VecDeque;
use std::time::Instant;

use moqswitch_proto::wire::GroupSequence;

use super::group::GroupToken;

#[derive(Debug, Default)]
pub(super) struct TrackGroups {
    cached: VecDeque<(GroupSequence, GroupToken)>,
    latest: Option<GroupSequence>,
    /// When that arrived.
    latest_at: Option<Instant>,
    /// Sequences of groups that came as datagrams of late.
    datagrams: VecDeque<GroupSequence>,
}

impl TrackGroups {
    /// The place of a sequence among the cached groups, or where it would be.
    pub(super) fn find(&self, sequence: GroupSequence) -> Result<usize, usize> {
        // Nearly always at or behind the end.
        if self.cached.back().is_none_or(|(last, _)| *last < sequence) {
            return Err(self.cached.len());
        }
        self.cached.binary_search_by_key(&sequence, |(at, _)| *at)
    }

    pub(super) fn token(&self, sequence: GroupSequence) -> Option<GroupToken> {
        self.find(sequence)
            .ok()
            .and_then(|at| self.get(at))
            .map(|(_, token)| token)
    }

    /// One of the cached groups, by its place.
    pub(super) fn get(&self, at: usize) -> Option<(GroupSequence, GroupToken)> {
        self.cached.get(at).copied()
    }

    /// Takes in a group at the place that [`find`](Self::find) gave. True when it is the
    /// latest.
    pub(super) fn insert(&mut self, at: usize, sequence: GroupSequence, token: GroupToken, now: Instant) -> bool {
        self.cached.insert(at, (sequence, token));
        self.advance(sequence, now)
    }

    /// Notes a group that came as a datagram; false when there was one of its sequence.
    pub(super) fn insert_datagram(&mut self, sequence: GroupSequence, now: Instant) -> bool {
        // What is newer than all cannot have been here.
        if self.latest >= Some(sequence) && (self.find(sequence).is_ok() || self.has_datagram(sequence)) {
            return false;
        }
        if self.datagrams.len() >= DATAGRAMS_REMEMBERED_MAX {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back(sequence);
        self.advance(sequence, now);
        true
    }

    fn advance(&mut self, sequence: GroupSequence, now: Instant) -> bool {
        let is_latest = self.latest < Some(sequence);
        if is_latest {
            self.latest = Some(sequence);
            self.latest_at = Some(now);
        }
        is_latest
    }

    pub(super) fn remove(&mut self, sequence: GroupSequence) {
        if let Ok(at) = self.find(sequence) {
            self.cached.remove(at);
        }
    }

    pub(super) fn take_cached(&mut self) -> VecDeque<(GroupSequence, GroupToken)> {
        std::mem::take(&mut self.cached)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (GroupSequence, GroupToken)> {
        self.cached.iter().copied()
    }

    /// The cached groups, to walk while they may leave.
    pub(super) fn tokens(&self) -> Vec<GroupToken> {
        self.iter().map(|(_, token)| token).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.cached.len()
    }

    pub(super) fn latest(&self) -> Option<GroupSequence> {
        self.latest
    }

    pub(super) fn latest_at(&self) -> Option<Instant> {
        self.latest_at
    }

    pub(super) fn has_datagram(&self, sequence: GroupSequence) -> bool {
        self.datagrams.contains(&sequence)
    }

    /// Whether a group is cached and at most `count` are from it on.
    pub(super) fn is_among_newest(&self, sequence: GroupSequence, count: usize) -> bool {
        self.cached
            .iter()
            .rev()
            .take(count)
            .any(|(cached, _)| *cached == sequence)
    }

    /// Whether no group is missing between the oldest cached one and `last`.
    pub(super) fn has_all_to(&self, last: GroupSequence) -> bool {
        match (self.find(last), self.cached.front()) {
            (Ok(at), Some((first, _))) => last.0 - first.0 == at as u64,
            _ => false,
        }
    }
}

/// Sequences of datagram groups remembered of each track, to drop duplicates.
const DATAGRAMS_REMEMBERED_MAX: usize = 64;
