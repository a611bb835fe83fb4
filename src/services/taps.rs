//! Legs that are listened to for others: an application that hands frames of `audio` over as they come, to another thread.
//!
//! A leg's broadcast that is not there is waited for. Nothing is put in order and nothing is decoded here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use moqswitch_audio::Codec;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::ratelimit::RateLimit;
use moqswitch_relay::shard::local::{Application, Host, Installation, LocalEvent, TooManyApplications};
use moqswitch_relay::shard::{ShardBusy, ShardCommand, ShardPort};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::limits::{FRAMES_UNKNOWN_MAX, TAP_REQUESTS_MAX, TAPS_MAX};
use crate::source::{Means, ROLE_BITS, Source, SourceNews, Voice};
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
                notices: RateLimit::new(NOTICES_PERIOD, 1),
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
    /// When something is tried again.
    due: BTreeSet<(Instant, u64)>,
    begun: u64,
    notices: RateLimit,
}

/// A leg that is listened to.
struct Leg {
    stream: u64,
    source: Source,
    is_over: Arc<AtomicBool>,
    /// The source's turn when something was handed over last.
    turn: Option<u32>,
    /// Of a codec that is not known.
    unknown: Vec<(Instant, Voice)>,
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
        let name = tag >> ROLE_BITS;
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let turn = leg.source.turn();
        let news = leg.source.take(event, host);
        if leg.source.turn() != turn && !matches!(news, SourceNews::Changed) {
            // They are of what is over.
            leg.unknown.clear();
        }
        match news {
            SourceNews::Voice(voice) => leg.hear(host.now(), voice, &self.hand_over),
            SourceNews::Changed => {
                for (came, voice) in std::mem::take(&mut leg.unknown) {
                    leg.hear(came, voice, &self.hand_over);
                }
            }
            // What is not handed over is missed by whoever looks at the numbers.
            SourceNews::Flood | SourceNews::None => {}
        }
        self.due.extend(leg.source.deadline().map(|due| (due, name)));
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        let ended = self.ended.load(Ordering::Acquire);
        if ended != self.ended_seen {
            self.ended_seen = ended;
            self.legs.retain(|_, leg| {
                let is_over = leg.is_over.load(Ordering::Acquire);
                if is_over {
                    leg.source.end(host);
                }
                !is_over
            });
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
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.source.tick(now, host);
                self.due.extend(leg.source.deadline().map(|due| (due, name)));
            }
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
        if self.legs.len() >= TAPS_MAX {
            if let Some(suppressed) = self.notices.allow(host.now()) {
                tracing::warn!(broadcast = %request.broadcast, suppressed, "the shard has no room to listen to a leg");
            }
            return;
        }
        let name = self.begun;
        self.begun += 1;
        let source = Source::begin(name, request.broadcast, request.codec, MEANS, host);
        self.due.extend(source.deadline().map(|due| (due, name)));
        let leg = Leg {
            stream: request.stream,
            source,
            is_over: request.is_over,
            turn: None,
            unknown: Vec::new(),
        };
        self.legs.insert(name, leg);
    }
}

impl Leg {
    fn hear(&mut self, came: Instant, voice: Voice, hand_over: &impl Fn(Tapped)) {
        let Some(codec) = self.source.codec() else {
            if self.unknown.len() < FRAMES_UNKNOWN_MAX {
                self.unknown.push((came, voice));
            }
            return;
        };
        let turn = Some(self.source.turn());
        hand_over(Tapped {
            stream: self.stream,
            codec,
            group: voice.group,
            is_first: std::mem::replace(&mut self.turn, turn) != turn,
            time_us: scaled(voice.timestamp, 1_000_000, self.source.timescale(codec)),
            came,
            // In memory of its own: what it is a part of in the cache is not held up by who writes it.
            payload: voice.payload.to_vec(),
        });
    }
}

/// How a leg is listened to.
const MEANS: Means = Means {
    priority: 100,
    max_latency: Duration::from_secs(2),
};
/// One line of log in so long says that there is no room.
const NOTICES_PERIOD: Duration = Duration::from_secs(10);
