//! Routing as a pure machine: made-up peers, a transport in memory, time by hand.

mod across_shards;
mod announce;
mod counting;
mod delivery;
mod endings;
mod lifecycle;
mod limits;
mod mesh;
mod revoked;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::*;
use moqswitch_proto::wire::{
    BroadcastPath, Chunk, DatagramHeader, DatagramSent, ErrorCode, Fetch, FrameForm, FrameHeader, GroupHeader,
    GroupParser, GroupRange, GroupSequence, HopId, StreamId, Subscribe, SubscribeId, SubscribeOk, TrackInfo, Version,
    Written,
};

/// One shard's tracks, with what they decided.
pub(super) struct Shard {
    pub(super) tracks: Tracks,
    pub(super) now: Instant,
    /// Upstream subscriptions asked for, as (publisher, track).
    pub(super) upstream: Vec<(PeerKey, TrackKey)>,
    pub(super) next_id: u64,
    pub(super) actions: Vec<Action>,
    pub(super) remote: Vec<(ShardId, RemoteMessage)>,
}

/// A connection in memory.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) streams: BTreeMap<StreamId, Received>,
    pub(super) order: Vec<GroupSequence>,
    pub(super) datagrams: Vec<(DatagramHeader, Bytes)>,
    pub(super) writes: usize,
    next: u64,
    /// Bytes it takes before it blocks.
    pub(super) window: usize,
    pub(super) credit: usize,
    /// Bytes that a datagram may have, and how many of them it takes.
    pub(super) datagram_bytes_max: usize,
    pub(super) datagram_room: usize,
}

#[derive(Default, Debug)]
pub(super) struct Received {
    pub(super) header: Option<GroupHeader>,
    pub(super) bytes: Vec<u8>,
    pub(super) fin: bool,
    pub(super) reset: Option<ErrorCode>,
}

impl Wire {
    pub(super) fn open() -> Self {
        Self {
            window: usize::MAX,
            credit: usize::MAX,
            datagram_bytes_max: usize::MAX,
            datagram_room: usize::MAX,
            ..Self::default()
        }
    }

    pub(super) fn group(&self, sequence: u64) -> Option<&Received> {
        self.streams
            .values()
            .find(|stream| stream.header.is_some_and(|header| header.sequence.0 == sequence))
    }
}

impl Transport for Wire {
    fn open_group(&mut self, header: &GroupHeader, bytes: &Bytes, fin: bool) -> Option<(StreamId, Written)> {
        self.credit = self.credit.checked_sub(1)?;
        self.next += 4;
        let stream = StreamId(self.next + 3);
        self.order.push(header.sequence);
        self.streams.entry(stream).or_default().header = Some(*header);
        Some((stream, self.write(stream, bytes.clone(), fin)))
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        self.writes += 1;
        let taken = bytes.len().min(self.window);
        self.window -= taken;
        let received = self.streams.entry(stream).or_default();
        assert!(!received.fin && received.reset.is_none(), "a write behind the end");
        received.bytes.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            return Written::Partial(taken);
        }
        received.fin = fin;
        Written::All
    }

    fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.streams.entry(stream).or_default().reset = Some(code);
    }

    fn datagram(&mut self, header: &DatagramHeader, payload: &Bytes) -> DatagramSent {
        if header.encoded_len() + payload.len() > self.datagram_bytes_max {
            return DatagramSent::TooLarge;
        }
        if self.datagrams.len() >= self.datagram_room {
            return DatagramSent::Full;
        }
        self.datagrams.push((*header, payload.clone()));
        DatagramSent::Sent
    }

    fn connection_blocked(&self) -> bool {
        self.window == 0
    }
}

pub(super) fn peer(index: u32) -> PeerKey {
    PeerKey { index, generation: 1 }
}

pub(super) const PUBLISHER: u32 = 0;

impl Shard {
    pub(super) fn new(limits: TrackLimits) -> Self {
        Self::numbered(0, limits)
    }

    pub(super) fn numbered(shard: u8, limits: TrackLimits) -> Self {
        Self {
            tracks: Tracks::new(ShardId(shard), limits),
            now: Instant::now(),
            upstream: Vec::new(),
            next_id: 100,
            actions: Vec::new(),
            remote: Vec::new(),
        }
    }

    pub(super) fn source(&self) -> Source {
        Source {
            shard: ShardId(0),
            peer: peer(PUBLISHER),
        }
    }

    /// A peer joins and subscribes to the one track there is.
    pub(super) fn subscribe(&mut self, index: u32, version: Version, change: impl FnOnce(&mut Subscribe)) {
        self.tracks.handle_peer(peer(index), version, version.has_datagrams());
        let mut message = subscribe_message();
        change(&mut message);
        let source = self.source();
        self.tracks
            .handle_subscribe(request(index, REQUEST), HopId::UNKNOWN, &message, Some(source));
        self.settle();
    }

    /// Does what the tracks want of sessions; keeps the rest for the test to look at.
    pub(super) fn settle(&mut self) {
        while let Some(action) = self.tracks.poll_action() {
            match action {
                Action::Subscribe { peer, track, .. } => {
                    self.upstream.push((peer, track));
                    self.next_id += 1;
                    self.tracks
                        .on_subscribed(track, peer, SubscribeId(self.next_id), self.now);
                }
                Action::RequestTrack { track, peer, .. } => {
                    self.tracks.on_track_requested(track, peer, StreamId(4));
                    self.tracks.handle_track_info(peer, StreamId(4), &INFO, self.now);
                }
                Action::Remote(shard, message) => self.remote.push((shard, message)),
                other => self.actions.push(other),
            }
        }
    }

    pub(super) fn upstream_id(&self) -> SubscribeId {
        SubscribeId(self.next_id)
    }

    pub(super) fn start(&mut self, sequence: u64) -> Option<u64> {
        let id = self.upstream_id();
        let token = self
            .tracks
            .group_started(peer(PUBLISHER), id, GroupSequence(sequence), self.now);
        self.settle();
        token
    }

    /// A whole group of frames.
    pub(super) fn publish(&mut self, sequence: u64, frames: &[&[u8]]) {
        let token = self.start(sequence).expect("a wanted group");
        for chunk in chunks(FrameForm::Timed, sequence * 20, frames, usize::MAX) {
            self.tracks.group_chunk(token, chunk);
        }
        self.tracks.group_ended(token);
        self.settle();
    }

    /// A group that comes as a datagram.
    pub(super) fn datagram(&mut self, sequence: u64, payload: &[u8]) {
        let id = self.upstream_id();
        let payload = Bytes::copy_from_slice(payload);
        self.tracks.datagram(
            peer(PUBLISHER),
            id,
            GroupSequence(sequence),
            sequence * 20,
            payload,
            self.now,
        );
        self.settle();
    }

    pub(super) fn pump(&mut self, index: u32, wire: &mut Wire) {
        for stream in wire.streams.keys() {
            self.tracks.handle_writable(peer(index), *stream);
        }
        self.tracks.handle_progress(peer(index));
        self.tracks.pump(peer(index), wire);
        self.settle();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tracks.handle_timeout(self.now);
        self.settle();
    }
}

pub(super) const REQUEST: StreamId = StreamId(0);

pub(super) fn request(index: u32, request: StreamId) -> RequestKey {
    RequestKey {
        peer: peer(index),
        request,
    }
}

pub(super) const INFO: TrackInfo = TrackInfo {
    epoch: 0,
    priority: 9,
    ordered: false,
    max_latency_ms: 60_000,
    timescale: 1000,
};

pub(super) fn subscribe_message() -> Subscribe {
    Subscribe {
        id: SubscribeId(7),
        broadcast: BroadcastPath::new("room/alice"),
        track: "audio".into(),
        epoch: 0,
        priority: 5,
        ordered: false,
        max_latency_ms: 1000,
        range: GroupRange::default(),
    }
}

/// The bytes of a group's frames.
pub(super) fn encode(form: FrameForm, timestamp: u64, frames: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    let mut first = true;
    for frame in frames {
        let header = FrameHeader {
            timestamp_delta: if first { i64::try_from(timestamp).unwrap() } else { 1 },
            size: frame.len() as u64,
        };
        first = false;
        header.encode(form, &mut out).unwrap();
        out.extend_from_slice(frame);
    }
    out.freeze()
}

/// Those bytes as they would arrive, `step` at a time.
pub(super) fn chunks(form: FrameForm, timestamp: u64, frames: &[&[u8]], step: usize) -> Vec<Chunk> {
    let mut rest = encode(form, timestamp, frames);
    let mut parser = GroupParser::new(form);
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let piece = rest.split_to(step.min(rest.len()));
        chunks.extend(parser.push(piece, timestamp).unwrap());
    }
    chunks
}

/// A shard with a publisher of the newest draft.
pub(super) fn shard_with_publisher() -> Shard {
    let mut shard = Shard::new(TrackLimits::default());
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard
}

/// Everything but counters of the past is back to nothing.
pub(super) fn assert_empty(tracks: &Tracks) {
    let held = tracks.statistics();
    let past = TracksStatistics {
        fetches: held.fetches,
        fetches_from_cache: held.fetches_from_cache,
        cache_full: held.cache_full,
        egress: held.egress,
        ..TracksStatistics::default()
    };
    assert_eq!(held, past);
}

#[allow(dead_code, reason = "used by some of the test files")]
pub(super) const OK: SubscribeOk = SubscribeOk {
    priority: 3,
    ordered: false,
    max_latency_ms: 500,
    start: None,
    end: None,
    timescale: None,
};

#[allow(dead_code, reason = "used by some of the test files")]
pub(super) fn fetch_message(group: u64) -> Fetch {
    Fetch {
        broadcast: BroadcastPath::new("room/alice"),
        track: "audio".into(),
        epoch: 0,
        priority: 1,
        group: GroupSequence(group),
        frame_start: 0,
        frame_end: None,
    }
}
