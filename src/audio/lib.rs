//! Telephone audio as samples, without I/O: codecs, rates, concealment, jitter, mixing, tones.
//!
//! No socket, no clock, no thread, no file format. Samples are mono, 16 bits, linear.
//!
//! - [`Codec`], [`Decoder`], [`Encoder`]: Opus, G.711, G.722 and L16, one stream each.
//! - [`g711`], [`g722`], [`l16`]: those codecs by themselves.
//! - [`Resampler`]: from one [`Rate`] to another, with a state, so that pieces of any length join without a click.
//! - [`Transcoder`]: payloads of one codec as payloads of another.
//! - [`Concealment`]: what stands in for what is lost.
//! - [`JitterBuffer`]: frames that come unevenly, handed out evenly.
//! - [`Mixer`]: each hears all others.
//! - [`Tone`], [`KeyDetector`]: keys, made and heard; tones of those who come and go.
//! - [`ComfortNoise`], [`level`]: how loud it is.
//!
//! | limit | value | what happens then |
//! |---|---|---|
//! | [`FRAME_MS_MAX`] | 120 ms | a longer payload is refused |
//! | [`PAYLOAD_BYTES_MAX`] | 11 520 | a longer payload is refused |
//! | [`WAITING_MAX`] | 64 frames | a jitter buffer begins anew |
//! | [`VOICES_MAX`] | 256 | further voices are not heard |
//! | [`DIGIT_MS_MAX`] | 5 s | the tone of a key is cut |
//!
//! # Example
//!
//! A frame of G.711 as Opus, and what of it is left when it is decoded again:
//!
//! ```
//! use moqswitch_audio::{Codec, Decoder, OpusSettings, Rate, Transcoder};
//!
//! # fn main() -> Result<(), moqswitch_audio::CodecError> {
//! let mut transcoder = Transcoder::new(Codec::Pcmu, Codec::Opus, OpusSettings::default())?;
//! let mut decoder = Decoder::new(Codec::Opus, Rate::Hz48000)?;
//! let mut samples = Vec::new();
//! // 20 ms of silence, and nothing was lost before.
//! transcoder.process(&[0xff; 160], 0, |frame| {
//!     assert_eq!((frame.number, frame.timestamp), (0, 0));
//!     decoder.decode(frame.payload, &mut samples).expect("our own encoder made it");
//! })?;
//! assert_eq!(samples.len(), 960);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod g711;
pub mod g722;
pub mod l16;

mod codec;
mod concealment;
mod jitter;
mod keys;
mod level;
mod mixing;
mod noise;
mod rate;
mod resampling;
mod tones;
mod transcoding;

#[cfg(test)]
mod exercise;
#[cfg(test)]
mod vectors;

pub use codec::{Codec, CodecError, Decoder, Encoder, FRAME_MS_MAX, OpusSettings, PAYLOAD_BYTES_MAX};
pub use concealment::Concealment;
pub use jitter::{JitterBuffer, JitterStatistics, Played, WAITING_MAX};
pub use keys::{KeyDetector, KeyHeard};
pub use level::{SILENCE, level};
pub use mixing::{Mixer, VOICES_MAX};
pub use noise::ComfortNoise;
pub use rate::Rate;
pub use resampling::Resampler;
pub use tones::{DIGIT_MS_MAX, Tone};
pub use transcoding::{Transcoded, Transcoder};
