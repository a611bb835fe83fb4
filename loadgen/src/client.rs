//! The client side of the relay's own engine: many sessions on one thread, one ring.
//!
//! [`Client`] moves packets and sessions; what the sessions are for is decided by the
//! caller, who polls their events.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use moqswitch::net::socket::{SocketOptions, bind_client};
use moqswitch::net::wake;
use moqswitch::net::{RingConfig, UdpRing, Wait};
use moqswitch::quic::{
    Connection, ConnectionKey, Endpoint, EndpointOptions, Read, ReadArena, Secrets, TransportOptions, Trust, Written,
};
use moqswitch::session::{Event, Session, SessionConfig, SessionLimits, Side, Transmit};
use moqswitch::wire::{HopId, ProbeLevel, Role, Setup, StreamId, Version};

/// A session and what waits to be written for it.
pub(crate) struct Participant {
    pub(crate) key: ConnectionKey,
    pub(crate) session: Option<Session>,
    backlog: Vec<(StreamId, Bytes, bool)>,
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) draft: Version,
}

pub(crate) struct Client {
    ring: UdpRing,
    endpoint: Endpoint,
    local: SocketAddr,
    arena: ReadArena,
    target: Target,
    pub(crate) participants: Vec<Participant>,
    by_key: HashMap<ConnectionKey, usize>,
    pub(crate) started: Instant,
    pub(crate) now: Instant,
}

impl Client {
    pub(crate) fn new(target: Target, connections: usize) -> anyhow::Result<Self> {
        let unspecified: SocketAddr = if target.address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        }
        .parse()?;
        let socket = bind_client(unspecified, &SocketOptions::default())?;
        let local = socket.local_addr()?;
        // Nobody else wakes this thread.
        let (_, wake) = wake::channel()?;
        let ring = UdpRing::new(socket, wake, &RingConfig::default())?;
        let options = EndpointOptions {
            shard: 0,
            shards: 1,
            connections_max: connections,
            retry_above: connections,
            transport: TransportOptions::default(),
            versions: vec![target.draft],
        };
        let secrets = Secrets::generate().map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
        let now = Instant::now();
        Ok(Self {
            ring,
            endpoint: Endpoint::new(options, &secrets, None)?,
            local,
            arena: ReadArena::default(),
            target,
            participants: Vec::new(),
            by_key: HashMap::new(),
            started: now,
            now,
        })
    }

    /// Opens one more connection.
    pub(crate) fn connect(&mut self) -> anyhow::Result<usize> {
        let mut client = self.endpoint.client(Trust::Anyone, &[self.target.draft])?;
        let key = self
            .endpoint
            .connect(&mut client, self.target.address, self.local, &self.target.name)?;
        let index = self.participants.len();
        self.by_key.insert(key, index);
        self.participants.push(Participant {
            key,
            session: None,
            backlog: Vec::new(),
        });
        Ok(index)
    }

    /// Receives, waits at most until `deadline`, and calls `on_event` for all that sessions
    /// say.
    pub(crate) fn turn(
        &mut self,
        deadline: Instant,
        mut on_event: impl FnMut(&mut Self, usize, Event) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.flush();
        let due = self
            .endpoint
            .next_deadline()
            .map_or(deadline, |timer| timer.min(deadline));
        let timeout = due.saturating_duration_since(Instant::now());
        let wait = if timeout.is_zero() || self.endpoint.has_ready() {
            Wait::None
        } else {
            Wait::Until {
                timeout,
                batch_window: Duration::ZERO,
            }
        };
        self.ring.turn(wait)?;
        self.now = Instant::now();
        while let Some(mut received) = self.ring.poll_receive() {
            let source = received.source;
            for datagram in received.datagrams() {
                self.endpoint.handle_datagram(datagram, source, self.local);
            }
        }
        self.endpoint.handle_timeouts(self.now);
        while let Some(key) = self.endpoint.poll_ready() {
            let Some(index) = self.by_key.get(&key).copied() else {
                continue;
            };
            self.read(index)?;
            while let Some(event) = self.participants[index].session.as_mut().and_then(Session::poll_event) {
                on_event(self, index, event)?;
            }
            self.transmit(index);
        }
        Ok(())
    }

    /// Writes what is due into packets and sends them with the next turn.
    pub(crate) fn flush(&mut self) {
        self.endpoint.flush(&mut self.ring, self.now);
    }

    fn read(&mut self, index: usize) -> anyhow::Result<()> {
        let participant = &mut self.participants[index];
        let Some(connection) = self.endpoint.get_mut(participant.key) else {
            return Ok(());
        };
        if connection.is_closed() {
            anyhow::bail!("connection {index} ended: {}", connection.close_reason());
        }
        if !connection.is_established() {
            return Ok(());
        }
        let session = match &mut participant.session {
            Some(session) => session,
            none => none.insert(Session::new(config(&self.target, connection)?)),
        };
        while let Some(stream) = connection.poll_readable() {
            loop {
                match connection.read(stream, &mut self.arena) {
                    Read::Data { bytes, fin } => {
                        session.handle_stream(stream, bytes, fin, 0);
                        if fin {
                            break;
                        }
                    }
                    Read::Reset(code) => {
                        session.handle_reset(stream, code);
                        break;
                    }
                    Read::Nothing => break,
                }
            }
        }
        while let Some(datagram) = connection.poll_datagram() {
            session.handle_datagram(datagram);
        }
        while let Some((stream, stopped)) = connection.poll_writable() {
            if let Some(code) = stopped {
                session.handle_stop_sending(stream, code);
            }
        }
        for (stream, bytes, fin) in std::mem::take(&mut participant.backlog) {
            write(connection, &mut participant.backlog, stream, bytes, fin);
        }
        Ok(())
    }

    /// Sends what a session has queued.
    pub(crate) fn transmit(&mut self, index: usize) {
        let participant = &mut self.participants[index];
        let Some(connection) = self.endpoint.get_mut(participant.key) else {
            return;
        };
        while let Some(transmit) = participant.session.as_mut().and_then(Session::poll_transmit) {
            match transmit {
                Transmit::Write { stream, data, fin } => {
                    write(connection, &mut participant.backlog, stream, data, fin);
                }
                Transmit::Reset { stream, code } => connection.reset(stream, code),
                Transmit::StopSending { stream, code } => connection.stop_sending(stream, code),
                Transmit::Close { code, reason } => connection.close(code, &reason),
            }
        }
        self.endpoint.mark_dirty(participant.key);
    }

    /// Writes media to a stream; what congestion control does not take waits.
    pub(crate) fn write(&mut self, index: usize, stream: StreamId, bytes: Bytes, fin: bool) {
        let participant = &mut self.participants[index];
        let Some(connection) = self.endpoint.get_mut(participant.key) else {
            return;
        };
        write(connection, &mut participant.backlog, stream, bytes, fin);
        self.endpoint.mark_dirty(participant.key);
    }

    /// Ends every connection and sends the news.
    pub(crate) fn close(&mut self) -> anyhow::Result<()> {
        for index in 0..self.participants.len() {
            let key = self.participants[index].key;
            if let Some(connection) = self.endpoint.get_mut(key) {
                connection.close(moqswitch::wire::session_error::NO_ERROR, "done");
            }
            self.endpoint.mark_dirty(key);
        }
        self.flush();
        self.ring.turn(Wait::None).context("closing")?;
        Ok(())
    }
}

/// Order within a stream is kept: while something of it waits, the rest waits behind.
fn write(
    connection: &mut Connection,
    backlog: &mut Vec<(StreamId, Bytes, bool)>,
    stream: StreamId,
    mut bytes: Bytes,
    fin: bool,
) {
    if backlog.iter().any(|(waiting, _, _)| *waiting == stream) {
        return backlog.push((stream, bytes, fin));
    }
    match connection.write(stream, bytes.clone(), fin) {
        Written::All | Written::Stopped(_) => {}
        Written::Partial(taken) => {
            drop(bytes.split_to(taken));
            backlog.push((stream, bytes, fin));
        }
        Written::Blocked | Written::NoStreamCredit => backlog.push((stream, bytes, fin)),
    }
}

fn config(target: &Target, connection: &Connection) -> anyhow::Result<SessionConfig> {
    let version = connection.version().context("the relay agreed on no moq-lite draft")?;
    Ok(SessionConfig {
        side: Side::Client,
        version,
        setup: Setup {
            probe: ProbeLevel::None,
            path: Some(target.path.clone()),
            role: Role::Both,
            cost: None,
            origin: HopId::UNKNOWN,
        },
        hop: HopId::UNKNOWN,
        limits: SessionLimits::default(),
    })
}
