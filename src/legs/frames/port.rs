//! How other threads reach the legs of frames of one shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_relay::shard::local::Installation;
use moqswitch_relay::shard::{ShardBusy, ShardCommand, ShardPort};
use tokio::sync::oneshot;

use crate::codec::LegCodec;
use crate::command::{LegHears, LegName};
use crate::events::LegRefused;
use crate::limits::{COMMANDS_MAX, FRAMES_HEARD_MAX, FRAMES_MAX};
use crate::port::LegsBusy;

use super::application::FramesApplication;
use super::command::{Command, FrameLegSettings, HeardFrame, Spoken};

/// Starts legs of frames on shards.
pub struct FrameLegs;

/// The legs of frames of one shard, seen from outside. Clones reach the same.
#[derive(Clone)]
pub struct FrameLegsPort {
    commands: Arc<ArrayQueue<Command>>,
    frames: Arc<ArrayQueue<Spoken>>,
    shard: ShardPort,
    opened: Arc<AtomicU64>,
}

/// A leg that was opened.
pub struct FrameLeg {
    /// Its name.
    pub leg: LegName,
    /// What it hears. Whoever takes it out paces it.
    pub heard: Arc<ArrayQueue<HeardFrame>>,
    /// Why it was not opened after all. It is dropped without a word when the leg is over.
    pub refused: oneshot::Receiver<LegRefused>,
}

impl FrameLegs {
    /// Starts legs of frames on the shard.
    pub fn install(shard: &ShardPort) -> Result<FrameLegsPort, ShardBusy> {
        let commands = Arc::new(ArrayQueue::new(COMMANDS_MAX));
        let frames = Arc::new(ArrayQueue::new(FRAMES_MAX));
        let (inbox, spoken) = (Arc::clone(&commands), Arc::clone(&frames));
        // Without room for it, legs hear and say nothing, and their first command says so.
        let (reply, _) = oneshot::channel();
        shard.send(ShardCommand::Install {
            application: Installation::new(move || FramesApplication::new(inbox, spoken)),
            reply,
        })?;
        Ok(FrameLegsPort {
            commands,
            frames,
            shard: shard.clone(),
            opened: Arc::new(AtomicU64::new(0)),
        })
    }
}

impl FrameLegsPort {
    /// Opens a leg.
    pub fn open(&self, settings: FrameLegSettings) -> Result<FrameLeg, LegsBusy> {
        let leg = LegName(self.opened.fetch_add(1, Ordering::Relaxed));
        let heard = Arc::new(ArrayQueue::new(FRAMES_HEARD_MAX));
        let (tell, refused) = oneshot::channel();
        self.send(Command::Open {
            leg,
            settings: Box::new(settings),
            heard: Arc::clone(&heard),
            refused: tell,
        })?;
        Ok(FrameLeg { leg, heard, refused })
    }

    /// It speaks another codec from here on.
    pub fn speak(&self, leg: LegName, codec: LegCodec) -> Result<(), LegsBusy> {
        self.send(Command::Speak(leg, codec))
    }

    /// From here on the peer hears this broadcast, or nothing. What it hears of it has this turn.
    pub fn hear(&self, leg: LegName, turn: u32, hears: Option<LegHears>) -> Result<(), LegsBusy> {
        self.send(Command::Hear(leg, turn, hears))
    }

    /// The peer has pressed a key.
    pub fn press(&self, leg: LegName, digit: char, duration_ms: u32) -> Result<(), LegsBusy> {
        self.send(Command::Press {
            leg,
            digit,
            duration_ms,
        })
    }

    /// The peer says 20 ms. False: there was no room, and it is lost.
    pub fn say(&self, leg: LegName, payload: Bytes) -> bool {
        let has_room = self.frames.push(Spoken { leg, payload }).is_ok();
        (self.shard.wake)();
        has_room
    }

    /// Ends a leg.
    pub fn close(&self, leg: LegName) -> Result<(), LegsBusy> {
        self.send(Command::Close(leg))
    }

    fn send(&self, command: Command) -> Result<(), LegsBusy> {
        self.commands.push(command).map_err(|_| LegsBusy)?;
        (self.shard.wake)();
        Ok(())
    }
}
