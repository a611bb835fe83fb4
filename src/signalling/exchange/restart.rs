//! What is noted for a restart, and what is made of it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use moqswitch_calls::{
    CallId, CallState, CallView, Event, LegId, LegRole, LegState, LegView, Number, Party, RegisterEvent, Registration,
    SessionId, Text,
};
use serde_json::Value;

use super::line::Line;
use super::session::Session;
use super::{Asker, Exchange, draw, unix_ms};
use crate::access::{Door, Proof};
use crate::journal::{CallEntry, DeviceEntry, Entry, Found, Journal, LegEntry, PartyEntry, SessionHash};
use crate::messages::{self, MessageId};
use crate::records::{Filter, Row};

impl Exchange {
    /// Takes over what there was before, and notes what is from here on. Who does not come back in time is gone, and the
    /// calls with them: those have records then.
    pub(crate) fn keep_journal(&mut self, journal: Journal, found: Found) {
        let now = unix_ms();
        let mut registrations = Vec::new();
        for (hash, entry) in found.devices {
            let registration = registration_of(SessionId(draw(&self.random)), &entry);
            match registration.filter(|_| entry.until_ms > now) {
                Some(registration) => {
                    self.returning.by_hash.insert(hash, registration.session);
                    self.returning.devices.insert(registration.session, entry);
                    registrations.push(registration);
                }
                None => journal.note(Entry::Gone(hash)),
            }
        }
        let mut calls = Vec::new();
        let everything = Filter::default();
        let recorded: HashSet<String> = self.records(&everything).map(|row| row.call.clone()).collect();
        for (id, entry) in found.calls {
            match self.call_of(&entry).filter(|_| !recorded.contains(&id)) {
                Some(view) => calls.push(view),
                None => journal.note(Entry::Over(id)),
            }
        }
        let (devices, ongoing) = (registrations.len(), calls.len());
        self.journal = Some(journal);
        self.restore_domains(found.domains);
        for (id, record) in found.ended {
            if recorded.contains(&id) || Row::of(&record).is_none() {
                self.note_over(&id);
            } else {
                self.keep(&record);
            }
        }
        let now = self.now();
        self.plane.restore(now, registrations, calls);
        self.carry_out();
        if devices + ongoing > 0 {
            tracing::info!(
                devices,
                calls = ongoing,
                "devices may come back, and calls go on, from before the start"
            );
        }
    }

    /// A device that was there before the start is back. False: it was not, or may not.
    pub(crate) fn revive(
        &mut self,
        session: SessionId,
        after: u64,
        id: Option<MessageId>,
        line: &Line,
        door: &Door,
        peer: Option<IpAddr>,
    ) -> bool {
        let hash = SessionHash::of(session).to_string();
        let place = self.returning.by_hash.get(&hash).copied();
        let Some(entry) = place.and_then(|place| self.returning.devices.get(&place)).cloned() else {
            return false;
        };
        let Some(registration) = registration_of(session, &entry) else {
            return false;
        };
        let proof = entry.proof.as_deref().map_or(Some(Proof::default()), Proof::parse);
        let Some(proof) = proof.filter(|proof| door.stands_by(&registration.number, *proof, peer)) else {
            return false;
        };
        let dialect = messages::Dialect::Payload;
        let device = registration.device.clone().unwrap_or_default();
        let number = registration.number.clone();
        let mut own = Session::new(number, device, dialect, entry.rings_itself, line.clone());
        own.begin_after(after);
        own.proof = proof;
        own.entry = Some(entry);
        self.sessions.insert(session, own);
        let request = self.request_id(Asker::Registration {
            session,
            id,
            after: Some(after),
        });
        // It takes the place of what stood in for it, with its calls.
        let registration = Box::new(registration);
        self.handle(Event::Register(RegisterEvent::Register { request, registration }));
        if self.refusal.take().is_some() {
            self.sessions.remove(&session);
            return false;
        }
        self.note_device(session);
        true
    }

    /// Notes a device as it is.
    pub(super) fn note_device(&mut self, session: SessionId) {
        let Some(journal) = &self.journal else { return };
        let Some(entry) = self.sessions.get_mut(&session).and_then(|own| own.entry.as_mut()) else {
            return;
        };
        entry.until_ms = unix_ms().saturating_add(entry.expires_ms);
        journal.note(Entry::Device(entry.clone()));
    }

    /// A device that registers, as it is noted. None: nothing is, or it has no word for coming back.
    pub(super) fn entry_of(
        &self,
        registration: &Registration,
        dialect: messages::Dialect,
        rings_itself: bool,
        proof: Proof,
    ) -> Option<Box<DeviceEntry>> {
        if self.journal.is_none() || dialect == messages::Dialect::Flat {
            return None;
        }
        let expires = registration
            .expires
            .unwrap_or(moqswitch_calls::limits::REGISTRATION_EXPIRES);
        let expires = expires.min(moqswitch_calls::limits::REGISTRATION_EXPIRES_MAX);
        Some(Box::new(DeviceEntry {
            session: SessionHash::of(registration.session).to_string(),
            dn: registration.number.to_string(),
            device: registration.device.as_ref().map(Text::to_string).unwrap_or_default(),
            display_name: registration.display_name.to_string(),
            ringable: registration.ringable,
            supervisor: registration.supervisor,
            codecs: registration
                .codecs
                .iter()
                .map(|codec| codec.name().to_owned())
                .collect(),
            rings_itself,
            proof: proof.hexadecimal(),
            expires_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
            until_ms: 0,
            valid_until_ms: registration
                .valid_for
                .map(|left| unix_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))),
        }))
    }

    /// A session is over. What the process takes with it may come back.
    pub(super) fn note_gone(&mut self, session: SessionId, is_shutdown: bool) {
        let stood_in = self.returning.devices.remove(&session);
        if let Some(entry) = &stood_in {
            self.returning.by_hash.remove(&entry.session);
        }
        let Some(journal) = self.journal.as_ref().filter(|_| !is_shutdown) else {
            return;
        };
        match stood_in {
            Some(entry) => journal.note(Entry::Gone(entry.session.clone())),
            None if self.sessions.get(&session).is_some_and(|own| own.entry.is_some()) => {
                journal.note(Entry::gone(session));
            }
            None => {}
        }
    }

    /// Notes the calls that have changed in this turn.
    pub(super) fn note_calls(&mut self) {
        let changed = std::mem::take(&mut self.changed_calls);
        let Some(journal) = &self.journal else { return };
        for call in changed {
            if let Some(view) = self.plane.call(call) {
                journal.note(Entry::Call(Box::new(CallEntry::of(&view))));
            }
        }
    }

    /// A call is over. What is known of it stays in the journal until the disk has its record.
    pub(super) fn note_ended(&mut self, call: CallId, record: &Value) {
        self.changed_calls.remove(&call);
        self.note(Entry::Ended(record.clone()));
    }

    /// Nothing more can be done for a record, or has to be.
    pub(super) fn note_over(&self, call: &str) {
        self.note(Entry::Over(call.to_owned()));
    }

    pub(super) fn note(&self, entry: Entry) {
        if let Some(journal) = &self.journal {
            journal.note(entry);
        }
    }

    /// No entry comes any more.
    pub(crate) fn take_journal(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    fn call_of(&self, entry: &CallEntry) -> Option<CallView> {
        let party = |party: &PartyEntry| {
            Some(Party {
                number: Number::new(&party.dn).ok()?,
                name: Text::new(&party.name),
                device: Text::new(&party.device),
            })
        };
        let from = party(&entry.from)?;
        let call: CallId = entry.call.parse().ok()?;
        Some(CallView {
            call,
            state: CallState::Up,
            dialled: Number::new(&entry.to).ok()?,
            start_ms: entry.start_ms,
            ring_ms: entry.ring_ms,
            answer_ms: entry.answer_ms,
            answered_by: entry.answered_by.as_ref().and_then(party),
            duration: Duration::ZERO,
            queue: entry.queue.as_deref().map(Text::new),
            recorded: entry.recorded,
            recording_paused: false,
            cause: None,
            legs: entry
                .legs
                .iter()
                .filter_map(|leg| self.leg_of(call, &from, leg))
                .collect(),
            from,
        })
    }

    /// None: nobody will come back for it.
    fn leg_of(&self, call: CallId, party: &Party, entry: &LegEntry) -> Option<LegView> {
        let session = *self.returning.by_hash.get(&entry.session)?;
        let leg: LegId = messages::leg_id(&entry.leg)?;
        let role = [LegRole::Caller, LegRole::Callee, LegRole::Member]
            .into_iter()
            .find(|role| role.name() == entry.role)?;
        Some(LegView {
            leg,
            call,
            session,
            // The device says who it is.
            party: party.clone(),
            role,
            state: LegState::Up,
            alias: entry.alias.as_deref().map(Text::new),
            holds: entry.hold,
            muted: entry.muted,
            sends: None,
            quality: None,
            start_ms: entry.start_ms,
            ring_ms: entry.ring_ms,
            answer_ms: entry.answer_ms,
            end_ms: None,
            cause: None,
            is_controlled: false,
        })
    }
}

fn registration_of(session: SessionId, entry: &DeviceEntry) -> Option<Registration> {
    let codecs = entry.codecs.iter().filter_map(|codec| codec.parse().ok());
    let valid_for = match entry.valid_until_ms {
        // It is over: it is let in by something else, or not at all.
        Some(until) => Some(Duration::from_millis(
            until.checked_sub(unix_ms()).filter(|left| *left > 0)?,
        )),
        None => None,
    };
    Some(Registration {
        valid_for,
        device: Some(Text::new(&entry.device)).filter(|device| !device.is_empty()),
        display_name: Text::new(&entry.display_name),
        expires: Some(Duration::from_millis(entry.expires_ms)),
        ringable: entry.ringable,
        supervisor: entry.supervisor,
        codecs: codecs.collect(),
        ..Registration::phone(session, Number::new(&entry.dn).ok()?)
    })
}
