//! Somebody is called: stage after stage, phone beside phone, until one answers or nothing is left to try.

use std::time::Duration;

use crate::action::TransferProgress;
use crate::cause::Cause;
use crate::dialplan::{Destination, Query, Route, Strategy, Target};
use crate::ids::{CallId, LegId, Number, Text};
use crate::limits::{FORKS_MAX, RING_MAX};
use crate::record::{EndedBy, Transferred, TransferredTo};
use crate::state::LegState;

use super::CallPlane;
use super::state::{Purpose, Wait};
use super::timers::Timer;

impl CallPlane {
    /// An attempt goes where the dialplan says.
    pub(super) fn take_route(&mut self, id: CallId, route: Route) {
        if let (Some(call), Some((rule, _))) = (self.calls.get_mut(&id), &route.rule) {
            call.rule = Some(rule.clone());
        }
        let Some(route) = self.play_first(id, route) else {
            return;
        };
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
        attempt.dialled = route.dialled;
        attempt.ring = ring;
        attempt.fallbacks = route.fallbacks;
        attempt.wait = Wait::Forks;
        attempt.dialler.transit |= route.transit;
        let dialled = attempt.dialled.clone();
        if route.record {
            self.record(id, true);
        }
        // No translation and no forward leads where one of them may not call.
        if self.is_forbidden(id, &dialled) {
            self.fail_attempt(id, Cause::Forbidden);
            return;
        }
        match route.destination {
            Destination::Number(number) | Destination::Trunk(number) => self.add_stages(id, vec![vec![number]]),
            Destination::Group(name) => self.add_group(id, &name),
            Destination::Queue(name) => self.enter_queue(id, name),
            Destination::Hook(hook) => self.ask_hook(id, hook),
            Destination::Reject(cause) => self.fail_attempt(id, cause),
        }
    }

    /// May the caller not call this, or who transfers, or one of those who have sent the call on?
    pub(super) fn is_forbidden(&self, id: CallId, to: &Number) -> bool {
        let Some(call) = self.calls.get(&id) else {
            return false;
        };
        let dialler = call.attempt.as_ref().map(|attempt| &attempt.dialler);
        self.forbids(&call.from.number, call.by.as_ref(), to)
            || dialler.is_some_and(|dialler| {
                let of_dialler = dialler.number.iter().map(|number| (number, dialler.trunk.as_ref()));
                let forwarders = dialler.forwarders.iter().map(|number| (number, None));
                let mut all = of_dialler.chain(forwarders);
                all.any(|(number, trunk)| self.forbids(number, trunk, to))
            })
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

    /// Rings the next stage that can ring; without one the attempt goes where a telephone that rang has sent it, or has failed, or goes
    /// where a fallback says.
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
                if let Some(forward) = attempt.forward.take() {
                    return self.follow_forward(id, forward);
                }
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
            Wait::Hook { .. } | Wait::Play { .. } => {}
            Wait::Control => self.control_is_late(id),
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
            // There is no such number that could send the call on: the caller's own choice would go on with its digits.
            Some(target) if cause == Cause::Unallocated && !matches!(target, Target::Dial(_)) => {
                self.go_on(id, target, false);
            }
            Some(target) => self.send_on(id, target),
            None => self.fail_attempt(id, cause),
        }
    }

    /// The attempt goes on at another target, as a number or a group that was reached says.
    pub(super) fn send_on(&mut self, id: CallId, target: Target) {
        self.go_on(id, target, true);
    }

    /// The attempt goes on at another target. `is_sent_on`: it is not the caller's choice, so it may go out by a trunk.
    pub(super) fn go_on(&mut self, id: CallId, target: Target, is_sent_on: bool) {
        if let Some(route) = self.route_on(id, target, is_sent_on, None) {
            self.take_route(id, route);
        }
    }

    /// Where another target leads. `by`: whose telephone says so.
    pub(super) fn route_on(
        &mut self,
        id: CallId,
        target: Target,
        is_sent_on: bool,
        by: Option<Number>,
    ) -> Option<Route> {
        let call = self.calls.get_mut(&id)?;
        call.note_transfer(Transferred {
            by,
            to: TransferredTo::Target(Text::new(&target.to_string())),
            at_ms: self.now.unix_ms,
        });
        let from = call.from.number.clone();
        let attempt = call.attempt.as_mut()?;
        attempt.cause = None;
        attempt.dialler.transit |= is_sent_on;
        let dialler = attempt.dialler.clone();
        attempt.stages.clear();
        attempt.forward = None;
        let dialled = attempt.dialled.clone();
        attempt.forwarded_by = Some(dialled.clone());
        let query = Query {
            from: &from,
            to: &dialled,
            when: self.now.local(),
            by: dialler.trunk.as_ref(),
            is_sent_on: dialler.transit,
        };
        Some(self.dialplan.follow(query, target, &mut attempt.trail))
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
            Purpose::Invite => {
                self.dialog_is_over(id, cause, EndedBy::System, id);
                self.end_call(id, cause, EndedBy::System);
            }
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
            Wait::Forks | Wait::Control => {}
            Wait::Hook { hook, .. } => {
                self.hooks.remove(hook);
                self.timers.clear(&Timer::Hook(*hook));
            }
            Wait::Play { play, name, path, .. } => self.stop_playing(id, *play, name.clone(), path.clone()),
            Wait::Queue { name, .. } => self.leave_queue(id, &name.clone()),
        }
    }
}
