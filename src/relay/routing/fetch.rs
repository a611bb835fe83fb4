//! FETCH: one group, from the cache or else from the publisher, once for all who ask.

use std::time::Instant;

use smallvec::SmallVec;

use moqswitch_proto::wire::{BroadcastPath, Chunk, ErrorCode, Fetch, GroupSequence, StreamId, TrackName, stream_error};

use super::action::Action;
use super::egress::{Out, OutState, Rank, Serves};
use super::group::{GroupToken, Progress};
use super::ids::{FetchKey, PeerKey, RequestKey, ShardId, Source};
use super::remote::RemoteMessage;
use super::tracks::{Requested, Tracks};

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
    pub(super) source: Source,
    stream: Option<StreamId>,
    /// Made with the first bytes: until then the publisher may still refuse.
    group: Option<GroupToken>,
    readers: SmallVec<[FetchReader; 1]>,
}

impl Tracks {
    /// A peer fetches a group. The path in `message` is a full one.
    pub fn handle_fetch(&mut self, peer: PeerKey, request: StreamId, message: &Fetch, source: Option<Source>) {
        let key = RequestKey { peer, request };
        let Some(source) = source else {
            return self.refuse(key, stream_error::NOT_FOUND);
        };
        self.statistics.fetches += 1;
        let reader = FetchReader::Peer {
            key,
            message: message.clone(),
        };
        if let Some(token) = self.cached(&message.broadcast, &message.track, source, message.group) {
            self.statistics.fetches_from_cache += 1;
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
        let key = self.by_name.get(&(broadcast.clone(), name.clone(), source))?;
        let token = self.track(*key)?.group(sequence)?;
        let group = self.groups.get(token)?;
        (!matches!(group.progress, Progress::Aborted(_))).then_some(token)
    }

    fn fetch_upstream(&mut self, reader: FetchReader, message: &Fetch, source: Source) {
        let same = self.fetching.iter().find(|(_, fetching)| {
            fetching.source == source
                && fetching.sequence == message.group
                && fetching.broadcast == message.broadcast
                && fetching.name == message.track
        });
        if let Some((fetch, group)) = same.map(|(fetch, fetching)| (*fetch, fetching.group)) {
            return self.join_fetch(fetch, group, reader);
        }
        if self.fetching.len() >= self.limits.fetches_max {
            return self.refuse_fetch(&reader, stream_error::INTERNAL);
        }
        self.next_fetch += 1;
        let fetch = FetchKey(self.next_fetch);
        self.fetching.insert(
            fetch,
            Fetching {
                broadcast: message.broadcast.clone(),
                name: message.track.clone(),
                sequence: message.group,
                source,
                stream: None,
                group: None,
                readers: SmallVec::new(),
            },
        );
        // The whole group, so that it serves everyone who wants a part.
        let whole = Fetch {
            epoch: 0,
            frame_start: 0,
            frame_end: None,
            ..message.clone()
        };
        if source.shard == self.shard {
            self.actions.push_back(Action::Fetch {
                peer: source.peer,
                fetch,
                message: whole,
            });
        } else {
            self.send(
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
            FetchReader::Peer { key, .. } => self.insert_request(*key, Requested::Fetch(fetch)),
            FetchReader::Shard { .. } => {}
        }
        if let Some(fetching) = self.fetching.get_mut(&fetch) {
            fetching.readers.push(reader);
        }
    }

    /// Lets someone read a group.
    fn read_fetched(&mut self, reader: &FetchReader, token: GroupToken) {
        match reader {
            FetchReader::Peer { key, message } => {
                self.arrivals += 1;
                let out = Out {
                    serves: Serves::Fetch(*key),
                    group: token,
                    sequence: message.group,
                    rank: Rank::new(message.priority, 0, true, self.arrivals),
                    arrival: self.arrivals,
                    frames: (message.frame_start, message.frame_end),
                    stream: Some(key.request),
                    chunk: 0,
                    offset: 0,
                    transcoder: None,
                    pieces: Default::default(),
                    state: OutState::Idle,
                };
                match self.add_out(key.peer, out) {
                    Some(out) => self.insert_request(*key, Requested::Fetched { out }),
                    None => self.refuse_fetch(reader, stream_error::INTERNAL),
                }
            }
            FetchReader::Shard { shard, fetch } => {
                let Some(group) = self.groups.get(token) else { return };
                let (chunks, progress) = (group.chunks.to_vec(), group.progress);
                self.send(*shard, RemoteMessage::FetchChunks { fetch: *fetch, chunks });
                if progress == Progress::Ended {
                    self.send(
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
                self.remove_request(*key);
                self.refuse(*key, code);
            }
            FetchReader::Shard { shard, fetch } => {
                let message = RemoteMessage::FetchClosed {
                    fetch: *fetch,
                    code: Some(code),
                };
                self.send(*shard, message);
            }
        }
    }

    /// A waiting peer gave up.
    pub(super) fn leave_fetch(&mut self, fetch: FetchKey, key: RequestKey) {
        let Some(fetching) = self.fetching.get_mut(&fetch) else {
            return;
        };
        fetching
            .readers
            .retain(|reader| !matches!(reader, FetchReader::Peer { key: other, .. } if *other == key));
        self.cancel_if_unread(fetch);
    }

    /// Gives up a fetch that nobody waits for any more.
    pub(super) fn cancel_if_unread(&mut self, fetch: FetchKey) {
        let Some(fetching) = self.fetching.get(&fetch) else {
            return;
        };
        // Peers leave this list for the group's readers once there is a group.
        let has_readers = match fetching.group.and_then(|token| self.groups.get(token)) {
            Some(group) => {
                let is_shard = |reader: &FetchReader| matches!(reader, FetchReader::Shard { .. });
                !group.readers.is_empty() || fetching.readers.iter().any(is_shard)
            }
            None => !fetching.readers.is_empty(),
        };
        if !has_readers {
            self.cancel_fetch(fetch);
        }
    }

    fn cancel_fetch(&mut self, fetch: FetchKey) {
        let Some(fetching) = self.fetching.remove(&fetch) else {
            return;
        };
        if let Some(token) = fetching.group {
            self.groups.remove(token);
        }
        match fetching.stream {
            Some(stream) => {
                let peer = fetching.source.peer;
                self.fetch_streams.remove(&(peer, stream));
                self.actions.push_back(Action::CancelRequest { peer, stream });
            }
            None if fetching.source.shard != self.shard => {
                self.send(fetching.source.shard, RemoteMessage::CancelFetch { fetch });
            }
            None => {}
        }
    }

    /// The session fetches on this stream.
    pub fn on_fetching(&mut self, peer: PeerKey, fetch: FetchKey, stream: StreamId) {
        let Some(fetching) = self.fetching.get_mut(&fetch) else {
            return self.actions.push_back(Action::CancelRequest { peer, stream });
        };
        fetching.stream = Some(stream);
        self.fetch_streams.insert((peer, stream), fetch);
    }

    /// The session cannot fetch, or not any more: all who wait are refused.
    pub fn on_fetch_refused(&mut self, fetch: FetchKey, code: ErrorCode) {
        self.close_fetch(fetch, Some(code));
    }

    /// Bytes of a fetched group came, in order. Nothing happens when nobody waits for them.
    pub fn handle_fetch_chunk(&mut self, peer: PeerKey, stream: StreamId, chunk: Chunk, now: Instant) {
        if let Some(fetch) = self.fetch_streams.get(&(peer, stream)).copied() {
            self.on_fetch_chunk(fetch, chunk, now);
        }
    }

    /// A fetch of the session's is over: with `None` the group is whole, else those who wait for it are refused.
    pub fn handle_fetch_closed(&mut self, peer: PeerKey, stream: StreamId, code: Option<ErrorCode>, now: Instant) {
        if let Some(fetch) = self.fetch_streams.remove(&(peer, stream)) {
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
            .fetching
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
            self.send(shard, RemoteMessage::FetchChunks { fetch, chunks });
        }
        self.append(token, chunk);
    }

    /// The group that a fetch fills, with its local readers placed in it.
    pub(super) fn ensure_group(&mut self, fetch: FetchKey, now: Instant) -> Option<GroupToken> {
        let fetching = self.fetching.get_mut(&fetch)?;
        if let Some(token) = fetching.group {
            return Some(token);
        }
        let token = self.groups.insert(None, fetching.sequence, now);
        fetching.group = Some(token);
        if let Some(group) = self.groups.get_mut(token) {
            group.fetch = Some(fetch);
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
        let Some(fetching) = self.fetching.remove(&fetch) else {
            return;
        };
        for reader in &fetching.readers {
            match reader {
                FetchReader::Shard { shard, fetch } => {
                    self.send(*shard, RemoteMessage::FetchClosed { fetch: *fetch, code });
                }
                FetchReader::Peer { .. } if fetching.group.is_none() => {
                    self.refuse_fetch(reader, code.unwrap_or(stream_error::NOT_FOUND));
                }
                FetchReader::Peer { .. } => {}
            }
        }
        if let Some(token) = fetching.group {
            if let Some(group) = self.groups.get_mut(token) {
                group.fetch = None;
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
            .is_some_and(|group| group.track.is_none() && group.readers.is_empty());
        if is_unread {
            self.groups.remove(token);
        }
    }

    /// Fetches whose publisher is gone.
    pub(super) fn end_fetches(&mut self, source: Source) {
        let gone: Vec<FetchKey> = self
            .fetching
            .iter()
            .filter(|(_, fetching)| fetching.source == source)
            .map(|(fetch, _)| *fetch)
            .collect();
        for fetch in gone {
            if let Some(stream) = self.fetching.get(&fetch).and_then(|fetching| fetching.stream) {
                self.fetch_streams.remove(&(source.peer, stream));
            }
            self.close_fetch(fetch, Some(stream_error::SESSION_CLOSED));
        }
    }

    /// Another shard fetches from a publisher of ours.
    pub(super) fn handle_remote_fetch(&mut self, shard: ShardId, fetch: FetchKey, source: Source, message: &Fetch) {
        let reader = FetchReader::Shard { shard, fetch };
        if source.shard != self.shard || !self.peers.contains_key(&source.peer) {
            return self.refuse_fetch(&reader, stream_error::NOT_FOUND);
        }
        let whole = self
            .cached(&message.broadcast, &message.track, source, message.group)
            .filter(|token| {
                self.groups
                    .get(*token)
                    .is_some_and(|group| group.progress == Progress::Ended)
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
            .fetching
            .iter_mut()
            .find(|(_, fetching)| fetching.readers.iter().any(of_shard))?;
        fetching.readers.retain(|reader| !of_shard(reader));
        Some(*own)
    }
}
