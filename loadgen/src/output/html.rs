//! Recordings as one page that needs nothing else: no script, no network.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plots::{self, Plot};
use super::recording::Recording;
use super::summary::{Percentiles, Summary};
use super::text::others;

/// The page for recordings, each with its name and summary.
pub(crate) fn page(recordings: &[(String, Recording)], summaries: &[Summary]) -> anyhow::Result<String> {
    let plots = plots::all(recordings)?;
    let names: Vec<&str> = recordings.iter().map(|(name, _)| name.as_str()).collect();
    Ok(render(&names, summaries, &plots).into_string())
}

fn render(names: &[&str], summaries: &[Summary], plots: &[Plot]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "loadgen: " (names.join(", ")) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "What a caller would have heard" }
                @for (name, summary) in names.iter().zip(summaries) {
                    (overview(name, summary))
                }
                @for plot in plots {
                    figure {
                        figcaption { (plot.title) }
                        (PreEscaped(&plot.svg))
                    }
                }
                @if let Some(first) = summaries.first() {
                    p.note { "loadgen " (first.version) ". Delays count from when the schedule wanted a frame sent." }
                }
            }
        }
    }
}

fn overview(name: &str, summary: &Summary) -> Markup {
    let counts = &summary.counts;
    html! {
        section {
            h2 { (name) " " span class=(summary.verdict) { (summary.verdict) } }
            p { (summary.workload) "; relay " (summary.relay) "; seed " (summary.seed) "; "
                (format!("{:.0}", summary.seconds)) " s measured" @if summary.ended_early { ", ended early" } "." }
            @if !summary.generator.valid {
                p.fail { "The generator was the bottleneck: this is not a result." }
            }
            table {
                (calls(summary))
                (row("frames delivered", &format!("{} of {} ({:.0}/s)", counts.frames_delivered, counts.frames_expected, summary.delivered_per_s)))
                (row("lost, late, skipped, corrupt", &format!("{}, {}, {}, {}", counts.frames_lost, counts.frames_late, counts.frames_skipped, counts.frames_corrupt)))
                @if counts.clear_path_expected > 0 {
                    (row("missed where neither path is impaired", &format!("{} of {}", counts.clear_path_missed, counts.clear_path_expected)))
                }
                @if let Some(mos) = summary.mos {
                    (row("MOS, estimated", &format!("median {:.2}, worst 1 % {:.2}", mos.p50, mos.p1)))
                }
                @if let Some(percent) = summary.relay_cpu_percent {
                    (row("relay CPU", &format!("{}{percent:.1} % of a core", per_frame(summary.relay_cpu_us_per_frame))))
                }
                @if let Some(memory) = summary.relay_rss_mib {
                    (row("relay memory", &format!("{memory:.1} MiB")))
                }
                (row("generator", &format!("{}{:.0} % of a core, lag p99 {:.2} ms", per_frame(summary.generator.cpu_us_per_frame), summary.generator.cpu_percent, summary.generator.lag_ms_p99)))
                @if let Some(clocks) = &summary.clocks {
                    (row("clocks", clocks))
                }
                @for judged in &summary.thresholds {
                    (row(&judged.threshold, &format!("{}{}", judged.value.map_or("not measured".to_owned(), |value| format!("{value:.3}")), if judged.passed { "" } else { " — missed" })))
                }
            }
            table {
                tr { th { "ms" } th { "p50" } th { "p90" } th { "p99" } th { "p99.9" } th { "max" } }
                (times("one way", summary.one_way_ms))
                (times("one way, neither path impaired", summary.clear_path_one_way_ms))
                (times("jitter", summary.jitter_ms))
                (times("set-up", summary.setup_ms))
                (times("handshake", summary.handshake_ms))
                (times("announced", summary.announced_ms))
                (times("accepted", summary.subscribed_ms))
                (times("first frame", summary.first_frame_ms))
                (times("floor", summary.floor_ms))
                (times("longest silence", summary.silence_ms))
            }
            @for model in &summary.mos_model {
                p.note { "MOS: " (model) "." }
            }
        }
    }
}

/// How calls came up and went, and what the relay ended.
fn calls(summary: &Summary) -> Markup {
    let counts = &summary.counts;
    let unusual = others(&[
        (counts.calls_blocked, "blocked"),
        (counts.calls_cut_off, "cut off by the end"),
        (counts.reconnects, "reconnects"),
    ]);
    let lost = others(&[
        (counts.connections_lost, "connections"),
        (counts.subscriptions_lost, "subscriptions"),
        (counts.violations, "breaches of the protocol"),
    ]);
    html! {
        (row("calls established", &format!("{} of {}, {} failed{unusual}", counts.calls_established, counts.calls_attempted, counts.calls_failed)))
        @if !lost.is_empty() {
            (row("ended by the relay", lost.trim_start_matches(", ")))
        }
        @for (reason, times) in &summary.reasons {
            (row("", &format!("{times} x {reason}")))
        }
    }
}

/// Nothing when no frame was delivered.
fn per_frame(cpu_us: Option<f64>) -> String {
    cpu_us.map_or_else(String::new, |cost| format!("{cost:.2} µs per delivered frame, "))
}

fn row(name: &str, value: &str) -> Markup {
    html! { tr { th { (name) } td { (value) } } }
}

fn times(name: &str, percentiles: Option<Percentiles>) -> Markup {
    html! {
        @if let Some(at) = percentiles {
            tr {
                th { (name) }
                @for value in [at.p50, at.p90, at.p99, at.p999, at.max] {
                    td { (format!("{value:.2}")) }
                }
            }
        }
    }
}

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; max-width: 940px; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 1.6em }
table { border-collapse: collapse; margin: .8em 0 } th { text-align: left; font-weight: 500; padding: .15em 1.2em .15em 0 }
td { padding: .15em 1.2em .15em 0; font-variant-numeric: tabular-nums }
figure { margin: 1.4em 0 } figcaption { font-weight: 600 } svg { width: 100%; height: auto }
.pass { color: #00734d } .fail, .invalid { color: #b33c00; font-weight: 600 } .note { color: #666; font-size: .9em }
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::host::Sample;
    use crate::output::jsonl::Head;
    use crate::output::summary::Circumstances;
    use crate::scenario::Scenario;
    use crate::truth::interval::{Interval, Measure};

    #[test]
    fn the_page_has_its_plots_and_nothing_from_elsewhere() {
        let (recording, summary) = recorded(|_| {});
        let page = page(&[("run".to_owned(), recording)], &[summary]).unwrap();
        assert_eq!(page.matches("<svg").count(), 5);
        assert!(page.matches("<polyline").count() >= 8, "lines are drawn");
        assert!(!page.contains("<script"), "text is escaped");
        let links = page.matches("http").count();
        assert_eq!(links, page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    }

    #[test]
    fn the_page_has_what_the_scenarios_ask_for() {
        let page = |change: fn(&mut Interval)| {
            let (recording, summary) = recorded(change);
            page(&[("run".to_owned(), recording)], &[summary]).unwrap()
        };
        let usual = page(|_| {});
        let unusual = page(|interval| {
            interval.counts.clear_path_expected = 900;
            interval.counts.clear_path_missed = 7;
            interval.counts.calls_blocked = 11;
            interval.counts.calls_cut_off = 12;
            interval.counts.connections_lost = 13;
            interval.counts.subscriptions_lost = 14;
            interval.note("the relay <sulks>", 13);
            interval.record(Measure::ClearPathOneWay, 5000);
            interval.record(Measure::Floor, 123_456);
        });
        for text in [
            "7 of 900",
            "11 blocked, 12 cut off by the end",
            "<td>13 connections, 14 subscriptions</td>",
            "13 x the relay &lt;sulks&gt;",
            "<th>floor</th><td>123.",
            "<th>one way, neither path impaired</th>",
        ] {
            assert!(unusual.contains(text) && !usual.contains(text), "{text}: {unusual}");
        }
        assert!(
            usual.contains("opus: Ie 0, Bpl 25.1"),
            "the estimate says what it rests on"
        );
    }

    /// Ten intervals, with a change to their sum.
    fn recorded(change: fn(&mut Interval)) -> (Recording, Summary) {
        let mut intervals: Vec<Interval> = (0..10).map(Interval::new).collect();
        for (index, interval) in (1..).zip(&mut intervals) {
            interval.counts.frames_expected = 100;
            interval.counts.frames_lost = index;
            interval.record(Measure::OneWay, 1000 * index);
        }
        let head = Head {
            loadgen: "0".into(),
            relay: "moql://<script>alert(1)</script>/".into(),
            workload: "calls".into(),
            scenario: Scenario::default(),
            codecs: vec!["opus".into()],
            epoch_ns: 0,
            interval_ns: 1_000_000_000,
            measured: (0, 10),
            part: (1, 1),
            shards: 1,
            clock: None,
        };
        let samples = BTreeMap::from_iter((0..10).map(|index| (index, Sample::default())));
        let circumstances = Circumstances {
            relay: head.relay.clone(),
            codecs: vec!["opus"],
            ..Circumstances::default()
        };
        let mut total = Interval::new(0);
        intervals.iter().for_each(|interval| total.add(interval));
        change(&mut total);
        let summary = Summary::new(&total, &circumstances);
        let recording = Recording {
            head,
            measured: (0, 10),
            intervals,
            shards: Vec::new(),
            samples,
        };
        (recording, summary)
    }
}
