//! Sockets of a shard: one for the signalling of each group of telephones, and those of RTP, on one ring.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use moqswitch_relay::net::socket::{SocketOptions, bind_client};
use moqswitch_relay::net::{Received, RingConfig, SocketId, UdpRing, Wait, wake};
use moqswitch_sip::message::{Framed, Framer};
use rustc_hash::FxHashMap;

use crate::engine::{Clock, GRID, Readings};
use crate::load::Transport;

/// What sockets are opened for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// The switch.
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) groups: usize,
    pub(super) rtp: usize,
}

pub(super) struct Wire {
    ring: UdpRing,
    places: FxHashMap<SocketId, Place>,
    signalling: Vec<Signalling>,
    rtp: Vec<(SocketId, SocketAddr)>,
    address: SocketAddr,
    readings: Readings,
    streams_due: Instant,
    /// Of what is looked at; after a turn, the end of its wait.
    pub(super) now: Instant,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Signalling of a group.
    Signalling(usize),
    Rtp(usize),
}

/// A datagram that came.
pub(super) struct Arrived {
    pub(super) place: Place,
    /// When the kernel took it in.
    pub(super) at: Instant,
    pub(super) received: Received,
}

/// What came on the stream of a group.
pub(super) enum Streamed {
    Message(Vec<u8>),
    /// The last that comes.
    Closed(String),
}

enum Signalling {
    Datagrams(SocketId, SocketAddr),
    Stream(Box<Stream>),
}

struct Stream {
    socket: TcpStream,
    local: SocketAddr,
    framer: Framer,
    /// What the socket did not take yet.
    waiting: Vec<u8>,
    is_closed: bool,
}

impl Wire {
    pub(super) fn open(needs: Needs, clock: Clock) -> anyhow::Result<Self> {
        let ip = own_address(needs.address)?;
        let options = SocketOptions {
            receive_buffer_bytes: SOCKET_BUFFER_BYTES,
            joins_received: false,
            ..SocketOptions::default()
        };
        let bind = || bind_client(SocketAddr::new(ip, 0), &options);
        // Nobody else wakes it.
        let (_, wake) = wake::channel()?;
        let config = RingConfig {
            receive_buffers: 1,
            send_buffers: LONG_MESSAGES,
            sockets_max: u32::try_from(needs.groups + needs.rtp)?,
            socket_receive_buffers: RECEIVE_BUFFERS,
            socket_payload_bytes_max: MESSAGE_BYTES_MAX,
            socket_send_buffers: SEND_BUFFERS,
            notes_arrivals: true,
            ..RingConfig::default()
        };
        let mut wire = Self {
            ring: UdpRing::new(bind()?, wake, &config)?,
            places: FxHashMap::default(),
            signalling: Vec::new(),
            rtp: Vec::new(),
            address: needs.address,
            readings: Readings::new(clock),
            streams_due: Instant::now(),
            now: Instant::now(),
        };
        for group in 0..needs.groups {
            let signalling = match needs.transport {
                Transport::Udp => {
                    let (socket, local) = wire.add(bind()?, Place::Signalling(group))?;
                    Signalling::Datagrams(socket, local)
                }
                Transport::Tcp => Signalling::Stream(Box::new(Stream::open(needs.address)?)),
            };
            wire.signalling.push(signalling);
        }
        for index in 0..needs.rtp {
            let added = wire.add(bind()?, Place::Rtp(index))?;
            wire.rtp.push(added);
        }
        Ok(wire)
    }

    fn add(&mut self, socket: UdpSocket, place: Place) -> anyhow::Result<(SocketId, SocketAddr)> {
        let local = socket.local_addr()?;
        let id = self.ring.add_socket(socket).context("no socket for telephones")?;
        self.places.insert(id, place);
        Ok((id, local))
    }

    /// Where a group is reached.
    pub(super) fn local(&self, group: usize) -> SocketAddr {
        match &self.signalling[group] {
            Signalling::Datagrams(_, local) => *local,
            Signalling::Stream(stream) => stream.local,
        }
    }

    pub(super) fn rtp_count(&self) -> usize {
        self.rtp.len()
    }

    pub(super) fn rtp_local(&self, index: usize) -> SocketAddr {
        self.rtp[index].1
    }

    /// Sends what is queued, waits at most until `deadline`, and takes in what came.
    pub(super) fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let has_streams = self.signalling.iter().any(|one| matches!(one, Signalling::Stream(_)));
        let due = if has_streams {
            deadline.min(self.streams_due)
        } else {
            deadline
        };
        let timeout = due.saturating_duration_since(Instant::now());
        self.ring.turn(if timeout.is_zero() {
            Wait::None
        } else {
            Wait::Until {
                timeout,
                batch_window: GRID,
            }
        })?;
        self.now = self.readings.begin();
        // Nobody knows the ring's own socket.
        while self.ring.poll_receive().is_some() {}
        Ok(())
    }

    pub(super) fn poll(&mut self) -> Option<Arrived> {
        loop {
            let (socket, received) = self.ring.poll_socket_receive()?;
            if let Some(place) = self.places.get(&socket).copied() {
                let at = self.readings.at(received.arrived);
                return Some(Arrived { place, at, received });
            }
        }
    }

    /// What came on streams, now and then.
    pub(super) fn read_streams(&mut self) -> Vec<(usize, Streamed)> {
        let mut came = Vec::new();
        if self.now < self.streams_due {
            return came;
        }
        self.streams_due = self.now + STREAMS_INTERVAL;
        for (group, signalling) in self.signalling.iter_mut().enumerate() {
            let Signalling::Stream(stream) = signalling else {
                continue;
            };
            if !stream.is_closed
                && let Err(error) = stream.turn(|message| came.push((group, Streamed::Message(message))))
            {
                stream.is_closed = true;
                came.push((group, Streamed::Closed(error.to_string())));
            }
        }
        came
    }

    /// Sends a message of a group's.
    pub(super) fn send(&mut self, group: usize, peer: SocketAddr, bytes: &[u8]) {
        match &mut self.signalling[group] {
            Signalling::Datagrams(socket, _) => self.ring.send_on(*socket, bytes, peer, None),
            Signalling::Stream(stream) => stream.write(bytes),
        }
    }

    pub(super) fn send_rtp(&mut self, index: usize, to: SocketAddr, packet: &[u8]) {
        self.ring.send_on(self.rtp[index].0, packet, to, None);
    }

    /// Datagrams that were too long, or refused by the peer's host.
    pub(super) fn has_been_refused(&self) -> bool {
        self.ring.socket_statistics().refusals > 0
    }

    pub(super) fn switch(&self) -> SocketAddr {
        self.address
    }
}

impl Stream {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, CONNECT_MAX)
            .with_context(|| format!("no switch answers at {address} (TCP)"))?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            framer: Framer::default(),
            waiting: Vec::new(),
            is_closed: false,
        })
    }

    /// Writes what waits, and reads what is there.
    fn turn(&mut self, mut take: impl FnMut(Vec<u8>)) -> io::Result<()> {
        self.flush()?;
        let mut buffer = [0; READ_BYTES];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the switch closed a connection")),
                Ok(length) => self.framer.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            loop {
                match self.framer.poll() {
                    Ok(Some(Framed::Message(message))) => take(message),
                    // It keeps the connection open.
                    Ok(Some(Framed::Ping)) => {}
                    Ok(None) => break,
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        }
    }

    /// What does not fit is lost, as a peer that does not read has it.
    fn write(&mut self, bytes: &[u8]) {
        if self.waiting.len() + bytes.len() <= WAITING_BYTES_MAX {
            self.waiting.extend_from_slice(bytes);
        }
        // What is wrong is seen with the next turn.
        let _ = self.flush();
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// By which address of this host the switch is reached.
fn own_address(switch: SocketAddr) -> anyhow::Result<IpAddr> {
    let any: SocketAddr = if switch.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    let socket = UdpSocket::bind(any)?;
    socket
        .connect(switch)
        .with_context(|| format!("{switch} cannot be reached"))?;
    Ok(socket.local_addr()?.ip())
}

/// What comes in between two turns: 50 packets a second of each of 8000 legs, for 10 ms.
const RECEIVE_BUFFERS: u16 = 4096;
const SEND_BUFFERS: u16 = 2048;
/// Messages of more than a datagram of Ethernet that wait to be sent.
const LONG_MESSAGES: u16 = 16;
/// A longer message is dropped, and the switch sends it again in vain.
const MESSAGE_BYTES_MAX: u32 = 4000;
/// What may wait for a shard that is late, for each socket, as far as the host allows.
const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often streams are read.
const STREAMS_INTERVAL: Duration = Duration::from_micros(500);
const READ_BYTES: usize = 16 * 1024;
const WAITING_BYTES_MAX: usize = 1024 * 1024;
