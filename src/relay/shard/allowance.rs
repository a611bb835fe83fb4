//! How much work one session may cause, whatever it sends: announcements and requests draw on an allowance that grows with
//! time. A session that has used it up is read no further until it has grown, so that its own flow control holds it back;
//! media is read as before until then. Nothing of it is lost, and nobody else waits for it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::limits::{SESSION_ALLOWANCE_MAX, SESSION_ALLOWANCE_PER_SECOND, WATCHERS_PER_UNIT};
use crate::routing::PeerKey;

use super::carrier::carrier;
use super::worker::Shard;

/// What a session may still cause, in units: one is a request or an announcement, and what it costs to tell
/// [`WATCHERS_PER_UNIT`] announce streams of it.
#[derive(Debug)]
pub(super) struct Allowance {
    units: i64,
    /// Until when it has grown.
    grown: Instant,
    /// When it is looked at again, while the session is held back.
    pub(super) held_until: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            units: SESSION_ALLOWANCE_MAX,
            grown: now,
            held_until: None,
        }
    }

    /// Draws on it, possibly beyond what is there: the debt is paid by waiting.
    pub(super) fn charge(&mut self, watchers: usize) {
        let of_watchers = i64::try_from(watchers / WATCHERS_PER_UNIT).unwrap_or(i64::MAX);
        self.units = self.units.saturating_sub(1).saturating_sub(of_watchers);
    }

    /// `None` when something is left; else when enough for a while will be.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        if self.units > 0 {
            return None;
        }
        let grown = now.saturating_duration_since(self.grown).as_micros();
        let units = i64::try_from(grown * u128::from(SESSION_ALLOWANCE_PER_SECOND) / 1_000_000).unwrap_or(i64::MAX);
        if units > 0 {
            self.units = self.units.saturating_add(units).min(SESSION_ALLOWANCE_MAX);
            self.grown = now;
        }
        if self.units > 0 {
            return None;
        }
        let missing = u64::try_from(HELD_UNITS - self.units).unwrap_or(u64::MAX);
        let wait = Duration::from_micros(missing.saturating_mul(1_000_000) / SESSION_ALLOWANCE_PER_SECOND);
        Some(now + wait.min(HELD_MAX))
    }
}

impl Shard {
    /// Whether a session is held back at present. It comes back to it by itself.
    pub(super) fn is_held_back(&mut self, peer: PeerKey) -> bool {
        let Some(state) = self.peers.get_mut(&peer) else {
            return false;
        };
        if state.allowance.held_until.is_some() {
            return true;
        }
        let Some(due) = state.allowance.due(self.now) else {
            return false;
        };
        state.allowance.held_until = Some(due);
        self.held_back.insert((due, peer));
        self.statistics.sessions.held_back += 1;
        if let Some(suppressed) = self.notices.allow(self.now) {
            let address = carrier(&mut self.endpoint, &mut self.websockets, peer)
                .and_then(|connection| connection.peer_address());
            tracing::info!(peer = ?address, suppressed, "held back: more requests and announcements than a session may make");
        }
        true
    }

    /// Sessions whose allowance may have grown are served again.
    pub(super) fn release_held_back(&mut self) {
        while let Some((due, peer)) = self.held_back.first().copied().filter(|(due, _)| *due <= self.now) {
            self.held_back.remove(&(due, peer));
            if let Some(state) = self.peers.get_mut(&peer) {
                state.allowance.held_until = None;
                self.mark_ready(peer);
            }
        }
    }

    pub(super) fn forget_held_back(&mut self, peer: PeerKey, held_until: Option<Instant>) {
        if let Some(due) = held_until {
            self.held_back.remove(&(due, peer));
        }
    }

    /// A session has caused something that so many announce streams are told of.
    pub(super) fn charge(&mut self, peer: PeerKey, watchers: usize) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.allowance.charge(watchers);
        }
    }
}

/// Sessions that are held back, by when they are looked at again. At most one entry for each session.
pub(super) type HeldBack = BTreeSet<(Instant, PeerKey)>;

/// A session that was held back gets so much before it may be held back again.
const HELD_UNITS: i64 = 64;

/// The longest that a session is held back in one go.
const HELD_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_grows_again_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for _ in 0..SESSION_ALLOWANCE_MAX {
            assert_eq!(allowance.due(start), None);
            allowance.charge(0);
        }
        let due = allowance.due(start).expect("nothing is left");
        assert!(due > start && due <= start + HELD_MAX);
        assert_eq!(allowance.due(due), None);
        let rest = allowance.units;
        assert!((1..=HELD_UNITS).contains(&rest), "{rest}");
        // After a long time it is whole again, and no more.
        allowance.units = 0;
        assert_eq!(allowance.due(due + Duration::from_secs(3600)), None);
        assert_eq!(allowance.units, SESSION_ALLOWANCE_MAX);
    }

    #[test]
    fn many_watchers_cost_more_and_a_debt_is_paid_by_waiting() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        allowance.charge(usize::MAX);
        let mut now = start;
        let mut waits = 0;
        while let Some(due) = allowance.due(now) {
            assert!(due > now);
            now = due;
            waits += 1;
            if waits == 3 {
                break;
            }
        }
        assert_eq!(waits, 3, "it is in debt for long");
    }
}
