//! How other threads reach the legs of one shard.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_queue::ArrayQueue;
use moqswitch_relay::shard::local::{Installation, TooManyApplications};
use moqswitch_relay::shard::{ShardBusy, ShardCommand, ShardPort};
use moqswitch_webrtc::Session;
use tokio::sync::{Notify, oneshot};

use crate::application::Application;
use crate::command::{Command, LegHears, LegName, LegPeer};
use crate::events::{LegEvent, Outbox};
use crate::limits::{COMMANDS_MAX, EVENTS_MAX, TONE_EVERY_MIN};
use crate::settings::LegSettings;
use crate::statistics::LegStatistics;
use crate::tone::Tones;

/// Starts legs on shards.
pub struct Legs;

/// The legs of one shard, seen from outside. Clones reach the same.
#[derive(Clone)]
pub struct LegsPort {
    queue: Arc<ArrayQueue<Command>>,
    events: Arc<ArrayQueue<LegEvent>>,
    shard: ShardPort,
    opened: Arc<AtomicU64>,
}

/// The shard has as many commands for legs as may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{COMMANDS_MAX} commands wait for the legs of the shard")]
pub struct LegsBusy;

impl Legs {
    /// Starts legs on the shard. `news` is notified when [`LegsPort::poll`] has something; several shards may have the same.
    /// The answer comes when the legs are there, or the shard has no room for applications.
    pub fn install(
        shard: &ShardPort,
        news: Arc<Notify>,
    ) -> Result<(LegsPort, oneshot::Receiver<Result<(), TooManyApplications>>), ShardBusy> {
        let queue = Arc::new(ArrayQueue::new(COMMANDS_MAX));
        let events = Arc::new(ArrayQueue::new(EVENTS_MAX));
        let (reply, answer) = oneshot::channel();
        let inbox = Arc::clone(&queue);
        let outbox = Outbox::new(Arc::clone(&events), news);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall = wall.unwrap_or_default();
        shard.send(ShardCommand::Install {
            application: Installation::new(move || Application::new(inbox, outbox, wall)),
            reply,
        })?;
        let port = LegsPort {
            queue,
            events,
            shard: shard.clone(),
            opened: Arc::new(AtomicU64::new(0)),
        };
        Ok((port, answer))
    }
}

impl LegsPort {
    /// Opens a leg on a socket, and one for RTCP above it, if there may be some. When the shard has as many legs as it may,
    /// or the broadcast cannot be announced, [`LegEvent::Refused`] says so.
    pub fn open(&self, rtp: UdpSocket, rtcp: Option<UdpSocket>, settings: LegSettings) -> Result<LegName, LegsBusy> {
        let leg = LegName(self.opened.fetch_add(1, Ordering::Relaxed));
        self.send(Command::Open {
            leg,
            rtp,
            rtcp,
            settings: Box::new(settings),
        })?;
        Ok(leg)
    }

    /// Legs of WebRTC are served on this socket from here on. Once for each shard.
    pub fn serve_webrtc(&self, socket: UdpSocket) -> Result<(), LegsBusy> {
        self.send(Command::ServeWebrtc(socket))
    }

    /// Opens a leg that is carried by WebRTC. [`LegSettings::of_session`] has what was agreed on. When the shard has as many
    /// as it may, [`LegEvent::Refused`] says so; when the peer is gone, or does not come, [`LegEvent::Gone`].
    pub fn open_webrtc(&self, session: Session, settings: LegSettings) -> Result<LegName, LegsBusy> {
        let leg = LegName(self.opened.fetch_add(1, Ordering::Relaxed));
        self.send(Command::OpenWebrtc {
            leg,
            session: Box::new(session),
            settings: Box::new(settings),
        })?;
        Ok(leg)
    }

    /// Says where the peer is. For a moment from then on its packets tell better.
    pub fn meet(&self, leg: LegName, peer: SocketAddr, is_translated: bool) -> Result<(), LegsBusy> {
        let peer = LegPeer {
            address: peer,
            is_translated,
        };
        self.send(Command::Agree {
            leg,
            settings: None,
            peer: Some(peer),
        })
    }

    /// From here on the peer hears this broadcast, or nothing. One that is not there is waited for.
    pub fn hear(&self, leg: LegName, hears: Option<LegHears>) -> Result<(), LegsBusy> {
        self.send(Command::Hear(leg, hears))
    }

    /// A tone says to the peer that it is recorded, at once and after each such time; or no longer. Of less than a second
    /// it is one.
    pub fn announce(&self, leg: LegName, every: Option<Duration>) -> Result<(), LegsBusy> {
        let wanted = every.map(|every| (every.max(TONE_EVERY_MIN), Tones::get()));
        self.send(Command::Announce(leg, wanted))
    }

    /// Something else was agreed on, and perhaps where the peer is. The broadcast's path and the source stay as they are,
    /// and its numbers go on.
    pub fn change(&self, leg: LegName, settings: LegSettings, peer: Option<LegPeer>) -> Result<(), LegsBusy> {
        self.send(Command::Agree {
            leg,
            settings: Some(Box::new(settings)),
            peer,
        })
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
        self.send(Command::Count(leg, Some(reply)))?;
        Ok(answer)
    }

    /// The same: [`LegEvent::Counted`] is the answer.
    pub fn count_later(&self, leg: LegName) -> Result<(), LegsBusy> {
        self.send(Command::Count(leg, None))
    }

    /// Ends a leg: its sockets are closed, its broadcast over. Whoever wants to know is told what was counted, by
    /// [`LegEvent::Closed`] as well.
    pub fn close(&self, leg: LegName, reply: Option<oneshot::Sender<LegStatistics>>) -> Result<(), LegsBusy> {
        self.send(Command::Close(leg, reply))
    }

    /// What happened, in order. If nobody asks for long, the newest is dropped, but no end.
    pub fn poll(&self) -> Option<LegEvent> {
        self.events.pop()
    }

    /// Whether so many commands would be taken now. Of use to whoever alone sends some.
    pub fn has_room(&self, commands: usize) -> bool {
        self.queue.len().saturating_add(commands) <= COMMANDS_MAX
    }

    fn send(&self, command: Command) -> Result<(), LegsBusy> {
        self.queue.push(command).map_err(|_| LegsBusy)?;
        (self.shard.wake)();
        Ok(())
    }
}
