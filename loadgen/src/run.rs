//! One run of a workload: connect, announce, subscribe, send on schedule, count.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use moqswitch::session::{Event, SubscribeParameters};
use moqswitch::wire::{
    Advertisement, BroadcastPath, Chunk, FrameHeader, GroupHeader, GroupRange, GroupSequence, StreamId, SubscribeId,
    SubscribeOk, TrackInfo,
};
use rustc_hash::FxHashMap;

use crate::client::{Client, Target};
use crate::payload::{self, Stamp};
use crate::report::Tally;
use crate::workload::Workload;

/// One connection's part in the run.
#[derive(Default)]
struct Part {
    /// Subscriptions the relay made to our track.
    serving: Vec<SubscribeId>,
    /// Publisher of each of our subscriptions, with the next frame expected of it.
    hearing: FxHashMap<SubscribeId, usize>,
    subscribed: Vec<usize>,
    /// Groups being received: the frame that is arriving.
    arriving: FxHashMap<StreamId, Arriving>,
    open_group: Option<StreamId>,
    sent: u64,
    connected: Option<Duration>,
}

#[derive(Default)]
struct Arriving {
    payload: BytesMut,
    size: usize,
}

pub(crate) struct Run {
    client: Client,
    workload: Workload,
    parts: Vec<Part>,
    tally: Tally,
    media_started: Option<Instant>,
    /// Frames heard of each (listener, publisher) pair, as one bit each.
    heard: FxHashMap<(usize, usize), Vec<u64>>,
}

impl Run {
    pub(crate) fn new(target: Target, workload: Workload) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(target, workload.connections)?,
            parts: (0..workload.connections).map(|_| Part::default()).collect(),
            workload,
            tally: Tally::new()?,
            media_started: None,
            heard: FxHashMap::default(),
        })
    }

    /// Connects everyone and waits until everyone hears whom he shall.
    pub(crate) fn set_up(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETUP_WAIT_MAX;
        let mut next = 0;
        while !self.is_set_up() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "not everyone was connected and subscribed after {SETUP_WAIT_MAX:?}: {} of {} subscriptions, {} of {} served",
                self.parts.iter().map(|part| part.subscribed.len()).sum::<usize>(),
                self.subscriptions(),
                self.parts.iter().filter(|part| !part.serving.is_empty()).count(),
                self.parts.len(),
            );
            if next < self.workload.connections {
                self.client.connect()?;
                next += 1;
            }
            self.turn(Instant::now() + Duration::from_millis(1))?;
        }
        Ok(())
    }

    fn subscriptions(&self) -> usize {
        (0..self.parts.len())
            .map(|index| self.workload.subscribed_by(index).count())
            .sum()
    }

    /// Everyone is subscribed, and the relay has subscribed to whoever is heard.
    fn is_set_up(&self) -> bool {
        let listened = self.workload.subscriptions > 0;
        self.parts.iter().enumerate().all(|(index, part)| {
            part.subscribed.len() == self.workload.subscribed_by(index).count()
                && (!listened || !part.serving.is_empty())
        })
    }

    /// Sends every frame at its time and gathers what arrives.
    pub(crate) fn media(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now() + Duration::from_millis(50);
        self.media_started = Some(start);
        let frames = self.workload.frames_each();
        // Next due (connection, frame), in order: connections are spread evenly.
        for sequence in 0..frames {
            for index in 0..self.workload.connections {
                let intended = self.workload.intended(index, sequence);
                let due = start + intended;
                while Instant::now() < due {
                    self.turn(due)?;
                }
                let lag = due.elapsed();
                self.tally.lag_us.saturating_record(microseconds(lag).max(1));
                self.send(index, sequence, intended);
            }
        }
        let media = start.elapsed();
        let end = Instant::now() + DRAIN_WAIT;
        while Instant::now() < end && self.tally.delivered < self.tally.expected {
            self.turn(end)?;
        }
        Ok(media)
    }

    pub(crate) fn finish(mut self) -> anyhow::Result<Tally> {
        self.client.close()?;
        Ok(self.tally)
    }

    fn send(&mut self, index: usize, sequence: u64, intended: Duration) {
        let frames_per_group = self.workload.frames_per_group;
        let payload = payload::build(
            Stamp {
                publisher: u32::try_from(index).unwrap_or(u32::MAX),
                sequence,
                intended_ns: u64::try_from(intended.as_nanos()).unwrap_or(u64::MAX),
            },
            self.workload.frame_bytes,
        );
        let is_first = sequence.is_multiple_of(frames_per_group);
        let is_last = (sequence + 1).is_multiple_of(frames_per_group);
        let timestamp = i64::try_from(intended.as_millis()).unwrap_or(i64::MAX);
        let step = i64::try_from(self.workload.interval().as_millis()).unwrap_or(0);
        for subscribe in self.parts[index].serving.clone() {
            let Some(session) = self.client.participants[index].session.as_mut() else {
                return;
            };
            let mut head = BytesMut::with_capacity(64);
            let stream = match self.parts[index].open_group {
                Some(stream) if !is_first => stream,
                _ => {
                    let stream = session.open_uni();
                    let header = GroupHeader {
                        subscribe,
                        sequence: GroupSequence(sequence / frames_per_group),
                        frame_start: 0,
                    };
                    session.group_header(&header, &mut head);
                    stream
                }
            };
            let frame = FrameHeader {
                timestamp_delta: if is_first { timestamp } else { step },
                size: payload.len() as u64,
            };
            frame
                .encode(session.version().frame_form(), &mut head)
                .expect("sizes and timestamps of a run are small");
            self.parts[index].open_group = (!is_last).then_some(stream);
            self.client.write(index, stream, head.freeze(), false);
            self.client.write(index, stream, payload.clone(), is_last);
        }
        self.parts[index].sent += 1;
        let listeners = self
            .workload
            .subscriptions
            .min(self.workload.connections.saturating_sub(1));
        self.tally.expected += listeners as u64;
    }

    fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let Self {
            client,
            workload,
            parts,
            tally,
            media_started,
            heard,
        } = self;
        let mut ear = Ear {
            workload,
            parts,
            tally,
            media_started: *media_started,
            heard,
        };
        client.turn(deadline, |client, index, event| ear.handle(client, index, event))
    }
}

/// The part of a run that reacts to what sessions say.
struct Ear<'a> {
    workload: &'a Workload,
    parts: &'a mut Vec<Part>,
    tally: &'a mut Tally,
    media_started: Option<Instant>,
    heard: &'a mut FxHashMap<(usize, usize), Vec<u64>>,
}

impl Ear<'_> {
    fn handle(&mut self, client: &mut Client, index: usize, event: Event) -> anyhow::Result<()> {
        if self.parts[index].connected.is_none() {
            let elapsed = client.started.elapsed();
            self.parts[index].connected = Some(elapsed);
            let session = client.participants[index].session.as_mut();
            session
                .context("an event came from a session")?
                .request_announce(&BroadcastPath::new(PREFIX));
        }
        match event {
            Event::GroupStart { stream, header } => {
                if let Some(publisher) = self.parts[index].hearing.get(&header.subscribe).copied() {
                    let session = client.participants[index].session.as_mut();
                    session
                        .context("a live session")?
                        .set_group_token(stream, publisher as u64);
                    self.parts[index].arriving.insert(stream, Arriving::default());
                }
            }
            Event::GroupChunk { stream, token, chunk } => {
                let publisher = usize::try_from(token).unwrap_or(usize::MAX);
                self.handle_chunk(client.now, index, publisher, stream, &chunk);
            }
            Event::GroupEnd { stream, .. } | Event::GroupReset { stream, .. } => {
                self.parts[index].arriving.remove(&stream);
            }
            Event::Violation { code, reason } => anyhow::bail!("connection {index}: violation {code:?}: {reason}"),
            Event::SubscriptionClosed { id, code } if self.parts[index].hearing.contains_key(&id) => {
                anyhow::bail!("connection {index}: subscription {id:?} was ended by the relay: {code:?}")
            }
            other => self.handle_control(client, index, other)?,
        }
        Ok(())
    }

    /// Answers what the relay asks and subscribes to whoever is announced.
    fn handle_control(&mut self, client: &mut Client, index: usize, event: Event) -> anyhow::Result<()> {
        let session = client.participants[index].session.as_mut().context("a live session")?;
        match event {
            Event::AnnounceRequest { request, message } => {
                let own = path_of(index);
                let suffix = own.strip_prefix(&message.prefix);
                session.announce_ok(request, u64::from(suffix.is_some()));
                if let Some(suffix) = suffix {
                    session.announce(request, &suffix, &Advertisement::default());
                }
            }
            Event::Subscribe { request, message } => {
                session.subscribe_ok(request, &ACCEPTED);
                session.subscribe_start(request, GroupSequence(0));
                self.parts[index].serving = vec![message.id];
            }
            Event::Track { request, .. } => session.track_info(
                request,
                &TrackInfo {
                    epoch: 0,
                    priority: 0,
                    ordered: false,
                    max_latency_ms: 1000,
                    timescale: 1000,
                },
            ),
            Event::Announced { path, .. } => {
                let publisher = self
                    .workload
                    .subscribed_by(index)
                    .find(|publisher| path == path_of(*publisher));
                if let Some(publisher) = publisher
                    && !self.parts[index].subscribed.contains(&publisher)
                {
                    self.parts[index].subscribed.push(publisher);
                    let (id, _) = session
                        .subscribe(parameters(path))
                        .context("the relay takes no subscription")?;
                    self.parts[index].hearing.insert(id, publisher);
                    self.tally
                        .setup_us
                        .saturating_record(microseconds(client.started.elapsed()).max(1));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_chunk(&mut self, now: Instant, index: usize, publisher: usize, stream: StreamId, chunk: &Chunk) {
        let Some(mut arriving) = self.parts[index].arriving.remove(&stream) else {
            return;
        };
        let mut at = 0;
        for mark in &chunk.marks {
            let header = mark.offset as usize;
            arriving.payload.extend_from_slice(&chunk.bytes[at..header]);
            self.complete(now, index, publisher, &mut arriving);
            arriving.size = usize::try_from(mark.size).unwrap_or(usize::MAX);
            at = header + usize::from(mark.header_bytes);
        }
        arriving.payload.extend_from_slice(&chunk.bytes[at..]);
        self.complete(now, index, publisher, &mut arriving);
        self.parts[index].arriving.insert(stream, arriving);
    }

    /// Counts a frame once all of it is there.
    fn complete(&mut self, now: Instant, index: usize, publisher: usize, arriving: &mut Arriving) {
        if arriving.size == 0 || arriving.payload.len() < arriving.size {
            return;
        }
        let payload: Bytes = arriving.payload.split().freeze();
        arriving.size = 0;
        let stamp = payload::read(&payload).filter(|stamp| stamp.publisher as usize == publisher);
        let Some(stamp) = stamp else {
            self.tally.corrupt += 1;
            return;
        };
        let heard = self.heard.entry((index, publisher)).or_default();
        let (word, bit) = (usize::try_from(stamp.sequence / 64).unwrap_or(0), stamp.sequence % 64);
        if heard.len() <= word {
            heard.resize(word + 1, 0);
        }
        if heard[word] & (1 << bit) != 0 {
            self.tally.duplicated += 1;
            return;
        }
        heard[word] |= 1 << bit;
        self.tally.delivered += 1;
        if let Some(start) = self.media_started {
            let one_way = now.saturating_duration_since(start + Duration::from_nanos(stamp.intended_ns));
            self.tally.one_way_us.saturating_record(microseconds(one_way).max(1));
        }
    }
}

fn path_of(index: usize) -> BroadcastPath {
    BroadcastPath::new(&format!("{PREFIX}/{index}"))
}

fn parameters(broadcast: BroadcastPath) -> SubscribeParameters {
    SubscribeParameters {
        broadcast,
        track: "audio".into(),
        epoch: 0,
        priority: 1,
        ordered: false,
        max_latency_ms: 1000,
        range: GroupRange::default(),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How drafts 03 and 04 accept a subscription.
const ACCEPTED: SubscribeOk = SubscribeOk {
    priority: 0,
    ordered: false,
    max_latency_ms: 1000,
    start: None,
    end: None,
};

/// Broadcasts of a run are `call/<number>`.
const PREFIX: &str = "call";

const SETUP_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long the last frames may take.
const DRAIN_WAIT: Duration = Duration::from_secs(2);
