//! Before a run begins: phones register, and those that make calls get their sessions at the relay.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::signalling::{Sockets, What, Word};
use crate::truth::interval::{Ledger, Measure};

use super::gate::Gate;
use super::lines::Happening;
use super::nanoseconds;
use super::paths::Owner;
use super::phone::{PhoneState, Phones};
use super::shard::Shard;

impl Shard {
    /// Gets everything ready that a run needs, and waits until it begins.
    pub(crate) fn get_ready(&mut self, gate: &Gate) -> anyhow::Result<()> {
        let mut times = Times::default();
        self.register_phones(&mut times)?;
        gate.report();
        let epoch_ns = loop {
            if let Some(epoch_ns) = gate.epoch_ns() {
                break epoch_ns;
            }
            // Connections are to stay.
            self.turn_before(&mut times)?;
        };
        self.parts.epoch_ns = epoch_ns;
        self.ledger = Ledger::new(
            epoch_ns,
            nanoseconds(self.parts.load.interval),
            self.parts.load.measured_from,
        );
        (self.closed_after_ns, self.fresh_due_ns) = (epoch_ns, epoch_ns);
        let interval = self.ledger.at(epoch_ns);
        for took in times.registered {
            interval.record(Measure::Register, nanoseconds(took) / 1000);
            interval.counts.phones.registered += 1;
        }
        for took in times.handshakes {
            interval.record(Measure::Handshake, nanoseconds(took) / 1000);
        }
        Ok(())
    }

    fn register_phones(&mut self, times: &mut Times) -> anyhow::Result<()> {
        let Some(plan) = self.parts.phones.take() else {
            return Ok(());
        };
        let numbers = plan.sockets.numbers.clone();
        let wake = self.lines.waker();
        let sockets = Sockets::start(plan.sockets, self.parts.core, wake)?;
        let (mut came, mut last) = (0, Instant::now());
        self.phones = Some(Phones::new(sockets, numbers, plan.talking));
        while !self.phones.as_ref().is_none_or(Phones::are_ready) {
            self.turn_before(times)?;
            ensure!(
                !self.parts.controls.is_ending(),
                "told to stop before every phone was registered"
            );
            // However many there are: as long as some come the others are waited for.
            let come = times.registered.len() + times.handshakes.len();
            if come > came {
                (came, last) = (come, Instant::now());
            }
            if last.elapsed() > REGISTER_MAX {
                bail!("not every phone was registered in time: {}", self.why_unready());
            }
        }
        Ok(())
    }

    fn why_unready(&self) -> String {
        let Some(phones) = &self.phones else {
            return String::new();
        };
        let count = |state| phones.all.iter().filter(|phone| phone.state == state).count();
        format!(
            "of {}, {} have no registration and {} no session at the relay",
            phones.all.len(),
            count(PhoneState::Coming),
            count(PhoneState::Dialling)
        )
    }

    /// One turn before the run, in which only phones come.
    fn turn_before(&mut self, times: &mut Times) -> anyhow::Result<()> {
        self.lines.turn(self.lines.now + TURN)?;
        self.now_ns = self.parts.clock.ns(self.lines.now);
        self.keep_lines();
        while let Some(news) = self.phones.as_ref().and_then(|phones| phones.sockets.poll()) {
            match news.what {
                What::Registered { took } => times.registered.push(took),
                What::Word(Word::Registered { url, token }) => self.take_place(news.phone, &url, &token)?,
                What::Word(Word::Refused { reason }) => {
                    bail!("phone {} is not registered: {reason}", self.number_of(news.phone))
                }
                What::Gone(reason) => bail!("phone {}: {reason}", self.number_of(news.phone)),
                What::Word(_) | What::Late(_) => {}
            }
        }
        self.dial_relay(times)?;
        while let Some((at, line, happening)) = self.lines.poll() {
            self.now_ns = self.parts.clock.ns(at);
            if let Happening::Ended(reason) = happening {
                bail!("the relay did not let a phone in: {reason}");
            }
            if let Happening::Established = happening {
                self.parts.controls.handshakes.fetch_add(1, Ordering::Relaxed);
                let phone = self
                    .phones
                    .as_ref()
                    .and_then(|phones| phones.by_line.get(&line).copied());
                let began = phone.and_then(|phone| times.dialling.iter().position(|(dialled, _)| *dialled == phone));
                if let Some(began) = began {
                    let (_, began) = times.dialling.swap_remove(began);
                    times.handshakes.push(at.saturating_duration_since(began));
                }
            }
            self.handle_phone_happening(line, &happening);
        }
        Ok(())
    }

    /// Remembers where a phone's session is to be.
    fn take_place(&mut self, phone: usize, url: &str, token: &str) -> anyhow::Result<()> {
        let Some(phones) = &mut self.phones else { return Ok(()) };
        let place = url::Url::parse(url)?;
        phones.all[phone].place = format!("{}?jwt={token}", place.path());
        if phones.all[phone].has_media {
            phones.all[phone].state = PhoneState::Dialling;
        } else {
            phones.set_free(phone);
        }
        Ok(())
    }

    fn dial_relay(&mut self, times: &mut Times) -> anyhow::Result<()> {
        let Some(phones) = &mut self.phones else { return Ok(()) };
        let is_impaired = self.parts.load.paths.impairment.is_some();
        for (number, phone) in phones.all.iter_mut().enumerate() {
            if times.dialling.len() >= DIALLING_MAX {
                break;
            }
            if phone.state != PhoneState::Dialling || phone.line.is_some() {
                continue;
            }
            let path = is_impaired.then_some(Owner {
                call: u32::try_from(number)?,
                participant: 0,
                generation: 0,
            });
            let line = self.lines.connect_to(number, &phone.place, path)?;
            self.parts.controls.dials.fetch_add(1, Ordering::Relaxed);
            phone.line = Some(line);
            phones.by_line.insert(line, number);
            times.dialling.push((number, Instant::now()));
        }
        Ok(())
    }

    fn number_of(&self, phone: usize) -> &str {
        self.phones.as_ref().map_or("", |phones| &phones.all[phone].number)
    }

    /// Lines on which nobody talks are kept from ending for that.
    pub(super) fn keep_lines(&mut self) {
        let Some(phones) = &mut self.phones else { return };
        if self.now_ns < phones.ping_due_ns {
            return;
        }
        phones.ping_due_ns = self.now_ns + nanoseconds(PING_STEP);
        let each = phones.all.len().div_ceil(PING_STEPS);
        for _ in 0..each {
            phones.pinged = (phones.pinged + 1) % phones.all.len();
            let phone = &phones.all[phones.pinged];
            if let Some(line) = phone.line
                && !matches!(phone.state, PhoneState::Busy(..) | PhoneState::Gone)
            {
                self.lines.ping(line);
            }
        }
    }
}

/// How long phones took to come.
#[derive(Default)]
struct Times {
    registered: Vec<Duration>,
    handshakes: Vec<Duration>,
    /// Those that wait for the relay, and since when.
    dialling: Vec<(usize, Instant)>,
}

const TURN: Duration = Duration::from_millis(2);
/// Handshakes at once: a relay may bound those of one address.
const DIALLING_MAX: usize = 32;
/// How long none may come while there are some to come.
const REGISTER_MAX: Duration = Duration::from_secs(15);
/// Each line is pinged once in so many steps: a third of the idle timeout that relays have.
const PING_STEP: Duration = Duration::from_millis(100);
const PING_STEPS: usize = 100;
