//! The end of a turn: packets of dirty connections, in trains of equal segments.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::limits::TRAIN_SEGMENTS_MAX;
use crate::net::{Train, UdpRing};

use super::connection::Connection;
use super::endpoint::{ConnectionKey, Endpoint};
use super::transport::CongestionControl;

/// Datagrams for one address that are ready to leave, all of one length but for the last.
#[derive(Debug)]
pub struct Outgoing {
    train: Train,
    segment_bytes: u16,
    /// Where they go.
    pub destination: SocketAddr,
    /// The local address to send from; `None` leaves it to the system.
    pub source: Option<IpAddr>,
}

impl Outgoing {
    /// One datagram; `None` when the ring has no buffer left.
    pub fn alone(ring: &mut UdpRing, datagram: &[u8], destination: SocketAddr, source: Option<IpAddr>) -> Option<Self> {
        let mut train = ring.acquire_train()?;
        train.spare_mut()[..datagram.len()].copy_from_slice(datagram);
        train.commit(datagram.len());
        Some(Self {
            train,
            segment_bytes: segment_bytes(datagram.len()),
            destination,
            source,
        })
    }

    /// Hands the datagrams to the ring, which sends them with its next turn.
    pub fn queue(self, ring: &mut UdpRing) {
        ring.queue_train(self.train, self.segment_bytes, self.destination, self.source);
    }

    /// The datagrams, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.train.written().chunks(usize::from(self.segment_bytes))
    }
}

impl Endpoint {
    /// Writes what dirty connections have to send into the ring's trains. Connections stay
    /// dirty when the ring has no buffer left; they go on when some have returned.
    pub fn flush(&mut self, ring: &mut UdpRing, now: Instant) {
        self.flush_through(ring, now, |ring, _, outgoing| outgoing.queue(ring));
    }

    /// As [`Self::flush`], but `depart` decides what becomes of the datagrams, which it is told
    /// the connection of unless they are of none.
    pub fn flush_through(
        &mut self,
        ring: &mut UdpRing,
        now: Instant,
        mut depart: impl FnMut(&mut UdpRing, Option<ConnectionKey>, Outgoing),
    ) {
        self.flush_stateless(ring, &mut depart);
        for _ in 0..self.dirty.len() {
            let Some(key) = self.dirty.pop_front() else { break };
            let Some(connection) = self.get_mut(key) else { continue };
            connection.is_dirty = false;
            let is_starved = !self.flush_connection(key, ring, &mut depart);
            self.settle(key, now);
            if is_starved {
                self.mark_dirty(key);
                break;
            }
        }
    }

    /// What follows a connection's sending: its timer, and its end.
    fn settle(&mut self, key: ConnectionKey, now: Instant) {
        let Some(connection) = self.get_mut(key) else { return };
        let is_over = connection.is_over();
        if is_over {
            self.mark_ready(key);
        }
        self.rearm(key, now);
    }

    /// False when the ring ran out of buffers.
    fn flush_connection(
        &mut self,
        key: ConnectionKey,
        ring: &mut UdpRing,
        depart: &mut impl FnMut(&mut UdpRing, Option<ConnectionKey>, Outgoing),
    ) -> bool {
        let payload_bytes_max = self.options.transport.udp_payload_bytes_max;
        // BBR learns from being asked that there was nothing more.
        let may_know = self.options.transport.congestion_control == CongestionControl::Cubic;
        let mut packets = 0;
        loop {
            let Some(train) = ring.acquire_train() else {
                return false;
            };
            let Some(connection) = self.get_mut(key) else {
                return true;
            };
            let mut departure = Departure::new(train, payload_bytes_max);
            let more = departure.fill(connection, may_know && packets == 0);
            let stray = usize::from(departure.stray.is_some());
            packets += departure.packets + stray;
            if !more {
                connection.on_flushed(packets);
            }
            self.statistics.packets_sent += (departure.packets + stray) as u64;
            departure.depart(ring, |ring, outgoing| depart(ring, Some(key), outgoing));
            if !more {
                return true;
            }
        }
    }

    fn flush_stateless(
        &mut self,
        ring: &mut UdpRing,
        depart: &mut impl FnMut(&mut UdpRing, Option<ConnectionKey>, Outgoing),
    ) {
        while let Some((destination, local, datagram)) = self.stateless.pop_front() {
            let Some(outgoing) = Outgoing::alone(ring, &datagram, destination, Some(local)) else {
                return self.stateless.push_front((destination, local, datagram));
            };
            depart(ring, None, outgoing);
        }
    }
}

/// One train being filled: packets of one connection, one path and one size, the last
/// perhaps shorter (what UDP segmentation offload asks for).
struct Departure {
    train: Train,
    payload_bytes_max: usize,
    segment: usize,
    path: Option<(SocketAddr, SocketAddr)>,
    packets: usize,
    /// A packet that did not fit the train's size or path and leaves in one of its own.
    stray: Option<(Vec<u8>, (SocketAddr, SocketAddr))>,
}

impl Departure {
    fn new(train: Train, payload_bytes_max: usize) -> Self {
        Self {
            train,
            payload_bytes_max,
            segment: 0,
            path: None,
            packets: 0,
            stray: None,
        }
    }

    /// Takes packets until the train is full (true: the connection may have more) or the
    /// connection has none left (false), which may be known after the first of a flush.
    fn fill(&mut self, connection: &mut Connection, may_know: bool) -> bool {
        while self.packets < TRAIN_SEGMENTS_MAX {
            let spare = self.train.spare_mut();
            if spare.len() < self.payload_bytes_max {
                return true;
            }
            let Some((length, info)) = connection.send(&mut spare[..self.payload_bytes_max]) else {
                return false;
            };
            let path = (connection.rebinding.destination(info.to), info.from);
            if self.packets == 0 {
                self.segment = length;
                self.path = Some(path);
            } else if length > self.segment || self.path != Some(path) {
                self.stray = Some((spare[..length].to_vec(), path));
                return true;
            }
            self.train.commit(length);
            self.packets += 1;
            if may_know && self.packets == 1 && connection.has_sent_all(length, self.payload_bytes_max) {
                return false;
            }
            if length < self.segment {
                return true;
            }
        }
        true
    }

    fn depart(self, ring: &mut UdpRing, mut depart: impl FnMut(&mut UdpRing, Outgoing)) {
        // A train that was not filled gives its buffer back when dropped.
        let Some((to, from)) = self.path else { return };
        let outgoing = Outgoing {
            train: self.train,
            segment_bytes: segment_bytes(self.segment),
            destination: to,
            source: Some(from.ip()),
        };
        depart(ring, outgoing);
        if let Some((packet, (to, from))) = self.stray {
            // Without a buffer the packet is lost, as packets may be; QUIC sends again.
            if let Some(outgoing) = Outgoing::alone(ring, &packet, to, Some(from.ip())) {
                depart(ring, outgoing);
            }
        }
    }
}

fn segment_bytes(length: usize) -> u16 {
    u16::try_from(length).expect("a UDP payload is below 64 KiB")
}
