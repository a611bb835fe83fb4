//! What a file has to say: samples, and its packets where they are such as are sent.

use bytes::Bytes;
use moqswitch_audio::{Codec, CodecError, Decoder, Rate, g711};
use moqswitch_containers::{Encoding, OpusFile, OpusReadError, Wav, WavReadError, opus};

use crate::conversion::{converted, rate_above};
use crate::limits::{FILE_CHANNELS_MAX, FILE_RATE_MAX, FILE_RATE_MIN, SOUND_MAX};

/// A sound of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    rate: Rate,
    samples: Vec<i16>,
    /// Of Opus, 20 ms each, as they were in the file.
    packets: Option<Vec<Bytes>>,
}

/// Why a file is no sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoundError {
    /// It begins like no file that is known.
    #[error("it is neither WAV nor Ogg")]
    Unknown,
    /// See there.
    #[error("{0}")]
    Wav(#[from] WavReadError),
    /// See there.
    #[error("{0}")]
    Opus(#[from] OpusReadError),
    /// Of WAV.
    #[error("it has {0} samples in a second: {FILE_RATE_MIN} to {FILE_RATE_MAX} are played")]
    Rate(u32),
    /// Of WAV.
    #[error("it has {0} channels: at most {FILE_CHANNELS_MAX} are played")]
    Channels(u16),
    /// Of Ogg Opus: music in more than two channels.
    #[error("it has {0} streams of Opus: one or two are played")]
    Streams(u8),
    /// No samples, or no packet that is one of Opus.
    #[error("there is nothing in it to be heard")]
    Empty,
    /// It takes longer than [`SOUND_MAX`].
    #[error("it takes more than {} minutes", SOUND_MAX.as_secs() / 60)]
    TooLong,
    /// See there.
    #[error("{0}")]
    Codec(#[from] CodecError),
}

impl Sound {
    /// Samples at a rate.
    pub fn of_samples(rate: Rate, samples: Vec<i16>) -> Result<Self, SoundError> {
        let seconds = samples.len() as u64 / u64::from(rate.hertz());
        match samples.is_empty() {
            true => Err(SoundError::Empty),
            false if seconds >= SOUND_MAX.as_secs() => Err(SoundError::TooLong),
            false => Ok(Self {
                rate,
                samples,
                packets: None,
            }),
        }
    }

    /// A WAV file, or one of Ogg Opus. Several channels become one.
    pub fn read(file: &[u8]) -> Result<Self, SoundError> {
        match file.get(..4) {
            Some(b"RIFF") => Self::of_wav(file),
            Some(b"OggS") => Self::of_opus(OpusFile::read(file)?),
            _ => Err(SoundError::Unknown),
        }
    }

    /// Of [`Self::samples`].
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many frames of 20 ms it has, the last one filled with silence.
    pub fn frames(&self) -> usize {
        self.samples.len().div_ceil(self.rate.samples(FRAME_MS))
    }

    /// What a frame has of samples; the last one may have fewer.
    pub fn samples(&self, frame: usize) -> &[i16] {
        let size = self.rate.samples(FRAME_MS);
        let begin = frame.saturating_mul(size).min(self.samples.len());
        &self.samples[begin..self.samples.len().min(begin + size)]
    }

    /// The packet that a frame had in the file, if that was of Opus.
    pub fn packet(&self, frame: usize) -> Option<&Bytes> {
        self.packets.as_ref()?.get(frame)
    }

    fn of_wav(file: &[u8]) -> Result<Self, SoundError> {
        let wav = Wav::read(file)?;
        if wav.channels > FILE_CHANNELS_MAX {
            return Err(SoundError::Channels(wav.channels));
        }
        let to = rate_above(wav.sample_rate).ok_or(SoundError::Rate(wav.sample_rate))?;
        let data = file.get(wav.data).unwrap_or_default();
        let bytes = usize::from(wav.encoding.bytes()) * usize::from(wav.channels);
        let seconds = data.len() as u64 / bytes.max(1) as u64 / u64::from(wav.sample_rate);
        if seconds >= SOUND_MAX.as_secs() {
            return Err(SoundError::TooLong);
        }
        let mut samples = vec![0; data.len() / usize::from(wav.encoding.bytes())];
        match wav.encoding {
            Encoding::Pcm16 => {
                for (sample, bytes) in samples.iter_mut().zip(data.as_chunks().0) {
                    *sample = i16::from_le_bytes(*bytes);
                }
            }
            Encoding::Alaw => drop(g711::decode_alaw(data, &mut samples)),
            Encoding::Mulaw => drop(g711::decode_ulaw(data, &mut samples)),
        }
        let samples = mixed(samples, wav.channels);
        Self::of_samples(to, converted(samples, wav.sample_rate, to))
    }

    fn of_opus(file: OpusFile) -> Result<Self, SoundError> {
        if file.streams > 2 {
            return Err(SoundError::Streams(file.streams));
        }
        if file.samples() / u64::from(Rate::Hz48000.hertz()) >= SOUND_MAX.as_secs() {
            return Err(SoundError::TooLong);
        }
        if file.streams == 2 {
            return Self::of_pair(&file);
        }
        let slots: Option<Vec<Vec<Vec<u8>>>> = file.packets.iter().map(|packet| opus::slots(packet)).collect();
        match slots {
            // They go out as they are; what is decoded is for others, who have no more than 16 kHz.
            Some(slots) => {
                let packets: Vec<Bytes> = slots.into_iter().flatten().map(Bytes::from).collect();
                let samples = decoded(&packets, Rate::Hz16000)?;
                let mut sound = Self::of_samples(Rate::Hz16000, samples)?;
                sound.packets = Some(packets);
                Ok(sound)
            }
            None => {
                let mut samples = decoded(&file.packets, Rate::Hz48000)?;
                samples.drain(..usize::from(file.pre_skip).min(samples.len()));
                Self::of_samples(Rate::Hz48000, samples)
            }
        }
    }

    /// Two parties, who are both heard.
    fn of_pair(file: &OpusFile) -> Result<Self, SoundError> {
        let split = file.packets.iter().filter_map(|packet| {
            let (left, right) = opus::split(packet)?;
            Some((Bytes::from(left), Bytes::copy_from_slice(right)))
        });
        let (left, right): (Vec<Bytes>, Vec<Bytes>) = split.unzip();
        let mut samples = decoded(&left, Rate::Hz48000)?;
        let other = decoded(&right, Rate::Hz48000)?;
        for (sample, other) in samples.iter_mut().zip(other) {
            *sample = sample.saturating_add(other);
        }
        samples.drain(..usize::from(file.pre_skip).min(samples.len()));
        Self::of_samples(Rate::Hz48000, samples)
    }
}

/// A packet that is damaged is as one that is lost.
fn decoded(packets: &[Bytes], rate: Rate) -> Result<Vec<i16>, SoundError> {
    let mut decoder = Decoder::new(Codec::Opus, rate)?;
    let mut samples = Vec::new();
    let mut is_heard = false;
    let longest = rate.samples(1000) as u64 * SOUND_MAX.as_secs();
    for packet in packets {
        if samples.len() as u64 > longest {
            return Err(SoundError::TooLong);
        }
        let is_whole = decoder.decode(packet, &mut samples).is_ok();
        is_heard |= is_whole;
        if !is_whole {
            decoder.conceal(None, &mut samples);
        }
    }
    match is_heard {
        true => Ok(samples),
        false => Err(SoundError::Empty),
    }
}

fn mixed(samples: Vec<i16>, channels: u16) -> Vec<i16> {
    if channels <= 1 {
        return samples;
    }
    let mean = |moment: &[i16]| {
        let sum: i32 = moment.iter().map(|sample| i32::from(*sample)).sum();
        i16::try_from(sum / i32::from(channels)).unwrap_or(0)
    };
    samples.chunks_exact(usize::from(channels)).map(mean).collect()
}

/// The time of each frame.
pub(crate) const FRAME_MS: usize = 20;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use moqswitch_audio::{Encoder, level};
    use moqswitch_containers::{OpusWriter, WavWriter};

    use super::*;

    fn wav(encoding: Encoding, channels: u16, rate: u32, data: &[u8]) -> Vec<u8> {
        let mut writer = WavWriter::new(Cursor::new(Vec::new()), encoding, channels, rate).unwrap();
        writer.write(data).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn square(count: usize, period: usize) -> Vec<i16> {
        (0..count)
            .map(|n| if n % period < period / 2 { 8000 } else { -8000 })
            .collect()
    }

    fn opus(frame_ms: usize, frames: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(Codec::Opus, Rate::Hz48000).unwrap();
        let samples = square(Rate::Hz48000.samples(frame_ms) * frames, 96);
        let encode = |samples: &[i16]| {
            let mut packet = Vec::new();
            encoder.encode(samples, &mut packet).unwrap();
            packet
        };
        samples.chunks(Rate::Hz48000.samples(frame_ms)).map(encode).collect()
    }

    fn ogg(packets: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = OpusWriter::mono(Vec::new(), 7, &[]).unwrap();
        for packet in packets {
            writer.write(packet).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn wav_of_each_kind_and_rate_is_read() {
        let pcm: Vec<u8> = square(44_100, 100)
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        let stereo = Sound::read(&wav(Encoding::Pcm16, 2, 22_050, &pcm)).unwrap();
        assert_eq!((stereo.rate(), stereo.frames()), (Rate::Hz48000, 50));
        assert!(
            (10..=14).contains(&level(stereo.samples(25))),
            "{}",
            level(stereo.samples(25))
        );
        let mulaw = Sound::read(&wav(Encoding::Mulaw, 1, 8000, &[0x80; 1610])).unwrap();
        assert_eq!((mulaw.rate(), mulaw.frames()), (Rate::Hz8000, 11));
        assert_eq!(
            (mulaw.samples(0).len(), mulaw.samples(10).len(), mulaw.samples(11).len()),
            (160, 10, 0)
        );
        assert_eq!(mulaw.samples(0)[0], 32_124);
        assert_eq!(mulaw.packet(0), None);
    }

    #[test]
    fn opus_of_20_ms_passes_and_what_else_there_is_is_decoded() {
        let packets = opus(20, 50);
        let sound = Sound::read(&ogg(&packets)).unwrap();
        assert_eq!(
            (sound.rate(), sound.frames()),
            (Rate::Hz16000, 51),
            "one of silence ends the file"
        );
        assert!((0..50).all(|frame| sound.packet(frame).unwrap() == &packets[frame]));
        assert!(level(sound.samples(20)) < 16, "{}", level(sound.samples(20)));
        // Frames of 10 ms cannot be sent as 20.
        let sound = Sound::read(&ogg(&opus(10, 100))).unwrap();
        assert_eq!((sound.rate(), sound.packet(0)), (Rate::Hz48000, None));
        assert!((50..=51).contains(&sound.frames()), "{}", sound.frames());
        assert!(level(sound.samples(20)) < 16);
    }

    #[test]
    fn two_parties_are_heard_together() {
        let mut writer = OpusWriter::pair(Vec::new(), 7, &[]).unwrap();
        for (n, packet) in opus(20, 40).iter().enumerate() {
            let (left, right) = if n < 20 {
                (Some(&packet[..]), None)
            } else {
                (None, Some(&packet[..]))
            };
            writer.write_pair(left, right).unwrap();
        }
        let sound = Sound::read(&writer.finish().unwrap()).unwrap();
        assert_eq!(sound.frames(), 41);
        assert!(level(sound.samples(10)) < 16 && level(sound.samples(35)) < 16);
    }

    #[test]
    fn what_is_no_sound_is_said_why() {
        assert_eq!(Sound::read(b"ID3 and so on"), Err(SoundError::Unknown));
        assert_eq!(Sound::read(b"RIFF"), Err(SoundError::Wav(WavReadError::NoWav)));
        assert_eq!(Sound::read(b"OggS"), Err(SoundError::Opus(OpusReadError::NoOpus)));
        assert_eq!(Sound::read(&wav(Encoding::Alaw, 1, 8000, &[])), Err(SoundError::Empty));
        assert_eq!(
            Sound::read(&wav(Encoding::Alaw, 1, 400_000, &[1])),
            Err(SoundError::Rate(400_000))
        );
        assert_eq!(
            Sound::read(&wav(Encoding::Alaw, 9, 8000, &[1; 9])),
            Err(SoundError::Channels(9))
        );
        let hours = vec![0xff; 8000 * 60 * 30];
        assert_eq!(
            Sound::read(&wav(Encoding::Mulaw, 1, 8000, &hours)),
            Err(SoundError::TooLong)
        );
        let garbage = wav(Encoding::Alaw, 1, 8000, &[0xd5; 200]);
        for end in 0..garbage.len() {
            let _ = Sound::read(&garbage[..end]);
        }
    }
}
