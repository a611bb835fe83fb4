//! What happens at the relay, for one reader outside: which session came or went, what is published, ended, subscribed.
//!
//! One bounded channel for all shards. A shard never waits for it: what finds no room is counted, and the reader is told
//! how much it missed before it gets anything later of that shard.

use std::net::SocketAddr;
use std::sync::Arc;

use moqswitch_proto::wire::{BroadcastPath, StreamId, TrackName, Version};
use tokio::sync::mpsc;

use crate::auth::Grant;
use crate::routing::{PeerKey, ShardId, Source};

use super::carrier::carrier;
use super::peer::Peer;
use super::worker::Shard;

/// Something that happened on a shard. Those of one shard come in their order. Local peers are no sessions: of them there
/// is `Published` and `Ended` alone, with their keys as the session's.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// A session was let in. Nothing of it comes before this.
    SessionOpened {
        /// Its name for [`ShardCommand::SetGrant`](super::ShardCommand::SetGrant).
        session: Source,
        /// The peer's address; `None` when it is not known.
        remote: Option<SocketAddr>,
        /// Where its paths are rooted: the path of its SETUP or of its URL, without the query.
        root: BroadcastPath,
        /// The draft that it speaks.
        version: Version,
        /// What it may do.
        grant: Arc<Grant>,
        /// The device that its token names, see [`Policy::with_devices`](crate::auth::Policy::with_devices).
        device: Option<Arc<str>>,
    },
    /// A session is over, and with it everything that it published and subscribed: there is no event for each.
    SessionClosed {
        /// The session.
        session: Source,
    },
    /// A session announced a broadcast, by its full path, that its grant covers. Once more if it announced it anew.
    Published {
        /// The session that publishes.
        session: Source,
        /// The full path of the broadcast.
        path: BroadcastPath,
    },
    /// A session has announced a broadcast, of which `Published` was just told, that somebody else publishes already.
    Contested {
        /// The session that came later.
        session: Source,
        /// The full path of the broadcast.
        path: BroadcastPath,
    },
    /// A session publishes a broadcast no more.
    Ended {
        /// The session that published.
        session: Source,
        /// The full path of the broadcast.
        path: BroadcastPath,
    },
    /// A session subscribed to a track. The broadcast may not be there: then `Unsubscribed` follows.
    Subscribed {
        /// The session that subscribed.
        session: Source,
        /// Names the subscription in [`FeedEvent::Unsubscribed`].
        request: StreamId,
        /// The full path of the broadcast.
        path: BroadcastPath,
        /// The name of the track within the broadcast.
        track: TrackName,
    },
    /// A subscription is over, by whichever side.
    Unsubscribed {
        /// The session that had subscribed.
        session: Source,
        /// The `request` of [`FeedEvent::Subscribed`].
        request: StreamId,
    },
    /// All sessions of devices that a shard has, in answer to
    /// [`ShardCommand::ListDevices`](super::ShardCommand::ListDevices): what was told before and is not among them is over.
    Devices {
        /// Whose they are.
        shard: ShardId,
        /// Each session, and the device that it is of.
        sessions: Vec<(Source, Arc<str>)>,
    },
    /// So many events of a shard were left out here, because the feed was full.
    Lost {
        /// The shard whose events they were.
        shard: ShardId,
        /// How many.
        count: u64,
    },
}

/// What the relay is given to write to.
#[derive(Clone, Debug)]
pub struct FeedWriter {
    sender: mpsc::Sender<FeedEvent>,
    is_of_devices: bool,
}

/// Reads what happens, in a thread or task outside of the shards.
#[derive(Debug)]
pub struct FeedReader(mpsc::Receiver<FeedEvent>);

/// A feed that holds at most `capacity` events. Default to choose: [`FEED_EVENTS_DEFAULT`](crate::limits::FEED_EVENTS_DEFAULT).
pub fn feed(capacity: usize) -> (FeedWriter, FeedReader) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let writer = FeedWriter {
        sender,
        is_of_devices: false,
    };
    (writer, FeedReader(receiver))
}

impl FeedWriter {
    /// The same for a reader that wants to know of [devices](crate::auth::Policy::with_devices) which sessions they have,
    /// and of nothing else: what others publish and subscribe takes no room from that.
    #[must_use]
    pub fn of_devices(self) -> Self {
        Self {
            is_of_devices: true,
            ..self
        }
    }
}

impl FeedReader {
    /// The next event. `None` when the relay has ended.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        self.0.recv().await
    }

    /// As [`Self::next`], for a thread without a runtime.
    pub fn next_blocking(&mut self) -> Option<FeedEvent> {
        self.0.blocking_recv()
    }

    /// What is there already.
    pub fn try_next(&mut self) -> Option<FeedEvent> {
        self.0.try_recv().ok()
    }
}

/// A shard's end of the feed.
#[derive(Debug, Default)]
pub(super) struct Feed {
    writer: Option<FeedWriter>,
    lost: u64,
}

impl Feed {
    pub(super) fn new(writer: Option<FeedWriter>) -> Self {
        Self { writer, lost: 0 }
    }

    /// Whether somebody reads of broadcasts and subscriptions, so that an event is worth making.
    fn is_read(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.is_of_devices)
    }

    /// Whether somebody reads of sessions: of those of devices, or of others.
    fn is_read_of_sessions(&self, of_device: bool) -> bool {
        let writer = self.writer.as_ref();
        writer.is_some_and(|writer| of_device || !writer.is_of_devices)
    }

    fn push(&mut self, shard: ShardId, event: FeedEvent) {
        self.tell_of_losses(shard);
        let Some(FeedWriter { sender, .. }) = &self.writer else {
            return;
        };
        let is_behind = self.lost > 0;
        match (!is_behind).then(|| sender.try_send(event)) {
            Some(Ok(())) => {}
            // Nobody reads any more.
            Some(Err(mpsc::error::TrySendError::Closed(_))) => self.writer = None,
            Some(Err(mpsc::error::TrySendError::Full(_))) | None => self.lost += 1,
        }
    }

    /// Says how much was left out, once there is room to say it.
    fn tell_of_losses(&mut self, shard: ShardId) {
        let Some(FeedWriter { sender, .. }) = self.writer.as_ref().filter(|_| self.lost > 0) else {
            return;
        };
        let count = self.lost;
        if sender.try_send(FeedEvent::Lost { shard, count }).is_ok() {
            self.lost = 0;
        }
    }
}

impl Shard {
    pub(super) fn session_of(&self, peer: PeerKey) -> Source {
        Source {
            shard: self.options.id,
            peer,
        }
    }

    /// Makes an event only if somebody reads it.
    pub(super) fn report(&mut self, event: impl FnOnce(Source) -> FeedEvent, peer: PeerKey) {
        if self.feed.is_read() {
            let event = event(self.session_of(peer));
            self.feed.push(self.options.id, event);
        }
    }

    /// A session was let in. Once for each.
    pub(super) fn report_opened(&mut self, peer: PeerKey) {
        let remote =
            carrier(&mut self.endpoint, &mut self.websockets, peer).and_then(|connection| connection.peer_address());
        let session = self.session_of(peer);
        // Which draft it speaks is known only when that is agreed on.
        let is_new = |state: &&mut Peer| !state.is_reported && !state.session.is_negotiating();
        let Some(state) = self.peers.get_mut(&peer).filter(is_new) else {
            return;
        };
        if self.feed.is_read_of_sessions(state.device.is_some()) {
            state.is_reported = true;
            let event = FeedEvent::SessionOpened {
                session,
                remote,
                root: state.root.clone(),
                version: state.session.version(),
                grant: state.grant.clone(),
                device: state.device.clone(),
            };
            self.feed.push(self.options.id, event);
        }
    }

    /// A session that was told of is over.
    pub(super) fn report_closed(&mut self, peer: PeerKey) {
        let session = self.session_of(peer);
        self.feed.push(self.options.id, FeedEvent::SessionClosed { session });
    }

    /// Tells which sessions of devices there are. What finds no room is a loss like others.
    pub(super) fn list_devices(&mut self) {
        let shard = self.options.id;
        let of_devices = self.peers.iter().filter(|(_, state)| state.is_reported);
        let named = of_devices.filter_map(|(peer, state)| Some((*peer, state.device.clone()?)));
        let sessions = named.map(|(peer, device)| (Source { shard, peer }, device)).collect();
        self.feed.push(shard, FeedEvent::Devices { shard, sessions });
    }

    /// Once in a turn, so that a loss is told of even if nothing more happens.
    pub(super) fn report_losses(&mut self) {
        self.feed.tell_of_losses(self.options.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_feed_loses_events_and_says_how_many() {
        let (writer, mut reader) = feed(2);
        let mut feed = Feed::new(Some(writer));
        (0..5).for_each(|index| feed.push(ShardId(3), closed(index)));
        assert_eq!(names(&mut reader), ["closed 0", "closed 1"]);
        feed.tell_of_losses(ShardId(3));
        feed.push(ShardId(3), closed(5));
        assert_eq!(names(&mut reader), ["3 lost 3", "closed 5"]);
    }

    #[test]
    fn a_reader_that_is_gone_costs_nothing_more() {
        let (writer, reader) = feed(2);
        let mut feed = Feed::new(Some(writer));
        drop(reader);
        feed.push(ShardId(0), closed(0));
        assert!(!feed.is_read() && feed.lost == 0);
    }

    fn closed(index: u32) -> FeedEvent {
        FeedEvent::SessionClosed {
            session: Source {
                shard: ShardId(3),
                peer: PeerKey { index, generation: 0 },
            },
        }
    }

    fn names(reader: &mut FeedReader) -> Vec<String> {
        std::iter::from_fn(|| reader.try_next())
            .map(|event| match event {
                FeedEvent::SessionClosed { session } => format!("closed {}", session.peer.index),
                FeedEvent::Lost { shard, count } => format!("{} lost {count}", shard.0),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}
