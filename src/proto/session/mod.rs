//! One moq-lite peer as a state machine without I/O: bytes of streams go in, events and things
//! to do on the connection come out.
//!
//! Both ends of a session may publish and subscribe. Streams come in any order and any
//! fragmentation; all state of a stream goes when the stream ends or is given up, and what comes
//! late on it is ignored. Everything the peer can make grow is bounded (see [`limits`]), but for
//! what waits in `poll_transmit` and `poll_event`: the caller takes that after each input.
//!
//! Begin with [`Session::new`] and the example on the front page of the crate. In go bytes, resets and datagrams
//! (`handle_*`) and the caller's own wishes: a subscriber's are [`Session::subscribe`] and those beside it, a publisher's
//! answers are [`Session::announce`], [`Session::subscribe_ok`] and those beside them. Out come [`Event`]s and
//! [`Transmit`]s. The bytes of groups that we publish do not pass through: the caller writes them behind
//! [`Session::group_header`].

mod announced;
mod announcing;
mod config;
pub(crate) mod event;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
mod handshake;
mod incoming;
pub mod limits;
mod opened;
pub(crate) mod partial;
mod publisher;
mod requests;
pub(crate) mod seen;
mod subscriber;
pub(crate) mod subscriptions;
pub(crate) mod transmit;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

pub use config::{SessionConfig, SessionCounters, SessionLimits, SessionLive, SessionStats, Side, SubscribeParameters};
pub use event::{AnnouncementEvent, AnswerEvent, Event, GROUP_TOKEN_NONE, MediaEvent, RequestEvent, SessionEvent};
pub use transmit::Transmit;

use crate::wire::{DecodeError, EncodeError, ErrorCode, Role, Setup, StreamId, UniType, Version, session_error};
use event::EventQueue;
use incoming::Incoming;
use opened::Opened;
use requests::{Request, RequestCounts};
use seen::{SeenSet, Sighting};
use subscriptions::Subscriptions;
use transmit::Outbox;

/// One end of a moq-lite session.
///
/// The caller feeds what arrives into `handle_*`, and after each input takes everything from
/// [`poll_event`](Self::poll_event) and [`poll_transmit`](Self::poll_transmit). Commands are methods too; what they
/// send comes out of `poll_transmit`. The head and the frames of groups are the caller's own writes: see
/// [`open_uni`](Self::open_uni) and [`group_header`](Self::group_header).
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    /// Closed by either end: nothing goes in or out but what is queued.
    is_closed: bool,
    /// The peer has sent GOAWAY: we must not open streams (draft "Goaway").
    is_going_away: bool,
    is_goaway_sent: bool,
    is_setup_begun: bool,
    /// What the peer said in SETUP or in the handshake of 01 and 02.
    peer_setup: Option<Setup>,
    /// That of 01 and 02.
    session_stream: Option<StreamId>,
    /// In our last SESSION_UPDATE.
    bitrate_said: u64,

    bidi_opened: u64,
    uni_opened: u64,
    bidi_seen: SeenSet,
    uni_seen: SeenSet,
    subscribe_ids_seen: SeenSet,

    /// Two-way streams of the peer.
    requests: FxHashMap<StreamId, Request>,
    request_counts: RequestCounts,
    /// Requests that wait for the peer's SETUP, in order.
    held: VecDeque<StreamId>,
    /// Two-way streams of ours.
    opened: FxHashMap<StreamId, Opened>,
    /// One-way streams of the peer.
    incoming: FxHashMap<StreamId, Incoming>,
    subscriptions: Subscriptions,
    announced_count: usize,
    buffered_bytes: usize,

    events: EventQueue,
    outbox: Outbox,
    counters: SessionCounters,
}

impl Session {
    /// On 05 and later the first thing to send is our SETUP, on our first one-way stream: a
    /// released server reads the first that arrives and refuses all before SETUP. On 01 and 02 it is
    /// a client's SESSION_CLIENT.
    pub fn new(config: SessionConfig) -> Self {
        let (bidi_opened, uni_opened) = (config.heads.bidi_taken, config.heads.uni_taken);
        let mut session = Self {
            config,
            is_closed: false,
            is_going_away: false,
            is_goaway_sent: false,
            is_setup_begun: false,
            peer_setup: None,
            session_stream: None,
            bitrate_said: 0,
            bidi_opened,
            uni_opened,
            bidi_seen: SeenSet::new(limits::STREAM_GAPS_MAX),
            uni_seen: SeenSet::new(limits::STREAM_GAPS_MAX),
            subscribe_ids_seen: SeenSet::new(limits::SUBSCRIBE_ID_GAPS_MAX),
            requests: FxHashMap::default(),
            request_counts: RequestCounts::default(),
            held: VecDeque::new(),
            opened: FxHashMap::default(),
            incoming: FxHashMap::default(),
            subscriptions: Subscriptions::default(),
            announced_count: 0,
            buffered_bytes: 0,
            events: EventQueue::default(),
            outbox: Outbox::default(),
            counters: SessionCounters::default(),
        };
        session.send_setup();
        session.open_session_stream();
        session
    }

    /// The next bytes of a stream, in order. `arrival_timestamp_ms` is for frames of versions
    /// that carry no timestamps.
    pub fn handle_stream(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp_ms: u64) {
        if self.is_closed {
            return;
        }
        match (stream.is_uni(), self.is_ours(stream)) {
            (true, false) => self.handle_incoming(stream, data, fin, arrival_timestamp_ms),
            (false, false) => self.handle_request(stream, data, fin),
            (false, true) => self.handle_opened(stream, data, fin, arrival_timestamp_ms),
            // The peer cannot send on our one-way streams.
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
            (false, false) => self.reset_request(stream),
            (false, true) => self.reset_opened(stream, code),
            (true, true) => {}
        }
        self.check_growth();
    }

    /// The peer does not read our sending side any more. For group streams, which the caller
    /// writes, that is the caller's to act on.
    pub fn handle_stop_sending(&mut self, stream: StreamId) {
        if self.is_closed || stream.is_uni() {
            return;
        }
        if self.is_ours(stream) {
            self.stop_opened(stream);
        } else {
            self.stop_request(stream);
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

    /// Ends the session. What it held is dropped without events, and so are those not yet taken:
    /// a caller that turns a peer away at its SETUP does not meet the requests behind it.
    pub fn close(&mut self, code: ErrorCode, reason: &str) {
        if !self.is_closed {
            self.events = EventQueue::default();
            self.end(code, reason.to_owned());
        }
    }

    /// How many broadcasts the peer may announce from now on, see [`SessionLimits::announced_max`].
    pub fn set_announced_max(&mut self, announced_max: usize) {
        self.config.limits.announced_max = announced_max;
    }

    /// Whether either end has closed the session. What is queued can still be taken; nothing else comes in or goes out.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What the peer said in SETUP (05 and later) or in the handshake (01 and 02). `None` before, and always on 03 and
    /// 04.
    pub fn peer_setup(&self) -> Option<&Setup> {
        self.peer_setup.as_ref()
    }

    /// The version spoken. While it [is negotiated](Self::is_negotiating), the best to choose from.
    pub fn version(&self) -> Version {
        self.config.version
    }

    /// Which end we are.
    pub fn side(&self) -> Side {
        self.config.side
    }

    /// What the session holds now, and what it has counted. Cheap: nothing is walked through.
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            streams: self.requests.len() + self.opened.len() + self.incoming.len(),
            live: SessionLive {
                requests: self.requests.len(),
                requests_held: self.held.len(),
                opened: self.opened.len(),
                subscriptions: self.subscriptions.open_count(),
                incoming: self.incoming.len(),
                announced: self.announced_count,
                buffered_bytes: self.buffered_bytes,
            },
            counters: self.counters,
        }
    }

    fn send_setup(&mut self) {
        let version = self.config.version;
        if !version.has_setup() {
            return;
        }
        let stream = self.open_uni();
        let head = self.config.heads.uni.clone();
        let encode = |setup: &Setup, out: &mut BytesMut| {
            out.extend_from_slice(&head);
            UniType::Setup.encode(version, out)?;
            setup.encode(version, out)
        };
        if self.config.side == Side::Server {
            // Draft "Path Parameter" and "Role Parameter": only the client sends them.
            self.config.setup.path = None;
            self.config.setup.role = Role::Both;
        }
        let sent = self.outbox.write(stream, |out| encode(&self.config.setup, out));
        if !self.count_unsendable(sent) {
            // The peer waits for a SETUP: for one that cannot be said it gets the defaults.
            let sent = self.outbox.write(stream, |out| encode(&Setup::default(), out));
            self.count_unsendable(sent);
        }
        self.outbox.finish(stream);
    }

    fn is_ours(&self, stream: StreamId) -> bool {
        stream.is_client() == (self.config.side == Side::Client)
    }

    /// True when the stream has not been seen before, and is from here on.
    fn is_first_sight(&mut self, stream: StreamId) -> bool {
        let seen = if stream.is_uni() {
            &mut self.uni_seen
        } else {
            &mut self.bidi_seen
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

    fn count_unsendable(&mut self, result: Result<(), EncodeError>) -> bool {
        // As `u64::from(result.is_err())`, rustc 1.95 adds nothing when it optimises.
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

    /// A message that cannot be right (draft "Message Length").
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
        self.request_counts = RequestCounts::default();
        self.held.clear();
        self.opened.clear();
        self.incoming.clear();
        self.subscriptions.clear();
        self.announced_count = 0;
        self.buffered_bytes = 0;
        self.outbox.close(code, reason);
    }
}

/// Bits of a stream id that say opener and direction, below its ordinal.
const STREAM_ID_INDEX_SHIFT: u32 = 2;

#[cfg(test)]
mod tests;
