//! What was counted of single broadcasts, for those whose calls have records. Broadcasts that nobody asks about cost a look
//! at one field of a group.
//!
//! Invariant: a broadcast that is counted is in `by_path` until it is taken; tracks and groups of it share its counts.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use moqswitch_proto::wire::{BroadcastPath, Chunk, GroupSequence};

use crate::limits::COUNTED_BROADCASTS_MAX;

use super::ids::TrackKey;
use super::tracks::Tracks;

/// What a shard counted of a broadcast: what came from its publisher there, and what left for subscribers there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BroadcastCounts {
    /// Frames that came from the publisher.
    pub frames: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Numbers of groups between those that came, of groups that did not.
    pub missing: u64,
    /// Of these, those of gaps so long that the publisher may have meant to be silent.
    pub paused: u64,
    /// Groups that came too late to be of use to anybody.
    pub late: u64,
    /// Groups that came right behind the one before, of a track, and how far off its own mean each of these steps was in sum,
    /// in microseconds.
    pub steps: u64,
    /// See `steps`.
    pub unevenness_us: u64,
    /// Frames that were sent to subscribers, once for each.
    pub delivered: u64,
}

impl BroadcastCounts {
    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.missing = self.missing.saturating_add(other.missing);
        self.paused = self.paused.saturating_add(other.paused);
        self.late += other.late;
        self.steps += other.steps;
        self.unevenness_us = self.unevenness_us.saturating_add(other.unevenness_us);
        self.delivered += other.delivered;
    }
}

/// Which broadcasts are counted, and what.
#[derive(Debug, Default)]
pub(super) struct Counting {
    is_counted: Option<fn(&str) -> bool>,
    by_path: FxHashMap<BroadcastPath, Rc<Counted>>,
    /// Those of which something came since somebody last asked.
    flowing: Vec<Rc<Counted>>,
    /// So many broadcasts are let pass before those that nobody publishes are looked for again.
    patience: usize,
    left_out: u64,
}

/// One broadcast that is counted.
#[derive(Debug)]
pub(super) struct Counted {
    path: BroadcastPath,
    counts: Cell<BroadcastCounts>,
    is_flowing: Cell<bool>,
}

/// One track of a broadcast that is counted.
#[derive(Debug)]
pub(super) struct CountedTrack {
    broadcast: Rc<Counted>,
    /// The newest group since the publisher was last asked for the track.
    newest: Option<GroupSequence>,
    /// When that came.
    arrived: Option<Instant>,
    pace: Pace,
}

/// How far apart groups come that follow each other.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    steps: u64,
    mean_us: u64,
}

/// What of a group is counted.
#[derive(Clone, Debug)]
pub(super) struct CountedGroup {
    broadcast: Rc<Counted>,
    /// It comes from the publisher, not from another shard.
    is_first_hand: bool,
}

impl Counting {
    /// The counts of a broadcast, if it is one that is counted.
    pub(super) fn of(&mut self, path: &BroadcastPath) -> Option<CountedTrack> {
        if !(self.is_counted?)(path.as_str()) {
            return None;
        }
        let broadcast = match self.by_path.get(path) {
            Some(counted) => counted.clone(),
            None => self.begin(path)?,
        };
        Some(CountedTrack {
            broadcast,
            newest: None,
            arrived: None,
            pace: Pace::default(),
        })
    }

    fn begin(&mut self, path: &BroadcastPath) -> Option<Rc<Counted>> {
        if self.by_path.len() >= COUNTED_BROADCASTS_MAX && !self.make_room() {
            self.left_out += 1;
            return None;
        }
        let counted = Rc::new(Counted {
            path: path.clone(),
            counts: Cell::default(),
            is_flowing: Cell::new(false),
        });
        self.by_path.insert(path.clone(), counted.clone());
        Some(counted)
    }

    /// Forgets what nobody has taken and no track is of any more. Not at each attempt: it looks at all of them.
    fn make_room(&mut self) -> bool {
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        self.flowing.clear();
        self.by_path.retain(|_, counted| {
            counted.is_flowing.set(false);
            Rc::strong_count(counted) > 1
        });
        let few = COUNTED_BROADCASTS_MAX / 8;
        self.patience = if self.by_path.len() > COUNTED_BROADCASTS_MAX - few {
            few
        } else {
            0
        };
        self.by_path.len() < COUNTED_BROADCASTS_MAX
    }

    /// Something came of the group from its publisher.
    pub(super) fn add_chunk(&mut self, group: &CountedGroup, chunk: &Chunk) {
        if group.is_first_hand {
            let headers: usize = chunk.marks.iter().map(|mark| usize::from(mark.header_bytes)).sum();
            self.add_frames(&group.broadcast, chunk.marks.len(), chunk.bytes.len() - headers);
        }
    }

    fn add_frames(&mut self, broadcast: &Rc<Counted>, frames: usize, bytes: usize) {
        broadcast.change(|counts| {
            counts.frames += frames as u64;
            counts.bytes += bytes as u64;
        });
        if !broadcast.is_flowing.replace(true) {
            self.flowing.push(broadcast.clone());
        }
    }
}

impl Counted {
    fn change(&self, change: impl FnOnce(&mut BroadcastCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl CountedTrack {
    /// A group of it that comes from the publisher, or from another shard.
    fn group(&self, is_first_hand: bool) -> CountedGroup {
        CountedGroup {
            broadcast: self.broadcast.clone(),
            is_first_hand,
        }
    }

    /// The publisher is asked anew: what it did not send meanwhile is not missing.
    pub(super) fn begin(&mut self) {
        self.newest = None;
        self.arrived = None;
    }

    /// A group came from the publisher. One that is not the newest was missing until now.
    fn arrive(&mut self, sequence: GroupSequence, now: Instant) {
        let before = self.arrived.replace(now);
        let Some(newest) = self.newest else {
            return self.newest = Some(sequence);
        };
        let next_after = before.filter(|_| sequence.0 == newest.0.wrapping_add(1));
        let uneven_us = next_after.map(|before| self.pace.step(now.saturating_duration_since(before)));
        self.broadcast.change(|counts| {
            match sequence.0.checked_sub(newest.0) {
                None => counts.missing = counts.missing.saturating_sub(1),
                // So many at once are another count, not a loss.
                Some(step) if step > GAP_MAX => {}
                Some(step) => {
                    counts.missing = counts.missing.saturating_add(step.saturating_sub(1));
                    if step > PAUSE_MIN {
                        counts.paused = counts.paused.saturating_add(step - 1);
                    }
                }
            }
            if let Some(uneven_us) = uneven_us {
                counts.steps += 1;
                counts.unevenness_us = counts.unevenness_us.saturating_add(uneven_us);
            }
        });
        self.newest = Some(newest.max(sequence));
    }
}

impl Pace {
    /// How far off the mean a step is, in microseconds.
    fn step(&mut self, took: Duration) -> u64 {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.steps += 1;
        // The mean of all at first, of the last few seconds later: clocks drift.
        let share = self.steps.min(PACE_STEPS);
        self.mean_us = match took_us.checked_sub(self.mean_us) {
            Some(more) => self.mean_us + more / share,
            None => self.mean_us - (self.mean_us - took_us) / share,
        };
        took_us.abs_diff(self.mean_us)
    }
}

impl CountedGroup {
    /// Frames of it were sent to a subscriber.
    pub(super) fn deliver(&self, frames: u64) {
        self.broadcast.change(|counts| counts.delivered += frames);
    }
}

/// Numbers of groups that may be missing in a row: as many as RFC 3550 (appendix A.1) takes for a loss of packets.
const GAP_MAX: u64 = 3000;

/// A longer step of numbers may be a pause: half a second of frames of 20 ms. What is not said is not sent.
const PAUSE_MIN: u64 = 25;

/// Steps that the mean is of.
const PACE_STEPS: u64 = 256;

impl Tracks {
    /// Counts the broadcasts for whose path this is true, from those on that are subscribed to next.
    pub fn count_broadcasts(&mut self, is_counted: fn(&str) -> bool) {
        self.counting.is_counted = Some(is_counted);
    }

    /// A group begins, and this is how it is counted.
    pub(super) fn count_group(&mut self, key: TrackKey, sequence: GroupSequence, now: Instant) -> Option<CountedGroup> {
        let own = self.shard;
        let track = self.track_mut(key)?;
        let is_first_hand = track.source().shard == own;
        let counted = track.counted.as_mut()?;
        if is_first_hand {
            counted.arrive(sequence, now);
        }
        Some(counted.group(is_first_hand))
    }

    /// A group of one frame came as a datagram.
    pub(super) fn count_datagram(
        &mut self,
        key: TrackKey,
        sequence: GroupSequence,
        payload: &Bytes,
        now: Instant,
    ) -> Option<CountedGroup> {
        let counted = self.count_group(key, sequence, now)?;
        if counted.is_first_hand {
            self.counting.add_frames(&counted.broadcast, 1, payload.len());
        }
        Some(counted)
    }

    /// A group is refused because it is too old.
    pub(super) fn count_late(&self, key: TrackKey) {
        let Some(track) = self.track(key).filter(|track| track.source().shard == self.shard) else {
            return;
        };
        if let Some(counted) = &track.counted {
            counted.broadcast.change(|counts| counts.late += 1);
        }
    }

    /// What was counted of a broadcast on this shard. Counting it begins anew with its next track.
    pub fn take_counts(&mut self, path: &BroadcastPath) -> BroadcastCounts {
        let counted = self.counting.by_path.remove(path);
        counted.map(|counted| counted.counts.get()).unwrap_or_default()
    }

    /// Broadcasts that something came of from their publishers since this was last asked.
    pub fn take_flowing(&mut self) -> Vec<BroadcastPath> {
        let flowing = std::mem::take(&mut self.counting.flowing);
        let told = flowing.iter().map(|counted| {
            counted.is_flowing.set(false);
            counted.path.clone()
        });
        told.collect()
    }
}
