//! Telephones register before a run begins, and leave at its end. Where arrivals are registrations they do so in it.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::engine::{Gate, nanoseconds};
use crate::truth::interval::{Ledger, Measure};

use super::registrar::{Asked, Failure, Registration};
use super::shard::Shard;
use super::telephones::State;
use super::wire::{Place, Streamed};

impl Shard {
    /// Gets everything ready that a run needs, and waits until it begins.
    pub(crate) fn get_ready(&mut self, gate: &Gate) -> anyhow::Result<()> {
        let took = self.register_all()?;
        if let Some(listeners) = &mut self.listeners {
            listeners.come_in()?;
        }
        gate.report();
        let epoch_ns = loop {
            if let Some(epoch_ns) = gate.epoch_ns() {
                break epoch_ns;
            }
            self.turn(self.wire.now + TURN)?;
            self.flush();
        };
        let load = &self.parts.load;
        self.ledger = Ledger::new(epoch_ns, nanoseconds(load.interval), load.measured_from);
        self.epoch_ns = epoch_ns;
        (self.closed_after_ns, self.fresh_due_ns) = (epoch_ns, epoch_ns);
        let interval = self.ledger.at(epoch_ns);
        interval.counts.phones.registered = took.len() as u64;
        if !self.parts.plan.registers_only {
            took.into_iter()
                .for_each(|took| interval.record(Measure::Register, nanoseconds(took) / 1000));
        }
        Ok(())
    }

    /// How long each took.
    fn register_all(&mut self) -> anyhow::Result<Vec<Duration>> {
        // Before its first answer nobody knows that there is a switch.
        let (mut took, mut next, mut last) = (Vec::new(), 0, Instant::now());
        let count = self.phones.all.len();
        while took.len() < count {
            while next < count && self.registering < REGISTERING_MAX {
                self.ask(next, EXPIRES, self.wire.now);
                next += 1;
            }
            self.flush_only();
            self.wire.turn(self.wire.now + TURN)?;
            for registration in self.take_answers() {
                let phone = registration.phone;
                self.registering -= 1;
                match registration.outcome {
                    Ok(()) => took.push(registration.at.saturating_duration_since(registration.due)),
                    Err(failure) => bail!(
                        "telephone {} is not registered: {failure}",
                        self.phones.all[phone].number
                    ),
                }
                self.phones.set_free(phone);
                last = Instant::now();
            }
            ensure!(
                !self.parts.controls.is_ending(),
                "told to stop before every telephone was registered"
            );
            let is_refused = took.is_empty() && self.wire.has_been_refused();
            let wait = if took.is_empty() { ANSWER_MAX } else { REGISTER_MAX };
            ensure!(
                !is_refused && last.elapsed() < wait,
                "no switch answers at {} ({}): {}",
                self.wire.switch(),
                self.parts.plan.transport.name(),
                if is_refused {
                    "nobody listens there".to_owned()
                } else {
                    format!(
                        "no answer to REGISTER within {wait:?}, {} of {count} are registered",
                        took.len()
                    )
                }
            );
        }
        Ok(took)
    }

    /// Registrations that ended, of all groups. Whoever calls meanwhile is nobody's affair.
    fn take_answers(&mut self) -> Vec<Registration> {
        let mut ended = Vec::new();
        while let Some(mut arrived) = self.wire.poll() {
            let source = arrived.received.source;
            if let Place::Signalling(group) = arrived.place {
                for datagram in arrived.received.datagrams() {
                    self.groups[group].receive(arrived.at, source, datagram);
                }
            }
        }
        for (group, streamed) in self.wire.read_streams() {
            match streamed {
                Streamed::Message(message) => {
                    let switch = self.wire.switch();
                    self.groups[group].receive(self.wire.now, switch, &message);
                }
                Streamed::Closed(reason) => self.lose_stream(group, &reason),
            }
        }
        for group in &mut self.groups {
            group.handle_timeout(self.wire.now);
            while let Some(registration) = group.poll_registration() {
                ended.push(registration);
            }
        }
        ended
    }

    fn ask(&mut self, phone: usize, expires: Duration, due: Instant) {
        let telephone = &self.phones.all[phone];
        let asked = Asked {
            phone,
            number: &telephone.number,
            expires,
            due,
        };
        self.groups[telephone.group].register(self.wire.now, asked);
        self.registering += 1;
    }

    /// A telephone registers that was to do so at a time, as one that was just started.
    pub(super) fn begin_registration(&mut self, intended_ns: u64) {
        let Some(phone) = self.phones.take_one() else {
            self.ledger.at(intended_ns).counts.calls_blocked += 1;
            return;
        };
        let lag_ns = self.parts.clock.ns(Instant::now()).saturating_sub(intended_ns);
        self.ledger.at(self.now_ns).record(Measure::SetupLag, lag_ns / 1000);
        self.phones.all[phone].state = State::Away;
        let due = self.parts.clock.instant(intended_ns);
        self.ask(phone, EXPIRES, due);
    }

    pub(super) fn take_registration(&mut self, registration: &Registration) {
        self.registering = self.registering.saturating_sub(1);
        let elapsed = registration.at.saturating_duration_since(registration.due);
        let interval = self.ledger.at(self.now_ns);
        match registration.outcome {
            Ok(()) => {
                interval.counts.sip.registrations += 1;
                interval.counts.sip.registrations_challenged += u64::from(registration.is_challenged);
                interval.record(Measure::Register, nanoseconds(elapsed) / 1000);
            }
            Err(failure) => {
                interval.counts.sip.registrations_failed += 1;
                interval.counts.sip.requests_unsent += u64::from(failure == Failure::Room);
                interval.note(&format!("a registration: {failure}"), 1);
                if let Failure::Refused(status) = failure {
                    interval.refuse(status);
                }
                self.closed_after_ns = self.now_ns + nanoseconds(CLOSED_BACK_OFF);
            }
        }
        self.phones.set_free(registration.phone);
    }

    /// Every telephone says that it is not there any more, so that nobody calls it. Who does not answer is not waited for.
    pub(super) fn leave_switch(&mut self) -> anyhow::Result<()> {
        let (mut next, end) = (0, Instant::now() + LEAVE_MAX);
        while (next < self.phones.all.len() || self.registering > 0) && Instant::now() < end {
            while next < self.phones.all.len() && self.registering < REGISTERING_MAX {
                if self.phones.all[next].state != State::Gone {
                    self.ask(next, Duration::ZERO, self.wire.now);
                }
                next += 1;
            }
            self.flush_only();
            self.wire.turn(self.wire.now + TURN)?;
            self.registering -= self.take_answers().len().min(self.registering);
        }
        Ok(())
    }

    /// Hands over what agents have to say. What they tell is of no interest any more.
    fn flush_only(&mut self) {
        for (index, group) in self.groups.iter_mut().enumerate() {
            while group.poll_event().is_some() {}
            while let Some((flow, bytes)) = group.poll_send() {
                self.wire.send(index, flow.peer, &bytes);
            }
        }
    }
}

const TURN: Duration = Duration::from_millis(2);
/// Longer than any run.
const EXPIRES: Duration = Duration::from_secs(3600);
/// Registrations of a shard under way at once, before a run.
const REGISTERING_MAX: usize = 64;
/// How long the first answer may take, and how long none may come then.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const REGISTER_MAX: Duration = Duration::from_secs(15);
/// How long the end of all registrations may take.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// After a registration that failed, in a closed loop.
const CLOSED_BACK_OFF: Duration = Duration::from_millis(100);
