//! When the end of a stream may be told.
//!
//! quiche 0.30 takes a stream for complete when all of its bytes are acknowledged, although the empty
//! STREAM frame that says so has not left yet or was lost: it forgets the stream, and the peer never
//! learns that it has ended. So an end that comes by itself waits until nothing of its stream is
//! unacknowledged, which the marks in the bytes tell. (What was sent twice, and acknowledged once,
//! may still be forgotten so.)

use std::collections::VecDeque;
use std::rc::Rc;

use moqswitch_proto::wire::StreamId;
use rustc_hash::FxHashMap;

use super::buffers::Mark;

/// Streams of one connection that are written. No more than the peer allows.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Without their end so far: a mark that all bytes which quiche holds of the stream have.
    open: FxHashMap<StreamId, Mark>,
    /// Those whose end waits.
    waiting: VecDeque<StreamId>,
}

impl Ends {
    /// For bytes behind which more may come.
    pub(super) fn mark(&mut self, stream: StreamId) -> Mark {
        Rc::clone(self.open.entry(stream).or_default())
    }

    /// Whether an end that comes by itself may be told now. If not, [`Self::poll`] says when.
    pub(super) fn may_be_told(&mut self, stream: StreamId) -> bool {
        if self.is_held(stream) {
            self.waiting.push_back(stream);
            return false;
        }
        self.open.remove(&stream);
        true
    }

    /// Its end goes with its last bytes, or is not told at all.
    pub(super) fn forget(&mut self, stream: StreamId) {
        if self.open.remove(&stream).is_some() && !self.waiting.is_empty() {
            self.waiting.retain(|waiting| *waiting != stream);
        }
    }

    /// A stream whose end may be told now, after acknowledgements have come. Looks at some of them.
    pub(super) fn poll(&mut self) -> Option<StreamId> {
        for _ in 0..self.waiting.len().min(LOOKS_MAX) {
            let stream = self.waiting.pop_front()?;
            if !self.is_held(stream) {
                self.open.remove(&stream);
                return Some(stream);
            }
            self.waiting.push_back(stream);
        }
        None
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.open.len() + self.waiting.len()
    }

    fn is_held(&self, stream: StreamId) -> bool {
        self.open.get(&stream).is_some_and(|mark| Rc::strong_count(mark) > 1)
    }
}

/// At one datagram; the others have their turn at the next.
const LOOKS_MAX: usize = 64;
