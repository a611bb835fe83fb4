//! One session on this shard: its state machine and what waits for its connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::auth::Grant;
use crate::quic::Written;
use crate::routing::{self, DatagramSent, PeerKey};
use moqswitch_proto::session::{Session, Transmit};
use moqswitch_proto::wire::{BroadcastPath, DatagramHeader, ErrorCode, GroupHeader, HopId, StreamId, session_error};

use super::carrier::Carrier;

/// A session and its surroundings.
pub(super) struct Peer {
    pub(super) session: Session,
    /// Where this session's paths are rooted: the path of its SETUP.
    pub(super) root: BroadcastPath,
    /// What it may do: of the policy, or of whoever has set another since.
    pub(super) grant: Arc<Grant>,
    /// The feed has told of it.
    pub(super) is_reported: bool,
    /// Requests that are not over.
    pub(super) requested: FxHashMap<StreamId, Requested>,
    /// Whom not to route back to: the hop id that the peer declared, else one assigned.
    pub(super) hop: HopId,
    /// What subscribing from this peer costs (draft, "Cost Parameter").
    pub(super) link_cost: u64,
    /// By when the peer must have said what its draft begins with, SETUP or SESSION_CLIENT.
    pub(super) setup_deadline: Instant,
    /// Full paths this peer has in the announce table.
    pub(super) published: FxHashSet<BroadcastPath>,
    /// Probe streams that want reports.
    pub(super) probes: SmallVec<[StreamId; 1]>,
    /// Announce streams that wait for the connection to take more.
    pub(super) waiting_announcements: SmallVec<[StreamId; 1]>,
    pub(super) outbox: Outbox,
}

/// What a request of the peer is about.
pub(super) struct Requested {
    /// The full path of the broadcast.
    pub(super) path: BroadcastPath,
    pub(super) is_subscription: bool,
}

/// Control bytes and group headers that the connection could not take yet.
#[derive(Default)]
pub(super) struct Outbox {
    /// By stream, so that one stream the peer does not read holds up no other.
    backlog: FxHashMap<StreamId, VecDeque<(Bytes, bool)>>,
    backlog_bytes: usize,
    heads: SmallVec<[(StreamId, Bytes); 2]>,
    /// A stream that was opened for a group when nothing could be written; the next group
    /// takes it.
    unused: Option<StreamId>,
}

/// The peer let more control bytes pile up than it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BacklogFull;

impl Outbox {
    /// Sends what the session has to say, as far as the connection takes it. False when that is
    /// nothing.
    pub(super) fn transmit(
        &mut self,
        session: &mut Session,
        connection: &mut Carrier<'_>,
    ) -> Result<bool, BacklogFull> {
        let mut has_spoken = false;
        while let Some(transmit) = session.poll_transmit() {
            has_spoken = true;
            match transmit {
                Transmit::Write { stream, data, fin } => self.write(connection, stream, data, fin)?,
                Transmit::Reset { stream, code } => {
                    self.forget(stream);
                    connection.reset(stream, code);
                }
                Transmit::StopSending { stream, code } => connection.stop_sending(stream, code),
                Transmit::Close { code, reason } => connection.close(code, &reason),
            }
        }
        Ok(has_spoken)
    }

    fn write(
        &mut self,
        connection: &mut Carrier<'_>,
        stream: StreamId,
        mut data: Bytes,
        fin: bool,
    ) -> Result<(), BacklogFull> {
        if !self.backlog.contains_key(&stream) {
            match connection.write(stream, data.clone(), fin) {
                Written::All | Written::Stopped(_) => return Ok(()),
                Written::Partial(taken) => drop(data.split_to(taken)),
                Written::Blocked | Written::NoStreamCredit => {}
            }
        }
        self.backlog_bytes += data.len() + BACKLOG_ENTRY_BYTES;
        if self.backlog_bytes > BACKLOG_BYTES_MAX {
            return Err(BacklogFull);
        }
        self.backlog.entry(stream).or_default().push_back((data, fin));
        Ok(())
    }

    /// Tries again what waits. Called when the connection heard from its peer. False when nothing
    /// waited.
    pub(super) fn retry(&mut self, connection: &mut Carrier<'_>) -> bool {
        if self.backlog.is_empty() {
            return false;
        }
        // Streams open in the order of their ids.
        let mut streams: SmallVec<[StreamId; 8]> = self.backlog.keys().copied().collect();
        streams.sort_unstable();
        for stream in streams {
            self.retry_stream(connection, stream);
        }
        true
    }

    fn retry_stream(&mut self, connection: &mut Carrier<'_>, stream: StreamId) {
        let Some(queue) = self.backlog.get_mut(&stream) else {
            return;
        };
        while let Some((data, fin)) = queue.front_mut() {
            match connection.write(stream, data.clone(), *fin) {
                Written::All => {
                    self.backlog_bytes -= data.len() + BACKLOG_ENTRY_BYTES;
                    queue.pop_front();
                }
                Written::Partial(taken) => {
                    self.backlog_bytes -= taken;
                    drop(data.split_to(taken));
                    return;
                }
                Written::Blocked | Written::NoStreamCredit => return,
                Written::Stopped(_) => return self.forget(stream),
            }
        }
        self.backlog.remove(&stream);
    }

    /// Whether so much waits that announcements had better wait too.
    pub(super) fn is_backed_up(&self) -> bool {
        self.backlog_bytes > ANNOUNCE_BACKLOG_MAX
    }

    /// Drops what waits for a stream that is closed.
    pub(super) fn forget(&mut self, stream: StreamId) {
        for (data, _) in self.backlog.remove(&stream).unwrap_or_default() {
            self.backlog_bytes -= data.len() + BACKLOG_ENTRY_BYTES;
        }
        self.heads.retain(|(head, _)| *head != stream);
        self.unused = self.unused.filter(|unused| *unused != stream);
    }

    /// Writes the rest of a group header that was taken in part.
    fn flush_head(&mut self, connection: &mut Carrier<'_>, stream: StreamId) -> Written {
        let Some(index) = self.heads.iter().position(|(head, _)| *head == stream) else {
            return Written::All;
        };
        let head = &mut self.heads[index].1;
        let written = connection.write(stream, head.clone(), false);
        match written {
            Written::Partial(taken) => drop(head.split_to(taken)),
            Written::Blocked | Written::NoStreamCredit => {}
            Written::All | Written::Stopped(_) => drop(self.heads.swap_remove(index)),
        }
        written
    }
}

/// The egress scheduler's view of one connection, for one pumping.
pub(super) struct Transport<'a> {
    connection: Carrier<'a>,
    peer: &'a mut Peer,
    pub(super) sent: Sent,
    is_blocked: bool,
}

/// What one pumping put on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    pub(super) groups: u64,
    pub(super) datagrams: u64,
}

impl<'a> Transport<'a> {
    pub(super) fn new(connection: Carrier<'a>, peer: &'a mut Peer) -> Self {
        Self {
            connection,
            peer,
            sent: Sent::default(),
            is_blocked: false,
        }
    }
}

impl routing::Transport for Transport<'_> {
    fn open_group(&mut self, header: &GroupHeader, bytes: Bytes, fin: bool) -> Option<(StreamId, Written)> {
        let outbox = &mut self.peer.outbox;
        let stream = match outbox.unused.take() {
            Some(stream) => stream,
            None if self.connection.has_uni_credit() => self.peer.session.open_uni(),
            None => return None,
        };
        let is_joined = bytes.len() <= JOINED_BYTES_MAX;
        let joined_bytes = if is_joined { bytes.len() } else { 0 };
        let mut head = BytesMut::with_capacity(GROUP_HEAD_BYTES + joined_bytes);
        self.peer.session.group_header(header, &mut head);
        let head_bytes = head.len();
        head.extend_from_slice(&bytes[..joined_bytes]);
        let mut head = head.freeze();
        let written = match self.connection.write(stream, head.clone(), fin && is_joined) {
            Written::All if is_joined => Written::All,
            Written::All => self.write(stream, bytes, fin),
            Written::Partial(0) | Written::Blocked | Written::NoStreamCredit => {
                self.is_blocked = true;
                outbox.unused = Some(stream);
                return None;
            }
            Written::Partial(taken) if taken < head_bytes => {
                // The next would fare no better, and heads that wait are few.
                self.is_blocked = true;
                head.truncate(head_bytes);
                outbox.heads.push((stream, head.split_off(taken)));
                Written::Partial(0)
            }
            Written::Partial(taken) => Written::Partial(taken - head_bytes),
            stopped @ Written::Stopped(_) => stopped,
        };
        self.sent.groups += 1;
        if is_joined {
            self.sent.bytes += match written {
                Written::All => joined_bytes as u64,
                Written::Partial(taken) => taken as u64,
                Written::Blocked | Written::NoStreamCredit | Written::Stopped(_) => 0,
            };
        }
        Some((stream, written))
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        let length = bytes.len();
        let head = self.peer.outbox.flush_head(&mut self.connection, stream);
        let written = match head {
            Written::All => self.connection.write(stream, bytes, fin),
            Written::Partial(_) => Written::Partial(0),
            other => other,
        };
        match written {
            Written::All => self.sent.bytes += length as u64,
            Written::Partial(taken) => self.sent.bytes += taken as u64,
            Written::Blocked | Written::NoStreamCredit => self.is_blocked = true,
            Written::Stopped(_) => {}
        }
        written
    }

    fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.peer.outbox.forget(stream);
        self.connection.reset(stream, code);
    }

    fn datagram(&mut self, header: &DatagramHeader, payload: &Bytes) -> DatagramSent {
        let mut body = BytesMut::with_capacity(GROUP_HEAD_BYTES + payload.len());
        body.extend_from_slice(self.connection.datagram_head());
        if header.encode(self.peer.session.version(), &mut body).is_err() {
            return DatagramSent::TooLarge;
        }
        body.extend_from_slice(payload);
        if self.connection.datagram_bytes_max().is_none_or(|max| body.len() > max) {
            return DatagramSent::TooLarge;
        }
        if !self.connection.send_datagram(body.freeze()) {
            return DatagramSent::Full;
        }
        self.sent.datagrams += 1;
        self.sent.bytes += payload.len() as u64;
        DatagramSent::Sent
    }

    fn connection_blocked(&self) -> bool {
        self.is_blocked
    }
}

/// The same index and generation name a connection and the session on it.
pub(super) fn peer_key(key: crate::quic::ConnectionKey) -> PeerKey {
    PeerKey {
        index: key.index,
        generation: key.generation,
    }
}

pub(super) fn connection_key(key: PeerKey) -> crate::quic::ConnectionKey {
    crate::quic::ConnectionKey {
        index: key.index,
        generation: key.generation,
    }
}

/// Control bytes that may wait for one peer. A peer that lets more pile up is closed.
pub(super) const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// Control bytes beyond which announcements wait with the announcer instead.
const ANNOUNCE_BACKLOG_MAX: usize = 64 * 1024;

/// What a waiting write costs beside its bytes.
const BACKLOG_ENTRY_BYTES: usize = 64;

/// Stream type, length and three varints, or the three varints of a datagram.
const GROUP_HEAD_BYTES: usize = 32;

/// First bytes of a group up to so many are copied behind its header: one buffer less for quiche to
/// keep until it is acknowledged costs less than the copy.
const JOINED_BYTES_MAX: usize = 512;

/// For a session that is closed because it did not read what it asked for.
pub(super) const BACKLOG_CODE: ErrorCode = session_error::CONTROL_TIMEOUT;
