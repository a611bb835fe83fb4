//! What the egress scheduler needs of a connection. A test seam: the shard implements it
//! over QUIC, tests over memory.

use bytes::Bytes;

use moqswitch_proto::wire::{DatagramHeader, DatagramSent, ErrorCode, GroupHeader, StreamId, Written};

/// One peer's connection, for as long as one pumping takes.
pub trait Transport {
    /// Opens a stream for a group and writes its header and the first bytes behind it, `fin` if they
    /// are the last. `None`: the peer allows no further stream at present, or nothing can be sent now
    /// at all, and nothing was taken.
    fn open_group(&mut self, header: &GroupHeader, bytes: &Bytes, fin: bool) -> Option<(StreamId, Written)>;
    /// What was not taken whole waits until [`Tracks::handle_writable`] names the stream.
    ///
    /// [`Tracks::handle_writable`]: super::Tracks::handle_writable
    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written;
    /// Abandons a stream; what was not sent of it may be dropped.
    fn reset(&mut self, stream: StreamId, code: ErrorCode);
    /// Sends a group as a datagram, if it can leave at once.
    fn datagram(&mut self, header: &DatagramHeader, payload: &Bytes) -> DatagramSent;
    /// Nothing more can be taken on any stream; known by the first write that took nothing.
    fn connection_blocked(&self) -> bool;
}
