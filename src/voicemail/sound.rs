//! Samples of telephones: 8000 in a second, and WAV files of them.

use std::io::{self, Cursor};
use std::time::Duration;

use moqswitch_audio::{Rate, Resampler, Tone, g711};
use moqswitch_containers::{Encoding, Wav, WavReadError, WavWriter};

use crate::limits::{GREETING_MAX, MESSAGE_MAX};

/// Samples of 20 ms.
pub const FRAME_SAMPLES: usize = Rate::Hz8000.samples(20);

/// What can be heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sound(Vec<i16>);

/// Why a file cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum SoundError {
    /// It is no WAV file of samples or G.711.
    #[error(transparent)]
    Wav(#[from] WavReadError),
    /// Another rate.
    #[error("it has {0} samples in a second; 8000, 16000 and 48000 are taken")]
    Rate(u32),
}

impl Sound {
    /// Samples of 8 kHz.
    pub fn new(samples: Vec<i16>) -> Self {
        Self(samples)
    }

    /// A sine, then as long a pause as 100 ms are.
    pub(crate) fn beep(hertz: f64, milliseconds: usize) -> Self {
        let mut samples: Vec<i16> = Tone::sine(Rate::Hz8000, hertz, milliseconds).collect();
        samples.resize(samples.len() + Rate::Hz8000.samples(100), 0);
        Self(samples)
    }

    /// What a file has, the first channel of it. What is longer than a message may be is cut.
    ///
    /// # Errors
    /// It is none that is taken.
    pub fn read(file: &[u8]) -> Result<Self, SoundError> {
        let wav = Wav::read(file)?;
        let rate = match wav.sample_rate {
            8000 => Rate::Hz8000,
            16_000 => Rate::Hz16000,
            48_000 => Rate::Hz48000,
            other => return Err(SoundError::Rate(other)),
        };
        let width = usize::from(wav.encoding.bytes());
        let most = rate.samples(1000) * usize::try_from(MESSAGE_MAX.as_secs()).unwrap_or(usize::MAX);
        let frames = file.get(wav.data.clone()).unwrap_or_default();
        let frames = frames.chunks_exact(width * usize::from(wav.channels)).take(most);
        let coded: Vec<u8> = frames.flat_map(|frame| frame[..width].iter().copied()).collect();
        let samples = match wav.encoding {
            Encoding::Pcm16 => coded
                .chunks_exact(2)
                .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
                .collect(),
            Encoding::Mulaw | Encoding::Alaw => {
                let mut samples = vec![0; coded.len()];
                match wav.encoding {
                    Encoding::Mulaw => g711::decode_ulaw(&coded, &mut samples),
                    _ => g711::decode_alaw(&coded, &mut samples),
                };
                samples
            }
        };
        if rate == Rate::Hz8000 {
            return Ok(Self(samples));
        }
        let mut resampled = Vec::new();
        Resampler::new(rate, Rate::Hz8000).process(&samples, &mut resampled);
        Ok(Self(resampled))
    }

    /// A WAV file of µ-law.
    ///
    /// # Errors
    /// It is longer than a file may be.
    pub fn write(&self) -> io::Result<Vec<u8>> {
        let mut coded = vec![0; self.0.len()];
        g711::encode_ulaw(&self.0, &mut coded);
        let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Mulaw, 1, 8000)?;
        writer.write(&coded)?;
        Ok(writer.finish()?.into_inner())
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        let milliseconds = self.0.len() / Rate::Hz8000.samples(1);
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }

    /// Its samples.
    pub fn samples(&self) -> &[i16] {
        &self.0
    }

    /// Without what is behind the longest greeting.
    #[must_use]
    pub fn for_greeting(mut self) -> Self {
        let most = Rate::Hz8000.samples(1000) * usize::try_from(GREETING_MAX.as_secs()).unwrap_or(usize::MAX);
        self.0.truncate(most);
        self
    }

    pub(crate) fn push(&mut self, samples: &[i16]) {
        self.0.extend(samples);
    }

    pub(crate) fn truncate(&mut self, samples: usize) {
        self.0.truncate(samples);
    }
}

/// Something that is played, 20 ms after 20 ms.
#[derive(Debug, Default)]
pub(crate) struct Playing {
    sounds: std::collections::VecDeque<Sound>,
    at: usize,
}

impl Playing {
    pub(crate) fn then(&mut self, sound: Sound) {
        self.sounds.push_back(sound);
    }

    pub(crate) fn stop(&mut self) {
        self.sounds.clear();
        self.at = 0;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.sounds.is_empty()
    }

    /// The next 20 ms. What is missing to them is silence.
    pub(crate) fn next(&mut self, frame: &mut [i16; FRAME_SAMPLES]) {
        frame.fill(0);
        let mut filled = 0;
        while filled < FRAME_SAMPLES
            && let Some(sound) = self.sounds.front()
        {
            let left = sound.0.get(self.at..).unwrap_or_default();
            let count = left.len().min(FRAME_SAMPLES - filled);
            frame[filled..filled + count].copy_from_slice(&left[..count]);
            (filled, self.at) = (filled + count, self.at + count);
            if self.at >= sound.0.len() {
                self.sounds.pop_front();
                self.at = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was_but_for_its_coding() {
        let sound = Sound::beep(440.0, 300);
        let read = Sound::read(&sound.write().unwrap()).unwrap();
        assert_eq!(read.duration(), Duration::from_millis(400));
        let off = |(one, other): (&i16, &i16)| (i32::from(*one) - i32::from(*other)).abs();
        assert!(sound.0.iter().zip(&read.0).all(|pair| off(pair) < 600));
    }

    #[test]
    fn other_rates_and_no_files_are_refused() {
        let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Pcm16, 2, 44_100).unwrap();
        writer.write(&[0; 400]).unwrap();
        let file = writer.finish().unwrap().into_inner();
        assert!(matches!(Sound::read(&file), Err(SoundError::Rate(44_100))));
        assert!(matches!(Sound::read(b"RIFF"), Err(SoundError::Wav(_))));
    }

    #[test]
    fn the_first_channel_of_another_rate_is_heard() {
        let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Pcm16, 2, 16_000).unwrap();
        for _ in 0..16_000 {
            writer.write(&[0x00, 0x20, 0xff, 0x7f]).unwrap();
        }
        let sound = Sound::read(&writer.finish().unwrap().into_inner()).unwrap();
        assert!(sound.duration() > Duration::from_millis(980));
        assert!(sound.0[2000..6000].iter().all(|sample| (8100..8300).contains(sample)));
    }

    #[test]
    fn sounds_are_played_one_after_another_without_a_gap() {
        let mut playing = Playing::default();
        playing.then(Sound::new(vec![1; 100]));
        playing.then(Sound::new(vec![2; 100]));
        let mut frame = [0; FRAME_SAMPLES];
        playing.next(&mut frame);
        assert_eq!((frame[99], frame[100], frame[159]), (1, 2, 2));
        assert!(!playing.is_over());
        playing.next(&mut frame);
        assert_eq!((frame[39], frame[40]), (2, 0));
        assert!(playing.is_over());
    }
}
