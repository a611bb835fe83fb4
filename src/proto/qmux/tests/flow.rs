//! Credit both ways, what is held, and whose turn it is.

use super::*;
use crate::qmux::limits::{HELD_BYTES_MAX, RECORD_BYTES_MAX};

#[test]
fn unread_stream_stalls_at_its_window_and_goes_on_when_read() {
    let mut pair = Pair::new(options());
    let window = 16 * 1024;
    let sent = pattern(window + 5000);
    assert_eq!(
        pair.server.write(SERVER_UNI, sent.clone(), true),
        Written::Partial(window)
    );
    assert_eq!(
        pair.server.write(SERVER_UNI, sent.slice(window..), true),
        Written::Partial(0)
    );
    pair.settle();
    assert_eq!(pair.server.poll_writable(), None, "nothing was read");
    // Another stream is not held up.
    assert_eq!(pair.server.write(StreamId(7), pattern(100), true), Written::All);
    let (first, false) = read_all(&mut pair.client, SERVER_UNI) else {
        panic!("ended early");
    };
    pair.settle();
    assert_eq!(pair.server.poll_writable(), Some((SERVER_UNI, None)));
    assert_eq!(pair.server.write(SERVER_UNI, sent.slice(window..), true), Written::All);
    pair.settle();
    let (second, fin) = read_all(&mut pair.client, SERVER_UNI);
    assert!(fin && [first, second].concat() == sent);
}

#[test]
fn unread_connection_stalls_at_its_window_on_all_streams() {
    let mut pair = Pair::new(options());
    let streams: Vec<StreamId> = (0..5).map(|n| StreamId(3 + 4 * n)).collect();
    for stream in &streams[..4] {
        assert_eq!(pair.server.write(*stream, pattern(16 * 1024), false), Written::All);
        pair.settle();
    }
    assert_eq!(pair.server.write(streams[4], pattern(1), false), Written::Blocked);
    assert!(!pair.server.poll_room());
    for stream in &streams[..4] {
        read_all(&mut pair.client, *stream);
    }
    pair.settle();
    assert!(pair.server.poll_room(), "credit came back");
    assert_eq!(pair.server.write(streams[4], pattern(1), false), Written::All);
}

#[test]
fn what_is_held_for_a_silent_carrier_is_bounded() {
    let generous = Options {
        connection_window_bytes: 1 << 40,
        stream_window_bytes: 1 << 40,
        ..options()
    };
    let mut pair = Pair::new(generous);
    let mut taken = 0;
    loop {
        match pair.server.write(SERVER_UNI, pattern(10_000), false) {
            Written::All => taken += 10_000,
            Written::Partial(part) => taken += part,
            Written::Blocked => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((taken, pair.server.held_bytes()), (HELD_BYTES_MAX, HELD_BYTES_MAX));
    assert!(!pair.server.poll_room());
    pair.server.poll_transmit().unwrap();
    assert!(pair.server.poll_room());
    assert_eq!(pair.server.poll_writable(), Some((SERVER_UNI, None)));
}

#[test]
fn tiny_writes_are_bounded_by_their_number() {
    let mut pair = Pair::new(options());
    let written = (0..10_000)
        .take_while(|_| pair.server.write(SERVER_UNI, pattern(1), false) == Written::All)
        .count();
    assert_eq!(written, crate::qmux::limits::HELD_PIECES_MAX);
}

#[test]
fn streams_wait_for_credit_and_get_it_when_others_end() {
    let mut pair = Pair::new(options());
    let streams: Vec<StreamId> = (0..9).map(|n| StreamId(3 + 4 * n)).collect();
    for stream in &streams[..8] {
        assert!(pair.server.has_uni_credit());
        assert_eq!(pair.server.write(*stream, pattern(10), true), Written::All);
    }
    assert!(!pair.server.has_uni_credit());
    assert_eq!(
        pair.server.write(streams[8], pattern(10), true),
        Written::NoStreamCredit
    );
    pair.settle();
    assert!(!pair.server.has_uni_credit(), "nothing was read");
    for stream in &streams[..8] {
        read_all(&mut pair.client, *stream);
    }
    pair.settle();
    assert_eq!(pair.server.write(streams[8], pattern(10), true), Written::All);
}

#[test]
fn dropped_bytes_give_their_credit_back() {
    let mut pair = Pair::new(options());
    for round in 0..100 {
        let stream = StreamId(3 + 4 * round);
        assert_eq!(
            pair.server.write(stream, pattern(16 * 1024), false),
            Written::All,
            "round {round}"
        );
        if round % 2 == 0 {
            pair.settle();
        }
        pair.server.reset(stream, CODE);
        pair.settle();
        while let Some(stream) = pair.client.poll_readable() {
            while pair.client.read(stream) != Read::Reset(CODE) {}
        }
        pair.settle();
    }
    assert!(pair.client.streams.is_empty() && pair.server.streams.is_empty());
}

#[test]
fn a_small_message_does_not_wait_for_a_big_group() {
    let mut pair = Pair::new(options());
    assert_eq!(pair.server.write(SERVER_UNI, pattern(16 * 1024), true), Written::All);
    assert_eq!(pair.server.write(StreamId(7), pattern(16 * 1024), true), Written::All);
    assert_eq!(pair.server.write(StreamId(11), pattern(50), true), Written::All);
    assert_eq!(pair.server.write(StreamId(1), pattern(20), true), Written::All);
    pair.client.handle_message(pair.server.poll_transmit().unwrap());
    assert_eq!(pair.client.poll_readable(), Some(StreamId(1)), "requests go first");
    assert_eq!(read_all(&mut pair.client, StreamId(11)), (pattern(50).to_vec(), true));
    assert!(!read_all(&mut pair.client, SERVER_UNI).1);
}

#[test]
fn messages_are_no_longer_than_a_record_and_full_when_they_can_be() {
    let mut pair = Pair::new(options());
    for stream in [3, 7, 11] {
        pair.server.write(StreamId(stream), pattern(16 * 1024), true);
    }
    let lengths: Vec<usize> = std::iter::from_fn(|| pair.server.poll_transmit())
        .map(|m| m.len())
        .collect();
    assert!(lengths.iter().all(|length| *length <= RECORD_BYTES_MAX), "{lengths:?}");
    assert_eq!(lengths.len(), 4, "{lengths:?}");
}
