//! What sessions hold, in bytes: of each, of the shard, and of the process. A session with more than it may have is closed.
//! While the process has more than it may, no session begins, and those that hold most are closed one after the other.
//!
//! Counted is what grows with what a peer does: streams, requests, messages that are not whole, control bytes that it does
//! not read, announcements. The announce table is added for the process; the group cache has a bound of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use moqswitch_proto::wire::session_error;

use crate::auth::token::Refusal;
use crate::net::thread_cpu_time;
use crate::routing::PeerKey;

use super::peer::Peer;
use super::statistics::DropCause;
use super::worker::Shard;

/// Bounds on what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Of one session.
    pub session_bytes_max: u64,
    /// Of all sessions and the announce table of the process together.
    pub process_bytes_max: u64,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            session_bytes_max: 64 << 20,
            process_bytes_max: 4 << 30,
        }
    }
}

/// What each shard of the process holds.
#[derive(Debug)]
pub struct Memory {
    shards: Box<[AtomicU64]>,
}

impl Memory {
    /// Of so many shards, which hold nothing yet.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn set(&self, shard: usize, bytes: u64) {
        if let Some(held) = self.shards.get(shard) {
            held.store(bytes, Ordering::Relaxed);
        }
    }

    fn total(&self) -> u64 {
        self.shards.iter().map(|held| held.load(Ordering::Relaxed)).sum()
    }
}

impl Peer {
    /// What its session holds, beside what its connection does within its windows.
    pub(super) fn held_bytes(&self) -> u64 {
        let stats = self.session.stats();
        let announced = stats.live.announced * ANNOUNCED_BYTES + self.unpublished.len() * ANNOUNCED_BYTES;
        let requests = self.requested.len() * REQUEST_BYTES;
        let held =
            stats.streams * STREAM_BYTES + stats.live.buffered_bytes + self.backlog.bytes() + announced + requests;
        held as u64
    }
}

impl Shard {
    /// Adds up what is held, and does what has to be done when that is too much.
    pub(super) fn check_memory(&mut self) {
        let limits = self.options.memory;
        let mut total = 0;
        let mut most: Option<(u64, PeerKey)> = None;
        let mut beyond = Vec::new();
        for (key, peer) in &self.peers {
            let held = peer.held_bytes();
            total += held;
            // Another relay has what many publish.
            if self.links.has(*key) {
                continue;
            }
            if held > limits.session_bytes_max {
                beyond.push((held, *key));
            }
            if most.is_none_or(|(bytes, _)| held > bytes) {
                most = Some((held, *key));
            }
        }
        self.statistics.sessions.held_bytes_now = total;
        // Caches have a bound of their own, and to close a session frees none of what they have.
        self.memory.set(usize::from(self.options.id.0), total);
        let process = self.memory.total() + self.table.held_bytes() as u64;
        self.is_memory_full = process > limits.process_bytes_max;
        for (held, peer) in beyond {
            self.close_for_memory(peer, held, "the session holds more than it may");
        }
        if let Some((held, peer)) = most.filter(|(held, _)| self.is_memory_full && *held >= CLOSED_BYTES_MIN) {
            self.close_for_memory(
                peer,
                held,
                "the memory of the relay is full, and this session holds most",
            );
        }
    }

    fn close_for_memory(&mut self, peer: PeerKey, held: u64, reason: &str) {
        let address = self.address_of(peer);
        let Some(state) = self.peers.get_mut(&peer).filter(|state| !state.session.is_closed()) else {
            return;
        };
        state.session.close(session_error::INTERNAL, reason);
        self.statistics.drops.add(DropCause::Memory, 1);
        if let Some(suppressed) = self.notices.allow(self.now) {
            tracing::warn!(peer = %address, held, suppressed, "session closed: {reason}");
        }
        self.transmit(peer);
    }

    /// Why no session may begin now that comes from where this one does.
    pub(super) fn cannot_take(&mut self, peer: PeerKey) -> Option<Refusal> {
        if self.is_memory_full {
            return Some(Refusal::Full);
        }
        if !self.load.is_overloaded() {
            return None;
        }
        let address = self.address_of(peer);
        (!self.shares.has_place_for(address)).then_some(Refusal::Overloaded)
    }

    /// The turn has ended: whether there is too much to do shows in how long it took.
    pub(super) fn note_turn(&mut self) {
        let ended = Instant::now();
        let is_changed = self.load.on_turn(self.now, ended, thread_cpu_time);
        let is_overloaded = self.load.is_overloaded();
        if is_overloaded && self.shares.on_turn(self.now, ended) {
            self.websockets.share_places(self.shares.heaviest());
        }
        if !is_changed {
            return;
        }
        self.shares.clear(ended);
        self.endpoint.set_overloaded(is_overloaded);
        self.websockets.set_overloaded(is_overloaded);
        if let Some(suppressed) = self.notices.allow(self.now) {
            let shard = self.options.id.0;
            match is_overloaded {
                true => tracing::warn!(shard, suppressed, "overloaded: new sessions are refused"),
                false => tracing::info!(shard, suppressed, "no longer overloaded"),
            }
        }
    }
}

/// What a stream takes at both ends of a session, that of its connection included.
const STREAM_BYTES: usize = 2048;

/// A request, with its place in routing.
const REQUEST_BYTES: usize = 1024;

/// An announcement, its path included.
const ANNOUNCED_BYTES: usize = 512;

/// A session that holds less is not closed for what others need.
const CLOSED_BYTES_MIN: u64 = 64 * 1024;
