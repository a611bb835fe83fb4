//! What a peer of the mesh is told late, or not at all, so that withdrawals do not make the mesh hunt for paths.
//!
//! A new broadcast and one that is gone are told at once. Another route to a broadcast that stays waits [`UPDATE_HOLD`]:
//! while a withdrawal crosses the mesh, stale routes fall one after the other, and only the last word is told. And for
//! [`RETRACT_QUARANTINE`] after a withdrawal a worse route to the same publisher is not told: it is one that the withdrawal
//! has not reached. Both are what moq-relay 0.17 does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId, RouteCost};
use rustc_hash::FxHashMap;

use super::ids::RequestKey;

/// Of one announce stream.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Until when another route of a path waits to be told.
    held: FxHashMap<BroadcastPath, Instant>,
    retracted: FxHashMap<BroadcastPath, Retracted>,
}

#[derive(Clone, Copy, Debug)]
struct Retracted {
    until: Instant,
    publisher: HopId,
    rank: (RouteCost, usize),
}

/// What becomes of what a stream would be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Tell,
    /// Nothing is told before this.
    Wait(Instant),
    /// It waits already.
    Waits,
}

impl Settling {
    /// Another route, of a broadcast that the peer knows.
    pub(super) fn on_update(&mut self, path: &BroadcastPath, now: Instant) -> Verdict {
        match self.held.get(path) {
            Some(until) if *until <= now => {
                self.held.remove(path);
                Verdict::Tell
            }
            Some(_) => Verdict::Waits,
            None => {
                let until = now + UPDATE_HOLD;
                self.held.insert(path.clone(), until);
                Verdict::Wait(until)
            }
        }
    }

    /// The route is again the one that the peer knows.
    pub(super) fn on_settled(&mut self, path: &BroadcastPath) {
        self.held.remove(path);
    }

    /// A broadcast that the peer does not know, or not any more.
    pub(super) fn on_start(&mut self, path: &BroadcastPath, offered: &Advertisement, now: Instant) -> Verdict {
        let Some(retracted) = self.retracted.get(path) else {
            return Verdict::Tell;
        };
        let publisher = offered.hops.first().copied();
        if retracted.until <= now || publisher != Some(retracted.publisher) || rank(offered) <= retracted.rank {
            self.retracted.remove(path);
            return Verdict::Tell;
        }
        Verdict::Wait(retracted.until)
    }

    /// The peer was told that a broadcast is gone. Returns until when a worse route to it waits, if that is to be seen to.
    pub(super) fn on_end(&mut self, path: &BroadcastPath, told: &Advertisement, now: Instant) -> Option<Instant> {
        self.held.remove(path);
        let publisher = *told.hops.first().filter(|hop| **hop != HopId::UNKNOWN)?;
        let until = now + RETRACT_QUARANTINE;
        let retracted = Retracted {
            until,
            publisher,
            rank: rank(told),
        };
        self.retracted.insert(path.clone(), retracted);
        Some(until)
    }

    /// The time of a path has come: whether there is something to look at again.
    pub(super) fn on_due(&mut self, path: &BroadcastPath, now: Instant) -> bool {
        let was_retracted = self.retracted.get(path).is_some_and(|retracted| retracted.until <= now);
        if was_retracted {
            self.retracted.remove(path);
        }
        was_retracted || self.held.get(path).is_some_and(|until| *until <= now)
    }
}

/// The lower the better, as moq-relay compares them.
fn rank(advertisement: &Advertisement) -> (RouteCost, usize) {
    (advertisement.cost, advertisement.hops.len())
}

/// Paths of all streams whose time comes, in its order. What finds no room is told at once.
#[derive(Debug, Default)]
pub(super) struct Dues {
    /// Both rise by themselves, as each has one term.
    holds: VecDeque<(Instant, RequestKey, BroadcastPath)>,
    quarantines: VecDeque<(Instant, RequestKey, BroadcastPath)>,
}

impl Dues {
    pub(super) fn is_full(&self) -> bool {
        self.holds.len() + self.quarantines.len() >= DUES_MAX
    }

    pub(super) fn hold(&mut self, until: Instant, key: RequestKey, path: BroadcastPath) {
        self.holds.push_back((until, key, path));
    }

    pub(super) fn quarantine(&mut self, until: Instant, key: RequestKey, path: BroadcastPath) {
        self.quarantines.push_back((until, key, path));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let first = |queue: &VecDeque<(Instant, RequestKey, BroadcastPath)>| queue.front().map(|(until, ..)| *until);
        [first(&self.holds), first(&self.quarantines)]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<(RequestKey, BroadcastPath)> {
        for queue in [&mut self.holds, &mut self.quarantines] {
            if queue.front().is_some_and(|(until, ..)| *until <= now) {
                return queue.pop_front().map(|(_, key, path)| (key, path));
            }
        }
        None
    }
}

/// Longer than a withdrawal takes across a mesh of the whole world.
pub(super) const UPDATE_HOLD: Duration = Duration::from_millis(300);

/// How long a withdrawn publisher is looked at with doubt.
pub(super) const RETRACT_QUARANTINE: Duration = Duration::from_secs(2);

/// Paths of a shard's streams that wait for their time, of some 80 bytes each.
const DUES_MAX: usize = 1 << 20;
