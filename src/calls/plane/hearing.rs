//! Who hears whom. Grants, codecs and music all follow from this one relation.

use crate::action::{LegCodecs, Notice};
use crate::codec::{Codec, choose};
use crate::event::{DeviceKind, SuperviseMode};
use crate::grants::{Grants, call_pattern, leg_pattern, music_path};
use crate::ids::{CallId, LegId, SessionId};
use crate::state::LegState;
use crate::view::{LegRole, Participant};

use super::CallPlane;
use super::state::{Call, Leg, Purpose, Wait};

impl CallPlane {
    /// May the leg send media at all?
    pub(super) fn publishes(leg: &Leg) -> bool {
        match leg.role {
            LegRole::Supervisor(SuperviseMode::Listen) => false,
            LegRole::Caller
            | LegRole::Callee
            | LegRole::Member
            | LegRole::Supervisor(SuperviseMode::Whisper(_) | SuperviseMode::Barge) => {
                leg.is_up() || (leg.is_early && leg.state == LegState::Ringing)
            }
        }
    }

    /// Does one leg hear another?
    pub(super) fn hears(&self, hearer: LegId, speaker: LegId) -> bool {
        let (Some(hearer), Some(speaker)) = (self.legs.get(&hearer), self.legs.get(&speaker)) else {
            return false;
        };
        if hearer.id == speaker.id || hearer.call != speaker.call || !Self::publishes(speaker) {
            return false;
        }
        if !speaker.is_up() {
            return self.hears_early(hearer, speaker);
        }
        if !hearer.is_up() || hearer.holds || speaker.holds {
            return false;
        }
        if self.calls.get(&speaker.call).is_some_and(|call| call.silences(speaker)) {
            return false;
        }
        match speaker.role {
            LegRole::Supervisor(SuperviseMode::Listen) => false,
            LegRole::Supervisor(SuperviseMode::Whisper(target)) => target == hearer.id,
            LegRole::Caller | LegRole::Callee | LegRole::Member | LegRole::Supervisor(SuperviseMode::Barge) => true,
        }
    }

    /// The caller hears the one that is to be heard before the answer.
    pub(super) fn hears_early(&self, hearer: &Leg, speaker: &Leg) -> bool {
        let Some(call) = self.calls.get(&hearer.call) else {
            return false;
        };
        let Some(attempt) = &call.attempt else { return false };
        let mut forks = attempt.forks.iter().filter_map(|fork| self.legs.get(fork));
        let first = forks.find(|fork| Self::publishes(fork));
        attempt.purpose == Purpose::Dial
            && call.caller == Some(hearer.id)
            && first.is_some_and(|fork| fork.id == speaker.id)
    }

    /// What a leg hears instead of people: a broadcast. Everybody else holds, or the leg waits in a queue.
    pub(super) fn music_for(&self, id: LegId) -> Option<String> {
        let leg = self.legs.get(&id)?;
        let call = self.calls.get(&leg.call)?;
        if let Some(Wait::Queue { name, .. }) = call.attempt.as_ref().map(|attempt| &attempt.wait)
            && call.caller == Some(id)
        {
            let music = self.dialplan.queue(name).map(|queue| &queue.music);
            return music.filter(|music| !music.is_empty()).map(music_path);
        }
        if let Some(Wait::Play { path, .. }) = call.attempt.as_ref().map(|attempt| &attempt.wait)
            && call.caller == Some(id)
        {
            return Some(path.clone());
        }
        if !leg.is_up() || leg.holds || leg.is_supervisor() || call.music.is_empty() {
            return None;
        }
        let others = self.participants(call);
        let mut others = others.iter().filter(|other| **other != id).peekable();
        // Alone: somebody is being called.
        if others.peek().is_none() && call.attempt.is_none() {
            return None;
        }
        let all_hold = others.all(|other| self.legs.get(other).is_some_and(|other| other.holds));
        all_hold.then(|| music_path(&call.music))
    }

    /// Everything that one leg may do.
    pub(super) fn grants_of_leg(&self, id: LegId) -> Grants {
        let mut grants = Grants::default();
        let Some(leg) = self.legs.get(&id) else { return grants };
        let Some(call) = self.calls.get(&leg.call) else {
            return grants;
        };
        if Self::publishes(leg) {
            grants.publish.push(leg_pattern(id));
        }
        let speakers = call.legs.iter().filter_map(|other| self.legs.get(other));
        let speakers: Vec<&Leg> = speakers
            .filter(|other| other.id != id && Self::publishes(other))
            .collect();
        let heard: Vec<LegId> = speakers
            .iter()
            .map(|other| other.id)
            .filter(|other| self.hears(id, *other))
            .collect();
        // Who hears everybody needs one pattern, which stays the same when somebody comes or goes.
        let is_of_call = |leg: LegId| leg.call == call.id;
        if leg.is_up()
            && call.lecture.is_none()
            && !heard.is_empty()
            && heard.len() == speakers.len()
            && is_of_call(id)
            && heard.iter().all(|leg| is_of_call(*leg))
        {
            grants.subscribe.push(call_pattern(call.id));
        } else {
            grants.subscribe.extend(heard.into_iter().map(leg_pattern));
        }
        grants.subscribe.extend(self.music_for(id));
        grants.tidy();
        grants
    }

    /// Everything that a session may do. A trunk's media is no matter of the relay's grants.
    pub(super) fn grants_of(&self, session: SessionId) -> Grants {
        let mut grants = Grants::default();
        let Some(device) = self.devices.get(&session) else {
            return grants;
        };
        if device.registration.kind == DeviceKind::Trunk {
            return grants;
        }
        for leg in &device.legs {
            let of_leg = self.grants_of_leg(*leg);
            grants.publish.extend(of_leg.publish);
            grants.subscribe.extend(of_leg.subscribe);
        }
        grants.tidy();
        grants
    }

    /// What every leg of a call sends, by the policy.
    pub(super) fn choose_codecs(&mut self, id: CallId) -> Option<Vec<LegCodecs>> {
        let call = self.calls.get(&id)?;
        let mut choices = Vec::new();
        let mut wanted = Vec::new();
        for speaker in call.legs.iter().filter_map(|leg| self.legs.get(leg)) {
            if !Self::publishes(speaker) {
                continue;
            }
            // Who holds will hear it again: what is sent does not change with it.
            let would_hear =
                |hearer: &&Leg| hearer.id != speaker.id && hearer.is_up() && self.would_hear(hearer, speaker);
            let hearers = call.legs.iter().filter_map(|leg| self.legs.get(leg)).filter(would_hear);
            let (choice, codec) = choose(&self.settings.codecs, speaker.voice(), hearers.map(Leg::voice));
            choices.push((speaker.id, choice));
            wanted.push((speaker.id, codec));
        }
        for (leg, codec) in wanted {
            self.ask_to_speak(leg, codec);
        }
        for (leg, choice) in &choices {
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.choice = choice.clone();
            }
        }
        let call = self.calls.get_mut(&id)?;
        if call.codecs_told == choices {
            return None;
        }
        call.codecs_told.clone_from(&choices);
        let of_leg = |(leg, choice): (LegId, crate::codec::Choice)| LegCodecs {
            leg,
            sends: choice.sends,
            transcoded: choice.transcoded,
        };
        Some(choices.into_iter().map(of_leg).collect())
    }

    /// A leg that has to agree on what it speaks is asked to, once for each codec.
    fn ask_to_speak(&mut self, id: LegId, wanted: Option<Codec>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(codec) = wanted.filter(|codec| leg.is_up() && leg.speaks.is_some_and(|own| own != *codec)) else {
            leg.asked_to_speak = None;
            return;
        };
        if leg.asked_to_speak.replace(codec) == Some(codec) {
            return;
        }
        let (session, call) = (leg.session, id.call);
        self.notify(session, Notice::Speak { call, leg: id, codec });
    }

    /// Would one hear the other, if nobody held?
    fn would_hear(&self, hearer: &Leg, speaker: &Leg) -> bool {
        match speaker.role {
            LegRole::Supervisor(SuperviseMode::Listen) => false,
            LegRole::Supervisor(SuperviseMode::Whisper(target)) => target == hearer.id,
            LegRole::Caller | LegRole::Callee | LegRole::Member | LegRole::Supervisor(SuperviseMode::Barge) => true,
        }
    }

    /// Are others told that this leg is there?
    pub(super) fn is_told_of(&self, leg: &Leg) -> bool {
        match leg.role {
            LegRole::Caller | LegRole::Callee | LegRole::Member | LegRole::Supervisor(SuperviseMode::Barge) => true,
            LegRole::Supervisor(SuperviseMode::Listen | SuperviseMode::Whisper(_)) => self.settings.supervision_is_told,
        }
    }

    /// One leg as another sees it.
    pub(super) fn participant(&self, leg: &Leg, own: &Leg) -> Participant {
        let sends = leg.choice.sends.filter(|_| Self::publishes(leg));
        let takes = sends.is_some_and(|codec| own.voice().takes(codec));
        let transcoded = if takes {
            None
        } else {
            own.voice().heard_as(&self.settings.codecs)
        };
        Participant {
            leg: leg.id,
            party: leg.party.clone(),
            role: leg.role,
            sends,
            heard_as: transcoded.filter(|_| sends.is_some() && leg.id != own.id),
            audible: self.hears(own.id, leg.id),
            holds: leg.holds,
            muted: leg.muted,
            own: leg.id == own.id,
        }
    }

    /// Everybody that is up, as one of them sees them. Who is told of nobody still hears whom it may hear.
    pub(super) fn participants_for(&self, call: &Call, own: &Leg) -> Vec<Participant> {
        let legs = call.legs.iter().filter_map(|id| self.legs.get(id));
        let seen =
            legs.filter(|leg| leg.is_up() && (leg.id == own.id || self.is_told_of(leg) || self.hears(own.id, leg.id)));
        seen.map(|leg| self.participant(leg, own)).collect()
    }
}
