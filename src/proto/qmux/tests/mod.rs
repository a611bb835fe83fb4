//! Two state machines against each other, and one against whatever bytes may come.

mod flow;
mod frames;
mod malformed;
mod random;

use bytes::{Bytes, BytesMut};

use super::connection::{Connection, Options, Side};
use super::dialect::{Dialect, Subprotocol};
use crate::wire::{ErrorCode, Read, StreamId, Version, Written};

fn options() -> Options {
    Options {
        connection_window_bytes: 64 * 1024,
        stream_window_bytes: 16 * 1024,
        bidi_streams_max: 8,
        uni_streams_max: 8,
        datagram_queue_max: 4,
        idle_timeout_ms: 30_000,
    }
}

fn subprotocol(dialect: Dialect) -> Subprotocol {
    let is_it = |known: &Subprotocol| known.dialect == dialect && known.version == Version::Lite05;
    Subprotocol::all().find(is_it).unwrap()
}

/// A client and a server with a wire that keeps messages whole and in order.
struct Pair {
    client: Connection,
    server: Connection,
}

impl Pair {
    fn new(options: Options) -> Self {
        Self::with_dialect(Dialect::Draft02, options)
    }

    fn with_dialect(dialect: Dialect, options: Options) -> Self {
        let mut pair = Self {
            client: Connection::new(Side::Client, subprotocol(dialect), options.clone()),
            server: Connection::new(Side::Server, subprotocol(dialect), options),
        };
        pair.settle();
        assert!(pair.client.is_established() && pair.server.is_established());
        pair
    }

    /// Carries messages both ways until there are none.
    fn settle(&mut self) {
        loop {
            let there = self.client.poll_transmit();
            let back = self.server.poll_transmit();
            if there.is_none() && back.is_none() {
                return;
            }
            there
                .into_iter()
                .for_each(|message| self.server.handle_message(message));
            back.into_iter().for_each(|message| self.client.handle_message(message));
        }
    }
}

/// Everything a stream has to give at present, and whether it has ended.
fn read_all(connection: &mut Connection, stream: StreamId) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        match connection.read(stream) {
            Read::Data { bytes, fin } => {
                all.extend_from_slice(&bytes);
                if fin {
                    return (all, true);
                }
            }
            Read::Nothing => return (all, false),
            Read::Reset(code) => panic!("reset with {code}"),
        }
    }
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// A server whose peer has said what it allows, and that has said so itself.
fn greeted_server(options: Options) -> Connection {
    let mut server = Connection::new(Side::Server, subprotocol(Dialect::Draft02), options.clone());
    let mut client = Connection::new(Side::Client, subprotocol(Dialect::Draft02), options);
    server.handle_message(client.poll_transmit().unwrap());
    server.poll_transmit().unwrap();
    server
}

fn message(build: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    build(&mut out);
    out.freeze()
}

/// A pseudorandom sequence (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

const CODE: ErrorCode = ErrorCode(0x33);
const CLIENT_BIDI: StreamId = StreamId(0);
const CLIENT_UNI: StreamId = StreamId(2);
const SERVER_UNI: StreamId = StreamId(3);

#[test]
fn a_request_and_its_answer_cross() {
    for dialect in [Dialect::Draft00, Dialect::Draft01, Dialect::Draft02] {
        let mut pair = Pair::with_dialect(dialect, options());
        let question = Bytes::from_static(b"question");
        assert_eq!(pair.client.write(CLIENT_BIDI, question, false), Written::All);
        pair.settle();
        assert_eq!(pair.server.poll_readable(), Some(CLIENT_BIDI));
        assert_eq!(read_all(&mut pair.server, CLIENT_BIDI), (b"question".to_vec(), false));
        let answer = Bytes::from_static(b"answer");
        assert_eq!(pair.server.write(CLIENT_BIDI, answer, true), Written::All);
        pair.settle();
        assert_eq!(pair.client.poll_readable(), Some(CLIENT_BIDI));
        assert_eq!(read_all(&mut pair.client, CLIENT_BIDI), (b"answer".to_vec(), true));
        assert_eq!(pair.client.poll_readable(), None);
    }
}

#[test]
fn payload_is_a_slice_of_its_message() {
    let mut pair = Pair::new(options());
    pair.client.write(CLIENT_UNI, pattern(1000), true);
    let sent = pair.client.poll_transmit().unwrap();
    let place = sent.as_ptr_range();
    pair.server.handle_message(sent);
    let Read::Data { bytes, fin: true } = pair.server.read(CLIENT_UNI) else {
        panic!("no data");
    };
    assert!(place.contains(&bytes.as_ptr()));
}

#[test]
fn reset_reaches_the_reader_and_frees_both_sides() {
    let mut pair = Pair::new(options());
    pair.server.write(SERVER_UNI, pattern(100), false);
    pair.settle();
    pair.server.write(SERVER_UNI, pattern(100), false);
    pair.server.reset(SERVER_UNI, CODE);
    assert_eq!(pair.server.held_bytes(), 0);
    pair.settle();
    assert_eq!(pair.client.poll_readable(), Some(SERVER_UNI));
    assert_eq!(pair.client.read(SERVER_UNI), Read::Reset(CODE));
    assert!(pair.client.streams.is_empty() && pair.server.streams.is_empty());
}

#[test]
fn stop_sending_reaches_the_writer_and_drops_what_it_held() {
    let mut pair = Pair::new(options());
    pair.server.write(SERVER_UNI, pattern(100), false);
    pair.settle();
    pair.client.stop_sending(SERVER_UNI, CODE);
    let message = pair.client.poll_transmit().unwrap();
    pair.server.write(SERVER_UNI, pattern(5000), false);
    pair.server.handle_message(message);
    assert_eq!(pair.server.held_bytes(), 0);
    assert_eq!(pair.server.write(SERVER_UNI, pattern(1), true), Written::Stopped(CODE));
    assert_eq!(pair.server.poll_writable(), Some((SERVER_UNI, Some(CODE))));
    pair.settle();
    assert!(pair.client.streams.is_empty() && pair.server.streams.is_empty());
    assert_eq!(
        pair.client.poll_readable(),
        None,
        "the refuser is not told of the reset"
    );
}

#[test]
fn close_tells_code_and_reason_and_nothing_after() {
    let mut pair = Pair::new(options());
    pair.client.write(CLIENT_UNI, pattern(10), true);
    pair.settle();
    pair.client.write(StreamId(6), pattern(10), true);
    pair.client.close(ErrorCode(0x10), "enough");
    assert!(pair.client.is_over());
    pair.settle();
    assert!(pair.server.is_over());
    assert_eq!(
        pair.server.close_reason(),
        "the peer closed it with session code 0x10 enough"
    );
    assert_eq!(pair.server.poll_readable(), Some(CLIENT_UNI), "what came before counts");
    assert_eq!(pair.server.poll_readable(), None);
    assert_eq!(
        pair.server.write(SERVER_UNI, pattern(1), true),
        Written::Stopped(ErrorCode(1))
    );
    assert!(!pair.server.has_transmit() && !pair.client.has_transmit());
}

#[test]
fn datagrams_cross_and_are_bounded() {
    let mut pair = Pair::new(options());
    assert!(pair.server.datagram_bytes_max().unwrap() >= 1200);
    assert!(pair.server.send_datagram(pattern(1200)));
    assert!(!pair.server.send_datagram(pattern(20_000)), "longer than a record");
    pair.settle();
    assert_eq!(pair.client.poll_datagram(), Some(pattern(1200)));
    for _ in 0..10 {
        assert!(pair.server.send_datagram(pattern(9)));
    }
    pair.settle();
    let kept = std::iter::from_fn(|| pair.client.poll_datagram()).count();
    assert_eq!(kept, options().datagram_queue_max);
    let old = Pair::with_dialect(Dialect::Draft00, options());
    assert_eq!(old.server.datagram_bytes_max(), None);
}

#[test]
fn pings_are_answered_once_for_all_before() {
    let mut server = greeted_server(options());
    for sequence in 0..1000 {
        server.handle_message(message(|out| {
            super::integer::put(out, 0x348c_6752_9ef8_c7bd);
            super::integer::put(out, sequence);
        }));
    }
    let answer = server.poll_transmit().unwrap();
    assert_eq!(answer, message(|out| super::frame::put_pong(out, 999)));
    assert_eq!(server.poll_transmit(), None);
}

#[test]
fn subprotocols_name_both_drafts() {
    let choose = |offered: &[&str]| Subprotocol::choose(offered.iter().copied()).map(|chosen| chosen.to_string());
    let released = [
        "qmux-02.moq-lite-05",
        "qmux-01.moq-lite-05",
        "qmux-00.moq-lite-05",
        "qmux-02.moq-lite-04",
        "qmux-02",
        "webtransport",
    ];
    assert_eq!(choose(&released).as_deref(), Some("qmux-02.moq-lite-05"));
    assert_eq!(choose(&["qmux-00.moq-lite-03"]).as_deref(), Some("qmux-00.moq-lite-03"));
    assert_eq!(choose(&["moq-lite-04", "moq-lite-05"]).as_deref(), Some("moq-lite-05"));
    // Then moq-lite-01 or -02 is agreed on in band.
    assert_eq!(
        choose(&["qmux-01", "qmux-00", "webtransport"]).as_deref(),
        Some("qmux-01")
    );
    assert_eq!(choose(&["qmux-01.moql", "qmux-02"]).as_deref(), Some("qmux-01.moql"));
    for unknown in [
        &["webtransport"][..],
        &["qmux-03.moq-lite-05"],
        &["moqt-18"],
        &[""],
        &[],
    ] {
        assert_eq!(choose(unknown), None, "{unknown:?}");
    }
}
