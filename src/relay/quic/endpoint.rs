//! The connections of one shard: found by id, ready for the application, dirty for the wire.
//!
//! Invariants: every live connection is in `issued` under each id it may be addressed by;
//! `is_ready` and `is_dirty` say whether it is in the queue of that name; nothing here
//! blocks, and every map is bounded by `connections_max`.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use moqswitch_proto::wire::{Version, session_error};
use rustc_hash::FxHashMap;
use slab::Slab;

use super::acknowledgement::Acknowledgement;
use super::alpn::alpns;
use super::connection::Connection;
use super::doorkeeper::Doorkeeper;
use super::identity::{Identity, IssuedId, ResetToken, Secrets};
use super::rebinding::Rebinding;
use super::timers::{Armed, Timers};
use super::tls::{ServerCertificate, TlsContext, Trust};
use super::transport::{CONNECTION_IDS_ISSUED_MAX, TransportOptions};
use super::unsent::Unsent;
use super::web::WebDial;
use super::{QuicError, ZeroCopy, web};

/// Names one connection of an endpoint for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// The place in the endpoint, used again after the connection is removed.
    pub index: u32,
    /// Tells apart the connections that have had the place.
    pub generation: u32,
}

/// How an endpoint behaves.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// The number of this shard's socket in its group, which is written into the connection ids it issues.
    pub shard: usize,
    /// Sockets of the group, 1 to 256: one for each shard of each generation.
    pub shards: usize,
    /// Connections held at once. Further Initial packets are dropped and counted.
    pub connections_max: usize,
    /// Unfinished handshakes from which on a client must prove its address by a Retry. It must, too, while many attempts
    /// come to nothing.
    pub retry_above: usize,
    /// Connections that one address (of IPv6: one /56) may begin in a second. Further first packets are dropped.
    pub attempts_per_second: u32,
    /// Connections that clients of one address (of IPv6: one /56) may have at once. Further first packets are dropped.
    pub connections_per_address: usize,
    /// Version negotiations and stateless resets in a second. Further ones are left out.
    pub answers_per_second: u32,
    /// What the endpoint declares to its peers, and how it sends.
    pub transport: TransportOptions,
    /// Drafts offered and accepted, best first.
    pub versions: Vec<Version>,
}

/// What a dialling endpoint needs beside its options. Make one and dial often.
pub struct Client {
    pub(super) config: quiche::Config,
    trust: Trust,
    /// Over HTTP/3.
    dial: Option<WebDial>,
}

/// Counters of an endpoint, since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointStatistics {
    /// Connections that a client began here.
    pub accepted: u64,
    /// Connections whose handshake was done.
    pub established: u64,
    /// Connections that were removed before their handshake was done.
    pub handshakes_failed: u64,
    /// Initial packets dropped because `connections_max` connections are held.
    pub refused_full: u64,
    /// Datagrams that are no QUIC packet, that are too short to begin a connection, or with which one failed.
    pub malformed: u64,
    /// Packets for a connection that is not held here.
    pub unknown_connection: u64,
    /// Version Negotiation packets sent (RFC 9000 section 6.1).
    pub version_negotiations: u64,
    /// Retry packets sent (RFC 9000 section 8.1).
    pub retries: u64,
    /// Stateless resets sent (RFC 9000 section 10.3).
    pub stateless_resets: u64,
    /// Peers that went on from another address.
    pub migrations: u64,
    /// First packets dropped because their address began too many connections.
    pub refused_attempts: u64,
    /// First packets dropped because their address has too many connections.
    pub refused_address: u64,
    /// First packets dropped because there is too much to do.
    pub refused_overload: u64,
    /// Version negotiations, Retries and stateless resets left out because too many were due.
    pub unanswered: u64,
    /// Packets of connections that were handed to the ring.
    pub packets_sent: u64,
}

/// Something a log may tell about a peer. Bounded; what does not fit is only counted.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The address that it came from.
    pub peer: SocketAddr,
    /// What to tell, in one line.
    pub reason: String,
}

/// The QUIC side of one shard.
pub struct Endpoint {
    pub(super) options: EndpointOptions,
    pub(super) identity: Identity,
    pub(super) server: Option<quiche::Config>,
    ticket_key: Vec<u8>,
    pub(super) connections: Slab<(u32, Connection)>,
    next_generation: u32,
    pub(super) issued: FxHashMap<IssuedId, ConnectionKey>,
    /// By the id that a client chose for its first packets. Attackers choose these, so the
    /// map hashes with a random key.
    pub(super) chosen: HashMap<Vec<u8>, ConnectionKey>,
    /// Of connections that were dialled, by the token that a stateless reset of the peer would end with. Peers choose
    /// these. At most one for each connection.
    pub(super) resets: HashMap<ResetToken, ConnectionKey>,
    pub(super) handshaking: usize,
    pub(super) doorkeeper: Doorkeeper,
    ready: VecDeque<ConnectionKey>,
    pub(super) dirty: VecDeque<ConnectionKey>,
    pub(super) timers: Timers<ConnectionKey>,
    /// The end of the slot that far timers fire in.
    far: Instant,
    /// Datagrams that belong to no connection: version negotiation, Retry, stateless reset.
    pub(super) stateless: VecDeque<(SocketAddr, IpAddr, Vec<u8>)>,
    notices: VecDeque<Notice>,
    pub(super) statistics: EndpointStatistics,
    pub(super) is_draining: bool,
    /// Somebody found no room.
    pub(super) is_crowded: bool,
    /// There is more to do than can be done.
    pub(super) is_overloaded: bool,
    /// Connections that clients have here, by address prefix: no more entries than connections.
    pub(super) by_prefix: HashMap<u64, usize>,
}

impl Endpoint {
    /// `server` is the TLS context to accept with; without one the endpoint only dials.
    pub fn new(options: EndpointOptions, secrets: &Secrets, server: Option<TlsContext>) -> Result<Self, QuicError> {
        let ticket_key = secrets.ticket_key().to_vec();
        let server = server.map(|tls| accept_with(tls, &options, &ticket_key)).transpose()?;
        Ok(Self {
            identity: Identity::new(options.shard, options.shards, secrets),
            doorkeeper: Doorkeeper::new(options.attempts_per_second, options.answers_per_second, Instant::now()),
            options,
            server,
            ticket_key,
            connections: Slab::new(),
            next_generation: 0,
            issued: FxHashMap::default(),
            chosen: HashMap::new(),
            resets: HashMap::new(),
            handshaking: 0,
            ready: VecDeque::new(),
            dirty: VecDeque::new(),
            timers: Timers::new(),
            far: Instant::now(),
            stateless: VecDeque::new(),
            notices: VecDeque::new(),
            statistics: EndpointStatistics::default(),
            is_draining: false,
            is_crowded: false,
            is_overloaded: false,
            by_prefix: HashMap::new(),
        })
    }

    /// Connections that begin from now on are accepted with other certificates. Tickets of sessions
    /// that were made before are still good.
    pub fn replace_certificates(&mut self, tls: TlsContext) -> Result<(), QuicError> {
        self.server = Some(accept_with(tls, &self.options, &self.ticket_key)?);
        Ok(())
    }

    /// Bounds and what is declared to peers, of connections that begin from now on.
    pub fn replace_limits(
        &mut self,
        connections_max: usize,
        transport: TransportOptions,
        tls: TlsContext,
    ) -> Result<(), QuicError> {
        let options = EndpointOptions {
            connections_max,
            transport,
            ..self.options.clone()
        };
        self.server = Some(accept_with(tls, &options, &self.ticket_key)?);
        self.options = options;
        Ok(())
    }

    /// Prepares dialling with one trust and one list of drafts, best first.
    pub fn client(&self, trust: Trust, versions: &[Version]) -> Result<Client, QuicError> {
        self.client_as(trust, None, versions)
    }

    /// The same with a certificate of its own, for a server that asks for one.
    pub fn client_as(
        &self,
        trust: Trust,
        own: Option<&ServerCertificate>,
        versions: &[Version],
    ) -> Result<Client, QuicError> {
        let config = self
            .options
            .transport
            .configure(TlsContext::client_as(&trust, own)?, &alpns(versions))?;
        let dial = None;
        Ok(Client { config, trust, dial })
    }

    /// Prepares dialling for sessions over HTTP/3.
    pub fn web_client(&self, trust: Trust, dial: WebDial) -> Result<Client, QuicError> {
        self.web_client_as(trust, None, dial)
    }

    /// The same with a certificate of its own.
    pub fn web_client_as(
        &self,
        trust: Trust,
        own: Option<&ServerCertificate>,
        dial: WebDial,
    ) -> Result<Client, QuicError> {
        let mut client = self.http_client_as(trust, own)?;
        client.dial = Some(dial);
        Ok(client)
    }

    /// Prepares dialling for HTTP/3, which the caller speaks.
    #[cfg(test)]
    pub(super) fn http_client(&self, trust: Trust) -> Result<Client, QuicError> {
        self.http_client_as(trust, None)
    }

    fn http_client_as(&self, trust: Trust, own: Option<&ServerCertificate>) -> Result<Client, QuicError> {
        let config = self
            .options
            .transport
            .configure(TlsContext::client_as(&trust, own)?, &[web::ALPN])?;
        let dial = None;
        Ok(Client { config, trust, dial })
    }

    /// Opens a connection; it becomes ready when the handshake is done or has failed.
    pub fn connect(
        &mut self,
        client: &mut Client,
        remote: SocketAddr,
        local: SocketAddr,
        server_name: &str,
    ) -> Result<ConnectionKey, QuicError> {
        if self.connections.len() >= self.options.connections_max {
            return Err(QuicError::Full(self.options.connections_max));
        }
        let id = self.identity.connection_id();
        let quic = quiche::connect_with_buffer_factory::<ZeroCopy>(
            Some(server_name),
            &quiche::ConnectionId::from_ref(&id),
            local,
            remote,
            &mut client.config,
        )?;
        let key = self.insert(quic, id, remote, None);
        if let Some(connection) = self.get_mut(key) {
            connection.dial.clone_from(&client.dial);
            if let Trust::Sha256(pinned) = client.trust {
                connection.pinned_sha256 = Some(pinned);
            }
        }
        self.mark_dirty(key);
        Ok(key)
    }

    /// The connection of a key; `None` once it is removed.
    pub fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        live(&mut self.connections, key)
    }

    /// A connection with something for the application: established, readable, closed.
    pub fn poll_ready(&mut self) -> Option<ConnectionKey> {
        while let Some(key) = self.ready.pop_front() {
            if let Some(connection) = self.get_mut(key) {
                connection.is_ready = false;
                return Some(key);
            }
        }
        None
    }

    /// Puts a connection back among the ready ones, for work a budget cut off.
    pub fn mark_ready(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.get_mut(key)
            && !connection.is_ready
        {
            connection.is_ready = true;
            self.ready.push_back(key);
        }
    }

    /// Says that a connection has something to send.
    pub fn mark_dirty(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.get_mut(key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push_back(key);
        }
    }

    /// Whether [`poll_ready`](Self::poll_ready) would give a connection.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a flush would have something to send.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.stateless.is_empty()
    }

    /// Forgets a connection, all ids of it included.
    pub fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        self.get_mut(key)?;
        let (_, connection) = self.connections.remove(key.index as usize);
        if let Some(prefix) = connection.prefix
            && let Entry::Occupied(mut held) = self.by_prefix.entry(prefix)
        {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
        for id in &connection.issued {
            self.issued.remove(id);
        }
        if let Some(chosen) = &connection.chosen_by_client {
            self.chosen.remove(chosen);
        }
        if let Some(token) = connection.reset_token {
            self.resets.remove(&token);
        }
        if !connection.announced_established {
            self.handshaking -= 1;
            self.statistics.handshakes_failed += 1;
            if connection.unproven.is_some() {
                self.doorkeeper.on_failure(Instant::now());
            }
        }
        Some(connection)
    }

    /// While there is more to do than can be done, few connections begin: enough to tell their clients so.
    pub(crate) fn set_overloaded(&mut self, is_overloaded: bool) {
        self.is_overloaded = is_overloaded;
    }

    /// Stops accepting: Initial packets of unknown connections are dropped.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Closes connections that began `age` ago and have no session: handshakes that go on, and HTTP/3 without one. At most
    /// `limit`; says how many.
    pub(crate) fn close_without_session(&mut self, now: Instant, age: Duration, limit: usize) -> usize {
        let is_late = |connection: &Connection| {
            connection.is_server()
                && !connection.is_over()
                && !connection.has_session()
                && now.saturating_duration_since(connection.begun) >= age
        };
        let late: Vec<ConnectionKey> = self
            .connections
            .iter()
            .filter(|(_, (_, connection))| is_late(connection))
            .map(|(index, (generation, _))| connection_key(index, *generation))
            .take(limit)
            .collect();
        for key in &late {
            if let Some(connection) = self.get_mut(*key) {
                connection.close(
                    session_error::INTERNAL,
                    "the relay has no room for connections without a session",
                );
            }
            self.mark_dirty(*key);
            self.mark_ready(*key);
        }
        late.len()
    }

    /// Whether a client found no room since this was called last.
    pub(crate) fn take_is_crowded(&mut self) -> bool {
        std::mem::take(&mut self.is_crowded)
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        self.connections
            .iter()
            .map(|(index, (generation, _))| connection_key(index, *generation))
            .collect()
    }

    /// What the endpoint has counted since it was made.
    pub fn statistics(&self) -> EndpointStatistics {
        self.statistics
    }

    /// When [`handle_timeouts`](Self::handle_timeouts) is due next; `None` while no timer runs.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// Fires due timers of connections.
    pub fn handle_timeouts(&mut self, now: Instant) {
        // Each once: a deadline that is due again at once stands for the same silence.
        let mut due = Vec::new();
        for _ in 0..TIMER_ENTRIES_PER_TURN_MAX {
            if due.len() >= TIMEOUTS_PER_TURN_MAX {
                break;
            }
            let Some((key, entry)) = self.timers.pop_due(now) else {
                break;
            };
            if let Some(connection) = live(&mut self.connections, key)
                && connection.armed.fired(entry)
                && !self.timers.defer(&mut connection.armed, key, now)
            {
                due.push(key);
            }
        }
        for key in due {
            let Some(connection) = self.get_mut(key) else { continue };
            if connection.deadline().is_some_and(|deadline| deadline <= now) {
                connection.on_timeout(now);
                self.mark_dirty(key);
                self.mark_ready(key);
            } else {
                // Dirty ones are armed by the flush that follows.
                self.rearm(key, now);
            }
        }
    }

    /// The next thing that a log may tell. `None`: nothing waits.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The reason is put into words only if there is room for it: under a flood there is none.
    pub(super) fn notice(&mut self, peer: SocketAddr, reason: impl FnOnce() -> String) {
        if self.notices.len() < NOTICES_MAX {
            let reason = reason();
            self.notices.push_back(Notice { peer, reason });
        }
    }

    pub(super) fn insert(
        &mut self,
        quic: quiche::Connection<ZeroCopy>,
        id: IssuedId,
        peer: SocketAddr,
        chosen_by_client: Option<Vec<u8>>,
    ) -> ConnectionKey {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.connections.insert((
            generation,
            Connection {
                quic,
                armed: Armed::default(),
                is_dirty: false,
                is_ready: false,
                announced_established: false,
                issued: vec![id],
                chosen_by_client: chosen_by_client.clone(),
                pinned_sha256: None,
                rebinding: Rebinding::new(peer),
                acknowledgement: Acknowledgement::default(),
                unsent: Unsent::default(),
                counts: Default::default(),
                refused: Default::default(),
                ends: Default::default(),
                begun: Instant::now(),
                unproven: None,
                reset_token: None,
                was_reset: false,
                prefix: None,
                dial: None,
                web: None,
            },
        ));
        let key = connection_key(index, generation);
        self.issued.insert(id, key);
        if let Some(chosen) = chosen_by_client {
            self.chosen.insert(chosen, key);
        }
        self.handshaking += 1;
        key
    }

    /// Bookkeeping once a handshake is done: the client's first id is no longer good, and
    /// it gets spare ids to move with.
    pub(super) fn on_established(&mut self, key: ConnectionKey) {
        let Some(connection) = self.get_mut(key) else { return };
        connection.announced_established = true;
        connection.begin_web();
        let chosen = connection.chosen_by_client.take();
        let token = connection.reset_token_of_peer();
        connection.reset_token = token;
        if !connection.is_trusted() {
            connection.close(session_error::UNAUTHORIZED, "the certificate is not the pinned one");
        }
        if let Some(chosen) = chosen {
            self.chosen.remove(&chosen);
        }
        if let Some(token) = token {
            self.resets.insert(token, key);
        }
        self.handshaking -= 1;
        self.statistics.established += 1;
        self.replenish_ids(key);
    }

    /// Takes out retired ids and issues new ones in their place (RFC 9000, section 5.1.1).
    pub(super) fn replenish_ids(&mut self, key: ConnectionKey) {
        let Some(connection) = live(&mut self.connections, key) else {
            return;
        };
        while let Some(retired) = connection.quic.retired_scid_next() {
            if let Ok(retired) = IssuedId::try_from(retired.as_ref()) {
                self.issued.remove(&retired);
                connection.issued.retain(|id| *id != retired);
            }
        }
        let wanted = connection
            .quic
            .scids_left()
            .min(CONNECTION_IDS_ISSUED_MAX.saturating_sub(connection.issued.len()));
        for _ in 0..wanted {
            let id = self.identity.connection_id();
            let token = u128::from_be_bytes(self.identity.reset_token(&id));
            if connection
                .quic
                .new_scid(&quiche::ConnectionId::from_ref(&id), token, false)
                .is_err()
            {
                break;
            }
            connection.issued.push(id);
            self.issued.insert(id, key);
        }
    }

    pub(super) fn rearm(&mut self, key: ConnectionKey, now: Instant) {
        if let Some(connection) = live(&mut self.connections, key) {
            // Far ones fire early and are armed again: an idle timeout that each packet moves
            // would else leave an entry behind with each nearer deadline that fires. All at a few
            // times, so that a thousand idle connections do not wake the shard a thousand times.
            let horizon = now + TIMER_HORIZON;
            if horizon >= self.far {
                let slots = (horizon - self.far).as_millis() / TIMER_SLOT.as_millis() + 1;
                self.far += TIMER_SLOT * u32::try_from(slots).unwrap_or(u32::MAX);
            }
            let nearest = |deadline| {
                if deadline > horizon {
                    self.far.min(deadline)
                } else {
                    deadline
                }
            };
            let deadline = connection.deadline().map(nearest);
            self.timers.arm(&mut connection.armed, key, deadline);
        }
    }
}

/// As [`Endpoint::get_mut`], while other parts of the endpoint are used.
fn live(connections: &mut Slab<(u32, Connection)>, key: ConnectionKey) -> Option<&mut Connection> {
    match connections.get_mut(key.index as usize) {
        Some((generation, connection)) if *generation == key.generation => Some(connection),
        _ => None,
    }
}

/// What a server accepts with, HTTP/3 included. Early data stays off: what is replayed could publish
/// or subscribe.
fn accept_with(tls: TlsContext, options: &EndpointOptions, ticket_key: &[u8]) -> Result<quiche::Config, QuicError> {
    let mut protocols = alpns(&options.versions);
    protocols.push(web::ALPN);
    let mut config = options.transport.configure(tls, &protocols)?;
    config.set_ticket_key(ticket_key)?;
    Ok(config)
}

pub(super) fn connection_key(index: usize, generation: u32) -> ConnectionKey {
    ConnectionKey {
        index: u32::try_from(index).expect("connections_max is far below 2^32"),
        generation,
    }
}

const NOTICES_MAX: usize = 16;

/// Deadlines beyond it are looked at again when it has passed, at the next multiple of the slot.
const TIMER_HORIZON: Duration = Duration::from_secs(2);
const TIMER_SLOT: Duration = Duration::from_millis(100);

/// Connections whose timers are seen to in one turn; those of others wait for the next.
const TIMEOUTS_PER_TURN_MAX: usize = 1024;

/// Entries looked at for them. Most are early, or of connections that have a nearer one or are gone.
const TIMER_ENTRIES_PER_TURN_MAX: usize = 8 * TIMEOUTS_PER_TURN_MAX;
