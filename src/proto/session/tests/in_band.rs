//! Versions that are agreed on in band: the handshake, what it decides, and what the Session Stream
//! is good for afterwards.

use bytes::{Bytes, BytesMut};

use crate::session::{
    AnnouncementEvent, AnswerEvent, Event, RequestEvent, Session, SessionEvent, SessionLive, Side, Transmit,
};
use crate::wire::{
    Advertisement, AnnounceInit, ErrorCode, GroupRange, GroupSequence, HandshakeForm, HopId, SessionClient,
    SessionServer, StreamId, SubscribeOk, SubscribeUpdate, Version, session_error, stream_error,
};

use super::network::{
    CLIENT, Delivery, Network, SERVER, config, deliveries, everywhere, fetch_message, path, subscribe_parameters,
    track_message,
};

const DRAFT_02: [u8; 8] = [0xc0, 0, 0, 0, 0xff, 0x0d, 0xad, 0x02];
const DRAFT_01: [u8; 8] = [0xc0, 0, 0, 0, 0xff, 0x0d, 0xad, 0x01];
const GOMOQT: [u8; 8] = [0xc0, 0, 0, 0, 0xfe, 0xed, 0xba, 0xbe];
const TRANSPORT_14: [u8; 8] = [0xc0, 0, 0, 0, 0xff, 0, 0, 0x0e];

const SESSION_STREAM: StreamId = StreamId(0);

fn drained(session: &mut Session) -> Vec<Transmit> {
    std::iter::from_fn(|| session.poll_transmit()).collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn give(session: &mut Session, stream: u64, data: &[u8]) {
    session.handle_stream(StreamId(stream), Bytes::copy_from_slice(data), false, 0);
}

fn server() -> Session {
    Session::new(config(Side::Server, Version::Lite02))
}

/// SESSION_CLIENT with its stream type.
fn client_bytes(form: HandshakeForm, codes: &[u64], path: Option<&str>) -> Vec<u8> {
    let mut out = BytesMut::new();
    form.stream_type().encode(Version::Lite02, &mut out).unwrap();
    let client = SessionClient {
        versions: codes.into(),
        path: path.map(ToOwned::to_owned),
    };
    client.encode(form, &mut out).unwrap();
    out.to_vec()
}

fn assert_closed(session: &mut Session, code: ErrorCode, is_violation: bool) -> String {
    let last_event = events(session).pop();
    assert_eq!(
        matches!(last_event, Some(Event::Session(SessionEvent::Violation { .. }))),
        is_violation
    );
    let Some(Transmit::Close { code: got, reason }) = drained(session).pop() else {
        panic!("not closed")
    };
    assert_eq!(got, code, "{reason}");
    assert_eq!(session.stats().live, SessionLive::default());
    reason
}

#[test]
fn a_client_opens_with_its_session_stream_and_asks_nothing_before_the_answer() {
    let path = &[&[1, 1, 11][..], b"/room?jwt=x"].concat();
    let first = [
        (
            Version::Lite02,
            [&[0x20, 0, 31, 2][..], &DRAFT_02, &DRAFT_01, path].concat(),
        ),
        (Version::Lite01, [&[0x20, 0, 23, 1][..], &DRAFT_01, path].concat()),
        (Version::Gomoqt, [&[0, 23, 1][..], &GOMOQT, path].concat()),
    ];
    for (version, bytes) in first {
        let mut client = Session::new(config(Side::Client, version));
        let expected = Transmit::Write {
            stream: SESSION_STREAM,
            data: bytes.into(),
            fin: false,
        };
        assert_eq!(drained(&mut client), [expected]);
        assert!(client.is_negotiating());
        assert_eq!(client.subscribe(subscribe_parameters()), None);
        assert_eq!(client.request_announce(&super::network::path("")), None);
        assert_eq!(client.fetch(&fetch_message()), None);
        assert_eq!(client.track(&track_message()), None);
        assert_eq!(client.probe(None), None);
        client.update_bitrate(Some(1_000_000));
        assert!(drained(&mut client).is_empty());
    }
}

#[test]
fn a_path_that_cannot_be_said_is_left_out() {
    let mut configuration = config(Side::Client, Version::Lite01);
    configuration.setup.path = Some("a".repeat(9000));
    let mut client = Session::new(configuration);
    let Some(Transmit::Write { data, .. }) = client.poll_transmit() else {
        panic!()
    };
    assert_eq!(data[..], [&[0x20, 0, 10, 1][..], &DRAFT_01, &[0]].concat()[..]);
    assert_eq!(client.stats().counters.messages_unsendable, 1);
}

#[test]
fn both_ends_agree_whatever_the_server_began_with() {
    for version in Version::IN_BAND {
        for beginning in Version::IN_BAND {
            for delivery in deliveries() {
                let ends = (config(Side::Client, version), config(Side::Server, beginning));
                let mut network = Network::with(ends.0, ends.1, delivery);
                let Event::Session(SessionEvent::Setup(setup)) = network.settled_event(SERVER) else {
                    panic!()
                };
                assert_eq!(setup.path.as_deref(), Some("/room?jwt=x"));
                assert!(matches!(
                    network.settled_event(CLIENT),
                    Event::Session(SessionEvent::Setup(_))
                ));
                for end in &network.ends {
                    assert_eq!((end.version(), end.is_negotiating()), (version, false));
                }
                network.assert_idle();
            }
        }
    }
}

#[test]
fn the_first_version_that_is_known_is_taken_and_answered_in_the_form_it_was_asked_in() {
    let lite = 0xff0d_ad00;
    for (form, head) in [
        (HandshakeForm::Session, &[9][..]),
        (HandshakeForm::Compat, &[0x21, 0, 9]),
    ] {
        for (codes, version, code) in [
            (&[lite + 1, lite + 2][..], Version::Lite01, DRAFT_01),
            (&[0xff00_000e, lite + 3, lite + 2], Version::Lite02, DRAFT_02),
            (&[0xfeed_babe, lite + 1], Version::Gomoqt, GOMOQT),
        ] {
            let mut server = server();
            give(&mut server, 0, &client_bytes(form, codes, None));
            assert_eq!(server.version(), version);
            let answer = Transmit::Write {
                stream: SESSION_STREAM,
                data: [head, &code, &[0]].concat().into(),
                fin: false,
            };
            assert_eq!(drained(&mut server), [answer]);
        }
    }
}

#[test]
fn what_a_server_asks_before_its_answer_waits() {
    let mut client = Session::new(config(Side::Client, Version::Lite01));
    drained(&mut client);
    // ANNOUNCE_PLEASE overtakes SESSION_SERVER.
    give(&mut client, 1, &[1, 1, 0]);
    give(&mut client, 5, &[2, 5, 0, 0, 1, b't', 9]);
    assert!(events(&mut client).is_empty());
    assert_eq!(client.stats().live.requests_held, 2);
    give(&mut client, 0, &[&[0x21, 0, 9][..], &DRAFT_01, &[0]].concat());
    let events = events(&mut client);
    assert!(
        matches!(
            events[..],
            [
                Event::Session(SessionEvent::Setup(_)),
                Event::Announcement(AnnouncementEvent::AnnounceRequest {
                    request: StreamId(1),
                    ..
                }),
                Event::Request(RequestEvent::Subscribe {
                    request: StreamId(5),
                    ..
                })
            ]
        ),
        "{events:?}"
    );
    assert!(client.subscribe(subscribe_parameters()).is_some());
}

#[test]
fn a_peer_that_speaks_moq_transport_is_told_so() {
    // CLIENT_SETUP of moq-transport-14: its version, and MAX_REQUEST_ID and MOQT_IMPLEMENTATION.
    let parameters = [&[2, 2, 0x40, 100, 7, 3][..], b"abc"].concat();
    let body = [&[1][..], &TRANSPORT_14, &parameters].concat();
    let draft_14 = [&[0x20, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    // That of moq-transport-07 to -10, whose type has two bytes.
    let draft_07 = [0x40, 0x40, 12, 1, 0xc0, 0, 0, 0, 0xff, 0, 0, 7, 1, 0, 1, 3];
    // A request where the handshake should be.
    let please = [1, 1, 0];
    for first in [&draft_14[..], &draft_07, &please] {
        for step in 1..=first.len() {
            let mut server = server();
            for piece in first.chunks(step) {
                give(&mut server, 0, piece);
            }
            let reason = assert_closed(&mut server, session_error::VERSION, true);
            assert!(reason.contains("moq-transport"), "{reason}");
        }
    }
}

#[test]
fn a_server_that_chooses_what_was_not_offered_is_left() {
    for (version, code) in [
        (Version::Lite01, 0xff0d_ad02),
        (Version::Lite02, 0xfeed_babe),
        (Version::Lite02, 0xff00_000e),
        (Version::Gomoqt, 0xff0d_ad01),
    ] {
        let mut client = Session::new(config(Side::Client, version));
        let mut answer = BytesMut::new();
        let server = SessionServer { version: code };
        server.encode(HandshakeForm::of(version), &mut answer).unwrap();
        give(&mut client, 0, &answer);
        assert_closed(&mut client, session_error::VERSION, true);
    }
    // The older of the two that were offered will do.
    let mut client = Session::new(config(Side::Client, Version::Lite02));
    give(&mut client, 0, &[&[0x21, 0, 9][..], &DRAFT_01, &[0]].concat());
    assert_eq!((client.version(), client.is_negotiating()), (Version::Lite01, false));
}

#[test]
fn a_handshake_that_is_wrong_closes_the_session() {
    for bytes in [
        // Too many versions, a body too short, a byte too many, a length above all limits.
        &[0, 2, 0x40, 65][..],
        &[0x20, 0, 1, 1],
        &[0, 3, 0, 0, 0],
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let mut server = server();
        give(&mut server, 0, bytes);
        assert_closed(&mut server, session_error::PROTOCOL_VIOLATION, true);
    }
    for bytes in [&[0x20, 0, 1, 1][..], &[0x21, 0, 1, 0xff]] {
        let mut client = Session::new(config(Side::Client, Version::Lite02));
        give(&mut client, 0, bytes);
        assert_closed(&mut client, session_error::PROTOCOL_VIOLATION, true);
    }
}

#[test]
fn a_handshake_that_ends_early_closes_the_session() {
    let whole = client_bytes(HandshakeForm::Compat, &[0xff0d_ad01], None);
    for cut in 1..whole.len() {
        for ending in 0..3 {
            let mut server = server();
            give(&mut server, 0, &whole[..cut]);
            match ending {
                0 => server.handle_stream(SESSION_STREAM, Bytes::new(), true, 0),
                1 => server.handle_reset(SESSION_STREAM, stream_error::CANCEL),
                _ => server.handle_stop_sending(SESSION_STREAM),
            }
            assert_closed(&mut server, session_error::VERSION, true);
        }
    }
    // As a server does that knows none of the versions.
    let mut client = Session::new(config(Side::Client, Version::Lite01));
    client.handle_reset(SESSION_STREAM, ErrorCode(5));
    assert_closed(&mut client, session_error::VERSION, true);
}

#[test]
fn there_is_one_session_stream_and_a_client_opens_it() {
    let hello = client_bytes(HandshakeForm::Compat, &[0xff0d_ad01], None);
    let mut server = server();
    give(&mut server, 0, &hello);
    drained(&mut server);
    give(&mut server, 4, &hello);
    assert!(!server.is_closed());
    let refusal = drained(&mut server);
    assert!(matches!(
        refusal[..],
        [
            Transmit::Reset {
                stream: StreamId(4),
                ..
            },
            Transmit::StopSending { .. }
        ]
    ));
    let mut client = Session::new(config(Side::Client, Version::Lite01));
    give(&mut client, 1, &hello);
    assert_closed(&mut client, session_error::PROTOCOL_VIOLATION, true);
}

#[test]
fn the_end_of_the_session_stream_is_that_of_the_session() {
    for version in Version::IN_BAND {
        for end in [CLIENT, SERVER] {
            for ending in 0..3 {
                let mut network = Network::new(version, Delivery::Whole);
                network.settle();
                let session = &mut network.ends[end];
                match ending {
                    0 => session.handle_stream(SESSION_STREAM, Bytes::new(), true, 0),
                    1 => session.handle_reset(SESSION_STREAM, stream_error::CANCEL),
                    _ => session.handle_stop_sending(SESSION_STREAM),
                }
                assert_closed(session, session_error::NO_ERROR, false);
            }
        }
    }
}

#[test]
fn a_bitrate_is_said_when_it_has_changed_much() {
    everywhere(&Version::IN_BAND, |network| {
        for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            for (bitrate, is_said) in [
                (None, false),
                (Some(1_000_000), true),
                (Some(1_200_000), false),
                (Some(800_000), false),
                (Some(1_300_000), true),
                (None, true),
            ] {
                network.ends[from].update_bitrate(bitrate);
                let said = network.settled_events(to);
                assert_eq!(said.len(), usize::from(is_said), "{said:?}");
                for event in said {
                    let Event::Session(SessionEvent::SessionUpdate { bitrate: got }) = event else {
                        panic!("{event:?}")
                    };
                    assert_eq!(got, bitrate);
                }
            }
        }
        network.assert_idle();
    });
    let mut network = Network::new(Version::Lite03, Delivery::Whole);
    network.ends[SERVER].update_bitrate(Some(1_000_000));
    assert!(network.settled_events(CLIENT).is_empty());
}

/// The client has asked for everything; the request's stream.
fn requested(network: &mut Network) -> StreamId {
    let stream = network.ends[CLIENT].request_announce(&path("")).unwrap();
    assert!(matches!(
        network.settled_event(SERVER),
        Event::Announcement(AnnouncementEvent::AnnounceRequest { request, .. }) if request == stream
    ));
    stream
}

fn announced(event: Event) -> String {
    let Event::Announcement(AnnouncementEvent::Announced {
        path, advertisement, ..
    }) = event
    else {
        panic!("{event:?}")
    };
    assert!(advertisement.hops.is_empty());
    path.as_str().to_owned()
}

#[test]
fn the_initial_set_is_one_message() {
    let advertisement = Advertisement {
        hops: vec![HopId(1)],
        ..Advertisement::default()
    };
    for version in Version::IN_BAND {
        let mut network = Network::new(version, Delivery::Whole);
        network.settle();
        network.take_events(SERVER);
        network.take_events(CLIENT);
        let request = requested(&mut network);
        let server = &mut network.ends[SERVER];
        server.announce_ok(request, 3);
        server.announce(request, &path("a"), &advertisement);
        server.announce(request, &path("b"), &advertisement);
        assert_eq!(server.poll_transmit(), None, "the set is not whole");
        server.announce(request, &path("c"), &advertisement);
        server.unannounce(request, &path("a"));
        server.announce(request, &path("d"), &advertisement);
        let Some(Transmit::Write { data, .. }) = server.poll_transmit() else {
            panic!()
        };
        let expected = b"\x07\x03\x01a\x01b\x01c\x03\x00\x01a\x03\x01\x01d";
        assert_eq!(data[..], expected[..]);
        network.ends[CLIENT].handle_stream(request, data, false, 0);
        let mut events = network.settled_events(CLIENT);
        assert!(
            matches!(&events.remove(3), Event::Announcement(AnnouncementEvent::Unannounced { path: got, .. }) if *got == path("a"))
        );
        let paths: Vec<String> = events.into_iter().map(announced).collect();
        assert_eq!(paths, ["a", "b", "c", "d"]);
    }
}

#[test]
fn an_empty_initial_set_is_said_too() {
    everywhere(&Version::IN_BAND, |network| {
        let request = requested(network);
        network.ends[SERVER].announce_ok(request, 0);
        let sent = network.ends[SERVER].poll_transmit();
        let empty = Transmit::Write {
            stream: request,
            data: Bytes::from_static(&[1, 0]),
            fin: false,
        };
        assert_eq!(sent, Some(empty));
        assert!(network.settled_events(CLIENT).is_empty());
    });
}

#[test]
fn what_is_too_much_for_one_message_follows_it() {
    let names: Vec<String> = (0..100).map(|index| format!("{index:01000}")).collect();
    everywhere(&[Version::Lite01, Version::Gomoqt], |network| {
        let request = requested(network);
        let server = &mut network.ends[SERVER];
        server.announce_ok(request, 100);
        for name in &names {
            server.announce(request, &path(name), &Advertisement::default());
        }
        let paths: Vec<String> = network.settled_events(CLIENT).into_iter().map(announced).collect();
        assert_eq!(paths, names);
        assert_eq!(network.ends[SERVER].stats().counters.messages_unsendable, 0);
    });
}

#[test]
fn an_end_in_the_midst_of_the_initial_set_is_no_part_of_it() {
    everywhere(&Version::IN_BAND, |network| {
        let request = requested(network);
        let server = &mut network.ends[SERVER];
        server.announce_ok(request, 3);
        server.announce(request, &path("a"), &Advertisement::default());
        server.unannounce(request, &path("a"));
        server.announce(request, &path("b"), &Advertisement::default());
        let mut events = network.settled_events(CLIENT);
        assert_eq!(events.len(), 3);
        assert_eq!(announced(events.remove(0)), "a");
        assert!(matches!(
            events.remove(0),
            Event::Announcement(AnnouncementEvent::Unannounced { .. })
        ));
        assert_eq!(announced(events.remove(0)), "b");
    });
}

#[test]
fn an_initial_set_that_is_wrong_costs_its_stream_alone() {
    let init = |suffixes: &[&str]| {
        let suffixes = suffixes.iter().copied().map(path).collect();
        let mut out = BytesMut::new();
        AnnounceInit { suffixes }.encode(Version::Lite01, &mut out).unwrap();
        out
    };
    for (bytes, known) in [(init(&["a", "a"]), 1), (init(&["a", "b", "c"]), 3)] {
        let mut client = config(Side::Client, Version::Lite01);
        client.limits.announced_max = 2;
        let mut network = Network::with(client, config(Side::Server, Version::Lite02), Delivery::Whole);
        network.settle();
        network.take_events(CLIENT);
        network.take_events(SERVER);
        let request = requested(&mut network);
        network.write(SERVER, request, &bytes, false);
        let events = network.settled_events(CLIENT);
        // Those that came, their ends, and that of the stream.
        assert_eq!(events.len(), 2 * known + 1, "{events:?}");
        assert!(matches!(
            events.last(),
            Some(Event::Announcement(AnnouncementEvent::AnnounceStreamEnded { .. }))
        ));
        network.assert_open();
    }
}

const OK: SubscribeOk = SubscribeOk {
    priority: 3,
    ordered: true,
    max_latency_ms: 9,
    start: Some(GroupSequence(3)),
    end: None,
    timescale: None,
};

#[test]
fn a_subscription_says_priorities_alone() {
    everywhere(&Version::IN_BAND, |network| {
        for (subscriber, publisher) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            let mut parameters = subscribe_parameters();
            parameters.range = GroupRange {
                start: Some(GroupSequence(4)),
                end: Some(GroupSequence(9)),
                ..GroupRange::default()
            };
            let (id, stream) = network.ends[subscriber].subscribe(parameters).unwrap();
            let Event::Request(RequestEvent::Subscribe { request, message }) = network.settled_event(publisher) else {
                panic!()
            };
            assert_eq!((request, message.id, message.priority), (stream, id, 7));
            assert_eq!(
                message.preferences(),
                SubscribeUpdate {
                    priority: 7,
                    ..SubscribeUpdate::UNSTATED
                }
            );
            let server = &mut network.ends[publisher];
            // What the version cannot say is not said, and the OK only once.
            server.subscribe_drop(request, GroupSequence(0), GroupSequence(1), stream_error::OLD);
            server.subscribe_ok(request, &OK);
            server.subscribe_ok(request, &OK);
            server.subscribe_start(request, GroupSequence(3));
            server.subscribe_drop(request, GroupSequence(0), GroupSequence(1), stream_error::OLD);
            server.subscribe_end(request, GroupSequence(3));
            let Event::Answer(AnswerEvent::SubscriptionOk { id: got, ok }) = network.settled_event(subscriber) else {
                panic!()
            };
            // Where the publisher's priority is not said, ours stands for it.
            let priority = if network.version == Version::Lite01 { 3 } else { 7 };
            assert_eq!((got, ok.priority, ok.start), (id, priority, None));
            assert_eq!(network.ends[publisher].stats().counters.messages_unsendable, 0);

            let update = SubscribeUpdate {
                priority: 200,
                ..SubscribeUpdate::UNSTATED
            };
            network.ends[subscriber].update_subscription(id, &update);
            let updates = network.settled_events(publisher);
            // The released peers of 01 and 02 would end the subscription over it.
            assert_eq!(updates.len(), usize::from(network.version == Version::Gomoqt));
            // But it is understood from those who say it.
            network.write(subscriber, stream, &[1, 9], false);
            assert!(matches!(
                network.settled_event(publisher),
                Event::Request(RequestEvent::SubscribeUpdate { message, .. }) if message.priority == 9
            ));
            network.ends[publisher].finish(request);
            assert!(matches!(
                network.settled_event(subscriber),
                Event::Answer(AnswerEvent::SubscriptionClosed { code: None, .. })
            ));
            network.ends[subscriber].unsubscribe(id);
            network.settle();
            network.take_events(publisher);
        }
        network.assert_idle();
    });
}

#[test]
fn there_is_nothing_to_fetch_or_probe_before_03() {
    everywhere(&Version::IN_BAND, |network| {
        assert_eq!(network.ends[CLIENT].fetch(&fetch_message()), None);
        assert_eq!(network.ends[CLIENT].probe(Some(1)), None);
        assert_eq!(network.ends[CLIENT].track(&track_message()), None);
        network.ends[CLIENT].goaway("");
        // Their streams are of an unknown type, which costs them alone.
        for (index, kind) in [3, 4, 5, 6].into_iter().enumerate() {
            let stream = StreamId(4 + 4 * index as u64);
            network.ends[SERVER].handle_stream(stream, Bytes::copy_from_slice(&[kind]), false, 0);
        }
        assert_eq!(network.ends[SERVER].stats().counters.streams_unknown, 4);
        assert_eq!(network.ends[CLIENT].stats().counters.messages_unsendable, 0);
        network.assert_open();
    });
}
