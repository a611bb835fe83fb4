//! Figures of telephone calls as metrics. They belong to no shard. Every one has a row in the tables below.

use std::fmt;

use moqswitch_signalling::{
    AsteriskFigures, Figures, Histogram, NodeFigures, RecordFigures, RecordingFigures, SipFigures,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// What the calls thread said.
#[derive(Debug)]
pub(super) enum CallFigures {
    /// There are no calls here.
    None,
    /// It did not answer in time.
    Silent,
    Known(Box<Figures>),
}

impl Collector for CallFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let answers = match self {
            Self::None => return Ok(()),
            Self::Silent => 0,
            Self::Known(_) => 1,
        };
        let help = "Whether the calls thread answers in time; without that the other figures of calls are left out.";
        encoder
            .encode_descriptor("calls_answering", help, None, MetricType::Gauge)?
            .encode_gauge(&answers)?;
        let Self::Known(figures) = self else { return Ok(()) };
        for (name, help, read) in CALL_GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&read(figures))?;
        }
        for (name, help, read) in CALL_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(&read(figures), None)?;
        }
        for (name, help, read) in CALL_HISTOGRAMS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            encode_histogram(&mut metric, read(figures))?;
        }
        for (name, help, label, read) in LABELLED_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (value, count) in read(figures) {
                encode_counter(&mut metric, &[(*label, value)], count)?;
            }
        }
        let help = "What was refused, by place and code.";
        let mut metric = encoder.encode_descriptor("calls_refused", help, None, MetricType::Counter)?;
        for refused in &figures.refused {
            let labels = [
                ("place", refused.place.name().to_owned()),
                ("code", refused.code.to_string()),
            ];
            encode_counter(&mut metric, &labels, refused.count)?;
        }
        let help = "Callers that wait in a queue of the dialplan, by queue.";
        let mut metric = encoder.encode_descriptor("calls_queue_waiting", help, None, MetricType::Gauge)?;
        for (queue, waiting) in &figures.queues {
            metric
                .encode_family(&[("queue", escaped(queue))])?
                .encode_gauge(waiting)?;
        }
        if let Some(records) = &figures.records {
            encode_records(&mut encoder, records)?;
        }
        if let Some(recordings) = &figures.recordings {
            encode_recordings(&mut encoder, recordings)?;
        }
        if let Some(sip) = &figures.sip {
            encode_sip(&mut encoder, sip)?;
        }
        if let Some(nodes) = &figures.nodes {
            encode_nodes(&mut encoder, nodes)?;
        }
        if let Some(asterisk) = &figures.asterisk {
            encode_asterisk(&mut encoder, asterisk)?;
        }
        Ok(())
    }
}

fn encode_sip(encoder: &mut DescriptorEncoder<'_>, sip: &SipFigures) -> fmt::Result {
    let gauges = [
        (
            "sip_telephones",
            "Contacts of telephones that are registered.",
            sip.telephones,
        ),
        ("sip_legs", "Legs of calls by SIP.", sip.legs),
    ];
    for (name, help, value) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)?;
    }
    let help = "Messages of SIP that were refused without an answer, or with 503, by reason.";
    let mut metric = encoder.encode_descriptor("sip_refused", help, None, MetricType::Counter)?;
    for (reason, count) in &sip.refused {
        encode_counter(&mut metric, &[("reason", *reason)], *count)?;
    }
    let help = "Whether calls can go by a trunk, or by a group of them.";
    let mut metric = encoder.encode_descriptor("sip_trunk_available", help, None, MetricType::Gauge)?;
    for (trunk, is_there, _) in &sip.trunks {
        let labels = [("trunk", escaped(trunk))];
        metric.encode_family(&labels)?.encode_gauge(&u64::from(*is_there))?;
    }
    let help = "Calls that a trunk has, both ways.";
    let mut metric = encoder.encode_descriptor("sip_trunk_calls", help, None, MetricType::Gauge)?;
    for (trunk, _, calls) in &sip.trunks {
        metric
            .encode_family(&[("trunk", escaped(trunk))])?
            .encode_gauge(calls)?;
    }
    Ok(())
}

fn encode_nodes(encoder: &mut DescriptorEncoder<'_>, nodes: &NodeFigures) -> fmt::Result {
    for (name, help, value) in [
        (
            "nodes_up",
            "Are messages to other machines carried?",
            u64::from(nodes.is_up),
        ),
        ("nodes_peers", "Machines that can be heard.", nodes.peers),
        ("nodes_devices", "Devices of others that are known here.", nodes.devices),
        ("nodes_calls", "Calls of others.", nodes.calls),
        (
            "nodes_legs_away",
            "Legs of devices here in calls of others.",
            nodes.legs_away,
        ),
        (
            "nodes_legs_served",
            "Legs of others' devices in calls here.",
            nodes.legs_served,
        ),
    ] {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)?;
    }
    for (name, help, value) in [
        ("nodes_said", "Messages to other machines.", nodes.said),
        (
            "nodes_unsaid",
            "Messages for which there was no room, or nothing that carries them.",
            nodes.unsaid,
        ),
        ("nodes_heard", "Messages of other machines.", nodes.heard),
        ("nodes_unread", "Messages that could not be read.", nodes.unread),
        (
            "nodes_missed",
            "Times that messages of others were missing.",
            nodes.missed,
        ),
        (
            "nodes_unanswered",
            "Requests that another machine did not answer in time.",
            nodes.unanswered,
        ),
        (
            "nodes_devices_refused",
            "Devices of others for which there was no room.",
            nodes.refused,
        ),
    ] {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
    }
    Ok(())
}

fn encode_asterisk(encoder: &mut DescriptorEncoder<'_>, asterisk: &AsteriskFigures) -> fmt::Result {
    let help = "Channels of Asterisk.";
    let mut metric = encoder.encode_descriptor("asterisk_channels", help, None, MetricType::Gauge)?;
    metric.encode_gauge(&asterisk.channels)?;
    let labelled = [
        (
            "asterisk_connections",
            "Connections of Asterisk that were let in, by what they speak.",
            "protocol",
            &asterisk.connections,
        ),
        (
            "asterisk_refused",
            "Connections of Asterisk that were refused, or closed as they did what they may not, by reason.",
            "reason",
            &asterisk.refused,
        ),
    ];
    for (name, help, label, counts) in labelled {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in counts {
            encode_counter(&mut metric, &[(label, *value)], *count)?;
        }
    }
    let help =
        "Frames of 20 ms of channels of Asterisk: that came (in), that went out (out), that found no room (dropped).";
    let mut metric = encoder.encode_descriptor("asterisk_frames", help, None, MetricType::Counter)?;
    let frames = [
        ("in", asterisk.frames_in),
        ("out", asterisk.frames_out),
        ("dropped", asterisk.frames_dropped),
    ];
    for (way, count) in frames {
        encode_counter(&mut metric, &[("way", way)], count)?;
    }
    Ok(())
}

/// As label values have to be, which the encoder leaves to whoever calls it.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn encode_records(encoder: &mut DescriptorEncoder<'_>, records: &RecordFigures) -> fmt::Result {
    for (name, help, read) in RECORD_GAUGES {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&read(records))?;
    }
    for (name, help, read) in RECORD_COUNTERS {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&read(records), None)?;
    }
    Ok(())
}

fn encode_recordings(encoder: &mut DescriptorEncoder<'_>, recordings: &RecordingFigures) -> fmt::Result {
    let help = "Recordings of calls that go on.";
    let mut metric = encoder.encode_descriptor("recordings", help, None, MetricType::Gauge)?;
    metric.encode_gauge(&recordings.active)?;
    let help = "Recordings that are over and wait to be uploaded.";
    let mut metric = encoder.encode_descriptor("recordings_uploads_waiting", help, None, MetricType::Gauge)?;
    metric.encode_gauge(&recordings.uploads_waiting)?;
    for (name, help, read) in RECORDING_COUNTERS {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&read(recordings), None)?;
    }
    Ok(())
}

fn encode_counter(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    metric
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

/// The encoder adds the buckets up, and takes the largest number for infinity.
fn encode_histogram(metric: &mut MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let finite = |(bound, count): (f64, u64)| (bound.min(f64::MAX), count);
    let buckets: Vec<(f64, u64)> = histogram.buckets().map(finite).collect();
    metric.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &buckets, None)
}

type Read<T> = fn(&Figures) -> T;
type Labelled = Vec<(String, u64)>;
type ReadRecords = fn(&RecordFigures) -> u64;
type ReadRecordings = fn(&RecordingFigures) -> u64;

fn named(counts: &[(&'static str, u64)]) -> Labelled {
    counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

const CALL_GAUGES: &[(&str, &str, Read<u64>)] = &[
    ("calls_devices", "Devices registered.", |f| f.devices),
    ("calls_sockets", "Signalling sockets open.", |f| f.sockets),
    ("calls", "Calls that are not over.", |f| f.calls),
    ("calls_up", "Of these, calls that were answered.", |f| f.calls_up),
    ("calls_commands_waiting", "What waits for the calls thread.", |f| {
        f.commands_waiting
    }),
    ("calls_event_followers", "Who follows /api/events.", |f| {
        f.event_followers
    }),
    ("calls_webhook_events_waiting", "Events that wait for webhooks.", |f| {
        f.webhook_events_waiting
    }),
];

const CALL_COUNTERS: &[(&str, &str, Read<u64>)] = &[
    ("calls_attempts", "Calls that began.", |f| f.attempts),
    ("calls_registrations", "Devices that registered.", |f| f.registered),
    (
        "calls_registrations_ended",
        "Devices that went, were lost, replaced or expired.",
        |f| f.unregistered,
    ),
    ("calls_messages", "Messages of devices.", |f| f.messages),
    (
        "calls_slow_clients",
        "Sockets closed because their device did not read.",
        |f| f.slow_clients,
    ),
    (
        "calls_grants_repeated",
        "Grants that the relay had no room for at once, and that were told again.",
        |f| f.grants_refused,
    ),
    (
        "calls_faults",
        "Faults of this program on the calls thread that were caught.",
        |f| f.faults,
    ),
    (
        "calls_renewals",
        "Faults after which the call plane began anew: what was under way ended, calls that were up went on.",
        |f| f.renewals,
    ),
    (
        "calls_unnoted",
        "Registrations and calls that were not noted for a restart.",
        |f| f.unnoted,
    ),
    (
        "calls_hooks_unasked",
        "Questions to hooks of the dialplan that were not asked, for want of room.",
        |f| f.hooks_unasked,
    ),
    (
        "calls_too_often",
        "Calls, transfers and additions refused because their number had begun as many within an hour as it may.",
        |f| f.too_often,
    ),
    (
        "calls_forwards",
        "Calls that a telephone sent on to another number (302).",
        |f| f.forwards,
    ),
    (
        "calls_forwards_refused",
        "Calls that a telephone would have sent on, and may not.",
        |f| f.forwards_refused,
    ),
];

/// A name, what is said of it, and where it is.
type HistogramRow = (&'static str, &'static str, fn(&Figures) -> &Histogram);

const CALL_HISTOGRAMS: &[HistogramRow] = &[
    (
        "calls_answer_seconds",
        "From the beginning to the answer, of answered calls that are over.",
        |f| &f.answer,
    ),
    (
        "calls_duration_seconds",
        "From the answer to the end, of answered calls that are over.",
        |f| &f.duration,
    ),
    (
        "calls_mos",
        "What devices said of what they heard, from 1 to 5, one value for each leg.",
        |f| &f.mos,
    ),
];

const LABELLED_COUNTERS: &[(&str, &str, &str, Read<Labelled>)] = &[
    ("calls_ended", "Calls that are over, by cause.", "cause", |f| {
        named(&f.ended)
    }),
    (
        "calls_webhook_events",
        "Events for webhooks, by what became of them.",
        "outcome",
        |f| named(&f.webhook_events),
    ),
];

const RECORD_GAUGES: &[(&str, &str, ReadRecords)] = &[
    ("calls_records_waiting", "Call records that wait to be written.", |r| {
        r.waiting
    }),
    (
        "calls_records_failing",
        "Whether writing call records fails now.",
        |r| u64::from(r.is_failing),
    ),
];

const RECORD_COUNTERS: &[(&str, &str, ReadRecords)] = &[
    ("calls_records_stored", "Call records that the disk has.", |r| r.stored),
    ("calls_records_lost", "Call records that are in no file.", |r| r.lost),
    (
        "calls_records_failures",
        "Attempts to write call records that failed.",
        |r| r.failures,
    ),
];

const RECORDING_COUNTERS: &[(&str, &str, ReadRecordings)] = &[
    ("recordings_finished", "Recordings that ended as they should.", |r| {
        r.finished
    }),
    ("recordings_failed", "Recordings that ended because of the disk.", |r| {
        r.failed
    }),
    (
        "recordings_refused",
        "Calls that were to be recorded and are not: too many at once, or no room on the disk.",
        |r| r.refused,
    ),
    (
        "recordings_removed",
        "Recordings that were removed because of their age or number.",
        |r| r.removed,
    ),
    ("recordings_frames", "Frames that were written.", |r| r.frames),
    (
        "recordings_frames_lost",
        "Frames that did not come, by their numbers, of recordings that are over.",
        |r| r.lost,
    ),
    (
        "recordings_frames_dropped",
        "Frames that came and are in no file: too late, of no use, or without room.",
        |r| r.dropped,
    ),
    ("recordings_bytes", "Bytes that were written.", |r| r.bytes),
    ("recordings_uploads", "Recordings that were uploaded.", |r| r.uploaded),
    (
        "recordings_uploads_failed",
        "Attempts to upload a recording that failed.",
        |r| r.upload_failures,
    ),
];

#[cfg(test)]
mod tests {
    use moqswitch_signalling::{Place, Refused};
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn every_figure_has_its_line() {
        let figures = Figures {
            queues: vec![("support \"x\"".to_owned(), 3)],
            ended: vec![("busy", 2)],
            refused: vec![Refused {
                place: Place::Message,
                code: 486,
                count: 4,
            }],
            records: Some(RecordFigures::default()),
            recordings: Some(RecordingFigures {
                active: 3,
                ..RecordingFigures::default()
            }),
            sip: Some(SipFigures {
                telephones: 7,
                refused: vec![("banned", 5)],
                trunks: vec![("city".to_owned(), true, 2)],
                ..SipFigures::default()
            }),
            nodes: Some(NodeFigures {
                peers: 2,
                ..NodeFigures::default()
            }),
            ..Figures::default()
        };
        let mut registry = Registry::with_prefix("moqswitch");
        registry.register_collector(Box::new(CallFigures::Known(Box::new(figures))));
        let mut output = String::new();
        text::encode(&mut output, &registry).unwrap();
        for line in [
            "moqswitch_calls_answering 1",
            "moqswitch_calls 0",
            "moqswitch_calls_attempts_total 0",
            "moqswitch_calls_ended_total{cause=\"busy\"} 2",
            "moqswitch_calls_refused_total{place=\"message\",code=\"486\"} 4",
            "moqswitch_calls_queue_waiting{queue=\"support \\\"x\\\"\"} 3",
            "moqswitch_calls_mos_bucket{le=\"+Inf\"} 0",
            "moqswitch_calls_records_lost_total 0",
            "moqswitch_recordings 3",
            "moqswitch_recordings_frames_total 0",
            "moqswitch_nodes_peers 2",
            "moqswitch_nodes_missed_total 0",
            "moqswitch_sip_telephones 7",
            "moqswitch_sip_refused_total{reason=\"banned\"} 5",
            "moqswitch_sip_trunk_available{trunk=\"city\"} 1",
            "moqswitch_sip_trunk_calls{trunk=\"city\"} 2",
        ] {
            assert!(output.lines().any(|other| other == line), "{line} is not in\n{output}");
        }
    }

    #[test]
    fn a_silent_thread_is_told_and_no_calls_are_nothing() {
        let lines = |figures| {
            let mut registry = Registry::with_prefix("moqswitch");
            registry.register_collector(Box::new(figures));
            let mut output = String::new();
            text::encode(&mut output, &registry).unwrap();
            output
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(CallFigures::Silent), ["moqswitch_calls_answering 0"]);
        assert!(lines(CallFigures::None).is_empty());
    }
}
