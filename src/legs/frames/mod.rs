//! Legs whose peer has a connection of its own, on another thread: frames come in and go out by queues. What they publish and
//! hear is as that of legs of RTP, but for what a queue has no room for: it is dropped and counted.

mod application;
mod command;
mod leg;
mod port;

pub use command::{FrameLegSettings, HeardFrame};
pub use port::{FrameLeg, FrameLegs, FrameLegsPort};
