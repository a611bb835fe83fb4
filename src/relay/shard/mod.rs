//! The event loop of one core, and the only place that has one.
//!
//! A [`Shard`] ties the layers together: datagrams from `net` go through `quic` into
//! `session`; what sessions say goes into `routing`; what routing decides goes back. One
//! turn of the loop receives, processes and sends, in the order that `worker` numbers.
//!
//! Where to look: `worker` the loop; `service` connections to sessions; `events` sessions to
//! routing; `actions` routing to sessions; `grants` what sessions may do;
//! `feed` what a reader outside hears; `local` peers without a connection; `peer` what one session keeps; `mail` other
//! shards; `mesh` other relays; `command` the control thread; `web` HTTP/3; `websockets` and `link` WebSockets, whose sockets the control
//! thread has; `carrier` what a session lives on.
//!
//! From outside a shard is a [`ShardPort`]: [`ShardCommand`]s go in, and each is answered on the channel that it brings
//! along. Embedders begin there; [`RelayHandle::ports`](crate::RelayHandle::ports) has one for each shard.
//! [`statistics`] is what a shard answers to `Snapshot`, [`feed()`] what it tells without being asked.

mod actions;
mod authority;
mod carrier;
mod command;
mod contest;
mod crowding;
mod events;
mod feed;
mod gathering;
mod grants;
mod link;
mod load;
pub mod local;
mod mail;
mod memory;
mod mesh;
mod peer;
mod port;
mod publishing;
mod service;
mod shares;
mod snapshot;
pub mod statistics;
mod strangers;
mod web;
mod websockets;
mod worker;

pub use authority::{AdmissionRequest, AdmissionRequests, Decision, SessionEnd, SessionTransport};
pub use command::{FetchError, FetchGroup, FetchReply, FetchRequest, ShardCommand};
pub use feed::{FeedEvent, FeedReader, FeedWriter, feed};
pub use gathering::BatchWindow;
pub use grants::UnknownSession;
pub use link::{Attachment, Bell, Doorbell, Incoming, Link, LinkPort, link};
pub use load::OverloadOptions;
pub use mail::PostOffice;
pub use memory::{Memory, MemoryLimits};
pub use mesh::{LinkDial, LinkEnd, LinkView};
pub use port::{ShardBusy, ShardPort};
pub use web::{WebRequest, WebRequests, WebResponse, WebStream};
pub use worker::{Shard, ShardLimits, ShardOptions, ShardParts};
