//! `moqswitch listen`: a broadcast is waited for, its catalog read, its track heard.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use moqswitch_audio::Codec;
use moqswitch_proto::session::{
    AnnouncementEvent, AnswerEvent, Event, MediaEvent, RequestEvent, SessionEvent, SubscribeParameters,
};
use moqswitch_proto::wire::{
    BroadcastPath, ErrorCode, FrameForm, GroupRange, StreamId, SubscribeId, TrackRequest, stream_error,
};

use crate::config::ListenArguments;
use crate::limits::{HANDSET_CATALOG_WAIT_MAX, HANDSET_FAREWELL};

use super::ending::{End, tell};
use super::groups::{Group, Groups};
use super::hearing::Hearing;
use super::interrupt::Interrupt;
use super::line::Line;
use super::meter::Meter;
use super::order::{InOrder, Order};
use super::sink::Sink;
use super::target::Target;
use super::tracks::{self, CATALOG};

/// Until it has ended.
pub(super) fn run(asked: &ListenArguments) -> anyhow::Result<End> {
    let broadcast = BroadcastPath::new(&asked.broadcast);
    anyhow::ensure!(
        !broadcast.is_root() && broadcast.is_within_limits(),
        "`{}` is no broadcast",
        asked.broadcast
    );
    let target = Target::find(&asked.at)?;
    let line = Line::dial(&target)?;
    let interrupt = Interrupt::watch(line.waker())?;
    let mut ears = Ears::new(asked, broadcast, line);
    let end = ears.run(&interrupt);
    // Whatever it was, what was heard is kept.
    let finished = ears.finish();
    let end = end?;
    finished?;
    Ok(end)
}

struct Ears<'a> {
    asked: &'a ListenArguments,
    broadcast: BroadcastPath,
    line: Line,
    codec: Option<Codec>,
    catalog: Option<SubscribeId>,
    audio: Option<SubscribeId>,
    /// The question what its timestamps count, and the answer.
    info: Option<StreamId>,
    clock: Option<u64>,
    groups: Groups,
    order: Order<Group>,
    hearing: Option<Hearing>,
    meter: Meter,
    begun: Instant,
    /// When the broadcast was there.
    there: Option<Instant>,
    /// It is over, and what is on its way has until then.
    ending: Option<Instant>,
    told: Instant,
}

impl<'a> Ears<'a> {
    fn new(asked: &'a ListenArguments, broadcast: BroadcastPath, mut line: Line) -> Self {
        let now = Instant::now();
        line.session().request_announce(&broadcast);
        let named = asked.codec.map(tracks::codec_of);
        Self {
            asked,
            broadcast,
            line,
            codec: named.or_else(|| tracks::codec_of_track(&asked.track)),
            catalog: None,
            audio: None,
            info: None,
            clock: None,
            groups: Groups::default(),
            order: Order::default(),
            hearing: None,
            meter: Meter::default(),
            begun: now,
            there: None,
            ending: None,
            told: now,
        }
    }

    fn run(&mut self, interrupt: &Interrupt) -> anyhow::Result<End> {
        loop {
            self.line.turn(self.deadline())?;
            let now = Instant::now();
            while let Some(event) = self.line.poll() {
                self.handle(event, now)?;
            }
            let heard = self.hear(|order| order.pop(now)).and_then(|()| self.tell_second(now));
            if let Some(end) = player_gone(heard)? {
                return Ok(end);
            }
            if let Some(end) = self.end(now, interrupt)? {
                let rest = self.hear(Order::drain);
                return Ok(player_gone(rest)?.unwrap_or(end));
            }
        }
    }

    /// Whether it is over.
    fn end(&mut self, now: Instant, interrupt: &Interrupt) -> anyhow::Result<Option<End>> {
        if interrupt.is_asked() || self.ending.is_some_and(|ending| ending <= now) {
            return Ok(Some(End::Whole));
        }
        if let Some(reason) = self.line.end() {
            return Ok(Some(End::Gone(reason.to_owned())));
        }
        let is_over = |since: Option<Instant>, wait: Duration| since.is_some_and(|since| since + wait <= now);
        if let Some(duration) = self.asked.duration
            && is_over(self.there, *duration)
        {
            return Ok(Some(End::Whole));
        }
        if self.there.is_none() && is_over(Some(self.begun), *self.asked.wait) {
            return Ok(Some(End::NotThere(format!(
                "there is no broadcast {}, or this session may not hear it",
                self.broadcast
            ))));
        }
        anyhow::ensure!(
            self.codec.is_some() || !is_over(self.there, HANDSET_CATALOG_WAIT_MAX),
            "no {CATALOG} comes: name the codec by --codec"
        );
        Ok(None)
    }

    fn deadline(&self) -> Instant {
        let next = self.told + SECOND;
        let wait = self.there.is_none().then(|| self.begun + *self.asked.wait);
        let duration = self.asked.duration.and_then(|duration| Some(self.there? + *duration));
        let due = [wait, duration, self.ending, self.order.deadline()];
        due.into_iter().flatten().fold(next, Instant::min)
    }

    fn handle(&mut self, event: Event, now: Instant) -> anyhow::Result<()> {
        match event {
            Event::Media(event) => self.handle_media(event, now)?,
            Event::Announcement(event) => self.handle_announcement(event, now),
            Event::Answer(event) => self.handle_answer(&event, now)?,
            // Nothing is said here.
            Event::Request(
                RequestEvent::Subscribe { request, .. }
                | RequestEvent::Track { request, .. }
                | RequestEvent::Fetch { request, .. },
            ) => self.line.session().refuse(request, stream_error::NOT_FOUND),
            Event::Request(
                RequestEvent::SubscribeUpdate { .. }
                | RequestEvent::SubscribeEnded { .. }
                | RequestEvent::FetchEnded { .. }
                | RequestEvent::TrackEnded { .. }
                | RequestEvent::Probe { .. }
                | RequestEvent::ProbeEnded { .. },
            ) => {}
            Event::Session(SessionEvent::Violation { reason, .. }) => {
                anyhow::bail!("the relay broke the protocol: {reason}")
            }
            Event::Session(SessionEvent::Goaway { .. }) => tell(&"the relay is about to go away"),
            Event::Session(SessionEvent::Setup(_) | SessionEvent::SessionUpdate { .. }) => {}
        }
        Ok(())
    }

    fn handle_announcement(&mut self, event: AnnouncementEvent, now: Instant) {
        match event {
            AnnouncementEvent::AnnounceRequest { request, .. } => self.line.session().announce_ok(request, 0),
            AnnouncementEvent::Announced { path, .. } if path == self.broadcast => {
                self.ending = None;
                self.there.get_or_insert(now);
                self.subscribe();
            }
            AnnouncementEvent::Unannounced { path, .. } if path == self.broadcast => {
                self.ending.get_or_insert(now + HANDSET_FAREWELL);
            }
            // Of another broadcast, or the same one by another way.
            AnnouncementEvent::Announced { .. }
            | AnnouncementEvent::AnnounceReplaced { .. }
            | AnnouncementEvent::Unannounced { .. }
            | AnnouncementEvent::AnnounceStreamEnded { .. }
            | AnnouncementEvent::AnnounceRequestEnded { .. } => {}
        }
    }

    /// What is known of the track decides what is asked next.
    fn subscribe(&mut self) {
        if self.codec.is_none() {
            if self.catalog.is_none() {
                self.catalog = self.subscribe_to(CATALOG);
            }
        } else if self.audio.is_none() {
            self.audio = self.subscribe_to(&self.asked.track);
            self.info = self.line.session().track(&TrackRequest {
                broadcast: self.broadcast.clone(),
                track: self.asked.track.as_str().into(),
                epoch: 0,
            });
        }
    }

    fn subscribe_to(&mut self, track: &str) -> Option<SubscribeId> {
        let parameters = SubscribeParameters {
            broadcast: self.broadcast.clone(),
            track: track.into(),
            epoch: 0,
            priority: 200,
            ordered: true,
            max_latency_ms: self.latency_ms(),
            range: GroupRange::default(),
        };
        self.line.session().subscribe(parameters).map(|(id, _)| id)
    }

    /// How long the relay keeps a group for us. What is kept is heard at first, and a player stays behind by it.
    fn latency_ms(&self) -> u64 {
        match Sink::is_pipe(self.asked) {
            true => PIPE_LATENCY_MS,
            false => FILE_LATENCY_MS,
        }
    }

    fn handle_answer(&mut self, event: &AnswerEvent, now: Instant) -> anyhow::Result<()> {
        match event {
            AnswerEvent::TrackInfo { stream, info } if Some(*stream) == self.info => {
                self.clock = Some(info.timescale).filter(|clock| *clock > 0);
                if let (Some(hearing), Some(clock)) = (&mut self.hearing, self.clock) {
                    hearing.set_clock(clock);
                }
            }
            AnswerEvent::SubscriptionClosed { id, code } if Some(*id) == self.audio => {
                self.audio = None;
                match code {
                    None => self.ending = Some(now + HANDSET_FAREWELL),
                    Some(code) if self.ending.is_none() => self.lose(*code, now)?,
                    Some(_) => {}
                }
            }
            AnswerEvent::SubscriptionClosed { id, code: Some(code) } if Some(*id) == self.catalog => {
                anyhow::ensure!(
                    self.codec.is_some() || self.ending.is_some(),
                    "{} has no {CATALOG} ({code}): name the codec by --codec",
                    self.broadcast
                );
            }
            // To another question, or of no use.
            AnswerEvent::SubscriptionOk { .. }
            | AnswerEvent::TrackProperties { .. }
            | AnswerEvent::SubscriptionStart { .. }
            | AnswerEvent::SubscriptionEnd { .. }
            | AnswerEvent::SubscriptionDrop { .. }
            | AnswerEvent::SubscriptionClosed { .. }
            | AnswerEvent::TrackInfo { .. }
            | AnswerEvent::TrackClosed { .. }
            | AnswerEvent::FetchChunk { .. }
            | AnswerEvent::FetchClosed { .. }
            | AnswerEvent::ProbeReport { .. }
            | AnswerEvent::ProbeClosed { .. } => {}
        }
        Ok(())
    }

    /// The track is refused. At the end of a broadcast that comes before the word of its end.
    fn lose(&mut self, code: ErrorCode, now: Instant) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.hearing.is_some(),
            "{} has no track {} ({code})",
            self.broadcast,
            self.asked.track
        );
        self.ending = Some(now + HANDSET_FAREWELL);
        Ok(())
    }

    fn handle_media(&mut self, event: MediaEvent, now: Instant) -> anyhow::Result<()> {
        match event {
            MediaEvent::GroupStart { stream, header } => self.groups.begin(stream, &header),
            MediaEvent::GroupChunk { stream, chunk, .. } => self.groups.push(stream, &chunk),
            MediaEvent::GroupReset { stream, .. } => self.groups.forget(stream),
            MediaEvent::GroupEnd { stream, .. } => {
                if let Some(group) = self.groups.end(stream) {
                    self.take(group, now)?;
                }
            }
            MediaEvent::Datagram { header, payload } => {
                let group = Group {
                    subscribe: header.subscribe,
                    number: header.sequence.0,
                    frames: vec![(header.timestamp, payload.as_ref().into())],
                };
                self.take(group, now)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, mut group: Group, now: Instant) -> anyhow::Result<()> {
        let subscribe = Some(group.subscribe);
        if subscribe == self.catalog {
            if self.codec.is_none()
                && let Some((_, text)) = group.frames.first()
            {
                let codec = tracks::codec_in(text, &self.asked.track);
                self.codec = Some(codec.map_err(anyhow::Error::msg)?);
                self.subscribe();
            }
            return Ok(());
        }
        let Some(codec) = self.codec.filter(|_| subscribe == self.audio) else {
            return Ok(());
        };
        let clock = self.clock.unwrap_or_else(|| tracks::clock_of(codec));
        if self.hearing.is_none() {
            let sink = Sink::open(self.asked, codec)?;
            self.hearing = Some(Hearing::new(codec, clock, sink)?);
            self.say(&format!(
                "{} {}: {}",
                self.broadcast,
                self.asked.track,
                tracks::name_of(codec)
            ));
        }
        if self.line.version().frame_form() == FrameForm::Plain {
            // Drafts that have no timestamps.
            for (timestamp, _) in &mut group.frames {
                *timestamp = group.number.saturating_mul(clock / FRAMES_PER_SECOND);
            }
        }
        let first = group.frames.first().map_or(0, |(timestamp, _)| *timestamp);
        let (number, time) = (group.number, as_time(first, clock));
        match self.order.push(number, group, now) {
            true => self.meter.came(number, time, now),
            false => self.meter.late(),
        }
        Ok(())
    }

    /// What is in order is heard.
    fn hear(&mut self, mut next: impl FnMut(&mut Order<Group>) -> Option<InOrder<Group>>) -> io::Result<()> {
        while let Some(InOrder { lost, group, .. }) = next(&mut self.order) {
            self.meter.lost(lost);
            let Some(hearing) = &mut self.hearing else { continue };
            for ((timestamp, payload), lost) in group
                .frames
                .iter()
                .zip(std::iter::once(lost).chain(std::iter::repeat(0)))
            {
                hearing.hear(*timestamp, payload, lost, &mut self.meter)?;
            }
        }
        Ok(())
    }

    fn tell_second(&mut self, now: Instant) -> io::Result<()> {
        if now < self.told + SECOND {
            return Ok(());
        }
        self.told = now;
        if let Some(hearing) = &mut self.hearing {
            hearing.flush()?;
            let second = self.meter.take_second();
            self.say(&format!("{:4} s  {second}", (now - self.begun).as_secs()));
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        if !self.asked.quiet {
            tell(&line);
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Some(hearing) = self.hearing {
            player_gone(hearing.finish())?;
            if !self.asked.quiet {
                tell(&format!("heard   {}", self.meter.summary()));
            }
        }
        // It is over, whatever becomes of the goodbye.
        let _ = self.line.hang_up(Duration::ZERO);
        Ok(())
    }
}

/// A player that has had enough is no error.
fn player_gone(written: io::Result<()>) -> anyhow::Result<Option<End>> {
    match written {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(End::Whole)),
        Err(error) => Err(error).context("what is heard cannot be written"),
    }
}

fn as_time(timestamp: u64, clock: u64) -> Duration {
    let clock = clock.max(1);
    Duration::from_secs(timestamp / clock) + Duration::from_nanos(timestamp % clock * 1_000_000_000 / clock)
}

const SECOND: Duration = Duration::from_secs(1);
const FRAMES_PER_SECOND: u64 = 50;
const PIPE_LATENCY_MS: u64 = 400;
const FILE_LATENCY_MS: u64 = 2000;
