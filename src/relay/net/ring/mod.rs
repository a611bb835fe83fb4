//! One shard's io_uring: a multishot receive, GSO sends and the wait for either, in one
//! `io_uring_enter` a turn.
//!
//! Sends carry MSG_DONTWAIT and skip their success completion: the kernel has copied the bytes, or
//! posted an error, by the time it has consumed the submission. So a slot is free again as soon as
//! the submission queue is empty, and sends never end a wait.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use super::buffers::{Buffer, ReceiveBuffers, Received, Unusable};
use super::error::RingError;
use super::message::{Family, SendMessage};
use super::socket;
use super::statistics::{SocketStatistics, Statistics};
use super::train::{SendMessages, SendPool};
use super::wake::WakeReceiver;
use crate::limits::{
    RECEIVE_BUFFERS_DEFAULT, RECEIVE_BUFFERS_MAX, RECEIVE_FAILURES_MAX, RECEIVE_PAYLOAD_BYTES_MAX,
    SEND_BUFFERS_DEFAULT, SEND_BUFFERS_MAX, SOCKET_DATAGRAM_BYTES, SOCKET_RECEIVE_BUFFERS_DEFAULT,
    SOCKET_SEND_BUFFERS_DEFAULT, SOCKETS_DEFAULT, TRAIN_BUFFER_BYTES, TRAIN_BYTES_MAX,
};

mod sending;
mod sockets;
mod table;

use sockets::Sockets;
pub use table::{AddSocketError, SocketEvent, SocketId};

/// Buffers of one ring, and what the kernel is to do for it.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Receive buffers, rounded up to a power of two. Default 64. Each takes 64 KiB of address
    /// space, but memory only as far as datagrams have filled it. Each receive takes one; when
    /// they run out the rest waits in the socket and the receive is armed again, which costs
    /// about one more submission.
    pub receive_buffers: u16,
    /// Largest datagram or GRO super-datagram received; larger ones are dropped and counted.
    /// Default 65,535, which is every one there can be.
    pub receive_payload_bytes_max: u32,
    /// Trains that may be held or queued at once. Default 256, 64 KiB of address space each.
    pub send_buffers: u16,
    /// Let the kernel do the batch window where it can (Linux 6.12). Default true.
    pub kernel_batch_window: bool,
    /// Sockets that may be added. Default 4,096; a further one is refused. Before the first is added they cost 32 KiB of
    /// room for completions (none if `sockets_max` is 0); then about 1 KiB of kernel memory each, and the buffers below
    /// for all.
    pub sockets_max: u32,
    /// Receive buffers all added sockets share, rounded up to a power of two. Default 1,024. When
    /// they run out the rest waits in the sockets, and each of those is armed again.
    pub socket_receive_buffers: u16,
    /// Largest datagram received on an added socket; larger ones are dropped and counted. Default
    /// 1,500. Each buffer takes so much and 172 bytes.
    pub socket_payload_bytes_max: u32,
    /// Single datagrams for added sockets that may be held or queued at once. Default 512 of 1,600
    /// bytes each.
    pub socket_send_buffers: u16,
    /// Have the kernel note when each datagram comes in. Default false. The first socket of a
    /// host to ask for it may be given the time of the reading for some milliseconds.
    pub notes_arrivals: bool,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            receive_buffers: RECEIVE_BUFFERS_DEFAULT,
            receive_payload_bytes_max: RECEIVE_PAYLOAD_BYTES_MAX,
            send_buffers: SEND_BUFFERS_DEFAULT,
            kernel_batch_window: true,
            sockets_max: SOCKETS_DEFAULT,
            socket_receive_buffers: SOCKET_RECEIVE_BUFFERS_DEFAULT,
            socket_payload_bytes_max: SOCKET_DATAGRAM_BYTES,
            socket_send_buffers: SOCKET_SEND_BUFFERS_DEFAULT,
            notes_arrivals: false,
        }
    }
}

/// How long a turn may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    None,
    /// Until something is received, another thread wakes the shard, or `timeout` has passed.
    ///
    /// A nonzero `batch_window` lets arrivals gather: whatever comes less than that after the wait
    /// began ends it only when the window closes; after that the first arrival ends it at once.
    /// So under load there is one wake a window, and a lone datagram after a pause has no delay.
    /// It does not begin while as many wait as there are buffers.
    /// (Where the kernel has no such wait, the window opens with the first arrival instead.)
    Until {
        /// The longest that the turn may sleep.
        timeout: Duration,
        /// How long arrivals may gather; zero for not at all.
        batch_window: Duration,
    },
}

/// What a turn brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Receives that became available to `poll_receive`, here or since the last turn.
    pub received: usize,
    /// The same of `poll_socket_receive`.
    pub socket_received: usize,
    /// Trains the kernel consumed, here or since the last turn.
    pub sends: usize,
    /// Another thread called `Waker::wake`.
    pub woken: bool,
}

/// The io_uring of one shard, with the UDP socket that it receives from and sends to.
pub struct UdpRing {
    ring: IoUring,
    socket: UdpSocket,
    wake: WakeReceiver,
    /// What the socket is bound to.
    local: IpAddr,
    family: Family,
    buffers: Rc<ReceiveBuffers>,
    pool: Rc<SendPool>,
    messages: SendMessages,
    /// The one message at a time sent without the ring.
    single: Box<SendMessage>,
    /// Slots in the submission queue.
    queued: Vec<u16>,
    ready: VecDeque<Filled>,
    receive_armed: bool,
    wake_armed: bool,
    paused: bool,
    /// A wake taken by `resume`, to be reported by the next turn.
    woken: bool,
    /// Receives since the last turn reported.
    received: usize,
    /// Trains consumed since the last turn reported.
    sends: usize,
    /// The device behind the socket can segment, as far as is known.
    segmentation: bool,
    /// The kernel does the batch window, rather than two waits in a row.
    kernel_batch_window: bool,
    receive_failures: u32,
    receive_failure: Option<io::Error>,
    statistics: Statistics,
    config: RingConfig,
    /// Those added, if there ever was one. Below `ring`, so that it is dropped after it.
    sockets: Option<Box<Sockets>>,
    socket_statistics: SocketStatistics,
}

struct Filled {
    buffer: Buffer,
    bytes: usize,
}

impl UdpRing {
    /// Must be called on the thread that will turn the ring.
    pub fn new(socket: UdpSocket, wake: WakeReceiver, config: &RingConfig) -> Result<Self, RingError> {
        let receive_buffers = config.receive_buffers.clamp(1, RECEIVE_BUFFERS_MAX).next_power_of_two();
        let send_buffers = config.send_buffers.clamp(1, SEND_BUFFERS_MAX);
        let payload_bytes_max = config.receive_payload_bytes_max.min(RECEIVE_PAYLOAD_BYTES_MAX);
        let failed = |operation| move |source| RingError::new(operation, source);
        let local = socket.local_addr().map_err(failed("reading the socket's address"))?;
        if config.notes_arrivals {
            socket::note_arrivals(&socket).map_err(failed("asking for times of arrival"))?;
        }
        let ring = open(receive_buffers, send_buffers, config).map_err(failed("opening the ring"))?;
        let buffers =
            ReceiveBuffers::new(receive_buffers, payload_bytes_max).map_err(failed("mapping receive buffers"))?;
        let pool =
            SendPool::new(send_buffers, TRAIN_BUFFER_BYTES, TRAIN_BYTES_MAX).map_err(failed("mapping send buffers"))?;
        let submitter = ring.submitter();
        submitter
            .register_files(&[socket.as_raw_fd(), wake.as_raw_fd()])
            .map_err(failed("registering the socket"))?;
        // SAFETY: the ring of buffers is page aligned, has `count` entries, and lives in `buffers`,
        // which is dropped after `ring` (or leaked, should the ring not come to rest).
        unsafe { submitter.register_buf_ring_with_flags(buffers.ring_address(), buffers.count(), BUFFER_GROUP, 0) }
            .map_err(failed("registering receive buffers"))?;
        let kernel_batch_window = config.kernel_batch_window && ring.params().is_feature_min_timeout();
        Ok(Self {
            ring,
            socket,
            wake,
            local: local.ip(),
            family: if local.is_ipv4() { Family::V4 } else { Family::V6 },
            buffers,
            pool,
            messages: SendMessages::default(),
            single: SendMessage::new(),
            queued: Vec::with_capacity(usize::from(send_buffers)),
            ready: VecDeque::with_capacity(usize::from(receive_buffers)),
            receive_armed: false,
            wake_armed: false,
            paused: false,
            woken: false,
            received: 0,
            sends: 0,
            segmentation: true,
            kernel_batch_window,
            receive_failures: 0,
            receive_failure: None,
            statistics: Statistics::default(),
            config: config.clone(),
            sockets: None,
            socket_statistics: SocketStatistics::default(),
        })
    }

    /// Submits what is queued, waits as told, and gathers what has completed. Does not sleep while
    /// receives are left to poll. Paused, it only sends.
    ///
    /// An error means the ring or the socket is beyond use.
    pub fn turn(&mut self, wait: Wait) -> io::Result<Turn> {
        if self.paused {
            self.flush()?;
        } else {
            match self.arm() {
                // The submission queue stays full for want of memory: the next turn goes on from there.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                armed => armed?,
            }
            let are_sockets_settled = self.sockets.is_none() || self.arm_sockets()?;
            let sleeping = self.ready.is_empty() && are_sockets_settled && !self.woken && wait != Wait::None;
            if sleeping && self.wake.prepare_sleep() {
                self.sleep(wait)?;
            } else {
                self.flush()?;
            }
            if self.wake.take() {
                // The waker's socket holds few signals: unread ones would swallow later wakes.
                self.wake.drain();
                self.woken = true;
            }
        }
        self.close_removed();
        if self.receive_failures >= RECEIVE_FAILURES_MAX
            && let Some(error) = self.take_receive_failure()
        {
            return Err(error);
        }
        let woken = !self.paused && mem::take(&mut self.woken);
        self.statistics.wakes += u64::from(woken);
        let received = mem::take(&mut self.received);
        Ok(Turn {
            received,
            socket_received: self.take_sockets_received(),
            sends: mem::take(&mut self.sends),
            woken,
        })
    }

    /// The next received datagram or GRO super-datagram, in order of arrival. Its buffer goes back
    /// to the kernel when it is dropped: do not keep many.
    pub fn poll_receive(&mut self) -> Option<Received> {
        loop {
            let filled = self.ready.pop_front()?;
            match ReceiveBuffers::parse(filled.buffer, filled.bytes) {
                Ok(received) => {
                    self.statistics.datagrams += received.datagram_count() as u64;
                    self.statistics.bytes_received += received.payload_bytes() as u64;
                    return Some(received);
                }
                Err(Unusable::Truncated) => self.statistics.truncated += 1,
                Err(Unusable::Malformed) => self.statistics.malformed += 1,
            }
        }
    }

    /// Takes the receive and the wake poll off the ring, so that their descriptors can be
    /// watched for readability elsewhere. What was received stays available to `poll_receive`, so
    /// poll before sleeping. A wake, past or to come, makes the waker's readable. Added sockets go
    /// on receiving, and one more descriptor becomes readable when they have.
    pub fn pause(&mut self) -> io::Result<()> {
        if self.paused {
            return Ok(());
        }
        self.quiesce()?;
        self.watch_sockets()?;
        self.paused = true;
        self.wake.drain();
        if self.woken || !self.wake.prepare_sleep() {
            self.wake.signal();
        }
        Ok(())
    }

    /// The next turn receives again.
    pub fn resume(&mut self) {
        if mem::take(&mut self.paused) {
            self.unwatch_sockets();
            self.wake.drain();
            self.woken |= self.wake.take();
        }
    }

    /// Whether receiving is paused, and so turns bring no datagrams.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn socket_as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn wake_as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What the ring has counted since it was made.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Why the last receive operation failed, if one did.
    pub(super) fn take_receive_failure(&mut self) -> Option<io::Error> {
        self.receive_failure.take()
    }

    fn sleep(&mut self, wait: Wait) -> io::Result<()> {
        let Wait::Until { timeout, batch_window } = wait else {
            return self.flush();
        };
        // When no buffer is left, of either kind, nothing more of that kind can come in.
        let everything = |ring: &Self| {
            let of_sockets = ring.sockets.as_ref().map_or(0, |sockets| sockets.buffers.provided());
            let provided = [ring.buffers.provided(), of_sockets].into_iter();
            u32::from(provided.filter(|left| *left > 0).min().unwrap_or(1))
        };
        if batch_window >= timeout {
            // The window is the whole wait.
            let want = if batch_window.is_zero() { 0 } else { everything(self) };
            self.enter(want, Some(timeout), Duration::ZERO)?;
        } else if batch_window.is_zero() {
            self.enter(1, Some(timeout), Duration::ZERO)?;
        } else if self.kernel_batch_window {
            // Deferred completions count only when they are run, so this sleeps the window out.
            self.enter(everything(self), Some(timeout), batch_window)?;
        } else {
            self.enter(1, Some(timeout), Duration::ZERO)?;
            self.reap();
            if !self.ready.is_empty() || self.has_socket_receives() {
                self.enter(everything(self), Some(batch_window), Duration::ZERO)?;
            }
        }
        self.reap();
        Ok(())
    }

    /// Submits and gathers without sleeping, and without a system call when there is no need.
    fn flush(&mut self) -> io::Result<()> {
        let submission = self.ring.submission();
        let idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
        drop(submission);
        if !idle {
            self.enter(0, None, Duration::ZERO)?;
        }
        self.reap();
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        self.enter(0, None, Duration::ZERO)?;
        self.reap();
        Ok(())
    }

    /// Submits everything queued, then waits for `want` completions: all the while for the first
    /// `window`, for at least one from then to the `timeout`.
    fn enter(&mut self, want: u32, timeout: Option<Duration>, window: Duration) -> io::Result<()> {
        let submission = self.ring.submission();
        let queued = u32::try_from(submission.len()).expect("a ring has 2^15 entries at most");
        drop(submission);
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if self.ring.params().is_feature_no_iowait() {
            // A relay waiting for packets is idle, and the host's figures should say so.
            flags |= EnterFlags::NO_IOWAIT;
        }
        let timespec = Timespec::from(timeout.unwrap_or_default());
        let mut arguments = SubmitArgs::new();
        if timeout.is_some() {
            arguments = arguments.timespec(&timespec);
        }
        if !window.is_zero() {
            let window_us = u32::try_from(window.as_micros()).unwrap_or(u32::MAX);
            arguments = arguments.min_wait_usec(window_us.max(1));
        }
        self.statistics.enters += 1;
        self.statistics.waits += u64::from(want > 0);
        // SAFETY: EXT_ARG says the argument is an `io_uring_getevents_arg`, which `SubmitArgs` is;
        // it and the timespec it points to outlive the call.
        let entered = unsafe {
            self.ring
                .submitter()
                .enter(queued, want, flags.bits(), Some(&arguments))
        };
        if self.ring.submission().is_empty() {
            self.release_sent();
        }
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Timed out, interrupted by a signal, completions to be reaped first, or short of
                // memory for requests, which stay queued: the next turn goes on from there.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn reap(&mut self) {
        loop {
            let next = self.ring.completion().next();
            let Some(entry) = next else { return };
            match entry.user_data() {
                RECEIVE => self.handle_receive(entry.result(), entry.flags()),
                WAKE => self.wake_armed &= cqueue::more(entry.flags()),
                SEND => self.handle_send_refused(entry.result()),
                CANCEL => {} // what it cancelled completes too
                data => self.handle_socket_completion(data, entry.result(), entry.flags()),
            }
        }
    }

    fn handle_receive(&mut self, result: i32, flags: u32) {
        self.receive_armed &= cqueue::more(flags);
        let buffer = cqueue::buffer_select(flags).map(|id| ReceiveBuffers::take(&self.buffers, id));
        if let (Ok(bytes), Some(buffer)) = (usize::try_from(result), buffer) {
            self.statistics.receives += 1;
            self.receive_failures = 0;
            self.received += 1;
            self.ready.push_back(Filled { buffer, bytes });
        } else if result == -libc::ENOBUFS {
            self.statistics.receive_buffers_exhausted += 1;
        } else if result < 0 && result != -libc::ECANCELED {
            self.statistics.receive_errors += 1;
            self.receive_failures += 1;
            self.receive_failure = Some(io::Error::from_raw_os_error(-result));
        }
    }

    /// Queues the receive and the wake poll where they are not in force. With every receive buffer
    /// in the caller's hands the receive has to wait for the turn after one has come back.
    fn arm(&mut self) -> io::Result<()> {
        if !self.receive_armed && self.buffers.provided() > 0 {
            let template = self.buffers.template();
            let entry = opcode::RecvMsgMulti::new(SOCKET, template, BUFFER_GROUP).build();
            self.push(&entry.user_data(RECEIVE))?;
            self.receive_armed = true;
            self.statistics.receive_rearms += u64::from(self.statistics.receives > 0);
        }
        if !self.wake_armed {
            // An old signal would end the coming wait for nothing: the flag tells of real wakes.
            self.wake.drain();
            let poll = opcode::PollAdd::new(WAKE_EVENT, libc::POLLIN as u32).multi(true);
            self.push(&poll.build().user_data(WAKE))?;
            self.wake_armed = true;
        }
        Ok(())
    }

    /// Submits what is queued and ends every operation the kernel has in hand.
    fn quiesce(&mut self) -> io::Result<()> {
        for (armed, operation) in [(self.receive_armed, RECEIVE), (self.wake_armed, WAKE)] {
            if armed {
                let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(operation));
                self.push(&cancel.build().user_data(CANCEL))?;
            }
        }
        self.submit()?;
        for _ in 0..QUIESCE_ATTEMPTS_MAX {
            if !self.receive_armed && !self.wake_armed && self.queued.is_empty() {
                return Ok(());
            }
            self.enter(1, Some(QUIESCE_TIMEOUT), Duration::ZERO)?;
            self.reap();
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "io_uring did not come to rest"))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.submit()?;
        }
        // SAFETY: what the entry points to stays in place until the kernel has consumed it: a
        // train's slot and message until `enter` finds the queue empty, the receive template as
        // long as the receive buffers.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock.into())
    }
}

impl Drop for UdpRing {
    fn drop(&mut self) {
        if self.quiesce().and_then(|()| self.quiesce_sockets()).is_ok() {
            // The kernel takes the ring down later, in its own time; the port is to be free before that.
            let _ = self.ring.submitter().unregister_files();
        } else {
            // The kernel may still write to the receive buffers and read queued trains: leak them.
            mem::forget(Rc::clone(&self.buffers));
            mem::forget(Rc::clone(&self.pool));
            mem::forget(mem::take(&mut self.messages));
            self.leak_sockets();
        }
    }
}

fn open(receive_buffers: u16, send_buffers: u16, config: &RingConfig) -> io::Result<IoUring> {
    // Room for all trains and for arming; completions for all receives besides.
    let submissions = u32::from(send_buffers) + 4;
    let of_sockets = match config.sockets_max {
        0 => 0,
        _ => sockets::receive_buffers(config),
    };
    let completions = u32::from(receive_buffers) + u32::from(of_sockets) + 2 * submissions.next_power_of_two();
    IoUring::builder()
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .build(submissions)
}

/// Places in the ring's table of files.
const SOCKET: Fixed = Fixed(0);
const WAKE_EVENT: Fixed = Fixed(1);
const BUFFER_GROUP: u16 = 0;

/// What a completion belongs to.
const RECEIVE: u64 = 1;
const WAKE: u64 = 2;
const SEND: u64 = 3;
const CANCEL: u64 = 4;

const QUIESCE_ATTEMPTS_MAX: usize = 100;
const QUIESCE_TIMEOUT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
