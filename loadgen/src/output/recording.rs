//! A file of JSON lines, read again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};

use super::jsonl::{Head, Line, Tail};
use crate::host::Sample;
use crate::truth::interval::Interval;

/// One file: its head, its intervals, and samples of the host by interval.
pub(crate) struct Recording {
    pub(crate) head: Head,
    /// Intervals that figures are of.
    pub(crate) measured: (u64, u64),
    pub(crate) intervals: Vec<Interval>,
    /// How late each shard was, by interval.
    pub(crate) shards: Vec<Vec<Interval>>,
    pub(crate) samples: BTreeMap<u64, Sample>,
}

impl Recording {
    pub(crate) fn read(file: &PathBuf) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines: Vec<(usize, &str)> = (1..).zip(text.lines()).collect();
        ensure!(!lines.is_empty(), "the file is empty");
        let (_, head) = lines.remove(0);
        let head: Head = serde_json::from_str(head).context("line 1 is not the head of a --jsonl file")?;
        let tail = lines
            .pop()
            .and_then(|(_, line)| serde_json::from_str::<Tail>(line).ok());
        let tail = tail.context("the recording has no end: its process did not come to the end of its run")?;
        let mut recording = Self {
            head,
            measured: tail.ended,
            intervals: Vec::new(),
            shards: Vec::new(),
            samples: BTreeMap::new(),
        };
        for (number, line) in lines {
            let line: Line = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
            recording
                .intervals
                .push(line.interval().with_context(|| format!("line {number}"))?);
            recording
                .shards
                .push(line.shards().with_context(|| format!("line {number}"))?);
            if let Some(sample) = line.host {
                recording.samples.insert(line.interval, sample);
            }
        }
        Ok(recording)
    }

    /// How late each shard was in the measured intervals.
    pub(crate) fn lags(&self, measured: (u64, u64)) -> Vec<Interval> {
        let shards = self.shards.iter().map(Vec::len).max().unwrap_or(0);
        let mut lags = vec![Interval::new(0); shards];
        for (lag, shard) in self.shards.iter().flat_map(|shards| (0..).zip(shards)) {
            let lag: usize = lag;
            lags[lag].add_to_run(shard, measured);
        }
        lags
    }
}
