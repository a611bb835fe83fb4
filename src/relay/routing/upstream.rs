//! The publisher's side of tracks: one subscription for all subscribers, and its answers.

use std::time::Instant;

use smallvec::SmallVec;

use bytes::Bytes;
use moqswitch_proto::wire::{ErrorCode, GroupSequence, StreamId, SubscribeId, SubscribeOk, TrackInfo, stream_error};

use super::action::Action;
use super::downstream::plain_info;
use super::group::{GroupToken, Progress};
use super::ids::{PeerKey, TrackKey};
use super::remote::RemoteMessage;
use super::subscription::Target;
use super::track_state::Upstream;
use super::tracks::Tracks;

impl Tracks {
    /// Brings the upstream subscription in line with what subscribers want together.
    pub(super) fn ask_upstream(&mut self, key: TrackKey) {
        let shard = self.shard;
        let Some(track) = self.track_mut(key) else { return };
        match track.upstream() {
            Upstream::Idle => {}
            Upstream::Local(_) | Upstream::Remote => {
                if track.owe_update() {
                    self.decisions.on_demand_changed(key);
                }
                return;
            }
            // Told when the session has named the subscription, or of no use any more.
            Upstream::Requested | Upstream::Ending(_) | Upstream::Finished => return,
        }
        let Some(wanted) = track.wanted() else { return };
        let source = track.source();
        let (broadcast, name) = (track.broadcast().clone(), track.name().clone());
        if source.shard != shard {
            track.request_at_shard(wanted);
            let message = RemoteMessage::Subscribe {
                track: track.remote_name(key),
                broadcast,
                name,
                source,
                demand: wanted,
            };
            return self.decisions.send(source.shard, message);
        }
        track.request(wanted);
        self.decisions.push(Action::Subscribe {
            peer: source.peer,
            track: key,
            broadcast,
            name,
            demand: wanted,
        });
    }

    /// What the publisher is to be told of a changed demand, if it is one still.
    pub(super) fn update_upstream(&mut self, key: TrackKey) -> Option<Action> {
        let track = self.track_mut(key)?;
        let demand = track.take_update()?;
        let source = track.source();
        let action = match track.upstream() {
            Upstream::Local(id) => Action::UpdateSubscription {
                peer: source.peer,
                id,
                update: demand.update(),
            },
            Upstream::Remote => Action::Remote(
                source.shard,
                RemoteMessage::Update {
                    track: track.remote_name(key),
                    demand,
                },
            ),
            _ => return None,
        };
        track.set_demand(demand);
        Some(action)
    }

    /// Whether a track comes from this peer. What was asked of a session before another source took its place is not.
    fn is_source(&self, key: TrackKey, peer: PeerKey) -> bool {
        let source = self.track(key).map(|track| track.source());
        source.is_some_and(|source| source.shard == self.shard && source.peer == peer)
    }

    /// Drafts from 05 on tell a track's properties apart from its subscription.
    fn ask_info_if_there(&mut self, key: TrackKey, now: Instant) {
        let Some(source) = self.track(key).map(|track| track.source()) else {
            return;
        };
        let has_info = self
            .peers
            .get(source.peer)
            .is_some_and(|egress| egress.version().has_track_stream());
        if has_info {
            self.ask_info(key, now);
        }
    }

    /// The session of this peer has subscribed under this id. The track may have another source by now.
    pub fn on_subscribed(&mut self, key: TrackKey, peer: PeerKey, id: SubscribeId, now: Instant) {
        let is_source = self.is_source(key, peer);
        let Some(track) = self.track_mut(key) else { return };
        if !is_source || !track.set_subscribed(id) {
            return self.decisions.push(Action::Unsubscribe { peer, id });
        }
        self.names.add_subscription(peer, id, key);
        self.ask_info_if_there(key, now);
        self.ask_upstream(key);
    }

    /// The session could not subscribe.
    pub fn on_subscribe_refused(&mut self, key: TrackKey, peer: PeerKey, code: ErrorCode) {
        if self.is_source(key, peer) {
            self.end_track(key, code);
        }
    }

    /// The session asks for TRACK_INFO on this stream.
    pub fn on_track_requested(&mut self, key: TrackKey, peer: PeerKey, stream: StreamId) {
        let is_source = self.is_source(key, peer);
        let Some(track) = self.track_mut(key) else { return };
        if !is_source || !track.properties.set_stream(stream) {
            return self.decisions.push(Action::CancelRequest { peer, stream });
        }
        self.names.add_info(peer, stream, key);
    }

    /// The session could not ask for TRACK_INFO.
    pub fn on_track_refused(&mut self, key: TrackKey, peer: PeerKey, code: ErrorCode) {
        if self.is_source(key, peer) {
            self.on_info_refused(key, code);
        }
    }

    /// SUBSCRIBE_OK of drafts 03 and 04.
    pub fn handle_upstream_ok(&mut self, peer: PeerKey, id: SubscribeId, ok: &SubscribeOk, now: Instant) {
        let Some(key) = self.names.subscription(peer, id) else {
            return;
        };
        if self.track(key).is_some_and(|track| track.properties.info().is_none())
            && let Some(version) = self.peers.version(peer)
        {
            let info = plain_info(version, Some(ok), self.limits.cache_age_max);
            self.on_info(key, info, now);
        }
        self.on_accepted(key);
    }

    /// What the publisher says of the track in words of its own.
    pub fn handle_upstream_properties(&mut self, peer: PeerKey, id: SubscribeId, said: Bytes) {
        let key = self.names.subscription(peer, id);
        if let Some(track) = key.and_then(|key| self.track_mut(key)) {
            track.properties.set_said(Some(said));
        }
    }

    /// SUBSCRIBE_START: the subscription stands.
    pub fn handle_upstream_start(&mut self, peer: PeerKey, id: SubscribeId) {
        if let Some(key) = self.names.subscription(peer, id) {
            self.on_accepted(key);
        }
    }

    /// The publisher serves this track: everyone who waits is told.
    pub(super) fn on_accepted(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        if !track.accept() {
            return;
        }
        for slot in self.slots(key) {
            self.accept(key, slot);
        }
    }

    /// SUBSCRIBE_END: no group at or after `end` will come.
    pub fn handle_upstream_end(&mut self, peer: PeerKey, id: SubscribeId, end: GroupSequence) {
        if let Some(key) = self.names.subscription(peer, id) {
            self.on_end(key, end);
        }
    }

    pub(super) fn on_end(&mut self, key: TrackKey, end: GroupSequence) {
        let Some(track) = self.track_mut(key) else { return };
        if !track.set_end(end) {
            return;
        }
        for slot in self.slots(key) {
            self.tell_end(key, slot, end);
        }
    }

    /// SUBSCRIBE_DROP: these groups will not come.
    pub fn handle_upstream_drop(
        &mut self,
        peer: PeerKey,
        id: SubscribeId,
        start: GroupSequence,
        end: GroupSequence,
        code: ErrorCode,
    ) {
        if let Some(key) = self.names.subscription(peer, id) {
            self.on_drop(key, start, end, code);
        }
    }

    pub(super) fn on_drop(&mut self, key: TrackKey, start: GroupSequence, end: GroupSequence, code: ErrorCode) {
        for slot in self.slots(key) {
            self.tell_drop(key, slot, start, end, code);
        }
    }

    pub(super) fn tell_drop(
        &mut self,
        key: TrackKey,
        slot: usize,
        start: GroupSequence,
        end: GroupSequence,
        code: ErrorCode,
    ) {
        let Some(subscription) = self.track(key).and_then(|track| track.subscription(slot)) else {
            return;
        };
        let start = subscription.floor().map_or(start, |floor| start.max(floor));
        let end = subscription.range().end.map_or(end, |last| end.min(last));
        if start > end {
            return;
        }
        match subscription.target() {
            Target::Peer { key, .. } => self.decisions.push(Action::Drop {
                peer: key.peer,
                request: key.request,
                start,
                end,
                code,
            }),
            Target::Shard { shard, track } => self.decisions.send(
                shard,
                RemoteMessage::Drop {
                    track,
                    start,
                    end,
                    code,
                },
            ),
        }
    }

    /// The publisher ended the subscription: all is sent, or it refused or gave up.
    pub fn handle_upstream_closed(&mut self, peer: PeerKey, id: SubscribeId, code: Option<ErrorCode>) {
        let Some(key) = self.names.subscription(peer, id) else {
            return;
        };
        let Some(track) = self.track_mut(key) else { return };
        match code {
            None => {
                track.begin_ending(id);
                self.finish_when_whole(key);
            }
            Some(code) => {
                track.forget_upstream();
                self.names.remove_subscription(peer, id);
                self.end_track(key, code);
            }
        }
    }

    /// Groups travel on streams of their own: some may come after the subscription's end
    /// (draft, "Subscribe").
    pub(super) fn finish_when_whole(&mut self, key: TrackKey) {
        let Some(track) = self.track(key) else { return };
        if !matches!(track.upstream(), Upstream::Ending(_)) {
            return;
        }
        if track.is_whole() && !self.has_open_group(key) {
            self.finish_upstream(key);
        } else {
            self.deadlines.on_incomplete(key);
        }
    }

    fn has_open_group(&self, key: TrackKey) -> bool {
        let is_open = |token: GroupToken| {
            let group = self.groups.get(token);
            group.is_some_and(|group| group.progress() == Progress::Open)
        };
        self.track(key)
            .is_some_and(|track| track.groups.iter().any(|(_, token)| is_open(token)))
    }

    /// What has not come by now will not.
    pub(super) fn give_up_stragglers(&mut self, key: TrackKey) {
        let Some(track) = self.track(key) else { return };
        if matches!(track.upstream(), Upstream::Ending(_)) {
            // A group that is still coming in is none of them, however long it takes.
            if self.has_open_group(key) {
                return self.deadlines.on_incomplete(key);
            }
            return self.finish_upstream(key);
        }
        let latest = track.groups.latest();
        for slot in self.slots(key) {
            let last = self
                .track(key)
                .and_then(|track| track.subscription(slot))
                .and_then(|subscription| subscription.range().end);
            if last.is_some() && last <= latest {
                self.finish_if_closed(key, slot);
            }
        }
    }

    pub(super) fn finish_upstream(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        if let Upstream::Ending(id) = track.upstream() {
            let peer = track.source().peer;
            self.names.remove_subscription(peer, id);
            self.decisions.push(Action::Unsubscribe { peer, id });
        }
        self.on_finished(key);
    }

    /// An upstream subscription is over. When it was for a range, the track goes on for who
    /// wants more. Otherwise subscribers end when they have their groups; the cache stays for
    /// those who come while the track is still wanted.
    pub(super) fn on_finished(&mut self, key: TrackKey) {
        self.on_accepted(key);
        let Some(track) = self.track_mut(key) else { return };
        let range = track.finish();
        if range.is_none() && track.end().is_none() {
            // Drafts 03 and 04 end without saying where; later ones must hear it before the FIN.
            let end = track.groups.latest().map_or(0, |latest| latest.0.saturating_add(1));
            self.on_end(key, GroupSequence(end));
        }
        for slot in self.slots(key) {
            self.finish_if_done(key, slot);
        }
        let wants_more = self
            .track(key)
            .and_then(|track| track.wanted())
            .is_some_and(|wanted| wanted.end.is_none() || wanted.end > range);
        if range.is_some() && wants_more {
            self.ask_upstream(key);
        }
    }

    /// A publisher of this shard answered TRACK. A timescale of 0 is refused (draft "TRACK_INFO").
    pub fn handle_track_info(&mut self, peer: PeerKey, stream: StreamId, info: &TrackInfo, now: Instant) {
        if let Some(key) = self.names.remove_info(peer, stream) {
            // Draft, "TRACK_INFO": a timescale of 0 is a violation.
            if info.timescale == 0 {
                return self.on_info_refused(key, stream_error::MALFORMED_TRACK);
            }
            self.on_info(key, *info, now);
        }
    }

    /// A publisher of this shard does not answer TRACK: all who wait for it are refused.
    pub fn handle_track_refused(&mut self, peer: PeerKey, stream: StreamId, code: ErrorCode) {
        if let Some(key) = self.names.remove_info(peer, stream) {
            self.on_info_refused(key, code);
        }
    }

    /// Subscriptions of a track, to walk while they may end. Asked for with each group, so the
    /// few of an ordinary call cost no allocation.
    pub(super) fn slots(&self, key: TrackKey) -> SmallVec<[usize; 16]> {
        self.track(key)
            .map(|track| track.subscriptions().iter().map(|(slot, _)| slot).collect())
            .unwrap_or_default()
    }

    /// The upstream of another shard's track was refused or lost.
    pub(super) fn on_remote_refused(&mut self, key: TrackKey, code: ErrorCode) {
        if let Some(track) = self.track_mut(key) {
            // Nothing is left there to unsubscribe from.
            track.forget_upstream();
        }
        self.end_track(key, code);
    }

    /// A group that will not be continued.
    pub(super) fn abort_if_open(&mut self, token: GroupToken, code: ErrorCode) {
        if self
            .groups
            .get(token)
            .is_some_and(|group| group.progress() == Progress::Open)
        {
            self.group_aborted(token, code);
        }
    }
}
