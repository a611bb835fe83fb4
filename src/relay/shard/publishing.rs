//! What sessions announce, into the table: by whom, whether it may be, and how fast.
//!
//! A session may announce so many broadcasts at once and so many a second. What comes faster waits, of each path the
//! newest: a path that is withdrawn before its turn has come was never there. What waits is no more than what the session
//! has announced, which is bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use moqswitch_proto::wire::{Advertisement, BroadcastPath, ErrorCode, session_error};
use rustc_hash::FxHashMap;

use crate::ratelimit::{Bucket, prefix};
use crate::routing::{Holder, PeerKey, Provenance, TableFull};

use super::contest::{PATH_LOGGED_MAX, shown};
use super::feed::FeedEvent;
use super::statistics::DropCause;
use super::worker::Shard;

/// Announcements of one session that wait for their turn.
pub(super) struct Pace {
    allowed: Bucket,
    /// By full path: which place it has in the order, and what was said last.
    waiting: FxHashMap<BroadcastPath, (u64, Advertisement)>,
    order: BTreeMap<u64, BroadcastPath>,
    next: u64,
    is_queued: bool,
}

impl Pace {
    /// So many a second, and four times as many at once.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            allowed: Bucket::new(per_second, per_second.saturating_mul(ANNOUNCEMENTS_DEPTH)),
            waiting: FxHashMap::default(),
            order: BTreeMap::new(),
            next: 0,
            is_queued: false,
        }
    }

    /// Gives the advertisement back if it may be told at once.
    fn pass(&mut self, path: &BroadcastPath, advertisement: Advertisement, now: Instant) -> Option<Advertisement> {
        if let Some((_, waiting)) = self.waiting.get_mut(path) {
            *waiting = advertisement;
            return None;
        }
        // Those that wait come first.
        if self.waiting.is_empty() && self.allowed.take(now) {
            return Some(advertisement);
        }
        self.waiting.insert(path.clone(), (self.next, advertisement));
        self.order.insert(self.next, path.clone());
        self.next += 1;
        None
    }

    /// It is not announced any more: what waited is nothing.
    fn forget(&mut self, path: &BroadcastPath) {
        if let Some((place, _)) = self.waiting.remove(path) {
            self.order.remove(&place);
        }
    }

    /// The next one whose turn has come.
    fn poll(&mut self, now: Instant) -> Option<(BroadcastPath, Advertisement)> {
        if self.order.is_empty() || !self.allowed.take(now) {
            return None;
        }
        let (_, path) = self.order.pop_first()?;
        let (_, advertisement) = self.waiting.remove(&path)?;
        Some((path, advertisement))
    }

    /// Of another relay, which announces what many publish.
    pub(super) fn widen(&mut self) {
        self.allowed = Bucket::new(LINK_ANNOUNCEMENTS_PER_SECOND, LINK_ANNOUNCEMENTS_BURST);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.order.clear();
    }
}

impl Shard {
    /// A peer announces a broadcast, or something else of it than before.
    pub(super) fn publish(&mut self, peer: PeerKey, path: &BroadcastPath, advertisement: Advertisement) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let full = state.root.join(path);
        let is_name = !full.has_control_characters();
        if !is_name || !state.grant.may_publish(full.as_str()) {
            let has_room = state.unpublished.len() < UNPUBLISHED_MAX || state.unpublished.contains_key(&full);
            if is_name && state.device.is_some() && has_room {
                state.unpublished.insert(full, advertisement);
                return;
            }
            self.statistics.drops.add(DropCause::Unauthorized, 1);
            self.note_unpublished(peer, &full);
            return;
        }
        self.publish_full(peer, full, advertisement);
    }

    /// What a device may publish by its grant, and announced before.
    pub(super) fn publish_permitted(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let grant = state.grant.clone();
        let permitted: Vec<(BroadcastPath, Advertisement)> = state
            .unpublished
            .extract_if(|path, _| grant.may_publish(path.as_str()))
            .collect();
        for (path, advertisement) in permitted {
            self.publish_full(peer, path, advertisement);
        }
    }

    fn publish_full(&mut self, peer: PeerKey, full: BroadcastPath, advertisement: Advertisement) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if let Some(advertisement) = state.pace.pass(&full, advertisement, self.now) {
            return self.insert_published(peer, full, advertisement);
        }
        if !std::mem::replace(&mut state.pace.is_queued, true) {
            self.paced.push_back(peer);
        }
    }

    pub(super) fn unpublish(&mut self, peer: PeerKey, path: &BroadcastPath) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let full = state.root.join(path);
        state.pace.forget(&full);
        state.unpublished.remove(&full);
        if !state.published.remove(&full) {
            return;
        }
        self.withdraw(peer, full);
    }

    /// A session publishes no more what it had in the table: others find it elsewhere, and it holds the name no longer.
    pub(super) fn withdraw(&mut self, peer: PeerKey, path: BroadcastPath) {
        let source = self.session_of(peer);
        self.table.remove(&path, source);
        self.contests.unwatch(peer, &path);
        self.changed_here(&path);
        self.report(|session| FeedEvent::Ended { session, path }, peer);
    }

    /// Announcements whose turn has come.
    pub(super) fn publish_waiting(&mut self) {
        let mut left = WAITING_PER_TURN_MAX;
        for _ in 0..self.paced.len() {
            // The others are first in the next turn.
            if left == 0 {
                break;
            }
            let Some(peer) = self.paced.pop_front() else { break };
            let mut is_done = false;
            for _ in 0..WAITING_AT_ONCE.min(left) {
                let Some(state) = self.peers.get_mut(&peer) else {
                    is_done = true;
                    break;
                };
                if state.session.is_closed() {
                    state.pace.clear();
                }
                let Some((path, advertisement)) = state.pace.poll(self.now) else {
                    is_done = state.pace.order.is_empty();
                    state.pace.is_queued = !is_done;
                    break;
                };
                left -= 1;
                // Its grant may have changed meanwhile.
                if state.grant.may_publish(path.as_str()) {
                    self.count_share(peer, |shard| shard.insert_published(peer, path, advertisement));
                }
            }
            if !is_done {
                self.paced.push_back(peer);
            }
        }
    }

    /// When one that waits may have its turn.
    pub(super) fn publishing_due(&self) -> Option<Instant> {
        (!self.paced.is_empty()).then(|| self.now + WAITING_INTERVAL)
    }

    /// Puts a peer's broadcast into the table.
    fn insert_published(&mut self, peer: PeerKey, full: BroadcastPath, mut advertisement: Advertisement) {
        if !self.believes(peer, &advertisement) {
            return self.disbelieve(peer, &full);
        }
        let source = self.session_of(peer);
        let holder = match self.is_trusted_link(peer) {
            true => Holder::OURS,
            false => Holder(Some(prefix(self.address_of(peer)))),
        };
        let publisher = self.name_publisher(peer, &mut advertisement);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let provenance = Provenance {
            publisher,
            ..self.links.provenance_of(peer, state)
        };
        let is_contested = match self.table.insert_by(&full, source, holder, advertisement, provenance) {
            Ok(is_contested) => is_contested,
            Err(full) => return self.refuse_broadcast(peer, full),
        };
        state.published.insert(full.clone());
        state.refused = None;
        self.changed_here(&full);
        if is_contested {
            self.note_contest(peer, &full);
        }
        self.report(|session| FeedEvent::Published { session, path: full }, peer);
    }

    /// Nobody can find the broadcast. moq-lite has no word for that but the end of the session.
    fn refuse_broadcast(&mut self, peer: PeerKey, full: TableFull) {
        self.statistics.drops.add(DropCause::AnnounceLimit, 1);
        let address = self.address_of(peer);
        if let Some(suppressed) = self.notices.allow(self.now) {
            tracing::warn!(peer = %address, reason = %full, suppressed, "session closed: a broadcast found no room");
        }
        if let Some(state) = self.peers.get_mut(&peer) {
            state.session.close(TABLE_FULL_CODE, &full.to_string());
        }
        self.transmit(peer);
    }

    /// The log says it at once, and the publisher is told if it has nothing else to do here: see `tell_refused`.
    fn note_unpublished(&mut self, peer: PeerKey, path: &BroadcastPath) {
        if let Some(state) = self.peers.get_mut(&peer)
            && state.refused.is_none()
        {
            state.refused = Some((self.now, path.clone()));
            if !std::mem::replace(&mut state.is_refusal_queued, true) {
                self.contests.note_refused(peer, self.now);
            }
        }
        let address = self.address_of(peer);
        if let Some(suppressed) = self.notices.allow(self.now) {
            let path = shown(path, PATH_LOGGED_MAX);
            tracing::info!(peer = %address, %path, suppressed, "may not publish this");
        }
    }
}

/// A session may announce at once what it may in so many seconds; broadcasts announced again with something else count
/// too. Further ones wait.
const ANNOUNCEMENTS_DEPTH: u32 = 4;

/// The rate of another relay, and what it may announce at once.
const LINK_ANNOUNCEMENTS_PER_SECOND: u32 = 10_000;
const LINK_ANNOUNCEMENTS_BURST: u32 = 65_536;

/// Broadcasts of a device that are remembered although it may not publish them. Further ones are refused.
const UNPUBLISHED_MAX: usize = 64;

/// Of those that wait, in one turn: of one session, and of all.
const WAITING_AT_ONCE: usize = 64;
const WAITING_PER_TURN_MAX: usize = 512;

/// How soon a shard looks at those that wait.
const WAITING_INTERVAL: Duration = Duration::from_millis(5);

/// The relay has no room, whoever asks.
const TABLE_FULL_CODE: ErrorCode = session_error::INTERNAL;

#[cfg(test)]
mod tests {
    use moqswitch_proto::wire::HopId;

    use super::*;

    fn path(number: u32) -> BroadcastPath {
        BroadcastPath::new(&format!("call/{number}"))
    }

    fn full(now: Instant) -> Pace {
        let mut pace = Pace::new(1_000);
        for number in 0..4_000 {
            assert!(pace.pass(&path(number), Advertisement::default(), now).is_some());
        }
        pace
    }

    #[test]
    fn what_comes_too_fast_waits_and_comes_in_order() {
        let now = Instant::now();
        let mut pace = full(now);
        for number in [9_003, 9_001, 9_002] {
            assert!(pace.pass(&path(number), Advertisement::default(), now).is_none());
        }
        assert!(pace.poll(now).is_none());
        let later = now + Duration::from_secs(1);
        let order: Vec<BroadcastPath> = std::iter::from_fn(|| pace.poll(later)).map(|next| next.0).collect();
        assert_eq!(order, [path(9_003), path(9_001), path(9_002)]);
        assert!(pace.pass(&path(1), Advertisement::default(), later).is_some());
    }

    #[test]
    fn what_is_withdrawn_before_its_turn_was_never_there() {
        let now = Instant::now();
        let mut pace = full(now);
        for number in 0..100_000 {
            assert!(pace.pass(&path(number), Advertisement::default(), now).is_none());
            pace.forget(&path(number));
        }
        assert!(pace.waiting.is_empty() && pace.order.is_empty());
        assert!(pace.poll(now + Duration::from_secs(1)).is_none());
    }

    #[test]
    fn of_a_path_that_waits_the_newest_counts() {
        let now = Instant::now();
        let mut pace = full(now);
        for hop in [1, 2, 3] {
            let advertisement = Advertisement {
                hops: vec![HopId(hop)],
                ..Advertisement::default()
            };
            assert!(pace.pass(&path(7), advertisement, now).is_none());
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.poll(later).unwrap().1.hops, [HopId(3)]);
        assert!(pace.poll(later).is_none());
    }
}
