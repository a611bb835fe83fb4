//! What the relay refused or left undone, in words for the report.

use moqswitch_proto::wire::{ErrorCode, stream_error};

use super::call::Call;
use super::person::Phase;

/// A code that a stream was reset with, or that the relay wanted no more of it with.
pub(super) fn of_stream(code: ErrorCode) -> String {
    match stream_error::name(code) {
        Some(name) => format!("code {:#x} {name}", code.0),
        None => format!("code {:#x}", code.0),
    }
}

impl Call {
    /// What each participant of a call that is not up waits for, as far as it is the relay's affair.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &'static str> {
        (0..)
            .zip(&self.people)
            .filter_map(|(participant, person)| match person.phase {
                Phase::Dialling => match &self.phone {
                    Some(phone) => Some(phone.awaited()),
                    None => person.line.map(|_| "no handshake came to its end in time"),
                },
                Phase::Connected => Some(self.why_unannounced(participant)),
                Phase::Announced => Some("a subscription was not answered in time"),
                Phase::Subscribed => Some("a subscription was accepted, and nothing came"),
                Phase::Hearing => None,
            })
    }

    fn why_unannounced(&self, listener: u16) -> &'static str {
        let person = &self.people[usize::from(listener)];
        let mut missing = (0..self.load.shape.people())
            .filter(|publisher| self.load.shape.hears(listener, *publisher) && !person.sees[usize::from(*publisher)])
            .map(|publisher| &self.people[usize::from(publisher)]);
        if missing.any(|publisher| publisher.phase != Phase::Dialling && publisher.announced_on.is_empty()) {
            return "the relay asked a publisher for no announcements";
        }
        "an announcement was not passed on: may everyone publish and subscribe below call/ there?"
    }
}
