//! Bounds of patterns, tokens and keys. The unit is in the name; what happens at the bound is said with it.

/// A pattern with its root. A longer one is refused; no path is longer.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Segments of a pattern, its root included. One with more is refused; no path has more.
pub const PATTERN_SEGMENTS_MAX: usize = 32;

/// Patterns of one token, or of one key's scope, in each direction. One with more is refused. Each check of a path costs
/// as much as there are patterns.
pub const PATTERNS_MAX: usize = 256;

/// Memory that the patterns of one token, or of one key's scope, take. One with more is refused. It stays with the session
/// for as long as that is there.
pub const GRANT_BYTES_MAX: usize = 64 * 1024;

/// A token as it is sent. A longer one is refused unread.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// The text of one key, or of a set of them. A longer one is refused unread.
pub const KEY_TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Keys of one set. A set with more is refused.
pub const KEYS_MAX: usize = 1024;

/// The name of a key. A longer one is refused.
pub const KEY_ID_BYTES_MAX: usize = 128;

/// A shared secret. A shorter one is refused: it could be guessed.
pub const SECRET_BYTES_MIN: usize = 32;

/// Modulus of an RSA key. A shorter one is refused: it could be factored.
pub const RSA_MODULUS_BYTES_MIN: usize = 256;

/// Modulus of an RSA key. A longer one is refused: to verify would take too long.
pub const RSA_MODULUS_BYTES_MAX: usize = 1024;
