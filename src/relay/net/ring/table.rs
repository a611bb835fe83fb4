//! Which sockets a ring has besides its own, and what is to be done with each: bookkeeping, no
//! system calls.
//!
//! Invariants: a place is given to another socket only after the kernel has let go of the last
//! one: its receive has ended, and no submission that names its descriptor is
//! unconsumed. Each place is at most once in each list.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::message::Family;

/// One socket added to one ring. No two of a process are equal, so that of a socket which is gone
/// stays unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    serial: u64,
    place: u32,
}

impl SocketId {
    pub(super) fn place(self) -> u32 {
        self.place
    }

    /// What completions carry of the serial; no two sockets of one place that meet have the same.
    pub(super) fn mark(self) -> u32 {
        mark(self.serial)
    }
}

/// What a ring has to tell of a socket besides datagrams.
#[derive(Debug)]
pub enum SocketEvent {
    /// Its receive failed too often in a row and has been stopped. It still sends. Remove it.
    ReceiveStopped {
        /// The socket.
        socket: SocketId,
        /// The last failure.
        error: io::Error,
    },
}

/// Why a socket was not added. It gives the socket back.
#[derive(Debug, thiserror::Error)]
pub enum AddSocketError {
    /// The ring serves as many as it may, which can be none.
    #[error("the ring has {sockets_max} sockets, which are all it may have")]
    Full {
        /// As many as it may.
        sockets_max: u32,
        /// The socket that was not added.
        socket: UdpSocket,
    },
    /// The system refused what the ring needs of the socket.
    #[error("{operation} failed: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
        /// The socket that was not added.
        socket: UdpSocket,
    },
}

impl AddSocketError {
    /// The socket that was not added.
    pub fn into_socket(self) -> UdpSocket {
        match self {
            Self::Full { socket, .. } | Self::Io { socket, .. } => socket,
        }
    }
}

/// What the ring has to know of a socket to serve it.
#[derive(Debug)]
pub(super) struct Member {
    serial: u64,
    place: u32,
    socket: UdpSocket,
    pub(super) family: Family,
    /// What it is bound to.
    pub(super) local: IpAddr,
    /// What it is connected to.
    pub(super) peer: Option<SocketAddr>,
    state: State,
    /// A receive has been queued, and has not ended: more completions may come of it.
    pub(super) armed: bool,
    /// In a row.
    pub(super) failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Its receive was given up.
    Stopped,
    /// Waits for the kernel to let go of it.
    Removed,
}

impl Member {
    pub(super) fn id(&self) -> SocketId {
        SocketId {
            serial: self.serial,
            place: self.place,
        }
    }

    /// Stays that of this socket until its place is free.
    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}

#[derive(Debug)]
pub(super) struct Table {
    places: Vec<Place>,
    sockets_max: u32,
    /// Sockets that are not removed.
    count: usize,
    /// Receives in force.
    armed: usize,
    /// First freed, first used, so that a port that has just been given up is not confused with
    /// the next by whoever reads logs.
    free: VecDeque<u32>,
    to_arm: VecDeque<u32>,
    to_cancel: Vec<u32>,
    to_close: Vec<u32>,
}

#[derive(Debug, Default)]
struct Place {
    member: Option<Member>,
    /// In `to_arm`. It stays there when its socket is removed, and serves the next one.
    listed: bool,
}

impl Table {
    pub(super) fn new(sockets_max: u32) -> Self {
        Self {
            places: Vec::new(),
            sockets_max,
            count: 0,
            armed: 0,
            free: VecDeque::new(),
            to_arm: VecDeque::new(),
            to_cancel: Vec::new(),
            to_close: Vec::new(),
        }
    }

    /// Gives the socket back when all places are taken.
    pub(super) fn insert(
        &mut self,
        socket: UdpSocket,
        local: IpAddr,
        peer: Option<SocketAddr>,
    ) -> Result<SocketId, UdpSocket> {
        let Some(place) = self.free.pop_front().or_else(|| self.grow()) else {
            return Err(socket);
        };
        let member = Member {
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            place,
            socket,
            family: if local.is_ipv4() { Family::V4 } else { Family::V6 },
            local,
            peer,
            state: State::Open,
            armed: false,
            failures: 0,
        };
        let id = member.id();
        self.places[place as usize].member = Some(member);
        self.count += 1;
        self.list(place);
        Ok(id)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Places that are not free.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn armed(&self) -> usize {
        self.armed
    }

    /// The socket, unless it was removed.
    pub(super) fn get(&self, id: SocketId) -> Option<&Member> {
        let member = self.places.get(id.place as usize)?.member.as_ref()?;
        (member.serial == id.serial && member.state != State::Removed).then_some(member)
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Member> {
        let member = self.places.get_mut(id.place as usize)?.member.as_mut()?;
        (member.serial == id.serial && member.state != State::Removed).then_some(member)
    }

    /// Whose receive a completion belongs to, removed or not, and whether it wants datagrams.
    pub(super) fn receiver(&mut self, place: u32, serial_mark: u32) -> Option<(&mut Member, bool)> {
        let member = self.places.get_mut(place as usize)?.member.as_mut()?;
        let is_open = member.state == State::Open;
        (mark(member.serial) == serial_mark).then_some((member, is_open))
    }

    /// False for one that the table does not have.
    pub(super) fn remove(&mut self, id: SocketId) -> bool {
        let Some(member) = self.get_mut(id) else { return false };
        member.state = State::Removed;
        let list = if member.armed {
            &mut self.to_cancel
        } else {
            &mut self.to_close
        };
        list.push(id.place);
        self.count -= 1;
        true
    }

    pub(super) fn ids(&self) -> Vec<SocketId> {
        let members = self.places.iter().filter_map(|place| place.member.as_ref());
        members
            .filter(|member| member.state != State::Removed)
            .map(Member::id)
            .collect()
    }

    pub(super) fn has_to_arm(&self) -> bool {
        !self.to_arm.is_empty()
    }

    pub(super) fn has_to_cancel(&self) -> bool {
        !self.to_cancel.is_empty()
    }

    pub(super) fn has_to_close(&self) -> bool {
        !self.to_close.is_empty()
    }

    /// The next socket to be armed.
    pub(super) fn next_to_arm(&mut self) -> Option<&Member> {
        loop {
            let place = self.to_arm.pop_front()?;
            let entry = &mut self.places[place as usize];
            entry.listed = false;
            if entry
                .member
                .as_ref()
                .is_some_and(|member| member.state == State::Open && !member.armed)
            {
                return self.places[place as usize].member.as_ref();
            }
        }
    }

    /// The next removed socket whose receive is to be cancelled.
    pub(super) fn next_to_cancel(&mut self) -> Option<SocketId> {
        while let Some(place) = self.to_cancel.pop() {
            let member = self.places[place as usize].member.as_ref();
            if let Some(member) = member.filter(|member| member.state == State::Removed && member.armed) {
                return Some(member.id());
            }
        }
        None
    }

    pub(super) fn on_armed(&mut self, place: u32) {
        if let Some(member) = &mut self.places[place as usize].member {
            member.armed = true;
            self.armed += 1;
        }
    }

    /// It could not be armed: it is the next to be tried.
    pub(super) fn on_not_armed(&mut self, place: u32) {
        self.places[place as usize].listed = true;
        self.to_arm.push_front(place);
    }

    /// A receive has ended: no completion of it comes any more.
    pub(super) fn on_receive_ended(&mut self, place: u32) {
        let Some(member) = &mut self.places[place as usize].member else {
            return;
        };
        if !std::mem::take(&mut member.armed) {
            return;
        }
        self.armed -= 1;
        match member.state {
            State::Open => self.list(place),
            State::Stopped => {}
            State::Removed => self.to_close.push(place),
        }
    }

    pub(super) fn on_stopped(&mut self, place: u32) {
        if let Some(member) = &mut self.places[place as usize].member
            && member.state == State::Open
        {
            member.state = State::Stopped;
        }
    }

    /// A cancellation did not find its receive, or could not be queued.
    pub(super) fn on_not_cancelled(&mut self, place: u32, serial_mark: u32) {
        let member = self.places.get(place as usize).and_then(|place| place.member.as_ref());
        let is_wanted =
            |member: &Member| member.armed && member.state == State::Removed && mark(member.serial) == serial_mark;
        if member.is_some_and(is_wanted) && !self.to_cancel.contains(&place) {
            self.to_cancel.push(place);
        }
    }

    /// Closes the removed sockets that have no receive. No submission may be unconsumed.
    pub(super) fn close(&mut self) {
        for place in self.to_close.drain(..) {
            self.places[place as usize].member = None;
            self.free.push_back(place);
        }
    }

    fn list(&mut self, place: u32) {
        if !std::mem::replace(&mut self.places[place as usize].listed, true) {
            self.to_arm.push_back(place);
        }
    }

    fn grow(&mut self) -> Option<u32> {
        let place = u32::try_from(self.places.len()).ok()?;
        if place >= self.sockets_max {
            return None;
        }
        self.places.push(Place::default());
        Some(place)
    }
}

#[allow(clippy::cast_possible_truncation)] // meant
fn mark(serial: u64) -> u32 {
    serial as u32
}

/// Of all rings, so that one's ids are unknown to the others.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);
