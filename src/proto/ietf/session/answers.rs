//! Answers to the peer's requests, and the headers of what we publish. A request that has ended, or is of another kind, is
//! passed over.

use bytes::{Bytes, BytesMut};

use crate::ietf::codes::{self, done_code, request_code};
use crate::ietf::messages::fields::Fields;
use crate::ietf::messages::{ObjectDatagram, Parameters, SubgroupHeader, TrackProperties, message};
use crate::wire::chunk::{OBJECT_TIMESCALE, converted};
use crate::wire::{BroadcastPath, DatagramHeader, ErrorCode, GroupHeader, StreamId, SubscribeOk, TrackInfo};

use super::Session;
use super::requests::State;

impl Session {
    /// Accepts a SUBSCRIBE_NAMESPACE, once.
    pub fn announce_ok(&mut self, request: StreamId) {
        if let Some(State::SubscribeNamespace { is_accepted, .. }) = self.request_state(request)
            && !std::mem::replace(is_accepted, true)
        {
            let sent = self
                .outbox
                .write(request, |out| message::put_ok(out, &Parameters::default()));
            self.count_unsendable(sent);
        }
    }

    /// Tells of a namespace. By which way it is reached is not said.
    pub fn announce(&mut self, request: StreamId, suffix: &BroadcastPath) {
        self.announce_ok(request);
        if let Some(State::SubscribeNamespace { live, .. }) = self.request_state(request)
            && live.insert(suffix.clone())
        {
            let sent = self
                .outbox
                .write(request, |out| message::put_namespace_message(out, suffix, true));
            if !self.count_unsendable(sent)
                && let Some(State::SubscribeNamespace { live, .. }) = self.request_state(request)
            {
                live.remove(suffix);
            }
        }
    }

    /// A namespace is not there any more.
    pub fn unannounce(&mut self, request: StreamId, suffix: &BroadcastPath) {
        if let Some(State::SubscribeNamespace { live, .. }) = self.request_state(request)
            && live.remove(suffix)
        {
            let sent = self
                .outbox
                .write(request, |out| message::put_namespace_message(out, suffix, false));
            self.count_unsendable(sent);
        }
    }

    /// Accepts a SUBSCRIBE, once. `said` are the properties of the track as its publisher said them, if that one speaks
    /// moq-transport too.
    pub fn subscribe_ok(&mut self, request: StreamId, ok: &SubscribeOk, said: Option<&Bytes>) {
        let Some(State::Subscribe {
            id,
            is_accepted: is_accepted @ false,
            ..
        }) = self.request_state(request)
        else {
            return;
        };
        *is_accepted = true;
        let properties = match said {
            Some(bytes) => TrackProperties::decode(&mut Fields::new(bytes)).unwrap_or_default(),
            None => TrackProperties::of(ok.timescale, u8::MAX - ok.priority),
        };
        let id = *id;
        if properties.timescale.is_some() {
            self.downstream
                .insert(id, properties.timescale.filter(|_| said.is_some()));
        }
        let alias = id.0;
        let sent = self
            .outbox
            .write(request, |out| message::put_subscribe_ok(out, alias, &properties));
        self.count_unsendable(sent);
    }

    /// The request is over as planned.
    pub fn finish(&mut self, request: StreamId) {
        let Some(removed) = self.remove_request(request) else {
            return;
        };
        let sent = match removed.state {
            State::Subscribe { is_accepted: true, .. } => self
                .outbox
                .write(request, |out| message::put_done(out, done_code::TRACK_ENDED, "")),
            State::Subscribe { .. } => self.outbox.write(request, |out| {
                message::put_error(out, request_code::DOES_NOT_EXIST, "the track is over")
            }),
            _ => Ok(()),
        };
        self.count_unsendable(sent);
        self.outbox.finish(request);
    }

    /// Forgets a request whose stream the caller finishes or resets itself.
    pub fn finished_elsewhere(&mut self, request: StreamId) {
        self.remove_request(request);
    }

    /// REQUEST_ERROR, or PUBLISH_DONE for what was accepted already.
    pub fn refuse(&mut self, request: StreamId, code: ErrorCode) {
        let Some(removed) = self.remove_request(request) else {
            return;
        };
        match removed.state {
            State::Subscribe { is_accepted: true, .. } => {
                let status = codes::done(code);
                let sent = self.outbox.write(request, |out| message::put_done(out, status, ""));
                self.count_unsendable(sent);
                self.outbox.finish(request);
            }
            State::SubscribeNamespace { is_accepted: true, .. } => {
                self.outbox.reset(request, codes::reset(code));
                self.outbox.stop_sending(request, codes::reset(code));
            }
            _ => self.refuse_request(request, codes::refusal(code), "refused"),
        }
    }

    /// Answers a TRACK_STATUS.
    pub fn track_info(&mut self, request: StreamId, info: &TrackInfo) {
        if !matches!(self.request_state(request), Some(State::TrackStatus)) {
            return;
        }
        self.remove_request(request);
        let properties = TrackProperties::of(Some(info.timescale), u8::MAX - info.priority);
        let sent = self.outbox.write(request, |out| message::put_status(out, &properties));
        self.count_unsendable(sent);
        self.outbox.finish(request);
    }

    /// The id of the next one-way stream we open.
    pub fn open_uni(&mut self) -> StreamId {
        let stream = self.own_stream(self.uni_opened, true);
        self.uni_opened += 1;
        stream
    }

    /// What a group stream starts with. The subscription's id is its track alias.
    pub fn group_header(&self, header: &GroupHeader, out: &mut BytesMut) -> bool {
        if header.frame_start != 0 {
            return false;
        }
        out.extend_from_slice(&self.config.heads.uni);
        SubgroupHeader::put_whole(header.subscribe.0, header.sequence.0, out);
        true
    }

    /// What stands before the payload of a datagram.
    pub fn datagram_header(&self, header: &DatagramHeader, out: &mut BytesMut) -> bool {
        let timescale = self.downstream.get(&header.subscribe);
        let timestamp = timescale.map(|named| match *named {
            Some(timescale) => converted(header.timestamp, OBJECT_TIMESCALE, timescale),
            None => header.timestamp,
        });
        ObjectDatagram::put_whole(header.subscribe.0, header.sequence.0, timestamp, out);
        true
    }

    fn request_state(&mut self, request: StreamId) -> Option<&mut State> {
        self.requests.get_mut(&request).map(|request| &mut request.state)
    }
}
