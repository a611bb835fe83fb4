//! An anonymous memory mapping: zeroed, page aligned, at a fixed address, and resident only where
//! it has been written.

use std::io;
use std::ptr::{self, NonNull};

#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        assert!(bytes > 0, "an empty mapping has no address");
        // SAFETY: a fresh private anonymous mapping aliases nothing; the result is checked.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range was mapped above. Without the advice one small datagram could make
        // two megabytes resident; the advice may be refused, which costs only memory.
        unsafe { libc::madvise(base, bytes, libc::MADV_NOHUGEPAGE) };
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { base, bytes })
    }

    /// The address of byte `offset`, of which `bytes` bytes are inside the mapping.
    pub(super) fn at(&self, offset: usize, bytes: usize) -> NonNull<u8> {
        let end = offset.checked_add(bytes);
        assert!(end.is_some_and(|end| end <= self.bytes), "outside the mapping");
        // SAFETY: `offset` is inside the mapping, as asserted.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping is owned, and nothing that borrowed from it outlives its owner.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
