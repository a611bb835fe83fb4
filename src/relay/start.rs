//! A whole relay: start order, certificates that change, drain, shutdown.
//!
//! Sockets are bound and certificates loaded before any thread starts, so that what an
//! operator can get wrong is an error of [`Relay::start`] and not of a shard.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder};
use moqswitch_proto::wire::BroadcastPath;

use crate::limits::{LANE_MESSAGES_MAX, SHARDS_MAX};
use crate::net::wake::{self, WakeReceiver, Waker};
use crate::net::{SocketGroup, bind_group, probe_support};
use crate::options::{RelayOptions, ServerIdentity};
use crate::quic::{Secrets, TlsContext};
use crate::routing::{AnnounceTable, ShardId};
use crate::shard::{PostOffice, Shard, ShardCommand, ShardOptions, ShardParts, ShardPort};
use crate::topology::{HostCores, Placement};

/// Starts relays.
pub struct Relay;

/// A running relay. Dropping it leaves the relay running; [`RelayHandle::drain`] and [`RelayHandle::join`] end it.
pub struct RelayHandle {
    address: SocketAddr,
    identity: ServerIdentity,
    placement: Placement,
    ports: Vec<ShardPort>,
    table: Arc<AnnounceTable>,
    shards: Vec<ExecutorJoinHandle<anyhow::Result<()>>>,
    /// Keeps the port ours for the life of the relay.
    _group: SocketGroup,
}

/// Visits the full path of every announced broadcast at or below a prefix of whole segments,
/// until the visitor breaks off.
pub type Announcements = dyn Fn(&str, &mut Visitor<'_>) + Send + Sync;
/// Is told of one path after the other.
pub type Visitor<'a> = dyn FnMut(&str) -> ControlFlow<()> + 'a;

impl Relay {
    /// Starts every shard; returns once all of them serve.
    ///
    /// # Errors
    ///
    /// The host refuses io_uring, the address is taken, a certificate does not fit its key, a core cannot be used. Each
    /// says what to change.
    pub fn start(options: RelayOptions) -> anyhow::Result<RelayHandle> {
        // Before anything else needs a ring: an executor that gets none ends the process.
        probe_support()?;
        let placement = Placement::plan(&HostCores::read(), options.shards, options.cores.as_deref())?;
        let shard_count = placement.cores.len();
        let identity = ServerIdentity::new(&options.certificates, options.listen)?;
        let mut group = bind(&options, shard_count)?;
        let table = Arc::new(AnnounceTable::new());
        let (wakers, receivers) = wake_channels(shard_count)?;
        let ports: Vec<ShardPort> = wakers
            .iter()
            .cloned()
            .map(|waker| ShardPort::new(Arc::new(move || waker.wake())))
            .collect();
        let office = Arc::new(PostOffice::new(wakers, LANE_MESSAGES_MAX));
        let hop = options.hop();
        let secrets = Secrets::generate().map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
        let mut starts = Starts::new();
        let sockets = std::mem::take(&mut group.sockets);
        for (index, ((socket, wake), port)) in sockets.into_iter().zip(receivers).zip(&ports).enumerate() {
            let shard = options.shard(ShardId(u8::try_from(index)?), shard_count, hop);
            let parts = ShardParts {
                socket,
                local: group.local,
                wake,
                office: office.clone(),
                table: table.clone(),
                commands: port.queue.clone(),
                web_requests: options.web_requests.clone(),
                doorbell: port.doorbell.clone(),
                feed: options.feed.clone(),
                secrets: secrets.clone(),
                tls: TlsContext::server(&identity.certificates)?,
            };
            starts.spawn(placement.cores[index], index, shard, parts)?;
        }
        Ok(RelayHandle {
            address: group.local,
            identity,
            placement,
            ports,
            table,
            shards: starts.wait_until_running()?,
            _group: group,
        })
    }
}

impl RelayHandle {
    /// Where it listens for QUIC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificates it began with.
    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// The core of each shard.
    pub fn cores(&self) -> &[usize] {
        &self.placement.cores
    }

    /// How to reach each shard; the index is the shard's number.
    pub fn ports(&self) -> &[ShardPort] {
        &self.ports
    }

    /// What is announced at this relay. Reads the shared table: no shard is asked.
    pub fn announcements(&self) -> Arc<Announcements> {
        let table = self.table.clone();
        Arc::new(move |prefix, visit| {
            table.visit_under(&BroadcastPath::new(prefix), |path| visit(path.as_str()));
        })
    }

    /// Says GOAWAY to all and stops accepting. Shards end when their connections have, or when `grace` has passed;
    /// [`RelayHandle::join`] waits for that.
    pub fn drain(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        for port in &self.ports {
            while port.send(ShardCommand::Drain { deadline }).is_err() && Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }

    /// Waits until every shard has ended.
    pub fn join(self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for shard in self.shards {
            let result = shard
                .join()
                .map_err(|error| anyhow::anyhow!("a shard ended early: {error}"));
            outcome = outcome.and(result.and_then(|inner| inner));
        }
        outcome
    }
}

fn bind(options: &RelayOptions, shards: usize) -> anyhow::Result<SocketGroup> {
    let group = bind_group(options.listen, shards, &options.sockets)?;
    let wanted = options.sockets.receive_buffer_bytes;
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
