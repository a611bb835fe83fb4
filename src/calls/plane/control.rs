//! Calls that a control program decides on. Each party is a dialog of its own, named by the call that it began in; the
//! program puts dialogs together and takes them apart. A leg that is up may be alone.

use crate::action::{Action, ControlNotice, Notice, Reply, TransferProgress};
use crate::cause::Cause;
use crate::event::{ControlEvent, Invite, TransferTo};
use crate::ids::{CallId, LegId, LegNumber, Number, RequestId, Text};
use crate::limits::{CONTROL_WAIT, CONTROLLED_DOMAINS_MAX, LEGS_PER_CALL_MAX, RING_MAX};
use crate::record::EndedBy;
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::{LegRole, Party};

use super::CallPlane;
use super::inviting::party_of_number;
use super::state::{Attempt, Leg, Purpose, Wait};
use super::timers::Timer;

impl CallPlane {
    pub(super) fn set_control(&mut self, domain: Text, on: bool) {
        if !on {
            self.controlled.remove(&domain);
        } else if self.controlled.len() < CONTROLLED_DOMAINS_MAX {
            self.controlled.insert(domain);
        }
    }

    /// The domain whose program decides on a call: that of what was dialled, otherwise that of who calls.
    pub(super) fn control_of(&self, from: &Number, to: &Number) -> Option<Text> {
        if self.controlled.is_empty() {
            return None;
        }
        let domain = |number: &Number| number.as_str().rsplit_once('@').map(|(_, domain)| small(domain));
        let called = domain(to).filter(|domain| self.controlled.contains(domain));
        called.or_else(|| {
            let own = domain(from).unwrap_or_default();
            self.controlled.contains(&own).then_some(own)
        })
    }

    /// A caller waits for the program.
    pub(super) fn ask_control(&mut self, id: CallId, caller: LegId, domain: Text) {
        if let Some(leg) = self.legs.get_mut(&caller) {
            leg.is_controlled = true;
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.is_controlled = true;
        call.attempt = Some(Attempt {
            wait: Wait::Control,
            ..Attempt::new(Purpose::Dial, &call.dialled, CONTROL_WAIT)
        });
        let (from, dialled) = (call.from.clone(), call.dialled.clone());
        self.timers.set(Timer::Ring(id), self.after(CONTROL_WAIT));
        self.staged.push(Action::Control(ControlNotice::Dialled {
            dialog: id,
            domain,
            from,
            dialled,
        }));
    }

    /// The program has not decided in time.
    pub(super) fn control_is_late(&mut self, id: CallId) {
        let has_rung = self.calls.get(&id).is_some_and(|call| call.rang.is_some());
        self.fail_attempt(id, if has_rung { Cause::NoAnswer } else { Cause::NoReply });
    }

    pub(super) fn is_controlled(&self, leg: LegId) -> bool {
        self.legs.get(&leg).is_some_and(|leg| leg.is_controlled)
    }

    pub(super) fn dialog_is_over(&mut self, dialog: CallId, cause: Cause, by: EndedBy, call: CallId) {
        let over = ControlNotice::Over {
            dialog,
            cause,
            by,
            call,
        };
        self.staged.push(Action::Control(over));
    }

    pub(super) fn handle_control(&mut self, request: RequestId, event: ControlEvent) {
        let done = match event {
            ControlEvent::Invite(invite) => self.invite_dialog(request, *invite).map(|()| None),
            ControlEvent::Ring { dialog } => self.ring_dialog(dialog).map(Some),
            ControlEvent::Answer { dialog } => self.answer_dialog(dialog).map(Some),
            ControlEvent::Hangup { dialog, cause } => self.hang_up_dialog(dialog, cause).map(Some),
            ControlEvent::Mix { dialog, other } => self.mix(dialog, other).map(Some),
            ControlEvent::Unmix { dialog } => self.unmix(dialog).map(Some),
            ControlEvent::Referred { dialog, failed } => self.conclude_referral(dialog, failed).map(Some),
        };
        match done {
            Ok(Some(reply)) => self.reply(request, reply),
            Ok(None) => {}
            Err(refusal) => self.refuse(request, refusal),
        }
    }

    /// Legs of a dialog: one, or those that still ring for it.
    fn dialog(&self, dialog: CallId) -> Vec<LegId> {
        let first = LegId {
            call: dialog,
            leg: LegNumber(0),
        };
        let legs = self.legs.range(first..).take_while(|(id, _)| id.call == dialog);
        legs.filter(|(_, leg)| leg.is_controlled).map(|(id, _)| *id).collect()
    }

    fn dialog_up(&self, dialog: CallId) -> Result<&Leg, Refusal> {
        let legs = self.dialog(dialog);
        let leg = legs.first().and_then(|leg| self.legs.get(leg));
        let leg = leg.ok_or(Refusal::UnknownCall)?;
        if leg.is_up() { Ok(leg) } else { Err(Refusal::WrongState) }
    }

    /// The reply goes first: the dialog may be over at once.
    fn invite_dialog(&mut self, request: RequestId, invite: Invite) -> Result<(), Refusal> {
        if self.is_stopping {
            return Err(Refusal::Stopping);
        }
        let (number, name) = invite.from;
        let from = Party {
            name,
            ..party_of_number(&number)
        };
        let id = self.begin_call(Some(invite.dialog), from, None, invite.to.clone())?;
        self.reply(request, Reply::Calling { call: id, leg: None });
        let ring = self.ring_time(None, Some(invite.timeout.unwrap_or(RING_MAX)));
        let mut attempt = Attempt::new(Purpose::Invite, &invite.to, ring);
        attempt.stages.push_back(vec![invite.via.unwrap_or(invite.to)]);
        if let Some(call) = self.calls.get_mut(&id) {
            call.is_controlled = true;
            call.attempt = Some(attempt);
        }
        self.advance(id);
        Ok(())
    }

    /// Who was invited has answered.
    pub(super) fn dialog_is_up(&mut self, id: CallId, winner: LegId) {
        let now = self.now;
        let party = self.legs.get(&winner).map(|leg| leg.party.clone());
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.answered.get_or_insert(now);
        call.answered_by = call.answered_by.take().or(party);
        let from = call.from.clone();
        self.accept(winner, from, None);
    }

    /// The caller of a dialog that waits for its program.
    fn waiting_caller(&self, dialog: CallId) -> Result<Option<LegId>, Refusal> {
        let legs = self.dialog(dialog);
        let leg = legs.first().and_then(|leg| self.legs.get(leg));
        let leg = leg.ok_or(Refusal::UnknownCall)?;
        match leg.role {
            LegRole::Caller => Ok((!leg.is_up()).then_some(leg.id)),
            LegRole::Callee | LegRole::Member | LegRole::Supervisor(_) => Err(Refusal::WrongState),
        }
    }

    fn ring_dialog(&mut self, dialog: CallId) -> Result<Reply, Refusal> {
        if let Some(leg) = self.waiting_caller(dialog)?
            && self.move_leg(leg, LegState::Ringing)
        {
            let now = self.now;
            if let Some(call) = self.calls.get_mut(&dialog) {
                call.rang.get_or_insert(now);
            }
            self.tell_progress(dialog, LegState::Ringing, None);
        }
        Ok(Reply::Done)
    }

    fn answer_dialog(&mut self, dialog: CallId) -> Result<Reply, Refusal> {
        let Some(leg) = self.waiting_caller(dialog)? else {
            return Ok(Reply::Done);
        };
        let now = self.now;
        let call = self.calls.get_mut(&dialog).ok_or(Refusal::UnknownCall)?;
        let attempt = call.attempt.take().ok_or(Refusal::WrongState)?;
        call.answered.get_or_insert(now);
        let peer = party_of_number(&call.dialled);
        self.clear_attempt(dialog, &attempt.wait);
        self.move_leg(leg, LegState::Up);
        self.accept(leg, peer, None);
        Ok(Reply::Done)
    }

    fn hang_up_dialog(&mut self, dialog: CallId, cause: Option<Cause>) -> Result<Reply, Refusal> {
        let legs = self.dialog(dialog);
        let leg = legs.first().and_then(|leg| self.legs.get(leg));
        let leg = leg.ok_or(Refusal::UnknownCall)?;
        let (id, call) = (leg.id, leg.call);
        if leg.is_up() {
            self.leave(id, cause.unwrap_or(Cause::Normal), EndedBy::Api);
        } else {
            self.end_call(call, cause.unwrap_or(Cause::Cancelled), EndedBy::Api);
        }
        Ok(Reply::Done)
    }

    fn mix(&mut self, dialog: CallId, other: CallId) -> Result<Reply, Refusal> {
        let (first, second) = (self.dialog_up(dialog)?, self.dialog_up(other)?);
        let (to, from, party) = (first.call, second.call, second.party.clone());
        if to == from {
            return Ok(Reply::Done);
        }
        let legs = |call: CallId| self.calls.get(&call).map_or(&[][..], |call| &call.legs);
        if legs(to).len() + legs(from).len() > LEGS_PER_CALL_MAX {
            return Err(Refusal::TooManyLegs);
        }
        if self.share_a_phone(legs(from), legs(to)) {
            return Err(Refusal::WrongState);
        }
        self.move_legs(from, to, EndedBy::Api);
        if let Some(call) = self.calls.get_mut(&to) {
            call.answered_by.get_or_insert(party);
        }
        self.wait_for_media_anew(to);
        let half_dead = self.settings.half_dead;
        if !half_dead.is_zero() {
            self.timers.set(Timer::HalfDead(to), self.after(half_dead));
        }
        Ok(Reply::Done)
    }

    fn unmix(&mut self, dialog: CallId) -> Result<Reply, Refusal> {
        let leg = self.dialog_up(dialog)?;
        let (id, old, party) = (leg.id, leg.call, leg.party.clone());
        let call = self.calls.get(&old).ok_or(Refusal::UnknownCall)?;
        let (dialled, is_caller) = (call.dialled.clone(), call.caller == Some(id));
        if self.participants(call).len() < 2 {
            return Ok(Reply::Done);
        }
        let by = if is_caller { call.by.clone() } else { None };
        let new = self.begin_call(None, party, by, dialled)?;
        if let Some(call) = self.calls.get_mut(&old) {
            call.legs.retain(|other| *other != id);
            if is_caller {
                call.caller = None;
            }
        }
        let now = self.now;
        if let Some(call) = self.calls.get_mut(&new) {
            call.is_controlled = true;
            call.legs.push(id);
            call.caller = is_caller.then_some(id);
            call.answered = Some(now);
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.call = new;
        }
        self.changed.calls.insert(old);
        for (session, other) in self.up(old) {
            let (call, own, leg) = (other.call, other, id);
            let cause = Cause::Transferred;
            self.notify(session, Notice::Left { call, own, leg, cause });
        }
        self.report_leg(id);
        Ok(Reply::Calling {
            call: new,
            leg: Some(id),
        })
    }

    /// The device of a dialog wants a transfer: its program is told.
    pub(super) fn refer(&mut self, id: LegId, to: TransferTo) -> Result<(), Refusal> {
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        if !leg.is_up() {
            return Err(Refusal::WrongState);
        }
        if leg.has_referred {
            return Err(Refusal::Pending);
        }
        let (to, replaces) = match to {
            TransferTo::Number(number) | TransferTo::Device(number, _) => (number, None),
            TransferTo::Call(_) | TransferTo::Leg(_) => {
                let second = self.second_leg(leg, &to)?;
                let call = self.calls.get(&second.call).ok_or(Refusal::UnknownCall)?;
                if second.id == id || !second.is_controlled || !second.is_up() {
                    return Err(Refusal::WrongState);
                }
                let is_caller = second.role == LegRole::Caller;
                let to = if is_caller { &call.dialled } else { &call.from.number };
                (to.clone(), Some(second.id.call))
            }
        };
        if self.forbids(&leg.party.number, self.trunk_of(leg.session), &to) {
            return Err(Refusal::Forbidden);
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.has_referred = true;
        }
        let dialog = id.call;
        let referred = ControlNotice::Referred { dialog, to, replaces };
        self.staged.push(Action::Control(referred));
        Ok(())
    }

    fn conclude_referral(&mut self, dialog: CallId, failed: Option<Cause>) -> Result<Reply, Refusal> {
        let leg = self.dialog_up(dialog)?;
        let id = leg.id;
        if !leg.has_referred {
            return Err(Refusal::WrongState);
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.has_referred = false;
        }
        match failed {
            Some(cause) => self.tell_transfer(id, TransferProgress::Failed(cause)),
            None => {
                self.tell_transfer(id, TransferProgress::Done);
                self.leave(id, Cause::Transferred, EndedBy::Leg(id));
            }
        }
        Ok(Reply::Done)
    }
}

/// Names of domains are the same in large and small letters.
fn small(domain: &str) -> Text {
    Text::new(&domain.to_ascii_lowercase())
}
