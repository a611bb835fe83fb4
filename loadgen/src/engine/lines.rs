//! Connections to the relay with their sessions: packets in and out, nothing of calls.
//!
//! What sessions say waits in order until [`Lines::poll`] takes it, each with the time at which the
//! kernel took in what it came from. So packets may gather before they are looked at, which costs
//! less and makes no delay longer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use moqswitch_proto::session::{Event, Session, SessionConfig, SessionLimits, Side};
use moqswitch_proto::wire::{
    DatagramHeader, DatagramSent, ErrorCode, HopId, ProbeLevel, Role, Setup, StreamId, Version, session_error,
    stream_error,
};
use moqswitch_relay::driver::{self, Backlog, BacklogFull, BacklogLimits};
use moqswitch_relay::net::socket::{SocketOptions, bind_client};
use moqswitch_relay::net::wake::{self, Waker};
use moqswitch_relay::net::{RingConfig, UdpRing, Wait};
use moqswitch_relay::quic::{
    Client, Connection, ConnectionKey, Endpoint, EndpointOptions, Outgoing, QuicError, ReadArena, Secrets,
    TransportOptions, Trust, WebDial,
};
use rustc_hash::FxHashMap;

use super::paths::{Owner, Paths, Way};
use super::{Clock, GRID, Readings};

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
    pub(crate) path: String,
    /// `host:port` as a URL names it, to be reached by WebTransport; none for raw QUIC.
    pub(crate) authority: Option<String>,
    pub(crate) draft: Version,
}

/// What a line says.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are events of sessions")]
pub(crate) enum Happening {
    Established,
    Session(Event),
    /// The connection is gone, and why. The last that is said of it.
    Ended(String),
}

pub(crate) struct Lines {
    ring: UdpRing,
    endpoint: Endpoint,
    /// One for each target.
    clients: Vec<Client>,
    local: SocketAddr,
    arena: ReadArena,
    /// At least one.
    targets: Vec<Target>,
    lines: FxHashMap<ConnectionKey, Line>,
    /// Of lines that are impaired.
    paths: Option<Paths>,
    happenings: VecDeque<(Instant, ConnectionKey, Happening)>,
    /// Lines whose sessions may have something to send.
    talkative: Vec<ConnectionKey>,
    /// Groups and datagrams that congestion or the relay kept from being sent.
    given_up: u64,
    clock: Clock,
    readings: Readings,
    /// For other threads: ends the wait of a turn.
    waker: Waker,
    /// Of what is looked at; after a turn, the end of its wait.
    pub(crate) now: Instant,
}

struct Line {
    /// Which of the targets it goes to.
    target: usize,
    session: Option<Session>,
    /// Control bytes and groups that congestion and flow control did not take yet.
    backlog: Backlog,
    is_talkative: bool,
    /// Path and query of its own, instead of the target's.
    place: Option<String>,
}

impl Line {
    fn new(target: usize, place: Option<String>) -> Self {
        Self {
            target,
            place,
            session: None,
            backlog: Backlog::new(BACKLOG),
            is_talkative: false,
        }
    }
}

impl Lines {
    /// Connects to `targets`, of which there is one at least.
    pub(crate) fn new(
        targets: Vec<Target>,
        connections_max: usize,
        ack: &AckHabit,
        paths: Option<Paths>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let first = targets.first().context("there is nothing to connect to")?;
        let unspecified: SocketAddr = if first.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
        let socket = bind_client(
            unspecified,
            &SocketOptions {
                receive_buffer_bytes: SOCKET_BUFFER_BYTES,
                ..SocketOptions::default()
            },
        )?;
        let local = socket.local_addr()?;
        let (waker, wake) = wake::channel()?;
        let config = RingConfig {
            receive_buffers: RECEIVE_BUFFERS,
            notes_arrivals: true,
            ..RingConfig::default()
        };
        let ring = UdpRing::new(socket, wake, &config)?;
        let options = EndpointOptions {
            shard: 0,
            shards: 1,
            connections_max,
            retry_above: connections_max,
            // It accepts none.
            attempts_per_second: 1,
            connections_per_address: 1,
            answers_per_second: 1,
            transport: TransportOptions {
                ack_delay_max: ack.delay_max,
                ack_delay: ack.delay_max,
                ack_every: ack.every,
                ..TransportOptions::default()
            },
            versions: vec![first.draft],
        };
        let secrets = Secrets::generate().map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
        let endpoint = Endpoint::new(options, &secrets, None)?;
        let client = |target: &Target| match &target.authority {
            None => endpoint.client(Trust::Anyone, &[target.draft]),
            Some(_) => web_client(&endpoint, target, &target.path),
        };
        let clients = targets.iter().map(client).collect::<Result<_, _>>()?;
        Ok(Self {
            ring,
            clients,
            endpoint,
            local,
            arena: ReadArena::default(),
            targets,
            lines: FxHashMap::default(),
            paths,
            happenings: VecDeque::new(),
            talkative: Vec::new(),
            given_up: 0,
            clock,
            readings: Readings::new(clock),
            waker,
            now: Instant::now(),
        })
    }

    /// Somebody dials, on an impaired path if it is theirs; [`Happening::Established`] follows, or [`Happening::Ended`]. Of
    /// several targets those who are counted up are at one after the other.
    pub(crate) fn connect(&mut self, who: usize, path: Option<Owner>) -> anyhow::Result<ConnectionKey> {
        let at = who % self.targets.len();
        let target = &self.targets[at];
        let key = self
            .endpoint
            .connect(&mut self.clients[at], target.address, self.local, &target.name)?;
        self.insert(key, Line::new(at, None), path);
        Ok(key)
    }

    /// As [`Self::connect`], with a path and query of its own.
    pub(crate) fn connect_to(&mut self, who: usize, place: &str, path: Option<Owner>) -> anyhow::Result<ConnectionKey> {
        let at = who % self.targets.len();
        let target = &self.targets[at];
        let mut own = match &target.authority {
            None => None,
            Some(_) => Some(web_client(&self.endpoint, target, place)?),
        };
        let client = own.as_mut().unwrap_or(&mut self.clients[at]);
        let key = self
            .endpoint
            .connect(client, target.address, self.local, &target.name)?;
        self.insert(key, Line::new(at, Some(place.to_owned())), path);
        Ok(key)
    }

    fn insert(&mut self, key: ConnectionKey, line: Line, path: Option<Owner>) {
        self.lines.insert(key, line);
        if let (Some(paths), Some(owner)) = (&mut self.paths, path) {
            paths.insert(key, owner);
        }
    }

    /// By which other threads end the wait of a turn.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Has the relay answer, so that neither side finds the line idle.
    pub(crate) fn ping(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.endpoint.get_mut(key) {
            connection.ping();
            self.endpoint.mark_dirty(key);
        }
    }

    /// Sends what is due, waits at most until `deadline`, and takes in what came.
    pub(crate) fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        self.flush();
        let next_on_path = self.paths.as_ref().and_then(Paths::next_due);
        // No timer of a connection's is in such a hurry that it could not wait for others.
        let next_timer = self.endpoint.next_deadline().map(|due| self.clock.on_grid(due));
        let timers = [next_timer, next_on_path];
        let due = timers.into_iter().flatten().fold(deadline, Instant::min);
        let timeout = due.saturating_duration_since(Instant::now());
        let has_work = self.endpoint.has_ready() || self.endpoint.has_dirty();
        self.ring.turn(if timeout.is_zero() || has_work {
            Wait::None
        } else {
            Wait::Until {
                timeout,
                batch_window: GRID,
            }
        })?;
        let now = self.readings.begin();
        while let Some(mut received) = self.ring.poll_receive() {
            let source = received.source;
            self.now = self.readings.at(received.arrived);
            for datagram in received.datagrams() {
                if let Some(paths) = &mut self.paths
                    && let Some(line) = self.endpoint.connection_of(datagram)
                    && paths.receive(line, datagram, source, self.now)
                {
                    continue;
                }
                self.endpoint.handle_datagram(datagram, source, self.local, self.now);
            }
            // Before the next, so that what comes of it is known by its own time.
            self.service_ready()?;
        }
        self.end_ways(now)?;
        self.now = now;
        self.endpoint.handle_timeouts(self.now);
        self.service_ready()
    }

    fn service_ready(&mut self) -> anyhow::Result<()> {
        while let Some(key) = self.endpoint.poll_ready() {
            self.service(key)?;
        }
        Ok(())
    }

    /// What happened next, and when.
    pub(crate) fn poll(&mut self) -> Option<(Instant, ConnectionKey, Happening)> {
        self.happenings.pop_front()
    }

    /// The session of a line, to say something by it.
    pub(crate) fn session(&mut self, key: ConnectionKey) -> Option<&mut Session> {
        let line = self.lines.get_mut(&key)?;
        let session = line.session.as_mut()?;
        if !line.is_talkative {
            line.is_talkative = true;
            self.talkative.push(key);
        }
        Some(session)
    }

    pub(crate) fn draft(&self) -> Version {
        self.targets[0].draft
    }

    /// Writes media to a stream; what congestion control does not take waits. False when too much
    /// waits: then the stream is given up, and the group on it.
    pub(crate) fn write(&mut self, key: ConnectionKey, stream: StreamId, bytes: Bytes, fin: bool) -> bool {
        let (Some(line), Some(connection)) = (self.lines.get_mut(&key), self.endpoint.get_mut(key)) else {
            return true;
        };
        let written = line.backlog.write(connection, stream, bytes, fin);
        let is_taken = written.is_ok();
        if let Err(full) = written {
            give_up(full, &mut line.backlog, connection);
            self.given_up += 1;
        }
        self.endpoint.mark_dirty(key);
        is_taken
    }

    /// Packets that came on a line so far, and how often none came that should have.
    pub(crate) fn received(&mut self, key: ConnectionKey) -> Option<(usize, usize)> {
        self.lines.get(&key)?;
        let connection = self.endpoint.get_mut(key)?;
        Some((connection.packets_received(), connection.probe_timeouts()))
    }

    /// Groups and datagrams since the last call that could not be sent.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// Datagrams since the last call that impaired paths had no room for.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        self.paths.as_mut().map_or(0, Paths::take_dropped)
    }

    /// Sends a frame as a datagram, if congestion control takes it now; false when it does not.
    pub(crate) fn send_datagram(&mut self, key: ConnectionKey, header: &DatagramHeader, payload: &[u8]) -> bool {
        let Some(connection) = self.endpoint.get_mut(key) else {
            return true;
        };
        let draft = self.targets[0].draft;
        let put_header = |out: &mut BytesMut| header.encode(draft, out).is_ok();
        let sent = driver::send_datagram(connection, put_header, payload);
        let is_sent = sent == DatagramSent::Sent;
        self.given_up += u64::from(!is_sent);
        self.endpoint.mark_dirty(key);
        is_sent
    }

    /// Says what is still to be said and hangs up. No `Ended` follows.
    pub(crate) fn close(&mut self, key: ConnectionKey) {
        self.transmit(key);
        self.lines.remove(&key);
        if let Some(connection) = self.endpoint.get_mut(key) {
            connection.close(session_error::NO_ERROR, "done");
        }
        self.endpoint.mark_dirty(key);
    }

    /// Forgets a line, as when its network is lost: the relay hears nothing of it.
    pub(crate) fn drop_silently(&mut self, key: ConnectionKey) {
        self.lines.remove(&key);
        self.endpoint.remove(key);
        self.paths.iter_mut().for_each(|paths| paths.remove(key));
    }

    /// Sends what is still to be said, without waiting for answers.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FINISH_MAX;
        loop {
            self.flush();
            if !self.endpoint.has_dirty() || Instant::now() >= deadline {
                break;
            }
            // Buffers come back as datagrams leave.
            self.ring.turn(Wait::Until {
                timeout: Duration::from_millis(1),
                batch_window: Duration::ZERO,
            })?;
            while self.ring.poll_receive().is_some() {}
        }
        // What is still on its way is not waited for.
        let last = self.paths.as_ref().and_then(Paths::last_due);
        if let Some(last) = last {
            self.end_ways(last)?;
        }
        self.ring.turn(Wait::None).context("saying goodbye")?;
        Ok(())
    }

    fn flush(&mut self) {
        for key in std::mem::take(&mut self.talkative) {
            self.transmit(key);
        }
        let Some(paths) = &mut self.paths else {
            return self.endpoint.flush(&mut self.ring, self.now);
        };
        self.endpoint
            .flush_through(&mut self.ring, self.now, |ring, line, outgoing| {
                if !line.is_some_and(|line| paths.send(line, &outgoing, Instant::now())) {
                    outgoing.queue(ring);
                }
            });
    }

    /// Lets datagrams out of their links whose time has come.
    fn end_ways(&mut self, until: Instant) -> anyhow::Result<()> {
        while let Some(paths) = &mut self.paths
            && let Some((due, next)) = paths.peek(until)
        {
            match next.way {
                Way::ToClient { source } => {
                    if let Some(mut datagram) = paths.pop() {
                        self.now = due;
                        self.endpoint
                            .handle_datagram(&mut datagram.bytes, source, self.local, self.now);
                        self.service_ready()?;
                    }
                }
                Way::ToRelay { destination, source } => {
                    // Buffers come back as datagrams leave; until then it stays where it is.
                    let Some(outgoing) = Outgoing::alone(&mut self.ring, &next.bytes, destination, source) else {
                        break;
                    };
                    outgoing.queue(&mut self.ring);
                    paths.pop();
                }
            }
        }
        Ok(())
    }

    /// The time, for what happens while something is looked at that came earlier.
    pub(crate) fn present_ns(&self) -> u64 {
        self.clock.ns(Instant::now())
    }

    /// Takes everything one connection has.
    fn service(&mut self, key: ConnectionKey) -> anyhow::Result<()> {
        let Some(connection) = self.endpoint.get_mut(key) else {
            return Ok(());
        };
        if connection.is_over() {
            let reason = connection.close_reason();
            if connection.is_closed() {
                self.endpoint.remove(key);
                self.paths.iter_mut().for_each(|paths| paths.remove(key));
            }
            if self.lines.remove(&key).is_some() {
                self.happenings.push_back((self.now, key, Happening::Ended(reason)));
            }
            return Ok(());
        }
        let Some(line) = self.lines.get_mut(&key) else {
            return Ok(());
        };
        if !connection.is_established() {
            return Ok(());
        }
        if connection.is_web() && line.session.is_none() {
            // The answer to the request for a session.
            while let Some(stream) = connection.poll_readable() {
                connection.read(stream, &mut self.arena);
            }
            while connection.poll_writable().is_some() {}
            let has_session = connection.has_session();
            self.endpoint.mark_dirty(key);
            if !has_session {
                return Ok(());
            }
        }
        let Some(connection) = self.endpoint.get_mut(key) else {
            return Ok(());
        };
        let session = match &mut line.session {
            Some(session) => session,
            none => {
                self.happenings.push_back((self.now, key, Happening::Established));
                none.insert(Session::new(config(
                    &self.targets[line.target],
                    line.place.as_deref(),
                    connection,
                )?))
            }
        };
        driver::read(connection, session, &mut self.arena, 0, READS_MAX);
        while line.backlog.poll_writable(session, connection).is_some() {}
        if line.backlog.retry(connection) {
            self.endpoint.mark_dirty(key);
        }
        while let Some(event) = line.session.as_mut().and_then(Session::poll_event) {
            self.happenings.push_back((self.now, key, Happening::Session(event)));
        }
        self.transmit(key);
        Ok(())
    }

    /// Sends what a session has queued.
    fn transmit(&mut self, key: ConnectionKey) {
        let (Some(line), Some(connection)) = (self.lines.get_mut(&key), self.endpoint.get_mut(key)) else {
            return;
        };
        line.is_talkative = false;
        let Some(session) = &mut line.session else { return };
        let mut has_spoken = false;
        loop {
            match line.backlog.transmit(session, connection) {
                Ok(spoken) => {
                    has_spoken |= spoken;
                    break;
                }
                Err(full) => {
                    give_up(full, &mut line.backlog, connection);
                    self.given_up += 1;
                    has_spoken = true;
                }
            }
        }
        if has_spoken {
            self.endpoint.mark_dirty(key);
        }
    }
}

/// When a client acknowledges, which decides half of a relay's work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckHabit {
    /// So many packets at the latest.
    pub(crate) every: u32,
    pub(crate) delay_max: Duration,
}

/// What dials a target by WebTransport, at a path.
fn web_client(endpoint: &Endpoint, target: &Target, path: &str) -> Result<Client, QuicError> {
    let dial = WebDial {
        authority: target.authority.clone().unwrap_or_default(),
        path: path.to_owned(),
        versions: vec![target.draft],
    };
    endpoint.web_client(Trust::Anyone, dial)
}

/// A publisher that far behind gives the group up.
fn give_up(full: BacklogFull, backlog: &mut Backlog, connection: &mut Connection) {
    backlog.forget(full.stream);
    connection.reset(full.stream, stream_error::CANCEL);
}

fn config(target: &Target, place: Option<&str>, connection: &Connection) -> anyhow::Result<SessionConfig> {
    let version = connection.version().context("the relay agreed on no moq-lite draft")?;
    Ok(SessionConfig {
        side: Side::Client,
        version,
        setup: Setup {
            probe: ProbeLevel::None,
            // Draft "Path Parameter": not where the handshake carries a path.
            path: target
                .authority
                .is_none()
                .then(|| place.unwrap_or(&target.path).to_owned()),
            role: Role::Both,
            cost: None,
            origin: HopId::UNKNOWN,
        },
        hop: HopId::UNKNOWN,
        limits: SessionLimits::default(),
        heads: connection.stream_heads(),
    })
}

/// The code that a publisher refuses unknown tracks with.
pub(crate) const NO_SUCH_TRACK: ErrorCode = stream_error::NOT_FOUND;

/// What a client holds for a relay that does not take it. Beyond it groups are given up. There may be thousands of
/// streams, and nearly always it is congestion that holds them all.
const BACKLOG: BacklogLimits = BacklogLimits {
    bytes_max: 16 * 1024 * 1024,
    refusals_max: 8,
};
/// Everything that came is looked at before the next datagram is, so that its time is known.
const READS_MAX: usize = usize::MAX;

/// What comes in between two looks at the socket, several times over at 100 000 packets/s. They
/// take memory as far as they are used.
const RECEIVE_BUFFERS: u16 = 256;
/// What all clients of a shard may have waiting for them, as far as the host allows: a relay's burst to thousands of them
/// at once, of which each takes a kilobyte of the kernel's memory.
const SOCKET_BUFFER_BYTES: usize = 32 * 1024 * 1024;

/// How long goodbyes may take to leave.
const FINISH_MAX: Duration = Duration::from_secs(1);
