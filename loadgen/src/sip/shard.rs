//! The loop of one shard: calls begin, talk and end on schedule, whatever the switch does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use moqswitch_sip::agent::LegKey;
use rustc_hash::FxHashMap;

use crate::clock::unix_ns;
use crate::engine::{CallId, Clock, Controls, Settled, Target, nanoseconds, share};
use crate::load::{Load, SipPlan};
use crate::model::arrivals::Schedule;
use crate::model::{self, Purpose};
use crate::truth::interval::{Interval, Ledger};
use crate::truth::leg::SETTLE;

use super::call::Call;
use super::group::{Group, GroupPlan};
use super::listening::{Listened, Listeners};
use super::random::Random;
use super::telephones::{Telephones, TelephonesPlan};
use super::wire::{Needs, Place, Streamed, Wire};

/// What a shard is given.
pub(crate) struct Parts {
    /// Among the shards of all processes.
    pub(crate) index: u64,
    pub(crate) load: Arc<Load>,
    /// The switch, and how addresses name it.
    pub(crate) address: SocketAddr,
    pub(crate) domain: String,
    /// Where listeners are, if there are any.
    pub(crate) relay: Option<Target>,
    pub(crate) plan: SipPlan,
    pub(crate) phones: TelephonesPlan,
    pub(crate) clock: Clock,
    pub(crate) controls: Arc<Controls>,
    /// Intervals that will not change any more.
    pub(crate) settled: Arc<ArrayQueue<Interval>>,
    /// The last whole interval as it is known so far, for who watches. Replaced by the next.
    pub(crate) fresh: Arc<ArrayQueue<Interval>>,
}

pub(crate) struct Shard {
    pub(super) parts: Parts,
    pub(super) epoch_ns: u64,
    pub(super) wire: Wire,
    pub(super) groups: Vec<Group>,
    pub(super) phones: Telephones,
    pub(super) listeners: Option<Listeners>,
    pub(super) calls: FxHashMap<CallId, Call>,
    /// Whose a leg of an agent is.
    pub(super) by_leg: FxHashMap<(usize, LegKey), Member>,
    /// Who hears what comes on a socket of RTP from an address.
    pub(super) by_source: FxHashMap<(usize, SocketAddr), (CallId, u16)>,
    /// Who hears a source of ours, behind a switch that leaves media alone: then it does not come from the switch.
    pub(super) by_ssrc: FxHashMap<u32, (CallId, u16)>,
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
    /// Registrations that are under way.
    pub(super) registering: usize,
    pub(super) random: Random,
    /// A packet as it is written: one piece of memory for all of them.
    pub(super) packet: Vec<u8>,
    pub(super) now_ns: u64,
}

/// A telephone's part in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) call: CallId,
    pub(super) participant: u16,
    pub(super) phone: usize,
}

/// What is to happen at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Tick {
        call: CallId,
        participant: u16,
    },
    Settle {
        call: CallId,
    },
    Overdue {
        call: CallId,
    },
    Answer {
        call: CallId,
    },
    /// What is said is owed.
    Owed {
        call: CallId,
        opening: u64,
    },
    Hold {
        call: CallId,
        step: u64,
    },
    Key {
        call: CallId,
    },
    End {
        call: CallId,
    },
    Drained {
        call: CallId,
    },
    Part {
        phone: usize,
        since_ns: u64,
    },
}

impl Shard {
    pub(crate) fn new(parts: Parts) -> anyhow::Result<Self> {
        let needs = Needs {
            address: parts.address,
            transport: parts.plan.transport,
            groups: parts.phones.groups(parts.plan.registers_only),
            rtp: parts.phones.sockets(),
        };
        let wire = Wire::open(needs, parts.clock)?;
        let phones = Telephones::new(&parts.phones, needs.groups);
        // Another one each time: a switch remembers requests for half a minute.
        let seed = unix_ns() ^ (parts.index << 32) ^ u64::from(std::process::id());
        let mut random = Random::new(seed);
        let now = Instant::now();
        let mut groups: Vec<Group> = (0..needs.groups)
            .map(|index| {
                let plan = GroupPlan {
                    index,
                    switch: parts.address,
                    transport: needs.transport,
                    local: wire.local(index),
                    domain: parts.domain.clone(),
                    password: parts.phones.password.clone(),
                    seed: (random.next() >> 64) as u64,
                };
                Group::new(&plan, now)
            })
            .collect();
        for (index, phone) in phones.all.iter().enumerate() {
            groups[phone.group].let_in(index, &phone.number);
        }
        let listeners = match &parts.relay {
            Some(target) => Some(Listeners::dial(target.clone(), parts.plan.listeners, parts.clock)?),
            None => None,
        };
        let load = &parts.load;
        Ok(Self {
            wire,
            listeners,
            groups,
            phones,
            epoch_ns: 0,
            calls: FxHashMap::default(),
            by_leg: FxHashMap::default(),
            by_source: FxHashMap::default(),
            by_ssrc: FxHashMap::default(),
            due: BinaryHeap::new(),
            schedule: Schedule::new(load.arrivals.clone(), model::random(load.seed, Purpose::Arrivals, 0)),
            arrivals: 0,
            ledger: Ledger::new(0, nanoseconds(load.interval), load.measured_from),
            settled: Settled::new(parts.settled.clone()),
            fresh_due_ns: 0,
            is_ending: false,
            closed_after_ns: 0,
            registering: 0,
            random,
            packet: Vec::new(),
            now_ns: 0,
            parts,
        })
    }

    /// Runs to the end of the load.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        while !(self.is_ending && self.calls.is_empty() && self.phones.parting == 0 && self.registering == 0) {
            let deadline = self.deadline();
            self.turn(deadline)?;
            self.begin_calls()?;
            self.handle_due();
            self.flush();
            let settled_ns = self.now_ns.saturating_sub(nanoseconds(SETTLE + SETTLE_INTERVAL * 2));
            self.settled.send_before(settled_ns, &mut self.ledger);
            self.send_fresh();
        }
        self.leave_switch()?;
        if let Some(listeners) = &mut self.listeners {
            listeners.finish()?;
        }
        let end_ns = self.now_ns + nanoseconds(self.parts.load.interval);
        self.settled.send_rest(end_ns, &mut self.ledger).await;
        Ok(())
    }

    /// Sends what is queued, waits, and takes what came.
    pub(super) fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        self.wire.turn(deadline)?;
        while let Some(mut arrived) = self.wire.poll() {
            self.now_ns = self.parts.clock.ns(arrived.at);
            let source = arrived.received.source;
            for datagram in arrived.received.datagrams() {
                match arrived.place {
                    Place::Signalling(group) => {
                        self.groups[group].receive(arrived.at, source, datagram);
                        self.take_events(group);
                    }
                    Place::Rtp(index) => self.hear_packet(index, source, datagram),
                }
            }
        }
        self.hear_listeners()?;
        self.now_ns = self.parts.clock.ns(self.wire.now);
        for (group, streamed) in self.wire.read_streams() {
            match streamed {
                Streamed::Message(message) => {
                    let switch = self.wire.switch();
                    self.groups[group].receive(self.wire.now, switch, &message);
                    self.take_events(group);
                }
                Streamed::Closed(reason) => self.lose_stream(group, &reason),
            }
        }
        for group in 0..self.groups.len() {
            self.groups[group].handle_timeout(self.wire.now);
            self.take_events(group);
        }
        Ok(())
    }

    /// What is heard by MoQ.
    fn hear_listeners(&mut self) -> anyhow::Result<()> {
        let Some(listeners) = &mut self.listeners else {
            return Ok(());
        };
        for listened in listeners.turn()? {
            match listened {
                Listened::Frame { listener, at, payload } => {
                    self.now_ns = self.parts.clock.ns(at);
                    self.hear_beside(listener, &payload);
                }
                Listened::Lost(reason) => {
                    let interval = self.ledger.at(self.now_ns);
                    interval.counts.connections_lost += 1;
                    interval.note(&format!("a listener: {reason}"), 1);
                }
            }
        }
        Ok(())
    }

    /// Takes what agents tell, and hands over what they have to say.
    pub(super) fn flush(&mut self) {
        for group in 0..self.groups.len() {
            self.take_events(group);
            while let Some((flow, bytes)) = self.groups[group].poll_send() {
                self.wire.send(group, flow.peer, &bytes);
            }
        }
    }

    fn take_events(&mut self, group: usize) {
        while let Some(event) = self.groups[group].poll_event() {
            self.take_event(group, event);
        }
        while let Some(registration) = self.groups[group].poll_registration() {
            self.take_registration(&registration);
        }
    }

    fn deadline(&self) -> Instant {
        let latest = self.wire.now + if self.is_ending { WAIT_MAX } else { ARRIVALS_INTERVAL };
        match self.due.peek() {
            Some(Reverse((due_ns, _))) => latest.min(self.parts.clock.instant(*due_ns)),
            None => latest,
        }
    }

    /// Takes this shard's arrivals up to now.
    fn begin_calls(&mut self) -> anyhow::Result<()> {
        let load = self.parts.load.clone();
        let elapsed = Duration::from_nanos(self.now_ns.saturating_sub(self.epoch_ns));
        if elapsed >= load.duration || self.parts.controls.is_ending() {
            self.end_all();
            return Ok(());
        }
        let share = share(load.concurrent_max, load.shards, self.parts.index);
        let (shards, index) = (load.shards, self.parts.index);
        if load.is_closed {
            if self.parts.controls.is_paused() || self.now_ns < self.closed_after_ns {
                return Ok(());
            }
            while self.under_way() < share && self.has_room() && self.arrivals * shards + index < load.total_max {
                let number = self.arrivals * shards + index;
                self.arrivals += 1;
                self.begin(number, self.now_ns)?;
            }
            return Ok(());
        }
        let mut due = Vec::new();
        let scale = self.parts.controls.rate_scale();
        self.schedule.advance(elapsed, scale, |at| due.push(at));
        for at in due {
            let number = self.arrivals;
            self.arrivals += 1;
            if number >= load.total_max || number % shards != index {
                continue;
            }
            let intended_ns = self.epoch_ns + nanoseconds(at);
            if self.under_way() >= share && !self.parts.plan.registers_only {
                self.ledger.at(intended_ns).counts.calls_blocked += 1;
            } else {
                self.begin(number, intended_ns)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, number: u64, intended_ns: u64) -> anyhow::Result<()> {
        if self.parts.plan.registers_only {
            self.begin_registration(intended_ns);
        } else {
            self.dial(CallId::try_from(number)?, intended_ns);
        }
        Ok(())
    }

    fn under_way(&self) -> u64 {
        (self.calls.len() + self.registering) as u64
    }

    fn has_room(&self) -> bool {
        self.phones.has_two()
    }

    pub(super) fn at(&mut self, ns: u64, due: Due) {
        self.due.push(Reverse((ns, due)));
    }

    /// Of what is looked at, for agents.
    pub(super) fn now(&self) -> Instant {
        self.parts.clock.instant(self.now_ns)
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
            Due::Tick { call, participant } => self.tick(call, participant),
            Due::Settle { call } => {
                if let Some(state) = self.calls.get_mut(&call) {
                    state.settle(self.now_ns, false, &mut self.ledger);
                    self.at(self.now_ns + nanoseconds(SETTLE_INTERVAL), Due::Settle { call });
                }
            }
            Due::Overdue { call } => {
                let is_late = |call: &Call| !call.is_established && call.ending_ns.is_none();
                if self.calls.get(&call).is_some_and(is_late) {
                    self.fail_unless_established(call);
                    self.begin_end(call);
                }
            }
            Due::Answer { call } => self.answer(call, due_ns),
            Due::Owed { call, opening } => self.expect(call, opening),
            Due::Hold { call, step } => self.step_hold(call, step),
            Due::Key { call } => self.press(call),
            Due::End { call } => self.begin_end(call),
            Due::Drained { call } => self.hang_up_if_drained(call),
            Due::Part { phone, since_ns } => self.part_untold(phone, since_ns),
        }
    }

    /// Ends every call; no further one begins.
    fn end_all(&mut self) {
        if std::mem::replace(&mut self.is_ending, true) {
            return;
        }
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for call in calls {
            let is_cut_off = |call: &Call| !call.is_established && call.ending_ns.is_none();
            if let Some(state) = self.calls.get(&call).filter(|call| is_cut_off(call)) {
                let interval = self.ledger.at(self.now_ns);
                interval.counts.calls_cut_off += 1;
                interval.note(state.awaited(), 1);
            }
            self.begin_end(call);
        }
    }

    fn send_fresh(&mut self) {
        if self.now_ns < self.fresh_due_ns || !self.parts.controls.is_watched.load(Ordering::Relaxed) {
            return;
        }
        let length_ns = nanoseconds(self.parts.load.interval);
        self.fresh_due_ns = self.now_ns + length_ns / 2;
        let last_ns = self.now_ns.saturating_sub(length_ns).max(self.epoch_ns);
        self.parts.fresh.force_push(self.ledger.at(last_ns).clone());
    }
}

const WAIT_MAX: Duration = Duration::from_millis(20);
/// How precisely calls begin; their set-up is measured from the time that was meant.
const ARRIVALS_INTERVAL: Duration = Duration::from_micros(500);
pub(super) const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
