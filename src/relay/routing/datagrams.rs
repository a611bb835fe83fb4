//! Groups that come as datagrams: of one frame, not cached (draft, "Datagrams").
//!
//! To a subscriber such a group goes on as a datagram or, if it cannot, as a stream. Whether
//! the peer takes datagrams and the draft one so long is known when it comes; whether the path
//! does, when it is sent. One for which there is no room at that moment is dropped.

use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use moqswitch_proto::wire::{DatagramHeader, DatagramSent, GroupSequence, GroupWriter, SubscribeId};

use super::counting::CountedGroup;
use super::egress::QueuedDatagram;
use super::group::{GroupToken, Groups, Progress, unpinned};
use super::ids::{PeerKey, TrackKey};
use super::remote::RemoteMessage;
use super::subscription::Target;
use super::tracks::Tracks;
use super::transport::Transport;

impl Tracks {
    /// A datagram of one of our subscriptions.
    pub fn datagram(
        &mut self,
        peer: PeerKey,
        id: SubscribeId,
        sequence: GroupSequence,
        timestamp: u64,
        payload: Bytes,
        now: Instant,
    ) {
        if let Some(key) = self.names.subscription(peer, id) {
            self.on_accepted(key);
            self.on_datagram(key, sequence, timestamp, &payload, now);
        }
    }

    pub(super) fn on_datagram(
        &mut self,
        key: TrackKey,
        sequence: GroupSequence,
        timestamp: u64,
        payload: &Bytes,
        now: Instant,
    ) {
        let Some(track) = self.track_mut(key) else { return };
        if !track.groups.insert_datagram(sequence, now) {
            return;
        }
        let is_counted = track.counted.is_some();
        let counted = is_counted
            .then(|| self.count_datagram(key, sequence, payload, now))
            .flatten();
        let mut as_stream: Option<GroupToken> = None;
        for slot in self.slots(key) {
            let Some(subscription) = self.track(key).and_then(|track| track.subscription(slot)) else {
                continue;
            };
            if !subscription.wants(sequence) {
                continue;
            }
            match subscription.target() {
                Target::Shard { shard, track } => self.decisions.send(
                    shard,
                    RemoteMessage::Datagram {
                        track,
                        sequence,
                        timestamp,
                        payload: payload.clone(),
                    },
                ),
                Target::Peer { key: request, id, .. } => {
                    let header = DatagramHeader {
                        subscribe: id,
                        sequence,
                        timestamp,
                    };
                    let queued = QueuedDatagram {
                        track: key,
                        slot,
                        header,
                        payload: payload.clone(),
                        arrived: now,
                        counted: counted.clone(),
                    };
                    if self.queue_datagram(request.peer, queued) {
                        self.start(key, slot, sequence);
                        self.peers.mark_dirty(request.peer);
                    } else {
                        let token = *as_stream.get_or_insert_with(|| {
                            self.groups
                                .insert_whole(sequence, timestamp, payload, now, counted.clone())
                        });
                        self.serve_group(key, slot, token);
                    }
                }
            }
        }
        if let Some(token) = as_stream {
            self.keep_while_read(token);
        }
    }

    /// Keeps a group that is in no track's cache until it is sent, or the cache is full.
    fn keep_while_read(&mut self, token: GroupToken) {
        self.cache_group(token);
        self.drop_unread(token);
        if self.groups.bytes() > self.limits.cache_bytes_max {
            self.shrink();
        }
    }

    /// False when the peer takes no datagrams, or none so long.
    fn queue_datagram(&mut self, peer: PeerKey, queued: QueuedDatagram) -> bool {
        let Some(egress) = self.peers.get_mut(peer) else {
            return false;
        };
        let is_taken = egress.takes_as_datagram(&queued.header, &queued.payload);
        if is_taken && !egress.queue_datagram(queued) {
            self.sent.count_dropped_datagram();
        }
        is_taken
    }

    /// Sends all that wait for a peer; none is kept for later.
    pub(super) fn send_datagrams(&mut self, peer: PeerKey, transport: &mut impl Transport) {
        let Some(egress) = self.peers.get_mut(peer) else {
            return;
        };
        let mut too_large: SmallVec<[QueuedDatagram; 1]> = SmallVec::new();
        while let Some(queued) = egress.next_datagram() {
            match transport.datagram(&queued.header, &queued.payload) {
                DatagramSent::Sent => {
                    self.sent.count_frames(1);
                    if let Some(counted) = &queued.counted {
                        counted.deliver(1);
                    }
                }
                DatagramSent::Full => self.sent.count_dropped_datagram(),
                DatagramSent::TooLarge => too_large.push(queued),
            }
        }
        let ended = egress.take_ends_after_datagrams();
        for queued in too_large {
            self.send_as_stream(peer, &queued);
        }
        for (key, slot) in ended {
            self.finish_if_done(key, slot);
        }
    }

    /// A group that the path to its subscriber does not take as a datagram.
    fn send_as_stream(&mut self, peer: PeerKey, queued: &QueuedDatagram) {
        let DatagramHeader {
            subscribe,
            sequence,
            timestamp,
        } = queued.header;
        // The subscription may be over, and its slot another's.
        let is_its_own =
            |target: Target| matches!(target, Target::Peer { key, id, .. } if key.peer == peer && id == subscribe);
        let subscription = self.subscription_mut(queued.track, queued.slot);
        if subscription.is_some_and(|subscription| is_its_own(subscription.target())) {
            let token = self.groups.insert_whole(
                sequence,
                timestamp,
                &queued.payload,
                queued.arrived,
                queued.counted.clone(),
            );
            self.serve_group(queued.track, queued.slot, token);
            self.keep_while_read(token);
        }
    }
}

impl Groups {
    /// A group of one frame that arrived whole and is in no cache.
    fn insert_whole(
        &mut self,
        sequence: GroupSequence,
        timestamp: u64,
        payload: &Bytes,
        now: Instant,
        counted: Option<CountedGroup>,
    ) -> GroupToken {
        let token = self.insert(None, sequence, now);
        for chunk in GroupWriter::default().push(timestamp, payload) {
            self.append(token, unpinned(chunk));
        }
        if let Some(group) = self.get_mut(token) {
            group.conclude(Progress::Ended);
            group.set_counted(counted);
        }
        token
    }
}
