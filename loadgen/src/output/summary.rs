//! The figures of a run. The keys are relied on by scripts; milliseconds unless named.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::host::HostFigures;
use crate::truth::interval::{Counts, Interval, Measure};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) relay: String,
    pub(crate) version: &'static str,
    pub(crate) workload: String,
    pub(crate) seed: u64,
    /// Seconds that the figures are of: without warm-up and cool-down.
    pub(crate) seconds: f64,
    /// It was told to stop before its time.
    pub(crate) ended_early: bool,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) delivered_per_s: f64,
    /// Of the expected frames, those that were not there whole and in time.
    pub(crate) missed_percent: f64,
    /// Why connections and subscriptions were lost.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Requests of telephones of SIP that were refused, by status.
    pub(crate) refused_by_status: BTreeMap<u16, u64>,
    /// Of telephones of SIP, where arrivals are registrations.
    pub(crate) registrations_per_s: f64,
    pub(crate) setup_ms: Option<Percentiles>,
    pub(crate) handshake_ms: Option<Percentiles>,
    pub(crate) announced_ms: Option<Percentiles>,
    pub(crate) subscribed_ms: Option<Percentiles>,
    pub(crate) first_frame_ms: Option<Percentiles>,
    /// From when the floor was passed on until each listener heard who took it.
    pub(crate) floor_ms: Option<Percentiles>,
    /// Of phones: how long a registration took, sockets included.
    pub(crate) register_ms: Option<Percentiles>,
    /// From dialling until the caller was told that the other rings.
    pub(crate) ringing_ms: Option<Percentiles>,
    /// Of telephones of SIP: from INVITE until the answer was acknowledged, but for the time that the other rang.
    pub(crate) connected_ms: Option<Percentiles>,
    /// From INVITE until the call was refused.
    pub(crate) refused_ms: Option<Percentiles>,
    /// From the answer until either was told that the call is up, and until either heard the other.
    pub(crate) accepted_ms: Option<Percentiles>,
    pub(crate) heard_ms: Option<Percentiles>,
    /// Until nobody was subscribed any more, and until both heard each other again.
    pub(crate) hold_ms: Option<Percentiles>,
    pub(crate) resume_ms: Option<Percentiles>,
    /// From a key until the other was told.
    pub(crate) digit_ms: Option<Percentiles>,
    /// From hanging up until either was told that the call is over.
    pub(crate) hang_up_ms: Option<Percentiles>,
    /// Of each listener and speaker, the longest time between two frames that were heard in time.
    pub(crate) silence_ms: Option<Percentiles>,
    pub(crate) one_way_ms: Option<Percentiles>,
    /// Of those who hear calls of telephones by MoQ.
    pub(crate) listened_ms: Option<Percentiles>,
    /// Where neither end's path is impaired, when only some are.
    pub(crate) clear_path_one_way_ms: Option<Percentiles>,
    pub(crate) jitter_ms: Option<Percentiles>,
    /// Estimates: see `mos_model`. `None` without speech.
    pub(crate) mos: Option<Mos>,
    pub(crate) mos_model: Vec<String>,
    /// For each frame that arrived; `None` when none did.
    pub(crate) relay_cpu_us_per_frame: Option<f64>,
    pub(crate) relay_cpu_percent: Option<f64>,
    /// `None` for a relay in this process.
    pub(crate) relay_rss_mib: Option<f64>,
    pub(crate) relay_context_switches_per_s: Option<f64>,
    pub(crate) relay_socket_drops: Option<u64>,
    pub(crate) generator: Generator,
    /// Of several processes: how far their clocks were apart, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clocks: Option<String>,
    pub(crate) thresholds: Vec<Judged>,
    pub(crate) verdict: &'static str,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Mos {
    pub(crate) p1: f64,
    pub(crate) p50: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Generator {
    pub(crate) cpu_percent: f64,
    pub(crate) cpu_us_per_frame: Option<f64>,
    pub(crate) lag_ms_p99: f64,
    /// How late frames were handed to their connections. Of several shards or processes, by the
    /// latest.
    pub(crate) lag_ms: Option<Percentiles>,
    /// How late participants were dialled, and how long the answers to them waited, in the whole
    /// run, likewise.
    pub(crate) setup_lag_ms: Option<Percentiles>,
    /// Datagrams that its own sockets had no room for, in the whole run.
    pub(crate) socket_drops: u64,
    /// False: it was late itself or did not take what came, and the figures are about it instead
    /// of the relay; or what it offered is not what it expected and what it did not.
    pub(crate) valid: bool,
}

/// A threshold and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) threshold: String,
    pub(crate) value: Option<f64>,
    pub(crate) passed: bool,
}

/// What is known of a run beside what its shards counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    pub(crate) relay: String,
    pub(crate) workload: String,
    pub(crate) seed: u64,
    pub(crate) measured: Duration,
    pub(crate) ended_early: bool,
    pub(crate) codecs: Vec<&'static str>,
    pub(crate) host: HostFigures,
    /// How late each shard of each process was. Without any there is one.
    pub(crate) shards: Vec<Interval>,
}

impl Summary {
    pub(crate) fn new(total: &Interval, run: &Circumstances) -> Self {
        let counts = total.counts;
        let seconds = run.measured.as_secs_f64();
        let delivered = float(counts.frames_delivered + counts.frames_late);
        let per_frame = |cpu_seconds: f64| (delivered > 0.0).then_some(cpu_seconds * 1e6 / delivered);
        let lag_ms = latest(total, run, Measure::Lag);
        let setup_lag_ms = latest(total, run, Measure::SetupLag);
        let missed = counts.frames_expected.saturating_sub(counts.frames_delivered);
        let host = run.host;
        Self {
            relay: run.relay.clone(),
            version: env!("CARGO_PKG_VERSION"),
            workload: run.workload.clone(),
            seed: run.seed,
            seconds,
            ended_early: run.ended_early,
            delivered_per_s: delivered / seconds,
            missed_percent: float(missed) * 100.0 / float(counts.frames_expected).max(1.0),
            counts,
            reasons: total.reasons.clone(),
            refused_by_status: total.refusals.clone(),
            registrations_per_s: float(counts.sip.registrations) / seconds,
            setup_ms: percentiles(total.of(Measure::Setup)),
            handshake_ms: percentiles(total.of(Measure::Handshake)),
            announced_ms: percentiles(total.of(Measure::Announced)),
            subscribed_ms: percentiles(total.of(Measure::Subscribed)),
            first_frame_ms: percentiles(total.of(Measure::FirstFrame)),
            floor_ms: percentiles(total.of(Measure::Floor)),
            register_ms: percentiles(total.of(Measure::Register)),
            ringing_ms: percentiles(total.of(Measure::Ringing)),
            connected_ms: percentiles(total.of(Measure::Connected)),
            refused_ms: percentiles(total.of(Measure::Refused)),
            accepted_ms: percentiles(total.of(Measure::Accepted)),
            heard_ms: percentiles(total.of(Measure::Heard)),
            hold_ms: percentiles(total.of(Measure::Hold)),
            resume_ms: percentiles(total.of(Measure::Resume)),
            digit_ms: percentiles(total.of(Measure::Digit)),
            hang_up_ms: percentiles(total.of(Measure::HangUp)),
            silence_ms: percentiles(total.of(Measure::Silence)),
            one_way_ms: percentiles(total.of(Measure::OneWay)),
            listened_ms: percentiles(total.of(Measure::Listened)),
            clear_path_one_way_ms: percentiles(total.of(Measure::ClearPathOneWay)),
            jitter_ms: percentiles(total.of(Measure::Jitter)),
            mos: mos(total.of(Measure::Mos)),
            mos_model: mos_model(&run.codecs),
            relay_cpu_us_per_frame: host.relay_cpu_seconds.and_then(per_frame),
            relay_cpu_percent: host.relay_cpu_seconds.map(|cpu| cpu * 100.0 / seconds),
            relay_rss_mib: host.relay_rss_mib,
            relay_context_switches_per_s: host.relay_context_switches.map(|count| float(count) / seconds),
            relay_socket_drops: host.relay_socket_drops,
            generator: Generator {
                cpu_percent: host.generator_cpu_seconds * 100.0 / seconds,
                cpu_us_per_frame: per_frame(host.generator_cpu_seconds),
                lag_ms_p99: lag_ms.map_or(0.0, |lag| lag.p99),
                lag_ms,
                setup_lag_ms,
                socket_drops: host.generator_socket_drops,
                valid: host.generator_socket_drops == 0
                    && counts.path_datagrams_dropped == 0
                    && counts.sip.requests_unsent == 0
                    && counts.frames_offered == counts.frames_expected + counts.frames_not_owed
                    && is_acceptable(lag_ms)
                    && is_acceptable_in_setup(setup_lag_ms, percentiles(total.of(Measure::Setup))),
            },
            clocks: None,
            thresholds: Vec::new(),
            verdict: "pass",
        }
    }

    /// The status that `loadgen` exits with: 0 pass, 1 a threshold was missed, 3 the generator was
    /// the bottleneck.
    pub(crate) fn exit_status(&self) -> u8 {
        match (self.generator.valid, self.verdict) {
            (false, _) => 3,
            (true, "pass") => 0,
            (true, _) => 1,
        }
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Option<Percentiles> {
    let at = |quantile| ms(histogram.value_at_quantile(quantile));
    (!histogram.is_empty()).then(|| Percentiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: ms(histogram.max()),
    })
}

/// Of each shard the percentiles of how late it was, of those the worst: in a sum with others one
/// that was late hides.
fn latest(total: &Interval, run: &Circumstances, measure: Measure) -> Option<Percentiles> {
    let shards = match &*run.shards {
        [] => std::slice::from_ref(total),
        shards => shards,
    };
    let lags = shards.iter().filter_map(|shard| percentiles(shard.of(measure)));
    lags.max_by(|one, other| {
        let key = |lag: Percentiles| (!is_acceptable(Some(lag)), lag.p99);
        key(*one).partial_cmp(&key(*other)).unwrap_or(Ordering::Equal)
    })
}

fn is_acceptable(lag: Option<Percentiles>) -> bool {
    lag.is_none_or(|lag| lag.p99 < LAG_MS_P99_MAX && lag.p999 < LAG_MS_P999_MAX)
}

/// Many who come at once are dialled one after the other, which is no fault as long as the relay
/// takes longer.
fn is_acceptable_in_setup(lag: Option<Percentiles>, setup: Option<Percentiles>) -> bool {
    let setup_ms = setup.map_or(0.0, |setup| setup.p99);
    lag.is_none_or(|lag| lag.p99 < SETUP_LAG_MS_P99_MAX.max(setup_ms * SETUP_LAG_SHARE_MAX))
}

fn mos(histogram: &Histogram<u64>) -> Option<Mos> {
    (!histogram.is_empty()).then(|| Mos {
        p1: ms(histogram.value_at_quantile(0.01)),
        p50: ms(histogram.value_at_quantile(0.5)),
    })
}

/// What the estimates rest on.
fn mos_model(codecs: &[&'static str]) -> Vec<String> {
    codecs
        .iter()
        .filter_map(|codec| crate::truth::mos::impairment(codec))
        .map(|known| {
            format!(
                "{MOS_MODEL}: {}: Ie {}, Bpl {}, BurstR 1, {} ms of codec delay ({})",
                known.codec, known.ie, known.bpl, known.codec_delay_ms, known.origin
            )
        })
        .collect()
}

pub(crate) fn ms(microseconds: u64) -> f64 {
    float(microseconds) / 1000.0
}

pub(crate) fn float(value: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "counts and microseconds stay far below 2^52")]
    let value = value as f64;
    value
}

/// Each line of `mos_model` begins so.
pub(crate) const MOS_MODEL: &str = "estimate by the E-model (ITU-T G.107, simplified)";

/// A generator later than this is itself what is measured.
const LAG_MS_P99_MAX: f64 = 5.0;
const LAG_MS_P999_MAX: f64 = 50.0;
/// While calls are set up, if it is so much of what that takes, too.
const SETUP_LAG_MS_P99_MAX: f64 = 20.0;
const SETUP_LAG_SHARE_MAX: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_frame_costs_is_said_when_there_were_any() {
        let mut total = Interval::new(0);
        let mut circumstances = Circumstances::default();
        circumstances.host.relay_cpu_seconds = Some(0.3);
        circumstances.host.generator_cpu_seconds = 0.2;
        let costs = |total: &Interval| {
            let summary = Summary::new(total, &circumstances);
            (summary.relay_cpu_us_per_frame, summary.generator.cpu_us_per_frame)
        };
        assert_eq!(costs(&total), (None, None));
        total.counts.frames_delivered = 9000;
        total.counts.frames_late = 1000;
        let (relay, generator) = costs(&total);
        assert!((relay.unwrap() - 30.0).abs() < 1e-9 && (generator.unwrap() - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_generator_that_was_late_or_lost_datagrams_has_no_result() {
        let valid = |lags_ms: &[(u64, u64)], socket_drops| {
            let mut total = Interval::new(0);
            for (lag_ms, times) in lags_ms {
                (0..*times).for_each(|_| total.record(Measure::Lag, lag_ms * 1000));
            }
            let mut circumstances = Circumstances::default();
            circumstances.host.generator_socket_drops = socket_drops;
            let summary = Summary::new(&total, &circumstances);
            assert_eq!(summary.exit_status(), if summary.generator.valid { 0 } else { 3 });
            summary.generator.valid
        };
        assert!(valid(&[(1, 1000)], 0));
        assert!(!valid(&[(1, 1000)], 1), "what it dropped itself is nobody's loss");
        assert!(!valid(&[(1, 900), (6, 100)], 0), "late for one frame in ten");
        assert!(!valid(&[(1, 10_000), (60, 80)], 0), "a stall of its own");
        assert!(valid(&[(1, 10_000), (60, 5)], 0), "one short stall is acceptable");
    }

    #[test]
    fn one_shard_that_was_late_does_not_hide_among_others() {
        let shard = |late: u64| {
            let mut shard = Interval::new(0);
            (0..1000).for_each(|frame| shard.record(Measure::Lag, if frame < late { 40_000 } else { 1000 }));
            shard
        };
        let summary = |late: [u64; 4]| {
            let shards = late.map(shard).to_vec();
            let mut total = Interval::new(0);
            shards.iter().for_each(|shard| total.add(shard));
            let circumstances = Circumstances {
                shards,
                ..Circumstances::default()
            };
            Summary::new(&total, &circumstances).generator
        };
        assert!(summary([5, 5, 5, 5]).valid);
        // Less than one in a hundred of all.
        let generator = summary([0, 0, 39, 0]);
        assert!(!generator.valid && generator.lag_ms_p99 > 39.0, "{generator:?}");
    }

    #[test]
    fn a_generator_that_was_late_while_calls_were_set_up_has_no_result() {
        let generator = |lag_ms: u64, setup_ms: Option<u64>| {
            let mut total = Interval::new(0);
            (0..1000).for_each(|_| total.record(Measure::Lag, 100));
            (0..1000).for_each(|_| total.record(Measure::SetupLag, 2000));
            (0..20).for_each(|_| total.record(Measure::SetupLag, lag_ms * 1000));
            setup_ms
                .iter()
                .for_each(|setup_ms| total.record(Measure::Setup, setup_ms * 1000));
            Summary::new(&total, &Circumstances::default()).generator
        };
        assert!(generator(15, Some(20)).valid, "little time is acceptable");
        assert!(generator(140, Some(500)).valid, "the relay took longer");
        let late = generator(200, Some(500));
        assert!(!late.valid && late.setup_lag_ms.is_some_and(|lag| lag.p99 > 199.0));
        assert!(!generator(300, None).valid, "no call came up, and it may be why");
    }

    #[test]
    fn books_that_do_not_balance_are_no_result() {
        let mut total = Interval::new(0);
        total.counts.frames_offered = 100;
        (total.counts.frames_expected, total.counts.frames_not_owed) = (90, 10);
        assert!(Summary::new(&total, &Circumstances::default()).generator.valid);
        total.counts.frames_expected = 89;
        assert!(!Summary::new(&total, &Circumstances::default()).generator.valid);
    }
}
