//! Transfers, additions and mergers: who is in a call changes while it goes on.

use crate::action::{Reply, TransferProgress};
use crate::cause::Cause;
use crate::event::{Actor, TransferTo};
use crate::ids::{CallId, LegId, Number, RequestId, SessionId, Text};
use crate::limits::LEGS_PER_CALL_MAX;
use crate::record::{EndedBy, Transferred, TransferredTo};
use crate::refusal::Refusal;

use super::CallPlane;
use super::state::{Dialler, Leg, Purpose};

impl CallPlane {
    pub(super) fn transfer(
        &mut self,
        request: RequestId,
        actor: Actor,
        call: CallId,
        to: TransferTo,
    ) -> Result<(), Refusal> {
        let leg = self.leg_of(actor, call)?;
        if self.is_controlled(leg) {
            self.refer(leg, to)?;
            self.reply(request, Reply::Done);
            self.tell_transfer(leg, TransferProgress::Trying);
            return Ok(());
        }
        match to {
            TransferTo::Number(number) => self.transfer_blind(request, actor, leg, (number, None)),
            TransferTo::Device(number, device) => self.transfer_blind(request, actor, leg, (number, Some(device))),
            TransferTo::Call(_) | TransferTo::Leg(_) => {
                let (call, other) = self.check_merger(leg, &to, false)?;
                self.reply(request, Reply::Done);
                self.transfer_attended(leg, call, other);
                Ok(())
            }
        }
    }

    /// The others are to talk to a number. Who transfers is on hold until it answers; the others hear music.
    fn transfer_blind(
        &mut self,
        request: RequestId,
        actor: Actor,
        id: LegId,
        (number, device): (Number, Option<SessionId>),
    ) -> Result<(), Refusal> {
        let call = self.check_invitation(id, &number)?;
        let Some(leg) = self.legs.get(&id) else {
            return Err(Refusal::UnknownLeg);
        };
        let (held, by) = (leg.holds, leg.party.number.clone());
        self.count_begun_by(id)?;
        self.reply(request, Reply::Done);
        self.note_transfer(call, Some(by), TransferredTo::Target(Text::new(number.as_str())));
        self.set_hold(id, true);
        let mut dialler = self.dialler(actor, id);
        dialler.device = device.map(|device| (number.clone(), device));
        self.begin_attempt(call, Purpose::Transfer { by: id, held }, dialler, number, None);
        Ok(())
    }

    pub(super) fn add(
        &mut self,
        request: RequestId,
        actor: Actor,
        call: CallId,
        number: Number,
    ) -> Result<(), Refusal> {
        let id = self.leg_of(actor, call)?;
        if self.is_controlled(id) {
            return Err(Refusal::NotAllowed);
        }
        let call = self.check_invitation(id, &number)?;
        self.count_begun_by(id)?;
        self.reply(request, Reply::Done);
        let dialler = self.dialler(actor, id);
        self.begin_attempt(call, Purpose::Add { by: Some(id) }, dialler, number, None);
        Ok(())
    }

    /// May this leg have a number called for its call? The call.
    fn check_invitation(&self, id: LegId, number: &Number) -> Result<CallId, Refusal> {
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let call = self.calls.get(&leg.call).ok_or(Refusal::UnknownCall)?;
        if !leg.is_up() || leg.is_supervisor() || self.participants(call).len() < 2 {
            return Err(Refusal::WrongState);
        }
        if call.attempt.is_some() {
            return Err(Refusal::Pending);
        }
        if call.legs.len() >= LEGS_PER_CALL_MAX {
            return Err(Refusal::TooManyLegs);
        }
        if self.forbids(&leg.party.number, self.trunk_of(leg.session), number) {
            return Err(Refusal::Forbidden);
        }
        Ok(call.id)
    }

    /// Who transfers, or has one more come. A program was let in, and may send out by a trunk who came by one.
    fn dialler(&self, actor: Actor, id: LegId) -> Dialler {
        let leg = self.legs.get(&id);
        Dialler {
            number: leg.map(|leg| leg.party.number.clone()),
            trunk: leg.and_then(|leg| self.trunk_of(leg.session)).cloned(),
            forwarders: Vec::new(),
            transit: matches!(actor, Actor::Api { .. }),
            device: None,
        }
    }

    /// Does the profile of a number, on a trunk or not, forbid another?
    pub(super) fn forbids(&self, number: &Number, trunk: Option<&Number>, to: &Number) -> bool {
        let profile = self.dialplan.profile(number, trunk);
        profile.is_some_and(|profile| profile.forbids(to))
    }

    /// A leg is sent out of the call: by the caller or, where that is gone, by whoever is in it the longest.
    pub(super) fn remove(&mut self, actor: Actor, id: CallId, target: LegId) -> Result<(), Refusal> {
        let own = self.leg_of(actor, id)?;
        let call = self.legs.get(&own).and_then(|leg| self.calls.get(&leg.call));
        let call = call.ok_or(Refusal::UnknownCall)?;
        if !call.legs.contains(&target) {
            return Err(Refusal::UnknownLeg);
        }
        let host = call.caller.or_else(|| call.legs.first().copied());
        let by = match actor {
            Actor::Api { .. } => EndedBy::Api,
            Actor::Session(_) | Actor::Leg(_) if host == Some(own) => EndedBy::Leg(own),
            Actor::Session(_) | Actor::Leg(_) => return Err(Refusal::NotAllowed),
        };
        self.drop_leg(target, Cause::Normal, by);
        Ok(())
    }

    /// Two calls of a device become a conference.
    pub(super) fn merge(&mut self, actor: Actor, call: CallId, other: CallId) -> Result<(), Refusal> {
        let own = self.leg_of(actor, call)?;
        let (call, other) = self.check_merger(own, &TransferTo::Call(other), true)?;
        self.set_hold(own, false);
        self.end_leg(other.1, Cause::Transferred, EndedBy::Leg(own), None);
        self.move_legs(other.0, call, EndedBy::Leg(own));
        Ok(())
    }

    /// The legs of both calls are put together, without the two of the device that asks for it.
    fn transfer_attended(&mut self, own: LegId, call: CallId, other: (CallId, LegId)) {
        let by = EndedBy::Leg(own);
        self.tell_transfer(own, TransferProgress::Done);
        self.end_leg(own, Cause::Transferred, by, None);
        self.end_leg(other.1, Cause::Transferred, by, None);
        self.move_legs(other.0, call, by);
        self.review(call, Cause::Normal, by);
    }

    /// The other leg of a device that a transfer or a merger is about.
    pub(super) fn second_leg(&self, own: &Leg, to: &TransferTo) -> Result<&Leg, Refusal> {
        let second = match to {
            TransferTo::Number(_) | TransferTo::Device(..) => return Err(Refusal::UnknownCall),
            TransferTo::Call(call) => self.leg_of(Actor::Session(own.session), *call)?,
            TransferTo::Leg(leg) => *leg,
        };
        let second = self.legs.get(&second).filter(|second| second.session == own.session);
        second.ok_or(Refusal::UnknownCall)
    }

    /// Can those with whom the device's other leg is come into the call of this one? The call, and the other with that leg.
    fn check_merger(&self, own: LegId, other: &TransferTo, stays: bool) -> Result<(CallId, (CallId, LegId)), Refusal> {
        let leg = self.legs.get(&own).ok_or(Refusal::UnknownLeg)?;
        let second = self.second_leg(leg, other)?;
        let call = self.calls.get(&leg.call).ok_or(Refusal::UnknownCall)?;
        let other = self.calls.get(&second.call).ok_or(Refusal::UnknownCall)?;
        let is_main = |leg: &Leg| leg.is_up() && !leg.is_supervisor();
        if call.id == other.id || !is_main(leg) || !is_main(second) {
            return Err(Refusal::WrongState);
        }
        if call.is_controlled || other.is_controlled {
            // Its program decides who comes together.
            return Err(Refusal::NotAllowed);
        }
        if call.attempt.is_some() || other.attempt.is_some() {
            return Err(Refusal::Pending);
        }
        if call.legs.len() + other.legs.len() > LEGS_PER_CALL_MAX {
            return Err(Refusal::TooManyLegs);
        }
        let staying = |legs: &[LegId]| -> Vec<LegId> {
            let legs = legs.iter().copied();
            legs.filter(|id| *id != second.id && (stays || *id != own)).collect()
        };
        if self.share_a_phone(&staying(&call.legs), &staying(&other.legs)) {
            return Err(Refusal::WrongState);
        }
        Ok((call.id, (other.id, second.id)))
    }

    /// Every leg of one call goes on in another, by the path that it has. The empty call ends.
    pub(super) fn move_legs(&mut self, from: CallId, to: CallId, by: EndedBy) {
        let Some(other) = self.calls.get_mut(&from) else { return };
        let legs = std::mem::take(&mut other.legs);
        let (is_recorded, is_paused) = (other.is_recorded, other.is_recording_paused);
        let Some(call) = self.calls.get_mut(&to) else { return };
        call.legs.extend(&legs);
        for id in legs {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.call = to;
            }
            // Who follows legs is told where each is.
            self.report_leg(id);
        }
        self.changed.calls.insert(to);
        if is_recorded {
            self.record(to, true);
        }
        // Whoever has wanted that nothing is written has not said otherwise.
        if is_paused {
            self.pause_recording(to, true);
        }
        self.note_transfer(from, None, TransferredTo::Into(to));
        self.note_transfer(to, None, TransferredTo::From(from));
        self.end_call(from, Cause::Transferred, by);
    }

    pub(super) fn note_transfer(&mut self, call: CallId, by: Option<Number>, to: TransferredTo) {
        let at_ms = self.now.unix_ms;
        if let Some(call) = self.calls.get_mut(&call) {
            call.note_transfer(Transferred { by, to, at_ms });
        }
    }
}
