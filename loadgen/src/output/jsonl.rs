//! Intervals as JSON lines, which can be added up again: counts as numbers, distributions as
//! HdrHistogram V2 in base64, as its log format has them.

use std::collections::BTreeMap;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::clock::Offset;
use crate::host::Sample;
use crate::scenario::Scenario;
use crate::truth::interval::{Counts, Interval, Measure};

/// The first line: what the others are of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) loadgen: String,
    pub(crate) relay: String,
    pub(crate) workload: String,
    /// The whole load, as it was made of a file and flags.
    pub(crate) scenario: Scenario,
    pub(crate) codecs: Vec<String>,
    /// Beginning of interval 0, Unix time.
    pub(crate) epoch_ns: u64,
    pub(crate) interval_ns: u64,
    /// Intervals of the warm-up and those before the cool-down: figures are of `[first, last)`.
    pub(crate) measured: (u64, u64),
    /// This process is the i-th of n that share the load.
    pub(crate) part: (u64, u64),
    /// Shards of this process.
    pub(crate) shards: u64,
    /// What the clock of this host was compared with, and how far it was off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock: Option<Offset>,
}

/// The last line: the process came to the end of its run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tail {
    /// `measured` as it was, for a run that was ended before its time.
    pub(crate) ended: (u64, u64),
}

/// One interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) interval: u64,
    pub(crate) counts: Counts,
    /// Base64 of V2 with compression; distributions without a value are left out.
    pub(crate) histograms: BTreeMap<String, String>,
    /// Of several shards: how late each was, in the same form, since their sum hides who was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shards: Vec<BTreeMap<String, String>>,
    /// Why connections and subscriptions were lost, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) reasons: BTreeMap<String, u64>,
    /// By which status telephones of SIP were refused, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) refusals: BTreeMap<u16, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<Sample>,
}

impl Line {
    /// `interval` is the sum of those of the shards; one that has ended has none.
    pub(crate) fn new(interval: &Interval, shards: &[Option<Interval>], host: Option<Sample>) -> anyhow::Result<Self> {
        let lags = |shard: &Option<Interval>| match shard {
            Some(shard) => histograms(shard, &LAGS),
            None => Ok(BTreeMap::new()),
        };
        Ok(Self {
            interval: interval.index,
            counts: interval.counts,
            histograms: histograms(interval, &Measure::ALL)?,
            shards: match shards {
                [] | [_] => Vec::new(),
                several => several.iter().map(lags).collect::<anyhow::Result<_>>()?,
            },
            reasons: interval.reasons.clone(),
            refusals: interval.refusals.clone(),
            host,
        })
    }

    pub(crate) fn interval(&self) -> anyhow::Result<Interval> {
        let mut interval = Interval::new(self.interval);
        interval.counts = self.counts;
        interval.reasons.clone_from(&self.reasons);
        interval.refusals.clone_from(&self.refusals);
        read(&self.histograms, &mut interval)?;
        Ok(interval)
    }

    /// How late each shard was, as an interval of nothing else; of a process with one shard, all.
    pub(crate) fn shards(&self) -> anyhow::Result<Vec<Interval>> {
        if self.shards.is_empty() {
            return Ok(vec![self.interval()?]);
        }
        let lags = |histograms: &BTreeMap<String, String>| {
            let mut interval = Interval::new(self.interval);
            read(histograms, &mut interval)?;
            Ok(interval)
        };
        self.shards.iter().map(lags).collect()
    }
}

fn histograms(interval: &Interval, measures: &[Measure]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut histograms = BTreeMap::new();
    let mut serializer = V2DeflateSerializer::new();
    for measure in measures {
        let histogram = interval.of(*measure);
        if histogram.is_empty() {
            continue;
        }
        let mut bytes = Vec::new();
        serializer
            .serialize(histogram, &mut bytes)
            .map_err(|error| anyhow::anyhow!("{}: {error:?}", measure.key()))?;
        histograms.insert(measure.key().to_owned(), STANDARD.encode(bytes));
    }
    Ok(histograms)
}

fn read(histograms: &BTreeMap<String, String>, interval: &mut Interval) -> anyhow::Result<()> {
    for (key, text) in histograms {
        let measure = Measure::ALL
            .into_iter()
            .find(|measure| measure.key() == key)
            .with_context(|| format!("no distribution is called `{key}`"))?;
        let bytes = STANDARD.decode(text).with_context(|| format!("{key}: not base64"))?;
        let histogram = Deserializer::new()
            .deserialize::<u64, _>(&mut bytes.as_slice())
            .map_err(|error| anyhow::anyhow!("{key}: {error:?}"))?;
        interval
            .of_mut(measure)
            .add(&histogram)
            .map_err(|error| anyhow::anyhow!("{key}: {error:?}"))?;
    }
    Ok(())
}

/// What is the generator's own fault.
const LAGS: [Measure; 2] = [Measure::Lag, Measure::SetupLag];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_comes_back_as_it_was() {
        let mut interval = Interval::new(7);
        interval.counts.frames_lost = 3;
        interval.refuse(503);
        for value in 1..5000 {
            interval.record(Measure::OneWay, value * 37);
            interval.record(Measure::Mos, 4300);
        }
        let text = serde_json::to_string(&Line::new(&interval, &[], None).unwrap()).unwrap();
        // What every HdrHistogram reads begins with its compressed V2 cookie.
        assert!(text.contains("\"one_way_us\":\"HISTFAAA"), "{text}");
        let again = serde_json::from_str::<Line>(&text).unwrap().interval().unwrap();
        assert_eq!((again.index, again.counts), (7, interval.counts));
        assert_eq!(again.refusals, interval.refusals);
        for measure in Measure::ALL {
            assert_eq!(again.of(measure), interval.of(measure), "{measure:?}");
        }
    }

    #[test]
    fn how_late_each_shard_was_comes_back_beside_the_sum() {
        let late = |lag| {
            let mut shard = Interval::new(3);
            shard.record(Measure::Lag, lag);
            shard.record(Measure::OneWay, 1);
            shard
        };
        let mut sum = late(10);
        sum.add(&late(20));
        let lags = |shards: &[Option<Interval>]| -> Vec<(u64, u64)> {
            let text = serde_json::to_string(&Line::new(&sum, shards, None).unwrap()).unwrap();
            let shards = serde_json::from_str::<Line>(&text).unwrap().shards().unwrap();
            let lag = |shard: &Interval| (shard.of(Measure::Lag).len(), shard.of(Measure::Lag).max());
            shards.iter().map(lag).collect()
        };
        let shards = [Some(late(10)), None, Some(late(20))];
        assert_eq!(lags(&shards), [(1, 10), (0, 0), (1, 20)]);
        assert_eq!(lags(&[Some(sum.clone())]), [(2, 20)]);
    }

    #[test]
    fn damaged_lines_are_errors() {
        let good = serde_json::to_value(Line::new(&Interval::new(0), &[], None).unwrap()).unwrap();
        for (key, value) in [("one_way_us", "###"), ("one_way_us", "AAAA"), ("two_way_us", "")] {
            let mut line = good.clone();
            line["histograms"][key] = value.into();
            let line: Line = serde_json::from_value(line).unwrap();
            assert!(line.interval().is_err(), "{key} {value}");
        }
    }
}
