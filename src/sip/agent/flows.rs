//! Ways of calls over streams. A call lives longer than a connection (RFC 5626, section 5.3): when that is gone, the device comes
//! back by another one, registers, and is reached by it in the calls that it has.
//!
//! Until then nobody is reached, and nothing that goes unanswered says that the call is over: media go another way. Only the
//! end of the session does that, which was agreed on (RFC 4028, section 10), or whoever drives the agent.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::flow::Flow;

use super::Agent;
use super::event::{BindingId, LegKey};
use super::leg::{Device, State};

/// By which connection which legs are reached.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pub(super) connections: BTreeSet<(u64, LegKey)>,
    /// Those whose connection is gone, by user and domain.
    pub(super) cut: HashMap<(String, String), BTreeSet<LegKey>>,
}

impl Agent {
    /// From now on a leg is reached this way.
    pub(super) fn set_flow(&mut self, key: LegKey, flow: Flow) {
        self.forget_flow(key);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        leg.dialog.flow = flow;
        leg.is_cut = false;
        if let State::Calling { early, .. } = &mut leg.state {
            for early in early {
                early.dialog.flow = flow;
            }
        }
        if flow.connection != 0 {
            self.flows.connections.insert((flow.connection, key));
        }
    }

    /// A leg is over, or goes another way.
    pub(super) fn forget_flow(&mut self, key: LegKey) {
        let Some(leg) = self.legs.get(&key) else { return };
        self.flows.connections.remove(&(leg.dialog.flow.connection, key));
        if let Some(device) = leg.device.as_ref().filter(|_| leg.is_cut) {
            let user = (device.user.clone(), device.domain.clone());
            if let Some(all) = self.flows.cut.get_mut(&user) {
                all.remove(&key);
                if all.is_empty() {
                    self.flows.cut.remove(&user);
                }
            }
        }
    }

    /// A connection is gone. Contacts that were reached by it are gone by now, too; one that came back before is there. A trunk
    /// is where it always is.
    pub(super) fn cut_legs(&mut self, connection: u64) {
        let all = (connection, LegKey(0))..=(connection, LegKey(u64::MAX));
        let legs: Vec<LegKey> = self.flows.connections.range(all).map(|(_, key)| *key).collect();
        for key in legs {
            self.flows.connections.remove(&(connection, key));
            let trunk = self.trunk_of_leg(key).and_then(|trunk| self.trunk_flow(trunk));
            let Some(leg) = self.legs.get_mut(&key) else { continue };
            leg.is_cut = true;
            let mut back = trunk;
            if let Some(device) = &leg.device {
                let user = (device.user.clone(), device.domain.clone());
                self.flows.cut.entry(user).or_default().insert(key);
                back = back.or_else(|| self.registrar.of_device(device));
            }
            if let Some(flow) = back {
                self.set_flow(key, flow);
            }
        }
    }

    /// A device registered: calls that it has and that reach nobody reach it.
    pub(super) fn find_legs(&mut self, now: Instant, id: BindingId) {
        if self.flows.cut.is_empty() {
            return;
        }
        let Some(binding) = self.registrar.get(id) else { return };
        let user = (binding.user.clone(), binding.domain.clone());
        let is_its = |key: &&LegKey| {
            let device = self.legs.get(key).and_then(|leg| leg.device.as_ref());
            device.is_some_and(|device| device.is(binding))
        };
        let all = self.flows.cut.get(&user).into_iter().flatten();
        let legs: Vec<LegKey> = all.filter(is_its).copied().collect();
        let flow = binding.flow;
        for key in legs {
            self.set_flow(key, flow);
            if let Some(leg) = self.legs.get_mut(&key) {
                leg.session.found_way(now);
            }
            self.rearm(key);
        }
    }

    /// Which device is called this way. Of datagrams it does not matter: they go where the device says.
    pub(super) fn device_at(&self, flow: Flow, uri: &str) -> Option<Device> {
        if flow.connection == 0 {
            return None;
        }
        let all = self.registrar.of_connection(flow.connection).into_iter();
        let mut bindings = all.filter_map(|id| self.registrar.get(id));
        bindings.find(|binding| binding.target().uri == uri).map(Device::of)
    }

    /// Did something go by a connection of this leg's that is gone by now?
    pub(super) fn is_way_lost(&self, key: LegKey, flow: Flow) -> bool {
        let leg = self.legs.get(&key).filter(|_| flow.connection != 0);
        leg.is_some_and(|leg| leg.is_cut || leg.dialog.flow.connection != flow.connection)
    }
}
