//! What a relay takes over while it runs: certificates, keys, patterns, limits, the log level, links to other relays, the
//! files of calls, music and prompts, read again at SIGHUP. Each is whole or not at all, and one line says which. Connections and sessions that begin from then on get them; others keep
//! what they have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use boring::ssl::SslContext;
use moqswitch_relay::ServerIdentity;
use moqswitch_relay::auth::token::{Key, Keys};
use moqswitch_relay::auth::{Grant, Policy};
use moqswitch_relay::certificate::ClientAuthorities;
use moqswitch_relay::quic::{ServerCertificate, TlsContext};
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use tokio::sync::watch;

use crate::config::{Change, Config, ConfigError, LimitsConfig, MeshConfig};
use crate::control::{StreamContext, WebSockets};
use crate::keys::{self, KeyFileError, Stamp};
use crate::limits;
use crate::logging::LevelHandle;
use crate::mesh::{Difference, MeshHandle, Plan};
use crate::music::Music;
use crate::telephony::Reloading;

/// Reads the configuration again, from where it was read at the start.
pub type Source = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What can be taken over, and where it goes.
pub(crate) struct Reloads {
    /// What is in force.
    pub(crate) config: Config,
    /// `None`: the configuration is not read again, only the files that it names.
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) level: Option<LevelHandle>,
    pub(crate) websockets: Arc<WebSockets>,
    pub(crate) certificates: Certificates,
    pub(crate) keys: TokenKeys,
    /// `None`: there are no calls.
    pub(crate) calls: Option<Reloading>,
    /// `None`: none is played.
    pub(crate) music: Option<Music>,
    pub(crate) mesh: MeshHandle,
}

/// Where certificates go, beside the shards.
pub(crate) struct Certificates {
    /// SHA-256 of the first, in hexadecimal.
    sha256: watch::Sender<Arc<str>>,
    http: watch::Sender<SslContext>,
    sip: watch::Sender<StreamContext>,
    /// Those in force, and who issues those of clients.
    shown: (Vec<ServerCertificate>, Option<ClientAuthorities>),
}

/// What those who answer by HTTP see.
pub(crate) struct Seen {
    pub(crate) sha256: watch::Receiver<Arc<str>>,
    pub(crate) http: watch::Receiver<SslContext>,
    pub(crate) sip: watch::Receiver<StreamContext>,
}

/// Where keys of tokens come from, and where they go beside the shards.
pub(crate) struct TokenKeys {
    /// `None`: there are none, and nothing is read.
    path: Option<PathBuf>,
    /// Of what was read and taken by all, or is no key. `None`: it has to be tried again.
    stamp: Option<Stamp>,
    policy: watch::Sender<Policy>,
}

impl Reloads {
    /// Everything that can be, each by itself: what is wrong is logged, and stays as it was.
    pub(crate) async fn reload(&mut self, shards: &[ShardPort]) {
        let after = self.read().await;
        let changes = after
            .as_ref()
            .map(|after| self.config.changes(after))
            .unwrap_or_default();
        let after = after.unwrap_or_else(|| self.config.clone());
        let of = |paths: &[&str]| -> Vec<Change> {
            let is_one = |change: &&Change| paths.contains(&change.path);
            changes.iter().filter(is_one).cloned().collect()
        };
        // Before the certificates, with which connections get them.
        self.reload_limits(&after, &of(&LIMITS), shards).await;
        self.reload_patterns(&after, &of(&["auth.public"]), shards).await;
        self.reload_level(&after, &of(&["log.level"]));
        if self.certificates.reload(&after, shards).await {
            self.config.tls = after.tls.clone();
            let issuers = after.calls.as_ref().and_then(|calls| calls.sip.as_ref());
            let issuers = issuers.and_then(|sip| sip.tls_client_ca.clone());
            if let Some(sip) = self.config.calls.as_mut().and_then(|calls| calls.sip.as_mut()) {
                sip.tls_client_ca = issuers;
            }
        }
        if self.keys.reload_from(after.auth.key.clone(), shards).await {
            self.config.auth.key.clone_from(&after.auth.key);
        }
        self.reload_mesh(&after, &changes, shards).await;
        self.reload_calls(&after).await;
        if let Some(music) = &self.music {
            music.reload(&after);
            self.config.media = after.media.clone();
        }
        let is_of_music = |path: &str| self.music.is_some() && MUSIC.contains(&path);
        let is_of_calls = |path: &str| after.calls.is_some() && self.calls.is_some() && CALLS.contains(&path);
        let others: Vec<&str> = changes
            .iter()
            .map(|change| change.path)
            .filter(|path| !LIMITS.contains(path) && !OTHERS.contains(path) && !is_of_mesh(path))
            .filter(|path| !is_of_calls(path) && !is_of_music(path))
            .collect();
        if !others.is_empty() {
            tracing::warn!(
                settings = others.join(", "),
                "these settings have changed, and need a restart"
            );
        }
    }

    /// What could not be taken over is as it was, and stays so when nothing can be read the next time.
    async fn reload_calls(&mut self, after: &Config) {
        let (Some(calls), Some(mut after)) = (&mut self.calls, after.calls.clone()) else {
            return;
        };
        let before = self.config.calls.as_ref().and_then(|calls| calls.sip.as_ref());
        if let Some(sip) = &mut after.sip {
            // With the certificates, which may not have been taken.
            sip.tls_client_ca = before.and_then(|sip| sip.tls_client_ca.clone());
        }
        calls.reload(&after).await;
        self.config.calls = Some(calls.config().clone());
    }

    /// `None`: it is not read again, or it is wrong, which is logged.
    async fn read(&self) -> Option<Config> {
        let source = Arc::clone(self.source.as_ref()?);
        match tokio::task::spawn_blocking(move || source()).await {
            Ok(Ok(config)) => Some(config),
            Ok(Err(error)) => {
                tracing::error!("configuration not reloaded: {error}");
                None
            }
            Err(error) => {
                tracing::error!("configuration not reloaded: {error}");
                None
            }
        }
    }

    async fn reload_limits(&mut self, after: &Config, changes: &[Change], shards: &[ShardPort]) {
        if changes.is_empty() {
            return;
        }
        // Other limits of the new configuration need a restart, and are as they were.
        let mut taken = self.config.clone();
        taken.limits = LimitsConfig {
            attempts_per_second: self.config.limits.attempts_per_second,
            connections_per_address: self.config.limits.connections_per_address,
            retry_above: self.config.limits.retry_above,
            answers_per_second: self.config.limits.answers_per_second,
            lateness: self.config.limits.lateness,
            memory_bytes_max: self.config.limits.memory_bytes_max,
            session_bytes_max: self.config.limits.session_bytes_max,
            operations_per_second: self.config.limits.operations_per_second,
            announcements_per_second: self.config.limits.announcements_per_second,
            cache_bytes_max: self.config.limits.cache_bytes_max,
            cache_age_max: self.config.limits.cache_age_max,
            track_linger: self.config.limits.track_linger,
            ..after.limits.clone()
        };
        let limits = taken.relay_options().limits();
        let replaced = async {
            let contexts = self.certificates.contexts(shards.len())?;
            let commands = contexts
                .into_iter()
                .map(|tls| ShardCommand::ReplaceLimits(Box::new((limits.clone(), tls))));
            install_all(shards, commands).await
        };
        let outcome = replaced.await;
        if outcome.is_ok() {
            self.websockets.resize(taken.limits.websockets_max);
            self.config.limits = taken.limits;
        }
        say("limits", changes, outcome);
    }

    async fn reload_patterns(&mut self, after: &Config, changes: &[Change], shards: &[ShardPort]) {
        if changes.is_empty() {
            return;
        }
        let public = Arc::new(Grant::of(after.auth.public.clone()));
        let commands = shards.iter().map(|_| ShardCommand::ReplacePublic(Arc::clone(&public)));
        let outcome = install_all(shards, commands).await;
        if outcome.is_ok() {
            let policy = &self.keys.policy;
            policy.send_modify(|policy| *policy = policy.clone().with_public(Arc::clone(&public)));
            self.config.auth.public = after.auth.public.clone();
        }
        say("patterns", changes, outcome);
    }

    /// Whom to dial, how, and whether this relay is of a mesh. The files that are named are read anew each time.
    async fn reload_mesh(&mut self, after: &Config, changes: &[Change], shards: &[ShardPort]) {
        let before = &self.config.mesh;
        let wanted = MeshConfig {
            store: before.store.clone(),
            ..after.mesh.clone()
        };
        if !before.is_on() && !wanted.is_on() {
            return;
        }
        let peers = Difference::of(&before.peers, &wanted.peers);
        let settings: Vec<&str> = changes.iter().map(|change| change.path).filter(is_of_mesh).collect();
        let settings = settings.join(", ");
        let config = wanted.clone();
        let replaced = async {
            // What is wrong with a file is said before anything is another.
            let plan = tokio::task::spawn_blocking(move || Plan::read(&config)).await??;
            let commands = shards.iter().map(|_| ShardCommand::SetMesh(wanted.is_on()));
            install_all(shards, commands).await?;
            self.mesh.replace(plan).await
        };
        let replaced = replaced.await;
        if replaced.is_err() {
            // Those that have it already go back: what was is on or off at all of them.
            let commands = shards.iter().map(|_| ShardCommand::SetMesh(before.is_on()));
            let undone = install_all(shards, commands).await;
            undone.unwrap_or_else(|error| tracing::error!("the mesh is not as it was: {error:#}"));
        }
        match replaced {
            Ok(()) => {
                tracing::info!(%peers, settings, "mesh reloaded");
                self.config.mesh = wanted;
            }
            Err(error) => tracing::error!(%peers, settings, "mesh not reloaded: {error:#}"),
        }
    }

    fn reload_level(&mut self, after: &Config, changes: &[Change]) {
        let Some(level) = self.level.as_ref().filter(|_| !changes.is_empty()) else {
            return;
        };
        let outcome = level.set(&after.log.level).map_err(|error| anyhow::anyhow!(error));
        if outcome.is_ok() {
            self.config.log.level = after.log.level.clone();
        }
        say("log level", changes, outcome);
    }
}

/// Settings of other relays; those of machines of one phone system are not taken over.
fn is_of_mesh(path: &&str) -> bool {
    path.starts_with("cluster.") && !path.starts_with("cluster.store.")
}

/// One line for what was taken over, or was not.
fn say(what: &str, changes: &[Change], outcome: anyhow::Result<()>) {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let changes = changes.join("; ");
    match outcome {
        // The level may be one that hides it; whoever reads the log sees by what comes.
        Ok(()) => tracing::info!(changes, "{what} reloaded"),
        Err(error) => tracing::error!(changes, "{what} not reloaded: {error:#}"),
    }
}

impl Certificates {
    /// The configuration says who issues those of trunks.
    pub(crate) fn new(
        identity: &ServerIdentity,
        clients: Option<&ClientAuthorities>,
        config: &Config,
    ) -> anyhow::Result<(Self, Seen)> {
        let trunks = config.trunk_authorities()?;
        let (sha256, sha256_seen) = watch::channel(identity.sha256_hex.as_str().into());
        let (http, http_seen) = watch::channel(TlsContext::http_server(&identity.certificates, clients)?);
        let (sip, sip_seen) = watch::channel(stream_context(&identity.certificates, clients, trunks.as_ref())?);
        let seen = Seen {
            sha256: sha256_seen,
            http: http_seen,
            sip: sip_seen,
        };
        let shown = (identity.certificates.clone(), clients.cloned());
        let own = Self {
            sha256,
            http,
            sip,
            shown,
        };
        Ok((own, seen))
    }

    /// Whether there are others. What is wrong with them is logged, and the old ones stay.
    async fn reload(&mut self, config: &Config, shards: &[ShardPort]) -> bool {
        match self.replace(config, shards).await {
            Ok(()) => {
                tracing::info!(sha256 = %*self.sha256.borrow(), "certificates reloaded");
                true
            }
            Err(error) => {
                tracing::error!("certificates not reloaded: {error:#}");
                false
            }
        }
    }

    async fn replace(&mut self, config: &Config, shards: &[ShardPort]) -> anyhow::Result<()> {
        let files = config.clone();
        let read = move || {
            let identity = ServerIdentity::new(&files.certificates()?, files.listen)?;
            anyhow::Ok((identity, files.client_authorities()?, files.trunk_authorities()?))
        };
        let (identity, clients, trunks) = tokio::task::spawn_blocking(read).await??;
        let http = TlsContext::http_server(&identity.certificates, clients.as_ref())?;
        let sip = stream_context(&identity.certificates, clients.as_ref(), trunks.as_ref())?;
        let before = std::mem::replace(&mut self.shown, (identity.certificates, clients));
        let installed = match self.contexts(shards.len()) {
            Ok(contexts) => {
                let command = |context| ShardCommand::ReplaceCertificates(Box::new(context));
                install_all(shards, contexts.into_iter().map(command)).await
            }
            Err(error) => Err(error),
        };
        if installed.is_err() {
            self.shown = before;
            return installed;
        }
        self.http.send_replace(http);
        self.sip.send_replace(sip);
        self.sha256.send_replace(identity.sha256_hex.as_str().into());
        Ok(())
    }

    /// What each shard accepts connections with.
    fn contexts(&self, shards: usize) -> anyhow::Result<Vec<TlsContext>> {
        let (certificates, clients) = &self.shown;
        let contexts = (0..shards).map(|_| TlsContext::server(certificates, clients.as_ref()));
        Ok(contexts.collect::<Result<_, _>>()?)
    }
}

/// What telephones and trunks are accepted with: as others, where nobody is named who issues certificates of trunks.
fn stream_context(
    certificates: &[ServerCertificate],
    clients: Option<&ClientAuthorities>,
    trunks: Option<&ClientAuthorities>,
) -> anyhow::Result<StreamContext> {
    Ok(StreamContext {
        context: TlsContext::http_server(certificates, trunks.or(clients))?,
        authorities: trunks.map(|trunks| trunks.certificates.clone().into()),
    })
}

impl TokenKeys {
    /// `stamp` is of before the keys of `policy` were read.
    pub(crate) fn new(
        config: &Config,
        stamp: Stamp,
        keys: Option<&Keys>,
        policy: Policy,
    ) -> (Self, watch::Receiver<Policy>) {
        if let Some(keys) = keys {
            warn_of_none(keys);
        }
        let (policy, seen) = watch::channel(policy);
        let path = config.auth.key.clone();
        let stamp = Some(stamp);
        (Self { path, stamp, policy }, seen)
    }

    /// Waits until the files are not what they were.
    pub(crate) async fn changed(&self) {
        let Some(path) = &self.path else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(limits::KEYS_LOOK_INTERVAL).await;
            let path = path.clone();
            let look = tokio::task::spawn_blocking(move || Stamp::of(&path)).await;
            if look.is_ok_and(|stamp| Some(stamp) != self.stamp) {
                return;
            }
        }
    }

    /// What is wrong with new ones is logged, and the old ones stay.
    pub(crate) async fn reload(&mut self, shards: &[ShardPort]) {
        self.reload_from(self.path.clone(), shards).await;
    }

    /// The same, from where they are now. Whether that is where they are from.
    async fn reload_from(&mut self, path: Option<PathBuf>, shards: &[ShardPort]) -> bool {
        let Some(path) = path else {
            // Tokens are looked at no more, if they were.
            return self.path.is_none() || self.remove(shards).await;
        };
        match self.replace(path.clone(), shards).await {
            Ok(keys) => {
                self.path = Some(path);
                tracing::info!(keys = names(&keys), "token keys reloaded");
                warn_of_none(&keys);
                true
            }
            Err(error) => {
                tracing::error!("token keys not reloaded: {error:#}");
                false
            }
        }
    }

    async fn remove(&mut self, shards: &[ShardPort]) -> bool {
        let commands = shards.iter().map(|_| ShardCommand::ReplaceKeys(None));
        if let Err(error) = install_all(shards, commands).await {
            tracing::error!("token keys not reloaded: {error:#}");
            return false;
        }
        self.policy
            .send_modify(|policy| *policy = policy.clone().with_keys(None));
        (self.path, self.stamp) = (None, None);
        tracing::info!(keys = 0, "token keys reloaded");
        true
    }

    async fn replace(&mut self, path: PathBuf, shards: &[ShardPort]) -> anyhow::Result<Arc<Keys>> {
        let read = move || (Stamp::of(&path), keys::load(&path));
        let (stamp, keys) = tokio::task::spawn_blocking(read).await?;
        // What could not be read may be there the next time; what is no key stays none until the file changes.
        self.stamp = (!matches!(keys, Err(KeyFileError::Read { .. }))).then_some(stamp);
        let keys = Arc::new(keys?);
        self.policy
            .send_modify(|policy| *policy = policy.clone().with_keys(Some(keys.clone())));
        let mut outcome = Ok(());
        for (index, port) in shards.iter().enumerate() {
            let installed = install(port, ShardCommand::ReplaceKeys(Some(keys.clone())))
                .await
                .with_context(|| format!("shard {index} keeps its keys, and is asked again"));
            outcome = outcome.and(installed);
        }
        if outcome.is_err() {
            self.stamp = None;
        }
        outcome.map(|()| keys)
    }
}

fn warn_of_none(keys: &Keys) {
    if keys.is_empty() {
        tracing::warn!("there is no token key: every token is refused until there is one");
    }
}

/// For a line of the log: how many there are, and how some are called.
fn names(keys: &Keys) -> String {
    let count = keys.iter().count();
    let named: Vec<&str> = keys.iter().filter_map(Key::id).take(NAMES_LOGGED_MAX).collect();
    match named.is_empty() {
        true => count.to_string(),
        false => format!("{count}: {}", named.join(", ")),
    }
}

/// A command for each shard. The error names the first that has no room for it.
async fn install_all(shards: &[ShardPort], commands: impl Iterator<Item = ShardCommand>) -> anyhow::Result<()> {
    for (index, (port, command)) in shards.iter().zip(commands).enumerate() {
        let installed = install(port, command).await;
        installed.with_context(|| format!("shard {index} and those after it go on with the old ones"))?;
    }
    Ok(())
}

async fn install(port: &ShardPort, mut command: ShardCommand) -> anyhow::Result<()> {
    let deadline = Instant::now() + SHARD_WAIT_MAX;
    while let Err(refused) = port.offer(command) {
        command = refused;
        anyhow::ensure!(Instant::now() < deadline, "its command queue is full");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    Ok(())
}

const SHARD_WAIT_MAX: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
const NAMES_LOGGED_MAX: usize = 16;

/// Settings of limits that a relay takes over while it runs.
const LIMITS: [&str; 6] = [
    "limits.connections",
    "limits.websockets",
    "limits.subscriptions",
    "limits.announces",
    "limits.streams",
    "limits.datagram_queue",
];
/// The other settings that it takes over.
const OTHERS: [&str; 6] = [
    "tls.certificates",
    "tls.client_ca",
    "tls.client_auth",
    "auth.public",
    "auth.key",
    "log.level",
];
/// Of music and prompts, while any are played.
const MUSIC: [&str; 3] = ["media.music", "media.prompts", "media.tones"];
/// Of telephone calls, while there are any.
const CALLS: [&str; 21] = [
    "sip.trunks",
    "sip.tls_client_ca",
    "calls.dialplan",
    "calls.users",
    "calls.tokens",
    "calls.callback",
    "calls.keys",
    "calls.api_tokens",
    "calls.origins",
    "calls.webhooks",
    "calls.registration",
    "calls.ring",
    "calls.call_waiting",
    "calls.codecs",
    "calls.music",
    "calls.supervision_told",
    "calls.limits.calls",
    "calls.limits.calls_per_number",
    "calls.limits.calls_per_hour",
    "calls.limits.devices_per_number",
    "calls.limits.duration",
];
