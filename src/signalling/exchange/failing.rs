//! A fault of this program on the calls thread ends no call that is up: it is caught where it happens. What was to be told is
//! left out; where the plane itself failed, another takes its place with what it had.
//!
//! Media does not notice. It is on other threads, and grants are told anew as they were.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::time::Instant;

use moqswitch_calls::{Refusal, Reply};

use super::catching::caught;
use super::{Asker, Exchange};
use crate::limits::GRANTS_RETRY;

impl Exchange {
    /// Has the plane do something. When it fails, another takes its place: devices stay, calls that are up go on, and what was
    /// under way ends, each with its record.
    pub(super) fn attempt(&mut self, what: impl FnOnce(&mut Self)) {
        let Err(fault) = caught(|| what(&mut *self)) else {
            return;
        };
        self.counts.faults += 1;
        if !self.renewals.may_again(Instant::now()) {
            tracing::error!(
                "the call plane fails again and again: no more signalling until the switch is started anew"
            );
            resume_unwind(fault);
        }
        self.counts.renewals += 1;
        tracing::error!(
            faults = self.counts.faults,
            "a fault of this program: calls that are up go on, what was under way ends"
        );
        // What it wanted before it failed is done first.
        self.carry_out();
        let now = caught(|| self.now());
        self.plane.renew(now.unwrap_or_else(|_| self.plane.now()));
        self.refuse_all();
    }

    /// Whoever asked for what failed is told so. What another machine is to answer has not failed.
    fn refuse_all(&mut self) {
        let (kept, failed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.askers).into_iter().partition(|(request, _)| {
                let mut nodes = self.nodes.iter();
                nodes.any(|nodes| nodes.awaited.contains_key(request))
            });
        self.askers = kept;
        for asker in failed.into_values() {
            match asker {
                Asker::Session {
                    session,
                    id,
                    call,
                    asked,
                } => self.refuse(session, id.as_ref(), call.as_ref(), &asked, Refusal::Full),
                Asker::Registration { .. } => self.refusal = Some(Refusal::Full),
                Asker::Node { node } => self.reply_to_node(&node, Reply::Refused(Refusal::Full)),
                // Its way to the answer ends, which is one.
                Asker::Program(_) | Asker::Nobody => {}
            }
        }
    }

    /// Does something on which nothing else depends.
    pub(super) fn try_out(&mut self, what: impl FnOnce(&mut Self)) {
        if caught(|| what(&mut *self)).is_err() {
            self.counts.faults += 1;
            if !self.untold.is_empty() {
                self.retry_at.get_or_insert_with(|| Instant::now() + GRANTS_RETRY);
            }
            tracing::error!(
                faults = self.counts.faults,
                "a fault of this program: somebody is not told something"
            );
        }
    }
}
