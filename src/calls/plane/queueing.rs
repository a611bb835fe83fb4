//! Callers that wait for agents. A caller keeps its place until an agent has answered.

use crate::action::Notice;
use crate::cause::Cause;
use crate::ids::{CallId, Number, Text};
use crate::limits::{FORKS_MAX, QUEUE_WAIT_MAX, QUEUE_WAITING_MAX};
use crate::presence::{AgentState, Status};
use crate::record::EndedBy;

use super::CallPlane;
use super::state::{Attempt, Leg, Wait};
use super::timers::Timer;

impl CallPlane {
    pub(super) fn enter_queue(&mut self, id: CallId, name: Text) {
        let Some(queue) = self.dialplan.queue(&name) else {
            self.fail_attempt(id, Cause::Unallocated);
            return;
        };
        let waiting = self.queues.get(&name).map_or(0, |waiting| waiting.len());
        if waiting >= queue.waiting_max.min(QUEUE_WAITING_MAX) {
            match queue.full.clone() {
                Some(target) => self.send_on(id, target),
                None => self.fail_attempt(id, Cause::Busy),
            }
            return;
        }
        let wait_max = queue.wait_max.min(QUEUE_WAIT_MAX);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.queue = Some(name.clone());
        if let Some(attempt) = &mut call.attempt {
            attempt.wait = Wait::Queue {
                name: name.clone(),
                agent: None,
                position: 0,
            };
        }
        self.queues.entry(name.clone()).or_default().push_back(id);
        self.timers.set(Timer::QueueWait(id), self.after(wait_max));
        self.changed.calls.insert(id);
        self.changed.queues.insert(name);
    }

    /// The caller waits no longer, whatever for.
    pub(super) fn leave_queue(&mut self, id: CallId, name: &Text) {
        self.timers.clear(&Timer::QueueWait(id));
        if let Some(waiting) = self.queues.get_mut(name) {
            waiting.retain(|other| *other != id);
            if waiting.is_empty() {
                self.queues.remove(name);
            }
        }
        self.changed.calls.insert(id);
        self.changed.queues.insert(name.clone());
    }

    /// Callers who wait get the agents who are ready, and are told their places.
    pub(super) fn serve_queue(&mut self, name: &Text) {
        let Some(waiting) = self.queues.get(name) else { return };
        let waiting: Vec<CallId> = waiting.iter().copied().collect();
        let Some(queue) = self.dialplan.queue(name) else {
            // Another dialplan does not have it.
            for id in waiting {
                self.fail_attempt(id, Cause::Unallocated);
            }
            return;
        };
        let (ring, mut agents) = (queue.ring, queue.agents.clone());
        self.longest_idle_first(&mut agents);
        let mut agents = agents.into_iter();
        let mut queued = waiting.iter().copied();
        let mut next = None;
        while let Some(id) = next.take().or_else(|| queued.next()) {
            if !self.is_unserved(id) {
                continue;
            }
            let Some(agent) = agents.find(|agent| self.is_ready(agent)) else {
                break;
            };
            if !self.offer(id, agent, ring) {
                next = Some(id);
            }
        }
        self.tell_places(name, &waiting);
    }

    fn offer(&mut self, id: CallId, number: Number, ring: std::time::Duration) -> bool {
        if let Some(attempt) = self.attempt_of(id) {
            attempt.ring = ring;
        }
        if self.invite(id, &number, FORKS_MAX).is_err() {
            return false;
        }
        if let Some(entry) = self.numbers.get_mut(&number) {
            entry.last_offer = Some(self.now.since_start);
        }
        if let Some(Attempt {
            wait: Wait::Queue { agent, .. },
            ..
        }) = self.attempt_of(id)
        {
            *agent = Some(number);
        }
        self.timers.set(Timer::Ring(id), self.after(ring));
        true
    }

    fn attempt_of(&mut self, id: CallId) -> Option<&mut Attempt> {
        self.calls.get_mut(&id)?.attempt.as_mut()
    }

    fn is_unserved(&mut self, id: CallId) -> bool {
        let attempt = self.attempt_of(id);
        attempt.is_some_and(|attempt| matches!(attempt.wait, Wait::Queue { agent: None, .. }))
    }

    fn is_ready(&self, number: &Number) -> bool {
        let entry = self.numbers.get(number);
        entry.is_some_and(|entry| entry.agent == AgentState::Ready && self.status_of(entry) == Status::Available)
    }

    /// Whose last call, or whose last ringing, is longest ago.
    fn longest_idle_first(&self, agents: &mut [Number]) {
        agents.sort_by_key(|agent| {
            let entry = self.numbers.get(agent);
            entry.and_then(|entry| entry.last_call.max(entry.last_offer))
        });
    }

    fn tell_places(&mut self, name: &Text, waiting: &[CallId]) {
        for (index, id) in waiting.iter().enumerate() {
            let place = index + 1;
            let Some(Attempt {
                wait: Wait::Queue { position, .. },
                ..
            }) = self.attempt_of(*id)
            else {
                continue;
            };
            if std::mem::replace(position, place) == place {
                continue;
            }
            let caller = self.calls.get(id).and_then(|call| call.caller);
            let Some(leg) = caller.and_then(|leg| self.legs.get(&leg)) else {
                continue;
            };
            let notice = Notice::Queue {
                call: leg.id.call,
                leg: leg.id,
                queue: name.clone(),
                position: place,
                music: self.music_for(leg.id),
            };
            self.notify(leg.session, notice);
        }
    }

    /// An agent did not answer: the caller stays where it is, the next agent rings.
    pub(super) fn agent_failed(&mut self, id: CallId) {
        let Some(Attempt {
            wait: Wait::Queue { name, agent, .. },
            ..
        }) = self.attempt_of(id)
        else {
            return;
        };
        let (name, agent) = (name.clone(), agent.take());
        let goes_away = self
            .dialplan
            .queue(&name)
            .is_some_and(|queue| queue.away_unless_answered);
        if let Some(number) = agent
            && goes_away
        {
            if let Some(entry) = self.numbers.get_mut(&number) {
                entry.agent = AgentState::Away;
            }
            self.changed.numbers.insert(number);
        }
        self.changed.queues.insert(name);
    }

    /// A caller has waited long enough.
    pub(super) fn queue_wait_is_over(&mut self, id: CallId) {
        let Some(attempt) = self.attempt_of(id) else { return };
        let Wait::Queue { name, .. } = std::mem::replace(&mut attempt.wait, Wait::Forks) else {
            return;
        };
        for fork in attempt.forks.clone() {
            self.drop_fork(fork, Cause::Cancelled, EndedBy::System);
        }
        self.timers.clear(&Timer::Ring(id));
        self.leave_queue(id, &name);
        match self.dialplan.queue(&name).and_then(|queue| queue.timeout.clone()) {
            Some(target) => self.send_on(id, target),
            None => self.fail_attempt(id, Cause::NoAnswer),
        }
    }

    /// Queues that have this agent may have work for it.
    pub(super) fn agent_changed(&mut self, number: &Number) {
        let waited_for = self
            .dialplan
            .queues_of(number)
            .filter(|name| self.queues.contains_key(*name));
        self.changed.queues.extend(waited_for.cloned());
    }

    /// An agent writes up a call that came by a queue.
    pub(super) fn begin_wrap_up(&mut self, leg: &Leg) {
        let Some(number) = self.number_of(leg.session) else {
            return;
        };
        let queue = self.calls.get(&leg.call).and_then(|call| call.queue.as_ref());
        let Some(queue) = queue.and_then(|name| self.dialplan.queue(name)) else {
            return;
        };
        if queue.wrap_up.is_zero() || !queue.agents.contains(&number) {
            return;
        }
        let wrap_up = queue.wrap_up;
        let Some(entry) = self.numbers.get_mut(&number) else {
            return;
        };
        if entry.agent == AgentState::Ready {
            entry.agent = AgentState::WrapUp;
            self.timers.set(Timer::WrapUp(number.clone()), self.after(wrap_up));
            self.changed.numbers.insert(number);
        }
    }

    pub(super) fn wrap_up_is_over(&mut self, number: Number) {
        if let Some(entry) = self.numbers.get_mut(&number)
            && entry.agent == AgentState::WrapUp
        {
            entry.agent = AgentState::Ready;
            self.changed.numbers.insert(number);
        }
    }
}
