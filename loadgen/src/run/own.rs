//! What is loaded when nothing was named: a relay in this process, or a switch with calls where telephones are to register.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use moqswitch::config::{CallsConfig, Config, SipConfig};
use moqswitch::switch::{Surroundings, Switch};
use moqswitch_relay::{Relay, RelayHandle};

use super::cores::Cores;

/// It ends when the run does.
pub(super) enum Own {
    Relay(RelayHandle),
    Switch {
        switch: Switch,
        /// Where telephones of SIP register.
        sip: SocketAddr,
    },
}

impl Own {
    pub(super) fn start(cores: &Cores, has_phones: bool) -> anyhow::Result<Self> {
        let options = cores.relay_options();
        if !has_phones {
            return Ok(Self::Relay(Relay::start(options)?));
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sip = free_port()?;
        let calls = CallsConfig::default();
        let config = Config {
            listen: options.listen,
            http: any,
            admin: None,
            shards: options.cores.as_ref().and_then(|cores| NonZeroUsize::new(cores.len())),
            cores: options.cores,
            calls: Some(CallsConfig {
                sip: calls.sip.clone().map(|own| SipConfig {
                    udp: Some(sip),
                    tcp: Some(sip),
                    is_by_itself: false,
                    ..own
                }),
                ..calls
            }),
            // Nothing of it is kept.
            state_directory: Some(PathBuf::new()),
            ..Config::default()
        };
        let surroundings = Surroundings {
            is_hosted: true,
            ..Surroundings::default()
        };
        let switch = Switch::start(&config, surroundings)?;
        Ok(Self::Switch { switch, sip })
    }

    pub(super) fn relay_url(&self) -> String {
        let address = match self {
            Self::Relay(relay) => relay.address(),
            Self::Switch { switch, .. } => switch.address(),
        };
        format!("moql://{address}/")
    }

    /// `None`: nobody registers there.
    pub(super) fn signalling_url(&self) -> Option<String> {
        match self {
            Self::Relay(_) => None,
            Self::Switch { switch, .. } => Some(format!("ws://{}/ws", switch.http_address())),
        }
    }

    /// `None`: there is no SIP.
    pub(super) fn sip_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Relay(_) => None,
            Self::Switch { sip, .. } => Some(*sip),
        }
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Relay(relay) => {
                relay.drain(DRAIN_GRACE);
                relay.join()
            }
            Self::Switch { switch, .. } => switch.stop(),
        }
    }
}

/// One number that is free for UDP and TCP. Nobody else takes it in between, as a rule.
fn free_port() -> anyhow::Result<SocketAddr> {
    for _ in 0..PORT_TRIES {
        let address = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port is free for UDP and TCP")
}

const PORT_TRIES: usize = 20;
/// How long the relay in this process may take to end.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
