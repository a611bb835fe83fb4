//! Threads that transcode. Each has a bounded queue of tasks, in the order of their deadlines: all frames have the same time,
//! so that is the order in which they came. A stream stays on its worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_audio::{Codec, OpusSettings, Transcoded, Transcoder};
use rustc_hash::FxHashMap;

use crate::limits::{
    AGE_MAX, BUSY_MAX, FRAMES_MAX, LOST_MAX, RESULTS_MAX, STREAMS_PER_WORKER_MAX, TASKS_MAX, TIMESTAMP_MAX,
};

/// Worker threads, which end with the last clone of this.
#[derive(Clone)]
pub struct Pool(Arc<Workers>);

/// What was done so far, and is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatistics {
    /// Transcoders that run: one for each track that somebody hears in another codec.
    pub transcoders: usize,
    /// Frames that were encoded.
    pub frames: u64,
    /// Frames that were dropped, because a queue was full or they waited too long.
    pub shed: u64,
    /// Payloads that were none of the codec's.
    pub malformed: u64,
    /// Subscriptions that no worker had room for.
    pub refused: u64,
}

struct Workers {
    workers: Vec<Worker>,
    counters: Arc<Counters>,
    is_over: Arc<AtomicBool>,
}

struct Worker {
    tasks: Arc<ArrayQueue<Task>>,
    streams: AtomicUsize,
    /// Thousandths of the last second.
    busy: Arc<AtomicU32>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    frames: AtomicU64,
    shed: AtomicU64,
    malformed: AtomicU64,
    refused: AtomicU64,
    named: AtomicU64,
}

/// Where frames of a shard's streams come back.
pub(crate) struct Results {
    queue: ArrayQueue<Done>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// A frame that came back.
pub(crate) struct Done {
    pub(crate) stream: u64,
    pub(crate) number: u64,
    /// In units of the target's clock.
    pub(crate) timestamp: u64,
    pub(crate) payload: Bytes,
}

/// A stream at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    worker: usize,
    pub(crate) name: u64,
}

/// A frame to transcode.
pub(crate) struct Frame {
    pub(crate) payload: Bytes,
    /// Frames that are lost before it.
    pub(crate) lost: u64,
    pub(crate) time_us: u64,
    pub(crate) came: Instant,
}

enum Task {
    Begin {
        stream: u64,
        transcoder: Box<Transcoder>,
        /// The number of its first frame.
        number: u64,
        results: Arc<Results>,
    },
    Frame(u64, Frame),
    End(u64),
}

impl Pool {
    /// Starts so many threads, at least one.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for index in 0..threads.max(1) {
            let tasks = Arc::new(ArrayQueue::new(TASKS_MAX));
            let busy = Arc::new(AtomicU32::new(0));
            let mut work = Work {
                tasks: Arc::clone(&tasks),
                counters: Arc::clone(&counters),
                busy: Arc::clone(&busy),
                is_over: Arc::clone(&is_over),
                running: FxHashMap::default(),
            };
            let builder = std::thread::Builder::new().name(format!("audio-{index}"));
            let handle = builder.spawn(move || work.run())?;
            workers.push(Worker {
                tasks,
                streams: AtomicUsize::new(0),
                busy,
                thread: handle.thread().clone(),
                handle: Some(handle),
            });
        }
        Ok(Self(Arc::new(Workers {
            workers,
            counters,
            is_over,
        })))
    }

    /// What was done so far.
    pub fn statistics(&self) -> PoolStatistics {
        let Counters {
            frames,
            shed,
            malformed,
            refused,
            ..
        } = &*self.0.counters;
        let streams = self
            .0
            .workers
            .iter()
            .map(|worker| worker.streams.load(Ordering::Relaxed));
        PoolStatistics {
            transcoders: streams.sum(),
            frames: frames.load(Ordering::Relaxed),
            shed: shed.load(Ordering::Relaxed),
            malformed: malformed.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
        }
    }

    /// A stream at the worker with the fewest. Frames are numbered from `number` on. `None`: there is no room.
    pub(crate) fn begin(&self, from: Codec, to: Codec, number: u64, results: &Arc<Results>) -> Option<Stream> {
        let begun = self.try_begin(from, to, number, results);
        if begun.is_none() {
            self.0.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        begun
    }

    fn try_begin(&self, from: Codec, to: Codec, number: u64, results: &Arc<Results>) -> Option<Stream> {
        let workers = self.0.workers.iter().enumerate();
        let load = |worker: &Worker| worker.streams.load(Ordering::Relaxed);
        let with_room = workers.filter(|(_, worker)| {
            load(worker) < STREAMS_PER_WORKER_MAX && worker.busy.load(Ordering::Relaxed) < BUSY_MAX
        });
        let (index, worker) = with_room.min_by_key(|(_, worker)| load(worker))?;
        let transcoder = Transcoder::new(from, to, OpusSettings::default()).ok()?;
        let name = self.0.counters.named.fetch_add(1, Ordering::Relaxed);
        let task = Task::Begin {
            stream: name,
            transcoder: Box::new(transcoder),
            number,
            results: Arc::clone(results),
        };
        worker.tasks.push(task).ok()?;
        worker.streams.fetch_add(1, Ordering::Relaxed);
        Some(Stream { worker: index, name })
    }

    /// A frame of a stream. One that finds no room is dropped and counted.
    pub(crate) fn push(&self, stream: Stream, frame: Frame) {
        let Some(worker) = self.0.workers.get(stream.worker) else {
            return;
        };
        if worker.tasks.len() >= FRAMES_MAX || worker.tasks.push(Task::Frame(stream.name, frame)).is_err() {
            self.0.counters.shed.fetch_add(1, Ordering::Relaxed);
        }
        worker.thread.unpark();
    }

    /// The stream is over. False: to be said again later.
    pub(crate) fn end(&self, stream: Stream) -> bool {
        let Some(worker) = self.0.workers.get(stream.worker) else {
            return true;
        };
        let is_ended = worker.tasks.push(Task::End(stream.name)).is_ok();
        if is_ended {
            worker.streams.fetch_sub(1, Ordering::Relaxed);
        }
        worker.thread.unpark();
        is_ended
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        for worker in &mut self.workers {
            worker.thread.unpark();
            if let Some(handle) = worker.handle.take()
                && handle.join().is_err()
            {
                tracing::error!("a thread of audio has failed");
            }
        }
    }
}

impl Results {
    pub(crate) fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            queue: ArrayQueue::new(RESULTS_MAX),
            wake,
        }
    }

    pub(crate) fn pop(&self) -> Option<Done> {
        self.queue.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// What one thread has.
struct Work {
    tasks: Arc<ArrayQueue<Task>>,
    counters: Arc<Counters>,
    busy: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    running: FxHashMap<u64, Running>,
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

impl Work {
    fn run(&mut self) {
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
            }
            if has_worked {
                worked += begin.elapsed();
            } else {
                std::thread::park_timeout(SECOND);
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
            if results.queue.push(done).is_err() {
                counters.shed.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.next_us = Some(next_us);
        if told.is_err() {
            counters.malformed.fetch_add(1, Ordering::Relaxed);
        }
        if has_news {
            (results.wake)();
        }
    }
}

/// A time in other units, within what there can be on the wire.
pub(crate) fn scaled(timestamp: u64, to: u64, from: u64) -> u64 {
    let scaled = u128::from(timestamp) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX).min(TIMESTAMP_MAX)
}

const SECOND: Duration = Duration::from_secs(1);
const FRAME_US: u64 = 20_000;

#[cfg(test)]
mod tests {
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
