//! Two sessions and the connection between them, which delivers each stream in order and the
//! streams in whatever order and pieces it is told to. It checks what a transport would not let
//! pass: a write after a FIN or a reset.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::session::{Event, Session, SessionConfig, SessionLimits, SessionLive, Side, SubscribeParameters, Transmit};
use crate::wire::{
    BroadcastPath, ErrorCode, Fetch, FrameHeader, GroupHeader, GroupRange, GroupSequence, HopId, ProbeLevel, Setup,
    StreamHeads, StreamId, SubscribeId, TrackRequest, Version,
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Delivery {
    Whole,
    SingleBytes,
    /// Random pieces of random streams; the seed.
    Shuffled(u64),
}

pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;
pub(super) const CLIENT_HOP: HopId = HopId(100);
pub(super) const SERVER_HOP: HopId = HopId(200);

#[derive(Debug)]
pub(super) struct Network {
    pub(super) version: Version,
    pub(super) ends: [Session; 2],
    /// Taken from each session since the last look.
    pub(super) events: [Vec<Event>; 2],
    pub(super) closes: [Option<(ErrorCode, String)>; 2],
    /// By sender and stream.
    pipes: BTreeMap<(usize, StreamId), Pipe>,
    delivery: Delivery,
    random: Random,
}

#[derive(Debug, Default)]
struct Pipe {
    data: BytesMut,
    fin: bool,
    reset: Option<ErrorCode>,
    /// STOP_SENDING on its way to the sender.
    stop: Option<ErrorCode>,
    is_stopped: bool,
    /// FIN or reset was delivered.
    is_over: bool,
}

/// A small generator, so that a failing run can be repeated by its seed.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// Runs `test` in every version over every kind of network, with sessions that have met.
pub(super) fn everywhere(versions: &[Version], test: impl Fn(&mut Network)) {
    for &version in versions {
        for delivery in deliveries() {
            let mut network = Network::new(version, delivery);
            network.settle();
            network.take_events(CLIENT);
            network.take_events(SERVER);
            test(&mut network);
        }
    }
}

pub(super) fn deliveries() -> Vec<Delivery> {
    let mut deliveries = vec![Delivery::Whole, Delivery::SingleBytes];
    deliveries.extend((0..6).map(Delivery::Shuffled));
    deliveries
}

pub(super) fn config(side: Side, version: Version) -> SessionConfig {
    let hop = if side == Side::Client { CLIENT_HOP } else { SERVER_HOP };
    SessionConfig {
        side,
        version,
        setup: Setup {
            probe: ProbeLevel::Report,
            path: (side == Side::Client).then(|| "/room?jwt=x".to_owned()),
            origin: hop,
            ..Setup::default()
        },
        hop,
        limits: SessionLimits::default(),
        heads: StreamHeads::default(),
    }
}

impl Network {
    pub(super) fn new(version: Version, delivery: Delivery) -> Self {
        let client = config(Side::Client, version);
        // What is agreed on in band a server does not know before.
        let version = if version.is_in_band() { Version::Lite02 } else { version };
        Self::with(client, config(Side::Server, version), delivery)
    }

    pub(super) fn with(client: SessionConfig, server: SessionConfig, delivery: Delivery) -> Self {
        let seed = if let Delivery::Shuffled(seed) = delivery {
            seed
        } else {
            0
        };
        Self {
            version: client.version,
            ends: [Session::new(client), Session::new(server)],
            events: [Vec::new(), Vec::new()],
            closes: [None, None],
            pipes: BTreeMap::new(),
            delivery,
            random: Random(seed),
        }
    }

    /// Delivers everything there is.
    pub(super) fn settle(&mut self) {
        loop {
            self.collect(CLIENT);
            self.collect(SERVER);
            let busy: Vec<(usize, StreamId)> = self
                .pipes
                .iter()
                .filter(|(_, pipe)| pipe.is_busy())
                .map(|(key, _)| *key)
                .collect();
            if busy.is_empty() {
                return;
            }
            let index = match self.delivery {
                Delivery::Whole | Delivery::SingleBytes => 0,
                Delivery::Shuffled(_) => self.random.below(busy.len()),
            };
            self.deliver(busy[index]);
        }
    }

    /// Sends bytes as one end would.
    pub(super) fn write(&mut self, end: usize, stream: StreamId, data: &[u8], fin: bool) {
        let pipe = self.pipes.entry((end, stream)).or_default();
        assert!(!pipe.fin && pipe.reset.is_none(), "{end} writes to finished {stream:?}");
        if !pipe.is_stopped {
            pipe.data.extend_from_slice(data);
        }
        pipe.fin = fin;
    }

    pub(super) fn reset(&mut self, end: usize, stream: StreamId, code: ErrorCode) {
        let pipe = self.pipes.entry((end, stream)).or_default();
        assert!(pipe.reset.is_none(), "{end} resets {stream:?} twice");
        pipe.reset = Some(code);
        pipe.data.clear();
    }

    pub(super) fn stop_sending(&mut self, end: usize, stream: StreamId, code: ErrorCode) {
        let pipe = self.pipes.entry((1 - end, stream)).or_default();
        assert!(!pipe.is_stopped, "{end} stops {stream:?} twice");
        pipe.is_stopped = true;
        pipe.data.clear();
        if !pipe.is_over && !pipe.fin {
            pipe.stop = Some(code);
        }
    }

    pub(super) fn take_events(&mut self, end: usize) -> Vec<Event> {
        std::mem::take(&mut self.events[end])
    }

    /// Settles, and gives the events of one end since the last look.
    pub(super) fn settled_events(&mut self, end: usize) -> Vec<Event> {
        self.settle();
        self.take_events(end)
    }

    /// The one event of an end.
    pub(super) fn settled_event(&mut self, end: usize) -> Event {
        let mut events = self.settled_events(end);
        assert_eq!(events.len(), 1, "{:?} {events:#?}", self.version);
        events.remove(0)
    }

    pub(super) fn assert_open(&self) {
        assert_eq!(self.closes, [None, None]);
    }

    /// No state of any stream is left at either end, in the sessions or the transport.
    pub(super) fn assert_idle(&mut self) {
        self.settle();
        // But for the Session Stream, where there is one.
        let is_in_band = self.version.is_in_band();
        let left = [
            SessionLive {
                opened: usize::from(is_in_band),
                ..SessionLive::default()
            },
            SessionLive {
                requests: usize::from(is_in_band),
                ..SessionLive::default()
            },
        ];
        for end in [CLIENT, SERVER] {
            let live = self.ends[end].stats().live;
            assert_eq!(live, left[end], "end {end} {:?}", self.version);
        }
        for ((end, stream), pipe) in &self.pipes {
            if is_in_band && *stream == StreamId(0) {
                continue;
            }
            let is_over = pipe.fin || pipe.reset.is_some();
            assert!(is_over, "{end} left {stream:?} open in {:?}", self.version);
            if !stream.is_uni() {
                let back = self
                    .pipes
                    .get(&(1 - end, *stream))
                    .map(|pipe| pipe.fin || pipe.reset.is_some());
                assert_eq!(back, Some(true), "{stream:?} half open in {:?}", self.version);
            }
        }
        self.assert_open();
    }

    fn collect(&mut self, end: usize) {
        while let Some(transmit) = self.ends[end].poll_transmit() {
            match transmit {
                Transmit::Write { stream, data, fin } => self.write(end, stream, &data, fin),
                Transmit::Reset { stream, code } => self.reset(end, stream, code),
                Transmit::StopSending { stream, code } => self.stop_sending(end, stream, code),
                Transmit::Close { code, reason } => {
                    assert_eq!(self.closes[end], None, "closed twice");
                    self.closes[end] = Some((code, reason));
                }
            }
        }
        while let Some(event) = self.ends[end].poll_event() {
            self.events[end].push(event);
        }
    }

    fn deliver(&mut self, (sender, stream): (usize, StreamId)) {
        let pipe = self.pipes.get_mut(&(sender, stream)).unwrap();
        if pipe.stop.take().is_some() {
            return self.ends[sender].handle_stop_sending(stream);
        }
        if let Some(code) = pipe.reset {
            pipe.is_over = true;
            return self.ends[1 - sender].handle_reset(stream, code);
        }
        let length = match self.delivery {
            Delivery::Whole => pipe.data.len(),
            Delivery::SingleBytes => pipe.data.len().min(1),
            Delivery::Shuffled(_) => self.random.below(pipe.data.len() + 1),
        };
        let data = pipe.data.split_to(length).freeze();
        pipe.is_over = pipe.fin && pipe.data.is_empty();
        let fin = pipe.is_over;
        self.ends[1 - sender].handle_stream(stream, data, fin, ARRIVAL_MS);
    }
}

impl Pipe {
    fn is_busy(&self) -> bool {
        let is_deliverable = !self.is_stopped && (!self.data.is_empty() || self.fin || self.reset.is_some());
        self.stop.is_some() || !self.is_over && is_deliverable
    }
}

pub(super) const ARRIVAL_MS: u64 = 77;

pub(super) fn path(text: &str) -> BroadcastPath {
    BroadcastPath::new(text)
}

pub(super) fn subscribe_parameters() -> SubscribeParameters {
    SubscribeParameters {
        broadcast: path("room/ali"),
        track: "audio".into(),
        epoch: 0,
        priority: 7,
        ordered: false,
        max_latency_ms: 500,
        range: GroupRange::default(),
    }
}

pub(super) fn fetch_message() -> Fetch {
    Fetch {
        broadcast: path("room/ali"),
        track: "audio".into(),
        epoch: 0,
        priority: 1,
        group: GroupSequence(4),
        frame_start: 0,
        frame_end: None,
    }
}

pub(super) fn track_message() -> TrackRequest {
    TrackRequest {
        broadcast: path("room/ali"),
        track: "audio".into(),
        epoch: 0,
    }
}

/// The bytes of frames, without the head of a stream.
pub(super) fn frames(version: Version, payloads: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    for payload in payloads {
        let header = FrameHeader {
            timestamp_delta: if version.has_track_stream() { 20 } else { 0 },
            size: payload.len() as u64,
        };
        header.encode(version.frame_form(), &mut out).unwrap();
        out.extend_from_slice(payload);
    }
    out.freeze()
}

impl Network {
    /// Opens a group stream for a subscription and writes `data` behind its head.
    pub(super) fn write_group(
        &mut self,
        end: usize,
        subscribe: SubscribeId,
        sequence: u64,
        data: &[u8],
        fin: bool,
    ) -> StreamId {
        let stream = self.ends[end].open_uni();
        let mut head = BytesMut::new();
        let header = GroupHeader {
            subscribe,
            sequence: GroupSequence(sequence),
            frame_start: 0,
        };
        assert!(self.ends[end].group_header(&header, &mut head));
        head.extend_from_slice(data);
        self.write(end, stream, &head, fin);
        stream
    }
}
