//! One call: its people, who hears whom by which leg, and how far it has come.

use std::sync::Arc;

use moqswitch_proto::session::MediaEvent;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::quic::ConnectionKey;
use slab::Slab;

use crate::load::{Load, Shape};
use crate::truth::interval::{Ledger, Measure};
use crate::truth::leg::{Leg, SETTLE};
use crate::truth::mos;

use super::ids::CallId;
use super::lines::Lines;
use super::nanoseconds;
use super::person::{Person, Phase};
use super::phone::PhoneCall;

pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) load: Arc<Load>,
    /// When the schedule wanted it to begin.
    pub(super) intended_ns: u64,
    pub(super) people: Vec<Person>,
    pub(super) legs: Slab<CallLeg>,
    pub(super) is_established: bool,
    /// People have begun to come and go.
    pub(super) has_started_behaviour: bool,
    /// Since when nobody talks any more and the last frames are awaited.
    pub(super) ending_ns: Option<u64>,
    /// Who may talk, with push-to-talk.
    pub(super) floor: Option<u16>,
    /// Since when.
    pub(super) floor_ns: u64,
    /// Of a call between phones, what they were told.
    pub(super) phone: Option<PhoneCall>,
}

/// One track as one participant hears it.
pub(super) struct CallLeg {
    pub(super) listener: u16,
    pub(super) publisher: u16,
    /// The publisher's line then.
    pub(super) publisher_line: Option<ConnectionKey>,
    pub(super) track: u8,
    pub(super) leg: Leg,
    pub(super) is_accepted: bool,
    /// The latest taking of the floor that the listener heard of this publisher, or came after.
    pub(super) heard_floor_ns: u64,
    /// When the subscription ended; what is not settled waits for its time.
    pub(super) closed_ns: Option<u64>,
}

/// Where and when something came in.
pub(super) struct Arrival<'a> {
    pub(super) participant: u16,
    pub(super) line: ConnectionKey,
    pub(super) now_ns: u64,
    pub(super) ledger: &'a mut Ledger,
}

impl Arrival<'_> {
    /// Media that comes while nobody is to be heard.
    pub(super) fn count_held(&mut self, event: &MediaEvent) {
        let bytes = match event {
            MediaEvent::GroupChunk { chunk, .. } => chunk.bytes.len(),
            MediaEvent::Datagram { payload, .. } => payload.len(),
            MediaEvent::GroupStart { .. } | MediaEvent::GroupEnd { .. } | MediaEvent::GroupReset { .. } => 0,
        };
        self.ledger.at(self.now_ns).counts.phones.held_bytes += bytes as u64;
    }

    /// Remembers what the relay did, which is counted elsewhere.
    pub(super) fn note(&mut self, reason: &str) {
        self.ledger.at(self.now_ns).note(reason, 1);
    }
}

impl Call {
    pub(super) fn new(id: CallId, load: &Arc<Load>, intended_ns: u64) -> Self {
        let people = load.shape.people();
        Self {
            id,
            load: load.clone(),
            intended_ns,
            people: (0..people)
                .map(|index| Person::new(id, index, load, intended_ns))
                .collect(),
            legs: Slab::new(),
            is_established: false,
            has_started_behaviour: false,
            ending_ns: None,
            floor: matches!(load.shape, Shape::PushToTalk { .. }).then_some(0),
            floor_ns: intended_ns,
            phone: None,
        }
    }

    /// Of a phone that was told none, the root, which nobody may publish.
    pub(super) fn path(&self, participant: u16) -> BroadcastPath {
        if let Some(phone) = &self.phone {
            let path = phone.paths[usize::from(participant)].clone();
            return path.unwrap_or_else(|| BroadcastPath::new(""));
        }
        BroadcastPath::new(&format!("{PREFIX}/{}/{participant}", self.id))
    }

    /// The others are announced below it.
    pub(super) fn prefix(&self) -> BroadcastPath {
        BroadcastPath::new(&format!("{PREFIX}/{}", self.id))
    }

    /// The participant that publishes a path of this call.
    pub(super) fn participant(&self, path: &BroadcastPath) -> Option<u16> {
        if let Some(phone) = &self.phone {
            return phone.participant(path);
        }
        let suffix = path.strip_prefix(&self.prefix())?;
        let index: u16 = suffix.as_str().parse().ok()?;
        (usize::from(index) < self.people.len()).then_some(index)
    }

    /// Whether a participant is to say something at present.
    pub(super) fn may_talk(&self, participant: u16) -> bool {
        let person = &self.people[usize::from(participant)];
        self.ending_ns.is_none()
            && self.floor.is_none_or(|floor| floor == participant)
            && self.phone.as_ref().is_none_or(PhoneCall::may_talk)
            && !person.is_muted
            && person.leaving_ns.is_none()
    }

    /// Moves a participant on as far as it has come, and the call when all have.
    pub(super) fn advance(&mut self, participant: u16, now_ns: u64, ledger: &mut Ledger) {
        loop {
            let person = &self.people[usize::from(participant)];
            let (is_past, measure, next) = match person.phase {
                Phase::Dialling | Phase::Hearing => break,
                Phase::Connected => (person.unseen == 0, Measure::Announced, Phase::Announced),
                Phase::Announced => (
                    self.has_all(participant, |leg| leg.is_accepted),
                    Measure::Subscribed,
                    Phase::Subscribed,
                ),
                Phase::Subscribed => (
                    self.has_all(participant, |leg| leg.leg.has_heard()),
                    Measure::FirstFrame,
                    Phase::Hearing,
                ),
            };
            if !is_past {
                break;
            }
            // Who comes back finds some of the others away, which is not the relay's delay.
            if person.generation == 0 && !self.is_established {
                // Nor is it that others come later by plan.
                let began_ns = match person.phase {
                    Phase::Connected => person.phase_began_ns.max(self.last_joined_ns(participant)),
                    _ => person.phase_began_ns,
                };
                let interval = ledger.at(now_ns);
                interval.record(measure, now_ns.saturating_sub(began_ns) / 1000);
                if self.phone.is_some() && next == Phase::Hearing {
                    interval.record(Measure::Heard, now_ns.saturating_sub(person.joined_ns) / 1000);
                }
            }
            let person = &mut self.people[usize::from(participant)];
            (person.phase, person.phase_began_ns) = (next, now_ns);
        }
        // What failed or was cut off is not set up after all while it ends.
        if !self.is_established
            && self.ending_ns.is_none()
            && self.people.iter().all(|person| person.phase == Phase::Hearing)
        {
            self.is_established = true;
            let joined_ns = self.people.iter().map(|person| person.joined_ns).max();
            let elapsed = now_ns.saturating_sub(joined_ns.unwrap_or(self.intended_ns));
            let interval = ledger.at(now_ns);
            interval.counts.calls_established += 1;
            interval.record(Measure::Setup, elapsed / 1000);
        }
    }

    /// Whether something holds of the speech of everyone that a listener is to hear.
    fn has_all(&self, listener: u16, holds: impl Fn(&CallLeg) -> bool) -> bool {
        // The first frame of who has not the floor is not a part of setting the call up.
        if let Some(floor) = self.floor {
            return !self.load.shape.hears(listener, floor) || self.open_leg(listener, floor, 0).is_some_and(holds);
        }
        let hearing = &self.people[usize::from(listener)].hearing;
        let speech = hearing.iter().filter(|((_, track), _)| *track == 0);
        let heard = speech.filter_map(|(_, leg)| self.legs.get(*leg));
        let that_hold = heard.filter(|leg| leg.closed_ns.is_none() && holds(leg)).count();
        that_hold == self.load.shape.heard_by(listener)
    }

    /// The leg by which a listener hears a track at present.
    pub(super) fn open_leg(&self, listener: u16, publisher: u16, track: u8) -> Option<&CallLeg> {
        let leg = self.people[usize::from(listener)].hearing.get(&(publisher, track))?;
        self.legs.get(*leg).filter(|leg| leg.closed_ns.is_none())
    }

    /// A leg on which a listener is to hear a track, in the place of the one before.
    pub(super) fn open(&mut self, listener: u16, publisher: u16, track: u8, now_ns: u64) -> usize {
        let before = self.people[usize::from(listener)].hearing.get(&(publisher, track));
        let before = before.copied().filter(|leg| self.legs.contains(*leg));
        // Of a leg that nobody hung up on, the silence goes on.
        let is_cut_off = |leg: &CallLeg| leg.closed_ns.is_none();
        let cut_off = before.filter(|before| self.legs.get(*before).is_some_and(is_cut_off));
        if let Some(before) = before {
            self.close(before, now_ns);
        }
        let load = &self.load;
        let codec = load.tracks[usize::from(track)].codec.name();
        let line = self.people[usize::from(publisher)].line;
        let published = &mut self.people[usize::from(publisher)].tracks[usize::from(track)];
        published.listeners += 1;
        let mut leg = Leg::new(&published.log, mos::impairment(codec), now_ns);
        leg.is_on_clear_path = load.has_both_paths() && !load.is_impaired(listener) && !load.is_impaired(publisher);
        if track == 0 {
            leg.measure_gaps(load.tracks[usize::from(track)].codec.interval());
        }
        if let Some(before) = before.and_then(|before| self.legs.get(before)) {
            leg.follow(&before.leg);
        }
        if let Some(before) = cut_off.and_then(|before| self.legs.get_mut(before)) {
            leg.take_over_gap(&published.log, &mut before.leg);
        }
        let leg = self.legs.insert(CallLeg {
            listener,
            publisher,
            publisher_line: line,
            track,
            leg,
            is_accepted: false,
            heard_floor_ns: self.floor_ns,
            closed_ns: None,
        });
        self.people[usize::from(listener)]
            .hearing
            .insert((publisher, track), leg);
        leg
    }

    /// A subscription ends, and nothing more is owed on it.
    pub(super) fn close(&mut self, leg: usize, now_ns: u64) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leave(leg, &mut self.people);
            leg.closed_ns.get_or_insert(now_ns);
        }
    }

    /// A participant listens no more, and nobody is to hear what it says from here on.
    pub(super) fn leave(&mut self, participant: u16) {
        for (_, leg) in &mut self.legs {
            if leg.listener == participant || leg.publisher == participant {
                leave(leg, &mut self.people);
            }
        }
    }

    /// When the last of those that a listener is to hear was to come.
    fn last_joined_ns(&self, listener: u16) -> u64 {
        (0..)
            .zip(&self.people)
            .filter(|(publisher, _)| self.load.shape.hears(listener, *publisher))
            .map(|(_, person)| person.joined_ns)
            .max()
            .unwrap_or(0)
    }

    /// Counts frames that have had their time.
    pub(super) fn settle(&mut self, now_ns: u64, is_last: bool, ledger: &mut Ledger) {
        let people = &self.people;
        let mut gone = Vec::new();
        self.legs.retain(|index, leg| {
            let log = &people[usize::from(leg.publisher)].tracks[usize::from(leg.track)].log;
            let is_done = is_last || leg.closed_ns.is_some_and(|closed| closed + settle_ns() < now_ns);
            leg.leg.settle(log, now_ns, is_done, ledger);
            if is_done {
                gone.push((leg.listener, (leg.publisher, leg.track), index));
            }
            !is_done
        });
        // What the relay still sends of them must not be taken for another's.
        for (listener, heard, index) in gone {
            let person = &mut self.people[usize::from(listener)];
            if person.hearing.get(&heard) == Some(&index) {
                person.hearing.remove(&heard);
            }
            person.subscriptions.retain(|_, leg| *leg != Some(index));
            person.arriving.retain(|_, arriving| arriving.leg != index);
        }
        let forget_ns = now_ns.saturating_sub(nanoseconds(LOG_KEPT));
        for person in &mut self.people {
            for track in &mut person.tracks {
                track.log.forget_before(forget_ns);
            }
        }
    }

    /// Everyone has heard everything that was sent to them.
    pub(super) fn is_complete(&self) -> bool {
        self.are_complete(|_| true)
    }

    /// Everything was heard that a participant said or was to hear.
    pub(super) fn is_complete_for(&self, participant: u16) -> bool {
        self.are_complete(|leg| leg.listener == participant || leg.publisher == participant)
    }

    fn are_complete(&self, is_meant: impl Fn(&CallLeg) -> bool) -> bool {
        let mut legs = self.legs.iter().map(|(_, leg)| leg).filter(|leg| is_meant(leg));
        legs.all(|leg| {
            let log = &self.people[usize::from(leg.publisher)].tracks[usize::from(leg.track)].log;
            leg.leg.is_complete(log)
        })
    }

    /// Begins the end: nobody talks, and nothing that is not sent yet is owed.
    pub(super) fn begin_end(&mut self, now_ns: u64) {
        self.ending_ns.get_or_insert(now_ns);
        for (_, leg) in &mut self.legs {
            leave(leg, &mut self.people);
        }
    }

    /// A participant's line is gone or given up: so is all that hung on it.
    pub(super) fn disconnect(&mut self, participant: u16, now_ns: u64, lines: &mut Lines) {
        let person = &mut self.people[usize::from(participant)];
        if let Some(line) = person.line.take() {
            lines.close(line);
        }
        person.generation += 1;
        person.is_lost = false;
        person.phase = Phase::Dialling;
        person.leaving_ns = None;
        person.subscriptions.clear();
        person.arriving.clear();
        person.announced_on.clear();
        person.sees.fill(false);
        person.unseen = self.load.shape.heard_by(participant);
        for track in &mut person.tracks {
            track.subscribers.clear();
            track.group = None;
        }
        // Nobody is to hear it, nor it anybody, until it is back.
        for (_, leg) in &mut self.legs {
            if leg.listener == participant || leg.publisher == participant {
                leave(leg, &mut self.people);
                leg.closed_ns.get_or_insert(now_ns);
            }
        }
    }
}

/// What is sent from here on is not owed on a leg.
fn leave(leg: &mut CallLeg, people: &mut [Person]) {
    let published = &mut people[usize::from(leg.publisher)].tracks[usize::from(leg.track)];
    if leg.leg.leave(&published.log) {
        published.listeners -= 1;
    }
}

fn settle_ns() -> u64 {
    nanoseconds(SETTLE)
}

/// Broadcasts are `call/<call>/<participant>`.
const PREFIX: &str = "call";

/// What is sent is remembered for so long, beyond the time in which it settles.
const LOG_KEPT: std::time::Duration = std::time::Duration::from_secs(8);
