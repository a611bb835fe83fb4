//! What records come to, added up.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::row::{Row, mean};

/// Of a record, what is added up.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Brief {
    pub(super) start_ms: u64,
    duration_ms: u64,
    answer_ms: Option<u64>,
    reason: String,
    #[serde(default)]
    parties: Vec<Party>,
}

#[derive(Debug, Deserialize)]
struct Party {
    heard: Option<Score>,
    sent: Option<Score>,
}

#[derive(Debug, Deserialize)]
struct Score {
    mos: Option<f64>,
}

/// The sums, and the time that they are of.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    since_ms: u64,
    interval_ms: u64,
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) duration_ms: u64,
    pub(crate) causes: BTreeMap<String, u64>,
    /// From 1.0 in steps of half a point.
    pub(crate) mos: [u64; MOS_STEPS.len()],
    /// Calls, calls that were answered and their durations, by the beginning of each interval.
    pub(crate) intervals: BTreeMap<u64, (u64, u64, u64)>,
}

impl Sums {
    /// Nothing yet.
    pub(crate) fn new(since_ms: u64, interval_ms: u64) -> Self {
        Self {
            since_ms,
            interval_ms: interval_ms.max(1),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, record: &Brief) {
        let scores =
            |of: fn(&Party) -> &Option<Score>| record.parties.iter().map(|party| of(party).as_ref()?.mos).collect();
        let mos = mean(scores(|party| &party.heard)).or_else(|| mean(scores(|party| &party.sent)));
        let is_answered = record.answer_ms.is_some();
        self.add_call(record.start_ms, record.duration_ms, is_answered, &record.reason, mos);
    }

    pub(crate) fn add_row(&mut self, row: &Row) {
        self.add_call(row.start_ms, row.duration_ms, row.is_answered, &row.cause, row.mos);
    }

    fn add_call(&mut self, start_ms: u64, duration_ms: u64, is_answered: bool, cause: &str, mos: Option<f64>) {
        let answered = u64::from(is_answered);
        self.calls += 1;
        self.answered += answered;
        self.duration_ms = self.duration_ms.saturating_add(duration_ms);
        match self.causes.get_mut(cause) {
            Some(count) => *count += 1,
            None => {
                self.causes.insert(cause.to_owned(), 1);
            }
        }
        if let Some(mos) = mos {
            let step = (0..MOS_STEPS.len()).rev().find(|step| mos >= MOS_STEPS[*step]);
            self.mos[step.unwrap_or(0)] += 1;
        }
        let interval = start_ms.saturating_sub(self.since_ms) / self.interval_ms;
        let begins = self.since_ms.saturating_add(interval.saturating_mul(self.interval_ms));
        let sums = self.intervals.entry(begins).or_default();
        *sums = (sums.0 + 1, sums.1 + answered, sums.2.saturating_add(duration_ms));
    }
}

pub(crate) const MOS_STEPS: [f64; 8] = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5];
