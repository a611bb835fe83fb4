//! Tracks across shards. The shard that has the publisher's session subscribes there; each
//! other shard subscribes at that shard, once, and fans out itself.

use std::time::Instant;

use bytes::Bytes;

use crate::wire::{BroadcastPath, Chunk, ErrorCode, Fetch, GroupSequence, TrackInfo, TrackName, stream_error};

use super::demand::Demand;
use super::group::GroupToken;
use super::ids::{FetchKey, ShardId, Source, TrackKey};
use super::track::{InfoWaiter, Subscription, Target, Upstream};
use super::tracks::{Ending, Tracks};

/// What shards tell each other. `track` and `fetch` are the subscribing shard's names.
#[derive(Clone, Debug)]
pub enum RemoteMessage {
    // To the shard of the publisher.
    Subscribe {
        track: TrackKey,
        broadcast: BroadcastPath,
        name: TrackName,
        source: Source,
        demand: Demand,
    },
    Update {
        track: TrackKey,
        demand: Demand,
    },
    Unsubscribe {
        track: TrackKey,
    },
    Track {
        track: TrackKey,
        broadcast: BroadcastPath,
        name: TrackName,
        source: Source,
    },
    Fetch {
        fetch: FetchKey,
        source: Source,
        message: Fetch,
    },
    CancelFetch {
        fetch: FetchKey,
    },
    // To the shard of the subscribers.
    Accepted {
        track: TrackKey,
    },
    Info {
        track: TrackKey,
        info: TrackInfo,
    },
    InfoRefused {
        track: TrackKey,
        code: ErrorCode,
    },
    Refused {
        track: TrackKey,
        code: ErrorCode,
    },
    End {
        track: TrackKey,
        end: GroupSequence,
    },
    Drop {
        track: TrackKey,
        start: GroupSequence,
        end: GroupSequence,
        code: ErrorCode,
    },
    /// All groups were sent.
    Finished {
        track: TrackKey,
    },
    GroupStart {
        track: TrackKey,
        sequence: GroupSequence,
    },
    Chunk {
        track: TrackKey,
        sequence: GroupSequence,
        chunk: Chunk,
    },
    GroupEnd {
        track: TrackKey,
        sequence: GroupSequence,
    },
    GroupReset {
        track: TrackKey,
        sequence: GroupSequence,
        code: ErrorCode,
    },
    Datagram {
        track: TrackKey,
        sequence: GroupSequence,
        timestamp: u64,
        payload: Bytes,
    },
    FetchChunk {
        fetch: FetchKey,
        chunk: Chunk,
    },
    FetchClosed {
        fetch: FetchKey,
        code: Option<ErrorCode>,
    },
}

impl Tracks {
    /// Takes a message of another shard.
    pub fn handle_remote(&mut self, from: ShardId, message: RemoteMessage, now: Instant) {
        match message {
            RemoteMessage::Subscribe {
                track,
                broadcast,
                name,
                source,
                demand,
            } => self.handle_remote_subscribe(from, track, &broadcast, &name, source, demand, now),
            RemoteMessage::Update { track, demand } => {
                if let Some((key, slot)) = self.remotes.get(&(from, track)).copied() {
                    if let Some(subscription) = self.subscription_mut(key, slot) {
                        subscription.apply(&demand.update());
                    }
                    self.ask_upstream(key, now);
                }
            }
            RemoteMessage::Unsubscribe { track } => {
                if let Some((key, slot)) = self.remotes.remove(&(from, track)) {
                    self.end_subscription(key, slot, Ending::ByPeer);
                    self.ask_upstream(key, now);
                    self.linger(key, now);
                }
            }
            RemoteMessage::Track {
                track,
                broadcast,
                name,
                source,
            } => {
                let waiter = InfoWaiter::Shard { shard: from, track };
                match self.local_track(&broadcast, &name, source) {
                    Some(key) => self.want_info(key, waiter, now),
                    None => self.refuse_info(waiter, stream_error::NOT_FOUND),
                }
            }
            RemoteMessage::Fetch { fetch, source, message } => {
                self.handle_remote_fetch(from, fetch, source, &message, now);
            }
            RemoteMessage::CancelFetch { fetch } => self.handle_remote_cancel(from, fetch),
            answer => self.handle_remote_answer(from, answer, now),
        }
    }

    fn handle_remote_answer(&mut self, from: ShardId, message: RemoteMessage, now: Instant) {
        match message {
            RemoteMessage::Accepted { track } => self.on_accepted(track),
            RemoteMessage::Info { track, info } => self.on_info(track, info, now),
            RemoteMessage::InfoRefused { track, code } => self.on_info_refused(track, code),
            RemoteMessage::Refused { track, code } => self.on_remote_refused(track, code),
            RemoteMessage::End { track, end } => self.on_end(track, end),
            RemoteMessage::Drop {
                track,
                start,
                end,
                code,
            } => self.on_drop(track, start, end, code),
            RemoteMessage::Finished { track } => self.on_finished(track),
            RemoteMessage::FetchChunk { fetch, chunk } => self.on_fetch_chunk(fetch, chunk, now),
            RemoteMessage::FetchClosed { fetch, code } => {
                if code.is_none() {
                    // A group without any frame still ends as a group.
                    self.ensure_group(fetch, now);
                }
                self.close_fetch(fetch, code);
            }
            media => self.handle_remote_media(from, media, now),
        }
    }

    fn handle_remote_media(&mut self, from: ShardId, message: RemoteMessage, now: Instant) {
        match message {
            RemoteMessage::GroupStart { track, sequence } => {
                if self
                    .track(track)
                    .is_some_and(|track| track.upstream == Upstream::Remote)
                {
                    self.on_accepted(track);
                    self.start_group(track, sequence, now);
                } else {
                    // Our unsubscribing was lost in a full queue.
                    self.send(from, RemoteMessage::Unsubscribe { track });
                }
            }
            RemoteMessage::Chunk { track, sequence, chunk } => {
                if let Some(token) = self.group_of(track, sequence) {
                    self.append(token, chunk, now);
                }
            }
            RemoteMessage::GroupEnd { track, sequence } => {
                if let Some(token) = self.group_of(track, sequence) {
                    self.group_finished(token);
                }
            }
            RemoteMessage::GroupReset { track, sequence, code } => {
                if let Some(token) = self.group_of(track, sequence) {
                    self.group_aborted(token, code);
                }
            }
            RemoteMessage::Datagram {
                track,
                sequence,
                timestamp,
                payload,
            } => self.on_datagram(track, sequence, timestamp, &payload, now),
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one message")]
    fn handle_remote_subscribe(
        &mut self,
        from: ShardId,
        track: TrackKey,
        broadcast: &BroadcastPath,
        name: &TrackName,
        source: Source,
        demand: Demand,
        now: Instant,
    ) {
        let Some(key) = self.local_track(broadcast, name, source) else {
            let code = stream_error::NOT_FOUND;
            return self.send(from, RemoteMessage::Refused { track, code });
        };
        let target = Target::Shard { shard: from, track };
        let Some(slot) = self.add_subscription(key, Subscription::new(target, &demand.update()), now) else {
            return;
        };
        self.remotes.insert((from, track), (key, slot));
        if let Some(info) = self.track(key).and_then(|track| track.info) {
            self.send(from, RemoteMessage::Info { track, info });
        } else {
            self.want_info(key, InfoWaiter::Shard { shard: from, track }, now);
        }
        self.join(key, slot, now);
    }

    /// A track of a publisher of this shard, who must be here still.
    fn local_track(&mut self, broadcast: &BroadcastPath, name: &TrackName, source: Source) -> Option<TrackKey> {
        if source.shard != self.shard || !self.peers.contains_key(&source.peer) {
            return None;
        }
        self.track_of(broadcast, name, source)
    }

    fn subscription_mut(&mut self, key: TrackKey, slot: usize) -> Option<&mut Subscription> {
        self.track_mut(key)?.subscriptions.get_mut(slot)
    }

    fn group_of(&self, key: TrackKey, sequence: GroupSequence) -> Option<GroupToken> {
        self.track(key)?.group(sequence)
    }

    /// A message did not fit the queue to another shard. What it belongs to is given up,
    /// nothing else: a group is reset there once its end can be told, a request refused.
    pub fn handle_remote_overflow(&mut self, shard: ShardId, lost: RemoteMessage, now: Instant) {
        match lost {
            RemoteMessage::GroupStart { track, sequence }
            | RemoteMessage::Chunk { track, sequence, .. }
            | RemoteMessage::GroupEnd { track, sequence } => self.break_group(shard, track, sequence),
            RemoteMessage::Subscribe { track, .. } => self.on_remote_refused(track, stream_error::INTERNAL),
            RemoteMessage::Track { track, .. } => self.on_info_refused(track, stream_error::INTERNAL),
            RemoteMessage::Fetch { fetch, .. } => self.close_fetch(fetch, Some(stream_error::INTERNAL)),
            // Asked for again with the next change; the other shard drops what it knows not.
            RemoteMessage::Update { track, .. } => {
                if let Some(track) = self.track_mut(track) {
                    track.demand = None;
                }
                self.ask_upstream(track, now);
            }
            _ => {}
        }
    }

    fn break_group(&mut self, shard: ShardId, track: TrackKey, sequence: GroupSequence) {
        let Some((key, slot)) = self.remotes.get(&(shard, track)).copied() else {
            return;
        };
        if let Some(subscription) = self.subscription_mut(key, slot) {
            if subscription.broken.contains(&sequence) {
                return;
            }
            if subscription.broken.len() >= BROKEN_MAX {
                subscription.broken.remove(0);
            }
            subscription.broken.push(sequence);
        }
        let code = stream_error::TOO_FAR_BEHIND;
        self.send(shard, RemoteMessage::GroupReset { track, sequence, code });
    }
}

/// Broken groups remembered of each remote subscription.
const BROKEN_MAX: usize = 64;
