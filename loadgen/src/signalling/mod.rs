//! How phones talk to the switch: messages over a WebSocket for each, on a thread of their own.

mod message;
mod sockets;

pub(crate) use message::{Word, answer, call, dtmf, hang_up, hold, reject, ringing};
pub(crate) use sockets::{News, Said, Sockets, SocketsPlan, What};
