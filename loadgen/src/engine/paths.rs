//! The paths of the lines, when they are worse than the host's own: each line has a link of its
//! own in each direction, and what is on its way waits here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use moqswitch::quic::{ConnectionKey, Outgoing};
use rustc_hash::FxHashMap;

use crate::link::{Impairment, Link};
use crate::model::{Purpose, random};

pub(super) struct Paths {
    impairment: Impairment,
    seed: u64,
    /// Number of the next path; those of other shards have others.
    next: u64,
    started: Instant,
    links: FxHashMap<ConnectionKey, Links>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Datagrams taken so far, which keeps those that are due at once in order.
    taken: u64,
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
    pub(super) fn new(impairment: Impairment, seed: u64, shard: u64, now: Instant) -> Self {
        Self {
            impairment,
            seed,
            next: shard << 32,
            started: now,
            links: FxHashMap::default(),
            waiting: BinaryHeap::new(),
            taken: 0,
        }
    }

    /// Gives a line a path of its own.
    pub(super) fn insert(&mut self, line: ConnectionKey) {
        let link = |direction| {
            let random = random(self.seed, Purpose::Link, self.next * 2 + direction);
            Link::new(self.impairment.clone(), random)
        };
        let (up, down) = (link(0), link(1));
        self.next += 1;
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
        let elapsed = now.saturating_duration_since(self.started);
        for bytes in outgoing.datagrams() {
            if let Some(due) = links.up.handle(elapsed, bytes.len()) {
                let way = Way::ToRelay {
                    destination: outgoing.destination,
                    source: outgoing.source,
                };
                wait(&mut self.waiting, &mut self.taken, self.started + due, bytes, way);
            }
        }
        true
    }

    /// Takes what came for a line; false when its path is the host's own.
    pub(super) fn receive(&mut self, line: ConnectionKey, bytes: &[u8], source: SocketAddr, now: Instant) -> bool {
        let Some(links) = self.links.get_mut(&line) else {
            return false;
        };
        let elapsed = now.saturating_duration_since(self.started);
        if let Some(due) = links.down.handle(elapsed, bytes.len()) {
            let way = Way::ToClient { source };
            wait(&mut self.waiting, &mut self.taken, self.started + due, bytes, way);
        }
        true
    }

    /// When the next datagram comes out of its link.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(next)| next.due)
    }

    pub(super) fn last_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|Reverse(waiting)| waiting.due).max()
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<Datagram> {
        if self.next_due()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(next)| next.datagram)
    }
}

fn wait(waiting: &mut BinaryHeap<Reverse<Waiting>>, taken: &mut u64, due: Instant, bytes: &[u8], way: Way) {
    if waiting.len() >= WAITING_MAX {
        tracing::warn!(WAITING_MAX, "too much is on its way; a datagram is lost");
        return;
    }
    *taken += 1;
    waiting.push(Reverse(Waiting {
        due,
        order: *taken,
        datagram: Datagram {
            bytes: bytes.to_vec(),
            way,
        },
    }));
}

/// Datagrams on their way on all paths of a shard, 300 MB of full ones. Further ones are lost, with
/// a warning.
const WAITING_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_line_has_a_path_of_its_own_and_others_have_none() {
        let now = Instant::now();
        let mut paths = Paths::new("delay=40ms,loss=20%".parse().unwrap(), 7, 0, now);
        let key = |index| ConnectionKey { index, generation: 0 };
        let source: SocketAddr = "127.0.0.1:1".parse().unwrap();
        paths.insert(key(1));
        paths.insert(key(2));
        assert!(!paths.receive(key(3), &[3], source, now));
        for number in 0..=255 {
            assert!(paths.receive(key(1), &[1, number], source, now));
            assert!(paths.receive(key(2), &[2, number], source, now));
        }
        assert!(paths.poll(now + Duration::from_millis(39)).is_none());
        let mut came: [Vec<u8>; 3] = Default::default();
        while let Some(datagram) = paths.poll(now + Duration::from_millis(40)) {
            came[usize::from(datagram.bytes[0])].push(datagram.bytes[1]);
        }
        for line in [1, 2] {
            assert!((180..230).contains(&came[line].len()), "{}", came[line].len());
            assert!(came[line].is_sorted(), "what is due at once leaves in order");
        }
        assert_ne!(came[1], came[2], "paths lose different datagrams");
        paths.remove(key(1));
        assert!(!paths.receive(key(1), &[1], source, now));
    }
}
