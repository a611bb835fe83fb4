//! Requests of devices and programs: whose leg is meant, and who carries it out.

use crate::action::{Action, MediaAction, Notice, Reply, Report};
use crate::codec::{Codec, Codecs};
use crate::event::{Actor, CallEvent, Signal};
use crate::ids::{CallId, LegId, RequestId, SessionId, Text};
use crate::limits::{CANDIDATE_BYTES_KEPT_MAX, CANDIDATES_KEPT_MAX, DTMF_DIGITS_MAX};
use crate::refusal::Refusal;
use crate::state::LegState;

use super::CallPlane;
use super::legs::first_such;
use super::state::{Leg, Purpose};

impl CallPlane {
    pub(super) fn handle_call(&mut self, request: RequestId, actor: Actor, event: CallEvent) {
        match self.carry_out(request, actor, event) {
            Ok(true) => self.reply(request, Reply::Done),
            Ok(false) => {}
            Err(refusal) => self.refuse(request, refusal),
        }
    }

    /// False: the reply was given, as it has to come before what follows from the request.
    fn carry_out(&mut self, request: RequestId, actor: Actor, event: CallEvent) -> Result<bool, Refusal> {
        match event {
            CallEvent::Dial(dial) => return self.dial(request, actor, *dial).map(|()| false),
            CallEvent::Originate {
                from,
                to,
                call,
                timeout,
            } => {
                return self.originate(request, actor, from, to, call, timeout).map(|()| false);
            }
            CallEvent::Replace(replace) => return self.come_for(request, actor, *replace).map(|()| false),
            CallEvent::Codecs { call, codecs, speaks } => {
                let leg = self.leg_of(actor, call)?;
                self.set_codecs(leg, codecs, speaks)?;
            }
            CallEvent::Ringing { call, early_media, sdp } => {
                let leg = self.fork_of(actor, call)?;
                self.ring(leg, early_media, sdp)?;
            }
            CallEvent::Answer { call, sdp } => {
                let leg = self.fork_of(actor, call)?;
                if matches!(actor, Actor::Api { .. }) && !self.meets(leg) {
                    return Err(Refusal::AnswersItself);
                }
                self.answer(leg, sdp)?;
            }
            CallEvent::Reject { call, reason, scope } => {
                let leg = self.fork_of(actor, call)?;
                self.reject(leg, reason, scope)?;
            }
            CallEvent::Forward { call, to } => {
                let leg = self.fork_of(actor, call)?;
                self.forward(leg, to)?;
            }
            CallEvent::Hangup { call, cause } => match actor {
                Actor::Session(_) | Actor::Leg(_) => {
                    let leg = self.leg_of(actor, call)?;
                    self.hang_up(leg, cause);
                }
                Actor::Api { .. } => self.hang_up_all(call, cause)?,
            },
            CallEvent::Hold { call, hold } => {
                let leg = self.leg_of(actor, call)?;
                self.hold(leg, hold)?;
            }
            CallEvent::Mute { call, muted } => {
                let leg = self.leg_of(actor, call)?;
                self.mute(leg, muted)?;
            }
            CallEvent::Dtmf { call, digits, duration } => {
                let leg = self.leg_of(actor, call)?;
                self.dtmf(leg, digits, duration)?;
            }
            CallEvent::Transfer { call, to } => return self.transfer(request, actor, call, to).map(|()| false),
            CallEvent::Add { call, to } => return self.add(request, actor, call, to).map(|()| false),
            CallEvent::Remove { call, leg } => self.remove(actor, call, leg)?,
            CallEvent::Merge { call, other } => self.merge(actor, call, other)?,
            CallEvent::Signal { call, to, signal } => {
                let leg = self.leg_of(actor, call)?;
                self.signal(leg, to, signal)?;
            }
            CallEvent::Record { call, on } => self.record_of(actor, call, on)?,
            CallEvent::Lecture { call, speakers } => self.lecture(actor, call, speakers)?,
            CallEvent::PauseRecording { call, paused } => self.pause_recording_of(actor, call, paused)?,
        }
        Ok(true)
    }

    /// The leg that a request is about. A device knows a call by the id that its leg began with. Where only the session is
    /// known it is the first of its legs that is up.
    pub(super) fn leg_of(&self, actor: Actor, call: CallId) -> Result<LegId, Refusal> {
        self.leg_such(actor, call, Leg::is_up)
    }

    /// The same for who is called: where only the session is known it is the first of its legs that is called.
    fn fork_of(&self, actor: Actor, call: CallId) -> Result<LegId, Refusal> {
        self.leg_such(actor, call, |leg| self.check_fork(leg.id).is_ok())
    }

    fn leg_such(&self, actor: Actor, call: CallId, is_so: impl Fn(&Leg) -> bool) -> Result<LegId, Refusal> {
        match actor {
            Actor::Session(session) => {
                if !self.devices.contains_key(&session) {
                    return Err(Refusal::UnknownSession);
                }
                let begun = first_such(self.legs_begun_in(session, call), &is_so);
                let leg = begun.or_else(|| first_such(self.legs_in(session, call), &is_so));
                leg.ok_or(Refusal::UnknownCall)
            }
            Actor::Leg(id) => {
                let leg = self.legs.get(&id).ok_or(Refusal::UnknownCall)?;
                let is_in_it = id.call == call || leg.call == call;
                is_in_it.then_some(id).ok_or(Refusal::UnknownCall)
            }
            Actor::Api { leg } => {
                let call = self.calls.get(&call).ok_or(Refusal::UnknownCall)?;
                let Some(number) = leg else {
                    let leg = call.caller.or_else(|| call.legs.first().copied());
                    return leg.ok_or(Refusal::UnknownLeg);
                };
                let own = call.legs.iter().find(|leg| leg.call == call.id && leg.leg == number);
                let leg = own.or_else(|| call.legs.iter().find(|leg| leg.leg == number));
                leg.copied().ok_or(Refusal::UnknownLeg)
            }
        }
    }

    /// The session that a request is of. None: a program's.
    pub(super) fn session_of(&self, actor: Actor) -> Result<Option<SessionId>, Refusal> {
        match actor {
            Actor::Session(session) => Ok(Some(session)),
            Actor::Leg(leg) => self
                .legs
                .get(&leg)
                .map(|leg| Some(leg.session))
                .ok_or(Refusal::UnknownCall),
            Actor::Api { .. } => Ok(None),
        }
    }

    /// Can the device of this leg be made to answer?
    fn meets(&self, leg: LegId) -> bool {
        let device = self.legs.get(&leg).and_then(|leg| self.devices.get(&leg.session));
        device.is_some_and(|device| device.registration.meets)
    }

    fn is_transferring(&self, id: LegId) -> bool {
        let call = self.legs.get(&id).and_then(|leg| self.calls.get(&leg.call));
        let purpose = call.and_then(|call| Some(&call.attempt.as_ref()?.purpose));
        matches!(purpose, Some(Purpose::Transfer { by, .. }) if *by == id)
    }

    /// Legs that are up hold and go on; each for itself.
    fn hold(&mut self, id: LegId, hold: bool) -> Result<(), Refusal> {
        let leg = self.legs.get_mut(&id).ok_or(Refusal::UnknownLeg)?;
        if leg.state != LegState::Up || leg.is_supervisor() {
            return Err(Refusal::WrongState);
        }
        if self.is_transferring(id) {
            return Err(Refusal::Pending);
        }
        self.set_hold(id, hold);
        Ok(())
    }

    /// Everybody in the call is told, the one who holds as well.
    pub(super) fn set_hold(&mut self, id: LegId, hold: bool) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        if leg.holds == hold {
            return;
        }
        leg.holds = hold;
        let call = leg.call;
        self.wait_for_media_anew(call);
        self.changed.calls.insert(call);
        let told: Vec<(SessionId, LegId)> = self.up(call);
        for (session, leg) in told {
            let music = self.music_for(leg);
            self.notify(
                session,
                Notice::Held {
                    call: leg.call,
                    leg,
                    by: id,
                    hold,
                    music,
                },
            );
        }
        self.report_leg(id);
    }

    /// Of what the device registered with, and what the caller's profile allows.
    fn set_codecs(&mut self, id: LegId, codecs: Codecs, speaks: Option<Codec>) -> Result<(), Refusal> {
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let listed = speaks.map_or(codecs, |codec| codecs.with(codec));
        let allowed = self.codecs_of(leg.session).and(listed);
        if allowed.is_empty() || speaks.is_some_and(|codec| !allowed.contains(codec)) {
            return Err(Refusal::Incompatible);
        }
        let call = leg.call;
        if let Some(leg) = self.legs.get_mut(&id) {
            if (leg.codecs, leg.speaks) != (allowed, speaks) {
                leg.asked_to_speak = None;
            }
            (leg.codecs, leg.speaks) = (allowed, speaks);
        }
        self.changed.calls.insert(call);
        Ok(())
    }

    fn mute(&mut self, id: LegId, muted: bool) -> Result<(), Refusal> {
        let leg = self.legs.get_mut(&id).ok_or(Refusal::UnknownLeg)?;
        if leg.state != LegState::Up {
            return Err(Refusal::WrongState);
        }
        if leg.muted == muted {
            return Ok(());
        }
        leg.muted = muted;
        let call = leg.call;
        self.wait_for_media_anew(call);
        self.changed.calls.insert(call);
        if self.legs.get(&id).is_some_and(|leg| self.is_told_of(leg)) {
            for (session, leg) in self.others_up(call, id) {
                let (call, by) = (leg.call, id);
                self.notify(session, Notice::Muted { call, leg, by, muted });
            }
        }
        Ok(())
    }

    fn dtmf(&mut self, id: LegId, digits: Text, duration: std::time::Duration) -> Result<(), Refusal> {
        let text = digits.as_str();
        let is_digit = |character: char| character.is_ascii_digit() || "ABCD*#,".contains(character);
        if text.is_empty() || text.len() > DTMF_DIGITS_MAX || !text.chars().all(is_digit) {
            return Err(Refusal::Malformed);
        }
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        if !leg.is_up() {
            return Err(Refusal::WrongState);
        }
        let hearers = self.others_up(leg.call, id);
        let hearers = hearers.into_iter().filter(|(_, hearer)| self.hears(*hearer, id));
        for (session, leg) in hearers.collect::<Vec<_>>() {
            self.notify(
                session,
                Notice::Dtmf {
                    call: leg.call,
                    leg,
                    by: id,
                    digits: digits.clone(),
                    duration,
                },
            );
        }
        self.report(Report::Dtmf { by: id, digits });
        Ok(())
    }

    /// SDP and candidates go to a leg that is there, up or not: browsers begin to connect while it rings.
    fn signal(&mut self, id: LegId, to: Option<LegId>, signal: Signal) -> Result<(), Refusal> {
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let call = self.calls.get(&leg.call).ok_or(Refusal::UnknownCall)?;
        let others = call.legs.iter().copied().filter(|other| *other != id);
        let receivers: Vec<LegId> = match to {
            Some(to) => others.filter(|other| *other == to).collect(),
            // From the caller to all that ring, from those to the caller.
            None if leg.is_up() => others
                .filter(|other| {
                    self.legs
                        .get(other)
                        .is_some_and(|other| other.is_up() && !other.is_supervisor())
                })
                .collect(),
            None if call.caller == Some(id) => others.collect(),
            None => call.caller.into_iter().collect(),
        };
        let is_kept = to.is_none() && self.keep_signal(id, &signal);
        if receivers.is_empty() && !is_kept {
            return Err(if to.is_some() {
                Refusal::UnknownLeg
            } else {
                Refusal::WrongState
            });
        }
        for receiver in receivers {
            let Some(other) = self.legs.get(&receiver) else {
                continue;
            };
            let (session, call) = (other.session, other.id.call);
            self.notify(
                session,
                Notice::Signal {
                    call,
                    leg: receiver,
                    by: id,
                    signal: signal.clone(),
                },
            );
        }
        Ok(())
    }

    /// What a caller says before the answer is kept for devices that ring later: its latest offer, and the candidates that
    /// belong to it. Those that find no room reach whoever rings by now. False: it is not kept.
    fn keep_signal(&mut self, id: LegId, signal: &Signal) -> bool {
        let call = self.legs.get(&id).map(|leg| leg.call);
        let Some(call) = call.and_then(|call| self.calls.get_mut(&call)) else {
            return false;
        };
        if call.caller != Some(id) || call.answered.is_some() {
            return false;
        }
        match signal {
            Signal::Offer(offer) => {
                call.candidates.clear();
                call.sdp = Some(offer.clone());
            }
            Signal::Candidate(candidate) => {
                let bytes: usize = call.candidates.iter().map(|kept| kept.as_str().len()).sum();
                let has_room = call.candidates.len() < CANDIDATES_KEPT_MAX
                    && bytes + candidate.as_str().len() <= CANDIDATE_BYTES_KEPT_MAX;
                if !has_room {
                    return false;
                }
                call.candidates.push(candidate.clone());
            }
            Signal::Answer(_) => return false,
        }
        true
    }

    /// Records a call, or stops.
    pub(super) fn record(&mut self, id: CallId, on: bool) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.is_recorded == on {
            return;
        }
        call.is_recorded = on;
        call.is_recording_paused = false;
        call.was_recorded |= on;
        self.changed.calls.insert(id);
        self.staged.push(Action::Media(MediaAction::Record { call: id, on }));
        self.tell_recording(id);
    }

    fn record_of(&mut self, actor: Actor, call: CallId, on: bool) -> Result<(), Refusal> {
        let leg = self.leg_of(actor, call)?;
        let leg = self.legs.get(&leg).ok_or(Refusal::UnknownLeg)?;
        if !leg.is_up() && !matches!(actor, Actor::Api { .. }) {
            return Err(Refusal::WrongState);
        }
        self.record(leg.call, on);
        Ok(())
    }

    fn pause_recording_of(&mut self, actor: Actor, call: CallId, paused: bool) -> Result<(), Refusal> {
        let leg = self.leg_of(actor, call)?;
        let leg = self.legs.get(&leg).ok_or(Refusal::UnknownLeg)?;
        let call = leg.call;
        if !self.calls.get(&call).is_some_and(|call| call.is_recorded) {
            return Err(Refusal::WrongState);
        }
        self.pause_recording(call, paused);
        Ok(())
    }

    /// Nothing is written of a call that is recorded, or is again.
    pub(super) fn pause_recording(&mut self, id: CallId, paused: bool) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if !call.is_recorded || call.is_recording_paused == paused {
            return;
        }
        call.is_recording_paused = paused;
        self.staged
            .push(Action::Media(MediaAction::PauseRecording { call: id, paused }));
        self.tell_recording(id);
    }

    /// Every leg that is up is told once, whether it was when the recording began or comes later.
    pub(super) fn tell_recording(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let state = (call.is_recorded, call.is_recording_paused);
        let (on, paused) = state;
        let tone = Some(self.settings.recording_tone).filter(|tone| on && !paused && !tone.is_zero());
        for (session, leg) in self.up(id) {
            let Some(own) = self.legs.get_mut(&leg) else { continue };
            if std::mem::replace(&mut own.told_recording, state) == state {
                continue;
            }
            let notice = Notice::Recording {
                call: leg.call,
                leg,
                on,
                paused,
                tone,
            };
            self.notify(session, notice);
        }
    }

    /// Every leg that is up in a call.
    pub(super) fn up(&self, call: CallId) -> Vec<(SessionId, LegId)> {
        let legs = self.calls.get(&call).map_or(&[][..], |call| &call.legs);
        let legs = legs.iter().filter_map(|id| self.legs.get(id));
        legs.filter(|leg| leg.is_up())
            .map(|leg| (leg.session, leg.id))
            .collect()
    }

    pub(super) fn report_leg(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get(&id) {
            let view = Box::new(leg.view());
            self.report(Report::Leg(view));
        }
    }
}
