//! What an application may do on its shard.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;

use moqswitch_proto::wire::{
    Advertisement, BroadcastPath, ErrorCode, GroupRange, GroupSequence, StreamId, Subscribe, SubscribeId, TrackName,
};

use crate::limits::{LOCAL_DERIVATIONS_MAX, LOCAL_PEERS_MAX, LOCAL_REQUESTS_MAX, LOCAL_TRACKS_MAX};
use crate::net::{AddSocketError, SocketId};
use crate::routing::{Holder, PeerKey, RequestKey, ShardId};
use crate::shard::feed::FeedEvent;
use crate::shard::service::{DEFAULT_COST, assigned_hop};
use crate::shard::worker::Shard;

use super::frames::{Delivery, LocalGroup};
use super::peer::{self, LOCAL_DRAFT, LocalPeer, LocalTrack, Request, Subscription};

/// The shard, lent to an application for one call.
pub struct Host<'a> {
    pub(super) shard: &'a mut Shard,
    pub(super) application: usize,
    /// The application is over when the call returns.
    pub(super) is_ended: bool,
}

/// What a peer subscribes to.
#[derive(Clone, Debug)]
pub struct LocalSubscription {
    /// The full path.
    pub broadcast: BroadcastPath,
    /// The name of the track.
    pub track: TrackName,
    /// Against the peer's other subscriptions, higher first.
    pub priority: u8,
    /// The oldest group first. Otherwise the newest is, when several wait.
    pub ordered: bool,
    /// How long a group that is not the latest is of use. Zero: as long as it is cached.
    pub max_latency: Duration,
    /// Which groups. By default from the latest on.
    pub range: GroupRange,
    /// Given back with each event of the subscription.
    pub tag: u64,
}

/// A group of one frame.
#[derive(Clone, Debug)]
pub struct LocalFrame {
    /// Its number, above those of the track before it.
    pub group: GroupSequence,
    /// In units of the track's timescale.
    pub timestamp: u64,
    /// What is sent.
    pub payload: Bytes,
}

/// Why a host refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// The shard has no such peer, or it is another application's.
    #[error("the shard has no such local peer")]
    UnknownPeer,
    /// The shard has as many as it may.
    #[error("the shard has its maximum of {LOCAL_PEERS_MAX} local peers")]
    TooManyPeers,
    /// A broadcast has more tracks than one may.
    #[error("a broadcast of a local peer has at most {LOCAL_TRACKS_MAX} tracks")]
    TooManyTracks,
    /// The peer subscribes to and watches as much as it may.
    #[error("a local peer has at most {LOCAL_REQUESTS_MAX} requests")]
    TooManyRequests,
    /// The peer makes tracks of as many prefixes as it may.
    #[error("a local peer derives tracks of at most {LOCAL_DERIVATIONS_MAX} prefixes")]
    TooManyDerivations,
    /// The relay knows as many broadcasts as it may, or the path is longer than one may be.
    #[error("the broadcast cannot be announced")]
    NotAnnounced,
}

impl Host<'_> {
    /// When the turn began.
    pub fn now(&self) -> Instant {
        self.shard.now
    }

    /// Which shard this is.
    pub fn shard(&self) -> ShardId {
        self.shard.options.id
    }

    /// A copy of bytes that were lent, in memory that many such copies share.
    pub fn copy(&mut self, bytes: &[u8]) -> Bytes {
        self.shard.arena.copy(bytes)
    }

    /// A peer that publishes and subscribes nothing yet.
    pub fn open_peer(&mut self) -> Result<PeerKey, LocalError> {
        let locals = &mut self.shard.locals;
        if locals.peers.len() >= LOCAL_PEERS_MAX {
            return Err(LocalError::TooManyPeers);
        }
        let key = peer::key(locals.opened);
        locals.opened += 1;
        locals
            .peers
            .insert(key, LocalPeer::new(self.application, assigned_hop()));
        self.shard.tracks.handle_peer(key, LOCAL_DRAFT, true);
        Ok(key)
    }

    /// Ends a peer, and all that it publishes and subscribes. Nothing more is told of it, but for what this turn had for
    /// the application already: use its tags again in a later turn.
    pub fn close_peer(&mut self, peer: PeerKey) {
        if self.peer(peer).is_ok() {
            self.shard.remove_local(peer);
        }
    }

    /// Announces a broadcast with the tracks that it may be asked for. Published already, it gets these tracks in place
    /// of those that it had; subscriptions of one that is not among them go on.
    pub fn publish(&mut self, peer: PeerKey, path: &BroadcastPath, tracks: Vec<LocalTrack>) -> Result<(), LocalError> {
        let source = self.shard.session_of(peer);
        let state = self.peer(peer)?;
        if tracks.len() > LOCAL_TRACKS_MAX {
            return Err(LocalError::TooManyTracks);
        }
        if !path.is_within_limits() {
            return Err(LocalError::NotAnnounced);
        }
        let hop = state.hop;
        if let Some(offered) = state.offers.get_mut(path) {
            *offered = tracks;
            return Ok(());
        }
        let advertisement = Advertisement {
            hops: vec![hop],
            ..Advertisement::default()
        };
        self.shard
            .table
            .insert(path, source, Holder::OURS, advertisement, DEFAULT_COST)
            .map_err(|_| LocalError::NotAnnounced)?;
        self.peer(peer)?.offers.insert(path.clone(), tracks);
        self.shard.changed_here(path);
        let path = path.clone();
        self.shard
            .report(|session| FeedEvent::Published { session, path }, peer);
        Ok(())
    }

    /// Withdraws a broadcast. Its subscribers get what is in the cache, and no more.
    pub fn unpublish(&mut self, peer: PeerKey, path: &BroadcastPath) {
        let is_published = self.peer(peer).is_ok_and(|state| state.offers.remove(path).is_some());
        if is_published {
            self.shard.withdraw_local(peer, path);
        }
    }

    /// Makes tracks of others' broadcasts: whoever subscribes to one of these names, of a broadcast at or below the prefix
    /// whose publisher is on this shard, is served by the peer instead of the publisher. `Wanted` says of which broadcast.
    /// Where the publisher has a track of that name itself, nobody gets it. Nothing is announced by this. If several peers
    /// make the same, the first one does.
    pub fn derive(&mut self, peer: PeerKey, prefix: &BroadcastPath, tracks: Vec<LocalTrack>) -> Result<(), LocalError> {
        let state = self.peer(peer)?;
        if tracks.len() > LOCAL_TRACKS_MAX {
            return Err(LocalError::TooManyTracks);
        }
        if state.derives.len() >= LOCAL_DERIVATIONS_MAX {
            return Err(LocalError::TooManyDerivations);
        }
        let names = tracks.iter().map(|track| track.name.clone()).collect();
        state.derives.push((prefix.clone(), tracks));
        self.shard.tracks.handle_derived(peer, prefix.clone(), names);
        Ok(())
    }

    /// Ends a track that somebody wants: all who do are told the code, or, without one, that this was all of it.
    /// `Unwanted` does not come any more.
    pub fn close_track(&mut self, peer: PeerKey, id: SubscribeId, code: Option<ErrorCode>) {
        if self.peer(peer).is_ok_and(|state| state.wanted.remove(&id).is_some()) {
            self.shard.tracks.handle_upstream_closed(peer, id, code);
        }
    }

    /// Subscribes to a track. `Closed` comes when there is no such broadcast at present; a watch tells when there is.
    pub fn subscribe(&mut self, peer: PeerKey, wanted: &LocalSubscription) -> Result<SubscribeId, LocalError> {
        let state = self.peer_with_room(peer)?;
        let hop = state.hop;
        let id = SubscribeId(state.next_id());
        let request = StreamId(state.next_id());
        let info = StreamId(state.next_id());
        state.requests.insert(request, Request::Subscription(id));
        state.requests.insert(info, Request::Info(id));
        let subscription = Subscription {
            tag: wanted.tag,
            request,
            info: Some(info),
        };
        state.subscriptions.insert(id, subscription);
        let route = self.shard.announcer.route(&wanted.broadcast, peer, hop);
        let source = route.map(|route| route.source);
        let message = Subscribe {
            id,
            broadcast: wanted.broadcast.clone(),
            track: wanted.track.clone(),
            epoch: 0,
            priority: wanted.priority,
            ordered: wanted.ordered,
            max_latency_ms: u64::try_from(wanted.max_latency.as_millis()).unwrap_or(u64::MAX),
            range: wanted.range,
        };
        let now = self.shard.now;
        let tracks = &mut self.shard.tracks;
        tracks.handle_subscribe(RequestKey { peer, request }, hop, &message, source);
        tracks.handle_track(peer, info, &wanted.broadcast, &wanted.track, source, now);
        Ok(id)
    }

    /// Ends a subscription. Nothing more is told of it, but for what this turn had for the application already: use its
    /// tag again in a later turn.
    pub fn unsubscribe(&mut self, peer: PeerKey, id: SubscribeId) {
        let now = self.shard.now;
        let Ok(state) = self.peer(peer) else { return };
        if let Some(subscription) = state.remove_subscription(id) {
            let tracks = &mut self.shard.tracks;
            tracks.handle_subscribe_ended(peer, subscription.request, now);
            if let Some(info) = subscription.info {
                tracks.handle_track_ended(peer, info, now);
            }
        }
    }

    /// Hears of broadcasts at and below a prefix, first of those that are there. Those of the peer itself are left out.
    pub fn watch(&mut self, peer: PeerKey, prefix: &BroadcastPath, tag: u64) -> Result<StreamId, LocalError> {
        let state = self.peer_with_room(peer)?;
        let hop = state.hop;
        let request = StreamId(state.next_id());
        state.requests.insert(
            request,
            Request::Watch {
                tag,
                prefix: prefix.clone(),
            },
        );
        let begun = self
            .shard
            .announcer
            .handle_request(peer, request, prefix.clone(), hop, false, None);
        if begun.is_err() {
            self.peer(peer)?.requests.remove(&request);
            return Err(LocalError::TooManyRequests);
        }
        Ok(request)
    }

    /// Ends what [`Self::watch`] began.
    pub fn unwatch(&mut self, peer: PeerKey, watch: StreamId) {
        let Ok(state) = self.peer(peer) else { return };
        if let Some(Request::Watch { .. }) = state.requests.get(&watch) {
            state.requests.remove(&watch);
            self.shard.announcer.handle_request_ended(peer, watch);
        }
    }

    /// Sends a group of one frame to all who want the track. False when nobody does. A group that the track has had is
    /// dropped; of one that is to be a stream that is told by false, too.
    pub fn send(&mut self, peer: PeerKey, id: SubscribeId, frame: LocalFrame, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Datagram => self.send_datagram(peer, id, frame),
            Delivery::Stream => {
                let Some(mut group) = self.begin_group(peer, id, frame.group) else {
                    return false;
                };
                self.write(&mut group, frame.timestamp, &frame.payload);
                self.end_group(group);
                true
            }
        }
    }

    /// Begins a group of several frames. `None` when nobody wants the track, or it has had the group.
    pub fn begin_group(&mut self, peer: PeerKey, id: SubscribeId, group: GroupSequence) -> Option<LocalGroup> {
        self.peer(peer).ok()?.wanted.get(&id)?;
        let now = self.shard.now;
        let token = self.shard.tracks.group_started(peer, id, group, now)?;
        self.shard.statistics.media.groups_in += 1;
        Some(LocalGroup::new(token))
    }

    /// Adds a frame to a group.
    pub fn write(&mut self, group: &mut LocalGroup, timestamp: u64, payload: &Bytes) {
        let media = &mut self.shard.statistics.media;
        media.frames_in += 1;
        media.bytes_in += payload.len() as u64;
        for chunk in group.frames.push(timestamp, payload) {
            self.shard.tracks.group_chunk(group.token, chunk);
        }
    }

    /// The group is whole.
    pub fn end_group(&mut self, group: LocalGroup) {
        self.shard.tracks.group_ended(group.token);
    }

    /// The group will not be whole: its subscribers are told the code.
    pub fn abort_group(&mut self, group: LocalGroup, code: ErrorCode) {
        self.shard.tracks.group_reset(group.token, code);
    }

    /// Gives a peer no media until it is resumed. Groups wait in the cache, and go when they are too old for the
    /// subscription or the cache is full; datagrams are dropped.
    pub fn pause(&mut self, peer: PeerKey) {
        if let Ok(state) = self.peer(peer) {
            state.is_paused = true;
        }
    }

    /// Gives a peer media again.
    pub fn resume(&mut self, peer: PeerKey) {
        if let Ok(state) = self.peer(peer) {
            state.is_paused = false;
            self.shard.tracks.handle_progress(peer);
        }
    }

    /// Serves a UDP socket in the shard's ring. What it receives comes by
    /// [`Application::handle_datagram`](super::Application::handle_datagram).
    pub fn add_socket(&mut self, socket: UdpSocket) -> Result<SocketId, AddSocketError> {
        let id = self.shard.ring.add_socket(socket)?;
        self.shard.locals.sockets.insert(id, self.application);
        Ok(id)
    }

    /// Closes a socket. What was sent on it leaves; what it received and was not told is dropped.
    pub fn remove_socket(&mut self, socket: SocketId) {
        if self.owns(socket) {
            self.shard.locals.sockets.remove(&socket);
            self.shard.ring.remove_socket(socket);
        }
    }

    /// Connects a socket, which makes sending to `peer` cheaper and receives from nobody else from then on: what came
    /// before is still told.
    pub fn connect_socket(&mut self, socket: SocketId, peer: SocketAddr) -> io::Result<()> {
        if !self.owns(socket) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.shard.ring.connect_socket(socket, peer)
    }

    /// The address that a socket is bound to.
    pub fn socket_address(&self, socket: SocketId) -> io::Result<SocketAddr> {
        if !self.owns(socket) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.shard.ring.socket_local_addr(socket)
    }

    /// Sends a datagram with the packets of this turn, from the address `source` if the socket has several. One that
    /// finds no buffer is dropped and counted.
    pub fn send_on(&mut self, socket: SocketId, payload: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        if self.owns(socket) {
            self.shard.ring.send_on(socket, payload, destination, source);
        }
    }

    /// Ends the application when the call returns: its peers are closed and its sockets removed.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    fn owns(&self, socket: SocketId) -> bool {
        self.shard.locals.sockets.get(&socket) == Some(&self.application)
    }

    fn send_datagram(&mut self, peer: PeerKey, id: SubscribeId, frame: LocalFrame) -> bool {
        if !self.peer(peer).is_ok_and(|state| state.wanted.contains_key(&id)) {
            return false;
        }
        let media = &mut self.shard.statistics.media;
        media.groups_in += 1;
        media.frames_in += 1;
        media.bytes_in += frame.payload.len() as u64;
        let now = self.shard.now;
        self.shard
            .tracks
            .datagram(peer, id, frame.group, frame.timestamp, frame.payload, now);
        true
    }

    fn peer(&mut self, peer: PeerKey) -> Result<&mut LocalPeer, LocalError> {
        let application = self.application;
        self.shard
            .locals
            .peers
            .get_mut(&peer)
            .filter(|state| state.application == application)
            .ok_or(LocalError::UnknownPeer)
    }

    fn peer_with_room(&mut self, peer: PeerKey) -> Result<&mut LocalPeer, LocalError> {
        let state = self.peer(peer)?;
        if state.requests.len() >= LOCAL_REQUESTS_MAX {
            return Err(LocalError::TooManyRequests);
        }
        Ok(state)
    }
}
