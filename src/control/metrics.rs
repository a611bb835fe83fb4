//! Shard snapshots as OpenMetrics, or in Prometheus' older text format. Every counter of `ShardStatistics` has one row in the tables below.

use std::collections::HashMap;
use std::fmt;

use moqswitch_relay::shard::statistics::{DropCause, QueueSnapshot, ShardSnapshot, ShardStatistics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::logging;

use super::audio_metrics::AudioFigures;
use super::call_metrics::CallFigures;
use super::music_metrics::MusicFigures;

/// The two forms of the exposition: OpenMetrics for who asks for it, the older text for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    OpenMetrics,
    Text,
}

impl Form {
    /// By the request's Accept header.
    pub(super) fn of(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The index of a snapshot is its shard's number.
pub(super) fn encode(
    snapshots: Vec<ShardSnapshot>,
    refused: Refused,
    (calls, music): (CallFigures, MusicFigures),
    audio: AudioFigures,
    webrtc: Option<WebrtcFigures>,
    form: Form,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("moqswitch");
    let build = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "What is running", Info::new(build));
    registry.register_collector(Box::new(Shards(snapshots)));
    registry.register_collector(Box::new(refused));
    registry.register_collector(Box::new(calls));
    registry.register_collector(Box::new(audio));
    if let Some(webrtc) = webrtc {
        registry.register_collector(Box::new(webrtc));
    }
    registry.register_collector(Box::new(music));
    registry.register_collector(Box::new(LogLines));
    let mut output = String::new();
    text::encode(&mut output, &registry)?;
    Ok(match form {
        Form::OpenMetrics => output,
        Form::Text => plain(&output),
    })
}

/// OpenMetrics in the text format 0.0.4: there a counter's family has the name of its sample, an info is a gauge, and
/// there is no end mark.
fn plain(open_metrics: &str) -> String {
    let types: HashMap<&str, &str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut output = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let family = ["# HELP ", "# TYPE "].into_iter().find_map(|mark| {
            let (name, rest) = line.strip_prefix(mark)?.split_once(' ')?;
            Some((mark, name, rest))
        });
        match family {
            Some((mark, name, rest)) => {
                let (suffix, rest) = match types.get(name) {
                    Some(&"counter") => ("_total", rest),
                    Some(&"info") => ("_info", if mark == "# TYPE " { "gauge" } else { rest }),
                    _ => ("", rest),
                };
                output.extend([mark, name, suffix, " ", rest, "\n"]);
            }
            None if line.starts_with('#') => {}
            None => output.extend([line, "\n"]),
        }
    }
    output
}

#[derive(Debug)]
struct Shards(Vec<ShardSnapshot>);

/// What the control thread refused, which belongs to no shard.
#[derive(Debug)]
pub(super) struct Refused {
    /// Requests for a WebSocket, by reason.
    pub(super) websockets: Vec<(&'static str, u64)>,
    /// Tokens of HTTP requests that were refused unchecked.
    pub(super) tokens: u64,
    /// Answers of the auth server, by what they were; none without one.
    pub(super) authority: Vec<(&'static str, u64)>,
    /// Looks at the list of other relays, by what came of them; none without one.
    pub(super) lists: Vec<(&'static str, u64)>,
}

/// Legs of WebRTC. There are none where there is no WebRTC.
#[derive(Debug)]
pub(super) struct WebrtcFigures {
    /// Of each shard.
    pub(super) legs: Vec<usize>,
    /// Sessions of WHIP and WHEP among them.
    pub(super) sessions: usize,
}

impl Collector for WebrtcFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let help = "Legs that are carried by WebRTC.";
        let mut metric = encoder.encode_descriptor("webrtc_legs", help, None, MetricType::Gauge)?;
        for (shard, legs) in self.legs.iter().enumerate() {
            encode_gauge(&mut metric, &[("shard", shard.to_string())], count(*legs))?;
        }
        let help = "Sessions of WHIP and WHEP.";
        encoder
            .encode_descriptor("webrtc_sessions", help, None, MetricType::Gauge)?
            .encode_gauge(&count(self.sessions))
    }
}

/// Lines of the log that could not be written, which belong to no shard.
#[derive(Debug)]
struct LogLines;

impl Collector for LogLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Log lines that could not be written.";
        encoder
            .encode_descriptor("log_lines_lost", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&logging::lost(), None)
    }
}

impl Collector for Refused {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "WebSockets refused, by reason.";
        let mut metric = encoder.encode_descriptor("websockets_refused", help, None, MetricType::Counter)?;
        for (reason, count) in &self.websockets {
            encode_counter(&mut metric, &[("reason", *reason)], *count)?;
        }
        let help = "Tokens of HTTP requests refused unchecked, for too many wrong ones from their address prefix.";
        encoder
            .encode_descriptor("http_tokens_refused", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&self.tokens, None)?;
        let by_answer = [
            (
                "authority_answers",
                "Requests to the auth server, by answer.",
                &self.authority,
            ),
            (
                "peer_lists",
                "Looks at the list of other relays, by answer.",
                &self.lists,
            ),
        ];
        for (name, help, answers) in by_answer {
            if answers.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (answer, count) in answers {
                encode_counter(&mut metric, &[("answer", *answer)], *count)?;
            }
        }
        Ok(())
    }
}

type Read = fn(&ShardStatistics) -> u64;

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, read) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, statistics) in self.statistics() {
                encode_counter(&mut metric, &[("shard", shard)], read(statistics))?;
            }
        }
        for (name, help, read) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, statistics) in self.statistics() {
                encode_gauge(&mut metric, &[("shard", shard)], read(statistics))?;
            }
        }
        for (name, help, numerator, denominator) in RATIOS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, statistics) in self.statistics() {
                let ratio = ratio(numerator(statistics), denominator(statistics));
                metric.encode_family(&[("shard", shard)])?.encode_gauge(&ratio)?;
            }
        }
        self.encode_drops(&mut encoder)?;
        self.encode_queues(&mut encoder)
    }
}

impl Shards {
    fn statistics(&self) -> impl Iterator<Item = (usize, &ShardStatistics)> {
        self.0.iter().map(|snapshot| &snapshot.statistics).enumerate()
    }

    fn encode_drops(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What was not delivered, by cause.";
        let mut metric = encoder.encode_descriptor("drops", help, None, MetricType::Counter)?;
        for (shard, statistics) in self.statistics() {
            for cause in DropCause::ALL {
                let labels = [("shard", shard.to_string()), ("cause", cause.label().to_owned())];
                encode_counter(&mut metric, &labels, statistics.drops.get(cause))?;
            }
        }
        Ok(())
    }

    fn encode_queues(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Messages waiting in a queue this shard reads.";
        let mut metric = encoder.encode_descriptor("queue_depth", help, None, MetricType::Gauge)?;
        for (labels, queue) in self.queues() {
            encode_gauge(&mut metric, &labels, queue.depth_now)?;
        }
        let help = "Messages refused because a queue this shard reads was full.";
        let mut metric = encoder.encode_descriptor("queue_overflows", help, None, MetricType::Counter)?;
        for (labels, queue) in self.queues() {
            if let Some(overflows) = queue.overflows {
                encode_counter(&mut metric, &labels, overflows)?;
            }
        }
        Ok(())
    }

    fn queues(&self) -> impl Iterator<Item = ([(&'static str, String); 3], &QueueSnapshot)> {
        self.0.iter().enumerate().flat_map(|(shard, snapshot)| {
            snapshot.queues.iter().map(move |queue| {
                let from = queue
                    .from_shard
                    .map_or_else(|| "control".to_owned(), |shard| shard.to_string());
                let labels = [
                    ("shard", shard.to_string()),
                    ("queue", queue.kind.label().to_owned()),
                    ("from", from),
                ];
                (labels, queue)
            })
        })
    }
}

fn encode_counter(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    metric
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

fn encode_gauge(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    metric.encode_family(labels)?.encode_gauge(&value)
}

/// Zero when there was nothing to divide.
#[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
fn ratio(numerator: u64, denominator: u64) -> f64 {
    numerator as f64 / denominator.max(1) as f64
}

const COUNTERS: &[(&str, &str, Read)] = &[
    (
        "connections_established",
        "Connections whose handshake completed.",
        |s| s.connections.established,
    ),
    ("connections_closed", "Connections closed after their handshake.", |s| {
        s.connections.closed
    }),
    ("handshake_failures", "Handshakes that failed.", |s| {
        s.connections.handshake_failures
    }),
    ("migrations", "Peers whose changed address was validated.", |s| {
        s.connections.migrations
    }),
    ("version_negotiations", "Version Negotiation packets sent.", |s| {
        s.connections.version_negotiations
    }),
    ("retries", "Retry packets sent.", |s| s.connections.retries),
    ("websockets_opened", "WebSocket connections taken on.", |s| {
        s.websockets.opened
    }),
    ("websocket_messages_in", "WebSocket messages received.", |s| {
        s.websockets.messages_in
    }),
    ("websocket_messages_out", "WebSocket messages sent.", |s| {
        s.websockets.messages_out
    }),
    ("websocket_bytes_in", "Bytes of WebSocket messages received.", |s| {
        s.websockets.bytes_in
    }),
    ("websocket_bytes_out", "Bytes of WebSocket messages sent.", |s| {
        s.websockets.bytes_out
    }),
    ("sessions_opened", "moq-lite sessions opened.", |s| s.sessions.opened),
    ("web_sessions_opened", "Of these, sessions over WebTransport.", |s| {
        s.web.sessions_opened
    }),
    (
        "web_sessions_refused",
        "WebTransport sessions refused for their path or draft.",
        |s| s.web.sessions_refused,
    ),
    ("web_requests", "Ordinary requests over HTTP/3.", |s| s.web.requests),
    (
        "web_streams_refused",
        "Streams of HTTP/3 that were given up: for no session, malformed, one too many, unknown.",
        |s| s.web.streams_refused,
    ),
    ("web_violations", "Connections closed for a violation of HTTP/3.", |s| {
        s.web.violations
    }),
    (
        "protocol_violations",
        "Sessions closed for a violation of the peer.",
        |s| s.sessions.protocol_violations,
    ),
    (
        "sessions_revoked",
        "Sessions ended because what let them in was taken back.",
        |s| s.sessions.revoked,
    ),
    ("frames_in", "Frames received from publishers.", |s| s.media.frames_in),
    ("frames_out", "Frames sent, counted once per subscriber.", |s| {
        s.media.frames_out
    }),
    ("groups_in", "Groups received from publishers.", |s| s.media.groups_in),
    ("groups_out", "Groups sent, counted once per subscriber.", |s| {
        s.media.groups_out
    }),
    ("bytes_in", "Payload bytes received from publishers.", |s| {
        s.media.bytes_in
    }),
    ("bytes_out", "Payload bytes sent, counted once per subscriber.", |s| {
        s.media.bytes_out
    }),
    ("fetches", "Groups fetched by peers.", |s| s.media.fetches),
    (
        "fetches_from_cache",
        "Groups fetched by peers and found in the cache.",
        |s| s.media.fetches_from_cache,
    ),
    ("datagrams_received", "UDP datagrams received.", |s| {
        s.network.datagrams_received
    }),
    ("datagrams_sent", "UDP datagrams sent.", |s| s.network.datagrams_sent),
    ("datagram_bytes_received", "UDP payload bytes received.", |s| {
        s.network.datagram_bytes_received
    }),
    ("datagram_bytes_sent", "UDP payload bytes sent.", |s| {
        s.network.datagram_bytes_sent
    }),
    (
        "receives",
        "Receive completions; each carries one or more datagrams.",
        |s| s.network.receives,
    ),
    ("sends", "Send submissions; each carries one or more datagrams.", |s| {
        s.network.sends
    }),
    ("send_failures", "Send submissions the kernel refused.", |s| {
        s.network.send_failures
    }),
    (
        "ring_waits",
        "Times the kernel was entered to wait for the ring.",
        |s| s.network.ring_waits,
    ),
    ("parks", "Times the idle shard parked.", |s| s.network.parks),
    (
        "parks_failed",
        "Times an idle shard stayed awake for want of a file.",
        |s| s.network.parks_failed,
    ),
    ("turns", "Turns of the shard's loop.", |s| s.network.turns),
    ("malformed_packets", "Datagrams that were no usable QUIC packet.", |s| {
        s.network.malformed_packets
    }),
    ("links_dialled", "Links to other relays dialled.", |s| s.links.dialled),
    (
        "links_silent",
        "Links to other relays given up for their silence.",
        |s| s.links.silent,
    ),
    (
        "announcements_unbelieved",
        "Announcements of what others publish, by sessions that are no peers.",
        |s| s.links.unbelieved,
    ),
    (
        "announcements_contested",
        "Broadcasts announced though somebody else published them already.",
        |s| s.sessions.contested,
    ),
    (
        "names_yielded",
        "Broadcasts whose holder lost them to another because it had fallen silent.",
        |s| s.sessions.yielded,
    ),
    (
        "local_datagrams_received",
        "Datagrams from sockets of local peers.",
        |s| s.local.datagrams_received,
    ),
    ("local_datagrams_sent", "Datagrams to sockets of local peers.", |s| {
        s.local.datagrams_sent
    }),
    (
        "local_send_failures",
        "Datagrams to sockets of local peers that found no buffer or were refused.",
        |s| s.local.send_failures,
    ),
    (
        "local_truncated",
        "Datagrams from sockets of local peers that were too large.",
        |s| s.local.truncated,
    ),
];

const GAUGES: &[(&str, &str, Read)] = &[
    ("connections", "Connections open.", |s| s.connections.open_now),
    ("websockets", "WebSocket connections open.", |s| s.websockets.open_now),
    (
        "websocket_held_bytes",
        "Bytes that wait for WebSocket peers to read.",
        |s| s.websockets.held_bytes_now,
    ),
    ("sessions", "moq-lite sessions open.", |s| s.sessions.open_now),
    ("streams", "Session streams open.", |s| s.sessions.streams_open_now),
    ("subscriptions", "Subscriptions served.", |s| {
        s.sessions.subscriptions_now
    }),
    ("upstream_subscriptions", "Subscriptions made to publishers.", |s| {
        s.sessions.upstream_subscriptions_now
    }),
    ("announcements", "Broadcasts announced by peers of the shard.", |s| {
        s.sessions.announcements_now
    }),
    ("session_bytes", "Bytes that sessions hold.", |s| {
        s.sessions.held_bytes_now
    }),
    (
        "overloaded",
        "Whether new sessions are refused because there is too much to do.",
        |s| s.sessions.overloaded_now,
    ),
    ("cache_bytes", "Bytes in the group cache.", |s| s.media.cache_bytes_now),
    (
        "links",
        "Links to other relays, those that they dialled included.",
        |s| s.links.up_now,
    ),
    (
        "batch_window_microseconds",
        "How long a busy shard gathers work before a turn.",
        |s| s.network.batch_window_us_now,
    ),
    ("local_peers", "Peers without a connection open.", |s| s.local.peers_now),
    ("local_sockets", "Sockets of local peers open.", |s| s.local.sockets_now),
];

const RATIOS: &[(&str, &str, Read, Read)] = &[
    (
        "datagrams_per_receive",
        "Mean datagrams per receive since start.",
        |s| s.network.datagrams_received,
        |s| s.network.receives,
    ),
    (
        "datagrams_per_send",
        "Mean datagrams per send since start.",
        |s| s.network.datagrams_sent,
        |s| s.network.sends,
    ),
];
