//! Adds up what several processes wrote of one load: counts as numbers, distributions value by
//! value, so that the sum is what one process would have found.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::host::HostFigures;
use crate::output::jsonl::Head;
use crate::output::recording::Recording;
use crate::output::summary::{Circumstances, Summary};
use crate::output::threshold::{self, Threshold};
use crate::truth::interval::Interval;
use crate::truth::mos;

/// The figures of the recordings of one load, of every process that shared it.
pub(crate) fn merge(files: &[PathBuf], thresholds: &[Threshold]) -> anyhow::Result<Summary> {
    let recordings: Vec<Recording> = files.iter().map(Recording::read).collect::<anyhow::Result<_>>()?;
    check_one_load(files, &recordings)?;
    summarize(&recordings, thresholds)
}

/// Recordings are of one load: each part once, begun at the same time.
fn check_one_load(files: &[PathBuf], recordings: &[Recording]) -> anyhow::Result<()> {
    let first = &recordings.first().context("no file")?.head;
    for (file, recording) in files.iter().zip(recordings) {
        let head = &recording.head;
        ensure!(
            (&head.scenario, head.shards) == (&first.scenario, first.shards),
            "{} is of another load than {}: the scenario or the number of shards differs",
            file.display(),
            files[0].display()
        );
        let apart_ms = (epoch_ms(head) - epoch_ms(first)).abs();
        ensure!(
            apart_ms < APART_MAX.as_secs_f64() * 1000.0,
            "{} began {apart_ms:.0} ms apart from {}",
            file.display(),
            files[0].display()
        );
    }
    ensure!(
        recordings.iter().all(|recording| recording.head.part.1 == first.part.1),
        "the recordings are of loads that different numbers of processes shared"
    );
    let mut parts: Vec<u64> = recordings.iter().map(|recording| recording.head.part.0).collect();
    parts.sort_unstable();
    ensure!(
        parts.iter().copied().eq(1..=first.part.1),
        "these are the parts {parts:?} of a load that {} processes shared: each is wanted once",
        first.part.1
    );
    Ok(())
}

/// The figures of recordings, added up.
pub(crate) fn summarize(recordings: &[Recording], thresholds: &[Threshold]) -> anyhow::Result<Summary> {
    let first = recordings.first().context("no recording")?;
    // What all of them measured.
    let (from, to) = recordings.iter().fold(first.measured, |(from, to), recording| {
        (from.max(recording.measured.0), to.min(recording.measured.1))
    });
    ensure!(from < to, "the recordings have no interval in common");
    let mut total = Interval::new(0);
    // One relay, which each may have sampled.
    let mut host = HostFigures::default();
    let (mut cpu_seconds, mut socket_drops) = (0.0, 0);
    let mut shards = Vec::new();
    for recording in recordings {
        shards.append(&mut recording.lags((from, to)));
        for interval in &recording.intervals {
            total.add_to_run(interval, (from, to));
        }
        let figures = HostFigures::of(&recording.samples, from, to);
        cpu_seconds += figures.generator_cpu_seconds;
        socket_drops += figures.generator_socket_drops;
        if host.relay_cpu_seconds.is_none() {
            host = figures;
        }
    }
    host.generator_cpu_seconds = cpu_seconds;
    host.generator_socket_drops = socket_drops;
    let mut summary = Summary::new(
        &total,
        &Circumstances {
            relay: first.head.relay.clone(),
            workload: match recordings.len() {
                1 => first.head.workload.clone(),
                processes => format!("{} ({processes} processes)", first.head.workload),
            },
            seed: first.head.scenario.seed,
            measured: Duration::from_nanos((to - from) * first.head.interval_ns),
            ended_early: recordings
                .iter()
                .any(|recording| recording.measured != recording.head.measured),
            codecs: mos::known_codecs(&first.head.codecs),
            host,
            shards,
        },
    );
    let thresholds = threshold::choose(&first.head.scenario.thresholds, thresholds)?;
    threshold::judge(&mut summary, &thresholds)?;
    summary.clocks = clocks(recordings);
    Ok(summary)
}

/// When a run began, by the clock that its own was compared with, if it was.
fn epoch_ms(head: &Head) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "2^53 ns are 104 days, but a µs is near enough"
    )]
    let own = head.epoch_ns as f64 / 1e6;
    own + head.clock.as_ref().map_or(0.0, |clock| clock.offset_ms)
}

/// How far the clocks of several processes were apart, or that of one from another host's, in words.
fn clocks(recordings: &[Recording]) -> Option<String> {
    if let [alone] = recordings {
        let clock = alone.head.clock.as_ref()?;
        return Some(format!(
            "{:.3} ms behind that at {} (+- {:.3} ms)",
            clock.offset_ms, clock.reference, clock.uncertainty_ms
        ));
    }
    let heads = || recordings.iter().map(|recording| &recording.head);
    let spread = |values: &dyn Fn(&Head) -> f64| {
        let all = || heads().map(values);
        all().fold(f64::MIN, f64::max) - all().fold(f64::MAX, f64::min)
    };
    let apart = spread(&epoch_ms);
    let offsets: Vec<_> = heads().filter_map(|head| head.clock.as_ref()).collect();
    if offsets.len() < recordings.len() {
        return Some(format!(
            "not compared (--clock); the processes began {apart:.1} ms apart by their own"
        ));
    }
    // A difference is as uncertain as its two sides together.
    let mut uncertainties: Vec<f64> = offsets.iter().map(|offset| offset.uncertainty_ms).collect();
    uncertainties.sort_by(|one, other| other.total_cmp(one));
    let uncertainty: f64 = uncertainties.iter().take(2).sum();
    let of_clocks = spread(&|head| head.clock.as_ref().map_or(0.0, |clock| clock.offset_ms));
    Some(format!(
        "{of_clocks:.3} ms apart at most (+- {uncertainty:.3} ms); the processes began {apart:.1} ms apart by the clock they were compared with"
    ))
}

/// Processes that share a load begin within so long of each other.
const APART_MAX: Duration = Duration::from_secs(5);
