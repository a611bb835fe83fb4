//! Records: one for each leg, then one for its call. A leg that was up waits a little for what the relay counted.

use std::time::Duration;

use crate::action::{Action, MediaAction, Notice, Report};
use crate::cause::Cause;
use crate::event::MediaEvent;
use crate::ids::{CallId, LegId};
use crate::limits::{LEGS_RECORDED_MAX, RECORDS_WAITING_MAX};
use crate::media::{Counters, LastQuality, Quality, Warning};
use crate::moment::Now;
use crate::record::{CallRecord, EndedBy, LegRecord, Times};

use super::CallPlane;
use super::state::{Call, Leg};
use super::timers::Timer;

/// The records of one call that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Book {
    legs: Vec<LegRecord>,
    legs_left_out: u32,
    /// Legs that wait for their counters.
    waiting: Vec<LegRecord>,
    /// The call, when it is over.
    call: Option<Box<CallRecord>>,
}

impl Book {
    /// Is anything of it to be counted yet?
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl CallPlane {
    pub(super) fn write_leg(&mut self, leg: &Leg, cause: Cause, by: EndedBy) {
        let record = LegRecord {
            leg: leg.id,
            call: leg.call,
            party: leg.party.clone(),
            role: leg.role,
            times: self.times(leg.started, leg.rang, leg.answered),
            cause,
            by,
            codec: leg.choice.sends,
            counters: None,
            quality: leg.quality,
        };
        let had_media = leg.answered.is_some() || leg.is_early;
        let wait = self.settings.counters_wait;
        if !had_media || wait.is_zero() || self.counted.len() >= RECORDS_WAITING_MAX {
            self.file_leg(LegRecord {
                counters: leg.counters,
                ..record
            });
            return;
        }
        let record = LegRecord {
            counters: leg.counters,
            ..record
        };
        self.counted.insert(leg.id, leg.call);
        self.books.entry(leg.call).or_default().waiting.push(record);
        self.timers.set(Timer::Record(leg.call), self.after(wait));
        self.staged.push(Action::Media(MediaAction::Count { leg: leg.id }));
    }

    pub(super) fn file_leg(&mut self, record: LegRecord) {
        let book = self.books.entry(record.call).or_default();
        if book.legs.len() < LEGS_RECORDED_MAX {
            book.legs.push(record.clone());
        } else {
            book.legs_left_out = book.legs_left_out.saturating_add(1);
        }
        self.report(Report::LegRecord(Box::new(record)));
    }

    pub(super) fn close_book(&mut self, call: Call, cause: Cause, by: EndedBy) {
        let id = call.id;
        let record = CallRecord {
            call: id,
            times: self.times(call.started, call.rang, call.answered),
            from: call.from,
            dialled: call.dialled,
            answered_by: call.answered_by,
            cause,
            by,
            rule: call.rule,
            queue: call.queue,
            transfers: call.transfers,
            transfers_left_out: call.transfers_left_out,
            recorded: call.was_recorded,
            legs: Vec::new(),
            legs_left_out: 0,
        };
        let book = self.books.entry(id).or_default();
        if !book.waiting.is_empty() {
            let mut so_far = record.clone();
            so_far.legs = book
                .legs
                .iter()
                .chain(&book.waiting)
                .take(LEGS_RECORDED_MAX)
                .cloned()
                .collect();
            let known = book.legs.len() + book.waiting.len();
            let left_out = u32::try_from(known - so_far.legs.len()).unwrap_or(u32::MAX);
            so_far.legs_left_out = book.legs_left_out.saturating_add(left_out);
            book.call = Some(Box::new(record));
            self.report(Report::CallEnded(Box::new(so_far)));
            return;
        }
        book.call = Some(Box::new(record));
        self.file_call(id);
    }

    /// Writes the record of a call that is over when nothing of it waits any more.
    fn file_call(&mut self, id: CallId) {
        let is_complete = |book: &Book| book.call.is_some() && book.waiting.is_empty();
        if !self.books.get(&id).is_some_and(is_complete) {
            return;
        }
        self.timers.clear(&Timer::Record(id));
        let Some(book) = self.books.remove(&id) else { return };
        if let Some(mut record) = book.call {
            record.legs = book.legs;
            record.legs_left_out = book.legs_left_out;
            self.report(Report::CallRecord(record));
        }
    }

    /// Counters did not come: the records are written without.
    pub(super) fn counters_are_late(&mut self, id: CallId) {
        let waiting = self.books.get_mut(&id).map(|book| std::mem::take(&mut book.waiting));
        for record in waiting.unwrap_or_default() {
            self.counted.remove(&record.leg);
            self.file_leg(record);
        }
        self.file_call(id);
    }

    pub(super) fn handle_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Flowing { leg } => {
                let call = self.legs.get(&leg).map(|leg| leg.call);
                if let Some(call) = call.and_then(|call| self.calls.get_mut(&call)) {
                    call.media_at = Some(self.now.since_start);
                }
            }
            MediaEvent::Quality { leg, quality } => self.take_quality(leg, quality.sane()),
            MediaEvent::Played { play, whole } => self.play_is_over(play, whole),
            MediaEvent::Counters { leg, counters } => self.take_counters(leg, counters),
        }
    }

    fn take_counters(&mut self, id: LegId, counters: Counters) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.counters = Some(counters);
            return;
        }
        let Some(call) = self.counted.remove(&id) else { return };
        let Some(book) = self.books.get_mut(&call) else { return };
        let Some(at) = book.waiting.iter().position(|record| record.leg == id) else {
            return;
        };
        let mut record = book.waiting.remove(at);
        record.counters = Some(counters);
        self.file_leg(record);
        self.file_call(call);
    }

    fn take_quality(&mut self, id: LegId, quality: Quality) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if !leg.is_up() {
            return;
        }
        leg.quality.add(&quality);
        let last = LastQuality::of(&quality);
        leg.last_quality = Some(last);
        if last.differs(leg.told_quality) {
            leg.told_quality = Some(last);
            self.changed.calls.insert(leg.call);
        }
        let session = leg.session;
        let before = leg.warnings;
        let applying = Warning::ALL.into_iter().filter(|warning| warning.applies(&quality));
        leg.warnings = applying.fold(0, |bits, warning| bits | warning.bit());
        let after = leg.warnings;
        for warning in Warning::ALL {
            let on = after & warning.bit() != 0;
            if on != (before & warning.bit() != 0) {
                let notice = Notice::QualityWarning {
                    call: id.call,
                    leg: id,
                    warning,
                    on,
                };
                self.notify(session, notice);
            }
        }
    }

    /// Who was to be silent may speak again, and needs a moment to.
    pub(super) fn wait_for_media_anew(&mut self, id: CallId) {
        let now = self.now.since_start;
        if let Some(call) = self.calls.get_mut(&id) {
            call.media_at = call.media_at.map(|_| now);
        }
    }

    /// A call that is up and has no media any more, either way, ends. Who holds or is muted sends nothing, and that is as it
    /// should be. One that never had any is not judged: its media may go another way, as between two browsers.
    pub(super) fn look_for_media(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let patience = self.settings.half_dead;
        if patience.is_zero() {
            return;
        }
        let mut legs = call.legs.iter().filter_map(|leg| self.legs.get(leg));
        // Who is alone with a control program has nobody to send to.
        let is_alone = call.is_controlled && self.participants(call).len() < 2;
        let is_to_be_silent = is_alone || call.lecture.is_some() || legs.any(|leg| leg.holds || leg.muted);
        let silent = match call.media_at {
            Some(at) if !is_to_be_silent => self.now.since_start.saturating_sub(at),
            _ => Duration::ZERO,
        };
        if silent >= patience {
            self.end_call(id, Cause::MediaTimeout, EndedBy::System);
            return;
        }
        let wait = patience - silent;
        self.timers.set(Timer::HalfDead(id), self.after(wait));
    }

    fn times(&self, started: Now, rang: Option<Now>, answered: Option<Now>) -> Times {
        let passed = |from: Now, to: Now| to.since_start.saturating_sub(from.since_start);
        Times {
            start_ms: started.unix_ms,
            ring_ms: rang.map(|at| at.unix_ms),
            answer_ms: answered.map(|at| at.unix_ms),
            end_ms: self.now.unix_ms,
            duration: answered.map(|at| passed(at, self.now)).unwrap_or_default(),
            setup: answered.map(|at| passed(started, at)),
        }
    }
}
