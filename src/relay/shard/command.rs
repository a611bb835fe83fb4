//! What the control thread may ask of a shard, and how the shard answers.
//!
//! A `/fetch` of HTTP is a subscriber like any other to routing: a peer without a
//! connection, whose transport collects the frames of one group.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::auth::Grant;
use crate::auth::token::Keys;
use crate::limits::{COUNTS_ASKED_MAX, HTTP_FETCHES_MAX, SHARD_COMMANDS_MAX};
use crate::quic::TlsContext;
use crate::routing::{self, BroadcastCounts, PeerKey, RequestKey, Tracks};
use moqswitch_proto::wire::{
    BroadcastPath, DatagramHeader, DatagramSent, ErrorCode, Fetch, GroupHeader, GroupParser, GroupRange, GroupSequence,
    HopId, StreamId, Subscribe, SubscribeId, Version, Written,
};

use super::authority::Decision;
use super::grants::UnknownSession;
use super::link::Attachment;
use super::local::{Installation, TooManyApplications};
use super::mesh::{LinkDial, LinkView};
use super::statistics::ShardSnapshot;
use super::web::{WebResponse, WebStream};
use super::worker::{Shard, ShardLimits};

/// A shard answers by sending on the enclosed channel, which never waits.
#[derive(Debug)]
pub enum ShardCommand {
    /// Say what the shard has counted. All who ask in one turn get the same.
    Snapshot(oneshot::Sender<ShardSnapshot>),
    /// Get one group, from the cache or from its publisher.
    Fetch(FetchRequest),
    /// Answers a request over HTTP/3.
    Respond {
        /// The stream of the request.
        at: WebStream,
        /// What it is answered.
        response: WebResponse,
    },
    /// Take on a WebSocket connection. Not answered: the link's ends see each other.
    Attach(Box<Attachment>),
    /// Replace what a session may do. What the new grant does not cover has ended when the answer comes.
    SetGrant {
        /// Which session of this shard.
        session: PeerKey,
        /// What it may do from now on.
        grant: Arc<Grant>,
        /// Told when it has been done, or that the shard has no such session.
        reply: oneshot::Sender<Result<(), UnknownSession>>,
    },
    /// Tell by the feed which sessions of devices there are, see [`FeedEvent::Devices`](super::FeedEvent::Devices). For a
    /// reader that has lost something.
    ListDevices,
    /// What an auth server decided on a session, see [`AdmissionRequest`](super::AdmissionRequest).
    Decide {
        /// Which session of this shard.
        session: PeerKey,
        /// What becomes of it.
        decision: Decision,
        /// Told when it has been done, or that the shard has no such session.
        reply: oneshot::Sender<Result<(), UnknownSession>>,
    },
    /// Say what was counted of these broadcasts on this shard, and begin anew: see
    /// [`RelayOptions::devices`](crate::RelayOptions::devices) for which are counted.
    TakeCounts {
        /// Their full paths. At most [`COUNTS_ASKED_MAX`](crate::limits::COUNTS_ASKED_MAX); nothing is said of further ones.
        broadcasts: Arc<[BroadcastPath]>,
        /// Told for each, in their order. One that the shard knows nothing of has counts of zero.
        reply: oneshot::Sender<Vec<BroadcastCounts>>,
    },
    /// Say of which broadcasts, of those that are counted, something came from publishers of this shard since the last time
    /// that this was asked.
    TakeFlowing(oneshot::Sender<Vec<BroadcastPath>>),
    /// Run an application, whose peers are local to the shard.
    Install {
        /// What makes it.
        application: Installation,
        /// Told when it is there, or that the shard has no room for it.
        reply: oneshot::Sender<Result<(), TooManyApplications>>,
    },
    /// Dial another relay of the mesh. What comes of it is told by [`LinkDial::ended`].
    Dial(Box<LinkDial>),
    /// End the link that was dialled by this name, if there is one.
    HangUp(Arc<str>),
    /// Whether this relay is of a mesh from now on. Announcements that are there stay believed, or not, as they were.
    SetMesh(bool),
    /// Say which other relays there are sessions with.
    ListLinks(oneshot::Sender<Vec<LinkView>>),
    /// Check the tokens of sessions that begin by other keys from now on; `None`: there are no tokens any more. Sessions
    /// whose token was signed by a key that is not among them end within the next turns; others keep what they were
    /// granted.
    ReplaceKeys(Option<Arc<Keys>>),
    /// Grant something else from now on to sessions that begin without a token. Sessions that are there keep what they
    /// were granted.
    ReplacePublic(Arc<Grant>),
    /// Accept connections with other certificates from now on.
    ReplaceCertificates(Box<TlsContext>),
    /// Hold to other bounds from now on. The certificates are those in force: what connections declare is laid down with
    /// them.
    ReplaceLimits(Box<(ShardLimits, TlsContext)>),
    /// Another process takes what comes: send GOAWAY to every session, those that begin from now on included, and go on until
    /// told to drain.
    Retire,
    /// The other process is gone: sessions that begin from now on may stay.
    Resume,
    /// Send GOAWAY to every session and close what is left at the deadline.
    Drain {
        /// When connections that are still there are closed.
        deadline: Instant,
    },
}

/// Asks a shard for one group, as `GET /fetch` does.
#[derive(Debug)]
pub struct FetchRequest {
    /// Normalised path: segments joined by single slashes.
    pub broadcast: String,
    /// The name of the track.
    pub track: String,
    /// Which group of it.
    pub group: FetchGroup,
    /// Nobody waits for the reply after this.
    pub deadline: Instant,
    /// Where the answer goes. When nobody waits there any more, it is dropped.
    pub reply: oneshot::Sender<Result<FetchReply, FetchError>>,
}

/// Which group is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchGroup {
    /// The newest one that there is.
    Latest,
    /// The one with this number.
    Sequence(u64),
}

/// One complete group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchReply {
    /// The number of the group.
    pub group_sequence: u64,
    /// Frame payloads in order; a payload may be in several pieces.
    pub payload: Vec<Bytes>,
}

/// Why a group is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// No such broadcast, track or group.
    NotFound,
    /// The group did not arrive before the deadline.
    Timeout,
    /// The shard is at one of its limits.
    Busy,
    /// The publisher reset the stream.
    Failed,
}

/// Fetches of HTTP in progress.
#[derive(Default)]
pub(super) struct Fetches {
    pending: FxHashMap<PeerKey, Collector>,
    started: u32,
}

/// Stands where a connection would, and keeps what it is given.
struct Collector {
    reply: oneshot::Sender<Result<FetchReply, FetchError>>,
    deadline: Instant,
    parser: GroupParser,
    group: Option<GroupSequence>,
    payload: Vec<Bytes>,
    outcome: Option<Result<(), FetchError>>,
}

impl Shard {
    pub(super) fn handle_commands(&mut self) -> usize {
        // Cheaper than to take from an empty one.
        if self.commands.is_empty() {
            return 0;
        }
        let mut handled = 0;
        let mut snapshot = None;
        while handled < SHARD_COMMANDS_MAX
            && let Some(command) = self.commands.pop()
        {
            handled += 1;
            match command {
                ShardCommand::Snapshot(reply) => {
                    // All who ask in one turn are told the same, for the price of one.
                    let snapshot = snapshot.get_or_insert_with(|| self.take_snapshot());
                    // The asker may have gone; then nobody needs the answer.
                    drop(reply.send(snapshot.clone()));
                }
                ShardCommand::Fetch(request) => self.begin_fetch(request),
                ShardCommand::Respond { at, response } => self.respond(at, &response),
                // A shard that drains drops it, which closes it.
                ShardCommand::Attach(_) if self.drain_deadline.is_some() => {}
                ShardCommand::Attach(attachment) => self.websockets.attach(*attachment),
                ShardCommand::SetGrant { session, grant, reply } => {
                    // The asker may have gone; then nobody needs the answer.
                    let _ = reply.send(self.set_grant(session, grant));
                }
                ShardCommand::ListDevices => self.list_devices(),
                ShardCommand::Decide {
                    session,
                    decision,
                    reply,
                } => {
                    // As above.
                    let _ = reply.send(self.decide(session, decision));
                }
                ShardCommand::TakeCounts { broadcasts, reply } => {
                    let asked = broadcasts.iter().take(COUNTS_ASKED_MAX);
                    let counts = asked.map(|path| self.tracks.take_counts(path)).collect();
                    // As above.
                    let _ = reply.send(counts);
                }
                ShardCommand::TakeFlowing(reply) => {
                    // Who asked and is gone misses a sign of life, as everybody may.
                    let _ = reply.send(self.tracks.take_flowing());
                }
                ShardCommand::Install { application, reply } => {
                    // The asker may have gone; the application is there all the same.
                    let _ = reply.send(self.install(application));
                }
                ShardCommand::Dial(dial) => self.dial(*dial),
                ShardCommand::HangUp(name) => self.hang_up(&name),
                ShardCommand::SetMesh(is_one) => self.options.mesh = is_one,
                ShardCommand::ListLinks(reply) => {
                    // As above.
                    let _ = reply.send(self.list_links());
                }
                ShardCommand::ReplaceKeys(keys) => self.replace_keys(keys),
                ShardCommand::ReplacePublic(public) => {
                    self.options.policy = self.options.policy.clone().with_public(public);
                }
                ShardCommand::ReplaceCertificates(tls) => {
                    if let Err(error) = self.endpoint.replace_certificates(*tls) {
                        tracing::error!(shard = self.options.id.0, %error, "the certificates stay as they are");
                    }
                }
                ShardCommand::ReplaceLimits(replacement) => {
                    let (limits, tls) = *replacement;
                    self.replace_limits(limits, tls);
                }
                ShardCommand::Retire => self.retire(),
                ShardCommand::Resume => self.is_retiring = false,
                ShardCommand::Drain { deadline } => self.begin_drain(deadline),
            }
        }
        handled
    }

    fn replace_limits(&mut self, limits: ShardLimits, tls: TlsContext) {
        if let Err(error) = self
            .endpoint
            .replace_limits(limits.connections_max, limits.transport, tls)
        {
            tracing::error!(shard = self.options.id.0, %error, "the limits stay as they are");
            return;
        }
        self.options.sessions = limits.sessions;
        self.websockets.set_options(limits.qmux);
    }

    fn begin_fetch(&mut self, request: FetchRequest) {
        if self.fetches.pending.len() >= HTTP_FETCHES_MAX {
            drop(request.reply.send(Err(FetchError::Busy)));
            return;
        }
        let broadcast = BroadcastPath::new(&request.broadcast);
        let peer = self.fetches.next_peer();
        let Some(source) = self
            .announcer
            .route(&broadcast, peer, HopId::UNKNOWN)
            .map(|route| route.source)
        else {
            drop(request.reply.send(Err(FetchError::NotFound)));
            return;
        };
        let track = request.track.as_str().into();
        let wanted = request.group;
        self.fetches.pending.insert(peer, Collector::new(request));
        self.tracks.handle_peer(peer, COLLECTOR_DRAFT, false);
        match wanted {
            FetchGroup::Latest => self.tracks.handle_subscribe(
                RequestKey { peer, request: REQUEST },
                HopId::UNKNOWN,
                &Subscribe {
                    id: SubscribeId(0),
                    broadcast,
                    track,
                    epoch: 0,
                    priority: 0,
                    ordered: false,
                    max_latency_ms: 0,
                    range: GroupRange::default(),
                },
                Some(source),
            ),
            FetchGroup::Sequence(group) => self.tracks.handle_fetch(
                peer,
                REQUEST,
                &Fetch {
                    broadcast,
                    track,
                    epoch: 0,
                    priority: 0,
                    group: GroupSequence(group),
                    frame_start: 0,
                    frame_end: None,
                },
                Some(source),
            ),
        }
    }
}

impl Fetches {
    /// A key that no connection has: indices of connections are far below.
    fn next_peer(&mut self) -> PeerKey {
        self.started = self.started.wrapping_add(1);
        PeerKey {
            index: u32::MAX,
            generation: self.started,
        }
    }

    /// Pumps a fetch; false when `peer` is a connection.
    pub(super) fn pump(&mut self, peer: PeerKey, now: Instant, tracks: &mut Tracks) -> bool {
        if peer.index != u32::MAX {
            return false;
        }
        if let Some(collector) = self.pending.get_mut(&peer) {
            tracks.pump(peer, collector);
        }
        self.conclude(peer, tracks, now);
        true
    }

    /// Routing refused the request behind a fetch.
    pub(super) fn on_refused(&mut self, peer: PeerKey, tracks: &mut Tracks, now: Instant) {
        if let Some(collector) = self.pending.get_mut(&peer) {
            collector.outcome.get_or_insert(Err(FetchError::NotFound));
        }
        self.conclude(peer, tracks, now);
    }

    /// Gives up on fetches that took too long.
    pub(super) fn expire(&mut self, now: Instant, tracks: &mut Tracks) {
        let late: Vec<PeerKey> = self
            .pending
            .iter()
            .filter(|(_, collector)| collector.deadline <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            if let Some(collector) = self.pending.get_mut(&peer) {
                collector.outcome.get_or_insert(Err(FetchError::Timeout));
            }
            self.conclude(peer, tracks, now);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.pending.values().map(|collector| collector.deadline).min()
    }

    /// Answers a fetch whose outcome is known.
    fn conclude(&mut self, peer: PeerKey, tracks: &mut Tracks, now: Instant) {
        if self
            .pending
            .get(&peer)
            .is_none_or(|collector| collector.outcome.is_none())
        {
            return;
        }
        tracks.handle_peer_gone(peer, now);
        let Some(collector) = self.pending.remove(&peer) else {
            return;
        };
        let result = match collector.outcome {
            Some(Ok(())) => Ok(FetchReply {
                group_sequence: collector.group.unwrap_or_default().0,
                payload: collector.payload,
            }),
            Some(Err(error)) => Err(error),
            None => return,
        };
        // The asker may have gone; then nobody needs the answer.
        drop(collector.reply.send(result));
    }
}

impl Collector {
    fn new(request: FetchRequest) -> Self {
        Self {
            reply: request.reply,
            deadline: request.deadline,
            parser: GroupParser::new(COLLECTOR_DRAFT.frame_form()),
            group: match request.group {
                FetchGroup::Latest => None,
                FetchGroup::Sequence(group) => Some(GroupSequence(group)),
            },
            payload: Vec::new(),
            outcome: None,
        }
    }

    /// Keeps the payload in a piece of the group, without its frame headers.
    fn collect(&mut self, bytes: Bytes) -> Result<(), FetchError> {
        let chunk = self.parser.push(bytes, 0).map_err(|_| FetchError::Failed)?;
        let Some(chunk) = chunk else { return Ok(()) };
        let mut at = 0;
        for mark in &chunk.marks {
            let header = mark.offset as usize;
            self.payload.push(chunk.bytes.slice(at..header));
            at = header + usize::from(mark.header_bytes);
        }
        self.payload.push(chunk.bytes.slice(at..));
        self.payload.retain(|piece| !piece.is_empty());
        Ok(())
    }
}

impl routing::Transport for Collector {
    fn open_group(&mut self, header: &GroupHeader, bytes: &Bytes, fin: bool) -> Option<(StreamId, Written)> {
        // The first group to come is the latest; no other is wanted.
        if *self.group.get_or_insert(header.sequence) == header.sequence {
            Some((GROUP, self.write(GROUP, bytes.clone(), fin)))
        } else {
            None
        }
    }

    fn write(&mut self, _stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        if let Err(error) = self.collect(bytes) {
            self.outcome.get_or_insert(Err(error));
        }
        if fin {
            self.outcome.get_or_insert(Ok(()));
        }
        Written::All
    }

    fn reset(&mut self, _stream: StreamId, _code: ErrorCode) {
        self.outcome.get_or_insert(Err(FetchError::Failed));
    }

    fn datagram(&mut self, _header: &DatagramHeader, _payload: &Bytes) -> DatagramSent {
        DatagramSent::TooLarge
    }

    fn connection_blocked(&self) -> bool {
        self.outcome.is_some()
    }
}

/// A collector reads plain frames: a size and a payload.
const COLLECTOR_DRAFT: Version = Version::Lite04;

/// Stream ids in a collector's own little world.
const REQUEST: StreamId = StreamId(0);
const GROUP: StreamId = StreamId(3);
