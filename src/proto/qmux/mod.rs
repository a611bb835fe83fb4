//! QMux: the streams and datagrams of QUIC over an ordered, reliable carrier, here the binary
//! messages of a WebSocket (draft-lcurley-qmux-websocket over draft-ietf-quic-qmux).
//!
//! Sans-IO: [`Connection::handle_message`] takes a message in, [`Connection::poll_transmit`] gives
//! one out, and between them are the calls that a session makes of a QUIC connection. What a peer
//! can make it hold is bounded by the windows it is granted, what waits for a peer by [`limits`].
//!
//! Begin with [`Subprotocol::choose`], which picks from what a client's WebSocket offers, and [`Connection::new`]. After
//! each message taken in: [`Connection::poll_readable`] and [`Connection::read`] for what goes to a session,
//! [`Connection::poll_writable`] for writes that may go on, then messages to send until there is none.
#![forbid(unsafe_code)]

mod connection;
mod dialect;
mod error;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
mod frame;
mod inbound;
mod integer;
pub mod limits;
mod outbound;
mod parameters;
mod stream;
mod window;

#[cfg(test)]
mod tests;

pub use crate::wire::{Read, Written};
pub use connection::{Connection, Options, Side};
pub use dialect::{Dialect, Subprotocol};
