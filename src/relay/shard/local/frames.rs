//! Groups of a local peer's tracks, taken apart into frames.
//!
//! A local peer is given the same bytes as a session of draft 06 would be: headers and payload. The usual group of a
//! call is one frame that arrived in one piece, and goes through without a copy.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use moqswitch_proto::wire::{ErrorCode, FrameForm, GroupParser, GroupSequence, GroupWriter, stream_error};

use crate::limits::{LOCAL_EVENTS_PER_TURN_MAX, LOCAL_FRAME_BYTES_MAX};

use super::events::LocalEvent;

/// How a group of one frame travels to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As a datagram where the session takes them, which may be lost, else as a stream. It is in no cache, so that who
    /// subscribes later does not get it.
    Datagram,
    /// As a stream, from the cache.
    Stream,
}

/// A group that is being published; made by [`Host::begin_group`](super::Host::begin_group).
#[derive(Debug)]
pub struct LocalGroup {
    pub(super) token: u64,
    pub(super) frames: GroupWriter,
}

impl LocalGroup {
    pub(super) fn new(token: u64) -> Self {
        Self {
            token,
            frames: GroupWriter::default(),
        }
    }
}

/// A group on its way to a local peer.
#[derive(Debug)]
pub(super) struct OpenGroup {
    tag: u64,
    sequence: GroupSequence,
    parser: GroupParser,
    frame: Option<OpenFrame>,
}

/// A frame of which bytes are missing.
#[derive(Debug)]
struct OpenFrame {
    timestamp: u64,
    size: usize,
    pieces: SmallVec<[Bytes; 2]>,
    bytes: usize,
}

impl OpenGroup {
    pub(super) fn new(tag: u64, sequence: GroupSequence) -> Self {
        Self {
            tag,
            sequence,
            parser: GroupParser::new(FORM),
            frame: None,
        }
    }

    /// Takes the next bytes of the group and tells what came of them. After an error the group is over, which was told.
    pub(super) fn push(&mut self, bytes: Bytes, fin: bool, events: &mut VecDeque<LocalEvent>) -> Result<(), ErrorCode> {
        let told = events.len();
        let taken = self.take(bytes, events);
        let is_torn = fin && !self.parser.is_at_boundary();
        let code = taken.err().or_else(|| is_torn.then_some(stream_error::WRONG_SIZE));
        if let Some(code) = code {
            events.push_back(self.ended(Some(code)));
            return Err(code);
        }
        if fin {
            let has_told = events.len() > told;
            match events.back_mut().filter(|_| has_told) {
                Some(LocalEvent::Frame { ends_group, .. }) => *ends_group = true,
                _ => events.push_back(self.ended(None)),
            }
        }
        Ok(())
    }

    /// What is told of a group of which no frame follows.
    pub(super) fn ended(&self, code: Option<ErrorCode>) -> LocalEvent {
        LocalEvent::GroupEnded {
            tag: self.tag,
            group: self.sequence,
            code,
        }
    }

    fn take(&mut self, bytes: Bytes, events: &mut VecDeque<LocalEvent>) -> Result<(), ErrorCode> {
        let chunk = self.parser.push(bytes, 0).map_err(|_| stream_error::MALFORMED_TRACK)?;
        let Some(chunk) = chunk else { return Ok(()) };
        if chunk.marks.len() > LOCAL_EVENTS_PER_TURN_MAX {
            return Err(stream_error::MALFORMED_TRACK);
        }
        let mut at = 0;
        for mark in &chunk.marks {
            let header = mark.offset as usize;
            self.add(chunk.bytes.slice(at..header), events);
            at = header + usize::from(mark.header_bytes);
            let size = usize::try_from(mark.size)
                .ok()
                .filter(|size| *size <= LOCAL_FRAME_BYTES_MAX);
            self.frame = Some(OpenFrame {
                timestamp: mark.timestamp,
                size: size.ok_or(stream_error::FRAME_TOO_LARGE)?,
                pieces: SmallVec::new(),
                bytes: 0,
            });
        }
        self.add(chunk.bytes.slice(at..), events);
        Ok(())
    }

    /// Payload of the frame that is open. Tells of the frame when it is whole.
    fn add(&mut self, piece: Bytes, events: &mut VecDeque<LocalEvent>) {
        let Some(frame) = &mut self.frame else { return };
        frame.bytes += piece.len();
        if !piece.is_empty() {
            frame.pieces.push(piece);
        }
        if frame.bytes < frame.size {
            return;
        }
        events.push_back(LocalEvent::Frame {
            tag: self.tag,
            group: self.sequence,
            timestamp: frame.timestamp,
            payload: joined(&mut frame.pieces, frame.size),
            ends_group: false,
        });
        self.frame = None;
    }
}

fn joined(pieces: &mut SmallVec<[Bytes; 2]>, size: usize) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(size);
    pieces.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
    whole.freeze()
}

/// What draft 06 writes, and so what local peers read.
const FORM: FrameForm = FrameForm::Timed;

#[cfg(test)]
mod tests {
    use super::*;
    use moqswitch_proto::wire::FrameHeader;

    fn told(bytes: &[u8], step: usize, fin: bool) -> (Vec<LocalEvent>, Result<(), ErrorCode>) {
        let mut group = OpenGroup::new(7, GroupSequence(3));
        let mut events = VecDeque::new();
        let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let is_last = index + 1 == pieces.len();
            let pushed = group.push(Bytes::copy_from_slice(piece), fin && is_last, &mut events);
            if is_last || pushed.is_err() {
                return (events.into(), pushed);
            }
        }
        (events.into(), Ok(()))
    }

    fn written(frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut group = GroupWriter::default();
        let chunks = frames
            .iter()
            .flat_map(|(timestamp, payload)| group.push(*timestamp, &Bytes::copy_from_slice(payload)));
        chunks.flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }

    const FRAMES: [(u64, &[u8]); 4] = [(900, b"one"), (960, b""), (940, &[5; 700]), (1000, b"last")];

    #[test]
    fn what_is_written_is_read_in_any_fragmentation() {
        let bytes = written(&FRAMES);
        for step in 1..=bytes.len() {
            let (events, pushed) = told(&bytes, step, true);
            pushed.unwrap();
            let frames: Vec<(u64, Vec<u8>, bool)> = events
                .iter()
                .map(|event| match event {
                    LocalEvent::Frame {
                        tag: 7,
                        group: GroupSequence(3),
                        timestamp,
                        payload,
                        ends_group,
                    } => (*timestamp, payload.to_vec(), *ends_group),
                    other => panic!("step {step}: {other:?}"),
                })
                .collect();
            let wanted: Vec<(u64, Vec<u8>, bool)> = FRAMES
                .iter()
                .map(|(timestamp, payload)| (*timestamp, payload.to_vec(), *timestamp == 1000))
                .collect();
            assert_eq!(frames, wanted, "step {step}");
        }
    }

    #[test]
    fn an_end_without_bytes_is_told_by_itself() {
        let mut group = OpenGroup::new(7, GroupSequence(3));
        let mut events = VecDeque::new();
        group.push(written(&FRAMES[..1]).into(), false, &mut events).unwrap();
        group.push(Bytes::new(), true, &mut events).unwrap();
        assert!(matches!(
            events.make_contiguous(),
            [
                LocalEvent::Frame { ends_group: false, .. },
                LocalEvent::GroupEnded { code: None, .. }
            ]
        ));
    }

    #[test]
    fn half_a_frame_and_a_huge_one_end_the_group() {
        let mut bytes = written(&FRAMES[..1]);
        bytes.pop();
        let (events, pushed) = told(&bytes, 1, true);
        assert_eq!(pushed, Err(stream_error::WRONG_SIZE));
        assert!(matches!(events[..], [LocalEvent::GroupEnded { code: Some(_), .. }]));

        let mut huge = BytesMut::new();
        let header = FrameHeader {
            timestamp_delta: 0,
            size: LOCAL_FRAME_BYTES_MAX as u64 + 1,
        };
        header.encode(FORM, &mut huge).unwrap();
        let (events, pushed) = told(&huge, 1, false);
        assert_eq!(pushed, Err(stream_error::FRAME_TOO_LARGE));
        assert!(matches!(events[..], [LocalEvent::GroupEnded { code: Some(_), .. }]));
    }
}
