//! Bytes, ends and resets of streams, taken to whoever follows the stream.

use bytes::Bytes;

use crate::wire::{BidiType, ErrorCode, Setup, StreamId, UniType, session_error, stream_error};

use super::streams::{Inbox, Request, Stream};
use super::{Event, Session, Side};

impl Session {
    /// Takes the next bytes of a stream, in order.
    ///
    /// Frames of drafts without timestamps get `arrival_timestamp_ms`.
    pub fn handle_stream(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp_ms: u64) {
        if self.is_closed {
            return;
        }
        let Some(mut state) = self.streams.remove(&stream).or_else(|| self.admit(stream)) else {
            return;
        };
        // The loop is for a stream's first bytes, which may hold type, header and content.
        let mut data = data;
        loop {
            let step = self.advance(stream, state, data, fin, arrival_timestamp_ms);
            match step {
                Step::Keep(next) => {
                    self.streams.insert(stream, next);
                    return;
                }
                Step::Again(next, rest) => {
                    state = next;
                    data = rest;
                }
                Step::Done => return,
            }
        }
    }

    /// A stream that is new to us. `None`: it is refused, or was ours and is over.
    fn admit(&mut self, stream: StreamId) -> Option<Stream> {
        if self.is_ours(stream) {
            return None;
        }
        if self.streams.len() >= self.config.limits.streams_max {
            self.refuse_stream(stream, stream_error::INTERNAL);
            return None;
        }
        Some(Stream::Untyped(Inbox::default()))
    }

    fn advance(&mut self, stream: StreamId, state: Stream, data: Bytes, fin: bool, timestamp_ms: u64) -> Step {
        match state {
            Stream::Untyped(inbox) => self.handle_untyped(stream, inbox, data, fin),
            Stream::Setup(inbox) => self.handle_setup(inbox, &data, fin),
            Stream::GroupHead(inbox) => self.handle_group_head(stream, inbox, data, fin),
            Stream::Group(group) => self.handle_group(stream, group, data, fin, timestamp_ms),
            Stream::RequestHead(kind, inbox) => self.handle_request_head(stream, kind, inbox, &data, fin),
            Stream::Request(request) => self.handle_request(stream, request, &data, fin),
            Stream::Announced(announced) => self.handle_announced(stream, announced, &data, fin),
            Stream::Subscription(id, inbox) => self.handle_subscription(stream, id, inbox, &data, fin),
            Stream::Track(inbox) => self.handle_track(stream, inbox, &data, fin),
            Stream::Fetch(parser) => self.handle_fetch(stream, parser, data, fin, timestamp_ms),
            Stream::Probe(inbox) => self.handle_probe(stream, inbox, &data, fin),
            Stream::Discarded if fin => Step::Done,
            Stream::Discarded => Step::Keep(Stream::Discarded),
        }
    }

    /// The stream's type (draft, "STREAM_TYPE": an unknown one is reset and never fatal).
    fn handle_untyped(&mut self, stream: StreamId, mut inbox: Inbox, data: Bytes, fin: bool) -> Step {
        inbox.push(&data);
        let version = self.config.version;
        let next = if stream.is_uni() {
            match inbox.take(|bytes| UniType::decode(version, bytes)) {
                Ok(Some(Some(UniType::Group))) => Some(Stream::GroupHead(Inbox::default())),
                Ok(Some(Some(UniType::Setup))) => Some(Stream::Setup(Inbox::default())),
                Ok(None) if !fin => return Step::Keep(Stream::Untyped(inbox)),
                _ => None,
            }
        } else {
            match inbox.take(|bytes| BidiType::decode(version, bytes)) {
                Ok(Some(Some(kind))) => Some(Stream::RequestHead(kind, Inbox::default())),
                Ok(None) if !fin => return Step::Keep(Stream::Untyped(inbox)),
                _ => None,
            }
        };
        match next {
            Some(Stream::Setup(_)) if std::mem::replace(&mut self.saw_setup, true) => {
                self.violate(session_error::PROTOCOL_VIOLATION, "a second Setup Stream");
                Step::Done
            }
            Some(next) => Step::Again(next, inbox.take_all()),
            None => {
                self.refuse_stream(stream, stream_error::INTERNAL);
                if fin { Step::Done } else { Step::Keep(Stream::Discarded) }
            }
        }
    }

    /// Draft, "Setup": exactly one message, then FIN.
    fn handle_setup(&mut self, mut inbox: Inbox, data: &[u8], fin: bool) -> Step {
        inbox.push(data);
        let version = self.config.version;
        match inbox.take(|bytes| Setup::decode(version, bytes)) {
            Ok(Some(setup)) => {
                if !inbox.is_empty() {
                    self.violate(session_error::PROTOCOL_VIOLATION, "bytes behind SETUP");
                } else {
                    self.accept_setup(setup);
                }
                if fin { Step::Done } else { Step::Keep(Stream::Discarded) }
            }
            Ok(None) if fin => {
                self.violate(session_error::PROTOCOL_VIOLATION, "the Setup Stream ended inside SETUP");
                Step::Done
            }
            Ok(None) => Step::Keep(Stream::Setup(inbox)),
            Err(error) => {
                self.violate(session_error::PROTOCOL_VIOLATION, &format!("SETUP: {error}"));
                Step::Done
            }
        }
    }

    fn accept_setup(&mut self, setup: Setup) {
        // Draft, "Path Parameter", "Role Parameter": only the client sends them.
        if self.config.side == Side::Client && (setup.path.is_some() || setup.role != crate::wire::Role::Both) {
            return self.violate(
                session_error::PROTOCOL_VIOLATION,
                "a server sent a client's SETUP parameter",
            );
        }
        self.peer_setup = Some(setup.clone());
        self.events.push_back(Event::Setup(setup));
        self.events.append(&mut self.held);
    }

    /// The peer reset its sending side.
    pub fn handle_reset(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(state) = self.streams.remove(&stream) else {
            return;
        };
        match state {
            Stream::Setup(_) => self.violate(session_error::PROTOCOL_VIOLATION, "the Setup Stream was reset"),
            Stream::Group(group) => self.events.push_back(Event::GroupReset {
                stream,
                token: group.token,
                code,
            }),
            Stream::Untyped(_) | Stream::GroupHead(_) | Stream::Discarded => {
                if !stream.is_uni() {
                    self.reset(stream, stream_error::CANCEL);
                }
            }
            Stream::RequestHead(..) => self.reset(stream, stream_error::CANCEL),
            Stream::Request(request) => {
                self.reset(stream, stream_error::CANCEL);
                self.end_request(stream, &request);
            }
            ours => self.end_ours(stream, ours, Some(code)),
        }
    }

    /// The peer reads our sending side no more. The transport answers with RESET_STREAM.
    pub fn handle_stop_sending(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(state) = self.streams.remove(&stream) else {
            return;
        };
        match state {
            Stream::Request(request) => {
                self.stop_sending(stream, stream_error::CANCEL);
                self.end_request(stream, &request);
            }
            Stream::RequestHead(..) | Stream::Untyped(_) => self.stop_sending(stream, stream_error::CANCEL),
            Stream::Discarded => {
                self.streams.insert(stream, Stream::Discarded);
            }
            ours if self.is_ours(stream) => {
                self.stop_sending(stream, stream_error::CANCEL);
                self.end_ours(stream, ours, Some(code));
            }
            // We never send on the peer's unidirectional streams.
            other => drop(self.streams.insert(stream, other)),
        }
    }

    /// Turns a stream of the peer down: its bytes are not wanted, and it gets no answer.
    pub(super) fn refuse_stream(&mut self, stream: StreamId, code: ErrorCode) {
        self.stop_sending(stream, code);
        if !stream.is_uni() {
            self.reset(stream, code);
        }
    }

    /// A request of the peer is over.
    pub(super) fn end_request(&mut self, stream: StreamId, request: &Request) {
        // One that is still held was never told of.
        let held = self.held.len();
        self.held
            .retain(|event| super::request::request_of(event) != Some(stream));
        if let Request::Subscribe(id, _) = request {
            self.subscribers.remove(id);
        }
        if held != self.held.len() {
            return;
        }
        self.events.push_back(match request {
            Request::Announce(_) => Event::AnnounceRequestEnded { request: stream },
            Request::Subscribe(..) => Event::SubscribeEnded { request: stream },
            Request::Fetch { .. } => Event::FetchEnded { request: stream },
            Request::Track { .. } => Event::TrackEnded { request: stream },
            Request::Probe(_) => Event::ProbeEnded { request: stream },
        });
    }

    /// A request of ours is over.
    pub(super) fn end_ours(&mut self, stream: StreamId, state: Stream, code: Option<ErrorCode>) {
        match state {
            Stream::Announced(announced) => self.end_announced(stream, *announced),
            Stream::Subscription(id, _) => {
                self.subscriptions.remove(&id);
                self.events.push_back(Event::SubscriptionClosed { id, code });
            }
            Stream::Track(_) => self.events.push_back(Event::TrackClosed {
                stream,
                code: code.unwrap_or(stream_error::INTERNAL),
            }),
            Stream::Fetch(_) => self.events.push_back(Event::FetchClosed { stream, code }),
            _ => {}
        }
    }
}

/// What follows the handling of some bytes.
pub(super) enum Step {
    Keep(Stream),
    /// The stream is now this, and these bytes are its own.
    Again(Stream, Bytes),
    Done,
}
