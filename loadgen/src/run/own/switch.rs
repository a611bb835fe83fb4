//! A whole switch in this process: the only place that knows the program `moqswitch`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use moqswitch::config::{CallsConfig, Config, SipConfig};
use moqswitch::switch::{Surroundings, Switch};
use moqswitch_relay::RelayOptions;

pub(crate) struct OwnSwitch {
    switch: Switch,
    /// Where telephones of SIP register.
    sip: SocketAddr,
}

impl OwnSwitch {
    /// At the address and on the cores of a relay with these options.
    pub(super) fn start(options: RelayOptions) -> anyhow::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
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
        Ok(Self { switch, sip })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.switch.address()
    }

    pub(super) fn http_address(&self) -> SocketAddr {
        self.switch.http_address()
    }

    pub(super) fn sip_address(&self) -> SocketAddr {
        self.sip
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.switch.stop()
    }
}

/// One number that is free for UDP and TCP. Nobody else takes it in between, as a rule.
fn free_port() -> anyhow::Result<SocketAddr> {
    for _ in 0..PORT_TRIES {
        let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port is free for UDP and TCP")
}

const PORT_TRIES: usize = 20;
