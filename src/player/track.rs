//! A sound in one codec, frame after frame.

use bytes::Bytes;
use moqswitch_audio::{Codec, CodecError, Encoder, OpusSettings, Rate, Resampler};

use crate::sound::{FRAME_MS, Sound};

/// A stream of frames of 20 ms, encoded one after another.
pub struct Track {
    codec: Codec,
    resampler: Resampler,
    encoder: Encoder,
    line: Vec<i16>,
}

impl Track {
    /// Of sounds at that rate.
    pub fn new(codec: Codec, rate: Rate) -> Result<Self, CodecError> {
        let own = codec.rate(rate);
        Ok(Self {
            codec,
            resampler: Resampler::new(rate, own),
            encoder: Encoder::with(codec, own, OPUS)?,
            line: Vec::new(),
        })
    }

    /// The next frame, which is this one of the sound. What a file has in this codec goes out as it is.
    pub fn frame(&mut self, sound: &Sound, index: usize) -> Result<Bytes, CodecError> {
        if let (Codec::Opus, Some(packet)) = (self.codec, sound.packet(index)) {
            return Ok(packet.clone());
        }
        let mut samples = sound.samples(index).to_vec();
        samples.resize(sound.rate().samples(FRAME_MS), 0);
        self.line.clear();
        self.resampler.process(&samples, &mut self.line);
        let mut payload = Vec::new();
        self.encoder.encode(&self.line, &mut payload)?;
        Ok(payload.into())
    }
}

/// For music, over a network that loses little.
const OPUS: OpusSettings = OpusSettings {
    bitrate: 40_000,
    complexity: 8,
    loss_percent: 0,
    dtx: false,
};
