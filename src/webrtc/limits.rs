//! Bounds of sessions, and what happens there.

use std::time::Duration;

/// Bytes of an offer or an answer. A longer one is refused.
pub const DESCRIPTION_BYTES_MAX: usize = 32 << 10;

/// Media of an offer, of which one is taken. One with more is refused.
pub const MEDIA_MAX: usize = 8;

/// Lines about formats (`a=rtpmap`, `a=fmtp`, `a=rtcp-fb`) of an offer or an answer. One with more is refused.
pub const FORMATS_MAX: usize = 256;

/// Sources of RTP of one session, one after the other. One that has more is over.
pub const SOURCES_MAX: usize = 64;

/// From the answer until ICE and DTLS are done. A session that is not up by then is over.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// Of that, what DTLS may take.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(20);

/// Bytes of a packet's payload, in and out. A longer one is dropped.
pub const PAYLOAD_BYTES_MAX: usize = 1200;

/// What is told of in one go of what a datagram or a packet brought about. Beyond, the session is over: it goes round in
/// circles.
pub const TOLD_MAX: usize = 256;

const _: () = assert!(HANDSHAKE_TIME_MAX.as_millis() < CONNECT_TIME_MAX.as_millis());
