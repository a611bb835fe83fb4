//! The peer's request streams: what it asks, and when it stops asking.
//!
//! The peer ends a request by closing either direction, and both are then closed (draft
//! "Termination"). A request that waits for the peer's SETUP keeps its bytes unread. The Session
//! Stream of 01 and 02 is one that a client opens and that lasts as long as the session.

use bytes::{Bytes, BytesMut};

use crate::wire::{
    AnnounceRequest, BidiType, DecodeError, Fetch, Goaway, HandshakeForm, Probe, ProbeLevel, SessionClient,
    SessionUpdate, StreamId, Subscribe, SubscribeUpdate, TrackRequest, stream_error,
};

use super::announcing::Announcing;
use super::partial::Input;
use super::{AnnouncementEvent, Event, RequestEvent, Session, SessionEvent};

#[derive(Debug)]
pub(super) struct Request {
    pub(super) state: State,
    partial: BytesMut,
    /// The peer finished while the request was held.
    is_finished: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// The stream type is not complete.
    Untyped,
    /// Waits for the peer's SETUP.
    Held(BidiType),
    /// The first message is not complete.
    Asking(BidiType),
    Session(HandshakeForm),
    Announce(Box<Announcing>),
    Subscribe {
        is_confirmed: bool,
    },
    Fetch,
    Track,
    Probe,
    Goaway,
}

/// Live requests by kind, held and incomplete ones included.
#[derive(Debug, Default)]
pub(super) struct RequestCounts {
    sessions: usize,
    announces: usize,
    subscribes: usize,
    fetches: usize,
    tracks: usize,
    probes: usize,
    goaways: usize,
}

/// Whether the stream's state stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    /// It has been answered or refused; nothing is left of it.
    Drop,
}

impl Session {
    pub(super) fn handle_request(&mut self, stream: StreamId, data: Bytes, fin: bool) {
        let request = match self.requests.remove(&stream) {
            Some(request) => request,
            None if !self.is_first_sight(stream) => return,
            None if self.requests.len() >= self.config.limits.requests_max => {
                self.counters.requests_refused += 1;
                return self.refuse_stream(stream);
            }
            None => Request {
                state: State::Untyped,
                partial: BytesMut::new(),
                is_finished: false,
            },
        };
        self.advance_request(stream, request, data, fin);
    }

    /// The peer gave the request up.
    pub(super) fn reset_request(&mut self, stream: StreamId) {
        if !self.requests.contains_key(&stream) {
            // Its late bytes stay ignored. If nothing of it was seen our side is still open.
            if self.is_first_sight(stream) {
                self.outbox.reset(stream, stream_error::CANCEL);
            }
            return;
        }
        self.end_request(stream);
        if !self.is_closed {
            self.outbox.reset(stream, stream_error::CANCEL);
        }
    }

    /// The peer does not read our answer: the request is given up, also one whose first byte
    /// is still on its way.
    pub(super) fn stop_request(&mut self, stream: StreamId) {
        if !self.requests.contains_key(&stream) && !self.is_first_sight(stream) {
            return;
        }
        self.end_request(stream);
        if !self.is_closed {
            self.outbox.reset(stream, stream_error::CANCEL);
            self.outbox.stop_sending(stream, stream_error::CANCEL);
        }
    }

    /// Forgets a request, if there is one.
    pub(super) fn remove_request(&mut self, stream: StreamId) -> Option<Request> {
        let request = self.requests.remove(&stream)?;
        self.buffered_bytes -= request.partial.len();
        self.uncount(stream, &request.state);
        Some(request)
    }

    /// SETUP came: what waited for it is read, in the order it came.
    pub(super) fn release_held(&mut self) {
        while let Some(stream) = self.held.pop_front() {
            let Some(mut request) = self.requests.remove(&stream) else {
                continue;
            };
            if let State::Held(kind) = request.state {
                request.state = State::Asking(kind);
            }
            let fin = request.is_finished;
            self.advance_request(stream, request, Bytes::new(), fin);
            if self.is_closed {
                return;
            }
        }
    }

    /// The request is out of the map while it is looked at, and put back if it goes on.
    fn advance_request(&mut self, stream: StreamId, mut request: Request, data: Bytes, fin: bool) {
        self.buffered_bytes -= request.partial.len();
        let mut input = Input::new(std::mem::take(&mut request.partial), data);
        let mut next = self.read_request(stream, &mut request, &mut input);
        if next == Next::Keep && fin {
            next = self.finish_request(stream, &mut request, &input);
        }
        if self.is_closed {
            return;
        }
        if next == Next::Drop {
            self.uncount(stream, &request.state);
            return;
        }
        request.partial = input.into_partial();
        self.buffered_bytes += request.partial.len();
        self.requests.insert(stream, request);
    }

    fn read_request(&mut self, stream: StreamId, request: &mut Request, input: &mut Input) -> Next {
        loop {
            // The handshake changes it.
            let version = self.config.version;
            let step = match &mut request.state {
                State::Untyped => match input.take(|bytes| BidiType::decode(version, bytes)) {
                    Ok(Some(kind)) => Ok(Some(self.begin_request(stream, request, kind))),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                },
                State::Held(_) => return self.hold_request(stream, input),
                State::Session(_) => input.take(|bytes| SessionUpdate::decode(version, bytes)).map(|update| {
                    update.map(|SessionUpdate { bitrate }| self.emit(SessionEvent::SessionUpdate { bitrate }))
                }),
                State::Asking(kind) => {
                    let kind = *kind;
                    self.read_first_message(stream, request, kind, input)
                }
                State::Subscribe { .. } => input
                    .take(|bytes| SubscribeUpdate::decode(version, bytes))
                    .map(|update| {
                        update.map(|message| {
                            self.emit(RequestEvent::SubscribeUpdate {
                                request: stream,
                                message,
                            })
                        })
                    }),
                State::Probe => input.take(|bytes| Probe::decode(version, bytes)).map(|probe| {
                    probe.map(|message| {
                        self.emit(RequestEvent::Probe {
                            request: stream,
                            message,
                        })
                    })
                }),
                State::Announce(_) | State::Fetch | State::Track | State::Goaway => {
                    // Each of these is one message, with nothing after it.
                    if !input.is_empty() {
                        self.violate("message after a request that takes none");
                        return Next::Drop;
                    }
                    return Next::Keep;
                }
            };
            match step {
                Ok(Some(Next::Keep)) => {}
                Ok(Some(Next::Drop)) => return Next::Drop,
                Ok(None) => return Next::Keep,
                Err(error) => return self.reject_message(stream, &request.state, error),
            }
        }
    }

    fn emit(&mut self, event: impl Into<Event>) -> Next {
        self.events.push(event);
        Next::Keep
    }

    fn begin_request(&mut self, stream: StreamId, request: &mut Request, kind: Option<BidiType>) -> Next {
        if !self.check_first_stream(kind) {
            return Next::Drop;
        }
        let Some(kind) = kind else {
            // Draft "STREAM_TYPE": never fatal.
            self.counters.streams_unknown += 1;
            self.refuse_stream(stream);
            return Next::Drop;
        };
        if *self.request_counts.of(kind) >= self.requests_max(kind) {
            self.counters.requests_refused += 1;
            self.refuse_stream(stream);
            return Next::Drop;
        }
        let has_setup = self.config.version.has_setup();
        // A publisher without the capability resets the stream (draft "Probe"). Before 05 there
        // is no SETUP to say so in, and the caller decides.
        if kind == BidiType::Probe && has_setup && self.config.setup.probe == ProbeLevel::None {
            self.refuse_stream(stream);
            return Next::Drop;
        }
        // What the peer asks depends on its SETUP, which names the path it asks under.
        let is_session = matches!(kind, BidiType::Session | BidiType::SessionCompat);
        let is_held = self.is_setup_due() && kind != BidiType::Goaway && !is_session;
        if is_held && self.held.len() >= self.config.limits.requests_held_max {
            self.counters.requests_refused += 1;
            self.refuse_stream(stream);
            return Next::Drop;
        }
        *self.request_counts.of(kind) += 1;
        if is_held {
            self.held.push_back(stream);
            request.state = State::Held(kind);
        } else {
            request.state = State::Asking(kind);
        }
        Next::Keep
    }

    fn hold_request(&mut self, stream: StreamId, input: &Input) -> Next {
        if input.len() <= self.config.limits.control_buffer_bytes_max {
            return Next::Keep;
        }
        self.counters.requests_refused += 1;
        self.refuse_stream(stream);
        Next::Drop
    }

    fn read_goaway(&mut self, request: &mut Request, input: &mut Input) -> Result<Option<Next>, DecodeError> {
        let version = self.config.version;
        let Some(goaway) = input.take(|bytes| Goaway::decode(version, bytes))? else {
            return Ok(None);
        };
        if self.is_going_away {
            self.violate("second GOAWAY");
            return Ok(Some(Next::Drop));
        }
        self.is_going_away = true;
        request.state = State::Goaway;
        self.events.push(SessionEvent::Goaway { uri: goaway.uri });
        Ok(Some(Next::Keep))
    }

    fn read_client(
        &mut self,
        stream: StreamId,
        request: &mut Request,
        form: HandshakeForm,
        input: &mut Input,
    ) -> Result<Option<Next>, DecodeError> {
        let Some(client) = input.take(|bytes| SessionClient::decode(form, bytes))? else {
            return Ok(None);
        };
        request.state = State::Session(form);
        self.accept_client(stream, form, client);
        Ok(Some(if self.is_closed { Next::Drop } else { Next::Keep }))
    }

    fn read_first_message(
        &mut self,
        stream: StreamId,
        request: &mut Request,
        kind: BidiType,
        input: &mut Input,
    ) -> Result<Option<Next>, DecodeError> {
        let version = self.config.version;
        let (state, event): (State, Event) = match kind {
            BidiType::Session => return self.read_client(stream, request, HandshakeForm::Session, input),
            BidiType::SessionCompat => return self.read_client(stream, request, HandshakeForm::Compat, input),
            BidiType::Goaway => return self.read_goaway(request, input),
            BidiType::Announce => match input.take(|bytes| AnnounceRequest::decode(version, bytes))? {
                Some(message) => (
                    State::Announce(Box::default()),
                    AnnouncementEvent::AnnounceRequest {
                        request: stream,
                        message,
                    }
                    .into(),
                ),
                None => return Ok(None),
            },
            BidiType::Subscribe => match input.take(|bytes| Subscribe::decode(version, bytes))? {
                Some(message) => {
                    // Draft "SUBSCRIBE": not reused, even if the prior subscription is closed.
                    if self.subscribe_ids_seen.insert(message.id.0) == super::Sighting::Repeated {
                        self.violate("Subscribe ID used twice");
                        return Ok(Some(Next::Drop));
                    }
                    (
                        State::Subscribe { is_confirmed: false },
                        RequestEvent::Subscribe {
                            request: stream,
                            message,
                        }
                        .into(),
                    )
                }
                None => return Ok(None),
            },
            BidiType::Fetch => match input.take(|bytes| Fetch::decode(version, bytes))? {
                Some(message) => (
                    State::Fetch,
                    RequestEvent::Fetch {
                        request: stream,
                        message,
                    }
                    .into(),
                ),
                None => return Ok(None),
            },
            BidiType::Track => match input.take(|bytes| TrackRequest::decode(version, bytes))? {
                Some(message) => (
                    State::Track,
                    RequestEvent::Track {
                        request: stream,
                        message,
                    }
                    .into(),
                ),
                None => return Ok(None),
            },
            // The released peers open a Probe Stream and say nothing on it: it is a request for
            // reports as it is.
            BidiType::Probe => (
                State::Probe,
                RequestEvent::Probe {
                    request: stream,
                    message: Probe::default(),
                }
                .into(),
            ),
        };
        request.state = state;
        self.events.push(event);
        Ok(Some(Next::Keep))
    }

    /// The peer finished its side; ours is to be closed too (draft "Termination").
    fn finish_request(&mut self, stream: StreamId, request: &mut Request, rest: &Input) -> Next {
        match request.state {
            State::Held(_) => {
                request.is_finished = true;
                return Next::Keep;
            }
            State::Asking(_) => self.outbox.reset(stream, stream_error::MALFORMED_TRACK),
            // Cut short, the answer would read as whole: the released peers reset here too.
            State::Fetch | State::Track => self.outbox.reset(stream, stream_error::CANCEL),
            _ if !rest.is_empty() => self.outbox.reset(stream, stream_error::MALFORMED_TRACK),
            _ => self.outbox.finish(stream),
        }
        self.push_ended(stream, &request.state);
        Next::Drop
    }

    /// A message above our limits is refused on its stream; one that cannot be right closes the
    /// session (draft "Message Length").
    fn reject_message(&mut self, stream: StreamId, state: &State, error: DecodeError) -> Next {
        match error {
            _ if matches!(state.kind(), Some(BidiType::Session | BidiType::SessionCompat)) => {
                self.reject_handshake(error);
            }
            DecodeError::TooLarge(_) => {
                self.counters.requests_refused += 1;
                self.refuse_stream(stream);
                self.push_ended(stream, state);
            }
            _ => self.violate_message("request", error),
        }
        Next::Drop
    }

    fn refuse_stream(&mut self, stream: StreamId) {
        self.outbox.reset(stream, stream_error::INTERNAL);
        self.outbox.stop_sending(stream, stream_error::INTERNAL);
    }

    fn end_request(&mut self, stream: StreamId) {
        if let Some(request) = self.remove_request(stream) {
            self.push_ended(stream, &request.state);
        }
    }

    fn push_ended(&mut self, request: StreamId, state: &State) {
        let event: Event = match state {
            State::Session(_) | State::Asking(BidiType::Session | BidiType::SessionCompat) => {
                return self.end_session_stream();
            }
            State::Untyped | State::Held(_) | State::Asking(_) | State::Goaway => return,
            State::Announce(_) => AnnouncementEvent::AnnounceRequestEnded { request }.into(),
            State::Subscribe { .. } => RequestEvent::SubscribeEnded { request }.into(),
            State::Fetch => RequestEvent::FetchEnded { request }.into(),
            State::Track => RequestEvent::TrackEnded { request }.into(),
            State::Probe => RequestEvent::ProbeEnded { request }.into(),
        };
        self.events.push(event);
    }

    fn uncount(&mut self, stream: StreamId, state: &State) {
        if let Some(kind) = state.kind() {
            *self.request_counts.of(kind) -= 1;
        }
        if matches!(state, State::Held(_)) {
            self.held.retain(|held| *held != stream);
        }
    }

    fn requests_max(&self, kind: BidiType) -> usize {
        let limits = &self.config.limits;
        match kind {
            BidiType::Session | BidiType::SessionCompat => SESSIONS_MAX,
            BidiType::Announce => limits.announce_requests_max,
            BidiType::Subscribe => limits.subscriptions_max,
            BidiType::Fetch => limits.fetches_max,
            BidiType::Track => limits.track_requests_max,
            BidiType::Probe => limits.probes_max,
            // The second is a violation, which is known when its message is read.
            BidiType::Goaway => GOAWAYS_MAX,
        }
    }
}

impl State {
    /// `None` while it is not known.
    fn kind(&self) -> Option<BidiType> {
        Some(match self {
            Self::Untyped => return None,
            Self::Held(kind) | Self::Asking(kind) => *kind,
            Self::Session(form) => form.stream_type(),
            Self::Announce(_) => BidiType::Announce,
            Self::Subscribe { .. } => BidiType::Subscribe,
            Self::Fetch => BidiType::Fetch,
            Self::Track => BidiType::Track,
            Self::Probe => BidiType::Probe,
            Self::Goaway => BidiType::Goaway,
        })
    }
}

impl RequestCounts {
    fn of(&mut self, kind: BidiType) -> &mut usize {
        match kind {
            BidiType::Session | BidiType::SessionCompat => &mut self.sessions,
            BidiType::Announce => &mut self.announces,
            BidiType::Subscribe => &mut self.subscribes,
            BidiType::Fetch => &mut self.fetches,
            BidiType::Track => &mut self.tracks,
            BidiType::Probe => &mut self.probes,
            BidiType::Goaway => &mut self.goaways,
        }
    }
}

const GOAWAYS_MAX: usize = 2;

/// Draft 01 "Session": there is only one.
const SESSIONS_MAX: usize = 1;
