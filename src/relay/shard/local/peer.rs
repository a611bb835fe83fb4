//! What one local peer offers, subscribes and watches, and how it is given media.

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use moqswitch_proto::wire::{
    BroadcastPath, DatagramHeader, DatagramSent, ErrorCode, GroupHeader, HopId, StreamId, SubscribeId, TrackInfo,
    TrackName, Version, Written, stream_error,
};

use crate::limits::LOCAL_EVENTS_PER_TURN_MAX;
use crate::routing::{PeerKey, Transport};

use super::events::LocalEvent;
use super::frames::OpenGroup;

/// A track that a peer offers.
#[derive(Clone, Debug)]
pub struct LocalTrack {
    /// The name within its broadcast.
    pub name: TrackName,
    /// What is said of it to who asks.
    pub info: TrackInfo,
    /// Given back with each event of the track.
    pub tag: u64,
}

/// A peer of an application.
pub(super) struct LocalPeer {
    /// Which application's.
    pub(super) application: usize,
    /// What stands for it in the hops of what it publishes.
    pub(super) hop: HopId,
    /// Broadcasts that it publishes, with their tracks.
    pub(super) offers: FxHashMap<BroadcastPath, Vec<LocalTrack>>,
    /// Tracks that it makes of broadcasts of others, at and below each prefix.
    pub(super) derives: Vec<(BroadcastPath, Vec<LocalTrack>)>,
    /// Tags of tracks that somebody wants, by the names of their subscriptions.
    pub(super) wanted: FxHashMap<SubscribeId, u64>,
    pub(super) subscriptions: FxHashMap<SubscribeId, Subscription>,
    pub(super) requests: FxHashMap<StreamId, Request>,
    /// Groups that have begun, with the subscription that each is of.
    open: FxHashMap<StreamId, (SubscribeId, OpenGroup)>,
    /// It is given nothing until it is resumed.
    pub(super) is_paused: bool,
    /// Events of media that it was given since it was last served.
    pub(super) given: usize,
    next_id: u64,
}

/// What it subscribes to.
pub(super) struct Subscription {
    pub(super) tag: u64,
    pub(super) request: StreamId,
    /// The question for the track's properties, until it is answered.
    pub(super) info: Option<StreamId>,
}

/// What a request of it is for.
pub(super) enum Request {
    Subscription(SubscribeId),
    Info(SubscribeId),
    Watch { tag: u64, prefix: BroadcastPath },
}

impl LocalPeer {
    pub(super) fn new(application: usize, hop: HopId) -> Self {
        Self {
            application,
            hop,
            offers: FxHashMap::default(),
            derives: Vec::new(),
            wanted: FxHashMap::default(),
            subscriptions: FxHashMap::default(),
            requests: FxHashMap::default(),
            open: FxHashMap::default(),
            is_paused: false,
            given: 0,
            next_id: 0,
        }
    }

    /// A number that nothing of the peer has had: it names subscriptions, requests and the streams of groups.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn offered(&self, broadcast: &BroadcastPath, name: &TrackName) -> Option<&LocalTrack> {
        let derived = self.derives.iter();
        let derived = derived.filter(|(prefix, _)| broadcast.strip_prefix(prefix).is_some());
        let own = self.offers.get(broadcast).into_iter();
        let mut tracks = own.chain(derived.map(|(_, tracks)| tracks)).flatten();
        tracks.find(|track| track.name == *name)
    }

    /// The subscription is over: its requests are forgotten, and its groups come to nothing.
    pub(super) fn remove_subscription(&mut self, id: SubscribeId) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&id)?;
        self.requests.remove(&subscription.request);
        if let Some(info) = subscription.info {
            self.requests.remove(&info);
        }
        Some(subscription)
    }
}

/// The egress scheduler's view of a local peer, for one pumping.
pub(super) struct LocalOutlet<'a> {
    pub(super) peer: &'a mut LocalPeer,
    pub(super) events: &'a mut VecDeque<LocalEvent>,
    pub(super) groups: u64,
    pub(super) bytes: u64,
}

impl LocalOutlet<'_> {
    /// A paused peer is given nothing: datagrams are dropped, streams that were given up are told of.
    fn is_full(&self) -> bool {
        self.peer.is_paused || self.peer.given >= LOCAL_EVENTS_PER_TURN_MAX
    }

    fn push(&mut self, group: &mut OpenGroup, bytes: Bytes, fin: bool) -> Written {
        let before = self.events.len();
        self.bytes += bytes.len() as u64;
        let pushed = group.push(bytes, fin, self.events);
        self.peer.given += self.events.len() - before;
        match pushed {
            Ok(()) => Written::All,
            Err(code) => Written::Stopped(code),
        }
    }
}

impl Transport for LocalOutlet<'_> {
    fn open_group(&mut self, header: &GroupHeader, bytes: &Bytes, fin: bool) -> Option<(StreamId, Written)> {
        if self.is_full() {
            return None;
        }
        let stream = StreamId(self.peer.next_id());
        let Some(subscription) = self.peer.subscriptions.get(&header.subscribe) else {
            return Some((stream, Written::Stopped(stream_error::CANCEL)));
        };
        let mut group = OpenGroup::new(subscription.tag, header.sequence);
        let written = self.push(&mut group, bytes.clone(), fin);
        if written == Written::All && !fin {
            self.peer.open.insert(stream, (header.subscribe, group));
        }
        self.groups += 1;
        Some((stream, written))
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        if self.is_full() {
            return Written::Blocked;
        }
        let Some((id, mut group)) = self.peer.open.remove(&stream) else {
            return Written::Stopped(stream_error::CANCEL);
        };
        let written = self.push(&mut group, bytes, fin);
        if written == Written::All && !fin {
            self.peer.open.insert(stream, (id, group));
        }
        written
    }

    fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        // Of a subscription that the application has ended it hears nothing more.
        if let Some((id, group)) = self.peer.open.remove(&stream)
            && self.peer.subscriptions.contains_key(&id)
        {
            self.events.push_back(group.ended(Some(code)));
        }
    }

    fn datagram(&mut self, header: &DatagramHeader, payload: &Bytes) -> DatagramSent {
        if self.is_full() {
            return DatagramSent::Full;
        }
        let Some(subscription) = self.peer.subscriptions.get(&header.subscribe) else {
            return DatagramSent::Sent;
        };
        self.events.push_back(LocalEvent::Frame {
            tag: subscription.tag,
            group: header.sequence,
            timestamp: header.timestamp,
            payload: payload.clone(),
            ends_group: true,
        });
        self.peer.given += 1;
        self.groups += 1;
        self.bytes += payload.len() as u64;
        DatagramSent::Sent
    }

    fn connection_blocked(&self) -> bool {
        self.is_full()
    }
}

/// Whether a peer is local, and not a session nor a fetch of HTTP.
pub(in crate::shard) fn is_local(peer: PeerKey) -> bool {
    peer.index >> LOCAL_NUMBER_BITS == LOCAL_MARK
}

/// The key of the `number`th peer of a shard. Indices of connections are far below, those of WebSockets begin with
/// other bits.
pub(super) fn key(number: u64) -> PeerKey {
    let low = number & ((1 << LOCAL_NUMBER_BITS) - 1);
    PeerKey {
        index: LOCAL_MARK << LOCAL_NUMBER_BITS | u32::try_from(low).expect("it was masked"),
        generation: u32::try_from(number >> LOCAL_NUMBER_BITS & u64::from(u32::MAX)).expect("it was masked"),
    }
}

/// The draft by which local peers are served: the newest, which has datagrams and timestamps.
pub(super) const LOCAL_DRAFT: Version = Version::Lite06;

/// The highest bits of a local peer's index.
const LOCAL_MARK: u32 = 0b110;
const LOCAL_NUMBER_BITS: u32 = 29;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_local_and_differ() {
        let numbers = [0, 1, (1 << 29) - 1, 1 << 29, 1 << 45];
        let keys: Vec<PeerKey> = numbers.into_iter().map(key).collect();
        for (index, key) in keys.iter().enumerate() {
            assert!(is_local(*key));
            assert!(!keys[..index].contains(key), "{key:?}");
        }
        let fetch = PeerKey {
            index: u32::MAX,
            generation: 0,
        };
        let connection = PeerKey {
            index: 10_000,
            generation: u32::MAX,
        };
        assert!(!is_local(fetch) && !is_local(connection));
    }
}
