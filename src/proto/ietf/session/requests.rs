//! The peer's request streams: what it asks, and when it stops asking.
//!
//! A request is over when the peer closes either direction of its stream. One that waits for the peer's SETUP keeps its
//! bytes unread. PUBLISH is a request too: the peer offers a track, which it is asked to send when somebody here wants it.

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashSet;

use crate::ietf::codes::{self, request_code, session_code};
use crate::ietf::limits::PUBLISHED_TRACKS_MAX;
use crate::ietf::messages::{
    Filter, FullName, Message, Namespace, Parameters, Request as Asked, TrackProperties, message,
};
use crate::limits::VARINT_MAX;
use crate::session::partial::Input;
use crate::session::seen::Sighting;
use crate::session::{AnnouncementEvent, AnswerEvent, RequestEvent, Side};
use crate::wire::{
    Advertisement, AnnounceRequest, BroadcastPath, GroupRange, GroupSequence, HopId, StreamId, Subscribe, SubscribeId,
    SubscribeUpdate, TrackName, TrackRequest, stream_error,
};

use super::tracks::Track;
use super::{PRIORITY_DEFAULT, Session};

#[derive(Debug)]
pub(super) struct Request {
    pub(super) state: State,
    partial: BytesMut,
    /// The peer finished while the request was held.
    is_finished: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// Waits for the peer's SETUP.
    Held,
    /// The first message is not complete.
    Asking,
    Subscribe {
        id: SubscribeId,
        is_accepted: bool,
        parameters: Box<Parameters>,
    },
    TrackStatus,
    PublishNamespace(BroadcastPath),
    SubscribeNamespace {
        prefix: BroadcastPath,
        is_accepted: bool,
        live: FxHashSet<BroadcastPath>,
    },
    Publish {
        name: (BroadcastPath, TrackName),
        alias: u64,
        subscriber: Option<SubscribeId>,
        properties: Box<TrackProperties>,
    },
}

/// Live requests by kind.
#[derive(Debug, Default)]
pub(super) struct RequestCounts {
    subscriptions: usize,
    /// What those for namespaces ask for: at most `announce_requests_max`.
    prefixes: Vec<BroadcastPath>,
    statuses: usize,
}

impl Session {
    pub(super) fn handle_request(&mut self, stream: StreamId, data: Bytes, fin: bool) {
        let request = match self.requests.remove(&stream) {
            Some(request) => request,
            None if !self.is_first_sight(stream) => return,
            None if self.requests.len() >= self.config.limits.requests_max => {
                return self.refuse_request(stream, request_code::EXCESSIVE_LOAD, "too many requests");
            }
            None if self.peer_setup.is_some() => Request::new(State::Asking),
            None if self.held.len() >= self.config.limits.requests_held_max => {
                return self.refuse_request(stream, request_code::EXCESSIVE_LOAD, "too many requests before SETUP");
            }
            None => {
                self.held.push_back(stream);
                Request::new(State::Held)
            }
        };
        self.advance_request(stream, request, data, fin);
    }

    /// The peer gives the request up: it reset its side, or does not read ours any more.
    pub(super) fn cancel_request(&mut self, stream: StreamId, is_abrupt: bool) {
        if self.requests.contains_key(&stream) {
            self.end_request(stream);
        } else if !self.is_first_sight(stream) {
            return;
        }
        if is_abrupt && !self.is_closed {
            self.outbox.reset(stream, stream_error::CANCEL);
            self.outbox.stop_sending(stream, stream_error::CANCEL);
        }
    }

    /// Forgets a request, if there is one.
    pub(super) fn remove_request(&mut self, stream: StreamId) -> Option<Request> {
        let request = self.requests.remove(&stream)?;
        self.buffered_bytes -= request.partial.len();
        self.uncount(&request.state);
        if matches!(request.state, State::Held) {
            self.held.retain(|held| *held != stream);
        }
        Some(request)
    }

    /// SETUP came: what waited for it is read, in the order it came.
    pub(super) fn release_held(&mut self) {
        while let Some(stream) = self.held.pop_front() {
            if let Some(mut request) = self.requests.remove(&stream) {
                request.state = State::Asking;
                let fin = request.is_finished;
                self.advance_request(stream, request, Bytes::new(), fin);
            }
            if self.is_closed {
                return;
            }
        }
    }

    /// The request is out of the map while it is looked at, and put back if it goes on.
    fn advance_request(&mut self, stream: StreamId, mut request: Request, data: Bytes, fin: bool) {
        self.buffered_bytes -= request.partial.len();
        let mut input = Input::new(std::mem::take(&mut request.partial), data);
        let mut goes_on = true;
        if !matches!(request.state, State::Held) {
            while goes_on {
                match input.take(Message::decode) {
                    Ok(Some(message)) => goes_on = self.take_message(stream, &mut request, message),
                    Ok(None) => break,
                    Err(error) => return self.violate_message("request", error),
                }
                if self.is_closed {
                    return;
                }
            }
        } else if input.len() > self.config.limits.control_buffer_bytes_max {
            self.held.retain(|held| *held != stream);
            return self.refuse_request(stream, request_code::EXCESSIVE_LOAD, "too much before SETUP");
        }
        if !goes_on {
            return self.uncount(&request.state);
        }
        request.is_finished |= fin;
        let rest = input.into_partial();
        let is_cut = fin && !rest.is_empty() && !matches!(request.state, State::Held);
        request.partial = rest;
        self.buffered_bytes += request.partial.len();
        let is_over = fin && request.ends_with_fin();
        self.requests.insert(stream, request);
        if is_cut {
            return self.violate("request stream ended inside a message");
        }
        if is_over {
            self.end_request(stream);
            if !self.is_closed {
                self.outbox.finish(stream);
            }
        }
    }

    /// False when nothing is left of the request: it was refused, or is over.
    fn take_message(&mut self, stream: StreamId, request: &mut Request, message: Message) -> bool {
        match (&mut request.state, message) {
            (State::Asking, Message::Request { id, request: asked }) => {
                self.is_next_id(id) && self.begin_request(stream, request, id, asked)
            }
            (State::Asking | State::Held, _) => {
                self.violate("message that begins no request");
                false
            }
            (_, Message::Update { id, parameters }) => {
                self.is_next_id(id) && self.update_request(stream, &mut request.state, parameters)
            }
            (State::Publish { .. }, Message::PublishDone { status }) => {
                self.withdraw_track(&request.state, Some(status));
                request.state = State::Asking;
                self.outbox.finish(stream);
                false
            }
            // The answer to our REQUEST_UPDATE.
            (State::Publish { .. }, Message::RequestOk | Message::RequestError { .. }) => true,
            // The peer wants this request elsewhere; it ends it by itself.
            (_, Message::Goaway { .. }) => true,
            _ => {
                self.violate("message on a request stream that is not for it");
                false
            }
        }
    }

    /// Section 9.1: of the peer's parity, and not used before.
    fn is_next_id(&mut self, id: u64) -> bool {
        let parity = u64::from(self.config.side == Side::Client);
        if id % 2 != parity || self.request_ids_seen.insert(id / 2) != Sighting::New {
            self.violate_with(session_code::INVALID_REQUEST_ID, "request id".to_owned());
            return false;
        }
        self.peer_request_id = self.peer_request_id.max(id.saturating_add(2));
        true
    }

    fn begin_request(&mut self, stream: StreamId, request: &mut Request, id: u64, asked: Asked) -> bool {
        if self.is_goaway_sent && !matches!(asked, Asked::Subscribe { .. }) {
            self.refuse_request(stream, request_code::GOING_AWAY, "going away");
            return false;
        }
        let begun = match asked {
            Asked::Subscribe { name, parameters } => self.begin_subscribe(stream, id, name, parameters),
            Asked::TrackStatus { name } => self.begin_status(stream, name),
            Asked::Publish {
                name,
                alias,
                properties,
            } => self.begin_publish(stream, name, alias, properties),
            Asked::PublishNamespace { namespace } => self.begin_publish_namespace(stream, namespace),
            Asked::SubscribeNamespace { prefix } => self.begin_subscribe_namespace(stream, prefix),
            Asked::Unsupported => Err((request_code::NOT_SUPPORTED, "not supported")),
        };
        match begun {
            Ok(state) => {
                request.state = state;
                !self.is_closed
            }
            Err((code, reason)) => {
                self.refuse_request(stream, code, reason);
                false
            }
        }
    }

    fn begin_subscribe(
        &mut self,
        stream: StreamId,
        id: u64,
        name: FullName,
        parameters: Parameters,
    ) -> Result<State, Refusal> {
        if self.counts.subscriptions >= self.config.limits.subscriptions_max {
            return Err((request_code::EXCESSIVE_LOAD, "too many subscriptions"));
        }
        let (broadcast, track) = name.0.ok_or(UNMAPPABLE)?;
        if matches!(parameters.filter, Some(Filter::From { group, .. }) if group >= GroupSequence::NEVER.0) {
            return Err((request_code::INVALID_RANGE, "start above 2^62-3"));
        }
        if id > VARINT_MAX {
            return Err((request_code::NOT_SUPPORTED, "request id above 2^62-1"));
        }
        self.counts.subscriptions += 1;
        let id = SubscribeId(id);
        let preferences = preferences(&parameters);
        let message = Subscribe {
            id,
            broadcast,
            track,
            epoch: 0,
            priority: preferences.priority,
            ordered: preferences.ordered,
            max_latency_ms: preferences.max_latency_ms,
            range: preferences.range,
        };
        self.events.push(RequestEvent::Subscribe {
            request: stream,
            message,
        });
        Ok(State::Subscribe {
            id,
            is_accepted: false,
            parameters: Box::new(parameters),
        })
    }

    fn begin_status(&mut self, stream: StreamId, name: FullName) -> Result<State, Refusal> {
        if self.counts.statuses >= self.config.limits.track_requests_max {
            return Err((request_code::EXCESSIVE_LOAD, "too many requests"));
        }
        let (broadcast, track) = name.0.ok_or(UNMAPPABLE)?;
        self.counts.statuses += 1;
        let message = TrackRequest {
            broadcast,
            track,
            epoch: 0,
        };
        self.events.push(RequestEvent::Track {
            request: stream,
            message,
        });
        Ok(State::TrackStatus)
    }

    /// The track is one of a broadcast that the peer has. It sends nothing until somebody wants it.
    fn begin_publish(
        &mut self,
        stream: StreamId,
        name: FullName,
        alias: u64,
        properties: TrackProperties,
    ) -> Result<State, Refusal> {
        let name = name.0.ok_or((request_code::NOT_SUPPORTED, UNMAPPABLE.1))?;
        if let Some(refusal) = properties.refusal {
            return Err((codes::refusal(refusal.code()), "properties of the track"));
        }
        if self.published.len() >= PUBLISHED_TRACKS_MAX || !self.has_room_for(&name.0) {
            return Err((request_code::EXCESSIVE_LOAD, "too many tracks"));
        }
        if self.published.contains_key(&name) {
            return Err((request_code::DUPLICATE_SUBSCRIPTION, "published already"));
        }
        let track = Track {
            subscribe: None,
            timescale: properties.timescale,
        };
        if !self.tracks.bind(alias, track) {
            self.violate_with(session_code::DUPLICATE_TRACK_ALIAS, "track alias".to_owned());
            return Ok(State::Asking);
        }
        let answer = Parameters {
            forward: Some(false),
            ..Parameters::default()
        };
        let sent = self.outbox.write(stream, |out| message::put_ok(out, &answer));
        self.count_unsendable(sent);
        self.published.insert(name.clone(), stream);
        self.announce_of_peer(stream, &name.0);
        self.release_unbound(alias);
        Ok(State::Publish {
            name,
            alias,
            subscriber: None,
            properties: Box::new(properties),
        })
    }

    fn begin_publish_namespace(&mut self, stream: StreamId, namespace: Namespace) -> Result<State, Refusal> {
        let path = namespace.path.ok_or((request_code::NOT_SUPPORTED, UNMAPPABLE.1))?;
        if !self.has_room_for(&path) {
            return Err((request_code::EXCESSIVE_LOAD, "too many namespaces"));
        }
        let sent = self
            .outbox
            .write(stream, |out| message::put_ok(out, &Parameters::default()));
        self.count_unsendable(sent);
        self.announce_of_peer(stream, &path);
        Ok(State::PublishNamespace(path))
    }

    fn begin_subscribe_namespace(&mut self, stream: StreamId, prefix: Namespace) -> Result<State, Refusal> {
        if self.counts.prefixes.len() >= self.config.limits.announce_requests_max {
            return Err((request_code::EXCESSIVE_LOAD, "too many requests"));
        }
        let prefix = prefix.path.ok_or(UNMAPPABLE)?;
        // Section 9.17: no two whose namespaces could be the same.
        let overlaps = |other: &BroadcastPath| prefix.is_under(other) || other.is_under(&prefix);
        if self.counts.prefixes.iter().any(overlaps) {
            return Err((request_code::PREFIX_OVERLAP, "prefix of another request"));
        }
        self.counts.prefixes.push(prefix.clone());
        let message = AnnounceRequest {
            prefix: prefix.clone(),
            exclude_hop: HopId::UNKNOWN,
            ended: false,
        };
        self.events.push(AnnouncementEvent::AnnounceRequest {
            request: stream,
            message,
        });
        Ok(State::SubscribeNamespace {
            prefix,
            is_accepted: false,
            live: FxHashSet::default(),
        })
    }

    /// False when the request is over with it.
    fn update_request(&mut self, stream: StreamId, state: &mut State, update: Parameters) -> bool {
        let sent = match state {
            State::Subscribe { parameters, .. } => {
                parameters.update(&update);
                let message = preferences(parameters);
                self.events.push(RequestEvent::SubscribeUpdate {
                    request: stream,
                    message,
                });
                self.outbox
                    .write(stream, |out| message::put_ok(out, &Parameters::default()))
            }
            State::SubscribeNamespace { .. } if update.prefix.is_some() => {
                let reason = "another prefix is another request";
                let sent = self.outbox.write(stream, |out| {
                    message::put_error(out, request_code::NOT_SUPPORTED, reason)
                });
                self.count_unsendable(sent);
                self.push_ended(stream, state);
                self.outbox.finish(stream);
                return false;
            }
            _ => self
                .outbox
                .write(stream, |out| message::put_ok(out, &Parameters::default())),
        };
        self.count_unsendable(sent);
        true
    }

    /// The peer closed the request.
    fn end_request(&mut self, stream: StreamId) {
        if let Some(request) = self.remove_request(stream) {
            self.push_ended(stream, &request.state);
        }
    }

    fn push_ended(&mut self, stream: StreamId, state: &State) {
        match state {
            State::Held | State::Asking => {}
            State::Subscribe { .. } => self.events.push(RequestEvent::SubscribeEnded { request: stream }),
            State::TrackStatus => self.events.push(RequestEvent::TrackEnded { request: stream }),
            State::SubscribeNamespace { .. } => self
                .events
                .push(AnnouncementEvent::AnnounceRequestEnded { request: stream }),
            State::PublishNamespace(path) => self.unannounce_of_peer(stream, path),
            State::Publish { .. } => {
                self.withdraw_track(state, None);
            }
        }
    }

    /// The peer does not publish the track any more; why, PUBLISH_DONE says.
    fn withdraw_track(&mut self, state: &State, status: Option<u64>) {
        let State::Publish {
            name,
            alias,
            subscriber,
            ..
        } = state
        else {
            return;
        };
        let stream = self.published.remove(name);
        if let Some(id) = subscriber {
            let code = match status {
                Some(status) => codes::ended(status),
                None => Some(stream_error::SESSION_CLOSED),
            };
            match code {
                // Groups under way go on to their own end.
                None => {
                    self.subscriptions.end(*id);
                    self.tracks.end(*id);
                }
                Some(_) => {
                    self.subscriptions.remove(*id);
                    self.tracks.retire(*id);
                }
            }
            self.events.push(AnswerEvent::SubscriptionClosed { id: *id, code });
        } else {
            self.tracks.retire_alias(*alias);
        }
        if let Some(stream) = stream {
            self.unannounce_of_peer(stream, &name.0);
        }
    }

    pub(super) fn has_room_for(&self, path: &BroadcastPath) -> bool {
        self.announced.contains(path) || self.announced.len() < self.config.limits.announced_max
    }

    pub(super) fn announce_of_peer(&mut self, stream: StreamId, path: &BroadcastPath) {
        if self.announced.add(path) {
            self.events.push(AnnouncementEvent::Announced {
                stream,
                path: path.clone(),
                advertisement: Advertisement {
                    // Who is behind the peer, and how far, is not said.
                    hops: vec![HopId::UNKNOWN],
                    ..Advertisement::default()
                },
            });
        }
    }

    pub(super) fn unannounce_of_peer(&mut self, stream: StreamId, path: &BroadcastPath) {
        if self.announced.remove(path) {
            let path = path.clone();
            self.events.push(AnnouncementEvent::Unannounced { stream, path });
        }
    }

    /// The request is not in the map any more.
    pub(super) fn refuse_request(&mut self, stream: StreamId, code: u64, reason: &str) {
        self.counters.requests_refused += 1;
        let sent = self.outbox.write(stream, |out| message::put_error(out, code, reason));
        self.count_unsendable(sent);
        self.outbox.finish(stream);
    }

    fn uncount(&mut self, state: &State) {
        match state {
            State::Subscribe { id, .. } => {
                self.counts.subscriptions -= 1;
                self.downstream.remove(id);
            }
            State::SubscribeNamespace { prefix, .. } => self.counts.prefixes.retain(|live| live != prefix),
            State::TrackStatus => self.counts.statuses -= 1,
            _ => {}
        }
    }
}

impl Request {
    fn new(state: State) -> Self {
        Self {
            state,
            partial: BytesMut::new(),
            is_finished: false,
        }
    }

    /// A question that is one message is asked as well when its stream is finished.
    fn ends_with_fin(&self) -> bool {
        !matches!(self.state, State::Held | State::TrackStatus)
    }
}

/// A subscription in terms of moq-lite. What it wants of the latest group it gets from the group's first object on, which
/// is where one can join.
fn preferences(parameters: &Parameters) -> SubscribeUpdate {
    let (start, end) = match parameters.filter {
        Some(Filter::From { group, end, .. }) => (Some(group).filter(|group| *group > 0), end),
        Some(Filter::NextGroup | Filter::LargestObject) | None => (None, None),
    };
    // Nothing is sent to those who want nothing sent.
    let start = match parameters.forward {
        Some(false) => Some(GroupSequence::NEVER),
        _ => start.map(|start| GroupSequence(start).min(GroupSequence::NEVER)),
    };
    SubscribeUpdate {
        priority: u8::MAX - parameters.priority.unwrap_or(PRIORITY_DEFAULT),
        ordered: parameters.ascending == Some(true),
        max_latency_ms: parameters
            .object_timeout_ms
            // 0 is none.
            .filter(|timeout| *timeout > 0)
            .map_or(SubscribeUpdate::UNSTATED.max_latency_ms, |timeout| {
                timeout.min(VARINT_MAX)
            }),
        range: GroupRange {
            start,
            end: end.map(GroupSequence).filter(|end| *end < GroupSequence::NEVER),
            frame_start: 0,
            frame_end: None,
        },
    }
}

/// Why a request is refused.
type Refusal = (u64, &'static str);

const UNMAPPABLE: Refusal = (request_code::DOES_NOT_EXIST, "name that is not text, or too long");
