//! One listener's hearing of one track: what became of each frame it was to hear.
//!
//! A frame is expected from the moment on at which the relay has accepted the subscription and the
//! publisher knows of it, or from the first that came if that is an older one (its group may have
//! been in the relay's cache: then its delay does not count), up to the moment the listener leaves.
//! What has not come [`SETTLE`] after its time is lost.
//!
//! What was sent meanwhile and is not expected is counted as not owed. The publisher counts what it
//! offers by itself, so that the three can be held against each other.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use super::gap::Gap;
use super::interval::{Interval, Ledger, Measure};
use super::jitter::Jitter;
use super::log::{SentFrame, TrackLog};
use super::mos::{self, Impairment};
use super::playout::Playout;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Outcome {
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
    expected_at: Option<u64>,
    /// This frame and later ones are not expected.
    until: u64,
    /// Earlier frames were an earlier leg's affair.
    earliest: u64,
    /// Outcomes of frames from `settled` on, each with the play-out delay when it came.
    outcomes: VecDeque<(Outcome, Duration)>,
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
    group: GroupOutcome,
    /// Groups that the relay gave up, as long as frames of them may settle.
    skipped: BTreeSet<u64>,
    /// Of speech: how long nothing is heard. `None` when another leg goes on with it.
    gap: Option<Gap>,
    /// In a load where only some paths are impaired, neither its publisher's nor its listener's is.
    pub(crate) is_on_clear_path: bool,
    /// Its listener is beside a call, and its delays are told apart.
    pub(crate) is_beside: bool,
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
struct GroupOutcome {
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
            expected_at: None,
            until: u64::MAX,
            earliest: 0,
            outcomes: VecDeque::new(),
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
            group: GroupOutcome::default(),
            skipped: BTreeSet::new(),
            gap: None,
            is_on_clear_path: false,
            is_beside: false,
        }
    }

    /// Something was heard.
    pub(crate) fn has_heard(&self) -> bool {
        self.highest.is_some()
    }

    /// The same listener heard the same track by another leg before.
    pub(crate) fn follow(&mut self, earlier: &Leg) {
        self.earliest = earlier.until;
    }

    /// Measures how long nothing is heard; a frame of speech comes so long after the one before.
    pub(crate) fn measure_gaps(&mut self, spacing: Duration) {
        self.gap = Some(Gap::new(spacing));
    }

    /// A listener whose leg was cut off goes on by this one: what it misses between is one silence.
    pub(crate) fn take_over_gap(&mut self, log: &TrackLog, earlier: &mut Leg) {
        if let Some(mut gap) = earlier.gap.take() {
            gap.begin(earlier.first(), log);
            self.gap = Some(gap);
        }
    }

    /// For how long nothing has been heard of what was said.
    pub(crate) fn silent_ns(&self, log: &TrackLog) -> u64 {
        let end = log.len().min(self.until);
        self.gap.map_or(0, |gap| gap.silent_ns(log, self.first(), end))
    }

    /// Both ends know of the subscription: what is sent from here on is to come, and what was sent
    /// since it was subscribed need not.
    pub(crate) fn begin_expecting(&mut self, log: &TrackLog, ledger: &mut Ledger) {
        if self.expected_at.is_none() {
            self.expected_at = Some(log.len());
            if self.settled.is_none() {
                count_not_owed(log, self.subscribed_at..log.len().min(self.until), ledger);
            }
        }
    }

    /// The listener leaves: what is sent from here on is none of its business. False when it has
    /// left already.
    pub(crate) fn leave(&mut self, log: &TrackLog) -> bool {
        let is_first = self.until == u64::MAX;
        self.until = self.until.min(log.len());
        is_first
    }

    /// Takes a whole frame; `is_whole` tells whether its content is that of the frame that was sent at its place.
    pub(crate) fn handle_frame(
        &mut self,
        log: &TrackLog,
        arrived: ArrivedFrame,
        is_whole: impl FnOnce(u64, SentFrame) -> bool,
        ledger: &mut Ledger,
    ) {
        let ArrivedFrame { place, bytes, now_ns } = arrived;
        let sent = log
            .sequence_at(place.group, place.index)
            .and_then(|sequence| Some((sequence, log.get(sequence)?)));
        let found = sent.and_then(|(sequence, sent)| {
            self.reach(log, sequence, sent, now_ns, ledger);
            Some((sequence, sent, self.outcome_mut(sequence)?))
        });
        let Some((sequence, sent, (outcome, _))) = found else {
            let counts = &mut ledger.at(now_ns).counts;
            if sent.is_some_and(|(sequence, _)| sequence < self.earliest) {
                // From the relay's cache, once more.
                counts.frames_duplicated += 1;
            } else {
                // Nothing was sent there, or it was given up for lost long ago.
                counts.frames_stray += 1;
            }
            return;
        };
        if matches!(outcome, Outcome::Delivered | Outcome::Late) {
            ledger.at(sent.intended_ns).counts.frames_duplicated += 1;
            return;
        }
        if !is_whole(sequence, sent) {
            *outcome = Outcome::Corrupt;
            return;
        }
        *outcome = Outcome::Delivered;
        let interval = ledger.at(sent.intended_ns);
        interval.counts.bytes_delivered += bytes as u64;
        let is_behind = self.highest.is_some_and(|highest| sequence < highest);
        self.highest = self.highest.max(Some(sequence));
        // What was there before the listener came is in no hurry and in no order.
        if sent.intended_ns >= self.subscribed_ns {
            interval.counts.frames_reordered += u64::from(is_behind);
            self.measure(log, sequence, sent.intended_ns, now_ns, interval);
        }
    }

    /// The relay gave a group up: what did not come of it will not.
    pub(crate) fn handle_skip(&mut self, log: &TrackLog, group: u64, ledger: &mut Ledger) {
        // What it was not sent it passes on as it came: that is lost, and not its policy.
        if log.is_unsent(group) {
            return;
        }
        let first = self.first();
        for sequence in log.frames_of(group).filter(|sequence| *sequence >= first) {
            self.begin(log, sequence, ledger);
            if let Some((outcome @ Outcome::Missing, _)) = self.outcome_mut(sequence) {
                *outcome = Outcome::Skipped;
            }
        }
        // More of it may be sent.
        if log.groups().end == group + 1 {
            self.skipped.insert(group);
        }
    }

    /// Everything that was to be heard was.
    pub(crate) fn is_complete(&self, log: &TrackLog) -> bool {
        (self.first()..log.len().min(self.until)).zip(0..).all(|(_, at)| {
            self.outcomes
                .get(at)
                .is_some_and(|(outcome, _)| *outcome != Outcome::Missing)
        })
    }

    fn note_heard(&mut self, log: &TrackLog, sequence: u64, now_ns: u64) {
        let first = self.first();
        if let Some(gap) = &mut self.gap {
            gap.handle_frame(log, sequence, first, now_ns);
        }
    }

    fn measure(&mut self, log: &TrackLog, sequence: u64, intended_ns: u64, now_ns: u64, interval: &mut Interval) {
        let one_way = Duration::from_nanos(now_ns.saturating_sub(intended_ns));
        let measure = if self.is_beside {
            Measure::Listened
        } else {
            Measure::OneWay
        };
        interval.record(measure, microseconds(one_way));
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
        if played.in_time {
            self.note_heard(log, sequence, now_ns);
        }
        self.silence += played.silence;
        let delay = self.playout.delay();
        if let Some(outcome) = self.outcome_mut(sequence) {
            *outcome = (
                if played.in_time {
                    Outcome::Delivered
                } else {
                    Outcome::Late
                },
                delay,
            );
        }
    }

    /// Counts what has had its time. With `is_last` all of it, for a leg that ends.
    pub(crate) fn settle(&mut self, log: &TrackLog, now_ns: u64, is_last: bool, ledger: &mut Ledger) {
        let settle_ns = settle_ns();
        let (first, end) = (self.first(), log.len().min(self.until));
        let silence_ns = self.gap.filter(|_| is_last).map(|gap| gap.longest_ns(log, first, end));
        loop {
            let sequence = self.first();
            let Some(sent) = log.get(sequence).filter(|_| sequence < self.until) else {
                break;
            };
            if !is_last && sent.intended_ns + settle_ns > now_ns {
                break;
            }
            let (mut outcome, delay) = self.outcomes.pop_front().unwrap_or_default();
            self.settled = Some(sequence + 1);
            if outcome == Outcome::Missing && self.skipped.contains(&sent.group) {
                outcome = Outcome::Skipped;
            }
            let is_first_measured =
                self.settled_ns < ledger.measured_from_ns && sent.intended_ns >= ledger.measured_from_ns;
            if is_first_measured {
                // The warm-up has no part in an estimate.
                self.conclude(ledger.at(self.settled_ns));
            }
            let interval = ledger.at(sent.intended_ns);
            count(outcome, interval);
            if self.is_on_clear_path {
                interval.counts.clear_path_expected += 1;
                interval.counts.clear_path_missed += u64::from(outcome != Outcome::Delivered);
            }
            self.settle_group(sent.group, outcome, interval);
            self.rate(outcome, delay, sent.intended_ns, interval);
            self.settled_ns = sent.intended_ns;
        }
        if is_last {
            let interval = ledger.at(self.settled_ns);
            self.end_group(interval);
            self.conclude(interval);
            if let Some(silence_ns) = silence_ns.filter(|_| self.settled.is_some()) {
                interval.record(Measure::Silence, silence_ns / 1000);
            }
        }
    }

    /// The first frame that is not settled.
    fn first(&self) -> u64 {
        self.settled.or(self.expected_at).unwrap_or(self.subscribed_at)
    }

    /// The first frame that is not settled, of a leg that heard of this one.
    fn begin(&mut self, log: &TrackLog, sequence: u64, ledger: &mut Ledger) -> u64 {
        let (subscribed_at, expected_at, until) = (self.subscribed_at, self.expected_at, self.until);
        *self.settled.get_or_insert_with(|| {
            expected_at.unwrap_or_else(|| {
                // Who sends has accepted.
                let first = sequence.max(subscribed_at);
                count_not_owed(log, subscribed_at..first.min(until), ledger);
                first
            })
        })
    }

    /// Expects a frame that came and what follows it, though both ends did not know of the
    /// subscription then: the relay had it in its cache, or it overtook others at the beginning.
    fn reach(&mut self, log: &TrackLog, sequence: u64, sent: SentFrame, now_ns: u64, ledger: &mut Ledger) {
        let first = self.begin(log, sequence, ledger);
        let is_in_time = sent.intended_ns + settle_ns() > now_ns;
        if sequence >= first || sequence < self.earliest || !self.is_unsettled() || !is_in_time {
            return;
        }
        for sent in (sequence..first.min(self.until)).filter_map(|sequence| log.get(sequence)) {
            let counts = &mut ledger.at(sent.intended_ns).counts;
            counts.frames_not_owed = counts.frames_not_owed.saturating_sub(1);
        }
        for _ in sequence..first {
            self.outcomes.push_front(Default::default());
        }
        self.settled = Some(sequence);
    }

    /// The outcome of a frame that is not settled.
    fn outcome_mut(&mut self, sequence: u64) -> Option<&mut (Outcome, Duration)> {
        let at = usize::try_from(sequence.checked_sub(self.first())?).ok()?;
        if at >= OUTCOMES_MAX {
            return None;
        }
        if self.outcomes.len() <= at {
            self.outcomes.resize(at + 1, Default::default());
        }
        self.outcomes.get_mut(at)
    }

    /// Nothing has been settled yet.
    fn is_unsettled(&self) -> bool {
        self.group.frames == 0 && self.speech.as_ref().is_none_or(|speech| speech.expected == 0)
    }

    fn settle_group(&mut self, group: u64, outcome: Outcome, interval: &mut Interval) {
        if self.group.number != group {
            self.end_group(interval);
            self.group.number = group;
            self.skipped = self.skipped.split_off(&group);
        }
        self.group.frames += 1;
        self.group.came += u32::from(matches!(outcome, Outcome::Delivered | Outcome::Late | Outcome::Corrupt));
        self.group.missing += u32::from(outcome == Outcome::Missing);
    }

    fn end_group(&mut self, interval: &mut Interval) {
        let ended = std::mem::take(&mut self.group);
        interval.counts.groups_lost += u64::from(ended.missing > 0 && ended.came == 0);
    }

    /// Gathers ten seconds of speech for one estimate.
    fn rate(&mut self, outcome: Outcome, delay: Duration, intended_ns: u64, interval: &mut Interval) {
        let Some(speech) = &mut self.speech else { return };
        if speech.expected == 0 {
            speech.began_ns = intended_ns;
        }
        speech.expected += 1;
        if outcome == Outcome::Delivered {
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

/// A frame that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrivedFrame {
    pub(crate) place: Place,
    pub(crate) bytes: usize,
    pub(crate) now_ns: u64,
}

/// Where in its track a frame came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) group: u64,
    /// Within the group, from 0.
    pub(crate) index: u64,
}

/// Counts frames that were sent to a listener which need not hear them.
fn count_not_owed(log: &TrackLog, frames: Range<u64>, ledger: &mut Ledger) {
    for sent in frames.filter_map(|sequence| log.get(sequence)) {
        ledger.at(sent.intended_ns).counts.frames_not_owed += 1;
    }
}

fn settle_ns() -> u64 {
    u64::try_from(SETTLE.as_nanos()).unwrap_or(u64::MAX)
}

fn count(outcome: Outcome, interval: &mut Interval) {
    let counts = &mut interval.counts;
    counts.frames_expected += 1;
    match outcome {
        Outcome::Missing => counts.frames_lost += 1,
        Outcome::Delivered => counts.frames_delivered += 1,
        Outcome::Late => counts.frames_late += 1,
        Outcome::Corrupt => counts.frames_corrupt += 1,
        Outcome::Skipped => counts.frames_skipped += 1,
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

/// Frames of a track that are not settled; a generator that gets so far ahead is broken.
const OUTCOMES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
