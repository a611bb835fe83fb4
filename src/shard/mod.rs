//! The event loop of one core, and the only place that has one.
//!
//! A [`Shard`] ties the layers together: datagrams from `net` go through `quic` into
//! `session`; what sessions say goes into `routing`; what routing decides goes back. One
//! turn of the loop receives, processes and sends, in the order that `worker` numbers.
//!
//! Where to look: `worker` the loop; `service` connections to sessions; `events` sessions to
//! routing; `actions` routing to sessions; `peer` what one session keeps; `mail` other
//! shards; `command` the control thread; `web` HTTP/3; `link` and `links` WebSockets, which the control thread has; `carrier`
//! what a session lives on.

mod actions;
mod carrier;
mod command;
mod events;
mod link;
mod links;
mod mail;
mod peer;
mod service;
mod snapshot;
pub mod statistics;
mod web;
mod worker;

pub use command::{FetchError, FetchGroup, FetchReply, FetchRequest, ShardCommand};
pub use link::{Attachment, Bell, Doorbell, Incoming, Link, LinkPort, link};
pub use mail::PostOffice;
pub use web::{WebRequest, WebRequests, WebResponse, WebStream};
pub use worker::{Shard, ShardOptions, ShardParts};
