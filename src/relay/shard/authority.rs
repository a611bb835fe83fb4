//! Sessions that an auth server decides on. Who asks it is not the shard: a session waits, unread, until the answer comes as
//! a command, or its time is over. Others go on meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use moqswitch_proto::wire::{Role, Version, session_error};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use crate::auth::token::Refusal;
use crate::auth::{ClientIdentity, Grant};
use crate::limits::{ADMISSION_WAIT_MAX, ADMISSIONS_WAITING_MAX, SETUP_WAIT_MAX};
use crate::routing::PeerKey;

use super::carrier::carrier;
use super::grants::UnknownSession;
use super::link::is_link;
use super::peer::{Basis, Peer, Terms, connection_key};
use super::worker::Shard;

/// A session that asks to be let in: what the relay knows of it. Answered by
/// [`ShardCommand::Decide`](super::ShardCommand::Decide).
#[derive(Debug)]
pub struct AdmissionRequest {
    /// The number of the shard that has the session.
    pub shard: usize,
    /// Which it is.
    pub session: PeerKey,
    /// What it came by.
    pub transport: SessionTransport,
    /// The peer's address.
    pub remote: Option<SocketAddr>,
    /// Path and query, as they were asked for.
    pub target: String,
    /// The token of the field `Authorization`, if there was one.
    pub bearer: Option<String>,
    /// Who the client's certificate says that it is, if it showed one.
    pub identity: Option<ClientIdentity>,
    /// The host name that TLS was asked for.
    pub server_name: Option<String>,
    /// The draft that it speaks, if that is agreed on.
    pub version: Option<Version>,
    /// What it says that it will do; [`Role::Both`] if it says nothing.
    pub role: Role,
}

/// What a session came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTransport {
    /// QUIC, raw or by WebTransport.
    Quic,
    /// A WebSocket.
    WebSocket,
}

/// Where shards send sessions to be decided on. When it is full the session is refused.
pub type AdmissionRequests = mpsc::Sender<AdmissionRequest>;

/// What becomes of a session.
#[derive(Debug)]
pub enum Decision {
    /// A session that waits is let in.
    Admit {
        /// Where its paths are rooted.
        root: String,
        /// What it may do. When it lapses, the session is closed.
        grant: Arc<Grant>,
        /// Told when the session is over. It is dropped if there is none.
        ended: oneshot::Sender<SessionEnd>,
    },
    /// One that was let in may do this from now on.
    Replace(Arc<Grant>),
    /// One that waits is not let in, or one that was is closed.
    Refuse(Refusal),
}

/// What became of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Why it ended.
    pub reason: String,
    /// Bytes sent to the peer.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
}

/// Sessions that wait for their answer.
#[derive(Debug)]
pub(super) struct Admissions {
    requests: Option<AdmissionRequests>,
    waiting: FxHashMap<PeerKey, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    /// When it is in, it is asked for what it publishes.
    may_publish: bool,
}

impl Admissions {
    pub(super) fn new(requests: Option<AdmissionRequests>) -> Self {
        Self {
            requests,
            waiting: FxHashMap::default(),
        }
    }

    pub(super) fn is_waiting(&self, peer: PeerKey) -> bool {
        self.waiting.contains_key(&peer)
    }

    pub(super) fn forget(&mut self, peer: PeerKey) {
        self.waiting.remove(&peer);
    }
}

impl Shard {
    /// Has the auth server asked. False: it is not, and the session is refused.
    pub(super) fn ask_authority(&mut self, peer: PeerKey, target: &str, bearer: Option<&str>, role: Role) -> bool {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let (Some(requests), Some(connection)) = (&self.admissions.requests, connection) else {
            return false;
        };
        let request = AdmissionRequest {
            shard: self.options.id.0.into(),
            session: peer,
            transport: match is_link(peer) {
                true => SessionTransport::WebSocket,
                false => SessionTransport::Quic,
            },
            remote: connection.peer_address(),
            target: target.to_owned(),
            bearer: bearer.map(str::to_owned),
            identity: connection.identity(),
            server_name: connection.server_name(),
            version: connection.version(),
            role,
        };
        let is_asked = self.admissions.waiting.len() < ADMISSIONS_WAITING_MAX && requests.try_send(request).is_ok();
        if is_asked {
            let until = self.now + ADMISSION_WAIT_MAX;
            let may_publish = role != Role::Subscriber;
            self.admissions.waiting.insert(peer, Waiting { until, may_publish });
            if let Some(state) = self.peers.get_mut(&peer) {
                state.is_waiting = true;
                // What it has said is not read before the answer.
                state.setup_deadline = until + SETUP_WAIT_MAX;
            }
        }
        is_asked
    }

    /// What was decided on a session.
    pub(super) fn decide(&mut self, peer: PeerKey, decision: Decision) -> Result<(), UnknownSession> {
        match decision {
            Decision::Admit { root, grant, ended } => {
                let waiting = self.admissions.waiting.remove(&peer).ok_or(UnknownSession)?;
                let terms = Terms {
                    root: &root,
                    grant,
                    basis: Basis::Authority,
                    device: None,
                };
                if !self.peers.contains_key(&peer) {
                    // Over WebTransport there is no session before it is let in.
                    self.open_web_session(connection_key(peer), terms);
                } else {
                    self.let_in(peer, terms);
                    // One that has not said SETUP is asked when it has.
                    let has_said = |state: &Peer| !state.session.is_setup_due();
                    if waiting.may_publish && self.peers.get(&peer).is_some_and(has_said) {
                        self.ask_for_announcements(peer);
                    }
                    self.resume(peer);
                }
                let state = self.peers.get_mut(&peer).ok_or(UnknownSession)?;
                state.ended = Some(ended);
            }
            Decision::Replace(grant) => {
                let state = self.peers.get(&peer).filter(|state| state.basis == Basis::Authority);
                state.ok_or(UnknownSession)?;
                self.install_grant(peer, grant);
            }
            Decision::Refuse(refusal) => {
                if self.admissions.waiting.remove(&peer).is_some() {
                    self.turn_away(peer, &refusal);
                } else {
                    self.peers.get(&peer).ok_or(UnknownSession)?;
                    self.statistics.sessions.revoked += 1;
                    self.install_grant(peer, Arc::new(Grant::nothing()));
                    self.end_with_grant(peer, &refusal);
                }
            }
        }
        self.apply_actions();
        Ok(())
    }

    /// Sessions whose answer did not come in time.
    pub(super) fn expire_admissions(&mut self) {
        let waiting = self.admissions.waiting.iter();
        let late: Vec<PeerKey> = waiting
            .filter(|(_, waiting)| waiting.until <= self.now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            self.admissions.forget(peer);
            self.turn_away(peer, &Refusal::AuthorityUnavailable);
        }
    }

    /// Goes on with what a session said while it waited.
    fn resume(&mut self, peer: PeerKey) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.is_waiting = false;
            state.setup_deadline = self.now + SETUP_WAIT_MAX;
        }
        self.handle_events(peer);
        self.transmit(peer);
        self.mark_ready(peer);
    }

    /// Refuses a session that was not let in.
    pub(super) fn turn_away(&mut self, peer: PeerKey, refusal: &Refusal) {
        self.note_refusal(peer, refusal);
        if let Some(state) = self.peers.get_mut(&peer) {
            let code = match refusal {
                Refusal::AuthorityUnavailable | Refusal::AuthorityInvalid | Refusal::Overloaded | Refusal::Full => {
                    session_error::INTERNAL
                }
                _ => session_error::UNAUTHORIZED,
            };
            state.session.close(code, &refusal.to_string());
            self.transmit(peer);
        } else if let Some(connection) = self.endpoint.get_mut(connection_key(peer)) {
            connection.refuse_session(refusal.status());
            self.statistics.web.sessions_refused += 1;
            self.endpoint.mark_dirty(connection_key(peer));
        }
    }

    /// Tells whoever let the session in that it is over.
    pub(super) fn tell_end(&mut self, peer: PeerKey, ended: oneshot::Sender<SessionEnd>) {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let (sent, received) = connection
            .as_ref()
            .map_or((0, 0), |connection| connection.moved_bytes());
        let reason = connection.map(|connection| connection.close_reason());
        // Whoever asked may be gone.
        let _ = ended.send(SessionEnd {
            reason: reason.unwrap_or_else(|| "disconnected".to_owned()),
            sent,
            received,
        });
    }
}
