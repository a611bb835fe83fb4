//! `loadgen capacity`: the most calls at once with which a relay meets an objective, found by
//! bisection and confirmed by repeats.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::arguments::Flags;
use crate::engine::nanoseconds;
use crate::model::arrivals::Arrivals;
use crate::model::hold::Hold;
use crate::output::file::complain;
use crate::output::summary::Summary;
use crate::output::threshold::{self, Threshold};
use crate::run;
use crate::scenario::Scenario;

/// What is asked of the relay, and how thoroughly.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Objective {
    #[serde(default)]
    pub(crate) question: String,
    /// What must hold with so many calls.
    pub(crate) thresholds: Vec<String>,
    /// Runs with the number that was found, after the one that found it.
    #[serde(default = "repeats")]
    pub(crate) repeats: u32,
    /// Of the number that is found.
    #[serde(default = "precision")]
    pub(crate) precision_percent: u32,
    /// The search begins here, and nothing less is a capacity.
    #[serde(default = "calls_min")]
    pub(crate) calls_min: u64,
    #[serde(default = "calls_max")]
    pub(crate) calls_max: u64,
    /// Time in which the calls of a run begin.
    #[serde(default = "ramp", with = "humantime_serde")]
    pub(crate) ramp: Duration,
    /// Time that is measured then.
    #[serde(default = "measure", with = "humantime_serde")]
    pub(crate) measure: Duration,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Capacity {
    pub(crate) relay: String,
    pub(crate) workload: String,
    pub(crate) question: String,
    pub(crate) objective: Vec<String>,
    /// `None`: not even the least, or none is known since the search ended early.
    pub(crate) calls: Option<u64>,
    /// Numbers that were repeated before one held.
    pub(crate) candidates: u32,
    /// Runs with that many after it was found, and how many of them met the objective.
    pub(crate) runs: u32,
    pub(crate) runs_passed: u32,
    /// With 95 % confidence at least this share of runs with as many calls meets the objective
    /// (Clopper and Pearson, one-sided, when all runs did; Bonferroni for several candidates).
    pub(crate) pass_share_at_least: f64,
    /// The fewest calls that missed it.
    pub(crate) fails_at: Option<u64>,
    /// The generator, not the relay, was what did not keep up, or the search ended early: there may be
    /// room beyond.
    pub(crate) is_lower_bound: bool,
    /// It was interrupted, and this is what it knew by then.
    pub(crate) ended_early: bool,
    pub(crate) trials: Vec<Trial>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) calls: u64,
    pub(crate) verdict: &'static str,
    pub(crate) missed: Vec<String>,
    pub(crate) setup_ms_p99: Option<f64>,
    pub(crate) one_way_ms_p99: Option<f64>,
    pub(crate) missed_percent: f64,
    pub(crate) mos_p1: Option<f64>,
    pub(crate) relay_cpu_percent: Option<f64>,
}

impl Objective {
    /// A file, or the one that comes along.
    pub(crate) fn load(name: &str) -> anyhow::Result<Self> {
        let text = match name {
            "telephone" => include_str!("../objectives/telephone.toml").to_owned(),
            file => std::fs::read_to_string(file)
                .with_context(|| format!("`{file}` is neither a file nor `telephone`, which comes along"))?,
        };
        let objective: Self = toml::from_str(&text).with_context(|| format!("objective {name}"))?;
        objective.check().with_context(|| format!("objective {name}"))?;
        Ok(objective)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.thresholds.is_empty(), "nothing is asked for in `thresholds`");
        ensure!(
            0 < self.calls_min && self.calls_min <= self.calls_max,
            "`calls_min` is at least 1, and at most `calls_max`"
        );
        ensure!(
            (1..=50).contains(&self.precision_percent),
            "`precision_percent` is 1 to 50"
        );
        ensure!((1..=100).contains(&self.repeats), "`repeats` is 1 to 100");
        ensure!(
            self.ramp >= Duration::from_secs(1) && self.measure >= Duration::from_secs(2),
            "`ramp` is at least a second, `measure` two"
        );
        threshold::check(&self.thresholds()?)
    }

    fn thresholds(&self) -> anyhow::Result<Vec<Threshold>> {
        let parse = |text: &String| text.parse().map_err(anyhow::Error::msg);
        self.thresholds.iter().map(parse).collect()
    }

    /// A scenario with so many calls, up together from the end of the ramp on.
    fn scenario(&self, scenario: &Scenario, calls: u64) -> Scenario {
        let mut scenario = scenario.clone();
        #[allow(clippy::cast_precision_loss, reason = "a number of calls")]
        let rate = calls as f64 / self.ramp.as_secs_f64();
        scenario.arrivals = Arrivals::Constant { rate };
        scenario.hold = Hold::Forever {};
        scenario.limits.concurrent = calls;
        scenario.limits.total = u64::from(u32::MAX);
        scenario.limits.closed = false;
        if let Some(phone) = &mut scenario.phone {
            // All are to be up when it is measured.
            phone.answer = Hold::Fixed { time: SETTLE_IN / 4 };
        }
        // Whole intervals, so that no less is measured than was asked for.
        let whole = |time: Duration| {
            let ns = nanoseconds(time).next_multiple_of(nanoseconds(scenario.interval).max(1));
            Duration::from_nanos(ns)
        };
        let warm_up = whole(self.ramp + scenario.behaviour.join_over.unwrap_or_default() + SETTLE_IN);
        let measure = whole(self.measure);
        scenario.warm_up = warm_up;
        scenario.cool_down = Duration::ZERO;
        scenario.duration = warm_up + measure;
        scenario.thresholds.clone_from(&self.thresholds);
        scenario
    }
}

/// Searches, telling of each run as it goes.
pub(crate) fn find(objective: &Objective, scenario: &Scenario, flags: &Flags) -> anyhow::Result<Capacity> {
    ensure!(
        flags.threshold.is_empty() && flags.part.is_none() && flags.jsonl.is_none(),
        "a search has the thresholds of its objective, and no --part or --jsonl"
    );
    let mut search = Search::new(objective.calls_min, objective.calls_max, objective.precision_percent);
    let mut capacity = Capacity {
        workload: scenario.describe(),
        question: objective.question.clone(),
        objective: objective.thresholds.clone(),
        ..Capacity::default()
    };
    // `None`: the search is to end.
    let run = |calls: u64, capacity: &mut Capacity| -> anyhow::Result<Option<&'static str>> {
        let mut trial_scenario = objective.scenario(scenario, calls);
        // Another run is another draw.
        trial_scenario.seed = scenario.seed.wrapping_add(capacity.trials.len() as u64);
        trial_scenario.check()?;
        let summary = run::run(&trial_scenario, flags)?;
        capacity.relay.clone_from(&summary.relay);
        if summary.ended_early {
            // Of no use: it was shorter than the others.
            capacity.ended_early = true;
            return Ok(None);
        }
        let trial = Trial::new(calls, &summary);
        complain(&trial);
        let verdict = trial.verdict;
        capacity.trials.push(trial);
        Ok(Some(verdict))
    };
    // A generator that was late once may have been disturbed: twice is its limit.
    let attempt = |calls: u64, capacity: &mut Capacity| -> anyhow::Result<Option<bool>> {
        let mut verdict = run(calls, capacity)?;
        if verdict == Some("invalid") {
            verdict = run(calls, capacity)?;
        }
        Ok(verdict.map(|verdict| verdict == "pass"))
    };
    'search: loop {
        while let Some(calls) = search.next() {
            let Some(passed) = attempt(calls, &mut capacity)? else {
                break 'search;
            };
            search.tell(calls, passed);
        }
        let Some(calls) = search.passed else { break };
        capacity.candidates += 1;
        while capacity.runs < objective.repeats && capacity.runs == capacity.runs_passed {
            let Some(passed) = attempt(calls, &mut capacity)? else {
                break 'search;
            };
            capacity.runs += 1;
            capacity.runs_passed += u32::from(passed);
        }
        if capacity.runs == capacity.runs_passed {
            break;
        }
        // It passed by luck: what is below is looked at again.
        search.tell(calls, false);
        (capacity.runs, capacity.runs_passed) = (0, 0);
    }
    capacity.conclude(&search);
    Ok(capacity)
}

impl Capacity {
    fn conclude(&mut self, search: &Search) {
        self.calls = search.passed;
        self.fails_at = search.failed;
        if self.ended_early && self.calls.is_none() {
            // What passed before a number above it failed in the end was not tried again.
            let passed = self.trials.iter().filter(|trial| trial.verdict == "pass");
            let calls = passed.map(|trial| trial.calls);
            self.calls = calls
                .filter(|calls| search.failed.is_none_or(|failed| *calls < failed))
                .max();
        }
        if self.calls.is_some() && self.runs > 0 && self.runs == self.runs_passed {
            let risk = 0.05 / f64::from(self.candidates.max(1));
            self.pass_share_at_least = risk.powf(1.0 / f64::from(self.runs));
        }
        // Only what ended the search upwards makes it a bound.
        self.is_lower_bound = match self.fails_at {
            _ if self.ended_early => self.calls.is_some(),
            None => self.calls.is_some(),
            Some(calls) => {
                let mut latest = self.trials.iter().rev();
                latest
                    .find(|trial| trial.calls == calls)
                    .is_some_and(|trial| trial.verdict == "invalid")
            }
        };
    }

    /// 0: there is a capacity; 1: not even the least; 3: a lower bound, or nothing is known.
    pub(crate) fn exit_status(&self) -> u8 {
        match (self.calls, self.is_lower_bound || self.ended_early) {
            (None, false) => 1,
            (Some(_), false) => 0,
            (_, true) => 3,
        }
    }
}

impl Trial {
    fn new(calls: u64, summary: &Summary) -> Self {
        let mut missed: Vec<String> = summary
            .thresholds
            .iter()
            .filter(|judged| !judged.passed)
            .map(|judged| judged.threshold.clone())
            .collect();
        // Whatever was asked: so many calls are to be up, and to stay so.
        let counts = &summary.counts;
        let mut verdict = summary.verdict;
        if counts.calls_established != calls || counts.connections_lost > 0 || counts.subscriptions_lost > 0 {
            missed.push(format!("{calls} calls up to the end"));
            if verdict == "pass" {
                verdict = "fail";
            }
        }
        Self {
            calls,
            verdict,
            missed,
            setup_ms_p99: summary.setup_ms.map(|times| times.p99),
            one_way_ms_p99: summary.one_way_ms.map(|times| times.p99),
            missed_percent: summary.missed_percent,
            mos_p1: summary.mos.map(|mos| mos.p1),
            relay_cpu_percent: summary.relay_cpu_percent,
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        write!(
            out,
            "{:>8} calls  {:<8} set-up p99 {} ms, one way p99 {} ms, {:.3} % missed, MOS worst 1 % {}, relay {} % of a core",
            self.calls,
            self.verdict,
            figure(self.setup_ms_p99),
            figure(self.one_way_ms_p99),
            self.missed_percent,
            figure(self.mos_p1),
            figure(self.relay_cpu_percent),
        )?;
        for missed in &self.missed {
            write!(out, "; missed {missed}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "relay      {}", self.relay)?;
        writeln!(out, "load       {}", self.workload)?;
        writeln!(out, "objective  {}", self.objective.join(", "))?;
        match (self.calls, self.fails_at) {
            (None, None) => write!(out, "capacity   unknown: the search was interrupted")?,
            (None, Some(fails_at)) if self.ended_early => {
                write!(
                    out,
                    "capacity   unknown, below {fails_at} calls: the search was interrupted"
                )?;
            }
            (None, Some(fails_at)) => write!(out, "capacity   none: {fails_at} calls miss it")?,
            (Some(calls), fails_at) => {
                write!(out, "capacity   {calls} calls at once: ")?;
                match self.runs {
                    0 => write!(out, "one run met it")?,
                    runs => write!(
                        out,
                        "{} of {runs} runs met it (with 95 % confidence {:.0} % of runs or more do)",
                        self.runs_passed,
                        self.pass_share_at_least * 100.0
                    )?,
                }
                if let Some(fails_at) = fails_at {
                    write!(out, "; {fails_at} did not")?;
                }
            }
        }
        if self.is_lower_bound {
            let why = match self.fails_at {
                _ if self.ended_early => "the search was interrupted".to_owned(),
                None => "the objective has no more (calls_max)".to_owned(),
                Some(calls) => format!("with {calls} the generator was the bottleneck"),
            };
            write!(out, "\n           a lower bound: {why}")?;
        }
        Ok(())
    }
}

/// Doubles until something fails, then halves the gap.
#[derive(Clone, Debug)]
struct Search {
    min: u64,
    max: u64,
    precision_percent: u64,
    passed: Option<u64>,
    failed: Option<u64>,
}

impl Search {
    fn new(min: u64, max: u64, precision_percent: u32) -> Self {
        Self {
            min,
            max,
            precision_percent: u64::from(precision_percent),
            passed: None,
            failed: None,
        }
    }

    /// How many to try; `None` when it is known well enough.
    fn next(&self) -> Option<u64> {
        match (self.passed, self.failed) {
            (None, None) => Some(self.min),
            (Some(passed), None) => (passed < self.max).then(|| (passed * 2).min(self.max)),
            (None, Some(failed)) => (failed > self.min).then(|| self.min.midpoint(failed)),
            (Some(passed), Some(failed)) => {
                let gap = (passed * self.precision_percent / 100).max(1);
                (failed - passed > gap).then(|| passed.midpoint(failed))
            }
        }
    }

    /// What became of a try. A number that failed leaves nothing above it that passed.
    fn tell(&mut self, calls: u64, passed: bool) {
        if passed {
            self.passed = Some(calls);
        } else {
            self.failed = Some(calls);
            self.passed = self.passed.filter(|passed| *passed < calls);
        }
    }
}

/// Between the last call's beginning and what is measured.
const SETTLE_IN: Duration = Duration::from_secs(2);

fn repeats() -> u32 {
    3
}

fn precision() -> u32 {
    5
}

fn calls_min() -> u64 {
    10
}

fn calls_max() -> u64 {
    20_000
}

fn ramp() -> Duration {
    Duration::from_secs(5)
}

fn measure() -> Duration {
    Duration::from_secs(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_within_its_precision_and_in_few_runs() {
        for limit in [10, 11, 37, 600, 601, 4999, 20_000, 1_000_000] {
            let mut search = Search::new(10, 20_000, 5);
            let mut runs = 0;
            while let Some(calls) = search.next() {
                search.tell(calls, calls <= limit);
                runs += 1;
            }
            let found = search.passed.unwrap();
            let real = limit.min(20_000);
            assert!(
                found <= real && found + (found / 20).max(1) >= real,
                "{found} for {limit}"
            );
            assert!(runs <= 18, "{runs} runs");
        }
    }

    #[test]
    fn a_relay_that_does_not_carry_the_least_has_no_capacity() {
        let mut search = Search::new(10, 100, 5);
        search.tell(10, false);
        assert_eq!((search.next(), search.passed), (None, None));
    }

    #[test]
    fn what_passed_once_and_failed_when_repeated_is_searched_again_below() {
        let mut search = Search::new(10, 1000, 5);
        for (calls, passed) in [(10, true), (20, true), (40, false), (30, true), (35, true), (37, true)] {
            search.tell(calls, passed);
        }
        search.tell(37, false);
        assert_eq!((search.passed, search.failed), (None, Some(37)));
        assert_eq!(search.next(), Some(23), "the least and what failed are halved");
    }

    #[test]
    fn what_is_known_of_a_search_that_ended_early_is_said_of_the_right_number() {
        let conclude = |trials: &[(u64, &'static str)], passed, failed| {
            let mut search = Search::new(10, 1000, 5);
            (search.passed, search.failed) = (passed, failed);
            let mut capacity = Capacity {
                ended_early: true,
                trials: trials.iter().map(|(calls, verdict)| trial(*calls, verdict)).collect(),
                ..Capacity::default()
            };
            capacity.conclude(&search);
            let text = capacity.to_string();
            let line = text
                .lines()
                .find(|line| line.starts_with("capacity"))
                .unwrap()
                .to_owned();
            (capacity.calls, capacity.is_lower_bound, capacity.exit_status(), line)
        };
        let unknown = "capacity   unknown: the search was interrupted";
        assert_eq!(conclude(&[], None, None), (None, false, 3, unknown.to_owned()));
        let unknown = "capacity   unknown, below 20 calls: the search was interrupted";
        assert_eq!(
            conclude(&[(20, "fail")], None, Some(20)),
            (None, false, 3, unknown.to_owned())
        );
        // Forty passed, and then did not; of those below, twenty had.
        let trials = [(10, "pass"), (20, "pass"), (40, "pass"), (40, "fail")];
        let known = "capacity   20 calls at once: one run met it; 40 did not";
        assert_eq!(conclude(&trials, None, Some(40)), (Some(20), true, 3, known.to_owned()));
    }

    fn trial(calls: u64, verdict: &'static str) -> Trial {
        Trial {
            calls,
            verdict,
            missed: Vec::new(),
            setup_ms_p99: None,
            one_way_ms_p99: None,
            missed_percent: 0.0,
            mos_p1: None,
            relay_cpu_percent: None,
        }
    }

    #[test]
    fn a_trial_measures_what_was_asked_for_whatever_the_times() {
        let objective = |times: &str| -> Objective {
            toml::from_str(&format!("thresholds = ['frames_lost == 0']\n{times}")).unwrap()
        };
        for (times, join_over_ms, measured) in [
            ("", 0, (7, 17)),
            ("ramp = '5500ms'\nmeasure = '10s'", 0, (8, 18)),
            ("ramp = '5500ms'\nmeasure = '9100ms'", 0, (8, 18)),
            ("", 500, (8, 18)),
        ] {
            let mut scenario = Scenario::default();
            scenario.behaviour.join_over = Some(Duration::from_millis(join_over_ms));
            let trial = objective(times).scenario(&scenario, 10);
            trial.check().unwrap();
            assert_eq!(trial.measured(), measured, "{times} {join_over_ms}");
        }
    }

    #[test]
    fn objectives_are_checked() {
        let objective = Objective::load("telephone").unwrap();
        assert!(objective.question.ends_with('?'));
        for wrong in [
            "thresholds = []",
            "thresholds = ['one_way.p99 < 3']",
            "thresholds = ['frames_lost == 0']\nrepeats = 0",
            "thresholds = ['frames_lost == 0']\ncalls_min = 5\ncalls_max = 4",
        ] {
            assert!(toml::from_str::<Objective>(wrong).unwrap().check().is_err(), "{wrong}");
        }
        assert!(toml::from_str::<Objective>("thresholds = ['frames_lost == 0']\nrepeat = 3").is_err());
    }
}
