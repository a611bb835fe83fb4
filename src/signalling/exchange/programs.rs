//! What programs ask for, the records that they find, and what an operator changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use moqswitch_calls::{AdminEvent, CallRecord, Event, Number, RegisterEvent, Reply, RequestId, SessionId};
use serde_json::Value;
use tokio::sync::oneshot;

use super::line::Close;
use super::session::Session;
use super::{Asker, Exchange};
use crate::access::{Guard, Users};
use crate::messages;
use crate::records::{Filter, Kept, Row, Search, Store, StoreCounts};

impl Exchange {
    /// Asks the plane for a program.
    pub(crate) fn ask(&mut self, event: impl FnOnce(RequestId) -> Event) -> oneshot::Receiver<Reply> {
        let (reply, replied) = oneshot::channel();
        let request = self.request_id(Asker::Program(reply));
        self.handle(event(request));
        replied
    }

    /// Asks the plane. It answers each request before it is done with it; what goes to another machine is done as far as that
    /// is known.
    pub(crate) fn ask_now(&mut self, event: impl FnOnce(RequestId) -> Event) -> Reply {
        let before = self.sent_away;
        let mut replied = self.ask(event);
        replied.try_recv().unwrap_or(match self.sent_away > before {
            // Another machine has it. What comes of it is told.
            true => Reply::Done,
            false => Reply::Refused(moqswitch_calls::Refusal::Stopping),
        })
    }

    /// From here on these are let in. Devices of users who are not among them, or have another password, go: their calls end.
    pub(crate) fn take_entrance(&mut self, guard: &Guard) {
        let after: BTreeSet<Number> = guard.users().into_iter().flat_map(Users::numbers).cloned().collect();
        let before = std::mem::replace(&mut self.users, after);
        let numbers = before.difference(&self.users).cloned().collect();
        let gone = AdminEvent::Declare { numbers, exist: false };
        let numbers = self.users.difference(&before).cloned().collect();
        let new = AdminEvent::Declare { numbers, exist: true };
        self.turn_out(|session| session.proof.is_password() && !guard.knows(&session.dn, session.proof));
        self.sip_entrance.take(guard);
        self.outlet.touch_entrance();
        self.handle(Event::Admin(gone));
        self.handle(Event::Admin(new));
    }

    /// Devices that are let in no more: their calls end, and they cannot come back by what they have.
    pub(super) fn turn_out(&mut self, is_out: impl Fn(&Session) -> bool) {
        let out = self.sessions.iter().filter(|(_, session)| is_out(session));
        let out: Vec<SessionId> = out.map(|(id, _)| *id).collect();
        for session in out {
            let line = self.sessions.get(&session).and_then(Session::line).cloned();
            let request = self.request_id(Asker::Nobody);
            self.handle(Event::Register(RegisterEvent::Unregister { request, session }));
            if let Some(line) = line {
                line.close(Close::REVOKED);
            }
        }
    }

    /// Where records go from here on, with those that were there.
    pub(crate) fn keep_records(&mut self, store: Store, kept: Kept) {
        self.store = Some(store);
        self.kept = kept;
    }

    /// The disk has these, or never will.
    pub(crate) fn stored(&mut self, rows: Vec<Arc<Row>>) {
        for row in rows {
            self.note_over(&row.call);
            self.events.push_text("callRecord", row.line.to_string());
            self.kept.push(row);
        }
    }

    /// Where records in files are found.
    pub(crate) fn search(&self) -> Option<Search> {
        self.store.as_ref().map(Store::search)
    }

    /// Records that match and that are found in no file, the newest first: all of them where there are no files.
    pub(crate) fn records_in_no_file<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Row>> {
        let kept = if self.store.is_some() {
            &self.unstored
        } else {
            &self.kept
        };
        kept.find(filter)
    }

    /// Records in memory that match, the newest first.
    pub(crate) fn records<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Row>> {
        self.kept.find(filter)
    }

    pub(crate) fn store_counts(&self) -> Option<&StoreCounts> {
        self.store.as_ref().map(Store::counts)
    }

    /// No record comes any more.
    pub(crate) fn take_store(&mut self) -> Option<Store> {
        self.store.take()
    }

    /// A call is over, and its record is written here.
    pub(super) fn file_record(&mut self, record: &CallRecord) {
        self.tally.record(record);
        let told = messages::call_record(record);
        self.note_ended(record.call, &told);
        self.keep(&told);
    }

    /// A record is found, and told of, when the disk has it. What there is no room for is found all the same.
    pub(super) fn keep(&mut self, record: &Value) {
        let Some(row) = Row::of(record) else { return };
        let row = Arc::new(row);
        if !self.store.as_ref().is_some_and(|store| store.write(Arc::clone(&row))) {
            if self.store.is_some() {
                self.unstored.push(Arc::clone(&row));
            }
            self.stored(vec![row]);
        }
    }
}
