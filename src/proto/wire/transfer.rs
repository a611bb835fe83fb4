//! What becomes of the bytes of streams and of datagrams, on whatever carries them: the calls of QUIC and of QMux give
//! the same answers.

use bytes::Bytes;

use super::ErrorCode;

/// What a read of a stream gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes, the end of the stream, or both.
    Data {
        /// The next bytes, in order; may be empty at the end.
        bytes: Bytes,
        /// Nothing follows them.
        fin: bool,
    },
    /// The peer abandoned the stream.
    Reset(ErrorCode),
    /// Nothing there at present, or the stream is gone.
    Nothing,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// Every byte was taken, and the FIN if there was one.
    All,
    /// So many bytes were taken; the rest waits until the connection names the stream as writable.
    Partial(usize),
    /// Nothing was taken, nor would be on another stream: the connection's window or flow control is
    /// used up, or too much waits to leave.
    Blocked,
    /// The peer does not read this stream any more, or it is closed.
    Stopped(ErrorCode),
    /// The peer allows no further stream at present.
    NoStreamCredit,
}

/// What became of a group that was to go as a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramSent {
    /// It left, or will with the next packets.
    Sent,
    /// The path, or the peer, takes none that is so long. The group goes as a stream.
    TooLarge,
    /// None can leave at present. The group is dropped.
    Full,
}
