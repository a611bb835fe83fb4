//! One connection to a relay with its session, on a socket of its own.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use moqswitch_proto::session::{Event, Session, SessionConfig, SessionLimits, Side};
use moqswitch_proto::wire::{
    FrameHeader, GroupHeader, GroupSequence, HopId, ProbeLevel, Role, Setup, StreamHeads, SubscribeId, Version,
    session_error, stream_error,
};
use moqswitch_relay::driver::{self, Backlog, BacklogLimits};
use moqswitch_relay::net::{RingConfig, SocketOptions, UdpRing, Wait, Waker, bind_client, wake};
use moqswitch_relay::quic::{ConnectionKey, Endpoint, EndpointOptions, ReadArena, Secrets, TransportOptions, WebDial};

use crate::limits::{HANDSET_BACKLOG_BYTES_MAX, HANDSET_CONNECT_WAIT_MAX, HANDSET_PING_INTERVAL};

use super::target::Target;

/// A connection that was made.
pub(super) struct Line {
    wires: Wires,
    key: ConnectionKey,
    session: Session,
    backlog: Backlog,
    events: VecDeque<Event>,
    /// Why it is over, once it is.
    end: Option<String>,
    pinged: Instant,
}

/// What carries packets.
struct Wires {
    ring: UdpRing,
    endpoint: Endpoint,
    local: SocketAddr,
    arena: ReadArena,
    waker: Waker,
    now: Instant,
}

/// A frame that is a group.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) number: u64,
    /// In units of the track's clock.
    pub(super) timestamp: u64,
    pub(super) payload: Bytes,
}

impl Line {
    /// Connects to the first address that answers.
    pub(super) fn dial(target: &Target) -> anyhow::Result<Self> {
        let mut failures = Vec::new();
        for address in &target.addresses {
            match Self::dial_one(target, *address)? {
                Ok(line) => return Ok(line),
                Err(reason) => failures.push(format!("{address}: {reason}")),
            }
        }
        anyhow::bail!("{} cannot be reached: {}", target.url.name, failures.join("; "))
    }

    /// An error of this host is one of all addresses.
    fn dial_one(target: &Target, address: SocketAddr) -> anyhow::Result<Result<Self, String>> {
        let mut wires = Wires::new(address)?;
        let trust = target.trust.clone();
        let mut client = match target.url.is_web {
            false => wires.endpoint.client(trust, &Version::ALL)?,
            true => wires.endpoint.web_client(
                trust,
                WebDial {
                    authority: target.url.authority(),
                    path: target.url.target.clone(),
                    versions: Version::ALL.to_vec(),
                },
            )?,
        };
        let local = wires.local;
        let name = &target.url.server_name;
        let key = wires.endpoint.connect(&mut client, address, local, name)?;
        let deadline = Instant::now() + HANDSET_CONNECT_WAIT_MAX;
        loop {
            wires.turn(deadline)?;
            while wires.endpoint.poll_ready().is_some() {}
            let Some(connection) = wires.endpoint.get_mut(key) else {
                return Ok(Err("the connection ended".to_owned()));
            };
            if connection.is_over() || connection.is_closing() {
                return Ok(Err(connection.close_reason()));
            }
            if connection.is_established() && connection.is_web() && !connection.has_session() {
                // The answer to the request for a session. What comes behind it is the session's.
                while !connection.has_session()
                    && let Some(stream) = connection.poll_readable()
                {
                    connection.read(stream, &mut wires.arena);
                }
                while connection.poll_writable().is_some() {}
            }
            if connection.is_established()
                && (!connection.is_web() || connection.has_session())
                && let Some(version) = connection.version()
            {
                let session = Session::new(config(target, version, connection.stream_heads()));
                let mut line = Self {
                    wires,
                    key,
                    session,
                    backlog: Backlog::new(BACKLOG),
                    events: VecDeque::new(),
                    end: None,
                    pinged: Instant::now(),
                };
                line.service();
                return Ok(Ok(line));
            }
            if Instant::now() >= deadline {
                return Ok(Err(format!("no answer in {HANDSET_CONNECT_WAIT_MAX:?}")));
            }
            wires.endpoint.mark_dirty(key);
        }
    }

    /// Ends the wait of a turn from another thread.
    pub(super) fn waker(&self) -> Waker {
        self.wires.waker.clone()
    }

    pub(super) fn version(&self) -> Version {
        self.session.version()
    }

    /// To say something by it. It leaves with the next turn.
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Sends what is due, waits until `deadline` at most, and takes in what came.
    pub(super) fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        self.transmit();
        self.keep();
        self.wires.turn(deadline)?;
        while self.wires.endpoint.poll_ready().is_some() {}
        self.service();
        Ok(())
    }

    /// What happened next.
    pub(super) fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Why the connection is over; `None` while it is not.
    pub(super) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Sends a group of one frame. False: the relay takes too little, and it was dropped.
    pub(super) fn send(&mut self, subscribe: SubscribeId, frame: &Frame) -> bool {
        let Some(connection) = self.wires.endpoint.get_mut(self.key) else {
            return false;
        };
        let header = GroupHeader {
            subscribe,
            sequence: GroupSequence(frame.number),
            frame_start: 0,
        };
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + frame.payload.len());
        let stream = self.session.open_uni();
        self.session.group_header(&header, &mut bytes);
        let header = FrameHeader {
            timestamp_delta: i64::try_from(frame.timestamp).unwrap_or(0),
            size: frame.payload.len() as u64,
        };
        let is_written = header.encode(self.session.version().frame_form(), &mut bytes).is_ok();
        bytes.extend_from_slice(&frame.payload);
        let is_sent = is_written && self.backlog.write(connection, stream, bytes.freeze(), true).is_ok();
        if !is_sent {
            self.backlog.forget(stream);
            connection.reset(stream, stream_error::CANCEL);
        }
        self.wires.endpoint.mark_dirty(self.key);
        is_sent
    }

    /// Lets what was said leave, for a moment, then hangs up.
    pub(super) fn hang_up(mut self, farewell: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + farewell;
        while self.end.is_none() && Instant::now() < deadline {
            self.turn(deadline)?;
        }
        if let Some(connection) = self.wires.endpoint.get_mut(self.key) {
            connection.close(session_error::NO_ERROR, "done");
        }
        self.wires.endpoint.mark_dirty(self.key);
        self.wires.turn(Instant::now())?;
        self.wires.turn(Instant::now())
    }

    /// Has the relay answer now and then, so that nobody finds the connection idle.
    fn keep(&mut self) {
        if self.pinged.elapsed() >= HANDSET_PING_INTERVAL
            && let Some(connection) = self.wires.endpoint.get_mut(self.key)
        {
            self.pinged = Instant::now();
            connection.ping();
            self.wires.endpoint.mark_dirty(self.key);
        }
    }

    /// Takes everything that the connection has.
    fn service(&mut self) {
        let Some(connection) = self.wires.endpoint.get_mut(self.key) else {
            self.end.get_or_insert_with(|| "the connection ended".to_owned());
            return;
        };
        if connection.is_over() {
            let reason = connection.close_reason();
            self.end.get_or_insert(reason);
        }
        driver::read(connection, &mut self.session, &mut self.wires.arena, 0, usize::MAX);
        while self.backlog.poll_writable(&mut self.session, connection).is_some() {}
        if self.backlog.retry(connection) {
            self.wires.endpoint.mark_dirty(self.key);
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
        self.transmit();
    }

    /// Sends what the session has queued.
    fn transmit(&mut self) {
        let Some(connection) = self.wires.endpoint.get_mut(self.key) else {
            return;
        };
        loop {
            match self.backlog.transmit(&mut self.session, connection) {
                Ok(_) => break,
                Err(full) => {
                    self.backlog.forget(full.stream);
                    connection.reset(full.stream, stream_error::CANCEL);
                }
            }
        }
        self.wires.endpoint.mark_dirty(self.key);
    }
}

impl Wires {
    fn new(remote: SocketAddr) -> anyhow::Result<Self> {
        let any: IpAddr = match remote.is_ipv4() {
            true => Ipv4Addr::UNSPECIFIED.into(),
            false => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = bind_client((any, 0).into(), &SocketOptions::default())?;
        let local = socket.local_addr()?;
        let (waker, wake) = wake::channel()?;
        let ring = UdpRing::new(socket, wake, &RingConfig::default())?;
        let options = EndpointOptions {
            shard: 0,
            shards: 1,
            connections_max: 1,
            retry_above: 1,
            // It accepts none.
            attempts_per_second: 1,
            connections_per_address: 1,
            answers_per_second: 1,
            transport: TransportOptions::default(),
            versions: Version::ALL.to_vec(),
        };
        let secrets = Secrets::generate().ok().context("the system gave no randomness")?;
        Ok(Self {
            ring,
            endpoint: Endpoint::new(options, &secrets, None)?,
            local,
            arena: ReadArena::default(),
            waker,
            now: Instant::now(),
        })
    }

    fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        self.now = Instant::now();
        self.endpoint.flush(&mut self.ring, self.now);
        let due = self.endpoint.next_deadline().map_or(deadline, |due| due.min(deadline));
        let timeout = due.saturating_duration_since(Instant::now());
        let has_work = self.endpoint.has_ready() || self.endpoint.has_dirty();
        self.ring.turn(match timeout.is_zero() || has_work {
            true => Wait::None,
            false => Wait::Until {
                timeout,
                batch_window: Duration::ZERO,
            },
        })?;
        self.now = Instant::now();
        while let Some(mut received) = self.ring.poll_receive() {
            let source = received.source;
            for datagram in received.datagrams() {
                self.endpoint.handle_datagram(datagram, source, self.local, self.now);
            }
        }
        self.endpoint.handle_timeouts(self.now);
        Ok(())
    }
}

fn config(target: &Target, version: Version, heads: StreamHeads) -> SessionConfig {
    SessionConfig {
        side: Side::Client,
        version,
        setup: Setup {
            probe: ProbeLevel::None,
            // Draft "Path Parameter": not where the handshake carries a path.
            path: (!target.url.is_web).then(|| target.url.target.clone()),
            role: Role::Both,
            cost: None,
            origin: HopId::UNKNOWN,
        },
        hop: HopId::UNKNOWN,
        limits: SessionLimits::default(),
        heads,
    }
}

const BACKLOG: BacklogLimits = BacklogLimits {
    bytes_max: HANDSET_BACKLOG_BYTES_MAX,
    refusals_max: 8,
};
/// A stream type, GROUP and the header of a frame.
const HEAD_BYTES: usize = 64;
