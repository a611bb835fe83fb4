//! The control thread: HTTP for operators, browsers and tools.
//! It reaches shards only by bounded queues and waits for them; a shard never waits for it.
#![forbid(unsafe_code)]

mod connections;
mod metrics;
mod portions;
mod routes;
mod server;
mod socket;
mod tls;
mod web;
mod websocket;

#[cfg(test)]
mod tests;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;
use tokio::sync::watch;

use crate::{auth::Patterns, limits, shard::Doorbell};

pub use crate::shard::{FetchError, FetchGroup, FetchReply, FetchRequest, ShardCommand};

pub use server::{ControlHandle, ControlServer};
pub use tls::Tls;
pub use websocket::WebSockets;

/// What the routes answer from.
#[derive(Clone)]
pub struct ControlState {
    /// Index is the shard's number.
    pub shards: Vec<ShardPort>,
    /// Fingerprint of the first certificate; changes when certificates are reloaded.
    pub certificate_sha256: watch::Receiver<Arc<str>>,
    pub lifecycle: Arc<Lifecycle>,
    pub announcements: Arc<Announcements>,
    /// Broadcasts HTTP clients may see and fetch.
    pub public: Patterns,
    pub websockets: Arc<WebSockets>,
    /// `None`: plain HTTP and nothing else.
    pub tls: Option<Tls>,
}

/// Visits the full path of every announced broadcast at or below a prefix of whole segments,
/// until the visitor breaks off.
pub type Announcements = dyn Fn(&str, &mut Visitor<'_>) + Send + Sync;
pub type Visitor<'a> = dyn FnMut(&str) -> ControlFlow<()> + 'a;

/// How the control thread reaches one shard.
#[derive(Clone)]
pub struct ShardPort {
    pub queue: Arc<ArrayQueue<ShardCommand>>,
    /// Wakes a parked shard; called after each command.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Rung when a WebSocket of the shard has news.
    pub doorbell: Arc<Doorbell>,
}

/// The shard's command queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard's command queue is full")]
pub struct ShardBusy;

/// Where the process stands; read by `/readyz`.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

impl ControlState {
    /// Turns `/readyz` to 503 and has every shard drain until `grace` has passed.
    /// Keeps trying while a command queue is full, so a busy shard is not forgotten.
    pub async fn drain(&self, grace: Duration) {
        self.lifecycle.set(Phase::Draining);
        let deadline = Instant::now() + grace;
        for port in &self.shards {
            while port.send(ShardCommand::Drain { deadline }).is_err() && Instant::now() < deadline {
                tokio::time::sleep(DRAIN_RETRY_INTERVAL).await;
            }
        }
    }
}

impl ShardPort {
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            queue: Arc::new(ArrayQueue::new(limits::SHARD_COMMANDS_MAX)),
            doorbell: Doorbell::new(Arc::clone(&wake)),
            wake,
        }
    }

    pub fn send(&self, command: ShardCommand) -> Result<(), ShardBusy> {
        self.offer(command).map_err(|_| ShardBusy)
    }

    /// As [`Self::send`], but gives the command back when the queue is full.
    #[allow(clippy::result_large_err, reason = "it is taken back, not passed on")]
    pub fn offer(&self, command: ShardCommand) -> Result<(), ShardCommand> {
        self.queue.push(command)?;
        (self.wake)();
        Ok(())
    }
}

impl Lifecycle {
    /// Phases only advance: a drain that begins during start-up is not undone by `Ready`.
    pub fn set(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }

    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

const DRAIN_RETRY_INTERVAL: Duration = Duration::from_millis(5);
