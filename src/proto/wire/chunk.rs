//! Chunks: the runs of group bytes that the relay moves, and the two machines that make
//! and change them.
//!
//! A chunk keeps the bytes as they came, frame headers included, and remembers where the
//! headers are. Between peers whose drafts frame alike the bytes go on untouched; otherwise
//! only headers are written anew and payload is sliced, never copied.
//!
//! Invariants: a chunk never splits a frame header; marks ascend by offset; bytes before
//! the first mark continue the payload of a frame begun in an earlier chunk.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::object::{NORMAL, ObjectHeader};
use super::{DecodeError, FrameForm, FrameHeader};

/// Where one frame header sits in a chunk, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMark {
    /// Byte offset of the header in the chunk.
    pub offset: u32,
    /// Bytes of the header: 1 to 16, of objects with their properties more. The payload begins behind them.
    pub header_bytes: u16,
    /// Absolute, in units of the track's timescale. On a Plain upstream the arrival time.
    pub timestamp: u64,
    /// Payload bytes of the whole frame, which may go on beyond this chunk.
    pub size: u64,
    /// No frame, but an object that says where the group or the track ends. Peers of moq-lite are not told of it.
    pub is_end: bool,
}

/// A run of bytes of one group.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Headers and payload as they came. Never empty when a [`GroupParser`] made it.
    pub bytes: Bytes,
    /// The frame headers in `bytes`, by ascending offset; none when the bytes only continue a frame.
    pub marks: SmallVec<[FrameMark; 1]>,
    /// How the headers in `bytes` are written.
    pub form: FrameForm,
}

/// Splits the byte stream of one group, in any fragmentation, into chunks.
#[derive(Debug)]
pub struct GroupParser {
    form: FrameForm,
    /// Bytes of a frame header whose end has not arrived.
    partial_header: BytesMut,
    /// Payload bytes still to come of the frame being received.
    payload_left: u64,
    timestamp: u64,
    /// Units per second of the timestamps in properties of objects; without it they do not count.
    timescale: Option<u64>,
    /// The id of the last object, of which heads only say how far the next one is.
    object: Option<u64>,
}

impl GroupParser {
    /// A parser at the beginning of a group whose frames are headed in this form.
    pub fn new(form: FrameForm) -> Self {
        Self {
            form,
            partial_header: BytesMut::new(),
            payload_left: 0,
            timestamp: 0,
            timescale: None,
            object: None,
        }
    }

    /// The same for objects of a track that says how many units per second the timestamps in their properties count.
    pub fn with_timescale(form: FrameForm, timescale: Option<u64>) -> Self {
        Self {
            timescale,
            ..Self::new(form)
        }
    }

    /// Takes the next bytes of the group's stream. `None` when they end inside a header.
    ///
    /// A Plain stream carries no timestamps: its frames get `arrival_timestamp`, in
    /// milliseconds. Objects that say none get the same. Their timestamps are in [`OBJECT_TIMESCALE`].
    pub fn push(&mut self, data: Bytes, arrival_timestamp: u64) -> Result<Option<Chunk>, DecodeError> {
        let mut bytes = data;
        let mut marks = SmallVec::new();
        let mut payload_start = 0;
        if !self.partial_header.is_empty() {
            let mut held = std::mem::take(&mut self.partial_header);
            held.extend_from_slice(&bytes);
            match self.begin_frame(&held, 0, arrival_timestamp) {
                Ok(mark) => {
                    payload_start = usize::from(mark.header_bytes);
                    marks.push(mark);
                }
                Err(DecodeError::Truncated) => {
                    self.partial_header = held;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            bytes = held.freeze();
        }
        let mut offset = self.skip_payload(payload_start, bytes.len());

        while offset < bytes.len() {
            match self.begin_frame(&bytes[offset..], offset, arrival_timestamp) {
                Ok(mark) => {
                    offset = self.skip_payload(offset + usize::from(mark.header_bytes), bytes.len());
                    marks.push(mark);
                }
                Err(DecodeError::Truncated) => {
                    self.partial_header.extend_from_slice(&bytes[offset..]);
                    bytes.truncate(offset);
                }
                Err(error) => return Err(error),
            }
        }

        Ok((!bytes.is_empty()).then_some(Chunk {
            bytes,
            marks,
            form: self.form,
        }))
    }

    /// True when the stream may end here: no header or payload is outstanding.
    pub fn is_at_boundary(&self) -> bool {
        self.payload_left == 0 && self.partial_header.is_empty()
    }

    /// Bytes of a header that are kept until its end arrives.
    pub fn held_bytes(&self) -> usize {
        self.partial_header.len()
    }

    #[inline]
    fn begin_frame(&mut self, input: &[u8], offset: usize, arrival_timestamp: u64) -> Result<FrameMark, DecodeError> {
        let (size, header_bytes, is_end) = match self.form {
            FrameForm::Plain => {
                let (header, used) = FrameHeader::decode(FrameForm::Plain, input)?;
                self.timestamp = arrival_timestamp;
                (header.size, used, false)
            }
            FrameForm::Timed => {
                let (header, used) = FrameHeader::decode(FrameForm::Timed, input)?;
                self.timestamp = self
                    .timestamp
                    .checked_add_signed(header.timestamp_delta)
                    .ok_or(DecodeError::Invalid("frame timestamp below zero"))?;
                (header.size, used, false)
            }
            FrameForm::Objects | FrameForm::BareObjects => {
                let (header, used) = ObjectHeader::decode(self.form == FrameForm::Objects, input)?;
                self.object = Some(self.object_after(header.id_delta)?);
                let said = header.timestamp.zip(self.timescale);
                self.timestamp = said.map_or_else(
                    || rescaled(arrival_timestamp, PLAIN_TIMESCALE),
                    |(timestamp, timescale)| rescaled(timestamp, timescale),
                );
                (header.size, used, header.status != NORMAL)
            }
        };
        self.payload_left = size;
        Ok(FrameMark {
            offset: u32::try_from(offset).map_err(|_| DecodeError::TooLarge("chunk"))?,
            header_bytes: u16::try_from(header_bytes).map_err(|_| DecodeError::TooLarge("frame header"))?,
            timestamp: self.timestamp,
            size,
            is_end,
        })
    }

    /// Section 11.4.2: ids that overflow close the session, and nobody else is to see them.
    fn object_after(&self, id_delta: u64) -> Result<u64, DecodeError> {
        let next = self.object.map_or(Some(0), |last| last.checked_add(1));
        next.and_then(|next| next.checked_add(id_delta))
            .ok_or(DecodeError::Invalid("object id above 2^64-1"))
    }

    /// The offset behind the payload that is present from `offset` on.
    fn skip_payload(&mut self, offset: usize, end: usize) -> usize {
        let present = (end - offset) as u64;
        let taken = self.payload_left.min(present);
        self.payload_left -= taken;
        offset + usize::try_from(taken).expect("at most the length of a slice")
    }
}

/// Makes chunks of the frames of one group, headed as the newest draft has it.
#[derive(Debug, Default)]
pub struct GroupWriter {
    /// Of the last frame: headers carry differences.
    timestamp: u64,
}

impl GroupWriter {
    /// The chunks of the group's next frame: one, or header and payload apart when copying costs more. A timestamp that
    /// a header cannot carry is held at the last one that it can.
    pub fn push(&mut self, timestamp: u64, payload: &Bytes) -> SmallVec<[Chunk; 2]> {
        let timestamp = timestamp.min(TIMESTAMP_MAX);
        let header = FrameHeader {
            timestamp_delta: timestamp.cast_signed() - self.timestamp.cast_signed(),
            size: payload.len() as u64,
        };
        self.timestamp = timestamp;
        let is_joined = payload.len() <= JOINED_BYTES_MAX;
        let joined_bytes = if is_joined { payload.len() } else { 0 };
        let header_bytes = header.encoded_len(FrameForm::Timed);
        // No more than it needs: what is larger is shared by way of one more allocation.
        let mut head = BytesMut::with_capacity(header_bytes + joined_bytes);
        header
            .encode(FrameForm::Timed, &mut head)
            .expect("delta and size are within the varint range");
        let mark = FrameMark {
            offset: 0,
            header_bytes: u16::try_from(header_bytes).expect("at most two varints"),
            timestamp,
            size: header.size,
            is_end: false,
        };
        head.extend_from_slice(&payload[..joined_bytes]);
        let first = Chunk {
            bytes: head.freeze(),
            marks: SmallVec::from_elem(mark, 1),
            form: FrameForm::Timed,
        };
        let rest = (!is_joined).then(|| Chunk {
            bytes: payload.clone(),
            marks: SmallVec::new(),
            form: FrameForm::Timed,
        });
        std::iter::once(first).chain(rest).collect()
    }
}

/// Rewrites the chunks of one group into another frame form, or into a range of its frames.
#[derive(Debug)]
pub struct Transcoder {
    form: FrameForm,
    frame_start: u64,
    /// Inclusive.
    frame_end: Option<u64>,
    /// Index of the next frame header to come.
    frame_index: u64,
    /// Whether the payload being passed belongs to a frame in range.
    in_range: bool,
    timestamp: u64,
}

impl Transcoder {
    /// A machine at the beginning of a group. It writes headers in `form`, and of the frames those from index
    /// `frame_start` to `frame_end`, inclusive; `None`: to the end of the group.
    pub fn new(form: FrameForm, frame_start: u64, frame_end: Option<u64>) -> Self {
        Self {
            form,
            frame_start,
            frame_end,
            frame_index: 0,
            in_range: false,
            timestamp: 0,
        }
    }

    /// True when chunks of the `source` form may be sent as they came.
    pub fn is_identity(&self, source: FrameForm) -> bool {
        self.form == source && self.frame_start == 0 && self.frame_end.is_none()
    }

    /// Gives `out` the pieces that replace `chunk`. Every chunk of the group must be given
    /// once, in order.
    pub fn push(&mut self, chunk: &Chunk, out: &mut impl FnMut(Bytes)) {
        let first = chunk
            .marks
            .first()
            .map_or(chunk.bytes.len(), |mark| mark.offset as usize);
        if self.in_range && first > 0 {
            out(chunk.bytes.slice(..first));
        }
        for (index, mark) in chunk.marks.iter().enumerate() {
            let payload_start = mark.offset as usize + usize::from(mark.header_bytes);
            let payload_end = chunk
                .marks
                .get(index + 1)
                .map_or(chunk.bytes.len(), |next| next.offset as usize);
            self.push_frame(chunk, mark, payload_start..payload_end, out);
        }
    }

    fn push_frame(&mut self, chunk: &Chunk, mark: &FrameMark, payload: Range<usize>, out: &mut impl FnMut(Bytes)) {
        if mark.is_end && !self.form.is_of_objects() {
            self.in_range = false;
            return;
        }
        self.in_range =
            self.frame_index >= self.frame_start && self.frame_end.is_none_or(|end| self.frame_index <= end);
        self.frame_index += 1;
        if !self.in_range {
            return;
        }
        out(match self.form.is_of_objects() {
            true => object_head(chunk, mark),
            false => self.frame_head(mark),
        });
        if !payload.is_empty() {
            out(chunk.bytes.slice(payload));
        }
    }

    /// Deltas start from 0 in each group (FRAME, "Timestamp Delta"), and so they do in a group that is served from a
    /// later frame on. A timestamp that a zigzag varint cannot carry is held at the last one that it can.
    fn frame_head(&mut self, mark: &FrameMark) -> Bytes {
        let timestamp = mark.timestamp.min(TIMESTAMP_MAX);
        let header = FrameHeader {
            timestamp_delta: timestamp.cast_signed() - self.timestamp.cast_signed(),
            size: mark.size,
        };
        self.timestamp = timestamp;
        let mut head = BytesMut::with_capacity(FRAME_HEADER_BYTES_MAX);
        header
            .encode(self.form, &mut head)
            .expect("delta and size are within the varint range");
        head.freeze()
    }
}

/// The head of an object with properties, from that of a frame or of an object. Frames of moq-lite are the objects from 0
/// on, without gaps.
fn object_head(chunk: &Chunk, mark: &FrameMark) -> Bytes {
    let start = mark.offset as usize;
    let head = start..start + usize::from(mark.header_bytes);
    let header = match chunk.form {
        FrameForm::Objects => return chunk.bytes.slice(head),
        FrameForm::BareObjects => {
            ObjectHeader::decode(false, &chunk.bytes[head]).map_or_else(|_| ObjectHeader::default(), |it| it.0)
        }
        FrameForm::Plain | FrameForm::Timed => ObjectHeader {
            timestamp: Some(mark.timestamp),
            size: mark.size,
            ..ObjectHeader::default()
        },
    };
    let mut head = BytesMut::with_capacity(FRAME_HEADER_BYTES_MAX);
    header.encode(&mut head);
    head.freeze()
}

/// A timestamp of so many units per second in [`OBJECT_TIMESCALE`].
pub fn rescaled(timestamp: u64, timescale: u64) -> u64 {
    converted(timestamp, timescale, OBJECT_TIMESCALE)
}

/// A timestamp of so many units per second in others.
pub fn converted(timestamp: u64, from: u64, to: u64) -> u64 {
    if from == to {
        return timestamp;
    }
    let from = from.max(1);
    match timestamp.checked_mul(to) {
        Some(product) => product / from,
        None => {
            let scaled = u128::from(timestamp) * u128::from(to) / u128::from(from);
            u64::try_from(scaled).unwrap_or(u64::MAX)
        }
    }
}

/// Units per second of the timestamps of objects, whatever their track counts in.
pub const OBJECT_TIMESCALE: u64 = 1_000_000;

/// Units per second of the time of arrival.
const PLAIN_TIMESCALE: u64 = 1000;

/// Payload up to so many bytes is copied behind its header.
const JOINED_BYTES_MAX: usize = 512;

/// Two varints of eight bytes.
const FRAME_HEADER_BYTES_MAX: usize = 16;

/// Largest absolute timestamp whose zigzag form fits a 62-bit varint.
const TIMESTAMP_MAX: u64 = (1 << 61) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn group(form: FrameForm, frames: &[(u64, &[u8])]) -> Bytes {
        let mut out = BytesMut::new();
        let mut last = 0i64;
        for (timestamp, payload) in frames {
            let header = FrameHeader {
                timestamp_delta: timestamp.cast_signed() - last,
                size: payload.len() as u64,
            };
            last = timestamp.cast_signed();
            header.encode(form, &mut out).unwrap();
            out.extend_from_slice(payload);
        }
        out.freeze()
    }

    fn parse(form: FrameForm, bytes: &Bytes, step: usize, arrival: u64) -> Vec<Chunk> {
        let mut parser = GroupParser::new(form);
        let mut chunks = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + step).min(bytes.len());
            chunks.extend(parser.push(bytes.slice(at..end), arrival).unwrap());
            at = end;
        }
        assert!(parser.is_at_boundary());
        chunks
    }

    fn joined(chunks: &[Chunk]) -> Vec<u8> {
        chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }

    const FRAMES: [(u64, &[u8]); 5] = [
        (1000, b"hello"),
        (1020, b""),
        (1010, &[7; 300]),
        (90_000_000, b"x"),
        (90_000_001, b"tail"),
    ];

    #[test]
    fn any_fragmentation_gives_the_same_bytes_and_frames() {
        for form in [FrameForm::Plain, FrameForm::Timed] {
            let bytes = group(form, &FRAMES);
            for step in 1..=bytes.len() {
                let chunks = parse(form, &bytes, step, 5);
                assert_eq!(joined(&chunks), bytes.to_vec(), "step {step}");
                let sizes: Vec<u64> = chunks.iter().flat_map(|c| c.marks.iter().map(|m| m.size)).collect();
                assert_eq!(sizes, [5, 0, 300, 1, 4], "step {step}");
            }
        }
    }

    #[test]
    fn timestamps_are_absolute() {
        let chunks = parse(FrameForm::Timed, &group(FrameForm::Timed, &FRAMES), 3, 5);
        let stamps: Vec<u64> = chunks
            .iter()
            .flat_map(|c| c.marks.iter().map(|m| m.timestamp))
            .collect();
        assert_eq!(stamps, [1000, 1020, 1010, 90_000_000, 90_000_001]);
        let chunks = parse(FrameForm::Plain, &group(FrameForm::Plain, &FRAMES), 3, 5);
        assert!(chunks.iter().flat_map(|c| &c.marks).all(|m| m.timestamp == 5));
    }

    #[test]
    fn transcoding_between_forms_keeps_frames() {
        for step in [1, 2, 7, 400] {
            let chunks = parse(FrameForm::Timed, &group(FrameForm::Timed, &FRAMES), step, 0);
            let mut transcoder = Transcoder::new(FrameForm::Plain, 0, None);
            assert!(!transcoder.is_identity(FrameForm::Timed));
            let mut out = Vec::new();
            for chunk in &chunks {
                transcoder.push(chunk, &mut |piece| out.extend_from_slice(&piece));
            }
            assert_eq!(out, group(FrameForm::Plain, &FRAMES).to_vec());
        }
    }

    #[test]
    fn a_frame_range_is_cut_out_exactly() {
        let chunks = parse(FrameForm::Timed, &group(FrameForm::Timed, &FRAMES), 3, 0);
        let mut transcoder = Transcoder::new(FrameForm::Timed, 1, Some(3));
        let mut out = Vec::new();
        for chunk in &chunks {
            transcoder.push(chunk, &mut |piece| out.extend_from_slice(&piece));
        }
        assert_eq!(out, group(FrameForm::Timed, &FRAMES[1..4]).to_vec());
    }

    #[test]
    fn an_end_inside_a_frame_is_seen() {
        let bytes = group(FrameForm::Timed, &FRAMES);
        let mut boundaries = 0;
        for end in 0..bytes.len() {
            let mut parser = GroupParser::new(FrameForm::Timed);
            parser.push(bytes.slice(..end), 0).unwrap();
            boundaries += usize::from(parser.is_at_boundary());
        }
        assert_eq!(
            boundaries,
            FRAMES.len(),
            "the start and the end of each frame but the last"
        );
    }

    #[test]
    fn a_timestamp_below_zero_is_refused() {
        let mut out = BytesMut::new();
        let header = FrameHeader {
            timestamp_delta: -1,
            size: 0,
        };
        header.encode(FrameForm::Timed, &mut out).unwrap();
        assert!(GroupParser::new(FrameForm::Timed).push(out.freeze(), 0).is_err());
    }

    #[test]
    fn objects_become_frames_and_frames_objects() {
        let mut bytes = BytesMut::new();
        // Ids 0, 2 and 3, then the end of the group; the second has a property that is none of ours.
        bytes.extend_from_slice(&[
            0, 2, 0x10, 20, 1, b'a', 1, 4, 0x0b, 2, 7, 7, 2, b'b', b'c', 0, 0, 0, 0, 0, 0, 0, 3,
        ]);
        let bytes = bytes.freeze();
        for step in 1..=bytes.len() {
            let mut parser = GroupParser::with_timescale(FrameForm::Objects, Some(1000));
            let mut chunks = Vec::new();
            for piece in bytes.chunks(step) {
                chunks.extend(parser.push(Bytes::copy_from_slice(piece), 5).unwrap());
            }
            assert!(parser.is_at_boundary());
            assert_eq!(joined(&chunks), bytes.to_vec());
            assert!(Transcoder::new(FrameForm::Objects, 0, None).is_identity(chunks[0].form));
            let timed = transcoded(&chunks, FrameForm::Timed);
            assert_eq!(
                timed,
                group(FrameForm::Timed, &[(20_000, b"a"), (5000, b"bc"), (5000, b"")]).to_vec()
            );
        }
        let chunks = parse(
            FrameForm::Timed,
            &group(FrameForm::Timed, &[(20, b"a"), (21, b"")]),
            2,
            0,
        );
        assert_eq!(
            transcoded(&chunks, FrameForm::Objects),
            [0, 2, 0x10, 20, 1, b'a', 0, 2, 0x10, 21, 0, 0]
        );
    }

    #[test]
    fn objects_without_properties_keep_their_ids_and_ends() {
        let bytes = Bytes::from_static(&[4, 1, b'a', 2, 0, 3]);
        let chunks = parse(FrameForm::BareObjects, &bytes, 1, 9);
        assert_eq!(transcoded(&chunks, FrameForm::Objects), [4, 0, 1, b'a', 2, 0, 0, 3]);
        assert_eq!(transcoded(&chunks, FrameForm::Plain), [1, b'a']);
    }

    #[test]
    fn object_ids_do_not_overflow() {
        let most = [0xff; 9];
        let (last, one, none) = ([&most[..], &[1, b'a']].concat(), [1, 0, 0], [0, 0, 0]);
        let nearly = [&[0xff; 8][..], &[0xfe, 1, b'a']].concat();
        for (first, second, is_valid) in [(&last, none, false), (&nearly, none, true), (&nearly, one, false)] {
            let mut parser = GroupParser::new(FrameForm::BareObjects);
            assert!(parser.push(Bytes::from(first.clone()), 0).is_ok());
            let pushed = parser.push(Bytes::copy_from_slice(&second), 0);
            assert_eq!(pushed.is_ok(), is_valid, "{first:?} {second:?}");
        }
    }

    #[test]
    fn timestamps_are_converted_the_same_by_each_way() {
        for timestamp in [0, 1, 90_001, 1 << 40, 1 << 62, u64::MAX] {
            for timescale in [0, 1, 1000, 48_000, OBJECT_TIMESCALE, 1 << 62, u64::MAX] {
                let wide = u128::from(timestamp) * u128::from(OBJECT_TIMESCALE) / u128::from(timescale.max(1));
                let right = u64::try_from(wide).unwrap_or(u64::MAX);
                assert_eq!(rescaled(timestamp, timescale), right, "{timestamp} {timescale}");
            }
        }
    }

    #[test]
    fn a_head_in_pieces_is_held_and_counted() {
        let mut parser = GroupParser::new(FrameForm::Objects);
        let head = Bytes::from_static(&[0, 4, 0x0b, 2, 7, 7, 1]);
        for (at, byte) in head.iter().enumerate() {
            assert_eq!(parser.held_bytes(), at);
            let chunk = parser.push(Bytes::copy_from_slice(&[*byte]), 0).unwrap();
            assert_eq!(chunk.is_some(), at + 1 == head.len());
        }
        assert_eq!(parser.held_bytes(), 0);
        assert!(!parser.is_at_boundary());
    }

    fn transcoded(chunks: &[Chunk], form: FrameForm) -> Vec<u8> {
        let mut transcoder = Transcoder::new(form, 0, None);
        let mut out = Vec::new();
        for chunk in chunks {
            transcoder.push(chunk, &mut |piece| out.extend_from_slice(&piece));
        }
        out
    }
}
