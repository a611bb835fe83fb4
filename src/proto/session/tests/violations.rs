//! What a peer may not do, what it may do all the same, and that nothing follows a close.

use bytes::Bytes;

use crate::session::{Event, RequestEvent, SessionEvent, SessionLive, Transmit};
use crate::wire::{StreamId, Version, session_error, stream_error};

use super::network::{CLIENT, Delivery, Network, SERVER, everywhere, fetch_message, path, subscribe_parameters};

/// A network of sessions that have met, with their events taken.
fn met(version: Version) -> Network {
    let mut network = Network::new(version, Delivery::Whole);
    network.settle();
    network.take_events(CLIENT);
    network.take_events(SERVER);
    network
}

/// The server meets `bytes` on the client's stream, whole and in single bytes.
fn after(version: Version, stream: u64, bytes: &[u8], fin: bool) -> [Network; 2] {
    [bytes.len().max(1), 1].map(|step| {
        let mut network = met(version);
        for piece in bytes.chunks(step) {
            network.ends[SERVER].handle_stream(StreamId(stream), Bytes::copy_from_slice(piece), false, 0);
        }
        if fin {
            network.ends[SERVER].handle_stream(StreamId(stream), Bytes::new(), true, 0);
        }
        network
    })
}

fn assert_closed(mut network: Network) {
    let server = &mut network.ends[SERVER];
    assert!(server.is_closed(), "{:?} {:?}", server.version(), server.stats());
    assert_eq!(server.stats().live, SessionLive::default());
    let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
    assert!(matches!(
        events.last(),
        Some(Event::Session(SessionEvent::Violation {
            code: session_error::PROTOCOL_VIOLATION,
            ..
        }))
    ));
    let transmits: Vec<Transmit> = std::iter::from_fn(|| server.poll_transmit()).collect();
    assert!(matches!(
        transmits.last(),
        Some(Transmit::Close {
            code: session_error::PROTOCOL_VIOLATION,
            ..
        })
    ));
    // Nothing goes in or out any more.
    server.handle_stream(StreamId(400), Bytes::from_static(&[4]), false, 0);
    server.handle_reset(StreamId(404), stream_error::CANCEL);
    server.handle_stop_sending(StreamId(408));
    server.handle_datagram(Bytes::from_static(&[0, 0, 0]));
    server.goaway("");
    server.close(session_error::NO_ERROR, "again");
    assert_eq!(server.subscribe(subscribe_parameters()), None);
    assert_eq!(server.request_announce(&path("")), None);
    assert!(server.poll_event().is_none() && server.poll_transmit().is_none());
}

#[test]
fn messages_of_a_wrong_length_close_the_session() {
    for version in Version::ALL {
        for bytes in [
            // SUBSCRIBE, FETCH, ANNOUNCE_REQUEST with no body, and with a byte too much.
            &[2, 0][..],
            &[3, 0],
            &[1, 0],
            &[1, 4, 0, 0, 0, 0],
        ] {
            after(version, 0, bytes, false).into_iter().for_each(assert_closed);
        }
        // GROUP on a one-way stream.
        after(version, 6, &[0, 1, 0], false).into_iter().for_each(assert_closed);
    }
}

#[test]
fn a_message_where_none_is_allowed_closes_the_session() {
    for version in Version::ALL {
        let body: &[u8] = if version.has_exclude_hop() {
            &[1, 2, 0, 0, 0]
        } else {
            &[1, 1, 0, 0]
        };
        after(version, 0, body, false).into_iter().for_each(assert_closed);
        if version.has_goaway() {
            after(version, 0, &[5, 1, 0, 1, 0], false)
                .into_iter()
                .for_each(assert_closed);
        }
    }
}

#[test]
fn a_second_goaway_closes_the_session() {
    for version in [Version::Lite04, Version::Lite05, Version::Lite06] {
        for mut network in after(version, 0, &[5, 1, 0], true) {
            assert!(!network.ends[SERVER].is_closed());
            network.ends[SERVER].handle_stream(StreamId(4), Bytes::from_static(&[5, 1, 0]), true, 0);
            assert_closed(network);
        }
    }
}

#[test]
fn a_subscribe_id_is_never_used_again() {
    everywhere(&Version::EVERY, |network| {
        let (_, stream) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        let Some(Transmit::Write { data, .. }) = network.ends[CLIENT].poll_transmit() else {
            panic!()
        };
        network.ends[SERVER].handle_stream(stream, data.clone(), false, 0);
        network.ends[SERVER].handle_reset(stream, stream_error::CANCEL);
        assert!(!network.ends[SERVER].is_closed());
        network.ends[SERVER].handle_stream(StreamId(40), data, false, 0);
        assert!(network.ends[SERVER].is_closed());
    });
}

#[test]
fn a_first_response_that_is_no_ok_closes_the_session_before_05() {
    everywhere(&[Version::Lite03, Version::Lite04], |network| {
        let (_, stream) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        network.settle();
        network.write(SERVER, stream, &[1, 3, 1, 1, 0], false);
        assert!(matches!(
            network.settled_events(CLIENT)[..],
            [Event::Session(SessionEvent::Violation { .. })]
        ));
    });
}

#[test]
fn unknown_stream_types_are_refused_and_not_fatal() {
    for version in Version::ALL {
        for code in [0, 7, 63] {
            for mut network in after(version, 0, &[code], false) {
                let server = &mut network.ends[SERVER];
                assert!(matches!(
                    server.poll_transmit(),
                    Some(Transmit::Reset {
                        stream: StreamId(0),
                        ..
                    })
                ));
                assert!(matches!(
                    server.poll_transmit(),
                    Some(Transmit::StopSending {
                        stream: StreamId(0),
                        ..
                    })
                ));
                // Its late bytes are ignored, whatever they are.
                server.handle_stream(StreamId(0), Bytes::from_static(&[2, 0]), true, 0);
                assert!(server.poll_transmit().is_none() && server.poll_event().is_none());
                assert_eq!(server.stats().live, SessionLive::default());
                assert_eq!(server.stats().counters.streams_unknown, 1);
                assert!(!server.is_closed());
            }
        }
        for mut network in after(version, 6, &[0x40, 0x99], false) {
            let server = &mut network.ends[SERVER];
            assert!(matches!(
                server.poll_transmit(),
                Some(Transmit::StopSending {
                    stream: StreamId(6),
                    ..
                })
            ));
            assert!(!server.is_closed());
        }
    }
}

#[test]
fn streams_that_end_before_they_say_anything_are_not_fatal() {
    for version in Version::ALL {
        for (stream, bytes) in [
            (0, &[][..]),
            (0, &[0x40]),
            (0, &[2, 9]),
            (6, &[]),
            (6, &[0, 3]),
            (6, &[0x40]),
        ] {
            for mut network in after(version, stream, bytes, true) {
                let server = &mut network.ends[SERVER];
                assert!(!server.is_closed());
                assert_eq!(server.stats().live, SessionLive::default());
                let answers = std::iter::from_fn(|| server.poll_transmit()).count();
                assert_eq!(answers, usize::from(stream == 0), "our side is closed too");
            }
        }
    }
}

#[test]
fn a_message_above_our_limits_costs_its_request_alone() {
    for version in Version::ALL {
        // Lengths of 2^62 - 1.
        for mut network in after(version, 0, &[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false) {
            let server = &mut network.ends[SERVER];
            assert!(!server.is_closed());
            assert!(matches!(server.poll_transmit(), Some(Transmit::Reset { .. })));
            assert_eq!(server.stats().counters.requests_refused, 1);
            assert_eq!(server.stats().live, SessionLive::default());
        }
    }
}

#[test]
fn a_later_message_above_our_limits_ends_its_request_for_the_caller_too() {
    for version in Version::ALL {
        let mut network = Network::new(version, Delivery::Whole);
        network.settle();
        let (_, stream) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        network.settle();
        network.take_events(SERVER);
        let server = &mut network.ends[SERVER];
        server.handle_stream(stream, Bytes::from_static(&[0x80, 1, 0, 1]), false, 0);
        assert!(!server.is_closed());
        assert_eq!(server.stats().live.requests, 0);
        network.settle();
        let events = network.take_events(SERVER);
        assert!(
            matches!(events[..], [Event::Request(RequestEvent::SubscribeEnded { request })] if request == stream),
            "{events:?}"
        );
    }
}

#[test]
fn closing_drops_everything_and_says_so_once() {
    everywhere(&Version::ALL, |network| {
        let (id, _) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        network.ends[CLIENT].fetch(&fetch_message()).unwrap();
        network.ends[CLIENT].request_announce(&path("")).unwrap();
        network.write_group(SERVER, id, 0, b"", false);
        network.settle();
        network.ends[CLIENT].close(session_error::NO_ERROR, "bye");
        network.ends[CLIENT].close(session_error::INTERNAL, "again");
        network.settle();
        assert_eq!(
            network.closes[CLIENT],
            Some((session_error::NO_ERROR, "bye".to_owned()))
        );
        assert_eq!(network.ends[CLIENT].stats().live, SessionLive::default());
    });
}
