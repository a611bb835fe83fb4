//! FETCH: one group, from the cache or else from the publisher, once for all who ask.

use std::time::Instant;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use moqswitch_proto::wire::{BroadcastPath, Chunk, ErrorCode, Fetch, GroupSequence, StreamId, TrackName, stream_error};

use super::action::Action;
use super::egress::{Out, OutState, Rank, Requested, Serves};
use super::group::{GroupToken, Progress};
use super::ids::{FetchKey, PeerKey, RequestKey, ShardId, Source};
use super::remote::RemoteMessage;
use super::tracks::Tracks;

/// Who gets a fetched group.
#[derive(Clone, Debug)]
pub(super) enum FetchReader {
    Peer { key: RequestKey, message: Fetch },
    Shard { shard: ShardId, fetch: FetchKey },
}

/// A fetch that waits for its publisher.
#[derive(Debug)]
pub(super) struct Fetching {
    broadcast: BroadcastPath,
    name: TrackName,
    sequence: GroupSequence,
    source: Source,
    stream: Option<StreamId>,
    /// Made with the first bytes: until then the publisher may still refuse.
    group: Option<GroupToken>,
    readers: SmallVec<[FetchReader; 1]>,
}

/// The fetches that wait for their publishers.
#[derive(Debug, Default)]
pub(super) struct FetchTable {
    pending: FxHashMap<FetchKey, Fetching>,
    named: u64,
    asked: u64,
    from_cache: u64,
}

impl FetchTable {
    fn insert(&mut self, fetching: Fetching) -> FetchKey {
        self.named += 1;
        let fetch = FetchKey(self.named);
        self.pending.insert(fetch, fetching);
        fetch
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Fetches of peers of this shard so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// Those of them that asked no publisher.
    pub(super) fn answered_from_cache(&self) -> u64 {
        self.from_cache
    }
}

impl Tracks {
    /// A peer fetches a group. The path in `message` is a full one.
    pub fn handle_fetch(&mut self, peer: PeerKey, request: StreamId, message: &Fetch, source: Option<Source>) {
        let key = RequestKey { peer, request };
        let Some(source) = source else {
            return self.refuse(key, stream_error::NOT_FOUND);
        };
        self.fetches.asked += 1;
        let reader = FetchReader::Peer {
            key,
            message: message.clone(),
        };
        if let Some(token) = self.cached(&message.broadcast, &message.track, source, message.group) {
            self.fetches.from_cache += 1;
            return self.read_fetched(&reader, token);
        }
        self.fetch_upstream(reader, message, source);
    }

    /// A peer gave up its fetch.
    pub fn handle_fetch_ended(&mut self, peer: PeerKey, request: StreamId, now: Instant) {
        self.end_request(RequestKey { peer, request }, now);
    }

    /// A group of the cache that is whole or becoming so.
    fn cached(
        &self,
        broadcast: &BroadcastPath,
        name: &TrackName,
        source: Source,
        sequence: GroupSequence,
    ) -> Option<GroupToken> {
        let key = self.store.find(broadcast, name, source)?;
        let token = self.track(key)?.groups.token(sequence)?;
        let group = self.groups.get(token)?;
        (!matches!(group.progress(), Progress::Aborted(_))).then_some(token)
    }

    fn fetch_upstream(&mut self, reader: FetchReader, message: &Fetch, source: Source) {
        let same = self.fetches.pending.iter().find(|(_, fetching)| {
            fetching.source == source
                && fetching.sequence == message.group
                && fetching.broadcast == message.broadcast
                && fetching.name == message.track
        });
        if let Some((fetch, group)) = same.map(|(fetch, fetching)| (*fetch, fetching.group)) {
            return self.join_fetch(fetch, group, reader);
        }
        if self.fetches.pending() >= self.limits.fetches_max {
            return self.refuse_fetch(&reader, stream_error::INTERNAL);
        }
        let fetch = self.fetches.insert(Fetching {
            broadcast: message.broadcast.clone(),
            name: message.track.clone(),
            sequence: message.group,
            source,
            stream: None,
            group: None,
            readers: SmallVec::new(),
        });
        // The whole group, so that it serves everyone who wants a part.
        let whole = Fetch {
            epoch: 0,
            frame_start: 0,
            frame_end: None,
            ..message.clone()
        };
        if source.shard == self.shard {
            self.decisions.push(Action::Fetch {
                peer: source.peer,
                fetch,
                message: whole,
            });
        } else {
            self.decisions.send(
                source.shard,
                RemoteMessage::Fetch {
                    fetch,
                    source,
                    message: whole,
                },
            );
        }
        self.join_fetch(fetch, None, reader);
    }

    fn join_fetch(&mut self, fetch: FetchKey, group: Option<GroupToken>, reader: FetchReader) {
        if let Some(token) = group {
            self.read_fetched(&reader, token);
        }
        match &reader {
            // It reads the group by itself.
            FetchReader::Peer { .. } if group.is_some() => return,
            FetchReader::Peer { key, .. } => self.peers.insert_request(*key, Requested::Fetch(fetch)),
            FetchReader::Shard { .. } => {}
        }
        if let Some(fetching) = self.fetches.pending.get_mut(&fetch) {
            fetching.readers.push(reader);
        }
    }

    /// Lets someone read a group.
    fn read_fetched(&mut self, reader: &FetchReader, token: GroupToken) {
        match reader {
            FetchReader::Peer { key, message } => {
                let arrival = self.peers.next_arrival();
                let out = Out {
                    serves: Serves::Fetch(*key),
                    group: token,
                    sequence: message.group,
                    rank: Rank::new(message.priority, 0, true, arrival),
                    arrival,
                    frames: (message.frame_start, message.frame_end),
                    stream: Some(key.request),
                    chunk: 0,
                    offset: 0,
                    transcoder: None,
                    pieces: Default::default(),
                    state: OutState::Idle,
                    is_behind: false,
                };
                match self.add_out(key.peer, out) {
                    Some(out) => self.peers.insert_request(*key, Requested::Fetched { out }),
                    None => self.refuse_fetch(reader, stream_error::INTERNAL),
                }
            }
            FetchReader::Shard { shard, fetch } => {
                let Some(group) = self.groups.get(token) else { return };
                let (chunks, progress) = (group.chunks().to_vec(), group.progress());
                self.decisions
                    .send(*shard, RemoteMessage::FetchChunks { fetch: *fetch, chunks });
                if progress == Progress::Ended {
                    self.decisions.send(
                        *shard,
                        RemoteMessage::FetchClosed {
                            fetch: *fetch,
                            code: None,
                        },
                    );
                }
            }
        }
    }

    fn refuse_fetch(&mut self, reader: &FetchReader, code: ErrorCode) {
        match reader {
            FetchReader::Peer { key, .. } => {
                self.peers.remove_request(*key);
                self.refuse(*key, code);
            }
            FetchReader::Shard { shard, fetch } => {
                let message = RemoteMessage::FetchClosed {
                    fetch: *fetch,
                    code: Some(code),
                };
                self.decisions.send(*shard, message);
            }
        }
    }

    /// A waiting peer gave up.
    pub(super) fn leave_fetch(&mut self, fetch: FetchKey, key: RequestKey) {
        let Some(fetching) = self.fetches.pending.get_mut(&fetch) else {
            return;
        };
        fetching
            .readers
            .retain(|reader| !matches!(reader, FetchReader::Peer { key: other, .. } if *other == key));
        self.cancel_if_unread(fetch);
    }

    /// Gives up a fetch that nobody waits for any more.
    pub(super) fn cancel_if_unread(&mut self, fetch: FetchKey) {
        let Some(fetching) = self.fetches.pending.get(&fetch) else {
            return;
        };
        // Peers leave this list for the group's readers once there is a group.
        let has_readers = match fetching.group.and_then(|token| self.groups.get(token)) {
            Some(group) => {
                let is_shard = |reader: &FetchReader| matches!(reader, FetchReader::Shard { .. });
                !group.readers().is_empty() || fetching.readers.iter().any(is_shard)
            }
            None => !fetching.readers.is_empty(),
        };
        if !has_readers {
            self.cancel_fetch(fetch);
        }
    }

    fn cancel_fetch(&mut self, fetch: FetchKey) {
        let Some(fetching) = self.fetches.pending.remove(&fetch) else {
            return;
        };
        if let Some(token) = fetching.group {
            self.groups.remove(token);
        }
        match fetching.stream {
            Some(stream) => {
                let peer = fetching.source.peer;
                self.names.remove_fetch(peer, stream);
                self.decisions.push(Action::CancelRequest { peer, stream });
            }
            None if fetching.source.shard != self.shard => {
                self.decisions
                    .send(fetching.source.shard, RemoteMessage::CancelFetch { fetch });
            }
            None => {}
        }
    }

    /// The session fetches on this stream.
    pub fn on_fetching(&mut self, peer: PeerKey, fetch: FetchKey, stream: StreamId) {
        let Some(fetching) = self.fetches.pending.get_mut(&fetch) else {
            return self.decisions.push(Action::CancelRequest { peer, stream });
        };
        fetching.stream = Some(stream);
        self.names.add_fetch(peer, stream, fetch);
    }

    /// The session cannot fetch, or not any more: all who wait are refused.
    pub fn on_fetch_refused(&mut self, fetch: FetchKey, code: ErrorCode) {
        self.close_fetch(fetch, Some(code));
    }

    /// Bytes of a fetched group came, in order. Nothing happens when nobody waits for them.
    pub fn handle_fetch_chunk(&mut self, peer: PeerKey, stream: StreamId, chunk: Chunk, now: Instant) {
        if let Some(fetch) = self.names.fetch(peer, stream) {
            self.on_fetch_chunk(fetch, chunk, now);
        }
    }

    /// A fetch of the session's is over: with `None` the group is whole, else those who wait for it are refused.
    pub fn handle_fetch_closed(&mut self, peer: PeerKey, stream: StreamId, code: Option<ErrorCode>, now: Instant) {
        if let Some(fetch) = self.names.remove_fetch(peer, stream) {
            if code.is_none() {
                self.ensure_group(fetch, now);
            }
            self.close_fetch(fetch, code);
        }
    }

    pub(super) fn on_fetch_chunk(&mut self, fetch: FetchKey, chunk: Chunk, now: Instant) {
        let Some(token) = self.ensure_group(fetch, now) else {
            return;
        };
        let shards: SmallVec<[(ShardId, FetchKey); 2]> = self
            .fetches
            .pending
            .get(&fetch)
            .map(|fetching| {
                fetching
                    .readers
                    .iter()
                    .filter_map(|reader| match reader {
                        FetchReader::Shard { shard, fetch } => Some((*shard, *fetch)),
                        FetchReader::Peer { .. } => None,
                    })
                    .collect()
            })
            .unwrap_or_default();
        for (shard, fetch) in shards {
            let chunks = vec![chunk.clone()];
            self.decisions.send(shard, RemoteMessage::FetchChunks { fetch, chunks });
        }
        self.append(token, chunk);
    }

    /// The group that a fetch fills, with its local readers placed in it.
    pub(super) fn ensure_group(&mut self, fetch: FetchKey, now: Instant) -> Option<GroupToken> {
        let fetching = self.fetches.pending.get_mut(&fetch)?;
        if let Some(token) = fetching.group {
            return Some(token);
        }
        let token = self.groups.insert(None, fetching.sequence, now);
        fetching.group = Some(token);
        if let Some(group) = self.groups.get_mut(token) {
            group.set_fetch(Some(fetch));
        }
        let readers: Vec<FetchReader> = fetching
            .readers
            .iter()
            .filter(|reader| matches!(reader, FetchReader::Peer { .. }))
            .cloned()
            .collect();
        self.cache_group(token);
        for reader in readers {
            self.read_fetched(&reader, token);
        }
        Some(token)
    }

    pub(super) fn close_fetch(&mut self, fetch: FetchKey, code: Option<ErrorCode>) {
        let Some(fetching) = self.fetches.pending.remove(&fetch) else {
            return;
        };
        for reader in &fetching.readers {
            match reader {
                FetchReader::Shard { shard, fetch } => {
                    self.decisions
                        .send(*shard, RemoteMessage::FetchClosed { fetch: *fetch, code });
                }
                FetchReader::Peer { .. } if fetching.group.is_none() => {
                    self.refuse_fetch(reader, code.unwrap_or(stream_error::NOT_FOUND));
                }
                FetchReader::Peer { .. } => {}
            }
        }
        if let Some(token) = fetching.group {
            if let Some(group) = self.groups.get_mut(token) {
                group.set_fetch(None);
            }
            match code {
                None => self.group_finished(token),
                Some(code) => self.group_aborted(token, code),
            }
            self.drop_unread(token);
        }
    }

    /// A group in no cache that nobody reads.
    pub(super) fn drop_unread(&mut self, token: GroupToken) {
        let is_unread = self
            .groups
            .get(token)
            .is_some_and(|group| group.track().is_none() && group.readers().is_empty());
        if is_unread {
            self.groups.remove(token);
        }
    }

    /// Fetches whose publisher is gone, or may not answer any more.
    pub(super) fn end_fetches(&mut self, source: Source, is_over: impl Fn(&BroadcastPath) -> bool) {
        let gone: Vec<FetchKey> = self
            .fetches
            .pending
            .iter()
            .filter(|(_, fetching)| fetching.source == source && is_over(&fetching.broadcast))
            .map(|(fetch, _)| *fetch)
            .collect();
        for fetch in gone {
            if let Some(stream) = self.fetches.pending.get(&fetch).and_then(|fetching| fetching.stream) {
                self.names.remove_fetch(source.peer, stream);
            }
            self.close_fetch(fetch, Some(stream_error::SESSION_CLOSED));
        }
    }

    /// Another shard fetches from a publisher of ours.
    pub(super) fn handle_remote_fetch(&mut self, shard: ShardId, fetch: FetchKey, source: Source, message: &Fetch) {
        let reader = FetchReader::Shard { shard, fetch };
        if source.shard != self.shard || !self.peers.contains(source.peer) {
            return self.refuse_fetch(&reader, stream_error::NOT_FOUND);
        }
        let whole = self
            .cached(&message.broadcast, &message.track, source, message.group)
            .filter(|token| {
                self.groups
                    .get(*token)
                    .is_some_and(|group| group.progress() == Progress::Ended)
            });
        match whole {
            Some(token) => self.read_fetched(&reader, token),
            None => self.fetch_upstream(reader, message, source),
        }
    }

    /// Another shard gave a fetch up.
    pub(super) fn handle_remote_cancel(&mut self, shard: ShardId, fetch: FetchKey) {
        if let Some(own) = self.forget_fetch_reader(shard, fetch) {
            self.cancel_if_unread(own);
        }
    }

    /// Another shard gets no more of a fetched group. Our name for the fetch, if it goes on.
    pub(super) fn forget_fetch_reader(&mut self, shard: ShardId, fetch: FetchKey) -> Option<FetchKey> {
        let of_shard = |reader: &FetchReader| matches!(reader, FetchReader::Shard { shard: of, fetch: name } if *of == shard && *name == fetch);
        let (own, fetching) = self
            .fetches
            .pending
            .iter_mut()
            .find(|(_, fetching)| fetching.readers.iter().any(of_shard))?;
        fetching.readers.retain(|reader| !of_shard(reader));
        Some(*own)
    }
}
