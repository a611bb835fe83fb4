//! SRTP and SRTCP (RFC 3711, RFC 7714): packets are encrypted and authenticated under keys that signalling has told.
//!
//! A [`Sealer`] protects what is sent, an [`Opener`] what comes. Neither allocates for a packet once its buffer has grown, and
//! nothing that comes makes them grow before it is authentic. The key derivation rate is 0, as SDES has it unless it says
//! otherwise.
//!
//! ```text
//! AES-CM, RTP    header | encrypted payload | MKI | tag          RTCP   8 bytes | encrypted | E, index | MKI | tag
//! AES-GCM, RTP   header | encrypted payload | tag | MKI          RTCP   8 bytes | encrypted | tag | E, index | MKI
//! ```

mod header;
mod index;
mod key;
mod opener;
mod sealer;
mod transform;

pub use key::{Key, MKI_BYTES_MAX, Suite};
pub use opener::{Opener, SOURCES_MAX, Unopened};
pub use sealer::{Sealer, Unsealed};

#[cfg(test)]
mod tests;
