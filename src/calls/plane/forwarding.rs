//! A telephone that is called sends the call on to another number (302).

use crate::action::Report;
use crate::cause::Cause;
use crate::dialplan::Target;
use crate::ids::{CallId, LegId, Number};
use crate::record::EndedBy;
use crate::refusal::Refusal;

use super::CallPlane;
use super::state::{Call, Forward, Leg, Purpose, Wait};

impl CallPlane {
    /// Its leg is over. Where nothing else rings for the call, that goes where the telephone says; else when nothing does any more.
    pub(super) fn forward(&mut self, id: LegId, to: Number) -> Result<(), Refusal> {
        self.check_fork(id)?;
        let leg = self.legs.get(&id).ok_or(Refusal::UnknownLeg)?;
        let call = self.calls.get(&leg.call).ok_or(Refusal::UnknownCall)?;
        let (call, by, mut refused) = (call.id, leg.party.number.clone(), self.refuses_forward(call, leg, &to));
        if refused.is_none() && self.count_begun(&by, None).is_err() {
            refused = Some(Cause::Forbidden);
        }
        self.report(Report::Forward {
            call,
            by: by.clone(),
            to: to.clone(),
            refused,
        });
        match refused {
            Some(cause) => self.drop_fork(id, cause, EndedBy::Leg(id)),
            None => {
                if let Some(attempt) = self.calls.get_mut(&call).and_then(|call| call.attempt.as_mut()) {
                    attempt.forward.get_or_insert(Forward { by, to });
                }
                self.end_leg(id, Cause::Transferred, EndedBy::Leg(id), None);
            }
        }
        self.stage_is_over(call);
        Ok(())
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
            return self.fail_attempt(id, Cause::Forbidden);
        }
        if let Some(attempt) = self.calls.get_mut(&id).and_then(|call| call.attempt.as_mut()) {
            // What a rule allowed was for another number.
            attempt.dialler.transit = false;
            attempt.dialler.forwarders.push(forward.by.clone());
        }
        self.go_on(id, Target::Dial(forward.to), false, Some(forward.by));
    }
}
