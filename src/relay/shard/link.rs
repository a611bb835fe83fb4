//! The way of a WebSocket connection between the control thread, which has the socket, and a
//! shard, which has the session: a bounded queue of messages each way, and a bell.
//!
//! Neither waits for the other's thread: the control thread awaits room and so does not read the
//! socket meanwhile; the shard leaves in its state machine what finds no room. Each end is told of
//! the other's by its queue, which closes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_proto::qmux::Subprotocol;
use tokio::sync::mpsc;

use crate::auth::ClientIdentity;
use crate::limits::{LINK_BELLS_MAX, LINK_MESSAGES_MAX};
use crate::ratelimit::prefix;
use crate::routing::PeerKey;

/// Tells a shard which of its links have news.
pub struct Doorbell {
    rung: ArrayQueue<PeerKey>,
    /// A ring found no place: every link may have news.
    is_overrun: AtomicBool,
    is_overloaded: AtomicBool,
    /// Whose sessions are what is too much, or [`NOBODY`], and how many others may begin.
    heaviest: AtomicU64,
    places: AtomicU32,
    /// Of those, by prefix; several share a count.
    places_taken: [AtomicU32; PLACE_COUNTS],
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// A WebSocket connection for a shard to take on.
#[derive(Debug)]
pub struct Attachment {
    /// The shard's end of the link to its socket.
    pub link: Link,
    /// The QMux draft and the moq-lite draft that the WebSocket agreed on.
    pub subprotocol: Subprotocol,
    /// Path and query of the request.
    pub path: String,
    /// The token of its field `Authorization`, if there is one.
    pub bearer: Option<String>,
    /// Who the client's certificate says that it is, if it showed one.
    pub identity: Option<ClientIdentity>,
    /// The client's address.
    pub remote: SocketAddr,
}

/// The shard's end.
#[derive(Debug)]
pub struct Link {
    pub(super) key: PeerKey,
    pub(super) incoming: mpsc::Receiver<Bytes>,
    pub(super) outgoing: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
}

/// The control thread's end. Dropping it ends the connection.
#[derive(Debug)]
pub struct LinkPort {
    incoming: Option<mpsc::Sender<Bytes>>,
    outgoing: mpsc::Receiver<Bytes>,
    bell: Bell,
}

/// Rings for one link; for whichever task of the control thread has news.
#[derive(Clone, Debug)]
pub struct Bell {
    key: PeerKey,
    shared: Arc<Shared>,
    doorbell: Arc<Doorbell>,
}

#[derive(Debug, Default)]
struct Shared {
    /// In the doorbell's queue, or about to be.
    is_rung: AtomicBool,
    /// The shard found no room in `outgoing`, and wants to be told of some.
    wants_room: AtomicBool,
    /// Round trip of the last ping; 0 while unknown.
    rtt_us: AtomicU32,
}

/// A new link to the shard that the doorbell is of.
pub fn link(doorbell: &Arc<Doorbell>) -> (Link, LinkPort) {
    let key = next_key();
    let (to_shard, incoming) = mpsc::channel(LINK_MESSAGES_MAX);
    let (outgoing, from_shard) = mpsc::channel(LINK_MESSAGES_MAX);
    let shared = Arc::new(Shared::default());
    let link = Link {
        key,
        incoming,
        outgoing,
        shared: Arc::clone(&shared),
    };
    let bell = Bell {
        key,
        shared,
        doorbell: Arc::clone(doorbell),
    };
    let port = LinkPort {
        incoming: Some(to_shard),
        outgoing: from_shard,
        bell,
    };
    (link, port)
}

/// The other end is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has ended the connection")]
pub struct Detached;

impl Doorbell {
    /// `wake` makes the shard's next turn begin.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            rung: ArrayQueue::new(LINK_BELLS_MAX),
            is_overrun: AtomicBool::new(false),
            is_overloaded: AtomicBool::new(false),
            heaviest: AtomicU64::new(NOBODY),
            places: AtomicU32::new(0),
            places_taken: std::array::from_fn(|_| AtomicU32::new(0)),
            wake,
        })
    }

    /// Whether one more connection may begin from there. Not while the shard has too much to do; unless that comes from
    /// elsewhere, and few others have come.
    pub fn has_place_for(&self, address: IpAddr) -> bool {
        if !self.is_overloaded.load(Ordering::Relaxed) {
            return true;
        }
        let heaviest = self.heaviest.load(Ordering::Relaxed);
        heaviest != NOBODY
            && heaviest != prefix(address)
            && self.places.load(Ordering::Relaxed) > 0
            && self.taken_by(address).load(Ordering::Relaxed) < PLACES_EACH
    }

    /// The same, of a connection that begins now: its place is taken.
    pub fn take_place_for(&self, address: IpAddr) -> bool {
        if !self.is_overloaded.load(Ordering::Relaxed) {
            return true;
        }
        let take_one = |places: u32| places.checked_sub(1);
        let is_taken = self.has_place_for(address)
            && self
                .places
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
                .is_ok();
        if is_taken {
            self.taken_by(address).fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    /// Places that were taken by its prefix, and by others that share the count.
    fn taken_by(&self, address: IpAddr) -> &AtomicU32 {
        let slots = self.places_taken.len() as u64;
        let mixed = prefix(address).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.places_taken[usize::try_from(mixed % slots).unwrap_or(0)]
    }

    pub(super) fn set_overloaded(&self, is_overloaded: bool) {
        self.heaviest.store(NOBODY, Ordering::Relaxed);
        self.is_overloaded.store(is_overloaded, Ordering::Relaxed);
    }

    pub(super) fn share_places(&self, heaviest: Option<u64>) {
        self.places.store(PLACES, Ordering::Relaxed);
        for taken in &self.places_taken {
            taken.store(0, Ordering::Relaxed);
        }
        self.heaviest.store(heaviest.unwrap_or(NOBODY), Ordering::Relaxed);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.rung.is_empty() && !self.is_overrun.load(Ordering::Acquire)
    }

    pub(super) fn poll(&self) -> Option<PeerKey> {
        self.rung.pop()
    }

    /// Whether every link has to be looked at; true once.
    pub(super) fn take_overrun(&self) -> bool {
        self.is_overrun.load(Ordering::Acquire) && self.is_overrun.swap(false, Ordering::AcqRel)
    }
}

impl Bell {
    /// The shard has something to look at.
    pub fn ring(&self) {
        if self.shared.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.doorbell.rung.push(self.key).is_err() {
            self.doorbell.is_overrun.store(true, Ordering::Release);
        }
        (self.doorbell.wake)();
    }

    /// Tells the shard the round-trip time of the last ping, from 1 µs up.
    pub fn set_rtt(&self, rtt: Duration) {
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        self.shared.rtt_us.store(micros, Ordering::Relaxed);
    }

    /// Messages have left: the shard, if it waits for that, may send more.
    pub fn on_room(&self) {
        if self.shared.wants_room.swap(false, Ordering::AcqRel) {
            self.ring();
        }
    }
}

impl LinkPort {
    /// Both directions, for a task that reads and one that writes, and the bell of both.
    pub fn parts(&mut self) -> (Incoming<'_>, &mut mpsc::Receiver<Bytes>, &Bell) {
        let incoming = Incoming {
            sender: self.incoming.as_ref(),
            bell: &self.bell,
        };
        (incoming, &mut self.outgoing, &self.bell)
    }
}

/// Where messages of the peer go.
pub struct Incoming<'a> {
    sender: Option<&'a mpsc::Sender<Bytes>>,
    bell: &'a Bell,
}

impl Incoming<'_> {
    /// Hands a message over; waits while the shard has as many as it may.
    pub async fn send(&self, message: Bytes) -> Result<(), Detached> {
        let sender = self.sender.ok_or(Detached)?;
        sender.send(message).await.map_err(|_| Detached)?;
        self.bell.ring();
        Ok(())
    }

    /// Waits until the shard has ended the connection.
    pub async fn closed(&self) {
        if let Some(sender) = self.sender {
            sender.closed().await;
        }
    }
}

impl Drop for LinkPort {
    fn drop(&mut self) {
        self.incoming = None;
        self.outgoing.close();
        self.bell.ring();
    }
}

impl Link {
    /// News from here on ring again.
    pub(super) fn reset_bell(&self) {
        // A swap, so that what was sent before the last ring is seen by the look that follows.
        self.shared.is_rung.swap(false, Ordering::AcqRel);
    }

    /// Room for one message to the control thread. Without any, the bell rings when there is some.
    pub(super) fn reserve(&self) -> Result<mpsc::Permit<'_, Bytes>, mpsc::error::TrySendError<()>> {
        match self.outgoing.try_reserve() {
            Err(mpsc::error::TrySendError::Full(())) => {
                // Some may have been made before the wish was there to be seen; a swap, so that it is.
                self.shared.wants_room.swap(true, Ordering::AcqRel);
                self.outgoing.try_reserve()
            }
            reserved => reserved,
        }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        match self.shared.rtt_us.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(u64::from(micros))),
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Doorbell")
            .field("rung", &self.rung.len())
            .finish_non_exhaustive()
    }
}

/// Whether a session is on a link. Others are on a QUIC connection, local peers or fetches of HTTP.
pub(super) fn is_link(peer: PeerKey) -> bool {
    peer.index & !LINK_NUMBER_BITS == LINK_MARK
}

/// Keys of links differ from those of connections, whose indices are far below.
fn next_key() -> PeerKey {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let low = u32::try_from(number & u64::from(LINK_NUMBER_BITS)).unwrap_or(0);
    PeerKey {
        index: LINK_MARK | low,
        generation: u32::try_from(number >> LINK_NUMBER_BITS.count_ones() & u64::from(u32::MAX)).unwrap_or(0),
    }
}

/// No prefix is this one.
const NOBODY: u64 = u64::MAX;

/// Connections that may begin in half a second though there is too much to do, of those that have no part in it.
const PLACES: u32 = 10;

/// Of them, those of one prefix: one that begins and begins again shuts out nobody else.
const PLACES_EACH: u32 = 2;

/// Prefixes that are counted apart; more share a count.
const PLACE_COUNTS: usize = 64;

const LINK_MARK: u32 = 1 << 31;
const LINK_NUMBER_BITS: u32 = (1 << 30) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bell_rings_once_until_it_is_heard() {
        let (doorbell, wakes) = counting_doorbell();
        let (link, mut port) = link(&doorbell);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..3 {
            runtime
                .block_on(port.parts().0.send(Bytes::from_static(b"message")))
                .unwrap();
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert_eq!((doorbell.poll(), doorbell.poll()), (Some(link.key), None));
        link.reset_bell();
        port.parts().2.ring();
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        assert_eq!(doorbell.poll(), Some(link.key));
    }

    #[test]
    fn shard_without_room_is_told_of_some() {
        let (doorbell, wakes) = counting_doorbell();
        let (link, mut port) = link(&doorbell);
        for _ in 0..LINK_MESSAGES_MAX {
            link.reserve().unwrap().send(Bytes::new());
        }
        assert!(matches!(link.reserve(), Err(mpsc::error::TrySendError::Full(()))));
        let (_, outgoing, bell) = port.parts();
        assert!(outgoing.try_recv().is_ok());
        bell.on_room();
        bell.on_room();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert!(link.reserve().is_ok());
    }

    #[test]
    fn dropped_port_rings_and_is_seen_behind_its_last_message() {
        let (doorbell, wakes) = counting_doorbell();
        let (mut link, mut port) = link(&doorbell);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(port.parts().0.send(Bytes::new())).unwrap();
        link.reset_bell();
        drop(port);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        assert!(link.incoming.try_recv().is_ok());
        assert_eq!(link.incoming.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert!(matches!(link.reserve(), Err(mpsc::error::TrySendError::Closed(()))));
    }

    #[test]
    fn overrun_doorbell_has_every_link_looked_at() {
        let (doorbell, _) = counting_doorbell();
        let ends: Vec<_> = (0..=LINK_BELLS_MAX).map(|_| link(&doorbell)).collect();
        assert!(doorbell.is_silent());
        for (_, port) in &ends {
            port.bell.ring();
        }
        assert!(!doorbell.is_silent());
        assert!(doorbell.take_overrun() && !doorbell.take_overrun());
    }

    #[test]
    fn keys_of_links_are_their_own() {
        let (doorbell, _) = counting_doorbell();
        let ends = [link(&doorbell), link(&doorbell)];
        assert_ne!(ends[0].0.key, ends[1].0.key);
        assert!(ends.iter().all(|(link, _)| is_link(link.key)));
        for index in [0, 1 << 20, u32::MAX] {
            assert!(!is_link(PeerKey { index, generation: 1 }));
        }
    }

    fn counting_doorbell() -> (Arc<Doorbell>, Arc<AtomicU32>) {
        let wakes = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&wakes);
        let wake = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        (Doorbell::new(wake), wakes)
    }
}
