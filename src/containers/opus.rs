//! Packets of Opus (RFC 6716), as far as a file has to know them: how long they are, and how two are joined.

use crate::limits::PACKET_BYTES_MAX;

/// Samples of 48 kHz in 20 ms.
pub const SLOT_SAMPLES: u32 = 960;

/// 20 ms of silence, of one channel.
pub const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// The frames of a packet.
struct Frames<'a> {
    /// Where the data of the first frame begins.
    begin: usize,
    /// Bytes of each.
    lengths: Vec<usize>,
    packet: &'a [u8],
}

/// How long a packet is, in samples of 48 kHz. `None`: it is none (RFC 6716, section 3.4).
pub fn samples(packet: &[u8]) -> Option<u32> {
    let frames = Frames::parse(packet)?;
    let count = u32::try_from(frames.lengths.len()).ok()?;
    Some(count * frame_samples(packet[0]))
}

/// How many channels are coded in a packet. `None`: it is empty.
pub fn channels(packet: &[u8]) -> Option<u8> {
    packet.first().map(|toc| 1 + (toc >> 2 & 1))
}

/// A packet that says 20 ms of its stream are lost or not sent: as the packet before it, with an empty frame.
pub fn nothing(before: Option<&[u8]>) -> [u8; 1] {
    match before.and_then(|packet| packet.first()) {
        Some(toc) if frame_samples(*toc) == SLOT_SAMPLES => [toc & 0xfc],
        _ => [0xf8],
    }
}

/// A packet as several of 20 ms each: one of 20 ms is itself, one of several such frames is cut. `None`: it is no packet, or
/// one that cannot be cut so.
pub fn slots(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let frames = Frames::parse(packet)?;
    let each = frame_samples(packet[0]);
    let count = u32::try_from(frames.lengths.len()).ok()?;
    if each * count == SLOT_SAMPLES {
        return Some(vec![packet.to_vec()]);
    }
    if each != SLOT_SAMPLES {
        return None;
    }
    let mut begin = frames.begin;
    let cut = frames.lengths.iter().map(|length| {
        let data = &frames.packet[begin..begin + length];
        begin += length;
        let mut slot = Vec::with_capacity(1 + length);
        slot.push(packet[0] & 0xfc);
        slot.extend_from_slice(data);
        slot
    });
    Some(cut.collect())
}

/// Two packets as the one of a file with two streams: the first delimits itself (RFC 6716, appendix B). `None`: one of them
/// is none, or they are not equally long.
pub fn join(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    if samples(first)? != samples(second)? {
        return None;
    }
    let frames = Frames::parse(first)?;
    let last = *frames.lengths.last()?;
    let mut joined = Vec::with_capacity(first.len() + second.len() + 2);
    joined.extend_from_slice(&first[..frames.begin]);
    write_length(last, &mut joined);
    joined.extend_from_slice(&first[frames.begin..]);
    joined.extend_from_slice(second);
    Some(joined)
}

/// The two packets that were joined. `None`: there are not two.
pub fn split(joined: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let toc = *joined.first()?;
    // Where the length that was added is, and how much there is behind it.
    let (at, before, padding, count) = match toc & 3 {
        0 => (1, 0, 0, 1),
        1 => (1, 0, 0, 2),
        2 => {
            let (length, bytes) = read_length(&joined[1..])?;
            (1 + bytes, length, 0, 1)
        }
        _ => {
            let head = Head::parse(joined)?;
            let mut at = head.begin;
            if !head.varies {
                (at, 0, head.padding, head.count)
            } else {
                let mut before = 0;
                for _ in 1..head.count {
                    let (length, bytes) = read_length(joined.get(at..)?)?;
                    before += length;
                    at += bytes;
                }
                (at, before, head.padding, 1)
            }
        }
    };
    let (length, bytes) = read_length(joined.get(at..)?)?;
    let end = at + bytes + before + length * count + padding;
    let mut first = joined.get(..at)?.to_vec();
    first.extend_from_slice(joined.get(at + bytes..end)?);
    samples(&first)?;
    Some((first, &joined[end..]))
}

/// What is before the lengths of a packet with any number of frames (RFC 6716, section 3.2.5).
struct Head {
    count: usize,
    varies: bool,
    padding: usize,
    begin: usize,
}

impl Head {
    fn parse(packet: &[u8]) -> Option<Self> {
        let byte = *packet.get(1)?;
        let (mut begin, mut padding) = (2, 0);
        if byte & 0x40 != 0 {
            loop {
                let more = usize::from(*packet.get(begin)?);
                begin += 1;
                padding += more.min(254);
                if more < 255 {
                    break;
                }
            }
        }
        Some(Self {
            count: usize::from(byte & 0x3f),
            varies: byte & 0x80 != 0,
            padding,
            begin,
        })
    }
}

impl<'a> Frames<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let toc = *packet.first()?;
        if packet.len() > PACKET_BYTES_MAX {
            return None;
        }
        let (begin, lengths) = match toc & 3 {
            0 => (1, vec![packet.len() - 1]),
            1 => {
                let rest = packet.len() - 1;
                (1, rest.is_multiple_of(2).then(|| vec![rest / 2; 2])?)
            }
            2 => {
                let (first, bytes) = read_length(&packet[1..])?;
                let rest = packet.len().checked_sub(1 + bytes + first)?;
                (1 + bytes, vec![first, rest])
            }
            _ => Self::any(packet, toc)?,
        };
        let is_valid = lengths.iter().all(|length| *length <= FRAME_BYTES_MAX);
        is_valid.then_some(Self { begin, lengths, packet })
    }

    fn any(packet: &[u8], toc: u8) -> Option<(usize, Vec<usize>)> {
        let head = Head::parse(packet)?;
        let count = u32::try_from(head.count).ok()?;
        if count == 0 || count * frame_samples(toc) > DURATION_MAX {
            return None;
        }
        let mut begin = head.begin;
        let mut lengths = Vec::with_capacity(head.count);
        if head.varies {
            for _ in 1..head.count {
                let (length, bytes) = read_length(packet.get(begin..)?)?;
                lengths.push(length);
                begin += bytes;
            }
        }
        let rest = packet.len().checked_sub(begin + head.padding)?;
        if head.varies {
            lengths.push(rest.checked_sub(lengths.iter().sum())?);
        } else {
            lengths.resize(head.count, rest / head.count);
            if !rest.is_multiple_of(head.count) {
                return None;
            }
        }
        Some((begin, lengths))
    }
}

/// RFC 6716, section 3.1, table 2.
fn frame_samples(toc: u8) -> u32 {
    let configuration = toc >> 3;
    match configuration {
        0..12 => [480, 960, 1920, 2880][usize::from(configuration & 3)],
        12..16 => [480, 960][usize::from(configuration & 1)],
        _ => [120, 240, 480, 960][usize::from(configuration & 3)],
    }
}

/// RFC 6716, section 3.2.1.
fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [first @ 0..252, ..] => Some((usize::from(first), 1)),
        [first, second, ..] => Some((usize::from(second) * 4 + usize::from(first), 2)),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a frame has 1275 bytes at most")]
fn write_length(length: usize, out: &mut Vec<u8>) {
    if length < 252 {
        out.push(length as u8);
    } else {
        let first = 252 + (length & 3);
        out.push(first as u8);
        out.push(((length - first) >> 2) as u8);
    }
}

/// Bytes of a frame.
const FRAME_BYTES_MAX: usize = 1275;

/// 120 ms.
const DURATION_MAX: u32 = 5760;

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of each way to count frames, in 20 ms of CELT.
    fn packets() -> Vec<Vec<u8>> {
        let body = |length: usize| (0..length).map(|i| u8::try_from(i % 251).unwrap());
        let of = |head: &[u8], length| head.iter().copied().chain(body(length)).collect::<Vec<u8>>();
        vec![
            of(&[0xf8], 0),
            of(&[0xf8], 100),
            of(&[0xf8], 251),
            of(&[0xf8], 252),
            of(&[0xf8], 1275),
            // Two of 10 ms, equal and not.
            of(&[0xf1], 600),
            of(&[0xf2, 252, 10], 292 + 17),
            // Four of 5 ms, of one length, with padding; and of several.
            of(&[0xeb, 4 | 0x40, 3], 40 + 3),
            of(&[0xeb, 4 | 0x80, 5, 6, 7], 5 + 6 + 7 + 300),
        ]
    }

    #[test]
    fn packets_say_how_long_they_are() {
        for packet in packets() {
            assert_eq!(samples(&packet), Some(960), "{packet:?}");
        }
        // SILK of 60 ms; hybrid of 10 ms; CELT of 2.5 ms; three of 20 ms.
        assert_eq!(samples(&[0x18, 1]), Some(2880));
        assert_eq!(samples(&[0x60, 1]), Some(480));
        assert_eq!(samples(&[0x80, 1]), Some(120));
        assert_eq!(samples(&[0xfb, 3, 1, 2, 3]), Some(2880));
        for bad in [
            &[][..],
            &[0xf9, 1],
            &[0xfa],
            &[0xfa, 9, 1],
            &[0xfb],
            &[0xfb, 0],
            &[0xfb, 63, 1],
            &[0xfb, 0x41, 200],
        ] {
            assert_eq!(samples(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn two_that_are_joined_are_two_again() {
        for first in packets() {
            for second in packets() {
                let joined = join(&first, &second).unwrap();
                let (one, two) = split(&joined).unwrap();
                assert_eq!((one, two), (first.clone(), second.as_slice()));
            }
        }
        assert_eq!(join(&[0xf8, 1], &[0x18, 1]), None);
    }

    #[test]
    fn cut_off_and_garbage_never_panic() {
        let joined = join(&packets()[8], &packets()[6]).unwrap();
        for end in 0..joined.len() {
            let _ = (split(&joined[..end]), samples(&joined[..end]), slots(&joined[..end]));
        }
        let mut state = 1u32;
        for _ in 0..100_000 {
            let garbage: Vec<u8> = (0..state % 23)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    u8::try_from(state >> 24).unwrap()
                })
                .collect();
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let _ = (split(&garbage), samples(&garbage), slots(&garbage));
        }
    }

    #[test]
    fn longer_packets_are_cut_into_slots() {
        let three = [0xfb, 3 | 0x80, 1, 2, 10, 20, 21, 30, 31, 32];
        let cut = slots(&three).unwrap();
        assert_eq!(cut, [vec![0xf8, 10], vec![0xf8, 20, 21], vec![0xf8, 30, 31, 32]]);
        assert_eq!(slots(&[0x18, 1]), None, "60 ms in one frame");
        assert_eq!(nothing(Some(&[0x0b, 1])), [0x08]);
        assert_eq!(nothing(Some(&[0x18, 1])), [0xf8]);
    }
}
