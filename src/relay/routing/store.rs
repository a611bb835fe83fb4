//! The tracks that a shard keeps, and how they are found: by key, by name, by broadcast, by
//! source.
//!
//! Invariants: a track that is kept is found under its broadcast and under its source; of
//! those with one name and source at most one is found by these, and never one that was
//! retired.

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use moqswitch_proto::wire::{BroadcastPath, TrackName};

use super::ids::{Source, TrackKey};
use super::track_state::Track;

#[derive(Debug, Default)]
pub(super) struct TrackStore {
    tracks: Slab<(u32, Track)>,
    next_generation: u32,
    /// What new requests find. A track that its source no longer publishes is not here.
    by_name: FxHashMap<(BroadcastPath, TrackName, Source), TrackKey>,
    broadcasts: FxHashMap<BroadcastPath, FxHashSet<TrackKey>>,
    sources: FxHashMap<Source, FxHashSet<TrackKey>>,
}

impl TrackStore {
    /// The track of one name and source, made when there is none. `None`: there are
    /// `tracks_max` already.
    pub(super) fn track_of(
        &mut self,
        broadcast: &BroadcastPath,
        name: &TrackName,
        source: Source,
        tracks_max: usize,
    ) -> Option<TrackKey> {
        let full = (broadcast.clone(), name.clone(), source);
        if let Some(key) = self.by_name.get(&full) {
            return Some(*key);
        }
        if self.tracks.len() >= tracks_max {
            return None;
        }
        self.next_generation = self.next_generation.wrapping_add(1);
        let track = Track::new(broadcast.clone(), name.clone(), source);
        let index = self.tracks.insert((self.next_generation, track));
        let key = TrackKey {
            index: u32::try_from(index).expect("tracks_max is far below 2^32"),
            generation: self.next_generation,
        };
        self.broadcasts.entry(broadcast.clone()).or_default().insert(key);
        self.sources.entry(source).or_default().insert(key);
        self.by_name.insert(full, key);
        Some(key)
    }

    /// What a new request for this name at this source finds.
    pub(super) fn find(&self, broadcast: &BroadcastPath, name: &TrackName, source: Source) -> Option<TrackKey> {
        self.by_name.get(&(broadcast.clone(), name.clone(), source)).copied()
    }

    pub(super) fn track(&self, key: TrackKey) -> Option<&Track> {
        match self.tracks.get(key.index as usize) {
            Some((generation, track)) if *generation == key.generation => Some(track),
            _ => None,
        }
    }

    pub(super) fn track_mut(&mut self, key: TrackKey) -> Option<&mut Track> {
        match self.tracks.get_mut(key.index as usize) {
            Some((generation, track)) if *generation == key.generation => Some(track),
            _ => None,
        }
    }

    pub(super) fn of_broadcast(&self, broadcast: &BroadcastPath) -> Vec<TrackKey> {
        keys(self.broadcasts.get(broadcast))
    }

    pub(super) fn of_source(&self, source: Source) -> Vec<TrackKey> {
        keys(self.sources.get(&source))
    }

    /// New requests for the track begin another one.
    pub(super) fn retire(&mut self, key: TrackKey) {
        let Some(track) = self.track(key) else { return };
        let name = (track.broadcast().clone(), track.name().clone(), track.source());
        if self.by_name.get(&name) == Some(&key) {
            self.by_name.remove(&name);
        }
    }

    /// The track goes on from another source. Where that has a track of this name already,
    /// this one goes on beside it for those who have it, and new requests find the other.
    pub(super) fn change_source(&mut self, key: TrackKey, source: Source) {
        self.retire(key);
        let Some(track) = self.track_mut(key) else { return };
        let old = track.change_source(source);
        let name = (track.broadcast().clone(), track.name().clone(), source);
        remove_from(&mut self.sources, &old, key);
        self.sources.entry(source).or_default().insert(key);
        self.by_name.entry(name).or_insert(key);
    }

    pub(super) fn remove(&mut self, key: TrackKey) {
        self.retire(key);
        let Some(track) = self.track(key) else { return };
        let (broadcast, source) = (track.broadcast().clone(), track.source());
        remove_from(&mut self.broadcasts, &broadcast, key);
        remove_from(&mut self.sources, &source, key);
        self.tracks.remove(key.index as usize);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().map(|(_, (_, track))| track)
    }

    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }
}

fn keys(set: Option<&FxHashSet<TrackKey>>) -> Vec<TrackKey> {
    set.map(|keys| keys.iter().copied().collect()).unwrap_or_default()
}

fn remove_from<Name: Eq + std::hash::Hash>(
    index: &mut FxHashMap<Name, FxHashSet<TrackKey>>,
    name: &Name,
    key: TrackKey,
) {
    if let Some(keys) = index.get_mut(name) {
        keys.remove(&key);
        if keys.is_empty() {
            index.remove(name);
        }
    }
}
