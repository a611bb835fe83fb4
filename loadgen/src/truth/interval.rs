//! Counts and distributions, by interval of intended time. What is in them can be added up, so
//! that shards, processes and hosts together say what one would have said.

use std::collections::{BTreeMap, VecDeque};

use hdrhistogram::Histogram;
use moqswitch_proto::wire::escaped;
use serde::{Deserialize, Serialize};

use super::phones::PhoneCounts;
use super::sip::SipCounts;

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) calls_attempted: u64,
    /// Everyone who is to be heard was heard by everyone.
    pub(crate) calls_established: u64,
    /// Not set up in time, or ended by the relay before that.
    pub(crate) calls_failed: u64,
    pub(crate) calls_ended: u64,
    /// Neither: the run ended while they were being set up.
    pub(crate) calls_cut_off: u64,
    /// Calls that were due while as many as allowed were up.
    pub(crate) calls_blocked: u64,
    /// Connections that the relay or the network ended, or that could not be made. What their calls
    /// had still to say and to hear on them is lost.
    pub(crate) connections_lost: u64,
    pub(crate) reconnects: u64,
    /// Subscriptions that the relay ended, or broadcasts that it withdrew, while the publisher was
    /// there and talking. What is missed for it is lost.
    pub(crate) subscriptions_lost: u64,
    /// Messages of the relay that break the protocol; each ended its connection.
    pub(crate) violations: u64,

    /// Frames sent by publishers, once for each.
    pub(crate) frames_sent: u64,
    /// Frames that publishers had to send, once for each of those who hear them by the call's
    /// shape, counted when they were due. Also of a publisher whose connection was lost.
    pub(crate) frames_offered: u64,
    /// Of those what was sent while the listener had no subscription, as before it came or after it
    /// left, or before its subscription was known to both ends.
    pub(crate) frames_not_owed: u64,
    /// Frames that listeners were to hear: those offered but for those not owed, and the sum of the
    /// five that follow.
    pub(crate) frames_expected: u64,
    pub(crate) frames_delivered: u64,
    pub(crate) frames_late: u64,
    pub(crate) frames_corrupt: u64,
    /// Of groups that the relay reset or said it had dropped.
    pub(crate) frames_skipped: u64,
    pub(crate) frames_lost: u64,

    /// Came again, or by a later subscription than that which was to bring it; not in the sum.
    pub(crate) frames_duplicated: u64,
    /// Came after a later one; counted as what they are beside.
    pub(crate) frames_reordered: u64,
    /// Came where nothing was sent, or after it was given up for lost; not in the sum.
    pub(crate) frames_stray: u64,
    /// Groups and datagrams that a client could not send to the relay, for congestion or want of
    /// credit. What was in them is lost.
    pub(crate) groups_unsent: u64,
    /// Datagrams on impaired paths that the generator had no room for: its own doing, so the run
    /// has no result.
    pub(crate) path_datagrams_dropped: u64,
    /// Groups that were not skipped and of which not one frame came.
    pub(crate) groups_lost: u64,
    pub(crate) bytes_delivered: u64,

    /// Of the expected frames those on clear paths, when only some paths are impaired, and which
    /// of them were not delivered in time and whole.
    pub(crate) clear_path_expected: u64,
    pub(crate) clear_path_missed: u64,

    /// Of calls between phones.
    #[serde(default)]
    pub(crate) phones: PhoneCounts,
    /// Of telephones of SIP.
    #[serde(default)]
    pub(crate) sip: SipCounts,
}

impl Counts {
    fn add_calls(&mut self, other: &Counts) {
        self.calls_attempted += other.calls_attempted;
        self.calls_established += other.calls_established;
        self.calls_failed += other.calls_failed;
        self.calls_ended += other.calls_ended;
        self.calls_cut_off += other.calls_cut_off;
        self.calls_blocked += other.calls_blocked;
        self.connections_lost += other.connections_lost;
        self.reconnects += other.reconnects;
        self.subscriptions_lost += other.subscriptions_lost;
        self.violations += other.violations;
        self.path_datagrams_dropped += other.path_datagrams_dropped;
        self.phones.add(&other.phones);
        self.sip.add_calls(&other.sip);
    }

    fn add_media(&mut self, other: &Counts) {
        self.frames_sent += other.frames_sent;
        self.frames_offered += other.frames_offered;
        self.frames_not_owed += other.frames_not_owed;
        self.frames_expected += other.frames_expected;
        self.frames_delivered += other.frames_delivered;
        self.frames_late += other.frames_late;
        self.frames_corrupt += other.frames_corrupt;
        self.frames_skipped += other.frames_skipped;
        self.frames_lost += other.frames_lost;
        self.frames_duplicated += other.frames_duplicated;
        self.frames_reordered += other.frames_reordered;
        self.frames_stray += other.frames_stray;
        self.groups_unsent += other.groups_unsent;
        self.groups_lost += other.groups_lost;
        self.bytes_delivered += other.bytes_delivered;
        self.clear_path_expected += other.clear_path_expected;
        self.clear_path_missed += other.clear_path_missed;
        self.sip.add_media(&other.sip);
    }
}

/// What is measured rather than counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// From intended sending to complete arrival, µs.
    OneWay,
    /// The same on clear paths, when only some are impaired.
    ClearPathOneWay,
    /// RFC 3550 jitter at each frame, µs.
    Jitter,
    /// How late a frame was handed to its connection, µs: the generator's own fault.
    Lag,
    /// How late a participant was dialled, and how long after it came the end of its handshake was
    /// looked at, µs: the generator's own fault too.
    SetupLag,
    /// From when a call's last participant was to come until everyone heard everyone, µs.
    Setup,
    /// A participant's phases, each from the end of the one before, µs. From when it was to come:
    Handshake,
    /// Until all it is to hear were announced, counted from when the last of them was to come.
    Announced,
    /// Until its subscriptions were accepted.
    Subscribed,
    /// Until the first frame of each.
    FirstFrame,
    /// From when the floor was passed on until a listener heard who took it, µs.
    Floor,
    /// The longest time between two frames that a listener heard in time of one speaker, of a whole call, µs.
    Silence,
    /// E-model estimate of 10 s of a track as one listener heard it, thousandths.
    Mos,
    /// Of phones: from when one began to open its socket until it was registered, µs.
    Register,
    /// From when one was to dial until it was told that the other rings.
    Ringing,
    /// From when one was to answer until either was told that the call is up.
    Accepted,
    /// From when one was to answer until either heard the other.
    Heard,
    /// From when a hold was asked for until nobody was subscribed any more.
    Hold,
    /// From when its end was asked for until both heard each other.
    Resume,
    /// From when a key was to be pressed until the other was told.
    Digit,
    /// From when one hung up until either was told that the call is over.
    HangUp,
    /// Of telephones of SIP: from when one was to call until it acknowledged the answer, but for the time that the other rang.
    Connected,
    /// From when one was to call until that was refused.
    Refused,
    /// From intended sending to complete arrival, of who hears a call of telephones by MoQ.
    Listened,
}

impl Measure {
    pub(crate) const ALL: [Self; 24] = [
        Self::OneWay,
        Self::ClearPathOneWay,
        Self::Jitter,
        Self::Lag,
        Self::SetupLag,
        Self::Setup,
        Self::Handshake,
        Self::Announced,
        Self::Subscribed,
        Self::FirstFrame,
        Self::Floor,
        Self::Silence,
        Self::Mos,
        Self::Register,
        Self::Ringing,
        Self::Accepted,
        Self::Heard,
        Self::Hold,
        Self::Resume,
        Self::Digit,
        Self::HangUp,
        Self::Connected,
        Self::Refused,
        Self::Listened,
    ];

    /// Whether it is of setting calls up, which a warm-up is full of.
    fn is_of_calls(self) -> bool {
        match self {
            // A gap is of a whole call, like these.
            Self::Silence
            | Self::SetupLag
            | Self::Setup
            | Self::Handshake
            | Self::Announced
            | Self::Subscribed
            | Self::FirstFrame
            | Self::Register
            | Self::Ringing
            | Self::Accepted
            | Self::Heard
            | Self::Hold
            | Self::Resume
            | Self::Digit
            | Self::HangUp
            | Self::Connected
            | Self::Refused => true,
            Self::OneWay
            | Self::ClearPathOneWay
            | Self::Jitter
            | Self::Lag
            | Self::Floor
            | Self::Mos
            | Self::Listened => false,
        }
    }

    /// Its key in JSON lines.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::OneWay => "one_way_us",
            Self::ClearPathOneWay => "clear_path_one_way_us",
            Self::Jitter => "jitter_us",
            Self::Lag => "lag_us",
            Self::SetupLag => "setup_lag_us",
            Self::Setup => "setup_us",
            Self::Handshake => "handshake_us",
            Self::Announced => "announced_us",
            Self::Subscribed => "subscribed_us",
            Self::FirstFrame => "first_frame_us",
            Self::Floor => "floor_us",
            Self::Silence => "silence_us",
            Self::Mos => "mos_thousandths",
            Self::Register => "register_us",
            Self::Ringing => "ringing_us",
            Self::Accepted => "accepted_us",
            Self::Heard => "heard_us",
            Self::Hold => "hold_us",
            Self::Resume => "resume_us",
            Self::Digit => "digit_us",
            Self::HangUp => "hang_up_us",
            Self::Connected => "connected_us",
            Self::Refused => "refused_us",
            Self::Listened => "listened_us",
        }
    }
}

/// One interval, or several added up.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// Counted from the beginning of the run.
    pub(crate) index: u64,
    pub(crate) counts: Counts,
    measures: Vec<Histogram<u64>>,
    /// Why connections and subscriptions were lost, and how often. At most [`REASONS_MAX`]; further
    /// ones are only counted above.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Requests of telephones of SIP that were refused, by status: 300 to 699.
    pub(crate) refusals: BTreeMap<u16, u64>,
}

impl Interval {
    pub(crate) fn new(index: u64) -> Self {
        // As large as its largest value asks for.
        let histogram = || Histogram::new(SIGNIFICANT_DIGITS).expect("the digits are in the allowed range");
        Self {
            index,
            counts: Counts::default(),
            measures: Measure::ALL.iter().map(|_| histogram()).collect(),
            reasons: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    pub(crate) fn record(&mut self, measure: Measure, value: u64) {
        // 0 is no value of a histogram that begins at 1.
        self.measures[measure as usize]
            .record(value.clamp(1, VALUE_MAX))
            .expect("a histogram grows to any value");
    }

    /// Remembers why something was lost. Some of it is the relay's own text.
    pub(crate) fn note(&mut self, reason: &str, times: u64) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        self.count_reason(escaped(&reason).to_string(), times);
    }

    /// Remembers by which status something was refused.
    pub(crate) fn refuse(&mut self, status: u16) {
        *self.refusals.entry(status.min(STATUS_MAX)).or_default() += 1;
    }

    fn count_reason(&mut self, reason: String, times: u64) {
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&reason) {
            *self.reasons.entry(reason).or_default() += times;
        }
    }

    pub(crate) fn of(&self, measure: Measure) -> &Histogram<u64> {
        &self.measures[measure as usize]
    }

    pub(crate) fn of_mut(&mut self, measure: Measure) -> &mut Histogram<u64> {
        &mut self.measures[measure as usize]
    }

    pub(crate) fn add(&mut self, other: &Interval) {
        self.add_media(other);
        self.add_calls(other);
    }

    /// Adds an interval to the figures of a run: frames of the measured part, calls of all of it.
    pub(crate) fn add_to_run(&mut self, interval: &Interval, measured: (u64, u64)) {
        self.add_calls(interval);
        if (measured.0..measured.1).contains(&interval.index) {
            self.add_media(interval);
        }
    }

    /// What frames were and became.
    fn add_media(&mut self, other: &Interval) {
        self.counts.add_media(&other.counts);
        self.add_measures(other, |measure| !measure.is_of_calls());
    }

    /// How calls were set up and ended.
    fn add_calls(&mut self, other: &Interval) {
        self.counts.add_calls(&other.counts);
        for (reason, times) in &other.reasons {
            self.count_reason(reason.clone(), *times);
        }
        for (status, times) in &other.refusals {
            *self.refusals.entry(*status).or_default() += times;
        }
        self.add_measures(other, Measure::is_of_calls);
    }

    fn add_measures(&mut self, other: &Interval, is_wanted: fn(Measure) -> bool) {
        for measure in Measure::ALL.into_iter().filter(|measure| is_wanted(*measure)) {
            self.measures[measure as usize]
                .add(other.of(measure))
                .expect("a histogram grows to any value");
        }
    }
}

/// The intervals that may still change, of one shard.
#[derive(Debug)]
pub(crate) struct Ledger {
    epoch_ns: u64,
    length_ns: u64,
    /// The end of the warm-up.
    pub(crate) measured_from_ns: u64,
    open: VecDeque<Interval>,
}

impl Ledger {
    /// Intervals of a length, counted from an epoch; those before `measured_from` are warm-up.
    pub(crate) fn new(epoch_ns: u64, length_ns: u64, measured_from: u64) -> Self {
        Self {
            epoch_ns,
            length_ns,
            measured_from_ns: epoch_ns + measured_from * length_ns,
            open: VecDeque::from([Interval::new(0)]),
        }
    }

    /// The interval of a time. What is older than all that are open falls into the oldest.
    pub(crate) fn at(&mut self, ns: u64) -> &mut Interval {
        let first = self.open.front().map_or(0, |interval| interval.index);
        let index = (ns.saturating_sub(self.epoch_ns) / self.length_ns).clamp(first, first + OPEN_MAX);
        while self.open.back().is_none_or(|last| last.index < index) {
            let next = self.open.back().map_or(first, |last| last.index + 1);
            self.open.push_back(Interval::new(next));
        }
        let at = usize::try_from(index - first).unwrap_or(0);
        &mut self.open[at]
    }

    /// The oldest interval if it ended before a time.
    pub(crate) fn poll_before(&mut self, ns: u64) -> Option<Interval> {
        let first = self.open.front()?.index;
        if self.epoch_ns + (first + 1) * self.length_ns > ns {
            return None;
        }
        let interval = self.open.pop_front();
        if self.open.is_empty() {
            self.open.push_back(Interval::new(first + 1));
        }
        interval
    }
}

/// A quarter of an hour in µs; what takes longer counts as this.
const VALUE_MAX: u64 = 1_000_000_000;

/// Different reasons, and the length of each.
const REASONS_MAX: usize = 16;
const REASON_CHARS_MAX: usize = 120;

/// SIP has none above (RFC 3261, section 7.2).
const STATUS_MAX: u16 = 699;

const SIGNIFICANT_DIGITS: u8 = 3;

/// Intervals open at once; what lies further ahead is counted in the last of them.
const OPEN_MAX: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_interval_of_their_time_and_add_up() {
        let mut ledger = Ledger::new(1000, 100, 0);
        ledger.at(1000).record(Measure::OneWay, 5);
        ledger.at(1099).record(Measure::OneWay, 6);
        ledger.at(1300).counts.frames_lost += 1;
        assert!(ledger.poll_before(1099).is_none());
        let first = ledger.poll_before(1100).unwrap();
        assert_eq!((first.index, first.of(Measure::OneWay).len()), (0, 2));
        // Too late for its own.
        ledger.at(1050).counts.frames_lost += 1;
        let mut sum = first;
        for index in 1..=3 {
            let next = ledger.poll_before(2000).unwrap();
            assert_eq!(next.index, index);
            sum.add(&next);
        }
        assert_eq!((sum.counts.frames_lost, sum.of(Measure::OneWay).len()), (2, 2));
        assert_eq!(ledger.poll_before(2000).map(|next| next.index), Some(4));
    }
}
