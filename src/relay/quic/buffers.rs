//! The buffers that stream data lives in on its way through quiche.
//!
//! Sending: quiche keeps `Bytes` clones instead of copies ([`ZeroCopy`]). Receiving: what is read out of quiche's
//! reassembly goes into a block ([`ReadArena`]). Much of it is shared from there; a little gets memory of its own, so that it
//! does not hold the block.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use moqswitch_proto::wire::{ErrorCode, Read, StreamId};
use quiche::{BufFactory, BufSplit};

/// Tells quiche to hold what it is to send as [`Bytes`].
#[derive(Clone, Debug, Default)]
pub struct ZeroCopy;

impl BufFactory for ZeroCopy {
    type Buf = Unacknowledged;
    type DgramBuf = Bytes;

    fn buf_from_slice(slice: &[u8]) -> Unacknowledged {
        Bytes::copy_from_slice(slice).into()
    }

    fn dgram_buf_from_slice(slice: &[u8]) -> Bytes {
        Bytes::copy_from_slice(slice)
    }
}

/// Stream bytes, which quiche keeps until the peer has acknowledged them.
#[derive(Clone, Debug, Default)]
pub struct Unacknowledged {
    bytes: Bytes,
    /// Lives as long as they do.
    mark: Option<Mark>,
}

/// Shared by all bytes that quiche holds of one stream.
pub(super) type Mark = Rc<()>;

impl Unacknowledged {
    pub(super) fn marked(bytes: Bytes, mark: Mark) -> Self {
        let mark = Some(mark);
        Self { bytes, mark }
    }
}

impl From<Bytes> for Unacknowledged {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, mark: None }
    }
}

impl AsRef<[u8]> for Unacknowledged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BufSplit for Unacknowledged {
    fn split_at(&mut self, at: usize) -> Self {
        Self {
            bytes: self.bytes.split_off(at),
            mark: self.mark.clone(),
        }
    }
}

/// Space that streams are read into.
///
/// A slice pins the whole block it was cut from. So a read of less than `OWNED_BYTES_MAX` is copied out of it, into as much
/// memory as it needs, and the block is read into once more.
#[derive(Debug, Default)]
pub struct ReadArena {
    block: BytesMut,
}

impl ReadArena {
    /// Space to read into: at least [`READ_BYTES_MIN`] bytes.
    fn space(&mut self) -> impl BufMut + '_ {
        if self.block.capacity() < READ_BYTES_MIN {
            self.block = BytesMut::with_capacity(BLOCK_BYTES);
        }
        let capacity = self.block.capacity();
        (&mut self.block).limit(capacity)
    }

    /// Reads a stream of any kind once.
    pub(super) fn read(&mut self, quic: &mut quiche::Connection<ZeroCopy>, stream: StreamId) -> Read {
        match quic.stream_recv_buf(stream.0, self.space()) {
            Ok((_, fin)) => Read::Data {
                bytes: self.take(),
                fin,
            },
            Err(quiche::Error::StreamReset(code)) => Read::Reset(ErrorCode(code)),
            Err(_) => Read::Nothing,
        }
    }

    /// A copy of what lies in some other block, for a small part of that not to pin it.
    pub fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.block.capacity() < bytes.len() {
            self.block = BytesMut::with_capacity(BLOCK_BYTES.max(bytes.len()));
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }

    /// What the last read put into the space.
    fn take(&mut self) -> Bytes {
        if self.block.len() < OWNED_BYTES_MAX {
            let bytes = Bytes::copy_from_slice(&self.block);
            self.block.clear();
            return bytes;
        }
        self.block.split().freeze()
    }
}

const BLOCK_BYTES: usize = 16 * 1024;
const READ_BYTES_MIN: usize = 2 * 1024;
/// Reads of fewer bytes have memory of their own.
const OWNED_BYTES_MAX: usize = 2 * 1024;

const _: () = assert!(READ_BYTES_MIN <= BLOCK_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_share_a_block_until_it_is_full() {
        let slices = reads(OWNED_BYTES_MAX);
        let adjacent = slices
            .windows(2)
            .filter(|pair| pair[0].as_ptr_range().end == pair[1].as_ptr())
            .count();
        assert!(adjacent > 150, "only {adjacent} of 199 slices lie behind each other");
    }

    #[test]
    fn small_reads_hold_no_block() {
        let slices = reads(OWNED_BYTES_MAX - 1);
        assert!(slices.iter().all(Bytes::is_unique));
    }

    fn reads(length: usize) -> Vec<Bytes> {
        let mut arena = ReadArena::default();
        let mut slices = Vec::new();
        for value in 0..200u8 {
            {
                let mut space = arena.space();
                assert!(space.remaining_mut() >= READ_BYTES_MIN);
                space.put_bytes(value, length);
            }
            slices.push(arena.take());
        }
        for (value, slice) in (0..200u8).zip(&slices) {
            assert!(slice.len() == length && slice.iter().all(|byte| *byte == value));
        }
        slices
    }

    #[test]
    fn copies_share_a_block_and_leave_their_own() {
        let mut arena = ReadArena::default();
        let block = Bytes::from(vec![7; BLOCK_BYTES]);
        let copies: Vec<Bytes> = (0..10).map(|at| arena.copy(&block.slice(at..=at))).collect();
        assert!(block.is_unique(), "a copy pins what it was made of");
        let adjacent = copies
            .windows(2)
            .all(|pair| pair[0].as_ptr_range().end == pair[1].as_ptr());
        assert!(adjacent && copies.iter().all(|copy| copy[..] == [7]));
        assert_eq!(arena.copy(&[1; BLOCK_BYTES + 1]).len(), BLOCK_BYTES + 1);
    }
}
