//! One entry to everything a QMux connection can meet: a sequence of operations read from bytes,
//! shared by the fuzz target and the replay of its corpus.
//!
//! The operations mix arbitrary messages with frames that are whole, so that the deep states are
//! reached too, and with calls of a session. After each of them what is held is within its bounds
//! and what is counted agrees with what is there.

use bytes::{BufMut, Bytes, BytesMut};

use super::connection::{Connection, Options, Side};
use super::dialect::{Dialect, Subprotocol};
use super::frame;
use super::limits::{
    CONTROL_FRAMES_MAX, DATAGRAMS_WAITING_MAX, FRAME_00_BYTES_MAX, HELD_BYTES_MAX, HELD_PIECES_MAX, RECORD_BYTES_MAX,
};
use super::parameters::Parameters;
use crate::wire::{ErrorCode, Read, StreamId};

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Operations that were carried out.
    pub operations: usize,
    /// Messages that the connection had to send.
    pub messages: usize,
    /// Stream bytes that a session got.
    pub bytes_read: usize,
    /// The connection had ended after the last operation.
    pub is_over: bool,
}

struct Driver<'a> {
    input: &'a [u8],
    connection: Connection,
    dialect: Dialect,
    options: Options,
    outcome: Outcome,
}

/// Runs the operations in `input`; an error describes a broken promise.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let mut driver = Driver::new(input);
    while driver.step()? {
        driver.outcome.operations += 1;
        driver.check()?;
    }
    driver.transmit()?;
    driver.outcome.is_over = driver.connection.is_over();
    Ok(driver.outcome)
}

/// Inputs to start a fuzzer from: each dialect and side, with each operation.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let operations = (0..OPERATIONS).flat_map(|operation| (0..8).map(move |argument| (operation, argument)));
    let body: Vec<u8> = operations
        .flat_map(|(operation, argument)| [operation, argument, argument, 3, 0, 1, 2])
        .collect();
    (0..24)
        .map(|head: u8| (format!("{head:02x}-operations"), [&[head][..], &body].concat()))
        .collect()
}

impl<'a> Driver<'a> {
    /// The first byte picks dialect, side and windows, and whether the peer has said what it allows.
    fn new(input: &'a [u8]) -> Self {
        let (&head, input) = input.split_first().unwrap_or((&0, &[]));
        let side = if head & 4 == 0 { Side::Server } else { Side::Client };
        let window_bytes = if head & 8 == 0 { 64 * 1024 } else { 100 };
        let options = Options {
            connection_window_bytes: window_bytes,
            stream_window_bytes: window_bytes / 2,
            bidi_streams_max: 4,
            uni_streams_max: 4,
            datagram_queue_max: 4,
            idle_timeout_ms: 30_000,
        };
        let named: Vec<Subprotocol> = Subprotocol::all().collect();
        let subprotocol = named[usize::from(head & 3) % named.len()];
        let mut driver = Self {
            input,
            connection: Connection::new(side, subprotocol, options.clone()),
            dialect: subprotocol.dialect,
            options,
            outcome: Outcome::default(),
        };
        if head & 16 == 0 {
            driver.greet();
        }
        driver
    }

    /// Does one operation; false at the end of the input.
    fn step(&mut self) -> Result<bool, String> {
        let Some(operation) = self.byte() else {
            return Ok(false);
        };
        match operation % OPERATIONS {
            0 => self.handle_noise(),
            1 => self.handle_stream(),
            2 => self.handle_control(),
            3 => self.read(),
            4 => self.write(),
            5 => self.give_up(),
            6 => self.transmit()?,
            7 => self.send_datagram(),
            _ => self.end(),
        }
        Ok(true)
    }

    fn greet(&mut self) {
        let parameters = Parameters {
            idle_timeout_ms: 30_000,
            data: 1000,
            stream_data_bidi_local: 300,
            stream_data_bidi_remote: 300,
            stream_data_uni: 300,
            streams_bidi: 4,
            streams_uni: 4,
            datagram_frame_bytes: 1200,
            ..Parameters::default()
        };
        self.handle(|out| frame::put_parameters(out, &parameters));
    }

    fn handle_noise(&mut self) {
        let length = usize::from(self.byte().unwrap_or_default()).min(self.input.len());
        let (noise, rest) = self.input.split_at(length);
        self.input = rest;
        self.connection.handle_message(Bytes::copy_from_slice(noise));
    }

    fn handle_stream(&mut self) {
        let (stream, fin) = (self.stream(), self.byte().is_some_and(|byte| byte & 1 == 1));
        let offset = u64::from(self.byte().unwrap_or_default()) * 16;
        let length = usize::from(self.byte().unwrap_or_default()) * 16;
        self.handle(|out| {
            frame::put_stream_head(out, stream, offset, length, fin);
            out.put_bytes(7, length);
        });
    }

    fn handle_control(&mut self) {
        let (kind, stream) = (self.byte().unwrap_or_default(), self.stream());
        let value = u64::from(self.byte().unwrap_or_default()) * 64;
        let code = ErrorCode(value);
        self.handle(|out| match kind % 8 {
            0 => frame::put_reset(out, stream, code, value),
            1 => frame::put_stop_sending(out, stream, code),
            2 => frame::put_max_data(out, value),
            3 => frame::put_max_stream_data(out, stream, value),
            4 => frame::put_max_streams(out, stream.is_uni(), value),
            5 => frame::put_pong(out, value),
            6 => frame::put_datagram(out, &[7; 40]),
            _ => frame::put_close(out, stream.is_uni(), code, b"over"),
        });
    }

    fn read(&mut self) {
        while let Some(stream) = self.connection.poll_readable() {
            while let Read::Data { bytes, fin } = self.connection.read(stream) {
                self.outcome.bytes_read += bytes.len();
                if fin {
                    break;
                }
            }
        }
        while self.connection.poll_datagram().is_some() {}
    }

    fn write(&mut self) {
        let (stream, fin) = (self.stream(), self.byte().is_some_and(|byte| byte & 1 == 1));
        let length = usize::from(self.byte().unwrap_or_default()) * 64;
        self.connection.write(stream, Bytes::from(vec![5; length]), fin);
    }

    fn give_up(&mut self) {
        let stream = self.stream();
        if self.byte().is_some_and(|byte| byte & 1 == 1) {
            self.connection.reset(stream, ErrorCode(1));
        } else {
            self.connection.stop_sending(stream, ErrorCode(1));
        }
    }

    fn transmit(&mut self) -> Result<(), String> {
        let bytes_max = if self.dialect.has_records() {
            RECORD_BYTES_MAX
        } else {
            FRAME_00_BYTES_MAX
        };
        while let Some(message) = self.connection.poll_transmit() {
            self.outcome.messages += 1;
            if message.len() > bytes_max {
                return Err(format!("a message of {} bytes", message.len()));
            }
        }
        while self.connection.poll_writable().is_some() {}
        self.connection.poll_room();
        Ok(())
    }

    fn send_datagram(&mut self) {
        let length = usize::from(self.byte().unwrap_or_default()) * 8;
        self.connection.send_datagram(Bytes::from(vec![3; length]));
    }

    fn end(&mut self) {
        match self.byte() {
            Some(0) => self.connection.close(ErrorCode(0), "done"),
            Some(1) => self.connection.handle_lost("gone"),
            _ => self.connection.handle_unheard(),
        }
    }

    fn handle(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let mut message = BytesMut::new();
        put(&mut message);
        self.connection.handle_message(message.freeze());
    }

    fn stream(&mut self) -> StreamId {
        StreamId(u64::from(self.byte().unwrap_or_default() % 24))
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(first)
    }

    fn check(&mut self) -> Result<(), String> {
        let connection = &self.connection;
        let sending = || connection.streams.values().filter_map(|stream| stream.send.as_ref());
        let receiving = || connection.streams.values().filter_map(|stream| stream.receive.as_ref());
        let held_bytes: usize = sending().map(|send| send.held_bytes).sum();
        let held_pieces: usize = sending().map(|send| send.pieces.len()).sum();
        let waiting = sending().flat_map(|send| &send.pieces).map(Bytes::len).sum::<usize>();
        let unread: usize = receiving().flat_map(|receive| &receive.chunks).map(Bytes::len).sum();
        let theirs = connection
            .streams
            .keys()
            .filter(|stream| !connection.is_ours(**stream))
            .count() as u64;
        let theirs_max = self.options.bidi_streams_max + self.options.uni_streams_max;
        let promises = [
            (
                held_bytes == connection.held_bytes && held_bytes == waiting,
                "held bytes are miscounted",
            ),
            (held_pieces == connection.held_pieces, "held pieces are miscounted"),
            (held_bytes <= HELD_BYTES_MAX, "too many bytes wait to leave"),
            (held_pieces <= HELD_PIECES_MAX, "too many pieces wait to leave"),
            (
                unread as u64 <= self.options.connection_window_bytes,
                "more is unread than the window allows",
            ),
            (theirs <= theirs_max, "the peer has more streams than it may"),
            (
                connection.control.len() <= CONTROL_FRAMES_MAX,
                "too many frames wait to leave",
            ),
            (
                connection.datagrams_in.len() <= self.options.datagram_queue_max,
                "too many datagrams are unread",
            ),
            (
                connection.datagrams_out.len() <= DATAGRAMS_WAITING_MAX,
                "too many datagrams wait to leave",
            ),
            (
                connection.credit_used <= connection.credit_limit,
                "more was sent than the peer allows",
            ),
        ];
        if let Some((_, broken)) = promises.iter().find(|(holds, _)| !holds) {
            return Err(format!("{broken}, after operation {}", self.outcome.operations));
        }
        Ok(())
    }
}

/// How many operations there are; a byte picks one by its remainder.
const OPERATIONS: u8 = 9;
