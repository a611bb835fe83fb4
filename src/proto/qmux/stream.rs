//! The two halves of a stream, each kept until it is done.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::{ErrorCode, StreamId};

use super::window::Window;

/// A half that this side has no part in, or that is done, is `None`.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) receive: Option<Receive>,
    pub(super) send: Option<Send>,
}

/// What came and was not read.
#[derive(Debug)]
pub(super) struct Receive {
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) window: Window,
    pub(super) fin: bool,
    pub(super) reset: Option<ErrorCode>,
    /// Nobody wants it: what comes is dropped, and counts as read.
    pub(super) is_refused: bool,
    /// In the queue of the readable.
    pub(super) is_listed: bool,
    /// A MAX_STREAM_DATA of it waits to be sent.
    pub(super) is_credit_listed: bool,
}

/// What waits to leave.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) held_bytes: usize,
    /// Bytes that have left, so the offset of the next.
    pub(super) sent: u64,
    /// What the peer lets us send in all.
    pub(super) limit: u64,
    pub(super) fin: bool,
    /// The peer does not read it.
    pub(super) stopped: Option<ErrorCode>,
    /// In the queue of those with something to send.
    pub(super) is_listed: bool,
    /// A write was cut short by the stream's own limit.
    pub(super) is_short_of_credit: bool,
    /// A write was cut short by the connection's room; in the queue for it.
    pub(super) is_waiting: bool,
}

/// Streams of one kind, of one side: all ids below `opened` have been used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opened {
    pub(super) opened: u64,
    pub(super) limit: u64,
}

impl Receive {
    pub(super) fn new(window_bytes: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            window: Window::new(window_bytes),
            fin: false,
            reset: None,
            is_refused: false,
            is_listed: false,
            is_credit_listed: false,
        }
    }

    /// Whether a read would give something.
    pub(super) fn has_news(&self) -> bool {
        !self.chunks.is_empty() || self.fin || self.reset.is_some()
    }

    /// Drops what was not read; returns how many chunks and how many bytes that was.
    pub(super) fn discard(&mut self) -> (usize, u64) {
        let chunks = self.chunks.len();
        (chunks, self.chunks.drain(..).map(|chunk| chunk.len() as u64).sum())
    }
}

impl Send {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            pieces: VecDeque::new(),
            held_bytes: 0,
            sent: 0,
            limit,
            fin: false,
            stopped: None,
            is_listed: false,
            is_short_of_credit: false,
            is_waiting: false,
        }
    }

    /// Bytes that the peer takes beyond those held.
    pub(super) fn credit(&self) -> u64 {
        self.limit.saturating_sub(self.sent + self.held_bytes as u64)
    }

    pub(super) fn has_something(&self) -> bool {
        self.stopped.is_none() && (self.held_bytes > 0 || self.fin)
    }
}

/// The ordinal of a stream among those of its kind and side.
pub(super) fn ordinal(stream: StreamId) -> u64 {
    stream.0 >> 2
}

/// The id of the stream with an ordinal that is of the same kind and side as `like`.
pub(super) fn with_ordinal(like: StreamId, ordinal: u64) -> StreamId {
    StreamId(ordinal << 2 | like.0 & 0b11)
}
