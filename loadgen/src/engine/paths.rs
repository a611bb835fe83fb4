//! The paths of the lines, when they are worse than the host's own: each line has a link of its
//! own in each direction, and what is on its way waits here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use moqswitch_relay::quic::{ConnectionKey, Outgoing};
use rustc_hash::FxHashMap;

use crate::link::{Impairment, Link};
use crate::model::{Purpose, random};

pub(crate) struct Paths {
    impairment: Impairment,
    seed: u64,
    links: FxHashMap<ConnectionKey, Links>,
    transit: Transit,
}

/// What is on its way on all of them.
struct Transit {
    started: Instant,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Datagrams taken so far, which keeps those that are due at once in order.
    taken: u64,
    /// Those that there was no room for.
    dropped: u64,
}

struct Links {
    up: Link,
    down: Link,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    order: u64,
    datagram: Datagram,
}

/// Whose path it is, whatever else happens in the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(super) call: u32,
    pub(super) participant: u16,
    /// How many lines the participant had before.
    pub(super) generation: u32,
}

impl Owner {
    /// Even, and another for each, up to 32 768 lines of one participant.
    fn number(self) -> u64 {
        u64::from(self.call) << 32 | u64::from(self.participant) << 16 | u64::from(self.generation << 1 & 0xffff)
    }
}

/// A datagram that came out of its link.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Datagram {
    pub(super) bytes: Vec<u8>,
    pub(super) way: Way,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    ToRelay {
        destination: SocketAddr,
        source: Option<IpAddr>,
    },
    ToClient {
        source: SocketAddr,
    },
}

impl Paths {
    pub(super) fn new(impairment: Impairment, seed: u64, now: Instant) -> Self {
        Self {
            impairment,
            seed,
            links: FxHashMap::default(),
            transit: Transit {
                started: now,
                waiting: BinaryHeap::new(),
                taken: 0,
                dropped: 0,
            },
        }
    }

    /// Gives a line a path of its own. The same owner has the same path in every run of a seed.
    pub(super) fn insert(&mut self, line: ConnectionKey, owner: Owner) {
        let link = |direction| {
            let random = random(self.seed, Purpose::Link, owner.number() | direction);
            Link::new(self.impairment.clone(), random)
        };
        let (up, down) = (link(0), link(1));
        self.links.insert(line, Links { up, down });
    }

    pub(super) fn remove(&mut self, line: ConnectionKey) {
        self.links.remove(&line);
    }

    /// Takes what a line sends; false when its path is the host's own.
    pub(super) fn send(&mut self, line: ConnectionKey, outgoing: &Outgoing, now: Instant) -> bool {
        let Some(links) = self.links.get_mut(&line) else {
            return false;
        };
        let elapsed = now.saturating_duration_since(self.transit.started);
        for bytes in outgoing.datagrams() {
            if let Some(due) = links.up.handle(elapsed, bytes.len()) {
                let way = Way::ToRelay {
                    destination: outgoing.destination,
                    source: outgoing.source,
                };
                self.transit.put(due, bytes, way);
            }
        }
        true
    }

    /// Takes what came for a line; false when its path is the host's own.
    pub(super) fn receive(&mut self, line: ConnectionKey, bytes: &[u8], source: SocketAddr, now: Instant) -> bool {
        let Some(links) = self.links.get_mut(&line) else {
            return false;
        };
        let elapsed = now.saturating_duration_since(self.transit.started);
        if let Some(due) = links.down.handle(elapsed, bytes.len()) {
            let way = Way::ToClient { source };
            self.transit.put(due, bytes, way);
        }
        true
    }

    /// When the next datagram comes out of its link.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.transit.waiting.peek().map(|Reverse(next)| next.due)
    }

    pub(super) fn last_due(&self) -> Option<Instant> {
        let waiting = self.transit.waiting.iter();
        waiting.map(|Reverse(waiting)| waiting.due).max()
    }

    /// The next datagram that is due, and since when. It stays until [`Paths::pop`].
    pub(super) fn peek(&self, now: Instant) -> Option<(Instant, &Datagram)> {
        let Reverse(next) = self.transit.waiting.peek()?;
        (next.due <= now).then_some((next.due, &next.datagram))
    }

    pub(super) fn pop(&mut self) -> Option<Datagram> {
        self.transit.waiting.pop().map(|Reverse(next)| next.datagram)
    }

    /// Datagrams since the last call that were dropped for want of room.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.transit.dropped)
    }
}

impl Transit {
    fn put(&mut self, due: Duration, bytes: &[u8], way: Way) {
        if self.waiting.len() >= WAITING_MAX {
            self.dropped += 1;
            return;
        }
        self.taken += 1;
        self.waiting.push(Reverse(Waiting {
            due: self.started + due,
            order: self.taken,
            datagram: Datagram {
                bytes: bytes.to_vec(),
                way,
            },
        }));
    }
}

/// Datagrams on their way on all paths of a shard, 300 MB of full ones. Further ones are dropped,
/// and the run has no result.
const WAITING_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_a_path_of_its_own_and_others_have_none() {
        let now = Instant::now();
        let mut paths = Paths::new("delay=40ms,loss=20%".parse().unwrap(), 7, now);
        let key = |index| ConnectionKey { index, generation: 0 };
        let source: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let owner = |participant| Owner {
            call: 3,
            participant,
            generation: 0,
        };
        paths.insert(key(1), owner(0));
        paths.insert(key(2), owner(1));
        assert!(!paths.receive(key(3), &[3], source, now));
        for number in 0..=255 {
            assert!(paths.receive(key(1), &[1, number], source, now));
            assert!(paths.receive(key(2), &[2, number], source, now));
        }
        assert!(paths.peek(now + Duration::from_millis(39)).is_none());
        let mut came: [Vec<u8>; 3] = Default::default();
        while let Some((_, datagram)) = paths.peek(now + Duration::from_millis(40)) {
            came[usize::from(datagram.bytes[0])].push(datagram.bytes[1]);
            paths.pop();
        }
        for line in [1, 2] {
            assert!((180..230).contains(&came[line].len()), "{}", came[line].len());
            assert!(came[line].is_sorted(), "what is due at once leaves in order");
        }
        assert_ne!(came[1], came[2], "paths lose different datagrams");
        paths.remove(key(1));
        assert!(!paths.receive(key(1), &[1], source, now));
    }

    #[test]
    fn a_path_is_its_owners_whoever_dials_first() {
        let source: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let now = Instant::now();
        let pattern = |order: [u16; 2]| {
            let mut paths = Paths::new("loss=50%".parse().unwrap(), 7, now);
            for (index, participant) in (0..).zip(order) {
                let owner = Owner {
                    call: 1,
                    participant,
                    generation: 2,
                };
                paths.insert(ConnectionKey { index, generation: 0 }, owner);
            }
            for number in 0..=255 {
                for (index, participant) in (0..).zip(order) {
                    let key = ConnectionKey { index, generation: 0 };
                    paths.receive(key, &[u8::try_from(participant).unwrap(), number], source, now);
                }
            }
            let mut came: Vec<Vec<u8>> = std::iter::from_fn(|| paths.pop())
                .map(|datagram| datagram.bytes)
                .collect();
            came.sort();
            came
        };
        assert_eq!(pattern([0, 1]), pattern([1, 0]));
    }
}
