//! What is done in a call that is up: it is held and goes on, keys are pressed, and it ends.

use std::time::Duration;

use moqswitch_sip::agent::LegKey;
use moqswitch_sip::sdp::{Description, Direction};

use crate::engine::{CallId, nanoseconds};
use crate::model::{Purpose, random, wait_in_call};
use crate::truth::interval::Measure;
use crate::truth::leg::SETTLE;

use super::call::{Call, Holding, spoken};
use super::shard::{Due, Member, Shard};

impl Shard {
    /// When a call that came up ends, is held and keys are pressed in it.
    pub(super) fn begin_behaviour(&mut self, id: CallId) {
        let load = &self.parts.load;
        let lasts = load.hold.draw(&mut random(load.seed, Purpose::Hold, u64::from(id)));
        if let Some(lasts) = lasts {
            self.at(self.now_ns + nanoseconds(lasts), Due::End { call: id });
        }
        self.plan_hold(id);
        self.plan_key(id);
    }

    fn plan_hold(&mut self, id: CallId) {
        let every = self.parts.load.phone.as_ref().and_then(|plan| plan.hold_every);
        if let Some(every) = every {
            let after_ns = self.draw_ns(id, every);
            self.step_after(id, after_ns);
        }
    }

    fn plan_key(&mut self, id: CallId) {
        let every = self.parts.load.phone.as_ref().and_then(|plan| plan.key_every);
        if let Some(every) = every {
            let due_ns = self.now_ns + self.draw_ns(id, every);
            self.at(due_ns, Due::Key { call: id });
        }
    }

    /// The next step of a hold is due then, and none that was planned before.
    fn step_after(&mut self, id: CallId, after_ns: u64) {
        let Some(call) = self.going_on(id) else { return };
        call.step += 1;
        let step = call.step;
        self.at(self.now_ns + after_ns, Due::Hold { call: id, step });
    }

    /// An exponentially distributed time, another each time.
    fn draw_ns(&mut self, id: CallId, mean: Duration) -> u64 {
        let number = self.number_drawn(id);
        nanoseconds(wait_in_call(self.parts.load.seed, id.into(), number, mean))
    }

    fn number_drawn(&mut self, id: CallId) -> u64 {
        let Some(call) = self.going_on(id) else { return 0 };
        call.drawn += 1;
        call.drawn
    }

    fn going_on(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none())
    }

    /// The next step of a hold is due.
    pub(super) fn step_hold(&mut self, id: CallId, step: u64) {
        let now_ns = self.now_ns;
        let Some(call) = self.going_on(id).filter(|call| call.step == step) else {
            return;
        };
        match call.holding {
            // Nobody holds while a key is pressed.
            Holding::Talking if call.ends.iter().any(|end| end.stream.is_pressing()) => self.step_after(id, STEP_NS),
            Holding::Talking => {
                call.drawn += 1;
                let by = u16::from(call.drawn.is_multiple_of(2));
                call.holding = Holding::Draining { by, since_ns: now_ns };
                call.ends.iter_mut().for_each(|end| end.way.leave());
                self.step_after(id, STEP_NS);
            }
            Holding::Draining { by, since_ns } => {
                if !call.is_complete() && now_ns < since_ns + nanoseconds(SETTLE) {
                    return self.step_after(id, STEP_NS);
                }
                call.ends.iter_mut().for_each(|end| end.way.close(now_ns));
                self.offer(id, by, true);
            }
            Holding::Asked { by, .. } => {
                self.fail_hold("a hold was not answered in time");
                self.begin_held(id, by);
            }
            Holding::Held { by } => {
                call.open(now_ns);
                self.offer(id, by, false);
            }
            Holding::Resuming { .. } => {
                call.holding = Holding::Talking;
                let opening = call.openings;
                self.expect(id, opening);
                self.fail_hold("a call did not go on after a hold");
                self.plan_hold(id);
            }
        }
    }

    /// Sends a re-INVITE that holds, or goes on.
    fn offer(&mut self, id: CallId, by: u16, on: bool) {
        let (now_ns, now) = (self.now_ns, self.now());
        let codecs = [spoken(&self.parts.load)];
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.holding = match on {
            true => Holding::Asked { by, since_ns: now_ns },
            false => Holding::Resuming { since_ns: now_ns },
        };
        let end = &mut call.ends[usize::from(by)];
        let direction = if on {
            Direction::SendOnly
        } else {
            Direction::SendReceive
        };
        let offer = end.description.offer(&codecs, direction);
        let is_sent = end
            .leg
            .is_some_and(|leg| self.groups[end.group].agent.offer(now, leg, &offer));
        self.ledger.at(now_ns).counts.phones.holds += u64::from(on);
        // What cannot be asked is not answered, either.
        let wait_ns = if is_sent {
            nanoseconds(self.parts.load.setup_max)
        } else {
            STEP_NS
        };
        self.step_after(id, wait_ns);
    }

    /// The switch took an offer of other media, or did not.
    pub(super) fn take_offer_answer(&mut self, member: Member, body: Option<&[u8]>) {
        let Member {
            call: id, participant, ..
        } = member;
        let Some(call) = self.going_on(id) else { return };
        let answer = body.and_then(|body| Description::parse(body).ok());
        let description = &mut call.ends[usize::from(participant)].description;
        let agreed = answer.and_then(|answer| description.take_answer(&answer).ok());
        let holding = call.holding;
        let Some(agreed) = agreed else {
            return self.fail_hold("the switch did not take a re-INVITE");
        };
        self.agree(id, participant, &agreed);
        match holding {
            Holding::Asked { by, since_ns } => {
                let elapsed = self.now_ns.saturating_sub(since_ns) / 1000;
                self.ledger.at(self.now_ns).record(Measure::Hold, elapsed);
                self.begin_held(id, by);
            }
            Holding::Resuming { .. } => self.expect_later(id),
            Holding::Talking | Holding::Draining { .. } | Holding::Held { .. } => {}
        }
    }

    /// The switch offers other media: whatever it is, the answer is what is spoken.
    pub(super) fn answer_offer(&mut self, group: usize, leg: LegKey, member: Member, body: Option<&[u8]>) {
        let now = self.now();
        let codecs = [spoken(&self.parts.load)];
        let agent = &mut self.groups[group].agent;
        let Some(call) = self.calls.get_mut(&member.call) else {
            return agent.refuse_offer(now, leg, 481);
        };
        let description = &mut call.ends[usize::from(member.participant)].description;
        let Some(body) = body else {
            let offer = description.offer(&codecs, Direction::SendReceive);
            return agent.answer_offer(now, leg, &offer);
        };
        let answered = Description::parse(body)
            .ok()
            .and_then(|offer| description.answer(&offer, &codecs, Direction::SendReceive).ok());
        match answered {
            Some((answer, agreed)) => {
                agent.answer_offer(now, leg, &answer);
                self.agree(member.call, member.participant, &agreed);
            }
            None => {
                agent.refuse_offer(now, leg, 488);
                self.ledger
                    .at(self.now_ns)
                    .note("the switch offered in a call what a telephone does not take", 1);
            }
        }
    }

    /// It is over when both hear each other.
    pub(super) fn look_at_hold(&mut self, id: CallId) {
        let now_ns = self.now_ns;
        let Some(call) = self.going_on(id) else { return };
        let Holding::Resuming { since_ns } = call.holding else {
            return;
        };
        if call.ends.iter().all(|end| end.way.has_heard()) {
            call.holding = Holding::Talking;
            let elapsed = now_ns.saturating_sub(since_ns) / 1000;
            self.ledger.at(now_ns).record(Measure::Resume, elapsed);
            self.plan_hold(id);
        }
    }

    fn begin_held(&mut self, id: CallId, by: u16) {
        let lasts = self.parts.load.phone.as_ref().map(|plan| plan.hold_for);
        if let Some(call) = self.going_on(id) {
            call.holding = Holding::Held { by };
        }
        let after_ns = self.draw_ns(id, lasts.unwrap_or_default());
        self.step_after(id, after_ns);
    }

    fn fail_hold(&mut self, why: &str) {
        let interval = self.ledger.at(self.now_ns);
        interval.counts.phones.holds_failed += 1;
        interval.note(why, 1);
    }

    /// Somebody presses a key, unless the call is held or one is pressed already.
    pub(super) fn press(&mut self, id: CallId) {
        let number = self.number_drawn(id);
        let Some(call) = self.going_on(id) else { return };
        let is_free = call.holding == Holding::Talking && call.ends.iter().all(|end| !end.stream.is_pressing());
        let end = &mut call.ends[usize::from(number.is_multiple_of(2))];
        if is_free && end.stream.takes_events() {
            let digit = DIGITS[usize::try_from(number).unwrap_or(0) % DIGITS.len()];
            if end.stream.press(digit) {
                // With the packet that is due next.
                let due_ns = end.way.next_ns();
                end.pressed.push_back((digit, due_ns));
                self.ledger.at(due_ns).counts.phones.digits_sent += 1;
            }
        }
        self.plan_key(id);
    }

    pub(super) fn hear_key(&mut self, id: CallId, listener: u16, digit: char) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let pressed = &mut call.ends[usize::from(1 - listener)].pressed;
        let interval = self.ledger.at(self.now_ns);
        match pressed.pop_front() {
            Some((known, pressed_ns)) if known == digit => {
                interval.counts.phones.digits_heard += 1;
                interval.record(Measure::Digit, self.now_ns.saturating_sub(pressed_ns) / 1000);
            }
            _ => {
                interval.counts.phones.digits_lost += 1;
                interval.note("a key was heard that was not pressed then", 1);
            }
        }
    }
}

/// How often is looked at what a hold waits for.
const STEP_NS: u64 = 10_000_000;

const DIGITS: [char; 12] = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '0', '*', '#'];
