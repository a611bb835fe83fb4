//! What waits when a connection takes less than it is given.

use std::collections::{HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use moqswitch_proto::wire::{DatagramHeader, DatagramSent, GroupSequence, SubscribeId, Version, stream_error};
use moqswitch_proto::wire::{ErrorCode, Read, StreamId, Written};

use crate::quic::ReadArena;

use super::{Backlog, BacklogFull, BacklogLimits, Carry, send_datagram};

const A: StreamId = StreamId(0);
const B: StreamId = StreamId(4);

#[test]
fn order_within_a_stream_is_kept_and_another_stream_is_not_held_up() {
    let mut connection = Connection::default();
    let mut backlog = backlog(1000, usize::MAX);
    connection.room.insert(A, 3);
    write(&mut backlog, &mut connection, A, b"hello ").unwrap();
    connection.room.insert(A, 100);
    write(&mut backlog, &mut connection, A, b"world").unwrap();
    write(&mut backlog, &mut connection, B, b"b").unwrap();
    assert_eq!(connection.text(A), "hel");
    assert_eq!(connection.text(B), "b");
    assert!(backlog.retry(&mut connection));
    assert_eq!(connection.text(A), "hello world");
    assert_eq!(backlog.bytes(), 0);
    assert!(!backlog.retry(&mut connection));
}

#[test]
fn a_full_backlog_names_the_stream_and_keeps_what_waited() {
    let mut connection = Connection::default();
    let mut backlog = backlog(Backlog::ENTRY_BYTES + 5, usize::MAX);
    connection.room.insert(A, 0);
    write(&mut backlog, &mut connection, A, b"first").unwrap();
    let full = write(&mut backlog, &mut connection, A, b"").unwrap_err();
    assert_eq!(full, BacklogFull { stream: A });
    // What finds room on its stream needs none here.
    write(&mut backlog, &mut connection, B, b"b").unwrap();
    backlog.forget(A);
    assert_eq!(backlog.bytes(), 0);
    write(&mut backlog, &mut connection, A, b"again").unwrap();
}

#[test]
fn what_the_peer_does_not_read_any_more_is_dropped() {
    let mut connection = Connection::default();
    let mut backlog = backlog(1000, usize::MAX);
    connection.room.insert(A, 0);
    write(&mut backlog, &mut connection, A, b"one").unwrap();
    write(&mut backlog, &mut connection, A, b"two").unwrap();
    connection.stopped.insert(A);
    assert!(backlog.retry(&mut connection));
    assert_eq!(backlog.bytes(), 0);
    assert_eq!(connection.text(A), "");
}

#[test]
fn a_retry_ends_when_streams_in_a_row_are_refused_and_the_next_goes_on_behind_them() {
    let mut connection = Connection::default();
    let mut backlog = backlog(10_000, 2);
    let streams: Vec<StreamId> = (0..5).map(|index| StreamId(4 * index)).collect();
    for stream in &streams {
        connection.room.insert(*stream, 0);
        write(&mut backlog, &mut connection, *stream, b"x").unwrap();
    }
    connection.tried.clear();
    backlog.retry(&mut connection);
    assert_eq!(connection.tried, streams[..2]);
    backlog.retry(&mut connection);
    assert_eq!(connection.tried, streams[..4]);
    // Progress begins the count anew; behind the last stream comes the first.
    connection.room.insert(streams[4], 1);
    backlog.retry(&mut connection);
    assert_eq!(connection.tried[4..], [streams[4], streams[0], streams[1]]);
    assert_eq!(connection.text(streams[4]), "x");
}

#[test]
fn a_datagram_has_its_head_and_is_no_longer_than_the_path_carries() {
    let header = DatagramHeader {
        subscribe: SubscribeId(1),
        sequence: GroupSequence(2),
        timestamp: 3,
    };
    let mut connection = Connection::default();
    assert_eq!(send(&mut connection, &header), DatagramSent::TooLarge);
    connection.datagram_bytes_max = Some(8);
    assert_eq!(send(&mut connection, &header), DatagramSent::TooLarge);
    connection.datagram_bytes_max = Some(9);
    assert_eq!(send(&mut connection, &header), DatagramSent::Sent);
    assert_eq!(connection.datagrams, [&b"\x07\x01\x02\x03audio"[..]]);
    connection.is_full = true;
    assert_eq!(send(&mut connection, &header), DatagramSent::Full);
}

fn send(connection: &mut Connection, header: &DatagramHeader) -> DatagramSent {
    let put_header = |out: &mut BytesMut| header.encode(Version::Lite06, out).is_ok();
    send_datagram(connection, put_header, b"audio")
}

fn backlog(bytes_max: usize, refusals_max: usize) -> Backlog {
    Backlog::new(BacklogLimits {
        bytes_max,
        refusals_max,
    })
}

fn write(
    backlog: &mut Backlog,
    connection: &mut Connection,
    stream: StreamId,
    bytes: &'static [u8],
) -> Result<(), BacklogFull> {
    backlog.write(connection, stream, Bytes::from_static(bytes), false)
}

/// Takes what there is room for; without an entry that is everything.
#[derive(Default)]
struct Connection {
    room: HashMap<StreamId, usize>,
    stopped: HashSet<StreamId>,
    taken: HashMap<StreamId, Vec<u8>>,
    /// Streams in the order in which they were written to.
    tried: Vec<StreamId>,
    datagram_bytes_max: Option<usize>,
    is_full: bool,
    datagrams: Vec<Bytes>,
}

impl Connection {
    fn text(&self, stream: StreamId) -> &str {
        let taken = self.taken.get(&stream).map_or(&[][..], |bytes| bytes);
        str::from_utf8(taken).unwrap()
    }
}

impl Carry for Connection {
    fn poll_readable(&mut self) -> Option<StreamId> {
        None
    }

    fn read(&mut self, _stream: StreamId, _arena: &mut ReadArena) -> Read {
        Read::Nothing
    }

    fn poll_datagram(&mut self, _arena: &mut ReadArena) -> Option<Bytes> {
        None
    }

    fn poll_writable(&mut self) -> Option<(StreamId, Option<ErrorCode>)> {
        None
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, _fin: bool) -> Written {
        self.tried.push(stream);
        if self.stopped.contains(&stream) {
            return Written::Stopped(stream_error::CANCEL);
        }
        let room = self.room.get(&stream).copied().unwrap_or(usize::MAX);
        if room == 0 {
            return Written::Blocked;
        }
        let taken = room.min(bytes.len());
        self.taken.entry(stream).or_default().extend_from_slice(&bytes[..taken]);
        self.room.insert(stream, room - taken);
        if taken == bytes.len() {
            Written::All
        } else {
            Written::Partial(taken)
        }
    }

    fn reset(&mut self, _stream: StreamId, _code: ErrorCode) {}

    fn stop_sending(&mut self, _stream: StreamId, _code: ErrorCode) {}

    fn close(&mut self, _code: ErrorCode, _reason: &str) {}

    fn datagram_head(&self) -> &[u8] {
        &[7]
    }

    fn datagram_bytes_max(&self) -> Option<usize> {
        self.datagram_bytes_max
    }

    fn send_datagram(&mut self, datagram: Bytes) -> bool {
        if !self.is_full {
            self.datagrams.push(datagram);
        }
        !self.is_full
    }
}
