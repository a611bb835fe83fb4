//! Legs that are listened to for others: an application that hands frames of `audio` over as they come, to another thread.
//!
//! A leg's broadcast that is not there is waited for. Nothing is put in order and nothing is decoded here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_audio::{Codec, Rate};
use moqswitch_proto::wire::{BroadcastPath, GroupRange, StreamId, SubscribeId};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{
    Application, Host, Installation, LocalEvent, LocalSubscription, TooManyApplications,
};
use moqswitch_relay::shard::{ShardBusy, ShardCommand, ShardPort};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::catalog::codec_of;
use crate::limits::{FRAMES_UNKNOWN_MAX, TAP_REQUESTS_MAX, TAP_RETRY_MAX, TAP_RETRY_MIN, TAPS_MAX};
use crate::worker::scaled;

/// A frame of a leg's audio.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// As [`Taps::listen`] was told.
    pub stream: u64,
    /// What it is coded in: what the leg's catalog says, or what whoever listens was told.
    pub codec: Codec,
    /// The number of its group.
    pub group: u64,
    /// It is the first since the leg is heard.
    pub is_first: bool,
    /// Its timestamp, in microseconds.
    pub time_us: u64,
    /// When it came.
    pub came: Instant,
    /// Its bytes, in memory of their own.
    pub payload: Vec<u8>,
}

/// The ears of one shard. Clones are the same.
#[derive(Clone)]
pub struct Taps {
    requests: Arc<ArrayQueue<Request>>,
    ended: Arc<AtomicU64>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// A leg is listened to as long as there is this.
pub struct Tap {
    is_over: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// The shard has as many requests as may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{TAP_REQUESTS_MAX} requests to listen wait for the shard")]
pub struct TapsBusy;

struct Request {
    stream: u64,
    broadcast: BroadcastPath,
    codec: Option<Codec>,
    is_over: Arc<AtomicBool>,
}

impl Taps {
    /// Lets a shard listen. `hand_over` is called on its thread, and may not wait. The answer comes when the shard does, or
    /// has no room for applications.
    ///
    /// # Errors
    /// The shard takes no command.
    pub fn install(
        shard: &ShardPort,
        hand_over: impl Fn(Tapped) + Send + 'static,
    ) -> Result<(Self, oneshot::Receiver<Result<(), TooManyApplications>>), ShardBusy> {
        let taps = Self {
            requests: Arc::new(ArrayQueue::new(TAP_REQUESTS_MAX)),
            ended: Arc::default(),
            wake: Arc::clone(&shard.wake),
        };
        let (requests, ended) = (Arc::clone(&taps.requests), Arc::clone(&taps.ended));
        let (reply, answer) = oneshot::channel();
        shard.send(ShardCommand::Install {
            application: Installation::new(move || Listeners {
                requests,
                ended,
                ended_seen: 0,
                hand_over,
                legs: FxHashMap::default(),
                due: BTreeSet::new(),
                begun: 0,
            }),
            reply,
        })?;
        Ok((taps, answer))
    }

    /// From now on frames of the broadcast's `audio` are handed over as of this stream. `codec`: what it is said to be in,
    /// until its catalog says so.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn listen(&self, stream: u64, broadcast: BroadcastPath, codec: Option<Codec>) -> Result<Tap, TapsBusy> {
        let tap = Tap {
            is_over: Arc::default(),
            ended: Arc::clone(&self.ended),
            wake: Arc::clone(&self.wake),
        };
        let request = Request {
            stream,
            broadcast,
            codec,
            is_over: Arc::clone(&tap.is_over),
        };
        self.requests.push(request).map_err(|_| TapsBusy)?;
        (self.wake)();
        Ok(tap)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.ended.fetch_add(1, Ordering::AcqRel);
        (self.wake)();
    }
}

struct Listeners<H> {
    requests: Arc<ArrayQueue<Request>>,
    /// How many have ended so far; and how many of them were seen.
    ended: Arc<AtomicU64>,
    ended_seen: u64,
    hand_over: H,
    legs: FxHashMap<u64, Leg>,
    /// When something is tried again: each leg once at most.
    due: BTreeSet<(Instant, u64)>,
    begun: u64,
}

/// A leg that is listened to.
struct Leg {
    stream: u64,
    broadcast: BroadcastPath,
    peer: PeerKey,
    is_over: Arc<AtomicBool>,
    codec: Option<Codec>,
    /// Units of its timestamps in a second, once they are told.
    timescale: Option<u64>,
    watch: Option<StreamId>,
    is_there: bool,
    audio: Option<SubscribeId>,
    catalog: Option<SubscribeId>,
    /// Nothing has come since it was subscribed to.
    is_first: bool,
    /// Of a codec that is not known.
    unknown: Vec<Heard>,
    failures: u32,
    retry_at: Option<Instant>,
    /// As it stands among those of all.
    due: Option<Instant>,
}

struct Heard {
    group: u64,
    timestamp: u64,
    came: Instant,
    payload: Bytes,
}

/// What a tag is of, below the leg's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Watch,
    Audio,
    Catalog,
}

impl<H: Fn(Tapped)> Application for Listeners<H> {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        let (LocalEvent::Frame { tag, .. }
        | LocalEvent::Info { tag, .. }
        | LocalEvent::Announced { tag, .. }
        | LocalEvent::Unannounced { tag, .. }
        | LocalEvent::Closed { tag, .. }
        | LocalEvent::WatchClosed { tag }) = event
        else {
            return;
        };
        let (name, role) = (tag >> 2, role_of(tag));
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let now = host.now();
        match (event, role) {
            (
                LocalEvent::Frame {
                    group,
                    timestamp,
                    payload,
                    ..
                },
                Role::Audio,
            ) => {
                leg.failures = 0;
                let heard = Heard {
                    group: group.0,
                    timestamp,
                    came: now,
                    payload,
                };
                return leg.hear(heard, &self.hand_over);
            }
            (LocalEvent::Frame { payload, .. }, Role::Catalog) => return leg.learn(&payload, &self.hand_over),
            (LocalEvent::Info { info, .. }, Role::Audio) => {
                leg.timescale = (info.timescale > 0).then_some(info.timescale);
                return;
            }
            (LocalEvent::Announced { path, .. }, _) if path == leg.broadcast => {
                // In a later turn: what this one has yet is of what was there before.
                let again_at = leg.release(host).then(|| now + AGAIN);
                leg.is_there = true;
                (leg.failures, leg.retry_at) = (0, again_at);
            }
            (LocalEvent::Unannounced { path, .. }, _) if path == leg.broadcast => {
                leg.release(host);
                leg.is_there = false;
            }
            (LocalEvent::Closed { .. }, Role::Audio) => {
                leg.audio = None;
                leg.fail(now);
            }
            // It is asked for again with the audio.
            (LocalEvent::Closed { .. }, Role::Catalog) => {
                leg.catalog = None;
                return;
            }
            (LocalEvent::WatchClosed { .. }, _) => {
                leg.watch = None;
                leg.fail(now);
            }
            _ => return,
        }
        self.tend(name, host);
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        let ended = self.ended.load(Ordering::Acquire);
        if ended != self.ended_seen {
            self.ended_seen = ended;
            self.end_some(host);
        }
        for _ in 0..TAP_REQUESTS_MAX {
            let Some(request) = self.requests.pop() else { break };
            if !request.is_over.load(Ordering::Acquire) {
                self.begin(request, host);
            }
        }
        let now = host.now();
        while let Some((due, name)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, name));
            self.tend(name, host);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn has_work(&self) -> bool {
        !self.requests.is_empty() || self.ended.load(Ordering::Acquire) != self.ended_seen
    }
}

impl<H> Listeners<H> {
    fn begin(&mut self, request: Request, host: &mut Host<'_>) {
        let peer = (self.legs.len() < TAPS_MAX).then(|| host.open_peer().ok()).flatten();
        let Some(peer) = peer else {
            tracing::warn!(broadcast = %request.broadcast, "the shard has no room to listen to a leg");
            return;
        };
        let name = self.begun;
        self.begun += 1;
        let leg = Leg {
            stream: request.stream,
            broadcast: request.broadcast,
            peer,
            is_over: request.is_over,
            codec: request.codec,
            timescale: None,
            watch: None,
            is_there: false,
            audio: None,
            catalog: None,
            is_first: true,
            unknown: Vec::new(),
            failures: 0,
            retry_at: None,
            due: None,
        };
        self.legs.insert(name, leg);
        self.tend(name, host);
    }

    fn end_some(&mut self, host: &mut Host<'_>) {
        let due = &mut self.due;
        self.legs.retain(|name, leg| {
            let is_over = leg.is_over.load(Ordering::Acquire);
            if is_over {
                host.close_peer(leg.peer);
                if let Some(at) = leg.due {
                    due.remove(&(at, *name));
                }
            }
            !is_over
        });
    }

    /// Asks for what the leg does not have, if its time has come, and notes when it is tried again.
    fn tend(&mut self, name: u64, host: &mut Host<'_>) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if let Some(before) = leg.due.take() {
            self.due.remove(&(before, name));
        }
        leg.tend(name, host);
        leg.due = leg.retry_at;
        self.due.extend(leg.due.map(|at| (at, name)));
    }
}

/// A later turn.
const AGAIN: Duration = Duration::from_millis(1);

impl Leg {
    /// What was there is over, though its subscriptions may stay open. It may speak another codec when it comes again. Whether
    /// there were any.
    fn release(&mut self, host: &mut Host<'_>) -> bool {
        let held: Vec<SubscribeId> = [self.audio.take(), self.catalog.take()].into_iter().flatten().collect();
        for id in &held {
            host.unsubscribe(self.peer, *id);
            (self.codec, self.timescale) = (None, None);
            self.unknown.clear();
        }
        !held.is_empty()
    }

    fn tend(&mut self, name: u64, host: &mut Host<'_>) {
        if self.retry_at.is_some_and(|at| at > host.now()) {
            return;
        }
        self.retry_at = None;
        if self.watch.is_none() {
            self.watch = host.watch(self.peer, &self.broadcast, tag(name, Role::Watch)).ok();
        }
        if self.is_there && self.audio.is_none() {
            self.is_first = true;
            self.audio = self.subscribe(AUDIO, tag(name, Role::Audio), host);
            if self.audio.is_some() && self.catalog.is_none() {
                self.catalog = self.subscribe(CATALOG, tag(name, Role::Catalog), host);
            }
        }
        if self.watch.is_none() || (self.is_there && self.audio.is_none()) {
            self.fail(host.now());
        }
    }

    fn subscribe(&self, track: &str, tag: u64, host: &mut Host<'_>) -> Option<SubscribeId> {
        let wanted = LocalSubscription {
            broadcast: self.broadcast.clone(),
            track: track.into(),
            priority: 100,
            ordered: true,
            max_latency: LATENCY_MAX,
            range: GroupRange::default(),
            tag,
        };
        host.subscribe(self.peer, &wanted).ok()
    }

    /// It is tried again later each time.
    fn fail(&mut self, now: Instant) {
        let wait = TAP_RETRY_MIN.saturating_mul(1 << self.failures.min(16));
        self.retry_at = Some(now + wait.min(TAP_RETRY_MAX));
        self.failures = self.failures.saturating_add(1);
    }

    fn hear(&mut self, heard: Heard, hand_over: &impl Fn(Tapped)) {
        let Some(codec) = self.codec else {
            if self.unknown.len() < FRAMES_UNKNOWN_MAX {
                self.unknown.push(heard);
            }
            return;
        };
        let scale = self.timescale.unwrap_or_else(|| u64::from(codec.clock(Rate::Hz48000)));
        hand_over(Tapped {
            stream: self.stream,
            codec,
            group: heard.group,
            is_first: std::mem::take(&mut self.is_first),
            time_us: scaled(heard.timestamp, 1_000_000, scale),
            came: heard.came,
            payload: heard.payload.to_vec(),
        });
    }

    /// The catalog says which codec it is.
    fn learn(&mut self, catalog: &[u8], hand_over: &impl Fn(Tapped)) {
        let Some(codec) = codec_of(catalog) else { return };
        self.codec = Some(codec);
        for heard in std::mem::take(&mut self.unknown) {
            self.hear(heard, hand_over);
        }
    }
}

fn tag(name: u64, role: Role) -> u64 {
    name << 2 | role as u64
}

fn role_of(tag: u64) -> Role {
    match tag & 3 {
        0 => Role::Watch,
        1 => Role::Audio,
        _ => Role::Catalog,
    }
}

/// What is older is of no use.
const LATENCY_MAX: Duration = Duration::from_secs(2);
const AUDIO: &str = "audio";
const CATALOG: &str = "catalog.json";
