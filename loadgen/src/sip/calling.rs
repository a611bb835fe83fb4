//! Calls are dialled, rung, answered and hung up, by what agents do and tell.

use std::sync::atomic::Ordering;

use moqswitch_sip::agent::{End as Ended, EndedBy, Event, Invited, LegKey};
use moqswitch_sip::sdp::{Agreed, Description, Direction};
use rand::RngExt;

use crate::engine::{CallId, nanoseconds};
use crate::model::{Purpose, random};
use crate::truth::interval::Measure;
use crate::truth::leg::SETTLE;

use super::call::{Beginning, Call, spoken};
use super::listening::Listeners;
use super::shard::{Due, Member, SETTLE_INTERVAL, Shard};
use super::telephones::State;

impl Shard {
    /// One telephone calls another, when both are free. Where there are none the call is blocked.
    pub(super) fn dial(&mut self, id: CallId, intended_ns: u64) {
        let load = self.parts.load.clone();
        let Some(phones) = self.phones.take_two() else {
            self.ledger.at(intended_ns).counts.calls_blocked += 1;
            return;
        };
        let begins = Beginning {
            intended_ns,
            answers_after_ns: self.answers_after_ns(id),
            phones: phones.map(|phone| (phone, self.phones.all[phone].group)),
            streams: phones.map(|phone| {
                let socket = phone % self.wire.rtp_count();
                (socket, self.wire.rtp_local(socket), self.random.next())
            }),
        };
        let Some(mut call) = Call::new(id, &load, &begins) else {
            return;
        };
        for (participant, phone) in [(0, phones[0]), (1, phones[1])] {
            self.phones.all[phone].state = State::Busy(id, participant);
            let ssrc = call.ends[usize::from(participant)].stream.ssrc();
            self.by_ssrc.insert(ssrc, (id, 1 - participant));
        }
        let [from, to] = phones.map(|phone| self.phones.all[phone].number.clone());
        let offer = call.ends[0].description.offer(&[spoken(&load)], Direction::SendReceive);
        let (phone, group) = begins.phones[0];
        self.note_setup_lag(intended_ns);
        let now = self.now();
        let leg = self.groups[group].call(now, phone, &from, &to, offer);
        call.ends[0].leg = leg;
        self.calls.insert(id, call);
        self.parts.controls.calls_up.fetch_add(1, Ordering::Relaxed);
        self.ledger.at(self.now_ns).counts.calls_attempted += 1;
        self.at(self.now_ns + nanoseconds(SETTLE_INTERVAL), Due::Settle { call: id });
        let Some(leg) = leg else {
            self.ledger.at(self.now_ns).counts.sip.requests_unsent += 1;
            return self.fail(id, "the generator has no room for a call");
        };
        self.by_leg.insert(
            (group, leg),
            Member {
                call: id,
                participant: 0,
                phone,
            },
        );
        let overdue_ns = self.now_ns + begins.answers_after_ns + nanoseconds(load.setup_max);
        self.at(overdue_ns, Due::Overdue { call: id });
    }

    /// How long the telephone that is called rings.
    fn answers_after_ns(&self, id: CallId) -> u64 {
        let load = &self.parts.load;
        let plan = load.phone.as_ref();
        let drawn = plan.and_then(|plan| plan.answer.draw(&mut random(load.seed, Purpose::Answer, u64::from(id))));
        nanoseconds(drawn.unwrap_or_default())
    }

    /// Something was to be done at a time, and is done.
    fn note_setup_lag(&mut self, intended_ns: u64) {
        let lag_ns = self
            .parts
            .clock
            .ns(std::time::Instant::now())
            .saturating_sub(intended_ns);
        self.ledger.at(self.now_ns).record(Measure::SetupLag, lag_ns / 1000);
    }

    pub(super) fn take_event(&mut self, group: usize, event: Event) {
        let member = |shard: &Self, leg: LegKey| shard.by_leg.get(&(group, leg)).copied();
        match event {
            Event::Invited(invited) => self.ring(group, &invited),
            Event::Progress { leg, status, .. } => {
                if let Some(member) = member(self, leg).filter(|_| status >= 180) {
                    self.note_ringing(member.call);
                }
            }
            Event::Answered { leg, body } => {
                if let Some(member) = member(self, leg) {
                    self.take_answer(member, &body);
                }
            }
            Event::Confirmed { leg, body } => {
                if let Some(member) = member(self, leg) {
                    self.take_confirmed(member, body.as_deref());
                }
            }
            Event::Offered { leg, body } => {
                if let Some(member) = member(self, leg) {
                    self.answer_offer(group, leg, member, body.as_deref());
                }
            }
            Event::OfferAnswered { leg, body } => {
                if let Some(member) = member(self, leg) {
                    self.take_offer_answer(member, body.as_deref());
                }
            }
            Event::Digit { leg, digit, .. } => {
                if let Some(member) = member(self, leg) {
                    self.hear_key(member.call, member.participant, digit);
                }
            }
            Event::Ended { leg, end } => {
                if let Some(member) = self.by_leg.remove(&(group, leg)) {
                    self.take_ended(member, &end);
                }
            }
            // Nobody transfers, watches or writes, and telephones count nobody's faults.
            Event::Transfer { .. }
            | Event::ReferProgress { .. }
            | Event::Trunk { .. }
            | Event::Subscribed(_)
            | Event::Unsubscribed { .. }
            | Event::Published { .. }
            | Event::Text(_)
            | Event::TextSent { .. }
            | Event::Noticed { .. } => {}
        }
    }

    /// A telephone is called.
    fn ring(&mut self, group: usize, invited: &Invited) {
        if let Err((status, why)) = self.begin_ringing(group, invited) {
            let now = self.now();
            self.ledger.at(self.now_ns).note(why, 1);
            self.groups[group].agent.hang_up(now, invited.leg, status, None);
        }
    }

    fn begin_ringing(&mut self, group: usize, invited: &Invited) -> Result<(), (u16, &'static str)> {
        let phone = self
            .phones
            .find(&invited.to)
            .filter(|phone| self.phones.all[*phone].group == group);
        let phone = phone.ok_or((404, "a telephone was called that is not there"))?;
        let State::Busy(id, 1) = self.phones.all[phone].state else {
            return Err((486, "a telephone was called that nobody dialled"));
        };
        let now = self.now();
        let load = self.parts.load.clone();
        let call = self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none());
        let call = call.ok_or((486, "a telephone was called when its call was over"))?;
        let caller = &self.phones.all[call.ends[0].phone].number;
        let end = &mut call.ends[1];
        if *caller != invited.caller.user || end.leg.is_some() {
            return Err((486, "a telephone was called by one that did not dial it"));
        }
        let codecs = [spoken(&load)];
        let agreed = match &invited.body {
            Some(body) => {
                let offer = Description::parse(body).map_err(|_| (400, "the switch offered what is no description"))?;
                let answered = end.description.answer(&offer, &codecs, Direction::SendReceive);
                let (answer, agreed) = answered.map_err(|_| (488, "the switch offered another codec"))?;
                end.answer = answer;
                Some(agreed)
            }
            None => {
                end.answer = end.description.offer(&codecs, Direction::SendReceive);
                None
            }
        };
        end.leg = Some(invited.leg);
        let answer_ns = self.now_ns + call.answers_after_ns;
        self.groups[group].agent.ring(now, invited.leg, None);
        self.by_leg.insert(
            (group, invited.leg),
            Member {
                call: id,
                participant: 1,
                phone,
            },
        );
        if let Some(agreed) = agreed {
            self.agree(id, 1, &agreed);
        }
        self.at(answer_ns, Due::Answer { call: id });
        Ok(())
    }

    fn note_ringing(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if !std::mem::replace(&mut call.has_rung, true) {
            let elapsed = self.now_ns.saturating_sub(call.intended_ns) / 1000;
            self.ledger.at(self.now_ns).record(Measure::Ringing, elapsed);
        }
    }

    /// It is answered, unless the caller has given up. Both are to be heard from here on.
    pub(super) fn answer(&mut self, id: CallId, due_ns: u64) {
        let now = self.now();
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none()) else {
            return;
        };
        let Some(leg) = call.ends[1].leg else { return };
        let listeners = self.listeners.as_ref().map_or(0, Listeners::count);
        for end in &mut call.ends {
            end.way.open_beside(listeners, self.now_ns);
        }
        call.answered_ns = Some(due_ns);
        let group = call.ends[1].group;
        self.groups[group].agent.answer(now, leg, &call.ends[1].answer);
        call.open(self.now_ns);
        self.note_setup_lag(due_ns);
        self.begin_talking(id, 1);
    }

    /// The caller was told that its call is up, and acknowledged it.
    fn take_answer(&mut self, member: Member, body: &[u8]) {
        let Some(call) = self.calls.get_mut(&member.call) else {
            return;
        };
        let answer = Description::parse(body).ok();
        let agreed = answer.and_then(|answer| call.ends[0].description.take_answer(&answer).ok());
        let elapsed = self.now_ns.saturating_sub(call.intended_ns + call.answers_after_ns) / 1000;
        self.ledger.at(self.now_ns).record(Measure::Connected, elapsed);
        let Some(agreed) = agreed else {
            return self.fail(
                member.call,
                "the switch answered with a description that is none, or another codec",
            );
        };
        self.agree(member.call, 0, &agreed);
        self.note_known(member.call, 0);
        self.begin_talking(member.call, 0);
    }

    /// Who was called is told that the caller knows.
    fn take_confirmed(&mut self, member: Member, body: Option<&[u8]>) {
        if let Some(answer) = body.and_then(|body| Description::parse(body).ok())
            && let Some(call) = self.calls.get_mut(&member.call)
            && let Ok(agreed) = call.ends[1].description.take_answer(&answer)
        {
            self.agree(member.call, 1, &agreed);
        }
        self.note_known(member.call, 1);
    }

    fn note_known(&mut self, id: CallId, participant: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let answered_ns = call.answered_ns.unwrap_or(call.intended_ns);
        if std::mem::replace(&mut call.ends[usize::from(participant)].knows, true) {
            return;
        }
        let elapsed = self.now_ns.saturating_sub(answered_ns) / 1000;
        self.ledger.at(self.now_ns).record(Measure::Accepted, elapsed);
        if call.ends.iter().all(|end| end.knows) {
            self.expect_later(id);
        }
    }

    /// What a telephone and the switch agreed on: by it packets go, and are known.
    pub(super) fn agree(&mut self, id: CallId, participant: u16, agreed: &Agreed) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let stream = &mut call.ends[usize::from(participant)].stream;
        let before = stream.to.map(|to| (stream.socket, to));
        stream.agree(agreed);
        if let Some(before) = before
            && self.by_source.get(&before) == Some(&(id, participant))
        {
            self.by_source.remove(&before);
        }
        if let Some(to) = stream.to {
            self.by_source.insert((stream.socket, to), (id, participant));
        }
    }

    /// What is said has so long to be let through.
    pub(super) fn expect_later(&mut self, id: CallId) {
        if let Some(opening) = self.calls.get(&id).map(|call| call.openings) {
            self.at(self.now_ns + GRACE_NS, Due::Owed { call: id, opening });
        }
    }

    /// From here on it is owed, if nothing came before.
    pub(super) fn expect(&mut self, id: CallId, opening: u64) {
        let is_meant = |call: &&mut Call| call.ending_ns.is_none() && call.openings == opening;
        if let Some(call) = self.calls.get_mut(&id).filter(is_meant) {
            for end in &mut call.ends {
                end.way.expect(&mut self.ledger);
            }
        }
    }

    /// A leg is over that we did not end.
    fn take_ended(&mut self, member: Member, end: &Ended) {
        let Member {
            call: id,
            participant,
            phone,
        } = member;
        if let State::Parting { call, since_ns } = self.phones.all[phone].state
            && call == id
        {
            return self.part(phone, since_ns);
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (is_up, is_ending) = (call.is_established, call.ending_ns.is_some());
        let own = &mut call.ends[usize::from(participant)];
        (own.is_over, own.leg) = (true, None);
        if is_ending {
            return;
        }
        let elapsed = self.now_ns.saturating_sub(call.intended_ns) / 1000;
        let interval = self.ledger.at(self.now_ns);
        let is_refused = participant == 0 && !own.knows && end.by == EndedBy::Peer && end.status >= 300;
        if is_refused {
            interval.refuse(end.status);
            interval.counts.phones.refused += 1;
            interval.record(Measure::Refused, elapsed);
        } else {
            interval.counts.phones.calls_dropped += u64::from(is_up);
            let who = match end.by {
                EndedBy::Time => "a call was ended by time",
                EndedBy::Peer | EndedBy::Own => "the switch ended a call",
            };
            let cause = end.cause.map_or_else(String::new, |cause| format!(", cause {cause}"));
            interval.note(&format!("{who}: {}{cause}", end.status), 1);
        }
        self.fail_unless_established(id);
        self.begin_end(id);
    }

    pub(super) fn fail(&mut self, id: CallId, why: &str) {
        self.ledger.at(self.now_ns).note(why, 1);
        self.fail_unless_established(id);
        self.begin_end(id);
    }

    pub(super) fn fail_unless_established(&mut self, id: CallId) {
        let is_failed = |call: &&Call| !call.is_established && call.ending_ns.is_none();
        let Some(call) = self.calls.get(&id).filter(is_failed) else {
            return;
        };
        let interval = self.ledger.at(self.now_ns);
        interval.counts.calls_failed += 1;
        if !call.ends[0].is_over {
            interval.note(call.awaited(), 1);
        }
        // A closed loop waits before it tries a switch again that refuses.
        self.closed_after_ns = self.now_ns + CLOSED_BACK_OFF_NS;
    }

    pub(super) fn begin_end(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.ending_ns.is_none()) {
            call.begin_end(self.now_ns);
            self.at(self.now_ns + DRAINED_INTERVAL_NS, Due::Drained { call: id });
        }
    }

    /// Hangs up once the last frames have come, or had their time.
    pub(super) fn hang_up_if_drained(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let waited_ns = call
            .ending_ns
            .map_or(0, |ending_ns| self.now_ns.saturating_sub(ending_ns));
        if !call.is_complete() && waited_ns < nanoseconds(SETTLE) {
            return self.at(self.now_ns + DRAINED_INTERVAL_NS, Due::Drained { call: id });
        }
        let Some(mut call) = self.calls.remove(&id) else { return };
        call.settle(self.now_ns, true, &mut self.ledger);
        for (participant, end) in (0..).zip(&call.ends) {
            self.by_ssrc.remove(&end.stream.ssrc());
            if let Some(to) = end.stream.to {
                let source = (end.stream.socket, to);
                if self.by_source.get(&source) == Some(&(id, participant)) {
                    self.by_source.remove(&source);
                }
            }
        }
        let counts = &mut self.ledger.at(self.now_ns).counts;
        counts.phones.digits_lost += call.ends.iter().map(|end| end.pressed.len() as u64).sum::<u64>();
        counts.calls_ended += u64::from(call.is_established);
        self.parts.controls.calls_up.fetch_sub(1, Ordering::Relaxed);
        self.end_signalling(&call);
    }

    fn end_signalling(&mut self, call: &Call) {
        let since_ns = self.now_ns;
        let now = self.now();
        let is_up = call.ends.iter().all(|end| end.knows);
        // Only who called can give up before the answer.
        let by_callee = is_up && random(self.parts.load.seed, Purpose::Answer, !u64::from(call.id)).random_bool(0.5);
        let order = if by_callee { [1, 0] } else { [0, 1] };
        let mut hung_up = false;
        for at in order {
            let end = &call.ends[at];
            if !matches!(self.phones.all[end.phone].state, State::Busy(of, _) if of == call.id) {
                continue;
            }
            match end.leg.filter(|_| !end.is_over) {
                // A telephone that was never called is told nothing. One that comes too late is turned away.
                None => self.phones.set_free(end.phone),
                Some(leg) if !hung_up => {
                    hung_up = true;
                    self.by_leg.remove(&(end.group, leg));
                    self.groups[end.group].agent.hang_up(now, leg, 480, None);
                    self.phones.set_free(end.phone);
                }
                Some(_) => {
                    self.phones.set_parting(end.phone, call.id, since_ns);
                    let due_ns = since_ns + nanoseconds(self.parts.load.setup_max);
                    self.at(
                        due_ns,
                        Due::Part {
                            phone: end.phone,
                            since_ns,
                        },
                    );
                }
            }
        }
    }

    /// A telephone was told that its call is over.
    fn part(&mut self, phone: usize, since_ns: u64) {
        let elapsed = self.now_ns.saturating_sub(since_ns) / 1000;
        self.ledger.at(self.now_ns).record(Measure::HangUp, elapsed);
        self.phones.set_free(phone);
    }

    /// It should have been told by now. It is called no more.
    pub(super) fn part_untold(&mut self, phone: usize, since_ns: u64) {
        if !matches!(self.phones.all[phone].state, State::Parting { since_ns: since, .. } if since == since_ns) {
            return;
        }
        self.phones.set_gone(phone);
        let (now, group) = (self.now(), self.phones.all[phone].group);
        let legs = self.by_leg.iter().filter(|(_, member)| member.phone == phone);
        let legs: Vec<LegKey> = legs.map(|((_, leg), _)| *leg).collect();
        for leg in legs {
            self.by_leg.remove(&(group, leg));
            self.groups[group].agent.hang_up(now, leg, 480, None);
        }
        let interval = self.ledger.at(self.now_ns);
        interval.counts.phones.ends_untold += 1;
        interval.note("a telephone was not told that its call is over", 1);
    }

    /// The connection of a group is gone, and so are its telephones.
    pub(super) fn lose_stream(&mut self, group: usize, reason: &str) {
        let phones = self.phones.all.iter().enumerate();
        let lost: Vec<usize> = phones
            .filter(|(_, phone)| phone.group == group && phone.state != State::Gone)
            .map(|(index, _)| index)
            .collect();
        let interval = self.ledger.at(self.now_ns);
        interval.counts.connections_lost += 1;
        interval.counts.phones.sockets_lost += lost.len() as u64;
        interval.note(&format!("signalling: {reason}"), 1);
        for phone in lost {
            let state = self.phones.all[phone].state;
            self.phones.set_gone(phone);
            if let State::Busy(id, participant) = state {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.ends[usize::from(participant)].is_over = true;
                }
                self.fail_unless_established(id);
                self.begin_end(id);
            }
        }
    }
}

/// From when both know that a call is up, or goes on, until its speech is owed, if none came before. How soon that comes is
/// measured.
const GRACE_NS: u64 = 1_000_000_000;
const DRAINED_INTERVAL_NS: u64 = 20_000_000;
/// After a call that failed, in a closed loop.
const CLOSED_BACK_OFF_NS: u64 = 1_000_000_000;
