//! Who has lost its connection dials again until it is back. Its call goes on meanwhile: what it says and what is said to it
//! is owed, and its silence is measured.

use std::sync::atomic::Ordering;
use std::time::Duration;

use moqswitch_relay::quic::ConnectionKey;

use super::ids::CallId;
use super::nanoseconds;
use super::paths::Owner;
use super::person::Phase;
use super::shard::{Due, Shard};

impl Shard {
    /// A relay that goes away, and that nobody follows who answers, is left for the one that comes. Nothing was lost so far.
    pub(super) fn leave_relay(&mut self, call: CallId, participant: u16, line: ConnectionKey) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        if !state.load.behaviour.redials || !state.is_established || state.ending_ns.is_some() {
            return;
        }
        self.by_line.remove(&line);
        state.lose_line(participant, self.now_ns, &mut self.lines);
        self.redial(call, participant, 0);
    }

    /// Dials anew, and looks later whether that was of use.
    pub(super) fn redial(&mut self, call: CallId, participant: u16, attempt: u32) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let is_impaired = state.load.is_impaired(participant);
        let heard = state.load.shape.heard_by(participant);
        let person = &mut state.people[usize::from(participant)];
        if state.ending_ns.is_some() || !person.is_lost {
            return;
        }
        person.phase = Phase::Dialling;
        person.sees.fill(false);
        person.unseen = heard;
        if let Some(line) = person.line.take() {
            self.by_line.remove(&line);
            self.lines.drop_silently(line);
        }
        // One that cannot be dialled is dialled again as well.
        let path = is_impaired.then_some(Owner {
            call,
            participant,
            generation: person.generation,
        });
        if let Ok(line) = self.lines.connect(usize::from(participant), path) {
            self.by_line.insert(line, (call, participant));
            person.line = Some(line);
        }
        self.parts.controls.dials.fetch_add(1, Ordering::Relaxed);
        let wait = (REDIAL_WAIT_MIN * 2_u32.saturating_pow(attempt.min(8))).min(REDIAL_WAIT_MAX);
        let due = Due::Redial {
            call,
            participant,
            attempt: attempt + 1,
        };
        self.at(self.now_ns + nanoseconds(wait), due);
    }

    /// Whether a participant is back that had lost its connection.
    pub(super) fn handle_return(&mut self, call: CallId, participant: u16, line: ConnectionKey) -> bool {
        let Some(state) = self.calls.get_mut(&call) else {
            return false;
        };
        if !std::mem::take(&mut state.people[usize::from(participant)].is_lost) {
            return false;
        }
        let prefix = state.prefix();
        self.ledger.at(self.now_ns).counts.reconnects += 1;
        if let Some(session) = self.lines.session(line) {
            session.request_announce(&prefix);
        }
        state.advance(participant, self.now_ns, &mut self.ledger);
        true
    }
}

/// How long an attempt may take; doubled after each, up to the longest.
const REDIAL_WAIT_MIN: Duration = Duration::from_millis(250);
const REDIAL_WAIT_MAX: Duration = Duration::from_secs(2);
