//! The send side of a ring: trains and single datagrams, on its own socket or on one added to it,
//! all in the next submission.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::sockets::{SEND_ON, user_data};
use super::table::SocketId;
use super::{SEND, SOCKET, UdpRing};
use crate::limits::TRAIN_SEGMENTS_MAX;
use crate::net::message::{Family, SendMessage};
use crate::net::train::{SendPool, Train};

/// Which socket a train leaves on, and what the kernel has to be told for it.
struct Route {
    /// `None` for the ring's own, which is in the table of files.
    id: Option<SocketId>,
    descriptor: RawFd,
    family: Family,
    destination: Option<SocketAddr>,
    source: Option<IpAddr>,
    /// The device behind the socket can segment, as far as is known.
    segmentation: bool,
}

impl UdpRing {
    /// An empty train, or `None` when the caller holds all of them. Queued trains are submitted if
    /// that is what it takes.
    pub fn acquire_train(&mut self) -> Option<Train> {
        if let Some(train) = SendPool::acquire(&self.pool) {
            return Some(train);
        }
        if self.queued.is_empty() {
            return None;
        }
        // A failure to submit leaves the pool empty, and the next turn reports it.
        let _ = self.submit();
        SendPool::acquire(&self.pool)
    }

    /// Queues a train for the next turn: datagrams of `segment_bytes`, the last maybe shorter, from
    /// the local address `source` or one of the kernel's choice. Refusals by the kernel are
    /// counted in the statistics.
    pub fn queue_train(&mut self, train: Train, segment_bytes: u16, destination: SocketAddr, source: Option<IpAddr>) {
        let route = Route {
            id: None,
            descriptor: self.socket.as_raw_fd(),
            family: self.family,
            destination: Some(destination),
            // The kernel need not be told what it would choose.
            source: source.filter(|source| !source.is_unspecified() && *source != self.local),
            segmentation: self.segmentation,
        };
        self.queue(train, segment_bytes, &route);
    }

    /// An empty train with room for one datagram of `SOCKET_DATAGRAM_BYTES`, of a pool of its own:
    /// many of them take little memory. `None` when the caller holds all of them, or no socket was
    /// added yet. Queued ones are submitted if that is what it takes.
    pub fn acquire_datagram(&mut self) -> Option<Train> {
        let sockets = self.sockets.as_ref()?;
        if let Some(train) = SendPool::acquire(&sockets.pool) {
            return Some(train);
        }
        if sockets.queued.is_empty() {
            return None;
        }
        let _ = self.submit();
        SendPool::acquire(&self.sockets.as_ref()?.pool)
    }

    /// As `queue_train`, on an added socket. On one that the ring does not have it is dropped and
    /// counted. To the peer of a connected socket it costs the kernel less.
    pub fn queue_train_on(
        &mut self,
        id: SocketId,
        train: Train,
        segment_bytes: u16,
        destination: SocketAddr,
        source: Option<IpAddr>,
    ) {
        let found = self
            .sockets
            .as_ref()
            .and_then(|sockets| Some((sockets, sockets.table.get(id)?)));
        let Some((sockets, member)) = found else {
            self.socket_statistics.sends_unknown += 1;
            return;
        };
        let route = Route {
            id: Some(id),
            descriptor: member.descriptor(),
            family: member.family,
            destination: (member.peer != Some(destination)).then_some(destination),
            source: source.filter(|source| !source.is_unspecified() && *source != member.local),
            segmentation: sockets.segmentation,
        };
        self.queue(train, segment_bytes, &route);
    }

    /// Queues one datagram on an added socket for the next turn, as `queue_train_on` does. One
    /// that finds no buffer is dropped and counted.
    pub fn send_on(&mut self, id: SocketId, payload: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        if self
            .sockets
            .as_ref()
            .and_then(|sockets| sockets.table.get(id))
            .is_none()
        {
            self.socket_statistics.sends_unknown += 1;
            return;
        }
        let mut train = self.acquire_datagram();
        if train
            .as_mut()
            .is_some_and(|train| train.spare_mut().len() < payload.len())
        {
            train = self.acquire_train();
        }
        let Some(mut train) = train else {
            self.socket_statistics.send_errors.no_buffers += 1;
            return;
        };
        let Some(spare) = train.spare_mut().get_mut(..payload.len()) else {
            self.socket_statistics.send_errors.too_large += 1;
            return;
        };
        spare.copy_from_slice(payload);
        train.commit(payload.len());
        let segment_bytes = u16::try_from(payload.len()).expect("a train is shorter than 64 KiB");
        self.queue_train_on(id, train, segment_bytes, destination, source);
    }

    fn queue(&mut self, train: Train, segment_bytes: u16, route: &Route) {
        let is_small = !train.belongs_to(&self.pool);
        let small = || self.sockets.as_ref().map(|sockets| &sockets.pool);
        assert!(
            !is_small || small().is_some_and(|pool| train.belongs_to(pool)),
            "a train of another ring"
        );
        let bytes = train.len();
        // On sockets of others a datagram without payload has a meaning: it keeps a path open (RFC 6263 section 4.1).
        if bytes == 0 && route.id.is_none() {
            return;
        }
        let segments = bytes.div_ceil(usize::from(segment_bytes).max(1)).max(1);
        assert!(segments <= TRAIN_SEGMENTS_MAX, "{segments} segments in one train");
        self.count_send(route, segments, bytes);
        if segments > 1 && !route.segmentation {
            self.send_singly(train, segment_bytes, route);
            return;
        }
        let slot = train.into_slot();
        let segment_bytes = (segments > 1).then_some(segment_bytes);
        let (pool, messages) = match &mut self.sockets {
            Some(sockets) if is_small => (&sockets.pool, &mut sockets.messages),
            _ => (&self.pool, &mut self.messages),
        };
        let entry = entry(route, pool.memory(slot), bytes, segment_bytes, messages.of(slot));
        let pushed = self.push(&entry).is_ok();
        let (pool, queued) = match &mut self.sockets {
            Some(sockets) if is_small => (&sockets.pool, &mut sockets.queued),
            _ => (&self.pool, &mut self.queued),
        };
        if pushed {
            queued.push(slot);
        } else {
            pool.free(slot);
            self.count_error(route, &io::Error::from_raw_os_error(libc::ENOBUFS));
        }
    }

    pub(super) fn handle_send_refused(&mut self, result: i32) {
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            self.segmentation &= error.raw_os_error() != Some(libc::EIO);
            self.statistics.send_errors.count(&error);
        }
    }

    /// With the submission queue empty, all the kernel was given to send is copied or refused.
    pub(super) fn release_sent(&mut self) {
        self.sends += self.queued.len();
        for slot in self.queued.drain(..) {
            self.pool.free(slot);
        }
        if let Some(sockets) = &mut self.sockets {
            self.sends += sockets.queued.len();
            for slot in sockets.queued.drain(..) {
                sockets.pool.free(slot);
            }
        }
    }

    /// For devices that cannot segment: one system call for each datagram.
    fn send_singly(&mut self, mut train: Train, segment_bytes: u16, route: &Route) {
        for segment in train.written_mut().chunks_mut(usize::from(segment_bytes)) {
            let message = self.single.fill(
                segment.as_mut_ptr(),
                segment.len(),
                None,
                route.destination,
                route.source,
                route.family,
            );
            // SAFETY: the message and the segment it points to are alive during the call.
            let sent = unsafe { libc::sendmsg(route.descriptor, message, libc::MSG_DONTWAIT) };
            if sent < 0 {
                self.count_error(route, &io::Error::last_os_error());
            }
        }
        self.sends += 1;
    }

    fn count_send(&mut self, route: &Route, segments: usize, bytes: usize) {
        let (sends, sent, bytes_sent) = if route.id.is_some() {
            let counted = &mut self.socket_statistics;
            (&mut counted.sends, &mut counted.segments, &mut counted.bytes_sent)
        } else {
            let counted = &mut self.statistics;
            (&mut counted.sends, &mut counted.segments, &mut counted.bytes_sent)
        };
        *sends += 1;
        *sent += segments as u64;
        *bytes_sent += bytes as u64;
    }

    fn count_error(&mut self, route: &Route, error: &io::Error) {
        let errors = match route.id {
            Some(_) => &mut self.socket_statistics.send_errors,
            None => &mut self.statistics.send_errors,
        };
        errors.count(error);
    }
}

/// The submission that sends what `payload` points to. It and `message` have to stay where they
/// are until it is consumed.
fn entry(
    route: &Route,
    payload: *mut u8,
    bytes: usize,
    segment_bytes: Option<u16>,
    message: &mut SendMessage,
) -> squeue::Entry {
    let header = message.fill(
        payload,
        bytes,
        segment_bytes,
        route.destination,
        route.source,
        route.family,
    );
    let file = Fd(route.descriptor);
    let entry = if segment_bytes.is_none() && route.source.is_none() {
        // The kernel reads less than for a message. A socket that is bound to no address in particular
        // needs one, to say the source.
        let bytes = u32::try_from(bytes).expect("below 64 KiB");
        let (address, address_bytes) = message.address();
        let send = match route.id {
            None => opcode::Send::new(SOCKET, payload, bytes),
            Some(_) => opcode::Send::new(file, payload, bytes),
        };
        send.dest_addr(address)
            .dest_addr_len(address_bytes)
            .flags(libc::MSG_DONTWAIT)
            .build()
    } else {
        let send = match route.id {
            None => opcode::SendMsg::new(SOCKET, header),
            Some(_) => opcode::SendMsg::new(file, header),
        };
        send.flags(libc::MSG_DONTWAIT as u32).build()
    };
    let data = route.id.map_or(SEND, |id| user_data(SEND_ON, id));
    entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(data)
}
