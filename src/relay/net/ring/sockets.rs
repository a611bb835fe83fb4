//! UDP sockets of others on a ring: received, sent and waited for with its own socket, in the same
//! system call. Their receive buffers are apart, so that a flood on them takes none of QUIC's.
//!
//! They are not in the ring's table of files: until Linux 6.13 a file that leaves the table stays
//! open as long as any request that was there before it, and the receives stay.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};

use super::table::{AddSocketError, SocketEvent, SocketId, Table};
use super::{QUIESCE_ATTEMPTS_MAX, QUIESCE_TIMEOUT, RingConfig, UdpRing};
use crate::limits::{
    RECEIVE_BUFFERS_MAX, RECEIVE_FAILURES_MAX, RECEIVE_PAYLOAD_BYTES_MAX, SEND_BUFFERS_MAX, SOCKET_ARMS_PER_TURN_MAX,
    SOCKET_DATAGRAM_BUFFER_BYTES, SOCKET_DATAGRAM_BYTES, SOCKETS_MAX,
};
use crate::net::buffers::{Buffer, ReceiveBuffers, Received, Unusable};
use crate::net::socket;
use crate::net::statistics::SocketStatistics;
use crate::net::train::{SendMessages, SendPool};

/// What a ring needs for sockets of others, made when the first of them is added.
pub(super) struct Sockets {
    pub(super) table: Table,
    pub(super) buffers: Rc<ReceiveBuffers>,
    pub(super) pool: Rc<SendPool>,
    pub(super) messages: SendMessages,
    /// Slots of `pool` in the submission queue.
    pub(super) queued: Vec<u16>,
    ready: VecDeque<Filled>,
    /// Receives since the last turn reported.
    received: usize,
    events: VecDeque<SocketEvent>,
    /// The devices behind all of them can segment, as far as is known.
    pub(super) segmentation: bool,
    /// Readable while the ring is paused and has something to gather.
    watch: Option<OwnedFd>,
}

struct Filled {
    id: SocketId,
    buffer: Buffer,
    bytes: usize,
}

impl UdpRing {
    /// Serves a socket besides the ring's own, from the next turn on that is not paused. Its options stay as they are
    /// but for these: the kernel says where a datagram was sent to if the socket is bound to no
    /// address in particular, notes arrivals if the ring's configuration says so, and joins none.
    pub fn add_socket(&mut self, socket: UdpSocket) -> Result<SocketId, AddSocketError> {
        let failed = |operation, source, socket| AddSocketError::Io {
            operation,
            source,
            socket,
        };
        let sockets_max = self.sockets_max();
        if sockets_max == 0 {
            return Err(AddSocketError::Full { sockets_max, socket });
        }
        if self.sockets.is_none() {
            match Sockets::new(&self.ring, &self.config) {
                Ok(sockets) => self.sockets = Some(Box::new(sockets)),
                Err(source) => return Err(failed("making room for sockets", source, socket)),
            }
        }
        let local = match prepare(&socket, self.config.notes_arrivals) {
            Ok(local) => local,
            Err((operation, source)) => return Err(failed(operation, source, socket)),
        };
        let peer = socket.peer_addr().ok();
        let sockets = self.sockets.as_mut().expect("made above");
        let inserted = sockets.table.insert(socket, local.ip(), peer);
        inserted.map_err(|socket| AddSocketError::Full { sockets_max, socket })
    }

    /// Stops serving a socket and, with one of the next turns, closes it, as soon as the kernel
    /// has let go of it; until then it counts against the limit. What was queued on it leaves; what it
    /// received and was not polled is dropped. False if the ring does not have it.
    pub fn remove_socket(&mut self, id: SocketId) -> bool {
        let Some(sockets) = &mut self.sockets else { return false };
        let removed = sockets.table.remove(id);
        if removed {
            sockets.ready.retain(|filled| filled.id != id);
            let is_of = |event: &SocketEvent| {
                let SocketEvent::ReceiveStopped { socket, .. } = event;
                *socket == id
            };
            sockets.events.retain(|event| !is_of(event));
        }
        removed
    }

    /// Connects an added socket, which makes sending to `peer` cheaper and receives from nobody else from then on: what
    /// came before is still told.
    pub fn connect_socket(&mut self, id: SocketId, peer: SocketAddr) -> io::Result<()> {
        let member = self
            .sockets
            .as_mut()
            .and_then(|sockets| sockets.table.get_mut(id))
            .ok_or(io::ErrorKind::NotFound)?;
        member.socket().connect(peer)?;
        member.peer = Some(peer);
        Ok(())
    }

    /// The address that an added socket is bound to. `NotFound` when the ring does not have it.
    pub fn socket_local_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        let member = self.sockets.as_ref().and_then(|sockets| sockets.table.get(id));
        member.ok_or(io::ErrorKind::NotFound)?.socket().local_addr()
    }

    /// Added sockets that have not been removed.
    pub fn socket_count(&self) -> usize {
        self.sockets.as_ref().map_or(0, |sockets| sockets.table.count())
    }

    /// Sockets that may be added at once.
    pub fn sockets_max(&self) -> u32 {
        self.config.sockets_max.min(SOCKETS_MAX)
    }

    /// What the ring has counted of all added sockets together since it was made.
    pub fn socket_statistics(&self) -> SocketStatistics {
        self.socket_statistics
    }

    /// The next datagram of an added socket, in order of arrival for each; for a budget, poll that
    /// often. Its buffer goes back to the kernel when it is dropped: do not keep many.
    pub fn poll_socket_receive(&mut self) -> Option<(SocketId, Received)> {
        let sockets = self.sockets.as_mut()?;
        let statistics = &mut self.socket_statistics;
        loop {
            let filled = sockets.ready.pop_front()?;
            let Some(member) = sockets.table.get(filled.id) else {
                continue;
            };
            match ReceiveBuffers::parse(filled.buffer, filled.bytes) {
                Ok(mut received) => {
                    if received.local.is_unspecified() {
                        received.local = member.local;
                    }
                    statistics.datagrams += received.datagram_count() as u64;
                    statistics.bytes_received += received.payload_bytes() as u64;
                    return Some((filled.id, received));
                }
                Err(Unusable::Truncated) => statistics.truncated += 1,
                Err(Unusable::Malformed) => statistics.malformed += 1,
            }
        }
    }

    /// What else is to be known of added sockets; poll it after a turn.
    pub fn poll_socket_event(&mut self) -> Option<SocketEvent> {
        self.sockets.as_mut()?.events.pop_front()
    }

    /// Whether datagrams or events of added sockets wait to be polled.
    pub fn has_socket_receives(&self) -> bool {
        let is_waiting = |sockets: &Sockets| !sockets.ready.is_empty() || !sockets.events.is_empty();
        self.sockets.as_deref().is_some_and(is_waiting)
    }

    /// Readable, while the ring is paused, when there may be something of added sockets to gather.
    pub(in crate::net) fn sockets_as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.sockets.as_ref()?.watch.as_ref()?.as_fd())
    }

    /// Queues what added sockets need; whether the turn may sleep as far as they are concerned.
    pub(super) fn arm_sockets(&mut self) -> io::Result<bool> {
        match self.queue_cancels().and_then(|()| self.queue_receives()) {
            // The submission queue stays full for want of memory: the next turn goes on from there.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            queued => queued?,
        }
        Ok(self.sockets.as_deref().is_none_or(Sockets::is_settled))
    }

    fn queue_cancels(&mut self) -> io::Result<()> {
        for _ in 0..SOCKET_ARMS_PER_TURN_MAX {
            let Some(id) = self.sockets.as_mut().and_then(|sockets| sockets.table.next_to_cancel()) else {
                break;
            };
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(user_data(RECEIVE_ON, id))).build();
            let cancel = cancel.flags(squeue::Flags::SKIP_SUCCESS);
            let pushed = self.push(&cancel.user_data(user_data(CANCEL_ON, id)));
            if pushed.is_err()
                && let Some(sockets) = &mut self.sockets
            {
                sockets.table.on_not_cancelled(id.place(), id.mark());
            }
            pushed?;
        }
        Ok(())
    }

    /// No more than there are buffers for: with none, a receive ends as soon as it has begun.
    fn queue_receives(&mut self) -> io::Result<()> {
        for _ in 0..SOCKET_ARMS_PER_TURN_MAX {
            let Some(sockets) = self.sockets.as_mut().filter(|sockets| sockets.buffers.provided() > 0) else {
                break;
            };
            let template = sockets.buffers.template();
            let Some(member) = sockets.table.next_to_arm() else {
                break;
            };
            let id = member.id();
            let receive = opcode::RecvMsgMulti::new(Fd(member.descriptor()), template, SOCKETS_BUFFER_GROUP).build();
            let pushed = self.push(&receive.user_data(user_data(RECEIVE_ON, id)));
            if let Some(sockets) = &mut self.sockets {
                match pushed {
                    Ok(()) => sockets.table.on_armed(id.place()),
                    Err(_) => sockets.table.on_not_armed(id.place()),
                }
            }
            pushed?;
        }
        Ok(())
    }

    pub(super) fn handle_socket_completion(&mut self, data: u64, result: i32, flags: u32) {
        let (kind, place, mark) = parts(data);
        match kind {
            RECEIVE_ON => self.handle_socket_receive(place, mark, result, flags),
            SEND_ON => {
                let error = io::Error::from_raw_os_error(-result);
                self.socket_statistics.send_errors.count(&error);
                if let Some(sockets) = &mut self.sockets {
                    sockets.segmentation &= error.raw_os_error() != Some(libc::EIO);
                }
            }
            // It is told only if it found nothing, perhaps because the receive was being run.
            CANCEL_ON => {
                if let Some(sockets) = &mut self.sockets {
                    sockets.table.on_not_cancelled(place, mark);
                }
            }
            _ => {}
        }
    }

    pub(super) fn handle_socket_receive(&mut self, place: u32, mark: u32, result: i32, flags: u32) {
        let Some(sockets) = &mut self.sockets else { return };
        let statistics = &mut self.socket_statistics;
        let buffer = cqueue::buffer_select(flags).map(|id| ReceiveBuffers::take(&sockets.buffers, id));
        let Some((member, is_open)) = sockets.table.receiver(place, mark) else {
            debug_assert!(false, "a place is kept until its receive has ended");
            return;
        };
        let id = member.id();
        if let (Ok(bytes), Some(buffer)) = (usize::try_from(result), buffer) {
            member.failures = 0;
            statistics.receives += 1;
            if is_open {
                sockets.received += 1;
                sockets.ready.push_back(Filled { id, buffer, bytes });
            }
        } else if result == -libc::ENOBUFS {
            statistics.receive_buffers_exhausted += 1;
        } else if is_refusal(-result) {
            // The error of an earlier datagram, told once: the socket is as good as before.
            statistics.refusals += 1;
        } else if is_open && result != -libc::ECANCELED {
            statistics.receive_errors += 1;
            member.failures += 1;
            if member.failures >= RECEIVE_FAILURES_MAX {
                statistics.receives_stopped += 1;
                sockets.table.on_stopped(place);
                let error = io::Error::from_raw_os_error(-result);
                sockets
                    .events
                    .push_back(SocketEvent::ReceiveStopped { socket: id, error });
            }
        }
        if !cqueue::more(flags) {
            statistics.receive_rearms += u64::from(is_open);
            sockets.table.on_receive_ended(place);
        }
    }

    /// Receives on added sockets since this was last called.
    pub(super) fn take_sockets_received(&mut self) -> usize {
        self.sockets
            .as_mut()
            .map_or(0, |sockets| mem::take(&mut sockets.received))
    }

    /// Closes removed sockets if the kernel has consumed all that names their descriptors.
    pub(super) fn close_removed(&mut self) {
        if let Some(sockets) = &mut self.sockets
            && sockets.table.has_to_close()
            && self.ring.submission().is_empty()
        {
            sockets.table.close();
        }
    }

    /// The receives of added sockets stay in force while the ring is paused: thousands of
    /// descriptors cannot be watched elsewhere. An event descriptor is, which the kernel signals when it
    /// has work for the ring. (The ring's own descriptor is readable then to who asks, but wakes
    /// nobody who waits: it does so with completions, which such a ring makes only when entered.)
    /// It is a new one each time, so that nobody needs to empty it.
    pub(super) fn watch_sockets(&mut self) -> io::Result<()> {
        if self.socket_count() == 0 {
            return Ok(());
        }
        let rounds = self.socket_count() / SOCKET_ARMS_PER_TURN_MAX + 2;
        let mut is_settled = false;
        for _ in 0..rounds {
            is_settled = self.arm_sockets()?;
            self.flush()?;
            if is_settled {
                break;
            }
        }
        let watch = event_descriptor()?;
        self.ring.submitter().register_eventfd(watch.as_raw_fd())?;
        // What the kernel had for the ring before that has made nothing readable.
        let mut is_quiet = false;
        for _ in 0..rounds {
            self.flush()?;
            let submission = self.ring.submission();
            is_quiet = !submission.taskrun() && !submission.cq_overflow();
            drop(submission);
            if is_quiet {
                break;
            }
        }
        let sockets = self.sockets.as_mut().expect("there are some");
        if !is_quiet || !is_settled || sockets.table.has_to_arm() {
            signal(&watch)?;
        }
        sockets.watch = Some(watch);
        Ok(())
    }

    pub(super) fn unwatch_sockets(&mut self) {
        if let Some(sockets) = &mut self.sockets
            && sockets.watch.take().is_some()
        {
            // It fails only if none is registered.
            let _ = self.ring.submitter().unregister_eventfd();
        }
    }

    /// Ends the receives of all added sockets.
    pub(super) fn quiesce_sockets(&mut self) -> io::Result<()> {
        let ids = self.sockets.as_ref().map(|sockets| sockets.table.ids());
        for id in ids.into_iter().flatten() {
            self.remove_socket(id);
        }
        let mut attempts = 0;
        let armed = |ring: &Self| ring.sockets.as_ref().map_or(0, |sockets| sockets.table.armed());
        while armed(self) > 0 {
            let before = armed(self);
            self.arm_sockets()?;
            self.enter(1, Some(QUIESCE_TIMEOUT), Duration::ZERO)?;
            self.reap();
            attempts = if armed(self) < before { 0 } else { attempts + 1 };
            if attempts > QUIESCE_ATTEMPTS_MAX {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.close_removed();
        Ok(())
    }

    /// Leaks all the kernel may still write to or read.
    pub(super) fn leak_sockets(&mut self) {
        if let Some(sockets) = &mut self.sockets {
            mem::forget(Rc::clone(&sockets.buffers));
            mem::forget(Rc::clone(&sockets.pool));
            mem::forget(mem::take(&mut sockets.messages));
        }
    }
}

impl Sockets {
    fn new(ring: &io_uring::IoUring, config: &RingConfig) -> io::Result<Self> {
        let count = receive_buffers(config);
        let payload_bytes_max = config.socket_payload_bytes_max.min(RECEIVE_PAYLOAD_BYTES_MAX);
        let send_buffers = config.socket_send_buffers.clamp(1, SEND_BUFFERS_MAX);
        let buffers = ReceiveBuffers::new(count, payload_bytes_max)?;
        let pool = SendPool::new(
            send_buffers,
            SOCKET_DATAGRAM_BUFFER_BYTES,
            SOCKET_DATAGRAM_BYTES as usize,
        )?;
        let submitter = ring.submitter();
        // SAFETY: the ring of buffers is page aligned, has `count` entries, and lives in `buffers`,
        // which the ring's owner drops after the ring (or leaks, should it not come to rest).
        unsafe {
            submitter.register_buf_ring_with_flags(buffers.ring_address(), buffers.count(), SOCKETS_BUFFER_GROUP, 0)
        }?;
        Ok(Self {
            table: Table::new(config.sockets_max.min(SOCKETS_MAX)),
            buffers,
            pool,
            messages: SendMessages::default(),
            queued: Vec::with_capacity(usize::from(send_buffers)),
            ready: VecDeque::with_capacity(usize::from(count)),
            received: 0,
            events: VecDeque::new(),
            segmentation: true,
            watch: None,
        })
    }

    /// Nothing is left that keeps a turn from sleeping.
    fn is_settled(&self) -> bool {
        let can_arm = self.table.has_to_arm() && self.buffers.provided() > 0;
        self.ready.is_empty() && !self.table.has_to_cancel() && !can_arm
    }
}

/// Receive buffers for added sockets, as many as the kernel can count.
pub(super) fn receive_buffers(config: &RingConfig) -> u16 {
    config
        .socket_receive_buffers
        .clamp(1, RECEIVE_BUFFERS_MAX)
        .next_power_of_two()
}

/// Sets what a ring needs, and says what the socket is bound to.
fn prepare(socket: &UdpSocket, notes_arrivals: bool) -> Result<SocketAddr, (&'static str, io::Error)> {
    let failed = |operation| move |source| (operation, source);
    let local = socket.local_addr().map_err(failed("reading the socket's address"))?;
    if local.ip().is_unspecified() {
        socket::report_local(socket, local.ip()).map_err(failed("asking for addresses sent to"))?;
    }
    if notes_arrivals {
        socket::note_arrivals(socket).map_err(failed("asking for times of arrival"))?;
    }
    // A buffer has no room for more than one.
    socket::receive_singly(socket).map_err(failed("asking for single datagrams"))?;
    Ok(local)
}

/// What ICMP says of a datagram that was sent. There is one such failure for each message, so
/// they cannot go on by themselves.
fn is_refusal(code: i32) -> bool {
    let codes = [
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::ENOPROTOOPT,
        libc::EMSGSIZE,
        libc::EPROTO,
        libc::EACCES,
    ];
    codes.contains(&code)
}

fn event_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened above and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn signal(event: &OwnedFd) -> io::Result<()> {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight bytes are alive during the call.
    let written = unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    if written < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// ```text
/// user data of an added socket's operation   kind (8 bits) | place (24) | low half of the serial (32)
/// ```
pub(super) fn user_data(kind: u64, id: SocketId) -> u64 {
    kind | u64::from(id.place()) << 8 | u64::from(id.mark()) << 32
}

#[allow(clippy::cast_possible_truncation)] // each is cut to its part
fn parts(data: u64) -> (u64, u32, u32) {
    (data & 0xff, (data as u32) >> 8, (data >> 32) as u32)
}

const SOCKETS_BUFFER_GROUP: u16 = 1;

/// What a completion of an added socket belongs to; those of the ring's own are below.
const RECEIVE_ON: u64 = 5;
pub(super) const SEND_ON: u64 = 6;
const CANCEL_ON: u64 = 7;

#[cfg(test)]
mod tests;
