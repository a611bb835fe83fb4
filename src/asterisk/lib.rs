//! What Asterisk speaks beside SIP, without I/O: AudioSocket (`res_audiosocket`), and the WebSocket of `chan_websocket`.
//!
//! - [`audiosocket`]: messages of a kind, a length and a payload; the first has a UUID.
//! - [`uuid`]: that UUID, and the number that one may have inside.
//! - [`websocket`]: events that Asterisk sends and commands that it takes, as plain words and as JSON.
//! - [`request`]: whom the URL of a WebSocket calls.
//! - [`Format`]: how audio is written on either. [`Intake`] and [`Playout`] bring it to codecs and back.
//!
//! What Asterisk does is by its source: `res/res_audiosocket.c`, `channels/chan_websocket.c` (22.8 and 23.2).
//!
//! | limit | value | what happens then |
//! |---|---|---|
//! | [`limits::PAYLOAD_BYTES_MAX`] | 65 535 | the length of AudioSocket has no room for more |
//! | [`limits::TEXT_BYTES_MAX`] | 4096 | a longer text of Asterisk is no event |
//! | [`limits::COMMAND_BYTES_MAX`] | 128 | a longer command would be passed over by Asterisk without a word: it is not written |
//! | [`limits::WORDS_MAX`] | 64 | what is behind them in a plain event is passed over |
//!
//! # Example
//!
//! ```
//! use moqswitch_asterisk::audiosocket::Message;
//!
//! let mut bytes = Vec::new();
//! assert!(Message::Audio { hertz: 8000, samples: &[0; 320] }.write(&mut bytes));
//! let (message, length) = Message::read(&bytes).expect("it is none that is wrong").expect("all of it is there");
//! assert_eq!((message, length), (Message::Audio { hertz: 8000, samples: &[0; 320] }, bytes.len()));
//! // What is not there yet is waited for.
//! assert_eq!(Message::read(&bytes[..100]), Ok(None));
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod audiosocket;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
pub mod limits;
pub mod request;
pub mod uuid;
pub mod websocket;

mod format;
mod sound;
mod stretch;

pub use format::{Format, UnknownFormat};
pub use moqswitch_audio::{Codec, CodecError};
pub use request::Request;
pub use sound::{Intake, Playout};
pub use uuid::Uuid;
