//! Whose sessions take a shard's time while it has too much to do. Those of one address may be what is too much: then who
//! comes from elsewhere is let in all the same, a few in a second.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::ratelimit::prefix;
use crate::routing::PeerKey;

use super::worker::Shard;

/// Counted while there is too much to do, and only then. As many as there are prefixes with sessions.
#[derive(Debug)]
pub(super) struct Shares {
    by_prefix: FxHashMap<u64, Duration>,
    busy: Duration,
    since: Instant,
    heaviest: Option<u64>,
}

impl Shares {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            by_prefix: FxHashMap::default(),
            busy: Duration::ZERO,
            since: now,
            heaviest: None,
        }
    }

    /// A session from somewhere has taken so much of a turn.
    fn note(&mut self, prefix: u64, took: Duration) {
        *self.by_prefix.entry(prefix).or_default() += took;
    }

    /// A turn is over. True: what was counted has been looked at.
    pub(super) fn on_turn(&mut self, began: Instant, ended: Instant) -> bool {
        self.busy += ended.saturating_duration_since(began);
        if ended.saturating_duration_since(self.since) < WINDOW {
            return false;
        }
        let of_sessions: Duration = self.by_prefix.values().sum();
        let most = self.by_prefix.drain().max_by_key(|(_, took)| *took);
        let is_much = |took: Duration| took >= of_sessions / 2 && took >= self.busy / BUSY_PART;
        self.heaviest = most.filter(|(_, took)| is_much(*took)).map(|(prefix, _)| prefix);
        (self.busy, self.since) = (Duration::ZERO, ended);
        true
    }

    /// There is not too much to do.
    pub(super) fn clear(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// The prefix that takes half of what sessions take, or more, and enough of the shard's time to be what is too much.
    pub(super) fn heaviest(&self) -> Option<u64> {
        self.heaviest
    }

    /// Whether somebody else's sessions are what is too much.
    pub(super) fn has_place_for(&self, address: IpAddr) -> bool {
        self.heaviest.is_some_and(|heaviest| heaviest != prefix(address))
    }
}

impl Shard {
    /// Has something done for a session, and takes note of whose time it is.
    pub(super) fn count_share<T>(&mut self, peer: PeerKey, work: impl FnOnce(&mut Self) -> T) -> T {
        // Another relay carries what many do.
        if !self.load.is_overloaded() || self.is_trusted_link(peer) {
            return work(self);
        }
        let address = self.address_of(peer);
        let began = Instant::now();
        let done = work(self);
        self.shares.note(prefix(address), began.elapsed());
        done
    }
}

/// Turns are looked at together for so long.
const WINDOW: Duration = Duration::from_millis(500);

/// Less than this part of a shard's time is not what is too much.
const BUSY_PART: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_half_of_what_is_too_much_leaves_places_for_others_alone() {
        let began = Instant::now();
        let mut shares = Shares::new(began);
        let millis = Duration::from_millis;
        let [one, other]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        assert!(!shares.has_place_for(one));
        shares.note(prefix(one), millis(200));
        shares.note(prefix(other), millis(100));
        assert!(!shares.on_turn(began, began + millis(400)), "too soon");
        assert!(shares.on_turn(began + millis(400), began + millis(600)));
        assert!(shares.has_place_for(other) && !shares.has_place_for(one));
        // What sessions do is not what takes its time.
        shares.note(prefix(one), millis(50));
        assert!(shares.on_turn(began + millis(600), began + millis(1_100)));
        assert!(!shares.has_place_for(other));
        // Many have their part in it.
        for last in 0..10 {
            shares.note(prefix(IpAddr::from([198, 51, 100, last])), millis(50));
        }
        assert!(shares.on_turn(began + millis(1_100), began + millis(1_600)));
        assert!(!shares.has_place_for(other));
        shares.note(prefix(one), millis(500));
        assert!(shares.on_turn(began + millis(1_600), began + millis(2_100)) && shares.has_place_for(other));
        shares.clear(began + millis(2_100));
        assert!(!shares.has_place_for(other));
    }
}
