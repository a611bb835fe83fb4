//! What sessions may do: a grant is installed, replaced, and lapses. What a session holds that its grant does not cover
//! ends at once: announcements, subscriptions, fetches, and what its announce streams were told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moqswitch_proto::wire::{BroadcastPath, StreamId, session_error, stream_error};

use crate::auth::token::{Keys, Refusal};
use crate::auth::{Admission, Credentials, Grant, Moment};
use crate::routing::{PeerKey, Source, Visible};

use super::carrier::carrier;
use super::feed::FeedEvent;
use super::peer::Basis;
use super::statistics::DropCause;
use super::worker::Shard;

/// The shard has no such session: it is over, or it was never there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has no such session")]
pub struct UnknownSession;

/// When the grants of sessions lapse, by either clock. At most one entry of each for a session.
///
/// No timer goes by the wall clock: it may be set, and it goes on while the host sleeps. So it is looked at when the first
/// entry should be due, and at least once in [`WALL_LOOK_INTERVAL`] as long as there is one.
#[derive(Debug, Default)]
pub(super) struct Lapses {
    until: BTreeSet<(Instant, PeerKey)>,
    expires: BTreeSet<(SystemTime, PeerKey)>,
    /// When to look at the wall clock. `None`: there is no reason to.
    look: Option<Instant>,
    /// Sessions with a token, to be compared with keys that have changed.
    doubtful: Vec<PeerKey>,
}

impl Lapses {
    pub(super) fn note(&mut self, peer: PeerKey, grant: &Grant) {
        self.until.extend(grant.until.map(|until| (until, peer)));
        if let Some(expires) = grant.expires {
            let is_first = self.expires.first().is_none_or(|(first, _)| expires < *first);
            self.expires.insert((expires, peer));
            if is_first {
                // The next turn looks, and finds out how long there is.
                self.look = Some(Instant::now());
            }
        }
    }

    pub(super) fn forget(&mut self, peer: PeerKey, grant: &Grant) {
        if let Some(until) = grant.until {
            self.until.remove(&(until, peer));
        }
        if let Some(expires) = grant.expires {
            self.expires.remove(&(expires, peer));
        }
    }

    /// When there is something to do, or to look at.
    pub(super) fn next(&self) -> Option<Instant> {
        let until = self.until.first().map(|(until, _)| *until);
        let look = self.look.filter(|_| !self.expires.is_empty());
        let at_once = (!self.doubtful.is_empty()).then(Instant::now);
        [until, look, at_once].into_iter().flatten().min()
    }

    /// The next whose time has come. `wall` is asked for only if it matters.
    fn poll(&mut self, now: Instant, wall: impl FnOnce() -> SystemTime) -> Option<PeerKey> {
        if self.until.first().is_some_and(|(until, _)| *until <= now) {
            return self.until.pop_first().map(|(_, peer)| peer);
        }
        let (first, _) = *self.expires.first()?;
        if self.look.is_some_and(|look| now < look) {
            return None;
        }
        match first.duration_since(wall()) {
            Ok(left) if !left.is_zero() => {
                self.look = Some(now + left.min(WALL_LOOK_INTERVAL));
                None
            }
            _ => self.expires.pop_first().map(|(_, peer)| peer),
        }
    }
}

impl Shard {
    /// Replaces a session's grant by command.
    pub(super) fn set_grant(&mut self, session: PeerKey, grant: Arc<Grant>) -> Result<(), UnknownSession> {
        if !self.peers.contains_key(&session) {
            return Err(UnknownSession);
        }
        self.install_grant(session, grant);
        if let Some(state) = self.peers.get_mut(&session) {
            state.basis = Basis::Open;
        }
        self.apply_actions();
        Ok(())
    }

    /// Gives a session a grant, in place of the one it has, and ends what is not covered any more.
    pub(super) fn install_grant(&mut self, peer: PeerKey, grant: Arc<Grant>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.grant == grant {
            return;
        }
        let before = std::mem::replace(&mut state.grant, grant.clone());
        self.lapses.forget(peer, &before);
        self.lapses.note(peer, &grant);
        if before.publish != grant.publish || before.without_calls != grant.without_calls {
            self.revoke_announcements(peer, &grant);
            self.publish_permitted(peer);
        }
        if before.subscribe != grant.subscribe || before.without_calls != grant.without_calls {
            self.revoke_requests(peer, &grant);
            self.announcer.set_visible(peer, &visible_by(&grant));
        }
    }

    /// Decides on a session by its path and query, and the token beside it.
    pub(super) fn admit<'a>(
        &mut self,
        peer: PeerKey,
        target: &'a str,
        bearer: Option<&str>,
    ) -> Result<Admission<'a>, Refusal> {
        let address = self.address_of(peer);
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let identity = connection.and_then(|connection| connection.identity());
        let credentials = Credentials {
            bearer,
            identity: identity.as_ref(),
        };
        let checks = &mut self.token_checks;
        let now = self.now;
        let mut is_checked = false;
        // Tokens must be as exact as the clock; the time of the turn is not.
        let moment = Moment(SystemTime::now());
        let admission = self.options.policy.admit(target, credentials, moment, || {
            is_checked = checks.take(address, now);
            is_checked
        });
        if is_checked && admission.is_ok() {
            checks.give_back(address);
        }
        admission
    }

    /// Counts it, and says why in the log.
    pub(super) fn note_refusal(&mut self, peer: PeerKey, refusal: &Refusal) {
        let cause = match refusal {
            Refusal::TooManyChecks => DropCause::TokenChecks,
            Refusal::AuthorityUnavailable | Refusal::AuthorityInvalid => DropCause::Authority,
            Refusal::Overloaded => DropCause::Overload,
            Refusal::Full => DropCause::Memory,
            _ => DropCause::Unauthorized,
        };
        self.statistics.drops.add(cause, 1);
        self.log_refusal(peer, &refusal.to_string());
    }

    /// Where a connection comes from. Of one that is gone, nowhere.
    pub(super) fn address_of(&mut self, peer: PeerKey) -> IpAddr {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let address = connection.and_then(|connection| connection.peer_address());
        address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip())
    }

    /// Tokens are checked by these keys from now on. What the others let in is ended in this turn and the next ones.
    pub(super) fn replace_keys(&mut self, keys: Option<Arc<Keys>>) {
        self.options.policy = self.options.policy.clone().with_keys(keys);
        let with_token = self
            .peers
            .iter()
            .filter(|(_, state)| matches!(state.basis, Basis::Token(_)));
        self.lapses.doubtful = with_token.map(|(peer, _)| *peer).collect();
    }

    fn end_removed_keys(&mut self) {
        for _ in 0..DOUBTFUL_PER_TURN_MAX {
            let Some(peer) = self.lapses.doubtful.pop() else { break };
            // One that is closed already may not have gone yet.
            let state = self.peers.get(&peer).filter(|state| !state.session.is_closed());
            let basis = state.map(|state| state.basis);
            if let Some(Basis::Token(key)) = basis
                && !self.options.policy.has_key(key)
            {
                self.statistics.sessions.revoked += 1;
                self.install_grant(peer, Arc::new(Grant::nothing()));
                self.end_with_grant(peer, &Refusal::KeyRemoved);
            }
        }
    }

    /// Sessions whose grant has lapsed, or whose key is gone, may do nothing from now on.
    pub(super) fn end_lapsed_grants(&mut self) {
        self.end_removed_keys();
        for _ in 0..LAPSES_PER_TURN_MAX {
            let Some(peer) = self.lapses.poll(self.now, SystemTime::now) else {
                break;
            };
            self.install_grant(peer, Arc::new(Grant::nothing()));
            self.end_with_grant(peer, &Refusal::Expired);
        }
    }

    /// Without its token a session has no reason to be. Its end tells the client to come again with a new one.
    pub(super) fn end_with_grant(&mut self, peer: PeerKey, reason: &Refusal) {
        let Some(state) = self.peers.get_mut(&peer).filter(|state| state.basis != Basis::Open) else {
            return;
        };
        state.session.close(session_error::UNAUTHORIZED, &reason.to_string());
        self.transmit(peer);
    }

    /// Whether a publisher of this shard may be asked for a broadcast. Its grant may have changed since another shard
    /// chose it. Local peers need none, and of those who are gone routing knows.
    pub(super) fn may_serve(&self, source: Source, path: &BroadcastPath) -> bool {
        let publisher = self.peers.get(&source.peer);
        publisher.is_none_or(|state| state.grant.may_publish(path.as_str()))
    }

    fn revoke_announcements(&mut self, peer: PeerKey, grant: &Grant) {
        let source = self.session_of(peer);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let revoked: Vec<BroadcastPath> = state
            .published
            .extract_if(|path| !grant.may_publish(path.as_str()))
            .collect();
        for path in revoked {
            self.statistics.drops.add(DropCause::Unauthorized, 1);
            self.withdraw(peer, path);
        }
        self.tracks
            .handle_revoked(source, |path| grant.may_publish(path.as_str()));
    }

    fn revoke_requests(&mut self, peer: PeerKey, grant: &Grant) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let revoked: Vec<StreamId> = state
            .requested
            .iter()
            .filter(|(_, requested)| !grant.may_subscribe(requested.path.as_str()))
            .map(|(request, _)| *request)
            .collect();
        for request in revoked {
            self.statistics.drops.add(DropCause::Unauthorized, 1);
            self.tracks.handle_request_revoked(peer, request, self.now);
            self.refuse(peer, request, stream_error::NOT_FOUND);
        }
        self.transmit(peer);
    }

    /// A request is over.
    pub(super) fn forget_request(&mut self, peer: PeerKey, request: StreamId) {
        if let Some(state) = self.peers.get_mut(&peer)
            && state
                .requested
                .remove(&request)
                .is_some_and(|requested| requested.is_subscription)
        {
            self.report(|session| FeedEvent::Unsubscribed { session, request }, peer);
        }
    }
}

/// Which announcements a session with this grant hears.
pub(super) fn visible_by(grant: &Arc<Grant>) -> Visible {
    let grant = grant.clone();
    Rc::new(move |path: &BroadcastPath| grant.may_subscribe(path.as_str()))
}

/// Grants that lapse in one turn. The rest follows in the next, at once.
const LAPSES_PER_TURN_MAX: usize = 64;

/// Sessions that are compared with changed keys in one turn. The rest follows in the next, at once.
const DOUBTFUL_PER_TURN_MAX: usize = 64;

/// A wall clock that was set, or that went on while the host slept, is noticed so soon after the host is awake. It costs
/// one look at it.
const WALL_LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_grant_lapses_by_the_wall_clock_wherever_that_goes() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut lapses = Lapses::default();
        lapses.note(peer(1), &expiring(wall + 100 * SECOND));
        let poll = |lapses: &mut Lapses, at: Duration, wall: SystemTime| lapses.poll(now + SECOND + at, || wall);
        assert_eq!(poll(&mut lapses, Duration::ZERO, wall), None);
        // It is looked at once a second, not in each turn.
        assert_eq!(lapses.next(), Some(now + 2 * SECOND));
        assert_eq!(poll(&mut lapses, SECOND / 2, wall + 200 * SECOND), None);
        // The host slept, or the clock was set forward: less than a second later it has lapsed.
        assert_eq!(poll(&mut lapses, SECOND, wall + 200 * SECOND), Some(peer(1)));
        assert_eq!(lapses.next(), None);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_nothing_early() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut lapses = Lapses::default();
        lapses.note(peer(1), &expiring(wall + SECOND));
        let at = |seconds: u32| now + SECOND * seconds;
        assert_eq!(lapses.poll(at(1), || wall), None);
        for seconds in 2..100 {
            assert_eq!(lapses.poll(at(seconds), || wall - 50 * SECOND), None);
        }
        assert_eq!(lapses.poll(at(100), || wall + SECOND), Some(peer(1)));
    }

    #[test]
    fn the_first_of_both_clocks_is_waited_for() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut lapses = Lapses::default();
        let both = Grant {
            until: Some(now + 5 * SECOND),
            ..expiring(wall + 3 * SECOND / 2)
        };
        lapses.note(peer(1), &both);
        assert_eq!(lapses.poll(now + SECOND, || wall + SECOND), None);
        assert_eq!(lapses.next(), Some(now + 3 * SECOND / 2), "exact when the end is near");
        lapses.note(peer(2), &expiring(wall + SECOND));
        assert_eq!(lapses.poll(now + SECOND, || wall + SECOND), Some(peer(2)));
        assert_eq!(lapses.poll(now + 5 * SECOND, || wall), Some(peer(1)));
        lapses.forget(peer(1), &both);
        assert_eq!(lapses.next(), None);
    }

    fn expiring(at: SystemTime) -> Grant {
        Grant {
            expires: Some(at),
            ..Grant::nothing()
        }
    }

    fn peer(index: u32) -> PeerKey {
        PeerKey { index, generation: 0 }
    }
}
