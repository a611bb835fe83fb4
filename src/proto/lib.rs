//! moq-lite without I/O: messages, sessions, and QMux over the messages of a WebSocket.
//!
//! No socket, no clock, no thread: whoever embeds this crate hands bytes in and takes bytes and events out.
//!
//! - [`wire`]: bytes to messages and back, for each draft (moq-lite-01 to -06 and gomoqt's dialect of 01).
//! - [`session`]: one peer as a state machine. Streams go in, [`Event`](session::Event)s come out.
//! - [`qmux`]: the streams, datagrams and flow control of QUIC over an ordered, reliable carrier.
//! - [`limits`]: every bound of what is on the wire.
//!
//! `session` and `qmux` use `wire` and do not know each other.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod limits;
pub mod qmux;
pub mod session;
pub mod wire;
