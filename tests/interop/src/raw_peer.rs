//! A QUIC client driven by hand, for what a well-behaved peer never does: wrong ALPN, random
//! streams, subscribing without ever reading.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use quiche::h3;
use tokio::net::UdpSocket;

use crate::draft::Draft;
use crate::forger::Forger;
use crate::payload::Random;

/// One connection and its socket. Nothing moves unless it is driven.
pub struct RawPeer {
    socket: UdpSocket,
    connection: quiche::Connection,
    local: SocketAddr,
    /// The secrets of its keys, as lines of a key log.
    secrets: mpsc::Receiver<Vec<u8>>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    Finished,
    Reset(u64),
    Stopped(u64),
}

impl RawPeer {
    /// A connection that has sent nothing yet.
    pub async fn dial(relay: SocketAddr, alpn: &[u8], random: &mut Random) -> Result<RawPeer> {
        Self::dial_as(relay, alpn, None, LOCALHOST, random).await
    }

    /// The same, for a server of a name.
    pub async fn dial_name(relay: SocketAddr, alpn: &[u8], name: &str, random: &mut Random) -> Result<RawPeer> {
        Self::dial_as(relay, alpn, Some(name), LOCALHOST, random).await
    }

    async fn dial_as(
        relay: SocketAddr,
        alpn: &[u8],
        name: Option<&str>,
        from: IpAddr,
        random: &mut Random,
    ) -> Result<RawPeer> {
        let socket = UdpSocket::bind((from, 0)).await?;
        let local = socket.local_addr()?;
        socket.connect(relay).await?;
        let mut config = config(alpn)?;
        let id = random.bytes(16);
        let id = quiche::ConnectionId::from_ref(&id);
        let mut connection = quiche::connect(name, &id, local, relay, &mut config)?;
        let (writer, secrets) = mpsc::sync_channel(SECRETS_MAX);
        connection.set_keylog(Box::new(KeyLog(writer)));
        Ok(RawPeer {
            socket,
            connection,
            local,
            secrets,
        })
    }

    /// A handshaken connection speaking `draft`, its SETUP sent.
    pub async fn connect(relay: SocketAddr, draft: Draft, random: &mut Random) -> Result<RawPeer> {
        Self::connect_from(LOCALHOST, relay, draft, random).await
    }

    /// The same, from another address of this host.
    pub async fn connect_from(from: IpAddr, relay: SocketAddr, draft: Draft, random: &mut Random) -> Result<RawPeer> {
        let mut peer = Self::dial_as(relay, draft.alpn().as_bytes(), None, from, random).await?;
        peer.handshake().await?;
        if let Some(setup) = draft.setup_stream() {
            peer.send(FIRST_UNI, &setup, true).await?;
        }
        Ok(peer)
    }

    /// Drives until established; an error if the relay refuses.
    pub async fn handshake(&mut self) -> Result<()> {
        let established = |connection: &mut quiche::Connection| connection.is_established().then_some(());
        self.drive_until(HANDSHAKE_LIMIT, established)
            .await?
            .context("no handshake in time")
    }

    /// Has a connection that speaks HTTP/3 open a session in which the draft is agreed on in band.
    pub async fn open_web_session(&mut self, path: &str) -> Result<()> {
        self.send(FIRST_UNI, HTTP3_SETTINGS, false).await?;
        self.send(FIRST_BIDI, &connect_request(path), false).await?;
        let head = self.receive(FIRST_BIDI, 2).await?;
        let answer = self.receive(FIRST_BIDI, usize::from(head[1])).await?;
        if head[0] != HTTP3_HEADERS || answer.get(2) != Some(&STATUS_200) {
            bail!("CONNECT was answered {head:02x?} {answer:02x?}");
        }
        Ok(())
    }

    /// The relay's certificate, once the handshake is done.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.connection.peer_cert()
    }

    /// The first packet a client would send.
    pub fn first_datagram(&mut self) -> Result<Vec<u8>> {
        let mut packet = vec![0; DATAGRAM_BYTES_MAX];
        let (length, _) = self.connection.send(&mut packet)?;
        packet.truncate(length);
        Ok(packet)
    }

    /// Writes a whole stream, waiting for credit as needed.
    pub async fn send(&mut self, stream: u64, mut bytes: &[u8], finish: bool) -> Result<()> {
        let deadline = tokio::time::Instant::now() + STREAM_LIMIT;
        loop {
            let wrote = match self.connection.stream_send(stream, bytes, finish) {
                Ok(wrote) => wrote,
                Err(quiche::Error::Done) => 0,
                Err(error) => return Err(error.into()),
            };
            bytes = &bytes[wrote..];
            if bytes.is_empty() {
                return self.flush().await;
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("stream {stream}: {} bytes not taken in time", bytes.len());
            }
            self.step(deadline).await?;
        }
    }

    /// Drives until so many bytes of `stream` have come.
    pub async fn receive(&mut self, stream: u64, length: usize) -> Result<Vec<u8>> {
        let mut received = Vec::new();
        let take = |connection: &mut quiche::Connection| {
            let mut rest = vec![0; length - received.len()];
            if let Ok((taken, _)) = connection.stream_recv(stream, &mut rest) {
                received.extend_from_slice(&rest[..taken]);
            }
            (received.len() == length).then_some(())
        };
        let whole = self.drive_until(STREAM_LIMIT, take).await?;
        whole.with_context(|| format!("stream {stream}: {} of {length} bytes came", received.len()))?;
        Ok(received)
    }

    /// Drives until the relay has closed the connection: (is it the application's, code).
    pub async fn until_closed(&mut self, limit: Duration) -> Result<(bool, u64)> {
        let closed = |connection: &mut quiche::Connection| {
            let error = connection.peer_error()?;
            Some((error.is_app, error.error_code))
        };
        self.drive_until(limit, closed)
            .await?
            .with_context(|| format!("not closed after {limit:?}"))
    }

    /// Drives until `stream` ends in any way; its bytes are thrown away.
    pub async fn until_stream_end(&mut self, stream: u64, limit: Duration) -> Result<StreamEnd> {
        let mut scratch = vec![0; DATAGRAM_BYTES_MAX];
        let ended = |connection: &mut quiche::Connection| {
            if let Err(quiche::Error::StreamStopped(code)) = connection.stream_capacity(stream) {
                return Some(StreamEnd::Stopped(code));
            }
            match connection.stream_recv(stream, &mut scratch) {
                Ok((_, true)) => Some(StreamEnd::Finished),
                Err(quiche::Error::StreamReset(code)) => Some(StreamEnd::Reset(code)),
                _ => None,
            }
        };
        self.drive_until(limit, ended)
            .await?
            .with_context(|| format!("stream {stream} still open after {limit:?}"))
    }

    /// Answers packets for `limit` and reads no stream: flow-control windows fill and stay full.
    pub async fn drive_without_reading(&mut self, limit: Duration) -> Result<()> {
        self.drive_until(limit, |_| None::<()>).await?;
        Ok(())
    }

    /// Hands a few bytes to a stream, moving packets for a moment where the congestion window asks for it. False when they
    /// were not taken.
    pub async fn try_send(&mut self, stream: u64, bytes: &[u8]) -> bool {
        self.try_end(stream, bytes, false).await
    }

    /// The same, and the stream may end with them.
    pub async fn try_end(&mut self, stream: u64, bytes: &[u8], fin: bool) -> bool {
        for _ in 0..TRIES {
            if self.peer_close().is_some() {
                return false;
            }
            match self.connection.stream_send(stream, bytes, fin) {
                Ok(sent) if sent == bytes.len() => return true,
                Ok(_) => return false,
                Err(quiche::Error::Done) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    self.drive_some().await;
                }
                // No stream or no connection is left.
                Err(_) => return false,
            }
        }
        false
    }

    /// Gives a stream up.
    pub fn reset(&mut self, stream: u64, code: u64) {
        // One that is over already is as good.
        let _ = self.connection.stream_shutdown(stream, quiche::Shutdown::Write, code);
    }

    /// Sends what there is to send and takes the packets that have come, without waiting for any.
    pub async fn drive_some(&mut self) {
        let mut packet = vec![0; DATAGRAM_BYTES_MAX];
        for _ in 0..PACKETS_AT_ONCE {
            // An end of the connection shows in `peer_close`.
            let _ = self.flush().await;
            let Ok(length) = self.socket.try_recv(&mut packet) else {
                // Nothing waits as far as is known: the system is asked.
                if tokio::time::timeout(A_MOMENT, self.socket.readable()).await.is_err() {
                    break;
                }
                continue;
            };
            let Ok(from) = self.socket.peer_addr() else { break };
            let info = quiche::RecvInfo { from, to: self.local };
            let _ = self.connection.recv(&mut packet[..length], info);
        }
        self.connection.on_timeout();
        let _ = self.flush().await;
    }

    /// Throws away what has come on all streams, and says how many bytes that was.
    pub fn read_everything(&mut self, scratch: &mut [u8]) -> u64 {
        let mut bytes = 0;
        for stream in self.connection.readable() {
            while let Ok((length, is_end)) = self.connection.stream_recv(stream, scratch) {
                bytes += length as u64;
                if is_end {
                    break;
                }
            }
        }
        bytes
    }

    /// The same, and what it was of groups: the first bytes of each stream, in the order in which they came.
    pub fn read_heads(&mut self, scratch: &mut [u8]) -> Vec<(u64, Vec<u8>)> {
        let mut heads = Vec::new();
        for stream in self.connection.readable() {
            let mut is_first = true;
            while let Ok((length, is_end)) = self.connection.stream_recv(stream, scratch) {
                if std::mem::take(&mut is_first) {
                    heads.push((stream, scratch[..length.min(HEAD_BYTES)].to_vec()));
                }
                if is_end {
                    break;
                }
            }
        }
        heads
    }

    /// What the relay calls this connection.
    pub fn relay_id(&self) -> Vec<u8> {
        self.connection.destination_id().to_vec()
    }

    /// Goes on by hand, with the keys of this connection.
    pub fn into_forger(self) -> Result<Forger> {
        let own_id_bytes = self.connection.source_id().len();
        let lines: Vec<Vec<u8>> = self.secrets.try_iter().collect();
        let id = self.relay_id();
        Forger::new(self.socket, id, own_id_bytes, &lines)
    }

    /// The code the relay closed with: (is it the application's, code).
    pub fn peer_close(&self) -> Option<(bool, u64)> {
        let error = self.connection.peer_error()?;
        Some((error.is_app, error.error_code))
    }

    /// Moves packets until `done` gives something or `limit` is over. An error once closed.
    pub async fn drive_until<Answer>(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut quiche::Connection) -> Option<Answer>,
    ) -> Result<Option<Answer>> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(answer) = done(&mut self.connection) {
                self.flush().await?;
                return Ok(Some(answer));
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
            self.step(deadline).await?;
        }
    }

    /// Sends what there is to send, then takes one packet or one timer, or stops at `deadline`.
    async fn step(&mut self, deadline: tokio::time::Instant) -> Result<()> {
        self.flush().await?;
        if self.connection.is_closed() || self.connection.is_draining() {
            bail!("closed: {:?}", self.connection.peer_error());
        }
        let timer = self.connection.timeout();
        let timer = timer.map(|timer| tokio::time::Instant::now() + timer);
        let mut packet = vec![0; DATAGRAM_BYTES_MAX];
        tokio::select! {
            received = self.socket.recv(&mut packet) => {
                let length = received?;
                let info = quiche::RecvInfo { from: self.socket.peer_addr()?, to: self.local };
                match self.connection.recv(&mut packet[..length], info) {
                    Ok(_) | Err(quiche::Error::Done) => Ok(()),
                    Err(error) => Err(anyhow!(error)),
                }
            }
            () = tokio::time::sleep_until(timer.unwrap_or(deadline).min(deadline)) => {
                // Before the connection's own timer is due, this does nothing.
                self.connection.on_timeout();
                Ok(())
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let mut packet = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match self.connection.send(&mut packet) {
                Ok((length, _)) => self.socket.send(&packet[..length]).await?,
                Err(quiche::Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }
}

/// Where a connection says the secrets of its keys, a line at a time.
struct KeyLog(mpsc::SyncSender<Vec<u8>>);

impl io::Write for KeyLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Of later keys nobody asks.
        let _ = self.0.try_send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The HEADERS frame of a CONNECT request for a session.
pub fn connect_request(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "webtransport"),
        (":scheme", "https"),
        (":authority", "relay"),
        (":path", path),
    ]
    .map(|(name, value)| h3::Header::new(name.as_bytes(), value.as_bytes()));
    let mut block = [0; 256];
    let used = h3::qpack::Encoder::new()
        .encode(&fields, &mut block)
        .expect("a field section of 256 bytes");
    let length = u16::try_from(used).expect("no more than 256") | 0x4000;
    [&[HTTP3_HEADERS][..], &length.to_be_bytes(), &block[..used]].concat()
}

fn config(alpn: &[u8]) -> Result<quiche::Config> {
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION)?;
    config.set_application_protos(&[alpn])?;
    config.verify_peer(false);
    config.log_keys();
    config.set_max_idle_timeout(120_000);
    config.set_max_recv_udp_payload_size(DATAGRAM_BYTES_MAX);
    config.set_initial_max_data(WINDOW_BYTES);
    config.set_initial_max_stream_data_bidi_local(WINDOW_BYTES);
    config.set_initial_max_stream_data_bidi_remote(WINDOW_BYTES);
    config.set_initial_max_stream_data_uni(WINDOW_BYTES);
    config.set_initial_max_streams_bidi(STREAMS_MAX);
    config.set_initial_max_streams_uni(STREAMS_MAX);
    Ok(config)
}

/// The first streams (RFC 9000, section 2.1) of the client, and of the relay; each next one is four further.
pub const FIRST_BIDI: u64 = 0;
pub const FIRST_UNI: u64 = 2;
pub const FIRST_BIDI_OF_RELAY: u64 = 1;
pub const FIRST_UNI_OF_RELAY: u64 = 3;
pub const STREAM_STEP: u64 = 4;

/// A control stream with empty SETTINGS.
pub const HTTP3_SETTINGS: &[u8] = &[0, 4, 0];
const HTTP3_HEADERS: u8 = 1;
/// `:status 200` of the static table (RFC 9204, appendix A).
const STATUS_200: u8 = 0xc0 | 25;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Lines of secrets that are kept: those of a handshake.
const SECRETS_MAX: usize = 16;
/// As many bytes of a stream as tell what it is.
const HEAD_BYTES: usize = 32;
const WINDOW_BYTES: u64 = 1024 * 1024;
const STREAMS_MAX: u64 = 256;
const DATAGRAM_BYTES_MAX: usize = 2048;
const PACKETS_AT_ONCE: usize = 256;
const TRIES: usize = 20;
const A_MOMENT: Duration = Duration::from_millis(1);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const STREAM_LIMIT: Duration = Duration::from_secs(10);
