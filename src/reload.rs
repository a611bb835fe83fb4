//! New certificates and keys for a relay that goes on: those of the same files, read again. Connections and sessions that
//! begin from then on get them; others keep what they have. Each is whole or not at all, and one line says which.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use boring::ssl::SslContext;
use moqswitch_relay::ServerIdentity;
use moqswitch_relay::auth::Policy;
use moqswitch_relay::auth::token::{Key, Keys};
use moqswitch_relay::certificate::ClientAuthorities;
use moqswitch_relay::quic::TlsContext;
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use tokio::sync::watch;

use crate::config::Config;
use crate::keys::{self, KeyFileError, Stamp};
use crate::limits;

/// Where certificates go, beside the shards.
pub(crate) struct Certificates {
    /// SHA-256 of the first, in hexadecimal.
    sha256: watch::Sender<Arc<str>>,
    http: watch::Sender<SslContext>,
}

/// What those who answer by HTTP see.
pub(crate) struct Seen {
    pub(crate) sha256: watch::Receiver<Arc<str>>,
    pub(crate) http: watch::Receiver<SslContext>,
}

/// Where keys of tokens come from, and where they go beside the shards.
pub(crate) struct TokenKeys {
    /// `None`: there are none, and nothing is read.
    path: Option<PathBuf>,
    /// Of what was read and taken by all, or is no key. `None`: it has to be tried again.
    stamp: Option<Stamp>,
    policy: watch::Sender<Policy>,
}

impl Certificates {
    pub(crate) fn new(identity: &ServerIdentity, clients: Option<&ClientAuthorities>) -> anyhow::Result<(Self, Seen)> {
        let (sha256, sha256_seen) = watch::channel(identity.sha256_hex.as_str().into());
        let (http, http_seen) = watch::channel(TlsContext::http_server(&identity.certificates, clients)?);
        let seen = Seen {
            sha256: sha256_seen,
            http: http_seen,
        };
        Ok((Self { sha256, http }, seen))
    }

    /// What is wrong with new ones is logged, and the old ones stay.
    pub(crate) async fn reload(&self, config: &Config, shards: &[ShardPort]) {
        match self.replace(config, shards).await {
            Ok(()) => tracing::info!(sha256 = %*self.sha256.borrow(), "certificates reloaded"),
            Err(error) => tracing::error!("certificates not reloaded: {error:#}"),
        }
    }

    async fn replace(&self, config: &Config, shards: &[ShardPort]) -> anyhow::Result<()> {
        let files = config.clone();
        let read = move || {
            let identity = ServerIdentity::new(&files.certificates()?, files.listen)?;
            anyhow::Ok((identity, files.client_authorities()?))
        };
        let (identity, clients) = tokio::task::spawn_blocking(read).await??;
        let clients = clients.as_ref();
        let http = TlsContext::http_server(&identity.certificates, clients)?;
        let contexts: Vec<TlsContext> = shards
            .iter()
            .map(|_| TlsContext::server(&identity.certificates, clients))
            .collect::<Result<_, _>>()?;
        for (index, (port, context)) in shards.iter().zip(contexts).enumerate() {
            install(port, ShardCommand::ReplaceCertificates(Box::new(context)))
                .await
                .with_context(|| format!("shard {index} keeps its certificates"))?;
        }
        self.http.send_replace(http);
        self.sha256.send_replace(identity.sha256_hex.as_str().into());
        Ok(())
    }
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
        let Some(path) = self.path.clone() else { return };
        match self.replace(path, shards).await {
            Ok(keys) => {
                tracing::info!(keys = names(&keys), "token keys reloaded");
                warn_of_none(&keys);
            }
            Err(error) => tracing::error!("token keys not reloaded: {error:#}"),
        }
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
