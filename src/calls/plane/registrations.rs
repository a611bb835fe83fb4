//! Devices come, go, are lost and come back.

use crate::action::{Notice, Registered, Reply, Report, UnregisterReason};
use crate::cause::Cause;
use crate::codec::Codecs;
use crate::event::{DeviceKind, RegisterEvent, Registration};
use crate::grants::Grants;
use crate::ids::{LegId, Number, RequestId, SessionId, Text};
use crate::limits::{DEVICES_MAX, NUMBERS_MAX, REGISTRATION_EXPIRES_MAX};
use crate::record::EndedBy;
use crate::refusal::Refusal;

use super::CallPlane;
use super::state::{Device, Leg};
use super::timers::Timer;

impl CallPlane {
    pub(super) fn handle_register(&mut self, event: RegisterEvent) {
        match event {
            RegisterEvent::Register { request, registration } => {
                // Who only refreshes has missed nothing.
                let device = self.devices.get(&registration.session);
                let begins_anew = device.is_none_or(|device| device.lost.is_some());
                match self.register(*registration) {
                    Ok(registered) => {
                        let session = registered.session;
                        self.reply(request, Reply::Registered(Box::new(registered)));
                        if begins_anew {
                            self.tell_again(session, true);
                        }
                    }
                    Err(refusal) => self.refuse(request, refusal),
                }
            }
            RegisterEvent::Unregister { request, session } => {
                if self.devices.contains_key(&session) {
                    self.remove_device(session, UnregisterReason::Requested);
                    self.reply(request, Reply::Done);
                } else {
                    self.refuse(request, Refusal::UnknownSession);
                }
            }
            RegisterEvent::Lost { session } => self.lose(session),
            RegisterEvent::Resume { request, session } => self.resume(request, session),
            RegisterEvent::Gone { session } => self.remove_device(session, UnregisterReason::Lost),
            RegisterEvent::Elsewhere { session, legs, is_busy } => self.set_elsewhere(session, (legs, is_busy)),
        }
    }

    pub(super) fn register(&mut self, mut registration: Registration) -> Result<Registered, Refusal> {
        if self.is_stopping {
            return Err(Refusal::Stopping);
        }
        if registration.codecs.is_empty() {
            registration.codecs = Codecs::all();
        }
        registration.meets &= registration.kind == DeviceKind::Phone;
        let (session, number) = (registration.session, registration.number.clone());
        let expires = registration.expires.unwrap_or(self.settings.registration_expires);
        let expires = expires.min(registration.valid_for.unwrap_or(REGISTRATION_EXPIRES_MAX));
        let expires = expires.min(REGISTRATION_EXPIRES_MAX);
        let name = registration.device.clone().filter(|name| !name.is_empty());
        let name = name.or_else(|| self.devices.get(&session).map(|device| device.name.clone()));
        // Others see it, so it says nothing of the session, which is a secret of the device.
        let name = name.unwrap_or_else(|| Text::new(&format!("device-{:032x}", (self.ids)())));
        if let Some(device) = self.devices.get_mut(&session) {
            let is_same = device.registration.number == number && device.name == name;
            if !is_same || device.registration.kind != registration.kind {
                return Err(Refusal::Duplicate);
            }
            device.registration = registration;
            device.expires = expires;
            device.registered = self.now;
            self.changed.sessions.insert(session);
            self.changed.numbers.insert(number);
            self.come_back(session);
            self.timers.set(Timer::Registration(session), self.after(expires));
            return self.registered(session).ok_or(Refusal::UnknownSession);
        }
        let replaced = self.device_named(&number, &name);
        let kind = |old| self.devices.get(&old).map(|device| device.registration.kind);
        if replaced.is_some_and(|old| kind(old) != Some(registration.kind)) {
            // A phone takes over no trunk, whose legs it could not have.
            return Err(Refusal::Duplicate);
        }
        if replaced.is_none() {
            self.make_room(&number)?;
        }
        let legs = replaced.map_or_else(Vec::new, |old| self.replace(old, session));
        let contact = registration.contact.clone();
        let device = Device {
            registration,
            name: name.clone(),
            registered: self.now,
            expires,
            lost: None,
            legs,
            elsewhere: (0, false),
            granted: Grants::default(),
            watched: Vec::new(),
        };
        self.devices.insert(session, device);
        self.numbers.entry(number.clone()).or_default().devices.push(session);
        self.timers.set(Timer::Registration(session), self.after(expires));
        self.changed.sessions.insert(session);
        self.changed.numbers.insert(number.clone());
        self.report(Report::Registration {
            number,
            device: name,
            contact,
            on: true,
        });
        self.registered(session).ok_or(Refusal::UnknownSession)
    }

    /// A place for one more device. Where the number has none left, the device that has been lost the longest gives up its
    /// own, unless it is in a call that it may come back to.
    fn make_room(&mut self, number: &Number) -> Result<(), Refusal> {
        let devices = self.numbers.get(number).map_or(&[][..], |entry| &entry.devices);
        if devices.len() >= self.settings.devices_per_number_max {
            let oldest = self.longest_lost(devices).ok_or(Refusal::TooManyDevices)?;
            self.remove_device(oldest, UnregisterReason::Lost);
        }
        if self.devices.len() >= DEVICES_MAX {
            return Err(Refusal::Full);
        }
        if self.numbers.len() >= NUMBERS_MAX && !self.numbers.contains_key(number) {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    fn longest_lost(&self, devices: &[SessionId]) -> Option<SessionId> {
        let is_up = |id: &LegId| self.legs.get(id).is_some_and(Leg::is_up);
        let devices = devices.iter().filter_map(|session| self.devices.get(session));
        let idle = devices.filter(|device| !device.legs.iter().any(is_up));
        let lost = idle.filter_map(|device| Some((device.lost?, device.registration.session)));
        lost.min().map(|(_, session)| session)
    }

    fn device_named(&self, number: &Number, name: &Text) -> Option<SessionId> {
        let mut sessions = self.numbers.get(number)?.devices.iter().copied();
        sessions.find(|session| self.devices.get(session).is_some_and(|device| device.name == *name))
    }

    /// Another session takes over a device with its legs: a page that was loaded anew, a socket that came back without
    /// what it knew.
    fn replace(&mut self, old: SessionId, new: SessionId) -> Vec<LegId> {
        let legs = self
            .devices
            .get_mut(&old)
            .map(|device| std::mem::take(&mut device.legs));
        let legs = legs.unwrap_or_default();
        for id in &legs {
            if let Some(leg) = self.legs.get_mut(id) {
                leg.session = new;
                self.changed.calls.insert(leg.call);
            }
            self.report_leg(*id);
        }
        self.remove_device(old, UnregisterReason::Replaced);
        legs
    }

    /// What the device is told about itself.
    fn registered(&self, session: SessionId) -> Option<Registered> {
        let device = self.devices.get(&session)?;
        Some(Registered {
            session,
            number: device.registration.number.clone(),
            device: device.name.clone(),
            expires: device.left(self.now),
            resume_for: self.settings.grace_up,
            calls: self.calls_of_device(device),
        })
    }

    fn set_elsewhere(&mut self, session: SessionId, elsewhere: (u16, bool)) {
        if let Some(device) = self.devices.get_mut(&session) {
            device.elsewhere = elsewhere;
            self.changed.numbers.insert(device.registration.number.clone());
        }
    }

    pub(super) fn lose(&mut self, session: SessionId) {
        let Some(device) = self.devices.get_mut(&session) else {
            return;
        };
        if device.lost.is_some() {
            return;
        }
        device.lost = Some(self.now.since_start);
        let (alerting, up) = (self.settings.grace_alerting, self.settings.grace_up);
        self.timers.set(Timer::GraceAlerting(session), self.after(alerting));
        self.timers.set(Timer::GraceUp(session), self.after(up));
    }

    fn resume(&mut self, request: RequestId, session: SessionId) {
        self.come_back(session);
        match self.registered(session) {
            Some(registered) => {
                self.reply(request, Reply::Resumed(Box::new(registered)));
                self.tell_again(session, false);
            }
            None => self.refuse(request, Refusal::UnknownSession),
        }
    }

    /// Who is in each call of a device that may have missed it. A device that begins anew knows nothing of what rings.
    fn tell_again(&mut self, session: SessionId, begins_anew: bool) {
        for id in self.legs_of(session) {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.told.clear();
                leg.told_recording = (false, false);
                self.changed.calls.insert(leg.call);
            }
            if begins_anew {
                self.tell_incoming(id);
            }
        }
    }

    /// It is registered for as long as it was: who only comes back again and again is not checked again.
    pub(super) fn come_back(&mut self, session: SessionId) {
        let Some(device) = self.devices.get_mut(&session) else {
            return;
        };
        device.lost = None;
        self.timers.clear(&Timer::GraceAlerting(session));
        self.timers.clear(&Timer::GraceUp(session));
    }

    /// A lost device has not come back in time for what is not up yet.
    pub(super) fn give_up_alerting(&mut self, session: SessionId) {
        for leg in self.legs_of(session) {
            if self.legs.get(&leg).is_some_and(|leg| !leg.is_up()) {
                self.drop_leg(leg, Cause::Unreachable, EndedBy::System);
            }
        }
    }

    /// A lost device has not come back at all.
    pub(super) fn give_up(&mut self, session: SessionId) {
        self.remove_device(session, UnregisterReason::Lost);
    }

    pub(super) fn expire(&mut self, session: SessionId) {
        self.remove_device(session, UnregisterReason::Expired);
    }

    pub(super) fn legs_of(&self, session: SessionId) -> Vec<LegId> {
        let legs = self.devices.get(&session).map(|device| device.legs.clone());
        legs.unwrap_or_default()
    }

    pub(super) fn remove_device(&mut self, session: SessionId, reason: UnregisterReason) {
        let cause = match reason {
            UnregisterReason::Requested => Cause::Normal,
            UnregisterReason::Expired | UnregisterReason::Replaced | UnregisterReason::Lost => Cause::Unreachable,
            UnregisterReason::Shutdown => Cause::Shutdown,
        };
        for leg in self.legs_of(session) {
            let by = match reason {
                UnregisterReason::Requested => EndedBy::Leg(leg),
                UnregisterReason::Expired
                | UnregisterReason::Replaced
                | UnregisterReason::Lost
                | UnregisterReason::Shutdown => EndedBy::System,
            };
            self.drop_leg(leg, cause, by);
        }
        let Some(device) = self.devices.remove(&session) else {
            return;
        };
        if !device.granted.is_empty() {
            self.grant(session, Grants::default());
        }
        for timer in [
            Timer::Registration(session),
            Timer::GraceAlerting(session),
            Timer::GraceUp(session),
        ] {
            self.timers.clear(&timer);
        }
        self.unwatch(session, &device.watched);
        self.call_watchers.remove(&session);
        let number = device.registration.number;
        if let Some(entry) = self.numbers.get_mut(&number) {
            entry.devices.retain(|other| *other != session);
        }
        self.changed.numbers.insert(number.clone());
        self.notify(session, Notice::Unregistered { reason });
        self.report(Report::Registration {
            number,
            device: device.name,
            contact: device.registration.contact,
            on: false,
        });
    }

    pub(super) fn shut_down(&mut self) {
        self.is_stopping = true;
        let calls: Vec<_> = self.calls.keys().copied().collect();
        for call in calls {
            self.end_call(call, Cause::Shutdown, EndedBy::System);
        }
        let sessions: Vec<_> = self.devices.keys().copied().collect();
        for session in sessions {
            self.remove_device(session, UnregisterReason::Shutdown);
        }
    }
}
