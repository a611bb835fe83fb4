//! Who is told how others are.

use crate::action::{Notice, Reply};
use crate::event::WatchEvent;
use crate::ids::{Number, RequestId, SessionId};
use crate::limits::{CALL_WATCHERS_MAX, NUMBERS_FOR_WATCHERS_MAX, WATCHED_PER_SESSION_MAX, WATCHERS_PER_NUMBER_MAX};
use crate::presence::AgentState;
use crate::refusal::Refusal;

use super::CallPlane;
use super::timers::Timer;

impl CallPlane {
    pub(super) fn handle_watch(&mut self, request: RequestId, session: SessionId, event: WatchEvent) {
        let done = match event {
            WatchEvent::Numbers(numbers) => self.watch_numbers(request, session, numbers),
            WatchEvent::Calls(on) => self.watch_calls(request, session, on),
            WatchEvent::Agent(state) => self.set_agent(request, session, state),
        };
        if let Err(refusal) = done {
            self.refuse(request, refusal);
        }
    }

    fn watch_numbers(
        &mut self,
        request: RequestId,
        session: SessionId,
        mut numbers: Vec<Number>,
    ) -> Result<(), Refusal> {
        let device = self.devices.get(&session).ok_or(Refusal::UnknownSession)?;
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() > WATCHED_PER_SESSION_MAX {
            return Err(Refusal::TooManyWatched);
        }
        let watched = device.watched.clone();
        let is_full = |number: &Number| match self.numbers.get(number) {
            Some(entry) => entry.watchers.len() >= WATCHERS_PER_NUMBER_MAX && !entry.watchers.contains(&session),
            None => false,
        };
        let unknown = numbers
            .iter()
            .filter(|number| !self.numbers.contains_key(number))
            .count();
        if numbers.iter().any(is_full) || (unknown > 0 && self.numbers.len() + unknown > NUMBERS_FOR_WATCHERS_MAX) {
            return Err(Refusal::TooManyWatched);
        }
        self.unwatch(session, &watched);
        self.reply(request, Reply::Done);
        for number in &numbers {
            let entry = self.numbers.entry(number.clone()).or_default();
            entry.watchers.push(session);
            let agent = entry.agent;
            let status = self
                .numbers
                .get(number)
                .map(|entry| self.status_of(entry))
                .unwrap_or_default();
            if let Some(entry) = self.numbers.get_mut(number) {
                entry.told = (status, agent);
            }
            let notice = Notice::Presence {
                number: number.clone(),
                status,
                agent,
            };
            self.notify(session, notice);
        }
        if let Some(device) = self.devices.get_mut(&session) {
            device.watched = numbers;
        }
        Ok(())
    }

    pub(super) fn unwatch(&mut self, session: SessionId, numbers: &[Number]) {
        for number in numbers {
            if let Some(entry) = self.numbers.get_mut(number) {
                entry.watchers.retain(|other| *other != session);
                self.changed.numbers.insert(number.clone());
            }
        }
    }

    fn watch_calls(&mut self, request: RequestId, session: SessionId, on: bool) -> Result<(), Refusal> {
        let device = self.devices.get(&session).ok_or(Refusal::UnknownSession)?;
        if !device.registration.supervisor {
            return Err(Refusal::NotAllowed);
        }
        if !on {
            self.call_watchers.remove(&session);
            self.reply(request, Reply::Done);
            return Ok(());
        }
        if self.call_watchers.len() >= CALL_WATCHERS_MAX && !self.call_watchers.contains(&session) {
            return Err(Refusal::TooManyWatched);
        }
        self.reply(request, Reply::Done);
        self.call_watchers.insert(session);
        Ok(())
    }

    fn set_agent(&mut self, request: RequestId, session: SessionId, state: AgentState) -> Result<(), Refusal> {
        let device = self.devices.get(&session).ok_or(Refusal::UnknownSession)?;
        let number = device.registration.number.clone();
        if let Some(entry) = self.numbers.get_mut(&number) {
            entry.agent = state;
        }
        self.timers.clear(&Timer::WrapUp(number.clone()));
        self.changed.numbers.insert(number);
        self.reply(request, Reply::Done);
        Ok(())
    }
}
