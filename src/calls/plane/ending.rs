//! Legs and calls end: each once, with one cause, and nothing is held afterwards.

use crate::action::{Ended, Notice, Report};
use crate::cause::Cause;
use crate::ids::{CallId, LegId};
use crate::record::EndedBy;
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::{LegRole, Party};

use super::CallPlane;
use super::state::{Leg, Purpose};
use super::timers::Timer;

impl CallPlane {
    /// A device hangs up its leg: a caller cancels by it, a phone that rings declines.
    pub(super) fn hang_up(&mut self, id: LegId, cause: Option<Cause>) {
        let by = EndedBy::Leg(id);
        let Some(leg) = self.legs.get(&id) else { return };
        let call = leg.call;
        let Some(owner) = self.calls.get(&call) else { return };
        if owner
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.forks.contains(&id))
        {
            // Whoever hangs up what rings declines it, in whatever words.
            let cause = cause.filter(|cause| *cause != Cause::Normal);
            self.drop_fork(id, cause.unwrap_or(Cause::Rejected), by);
            self.stage_is_over(call);
            return;
        }
        let is_cancelled = owner.caller == Some(id) && owner.answered.is_none();
        let otherwise = if is_cancelled { Cause::Cancelled } else { Cause::Normal };
        self.leave(id, cause.unwrap_or(otherwise), by);
    }

    /// A program hangs up the whole call.
    pub(super) fn hang_up_all(&mut self, id: CallId, cause: Option<Cause>) -> Result<(), Refusal> {
        let call = self.calls.get(&id).ok_or(Refusal::UnknownCall)?;
        let otherwise = if call.answered.is_some() {
            Cause::Normal
        } else {
            Cause::Cancelled
        };
        self.end_call(id, cause.unwrap_or(otherwise), EndedBy::Api);
        Ok(())
    }

    /// A leg ends for a reason of its device, and its call goes on as it can.
    pub(super) fn drop_leg(&mut self, id: LegId, cause: Cause, by: EndedBy) {
        let Some(call) = self.legs.get(&id).map(|leg| leg.call) else {
            return;
        };
        let attempt = self.calls.get(&call).and_then(|call| call.attempt.as_ref());
        if attempt.is_some_and(|attempt| attempt.forks.contains(&id)) {
            self.drop_fork(id, cause, by);
            self.stage_is_over(call);
        } else {
            self.leave(id, cause, by);
        }
    }

    /// A leg that nobody calls any more goes: the caller's, or one that is up.
    pub(super) fn leave(&mut self, id: LegId, cause: Cause, by: EndedBy) {
        let Some(leg) = self.legs.get(&id) else { return };
        let (call, is_supervisor) = (leg.call, leg.is_supervisor());
        let Some(owner) = self.calls.get(&call) else { return };
        let others = self
            .participants(owner)
            .into_iter()
            .filter(|other| *other != id)
            .count();
        let purpose = owner.attempt.as_ref().map(|attempt| &attempt.purpose);
        let goes_on = match purpose {
            // Who transfers may go as soon as it is under way.
            Some(Purpose::Transfer { by, .. }) if *by == id => others >= 1,
            Some(Purpose::Dial | Purpose::First { .. } | Purpose::Invite) => false,
            None if owner.is_controlled => others >= 1,
            Some(Purpose::Transfer { .. } | Purpose::Add { .. }) | None => others >= 2,
        };
        if is_supervisor || goes_on {
            self.end_leg(id, cause, by, None);
        } else {
            self.end_call(call, cause, by);
        }
    }

    /// Ends a call that has nobody left to talk to.
    pub(super) fn review(&mut self, id: CallId, cause: Cause, by: EndedBy) {
        let Some(call) = self.calls.get(&id) else { return };
        let fewest = if call.is_controlled { 1 } else { 2 };
        if call.attempt.is_none() && self.participants(call).len() < fewest {
            self.end_call(id, cause, by);
        }
    }

    /// Ends every leg, and the call with them.
    pub(super) fn end_call(&mut self, id: CallId, cause: Cause, by: EndedBy) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let attempt = call.attempt.take();
        // Nobody is told that others leave: everybody does.
        let legs = std::mem::take(&mut call.legs);
        if let Some(attempt) = &attempt {
            self.clear_attempt(id, &attempt.wait);
        }
        if attempt
            .as_ref()
            .is_some_and(|attempt| attempt.purpose == Purpose::Invite)
        {
            self.dialog_is_over(id, cause, by, id);
        }
        let forks = attempt.map(|attempt| attempt.forks).unwrap_or_default();
        for leg in legs {
            // What still rings was cancelled, whatever the call ended of.
            let is_cancelled = forks.contains(&leg) && matches!(cause, Cause::Normal | Cause::Unreachable);
            let cause = if is_cancelled { Cause::Cancelled } else { cause };
            self.end_leg(leg, cause, by, None);
        }
        self.record(id, false);
        let Some(call) = self.calls.remove(&id) else { return };
        for timer in [
            Timer::Duration(id),
            Timer::HalfDead(id),
            Timer::Ring(id),
            Timer::QueueWait(id),
        ] {
            self.timers.clear(&timer);
        }
        self.changed.calls.remove(&id);
        let view = self.view_of(&call, Some(cause));
        for session in self.call_watchers.clone() {
            self.notify(session, Notice::Call(Box::new(view.clone())));
        }
        self.close_book(call, cause, by);
    }

    /// Ends one leg. Its device and those who stay are told.
    pub(super) fn end_leg(&mut self, id: LegId, cause: Cause, by: EndedBy, answered_by: Option<&Party>) {
        if !self.move_leg(id, LegState::Hangup) {
            return;
        }
        let Some(leg) = self.legs.remove(&id) else { return };
        if let Some(device) = self.devices.get_mut(&leg.session) {
            device.legs.retain(|other| *other != id);
        }
        if let Some(call) = self.calls.get_mut(&leg.call) {
            call.legs.retain(|other| *other != id);
            if call.caller == Some(id) {
                call.caller = None;
            }
            if let Some(attempt) = &mut call.attempt {
                attempt.forks.retain(|other| *other != id);
            }
        }
        if leg.answered.is_some() && !self.talks_on(&leg) {
            let number = self.number_of(leg.session);
            if let Some(entry) = number.and_then(|number| self.numbers.get_mut(&number)) {
                entry.last_call = Some(self.now.since_start);
            }
            self.begin_wrap_up(&leg);
        }
        let since =
            |from: Option<crate::moment::Now>| from.map(|from| self.now.since_start.saturating_sub(from.since_start));
        let setup = leg
            .answered
            .map(|at| at.since_start.saturating_sub(leg.started.since_start));
        let ended = Ended {
            call: id.call,
            leg: id,
            request: leg.request,
            alias: leg.alias.clone(),
            cause,
            by,
            answered_by: answered_by.cloned(),
            duration: since(leg.answered).unwrap_or_default(),
            setup,
            mos: leg.quality.mos,
        };
        self.notify(leg.session, Notice::Ended(Box::new(ended)));
        if leg.is_controlled && (leg.answered.is_some() || leg.role == LegRole::Caller) {
            self.dialog_is_over(id.call, cause, by, leg.call);
        }
        let mut view = leg.view();
        view.end_ms = Some(self.now.unix_ms);
        view.cause = Some(cause);
        self.report(Report::Leg(Box::new(view)));
        if leg.answered.is_some() && self.is_told_of(&leg) {
            for (session, other) in self.up(leg.call) {
                let (call, own, leg) = (other.call, other, id);
                self.notify(session, Notice::Left { call, own, leg, cause });
            }
        }
        self.write_leg(&leg, cause, by);
        if leg.is_early && leg.answered.is_none() {
            self.hand_on_early(leg.call);
        }
    }

    /// Its number is still in the call, by another device.
    fn talks_on(&self, leg: &Leg) -> bool {
        let number = self.number_of(leg.session);
        let devices = number.and_then(|number| Some(&self.numbers.get(&number)?.devices));
        let devices = devices
            .into_iter()
            .flatten()
            .filter_map(|session| self.devices.get(session));
        let mut legs = devices
            .flat_map(|device| &device.legs)
            .filter_map(|id| self.legs.get(id));
        legs.any(|other| other.call == leg.call && other.is_up() && !other.is_supervisor())
    }

    pub(super) fn duration_is_over(&mut self, id: CallId) {
        self.end_call(id, Cause::DurationExceeded, EndedBy::System);
    }
}
