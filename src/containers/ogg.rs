//! Ogg Opus (RFC 3533, RFC 7845), written and read.

use std::borrow::Cow;
use std::io::{self, Cursor, Write};

use bytes::Bytes;
use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use crate::limits::FILE_BYTES_MAX;
use crate::opus::{self, SILENCE};

/// Writes a file of one party, or of two as its two channels.
pub struct OpusWriter<W: Write> {
    pages: PacketWriter<'static, W>,
    serial: u32,
    /// Samples of 48 kHz in packets so far.
    samples: u64,
    in_page: u32,
    is_pair: bool,
    /// The newest packet of each party, and how many slots it has been silent since.
    last: [(Vec<u8>, u32); 2],
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusFile {
    /// Channels that are heard.
    pub channels: u8,
    /// Streams in each packet. Where there is one, packets are as they go over the network.
    pub streams: u8,
    /// Samples of 48 kHz at the beginning that are not to be heard.
    pub pre_skip: u16,
    /// In order.
    pub packets: Vec<Bytes>,
}

/// Why a file is none of Opus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpusReadError {
    /// It is longer than one may be.
    #[error("the file has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// No stream of Opus begins in it.
    #[error("it is no Ogg file with a stream of Opus (RFC 7845)")]
    NoOpus,
    /// A version or mapping of channels that is not known.
    #[error("its OpusHead is of an unknown version, or is not whole")]
    Head,
}

impl<W: Write> OpusWriter<W> {
    /// A file of one party. `comments` are pairs of a name and a value.
    pub fn mono(sink: W, serial: u32, comments: &[(&str, &str)]) -> io::Result<Self> {
        Self::new(sink, serial, false, comments)
    }

    /// A file of two, left and right.
    pub fn pair(sink: W, serial: u32, comments: &[(&str, &str)]) -> io::Result<Self> {
        Self::new(sink, serial, true, comments)
    }

    fn new(sink: W, serial: u32, is_pair: bool, comments: &[(&str, &str)]) -> io::Result<Self> {
        let mut pages = PacketWriter::new(sink);
        let head = head(is_pair);
        pages.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        pages.write_packet(tags(comments), serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self {
            pages,
            serial,
            samples: 0,
            in_page: 0,
            is_pair,
            last: Default::default(),
        })
    }

    /// Adds a packet of the one party. One that is no packet is an error, and the file goes on without it.
    pub fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        if self.is_pair {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let samples = opus::samples(packet).ok_or(io::ErrorKind::InvalidData)?;
        self.add(packet.to_vec(), samples)
    }

    /// Adds 20 ms of both. Of one that says nothing the first slot is concealed by the decoder, those after it are silent. What
    /// is not of 20 ms counts as nothing.
    pub fn write_pair(&mut self, left: Option<&[u8]>, right: Option<&[u8]>) -> io::Result<()> {
        if !self.is_pair {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let [first, second] = &mut self.last;
        let (left, right) = (said(first, left), said(second, right));
        let joined = opus::join(&left, &right).ok_or(io::ErrorKind::InvalidData)?;
        self.add(joined, opus::SLOT_SAMPLES)
    }

    /// Flushes the sink. The page that is begun, of at most 200 ms, is not in it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.pages.inner_mut().flush()
    }

    /// How much was written, in samples of 48 kHz.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Ends the stream: the last packet is said to be it.
    pub fn finish(mut self) -> io::Result<W> {
        let silence: Cow<'static, [u8]> = match self.is_pair {
            true => opus::join(&SILENCE, &SILENCE).unwrap_or_default().into(),
            false => SILENCE.to_vec().into(),
        };
        self.samples += u64::from(opus::SLOT_SAMPLES);
        let samples = self.samples;
        let end = PacketWriteEndInfo::EndStream;
        self.pages.write_packet(silence, self.serial, end, samples)?;
        let mut sink = self.pages.into_inner();
        sink.flush()?;
        Ok(sink)
    }

    fn add(&mut self, packet: Vec<u8>, samples: u32) -> io::Result<()> {
        self.samples += u64::from(samples);
        self.in_page += samples;
        let is_full = self.in_page >= PAGE_SAMPLES;
        let end = match is_full {
            true => PacketWriteEndInfo::EndPage,
            false => PacketWriteEndInfo::NormalPacket,
        };
        if is_full {
            self.in_page = 0;
        }
        self.pages.write_packet(packet, self.serial, end, self.samples)
    }
}

impl OpusFile {
    /// Reads the first stream of Opus of a file. Where the file is cut off or damaged its packets end; what came before is
    /// there.
    pub fn read(file: &[u8]) -> Result<Self, OpusReadError> {
        if file.len() > FILE_BYTES_MAX {
            return Err(OpusReadError::TooLong);
        }
        let mut pages = PacketReader::new(Cursor::new(file));
        let (serial, mut read) = loop {
            let packet = pages.read_packet().ok().flatten().ok_or(OpusReadError::NoOpus)?;
            if packet.first_in_stream() && packet.data.starts_with(b"OpusHead") {
                break (packet.stream_serial(), Self::of_head(&packet.data)?);
            }
        };
        let mut has_tags = false;
        while let Ok(Some(packet)) = pages.read_packet() {
            if packet.stream_serial() != serial {
                continue;
            }
            let is_last = packet.last_in_stream();
            // RFC 7845, section 3: the second packet is the comments.
            if std::mem::replace(&mut has_tags, true) {
                read.packets.push(packet.data.into());
            }
            if is_last {
                break;
            }
        }
        Ok(read)
    }

    /// How long it is, in samples of 48 kHz.
    pub fn samples(&self) -> u64 {
        let of = |packet: &Bytes| opus::samples(if self.streams > 1 { &packet[..0] } else { packet });
        match self.streams {
            0 | 1 => self.packets.iter().filter_map(of).map(u64::from).sum(),
            _ => {
                let firsts = self.packets.iter().filter_map(|packet| opus::split(packet));
                firsts
                    .filter_map(|(first, _)| opus::samples(&first))
                    .map(u64::from)
                    .sum()
            }
        }
    }

    /// RFC 7845, section 5.1.
    fn of_head(head: &[u8]) -> Result<Self, OpusReadError> {
        let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            version,
            channels,
            s0,
            s1,
            _,
            _,
            _,
            _,
            _,
            _,
            family,
            rest @ ..,
        ] = head
        else {
            return Err(OpusReadError::Head);
        };
        let streams = match (*family, rest) {
            (0, _) => 1,
            (_, [streams, ..]) if *streams > 0 => *streams,
            _ => return Err(OpusReadError::Head),
        };
        if version & 0xf0 != 0 || *channels == 0 {
            return Err(OpusReadError::Head);
        }
        Ok(Self {
            channels: *channels,
            streams,
            pre_skip: u16::from_le_bytes([*s0, *s1]),
            packets: Vec::new(),
        })
    }
}

/// What stands for a party in a slot.
fn said(last: &mut (Vec<u8>, u32), packet: Option<&[u8]>) -> Vec<u8> {
    if let Some(packet) = packet.filter(|packet| opus::samples(packet) == Some(opus::SLOT_SAMPLES)) {
        *last = (packet.to_vec(), 0);
        return packet.to_vec();
    }
    last.1 = last.1.saturating_add(1);
    match last {
        (before, 1) if !before.is_empty() => opus::nothing(Some(before)).to_vec(),
        _ => SILENCE.to_vec(),
    }
}

/// RFC 7845, section 5.1.
fn head(is_pair: bool) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(if is_pair { 2 } else { 1 });
    // What was coded elsewhere: its encoder's delay is not known, and nothing is cut.
    head.extend_from_slice(&0u16.to_le_bytes());
    head.extend_from_slice(&48_000u32.to_le_bytes());
    head.extend_from_slice(&0u16.to_le_bytes());
    match is_pair {
        // Two streams, none coupled, the first left and the second right.
        true => head.extend_from_slice(&[1, 2, 0, 0, 1]),
        false => head.push(0),
    }
    head
}

/// RFC 7845, section 5.2.
fn tags(comments: &[(&str, &str)]) -> Vec<u8> {
    let mut tags = b"OpusTags".to_vec();
    let mut text = |text: &[u8]| {
        tags.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        tags.extend_from_slice(text);
    };
    text(b"moqswitch");
    let count = u32::try_from(comments.len()).unwrap_or(0);
    tags.extend_from_slice(&count.to_le_bytes());
    for (name, value) in comments {
        let comment = format!("{name}={value}");
        tags.extend_from_slice(&u32::try_from(comment.len()).unwrap_or(0).to_le_bytes());
        tags.extend_from_slice(comment.as_bytes());
    }
    tags
}

/// A page has 200 ms: as much is lost when it is not written.
const PAGE_SAMPLES: u32 = 9600;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(i: u8) -> Vec<u8> {
        vec![0xf8, i, 1, 2, 3]
    }

    fn pair() -> Vec<u8> {
        let mut writer = OpusWriter::pair(Vec::new(), 7, &[("TITLE", "a call")]).unwrap();
        for i in 0..100 {
            let right = (i >= 50).then(|| packet(i));
            writer.write_pair(Some(&packet(i)), right.as_deref()).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_file_of_two_has_the_packets_of_both() {
        let read = OpusFile::read(&pair()).unwrap();
        assert_eq!((read.channels, read.streams, read.packets.len()), (2, 2, 101));
        assert_eq!(read.samples(), 101 * 960);
        for (i, joined) in (0..100).zip(&read.packets) {
            let (left, right) = opus::split(joined).unwrap();
            assert_eq!(left, packet(i));
            match i {
                0..50 => assert_eq!(right, SILENCE),
                _ => assert_eq!(right, packet(i)),
            }
        }
    }

    #[test]
    fn who_falls_silent_is_concealed_once_and_silent_then() {
        let mut writer = OpusWriter::pair(Vec::new(), 7, &[]).unwrap();
        for right in [Some(packet(1)), None, None, Some(vec![0x18, 1])] {
            writer.write_pair(None, right.as_deref()).unwrap();
        }
        let read = OpusFile::read(&writer.finish().unwrap()).unwrap();
        let rights: Vec<&[u8]> = read
            .packets
            .iter()
            .map(|packet| opus::split(packet).unwrap().1)
            .collect();
        assert_eq!(rights, [&packet(1)[..], &[0xf8], &SILENCE, &SILENCE, &SILENCE]);
    }

    #[test]
    fn a_file_of_one_is_read_as_it_was_written() {
        let mut writer = OpusWriter::mono(Vec::new(), 7, &[]).unwrap();
        for i in 0..10 {
            writer.write(&packet(i)).unwrap();
        }
        assert!(writer.write(&[]).is_err() && writer.write_pair(None, None).is_err());
        let read = OpusFile::read(&writer.finish().unwrap()).unwrap();
        assert_eq!((read.channels, read.streams, read.samples()), (1, 1, 11 * 960));
        assert_eq!(read.packets[9], packet(9));
    }

    #[test]
    fn what_was_written_so_far_lacks_no_more_than_a_page() {
        let mut writer = OpusWriter::pair(Vec::new(), 7, &[]).unwrap();
        for i in 0..100 {
            writer.write_pair(Some(&packet(i)), None).unwrap();
            let there = OpusFile::read(writer.pages.inner()).unwrap().packets.len();
            assert!(there + 10 > usize::from(i) + 1, "{there} packets after {}", i + 1);
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_has_what_comes_before() {
        let whole = pair();
        let all = OpusFile::read(&whole).unwrap().packets;
        let mut most = 0;
        for end in 0..whole.len() {
            let Ok(read) = OpusFile::read(&whole[..end]) else {
                assert!(end < 120, "{end}");
                continue;
            };
            assert!(all.starts_with(&read.packets));
            most = most.max(read.packets.len());
        }
        assert_eq!(most, 100);
    }

    #[test]
    fn damage_never_panics() {
        let whole = pair();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            if let Ok(read) = OpusFile::read(&damaged) {
                assert!(read.packets.len() <= 101);
            }
        }
        assert_eq!(OpusFile::read(&[]), Err(OpusReadError::NoOpus));
        assert_eq!(OpusFile::read(b"RIFF"), Err(OpusReadError::NoOpus));
    }
}
