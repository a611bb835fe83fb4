//! A whole relay: start order, certificates that change, drain, shutdown.
//!
//! Sockets are bound and certificates loaded before any thread starts, so that what an
//! operator can get wrong is an error of [`Relay::start`] and not of a shard.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder};
use moqswitch_proto::wire::{BroadcastPath, HopId};

use crate::limits::{
    ADDRESS_WAIT_MAX, FILES_TO_START, GENERATIONS_MAX, LANE_MESSAGES_MAX, LOCKED_BYTES_PER_SHARD, SHARDS_MAX,
};
use crate::net::wake::{self, WakeReceiver, Waker};
use crate::net::{
    BindError, SocketGroup, SocketOptions, bind_by, bind_client, bind_group, locked_memory_limit, probe_support,
    try_files,
};
use crate::options::{RelayOptions, ServerIdentity};
use crate::quic::{Secrets, TlsContext};
use crate::routing::{AnnounceTable, RouteView, ShardId};
use crate::shard::{Memory, PostOffice, Shard, ShardCommand, ShardOptions, ShardParts, ShardPort};
use crate::succession::Succession;
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
    hop: HopId,
    shards: Vec<ExecutorJoinHandle<anyhow::Result<()>>>,
    /// Keeps the port ours for the life of the relay.
    group: Arc<SocketGroup>,
    succession: Succession,
}

/// Visits the full path of every announced broadcast at or below a prefix of whole segments,
/// until the visitor breaks off.
pub type Announcements = dyn Fn(&str, &mut Visitor<'_>) + Send + Sync;
/// Gives the routes to the broadcast of a full path.
pub type Routes = dyn Fn(&str) -> Vec<RouteView> + Send + Sync;
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
        check_locked_memory(shard_count)?;
        let identity = ServerIdentity::new(&options.certificates, options.listen)?;
        let clients = options.clients.as_ref();
        let (group, generation, secrets) = succession(&options, shard_count)?;
        let local = group.local;
        let table = AnnounceTable::with_limits(options.announcements).with_names(options.names);
        let table = Arc::new(table.with_publishers(&secrets.publisher_key()));
        let memory = Memory::new(shard_count);
        let (wakers, receivers) = wake_channels(shard_count)?;
        let ports: Vec<ShardPort> = wakers
            .iter()
            .cloned()
            .map(|waker| ShardPort::new(Arc::new(move || waker.wake())))
            .collect();
        let office = Arc::new(PostOffice::new(wakers, LANE_MESSAGES_MAX));
        let hop = options.hop();
        try_files(shard_count * FILES_TO_START).context("opening the files of shards")?;
        let mut starts = Starts::new(ports.as_slice().into());
        let (first, slots) = (generation * shard_count, group.sockets.len());
        let sockets = group.of_generation(generation)?;
        for (index, ((socket, wake), port)) in sockets.into_iter().zip(receivers).zip(&ports).enumerate() {
            let shard = options.shard(ShardId(u8::try_from(index)?), (first + index, slots), hop);
            let parts = ShardParts {
                socket,
                local,
                wake,
                office: office.clone(),
                table: table.clone(),
                commands: port.queue.clone(),
                web_requests: options.web_requests.clone(),
                admissions: options.admissions.clone(),
                doorbell: port.doorbell.clone(),
                feed: options.feed.clone(),
                memory: memory.clone(),
                secrets: secrets.clone(),
                tls: TlsContext::server(&identity.certificates, clients)?,
            };
            starts.spawn(placement.cores[index], index, shard, parts)?;
        }
        Ok(RelayHandle {
            address: local,
            identity,
            placement,
            ports,
            table,
            hop,
            shards: starts.wait_until_running()?,
            succession: Succession::new(&group, generation, secrets),
            group,
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

    /// For a process that is to take over from this one.
    pub fn succession(&self) -> Succession {
        self.succession.clone()
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

    /// The hop id by which other relays know this one.
    pub fn hop(&self) -> HopId {
        self.hop
    }

    /// The routes to a broadcast, the chosen first. Reads the shared table: no shard is asked.
    pub fn routes(&self) -> Arc<Routes> {
        let table = self.table.clone();
        Arc::new(move |path| table.describe(&BroadcastPath::new(path)))
    }

    /// Ends the shards when it is dropped: for as long as what is to go with them may fail.
    pub fn begun(&self) -> Begun {
        Begun(self.ports.clone())
    }

    /// Says GOAWAY to all and stops accepting. Shards end when their connections have, or when `grace` has passed;
    /// [`RelayHandle::join`] waits for that.
    pub fn drain(&self, grace: Duration) {
        drain_each(&self.ports, grace);
    }

    /// Waits until every shard has ended.
    ///
    /// # Errors
    ///
    /// A shard failed. The others were drained then, within 2 s. The error names the shard and says why.
    pub fn join(self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for (index, shard) in self.shards.into_iter().enumerate() {
            outcome = outcome.and(join_shard(index, shard));
        }
        drop(self.group);
        if !self.succession.is_handed_on() {
            wait_until_free(self.address);
        }
        outcome
    }
}

/// See [`RelayHandle::begun`].
pub struct Begun(Vec<ShardPort>);

impl Begun {
    /// All went well: the shards stay.
    pub fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        drain_each(&self.0, Duration::ZERO);
    }
}

/// Who starts the next relay at the end of this one finds the address free. Not longer than such a start would wait.
fn wait_until_free(address: SocketAddr) {
    // Another relay may have taken the address already.
    let _ = bind_by(
        Instant::now() + ADDRESS_WAIT_MAX,
        |error| matches!(error, BindError::InUse { .. }),
        || bind_client(address, &SocketOptions::default()),
    );
}

fn join_shard(index: usize, shard: ExecutorJoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    shard
        .join()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .and_then(|outcome| outcome)
        .with_context(|| format!("shard {index} failed"))
}

/// A shard whose queue is full is asked again, until the time is over.
fn drain_each<'a>(ports: impl IntoIterator<Item = &'a ShardPort>, grace: Duration) {
    let deadline = Instant::now() + grace;
    for port in ports {
        while port.send(ShardCommand::Drain { deadline }).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// Below this an executor does not start, whatever privilege it has.
fn check_locked_memory(shards: usize) -> anyhow::Result<()> {
    let limit = locked_memory_limit().unwrap_or(u64::MAX);
    anyhow::ensure!(
        limit >= LOCKED_BYTES_PER_SHARD,
        "the limit on locked memory (RLIMIT_MEMLOCK) is {} KiB; the rings of {shards} shard(s) need {} KiB: \
         LimitMEMLOCK=infinity in the systemd unit, --ulimit memlock=-1 in Docker, or `ulimit -l`",
        limit / 1024,
        shards as u64 * LOCKED_BYTES_PER_SHARD / 1024,
    );
    Ok(())
}

/// What was left to this relay, or what it has for those that come.
fn succession(options: &RelayOptions, shards: usize) -> anyhow::Result<(Arc<SocketGroup>, usize, Secrets)> {
    if let Some(heritage) = &options.heritage {
        anyhow::ensure!(
            heritage.group.shards == shards,
            "the sockets taken over are of {} shards, and there are to be {shards}",
            heritage.group.shards
        );
        let (group, secrets) = (Arc::clone(&heritage.group), heritage.secrets.clone());
        return Ok((group, heritage.generation, secrets));
    }
    let group = bind(options, shards)?;
    let mut secrets = Secrets::generate().map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
    if let Some(key) = &options.reset_key {
        secrets = secrets.with_reset_key(key, group.local);
    }
    Ok((Arc::new(group), 0, secrets))
}

fn bind(options: &RelayOptions, shards: usize) -> anyhow::Result<SocketGroup> {
    let generations = options
        .generations
        .clamp(1, GENERATIONS_MAX)
        .min((SHARDS_MAX / shards).max(1));
    let group = bind_by(
        Instant::now() + ADDRESS_WAIT_MAX,
        |error| matches!(error, BindError::InUse { .. }),
        || bind_group(options.listen, shards, generations, &options.sockets),
    )?;
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
    let pairs: Vec<(Waker, WakeReceiver)> = (0..count)
        .map(|_| wake::channel())
        .collect::<std::io::Result<_>>()
        .context("opening the sockets that shards are woken by")?;
    Ok(pairs.into_iter().unzip())
}

/// Shards that are starting, each telling when it runs.
struct Starts {
    handles: Vec<ExecutorJoinHandle<anyhow::Result<()>>>,
    ports: Arc<[ShardPort]>,
    sender: mpsc::SyncSender<()>,
    running: mpsc::Receiver<()>,
}

impl Starts {
    fn new(ports: Arc<[ShardPort]>) -> Self {
        let (sender, running) = mpsc::sync_channel(SHARDS_MAX);
        Self {
            handles: Vec::new(),
            ports,
            sender,
            running,
        }
    }

    fn spawn(&mut self, core: usize, index: usize, options: ShardOptions, parts: ShardParts) -> anyhow::Result<()> {
        let running = self.sender.clone();
        let alarm = Alarm::new(index, Arc::clone(&self.ports));
        let handle = LocalExecutorBuilder::new(glommio::Placement::Fixed(core))
            .name(&format!("shard-{index}"))
            .io_memory(FILE_BUFFER_BYTES)
            .spawn(move || async move {
                let shard = Shard::new(options, parts)?;
                let outcome = shard
                    .run(move || {
                        // Nobody waits any more only when another shard failed to start.
                        let _ = running.send(());
                    })
                    .await;
                if outcome.is_ok() {
                    alarm.disarm();
                }
                outcome
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
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // Those that did start end again.
                    drain_each(&*self.ports, Duration::ZERO);
                    anyhow::bail!("a shard did not start in {START_WAIT_MAX:?}")
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        if running == self.handles.len() {
            return Ok(self.handles);
        }
        for (index, handle) in self.handles.into_iter().enumerate() {
            join_shard(index, handle)?;
        }
        anyhow::bail!("a shard ended before it ran")
    }
}

/// Drains the other shards when one fails. Otherwise clients would go on to reach its socket, which nobody reads, and
/// [`RelayHandle::join`] would wait for shards that have no reason to end.
struct Alarm {
    shard: usize,
    ports: Arc<[ShardPort]>,
    is_armed: bool,
}

impl Alarm {
    fn new(shard: usize, ports: Arc<[ShardPort]>) -> Self {
        Self {
            shard,
            ports,
            is_armed: true,
        }
    }

    fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        tracing::error!(shard = self.shard, "a shard failed: the others drain");
        let others = self.ports.iter().enumerate().filter(|(index, _)| *index != self.shard);
        drain_each(others.map(|(_, port)| port), FAILURE_GRACE);
    }
}

/// What glommio keeps at hand for files, of which a shard opens none: the least it takes. By default
/// it would be 10 MiB, all of it resident.
const FILE_BUFFER_BYTES: usize = 64 * 1024;

const START_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long the sessions of other shards may stay when one has failed.
const FAILURE_GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_fails_drains_the_others() {
        let ports: Arc<[ShardPort]> = (0..3).map(|_| ShardPort::new(Arc::new(|| {}))).collect();
        Alarm::new(1, Arc::clone(&ports)).disarm();
        assert!(ports.iter().all(|port| port.queue.is_empty()));
        drop(Alarm::new(1, Arc::clone(&ports)));
        let is_drained = |port: &ShardPort| matches!(port.queue.pop(), Some(ShardCommand::Drain { .. }));
        assert_eq!(ports.iter().map(is_drained).collect::<Vec<_>>(), [true, false, true]);
    }
}
