//! WAV (RIFF), written and read: G.711 as it is, and samples of 16 bits.

use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

use crate::limits::{FILE_BYTES_MAX, WAV_DATA_BYTES_MAX};

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 16 bits, the lower byte first.
    Pcm16,
    /// G.711 A-law.
    Alaw,
    /// G.711 mu-law.
    Mulaw,
}

/// Writes a file.
pub struct WavWriter<W: Write + Seek> {
    sink: W,
    encoding: Encoding,
    frame_bytes: u32,
    data_bytes: u32,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// How samples are written.
    pub encoding: Encoding,
    /// Of each moment one sample each, interleaved.
    pub channels: u16,
    /// In hertz.
    pub sample_rate: u32,
    /// Where in the file the samples are.
    pub data: Range<usize>,
}

/// Why a file is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavReadError {
    /// It is longer than one may be.
    #[error("the file has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// It does not begin as one, or has no samples.
    #[error("it is no WAV file")]
    NoWav,
    /// Samples of another kind.
    #[error("its samples are neither PCM of 16 bits nor G.711")]
    Encoding,
}

impl Encoding {
    /// Bytes of a sample.
    pub fn bytes(self) -> u16 {
        match self {
            Self::Pcm16 => 2,
            Self::Alaw | Self::Mulaw => 1,
        }
    }

    /// The byte that silence consists of.
    pub fn silence(self) -> u8 {
        match self {
            Self::Pcm16 => 0,
            Self::Alaw => 0xd5,
            Self::Mulaw => 0xff,
        }
    }

    fn tag(self) -> u16 {
        match self {
            Self::Pcm16 => 1,
            Self::Alaw => 6,
            Self::Mulaw => 7,
        }
    }
}

/// What a file begins with that is no file: samples follow for as long as there are any. Readers of pipes take the largest
/// lengths for unknown ones.
pub fn endless(encoding: Encoding, channels: u16, sample_rate: u32) -> Vec<u8> {
    let mut header = header(encoding, channels, sample_rate);
    for at in [RIFF_SIZE_AT, FACT_AT, DATA_SIZE_AT] {
        let at = usize::try_from(at).unwrap_or(0);
        header[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    header
}

/// Of a file that has nothing yet.
fn header(encoding: Encoding, channels: u16, sample_rate: u32) -> Vec<u8> {
    let frame = encoding.bytes().saturating_mul(channels);
    let mut header = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    header.extend_from_slice(&18u32.to_le_bytes());
    header.extend_from_slice(&encoding.tag().to_le_bytes());
    header.extend_from_slice(&channels.to_le_bytes());
    header.extend_from_slice(&sample_rate.to_le_bytes());
    header.extend_from_slice(&sample_rate.saturating_mul(frame.into()).to_le_bytes());
    header.extend_from_slice(&frame.to_le_bytes());
    header.extend_from_slice(&(encoding.bytes() * 8).to_le_bytes());
    header.extend_from_slice(&[0, 0]);
    header.extend_from_slice(b"fact\x04\0\0\0\0\0\0\0data\0\0\0\0");
    debug_assert_eq!(header.len(), HEADER_BYTES);
    header
}

impl<W: Write + Seek> WavWriter<W> {
    /// Begins a file. The sink is at its beginning, and has nothing.
    pub fn new(mut sink: W, encoding: Encoding, channels: u16, sample_rate: u32) -> io::Result<Self> {
        let frame = encoding.bytes().saturating_mul(channels);
        let header = header(encoding, channels, sample_rate);
        sink.write_all(&header)?;
        Ok(Self {
            sink,
            encoding,
            frame_bytes: frame.max(1).into(),
            data_bytes: 0,
        })
    }

    /// Adds samples, interleaved. When the file is as long as one may be this is an error, and the file stays as it is.
    pub fn write(&mut self, samples: &[u8]) -> io::Result<()> {
        let more = u32::try_from(samples.len()).ok();
        let sum = more.and_then(|more| self.data_bytes.checked_add(more));
        let sum = sum.filter(|sum| *sum <= WAV_DATA_BYTES_MAX);
        let sum = sum.ok_or(io::ErrorKind::FileTooLarge)?;
        self.sink.write_all(samples)?;
        self.data_bytes = sum;
        Ok(())
    }

    /// Says in the header how much there is.
    pub fn update(&mut self) -> io::Result<()> {
        let padding = self.data_bytes & 1;
        let riff = self.data_bytes + padding + HEADER_BYTES_U32 - 8;
        let samples = self.data_bytes / self.frame_bytes;
        for (at, value) in [
            (RIFF_SIZE_AT, riff),
            (FACT_AT, samples),
            (DATA_SIZE_AT, self.data_bytes),
        ] {
            self.sink.seek(SeekFrom::Start(at))?;
            self.sink.write_all(&value.to_le_bytes())?;
        }
        self.sink.seek(SeekFrom::End(0))?;
        Ok(())
    }

    /// Bytes of samples so far.
    pub fn data_bytes(&self) -> u32 {
        self.data_bytes
    }

    /// How samples are written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Ends the file.
    pub fn finish(mut self) -> io::Result<W> {
        if self.data_bytes & 1 == 1 {
            self.sink.write_all(&[0])?;
        }
        self.update()?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

impl Wav {
    /// Reads what a file has. One that says it has more than there is ends where it ends; and one that was cut off, and has
    /// more than it says, has all of it.
    pub fn read(file: &[u8]) -> Result<Self, WavReadError> {
        if file.len() > FILE_BYTES_MAX {
            return Err(WavReadError::TooLong);
        }
        if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
            return Err(WavReadError::NoWav);
        }
        let (mut at, mut format) = (12, None);
        loop {
            let (name, begin, length) = chunk(file, at).ok_or(WavReadError::NoWav)?;
            match name {
                b"fmt " => format = Some(Self::of_format(file.get(begin..).unwrap_or_default(), length)?),
                b"data" => {
                    let mut wav = format.ok_or(WavReadError::NoWav)?;
                    wav.data = begin..data_end(file, begin, length);
                    let frame = usize::from(wav.channels) * usize::from(wav.encoding.bytes());
                    wav.data.end -= wav.data.len() % frame;
                    return Ok(wav);
                }
                _ => {}
            }
            at = begin.saturating_add(length).saturating_add(length & 1);
        }
    }

    fn of_format(format: &[u8], length: usize) -> Result<Self, WavReadError> {
        let [t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, _, _, b0, b1, ..] = format else {
            return Err(WavReadError::NoWav);
        };
        let mut tag = u16::from_le_bytes([*t0, *t1]);
        if let (0xfffe, 26.., Some(&[s0, s1])) = (tag, length, format.get(24..26)) {
            // Extensible: the kind is the beginning of a GUID.
            tag = u16::from_le_bytes([s0, s1]);
        }
        let encoding = match (tag, u16::from_le_bytes([*b0, *b1])) {
            (1, 16) => Encoding::Pcm16,
            (6, 8) => Encoding::Alaw,
            (7, 8) => Encoding::Mulaw,
            _ => return Err(WavReadError::Encoding),
        };
        let channels = u16::from_le_bytes([*c0, *c1]);
        if channels == 0 {
            return Err(WavReadError::NoWav);
        }
        Ok(Self {
            encoding,
            channels,
            sample_rate: u32::from_le_bytes([*r0, *r1, *r2, *r3]),
            data: 0..0,
        })
    }
}

/// The name of a chunk, where its content begins, and how long it says it is.
fn chunk(file: &[u8], at: usize) -> Option<(&[u8; 4], usize, usize)> {
    let header = file.get(at..at.checked_add(8)?)?;
    let (name, length) = header.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    Some((name, at + 8, usize::try_from(length).ok()?))
}

/// Where samples end: where they say, if the file ends there or goes on with chunks to its end; or else with the file.
fn data_end(file: &[u8], begin: usize, length: usize) -> usize {
    let told = begin.saturating_add(length);
    let mut at = told.saturating_add(length & 1);
    while at < file.len() {
        let next = chunk(file, at).filter(|(name, ..)| name.iter().all(|byte| (b' '..0x7f).contains(byte)));
        let Some((_, begin, length)) = next else {
            return file.len();
        };
        at = begin.saturating_add(length).saturating_add(length & 1);
    }
    // A last chunk beyond the end is none.
    match at <= file.len() + 1 {
        true => told.min(file.len()),
        false => file.len(),
    }
}

const HEADER_BYTES: usize = 58;
const HEADER_BYTES_U32: u32 = 58;
const RIFF_SIZE_AT: u64 = 4;
const FACT_AT: u64 = 46;
const DATA_SIZE_AT: u64 = 54;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn samples(length: usize) -> Vec<u8> {
        // Never a letter, as the name of a chunk is.
        (0..length).map(|i| 0x80 | u8::try_from(i % 100).unwrap()).collect()
    }

    fn file(encoding: Encoding, channels: u16, length: usize) -> Vec<u8> {
        let mut writer = WavWriter::new(Cursor::new(Vec::new()), encoding, channels, 8000).unwrap();
        writer.write(&samples(length)).unwrap();
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        for encoding in [Encoding::Pcm16, Encoding::Alaw, Encoding::Mulaw] {
            for channels in [1, 2] {
                let file = file(encoding, channels, 804);
                let wav = Wav::read(&file).unwrap();
                assert_eq!(
                    (wav.encoding, wav.channels, wav.sample_rate),
                    (encoding, channels, 8000)
                );
                assert_eq!(file[wav.data], samples(804));
            }
        }
    }

    #[test]
    fn one_that_was_cut_off_has_all_that_was_written() {
        let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Mulaw, 2, 8000).unwrap();
        writer.write(&samples(320)).unwrap();
        writer.update().unwrap();
        writer.write(&samples(320)).unwrap();
        let file = writer.sink.into_inner();
        let whole = Wav::read(&file).unwrap();
        assert_eq!(whole.data.len(), 640);
        for end in HEADER_BYTES..file.len() {
            let wav = Wav::read(&file[..end]).unwrap();
            assert_eq!(wav.data.len(), (end - HEADER_BYTES) / 2 * 2);
        }
        for end in 0..HEADER_BYTES {
            assert!(Wav::read(&file[..end]).is_err());
        }
    }

    #[test]
    fn what_has_no_end_is_read_as_far_as_it_goes() {
        let mut stream = endless(Encoding::Pcm16, 1, 16_000);
        stream.extend_from_slice(&samples(640));
        let wav = Wav::read(&stream).unwrap();
        assert_eq!(
            (wav.encoding, wav.sample_rate, wav.data.len()),
            (Encoding::Pcm16, 16_000, 640)
        );
    }

    #[test]
    fn chunks_behind_the_samples_are_none_of_them() {
        let mut file = file(Encoding::Pcm16, 1, 300);
        file.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        assert_eq!(Wav::read(&file).unwrap().data.len(), 300);
    }

    #[test]
    fn other_kinds_and_damage_are_errors_and_never_panic() {
        let whole = file(Encoding::Pcm16, 2, 64);
        let mut eight = whole.clone();
        eight[34] = 8;
        assert_eq!(Wav::read(&eight), Err(WavReadError::Encoding));
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(wav) = Wav::read(&damaged) {
                    assert!(damaged.get(wav.data).is_some());
                }
            }
        }
    }

    #[test]
    fn no_file_is_longer_than_it_can_say() {
        let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Alaw, 1, 8000).unwrap();
        writer.data_bytes = WAV_DATA_BYTES_MAX - 1;
        assert!(writer.write(&[1, 2]).is_err());
        assert!(writer.write(&[1]).is_ok());
    }
}
