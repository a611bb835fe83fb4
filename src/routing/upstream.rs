//! The publisher's side of tracks: one subscription for all subscribers, and its answers.

use std::time::Instant;

use smallvec::SmallVec;

use crate::wire::{ErrorCode, GroupSequence, StreamId, SubscribeId, SubscribeOk, TrackInfo, stream_error};

use super::downstream::plain_info;
use super::group::Progress;
use super::ids::{PeerKey, TrackKey};
use super::remote::RemoteMessage;
use super::track::{Target, Upstream};
use super::tracks::{Action, Tracks};

impl Tracks {
    /// Brings the upstream subscription in line with what subscribers want together.
    pub(super) fn ask_upstream(&mut self, key: TrackKey, now: Instant) {
        let shard = self.shard;
        let Some(track) = self.track_mut(key) else { return };
        let Some(wanted) = track.wanted() else { return };
        if track.demand == Some(wanted) {
            return;
        }
        let source = track.source;
        match track.upstream {
            Upstream::Idle => {
                track.demand = Some(wanted);
                let (broadcast, name) = (track.broadcast.clone(), track.name.clone());
                if source.shard != shard {
                    track.upstream = Upstream::Remote;
                    let message = RemoteMessage::Subscribe {
                        track: key,
                        broadcast,
                        name,
                        source,
                        demand: wanted,
                    };
                    return self.send(source.shard, message);
                }
                track.upstream = Upstream::Requested;
                self.actions.push_back(Action::Subscribe {
                    peer: source.peer,
                    track: key,
                    broadcast,
                    name,
                    demand: wanted,
                });
                self.ask_info_if_there(key, now);
            }
            Upstream::Local(id) => {
                track.demand = Some(wanted);
                self.actions.push_back(Action::UpdateSubscription {
                    peer: source.peer,
                    id,
                    update: wanted.update(),
                });
            }
            Upstream::Remote => {
                track.demand = Some(wanted);
                self.send(
                    source.shard,
                    RemoteMessage::Update {
                        track: key,
                        demand: wanted,
                    },
                );
            }
            // Told when the session has named the subscription, or of no use any more.
            Upstream::Requested | Upstream::Finished => {}
        }
    }

    /// Drafts from 05 on tell a track's properties apart from its subscription.
    fn ask_info_if_there(&mut self, key: TrackKey, now: Instant) {
        let Some(source) = self.track(key).map(|track| track.source) else {
            return;
        };
        let has_info = self
            .peers
            .get(&source.peer)
            .is_some_and(|egress| egress.version.has_track_stream());
        if has_info {
            self.ask_info(key, now);
        }
    }

    /// The session has subscribed under this id.
    pub fn on_subscribed(&mut self, key: TrackKey, id: SubscribeId, now: Instant) {
        let Some(track) = self.track_mut(key) else { return };
        let peer = track.source.peer;
        if track.upstream != Upstream::Requested {
            return self.actions.push_back(Action::Unsubscribe { peer, id });
        }
        track.upstream = Upstream::Local(id);
        self.upstream.insert((peer, id), key);
        self.ask_upstream(key, now);
    }

    /// The session could not subscribe.
    pub fn on_subscribe_refused(&mut self, key: TrackKey, code: ErrorCode) {
        self.end_track(key, code);
    }

    /// The session asks for TRACK_INFO on this stream.
    pub fn on_track_requested(&mut self, key: TrackKey, stream: StreamId) {
        let Some(track) = self.track_mut(key) else { return };
        track.info_stream = Some(stream);
        let peer = track.source.peer;
        self.info_streams.insert((peer, stream), key);
    }

    /// The session could not ask for TRACK_INFO.
    pub fn on_track_refused(&mut self, key: TrackKey, code: ErrorCode) {
        self.on_info_refused(key, code);
    }

    /// SUBSCRIBE_OK of drafts 03 and 04.
    pub fn handle_upstream_ok(&mut self, peer: PeerKey, id: SubscribeId, ok: &SubscribeOk, now: Instant) {
        let Some(key) = self.upstream.get(&(peer, id)).copied() else {
            return;
        };
        if self.track(key).is_some_and(|track| track.info.is_none()) {
            let info = plain_info(Some(ok), self.limits.cache_age_max);
            self.on_info(key, info, now);
        }
        self.on_accepted(key);
    }

    /// SUBSCRIBE_START: the subscription stands.
    pub fn handle_upstream_start(&mut self, peer: PeerKey, id: SubscribeId, _group: GroupSequence) {
        if let Some(key) = self.upstream.get(&(peer, id)).copied() {
            self.on_accepted(key);
        }
    }

    /// The publisher serves this track: everyone who waits is told.
    pub(super) fn on_accepted(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        if std::mem::replace(&mut track.is_accepted, true) {
            return;
        }
        for slot in self.slots(key) {
            self.accept(key, slot);
        }
    }

    /// SUBSCRIBE_END: no group at or after `end` will come.
    pub fn handle_upstream_end(&mut self, peer: PeerKey, id: SubscribeId, end: GroupSequence) {
        if let Some(key) = self.upstream.get(&(peer, id)).copied() {
            self.on_end(key, end);
        }
    }

    pub(super) fn on_end(&mut self, key: TrackKey, end: GroupSequence) {
        // An end at the range that we asked for is ours, not the track's.
        let Some(track) = self.track_mut(key) else { return };
        let is_ours = track
            .demand
            .and_then(|demand| demand.end)
            .is_some_and(|last| end.0 == last.0.saturating_add(1));
        if is_ours {
            return;
        }
        track.end = Some(end);
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
        if let Some(key) = self.upstream.get(&(peer, id)).copied() {
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
        let Some(subscription) = self.track(key).and_then(|track| track.subscriptions.get(slot)) else {
            return;
        };
        let start = subscription.floor.map_or(start, |floor| start.max(floor));
        let end = subscription.range.end.map_or(end, |last| end.min(last));
        if start > end {
            return;
        }
        match subscription.target {
            Target::Peer { key, .. } => self.actions.push_back(Action::Drop {
                peer: key.peer,
                request: key.request,
                start,
                end,
                code,
            }),
            Target::Shard { shard, track } => self.send(
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

    /// The publisher ended the subscription: all is delivered, or it refused or gave up.
    pub fn handle_upstream_closed(&mut self, peer: PeerKey, id: SubscribeId, code: Option<ErrorCode>) {
        let Some(key) = self.upstream.remove(&(peer, id)) else {
            return;
        };
        match code {
            None => self.on_finished(key),
            Some(code) => {
                if let Some(track) = self.track_mut(key) {
                    track.upstream = Upstream::Idle;
                }
                self.end_track(key, code);
            }
        }
    }

    /// All groups are accounted for. Subscribers end when they have theirs; the cache stays
    /// for those who come while the track is still wanted.
    pub(super) fn on_finished(&mut self, key: TrackKey) {
        let Some(track) = self.track_mut(key) else { return };
        track.upstream = Upstream::Finished;
        self.on_accepted(key);
        // Drafts 03 and 04 end without saying where; later ones must hear it before the FIN.
        let Some(track) = self.track(key) else { return };
        if track.end.is_none() {
            let end = track.latest.map_or(0, |latest| latest.0.saturating_add(1));
            self.on_end(key, GroupSequence(end));
        }
        for slot in self.slots(key) {
            self.finish_if_done(key, slot);
        }
    }

    pub fn handle_track_info(&mut self, peer: PeerKey, stream: StreamId, info: &TrackInfo, now: Instant) {
        if let Some(key) = self.info_streams.remove(&(peer, stream)) {
            // Draft, "TRACK_INFO": a timescale of 0 is a violation.
            if info.timescale == 0 {
                return self.on_info_refused(key, stream_error::MALFORMED_TRACK);
            }
            self.on_info(key, *info, now);
        }
    }

    pub fn handle_track_refused(&mut self, peer: PeerKey, stream: StreamId, code: ErrorCode) {
        if let Some(key) = self.info_streams.remove(&(peer, stream)) {
            self.on_info_refused(key, code);
        }
    }

    /// Subscriptions of a track, to walk while they may end. Asked for with each group, so the
    /// few of an ordinary call cost no allocation.
    pub(super) fn slots(&self, key: TrackKey) -> SmallVec<[usize; 16]> {
        self.track(key)
            .map(|track| track.subscriptions.iter().map(|(slot, _)| slot).collect())
            .unwrap_or_default()
    }

    /// The upstream of another shard's track was refused or lost.
    pub(super) fn on_remote_refused(&mut self, key: TrackKey, code: ErrorCode) {
        if let Some(track) = self.track_mut(key) {
            // Nothing is left there to unsubscribe from.
            track.upstream = Upstream::Idle;
        }
        self.end_track(key, code);
    }

    /// A group that will not be continued.
    pub(super) fn abort_if_open(&mut self, token: super::group::GroupToken, code: ErrorCode) {
        if self
            .groups
            .get(token)
            .is_some_and(|group| group.progress == Progress::Open)
        {
            self.group_aborted(token, code);
        }
    }
}
