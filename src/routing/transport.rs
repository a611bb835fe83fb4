//! What the egress scheduler needs of a connection. A test seam: the shard implements it
//! over QUIC, tests over memory.

use bytes::Bytes;

use crate::wire::{DatagramHeader, ErrorCode, GroupHeader, StreamId};

/// One peer's connection, for as long as one pumping takes.
pub trait Transport {
    /// Opens a stream for a group and writes its header. `None`: the peer allows no further
    /// stream at present.
    fn open_group(&mut self, header: &GroupHeader) -> Option<StreamId>;
    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written;
    fn reset(&mut self, stream: StreamId, code: ErrorCode);
    /// Sends a group as a datagram; false when that is not possible now.
    fn datagram(&mut self, header: &DatagramHeader, payload: &Bytes) -> bool;
    /// Nothing more can be taken on any stream.
    fn connection_blocked(&self) -> bool;
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    All,
    /// So many bytes were taken; the stream is blocked.
    Partial(usize),
    /// The peer does not read the stream any more.
    Closed(ErrorCode),
}
