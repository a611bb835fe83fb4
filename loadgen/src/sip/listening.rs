//! Who hears calls by MoQ, as supervisors and recorders do: each session subscribes to the audio of every call's broadcasts.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use moqswitch_proto::session::{AnnouncementEvent, AnswerEvent, Event, MediaEvent, RequestEvent, SubscribeParameters};
use moqswitch_proto::wire::{BroadcastPath, Chunk, GroupRange, StreamId, SubscribeId};
use moqswitch_relay::quic::ConnectionKey;
use rustc_hash::FxHashMap;

use crate::engine::{AckHabit, Clock, Happening, Lines, NO_SUCH_TRACK, Target};

pub(super) struct Listeners {
    lines: Lines,
    all: Vec<Listener>,
    by_line: FxHashMap<ConnectionKey, usize>,
}

#[derive(Default)]
struct Listener {
    is_in: bool,
    subscriptions: FxHashMap<BroadcastPath, SubscribeId>,
    arriving: FxHashMap<StreamId, Arriving>,
}

/// A frame that comes in pieces.
struct Arriving {
    size: usize,
    payload: BytesMut,
}

/// What listeners have heard.
pub(super) enum Listened {
    Frame {
        listener: usize,
        at: Instant,
        payload: Bytes,
    },
    Lost(String),
}

impl Listeners {
    pub(super) fn dial(target: Target, count: u16, clock: Clock) -> anyhow::Result<Self> {
        let ack = AckHabit {
            every: 2,
            delay_max: Duration::from_millis(25),
        };
        let mut lines = Lines::new(vec![target], usize::from(count).max(CONNECTIONS_MIN), &ack, None, clock)?;
        let mut by_line = FxHashMap::default();
        for listener in 0..usize::from(count) {
            by_line.insert(lines.connect(0, None)?, listener);
        }
        let all = (0..count).map(|_| Listener::default()).collect();
        Ok(Self { lines, all, by_line })
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Waits until all are let in.
    pub(super) fn come_in(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + COME_IN_MAX;
        let mut heard = Vec::new();
        while !self.all.iter().all(|listener| listener.is_in) {
            self.lines.turn(Instant::now() + TURN)?;
            self.take(&mut heard);
            if let Some(Listened::Lost(reason)) = heard.pop() {
                bail!("the relay did not let a listener in: {reason}");
            }
            if Instant::now() > end {
                bail!("the relay did not let every listener in within {COME_IN_MAX:?}");
            }
        }
        Ok(())
    }

    /// Takes what has come, without waiting.
    pub(super) fn turn(&mut self) -> anyhow::Result<Vec<Listened>> {
        self.lines.turn(Instant::now()).context("sessions of listeners")?;
        let mut heard = Vec::new();
        self.take(&mut heard);
        Ok(heard)
    }

    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        for line in self.by_line.drain().map(|(line, _)| line) {
            self.lines.close(line);
        }
        self.lines.finish()
    }

    fn take(&mut self, heard: &mut Vec<Listened>) {
        while let Some((at, line, happening)) = self.lines.poll() {
            let Some(listener) = self.by_line.get(&line).copied() else {
                continue;
            };
            match happening {
                Happening::Established => {
                    self.all[listener].is_in = true;
                    if let Some(session) = self.lines.session(line) {
                        session.request_announce(&BroadcastPath::new(PREFIX));
                    }
                }
                Happening::Ended(reason) => {
                    self.by_line.remove(&line);
                    heard.push(Listened::Lost(reason));
                }
                Happening::Session(event) => {
                    let payloads = self.take_event(listener, line, event);
                    heard.extend(
                        payloads
                            .into_iter()
                            .map(|payload| Listened::Frame { listener, at, payload }),
                    );
                }
            }
        }
    }

    /// Frames that are whole by it.
    fn take_event(&mut self, listener: usize, line: ConnectionKey, event: Event) -> Vec<Bytes> {
        let Some(session) = self.lines.session(line) else {
            return Vec::new();
        };
        let own = &mut self.all[listener];
        match event {
            Event::Announcement(AnnouncementEvent::Announced { path, .. }) => {
                let wanted = SubscribeParameters {
                    broadcast: path.clone(),
                    track: TRACK.into(),
                    epoch: 0,
                    priority: 100,
                    ordered: false,
                    max_latency_ms: 1000,
                    range: GroupRange::default(),
                };
                if let Some((id, _)) = session.subscribe(wanted) {
                    own.subscriptions.insert(path, id);
                }
            }
            Event::Announcement(AnnouncementEvent::Unannounced { path, .. }) => {
                if let Some(id) = own.subscriptions.remove(&path) {
                    session.unsubscribe(id);
                }
            }
            Event::Announcement(AnnouncementEvent::AnnounceRequest { request, .. }) => session.announce_ok(request, 0),
            Event::Request(
                RequestEvent::Track { request, .. }
                | RequestEvent::Subscribe { request, .. }
                | RequestEvent::Fetch { request, .. },
            ) => session.refuse(request, NO_SUCH_TRACK),
            Event::Answer(AnswerEvent::SubscriptionClosed { id, .. }) => {
                own.subscriptions.retain(|_, known| *known != id);
            }
            Event::Media(MediaEvent::Datagram { payload, .. }) => return vec![payload],
            Event::Media(MediaEvent::GroupChunk { stream, chunk, .. }) => return own.take_chunk(stream, &chunk),
            Event::Media(MediaEvent::GroupEnd { stream, .. } | MediaEvent::GroupReset { stream, .. }) => {
                own.arriving.remove(&stream);
            }
            Event::Announcement(
                AnnouncementEvent::AnnounceReplaced { .. }
                | AnnouncementEvent::AnnounceStreamEnded { .. }
                | AnnouncementEvent::AnnounceRequestEnded { .. },
            )
            | Event::Request(
                RequestEvent::SubscribeUpdate { .. }
                | RequestEvent::SubscribeEnded { .. }
                | RequestEvent::FetchEnded { .. }
                | RequestEvent::TrackEnded { .. }
                | RequestEvent::Probe { .. }
                | RequestEvent::ProbeEnded { .. },
            )
            | Event::Answer(
                AnswerEvent::SubscriptionOk { .. }
                | AnswerEvent::TrackProperties { .. }
                | AnswerEvent::SubscriptionStart { .. }
                | AnswerEvent::SubscriptionEnd { .. }
                | AnswerEvent::SubscriptionDrop { .. }
                | AnswerEvent::TrackInfo { .. }
                | AnswerEvent::TrackClosed { .. }
                | AnswerEvent::FetchChunk { .. }
                | AnswerEvent::FetchClosed { .. }
                | AnswerEvent::ProbeReport { .. }
                | AnswerEvent::ProbeClosed { .. },
            )
            | Event::Media(MediaEvent::GroupStart { .. })
            | Event::Session(_) => {}
        }
        Vec::new()
    }
}

impl Listener {
    fn take_chunk(&mut self, stream: StreamId, chunk: &Chunk) -> Vec<Bytes> {
        let (mut whole, mut from) = (Vec::new(), 0);
        for mark in &chunk.marks {
            let header = mark.offset as usize;
            whole.extend(self.take_bytes(stream, &chunk.bytes[from..header]));
            from = header + usize::from(mark.header_bytes);
            let size = usize::try_from(mark.size).unwrap_or(usize::MAX);
            self.arriving.remove(&stream);
            // What is longer is no speech of a telephone.
            if size <= FRAME_BYTES_MAX && self.arriving.len() < STREAMS_MAX {
                let payload = BytesMut::with_capacity(size);
                self.arriving.insert(stream, Arriving { size, payload });
            }
        }
        whole.extend(self.take_bytes(stream, &chunk.bytes[from..]));
        whole
    }

    fn take_bytes(&mut self, stream: StreamId, bytes: &[u8]) -> Option<Bytes> {
        let arriving = self.arriving.get_mut(&stream)?;
        let missing = arriving.size - arriving.payload.len();
        arriving.payload.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        if arriving.payload.len() < arriving.size {
            return None;
        }
        let arriving = self.arriving.remove(&stream)?;
        Some(arriving.payload.freeze())
    }
}

/// Broadcasts of calls are below it, and speech is this track of each.
const PREFIX: &str = "call";
const TRACK: &str = "audio";
const TURN: Duration = Duration::from_millis(2);
const COME_IN_MAX: Duration = Duration::from_secs(5);
const CONNECTIONS_MIN: usize = 64;
const FRAME_BYTES_MAX: usize = 4096;
/// Groups that come to one listener at once.
const STREAMS_MAX: usize = 16_384;
