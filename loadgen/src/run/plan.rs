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
    pub(super) target: Target,
    /// Of the relay's name.
    pub(super) addresses: Addresses,
    /// Where telephones register, if there are any.
    pub(super) signalling: Option<Signalling>,
    /// The relay's URL without its query, which may hold a credential.
    pub(super) relay: &'a str,
}

impl Plan<'_> {
    /// Which of the processes that share the load this one is, and how many they are.
    pub(super) fn part(&self) -> (u64, u64) {
        self.flags.part.unwrap_or((1, 1))
    }
}
