//! The codecs of telephones, each as a [`Decoder`] and an [`Encoder`] of one stream.

use opusic_c::{Application, Bitrate, Channels, InbandFec, SampleRate};

use crate::concealment::Concealment;
use crate::{Rate, g711, g722, l16};

/// A codec of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// RFC 6716. It is decoded and encoded at any rate.
    Opus,
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.722 at 64 kbit/s, 16 kHz. Its clock in RTP is 8 kHz (RFC 3551, section 4.5.2).
    G722,
    /// Samples as they are, the high byte first (RFC 3551, section 4.5.11), at any rate.
    L16,
}

/// Why a codec refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The codec has no such rate.
    #[error("{0:?} has no rate of {1:?}")]
    Rate(Codec, Rate),
    /// There is no memory for it.
    #[error("there is no memory for a codec")]
    Memory,
    /// The payload is none of this codec. Nothing was decoded.
    #[error("the payload is none of the codec's")]
    Payload,
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`], or decodes to more than [`FRAME_MS_MAX`].
    #[error("a payload of more than {FRAME_MS_MAX} ms")]
    TooLong,
    /// Opus encodes 2.5, 5, 10, 20, 40 or 60 ms at once.
    #[error("the codec has no frames of {0} samples")]
    FrameSize(usize),
}

/// The longest time that one payload may have: that of the longest packet of Opus.
pub const FRAME_MS_MAX: usize = 120;
/// The longest payload that is decoded: L16 at 48 kHz, of the longest time.
pub const PAYLOAD_BYTES_MAX: usize = 2 * 48 * FRAME_MS_MAX;

impl Codec {
    /// The rate that its samples have, if the others would like this one: G.711 and G.722 have one each.
    pub const fn rate(self, wanted: Rate) -> Rate {
        match self {
            Self::Opus | Self::L16 => wanted,
            Self::Pcmu | Self::Pcma => Rate::Hz8000,
            Self::G722 => Rate::Hz16000,
        }
    }

    /// The rate at which nothing of it is lost.
    pub const fn full_rate(self) -> Rate {
        self.rate(Rate::Hz48000)
    }

    /// Units of its timestamps in a second, as RTP has them: 48 000 for Opus, 8000 for G.722.
    pub const fn clock(self, rate: Rate) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::L16 => rate.hertz(),
        }
    }
}

/// A stream that is decoded. What is lost is concealed: by libopus for Opus, else by [`Concealment`].
pub struct Decoder {
    rate: Rate,
    kind: Decoding,
    /// Samples of the payload before.
    last: usize,
}

enum Decoding {
    Opus(opusic_c::Decoder),
    Plain(Plain, Box<Concealment>),
}

enum Plain {
    Pcmu,
    Pcma,
    G722(Box<g722::Decoder>),
    L16,
}

impl Decoder {
    /// A stream of which nothing came yet, decoded at that rate.
    pub fn new(codec: Codec, rate: Rate) -> Result<Self, CodecError> {
        if codec.rate(rate) != rate {
            return Err(CodecError::Rate(codec, rate));
        }
        let plain = match codec {
            Codec::Opus => None,
            Codec::Pcmu => Some(Plain::Pcmu),
            Codec::Pcma => Some(Plain::Pcma),
            Codec::G722 => Some(Plain::G722(Box::default())),
            Codec::L16 => Some(Plain::L16),
        };
        let kind = match plain {
            Some(plain) => Decoding::Plain(plain, Box::new(Concealment::new(rate))),
            None => {
                Decoding::Opus(opusic_c::Decoder::new(Channels::Mono, opus_rate(rate)).map_err(|_| CodecError::Memory)?)
            }
        };
        Ok(Self {
            rate,
            kind,
            last: rate.samples(20),
        })
    }

    /// Of what comes out.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Decodes a payload; its samples are added to `out`. Stereo becomes mono. With an error `out` is as it was.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(CodecError::TooLong);
        }
        let begin = out.len();
        match &mut self.kind {
            Decoding::Opus(decoder) => {
                if payload.is_empty() {
                    return Err(CodecError::Payload);
                }
                decode_opus(decoder, payload, self.rate.samples(FRAME_MS_MAX), false, out)?;
            }
            Decoding::Plain(plain, concealment) => {
                let count = plain.samples_of(payload.len());
                if count > self.rate.samples(FRAME_MS_MAX) {
                    return Err(CodecError::TooLong);
                }
                if count == 0 {
                    return Err(CodecError::Payload);
                }
                plain.decode(payload, count, out);
                concealment.heard(&mut out[begin..]);
            }
        }
        self.last = out.len() - begin;
        Ok(())
    }

    /// What a lost payload may have been, as long as the one before. `next`, if it is there already, tells more of it to
    /// Opus, by its forward error correction.
    pub fn conceal(&mut self, next: Option<&[u8]>, out: &mut Vec<i16>) {
        let begin = out.len();
        let size = self.last;
        match &mut self.kind {
            Decoding::Opus(decoder) => {
                let next = next.filter(|next| !next.is_empty() && next.len() <= PAYLOAD_BYTES_MAX);
                if decode_opus(decoder, next.unwrap_or_default(), size, next.is_some(), out).is_err() {
                    out.resize(begin + size, 0);
                }
            }
            Decoding::Plain(_, concealment) => concealment.lost(size, out),
        }
    }
}

impl Plain {
    fn samples_of(&self, bytes: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => bytes,
            Self::G722(_) => bytes * 2,
            Self::L16 => bytes / 2,
        }
    }

    fn decode(&mut self, payload: &[u8], count: usize, out: &mut Vec<i16>) {
        let begin = out.len();
        match self {
            Self::Pcmu => {
                out.resize(begin + count, 0);
                g711::decode_ulaw(payload, &mut out[begin..]);
            }
            Self::Pcma => {
                out.resize(begin + count, 0);
                g711::decode_alaw(payload, &mut out[begin..]);
            }
            Self::G722(decoder) => decoder.decode(payload, out),
            Self::L16 => l16::decode(payload, out),
        }
    }
}

/// `room`: samples that there may be; what is concealed has as many.
fn decode_opus(
    decoder: &mut opusic_c::Decoder,
    payload: &[u8],
    room: usize,
    is_forward: bool,
    out: &mut Vec<i16>,
) -> Result<(), CodecError> {
    let mut samples = [0_u16; Rate::Hz48000.samples(FRAME_MS_MAX)];
    let count = decoder
        .decode_to_slice(payload, &mut samples[..room], is_forward)
        .map_err(|_| CodecError::Payload)?;
    out.extend(samples.iter().take(count).map(|sample| sample.cast_signed()));
    Ok(())
}

const fn opus_rate(rate: Rate) -> SampleRate {
    match rate {
        Rate::Hz8000 => SampleRate::Hz8000,
        Rate::Hz16000 => SampleRate::Hz16000,
        Rate::Hz48000 => SampleRate::Hz48000,
    }
}

/// How Opus is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusSettings {
    /// Bits in a second, 6000 to 128 000.
    pub bitrate: u32,
    /// 0 to 10: the quality of the same bits, and what it costs.
    pub complexity: u8,
    /// Forward error correction for so much loss, in percent. 0: none.
    pub loss_percent: u8,
    /// Sends little while nobody speaks.
    pub dtx: bool,
}

impl Default for OpusSettings {
    /// 24 kbit/s at complexity 5, for a loss of 5 percent, without DTX.
    fn default() -> Self {
        Self {
            bitrate: 24_000,
            complexity: 5,
            loss_percent: 5,
            dtx: false,
        }
    }
}

/// A stream that is encoded.
pub struct Encoder {
    rate: Rate,
    kind: Encoding,
}

enum Encoding {
    Opus(opusic_c::Encoder),
    Pcmu,
    Pcma,
    G722(Box<g722::Encoder>),
    L16,
}

impl Encoder {
    /// A stream of samples of that rate.
    pub fn new(codec: Codec, rate: Rate) -> Result<Self, CodecError> {
        Self::with(codec, rate, OpusSettings::default())
    }

    /// The same, and how Opus is encoded.
    pub fn with(codec: Codec, rate: Rate, settings: OpusSettings) -> Result<Self, CodecError> {
        if codec.rate(rate) != rate {
            return Err(CodecError::Rate(codec, rate));
        }
        let kind = match codec {
            Codec::Opus => Encoding::Opus(opus_encoder(rate, settings).map_err(|_| CodecError::Memory)?),
            Codec::Pcmu => Encoding::Pcmu,
            Codec::Pcma => Encoding::Pcma,
            Codec::G722 => Encoding::G722(Box::default()),
            Codec::L16 => Encoding::L16,
        };
        Ok(Self { rate, kind })
    }

    /// Of what goes in.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Encodes samples as one payload, which is added to `payload`. Opus takes 2.5, 5, 10, 20, 40 or 60 ms, G.722 an even
    /// number of samples, the others any.
    pub fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>) -> Result<(), CodecError> {
        if samples.is_empty() || samples.len() > self.rate.samples(FRAME_MS_MAX) {
            return Err(CodecError::FrameSize(samples.len()));
        }
        let begin = payload.len();
        match &mut self.kind {
            Encoding::Opus(encoder) => encode_opus(encoder, samples, payload)?,
            Encoding::Pcmu => {
                payload.resize(begin + samples.len(), 0);
                g711::encode_ulaw(samples, &mut payload[begin..]);
            }
            Encoding::Pcma => {
                payload.resize(begin + samples.len(), 0);
                g711::encode_alaw(samples, &mut payload[begin..]);
            }
            Encoding::G722(_) if !samples.len().is_multiple_of(2) => return Err(CodecError::FrameSize(samples.len())),
            Encoding::G722(encoder) => encoder.encode(samples, payload),
            Encoding::L16 => l16::encode(samples, payload),
        }
        Ok(())
    }
}

fn opus_encoder(rate: Rate, settings: OpusSettings) -> Result<opusic_c::Encoder, opusic_c::ErrorCode> {
    let mut encoder = opusic_c::Encoder::new(Channels::Mono, opus_rate(rate), Application::Voip)?;
    encoder.set_bitrate(Bitrate::Value(settings.bitrate.clamp(6000, 128_000)))?;
    encoder.set_complexity(settings.complexity.min(10))?;
    encoder.set_dtx(settings.dtx)?;
    if settings.loss_percent > 0 {
        encoder.set_inband_fec(InbandFec::Mode1)?;
        encoder.set_packet_loss(settings.loss_percent.min(100))?;
    }
    Ok(encoder)
}

fn encode_opus(encoder: &mut opusic_c::Encoder, samples: &[i16], payload: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut unsigned = [0_u16; Rate::Hz48000.samples(FRAME_MS_MAX)];
    for (to, from) in unsigned.iter_mut().zip(samples) {
        *to = from.cast_unsigned();
    }
    let mut packet = [0; OPUS_BYTES_MAX];
    let size = encoder
        .encode_to_slice(&unsigned[..samples.len()], &mut packet)
        .map_err(|_| CodecError::FrameSize(samples.len()))?;
    payload.extend_from_slice(&packet[..size]);
    Ok(())
}

/// The longest packet of one frame (RFC 6716, section 3.4).
const OPUS_BYTES_MAX: usize = 1275;
