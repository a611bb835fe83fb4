//! Datagrams and connections of SIP, on the calls thread. Nothing that a peer does is waited for: what does not fit is
//! dropped, and sent again by whoever needs it.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_sip::flow::{Flow, Transport};
use moqswitch_sip::message::{Framed, Framer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time;

use super::lag::Lag;
use super::trunks::Secure;
use super::websocket::{SipWebSocket, serve_websocket};
use super::{Duplex, Encrypted, Encrypting, Encryption, Gateway, SipSockets, TrunkEncryption};
use crate::limits::{
    SIP_CONNECT_WAIT, SIP_CONNECTION_IDLE, SIP_CONNECTIONS_MAX, SIP_CONNECTIONS_PER_ADDRESS_MAX,
    SIP_DATAGRAMS_PER_TURN_MAX, SIP_HANDSHAKES_LOGGED_EVERY, SIP_LENGTH_CONNECTION_IDLE, SIP_LENGTH_CONNECTIONS_MAX,
    SIP_OUTBOX_MESSAGES_MAX, SIP_STRANGER_LIFE, SIP_STREAM_MESSAGES_MAX,
};
use crate::socket::Shared;

/// What comes from connections.
pub(super) enum Came {
    Message(Flow, Vec<u8>),
    /// Who is at the other end is who its certificate says: before anything of it.
    Certified(u64, Vec<String>),
    Closed(u64),
    /// Who came, and could not shake hands.
    Declined(u64, SocketAddr, io::Error),
    /// One that was to be opened, and where to; or to a trunk, which ended it before it said anything.
    Refused(u64, SocketAddr),
}

/// What the gateway's task holds.
struct Sockets {
    udp: Option<UdpSocket>,
    tcp: Option<TcpListener>,
    tls: Option<(TcpListener, Box<dyn Encryption>)>,
    connections: HashMap<u64, Connection>,
    /// To peers, so that a connection is used again.
    peers: HashMap<(Transport, SocketAddr), u64>,
    per_address: HashMap<IpAddr, usize>,
    /// Those for what is too long for a datagram.
    for_length: usize,
    opened: u64,
    /// When it was said that somebody could not shake hands, and how many could not since.
    declined: Option<(Instant, u64)>,
    tell: mpsc::Sender<Came>,
}

/// What a connection of ours is opened for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Everything that is said to a trunk by TLS.
    Trunk(Secure),
    /// Everything that is said to a peer.
    Peer,
    /// What is too long for a datagram.
    Length,
}

/// There are as many connections as there may be.
struct NoPlace;

struct Connection {
    peer: (Transport, SocketAddr),
    is_for_length: bool,
    /// What the trunk at the other end has shown itself by.
    trunk: Option<Arc<dyn TrunkEncryption>>,
    outbox: mpsc::Sender<Arc<[u8]>>,
    /// Somebody was let in on it, or it is to somebody of ours.
    is_proven: Rc<Cell<bool>>,
}

/// One connection's end of it.
pub(super) struct Inbox {
    pub(super) messages: mpsc::Receiver<Arc<[u8]>>,
    pub(super) is_proven: Rc<Cell<bool>>,
    /// How long it may be silent.
    pub(super) idle: Duration,
}

/// Serves telephones, for as long as there are calls.
pub(crate) async fn serve(
    shared: Weak<Shared>,
    mut gateway: Gateway,
    listening: SipSockets,
    mut websockets: mpsc::Receiver<SipWebSocket>,
) -> io::Result<()> {
    let (tell, mut came) = mpsc::channel(SIP_STREAM_MESSAGES_MAX);
    let mut sockets = Sockets::new(listening, tell)?;
    let Some(bell) = shared.upgrade().map(|shared| shared.exchange.borrow().outlet.bell()) else {
        return Ok(());
    };
    // What is sent before the socket is known to take it is lost, and there are trunks to register with.
    if let Some(udp) = &sockets.udp {
        udp.writable().await?;
    }
    let streams = gateway.media.news();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut behind_since = None;
    let mut lag = Lag::new(Instant::now());
    let mut seconds = time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let due = gateway.poll_timeout().unwrap_or_else(|| Instant::now() + IDLE);
        let lag_due = lag.due().unwrap_or_else(|| Instant::now() + IDLE);
        let what = tokio::select! {
            what = sockets.wait() => what,
            Some(came) = came.recv() => What::Came(came),
            Some(websocket) = websockets.recv() => What::WebSocket(websocket),
            () = bell.notified() => What::Bell,
            () = streams.notified() => What::Bell,
            () = time::sleep_until(due.into()) => What::Due,
            _ = seconds.tick() => What::Second,
            () = time::sleep_until(lag_due.into()) => What::Lag,
        };
        let Some(shared) = shared.upgrade() else { return Ok(()) };
        match what {
            What::Datagrams => {
                lag.on_work(Instant::now());
                take_datagrams(&shared, &mut gateway, &sockets, &mut buffer, &mut behind_since);
            }
            What::Connection(transport, stream, peer) => sockets.accept(transport, stream, peer),
            What::WebSocket(websocket) => sockets.accept_websocket(websocket),
            What::Came(came) => take_came(&shared, &mut gateway, &mut sockets, came),
            What::Bell => gateway.drive(&mut shared.exchange.borrow_mut()),
            What::Second => {
                gateway.tick(&mut shared.exchange.borrow_mut());
                gateway.drive(&mut shared.exchange.borrow_mut());
            }
            What::Lag => gateway.set_lag(lag.measure(Instant::now())),
            What::Due => gateway.handle_timeout(&mut shared.exchange.borrow_mut()),
        }
        if gateway.trunks.poll_replaced() {
            for connection in sockets.leave_trunks(|peer| gateway.trunks.encryption(peer)) {
                gateway.connection_closed(&mut shared.exchange.borrow_mut(), connection);
            }
        }
        drop(shared);
        while let Some(connection) = gateway.poll_proven() {
            sockets.prove(connection);
        }
        while let Some((flow, bytes)) = gateway.poll_send() {
            let purpose = gateway.purpose(flow);
            if let Err(NoPlace) = sockets.send(flow, purpose, bytes) {
                // What may go as a datagram does so, with the next turn of this loop.
                gateway.connection_missing(flow.peer);
            }
        }
    }
}

enum What {
    Datagrams,
    Connection(Transport, TcpStream, SocketAddr),
    WebSocket(SipWebSocket),
    Came(Came),
    Bell,
    Due,
    Lag,
    Second,
}

fn take_came(shared: &Rc<Shared>, gateway: &mut Gateway, sockets: &mut Sockets, came: Came) {
    let mut exchange = shared.exchange.borrow_mut();
    match came {
        Came::Message(flow, bytes) => gateway.receive(&mut exchange, flow, &bytes),
        Came::Certified(connection, names) => gateway.certify(connection, names),
        Came::Closed(connection) => {
            sockets.forget(connection);
            gateway.connection_closed(&mut exchange, connection);
        }
        Came::Declined(connection, peer, error) => {
            sockets.forget(connection);
            sockets.log_declined(peer, &error);
        }
        Came::Refused(connection, peer) => {
            sockets.forget(connection);
            gateway.connection_closed(&mut exchange, connection);
            gateway.connection_refused(&mut exchange, peer);
        }
    }
}

/// As many as there are, and no more than a turn has. `behind_since`: when the socket was found to have something, and has had
/// ever since.
fn take_datagrams(
    shared: &Rc<Shared>,
    gateway: &mut Gateway,
    sockets: &Sockets,
    buffer: &mut [u8],
    behind_since: &mut Option<Instant>,
) {
    let Some(udp) = &sockets.udp else { return };
    for _ in 0..SIP_DATAGRAMS_PER_TURN_MAX {
        match udp.try_recv_from(buffer) {
            Ok((length, peer)) => {
                let now = Instant::now();
                gateway.set_behind(now.saturating_duration_since(*behind_since.get_or_insert(now)));
                let bytes = buffer.get(..length).unwrap_or_default();
                gateway.receive(&mut shared.exchange.borrow_mut(), Flow::datagrams(peer), bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                *behind_since = None;
                gateway.set_behind(Duration::ZERO);
                return;
            }
            // Of something that was sent: its peer is not there.
            Err(_) => {}
        }
    }
}

impl Sockets {
    fn new(listening: SipSockets, tell: mpsc::Sender<Came>) -> io::Result<Self> {
        Ok(Self {
            udp: listening.udp.map(UdpSocket::from_std).transpose()?,
            tcp: listening.tcp.map(TcpListener::from_std).transpose()?,
            tls: match listening.tls {
                Some((listener, encryption)) => Some((TcpListener::from_std(listener)?, encryption)),
                None => None,
            },
            connections: HashMap::new(),
            peers: HashMap::new(),
            per_address: HashMap::new(),
            for_length: 0,
            opened: 0,
            declined: None,
            tell,
        })
    }

    /// Until there is something on a socket of ours.
    async fn wait(&self) -> What {
        let datagrams = async {
            match &self.udp {
                Some(udp) if udp.readable().await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        let plain = accepted(self.tcp.as_ref());
        let encrypted = accepted(self.tls.as_ref().map(|(listener, _)| listener));
        tokio::select! {
            () = datagrams => What::Datagrams,
            (stream, peer) = plain => What::Connection(Transport::Tcp, stream, peer),
            (stream, peer) = encrypted => What::Connection(Transport::Tls, stream, peer),
        }
    }

    fn accept(&mut self, transport: Transport, stream: TcpStream, peer: SocketAddr) {
        let Some((connection, outbox)) = self.begin((transport, peer), &Purpose::Peer) else {
            return;
        };
        let (flow, tell) = (
            Flow {
                transport,
                peer,
                connection,
            },
            self.tell.clone(),
        );
        // Small messages that are waited for.
        let _ = stream.set_nodelay(true);
        let encrypting: Encrypting = match &self.tls {
            Some((_, encryption)) if transport == Transport::Tls => encryption.accept(stream),
            _ => plain(stream),
        };
        tokio::task::spawn_local(async move {
            match time::timeout(SIP_CONNECT_WAIT, encrypting).await {
                Ok(Ok(Encrypted {
                    stream,
                    names,
                    distrusted,
                })) => {
                    if certify(&tell, connection, names).await {
                        // First whether it is believed, then what it says.
                        tokio::select! {
                            biased;
                            () = distrusted => {}
                            _ = serve_stream(stream, flow, outbox, &tell) => {}
                        }
                        // Nobody is there when the gateway has ended.
                        let _ = tell.send(Came::Closed(connection)).await;
                    }
                }
                Ok(Err(error)) => drop(tell.send(Came::Declined(connection, peer, error)).await),
                Err(_) => drop(
                    tell.send(Came::Declined(connection, peer, io::ErrorKind::TimedOut.into()))
                        .await,
                ),
            }
        });
    }

    fn accept_websocket(&mut self, websocket: SipWebSocket) {
        let peer = websocket.peer;
        // Without a place it is dropped, and its client sees it end.
        if let Some((connection, outbox)) = self.begin((Transport::Ws, peer), &Purpose::Peer) {
            let flow = Flow {
                transport: Transport::Ws,
                peer,
                connection,
            };
            tokio::task::spawn_local(serve_websocket(websocket, flow, outbox, self.tell.clone()));
        }
    }

    /// A place for a connection. None: there are as many as there may be.
    fn begin(&mut self, peer: (Transport, SocketAddr), purpose: &Purpose) -> Option<(u64, Inbox)> {
        let ip = site_of(peer.1);
        let of_address = self.per_address.get(&ip).copied().unwrap_or(0);
        // Who is refused leaves nothing behind.
        if self.connections.len() >= SIP_CONNECTIONS_MAX || of_address >= SIP_CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        let is_for_length = matches!(purpose, Purpose::Length);
        if is_for_length && self.for_length >= SIP_LENGTH_CONNECTIONS_MAX {
            return None;
        }
        self.for_length += usize::from(is_for_length);
        self.per_address.insert(ip, of_address + 1);
        self.opened += 1;
        let (outbox, messages) = mpsc::channel(SIP_OUTBOX_MESSAGES_MAX);
        let is_proven = Rc::new(Cell::new(false));
        let connection = Connection {
            peer,
            is_for_length,
            trunk: match purpose {
                Purpose::Trunk(secure) => Some(Arc::clone(&secure.encryption)),
                Purpose::Peer | Purpose::Length => None,
            },
            outbox,
            is_proven: Rc::clone(&is_proven),
        };
        self.connections.insert(self.opened, connection);
        self.peers.insert(peer, self.opened);
        let inbox = Inbox {
            messages,
            is_proven,
            idle: SIP_CONNECTION_IDLE,
        };
        Some((self.opened, inbox))
    }

    /// Somebody was let in on it: it may be silent for long.
    fn prove(&self, connection: u64) {
        if let Some(connection) = self.connections.get(&connection) {
            connection.is_proven.set(true);
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        if self.peers.get(&connection.peer) == Some(&number) {
            self.peers.remove(&connection.peer);
        }
        self.for_length -= usize::from(connection.is_for_length);
        let ip = site_of(connection.peer.1);
        if let Some(count) = self.per_address.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&ip);
            }
        }
    }

    /// Those to trunks that are others by now, or none, end when what waits for them is said. What is said later goes by others.
    fn leave_trunks(&mut self, encryption: impl Fn(SocketAddr) -> Option<Secure>) -> Vec<u64> {
        let is_left = |connection: &Connection| {
            let Some(own) = &connection.trunk else { return false };
            let now = encryption(connection.peer.1);
            now.is_none_or(|now| !Arc::ptr_eq(&now.encryption, own))
        };
        let all = self.connections.iter().filter(|(_, connection)| is_left(connection));
        let left: Vec<u64> = all.map(|(number, _)| *number).collect();
        for number in &left {
            self.forget(*number);
        }
        left
    }

    /// Anybody may fail, as often as he likes.
    fn log_declined(&mut self, peer: SocketAddr, error: &io::Error) {
        let now = Instant::now();
        if let Some((since, left_out)) = &mut self.declined
            && now.saturating_duration_since(*since) < SIP_HANDSHAKES_LOGGED_EVERY
        {
            *left_out += 1;
            return;
        }
        let left_out = self.declined.replace((now, 0)).map_or(0, |(_, left_out)| left_out);
        tracing::info!(%peer, %error, left_out, "SIP: a handshake failed");
    }

    /// # Errors
    /// It takes a connection, and there is no place for one.
    fn send(&mut self, flow: Flow, purpose: Purpose, bytes: Arc<[u8]>) -> Result<(), NoPlace> {
        if flow.transport == Transport::Udp {
            if let Some(udp) = &self.udp {
                // What does not go now is sent again by its transaction.
                let _ = udp.try_send_to(&bytes, flow.peer);
            }
            return Ok(());
        }
        let known = Some(flow.connection).filter(|connection| self.connections.contains_key(connection));
        let wanted = match &purpose {
            Purpose::Trunk(secure) => Some(&secure.encryption),
            Purpose::Peer | Purpose::Length => None,
        };
        let is_to_trunk = wanted.is_some();
        // What is for a trunk by TLS goes to who has shown that it is the trunk, as it is now.
        let is_right = |number: &u64| {
            let trunk = self.connections.get(number).map(|connection| connection.trunk.as_ref());
            trunk.is_some_and(|trunk| wanted.is_none_or(|wanted| trunk.is_some_and(|trunk| Arc::ptr_eq(trunk, wanted))))
        };
        let peer = self.peers.get(&(flow.transport, flow.peer)).copied();
        let number = known.or_else(|| peer.filter(is_right));
        // A telephone that came by a connection is reached by that one, or by another that it makes.
        let is_ours = is_to_trunk || flow.transport == Transport::Tcp && flow.connection == 0;
        let number = match number {
            None if is_ours => Some(self.connect(flow, purpose).ok_or(NoPlace)?),
            number => number,
        };
        if let Some(connection) = number.and_then(|number| self.connections.get(&number)) {
            // A peer that does not read loses what it does not read.
            let _ = connection.outbox.try_send(bytes);
        }
        Ok(())
    }

    fn connect(&mut self, flow: Flow, purpose: Purpose) -> Option<u64> {
        let peer = flow.peer;
        let (connection, mut outbox) = self.begin((flow.transport, peer), &purpose)?;
        if matches!(purpose, Purpose::Length) {
            outbox.idle = SIP_LENGTH_CONNECTION_IDLE;
        }
        outbox.is_proven.set(true);
        let (flow, tell) = (Flow { connection, ..flow }, self.tell.clone());
        let is_to_trunk = matches!(purpose, Purpose::Trunk(_));
        tokio::task::spawn_local(async move {
            match time::timeout(SIP_CONNECT_WAIT, open(peer, purpose)).await {
                Ok(Ok(Encrypted { stream, names, .. })) => {
                    if !certify(&tell, connection, names).await {
                        return;
                    }
                    let came = match serve_stream(stream, flow, outbox, &tell).await {
                        // Who does not believe our certificate says so behind the handshake (RFC 8446, section 4.4.2).
                        Ended::Unheard(error) if is_to_trunk => {
                            tracing::info!(%peer, %error, "SIP: no connection");
                            Came::Refused(connection, peer)
                        }
                        Ended::Unheard(_) | Ended::Heard => Came::Closed(connection),
                    };
                    // Nobody is there when the gateway has ended.
                    let _ = tell.send(came).await;
                }
                refused => {
                    if let Ok(Err(error)) = refused {
                        tracing::info!(%peer, %error, "SIP: no connection");
                    }
                    drop(tell.send(Came::Refused(connection, peer)).await);
                }
            }
        });
        Some(connection)
    }
}

/// A connection to who is there.
async fn open(peer: SocketAddr, purpose: Purpose) -> io::Result<Encrypted> {
    let stream = TcpStream::connect(peer).await?;
    // Small messages that are waited for.
    let _ = stream.set_nodelay(true);
    let Purpose::Trunk(secure) = purpose else {
        return plain(stream).await;
    };
    let encrypted = secure.encryption.connect(stream).await?;
    Ok(Encrypted {
        names: secure.name.into_iter().collect(),
        ..encrypted
    })
}

/// One that is not encrypted.
fn plain(stream: TcpStream) -> Encrypting {
    let encrypted = Encrypted {
        stream: Box::new(stream),
        names: Vec::new(),
        distrusted: Box::pin(std::future::pending()),
    };
    Box::pin(std::future::ready(Ok(encrypted)))
}

/// Tells who is there. False: nobody is told anything any more.
async fn certify(tell: &mpsc::Sender<Came>, connection: u64, names: Vec<String>) -> bool {
    names.is_empty() || tell.send(Came::Certified(connection, names)).await.is_ok()
}

/// Who connects. Without a listener nobody does.
async fn accepted(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Without descriptors it fails at once, again and again.
            Err(_) => time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// How a connection ended.
enum Ended {
    /// The other side, before it said anything: why.
    Unheard(io::Error),
    /// In any other way.
    Heard,
}

/// Reads and writes one connection until it ends, or nothing comes for long.
async fn serve_stream(stream: Box<dyn Duplex>, flow: Flow, outbox: Inbox, tell: &mpsc::Sender<Came>) -> Ended {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let Inbox {
        messages: mut outbox,
        is_proven,
        idle,
    } = outbox;
    let (pong, mut pongs) = mpsc::channel::<()>(1);
    let is_heard = Cell::new(false);
    let reading = async {
        let (mut framer, mut buffer) = (Framer::default(), [0; READ_BYTES]);
        loop {
            let length = match time::timeout(idle, reader.read(&mut buffer)).await {
                Ok(Ok(length @ 1..)) => length,
                Ok(Ok(0)) => return Some(io::ErrorKind::UnexpectedEof.into()),
                Ok(Err(error)) => return Some(error),
                Err(_) => return None,
            };
            is_heard.set(true);
            framer.push(buffer.get(..length).unwrap_or_default());
            loop {
                match framer.poll() {
                    Ok(Some(Framed::Message(message))) => {
                        if tell.send(Came::Message(flow, message)).await.is_err() {
                            return None;
                        }
                    }
                    // One answer is enough for what comes at once.
                    Ok(Some(Framed::Ping)) => drop(pong.try_send(())),
                    Ok(None) => break,
                    Err(_) => return None,
                }
            }
        }
    };
    let writing = async {
        loop {
            let bytes: Arc<[u8]> = tokio::select! {
                bytes = outbox.recv() => match bytes {
                    Some(bytes) => bytes,
                    None => return None,
                },
                Some(()) = pongs.recv() => Arc::from(&b"\r\n"[..]),
            };
            match time::timeout(SIP_CONNECT_WAIT, writer.write_all(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Some(error),
                Err(_) => return Some(io::ErrorKind::TimedOut.into()),
            }
        }
    };
    let error = tokio::select! {
        error = reading => error,
        error = writing => error,
        () = stranger(&is_proven) => None,
    };
    match error.filter(|_| !is_heard.get()) {
        Some(error) => Ended::Unheard(error),
        None => Ended::Heard,
    }
}

/// Over when who is there has not been let in for long: places are few.
pub(super) async fn stranger(is_proven: &Cell<bool>) {
    time::sleep(SIP_STRANGER_LIFE).await;
    if is_proven.get() {
        std::future::pending::<()>().await;
    }
}

/// Who counts as one: of IPv6 a network, as anybody has one.
fn site_of(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// More than a datagram can have.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Of one read.
const READ_BYTES: usize = 4096;
const IDLE: Duration = Duration::from_secs(3600);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_for_what_is_long_leave_room_for_all_others() {
        let (tell, _came) = mpsc::channel(1);
        let mut sockets = Sockets::new(SipSockets::default(), tell).unwrap();
        let peer = |port| (Transport::Tcp, SocketAddr::from(([192, 0, 2, 1], port)));
        let begun: Vec<_> = (1..=SIP_LENGTH_CONNECTIONS_MAX)
            .map(|port| {
                sockets
                    .begin(peer(port.try_into().unwrap()), &Purpose::Length)
                    .unwrap()
                    .0
            })
            .collect();
        assert!(sockets.begin(peer(9000), &Purpose::Length).is_none());
        assert!(sockets.begin(peer(9001), &Purpose::Peer).is_some());
        sockets.forget(begun[0]);
        assert!(sockets.begin(peer(9002), &Purpose::Length).is_some());
        assert!(sockets.begin(peer(9003), &Purpose::Length).is_none());
    }
}
