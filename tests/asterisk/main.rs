//! Channels of Asterisk on a whole switch: what comes by AudioSocket and by `chan_websocket` is a call, and calls go out by them.
#![expect(clippy::unwrap_used, reason = "a failure of a test is a panic")]

mod audiosocket;
mod crowd;
mod examples;
mod host;
mod hostile;
mod peers;
mod real;
mod websocket;
