//! Channels of Asterisk on a whole switch: what comes by AudioSocket and by `chan_websocket` is a call, and calls go out by them.

mod audiosocket;
mod crowd;
mod examples;
mod host;
mod hostile;
mod peers;
mod real;
mod websocket;
