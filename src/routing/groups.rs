//! Media in: groups, chunks and datagrams of tracks, cached once and handed to subscribers
//! as places to read from. The hot path of routing.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::wire::{
    Chunk, DatagramHeader, ErrorCode, FrameForm, FrameHeader, FrameMark, GroupSequence, SubscribeId, TrackInfo,
    stream_error,
};

use super::downstream::PLAIN_TIMESCALE;
use super::egress::{DATAGRAMS_PER_PEER_MAX, Egress, OUTS_PER_PEER_MAX, Out, OutState, Rank, Serves};
use super::group::{GroupToken, Progress, Reader};
use super::ids::{PeerKey, TrackKey};
use super::remote::RemoteMessage;
use super::track::Target;
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
        let key = self.upstream.get(&(peer, id)).copied()?;
        self.on_accepted(key);
        self.start_group(key, sequence, now).map(|token| token.0)
    }

    pub fn group_chunk(&mut self, token: u64, chunk: Chunk, now: Instant) {
        self.append(GroupToken(token), chunk, now);
    }

    pub fn group_ended(&mut self, token: u64) {
        self.group_finished(GroupToken(token));
    }

    pub fn group_reset(&mut self, token: u64, code: ErrorCode) {
        self.group_aborted(GroupToken(token), code);
    }

    pub(super) fn start_group(&mut self, key: TrackKey, sequence: GroupSequence, now: Instant) -> Option<GroupToken> {
        let groups_max = self.limits.groups_per_track_max as u64;
        let track = self.track(key)?;
        let is_behind_end = track.end.is_some_and(|end| sequence >= end);
        let is_ancient = track
            .latest
            .is_some_and(|latest| latest.0.saturating_sub(sequence.0) >= groups_max);
        let at = track.find(sequence).err()?;
        if is_behind_end || is_ancient || track.datagrams.contains(&sequence) {
            return None;
        }
        let token = self.groups.insert(Some(key), sequence, now);
        let track = self.track_mut(key)?;
        track.groups.insert(at, (sequence, token));
        let is_latest = track.latest.is_none_or(|latest| sequence > latest);
        if is_latest {
            track.latest = Some(sequence);
        }
        self.cache.push_back(token);
        for slot in self.slots(key) {
            self.serve_group(key, slot, token, now);
        }
        if is_latest {
            self.expire(key);
            self.trim(key, now);
        }
        Some(token)
    }

    /// Gives a subscriber a place in a group, if he wants it.
    pub(super) fn serve_group(&mut self, key: TrackKey, slot: usize, token: GroupToken, _now: Instant) {
        let Some(group) = self.groups.get(token) else { return };
        let sequence = group.sequence;
        let Some(track) = self.track(key) else { return };
        let publisher = track.info.map_or(0, |info| info.priority);
        let Some(subscription) = track.subscriptions.get(slot) else {
            return;
        };
        if !subscription.wants(sequence) {
            return;
        }
        let (priority, ordered) = (subscription.priority, subscription.ordered);
        let frames = subscription.frames(sequence);
        let target = subscription.target;
        self.start(key, slot, sequence);
        match target {
            Target::Peer { key: request, id, .. } => {
                self.arrivals += 1;
                let out = Out {
                    serves: Serves::Subscription { track: key, slot, id },
                    group: token,
                    sequence,
                    rank: Rank::new(priority, publisher, ordered, self.arrivals),
                    arrival: self.arrivals,
                    frames,
                    stream: None,
                    chunk: 0,
                    offset: 0,
                    transcoder: None,
                    pieces: Default::default(),
                    state: OutState::Idle,
                };
                if let Some(index) = self.add_out(request.peer, out) {
                    let subscription = self.track_mut(key).and_then(|track| track.subscriptions.get_mut(slot));
                    if let Some(subscription) = subscription {
                        subscription.outs.push(index);
                    }
                }
            }
            Target::Shard { shard, track } => self.push_backlog(shard, track, token),
        }
    }

    /// Sends another shard what a group has so far.
    fn push_backlog(&mut self, shard: super::ids::ShardId, track: TrackKey, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        let (sequence, progress, chunks) = (group.sequence, group.progress, group.chunks.clone());
        self.send(shard, RemoteMessage::GroupStart { track, sequence });
        for chunk in chunks {
            self.send(shard, RemoteMessage::Chunk { track, sequence, chunk });
        }
        if progress == Progress::Ended {
            self.send(shard, RemoteMessage::GroupEnd { track, sequence });
        }
    }

    /// Puts a cursor into a peer's egress. `None` when he has too many already.
    pub(super) fn add_out(&mut self, peer: PeerKey, out: Out) -> Option<u32> {
        let token = out.group;
        let egress = self.peers.get_mut(&peer)?;
        if egress.outs.len() >= OUTS_PER_PEER_MAX {
            self.statistics.egress.expired += 1;
            return None;
        }
        let index = egress.insert(out);
        egress.mark_ready(index);
        self.groups.get_mut(token)?.readers.push(Reader { peer, out: index });
        self.mark_dirty(peer);
        Some(index)
    }

    pub(super) fn append(&mut self, token: GroupToken, chunk: Chunk, _now: Instant) {
        let Some(group) = self.groups.get(token) else { return };
        if group.progress != Progress::Open {
            return;
        }
        let (track, sequence) = (group.track, group.sequence);
        if group.bytes + chunk.bytes.len() > self.limits.group_bytes_max {
            return self.group_aborted(token, stream_error::GROUP_TOO_LARGE);
        }
        if let Some(key) = track {
            self.forward(key, sequence, &chunk);
        }
        self.groups.append(token, chunk);
        self.wake_readers(token);
        if self.groups.bytes > self.limits.cache_bytes_max {
            self.shrink();
        }
    }

    /// One message to each shard that subscribes, however many subscribers it has.
    fn forward(&mut self, key: TrackKey, sequence: GroupSequence, chunk: &Chunk) {
        for (shard, track) in self.shards_of(key, sequence) {
            let chunk = chunk.clone();
            self.send(shard, RemoteMessage::Chunk { track, sequence, chunk });
        }
    }

    /// Shards that get a group of a track, with their names for the track.
    fn shards_of(&self, key: TrackKey, sequence: GroupSequence) -> SmallVec<[(super::ids::ShardId, TrackKey); 4]> {
        let Some(track) = self.track(key) else {
            return SmallVec::new();
        };
        track
            .subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.wants(sequence) && !subscription.broken.contains(&sequence))
            .filter_map(|(_, subscription)| match subscription.target {
                Target::Shard { shard, track } => Some((shard, track)),
                Target::Peer { .. } => None,
            })
            .collect()
    }

    /// Cursors of a group have something to send.
    fn wake_readers(&mut self, token: GroupToken) {
        let Self {
            groups, peers, dirty, ..
        } = self;
        let Some(group) = groups.get(token) else { return };
        for reader in &group.readers {
            let Some(egress) = peers.get_mut(&reader.peer) else {
                continue;
            };
            if egress.mark_ready(reader.out) && !std::mem::replace(&mut egress.is_dirty, true) {
                dirty.push_back(reader.peer);
            }
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
        if group.progress != Progress::Open {
            return;
        }
        group.progress = progress;
        let (track, sequence) = (group.track, group.sequence);
        self.wake_readers(token);
        let Some(key) = track else { return };
        for (shard, track) in self.shards_of(key, sequence) {
            let message = match progress {
                Progress::Aborted(code) => RemoteMessage::GroupReset { track, sequence, code },
                _ => RemoteMessage::GroupEnd { track, sequence },
            };
            self.send(shard, message);
        }
        if let Progress::Aborted(_) = progress {
            // It serves nobody who comes later, and goes when its readers know.
            if let Some(track) = self.track_mut(key)
                && let Ok(at) = track.find(sequence)
            {
                track.groups.remove(at);
            }
            if let Some(group) = self.groups.get_mut(token) {
                group.track = None;
                if group.readers.is_empty() {
                    self.groups.remove(token);
                }
            }
        }
        for slot in self.slots(key) {
            self.finish_if_done(key, slot);
        }
    }

    /// A datagram of one of our subscriptions: a group of one frame that is not cached
    /// (draft, "Datagrams"). Subscribers who cannot take datagrams get it as a stream.
    pub fn datagram(
        &mut self,
        peer: PeerKey,
        id: SubscribeId,
        sequence: GroupSequence,
        timestamp: u64,
        payload: Bytes,
        now: Instant,
    ) {
        if let Some(key) = self.upstream.get(&(peer, id)).copied() {
            self.on_accepted(key);
            self.on_datagram(key, sequence, timestamp, &payload, now);
        }
    }

    pub(super) fn on_datagram(
        &mut self,
        key: TrackKey,
        sequence: GroupSequence,
        timestamp: u64,
        payload: &Bytes,
        now: Instant,
    ) {
        let Some(track) = self.track_mut(key) else { return };
        if track.find(sequence).is_ok() || track.datagrams.contains(&sequence) {
            return;
        }
        if track.datagrams.len() >= DATAGRAMS_REMEMBERED_MAX {
            track.datagrams.pop_front();
        }
        track.datagrams.push_back(sequence);
        track.latest = track.latest.max(Some(sequence));
        let mut as_stream: Option<GroupToken> = None;
        for slot in self.slots(key) {
            let Some(subscription) = self.track(key).and_then(|track| track.subscriptions.get(slot)) else {
                continue;
            };
            if !subscription.wants(sequence) {
                continue;
            }
            match subscription.target {
                Target::Shard { shard, track } => self.send(
                    shard,
                    RemoteMessage::Datagram {
                        track,
                        sequence,
                        timestamp,
                        payload: payload.clone(),
                    },
                ),
                Target::Peer { key: request, id, .. } => {
                    let header = DatagramHeader {
                        subscribe: id,
                        sequence,
                        timestamp,
                    };
                    if self.queue_datagram(request.peer, header, payload) {
                        self.start(key, slot, sequence);
                        self.mark_dirty(request.peer);
                    } else {
                        let token = *as_stream
                            .get_or_insert_with(|| self.groups.insert_whole(sequence, timestamp, payload, now));
                        self.serve_group(key, slot, token, now);
                    }
                }
            }
        }
    }

    /// False when the peer takes no datagrams.
    fn queue_datagram(&mut self, peer: PeerKey, header: DatagramHeader, payload: &Bytes) -> bool {
        let Some(egress) = self.peers.get_mut(&peer) else {
            return false;
        };
        if !egress.takes_datagrams || !header.fits(payload.len()) {
            return false;
        }
        if egress.datagrams.len() >= DATAGRAMS_PER_PEER_MAX {
            egress.datagrams.pop_front();
            self.statistics.egress.datagrams_dropped += 1;
        }
        egress.datagrams.push_back((header, payload.clone()));
        true
    }

    /// Whether a group is older, against the track's latest, than a subscriber wants (draft,
    /// "Expiration": by timestamp or by arrival, whichever is more).
    pub(super) fn is_expired(&self, key: TrackKey, token: GroupToken, max_latency: Duration) -> bool {
        let Some(track) = self.track(key) else { return true };
        let (Some(group), Some(latest)) = (self.groups.get(token), track.latest) else {
            return true;
        };
        if group.sequence >= latest {
            return false;
        }
        let Some(newest) = track.group(latest).and_then(|token| self.groups.get(token)) else {
            return false;
        };
        if newest.started.saturating_duration_since(group.started) > max_latency {
            return true;
        }
        match (group.first_timestamp, newest.first_timestamp) {
            (Some(old), Some(new)) => timestamp_age(new.saturating_sub(old), track.info.as_ref()) > max_latency,
            _ => false,
        }
    }

    /// After a newer group came: groups that subscribers do not want any more.
    fn expire(&mut self, key: TrackKey) {
        for slot in self.slots(key) {
            let Some(subscription) = self.track(key).and_then(|track| track.subscriptions.get(slot)) else {
                continue;
            };
            let Target::Peer { key: request, .. } = subscription.target else {
                continue;
            };
            if subscription.outs.len() < 2 {
                continue;
            }
            let max_latency = subscription.max_latency;
            let outs = subscription.outs.clone();
            for index in outs {
                let Some(out) = self
                    .peers
                    .get(&request.peer)
                    .and_then(|egress| egress.outs.get(index as usize))
                else {
                    continue;
                };
                if self.is_expired(key, out.group, max_latency) {
                    self.expire_out(key, slot, request.peer, index);
                }
            }
        }
    }

    /// A group on its way that its subscriber does not want any more: reset when its stream
    /// was opened, else told to be dropped. This needs no capacity of the connection.
    fn expire_out(&mut self, key: TrackKey, slot: usize, peer: PeerKey, index: u32) {
        let Some(egress) = self.peers.get_mut(&peer) else {
            return;
        };
        let Some(out) = egress.remove(index) else { return };
        let code = if self.groups.get(out.group).is_some() {
            self.statistics.egress.expired += 1;
            stream_error::DELIVERY_TIMEOUT
        } else {
            self.statistics.egress.evicted += 1;
            stream_error::EVICTED
        };
        let Some(egress) = self.peers.get_mut(&peer) else {
            return;
        };
        if let Some(stream) = out.stream {
            egress.resets.push((stream, code));
            self.mark_dirty(peer);
        } else {
            self.tell_drop(key, slot, out.sequence, out.sequence, code);
        }
        self.forget_reader(out.group, peer, index as usize);
        if let Some(subscription) = self.track_mut(key).and_then(|track| track.subscriptions.get_mut(slot)) {
            subscription.outs.retain(|other| *other != index);
        }
    }

    /// Groups of a track that are too many or too old to be kept.
    fn trim(&mut self, key: TrackKey, now: Instant) {
        let groups_max = self.limits.groups_per_track_max;
        let cache_age = self.limits.cache_age_max;
        loop {
            let Some(track) = self.track(key) else { return };
            let Some((sequence, token)) = track.groups.front().copied() else {
                return;
            };
            if Some(sequence) == track.latest {
                return;
            }
            let age_max = track.info.map_or(cache_age, |info| {
                cache_age.min(Duration::from_millis(info.max_latency_ms))
            });
            // The age counts from the arrival of a newer group.
            let superseded = track.groups.get(1).and_then(|(_, next)| self.groups.get(*next));
            let is_old = superseded.is_some_and(|next| now.saturating_duration_since(next.started) > age_max);
            let has_readers = self.groups.get(token).is_some_and(|group| !group.readers.is_empty());
            if track.groups.len() <= groups_max && (!is_old || has_readers) {
                return;
            }
            self.evict(token);
        }
    }

    /// Lets go of cached groups until the cache is within its budget: the oldest first,
    /// latest groups of tracks only when nothing else is left.
    fn shrink(&mut self) {
        for spare_latest in [true, false] {
            for _ in 0..self.cache.len() {
                if self.groups.bytes <= self.limits.cache_bytes_max {
                    return;
                }
                let Some(token) = self.cache.pop_front() else { break };
                let Some(group) = self.groups.get(token) else { continue };
                let is_latest = group
                    .track
                    .and_then(|key| self.track(key))
                    .is_some_and(|track| track.latest == Some(group.sequence));
                if is_latest && spare_latest {
                    self.cache.push_back(token);
                } else {
                    self.statistics.cache_full += 1;
                    self.evict(token);
                }
            }
        }
    }

    /// A group leaves the cache; those who still read it are reset.
    fn evict(&mut self, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        let (key, sequence) = (group.track, group.sequence);
        if let Some(track) = key.and_then(|key| self.track_mut(key))
            && let Ok(at) = track.find(sequence)
        {
            track.groups.remove(at);
        }
        self.let_go(token);
    }

    /// Forgets a group. Its readers find it gone when they are pumped.
    pub(super) fn let_go(&mut self, token: GroupToken) {
        self.wake_all_readers(token);
        self.groups.remove(token);
        // The cache's list is cleaned as it is walked, but may not outgrow the groups.
        while let Some(front) = self.cache.front()
            && self.groups.get(*front).is_none()
        {
            self.cache.pop_front();
        }
    }

    /// Blocked cursors too: they must learn that their group is gone.
    fn wake_all_readers(&mut self, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        for reader in group.readers.clone() {
            if let Some(egress) = self.peers.get_mut(&reader.peer) {
                egress.set_state(reader.out, OutState::Idle);
                egress.mark_ready(reader.out);
                self.mark_dirty(reader.peer);
            }
        }
    }

    /// Removes a reader from a group; a group that is in no cache goes with its last.
    pub(super) fn forget_reader(&mut self, token: GroupToken, peer: PeerKey, out: usize) {
        let Some(group) = self.groups.get_mut(token) else {
            return;
        };
        group
            .readers
            .retain(|reader| reader.peer != peer || reader.out as usize != out);
        if group.readers.is_empty() && group.track.is_none() && group.progress != Progress::Open {
            self.groups.remove(token);
        }
    }

    /// Gives up a cursor: its stream is reset at the next pumping.
    pub(super) fn abandon(&mut self, peer: PeerKey, index: u32, code: ErrorCode) {
        let Some(egress) = self.peers.get_mut(&peer) else {
            return;
        };
        let Some(out) = egress.remove(index) else { return };
        if let (Some(stream), Serves::Subscription { .. }) = (out.stream, out.serves) {
            egress.resets.push((stream, code));
            self.mark_dirty(peer);
        }
        self.forget_reader(out.group, peer, index as usize);
    }

    /// New priorities for the groups on their way.
    pub(super) fn rerank(&mut self, key: TrackKey, slot: usize, peer: PeerKey, outs: &[u32]) {
        let Some(track) = self.track(key) else { return };
        let publisher = track.info.map_or(0, |info| info.priority);
        let Some(subscription) = track.subscriptions.get(slot) else {
            return;
        };
        let (priority, ordered) = (subscription.priority, subscription.ordered);
        let Some(egress) = self.peers.get_mut(&peer) else {
            return;
        };
        for index in outs {
            rerank_one(egress, *index, priority, publisher, ordered);
        }
        self.mark_dirty(peer);
    }
}

fn rerank_one(egress: &mut Egress, index: u32, priority: u8, publisher: u8, ordered: bool) {
    if let Some(arrival) = egress.outs.get(index as usize).map(|out| out.arrival) {
        egress.set_rank(index, Rank::new(priority, publisher, ordered, arrival));
    }
}

/// Units of a track's timescale as time.
fn timestamp_age(units: u64, info: Option<&TrackInfo>) -> Duration {
    let timescale = info.map_or(PLAIN_TIMESCALE, |info| info.timescale).max(1);
    let seconds = units / timescale;
    let rest = units % timescale;
    let nanos = u128::from(rest) * 1_000_000_000 / u128::from(timescale);
    Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
}

impl super::group::Groups {
    /// A group of one frame that arrived whole and is in no cache.
    fn insert_whole(&mut self, sequence: GroupSequence, timestamp: u64, payload: &Bytes, now: Instant) -> GroupToken {
        let token = self.insert(None, sequence, now);
        let mut bytes = BytesMut::with_capacity(FrameHeader::BYTES_MAX + payload.len());
        let header = FrameHeader {
            timestamp_delta: i64::try_from(timestamp).unwrap_or(i64::MAX),
            size: payload.len() as u64,
        };
        if header.encode(FrameForm::Timed, &mut bytes).is_err() {
            // Beyond what a frame header carries: the frame goes without its time.
            let untimed = FrameHeader {
                timestamp_delta: 0,
                ..header
            };
            let _ = untimed.encode(FrameForm::Timed, &mut bytes);
        }
        let header_bytes = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(payload);
        let mark = FrameMark {
            offset: 0,
            header_bytes,
            timestamp,
            size: payload.len() as u64,
        };
        self.append(
            token,
            Chunk {
                bytes: bytes.freeze(),
                marks: SmallVec::from_elem(mark, 1),
                form: FrameForm::Timed,
            },
        );
        if let Some(group) = self.get_mut(token) {
            group.progress = Progress::Ended;
        }
        token
    }
}

/// Sequences of datagram groups remembered of each track, to drop duplicates.
const DATAGRAMS_REMEMBERED_MAX: usize = 64;
