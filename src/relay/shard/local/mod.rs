//! Peers without a connection: code of the embedder that runs on a shard and publishes and subscribes there as sessions
//! do. A gateway's legs, a recorder and a mixer are such peers.
//!
//! [`Application`] is what an embedder writes, one for each shard that needs it; [`ShardCommand::Install`] starts it.
//! It is told what happens by [`LocalEvent`]s and does things by its [`Host`], which it is lent for each call. All of it
//! runs on the shard's thread, between two waits of the ring: it must not block, and what takes longer than some
//! microseconds belongs on another thread.
//!
//! What a local peer publishes goes through the same cache, order and limits as what a session publishes, and to
//! sessions, local peers and other shards alike. The embedder is trusted: no grant is asked. What is bounded:
//! applications and peers of a shard, tracks of a broadcast, frames that a peer is given in a turn, bytes of a frame
//! ([`limits`](crate::limits)).
//!
//! An application that says the time to whoever subscribes:
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::{Duration, Instant};
//!
//! use moqswitch_proto::wire::{BroadcastPath, GroupSequence, SubscribeId, TrackInfo};
//! use moqswitch_relay::routing::PeerKey;
//! use moqswitch_relay::shard::ShardCommand;
//! use moqswitch_relay::shard::local::{
//!     Application, Delivery, Host, Installation, LocalEvent, LocalFrame, LocalTrack,
//! };
//! use moqswitch_relay::{Relay, RelayOptions};
//!
//! #[derive(Default)]
//! struct Clock {
//!     peer: Option<PeerKey>,
//!     wanted: Option<SubscribeId>,
//!     ticks: u64,
//!     due: Option<Instant>,
//! }
//!
//! impl Application for Clock {
//!     fn handle(&mut self, event: LocalEvent, _host: &mut Host<'_>) {
//!         match event {
//!             LocalEvent::Wanted { id, .. } => self.wanted = Some(id),
//!             LocalEvent::Unwanted { .. } => self.wanted = None,
//!             // Nothing is subscribed to or watched here.
//!             LocalEvent::DemandChanged { .. }
//!             | LocalEvent::Frame { .. }
//!             | LocalEvent::GroupEnded { .. }
//!             | LocalEvent::GroupsDropped { .. }
//!             | LocalEvent::Info { .. }
//!             | LocalEvent::Closed { .. }
//!             | LocalEvent::Announced { .. }
//!             | LocalEvent::Unannounced { .. }
//!             | LocalEvent::WatchClosed { .. }
//!             | LocalEvent::SocketStopped { .. }
//!             | LocalEvent::Draining { .. } => {}
//!         }
//!     }
//!
//!     fn handle_turn(&mut self, host: &mut Host<'_>) {
//!         let peer = *self.peer.get_or_insert_with(|| {
//!             let peer = host.open_peer().expect("the shard has room");
//!             let info = TrackInfo { epoch: 0, priority: 0, ordered: false, max_latency_ms: 5000, timescale: 1000 };
//!             let track = LocalTrack { name: "time".into(), info, tag: 0 };
//!             host.publish(peer, &BroadcastPath::new("clock"), vec![track]).expect("the path is free");
//!             peer
//!         });
//!         if self.due.is_some_and(|due| due > host.now()) {
//!             return;
//!         }
//!         self.due = Some(host.now() + Duration::from_secs(1));
//!         self.ticks += 1;
//!         if let Some(id) = self.wanted {
//!             let payload = host.copy(self.ticks.to_string().as_bytes());
//!             let frame = LocalFrame { group: GroupSequence(self.ticks), timestamp: self.ticks * 1000, payload };
//!             host.send(peer, id, frame, Delivery::Stream);
//!         }
//!     }
//!
//!     fn next_deadline(&self) -> Option<Instant> {
//!         self.due
//!     }
//! }
//!
//! let relay = Relay::start(RelayOptions {
//!     listen: ([127, 0, 0, 1], 0).into(),
//!     shards: NonZeroUsize::new(1),
//!     ..RelayOptions::default()
//! })?;
//! let (reply, answer) = tokio::sync::oneshot::channel();
//! relay.ports()[0].send(ShardCommand::Install { application: Installation::new(Clock::default), reply })?;
//! answer.blocking_recv()??;
//! relay.drain(Duration::ZERO);
//! relay.join()?;
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! Where to look: `application` the trait; `events` what it is told; `host` what may be done; `frames` groups taken apart into
//! frames; `peer` what one peer keeps; `drive` the shard's side.
//!
//! [`ShardCommand::Install`]: super::ShardCommand::Install

mod application;
mod drive;
mod events;
mod frames;
mod host;
mod peer;

pub use application::{Application, Installation, SocketDatagram, TooManyApplications};
pub use events::LocalEvent;
pub use frames::{Delivery, LocalGroup};
pub use host::{Host, LocalError, LocalFrame, LocalSubscription};
pub use peer::LocalTrack;

pub(super) use drive::Locals;
pub(super) use peer::is_local;
