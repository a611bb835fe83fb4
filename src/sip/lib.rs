//! SIP without I/O (RFC 3261): datagrams and `now` in, datagrams and events out.
//!
//! - [`message`]: requests and responses, read and written; what is wrong with one that is refused.
//! - [`transaction`]: retransmissions, time-outs, and which answer belongs to which request.
//! - [`agent`]: dialogs, registrations and calls, as one that is called and that calls.
//! - [`digest`]: who it is, by password (RFC 8760).
//! - [`guard`]: what each source may send, before anything is read.
//! - [`sdp`]: offers and answers of audio.
//!
//! # Example
//!
//! ```
//! use moqswitch_sip::message::{Message, Method};
//!
//! let bytes = b"OPTIONS sip:1001@example.org SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
//!     From: <sip:1002@example.org>;tag=a\r\nTo: <sip:1001@example.org>\r\n\
//!     Call-ID: 1@192.0.2.1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
//! let request = Message::parse(bytes).unwrap_or_else(|refused| panic!("{refused:?}"));
//! assert_eq!(request.method(), Some(&Method::Options));
//!
//! let answer = Message::response(&request, 200, "OK");
//! assert_eq!((answer.status(), answer.call_id()), (200, "1@192.0.2.1"));
//! ```

#![warn(missing_docs)]

pub mod agent;
pub mod digest;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
pub mod flow;
pub mod guard;
pub mod limits;
pub mod message;
pub mod sdp;
pub mod transaction;
