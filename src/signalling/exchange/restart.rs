//! What is noted for a restart, and what is made of it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use moqswitch_calls::{
    CallId, CallState, CallView, Event, LegId, LegRole, LegState, LegView, Number, Party, RegisterEvent, Registration,
    SessionId, Text,
};
use moqswitch_sip::agent::{Access, KeptBinding};
use moqswitch_sip::digest::{Algorithm, Ha1};
use ring::digest;
use serde_json::Value;

use super::line::Line;
use super::session::Session;
use super::{Asker, Exchange, draw};
use crate::access::{Door, Proof};
use crate::journal::{CallEntry, ContactEntry, DeviceEntry, Entry, Found, Journal, LegEntry, PartyEntry, SessionHash};
use crate::messages::{self, MessageId};
use crate::records::{Filter, Row};

impl Exchange {
    /// Takes over what there was before, and notes what is from here on. Who does not come back in time is gone, and the
    /// calls with them: those have records then.
    pub(crate) fn keep_journal(&mut self, journal: Journal, found: Found) {
        let now = self.clock.unix_ms();
        let mut registrations = Vec::new();
        for (hash, entry) in found.devices {
            let registration = registration_of(SessionId(draw(&self.random)), &entry, now);
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
        self.returning.contacts = found.contacts.into_values().map(|contact| *contact).collect();
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
        let Some(registration) = registration_of(session, &entry, self.clock.unix_ms()) else {
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
        own.speaks_webrtc = entry.speaks_webrtc;
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
        let now = self.clock.unix_ms();
        let Some(journal) = &self.journal else { return };
        let Some(entry) = self.sessions.get_mut(&session).and_then(|own| own.entry.as_mut()) else {
            return;
        };
        entry.until_ms = now.saturating_add(entry.expires_ms);
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
            speaks_webrtc: self
                .sessions
                .get(&registration.session)
                .is_some_and(|own| own.speaks_webrtc),
            proof: proof.hexadecimal(),
            expires_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
            until_ms: 0,
            valid_until_ms: registration.valid_for.map(|left| {
                self.clock
                    .unix_ms()
                    .saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            }),
        }))
    }

    /// A telephone of SIP is registered, or is so from another place.
    pub(crate) fn note_contact(&self, key: String, kept: KeptBinding, secret: Option<&Ha1>, expires: Duration) {
        if self.journal.is_none() {
            return;
        }
        let expires_ms = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
        self.note(Entry::Contact(Box::new(ContactEntry {
            key,
            kept,
            proof: secret.map(proof_of),
            expires_ms,
            until_ms: self.clock.unix_ms().saturating_add(expires_ms),
        })));
    }

    /// It is not registered any more, or not in a way that outlives the process.
    pub(crate) fn note_no_contact(&self, key: String) {
        self.note(Entry::NoContact(key));
    }

    /// Telephones of SIP of the process before, for as long as is left: those whose users are let in as they were then.
    pub(crate) fn take_contacts(&mut self) -> Vec<(KeptBinding, Duration)> {
        let now = self.clock.unix_ms();
        let mut kept = Vec::new();
        for entry in std::mem::take(&mut self.returning.contacts) {
            // The clock may have been set back.
            let left = entry.until_ms.saturating_sub(now).min(entry.expires_ms);
            let binding = entry.kept;
            let is_let_in = match self.sip_access(&binding.user, &binding.domain, binding.peer.ip()) {
                Access::Unknown(_) => false,
                Access::Open => true,
                Access::Password(_) => {
                    let secret = self.sip_secret(&binding.user, &binding.domain, Algorithm::Md5);
                    secret.is_some_and(|secret| entry.proof == Some(proof_of(&secret)))
                }
            };
            // Who comes back is noted anew.
            self.note(Entry::NoContact(entry.key));
            if !is_let_in || left == 0 {
                continue;
            }
            kept.push((binding, Duration::from_millis(left)));
        }
        kept
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

/// Of a password's hash, from which that cannot be had.
fn proof_of(secret: &Ha1) -> String {
    let digest = digest::digest(&digest::SHA256, secret.hex().as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn registration_of(session: SessionId, entry: &DeviceEntry, now_ms: u64) -> Option<Registration> {
    let codecs = entry.codecs.iter().filter_map(|codec| codec.parse().ok());
    let valid_for = match entry.valid_until_ms {
        // It is over: it is let in by something else, or not at all.
        Some(until) => Some(Duration::from_millis(
            until.checked_sub(now_ms).filter(|left| *left > 0)?,
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
