//! What others call things of this shard: publishers' sessions by their subscribe ids and
//! request streams, other shards by their names for tracks.
//!
//! Invariant: a name is here for as long as it may still be used. What it stands for is
//! given up at the same time.

use rustc_hash::FxHashMap;

use moqswitch_proto::wire::{StreamId, SubscribeId};

use super::ids::{FetchKey, PeerKey, RemoteTrack, ShardId, TrackKey};

#[derive(Debug, Default)]
pub(super) struct Names {
    /// Upstream subscriptions at sessions of this shard.
    subscriptions: FxHashMap<(PeerKey, SubscribeId), TrackKey>,
    /// Requests for TRACK_INFO.
    info_streams: FxHashMap<(PeerKey, StreamId), TrackKey>,
    fetch_streams: FxHashMap<(PeerKey, StreamId), FetchKey>,
    /// Subscriptions of other shards, by track and slot.
    remotes: FxHashMap<(ShardId, RemoteTrack), (TrackKey, usize)>,
}

impl Names {
    pub(super) fn add_subscription(&mut self, peer: PeerKey, id: SubscribeId, track: TrackKey) {
        self.subscriptions.insert((peer, id), track);
    }

    pub(super) fn subscription(&self, peer: PeerKey, id: SubscribeId) -> Option<TrackKey> {
        self.subscriptions.get(&(peer, id)).copied()
    }

    pub(super) fn remove_subscription(&mut self, peer: PeerKey, id: SubscribeId) {
        self.subscriptions.remove(&(peer, id));
    }

    pub(super) fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn add_info(&mut self, peer: PeerKey, stream: StreamId, track: TrackKey) {
        self.info_streams.insert((peer, stream), track);
    }

    pub(super) fn remove_info(&mut self, peer: PeerKey, stream: StreamId) -> Option<TrackKey> {
        self.info_streams.remove(&(peer, stream))
    }

    pub(super) fn add_fetch(&mut self, peer: PeerKey, stream: StreamId, fetch: FetchKey) {
        self.fetch_streams.insert((peer, stream), fetch);
    }

    pub(super) fn fetch(&self, peer: PeerKey, stream: StreamId) -> Option<FetchKey> {
        self.fetch_streams.get(&(peer, stream)).copied()
    }

    pub(super) fn remove_fetch(&mut self, peer: PeerKey, stream: StreamId) -> Option<FetchKey> {
        self.fetch_streams.remove(&(peer, stream))
    }

    pub(super) fn add_remote(&mut self, shard: ShardId, name: RemoteTrack, track: TrackKey, slot: usize) {
        self.remotes.insert((shard, name), (track, slot));
    }

    pub(super) fn remote(&self, shard: ShardId, name: RemoteTrack) -> Option<(TrackKey, usize)> {
        self.remotes.get(&(shard, name)).copied()
    }

    pub(super) fn remove_remote(&mut self, shard: ShardId, name: RemoteTrack) -> Option<(TrackKey, usize)> {
        self.remotes.remove(&(shard, name))
    }

    /// Whether another shard subscribes to any track of this one.
    pub(super) fn has_remotes(&self) -> bool {
        !self.remotes.is_empty()
    }
}
