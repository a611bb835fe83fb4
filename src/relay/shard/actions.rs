//! What routing decided, taken to sessions and to other shards.

use moqswitch_proto::peer::PeerSession;
use moqswitch_proto::session::SubscribeParameters;
use moqswitch_proto::wire::{BroadcastPath, Fetch, TrackName, TrackRequest, stream_error};

use crate::routing::{Action, AnnounceAction, Demand, FetchKey, PeerKey, TrackKey};

use super::local::is_local;
use super::worker::Shard;

impl Shard {
    /// Applies decisions until none is left; an applied one may cause others. What sessions
    /// have to say because of them leaves together.
    pub(super) fn apply_actions(&mut self) {
        while let Some(action) = self.tracks.poll_action() {
            match action.peer().filter(|peer| is_local(*peer)) {
                Some(peer) => self.apply_local(peer, action),
                None => self.apply(action),
            }
        }
        while let Some(peer) = self.to_transmit.pop() {
            self.transmit(peer);
        }
    }

    /// Tells announce streams what is new to them, as far as their connections have room.
    pub(super) fn announce(&mut self) {
        self.announcer.rescan(RESCAN_PATHS_PER_TURN_MAX);
        let mut budget = ANNOUNCEMENTS_PER_TURN_MAX;
        while budget > 0
            && let Some(key) = self.announcer.poll_ready()
        {
            if is_local(key.peer) {
                budget = budget.saturating_sub(self.announce_local(key));
                continue;
            }
            let Some(state) = self.peers.get_mut(&key.peer) else {
                continue;
            };
            if state.is_backed_up() {
                if !state.waiting_announcements.contains(&key.request) {
                    state.waiting_announcements.push(key.request);
                }
                continue;
            }
            let mut room = ANNOUNCEMENTS_AT_ONCE.min(budget);
            while room > 0
                && let Some(action) = self.announcer.next_action(key)
            {
                tell(&mut state.session, action);
                (room, budget) = (room - 1, budget - 1);
            }
            if room == 0 {
                self.announcer.set_ready(key);
            }
            self.transmit(key.peer);
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Remote(shard, message) => {
                if let Err(lost) = self.mailbox.send(shard, message) {
                    self.tracks.handle_remote_overflow(shard, lost);
                }
            }
            Action::Subscribe {
                peer,
                track,
                broadcast,
                name,
                demand,
            } => self.subscribe_upstream(peer, track, &broadcast, name, demand),
            Action::UpdateSubscription { peer, id, update } => {
                self.with_session(peer, |session| session.update_subscription(id, &update));
            }
            Action::Unsubscribe { peer, id } => self.with_session(peer, |session| session.unsubscribe(id)),
            Action::RequestTrack { peer, track, request } => self.request_track(peer, track, request),
            Action::Fetch { peer, fetch, message } => self.fetch_upstream(peer, fetch, message),
            Action::CancelRequest { peer, stream } => {
                self.with_session(peer, |session| session.cancel(stream, stream_error::CANCEL));
            }
            answer => self.apply_answer(answer),
        }
    }

    /// Answers to requests of downstream peers.
    fn apply_answer(&mut self, action: Action) {
        match action {
            Action::Accept {
                peer,
                request,
                ok,
                said,
            } => {
                self.with_session(peer, |session| session.subscribe_ok(request, &ok, said.as_ref()));
            }
            Action::Start { peer, request, group } => {
                self.with_session(peer, |session| session.subscribe_start(request, group));
            }
            Action::End { peer, request, end } => {
                self.with_session(peer, |session| session.subscribe_end(request, end));
            }
            Action::Drop {
                peer,
                request,
                start,
                end,
                code,
            } => self.with_session(peer, |session| session.subscribe_drop(request, start, end, code)),
            Action::Finish { peer, request } => {
                self.forget_request(peer, request);
                self.with_session(peer, |session| session.finish(request));
            }
            Action::Fetched { peer, request } => {
                self.forget_request(peer, request);
                self.with_session(peer, |session| session.finished_elsewhere(request));
            }
            Action::Refuse { peer, request, code } => {
                if self.peers.contains_key(&peer) {
                    self.forget_request(peer, request);
                    self.with_session(peer, |session| session.refuse(request, code));
                } else {
                    self.fetches.on_refused(peer, &mut self.tracks, self.now);
                }
            }
            Action::TrackInfo { peer, request, info } => {
                self.forget_request(peer, request);
                self.with_session(peer, |session| session.track_info(request, &info));
            }
            // Handled before.
            Action::Remote(..)
            | Action::Subscribe { .. }
            | Action::UpdateSubscription { .. }
            | Action::Unsubscribe { .. }
            | Action::RequestTrack { .. }
            | Action::Fetch { .. }
            | Action::CancelRequest { .. } => {}
        }
    }

    fn subscribe_upstream(
        &mut self,
        peer: PeerKey,
        track: TrackKey,
        broadcast: &BroadcastPath,
        name: TrackName,
        demand: Demand,
    ) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return self.tracks.on_subscribe_refused(track, peer, stream_error::UNROUTABLE);
        };
        let update = demand.update();
        let subscribed = state.session.subscribe(SubscribeParameters {
            broadcast: broadcast.strip_prefix(&state.root).unwrap_or_else(|| broadcast.clone()),
            track: name,
            epoch: 0,
            priority: update.priority,
            ordered: update.ordered,
            max_latency_ms: update.max_latency_ms,
            range: update.range,
        });
        match subscribed {
            Some((id, _)) => self.tracks.on_subscribed(track, peer, id, self.now),
            None => self.tracks.on_subscribe_refused(track, peer, stream_error::GOING_AWAY),
        }
        self.transmit(peer);
    }

    fn request_track(&mut self, peer: PeerKey, track: TrackKey, mut request: TrackRequest) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return self.tracks.on_track_refused(track, peer, stream_error::UNROUTABLE);
        };
        if let Some(relative) = request.broadcast.strip_prefix(&state.root) {
            request.broadcast = relative;
        }
        match state.session.track(&request) {
            Some(stream) => self.tracks.on_track_requested(track, peer, stream),
            None => self.tracks.on_track_refused(track, peer, stream_error::GOING_AWAY),
        }
        self.transmit(peer);
    }

    fn fetch_upstream(&mut self, peer: PeerKey, fetch: FetchKey, mut message: Fetch) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return self.tracks.on_fetch_refused(fetch, stream_error::UNROUTABLE);
        };
        if let Some(relative) = message.broadcast.strip_prefix(&state.root) {
            message.broadcast = relative;
        }
        let can_fetch = state.session.version().has_fetch();
        match state.session.fetch(&message) {
            Some(stream) => self.tracks.on_fetching(peer, fetch, stream),
            None if can_fetch => self.tracks.on_fetch_refused(fetch, stream_error::GOING_AWAY),
            // 01 and 02 have no FETCH, and moq-transport has none of one group: it is not to be had.
            None => self.tracks.on_fetch_refused(fetch, stream_error::NOT_FOUND),
        }
        self.transmit(peer);
    }

    fn with_session(&mut self, peer: PeerKey, command: impl FnOnce(&mut PeerSession)) {
        if let Some(state) = self.peers.get_mut(&peer) {
            command(&mut state.session);
            if self.to_transmit.last() != Some(&peer) {
                self.to_transmit.push(peer);
            }
        }
    }
}

fn tell(session: &mut PeerSession, action: AnnounceAction) {
    match action {
        AnnounceAction::Ok {
            request, active_count, ..
        } => session.announce_ok(request, active_count),
        AnnounceAction::Announce {
            request,
            suffix,
            advertisement,
            ..
        } => session.announce(request, &suffix, &advertisement),
        AnnounceAction::Unannounce { request, suffix, .. } => session.unannounce(request, &suffix),
        AnnounceAction::Reset { request, .. } => session.refuse(request, stream_error::TOO_FAR_BEHIND),
    }
}

/// Announcements that one stream is told before another has its turn.
const ANNOUNCEMENTS_AT_ONCE: usize = 256;
const ANNOUNCEMENTS_PER_TURN_MAX: usize = 4096;

/// Paths looked at in one turn for streams that may hear of other broadcasts than before.
const RESCAN_PATHS_PER_TURN_MAX: usize = 1024;
