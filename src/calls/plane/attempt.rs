//! Somebody is called: stage after stage, phone beside phone, until one answers or nothing is left to try.

use std::time::Duration;

use crate::action::{Action, HookQuestion, Incoming, Notice, TransferProgress};
use crate::cause::Cause;
use crate::dialplan::{Destination, Query, Route, Strategy, Target};
use crate::event::{DeviceKind, HookAnswer};
use crate::ids::{CallId, HookId, LegId, Number, SessionId, Text};
use crate::limits::{FORKS_MAX, RING_MAX};
use crate::record::{EndedBy, Transferred, TransferredTo};
use crate::state::LegState;
use crate::view::{LegRole, Party};

use super::CallPlane;
use super::state::{Purpose, Wait};
use super::timers::Timer;

impl CallPlane {
    /// An attempt goes where the dialplan says.
    pub(super) fn take_route(&mut self, id: CallId, route: Route) {
        let ring = self.ring_time(
            route.ring,
            self.calls.get(&id).and_then(|call| call.attempt.as_ref()?.asked),
        );
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(attempt) = call.attempt.as_mut() else {
            return;
        };
        call.rule = route.rule.map(|(name, _)| name).or(call.rule.take());
        attempt.dialled = route.dialled;
        attempt.ring = ring;
        attempt.fallbacks = route.fallbacks;
        attempt.wait = Wait::Forks;
        if route.record {
            self.record(id, true);
        }
        match route.destination {
            Destination::Number(number) | Destination::Trunk(number) => self.add_stages(id, vec![vec![number]]),
            Destination::Group(name) => self.add_group(id, &name),
            Destination::Queue(name) => self.enter_queue(id, name),
            Destination::Hook(hook) => self.ask_hook(id, hook),
            Destination::Reject(cause) => self.fail_attempt(id, cause),
        }
    }

    fn add_stages(&mut self, id: CallId, stages: Vec<Vec<Number>>) {
        if let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) {
            attempt.stages.extend(stages);
            self.advance(id);
        }
    }

    fn add_group(&mut self, id: CallId, name: &Text) {
        let Some(group) = self.dialplan.group(name) else {
            self.fail_attempt(id, Cause::Unallocated);
            return;
        };
        let ring = group.ring.min(RING_MAX);
        let mut members = group.members.clone();
        let stages = match group.strategy {
            Strategy::All => vec![members],
            Strategy::InTurn => members.into_iter().map(|member| vec![member]).collect(),
            Strategy::LeastRecent => {
                self.least_recent_first(&mut members);
                members.into_iter().map(|member| vec![member]).collect()
            }
        };
        if let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) {
            attempt.ring = ring;
        }
        self.add_stages(id, stages);
    }

    /// Who never had a call first, then whose last call ended longest ago.
    pub(super) fn least_recent_first(&self, numbers: &mut [Number]) {
        numbers.sort_by_key(|number| self.numbers.get(number).and_then(|entry| entry.last_call));
    }

    pub(super) fn ring_time(&self, ruled: Option<Duration>, asked: Option<Duration>) -> Duration {
        let ring = ruled.or(asked).unwrap_or(self.settings.ring);
        ring.clamp(Duration::from_secs(1), RING_MAX)
    }

    /// Rings the next stage that can ring; without one the attempt has failed, or goes where a fallback says.
    pub(super) fn advance(&mut self, id: CallId) {
        loop {
            let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) else {
                return;
            };
            if !attempt.forks.is_empty() || attempt.wait != Wait::Forks {
                return;
            }
            let ring = attempt.ring;
            let Some(numbers) = attempt.stages.pop_front() else {
                let cause = attempt.cause.unwrap_or(Cause::Unreachable);
                self.fall_back(id, cause);
                return;
            };
            let mut left = FORKS_MAX;
            for number in numbers {
                match self.invite(id, &number, left) {
                    Ok(invited) => left -= invited,
                    Err(cause) => {
                        if let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) {
                            attempt.note(cause);
                        }
                    }
                }
            }
            if left < FORKS_MAX {
                self.timers.set(Timer::Ring(id), self.after(ring));
                self.tell_progress(id, LegState::Calling, None);
                return;
            }
        }
    }

    /// Calls every device of a number that can ring, at most `left`. How many there are.
    pub(super) fn invite(&mut self, id: CallId, number: &Number, left: usize) -> Result<usize, Cause> {
        let entry = self.numbers.get(number).ok_or(Cause::Unallocated)?;
        if entry.devices.is_empty() && !entry.is_declared {
            return Err(Cause::Unallocated);
        }
        let sessions: Vec<SessionId> = entry.devices.clone();
        let mut cause = Cause::Unreachable;
        let mut invited = 0;
        let is_full = self.legs_of_number(number) >= self.settings.calls_per_number_max;
        for session in sessions {
            let Some(device) = self.devices.get(&session) else {
                continue;
            };
            if !device.registration.ringable || invited == left {
                continue;
            }
            let is_phone = device.registration.kind == DeviceKind::Phone;
            let is_taken = is_full || (!self.settings.call_waiting && !device.legs.is_empty());
            if (is_phone && is_taken) || self.leg_in(session, id).is_some() || !self.invite_device(id, session) {
                cause = Cause::Busy;
                continue;
            }
            invited += 1;
        }
        if invited == 0 { Err(cause) } else { Ok(invited) }
    }

    /// False: the device has no room.
    pub(super) fn invite_device(&mut self, id: CallId, session: SessionId) -> bool {
        let Some((role, from)) = self.calls.get(&id).and_then(|call| {
            Some(match &call.attempt.as_ref()?.purpose {
                Purpose::Dial => (LegRole::Callee, call.from.clone()),
                Purpose::First { to, .. } => (LegRole::Caller, party_of_number(to)),
                Purpose::Add { by } => (LegRole::Member, self.inviter(*by, &call.from)),
                Purpose::Transfer { by, .. } => (LegRole::Member, self.inviter(Some(*by), &call.from)),
            })
        }) else {
            return false;
        };
        let device = self.devices.get(&session);
        let is_trunk = device.is_some_and(|device| device.registration.kind == DeviceKind::Trunk);
        let Ok(leg) = self.add_leg(id, session, role) else {
            return false;
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        let Some(attempt) = call.attempt.as_mut() else {
            return false;
        };
        attempt.forks.push(leg);
        if is_trunk && let Some(leg) = self.legs.get_mut(&leg) {
            leg.party.number = attempt.dialled.clone();
        }
        let incoming = Incoming {
            call: id,
            leg,
            from,
            dialled: attempt.dialled.clone(),
            lifetime: attempt.ring,
            forwarded_by: attempt.forwarded_by.clone(),
            queue: call.queue.clone(),
            metadata: call.metadata.clone(),
            sdp: call.sdp.clone().filter(|_| attempt.purpose == Purpose::Dial),
        };
        let is_lost = self.devices.get(&session).is_some_and(|device| device.is_lost);
        self.move_leg(leg, LegState::Calling);
        self.notify(session, Notice::Incoming(Box::new(incoming)));
        let timer = Timer::GraceAlerting(session);
        if is_lost && !self.timers.is_set(&timer) {
            // It may be back in a moment; it may not keep the caller waiting.
            self.timers.set(timer, self.after(self.settings.grace_alerting));
        }
        true
    }

    fn inviter(&self, by: Option<LegId>, otherwise: &Party) -> Party {
        let leg = by.and_then(|by| self.legs.get(&by));
        leg.map_or_else(|| otherwise.clone(), |leg| leg.party.clone())
    }

    /// The caller, or who transfers or adds, is told how far it is.
    pub(super) fn tell_progress(
        &mut self,
        id: CallId,
        state: LegState,
        early: Option<(LegId, Option<crate::ids::Payload>)>,
    ) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let Some(attempt) = &call.attempt else { return };
        let devices = attempt.forks.len();
        match attempt.purpose {
            Purpose::Dial => {
                let Some(caller) = call.caller.and_then(|leg| self.legs.get(&leg)) else {
                    return;
                };
                let (session, notice) = (
                    caller.session,
                    Notice::Progress {
                        call: caller.id.call,
                        leg: caller.id,
                        request: caller.request,
                        state,
                        devices,
                        early,
                    },
                );
                self.notify(session, notice);
            }
            Purpose::First { .. } => {}
            Purpose::Add { by: None } => {}
            Purpose::Add { by: Some(by) } | Purpose::Transfer { by, .. } => {
                let progress = match state {
                    LegState::Ringing => TransferProgress::Ringing,
                    LegState::Down | LegState::Calling | LegState::Up | LegState::Hangup => TransferProgress::Trying,
                };
                self.tell_transfer(by, progress);
            }
        }
    }

    pub(super) fn tell_transfer(&mut self, by: LegId, progress: TransferProgress) {
        if let Some(leg) = self.legs.get(&by) {
            let (session, call) = (leg.session, by.call);
            self.notify(session, Notice::Transfer { call, progress });
        }
    }

    /// What rings has rung long enough.
    pub(super) fn ring_is_over(&mut self, id: CallId) {
        let Some(attempt) = self.calls.get(&id).and_then(|call| call.attempt.as_ref()) else {
            return;
        };
        for fork in attempt.forks.clone() {
            let has_rung = self.legs.get(&fork).is_some_and(|leg| leg.rang.is_some());
            let cause = if has_rung { Cause::NoAnswer } else { Cause::NoReply };
            self.drop_fork(fork, cause, EndedBy::System);
        }
        self.stage_is_over(id);
    }

    /// A fork ends, and its attempt takes note.
    pub(super) fn drop_fork(&mut self, fork: LegId, cause: Cause, by: EndedBy) {
        let Some(call) = self.legs.get(&fork).map(|leg| leg.call) else {
            return;
        };
        self.end_leg(fork, cause, by, None);
        if let Some(attempt) = self.calls.get_mut(&call).and_then(|call| call.attempt.as_mut()) {
            attempt.note(cause);
        }
    }

    /// Goes on when nothing rings any more.
    pub(super) fn stage_is_over(&mut self, id: CallId) {
        let Some(attempt) = self.calls.get(&id).and_then(|call| call.attempt.as_ref()) else {
            return;
        };
        if !attempt.forks.is_empty() {
            return;
        }
        self.timers.clear(&Timer::Ring(id));
        match &attempt.wait {
            Wait::Forks => self.advance(id),
            Wait::Hook { .. } => {}
            Wait::Queue { .. } => self.agent_failed(id),
        }
    }

    /// Nothing is left to ring: the fallback for this cause, or the end.
    pub(super) fn fall_back(&mut self, id: CallId, cause: Cause) {
        let target = self.calls.get(&id).and_then(|call| {
            let attempt = call.attempt.as_ref()?;
            attempt.fallbacks.of(cause).cloned()
        });
        match target {
            Some(target) => self.send_on(id, target),
            None => self.fail_attempt(id, cause),
        }
    }

    /// The attempt goes on at another target.
    pub(super) fn send_on(&mut self, id: CallId, target: Target) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.note_transfer(Transferred {
            by: None,
            to: TransferredTo::Target(Text::new(&target.to_string())),
            at_ms: self.now.unix_ms,
        });
        let from = call.from.number.clone();
        let Some(attempt) = call.attempt.as_mut() else {
            return;
        };
        attempt.cause = None;
        attempt.stages.clear();
        let dialled = attempt.dialled.clone();
        attempt.forwarded_by = Some(dialled.clone());
        let query = Query {
            from: &from,
            to: &dialled,
            when: self.now.local(),
        };
        let route = self.dialplan.follow(query, target, &mut attempt.trail);
        self.take_route(id, route);
    }

    /// The attempt is over without an answer.
    pub(super) fn fail_attempt(&mut self, id: CallId, cause: Cause) {
        let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.take()) else {
            return;
        };
        self.clear_attempt(id, &attempt.wait);
        self.changed.calls.insert(id);
        for fork in attempt.forks {
            self.end_leg(fork, Cause::Cancelled, EndedBy::System, None);
        }
        match attempt.purpose {
            Purpose::Dial | Purpose::First { .. } => self.end_call(id, cause, EndedBy::System),
            Purpose::Add { by } => {
                if let Some(by) = by {
                    self.tell_transfer(by, TransferProgress::Failed(cause));
                }
                self.review(id, cause, EndedBy::System);
            }
            Purpose::Transfer { by, held } => {
                self.tell_transfer(by, TransferProgress::Failed(cause));
                self.set_hold(by, held);
                self.review(id, cause, EndedBy::System);
            }
        }
    }

    /// Nothing waits for an attempt that is over.
    pub(super) fn clear_attempt(&mut self, id: CallId, wait: &Wait) {
        self.timers.clear(&Timer::Ring(id));
        match wait {
            Wait::Forks => {}
            Wait::Hook { hook, .. } => {
                self.hooks.remove(hook);
                self.timers.clear(&Timer::Hook(*hook));
            }
            Wait::Queue { name, .. } => self.leave_queue(id, &name.clone()),
        }
    }

    fn ask_hook(&mut self, id: CallId, hook: crate::dialplan::Hook) {
        self.hooks_asked += 1;
        let question = HookId(self.hooks_asked);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(attempt) = call.attempt.as_mut() else {
            return;
        };
        attempt.wait = Wait::Hook {
            hook: question,
            fallback: hook.fallback,
        };
        let action = Action::AskHook(HookQuestion {
            hook: question,
            call: id,
            url: hook.url,
            timeout: hook.timeout,
            from: call.from.clone(),
            dialled: attempt.dialled.clone(),
        });
        self.staged.push(action);
        self.hooks.insert(question, id);
        self.timers.set(Timer::Hook(question), self.after(hook.timeout));
    }

    /// A hook has answered, or has not. What comes late is not heeded.
    pub(super) fn handle_hook(&mut self, hook: HookId, answer: HookAnswer) {
        let Some(id) = self.hooks.remove(&hook) else {
            return;
        };
        self.timers.clear(&Timer::Hook(hook));
        let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) else {
            return;
        };
        let fallback = match &attempt.wait {
            Wait::Hook { fallback, .. } => fallback.clone(),
            Wait::Forks | Wait::Queue { .. } => return,
        };
        attempt.wait = Wait::Forks;
        let dialled = attempt.dialled.clone();
        match answer {
            HookAnswer::Target(target) => self.send_on(id, target),
            HookAnswer::Reject(cause) => self.fail_attempt(id, cause),
            // Without a fallback it is as if there were no hook: the number's own devices.
            HookAnswer::Failed => self.send_on(id, fallback.unwrap_or(Target::Number(dialled))),
        }
    }
}

fn party_of_number(number: &Number) -> Party {
    Party {
        number: number.clone(),
        name: Text::default(),
        device: Text::default(),
    }
}
