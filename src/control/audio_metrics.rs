//! Figures of what is transcoded and mixed as metrics. They belong to no shard.

use std::fmt;

use moqswitch_services::PoolStatistics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// What the threads of audio did. `None`: there are none.
#[derive(Debug)]
pub(super) struct AudioFigures(pub(super) Option<PoolStatistics>);

impl Collector for AudioFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(statistics) = &self.0 else { return Ok(()) };
        let gauges = [
            (
                "transcoders",
                "Tracks of audio that somebody hears in another codec: each has one transcoder.",
                statistics.transcoders,
            ),
            (
                "mixers",
                "Calls of which somebody hears several at once: each is mixed by one thread.",
                statistics.mixers,
            ),
        ];
        for (name, help, value) in gauges {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        let counters = [
            (
                "transcoded_frames",
                "Frames of 20 ms that were transcoded.",
                statistics.frames,
            ),
            (
                "mixed_frames",
                "Frames of 20 ms that were mixed and encoded.",
                statistics.mixed,
            ),
            (
                "audio_shed",
                "Frames that were dropped, because their thread was late or a queue was full.",
                statistics.shed,
            ),
            (
                "audio_malformed",
                "Payloads that were none of their codec.",
                statistics.malformed,
            ),
            (
                "audio_refused",
                "Transcoders and mixers that no thread had room for.",
                statistics.refused,
            ),
        ];
        for (name, help, value) in counters {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    fn encoded(statistics: Option<PoolStatistics>) -> String {
        let mut registry = Registry::with_prefix("moqswitch");
        registry.register_collector(Box::new(AudioFigures(statistics)));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn every_figure_is_told_and_none_where_nothing_is_transcoded() {
        let statistics = PoolStatistics {
            transcoders: 3,
            mixers: 2,
            frames: 500,
            mixed: 70,
            shed: 5,
            malformed: 4,
            refused: 1,
        };
        let text = encoded(Some(statistics));
        for line in [
            "moqswitch_transcoders 3",
            "moqswitch_mixers 2",
            "moqswitch_transcoded_frames_total 500",
            "moqswitch_mixed_frames_total 70",
            "moqswitch_audio_shed_total 5",
            "moqswitch_audio_malformed_total 4",
            "moqswitch_audio_refused_total 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
        assert!(!encoded(None).contains("moqswitch"));
    }
}
