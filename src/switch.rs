//! The whole program: a relay, and the control thread beside it. Start order, signals, shutdown.

use std::ffi::OsString;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use boring::ssl::SslContext;
use moqswitch_player::Player;
use moqswitch_proto::wire::Version;
use moqswitch_relay::limits::ADDRESS_WAIT_MAX;
use moqswitch_relay::net::{bind_by, probe_support};
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
use moqswitch_services::Pool;
use moqswitch_signalling::SignallingHandle;
use tokio::sync::watch;

use crate::authority::{self, Authority};
use crate::browsers::Browsers;
use crate::config::{CallsConfig, Config, HttpTls, LogFormat};
use crate::control::{
    ControlHandle, ControlListener, ControlState, Endpoints, Lifecycle, MeshState, Phase, StreamTls, Tls, TokenChecks,
    WebSockets,
};
use crate::keys::Stamp;
use crate::limits::CALLS_STOP_WAIT_MAX;
use crate::logging::LevelHandle;
use crate::mesh::{Mesh, MeshHandle};
use crate::music::Music;
use crate::nodes::StoreThread;
use crate::notify::Notifier;
use crate::reload::{Certificates, Reloads, TokenKeys};
use crate::signals::{Hangups, Signals};
use crate::telephony::{Running, Telephony};
use crate::upgrade::{Keeper, Kind, Lineage, Parts, Takeover};
use crate::{check, control, state, telephony};

pub use crate::reload::Source;

/// What the program has besides its configuration. By default there is nothing of it.
#[derive(Default)]
pub struct Surroundings {
    /// Reads the configuration again at SIGHUP.
    pub source: Option<Source>,
    /// Changes the level of the log.
    pub level: Option<LevelHandle>,
    /// Tells the service manager.
    pub notifier: Notifier,
    /// It is part of another program, whose signals are none of its business. It ends by [`Switch::stop`].
    pub is_hosted: bool,
    /// What it takes over from a process that ends.
    pub takeover: Option<Takeover>,
    /// The program file and how it was called: by them it is followed by another process. `None`: nobody follows.
    pub program: Option<(PathBuf, Vec<OsString>)>,
}

/// A running relay with its control thread. SIGTERM or SIGINT ends it: the first drains, the second exits at once.
/// SIGHUP reloads certificates, keys of tokens, patterns, limits, the log level, links to other relays and the files of calls.
pub struct Switch {
    relay: RelayHandle,
    control: ControlHandle,
    signalling: Option<SignallingHandle>,
    /// What carries messages to other machines.
    store: Option<StoreThread>,
    has_phone: bool,
}

impl Switch {
    /// Binds, starts every shard and the control thread; returns once all of them serve.
    pub fn start(config: &Config, mut surroundings: Surroundings) -> anyhow::Result<Self> {
        let channel = surroundings.takeover.as_ref().map(Takeover::channel).transpose()?;
        let takeover = surroundings.takeover.take();
        // What was made before it fails has runtimes, and where one runs none may be dropped: it is on another thread there.
        let started = match tokio::runtime::Handle::try_current() {
            Err(_) => Self::start_with(config, surroundings, takeover),
            Ok(_) => thread::scope(|scope| scope.spawn(|| Self::start_with(config, surroundings, takeover)).join())
                .unwrap_or_else(|panic| resume_unwind(panic)),
        };
        if let (Err(error), Some(channel)) = (&started, &channel) {
            Takeover::say_failed(channel, error);
        }
        started
    }

    fn start_with(config: &Config, surroundings: Surroundings, mut takeover: Option<Takeover>) -> anyhow::Result<Self> {
        // What the host refuses is said before what is in use.
        probe_support()?;
        let listener = listen(config, takeover.as_mut())?;
        let stamp = config.auth.key.as_deref().map(Stamp::of).unwrap_or_default();
        let authority = config.auth.authority.as_ref().map(Authority::new).transpose()?;
        let (admissions, asked) = authority::admissions();
        let mut telephony = Telephony::new(config, takeover.as_ref().and_then(Takeover::key_of_devices))?;
        let store = telephony.as_mut().and_then(Telephony::take_store);
        let options = RelayOptions {
            admissions: authority.is_some().then_some(admissions),
            web_requests: Some(listener.web_requests()),
            ..with_files(config, telephony.as_ref())?
        };
        let (lineage, options) = Lineage::begin(config, options, surroundings.program, takeover.as_ref())?;
        let (keys, policy) = TokenKeys::new(config, stamp, options.keys.as_deref(), options.policy());
        let clients = options.clients.clone();
        let relay = Relay::start(options)?;
        let mut begun = relay.begun();
        let (certificates, seen) = Certificates::new(relay.identity(), clients.as_ref(), config)?;
        let browsers = browsers(config, &relay, takeover.is_some())?;
        let devices = telephony.as_ref().map(Telephony::key);
        let join = |takeover| join(config, takeover, &relay, devices.is_some());
        takeover.as_mut().map(join).transpose()?;
        let endpoints = browsers.clone().map(|browsers| endpoints(config, browsers));
        let music = Music::start(config, &relay)?;
        let (tls_of_sip, player) = (StreamTls(seen.sip), plays(&music));
        let start = |it: Telephony| it.start(&relay, seen.sha256.clone(), tls_of_sip, browsers, player);
        let calls = telephony.map(start).transpose()?;
        let (mesh, links) = Mesh::new(&config.mesh, relay.address(), relay.ports().to_vec())?;
        let (signalling, audio) = handles(calls.as_ref());
        let state = ControlState {
            mesh: mesh_state(&relay, &links),
            endpoints: endpoints.clone(),
            calls: calls.as_ref().map(Running::router),
            mediaswitch: calls.as_ref().and_then(Running::mediaswitch_router),
            signalling,
            audio,
            music: music.clone(),
            shards: relay.ports().to_vec(),
            certificate_sha256: seen.sha256,
            lifecycle: Arc::new(Lifecycle::default()),
            announcements: relay.announcements(),
            policy,
            authority: authority.clone(),
            token_checks: TokenChecks::new(config.limits.token_checks),
            websockets: websockets(config, &relay),
            tls: Some(tls(config, seen.http)),
        };
        let decides = authority.map(|authority| authority::serve(authority, asked, state.shards.clone()));
        let reloads = Reloads {
            config: config.clone(),
            source: surroundings.source.map(Arc::new),
            level: surroundings.level,
            websockets: Arc::clone(&state.websockets),
            certificates,
            keys,
            calls: calls.as_ref().map(Running::reloading),
            music,
            mesh: links,
        };
        Prepared {
            relay,
            listener,
            state,
            store,
            reloads,
            notifier: surroundings.notifier,
            is_hosted: surroundings.is_hosted,
        }
        .serve(config, (decides, calls, mesh, endpoints), (lineage, devices), takeover)
        .inspect(|_| begun.keep())
    }

    /// Where it listens for QUIC.
    pub fn address(&self) -> SocketAddr {
        self.relay.address()
    }

    /// Where it listens for HTTP.
    pub fn http_address(&self) -> SocketAddr {
        self.control.address()
    }

    /// What an operator wants to see first.
    pub fn banner(&self, format: LogFormat) -> String {
        let drafts: Vec<&str> = Version::SPOKEN.iter().map(|version| version.name()).collect();
        let admin = self.control.admin_address();
        let sha256 = &self.relay.identity().sha256_hex;
        let phone = self.has_phone.then(|| telephony::phone_url(self.http_address()));
        if format == LogFormat::Json {
            // With the fields that lines of the log have.
            let line = serde_json::json!({
                "timestamp": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
                "level": "INFO",
                "target": "moqswitch",
                "message": "ready",
                "version": env!("CARGO_PKG_VERSION"),
                "udp": self.relay.address(),
                "http": self.http_address(),
                "admin": admin,
                "phone": phone,
                "shards": self.relay.cores().len(),
                "cores": self.relay.cores(),
                "drafts": drafts,
                "sha256": sha256,
            });
            return line.to_string();
        }
        let cores: Vec<String> = self.relay.cores().iter().map(ToString::to_string).collect();
        format!(
            "moqswitch {} ready: udp={} http={} admin={} phone={} shards={} cores={} drafts={} sha256={}",
            env!("CARGO_PKG_VERSION"),
            self.relay.address(),
            self.http_address(),
            admin.map_or_else(|| "none".to_owned(), |address| address.to_string()),
            phone.as_deref().unwrap_or("none"),
            cores.len(),
            cores.join(","),
            drafts.join(","),
            sha256,
        )
    }

    /// Ends it, with what goes on in it.
    pub fn stop(self) -> anyhow::Result<()> {
        self.relay.drain(Duration::ZERO);
        self.join()
    }

    /// Waits until every shard has ended, then stops the control thread.
    pub fn join(self) -> anyhow::Result<()> {
        let outcome = self.relay.join();
        if let Some(signalling) = self.signalling {
            end_calls(&signalling);
        }
        if let Some(store) = self.store {
            store.join();
        }
        self.control.stop()?;
        outcome
    }
}

/// There is no way back from where the process before gives up its calls.
fn join(config: &Config, takeover: &mut Takeover, relay: &RelayHandle, has_calls: bool) -> anyhow::Result<()> {
    let obstacle = config.calls.as_ref().and_then(check::find_obstacle);
    anyhow::ensure!(obstacle.is_none(), "{}", obstacle.unwrap_or_default());
    takeover.join(relay, has_calls)
}

/// Whom WHIP and WHEP are for; in which codecs they hear depends on whether there are threads of audio.
fn endpoints(config: &Config, browsers: Browsers) -> Endpoints {
    let has_threads = |calls: &CallsConfig| calls.audio_threads != Some(0);
    Endpoints::new(browsers, config.calls.as_ref().is_some_and(has_threads))
}

/// All that serves, before anything is answered.
struct Prepared {
    relay: RelayHandle,
    listener: ControlListener,
    state: ControlState,
    store: Option<StoreThread>,
    reloads: Reloads,
    notifier: Notifier,
    is_hosted: bool,
}

impl Prepared {
    fn serve(
        self,
        config: &Config,
        beside_http: Beside<impl Future<Output = ()> + Send + 'static>,
        (lineage, devices): (Option<Lineage>, Option<String>),
        mut takeover: Option<Takeover>,
    ) -> anyhow::Result<Switch> {
        let (relay, state, notifier) = (self.relay, self.state, self.notifier);
        let keeper = lineage.map(|lineage| {
            let parts = Parts {
                state: state.clone(),
                listeners: named(self.listener.listeners()?),
                accepting: self.listener.accepting(),
                keepsake: lineage.keepsake(&relay, devices),
                notifier: notifier.clone(),
                longest: config.upgrade_deadline,
                program: lineage.program,
            };
            anyhow::Ok(Keeper::new(parts, &relay, takeover.as_mut().and_then(Takeover::take)))
        });
        let keeper = keeper.transpose()?.flatten();
        let (watching, is_watching) = mpsc::sync_channel(0);
        let background: Background = if self.is_hosted {
            drop(watching);
            let (decides, calls, mesh, endpoints) = beside_http;
            Box::pin(beside(decides, calls, mesh, endpoints))
        } else {
            let grace = config.drain_deadline;
            let background = background(&state, self.reloads, notifier.clone(), beside_http, (grace, watching));
            Box::pin(with_keeper(background, keeper))
        };
        let control = self.listener.serve(state.clone()).spawn(background)?;
        // Whoever reads that it is ready may send a signal. Nothing is ever sent here: it ends.
        let _ = is_watching.recv();
        state.lifecycle.set(Phase::Ready);
        if let Some(takeover) = takeover {
            takeover.finish(&relay)?;
        }
        notifier.ready();
        Ok(Switch {
            relay,
            control,
            signalling: state.signalling,
            store: self.store,
            has_phone: config.calls.as_ref().is_some_and(|calls| calls.phone),
        })
    }
}

/// What runs beside HTTP: who decides on sessions, calls, links to other relays, sessions of WebRTC.
type Beside<Decides> = (Option<Decides>, Option<Running>, Mesh, Option<Endpoints>);

/// Their records and recordings are whole when it returns, unless they take too long.
fn end_calls(signalling: &SignallingHandle) {
    signalling.stop();
    let ended = || {
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .ok()?;
        let ended = async { tokio::time::timeout(CALLS_STOP_WAIT_MAX, signalling.ended()).await };
        waiting.block_on(ended).ok()
    };
    // On a thread of its own: whoever embeds the switch may have a runtime on this one.
    let ended = thread::scope(|scope| scope.spawn(ended).join());
    if !matches!(ended, Ok(Some(_))) {
        tracing::warn!("the calls thread does not end: what it had not written is lost");
    }
}

/// Of calls, for whoever asks.
fn handles(calls: Option<&Running>) -> (Option<SignallingHandle>, Option<Pool>) {
    let signalling = calls.map(|calls| calls.handle.clone());
    (signalling, calls.and_then(|calls| calls.audio.clone()))
}

/// Beside all else: a process that is to follow.
async fn with_keeper(background: Background, keeper: Option<Keeper>) {
    let keeper = async {
        if let Some(keeper) = keeper {
            keeper.serve().await;
        }
    };
    tokio::join!(background, keeper);
}

fn named(listeners: [Option<TcpListener>; 3]) -> Vec<(Kind, TcpListener)> {
    let kinds = [Kind::Http, Kind::Admin, Kind::Mediaswitch];
    let named = kinds.into_iter().zip(listeners);
    named.filter_map(|(kind, listener)| Some((kind, listener?))).collect()
}

fn plays(music: &Option<Music>) -> Option<&Player> {
    music.as_ref().map(Music::player)
}

/// The relay's options, with what is in files and of calls.
fn with_files(config: &Config, telephony: Option<&Telephony>) -> anyhow::Result<RelayOptions> {
    Ok(RelayOptions {
        devices: telephony.map(Telephony::keys),
        feed: telephony.map(Telephony::feed),
        certificates: config.certificates()?,
        clients: config.client_authorities()?,
        keys: config.token_keys()?,
        reset_key: state::reset_key(&config.state_place())?,
        ..config.relay_options()
    })
}

fn mesh_state(relay: &RelayHandle, links: &MeshHandle) -> MeshState {
    MeshState {
        hop: relay.hop(),
        board: links.board(),
        routes: relay.routes(),
    }
}

fn tls(config: &Config, context: watch::Receiver<SslContext>) -> Tls {
    Tls {
        context,
        is_required: config.http_tls == HttpTls::Required,
    }
}

/// Where nobody asked for it and it cannot be had, there is none.
fn browsers(config: &Config, relay: &RelayHandle, follows: bool) -> anyhow::Result<Option<Browsers>> {
    let Some(webrtc) = &config.webrtc else { return Ok(None) };
    let mut webrtc = webrtc.clone();
    if follows && webrtc.is_by_itself {
        // The process before has the usual ports. Browsers are told which these are.
        webrtc.listen.set_port(0);
    }
    match Browsers::start(&webrtc, relay.ports()) {
        Err(error) if webrtc.is_by_itself => {
            tracing::warn!(error = format!("{error:#}"), "no WebRTC: set `webrtc.listen`");
            Ok(None)
        }
        started => started.map(Some),
    }
}

fn websockets(config: &Config, relay: &RelayHandle) -> Arc<WebSockets> {
    WebSockets::new(
        relay.ports().len(),
        config.limits.websockets_max,
        config.quic.idle_timeout,
    )
}

type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs beside HTTP on the control thread.
fn background(
    state: &ControlState,
    mut reloads: Reloads,
    notifier: Notifier,
    (decides, calls, mesh, endpoints): (
        Option<impl Future<Output = ()> + Send + 'static>,
        Option<Running>,
        Mesh,
        Option<Endpoints>,
    ),
    (grace, watching): (Duration, mpsc::SyncSender<()>),
) -> Background {
    let state = state.clone();
    let shards = state.shards.clone();
    let turning = state.clone();
    let pings = notifier.clone().watch(move || {
        let state = turning.clone();
        async move { state.are_shards_turning().await }
    });
    let (stops, restarts) = (notifier.clone(), notifier);
    let signalling = calls.as_ref().map(|calls| calls.handle.clone());
    let ends = async move |signals: io::Result<Signals>| {
        let drain = || async move {
            stops.stopping();
            if let Some(signalling) = signalling {
                signalling.stop();
            }
            state.drain(grace).await;
        };
        match signals {
            Ok(signals) => signals.watch(drain, |status| std::process::exit(status)).await,
            Err(error) => tracing::error!(%error, "signals cannot be watched; only SIGKILL will end this process"),
        }
    };
    let mut reloading = async move |hangups: io::Result<Hangups>| {
        let mut hangups = match hangups {
            Ok(hangups) => hangups,
            Err(error) => return tracing::error!(%error, "SIGHUP cannot be watched; nothing is reloaded"),
        };
        loop {
            tokio::select! {
                is_hangup = hangups.next() => {
                    if !is_hangup {
                        return;
                    }
                    restarts.reloading();
                    reloads.reload(&shards).await;
                    restarts.ready();
                }
                () = reloads.keys.changed() => reloads.keys.reload(&shards).await,
            }
        }
    };
    Box::pin(async move {
        let (signals, hangups) = (Signals::install(), Hangups::install());
        drop(watching);
        tokio::join!(
            ends(signals),
            reloading(hangups),
            pings,
            beside(decides, calls, mesh, endpoints)
        );
    })
}

/// Who decides on sessions, calls, links to other relays, and sessions of WebRTC that end.
async fn beside(
    decides: Option<impl Future<Output = ()>>,
    calls: Option<Running>,
    mesh: Mesh,
    endpoints: Option<Endpoints>,
) {
    let decides = async {
        if let Some(decides) = decides {
            decides.await;
        }
    };
    let calls = async {
        if let Some(calls) = calls {
            calls.serve().await;
        }
    };
    let endpoints = async {
        if let Some(endpoints) = endpoints {
            endpoints.serve().await;
        }
    };
    tokio::join!(decides, calls, mesh.serve(), endpoints);
}

fn listen(config: &Config, mut takeover: Option<&mut Takeover>) -> anyhow::Result<ControlListener> {
    let deadline = Instant::now() + ADDRESS_WAIT_MAX;
    let is_in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let mut bind = |kind: Kind, address: SocketAddr, flag: &str| match takeover
        .as_mut()
        .and_then(|takeover| takeover.listener(kind, address))
    {
        Some(listener) => Ok(listener),
        None => {
            bind_by(deadline, is_in_use, || control::bind(address)).map_err(|error| cannot_listen(address, flag, error))
        }
    };
    let mut listener = ControlListener::new(bind(Kind::Http, config.http, "--http")?)?;
    if let Some(address) = config.admin {
        listener.answer_operators(bind(Kind::Admin, address, "--admin")?);
    }
    if let Some(own) = config.calls.as_ref().and_then(|calls| calls.mediaswitch.as_ref()) {
        listener.answer_programs(bind(Kind::Mediaswitch, own.listen, "`mediaswitch.listen`")?);
    }
    Ok(listener)
}

/// The ports of UDP and TCP are usually one number, so that a second relay fails here first.
fn cannot_listen(address: SocketAddr, flag: &str, error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        return anyhow::anyhow!(
            "TCP {address} is already in use: another moqswitch or another program has it; stop that one first or choose \
             another address with {flag}"
        );
    }
    anyhow::Error::new(error).context(format!("cannot listen on {address} (TCP, {flag})"))
}
