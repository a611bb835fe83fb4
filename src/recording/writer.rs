//! The thread that writes. It alone waits for the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use moqswitch_calls::CallId;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::archive::{day_of, make_directory};
use crate::counters::Counters;
use crate::desk::{Desk, Order};
use crate::disk::Disk;
use crate::frames::{Frame, Frames};
use crate::limits::{DELAY, FRAMES_PER_ROUND_MAX, NOTICES_PERIOD, PER_CALL_MAX, SPACE_INTERVAL, TICK};
use crate::pending::mark;
use crate::recording::{FULL, Pauses, Place, Recording, reason_of};
use crate::settings::Settings;
use crate::sidecar::RecordingId;

pub(crate) struct Writer {
    settings: Settings,
    place: Place,
    desk: Arc<Desk>,
    frames: Frames,
    /// Those of which nothing was heard yet.
    waiting: FxHashMap<u64, Waiting>,
    writing: FxHashMap<u64, Recording>,
    /// Those that ended because of the disk, as long as their calls are recorded.
    failed: FxHashSet<u64>,
    /// Which recording a stream is of, as long as there may be something of it.
    streams: FxHashMap<u64, u64>,
    /// The streams of a recording.
    known: FxHashMap<u64, Vec<u64>>,
    /// Room for what comes in one round.
    batch: Vec<Frame>,
    looked: Option<Instant>,
    noticed: Option<Instant>,
}

struct Waiting {
    order: Order,
    pauses: Pauses,
    has_failed: bool,
}

impl Writer {
    pub(crate) fn new(
        settings: Settings,
        disk: Box<dyn Disk>,
        desk: Arc<Desk>,
        counters: Arc<Counters>,
        frames: Frames,
    ) -> Self {
        Self {
            place: Place {
                disk,
                format: settings.format,
                counters,
            },
            settings,
            desk,
            frames,
            waiting: FxHashMap::default(),
            writing: FxHashMap::default(),
            failed: FxHashSet::default(),
            streams: FxHashMap::default(),
            known: FxHashMap::default(),
            batch: Vec::new(),
            looked: None,
            noticed: None,
        }
    }

    pub(crate) fn run(&mut self) {
        loop {
            let is_over = self.desk.is_over();
            let has_more = self.round(Instant::now());
            if is_over {
                break;
            }
            if has_more {
                continue;
            }
            if self.waiting.is_empty() && self.writing.is_empty() {
                thread::park_timeout(SPACE_INTERVAL);
            } else {
                thread::park_timeout(TICK);
            }
        }
        // To the end of what was said.
        let now = Instant::now();
        let names: Vec<u64> = self.writing.keys().copied().collect();
        for name in names {
            let written = self.writing.get_mut(&name);
            match written.map(|recording| recording.advance(now, now, &self.place)) {
                Some(Err(error)) => self.fail(name, &error),
                _ => self.finish(name),
            }
        }
    }

    /// Whether more waits than it took.
    fn round(&mut self, now: Instant) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        batch.extend(std::iter::from_fn(|| self.frames.pop()).take(FRAMES_PER_ROUND_MAX));
        // After what came: a pause counts for all that came when it was wanted.
        for (name, order) in self.desk.take() {
            self.follow(name, order);
        }
        for frame in &batch {
            self.take(frame, now);
        }
        for _ in 0..FRAMES_PER_ROUND_MAX {
            let Some(stream) = self.frames.pop_refused() else { break };
            self.refuse(stream);
        }
        // What is due is what was said until now, or until what waits behind the others came.
        let has_more = batch.len() == FRAMES_PER_ROUND_MAX;
        let last = batch.last().filter(|_| has_more);
        let clock = last.map_or(now, |last| last.came.min(now));
        batch.clear();
        self.batch = batch;
        self.look_for_room(now);
        let until = clock.checked_sub(DELAY).unwrap_or(clock);
        let mut over = Vec::new();
        for (name, recording) in &mut self.writing {
            match recording.advance(until, now, &self.place) {
                Ok(false) => {}
                Ok(true) => over.push((*name, None)),
                Err(error) => over.push((*name, Some(error))),
            }
        }
        for (name, failed) in over {
            match failed {
                None => self.finish(name),
                Some(error) => self.fail(name, &error),
            }
        }
        let active = u64::try_from(self.writing.len()).unwrap_or(u64::MAX);
        self.place.counters.active.store(active, Ordering::Relaxed);
        has_more
    }

    fn follow(&mut self, name: u64, order: Order) {
        let is_over = order.ended.is_some();
        if self.failed.contains(&name) {
            if is_over {
                self.failed.remove(&name);
            }
            return;
        }
        let wanted: Vec<u64> = order.legs.iter().map(|leg| leg.stream).collect();
        if let Some(recording) = self.writing.get_mut(&name) {
            recording.follow(order);
            self.know(name, &wanted);
            return;
        }
        self.know(name, &wanted);
        match self.waiting.get_mut(&name) {
            Some(waiting) => {
                waiting.pauses.add(order.pauses.clone());
                waiting.order = order;
            }
            None => {
                let mut pauses = Pauses::default();
                pauses.add(order.pauses.clone());
                let waiting = Waiting {
                    order,
                    pauses,
                    has_failed: false,
                };
                self.waiting.insert(name, waiting);
            }
        }
        if is_over {
            self.waiting.remove(&name);
            self.forget(name);
        }
    }

    /// Streams of those who are wanted, and of those who have left and are written to their ends.
    fn know(&mut self, name: u64, wanted: &[u64]) {
        let known = self.known.entry(name).or_default();
        let recording = self.writing.get(&name);
        let has = |stream: &u64| recording.map_or_else(|| wanted.contains(stream), |recording| recording.has(*stream));
        known.retain(|stream| {
            let is_kept = has(stream);
            if !is_kept {
                self.streams.remove(stream);
            }
            is_kept
        });
        for stream in wanted.iter().filter(|stream| has(stream)) {
            if self.streams.insert(*stream, name).is_none() {
                known.push(*stream);
            }
        }
    }

    fn refuse(&mut self, stream: u64) {
        let name = self.streams.get(&stream);
        match name.and_then(|name| self.writing.get_mut(name)) {
            Some(recording) => recording.refuse(stream, &self.place.counters),
            None => Counters::add(&self.place.counters.dropped, 1),
        }
    }

    fn take(&mut self, frame: &Frame, now: Instant) {
        let Some(name) = self.streams.get(&frame.stream).copied() else {
            return;
        };
        if let Some(recording) = self.writing.get_mut(&name) {
            return recording.place(frame, &self.place.counters);
        }
        let is_ready = |waiting: &Waiting| !waiting.has_failed && !waiting.pauses.contain(frame.came);
        if !self.waiting.get(&name).is_some_and(is_ready) || self.desk.is_full() {
            return;
        }
        let Some(mut waiting) = self.waiting.remove(&name) else {
            return;
        };
        match self.begin(&waiting, frame.came, now) {
            Ok(mut recording) => {
                recording.place(frame, &self.place.counters);
                self.writing.insert(name, recording);
            }
            Err(error) => {
                Counters::add(&self.place.counters.failed, 1);
                tracing::error!(call = %waiting.order.call, %error, "a recording cannot begin");
                waiting.has_failed = true;
                self.waiting.insert(name, waiting);
            }
        }
    }

    fn begin(&mut self, waiting: &Waiting, came: Instant, now: Instant) -> io::Result<Recording> {
        let start_ms = unix_ms().saturating_sub(ms(now.saturating_duration_since(came)));
        let directory = self.settings.directory.join(day_of(start_ms));
        make_directory(&directory)?;
        let id = self.name(waiting.order.call, start_ms)?;
        self.desk.writing().insert(id.to_string());
        if self.settings.uploads
            && let Err(error) = mark(&self.settings.directory, &day_of(start_ms), id)
        {
            tracing::warn!(recording = %id, %error, "a recording will not be uploaded");
        }
        let moment = (came, start_ms);
        let begun = Recording::begin(id, &directory, &waiting.order, waiting.pauses.clone(), moment);
        if begun.is_err() {
            self.desk.writing().remove(&id.to_string());
        }
        begun
    }

    /// The first that is free. A call lasts a day at most.
    fn name(&self, call: CallId, start_ms: u64) -> io::Result<RecordingId> {
        let days = [start_ms, start_ms.saturating_sub(DAY_MS)].map(|at| self.settings.directory.join(day_of(at)));
        let is_free = |id: &RecordingId| {
            let name = format!("{id}.json");
            days.iter().all(|day| matches!(fs::exists(day.join(&name)), Ok(false)))
        };
        let mut names = (1..=PER_CALL_MAX).map(|number| RecordingId { call, number });
        names
            .find(is_free)
            .ok_or_else(|| io::Error::other("there are too many recordings of one call"))
    }

    fn look_for_room(&mut self, now: Instant) {
        let is_recent = |looked: Instant| now.saturating_duration_since(looked) < SPACE_INTERVAL;
        if self.looked.is_some_and(is_recent) {
            return;
        }
        self.looked = Some(now);
        let free = match self.place.disk.free(&self.settings.directory) {
            Ok(free) => free,
            Err(error) => {
                if self.may_notice(now) {
                    tracing::warn!(%error, "it is not known how much room there is for recordings");
                }
                return;
            }
        };
        let is_full = free < self.settings.free_min;
        let was_full = self.desk.set_full(is_full);
        if is_full != was_full {
            if is_full {
                tracing::error!(free, min = self.settings.free_min, "no room for recordings: they end");
            } else {
                tracing::info!(free, "there is room for recordings");
            }
        }
        if is_full {
            let names: Vec<u64> = self.writing.keys().copied().collect();
            for name in names {
                self.give_up(name, FULL);
            }
        }
    }

    fn finish(&mut self, name: u64) {
        let Some(recording) = self.writing.remove(&name) else {
            return;
        };
        let (id, directory) = (recording.id, recording.directory.clone());
        match recording.finish(unix_ms(), &self.place) {
            Ok(()) => self.desk.sync(directory, id),
            Err(error) => tracing::error!(recording = %id, %error, "a recording could not be ended"),
        }
        self.release(name, id);
    }

    fn fail(&mut self, name: u64, error: &io::Error) {
        let reason = reason_of(error);
        if let Some(recording) = self.writing.get(&name) {
            tracing::error!(recording = %recording.id, %error, "a recording ends; its call goes on");
        }
        self.give_up(name, reason);
    }

    fn give_up(&mut self, name: u64, reason: &str) {
        let Some(recording) = self.writing.remove(&name) else {
            return;
        };
        let id = recording.id;
        if recording.ended.is_none() {
            self.failed.insert(name);
        }
        recording.fail(reason, unix_ms(), &self.place);
        self.release(name, id);
    }

    /// It is not written any more, and its description says so.
    fn release(&mut self, name: u64, id: RecordingId) {
        self.forget(name);
        self.desk.writing().remove(&id.to_string());
    }

    fn forget(&mut self, name: u64) {
        for stream in self.known.remove(&name).unwrap_or_default() {
            self.streams.remove(&stream);
        }
    }

    fn may_notice(&mut self, now: Instant) -> bool {
        let is_quiet = self
            .noticed
            .is_some_and(|noticed| now.saturating_duration_since(noticed) < NOTICES_PERIOD);
        if !is_quiet {
            self.noticed = Some(now);
        }
        !is_quiet
    }
}

pub(crate) fn unix_ms() -> u64 {
    ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
