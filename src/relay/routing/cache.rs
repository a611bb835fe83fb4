//! How long groups are kept: for their subscribers' patience, the track's age and number, and
//! the shard's budget of bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use moqswitch_proto::wire::{TrackInfo, stream_error};

use super::downstream::PLAIN_TIMESCALE;
use super::egress::{Out, OutState};
use super::group::{GroupToken, Groups, Progress};
use super::ids::{PeerKey, TrackKey};
use super::subscription::Target;
use super::tracks::Tracks;

/// Cached groups in order of their start.
#[derive(Debug, Default)]
pub(super) struct CacheOrder {
    tokens: VecDeque<GroupToken>,
    /// Groups that had to go because the cache was full.
    overflows: u64,
}

impl CacheOrder {
    fn push(&mut self, token: GroupToken, groups: &Groups) {
        // Groups leave the list when they come to its front; one that stays there for long
        // must not hold up the names of those behind it.
        if self.tokens.len() > 2 * groups.len() + CACHE_NAMES_SPARE {
            self.tokens.retain(|token| groups.get(*token).is_some());
        }
        self.tokens.push_back(token);
    }

    fn pop(&mut self) -> Option<GroupToken> {
        self.tokens.pop_front()
    }

    /// One that is spared is looked at again after all others.
    fn put_back(&mut self, token: GroupToken) {
        self.tokens.push_back(token);
    }

    /// The oldest is one that is still there.
    fn skip_gone(&mut self, groups: &Groups) {
        while let Some(front) = self.tokens.front()
            && groups.get(*front).is_none()
        {
            self.tokens.pop_front();
        }
    }

    fn count_overflow(&mut self) {
        self.overflows += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }
}

impl Tracks {
    /// Puts a group where the cache's budget finds it.
    pub(super) fn cache_group(&mut self, token: GroupToken) {
        self.cache.push(token, &self.groups);
    }

    /// Whether a group is older, against the track's latest, than a subscriber wants (draft,
    /// "Expiration": by timestamp or by arrival, whichever is more).
    pub(super) fn is_expired(&self, key: TrackKey, token: GroupToken, max_latency: Duration) -> bool {
        let Some(track) = self.track(key) else { return true };
        let (Some(group), Some(latest)) = (self.groups.get(token), track.groups.latest()) else {
            return true;
        };
        if group.sequence() >= latest {
            return false;
        }
        let newest_at = track.groups.latest_at().unwrap_or(group.started());
        if newest_at.saturating_duration_since(group.started()) > max_latency {
            return true;
        }
        let newest = track.groups.token(latest).and_then(|token| self.groups.get(token));
        match (
            group.first_timestamp(),
            newest.and_then(|group| group.first_timestamp()),
        ) {
            (Some(old), Some(new)) => timestamp_age(new.saturating_sub(old), track.properties.info()) > max_latency,
            _ => false,
        }
    }

    /// After a newer group came: groups that subscribers do not want any more.
    pub(super) fn expire(&mut self, key: TrackKey) {
        for slot in self.slots(key) {
            let Some(subscription) = self.track(key).and_then(|track| track.subscription(slot)) else {
                continue;
            };
            let Target::Peer { key: request, .. } = subscription.target() else {
                continue;
            };
            let max_latency = subscription.max_latency();
            // In the order of their beginning: behind one that is young enough are only younger
            // ones, or late ones that are found when they are sent.
            let mut passed = 0;
            for _ in 1..subscription.outs().len() {
                let subscription = self.track(key).and_then(|track| track.subscription(slot));
                let Some(index) = subscription.and_then(|subscription| subscription.outs().get(passed).copied()) else {
                    break;
                };
                let egress = self.peers.get(request.peer);
                let Some(out) = egress.and_then(|egress| egress.out(index)) else {
                    break;
                };
                if self.is_spared(key, out) {
                    passed += 1;
                } else if self.is_expired(key, out.group, max_latency) {
                    self.expire_out(key, slot, request.peer, index);
                } else {
                    break;
                }
            }
        }
    }

    /// Whether a group is on its way to a peer that takes all of it as it comes in, and only few newer ones have begun.
    /// It is not given up because the next one has begun: nothing of it waits.
    pub(super) fn is_spared(&self, key: TrackKey, out: &Out) -> bool {
        out.is_in_step()
            && self
                .track(key)
                .is_some_and(|track| track.groups.is_among_newest(out.sequence, IN_STEP_GROUPS_MAX))
    }

    /// A group on its way that its subscriber does not want any more: reset when its stream
    /// was opened, else told to be dropped. This needs no capacity of the connection.
    fn expire_out(&mut self, key: TrackKey, slot: usize, peer: PeerKey, index: u32) {
        let Some(egress) = self.peers.get_mut(peer) else {
            return;
        };
        let Some(out) = egress.remove(index) else { return };
        let code = if self.groups.get(out.group).is_some() {
            stream_error::DELIVERY_TIMEOUT
        } else {
            stream_error::EVICTED
        };
        self.sent.count_given_up(code);
        let Some(egress) = self.peers.get_mut(peer) else {
            return;
        };
        if let Some(stream) = out.stream {
            egress.reset(stream, code);
            self.peers.mark_dirty(peer);
        } else {
            self.tell_drop(key, slot, out.sequence, out.sequence, code);
        }
        self.forget_reader(out.group, peer, index as usize);
        if let Some(subscription) = self.track_mut(key).and_then(|track| track.subscription_mut(slot)) {
            subscription.remove_out(index);
        }
    }

    /// Groups of a track that are too many or too old to be kept.
    pub(super) fn trim(&mut self, key: TrackKey, now: Instant) {
        let groups_max = self.limits.groups_per_track_max;
        let cache_age = self.limits.cache_age_max;
        loop {
            let Some(track) = self.track(key) else { return };
            let Some((sequence, token)) = track.groups.get(0) else {
                return;
            };
            if Some(sequence) == track.groups.latest() {
                return;
            }
            let age_max = track.properties.info().map_or(cache_age, |info| {
                cache_age.min(Duration::from_millis(info.max_latency_ms))
            });
            // The age counts from the arrival of a newer group.
            let superseded = track.groups.get(1).and_then(|(_, next)| self.groups.get(next));
            let is_old = superseded.is_some_and(|next| now.saturating_duration_since(next.started()) > age_max);
            let has_readers = self.groups.get(token).is_some_and(|group| !group.readers().is_empty());
            if track.groups.len() <= groups_max && (!is_old || has_readers) {
                return;
            }
            self.evict(token);
        }
    }

    /// Lets go of cached groups until the cache is within its budget: the oldest first,
    /// latest groups of tracks only when nothing else is left.
    pub(super) fn shrink(&mut self) {
        for spare_latest in [true, false] {
            for _ in 0..self.cache.len() {
                if self.groups.bytes() <= self.limits.cache_bytes_max {
                    return;
                }
                let Some(token) = self.cache.pop() else { break };
                let Some(group) = self.groups.get(token) else { continue };
                let is_latest = group
                    .track()
                    .and_then(|key| self.track(key))
                    .is_some_and(|track| track.groups.latest() == Some(group.sequence()));
                if is_latest && spare_latest {
                    self.cache.put_back(token);
                } else {
                    self.cache.count_overflow();
                    self.evict(token);
                }
            }
        }
    }

    /// A group leaves the cache; those who still read it are reset.
    fn evict(&mut self, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        let (key, sequence) = (group.track(), group.sequence());
        if let Some(track) = key.and_then(|key| self.track_mut(key)) {
            track.groups.remove(sequence);
        }
        self.let_go(token);
    }

    /// Forgets a group. Its readers find it gone when they are pumped.
    pub(super) fn let_go(&mut self, token: GroupToken) {
        self.wake_all_readers(token);
        let group = self.groups.remove(token);
        if let Some(group) = group
            && let Some(key) = group.track()
            && group.progress() == Progress::Open
        {
            self.end_at_shards(key, group.sequence(), Progress::Aborted(stream_error::EVICTED));
        }
        self.cache.skip_gone(&self.groups);
    }

    /// Blocked cursors too: they must learn that their group is gone.
    fn wake_all_readers(&mut self, token: GroupToken) {
        let Some(group) = self.groups.get(token) else { return };
        for reader in group.readers().clone() {
            if let Some(egress) = self.peers.get_mut(reader.peer) {
                egress.set_state(reader.out, OutState::Idle);
                egress.mark_ready(reader.out);
                self.peers.mark_dirty(reader.peer);
            }
        }
    }

    /// Removes a reader from a group; a group that is in no cache goes with its last.
    pub(super) fn forget_reader(&mut self, token: GroupToken, peer: PeerKey, out: usize) {
        let Some(group) = self.groups.get_mut(token) else {
            return;
        };
        group.remove_reader(peer, out);
        if !group.readers().is_empty() || group.track().is_some() {
            return;
        }
        match group.fetch() {
            Some(fetch) => self.cancel_if_unread(fetch),
            None => drop(self.groups.remove(token)),
        }
    }
}

/// Units of a track's timescale as time.
fn timestamp_age(units: u64, info: Option<TrackInfo>) -> Duration {
    let timescale = info.map_or(PLAIN_TIMESCALE, |info| info.timescale).max(1);
    let seconds = units / timescale;
    let rest = units % timescale;
    let nanos = u128::from(rest) * 1_000_000_000 / u128::from(timescale);
    Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
}

/// Names of groups that are gone which the cache's list may hold beside those that are not.
const CACHE_NAMES_SPARE: usize = 64;

/// Open groups of a track, from the latest back, that are not given up for their age where the subscriber is not behind.
const IN_STEP_GROUPS_MAX: usize = 4;
