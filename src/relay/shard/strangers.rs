//! Datagrams of no connection, which wait until those of connections are done with: so many of them that a rush of clients
//! loses none, and no more. Under a flood what finds no room is dropped for what a look into a table costs.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// They wait in their order. Those that find no room are counted.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    waiting: VecDeque<(Vec<u8>, SocketAddr, SocketAddr)>,
    bytes: usize,
    /// Buffers of those that were served.
    spare: Vec<Vec<u8>>,
    pub(super) dropped: u64,
}

impl Strangers {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A datagram with where it came from, and by which address of ours.
    pub(super) fn push(&mut self, datagram: &[u8], source: SocketAddr, local: SocketAddr) {
        if self.waiting.len() >= WAITING_MAX || self.bytes + datagram.len() > WAITING_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += datagram.len();
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(datagram);
        self.waiting.push_back((kept, source, local));
    }

    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, SocketAddr, SocketAddr)> {
        let (datagram, source, local) = self.waiting.pop_front()?;
        self.bytes -= datagram.len();
        Some((datagram, source, local))
    }

    /// Takes back the buffer of one that was served.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(buffer);
        }
    }
}

/// Datagrams that wait, and their bytes. Further ones are dropped and counted: a client sends its first packet again. With
/// more, those behind would wait too long under a flood.
const WAITING_MAX: usize = 1024;
const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Buffers kept for those that come.
const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_wait_in_order_within_their_bounds() {
        let address: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let mut strangers = Strangers::default();
        for number in 0..5_000u32 {
            strangers.push(&number.to_be_bytes(), address, address);
        }
        assert_eq!(strangers.dropped, 5_000 - WAITING_MAX as u64);
        for number in 0..WAITING_MAX {
            let (datagram, ..) = strangers.pop().unwrap();
            assert_eq!(datagram, u32::try_from(number).unwrap().to_be_bytes());
            strangers.give_back(datagram);
        }
        assert!(strangers.is_empty() && strangers.pop().is_none());
        for _ in 0..5_000 {
            strangers.push(&[0; 4096], address, address);
        }
        assert_eq!(strangers.waiting.len(), WAITING_BYTES_MAX / 4096);
    }
}
