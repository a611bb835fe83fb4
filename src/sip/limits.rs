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
/// Bytes of an address that is asked, or asked from then on: a Request-URI with more is answered 414, a Contact 400.
pub const ADDRESS_BYTES_MAX: usize = 2048;
/// Bytes of a Call-ID, and of a tag. A message with a longer one is answered 400.
pub const NAME_BYTES_MAX: usize = 256;
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
/// Hops of a route. An INVITE or a REGISTER with more is answered 400; of an answer with more no route is taken.
pub const ROUTES_MAX: usize = 16;
/// Bytes of a route. More are as too many hops: a request with it has room in a datagram.
pub const ROUTE_BYTES_MAX: usize = 4096;
/// Provisional answers to an INVITE that are acknowledged reliably (RFC 3262). Further ones are not taken.
pub const PROVISIONALS_MAX: u32 = 64;
/// Early dialogs of an INVITE whose provisional answers are acknowledged, and answers to it that come too late and are ended,
/// by their tags. Of further ones nothing is taken.
pub const FORKS_MAX: usize = 16;
/// Headers with credentials that are looked at. Further ones are left unread.
pub const CREDENTIALS_MAX: usize = 8;
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

// The guard before everything else.

/// A message with its body. A longer one is refused; no datagram is.
pub const GUARD_MESSAGE_BYTES_MAX: usize = 65_535;

/// What stands before the body of a message on a stream. With more the connection is closed.
pub const GUARD_STREAM_HEADER_BYTES_MAX: usize = 16 * 1024;

/// Lines of a message before its body, the first one included. With more it is refused.
pub const GUARD_HEADER_LINES_MAX: usize = 128;

/// Of a `User-Agent` no more is looked at for a scanner's name.
pub const GUARD_USER_AGENT_BYTES: usize = 256;

/// Messages that an IPv4 /24 or an IPv6 /56 may send in a second, on the whole. Further ones are dropped.
pub const GUARD_MESSAGES_PER_SECOND: u32 = 100;

/// What comes back in so long a time may be sent at once by who was silent before.
pub const GUARD_BURST: Duration = Duration::from_secs(10);

/// Sources whose messages are counted. When there are more the one that was silent longest begins anew.
pub const GUARD_SOURCES_MAX: usize = 4096;

/// Wrong passwords and unknown users in [`GUARD_FAILURES_PERIOD`] that get a source banned.
pub const GUARD_FAILURES_MAX: u32 = 10;

/// See [`GUARD_FAILURES_MAX`].
pub const GUARD_FAILURES_PERIOD: Duration = Duration::from_secs(60);

/// So many times as many failures, and a source is banned at which somebody succeeded lately; but for those who did.
pub const GUARD_KNOWN_FAILURES_FACTOR: u32 = 10;

/// Sources whose failures are counted. When there are more the one whose last failure is oldest begins anew.
pub const GUARD_FAILING_MAX: usize = 4096;

/// How long a ban lasts.
pub const GUARD_BAN: Duration = Duration::from_secs(300);

/// Bans at a time. When there are more the oldest ends.
pub const GUARD_BANS_MAX: usize = 4096;

/// How long a success protects from bans: that of a registration, which is refreshed within this time.
pub const GUARD_KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Peers and their addresses that are known, both in one table. When there are more the one whose last success is oldest is a
/// stranger.
pub const GUARD_KNOWN_MAX: usize = 65_536;

/// Period in which each reason may be logged [`GUARD_LOG_LINES_MAX`] times, and once for each address.
pub const GUARD_LOG_PERIOD: Duration = Duration::from_secs(60);

/// Lines of one reason in a [`GUARD_LOG_PERIOD`]. Further ones are counted.
pub const GUARD_LOG_LINES_MAX: u32 = 10;

/// Transactions in progress with which new ones are answered 503.
pub const GUARD_TRANSACTIONS_BUSY: usize = 10_000;

/// Transactions in progress with which new ones are dropped: even the answer would cost too much.
pub const GUARD_TRANSACTIONS_MAX: usize = 20_000;

/// Calls in progress with which a new one is answered 503.
pub const GUARD_CALLS_MAX: usize = 2000;

/// The least that `Retry-After` of a 503 says, in seconds.
pub const GUARD_RETRY_AFTER_S_MIN: u32 = 5;

/// The most that `Retry-After` of a 503 says, in seconds.
pub const GUARD_RETRY_AFTER_S_MAX: u32 = 30;

const _: () = {
    assert!(GUARD_STREAM_HEADER_BYTES_MAX < GUARD_MESSAGE_BYTES_MAX);
    assert!(DIGEST_HEADER_BYTES_MAX < GUARD_STREAM_HEADER_BYTES_MAX);
    assert!(GUARD_TRANSACTIONS_BUSY <= GUARD_TRANSACTIONS_MAX);
    assert!(GUARD_RETRY_AFTER_S_MIN <= GUARD_RETRY_AFTER_S_MAX);
    assert!(
        GUARD_KNOWN_MAX >= GUARD_BANS_MAX,
        "strangers are forgotten before those who are known"
    );
};
