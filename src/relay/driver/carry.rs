//! What a session needs of the connection that it lives on.

use bytes::Bytes;
use moqswitch_proto::wire::{ErrorCode, Read, StreamId, Written};

use crate::quic::{Connection, ReadArena};

/// A connection as its session sees it: streams and datagrams. The calls are those of [`Connection`].
pub trait Carry {
    /// The next stream with bytes, a FIN or a reset to [`read`](Self::read). `None`: no stream has any.
    fn poll_readable(&mut self) -> Option<StreamId>;

    /// Reads once. A stream with more to give stays readable.
    fn read(&mut self, stream: StreamId, arena: &mut ReadArena) -> Read;

    /// The oldest datagram that was received and not taken, without its head.
    fn poll_datagram(&mut self, arena: &mut ReadArena) -> Option<Bytes>;

    /// A stream that may be written again after a partial write, or that the peer stopped, and its code.
    fn poll_writable(&mut self) -> Option<(StreamId, Option<ErrorCode>)>;

    /// Writes as much as can be taken now.
    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written;

    /// Abandons our sending half.
    fn reset(&mut self, stream: StreamId, code: ErrorCode);

    /// Stops reading a stream of the peer.
    fn stop_sending(&mut self, stream: StreamId, code: ErrorCode);

    /// Ends the session with a code and a reason that the peer is told.
    fn close(&mut self, code: ErrorCode, reason: &str);

    /// What has to stand before the body of each datagram.
    fn datagram_head(&self) -> &[u8];

    /// Bytes that one datagram may carry, its head included; `None` when the peer takes no datagrams.
    fn datagram_bytes_max(&self) -> Option<usize>;

    /// Sends a datagram, head and body, if it can leave at once.
    fn send_datagram(&mut self, datagram: Bytes) -> bool;
}

impl Carry for Connection {
    fn poll_readable(&mut self) -> Option<StreamId> {
        self.poll_readable()
    }

    fn read(&mut self, stream: StreamId, arena: &mut ReadArena) -> Read {
        self.read(stream, arena)
    }

    fn poll_datagram(&mut self, _arena: &mut ReadArena) -> Option<Bytes> {
        self.poll_datagram()
    }

    fn poll_writable(&mut self) -> Option<(StreamId, Option<ErrorCode>)> {
        self.poll_writable()
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        self.write(stream, bytes, fin)
    }

    fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.reset(stream, code);
    }

    fn stop_sending(&mut self, stream: StreamId, code: ErrorCode) {
        self.stop_sending(stream, code);
    }

    fn close(&mut self, code: ErrorCode, reason: &str) {
        self.close(code, reason);
    }

    fn datagram_head(&self) -> &[u8] {
        self.datagram_head()
    }

    fn datagram_bytes_max(&self) -> Option<usize> {
        self.datagram_bytes_max()
    }

    fn send_datagram(&mut self, datagram: Bytes) -> bool {
        self.send_datagram(datagram)
    }
}
