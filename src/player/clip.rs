//! A sound in all codecs of telephones, encoded once: whoever hears it costs no more than bytes.

use bytes::{Bytes, BytesMut};
use moqswitch_audio::Codec;

use crate::sound::{FRAME_MS, Sound, SoundError};
use crate::track::Track;

/// A sound that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    frames: usize,
    opus: Vec<Bytes>,
    /// Frames of the others are all as long.
    others: [(Codec, Bytes); 3],
}

/// Those that there are tracks of, and what they are called.
pub const CODECS: [(Codec, &str); 4] = [
    (Codec::Opus, "opus"),
    (Codec::Pcmu, "pcmu"),
    (Codec::Pcma, "pcma"),
    (Codec::G722, "g722"),
];

impl Clip {
    /// Encodes a sound, which takes some hundredths of its length.
    pub fn encode(sound: &Sound) -> Result<Self, SoundError> {
        let mut track = Track::new(Codec::Opus, sound.rate())?;
        let frames: Result<Vec<Bytes>, _> = (0..sound.frames()).map(|index| track.frame(sound, index)).collect();
        let mut others = [Codec::Pcmu, Codec::Pcma, Codec::G722].map(|codec| (codec, Bytes::new()));
        for (codec, encoded) in &mut others {
            let mut track = Track::new(*codec, sound.rate())?;
            let mut all = BytesMut::with_capacity(sound.frames() * FRAME_BYTES);
            for index in 0..sound.frames() {
                all.extend_from_slice(&track.frame(sound, index)?);
            }
            *encoded = all.freeze();
        }
        Ok(Self {
            frames: sound.frames(),
            opus: joined(&frames?),
            others,
        })
    }

    /// How many frames of 20 ms it has.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// What it takes of memory.
    pub fn bytes(&self) -> usize {
        let opus: usize = self.opus.iter().map(|packet| packet.len() + size_of::<Bytes>()).sum();
        let others: usize = self.others.iter().map(|(_, encoded)| encoded.len()).sum();
        opus + others
    }

    /// A frame in a codec. `None`: it has none.
    pub fn frame(&self, codec: Codec, index: usize) -> Option<Bytes> {
        if codec == Codec::Opus {
            return self.opus.get(index).cloned();
        }
        let (_, encoded) = self.others.iter().find(|(other, _)| *other == codec)?;
        let begin = index.checked_mul(FRAME_BYTES)?;
        (index < self.frames).then(|| encoded.slice(begin..begin + FRAME_BYTES))
    }
}

/// The same packets, side by side in memory.
fn joined(packets: &[Bytes]) -> Vec<Bytes> {
    let mut all = BytesMut::with_capacity(packets.iter().map(Bytes::len).sum());
    packets.iter().for_each(|packet| all.extend_from_slice(packet));
    let mut all = all.freeze();
    packets.iter().map(|packet| all.split_to(packet.len())).collect()
}

/// G.711 at 8 kHz, and G.722 at 64 kbit/s.
const FRAME_BYTES: usize = 8 * FRAME_MS;

#[cfg(test)]
mod tests {
    use moqswitch_audio::{Decoder, Rate, level};

    use super::*;
    use crate::melody::melody;

    #[test]
    fn a_clip_is_the_sound_in_each_codec() {
        let sound = Sound::of_samples(Rate::Hz48000, tone(Rate::Hz48000, 1010)).unwrap();
        let clip = Clip::encode(&sound).unwrap();
        assert_eq!(clip.frames(), 51);
        assert!(
            (3 * 51 * 160..3 * 51 * 160 + 51 * 200).contains(&clip.bytes()),
            "{}",
            clip.bytes()
        );
        for (codec, _) in CODECS {
            let rate = codec.rate(Rate::Hz16000);
            let mut decoder = Decoder::new(codec, rate).unwrap();
            let mut samples = Vec::new();
            for index in 0..clip.frames() {
                decoder
                    .decode(&clip.frame(codec, index).unwrap(), &mut samples)
                    .unwrap();
            }
            assert_eq!(samples.len(), rate.samples(20) * 51);
            let middle = level(&samples[samples.len() / 4..samples.len() / 2]);
            assert!((11..=14).contains(&middle), "{codec:?}: {middle}");
            assert_eq!(clip.frame(codec, 51), None);
        }
        assert_eq!(clip.frame(Codec::L16, 0), None);
    }

    #[test]
    fn music_without_a_file_is_soft_and_has_no_gap() {
        let sound = Sound::of_samples(Rate::Hz16000, melody(Rate::Hz16000)).unwrap();
        let levels: Vec<u8> = (0..sound.frames()).map(|frame| level(sound.samples(frame))).collect();
        assert!(levels.iter().all(|level| (18..=45).contains(level)), "{levels:?}");
        let (first, last) = (sound.samples(0)[0], *sound.samples(sound.frames() - 1).last().unwrap());
        assert!(first.abs_diff(last) < 1000, "{last}, then {first}: it clicks");
        assert_eq!(sound.samples(sound.frames() - 1).len(), 320);
    }

    #[expect(clippy::cast_possible_truncation, reason = "not the loudest")]
    fn tone(rate: Rate, milliseconds: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * 440.0 / f64::from(rate.hertz());
        (0..rate.samples(milliseconds))
            .map(|n| (11_000.0 * (step * n as f64).sin()) as i16)
            .collect()
    }
}
