//! Requests of ours. Each opens a stream; none does after the peer's GOAWAY.

use bytes::BytesMut;
use rustc_hash::FxHashSet;

use crate::ietf::messages::{Filter, Parameters, message};
use crate::session::SubscribeParameters;
use crate::wire::{BroadcastPath, EncodeError, ErrorCode, StreamId, SubscribeId, SubscribeUpdate, stream_error};

use super::Session;
use super::opened::{Opened, State};
use super::requests;

impl Session {
    /// Asks for the namespaces at and below `prefix`. What the peer tells unasked comes as well.
    pub fn request_announce(&mut self, prefix: &BroadcastPath) -> Option<StreamId> {
        let stream = self.open_request(|id, out| message::put_subscribe_namespace(out, id, prefix))?;
        let state = State::Namespaces {
            prefix: prefix.clone(),
            is_accepted: false,
            live: FxHashSet::default(),
        };
        self.opened.insert(stream, Opened::new(state));
        Some(stream)
    }

    /// Subscribes to a track; one that the peer publishes by PUBLISH it is asked to send.
    pub fn subscribe(&mut self, parameters: SubscribeParameters) -> Option<(SubscribeId, StreamId)> {
        let name = (parameters.broadcast, parameters.track);
        if let Some(stream) = self.published.get(&name).copied() {
            return self.subscribe_published(stream, parameters.priority);
        }
        let asked = Parameters {
            priority: Some(u8::MAX - parameters.priority),
            filter: parameters.range.start.map(|start| Filter::From {
                group: start.0,
                object: 0,
                end: parameters.range.end.map(|end| end.0.max(start.0)),
            }),
            ascending: Some(parameters.ordered),
            ..Parameters::default()
        };
        let stream = self.open_request(|id, out| message::put_subscribe(out, id, (&name.0, &name.1), &asked))?;
        let id = self.subscriptions.insert(stream);
        let state = State::Subscribe {
            id,
            is_accepted: false,
            priority: parameters.priority,
        };
        self.opened.insert(stream, Opened::new(state));
        Some((id, stream))
    }

    fn subscribe_published(&mut self, stream: StreamId, priority: u8) -> Option<(SubscribeId, StreamId)> {
        if self.is_closed {
            return None;
        }
        let request = self.requests.get_mut(&stream)?;
        let requests::State::Publish {
            alias,
            subscriber: subscriber @ None,
            properties,
            ..
        } = &mut request.state
        else {
            return None;
        };
        let id = self.subscriptions.insert(stream);
        *subscriber = Some(id);
        let (alias, properties) = (*alias, (**properties).clone());
        self.tracks.set_subscriber(alias, Some(id));
        self.update_published(stream, true, Some(priority));
        self.push_accepted(id, properties);
        Some((id, stream))
    }

    fn update_published(&mut self, stream: StreamId, forward: bool, priority: Option<u8>) {
        let update = Parameters {
            forward: Some(forward),
            priority: priority.map(|priority| u8::MAX - priority),
            ..Parameters::default()
        };
        self.send_update(stream, &update);
    }

    /// The priority alone: released publishers give a subscription up that is to change otherwise.
    pub fn update_subscription(&mut self, id: SubscribeId, update: &SubscribeUpdate) {
        let Some(stream) = self.subscriptions.stream(id) else {
            return;
        };
        let is_changed = match self.opened.get_mut(&stream).map(|opened| &mut opened.state) {
            Some(State::Subscribe { priority, .. }) => std::mem::replace(priority, update.priority) != update.priority,
            _ => self.requests.contains_key(&stream),
        };
        if is_changed {
            let update = Parameters {
                priority: Some(u8::MAX - update.priority),
                ..Parameters::default()
            };
            self.send_update(stream, &update);
        }
    }

    fn send_update(&mut self, stream: StreamId, update: &Parameters) {
        let id = self.next_request_id();
        let sent = self.outbox.write(stream, |out| message::put_update(out, id, update));
        self.count_unsendable(sent);
    }

    /// Ends a subscription, its groups included: no event of them follows.
    pub fn unsubscribe(&mut self, id: SubscribeId) {
        let (stream, groups) = self.subscriptions.remove(id);
        self.stop_groups(&groups, stream_error::CANCEL);
        let Some(stream) = stream else {
            return self.tracks.retire(id);
        };
        if let Some(request) = self.requests.get_mut(&stream)
            && let requests::State::Publish { alias, subscriber, .. } = &mut request.state
        {
            *subscriber = None;
            let alias = *alias;
            self.tracks.set_subscriber(alias, None);
            return self.update_published(stream, false, None);
        }
        self.tracks.retire(id);
        if self.remove_opened(stream).is_some() {
            self.abandon(stream, stream_error::CANCEL);
        }
    }

    /// Gives up a request of ours.
    pub fn cancel(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(opened) = self.remove_opened(stream) else {
            return;
        };
        match opened.state {
            State::Subscribe { id, .. } => {
                let (_, groups) = self.subscriptions.remove(id);
                self.stop_groups(&groups, code);
                self.tracks.retire(id);
            }
            State::Namespaces { prefix, live, .. } => self.drop_namespaces(stream, &prefix, live),
        }
        self.abandon(stream, code);
    }

    pub(super) fn abandon(&mut self, stream: StreamId, code: ErrorCode) {
        self.outbox.reset(stream, code);
        self.outbox.stop_sending(stream, code);
    }

    fn next_request_id(&mut self) -> u64 {
        let id = self.request_id;
        self.request_id += 2;
        id
    }

    /// `None` when the request cannot be said; no stream is used up then.
    fn open_request(&mut self, encode: impl FnOnce(u64, &mut BytesMut) -> Result<(), EncodeError>) -> Option<StreamId> {
        if self.is_closed || self.is_going_away {
            return None;
        }
        let stream = self.own_stream(self.bidi_opened, false);
        let head = self.config.heads.bidi.clone();
        let id = self.request_id;
        let sent = self.outbox.write(stream, |out| {
            out.extend_from_slice(&head);
            encode(id, out)
        });
        if !self.count_unsendable(sent) {
            return None;
        }
        self.request_id += 2;
        self.bidi_opened += 1;
        Some(stream)
    }
}
