//! SIP without I/O (RFC 3261): datagrams and `now` in, datagrams and events out.

#![warn(missing_docs)]

pub mod agent;
pub mod digest;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
pub mod flow;
pub mod guard;
pub mod limits;
pub mod message;
pub mod sdp;
pub mod transaction;
