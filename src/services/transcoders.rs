//! The transcoders of one shard: an application that derives tracks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqswitch_audio::Codec;
use moqswitch_proto::wire::{
    BroadcastPath, ErrorCode, GroupRange, GroupSequence, SubscribeId, TrackInfo, stream_error,
};
use moqswitch_relay::ratelimit::RateLimit;
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{
    Application, Delivery, Host, Installation, LocalEvent, LocalFrame, LocalSubscription, LocalTrack,
    TooManyApplications,
};
use moqswitch_relay::shard::{ShardBusy, ShardCommand, ShardPort};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::catalog::{CODECS, clock_of, codec_of};
use crate::limits::{FRAME_BYTES_MAX, FULL, LOST_MAX, RESULTS_PER_TURN_MAX};
use crate::ordering::Ordering;
use crate::pool::{Pool, Stream};
use crate::results::Results;
use crate::window::Window;
use crate::worker::{Frame, scaled};

/// Lets a shard transcode. The answer comes when it does, or the shard has no room for applications.
pub fn install(
    shard: &ShardPort,
    pool: &Pool,
) -> Result<oneshot::Receiver<Result<(), TooManyApplications>>, ShardBusy> {
    let (reply, answer) = oneshot::channel();
    let results = Arc::new(Results::new(Arc::clone(&shard.wake)));
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let (pool, clock) = (pool.clone(), (Instant::now(), wall.unwrap_or_default()));
    shard.send(ShardCommand::Install {
        application: Installation::new(move || Transcoders {
            pool,
            results,
            clock,
            maker: None,
            jobs: FxHashMap::default(),
            by_wanted: FxHashMap::default(),
            by_stream: FxHashMap::default(),
            due: BTreeSet::new(),
            unended: Vec::new(),
            begun: 0,
            notices: RateLimit::new(NOTICES_PERIOD, 1),
        }),
        reply,
    })?;
    Ok(answer)
}

struct Transcoders {
    pool: Pool,
    results: Arc<Results>,
    /// A moment, and what time it was.
    clock: (Instant, Duration),
    /// The peer that publishes. `None`: it is not there yet.
    maker: Option<PeerKey>,
    jobs: FxHashMap<u64, Job>,
    by_wanted: FxHashMap<SubscribeId, u64>,
    by_stream: FxHashMap<u64, u64>,
    /// When what a job waits for is given up: each job once at most.
    due: BTreeSet<(Instant, u64)>,
    /// Streams whose end their worker had no room for.
    unended: Vec<Stream>,
    begun: u64,
    notices: RateLimit,
}

/// One track that somebody hears.
struct Job {
    wanted: SubscribeId,
    /// It subscribes to the broadcast.
    peer: PeerKey,
    broadcast: BroadcastPath,
    /// It is announced.
    is_there: bool,
    came: Window,
    to: Codec,
    from: Option<Codec>,
    stream: Option<Stream>,
    ordering: Ordering<(u64, Bytes)>,
    /// As it stands among those of all.
    due: Option<Instant>,
    /// Units of the source's timestamps in a second, once they are told.
    timescale: Option<u64>,
    /// The number of the next frame.
    number: u64,
}

impl Application for Transcoders {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        match event {
            LocalEvent::Wanted { tag, id, broadcast, .. } => self.begin(tag, id, &broadcast, host),
            LocalEvent::Unwanted { id, .. } => {
                if let Some(name) = self.by_wanted.remove(&id) {
                    self.end(name, host);
                }
            }
            // Its subscriptions may stay open, and nothing more comes by them.
            LocalEvent::Unannounced { tag, path } if self.is_of(job_of(tag), &path) => {
                self.close(job_of(tag), Some(stream_error::NOT_FOUND), host);
            }
            LocalEvent::Announced { tag, path } if self.is_of(job_of(tag), &path) => {
                let is_anew = self.jobs.get_mut(&job_of(tag)).is_some_and(|job| {
                    // The first says what is there.
                    std::mem::replace(&mut job.is_there, true)
                });
                if is_anew {
                    self.close(job_of(tag), Some(stream_error::NOT_FOUND), host);
                }
            }
            LocalEvent::Frame {
                tag,
                group,
                timestamp,
                payload,
                ..
            } => match is_catalog(tag) {
                true => self.learn(job_of(tag), &payload, host),
                false => self.take(job_of(tag), group, timestamp, payload, host),
            },
            LocalEvent::Info { tag, info } if role_of(tag) == AUDIO_ROLE => {
                if let Some(job) = self.jobs.get_mut(&job_of(tag)) {
                    job.timescale = (info.timescale > 0).then_some(info.timescale);
                }
            }
            // Without its catalog the codec stays as it is; without its audio there is nothing.
            LocalEvent::Closed { tag, code } if role_of(tag) == AUDIO_ROLE => self.close(job_of(tag), code, host),
            LocalEvent::Closed { tag, code } => {
                let is_known = self.jobs.get(&job_of(tag)).is_some_and(|job| job.from.is_some());
                if !is_known {
                    self.close(job_of(tag), code.or(Some(stream_error::NOT_FOUND)), host);
                }
            }
            // Of another path or of the catalog, and what does not matter.
            LocalEvent::DemandChanged { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::Info { .. }
            | LocalEvent::Announced { .. }
            | LocalEvent::Unannounced { .. }
            | LocalEvent::WatchClosed { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        if self.maker.is_none() {
            self.maker = offer(host);
        }
        let pool = &self.pool;
        self.unended.retain(|stream| !pool.end(*stream));
        for _ in 0..RESULTS_PER_TURN_MAX {
            let Some(done) = self.results.pop() else { break };
            let Some(job) = self
                .by_stream
                .get(&done.stream)
                .and_then(|name| self.jobs.get_mut(name))
            else {
                continue;
            };
            let frame = LocalFrame {
                group: GroupSequence(done.number),
                timestamp: done.timestamp,
                payload: done.payload,
            };
            job.number = done.number + 1;
            if let Some(maker) = self.maker {
                host.send(maker, job.wanted, frame, Delivery::Stream);
            }
        }
        let now = host.now();
        while let Some((due, name)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, name));
            self.pass_on(name, host);
        }
    }

    fn wants_turn(&self, now: Instant) -> bool {
        self.is_due(now) || self.maker.is_none() || !self.unended.is_empty()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn has_work(&self) -> bool {
        !self.results.is_empty()
    }
}

impl Transcoders {
    fn is_of(&self, name: u64, path: &BroadcastPath) -> bool {
        self.jobs.get(&name).is_some_and(|job| job.broadcast == *path)
    }

    /// Somebody hears a track: it is listened to.
    fn begin(&mut self, tag: u64, wanted: SubscribeId, broadcast: &BroadcastPath, host: &mut Host<'_>) {
        let Some(maker) = self.maker else { return };
        let codec = usize::try_from(tag).ok().and_then(|index| CODECS.get(index));
        let (Some((to, _)), Ok(peer)) = (codec, host.open_peer()) else {
            return host.close_track(maker, wanted, Some(FULL));
        };
        let name = self.begun;
        self.begun += 1;
        if host.watch(peer, broadcast, name << ROLE_BITS | WATCH_ROLE).is_err() {
            host.close_peer(peer);
            return host.close_track(maker, wanted, Some(stream_error::INTERNAL));
        }
        for (track, role) in [(CATALOG, CATALOG_ROLE), (AUDIO, AUDIO_ROLE)] {
            let subscription = LocalSubscription {
                broadcast: broadcast.clone(),
                track: track.into(),
                priority: 200,
                ordered: true,
                max_latency: Duration::from_secs(1),
                range: GroupRange::default(),
                tag: name << ROLE_BITS | role,
            };
            if host.subscribe(peer, &subscription).is_err() {
                host.close_peer(peer);
                return host.close_track(maker, wanted, Some(stream_error::INTERNAL));
            }
        }
        // Above all that the track has had, if it was heard before: four numbers for each that can have been used.
        let wall = self.clock.1 + host.now().saturating_duration_since(self.clock.0);
        let number = u64::try_from(wall.as_millis() / 5).unwrap_or(0);
        let job = Job {
            wanted,
            peer,
            broadcast: broadcast.clone(),
            is_there: false,
            came: Window::default(),
            to: *to,
            from: None,
            stream: None,
            ordering: Ordering::default(),
            due: None,
            timescale: None,
            number,
        };
        self.jobs.insert(name, job);
        self.by_wanted.insert(wanted, name);
    }

    fn end(&mut self, name: u64, host: &mut Host<'_>) {
        let Some(job) = self.jobs.remove(&name) else { return };
        self.by_wanted.remove(&job.wanted);
        if let Some(due) = job.due {
            self.due.remove(&(due, name));
        }
        host.close_peer(job.peer);
        if let Some(stream) = job.stream {
            self.end_stream(stream);
        }
    }

    fn end_stream(&mut self, stream: Stream) {
        self.by_stream.remove(&stream.name);
        if !self.pool.end(stream) {
            self.unended.push(stream);
        }
    }

    /// The track is over, and whoever hears it is told why.
    fn close(&mut self, name: u64, code: Option<ErrorCode>, host: &mut Host<'_>) {
        let wanted = self.jobs.get(&name).map(|job| job.wanted);
        self.end(name, host);
        if let (Some(wanted), Some(maker)) = (wanted, self.maker) {
            host.close_track(maker, wanted, code);
        }
    }

    /// The catalog says which codec it is.
    fn learn(&mut self, name: u64, catalog: &[u8], host: &mut Host<'_>) {
        let Some(job) = self.jobs.get_mut(&name) else { return };
        let Some(from) = codec_of(catalog) else {
            tracing::debug!("a catalog without a codec of telephones");
            return;
        };
        if job.from.replace(from) == Some(from) {
            return;
        }
        let (to, before) = (job.to, job.stream.take());
        let number = job.number;
        if let Some(before) = before {
            self.end_stream(before);
        }
        if from == to {
            return self.pass_on(name, host);
        }
        // Some of the stream before may be on their way.
        let Some(stream) = self.pool.begin(from, to, number + SPARE_NUMBERS, &self.results) else {
            if let Some(suppressed) = self.notices.allow(host.now()) {
                tracing::warn!(suppressed, "no room for a further transcoder");
            }
            return self.close(name, Some(FULL), host);
        };
        self.by_stream.insert(stream.name, name);
        if let Some(job) = self.jobs.get_mut(&name) {
            job.stream = Some(stream);
        }
        self.pass_on(name, host);
    }

    /// A frame of the source.
    fn take(&mut self, name: u64, group: GroupSequence, timestamp: u64, payload: Bytes, host: &mut Host<'_>) {
        if payload.len() > FRAME_BYTES_MAX {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&name) {
            if !job.came.admits(host.now()) {
                return self.pool.shed();
            }
            job.ordering.push(group.0, (timestamp, payload), host.now());
            self.pass_on(name, host);
        }
    }

    /// What is in order goes to the worker, or out as it is.
    fn pass_on(&mut self, name: u64, host: &mut Host<'_>) {
        let now = host.now();
        let Some(job) = self.jobs.get_mut(&name) else { return };
        while let Some((lost, (timestamp, payload))) = job.ordering.pop(now) {
            let lost = if lost > LOST_MAX { 0 } else { lost };
            // Until the codec is known nothing can be said of it.
            let Some(from) = job.from else { continue };
            let scale = job.timescale.unwrap_or_else(|| clock_of(from));
            if let Some(stream) = job.stream {
                let frame = Frame {
                    payload,
                    lost,
                    time_us: scaled(timestamp, 1_000_000, scale),
                    came: now,
                };
                self.pool.push(stream, frame);
            } else if let Some(maker) = self.maker {
                job.number += lost;
                let frame = LocalFrame {
                    group: GroupSequence(job.number),
                    timestamp: scaled(timestamp, clock_of(job.to), scale),
                    payload,
                };
                job.number += 1;
                host.send(maker, job.wanted, frame, Delivery::Stream);
            }
        }
        let due = job.ordering.deadline();
        if let Some(before) = std::mem::replace(&mut job.due, due) {
            self.due.remove(&(before, name));
        }
        self.due.extend(due.map(|due| (due, name)));
    }
}

/// The peer that makes tracks, if the shard has room for it.
fn offer(host: &mut Host<'_>) -> Option<PeerKey> {
    let peer = host.open_peer().ok()?;
    for prefix in PREFIXES {
        let tracks = CODECS.iter().zip(0..).map(|((codec, name), tag)| LocalTrack {
            name: format!("{AUDIO}.{name}").as_str().into(),
            info: TrackInfo {
                epoch: 0,
                priority: 200,
                ordered: true,
                max_latency_ms: 2000,
                timescale: clock_of(*codec),
            },
            tag,
        });
        if let Err(error) = host.derive(peer, &BroadcastPath::new(prefix), tracks.collect()) {
            tracing::warn!(%error, "nothing is transcoded");
        }
    }
    Some(peer)
}

fn is_catalog(tag: u64) -> bool {
    role_of(tag) == CATALOG_ROLE
}

fn role_of(tag: u64) -> u64 {
    tag & ROLE_MASK
}

fn job_of(tag: u64) -> u64 {
    tag >> ROLE_BITS
}

/// Broadcasts that have telephone audio in one codec. Music and prompts have it in all.
const PREFIXES: [&str; 1] = ["call"];
/// Of a tag, what of a job it is.
const ROLE_BITS: u32 = 2;
const ROLE_MASK: u64 = (1 << ROLE_BITS) - 1;
const CATALOG_ROLE: u64 = 0;
const AUDIO_ROLE: u64 = 1;
const WATCH_ROLE: u64 = 2;
const AUDIO: &str = "audio";
const CATALOG: &str = "catalog.json";
/// Numbers that are left out when the codec of the source changes.
const SPARE_NUMBERS: u64 = 64;
/// One line of log in so long says that there is no room.
const NOTICES_PERIOD: Duration = Duration::from_secs(10);
