//! The whole program: a relay, and the control thread beside it. Start order, signals, shutdown.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use moqswitch_proto::wire::Version;
use moqswitch_relay::net::probe_support;
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};

use crate::authority::{self, Authority};
use crate::config::{Config, HttpTls};
use crate::control::{ControlHandle, ControlListener, ControlState, Lifecycle, Phase, Tls, TokenChecks, WebSockets};
use crate::keys::Stamp;
use crate::reload::{Certificates, Seen, TokenKeys};
use crate::signals;

/// A running relay with its control thread. SIGTERM or SIGINT ends it: the first drains, the second exits at once.
/// SIGHUP reloads certificates and keys of tokens.
pub struct Switch {
    relay: RelayHandle,
    control: ControlHandle,
}

impl Switch {
    /// Binds, starts every shard and the control thread; returns once all of them serve.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        // What the host refuses is said before what is in use.
        probe_support()?;
        let listener = ControlListener::bind(config.http).map_err(|error| cannot_listen(config.http, error))?;
        let stamp = config.auth.key.as_deref().map(Stamp::of).unwrap_or_default();
        let authority = config.auth.authority.as_ref().map(Authority::new).transpose()?;
        let (admissions, asked) = authority::admissions();
        let options = RelayOptions {
            admissions: authority.is_some().then_some(admissions),
            certificates: config.certificates()?,
            clients: config.client_authorities()?,
            keys: config.token_keys()?,
            web_requests: Some(listener.web_requests()),
            ..config.relay_options()
        };
        let (keys, policy) = TokenKeys::new(config, stamp, options.keys.as_deref(), options.policy());
        let clients = options.clients.clone();
        let relay = Relay::start(options)?;
        let (certificates, Seen { sha256, http }) = Certificates::new(relay.identity(), clients.as_ref())?;
        let state = ControlState {
            shards: relay.ports().to_vec(),
            certificate_sha256: sha256,
            lifecycle: Arc::new(Lifecycle::default()),
            announcements: relay.announcements(),
            policy,
            authority: authority.clone(),
            token_checks: TokenChecks::new(config.limits.token_checks),
            websockets: WebSockets::new(
                relay.ports().len(),
                config.limits.websockets_max,
                config.quic.idle_timeout,
            ),
            tls: Some(Tls {
                context: http,
                is_required: config.http_tls == HttpTls::Required,
            }),
        };
        let decides = authority.map(|authority| authority::serve(authority, asked, state.shards.clone()));
        let background = background(&state, certificates, keys, decides, config);
        let control = listener.serve(state.clone()).spawn(background)?;
        state.lifecycle.set(Phase::Ready);
        Ok(Self { relay, control })
    }

    /// Where it listens for HTTP.
    pub fn http_address(&self) -> SocketAddr {
        self.control.address()
    }

    /// What an operator wants to see first.
    pub fn banner(&self) -> String {
        let drafts: Vec<&str> = Version::EVERY.iter().map(|version| version.name()).collect();
        let cores: Vec<String> = self.relay.cores().iter().map(ToString::to_string).collect();
        format!(
            "moqswitch {} ready: udp={} http={} shards={} cores={} drafts={} sha256={}",
            env!("CARGO_PKG_VERSION"),
            self.relay.address(),
            self.http_address(),
            cores.len(),
            cores.join(","),
            drafts.join(","),
            self.relay.identity().sha256_hex,
        )
    }

    /// Waits until every shard has ended, then stops the control thread.
    pub fn join(self) -> anyhow::Result<()> {
        let outcome = self.relay.join();
        self.control.stop()?;
        outcome
    }
}

type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs beside HTTP on the control thread.
fn background(
    state: &ControlState,
    certificates: Certificates,
    mut keys: TokenKeys,
    decides: Option<impl Future<Output = ()> + Send + 'static>,
    config: &Config,
) -> Background {
    let (state, config) = (state.clone(), config.clone());
    let shards = state.shards.clone();
    let grace = config.drain_deadline;
    let ends = async move {
        let drain = || async move { state.drain(grace).await };
        if let Err(error) = signals::watch(drain, |status| std::process::exit(status)).await {
            tracing::error!(%error, "signals cannot be watched; only SIGKILL will end this process");
        }
    };
    let reloads = async move {
        let mut hangups = match signals::Hangups::install() {
            Ok(hangups) => hangups,
            Err(error) => return tracing::error!(%error, "SIGHUP cannot be watched; nothing is reloaded"),
        };
        loop {
            tokio::select! {
                is_hangup = hangups.next() => {
                    if !is_hangup {
                        return;
                    }
                    certificates.reload(&config, &shards).await;
                    keys.reload(&shards).await;
                }
                () = keys.changed() => keys.reload(&shards).await,
            }
        }
    };
    Box::pin(async {
        let decides = async {
            if let Some(decides) = decides {
                decides.await;
            }
        };
        tokio::join!(ends, reloads, decides);
    })
}

/// The ports of UDP and TCP are usually one number, so that a second relay fails here first.
fn cannot_listen(address: SocketAddr, error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        return anyhow::anyhow!(
            "TCP {address} is already in use: another moqswitch or another program has it; stop that one first or choose \
             another address with --http"
        );
    }
    anyhow::Error::new(error).context(format!("cannot listen on {address} (TCP)"))
}
