//! What sessions may do: a grant is installed, replaced, and lapses. What a session holds that its grant does not cover
//! ends at once: announcements, subscriptions, fetches, and what its announce streams were told.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use moqswitch_proto::wire::{BroadcastPath, StreamId, session_error, stream_error};

use crate::auth::Grant;
use crate::auth::token::Refusal;
use crate::routing::{PeerKey, Source, Visible};

use super::feed::FeedEvent;
use super::statistics::DropCause;
use super::worker::Shard;

/// The shard has no such session: it is over, or it was never there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has no such session")]
pub struct UnknownSession;

/// When the grants of sessions lapse. At most one entry for each session.
#[derive(Debug, Default)]
pub(super) struct Lapses(BTreeSet<(Instant, PeerKey)>);

impl Lapses {
    pub(super) fn note(&mut self, peer: PeerKey, grant: &Grant) {
        self.0.extend(grant.until.map(|until| (until, peer)));
    }

    pub(super) fn forget(&mut self, peer: PeerKey, grant: &Grant) {
        if let Some(until) = grant.until {
            self.0.remove(&(until, peer));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(until, _)| *until)
    }

    fn poll(&mut self, now: Instant) -> Option<PeerKey> {
        self.next().filter(|until| *until <= now)?;
        self.0.pop_first().map(|(_, peer)| peer)
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
            state.ends_with_grant = false;
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
        if before.publish != grant.publish {
            self.revoke_announcements(peer, &grant);
        }
        if before.subscribe != grant.subscribe {
            self.revoke_requests(peer, &grant);
            self.announcer.set_visible(peer, &visible_by(&grant));
        }
    }

    /// Sessions whose grant has lapsed may do nothing from now on.
    pub(super) fn end_lapsed_grants(&mut self) {
        for _ in 0..LAPSES_PER_TURN_MAX {
            let Some(peer) = self.lapses.poll(self.now) else { break };
            self.install_grant(peer, Arc::new(Grant::nothing()));
            self.end_with_grant(peer);
        }
    }

    /// Without its token a session has no reason to be. Its end tells the client to come again with a new one.
    fn end_with_grant(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.get_mut(&peer).filter(|state| state.ends_with_grant) else {
            return;
        };
        state
            .session
            .close(session_error::UNAUTHORIZED, &Refusal::Expired.to_string());
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
            self.table.remove(&path, source);
            self.changed_here(&path);
            self.report(|session| FeedEvent::Ended { session, path }, peer);
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
            self.tracks.handle_subscribe_ended(peer, request, self.now);
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
