//! The legs of one shard, as the shard runs them.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_proto::wire::{BroadcastPath, GroupRange, GroupSequence, StreamId, SubscribeId};
use moqswitch_relay::net::SocketId;
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{self, Host, LocalEvent, LocalSubscription, SocketDatagram};
use rustc_hash::FxHashMap;

use crate::command::{Command, LegName};
use crate::leg::{Leg, LegSettings, Role};
use crate::limits::{COMMANDS_MAX, LEGS_MAX};
use crate::tracks::{AUDIO, DTMF};

pub(crate) struct Application {
    inbox: Arc<ArrayQueue<Command>>,
    legs: FxHashMap<u64, Leg>,
    sockets: FxHashMap<SocketId, u64>,
    hearing: FxHashMap<u64, Hearing>,
    /// When something of a leg is due: each leg once at most.
    due: BTreeSet<(Instant, u64)>,
}

/// What a leg hears.
struct Hearing {
    broadcast: BroadcastPath,
    watch: StreamId,
    audio: Option<SubscribeId>,
    dtmf: Option<SubscribeId>,
}

impl Application {
    pub(crate) fn new(inbox: Arc<ArrayQueue<Command>>) -> Self {
        Self {
            inbox,
            legs: FxHashMap::default(),
            sockets: FxHashMap::default(),
            hearing: FxHashMap::default(),
            due: BTreeSet::new(),
        }
    }

    fn obey(&mut self, command: Command, host: &mut Host<'_>) {
        let now = host.now();
        match command {
            Command::Open(LegName(name), socket, settings) => self.open(name, socket, *settings, host),
            Command::Meet {
                leg: LegName(name),
                peer,
                is_translated,
            } => {
                if let Some(leg) = self.legs.get_mut(&name) {
                    leg.meet(peer, is_translated, now);
                }
            }
            Command::Hear(LegName(name), broadcast) => self.hear(name, broadcast, host),
            Command::Change(LegName(name), settings) => {
                if let Some(leg) = self.legs.get_mut(&name) {
                    leg.change(*settings);
                    let (peer, broadcast, tracks) = (leg.peer, leg.settings.broadcast.clone(), leg.tracks());
                    // It is published, so it is not announced anew.
                    let _ = host.publish(peer, &broadcast, tracks);
                    leg.publish_catalog(host);
                }
            }
            Command::Press {
                leg: LegName(name),
                digit,
                duration_ms,
            } => {
                if let Some(leg) = self.legs.get_mut(&name) {
                    leg.press(digit, duration_ms);
                    self.tick(name, host);
                }
            }
            Command::Count(LegName(name), reply) => {
                if let Some(leg) = self.legs.get(&name) {
                    // Who asked may be gone.
                    let _ = reply.send(leg.statistics(now));
                }
            }
            Command::Close(LegName(name), reply) => {
                if let (Some(leg), Some(reply)) = (self.legs.get(&name), reply) {
                    // As above.
                    let _ = reply.send(leg.statistics(now));
                }
                self.close(name, host);
            }
        }
    }

    fn open(&mut self, name: u64, socket: UdpSocket, settings: LegSettings, host: &mut Host<'_>) {
        if self.legs.len() >= LEGS_MAX {
            return tracing::warn!(legs = LEGS_MAX, "a shard has as many legs as it may");
        }
        let peer = match host.open_peer() {
            Ok(peer) => peer,
            Err(error) => return tracing::warn!(%error, "no peer for a leg"),
        };
        let socket = match host.add_socket(socket) {
            Ok(socket) => socket,
            Err(error) => {
                host.close_peer(peer);
                return tracing::warn!(%error, "no socket for a leg");
            }
        };
        let leg = Leg::new(name, peer, socket, settings, host.now());
        if let Err(error) = host.publish(peer, &leg.settings.broadcast, leg.tracks()) {
            host.remove_socket(socket);
            host.close_peer(peer);
            return tracing::warn!(%error, "the broadcast of a leg");
        }
        self.sockets.insert(socket, name);
        self.legs.insert(name, leg);
    }

    fn close(&mut self, name: u64, host: &mut Host<'_>) {
        let Some(leg) = self.legs.remove(&name) else { return };
        self.hearing.remove(&name);
        self.sockets.remove(&leg.socket);
        if let Some(due) = leg.due {
            self.due.remove(&(due, name));
        }
        host.remove_socket(leg.socket);
        host.close_peer(leg.peer);
    }

    fn hear(&mut self, name: u64, broadcast: Option<BroadcastPath>, host: &mut Host<'_>) {
        let Some(leg) = self.legs.get(&name) else { return };
        let peer = leg.peer;
        if let Some(before) = self.hearing.remove(&name) {
            if Some(&before.broadcast) == broadcast.as_ref() {
                self.hearing.insert(name, before);
                return;
            }
            host.unwatch(peer, before.watch);
            for id in before.audio.into_iter().chain(before.dtmf) {
                host.unsubscribe(peer, id);
            }
        }
        let Some(broadcast) = broadcast else { return };
        match host.watch(peer, &broadcast, Role::Watch.tag(name)) {
            Ok(watch) => {
                let hearing = Hearing {
                    broadcast,
                    watch,
                    audio: None,
                    dtmf: None,
                };
                self.hearing.insert(name, hearing);
            }
            Err(error) => tracing::warn!(%error, "a leg cannot hear"),
        }
    }

    /// The broadcast is there.
    fn listen(&mut self, name: u64, path: &BroadcastPath, host: &mut Host<'_>) {
        let (Some(leg), Some(hearing)) = (self.legs.get_mut(&name), self.hearing.get_mut(&name)) else {
            return;
        };
        if hearing.broadcast != *path {
            return;
        }
        let peer = leg.peer;
        let mut begin = |track: &str, role: Role, priority| {
            let wanted = LocalSubscription {
                broadcast: path.clone(),
                track: track.into(),
                priority,
                // Whoever hears it plays it in order; and one that comes when its turn is over does not leave.
                ordered: true,
                max_latency: LATENCY_MAX,
                range: GroupRange::default(),
                tag: role.tag(name),
            };
            host.subscribe(peer, &wanted).ok()
        };
        if hearing.audio.is_none() {
            leg.begin_hearing(leg.settings.codec.clock_hz().into());
            hearing.audio = begin(AUDIO, Role::HeardAudio, 200);
        }
        if hearing.dtmf.is_none() {
            hearing.dtmf = begin(DTMF, Role::HeardDtmf, 210);
        }
    }

    fn tick(&mut self, name: u64, host: &mut Host<'_>) {
        if let Some(leg) = self.legs.get_mut(&name) {
            tick(leg, &mut self.due, host);
        }
    }

    /// Something of who is heard.
    fn hear_frame(&mut self, tag: u64, group: GroupSequence, timestamp: u64, payload: Bytes, host: &mut Host<'_>) {
        let Some((name, role)) = Role::of(tag) else { return };
        let Some(leg) = self.legs.get_mut(&name) else { return };
        match role {
            Role::HeardAudio => leg.speak(group.0, timestamp, payload, host),
            Role::HeardDtmf => leg.hear_digit(&payload),
            Role::Audio | Role::Dtmf | Role::Catalog | Role::Watch => return,
        }
        tick(leg, &mut self.due, host);
    }

    fn set_wanted(&mut self, name: u64, role: Role, peer: PeerKey, id: Option<SubscribeId>, host: &mut Host<'_>) {
        let Some(leg) = self.legs.get_mut(&name).filter(|leg| leg.peer == peer) else {
            return;
        };
        match role {
            Role::Audio => leg.wanted_audio = id,
            Role::Dtmf => leg.wanted_dtmf = id,
            Role::Catalog => {
                leg.wanted_catalog = id;
                leg.publish_catalog(host);
            }
            Role::HeardAudio | Role::HeardDtmf | Role::Watch => {}
        }
    }
}

impl local::Application for Application {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        match event {
            LocalEvent::Wanted { peer, tag, id, .. } => {
                if let Some((name, role)) = Role::of(tag) {
                    self.set_wanted(name, role, peer, Some(id), host);
                }
            }
            LocalEvent::Unwanted { tag, .. } => {
                let Some((name, role)) = Role::of(tag) else { return };
                if let Some(peer) = self.legs.get(&name).map(|leg| leg.peer) {
                    self.set_wanted(name, role, peer, None, host);
                }
            }
            LocalEvent::Frame {
                tag,
                group,
                timestamp,
                payload,
                ..
            } => self.hear_frame(tag, group, timestamp, payload, host),
            LocalEvent::Info { tag, info } => {
                if let Some((name, Role::HeardAudio)) = Role::of(tag)
                    && let Some(leg) = self.legs.get_mut(&name)
                {
                    leg.set_timescale(info.timescale);
                }
            }
            LocalEvent::Announced { tag, path } => {
                if let Some((name, Role::Watch)) = Role::of(tag) {
                    self.listen(name, &path, host);
                }
            }
            LocalEvent::Closed { tag, .. } => match Role::of(tag) {
                Some((name, Role::HeardAudio)) => {
                    if let Some(hearing) = self.hearing.get_mut(&name) {
                        hearing.audio = None;
                    }
                }
                Some((name, Role::HeardDtmf)) => {
                    if let Some(hearing) = self.hearing.get_mut(&name) {
                        hearing.dtmf = None;
                    }
                }
                _ => {}
            },
            LocalEvent::WatchClosed { tag } => {
                if let Some((name, Role::Watch)) = Role::of(tag)
                    && let Some(before) = self.hearing.remove(&name)
                {
                    let broadcast = before.broadcast.clone();
                    self.hear(name, Some(broadcast), host);
                }
            }
            LocalEvent::DemandChanged { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::Unannounced { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
    }

    fn handle_datagram(&mut self, datagram: SocketDatagram<'_>, host: &mut Host<'_>) {
        let Some(name) = self.sockets.get(&datagram.socket) else {
            return;
        };
        if let Some(leg) = self.legs.get_mut(name) {
            leg.receive(datagram.source, datagram.local, datagram.payload, host);
        }
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        for _ in 0..COMMANDS_MAX {
            let Some(command) = self.inbox.pop() else { break };
            self.obey(command, host);
        }
        let now = host.now();
        while let Some((due, name)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, name));
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.due = None;
                tick(leg, &mut self.due, host);
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn has_work(&self) -> bool {
        !self.inbox.is_empty()
    }
}

/// Does what is due of a leg, and notes when something is again.
fn tick(leg: &mut Leg, all: &mut BTreeSet<(Instant, u64)>, host: &mut Host<'_>) {
    let due = leg.tick(host);
    let before = std::mem::replace(&mut leg.due, due);
    if before == due {
        return;
    }
    if let Some(before) = before {
        all.remove(&(before, leg.name));
    }
    all.extend(due.map(|due| (due, leg.name)));
}

/// What is older is of no use. By timestamps: a packet that silence overtook is as old as the silence was long.
const LATENCY_MAX: Duration = Duration::from_secs(2);
