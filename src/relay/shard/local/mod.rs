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
//! Where to look: `application` the trait and its events; `host` what may be done; `frames` groups taken apart into
//! frames, and made of them; `peer` what one peer keeps; `drive` the shard's side.
//!
//! [`ShardCommand::Install`]: super::ShardCommand::Install

mod application;
mod drive;
mod frames;
mod host;
mod peer;

pub use application::{Application, Installation, LocalEvent, SocketDatagram, TooManyApplications};
pub use frames::{Delivery, LocalGroup};
pub use host::{Host, LocalError, LocalFrame, LocalSubscription, LocalTrack};

pub(super) use drive::Locals;
pub(super) use peer::is_local;
