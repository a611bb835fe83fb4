//! One group: its chunks as received, and the cursors that read it.

use std::time::Instant;

use bytes::Bytes;
use slab::Slab;
use smallvec::SmallVec;

use moqswitch_proto::wire::{Chunk, ErrorCode, FrameMark, GroupSequence};

use super::counting::CountedGroup;
use super::ids::{FetchKey, PeerKey, TrackKey};

/// Names a group for as long as it is kept: slab index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupToken(pub(super) u64);

/// A subscriber's place in a group, kept in its egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) peer: PeerKey,
    pub(super) out: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Ended,
    Aborted(ErrorCode),
}

#[derive(Debug)]
pub(super) struct Group {
    /// `None`: not part of a track's cache (a fetched group, a datagram).
    track: Option<TrackKey>,
    /// The fetch that fills it, while it does.
    fetch: Option<FetchKey>,
    sequence: GroupSequence,
    started: Instant,
    /// Of the first frame, in units of the track's timescale.
    first_timestamp: Option<u64>,
    chunks: SmallVec<[Chunk; 1]>,
    bytes: usize,
    progress: Progress,
    readers: SmallVec<[Reader; 4]>,
    /// Where what comes and goes of it is counted, if anybody wants to know.
    counted: Option<CountedGroup>,
}

/// All groups of a shard.
#[derive(Debug, Default)]
pub(super) struct Groups {
    slab: Slab<(u32, Group)>,
    next_generation: u32,
    bytes: usize,
}

impl Group {
    pub(super) fn track(&self) -> Option<TrackKey> {
        self.track
    }

    pub(super) fn fetch(&self) -> Option<FetchKey> {
        self.fetch
    }

    pub(super) fn sequence(&self) -> GroupSequence {
        self.sequence
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn first_timestamp(&self) -> Option<u64> {
        self.first_timestamp
    }

    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    pub(super) fn readers(&self) -> &SmallVec<[Reader; 4]> {
        &self.readers
    }

    /// No chunk follows; false when that was known.
    pub(super) fn conclude(&mut self, progress: Progress) -> bool {
        let was_open = self.progress == Progress::Open;
        if was_open {
            self.progress = progress;
        }
        was_open
    }

    /// It serves nobody who comes later.
    pub(super) fn leave_cache(&mut self) {
        self.track = None;
    }

    /// Which fetch fills it from here on.
    pub(super) fn set_fetch(&mut self, fetch: Option<FetchKey>) {
        self.fetch = fetch;
    }

    pub(super) fn counted(&self) -> Option<&CountedGroup> {
        self.counted.as_ref()
    }

    pub(super) fn set_counted(&mut self, counted: Option<CountedGroup>) {
        self.counted = counted;
    }

    pub(super) fn add_reader(&mut self, reader: Reader) {
        self.readers.push(reader);
    }

    pub(super) fn remove_reader(&mut self, peer: PeerKey, out: usize) {
        self.readers
            .retain(|reader| reader.peer != peer || reader.out as usize != out);
    }
}

impl Groups {
    pub(super) fn insert(&mut self, track: Option<TrackKey>, sequence: GroupSequence, now: Instant) -> GroupToken {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.slab.insert((
            generation,
            Group {
                track,
                fetch: None,
                sequence,
                started: now,
                first_timestamp: None,
                chunks: SmallVec::new(),
                bytes: 0,
                progress: Progress::Open,
                readers: SmallVec::new(),
                counted: None,
            },
        ));
        GroupToken((index as u64) << 32 | u64::from(generation))
    }

    pub(super) fn get(&self, token: GroupToken) -> Option<&Group> {
        let (generation, group) = self.slab.get(index(token))?;
        (u64::from(*generation) == token.0 & GENERATION).then_some(group)
    }

    pub(super) fn get_mut(&mut self, token: GroupToken) -> Option<&mut Group> {
        let (generation, group) = self.slab.get_mut(index(token))?;
        (u64::from(*generation) == token.0 & GENERATION).then_some(group)
    }

    pub(super) fn remove(&mut self, token: GroupToken) -> Option<Group> {
        self.get(token)?;
        let (_, group) = self.slab.remove(index(token));
        self.bytes -= group.bytes;
        Some(group)
    }

    /// Appends a chunk that is [`unpinned`], and counts its bytes.
    pub(super) fn append(&mut self, token: GroupToken, chunk: Chunk) {
        let bytes = cost_of(&chunk);
        let Some(group) = self.get_mut(token) else { return };
        group.bytes += bytes;
        if group.first_timestamp.is_none() {
            group.first_timestamp = chunk.marks.first().map(|mark| mark.timestamp);
        }
        group.chunks.push(chunk);
        self.bytes += bytes;
    }

    /// Memory that all chunks take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }
}

fn index(token: GroupToken) -> usize {
    usize::try_from(token.0 >> 32).unwrap_or(usize::MAX)
}

const GENERATION: u64 = u32::MAX as u64;

/// A chunk that may be kept. A small one that shares its memory is copied: it would hold the whole block that it was read into.
pub(super) fn unpinned(mut chunk: Chunk) -> Chunk {
    if chunk.bytes.len() < COPIED_BYTES_MAX && !chunk.bytes.is_unique() {
        chunk.bytes = Bytes::copy_from_slice(&chunk.bytes);
    }
    chunk
}

/// Chunks below are copied.
const COPIED_BYTES_MAX: usize = 1024;

/// What another counts for at least: with it, no more than four times of what is counted is held.
const PINNED_BYTES_MIN: usize = 4096;

/// Memory that a cached chunk takes. Marks cost more than the empty frames they stand for.
pub(super) fn cost_of(chunk: &Chunk) -> usize {
    let marks = if chunk.marks.spilled() {
        chunk.marks.capacity()
    } else {
        0
    };
    let length = chunk.bytes.len();
    let held = match length < COPIED_BYTES_MAX {
        true => length,
        false => length.max(PINNED_BYTES_MIN),
    };
    size_of::<Chunk>() + held + marks * size_of::<FrameMark>()
}

#[cfg(test)]
mod tests {
    use moqswitch_proto::wire::FrameForm;

    use super::*;

    #[test]
    fn a_small_chunk_does_not_hold_the_block_that_it_was_read_into() {
        let block = Bytes::from(vec![7; 16 * 1024]);
        let mut groups = Groups::default();
        let token = groups.insert(None, GroupSequence(0), Instant::now());
        let chunk = |range: std::ops::Range<usize>| Chunk {
            bytes: block.slice(range),
            marks: SmallVec::new(),
            form: FrameForm::Plain,
        };
        groups.append(token, unpinned(chunk(0..COPIED_BYTES_MAX - 1)));
        assert!(block.is_unique());
        groups.append(token, unpinned(chunk(0..COPIED_BYTES_MAX)));
        assert!(!block.is_unique());
        assert!(groups.bytes() >= COPIED_BYTES_MAX + PINNED_BYTES_MIN - 1);
        groups.remove(token);
        assert_eq!(groups.bytes(), 0);
    }
}
