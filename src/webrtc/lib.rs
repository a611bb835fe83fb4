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
//!
//! # Example
//!
//! An offer is answered; what is to be sent and what comes is asked of the session:
//!
//! ```
//! use std::time::Instant;
//!
//! use moqswitch_webrtc::{Certificate, Codec, Session, SessionSettings, Told};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
//! # let own = rcgen::CertificateParams::default().self_signed(&key)?;
//! let certificate = Certificate { certificate: own.der().to_vec(), key: key.serialize_der() };
//! let (codecs, now) = ([Codec::Opus, Codec::Pcmu], Instant::now());
//! let settings = |address: &str| -> Result<_, std::net::AddrParseError> {
//!     Ok(SessionSettings { certificate: &certificate, address: address.parse()?, codecs: &codecs, now })
//! };
//! // A browser's offer: here one of our own, without the word that its side takes checks of ICE and makes none.
//! let (_, offer) = Session::offer(&settings("127.0.0.1:5004")?)?;
//! let offer = offer.replace("a=ice-lite\r\n", "");
//! let (mut session, answer) = Session::answer(&settings("127.0.0.1:5006")?, &offer)?;
//! let spoken: Vec<Codec> = session.agreed().codecs.iter().map(|(_, codec)| *codec).collect();
//! assert_eq!(spoken, codecs);
//! assert!(answer.contains("a=ice-lite"));
//!
//! // After each datagram, and when its time has come.
//! session.handle_timeout(now);
//! let mut wakes = None;
//! session.poll(|told| match told {
//!     Told::Send { destination, datagram } => println!("{} bytes to {destination}", datagram.len()),
//!     Told::Packet(packet) => println!("{} bytes are said", packet.payload.len()),
//!     Told::Up(remote) => println!("the peer is at {remote}"),
//!     Told::Over => println!("the session is over"),
//!     Told::Wait(until) => wakes = Some(until),
//! });
//! assert!(wakes.is_some());
//! # Ok(())
//! # }
//! ```

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
