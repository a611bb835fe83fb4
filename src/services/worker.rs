//! One thread that decodes and encodes: frames of streams in the order in which they come, and rooms when they are due.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_audio::{Transcoded, Transcoder};
use rustc_hash::FxHashMap;

use crate::limits::{AGE_MAX, LOST_MAX, TIMESTAMP_MAX};
use crate::results::{Counters, Done, Results};
use crate::room::{FRAME_MS, Plan, Room};

/// What a worker is asked.
pub(crate) enum Task {
    Begin {
        stream: u64,
        transcoder: Box<Transcoder>,
        /// The number of its first frame.
        number: u64,
        results: Arc<Results>,
    },
    Frame(u64, Frame),
    End(u64),
    /// A room, until it is over.
    Room {
        room: u64,
        port: Arc<RoomPort>,
        results: Arc<Results>,
    },
    /// What a source of a room says.
    Voice {
        room: u64,
        source: u64,
        number: u64,
        payload: Bytes,
    },
}

/// A frame to transcode.
pub(crate) struct Frame {
    pub(crate) payload: Bytes,
    /// Frames that are lost before it.
    pub(crate) lost: u64,
    pub(crate) time_us: u64,
    pub(crate) came: Instant,
}

/// What a room is to be, where there is always room to say it.
pub(crate) struct RoomPort {
    /// The newest, if it was not taken yet.
    pub(crate) plan: ArrayQueue<Plan>,
    pub(crate) is_over: AtomicBool,
}

/// What one thread has.
pub(crate) struct Work {
    tasks: Arc<ArrayQueue<Task>>,
    counters: Arc<Counters>,
    busy: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    running: FxHashMap<u64, Running>,
    rooms: FxHashMap<u64, RunningRoom>,
    due: BTreeSet<(Instant, u64)>,
}

struct Running {
    transcoder: Box<Transcoder>,
    number: u64,
    /// When the next frame is, on the source's clock.
    next_us: Option<u64>,
    /// Frames that were shed, and are lost to it.
    shed: u64,
    results: Arc<Results>,
}

struct RunningRoom {
    room: Room,
    port: Arc<RoomPort>,
    results: Arc<Results>,
}

impl Work {
    pub(crate) fn new(
        tasks: Arc<ArrayQueue<Task>>,
        counters: Arc<Counters>,
        busy: Arc<AtomicU32>,
        is_over: Arc<AtomicBool>,
    ) -> Self {
        Self {
            tasks,
            counters,
            busy,
            is_over,
            running: FxHashMap::default(),
            rooms: FxHashMap::default(),
            due: BTreeSet::new(),
        }
    }

    /// Until all is over.
    pub(crate) fn run(&mut self) {
        let mut second = Instant::now();
        let mut worked = Duration::ZERO;
        while !self.is_over.load(Ordering::Acquire) {
            let begin = Instant::now();
            let mut has_worked = false;
            while begin.elapsed() < SECOND
                && let Some(task) = self.tasks.pop()
            {
                has_worked = true;
                self.handle(task);
                // What waits may be for a room that is due. But rooms do not wait for all of it.
                if let Some(overdue) = Instant::now().checked_sub(ROOM_WAIT) {
                    self.tick(overdue);
                }
            }
            has_worked |= self.tick(Instant::now());
            if has_worked {
                worked += begin.elapsed();
            } else {
                let due = self.due.first().map(|(due, _)| due.saturating_duration_since(begin));
                std::thread::park_timeout(due.unwrap_or(SECOND).min(SECOND));
            }
            let passed = second.elapsed();
            if passed >= SECOND {
                let thousandths = worked.as_micros() * 1000 / passed.as_micros().max(1);
                self.busy
                    .store(u32::try_from(thousandths).unwrap_or(u32::MAX), Ordering::Relaxed);
                (second, worked) = (Instant::now(), Duration::ZERO);
            }
        }
    }

    fn handle(&mut self, task: Task) {
        match task {
            Task::Begin {
                stream,
                transcoder,
                number,
                results,
            } => {
                let running = Running {
                    transcoder,
                    number,
                    next_us: None,
                    shed: 0,
                    results,
                };
                self.running.insert(stream, running);
            }
            Task::Frame(stream, frame) => {
                if let Some(running) = self.running.get_mut(&stream) {
                    running.process(stream, frame, &self.counters);
                }
            }
            Task::End(stream) => {
                self.running.remove(&stream);
            }
            Task::Room { room, port, results } => {
                let running = RunningRoom {
                    room: Room::new(),
                    port,
                    results,
                };
                self.rooms.insert(room, running);
                self.due.insert((Instant::now(), room));
            }
            Task::Voice {
                room,
                source,
                number,
                payload,
            } => {
                if let Some(running) = self.rooms.get_mut(&room) {
                    // Perhaps it is one that was told just now.
                    running.obey();
                    running.room.push(source, number, payload);
                }
            }
        }
    }

    /// Rooms whose time has come. Whether there was any.
    fn tick(&mut self, now: Instant) -> bool {
        let mut has_worked = false;
        while let Some((due, name)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            has_worked = true;
            self.due.remove(&(due, name));
            let Some(running) = self.rooms.get_mut(&name) else {
                continue;
            };
            if running.port.is_over.load(Ordering::Acquire) {
                self.rooms.remove(&name);
                continue;
            }
            running.tick(&self.counters);
            // Time that it was not given is not made up for: nobody would hear it at its time.
            let next = due + FRAME_TIME;
            let missed = now.saturating_duration_since(next).as_millis() / FRAME_TIME.as_millis();
            self.counters.missed(u64::try_from(missed).unwrap_or(u64::MAX));
            let next = if missed > 0 { now + FRAME_TIME } else { next };
            self.due.insert((next, name));
        }
        has_worked
    }
}

impl RunningRoom {
    fn obey(&mut self) {
        if let Some(plan) = self.port.plan.pop()
            && self.room.set(&plan).is_err()
        {
            tracing::error!("no memory to mix a call");
        }
    }

    fn tick(&mut self, counters: &Counters) {
        self.obey();
        let results = &self.results;
        let mut has_news = false;
        self.room.tick(|mixed| {
            has_news = true;
            counters.mixed(results.push(Done {
                stream: mixed.hearer,
                number: mixed.number,
                timestamp: mixed.timestamp.min(TIMESTAMP_MAX),
                payload: mixed.payload,
            }));
        });
        counters.malformed(self.room.take_malformed());
        if has_news {
            results.wake();
        }
    }
}

impl Running {
    fn process(&mut self, stream: u64, frame: Frame, counters: &Counters) {
        if frame.came.elapsed() > AGE_MAX {
            counters.shed.fetch_add(1, Ordering::Relaxed);
            self.shed = self.shed.saturating_add(frame.lost).saturating_add(1).min(LOST_MAX);
            return;
        }
        let lost = frame.lost.saturating_add(std::mem::take(&mut self.shed)).min(LOST_MAX);
        let ahead = |next: u64| frame.time_us.saturating_sub(next) > (lost + 1) * FRAME_US + FRAME_US;
        let mut next_us = match self.next_us {
            // Silence, or another source.
            Some(next) if !ahead(next) => next,
            _ => frame.time_us,
        };
        let clock = u64::from(self.transcoder.clock());
        let (number, results) = (&mut self.number, &self.results);
        let mut has_news = false;
        let told = self.transcoder.process(&frame.payload, lost, |out: Transcoded<'_>| {
            let done = Done {
                stream,
                number: *number,
                timestamp: scaled(next_us, clock, 1_000_000),
                payload: Bytes::copy_from_slice(out.payload),
            };
            *number += 1;
            next_us = next_us.saturating_add(FRAME_US);
            has_news = true;
            counters.frames.fetch_add(1, Ordering::Relaxed);
            if !results.push(done) {
                counters.shed.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.next_us = Some(next_us);
        if told.is_err() {
            counters.malformed.fetch_add(1, Ordering::Relaxed);
        }
        if has_news {
            results.wake();
        }
    }
}

/// A time in other units, within what there can be on the wire.
pub(crate) fn scaled(timestamp: u64, to: u64, from: u64) -> u64 {
    let scaled = u128::from(timestamp) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX).min(TIMESTAMP_MAX)
}

const SECOND: Duration = Duration::from_secs(1);
/// How late a room is at most for the sake of what waits before it.
const ROOM_WAIT: Duration = Duration::from_millis(5);
const FRAME_TIME: Duration = Duration::from_millis(FRAME_MS as u64);
const FRAME_US: u64 = 20_000;

#[cfg(test)]
mod tests {
    use moqswitch_audio::{Codec, OpusSettings};

    use super::*;

    #[test]
    fn what_a_source_says_of_time_and_numbers_overflows_nothing() {
        assert_eq!(scaled(960, 8000, 48_000), 160);
        assert_eq!(scaled(u64::MAX, 48_000, 8000), TIMESTAMP_MAX);
        let counters = Counters::default();
        let results = Arc::new(Results::new(Arc::new(|| ())));
        let transcoder = Transcoder::new(Codec::Pcmu, Codec::Pcma, OpusSettings::default()).unwrap();
        let mut running = Running {
            transcoder: Box::new(transcoder),
            number: 7,
            next_us: None,
            shed: 0,
            results: Arc::clone(&results),
        };
        for (time_us, lost) in [(0, 0), (u64::MAX, u64::MAX - 1), (TIMESTAMP_MAX, 0), (5, 1 << 60)] {
            let frame = Frame {
                payload: Bytes::from_static(&[0xFF; 160]),
                lost,
                time_us,
                came: Instant::now(),
            };
            running.process(0, frame, &counters);
        }
        let done: Vec<Done> = std::iter::from_fn(|| results.pop()).collect();
        assert!(done.len() >= 4 && done.iter().all(|done| done.timestamp <= TIMESTAMP_MAX));
        assert!(done.iter().zip(7..).all(|(done, number)| done.number == number));
    }
}
