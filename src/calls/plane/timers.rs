//! What is due when. Each thing has at most one timer, so there are never more timers than things.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{CallId, HookId, Number, PlayId, SessionId};

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A registration expires.
    Registration(SessionId),
    /// A lost device gives up legs that are not up.
    GraceAlerting(SessionId),
    /// A lost device gives up everything.
    GraceUp(SessionId),
    /// What rings has rung long enough.
    Ring(CallId),
    /// A call has lasted long enough.
    Duration(CallId),
    /// Has media come?
    HalfDead(CallId),
    /// A hook has not answered.
    Hook(HookId),
    /// Nobody tells that an announcement is over.
    Play(PlayId),
    /// A caller has waited long enough.
    QueueWait(CallId),
    /// Counters have not come.
    Record(CallId),
    /// An agent has written enough.
    WrapUp(Number),
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Duration, Timer)>,
    times: BTreeMap<Timer, Duration>,
}

impl Timers {
    /// Sets a timer, or sets it anew.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        self.clear(&timer);
        self.times.insert(timer.clone(), at);
        self.by_time.insert((at, timer));
    }

    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.times.remove(timer) {
            self.by_time.remove(&(at, timer.clone()));
        }
    }

    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.times.contains_key(timer)
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The first one that is due.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.times.remove(&timer);
        Some(timer)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }
}
