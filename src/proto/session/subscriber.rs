//! Requests of ours. Each opens a stream; none does after the peer's GOAWAY (draft "Goaway"), nor
//! before the version is agreed on.
//! Our side of a request stays open until the answer is complete: to the released peers, and by
//! the draft ("Termination"), a FIN gives the request up.

use bytes::BytesMut;

use crate::wire::chunk::GroupParser;
use crate::wire::{
    AnnounceRequest, BidiType, BroadcastPath, EncodeError, ErrorCode, Fetch, Goaway, Probe, ProbeLevel, StreamId,
    Subscribe, SubscribeId, SubscribeUpdate, TrackRequest, Version, stream_error,
};

use super::announced::Announced;
use super::opened::{Opened, State};
use super::{Session, SubscribeParameters};

impl Session {
    /// Asks for the announcements at and below `prefix`. The answers name the returned stream.
    ///
    /// `None`: nothing was sent. The session is closed, the peer sent GOAWAY, the version is not agreed on yet, or the
    /// message is above a limit of this version.
    pub fn request_announce(&mut self, prefix: &BroadcastPath) -> Option<StreamId> {
        let (version, hop) = (self.config.version, self.config.hop);
        let request = AnnounceRequest {
            prefix: prefix.clone(),
            exclude_hop: hop,
            ended: false,
        };
        let stream = self.open_request(BidiType::Announce, |version, out| request.encode(version, out))?;
        let announced = Announced::new(stream, prefix.clone(), version, hop);
        self.insert_opened(stream, State::Announce(Box::new(announced)));
        Some(stream)
    }

    /// Subscribes to a track. [`AnswerEvent::SubscriptionOk`](super::AnswerEvent::SubscriptionOk) and its like name the returned
    /// id, and so does the header of each group that comes. Ids count up and are never reused (draft "SUBSCRIBE").
    ///
    /// `None` as for [`request_announce`](Self::request_announce).
    pub fn subscribe(&mut self, parameters: SubscribeParameters) -> Option<(SubscribeId, StreamId)> {
        let message = Subscribe {
            id: self.subscriptions.next_id(),
            broadcast: parameters.broadcast,
            track: parameters.track,
            epoch: parameters.epoch,
            priority: parameters.priority,
            ordered: parameters.ordered,
            max_latency_ms: parameters.max_latency_ms,
            range: parameters.range,
        };
        let stream = self.open_request(BidiType::Subscribe, |version, out| message.encode(version, out))?;
        let id = self.subscriptions.insert(stream);
        let is_confirmed = self.config.version.has_track_stream();
        let priority = message.priority;
        self.insert_opened(
            stream,
            State::Subscribe {
                id,
                is_confirmed,
                priority,
            },
        );
        Some((id, stream))
    }

    /// No-op on 01 and 02, whose released peers would give the subscription up.
    pub fn update_subscription(&mut self, id: SubscribeId, update: &SubscribeUpdate) {
        if !self.config.version.takes_subscribe_update() {
            return;
        }
        let Some(stream) = self.subscriptions.stream(id) else {
            return;
        };
        if self.opened.get(&stream).is_some_and(|opened| !opened.is_send_closed) {
            let version = self.config.version;
            let sent = self.outbox.write(stream, |out| update.encode(version, out));
            self.count_unsendable(sent);
        }
    }

    /// Ends a subscription, its groups included: no event of them follows.
    pub fn unsubscribe(&mut self, id: SubscribeId) {
        let (stream, groups) = self.subscriptions.remove(id);
        self.stop_groups(&groups, stream_error::CANCEL);
        if let Some(stream) = stream
            && let Some(opened) = self.remove_opened(stream)
        {
            self.abandon(stream, &opened, stream_error::CANCEL);
        }
    }

    /// The released peers of 03 and 04 reset it; `None` before.
    pub fn fetch(&mut self, fetch: &Fetch) -> Option<StreamId> {
        if !self.config.version.has_fetch() {
            return None;
        }
        let stream = self.open_request(BidiType::Fetch, |version, out| fetch.encode(version, out))?;
        let parser = GroupParser::new(self.config.version.frame_form());
        self.insert_opened(stream, State::Fetch(Box::new(parser)));
        Some(stream)
    }

    /// 05 and later; `None` before.
    pub fn track(&mut self, request: &TrackRequest) -> Option<StreamId> {
        if !self.config.version.has_track_stream() {
            return None;
        }
        let stream = self.open_request(BidiType::Track, |version, out| request.encode(version, out))?;
        self.insert_opened(stream, State::Track);
        Some(stream)
    }

    /// `None` also when the peer has not said that it serves probes (05 and later), and before 03.
    ///
    /// The released peers report to a stream on which nothing was sent and drop one with a
    /// message, so a target is sent only when there is one.
    pub fn probe(&mut self, target_bitrate: Option<u64>) -> Option<StreamId> {
        let is_served = self
            .peer_setup
            .as_ref()
            .is_some_and(|setup| setup.probe != ProbeLevel::None);
        let version = self.config.version;
        if !version.has_probe() || (version.has_setup() && !is_served) {
            return None;
        }
        let stream = self.open_request(BidiType::Probe, |version, out| {
            let Some(bitrate) = target_bitrate else {
                return Ok(());
            };
            let probe = Probe {
                bitrate: Some(bitrate),
                rtt_ms: None,
            };
            probe.encode(version, out)
        })?;
        self.insert_opened(stream, State::Probe);
        Some(stream)
    }

    /// Gives up a request of ours: no event of it follows that is not queued.
    pub fn cancel(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(opened) = self.remove_opened(stream) else {
            return;
        };
        if let State::Subscribe { id, .. } = opened.state {
            let (_, groups) = self.subscriptions.remove(id);
            self.stop_groups(&groups, code);
        }
        self.abandon(stream, &opened, code);
    }

    /// Asks the peer to leave, once. 04 and later, else a no-op. The stream stays open: its FIN
    /// would say that we are ready to end the session (draft "Goaway"), which closing does.
    pub fn goaway(&mut self, uri: &str) {
        // Who was asked to leave opens no further stream, not even to ask the same.
        if self.is_closed || self.is_goaway_sent || self.is_going_away || !self.config.version.has_goaway() {
            return;
        }
        let message = Goaway { uri: uri.to_owned() };
        if let Some(stream) = self.open_bidi(BidiType::Goaway, |version, out| message.encode(version, out)) {
            self.is_goaway_sent = true;
            self.insert_opened(stream, State::Goaway);
        }
    }

    fn abandon(&mut self, stream: StreamId, opened: &Opened, code: ErrorCode) {
        if !opened.is_send_closed {
            self.outbox.reset(stream, code);
        }
        self.outbox.stop_sending(stream, code);
    }

    fn open_request(
        &mut self,
        kind: BidiType,
        encode: impl FnOnce(Version, &mut BytesMut) -> Result<(), EncodeError>,
    ) -> Option<StreamId> {
        if self.is_closed || self.is_going_away || self.is_negotiating() {
            return None;
        }
        self.open_bidi(kind, encode)
    }

    /// `None` when the message cannot be said; no stream is used up then.
    pub(super) fn open_bidi(
        &mut self,
        kind: BidiType,
        encode: impl FnOnce(Version, &mut BytesMut) -> Result<(), EncodeError>,
    ) -> Option<StreamId> {
        let version = self.config.version;
        let stream = self.own_stream(self.bidi_opened, false);
        let head = &self.config.heads.bidi;
        let sent = self.outbox.write(stream, |out| {
            out.extend_from_slice(head);
            kind.encode(version, out)?;
            encode(version, out)
        });
        if !self.count_unsendable(sent) {
            return None;
        }
        self.bidi_opened += 1;
        Some(stream)
    }

    pub(super) fn insert_opened(&mut self, stream: StreamId, state: State) {
        self.opened.insert(stream, Opened::new(state));
    }
}
