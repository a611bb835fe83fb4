//! How other threads reach the legs of one shard.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::local::{Installation, TooManyApplications};
use moqswitch_relay::shard::{ShardBusy, ShardCommand, ShardPort};
use tokio::sync::oneshot;

use crate::application::Application;
use crate::command::{Command, LegName};
use crate::leg::{LegSettings, LegStatistics};
use crate::limits::COMMANDS_MAX;

/// Starts legs on shards.
pub struct Legs;

/// The legs of one shard, seen from outside. Clones reach the same.
#[derive(Clone)]
pub struct LegsPort {
    queue: Arc<ArrayQueue<Command>>,
    shard: ShardPort,
    opened: Arc<AtomicU64>,
}

/// The shard has as many commands for legs as may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{COMMANDS_MAX} commands wait for the legs of the shard")]
pub struct LegsBusy;

impl Legs {
    /// Starts legs on the shard. The answer comes when they are there, or the shard has no room for applications.
    pub fn install(
        shard: &ShardPort,
    ) -> Result<(LegsPort, oneshot::Receiver<Result<(), TooManyApplications>>), ShardBusy> {
        let queue = Arc::new(ArrayQueue::new(COMMANDS_MAX));
        let (reply, answer) = oneshot::channel();
        let inbox = Arc::clone(&queue);
        shard.send(ShardCommand::Install {
            application: Installation::new(move || Application::new(inbox)),
            reply,
        })?;
        let port = LegsPort {
            queue,
            shard: shard.clone(),
            opened: Arc::new(AtomicU64::new(0)),
        };
        Ok((port, answer))
    }
}

impl LegsPort {
    /// Opens a leg on a socket. When the shard has as many as it may, or the broadcast cannot be announced, it is closed
    /// at once: whoever asks for its counts is not answered.
    pub fn open(&self, socket: UdpSocket, settings: LegSettings) -> Result<LegName, LegsBusy> {
        let leg = LegName(self.opened.fetch_add(1, Ordering::Relaxed));
        self.send(Command::Open(leg, socket, Box::new(settings)))?;
        Ok(leg)
    }

    /// Says where the peer is. `is_translated`: its packets may come from another host, see [`moqswitch_media::Latch`].
    pub fn meet(&self, leg: LegName, peer: SocketAddr, is_translated: bool) -> Result<(), LegsBusy> {
        self.send(Command::Meet {
            leg,
            peer,
            is_translated,
        })
    }

    /// From here on the peer hears this broadcast, or nothing. One that is not there is waited for.
    pub fn hear(&self, leg: LegName, broadcast: Option<BroadcastPath>) -> Result<(), LegsBusy> {
        self.send(Command::Hear(leg, broadcast))
    }

    /// Another codec, both ways. The broadcast's path stays as it is.
    pub fn change(&self, leg: LegName, settings: LegSettings) -> Result<(), LegsBusy> {
        self.send(Command::Change(leg, Box::new(settings)))
    }

    /// Sends a digit to the peer.
    pub fn press(&self, leg: LegName, digit: char, duration_ms: u32) -> Result<(), LegsBusy> {
        self.send(Command::Press {
            leg,
            digit,
            duration_ms,
        })
    }

    /// Asks what was counted so far. Without an answer there is no such leg.
    pub fn count(&self, leg: LegName) -> Result<oneshot::Receiver<LegStatistics>, LegsBusy> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Count(leg, reply))?;
        Ok(answer)
    }

    /// Ends a leg: its socket is closed, its broadcast over. Whoever wants to know is told what was counted.
    pub fn close(&self, leg: LegName, reply: Option<oneshot::Sender<LegStatistics>>) -> Result<(), LegsBusy> {
        self.send(Command::Close(leg, reply))
    }

    fn send(&self, command: Command) -> Result<(), LegsBusy> {
        self.queue.push(command).map_err(|_| LegsBusy)?;
        (self.shard.wake)();
        Ok(())
    }
}
