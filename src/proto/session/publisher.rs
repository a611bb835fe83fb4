//! Answers to the peer's requests, and the headers of what we publish. `request` is the id of
//! the peer's request stream; a request that has ended, or is of another kind, is passed over.

use bytes::BytesMut;

use crate::wire::{
    Advertisement, Announce, AnnounceOk, BroadcastPath, ErrorCode, GroupHeader, GroupSequence, Probe, StreamId,
    SubscribeOk, SubscribeResponse, TrackInfo, UniType, stream_error,
};

use super::Session;
use super::announcing::{Announcing, Messages};
use super::requests::State;

impl Session {
    /// Once, before the announcements, of which `active_count` are the initial set. Sent with a
    /// count of 0 before the first announcement if it was not. On 01 and 02 the initial set waits
    /// until it is whole, since one message holds it. No-op on 03 and 04.
    pub fn announce_ok(&mut self, request: StreamId, active_count: u64) {
        self.with_announcing(request, |session, announcing| {
            session.send_announce_ok(request, announcing, active_count);
        });
    }

    /// Starts an announcement, or replaces it in place when it is live on this stream.
    ///
    /// 06 sends ANNOUNCE_UPDATE, 05 announces again; up to 04 an announcement ends and starts anew if
    /// the first hop changed, else nothing is said. Before 05 our own hop is appended. An announcement whose
    /// path is full is retracted: no peer would accept it.
    pub fn announce(&mut self, request: StreamId, suffix: &BroadcastPath, advertisement: &Advertisement) {
        let (version, hop) = (self.config.version, self.config.hop);
        self.with_announcing(request, |session, announcing| {
            let messages = announcing.announce(version, hop, suffix, advertisement);
            session.send_announces(request, announcing, suffix, messages);
        });
    }

    /// Ends an announcement that is live on this stream. Nothing is said when none is.
    pub fn unannounce(&mut self, request: StreamId, suffix: &BroadcastPath) {
        let version = self.config.version;
        self.with_announcing(request, |session, announcing| {
            let messages = announcing.unannounce(version, suffix);
            session.send_announces(request, announcing, suffix, messages);
        });
    }

    /// Up to 04; the released peers want it before any other response. On 01 and 02 it says nothing
    /// that could change, and goes out once. No-op on 05 and later.
    pub fn subscribe_ok(&mut self, request: StreamId, ok: &SubscribeOk) {
        let version = self.config.version;
        if version.has_track_stream() {
            return;
        }
        let response = SubscribeResponse::Ok(*ok);
        if let Some(State::Subscribe { is_confirmed }) = self.request_state(request)
            && (!std::mem::replace(is_confirmed, true) || version.has_typed_responses())
        {
            self.respond(request, &response);
        }
    }

    /// 05 and later, else a no-op.
    pub fn subscribe_start(&mut self, request: StreamId, group: GroupSequence) {
        if self.config.version.has_track_stream() {
            self.respond(request, &SubscribeResponse::Start { group });
        }
    }

    /// 05 and later, else a no-op. The released peers take a FIN without it for a failure.
    pub fn subscribe_end(&mut self, request: StreamId, end: GroupSequence) {
        if self.config.version.has_track_stream() {
            self.respond(request, &SubscribeResponse::End { group: end });
        }
    }

    /// On 03 and 04 only after `subscribe_ok`: the released peers fail a subscription whose first
    /// response is another. No-op on 01 and 02.
    pub fn subscribe_drop(&mut self, request: StreamId, start: GroupSequence, end: GroupSequence, code: ErrorCode) {
        if !self.config.version.has_typed_responses() {
            return;
        }
        let is_early = !self.config.version.has_track_stream()
            && matches!(
                self.request_state(request),
                Some(State::Subscribe { is_confirmed: false })
            );
        if !is_early {
            self.respond(request, &SubscribeResponse::Drop { start, end, code });
        }
    }

    /// Finishes our side. The peer's is its own to close; what it still sends is ignored.
    pub fn finish(&mut self, request: StreamId) {
        if self.remove_request(request).is_some() {
            self.outbox.finish(request);
        }
    }

    /// Forgets a request whose stream the caller finishes or resets itself: a FETCH it served.
    pub fn finished_elsewhere(&mut self, request: StreamId) {
        self.remove_request(request);
    }

    /// Resets our side and stops theirs.
    pub fn refuse(&mut self, request: StreamId, code: ErrorCode) {
        if self.remove_request(request).is_some() {
            self.outbox.reset(request, code);
            self.outbox.stop_sending(request, code);
        }
    }

    /// Answers a TRACK and finishes the stream.
    pub fn track_info(&mut self, request: StreamId, info: &TrackInfo) {
        if !matches!(self.request_state(request), Some(State::Track)) {
            return;
        }
        let version = self.config.version;
        let sent = self.outbox.write(request, |out| info.encode(version, out));
        if self.count_unsendable(sent) {
            self.finish(request);
        } else {
            self.refuse(request, stream_error::INTERNAL);
        }
    }

    /// Reports the estimated bitrate and round-trip time on a Probe Stream of the peer (03 and later).
    pub fn probe_report(&mut self, request: StreamId, probe: &Probe) {
        if matches!(self.request_state(request), Some(State::Probe)) {
            let version = self.config.version;
            let sent = self.outbox.write(request, |out| probe.encode(version, out));
            self.count_unsendable(sent);
        }
    }

    /// The id of the next one-way stream we open.
    pub fn open_uni(&mut self) -> StreamId {
        let stream = self.own_stream(self.uni_opened, true);
        self.uni_opened += 1;
        stream
    }

    /// `Stream Type (i) | GROUP` behind the head of a stream: what a group stream starts with. Nothing is appended when the
    /// version cannot say it (a frame start before 06).
    pub fn group_header(&self, header: &GroupHeader, out: &mut BytesMut) -> bool {
        let start = out.len();
        let version = self.config.version;
        out.extend_from_slice(&self.config.heads.uni);
        let written = UniType::Group
            .encode(version, out)
            .and_then(|()| header.encode(version, out));
        if written.is_err() {
            out.truncate(start);
        }
        written.is_ok()
    }

    pub(super) fn own_stream(&self, index: u64, is_uni: bool) -> StreamId {
        let opener = u64::from(self.config.side == super::Side::Server);
        StreamId(index << super::STREAM_ID_INDEX_SHIFT | u64::from(is_uni) << 1 | opener)
    }

    fn request_state(&mut self, request: StreamId) -> Option<&mut State> {
        self.requests.get_mut(&request).map(|request| &mut request.state)
    }

    fn respond(&mut self, request: StreamId, response: &SubscribeResponse) {
        if matches!(self.request_state(request), Some(State::Subscribe { .. })) {
            let version = self.config.version;
            let sent = self.outbox.write(request, |out| response.encode(version, out));
            self.count_unsendable(sent);
        }
    }

    /// Lends out the announcements of a request, so that the outbox is free meanwhile.
    fn with_announcing(&mut self, request: StreamId, act: impl FnOnce(&mut Self, &mut Announcing)) {
        let Some(State::Announce(announcing)) = self.request_state(request) else {
            return;
        };
        let mut lent = std::mem::take(announcing);
        act(self, &mut lent);
        if let Some(State::Announce(announcing)) = self.request_state(request) {
            *announcing = lent;
        }
    }

    fn send_announce_ok(&mut self, request: StreamId, announcing: &mut Announcing, active_count: u64) {
        let version = self.config.version;
        if announcing.is_ok_sent {
            return;
        }
        announcing.is_ok_sent = true;
        if version.has_announce_init() {
            announcing.begin_initial(active_count);
            return self.send_announce_init(request, announcing);
        }
        if !version.has_announce_ok() {
            return;
        }
        let ok = AnnounceOk {
            hop: self.config.hop,
            active_count,
        };
        let sent = self.outbox.write(request, |out| ok.encode(version, out));
        self.count_unsendable(sent);
    }

    fn send_announce_init(&mut self, request: StreamId, announcing: &mut Announcing) {
        let version = self.config.version;
        if let Some(init) = announcing.poll_init() {
            let sent = self.outbox.write(request, |out| init.encode(version, out));
            self.count_unsendable(sent);
        }
    }

    fn send_announces(
        &mut self,
        request: StreamId,
        announcing: &mut Announcing,
        suffix: &BroadcastPath,
        messages: Messages,
    ) {
        let version = self.config.version;
        if !messages.is_empty() {
            self.send_announce_ok(request, announcing, 0);
        }
        let messages = announcing.gather(messages);
        self.send_announce_init(request, announcing);
        for message in messages {
            let sent = self.outbox.write(request, |out| message.encode(version, out));
            if self.count_unsendable(sent) {
                continue;
            }
            match message {
                Announce::Start { .. } => self.take_back_start(request, announcing, suffix),
                // What the peer holds is out of date: better nothing than that.
                Announce::Update { .. } => self.say_ended(request, announcing, suffix),
                _ => {}
            }
        }
    }

    /// What could not be said is not live: on 06 it took no id, before the peer may hold what it
    /// was to replace.
    fn take_back_start(&mut self, request: StreamId, announcing: &mut Announcing, suffix: &BroadcastPath) {
        let version = self.config.version;
        if version.has_announce_ids() {
            return announcing.take_back(suffix);
        }
        self.say_ended(request, announcing, suffix);
    }

    fn say_ended(&mut self, request: StreamId, announcing: &mut Announcing, suffix: &BroadcastPath) {
        let version = self.config.version;
        for message in announcing.unannounce(version, suffix) {
            let sent = self.outbox.write(request, |out| message.encode(version, out));
            self.count_unsendable(sent);
        }
    }
}
