//! A small relay that does to frames what it is told, and counts it: delays, drops, damages, resets
//! and renumbers them, stalls once, gives up, or tells nobody of anybody. On the product's QUIC endpoint and sessions; routing is its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use moqswitch_proto::session::{
    AnnouncementEvent, Event, MediaEvent, RequestEvent, Session, SessionConfig, SessionEvent, SessionLimits, Side,
    SubscribeParameters,
};
use moqswitch_proto::wire::{
    Advertisement, BroadcastPath, FrameHeader, GroupHeader, GroupSequence, HopId, ProbeLevel, Role, Setup, StreamHeads,
    StreamId, Subscribe, SubscribeId, TrackInfo, TrackName, Version, session_error, stream_error,
};
use moqswitch_relay::certificate::DevelopmentCertificate;
use moqswitch_relay::driver::{self, Backlog, BacklogLimits};
use moqswitch_relay::net::{RingConfig, SocketOptions, UdpRing, Wait, bind_client, wake};
use moqswitch_relay::quic::{
    ConnectionKey, Endpoint, EndpointOptions, ReadArena, Secrets, ServerCertificate, TlsContext, TransportOptions,
};

/// What is done to each group on its way to each listener. Every group has one frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) delay: Duration,
    /// One delivery in so many is dropped; 0 is none.
    pub(crate) drop_every: u64,
    pub(crate) corrupt_every: u64,
    /// One in so many groups is begun and reset.
    pub(crate) skip_every: u64,
    /// Groups have numbers that are too high by so much.
    pub(crate) renumber: u64,
    /// Nothing is announced.
    pub(crate) is_deaf: bool,
    /// From the first delivery on: when all subscriptions are finished, and when all connections
    /// are closed.
    pub(crate) finish_at: Option<Duration>,
    pub(crate) close_at: Option<Duration>,
    /// When the one connection is closed that sent last, and what it published withdrawn.
    pub(crate) close_one_at: Option<Duration>,
    /// Who publishes again after its first connection went is not announced.
    pub(crate) is_deaf_to_returns: bool,
    /// Everyone is told to go elsewhere who has asked for announcements, and gets them.
    pub(crate) goes_away: bool,
    /// From the first delivery on: when all wait, and how long.
    pub(crate) stall: Option<(Duration, Duration)>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) dropped: u64,
    pub(crate) corrupted: u64,
    pub(crate) skipped: u64,
    /// Frames that were written to a listener's connection, the corrupted ones too.
    pub(crate) delivered: u64,
    /// Those of `delivered` that were on their way when their connection was closed. What is
    /// unread when a connection ends is lost with it (RFC 9000 section 10.2).
    pub(crate) overtaken: u64,
    /// Deliveries that waited for the stall's end.
    pub(crate) stalled: u64,
}

pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Done>,
}

impl Stub {
    pub(crate) fn start(faults: Faults) -> Stub {
        let socket = bind_client("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut relay = Relay::new(socket, faults);
            while !stopped.load(Ordering::Relaxed) {
                relay.turn();
            }
            relay.done
        });
        Stub { address, stop, thread }
    }

    pub(crate) fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

struct Relay {
    faults: Faults,
    done: Done,
    ring: UdpRing,
    endpoint: Endpoint,
    local: SocketAddr,
    arena: ReadArena,
    peers: HashMap<ConnectionKey, Peer>,
    broadcasts: BTreeMap<String, ConnectionKey>,
    /// Who listens to a track, by the upstream subscription.
    listeners: HashMap<(ConnectionKey, SubscribeId), Vec<Listener>>,
    upstream: HashMap<(String, TrackName), (ConnectionKey, SubscribeId)>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    waiting: HashMap<u64, Delivery>,
    /// Deliveries that waited, which is the next one's number.
    waited: u64,
    deliveries: u64,
    has_closed_one: bool,
    /// All that were ever announced.
    known: BTreeSet<String>,
    /// Streams whose header is on its way, and when they are reset.
    given_up: Vec<(Instant, ConnectionKey, StreamId)>,
    first: Option<Instant>,
}

struct Peer {
    session: Session,
    backlog: Backlog,
    announce_requests: Vec<(StreamId, BroadcastPath)>,
    arriving: HashMap<StreamId, (SubscribeId, GroupSequence, BytesMut)>,
    /// When frames were written, those of the last `ON_ITS_WAY`.
    written: VecDeque<Instant>,
    is_closed: bool,
}

struct Listener {
    peer: ConnectionKey,
    id: SubscribeId,
    request: StreamId,
    /// The first ones are left alone, so that it is known what a listener was owed.
    spared: u64,
}

struct Delivery {
    peer: ConnectionKey,
    id: SubscribeId,
    sequence: GroupSequence,
    payload: Bytes,
    is_skipped: bool,
}

impl Relay {
    fn new(socket: std::net::UdpSocket, faults: Faults) -> Relay {
        let local = socket.local_addr().unwrap();
        let (_, wake) = wake::channel().unwrap();
        let made = DevelopmentCertificate::generate(&[local], SystemTime::now()).unwrap();
        let certificate = ServerCertificate::from_der(&[made.certificate_der], &made.key_der).unwrap();
        let options = EndpointOptions {
            shard: 0,
            shards: 1,
            connections_max: 1000,
            retry_above: 1000,
            attempts_per_second: 100_000,
            connections_per_address: 1000,
            answers_per_second: 500,
            transport: TransportOptions::default(),
            versions: vec![Version::Lite06],
        };
        let tls = TlsContext::server(&[certificate], None).unwrap();
        Relay {
            faults,
            done: Done::default(),
            ring: UdpRing::new(socket, wake, &RingConfig::default()).unwrap(),
            endpoint: Endpoint::new(options, &Secrets::generate().unwrap(), Some(tls)).unwrap(),
            local,
            arena: ReadArena::default(),
            peers: HashMap::new(),
            broadcasts: BTreeMap::new(),
            listeners: HashMap::new(),
            upstream: HashMap::new(),
            due: BinaryHeap::new(),
            waiting: HashMap::new(),
            waited: 0,
            deliveries: 0,
            has_closed_one: false,
            known: BTreeSet::new(),
            given_up: Vec::new(),
            first: None,
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.endpoint.flush(&mut self.ring, now);
        let deadlines = [
            self.endpoint.next_deadline(),
            self.due.peek().map(|Reverse((due, _))| *due),
            Some(now + Duration::from_millis(10)),
        ];
        let timeout = deadlines.into_iter().flatten().min().unwrap() - now;
        let wait = if timeout.is_zero() || self.endpoint.has_ready() {
            Wait::None
        } else {
            Wait::Until {
                timeout,
                batch_window: Duration::ZERO,
            }
        };
        self.ring.turn(wait).unwrap();
        while let Some(mut received) = self.ring.poll_receive() {
            let source = received.source;
            for datagram in received.datagrams() {
                self.endpoint
                    .handle_datagram(datagram, source, self.local, Instant::now());
            }
        }
        let now = Instant::now();
        self.endpoint.handle_timeouts(now);
        while let Some(key) = self.endpoint.poll_ready() {
            self.service(key, now);
        }
        for (_, key, stream) in self.given_up.extract_if(.., |(due, _, _)| *due <= now) {
            if let (Some(peer), Some(connection)) = (self.peers.get_mut(&key), self.endpoint.get_mut(key)) {
                peer.backlog.forget(stream);
                connection.reset(stream, stream_error::OLD);
                self.endpoint.mark_dirty(key);
            }
        }
        while let Some(Reverse((due, number))) = self.due.peek().copied() {
            if due > now {
                break;
            }
            self.due.pop();
            if let Some(delivery) = self.waiting.remove(&number) {
                self.deliver(delivery);
            }
        }
    }

    fn service(&mut self, key: ConnectionKey, now: Instant) {
        let Some(connection) = self.endpoint.get_mut(key) else {
            return;
        };
        if connection.is_over() {
            self.peers.remove(&key);
            self.unpublish(key);
            return;
        }
        if !connection.is_established() {
            return;
        }
        let peer = self.peers.entry(key).or_insert_with(|| {
            let mut session = Session::new(config());
            session.request_announce(&BroadcastPath::root());
            Peer {
                session,
                backlog: Backlog::new(BACKLOG),
                announce_requests: Vec::new(),
                arriving: HashMap::new(),
                written: VecDeque::new(),
                is_closed: false,
            }
        });
        driver::read(connection, &mut peer.session, &mut self.arena, 0, usize::MAX);
        while peer.backlog.poll_writable(&mut peer.session, connection).is_some() {}
        peer.backlog.retry(connection);
        while let Some(event) = self.peers.get_mut(&key).and_then(|peer| peer.session.poll_event()) {
            self.handle(key, event, now);
        }
        self.transmit(key);
    }

    fn handle(&mut self, key: ConnectionKey, event: Event, now: Instant) {
        match event {
            Event::Media(event) => self.handle_media(key, event, now),
            Event::Announcement(event) => self.handle_announcement(key, event),
            // What publishers answer is known beforehand.
            Event::Answer(_) => {}
            Event::Request(event) => self.handle_request(key, event),
            Event::Session(SessionEvent::Violation { reason, .. }) => panic!("{reason}"),
            Event::Session(
                SessionEvent::Setup(_) | SessionEvent::SessionUpdate { .. } | SessionEvent::Goaway { .. },
            ) => {}
        }
    }

    fn handle_media(&mut self, key: ConnectionKey, event: MediaEvent, now: Instant) {
        match event {
            MediaEvent::GroupStart { stream, header } => {
                let arriving = (header.subscribe, header.sequence, BytesMut::new());
                self.peer(key).arriving.insert(stream, arriving);
            }
            MediaEvent::GroupChunk { stream, chunk, .. } => {
                let (_, _, payload) = self.peer(key).arriving.get_mut(&stream).unwrap();
                let mut at = 0;
                for mark in &chunk.marks {
                    payload.extend_from_slice(&chunk.bytes[at..mark.offset as usize]);
                    at = mark.offset as usize + usize::from(mark.header_bytes);
                }
                payload.extend_from_slice(&chunk.bytes[at..]);
            }
            MediaEvent::GroupEnd { stream, .. } => {
                let (id, sequence, payload) = self.peer(key).arriving.remove(&stream).unwrap();
                self.forward(key, id, sequence, &payload.freeze(), now);
            }
            MediaEvent::GroupReset { .. } | MediaEvent::Datagram { .. } => {}
        }
    }

    fn handle_announcement(&mut self, key: ConnectionKey, event: AnnouncementEvent) {
        match event {
            AnnouncementEvent::Announced { path, .. } => {
                let is_return = !self.known.insert(path.as_str().to_owned());
                if is_return && self.faults.is_deaf_to_returns {
                    return;
                }
                self.broadcasts.insert(path.as_str().to_owned(), key);
                self.announce(&path);
            }
            AnnouncementEvent::Unannounced { path, .. } => self.withdraw(&path),
            AnnouncementEvent::AnnounceRequest { request, message } => {
                self.handle_announce_request(key, request, message.prefix);
            }
            AnnouncementEvent::AnnounceReplaced { .. }
            | AnnouncementEvent::AnnounceStreamEnded { .. }
            | AnnouncementEvent::AnnounceRequestEnded { .. } => {}
        }
    }

    fn handle_request(&mut self, key: ConnectionKey, event: RequestEvent) {
        match event {
            RequestEvent::Track { request, .. } => self.peer(key).session.track_info(request, &INFO),
            RequestEvent::Subscribe { request, message } => self.handle_subscribe(key, request, message),
            RequestEvent::SubscribeEnded { request } => {
                for listeners in self.listeners.values_mut() {
                    listeners.retain(|listener| listener.peer != key || listener.request != request);
                }
            }
            RequestEvent::SubscribeUpdate { .. }
            | RequestEvent::Fetch { .. }
            | RequestEvent::FetchEnded { .. }
            | RequestEvent::TrackEnded { .. }
            | RequestEvent::Probe { .. }
            | RequestEvent::ProbeEnded { .. } => {}
        }
    }

    fn handle_subscribe(&mut self, key: ConnectionKey, request: StreamId, message: Subscribe) {
        let name = (message.broadcast.as_str().to_owned(), message.track.clone());
        let publisher = self.broadcasts[&name.0];
        let upstream = *self.upstream.entry(name).or_insert_with(|| {
            let parameters = SubscribeParameters {
                broadcast: message.broadcast.clone(),
                track: message.track.clone(),
                epoch: 0,
                priority: 0,
                ordered: false,
                max_latency_ms: 10_000,
                range: Default::default(),
            };
            let session = &mut self.peers.get_mut(&publisher).unwrap().session;
            (publisher, session.subscribe(parameters).unwrap().0)
        });
        self.listeners.entry(upstream).or_default().push(Listener {
            peer: key,
            id: message.id,
            request,
            spared: SPARED,
        });
        self.peer(key).session.subscribe_start(request, GroupSequence(0));
        self.transmit(upstream.0);
    }

    fn handle_announce_request(&mut self, key: ConnectionKey, request: StreamId, prefix: BroadcastPath) {
        self.peer(key).session.announce_ok(request, 0);
        if self.faults.goes_away {
            self.peer(key).session.goaway("");
            self.transmit(key);
        }
        self.peer(key).announce_requests.push((request, prefix));
        let all: Vec<BroadcastPath> = self.broadcasts.keys().map(|path| BroadcastPath::new(path)).collect();
        for path in all {
            self.announce(&path);
        }
    }

    fn peer(&mut self, key: ConnectionKey) -> &mut Peer {
        self.peers.get_mut(&key).unwrap()
    }

    /// To everyone who has asked for a prefix of it, the publisher left out.
    fn announce(&mut self, path: &BroadcastPath) {
        if self.faults.is_deaf {
            return;
        }
        let publisher = self.broadcasts[path.as_str()];
        let keys: Vec<ConnectionKey> = self.peers.keys().copied().filter(|key| *key != publisher).collect();
        for key in keys {
            let peer = self.peer(key);
            for (request, prefix) in peer.announce_requests.clone() {
                if let Some(suffix) = path.strip_prefix(&prefix) {
                    peer.session.announce(request, &suffix, &Advertisement::default());
                }
            }
            self.transmit(key);
        }
    }

    /// What a connection published is withdrawn with it.
    fn unpublish(&mut self, key: ConnectionKey) {
        let published = self.broadcasts.iter().filter(|(_, publisher)| **publisher == key);
        let paths: Vec<BroadcastPath> = published.map(|(path, _)| BroadcastPath::new(path)).collect();
        for path in paths {
            self.withdraw(&path);
        }
        self.upstream.retain(|_, (publisher, _)| *publisher != key);
    }

    fn withdraw(&mut self, path: &BroadcastPath) {
        if self.broadcasts.remove(path.as_str()).is_none() || self.faults.is_deaf {
            return;
        }
        let name = path.as_str();
        self.upstream.retain(|(broadcast, _), _| broadcast != name);
        let keys: Vec<ConnectionKey> = self.peers.keys().copied().collect();
        for key in keys {
            let peer = self.peer(key);
            for (request, prefix) in peer.announce_requests.clone() {
                if let Some(suffix) = path.strip_prefix(&prefix) {
                    peer.session.unannounce(request, &suffix);
                }
            }
            self.transmit(key);
        }
    }

    /// Decides what becomes of a group on its way to each listener.
    fn forward(
        &mut self,
        from: ConnectionKey,
        id: SubscribeId,
        sequence: GroupSequence,
        payload: &Bytes,
        now: Instant,
    ) {
        let first = *self.first.get_or_insert(now);
        let is_time = |at: Option<Duration>| at.is_some_and(|at| now >= first + at);
        if is_time(self.faults.close_at) {
            return self.close_all();
        }
        if is_time(self.faults.finish_at) {
            return self.finish_all();
        }
        if is_time(self.faults.close_one_at) && !std::mem::replace(&mut self.has_closed_one, true) {
            return self.close(from);
        }
        for listener in self.listeners.entry((from, id)).or_default() {
            let mut payload = payload.clone();
            let mut is_skipped = false;
            if listener.spared > 0 {
                listener.spared -= 1;
            } else {
                self.deliveries += 1;
                let number = self.deliveries;
                let is_hit = |every: u64| every > 0 && number.is_multiple_of(every);
                if is_hit(self.faults.drop_every) {
                    self.done.dropped += 1;
                    continue;
                }
                is_skipped = is_hit(self.faults.skip_every);
                self.done.skipped += u64::from(is_skipped);
                if is_hit(self.faults.corrupt_every) {
                    self.done.corrupted += 1;
                    let mut damaged = payload.to_vec();
                    let at = usize::try_from(number).unwrap() % damaged.len();
                    damaged[at] ^= 0x20;
                    payload = damaged.into();
                }
            }
            let mut due = now + self.faults.delay;
            if let Some((at, length)) = self.faults.stall
                && now >= first + at
                && now < first + at + length
            {
                due = due.max(first + at + length);
                self.done.stalled += 1;
            }
            let number = self.waited;
            self.waited += 1;
            self.due.push(Reverse((due, number)));
            self.waiting.insert(
                number,
                Delivery {
                    peer: listener.peer,
                    id: listener.id,
                    sequence: GroupSequence(sequence.0 + self.faults.renumber),
                    payload,
                    is_skipped,
                },
            );
        }
    }

    fn finish_all(&mut self) {
        for listener in std::mem::take(&mut self.listeners).into_values().flatten() {
            if let Some(peer) = self.peers.get_mut(&listener.peer) {
                peer.session.finish(listener.request);
                self.transmit(listener.peer);
            }
        }
    }

    fn close_all(&mut self) {
        let keys: Vec<ConnectionKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.close(key);
        }
    }

    fn close(&mut self, key: ConnectionKey) {
        let peer = self.peer(key);
        if std::mem::replace(&mut peer.is_closed, true) {
            return;
        }
        peer.session.close(session_error::INTERNAL, "the stub gives up");
        let overtaken = peer.written.iter().filter(|at| at.elapsed() < ON_ITS_WAY).count();
        self.done.overtaken += overtaken as u64;
        self.transmit(key);
    }

    fn deliver(&mut self, delivery: Delivery) {
        let (Some(peer), Some(connection)) = (self.peers.get_mut(&delivery.peer), self.endpoint.get_mut(delivery.peer))
        else {
            return;
        };
        if peer.is_closed {
            return;
        }
        let stream = peer.session.open_uni();
        let mut bytes = BytesMut::new();
        let header = GroupHeader {
            subscribe: delivery.id,
            sequence: delivery.sequence,
            frame_start: 0,
        };
        peer.session.group_header(&header, &mut bytes);
        if delivery.is_skipped {
            let written = peer.backlog.write(connection, stream, bytes.freeze(), false);
            written.expect("a light load");
            self.given_up
                .push((Instant::now() + RESET_AFTER, delivery.peer, stream));
            return self.endpoint.mark_dirty(delivery.peer);
        }
        let frame = FrameHeader {
            timestamp_delta: 0,
            size: delivery.payload.len() as u64,
        };
        self.done.delivered += 1;
        let now = Instant::now();
        peer.written.retain(|at| now - *at < ON_ITS_WAY);
        peer.written.push_back(now);
        frame.encode(Version::Lite06.frame_form(), &mut bytes).unwrap();
        bytes.extend_from_slice(&delivery.payload);
        let written = peer.backlog.write(connection, stream, bytes.freeze(), true);
        written.expect("a light load");
        self.endpoint.mark_dirty(delivery.peer);
    }

    fn transmit(&mut self, key: ConnectionKey) {
        let (Some(peer), Some(connection)) = (self.peers.get_mut(&key), self.endpoint.get_mut(key)) else {
            return;
        };
        let transmitted = peer.backlog.transmit(&mut peer.session, connection);
        transmitted.expect("a light load");
        self.endpoint.mark_dirty(key);
    }
}

fn config() -> SessionConfig {
    SessionConfig {
        side: Side::Server,
        version: Version::Lite06,
        setup: Setup {
            probe: ProbeLevel::None,
            path: None,
            role: Role::Both,
            cost: None,
            origin: HopId(77),
        },
        hop: HopId(77),
        limits: SessionLimits::default(),
        heads: StreamHeads::default(),
    }
}

const INFO: TrackInfo = TrackInfo {
    epoch: 0,
    priority: 0,
    ordered: false,
    max_latency_ms: 1000,
    timescale: 1000,
};

/// A header is there by then.
/// How long a frame is on its way at most, on loopback and with the machine busy.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
const RESET_AFTER: Duration = Duration::from_millis(100);

/// A busy machine acknowledges late, so that a light load may have to wait.
const BACKLOG: BacklogLimits = BacklogLimits {
    bytes_max: 1024 * 1024,
    refusals_max: usize::MAX,
};

/// The first deliveries to each listener.
const SPARED: u64 = 5;
