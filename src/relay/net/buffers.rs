//! The receive side's memory: a ring of buffers provided to the kernel, and the owned tokens of
//! those it has filled.
//!
//! Invariant: a buffer is either the kernel's (its entry is in the ring), in a completion not yet
//! polled, or owned by one `Received`; only that owner touches its bytes.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, RecvMsgOut};

use super::mapping::Mapping;
use super::message::{self, NAME_BYTES, RECEIVE_CONTROL_BYTES};

/// One received datagram, or several of one peer coalesced by the kernel. Dropping it gives the
/// buffer back to the kernel.
#[derive(Debug)]
pub struct Received {
    /// The peer; IPv4 as such on a dual-stack socket too.
    pub source: SocketAddr,
    /// The address the peer sent to, to answer from.
    pub local: IpAddr,
    /// When the kernel took in the first of them, since 1970, if it was asked to note that.
    pub arrived: Option<Duration>,
    segment_bytes: usize,
    buffer: Buffer,
    payload_offset: usize,
    payload_bytes: usize,
}

impl Received {
    /// The datagrams in order of arrival; all but the last have one size.
    pub fn datagrams(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let segment_bytes = self.segment_bytes;
        self.payload_mut().chunks_mut(segment_bytes)
    }

    /// How many datagrams there are; at least one.
    pub fn datagram_count(&self) -> usize {
        self.payload_bytes.div_ceil(self.segment_bytes).max(1)
    }

    /// Bytes of all datagrams together.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    fn payload_mut(&mut self) -> &mut [u8] {
        let payload = self
            .buffer
            .memory
            .buffer(self.buffer.id, self.payload_offset, self.payload_bytes);
        // SAFETY: the range is inside the buffer, as `buffer` asserts, was zeroed when mapped, and
        // belongs to this token alone until it is dropped; the borrow ends before that.
        unsafe { slice::from_raw_parts_mut(payload.as_ptr(), self.payload_bytes) }
    }
}

/// Why a completed receive carries nothing usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    Truncated,
    Malformed,
}

/// Ownership of one buffer; gives it back to the kernel when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Rc<ReceiveBuffers>,
    id: u16,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.provide(self.id);
    }
}

/// ```text
/// mapping   ring of `count` entries (16 bytes each), padded to a page | buffer 0 | buffer 1 | ...
/// buffer    recvmsg_out (16) | name (28) | control (128) | payload ... | padding to a cache line
/// ```
#[derive(Debug)]
pub(super) struct ReceiveBuffers {
    mapping: Mapping,
    count: u16,
    stride: usize,
    buffer_bytes: u32,
    tail: Cell<u16>,
    /// Buffers the kernel may fill, as far as completions seen tell.
    provided: Cell<u16>,
    template: libc::msghdr,
}

impl ReceiveBuffers {
    /// `count` is a power of two. All buffers are provided from the start.
    pub(super) fn new(count: u16, payload_bytes_max: u32) -> io::Result<Rc<Self>> {
        assert!(count.is_power_of_two(), "the kernel masks entry numbers");
        let buffer_bytes = HEADER_BYTES + payload_bytes_max;
        // Not a multiple of the page, so that the headers of all buffers do not compete for the
        // same few sets of the cache.
        let stride = (buffer_bytes as usize).next_multiple_of(CACHE_LINE_BYTES);
        let bytes = ring_bytes(count) + usize::from(count) * stride;
        let buffers = Self {
            mapping: Mapping::new(bytes)?,
            count,
            stride,
            buffer_bytes,
            tail: Cell::new(0),
            provided: Cell::new(0),
            template: message::receive_template(),
        };
        for id in 0..count {
            buffers.provide(id);
        }
        Ok(Rc::new(buffers))
    }

    pub(super) fn ring_address(&self) -> u64 {
        self.mapping.at(0, ring_bytes(self.count)).as_ptr() as u64
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn provided(&self) -> u16 {
        self.provided.get()
    }

    /// What a receive is submitted with; it stays where it is as long as these buffers.
    pub(super) fn template(&self) -> *const libc::msghdr {
        &raw const self.template
    }

    /// Takes a buffer the kernel reports filled, exactly once for each completion.
    pub(super) fn take(memory: &Rc<Self>, id: u16) -> Buffer {
        assert!(id < memory.count, "the kernel names only buffers it was given");
        memory.provided.set(memory.provided.get() - 1);
        Buffer {
            memory: Rc::clone(memory),
            id,
        }
    }

    /// Makes sense of the first `filled` bytes of a buffer.
    pub(super) fn parse(buffer: Buffer, filled: usize) -> Result<Received, Unusable> {
        let memory = &buffer.memory;
        let start = memory.buffer(buffer.id, 0, filled);
        // SAFETY: the range is inside the buffer, which `buffer` owns; the kernel is done with it.
        let bytes = unsafe { slice::from_raw_parts(start.as_ptr(), filled) };
        let message = RecvMsgOut::parse(bytes, &memory.template).map_err(|()| Unusable::Malformed)?;
        if message.is_payload_truncated() {
            return Err(Unusable::Truncated);
        }
        let source = message::parse_address(message.name_data()).ok_or(Unusable::Malformed)?;
        let control = message::parse_control(message.control_data());
        let payload_bytes = message.payload_data().len();
        let segment_bytes = match control.segment_bytes {
            Some(bytes) if bytes > 0 => usize::from(bytes),
            _ => payload_bytes.max(1),
        };
        Ok(Received {
            source,
            local: control.local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            arrived: control.arrived,
            segment_bytes,
            payload_offset: HEADER_BYTES as usize,
            payload_bytes,
            buffer,
        })
    }

    fn buffer(&self, id: u16, offset: usize, bytes: usize) -> NonNull<u8> {
        assert!(
            id < self.count && offset + bytes <= self.buffer_bytes as usize,
            "one buffer"
        );
        self.mapping
            .at(ring_bytes(self.count) + usize::from(id) * self.stride + offset, bytes)
    }

    fn provide(&self, id: u16) {
        let address = self.buffer(id, 0, self.buffer_bytes as usize).as_ptr() as u64;
        let ring: NonNull<BufRingEntry> = self.mapping.at(0, ring_bytes(self.count)).cast();
        let index = usize::from(self.tail.get() & (self.count - 1));
        // SAFETY: `index` is below `count`, so the entry is inside the ring, which is zeroed (a
        // valid entry) and page aligned. The kernel reads an entry only once the tail covers it.
        // The setters leave the entry's fourth field alone, which in entry 0 is the tail.
        let entry = unsafe { &mut *ring.as_ptr().add(index) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail.set(self.tail.get().wrapping_add(1));
        self.provided.set(self.provided.get() + 1);
        // SAFETY: the tail is an aligned field of entry 0, shared with the kernel, which only
        // reads it; `Release` makes the entry visible first.
        unsafe {
            let tail = BufRingEntry::tail(ring.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail.get(), Ordering::Release);
        }
    }
}

fn ring_bytes(count: u16) -> usize {
    (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE_BYTES)
}

#[allow(clippy::cast_possible_truncation)] // 172
const HEADER_BYTES: u32 = (RECEIVE_OUT_BYTES + NAME_BYTES + RECEIVE_CONTROL_BYTES) as u32;
/// `struct io_uring_recvmsg_out`: four lengths and flags of 32 bits.
const RECEIVE_OUT_BYTES: usize = 16;
const CACHE_LINE_BYTES: usize = 64;
/// Alignment of the ring; a mapping starts on a page of at least this size.
const PAGE_BYTES: usize = 4_096;
