//! Whom a request came from.

use std::net::SocketAddr;

/// The other end of the connection; an extension of each request that has one of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote(pub(super) SocketAddr);
