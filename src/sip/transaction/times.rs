//! Times of RFC 3261, section 17.

use std::time::Duration;

/// A round trip (RFC 3261, section 17.1.1.1).
pub(crate) const T1: Duration = Duration::from_millis(500);
/// Between repetitions at most.
pub(super) const T2: Duration = Duration::from_secs(4);
/// How long a message may be on its way.
pub(super) const T4: Duration = Duration::from_secs(5);
/// How long an answer is waited for, and a transaction remembered.
pub(super) const T1X64: Duration = Duration::from_secs(32);
