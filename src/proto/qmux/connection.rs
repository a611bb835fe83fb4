//! One connection, with the calls that a session makes of a QUIC connection.
//!
//! Invariants: `held_bytes` and `held_pieces` are the sums over all sending halves, `unread_chunks` is
//! that over all receiving ones; a stream is in a queue exactly when its flag for that queue says so, or is gone; ids below `opened` that have
//! no entry are done.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use rustc_hash::FxHashMap;

use crate::wire::{ErrorCode, Read, StreamId, Version, Written, stream_error};

use super::dialect::{Dialect, Subprotocol};
use super::limits::{
    DATAGRAM_HEAD_BYTES_MAX, DATAGRAMS_WAITING_MAX, HELD_BYTES_MAX, HELD_PIECES_MAX, RECORD_BYTES_MAX,
    UNREAD_CHUNKS_MAX,
};
use super::parameters::Parameters;
use super::stream::{Opened, Receive, Send, Stream, ordinal, with_ordinal};
use super::window::Window;

/// What this side allows the other. A peer that exceeds it ends the connection.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that may wait here unread, of a connection and of one stream.
    pub connection_window_bytes: u64,
    /// Bytes of one stream that may wait here unread.
    pub stream_window_bytes: u64,
    /// Streams that the peer may have open at once, of each kind.
    pub bidi_streams_max: u64,
    /// One-way streams that the peer may have open at once.
    pub uni_streams_max: u64,
    /// Datagrams that may wait to be read. The oldest goes for a further one.
    pub datagram_queue_max: usize,
    /// Told to the peer, in whose interest it is to say something before. Whoever owns the carrier
    /// closes a silent one.
    pub idle_timeout_ms: u64,
}

/// Which end of the carrier this is. It decides whose stream ids are whose (RFC 9000 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that opened the carrier. Its stream ids are even.
    Client,
    /// The end that accepted the carrier. Its stream ids are odd.
    Server,
}

/// A QMux connection.
pub struct Connection {
    pub(super) options: Options,
    pub(super) dialect: Dialect,
    version: Version,
    pub(super) side: Side,
    pub(super) is_greeted: bool,
    /// What the peer allows; `None` until it has said so.
    pub(super) peer: Option<Parameters>,
    pub(super) ending: Option<Ending>,
    pub(super) streams: FxHashMap<StreamId, Stream>,
    /// Two-way, one-way.
    pub(super) ours: [Opened; 2],
    pub(super) theirs: [Opened; 2],
    /// Streams of the peer that are done, and so make room for others.
    pub(super) stream_windows: [Window; 2],
    pub(super) window: Window,
    /// Bytes that the peer lets us send in all, and those taken from the session so far.
    pub(super) credit_limit: u64,
    pub(super) credit_used: u64,
    pub(super) held_bytes: usize,
    pub(super) held_pieces: usize,
    pub(super) is_short_of_room: bool,
    pub(super) unread_chunks: usize,
    pub(super) readable: VecDeque<StreamId>,
    pub(super) writable: VecDeque<StreamId>,
    /// Writes of these were cut short by the room of the connection.
    pub(super) waiting: VecDeque<StreamId>,
    /// With something to send: two-way ones, which carry requests and answers, go first.
    pub(super) sendable: [VecDeque<StreamId>; 2],
    pub(super) control: VecDeque<Control>,
    pub(super) pong: Option<u64>,
    pub(super) datagrams_in: VecDeque<Bytes>,
    pub(super) datagrams_out: VecDeque<Bytes>,
}

/// A frame without payload that waits to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    Reset {
        stream: StreamId,
        code: ErrorCode,
        final_size: u64,
    },
    StopSending {
        stream: StreamId,
        code: ErrorCode,
    },
    /// Says how much the peer may send on the stream by then.
    StreamCredit(StreamId),
}

/// Why nothing is exchanged any more.
pub(super) struct Ending {
    /// What the peer is still to be told.
    pub(super) notice: Option<CloseNotice>,
    pub(super) reason: String,
}

pub(super) struct CloseNotice {
    pub(super) is_application: bool,
    pub(super) code: ErrorCode,
    pub(super) reason: String,
}

impl Connection {
    /// A connection that has exchanged nothing yet. The first message of [`poll_transmit`](Self::poll_transmit) holds
    /// what `options` allow the peer.
    pub fn new(side: Side, subprotocol: Subprotocol, options: Options) -> Self {
        Self {
            dialect: subprotocol.dialect,
            version: subprotocol.version,
            side,
            is_greeted: false,
            peer: None,
            ending: None,
            streams: FxHashMap::default(),
            ours: [Opened::default(); 2],
            theirs: [options.bidi_streams_max, options.uni_streams_max].map(|limit| Opened { opened: 0, limit }),
            stream_windows: [options.bidi_streams_max, options.uni_streams_max].map(Window::new),
            window: Window::new(options.connection_window_bytes),
            credit_limit: 0,
            credit_used: 0,
            held_bytes: 0,
            held_pieces: 0,
            is_short_of_room: false,
            unread_chunks: 0,
            readable: VecDeque::new(),
            writable: VecDeque::new(),
            waiting: VecDeque::new(),
            sendable: Default::default(),
            control: VecDeque::new(),
            pong: None,
            datagrams_in: VecDeque::new(),
            datagrams_out: VecDeque::new(),
            options,
        }
    }

    /// The moq-lite draft that the subprotocol named.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether this side is [`Side::Server`].
    pub fn is_server(&self) -> bool {
        self.side == Side::Server
    }

    /// The peer has said what it allows.
    pub fn is_established(&self) -> bool {
        self.peer.is_some()
    }

    /// Either side has closed it, or the carrier is gone.
    pub fn is_over(&self) -> bool {
        self.ending.is_some()
    }

    /// So many small pieces wait to be read that the carrier should bring no more.
    pub fn has_backlog(&self) -> bool {
        self.unread_chunks >= UNREAD_CHUNKS_MAX && !self.is_over()
    }

    /// The next stream with bytes, a FIN or a reset to [`read`](Self::read). Each is named once until it is read.
    /// `None`: no stream has any.
    pub fn poll_readable(&mut self) -> Option<StreamId> {
        while let Some(stream) = self.readable.pop_front() {
            if let Some(receive) = self.receive_half(stream) {
                receive.is_listed = false;
                if receive.has_news() {
                    return Some(stream);
                }
            }
        }
        None
    }

    /// Reads once. A stream with more to give stays readable.
    pub fn read(&mut self, stream: StreamId) -> Read {
        let Some(receive) = self.receive_half(stream) else {
            return Read::Nothing;
        };
        if let Some(code) = receive.reset {
            self.finish_receiving(stream);
            return Read::Reset(code);
        }
        let chunk = receive.chunks.pop_front();
        let fin = receive.fin && receive.chunks.is_empty();
        if chunk.is_none() && !fin {
            return Read::Nothing;
        }
        let chunks = usize::from(chunk.is_some());
        let bytes = chunk.unwrap_or_default();
        if receive.has_news() && !receive.is_listed && !fin {
            receive.is_listed = true;
            self.readable.push_back(stream);
        }
        self.unread_chunks -= chunks;
        self.consume(stream, bytes.len() as u64);
        if fin {
            self.finish_receiving(stream);
        }
        Read::Data { bytes, fin }
    }

    /// A stream that may be written again after a partial write, or that the peer stopped.
    pub fn poll_writable(&mut self) -> Option<(StreamId, Option<ErrorCode>)> {
        while let Some(stream) = self.writable.pop_front() {
            let Some(send) = self.send_half(stream) else { continue };
            let stopped = send.stopped;
            if stopped.is_some() {
                self.finish_sending(stream);
            }
            return Some((stream, stopped));
        }
        while self.room() > 0
            && let Some(stream) = self.waiting.pop_front()
        {
            if let Some(send) = self.send_half(stream) {
                send.is_waiting = false;
                return Some((stream, None));
            }
        }
        None
    }

    /// Takes as much as may wait here and as the peer allows.
    pub fn write(&mut self, stream: StreamId, mut bytes: Bytes, fin: bool) -> Written {
        if self.is_over() {
            return Written::Stopped(stream_error::CANCEL);
        }
        if let Err(refused) = self.open(stream) {
            return refused;
        }
        let room = self.room();
        let Some(send) = self.streams.get_mut(&stream).and_then(|stream| stream.send.as_mut()) else {
            return Written::Stopped(stream_error::CANCEL);
        };
        if let Some(code) = send.stopped {
            return Written::Stopped(code);
        }
        let length = bytes.len();
        let taken = usize::try_from(send.credit())
            .unwrap_or(usize::MAX)
            .min(room)
            .min(length);
        if taken > 0 {
            send.held_bytes += taken;
            self.held_bytes += taken;
            self.held_pieces += 1;
            self.credit_used += taken as u64;
            bytes.truncate(taken);
            send.pieces.push_back(bytes);
        }
        send.fin |= fin && taken == length;
        if send.has_something() && !send.is_listed {
            send.is_listed = true;
            self.sendable[usize::from(stream.is_uni())].push_back(stream);
        }
        if taken == length {
            return Written::All;
        }
        if taken == room {
            self.is_short_of_room = true;
            if !send.is_waiting {
                send.is_waiting = true;
                self.waiting.push_back(stream);
            }
            return if room == 0 {
                Written::Blocked
            } else {
                Written::Partial(taken)
            };
        }
        send.is_short_of_credit = true;
        Written::Partial(taken)
    }

    /// Abandons our sending half: what waits to leave is dropped, and the peer is told `code` (RESET_STREAM, RFC 9000
    /// section 19.4). Nothing happens when that half is done or was never opened.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(send) = self.send_half(stream) else { return };
        if send.stopped.is_none() {
            let final_size = self.drop_held(stream);
            self.push_control(Control::Reset {
                stream,
                code,
                final_size,
            });
        }
        self.finish_sending(stream);
    }

    /// Asks the peer to send no more on the stream (STOP_SENDING, RFC 9000 section 19.5). What came and was not read is
    /// dropped. Nothing is sent when the peer has finished already, or at a second call.
    pub fn stop_sending(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(receive) = self.receive_half(stream) else {
            return;
        };
        if receive.is_refused {
            return;
        }
        receive.is_refused = true;
        let (chunks, unread) = receive.discard();
        let is_done = receive.fin || receive.reset.is_some();
        self.unread_chunks -= chunks;
        self.consume(stream, unread);
        if is_done {
            self.finish_receiving(stream);
        } else {
            self.push_control(Control::StopSending { stream, code });
        }
    }

    /// Whether the peer lets us open another unidirectional stream.
    pub fn has_uni_credit(&self) -> bool {
        self.ours[UNI].opened < self.ours[UNI].limit
    }

    /// The oldest datagram that was received and not taken. `None`: none waits.
    pub fn poll_datagram(&mut self) -> Option<Bytes> {
        self.datagrams_in.pop_front()
    }

    /// Bytes that one datagram may carry; `None` when the peer takes no datagrams.
    pub fn datagram_bytes_max(&self) -> Option<usize> {
        let peer = self.peer.as_ref().filter(|_| self.dialect.has_datagrams())?;
        let frame = peer.datagram_frame_bytes.min(peer.record_bytes);
        usize::try_from(frame)
            .unwrap_or(usize::MAX)
            .min(RECORD_BYTES_MAX)
            .checked_sub(DATAGRAM_HEAD_BYTES_MAX)
    }

    /// Sends a datagram unless others wait already.
    pub fn send_datagram(&mut self, body: Bytes) -> bool {
        let fits = self.datagram_bytes_max().is_some_and(|max| body.len() <= max)
            && self.datagrams_out.len() < DATAGRAMS_WAITING_MAX
            && self.held_bytes < HELD_BYTES_MAX
            && !self.is_over();
        if fits {
            self.datagrams_out.push_back(body);
        }
        fits
    }

    /// Ends the session. What waits to leave is dropped; the peer is told.
    pub fn close(&mut self, code: ErrorCode, reason: &str) {
        let notice = CloseNotice {
            is_application: true,
            code,
            reason: reason.to_owned(),
        };
        let reason = format!("this side closed it with session code {code} {reason}");
        self.end(Some(notice), reason);
    }

    /// The peer does not read what it is to be told at the end.
    pub fn handle_unheard(&mut self) {
        self.is_greeted = true;
        if let Some(ending) = &mut self.ending {
            ending.notice = None;
        }
    }

    /// The carrier is gone.
    pub fn handle_lost(&mut self, reason: &str) {
        self.end(None, reason.to_owned());
    }

    /// Why the connection ended, for a log line.
    pub fn close_reason(&self) -> &str {
        self.ending.as_ref().map_or("unknown", |ending| &ending.reason)
    }

    /// Whether writes may go on that were cut short for want of room. True once for each time.
    pub fn poll_room(&mut self) -> bool {
        self.room() > 0 && std::mem::take(&mut self.is_short_of_room)
    }

    /// Bytes of the session that have not left.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Ends it, unless that has happened already. What came before can still be read.
    pub(super) fn end(&mut self, notice: Option<CloseNotice>, reason: String) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(Ending { notice, reason });
        for stream in self.streams.values_mut() {
            stream.send = None;
        }
        (self.held_bytes, self.held_pieces) = (0, 0);
        self.writable.clear();
        self.waiting.clear();
        self.sendable.iter_mut().for_each(VecDeque::clear);
        self.control.clear();
        self.datagrams_out.clear();
    }

    /// Bytes that may be taken from the session, of whatever stream.
    pub(super) fn room(&self) -> usize {
        if self.held_pieces >= HELD_PIECES_MAX {
            return 0;
        }
        let credit = usize::try_from(self.credit_limit - self.credit_used).unwrap_or(usize::MAX);
        HELD_BYTES_MAX.saturating_sub(self.held_bytes).min(credit)
    }

    /// Opens a stream of ours when it is first written, and with it those before it.
    fn open(&mut self, stream: StreamId) -> Result<(), Written> {
        let opened = self.ours[usize::from(stream.is_uni())];
        if !self.is_ours(stream) || ordinal(stream) < opened.opened {
            return Ok(());
        }
        let Some(peer) = self.peer else {
            self.is_short_of_room = true;
            return Err(Written::Blocked);
        };
        if ordinal(stream) >= opened.limit {
            return Err(Written::NoStreamCredit);
        }
        if self.room() == 0 {
            self.is_short_of_room = true;
            return Err(Written::Blocked);
        }
        for ordinal in opened.opened..=ordinal(stream) {
            let halves = match stream.is_uni() {
                true => Stream {
                    receive: None,
                    send: Some(Send::new(peer.stream_data_uni)),
                },
                false => Stream {
                    receive: Some(Receive::new(self.options.stream_window_bytes)),
                    send: Some(Send::new(peer.stream_data_bidi_remote)),
                },
            };
            self.streams.insert(with_ordinal(stream, ordinal), halves);
        }
        self.ours[usize::from(stream.is_uni())].opened = ordinal(stream) + 1;
        Ok(())
    }

    /// Opened by this side, if it is open.
    pub(super) fn is_ours(&self, stream: StreamId) -> bool {
        stream.is_client() != self.is_server()
    }

    pub(super) fn receive_half(&mut self, stream: StreamId) -> Option<&mut Receive> {
        self.streams.get_mut(&stream)?.receive.as_mut()
    }

    pub(super) fn send_half(&mut self, stream: StreamId) -> Option<&mut Send> {
        self.streams.get_mut(&stream)?.send.as_mut()
    }

    pub(super) fn finish_receiving(&mut self, stream: StreamId) {
        if let Some(halves) = self.streams.get_mut(&stream) {
            halves.receive = None;
            self.forget_if_done(stream);
        }
    }

    pub(super) fn finish_sending(&mut self, stream: StreamId) {
        if let Some(halves) = self.streams.get_mut(&stream) {
            halves.send = None;
            self.forget_if_done(stream);
        }
    }

    fn forget_if_done(&mut self, stream: StreamId) {
        let is_done = self
            .streams
            .get(&stream)
            .is_some_and(|halves| halves.receive.is_none() && halves.send.is_none());
        if is_done {
            self.streams.remove(&stream);
            if !self.is_ours(stream) {
                self.stream_windows[usize::from(stream.is_uni())].consume(1);
            }
        }
    }

    /// Drops what a stream holds, which the peer will not be charged for; returns how much has left.
    pub(super) fn drop_held(&mut self, stream: StreamId) -> u64 {
        let Some(send) = self.streams.get_mut(&stream).and_then(|stream| stream.send.as_mut()) else {
            return 0;
        };
        self.held_bytes -= send.held_bytes;
        self.held_pieces -= send.pieces.len();
        self.credit_used -= send.held_bytes as u64;
        send.held_bytes = 0;
        send.pieces.clear();
        send.sent
    }

    /// Bytes were read or dropped: the peer may send as many more.
    pub(super) fn consume(&mut self, stream: StreamId, bytes: u64) {
        self.window.consume(bytes);
        if let Some(receive) = self.receive_half(stream) {
            receive.window.consume(bytes);
            let is_wanted = !receive.fin && receive.reset.is_none() && !receive.is_refused;
            if is_wanted && receive.window.is_due() && !receive.is_credit_listed {
                receive.is_credit_listed = true;
                self.push_control(Control::StreamCredit(stream));
            }
        }
    }
}

impl Send {
    /// Takes bytes off the front, for a message.
    pub(super) fn pop(&mut self, bytes: usize) -> Option<Bytes> {
        let front = self.pieces.front_mut()?;
        let taken = front.len().min(bytes);
        let piece = if taken == front.len() {
            self.pieces.pop_front()?
        } else {
            let piece = front.slice(..taken);
            front.advance(taken);
            piece
        };
        self.held_bytes -= taken;
        self.sent += taken as u64;
        Some(piece)
    }
}

pub(super) const BIDI: usize = 0;
pub(super) const UNI: usize = 1;
