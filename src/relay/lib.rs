//! A moq-lite relay as a library: one shard per core, each with its own io_uring, its own QUIC connections and its own
//! routing state.
//!
//! [`Relay::start`] takes [`RelayOptions`] and returns a [`RelayHandle`], which drains, reloads certificates and reaches
//! shards. There is no configuration file, no command line and no HTTP here: those are the program's.
//!
//! # Embedding
//!
//! ```
//! use std::net::SocketAddr;
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//!
//! use moqswitch_relay::{Relay, RelayOptions};
//!
//! let relay = Relay::start(RelayOptions {
//!     // Port 0: the kernel chooses one. Without certificates, a development certificate is made.
//!     listen: SocketAddr::from(([127, 0, 0, 1], 0)),
//!     shards: NonZeroUsize::new(1),
//!     ..RelayOptions::default()
//! })?;
//! println!("serving at {}, certificate {}", relay.address(), relay.identity().sha256_hex);
//!
//! // Sessions get a GOAWAY and up to a second; `join` waits for the end of all shards.
//! relay.drain(Duration::from_secs(1));
//! relay.join()?;
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! (`cargo run -p moqswitch-relay --example embed` runs the same.)
//!
//! - Who may publish and subscribe: [`RelayOptions::grant`], patterns of paths (see [`auth`]), and
//!   [`ShardCommand::SetGrant`](shard::ShardCommand::SetGrant) for one session. The relay does not know users.
//! - Certificates from files: [`certificate::CertificatePair::load`].
//! - What a shard counts, one group by request, a WebSocket to take on: commands to its [`RelayHandle::ports`] (see
//!   [`shard`]).
//! - What is announced: [`RelayHandle::announcements`]. Who comes, publishes and subscribes: [`RelayOptions::feed`].
//! - `Relay::start` blocks until all shards serve, or says why not. The threads are the relay's own; the embedder needs no
//!   async runtime.
//!
//! # Layers
//!
//! Who may use whom (`tests/tidy.rs` checks it):
//!
//! ```text
//! start, options       the whole: start order, drain
//! succession           what one process hands to the next
//!   shard              the event loop of a core; ties the layers below together
//!     routing          pure: who gets what
//!     driver           a session on its connection
//!     quic             quiche endpoint, TLS, ids, timers
//!     net              UDP ring and steering: all the `unsafe`
//!   auth certificate topology ratelimit
//! ```
//!
//! Messages, sessions and QMux are the crate [`moqswitch_proto`].
#![warn(missing_docs)]

pub mod auth;
pub mod certificate;
pub mod driver;
pub mod limits;
pub mod net;
mod options;
pub mod quic;
pub mod ratelimit;
pub mod routing;
pub mod shard;
mod start;
mod succession;
pub mod topology;

pub use options::{RelayOptions, ServerIdentity};
pub use quic::ResetKey;
pub use shard::BatchWindow;
pub use start::{Announcements, Begun, Relay, RelayHandle, Routes, Visitor};
pub use succession::{Heritage, Succession};

/// The example of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
