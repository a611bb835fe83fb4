//! One listener's hearing of one track: what became of each frame it was to hear.
//!
//! A frame is expected from the moment on at which the relay has accepted the subscription and the
//! publisher knows of it, or from the first that came if that is an older one (its group may have
//! been in the relay's cache: then its delay does not count), up to the moment the listener leaves.
//! What has not come [`SETTLE`] after its time is lost.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::interval::{Interval, Ledger, Measure};
use super::jitter::Jitter;
use super::log::{SentFrame, TrackLog};
use super::mos::{self, Impairment};
use super::playout::Playout;

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
    /// The track's next frame when it was subscribed: expected from here when the relay neither
    /// accepted the subscription nor sent anything.
    subscribed_at: u64,
    /// The track's next frame when both ends knew of the subscription.
    owed_at: Option<u64>,
    /// Frames intended later are not expected.
    until_ns: u64,
    /// Fates of frames from `settled` on, each with the play-out delay when it came.
    fates: VecDeque<(Fate, Duration)>,
    /// Frames below are settled, or never were expected. `None` before any came.
    settled: Option<u64>,
    /// Intended time of the last one that is.
    settled_ns: u64,
    highest: Option<u64>,
    jitter: Jitter,
    playout: Playout,
    /// Speech that was not heard while the play-out delay grew, beside frames that came too late.
    silence: Duration,
    speech: Option<Listening>,
    group: GroupFate,
    /// Groups that the relay gave up, as long as frames of them may settle.
    skipped: BTreeSet<u64>,
    /// In a load where only some paths are impaired, neither its publisher's nor its listener's is.
    pub(crate) is_on_clear_path: bool,
}

/// What an estimate of quality needs.
#[derive(Debug)]
struct Listening {
    codec: Impairment,
    began_ns: u64,
    expected: u32,
    heard: u32,
    /// Sum of the frames' play-out delays.
    delay: Duration,
}

/// Whether anything of the group being settled came.
#[derive(Clone, Copy, Debug, Default)]
struct GroupFate {
    number: u64,
    frames: u32,
    came: u32,
    missing: u32,
}

impl Leg {
    pub(crate) fn new(log: &TrackLog, codec: Option<Impairment>, now_ns: u64) -> Self {
        Self {
            subscribed_ns: now_ns,
            subscribed_at: log.len(),
            owed_at: None,
            until_ns: u64::MAX,
            fates: VecDeque::new(),
            settled: None,
            settled_ns: now_ns,
            highest: None,
            jitter: Jitter::default(),
            playout: Playout::new(),
            silence: Duration::ZERO,
            speech: codec.map(|codec| Listening {
                codec,
                began_ns: now_ns,
                expected: 0,
                heard: 0,
                delay: Duration::ZERO,
            }),
            group: GroupFate::default(),
            skipped: BTreeSet::new(),
            is_on_clear_path: false,
        }
    }

    /// Something was heard.
    pub(crate) fn has_heard(&self) -> bool {
        self.highest.is_some()
    }

    /// Both ends know of the subscription: what is sent from here on is to come.
    pub(crate) fn owe(&mut self, log: &TrackLog) {
        self.owed_at.get_or_insert(log.len());
    }

    /// The listener leaves: what is to be sent later is none of its business.
    pub(crate) fn leave(&mut self, now_ns: u64) {
        self.until_ns = self.until_ns.min(now_ns);
    }

    /// Takes a whole frame that came at a place of the track; `is_whole` tells whether its content
    /// is that of the frame that was sent there.
    pub(crate) fn handle_frame(
        &mut self,
        log: &TrackLog,
        place: Place,
        is_whole: impl FnOnce(u64, SentFrame) -> bool,
        bytes: usize,
        now_ns: u64,
        ledger: &mut Ledger,
    ) {
        let sent = log
            .sequence_at(place.group, place.index)
            .and_then(|sequence| Some((sequence, log.get(sequence)?)));
        let found = sent.and_then(|(sequence, sent)| Some((sequence, sent, self.fate_mut(sequence)?)));
        let Some((sequence, sent, (fate, _))) = found else {
            // Nothing was sent there, or it was given up for lost long ago.
            ledger.at(now_ns).counts.frames_stray += 1;
            return;
        };
        if matches!(fate, Fate::Delivered | Fate::Late) {
            ledger.at(sent.intended_ns).counts.frames_duplicated += 1;
            return;
        }
        if !is_whole(sequence, sent) {
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
        let first = self.first();
        for sequence in log.frames_of(group).filter(|sequence| *sequence >= first) {
            if let Some((fate @ Fate::Missing, _)) = self.fate_mut(sequence) {
                *fate = Fate::Skipped;
            }
        }
        // More of it may be sent.
        if log.groups().end == group + 1 {
            self.skipped.insert(group);
        }
    }

    /// Everything that was to be heard was.
    pub(crate) fn is_complete(&self, log: &TrackLog) -> bool {
        let expected = (self.first()..log.len())
            .take_while(|sequence| log.get(*sequence).is_some_and(|sent| sent.intended_ns <= self.until_ns));
        expected
            .zip(0..)
            .all(|(_, at)| self.fates.get(at).is_some_and(|(fate, _)| *fate != Fate::Missing))
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
        let played = self.playout.handle(one_way);
        self.silence += played.silence;
        let delay = self.playout.delay();
        if let Some(fate) = self.fate_mut(sequence) {
            *fate = (if played.in_time { Fate::Delivered } else { Fate::Late }, delay);
        }
    }

    /// Counts what has had its time. With `is_last` all of it, for a leg that ends.
    pub(crate) fn settle(&mut self, log: &TrackLog, now_ns: u64, is_last: bool, ledger: &mut Ledger) {
        let settle_ns = u64::try_from(SETTLE.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let sequence = self.first();
            let Some(sent) = log.get(sequence) else { break };
            if sent.intended_ns > self.until_ns || !(is_last || sent.intended_ns + settle_ns <= now_ns) {
                break;
            }
            let (mut fate, delay) = self.fates.pop_front().unwrap_or_default();
            self.settled = Some(sequence + 1);
            if fate == Fate::Missing && self.skipped.contains(&sent.group) {
                fate = Fate::Skipped;
            }
            let is_first_measured =
                self.settled_ns < ledger.measured_from_ns && sent.intended_ns >= ledger.measured_from_ns;
            if is_first_measured {
                // The warm-up has no part in an estimate.
                self.conclude(ledger.at(self.settled_ns));
            }
            let interval = ledger.at(sent.intended_ns);
            count(fate, interval);
            if self.is_on_clear_path {
                interval.counts.clear_path_expected += 1;
                interval.counts.clear_path_missed += u64::from(fate != Fate::Delivered);
            }
            self.settle_group(sent.group, fate, interval);
            self.rate(fate, delay, sent.intended_ns, interval);
            self.settled_ns = sent.intended_ns;
        }
        if is_last {
            let interval = ledger.at(self.settled_ns);
            self.end_group(interval);
            self.conclude(interval);
        }
    }

    /// The first frame that is not settled.
    fn first(&self) -> u64 {
        self.settled.or(self.owed_at).unwrap_or(self.subscribed_at)
    }

    /// The fate of a frame that is not settled.
    fn fate_mut(&mut self, sequence: u64) -> Option<&mut (Fate, Duration)> {
        let owed_at = self.owed_at.unwrap_or(sequence);
        let first = *self.settled.get_or_insert(owed_at.min(sequence));
        if sequence < first {
            if !self.is_unsettled() || first - sequence > CAUGHT_UP_MAX {
                return None;
            }
            // Reordered at the very beginning: an earlier frame comes after the first.
            for _ in sequence..first {
                self.fates.push_front(Default::default());
            }
            self.settled = Some(sequence);
        }
        let at = usize::try_from(sequence - self.settled?).ok()?;
        if at >= FATES_MAX {
            return None;
        }
        if self.fates.len() <= at {
            self.fates.resize(at + 1, Default::default());
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
            self.skipped = self.skipped.split_off(&group);
        }
        self.group.frames += 1;
        self.group.came += u32::from(matches!(fate, Fate::Delivered | Fate::Late | Fate::Corrupt));
        self.group.missing += u32::from(fate == Fate::Missing);
    }

    fn end_group(&mut self, interval: &mut Interval) {
        let ended = std::mem::take(&mut self.group);
        interval.counts.groups_lost += u64::from(ended.missing > 0 && ended.came == 0);
    }

    /// Gathers ten seconds of speech for one estimate.
    fn rate(&mut self, fate: Fate, delay: Duration, intended_ns: u64, interval: &mut Interval) {
        let Some(speech) = &mut self.speech else { return };
        if speech.expected == 0 {
            speech.began_ns = intended_ns;
        }
        speech.expected += 1;
        if fate == Fate::Delivered {
            speech.heard += 1;
            speech.delay += delay;
        }
        if u128::from(intended_ns.saturating_sub(speech.began_ns)) >= RATED.as_nanos() {
            self.conclude(interval);
        }
    }

    fn conclude(&mut self, interval: &mut Interval) {
        let silence = std::mem::take(&mut self.silence);
        let Some(speech) = &mut self.speech else { return };
        if speech.expected >= RATED_FRAMES_MIN {
            let silent = u32::try_from(silence.as_nanos() / SPEECH_FRAME.as_nanos()).unwrap_or(u32::MAX);
            let missed = (speech.expected - speech.heard).saturating_add(silent);
            let loss = f64::from(missed) / f64::from(speech.heard.saturating_add(missed));
            let score = mos::estimate(speech.codec, loss, speech.delay / speech.heard.max(1));
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
const SPEECH_FRAME: Duration = Duration::from_millis(20);

/// How far before the first frame that came an earlier one may still come.
const CAUGHT_UP_MAX: u64 = 1000;

/// Frames of a track that are not settled; a generator that gets so far ahead is broken.
const FATES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
