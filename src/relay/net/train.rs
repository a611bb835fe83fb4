//! The send side's memory: bounded pools of buffers, each a train of datagrams to one peer.
//!
//! Invariant: a slot is free, owned by one `Train`, or listed by the ring as submitted.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::slice;

use super::mapping::Mapping;
use super::message::SendMessage;

/// Datagrams for one peer, being written. All but the last must come out the same size; hand it to
/// `UdpRing::queue_train` or `queue_train_on`. Dropping it gives the buffer back unsent.
#[derive(Debug)]
pub struct Train {
    pool: Rc<SendPool>,
    slot: u16,
    bytes: usize,
}

impl Train {
    /// Room for further datagrams.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let used = self.bytes;
        let start = self.pool.memory(self.slot);
        // SAFETY: the slot's bytes were zeroed when mapped and belong to this train alone; the
        // range is inside its buffer because `commit` keeps `bytes` within the pool's bound.
        unsafe { slice::from_raw_parts_mut(start.add(used), self.pool.train_bytes_max - used) }
    }

    /// Counts the first `bytes` bytes of the spare room as written.
    pub fn commit(&mut self, bytes: usize) {
        assert!(
            bytes <= self.pool.train_bytes_max - self.bytes,
            "committed more than there is room for"
        );
        self.bytes += bytes;
    }

    /// Bytes that were committed.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was committed.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// What was committed.
    pub fn written(&self) -> &[u8] {
        let start = self.pool.memory(self.slot);
        // SAFETY: as in `spare_mut`, for the range before it.
        unsafe { slice::from_raw_parts(start, self.bytes) }
    }

    pub(super) fn written_mut(&mut self) -> &mut [u8] {
        let start = self.pool.memory(self.slot);
        // SAFETY: as in `spare_mut`, for the range before it.
        unsafe { slice::from_raw_parts_mut(start, self.bytes) }
    }

    pub(super) fn belongs_to(&self, pool: &Rc<SendPool>) -> bool {
        Rc::ptr_eq(&self.pool, pool)
    }

    /// Gives up ownership without freeing; the ring frees the slot when the kernel is done.
    pub(super) fn into_slot(mut self) -> u16 {
        let slot = self.slot;
        self.slot = NO_SLOT;
        slot
    }
}

impl Drop for Train {
    fn drop(&mut self) {
        if self.slot != NO_SLOT {
            self.pool.free(self.slot);
        }
    }
}

#[derive(Debug)]
pub(super) struct SendPool {
    mapping: Mapping,
    capacity: u16,
    /// Room of one train's buffer, and how much of it a train may fill.
    buffer_bytes: usize,
    train_bytes_max: usize,
    /// Slots ever used; those above have no resident memory.
    used: Cell<u16>,
    /// Last freed, first used: its memory is the warmest.
    free: RefCell<Vec<u16>>,
}

impl SendPool {
    pub(super) fn new(capacity: u16, buffer_bytes: usize, train_bytes_max: usize) -> io::Result<Rc<Self>> {
        assert!(capacity > 0 && capacity < NO_SLOT, "slots have 16-bit numbers");
        assert!(train_bytes_max <= buffer_bytes, "a train fits in its buffer");
        Ok(Rc::new(Self {
            mapping: Mapping::new(usize::from(capacity) * buffer_bytes)?,
            capacity,
            buffer_bytes,
            train_bytes_max,
            used: Cell::new(0),
            free: RefCell::new(Vec::with_capacity(usize::from(capacity))),
        }))
    }

    pub(super) fn acquire(pool: &Rc<Self>) -> Option<Train> {
        let slot = pool.free.borrow_mut().pop().or_else(|| pool.grow())?;
        Some(Train {
            pool: Rc::clone(pool),
            slot,
            bytes: 0,
        })
    }

    pub(super) fn free(&self, slot: u16) {
        debug_assert!(slot < self.used.get());
        self.free.borrow_mut().push(slot);
    }

    pub(super) fn memory(&self, slot: u16) -> *mut u8 {
        self.mapping
            .at(usize::from(slot) * self.buffer_bytes, self.buffer_bytes)
            .as_ptr()
    }

    fn grow(&self) -> Option<u16> {
        let slot = self.used.get();
        if slot == self.capacity {
            return None;
        }
        self.used.set(slot + 1);
        Some(slot)
    }
}

/// The kernel's view of each slot, made when a slot is first sent.
#[derive(Default)]
pub(super) struct SendMessages(Vec<Option<Box<SendMessage>>>);

impl SendMessages {
    pub(super) fn of(&mut self, slot: u16) -> &mut SendMessage {
        let index = usize::from(slot);
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].get_or_insert_with(SendMessage::new)
    }
}

const NO_SLOT: u16 = u16::MAX;
