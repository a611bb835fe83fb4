//! Subscribers and those who ask for TRACK_INFO: local peers here, other shards in `remote`.

use std::time::Instant;

use smallvec::SmallVec;

use moqswitch_proto::wire::{
    BroadcastPath, ErrorCode, GroupSequence, HopId, StreamId, Subscribe, SubscribeOk, SubscribeUpdate, TrackInfo,
    TrackName, TrackRequest, Version, stream_error,
};

use super::action::Action;
use super::egress::Requested;
use super::group::{GroupToken, Progress};
use super::ids::{PeerKey, RequestKey, Source, TrackKey};
use super::properties::InfoWaiter;
use super::remote::RemoteMessage;
use super::subscription::{Subscription, Target};
use super::track_state::Upstream;
use super::tracks::{Ending, Tracks};

impl Tracks {
    /// A peer known as `hop` subscribes. `source` is who publishes the broadcast for this
    /// peer; without one the subscription is refused at once (draft, "Subscribe").
    pub fn handle_subscribe(&mut self, key: RequestKey, hop: HopId, message: &Subscribe, source: Option<Source>) {
        let Some(version) = self.peers.version(key.peer) else {
            return;
        };
        let Some(source) = source else {
            return self.refuse(key, stream_error::NOT_FOUND);
        };
        let Some(track) = self.track_of(&message.broadcast, &message.track, source) else {
            return self.refuse(key, stream_error::INTERNAL);
        };
        let target = Target::Peer {
            key,
            id: message.id,
            version,
            hop,
        };
        let slot = self.add_subscription(track, Subscription::new(target, &message.preferences()));
        if let Some(slot) = slot {
            self.peers.insert_request(key, Requested::Subscription { track, slot });
            self.join(track, slot);
        }
    }

    pub(super) fn add_subscription(&mut self, key: TrackKey, subscription: Subscription) -> Option<usize> {
        let track = self.track_mut(key)?;
        let slot = track.insert_subscription(subscription);
        self.ask_upstream(key);
        Some(slot)
    }

    /// What a new subscriber gets of what is there already.
    pub(super) fn join(&mut self, key: TrackKey, slot: usize) {
        let Some(track) = self.track(key) else { return };
        if track.is_accepted() {
            self.accept(key, slot);
        }
        for token in self.backlog(key, slot) {
            self.serve_group(key, slot, token);
        }
        if let Some(track) = self.track(key)
            && let Some(end) = track.end()
        {
            self.tell_end(key, slot, end);
        }
        self.finish_if_done(key, slot);
    }

    /// Cached groups that a subscription begins with: the latest, and older ones as far as
    /// the request reaches back and its maximum latency allows.
    fn backlog(&self, key: TrackKey, slot: usize) -> SmallVec<[GroupToken; 4]> {
        let Some(track) = self.track(key) else {
            return SmallVec::new();
        };
        let Some(subscription) = track.subscription(slot) else {
            return SmallVec::new();
        };
        let pins_latest = subscription.range().start.is_none() && subscription.pins_start();
        let latest = track.groups.latest();
        track
            .groups
            .iter()
            .filter(|(sequence, _)| subscription.wants(*sequence))
            .filter(|(sequence, _)| !pins_latest || Some(*sequence) == latest)
            .filter(|(_, token)| {
                self.groups
                    .get(*token)
                    .is_some_and(|group| !matches!(group.progress(), Progress::Aborted(_)))
            })
            .filter(|(_, token)| !self.is_expired(key, *token, subscription.max_latency()))
            .map(|(_, token)| token)
            .collect()
    }

    /// A peer changed the preferences of its subscription. Nothing happens when the request is no subscription.
    pub fn handle_subscribe_update(&mut self, key: RequestKey, message: &SubscribeUpdate) {
        if let Some(Requested::Subscription { track, slot }) = self.peers.request(key) {
            self.update_subscription(track, slot, message);
        }
    }

    /// Other preferences of a subscriber. What follows from them is done once in a turn,
    /// however many updates it sends.
    pub(super) fn update_subscription(&mut self, key: TrackKey, slot: usize, message: &SubscribeUpdate) {
        let Some(subscription) = self.subscription_mut(key, slot) else {
            return;
        };
        if subscription.update(message) {
            self.decisions.on_preferences_changed(key, slot);
        }
        self.ask_upstream(key);
    }

    /// New ranks for the groups on their way, and the cached groups that are wanted only now.
    pub(super) fn settle_update(&mut self, key: TrackKey, slot: usize) {
        let Some(subscription) = self.subscription_mut(key, slot) else {
            return;
        };
        let Some((floor, end)) = subscription.take_before_update() else {
            return;
        };
        let wanted_before = |sequence: GroupSequence| {
            floor.is_none_or(|floor| sequence >= floor) && end.is_none_or(|end| sequence <= end)
        };
        if let Target::Peer { key: request, .. } = subscription.target() {
            let outs = subscription.outs().clone();
            self.rerank(key, slot, request.peer, &outs);
        }
        for token in self.backlog(key, slot) {
            let is_new = self
                .groups
                .get(token)
                .is_some_and(|group| !wanted_before(group.sequence()));
            if is_new {
                self.serve_group(key, slot, token);
            }
        }
        self.finish_if_done(key, slot);
    }

    /// A peer unsubscribed. Its request is forgotten; the track goes when nobody else wants it.
    pub fn handle_subscribe_ended(&mut self, peer: PeerKey, request: StreamId, now: Instant) {
        self.end_request(RequestKey { peer, request }, now);
    }

    /// A peer may not have what it asked for any more. What nobody else wants is left at once: a call that is on hold costs its
    /// publisher nothing, and nobody is to come back for it.
    pub fn handle_request_revoked(&mut self, peer: PeerKey, request: StreamId, now: Instant) {
        let track = match self.peers.request(RequestKey { peer, request }) {
            Some(Requested::Subscription { track, .. } | Requested::Info(track)) => Some(track),
            _ => None,
        };
        self.end_request(RequestKey { peer, request }, now);
        if let Some(track) = track {
            self.leave_unwanted(track);
        }
    }

    /// A request of a peer is over by the peer's wish.
    pub(super) fn end_request(&mut self, key: RequestKey, now: Instant) {
        match self.peers.remove_request(key) {
            Some(Requested::Subscription { track, slot }) => {
                self.end_subscription(track, slot, Ending::ByPeer);
                self.ask_upstream(track);
                self.linger(track, now);
            }
            Some(Requested::Info(track)) => {
                if let Some(state) = self.track_mut(track) {
                    state.properties.remove_waiter(InfoWaiter::Peer(key));
                }
                self.linger(track, now);
            }
            Some(Requested::Fetch(fetch)) => self.leave_fetch(fetch, key),
            Some(Requested::Fetched { out }) => self.abandon(key.peer, out, stream_error::CANCEL),
            None => {}
        }
    }

    /// A peer asks for a track's properties.
    pub fn handle_track(
        &mut self,
        peer: PeerKey,
        request: StreamId,
        broadcast: &BroadcastPath,
        name: &TrackName,
        source: Option<Source>,
        now: Instant,
    ) {
        let key = RequestKey { peer, request };
        let track = source.and_then(|source| self.track_of(broadcast, name, source));
        let Some(track) = track else {
            return self.refuse(key, stream_error::NOT_FOUND);
        };
        self.peers.insert_request(key, Requested::Info(track));
        self.want_info(track, InfoWaiter::Peer(key), now);
    }

    /// A peer gave up its question for a track's properties.
    pub fn handle_track_ended(&mut self, peer: PeerKey, request: StreamId, now: Instant) {
        self.end_request(RequestKey { peer, request }, now);
    }

    /// Answers with TRACK_INFO now or when it is there.
    pub(super) fn want_info(&mut self, key: TrackKey, waiter: InfoWaiter, now: Instant) {
        let Some(track) = self.track_mut(key) else { return };
        track.stop_lingering();
        if let Some(info) = track.properties.info() {
            self.give_info(waiter, &info);
            return self.linger(key, now);
        }
        if !track.properties.add_waiter(waiter) {
            return self.refuse_info(waiter, stream_error::INTERNAL);
        }
        self.ask_info(key, now);
    }

    /// Asks the publisher for TRACK_INFO, once. Drafts before 05 have none: what they say in
    /// SUBSCRIBE_OK stands in, or a default.
    pub(super) fn ask_info(&mut self, key: TrackKey, now: Instant) {
        let shard = self.shard;
        let Some(track) = self.track_mut(key) else { return };
        if !track.properties.begin_request() {
            return;
        }
        let source = track.source();
        let request = TrackRequest {
            broadcast: track.broadcast().clone(),
            track: track.name().clone(),
            epoch: 0,
        };
        if source.shard != shard {
            let message = RemoteMessage::Track {
                track: track.remote_name(key),
                broadcast: request.broadcast,
                name: request.track,
                source,
            };
            return self.decisions.send(source.shard, message);
        }
        match self.peers.version(source.peer) {
            Some(version) if version.has_track_stream() => self.decisions.push(Action::RequestTrack {
                peer: source.peer,
                track: key,
                request,
            }),
            Some(version) => self.on_info(key, plain_info(version, None, self.limits.cache_age_max), now),
            None => self.on_info_refused(key, stream_error::UNROUTABLE),
        }
    }

    /// The properties are there: everyone who waits is told.
    pub(super) fn on_info(&mut self, key: TrackKey, info: TrackInfo, now: Instant) {
        let Some(track) = self.track_mut(key) else { return };
        for waiter in track.properties.set_info(info) {
            self.give_info(waiter, &info);
        }
        // From 05 on there is no other sign that a subscription was accepted.
        if self.track(key).is_some_and(|track| track.upstream() != Upstream::Idle) {
            self.on_accepted(key);
        }
        self.ask_upstream(key);
        self.linger(key, now);
    }

    pub(super) fn on_info_refused(&mut self, key: TrackKey, code: ErrorCode) {
        let Some(track) = self.track_mut(key) else { return };
        for waiter in track.properties.set_refused() {
            self.refuse_info(waiter, code);
        }
    }

    fn give_info(&mut self, waiter: InfoWaiter, info: &TrackInfo) {
        match waiter {
            InfoWaiter::Peer(key) => {
                self.peers.remove_request(key);
                self.decisions.push(Action::TrackInfo {
                    peer: key.peer,
                    request: key.request,
                    info: *info,
                });
            }
            InfoWaiter::Shard { shard, track } => {
                self.decisions.send(shard, RemoteMessage::Info { track, info: *info })
            }
        }
    }

    pub(super) fn refuse_info(&mut self, waiter: InfoWaiter, code: ErrorCode) {
        match waiter {
            InfoWaiter::Peer(key) => {
                self.peers.remove_request(key);
                self.refuse(key, code);
            }
            InfoWaiter::Shard { shard, track } => {
                self.decisions.send(shard, RemoteMessage::InfoRefused { track, code })
            }
        }
    }

    /// Tells a subscriber that its subscription stands (03 and 04: SUBSCRIBE_OK).
    pub(super) fn accept(&mut self, key: TrackKey, slot: usize) {
        let Some(track) = self.track_mut(key) else { return };
        let Some(subscription) = track.subscription_mut(slot) else {
            return;
        };
        if !subscription.accept() {
            return;
        }
        let (target, priority) = (subscription.target(), subscription.priority());
        let (info, said) = (track.properties.info(), track.properties.said());
        match target {
            Target::Peer { key, version, .. } if !version.has_track_stream() => {
                let ok = SubscribeOk {
                    priority: info.map_or(priority, |info| info.priority),
                    ordered: false,
                    max_latency_ms: info.map_or(0, |info| info.max_latency_ms),
                    start: None,
                    end: None,
                    timescale: info.map(|info| info.timescale),
                };
                let RequestKey { peer, request } = key;
                self.decisions.push(Action::Accept {
                    peer,
                    request,
                    ok,
                    said,
                });
            }
            Target::Peer { .. } => {}
            Target::Shard { shard, track } => self.decisions.send(shard, RemoteMessage::Accepted { track, said }),
        }
    }

    /// Tells a subscriber where its subscription starts, before its first group.
    pub(super) fn start(&mut self, key: TrackKey, slot: usize, group: GroupSequence) {
        self.accept(key, slot);
        let Some(track) = self.track_mut(key) else { return };
        let Some(subscription) = track.subscription_mut(slot) else {
            return;
        };
        if !subscription.start(group) {
            return;
        }
        if let Target::Peer { key, .. } = subscription.target() {
            let RequestKey { peer, request } = key;
            self.decisions.push(Action::Start { peer, request, group });
        }
    }

    pub(super) fn tell_end(&mut self, key: TrackKey, slot: usize, end: GroupSequence) {
        let Some(subscription) = self.track(key).and_then(|track| track.subscription(slot)) else {
            return;
        };
        match subscription.target() {
            Target::Peer { key, .. } => self.decisions.push(Action::End {
                peer: key.peer,
                request: key.request,
                end,
            }),
            Target::Shard { shard, track } => self.decisions.send(shard, RemoteMessage::End { track, end }),
        }
    }

    /// Ends a subscription whose groups have all been accounted for (draft, "Subscribe").
    pub(super) fn finish_if_done(&mut self, key: TrackKey, slot: usize) {
        let Some(track) = self.track(key) else { return };
        let Some(subscription) = track.subscription(slot) else {
            return;
        };
        if !subscription.outs().is_empty() {
            return;
        }
        let is_over = track.upstream() == Upstream::Finished;
        let last = subscription.range().end;
        let is_served = last.is_some_and(|last| track.is_served_to(last));
        if is_over || is_served {
            self.finish_if_closed(key, slot);
        } else if last.is_some() && track.groups.latest() >= last {
            // Groups of the range are missing, and may be on their way.
            self.deadlines.on_incomplete(key);
        }
    }

    /// Ends a subscription that gets no further group, unless one of its groups is still
    /// open or on its way: a datagram may yet have to become a stream.
    pub(super) fn finish_if_closed(&mut self, key: TrackKey, slot: usize) {
        let Some(track) = self.track(key) else { return };
        let Some(subscription) = track.subscription(slot) else {
            return;
        };
        let has_open_group = track.groups.iter().any(|(sequence, token)| {
            subscription.wants(sequence)
                && self
                    .groups
                    .get(token)
                    .is_some_and(|group| group.progress() == Progress::Open)
        });
        if !subscription.outs().is_empty() || has_open_group {
            return;
        }
        let (target, last) = (subscription.target(), subscription.range().end);
        let is_over = track.upstream() == Upstream::Finished;
        let ending = track.failed().map_or(Ending::Finished, Ending::Refused);
        if let Target::Peer { key: request, .. } = target
            && let Some(egress) = self.peers.get_mut(request.peer)
            && egress.ends_after_datagrams(key, slot)
        {
            return;
        }
        if is_over {
            return self.end_subscription(key, slot, ending);
        }
        if let Some(GroupSequence(last)) = last {
            self.tell_end(key, slot, GroupSequence(last.saturating_add(1)));
        }
        self.end_subscription(key, slot, Ending::Finished);
    }

    pub(super) fn refuse(&mut self, key: RequestKey, code: ErrorCode) {
        let RequestKey { peer, request } = key;
        self.decisions.push(Action::Refuse { peer, request, code });
    }
}

/// TRACK_INFO of a track whose publisher's draft has none: times are milliseconds of this
/// relay's clock.
pub(super) fn plain_info(version: Version, ok: Option<&SubscribeOk>, cache_age: std::time::Duration) -> TrackInfo {
    TrackInfo {
        epoch: 0,
        priority: ok.map_or(0, |ok| ok.priority),
        ordered: ok.is_some_and(|ok| ok.ordered),
        max_latency_ms: ok
            .map(|ok| ok.max_latency_ms)
            .filter(|age| *age > 0)
            .unwrap_or_else(|| u64::try_from(cache_age.as_millis()).unwrap_or(u64::MAX)),
        timescale: version.plain_timescale(),
    }
}

/// Units per second of timestamps that this relay makes.
pub(super) const PLAIN_TIMESCALE: u64 = 1000;
