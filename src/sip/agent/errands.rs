//! Requests of ours beside those of calls, and times that something waits for: each is handed to whoever it is of.

use std::time::Instant;

use crate::flow::Flow;
use crate::message::Message;
use crate::transaction::{ClientId, NoRoom};

use super::event::LegKey;
use super::texts::TextId;
use super::trunks::{LineKey, TrunkId};
use super::watching::{PublicationId, SubscriptionId};
use super::{Agent, Purpose};

/// Whose request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// We register with a trunk.
    Register(LineKey),
    /// A trunk is asked whether it is there.
    Probe(TrunkId),
    /// A watcher is told.
    Notice(SubscriptionId),
    /// A text.
    Text(TextId),
    /// The peer of a leg is asked to call somebody else.
    Refer(LegKey),
}

/// Whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Alarm {
    Register(LineKey),
    Probe(TrunkId),
    Subscription(SubscriptionId),
    Publication(PublicationId),
    Refer(LegKey),
}

impl Agent {
    /// Sends a request that has everything but its Via, and is asked for no password, or answers that itself.
    pub(super) fn send_errand(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        errand: Errand,
    ) -> Result<ClientId, NoRoom> {
        self.send_request(now, flow, request, Purpose::Errand(errand), (None, None))
    }

    /// With its answer, or without one.
    pub(super) fn end_errand(&mut self, now: Instant, id: ClientId, errand: Errand, response: Option<&Message>) {
        match errand {
            Errand::Register(line) => self.registration_answered(now, id, line, response),
            Errand::Probe(trunk) => self.probe_answered(now, id, trunk, response),
            Errand::Notice(subscription) => self.notice_answered(now, id, subscription, response),
            Errand::Text(text) => self.text_answered(text, response),
            Errand::Refer(key) => self.refer_answered(key, response),
        }
    }

    pub(super) fn alarm(&mut self, now: Instant, alarm: Alarm) {
        match alarm {
            Alarm::Register(line) => self.registration_due(now, line),
            Alarm::Probe(trunk) => self.probe_due(now, trunk),
            Alarm::Subscription(subscription) => self.subscription_due(now, subscription),
            Alarm::Publication(publication) => self.publication_due(publication),
            Alarm::Refer(key) => self.refer_due(key),
        }
    }
}
