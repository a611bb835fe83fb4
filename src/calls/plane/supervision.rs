//! Supervisors listen, whisper, barge in, end calls and take them over. All of it is who hears whom: see `hearing`.

use crate::action::{Reply, Report};
use crate::cause::Cause;
use crate::event::{Actor, SuperviseEvent, SuperviseMode};
use crate::ids::{CallId, LegId, Number, RequestId, SessionId};
use crate::record::{EndedBy, TransferredTo};
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::LegRole;

use super::CallPlane;

impl CallPlane {
    pub(super) fn handle_supervise(&mut self, request: RequestId, actor: Actor, event: SuperviseEvent) {
        let done = self.check_supervisor(actor, &event).and_then(|()| match event {
            SuperviseEvent::Join { session, call, mode } => {
                let session = self.supervisors_device(actor, session, call)?;
                self.join(request, session, call, mode)
            }
            SuperviseEvent::Stop { session, call } => {
                let session = self.supervisors_device(actor, session, call).unwrap_or(session);
                self.stop(request, session, call)
            }
            SuperviseEvent::Disconnect { call } => self.disconnect(request, actor, call),
            SuperviseEvent::TakeOver { session, call, leg } => {
                let session = self.supervisors_device(actor, session, call)?;
                self.take_over(request, session, call, leg)
            }
        });
        if let Err(refusal) = done {
            self.refuse(request, refusal);
        }
    }

    /// Programs were let in by the adapter; a session must be a supervisor's, and speaks for itself.
    fn check_supervisor(&self, actor: Actor, event: &SuperviseEvent) -> Result<(), Refusal> {
        let Some(own) = self.session_of(actor)? else {
            return Ok(());
        };
        let device = self.devices.get(&own).ok_or(Refusal::UnknownSession)?;
        let is_own = match event {
            SuperviseEvent::Join { session, .. }
            | SuperviseEvent::Stop { session, .. }
            | SuperviseEvent::TakeOver { session, .. } => *session == own,
            SuperviseEvent::Disconnect { .. } => true,
        };
        if device.registration.supervisor && is_own {
            Ok(())
        } else {
            Err(Refusal::NotAllowed)
        }
    }

    /// The device by which a supervisor takes part: the one that is named. Nobody rings it, so it has to take a leg that is up at
    /// once. For a program, which may know only the number, another of the number's devices does: one that is in the call
    /// already, or else the first that can.
    fn supervisors_device(&self, actor: Actor, session: SessionId, call: CallId) -> Result<SessionId, Refusal> {
        let device = self.devices.get(&session).ok_or(Refusal::UnknownSession)?;
        if device.registration.meets || self.leg_in(session, call).is_some() {
            return Ok(session);
        }
        if !matches!(actor, Actor::Api { .. }) {
            return Err(Refusal::AnswersItself);
        }
        let number = self.numbers.get(&device.registration.number);
        let devices = number.map_or(&[][..], |entry| &entry.devices);
        let is_there = |other: &&SessionId| self.supervising(**other, call).is_some();
        let meets = |other: &&SessionId| {
            let device = self.devices.get(other);
            device.is_some_and(|device| device.registration.meets)
        };
        let found = devices.iter().find(is_there).or_else(|| devices.iter().find(meets));
        found.copied().ok_or(Refusal::AnswersItself)
    }

    fn join(&mut self, request: RequestId, session: SessionId, id: CallId, mode: SuperviseMode) -> Result<(), Refusal> {
        let call = self.calls.get(&id).ok_or(Refusal::UnknownCall)?;
        let participants = self.participants(call);
        if participants.is_empty() {
            return Err(Refusal::WrongState);
        }
        if let SuperviseMode::Whisper(target) = mode
            && !participants.contains(&target)
        {
            return Err(Refusal::UnknownLeg);
        }
        let role = LegRole::Supervisor(mode);
        match self.leg_in(session, id) {
            Some(leg) => {
                let was_told_of = self.change_mode(leg, role)?;
                self.reply(request, Reply::Done);
                if !was_told_of {
                    self.tell_joined(leg);
                }
            }
            None => {
                let leg = self.come_as(session, id, role)?;
                self.reply(request, Reply::Done);
                self.come_in(id, leg, None);
            }
        }
        self.report_supervision(id, session, Some(mode));
        Ok(())
    }

    /// A leg of a device that nobody calls, and that can be made to answer: up at once.
    fn come_as(&mut self, session: SessionId, id: CallId, role: LegRole) -> Result<LegId, Refusal> {
        let leg = self.add_leg(id, session, role)?;
        self.move_leg(leg, LegState::Calling);
        self.move_leg(leg, LegState::Up);
        Ok(leg)
    }

    /// A supervisor hears or is heard otherwise. Were the others told of it before?
    fn change_mode(&mut self, id: LegId, role: LegRole) -> Result<bool, Refusal> {
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        if !leg.is_supervisor() {
            return Err(Refusal::WrongState);
        }
        let was_told_of = self.is_told_of(leg);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.role = role;
            self.changed.calls.insert(leg.call);
        }
        self.report_leg(id);
        Ok(was_told_of)
    }

    fn stop(&mut self, request: RequestId, session: SessionId, id: CallId) -> Result<(), Refusal> {
        let leg = self.supervising(session, id).ok_or(Refusal::UnknownCall)?;
        self.reply(request, Reply::Done);
        self.drop_leg(leg, Cause::Normal, EndedBy::Leg(leg));
        self.report_supervision(id, session, None);
        Ok(())
    }

    fn disconnect(&mut self, request: RequestId, actor: Actor, id: CallId) -> Result<(), Refusal> {
        let call = self.calls.get(&id).ok_or(Refusal::UnknownCall)?;
        let cause = if call.answered.is_some() {
            Cause::Normal
        } else {
            Cause::Cancelled
        };
        let by = match actor {
            Actor::Session(_) | Actor::Leg(_) => EndedBy::Supervisor,
            Actor::Api { .. } => EndedBy::Api,
        };
        let supervisor = self.session_of(actor)?.and_then(|session| self.number_of(session));
        self.reply(request, Reply::Done);
        self.end_call(id, cause, by);
        self.report(Report::Supervision {
            call: id,
            supervisor,
            mode: None,
        });
        Ok(())
    }

    /// The supervisor is in the call, and the other is not any more.
    fn take_over(&mut self, request: RequestId, session: SessionId, id: CallId, target: LegId) -> Result<(), Refusal> {
        let call = self.calls.get(&id).ok_or(Refusal::UnknownCall)?;
        if !self.participants(call).contains(&target) {
            return Err(Refusal::UnknownLeg);
        }
        if call.is_controlled {
            // Its program decides who is in it.
            return Err(Refusal::NotAllowed);
        }
        if call.attempt.is_some() {
            return Err(Refusal::Pending);
        }
        match self.leg_in(session, id) {
            Some(leg) => {
                let was_told_of = self.change_mode(leg, LegRole::Member)?;
                self.reply(request, Reply::Done);
                if !was_told_of {
                    self.tell_joined(leg);
                }
            }
            None => {
                let leg = self.come_as(session, id, LegRole::Member)?;
                self.reply(request, Reply::Done);
                self.come_in(id, leg, None);
            }
        }
        let by = self.number_of(session);
        if let Some(to) = &by {
            let to = TransferredTo::Target(crate::ids::Text::new(to.as_str()));
            self.note_transfer(id, by.clone(), to);
        }
        self.end_leg(target, Cause::Transferred, EndedBy::Supervisor, None);
        self.review(id, Cause::Normal, EndedBy::Supervisor);
        self.report_supervision(id, session, Some(SuperviseMode::Barge));
        Ok(())
    }

    fn supervising(&self, session: SessionId, call: CallId) -> Option<LegId> {
        let leg = self.leg_in(session, call)?;
        self.legs.get(&leg)?.is_supervisor().then_some(leg)
    }

    pub(super) fn number_of(&self, session: SessionId) -> Option<Number> {
        Some(self.devices.get(&session)?.registration.number.clone())
    }

    fn report_supervision(&mut self, call: CallId, session: SessionId, mode: Option<SuperviseMode>) {
        let supervisor = self.number_of(session);
        self.report(Report::Supervision { call, supervisor, mode });
    }
}
