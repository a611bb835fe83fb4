//! A telephone that is called sends the call on to another number (302).

use crate::action::Report;
use crate::cause::Cause;
use crate::dialplan::{Destination, Target};
use crate::ids::{CallId, LegId, Number};
use crate::record::EndedBy;
use crate::refusal::Refusal;

use super::CallPlane;
use super::state::{Call, Forward, Leg, Purpose, Wait};

impl CallPlane {
    /// Its leg is over. Where nobody else rings for the call or is left to ring, that goes where the telephone says; else when it is so.
    pub(super) fn forward(&mut self, id: LegId, to: Number) -> Result<(), Refusal> {
        self.check_fork(id)?;
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let call = self.calls.get(&leg.call).ok_or(Refusal::UnknownCall)?;
        let (call, refused) = (call.id, self.refuses_forward(call, leg, &to));
        let by = leg.party.number.clone();
        let forward = Forward { by, to };
        match refused {
            Some(cause) => {
                self.report_forward(call, forward, refused);
                self.drop_fork(id, cause, EndedBy::Leg(id));
            }
            None => {
                if let Some(attempt) = self.calls.get_mut(&call).and_then(|call| call.attempt.as_mut()) {
                    attempt.forward.get_or_insert(forward);
                }
                self.end_leg(id, Cause::Transferred, EndedBy::Leg(id), None);
            }
        }
        self.stage_is_over(call);
        Ok(())
    }

    fn report_forward(&mut self, call: CallId, forward: Forward, refused: Option<Cause>) {
        let Forward { by, to } = forward;
        self.report(Report::Forward { call, by, to, refused });
    }

    /// Why it is not followed.
    fn refuses_forward(&self, call: &Call, leg: &Leg, to: &Number) -> Option<Cause> {
        let by = &leg.party.number;
        let attempt = call.attempt.as_ref();
        // Where a carrier would have a call go is none of ours. A program decides on its calls itself, and a queue on its callers.
        let is_of_plan = attempt.is_some_and(|attempt| {
            let is_called = match attempt.purpose {
                Purpose::Dial | Purpose::Add { .. } | Purpose::Transfer { .. } => true,
                Purpose::First { .. } | Purpose::Invite => false,
            };
            is_called && attempt.wait == Wait::Forks
        });
        if self.is_trunk(leg.session) || call.is_controlled || !is_of_plan {
            return Some(Cause::Unreachable);
        }
        if to == by {
            return Some(Cause::LoopDetected);
        }
        self.forbids(by, None, to).then_some(Cause::Forbidden)
    }

    /// The call goes on as its caller would have dialled the number, and as who sends it on may.
    pub(super) fn follow_forward(&mut self, id: CallId, forward: Forward) {
        // As it is written, too: no telephone gets a number called that its caller could not dial.
        if self.is_forbidden(id, &forward.to) {
            return self.forbid_forward(id, forward);
        }
        if let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) {
            // What a rule allowed was for another number.
            attempt.dialler.transit = false;
            attempt.dialler.forwarders.push(forward.by.clone());
        }
        let target = Target::Dial(forward.to.clone());
        let Some(route) = self.route_on(id, target, false, Some(forward.by.clone())) else {
            return;
        };
        let refused = match route.destination {
            _ if self.is_forbidden(id, &route.dialled) => Some(Cause::Forbidden),
            Destination::Reject(cause) => Some(cause),
            _ => None,
        };
        // Within the house it costs nothing: else any caller could use up the calls of who is away.
        let is_charged = refused.is_none() && matches!(route.destination, Destination::Trunk(_));
        if is_charged && self.count_begun(&forward.by, None).is_err() {
            return self.forbid_forward(id, forward);
        }
        self.report_forward(id, forward, refused);
        self.take_route(id, route);
    }

    fn forbid_forward(&mut self, id: CallId, forward: Forward) {
        self.report_forward(id, forward, Some(Cause::Forbidden));
        self.fail_attempt(id, Cause::Forbidden);
    }
}
