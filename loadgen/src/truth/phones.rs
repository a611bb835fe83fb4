//! What phones counted beside frames: their sockets, holds, keys, and what the switch did not do.

use serde::{Deserialize, Serialize};

/// How often something happened to phones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PhoneCounts {
    /// Phones that were registered when the run began.
    pub(crate) registered: u64,
    /// Sockets that were lost after that. Each counts as a lost connection too.
    pub(crate) sockets_lost: u64,
    /// Requests that were answered by an error.
    pub(crate) refused: u64,
    /// Calls that were up, and that the switch ended.
    pub(crate) calls_dropped: u64,
    /// Ends of calls that a phone was not told.
    pub(crate) ends_untold: u64,
    pub(crate) holds: u64,
    /// Holds after which somebody was still subscribed, or that did not end.
    pub(crate) holds_failed: u64,
    /// Media that came to phones of calls that were on hold.
    pub(crate) held_bytes: u64,
    pub(crate) digits_sent: u64,
    pub(crate) digits_heard: u64,
    /// Keys that the other phone was not told, or was told wrong.
    pub(crate) digits_lost: u64,
}

impl PhoneCounts {
    pub(super) fn add(&mut self, other: &Self) {
        self.registered += other.registered;
        self.sockets_lost += other.sockets_lost;
        self.refused += other.refused;
        self.calls_dropped += other.calls_dropped;
        self.ends_untold += other.ends_untold;
        self.holds += other.holds;
        self.holds_failed += other.holds_failed;
        self.held_bytes += other.held_bytes;
        self.digits_sent += other.digits_sent;
        self.digits_heard += other.digits_heard;
        self.digits_lost += other.digits_lost;
    }
}
