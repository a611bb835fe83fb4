//! Frames on their way to the writer.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use moqswitch_audio::Codec;

use crate::counters::Counters;
use crate::limits::{FRAME_BYTES_MAX, FRAMES_WAITING_MAX, REFUSED_WAITING_MAX};

/// A frame of one leg's audio.
#[derive(Clone, Debug)]
pub struct Frame {
    /// As [`Ears::listen`](crate::Ears::listen) was told.
    pub stream: u64,
    /// What it is coded in.
    pub codec: Codec,
    /// The number of its group, by which loss is counted.
    pub group: u64,
    /// It is the first since somebody listens: what is before it is not lost.
    pub is_first: bool,
    /// When it was said, on the speaker's clock in microseconds.
    pub time_us: u64,
    /// When it came.
    pub came: Instant,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// The queue. Clones are the same.
#[derive(Clone)]
pub struct Frames {
    queue: Arc<ArrayQueue<Frame>>,
    /// Streams of frames that found no room. With too many of them nobody knows whose they were; they are counted all the same.
    refused: Arc<ArrayQueue<u64>>,
    counters: Arc<Counters>,
}

impl Frames {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self {
            queue: Arc::new(ArrayQueue::new(FRAMES_WAITING_MAX)),
            refused: Arc::new(ArrayQueue::new(REFUSED_WAITING_MAX)),
            counters,
        }
    }

    /// Hands a frame over, and never waits. One that finds no room is dropped and counted.
    pub fn push(&self, frame: Frame) {
        let stream = frame.stream;
        let frame = match frame.payload.len() <= FRAME_BYTES_MAX {
            true => frame,
            // What it says is of no use; that it was there counts.
            false => Frame {
                codec: Codec::L16,
                payload: Vec::new(),
                ..frame
            },
        };
        let is_taken = self.queue.push(frame).is_ok();
        // Of a recording it is counted when that ends.
        if !is_taken && self.refused.push(stream).is_err() {
            Counters::add(&self.counters.dropped, 1);
        }
    }

    pub(crate) fn pop(&self) -> Option<Frame> {
        self.queue.pop()
    }

    /// The stream of a frame that found no room.
    pub(crate) fn pop_refused(&self) -> Option<u64> {
        self.refused.pop()
    }
}
