//! Groups that are coming, put together from their pieces.

use std::collections::BTreeMap;

use bytes::BytesMut;
use moqswitch_proto::wire::{Chunk, GroupHeader, StreamId, SubscribeId};

use crate::limits::{HANDSET_FRAME_BYTES_MAX, HANDSET_GROUP_BYTES_MAX, HANDSET_GROUPS_MAX};

/// A group that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) subscribe: SubscribeId,
    pub(super) number: u64,
    /// Each with its timestamp.
    pub(super) frames: Vec<(u64, BytesMut)>,
}

/// Those that are not.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<StreamId, Coming>);

#[derive(Debug)]
struct Coming {
    group: Group,
    /// Bytes that the last frame lacks. `None`: it is too long, and left out.
    missing: Option<u64>,
    bytes: usize,
}

impl Groups {
    /// One begins. When there are too many the one that began first is given up.
    pub(super) fn begin(&mut self, stream: StreamId, header: &GroupHeader) {
        if self.0.len() >= HANDSET_GROUPS_MAX {
            self.0.pop_first();
        }
        let group = Group {
            subscribe: header.subscribe,
            number: header.sequence.0,
            frames: Vec::new(),
        };
        let coming = Coming {
            group,
            missing: Some(0),
            bytes: 0,
        };
        self.0.insert(stream, coming);
    }

    /// More of it. One with more bytes than audio has is given up.
    pub(super) fn push(&mut self, stream: StreamId, chunk: &Chunk) {
        let Some(coming) = self.0.get_mut(&stream) else { return };
        let mut at = 0;
        for mark in &chunk.marks {
            let header = mark.offset as usize;
            coming.add(chunk.bytes.get(at..header).unwrap_or_default());
            at = header + usize::from(mark.header_bytes);
            // An empty one takes room, too.
            coming.bytes += usize::from(mark.header_bytes) + FRAME_BYTES;
            coming.group.frames.push((mark.timestamp, BytesMut::new()));
            let is_short = mark.size <= HANDSET_FRAME_BYTES_MAX as u64;
            coming.missing = coming.missing.and(is_short.then_some(mark.size));
        }
        coming.add(chunk.bytes.get(at..).unwrap_or_default());
        if coming.missing.is_none() {
            self.0.remove(&stream);
        }
    }

    /// All of it has come. `None`: it was given up.
    pub(super) fn end(&mut self, stream: StreamId) -> Option<Group> {
        let coming = self.0.remove(&stream)?;
        (coming.missing == Some(0) && !coming.group.frames.is_empty()).then_some(coming.group)
    }

    /// It does not come.
    pub(super) fn forget(&mut self, stream: StreamId) {
        self.0.remove(&stream);
    }
}

/// What each frame takes beside its bytes.
const FRAME_BYTES: usize = 64;

impl Coming {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let missing = self.missing.and_then(|missing| missing.checked_sub(bytes.len() as u64));
        self.missing = missing.filter(|_| self.bytes <= HANDSET_GROUP_BYTES_MAX);
        if let (Some(_), Some((_, frame))) = (self.missing, self.group.frames.last_mut()) {
            frame.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use moqswitch_proto::wire::{FrameForm, GroupParser, GroupSequence, GroupWriter};

    use super::*;

    const STREAM: StreamId = StreamId(3);

    fn groups() -> Groups {
        let mut groups = Groups::default();
        groups.begin(
            STREAM,
            &GroupHeader {
                subscribe: SubscribeId(1),
                sequence: GroupSequence(7),
                frame_start: 0,
            },
        );
        groups
    }

    fn feed(groups: &mut Groups, bytes: &[u8], step: usize) {
        let mut parser = GroupParser::new(FrameForm::Timed);
        for piece in bytes.chunks(step) {
            if let Some(chunk) = parser.push(Bytes::copy_from_slice(piece), 0).unwrap() {
                groups.push(STREAM, &chunk);
            }
        }
    }

    fn written(frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut group = GroupWriter::default();
        let chunks = frames
            .iter()
            .flat_map(|(timestamp, payload)| group.push(*timestamp, &Bytes::copy_from_slice(payload)));
        chunks.flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }

    #[test]
    fn groups_are_put_together_from_any_pieces() {
        let bytes = written(&[(960, b"one"), (1920, b""), (2880, b"three")]);
        for step in 1..=bytes.len() {
            let mut groups = groups();
            feed(&mut groups, &bytes, step);
            let group = groups.end(STREAM).unwrap();
            let frames: Vec<(u64, &[u8])> = group.frames.iter().map(|(at, frame)| (*at, &frame[..])).collect();
            assert_eq!(frames, [(960, &b"one"[..]), (1920, b""), (2880, b"three")], "{step}");
            assert_eq!(groups.end(STREAM), None);
        }
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_none() {
        let bytes = written(&[(960, &[5; 100])]);
        for end in 0..bytes.len() {
            let mut groups = groups();
            feed(&mut groups, &bytes[..end], 16);
            assert_eq!(groups.end(STREAM), None, "{end}");
        }
        let mut groups = groups();
        let long = vec![0; HANDSET_FRAME_BYTES_MAX + 1];
        feed(&mut groups, &written(&[(0, &long)]), 1000);
        assert!(groups.0.is_empty());
        for stream in 0..1000 {
            let header = GroupHeader {
                subscribe: SubscribeId(1),
                sequence: GroupSequence(stream),
                frame_start: 0,
            };
            groups.begin(StreamId(stream), &header);
        }
        assert_eq!(groups.0.len(), HANDSET_GROUPS_MAX);
    }
}
