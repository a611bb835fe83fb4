//! The shard's side of local peers: applications get their turn, routing's decisions become events.

use std::collections::VecDeque;
use std::time::Instant;

use rustc_hash::FxHashMap;
use slab::Slab;

use moqswitch_proto::wire::{BroadcastPath, ErrorCode, StreamId, SubscribeId, TrackInfo, TrackName, stream_error};

use crate::limits::{
    APPLICATION_ROUNDS_PER_TURN_MAX, APPLICATIONS_MAX, LOCAL_ANNOUNCEMENTS_PER_TURN_MAX, SOCKET_RECEIVES_PER_TURN_MAX,
};
use crate::net::{SocketEvent, SocketId};
use crate::routing::{Action, AnnounceAction, Demand, PeerKey, RequestKey, TrackKey};
use crate::shard::feed::FeedEvent;
use crate::shard::worker::Shard;

use super::application::{Application, Installation, SocketDatagram, TooManyApplications};
use super::events::LocalEvent;
use super::host::Host;
use super::peer::{LocalOutlet, LocalPeer, Request};

/// The applications of a shard and their peers.
#[derive(Default)]
pub(in crate::shard) struct Locals {
    applications: Slab<Running>,
    pub(super) peers: FxHashMap<PeerKey, LocalPeer>,
    /// Which application's each socket is.
    pub(super) sockets: FxHashMap<SocketId, usize>,
    /// Peers opened so far.
    pub(super) opened: u64,
}

struct Running {
    /// Not here while it is called.
    application: Option<Box<dyn Application>>,
    /// What it has not been told yet; emptied in each turn.
    events: VecDeque<LocalEvent>,
    /// Peers with media among those events.
    given: Vec<PeerKey>,
}

impl Locals {
    /// Something is left to tell or to do, and the shard must not sleep first.
    pub(in crate::shard) fn has_work(&self) -> bool {
        self.applications.iter().any(|(_, running)| {
            let has_work = running.application.as_ref().is_some_and(|one| one.has_work());
            has_work || !running.events.is_empty()
        })
    }

    pub(in crate::shard) fn next_deadline(&self) -> Option<Instant> {
        let running = self.applications.iter();
        running
            .filter_map(|(_, running)| running.application.as_ref()?.next_deadline())
            .min()
    }

    pub(in crate::shard) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    pub(in crate::shard) fn published_count(&self) -> usize {
        self.peers.values().map(|peer| peer.offers.len()).sum()
    }

    fn has_events(&self) -> bool {
        self.applications.iter().any(|(_, running)| !running.events.is_empty())
    }

    fn tell(&mut self, application: usize, event: LocalEvent) {
        if let Some(running) = self.applications.get_mut(application) {
            running.events.push_back(event);
        }
    }
}

impl Shard {
    pub(in crate::shard) fn install(&mut self, installation: Installation) -> Result<(), TooManyApplications> {
        if self.locals.applications.len() >= APPLICATIONS_MAX {
            return Err(TooManyApplications);
        }
        let index = self.locals.applications.insert(Running {
            application: Some(installation.make()),
            events: VecDeque::new(),
            given: Vec::new(),
        });
        if let Some(deadline) = self.drain_deadline {
            self.locals.tell(index, LocalEvent::Draining { deadline });
        }
        Ok(())
    }

    /// Datagrams on sockets of applications, up to a budget.
    pub(in crate::shard) fn receive_on_sockets(&mut self) -> usize {
        if self.locals.sockets.is_empty() {
            return 0;
        }
        let mut receives = 0;
        while receives < SOCKET_RECEIVES_PER_TURN_MAX
            && let Some((socket, mut received)) = self.ring.poll_socket_receive()
        {
            receives += 1;
            let Some(application) = self.locals.sockets.get(&socket).copied() else {
                continue;
            };
            let (source, local, arrived) = (received.source, received.local, received.arrived);
            self.call(application, |called, host| {
                for payload in received.datagrams() {
                    if host.is_ended {
                        break;
                    }
                    let datagram = SocketDatagram {
                        socket,
                        source,
                        local,
                        arrived,
                        payload,
                    };
                    called.handle_datagram(datagram, host);
                }
            });
        }
        while let Some(event) = self.ring.poll_socket_event() {
            let SocketEvent::ReceiveStopped { socket, .. } = event;
            if let Some(application) = self.locals.sockets.get(&socket).copied() {
                self.locals.tell(application, LocalEvent::SocketStopped { socket });
            }
        }
        receives
    }

    /// Each application gets its turn.
    pub(in crate::shard) fn turn_applications(&mut self) {
        for index in 0..self.locals.applications.capacity() {
            let running = self.locals.applications.get(index);
            let application = running.and_then(|running| running.application.as_ref());
            if application.is_some_and(|application| application.wants_turn(self.now)) {
                self.call(index, |application, host| application.handle_turn(host));
            }
        }
    }

    /// Tells applications what came of the turn, and sends what they answer. Returns how much was told.
    pub(in crate::shard) fn tell_applications(&mut self) -> usize {
        let mut told = 0;
        for _ in 0..APPLICATION_ROUNDS_PER_TURN_MAX {
            if !self.locals.has_events() {
                break;
            }
            for index in 0..self.locals.applications.capacity() {
                told += self.tell_application(index);
            }
            self.apply_actions();
            self.announce();
            self.pump();
        }
        told
    }

    fn tell_application(&mut self, index: usize) -> usize {
        let Some(running) = self.locals.applications.get_mut(index) else {
            return 0;
        };
        if running.events.is_empty() {
            return 0;
        }
        let mut events = std::mem::take(&mut running.events);
        let told = events.len();
        self.call(index, |application, host| {
            while !host.is_ended
                && let Some(event) = events.pop_front()
            {
                application.handle(event, host);
            }
        });
        let Locals {
            applications, peers, ..
        } = &mut self.locals;
        let Some(running) = applications.get_mut(index) else {
            return told;
        };
        // What it was told makes room for more.
        for key in running.given.drain(..) {
            if let Some(peer) = peers.get_mut(&key) {
                peer.given = 0;
                self.tracks.handle_progress(key);
            }
        }
        // The queue's memory serves the next turn.
        if running.events.is_empty() {
            running.events = events;
        }
        told
    }

    /// Calls an application, if it is there, and removes it if it has ended.
    fn call(&mut self, index: usize, what: impl FnOnce(&mut dyn Application, &mut Host<'_>)) {
        let running = self.locals.applications.get_mut(index);
        let Some(mut application) = running.and_then(|running| running.application.take()) else {
            return;
        };
        let mut host = Host {
            shard: self,
            application: index,
            is_ended: false,
        };
        what(&mut *application, &mut host);
        if host.is_ended {
            self.remove_application(index);
        } else if let Some(running) = self.locals.applications.get_mut(index) {
            running.application = Some(application);
        }
    }

    fn remove_application(&mut self, index: usize) {
        let peers = self.locals.peers.iter();
        let own: Vec<PeerKey> = peers
            .filter(|(_, peer)| peer.application == index)
            .map(|(key, _)| *key)
            .collect();
        for peer in own {
            self.remove_local(peer);
        }
        let sockets = self.locals.sockets.extract_if(|_, owner| *owner == index);
        let own: Vec<SocketId> = sockets.map(|(socket, _)| socket).collect();
        for socket in own {
            self.ring.remove_socket(socket);
        }
        self.locals.applications.try_remove(index);
    }

    /// Every application is told that the shard will end.
    pub(in crate::shard) fn drain_applications(&mut self, deadline: Instant) {
        for (_, running) in &mut self.locals.applications {
            running.events.push_back(LocalEvent::Draining { deadline });
        }
    }

    pub(super) fn remove_local(&mut self, peer: PeerKey) {
        let Some(state) = self.locals.peers.remove(&peer) else {
            return;
        };
        self.announcer.handle_peer_gone(peer);
        for path in state.offers.keys() {
            self.withdraw_local(peer, path);
        }
        self.tracks.handle_peer_gone(peer, self.now);
    }

    pub(super) fn withdraw_local(&mut self, peer: PeerKey, path: &BroadcastPath) {
        let source = self.session_of(peer);
        self.table.remove(path, source);
        self.changed_here(path);
        let path = path.clone();
        self.report(|session| FeedEvent::Ended { session, path }, peer);
    }

    /// Media to a local peer.
    pub(in crate::shard) fn pump_local(&mut self, peer: PeerKey) {
        let Some(state) = self.locals.peers.get_mut(&peer) else {
            return;
        };
        let Some(running) = self.locals.applications.get_mut(state.application) else {
            return;
        };
        let before = state.given;
        let mut outlet = LocalOutlet {
            peer: state,
            events: &mut running.events,
            groups: 0,
            bytes: 0,
        };
        self.tracks.pump(peer, &mut outlet);
        self.statistics.media.groups_out += outlet.groups;
        self.statistics.media.bytes_out += outlet.bytes;
        if before == 0 && outlet.peer.given > 0 {
            running.given.push(peer);
        }
    }

    /// What a watch of a local peer is told, up to a budget. Returns how much it was.
    pub(in crate::shard) fn announce_local(&mut self, key: RequestKey) -> usize {
        let Some(state) = self.locals.peers.get(&key.peer) else {
            return 0;
        };
        let (application, watch) = (state.application, state.requests.get(&key.request));
        let Some(Request::Watch { tag, prefix }) = watch else {
            return 0;
        };
        let (tag, prefix) = (*tag, prefix.clone());
        let mut told = 0;
        while told < LOCAL_ANNOUNCEMENTS_PER_TURN_MAX
            && let Some(action) = self.announcer.next_action(key)
        {
            told += 1;
            let event = match action {
                AnnounceAction::Ok { .. } => continue,
                AnnounceAction::Announce { suffix, .. } => LocalEvent::Announced {
                    tag,
                    path: prefix.join(&suffix),
                },
                AnnounceAction::Unannounce { suffix, .. } => LocalEvent::Unannounced {
                    tag,
                    path: prefix.join(&suffix),
                },
                AnnounceAction::Reset { .. } => {
                    if let Some(state) = self.locals.peers.get_mut(&key.peer) {
                        state.requests.remove(&key.request);
                    }
                    LocalEvent::WatchClosed { tag }
                }
            };
            self.locals.tell(application, event);
        }
        if told == LOCAL_ANNOUNCEMENTS_PER_TURN_MAX {
            self.announcer.set_ready(key);
        }
        told
    }

    /// What routing wants of a local peer, or answers it.
    pub(in crate::shard) fn apply_local(&mut self, peer: PeerKey, action: Action) {
        match action {
            Action::Subscribe {
                track,
                broadcast,
                name,
                demand,
                ..
            } => {
                self.want_of_local(peer, track, broadcast, &name, demand);
            }
            Action::UpdateSubscription { id, update, .. } => {
                if let Some(tag) = self.wanted_tag(peer, id) {
                    let demand = Demand::of(&update);
                    self.tell_peer(peer, LocalEvent::DemandChanged { tag, demand });
                }
            }
            Action::Unsubscribe { id, .. } => {
                if let Some(tag) = self.wanted_tag(peer, id) {
                    if let Some(state) = self.locals.peers.get_mut(&peer) {
                        state.wanted.remove(&id);
                    }
                    self.tell_peer(peer, LocalEvent::Unwanted { tag, id });
                }
            }
            Action::RequestTrack { track, request, .. } => {
                let offered = self.locals.peers.get_mut(&peer).and_then(|state| {
                    let info = state.offered(&request.broadcast, &request.track)?.info;
                    Some((info, StreamId(state.next_id())))
                });
                let Some((info, stream)) = offered else {
                    return self.tracks.on_track_refused(track, peer, stream_error::NOT_FOUND);
                };
                self.tracks.on_track_requested(track, peer, stream);
                self.tracks.handle_track_info(peer, stream, &info, self.now);
            }
            // What was published is in the cache, or gone.
            Action::Fetch { fetch, .. } => self.tracks.on_fetch_refused(fetch, stream_error::NOT_FOUND),
            Action::Drop {
                request,
                start,
                end,
                code,
                ..
            } => {
                if let Some(tag) = self.subscribed_tag(peer, request) {
                    self.tell_peer(peer, LocalEvent::GroupsDropped { tag, start, end, code });
                }
            }
            Action::TrackInfo { request, info, .. } => self.on_local_info(peer, request, Some(info)),
            Action::Finish { request, .. } => self.on_local_closed(peer, request, None),
            Action::Refuse { request, code, .. } => {
                self.on_local_info(peer, request, None);
                self.on_local_closed(peer, request, Some(code));
            }
            // Properties are answered at once, groups come with their numbers, local peers fetch nothing, and
            // messages to shards are to no peer.
            Action::CancelRequest { .. }
            | Action::Accept { .. }
            | Action::Start { .. }
            | Action::End { .. }
            | Action::Fetched { .. }
            | Action::Remote(..) => {}
        }
    }

    /// Somebody wants a track of the peer.
    fn want_of_local(
        &mut self,
        peer: PeerKey,
        track: TrackKey,
        broadcast: BroadcastPath,
        name: &TrackName,
        demand: Demand,
    ) {
        let offered = self.locals.peers.get_mut(&peer).and_then(|state| {
            let tag = state.offered(&broadcast, name)?.tag;
            let id = SubscribeId(state.next_id());
            state.wanted.insert(id, tag);
            Some((tag, id))
        });
        let Some((tag, id)) = offered else {
            return self.tracks.on_subscribe_refused(track, peer, stream_error::NOT_FOUND);
        };
        self.tracks.on_subscribed(track, peer, id, self.now);
        let event = LocalEvent::Wanted {
            peer,
            tag,
            id,
            broadcast,
            demand,
        };
        self.tell_peer(peer, event);
    }

    fn tell_peer(&mut self, peer: PeerKey, event: LocalEvent) {
        if let Some(state) = self.locals.peers.get(&peer) {
            let application = state.application;
            self.locals.tell(application, event);
        }
    }

    fn wanted_tag(&self, peer: PeerKey, id: SubscribeId) -> Option<u64> {
        self.locals.peers.get(&peer)?.wanted.get(&id).copied()
    }

    fn subscribed_tag(&self, peer: PeerKey, request: StreamId) -> Option<u64> {
        let state = self.locals.peers.get(&peer)?;
        match state.requests.get(&request)? {
            Request::Subscription(id) => state.subscriptions.get(id).map(|subscription| subscription.tag),
            Request::Info(_) | Request::Watch { .. } => None,
        }
    }

    /// The question for a track's properties is answered, or will not be.
    fn on_local_info(&mut self, peer: PeerKey, request: StreamId, info: Option<TrackInfo>) {
        let tag = self.locals.peers.get_mut(&peer).and_then(|state| {
            let Some(Request::Info(id)) = state.requests.get(&request) else {
                return None;
            };
            let subscription = state.subscriptions.get_mut(id)?;
            subscription.info = None;
            let tag = subscription.tag;
            state.requests.remove(&request);
            Some(tag)
        });
        if let Some((tag, info)) = tag.zip(info) {
            self.tell_peer(peer, LocalEvent::Info { tag, info });
        }
    }

    /// A subscription of a local peer is over by the other side.
    fn on_local_closed(&mut self, peer: PeerKey, request: StreamId, code: Option<ErrorCode>) {
        let ended = self.locals.peers.get_mut(&peer).and_then(|state| {
            let Some(Request::Subscription(id)) = state.requests.get(&request) else {
                return None;
            };
            let id = *id;
            state.remove_subscription(id)
        });
        if let Some(ended) = ended {
            if let Some(info) = ended.info {
                self.tracks.handle_track_ended(peer, info, self.now);
            }
            self.tell_peer(peer, LocalEvent::Closed { tag: ended.tag, code });
        }
    }
}
