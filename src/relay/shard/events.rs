//! What sessions say, taken to routing. Paths get the session's root in front, and every
//! publish and subscribe is checked against the policy here.

use crate::auth::Admission;
use crate::auth::token::Refusal;
use crate::routing::{PeerKey, RequestKey, Source};
use moqswitch_proto::peer::PeerSession;
use moqswitch_proto::session::{AnnouncementEvent, AnswerEvent, Event, MediaEvent, RequestEvent, SessionEvent};
use moqswitch_proto::wire::{BroadcastPath, HopId, Role, Setup, StreamId, session_error, stream_error};

use super::carrier::carrier;
use super::feed::FeedEvent;
use super::grants::visible_by;
use super::peer::{Peer, Requested, Terms};
use super::service::DEFAULT_COST;
use super::statistics::DropCause;
use super::worker::Shard;

impl Shard {
    /// Handles all that a session has to say.
    pub(super) fn handle_events(&mut self, peer: PeerKey) {
        let poll = |state: &mut Peer| match state.is_waiting {
            true => None,
            false => state.session.poll_event(),
        };
        while let Some(event) = self.peers.get_mut(&peer).and_then(poll) {
            match event {
                Event::Media(event) => self.handle_media(peer, event),
                Event::Announcement(event) => self.handle_announcement(peer, event),
                Event::Answer(event) => self.handle_answer(peer, event),
                Event::Request(event) => {
                    if self.may_ask(peer, &event) {
                        self.handle_request(peer, event);
                    }
                }
                Event::Session(event) => self.handle_session(peer, event),
            }
        }
    }

    /// The hot path: groups and datagrams of tracks we subscribed to.
    fn handle_media(&mut self, peer: PeerKey, event: MediaEvent) {
        match event {
            MediaEvent::GroupStart { stream, header } => {
                self.statistics.media.groups_in += 1;
                // We ask for whole groups; one that begins in the middle would be cached as if
                // it were whole.
                let token = match header.frame_start {
                    0 => self
                        .tracks
                        .group_started(peer, header.subscribe, header.sequence, self.now),
                    _ => None,
                };
                let Some(state) = self.peers.get_mut(&peer) else { return };
                match token {
                    Some(token) => state.session.set_group_token(stream, token),
                    None => {
                        state.session.discard_group(stream, stream_error::CANCEL);
                        self.statistics.drops.add(DropCause::UnwantedGroup, 1);
                    }
                }
            }
            MediaEvent::GroupChunk { token, chunk, .. } => {
                let headers: usize = chunk.marks.iter().map(|mark| usize::from(mark.header_bytes)).sum();
                self.statistics.media.frames_in += chunk.marks.len() as u64;
                self.statistics.media.bytes_in += (chunk.bytes.len() - headers) as u64;
                self.tracks.group_chunk(token, chunk);
            }
            MediaEvent::GroupEnd { token, .. } => self.tracks.group_ended(token),
            MediaEvent::GroupReset { token, code, .. } => self.tracks.group_reset(token, code),
            MediaEvent::Datagram { header, payload } => {
                self.statistics.media.frames_in += 1;
                self.statistics.media.groups_in += 1;
                self.statistics.media.bytes_in += payload.len() as u64;
                self.tracks.datagram(
                    peer,
                    header.subscribe,
                    header.sequence,
                    header.timestamp,
                    payload,
                    self.now,
                );
            }
        }
    }

    fn handle_announcement(&mut self, peer: PeerKey, event: AnnouncementEvent) {
        match event {
            AnnouncementEvent::Announced {
                path, advertisement, ..
            }
            | AnnouncementEvent::AnnounceReplaced {
                path, advertisement, ..
            } => {
                self.publish(peer, &path, advertisement);
            }
            AnnouncementEvent::Unannounced { path, .. } => self.unpublish(peer, &path),
            AnnouncementEvent::AnnounceRequest { .. } if !self.take_operation(peer) => {}
            AnnouncementEvent::AnnounceRequest { request, message } => {
                let Some(state) = self.peers.get_mut(&peer) else { return };
                // Drafts 04 and 05 name the peer here, if not in SETUP.
                if declared(&state.session) == HopId::UNKNOWN && message.exclude_hop != HopId::UNKNOWN {
                    state.hop = message.exclude_hop;
                    state.is_hop_declared = true;
                }
                let exclude = self.hop_of(peer);
                let Some(state) = self.peers.get_mut(&peer) else { return };
                let root = state.root.clone();
                let visible = visible_by(&state.grant);
                let prefix = root.join(&message.prefix);
                let told = self
                    .announcer
                    .handle_request(peer, request, prefix, exclude, message.ended, Some(visible));
                if told.is_err() {
                    self.statistics.drops.add(DropCause::SessionLimit, 1);
                    self.refuse(peer, request, stream_error::INTERNAL);
                }
            }
            AnnouncementEvent::AnnounceRequestEnded { request } => self.announcer.handle_request_ended(peer, request),
            // Each path on it was withdrawn before.
            AnnouncementEvent::AnnounceStreamEnded { .. } => {}
        }
    }

    /// The table changed by something on this shard: tell our own peers and all shards.
    pub(super) fn changed_here(&mut self, path: &BroadcastPath) {
        self.mailbox.table_changed(path);
        self.route_changed(path);
    }

    /// The table changed at `path`: peers are told, and tracks of it find their new source.
    pub(super) fn route_changed(&mut self, path: &BroadcastPath) {
        let change = self.announcer.handle_change(path);
        self.tracks
            .handle_route_changed(path, self.now, |source| change.fate_of(source));
        self.watch_holders(path, change.entries());
    }

    /// Answers to what we asked of this peer.
    fn handle_answer(&mut self, peer: PeerKey, event: AnswerEvent) {
        match event {
            AnswerEvent::SubscriptionOk { id, ok } => self.tracks.handle_upstream_ok(peer, id, &ok, self.now),
            AnswerEvent::TrackProperties { id, properties } => {
                self.tracks.handle_upstream_properties(peer, id, properties);
            }
            AnswerEvent::SubscriptionStart { id, .. } => self.tracks.handle_upstream_start(peer, id),
            AnswerEvent::SubscriptionEnd { id, end } => self.tracks.handle_upstream_end(peer, id, end),
            AnswerEvent::SubscriptionDrop { id, start, end, code } => {
                self.tracks.handle_upstream_drop(peer, id, start, end, code);
            }
            AnswerEvent::SubscriptionClosed { id, code } => self.tracks.handle_upstream_closed(peer, id, code),
            AnswerEvent::TrackInfo { stream, info } => self.tracks.handle_track_info(peer, stream, &info, self.now),
            AnswerEvent::TrackClosed { stream, code } => self.tracks.handle_track_refused(peer, stream, code),
            AnswerEvent::FetchChunk { stream, chunk } => self.tracks.handle_fetch_chunk(peer, stream, chunk, self.now),
            AnswerEvent::FetchClosed { stream, code } => self.tracks.handle_fetch_closed(peer, stream, code, self.now),
            // A relay does not ask for reports.
            AnswerEvent::ProbeReport { .. } | AnswerEvent::ProbeClosed { .. } => {}
        }
    }

    /// What ends is no burden, and must not be missed.
    fn may_ask(&mut self, peer: PeerKey, event: &RequestEvent) -> bool {
        let is_end = matches!(
            event,
            RequestEvent::SubscribeEnded { .. }
                | RequestEvent::TrackEnded { .. }
                | RequestEvent::FetchEnded { .. }
                | RequestEvent::ProbeEnded { .. }
        );
        is_end || self.take_operation(peer)
    }

    /// Whether a session may ask for one more thing. One that may not is closed. Another relay asks for many.
    fn take_operation(&mut self, peer: PeerKey) -> bool {
        let is_neighbour = self.links.has(peer);
        let Some(state) = self.peers.get_mut(&peer) else {
            return false;
        };
        if is_neighbour || state.operations.take(self.now) {
            return true;
        }
        if state.session.is_closed() {
            return false;
        }
        let limit = self.options.operations_per_second;
        let reason = format!("more than {limit} requests in a second");
        state.session.close(session_error::INTERNAL, &reason);
        self.statistics.drops.add(DropCause::OperationLimit, 1);
        self.log_refusal(peer, &reason);
        self.transmit(peer);
        false
    }

    /// What this peer asks of us.
    fn handle_request(&mut self, peer: PeerKey, event: RequestEvent) {
        match event {
            RequestEvent::Subscribe { request, mut message } => {
                let Some((full, source)) = self.resolve(peer, request, &message.broadcast, message.epoch, true) else {
                    return;
                };
                self.report(
                    |session| FeedEvent::Subscribed {
                        session,
                        request,
                        path: full.clone(),
                        track: message.track.clone(),
                    },
                    peer,
                );
                message.broadcast = full;
                let hop = self.hop_of(peer);
                let key = RequestKey { peer, request };
                self.tracks.handle_subscribe(key, hop, &message, source);
            }
            RequestEvent::SubscribeUpdate { request, message } => {
                self.tracks
                    .handle_subscribe_update(RequestKey { peer, request }, &message);
            }
            RequestEvent::SubscribeEnded { request } => {
                self.forget_request(peer, request);
                self.tracks.handle_subscribe_ended(peer, request, self.now);
            }
            RequestEvent::Track { request, message } => {
                let Some((full, source)) = self.resolve(peer, request, &message.broadcast, message.epoch, false) else {
                    return;
                };
                self.tracks
                    .handle_track(peer, request, &full, &message.track, source, self.now);
            }
            RequestEvent::TrackEnded { request } => {
                self.forget_request(peer, request);
                self.tracks.handle_track_ended(peer, request, self.now);
            }
            RequestEvent::Fetch { request, mut message } => {
                let Some((full, source)) = self.resolve(peer, request, &message.broadcast, message.epoch, false) else {
                    return;
                };
                message.broadcast = full;
                self.tracks.handle_fetch(peer, request, &message, source);
            }
            RequestEvent::FetchEnded { request } => {
                self.forget_request(peer, request);
                self.tracks.handle_fetch_ended(peer, request, self.now);
            }
            RequestEvent::Probe { request, .. } => self.handle_probe(peer, request),
            RequestEvent::ProbeEnded { request } => {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.probes.retain(|probe| *probe != request);
                }
            }
        }
    }

    /// It gets a report at once, then periodically.
    fn handle_probe(&mut self, peer: PeerKey, request: StreamId) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if !state.probes.contains(&request) {
            state.probes.push(request);
        }
        self.report_probe(peer, Some(request));
    }

    /// What the peer says of itself, and how it broke the protocol.
    fn handle_session(&mut self, peer: PeerKey, event: SessionEvent) {
        match event {
            SessionEvent::Setup(setup) => self.handle_setup(peer, &setup),
            // The estimate that counts is our own.
            SessionEvent::SessionUpdate { .. } => {}
            SessionEvent::Goaway { uri } => self.handle_goaway(peer, &uri),
            SessionEvent::Violation { code, reason } => {
                self.statistics.sessions.protocol_violations += 1;
                if let Some(suppressed) = self.notices.allow(self.now) {
                    let address = carrier(&mut self.endpoint, &mut self.websockets, peer)
                        .and_then(|connection| connection.peer_address());
                    tracing::info!(peer = ?address, code = code.0, reason, suppressed, "protocol violation");
                }
            }
        }
    }

    /// A peer that goes away takes no new requests (draft, "GOAWAY"): its broadcasts are for
    /// others to serve from now on, and what it serves already goes on.
    fn handle_goaway(&mut self, peer: PeerKey, uri: &str) {
        if let Some(suppressed) = self.notices.allow(self.now) {
            let address = carrier(&mut self.endpoint, &mut self.websockets, peer)
                .and_then(|connection| connection.peer_address());
            // As much of it as a log wants to have.
            let uri: String = uri.chars().take(GOAWAY_URI_LOGGED_MAX).collect();
            tracing::info!(peer = ?address, uri, suppressed, "the peer is going away");
        }
        if self.drain_link(peer) {
            return;
        }
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.pace.clear();
        state.unpublished.clear();
        for path in std::mem::take(&mut state.published) {
            self.withdraw(peer, path);
        }
    }

    /// SETUP tells where the session is rooted, who the peer is and what it will do.
    fn handle_setup(&mut self, peer: PeerKey, setup: &Setup) {
        if self
            .peers
            .get(&peer)
            .is_some_and(|state| state.session.version().is_in_band())
        {
            self.begin_routing(peer);
        }
        let has_request_path = carrier(&mut self.endpoint, &mut self.websockets, peer)
            .is_some_and(|connection| connection.request_path().is_some());
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if setup.origin != HopId::UNKNOWN {
            state.hop = setup.origin;
            state.is_hop_declared = true;
        }
        state.link_cost = setup.cost.unwrap_or(DEFAULT_COST);
        // It was let in when its session began.
        let is_dialled = self.links.is_dialled(peer);
        if is_dialled && setup.origin == self.options.hop {
            state
                .session
                .close(session_error::NO_ERROR, "this relay has dialled itself");
            return;
        }
        if has_request_path && setup.path.is_some() {
            // Draft "Path Parameter": not where the handshake carries a path.
            state.session.close(session_error::PROTOCOL_VIOLATION, "a second path");
            return;
        }
        if has_request_path || is_dialled {
            self.report_opened(peer);
        } else if !self.take_root(peer, setup.path.as_deref().unwrap_or_default(), setup.role) {
            return;
        }
        if setup.role != Role::Subscriber {
            self.ask_for_announcements(peer);
        }
    }

    /// Roots the session at the path of its SETUP, or of the request that made its connection.
    /// False when it may do nothing there, and was closed; or when that is asked elsewhere, and the answer lets it in.
    pub(super) fn take_root(&mut self, peer: PeerKey, target: &str, role: Role) -> bool {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let bearer = connection.and_then(|connection| connection.bearer().map(str::to_owned));
        if self.options.policy.asks_authority(target) {
            if let Some(refusal) = self.cannot_take(peer) {
                self.turn_away(peer, &refusal);
                return false;
            }
            if !self.ask_authority(peer, target, bearer.as_deref(), role) {
                self.turn_away(peer, &Refusal::AuthorityUnavailable);
            }
            return false;
        }
        let admission = self.admit(peer, target, bearer.as_deref());
        match admission.and_then(|admission| self.take_in(peer, admission)) {
            Ok(admission) => {
                self.let_in(peer, admission.into());
                true
            }
            Err(refusal) => {
                self.turn_away(peer, &refusal);
                false
            }
        }
    }

    /// Whether there is room for whoever is admitted. A device may be one of a call that goes on, and another relay carries
    /// those of others.
    pub(super) fn take_in<'a>(&mut self, peer: PeerKey, admission: Admission<'a>) -> Result<Admission<'a>, Refusal> {
        let is_part = admission.device.is_some() || admission.grant.is_peer;
        match self.cannot_take(peer).filter(|_| !is_part) {
            Some(refusal) => Err(refusal),
            None => Ok(admission),
        }
    }

    /// Gives a session the root and the grant that were decided on.
    pub(super) fn let_in(&mut self, peer: PeerKey, terms: Terms<'_>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.root = BroadcastPath::new(terms.root);
        state.basis = terms.basis;
        state.device = terms.device;
        self.note_credential(peer);
        self.install_grant(peer, terms.grant);
        self.greet_neighbour(peer);
        self.report_opened(peer);
    }

    /// The full path of a request and who publishes it. `None` when it was refused.
    fn resolve(
        &mut self,
        peer: PeerKey,
        request: StreamId,
        broadcast: &BroadcastPath,
        epoch: u64,
        is_subscription: bool,
    ) -> Option<(BroadcastPath, Option<Source>)> {
        let exclude = self.hop_of(peer);
        let state = self.peers.get_mut(&peer)?;
        let full = state.root.join(broadcast);
        if full.has_control_characters() || !state.grant.may_subscribe(full.as_str()) {
            self.statistics.drops.add(DropCause::Unauthorized, 1);
            self.refuse(peer, request, stream_error::NOT_FOUND);
            return None;
        }
        let requested = Requested {
            path: full.clone(),
            is_subscription,
        };
        state.requested.insert(request, requested);
        // A request for another generation than the one served is refused (draft, "SUBSCRIBE").
        let route = self.announcer.route(&full, peer, exclude);
        let source = route
            .filter(|route| epoch == 0 || epoch == route.epoch)
            .map(|route| route.source);
        Some((full, source))
    }

    pub(super) fn refuse(&mut self, peer: PeerKey, request: StreamId, code: moqswitch_proto::wire::ErrorCode) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.session.refuse(request, code);
        }
        self.forget_request(peer, request);
    }
}

/// The hop id in the peer's SETUP.
fn declared(session: &PeerSession) -> HopId {
    session.peer_setup().map_or(HopId::UNKNOWN, |setup| setup.origin)
}

/// Characters of a GOAWAY's URI that are logged.
const GOAWAY_URI_LOGGED_MAX: usize = 256;
