//! What must hold for a run to pass: `one_way_ms.p99 < 50`, any number of the summary by its key.

use std::fmt;
use std::str::FromStr;

use super::summary::{Circumstances, Judged, Summary};
use crate::truth::interval::{Interval, Measure};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// Path in the summary, parts separated by dots.
    key: String,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The longer signs first: `<=` begins with `<`.
        let found = COMPARISONS
            .iter()
            .find_map(|(sign, comparison)| Some((text.split_once(sign)?, *comparison)));
        let Some(((key, bound), comparison)) = found else {
            return Err(format!("`{text}` is no threshold: `one_way_ms.p99 < 50`"));
        };
        let bound = bound
            .trim()
            .parse()
            .map_err(|_| format!("`{}` is no number in threshold `{text}`", bound.trim()))?;
        let key = key.trim().to_owned();
        if key.is_empty() {
            return Err(format!("threshold `{text}` names no figure"));
        }
        Ok(Self { key, comparison, bound })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = COMPARISONS
            .iter()
            .find(|(_, comparison)| *comparison == self.comparison)
            .map_or("?", |(sign, _)| sign);
        write!(out, "{} {sign} {}", self.key, self.bound)
    }
}

/// What a run is judged by: the scenario's, those that were asked for, and the usual ones without
/// either. Those without which the others may say nothing stand beside them, unless they are about
/// the same figure.
pub(crate) fn choose(scenario: &[String], asked: &[Threshold]) -> anyhow::Result<Vec<Threshold>> {
    let mut thresholds: Vec<Threshold> = scenario
        .iter()
        .map(|text| text.parse().map_err(anyhow::Error::msg))
        .collect::<anyhow::Result<_>>()?;
    thresholds.extend_from_slice(asked);
    let mut others = if thresholds.is_empty() {
        defaults()
    } else {
        parse(&STANDING)
    };
    others.retain(|other| thresholds.iter().all(|given| given.key != other.key));
    thresholds.append(&mut others);
    check(&thresholds)?;
    Ok(thresholds)
}

/// Judges a run. An unknown key is an error; a figure that was not measured misses its threshold.
pub(crate) fn judge(summary: &mut Summary, thresholds: &[Threshold]) -> anyhow::Result<()> {
    let figures = serde_json::to_value(&*summary)?;
    for threshold in thresholds {
        let pointer = format!("/{}", threshold.key.replace('.', "/"));
        let top = threshold.key.split('.').next().unwrap_or_default();
        let figure = figures.pointer(&pointer);
        anyhow::ensure!(
            figures
                .get(top)
                .is_some_and(|value| value.is_null() || figure.is_some()),
            "threshold `{threshold}`: the summary has no `{}`",
            threshold.key
        );
        let value = figure.and_then(serde_json::Value::as_f64);
        summary.thresholds.push(Judged {
            threshold: threshold.to_string(),
            value,
            passed: value.is_some_and(|value| threshold.holds(value)),
        });
    }
    let all_passed = summary.thresholds.iter().all(|judged| judged.passed);
    summary.verdict = match (summary.generator.valid, all_passed) {
        (false, _) => "invalid",
        (true, true) => "pass",
        (true, false) => "fail",
    };
    Ok(())
}

/// That each names a figure that there is, before a run is made for it.
pub(crate) fn check(thresholds: &[Threshold]) -> anyhow::Result<()> {
    // Everything is measured in it.
    let mut total = Interval::new(0);
    for measure in Measure::ALL {
        total.record(measure, 1);
    }
    judge(&mut Summary::new(&total, &Circumstances::default()), thresholds)
}

impl Threshold {
    fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            #[allow(clippy::float_cmp, reason = "counts are compared with this")]
            Comparison::Equal => value == self.bound,
        }
    }
}

/// What a run is judged by when it is told nothing: everything came, if some of it late.
pub(crate) fn defaults() -> Vec<Threshold> {
    let mut defaults = parse(&["calls_failed == 0"]);
    defaults.append(&mut parse(&STANDING));
    defaults.append(&mut parse(&[
        "frames_skipped == 0",
        "frames_lost == 0",
        "frames_corrupt == 0",
    ]));
    defaults
}

fn parse(texts: &[&str]) -> Vec<Threshold> {
    let parse = |text: &&str| text.parse().expect("these are thresholds");
    texts.iter().map(parse).collect()
}

/// In force whatever else is asked: something was to be heard, and the relay took nobody's
/// connection or subscription.
const STANDING: [&str; 4] = [
    "connections_lost == 0",
    "subscriptions_lost == 0",
    "violations == 0",
    "frames_expected > 0",
];

const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_held_against_their_bounds() {
        let passes = |text: &str| {
            let mut summary = summary();
            judge(&mut summary, &[text.parse().unwrap()]).unwrap();
            summary.verdict == "pass"
        };
        assert!(passes("one_way_ms.p99 < 21") && !passes("one_way_ms.p99<19"));
        assert!(passes("frames_lost==0") && passes("frames_expected>=0") && !passes("frames_expected > 0"));
        assert!(passes("generator.lag_ms_p99 <= 0"));
        assert!(!passes("mos.p1 > 1"), "what was not measured does not pass");
    }

    #[test]
    fn unknown_figures_and_malformed_thresholds_are_errors() {
        let judged = |text: &str| judge(&mut summary(), &[text.parse().unwrap()]);
        assert!(
            judged("one_way.p99 < 1")
                .unwrap_err()
                .to_string()
                .contains("no `one_way.p99`")
        );
        assert!(judged("one_way_ms.p98 < 1").is_err());
        for text in ["one_way_ms.p99", "< 5", "frames_lost < many", ""] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
        assert_eq!("a.b<=2".parse::<Threshold>().unwrap().to_string(), "a.b <= 2");
    }

    #[test]
    fn lost_connections_count_unless_a_threshold_is_about_them() {
        let keys = |scenario: &[&str], asked: &[&str]| -> Vec<String> {
            let scenario: Vec<String> = scenario.iter().map(|text| (*text).to_owned()).collect();
            let chosen = choose(&scenario, &parse(asked)).unwrap();
            chosen.iter().map(ToString::to_string).collect()
        };
        assert_eq!(keys(&[], &[]).len(), defaults().len());
        assert_eq!(
            keys(&["calls_failed == 0"], &["one_way_ms.p99 < 50"])[2..],
            STANDING.map(str::to_owned)
        );
        let tolerant = keys(&["connections_lost < 5"], &["frames_expected > 1000"]);
        assert_eq!(
            tolerant,
            [
                "connections_lost < 5",
                "frames_expected > 1000",
                "subscriptions_lost == 0",
                "violations == 0"
            ]
        );
    }

    fn summary() -> Summary {
        let mut total = Interval::new(0);
        total.record(Measure::OneWay, 20_000);
        Summary::new(&total, &Circumstances::default())
    }
}
