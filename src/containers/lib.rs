//! Files of telephone audio: Ogg Opus (RFC 7845) and WAV. Nothing is transcoded here.
//!
//! Writers take any sink. What they have written is a playable file at any time, so that one that is cut off lacks only what
//! was not written. Readers take a whole file in memory, of any content, and never panic: what is cut off ends where it ends.
//!
//! Two parties of a call are the two channels of one file. Packets of Opus of both are joined as they are: two streams of one
//! channel each (RFC 7845, section 5.1.1.2, mapping family 1). Bytes of G.711 are interleaved.
//!
//! # Example
//!
//! ```
//! use std::io::Cursor;
//!
//! use moqswitch_containers::{Encoding, Wav, WavWriter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut writer = WavWriter::new(Cursor::new(Vec::new()), Encoding::Mulaw, 2, 8000)?;
//! // One sample of each party in turn.
//! writer.write(&[0xff, 0x7f, 0xff, 0x7f])?;
//! let file = writer.finish()?.into_inner();
//!
//! let wav = Wav::read(&file)?;
//! assert_eq!((wav.encoding, wav.channels, wav.sample_rate), (Encoding::Mulaw, 2, 8000));
//! assert_eq!(file[wav.data], [0xff, 0x7f, 0xff, 0x7f]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod limits;
pub mod ogg;
pub mod opus;
pub mod slots;
pub mod wav;

pub use ogg::{OpusFile, OpusReadError, OpusWriter};
pub use slots::{SlotCounts, Slots};
pub use wav::{Encoding, Wav, WavReadError, WavWriter};
