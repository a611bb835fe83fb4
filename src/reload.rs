//! New certificates for a relay that goes on: those of the same files, read again. Connections that
//! begin from then on get them; others keep what they have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use boring::ssl::SslContext;
use moqswitch_relay::ServerIdentity;
use moqswitch_relay::quic::TlsContext;
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use tokio::sync::watch;

use crate::config::Config;

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

impl Certificates {
    pub(crate) fn new(identity: &ServerIdentity) -> anyhow::Result<(Self, Seen)> {
        let (sha256, sha256_seen) = watch::channel(identity.sha256_hex.as_str().into());
        let (http, http_seen) = watch::channel(TlsContext::http_server(&identity.certificates)?);
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
        let read = move || ServerIdentity::new(&files.certificates()?, files.listen);
        let identity = tokio::task::spawn_blocking(read).await??;
        let http = TlsContext::http_server(&identity.certificates)?;
        let contexts: Vec<TlsContext> = shards
            .iter()
            .map(|_| TlsContext::server(&identity.certificates))
            .collect::<Result<_, _>>()?;
        for (index, (port, context)) in shards.iter().zip(contexts).enumerate() {
            install(port, context)
                .await
                .with_context(|| format!("shard {index} keeps its certificates"))?;
        }
        self.http.send_replace(http);
        self.sha256.send_replace(identity.sha256_hex.as_str().into());
        Ok(())
    }
}

async fn install(port: &ShardPort, context: TlsContext) -> anyhow::Result<()> {
    let deadline = Instant::now() + SHARD_WAIT_MAX;
    let mut command = ShardCommand::ReplaceCertificates(Box::new(context));
    while let Err(refused) = port.offer(command) {
        command = refused;
        anyhow::ensure!(Instant::now() < deadline, "its command queue is full");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    Ok(())
}

const SHARD_WAIT_MAX: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
