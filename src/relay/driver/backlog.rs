//! From the session to the connection, and what the connection did not take yet.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use moqswitch_proto::peer::Drive;
use moqswitch_proto::session::Transmit;
use moqswitch_proto::wire::{ErrorCode, StreamId, Written};

use super::Carry;

/// Writes that congestion or flow control did not take, in order within each stream. One stream that the peer does not
/// read holds up no other.
///
/// Bounded by [`BacklogLimits::bytes_max`]. A write that finds no room is an error, [`BacklogFull`], and what of it the
/// connection did not take is lost: the caller gives up the stream, or the session.
#[derive(Debug)]
pub struct Backlog {
    limits: BacklogLimits,
    /// None of them is empty.
    streams: BTreeMap<StreamId, VecDeque<(Bytes, bool)>>,
    bytes: usize,
    /// Where the next retry begins.
    next: StreamId,
}

/// How much may wait, and how long it is tried.
#[derive(Clone, Copy, Debug)]
pub struct BacklogLimits {
    /// Bytes that wait, and [`Backlog::ENTRY_BYTES`] for each write.
    pub bytes_max: usize,
    /// When so many streams in a row took nothing, a retry ends, and the next goes on behind them: it is hardly their own
    /// flow control that holds them. [`usize::MAX`] where streams are few: each retry tries them all.
    pub refusals_max: usize,
}

/// No room for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogFull {
    /// The stream that cannot go on. What waited of it before still does.
    pub stream: StreamId,
}

impl Backlog {
    /// What a waiting write counts beside its bytes.
    pub const ENTRY_BYTES: usize = 64;

    /// An empty one.
    pub fn new(limits: BacklogLimits) -> Self {
        Self {
            limits,
            streams: BTreeMap::new(),
            bytes: 0,
            next: StreamId(0),
        }
    }

    /// What waits, as [`BacklogLimits::bytes_max`] counts it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Does what a session wants done on its connection, in order. False when that is nothing.
    ///
    /// After an error the rest is still in the session: the caller may call again.
    pub fn transmit(&mut self, session: &mut impl Drive, connection: &mut impl Carry) -> Result<bool, BacklogFull> {
        let mut has_spoken = false;
        while let Some(transmit) = session.poll_transmit() {
            has_spoken = true;
            match transmit {
                Transmit::Write { stream, data, fin } => self.write(connection, stream, data, fin)?,
                Transmit::Reset { stream, code } => {
                    self.forget(stream);
                    connection.reset(stream, code);
                }
                Transmit::StopSending { stream, code } => connection.stop_sending(stream, code),
                Transmit::Close { code, reason } => connection.close(code, &reason),
            }
        }
        Ok(has_spoken)
    }

    /// Writes to a stream, behind what waits of it. What the peer does not read any more is dropped.
    pub fn write(
        &mut self,
        connection: &mut impl Carry,
        stream: StreamId,
        mut data: Bytes,
        fin: bool,
    ) -> Result<(), BacklogFull> {
        if !self.streams.contains_key(&stream) {
            match connection.write(stream, data.clone(), fin) {
                Written::All | Written::Stopped(_) => return Ok(()),
                Written::Partial(taken) => drop(data.split_to(taken)),
                Written::Blocked | Written::NoStreamCredit => {}
            }
        }
        let bytes = self.bytes + data.len() + Self::ENTRY_BYTES;
        if bytes > self.limits.bytes_max {
            return Err(BacklogFull { stream });
        }
        self.bytes = bytes;
        self.streams.entry(stream).or_default().push_back((data, fin));
        Ok(())
    }

    /// The next stream that can be written again, or that the peer has stopped, with its code. Of one that was stopped
    /// nothing waits any more, and the session knows.
    pub fn poll_writable(
        &mut self,
        session: &mut impl Drive,
        connection: &mut impl Carry,
    ) -> Option<(StreamId, Option<ErrorCode>)> {
        let (stream, stopped) = connection.poll_writable()?;
        if stopped.is_some() {
            self.forget(stream);
            session.handle_stop_sending(stream);
        }
        Some((stream, stopped))
    }

    /// Tries again what waits. Called when the connection heard from its peer. False when nothing waited.
    pub fn retry(&mut self, connection: &mut impl Carry) -> bool {
        let mut refusals = 0;
        let waiting = self.streams.len();
        for _ in 0..waiting {
            // In the order of their ids, as streams open.
            let mut from_next = self.streams.range(self.next..);
            let Some((&stream, _)) = from_next.next().or_else(|| self.streams.first_key_value()) else {
                break;
            };
            self.next = StreamId(stream.0 + 1);
            let before = self.bytes;
            self.retry_stream(connection, stream);
            refusals = if self.bytes == before { refusals + 1 } else { 0 };
            if refusals == self.limits.refusals_max {
                return true;
            }
        }
        self.next = StreamId(0);
        waiting > 0
    }

    fn retry_stream(&mut self, connection: &mut impl Carry, stream: StreamId) {
        let Some(waiting) = self.streams.get_mut(&stream) else {
            return;
        };
        while let Some((data, fin)) = waiting.front_mut() {
            match connection.write(stream, data.clone(), *fin) {
                Written::All => {
                    self.bytes -= data.len() + Self::ENTRY_BYTES;
                    waiting.pop_front();
                }
                Written::Partial(taken) => {
                    self.bytes -= taken;
                    drop(data.split_to(taken));
                    return;
                }
                Written::Blocked | Written::NoStreamCredit => return,
                Written::Stopped(_) => break,
            }
        }
        self.forget(stream);
    }

    /// Drops what waits for a stream that is closed.
    pub fn forget(&mut self, stream: StreamId) {
        for (data, _) in self.streams.remove(&stream).unwrap_or_default() {
            self.bytes -= data.len() + Self::ENTRY_BYTES;
        }
    }
}
