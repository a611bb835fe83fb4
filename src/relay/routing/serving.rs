//! Media in: groups and chunks of tracks, cached once and handed to subscribers
//! as places to read from. The hot path of routing.

use std::time::Instant;

use smallvec::SmallVec;

use moqswitch_proto::wire::{Chunk, ErrorCode, GroupSequence, SubscribeId, Version, stream_error};

use super::egress::{Out, OutState, Rank, Serves};
use super::group::{GroupToken, Progress, Reader, cost_of, unpinned};
use super::ids::{PeerKey, RemoteTrack, ShardId, TrackKey};
use super::peers::Unplaced;
use super::remote::RemoteMessage;
use super::subscription::Target;
use super::tracks::Tracks;

impl Tracks {
    /// A group of one of our subscriptions begins. `None`: it is not wanted (a duplicate,
    /// too old, behind the end), and the caller stops its stream.
    pub fn group_started(
        &mut self,
        peer: PeerKey,
        id: SubscribeId,
        sequence: GroupSequence,
        now: Instant,
    ) -> Option<u64> {
        let key = self.names.subscription(peer, id)?;
        self.on_accepted(key);
        self.start_group(key, sequence, now).map(|token| token.0)
    }

    /// Bytes of a group that [`group_started`](Self::group_started) gave a token for, in order.
    pub fn group_chunk(&mut self, token: u64, chunk: Chunk) {
        self.append(GroupToken(token), chunk);
    }

    /// A group is whole. Its token means nothing any more.
    pub fn group_ended(&mut self, token: u64) {
        self.group_finished(GroupToken(token));
    }

    /// The publisher gave a group up: all who are served from it get the same code. Its token means nothing any more.
    pub fn group_reset(&mut self, token: u64, code: ErrorCode) {
        self.group_aborted(GroupToken(token), code);
    }

    pub(super) fn start_group(&mut self, key: TrackKey, sequence: GroupSequence, now: Instant) -> Option<GroupToken> {
        let groups_max = self.limits.groups_per_track_max as u64;
        let track = self.track(key)?;
        let is_behind_end = track.upstream_end().is_some_and(|end| sequence >= end) && !self.is_last(key, sequence);
        let is_ancient = track
            .groups
            .latest()
            .is_some_and(|latest| latest.0.saturating_sub(sequence.0) >= groups_max);
        let at = track.groups.find(sequence).err()?;
        if is_behind_end || is_ancient || track.groups.has_datagram(sequence) {
            self.count_late(key);
            return None;
        }
        let is_counted = track.counted.is_some();
        let token = self.groups.insert(Some(key), sequence, now);
        if is_counted {
            let counted = self.count_group(key, sequence, now);
            if let Some(group) = self.groups.get_mut(token) {
                group.set_counted(counted);
            }
        }
        let track = self.track_mut(key)?;
        let is_latest = track.groups.insert(at, sequence, token, now);
        self.cache_group(token);
        for slot in self.slots(key) {
            self.serve_group(key, slot, token);
        }
        if is_latest {
            self.expire(key);
            self.trim(key, now);
        }
        Some(token)
    }

    /// Draft 05's SUBSCRIBE_END names the last group; the released peers name the one behind it
    /// there too, as all do from 06 on. Another shard has looked at its own.
    fn is_last(&self, key: TrackKey, sequence: GroupSequence) -> bool {
        let Some(track) = self.track(key) else { return false };
        let names_last = self
            .peers
            .get(track.source().peer)
            .is_some_and(|egress| egress.version() == Version::Lite05);
        let is_elsewhere = track.source().shard != self.shard;
        is_elsewhere || (names_last && track.upstream_end() == Some(sequence))
    }

    /// Gives a subscriber a place in a group, if it wants it.
    pub(super) fn serve_group(&mut self, key: TrackKey, slot: usize, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        let sequence = group.sequence();
        let Some(track) = self.track(key) else { return };
        let publisher = track.properties.priority();
        let Some(subscription) = track.subscription(slot) else {
            return;
        };
        if !subscription.wants(sequence) {
            return;
        }
        let (priority, ordered) = (subscription.priority(), subscription.ordered());
        let frames = subscription.frames(sequence);
        let target = subscription.target();
        self.start(key, slot, sequence);
        match target {
            Target::Peer { key: request, id, .. } => {
                let arrival = self.peers.next_arrival();
                let out = Out {
                    serves: Serves::Subscription { track: key, slot, id },
                    group: token,
                    sequence,
                    rank: Rank::new(priority, publisher, ordered, arrival),
                    arrival,
                    frames,
                    stream: None,
                    chunk: 0,
                    offset: 0,
                    transcoder: None,
                    pieces: Default::default(),
                    state: OutState::Idle,
                    is_behind: false,
                };
                match self.add_out(request.peer, out) {
                    Some(index) => {
                        let subscription = self.track_mut(key).and_then(|track| track.subscription_mut(slot));
                        if let Some(subscription) = subscription {
                            subscription.add_out(index);
                        }
                    }
                    None => self.tell_drop(key, slot, sequence, sequence, stream_error::TOO_FAR_BEHIND),
                }
            }
            Target::Shard { shard, track } => self.begin_at_shard(key, slot, shard, track, token),
        }
    }

    /// Tells another shard of a group, with what it has so far.
    fn begin_at_shard(&mut self, key: TrackKey, slot: usize, shard: ShardId, track: RemoteTrack, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        let (sequence, progress, chunks) = (group.sequence(), group.progress(), group.chunks().to_vec());
        self.decisions.send(
            shard,
            RemoteMessage::GroupStart {
                track,
                sequence,
                chunks,
            },
        );
        if progress == Progress::Ended {
            return self.decisions.send(shard, RemoteMessage::GroupEnd { track, sequence });
        }
        if let Some(subscription) = self.subscription_mut(key, slot) {
            subscription.open(sequence);
        }
    }

    /// Puts a cursor into a peer's egress. `None` when it has too many already.
    pub(super) fn add_out(&mut self, peer: PeerKey, out: Out) -> Option<u32> {
        let token = out.group;
        match self.peers.add_out(peer, out) {
            Ok(index) => {
                self.groups.get_mut(token)?.add_reader(Reader { peer, out: index });
                Some(index)
            }
            Err(Unplaced::Full) => {
                self.sent.count_given_up(stream_error::DELIVERY_TIMEOUT);
                None
            }
            Err(Unplaced::NoPeer) => None,
        }
    }

    /// A chunk of a group that came here.
    pub(super) fn append(&mut self, token: GroupToken, chunk: Chunk) {
        self.append_unpinned(token, unpinned(chunk));
    }

    /// One that may be kept as it is: another shard keeps it, too.
    pub(super) fn append_unpinned(&mut self, token: GroupToken, chunk: Chunk) {
        let Some(group) = self.groups.get(token) else { return };
        if group.progress() != Progress::Open {
            return;
        }
        let (track, sequence) = (group.track(), group.sequence());
        if group.bytes() + cost_of(&chunk) > self.limits.group_bytes_max {
            return self.group_aborted(token, stream_error::GROUP_TOO_LARGE);
        }
        if let Some(counted) = group.counted() {
            self.counting.add_chunk(counted, &chunk);
        }
        if let Some(key) = track {
            self.forward(key, sequence, &chunk);
        }
        self.groups.append(token, chunk);
        self.wake_readers(token);
        if self.groups.bytes() > self.limits.cache_bytes_max {
            self.shrink();
        }
    }

    /// One message to each shard that subscribes, however many subscribers it has.
    fn forward(&mut self, key: TrackKey, sequence: GroupSequence, chunk: &Chunk) {
        if !self.names.has_remotes() {
            return;
        }
        for (shard, track) in self.shards_of(key, sequence) {
            let chunk = chunk.clone();
            self.decisions
                .send(shard, RemoteMessage::Chunk { track, sequence, chunk });
        }
    }

    /// Shards that were told of a group and not of its end, with their names for the track.
    fn shards_of(&self, key: TrackKey, sequence: GroupSequence) -> SmallVec<[(ShardId, RemoteTrack); 4]> {
        let Some(track) = self.track(key) else {
            return SmallVec::new();
        };
        track
            .subscriptions()
            .iter()
            .filter_map(|(_, subscription)| match subscription.target() {
                Target::Shard { shard, track } => subscription.has_open(sequence).then_some((shard, track)),
                Target::Peer { .. } => None,
            })
            .collect()
    }

    /// Tells the shards that have a group of its end.
    pub(super) fn end_at_shards(&mut self, key: TrackKey, sequence: GroupSequence, progress: Progress) {
        if !self.names.has_remotes() {
            return;
        }
        let Some(track) = self.track_mut(key) else { return };
        let mut messages: SmallVec<[(ShardId, RemoteMessage); 4]> = SmallVec::new();
        for subscription in track.subscriptions_mut() {
            let Target::Shard { shard, track } = subscription.target() else {
                continue;
            };
            if !subscription.close(sequence) {
                continue;
            }
            let message = match progress {
                Progress::Aborted(code) => RemoteMessage::GroupReset { track, sequence, code },
                _ => RemoteMessage::GroupEnd { track, sequence },
            };
            messages.push((shard, message));
        }
        for (shard, message) in messages {
            self.decisions.send(shard, message);
        }
    }

    /// Cursors of a group have something to send.
    fn wake_readers(&mut self, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        for reader in group.readers() {
            self.peers.wake(*reader);
        }
    }

    pub(super) fn group_finished(&mut self, token: GroupToken) {
        self.conclude(token, Progress::Ended);
    }

    pub(super) fn group_aborted(&mut self, token: GroupToken, code: ErrorCode) {
        self.conclude(token, Progress::Aborted(code));
    }

    fn conclude(&mut self, token: GroupToken, progress: Progress) {
        let Some(group) = self.groups.get_mut(token) else {
            return;
        };
        if !group.conclude(progress) {
            return;
        }
        let (track, sequence) = (group.track(), group.sequence());
        self.wake_readers(token);
        let Some(key) = track else { return };
        self.end_at_shards(key, sequence, progress);
        if let Progress::Aborted(_) = progress {
            // It serves nobody who comes later, and goes when its readers know.
            if let Some(track) = self.track_mut(key) {
                track.groups.remove(sequence);
            }
            if let Some(group) = self.groups.get_mut(token) {
                group.leave_cache();
                if group.readers().is_empty() {
                    self.groups.remove(token);
                }
            }
        }
        self.finish_when_whole(key);
        for slot in self.slots(key) {
            self.finish_if_done(key, slot);
        }
    }

    /// Gives up a cursor: its stream is reset at the next pumping.
    pub(super) fn abandon(&mut self, peer: PeerKey, index: u32, code: ErrorCode) {
        let Some(egress) = self.peers.get_mut(peer) else {
            return;
        };
        let Some(out) = egress.remove(index) else { return };
        if let (Some(stream), Serves::Subscription { .. }) = (out.stream, out.serves) {
            egress.reset(stream, code);
            self.peers.mark_dirty(peer);
        }
        self.forget_reader(out.group, peer, index as usize);
    }

    /// New priorities for the groups on their way.
    pub(super) fn rerank(&mut self, key: TrackKey, slot: usize, peer: PeerKey, outs: &[u32]) {
        let Some(track) = self.track(key) else { return };
        let publisher = track.properties.priority();
        let Some(subscription) = track.subscription(slot) else {
            return;
        };
        let (priority, ordered) = (subscription.priority(), subscription.ordered());
        let Some(egress) = self.peers.get_mut(peer) else {
            return;
        };
        egress.set_ranks(outs, |arrival| Rank::new(priority, publisher, ordered, arrival));
        self.peers.mark_dirty(peer);
    }
}
