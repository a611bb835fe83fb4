//! One moq-lite peer, sans-IO: bytes of streams in, events and bytes out.
//!
//! The owner of the connection feeds [`Session::handle_stream`] and its siblings, takes
//! [`Event`]s, answers with commands, and does what [`Session::poll_transmit`] says. Either
//! side may publish and subscribe, any mix on one session. Streams may come in any order
//! and any fragmentation; a stream that ends, however, frees all that was kept for it.
#![forbid(unsafe_code)]

mod announced;
mod answer;
mod event;
mod group;
mod inbound;
pub mod limits;
mod request;
mod response;
mod streams;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::wire::{ErrorCode, HopId, Setup, StreamId, SubscribeId, UniType, Version};

pub use event::{Event, SubscribeParameters, Transmit};
pub use limits::SessionLimits;

use streams::Stream;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// How a session begins.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub side: Side,
    pub version: Version,
    /// What we declare, from moq-lite-05 on. A Path and a Role are sent by clients only.
    pub setup: Setup,
    /// Our hop id: told in ANNOUNCE_OK, looked for in announcements that loop back.
    pub hop: HopId,
    pub limits: SessionLimits,
}

/// How much a session holds, for metrics and for tests that look for leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    pub streams: usize,
    /// Subscriptions we made.
    pub subscriptions: usize,
    /// Subscriptions the peer made.
    pub subscribers: usize,
    /// Broadcasts that the peer has announced.
    pub announced: usize,
    /// Requests that wait for the peer's SETUP.
    pub held: usize,
    /// Groups and datagrams of no live subscription, since the start.
    pub unwanted: u64,
    /// Announcements that had looped back, since the start.
    pub reflected: u64,
}

/// The state machine of one peer.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    streams: FxHashMap<StreamId, Stream>,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
    /// Our next streams, counted without the type bits.
    next_bidi: u64,
    next_uni: u64,
    next_subscribe: u64,
    /// Our subscriptions and their streams.
    subscriptions: FxHashMap<SubscribeId, StreamId>,
    /// Ids of the peer's live subscriptions.
    subscribers: FxHashSet<SubscribeId>,
    announced: usize,
    peer_setup: Option<Setup>,
    saw_setup: bool,
    saw_goaway: bool,
    sent_goaway: bool,
    /// Requests that depend on the peer's SETUP, in their order.
    held: VecDeque<Event>,
    unwanted: u64,
    reflected: u64,
    is_closed: bool,
}

impl Session {
    /// A session whose connection is established. From moq-lite-05 on SETUP is the first
    /// thing it sends: the released servers take no other stream before it.
    pub fn new(config: SessionConfig) -> Self {
        let mut session = Self {
            streams: FxHashMap::default(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            next_bidi: 0,
            next_uni: 0,
            next_subscribe: 0,
            subscriptions: FxHashMap::default(),
            subscribers: FxHashSet::default(),
            announced: 0,
            peer_setup: None,
            saw_setup: false,
            saw_goaway: false,
            sent_goaway: false,
            held: VecDeque::new(),
            unwanted: 0,
            reflected: 0,
            is_closed: false,
            config,
        };
        if session.config.version.has_setup() {
            session.send_setup();
        }
        session
    }

    pub fn version(&self) -> Version {
        self.config.version
    }

    /// The peer's SETUP, once it came.
    pub fn peer_setup(&self) -> Option<&Setup> {
        self.peer_setup.as_ref()
    }

    pub fn stats(&self) -> SessionStats {
        SessionStats {
            streams: self.streams.len(),
            subscriptions: self.subscriptions.len(),
            subscribers: self.subscribers.len(),
            announced: self.announced,
            held: self.held.len(),
            unwanted: self.unwanted,
            reflected: self.reflected,
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Ends the session with a code of the session registry.
    pub fn close(&mut self, code: ErrorCode, reason: &str) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.transmits.push_back(Transmit::Close {
                code,
                reason: reason.to_owned(),
            });
        }
    }

    /// The peer broke a rule that ends the session.
    fn violate(&mut self, code: ErrorCode, reason: &str) {
        if !self.is_closed {
            self.events.push_back(Event::Violation {
                code,
                reason: reason.to_owned(),
            });
            self.close(code, reason);
        }
    }

    fn send_setup(&mut self) {
        let mut setup = self.config.setup.clone();
        if self.config.side == Side::Server {
            // Draft, "Path Parameter" and "Role Parameter": only the client sends them.
            setup.path = None;
            setup.role = crate::wire::Role::Both;
        }
        let version = self.config.version;
        let mut out = BytesMut::new();
        let encoded = UniType::Setup
            .encode(version, &mut out)
            .and_then(|()| setup.encode(version, &mut out));
        match encoded {
            Ok(()) => {
                let stream = self.open_uni();
                self.write(stream, out.freeze(), true);
            }
            Err(error) => self.close(crate::wire::session_error::INTERNAL, &format!("our SETUP: {error}")),
        }
    }

    /// The next stream that we open to send a group on. It is not tracked here: the egress
    /// scheduler owns it.
    pub fn open_uni(&mut self) -> StreamId {
        let stream = StreamId(self.next_uni << 2 | UNI_BIT | self.side_bit());
        self.next_uni += 1;
        stream
    }

    fn open_bidi(&mut self) -> StreamId {
        let stream = StreamId(self.next_bidi << 2 | self.side_bit());
        self.next_bidi += 1;
        stream
    }

    fn side_bit(&self) -> u64 {
        u64::from(self.config.side == Side::Server)
    }

    /// Whether a stream was opened by us.
    fn is_ours(&self, stream: StreamId) -> bool {
        stream.is_client() == (self.config.side == Side::Client)
    }

    fn write(&mut self, stream: StreamId, data: Bytes, fin: bool) {
        self.transmits.push_back(Transmit::Write { stream, data, fin });
    }

    fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.transmits.push_back(Transmit::Reset { stream, code });
    }

    fn stop_sending(&mut self, stream: StreamId, code: ErrorCode) {
        self.transmits.push_back(Transmit::StopSending { stream, code });
    }
}

/// QUIC stream ids: bit 0 tells the opener, bit 1 the direction (RFC 9000, section 2.1).
const UNI_BIT: u64 = 2;
