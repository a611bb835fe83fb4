//! QUIC: quiche connections of one shard, their TLS, their ids and their timers.
//!
//! An [`Endpoint`] accepts and dials; relay, load generator and links between relays use
//! the same one. It knows moq-lite only by its names. A connection that agreed on `h3` gets the
//! streams of its WebTransport session unwrapped before the session sees them (`web`).
//!
//! In go datagrams from the ring, out come connections with something to do ([`Endpoint::poll_ready`]) and, at the end of
//! a turn, trains of packets ([`Endpoint::flush`]). Begin with [`Secrets::generate`], a [`TlsContext`] and
//! [`Endpoint::new`]. What a session needs is on [`Connection`]: `read`, `write`, `reset`, datagrams. After a change to a
//! connection the caller says so by [`Endpoint::mark_dirty`]; nothing leaves before.

mod acknowledgement;
mod alpn;
mod buffers;
mod connection;
mod dispatch;
mod doorkeeper;
mod endpoint;
mod ends;
mod flush;
mod identity;
#[cfg(any(test, feature = "exercise"))]
pub mod packets;
mod rebinding;
mod timers;
mod tls;
mod transport;
mod unsent;
mod web;
mod webtransport;

#[cfg(test)]
mod tests;

pub use buffers::{ReadArena, ZeroCopy};
pub use connection::{Connection, PathFigures};
pub use endpoint::{Client, ConnectionKey, Endpoint, EndpointOptions, EndpointStatistics, Notice};
pub use flush::Outgoing;
pub use identity::{ResetKey, Secrets};
pub use moqswitch_proto::wire::{Read, Written};
pub use tls::{ServerCertificate, TlsContext, Trust};
pub use transport::{CongestionControl, TransportOptions};
#[cfg(any(test, feature = "exercise"))]
pub use web::exercise;
pub use web::{WebDial, WebEvent};

/// What can go wrong while an endpoint is set up or dials.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// quiche refused: a configuration or a connection.
    #[error("QUIC: {0}")]
    Quic(#[from] quiche::Error),
    /// BoringSSL refused a certificate, a key or a setting.
    #[error("TLS: {0}")]
    Tls(#[from] boring::error::ErrorStack),
    /// A certificate cannot be used, and why.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The endpoint holds as many connections as it may.
    #[error("the shard holds its maximum of {0} connections")]
    Full(usize),
}
