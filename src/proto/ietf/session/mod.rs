//! One peer of moq-transport as a state machine without I/O. It has the inputs, the events and the commands of a session of
//! moq-lite ([`crate::session::Session`]), whose documentation says what each is for; what is different is said here.
//!
//! Each end has one control stream, which begins with SETUP and lasts as long as the session. Each request has a stream of
//! its own, and so has each group.

mod announced;
mod answers;
mod asking;
mod control;
mod incoming;
mod opened;
mod requests;
#[cfg(test)]
mod tests;
mod tracks;

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::session::event::EventQueue;
use crate::session::seen::{SeenSet, Sighting};
use crate::session::subscriptions::Subscriptions;
use crate::session::transmit::Outbox;
use crate::session::{
    Event, SessionConfig, SessionCounters, SessionEvent, SessionLive, SessionStats, Side, Transmit, limits,
};
use crate::wire::{
    BroadcastPath, DecodeError, EncodeError, ErrorCode, Setup, StreamId, SubscribeId, TrackName, Version, session_error,
};

use super::limits::REQUEST_ID_GAPS_MAX;
use announced::Announced;
use incoming::Incoming;
use opened::Opened;
use requests::{Request, RequestCounts};
use tracks::Tracks;

/// One end of a session of moq-transport.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    is_closed: bool,
    /// The peer has sent GOAWAY: we ask for nothing more.
    is_going_away: bool,
    is_goaway_sent: bool,
    /// The peer's control stream is there.
    is_control_begun: bool,
    /// Ours.
    control: StreamId,
    peer_setup: Option<Setup>,

    bidi_opened: u64,
    uni_opened: u64,
    /// Of our next request.
    request_id: u64,
    /// The least that the peer has not used.
    peer_request_id: u64,
    bidi_seen: SeenSet,
    uni_seen: SeenSet,
    request_ids_seen: SeenSet,

    /// Two-way streams of the peer.
    requests: FxHashMap<StreamId, Request>,
    counts: RequestCounts,
    /// Subscriptions of the peer that were told of timestamps: the units per second that their publisher named, if it speaks
    /// moq-transport as well.
    downstream: FxHashMap<SubscribeId, Option<u64>>,
    /// Requests that wait for the peer's SETUP, in order.
    held: VecDeque<StreamId>,
    /// Two-way streams of ours.
    opened: FxHashMap<StreamId, Opened>,
    /// One-way streams of the peer.
    incoming: FxHashMap<StreamId, Incoming>,
    /// Those that wait for a track alias: at most [`UNBOUND_STREAMS_MAX`](super::limits::UNBOUND_STREAMS_MAX).
    unbound: Vec<StreamId>,
    subscriptions: Subscriptions,
    tracks: Tracks,
    /// Tracks that the peer publishes by PUBLISH, and the streams of those.
    published: FxHashMap<(BroadcastPath, TrackName), StreamId>,
    announced: Announced,
    buffered_bytes: usize,
    /// When bytes came last, for datagrams.
    arrival_ms: u64,

    events: EventQueue,
    outbox: Outbox,
    counters: SessionCounters,
}

impl Session {
    /// The first thing to send is SETUP, on our control stream.
    pub fn new(config: SessionConfig) -> Self {
        let is_server = config.side == Side::Server;
        let (bidi_opened, uni_opened) = (config.heads.bidi_taken, config.heads.uni_taken);
        let mut session = Self {
            config,
            is_closed: false,
            is_going_away: false,
            is_goaway_sent: false,
            is_control_begun: false,
            control: StreamId::default(),
            peer_setup: None,
            bidi_opened,
            uni_opened,
            // Section 9.1: a client's are even, a server's odd.
            request_id: u64::from(is_server),
            peer_request_id: u64::from(!is_server),
            bidi_seen: SeenSet::new(limits::STREAM_GAPS_MAX),
            uni_seen: SeenSet::new(limits::STREAM_GAPS_MAX),
            request_ids_seen: SeenSet::new(REQUEST_ID_GAPS_MAX),
            requests: FxHashMap::default(),
            counts: RequestCounts::default(),
            downstream: FxHashMap::default(),
            held: VecDeque::new(),
            opened: FxHashMap::default(),
            incoming: FxHashMap::default(),
            unbound: Vec::new(),
            subscriptions: Subscriptions::default(),
            tracks: Tracks::default(),
            published: FxHashMap::default(),
            announced: Announced::default(),
            buffered_bytes: 0,
            arrival_ms: 0,
            events: EventQueue::default(),
            outbox: Outbox::default(),
            counters: SessionCounters::default(),
        };
        session.send_setup();
        session
    }

    /// The next bytes of a stream, in order. `arrival_timestamp_ms` is for objects without a timestamp.
    pub fn handle_stream(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp_ms: u64) {
        if self.is_closed {
            return;
        }
        self.arrival_ms = arrival_timestamp_ms;
        match (stream.is_uni(), self.is_ours(stream)) {
            (true, false) => self.handle_incoming(stream, data, fin),
            (false, false) => self.handle_request(stream, data, fin),
            (false, true) => self.handle_opened(stream, data, fin),
            (true, true) => {}
        }
        self.check_growth();
    }

    /// The peer reset its sending side.
    pub fn handle_reset(&mut self, stream: StreamId, code: ErrorCode) {
        if self.is_closed {
            return;
        }
        match (stream.is_uni(), self.is_ours(stream)) {
            (true, false) => self.reset_incoming(stream, code),
            (false, false) => self.cancel_request(stream, true),
            (false, true) => self.reset_opened(stream, code),
            (true, true) => {}
        }
        self.check_growth();
    }

    /// The peer does not read our sending side any more: of its own requests it wants nothing more.
    pub fn handle_stop_sending(&mut self, stream: StreamId) {
        if self.is_closed {
            return;
        }
        if stream == self.control {
            return self.violate("the control stream was stopped");
        }
        if !stream.is_uni() && !self.is_ours(stream) {
            self.cancel_request(stream, true);
        }
    }

    /// The next thing that happened, in order. `None`: nothing waits.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.poll()
    }

    /// The next thing to do on the connection, in order. `None`: nothing waits.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.poll()
    }

    /// Ends the session. What it held is dropped without events, and so are those not yet taken.
    pub fn close(&mut self, code: ErrorCode, reason: &str) {
        if !self.is_closed {
            self.events = EventQueue::default();
            self.end(code, reason.to_owned());
        }
    }

    /// How many namespaces the peer may announce from now on.
    pub fn set_announced_max(&mut self, announced_max: usize) {
        self.config.limits.announced_max = announced_max;
    }

    /// Whether either end has closed the session.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether the peer has yet to send SETUP. Its requests wait for that.
    pub fn is_setup_due(&self) -> bool {
        self.peer_setup.is_none()
    }

    /// What the peer said in SETUP, as far as moq-lite has it: a token is in the query of the path.
    pub fn peer_setup(&self) -> Option<&Setup> {
        self.peer_setup.as_ref()
    }

    /// The draft that is spoken.
    pub fn version(&self) -> Version {
        self.config.version
    }

    /// Which end we are.
    pub fn side(&self) -> Side {
        self.config.side
    }

    /// What the session holds now, and what it has counted.
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            streams: self.requests.len() + self.opened.len() + self.incoming.len(),
            live: SessionLive {
                requests: self.requests.len(),
                requests_held: self.held.len(),
                opened: self.opened.len(),
                subscriptions: self.subscriptions.open_count(),
                incoming: self.incoming.len(),
                announced: self.announced.len(),
                buffered_bytes: self.buffered_bytes,
            },
            counters: self.counters,
        }
    }

    fn is_ours(&self, stream: StreamId) -> bool {
        stream.is_client() == (self.config.side == Side::Client)
    }

    fn own_stream(&self, index: u64, is_uni: bool) -> StreamId {
        let opener = u64::from(self.config.side == Side::Server);
        StreamId(index << STREAM_ID_INDEX_SHIFT | u64::from(is_uni) << 1 | opener)
    }

    /// True when the stream has not been seen before, and is from here on.
    fn is_first_sight(&mut self, stream: StreamId) -> bool {
        let seen = match stream.is_uni() {
            true => &mut self.uni_seen,
            false => &mut self.bidi_seen,
        };
        match seen.insert(stream.0 >> STREAM_ID_INDEX_SHIFT) {
            Sighting::New => true,
            Sighting::Repeated => false,
            Sighting::Full => {
                self.violate("streams are opened too far out of order");
                false
            }
        }
    }

    /// What cannot be said is counted, and not sent.
    fn count_unsendable(&mut self, result: Result<(), EncodeError>) -> bool {
        if result.is_err() {
            self.counters.messages_unsendable += 1;
        }
        result.is_ok()
    }

    fn check_growth(&mut self) {
        if self.is_closed {
            return;
        }
        if self.buffered_bytes > self.config.limits.control_bytes_max {
            self.violate("too many bytes of unfinished messages");
        } else if self.events.len() > self.config.limits.events_queued_max {
            self.violate("too many messages at once");
        }
    }

    fn violate(&mut self, reason: &str) {
        self.violate_with(session_error::PROTOCOL_VIOLATION, reason.to_owned());
    }

    fn violate_message(&mut self, what: &str, error: DecodeError) {
        self.violate_with(session_error::PROTOCOL_VIOLATION, format!("{what}: {error}"));
    }

    fn violate_with(&mut self, code: ErrorCode, reason: String) {
        if self.is_closed {
            return;
        }
        self.events.push(SessionEvent::Violation {
            code,
            reason: reason.clone(),
        });
        self.end(code, reason);
    }

    fn end(&mut self, code: ErrorCode, reason: String) {
        self.is_closed = true;
        self.requests.clear();
        self.counts = RequestCounts::default();
        self.downstream.clear();
        self.held.clear();
        self.opened.clear();
        self.incoming.clear();
        self.unbound.clear();
        self.subscriptions.clear();
        self.tracks = Tracks::default();
        self.published.clear();
        self.announced = Announced::default();
        self.buffered_bytes = 0;
        self.outbox.close(code, reason);
    }
}

/// Of subscriptions and of tracks that name none (sections 9.2.7 and 12.4).
const PRIORITY_DEFAULT: u8 = 128;

/// Bits of a stream id that say opener and direction, below its ordinal.
const STREAM_ID_INDEX_SHIFT: u32 = 2;
