//! What a session runs on, beside its draft.

use std::fmt;
use std::net::SocketAddr;

use url::Url;

use crate::draft::Draft;

/// What carries a session's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Quic,
    WebTransport,
}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    pub draft: Draft,
    pub carrier: Carrier,
}

impl Carrier {
    pub const ALL: [Carrier; 2] = [Carrier::Quic, Carrier::WebTransport];

    /// Where a client finds the relay that listens at `udp`.
    pub fn url(self, udp: SocketAddr) -> Url {
        let scheme = match self {
            Carrier::Quic => "moqt",
            Carrier::WebTransport => "https",
        };
        Url::parse(&format!("{scheme}://{udp}/")).expect("an address makes a valid URL")
    }

    pub fn with(self, draft: Draft) -> Dial {
        Dial { draft, carrier: self }
    }
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
            Carrier::WebTransport => write!(formatter, "{} over WebTransport", self.draft),
        }
    }
}
