//! Where messages come from and go to.

use std::fmt;
use std::net::SocketAddr;

/// What carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams: what is lost is sent again.
    Udp,
    /// A stream.
    Tcp,
    /// A stream, encrypted.
    Tls,
    /// A WebSocket (RFC 7118), encrypted or not.
    Ws,
}

impl Transport {
    /// As Via has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
        }
    }

    /// As `;transport=` of an address has it. None: the default.
    pub const fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Udp => None,
            Self::Tcp => Some("tcp"),
            Self::Tls => Some("tls"),
            Self::Ws => Some("ws"),
        }
    }

    /// Where a server listens if nothing is said (RFC 3261, section 19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
        }
    }

    /// Does it carry everything, in order?
    pub const fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls | Self::Ws => true,
        }
    }
}

/// One way to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// What carries it.
    pub transport: Transport,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Which connection of the adapter's. 0: none, or one that is to be opened.
    pub connection: u64,
}

impl Flow {
    /// Datagrams to and from a peer.
    pub const fn datagrams(peer: SocketAddr) -> Self {
        Self {
            transport: Transport::Udp,
            peer,
            connection: 0,
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.transport.name(), self.peer)?;
        match self.connection {
            0 => Ok(()),
            connection => write!(formatter, " #{connection}"),
        }
    }
}
