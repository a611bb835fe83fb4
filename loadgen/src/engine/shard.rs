//! The loop of one shard: calls begin, talk and end on schedule, whatever the relay does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use moqswitch_proto::session::{Event, SessionEvent};
use moqswitch_relay::quic::ConnectionKey;
use rand::RngExt;
use rustc_hash::FxHashMap;

use crate::load::Load;
use crate::model::arrivals::Schedule;
use crate::model::{Purpose, random};
use crate::truth::interval::{Interval, Ledger, Measure};
use crate::truth::leg::SETTLE;

use super::call::{Arrival, Call};
use super::ids::{CallId, Member};
use super::lines::{AckHabit, Happening, Lines, Target};
use super::paths::{Owner, Paths};
use super::person::Phase;
use super::phone::{PhoneCall, Phones, PhonesPlan};
use super::{Clock, Controls, Settled, nanoseconds, on_grid};

/// What a shard is given.
pub(crate) struct ShardParts {
    /// Among the shards of all processes.
    pub(crate) index: u64,
    pub(crate) load: Arc<Load>,
    /// At least one. Participants are at them in turn.
    pub(crate) targets: Vec<Target>,
    pub(crate) clock: Clock,
    /// When the run begins, once that is known.
    pub(crate) epoch_ns: u64,
    /// That it runs on.
    pub(crate) core: usize,
    /// Who makes the calls, if phones do.
    pub(crate) phones: Option<PhonesPlan>,
    pub(crate) controls: Arc<Controls>,
    /// Intervals that will not change any more.
    pub(crate) settled: Arc<ArrayQueue<Interval>>,
    /// The last whole interval as it is known so far, for who watches. Replaced by the next.
    pub(crate) fresh: Arc<ArrayQueue<Interval>>,
}

pub(crate) struct Shard {
    pub(super) parts: ShardParts,
    pub(super) lines: Lines,
    pub(super) calls: FxHashMap<CallId, Call>,
    pub(super) by_line: FxHashMap<ConnectionKey, (CallId, u16)>,
    pub(super) phones: Option<Phones>,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    schedule: Schedule,
    /// Arrivals of all shards so far; the number of the next.
    arrivals: u64,
    pub(super) ledger: Ledger,
    settled: Settled,
    pub(super) fresh_due_ns: u64,
    is_ending: bool,
    /// In a closed loop: when the next call may begin.
    pub(super) closed_after_ns: u64,
    pub(super) now_ns: u64,
}

/// What is to happen at a time. A participant's affairs name its line's generation, so that those
/// of a line it no longer has are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Tick {
        of: Member,
        track: u8,
    },
    Mute {
        of: Member,
    },
    Leave {
        of: Member,
    },
    Depart {
        of: Member,
        departure: Departure,
    },
    Join {
        call: CallId,
        participant: u16,
    },
    RejoinCheck {
        of: Member,
    },
    Move {
        of: Member,
        line: ConnectionKey,
        tries: u32,
    },
    Redial {
        call: CallId,
        participant: u16,
        attempt: u32,
    },
    Floor {
        call: CallId,
    },
    Settle {
        call: CallId,
    },
    Overdue {
        call: CallId,
    },
    End {
        call: CallId,
    },
    Drained {
        call: CallId,
    },
    Answer {
        call: CallId,
    },
    Hold {
        call: CallId,
        step: u64,
    },
    Key {
        call: CallId,
    },
    Part {
        phone: usize,
        since_ns: u64,
    },
}

/// How a participant goes, and when it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Departure {
    HangsUp {
        away_ns: u64,
    },
    /// Without a word, as when a network is lost; it dials again at once.
    Vanishes,
}

impl Shard {
    pub(crate) fn new(parts: ShardParts) -> anyhow::Result<Self> {
        let people = usize::from(parts.load.shape.people());
        let calls = usize::try_from(parts.load.concurrent_max).unwrap_or(usize::MAX);
        let phones = parts.phones.as_ref().map_or(0, |phones| phones.talking);
        // Those that are hanging up still count.
        let connections_max = calls
            .saturating_mul(people)
            .saturating_mul(2)
            .max(phones)
            .clamp(64, CONNECTIONS_MAX);
        let ack = AckHabit {
            every: parts.load.ack_every,
            delay_max: parts.load.ack_delay,
        };
        let impairment = parts.load.paths.impairment.clone();
        let paths = impairment.map(|impairment| Paths::new(impairment, parts.load.seed, Instant::now()));
        Ok(Self {
            lines: Lines::new(parts.targets.clone(), connections_max, &ack, paths, parts.clock)?,
            calls: FxHashMap::default(),
            by_line: FxHashMap::default(),
            phones: None,
            due: BinaryHeap::new(),
            schedule: Schedule::new(
                parts.load.arrivals.clone(),
                random(parts.load.seed, Purpose::Arrivals, 0),
            ),
            arrivals: 0,
            ledger: Ledger::new(
                parts.epoch_ns,
                nanoseconds(parts.load.interval),
                parts.load.measured_from,
            ),
            closed_after_ns: parts.epoch_ns,
            settled: Settled::new(parts.settled.clone()),
            fresh_due_ns: parts.epoch_ns,
            is_ending: false,
            now_ns: parts.epoch_ns,
            parts,
        })
    }

    /// Runs to the end of the load.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut executor_due = Instant::now() + EXECUTOR_INTERVAL;
        while !(self.is_ending
            && self.calls.is_empty()
            && self.phones.as_ref().is_none_or(|phones| phones.parting == 0))
        {
            let deadline = self.deadline();
            self.lines.turn(deadline)?;
            self.now_ns = self.parts.clock.ns(self.lines.now);
            let counts = &mut self.ledger.at(self.now_ns).counts;
            counts.groups_unsent += self.lines.take_given_up();
            counts.path_datagrams_dropped += self.lines.take_dropped();
            self.handle_happenings()?;
            self.hear_phones();
            self.keep_lines();
            self.begin_calls()?;
            self.handle_due();
            self.send_settled();
            self.send_fresh();
            if self.lines.now >= executor_due {
                glommio::executor().yield_task_queue_now().await;
                executor_due = self.lines.now + EXECUTOR_INTERVAL;
            }
        }
        self.leave_switch();
        self.lines.finish()?;
        let end_ns = self.now_ns + nanoseconds(self.parts.load.interval);
        self.settled.send_rest(end_ns, &mut self.ledger).await;
        Ok(())
    }

    fn deadline(&self) -> Instant {
        let now = self.lines.now;
        let mut deadline = now + WAIT_MAX;
        if !self.is_ending {
            deadline = now + ARRIVALS_INTERVAL;
        }
        match self.due.peek() {
            Some(Reverse((due_ns, _))) => deadline.min(self.parts.clock.instant(*due_ns)),
            None => deadline,
        }
    }

    fn handle_happenings(&mut self) -> anyhow::Result<()> {
        let end_ns = self.now_ns;
        while let Some((at, line, happening)) = self.lines.poll() {
            self.now_ns = self.parts.clock.ns(at);
            if self.phones.is_some() && self.handle_phone_happening(line, &happening) {
                continue;
            }
            // A line that was hung up may still have had something to say.
            let Some((call, participant)) = self.by_line.get(&line).copied() else {
                continue;
            };
            match happening {
                Happening::Established if self.is_on_its_way(call, participant, line) => {
                    self.arrive(call, participant, line);
                }
                Happening::Ended(_) if self.is_on_its_way(call, participant, line) => {
                    self.by_line.remove(&line);
                    self.stop_moving(call, participant);
                }
                Happening::Established => self.handle_established(call, participant, line),
                Happening::Ended(reason) => self.handle_ended(call, participant, line, &reason),
                Happening::Session(event) => self.handle_event(call, participant, line, event),
            }
        }
        self.now_ns = end_ns;
        Ok(())
    }

    /// Takes what a session said to the call.
    fn handle_event(&mut self, call: CallId, participant: u16, line: ConnectionKey, event: Event) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let lines = &mut self.lines;
        let at = &mut Arrival {
            participant,
            line,
            now_ns: self.now_ns,
            ledger: &mut self.ledger,
        };
        match event {
            Event::Media(event) if state.phone.as_ref().is_some_and(PhoneCall::is_held) => at.count_held(&event),
            Event::Media(event) => state.handle_media(at, &event),
            Event::Announcement(event) => state.handle_announcement(at, event, lines),
            Event::Answer(event) => state.handle_answer(at, &event, lines),
            Event::Request(event) => state.handle_request(at, event, lines),
            Event::Session(SessionEvent::Violation { reason, .. }) => {
                self.ledger.at(self.now_ns).counts.violations += 1;
                let reason = format!("the relay broke the protocol: {reason}");
                return self.handle_ended(call, participant, line, &reason);
            }
            // It is counted by the end of its connections.
            Event::Session(SessionEvent::Goaway { .. }) => {
                at.note("the relay said that it goes away (GOAWAY)");
                return self.begin_moving(call, participant, line);
            }
            Event::Session(SessionEvent::Setup(_) | SessionEvent::SessionUpdate { .. }) => {}
        }
        self.start_behaviour(call);
        if self.phones.is_some() {
            self.look_at_hold(call);
        }
    }

    fn handle_established(&mut self, call: CallId, participant: u16, line: ConnectionKey) {
        self.note_setup_lag(self.now_ns);
        let Some(state) = self.calls.get_mut(&call) else { return };
        let person = &mut state.people[usize::from(participant)];
        (person.phase, person.phase_began_ns) = (Phase::Connected, self.now_ns);
        let elapsed = self.now_ns.saturating_sub(person.joined_ns) / 1000;
        self.parts.controls.handshakes.fetch_add(1, Ordering::Relaxed);
        if self.handle_return(call, participant, line) {
            return self.plan_rejoin_check(call, participant);
        }
        self.ledger.at(self.now_ns).record(Measure::Handshake, elapsed);
        let Some(state) = self.calls.get_mut(&call) else { return };
        let prefix = state.prefix();
        if let Some(session) = self.lines.session(line) {
            session.request_announce(&prefix);
        }
        state.advance(participant, self.now_ns, &mut self.ledger);
        let is_back = state.has_started_behaviour;
        self.begin_talking(call, participant);
        if is_back {
            self.plan_rejoin_check(call, participant);
            self.plan_behaviour(call, participant);
        } else {
            self.start_behaviour(call);
        }
    }

    /// Something of a participant's coming was to be done at a time, and is done.
    fn note_setup_lag(&mut self, intended_ns: u64) {
        // As for frames: when it is done, not when this turn began.
        let lag_ns = self.lines.present_ns().saturating_sub(intended_ns);
        self.ledger.at(self.now_ns).record(Measure::SetupLag, lag_ns / 1000);
    }

    /// What a participant says is due from here on.
    pub(super) fn begin_talking(&mut self, call: CallId, participant: u16) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let person = &mut state.people[usize::from(participant)];
        let of = Member {
            call,
            participant,
            generation: person.generation,
        };
        // Spread, so that not all frames of a call are due at once.
        let mut spread = random(
            state.load.seed,
            Purpose::Behaviour,
            (u64::from(call) << 16) | u64::from(participant),
        );
        for (track, published) in (0..).zip(&mut person.tracks) {
            let interval = nanoseconds(state.load.tracks[usize::from(track)].codec.interval());
            published.next_ns = self.now_ns + spread.random_range(0..interval.max(1));
            self.due
                .push(Reverse((on_grid(published.next_ns), Due::Tick { of, track })));
        }
    }

    fn handle_ended(&mut self, call: CallId, participant: u16, line: ConnectionKey, reason: &str) {
        self.by_line.remove(&line);
        self.parts.controls.last_reason.force_push(reason.to_owned());
        self.handle_lost(call, participant, reason);
    }

    /// Takes this shard's arrivals up to now.
    fn begin_calls(&mut self) -> anyhow::Result<()> {
        let load = self.parts.load.clone();
        let elapsed = Duration::from_nanos(self.now_ns.saturating_sub(self.parts.epoch_ns));
        if elapsed >= load.duration || self.parts.controls.is_ending() {
            self.end_all();
            return Ok(());
        }
        let share = share(load.concurrent_max, load.shards, self.parts.index);
        if load.is_closed {
            if self.parts.controls.is_paused() || self.now_ns < self.closed_after_ns {
                return Ok(());
            }
            while (self.calls.len() as u64) < share
                && self.phones.as_mut().is_none_or(Phones::has_two)
                && self.arrivals * load.shards + self.parts.index < load.total_max
            {
                let number = self.arrivals * load.shards + self.parts.index;
                self.arrivals += 1;
                self.begin_call(number, self.now_ns)?;
            }
            return Ok(());
        }
        let mut due = Vec::new();
        let scale = self.parts.controls.rate_scale();
        self.schedule.advance(elapsed, scale, |at| due.push(at));
        for at in due {
            let number = self.arrivals;
            self.arrivals += 1;
            if number >= load.total_max || number % load.shards != self.parts.index {
                continue;
            }
            let intended_ns = self.parts.epoch_ns + nanoseconds(at);
            if self.calls.len() as u64 >= share {
                self.ledger.at(intended_ns).counts.calls_blocked += 1;
            } else {
                self.begin_call(number, intended_ns)?;
            }
        }
        Ok(())
    }

    fn begin_call(&mut self, number: u64, intended_ns: u64) -> anyhow::Result<()> {
        let id = CallId::try_from(number)?;
        if self.phones.is_some() {
            self.dial_phone(id, intended_ns);
            return Ok(());
        }
        let load = self.parts.load.clone();
        let call = Call::new(id, &load, intended_ns);
        let people = u16::try_from(call.people.len()).unwrap_or(u16::MAX);
        self.calls.insert(id, call);
        self.parts.controls.calls_up.fetch_add(1, Ordering::Relaxed);
        self.ledger.at(self.now_ns).counts.calls_attempted += 1;
        let spread_ns = load.behaviour.join_over.map_or(0, nanoseconds) / u64::from(people.max(1));
        for participant in 0..people {
            let join_ns = intended_ns + spread_ns * u64::from(participant);
            if join_ns > self.now_ns {
                self.at(join_ns, Due::Join { call: id, participant });
            } else {
                self.dial(id, participant, join_ns);
            }
        }
        let last_ns = self
            .now_ns
            .max(intended_ns + load.behaviour.join_over.map_or(0, nanoseconds));
        self.at(last_ns + nanoseconds(load.setup_max), Due::Overdue { call: id });
        self.at(self.now_ns + nanoseconds(SETTLE_INTERVAL), Due::Settle { call: id });
        Ok(())
    }

    /// Connects a participant, which was to come at a time.
    fn dial(&mut self, call: CallId, participant: u16, join_ns: u64) {
        self.parts.controls.dials.fetch_add(1, Ordering::Relaxed);
        self.note_setup_lag(join_ns);
        let generation = self
            .calls
            .get(&call)
            .map_or(0, |state| state.people[usize::from(participant)].generation);
        let path = self.parts.load.is_impaired(participant).then_some(Owner {
            call,
            participant,
            generation,
        });
        match self.lines.connect(usize::from(participant), path) {
            Ok(line) => {
                self.by_line.insert(line, (call, participant));
                if let Some(call) = self.calls.get_mut(&call) {
                    call.people[usize::from(participant)].line = Some(line);
                }
            }
            Err(error) => self.handle_lost(call, participant, &format!("could not be dialled: {error}")),
        }
    }

    pub(super) fn at(&mut self, ns: u64, due: Due) {
        self.due.push(Reverse((ns, due)));
    }

    fn handle_due(&mut self) {
        while let Some(Reverse((due_ns, due))) = self.due.peek().copied() {
            if due_ns > self.now_ns {
                break;
            }
            self.due.pop();
            self.handle_one(due, due_ns);
        }
    }

    fn handle_one(&mut self, due: Due, due_ns: u64) {
        match due {
            Due::Tick { of, track } => self.tick(of, track),
            Due::Mute { of } => self.toggle_mute(of),
            Due::Leave { of } => self.leave(of),
            Due::Depart { of, departure } => self.depart(of, departure),
            Due::Join { call, participant } => {
                if self.calls.get(&call).is_some_and(|call| call.ending_ns.is_none()) {
                    if let Some(state) = self.calls.get_mut(&call) {
                        state.people[usize::from(participant)].joined_ns = due_ns;
                    }
                    self.dial(call, participant, due_ns);
                }
            }
            Due::Redial {
                call,
                participant,
                attempt,
            } => self.redial(call, participant, attempt),
            Due::RejoinCheck { of } => self.check_rejoined(of),
            Due::Move { of, line, tries } => self.handle_move(of, line, tries),
            Due::Floor { call } => self.pass_floor(call, due_ns),
            Due::Settle { call } => {
                self.look_at_lines(call);
                if let Some(state) = self.calls.get_mut(&call) {
                    state.settle(self.now_ns, false, &mut self.ledger);
                    self.at(self.now_ns + nanoseconds(SETTLE_INTERVAL), Due::Settle { call });
                }
            }
            Due::Overdue { call } => {
                if self
                    .calls
                    .get(&call)
                    .is_some_and(|call| !call.is_established && call.ending_ns.is_none())
                {
                    self.fail_unless_established(call);
                    self.begin_end(call);
                }
            }
            Due::End { call } => self.begin_end(call),
            Due::Drained { call } => self.finish_if_drained(call),
            Due::Answer { call } => self.answer_phone(call, due_ns),
            Due::Hold { call, step } => self.step_hold(call, step),
            Due::Key { call } => self.press(call, due_ns),
            Due::Part { phone, since_ns } => self.part_untold(phone, since_ns),
        }
    }

    fn tick(&mut self, of: Member, track: u8) {
        let Some(call) = self.calls.get_mut(&of.call) else {
            return;
        };
        if call.people[usize::from(of.participant)].generation != of.generation || call.ending_ns.is_some() {
            return;
        }
        // The time at which it is handed over, not that at which this turn began.
        let handed_ns = self.parts.clock.ns(Instant::now());
        call.send_tick(of.participant, track, handed_ns, &mut self.lines, &mut self.ledger);
        let next_ns = call.people[usize::from(of.participant)].tracks[usize::from(track)].next_ns;
        self.at(on_grid(next_ns), Due::Tick { of, track });
    }

    /// Ends every call; no further one begins.
    fn end_all(&mut self) {
        if std::mem::replace(&mut self.is_ending, true) {
            return;
        }
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for call in calls {
            let cut_off = self
                .calls
                .get(&call)
                .is_some_and(|call| !call.is_established && call.ending_ns.is_none());
            self.ledger.at(self.now_ns).counts.calls_cut_off += u64::from(cut_off);
            if cut_off {
                self.note_awaited(call);
            }
            self.begin_end(call);
        }
    }

    pub(super) fn fail_unless_established(&mut self, call: CallId) {
        let is_failed = self
            .calls
            .get(&call)
            .is_some_and(|call| !call.is_established && call.ending_ns.is_none());
        self.ledger.at(self.now_ns).counts.calls_failed += u64::from(is_failed);
        if is_failed {
            self.note_awaited(call);
            // A closed loop waits before it tries a relay again that refuses.
            self.closed_after_ns = self.now_ns + nanoseconds(CLOSED_BACK_OFF);
        }
    }

    /// Says what a call that did not come up waited for.
    fn note_awaited(&mut self, call: CallId) {
        let Some(state) = self.calls.get(&call) else { return };
        let interval = self.ledger.at(self.now_ns);
        state.awaited().for_each(|reason| interval.note(reason, 1));
    }

    pub(super) fn begin_end(&mut self, call: CallId) {
        if self.calls.get(&call).is_some_and(|state| state.ending_ns.is_none()) {
            self.count_silent(call);
        }
        if let Some(state) = self.calls.get_mut(&call)
            && state.ending_ns.is_none()
        {
            state.begin_end(self.now_ns);
            self.at(self.now_ns + nanoseconds(DRAINED_INTERVAL), Due::Drained { call });
        }
    }

    /// Hangs up once the last frames have come, or had their time.
    fn finish_if_drained(&mut self, call: CallId) {
        let Some(state) = self.calls.get(&call) else { return };
        let Some(ending_ns) = state.ending_ns else { return };
        if !self.is_drained(state, ending_ns) {
            return self.at(self.now_ns + nanoseconds(DRAINED_INTERVAL), Due::Drained { call });
        }
        if state.phone.is_some() {
            return self.hang_up_phones(call);
        }
        let Some(state) = self.calls.get_mut(&call) else { return };
        state.settle(self.now_ns, true, &mut self.ledger);
        let people = u16::try_from(state.people.len()).unwrap_or(u16::MAX);
        for participant in 0..people {
            state.unannounce(participant, &mut self.lines);
            let person = &mut state.people[usize::from(participant)];
            if let Some(moving) = person.moving.take() {
                self.by_line.remove(&moving.line);
                self.lines.close(moving.line);
            }
            if let Some(line) = person.line {
                self.by_line.remove(&line);
            }
            state.disconnect(participant, self.now_ns, &mut self.lines);
        }
        self.ledger.at(self.now_ns).counts.calls_ended += u64::from(state.is_established);
        self.calls.remove(&call);
        self.parts.controls.calls_up.fetch_sub(1, Ordering::Relaxed);
    }

    /// Hands over the intervals that can no longer change.
    fn send_settled(&mut self) {
        let settled_ns = self.now_ns.saturating_sub(nanoseconds(SETTLE + SETTLE_INTERVAL * 2));
        self.settled.send_before(settled_ns, &mut self.ledger);
    }

    fn send_fresh(&mut self) {
        if self.now_ns < self.fresh_due_ns || !self.parts.controls.is_watched.load(Ordering::Relaxed) {
            return;
        }
        let length_ns = nanoseconds(self.parts.load.interval);
        self.fresh_due_ns = self.now_ns + length_ns / 2;
        let last_ns = self.now_ns.saturating_sub(length_ns).max(self.parts.epoch_ns);
        self.parts.fresh.force_push(self.ledger.at(last_ns).clone());
    }
}

/// A shard's part of a number that all share.
pub(crate) fn share(whole: u64, shards: u64, index: u64) -> u64 {
    whole / shards + u64::from(index < whole % shards)
}

/// The executor gets its turn at least this often.
const EXECUTOR_INTERVAL: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_millis(20);
/// How precisely calls begin; their set-up is measured from the time that was meant.
const ARRIVALS_INTERVAL: Duration = Duration::from_millis(2);

const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
const DRAINED_INTERVAL: Duration = Duration::from_millis(20);

/// After a call that failed, in a closed loop.
const CLOSED_BACK_OFF: Duration = Duration::from_secs(1);

const CONNECTIONS_MAX: usize = 200_000;
