//! Two sessions, or one and a peer that says what it likes.

use bytes::{Bytes, BytesMut};

use super::Session;
use crate::session::{
    AnnouncementEvent, AnswerEvent, Event, MediaEvent, RequestEvent, SessionConfig, SessionEvent, SessionLimits, Side,
    SubscribeParameters, Transmit,
};
use crate::wire::{
    BroadcastPath, ErrorCode, GroupHeader, GroupRange, GroupSequence, HopId, Setup, StreamHeads, StreamId, SubscribeId,
    SubscribeOk, TrackName, Transcoder, Version, session_error, stream_error,
};

#[test]
fn a_track_is_subscribed_to_and_its_group_heard() {
    let (mut subscriber, mut publisher) = pair();
    let (id, _) = subscriber.subscribe(parameters("room/ali", "audio")).unwrap();
    carry(&mut subscriber, &mut publisher);
    let (request, message) = asked(&mut publisher);
    assert_eq!((message.broadcast.as_str(), &*message.track), ("room/ali", "audio"));
    assert_eq!((message.priority, message.range.start), (200, None));
    publisher.subscribe_ok(request, &OK, None);
    let stream = publisher.open_uni();
    let mut bytes = group(&publisher, message.id, 5);
    bytes.extend_from_slice(&[0, 2, 0x10, 9, 2, b'h', b'i', 0, 0, 0, 0]);
    // The group overtakes the answer.
    let bytes = bytes.freeze();
    subscriber.handle_stream(stream, bytes.slice(..7), false, 3);
    assert!(subscriber.poll_event().is_none());
    carry(&mut publisher, &mut subscriber);
    subscriber.handle_stream(stream, bytes.slice(7..), true, 3);
    let heard = events(&mut subscriber);
    let [
        Event::Answer(AnswerEvent::TrackProperties { properties, .. }),
        Event::Answer(AnswerEvent::SubscriptionOk { ok, .. }),
        Event::Media(MediaEvent::GroupStart { header, .. }),
        rest @ ..,
    ] = &heard[..]
    else {
        panic!("{heard:?}");
    };
    assert_eq!(properties[..], [0x08, 0x83, 0xe8, 0x06, 55]);
    assert_eq!((ok.priority, header.sequence), (200, GroupSequence(5)));
    assert_eq!((header.subscribe, header.frame_start), (id, 0));
    let mut plain = Transcoder::new(crate::wire::FrameForm::Plain, 0, None);
    let mut frames = Vec::new();
    let mut stamps = Vec::new();
    for event in rest {
        if let Event::Media(MediaEvent::GroupChunk { chunk, .. }) = event {
            stamps.extend(chunk.marks.iter().map(|mark| mark.timestamp));
            plain.push(chunk, &mut |piece| frames.extend_from_slice(&piece));
        }
    }
    assert_eq!(frames, [2, b'h', b'i', 0]);
    // The first as it says, in thousandths of a second; the second as it came.
    assert_eq!(stamps, [9000, 3000]);
    assert!(matches!(rest.last(), Some(Event::Media(MediaEvent::GroupEnd { .. }))));

    publisher.finish(request);
    carry(&mut publisher, &mut subscriber);
    let ended = events(&mut subscriber);
    assert!(matches!(
        ended[..],
        [Event::Answer(AnswerEvent::SubscriptionClosed { code: None, .. })]
    ));
    subscriber.unsubscribe(id);
    assert_eq!(subscriber.stats().streams, 1, "the control stream");
}

#[test]
fn refusals_have_the_codes_of_the_draft() {
    let (mut subscriber, mut publisher) = pair();
    subscriber.subscribe(parameters("a", "b")).unwrap();
    carry(&mut subscriber, &mut publisher);
    let (request, _) = asked(&mut publisher);
    publisher.refuse(request, stream_error::NOT_FOUND);
    let written = written(&mut publisher);
    let [(stream, bytes, true)] = &written[..] else {
        panic!("{written:?}");
    };
    assert_eq!((*stream, &bytes[..4]), (request, &[0x05, 0, 10, 0x10][..]));
    subscriber.handle_stream(*stream, bytes.clone(), true, 0);
    let code = events(&mut subscriber).into_iter().find_map(|event| match event {
        Event::Answer(AnswerEvent::SubscriptionClosed { code, .. }) => code,
        _ => None,
    });
    assert_eq!(code, Some(stream_error::NOT_FOUND));
}

#[test]
fn namespaces_are_told_once_and_withdrawn() {
    let (mut asking, mut telling) = pair();
    asking.request_announce(&BroadcastPath::root()).unwrap();
    carry(&mut asking, &mut telling);
    let request = events(&mut telling)
        .into_iter()
        .find_map(|event| match event {
            Event::Announcement(AnnouncementEvent::AnnounceRequest { request, .. }) => Some(request),
            _ => None,
        })
        .expect("asked");
    telling.announce_ok(request);
    for _ in 0..2 {
        telling.announce(request, &BroadcastPath::new("room/ali"));
    }
    carry(&mut telling, &mut asking);
    assert_eq!(paths(&mut asking), ["+room/ali"]);
    telling.unannounce(request, &BroadcastPath::new("room/ali"));
    carry(&mut telling, &mut asking);
    assert_eq!(paths(&mut asking), ["-room/ali"]);
}

#[test]
fn a_namespace_of_two_ways_stays_until_both_are_gone() {
    let mut server = server();
    set_up(&mut server);
    server.request_announce(&BroadcastPath::root()).unwrap();
    let ours = StreamId(1);
    let _ = written(&mut server);
    server.handle_stream(
        ours,
        Bytes::from_static(b"\x07\x00\x01\x00\x08\x00\x03\x01\x01a"),
        false,
        0,
    );
    server.handle_stream(StreamId(0), publish_namespace("a"), false, 0);
    assert_eq!(paths(&mut server), ["+a"]);
    server.handle_reset(ours, ErrorCode(0));
    assert!(paths(&mut server).is_empty());
    server.handle_stream(StreamId(0), Bytes::new(), true, 0);
    assert_eq!(paths(&mut server), ["-a"]);
    assert_eq!(server.stats().live.announced, 0);
}

#[test]
fn a_published_track_is_asked_for_when_it_is_wanted() {
    let mut server = server();
    set_up(&mut server);
    let _ = written(&mut server);
    let stream = StreamId(0);
    // PUBLISH of a/b under alias 9, with a timescale of 100.
    server.handle_stream(
        stream,
        Bytes::from_static(b"\x1d\x00\x0a\x00\x01\x01a\x01b\x09\x00\x08\x64"),
        false,
        0,
    );
    assert_eq!(paths(&mut server), ["+a"]);
    // PUBLISH_OK with FORWARD 0.
    assert_eq!(written(&mut server)[0].1[..], [0x07, 0, 3, 1, 0x10, 0]);
    server.handle_stream(StreamId(6), Bytes::from_static(&[0x30, 9, 0, 0, 1, b'x']), true, 0);
    assert_eq!(server.stats().counters.groups_refused, 1);
    let (id, _) = server.subscribe(parameters("a", "b")).unwrap();
    assert_eq!(
        written(&mut server).pop().unwrap().1[..],
        [0x02, 0, 6, 1, 2, 0x10, 1, 0x10, 55]
    );
    server.handle_stream(StreamId(10), Bytes::from_static(&[0x30, 9, 1, 0, 1, b'x']), true, 0);
    let heard = events(&mut server);
    assert!(
        heard.iter().any(
            |event| matches!(event, Event::Media(MediaEvent::GroupStart { header, .. }) if header.subscribe == id)
        )
    );
    server.unsubscribe(id);
    assert_eq!(written(&mut server).pop().unwrap().1[..], [0x02, 0, 4, 3, 1, 0x10, 0]);
    let (again, _) = server.subscribe(parameters("a", "b")).unwrap();
    // PUBLISH_DONE.
    server.handle_stream(stream, Bytes::from_static(&[0x0b, 0, 3, 2, 1, 0]), true, 0);
    let ended = events(&mut server);
    assert!(ended.iter().any(
        |event| matches!(event, Event::Answer(AnswerEvent::SubscriptionClosed { id, code: None }) if *id == again)
    ));
    server.unsubscribe(again);
    assert_eq!((server.stats().live.requests, server.stats().live.announced), (0, 0));
}

#[test]
fn requests_wait_for_setup() {
    let mut server = server();
    server.handle_stream(StreamId(0), publish_namespace("a"), false, 0);
    assert!(server.poll_event().is_none());
    set_up(&mut server);
    let heard = events(&mut server);
    assert!(matches!(
        heard[..],
        [
            Event::Session(SessionEvent::Setup(_)),
            Event::Announcement(AnnouncementEvent::Announced { .. })
        ]
    ));
}

#[test]
fn what_breaks_the_draft_closes_the_session_with_its_code() {
    let cases: [(&str, StreamId, &[u8], ErrorCode); 7] = [
        (
            "request of our parity",
            StreamId(0),
            b"\x06\x00\x05\x01\x01\x01a\x00",
            ErrorCode(0x4),
        ),
        (
            "answer without a question",
            StreamId(0),
            &[0x07, 0, 1, 0],
            session_error::PROTOCOL_VIOLATION,
        ),
        (
            "unknown one-way stream",
            StreamId(6),
            &[0x01],
            session_error::PROTOCOL_VIOLATION,
        ),
        (
            "second control stream",
            StreamId(6),
            &[0xaf, 0, 0, 0],
            session_error::PROTOCOL_VIOLATION,
        ),
        (
            "second SETUP",
            StreamId(2),
            &[0xaf, 0, 0, 0],
            session_error::PROTOCOL_VIOLATION,
        ),
        (
            "request on a control stream",
            StreamId(2),
            &[0x07, 0, 1, 0],
            session_error::PROTOCOL_VIOLATION,
        ),
        (
            "message cut off",
            StreamId(0),
            b"\x06\x00",
            session_error::PROTOCOL_VIOLATION,
        ),
    ];
    for (what, stream, bytes, expected) in cases {
        let mut server = server();
        set_up(&mut server);
        server.handle_stream(stream, Bytes::from_static(bytes), stream == StreamId(0), 0);
        let code = std::iter::from_fn(|| server.poll_transmit()).find_map(|transmit| match transmit {
            Transmit::Close { code, .. } => Some(code),
            _ => None,
        });
        assert_eq!(code, Some(expected), "{what}");
        assert!(server.is_closed());
    }
}

#[test]
fn what_has_no_place_here_is_refused_and_the_session_goes_on() {
    let mut server = server();
    set_up(&mut server);
    let _ = written(&mut server);
    // FETCH, SUBSCRIBE_TRACKS, and SUBSCRIBE of a name that is not text.
    let cases: [(&[u8], u8); 3] = [
        (b"\x16\x00\x02\x00\x01", 0x3),
        (b"\x51\x00\x03\x02\x00\x00", 0x3),
        (b"\x03\x00\x06\x04\x01\x01\xff\x00\x00", 0x10),
    ];
    for (index, (bytes, code)) in cases.into_iter().enumerate() {
        server.handle_stream(StreamId(4 * index as u64), Bytes::from_static(bytes), false, 0);
        let answers = written(&mut server);
        let [(_, answer, true)] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert_eq!((answer[0], answer[3]), (0x05, code));
    }
    // Subgroup 1 of a track that is subscribed to.
    let (_, stream) = server.subscribe(parameters("a", "b")).unwrap();
    server.handle_stream(stream, Bytes::from_static(&[0x04, 0, 2, 9, 0]), false, 0);
    server.handle_stream(StreamId(6), Bytes::from_static(&[0x34, 9, 0, 1, 0, 1, b'x']), true, 0);
    assert_eq!(server.stats().counters.groups_refused, 1);
    assert!(!server.is_closed());
}

#[test]
fn a_group_that_begins_in_its_middle_is_told_so() {
    for (kind, frame_start) in [(0x30, 4), (0x70, 0)] {
        let mut server = server();
        set_up(&mut server);
        let (_, stream) = server.subscribe(parameters("a", "b")).unwrap();
        server.handle_stream(stream, Bytes::from_static(&[0x04, 0, 2, 9, 0]), false, 0);
        for byte in [kind, 9, 0, 4, 1, b'x'] {
            server.handle_stream(StreamId(6), Bytes::copy_from_slice(&[byte]), false, 0);
        }
        let start = events(&mut server).into_iter().find_map(|event| match event {
            Event::Media(MediaEvent::GroupStart { header, .. }) => Some(header.frame_start),
            _ => None,
        });
        assert_eq!(start, Some(frame_start));
    }
}

#[test]
fn who_wants_nothing_gets_nothing_until_told_otherwise() {
    let mut server = server();
    set_up(&mut server);
    // FORWARD 0, then 1.
    server.handle_stream(
        StreamId(0),
        Bytes::from_static(b"\x03\x00\x09\x00\x01\x01a\x01b\x01\x10\x00"),
        false,
        0,
    );
    let (_, message) = asked(&mut server);
    assert_eq!(message.range.start, Some(GroupSequence::NEVER));
    server.handle_stream(StreamId(0), Bytes::from_static(&[0x02, 0, 4, 2, 1, 0x10, 1]), false, 0);
    let update = events(&mut server).into_iter().find_map(|event| match event {
        Event::Request(RequestEvent::SubscribeUpdate { message, .. }) => Some(message),
        _ => None,
    });
    assert_eq!(update.expect("an update").range.start, None);
    // AbsoluteStart of 2^64-1.
    let mut absolute = b"\x03\x00\x14\x04\x01\x01a\x01b\x01\x21\x0b\x03".to_vec();
    absolute.extend_from_slice(&[0xff; 9]);
    absolute.extend_from_slice(&[0]);
    absolute[2] = u8::try_from(absolute.len() - 3).unwrap();
    let _ = written(&mut server);
    server.handle_stream(StreamId(4), Bytes::from(absolute), false, 0);
    let answers = written(&mut server);
    assert_eq!((answers[0].1[0], answers[0].1[3]), (0x05, 0x11));
    assert!(!server.is_closed());
}

#[test]
fn ids_of_objects_that_overflow_close_the_publisher_and_go_no_further() {
    let mut server = server();
    set_up(&mut server);
    let (_, stream) = server.subscribe(parameters("a", "b")).unwrap();
    server.handle_stream(stream, Bytes::from_static(&[0x04, 0, 2, 9, 0]), false, 0);
    let mut group = vec![0x30, 9, 0];
    group.extend_from_slice(&[0xff; 9]);
    group.extend_from_slice(&[1, b'x', 0, 1, b'y']);
    server.handle_stream(StreamId(6), Bytes::from(group), true, 0);
    assert!(server.is_closed());
    let heard = events(&mut server);
    assert!(
        !heard
            .iter()
            .any(|event| matches!(event, Event::Media(MediaEvent::GroupChunk { .. })))
    );
    assert!(heard.iter().any(|event| matches!(
        event,
        Event::Session(SessionEvent::Violation {
            code: session_error::PROTOCOL_VIOLATION,
            ..
        })
    )));
}

#[test]
fn a_track_whose_properties_are_not_for_us_is_refused_and_the_session_goes_on() {
    let large = [&[0x0d, 0x90, 0x01][..], &[7; 4097]].concat();
    let cases: [(Vec<u8>, u8, ErrorCode); 3] = [
        (vec![0xc0, 0x40, 0x00, 1], 0x33, stream_error::UNSUPPORTED_EXTENSION),
        (vec![0x0b, 2, 0x0b, 0], 0x12, stream_error::MALFORMED_TRACK),
        (large, 0x09, stream_error::TOO_FAR_BEHIND),
    ];
    for (properties, refusal, closed) in cases {
        let mut server = server();
        set_up(&mut server);
        let (_, stream) = server.subscribe(parameters("a", "b")).unwrap();
        let _ = written(&mut server);
        let message = |kind: u8, head: &[u8]| {
            let length = u16::try_from(head.len() + properties.len()).unwrap().to_be_bytes();
            Bytes::from([&[kind][..], &length, head, &properties].concat())
        };
        server.handle_stream(StreamId(0), message(0x1d, b"\x00\x01\x01a\x01c\x08\x00"), false, 0);
        let answers = written(&mut server);
        assert_eq!((answers[0].1[0], answers[0].1[3]), (0x05, refusal));
        server.handle_stream(stream, message(0x04, &[9, 0]), false, 0);
        let code = events(&mut server).into_iter().find_map(|event| match event {
            Event::Answer(AnswerEvent::SubscriptionClosed { code, .. }) => code,
            _ => None,
        });
        assert_eq!(code, Some(closed));
        let transmits: Vec<_> = std::iter::from_fn(|| server.poll_transmit()).collect();
        assert!(
            matches!(transmits[..], [Transmit::Reset { .. }, Transmit::StopSending { .. }]),
            "{transmits:?}"
        );
        server.handle_stream(StreamId(6), Bytes::from_static(&[0x30, 9, 0, 0, 1, b'x']), true, 0);
        assert_eq!(server.stats().counters.groups_refused, 1);
        assert!(!server.is_closed());
    }
}

#[test]
fn a_head_in_pieces_counts_and_is_forgotten_with_its_group() {
    let mut server = server();
    set_up(&mut server);
    let (id, stream) = server.subscribe(parameters("a", "b")).unwrap();
    server.handle_stream(stream, Bytes::from_static(&[0x04, 0, 2, 9, 0]), false, 0);
    for (stream, is_reset) in [(StreamId(6), true), (StreamId(10), false)] {
        server.handle_stream(stream, Bytes::from_static(&[0x31, 9, 0, 0, 100, 0x0b, 98]), false, 0);
        assert_eq!(server.stats().live.buffered_bytes, 4);
        match is_reset {
            true => server.handle_reset(stream, ErrorCode(0)),
            false => server.unsubscribe(id),
        }
        assert_eq!(server.stats().live.buffered_bytes, 0);
    }
}

fn pair() -> (Session, Session) {
    let (mut client, mut server) = (session(Side::Client), server());
    carry(&mut client, &mut server);
    carry(&mut server, &mut client);
    for session in [&mut client, &mut server] {
        assert!(matches!(
            session.poll_event(),
            Some(Event::Session(SessionEvent::Setup(_)))
        ));
    }
    (client, server)
}

fn server() -> Session {
    session(Side::Server)
}

fn session(side: Side) -> Session {
    Session::new(SessionConfig {
        side,
        version: Version::Moqt18,
        setup: Setup::default(),
        hop: HopId(1),
        limits: SessionLimits::default(),
        heads: StreamHeads::default(),
    })
}

/// The client's control stream, with an empty SETUP.
fn set_up(server: &mut Session) {
    server.handle_stream(StreamId(2), Bytes::from_static(&[0xaf, 0, 0, 0]), false, 0);
}

fn carry(from: &mut Session, to: &mut Session) {
    while let Some(transmit) = from.poll_transmit() {
        match transmit {
            Transmit::Write { stream, data, fin } => to.handle_stream(stream, data, fin, 0),
            Transmit::Reset { stream, code } => to.handle_reset(stream, code),
            Transmit::StopSending { stream, .. } => to.handle_stop_sending(stream),
            Transmit::Close { code, reason } => panic!("closed with {code}: {reason}"),
        }
    }
}

fn written(session: &mut Session) -> Vec<(StreamId, Bytes, bool)> {
    std::iter::from_fn(|| session.poll_transmit())
        .filter_map(|transmit| match transmit {
            Transmit::Write { stream, data, fin } => Some((stream, data, fin)),
            _ => None,
        })
        .collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn paths(session: &mut Session) -> Vec<String> {
    events(session)
        .into_iter()
        .filter_map(|event| match event {
            Event::Announcement(AnnouncementEvent::Announced { path, .. }) => Some(format!("+{}", path.as_str())),
            Event::Announcement(AnnouncementEvent::Unannounced { path, .. }) => Some(format!("-{}", path.as_str())),
            _ => None,
        })
        .collect()
}

fn asked(session: &mut Session) -> (StreamId, crate::wire::Subscribe) {
    events(session)
        .into_iter()
        .find_map(|event| match event {
            Event::Request(RequestEvent::Subscribe { request, message }) => Some((request, message)),
            _ => None,
        })
        .expect("a subscription")
}

fn parameters(broadcast: &str, track: &str) -> SubscribeParameters {
    SubscribeParameters {
        broadcast: BroadcastPath::new(broadcast),
        track: TrackName::from(track),
        epoch: 0,
        priority: 200,
        ordered: false,
        max_latency_ms: 500,
        range: GroupRange::default(),
    }
}

fn publish_namespace(name: &str) -> Bytes {
    let mut bytes = BytesMut::from(&[0x06, 0, 0, 0, 1][..]);
    bytes.extend_from_slice(&[u8::try_from(name.len()).unwrap()]);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&[0]);
    bytes[2] = u8::try_from(bytes.len() - 3).unwrap();
    bytes.freeze()
}

fn group(session: &Session, subscribe: SubscribeId, sequence: u64) -> BytesMut {
    let header = GroupHeader {
        subscribe,
        sequence: GroupSequence(sequence),
        frame_start: 0,
    };
    let mut bytes = BytesMut::new();
    assert!(session.group_header(&header, &mut bytes));
    bytes
}

const OK: SubscribeOk = SubscribeOk {
    priority: 200,
    ordered: false,
    max_latency_ms: 0,
    start: None,
    end: None,
    timescale: Some(1000),
};
