//! Waking a shard from other threads. A socket is written only when the shard sleeps; otherwise
//! a wake is one atomic step, and wakes of one turn coalesce.
//!
//! It is a socket and not an eventfd so that an executor which can watch only sockets may watch
//! it too. Invariant: a wake after a turn has returned makes the next turn report it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// The waking side, for any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

/// The shard's side, handed to its ring.
#[derive(Debug)]
pub struct WakeReceiver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU32,
    sender: UnixDatagram,
    receiver: UnixDatagram,
}

/// Both sides of a new wake: the waker for other threads, the receiver for the shard's ring. Costs two sockets; fails
/// when the process may open no more.
pub fn channel() -> io::Result<(Waker, WakeReceiver)> {
    let (sender, receiver) = UnixDatagram::pair()?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    let shared = Arc::new(Shared {
        state: AtomicU32::new(AWAKE),
        sender,
        receiver,
    });
    Ok((
        Waker {
            shared: Arc::clone(&shared),
        },
        WakeReceiver { shared },
    ))
}

impl Waker {
    /// Makes the shard's present or next turn return and report `woken`. What the caller wrote
    /// before is visible to the shard after that turn.
    pub fn wake(&self) {
        // Orders the caller's writes before the load: either the shard's `take` sees this wake or
        // this load sees what `take` left behind.
        fence(Ordering::SeqCst);
        if self.shared.state.load(Ordering::Relaxed) == NOTIFIED {
            return;
        }
        if self.shared.state.swap(NOTIFIED, Ordering::SeqCst) == SLEEPING {
            self.shared.signal();
        }
    }
}

impl WakeReceiver {
    /// Whether the shard may sleep; if not, a wake is pending and stays so.
    pub(super) fn prepare_sleep(&self) -> bool {
        let state = &self.shared.state;
        let prepared = state.compare_exchange(AWAKE, SLEEPING, Ordering::SeqCst, Ordering::SeqCst);
        prepared != Err(NOTIFIED)
    }

    /// Awake again: takes the pending wake, if any.
    pub(super) fn take(&self) -> bool {
        let woken = self.shared.state.swap(AWAKE, Ordering::SeqCst) == NOTIFIED;
        fence(Ordering::SeqCst);
        woken
    }

    /// Makes the descriptor readable, for whoever watches it instead of the ring.
    pub(super) fn signal(&self) {
        self.shared.signal();
    }

    /// Makes the descriptor unreadable.
    pub(super) fn drain(&self) {
        let mut byte = [0];
        while self.shared.receiver.recv(&mut byte).is_ok() {}
    }
}

impl AsFd for WakeReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.receiver.as_fd()
    }
}

impl AsRawFd for WakeReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.receiver.as_raw_fd()
    }
}

impl Shared {
    fn signal(&self) {
        // It fails only when the socket's queue is full, and then it is readable already.
        let _ = self.sender.send(&[1]);
    }
}

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_of_an_awake_shard_is_kept_without_a_system_call() {
        let (waker, receiver) = channel().unwrap();
        waker.wake();
        waker.wake();
        assert!(!is_readable(&receiver));
        assert!(!receiver.prepare_sleep(), "a pending wake forbids sleep");
        assert!(receiver.take());
        assert!(!receiver.take());
    }

    #[test]
    fn wakes_of_a_sleeping_shard_write_once() {
        let (waker, receiver) = channel().unwrap();
        assert!(receiver.prepare_sleep());
        waker.wake();
        waker.wake();
        let mut byte = [0; 2];
        assert_eq!(receiver.shared.receiver.recv(&mut byte).unwrap(), 1);
        assert!(!is_readable(&receiver), "one signal for both");
        assert!(receiver.take());
    }

    fn is_readable(receiver: &WakeReceiver) -> bool {
        let mut poll = libc::pollfd {
            fd: receiver.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, alive during the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
    }
}
