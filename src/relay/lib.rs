//! A moq-lite relay as a library: one shard per core, each with its own io_uring, its own QUIC connections and its own
//! routing state.
//!
//! [`Relay::start`] takes [`RelayOptions`] and returns a [`RelayHandle`], which drains, reloads certificates and reaches
//! shards. There is no configuration file, no command line and no HTTP here: those are the program's.
//!
//! Layers, and who may use whom (`tests/tidy.rs` checks it):
//!
//! ```text
//! start, options       the whole: start order, drain
//!   shard              the event loop of a core; ties the layers below together
//!     routing          pure: who gets what
//!     quic             quiche endpoint, TLS, ids, timers
//!     net              UDP ring and steering: all the `unsafe`
//!   auth certificate topology ratelimit
//! ```
//!
//! Messages, sessions and QMux are the crate [`moqswitch_proto`].
#![warn(missing_docs)]

pub mod auth;
pub mod certificate;
pub mod limits;
pub mod net;
mod options;
pub mod quic;
pub mod ratelimit;
pub mod routing;
pub mod shard;
mod start;
pub mod topology;

pub use options::{RelayOptions, ServerIdentity};
pub use start::{Announcements, Relay, RelayHandle, Visitor};
