//! Phones are called for an attempt, and whoever waits for them is told how far it is.

use crate::action::{Action, Incoming, Notice, TransferProgress};
use crate::cause::Cause;
use crate::codec::Codecs;
use crate::event::{DeviceKind, Signal};
use crate::ids::{CallId, LegId, Number, Payload, SessionId, Text};
use crate::state::LegState;
use crate::view::{LegRole, Party};

use super::CallPlane;
use super::state::{Attempt, Call, Leg, Purpose};
use super::timers::Timer;

impl CallPlane {
    /// Calls every device of a number that can ring, at most `left`. How many there are.
    pub(super) fn invite(&mut self, id: CallId, number: &Number, left: usize) -> Result<usize, Cause> {
        let entry = self.numbers.get(number).ok_or(Cause::Unallocated)?;
        if entry.devices.is_empty() && !entry.is_declared {
            return Err(Cause::Unallocated);
        }
        let sessions: Vec<SessionId> = entry.devices.clone();
        let mut cause = Cause::Unreachable;
        let mut invited = 0;
        // By whatever name the dialplan calls a trunk, who comes by one reaches it only where that is said.
        let attempt = self.calls.get(&id).and_then(|call| call.attempt.as_ref());
        let may_transit = attempt.is_none_or(|Attempt { dialler, .. }| dialler.transit || dialler.trunk.is_none());
        let only = attempt.and_then(|attempt| attempt.dialler.device.as_ref());
        let only = only.filter(|(own, _)| own == number).map(|(_, device)| *device);
        let is_full = self.legs_of_number(number) >= self.settings.calls_per_number_max;
        for session in sessions {
            let Some(device) = self.devices.get(&session) else {
                continue;
            };
            let is_another = only.is_some_and(|only| only != session);
            if is_another || !device.registration.ringable || invited == left {
                continue;
            }
            let is_phone = device.registration.kind == DeviceKind::Phone;
            if !is_phone && !may_transit {
                cause = Cause::Forbidden;
                continue;
            }
            let has_calls = !device.legs.is_empty() || device.elsewhere.0 > 0;
            let is_taken = is_full || (!self.settings.call_waiting && has_calls);
            let has_place = self.has_place_in(session, id) && !self.is_called(session, id);
            if (is_phone && is_taken) || !has_place || !self.invite_device(id, session) {
                cause = Cause::Busy;
                continue;
            }
            invited += 1;
        }
        if invited == 0 { Err(cause) } else { Ok(invited) }
    }

    /// Is the device called for this call already? A number may be listed twice.
    fn is_called(&self, session: SessionId, id: CallId) -> bool {
        let attempt = self.calls.get(&id).and_then(|call| call.attempt.as_ref());
        let mut forks = attempt.map_or(&[][..], |attempt| &attempt.forks).iter();
        forks.any(|fork| self.legs.get(fork).is_some_and(|leg| leg.session == session))
    }

    /// False: the device has no room.
    pub(super) fn invite_device(&mut self, id: CallId, session: SessionId) -> bool {
        let attempt = self.calls.get(&id).and_then(|call| call.attempt.as_ref());
        let role = match attempt.map(|attempt| &attempt.purpose) {
            Some(Purpose::Dial | Purpose::Invite) => LegRole::Callee,
            Some(Purpose::First { .. }) => LegRole::Caller,
            Some(Purpose::Add { .. } | Purpose::Transfer { .. }) => LegRole::Member,
            None => return false,
        };
        let is_trunk = self.is_trunk(session);
        let Ok(leg) = self.add_leg(id, session, role) else {
            return false;
        };
        let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) else {
            return false;
        };
        attempt.forks.push(leg);
        let is_controlled = attempt.purpose == Purpose::Invite;
        if is_trunk && let Some(leg) = self.legs.get_mut(&leg) {
            leg.party.number = attempt.dialled.clone();
        }
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.is_controlled = is_controlled;
        }
        let is_lost = self.devices.get(&session).is_some_and(|device| device.lost.is_some());
        self.move_leg(leg, LegState::Calling);
        self.tell_incoming(leg);
        let timer = Timer::GraceAlerting(session);
        if is_lost && !self.timers.is_set(&timer) {
            // It may be back in a moment; it may not keep the caller waiting.
            self.timers.set(timer, self.after(self.settings.grace_alerting));
        }
        true
    }

    /// A device is told who calls: when it is called, and once more when another session has taken its place.
    pub(super) fn tell_incoming(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let Some(call) = self.calls.get(&leg.call) else { return };
        let Some(attempt) = call.attempt.as_ref().filter(|attempt| attempt.forks.contains(&id)) else {
            return;
        };
        let incoming = Incoming {
            call: id.call,
            leg: id,
            from: match &attempt.purpose {
                Purpose::Dial | Purpose::Invite => call.from.clone(),
                Purpose::First { to, .. } => party_of_number(to),
                Purpose::Add { by } => self.inviter(*by, &call.from),
                Purpose::Transfer { by, .. } => self.inviter(Some(*by), &call.from),
            },
            dialled: attempt.dialled.clone(),
            lifetime: attempt.ring,
            forwarded_by: attempt.forwarded_by.clone(),
            queue: call.queue.clone(),
            codecs: self.codecs_beside(call, id),
            metadata: call.metadata.clone(),
            sdp: call.sdp.clone().filter(|_| attempt.purpose == Purpose::Dial),
        };
        let session = leg.session;
        let signals = self.kept_signals(call, attempt);
        self.notify(session, Notice::Incoming(Box::new(incoming)));
        for (by, signal) in signals {
            self.notify(
                session,
                Notice::Signal {
                    call: id.call,
                    leg: id,
                    by,
                    signal,
                },
            );
        }
    }

    /// What all others could speak that are in a leg's call, or began it: what the leg may agree on so that nobody transcodes.
    /// They may have to agree anew for it, and are asked to.
    pub fn takes_beside(&self, leg: LegId) -> Codecs {
        let call = self.legs.get(&leg).and_then(|leg| self.calls.get(&leg.call));
        call.map_or_else(Codecs::all, |call| self.codecs_beside(call, leg))
    }

    /// What a leg may speak beside that: it is transcoded then for others, and they for it. Nothing, where nobody transcodes.
    pub fn may_speak(&self, leg: LegId) -> Codecs {
        let leg = self.legs.get(&leg).filter(|_| self.settings.transcodes);
        leg.map_or_else(Codecs::default, |leg| self.codecs_of(leg.session))
    }

    fn codecs_beside(&self, call: &Call, but: LegId) -> Codecs {
        let legs = call.legs.iter().filter(|leg| **leg != but);
        let legs = legs.filter_map(|leg| self.legs.get(leg));
        // Who transfers goes when the one who is called comes.
        let attempt = call.attempt.as_ref().filter(|attempt| attempt.forks.contains(&but));
        let goes = attempt.and_then(|attempt| match attempt.purpose {
            Purpose::Transfer { by, .. } => Some(by),
            Purpose::Dial | Purpose::First { .. } | Purpose::Invite | Purpose::Add { .. } => None,
        });
        let legs = legs.filter(|leg| Some(leg.id) != goes);
        let hearer = self.legs.get(&but);
        let is_early = |leg: &Leg| leg.is_early && hearer.is_some_and(|hearer| self.hears_early(hearer, leg));
        let heard = legs.filter(|leg| leg.is_up() || call.caller == Some(leg.id) || is_early(leg));
        heard.fold(Codecs::all(), |common, leg| common.and(leg.codecs))
    }

    /// Candidates that the caller sent before this device rang.
    fn kept_signals(&self, call: &Call, attempt: &Attempt) -> Vec<(LegId, Signal)> {
        let caller = call.caller.filter(|_| attempt.purpose == Purpose::Dial);
        let of = |caller: LegId| {
            let candidates = call.candidates.iter().cloned();
            candidates.map(move |candidate| (caller, Signal::Candidate(candidate)))
        };
        caller.into_iter().flat_map(of).collect()
    }

    fn inviter(&self, by: Option<LegId>, otherwise: &Party) -> Party {
        let leg = by.and_then(|by| self.legs.get(&by));
        leg.map_or_else(|| otherwise.clone(), |leg| leg.party.clone())
    }

    /// The caller, or who transfers or adds, is told how far it is.
    pub(super) fn tell_progress(&mut self, id: CallId, state: LegState, early: Option<(LegId, Option<Payload>)>) {
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
                let (session, leg, notice) = (
                    caller.session,
                    caller.id,
                    Notice::Progress {
                        call: caller.id.call,
                        leg: caller.id,
                        request: caller.request,
                        state,
                        devices,
                        early,
                    },
                );
                if !self.retell_calling(leg, state, devices) {
                    self.notify(session, notice);
                }
            }
            Purpose::First { .. } | Purpose::Invite => {}
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

    /// Where the caller is told in this turn that its call begins, it is told once: with the devices that are called.
    fn retell_calling(&mut self, caller: LegId, state: LegState, count: usize) -> bool {
        let beginning = self.staged.iter_mut().find_map(|action| match action {
            Action::Notify {
                notice:
                    Notice::Progress {
                        leg,
                        state: LegState::Calling,
                        devices,
                        ..
                    },
                ..
            } if *leg == caller => Some(devices),
            _ => None,
        });
        match beginning {
            Some(devices) if state == LegState::Calling => {
                *devices = count;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn tell_transfer(&mut self, by: LegId, progress: TransferProgress) {
        let progress = match progress {
            TransferProgress::Failed(cause) => TransferProgress::Failed(cause.of_failure()),
            TransferProgress::Trying | TransferProgress::Ringing | TransferProgress::Done => progress,
        };
        if let Some(leg) = self.legs.get(&by) {
            let notice = Notice::Transfer {
                call: by.call,
                leg: by,
                progress,
            };
            self.notify(leg.session, notice);
        }
    }
}

/// Somebody of whom nothing is known but the number.
pub(super) fn party_of_number(number: &Number) -> Party {
    Party {
        number: number.clone(),
        name: Text::default(),
        device: Text::default(),
    }
}
