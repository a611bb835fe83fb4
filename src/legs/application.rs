//! The legs of one shard, as the shard runs them.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::net::{AddSocketError, SocketId};
use moqswitch_relay::shard::local::{self, Host, LocalError, LocalEvent, SocketDatagram};
use moqswitch_webrtc::Session;
use rustc_hash::FxHashMap;

use crate::carried::Carried;
use crate::command::{Command, LegName, LegPeer};
use crate::entrance::Entrance;
use crate::events::{LegEvent, LegRefused, Outbox};
use crate::leg::Leg;
use crate::limits::{COMMANDS_MAX, ENDS_RETRY, LEGS_MAX};
use crate::settings::LegSettings;
use crate::statistics::LegStatistics;
use crate::tags::{Role, Tag};

pub(crate) struct Application {
    inbox: Arc<ArrayQueue<Command>>,
    outbox: Outbox,
    /// A moment, and the same since 1970. Later ones are counted from it, so that they do not go back.
    clock: (Instant, Duration),
    legs: FxHashMap<u64, Leg>,
    sockets: FxHashMap<SocketId, Owner>,
    entrance: Entrance,
    /// When something of a leg is due: each leg once at most.
    due: BTreeSet<(Instant, u64)>,
    /// When ends are told that nobody had room for.
    ends_at: Option<Instant>,
}

/// Whose a socket is.
#[derive(Clone, Copy)]
struct Owner {
    leg: u64,
    is_control: bool,
}

impl Application {
    pub(crate) fn new(inbox: Arc<ArrayQueue<Command>>, outbox: Outbox, wall: Duration) -> Self {
        Self {
            inbox,
            outbox,
            clock: (Instant::now(), wall),
            legs: FxHashMap::default(),
            sockets: FxHashMap::default(),
            entrance: Entrance::default(),
            due: BTreeSet::new(),
            ends_at: None,
        }
    }

    fn obey_all(&mut self, host: &mut Host<'_>) {
        // Cheaper than to take from an empty one.
        if self.inbox.is_empty() {
            return;
        }
        for _ in 0..COMMANDS_MAX {
            let Some(command) = self.inbox.pop() else { break };
            self.obey(command, host);
        }
    }

    fn obey(&mut self, command: Command, host: &mut Host<'_>) {
        let now = host.now();
        match command {
            Command::Open {
                leg,
                rtp,
                rtcp,
                settings,
            } => {
                let opened = self.open(leg, rtp, rtcp, *settings, host);
                self.tell_refused(leg, opened);
            }
            Command::OpenWebrtc { leg, session, settings } => {
                let opened = self.open_webrtc(leg, *session, *settings, host);
                self.tell_refused(leg, opened);
            }
            Command::ServeWebrtc(socket) => match host.add_socket(socket) {
                Ok(socket) => self.entrance.serve(socket),
                Err(error) => tracing::error!(%error, "no socket for WebRTC"),
            },
            Command::Agree { leg, settings, peer } => self.agree(leg, settings, peer, host),
            Command::Hear(leg, hears) => self.with(leg, host, |leg, host| leg.hear(hears, host)),
            Command::Announce(leg, wanted) => self.with(leg, host, |leg, host| leg.announce(wanted, host.now())),
            Command::Press {
                leg,
                digit,
                duration_ms,
            } => self.with(leg, host, |leg, _| leg.press(digit, duration_ms)),
            Command::Count(leg, reply) => {
                let Some(statistics) = self.legs.get(&leg.0).map(|leg| leg.statistics(now)) else {
                    return;
                };
                match reply {
                    // Who asked may be gone.
                    Some(reply) => drop(reply.send(statistics)),
                    None => self.outbox.tell(LegEvent::Counted {
                        leg,
                        statistics: Box::new(statistics),
                    }),
                }
            }
            Command::Close(leg, reply) => {
                let statistics = self.close(leg, host);
                if let (Some(statistics), Some(reply)) = (statistics, reply) {
                    // As above.
                    let _ = reply.send(statistics);
                }
                if let Some(statistics) = statistics {
                    let statistics = Box::new(statistics);
                    self.outbox.tell(LegEvent::Closed { leg, statistics });
                }
            }
        }
    }

    fn tell_refused(&self, leg: LegName, opened: Result<(), LegRefused>) {
        if let Err(reason) = opened {
            tracing::warn!(%reason, "a leg is not opened");
            self.outbox.tell(LegEvent::Refused { leg, reason });
        }
    }

    /// One that shares the socket of WebRTC.
    fn open_webrtc(
        &mut self,
        name: LegName,
        session: Session,
        settings: LegSettings,
        host: &mut Host<'_>,
    ) -> Result<(), LegRefused> {
        if self.legs.len() >= LEGS_MAX {
            return Err(LegRefused::Full);
        }
        let socket = self.entrance.room().ok_or(match self.entrance.is_served() {
            true => LegRefused::Full,
            false => LegRefused::NoWebrtc,
        })?;
        let peer = host.open_peer().map_err(refused)?;
        let now = host.now();
        let (moment, wall) = self.clock;
        let wall = wall + now.saturating_duration_since(moment);
        let mut leg = Leg::new(name, peer, socket, None, settings, (now, wall));
        // What is only heard has no broadcast of its own.
        if leg.settings.receives
            && let Err(error) = host.publish(peer, &leg.settings.broadcast, leg.tracks())
        {
            host.close_peer(peer);
            return Err(refused(error));
        }
        self.entrance.insert(name.0, session.username());
        leg.carried = Some(Box::new(Carried::new(session, now)));
        self.legs.insert(name.0, leg);
        self.with(name, host, |_, _| {});
        Ok(())
    }

    fn open(
        &mut self,
        name: LegName,
        rtp: UdpSocket,
        rtcp: Option<UdpSocket>,
        settings: LegSettings,
        host: &mut Host<'_>,
    ) -> Result<(), LegRefused> {
        if self.legs.len() >= LEGS_MAX {
            return Err(LegRefused::Full);
        }
        let peer = host.open_peer().map_err(refused)?;
        let socket = host.add_socket(rtp).map_err(|error| {
            host.close_peer(peer);
            match error {
                AddSocketError::Full { .. } => LegRefused::Full,
                AddSocketError::Io { .. } => LegRefused::Socket,
            }
        })?;
        let now = host.now();
        let (moment, wall) = self.clock;
        let wall = wall + now.saturating_duration_since(moment);
        let mut leg = Leg::new(name, peer, socket, rtcp, settings, (now, wall));
        if let Err(error) = host.publish(peer, &leg.settings.broadcast, leg.tracks()) {
            host.remove_socket(socket);
            host.close_peer(peer);
            return Err(refused(error));
        }
        let control = leg.begin(host);
        self.legs.insert(name.0, leg);
        self.own(name, Some(socket), false);
        self.own(name, control, true);
        Ok(())
    }

    fn own(&mut self, LegName(leg): LegName, socket: Option<SocketId>, is_control: bool) {
        self.sockets
            .extend(socket.map(|socket| (socket, Owner { leg, is_control })));
    }

    fn agree(&mut self, name: LegName, settings: Option<Box<LegSettings>>, peer: Option<LegPeer>, host: &mut Host<'_>) {
        let mut control = None;
        self.with(name, host, |leg, host| {
            control = leg.agree(settings.map(|settings| *settings), peer, host);
        });
        self.own(name, control, true);
    }

    fn close(&mut self, name: LegName, host: &mut Host<'_>) -> Option<LegStatistics> {
        let mut leg = self.legs.remove(&name.0)?;
        let statistics = leg.statistics(host.now());
        self.entrance.remove(name.0);
        if let Some(due) = leg.due {
            self.due.remove(&(due, name.0));
        }
        for socket in leg.end(host).into_iter().flatten() {
            self.sockets.remove(&socket);
            host.remove_socket(socket);
        }
        host.close_peer(leg.peer);
        Some(statistics)
    }

    /// Does something with a leg, and what follows at once.
    fn with(&mut self, LegName(name): LegName, host: &mut Host<'_>, what: impl FnOnce(&mut Leg, &mut Host<'_>)) {
        if let Some(leg) = self.legs.get_mut(&name) {
            what(leg, host);
            tick(leg, &mut self.due, host, &self.outbox);
        }
    }

    /// The same, if it is told of what the leg hears still.
    fn with_heard(&mut self, tag: Tag, host: &mut Host<'_>, what: impl FnOnce(&mut Leg, &mut Host<'_>)) {
        let hears = |leg: &Leg| leg.hearing.as_ref().is_some_and(|hearing| hearing.has(tag));
        if self.legs.get(&tag.leg).is_some_and(hears) {
            self.with(LegName(tag.leg), host, what);
        }
    }

    /// A frame of audio: what comes of it at once is only that some of it may wait.
    fn handle_heard_audio(&mut self, tag: Tag, (group, timestamp): (u64, u64), payload: Bytes, host: &mut Host<'_>) {
        let Some(leg) = self.legs.get_mut(&tag.leg) else { return };
        let Some(hearing) = leg.hearing.as_mut().filter(|hearing| hearing.has(tag)) else {
            return;
        };
        hearing.came(tag.role);
        leg.speak(group, timestamp, payload, host);
        if leg.has_more_to_say() || std::mem::take(&mut leg.has_news) {
            tick(leg, &mut self.due, host, &self.outbox);
        }
    }

    /// Something of what a leg hears.
    fn handle_heard(&mut self, tag: Tag, event: LocalEvent, host: &mut Host<'_>) {
        match event {
            LocalEvent::Frame {
                group,
                timestamp,
                payload,
                ..
            } if tag.role != Role::HeardDtmf => self.handle_heard_audio(tag, (group.0, timestamp), payload, host),
            LocalEvent::Frame { payload, .. } => self.with_heard(tag, host, |leg, host| {
                if let Some(hearing) = &mut leg.hearing {
                    hearing.came(tag.role);
                }
                leg.hear_digit(&payload, host.now());
            }),
            LocalEvent::Info { info, .. } => self.with_heard(tag, host, |leg, _| {
                if tag.role == Role::HeardAudio {
                    leg.set_timescale(info.timescale);
                }
            }),
            LocalEvent::Announced { path, .. } => self.set_there(tag, &path, true, host),
            LocalEvent::Unannounced { path, .. } => self.set_there(tag, &path, false, host),
            LocalEvent::Closed { .. } | LocalEvent::WatchClosed { .. } => self.with_heard(tag, host, |leg, host| {
                if let Some(hearing) = &mut leg.hearing {
                    hearing.closed(tag.role, host.now());
                }
            }),
            LocalEvent::Wanted { .. }
            | LocalEvent::DemandChanged { .. }
            | LocalEvent::Unwanted { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
    }

    /// A datagram on the socket of WebRTC.
    fn handle_carried(&mut self, datagram: &SocketDatagram<'_>, host: &mut Host<'_>) {
        let legs = &self.legs;
        let chosen = |leg| legs.get(&leg).and_then(Leg::remote);
        if let Some(leg) = self.entrance.leg_of(datagram.source, datagram.payload, chosen) {
            let now = host.now();
            self.with(LegName(leg), host, |leg, _| {
                leg.receive_carried(datagram.source, datagram.payload, now);
            });
        }
    }

    fn set_there(&mut self, tag: Tag, path: &BroadcastPath, is_there: bool, host: &mut Host<'_>) {
        self.with_heard(tag, host, |leg, host| {
            if let Some(hearing) = leg.hearing.as_mut().filter(|hearing| hearing.hears.broadcast == *path) {
                hearing.set_there(is_there, host);
                leg.listen(host);
            }
        });
    }
}

impl local::Application for Application {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        match event {
            LocalEvent::Wanted { peer, tag, id, .. } => {
                if let Some(tag) = Tag::of(tag)
                    && let Some(leg) = self.legs.get_mut(&tag.leg).filter(|leg| leg.peer == peer)
                {
                    leg.set_wanted(tag.role, Some(id), host);
                }
            }
            LocalEvent::Unwanted { tag, .. } => {
                if let Some(tag) = Tag::of(tag)
                    && let Some(leg) = self.legs.get_mut(&tag.leg)
                {
                    leg.set_wanted(tag.role, None, host);
                }
            }
            LocalEvent::Frame { tag, .. }
            | LocalEvent::Info { tag, .. }
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
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
    }

    fn handle_datagram(&mut self, datagram: SocketDatagram<'_>, host: &mut Host<'_>) {
        // What was told before the packet was sent counts for it.
        self.obey_all(host);
        if self.entrance.is(datagram.socket) {
            return self.handle_carried(&datagram, host);
        }
        let Some(owner) = self.sockets.get(&datagram.socket) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(&owner.leg) else {
            return;
        };
        if owner.is_control {
            leg.receive_control(datagram.source, false, datagram.payload, host);
        } else {
            leg.receive(datagram.source, datagram.local, datagram.payload, host, &self.outbox);
        }
        if std::mem::take(&mut leg.has_news) {
            tick(leg, &mut self.due, host, &self.outbox);
        }
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        self.obey_all(host);
        let now = host.now();
        while let Some((due, name)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, name));
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.due = None;
                tick(leg, &mut self.due, host, &self.outbox);
            }
        }
        self.ends_at = (!self.outbox.tell_ends()).then(|| now + ENDS_RETRY);
    }

    fn wants_turn(&self, now: Instant) -> bool {
        self.is_due(now) || self.outbox.has_ends()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        [due, self.ends_at].into_iter().flatten().min()
    }

    fn has_work(&self) -> bool {
        !self.inbox.is_empty()
    }
}

fn refused(error: LocalError) -> LegRefused {
    match error {
        LocalError::TooManyPeers => LegRefused::Full,
        _ => LegRefused::NotAnnounced,
    }
}

/// Does what is due of a leg, and notes when something is again.
fn tick(leg: &mut Leg, all: &mut BTreeSet<(Instant, u64)>, host: &mut Host<'_>, outbox: &Outbox) {
    // Whatever it says, it has had this turn.
    let due = leg.tick(host, outbox).map(|due| due.max(host.now() + TICK_MIN));
    let before = std::mem::replace(&mut leg.due, due);
    if before == due {
        return;
    }
    if let Some(before) = before {
        all.remove(&(before, leg.name.0));
    }
    all.extend(due.map(|due| (due, leg.name.0)));
}

/// A leg is not called again sooner.
const TICK_MIN: Duration = Duration::from_millis(1);
