//! Messages between shards: one bounded queue for each ordered pair.
//!
//! A send never waits. When a queue is full, an announcement turns into "look at the whole
//! table again", and a track message is handed back so that only its group is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::net::wake::Waker;
use crate::routing::{RemoteMessage, ShardId};
use crate::wire::BroadcastPath;

/// What one shard tells another.
pub(super) enum Mail {
    /// The announce table changed at this path.
    TableChanged(BroadcastPath),
    Track(RemoteMessage),
}

/// The queue from one shard to another.
struct Lane {
    queue: ArrayQueue<Mail>,
    /// Set when an announcement did not fit.
    resync: AtomicBool,
    overflows: AtomicU64,
}

/// All lanes of a relay and the wakers of its shards.
pub struct PostOffice {
    shards: usize,
    lanes: Vec<Lane>,
    wakers: Vec<Waker>,
}

/// One shard's side of the post office.
pub(super) struct Mailbox {
    office: Arc<PostOffice>,
    own: usize,
    /// Shards that were sent something since they were last woken.
    unwoken: Vec<bool>,
}

/// How full the lanes to one shard are, for `/metrics`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneFigures {
    pub(super) depth: u64,
    pub(super) overflows: u64,
}

impl PostOffice {
    pub fn new(wakers: Vec<Waker>, lane_messages_max: usize) -> Self {
        let shards = wakers.len();
        let lane = || Lane {
            queue: ArrayQueue::new(lane_messages_max),
            resync: AtomicBool::new(false),
            overflows: AtomicU64::new(0),
        };
        Self {
            shards,
            lanes: std::iter::repeat_with(lane).take(shards * shards).collect(),
            wakers,
        }
    }

    fn lane(&self, from: usize, to: usize) -> &Lane {
        &self.lanes[from * self.shards + to]
    }
}

impl Mailbox {
    pub(super) fn new(office: Arc<PostOffice>, own: ShardId) -> Self {
        Self {
            unwoken: vec![false; office.shards],
            own: usize::from(own.0),
            office,
        }
    }

    /// Tells every other shard that the table changed at `path`.
    pub(super) fn table_changed(&mut self, path: &BroadcastPath) {
        for to in (0..self.office.shards).filter(|to| *to != self.own) {
            let lane = self.office.lane(self.own, to);
            if lane.queue.push(Mail::TableChanged(path.clone())).is_err() {
                lane.overflows.fetch_add(1, Ordering::Relaxed);
                lane.resync.store(true, Ordering::Release);
            }
            self.unwoken[to] = true;
        }
    }

    /// Sends a track message, or gives it back when the lane is full.
    pub(super) fn send(&mut self, to: ShardId, message: RemoteMessage) -> Result<(), RemoteMessage> {
        let to = usize::from(to.0);
        if to >= self.office.shards {
            return Err(message);
        }
        let lane = self.office.lane(self.own, to);
        self.unwoken[to] = true;
        lane.queue.push(Mail::Track(message)).map_err(|mail| {
            lane.overflows.fetch_add(1, Ordering::Relaxed);
            match mail {
                Mail::Track(message) => message,
                Mail::TableChanged(_) => unreachable!("what comes back is what was pushed"),
            }
        })
    }

    /// Wakes the shards that were sent something in this turn.
    pub(super) fn wake_receivers(&mut self) {
        for (to, unwoken) in self.unwoken.iter_mut().enumerate() {
            if std::mem::take(unwoken) {
                self.office.wakers[to].wake();
            }
        }
    }

    /// The next message from `from`.
    pub(super) fn receive(&self, from: usize) -> Option<Mail> {
        self.office.lane(from, self.own).queue.pop()
    }

    pub(super) fn has_mail(&self) -> bool {
        (0..self.office.shards).any(|from| !self.office.lane(from, self.own).queue.is_empty())
    }

    /// Whether some shard could not tell of all its announcements; asking clears it.
    pub(super) fn take_resync(&self) -> bool {
        (0..self.office.shards).fold(false, |any, from| {
            self.office.lane(from, self.own).resync.swap(false, Ordering::AcqRel) | any
        })
    }

    pub(super) fn shards(&self) -> usize {
        self.office.shards
    }

    /// Figures of the lanes that lead here.
    pub(super) fn figures(&self) -> LaneFigures {
        (0..self.office.shards).fold(LaneFigures::default(), |sum, from| {
            let lane = self.office.lane(from, self.own);
            LaneFigures {
                depth: sum.depth + lane.queue.len() as u64,
                overflows: sum.overflows + lane.overflows.load(Ordering::Relaxed),
            }
        })
    }
}
