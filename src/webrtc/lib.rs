//! Sessions of WebRTC audio without I/O: ICE-lite, DTLS-SRTP, offers and answers, by str0m, whose types stay inside.
//!
//! A [`Session`] is given datagrams and the time, and says what is to be sent and what the peer says. Payloads are not
//! touched: no sample is decoded. Whoever embeds this crate finds by [`username_of`] whose the first datagrams of an address
//! are; from then on its address says so.
//!
//! | what | behaviour |
//! |---|---|
//! | candidates of the peer | are passed over. It begins, and its checks say where it is; nothing is ever sent to an address that somebody wrote |
//! | a session that is not up after 30 s | is over |
//! | a peer whose checks stop | is gone: the session is over |
//! | what is not of the session, or not authentic | is dropped |
//! | codecs | Opus, G.711 and G.722, with telephone events for their clocks. Video is refused |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod limits;

#[cfg(any(test, feature = "exercise"))]
pub mod exercise;

mod codec;
mod crypto;
mod description;
mod session;
mod username;

pub use codec::{Agreed, Codec};
pub use description::{DescriptionError, redirect};
pub use session::{Certificate, Offered, Session, SessionPacket, SessionSettings, Told};
pub use username::{is_check, username_of};
