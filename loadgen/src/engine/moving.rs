//! From one connection to another without a gap: who is asked to go away (GOAWAY) dials anew, says and hears all on both, and
//! hangs up the first when the second is whole. What comes twice is counted once.

use std::time::Duration;

use moqswitch_proto::session::{AnnouncementEvent, SubscribeParameters};
use moqswitch_proto::wire::{GroupRange, SubscribeId};
use moqswitch_relay::quic::ConnectionKey;
use rustc_hash::FxHashSet;

use super::call::{Arrival, Call};
use super::ids::{CallId, Member};
use super::lines::Lines;
use super::nanoseconds;
use super::paths::Owner;
use super::person::{Moving, Phase};
use super::shard::{Due, Shard};

impl Shard {
    /// A relay goes away: another process may answer at its address.
    pub(super) fn begin_moving(&mut self, call: CallId, participant: u16, line: ConnectionKey) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let is_impaired = state.load.is_impaired(participant);
        let person = &mut state.people[usize::from(participant)];
        let of = Member {
            call,
            participant,
            generation: person.generation,
        };
        if self.phones.is_some() || !state.is_established || state.ending_ns.is_some() {
            return self.leave_relay(call, participant, line);
        }
        // The next of the next says so of a line that is not taken yet.
        if person.moving.as_ref().is_some_and(|moving| moving.line == line) {
            self.stop_moving(call, participant);
            let line = self
                .calls
                .get(&call)
                .and_then(|state| state.people[usize::from(participant)].line);
            if let Some(line) = line {
                self.begin_moving(call, participant, line);
            }
            return;
        }
        if person.line != Some(line) || person.moving.is_some() || person.phase == Phase::Dialling {
            return;
        }
        let path = is_impaired.then_some(Owner {
            call,
            participant,
            generation: person.generation,
        });
        let Ok(next) = self.lines.connect(usize::from(participant), path) else {
            return self.leave_relay(call, participant, line);
        };
        person.moving = Some(Moving {
            line: next,
            is_established: false,
            sees: vec![false; person.sees.len()],
            accepted: FxHashSet::default(),
            complete_ns: None,
        });
        self.by_line.insert(next, (call, participant));
        self.look_at_move(of, next, 0);
    }

    pub(super) fn is_on_its_way(&self, call: CallId, participant: u16, line: ConnectionKey) -> bool {
        let state = self.calls.get(&call);
        state.is_some_and(|state| state.is_moving_to(participant, line))
    }

    /// The second connection is there.
    pub(super) fn arrive(&mut self, call: CallId, participant: u16, line: ConnectionKey) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        if let Some(moving) = &mut state.people[usize::from(participant)].moving {
            moving.is_established = true;
        }
        let prefix = state.prefix();
        if let Some(session) = self.lines.session(line) {
            session.request_announce(&prefix);
        }
    }

    fn look_at_move(&mut self, of: Member, line: ConnectionKey, tries: u32) {
        let due = Due::Move {
            of,
            line,
            tries: tries + 1,
        };
        self.at(self.now_ns + nanoseconds(LOOK_INTERVAL), due);
    }

    /// Goes over when the second connection has all, or is left when it comes to nothing.
    pub(super) fn handle_move(&mut self, of: Member, line: ConnectionKey, tries: u32) {
        if !self.is_current(of) || !self.is_on_its_way(of.call, of.participant, line) {
            return;
        }
        let Some(state) = self.calls.get_mut(&of.call) else {
            return;
        };
        let is_complete = state.hears_all_there(of.participant);
        let heard = state.load.shape.heard_by(of.participant);
        let person = &mut state.people[usize::from(of.participant)];
        let (Some(moving), Some(before)) = (&mut person.moving, person.line) else {
            return;
        };
        if is_complete || heard == 0 && moving.is_established {
            moving.complete_ns.get_or_insert(self.now_ns);
        } else {
            moving.complete_ns = None;
        }
        let since_ns = moving.complete_ns.map_or(0, |since| self.now_ns - since);
        if moving.complete_ns.is_some() && since_ns >= nanoseconds(LINGER) {
            state.go_over(of.participant, &mut self.lines);
            self.by_line.remove(&before);
            self.ledger.at(self.now_ns).counts.reconnects += 1;
        } else if tries < TRIES_MAX && (moving.is_established || tries < TRIES_TO_ANSWER) {
            self.look_at_move(of, line, tries);
        } else {
            self.stop_moving(of.call, of.participant);
            self.leave_relay(of.call, of.participant, before);
        }
    }

    /// The second connection is given up. The first is as it was.
    pub(super) fn stop_moving(&mut self, call: CallId, participant: u16) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let person = &mut state.people[usize::from(participant)];
        if let Some(moving) = person.moving.take() {
            self.by_line.remove(&moving.line);
            person.forget_line(moving.line);
            self.lines.close(moving.line);
        }
    }
}

impl Call {
    pub(super) fn is_moving_to(&self, participant: u16, line: ConnectionKey) -> bool {
        let moving = self.people[usize::from(participant)].moving.as_ref();
        moving.is_some_and(|moving| moving.line == line)
    }

    /// Subscribes on the second connection to whoever is announced there. False: it is no matter of subscriptions.
    pub(super) fn handle_announcement_there(
        &mut self,
        at: &mut Arrival<'_>,
        event: &AnnouncementEvent,
        lines: &mut Lines,
    ) -> bool {
        let (path, is_there) = match event {
            AnnouncementEvent::Announced { path, .. } => (path, true),
            AnnouncementEvent::Unannounced { path, .. } => (path, false),
            AnnouncementEvent::AnnounceReplaced { .. } | AnnouncementEvent::AnnounceStreamEnded { .. } => return true,
            AnnouncementEvent::AnnounceRequest { .. } | AnnouncementEvent::AnnounceRequestEnded { .. } => return false,
        };
        let Some(publisher) = self.participant(path) else {
            return true;
        };
        let Some(moving) = &mut self.people[usize::from(at.participant)].moving else {
            return true;
        };
        let was_there = std::mem::replace(&mut moving.sees[usize::from(publisher)], is_there);
        if is_there && !was_there && self.load.shape.hears(at.participant, publisher) {
            self.subscribe_there(at, publisher, lines);
        }
        true
    }

    /// What comes feeds the legs that there are.
    fn subscribe_there(&mut self, at: &mut Arrival<'_>, publisher: u16, lines: &mut Lines) {
        let broadcast = self.path(publisher);
        let load = self.load.clone();
        let Some(session) = lines.session(at.line) else { return };
        for (track, plan) in (0_u8..).zip(&load.tracks) {
            let person = &mut self.people[usize::from(at.participant)];
            let Some(leg) = person.hearing.get(&(publisher, track)).copied() else {
                continue;
            };
            let asked = session.subscribe(SubscribeParameters {
                broadcast: broadcast.clone(),
                track: plan.name.into(),
                epoch: 0,
                priority: plan.priority,
                ordered: false,
                max_latency_ms: u64::try_from(plan.max_latency.as_millis()).unwrap_or(u64::MAX),
                range: GroupRange::default(),
            });
            if let Some((id, _)) = asked {
                person.subscriptions.insert((at.line, id), Some(leg));
            }
        }
    }

    /// A subscription was accepted on the second connection.
    pub(super) fn note_accepted(&mut self, participant: u16, line: ConnectionKey, id: SubscribeId) {
        if let Some(moving) = &mut self.people[usize::from(participant)].moving
            && moving.line == line
        {
            moving.accepted.insert(id);
        }
    }

    /// Whether all that is heard on the first connection is subscribed on the second.
    fn hears_all_there(&self, participant: u16) -> bool {
        let person = &self.people[usize::from(participant)];
        let Some(moving) = &person.moving else { return false };
        let wanted = self.load.shape.heard_by(participant) * self.load.tracks.len();
        let subscribed = person.subscriptions.iter();
        let there = subscribed
            .filter(|((line, id), leg)| *line == moving.line && leg.is_some() && moving.accepted.contains(id));
        moving.is_established && there.count() >= wanted
    }

    /// From here on the second connection is the only one.
    fn go_over(&mut self, participant: u16, lines: &mut Lines) {
        let person = &mut self.people[usize::from(participant)];
        let Some(moving) = person.moving.take() else { return };
        let before = person.line.replace(moving.line);
        let heard = self.load.shape.heard_by(participant);
        let seen = (0..)
            .zip(&moving.sees)
            .filter(|(publisher, sees)| **sees && self.load.shape.hears(participant, *publisher));
        person.unseen = heard.saturating_sub(seen.count());
        person.sees = moving.sees;
        (person.received, person.timeouts, person.is_unanswered) = (0, 0, false);
        if let Some(before) = before {
            person.forget_line(before);
            lines.close(before);
        }
        for (_, leg) in &mut self.legs {
            if leg.publisher == participant {
                leg.publisher_line = Some(moving.line);
            }
        }
    }
}

impl super::person::Person {
    /// Nothing is said or heard on a line any more.
    fn forget_line(&mut self, line: ConnectionKey) {
        self.subscriptions.retain(|(of, _), _| *of != line);
        self.arriving.retain(|(of, _), _| *of != line);
        self.announced_on.retain(|(of, _, _)| *of != line);
        for track in &mut self.tracks {
            track.subscribers.retain(|subscriber| subscriber.line != line);
        }
    }
}

/// How often it is looked whether the second connection has all.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Others find their way to the second connection meanwhile.
const LINGER: Duration = Duration::from_secs(1);
/// Without an answer by then nobody is there who follows.
const TRIES_TO_ANSWER: u32 = 15;
/// Then what is there is all that comes.
const TRIES_MAX: u32 = 100;
