//! `moqswitch say`: a file as a broadcast, in real time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use moqswitch_audio::Codec;
use moqswitch_player::{CODECS, Sound, Track};
use moqswitch_proto::session::{AnnouncementEvent, Event, RequestEvent, SessionEvent};
use moqswitch_proto::wire::{
    Advertisement, BroadcastPath, GroupSequence, StreamId, Subscribe, SubscribeId, SubscribeOk, TrackInfo, stream_error,
};

use crate::config::SayArguments;
use crate::limits::{HANDSET_FAREWELL, HANDSET_LISTENERS_MAX};

use super::ending::{End, tell};
use super::interrupt::Interrupt;
use super::line::{Frame, Line};
use super::meter::Meter;
use super::target::Target;
use super::tracks::{self, AUDIO, CATALOG};

/// Until all of it was said.
pub(super) fn run(asked: &SayArguments) -> anyhow::Result<End> {
    let path = BroadcastPath::new(&asked.to);
    anyhow::ensure!(
        !path.is_root() && path.is_within_limits(),
        "`{}` is no broadcast",
        asked.to
    );
    let name = asked.file.display();
    let sound = read(asked).with_context(|| format!("{name}"))?;
    let target = Target::find(&asked.at)?;
    let line = Line::dial(&target)?;
    let interrupt = Interrupt::watch(line.waker())?;
    if !asked.quiet {
        let seconds = sound.frames() as f64 / f64::from(FRAMES_PER_SECOND);
        tell(&format!("{name} is {path} at {}: {seconds:.1} s", target.url.name));
    }
    let mut mouth = Mouth {
        asked,
        path,
        codec: tracks::codec_of(asked.codec),
        line,
        sound,
        listeners: Vec::new(),
        encoders: BTreeMap::new(),
        announced: Vec::new(),
        number: 0,
        position: 0,
        due: None,
        dropped: 0,
        meter: Meter::default(),
        told: Instant::now(),
    };
    let end = mouth.run(&interrupt)?;
    mouth.take_leave()?;
    Ok(end)
}

fn read(asked: &SayArguments) -> anyhow::Result<Sound> {
    let data = std::fs::metadata(&asked.file)?;
    anyhow::ensure!(
        data.len() <= moqswitch_containers::limits::FILE_BYTES_MAX as u64,
        "it has more than {} bytes",
        moqswitch_containers::limits::FILE_BYTES_MAX
    );
    Ok(Sound::read(&std::fs::read(&asked.file)?)?)
}

struct Mouth<'a> {
    asked: &'a SayArguments,
    path: BroadcastPath,
    /// Of the track `audio`.
    codec: Codec,
    line: Line,
    sound: Sound,
    listeners: Vec<Listener>,
    /// Of codecs that somebody hears.
    encoders: BTreeMap<Codec, Track>,
    /// Where the broadcast was announced, and as what.
    announced: Vec<(StreamId, BroadcastPath)>,
    /// Of the next group on all tracks, and of the next frame of the file.
    number: u64,
    position: usize,
    /// When that is. `None`: it has not begun.
    due: Option<Instant>,
    /// Frames that the relay did not take.
    dropped: u64,
    meter: Meter,
    told: Instant,
}

/// A subscription.
struct Listener {
    request: StreamId,
    id: SubscribeId,
    /// `None`: it is of the catalog.
    codec: Option<Codec>,
}

impl Mouth<'_> {
    fn run(&mut self, interrupt: &Interrupt) -> anyhow::Result<End> {
        loop {
            let next = self.told + SECOND;
            self.line.turn(self.due.map_or(next, |due| due.min(next)))?;
            while let Some(event) = self.line.poll() {
                self.handle(event)?;
            }
            if let Some(reason) = self.line.end() {
                return Ok(End::Gone(reason.to_owned()));
            }
            let now = Instant::now();
            let is_heard = self.listeners.iter().any(|listener| listener.codec.is_some());
            let is_ready = !self.announced.is_empty() && (is_heard || !self.asked.wait);
            if self.due.is_none() && is_ready {
                self.number = wall_number();
                self.due = Some(now);
            }
            self.play(now)?;
            self.tell_second(now);
            if self.position >= self.sound.frames() || interrupt.is_asked() {
                return Ok(End::Whole);
            }
        }
    }

    /// Sends what is due.
    fn play(&mut self, now: Instant) -> anyhow::Result<()> {
        let Some(mut due) = self.due else { return Ok(()) };
        if now.saturating_duration_since(due) > LATE_MAX {
            // It was stopped for a while. It goes on from there, and nobody gets all of it at once.
            due = now;
        }
        while due <= now && self.position < self.sound.frames() {
            self.meter.sound(self.sound.samples(self.position));
            self.send()?;
            self.position += 1;
            self.number += 1;
            due += FRAME;
            if self.asked.is_loop && self.position >= self.sound.frames() {
                self.position = 0;
            }
        }
        self.due = Some(due);
        Ok(())
    }

    fn send(&mut self) -> anyhow::Result<()> {
        for (codec, _) in CODECS {
            if !self.listeners.iter().any(|listener| listener.codec == Some(codec)) {
                self.encoders.remove(&codec);
                continue;
            }
            let encoder = match self.encoders.remove(&codec) {
                Some(encoder) => encoder,
                None => Track::new(codec, self.sound.rate())?,
            };
            let encoder = self.encoders.entry(codec).or_insert(encoder);
            let frame = Frame {
                number: self.number,
                timestamp: self.number * tracks::clock_of(codec) / u64::from(FRAMES_PER_SECOND),
                payload: encoder.frame(&self.sound, self.position)?,
            };
            for listener in self.listeners.iter().filter(|listener| listener.codec == Some(codec)) {
                self.dropped += u64::from(!self.line.send(listener.id, &frame));
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Announcement(AnnouncementEvent::AnnounceRequest { request, message }) => {
                let suffix = self.path.strip_prefix(&message.prefix);
                let session = self.line.session();
                session.announce_ok(request, u64::from(suffix.is_some()));
                if let Some(suffix) = suffix {
                    session.announce(request, &suffix, &Advertisement::default());
                    self.announced.push((request, suffix));
                }
            }
            Event::Announcement(AnnouncementEvent::AnnounceRequestEnded { request }) => {
                self.announced.retain(|(other, _)| *other != request);
            }
            Event::Request(RequestEvent::Track { request, message }) => {
                let info = (message.broadcast == self.path)
                    .then(|| self.info(&message.track))
                    .flatten();
                let session = self.line.session();
                match info {
                    Some(info) => session.track_info(request, &info),
                    None => session.refuse(request, stream_error::NOT_FOUND),
                }
            }
            Event::Request(RequestEvent::Subscribe { request, message }) => self.begin(request, &message),
            Event::Request(RequestEvent::SubscribeEnded { request }) => {
                self.listeners.retain(|listener| listener.request != request);
            }
            Event::Request(RequestEvent::Fetch { request, .. }) => {
                self.line.session().refuse(request, stream_error::NOT_FOUND);
            }
            Event::Session(SessionEvent::Violation { reason, .. }) => {
                anyhow::bail!("the relay broke the protocol: {reason}")
            }
            Event::Session(SessionEvent::Goaway { .. }) => tell(&"the relay is about to go away"),
            Event::Session(SessionEvent::Setup(_) | SessionEvent::SessionUpdate { .. })
            | Event::Request(
                RequestEvent::SubscribeUpdate { .. }
                | RequestEvent::FetchEnded { .. }
                | RequestEvent::TrackEnded { .. }
                | RequestEvent::Probe { .. }
                | RequestEvent::ProbeEnded { .. },
            ) => {}
            // Nothing is asked here.
            Event::Announcement(
                AnnouncementEvent::Announced { .. }
                | AnnouncementEvent::AnnounceReplaced { .. }
                | AnnouncementEvent::Unannounced { .. }
                | AnnouncementEvent::AnnounceStreamEnded { .. },
            )
            | Event::Answer(_)
            | Event::Media(_) => {}
        }
        Ok(())
    }

    /// Somebody wants a track.
    fn begin(&mut self, request: StreamId, wanted: &Subscribe) {
        let codec = self.codec_of_track(&wanted.track);
        let is_catalog = &*wanted.track == CATALOG;
        let is_known = wanted.broadcast == self.path && (codec.is_some() || is_catalog);
        let session = self.line.session();
        if !is_known || self.listeners.len() >= HANDSET_LISTENERS_MAX {
            return session.refuse(request, stream_error::NOT_FOUND);
        }
        session.subscribe_ok(request, &ACCEPTED);
        let first = if is_catalog { 0 } else { self.number };
        session.subscribe_start(request, GroupSequence(first));
        if is_catalog {
            let frame = Frame {
                number: 0,
                timestamp: 0,
                payload: tracks::catalog(self.codec),
            };
            self.dropped += u64::from(!self.line.send(wanted.id, &frame));
        }
        self.listeners.push(Listener {
            request,
            id: wanted.id,
            codec,
        });
    }

    fn codec_of_track(&self, track: &str) -> Option<Codec> {
        match track {
            AUDIO => Some(self.codec),
            other => tracks::codec_of_track(other),
        }
    }

    fn info(&self, track: &str) -> Option<TrackInfo> {
        let codec = self.codec_of_track(track);
        let timescale = match codec {
            Some(codec) => tracks::clock_of(codec),
            None => (track == CATALOG).then_some(1000)?,
        };
        Some(TrackInfo {
            epoch: 0,
            priority: 200,
            ordered: true,
            max_latency_ms: ACCEPTED.max_latency_ms,
            timescale,
        })
    }

    fn tell_second(&mut self, now: Instant) {
        if now < self.told + SECOND {
            return;
        }
        self.told = now;
        let second = self.meter.take_level();
        if self.asked.quiet {
            return;
        }
        let place = Duration::from_millis(20 * self.position as u64).as_secs();
        let tracks = self
            .listeners
            .iter()
            .filter(|listener| listener.codec.is_some())
            .count();
        let waits = if self.due.is_none() { "  waits" } else { "" };
        tell(&format!(
            "{place:4} s  level {second}  tracks wanted {tracks}  dropped {}{waits}",
            self.dropped
        ));
    }

    /// Says that it is over.
    fn take_leave(mut self) -> anyhow::Result<()> {
        if self.line.end().is_none() {
            let session = self.line.session();
            for listener in self.listeners.drain(..) {
                let end = if listener.codec.is_some() { self.number } else { 1 };
                session.subscribe_end(listener.request, GroupSequence(end));
                session.finish(listener.request);
            }
            for (request, suffix) in self.announced.drain(..) {
                session.unannounce(request, &suffix);
            }
        }
        if !self.asked.quiet {
            tell(&format!(
                "said    level {}  dropped {}",
                self.meter.level(),
                self.dropped
            ));
        }
        self.line.hang_up(HANDSET_FAREWELL)
    }
}

/// The wall clock in frames: who says something after another said it goes on with numbers above those.
fn wall_number() -> u64 {
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(wall.as_millis() / FRAME.as_millis()).unwrap_or(0)
}

/// How drafts 03 and 04 accept a subscription.
const ACCEPTED: SubscribeOk = SubscribeOk {
    priority: 200,
    ordered: true,
    max_latency_ms: 2000,
    start: None,
    end: None,
    timescale: None,
};

const FRAME: Duration = Duration::from_millis(20);
const FRAMES_PER_SECOND: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);
/// With more it does not catch up.
const LATE_MAX: Duration = Duration::from_secs(1);
