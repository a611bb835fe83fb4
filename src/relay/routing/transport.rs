//! What the egress scheduler needs of a connection. A test seam: the shard implements it
//! over QUIC, tests over memory.

use bytes::Bytes;

use moqswitch_proto::wire::{DatagramHeader, ErrorCode, GroupHeader, StreamId};

/// One peer's connection, for as long as one pumping takes.
pub trait Transport {
    /// Opens a stream for a group and writes its header and the first bytes behind it, `fin` if they
    /// are the last. `None`: the peer allows no further stream at present, or nothing can be sent now
    /// at all, and nothing was taken.
    fn open_group(&mut self, header: &GroupHeader, bytes: Bytes, fin: bool) -> Option<(StreamId, Written)>;
    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written;
    fn reset(&mut self, stream: StreamId, code: ErrorCode);
    /// Sends a group as a datagram; false when that is not possible now.
    fn datagram(&mut self, header: &DatagramHeader, payload: &Bytes) -> bool;
    /// Nothing more can be taken on any stream; known by the first write that took nothing.
    fn connection_blocked(&self) -> bool;
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    All,
    /// So many bytes were taken; the stream takes no more until [`Tracks::handle_writable`]
    /// names it.
    ///
    /// [`Tracks::handle_writable`]: super::Tracks::handle_writable
    Partial(usize),
    /// Nothing was taken, and nothing would be on any stream.
    ConnectionBlocked,
    /// The peer does not read the stream any more.
    Closed(ErrorCode),
}
