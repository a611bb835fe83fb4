//! What the gateway is given.

use std::fmt;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use moqswitch_sip::agent::Reached;

use super::media::RtpLegs;

/// SIP of a switch.
pub struct SipSettings {
    /// Where it listens.
    pub sockets: SipSockets,
    /// Where telephones reach it.
    pub reached: Reached,
    /// Of addresses and of digest authentication: a domain, or the name of the switch.
    pub realm: String,
    /// How often contacts on datagrams are asked whether they are there. Zero: never.
    pub ping: Duration,
    /// Media of telephones.
    pub media: Box<dyn RtpLegs>,
}

/// Where telephones are listened for. They do not block.
#[derive(Debug, Default)]
pub struct SipSockets {
    /// Datagrams. None: there are none.
    pub udp: Option<UdpSocket>,
    /// Streams. None: there are none.
    pub tcp: Option<TcpListener>,
}

impl fmt::Debug for SipSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SipSettings")
            .field("sockets", &self.sockets)
            .field("reached", &self.reached)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
