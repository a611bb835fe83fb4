//! What is known of a run before it begins.

use crate::arguments::Flags;
use crate::engine::Target;
use crate::scenario::Scenario;

use super::address::Addresses;
use super::cores::Cores;
use super::target::Signalling;

pub(super) struct Plan<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) flags: &'a Flags,
    pub(super) cores: &'a Cores,
    pub(super) loaded: Loaded,
    /// Of the name of the first.
    pub(super) addresses: Addresses,
    /// As it is reported: URLs without their queries, which may hold a credential.
    pub(super) relay: &'a str,
}

/// What is loaded.
pub(super) enum Loaded {
    /// Relays, at least one, and where telephones register at each, if there are any.
    Relay {
        targets: Vec<Target>,
        signalling: Vec<Signalling>,
    },
    /// A switch, by SIP. Addresses name this domain. Its relay, if somebody listens there.
    Sip { domain: String, relay: Option<Target> },
}

impl Plan<'_> {
    /// Which of the processes that share the load this one is, and how many they are.
    pub(super) fn part(&self) -> (u64, u64) {
        self.flags.part.unwrap_or((1, 1))
    }
}
