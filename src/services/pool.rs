//! Threads that transcode. Each has a bounded queue of tasks, in the order of their deadlines: all frames have the same time,
//! so that is the order in which they came. A stream stays on its worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_audio::{Codec, OpusSettings, Transcoder};

use crate::limits::{BUSY_MAX, FRAMES_MAX, ROOM_STREAMS, STREAMS_PER_WORKER_MAX, TASKS_MAX};
use crate::results::{Counters, Results};
use crate::room::Plan;
use crate::worker::{Frame, RoomPort, Task, Work};

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
    /// Calls that are mixed: those of which somebody hears several at once.
    pub mixers: usize,
    /// Frames that were mixed and encoded.
    pub mixed: u64,
}

struct Workers {
    workers: Vec<Worker>,
    counters: Arc<Counters>,
    is_over: Arc<AtomicBool>,
}

struct Worker {
    tasks: Arc<ArrayQueue<Task>>,
    streams: AtomicUsize,
    rooms: AtomicUsize,
    /// Thousandths of the last second.
    busy: Arc<AtomicU32>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

/// A stream at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    worker: usize,
    pub(crate) name: u64,
}

/// A room at a worker. It is over when this is dropped.
pub(crate) struct RoomHandle {
    pool: Pool,
    worker: usize,
    name: u64,
    port: Arc<RoomPort>,
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
            let mut work = Work::new(
                Arc::clone(&tasks),
                Arc::clone(&counters),
                Arc::clone(&busy),
                Arc::clone(&is_over),
            );
            let builder = std::thread::Builder::new().name(format!("audio-{index}"));
            let handle = builder.spawn(move || work.run())?;
            workers.push(Worker {
                tasks,
                streams: AtomicUsize::new(0),
                rooms: AtomicUsize::new(0),
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
            mixers,
            mixed,
            named: _,
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
            mixers: mixers.load(Ordering::Relaxed),
            mixed: mixed.load(Ordering::Relaxed),
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

    /// Somewhere to mix what is told to come. `None`: there is no room.
    pub(crate) fn begin_room(&self, results: &Arc<Results>) -> Option<RoomHandle> {
        let counters = &self.0.counters;
        let name = self.name();
        let port = Arc::new(RoomPort {
            plan: ArrayQueue::new(1),
            is_over: AtomicBool::new(false),
        });
        let begun = self.least_busy().and_then(|(index, worker)| {
            let task = Task::Room {
                room: name,
                port: Arc::clone(&port),
                results: Arc::clone(results),
            };
            worker.tasks.push(task).ok()?;
            worker.rooms.fetch_add(1, Ordering::Relaxed);
            worker.thread.unpark();
            Some(index)
        });
        let Some(worker) = begun else {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        counters.mixers.fetch_add(1, Ordering::Relaxed);
        Some(RoomHandle {
            pool: self.clone(),
            worker,
            name,
            port,
        })
    }

    /// A name that nothing else has.
    pub(crate) fn name(&self) -> u64 {
        self.0.counters.named.fetch_add(1, Ordering::Relaxed)
    }

    fn least_busy(&self) -> Option<(usize, &Worker)> {
        let workers = self.0.workers.iter().enumerate();
        let load = |worker: &Worker| {
            worker.streams.load(Ordering::Relaxed) + ROOM_STREAMS * worker.rooms.load(Ordering::Relaxed)
        };
        let with_room = workers.filter(|(_, worker)| {
            load(worker) < STREAMS_PER_WORKER_MAX && worker.busy.load(Ordering::Relaxed) < BUSY_MAX
        });
        with_room.min_by_key(|(_, worker)| load(worker))
    }

    fn try_begin(&self, from: Codec, to: Codec, number: u64, results: &Arc<Results>) -> Option<Stream> {
        let (index, worker) = self.least_busy()?;
        let transcoder = Transcoder::new(from, to, OpusSettings::default()).ok()?;
        let name = self.name();
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

    /// A frame was dropped before it came here.
    pub(crate) fn shed(&self) {
        self.0.counters.missed(1);
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

impl RoomHandle {
    /// What the room is to be from here on.
    pub(crate) fn set(&self, plan: Plan) {
        self.port.plan.force_push(plan);
    }

    /// What one of its sources says. What finds no room is dropped and counted.
    pub(crate) fn push(&self, source: u64, number: u64, payload: Bytes) {
        let Some(worker) = self.pool.0.workers.get(self.worker) else {
            return;
        };
        let task = Task::Voice {
            room: self.name,
            source,
            number,
            payload,
        };
        // It is waited for until the room's next turn: nobody needs to be woken.
        if worker.tasks.len() >= FRAMES_MAX || worker.tasks.push(task).is_err() {
            self.pool.0.counters.shed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for RoomHandle {
    fn drop(&mut self) {
        self.port.is_over.store(true, Ordering::Release);
        self.pool.0.counters.mixers.fetch_sub(1, Ordering::Relaxed);
        if let Some(worker) = self.pool.0.workers.get(self.worker) {
            worker.rooms.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
