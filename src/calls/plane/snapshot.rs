//! Calls, numbers and devices as others see them.

use std::collections::BTreeSet;

use crate::cause::Cause;
use crate::event::Actor;
use crate::ids::{CallId, LegId, Number, SessionId, Text};
use crate::state::LegState;
use crate::view::{CallState, CallView, DeviceView, LegRole, LegView, NumberView, QueueView};

use super::CallPlane;
use super::state::{Call, Device, Leg, NumberEntry, Wait};

impl CallPlane {
    /// Who is told of every call.
    pub fn call_watchers(&self) -> impl Iterator<Item = SessionId> {
        self.call_watchers.iter().copied()
    }

    /// The session of a leg.
    pub fn session_of_leg(&self, id: LegId) -> Option<SessionId> {
        self.legs.get(&id).map(|leg| leg.session)
    }

    /// A call by its id.
    pub fn call(&self, id: CallId) -> Option<CallView> {
        self.calls.get(&id).map(|call| self.view_of(call, None))
    }

    /// Calls by id, beginning behind `after`, at most `count`.
    pub fn calls(&self, after: Option<CallId>, count: usize) -> Vec<CallView> {
        let first = after.map_or(0, |CallId(id)| id.saturating_add(1));
        let calls = self.calls.range(CallId(first)..).map(|(_, call)| call);
        calls.take(count).map(|call| self.view_of(call, None)).collect()
    }

    /// What time it was at the last event.
    pub fn now(&self) -> crate::moment::Now {
        self.now
    }

    /// How many calls there are.
    pub fn calls_count(&self) -> usize {
        self.calls.len()
    }

    /// How many devices there are.
    pub fn devices_count(&self) -> usize {
        self.devices.len()
    }

    /// Calls in which a number has a leg.
    pub fn calls_of(&self, number: &Number) -> Vec<CallView> {
        let devices = self.numbers.get(number).map_or(&[][..], |entry| &entry.devices);
        let devices = devices.iter().filter_map(|session| self.devices.get(session));
        let legs = devices
            .flat_map(|device| &device.legs)
            .filter_map(|leg| self.legs.get(leg));
        let mut ids: Vec<CallId> = legs.map(|leg| leg.call).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| self.call(id)).collect()
    }

    /// A number that is declared or registered.
    pub fn number(&self, number: &Number) -> Option<NumberView> {
        let entry = self.numbers.get(number)?;
        let exists = entry.is_declared || !entry.devices.is_empty();
        exists.then(|| self.number_view(number, entry))
    }

    /// Numbers in order, beginning behind `after`, at most `count`.
    pub fn numbers(&self, after: Option<&Number>, count: usize) -> Vec<NumberView> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let entries = self.numbers.range::<Number, _>(range);
        let existing = entries.filter(|(_, entry)| entry.is_declared || !entry.devices.is_empty());
        existing
            .take(count)
            .map(|(number, entry)| self.number_view(number, entry))
            .collect()
    }

    /// A device by its session.
    pub fn device(&self, session: SessionId) -> Option<DeviceView> {
        self.devices.get(&session).map(|device| self.device_view(device))
    }

    /// The call that a device named so when it dialled.
    pub fn call_by_alias(&self, session: SessionId, alias: &Text) -> Option<CallId> {
        let legs = &self.devices.get(&session)?.legs;
        let mut legs = legs.iter().filter_map(|leg| self.legs.get(leg));
        legs.find(|leg| leg.alias.as_ref() == Some(alias))
            .map(|leg| leg.id.call)
    }

    /// Where a leg is, and its part.
    pub fn leg(&self, id: LegId) -> Option<(LegState, LegRole)> {
        self.legs.get(&id).map(|leg| (leg.state, leg.role))
    }

    /// A device's leg in a call, by the id that the device knows the call by: of several the first that is up.
    pub fn leg_of_device(&self, session: SessionId, call: CallId) -> Option<LegId> {
        self.leg_of(Actor::Session(session), call).ok()
    }

    /// A queue by its name.
    pub fn queue(&self, name: &Text) -> Option<QueueView> {
        let queue = self.dialplan.queue(name)?;
        let agent = |number: &Number| {
            let entry = self.numbers.get(number);
            let status = entry.map(|entry| self.status_of(entry)).unwrap_or_default();
            (
                number.clone(),
                status,
                entry.map(|entry| entry.agent).unwrap_or_default(),
            )
        };
        Some(QueueView {
            name: name.clone(),
            waiting: self
                .queues
                .get(name)
                .map(|waiting| waiting.iter().copied().collect())
                .unwrap_or_default(),
            agents: queue.agents.iter().map(agent).collect(),
        })
    }

    /// The dialplan in force.
    pub fn dialplan(&self) -> &crate::dialplan::Dialplan {
        &self.dialplan
    }

    pub(super) fn calls_of_device(&self, device: &Device) -> Vec<CallView> {
        let legs = device.legs.iter().filter_map(|leg| self.legs.get(leg));
        let mut ids: Vec<CallId> = Vec::new();
        let mut seen = BTreeSet::new();
        ids.extend(legs.map(|leg| leg.call).filter(|call| seen.insert(*call)));
        ids.into_iter().filter_map(|call| self.call(call)).collect()
    }

    pub(super) fn view_of(&self, call: &Call, cause: Option<Cause>) -> CallView {
        let legs: Vec<&Leg> = call.legs.iter().filter_map(|leg| self.legs.get(leg)).collect();
        let duration = call
            .answered
            .map(|at| self.now.since_start.saturating_sub(at.since_start));
        CallView {
            call: call.id,
            state: if cause.is_some() {
                CallState::Ended
            } else {
                state_of(call, &legs)
            },
            from: call.from.clone(),
            dialled: call.dialled.clone(),
            start_ms: call.started.unix_ms,
            ring_ms: call.rang.map(|at| at.unix_ms),
            answer_ms: call.answered.map(|at| at.unix_ms),
            answered_by: call.answered_by.clone(),
            duration: duration.unwrap_or_default(),
            queue: call.queue.clone(),
            recorded: call.is_recorded,
            recording_paused: call.is_recording_paused,
            cause,
            legs: legs
                .into_iter()
                .map(|leg| LegView {
                    muted: leg.muted || call.silences(leg),
                    ..leg.view()
                })
                .collect(),
        }
    }

    fn number_view(&self, number: &Number, entry: &NumberEntry) -> NumberView {
        let devices = entry.devices.iter().filter_map(|session| self.devices.get(session));
        NumberView {
            number: number.clone(),
            status: self.status_of(entry),
            agent: entry.agent,
            calls: self.legs_of_number(number),
            devices: devices.map(|device| self.device_view(device)).collect(),
        }
    }

    fn device_view(&self, device: &Device) -> DeviceView {
        let registration = &device.registration;
        DeviceView {
            session: registration.session,
            number: registration.number.clone(),
            device: device.name.clone(),
            display_name: registration.display_name.clone(),
            kind: registration.kind,
            contact: registration.contact.clone(),
            agent: registration.agent.clone(),
            is_lost: device.lost.is_some(),
            is_ringable: registration.ringable,
            registered_ms: device.registered.unix_ms,
            expires: device.left(self.now),
            legs: device.legs.clone(),
        }
    }
}

fn state_of(call: &Call, legs: &[&Leg]) -> CallState {
    let up = legs
        .iter()
        .filter(|leg| leg.state == LegState::Up && !leg.is_supervisor());
    if up.clone().count() >= 2 {
        return if up.clone().any(|leg| leg.holds) {
            CallState::Held
        } else {
            CallState::Up
        };
    }
    match call.attempt.as_ref().map(|attempt| &attempt.wait) {
        Some(Wait::Queue { .. }) => CallState::Queued,
        Some(Wait::Hook { .. } | Wait::Play { .. }) => CallState::Routing,
        Some(Wait::Control) if call.rang.is_none() => CallState::Routing,
        Some(Wait::Forks | Wait::Control) => CallState::Alerting,
        None => CallState::Up,
    }
}

impl Leg {
    pub(super) fn view(&self) -> LegView {
        LegView {
            leg: self.id,
            call: self.call,
            session: self.session,
            party: self.party.clone(),
            role: self.role,
            state: self.state,
            alias: self.alias.clone(),
            holds: self.holds,
            muted: self.muted,
            is_controlled: self.is_controlled,
            sends: self.choice.sends,
            quality: self.last_quality,
            start_ms: self.started.unix_ms,
            ring_ms: self.rang.map(|at| at.unix_ms),
            answer_ms: self.answered.map(|at| at.unix_ms),
            end_ms: None,
            cause: None,
        }
    }
}
