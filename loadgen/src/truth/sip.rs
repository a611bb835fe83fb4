//! What telephones of SIP counted beside frames and what other telephones count.

use serde::{Deserialize, Serialize};

/// How often something happened to telephones of SIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SipCounts {
    /// Registrations that succeeded in the measured part, where arrivals are registrations.
    pub(crate) registrations: u64,
    /// Those among them that were asked for the password first.
    pub(crate) registrations_challenged: u64,
    /// Registrations that were refused or not answered, in the whole run.
    pub(crate) registrations_failed: u64,
    /// Requests that the generator had no room for, in the whole run: its own doing, so the run has no result.
    pub(crate) requests_unsent: u64,
    /// Packets of RTP that came from where nobody talks, or were none.
    pub(crate) packets_foreign: u64,
}

impl SipCounts {
    pub(super) fn add_calls(&mut self, other: &Self) {
        self.registrations_failed += other.registrations_failed;
        self.requests_unsent += other.requests_unsent;
    }

    pub(super) fn add_media(&mut self, other: &Self) {
        self.registrations += other.registrations;
        self.registrations_challenged += other.registrations_challenged;
        self.packets_foreign += other.packets_foreign;
    }
}
