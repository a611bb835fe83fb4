//! What people do of their own accord: mute, leave and come back, lose their connection, take the
//! floor. When, is drawn from the seed.

use std::time::Duration;

use rand::RngExt;

use crate::load::Shape;
use crate::model::{Purpose, random};
use crate::truth::leg::SETTLE;

use super::ids::{CallId, Member};
use super::nanoseconds;
use super::shard::{Departure, Due, Shard};

impl Shard {
    /// Lets people come and go once their call is up.
    pub(super) fn start_behaviour(&mut self, call: CallId) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        if !state.is_established || std::mem::replace(&mut state.has_started_behaviour, true) {
            return;
        }
        let people = u16::try_from(state.people.len()).unwrap_or(u16::MAX);
        let floor = match state.load.shape {
            Shape::PushToTalk { turn, .. } => Some(turn),
            _ => None,
        };
        let hold = state
            .load
            .hold
            .draw(&mut random(state.load.seed, Purpose::Hold, u64::from(call)));
        if let Some(hold) = hold {
            self.at(self.now_ns + nanoseconds(hold), Due::End { call });
        }
        if let Some(turn) = floor {
            self.at(self.now_ns + nanoseconds(turn), Due::Floor { call });
        }
        for participant in 0..people {
            self.plan_behaviour(call, participant);
        }
        self.plan_phones(call);
    }

    pub(super) fn plan_behaviour(&mut self, call: CallId, participant: u16) {
        let Some(state) = self.calls.get(&call) else { return };
        let generation = state.people[usize::from(participant)].generation;
        let of = Member {
            call,
            participant,
            generation,
        };
        let behaviour = state.load.behaviour.clone();
        if let Some(mean) = behaviour.mute_every {
            let ns = self.draw(of, 1, mean);
            self.at(self.now_ns + ns, Due::Mute { of });
        }
        if let Some(mean) = behaviour.leave_every {
            let ns = self.draw(of, 2, mean);
            self.at(self.now_ns + ns, Due::Leave { of });
        }
        if let Some(mean) = behaviour.reconnect_every {
            let ns = self.draw(of, 3, mean);
            self.at(
                self.now_ns + ns,
                Due::Depart {
                    of,
                    departure: Departure::Vanishes,
                },
            );
        }
    }

    /// An exponentially distributed time; the same for the same member and purpose.
    fn draw(&self, of: Member, purpose: u64, mean: Duration) -> u64 {
        let id =
            (u64::from(of.call) << 32) ^ (u64::from(of.participant) << 16) ^ (u64::from(of.generation) << 4) ^ purpose;
        let mut random = random(self.parts.load.seed, Purpose::Behaviour, id ^ (1 << 63));
        nanoseconds(mean.mul_f64(random.sample::<f64, _>(rand_distr::Exp1).min(20.0)))
    }

    pub(super) fn is_current(&self, of: Member) -> bool {
        self.calls.get(&of.call).is_some_and(|call| {
            let person = &call.people[usize::from(of.participant)];
            call.ending_ns.is_none() && person.generation == of.generation
        })
    }

    pub(super) fn toggle_mute(&mut self, of: Member) {
        if !self.is_current(of) {
            return;
        }
        let mean = self.parts.load.behaviour.mute_every.unwrap_or_default();
        let Some(call) = self.calls.get_mut(&of.call) else {
            return;
        };
        let person = &mut call.people[usize::from(of.participant)];
        person.is_muted = !person.is_muted;
        person.mutes += 1;
        // A purpose of its own for each time it is drawn.
        let purpose = 4 + (u64::from(person.mutes) << 40);
        let ns = self.draw(of, purpose, mean);
        self.at(self.now_ns + ns, Due::Mute { of });
    }

    pub(super) fn leave(&mut self, of: Member) {
        let mean = self.parts.load.behaviour.away.unwrap_or_default();
        let away_ns = self.draw(of, 5, mean);
        self.begin_departure(of, Departure::HangsUp { away_ns });
    }

    /// Stops talking and listening; hangs up when the last words have been heard.
    fn begin_departure(&mut self, of: Member, departure: Departure) {
        if !self.is_current(of) {
            return;
        }
        if let Some(call) = self.calls.get_mut(&of.call) {
            call.people[usize::from(of.participant)].leaving_ns = Some(self.now_ns);
            call.leave(of.participant);
        }
        self.at(
            self.now_ns + nanoseconds(DEPARTURE_INTERVAL),
            Due::Depart { of, departure },
        );
    }

    pub(super) fn depart(&mut self, of: Member, departure: Departure) {
        if !self.is_current(of) {
            return;
        }
        let Some(call) = self.calls.get_mut(&of.call) else {
            return;
        };
        let Some(leaving_ns) = call.people[usize::from(of.participant)].leaving_ns else {
            return self.begin_departure(of, departure);
        };
        if !call.is_complete_for(of.participant) && self.now_ns < leaving_ns + nanoseconds(SETTLE) {
            return self.at(
                self.now_ns + nanoseconds(DEPARTURE_INTERVAL),
                Due::Depart { of, departure },
            );
        }
        let line = call.people[usize::from(of.participant)].line;
        if let Some(line) = line {
            self.by_line.remove(&line);
        }
        let back_ns = match departure {
            Departure::HangsUp { away_ns } => {
                call.unannounce(of.participant, &mut self.lines);
                self.now_ns + away_ns
            }
            Departure::Vanishes => {
                line.into_iter().for_each(|line| self.lines.drop_silently(line));
                self.now_ns
            }
        };
        call.disconnect(of.participant, self.now_ns, &mut self.lines);
        self.ledger.at(self.now_ns).counts.reconnects += 1;
        let (call, participant) = (of.call, of.participant);
        self.at(back_ns, Due::Join { call, participant });
    }

    pub(super) fn pass_floor(&mut self, call: CallId, due_ns: u64) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let Shape::PushToTalk { people, turn } = state.load.shape else {
            return;
        };
        state.floor = state.floor.map(|floor| (floor + 1) % people);
        state.floor_ns = due_ns;
        self.at(due_ns + nanoseconds(turn), Due::Floor { call });
    }
}

/// How often who leaves looks whether the last was heard.
const DEPARTURE_INTERVAL: Duration = Duration::from_millis(20);
