//! Plots of a recording, as SVG.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::recording::Recording;
use super::summary::{float, ms};
use crate::host::Sample;
use crate::truth::interval::{Interval, Measure};

/// A plot and what it shows.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) svg: String,
}

/// One line of a plot.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// All plots of recordings, each of which has lines of its own.
pub(crate) fn all(recordings: &[(String, Recording)]) -> anyhow::Result<Vec<Plot>> {
    let many = recordings.len() > 1;
    let lines = |of: &dyn Fn(&Recording) -> Vec<Series>| -> Vec<Series> {
        recordings
            .iter()
            .flat_map(|(name, recording)| {
                let prefix = if many { format!("{name}: ") } else { String::new() };
                of(recording).into_iter().map(move |series| Series {
                    name: format!("{prefix}{}", series.name),
                    ..series
                })
            })
            .collect()
    };
    let plots = [
        ("One-way delay over time, ms", "s", lines(&delay)),
        ("Frames that were not heard in time, per cent", "s", lines(&loss)),
        ("Calls", "s", lines(&calls)),
        ("CPU, per cent of a core", "s", lines(&cpu)),
    ];
    let mut drawn = vec![Plot {
        title: "One-way delay by percentile, ms",
        svg: percentiles(&lines(&curve))?,
    }];
    for (title, unit, series) in plots {
        drawn.push(Plot {
            title,
            svg: over_time(&series, unit)?,
        });
    }
    Ok(drawn)
}

fn delay(recording: &Recording) -> Vec<Series> {
    [("median", 0.5), ("p99", 0.99), ("max", 1.0)]
        .iter()
        .map(|(name, quantile)| Series {
            name: (*name).to_owned(),
            points: each(recording, |interval| {
                let histogram = interval.of(Measure::OneWay);
                (!histogram.is_empty()).then(|| ms(histogram.value_at_quantile(*quantile)))
            }),
        })
        .collect()
}

fn loss(recording: &Recording) -> Vec<Series> {
    let share = |of: fn(&Interval) -> u64| {
        each(recording, move |interval| {
            let expected = interval.counts.frames_expected;
            (expected > 0).then(|| float(of(interval)) * 100.0 / float(expected))
        })
    };
    [
        ("lost", share(|interval| interval.counts.frames_lost)),
        ("late", share(|interval| interval.counts.frames_late)),
        ("skipped", share(|interval| interval.counts.frames_skipped)),
        ("corrupt", share(|interval| interval.counts.frames_corrupt)),
    ]
    .into_iter()
    .map(|(name, points)| Series {
        name: name.to_owned(),
        points,
    })
    .collect()
}

fn calls(recording: &Recording) -> Vec<Series> {
    let up = recording
        .samples
        .iter()
        .map(|(index, sample)| (seconds(recording, *index), float(sample.calls_up)));
    let established = each(recording, |interval| Some(float(interval.counts.calls_established)));
    let failed = each(recording, |interval| Some(float(interval.counts.calls_failed)));
    [("up", up.collect()), ("set up", established), ("failed", failed)]
        .into_iter()
        .map(|(name, points)| Series {
            name: name.to_owned(),
            points,
        })
        .collect()
}

fn cpu(recording: &Recording) -> Vec<Series> {
    let rate = |of: fn(&Sample) -> Option<f64>| -> Vec<(f64, f64)> {
        recording
            .samples
            .iter()
            .zip(recording.samples.iter().skip(1))
            .filter_map(|((from, before), (to, after))| {
                let length = seconds(recording, *to) - seconds(recording, *from);
                Some((seconds(recording, *from), (of(after)? - of(before)?) * 100.0 / length))
            })
            .collect()
    };
    [
        ("relay", rate(|sample| sample.relay_cpu_seconds)),
        ("generator", rate(|sample| Some(sample.generator_cpu_seconds))),
    ]
    .into_iter()
    .filter(|(_, points)| !points.is_empty())
    .map(|(name, points)| Series {
        name: name.to_owned(),
        points,
    })
    .collect()
}

/// Delay in the measured part against the number of nines: 1 is 90 %, 2 is 99 %.
fn curve(recording: &Recording) -> Vec<Series> {
    let mut total = Interval::new(0);
    for interval in &recording.intervals {
        total.add_to_run(interval, recording.measured);
    }
    let histogram = total.of(Measure::OneWay);
    let points = (0..=NINES * 10)
        .map(|step| f64::from(step) / 10.0)
        .map(|nines| (nines, ms(histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)))));
    vec![Series {
        name: "one way".to_owned(),
        points: if histogram.is_empty() {
            Vec::new()
        } else {
            points.collect()
        },
    }]
}

fn each(recording: &Recording, value: impl Fn(&Interval) -> Option<f64>) -> Vec<(f64, f64)> {
    recording
        .intervals
        .iter()
        .filter_map(|interval| Some((seconds(recording, interval.index), value(interval)?)))
        .collect()
}

fn seconds(recording: &Recording, index: u64) -> f64 {
    float(index) * float(recording.head.interval_ns) / 1e9
}

fn over_time(series: &[Series], unit: &str) -> anyhow::Result<String> {
    draw(series, unit, &|seconds| format!("{seconds:.0}"))
}

fn percentiles(series: &[Series]) -> anyhow::Result<String> {
    let name = |nines: &f64| {
        let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
        let digits = if *nines > 2.0 { 3 } else { 1 };
        format!("{percent:.digits$}")
    };
    draw(series, "%", &name)
}

fn draw(series: &[Series], unit: &str, name: &dyn Fn(&f64) -> String) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw_on(&root, series, unit, name).map_err(|error| anyhow!("drawing: {error}"))?;
        root.present().map_err(|error| anyhow!("drawing: {error}"))?;
    }
    Ok(svg)
}

fn draw_on(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    series: &[Series],
    unit: &str,
    name: &dyn Fn(&f64) -> String,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || series.iter().flat_map(|series| &series.points);
    let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(root)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right, 0.0..if top > 0.0 { top * HEADROOM } else { 1.0 })?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .axis_style(BLACK.mix(0.5))
        .x_desc(unit)
        .x_label_formatter(name)
        .label_style(("sans-serif", 13))
        .draw()?;
    for (index, series) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)))?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

const SIZE: (u32, u32) = (900, 280);

/// Room above the highest value, for the legend.
const HEADROOM: f64 = 1.3;

/// The percentile curve goes to 99.99 %.
const NINES: u32 = 4;

/// Told apart by colour-blind readers too (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::output::jsonl::Head;
    use crate::scenario::Scenario;

    #[test]
    fn the_curve_is_of_what_was_measured_before_the_end_of_a_run_that_was_stopped() {
        let mut intervals: Vec<Interval> = (0..10).map(Interval::new).collect();
        for (index, interval) in (1..).zip(&mut intervals) {
            interval.record(Measure::OneWay, 1000 * index);
        }
        let recording = Recording {
            head: Head {
                loadgen: String::new(),
                relay: String::new(),
                workload: String::new(),
                scenario: Scenario::default(),
                codecs: Vec::new(),
                epoch_ns: 0,
                interval_ns: 1_000_000_000,
                measured: (0, 10),
                part: (1, 1),
                shards: 1,
                clock: None,
            },
            measured: (1, 4),
            intervals,
            shards: Vec::new(),
            samples: BTreeMap::new(),
        };
        let curve = curve(&recording);
        let ends = [curve[0].points.first().unwrap().1, curve[0].points.last().unwrap().1];
        assert_eq!(ends.map(f64::round), [2.0, 4.0]);
    }
}
