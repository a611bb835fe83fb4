//! Groups that come as datagrams: of one frame, not cached (draft, "Datagrams").

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use moqswitch_proto::wire::{Chunk, DatagramHeader, FrameForm, FrameHeader, FrameMark, GroupSequence, SubscribeId};

use super::egress::DATAGRAMS_PER_PEER_MAX;
use super::group::{GroupToken, Groups, Progress};
use super::ids::{PeerKey, TrackKey};
use super::remote::RemoteMessage;
use super::track::Target;
use super::tracks::Tracks;

impl Tracks {
    /// A datagram of one of our subscriptions: a group of one frame that is not cached
    /// (draft, "Datagrams"). Subscribers who cannot take datagrams get it as a stream.
    pub fn datagram(
        &mut self,
        peer: PeerKey,
        id: SubscribeId,
        sequence: GroupSequence,
        timestamp: u64,
        payload: Bytes,
        now: Instant,
    ) {
        if let Some(key) = self.upstream.get(&(peer, id)).copied() {
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
        if track.find(sequence).is_ok() || track.datagrams.contains(&sequence) {
            return;
        }
        if track.datagrams.len() >= DATAGRAMS_REMEMBERED_MAX {
            track.datagrams.pop_front();
        }
        track.datagrams.push_back(sequence);
        if track.latest < Some(sequence) {
            track.latest = Some(sequence);
            track.latest_at = Some(now);
        }
        let mut as_stream: Option<GroupToken> = None;
        for slot in self.slots(key) {
            let Some(subscription) = self.track(key).and_then(|track| track.subscriptions.get(slot)) else {
                continue;
            };
            if !subscription.wants(sequence) {
                continue;
            }
            match subscription.target {
                Target::Shard { shard, track } => self.send(
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
                    if self.queue_datagram(request.peer, header, payload) {
                        self.start(key, slot, sequence);
                        self.mark_dirty(request.peer);
                    } else {
                        let token = *as_stream
                            .get_or_insert_with(|| self.groups.insert_whole(sequence, timestamp, payload, now));
                        self.serve_group(key, slot, token);
                    }
                }
            }
        }
        if let Some(token) = as_stream {
            self.cache_group(token);
            self.drop_unread(token);
        }
    }

    /// False when the peer takes no datagrams.
    fn queue_datagram(&mut self, peer: PeerKey, header: DatagramHeader, payload: &Bytes) -> bool {
        let Some(egress) = self.peers.get_mut(&peer) else {
            return false;
        };
        if !egress.takes_datagrams || !header.fits(payload.len()) {
            return false;
        }
        if egress.datagrams.len() >= DATAGRAMS_PER_PEER_MAX {
            egress.datagrams.pop_front();
            self.statistics.egress.datagrams_dropped += 1;
        }
        egress.datagrams.push_back((header, payload.clone()));
        true
    }
}

impl Groups {
    /// A group of one frame that arrived whole and is in no cache.
    fn insert_whole(&mut self, sequence: GroupSequence, timestamp: u64, payload: &Bytes, now: Instant) -> GroupToken {
        let token = self.insert(None, sequence, now);
        let mut bytes = BytesMut::with_capacity(FrameHeader::BYTES_MAX + payload.len());
        let header = FrameHeader {
            timestamp_delta: i64::try_from(timestamp).unwrap_or(i64::MAX),
            size: payload.len() as u64,
        };
        if header.encode(FrameForm::Timed, &mut bytes).is_err() {
            // Beyond what a frame header carries: the frame goes without its time.
            let untimed = FrameHeader {
                timestamp_delta: 0,
                ..header
            };
            let _ = untimed.encode(FrameForm::Timed, &mut bytes);
        }
        let header_bytes = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(payload);
        let mark = FrameMark {
            offset: 0,
            header_bytes,
            timestamp,
            size: payload.len() as u64,
        };
        self.append(
            token,
            Chunk {
                bytes: bytes.freeze(),
                marks: SmallVec::from_elem(mark, 1),
                form: FrameForm::Timed,
            },
        );
        if let Some(group) = self.get_mut(token) {
            group.progress = Progress::Ended;
        }
        token
    }
}

/// Sequences of datagram groups remembered of each track, to drop duplicates.
const DATAGRAMS_REMEMBERED_MAX: usize = 64;
