//! Answers of the peer to requests of ours, and the commands that make requests.

use bytes::{Bytes, BytesMut};

use crate::wire::{
    AnnounceRequest, BidiType, BroadcastPath, EncodeError, ErrorCode, Fetch, Goaway, GroupParser, Probe, StreamId,
    Subscribe, SubscribeId, SubscribeResponse, SubscribeUpdate, TrackInfo, TrackRequest, stream_error,
};

use super::event::SubscribeParameters;
use super::inbound::Step;
use super::streams::{Announced, Inbox, Stream};
use super::{Event, Session};

impl Session {
    /// Asks for announcements below a prefix. `None` when the peer is going away.
    pub fn request_announce(&mut self, prefix: &BroadcastPath) -> Option<StreamId> {
        let message = AnnounceRequest {
            prefix: prefix.clone(),
            exclude_hop: self.config.hop,
            ended: false,
        };
        let version = self.config.version;
        self.request(
            BidiType::Announce,
            false,
            |out| message.encode(version, out),
            |_| {
                Stream::Announced(Box::new(Announced {
                    prefix: prefix.clone(),
                    inbox: Inbox::default(),
                    hop: None,
                    by_id: Default::default(),
                    ids: Default::default(),
                    next_id: 0,
                }))
            },
        )
    }

    /// Subscribes to a track; the session chooses the id, which is never used again.
    pub fn subscribe(&mut self, parameters: SubscribeParameters) -> Option<(SubscribeId, StreamId)> {
        let id = SubscribeId(self.next_subscribe);
        let message = Subscribe {
            id,
            broadcast: parameters.broadcast,
            track: parameters.track,
            epoch: parameters.epoch,
            priority: parameters.priority,
            ordered: parameters.ordered,
            max_latency_ms: parameters.max_latency_ms,
            range: parameters.range,
        };
        let version = self.config.version;
        let stream = self.request(
            BidiType::Subscribe,
            false,
            |out| message.encode(version, out),
            |_| Stream::Subscription(id, Inbox::default()),
        )?;
        self.next_subscribe += 1;
        self.subscriptions.insert(id, stream);
        Some((id, stream))
    }

    pub fn update_subscription(&mut self, id: SubscribeId, update: &SubscribeUpdate) {
        let Some(stream) = self.subscriptions.get(&id).copied() else {
            return;
        };
        let mut out = BytesMut::new();
        if update.encode(self.config.version, &mut out).is_ok() {
            self.write(stream, out.freeze(), false);
        }
    }

    /// Ends a subscription of ours; no event of it follows.
    pub fn unsubscribe(&mut self, id: SubscribeId) {
        if let Some(stream) = self.subscriptions.remove(&id) {
            self.streams.remove(&stream);
            self.cancel_transport(stream, stream_error::CANCEL);
        }
    }

    /// Asks for one group. Our side of the stream stays open until the answer is there:
    /// released publishers take a FIN before it for a cancellation.
    pub fn fetch(&mut self, fetch: &Fetch) -> Option<StreamId> {
        let version = self.config.version;
        self.request(
            BidiType::Fetch,
            false,
            |out| fetch.encode(version, out),
            |_| Stream::Fetch(Box::new(GroupParser::new(version.frame_form()))),
        )
    }

    /// Asks for a track's properties. `None` before moq-lite-05, which has no such request.
    pub fn track(&mut self, request: &TrackRequest) -> Option<StreamId> {
        let version = self.config.version;
        if !version.has_track_stream() {
            return None;
        }
        self.request(
            BidiType::Track,
            false,
            |out| request.encode(version, out),
            |_| Stream::Track(Inbox::default()),
        )
    }

    /// Asks for reports of the path.
    pub fn probe(&mut self, target_bitrate: Option<u64>) -> Option<StreamId> {
        let version = self.config.version;
        let message = Probe {
            bitrate: target_bitrate,
            rtt_ms: None,
        };
        self.request(
            BidiType::Probe,
            false,
            |out| message.encode(version, out),
            |_| Stream::Probe(Inbox::default()),
        )
    }

    /// Gives up a request of ours; no event of it follows, but for what an announce stream
    /// had told.
    pub fn cancel(&mut self, stream: StreamId, code: ErrorCode) {
        if !self.is_ours(stream) {
            return;
        }
        match self.streams.remove(&stream) {
            Some(Stream::Announced(announced)) => self.end_announced(stream, *announced),
            Some(Stream::Subscription(id, _)) => drop(self.subscriptions.remove(&id)),
            Some(_) => {}
            None => return,
        }
        self.cancel_transport(stream, code);
    }

    /// Tells the peer that this session ends, and where to go instead (empty: nowhere).
    /// Drafts before 04 have no such message.
    pub fn goaway(&mut self, uri: &str) {
        let version = self.config.version;
        if !version.has_goaway() || std::mem::replace(&mut self.sent_goaway, true) {
            return;
        }
        let message = Goaway { uri: uri.to_owned() };
        self.request(
            BidiType::Goaway,
            true,
            |out| message.encode(version, out),
            |_| Stream::Discarded,
        );
    }

    /// Opens a stream with a request. Draft, "Goaway": none once the peer is going away.
    fn request(
        &mut self,
        kind: BidiType,
        fin: bool,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
        state: impl FnOnce(StreamId) -> Stream,
    ) -> Option<StreamId> {
        let is_goaway = matches!(kind, BidiType::Goaway);
        if self.is_closed || (self.saw_goaway && !is_goaway) {
            return None;
        }
        let mut out = BytesMut::new();
        kind.encode(self.config.version, &mut out)
            .and_then(|()| encode(&mut out))
            .ok()?;
        let stream = self.open_bidi();
        self.write(stream, out.freeze(), fin);
        self.streams.insert(stream, state(stream));
        Some(stream)
    }

    pub(super) fn handle_subscription(
        &mut self,
        stream: StreamId,
        id: SubscribeId,
        mut inbox: Inbox,
        data: &[u8],
        fin: bool,
    ) -> Step {
        inbox.push(data);
        let version = self.config.version;
        loop {
            match inbox.take(|bytes| SubscribeResponse::decode(version, bytes)) {
                Ok(Some(response)) => self.events.push_back(match response {
                    SubscribeResponse::Ok(ok) => Event::SubscriptionOk { id, ok },
                    SubscribeResponse::Start { group } => Event::SubscriptionStart { id, group },
                    SubscribeResponse::End { group } => Event::SubscriptionEnd { id, end: group },
                    SubscribeResponse::Drop { start, end, code } => Event::SubscriptionDrop { id, start, end, code },
                }),
                Ok(None) => break,
                Err(_) => {
                    self.cancel_transport(stream, stream_error::INTERNAL);
                    self.end_ours(
                        stream,
                        Stream::Subscription(id, inbox),
                        Some(stream_error::MALFORMED_TRACK),
                    );
                    return Step::Done;
                }
            }
        }
        if !fin {
            return Step::Keep(Stream::Subscription(id, inbox));
        }
        self.write(stream, Bytes::new(), true);
        let code = (!inbox.is_empty()).then_some(stream_error::MALFORMED_TRACK);
        self.end_ours(stream, Stream::Subscription(id, inbox), code);
        Step::Done
    }

    pub(super) fn handle_track(&mut self, stream: StreamId, mut inbox: Inbox, data: &[u8], fin: bool) -> Step {
        inbox.push(data);
        let version = self.config.version;
        match inbox.take(|bytes| TrackInfo::decode(version, bytes)) {
            Ok(Some(info)) => {
                self.events.push_back(Event::TrackInfo { stream, info });
                self.write(stream, Bytes::new(), true);
                if fin { Step::Done } else { Step::Keep(Stream::Discarded) }
            }
            Ok(None) if !fin => Step::Keep(Stream::Track(inbox)),
            _ => {
                self.events.push_back(Event::TrackClosed {
                    stream,
                    code: stream_error::MALFORMED_TRACK,
                });
                if fin { Step::Done } else { self.discard(stream) }
            }
        }
    }

    pub(super) fn handle_fetch(
        &mut self,
        stream: StreamId,
        mut parser: Box<GroupParser>,
        data: Bytes,
        fin: bool,
        timestamp_ms: u64,
    ) -> Step {
        match parser.push(data, timestamp_ms) {
            Ok(Some(chunk)) => self.events.push_back(Event::FetchChunk { stream, chunk }),
            Ok(None) => {}
            Err(_) => {
                self.events.push_back(Event::FetchClosed {
                    stream,
                    code: Some(stream_error::MALFORMED_TRACK),
                });
                return if fin { Step::Done } else { self.discard(stream) };
            }
        }
        if !fin {
            return Step::Keep(Stream::Fetch(parser));
        }
        let code = (!parser.is_at_boundary()).then_some(stream_error::WRONG_SIZE);
        self.write(stream, Bytes::new(), true);
        self.events.push_back(Event::FetchClosed { stream, code });
        Step::Done
    }

    pub(super) fn handle_probe(&mut self, stream: StreamId, mut inbox: Inbox, data: &[u8], fin: bool) -> Step {
        inbox.push(data);
        let version = self.config.version;
        loop {
            match inbox.take(|bytes| Probe::decode(version, bytes)) {
                Ok(Some(report)) => self.events.push_back(Event::ProbeReport { stream, report }),
                Ok(None) if fin => return Step::Done,
                Ok(None) => return Step::Keep(Stream::Probe(inbox)),
                Err(_) => return if fin { Step::Done } else { self.discard(stream) },
            }
        }
    }

    fn discard(&mut self, stream: StreamId) -> Step {
        self.stop_sending(stream, stream_error::MALFORMED_TRACK);
        Step::Keep(Stream::Discarded)
    }
}
