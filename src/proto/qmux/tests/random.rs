//! Random traffic between two ends: everything arrives, in order and once, and nothing is left.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use super::*;
use crate::qmux::limits::HELD_BYTES_MAX;

/// One end and what it means to say on each of its streams.
struct End {
    connection: Connection,
    outbox: BTreeMap<StreamId, (Bytes, usize)>,
    inbox: BTreeMap<StreamId, (Vec<u8>, bool)>,
    wire: VecDeque<Bytes>,
}

#[test]
fn everything_arrives_whatever_the_windows_and_the_order_of_turns() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let dialect = [Dialect::Draft00, Dialect::Draft01, Dialect::Draft02][random.below(3)];
        let options = Options {
            connection_window_bytes: 1 + random.next() % 40_000,
            stream_window_bytes: 1 + random.next() % 10_000,
            bidi_streams_max: 1 + random.next() % 5,
            uni_streams_max: 1 + random.next() % 5,
            ..options()
        };
        let mut ends = [Side::Client, Side::Server].map(|side| End::new(side, dialect, &options, &mut random));
        for _ in 0..200_000 {
            let (from, to) = match random.below(2) {
                0 => (0, 1),
                _ => (1, 0),
            };
            ends[from].act(&mut random);
            let wire = std::mem::take(&mut ends[from].wire);
            wire.into_iter()
                .for_each(|message| ends[to].connection.handle_message(message));
            if ends.iter().all(End::has_said_all) && ends[0].has_heard(&ends[1]) && ends[1].has_heard(&ends[0]) {
                break;
            }
        }
        for (end, other) in [(0, 1), (1, 0)] {
            let reason = ends[end].connection.close_reason();
            assert!(!ends[end].connection.is_over(), "seed {seed}: {reason}");
            assert!(ends[end].has_said_all(), "seed {seed}: stuck");
            assert!(ends[end].has_heard(&ends[other]), "seed {seed}: lost");
        }
        for end in &mut ends {
            let open = end.connection.streams.keys().filter(|stream| stream.is_uni()).count();
            assert_eq!(open, 0, "seed {seed}");
            assert_eq!(
                (
                    end.connection.held_bytes,
                    end.connection.held_pieces,
                    end.connection.unread_chunks
                ),
                (0, 0, 0),
                "seed {seed}"
            );
        }
    }
}

impl End {
    fn new(side: Side, dialect: Dialect, options: &Options, random: &mut Random) -> Self {
        let first = u64::from(side == Side::Server);
        let streams = (0..1 + random.next() % 12).flat_map(|n| [first + 4 * n, first + 2 + 4 * n]);
        let outbox = streams.map(|stream| (StreamId(stream), (pattern(random.below(30_000)), 0)));
        Self {
            connection: Connection::new(side, subprotocol(dialect), options.clone()),
            outbox: outbox.collect(),
            inbox: BTreeMap::new(),
            wire: VecDeque::new(),
        }
    }

    /// Reads, writes and transmits as much as chance will have it.
    fn act(&mut self, random: &mut Random) {
        if random.below(3) > 0 {
            self.read();
        }
        while let Some((_, stopped)) = self.connection.poll_writable() {
            assert_eq!(stopped, None);
        }
        for (stream, (data, taken)) in &mut self.outbox {
            if *taken > data.len() || random.below(2) == 0 {
                continue;
            }
            let end = data.len().min(*taken + 1 + random.below(3000));
            let fin = end == data.len();
            match self.connection.write(*stream, data.slice(*taken..end), fin) {
                Written::All if fin => *taken = usize::MAX,
                Written::All => *taken = end,
                Written::Partial(part) => *taken += part,
                Written::Blocked | Written::NoStreamCredit => {}
                Written::Stopped(code) => panic!("{stream:?} was stopped with {code}"),
            }
        }
        assert!(self.connection.held_bytes() <= HELD_BYTES_MAX);
        for _ in 0..random.below(4) {
            self.wire.extend(self.connection.poll_transmit());
        }
    }

    fn read(&mut self) {
        while let Some(stream) = self.connection.poll_readable() {
            let (bytes, fin) = read_all(&mut self.connection, stream);
            let entry = self.inbox.entry(stream).or_default();
            assert!(!entry.1, "{stream:?} goes on after its end");
            entry.0.extend(bytes);
            entry.1 = fin;
            if fin && !stream.is_uni() && !self.outbox.contains_key(&stream) {
                // Nobody answers; a stream of both ways has two ends.
                assert_ne!(self.connection.write(stream, Bytes::new(), true), Written::Blocked);
            }
        }
    }

    fn has_said_all(&self) -> bool {
        self.outbox.values().all(|(_, taken)| *taken == usize::MAX)
    }

    fn has_heard(&self, other: &End) -> bool {
        other
            .outbox
            .iter()
            .all(|(stream, (data, _))| self.inbox.get(stream).is_some_and(|(bytes, fin)| *fin && bytes == data))
    }
}
