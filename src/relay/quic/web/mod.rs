//! WebTransport over HTTP/3 on one connection (draft-ietf-webtrans-http3): the settings, the CONNECT
//! request and its capsules, ordinary requests beside it, and what each stream begins with.
//!
//! A stream that has said that it belongs to the session costs a look into a set from then on, and
//! its bytes are not touched again. One session for a connection, of which [`Stage`] says how far it
//! is; what comes for it too early waits, within limits.

#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
mod http;
mod peer_streams;
mod records;
/// For those who are refused because there is no room.
const RETRY_AFTER_SECONDS: &str = "5";

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response, code, frame};
use moqswitch_proto::wire::{ErrorCode, Read, StreamHeads, StreamId, Version, stream_error, varint};
use records::{Excess, Records};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use web_transport_proto::{error_from_http3, error_to_http3};

use super::alpn::version_of;
use super::{ReadArena, ZeroCopy};

type Quic = quiche::Connection<ZeroCopy>;

/// The ALPN token of HTTP/3 (RFC 9114, section 3.1).
pub(super) const ALPN: &[u8] = b"h3";

/// What a client asks of an HTTP/3 server.
#[derive(Debug, PartialEq, Eq)]
pub enum WebEvent {
    /// For a session at this path and query, to be accepted or refused.
    SessionRequested {
        /// Path and query of the request.
        path: String,
        /// The field `Authorization`.
        authorization: Option<Vec<u8>>,
    },
    /// For a resource; [`super::Connection::respond`] answers.
    Request {
        /// The stream of the request, on which the answer goes.
        stream: StreamId,
        /// The HTTP method.
        method: String,
        /// Path and query of the request.
        path: String,
        /// The field `Authorization`.
        authorization: Option<Vec<u8>>,
    },
    /// It broke HTTP/3, and the connection is being closed. The last event.
    Failed {
        /// What was wrong, for a log line.
        reason: String,
    },
}

/// Where a client wants its session.
#[derive(Clone, Debug)]
pub struct WebDial {
    /// `host:port`
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Best first.
    pub versions: Vec<Version>,
}

#[derive(Debug)]
pub(super) struct Web {
    is_server: bool,
    stage: Stage,
    dial: Option<WebDial>,
    /// The peer's control stream.
    control: Option<(StreamId, Records)>,
    has_settings: bool,
    /// The peer's streams for QPACK, by their type.
    qpack: [Option<StreamId>; 2],
    /// Streams of the peer that belong to the session and are not finished.
    carried: FxHashSet<StreamId>,
    /// First bytes of streams that do not tell yet what they are.
    unsorted: FxHashMap<StreamId, BytesMut>,
    /// Streams of the session that were there before it was accepted, in order.
    held: VecDeque<Held>,
    /// Requests whose head is not complete, or whose body is passed over.
    requests: FxHashMap<StreamId, Records>,
    events: VecDeque<WebEvent>,
    /// Requests that the caller has not answered.
    unanswered: usize,
    /// What the connection did not take yet.
    outgoing: VecDeque<(StreamId, Bytes, bool)>,
    has_written: bool,
    /// As `has_written`, since a flush last looked.
    has_unsent: bool,
    /// Streams of the peer that were given up, since this was last asked.
    turned_away: u64,
    draft: Option<Version>,
    /// Path and query of the session's request.
    path: Option<String>,
    /// Until it is passed on.
    authorization: Option<Vec<u8>>,
    head: Bytes,
    reason: Option<String>,
}

#[derive(Debug)]
enum Stage {
    /// No CONNECT for a session yet.
    Idle,
    /// Asked for: the server has to decide, or the client waits for its decision.
    Asked {
        stream: StreamId,
        records: Records,
        available: Option<Vec<String>>,
    },
    Open {
        stream: StreamId,
        records: Records,
        capsules: Records,
    },
    /// Ended by us; the connection follows when the peer has heard of it, or by then.
    Closing {
        stream: StreamId,
        due: Instant,
    },
    Over,
}

/// The first bytes of a stream for a session that is not open yet.
#[derive(Debug)]
struct Held {
    stream: StreamId,
    session: StreamId,
    bytes: Bytes,
    fin: bool,
}

/// What ends the connection.
#[derive(Debug)]
struct Violation {
    code: u64,
    reason: &'static str,
}

impl Web {
    /// Of a connection that is established. `dial` makes it a client.
    pub(super) fn begin(quic: &mut Quic, dial: Option<WebDial>) -> Self {
        let is_server = dial.is_none();
        let mut web = Self {
            is_server,
            stage: Stage::Idle,
            dial,
            control: None,
            has_settings: false,
            qpack: [None; 2],
            carried: FxHashSet::default(),
            unsorted: FxHashMap::default(),
            held: VecDeque::new(),
            requests: FxHashMap::default(),
            events: VecDeque::new(),
            unanswered: 0,
            outgoing: VecDeque::new(),
            has_written: false,
            has_unsent: true,
            turned_away: 0,
            draft: None,
            path: None,
            authorization: None,
            head: Bytes::new(),
            reason: None,
        };
        let control = StreamId(if is_server { 3 } else { 2 });
        web.write(quic, control, http::settings(is_server), false);
        if let Some(dial) = &web.dial {
            let mut names: Vec<&str> = dial
                .versions
                .iter()
                .filter_map(|version| str::from_utf8(version.alpn()).ok())
                .collect();
            names.dedup();
            let request = Request::connect(&dial.authority, &dial.path, &names);
            web.stage = Stage::Asked {
                stream: CLIENT_SESSION,
                records: Records::new(peer_streams::REQUEST_KINDS),
                available: None,
            };
            web.write(quic, CLIENT_SESSION, request, false);
        }
        web
    }

    pub(super) fn poll_event(&mut self) -> Option<WebEvent> {
        self.events.pop_front()
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    /// The session is over, even if the connection is not yet.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. } | Stage::Over)
    }

    pub(super) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    pub(super) fn draft(&self) -> Option<Version> {
        self.draft
    }

    /// Why it ended, if the peer said so or was at fault.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether something was written since this was last asked.
    pub(super) fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    /// Whether something was written since this was last asked, what was tried again included.
    pub(super) fn take_unsent(&mut self) -> bool {
        std::mem::take(&mut self.has_unsent)
    }

    fn on_written(&mut self) {
        self.has_written = true;
        self.has_unsent = true;
    }

    pub(super) fn take_turned_away(&mut self) -> u64 {
        std::mem::take(&mut self.turned_away)
    }

    /// What stands before each datagram of the session (RFC 9297, section 2.1).
    pub(super) fn datagram_head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn stream_heads(&self) -> StreamHeads {
        let session = self.session_stream().unwrap_or_default();
        let head = |kind| {
            let mut out = BytesMut::new();
            put(&mut out, kind);
            put(&mut out, session.0);
            out.freeze()
        };
        StreamHeads {
            uni: head(http::stream::WEB_TRANSPORT),
            bidi: head(frame::WEB_TRANSPORT),
            uni_taken: 1,
            bidi_taken: u64::from(!self.is_server),
        }
    }

    /// Opens the session that was asked for, in the first of `versions` that the client offered.
    /// False when it offered none of them; then it is refused.
    pub(super) fn accept(&mut self, quic: &mut Quic, versions: &[Version]) -> bool {
        let Stage::Asked { stream, available, .. } = &self.stage else {
            return false;
        };
        let stream = *stream;
        let named = available.as_ref().map(|names| {
            let is_offered = |alpn: &&[u8]| names.iter().any(|name| name.as_bytes() == *alpn);
            versions.iter().map(|version| version.alpn()).find(is_offered)
        });
        let (protocol, draft) = match named {
            // Without a name the draft is agreed on in band.
            None => (None, version_of(IN_BAND)),
            Some(None) => {
                self.refuse(quic, STATUS_BAD_REQUEST);
                return false;
            }
            Some(Some(alpn)) => (str::from_utf8(alpn).ok(), version_of(alpn)),
        };
        self.write(quic, stream, Response::accept(protocol), false);
        self.open(quic, draft);
        true
    }

    pub(super) fn refuse(&mut self, quic: &mut Quic, status: u16) {
        let Stage::Asked { stream, .. } = self.stage else {
            return;
        };
        self.stage = Stage::Idle;
        self.path = None;
        for held in std::mem::take(&mut self.held) {
            self.turn_away(quic, held.stream, code::SESSION_GONE);
        }
        // Who finds no room is told when to ask again (RFC 9110, section 15.6.4).
        let fields: &[(&str, &str)] = match status {
            503 => &[("retry-after", RETRY_AFTER_SECONDS)],
            _ => &[],
        };
        self.write(quic, stream, Response::whole(status, fields, &Bytes::new()), true);
    }

    /// Answers an ordinary request.
    pub(super) fn respond(
        &mut self,
        quic: &mut Quic,
        stream: StreamId,
        status: u16,
        fields: &[(&str, &str)],
        body: &Bytes,
    ) {
        self.unanswered = self.unanswered.saturating_sub(1);
        let waiting: usize = self.outgoing.iter().map(|(_, bytes, _)| bytes.len()).sum();
        if waiting + body.len() > OUTGOING_BYTES_MAX {
            return self.turn_away(quic, stream, code::EXCESSIVE_LOAD);
        }
        self.write(quic, stream, Response::whole(status, fields, body), true);
    }

    /// Says that the session is to end soon.
    pub(super) fn drain(&mut self, quic: &mut Quic) {
        if let Stage::Open { stream, .. } = self.stage {
            self.write(quic, stream, http::drain_capsule(), false);
        }
    }

    /// Ends the session, or without one the connection.
    pub(super) fn close(&mut self, quic: &mut Quic, code: ErrorCode, reason: &str) {
        let Stage::Open { stream, .. } = self.stage else {
            if !self.is_over() {
                self.stage = Stage::Over;
                let _ = quic.close(true, code::NO_ERROR, reason.as_bytes());
            }
            return;
        };
        let capsule = http::close_capsule(u32::try_from(code.0).unwrap_or(u32::MAX), reason);
        self.write(quic, stream, capsule, true);
        self.stage = Stage::Closing {
            stream,
            due: Instant::now() + CLOSE_WAIT_MAX,
        };
    }

    /// Ends the connection, whether the peer has heard of its session's end or not.
    pub(super) fn abandon(&mut self, quic: &mut Quic) {
        self.stage = Stage::Over;
        let _ = quic.close(true, code::NO_ERROR, b"");
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Closing { due, .. } => Some(due),
            _ => None,
        }
    }

    /// After a packet: a session that was closed takes its connection along once the peer has ended
    /// its side too, or has had the time to.
    pub(super) fn handle_closing(&mut self, quic: &mut Quic) {
        if let Stage::Closing { stream, due } = self.stage {
            self.finish_closing(quic, stream, due, Instant::now());
        }
    }

    /// The same, after a timeout.
    pub(super) fn handle_timeout(&mut self, quic: &mut Quic, now: Instant) {
        if let Stage::Closing { stream, due } = self.stage {
            self.finish_closing(quic, stream, due, now);
        }
    }

    fn finish_closing(&mut self, quic: &mut Quic, stream: StreamId, due: Instant, now: Instant) {
        self.retry(quic);
        let is_answered = loop {
            match quic.stream_recv(stream.0, &mut [0; 512]) {
                Ok((_, false)) => {}
                Ok((_, true)) | Err(quiche::Error::StreamReset(_) | quiche::Error::InvalidStreamState(_)) => {
                    break true;
                }
                Err(_) => break false,
            }
        };
        if is_answered || now >= due {
            self.stage = Stage::Over;
            let _ = quic.close(true, code::NO_ERROR, b"");
        }
    }

    pub(super) fn poll_readable(&mut self, quic: &mut Quic) -> Option<StreamId> {
        if self.is_open()
            && let Some(held) = self.held.front()
        {
            return Some(held.stream);
        }
        quic.stream_readable_next().map(StreamId)
    }

    /// A stream that may be written again or was stopped; false when it is the session's affair.
    pub(super) fn handle_writable(&mut self, quic: &mut Quic, stream: StreamId, is_stopped: bool) -> bool {
        if stream == self.own_control() && is_stopped && !self.is_over() {
            // RFC 9114, section 6.2.1.
            self.fail(
                quic,
                &violation(code::CLOSED_CRITICAL_STREAM, "the control stream was stopped"),
            );
        }
        if self.session_stream() == Some(stream) && is_stopped && self.is_open() {
            self.end(quic, "the peer stopped the session");
            return true;
        }
        let is_internal = self.outgoing.iter().any(|(waiting, ..)| *waiting == stream);
        if is_internal {
            self.retry(quic);
        }
        is_internal || self.session_stream() == Some(stream) || stream == self.own_control()
    }

    /// As [`super::Connection::read`]: what is not the session's is dealt with here, and the caller
    /// is given nothing of it.
    pub(super) fn read(&mut self, quic: &mut Quic, stream: StreamId, arena: &mut ReadArena) -> Read {
        if self.is_open()
            && let Some(index) = self.held.iter().position(|held| held.stream == stream)
            && let Some(Held { bytes, fin, .. }) = self.held.remove(index)
        {
            if !fin {
                self.carried.insert(stream);
            }
            return Read::Data { bytes, fin };
        }
        if self.carried.contains(&stream) || self.is_answer(stream) {
            let read = session_read(arena.read(quic, stream));
            if matches!(read, Read::Data { fin: true, .. } | Read::Reset(_)) {
                self.carried.remove(&stream);
            }
            return read;
        }
        if self.held.iter().any(|held| held.stream == stream) {
            return Read::Nothing;
        }
        self.read_other(quic, stream, arena)
    }

    /// A stream of the session that is not read any further.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.carried.remove(&stream);
    }

    /// The payload of a datagram, if it is the session's.
    pub(super) fn unwrap_datagram(&self, datagram: &Bytes) -> Option<Bytes> {
        let is_ours = self.is_open() && datagram.starts_with(&self.head);
        is_ours.then(|| datagram.slice(self.head.len()..))
    }

    fn open(&mut self, quic: &mut Quic, draft: Option<Version>) {
        let Stage::Asked { stream, records, .. } = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return;
        };
        self.draft = draft;
        let mut head = BytesMut::new();
        // The quarter stream id (RFC 9297, section 2.1).
        put(&mut head, stream.0 / 4);
        self.head = head.freeze();
        self.stage = Stage::Open {
            stream,
            records,
            capsules: Records::new(peer_streams::CAPSULE_KINDS),
        };
        for held in std::mem::take(&mut self.held) {
            if held.session == stream {
                self.held.push_back(held);
            } else {
                self.turn_away(quic, held.stream, code::SESSION_GONE);
            }
        }
    }

    /// The peer has ended the session, and with it what the connection is for.
    fn end(&mut self, quic: &mut Quic, reason: &str) {
        self.stage = Stage::Over;
        self.held.clear();
        self.reason = Some(reason.to_owned());
        self.on_written();
        let _ = quic.close(true, code::NO_ERROR, b"");
    }

    fn fail(&mut self, quic: &mut Quic, violation: &Violation) {
        self.stage = Stage::Over;
        self.held.clear();
        let reason = format!("HTTP/3 error {:#x}: {}", violation.code, violation.reason);
        self.events.push_back(WebEvent::Failed { reason: reason.clone() });
        self.reason = Some(reason);
        self.on_written();
        let _ = quic.close(true, violation.code, violation.reason.as_bytes());
    }

    /// Gives a stream of the peer up in both directions.
    fn turn_away(&mut self, quic: &mut Quic, stream: StreamId, code: u64) {
        self.turned_away += 1;
        stop(quic, stream, code);
        if !stream.is_uni() {
            let _ = quic.stream_shutdown(stream.0, quiche::Shutdown::Write, code);
        }
    }

    fn session_stream(&self) -> Option<StreamId> {
        match self.stage {
            Stage::Asked { stream, .. } | Stage::Open { stream, .. } | Stage::Closing { stream, .. } => Some(stream),
            Stage::Idle | Stage::Over => None,
        }
    }

    fn own_control(&self) -> StreamId {
        StreamId(if self.is_server { 3 } else { 2 })
    }

    /// Whether a stream is one that we opened for the session, on which nothing stands before the
    /// peer's bytes.
    fn is_answer(&self, stream: StreamId) -> bool {
        stream.is_client() != self.is_server && self.session_stream() != Some(stream)
    }

    fn write(&mut self, quic: &mut Quic, stream: StreamId, bytes: Bytes, fin: bool) {
        self.on_written();
        self.outgoing.push_back((stream, bytes, fin));
        self.retry(quic);
    }

    /// Tries again what waits. A stream that the peer does not read holds up no other.
    fn retry(&mut self, quic: &mut Quic) {
        self.has_unsent |= !self.outgoing.is_empty();
        let mut blocked: SmallVec<[StreamId; 4]> = SmallVec::new();
        self.outgoing.retain_mut(|(stream, bytes, fin)| {
            if blocked.contains(stream) {
                return true;
            }
            match quic.stream_send_zc(stream.0, bytes.clone().into(), *fin) {
                Ok((taken, _)) if taken == bytes.len() => return false,
                Ok((taken, _)) => bytes.advance(taken),
                Err(quiche::Error::StreamLimit) => {}
                // Of a stream that is gone quiche says that, too.
                Err(quiche::Error::Done) if quic.stream_capacity(stream.0).is_ok() => {}
                // Stopped or gone: nobody wants it.
                Err(_) => return false,
            }
            blocked.push(*stream);
            true
        });
    }
}

impl From<Excess> for Violation {
    fn from(_: Excess) -> Self {
        violation(
            code::EXCESSIVE_LOAD,
            "a message that is too large, or too many without meaning",
        )
    }
}

/// A code of the session as HTTP/3 carries it (draft-ietf-webtrans-http3, section 4.4).
pub(super) fn to_wire(code: ErrorCode) -> u64 {
    error_to_http3(u32::try_from(code.0).unwrap_or(u32::MAX))
}

/// A code of HTTP/3 as the session knows it; one that is not the session's gives the stream up.
pub(super) fn from_wire(code: u64) -> ErrorCode {
    error_from_http3(code).map_or(stream_error::CANCEL, |code| ErrorCode(u64::from(code)))
}

fn session_read(read: Read) -> Read {
    match read {
        Read::Reset(code) => Read::Reset(from_wire(code.0)),
        other => other,
    }
}

fn stop(quic: &mut Quic, stream: StreamId, code: u64) {
    // Fails only for a stream that is gone already.
    let _ = quic.stream_shutdown(stream.0, quiche::Shutdown::Read, code);
}

fn violation(code: u64, reason: &'static str) -> Violation {
    Violation { code, reason }
}

fn put(out: &mut BytesMut, value: u64) {
    varint::put(out, value).expect("types and stream ids are below 2^62");
}

/// The protocol of a session that names none.
const IN_BAND: &[u8] = b"moql";

/// The first two-way stream of a client.
const CLIENT_SESSION: StreamId = StreamId(0);

/// Of answers that a client does not take. A further one is reset instead.
const OUTGOING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long a peer may take to end its side of a session that we closed.
const CLOSE_WAIT_MAX: Duration = Duration::from_millis(500);

const STATUS_BAD_REQUEST: u16 = 400;
