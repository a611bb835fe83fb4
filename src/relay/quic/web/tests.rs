//! Two endpoints without a network that speak HTTP/3, and one of which sometimes misspeaks it.

use super::*;
use crate::quic::tests::Pair;
use crate::quic::{ConnectionKey, Trust, WebDial, Written};
use http::stream as kinds;

/// A connection and both ends of it.
struct Exchange {
    pair: Pair,
    client: ConnectionKey,
    arena: ReadArena,
}

#[test]
fn a_session_opens_in_the_best_draft_that_both_speak() {
    let mut web = Exchange::dial(&[Version::Lite04, Version::Lite05]);
    assert_eq!(web.events(), [asked("/call?jwt=x")]);
    let versions = Version::ALL;
    assert!(web.server().accept_session(&versions));
    web.settle();
    for connection in [web.server_key(), web.client] {
        let connection = web.end(connection);
        assert!(connection.has_session());
        assert_eq!(connection.version(), Some(Version::Lite05));
    }
}

#[test]
fn a_session_in_no_draft_of_ours_is_refused() {
    let mut web = Exchange::dial(&[Version::Lite04]);
    web.events();
    assert!(!web.server().accept_session(&[Version::Lite06]));
    web.settle();
    assert!(!web.server().has_session());
    let client = web.client_end();
    assert!(client.is_over());
    assert!(
        client.close_reason().contains("status 400"),
        "{}",
        client.close_reason()
    );
}

#[test]
fn streams_and_datagrams_of_a_session_arrive_without_their_heads() {
    let mut web = Exchange::open();
    let heads = web.client_end().stream_heads();
    assert_eq!((heads.uni_taken, heads.bidi_taken), (1, 1));
    // Behind the control stream and the CONNECT stream.
    let (uni, bidi) = (StreamId(6), StreamId(4));
    web.client_write(uni, &[&heads.uni[..], b"group"].concat(), true);
    web.client_write(bidi, &[&heads.bidi[..], b"request"].concat(), false);
    web.settle();
    assert_eq!(
        web.server_reads(),
        [(uni, "group".into(), true), (bidi, "request".into(), false)]
    );
    assert_eq!(
        web.server().write(bidi, Bytes::from_static(b"answer"), true),
        Written::All
    );
    let heads = web.server().stream_heads();
    assert_eq!((heads.uni_taken, heads.bidi_taken), (1, 0));
    let served = StreamId(7);
    web.server()
        .write(served, Bytes::from([&heads.uni[..], b"served"].concat()), true);
    let datagram = Bytes::from([web.server().datagram_head(), b"datagram"].concat());
    assert!(web.server().send_datagram(datagram));
    web.settle();
    let mut read = web.client_reads();
    read.sort();
    assert_eq!(read, [(bidi, "answer".into(), true), (served, "served".into(), true)]);
    assert_eq!(web.client_end().poll_datagram().as_deref(), Some(&b"datagram"[..]));
    // More of a stream that is known.
    web.client_write(bidi, b" continues", true);
    web.settle();
    assert_eq!(web.server_reads(), [(bidi, " continues".into(), true)]);
}

#[test]
fn heads_may_come_byte_by_byte() {
    let mut web = Exchange::open();
    let heads = web.client_end().stream_heads();
    let uni = StreamId(6);
    for byte in heads.uni.iter().chain(b"x") {
        web.client_write(uni, &[*byte], false);
        web.settle();
        web.server_reads();
    }
    web.client_write(uni, b"yz", true);
    web.settle();
    assert_eq!(web.server_reads(), [(uni, "yz".into(), true)]);
}

#[test]
fn codes_of_streams_are_those_of_the_session() {
    let mut web = Exchange::open();
    let heads = web.client_end().stream_heads();
    let (reset, stopped) = (StreamId(4), StreamId(8));
    for stream in [reset, stopped] {
        web.client_write(stream, &[&heads.bidi[..], b"x"].concat(), false);
    }
    web.settle();
    web.server_reads();
    web.client_end().reset(reset, ErrorCode(0x34));
    web.client_end().stop_sending(stopped, stream_error::CANCEL);
    web.settle();
    let server = web.server_key();
    assert_eq!(web.pair.server.get_mut(server).unwrap().poll_readable(), Some(reset));
    let connection = web.pair.server.get_mut(server).unwrap();
    assert!(matches!(
        connection.read(reset, &mut web.arena),
        Read::Reset(ErrorCode(0x34))
    ));
    assert_eq!(
        web.server().write(stopped, Bytes::from_static(b"y"), false),
        Written::Stopped(stream_error::CANCEL)
    );
}

#[test]
fn the_end_of_a_session_says_code_and_reason() {
    let mut web = Exchange::open();
    web.server().close(ErrorCode(0x15), "because");
    assert!(web.server().is_over(), "for the caller it is");
    web.settle();
    web.client_reads();
    let client = web.client_end();
    assert!(client.is_over());
    assert_eq!(
        client.close_reason(),
        "the peer closed the session with code 0x15 because"
    );
    web.settle();
    let server = web.server_key();
    let server = web.pair.server.get_mut(server).unwrap();
    assert!(
        server.quic.is_draining() || server.quic.is_closed(),
        "the client has answered"
    );
}

#[test]
fn a_client_that_does_not_answer_a_close_is_closed_in_time() {
    let mut web = Exchange::open();
    web.server().close(ErrorCode(0), "");
    let due = web.server().web.as_ref().and_then(|web| web.deadline()).unwrap();
    assert!(due <= Instant::now() + CLOSE_WAIT_MAX);
    web.server().on_timeout(due);
    assert!(web.server().quic.local_error().is_some());
}

#[test]
fn what_comes_before_the_session_is_accepted_waits_for_it() {
    let mut web = Exchange::raw();
    web.client_write(StreamId(2), &http::settings(false), false);
    let uni = StreamId(6);
    web.client_write(uni, &head(kinds::WEB_TRANSPORT, 0, b"early"), false);
    let request = Request::connect("relay", "/call?jwt=x", &["moq-lite-06"]);
    web.client_write(StreamId(0), &request, false);
    web.settle();
    assert_eq!(web.events(), [asked("/call?jwt=x")]);
    assert!(web.server_reads().is_empty());
    assert!(web.server().accept_session(&Version::ALL));
    web.client_write(uni, b" and late", true);
    web.settle();
    let read = web.server_reads();
    let text: String = read.iter().map(|(_, text, _)| text.as_str()).collect();
    assert_eq!(text, "early and late");
    assert!(read.iter().all(|(stream, ..)| *stream == uni) && read.last().unwrap().2);
}

#[test]
fn a_session_is_not_asked_for_before_the_settings_of_its_client() {
    let mut web = Exchange::raw();
    let request = Request::connect("relay", "/early", &["moq-lite-06"]);
    web.client_write(StreamId(0), &request, false);
    web.settle();
    assert_eq!(web.events(), []);
    web.client_write(StreamId(CONTROL), &http::settings(false), false);
    web.settle();
    assert_eq!(web.events(), [asked("/early")]);
}

#[test]
fn requests_that_end_too_early_are_ended_on_our_side_too() {
    let mut web = Exchange::raw();
    web.client_write(StreamId(CONTROL), &http::settings(false), false);
    let (nothing, half, cancelled) = (StreamId(0), StreamId(4), StreamId(8));
    web.client_write(nothing, &[0x40], true);
    web.client_write(half, &[1, 9, 0], true);
    web.client_write(cancelled, &[1, 9, 0], false);
    web.settle();
    assert_eq!(web.events(), []);
    let quic = &mut web.client_end().quic;
    quic.stream_shutdown(cancelled.0, quiche::Shutdown::Write, code::NO_ERROR)
        .unwrap();
    web.settle();
    assert_eq!(web.events(), []);
    web.settle();
    for (stream, code) in [
        (nothing, code::REQUEST_INCOMPLETE),
        (half, code::REQUEST_INCOMPLETE),
        (cancelled, code::REQUEST_CANCELLED),
    ] {
        let read = web.client_end().quic.stream_recv(stream.0, &mut [0; 16]);
        assert_eq!(read, Err(quiche::Error::StreamReset(code)), "{stream:?}");
    }
    assert_eq!(web.closed_with(), None);
}

#[test]
fn to_stop_a_critical_stream_closes_the_connection() {
    for (stream, expected) in [
        (StreamId(3), code::CLOSED_CRITICAL_STREAM),
        (StreamId(0), code::NO_ERROR),
    ] {
        let mut web = Exchange::raw();
        web.connect();
        let quic = &mut web.client_end().quic;
        quic.stream_shutdown(stream.0, quiche::Shutdown::Read, code::NO_ERROR)
            .unwrap();
        web.settle();
        while web.server().poll_writable().is_some() {}
        assert_eq!(web.closed_with(), Some(expected), "{stream:?}");
    }
}

#[test]
fn a_request_for_a_session_tells_each_authorization() {
    let mut web = Exchange::raw();
    web.client_write(StreamId(2), &http::settings(false), false);
    web.client_write(
        StreamId(0),
        &request(&[
            (b":method", b"CONNECT"),
            (b":protocol", b"webtransport"),
            (b":path", b"/call"),
            (b"authorization", b"Bearer x"),
            (b"authorization", b"\xff"),
        ]),
        false,
    );
    web.settle();
    assert_eq!(
        web.events(),
        [WebEvent::SessionRequested {
            path: "/call".to_owned(),
            authorization: Some(b"Bearer x, \xff".to_vec()),
        }]
    );
}

#[test]
fn ordinary_requests_are_asked_of_the_caller() {
    let mut web = Exchange::raw();
    web.client_write(StreamId(2), &http::settings(false), false);
    web.client_write(
        StreamId(0),
        &request(&[
            (b":method", b"GET"),
            (b":path", b"/healthz"),
            (b"authorization", b"Bearer x"),
        ]),
        true,
    );
    web.settle();
    assert_eq!(
        web.events(),
        [WebEvent::Request {
            stream: StreamId(0),
            method: "GET".into(),
            path: "/healthz".into(),
            authorization: Some(b"Bearer x".into()),
        }]
    );
    let body = Bytes::from_static(b"ok\n");
    web.server()
        .respond(StreamId(0), 200, &[("content-type", "text/plain")], &body);
    web.settle();
    let (_, answer, fin) = web
        .client_reads_bytes()
        .into_iter()
        .find(|(stream, ..)| *stream == StreamId(0))
        .unwrap();
    assert_eq!(answer, Response::whole(200, &[("content-type", "text/plain")], &body));
    assert!(fin);
}

#[test]
fn wrong_settings_close_the_connection_with_their_code() {
    for (name, expected, bytes) in [
        ("no SETTINGS at first", code::MISSING_SETTINGS, &[0, 7, 1, 0][..]),
        ("a setting of HTTP/2", code::SETTINGS, &[0, 4, 2, 2, 0]),
        ("a setting twice", code::SETTINGS, &[0, 4, 4, 8, 1, 8, 1]),
        ("SETTINGS cut off", code::SETTINGS, &[0, 4, 1, 0x40]),
        ("endless SETTINGS", code::EXCESSIVE_LOAD, &[0, 4, 0x7f, 0xff]),
    ] {
        assert_eq!(fate(&[(CONTROL, bytes, false)]), Some(expected), "{name}");
    }
}

#[test]
fn misuse_of_the_control_stream_closes_the_connection_with_its_code() {
    let settings = http::settings(false);
    let behind = |frames: &[u8]| [&settings[..], frames].concat();
    let flood = [0x21, 0].repeat(5000);
    for (name, expected, bytes) in [
        ("SETTINGS twice", code::FRAME_UNEXPECTED, behind(&[4, 0])),
        ("DATA", code::FRAME_UNEXPECTED, behind(&[0, 1, 0])),
        ("frames without meaning", code::EXCESSIVE_LOAD, behind(&flood)),
    ] {
        assert_eq!(fate(&[(CONTROL, &bytes, false)]), Some(expected), "{name}");
    }
    assert_eq!(fate(&[(CONTROL, &settings, true)]), Some(code::CLOSED_CRITICAL_STREAM));
    let twice = [(CONTROL, &settings[..], false), (OTHER, &[0], false)];
    assert_eq!(fate(&twice), Some(code::STREAM_CREATION));
}

#[test]
fn streams_that_may_not_be_close_the_connection_with_their_code() {
    let encoder_twice = [(OTHER, &[2][..], false), (OTHER + 4, &[2], false)];
    assert_eq!(fate(&encoder_twice), Some(code::STREAM_CREATION));
    assert_eq!(fate(&[(OTHER, &[2], true)]), Some(code::CLOSED_CRITICAL_STREAM));
    for (name, expected, stream, bytes) in [
        ("a push", code::STREAM_CREATION, OTHER, &[1, 0][..]),
        (
            "an entry for the dynamic table",
            code::QPACK_ENCODER_STREAM,
            OTHER,
            &[2, 0xc1, 1, b'x'],
        ),
        ("a body without a head", code::FRAME_UNEXPECTED, REQUEST, &[0, 1, 0]),
        ("SETTINGS on a request", code::FRAME_UNEXPECTED, REQUEST, &[4, 0]),
        (
            "fields that cannot be read",
            code::QPACK_DECOMPRESSION_FAILED,
            REQUEST,
            &[1, 3, 0, 0, 0x80],
        ),
        ("the server's session", code::ID, OTHER, &[0x40, 0x54, 1, b'x']),
    ] {
        assert_eq!(fate(&[(stream, bytes, false)]), Some(expected), "{name}");
    }
}

#[test]
fn a_head_that_is_too_large_is_refused_by_its_length() {
    let mut web = Exchange::raw();
    let mut frame = BytesMut::new();
    put(&mut frame, frame::HEADERS);
    put(&mut frame, http::FIELD_SECTION_BYTES_MAX + 1);
    web.client_write(StreamId(0), &frame, false);
    web.settle();
    web.events();
    assert_eq!(web.closed_with(), Some(code::EXCESSIVE_LOAD));
    // One that is larger than it looks: two thousand references to the static table.
    let mut web = Exchange::raw();
    let section = [&[0, 0][..], &[0xd1; 2000]].concat();
    let mut frame = BytesMut::new();
    put(&mut frame, frame::HEADERS);
    put(&mut frame, section.len() as u64);
    web.client_write(StreamId(0), &[&frame[..], &section].concat(), false);
    web.settle();
    web.events();
    assert_eq!(web.closed_with(), Some(code::QPACK_DECOMPRESSION_FAILED));
}

#[test]
fn capsules_without_meaning_end_the_session_at_last() {
    let mut web = Exchange::raw();
    web.connect();
    web.client_write(
        StreamId(0),
        &[&[0, 0x67, 0x10][..], &[0x17, 0].repeat(5000)].concat(),
        false,
    );
    web.settle();
    web.server_reads();
    assert_eq!(web.closed_with(), Some(code::EXCESSIVE_LOAD));
}

#[test]
fn a_capsule_that_is_too_large_or_too_short_ends_the_session() {
    for capsule in [&[0x68, 0x43, 0x48, 0][..], &[0x68, 0x43, 2, 0, 0]] {
        let mut web = Exchange::raw();
        web.connect();
        let length = u8::try_from(capsule.len()).unwrap();
        web.client_write(StreamId(0), &[&[0, length], capsule].concat(), false);
        web.settle();
        web.server_reads();
        assert!(web.closed_with().is_some(), "{capsule:?}");
    }
}

#[test]
fn what_concerns_one_stream_costs_that_stream_alone() {
    let mut web = Exchange::raw();
    web.connect();
    let second = Request::connect("relay", "/", &["moq-lite-06"]);
    let malformed = request(&[(b":method", b"GET")]);
    let (unknown, elsewhere, again, wrong) = (StreamId(6), StreamId(10), StreamId(4), StreamId(8));
    web.client_write(unknown, &[0x21, 1, 2, 3], false);
    web.client_write(elsewhere, &head(kinds::WEB_TRANSPORT, 400, b"x"), false);
    web.client_write(again, &second, false);
    web.client_write(wrong, &malformed, false);
    web.settle();
    assert!(web.server_reads().is_empty());
    web.settle();
    assert_eq!(web.closed_with(), None);
    let mut stops = web.client_stops();
    stops.sort_unstable();
    assert_eq!(
        stops,
        [
            (again, code::REQUEST_REJECTED),
            (unknown, code::STREAM_CREATION),
            (wrong, code::MESSAGE),
            (elsewhere, code::SESSION_GONE),
        ]
    );
    // The session goes on.
    let uni = StreamId(14);
    web.client_write(uni, &head(kinds::WEB_TRANSPORT, 0, b"still there"), true);
    web.settle();
    assert_eq!(web.server_reads(), [(uni, "still there".into(), true)]);
}

#[test]
fn streams_and_requests_that_say_nothing_are_limited() {
    let mut web = Exchange::raw();
    for index in 0..100 {
        web.client_write(StreamId(2 + 4 * index), &[0x40], false);
    }
    web.settle();
    web.events();
    assert_eq!(web.closed_with(), Some(code::EXCESSIVE_LOAD));

    let mut web = Exchange::raw();
    for index in 0..40 {
        web.client_write(StreamId(4 * index), &[1, 0x40], false);
    }
    web.settle();
    web.events();
    web.settle();
    assert_eq!(web.closed_with(), None);
    assert_eq!(web.client_stops().len(), 40 - 16);
}

/// With what code the server closes the connection of a client that writes this.
fn fate(writes: &[(u64, &[u8], bool)]) -> Option<u64> {
    let mut web = Exchange::raw();
    for (stream, bytes, fin) in writes {
        web.client_write(StreamId(*stream), bytes, *fin);
    }
    web.settle();
    web.events();
    web.closed_with()
}

fn asked(path: &str) -> WebEvent {
    WebEvent::SessionRequested {
        path: path.to_owned(),
        authorization: None,
    }
}

fn head(kind: u64, session: u64, rest: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put(&mut out, kind);
    put(&mut out, session);
    [&out[..], rest].concat()
}

fn request(fields: &[(&[u8], &[u8])]) -> Bytes {
    http::headers_frame(fields)
}

impl Exchange {
    /// A client that asks for a session.
    fn dial(versions: &[Version]) -> Self {
        let mut pair = Pair::trusting();
        let dial = WebDial {
            authority: "localhost:4443".to_owned(),
            path: "/call?jwt=x".to_owned(),
            versions: versions.to_vec(),
        };
        pair.dialling = pair.client.web_client(Trust::Anyone, dial).unwrap();
        Self::begin(pair)
    }

    /// A client that says what it is told to.
    fn raw() -> Self {
        let mut pair = Pair::trusting();
        pair.dialling = pair.client.http_client(Trust::Anyone).unwrap();
        Self::begin(pair)
    }

    fn begin(mut pair: Pair) -> Self {
        let client = pair.dial("localhost");
        pair.settle();
        Self {
            pair,
            client,
            arena: ReadArena::default(),
        }
    }

    /// With a session that is accepted.
    fn open() -> Self {
        let mut web = Self::dial(&[Version::Lite06]);
        web.events();
        assert!(web.server().accept_session(&Version::ALL));
        web.settle();
        web.client_reads();
        assert!(web.client_end().has_session());
        web
    }

    /// Has a raw client ask for a session, which is accepted.
    fn connect(&mut self) {
        self.client_write(StreamId(2), &http::settings(false), false);
        self.client_write(StreamId(0), &Request::connect("relay", "/", &["moq-lite-06"]), false);
        self.settle();
        self.events();
        assert!(self.server().accept_session(&Version::ALL));
        self.settle();
    }

    /// Carries packets, and has the client read what is not a session's.
    fn settle(&mut self) {
        self.pair.settle();
        if !self.client_end().has_session() {
            self.client_reads();
            self.pair.settle();
        }
    }

    fn server_key(&mut self) -> ConnectionKey {
        self.pair.server.keys()[0]
    }

    fn end(&mut self, key: ConnectionKey) -> &mut crate::quic::Connection {
        if key == self.client {
            return self.client_end();
        }
        self.pair.server.get_mut(key).unwrap()
    }

    fn server(&mut self) -> &mut crate::quic::Connection {
        let key = self.server_key();
        self.pair.server.get_mut(key).unwrap()
    }

    fn client_end(&mut self) -> &mut crate::quic::Connection {
        self.pair.client.get_mut(self.client).unwrap()
    }

    fn client_write(&mut self, stream: StreamId, bytes: &[u8], fin: bool) {
        let written = self.client_end().write(stream, Bytes::copy_from_slice(bytes), fin);
        assert_eq!(written, Written::All);
    }

    /// What the server's caller is asked, once it has read all there is.
    fn events(&mut self) -> Vec<WebEvent> {
        self.server_reads();
        std::iter::from_fn(|| self.server().poll_web()).collect()
    }

    fn server_reads(&mut self) -> Vec<(StreamId, String, bool)> {
        let key = self.server_key();
        let connection = self.pair.server.get_mut(key).unwrap();
        texts(reads(connection, &mut self.arena))
    }

    fn client_reads(&mut self) -> Vec<(StreamId, String, bool)> {
        texts(self.client_reads_bytes())
    }

    fn client_reads_bytes(&mut self) -> Vec<(StreamId, Bytes, bool)> {
        let connection = self.pair.client.get_mut(self.client).unwrap();
        reads(connection, &mut self.arena)
    }

    /// Streams that the server does not read, with its codes.
    fn client_stops(&mut self) -> Vec<(StreamId, u64)> {
        let connection = self.client_end();
        std::iter::from_fn(|| connection.poll_writable())
            .filter_map(|(stream, code)| Some((stream, code?.0)))
            .collect()
    }

    /// The code that the server closed the connection with.
    fn closed_with(&mut self) -> Option<u64> {
        self.server().quic.local_error().map(|error| error.error_code)
    }
}

fn reads(connection: &mut crate::quic::Connection, arena: &mut ReadArena) -> Vec<(StreamId, Bytes, bool)> {
    let mut all = Vec::new();
    while let Some(stream) = connection.poll_readable() {
        while let Read::Data { bytes, fin } = connection.read(stream, arena) {
            all.push((stream, bytes, fin));
            if fin {
                break;
            }
        }
    }
    all
}

fn texts(reads: Vec<(StreamId, Bytes, bool)>) -> Vec<(StreamId, String, bool)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    reads
        .iter()
        .map(|(stream, bytes, fin)| (*stream, text(bytes), *fin))
        .collect()
}

/// A client's first one-way stream, its second and its first two-way stream.
const CONTROL: u64 = 2;
const OTHER: u64 = 6;
const REQUEST: u64 = 0;
