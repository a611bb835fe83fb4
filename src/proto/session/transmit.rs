//! What the caller is to do on the connection, in order.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::limits::WRITE_BYTES_MAX;
use crate::wire::{EncodeError, ErrorCode, StreamId};

/// One thing that the caller is to do on the connection. [`Session::poll_transmit`](super::Session::poll_transmit)
/// gives them in the order in which they are to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Write bytes to a stream. A stream of ours is opened by its first write; ids of each kind are used in order.
    Write {
        /// The stream, of ours or of the peer.
        stream: StreamId,
        /// The next bytes; empty when there is only a FIN to send.
        data: Bytes,
        /// Nothing follows these bytes: finish our side.
        fin: bool,
    },
    /// Abandon our sending side (RESET_STREAM, RFC 9000 section 19.4). What was not sent of it may be dropped.
    Reset {
        /// The stream, of ours or of the peer.
        stream: StreamId,
        /// The reason, one of [`stream_error`](crate::wire::stream_error).
        code: ErrorCode,
    },
    /// Ask the peer to send no more on a stream (STOP_SENDING, RFC 9000 section 19.5).
    StopSending {
        /// The stream, of ours or of the peer.
        stream: StreamId,
        /// The reason, one of [`stream_error`](crate::wire::stream_error).
        code: ErrorCode,
    },
    /// Close the connection (CONNECTION_CLOSE, RFC 9000 section 19.19). Nothing follows it.
    Close {
        /// The reason, one of [`session_error`](crate::wire::session_error).
        code: ErrorCode,
        /// The reason in words, for the peer's log.
        reason: String,
    },
}

/// Transmits that wait to be taken. Consecutive messages for one stream become one write.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
enum Queued {
    Write {
        stream: StreamId,
        data: BytesMut,
        fin: bool,
    },
    Other(Transmit),
}

impl Outbox {
    pub(crate) fn poll(&mut self) -> Option<Transmit> {
        Some(match self.queue.pop_front()? {
            Queued::Write { stream, data, fin } => Transmit::Write {
                stream,
                data: data.freeze(),
                fin,
            },
            Queued::Other(transmit) => transmit,
        })
    }

    /// Queues what `encode` appends. When it fails nothing is queued.
    pub(crate) fn write(
        &mut self,
        stream: StreamId,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if let Some(Queued::Write {
            stream: last,
            data,
            fin: false,
        }) = self.queue.back_mut()
            && *last == stream
            && data.len() < WRITE_BYTES_MAX
        {
            let before = data.len();
            return encode(data).inspect_err(|_| data.truncate(before));
        }
        let mut data = BytesMut::new();
        encode(&mut data)?;
        self.queue.push_back(Queued::Write {
            stream,
            data,
            fin: false,
        });
        Ok(())
    }

    pub(crate) fn finish(&mut self, stream: StreamId) {
        if let Some(Queued::Write { stream: last, fin, .. }) = self.queue.back_mut()
            && *last == stream
        {
            *fin = true;
            return;
        }
        self.queue.push_back(Queued::Write {
            stream,
            data: BytesMut::new(),
            fin: true,
        });
    }

    pub(crate) fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.queue.push_back(Queued::Other(Transmit::Reset { stream, code }));
    }

    pub(crate) fn stop_sending(&mut self, stream: StreamId, code: ErrorCode) {
        self.queue
            .push_back(Queued::Other(Transmit::StopSending { stream, code }));
    }

    pub(crate) fn close(&mut self, code: ErrorCode, reason: String) {
        self.queue.push_back(Queued::Other(Transmit::Close { code, reason }));
    }
}
