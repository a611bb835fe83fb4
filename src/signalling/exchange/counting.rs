//! The figures, from what was counted and from what is so now.

use moqswitch_calls::{CallId, Text};

use super::Exchange;
use crate::figures::Figures;
use crate::journal::Journal;
use crate::records::Store;

impl Exchange {
    /// A telephone would have its call go to somebody else's.
    pub(crate) fn refuse_forward(&mut self, call: CallId) {
        self.counts.forwards_refused += 1;
        tracing::info!(%call, "a telephone sends a call on to somebody else's, which is not followed");
    }

    /// How the switch does. What other threads know of it is left out.
    pub(crate) fn figures(&self) -> Figures {
        let (tally, counts) = (&self.tally, &self.counts);
        let queue = |name: &Text| {
            let waiting = self.plane.queue(name).map_or(0, |queue| queue.waiting.len());
            (name.to_string(), count(waiting))
        };
        Figures {
            devices: count(self.plane.devices_count()),
            calls: count(self.plane.calls_count()),
            calls_up: count(tally.ongoing.values().filter(|answered| **answered).count()),
            queues: self.plane.dialplan().queues().map(|(name, _)| queue(name)).collect(),
            registered: tally.registered,
            unregistered: tally.unregistered,
            attempts: tally.attempts,
            ended: tally.ended.iter().map(|(cause, count)| (*cause, *count)).collect(),
            answer: tally.answer.clone(),
            duration: tally.duration.clone(),
            mos: tally.mos.clone(),
            messages: counts.messages,
            slow_clients: counts.slow_clients,
            grants_refused: counts.grants_refused,
            faults: counts.faults,
            renewals: counts.renewals,
            hooks_unasked: counts.hooks_unasked,
            too_often: counts.too_often,
            forwards: counts.forwards,
            forwards_refused: counts.forwards_refused,
            event_followers: count(self.events.followers()),
            webhook_events_waiting: count(self.events.posting().1),
            webhook_events: [
                ("taken", counts.webhooks_taken),
                ("refused", counts.webhooks_refused),
                ("dropped", self.events.unposted),
            ],
            unnoted: self.journal.as_ref().map_or(0, Journal::lost),
            records: self.store.as_ref().map(Store::figures),
            sip: self.sip_view.figures(),
            asterisk: self.asterisk_figures.clone(),
            nodes: self.nodes.as_ref().map(|nodes| nodes.figures()),
            ..Figures::default()
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
