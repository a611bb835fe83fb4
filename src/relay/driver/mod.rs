//! A session on its connection: what comes is read into the session, what the session says is written. The shards of a
//! relay and the load generator drive their sessions by the same.
//!
//! A connection that has something is served in this order: [`read`] it; take [`Backlog::poll_writable`] until it has no
//! more; [`Backlog::retry`]; handle the session's events; [`Backlog::transmit`]. None of them waits, and each says whether
//! the connection has something to send.
//!
//! How groups are written is not here, because the two differ in it: a shard has a group in its cache and goes on where
//! the connection stopped, a generator has nothing else to keep what waits, and writes groups through its backlog too.

mod backlog;
mod carry;
mod datagram;
mod reading;
#[cfg(test)]
mod tests;

pub use backlog::{Backlog, BacklogFull, BacklogLimits};
pub use carry::Carry;
pub use datagram::send_datagram;
pub use reading::read;
