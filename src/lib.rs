//! moqswitch: a media switch for calls over Media over QUIC (moq-lite), one shard per core.
//!
//! Layers, and who may use whom (checked by `tests/tidy.rs`):
//!
//! ```text
//! relay, main          the whole: start order, drain
//!   control            HTTP on its own thread; reaches shards by messages
//!   shard              the event loop of a core; ties the layers below together
//!     routing  session   pure: who gets what │ one peer, sans-IO; neither knows the other
//!     quic               quiche endpoint, TLS, ids, timers
//!     qmux               pure: streams over the messages of a WebSocket
//!     net                UDP ring and steering: all the `unsafe`
//!     wire               bytes and messages of moq-lite-03 … 06
//! ```
//!
//! README.md, "Architecture", follows a datagram through them file by file.

pub mod auth;
pub mod certificate;
pub mod check;
pub mod config;
pub mod control;
pub mod generate;
pub mod limits;
pub mod logging;
pub mod net;
mod options;
pub mod qmux;
pub mod quic;
pub mod ratelimit;
pub mod relay;
pub mod routing;
pub mod session;
pub mod shard;
pub mod signals;
pub mod topology;
pub mod wire;
