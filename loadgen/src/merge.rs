//! Adds up what several processes wrote of one load: counts as numbers, distributions value by
//! value, so that the sum is what one process would have found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::host::Sample;
use crate::output::html;
use crate::output::jsonl::{Head, Line};
use crate::output::summary::{Circumstances, Summary};
use crate::output::threshold::{self, Threshold};
use crate::run::{add, codec_names, host_figures};
use crate::truth::interval::Interval;

/// One file: its head, its intervals, and samples of the host by interval.
pub(crate) struct Recording {
    pub(crate) head: Head,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) samples: BTreeMap<u64, Sample>,
}

impl Recording {
    pub(crate) fn read(file: &PathBuf) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let head = lines.next().context("the file is empty")?;
        let head: Head = serde_json::from_str(head).context("line 1 is not the head of a --jsonl file")?;
        let mut recording = Self {
            head,
            intervals: Vec::new(),
            samples: BTreeMap::new(),
        };
        for (number, line) in (2..).zip(lines) {
            let line: Line = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
            recording
                .intervals
                .push(line.interval().with_context(|| format!("line {number}"))?);
            if let Some(sample) = line.host {
                recording.samples.insert(line.interval, sample);
            }
        }
        Ok(recording)
    }
}

/// One page about recordings, side by side.
pub(crate) fn report(files: &[PathBuf], thresholds: &[Threshold]) -> anyhow::Result<String> {
    let mut recordings = Vec::new();
    let mut summaries = Vec::new();
    for file in files {
        let name = file
            .file_stem()
            .unwrap_or(file.as_os_str())
            .to_string_lossy()
            .into_owned();
        recordings.push((name, Recording::read(file)?));
        summaries.push(merge(std::slice::from_ref(file), thresholds)?);
    }
    html::page(&recordings, &summaries)
}

/// The figures of recordings of one load.
pub(crate) fn merge(files: &[PathBuf], thresholds: &[Threshold]) -> anyhow::Result<Summary> {
    let recordings: Vec<Recording> = files.iter().map(Recording::read).collect::<anyhow::Result<_>>()?;
    let first = &recordings.first().context("no file")?.head;
    let (from, to) = first.measured;
    let mut total = Interval::new(0);
    let mut generator_cpu_seconds = 0.0;
    for (file, recording) in files.iter().zip(&recordings) {
        let head = &recording.head;
        ensure!(
            (head.seed, head.measured, head.interval_ns) == (first.seed, first.measured, first.interval_ns),
            "{} is of another load than {}",
            file.display(),
            files[0].display()
        );
        let apart = Duration::from_nanos(head.epoch_ns.abs_diff(first.epoch_ns));
        ensure!(
            apart < APART_MAX,
            "{} began {apart:?} apart from {}",
            file.display(),
            files[0].display()
        );
        for interval in &recording.intervals {
            add(&mut total, interval, head.measured);
        }
        generator_cpu_seconds += host_figures(&recording.samples, from, to).generator_cpu_seconds;
    }
    // One relay, which each may have sampled.
    let mut host = recordings
        .iter()
        .map(|recording| host_figures(&recording.samples, from, to))
        .find(|figures| figures.relay_cpu_seconds.is_some())
        .unwrap_or_default();
    host.generator_cpu_seconds = generator_cpu_seconds;
    let mut summary = Summary::new(
        &total,
        &Circumstances {
            relay: first.relay.clone(),
            workload: match files.len() {
                1 => first.workload.clone(),
                processes => format!("{} ({processes} processes)", first.workload),
            },
            seed: first.seed,
            measured: Duration::from_nanos((to - from) * first.interval_ns),
            codecs: codec_names(&first.codecs),
            host,
        },
    );
    let thresholds = if thresholds.is_empty() {
        threshold::defaults()
    } else {
        thresholds.to_vec()
    };
    threshold::judge(&mut summary, &thresholds)?;
    Ok(summary)
}

/// Processes that share a load begin within so long of each other.
const APART_MAX: Duration = Duration::from_secs(5);
