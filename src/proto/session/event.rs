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

/// What a session tells its caller, in the order in which it happened. Each family goes to one part of a caller, which
/// may pass over the families that are not its own.
///
/// `request` is a stream of the peer: a question to us, which the caller answers by that id. `stream` is, in answers,
/// the stream of a question of ours, and in groups the stream on which the group comes.
#[derive(Clone, Debug)]
pub enum Event {
    /// Of groups that come.
    Media(MediaEvent),
    /// Of broadcasts, in both directions.
    Announcement(AnnouncementEvent),
    /// To a question of ours.
    Answer(AnswerEvent),
    /// A question of the peer.
    Request(RequestEvent),
    /// Of the session as a whole.
    Session(SessionEvent),
}

/// Groups of the tracks that we subscribe to: the data path. What we fetch is an [`AnswerEvent`].
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// A group of a live subscription begins. Its events carry [`GROUP_TOKEN_NONE`] until the caller names it by
    /// [`set_group_token`](super::Session::set_group_token).
    GroupStart {
        /// The stream on which the group comes.
        stream: StreamId,
        /// Whose group it is, and its number.
        header: GroupHeader,
    },
    /// Bytes of a group, in order.
    GroupChunk {
        /// The stream on which the group comes.
        stream: StreamId,
        /// The caller's name for the group.
        token: u64,
        /// The bytes, and where the frames in them begin.
        chunk: Chunk,
    },
    /// A group is complete: its stream ended between two frames.
    GroupEnd {
        /// The stream of the group, which is done.
        stream: StreamId,
        /// The caller's name for the group.
        token: u64,
    },
    /// A group was abandoned, or what came cannot be right. No more of it comes.
    GroupReset {
        /// The stream of the group, which is done.
        stream: StreamId,
        /// The caller's name for the group.
        token: u64,
        /// The publisher's code. Of our own: WRONG_SIZE at an end inside a frame, FRAME_TOO_LARGE, MALFORMED_TRACK.
        code: ErrorCode,
    },
    /// A group of one frame came as a datagram (05 and later), for a subscription that is live.
    Datagram {
        /// Whose group it is, its number and timestamp.
        header: DatagramHeader,
        /// The payload of the frame; may be empty.
        payload: Bytes,
    },
}

/// Which broadcasts there are: those of the peer, on our Announce Streams, and what the peer wants to be told of ours.
#[derive(Clone, Debug)]
pub enum AnnouncementEvent {
    /// `path` has the requested prefix before it; the hops end with the peer's.
    Announced {
        /// Our Announce Stream, as [`request_announce`](super::Session::request_announce) gave it.
        stream: StreamId,
        /// The full path of the broadcast.
        path: BroadcastPath,
        /// Its route.
        advertisement: Advertisement,
    },
    /// A live broadcast got another route or another state. It did not end in between.
    AnnounceReplaced {
        /// Our Announce Stream.
        stream: StreamId,
        /// The full path of the broadcast.
        path: BroadcastPath,
        /// Its route from now on.
        advertisement: Advertisement,
    },
    /// A live broadcast ended, or cannot be reached through the peer any more.
    Unannounced {
        /// Our Announce Stream.
        stream: StreamId,
        /// The full path of the broadcast.
        path: BroadcastPath,
    },
    /// After `Unannounced` for each path that was live on it.
    AnnounceStreamEnded {
        /// Our Announce Stream, which is done.
        stream: StreamId,
    },
    /// The peer asks for announcements. Answered by [`announce_ok`](super::Session::announce_ok),
    /// [`announce`](super::Session::announce) and [`unannounce`](super::Session::unannounce).
    AnnounceRequest {
        /// The peer's Announce Stream.
        request: StreamId,
        /// The prefix, and what is not wanted below it.
        message: AnnounceRequest,
    },
    /// The peer wants no more announcements on this stream. Our side of the stream is already closed.
    AnnounceRequestEnded {
        /// The peer's Announce Stream.
        request: StreamId,
    },
}

/// What the peer answers to a question of ours: a subscription, a track, a fetch or a probe.
#[derive(Clone, Debug)]
pub enum AnswerEvent {
    /// SUBSCRIBE_OK came (up to 04). On 03 and 04 it may come again with more known.
    SubscriptionOk {
        /// Our subscription.
        id: SubscribeId,
        /// The publisher's preferences. On versions whose message does not say the priority, it is the one asked for.
        ok: SubscribeOk,
    },
    /// moq-transport, before [`SubscriptionOk`](Self::SubscriptionOk): what the publisher says of the track, as it came. It
    /// is for subscribers who speak moq-transport too.
    TrackProperties {
        /// Our subscription.
        id: SubscribeId,
        /// Key-Value-Pairs; may be empty.
        properties: Bytes,
    },
    /// SUBSCRIBE_START came (05 and later): the first group that will be delivered is known.
    SubscriptionStart {
        /// Our subscription.
        id: SubscribeId,
        /// That group.
        group: GroupSequence,
    },
    /// SUBSCRIBE_END came (05 and later): the end of the track is known.
    SubscriptionEnd {
        /// Our subscription.
        id: SubscribeId,
        /// The first group that will never be delivered, 0 for none at all.
        end: GroupSequence,
    },
    /// SUBSCRIBE_DROP came (03 and later): these groups will not be delivered.
    SubscriptionDrop {
        /// Our subscription.
        id: SubscribeId,
        /// The first of them.
        start: GroupSequence,
        /// The last of them, inclusive.
        end: GroupSequence,
        /// The publisher's reason, one of [`stream_error`](crate::wire::stream_error).
        code: ErrorCode,
    },
    /// `None`: the publisher finished. Groups may still arrive, out of order with its FIN, until
    /// `unsubscribe` is called.
    SubscriptionClosed {
        /// Our subscription.
        id: SubscribeId,
        /// Why the Subscribe Stream was reset, by the peer or because its answer was wrong; `None` at a FIN.
        code: Option<ErrorCode>,
    },
    /// The answer to [`track`](super::Session::track). The stream is done.
    TrackInfo {
        /// Our Track Stream, which is done.
        stream: StreamId,
        /// What stays the same for the life of the track.
        info: TrackInfo,
    },
    /// A question of ours for a track ended without an answer.
    TrackClosed {
        /// Our Track Stream, which is done.
        stream: StreamId,
        /// Why: the peer's code, or MALFORMED_TRACK when its answer was none.
        code: ErrorCode,
    },
    /// Bytes of a group that we fetched, in order.
    FetchChunk {
        /// Our Fetch Stream.
        stream: StreamId,
        /// The bytes, and where the frames in them begin.
        chunk: Chunk,
    },
    /// A fetch ended.
    FetchClosed {
        /// Our Fetch Stream, which is done.
        stream: StreamId,
        /// `None`: all frames are there. Else why not, one of [`stream_error`](crate::wire::stream_error).
        code: Option<ErrorCode>,
    },
    /// The peer's estimate of the connection on a Probe Stream of ours.
    ProbeReport {
        /// Our Probe Stream, as [`probe`](super::Session::probe) gave it.
        stream: StreamId,
        /// Bitrate and round-trip time, as far as the peer knows them.
        report: Probe,
    },
    /// No more reports come on a Probe Stream of ours.
    ProbeClosed {
        /// Our Probe Stream, which is done.
        stream: StreamId,
        /// Why the stream was reset; `None` at a FIN.
        code: Option<ErrorCode>,
    },
}

/// What the peer asks of us: a subscription, a group, a track or reports. It ends a request by itself (`…Ended`).
#[derive(Clone, Debug)]
pub enum RequestEvent {
    /// The peer subscribes to a track. The answers are `subscribe_*` of [`Session`](super::Session), then
    /// [`finish`](super::Session::finish) or [`refuse`](super::Session::refuse). Groups go on streams of their own.
    Subscribe {
        /// The peer's Subscribe Stream.
        request: StreamId,
        /// The track, and what of it is wanted.
        message: Subscribe,
    },
    /// The peer changed the preferences of a live subscription.
    SubscribeUpdate {
        /// The peer's Subscribe Stream.
        request: StreamId,
        /// The new preferences, which replace the old.
        message: SubscribeUpdate,
    },
    /// The peer unsubscribed. Our side of the stream is already closed.
    SubscribeEnded {
        /// The peer's Subscribe Stream.
        request: StreamId,
    },
    /// The peer fetches one group. The caller writes the frames to this stream itself, then calls
    /// [`finished_elsewhere`](super::Session::finished_elsewhere); or it calls [`refuse`](super::Session::refuse).
    Fetch {
        /// The peer's Fetch Stream.
        request: StreamId,
        /// The group, and which of its frames are wanted.
        message: Fetch,
    },
    /// The peer gave up the fetch. Our side of the stream is already reset.
    FetchEnded {
        /// The peer's Fetch Stream.
        request: StreamId,
    },
    /// The peer asks for the properties of a track (05 and later). Answered by
    /// [`track_info`](super::Session::track_info) or [`refuse`](super::Session::refuse).
    Track {
        /// The peer's Track Stream.
        request: StreamId,
        /// The track asked for.
        message: TrackRequest,
    },
    /// The peer gave the question up. Our side of the stream is already reset.
    TrackEnded {
        /// The peer's Track Stream.
        request: StreamId,
    },
    /// A Probe Stream was opened, or its target changed. The released peers open one without
    /// ever sending a target, so the first of these has none.
    Probe {
        /// The peer's Probe Stream. Reports go there by [`probe_report`](super::Session::probe_report).
        request: StreamId,
        /// The bitrate that the peer wants to have probed; `None` when it names none.
        message: Probe,
    },
    /// The peer wants no more reports. Our side of the stream is already closed.
    ProbeEnded {
        /// The peer's Probe Stream.
        request: StreamId,
    },
}

/// What the peer says, or does wrong, that is of no single stream: SETUP, GOAWAY and their like.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// The peer's SETUP (05 and later), or what its side of the handshake says (01 and 02): from then
    /// on the version is known. Its requests come after it.
    Setup(Setup),
    /// The peer's estimate of the connection's bitrate (01 and 02).
    SessionUpdate {
        /// Bits per second; `None` when unknown.
        bitrate: Option<u64>,
    },
    /// The peer asks us to leave (04 and later). We open no further stream (draft "Goaway"). Comes once.
    Goaway {
        /// Where to go on; empty when the peer names no place.
        uri: String,
    },
    /// The peer broke the protocol and the session is closed. The last event.
    Violation {
        /// The code with which the session is closed, one of [`session_error`](crate::wire::session_error).
        code: ErrorCode,
        /// What was wrong, for a log line.
        reason: String,
    },
}

impl From<MediaEvent> for Event {
    fn from(event: MediaEvent) -> Self {
        Self::Media(event)
    }
}

impl From<AnnouncementEvent> for Event {
    fn from(event: AnnouncementEvent) -> Self {
        Self::Announcement(event)
    }
}

impl From<AnswerEvent> for Event {
    fn from(event: AnswerEvent) -> Self {
        Self::Answer(event)
    }
}

impl From<RequestEvent> for Event {
    fn from(event: RequestEvent) -> Self {
        Self::Request(event)
    }
}

impl From<SessionEvent> for Event {
    fn from(event: SessionEvent) -> Self {
        Self::Session(event)
    }
}

#[derive(Debug, Default)]
pub(crate) struct EventQueue {
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
    pub(crate) fn push(&mut self, event: impl Into<Event>) {
        self.queue.push_back(event.into());
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn set_token(&mut self, stream: StreamId, token: u64) {
        self.override_group(stream, Override::Token(token));
    }

    pub(crate) fn discard_group(&mut self, stream: StreamId) {
        self.override_group(stream, Override::Discarded);
    }

    pub(crate) fn poll(&mut self) -> Option<Event> {
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
        let Event::Media(event) = event else { return true };
        let (stream, token) = match event {
            MediaEvent::GroupStart { stream, .. } => (*stream, None),
            MediaEvent::GroupChunk { stream, token, .. }
            | MediaEvent::GroupEnd { stream, token }
            | MediaEvent::GroupReset { stream, token, .. } => (*stream, Some(token)),
            MediaEvent::Datagram { .. } => return true,
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
