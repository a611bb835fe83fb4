//! What was heard through each disturbance.

use std::fmt;

use serde::Serialize;

use crate::output::summary::{Percentiles, Summary};
use crate::scenario::Scenario;

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Survival {
    pub(crate) relay: String,
    pub(crate) version: &'static str,
    pub(crate) workload: String,
    /// It was interrupted.
    pub(crate) ended_early: bool,
    pub(crate) outcomes: Vec<Outcome>,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) disturbance: &'static str,
    /// Why it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<&'static str>,
    /// Of each listener, the longest time between two frames that it heard in time.
    pub(crate) gap_ms: Option<Percentiles>,
    pub(crate) calls: u64,
    pub(crate) connections_lost: u64,
    pub(crate) reconnects: u64,
    pub(crate) frames_expected: u64,
    pub(crate) frames_lost: u64,
    /// Every call was up, and who lost its connection came back.
    pub(crate) is_back: bool,
    /// The generator was not what was late.
    pub(crate) is_valid: bool,
}

impl Survival {
    pub(super) fn new(url: &str, scenario: &Scenario) -> Self {
        Self {
            // A query may hold a credential.
            relay: url.split_once('?').map_or(url, |(plain, _)| plain).to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            workload: scenario.describe(),
            ended_early: false,
            outcomes: Vec::new(),
        }
    }

    /// 0 when all came back each time, 3 when the generator was late in a run, else 1.
    pub(crate) fn exit_status(&self) -> u8 {
        let tried = || self.outcomes.iter().filter(|outcome| outcome.skipped.is_none());
        match (
            tried().all(|outcome| outcome.is_back),
            tried().all(|outcome| outcome.is_valid),
        ) {
            (false, _) => 1,
            (true, false) => 3,
            (true, true) => u8::from(tried().next().is_none()),
        }
    }
}

impl Outcome {
    pub(super) fn skipped(disturbance: &'static str, reason: &'static str) -> Self {
        Self {
            disturbance,
            skipped: Some(reason),
            gap_ms: None,
            calls: 0,
            connections_lost: 0,
            reconnects: 0,
            frames_expected: 0,
            frames_lost: 0,
            is_back: false,
            is_valid: true,
        }
    }

    pub(super) fn of(disturbance: &'static str, summary: &Summary) -> Self {
        let counts = &summary.counts;
        Self {
            disturbance,
            skipped: None,
            gap_ms: summary.silence_ms,
            calls: counts.calls_established,
            connections_lost: counts.connections_lost,
            reconnects: counts.reconnects,
            frames_expected: counts.frames_expected,
            frames_lost: counts.frames_lost,
            is_back: counts.calls_established > 0
                && counts.calls_established == counts.calls_attempted
                && counts.reconnects >= counts.connections_lost,
            is_valid: summary.generator.valid,
        }
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "relay      {}", self.relay)?;
        writeln!(out, "load       {}", self.workload)?;
        writeln!(
            out,
            "gap        longest time between two frames that a listener heard in time, ms"
        )?;
        writeln!(out)?;
        writeln!(
            out,
            "{:<22} {:>8} {:>8} {:>8} {:>8}   {:>7} {:>7}",
            "disturbance", "p50", "p90", "p99", "max", "cut off", "back"
        )?;
        for outcome in &self.outcomes {
            writeln!(out, "{outcome}")?;
        }
        if self.ended_early {
            writeln!(out, "ended early: the others were not tried")?;
        }
        if self.outcomes.iter().any(|outcome| !outcome.is_valid) {
            writeln!(out, "*          the generator was late: gaps may be its own")?;
        }
        let verdict = match self.exit_status() {
            0 => "everybody came back each time",
            3 => "everybody came back, but the generator was late",
            _ => "not everybody came back",
        };
        write!(out, "verdict    {verdict}")
    }
}

/// A row of the table.
impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<22} ", self.disturbance)?;
        if let Some(reason) = self.skipped {
            return write!(out, "not tried: {reason}");
        }
        match &self.gap_ms {
            Some(gap) => write!(
                out,
                "{:>8.0} {:>8.0} {:>8.0} {:>8.0}",
                gap.p50, gap.p90, gap.p99, gap.max
            )?,
            None => write!(out, "{:>35}", "nobody heard anything")?,
        }
        write!(
            out,
            "   {:>7} {:>7}{}{}",
            self.connections_lost,
            self.reconnects,
            if self.is_back { "" } else { "  NOT ALL" },
            if self.is_valid { "" } else { "  *" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(is_back: bool, is_valid: bool) -> Outcome {
        Outcome {
            skipped: None,
            gap_ms: Some(Percentiles {
                p50: 21.4,
                p90: 30.0,
                p99: 1234.5,
                p999: 1234.5,
                max: 2345.6,
            }),
            is_back,
            is_valid,
            ..Outcome::skipped("kill -9 and restart", "")
        }
    }

    #[test]
    fn the_status_says_whether_all_came_back() {
        let status = |outcomes: Vec<Outcome>| {
            let survival = Survival {
                outcomes,
                ..Survival::new("moql://h/?jwt=secret", &Scenario::steady_calls())
            };
            assert!(!survival.to_string().contains("secret"));
            survival.exit_status()
        };
        let skipped = || Outcome::skipped("reload", "no process");
        assert_eq!(status(vec![outcome(true, true), skipped()]), 0);
        assert_eq!(status(vec![outcome(true, false), outcome(true, true)]), 3);
        assert_eq!(status(vec![outcome(false, false), outcome(true, true)]), 1);
        assert_eq!(status(vec![skipped()]), 1, "nothing was tried");
    }

    #[test]
    fn rows_stand_below_each_other() {
        let row = outcome(true, true).to_string();
        assert!(row.contains("      21       30     1234     2346"), "{row}");
        assert!(outcome(false, true).to_string().ends_with("NOT ALL"));
        assert!(Outcome::skipped("x", "why").to_string().ends_with("not tried: why"));
    }
}
