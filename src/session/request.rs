//! Requests of the peer: understood here, answered by commands of the owner.

use crate::wire::{
    AnnounceRequest, BidiType, DecodeError, Fetch, Goaway, Probe, StreamId, Subscribe, SubscribeUpdate, TrackRequest,
    session_error, stream_error,
};

use super::inbound::Step;
use super::streams::{Inbox, Request, Stream, Told};
use super::{Event, Session};

impl Session {
    /// The first message of a request.
    pub(super) fn handle_request_head(
        &mut self,
        stream: StreamId,
        kind: BidiType,
        mut inbox: Inbox,
        data: &[u8],
        fin: bool,
    ) -> Step {
        inbox.push(data);
        match self.parse_request(stream, kind, &mut inbox) {
            Ok(Some((request, event))) => {
                if !self.admit_request(&request, &event) {
                    self.refuse_stream(stream, stream_error::INTERNAL);
                    return if fin { Step::Done } else { Step::Keep(Stream::Discarded) };
                }
                self.tell(event);
                let rest = inbox.take_all();
                self.handle_request(stream, request, &rest, fin)
            }
            Ok(None) if matches!(kind, BidiType::Goaway) && self.saw_goaway => {
                // Answered by our own end of the stream (draft, "Termination").
                if fin { Step::Done } else { Step::Keep(Stream::Discarded) }
            }
            Ok(None) if fin => {
                self.violate(session_error::PROTOCOL_VIOLATION, "a request ended inside its message");
                Step::Done
            }
            Ok(None) => Step::Keep(Stream::RequestHead(kind, inbox)),
            Err(error) => {
                self.violate(session_error::PROTOCOL_VIOLATION, &format!("{kind:?} request: {error}"));
                Step::Done
            }
        }
    }

    fn parse_request(
        &mut self,
        stream: StreamId,
        kind: BidiType,
        inbox: &mut Inbox,
    ) -> Result<Option<(Request, Event)>, DecodeError> {
        let version = self.config.version;
        let request = stream;
        Ok(match kind {
            BidiType::Announce => inbox
                .take(|bytes| AnnounceRequest::decode(version, bytes))?
                .map(|message| {
                    let told = Request::Announce(Box::<Told>::default());
                    (told, Event::AnnounceRequest { request, message })
                }),
            BidiType::Subscribe => inbox.take(|bytes| Subscribe::decode(version, bytes))?.map(|message| {
                let id = message.id;
                (
                    Request::Subscribe(id, Inbox::default()),
                    Event::Subscribe { request, message },
                )
            }),
            BidiType::Fetch => inbox
                .take(|bytes| Fetch::decode(version, bytes))?
                .map(|message| (Request::Fetch { peer_done: false }, Event::Fetch { request, message })),
            BidiType::Track => inbox
                .take(|bytes| TrackRequest::decode(version, bytes))?
                .map(|message| (Request::Track { peer_done: false }, Event::Track { request, message })),
            BidiType::Probe => inbox
                .take(|bytes| Probe::decode(version, bytes))?
                .map(|message| (Request::Probe(Inbox::default()), Event::Probe { request, message })),
            BidiType::Goaway => {
                if let Some(goaway) = inbox.take(|bytes| Goaway::decode(version, bytes))? {
                    self.accept_goaway(stream, goaway);
                }
                None
            }
        })
    }

    /// Limits and duplicates, before a request is told of.
    fn admit_request(&mut self, request: &Request, event: &Event) -> bool {
        let limits = &self.config.limits;
        match request {
            Request::Subscribe(id, _) => {
                if self.subscribers.contains(id) {
                    self.violate(
                        session_error::PROTOCOL_VIOLATION,
                        "a Subscribe ID in use was used again",
                    );
                    return false;
                }
                if self.subscribers.len() >= limits.subscriptions_max {
                    return false;
                }
            }
            Request::Announce(_) => {
                let open = self
                    .streams
                    .values()
                    .filter(|stream| matches!(stream, Stream::Request(Request::Announce(_))))
                    .count();
                if open >= limits.announce_requests_max {
                    return false;
                }
            }
            Request::Fetch { .. } | Request::Track { .. } | Request::Probe(_) => {}
        }
        if self.must_hold() && self.held.len() >= limits.requests_held_max {
            return false;
        }
        if let (Request::Subscribe(id, _), Event::Subscribe { .. }) = (request, event) {
            self.subscribers.insert(*id);
        }
        true
    }

    /// A request's meaning depends on the Path in SETUP, so it waits for that.
    fn must_hold(&self) -> bool {
        self.config.version.has_setup() && self.peer_setup.is_none()
    }

    fn tell(&mut self, event: Event) {
        if self.must_hold() {
            self.held.push_back(event);
        } else {
            self.events.push_back(event);
        }
    }

    fn accept_goaway(&mut self, stream: StreamId, goaway: Goaway) {
        if std::mem::replace(&mut self.saw_goaway, true) {
            return self.violate(session_error::PROTOCOL_VIOLATION, "a second GOAWAY");
        }
        self.events.push_back(Event::Goaway { uri: goaway.uri });
        self.write(stream, bytes::Bytes::new(), true);
    }

    /// What follows the first message of a request: updates, and its end.
    pub(super) fn handle_request(&mut self, stream: StreamId, mut request: Request, data: &[u8], fin: bool) -> Step {
        let version = self.config.version;
        let parsed = match &mut request {
            Request::Subscribe(_, inbox) => {
                inbox.push(data);
                let mut take = || inbox.take(|bytes| SubscribeUpdate::decode(version, bytes));
                let mut updates = Vec::new();
                loop {
                    match take() {
                        Ok(Some(update)) => updates.push(update),
                        Ok(None) => {
                            break Ok(updates
                                .into_iter()
                                .map(|message| Event::SubscribeUpdate {
                                    request: stream,
                                    message,
                                })
                                .collect());
                        }
                        Err(error) => break Err(error),
                    }
                }
            }
            Request::Probe(inbox) => {
                inbox.push(data);
                let mut probes: Vec<Event> = Vec::new();
                loop {
                    match inbox.take(|bytes| Probe::decode(version, bytes)) {
                        // Only the latest target counts (draft, "Probe").
                        Ok(Some(message)) => {
                            probes = vec![Event::Probe {
                                request: stream,
                                message,
                            }]
                        }
                        Ok(None) => break Ok(probes),
                        Err(error) => break Err(error),
                    }
                }
            }
            _ if data.is_empty() => Ok(Vec::new()),
            _ => Err(DecodeError::Trailing),
        };
        match parsed {
            Ok(events) => events.into_iter().for_each(|event| self.tell(event)),
            Err(error) => {
                self.end_request(stream, &request);
                self.violate(session_error::PROTOCOL_VIOLATION, &format!("behind a request: {error}"));
                return Step::Done;
            }
        }
        if !fin {
            return Step::Keep(Stream::Request(request));
        }
        self.finish_request(stream, request)
    }

    /// The peer will send nothing more on its request. A subscriber or watcher that says so
    /// is done with it; a fetch or TRACK still wants its answer.
    fn finish_request(&mut self, stream: StreamId, request: Request) -> Step {
        match request {
            Request::Fetch { .. } => Step::Keep(Stream::Request(Request::Fetch { peer_done: true })),
            Request::Track { .. } => Step::Keep(Stream::Request(Request::Track { peer_done: true })),
            Request::Announce(_) | Request::Subscribe(..) | Request::Probe(_) => {
                self.end_request(stream, &request);
                self.write(stream, bytes::Bytes::new(), true);
                Step::Done
            }
        }
    }
}

/// The stream of a request that an event tells of.
pub(super) fn request_of(event: &Event) -> Option<StreamId> {
    match event {
        Event::AnnounceRequest { request, .. }
        | Event::Subscribe { request, .. }
        | Event::SubscribeUpdate { request, .. }
        | Event::Fetch { request, .. }
        | Event::Track { request, .. }
        | Event::Probe { request, .. } => Some(*request),
        _ => None,
    }
}
