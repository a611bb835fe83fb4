//! What calls come to, counted as they go.

use std::collections::BTreeMap;

use moqswitch_calls::{CallId, CallRecord, Cause, LegState, LegView};

use crate::figures::Histogram;

/// Counts since the start, and the calls that are not over.
#[derive(Debug)]
pub(super) struct Tally {
    /// Each with whether it was answered. Bounded as calls are.
    pub(super) ongoing: BTreeMap<CallId, bool>,
    pub(super) attempts: u64,
    pub(super) ended: BTreeMap<&'static str, u64>,
    pub(super) registered: u64,
    pub(super) unregistered: u64,
    pub(super) answer: Histogram,
    pub(super) duration: Histogram,
    pub(super) mos: Histogram,
}

/// What a leg's change says of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Begun,
    Answered,
    Nothing,
}

impl Default for Tally {
    fn default() -> Self {
        let causes = Cause::ALL.iter().map(|cause| (cause.name(), 0));
        Self {
            ongoing: BTreeMap::new(),
            attempts: 0,
            ended: causes.collect(),
            registered: 0,
            unregistered: 0,
            answer: Histogram::new(&ANSWER_SECONDS),
            duration: Histogram::new(&DURATION_SECONDS),
            mos: Histogram::new(&MOS),
        }
    }
}

impl Tally {
    pub(super) fn leg(&mut self, leg: &LegView) -> Step {
        let is_up = leg.state == LegState::Up;
        let Some(answered) = self.ongoing.get_mut(&leg.call) else {
            // The last leg's end may come behind the record of its call.
            if leg.state == LegState::Hangup {
                return Step::Nothing;
            }
            self.attempts += 1;
            self.ongoing.insert(leg.call, is_up);
            return Step::Begun;
        };
        if is_up && !*answered {
            *answered = true;
            return Step::Answered;
        }
        Step::Nothing
    }

    pub(super) fn record(&mut self, record: &CallRecord) {
        // One that failed before anything rang had no leg.
        if self.ongoing.remove(&record.call).is_none() {
            self.attempts += 1;
        }
        *self.ended.entry(record.cause.name()).or_default() += 1;
        if record.times.answer_ms.is_some() {
            self.duration.add_seconds(record.times.duration);
        }
        if let Some(setup) = record.times.setup {
            self.answer.add_seconds(setup);
        }
        let scores = record.legs.iter().filter_map(|leg| leg.quality.mos);
        scores.for_each(|score| self.mos.add(f64::from(score)));
    }

    pub(super) fn registration(&mut self, on: bool) {
        self.registered += u64::from(on);
        self.unregistered += u64::from(!on);
    }
}

const ANSWER_SECONDS: [f64; 10] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0];
const DURATION_SECONDS: [f64; 11] = [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0];
const MOS: [f64; 7] = [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5];
