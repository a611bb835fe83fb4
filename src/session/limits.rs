//! What one peer can make a session hold.

/// Limits of a session; each says what happens at it.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Live subscriptions of the peer. A further SUBSCRIBE is reset.
    pub subscriptions_max: usize,
    /// Live announce streams of the peer. A further one is reset.
    pub announce_requests_max: usize,
    /// Broadcasts that the peer has announced to us. A further one closes the session:
    /// it cannot be skipped without losing count of announce ids.
    pub announced_max: usize,
    /// Requests that wait for the peer's SETUP. A further one is reset.
    pub requests_held_max: usize,
    /// Streams of the peer that carry an unfinished header or message. The transport's
    /// stream limits bound it too; beyond this one a further stream is refused.
    pub streams_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            subscriptions_max: 4096,
            announce_requests_max: 64,
            announced_max: 65_536,
            requests_held_max: 64,
            streams_max: 16_384,
        }
    }
}
