//! What is owed when the relay or the network took somebody's connection: all that its call would
//! have said and heard by its own plan. The others talk on, it says its part to nobody, and what
//! does not come is lost.

use std::time::Duration;

use crate::truth::interval::Ledger;

use super::call::Call;
use super::ids::{CallId, Member};
use super::lines::Lines;
use super::nanoseconds;
use super::person::Phase;
use super::shard::{Due, Shard};

/// A shorter silence may be a late packet.
const SILENCE_MIN: Duration = Duration::from_millis(1500);

impl Shard {
    /// A participant's connection was ended or could not be made.
    pub(super) fn handle_lost(&mut self, call: CallId, participant: u16, reason: &str) {
        let redials = self.parts.load.behaviour.redials;
        if redials
            && self
                .calls
                .get(&call)
                .is_some_and(|state| state.people[usize::from(participant)].is_lost)
        {
            // It is not back yet, and tries again when its attempt has had its time.
            if let Some(state) = self.calls.get_mut(&call) {
                state.people[usize::from(participant)].line = None;
            }
            return;
        }
        let interval = self.ledger.at(self.now_ns);
        interval.counts.connections_lost += 1;
        interval.note(reason, 1);
        self.stop_moving(call, participant);
        let Some(state) = self.calls.get_mut(&call) else { return };
        if !state.is_established || state.ending_ns.is_some() {
            state.disconnect(participant, self.now_ns, &mut self.lines);
            self.fail_unless_established(call);
            return self.begin_end(call);
        }
        // Who was about to come back has not said anything yet.
        let is_silent = state.people[usize::from(participant)].phase == Phase::Dialling;
        state.lose_line(participant, self.now_ns, &mut self.lines);
        if is_silent {
            self.begin_talking(call, participant);
        }
        if redials {
            self.redial(call, participant, 0);
        }
    }

    /// Sees on which lines of a call packets have come.
    pub(super) fn look_at_lines(&mut self, call: CallId) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        for person in &mut state.people {
            let Some((received, timeouts)) = person.line.and_then(|line| self.lines.received(line)) else {
                continue;
            };
            person.is_unanswered = received == person.received && timeouts > person.timeouts;
            if received != person.received {
                (person.received, person.received_ns, person.timeouts) = (received, self.now_ns, timeouts);
            }
        }
    }

    /// A connection on which nothing comes any more is lost as well, though nobody has ended it: of a relay that has died,
    /// a run may end before its connections do.
    pub(super) fn count_silent(&mut self, call: CallId) {
        self.look_at_lines(call);
        let Some(state) = self.calls.get(&call) else { return };
        let is_long = |since_ns: u64| since_ns >= nanoseconds(SILENCE_MIN);
        for (participant, person) in (0..).zip(&state.people) {
            // Where nobody has anything to say, nothing comes either.
            let is_mute = person.line.is_some() && person.is_unanswered && is_long(self.now_ns - person.received_ns);
            if is_mute && is_long(state.silent_ns(participant)) {
                let interval = self.ledger.at(self.now_ns);
                interval.counts.connections_lost += 1;
                interval.note("nothing came any more: the relay or the path to it is dead", 1);
            }
        }
    }

    /// Who has come back is to hear the others and be heard as soon as a call is to be set up.
    pub(super) fn plan_rejoin_check(&mut self, call: CallId, participant: u16) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        state.expect_for_lost(participant, self.now_ns);
        let generation = state.people[usize::from(participant)].generation;
        let of = Member {
            call,
            participant,
            generation,
        };
        let back_ns = self.now_ns + nanoseconds(self.parts.load.setup_max);
        self.at(back_ns, Due::RejoinCheck { of });
    }

    pub(super) fn check_rejoined(&mut self, of: Member) {
        if self.is_current(of)
            && let Some(state) = self.calls.get_mut(&of.call)
        {
            state.count_unannounced(of.participant, self.now_ns, &mut self.ledger);
        }
    }
}

impl Call {
    /// For how long a participant has heard nothing of anybody, though somebody spoke to it.
    fn silent_ns(&self, listener: u16) -> u64 {
        let legs = self.legs.iter().map(|(_, leg)| leg);
        legs.filter(|leg| leg.listener == listener && leg.track == 0 && leg.closed_ns.is_none())
            .map(|leg| {
                let speaker = &self.people[usize::from(leg.publisher)];
                leg.leg.silent_ns(&speaker.tracks[usize::from(leg.track)].log)
            })
            .min()
            .unwrap_or(0)
    }

    pub(super) fn lose_line(&mut self, participant: u16, now_ns: u64, lines: &mut Lines) {
        let person = &mut self.people[usize::from(participant)];
        if let Some(line) = person.line.take() {
            lines.close(line);
        }
        person.is_lost = true;
        person.subscriptions.clear();
        person.arriving.clear();
        person.announced_on.clear();
        for track in &mut person.tracks {
            track.subscribers.clear();
            track.group = None;
        }
        self.expect_for_lost(participant, now_ns);
    }

    /// Between those who have lost their connections and the others all is owed, whether they had
    /// found each other or not.
    fn expect_for_lost(&mut self, participant: u16, now_ns: u64) {
        for (listener, publisher) in self.pairs(participant) {
            let is_lost = [listener, publisher]
                .iter()
                .any(|who| self.people[usize::from(*who)].is_lost);
            if is_lost {
                self.open_missing(listener, publisher, now_ns);
            }
        }
    }

    /// Someone who came back cannot be subscribed to while the others do not see the announcement, or the
    /// other way round: that counts as a lost subscription. Of two who came back the later one counts it.
    fn count_unannounced(&mut self, participant: u16, now_ns: u64, ledger: &mut Ledger) {
        let person = |who: u16| &self.people[usize::from(who)];
        let came = |who: u16| (person(who).joined_ns, who);
        let is_missing = |(listener, publisher): &(u16, u16)| {
            came(*listener).max(came(*publisher)) == came(participant)
                && !person(*listener).is_lost
                && !person(*publisher).is_lost
                && self.open_leg(*listener, *publisher, 0).is_none()
        };
        let missing: Vec<(u16, u16)> = self.pairs(participant).into_iter().filter(is_missing).collect();
        for (listener, publisher) in missing {
            let interval = ledger.at(now_ns);
            interval.counts.subscriptions_lost += 1;
            interval.note("somebody who came back was not announced in time, or nobody to them", 1);
            self.open_missing(listener, publisher, now_ns);
        }
    }

    /// Listeners and publishers that one of the call is to hear or to be heard by, and that are
    /// there.
    fn pairs(&self, participant: u16) -> Vec<(u16, u16)> {
        let is_there = |who: &u16| {
            let person = &self.people[usize::from(*who)];
            person.leaving_ns.is_none() && (person.is_lost || person.phase != Phase::Dialling)
        };
        (0..self.load.shape.people())
            .filter(|other| is_there(other) && is_there(&participant))
            .flat_map(|other| [(participant, other), (other, participant)])
            .filter(|(listener, publisher)| self.load.shape.hears(*listener, *publisher))
            .collect()
    }

    /// What is sent from here on is expected, on tracks that the listener has no leg for.
    fn open_missing(&mut self, listener: u16, publisher: u16, now_ns: u64) {
        for track in 0..u8::try_from(self.load.tracks.len()).unwrap_or(u8::MAX) {
            if self.open_leg(listener, publisher, track).is_none() {
                self.open(listener, publisher, track, now_ns);
            }
        }
    }
}
