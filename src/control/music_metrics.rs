//! Figures of music and prompts as metrics. They belong to no shard.

use std::fmt;

use moqswitch_player::PlayerStatistics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// What is played. `None`: nothing ever is.
#[derive(Debug)]
pub(super) struct MusicFigures(pub(super) Option<PlayerStatistics>);

impl Collector for MusicFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(statistics) = &self.0 else { return Ok(()) };
        for (name, help, read) in MUSIC_GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&(read(statistics) as u64))?;
        }
        for (name, help, read) in MUSIC_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(&read(statistics), None)?;
        }
        Ok(())
    }
}

type Gauge = (&'static str, &'static str, fn(&PlayerStatistics) -> usize);
type Counter = (&'static str, &'static str, fn(&PlayerStatistics) -> u64);

const MUSIC_GAUGES: &[Gauge] = &[
    (
        "music_broadcasts",
        "Broadcasts of music and prompts that are there.",
        |s| s.broadcasts,
    ),
    ("music_playing", "Of these, those that somebody hears.", |s| s.playing),
    ("music_bytes", "Bytes of files that are encoded.", |s| s.bytes),
    (
        "music_faults",
        "Files that are not played, and directories that cannot be read.",
        |s| s.faults,
    ),
];

const MUSIC_COUNTERS: &[Counter] = &[
    ("music_frames", "Frames of 20 ms that were played.", |s| s.frames),
    (
        "music_left_out",
        "Frames that were left out, because the shard was late.",
        |s| s.left_out,
    ),
];

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn figures_are_there_when_something_is_played() {
        let statistics = PlayerStatistics {
            broadcasts: 3,
            playing: 1,
            bytes: 4000,
            faults: 2,
            frames: 50,
            left_out: 5,
        };
        for (figures, lines) in [(None, 0), (Some(statistics), 6)] {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(MusicFigures(figures)));
            let mut output = String::new();
            text::encode(&mut output, &registry).unwrap();
            let samples: Vec<&str> = output.lines().filter(|line| !line.starts_with('#')).collect();
            assert_eq!(samples.len(), lines, "{output}");
            if lines > 0 {
                assert!(samples.contains(&"music_broadcasts 3") && samples.contains(&"music_left_out_total 5"));
            }
        }
    }
}
