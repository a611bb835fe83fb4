//! What a session tells its owner, and what it wants done to the connection.

use bytes::Bytes;

use crate::wire::{
    Advertisement, AnnounceRequest, BroadcastPath, Chunk, DatagramHeader, ErrorCode, Fetch, GroupHeader, GroupRange,
    GroupSequence, Probe, Setup, StreamId, Subscribe, SubscribeId, SubscribeOk, SubscribeUpdate, TrackInfo, TrackName,
    TrackRequest,
};

/// Something to do to the connection, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    Write { stream: StreamId, data: Bytes, fin: bool },
    Reset { stream: StreamId, code: ErrorCode },
    StopSending { stream: StreamId, code: ErrorCode },
    Close { code: ErrorCode, reason: String },
}

/// What to subscribe to; the session chooses the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeParameters {
    pub broadcast: BroadcastPath,
    pub track: TrackName,
    pub epoch: u64,
    pub priority: u8,
    pub ordered: bool,
    pub max_latency_ms: u64,
    pub range: GroupRange,
}

/// What a peer did. `request` is the stream of the peer's request, `stream` one of ours or
/// that of a group.
#[derive(Clone, Debug)]
pub enum Event {
    /// The peer's SETUP. Requests of moq-lite-05 and later come after it.
    Setup(Setup),

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
    SubscribeEnded {
        request: StreamId,
    },
    Fetch {
        request: StreamId,
        message: Fetch,
    },
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
    /// Again at every update of the target.
    Probe {
        request: StreamId,
        message: Probe,
    },
    ProbeEnded {
        request: StreamId,
    },

    /// A broadcast is there. The path has the requested prefix in front, the hops end with
    /// the peer's own.
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
    /// Comes after [`Event::Unannounced`] for all that was announced on the stream.
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
    /// No group at or after `end` will come.
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
    /// `None`: all groups were accounted for.
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
    /// `None`: the group is complete.
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
    Goaway {
        uri: String,
    },
    /// The session is closed with this code.
    Violation {
        code: ErrorCode,
        reason: String,
    },
}
