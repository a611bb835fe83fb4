//! A device comes in the place of another: of one that talks, or of one that rings (RFC 3891).

use crate::cause::Cause;
use crate::event::{Actor, Replace, SuperviseMode};
use crate::ids::{CallId, LegId, RequestId, SessionId, Text};
use crate::record::{EndedBy, TransferredTo};
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::{LegRole, Party};

use super::CallPlane;
use super::state::Leg;

impl CallPlane {
    /// A leg of the device is up at once, and the other is over. Of one that rings it answers the call.
    pub(super) fn come_for(&mut self, request: RequestId, actor: Actor, replace: Replace) -> Result<(), Refusal> {
        let session = self.session_of(actor)?.ok_or(Refusal::NotAllowed)?;
        let (call, is_fork) = self.check_replacing(session, replace.leg)?;
        let codecs = match replace.codecs.is_empty() {
            true => self.codecs_of(session),
            false => self.codecs_of(session).and(replace.codecs),
        };
        let common = self.takes_beside(replace.leg).and(codecs);
        if codecs.is_empty() || (common.is_empty() && !self.settings.transcodes) {
            return Err(Refusal::Incompatible);
        }
        let role = match self.legs.get(&replace.leg) {
            Some(leg) if is_fork => leg.role,
            _ => LegRole::Member,
        };
        let leg = self.add_leg(call, session, role)?;
        let is_trunk = self.is_trunk(session);
        if let Some(own) = self.legs.get_mut(&leg) {
            own.request = Some(request);
            own.codecs = codecs;
            if let Some((number, name)) = replace.from.filter(|_| is_trunk) {
                own.party = Party {
                    number,
                    name,
                    ..own.party.clone()
                };
            }
        }
        self.move_leg(leg, LegState::Calling);
        self.reply_calling(request, call, leg, session);
        match is_fork {
            true => self.answer_for(call, leg),
            false => self.talk_for(call, leg, replace.leg),
        }
        Ok(())
    }

    /// The call, and whether the other one rings.
    fn check_replacing(&self, session: SessionId, other: LegId) -> Result<(CallId, bool), Refusal> {
        if self.is_stopping {
            return Err(Refusal::Stopping);
        }
        let leg = self.legs.get(&other).ok_or(Refusal::UnknownLeg)?;
        let call = self.calls.get(&leg.call).ok_or(Refusal::UnknownCall)?;
        // Its program decides who is in a call, and who supervises is let in by another right.
        if !self.is_one_of_them(session, leg) || call.is_controlled || leg.is_supervisor() {
            return Err(Refusal::NotAllowed);
        }
        let is_fork = self.check_fork(other).is_ok();
        if !is_fork && !leg.is_up() {
            return Err(Refusal::WrongState);
        }
        if !is_fork && call.attempt.is_some() {
            return Err(Refusal::Pending);
        }
        // It would hear itself.
        let mut own = self.legs_in(session, call.id);
        if !self.is_trunk(session) && own.any(|own| own.id != other && (own.is_up() || call.caller == Some(own.id))) {
            return Err(Refusal::WrongState);
        }
        Ok((call.id, is_fork))
    }

    /// A device of the same number, or somebody else behind the same trunk.
    fn is_one_of_them(&self, session: SessionId, leg: &Leg) -> bool {
        match (self.is_trunk(session), self.is_trunk(leg.session)) {
            (true, true) => session == leg.session,
            (false, false) => self.number_of(session) == self.number_of(leg.session),
            _ => false,
        }
    }

    fn answer_for(&mut self, call: CallId, leg: LegId) {
        if let Some(attempt) = self.calls.get_mut(&call).and_then(|call| call.attempt.as_mut()) {
            attempt.forks.push(leg);
            self.win(call, leg, None);
        }
    }

    fn talk_for(&mut self, call: CallId, leg: LegId, other: LegId) {
        self.move_leg(leg, LegState::Up);
        let talking = self
            .calls
            .get(&call)
            .map(|call| self.participants(call))
            .unwrap_or_default();
        let peer = talking.into_iter().find(|id| *id != leg && *id != other);
        let number_of = |id| self.legs.get(&id).map(|leg: &Leg| leg.party.number.clone());
        let (by, to) = (number_of(other), number_of(leg));
        if let Some(to) = to {
            self.note_transfer(call, by, TransferredTo::Target(Text::new(to.as_str())));
        }
        self.inherit(call, leg, other);
        self.come_in(call, leg, peer);
        self.end_leg(other, Cause::Transferred, EndedBy::Leg(leg), None);
        self.review(call, Cause::Normal, EndedBy::System);
    }

    /// What is said of the other leg is said of the one in its place: who called, who is muted, who is heard in a lecture, to whom a
    /// supervisor whispers.
    fn inherit(&mut self, id: CallId, leg: LegId, other: LegId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let is_muted = self.legs.get(&other).is_some_and(|other| other.muted);
        if call.caller == Some(other) {
            call.caller = Some(leg);
        }
        for speaker in call.lecture.iter_mut().flatten().filter(|speaker| **speaker == other) {
            *speaker = leg;
        }
        for beside in call.legs.clone() {
            if let Some(beside) = self.legs.get_mut(&beside)
                && let LegRole::Supervisor(SuperviseMode::Whisper(target)) = &mut beside.role
                && *target == other
            {
                *target = leg;
            }
        }
        if let Some(own) = self.legs.get_mut(&leg) {
            own.muted = is_muted;
        }
    }
}
