//! Descriptions of sessions (RFC 8866), offered and answered (RFC 3264).
//!
//! - [`Description`]: what a peer says, read with tolerance for what telephones send.
//! - [`Session`]: our side of a leg. It makes offers and answers, and takes answers.
//! - [`Agreed`]: what came of it: codec, payload types, where to send, whether to.
//!
//! Syntax is that of the crate `sdp-types`. No names are looked up: who says a name where an address should be has no
//! address.

mod agreed;
mod audio;
mod codec;
mod crypto;
mod description;
mod direction;
mod inline;
mod numbers;
mod session;
mod text;
mod tolerance;

#[cfg(test)]
mod tests;

pub use agreed::Agreed;
pub use audio::{Audio, Place};
pub use codec::{Codec, EventType, Format, Meaning};
pub use crypto::{Crypto, Keys, Secret};
pub use description::{Description, SdpError, Section};
pub use direction::Direction;
pub use inline::{MKI_BYTES_MAX, Material, Suite};
pub use session::{Local, Refused, Session};
