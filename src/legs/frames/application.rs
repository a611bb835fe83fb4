//! The legs of frames of one shard, as the shard runs them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::local::{Application, Host, LocalError, LocalEvent, SocketDatagram};
use rustc_hash::FxHashMap;

use crate::command::LegName;
use crate::events::LegRefused;
use crate::hearing::Hearing;
use crate::limits::{COMMANDS_MAX, FRAMES_PER_TURN_MAX, LEGS_MAX};
use crate::tags::{Role, Tag};

use super::command::{Command, FrameLegSettings, Heard, Spoken};
use super::leg::Leg;

pub(super) struct FramesApplication {
    inbox: Arc<ArrayQueue<Command>>,
    spoken: Arc<ArrayQueue<Spoken>>,
    legs: FxHashMap<u64, Leg>,
    /// When something that a leg hears is tried again: each leg once at most.
    due: BTreeSet<(Instant, u64)>,
}

impl FramesApplication {
    pub(super) fn new(inbox: Arc<ArrayQueue<Command>>, spoken: Arc<ArrayQueue<Spoken>>) -> Self {
        Self {
            inbox,
            spoken,
            legs: FxHashMap::default(),
            due: BTreeSet::new(),
        }
    }

    fn obey(&mut self, command: Command, host: &mut Host<'_>) {
        match command {
            Command::Open {
                leg,
                settings,
                heard,
                refused,
            } => {
                if let Err(reason) = self.open(leg, *settings, heard, host) {
                    tracing::warn!(%reason, "a leg of frames is not opened");
                    // Who asked may be gone.
                    let _ = refused.send(reason);
                }
            }
            Command::Speak(leg, codec) => self.with(leg, host, |leg, host| leg.speak(codec, host)),
            Command::Hear(leg, turn, hears) => self.with(leg, host, |leg, host| leg.hear(turn, hears, host)),
            Command::Press {
                leg,
                digit,
                duration_ms,
            } => self.with(leg, host, |leg, host| leg.press(digit, duration_ms, host)),
            Command::Close(leg) => self.close(leg, host),
        }
    }

    fn open(
        &mut self,
        name: LegName,
        settings: FrameLegSettings,
        heard: Heard,
        host: &mut Host<'_>,
    ) -> Result<(), LegRefused> {
        if self.legs.len() >= LEGS_MAX {
            return Err(LegRefused::Full);
        }
        let peer = host.open_peer().map_err(refused)?;
        let leg = Leg::new(name, peer, settings, heard, host.now());
        if let Err(error) = host.publish(peer, leg.broadcast(), leg.tracks()) {
            host.close_peer(peer);
            return Err(refused(error));
        }
        self.legs.insert(name.0, leg);
        Ok(())
    }

    fn close(&mut self, LegName(name): LegName, host: &mut Host<'_>) {
        let Some(leg) = self.legs.remove(&name) else { return };
        if let Some(due) = leg.due {
            self.due.remove(&(due, name));
        }
        host.close_peer(leg.peer);
    }

    /// Does something with a leg, and notes when it is to be called again.
    fn with(&mut self, LegName(name): LegName, host: &mut Host<'_>, what: impl FnOnce(&mut Leg, &mut Host<'_>)) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        what(leg, host);
        let due = leg.hearing.as_ref().and_then(Hearing::deadline);
        let before = std::mem::replace(&mut leg.due, due);
        if before != due {
            self.due.extend(due.map(|due| (due, name)));
            if let Some(before) = before {
                self.due.remove(&(before, name));
            }
        }
    }

    /// Something of what a leg hears, if it is told of that still.
    fn handle_heard(&mut self, tag: Tag, event: LocalEvent, host: &mut Host<'_>) {
        let hears = |leg: &Leg| leg.hearing.as_ref().is_some_and(|hearing| hearing.has(tag));
        if !self.legs.get(&tag.leg).is_some_and(hears) {
            return;
        }
        let name = LegName(tag.leg);
        match event {
            LocalEvent::Frame { group, payload, .. } => {
                let Some(leg) = self.legs.get_mut(&tag.leg) else { return };
                if let Some(hearing) = &mut leg.hearing {
                    hearing.came(tag.role);
                }
                // Keys of others are told by who decides on calls.
                if tag.role == Role::HeardAudio {
                    leg.hand_out(group.0, payload);
                }
            }
            LocalEvent::Announced { path, .. } => self.set_there(name, &path, true, host),
            LocalEvent::Unannounced { path, .. } => self.set_there(name, &path, false, host),
            LocalEvent::Closed { .. } | LocalEvent::WatchClosed { .. } => self.with(name, host, |leg, host| {
                if let Some(hearing) = &mut leg.hearing {
                    hearing.closed(tag.role, host.now());
                }
            }),
            LocalEvent::Wanted { .. }
            | LocalEvent::DemandChanged { .. }
            | LocalEvent::Unwanted { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::Info { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
    }

    fn set_there(&mut self, name: LegName, path: &BroadcastPath, is_there: bool, host: &mut Host<'_>) {
        self.with(name, host, |leg, host| {
            if let Some(hearing) = leg.hearing.as_mut().filter(|hearing| hearing.hears.broadcast == *path) {
                hearing.set_there(is_there, host);
                leg.listen(host);
            }
        });
    }

    fn set_wanted(&mut self, tag: u64, id: Option<moqswitch_proto::wire::SubscribeId>, host: &mut Host<'_>) {
        if let Some(tag) = Tag::of(tag)
            && let Some(leg) = self.legs.get_mut(&tag.leg)
        {
            leg.set_wanted(tag.role, id, host);
        }
    }
}

impl Application for FramesApplication {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        match event {
            LocalEvent::Wanted { tag, id, .. } => self.set_wanted(tag, Some(id), host),
            LocalEvent::Unwanted { tag, .. } => self.set_wanted(tag, None, host),
            LocalEvent::Frame { tag, .. }
            | LocalEvent::Announced { tag, .. }
            | LocalEvent::Unannounced { tag, .. }
            | LocalEvent::Closed { tag, .. }
            | LocalEvent::WatchClosed { tag } => {
                if let Some(tag) = Tag::of(tag) {
                    self.handle_heard(tag, event, host);
                }
            }
            LocalEvent::DemandChanged { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::Info { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
    }

    fn handle_datagram(&mut self, _datagram: SocketDatagram<'_>, _host: &mut Host<'_>) {}

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        for _ in 0..COMMANDS_MAX {
            let Some(command) = self.inbox.pop() else { break };
            self.obey(command, host);
        }
        for _ in 0..FRAMES_PER_TURN_MAX {
            let Some(Spoken { leg, payload }) = self.spoken.pop() else {
                break;
            };
            if let Some(leg) = self.legs.get_mut(&leg.0) {
                leg.say(&payload, host);
            }
        }
        let now = host.now();
        while let Some((due, name)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, name));
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.due = None;
            }
            self.with(LegName(name), host, Leg::listen);
        }
    }

    fn wants_turn(&self, now: Instant) -> bool {
        self.is_due(now)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn has_work(&self) -> bool {
        !self.inbox.is_empty() || !self.spoken.is_empty()
    }
}

fn refused(error: LocalError) -> LegRefused {
    match error {
        LocalError::TooManyPeers => LegRefused::Full,
        _ => LegRefused::NotAnnounced,
    }
}
