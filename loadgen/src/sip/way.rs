//! What one telephone of a call says to the other, and what becomes of it.

use crate::engine::{CallId, nanoseconds, on_grid};
use crate::load::{Load, TrackPlan};
use crate::model::codec::Source;
use crate::model::speech::{Means, Speech};
use crate::model::{Purpose, random};
use crate::truth::interval::Ledger;
use crate::truth::leg::{ArrivedFrame, Leg, Place, SETTLE};
use crate::truth::log::TrackLog;
use crate::truth::mos;
use crate::truth::stamp::{self, Stamp};

/// One way of a call. Each frame is a group of its own.
pub(super) struct Way {
    call: CallId,
    /// Who says it.
    participant: u16,
    plan: TrackPlan,
    source: Source,
    log: TrackLog,
    /// When the next frame is due.
    next_ns: u64,
    /// As the other hears it. None: it is not to.
    leg: Option<Leg>,
    /// As those hear it who are beside the call, held or not.
    beside: Vec<Leg>,
    /// Those of before a hold, with the first frame that was not theirs, and when they were closed.
    closing: Vec<(Leg, u64, u64)>,
}

/// A frame that is to be sent.
pub(super) struct Said {
    pub(super) intended_ns: u64,
    pub(super) payload: bytes::Bytes,
}

/// A packet as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) payload: &'a [u8],
    /// Where it belongs by its number, if that is known.
    pub(super) sequence: Option<u64>,
    pub(super) now_ns: u64,
}

impl Way {
    pub(super) fn new(call: CallId, participant: u16, load: &Load, plan: &TrackPlan) -> Self {
        let person = (u64::from(call) << 16) | u64::from(participant);
        let means = plan.has_pauses.then(|| Means::of_conversation(2));
        let speech = Speech::new(means, random(load.seed, Purpose::Speech, person));
        let random = random(load.seed, Purpose::Codec, person);
        Self {
            call,
            participant,
            source: Source::new(plan.codec.clone(), None, 1, speech, random),
            plan: plan.clone(),
            log: TrackLog::default(),
            next_ns: 0,
            leg: None,
            beside: Vec::new(),
            closing: Vec::new(),
        }
    }

    /// The first frame is due then.
    pub(super) fn begin(&mut self, first_ns: u64) {
        self.next_ns = first_ns;
    }

    pub(super) fn next_ns(&self) -> u64 {
        on_grid(self.next_ns)
    }

    /// The other is to hear what is said from here on.
    pub(super) fn open(&mut self, now_ns: u64) {
        let mut leg = Leg::new(&self.log, mos::impairment(self.plan.codec.name()), now_ns);
        leg.measure_gaps(self.plan.codec.interval());
        if let Some((before, _, _)) = self.closing.last() {
            leg.follow(before);
        }
        self.leg = Some(leg);
    }

    /// So many beside the call are to hear it as well.
    pub(super) fn open_beside(&mut self, count: usize, now_ns: u64) {
        let codec = mos::impairment(self.plan.codec.name());
        self.beside.resize_with(count, || {
            let mut leg = Leg::new(&self.log, codec, now_ns);
            leg.is_beside = true;
            leg
        });
    }

    /// Both know that the other hears.
    pub(super) fn expect(&mut self, ledger: &mut Ledger) {
        for leg in self.leg.iter_mut().chain(&mut self.beside) {
            leg.begin_expecting(&self.log, ledger);
        }
    }

    /// What is said from here on is not the other's.
    pub(super) fn leave(&mut self) {
        if let Some(leg) = &mut self.leg {
            leg.leave(&self.log);
        }
    }

    /// What is said from here on is nobody's.
    pub(super) fn leave_for_good(&mut self) {
        self.leave();
        for leg in &mut self.beside {
            leg.leave(&self.log);
        }
    }

    /// The other hears nothing more of it, whatever comes.
    pub(super) fn close(&mut self, now_ns: u64) {
        if let Some(mut leg) = self.leg.take() {
            leg.leave(&self.log);
            self.closing.push((leg, self.log.len(), now_ns));
        }
    }

    pub(super) fn has_heard(&self) -> bool {
        self.leg.as_ref().is_some_and(Leg::has_heard)
    }

    /// Everything that was to be heard was.
    pub(super) fn is_complete(&self) -> bool {
        let mut legs = self.leg.iter().chain(&self.beside);
        legs.all(|leg| leg.is_complete(&self.log))
    }

    /// What is said now, if something is. `is_silent`: whatever would be, is not.
    pub(super) fn say(&mut self, is_silent: bool, ledger: &mut Ledger) -> Option<Said> {
        let intended_ns = self.next_ns();
        let tick = self.source.poll_tick();
        self.next_ns += nanoseconds(tick.lasts);
        tick.frame.filter(|_| !is_silent)?;
        self.log.begin_group();
        let sequence = self.log.push(intended_ns, None);
        let counts = &mut ledger.at(intended_ns).counts;
        counts.frames_offered += 1 + self.beside.len() as u64;
        counts.frames_sent += 1;
        counts.frames_not_owed += u64::from(self.leg.is_none());
        let payload = stamp::build(self.stamp(sequence, intended_ns), self.plan.codec.largest());
        Some(Said { intended_ns, payload })
    }

    /// Takes what came; returns the number of its frame. `None`: it is nothing of this, or damaged.
    pub(super) fn hear(&mut self, heard: Heard<'_>, ledger: &mut Ledger) -> Option<u64> {
        let stamp = stamp::read(heard.payload);
        let own = stamp.filter(|stamp| (stamp.call, stamp.participant) == (self.call, self.participant));
        if stamp.is_some() && own.is_none() {
            let interval = ledger.at(heard.now_ns);
            interval.counts.frames_stray += 1;
            interval.note("a telephone heard another call", 1);
            return None;
        }
        let Some(sequence) = own.map(|stamp| stamp.sequence).or(heard.sequence) else {
            ledger.at(heard.now_ns).counts.frames_stray += 1;
            return None;
        };
        let arrived = ArrivedFrame {
            place: Place {
                group: sequence,
                index: 0,
            },
            bytes: heard.payload.len(),
            now_ns: heard.now_ns,
        };
        let before = self.closing.iter_mut().find(|(_, end, _)| sequence < *end);
        let Some(leg) = before.map(|(leg, _, _)| leg).or(self.leg.as_mut()) else {
            ledger.at(heard.now_ns).counts.frames_stray += 1;
            return None;
        };
        leg.handle_frame(
            &self.log,
            arrived,
            |_, sent| own.is_some_and(|stamp| stamp.intended_ns == sent.intended_ns),
            ledger,
        );
        own.map(|stamp| stamp.sequence)
    }

    /// Takes what came to one beside the call, with a stamp of ours.
    pub(super) fn hear_beside(
        &mut self,
        listener: usize,
        stamp: Stamp,
        bytes: usize,
        now_ns: u64,
        ledger: &mut Ledger,
    ) {
        let Some(leg) = self.beside.get_mut(listener) else {
            return;
        };
        let place = Place {
            group: stamp.sequence,
            index: 0,
        };
        let arrived = ArrivedFrame { place, bytes, now_ns };
        leg.handle_frame(
            &self.log,
            arrived,
            |_, sent| stamp.intended_ns == sent.intended_ns,
            ledger,
        );
    }

    /// Counts frames that have had their time; with `is_last` all.
    pub(super) fn settle(&mut self, now_ns: u64, is_last: bool, ledger: &mut Ledger) {
        let log = &self.log;
        self.closing.retain_mut(|(leg, _, closed_ns)| {
            let is_done = is_last || *closed_ns + nanoseconds(SETTLE) < now_ns;
            leg.settle(log, now_ns, is_done, ledger);
            !is_done
        });
        for leg in self.leg.iter_mut().chain(&mut self.beside) {
            leg.settle(log, now_ns, is_last, ledger);
        }
        self.log.forget_before(now_ns.saturating_sub(LOG_KEPT_NS));
    }

    /// The number of the frame that has these low bits, near the end of what was said.
    pub(super) fn nearest(&self, low: u16) -> Option<u64> {
        let last = self.log.len().checked_sub(1)?;
        let behind = u64::from((last & 0xffff) as u16).wrapping_sub(low.into()) & 0xffff;
        last.checked_sub(behind)
    }

    fn stamp(&self, sequence: u64, intended_ns: u64) -> Stamp {
        Stamp {
            call: self.call,
            participant: self.participant,
            track: 0,
            sequence,
            intended_ns,
        }
    }
}

/// What was said is remembered for so long, beyond the time in which it settles.
const LOG_KEPT_NS: u64 = 8_000_000_000;
