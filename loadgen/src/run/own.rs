//! What is loaded when nothing was named: a relay in this process, or a switch with calls where telephones are to register.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use moqswitch::config::{CallsConfig, Config};
use moqswitch::switch::{Surroundings, Switch};
use moqswitch_relay::{Relay, RelayHandle};

use super::cores::Cores;

/// It ends when the run does.
pub(super) enum Own {
    Relay(RelayHandle),
    Switch(Switch),
}

impl Own {
    pub(super) fn start(cores: &Cores, has_phones: bool) -> anyhow::Result<Self> {
        let options = cores.relay_options();
        if !has_phones {
            return Ok(Self::Relay(Relay::start(options)?));
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            listen: options.listen,
            http: any,
            admin: None,
            shards: options.cores.as_ref().and_then(|cores| NonZeroUsize::new(cores.len())),
            cores: options.cores,
            calls: Some(CallsConfig::default()),
            // Nothing of it is kept.
            state_directory: Some(PathBuf::new()),
            ..Config::default()
        };
        let surroundings = Surroundings {
            is_hosted: true,
            ..Surroundings::default()
        };
        Ok(Self::Switch(Switch::start(&config, surroundings)?))
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
