//! Whom a request came from.

use std::net::SocketAddr;

use moqswitch_relay::auth::ClientIdentity;

/// The other end of the connection; an extension of each request that has one of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote(pub(super) SocketAddr);

/// The client's address; an extension of each request, whatever it came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub(super) SocketAddr);

/// Who the client's certificate says that it is; an extension of each request whose client showed one.
#[derive(Clone, Debug)]
pub(super) struct Certified(pub(super) ClientIdentity);
