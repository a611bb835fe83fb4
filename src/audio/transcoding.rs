//! Payloads of one codec as payloads of another.

use crate::{Codec, CodecError, Decoder, Encoder, OpusSettings, Rate, Resampler};

/// One stream that is transcoded. Nothing is resampled where a codec takes the other's rate, as Opus does.
pub struct Transcoder {
    decoder: Decoder,
    resampler: Option<Resampler>,
    encoder: Encoder,
    /// Samples that are decoded, and samples that wait to be a whole frame, at the encoder's rate.
    decoded: Vec<i16>,
    waiting: Vec<i16>,
    payload: Vec<u8>,
    clock: u32,
    /// Frames that went out: each one's number and timestamp follow from it.
    frames: u64,
}

/// A frame that came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcoded<'a> {
    /// Counted from zero, without a gap.
    pub number: u64,
    /// In units of the target's clock ([`Codec::clock`]), from zero.
    pub timestamp: u64,
    /// One payload of 20 ms.
    pub payload: &'a [u8],
}

/// The time of each frame that comes out.
const FRAME_MS: usize = 20;
/// Frames on end that are concealed: from 60 ms on it would be silence.
pub(crate) const CONCEALED_MAX: u64 = 5;

impl Transcoder {
    /// From one codec to another; `settings` if that is Opus. [`Codec::L16`] has 16 kHz.
    pub fn new(from: Codec, to: Codec, settings: OpusSettings) -> Result<Self, CodecError> {
        // What one side has no more of is not made up: Opus from and to G.711 is of 8 kHz.
        let own = |codec: Codec, other: Rate| match codec {
            Codec::L16 => Rate::Hz16000,
            _ => codec.rate(other),
        };
        let from_rate = own(from, own(to, Rate::Hz48000));
        let to_rate = own(to, from_rate);
        let resampler = (from_rate != to_rate).then(|| Resampler::new(from_rate, to_rate));
        Ok(Self {
            decoder: Decoder::new(from, from_rate)?,
            resampler,
            encoder: Encoder::with(to, to_rate, settings)?,
            decoded: Vec::new(),
            waiting: Vec::new(),
            payload: Vec::new(),
            clock: to.clock(to_rate),
            frames: 0,
        })
    }

    /// The next payload, and how many were lost before it. Each whole frame of 20 ms is handed to `out`. A payload that is
    /// none of the codec's is an error, and changes nothing else.
    pub fn process(
        &mut self,
        payload: &[u8],
        lost: u64,
        mut out: impl FnMut(Transcoded<'_>),
    ) -> Result<(), CodecError> {
        self.decoded.clear();
        for missing in (1..=lost.min(CONCEALED_MAX)).rev() {
            self.decoder
                .conceal((missing == 1).then_some(payload), &mut self.decoded);
        }
        let result = self.decoder.decode(payload, &mut self.decoded);
        match &mut self.resampler {
            Some(resampler) => resampler.process(&self.decoded, &mut self.waiting),
            None => self.waiting.append(&mut self.decoded),
        }
        let size = self.encoder.rate().samples(FRAME_MS);
        let mut taken = 0;
        while let Some(samples) = self.waiting.get(taken..taken + size) {
            taken += size;
            self.payload.clear();
            self.encoder.encode(samples, &mut self.payload)?;
            out(Transcoded {
                number: self.frames,
                timestamp: self.frames * u64::from(self.clock) * FRAME_MS as u64 / 1000,
                payload: &self.payload,
            });
            self.frames += 1;
        }
        self.waiting.drain(..taken);
        result
    }

    /// Units of its timestamps in a second.
    pub fn clock(&self) -> u32 {
        self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exercise::{decibel_after, sine};

    const CODECS: [Codec; 5] = [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::L16];

    /// Payloads of a second of a tone.
    fn payloads(codec: Codec) -> Vec<Vec<u8>> {
        let rate = codec.rate(Rate::Hz16000);
        let mut encoder = Encoder::new(codec, rate).unwrap();
        let samples = sine(rate, 440.0, 8000.0, rate.samples(1000));
        let encoded = samples.chunks(rate.samples(20)).map(|frame| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload).unwrap();
            payload
        });
        encoded.collect()
    }

    fn heard(codec: Codec, payloads: &[Vec<u8>]) -> Vec<i16> {
        let mut decoder = Decoder::new(codec, codec.rate(Rate::Hz16000)).unwrap();
        let mut out = Vec::new();
        for payload in payloads {
            decoder.decode(payload, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn a_tone_comes_through_every_pair() {
        for from in CODECS {
            for to in CODECS {
                let mut transcoder = Transcoder::new(from, to, OpusSettings::default()).unwrap();
                let mut out = Vec::new();
                let mut told = Vec::new();
                for payload in payloads(from) {
                    let take = |frame: Transcoded<'_>| {
                        out.push(frame.payload.to_vec());
                        told.push((frame.number, frame.timestamp));
                    };
                    transcoder.process(&payload, 0, take).unwrap();
                }
                assert_eq!(out.len(), 50, "{from:?} to {to:?}");
                let step = u64::from(transcoder.clock()) / 50;
                assert!(told.iter().zip(0..).all(|(told, n)| *told == (n, n * step)));
                let rate = to.rate(Rate::Hz16000);
                let samples = heard(to, &out);
                let tone = sine(rate, 440.0, 8000.0, rate.samples(600));
                let (decibel, delay) = decibel_after(
                    &tone[rate.samples(100)..],
                    &samples[rate.samples(100)..],
                    rate.samples(30),
                );
                let least = if from == Codec::Opus || to == Codec::Opus {
                    15.0
                } else {
                    28.0
                };
                // No more than 20 ms late, where it is looked for.
                assert!(decibel > least, "{from:?} to {to:?}: {decibel} dB after {delay}");
            }
        }
    }

    #[test]
    fn what_is_lost_is_filled_and_what_is_bad_is_told() {
        for from in CODECS {
            let mut transcoder = Transcoder::new(from, Codec::Pcmu, OpusSettings::default()).unwrap();
            let payloads = payloads(from);
            let mut count = 0;
            transcoder.process(&payloads[0], 0, |_| count += 1).unwrap();
            transcoder.process(&payloads[3], 2, |_| count += 1).unwrap();
            assert_eq!(count, 4, "{from:?}");
            // However much is lost, no more than this is made up.
            transcoder.process(&payloads[4], u64::MAX, |_| count += 1).unwrap();
            assert_eq!(count, 5 + CONCEALED_MAX, "{from:?}");
            assert!(transcoder.process(&[], 0, |_| count += 1).is_err());
            assert!(
                transcoder.process(&vec![0xff; PAST], 0, |_| count += 1).is_err(),
                "{from:?}"
            );
            assert_eq!(count, 5 + CONCEALED_MAX, "{from:?}");
            transcoder.process(&payloads[5], 0, |_| count += 1).unwrap();
            assert_eq!(count, 6 + CONCEALED_MAX, "{from:?}");
        }
    }

    const PAST: usize = crate::PAYLOAD_BYTES_MAX + 1;
}
