//! One track from its publisher to local subscribers, through routing as a shard drives it.
//! Connections take everything at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_proto::wire::{
    BroadcastPath, Chunk, DatagramHeader, DatagramSent, ErrorCode, GroupHeader, GroupParser, GroupRange, GroupSequence,
    HopId, StreamId, Subscribe, SubscribeId, TrackInfo, Written,
};
use moqswitch_relay::routing::{Action, PeerKey, RequestKey, ShardId, Source, TrackLimits, Tracks, Transport};

use super::group::{self, FORM, VERSION};

pub(crate) struct FanOut {
    tracks: Tracks,
    connections: Vec<Connection>,
    /// The one frame of each group.
    chunk: Chunk,
    sequence: u64,
    now: Instant,
}

/// A subscriber's connection: it counts.
#[derive(Default)]
struct Connection {
    streams: u64,
    finished: u64,
    bytes: usize,
}

impl Transport for Connection {
    fn open_group(&mut self, _header: &GroupHeader, bytes: &Bytes, fin: bool) -> Option<(StreamId, Written)> {
        self.streams += 1;
        let stream = StreamId(4 * self.streams + 3);
        Some((stream, self.write(stream, bytes.clone(), fin)))
    }

    fn write(&mut self, _stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        self.bytes += bytes.len();
        self.finished += u64::from(fin);
        Written::All
    }

    fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        panic!("{stream:?} was given up: {code:?}");
    }

    fn datagram(&mut self, _header: &DatagramHeader, _payload: &Bytes) -> DatagramSent {
        panic!("the group is not a datagram");
    }

    fn connection_blocked(&self) -> bool {
        false
    }
}

impl FanOut {
    /// Everyone has subscribed, and the cache is as full as it gets.
    pub(crate) fn new(subscribers: u32) -> Self {
        let limits = TrackLimits::default();
        let warm_up = limits.cache_age_max.as_micros() / GROUP_INTERVAL.as_micros() + 2;
        let chunk = GroupParser::new(FORM)
            .push(group::frames(1, FRAME_BYTES), 0)
            .expect("well-formed")
            .expect("a whole frame");
        let mut fan_out = Self {
            tracks: Tracks::new(SHARD, limits),
            connections: Vec::new(),
            chunk,
            sequence: 0,
            now: Instant::now(),
        };
        fan_out.tracks.handle_peer(PUBLISHER, VERSION, false);
        for index in 0..subscribers {
            fan_out.subscribe(index);
        }
        for _ in 0..warm_up {
            fan_out.publish();
        }
        fan_out
    }

    /// A group arrives whole, and goes to all in the same turn.
    pub(crate) fn publish(&mut self) {
        self.now += GROUP_INTERVAL;
        self.sequence += 1;
        self.tracks.handle_timeout(self.now);
        let token = self
            .tracks
            .group_started(PUBLISHER, UPSTREAM, GroupSequence(self.sequence), self.now)
            .expect("the group is wanted");
        self.tracks.group_chunk(token, self.chunk.clone());
        self.tracks.group_ended(token);
        self.apply_actions();
        while let Some(peer) = self.tracks.poll_dirty_peer() {
            let connection = &mut self.connections[peer.index as usize];
            self.tracks.pump(peer, connection);
        }
        self.apply_actions();
    }

    /// Every subscriber got every group whole.
    pub(crate) fn assert_delivered(&self) {
        for connection in &self.connections {
            assert_eq!(
                (connection.streams, connection.finished),
                (self.sequence, self.sequence)
            );
            assert_eq!(connection.bytes as u64, self.sequence * self.chunk.bytes.len() as u64);
        }
    }

    fn subscribe(&mut self, index: u32) {
        let peer = PeerKey { index, generation: 1 };
        let request = StreamId(0);
        self.tracks.handle_peer(peer, VERSION, false);
        self.tracks.handle_subscribe(
            RequestKey { peer, request },
            HopId::UNKNOWN,
            &Subscribe {
                id: SubscribeId(u64::from(index)),
                broadcast: BroadcastPath::new("call/1/2"),
                track: "audio".into(),
                epoch: 0,
                priority: 5,
                ordered: false,
                max_latency_ms: 1000,
                range: GroupRange::default(),
            },
            Some(Source {
                shard: SHARD,
                peer: PUBLISHER,
            }),
        );
        self.connections.push(Connection::default());
        self.apply_actions();
    }

    /// Does for the publisher's session what routing wants of it; what subscribers are told by
    /// theirs is not measured.
    fn apply_actions(&mut self) {
        while let Some(action) = self.tracks.poll_action() {
            match action {
                Action::Subscribe { peer, track, .. } => self.tracks.on_subscribed(track, peer, UPSTREAM, self.now),
                Action::RequestTrack { track, peer, .. } => {
                    self.tracks.on_track_requested(track, peer, StreamId(4));
                    self.tracks.handle_track_info(peer, StreamId(4), &INFO, self.now);
                }
                _ => {}
            }
        }
    }
}

const SHARD: ShardId = ShardId(0);
const PUBLISHER: PeerKey = PeerKey {
    index: u32::MAX,
    generation: 1,
};
const UPSTREAM: SubscribeId = SubscribeId(7);
const INFO: TrackInfo = TrackInfo {
    epoch: 0,
    priority: 9,
    ordered: false,
    max_latency_ms: 60_000,
    timescale: 1000,
};

/// An audio packet, as often as audio has one.
const FRAME_BYTES: usize = 200;
const GROUP_INTERVAL: Duration = Duration::from_millis(20);
