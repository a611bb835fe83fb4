//! What a switch knew that was started again: devices that may come back to it, and the calls that they were in.

use std::time::Duration;

use crate::cause::Cause;
use crate::event::Registration;
use crate::ids::{CallId, LegId};
use crate::limits::CALLS_MAX;
use crate::moment::Now;
use crate::record::EndedBy;
use crate::state::LegState;
use crate::view::{CallView, LegView};

use super::CallPlane;
use super::state::{Call, Leg};
use super::timers::Timer;

impl CallPlane {
    /// Takes over what a plane knew that is no more, before anything else happens. Its devices are lost until they resume, or
    /// register again by the names that they had. Calls that were up go on for as long as devices may be lost; all others
    /// are over, and have their records. What was before the monotonic clock began counts as of its beginning: an adapter
    /// whose clock begins late loses durations.
    pub fn restore(&mut self, now: Now, devices: Vec<Registration>, calls: Vec<CallView>) {
        self.restore_quietly(now, devices, calls);
        self.settle();
    }

    /// Without a word to anybody so far.
    pub(super) fn restore_quietly(&mut self, now: Now, devices: Vec<Registration>, calls: Vec<CallView>) {
        self.advance_clock(now);
        for registration in devices {
            let session = registration.session;
            // Who finds no room registers again, as anybody does.
            if self.register(registration).is_ok() {
                self.lose(session);
            }
        }
        for view in calls {
            self.restore_call(&view);
        }
    }

    fn restore_call(&mut self, view: &CallView) {
        let id = view.call;
        if self.calls.len() >= self.settings.calls_max.min(CALLS_MAX) || self.calls.contains_key(&id) {
            return;
        }
        let call = Call {
            id,
            from: view.from.clone(),
            by: None,
            dialled: view.dialled.clone(),
            caller: None,
            started: self.then(view.start_ms),
            rang: view.ring_ms.map(|at| self.then(at)),
            answered: view.answer_ms.map(|at| self.then(at)),
            answered_by: view.answered_by.clone(),
            legs: Vec::new(),
            legs_ever: 0,
            attempt: None,
            is_controlled: false,
            rule: None,
            queue: view.queue.clone(),
            music: self.settings.music.clone(),
            metadata: None,
            sdp: None,
            candidates: Vec::new(),
            is_recorded: false,
            is_recording_paused: false,
            was_recorded: view.recorded,
            transfers: Vec::new(),
            transfers_left_out: 0,
            media_at: None,
            codecs_told: Vec::new(),
        };
        let lasted = self.now.since_start.saturating_sub(call.started.since_start);
        let left = self.settings.call_duration_max.saturating_sub(lasted);
        self.calls.insert(id, call);
        self.changed.calls.insert(id);
        self.timers.set(Timer::Duration(id), self.after(left));
        if !self.settings.half_dead.is_zero() {
            self.timers
                .set(Timer::HalfDead(id), self.after(self.settings.half_dead));
        }
        for leg in &view.legs {
            self.restore_leg(id, leg);
        }
        // What was not up, or has nobody left to come back, has a record.
        self.review(id, Cause::Internal, EndedBy::System);
    }

    /// Its number is what it was, since it is a part of paths. It is that of whoever has the device by now.
    fn restore_leg(&mut self, call: CallId, view: &LegView) {
        let id: LegId = view.leg;
        if view.state != LegState::Up || self.legs.contains_key(&id) {
            return;
        }
        let Ok(fresh) = self.add_leg(call, view.session, view.role) else {
            return;
        };
        let Some(mut leg) = self.legs.remove(&fresh) else {
            return;
        };
        leg = Leg {
            id,
            state: LegState::Up,
            holds: view.holds,
            muted: view.muted,
            alias: view.alias.clone(),
            started: self.then(view.start_ms),
            rang: view.ring_ms.map(|at| self.then(at)),
            answered: view.answer_ms.map(|at| self.then(at)),
            ..leg
        };
        if let Some(device) = self.devices.get_mut(&leg.session) {
            device
                .legs
                .iter_mut()
                .filter(|own| **own == fresh)
                .for_each(|own| *own = id);
        }
        let is_caller = leg.role == crate::view::LegRole::Caller;
        let trunk = self.trunk_of(leg.session).cloned();
        if let Some(call) = self.calls.get_mut(&call) {
            call.legs
                .iter_mut()
                .filter(|own| **own == fresh)
                .for_each(|own| *own = id);
            // Legs that come later have numbers of their own.
            call.legs_ever = call.legs_ever.max(if id.call == call.id { id.leg.0 } else { 0 });
            if is_caller {
                call.caller = Some(id);
                call.by = trunk;
            }
        }
        self.changed.sessions.insert(leg.session);
        self.changed.numbers.insert(leg.party.number.clone());
        self.legs.insert(id, leg);
        self.report_leg(id);
    }

    /// A time on the wall as both clocks showed it. What was before the monotonic clock began was when it began.
    fn then(&self, unix_ms: u64) -> Now {
        let passed = Duration::from_millis(self.now.unix_ms.saturating_sub(unix_ms));
        Now {
            since_start: self.now.since_start.saturating_sub(passed),
            unix_ms,
            ..self.now
        }
    }
}
