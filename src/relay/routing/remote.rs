//! Tracks across shards. The shard that has the publisher's session subscribes there; each
//! other shard subscribes at that shard, once, and fans out itself.
//!
//! Queues between shards are bounded. What must arrive, so that nothing is kept for ever,
//! waits at the sender when its queue is full; media does not, and its group is given up.

use std::time::Instant;

use bytes::Bytes;

use moqswitch_proto::wire::{
    BroadcastPath, Chunk, ErrorCode, Fetch, GroupSequence, TrackInfo, TrackName, stream_error,
};

use super::demand::Demand;
use super::group::GroupToken;
use super::ids::{FetchKey, RemoteTrack, ShardId, Source, TrackKey};
use super::properties::InfoWaiter;
use super::subscription::{Subscription, Target};
use super::tracks::{Ending, Tracks};

/// What shards tell each other. `track` and `fetch` are the subscribing shard's names.
#[derive(Clone, Debug)]
pub enum RemoteMessage {
    // To the shard of the publisher.
    /// A shard wants the groups of a track.
    Subscribe {
        /// The subscribing shard's name for the subscription.
        track: RemoteTrack,
        /// The full path of the broadcast.
        broadcast: BroadcastPath,
        /// The name of the track.
        name: TrackName,
        /// The publisher, a session of the receiving shard.
        source: Source,
        /// What the subscribers of the asking shard want.
        demand: Demand,
    },
    /// The subscribers of a shard want something else now.
    Update {
        /// The subscription.
        track: RemoteTrack,
        /// What they want from now on.
        demand: Demand,
    },
    /// A shard wants no more of a track.
    Unsubscribe {
        /// The subscription, which is over.
        track: RemoteTrack,
    },
    /// A shard wants the properties of a track.
    Track {
        /// The asking shard's name for the track.
        track: RemoteTrack,
        /// The full path of the broadcast.
        broadcast: BroadcastPath,
        /// The name of the track.
        name: TrackName,
        /// The publisher, a session of the receiving shard.
        source: Source,
    },
    /// A shard wants one group.
    Fetch {
        /// The asking shard's name for the fetch.
        fetch: FetchKey,
        /// The publisher, a session of the receiving shard.
        source: Source,
        /// The group, and which of its frames are wanted.
        message: Fetch,
    },
    /// A shard does not want a group any more.
    CancelFetch {
        /// The fetch, which is over.
        fetch: FetchKey,
    },
    // To the shard of the subscribers.
    /// The publisher has accepted the subscription.
    Accepted {
        /// The subscription.
        track: RemoteTrack,
        /// What the publisher says of the track in words of its own.
        said: Option<Bytes>,
    },
    /// The properties of a track.
    Info {
        /// The asking shard's name for the track.
        track: RemoteTrack,
        /// What the publisher said.
        info: TrackInfo,
    },
    /// The properties of a track are not to be had.
    InfoRefused {
        /// The asking shard's name for the track.
        track: RemoteTrack,
        /// Why.
        code: ErrorCode,
    },
    /// The subscription is refused, or ended by a failure.
    Refused {
        /// The subscription, which is over.
        track: RemoteTrack,
        /// Why.
        code: ErrorCode,
    },
    /// The end of the track is known.
    End {
        /// The subscription.
        track: RemoteTrack,
        /// The first group that will never come.
        end: GroupSequence,
    },
    /// Groups will not come.
    Drop {
        /// The subscription.
        track: RemoteTrack,
        /// The first of them.
        start: GroupSequence,
        /// The last of them, inclusive.
        end: GroupSequence,
        /// Why.
        code: ErrorCode,
    },
    /// All groups were sent.
    Finished {
        /// The subscription, which is over.
        track: RemoteTrack,
    },
    /// A group begins.
    GroupStart {
        /// The subscription.
        track: RemoteTrack,
        /// The number of the group.
        sequence: GroupSequence,
        /// What it has already.
        chunks: Vec<Chunk>,
    },
    /// More bytes of a group, in order.
    Chunk {
        /// The subscription.
        track: RemoteTrack,
        /// The number of the group.
        sequence: GroupSequence,
        /// The bytes.
        chunk: Chunk,
    },
    /// A group is whole.
    GroupEnd {
        /// The subscription.
        track: RemoteTrack,
        /// The number of the group.
        sequence: GroupSequence,
    },
    /// A group is given up; no more of it comes.
    GroupReset {
        /// The subscription.
        track: RemoteTrack,
        /// The number of the group.
        sequence: GroupSequence,
        /// Why.
        code: ErrorCode,
    },
    /// A group of one frame that came as a datagram.
    Datagram {
        /// The subscription.
        track: RemoteTrack,
        /// The number of the group.
        sequence: GroupSequence,
        /// In units of the track's timescale.
        timestamp: u64,
        /// The payload of the frame.
        payload: Bytes,
    },
    /// Bytes of a fetched group, in order.
    FetchChunks {
        /// The asking shard's name for the fetch.
        fetch: FetchKey,
        /// The bytes.
        chunks: Vec<Chunk>,
    },
    /// A fetch is over.
    FetchClosed {
        /// The asking shard's name for the fetch.
        fetch: FetchKey,
        /// `None`: the group is whole. Else why it is not.
        code: Option<ErrorCode>,
    },
}

impl RemoteMessage {
    /// What a request is for: the publisher, a session of the receiving shard, and the path of its broadcast.
    pub fn asked(&self) -> Option<(Source, &BroadcastPath)> {
        match self {
            Self::Subscribe { source, broadcast, .. } | Self::Track { source, broadcast, .. } => {
                Some((*source, broadcast))
            }
            Self::Fetch { source, message, .. } => Some((*source, &message.broadcast)),
            _ => None,
        }
    }

    /// Whether something would be kept for ever without it, on either side. At most a few of
    /// these are due for each thing that a shard keeps.
    pub fn must_arrive(&self) -> bool {
        matches!(
            self,
            RemoteMessage::Unsubscribe { .. }
                | RemoteMessage::CancelFetch { .. }
                | RemoteMessage::Accepted { .. }
                | RemoteMessage::Info { .. }
                | RemoteMessage::InfoRefused { .. }
                | RemoteMessage::Refused { .. }
                | RemoteMessage::Finished { .. }
                | RemoteMessage::GroupEnd { .. }
                | RemoteMessage::GroupReset { .. }
                | RemoteMessage::FetchClosed { .. }
        )
    }

    /// Whether it asks for something, and can be refused.
    pub fn is_request(&self) -> bool {
        matches!(
            self,
            RemoteMessage::Subscribe { .. }
                | RemoteMessage::Update { .. }
                | RemoteMessage::Track { .. }
                | RemoteMessage::Fetch { .. }
        )
    }
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
                if let Some((key, slot)) = self.names.remote(from, track) {
                    self.update_subscription(key, slot, &demand.update());
                }
            }
            RemoteMessage::Unsubscribe { track } => {
                if let Some((key, slot)) = self.names.remove_remote(from, track) {
                    self.end_subscription(key, slot, Ending::ByPeer);
                    let waiter = InfoWaiter::Shard { shard: from, track };
                    if let Some(track) = self.track_mut(key) {
                        track.properties.remove_waiter(waiter);
                    }
                    self.ask_upstream(key);
                    // That shard has waited already, or had a reason not to.
                    self.leave_unwanted(key);
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
                self.handle_remote_fetch(from, fetch, source, &message);
            }
            RemoteMessage::CancelFetch { fetch } => self.handle_remote_cancel(from, fetch),
            answer => self.handle_remote_answer(answer, now),
        }
    }

    fn handle_remote_answer(&mut self, message: RemoteMessage, now: Instant) {
        match message {
            RemoteMessage::FetchChunks { fetch, chunks } => {
                for chunk in chunks {
                    self.on_fetch_chunk(fetch, chunk, now);
                }
            }
            RemoteMessage::FetchClosed { fetch, code } => {
                if code.is_none() {
                    // A group without any frame still ends as a group.
                    self.ensure_group(fetch, now);
                }
                self.close_fetch(fetch, code);
            }
            RemoteMessage::Accepted { track, said } => self.with_current(track, |tracks, key| {
                if let Some(track) = tracks.track_mut(key) {
                    track.properties.set_said(said);
                }
                tracks.on_accepted(key);
            }),
            RemoteMessage::Info { track, info } => {
                self.with_current(track, |tracks, key| tracks.on_info(key, info, now));
            }
            RemoteMessage::InfoRefused { track, code } => {
                self.with_current(track, |tracks, key| tracks.on_info_refused(key, code));
            }
            RemoteMessage::Refused { track, code } => {
                self.with_current(track, |tracks, key| tracks.on_remote_refused(key, code));
            }
            RemoteMessage::End { track, end } => self.with_current(track, |tracks, key| tracks.on_end(key, end)),
            RemoteMessage::Drop {
                track,
                start,
                end,
                code,
            } => self.with_current(track, |tracks, key| tracks.on_drop(key, start, end, code)),
            RemoteMessage::Finished { track } => self.with_current(track, |tracks, key| tracks.on_finished(key)),
            media => self.handle_remote_media(media, now),
        }
    }

    /// Does something for a track unless the message is for a subscription it no longer has:
    /// it may have changed its source meanwhile.
    fn with_current(&mut self, name: RemoteTrack, handle: impl FnOnce(&mut Self, TrackKey)) {
        let is_current = self.track(name.track).is_some_and(|track| track.is_named(name));
        if is_current {
            handle(self, name.track);
        }
    }

    fn handle_remote_media(&mut self, message: RemoteMessage, now: Instant) {
        match message {
            RemoteMessage::GroupStart {
                track,
                sequence,
                chunks,
            } => self.with_current(track, |tracks, key| tracks.begin_incoming(key, sequence, chunks, now)),
            RemoteMessage::Chunk { track, sequence, chunk } => {
                if let Some(token) = self.incoming(track, sequence) {
                    self.append_unpinned(token, chunk);
                }
            }
            RemoteMessage::GroupEnd { track, sequence } => {
                if let Some(token) = self.end_incoming(track, sequence) {
                    self.group_finished(token);
                }
            }
            RemoteMessage::GroupReset { track, sequence, code } => {
                if let Some(token) = self.end_incoming(track, sequence) {
                    self.group_aborted(token, code);
                }
            }
            RemoteMessage::Datagram {
                track,
                sequence,
                timestamp,
                payload,
            } => self.with_current(track, |tracks, key| {
                tracks.on_datagram(key, sequence, timestamp, &payload, now);
            }),
            // Handled before.
            RemoteMessage::Subscribe { .. }
            | RemoteMessage::Update { .. }
            | RemoteMessage::Unsubscribe { .. }
            | RemoteMessage::Track { .. }
            | RemoteMessage::Fetch { .. }
            | RemoteMessage::CancelFetch { .. }
            | RemoteMessage::FetchChunks { .. }
            | RemoteMessage::FetchClosed { .. }
            | RemoteMessage::Accepted { .. }
            | RemoteMessage::Info { .. }
            | RemoteMessage::InfoRefused { .. }
            | RemoteMessage::Refused { .. }
            | RemoteMessage::End { .. }
            | RemoteMessage::Drop { .. }
            | RemoteMessage::Finished { .. } => {}
        }
    }

    fn begin_incoming(&mut self, key: TrackKey, sequence: GroupSequence, chunks: Vec<Chunk>, now: Instant) {
        self.on_accepted(key);
        let Some(token) = self.start_group(key, sequence, now) else {
            return;
        };
        if let Some(track) = self.track_mut(key) {
            track.add_incoming(sequence, token);
        }
        for chunk in chunks {
            self.append_unpinned(token, chunk);
        }
    }

    /// Another shard asks for what its publisher may not publish any more.
    pub fn refuse_remote(&mut self, from: ShardId, message: &RemoteMessage) {
        let code = stream_error::NOT_FOUND;
        let answer = match message {
            RemoteMessage::Subscribe { track, .. } => RemoteMessage::Refused { track: *track, code },
            RemoteMessage::Track { track, .. } => RemoteMessage::InfoRefused { track: *track, code },
            RemoteMessage::Fetch { fetch, .. } => RemoteMessage::FetchClosed {
                fetch: *fetch,
                code: Some(code),
            },
            _ => return,
        };
        self.decisions.send(from, answer);
    }

    /// The group that another shard's chunks of this sequence belong to.
    fn incoming(&self, name: RemoteTrack, sequence: GroupSequence) -> Option<GroupToken> {
        let track = self.track(name.track)?;
        if !track.is_named(name) {
            return None;
        }
        track.incoming(sequence)
    }

    fn end_incoming(&mut self, name: RemoteTrack, sequence: GroupSequence) -> Option<GroupToken> {
        let token = self.incoming(name, sequence)?;
        self.track_mut(name.track)?.remove_incoming(sequence);
        Some(token)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one message")]
    fn handle_remote_subscribe(
        &mut self,
        from: ShardId,
        track: RemoteTrack,
        broadcast: &BroadcastPath,
        name: &TrackName,
        source: Source,
        demand: Demand,
        now: Instant,
    ) {
        let Some(key) = self.local_track(broadcast, name, source) else {
            let code = stream_error::NOT_FOUND;
            return self.decisions.send(from, RemoteMessage::Refused { track, code });
        };
        let target = Target::Shard { shard: from, track };
        let Some(slot) = self.add_subscription(key, Subscription::new(target, &demand.update())) else {
            return;
        };
        self.names.add_remote(from, track, key, slot);
        if let Some(info) = self.track(key).and_then(|track| track.properties.info()) {
            self.decisions.send(from, RemoteMessage::Info { track, info });
        } else {
            self.want_info(key, InfoWaiter::Shard { shard: from, track }, now);
        }
        self.join(key, slot);
    }

    /// A track of a publisher of this shard, who must be here still.
    fn local_track(&mut self, broadcast: &BroadcastPath, name: &TrackName, source: Source) -> Option<TrackKey> {
        if source.shard != self.shard || !self.peers.contains(source.peer) {
            return None;
        }
        self.track_of(broadcast, name, source)
    }

    pub(super) fn subscription_mut(&mut self, key: TrackKey, slot: usize) -> Option<&mut Subscription> {
        self.track_mut(key)?.subscription_mut(slot)
    }

    /// A message was not taken for another shard. What it belongs to is given up, nothing
    /// else: a request is refused, a group reset there.
    pub fn handle_remote_overflow(&mut self, shard: ShardId, lost: RemoteMessage) {
        let code = stream_error::TOO_FAR_BEHIND;
        match lost {
            RemoteMessage::Subscribe { track, .. } => {
                self.with_current(track, |tracks, key| {
                    tracks.on_remote_refused(key, stream_error::INTERNAL);
                });
            }
            RemoteMessage::Track { track, .. } => self.with_current(track, |tracks, key| {
                tracks.on_info_refused(key, stream_error::INTERNAL);
            }),
            RemoteMessage::Fetch { fetch, .. } => self.close_fetch(fetch, Some(stream_error::INTERNAL)),
            RemoteMessage::Update { track, .. } => {
                if let Some(track) = self.track_mut(track.track) {
                    track.forget_demand();
                }
                self.deadlines.owe_update(track.track);
            }
            // Never heard of there.
            RemoteMessage::GroupStart { track, sequence, .. } => drop(self.close_at(shard, track, sequence)),
            RemoteMessage::Chunk { track, sequence, .. } if self.close_at(shard, track, sequence) => {
                // Before anything of the group that is about to be sent.
                let reset = RemoteMessage::GroupReset { track, sequence, code };
                self.decisions.send_first(shard, reset);
            }
            RemoteMessage::FetchChunks { fetch, .. } => {
                self.forget_fetch_reader(shard, fetch);
                let code = Some(code);
                let closed = RemoteMessage::FetchClosed { fetch, code };
                self.decisions.send_first(shard, closed);
            }
            // What must arrive waits elsewhere; of the rest nothing is kept.
            RemoteMessage::Unsubscribe { .. }
            | RemoteMessage::CancelFetch { .. }
            | RemoteMessage::FetchClosed { .. }
            | RemoteMessage::Accepted { .. }
            | RemoteMessage::Info { .. }
            | RemoteMessage::InfoRefused { .. }
            | RemoteMessage::Refused { .. }
            | RemoteMessage::End { .. }
            | RemoteMessage::Drop { .. }
            | RemoteMessage::Finished { .. }
            | RemoteMessage::Chunk { .. }
            | RemoteMessage::GroupEnd { .. }
            | RemoteMessage::GroupReset { .. }
            | RemoteMessage::Datagram { .. } => {}
        }
    }

    /// Sends another shard nothing more of a group. False when it was told of its end.
    fn close_at(&mut self, shard: ShardId, name: RemoteTrack, sequence: GroupSequence) -> bool {
        let Some((key, slot)) = self.names.remote(shard, name) else {
            return false;
        };
        let Some(subscription) = self.subscription_mut(key, slot) else {
            return false;
        };
        subscription.close(sequence)
    }
}
