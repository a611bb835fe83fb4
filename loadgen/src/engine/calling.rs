//! Calls between phones: dialled, rung, answered and hung up by signalling. In between a call is one like others, on the
//! lines that its phones have.

use std::sync::atomic::Ordering;
use std::time::Duration;

use moqswitch_proto::session::{AnnouncementEvent, Event, RequestEvent};
use moqswitch_proto::wire::{Advertisement, BroadcastPath, stream_error};
use moqswitch_relay::quic::ConnectionKey;
use rand::RngExt;

use crate::model::{Purpose, random};
use crate::signalling::{News, What, Word, answer, call, hang_up, reject, ringing};
use crate::truth::interval::Measure;
use crate::truth::leg::SETTLE;

use super::call::Call;
use super::ids::CallId;
use super::lines::{Happening, NO_SUCH_TRACK};
use super::nanoseconds;
use super::person::Phase;
use super::phone::{PhoneCall, PhoneState, Phones};
use super::publish::end_group;
use super::shard::{Due, Shard};

impl Shard {
    /// One phone dials another, when both are free. Where there are none the call is blocked.
    pub(super) fn dial_phone(&mut self, id: CallId, intended_ns: u64) {
        let load = self.parts.load.clone();
        let Some(phones) = &mut self.phones else { return };
        let Some([caller, callee]) = phones.take_two() else {
            self.ledger.at(intended_ns).counts.calls_blocked += 1;
            return;
        };
        for (participant, phone) in [(0, caller), (1, callee)] {
            phones.all[phone].state = PhoneState::Busy(id, participant);
        }
        let to = phones.all[callee].number.clone();
        let mut state = Call::new(id, &load, intended_ns);
        state.phone = Some(PhoneCall::new([caller, callee]));
        self.calls.insert(id, state);
        self.parts.controls.calls_up.fetch_add(1, Ordering::Relaxed);
        self.ledger.at(self.now_ns).counts.calls_attempted += 1;
        self.say(caller, call(&to, &format!("c{id}")), intended_ns);
        let answers_ns = nanoseconds(self.answers_after(id));
        self.at(
            self.now_ns + answers_ns + nanoseconds(load.setup_max),
            Due::Overdue { call: id },
        );
        self.at(self.now_ns + SETTLE_INTERVAL_NS, Due::Settle { call: id });
    }

    /// How long the phone that is called rings.
    fn answers_after(&self, id: CallId) -> Duration {
        let load = &self.parts.load;
        let plan = load.phone.as_ref();
        let drawn = plan.and_then(|plan| plan.answer.draw(&mut random(load.seed, Purpose::Answer, u64::from(id))));
        drawn.unwrap_or_default()
    }

    /// Says something by a phone that was due at a time.
    pub(super) fn say(&mut self, phone: usize, message: serde_json::Value, due_ns: u64) {
        let due = self.parts.clock.instant(due_ns);
        let is_said = self
            .phones
            .as_ref()
            .is_none_or(|phones| phones.say(phone, message, due));
        if !is_said {
            self.ledger
                .at(self.now_ns)
                .note("a phone had something to say, and no socket", 1);
        }
    }

    /// Takes what the sockets have heard.
    pub(super) fn hear_phones(&mut self) {
        let end_ns = self.now_ns;
        while let Some(News { phone, at, what }) = self.phones.as_ref().and_then(|phones| phones.sockets.poll()) {
            self.now_ns = self.parts.clock.ns(at);
            match what {
                What::Word(word) => self.hear(phone, word),
                What::Late(late) => {
                    let late_us = nanoseconds(late) / 1000;
                    self.ledger.at(self.now_ns).record(Measure::SetupLag, late_us);
                }
                What::Gone(reason) => self.lose_socket(phone, &reason),
                What::Registered { .. } => {}
            }
        }
        self.now_ns = self.now_ns.max(end_ns);
    }

    fn hear(&mut self, phone: usize, word: Word) {
        let Some(phones) = &self.phones else { return };
        let (id, participant) = match phones.all[phone].state {
            PhoneState::Busy(id, participant) => (id, participant),
            PhoneState::Parting { since_ns } => {
                if let Word::Ended { .. } = word {
                    self.part(phone, since_ns);
                }
                return;
            }
            _ => return self.hear_unasked(phone, &word),
        };
        match word {
            Word::Incoming { call, from } => self.ring(id, participant, phone, call, &from),
            Word::Ringing { call } => self.note_ringing(id, call),
            Word::Accepted { call, publish } => self.begin_media(id, participant, call, &publish),
            Word::Held { hold } => self.note_held(id, participant, hold),
            Word::Digits(digits) => self.hear_digits(id, participant, &digits),
            Word::Ended { reason } => self.note_ended(id, participant, &reason),
            Word::Error { code, message } => {
                let interval = self.ledger.at(self.now_ns);
                interval.counts.phones.refused += 1;
                interval.note(&format!("the switch refused something: {code} {message}"), 1);
                self.fail_unless_established(id);
                self.end_unless_up(id);
            }
            Word::Leaving(reason) => self.ledger.at(self.now_ns).note(&reason, 1),
            Word::Registered { .. } | Word::Refused { .. } => {}
        }
    }

    /// A phone without a call hears of one, or that something went wrong.
    fn hear_unasked(&mut self, phone: usize, word: &Word) {
        match word {
            Word::Incoming { call, .. } => {
                self.say(phone, reject(call), self.now_ns);
                self.ledger
                    .at(self.now_ns)
                    .note("a phone was called that nobody dialled", 1);
            }
            Word::Error { code, message } => {
                let interval = self.ledger.at(self.now_ns);
                interval.counts.phones.refused += 1;
                interval.note(&format!("the switch refused something: {code} {message}"), 1);
            }
            Word::Leaving(reason) => self.ledger.at(self.now_ns).note(reason, 1),
            _ => {}
        }
    }

    fn ring(&mut self, id: CallId, participant: u16, phone: usize, name: String, from: &str) {
        let answers_after = self.answers_after(id);
        let Some(phones) = &self.phones else { return };
        let Some(state) = self.calls.get_mut(&id).and_then(|call| call.phone.as_mut()) else {
            return;
        };
        if participant != 1 || phones.all[state.phones[0]].number != from {
            self.ledger
                .at(self.now_ns)
                .note("a phone was called by one that did not dial it", 1);
            return self.say(phone, reject(&name), self.now_ns);
        }
        state.name = Some(name.clone());
        self.say(phone, ringing(&name), self.now_ns);
        self.at(self.now_ns + nanoseconds(answers_after), Due::Answer { call: id });
    }

    fn note_ringing(&mut self, id: CallId, name: String) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(state) = &mut call.phone else { return };
        state.name.get_or_insert(name);
        if !std::mem::replace(&mut state.has_rung, true) {
            let elapsed = self.now_ns.saturating_sub(call.intended_ns) / 1000;
            self.ledger.at(self.now_ns).record(Measure::Ringing, elapsed);
        }
    }

    /// It is answered, unless the caller has given up.
    pub(super) fn answer_phone(&mut self, id: CallId, due_ns: u64) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none()) else {
            return;
        };
        let Some(state) = &mut call.phone else { return };
        let Some(name) = state.name.clone() else { return };
        let phone = state.phones[1];
        state.answered_ns = Some(due_ns);
        for person in &mut call.people {
            person.joined_ns = due_ns;
        }
        self.say(phone, answer(&name), due_ns);
    }

    /// The call is up for a phone: it publishes, and listens for the other.
    fn begin_media(&mut self, id: CallId, participant: u16, name: String, publish: &str) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(state) = &mut call.phone else { return };
        let at = usize::from(participant);
        // Once more when somebody came or went; of that nothing changes here.
        if call.ending_ns.is_some() || state.paths[at].is_some() {
            return;
        }
        let answered_ns = state.answered_ns.unwrap_or(call.intended_ns);
        state.name.get_or_insert(name);
        state.paths[at] = Some(BroadcastPath::new(publish));
        let prefix = state.prefix();
        let phone = state.phones[at];
        let elapsed = self.now_ns.saturating_sub(answered_ns) / 1000;
        self.ledger.at(self.now_ns).record(Measure::Accepted, elapsed);
        let Some(phones) = &mut self.phones else { return };
        let Some(line) = phones.all[phone].line else {
            return self.fail_phone_call(id, "a phone has no line to talk by");
        };
        let person = &mut call.people[at];
        person.line = Some(line);
        (person.phase, person.phase_began_ns) = (Phase::Connected, self.now_ns);
        self.by_line.insert(line, (id, participant));
        let path = BroadcastPath::new(publish);
        if let Some(session) = self.lines.session(line) {
            state.watched[at] = prefix.and_then(|prefix| session.request_announce(&prefix));
            for (request, below) in &phones.all[phone].requests {
                if let Some(suffix) = path.strip_prefix(below) {
                    session.announce(*request, &suffix, &Advertisement::default());
                    person.announced_on.push((line, *request, suffix));
                }
            }
        }
        call.advance(participant, self.now_ns, &mut self.ledger);
        self.begin_talking(id, participant);
    }

    /// What a line of a phone says that no call has to know. True: nothing else is to be done.
    pub(super) fn handle_phone_happening(&mut self, line: ConnectionKey, happening: &Happening) -> bool {
        let Some(phones) = &mut self.phones else { return false };
        let Some(phone) = phones.by_line.get(&line).copied() else {
            return true;
        };
        match happening {
            Happening::Established => {
                // A session that says nothing is not looked at by every relay.
                if phones.all[phone].state == PhoneState::Dialling {
                    phones.set_free(phone);
                }
                true
            }
            Happening::Ended(reason) => {
                phones.by_line.remove(&line);
                phones.all[phone].line = None;
                // Who talks by it counts it; a call that is not answered yet finds out then.
                if self.by_line.contains_key(&line) {
                    return false;
                }
                if !matches!(phones.all[phone].state, PhoneState::Busy(..)) {
                    phones.set_gone(phone);
                }
                let interval = self.ledger.at(self.now_ns);
                interval.counts.connections_lost += 1;
                interval.note(reason, 1);
                true
            }
            Happening::Session(Event::Announcement(AnnouncementEvent::AnnounceRequest { request, message })) => {
                phones.all[phone].requests.push((*request, message.prefix.clone()));
                let place = match phones.all[phone].state {
                    PhoneState::Busy(id, participant) => Some((id, participant)),
                    _ => None,
                };
                let call = place.and_then(|(id, participant)| Some((self.calls.get_mut(&id)?, participant)));
                let call = call.filter(|(call, _)| call.ending_ns.is_none());
                let own = call.and_then(|(call, participant)| {
                    let path = call.phone.as_ref()?.paths[usize::from(participant)].clone()?;
                    Some((path.strip_prefix(&message.prefix)?, call, participant))
                });
                let Some(session) = self.lines.session(line) else {
                    return true;
                };
                session.announce_ok(*request, u64::from(own.is_some()));
                if let Some((suffix, call, participant)) = own {
                    session.announce(*request, &suffix, &Advertisement::default());
                    call.people[usize::from(participant)]
                        .announced_on
                        .push((line, *request, suffix));
                }
                true
            }
            Happening::Session(Event::Announcement(AnnouncementEvent::AnnounceRequestEnded { request })) => {
                phones.all[phone].requests.retain(|(known, _)| known != request);
                false
            }
            Happening::Session(Event::Request(event)) if !self.by_line.contains_key(&line) => {
                // Of a call that is over.
                if let (
                    RequestEvent::Track { request, .. }
                    | RequestEvent::Subscribe { request, .. }
                    | RequestEvent::Fetch { request, .. },
                    Some(session),
                ) = (event, self.lines.session(line))
                {
                    session.refuse(*request, NO_SUCH_TRACK);
                }
                true
            }
            Happening::Session(_) => false,
        }
    }

    /// The switch says that the call is over.
    fn note_ended(&mut self, id: CallId, participant: u16, reason: &str) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let is_up = call.is_established;
        let Some(state) = &mut call.phone else { return };
        state.is_ended[usize::from(participant)] = true;
        if call.ending_ns.is_some() {
            return;
        }
        let interval = self.ledger.at(self.now_ns);
        interval.counts.phones.calls_dropped += u64::from(is_up);
        interval.note(&format!("the switch ended a call: {reason}"), 1);
        self.fail_unless_established(id);
        self.begin_end(id);
    }

    fn fail_phone_call(&mut self, id: CallId, why: &str) {
        self.ledger.at(self.now_ns).note(why, 1);
        self.fail_unless_established(id);
        self.begin_end(id);
    }

    fn end_unless_up(&mut self, id: CallId) {
        if self.calls.get(&id).is_some_and(|call| !call.is_established) {
            self.begin_end(id);
        }
    }

    fn lose_socket(&mut self, phone: usize, reason: &str) {
        let Some(phones) = &mut self.phones else { return };
        let state = phones.all[phone].state;
        phones.set_gone(phone);
        let interval = self.ledger.at(self.now_ns);
        interval.counts.phones.sockets_lost += 1;
        interval.counts.connections_lost += 1;
        interval.note(&format!("signalling: {reason}"), 1);
        self.parts.controls.last_reason.force_push(reason.to_owned());
        // Its call cannot be hung up by it any more; media may go on, and is owed.
        if let PhoneState::Busy(id, participant) = state {
            if let Some(state) = self.calls.get_mut(&id).and_then(|call| call.phone.as_mut()) {
                state.is_ended[usize::from(participant)] = true;
            }
            self.fail_unless_established(id);
            self.end_unless_up(id);
        }
    }

    /// Everything that was said was heard, or had its time: the call is hung up.
    pub(super) fn hang_up_phones(&mut self, id: CallId) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        call.settle(self.now_ns, true, &mut self.ledger);
        let Some(state) = call.phone.take() else { return };
        for participant in 0..2_u16 {
            let at = usize::from(participant);
            call.unannounce(participant, &mut self.lines);
            let person = &mut call.people[at];
            let Some(line) = person.line.take() else { continue };
            self.by_line.remove(&line);
            for track in &mut person.tracks {
                end_group(track, &mut self.lines);
            }
            let Some(session) = self.lines.session(line) else {
                continue;
            };
            for (_, subscription) in person.subscriptions.keys() {
                session.unsubscribe(*subscription);
            }
            for track in &person.tracks {
                for subscriber in &track.subscribers {
                    session.finish(subscriber.request);
                }
            }
            if let Some(watched) = state.watched[at] {
                session.cancel(watched, stream_error::CANCEL);
            }
        }
        let lost = state.pressed.iter().map(|keys| keys.len() as u64).sum::<u64>();
        let counts = &mut self.ledger.at(self.now_ns).counts;
        counts.phones.digits_lost += lost;
        counts.calls_ended += u64::from(call.is_established);
        self.parts.controls.calls_up.fetch_sub(1, Ordering::Relaxed);
        self.end_signalling(id, &state, call.is_established);
    }

    fn end_signalling(&mut self, id: CallId, state: &PhoneCall, was_up: bool) {
        let since_ns = self.now_ns;
        let is_there = |phones: &Phones, at: usize| matches!(phones.all[state.phones[at]].state, PhoneState::Busy(of, _) if of == id);
        let Some(phones) = &mut self.phones else { return };
        // Only who called can give up before the answer.
        let by_callee = was_up && random(self.parts.load.seed, Purpose::Answer, !u64::from(id)).random_bool(0.5);
        let order = if by_callee { [1, 0] } else { [0, 1] };
        let hangs_up = order
            .into_iter()
            .find(|at| is_there(phones, *at) && !state.is_ended[*at] && (was_up || *at == 0));
        for at in [0, 1] {
            let phone = state.phones[at];
            if !is_there(phones, at) {
                continue;
            }
            let was_called = at == 0 || state.name.is_some();
            if state.is_ended[at] || !was_called || hangs_up.is_none() {
                // A phone that was never called is told nothing. One that comes too late is turned away.
                phones.set_free(phone);
            } else {
                phones.set_parting(phone, since_ns);
            }
        }
        if let Some(at) = hangs_up {
            let name = state.name_for(id, u16::from(at == 1));
            self.say(state.phones[at], hang_up(&name), since_ns);
        }
        for phone in state.phones {
            self.at(
                since_ns + nanoseconds(self.parts.load.setup_max),
                Due::Part { phone, since_ns },
            );
        }
    }

    /// A phone was told that its call is over.
    fn part(&mut self, phone: usize, since_ns: u64) {
        let elapsed = self.now_ns.saturating_sub(since_ns) / 1000;
        self.ledger.at(self.now_ns).record(Measure::HangUp, elapsed);
        if let Some(phones) = &mut self.phones {
            phones.set_free(phone);
        }
    }

    /// It should have been told by now. It is called no more.
    pub(super) fn part_untold(&mut self, phone: usize, since_ns: u64) {
        let Some(phones) = &mut self.phones else { return };
        if phones.all[phone].state == (PhoneState::Parting { since_ns }) {
            phones.set_gone(phone);
            let interval = self.ledger.at(self.now_ns);
            interval.counts.phones.ends_untold += 1;
            interval.note("a phone was not told that its call is over", 1);
        }
    }

    /// Whether a call may be hung up, or has waited long enough for what was to come.
    pub(super) fn is_drained(&self, call: &Call, ending_ns: u64) -> bool {
        let are_keys_heard = call.phone.as_ref().is_none_or(PhoneCall::are_keys_heard);
        (call.is_complete() && are_keys_heard) || self.now_ns >= ending_ns + nanoseconds(SETTLE)
    }

    /// Hangs up every line and socket, when all calls are over.
    pub(super) fn leave_switch(&mut self) {
        let Some(phones) = &mut self.phones else { return };
        for line in phones.by_line.drain().map(|(line, _)| line) {
            self.lines.close(line);
        }
        phones.sockets.finish();
    }
}

const SETTLE_INTERVAL_NS: u64 = 500_000_000;
