//! How other threads reach one shard: a bounded queue of commands, and a wake for a shard that sleeps.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::limits::SHARD_COMMANDS_MAX;

use super::command::ShardCommand;
use super::link::Doorbell;

/// One shard, seen from outside. Clones reach the same shard.
#[derive(Clone)]
pub struct ShardPort {
    /// Commands that wait for the shard, at most [`SHARD_COMMANDS_MAX`].
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

impl ShardPort {
    /// With an empty queue.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            queue: Arc::new(ArrayQueue::new(SHARD_COMMANDS_MAX)),
            doorbell: Doorbell::new(Arc::clone(&wake)),
            wake,
        }
    }

    /// Queues a command; never waits.
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
