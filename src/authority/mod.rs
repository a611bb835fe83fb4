//! The auth server that `auth.url` names: it is asked when a session begins, asked again as it says, and told of the end.
//! It speaks the contract of moq-relay 0.17, so that one server serves both relays.
//!
//! All of this runs on the control thread; shards send sessions by a bounded queue and get answers as commands. What a
//! session was granted lapses on its shard, so an outage of the server, or of this thread, does not make it last longer.
#![forbid(unsafe_code)]

mod client;
mod contract;
mod lease;
mod server;

pub use contract::HttpRequest;
pub use lease::{admissions, serve};
pub use server::Authority;
