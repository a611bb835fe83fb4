//! The moq-lite wire format, drafts 01 to 06 and the gomoqt dialect: bytes to messages and back, one
//! file per family.
//!
//! Pure: no clock, no sockets, no state between calls. A decoder looks at the bytes received so
//! far and says [`DecodeError::Truncated`] only when more bytes of the stream could complete the
//! message; every other error is a fault of the peer that no further byte can mend. An encoder that fails leaves its
//! output as it was. `Draft` in comments is draft-lcurley-moq-lite, `released` is what the
//! published implementations of the same draft number send; where they differ we send the
//! released form and accept both.
//!
//! In go a [`Version`] and the bytes of a stream, out come a message and the number of bytes it took; the other way round
//! for `encode`, which appends. Each file begins with the layouts of its messages. Begin with [`Version`], which says what
//! a draft has; [`BidiType`] and [`UniType`], which say what a stream is for; then [`Subscribe`] and [`GroupHeader`].
//! Payload is never copied: [`GroupParser`] cuts a group's stream into [`Chunk`]s that remember where frames begin, and
//! [`Transcoder`] writes their headers anew for another draft.

pub mod advertisement;
pub mod announce;
pub mod announce_init;
mod body;
pub mod chunk;
#[cfg(any(test, feature = "exercise"))]
pub mod corpus;
pub mod datagram;
pub mod error;
pub mod error_code;
pub mod escape;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
pub mod fetch;
pub mod frame;
mod framing;
pub mod goaway;
pub mod group;
pub mod handshake;
pub mod ids;
#[cfg(any(test, feature = "exercise"))]
pub mod normal_form;
pub mod object;
pub mod path;
pub mod probe;
pub mod setup;
pub mod stream_type;
pub mod subscribe;
pub mod subscribe_response;
pub mod track;
pub mod transfer;
pub mod varint;
pub mod version;
pub mod vi64;

pub use advertisement::{Advertisement, RouteCost};
pub use announce::{Announce, AnnounceOk, AnnounceRequest};
pub use announce_init::AnnounceInit;
pub use chunk::{Chunk, FrameMark, GroupParser, GroupWriter, Transcoder};
pub use datagram::DatagramHeader;
pub use error::{DecodeError, EncodeError};
pub use error_code::{session_error, stream_error};
pub use escape::escaped;
pub use fetch::Fetch;
pub use frame::FrameHeader;
pub use goaway::Goaway;
pub use group::GroupHeader;
pub use handshake::{HandshakeForm, SessionClient, SessionServer, SessionUpdate};
pub use ids::{ErrorCode, GroupSequence, HopId, StreamId, SubscribeId};
pub use object::ObjectHeader;
pub use path::{BroadcastPath, TrackName};
pub use probe::Probe;
pub use setup::{ProbeLevel, Role, Setup};
pub use stream_type::{BidiType, StreamHeads, UniType};
pub use subscribe::{GroupRange, Subscribe, SubscribeUpdate};
pub use subscribe_response::{SubscribeOk, SubscribeResponse};
pub use track::{TrackInfo, TrackRequest};
pub use transfer::{DatagramSent, Read, Written};
pub use version::{FrameForm, Version};

#[cfg(test)]
mod tests;
