//! What a caller would have heard: every frame that was sent is delivered, late, corrupt, skipped
//! or lost, and counted once, in the interval in which it was to be sent.
//!
//! Pure: time is an argument, in nanoseconds of Unix time, so that what several processes and
//! hosts counted can be put together.

pub(crate) mod gap;
pub(crate) mod interval;
pub(crate) mod jitter;
pub(crate) mod leg;
pub(crate) mod log;
pub(crate) mod mos;
pub(crate) mod phones;
mod playout;
pub(crate) mod sip;
pub(crate) mod stamp;
