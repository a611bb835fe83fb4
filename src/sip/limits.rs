//! What is bounded, by how much, and what happens then.

use std::time::Duration;

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
