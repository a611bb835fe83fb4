//! Calls begin: who may dial, what the caller's profile says, and the first attempt.

use std::time::Duration;

use crate::action::{Notice, Reply};
use crate::codec::Codecs;
use crate::dialplan::Query;
use crate::event::{Actor, DeviceKind, Dial};
use crate::ids::{CallId, LegId, Number, RequestId, SessionId, Text};
use crate::limits::CALLS_MAX;
use crate::refusal::Refusal;
use crate::state::LegState;
use crate::view::{LegRole, Party};

use super::CallPlane;
use super::state::{Attempt, Call, Dialler, Purpose};
use super::timers::Timer;

impl CallPlane {
    pub(super) fn dial(&mut self, request: RequestId, actor: Actor, dial: Dial) -> Result<(), Refusal> {
        let session = self.session_of(actor)?.ok_or(Refusal::NotAllowed)?;
        let device = self.devices.get(&session).ok_or(Refusal::UnknownSession)?;
        let is_trunk = device.registration.kind == DeviceKind::Trunk;
        let by = self.trunk_of(session).cloned();
        let mut from = self.party_of(session).ok_or(Refusal::UnknownSession)?;
        if let Some((number, name)) = dial.from.filter(|_| is_trunk) {
            from = Party { number, name, ..from };
        }
        self.check_caller(&from.number, by.as_ref(), &dial.to)?;
        let codecs = Some(dial.codecs).filter(|codecs| !codecs.is_empty());
        let codecs = codecs.map(|codecs| self.codecs_of(session).and(codecs));
        if codecs.is_some_and(Codecs::is_empty) {
            return Err(Refusal::Incompatible);
        }
        self.count_begun(&from.number, by.as_ref())?;
        let id = self.begin_call(dial.call, from.clone(), by.clone(), dial.to.clone())?;
        let leg = match self.add_leg(id, session, LegRole::Caller) {
            Ok(leg) => leg,
            Err(refusal) => {
                // Nobody was told of it: there was no call.
                self.forget_call(id);
                return Err(refusal);
            }
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.caller = Some(leg);
            call.metadata = dial.metadata;
            call.sdp = dial.sdp;
        }
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.request = Some(request);
            leg.codecs = codecs.unwrap_or(leg.codecs);
            if is_trunk {
                leg.party = from.clone();
            }
            leg.alias = dial.alias;
        }
        self.move_leg(leg, LegState::Calling);
        self.reply_calling(request, id, leg, session);
        if let Some(domain) = self.control_of(&from.number, &dial.to) {
            self.ask_control(id, leg, domain);
        } else if !self.settle_glare(id, session, &dial.to) {
            let dialler = Dialler {
                trunk: by,
                device: dial.device.map(|device| (dial.to.clone(), device)),
                ..Dialler::default()
            };
            self.begin_attempt(id, Purpose::Dial, dialler, dial.to, dial.timeout);
        }
        Ok(())
    }

    pub(super) fn originate(
        &mut self,
        request: RequestId,
        actor: Actor,
        from: Number,
        to: Number,
        id: Option<CallId>,
        timeout: Option<Duration>,
    ) -> Result<(), Refusal> {
        if !matches!(actor, Actor::Api { .. }) {
            return Err(Refusal::NotAllowed);
        }
        let entry = self.numbers.get(&from).ok_or(Refusal::UnknownNumber)?;
        let session = entry.devices.first().copied().ok_or(Refusal::UnknownNumber)?;
        let mut party = self.party_of(session).ok_or(Refusal::UnknownNumber)?;
        party.device = Text::default();
        self.check_caller(&from, None, &to)?;
        self.count_begun(&from, None)?;
        let call = self.begin_call(id, party, None, to.clone())?;
        self.reply(request, Reply::Calling { call, leg: None });
        let first = Purpose::First { to, timeout };
        self.begin_attempt(call, first, Dialler::default(), from, timeout);
        Ok(())
    }

    /// What a caller may not do at all is refused, and is no call.
    fn check_caller(&self, from: &Number, by: Option<&Number>, to: &Number) -> Result<(), Refusal> {
        if self.is_stopping {
            return Err(Refusal::Stopping);
        }
        let profile = self.dialplan.profile(from, by);
        if profile.is_some_and(|profile| profile.forbids(to)) {
            return Err(Refusal::Forbidden);
        }
        let calls_max = profile.and_then(|profile| profile.calls_max);
        let calls_max = calls_max.unwrap_or(usize::MAX).min(self.settings.calls_per_number_max);
        if by.is_none() && self.legs_of_number(from) >= calls_max {
            return Err(Refusal::TooManyCalls);
        }
        Ok(())
    }

    /// Legs of a number, over all its devices, in calls of other machines as well.
    pub(super) fn legs_of_number(&self, number: &Number) -> usize {
        let devices = self.numbers.get(number).map_or(&[][..], |entry| &entry.devices);
        let devices = devices.iter().filter_map(|session| self.devices.get(session));
        devices
            .map(|device| device.legs.len() + usize::from(device.elsewhere.0))
            .sum()
    }

    /// `by`: the trunk that it comes by.
    pub(super) fn begin_call(
        &mut self,
        id: Option<CallId>,
        from: Party,
        by: Option<Number>,
        dialled: Number,
    ) -> Result<CallId, Refusal> {
        if self.calls.len() >= self.settings.calls_max.min(CALLS_MAX) {
            return Err(Refusal::Full);
        }
        let id = id.unwrap_or_else(|| CallId((self.ids)()));
        if self.is_known(id) {
            return Err(Refusal::Duplicate);
        }
        let profile = self.dialplan.profile(&from.number, by.as_ref());
        let is_recorded = profile.is_some_and(|profile| profile.record);
        let call = Call {
            id,
            from,
            by,
            dialled,
            caller: None,
            started: self.now,
            rang: None,
            answered: None,
            answered_by: None,
            legs: Vec::new(),
            legs_ever: 0,
            attempt: None,
            is_controlled: false,
            rule: None,
            queue: None,
            music: self.settings.music.clone(),
            metadata: None,
            sdp: None,
            candidates: Vec::new(),
            is_recorded: false,
            is_recording_paused: false,
            was_recorded: false,
            transfers: Vec::new(),
            transfers_left_out: 0,
            media_at: None,
            codecs_told: Vec::new(),
            lecture: None,
        };
        self.calls.insert(id, call);
        self.changed.calls.insert(id);
        self.timers
            .set(Timer::Duration(id), self.after(self.settings.call_duration_max));
        if is_recorded {
            self.record(id, true);
        }
        Ok(id)
    }

    /// Is the id in use: by a call, by a leg that began in one and went on in another, by a record?
    pub(super) fn is_known(&self, id: CallId) -> bool {
        let first = LegId {
            call: id,
            leg: crate::ids::LegNumber(0),
        };
        let leg = self.legs.range(first..).next();
        self.calls.contains_key(&id) || self.books.contains_key(&id) || leg.is_some_and(|(leg, _)| leg.call == id)
    }

    /// A call of which nobody was told.
    fn forget_call(&mut self, id: CallId) {
        self.calls.remove(&id);
        self.changed.calls.remove(&id);
        self.timers.clear(&Timer::Duration(id));
    }

    /// The reply goes first, whatever becomes of the call at once.
    pub(super) fn reply_calling(&mut self, request: RequestId, call: CallId, leg: LegId, session: SessionId) {
        self.reply(request, Reply::Calling { call, leg: Some(leg) });
        self.notify(
            session,
            Notice::Progress {
                call,
                leg,
                request: Some(request),
                state: LegState::Calling,
                devices: 0,
                early: None,
            },
        );
    }

    /// Calls a number for a call, by the rules of the dialplan.
    pub(super) fn begin_attempt(
        &mut self,
        id: CallId,
        purpose: Purpose,
        dialler: Dialler,
        to: Number,
        asked: Option<Duration>,
    ) {
        let ring = self.ring_time(None, asked);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let forwarded_by = match &purpose {
            Purpose::Transfer { .. } => dialler.number.clone(),
            Purpose::Dial | Purpose::First { .. } | Purpose::Invite | Purpose::Add { .. } => None,
        };
        let mut attempt = Attempt {
            dialler,
            asked,
            forwarded_by,
            ..Attempt::new(purpose.clone(), &to, ring)
        };
        if matches!(purpose, Purpose::First { .. }) {
            // Who is rung first is no number that somebody dialled.
            attempt.stages.push_back(vec![to]);
            call.attempt = Some(attempt);
            self.advance(id);
            return;
        }
        let dialler = attempt.dialler.clone();
        let query = Query {
            from: &call.from.number,
            to: &to,
            when: self.now.local(),
            by: dialler.trunk.as_ref(),
            is_sent_on: dialler.transit,
        };
        let route = self.dialplan.dial(query, &mut attempt.trail);
        call.attempt = Some(attempt);
        self.take_route(id, route);
    }
}
