//! What the session tells its caller, and the queue it waits in.
//!
//! Invariant: a group event that was queued before the caller named or discarded the group is
//! corrected when it is taken, so the caller sees its token, or nothing, from then on.

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::wire::chunk::Chunk;
use crate::wire::{
    Advertisement, AnnounceRequest, BroadcastPath, DatagramHeader, ErrorCode, Fetch, GroupHeader, GroupSequence, Probe,
    Setup, StreamId, Subscribe, SubscribeId, SubscribeOk, SubscribeUpdate, TrackInfo, TrackRequest,
};

/// The token of a group the caller has not named.
pub const GROUP_TOKEN_NONE: u64 = u64::MAX;

#[derive(Clone, Debug)]
pub enum Event {
    /// The peer's SETUP (05 and later), or what its side of the handshake says (01 and 02): from then
    /// on the version is known. Its requests come after it.
    Setup(Setup),
    /// The peer's estimate of the connection's bitrate (01 and 02).
    SessionUpdate {
        bitrate: Option<u64>,
    },

    AnnounceRequest {
        request: StreamId,
        message: AnnounceRequest,
    },
    AnnounceRequestEnded {
        request: StreamId,
    },
    Subscribe {
        request: StreamId,
        message: Subscribe,
    },
    SubscribeUpdate {
        request: StreamId,
        message: SubscribeUpdate,
    },
    /// The peer unsubscribed. Our side of the stream is already closed.
    SubscribeEnded {
        request: StreamId,
    },
    Fetch {
        request: StreamId,
        message: Fetch,
    },
    /// The peer gave up the fetch. Our side of the stream is already reset.
    FetchEnded {
        request: StreamId,
    },
    Track {
        request: StreamId,
        message: TrackRequest,
    },
    TrackEnded {
        request: StreamId,
    },
    /// A Probe Stream was opened, or its target changed. The released peers open one without
    /// ever sending a target, so the first of these has none.
    Probe {
        request: StreamId,
        message: Probe,
    },
    ProbeEnded {
        request: StreamId,
    },

    /// `path` has the requested prefix before it; the hops end with the peer's.
    Announced {
        stream: StreamId,
        path: BroadcastPath,
        advertisement: Advertisement,
    },
    AnnounceReplaced {
        stream: StreamId,
        path: BroadcastPath,
        advertisement: Advertisement,
    },
    Unannounced {
        stream: StreamId,
        path: BroadcastPath,
    },
    /// After `Unannounced` for each path that was live on it.
    AnnounceStreamEnded {
        stream: StreamId,
    },

    SubscriptionOk {
        id: SubscribeId,
        ok: SubscribeOk,
    },
    SubscriptionStart {
        id: SubscribeId,
        group: GroupSequence,
    },
    SubscriptionEnd {
        id: SubscribeId,
        end: GroupSequence,
    },
    SubscriptionDrop {
        id: SubscribeId,
        start: GroupSequence,
        end: GroupSequence,
        code: ErrorCode,
    },
    /// `None`: the publisher finished. Groups may still arrive, out of order with its FIN, until
    /// `unsubscribe` is called.
    SubscriptionClosed {
        id: SubscribeId,
        code: Option<ErrorCode>,
    },
    TrackInfo {
        stream: StreamId,
        info: TrackInfo,
    },
    TrackClosed {
        stream: StreamId,
        code: ErrorCode,
    },
    FetchChunk {
        stream: StreamId,
        chunk: Chunk,
    },
    FetchClosed {
        stream: StreamId,
        code: Option<ErrorCode>,
    },

    GroupStart {
        stream: StreamId,
        header: GroupHeader,
    },
    GroupChunk {
        stream: StreamId,
        token: u64,
        chunk: Chunk,
    },
    GroupEnd {
        stream: StreamId,
        token: u64,
    },
    GroupReset {
        stream: StreamId,
        token: u64,
        code: ErrorCode,
    },
    Datagram {
        header: DatagramHeader,
        payload: Bytes,
    },

    ProbeReport {
        stream: StreamId,
        report: Probe,
    },
    ProbeClosed {
        stream: StreamId,
        code: Option<ErrorCode>,
    },
    Goaway {
        uri: String,
    },
    /// The peer broke the protocol and the session is closed. The last event.
    Violation {
        code: ErrorCode,
        reason: String,
    },
}

#[derive(Debug, Default)]
pub(super) struct EventQueue {
    queue: VecDeque<Event>,
    /// What the caller said of groups that may have events in the queue. Emptied with it, so it
    /// never has more entries than calls were made in between.
    overrides: FxHashMap<StreamId, Override>,
}

#[derive(Clone, Copy, Debug)]
enum Override {
    Token(u64),
    Discarded,
}

impl EventQueue {
    pub(super) fn push(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn set_token(&mut self, stream: StreamId, token: u64) {
        self.override_group(stream, Override::Token(token));
    }

    pub(super) fn discard_group(&mut self, stream: StreamId) {
        self.override_group(stream, Override::Discarded);
    }

    pub(super) fn poll(&mut self) -> Option<Event> {
        while let Some(mut event) = self.queue.pop_front() {
            let is_wanted = self.overrides.is_empty() || self.correct(&mut event);
            if self.queue.is_empty() {
                self.overrides.clear();
            }
            if is_wanted {
                return Some(event);
            }
        }
        None
    }

    fn override_group(&mut self, stream: StreamId, said: Override) {
        if !self.queue.is_empty() {
            self.overrides.insert(stream, said);
        }
    }

    /// False when the event is of a discarded group.
    fn correct(&self, event: &mut Event) -> bool {
        let (stream, token) = match event {
            Event::GroupStart { stream, .. } => (*stream, None),
            Event::GroupChunk { stream, token, .. }
            | Event::GroupEnd { stream, token }
            | Event::GroupReset { stream, token, .. } => (*stream, Some(token)),
            _ => return true,
        };
        match (self.overrides.get(&stream), token) {
            (Some(Override::Discarded), _) => false,
            (Some(Override::Token(said)), Some(token)) => {
                *token = *said;
                true
            }
            _ => true,
        }
    }
}
