//! Whether a peer ought to speak, and does.

use std::time::Instant;

/// Whether the peer ought to speak, and does.
pub(crate) enum Silence {
    /// Nothing is expected.
    Allowed,
    /// It is looked at then.
    Watched(Instant),
    Told,
}
