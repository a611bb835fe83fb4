//! HTTP/3 on a connection: who may have a session, and what else is asked.
//!
//! Ordinary requests are the control thread's, which has the routes; it answers by a command.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use moqswitch_proto::wire::{Role, StreamId};
use tokio::sync::mpsc;

use crate::auth::ClientIdentity;
use crate::auth::token::Refusal;
use crate::quic::{ConnectionKey, WebEvent};
use crate::routing::PeerKey;

use super::carrier::carrier;
use super::peer::{Terms, peer_key};
use super::worker::Shard;

/// An ordinary request over HTTP/3, answered by [`super::ShardCommand::Respond`].
#[derive(Debug)]
pub struct WebRequest {
    /// The number of the shard that has the connection, to which the answer is sent.
    pub shard: usize,
    /// Where the answer goes.
    pub at: WebStream,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The field `Authorization`, if it came.
    pub authorization: Option<Vec<u8>>,
    /// Who the client's certificate says that it is, if it showed one.
    pub identity: Option<ClientIdentity>,
    /// The client's address.
    pub remote: SocketAddr,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebStream {
    /// The connection of the request.
    pub connection: ConnectionKey,
    /// The stream of the request.
    pub stream: StreamId,
}

/// The answer to a [`WebRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebResponse {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body; may be empty.
    pub body: Bytes,
}

/// Takes requests to the control thread. When it is full they are answered 503.
pub type WebRequests = mpsc::Sender<WebRequest>;

impl Shard {
    /// Reads what a connection says that has no session yet, and does what its client asks for.
    pub(super) fn service_web(&mut self, key: ConnectionKey) {
        let Some(connection) = self.endpoint.get_mut(key) else {
            return;
        };
        if !connection.has_session() {
            let mut streams = 0;
            while streams < STREAMS_PER_SERVICE_MAX
                && let Some(stream) = connection.poll_readable()
            {
                streams += 1;
                // Nothing of it is a session's yet.
                connection.read(stream, &mut self.arena);
            }
            while connection.poll_writable().is_some() {}
            if streams == STREAMS_PER_SERVICE_MAX {
                self.endpoint.mark_ready(key);
            }
        }
        self.handle_web_events(key);
    }

    pub(super) fn handle_web_events(&mut self, key: ConnectionKey) {
        while let Some(event) = self.endpoint.get_mut(key).and_then(|connection| connection.poll_web()) {
            match event {
                WebEvent::SessionRequested { path, authorization } => {
                    self.decide_session(key, &path, authorization.as_deref());
                }
                WebEvent::Request {
                    stream,
                    method,
                    path,
                    authorization,
                } => {
                    let at = WebStream {
                        connection: key,
                        stream,
                    };
                    let connection = self.endpoint.get_mut(key);
                    let certificate = connection
                        .as_ref()
                        .and_then(|connection| connection.client_certificate());
                    let identity = certificate.and_then(ClientIdentity::of);
                    let remote = connection.and_then(|connection| connection.peer_address());
                    let remote = remote.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
                    self.pass_on(WebRequest {
                        shard: self.options.id.0.into(),
                        at,
                        method,
                        path,
                        authorization,
                        identity,
                        remote,
                    });
                }
                WebEvent::Failed { reason } => {
                    self.statistics.web.violations += 1;
                    self.log_refusal(peer_key(key), &reason);
                }
            }
        }
        let Some(connection) = self.endpoint.get_mut(key) else {
            return;
        };
        self.statistics.web.streams_refused += connection.take_web_turned_away();
        if connection.take_web_written() {
            self.endpoint.mark_dirty(key);
        }
    }

    fn pass_on(&mut self, request: WebRequest) {
        self.statistics.web.requests += 1;
        let at = request.at;
        let status = match &self.web_requests {
            None => STATUS_NOT_FOUND,
            Some(requests) if requests.try_send(request).is_err() => STATUS_UNAVAILABLE,
            Some(_) => return,
        };
        let refusal = WebResponse {
            status,
            fields: Vec::new(),
            body: Bytes::new(),
        };
        self.respond(at, &refusal);
    }

    pub(super) fn log_refusal(&mut self, peer: PeerKey, reason: &str) {
        if let Some(suppressed) = self.notices.allow(self.now) {
            let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
            let peer = connection.and_then(|connection| connection.peer_address());
            tracing::info!(?peer, reason, suppressed, "refused");
        }
    }

    pub(super) fn respond(&mut self, at: WebStream, response: &WebResponse) {
        // A client that is gone needs no answer.
        let Some(connection) = self.endpoint.get_mut(at.connection) else {
            return;
        };
        let fields: Vec<(&str, &str)> = response
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        connection.respond(at.stream, response.status, &fields, &response.body);
        self.endpoint.mark_dirty(at.connection);
    }

    /// The path and query of a CONNECT are asked of the same policy as those of a SETUP.
    fn decide_session(&mut self, key: ConnectionKey, path: &str, authorization: Option<&[u8]>) {
        if self.drain_deadline.is_some() {
            self.statistics.web.sessions_refused += 1;
            if let Some(connection) = self.endpoint.get_mut(key) {
                connection.refuse_session(STATUS_UNAVAILABLE);
            }
            return;
        }
        let peer = peer_key(key);
        let bearer = self.options.policy.bearer(authorization);
        let bearer = bearer.map(|bearer| bearer.map(str::to_owned));
        let admission = bearer.and_then(|bearer| {
            if !self.options.policy.asks_authority(path) {
                let admission = self.admit(peer, path, bearer.as_deref())?;
                return self.take_in(peer, admission).map(Some);
            }
            if let Some(refusal) = self.cannot_take(peer) {
                return Err(refusal);
            }
            match self.ask_authority(peer, path, bearer.as_deref(), Role::Both) {
                true => Ok(None),
                false => Err(Refusal::AuthorityUnavailable),
            }
        });
        match admission {
            Ok(Some(admission)) => self.open_web_session(key, admission.into()),
            // The answer of the auth server will.
            Ok(None) => {}
            Err(refusal) => self.turn_away(peer, &refusal),
        }
    }

    /// Accepts the session that was asked for.
    pub(super) fn open_web_session(&mut self, key: ConnectionKey, terms: Terms<'_>) {
        let Some(connection) = self.endpoint.get_mut(key) else {
            return;
        };
        if !connection.accept_session(&self.options.endpoint.versions) {
            self.statistics.web.sessions_refused += 1;
            return self.log_refusal(peer_key(key), "it offers no draft that is spoken here");
        }
        if self.begin_session(peer_key(key), Some(terms)) {
            self.statistics.web.sessions_opened += 1;
            self.endpoint.mark_ready(key);
        }
    }
}

/// Streams of one connection read in one turn before it has a session; others wait for the next.
const STREAMS_PER_SERVICE_MAX: usize = 512;

const STATUS_NOT_FOUND: u16 = 404;
const STATUS_UNAVAILABLE: u16 = 503;
