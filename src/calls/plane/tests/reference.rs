//! A second, simpler account of the same calls: no dialplan, no transfers, each call a list of legs. Both are told the same,
//! and after each event every leg must be in the state, and have ended with the cause, that the simple one says.

use std::collections::BTreeMap;

use super::random::Random;
use super::switch::*;
use crate::*;

const NUMBERS: [&str; 4] = ["1", "2", "2", "3"];
/// The last is a telephone, which answers by itself.
const MEETS: [bool; 4] = [true, true, true, false];

#[derive(Clone, Debug)]
struct SimpleLeg {
    device: usize,
    state: LegState,
    holds: bool,
}

#[derive(Debug, Default)]
struct SimpleCall {
    /// The caller's is the first.
    legs: Vec<SimpleLeg>,
    is_up: bool,
    ring_until: u64,
    /// Of the forks that are over.
    best: Option<Cause>,
}

#[derive(Clone, Copy, Debug, Default)]
struct SimpleDevice {
    is_gone: bool,
    is_lost: bool,
    alerting_until: Option<u64>,
    up_until: Option<u64>,
}

type End = (CallId, usize, Cause);

#[derive(Debug, Default)]
struct Reference {
    now: u64,
    next: u128,
    calls: BTreeMap<CallId, SimpleCall>,
    devices: [SimpleDevice; 4],
    ended: Vec<End>,
}

impl Reference {
    fn legs_of_number(&self, number: &str) -> usize {
        let legs = self.calls.values().flat_map(|call| &call.legs);
        legs.filter(|leg| NUMBERS[leg.device] == number).count()
    }

    fn end_leg(&mut self, id: CallId, device: usize, cause: Cause) {
        let call = self.calls.get_mut(&id).unwrap();
        call.legs.retain(|leg| leg.device != device);
        self.ended.push((id, device, cause));
    }

    fn end_call(&mut self, id: CallId, cause: Cause) {
        let call = self.calls.remove(&id).unwrap();
        for (index, leg) in call.legs.iter().enumerate() {
            let rings = index > 0 && !call.is_up;
            let is_cancelled = rings && matches!(cause, Cause::Normal | Cause::Unreachable);
            let cause = if is_cancelled { Cause::Cancelled } else { cause };
            self.ended.push((id, leg.device, cause));
        }
    }

    fn leg(&mut self, id: CallId, device: usize) -> Option<&mut SimpleLeg> {
        self.calls
            .get_mut(&id)?
            .legs
            .iter_mut()
            .find(|leg| leg.device == device)
    }

    fn is_fork(&self, id: CallId, device: usize) -> bool {
        let call = self.calls.get(&id);
        call.is_some_and(|call| !call.is_up && call.legs.iter().skip(1).any(|leg| leg.device == device))
    }

    fn dial(&mut self, from: usize, to: &str) {
        if self.devices[from].is_gone || self.legs_of_number(NUMBERS[from]) >= 8 {
            return;
        }
        self.next += 1;
        let id = CallId(self.next);
        // Does one ring here that `to` has made? It is the older one, so it stays.
        let met = self.calls.iter().find(|(id, call)| {
            let caller = call.legs[0].device;
            let meet = MEETS[from] && MEETS[caller];
            meet && self.is_fork(**id, from) && NUMBERS[caller] == to
        });
        if let Some(met) = met.map(|(id, _)| *id) {
            self.ended.push((id, from, Cause::Glare));
            self.answer(met, from);
            return;
        }
        let leg = |device| SimpleLeg {
            device,
            state: LegState::Calling,
            holds: false,
        };
        let mut call = SimpleCall {
            legs: vec![leg(from)],
            ring_until: self.now + 30,
            ..SimpleCall::default()
        };
        let there = (0..4).filter(|device| NUMBERS[*device] == to && !self.devices[*device].is_gone);
        let there: Vec<usize> = there.collect();
        let full = self.legs_of_number(to) + usize::from(NUMBERS[from] == to) >= 8;
        for device in there.iter().copied().filter(|device| *device != from && !full) {
            call.legs.push(leg(device));
            let state = &mut self.devices[device];
            if state.is_lost && state.alerting_until.is_none() {
                state.alerting_until = Some(self.now + 5);
            }
        }
        let is_alone = call.legs.len() == 1;
        self.calls.insert(id, call);
        if is_alone {
            let cause = if there.is_empty() {
                Cause::Unallocated
            } else {
                Cause::Busy
            };
            self.end_call(id, cause);
        }
    }

    fn ring(&mut self, id: CallId, device: usize) {
        if self.is_fork(id, device) {
            self.leg(id, device).unwrap().state = LegState::Ringing;
            self.calls.get_mut(&id).unwrap().legs[0].state = LegState::Ringing;
        }
    }

    fn answer(&mut self, id: CallId, device: usize) {
        if !self.is_fork(id, device) {
            return;
        }
        let call = self.calls.get_mut(&id).unwrap();
        call.is_up = true;
        let losers: Vec<usize> = call.legs[1..]
            .iter()
            .map(|leg| leg.device)
            .filter(|other| *other != device)
            .collect();
        for loser in losers {
            self.end_leg(id, loser, Cause::AnsweredElsewhere);
        }
        for leg in &mut self.calls.get_mut(&id).unwrap().legs {
            leg.state = LegState::Up;
        }
    }

    /// One phone rings no more; with the last the call is over.
    fn drop_fork(&mut self, id: CallId, device: usize, cause: Cause) {
        self.end_leg(id, device, cause);
        let call = self.calls.get_mut(&id).unwrap();
        let order = [
            Cause::Unreachable,
            Cause::NoReply,
            Cause::NoAnswer,
            Cause::Rejected,
            Cause::Busy,
        ];
        let rank = |cause: Cause| order.iter().position(|other| *other == cause).unwrap();
        if call.best.is_none_or(|best| rank(cause) > rank(best)) {
            call.best = Some(cause);
        }
    }

    fn look_at(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.legs.len() == 1 {
            let best = call.best.unwrap();
            self.end_call(id, best);
        }
    }

    fn reject(&mut self, id: CallId, device: usize, all: bool) {
        if !self.is_fork(id, device) {
            return;
        }
        // Every callee of these calls is of one number.
        let forks = self.calls[&id].legs[1..].iter().map(|leg| leg.device);
        let forks: Vec<usize> = forks.filter(|fork| all || *fork == device).collect();
        for fork in forks {
            self.drop_fork(id, fork, Cause::Busy);
        }
        self.look_at(id);
    }

    fn leave(&mut self, id: CallId, device: usize, cause: Cause, declined: Cause) {
        if self.is_fork(id, device) {
            self.drop_fork(id, device, declined);
            self.look_at(id);
        } else if self.leg(id, device).is_some() {
            self.end_call(id, cause);
        }
    }

    fn hang_up(&mut self, id: CallId, device: usize) {
        let is_up = self.calls.get(&id).is_some_and(|call| call.is_up);
        let cause = if is_up { Cause::Normal } else { Cause::Cancelled };
        self.leave(id, device, cause, Cause::Rejected);
    }

    fn hold(&mut self, id: CallId, device: usize, hold: bool) {
        if let Some(leg) = self.leg(id, device).filter(|leg| leg.state == LegState::Up) {
            leg.holds = hold;
        }
    }

    fn lose(&mut self, device: usize) {
        let now = self.now;
        let state = &mut self.devices[device];
        if !state.is_lost && !state.is_gone {
            state.is_lost = true;
            state.alerting_until = Some(now + 5);
            state.up_until = Some(now + 30);
        }
    }

    fn resume(&mut self, device: usize) {
        if !self.devices[device].is_gone {
            self.devices[device] = SimpleDevice::default();
        }
    }

    fn calls_of(&self, device: usize, up: Option<bool>) -> Vec<CallId> {
        let of_device = |(id, call): (&CallId, &SimpleCall)| {
            let leg = call.legs.iter().find(|leg| leg.device == device)?;
            let fits = up.is_none_or(|up| up == (leg.state == LegState::Up));
            fits.then_some(*id)
        };
        self.calls.iter().filter_map(of_device).collect()
    }

    fn pass_a_second(&mut self) {
        self.now += 1;
        for device in 0..4 {
            if self.devices[device].alerting_until == Some(self.now) {
                self.devices[device].alerting_until = None;
                for id in self.calls_of(device, Some(false)) {
                    self.leave(id, device, Cause::Unreachable, Cause::Unreachable);
                }
            }
        }
        for device in 0..4 {
            if self.devices[device].up_until == Some(self.now) {
                for id in self.calls_of(device, None) {
                    self.leave(id, device, Cause::Unreachable, Cause::Unreachable);
                }
                self.devices[device] = SimpleDevice {
                    is_gone: true,
                    ..SimpleDevice::default()
                };
            }
        }
        let due = |call: &SimpleCall| !call.is_up && call.ring_until == self.now;
        let due: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| due(call))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let forks: Vec<SimpleLeg> = self.calls[&id].legs[1..].to_vec();
            for leg in forks {
                let has_rung = leg.state == LegState::Ringing;
                let cause = if has_rung { Cause::NoAnswer } else { Cause::NoReply };
                self.drop_fork(id, leg.device, cause);
            }
            self.look_at(id);
        }
    }

    fn states(&self) -> Vec<(CallId, usize, LegState, bool)> {
        let legs = self
            .calls
            .iter()
            .flat_map(|(id, call)| call.legs.iter().map(|leg| (*id, leg.device, leg.state, leg.holds)));
        let mut states: Vec<_> = legs.collect();
        states.sort_unstable();
        states
    }
}

fn device_of(session: SessionId) -> usize {
    usize::try_from(session.0 - 1).unwrap()
}

/// What the plane says, in the same form.
fn states(switch: &Switch) -> Vec<(CallId, usize, LegState, bool)> {
    let legs = switch.plane.legs.values();
    let mut states: Vec<_> = legs
        .map(|leg| (leg.call, device_of(leg.session), leg.state, leg.holds))
        .collect();
    states.sort_unstable();
    states
}

fn ends(switch: &mut Switch) -> Vec<End> {
    let reports = std::mem::take(&mut switch.reports).into_iter();
    let ends = reports.filter_map(|report| match report {
        Report::Leg(view) => view.cause.map(|cause| (view.call, device_of(view.session), cause)),
        _ => None,
    });
    let mut ends: Vec<End> = ends.collect();
    ends.sort_unstable();
    ends
}

/// Tells both the same. What, for the message of a failure.
fn step(switch: &mut Switch, reference: &mut Reference, random: &mut Random) -> String {
    let device = random.below(4);
    let session = session(device as u128 + 1);
    let known = reference.calls_of(device, None);
    let last = CallId(reference.next.max(1));
    let call = if known.is_empty() {
        last
    } else {
        known[random.below(known.len())]
    };
    match random.below(12) {
        0..=2 => {
            let to = ["1", "2", "3"][random.below(3)];
            switch.ask(session, CallEvent::Dial(Box::new(Dial::to(number(to)))));
            reference.dial(device, to);
            format!("{device} dials {to}")
        }
        3 => {
            switch.ring(session, call);
            reference.ring(call, device);
            format!("{device} rings for {call}")
        }
        4..=5 => {
            switch.answer(session, call);
            reference.answer(call, device);
            format!("{device} answers {call}")
        }
        6 => {
            let all = random.below(2) == 0;
            let scope = if all { RejectScope::All } else { RejectScope::Device };
            let reason = RejectReason::Busy;
            switch.ask(session, CallEvent::Reject { call, reason, scope });
            reference.reject(call, device, all);
            format!("{device} rejects {call}, {scope:?}")
        }
        7 => {
            switch.hang_up(session, call);
            reference.hang_up(call, device);
            format!("{device} hangs up {call}")
        }
        8 => {
            let hold = random.below(2) == 0;
            switch.hold(session, call, hold);
            reference.hold(call, device, hold);
            format!("{device} holds {call}: {hold}")
        }
        9 => {
            switch.handle(Event::Register(RegisterEvent::Lost { session }));
            reference.lose(device);
            format!("{device} is lost")
        }
        10 => {
            let request = switch.request();
            switch.handle(Event::Register(RegisterEvent::Resume { request, session }));
            reference.resume(device);
            format!("{device} is back")
        }
        _ => {
            let time = 1 + random.below(8) as u64;
            switch.pass(seconds(time));
            for _ in 0..time {
                reference.pass_a_second();
            }
            format!("{time} s pass")
        }
    }
}

#[test]
fn legs_are_where_a_simple_model_says() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut switch = Switch::new();
        // Each device has drawn its name.
        let mut reference = Reference {
            next: NUMBERS.len() as u128,
            ..Reference::default()
        };
        for (device, text) in NUMBERS.into_iter().enumerate() {
            if MEETS[device] {
                switch.phone(device as u128 + 1, text);
            } else {
                switch.telephone(device as u128 + 1, text);
            }
        }
        let mut past = Vec::new();
        for _ in 0..120 {
            past.push(step(&mut switch, &mut reference, &mut random));
            let trace = || format!("seed {seed}, after\n{}", past.join("\n"));
            let mut expected = std::mem::take(&mut reference.ended);
            expected.sort_unstable();
            assert_eq!(ends(&mut switch), expected, "ends: {}", trace());
            assert_eq!(states(&switch), reference.states(), "states: {}", trace());
            switch.told.clear();
            switch.replies.clear();
        }
    }
}
