//! One listener's hearing of one track: what became of each frame it was to hear.
//!
//! A frame is expected from the first that came on (its group may have been in the relay's cache:
//! then older ones count too, but not their delay), up to the moment the listener leaves. What has
//! not come [`SETTLE`] after its time is lost.

use std::collections::VecDeque;
use std::time::Duration;

use super::interval::{Interval, Ledger, Measure};
use super::jitter::Jitter;
use super::log::TrackLog;
use super::mos::{self, Impairment};
use super::playout::Playout;
use super::stamp::Stamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Missing,
    Delivered,
    Late,
    Corrupt,
    Skipped,
}

#[derive(Debug)]
pub(crate) struct Leg {
    subscribed_ns: u64,
    /// The track's next frame when it was subscribed: expected from here when nothing ever came.
    subscribed_at: u64,
    /// Frames intended later are not expected.
    until_ns: u64,
    /// Fates of frames from `settled` on.
    fates: VecDeque<Fate>,
    /// Frames below are settled, or never were expected. `None` before any came.
    settled: Option<u64>,
    /// Intended time of the last one that is.
    settled_ns: u64,
    highest: Option<u64>,
    jitter: Jitter,
    /// Speech alone is played out in time.
    speech: Option<Listening>,
    group: GroupFate,
    /// In a load where only some paths are impaired, neither its publisher's nor its listener's is.
    pub(crate) is_on_clear_path: bool,
}

/// What an estimate of quality needs.
#[derive(Debug)]
struct Listening {
    codec: Impairment,
    playout: Playout,
    began_ns: u64,
    expected: u32,
    heard: u32,
    delay: Duration,
}

/// Whether anything of the group being settled came.
#[derive(Clone, Copy, Debug, Default)]
struct GroupFate {
    number: u64,
    frames: u32,
    came: u32,
}

impl Leg {
    pub(crate) fn new(log: &TrackLog, codec: Option<Impairment>, now_ns: u64) -> Self {
        Self {
            subscribed_ns: now_ns,
            subscribed_at: log.len(),
            until_ns: u64::MAX,
            fates: VecDeque::new(),
            settled: None,
            settled_ns: now_ns,
            highest: None,
            jitter: Jitter::default(),
            speech: codec.map(|codec| Listening {
                codec,
                playout: Playout::new(),
                began_ns: now_ns,
                expected: 0,
                heard: 0,
                delay: Duration::ZERO,
            }),
            group: GroupFate::default(),
            is_on_clear_path: false,
        }
    }

    /// Something was heard.
    pub(crate) fn has_heard(&self) -> bool {
        self.highest.is_some()
    }

    /// The listener leaves: what is to be sent later is none of its business.
    pub(crate) fn leave(&mut self, now_ns: u64) {
        self.until_ns = self.until_ns.min(now_ns);
    }

    /// Takes a whole frame that came at a place of the track; `stamp` is `None` when its content
    /// is not what was sent.
    pub(crate) fn handle_frame(
        &mut self,
        log: &TrackLog,
        place: Place,
        stamp: Option<Stamp>,
        bytes: usize,
        now_ns: u64,
        ledger: &mut Ledger,
    ) {
        // A damaged stamp leaves the place to tell which frame it was.
        let by_place = log.sequence_at(place.group, place.index);
        let is_whole = stamp.is_some_and(|stamp| by_place.is_none_or(|sequence| sequence == stamp.sequence));
        let Some(sequence) = by_place.or(stamp.map(|stamp| stamp.sequence)) else {
            return;
        };
        // What is forgotten was settled long ago.
        let Some(sent) = log.get(sequence) else { return };
        let Some(fate) = self.fate_mut(sequence) else { return };
        if matches!(fate, Fate::Delivered | Fate::Late) {
            ledger.at(sent.intended_ns).counts.frames_duplicated += 1;
            return;
        }
        if !is_whole {
            *fate = Fate::Corrupt;
            return;
        }
        *fate = Fate::Delivered;
        let interval = ledger.at(sent.intended_ns);
        interval.counts.bytes_delivered += bytes as u64;
        let is_behind = self.highest.is_some_and(|highest| sequence < highest);
        self.highest = self.highest.max(Some(sequence));
        // What was there before the listener came is in no hurry and in no order.
        if sent.intended_ns >= self.subscribed_ns {
            interval.counts.frames_reordered += u64::from(is_behind);
            self.measure(sequence, sent.intended_ns, now_ns, interval);
        }
    }

    /// The relay gave a group up: what did not come of it will not.
    pub(crate) fn handle_skip(&mut self, log: &TrackLog, group: u64) {
        let first = self.settled.unwrap_or(self.subscribed_at);
        for sequence in log.frames_of(group).filter(|sequence| *sequence >= first) {
            if let Some(fate @ Fate::Missing) = self.fate_mut(sequence) {
                *fate = Fate::Skipped;
            }
        }
    }

    /// Everything that was to be heard was.
    pub(crate) fn is_complete(&self, log: &TrackLog) -> bool {
        let first = self.settled.unwrap_or(self.subscribed_at);
        let expected = (first..log.len())
            .take_while(|sequence| log.get(*sequence).is_some_and(|sent| sent.intended_ns <= self.until_ns));
        expected
            .zip(0..)
            .all(|(_, at)| self.fates.get(at).is_some_and(|fate| *fate != Fate::Missing))
    }

    fn measure(&mut self, sequence: u64, intended_ns: u64, now_ns: u64, interval: &mut Interval) {
        let one_way = Duration::from_nanos(now_ns.saturating_sub(intended_ns));
        interval.record(Measure::OneWay, microseconds(one_way));
        if self.is_on_clear_path {
            interval.record(Measure::ClearPathOneWay, microseconds(one_way));
        }
        let jitter_ns = self
            .jitter
            .handle(i64::try_from(one_way.as_nanos()).unwrap_or(i64::MAX));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of differences of times, not negative"
        )]
        interval.record(Measure::Jitter, (jitter_ns / 1000.0) as u64);
        let Some(speech) = &mut self.speech else { return };
        let in_time = speech.playout.handle(one_way);
        if !in_time && let Some(fate) = self.fate_mut(sequence) {
            *fate = Fate::Late;
        }
    }

    /// Counts what has had its time. With `is_last` all of it, for a leg that ends.
    pub(crate) fn settle(&mut self, log: &TrackLog, now_ns: u64, is_last: bool, ledger: &mut Ledger) {
        let settle_ns = u64::try_from(SETTLE.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let sequence = self.settled.unwrap_or(self.subscribed_at);
            let Some(sent) = log.get(sequence) else { break };
            if sent.intended_ns > self.until_ns || !(is_last || sent.intended_ns + settle_ns <= now_ns) {
                break;
            }
            let fate = self.fates.pop_front().unwrap_or_default();
            self.settled = Some(sequence + 1);
            let interval = ledger.at(sent.intended_ns);
            count(fate, interval);
            if self.is_on_clear_path {
                interval.counts.clear_path_expected += 1;
                interval.counts.clear_path_missed += u64::from(fate != Fate::Delivered);
            }
            self.settle_group(sent.group, fate, interval);
            self.rate(fate, sent.intended_ns, interval);
            self.settled_ns = sent.intended_ns;
        }
        if is_last {
            let interval = ledger.at(self.settled_ns);
            self.end_group(interval);
            self.conclude(interval);
        }
    }

    /// The fate of a frame that is not settled.
    fn fate_mut(&mut self, sequence: u64) -> Option<&mut Fate> {
        let first = *self.settled.get_or_insert(sequence);
        if sequence < first {
            if self.highest.is_none() || !self.is_unsettled() || first - sequence > CAUGHT_UP_MAX {
                return None;
            }
            // Reordered at the very beginning: an earlier frame comes after the first.
            for _ in sequence..first {
                self.fates.push_front(Fate::Missing);
            }
            self.settled = Some(sequence);
        }
        let at = usize::try_from(sequence - self.settled?).ok()?;
        if at >= FATES_MAX {
            return None;
        }
        if self.fates.len() <= at {
            self.fates.resize(at + 1, Fate::Missing);
        }
        self.fates.get_mut(at)
    }

    /// Nothing has been settled yet.
    fn is_unsettled(&self) -> bool {
        self.group.frames == 0 && self.speech.as_ref().is_none_or(|speech| speech.expected == 0)
    }

    fn settle_group(&mut self, group: u64, fate: Fate, interval: &mut Interval) {
        if self.group.number != group {
            self.end_group(interval);
            self.group.number = group;
        }
        self.group.frames += 1;
        self.group.came += u32::from(matches!(fate, Fate::Delivered | Fate::Late | Fate::Corrupt));
    }

    fn end_group(&mut self, interval: &mut Interval) {
        let ended = std::mem::take(&mut self.group);
        interval.counts.groups_lost += u64::from(ended.frames > 0 && ended.came == 0);
    }

    /// Gathers ten seconds of speech for one estimate.
    fn rate(&mut self, fate: Fate, intended_ns: u64, interval: &mut Interval) {
        let Some(speech) = &mut self.speech else { return };
        if speech.expected == 0 {
            speech.began_ns = intended_ns;
        }
        speech.expected += 1;
        speech.heard += u32::from(fate == Fate::Delivered);
        speech.delay += speech.playout.delay();
        if u128::from(intended_ns.saturating_sub(speech.began_ns)) >= RATED.as_nanos() {
            self.conclude(interval);
        }
    }

    fn conclude(&mut self, interval: &mut Interval) {
        let Some(speech) = &mut self.speech else { return };
        if speech.expected >= RATED_FRAMES_MIN {
            let loss = f64::from(speech.expected - speech.heard) / f64::from(speech.expected);
            let score = mos::estimate(speech.codec, loss, speech.delay / speech.expected);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to 4.5, in thousandths"
            )]
            interval.record(Measure::Mos, (score * 1000.0) as u64);
        }
        (speech.expected, speech.heard, speech.delay) = (0, 0, Duration::ZERO);
    }
}

/// Where in its track a frame came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) group: u64,
    /// Within the group, from 0.
    pub(crate) index: u64,
}

fn count(fate: Fate, interval: &mut Interval) {
    let counts = &mut interval.counts;
    counts.frames_expected += 1;
    match fate {
        Fate::Missing => counts.frames_lost += 1,
        Fate::Delivered => counts.frames_delivered += 1,
        Fate::Late => counts.frames_late += 1,
        Fate::Corrupt => counts.frames_corrupt += 1,
        Fate::Skipped => counts.frames_skipped += 1,
    }
}

pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// After so long a frame counts as lost.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// Speech that one estimate of quality is made of, and the least that is enough for one.
const RATED: Duration = Duration::from_secs(10);
const RATED_FRAMES_MIN: u32 = 25;

/// How far before the first frame that came an earlier one may still come.
const CAUGHT_UP_MAX: u64 = 1000;

/// Frames of a track that are not settled; a generator that gets so far ahead is broken.
const FATES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
