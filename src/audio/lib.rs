//! Telephone audio as samples, without I/O: codecs, rates, concealment, jitter, mixing, tones.
//!
//! No socket, no clock, no thread, no file format. Samples are mono, 16 bits, linear.
//!
//! - [`g711`]: both laws of G.711.
//! - [`Resampler`]: from one [`Rate`] to another, with a state, so that pieces of any length join without a click.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod g711;

mod rate;
mod resampling;

pub use rate::Rate;
pub use resampling::Resampler;
