//! What leaves, and in which order: credit and answers first, then datagrams, then the two-way
//! streams, then groups, each stream a quantum at a time while others have something too.

use bytes::{Bytes, BytesMut};

use crate::wire::{StreamId, varint};

use super::connection::{BIDI, Connection, Control, UNI};
use super::frame;
use super::limits::{
    CONTROL_FRAME_BYTES_MAX, DATAGRAM_HEAD_BYTES_MAX, FRAME_00_BYTES_MAX, QUANTUM_BYTES, REASON_BYTES_MAX,
    RECORD_BYTES_MAX, STREAM_HEAD_BYTES_MAX, STREAM_PAYLOAD_BYTES_MAX,
};
use super::parameters::Parameters;
use super::window::Window;

/// A message in the making.
struct Record {
    bytes: BytesMut,
    bytes_max: usize,
    /// Draft 00: a message is one frame.
    is_single: bool,
}

impl Connection {
    /// The next message to send. `None`: nothing waits.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if !self.has_transmit() {
            return None;
        }
        let mut record = self.begin_record();
        if !self.is_greeted {
            self.is_greeted = true;
            frame::put_parameters(&mut record.bytes, &self.declared());
            return record.finish();
        }
        if self.is_over() {
            self.put_close_notice(&mut record);
            return record.finish();
        }
        while record.has_room(CONTROL_FRAME_BYTES_MAX) && self.put_credit(&mut record) {}
        while record.has_room(CONTROL_FRAME_BYTES_MAX)
            && let Some(control) = self.control.pop_front()
        {
            self.put_control(&mut record, control);
        }
        while let Some(datagram) = self.datagrams_out.front()
            && record.has_room(datagram.len() + DATAGRAM_HEAD_BYTES_MAX)
        {
            frame::put_datagram(&mut record.bytes, datagram);
            self.datagrams_out.pop_front();
        }
        for kind in [BIDI, UNI] {
            while record.has_room(STREAM_HEAD_BYTES_MAX + 1)
                && let Some(stream) = self.sendable[kind].pop_front()
            {
                let is_alone = self.sendable[kind].is_empty();
                self.put_stream(&mut record, stream, is_alone);
            }
        }
        record.finish()
    }

    /// Whether something may wait. A stream that was reset meanwhile counts until its turn comes.
    pub fn has_transmit(&self) -> bool {
        if let Some(ending) = &self.ending {
            return !self.is_greeted || ending.notice.is_some();
        }
        !self.is_greeted
            || self.pong.is_some()
            || self.window.is_due()
            || self.stream_windows.iter().any(Window::is_due)
            || !self.control.is_empty()
            || !self.datagrams_out.is_empty()
            || self.sendable.iter().any(|streams| !streams.is_empty())
    }

    fn begin_record(&self) -> Record {
        let peer = self.peer.map_or(RECORD_BYTES_MAX as u64, |peer| peer.record_bytes);
        let bytes_max = match self.dialect.has_records() {
            true => usize::try_from(peer).unwrap_or(usize::MAX).min(RECORD_BYTES_MAX),
            false => FRAME_00_BYTES_MAX,
        };
        Record {
            bytes: BytesMut::with_capacity((self.held_bytes + RECORD_BYTES_SPARE).min(bytes_max)),
            bytes_max,
            is_single: !self.dialect.has_records(),
        }
    }

    fn declared(&self) -> Parameters {
        let options = &self.options;
        Parameters {
            idle_timeout_ms: options.idle_timeout_ms,
            data: options.connection_window_bytes,
            stream_data_bidi_local: options.stream_window_bytes,
            stream_data_bidi_remote: options.stream_window_bytes,
            stream_data_uni: options.stream_window_bytes,
            streams_bidi: options.bidi_streams_max,
            streams_uni: options.uni_streams_max,
            datagram_frame_bytes: match self.dialect.has_datagrams() {
                true => RECORD_BYTES_MAX as u64,
                false => 0,
            },
            record_bytes: RECORD_BYTES_MAX as u64,
        }
    }

    fn put_close_notice(&mut self, record: &mut Record) {
        if let Some(notice) = self.ending.as_mut().and_then(|ending| ending.notice.take()) {
            let reason = notice.reason.as_bytes();
            let reason = &reason[..reason.len().min(REASON_BYTES_MAX)];
            frame::put_close(&mut record.bytes, notice.is_application, notice.code, reason);
        }
    }

    /// Answers a ping or grants credit; false when neither is due.
    fn put_credit(&mut self, record: &mut Record) -> bool {
        if let Some(sequence) = self.pong.take() {
            frame::put_pong(&mut record.bytes, sequence);
            return true;
        }
        if self.window.is_due() {
            frame::put_max_data(&mut record.bytes, self.window.grant());
            return true;
        }
        for kind in [BIDI, UNI] {
            if self.stream_windows[kind].is_due() {
                let limit = self.stream_windows[kind].grant();
                self.theirs[kind].limit = limit;
                frame::put_max_streams(&mut record.bytes, kind == UNI, limit);
                return true;
            }
        }
        false
    }

    fn put_control(&mut self, record: &mut Record, control: Control) {
        match control {
            Control::Reset {
                stream,
                code,
                final_size,
            } => frame::put_reset(&mut record.bytes, stream, code, final_size),
            Control::StopSending { stream, code } => frame::put_stop_sending(&mut record.bytes, stream, code),
            Control::StreamCredit(stream) => {
                // The stream may have ended meanwhile.
                if let Some(receive) = self.receive_half(stream) {
                    receive.is_credit_listed = false;
                    let limit = receive.window.grant();
                    frame::put_max_stream_data(&mut record.bytes, stream, limit);
                }
            }
        }
    }

    /// Puts what a stream has, or a quantum of it, into the message.
    fn put_stream(&mut self, record: &mut Record, stream: StreamId, is_alone: bool) {
        let Some(send) = self.streams.get_mut(&stream).and_then(|stream| stream.send.as_mut()) else {
            return;
        };
        send.is_listed = false;
        if !send.has_something() {
            return;
        }
        let quantum = if is_alone {
            STREAM_PAYLOAD_BYTES_MAX
        } else {
            QUANTUM_BYTES
        };
        let head = 1 + varint::len(stream.0) + varint::len(send.sent) + LENGTH_BYTES_MAX;
        let length = send.held_bytes.min(quantum).min(record.room() - head);
        let fin = send.fin && length == send.held_bytes;
        frame::put_stream_head(&mut record.bytes, stream, send.sent, length, fin);
        let mut left = length;
        let pieces = send.pieces.len();
        while left > 0
            && let Some(piece) = send.pop(left)
        {
            left -= piece.len();
            record.bytes.extend_from_slice(&piece);
        }
        self.held_bytes -= length;
        self.held_pieces -= pieces - send.pieces.len();
        if fin {
            self.finish_sending(stream);
        } else if send.has_something() {
            send.is_listed = true;
            self.sendable[usize::from(stream.is_uni())].push_back(stream);
        }
    }
}

impl Record {
    fn room(&self) -> usize {
        self.bytes_max - self.bytes.len()
    }

    fn has_room(&self, bytes: usize) -> bool {
        (!self.is_single || self.bytes.is_empty()) && bytes <= self.room()
    }

    fn finish(self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then(|| self.bytes.freeze())
    }
}

/// A length of up to 16 383 takes two bytes, and no payload is longer.
const LENGTH_BYTES_MAX: usize = 2;

/// What control frames and heads may add to the stream bytes of a message.
const RECORD_BYTES_SPARE: usize = 128;

const _: () = assert!(STREAM_PAYLOAD_BYTES_MAX < 1 << 14);
