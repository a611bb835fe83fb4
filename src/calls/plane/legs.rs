//! Legs: how one begins, and the one place where its state changes.

use crate::action::Report;
use crate::codec::{Choice, Codecs};
use crate::event::DeviceKind;
use crate::ids::{CallId, LegId, LegNumber, Number, SessionId};
use crate::limits::{LEGS_EVER_MAX, LEGS_PER_CALL_MAX, LEGS_PER_DEVICE_MAX, LEGS_PER_TRUNK_MAX};
use crate::media::QualitySummary;
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::{LegRole, Party};

use super::CallPlane;
use super::state::{Call, Leg};

/// Of a device's legs the first of which something is so, otherwise the first.
pub(super) fn first_such<'a>(legs: impl Iterator<Item = &'a Leg>, is_so: impl Fn(&Leg) -> bool) -> Option<LegId> {
    let mut first = None;
    for leg in legs {
        if is_so(leg) {
            return Some(leg.id);
        }
        first = first.or(Some(leg.id));
    }
    first
}

impl CallPlane {
    /// A leg of a device in a call, `down`.
    pub(super) fn add_leg(&mut self, call: CallId, session: SessionId, role: LegRole) -> Result<LegId, Refusal> {
        let party = self.party_of(session).ok_or(Refusal::UnknownSession)?;
        let device = self.devices.get_mut(&session).ok_or(Refusal::UnknownSession)?;
        let legs_max = match device.registration.kind {
            DeviceKind::Phone => LEGS_PER_DEVICE_MAX,
            DeviceKind::Trunk => LEGS_PER_TRUNK_MAX,
        };
        if device.legs.len() >= legs_max {
            return Err(Refusal::TooManyCalls);
        }
        let owner = self.calls.get_mut(&call).ok_or(Refusal::UnknownCall)?;
        if owner.legs.len() >= LEGS_PER_CALL_MAX || owner.legs_ever >= LEGS_EVER_MAX {
            return Err(Refusal::TooManyLegs);
        }
        owner.legs_ever += 1;
        let id = LegId {
            call,
            leg: LegNumber(owner.legs_ever),
        };
        owner.legs.push(id);
        device.legs.push(id);
        let leg = Leg {
            id,
            call,
            session,
            party,
            role,
            state: LegState::Down,
            holds: false,
            muted: false,
            is_early: false,
            wants_early: false,
            is_controlled: false,
            has_referred: false,
            request: None,
            alias: None,
            codecs: Codecs::default(),
            speaks: None,
            asked_to_speak: None,
            choice: Choice::default(),
            started: self.now,
            rang: None,
            answered: None,
            quality: QualitySummary::default(),
            last_quality: None,
            told_quality: None,
            warnings: 0,
            counters: None,
            told_recording: (false, false),
            told: Vec::new(),
        };
        self.legs.insert(id, leg);
        let codecs = self.codecs_of(session);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.codecs = codecs;
        }
        Ok(id)
    }

    /// What a device registered with, as far as its number's profile allows.
    pub(super) fn codecs_of(&self, session: SessionId) -> Codecs {
        let Some(device) = self.devices.get(&session) else {
            return Codecs::default();
        };
        let profile = self
            .dialplan
            .profile(&device.registration.number, self.trunk_of(session));
        let allowed = profile.and_then(|profile| profile.codecs);
        device.registration.codecs.and(allowed.unwrap_or_else(Codecs::all))
    }

    /// Who a device is for others: its profile's name, then its own.
    pub(super) fn party_of(&self, session: SessionId) -> Option<Party> {
        let device = self.devices.get(&session)?;
        let number = device.registration.number.clone();
        let profile = self.dialplan.profile(&number, None);
        let name = profile.and_then(|profile| profile.name.clone());
        Some(Party {
            number,
            name: name.unwrap_or_else(|| device.registration.display_name.clone()),
            device: device.name.clone(),
        })
    }

    /// The one place where a leg's state changes: as the table allows, or not at all.
    pub(super) fn move_leg(&mut self, id: LegId, next: LegState) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else {
            return false;
        };
        if !leg.state.allows(next) {
            return false;
        }
        leg.state = next;
        match next {
            LegState::Ringing => leg.rang = Some(self.now),
            LegState::Up => leg.answered = Some(self.now),
            LegState::Down | LegState::Calling | LegState::Hangup => {}
        }
        self.changed.calls.insert(leg.call);
        self.changed.sessions.insert(leg.session);
        self.changed.numbers.insert(leg.party.number.clone());
        // The end is reported with its cause, by who ends it.
        if next != LegState::Hangup {
            let view = Box::new(leg.view());
            self.report(Report::Leg(view));
        }
        true
    }

    /// Legs that are up and make the call: all but supervisors.
    pub(super) fn participants(&self, call: &Call) -> Vec<LegId> {
        let is_participant = |id: &&LegId| self.legs.get(id).is_some_and(|leg| leg.is_up() && !leg.is_supervisor());
        call.legs.iter().filter(is_participant).copied().collect()
    }

    /// A device's legs in a call: one of a phone, any number of a trunk. A trunk has many legs, a call few: so it is the call's
    /// that are looked at.
    pub(super) fn legs_in(&self, session: SessionId, call: CallId) -> impl Iterator<Item = &Leg> {
        let legs = self.calls.get(&call).map_or(&[][..], |call| &call.legs);
        let legs = legs.iter().filter_map(|id| self.legs.get(id));
        legs.filter(move |leg| leg.session == session)
    }

    /// A device's legs that began in a call, wherever they are.
    pub(super) fn legs_begun_in(&self, session: SessionId, call: CallId) -> impl Iterator<Item = &Leg> {
        let first = LegId {
            call,
            leg: LegNumber(0),
        };
        let legs = self.legs.range(first..).take_while(move |(id, _)| id.call == call);
        legs.map(|(_, leg)| leg).filter(move |leg| leg.session == session)
    }

    /// The leg of a device in a call: of several the first that is up.
    pub(super) fn leg_in(&self, session: SessionId, call: CallId) -> Option<LegId> {
        first_such(self.legs_in(session, call), Leg::is_up)
    }

    /// May the device have one more leg in a call? A phone would hear itself; a trunk has somebody else behind each of its legs.
    pub(super) fn has_place_in(&self, session: SessionId, call: CallId) -> bool {
        let is_trunk = self.is_trunk(session);
        is_trunk || self.legs_in(session, call).next().is_none()
    }

    pub(super) fn is_trunk(&self, session: SessionId) -> bool {
        self.trunk_of(session).is_some()
    }

    /// The trunk that a device is, by its number.
    pub(super) fn trunk_of(&self, session: SessionId) -> Option<&Number> {
        let registration = &self.devices.get(&session)?.registration;
        (registration.kind == DeviceKind::Trunk).then_some(&registration.number)
    }

    /// Have the legs of two calls a phone in common, which would hear itself?
    pub(super) fn share_a_phone(&self, some: &[LegId], others: &[LegId]) -> bool {
        let phones = |legs: &[LegId]| -> Vec<SessionId> {
            let sessions = legs.iter().filter_map(|id| Some(self.legs.get(id)?.session));
            sessions.filter(|session| !self.is_trunk(*session)).collect()
        };
        let some = phones(some);
        phones(others).iter().any(|session| some.contains(session))
    }

    /// Other sessions whose legs are up in the call, with their legs.
    pub(super) fn others_up(&self, call: CallId, but: LegId) -> Vec<(SessionId, LegId)> {
        let legs = self.calls.get(&call).map_or(&[][..], |call| &call.legs);
        let legs = legs.iter().filter_map(|id| self.legs.get(id));
        legs.filter(|leg| leg.is_up() && leg.id != but)
            .map(|leg| (leg.session, leg.id))
            .collect()
    }
}
