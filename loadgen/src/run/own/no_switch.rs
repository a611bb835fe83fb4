//! Built without the feature `switch` there is none in this process.

use std::net::SocketAddr;

use moqswitch_relay::RelayOptions;

/// Nothing is one.
pub(crate) enum OwnSwitch {}

impl OwnSwitch {
    pub(super) fn start(_options: RelayOptions) -> anyhow::Result<Self> {
        anyhow::bail!(
            "telephones need a switch, and there is none in this program: name one by --relay, of SIP by --relay-sip"
        )
    }

    pub(super) fn address(&self) -> SocketAddr {
        match *self {}
    }

    pub(super) fn http_address(&self) -> SocketAddr {
        match *self {}
    }

    pub(super) fn sip_address(&self) -> SocketAddr {
        match *self {}
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self {}
    }
}
