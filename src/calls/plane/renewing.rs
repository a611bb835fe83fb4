//! A plane that failed in the middle of an event is followed by another. Nothing of it is trusted but what can be read: devices
//! stay registered, calls that were up go on with their legs and grants, so that media does not stop; whatever was under way
//! ends with [`Cause::Internal`], and has its record.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::{Action, Ended, Notice, Report};
use crate::cause::Cause;
use crate::event::Registration;
use crate::ids::{CallId, Number, SessionId};
use crate::limits::CALLS_MAX;
use crate::moment::Now;
use crate::record::{EndedBy, LegRecord};
use crate::state::LegState;
use crate::view::{CallView, LegView};

use super::CallPlane;
use super::state::Device;
use super::timers::Timer;

impl CallPlane {
    /// Begins anew with what is left. Take every action before, as far as that can be done, and afterwards. Transfers, queues and
    /// dialogs of control programs are not taken over.
    pub fn renew(&mut self, now: Now) {
        let ids = std::mem::replace(&mut self.ids, Box::new(|| 0));
        let mut new = Self::new(self.settings.clone(), std::mem::take(&mut self.dialplan), ids);
        new.now = self.now;
        new.is_stopping = self.is_stopping;
        new.hooks_asked = self.hooks_asked;
        new.controlled = std::mem::take(&mut self.controlled);
        new.books = std::mem::take(&mut self.books);
        new.counted = std::mem::take(&mut self.counted);
        new.begun = std::mem::take(&mut self.begun);
        new.take_numbers(self);
        let views: Vec<CallView> = self.calls(None, CALLS_MAX).into_iter().map(without_dialogs).collect();
        let lost: BTreeSet<SessionId> = self.lost_devices();
        let devices: Vec<Registration> = self
            .devices
            .values()
            .map(|device| self.registration_of(device))
            .collect();
        let dialogs = self.dialogs();
        new.drop_legs(&views);
        new.restore_quietly(now, devices, views);
        new.return_devices(&lost, self);
        new.take_details(self);
        for call in new
            .books
            .iter()
            .filter(|(_, book)| book.is_waiting())
            .map(|(call, _)| *call)
        {
            new.timers
                .set(Timer::Record(call), new.after(new.settings.counters_wait));
        }
        new.end_dialogs(&dialogs);
        new.settle();
        // They were told of when they registered.
        new.actions
            .retain(|action| !matches!(action, Action::Report(Report::Registration { .. })));
        *self = new;
    }

    fn lost_devices(&self) -> BTreeSet<SessionId> {
        let lost = self.devices.iter().filter(|(_, device)| device.lost.is_some());
        lost.map(|(session, _)| *session).collect()
    }

    /// It is registered for as long as it was.
    fn registration_of(&self, device: &Device) -> Registration {
        let passed = self.now.since_start.saturating_sub(device.registered.since_start);
        let left = |whole: Duration| whole.saturating_sub(passed).max(Duration::from_secs(1));
        Registration {
            device: Some(device.name.clone()),
            expires: Some(left(device.expires)),
            valid_for: device.registration.valid_for.map(left),
            ..device.registration.clone()
        }
    }

    /// Numbers that exist without devices, and how their agents are.
    fn take_numbers(&mut self, old: &Self) {
        for (number, entry) in &old.numbers {
            if entry.is_declared || !entry.devices.is_empty() {
                let new = self.numbers.entry(number.clone()).or_default();
                new.is_declared = entry.is_declared;
                new.agent = entry.agent;
                new.last_call = entry.last_call;
                new.last_offer = entry.last_offer;
            }
        }
    }

    /// Legs that were not up end: their devices are told, and they have records.
    fn drop_legs(&mut self, views: &[CallView]) {
        for leg in views.iter().flat_map(|view| &view.legs) {
            if leg.state == LegState::Up {
                continue;
            }
            let ended = Ended {
                call: leg.leg.call,
                leg: leg.leg,
                request: None,
                alias: leg.alias.clone(),
                cause: Cause::Internal,
                by: EndedBy::System,
                answered_by: None,
                duration: Duration::ZERO,
                setup: None,
                mos: None,
            };
            self.notify(leg.session, Notice::Ended(Box::new(ended)));
            let view = LegView {
                state: LegState::Hangup,
                end_ms: Some(self.now.unix_ms),
                cause: Some(Cause::Internal),
                ..leg.clone()
            };
            self.report(Report::Leg(Box::new(view)));
            self.file_leg(self.record_of_dropped(leg));
        }
    }

    fn record_of_dropped(&self, leg: &LegView) -> LegRecord {
        LegRecord {
            leg: leg.leg,
            call: leg.call,
            party: leg.party.clone(),
            role: leg.role,
            times: crate::record::Times {
                start_ms: leg.start_ms,
                ring_ms: leg.ring_ms,
                answer_ms: leg.answer_ms,
                end_ms: self.now.unix_ms,
                ..Default::default()
            },
            cause: Cause::Internal,
            by: EndedBy::System,
            codec: leg.sends,
            counters: None,
            quality: Default::default(),
        }
    }

    /// Those that were there are there, and watch what they watched.
    fn return_devices(&mut self, lost: &BTreeSet<SessionId>, old: &Self) {
        let sessions: Vec<SessionId> = self.devices.keys().copied().collect();
        for session in sessions {
            if !lost.contains(&session) {
                self.come_back(session);
            }
            let watched: Vec<Number> = old
                .devices
                .get(&session)
                .map(|device| device.watched.clone())
                .unwrap_or_default();
            for number in &watched {
                let told = old.numbers.get(number).map(|entry| entry.told).unwrap_or_default();
                let entry = self.numbers.entry(number.clone()).or_default();
                entry.watchers.push(session);
                entry.told = told;
                self.changed.numbers.insert(number.clone());
            }
            if let Some(device) = self.devices.get_mut(&session) {
                device.watched = watched;
                if let Some(old) = old.devices.get(&session) {
                    device.elsewhere = old.elsewhere;
                }
            }
            if old.call_watchers.contains(&session) {
                self.call_watchers.insert(session);
            }
        }
    }

    /// Legs and calls that go on are what they were in all that no view shows.
    fn take_details(&mut self, old: &mut Self) {
        for (id, leg) in &mut self.legs {
            if let Some(old) = old.legs.remove(id).filter(|old| old.session == leg.session) {
                *leg = old;
            }
        }
        for (id, call) in &mut self.calls {
            let Some(old) = old.calls.remove(id) else { continue };
            call.by = old.by;
            call.lecture = old.lecture;
            call.legs_ever = old.legs_ever;
            call.rule = old.rule;
            call.music = old.music;
            call.metadata = old.metadata;
            call.sdp = old.sdp;
            call.candidates = old.candidates;
            call.is_recorded = old.is_recorded;
            call.is_recording_paused = old.is_recording_paused;
            call.was_recorded = old.was_recorded;
            call.transfers = old.transfers;
            call.transfers_left_out = old.transfers_left_out;
            call.media_at = old.media_at;
            call.codecs_told = old.codecs_told;
        }
    }

    /// What control programs decide on, with the calls that it is in.
    fn dialogs(&self) -> BTreeSet<(CallId, CallId)> {
        let controlled = self.legs.values().filter(|leg| leg.is_controlled);
        controlled.map(|leg| (leg.id.call, leg.call)).collect()
    }

    /// Programs are told that it is over.
    fn end_dialogs(&mut self, dialogs: &BTreeSet<(CallId, CallId)>) {
        for (dialog, call) in dialogs {
            self.dialog_is_over(*dialog, Cause::Internal, EndedBy::System, *call);
        }
    }
}

/// A call that a program decided on does not go on.
fn without_dialogs(view: CallView) -> CallView {
    let is_controlled = view.legs.iter().any(|leg| leg.is_controlled);
    let legs = view.legs.clone().into_iter().map(|leg| LegView {
        state: if is_controlled { LegState::Calling } else { leg.state },
        ..leg
    });
    CallView {
        legs: legs.collect(),
        ..view
    }
}
