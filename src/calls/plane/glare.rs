//! Glare: two call each other at once. Both want to talk, so they are connected, by the call with the smaller id; the
//! other ends. One of both answers by it without being asked. So there is no glare with a device that only its user can
//! answer: both calls go on.

use crate::cause::Cause;
use crate::ids::{CallId, LegId, Number, SessionId};
use crate::record::EndedBy;

use super::CallPlane;
use super::state::{Attempt, Purpose, Wait};

impl CallPlane {
    /// `own` is a call that `session` has just begun to `to`. True: it met a call of `to` that rings at this device, and
    /// one of the two is up.
    pub(super) fn settle_glare(&mut self, own: CallId, session: SessionId, to: &Number) -> bool {
        let Some((other, ringing)) = self.meeting(session, to) else {
            return false;
        };
        if other < own {
            self.end_call(own, Cause::Glare, EndedBy::System);
            self.win(other, ringing, None);
            return true;
        }
        let caller = self.calls.get(&other).and_then(|call| call.caller);
        let Some(callee) = caller.and_then(|caller| self.legs.get(&caller)).map(|leg| leg.session) else {
            return false;
        };
        self.end_call(other, Cause::Glare, EndedBy::System);
        self.connect_directly(own, callee, to);
        true
    }

    /// A call of `to` that rings at this device, with the leg that rings. It was dialled as this device's number: a group or a
    /// number that sent the call on is not whom `to` wants.
    fn meeting(&self, session: SessionId, to: &Number) -> Option<(CallId, LegId)> {
        let device = self.devices.get(&session)?;
        let own = &device.registration.number;
        if !device.registration.meets {
            return None;
        }
        let mut ringing = device.legs.iter().filter_map(|leg| self.legs.get(leg));
        ringing.find_map(|leg| {
            let call = self.calls.get(&leg.call)?;
            let attempt = call.attempt.as_ref()?;
            let meets = attempt.purpose == Purpose::Dial
                && attempt.wait == Wait::Forks
                && attempt.forks.contains(&leg.id)
                && attempt.dialled == *own
                && call.answered.is_none()
                && call.from.number == *to
                && call.caller.is_some_and(|caller| self.can_meet(caller, to));
            meets.then_some((call.id, leg.id))
        })
    }

    /// Is it a leg of this number's own device, and can that be made to answer? Whom a trunk names as its caller is elsewhere.
    fn can_meet(&self, leg: LegId, number: &Number) -> bool {
        let device = self.legs.get(&leg).and_then(|leg| self.devices.get(&leg.session));
        device.is_some_and(|device| device.registration.meets && device.registration.number == *number)
    }

    /// The device calls as well, so it has answered as soon as it is called.
    fn connect_directly(&mut self, id: CallId, callee: SessionId, to: &Number) {
        let ring = self.ring_time(None, None);
        if let Some(call) = self.calls.get_mut(&id) {
            call.attempt = Some(Attempt::new(Purpose::Dial, to, ring));
        }
        let invited = self.invite_device(id, callee);
        let fork = self
            .calls
            .get(&id)
            .and_then(|call| call.attempt.as_ref()?.forks.first().copied());
        match fork.filter(|_| invited) {
            Some(fork) => self.win(id, fork, None),
            None => self.fail_attempt(id, Cause::Busy),
        }
    }
}
