//! Connections to sessions and back: reading streams, pumping media, the end of peers.

use std::sync::Arc;
use std::time::Instant;

use crate::auth::Grant;
use crate::driver::{self, Backlog, BacklogFull, Carry};
use crate::limits::SETUP_WAIT_MAX;
use crate::ratelimit::Bucket;
use crate::routing::{PeerKey, RequestKey};
use moqswitch_proto::peer::PeerSession;
use moqswitch_proto::session::{SessionConfig, Side};
use moqswitch_proto::wire::{BroadcastPath, HopId, Role, StreamId, session_error};

use super::carrier::{Carrier, carrier};
use super::link::is_link;
use super::local::is_local;
use super::peer::{BACKLOG, BACKLOG_CODE, Basis, Peer, PeerOutlet, Terms, connection_key, peer_key};
use super::publishing::Pace;
use super::statistics::DropCause;
use super::worker::Shard;

impl Shard {
    pub(super) fn service_connections(&mut self) {
        for _ in 0..CONNECTIONS_PER_TURN_MAX {
            let Some(key) = self.endpoint.poll_ready() else { break };
            let peer = peer_key(key);
            self.count_share(peer, |shard| shard.service(peer));
        }
        // Of one that has more the rest waits for the next turn: the control thread may go on for ever.
        for _ in 0..self.websockets.ready_count().min(CONNECTIONS_PER_TURN_MAX) {
            let Some(peer) = self.websockets.poll_ready() else {
                break;
            };
            if self.admissions.is_waiting(peer) {
                continue;
            }
            self.websockets.receive(peer);
            self.count_share(peer, |shard| shard.service(peer));
            self.websockets.mark_dirty(peer);
        }
    }

    /// Everything one connection has for its session.
    fn service(&mut self, peer: PeerKey) {
        let Some(connection) = carrier(&mut self.endpoint, &mut self.websockets, peer) else {
            return;
        };
        if self.links.is_given_up(peer) && !connection.is_over() {
            return;
        }
        if connection.is_over() {
            let is_closed = connection.is_closed();
            // What the peer sent before it closed counts.
            self.read_connection(peer);
            self.handle_events(peer);
            if self.links.has(peer) {
                self.lose_link(peer);
            }
            self.end_session(peer);
            if is_closed {
                self.remove_connection(peer);
            }
            return;
        }
        let is_web = connection.is_web();
        let is_waiting = self.peers.get(&peer).map(|state| state.is_waiting);
        if !connection.is_established() || is_waiting == Some(true) {
            return;
        }
        if is_web {
            self.service_web(connection_key(peer));
        }
        // The service of the web may have begun it.
        let has_begun = is_waiting.is_some() || is_web && self.peers.contains_key(&peer);
        if !has_begun && (is_web || !self.begin_session(peer, None)) {
            return;
        }
        self.read_connection(peer);
        if is_web {
            self.handle_web_events(connection_key(peer));
        }
        self.handle_events(peer);
        self.tracks.handle_progress(peer);
        self.transmit(peer);
    }

    /// Starts the session of a connection that has agreed on a draft, or on how to. If it was decided already what it may
    /// do, that is not decided again.
    pub(super) fn begin_session(&mut self, peer: PeerKey, terms: Option<Terms<'_>>) -> bool {
        let hop = assigned_hop();
        let own_setup = self.setup_of(peer);
        let terms = terms.or_else(|| self.terms_of_link(peer));
        let Some(mut connection) = carrier(&mut self.endpoint, &mut self.websockets, peer) else {
            return false;
        };
        let Some(version) = connection.version() else {
            connection.close(session_error::VERSION, "no draft of MoQ in ALPN");
            self.mark_dirty(peer);
            return false;
        };
        let path = connection.request_path().map(str::to_owned);
        let side = if connection.is_server() {
            Side::Server
        } else {
            Side::Client
        };
        let session = PeerSession::new(SessionConfig {
            side,
            version,
            setup: own_setup,
            hop: self.options.hop,
            limits: self.options.sessions.clone(),
            heads: connection.stream_heads(),
        });
        let is_setup_due = version.has_setup() || session.is_negotiating();
        let refused = self
            .cannot_take(peer)
            .filter(|_| terms.is_none() && !is_setup_due && path.is_none());
        let grant = self.options.policy.default_grant();
        let rates = (
            self.options.announcements_per_second,
            self.options.operations_per_second,
        );
        self.lapses.note(peer, &grant);
        self.peers.insert(peer, begun(session, grant, hop, self.now, rates));
        self.statistics.sessions.opened += 1;
        self.begin_routing(peer);
        // What names no path and says no SETUP is asked about too, where somebody is to be asked.
        let has_authority = self.options.policy.has_authority();
        let path = path.or_else(|| (has_authority && !is_setup_due).then(String::new));
        if let Some(terms) = terms {
            self.let_in(peer, terms);
        } else if let Some(path) = path
            && !self.take_root(peer, &path, Role::Both)
        {
            self.transmit(peer);
            return true;
        }
        if let Some(refusal) = refused {
            // It will say nothing that could be looked at first.
            self.turn_away(peer, &refusal);
            return true;
        }
        if !is_setup_due {
            self.report_opened(peer);
            self.ask_for_announcements(peer);
        }
        true
    }

    /// Makes a peer known to routing, as soon as its session knows the version.
    pub(super) fn begin_routing(&mut self, peer: PeerKey) {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let (Some(state), Some(connection)) = (self.peers.get(&peer), connection) else {
            return;
        };
        if state.session.is_negotiating() {
            return;
        }
        let version = state.session.version();
        let takes_datagrams = version.has_datagrams() && connection.takes_datagrams();
        self.tracks.handle_peer(peer, version, takes_datagrams);
    }

    /// Reads the connection's streams and datagrams, up to a budget.
    fn read_connection(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(mut connection) = carrier(&mut self.endpoint, &mut self.websockets, key) else {
            return;
        };
        let timestamp_ms = u64::try_from(self.now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        let has_more = driver::read(
            &mut connection,
            &mut peer.session,
            &mut self.arena,
            timestamp_ms,
            READS_PER_SERVICE_MAX,
        );
        while let Some((stream, stopped)) = peer.backlog.poll_writable(&mut peer.session, &mut connection) {
            if stopped.is_none() {
                self.tracks.handle_writable(key, stream);
                continue;
            }
            peer.heads.forget(stream);
            if stream.is_uni() {
                self.tracks.handle_stop_sending(key, stream);
            }
        }
        let has_written = peer.backlog.retry(&mut connection);
        if !peer.is_backed_up() {
            for request in peer.waiting_announcements.drain(..) {
                self.announcer.set_ready(RequestKey { peer: key, request });
            }
        }
        if has_more {
            self.mark_ready(key);
        }
        // Reading so much gives the peer credit, which it is to be told of.
        if has_written || has_more {
            self.mark_dirty(key);
        }
    }

    /// Hands the session's control bytes to its connection.
    pub(super) fn transmit(&mut self, peer: PeerKey) {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let (Some(state), Some(mut connection)) = (self.peers.get_mut(&peer), connection) else {
            return;
        };
        match state.backlog.transmit(&mut state.session, &mut connection) {
            Ok(false) => return,
            Ok(true) => {}
            Err(BacklogFull { .. }) => {
                self.statistics.drops.add(DropCause::SlowSubscriber, 1);
                connection.close(BACKLOG_CODE, "too many control bytes unread");
            }
        }
        self.mark_dirty(peer);
    }

    /// Sends media to every peer that has some ready.
    pub(super) fn pump(&mut self) {
        while let Some(peer) = self.tracks.poll_dirty_peer() {
            if self.fetches.pump(peer, self.now, &mut self.tracks) {
                continue;
            }
            if is_local(peer) {
                self.pump_local(peer);
                continue;
            }
            let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
            let (Some(state), Some(connection)) = (self.peers.get_mut(&peer), connection) else {
                continue;
            };
            let mut outlet = PeerOutlet::new(connection, state);
            self.tracks.pump(peer, &mut outlet);
            let sent = outlet.sent;
            self.statistics.media.bytes_out += sent.bytes;
            self.statistics.media.groups_out += sent.groups;
            self.statistics.media.groups_out += sent.datagrams;
            self.mark_dirty(peer);
        }
        // Pumping may end groups, which subscribers are told of.
        self.apply_actions();
    }

    fn remove_connection(&mut self, peer: PeerKey) {
        self.forget_link(peer);
        if is_link(peer) {
            if let Some(mut connection) = self.websockets.remove(peer) {
                log_end(&Carrier::WebSocket(&mut connection));
            }
        } else if let Some(mut connection) = self.endpoint.remove(connection_key(peer)) {
            log_end(&Carrier::Quic(&mut connection));
        }
    }

    /// A connection is over, even if late packets may come: everything its session had goes
    /// with it, before anyone is sent to it.
    pub(super) fn end_session(&mut self, peer: PeerKey) {
        self.admissions.forget(peer);
        let Some(mut state) = self.peers.remove(&peer) else {
            return;
        };
        if let Some(ended) = state.ended.take() {
            self.tell_end(peer, ended);
        }
        self.lapses.forget(peer, &state.grant);
        if state.is_reported {
            self.report_closed(peer);
        }
        let source = self.session_of(peer);
        self.announcer.handle_peer_gone(peer);
        self.contests.forget(peer);
        // Routes first: a track may go on from another source.
        for path in &state.published {
            self.table.remove(path, source);
            self.changed_here(path);
        }
        self.tracks.handle_peer_gone(peer, self.now);
        self.apply_actions();
    }

    /// Opens an announce stream to a peer that may publish.
    pub(super) fn ask_for_announcements(&mut self, peer: PeerKey) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.session.request_announce(&BroadcastPath::root());
            self.transmit(peer);
        }
        if self.is_retiring {
            self.send_away(peer);
        }
    }

    /// What is checked periodically, once in `PROBE_INTERVAL`.
    pub(super) fn check_periodically(&mut self) {
        if self.now < self.probes_due {
            return;
        }
        self.probes_due = self.now + PROBE_INTERVAL;
        self.report_probes();
        self.close_silent();
        self.make_room();
        self.expire_admissions();
        self.check_links();
        self.check_holders();
        self.check_memory();
        self.tell_refused();
    }

    /// Closes connections whose peer has not sent the first message that its draft asks for. Drafts 03 and 04
    /// ask for none.
    fn close_silent(&mut self) {
        self.websockets.close_silent(self.now);
        let is_late = |peer: &Peer| self.now >= peer.setup_deadline && peer.session.is_setup_due();
        let late: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_late(peer) && !peer.session.is_closed())
            .map(|(key, _)| *key)
            .collect();
        for peer in late {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.session.close(session_error::CONTROL_TIMEOUT, "no SETUP in time");
                self.statistics.drops.add(DropCause::SessionLimit, 1);
            }
            self.transmit(peer);
        }
    }

    /// Sends path figures to those who probe (draft, "Probe"), and to those who are told unasked
    /// (draft 01, "SESSION_UPDATE").
    fn report_probes(&mut self) {
        let probing: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.probes.is_empty() || peer.session.version().is_in_band())
            .map(|(key, _)| *key)
            .collect();
        for peer in probing {
            self.report_probe(peer, None);
        }
    }

    /// Reports on one probe stream of a peer, or on all of them.
    pub(super) fn report_probe(&mut self, peer: PeerKey, only: Option<StreamId>) {
        let Some(path) =
            carrier(&mut self.endpoint, &mut self.websockets, peer).and_then(|connection| connection.path())
        else {
            return;
        };
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let report = moqswitch_proto::wire::Probe {
            bitrate: Some(path.delivery_rate_bits_per_second).filter(|rate| *rate > 0),
            rtt_ms: Some(u64::try_from(path.rtt.as_millis()).unwrap_or(u64::MAX).max(1)),
        };
        for request in state
            .probes
            .iter()
            .filter(|request| only.is_none_or(|only| only == **request))
        {
            state.session.probe_report(*request, &report);
        }
        state.session.update_bitrate(report.bitrate);
        self.transmit(peer);
    }

    /// Tells every session that the relay goes away, and stops accepting.
    pub(super) fn begin_drain(&mut self, deadline: Instant) {
        if self.drain_deadline.is_some() {
            return;
        }
        self.drain_deadline = Some(deadline);
        self.drain_applications(deadline);
        self.endpoint.drain();
        let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
        for peer in peers {
            // Another relay knows others, and keeps its routes until the end.
            let uri = if self.links.has(peer) {
                ""
            } else {
                &*self.options.drain_uri
            };
            if let Some(state) = self.peers.get_mut(&peer) {
                state.session.goaway(uri);
            }
            self.transmit(peer);
        }
        for key in self.endpoint.keys() {
            let Some(connection) = self.endpoint.get_mut(key) else {
                continue;
            };
            if connection.has_session() {
                connection.drain_session();
            } else if connection.is_web() {
                // Of what it might still ask for, it would get nothing.
                connection.close(session_error::NO_ERROR, "the relay is going away");
            }
            self.endpoint.mark_dirty(key);
        }
    }

    /// Tells every session to go to the process that follows, and goes on: what it says, and what is said to it, is carried
    /// until it has gone.
    pub(super) fn retire(&mut self) {
        if std::mem::replace(&mut self.is_retiring, true) || self.drain_deadline.is_some() {
            return;
        }
        let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
        for peer in peers {
            self.send_away(peer);
        }
    }

    /// GOAWAY to one session, unless it is of a process before or after this one.
    pub(super) fn send_away(&mut self, peer: PeerKey) {
        if self.is_kin(peer) {
            return;
        }
        if let Some(state) = self.peers.get_mut(&peer) {
            state.session.goaway("");
        }
        self.transmit(peer);
        if is_link(peer) {
            return;
        }
        let key = connection_key(peer);
        if let Some(connection) = self.endpoint.get_mut(key)
            && connection.has_session()
        {
            connection.drain_session();
            self.endpoint.mark_dirty(key);
        }
    }

    pub(super) fn is_kin(&self, peer: PeerKey) -> bool {
        self.links.is_kin(peer) || self.peers.get(&peer).is_some_and(|state| state.basis == Basis::Kin)
    }

    /// Closes what is left after the deadline, and gives the packets a last turn.
    pub(super) fn close_remaining(&mut self) {
        for key in self.endpoint.keys() {
            if let Some(connection) = self.endpoint.get_mut(key) {
                connection.close(session_error::GOAWAY_TIMEOUT, "the relay is going away");
            }
            self.endpoint.mark_dirty(key);
        }
        for key in self.websockets.keys() {
            if let Some(connection) = self.websockets.get_mut(key) {
                connection
                    .qmux
                    .close(session_error::GOAWAY_TIMEOUT, "the relay is going away");
            }
            self.websockets.mark_dirty(key);
        }
        self.endpoint.flush(&mut self.ring, self.now);
        self.websockets.flush();
        // Over HTTP/3 the session was ended so far, its connection not yet.
        for key in self.endpoint.keys() {
            if let Some(connection) = self.endpoint.get_mut(key).filter(|connection| connection.is_web()) {
                connection.abandon();
                self.endpoint.mark_dirty(key);
            }
        }
        self.endpoint.flush(&mut self.ring, self.now);
        if let Err(error) = self.ring.turn(crate::net::Wait::None) {
            tracing::warn!(%error, "the last packets could not be sent");
        }
    }
}

/// A session as it is before anything is known of its peer.
fn begun(
    session: PeerSession,
    grant: Arc<Grant>,
    hop: HopId,
    now: Instant,
    (announcements_per_second, operations_per_second): (u32, u32),
) -> Peer {
    Peer {
        session,
        root: BroadcastPath::root(),
        grant,
        basis: Basis::Open,
        is_waiting: false,
        ended: None,
        is_reported: false,
        requested: Default::default(),
        hop,
        is_hop_declared: false,
        credential: None,
        refused: None,
        is_refusal_queued: false,
        link_cost: DEFAULT_COST,
        opened: now,
        setup_deadline: now + SETUP_WAIT_MAX,
        published: Default::default(),
        pace: Pace::new(announcements_per_second),
        operations: Bucket::new(
            operations_per_second,
            operations_per_second.saturating_mul(OPERATIONS_DEPTH),
        ),
        device: None,
        unpublished: Default::default(),
        probes: Default::default(),
        waiting_announcements: Default::default(),
        backlog: Backlog::new(BACKLOG),
        heads: Default::default(),
    }
}

fn log_end(connection: &Carrier<'_>) {
    tracing::debug!(peer = ?connection.peer_address(), reason = connection.close_reason(), "connection ended");
}

/// A hop id for a peer that declares none, so that it is not sent its own broadcasts.
pub(super) fn assigned_hop() -> HopId {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel's random generator is available after boot");
    HopId((u64::from_be_bytes(bytes) >> 2).max(1))
}

/// The price of a link that nobody priced (draft, "Cost Parameter").
pub(super) const DEFAULT_COST: u64 = 1;

/// A session may use up at once what it has in so many seconds.
const OPERATIONS_DEPTH: u32 = 4;

const CONNECTIONS_PER_TURN_MAX: usize = 4096;
const READS_PER_SERVICE_MAX: usize = 512;
const PROBE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);
