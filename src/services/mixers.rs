//! The mixers of one shard: an application that publishes, for who can take one stream only, all that it hears in one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_audio::Codec;
use moqswitch_proto::wire::{BroadcastPath, GroupSequence, SubscribeId, TrackInfo};
use moqswitch_relay::ratelimit::RateLimit;
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{
    Application, Delivery, Host, Installation, LocalError, LocalEvent, LocalFrame, LocalTrack, TooManyApplications,
};
use moqswitch_relay::shard::{ShardBusy, ShardCommand, ShardPort};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::catalog::{catalog_of, clock_of};
use crate::limits::{FULL, MIX_COMMANDS_MAX, MIXES_MAX, RESULTS_PER_TURN_MAX, ROOM_SOURCES_MAX};
use crate::pool::{Pool, RoomHandle};
use crate::results::Results;
use crate::room::{Change, Plan, PlannedHearer};
use crate::source::{AUDIO_ROLE, CATALOG_ROLE, Means, ROLE_BITS, ROLE_MASK, Source, SourceNews};

/// What somebody hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// In this codec.
    pub codec: Codec,
    /// All of these.
    pub hears: Vec<BroadcastPath>,
    /// What it says itself, and does not hear.
    pub own: Option<BroadcastPath>,
}

/// There is no room now to tell a shard what to mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has too much to do to be told what to mix")]
pub struct MixersBusy;

/// The mixers of a shard, as others tell them what to mix. Clones are of the same ones.
#[derive(Clone)]
pub struct MixPort {
    inbox: Arc<ArrayQueue<Command>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

enum Command {
    Mix(BroadcastPath, Mix),
    End(BroadcastPath),
}

/// Lets a shard mix. The answer comes when it does, or the shard has no room for applications.
pub fn install_mixers(
    shard: &ShardPort,
    pool: &Pool,
) -> Result<(MixPort, oneshot::Receiver<Result<(), TooManyApplications>>), ShardBusy> {
    let (reply, answer) = oneshot::channel();
    let port = MixPort {
        inbox: Arc::new(ArrayQueue::new(MIX_COMMANDS_MAX)),
        wake: Arc::clone(&shard.wake),
    };
    let results = Arc::new(Results::new(Arc::clone(&shard.wake)));
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let (pool, inbox) = (pool.clone(), Arc::clone(&port.inbox));
    let clock = (Instant::now(), wall.unwrap_or_default());
    shard.send(ShardCommand::Install {
        application: Installation::new(move || Mixers {
            pool,
            results,
            inbox,
            clock,
            rooms: FxHashMap::default(),
            hearers: FxHashMap::default(),
            owners: FxHashMap::default(),
            due: BTreeSet::new(),
            notices: RateLimit::new(NOTICES_PERIOD, 1),
        }),
        reply,
    })?;
    Ok((port, answer))
}

impl MixPort {
    /// From here on this broadcast is what somebody hears, on its track `audio`. Those whose paths differ in the last
    /// segment alone are of one call: each of its sources is decoded once.
    pub fn mix(&self, path: BroadcastPath, mix: Mix) -> Result<(), MixersBusy> {
        self.send(Command::Mix(path, mix))
    }

    /// There is no such broadcast any more.
    pub fn end(&self, path: BroadcastPath) -> Result<(), MixersBusy> {
        self.send(Command::End(path))
    }

    fn send(&self, command: Command) -> Result<(), MixersBusy> {
        self.inbox.push(command).map_err(|_| MixersBusy)?;
        (self.wake)();
        Ok(())
    }
}

struct Mixers {
    pool: Pool,
    results: Arc<Results>,
    inbox: Arc<ArrayQueue<Command>>,
    /// A moment, and what time it was.
    clock: (Instant, Duration),
    /// By all but the last segment of their hearers' paths.
    rooms: FxHashMap<BroadcastPath, Call>,
    /// The name of each.
    hearers: FxHashMap<BroadcastPath, u64>,
    /// Whose each name is, of hearers and sources.
    owners: FxHashMap<u64, BroadcastPath>,
    /// When sources are tried again.
    due: BTreeSet<(Instant, u64)>,
    notices: RateLimit,
}

/// Of one call.
#[derive(Default)]
struct Call {
    /// While somebody listens.
    room: Option<RoomHandle>,
    hearers: BTreeMap<u64, Hearer>,
    sources: BTreeMap<u64, Source>,
}

struct Hearer {
    /// It publishes the mix.
    peer: PeerKey,
    mix: Mix,
    changes: (u64, Change),
    /// While somebody listens.
    wanted: Option<SubscribeId>,
    catalogs: u64,
}

impl Application for Mixers {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        let (LocalEvent::Wanted { tag, .. }
        | LocalEvent::Unwanted { tag, .. }
        | LocalEvent::Frame { tag, .. }
        | LocalEvent::Info { tag, .. }
        | LocalEvent::Announced { tag, .. }
        | LocalEvent::Unannounced { tag, .. }
        | LocalEvent::WatchClosed { tag }
        | LocalEvent::Closed { tag, .. }) = event
        else {
            return;
        };
        let name = tag >> ROLE_BITS;
        let Some(path) = self.owners.get(&name).cloned() else {
            return;
        };
        let Some(call) = self.rooms.get_mut(&path) else { return };
        let is_changed = match (call.hearers.get_mut(&name), call.sources.get_mut(&name)) {
            (Some(hearer), _) => hearer.take(&event, host),
            (None, Some(source)) => {
                let news = source.take(event, host);
                self.due.extend(source.deadline().map(|due| (due, name)));
                match (news, &call.room, voice_of(name, source)) {
                    (SourceNews::Voice(said), Some(room), Some((voice, _))) => {
                        room.push(voice, said.group, said.payload);
                    }
                    (SourceNews::Voice(_) | SourceNews::None, ..) => {}
                    (SourceNews::Flood, ..) => self.pool.shed(),
                    (SourceNews::Changed, ..) => return self.refresh(&path, host),
                }
                false
            }
            (None, None) => false,
        };
        if is_changed {
            self.refresh(&path, host);
        }
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        while let Some(command) = self.inbox.pop() {
            match command {
                Command::Mix(path, mix) => self.mix(path, mix, host),
                Command::End(path) => self.end(&path, host),
            }
        }
        for _ in 0..RESULTS_PER_TURN_MAX {
            let Some(done) = self.results.pop() else { break };
            let hearer = self.owners.get(&done.stream).and_then(|path| self.rooms.get(path));
            let hearer = hearer.and_then(|call| call.hearers.get(&done.stream));
            let Some((hearer, id)) = hearer.and_then(|hearer| Some((hearer, hearer.wanted?))) else {
                continue;
            };
            let frame = LocalFrame {
                group: GroupSequence(done.number),
                timestamp: done.timestamp,
                payload: done.payload,
            };
            host.send(hearer.peer, id, frame, Delivery::Stream);
        }
        let now = host.now();
        while let Some((due, name)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, name));
            let call = self.owners.get(&name).and_then(|path| self.rooms.get_mut(path));
            if let Some(source) = call.and_then(|call| call.sources.get_mut(&name)) {
                source.tick(now, host);
                self.due.extend(source.deadline().map(|due| (due, name)));
            }
        }
    }

    fn wants_turn(&self, now: Instant) -> bool {
        self.is_due(now)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn has_work(&self) -> bool {
        !self.results.is_empty() || !self.inbox.is_empty()
    }
}

impl Mixers {
    fn mix(&mut self, path: BroadcastPath, mix: Mix, host: &mut Host<'_>) {
        if let Some(name) = self.hearers.get(&path).copied() {
            let Some(room) = self.owners.get(&name).cloned() else {
                return;
            };
            let hearer = self.rooms.get_mut(&room).and_then(|call| call.hearers.get_mut(&name));
            // Whoever hears another codec subscribes anew.
            if let Some(hearer) = hearer.filter(|hearer| hearer.mix.codec == mix.codec) {
                hearer.change(mix);
                return self.refresh(&room, host);
            }
            self.end(&path, host);
        }
        if self.hearers.len() >= MIXES_MAX {
            return self.refuse("there are as many as there may be", host);
        }
        let name = self.pool.name();
        match Hearer::publish(name, &path, mix, host) {
            Ok(hearer) => {
                let room = parent(&path);
                self.hearers.insert(path, name);
                self.owners.insert(name, room.clone());
                self.rooms.entry(room).or_default().hearers.insert(name, hearer);
            }
            Err(error) => self.refuse(&error.to_string(), host),
        }
    }

    fn end(&mut self, path: &BroadcastPath, host: &mut Host<'_>) {
        let Some(name) = self.hearers.remove(path) else { return };
        let Some(room) = self.owners.remove(&name) else { return };
        let Some(call) = self.rooms.get_mut(&room) else { return };
        if let Some(hearer) = call.hearers.remove(&name) {
            host.close_peer(hearer.peer);
        }
        self.refresh(&room, host);
        if self.rooms.get(&room).is_some_and(|call| call.hearers.is_empty()) {
            self.rooms.remove(&room);
        }
    }

    /// Listens to those who are heard, and says to the worker who hears what.
    fn refresh(&mut self, path: &BroadcastPath, host: &mut Host<'_>) {
        let Some(call) = self.rooms.get_mut(path) else { return };
        let mut heard: Vec<&BroadcastPath> = Vec::new();
        for source in call.hearers.values().filter(|hearer| hearer.wanted.is_some()) {
            heard.extend(&source.mix.hears);
        }
        heard.sort_unstable();
        heard.dedup();
        heard.truncate(ROOM_SOURCES_MAX);
        let owners = &mut self.owners;
        call.sources.retain(|name, source| {
            let is_heard = heard.binary_search(&&source.path).is_ok();
            if !is_heard {
                source.end(host);
                owners.remove(name);
            }
            is_heard
        });
        let new: Vec<BroadcastPath> = heard
            .into_iter()
            .filter(|path| !call.sources.values().any(|source| source.path == **path))
            .cloned()
            .collect();
        for source in new {
            let name = self.pool.name();
            owners.insert(name, path.clone());
            let source = Source::begin(name, source, None, MEANS, host);
            self.due.extend(source.deadline().map(|due| (due, name)));
            call.sources.insert(name, source);
        }
        if call.hearers.values().all(|hearer| hearer.wanted.is_none()) {
            call.room = None;
            return;
        }
        if call.room.is_none() {
            call.room = self.pool.begin_room(&self.results);
        }
        let wall = self.clock.1 + host.now().saturating_duration_since(self.clock.0);
        match &call.room {
            Some(room) => room.set(call.plan(wall)),
            None => {
                call.close(host);
                self.refuse("no worker has room", host);
                self.refresh(path, host);
            }
        }
    }

    fn refuse(&mut self, reason: &str, host: &mut Host<'_>) {
        if let Some(suppressed) = self.notices.allow(host.now()) {
            tracing::warn!(reason, suppressed, "somebody does not hear a call");
        }
    }
}

impl Call {
    fn plan(&self, wall: Duration) -> Plan {
        let voices = || {
            let all = self.sources.iter();
            all.filter_map(|(name, source)| Some((source, voice_of(*name, source)?)))
        };
        let name_of = |path: &BroadcastPath| {
            let found = voices().find(|(source, _)| source.path == *path);
            found.map(|(_, (name, _))| name)
        };
        // Above all that the track has had, if it was heard before: four numbers for each that can have been used.
        let number = u64::try_from(wall.as_millis() / 5).unwrap_or(0);
        let hearers = self.hearers.iter().filter(|(_, hearer)| hearer.wanted.is_some());
        Plan {
            sources: voices().map(|(_, voice)| voice).collect(),
            hearers: hearers
                .map(|(name, hearer)| PlannedHearer {
                    name: *name,
                    codec: hearer.mix.codec,
                    hears: hearer.mix.hears.iter().filter_map(name_of).collect(),
                    own: hearer.mix.own.as_ref().and_then(name_of),
                    number,
                    changes: hearer.changes,
                })
                .collect(),
        }
    }

    /// Nobody hears it. Whoever wants to is told so, and tries again.
    fn close(&mut self, host: &mut Host<'_>) {
        for hearer in self.hearers.values_mut() {
            if let Some(id) = hearer.wanted.take() {
                host.close_track(hearer.peer, id, Some(FULL));
            }
        }
    }
}

impl Hearer {
    fn publish(name: u64, path: &BroadcastPath, mix: Mix, host: &mut Host<'_>) -> Result<Self, LocalError> {
        let peer = host.open_peer()?;
        let track = |track: &str, tag: u64, timescale: u64| LocalTrack {
            name: track.into(),
            info: TrackInfo {
                epoch: 0,
                priority: 200,
                ordered: true,
                max_latency_ms: 2000,
                timescale,
            },
            tag: name << ROLE_BITS | tag,
        };
        let tracks = vec![
            track("audio", AUDIO_ROLE, clock_of(mix.codec)),
            track("catalog.json", CATALOG_ROLE, 1000),
        ];
        if let Err(error) = host.publish(peer, path, tracks) {
            host.close_peer(peer);
            return Err(error);
        }
        Ok(Self {
            peer,
            mix: Mix {
                hears: sorted(mix.hears),
                ..mix
            },
            changes: (0, Change::default()),
            wanted: None,
            catalogs: 0,
        })
    }

    /// It hears others than before.
    fn change(&mut self, mix: Mix) {
        let before = std::mem::replace(&mut self.mix.hears, sorted(mix.hears));
        let hears = &self.mix.hears;
        let change = if hears.iter().any(|path| before.binary_search(path).is_err()) {
            Some(Change::Joined)
        } else {
            (hears.len() < before.len()).then_some(Change::Left)
        };
        if let Some(change) = change {
            self.changes = (self.changes.0 + 1, change);
        }
        self.mix.own = mix.own;
    }

    /// Something of what it publishes. Whether somebody listens who did not, or does not any more.
    fn take(&mut self, event: &LocalEvent, host: &mut Host<'_>) -> bool {
        match *event {
            LocalEvent::Wanted { tag, id, .. } if tag & ROLE_MASK == CATALOG_ROLE => {
                self.catalogs += 1;
                let frame = LocalFrame {
                    group: GroupSequence(self.catalogs),
                    timestamp: 0,
                    payload: Bytes::from(catalog_of(self.mix.codec)),
                };
                host.send(self.peer, id, frame, Delivery::Stream);
                false
            }
            LocalEvent::Wanted { id, .. } => {
                self.wanted = Some(id);
                true
            }
            LocalEvent::Unwanted { id, .. } => {
                let is_over = self.wanted == Some(id);
                if is_over {
                    self.wanted = None;
                }
                is_over
            }
            _ => false,
        }
    }
}

/// What a source says now, by a name that nothing else of its call has, and in what codec.
fn voice_of(name: u64, source: &Source) -> Option<(u64, Codec)> {
    Some((name << u32::BITS | u64::from(source.turn()), source.codec()?))
}

fn sorted(mut paths: Vec<BroadcastPath>) -> Vec<BroadcastPath> {
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// All but its last segment.
fn parent(path: &BroadcastPath) -> BroadcastPath {
    let text = path.as_str();
    BroadcastPath::new(text.rsplit_once('/').map_or("", |(parent, _)| parent))
}

/// How those who are mixed are listened to.
const MEANS: Means = Means {
    priority: 200,
    max_latency: Duration::from_secs(1),
};
/// One line of log in so long says that there is no room.
const NOTICES_PERIOD: Duration = Duration::from_secs(10);
