//! Messages between shards: one bounded queue for each ordered pair.
//!
//! A send never waits. When a queue is full, an announcement turns into "look at the whole
//! table again", media is handed back so that only its group is given up, and what must
//! arrive is spilled: kept by the sender until there is room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use moqswitch_proto::wire::BroadcastPath;

use crate::net::wake::Waker;
use crate::routing::{RemoteMessage, ShardId};

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
    /// What waits for room in the lane to each shard, in order.
    spill: Vec<VecDeque<RemoteMessage>>,
}

/// How full a lane is, for `/metrics`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneFigures {
    pub(super) depth: u64,
    pub(super) overflows: u64,
}

impl PostOffice {
    /// Empty lanes between as many shards as there are wakers. Each lane takes `lane_messages_max` messages; what
    /// happens to a further one is said above.
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
            spill: vec![VecDeque::new(); office.shards],
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
        let spill = &mut self.spill[to];
        let message = if spill.is_empty() {
            self.unwoken[to] = true;
            match push(self.office.lane(self.own, to), message) {
                Ok(()) => return Ok(()),
                Err(message) => message,
            }
        } else {
            message
        };
        if message.must_arrive() || (message.is_request() && spill.len() < SPILLED_REQUESTS_MAX) {
            spill.push_back(message);
            return Ok(());
        }
        let lane = self.office.lane(self.own, to);
        lane.overflows.fetch_add(1, Ordering::Relaxed);
        Err(message)
    }

    /// Sends what waited for room, as far as there is some now.
    pub(super) fn flush_spill(&mut self) {
        for (to, spill) in self.spill.iter_mut().enumerate() {
            while let Some(message) = spill.pop_front() {
                self.unwoken[to] = true;
                if let Err(message) = push(self.office.lane(self.own, to), message) {
                    spill.push_front(message);
                    break;
                }
            }
        }
    }

    pub(super) fn has_spill(&self) -> bool {
        self.spill.iter().any(|spill| !spill.is_empty())
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

    pub(super) fn own(&self) -> usize {
        self.own
    }

    /// The lanes that lead here, each with the shard that it comes from.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (usize, LaneFigures)> + '_ {
        let others = (0..self.office.shards).filter(|from| *from != self.own);
        others.map(|from| {
            let lane = self.office.lane(from, self.own);
            let figures = LaneFigures {
                depth: lane.queue.len() as u64,
                overflows: lane.overflows.load(Ordering::Relaxed),
            };
            (from, figures)
        })
    }

    /// Messages that wait here for room at other shards.
    pub(super) fn spilled(&self) -> u64 {
        self.spill.iter().map(|spill| spill.len() as u64).sum()
    }
}

fn push(lane: &Lane, message: RemoteMessage) -> Result<(), RemoteMessage> {
    lane.queue.push(Mail::Track(message)).map_err(|mail| match mail {
        Mail::Track(message) => message,
        Mail::TableChanged(_) => unreachable!("what comes back is what was pushed"),
    })
}

/// Messages spilled for one shard at which requests are refused. Media is never spilled, and
/// what must arrive always: of that there is a few for each thing the shards keep.
const SPILLED_REQUESTS_MAX: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use moqswitch_proto::wire::GroupSequence;

    use crate::routing::{RemoteTrack, TrackKey};

    use super::*;

    fn name(subscription: u32) -> RemoteTrack {
        let track = TrackKey {
            index: 0,
            generation: 0,
        };
        RemoteTrack { track, subscription }
    }

    fn media(subscription: u32) -> RemoteMessage {
        RemoteMessage::GroupStart {
            track: name(subscription),
            sequence: GroupSequence(0),
            chunks: Vec::new(),
        }
    }

    fn received(mailbox: &Mailbox) -> Vec<u32> {
        let messages = std::iter::from_fn(|| mailbox.receive(0));
        messages
            .map(|mail| match mail {
                Mail::Track(
                    RemoteMessage::GroupStart { track, .. }
                    | RemoteMessage::Finished { track }
                    | RemoteMessage::Unsubscribe { track },
                ) => track.subscription,
                _ => panic!("nothing else was sent"),
            })
            .collect()
    }

    #[test]
    fn what_must_arrive_does_so_in_order_and_media_is_given_back() {
        let wakers = std::iter::repeat_with(|| crate::net::wake::channel().unwrap().0)
            .take(2)
            .collect();
        let office = Arc::new(PostOffice::new(wakers, 2));
        let mut sender = Mailbox::new(office.clone(), ShardId(0));
        let receiver = Mailbox::new(office, ShardId(1));
        let to = ShardId(1);
        for number in 0..2 {
            assert!(sender.send(to, media(number)).is_ok());
        }
        assert!(sender.send(to, media(2)).is_err());
        for number in 3..9 {
            assert!(sender.send(to, RemoteMessage::Finished { track: name(number) }).is_ok());
        }
        assert_eq!(received(&receiver), [0, 1]);
        assert!(sender.send(to, media(9)).is_err(), "it would overtake what waits");
        let mut arrived = Vec::new();
        while sender.has_spill() {
            sender.flush_spill();
            arrived.extend(received(&receiver));
        }
        assert_eq!(arrived, [3, 4, 5, 6, 7, 8]);
        assert!(sender.send(to, media(10)).is_ok());
        let (_, lane) = receiver.lanes().next().unwrap();
        assert_eq!(lane.overflows, 2);
    }
}
