//! What a session runs on, beside its draft.

use std::fmt;
use std::net::SocketAddr;

use url::Url;

use crate::draft::Draft;
use crate::relay::Relay;

/// What carries a session's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Quic,
    WebTransport,
    WebSocket,
    SecureWebSocket,
}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    pub draft: Draft,
    pub carrier: Carrier,
}

impl Carrier {
    /// One of each kind.
    pub const ALL: [Carrier; 3] = [Carrier::Quic, Carrier::WebTransport, Carrier::WebSocket];

    /// Where a client finds the relay.
    pub fn url(self, relay: &Relay) -> Url {
        let (udp, http) = (relay.udp(), relay.http());
        match self {
            Carrier::Quic => raw_quic_url(udp),
            Carrier::WebTransport => url("https", udp),
            Carrier::WebSocket => url("ws", http),
            Carrier::SecureWebSocket => url("wss", http),
        }
    }

    pub fn with(self, draft: Draft) -> Dial {
        Dial { draft, carrier: self }
    }
}

/// The address a client dials for raw QUIC at `udp`.
pub fn raw_quic_url(udp: SocketAddr) -> Url {
    url("moqt", udp)
}

fn url(scheme: &str, address: SocketAddr) -> Url {
    Url::parse(&format!("{scheme}://{address}/")).expect("an address makes a valid URL")
}

impl From<Draft> for Dial {
    fn from(draft: Draft) -> Self {
        Carrier::Quic.with(draft)
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.carrier {
            Carrier::Quic => write!(formatter, "{}", self.draft),
            other => write!(formatter, "{} over {other:?}", self.draft),
        }
    }
}
