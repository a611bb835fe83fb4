//! What is loaded when nothing was named: a relay in this process, or a switch with calls where telephones are to register.

use std::net::SocketAddr;
use std::time::Duration;

use moqswitch_relay::{Relay, RelayHandle};

use super::cores::Cores;

#[cfg(not(feature = "switch"))]
mod no_switch;
#[cfg(feature = "switch")]
mod switch;

#[cfg(not(feature = "switch"))]
use no_switch::OwnSwitch;
#[cfg(feature = "switch")]
use switch::OwnSwitch;

/// It ends when the run does.
pub(super) enum Own {
    Relay(Box<RelayHandle>),
    Switch(Box<OwnSwitch>),
}

impl Own {
    pub(super) fn start(cores: &Cores, has_phones: bool) -> anyhow::Result<Self> {
        let options = cores.relay_options();
        match has_phones {
            true => Ok(Self::Switch(Box::new(OwnSwitch::start(options)?))),
            false => Ok(Self::Relay(Box::new(Relay::start(options)?))),
        }
    }

    pub(super) fn relay_url(&self) -> String {
        let address = match self {
            Self::Relay(relay) => relay.address(),
            Self::Switch(switch) => switch.address(),
        };
        format!("moql://{address}/")
    }

    /// `None`: nobody registers there.
    pub(super) fn signalling_url(&self) -> Option<String> {
        match self {
            Self::Relay(_) => None,
            Self::Switch(switch) => Some(format!("ws://{}/ws", switch.http_address())),
        }
    }

    /// `None`: there is no SIP.
    pub(super) fn sip_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Relay(_) => None,
            Self::Switch(switch) => Some(switch.sip_address()),
        }
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Relay(relay) => {
                relay.drain(DRAIN_GRACE);
                relay.join()
            }
            Self::Switch(switch) => switch.stop(),
        }
    }
}

/// How long the relay in this process may take to end.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
