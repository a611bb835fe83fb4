//! A phone rings, is answered or declines. The first to answer has the call; nobody else can.

use crate::action::{Accepted, Notice, TransferProgress};
use crate::cause::Cause;
use crate::event::{DeviceKind, RejectReason, RejectScope};
use crate::ids::{CallId, LegId, Payload, SessionId};
use crate::record::EndedBy;
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::Party;

use super::CallPlane;
use super::inviting::party_of_number;
use super::state::{Dialler, Purpose, Wait};
use super::timers::Timer;

impl CallPlane {
    /// A phone rings: so does its caller's.
    pub(super) fn ring(&mut self, id: LegId, early_media: bool, sdp: Option<Payload>) -> Result<(), Refusal> {
        self.check_fork(id)?;
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let (call, session, was_early) = (leg.call, leg.session, leg.is_early);
        let wants_early = early_media && self.may_want_early(session);
        let is_early = wants_early && !was_early && self.hears_nobody_early(call);
        let leg = self.legs.get_mut(&id).ok_or(Refusal::UnknownLeg)?;
        leg.wants_early |= wants_early;
        if leg.state == LegState::Ringing && !is_early {
            return Ok(());
        }
        leg.is_early |= is_early;
        self.move_leg(id, LegState::Ringing);
        if is_early {
            self.changed.calls.insert(call);
        }
        let now = self.now;
        let caller = self.calls.get_mut(&call).and_then(|call| {
            call.rang.get_or_insert(now);
            call.caller
        });
        if let Some(caller) = caller {
            self.move_leg(caller, LegState::Ringing);
        }
        self.tell_progress(call, LegState::Ringing, is_early.then_some((id, sdp)));
        Ok(())
    }

    /// Trunks and telephones have something to say before they answer. Who is answered by the plane has not.
    fn may_want_early(&self, session: SessionId) -> bool {
        let device = self.devices.get(&session);
        device.is_some_and(|device| device.registration.kind == DeviceKind::Trunk || !device.registration.meets)
    }

    /// Is there a caller who could hear the first of them that says something, and hears no music of a queue?
    fn hears_nobody_early(&self, id: CallId) -> bool {
        let Some(call) = self.calls.get(&id) else { return false };
        let Some(attempt) = &call.attempt else { return false };
        let mut forks = attempt.forks.iter().filter_map(|fork| self.legs.get(fork));
        call.caller.is_some()
            && attempt.purpose == Purpose::Dial
            && attempt.wait == Wait::Forks
            && !forks.any(|fork| fork.is_early)
    }

    /// Who was heard before the answer is gone: the caller hears the next one that has something to say.
    pub(super) fn hand_on_early(&mut self, id: CallId) {
        if !self.hears_nobody_early(id) {
            return;
        }
        let forks = self.calls.get(&id).and_then(|call| call.attempt.as_ref());
        let mut forks = forks.map_or(&[][..], |attempt| &attempt.forks).iter();
        let next = forks.find(|fork| self.legs.get(fork).is_some_and(|leg| leg.wants_early));
        let Some(next) = next.copied() else { return };
        if let Some(leg) = self.legs.get_mut(&next) {
            leg.is_early = true;
            self.changed.sessions.insert(leg.session);
        }
        self.changed.calls.insert(id);
        self.tell_progress(id, LegState::Ringing, Some((next, None)));
    }

    /// Only a leg that is being called can ring, answer or decline.
    pub(super) fn check_fork(&self, id: LegId) -> Result<(), Refusal> {
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let call = self.calls.get(&leg.call).ok_or(Refusal::UnknownCall)?;
        let is_fork = call.attempt.as_ref().is_some_and(|attempt| attempt.forks.contains(&id));
        if is_fork { Ok(()) } else { Err(Refusal::WrongState) }
    }

    pub(super) fn answer(&mut self, id: LegId, sdp: Option<Payload>) -> Result<(), Refusal> {
        self.check_fork(id)?;
        let call = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?.call;
        self.win(call, id, sdp);
        Ok(())
    }

    /// One leg wins: it is up, all others that ring end, and the call goes on as its attempt was meant to.
    pub(super) fn win(&mut self, id: CallId, winner: LegId, sdp: Option<Payload>) {
        let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.take()) else {
            return;
        };
        self.clear_attempt(id, &attempt.wait);
        self.move_leg(winner, LegState::Up);
        let Some(party) = self.legs.get(&winner).map(|leg| leg.party.clone()) else {
            return;
        };
        for fork in attempt.forks.iter().filter(|fork| **fork != winner) {
            self.end_leg(*fork, Cause::AnsweredElsewhere, EndedBy::System, Some(&party));
        }
        match attempt.purpose.clone() {
            Purpose::Dial => self.connect(id, winner, &party, sdp),
            Purpose::Invite => self.dialog_is_up(id, winner),
            Purpose::First { to, timeout } => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.caller = Some(winner);
                    call.from = party;
                }
                self.accept(winner, party_of_number(&to), None);
                self.begin_attempt(id, Purpose::Dial, Dialler::default(), to, timeout);
            }
            Purpose::Add { by } => {
                self.come_in(id, winner, by);
                if let Some(by) = by {
                    self.tell_transfer(by, TransferProgress::Done);
                }
            }
            Purpose::Transfer { by, .. } => {
                let call = self
                    .calls
                    .get(&id)
                    .map(|call| self.participants(call))
                    .unwrap_or_default();
                let peer = call.into_iter().find(|leg| *leg != by && *leg != winner);
                self.come_in(id, winner, peer.or(Some(by)));
                self.tell_transfer(by, TransferProgress::Done);
                self.end_leg(by, Cause::Transferred, EndedBy::Leg(by), None);
                self.review(id, Cause::Normal, EndedBy::System);
            }
        }
    }

    /// Caller and callee are connected.
    fn connect(&mut self, id: CallId, callee: LegId, party: &Party, sdp: Option<Payload>) {
        let now = self.now;
        let half_dead = self.settings.half_dead;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.answered.get_or_insert(now);
        call.answered_by.get_or_insert_with(|| party.clone());
        call.candidates = Vec::new();
        let (from, caller) = (call.from.clone(), call.caller);
        if !half_dead.is_zero() {
            self.timers.set(Timer::HalfDead(id), self.after(half_dead));
        }
        if let Some(caller) = caller {
            if self.move_leg(caller, LegState::Up) {
                self.accept(caller, party.clone(), sdp);
            } else {
                // Whoever was rung first is up already.
                self.tell_joined(callee);
            }
        }
        self.accept(callee, from, None);
    }

    /// One more is in a call that is up.
    pub(super) fn come_in(&mut self, id: CallId, leg: LegId, by: Option<LegId>) {
        let peer = by.and_then(|by| self.legs.get(&by)).map(|leg| leg.party.clone());
        let Some(call) = self.calls.get(&id) else { return };
        let peer = peer.unwrap_or_else(|| call.from.clone());
        self.accept(leg, peer, None);
        self.tell_joined(leg);
    }

    /// The device is told that its leg is up. The grants are filled in when all is settled.
    pub(super) fn accept(&mut self, id: LegId, peer: Party, sdp: Option<Payload>) {
        let Some(leg) = self.legs.get(&id) else { return };
        let accepted = Accepted {
            call: id.call,
            leg: id,
            request: leg.request,
            peer,
            sdp,
            grants: crate::grants::Grants::default(),
        };
        let session = leg.session;
        self.notify(session, Notice::Accepted(Box::new(accepted)));
    }

    /// The others are told of somebody who came in, unless it is a supervisor of whom nobody is told.
    pub(super) fn tell_joined(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        if !self.is_told_of(leg) {
            return;
        }
        let call = leg.call;
        for (session, other) in self.others_up(call, id) {
            let (Some(leg), Some(own)) = (self.legs.get(&id), self.legs.get(&other)) else {
                continue;
            };
            let participant = Box::new(self.participant(leg, own));
            let (call, leg) = (other.call, other);
            self.notify(session, Notice::Joined { call, leg, participant });
        }
    }

    pub(super) fn reject(&mut self, id: LegId, reason: RejectReason, scope: RejectScope) -> Result<(), Refusal> {
        self.check_fork(id)?;
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let (call, number) = (leg.call, leg.party.number.clone());
        let cause = match reason {
            RejectReason::Busy => Cause::Busy,
            RejectReason::Declined => Cause::Rejected,
        };
        self.drop_fork(id, cause, EndedBy::Leg(id));
        if scope == RejectScope::All {
            if let Some(attempt) = self.calls.get_mut(&call).and_then(|call| call.attempt.as_mut()) {
                attempt.forward.take_if(|forward| forward.by == number);
            }
            let forks = self.calls.get(&call).and_then(|call| call.attempt.as_ref());
            let forks = forks.map(|attempt| attempt.forks.clone()).unwrap_or_default();
            for fork in forks {
                if self.legs.get(&fork).is_some_and(|leg| leg.party.number == number) {
                    self.drop_fork(fork, cause, EndedBy::Leg(id));
                }
            }
        }
        self.stage_is_over(call);
        Ok(())
    }
}
