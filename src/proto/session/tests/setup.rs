//! SETUP: first out, once in, and requests that wait for it.

use bytes::{Bytes, BytesMut};

use crate::session::{AnnouncementEvent, Event, RequestEvent, Session, SessionEvent, Side, Transmit};
use crate::wire::{ErrorCode, Role, Setup, StreamId, Version, session_error, stream_error};

use super::network::{
    CLIENT, Delivery, Network, SERVER, config, deliveries, fetch_message, path, subscribe_parameters, track_message,
};

const WITH_SETUP: [Version; 2] = [Version::Lite05, Version::Lite06];

#[test]
fn setup_is_the_first_one_way_stream_and_whole() {
    for version in Version::ALL {
        for (side, first) in [(Side::Client, 2), (Side::Server, 3)] {
            let mut session = Session::new(config(side, version));
            match session.poll_transmit() {
                Some(Transmit::Write { stream, data, fin }) => {
                    assert!(version.has_setup() && fin);
                    assert_eq!((stream, data[0]), (StreamId(first), 1));
                    assert_eq!(session.open_uni(), StreamId(first + 4));
                }
                None => {
                    assert!(!version.has_setup());
                    assert_eq!(session.open_uni(), StreamId(first));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(session.poll_transmit(), None);
        }
    }
}

#[test]
fn both_ends_learn_the_others_setup() {
    for version in WITH_SETUP {
        for delivery in deliveries() {
            let mut network = Network::new(version, delivery);
            let Event::Session(SessionEvent::Setup(setup)) = network.settled_event(SERVER) else {
                panic!()
            };
            assert_eq!(setup.path.as_deref(), Some("/room?jwt=x"));
            assert_eq!(network.ends[SERVER].peer_setup(), Some(&setup));
            assert!(matches!(
                network.settled_event(CLIENT),
                Event::Session(SessionEvent::Setup(_))
            ));
            network.assert_idle();
        }
    }
}

/// Moves what a session has to send into another, SETUP last.
fn deliver_setup_last(from: &mut Session, to: &mut Session) {
    let mut late = Vec::new();
    while let Some(transmit) = from.poll_transmit() {
        if let Transmit::Write { stream, data, fin } = transmit {
            if stream.is_uni() {
                late.push((stream, data, fin));
            } else {
                to.handle_stream(stream, data, fin, 0);
            }
        }
    }
    assert!(to.poll_event().is_none(), "requests wait");
    for (stream, data, fin) in late {
        to.handle_stream(stream, data, fin, 0);
    }
}

#[test]
fn requests_wait_for_a_late_setup_in_their_order() {
    for version in WITH_SETUP {
        let mut client = Session::new(config(Side::Client, version));
        let mut server = Session::new(config(Side::Server, version));
        client.subscribe(subscribe_parameters()).unwrap();
        client.request_announce(&path("room")).unwrap();
        client.fetch(&fetch_message()).unwrap();
        client.track(&track_message()).unwrap();
        deliver_setup_last(&mut client, &mut server);
        assert_eq!(server.stats().live.requests_held, 0);
        let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
        assert!(matches!(
            events[..],
            [
                Event::Session(SessionEvent::Setup(_)),
                Event::Request(RequestEvent::Subscribe {
                    request: StreamId(0),
                    ..
                }),
                Event::Announcement(AnnouncementEvent::AnnounceRequest {
                    request: StreamId(4),
                    ..
                }),
                Event::Request(RequestEvent::Fetch {
                    request: StreamId(8),
                    ..
                }),
                Event::Request(RequestEvent::Track {
                    request: StreamId(12),
                    ..
                }),
            ]
        ));
    }
}

#[test]
fn goaway_does_not_wait_for_setup() {
    let mut server = Session::new(config(Side::Server, Version::Lite06));
    server.handle_stream(StreamId(0), Bytes::from_static(&[5, 1, 0]), false, 0);
    assert!(matches!(
        server.poll_event(),
        Some(Event::Session(SessionEvent::Goaway { .. }))
    ));
}

#[test]
fn a_held_request_that_is_given_up_is_never_heard_of() {
    for version in WITH_SETUP {
        let mut client = Session::new(config(Side::Client, version));
        let mut server = Session::new(config(Side::Server, version));
        let setup = client.poll_transmit();
        for end in 0..3 {
            client.subscribe(subscribe_parameters()).unwrap();
            let Some(Transmit::Write { stream, data, .. }) = client.poll_transmit() else {
                panic!()
            };
            server.handle_stream(stream, data, false, 0);
            assert_eq!(server.stats().live.requests_held, 1);
            match end {
                0 => server.handle_reset(stream, stream_error::CANCEL),
                1 => server.handle_stop_sending(stream),
                // A FIN is an end too, but one that comes after the request.
                _ => server.handle_stream(stream, Bytes::new(), true, 0),
            }
        }
        let Some(Transmit::Write { stream, data, fin }) = setup else {
            panic!()
        };
        server.handle_stream(stream, data, fin, 0);
        let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
        assert!(matches!(
            events[..],
            [
                Event::Session(SessionEvent::Setup(_)),
                Event::Request(RequestEvent::Subscribe {
                    request: StreamId(8),
                    ..
                }),
                Event::Request(RequestEvent::SubscribeEnded { request: StreamId(8) })
            ]
        ));
        assert_eq!(server.stats().live, crate::session::SessionLive::default());
    }
}

#[test]
fn more_held_requests_than_allowed_are_refused() {
    let mut configuration = config(Side::Server, Version::Lite06);
    configuration.limits.requests_held_max = 2;
    let mut server = Session::new(configuration);
    while server.poll_transmit().is_some() {}
    for index in 0..3 {
        server.handle_stream(StreamId(index * 4), Bytes::from_static(&[2]), false, 0);
    }
    assert_eq!(server.stats().live.requests_held, 2);
    assert_eq!(server.stats().live.requests, 2);
    let transmits: Vec<Transmit> = std::iter::from_fn(|| server.poll_transmit()).collect();
    assert!(matches!(
        transmits[..],
        [
            Transmit::Reset {
                stream: StreamId(8),
                ..
            },
            Transmit::StopSending {
                stream: StreamId(8),
                ..
            }
        ]
    ));
}

#[test]
fn a_held_request_with_too_many_bytes_is_refused() {
    let mut configuration = config(Side::Server, Version::Lite06);
    configuration.limits.control_buffer_bytes_max = 100;
    let mut server = Session::new(configuration);
    server.handle_stream(StreamId(0), Bytes::from_static(&[2]), false, 0);
    server.handle_stream(StreamId(0), Bytes::from(vec![0; 100]), false, 0);
    assert_eq!(server.stats().live.buffered_bytes, 100);
    server.handle_stream(StreamId(0), Bytes::from(vec![0; 1]), false, 0);
    assert_eq!(server.stats().live, crate::session::SessionLive::default());
    assert!(!server.is_closed());
}

fn assert_violation(mut session: Session) {
    let last = std::iter::from_fn(|| session.poll_event()).last();
    assert!(matches!(
        last,
        Some(Event::Session(SessionEvent::Violation {
            code: session_error::PROTOCOL_VIOLATION,
            ..
        }))
    ));
    let last = std::iter::from_fn(|| session.poll_transmit()).last();
    assert!(matches!(
        last,
        Some(Transmit::Close {
            code: session_error::PROTOCOL_VIOLATION,
            ..
        })
    ));
    assert_eq!(session.stats().live, crate::session::SessionLive::default());
}

#[test]
fn a_second_setup_stream_is_a_violation() {
    for first in [&[1, 1, 0][..], &[1, 1], &[1]] {
        let mut server = Session::new(config(Side::Server, Version::Lite06));
        server.handle_stream(StreamId(2), Bytes::from_static(first), first.len() == 3, 0);
        assert!(!server.is_closed());
        server.handle_stream(StreamId(6), Bytes::from_static(&[1]), false, 0);
        assert_violation(server);
    }
}

#[test]
fn a_setup_stream_is_one_message_and_its_end() {
    for bytes in [
        &[1, 1, 0, 0][..],
        // Truncated by FIN, short body, repeated parameter, trailing byte in the body.
        &[1, 1],
        &[1, 0],
        &[1, 5, 2, 0, 0, 0, 0],
        &[1, 2, 0, 0],
    ] {
        let mut server = Session::new(config(Side::Server, Version::Lite06));
        server.handle_stream(StreamId(2), Bytes::copy_from_slice(bytes), true, 0);
        assert_violation(server);
    }
    let mut server = Session::new(config(Side::Server, Version::Lite06));
    server.handle_stream(StreamId(2), Bytes::from_static(&[1, 1]), false, 0);
    server.handle_reset(StreamId(2), ErrorCode(0));
    assert_violation(server);
}

#[test]
fn a_path_or_role_from_a_server_is_a_violation() {
    for setup in [
        Setup {
            path: Some("/x".to_owned()),
            ..Setup::default()
        },
        Setup {
            path: Some(String::new()),
            ..Setup::default()
        },
        Setup {
            role: Role::Publisher,
            ..Setup::default()
        },
    ] {
        let mut bytes = BytesMut::from(&[1][..]);
        setup.encode(Version::Lite06, &mut bytes).unwrap();
        let mut client = Session::new(config(Side::Client, Version::Lite06));
        client.handle_stream(StreamId(3), bytes.freeze(), true, 0);
        assert_violation(client);
    }
}

#[test]
fn a_server_sends_no_path_or_role() {
    let mut server = config(Side::Server, Version::Lite06);
    server.setup.path = Some("/x".to_owned());
    server.setup.role = Role::Publisher;
    let mut network = Network::with(config(Side::Client, Version::Lite06), server, Delivery::Whole);
    network.settle();
    let Event::Session(SessionEvent::Setup(setup)) = network.settled_event(CLIENT) else {
        panic!()
    };
    assert_eq!((setup.path, setup.role), (None, Role::Both));
}

#[test]
fn a_peer_turned_away_at_its_setup_gets_no_request_through() {
    for version in WITH_SETUP {
        let mut client = Session::new(config(Side::Client, version));
        let mut server = Session::new(config(Side::Server, version));
        client.subscribe(subscribe_parameters()).unwrap();
        deliver_setup_last(&mut client, &mut server);
        assert!(matches!(
            server.poll_event(),
            Some(Event::Session(SessionEvent::Setup(_)))
        ));
        server.close(session_error::UNAUTHORIZED, "not here");
        assert!(server.poll_event().is_none());
    }
}

#[test]
fn setup_is_an_unknown_stream_before_05() {
    let mut server = Session::new(config(Side::Server, Version::Lite04));
    server.handle_stream(StreamId(2), Bytes::from_static(&[1, 1, 0]), true, 0);
    assert!(!server.is_closed());
    assert!(matches!(server.poll_transmit(), Some(Transmit::StopSending { .. })));
    assert_eq!(server.stats().counters.streams_unknown, 1);
}
