//! The sessions of this shard as routing sees them, and which have something to send.
//!
//! Invariant: a peer is in `dirty` exactly when its egress is marked so.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use moqswitch_proto::wire::Version;

use super::egress::{Egress, Out, Requested};
use super::group::Reader;
use super::ids::{PeerKey, RequestKey};

#[derive(Debug, Default)]
pub(super) struct Peers {
    egresses: FxHashMap<PeerKey, Egress>,
    dirty: VecDeque<PeerKey>,
    arrivals: u64,
}

/// Why a cursor has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unplaced {
    NoPeer,
    Full,
}

impl Peers {
    pub(super) fn insert(&mut self, peer: PeerKey, egress: Egress) {
        self.egresses.insert(peer, egress);
    }

    pub(super) fn get(&self, peer: PeerKey) -> Option<&Egress> {
        self.egresses.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: PeerKey) -> Option<&mut Egress> {
        self.egresses.get_mut(&peer)
    }

    pub(super) fn remove(&mut self, peer: PeerKey) -> Option<Egress> {
        self.egresses.remove(&peer)
    }

    pub(super) fn contains(&self, peer: PeerKey) -> bool {
        self.egresses.contains_key(&peer)
    }

    pub(super) fn version(&self, peer: PeerKey) -> Option<Version> {
        self.get(peer).map(Egress::version)
    }

    /// The number of a group's arrival, by which its age is compared with others'.
    pub(super) fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// A peer has something to send.
    pub(super) fn mark_dirty(&mut self, peer: PeerKey) {
        if let Some(egress) = self.egresses.get_mut(&peer)
            && egress.mark_dirty()
        {
            self.dirty.push_back(peer);
        }
    }

    /// A new cursor, which has something to send. `Err`: there is no such peer, or it has as many as it may.
    pub(super) fn add_out(&mut self, peer: PeerKey, out: Out) -> Result<u32, Unplaced> {
        let egress = self.egresses.get_mut(&peer).ok_or(Unplaced::NoPeer)?;
        if egress.is_full() {
            return Err(Unplaced::Full);
        }
        let index = egress.insert(out);
        egress.mark_ready(index);
        if egress.mark_dirty() {
            self.dirty.push_back(peer);
        }
        Ok(index)
    }

    /// A cursor has something to send.
    pub(super) fn wake(&mut self, reader: Reader) {
        if let Some(egress) = self.egresses.get_mut(&reader.peer)
            && egress.mark_ready(reader.out)
            && egress.mark_dirty()
        {
            self.dirty.push_back(reader.peer);
        }
    }

    pub(super) fn poll_dirty(&mut self) -> Option<PeerKey> {
        while let Some(peer) = self.dirty.pop_front() {
            if let Some(egress) = self.egresses.get_mut(&peer) {
                egress.clear_dirty();
                return Some(peer);
            }
        }
        None
    }

    pub(super) fn insert_request(&mut self, key: RequestKey, requested: Requested) {
        if let Some(egress) = self.egresses.get_mut(&key.peer) {
            egress.insert_request(key.request, requested);
        }
    }

    pub(super) fn remove_request(&mut self, key: RequestKey) -> Option<Requested> {
        self.egresses.get_mut(&key.peer)?.remove_request(key.request)
    }

    pub(super) fn request(&self, key: RequestKey) -> Option<Requested> {
        self.egresses.get(&key.peer)?.request(key.request)
    }

    pub(super) fn request_count(&self) -> usize {
        self.egresses.values().map(|egress| egress.requests().len()).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.egresses.len()
    }
}
