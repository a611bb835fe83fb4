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
/// Requests that came and are remembered, each for 32 s after its answer on datagrams; what is refused outside of calls is
/// not. When full, those that were answered longest ago are forgotten, but for calls whose ACK is waited for; where there are
/// no others, further requests are answered 503.
pub const SERVER_TRANSACTIONS_MAX: usize = 65_536;
/// Requests that went out and are waited for, or were answered and are remembered, for 32 s if it was an INVITE: as many as
/// 500 calls in a second leave behind. Further ones are not sent.
pub const CLIENT_TRANSACTIONS_MAX: usize = 32_768;
/// How long a call may ring after its last provisional answer (RFC 3261, timer C: more than 3 minutes).
pub const PROVISIONAL_WAIT: Duration = Duration::from_secs(185);
/// Parts of a body of several that are looked at. Further ones are not.
pub const BODY_PARTS_MAX: usize = 8;
/// Hops of a route. An INVITE or a REGISTER with more is answered 400; of an answer with more no route is taken.
pub const ROUTES_MAX: usize = 16;
/// Bytes of a route. More are as too many hops: a request with it has room in a datagram.
pub const ROUTE_BYTES_MAX: usize = 4096;
/// Provisional answers to an INVITE that are acknowledged reliably (RFC 3262). Further ones are not taken.
pub const PROVISIONALS_MAX: u32 = 64;
/// Early dialogs of an INVITE, each with a description of up to [`DESCRIPTION_BYTES_MAX`], and answers to it that come too late
/// and are ended, by their tags. Of further ones nothing is taken.
pub const FORKS_MAX: usize = 16;
/// Headers with credentials that are looked at. Further ones are left unread.
pub const CREDENTIALS_MAX: usize = 8;
/// Contacts that are registered. Further ones are answered 503.
pub const BINDINGS_MAX: usize = 100_000;
/// Contacts of one user, and of one request. Further ones are answered 403.
pub const BINDINGS_PER_USER_MAX: usize = 10;
/// Dialogs that are over and remembered, so that a call in the place of one is told so (603). Of earlier ones it is told that there
/// is none (481).
pub const REPLACED_LATE_MAX: usize = 1024;
/// Users whose devices with names that were registered are remembered as away: who asks for one is answered 480. Of each user as many
/// as it may have contacts, the last ones; of users those whose devices went last. Of others nobody knows any more (404).
pub const GRUUS_AWAY_USERS_MAX: usize = 4096;
/// Bytes of the user and domain of such a device. One with more is not remembered.
pub const GRUU_AWAY_NAME_BYTES_MAX: usize = 256;
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

/// Messages that an IPv4 /24 or an IPv6 /56 may send in a second, on the whole: what is no answer, and is of nobody who is
/// known. Further ones are dropped.
pub const GUARD_MESSAGES_PER_SECOND: u32 = 100;

/// The same of answers: to requests of ours they are, or to none. Further ones are dropped.
pub const GUARD_ANSWERS_PER_SECOND: u32 = 2000;

/// Messages that one peer may send in a second who succeeded lately. Further ones take from its /24 or /56.
pub const GUARD_PEER_MESSAGES_PER_SECOND: u32 = 500;

/// Messages that one address may send in a second that is trusted by name: a carrier's, with 500 calls in a second and what is
/// said in others. Further ones are dropped.
pub const GUARD_TRUSTED_MESSAGES_PER_SECOND: u32 = 10_000;

/// Addresses that are trusted by name, about 20 bytes each, and 150 more for the bucket of one that sent something. Further
/// ones are not trusted.
pub const GUARD_TRUSTED_MAX: usize = TRUNKS_MAX * (TRUNK_ADDRESSES_MAX + 1);

/// What comes back in so long a time may be sent at once by who was silent before.
pub const GUARD_BURST: Duration = Duration::from_secs(10);

/// Sources whose messages are counted, and as many whose answers are, about 150 bytes each. When there are more the one that
/// was silent longest begins anew.
pub const GUARD_SOURCES_MAX: usize = 4096;

/// Peers who succeeded and whose messages are counted, about 200 bytes each. When there are more the one that was silent
/// longest begins anew.
pub const GUARD_PEERS_MAX: usize = 32_768;

/// Wrong passwords and unknown users in [`GUARD_FAILURES_PERIOD`] that get a source banned. Only what comes from where it says
/// counts: over a stream, or with a nonce that was sent there.
pub const GUARD_FAILURES_MAX: u32 = 10;

/// See [`GUARD_FAILURES_MAX`].
pub const GUARD_FAILURES_PERIOD: Duration = Duration::from_secs(60);

/// So many times as many failures, and a source is banned at which somebody succeeded lately; but for those who did, who are
/// banned for their own alone.
pub const GUARD_KNOWN_FAILURES_FACTOR: u32 = 10;

/// Sources whose failures are counted. When there are more the one whose last failure is oldest begins anew.
pub const GUARD_FAILING_MAX: usize = 4096;

/// How long a ban lasts.
pub const GUARD_BAN: Duration = Duration::from_secs(300);

/// Bans at a time. When there are more the oldest ends.
pub const GUARD_BANS_MAX: usize = 4096;

/// How long a success protects from bans for what others do: that of a registration, which is refreshed within this time.
pub const GUARD_KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Peers and their addresses that are known, both in one table. When there are more the one whose last success is oldest is a
/// stranger.
pub const GUARD_KNOWN_MAX: usize = 65_536;

/// Period in which each reason may be logged [`GUARD_LOG_LINES_MAX`] times, and once for each address.
pub const GUARD_LOG_PERIOD: Duration = Duration::from_secs(60);

/// Lines of one reason in a [`GUARD_LOG_PERIOD`]. Further ones are counted.
pub const GUARD_LOG_LINES_MAX: u32 = 10;

/// Transactions in progress with which new ones are answered 503: 500 calls in a second that ring for 20 s have as many, two
/// each.
pub const GUARD_TRANSACTIONS_BUSY: usize = 20_000;

/// Messages wait for so long before they are read: from then on a new call is answered 503, which costs a tenth of it, until
/// nothing waits any more.
pub const GUARD_BEHIND_INVITE_MAX: Duration = Duration::from_millis(40);

/// The same for other requests that begin something. Over UDP they come again after half a second (RFC 3261, section 17.1.2.1).
pub const GUARD_BEHIND_MAX: Duration = Duration::from_millis(250);

/// Transactions in progress with which new ones are dropped: even the answer would cost too much.
pub const GUARD_TRANSACTIONS_MAX: usize = 40_000;

/// Legs with which a new call is answered 503. A call has two as a rule, and 500 in a second have as many after 10 s.
pub const GUARD_LEGS_MAX: usize = 10_000;

/// The least that `Retry-After` of a 503 says, in seconds.
pub const GUARD_RETRY_AFTER_S_MIN: u32 = 5;

/// The most that `Retry-After` of a 503 says, in seconds.
pub const GUARD_RETRY_AFTER_S_MAX: u32 = 30;

const _: () = {
    assert!(GUARD_STREAM_HEADER_BYTES_MAX < GUARD_MESSAGE_BYTES_MAX);
    assert!(DIGEST_HEADER_BYTES_MAX < GUARD_STREAM_HEADER_BYTES_MAX);
    assert!(GUARD_TRANSACTIONS_BUSY <= GUARD_TRANSACTIONS_MAX);
    assert!(GUARD_TRANSACTIONS_MAX < SERVER_TRANSACTIONS_MAX);
    assert!(GUARD_LEGS_MAX >= 4000 && GUARD_LEGS_MAX < LEGS_MAX);
    assert!(GUARD_MESSAGES_PER_SECOND <= GUARD_PEER_MESSAGES_PER_SECOND);
    assert!(GUARD_RETRY_AFTER_S_MIN <= GUARD_RETRY_AFTER_S_MAX);
    assert!(
        GUARD_KNOWN_MAX >= GUARD_BANS_MAX,
        "strangers are forgotten before those who are known"
    );
};

// Trunks: carriers and PBXs.

/// Trunks. Further ones are not taken.
pub const TRUNKS_MAX: usize = 1000;

/// Addresses that calls of one trunk come from, beside the one that it is reached at. With more it is not taken.
pub const TRUNK_ADDRESSES_MAX: usize = 32;

/// Names in one certificate by which a trunk may be known. Further ones are not looked at, and it is told that there are.
pub const CERTIFICATE_NAMES_MAX: usize = 100;

/// Trunks of one group. Further ones are left out.
pub const TRUNKS_PER_GROUP_MAX: usize = 32;

/// The longest that a registration with a trunk is asked for, whatever the trunk would have.
pub const TRUNK_EXPIRES_MAX: Duration = Duration::from_secs(86_400);

/// How long before its end a registration is renewed; half of its time where that is less.
pub const TRUNK_REFRESH_MARGIN: Duration = Duration::from_secs(120);

/// Between registrations that went well there is as long as this, however short they are granted.
pub const TRUNK_REFRESH_MIN: Duration = Duration::from_secs(5);

/// After a registration that failed the next one waits so long, twice as long after each further failure.
pub const TRUNK_BACK_OFF_MIN: Duration = Duration::from_secs(30);

/// And at most so long.
pub const TRUNK_BACK_OFF_MAX: Duration = Duration::from_secs(600);

/// What `Retry-After` of a trunk may say; what is less or more counts as this.
pub const TRUNK_RETRY_AFTER_MIN: Duration = Duration::from_secs(5);

/// See [`TRUNK_RETRY_AFTER_MIN`].
pub const TRUNK_RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A trunk is asked no more often whether it is there.
pub const TRUNK_PING_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How long the answer to a ping of a trunk is waited for.
pub const TRUNK_PING_WAIT: Duration = Duration::from_secs(5);

/// Between pings of a trunk that did not answer the last one.
pub const TRUNK_PING_AGAIN: Duration = Duration::from_secs(10);

/// Pings without an answer in a row. Then a trunk is down.
pub const TRUNK_PINGS_MISSED_MAX: u32 = 3;

/// How long any answer of a trunk to a call is waited for, a provisional one counts. It is less than RFC 3261 has (32 s), so
/// that there is time for another trunk.
pub const TRUNK_ANSWER_WAIT: Duration = Duration::from_secs(6);

/// How long a trunk is passed over that did not answer a call at all.
pub const TRUNK_SILENT_OUT: Duration = Duration::from_secs(30);

/// Rules of a translation of numbers. More are refused.
pub const NUMBER_RULES_MAX: usize = 64;

/// Signs of a number. What is longer is not translated.
pub const NUMBER_CHARACTERS_MAX: usize = 64;

/// Names of headers that are passed on. More are refused.
pub const PASSED_NAMES_MAX: usize = 32;

/// Headers of a call that are passed on. Further ones are left out.
pub const PASSED_HEADERS_MAX: usize = 16;

/// Bytes of one of them, and of all. What does not fit is left out.
pub const PASSED_HEADER_BYTES_MAX: usize = 1024;

/// See [`PASSED_HEADER_BYTES_MAX`].
pub const PASSED_BYTES_MAX: usize = 4096;

const _: () = {
    assert!(TRUNK_BACK_OFF_MIN.as_secs() < TRUNK_BACK_OFF_MAX.as_secs());
    assert!(TRUNK_RETRY_AFTER_MIN.as_secs() < TRUNK_RETRY_AFTER_MAX.as_secs());
    assert!(
        TRUNK_PING_WAIT.as_secs() <= TRUNK_PING_AGAIN.as_secs(),
        "one ping at a time"
    );
    assert!(PASSED_HEADER_BYTES_MAX <= PASSED_BYTES_MAX && PASSED_HEADER_BYTES_MAX <= HEADER_BYTES_MAX);
    assert!(PASSED_HEADERS_MAX < HEADERS_MAX / 2);
};

// Who watches whom, what is published, and texts.

/// Subscriptions in all. Further ones are answered 503.
pub const SUBSCRIPTIONS_MAX: usize = 50_000;

/// Subscriptions of one watcher: more than the keys of the largest panel. Further ones are answered 403.
pub const SUBSCRIPTIONS_PER_WATCHER_MAX: usize = 256;

/// Subscriptions to one user. Further ones are answered 403.
pub const SUBSCRIPTIONS_PER_USER_MAX: usize = 1000;

/// A subscription is at least so long: a shorter one is answered 423.
pub const SUBSCRIPTION_MIN: Duration = Duration::from_secs(60);

/// And at most so long: a longer one is cut.
pub const SUBSCRIPTION_MAX: Duration = Duration::from_secs(3600);

/// Between two notices of a subscription. Of what happens meanwhile the last is told.
pub const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// Notices without an answer in a row. Then the subscription is over.
pub const NOTICES_MISSED_MAX: u32 = 2;

/// Calls of a user that watchers are told of. Further ones are left out.
pub const WATCHED_DIALOGS_MAX: usize = 8;

/// Bytes of the name of who watches, is watched, or publishes. With a longer one it is refused.
pub const WATCHED_NAME_BYTES_MAX: usize = 255;

/// Signs of a name or a note that watchers are told. What is longer is cut.
pub const WATCHED_TEXT_MAX: usize = 256;

/// Publications in all. Further ones are answered 503.
pub const PUBLICATIONS_MAX: usize = 20_000;

/// Publications of one user, one for each of its devices. Further ones are answered 403.
pub const PUBLICATIONS_PER_USER_MAX: usize = 10;

/// Bytes of a published document. A longer one is answered 413.
pub const PUBLISHED_BYTES_MAX: usize = 16 * 1024;

/// Pieces of a published document. What is behind them is not read.
pub const PUBLISHED_PIECES_MAX: usize = 2000;

/// Bytes of a text that came. A longer one is answered 413.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a whole message with a text on datagrams (RFC 3428, section 8). A longer one does not go out.
pub const TEXT_DATAGRAM_BYTES_MAX: usize = 1300;

/// Bytes of a request that go as one datagram (RFC 3261, section 18.1.1). A longer one goes by TCP.
pub const REQUEST_DATAGRAM_BYTES_MAX: usize = 1300;

/// For so long it is believed that a peer takes no TCP.
pub const STREAMLESS_LIFE: Duration = Duration::from_secs(3600);

/// Peers of which that is known. Of a further one it is not, and it is tried each time.
pub const STREAMLESS_PEERS_MAX: usize = 4096;

/// How long a peer that took a transfer may say nothing of it. Then it counts as one that failed.
pub const REFER_WAIT: Duration = Duration::from_secs(185);

const _: () = {
    assert!(SUBSCRIPTIONS_PER_WATCHER_MAX <= SUBSCRIPTIONS_PER_USER_MAX);
    assert!(SUBSCRIPTION_MIN.as_secs() < SUBSCRIPTION_MAX.as_secs());
    assert!(PUBLICATIONS_PER_USER_MAX < PUBLICATIONS_MAX);
};
