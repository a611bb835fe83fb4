//! One session on this shard: its state machine and what waits for its connection.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::auth::token::KeyPrint;
use crate::auth::{Admission, Grant};
use crate::driver::{self, Backlog, BacklogLimits, Carry};
use crate::quic::Written;
use crate::ratelimit::Bucket;
use crate::routing::{self, PeerKey};
use moqswitch_proto::peer::PeerSession;
use moqswitch_proto::wire::{
    Advertisement, BroadcastPath, DatagramHeader, DatagramSent, ErrorCode, GroupHeader, HopId, StreamId, session_error,
};

use super::authority::SessionEnd;
use super::carrier::Carrier;
use super::publishing::Pace;

/// A session and its surroundings.
pub(super) struct Peer {
    pub(super) session: PeerSession,
    /// Where this session's paths are rooted: the path of its SETUP.
    pub(super) root: BroadcastPath,
    /// What it may do: of the policy, or of whoever has set another since.
    pub(super) grant: Arc<Grant>,
    /// Why it may do that.
    pub(super) basis: Basis,
    /// Nobody has said yet what it may do; until then it is not read.
    pub(super) is_waiting: bool,
    /// Who wants to know when it ends.
    pub(super) ended: Option<oneshot::Sender<SessionEnd>>,
    /// The feed has told of it.
    pub(super) is_reported: bool,
    /// Requests that are not over.
    pub(super) requested: FxHashMap<StreamId, Requested>,
    /// The hop id that the peer declared, else one assigned. Of those who are no peers of the mesh nobody hears it: see
    /// `hop_of`.
    pub(super) hop: HopId,
    /// The peer has said that it is this hop.
    pub(super) is_hop_declared: bool,
    /// A number for the token, certificate or device by which it was let in.
    pub(super) credential: Option<u64>,
    /// The first broadcast that it announced and may not publish, and when, until it has been told.
    pub(super) refused: Option<(Instant, BroadcastPath)>,
    /// It is among those that may have to be told.
    pub(super) is_refusal_queued: bool,
    /// What subscribing from this peer costs (draft, "Cost Parameter").
    pub(super) link_cost: u64,
    /// When its session began.
    pub(super) opened: Instant,
    /// By when the peer must have said what its draft begins with, SETUP or SESSION_CLIENT.
    pub(super) setup_deadline: Instant,
    /// Full paths this peer has in the announce table.
    pub(super) published: FxHashSet<BroadcastPath>,
    /// How fast it gets there.
    pub(super) pace: Pace,
    /// How much it may ask for.
    pub(super) operations: Bucket,
    /// The device that the session is of. Its grant changes with its calls.
    pub(super) device: Option<Arc<str>>,
    /// What a device announces and may not, or not yet: a grant and what it is for come by different ways.
    pub(super) unpublished: FxHashMap<BroadcastPath, Advertisement>,
    /// Probe streams that want reports.
    pub(super) probes: SmallVec<[StreamId; 1]>,
    /// Announce streams that wait for the connection to take more.
    pub(super) waiting_announcements: SmallVec<[StreamId; 1]>,
    /// Control bytes that the connection could not take yet.
    pub(super) backlog: Backlog,
    pub(super) heads: GroupHeads,
}

/// Why a session may do what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// That is what all may, or an embedder said so. The session outlives its grant.
    Open,
    /// A token says so, which was signed by this key. When its grant lapses, or the key is removed, the session is closed.
    Token(KeyPrint),
    /// A certificate of the client says so. When it expires the session is closed.
    Certificate,
    /// The auth server says so. When its grant lapses the session is closed.
    Authority,
    /// It is a process that follows this one.
    Kin,
}

/// On which terms a session is let in.
pub(super) struct Terms<'a> {
    /// Where its paths are rooted.
    pub(super) root: &'a str,
    pub(super) grant: Arc<Grant>,
    pub(super) basis: Basis,
    /// The device that it is of.
    pub(super) device: Option<Arc<str>>,
}

impl<'a> From<Admission<'a>> for Terms<'a> {
    fn from(admission: Admission<'a>) -> Self {
        Self {
            root: admission.root,
            grant: admission.grant,
            basis: match admission.key {
                Some(key) => Basis::Token(key),
                None if admission.is_kin => Basis::Kin,
                None if admission.is_certified => Basis::Certificate,
                None => Basis::Open,
            },
            device: admission.device,
        }
    }
}

/// What a request of the peer is about.
pub(super) struct Requested {
    /// The full path of the broadcast.
    pub(super) path: BroadcastPath,
    pub(super) is_subscription: bool,
}

/// Group headers on their way. Those that the connection took in part are few: the first makes the connection count as blocked.
#[derive(Default)]
pub(super) struct GroupHeads {
    /// Of the newest.
    scratch: BytesMut,
    rests: SmallVec<[(StreamId, Bytes); 2]>,
    /// A stream that was opened for a group when nothing could be written; the next group
    /// takes it.
    unused: Option<StreamId>,
}

impl Peer {
    /// Whether so much waits that announcements had better wait too.
    pub(super) fn is_backed_up(&self) -> bool {
        self.backlog.bytes() > ANNOUNCE_BACKLOG_MAX
    }

    /// Drops what waits for a stream that is closed.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.backlog.forget(stream);
        self.heads.forget(stream);
    }
}

impl GroupHeads {
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.rests.retain(|(rest, _)| *rest != stream);
        self.unused = self.unused.filter(|unused| *unused != stream);
    }

    /// Writes the rest of a group header that was taken in part.
    fn flush(&mut self, connection: &mut Carrier<'_>, stream: StreamId) -> Written {
        let Some(index) = self.rests.iter().position(|(rest, _)| *rest == stream) else {
            return Written::All;
        };
        let rest = &mut self.rests[index].1;
        let written = connection.write(stream, rest.clone(), false);
        match written {
            Written::Partial(taken) => drop(rest.split_to(taken)),
            Written::Blocked | Written::NoStreamCredit => {}
            Written::All | Written::Stopped(_) => drop(self.rests.swap_remove(index)),
        }
        written
    }
}

/// The egress scheduler's view of one connection, for one pumping.
pub(super) struct PeerOutlet<'a> {
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

impl<'a> PeerOutlet<'a> {
    pub(super) fn new(connection: Carrier<'a>, peer: &'a mut Peer) -> Self {
        Self {
            connection,
            peer,
            sent: Sent::default(),
            is_blocked: false,
        }
    }
}

impl routing::Transport for PeerOutlet<'_> {
    fn open_group(&mut self, header: &GroupHeader, bytes: &Bytes, fin: bool) -> Option<(StreamId, Written)> {
        let heads = &mut self.peer.heads;
        let stream = match heads.unused.take() {
            Some(stream) => stream,
            None if self.connection.has_uni_credit() => self.peer.session.open_uni(),
            None => return None,
        };
        let is_joined = bytes.len() <= JOINED_BYTES_MAX;
        let joined_bytes = if is_joined { bytes.len() } else { 0 };
        heads.scratch.clear();
        self.peer.session.group_header(header, &mut heads.scratch);
        let head_bytes = heads.scratch.len();
        // No more than it needs: what is larger is shared by way of one more allocation.
        let mut joined = Vec::with_capacity(head_bytes + joined_bytes);
        joined.extend_from_slice(&heads.scratch);
        joined.extend_from_slice(&bytes[..joined_bytes]);
        let written = match self.connection.write(stream, joined.into(), fin && is_joined) {
            Written::All if is_joined => Written::All,
            Written::All => self.write(stream, bytes.clone(), fin),
            Written::Partial(0) | Written::Blocked | Written::NoStreamCredit => {
                self.is_blocked = true;
                heads.unused = Some(stream);
                return None;
            }
            Written::Partial(taken) if taken < head_bytes => {
                // The next would fare no better, and heads that wait are few.
                self.is_blocked = true;
                let rest = Bytes::copy_from_slice(&heads.scratch[taken..]);
                heads.rests.push((stream, rest));
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
        let head = self.peer.heads.flush(&mut self.connection, stream);
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
        self.peer.forget(stream);
        let code = self.peer.session.reset_code(code);
        self.connection.reset(stream, code);
    }

    fn datagram(&mut self, header: &DatagramHeader, payload: &Bytes) -> DatagramSent {
        let session = &self.peer.session;
        let put_header = |out: &mut BytesMut| session.datagram_header(header, out);
        let sent = driver::send_datagram(&mut self.connection, put_header, payload);
        if sent == DatagramSent::Sent {
            self.sent.datagrams += 1;
            self.sent.bytes += payload.len() as u64;
        }
        sent
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

/// Control bytes that may wait for one peer. A peer that lets more pile up is closed. Control streams are few, and each
/// is tried each time.
pub(super) const BACKLOG: BacklogLimits = BacklogLimits {
    bytes_max: 1024 * 1024,
    refusals_max: usize::MAX,
};

/// Control bytes beyond which announcements wait with the announcer instead.
const ANNOUNCE_BACKLOG_MAX: usize = 64 * 1024;

/// First bytes of a group up to so many are copied behind its header: one buffer less for quiche to
/// keep until it is acknowledged costs less than the copy.
const JOINED_BYTES_MAX: usize = 512;

/// For a session that is closed because it did not read what it asked for.
pub(super) const BACKLOG_CODE: ErrorCode = session_error::CONTROL_TIMEOUT;
