//! Whose a name is. Who is no peer of the mesh is believed neither its hop nor its cost, and of several that publish one
//! path the [rule](crate::routing::NameRule) decides. Who holds one has to be there: while others publish it too, it is
//! asked for a sign of life, and loses its turn after a silence. Who has come back by another session has its names at
//! once. And who may publish nothing of what it announces is told.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId, RouteCost, escaped, session_error};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::routing::{Entry, PeerKey, Publisher};

use super::carrier::carrier;
use super::feed::FeedEvent;
use super::link::is_link;
use super::peer::{Basis, connection_key};
use super::worker::Shard;

/// Sessions whose names others publish too, and those that are to be told that they may publish nothing. At most one entry
/// of each for a session.
#[derive(Default)]
pub(super) struct Contests {
    by_session: FxHashMap<PeerKey, Watched>,
    refused: VecDeque<(Instant, PeerKey)>,
}

struct Watched {
    /// Packets that had come when this was last looked at, and when there were more than before.
    packets: usize,
    heard: Instant,
    /// What it publishes and others do too: no more than it has in the table.
    paths: FxHashSet<BroadcastPath>,
}

impl Contests {
    pub(super) fn forget(&mut self, peer: PeerKey) {
        self.by_session.remove(&peer);
    }

    pub(super) fn note_refused(&mut self, peer: PeerKey, now: Instant) {
        self.refused.push_back((now, peer));
    }

    /// The session of which so many packets have come is to be there for a path.
    fn watch(&mut self, peer: PeerKey, path: &BroadcastPath, packets: usize, now: Instant) {
        let watched = self.by_session.entry(peer).or_insert_with(|| Watched {
            packets,
            heard: now,
            paths: FxHashSet::default(),
        });
        watched.paths.insert(path.clone());
    }

    pub(super) fn unwatch(&mut self, peer: PeerKey, path: &BroadcastPath) {
        if let Some(watched) = self.by_session.get_mut(&peer) {
            watched.paths.remove(path);
            if watched.paths.is_empty() {
                self.by_session.remove(&peer);
            }
        }
    }
}

impl Shard {
    /// By which hop a session is known to others, and what it is not routed back: its own word of a peer, else a number
    /// made of what it says and shows, which nobody else can say.
    pub(super) fn hop_of(&self, peer: PeerKey) -> HopId {
        let Some(state) = self.peers.get(&peer) else {
            return HopId::UNKNOWN;
        };
        match self.links.has(peer) || self.may_be_neighbour(peer) {
            true => state.hop,
            false => self.table.hop_of(state.credential, state.hop),
        }
    }

    /// Puts into an advertisement what is believed of its hops and cost, and says whose it is.
    pub(super) fn name_publisher(&mut self, peer: PeerKey, advertisement: &mut Advertisement) -> Publisher {
        let is_peer = self.links.has(peer);
        let Some(state) = self.peers.get_mut(&peer) else {
            return Publisher::UNKNOWN;
        };
        if is_peer {
            // One that names itself nowhere gets the identity assigned to its session: otherwise nothing could tell its
            // broadcasts from those of another such peer.
            match advertisement.hops.last_mut() {
                Some(last) if *last == HopId::UNKNOWN => *last = state.hop,
                Some(_) => {}
                None => advertisement.hops.push(state.hop),
            }
            return Publisher::UNKNOWN;
        }
        // A session that names itself nowhere adds nobody behind what it says of its broadcasts.
        let said = advertisement.hops.iter().rev().copied().find(|hop| !hop.is_unknown());
        let declared = said.or(Some(state.hop).filter(|_| state.is_hop_declared));
        let credential = state.credential;
        let hop = self.table.hop_of(credential, declared.unwrap_or(state.hop));
        advertisement.hops.clear();
        advertisement.hops.push(hop);
        advertisement.cost = RouteCost::default();
        self.table.publisher_of(credential, declared.map(|_| hop))
    }

    /// What a session was let in by tells it from others, whichever connection it comes by.
    pub(super) fn note_credential(&mut self, peer: PeerKey) {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let (Some(state), Some(connection)) = (self.peers.get_mut(&peer), connection) else {
            return;
        };
        let said = state.session.peer_setup().and_then(|setup| setup.path.as_deref());
        let target = connection.request_path().or(said).unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let mut in_query = query.split('&').filter_map(|pair| pair.strip_prefix("jwt="));
        let token = connection.bearer().or_else(|| in_query.next_back());
        let identity = connection.identity();
        let shown = match (&state.device, state.basis) {
            (Some(device), _) => Some(("device", &**device)),
            (None, Basis::Certificate) => identity.as_ref().map(|own| ("certificate", own.fingerprint.as_str())),
            (None, Basis::Token(_) | Basis::Authority) => token.map(|token| ("token", token)),
            (None, Basis::Open | Basis::Kin) => None,
        };
        state.credential = shown.map(|shown| self.table.credential_of(shown));
    }

    /// Somebody else publishes what a session has announced.
    pub(super) fn note_contest(&mut self, peer: PeerKey, path: &BroadcastPath) {
        self.statistics.sessions.contested += 1;
        let address = self.address_of(peer);
        if let Some(suppressed) = self.notices.allow(self.now) {
            let path = shown(path, PATH_LOGGED_MAX);
            tracing::info!(peer = %address, %path, suppressed, "somebody else publishes this already");
        }
        let path = path.clone();
        self.report(|session| FeedEvent::Contested { session, path }, peer);
    }

    /// The sources of a path are these: whoever of this shard has to make room for others is watched, or makes room.
    pub(super) fn watch_holders(&mut self, path: &BroadcastPath, entries: &[Entry]) {
        let shard = self.options.id;
        let is_ours = |entry: &&Entry| {
            entry.source.shard == shard && !entry.is_forwarded && self.peers.contains_key(&entry.source.peer)
        };
        let is_followed = |entry: &Entry| entries.iter().any(|other| entry.is_followed_by(other));
        // What peers pass on takes nothing from anybody, unless it is the same publisher at the process that follows.
        if entries.iter().filter(|entry| !entry.is_forwarded).count() < 2
            && !entries.iter().filter(is_ours).any(is_followed)
        {
            if !self.contests.by_session.is_empty()
                && let Some(alone) = entries.iter().find(is_ours)
            {
                self.contests.unwatch(alone.source.peer, path);
            }
            return;
        }
        // The latest session of each publisher, and who comes first of all.
        let mut latest: FxHashMap<Publisher, &Entry> = FxHashMap::default();
        for entry in entries.iter().filter(|entry| entry.publisher != Publisher::UNKNOWN) {
            let held = latest.entry(entry.publisher).or_insert(entry);
            if held.is_superseded_by(entry) {
                *held = entry;
            }
        }
        let first = entries.iter().filter(|entry| !entry.is_forwarded && !entry.is_draining);
        let first = first.max_by_key(|entry| entry.precedence).map(|entry| entry.source);
        let mut superseded = Vec::new();
        let mut watched = Vec::new();
        for entry in entries.iter().filter(is_ours) {
            let is_superseded = latest
                .get(&entry.publisher)
                .is_some_and(|latest| entry.is_superseded_by(latest));
            if is_superseded && !entry.is_draining {
                superseded.push(entry.source);
            }
            match is_superseded || first == Some(entry.source) || is_followed(entry) {
                true => watched.push(entry.source.peer),
                false => self.contests.unwatch(entry.source.peer, path),
            }
        }
        for peer in watched {
            self.watch(peer, path);
        }
        // Their tracks go on by the other session, if the content is the same. All first: a change looks at holders again.
        let mut is_changed = false;
        for source in superseded {
            is_changed |= self.table.drain(path, source);
        }
        if is_changed {
            self.changed_here(path);
        }
    }

    fn watch(&mut self, peer: PeerKey, path: &BroadcastPath) {
        let packets = self
            .endpoint
            .get_mut(connection_key(peer))
            .map(|connection| connection.packets_received());
        // Of a WebSocket the system says when the other end is gone.
        let (false, Some(packets)) = (is_link(peer), packets) else {
            return;
        };
        self.contests.watch(peer, path, packets, self.now);
    }

    /// Asks those whose names others want for a sign of life. Who gives none loses them.
    pub(super) fn check_holders(&mut self) {
        let mut silent = Vec::new();
        for (peer, watched) in &mut self.contests.by_session {
            let Some(connection) = self.endpoint.get_mut(connection_key(*peer)) else {
                continue;
            };
            let packets = connection.packets_received();
            if packets != watched.packets {
                watched.packets = packets;
                watched.heard = self.now;
                continue;
            }
            let silence = self.now.saturating_duration_since(watched.heard);
            if silence >= HOLDER_SILENCE_MAX {
                silent.push(*peer);
            } else if connection.is_established() {
                connection.ping();
                self.endpoint.mark_dirty(connection_key(*peer));
            }
        }
        for peer in silent {
            self.lose_names(peer);
        }
    }

    /// A session is silent, and others publish what it publishes. One whose publisher has come back by another is over.
    fn lose_names(&mut self, peer: PeerKey) {
        let Some(watched) = self.contests.by_session.remove(&peer) else {
            return;
        };
        let source = self.session_of(peer);
        let mut is_superseded = false;
        for path in watched.paths {
            let entries = self.table.entries(&path);
            let Some(own) = entries.iter().find(|entry| entry.source == source) else {
                continue;
            };
            let is_over = |other: &Entry| own.is_superseded_by(other) || own.is_followed_by(other);
            if entries.iter().any(is_over) {
                is_superseded = true;
            } else if entries.iter().any(|other| own.is_rival_of(other)) && self.table.yield_turn(&path, source) {
                self.statistics.sessions.yielded += 1;
                self.changed_here(&path);
            }
        }
        if is_superseded {
            if let Some(state) = self.peers.get_mut(&peer) {
                let reason = "silent, and its publisher has come back by another session";
                state.session.close(session_error::CONTROL_TIMEOUT, reason);
            }
            self.transmit(peer);
            self.end_session(peer);
        }
    }

    /// Closes sessions that have announced what they may not publish, if they have found nothing else to do here. moq-lite
    /// has no other word that a publisher would hear.
    pub(super) fn tell_refused(&mut self) {
        while let Some((since, peer)) = self.contests.refused.front().copied() {
            if self.now.saturating_duration_since(since) < REFUSED_AFTER {
                return;
            }
            self.contests.refused.pop_front();
            // Who waits for announcements has found something to do.
            let is_neighbour = self.links.has(peer) || self.announcer.has_requests(peer);
            let Some(state) = self.peers.get_mut(&peer) else {
                continue;
            };
            state.is_refusal_queued = false;
            let Some((refused, path)) = state.refused.take() else {
                continue;
            };
            // Since then it had found something, and has lost that: its time begins anew.
            if self.now.saturating_duration_since(refused) < REFUSED_AFTER {
                state.refused = Some((refused, path));
                state.is_refusal_queued = true;
                self.contests.note_refused(peer, self.now);
                continue;
            }
            let is_idle = state.published.is_empty()
                && state.unpublished.is_empty()
                && state.pace.is_empty()
                && state.requested.is_empty()
                && state.device.is_none();
            if is_neighbour || !is_idle || state.session.is_closed() {
                continue;
            }
            let reason = format!("may not publish {}", shown(&path, PATH_TOLD_MAX));
            state.session.close(session_error::UNAUTHORIZED, &reason);
            self.transmit(peer);
        }
    }
}

/// As much of a path as is to be read, without what a terminal would take for something else.
pub(super) fn shown(path: &BroadcastPath, characters_max: usize) -> String {
    let cut: String = path.as_str().chars().take(characters_max).collect();
    escaped(&cut).to_string()
}

/// A silence after which who holds a name loses it, if others publish it.
const HOLDER_SILENCE_MAX: Duration = Duration::from_secs(2);

/// How long a session has to find something that it may do, once it was refused what it announced.
const REFUSED_AFTER: Duration = Duration::from_secs(2);

/// Characters of a path that are logged.
pub(super) const PATH_LOGGED_MAX: usize = 256;

/// Characters of a path that a close reason has.
const PATH_TOLD_MAX: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_watched_no_more() {
        let now = Instant::now();
        let mut contests = Contests::default();
        let peer = PeerKey {
            index: 0,
            generation: 1,
        };
        let kept = BroadcastPath::new("call/kept");
        contests.watch(peer, &kept, 0, now);
        for number in 0..1000 {
            let path = BroadcastPath::new(&format!("call/{number}"));
            contests.watch(peer, &path, 0, now);
            assert_eq!(contests.by_session[&peer].paths.len(), 2);
            contests.unwatch(peer, &path);
        }
        contests.unwatch(peer, &kept);
        assert!(contests.by_session.is_empty());
    }
}
