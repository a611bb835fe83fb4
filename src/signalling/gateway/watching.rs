//! Telephones with lamps: who watches a number is told how it is, whenever that changes.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use moqswitch_calls::{LegRole, LegState, Number, Status};
use moqswitch_sip::agent::{
    Activity, DialogStage, Package, Presence, SubscriptionId, Waiting, Watch, Watched, WatchedDialog,
};

use super::Gateway;
use crate::exchange::Exchange;

/// Who watches whom.
#[derive(Debug, Default)]
pub(super) struct Watches {
    subscriptions: HashMap<SubscriptionId, (Number, Package)>,
    numbers: BTreeMap<Number, Vec<SubscriptionId>>,
}

impl Gateway {
    pub(super) fn take_watch(&mut self, exchange: &mut Exchange, watch: &Watch) {
        let domain = exchange.sip_domain(&watch.domain, &watch.watcher.1);
        let Some(number) = exchange.sip_number(&watch.user, domain) else {
            return;
        };
        exchange.outlet.watch(number.clone());
        self.watches
            .numbers
            .entry(number.clone())
            .or_default()
            .push(watch.subscription);
        self.watches
            .subscriptions
            .insert(watch.subscription, (number, watch.package));
    }

    pub(super) fn end_watch(&mut self, exchange: &mut Exchange, subscription: SubscriptionId) {
        let Some((number, _)) = self.watches.subscriptions.remove(&subscription) else {
            return;
        };
        if let Some(all) = self.watches.numbers.get_mut(&number) {
            all.retain(|other| *other != subscription);
            if all.is_empty() {
                self.watches.numbers.remove(&number);
                exchange.outlet.unwatch(&number);
            }
        }
    }

    /// Tells everybody who watches it.
    pub(super) fn tell_watchers(&mut self, exchange: &Exchange, number: &Number) {
        let all = self.watches.numbers.get(number).cloned().unwrap_or_default();
        for subscription in all {
            if let Some((_, package)) = self.watches.subscriptions.get(&subscription) {
                let state = exchange.sip_state(number, *package);
                self.agent.notify(Instant::now(), subscription, state);
            }
        }
    }
}

impl Exchange {
    /// What there is to tell of a number.
    pub(super) fn sip_state(&self, number: &Number, package: Package) -> Watched {
        match package {
            Package::Messages => Watched::Messages(Waiting {
                messages: self.waiting_messages(number),
                ..Waiting::default()
            }),
            Package::Dialog => Watched::Dialogs(self.dialogs_of(number)),
            Package::Presence => {
                let status = self.plane().number(number).map_or(Status::Offline, |view| view.status);
                Watched::Presence(Presence {
                    is_open: status != Status::Offline,
                    activity: match status {
                        Status::Offline | Status::Available => Activity::Unknown,
                        Status::Ringing | Status::Busy => Activity::OnThePhone,
                        Status::Away => Activity::Away,
                    },
                    note: status.name().to_owned(),
                })
            }
        }
    }

    fn dialogs_of(&self, number: &Number) -> Vec<WatchedDialog> {
        let devices = self.plane().number(number).map(|view| view.devices).unwrap_or_default();
        let legs = devices.into_iter().flat_map(|device| device.legs);
        let found = legs.filter_map(|id| {
            let (state, role) = self.plane().leg(id)?;
            let stage = match state {
                LegState::Down | LegState::Hangup => return None,
                LegState::Calling => DialogStage::Trying,
                LegState::Ringing => DialogStage::Early,
                LegState::Up => DialogStage::Confirmed,
            };
            Some(WatchedDialog {
                id: id.to_string().replace('/', "-"),
                stage,
                is_caller: role == LegRole::Caller,
                remote: None,
                leg: None,
            })
        });
        found.collect()
    }
}
