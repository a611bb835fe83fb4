//! The owner's answers to requests of the peer. An answer to a request that is over is
//! dropped: the end and the answer crossed.

use bytes::{Bytes, BytesMut};

use crate::wire::{
    Advertisement, Announce, AnnounceOk, BroadcastPath, EncodeError, ErrorCode, GroupSequence, HopId, Probe, StreamId,
    SubscribeOk, SubscribeResponse, TrackInfo,
};

use super::Session;
use super::streams::{Request, Stream, Told, ToldBroadcast};

impl Session {
    /// Begins the answer to an announce request. Nothing before moq-lite-05.
    pub fn announce_ok(&mut self, request: StreamId, active_count: u64) {
        let version = self.config.version;
        if version.has_announce_ok() && self.told(request).is_some() {
            let ok = AnnounceOk {
                hop: self.config.hop,
                active_count,
            };
            let _ = self.answer(request, |out| ok.encode(version, out));
        }
    }

    /// Announces a broadcast, or changes what was announced of it, in the form of the draft:
    /// 06 updates by id, 05 announces again, 03 and 04 keep the first route unless another
    /// publisher took the path.
    pub fn announce(&mut self, request: StreamId, suffix: &BroadcastPath, advertisement: &Advertisement) {
        let version = self.config.version;
        let mut advertisement = advertisement.clone();
        if !version.has_announce_ok() {
            // Before 05 the sender is the last entry itself.
            advertisement.hops.push(self.config.hop);
        }
        let origin = advertisement.hops.first().copied().filter(|hop| *hop != HopId::UNKNOWN);
        let Some(told) = self.told(request) else { return };
        let mut messages = Vec::with_capacity(2);
        match told.live.get_mut(suffix) {
            Some(live) if version.has_announce_ids() => {
                live.origin = origin;
                messages.push(Announce::Update {
                    id: live.id,
                    advertisement,
                });
            }
            Some(live) if version.has_announce_ok() => {
                live.origin = origin;
                messages.push(start(suffix, advertisement));
            }
            Some(live) if live.origin == origin => {}
            Some(live) => {
                live.origin = origin;
                messages.push(Announce::EndSuffix { suffix: suffix.clone() });
                messages.push(start(suffix, advertisement));
            }
            None => {
                let id = told.next_id;
                told.next_id += 1;
                told.live.insert(suffix.clone(), ToldBroadcast { id, origin });
                messages.push(start(suffix, advertisement));
            }
        }
        for message in messages {
            if self.answer(request, |out| message.encode(version, out)).is_err() {
                // A path or hop chain beyond what the draft's peers take: it is not told.
                self.forget(request, suffix);
                return;
            }
        }
    }

    pub fn unannounce(&mut self, request: StreamId, suffix: &BroadcastPath) {
        let version = self.config.version;
        let Some(live) = self.told(request).and_then(|told| told.live.remove(suffix)) else {
            return;
        };
        let message = if version.has_announce_ids() {
            Announce::EndId { id: live.id }
        } else {
            Announce::EndSuffix { suffix: suffix.clone() }
        };
        let _ = self.answer(request, |out| message.encode(version, out));
    }

    /// An announcement that could not be encoded assigned no id.
    fn forget(&mut self, request: StreamId, suffix: &BroadcastPath) {
        if let Some(told) = self.told(request)
            && let Some(live) = told.live.remove(suffix)
            && live.id + 1 == told.next_id
        {
            told.next_id -= 1;
        }
    }

    /// Accepts a subscription of drafts 03 and 04; later ones accept by starting.
    pub fn subscribe_ok(&mut self, request: StreamId, ok: &SubscribeOk) {
        if !self.config.version.has_track_stream() {
            self.respond(request, &SubscribeResponse::Ok(*ok));
        }
    }

    /// Tells the first group to come. From moq-lite-05 on.
    pub fn subscribe_start(&mut self, request: StreamId, group: GroupSequence) {
        if self.config.version.has_track_stream() {
            self.respond(request, &SubscribeResponse::Start { group });
        }
    }

    /// Tells that no group at or after `end` will come. From moq-lite-05 on.
    pub fn subscribe_end(&mut self, request: StreamId, end: GroupSequence) {
        if self.config.version.has_track_stream() {
            self.respond(request, &SubscribeResponse::End { group: end });
        }
    }

    /// Tells that groups `start` to `end`, inclusive, will not come.
    pub fn subscribe_drop(&mut self, request: StreamId, start: GroupSequence, end: GroupSequence, code: ErrorCode) {
        self.respond(request, &SubscribeResponse::Drop { start, end, code });
    }

    fn respond(&mut self, request: StreamId, response: &SubscribeResponse) {
        let version = self.config.version;
        if matches!(
            self.streams.get(&request),
            Some(Stream::Request(Request::Subscribe(..)))
        ) {
            let _ = self.answer(request, |out| response.encode(version, out));
        }
    }

    /// Answers a TRACK request, which ends it.
    pub fn track_info(&mut self, request: StreamId, info: &TrackInfo) {
        let version = self.config.version;
        if matches!(self.streams.get(&request), Some(Stream::Request(Request::Track { .. }))) {
            let _ = self.answer(request, |out| info.encode(version, out));
            self.finish(request);
        }
    }

    pub fn probe_report(&mut self, request: StreamId, report: &Probe) {
        let version = self.config.version;
        if matches!(self.streams.get(&request), Some(Stream::Request(Request::Probe(_)))) {
            let _ = self.answer(request, |out| report.encode(version, out));
        }
    }

    /// Ends our side of a request in good order. The peer ends its own.
    pub fn finish(&mut self, request: StreamId) {
        if self.close_request(request) {
            self.write(request, Bytes::new(), true);
        }
    }

    /// A fetch was answered by the egress scheduler, which ended the stream itself.
    pub fn finished_elsewhere(&mut self, request: StreamId) {
        self.close_request(request);
    }

    /// Turns a request down, or ends it with an error.
    pub fn refuse(&mut self, request: StreamId, code: ErrorCode) {
        if self.close_request(request) {
            self.reset(request, code);
            self.stop_sending(request, code);
        }
    }

    /// Forgets a request without telling the owner, whose wish it is. The peer's side may
    /// still be open: what comes on it is passed over.
    fn close_request(&mut self, request: StreamId) -> bool {
        let Some(Stream::Request(state)) = self.streams.get(&request) else {
            return false;
        };
        let peer_done = matches!(
            state,
            Request::Fetch { peer_done: true } | Request::Track { peer_done: true }
        );
        if let Request::Subscribe(id, _) = state {
            self.subscribers.remove(id);
        }
        if peer_done {
            self.streams.remove(&request);
        } else {
            self.streams.insert(request, Stream::Discarded);
        }
        true
    }

    fn told(&mut self, request: StreamId) -> Option<&mut Told> {
        match self.streams.get_mut(&request) {
            Some(Stream::Request(Request::Announce(told))) => Some(told),
            _ => None,
        }
    }

    fn answer(
        &mut self,
        request: StreamId,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut out = BytesMut::new();
        encode(&mut out)?;
        self.write(request, out.freeze(), false);
        Ok(())
    }
}

fn start(suffix: &BroadcastPath, advertisement: Advertisement) -> Announce {
    Announce::Start {
        suffix: suffix.clone(),
        advertisement,
    }
}
