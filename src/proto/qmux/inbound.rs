//! What a message does to a connection.

use bytes::Bytes;

use crate::wire::{ErrorCode, StreamId};

use super::connection::{BIDI, CloseNotice, Connection, Control, UNI};
use super::error::{
    FINAL_SIZE_ERROR, FLOW_CONTROL_ERROR, FRAME_ENCODING_ERROR, INTERNAL_ERROR, PROTOCOL_VIOLATION, STREAM_LIMIT_ERROR,
    STREAM_STATE_ERROR, Violation,
};
use super::frame::Frame;
use super::limits::{CONTROL_FRAMES_MAX, FRAME_00_BYTES_MAX, RECORD_BYTES_MAX};
use super::parameters::{Parameters, STREAMS_MAX};
use super::stream::{Opened, Receive, Send, Stream, ordinal, with_ordinal};

impl Connection {
    /// Takes one binary message. An empty one says nothing, and is allowed.
    pub fn handle_message(&mut self, mut message: Bytes) {
        let longest = if self.dialect.has_records() {
            RECORD_BYTES_MAX
        } else {
            FRAME_00_BYTES_MAX
        };
        if message.len() > longest {
            return self.fail(Violation::new(FRAME_ENCODING_ERROR, "a record is too long"));
        }
        while !message.is_empty() && !self.is_over() {
            let handled = Frame::take(&mut message, self.dialect).and_then(|frame| self.handle_frame(frame));
            if let Err(violation) = handled {
                return self.fail(violation);
            }
        }
    }

    fn fail(&mut self, violation: Violation) {
        let Violation { code, reason } = violation;
        let notice = CloseNotice {
            is_application: false,
            code: ErrorCode(code),
            reason: reason.to_owned(),
        };
        self.end(
            Some(notice),
            format!("this side closed it with transport code {code:#x} {reason}"),
        );
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), Violation> {
        // Nothing is allowed before the peer has said what it allows (draft, "Establishing").
        let may_be_first = matches!(frame, Frame::Parameters(_) | Frame::Close { .. } | Frame::Nothing);
        if self.peer.is_none() && !may_be_first {
            return Err(Violation::new(
                PROTOCOL_VIOLATION,
                "transport parameters must come first",
            ));
        }
        match frame {
            Frame::Stream {
                stream,
                offset,
                data,
                fin,
            } => self.handle_stream(stream, offset, data, fin),
            Frame::Reset {
                stream,
                code,
                final_size,
            } => self.handle_reset(stream, code, final_size),
            Frame::StopSending { stream, code } => self.handle_stop_sending(stream, code),
            Frame::MaxData(limit) => {
                self.credit_limit = self.credit_limit.max(limit);
                Ok(())
            }
            Frame::MaxStreamData { stream, limit } => self.handle_stream_credit(stream, limit),
            Frame::MaxStreams { is_uni, limit } => {
                if limit > STREAMS_MAX {
                    return Err(Violation::new(FRAME_ENCODING_ERROR, "more streams than there are ids"));
                }
                let ours = &mut self.ours[usize::from(is_uni)];
                ours.limit = ours.limit.max(limit);
                Ok(())
            }
            Frame::Datagram { payload, frame_bytes } => self.handle_datagram(payload, frame_bytes),
            Frame::Parameters(parameters) => self.handle_parameters(parameters),
            Frame::Ping(sequence) => {
                // A later one answers for those before it.
                self.pong = Some(sequence);
                Ok(())
            }
            Frame::Close {
                is_application,
                code,
                reason,
            } => {
                let kind = if is_application { "session" } else { "transport" };
                self.end(None, format!("the peer closed it with {kind} code {code} {reason}"));
                Ok(())
            }
            Frame::Nothing => Ok(()),
        }
    }

    fn handle_parameters(&mut self, parameters: Parameters) -> Result<(), Violation> {
        if self.peer.replace(parameters).is_some() {
            return Err(Violation::new(PROTOCOL_VIOLATION, "transport parameters came twice"));
        }
        self.credit_limit = parameters.data;
        self.ours[BIDI].limit = parameters.streams_bidi;
        self.ours[UNI].limit = parameters.streams_uni;
        Ok(())
    }

    fn handle_stream(
        &mut self,
        stream: StreamId,
        offset: Option<u64>,
        data: Bytes,
        fin: bool,
    ) -> Result<(), Violation> {
        self.expect_receiving(stream)?;
        let length = data.len() as u64;
        let window = &mut self.window;
        let halves = self.streams.get_mut(&stream);
        // Of a stream that is done nothing is expected, and what crossed our refusal is dropped.
        let Some(receive) = halves.and_then(|halves| halves.receive.as_mut()) else {
            return Ok(());
        };
        if receive.fin || receive.reset.is_some() {
            return match length {
                0 => Ok(()),
                _ => Err(Violation::new(FINAL_SIZE_ERROR, "data behind the end of a stream")),
            };
        }
        if offset.is_some_and(|offset| offset != receive.window.received()) {
            return Err(Violation::new(PROTOCOL_VIOLATION, "stream data out of order"));
        }
        if !receive.window.receive(length) || !window.receive(length) {
            return Err(Violation::new(FLOW_CONTROL_ERROR, "more data than was allowed"));
        }
        receive.fin = fin;
        if receive.is_refused {
            receive.window.consume(length);
            window.consume(length);
            if fin {
                self.finish_receiving(stream);
            }
            return Ok(());
        }
        if length > 0 {
            self.unread_chunks += 1;
            receive.chunks.push_back(data);
        }
        if receive.has_news() && !receive.is_listed {
            receive.is_listed = true;
            self.readable.push_back(stream);
        }
        Ok(())
    }

    fn handle_reset(&mut self, stream: StreamId, code: ErrorCode, final_size: u64) -> Result<(), Violation> {
        self.expect_receiving(stream)?;
        let window = &mut self.window;
        let halves = self.streams.get_mut(&stream);
        let Some(receive) = halves.and_then(|halves| halves.receive.as_mut()) else {
            return Ok(());
        };
        if receive.fin || receive.reset.is_some() {
            return Ok(());
        }
        // Peers of the first drafts say 0 whatever they sent.
        let received = receive.window.received();
        if final_size < received && final_size != 0 {
            return Err(Violation::new(FINAL_SIZE_ERROR, "a stream ends before what was sent"));
        }
        let unsent = final_size.saturating_sub(received);
        if !receive.window.receive(unsent) || !window.receive(unsent) {
            return Err(Violation::new(FLOW_CONTROL_ERROR, "more data than was allowed"));
        }
        receive.reset = Some(code);
        let (chunks, unread) = receive.discard();
        self.unread_chunks -= chunks;
        window.consume(unread + unsent);
        if receive.is_refused {
            self.finish_receiving(stream);
        } else if !receive.is_listed {
            receive.is_listed = true;
            self.readable.push_back(stream);
        }
        Ok(())
    }

    fn handle_stop_sending(&mut self, stream: StreamId, code: ErrorCode) -> Result<(), Violation> {
        self.expect_sending(stream)?;
        if self.send_half(stream).is_none_or(|send| send.stopped.is_some()) {
            return Ok(());
        }
        let final_size = self.drop_held(stream);
        if let Some(send) = self.send_half(stream) {
            send.stopped = Some(code);
        }
        self.writable.push_back(stream);
        self.push_control(Control::Reset {
            stream,
            code,
            final_size,
        });
        Ok(())
    }

    fn handle_stream_credit(&mut self, stream: StreamId, limit: u64) -> Result<(), Violation> {
        self.expect_sending(stream)?;
        if let Some(send) = self.send_half(stream)
            && limit > send.limit
        {
            send.limit = limit;
            if std::mem::take(&mut send.is_short_of_credit) {
                self.writable.push_back(stream);
            }
        }
        Ok(())
    }

    fn handle_datagram(&mut self, payload: Bytes, frame_bytes: usize) -> Result<(), Violation> {
        if frame_bytes > RECORD_BYTES_MAX {
            return Err(Violation::new(PROTOCOL_VIOLATION, "a datagram is too long"));
        }
        if self.datagrams_in.len() >= self.options.datagram_queue_max {
            self.datagrams_in.pop_front();
        }
        self.datagrams_in.push_back(payload);
        Ok(())
    }

    /// The peer sends on a stream: it must be one that it may send on, and exists from here on.
    fn expect_receiving(&mut self, stream: StreamId) -> Result<(), Violation> {
        if !self.is_ours(stream) {
            return self.accept(stream);
        }
        self.expect_opened(stream)?;
        match stream.is_uni() {
            true => Err(Violation::new(
                STREAM_STATE_ERROR,
                "data on a stream that is ours alone",
            )),
            false => Ok(()),
        }
    }

    /// The peer speaks of our sending on a stream.
    fn expect_sending(&mut self, stream: StreamId) -> Result<(), Violation> {
        match (self.is_ours(stream), stream.is_uni()) {
            (true, _) => self.expect_opened(stream),
            (false, false) => self.accept(stream),
            (false, true) => Err(Violation::new(STREAM_STATE_ERROR, "a stream that we cannot send on")),
        }
    }

    fn expect_opened(&self, stream: StreamId) -> Result<(), Violation> {
        let Opened { opened, .. } = self.ours[usize::from(stream.is_uni())];
        match ordinal(stream) < opened {
            true => Ok(()),
            false => Err(Violation::new(STREAM_STATE_ERROR, "a stream that we have not opened")),
        }
    }

    /// Opens a stream of the peer and those before it (RFC 9000, section 2.1).
    fn accept(&mut self, stream: StreamId) -> Result<(), Violation> {
        let kind = usize::from(stream.is_uni());
        let Opened { opened, limit } = self.theirs[kind];
        let wanted = ordinal(stream) + 1;
        if wanted <= opened {
            return Ok(());
        }
        if wanted > limit {
            return Err(Violation::new(STREAM_LIMIT_ERROR, "more streams than were allowed"));
        }
        let counted = self.stream_windows[kind].receive(wanted - opened);
        debug_assert!(counted, "the limit is what the window granted");
        let sending = self.peer.map_or(0, |peer| peer.stream_data_bidi_local);
        for ordinal in opened..wanted {
            let halves = Stream {
                receive: Some(Receive::new(self.options.stream_window_bytes)),
                send: (!stream.is_uni()).then(|| Send::new(sending)),
            };
            self.streams.insert(with_ordinal(stream, ordinal), halves);
        }
        self.theirs[kind].opened = wanted;
        Ok(())
    }

    /// Queues a frame. A peer that makes too many wait is told nothing but that.
    pub(super) fn push_control(&mut self, control: Control) {
        if self.is_over() {
            return;
        }
        if self.control.len() >= CONTROL_FRAMES_MAX {
            return self.fail(Violation::new(INTERNAL_ERROR, "the peer does not read"));
        }
        self.control.push_back(control);
    }
}
