//! What is bounded, by how much, and what happens then.

use std::time::Duration;

/// Bytes of a message. A longer one gets no answer, and ends a connection.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Bytes of the headers of a message on a stream. More end the connection.
pub const STREAM_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines of headers. More are answered 513.
pub const HEADERS_MAX: usize = 128;
/// Bytes of one header's value. More are answered 513.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Items of a header that is a list. Further ones are not looked at.
pub const LIST_ITEMS_MAX: usize = 64;
/// Parameters of a value. Further ones are not looked at.
pub const PARAMETERS_MAX: usize = 32;
/// Requests that came and are remembered, each for 32 s after its answer on datagrams. When full, those that were answered
/// longest ago are forgotten; where there are none, further requests are answered 503.
pub const SERVER_TRANSACTIONS_MAX: usize = 65_536;
/// Requests that went out and are waited for. Further ones are not sent.
pub const CLIENT_TRANSACTIONS_MAX: usize = 16_384;
/// How long a call may ring after its last provisional answer (RFC 3261, timer C: more than 3 minutes).
pub const PROVISIONAL_WAIT: Duration = Duration::from_secs(185);
/// Hops of a route. Further ones are not taken.
pub const ROUTES_MAX: usize = 16;
/// Contacts that are registered. Further ones are answered 503.
pub const BINDINGS_MAX: usize = 100_000;
/// Contacts of one user, and of one request. Further ones are answered 403.
pub const BINDINGS_PER_USER_MAX: usize = 10;
/// Legs. Further calls are answered 503.
pub const LEGS_MAX: usize = 50_000;
/// A registration is at least so long by default.
pub const EXPIRES_MIN: Duration = Duration::from_secs(60);
/// And at most so long.
pub const EXPIRES_MAX: Duration = Duration::from_secs(7200);
/// How often a contact on datagrams is asked whether it is there, by default.
pub const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long a session is at least (RFC 4028, section 5). A shorter one is answered 422.
pub const SESSION_MIN: Duration = Duration::from_secs(90);
/// How long a session is that we ask for.
pub const SESSION_INTERVAL: Duration = Duration::from_secs(1800);
// Digest authentication.

/// One header value with a challenge or with credentials. A longer one is refused unread.
pub const DIGEST_HEADER_BYTES_MAX: usize = 4096;

/// Parameters of one header value. With more it is refused.
pub const DIGEST_PARAMETERS_MAX: usize = 32;

/// The name of a user. Credentials with a longer one are refused.
pub const DIGEST_USER_BYTES_MAX: usize = 255;

/// How long a nonce of ours is good for. Credentials with an older one are asked for again.
pub const DIGEST_NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// Nonces whose counts are known, 40 bytes each. When there are more the oldest is forgotten, and no longer good.
pub const DIGEST_NONCES_MAX: usize = 65_536;

/// How far requests with one nonce may overtake each other. What comes later than that counts as a replay.
pub const DIGEST_COUNT_WINDOW: u32 = 32;

/// Challenges that are answered for one request: two of a proxy's and two of a server's. The request fails at the next.
pub const DIGEST_TRIES_MAX: u32 = 4;

/// Realms whose challenges a client remembers. When there are more the oldest is forgotten.
pub const DIGEST_REALMS_MAX: usize = 4;

/// Challenges of one response that are looked at. Further ones are left unread.
pub const DIGEST_CHALLENGES_MAX: usize = 8;

const _: () = {
    assert!(DIGEST_USER_BYTES_MAX < DIGEST_HEADER_BYTES_MAX);
    assert!(DIGEST_COUNT_WINDOW <= u32::BITS, "it is kept in one u32");
    assert!(DIGEST_NONCES_MAX > 0 && DIGEST_REALMS_MAX > 0);
};
/// Bytes of a description of a session. A longer one is refused.
pub const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;

/// Media sections (lines `m=`) of a description. One with more is refused.
pub const MEDIA_SECTIONS_MAX: usize = 16;

/// Formats of a media section: payload types, where it is RTP. A description with more is refused.
pub const FORMATS_PER_SECTION_MAX: usize = 64;

/// Attributes (lines `a=`) of a media section, and of the session before them. A description with more is refused.
pub const ATTRIBUTES_PER_SECTION_MAX: usize = 256;
/// Realms of digest authentication. Beyond it all are begun anew, and telephones are asked once more.
pub const REALMS_MAX: usize = 1024;
