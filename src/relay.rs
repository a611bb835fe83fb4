//! A whole relay in one process: start order, reload, drain, shutdown.
//!
//! Sockets are bound and certificates loaded before any thread starts, so that what an
//! operator can get wrong is an error of [`Relay::start`] and not of a shard.

mod reload;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder};
use reload::{Certificates, Seen};

use crate::config::{Config, HttpTls};
use crate::control::{ControlHandle, ControlServer, ControlState, Lifecycle, Phase, ShardPort, Tls, WebSockets};
use crate::limits::{LANE_MESSAGES_MAX, SHARDS_MAX};
use crate::net::wake::{self, WakeReceiver, Waker};
use crate::net::{SocketGroup, bind_group};
use crate::options::{self, Identity};
use crate::quic::{Secrets, TlsContext};
use crate::routing::{AnnounceTable, ShardId};
use crate::shard::{PostOffice, Shard, ShardCommand, ShardOptions, ShardParts};
use crate::signals;
use crate::topology::{HostCores, Placement};
use crate::wire::{BroadcastPath, HopId, Version};

/// Who ends the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// SIGTERM or SIGINT: the first drains, the second exits at once. SIGHUP reloads certificates.
    Signal,
    /// The caller, by [`Relay::drain`].
    Drained,
}

/// A running relay.
pub struct Relay {
    address: SocketAddr,
    certificate_sha256: String,
    placement: Placement,
    state: ControlState,
    shards: Vec<ExecutorJoinHandle<anyhow::Result<()>>>,
    control: ControlHandle,
    drain_deadline: Duration,
    /// Keeps the port ours for the life of the relay.
    _group: SocketGroup,
}

impl Relay {
    /// Starts every shard and the control thread; returns once all of them serve.
    pub fn start(config: &Config, until: Until) -> anyhow::Result<Self> {
        let placement = Placement::plan(&HostCores::read(), config.shards, config.cores.as_deref())?;
        let shard_count = placement.cores.len();
        let identity = Identity::load_or_make(config)?;
        let mut group = bind(config, shard_count)?;
        let table = Arc::new(AnnounceTable::new());
        let (wakers, receivers) = wake_channels(shard_count)?;
        let ports: Vec<ShardPort> = wakers
            .iter()
            .cloned()
            .map(|waker| ShardPort::new(Arc::new(move || waker.wake())))
            .collect();
        let (certificates, Seen { sha256, http }) = Certificates::new(&identity)?;
        let state = ControlState {
            shards: ports.clone(),
            certificate_sha256: sha256,
            lifecycle: Arc::new(Lifecycle::default()),
            announcements: announcements(table.clone()),
            public: config.auth.public.clone(),
            websockets: WebSockets::new(shard_count, config.limits.websockets_max, config.quic.idle_timeout),
            tls: Some(Tls {
                context: http,
                is_required: config.http_tls == HttpTls::Required,
            }),
        };
        let mut control = ControlServer::bind(config.http, state.clone())
            .with_context(|| format!("cannot listen on {} (TCP)", config.http))?;

        let web_requests = control.take_web_requests();
        let office = Arc::new(PostOffice::new(wakers, LANE_MESSAGES_MAX));
        let hop = HopId(config.origin.hop_id.unwrap_or_else(options::random_hop));
        let secrets = Secrets::generate().map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
        let mut starts = Starts::new();
        let sockets = std::mem::take(&mut group.sockets);
        for (index, ((socket, wake), port)) in sockets.into_iter().zip(receivers).zip(&ports).enumerate() {
            let options = options::shard(config, ShardId(u8::try_from(index)?), shard_count, hop);
            let parts = ShardParts {
                socket,
                local: group.local,
                wake,
                office: office.clone(),
                table: table.clone(),
                commands: port.queue.clone(),
                web_requests: web_requests.clone(),
                doorbell: port.doorbell.clone(),
                secrets: secrets.clone(),
                tls: TlsContext::server(&identity.certificates)?,
            };
            starts.spawn(placement.cores[index], index, options, parts)?;
        }
        let shards = starts.wait_until_running()?;
        let control = control.spawn(background(until, &state, certificates, config))?;
        state.lifecycle.set(Phase::Ready);
        Ok(Self {
            address: group.local,
            certificate_sha256: identity.sha256_hex,
            placement,
            state,
            shards,
            control,
            drain_deadline: config.drain_deadline,
            _group: group,
        })
    }

    /// Where it listens for QUIC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn http_address(&self) -> SocketAddr {
        self.control.address()
    }

    /// SHA-256 of the first certificate it began with, in hexadecimal.
    pub fn certificate_sha256(&self) -> &str {
        &self.certificate_sha256
    }

    /// What an operator wants to see first.
    pub fn banner(&self) -> String {
        let drafts: Vec<&str> = Version::EVERY.iter().map(|version| version.name()).collect();
        let cores: Vec<String> = self.placement.cores.iter().map(ToString::to_string).collect();
        format!(
            "moqswitch {} ready: udp={} http={} shards={} cores={} drafts={} sha256={}",
            env!("CARGO_PKG_VERSION"),
            self.address,
            self.http_address(),
            self.shards.len(),
            cores.join(","),
            drafts.join(","),
            self.certificate_sha256,
        )
    }

    /// Says GOAWAY to all and stops accepting. Shards end when their connections have, or at
    /// the configured deadline; [`Relay::join`] waits for that.
    pub fn drain(&self) {
        self.drain_within(self.drain_deadline);
    }

    /// [`Relay::drain`] with another deadline.
    pub fn drain_within(&self, grace: Duration) {
        self.state.lifecycle.set(Phase::Draining);
        let deadline = Instant::now() + grace;
        for port in &self.state.shards {
            while port.send(ShardCommand::Drain { deadline }).is_err() && Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }

    /// Waits until every shard has ended, then stops the control thread.
    pub fn join(self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for shard in self.shards {
            let result = shard
                .join()
                .map_err(|error| anyhow::anyhow!("a shard ended early: {error}"));
            outcome = outcome.and(result.and_then(|inner| inner));
        }
        self.control.stop()?;
        outcome
    }
}

fn bind(config: &Config, shards: usize) -> anyhow::Result<SocketGroup> {
    let group = bind_group(config.listen, shards, &options::sockets(config))?;
    let wanted = options::sockets(config).receive_buffer_bytes;
    if group.granted.receive_buffer_bytes < wanted {
        tracing::warn!(
            granted = group.granted.receive_buffer_bytes,
            wanted,
            "the kernel grants smaller socket buffers: raise net.core.rmem_max"
        );
    }
    Ok(group)
}

fn wake_channels(count: usize) -> anyhow::Result<(Vec<Waker>, Vec<WakeReceiver>)> {
    let pairs: Vec<(Waker, WakeReceiver)> = (0..count).map(|_| wake::channel()).collect::<std::io::Result<_>>()?;
    Ok(pairs.into_iter().unzip())
}

/// `/announced` reads the table itself; no shard is asked.
fn announcements(table: Arc<AnnounceTable>) -> Arc<crate::control::Announcements> {
    Arc::new(move |prefix, visit| {
        table.visit_under(&BroadcastPath::new(prefix), |path| visit(path.as_str()));
    })
}

type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs beside HTTP on the control thread.
fn background(until: Until, state: &ControlState, certificates: Certificates, config: &Config) -> Background {
    if until == Until::Drained {
        return Box::pin(async move {
            // Its channels stay open for the life of the relay.
            let _certificates = certificates;
            std::future::pending().await
        });
    }
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
        match signals::Hangups::install() {
            Ok(mut hangups) => {
                while hangups.next().await {
                    certificates.reload(&config, &shards).await;
                }
            }
            Err(error) => tracing::error!(%error, "SIGHUP cannot be watched; certificates are not reloaded"),
        }
    };
    Box::pin(async {
        tokio::join!(ends, reloads);
    })
}

/// Shards that are starting, each telling when it runs.
struct Starts {
    handles: Vec<ExecutorJoinHandle<anyhow::Result<()>>>,
    sender: mpsc::SyncSender<()>,
    running: mpsc::Receiver<()>,
}

impl Starts {
    fn new() -> Self {
        let (sender, running) = mpsc::sync_channel(SHARDS_MAX);
        Self {
            handles: Vec::new(),
            sender,
            running,
        }
    }

    fn spawn(&mut self, core: usize, index: usize, options: ShardOptions, parts: ShardParts) -> anyhow::Result<()> {
        let running = self.sender.clone();
        let handle = LocalExecutorBuilder::new(glommio::Placement::Fixed(core))
            .name(&format!("shard-{index}"))
            .io_memory(FILE_BUFFER_BYTES)
            .spawn(move || async move {
                let shard = Shard::new(options, parts)?;
                shard
                    .run(move || {
                        // Nobody waits any more only when another shard failed to start.
                        let _ = running.send(());
                    })
                    .await
            })
            .map_err(|error| anyhow::anyhow!("shard {index} could not start on core {core}: {error}"))?;
        self.handles.push(handle);
        Ok(())
    }

    /// The running shards, or the error of one that could not run.
    fn wait_until_running(self) -> anyhow::Result<Vec<ExecutorJoinHandle<anyhow::Result<()>>>> {
        drop(self.sender);
        let mut running = 0;
        while running < self.handles.len() {
            match self.running.recv_timeout(START_WAIT_MAX) {
                Ok(()) => running += 1,
                Err(mpsc::RecvTimeoutError::Timeout) => anyhow::bail!("a shard did not start in {START_WAIT_MAX:?}"),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        if running == self.handles.len() {
            return Ok(self.handles);
        }
        for handle in self.handles {
            handle.join().map_err(|error| anyhow::anyhow!("{error}"))??;
        }
        anyhow::bail!("a shard ended before it ran")
    }
}

/// What glommio keeps at hand for files, of which a shard opens none: the least it takes. By default
/// it would be 10 MiB, all of it resident.
const FILE_BUFFER_BYTES: usize = 64 * 1024;

const START_WAIT_MAX: Duration = Duration::from_secs(20);
