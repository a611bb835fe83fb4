//! A conference as a lecture: those who are named are heard, all others hear. Grants, mixes and what participants are told follow
//! from who hears whom; a leg that nobody hears is not sent by the relay.

use crate::event::Actor;
use crate::ids::{CallId, LegId};
use crate::refusal::Refusal;
use crate::view::LegRole;

use super::CallPlane;
use super::state::{Call, Leg};

impl CallPlane {
    /// From here on these alone are heard; `None`: everybody is, as before. Supervisors are, as they always are. Programs
    /// decide it, as nobody in a call stands above the others.
    pub(super) fn lecture(&mut self, actor: Actor, id: CallId, speakers: Option<Vec<LegId>>) -> Result<(), Refusal> {
        if !matches!(actor, Actor::Api { .. }) {
            return Err(Refusal::NotAllowed);
        }
        let call = self.calls.get_mut(&id).ok_or(Refusal::UnknownCall)?;
        let is_there = |speaker: &LegId| call.legs.contains(speaker);
        if !speakers.iter().flatten().all(is_there) {
            return Err(Refusal::UnknownLeg);
        }
        call.lecture = speakers;
        self.wait_for_media_anew(id);
        self.changed.calls.insert(id);
        Ok(())
    }
}

impl Call {
    /// Whether nobody hears a leg because others speak.
    pub(super) fn silences(&self, leg: &Leg) -> bool {
        let is_supervisor = matches!(leg.role, LegRole::Supervisor(_));
        !is_supervisor
            && self
                .lecture
                .as_ref()
                .is_some_and(|speakers| !speakers.contains(&leg.id))
    }
}
