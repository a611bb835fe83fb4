//! Hold and keys of calls between phones. While a call is on hold nobody is subscribed to anybody, and nothing is sent.

use std::time::Duration;

use crate::model::wait_in_call;
use crate::signalling::{dtmf, hold};
use crate::truth::interval::Measure;
use crate::truth::leg::SETTLE;

use super::call::Call;
use super::ids::CallId;
use super::nanoseconds;
use super::phone::{Holding, PhoneCall};
use super::shard::{Due, Shard};

impl Shard {
    /// When who is in a call that came up holds it, or presses a key, for the first time.
    pub(super) fn plan_phones(&mut self, id: CallId) {
        if self.calls.get(&id).is_some_and(|call| call.phone.is_some()) {
            self.plan_hold(id);
            self.plan_key(id);
        }
    }

    fn plan_hold(&mut self, id: CallId) {
        let every = self.parts.load.phone.as_ref().and_then(|plan| plan.hold_every);
        if let Some(every) = every {
            let due_ns = self.now_ns + self.draw_for(id, every);
            self.step_at(id, due_ns);
        }
    }

    /// The next step of a hold is due then, and none that was planned before.
    fn step_at(&mut self, id: CallId, due_ns: u64) {
        let Some(state) = self.phone_call(id) else { return };
        state.step += 1;
        let step = state.step;
        self.at(due_ns, Due::Hold { call: id, step });
    }

    fn plan_key(&mut self, id: CallId) {
        let every = self.parts.load.phone.as_ref().and_then(|plan| plan.key_every);
        if let Some(every) = every {
            let due_ns = self.now_ns + self.draw_for(id, every);
            self.at(due_ns, Due::Key { call: id });
        }
    }

    /// An exponentially distributed time, another each time.
    fn draw_for(&mut self, id: CallId, mean: Duration) -> u64 {
        let number = self.number_drawn(id);
        nanoseconds(wait_in_call(self.parts.load.seed, id.into(), number, mean))
    }

    fn number_drawn(&mut self, id: CallId) -> u64 {
        let Some(state) = self.phone_call(id) else { return 0 };
        state.drawn += 1;
        state.drawn
    }

    fn phone_call(&mut self, id: CallId) -> Option<&mut PhoneCall> {
        let call = self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none())?;
        call.phone.as_mut()
    }

    /// The next step of a hold is due.
    pub(super) fn step_hold(&mut self, id: CallId, step: u64) {
        let now_ns = self.now_ns;
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none()) else {
            return;
        };
        let Some(state) = call.phone.as_mut().filter(|state| state.step == step) else {
            return;
        };
        match state.holding {
            Holding::Talking => {
                state.drawn += 1;
                let by = u16::from(state.drawn.is_multiple_of(2));
                state.holding = Holding::Draining { by, since_ns: now_ns };
                (0..2).for_each(|participant| call.leave(participant));
                self.step_at(id, now_ns + STEP_NS);
            }
            Holding::Draining { by, since_ns } => {
                if !call.is_complete() && now_ns < since_ns + nanoseconds(SETTLE) {
                    return self.step_at(id, now_ns + STEP_NS);
                }
                call.close_legs(now_ns);
                self.ask_hold(id, by, true);
            }
            Holding::Asked { by, .. } => {
                self.fail_hold("a hold was not told to both, or somebody was still subscribed");
                // They talk on, and what comes is counted.
                self.begin_held(id, by);
            }
            Holding::Held { by } => self.ask_hold(id, by, false),
            Holding::Resuming { .. } => self.fail_hold("a call did not go on after a hold"),
        }
    }

    fn ask_hold(&mut self, id: CallId, by: u16, on: bool) {
        let now_ns = self.now_ns;
        let Some(state) = self.phone_call(id) else { return };
        state.holding = match on {
            true => Holding::Asked {
                by,
                since_ns: now_ns,
                told: [false; 2],
            },
            false => Holding::Resuming { since_ns: now_ns },
        };
        let (phone, name) = (state.phones[usize::from(by)], state.name_for(id, by));
        self.ledger.at(now_ns).counts.phones.holds += u64::from(on);
        self.say(phone, hold(&name, on), now_ns);
        self.step_at(id, now_ns + nanoseconds(self.parts.load.setup_max));
    }

    /// A phone was told of a hold.
    pub(super) fn note_held(&mut self, id: CallId, participant: u16, is_held: bool) {
        let Some(state) = self.phone_call(id) else { return };
        if let Holding::Asked { told, .. } = &mut state.holding
            && is_held
        {
            told[usize::from(participant)] = true;
            self.look_at_hold(id);
        }
    }

    /// The hold is complete when both were told and nobody is subscribed any more; it is over when both hear each other.
    pub(super) fn look_at_hold(&mut self, id: CallId) {
        let now_ns = self.now_ns;
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none()) else {
            return;
        };
        match call.phone.as_ref().map(|state| state.holding) {
            Some(Holding::Asked { by, since_ns, told }) if told == [true; 2] && call.has_no_subscribers() => {
                let elapsed = now_ns.saturating_sub(since_ns) / 1000;
                self.ledger.at(now_ns).record(Measure::Hold, elapsed);
                self.begin_held(id, by);
            }
            Some(Holding::Resuming { since_ns }) if call.do_both_hear() => {
                if let Some(state) = &mut call.phone {
                    state.holding = Holding::Talking;
                }
                let elapsed = now_ns.saturating_sub(since_ns) / 1000;
                self.ledger.at(now_ns).record(Measure::Resume, elapsed);
                self.plan_hold(id);
            }
            _ => {}
        }
    }

    fn begin_held(&mut self, id: CallId, by: u16) {
        let lasts = self
            .parts
            .load
            .phone
            .as_ref()
            .map_or(Duration::ZERO, |plan| plan.hold_for);
        if let Some(state) = self.phone_call(id) {
            state.holding = Holding::Held { by };
        }
        let due_ns = self.now_ns + self.draw_for(id, lasts);
        self.step_at(id, due_ns);
    }

    fn fail_hold(&mut self, why: &str) {
        let interval = self.ledger.at(self.now_ns);
        interval.counts.phones.holds_failed += 1;
        interval.note(why, 1);
    }

    /// Somebody presses a key.
    pub(super) fn press(&mut self, id: CallId, due_ns: u64) {
        let number = self.number_drawn(id);
        let Some(state) = self.phone_call(id) else { return };
        if state.holding == Holding::Talking {
            let by = u16::from(number.is_multiple_of(2));
            let digit = DIGITS[usize::try_from(number).unwrap_or(0) % DIGITS.len()];
            state.pressed[usize::from(by)].push_back((digit, due_ns));
            let (phone, name) = (state.phones[usize::from(by)], state.name_for(id, by));
            self.ledger.at(due_ns).counts.phones.digits_sent += 1;
            self.say(phone, dtmf(&name, digit), due_ns);
        }
        self.plan_key(id);
    }

    pub(super) fn hear_digits(&mut self, id: CallId, listener: u16, digits: &str) {
        let Some(state) = self.calls.get_mut(&id).and_then(|call| call.phone.as_mut()) else {
            return;
        };
        let pressed = &mut state.pressed[usize::from(1 - listener)];
        let interval = self.ledger.at(self.now_ns);
        for digit in digits.chars() {
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
}

impl Call {
    /// Nothing more is heard by anybody, whatever comes.
    fn close_legs(&mut self, now_ns: u64) {
        let legs: Vec<usize> = self.legs.iter().map(|(leg, _)| leg).collect();
        legs.into_iter().for_each(|leg| self.close(leg, now_ns));
    }

    fn do_both_hear(&self) -> bool {
        (0..2).all(|listener| {
            let leg = self.open_leg(listener, 1 - listener, 0);
            leg.is_some_and(|leg| leg.leg.has_heard())
        })
    }

    fn has_no_subscribers(&self) -> bool {
        let tracks = self.people.iter().flat_map(|person| &person.tracks);
        tracks.into_iter().all(|track| track.subscribers.is_empty())
    }
}

/// How often is looked at what a hold waits for.
const STEP_NS: u64 = 10_000_000;

const DIGITS: [char; 12] = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '0', '*', '#'];
