//! What a run found, for a person and for a machine.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Everything counted in one run.
pub(crate) struct Tally {
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) corrupt: u64,
    pub(crate) duplicated: u64,
    /// Microseconds from intended sending to complete arrival.
    pub(crate) one_way_us: Histogram<u64>,
    /// Microseconds that sending lagged behind the schedule: the generator's own fault.
    pub(crate) lag_us: Histogram<u64>,
    pub(crate) setup_us: Histogram<u64>,
}

#[derive(Serialize)]
pub(crate) struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Serialize)]
pub(crate) struct Generator {
    cpu_percent: f64,
    lag_ms_p99: f64,
    valid: bool,
}

/// The summary, with the keys that scripts rely on.
#[derive(Serialize)]
pub(crate) struct Report {
    relay: String,
    version: &'static str,
    workload: String,
    seconds: f64,
    frames_expected: u64,
    frames_delivered: u64,
    frames_lost: u64,
    frames_corrupt: u64,
    frames_duplicated: u64,
    delivered_per_s: f64,
    setup_ms: Percentiles,
    one_way_ms: Percentiles,
    relay_cpu_us_per_frame: Option<f64>,
    relay_cpu_percent: Option<f64>,
    relay_rss_mib: Option<f64>,
    generator: Generator,
    verdict: &'static str,
}

/// What is known of the run beside the counts.
pub(crate) struct Circumstances {
    pub(crate) relay: String,
    pub(crate) workload: String,
    pub(crate) media_seconds: f64,
    pub(crate) relay_cpu_seconds: Option<f64>,
    pub(crate) relay_rss_mib: Option<f64>,
    pub(crate) generator_cpu_seconds: f64,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3);
        Ok(Self {
            expected: 0,
            delivered: 0,
            corrupt: 0,
            duplicated: 0,
            one_way_us: histogram()?,
            lag_us: histogram()?,
            setup_us: histogram()?,
        })
    }

    pub(crate) fn into_report(self, run: Circumstances) -> Report {
        let lag_ms_p99 = ms(self.lag_us.value_at_quantile(0.99));
        let valid = lag_ms_p99 < LAG_MS_P99_MAX;
        let lost = self.expected.saturating_sub(self.delivered + self.corrupt);
        let delivered = float(self.delivered);
        Report {
            relay: run.relay,
            version: env!("CARGO_PKG_VERSION"),
            workload: run.workload,
            seconds: run.media_seconds,
            frames_expected: self.expected,
            frames_delivered: self.delivered,
            frames_lost: lost,
            frames_corrupt: self.corrupt,
            frames_duplicated: self.duplicated,
            delivered_per_s: delivered / run.media_seconds,
            setup_ms: percentiles(&self.setup_us),
            one_way_ms: percentiles(&self.one_way_us),
            relay_cpu_us_per_frame: run.relay_cpu_seconds.map(|seconds| seconds * 1e6 / delivered.max(1.0)),
            relay_cpu_percent: run.relay_cpu_seconds.map(|seconds| seconds * 100.0 / run.media_seconds),
            relay_rss_mib: run.relay_rss_mib,
            generator: Generator {
                cpu_percent: run.generator_cpu_seconds * 100.0 / run.media_seconds,
                lag_ms_p99,
                valid,
            },
            verdict: if lost == 0 && self.corrupt == 0 { "pass" } else { "fail" },
        }
    }
}

impl Report {
    /// The status that `loadgen` exits with: 0 pass, 1 fail, 3 the generator was too slow.
    pub(crate) fn exit_status(&self) -> u8 {
        match (self.generator.valid, self.verdict) {
            (false, _) => 3,
            (true, "pass") => 0,
            (true, _) => 1,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "relay      {}", self.relay)?;
        writeln!(out, "workload   {}", self.workload)?;
        writeln!(
            out,
            "frames     {} of {} delivered ({:.0}/s), {} lost, {} corrupt, {} twice",
            self.frames_delivered,
            self.frames_expected,
            self.delivered_per_s,
            self.frames_lost,
            self.frames_corrupt,
            self.frames_duplicated
        )?;
        writeln!(out, "set-up     {} ms", self.setup_ms)?;
        writeln!(out, "one way    {} ms", self.one_way_ms)?;
        if let Some(cost) = self.relay_cpu_us_per_frame {
            writeln!(
                out,
                "relay      {cost:.2} us of CPU per delivered frame, {:.1} % of a core, {:.1} MiB",
                self.relay_cpu_percent.unwrap_or_default(),
                self.relay_rss_mib.unwrap_or_default()
            )?;
        }
        writeln!(
            out,
            "generator  {:.0} % CPU, lag p99 {:.2} ms{}",
            self.generator.cpu_percent,
            self.generator.lag_ms_p99,
            if self.generator.valid {
                ""
            } else {
                ": it was the bottleneck, this is not a result"
            }
        )?;
        write!(out, "verdict    {}", self.verdict)
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
            self.p50, self.p90, self.p99, self.p999, self.max
        )
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile| ms(histogram.value_at_quantile(quantile));
    Percentiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: ms(histogram.max()),
    }
}

fn ms(microseconds: u64) -> f64 {
    float(microseconds) / 1000.0
}

fn float(value: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "counts and microseconds stay far below 2^52")]
    let value = value as f64;
    value
}

/// A generator later than this is itself what is measured.
const LAG_MS_P99_MAX: f64 = 5.0;
