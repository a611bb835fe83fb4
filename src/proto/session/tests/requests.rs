//! Each kind of request from one end to the other and back.

use bytes::Bytes;

use crate::session::{AnswerEvent, Event, RequestEvent, SessionEvent};
use crate::wire::{
    GroupRange, GroupSequence, Probe, ProbeLevel, StreamId, SubscribeOk, SubscribeUpdate, TrackInfo, Version,
    stream_error,
};

use super::network::{CLIENT, Network, SERVER, everywhere, fetch_message, frames, subscribe_parameters, track_message};

const BOTH_WAYS: [(usize, usize); 2] = [(CLIENT, SERVER), (SERVER, CLIENT)];

#[test]
fn a_subscription_runs_from_request_to_finish() {
    everywhere(&Version::ALL, |network| {
        for (subscriber, publisher) in BOTH_WAYS {
            subscription(network, subscriber, publisher);
        }
        network.assert_idle();
    });
}

fn subscription(network: &mut Network, subscriber: usize, publisher: usize) {
    let has_ranges = network.version.has_track_stream();
    let (id, stream) = network.ends[subscriber].subscribe(subscribe_parameters()).unwrap();
    let Event::Request(RequestEvent::Subscribe { request, message }) = network.settled_event(publisher) else {
        panic!()
    };
    assert_eq!((request, message.id), (stream, id));
    assert_eq!((message.broadcast.as_str(), &*message.track), ("room/ali", "audio"));
    assert_eq!((message.priority, message.max_latency_ms), (7, 500));

    let ok = SubscribeOk {
        priority: 1,
        ordered: true,
        max_latency_ms: 9,
        start: Some(GroupSequence(3)),
        end: None,
        timescale: None,
    };
    network.ends[publisher].subscribe_ok(request, &ok);
    network.ends[publisher].subscribe_start(request, GroupSequence(3));
    let answer = network.settled_event(subscriber);
    let is_expected = if has_ranges {
        matches!(answer, Event::Answer(AnswerEvent::SubscriptionStart { id: got, group: GroupSequence(3) }) if got == id)
    } else {
        matches!(answer, Event::Answer(AnswerEvent::SubscriptionOk { id: got, ok: message }) if got == id && message == ok)
    };
    assert!(is_expected);

    let update = SubscribeUpdate {
        priority: 9,
        ordered: false,
        max_latency_ms: 10,
        range: GroupRange::default(),
    };
    network.ends[subscriber].update_subscription(id, &update);
    assert!(matches!(
        network.settled_event(publisher),
        Event::Request(RequestEvent::SubscribeUpdate { request: got, message }) if got == request && message == update
    ));

    network.ends[publisher].subscribe_drop(request, GroupSequence(5), GroupSequence(6), stream_error::OLD);
    assert!(matches!(
        network.settled_event(subscriber),
        Event::Answer(AnswerEvent::SubscriptionDrop {
            start: GroupSequence(5),
            end: GroupSequence(6),
            code: stream_error::OLD,
            ..
        })
    ));

    network.ends[publisher].subscribe_end(request, GroupSequence(7));
    network.ends[publisher].finish(request);
    let mut events = network.settled_events(subscriber);
    assert!(matches!(
        events.pop(),
        Some(Event::Answer(AnswerEvent::SubscriptionClosed { code: None, .. }))
    ));
    if has_ranges {
        assert!(matches!(
            events.pop(),
            Some(Event::Answer(AnswerEvent::SubscriptionEnd {
                end: GroupSequence(7),
                ..
            }))
        ));
    }
    assert!(events.is_empty());
    assert!(network.settled_events(publisher).is_empty());

    // The last group comes after the FIN, out of order, and is still wanted.
    network.write_group(publisher, id, 6, &[], true);
    assert_eq!(network.settled_events(subscriber).len(), 2);
    network.ends[subscriber].unsubscribe(id);
}

#[test]
fn a_drop_before_the_ok_is_not_sent_where_it_would_fail_the_subscription() {
    everywhere(&[Version::Lite03, Version::Lite04], |network| {
        network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        let Event::Request(RequestEvent::Subscribe { request, .. }) = network.settled_event(SERVER) else {
            panic!()
        };
        network.ends[SERVER].subscribe_drop(request, GroupSequence(1), GroupSequence(1), stream_error::OLD);
        assert!(network.settled_events(CLIENT).is_empty());
        network.ends[SERVER].refuse(request, stream_error::NOT_FOUND);
        assert!(matches!(
            network.settled_event(CLIENT),
            Event::Answer(AnswerEvent::SubscriptionClosed {
                code: Some(stream_error::NOT_FOUND),
                ..
            })
        ));
        network.assert_idle();
    });
}

#[test]
fn unsubscribing_ends_the_request_and_its_groups() {
    everywhere(&Version::EVERY, |network| {
        let (id, _) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        let Event::Request(RequestEvent::Subscribe { request, .. }) = network.settled_event(SERVER) else {
            panic!()
        };
        let group = network.write_group(SERVER, id, 0, b"", false);
        assert_eq!(network.settled_events(CLIENT).len(), 1);
        network.ends[CLIENT].unsubscribe(id);
        assert!(matches!(
            network.settled_event(SERVER),
            Event::Request(RequestEvent::SubscribeEnded { request: got }) if got == request
        ));
        assert!(network.settled_events(CLIENT).is_empty());
        network.reset(SERVER, group, stream_error::CANCEL);
        // A group that was on its way meets nobody.
        let late = network.write_group(SERVER, id, 1, b"", false);
        assert!(network.settled_events(CLIENT).is_empty());
        assert_eq!(network.ends[CLIENT].stats().counters.groups_refused, 1);
        network.reset(SERVER, late, stream_error::CANCEL);
        network.assert_idle();
    });
}

#[test]
fn a_subscriber_that_finishes_is_answered_with_a_finish() {
    everywhere(&Version::EVERY, |network| {
        let (_, stream) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        network.settle();
        network.take_events(SERVER);
        network.ends[SERVER].handle_stream(stream, Bytes::new(), true, 0);
        assert!(matches!(
            network.settled_event(SERVER),
            Event::Request(RequestEvent::SubscribeEnded { .. })
        ));
        assert!(matches!(
            network.settled_event(CLIENT),
            Event::Answer(AnswerEvent::SubscriptionClosed { code: None, .. })
        ));
        let session_stream = usize::from(network.version.is_in_band());
        assert_eq!(network.ends[SERVER].stats().live.requests, session_stream);
    });
}

#[test]
fn a_fetch_is_answered_with_bare_frames() {
    everywhere(&Version::ALL, |network| {
        for (subscriber, publisher) in BOTH_WAYS {
            let message = fetch_message();
            let stream = network.ends[subscriber].fetch(&message).unwrap();
            let event = network.settled_event(publisher);
            let Event::Request(RequestEvent::Fetch { request, message: got }) = event else {
                panic!("{event:?}")
            };
            assert_eq!((request, got), (stream, message));
            let data = frames(network.version, &[b"one", b"", b"three"]);
            network.write(publisher, stream, &data, false);
            network.ends[publisher].finish(stream);
            let mut received = Vec::new();
            let mut frame_count = 0;
            let mut events = network.settled_events(subscriber);
            assert!(matches!(
                events.pop(),
                Some(Event::Answer(AnswerEvent::FetchClosed { code: None, .. }))
            ));
            for event in events {
                let Event::Answer(AnswerEvent::FetchChunk { chunk, .. }) = event else {
                    panic!("{event:?}")
                };
                received.extend_from_slice(&chunk.bytes);
                frame_count += chunk.marks.len();
            }
            assert_eq!((&received[..], frame_count), (&data[..], 3));
        }
        network.assert_idle();
    });
}

#[test]
fn a_fetch_that_ends_inside_a_frame_is_not_taken_for_whole() {
    everywhere(&Version::ALL, |network| {
        let stream = network.ends[CLIENT].fetch(&fetch_message()).unwrap();
        network.settle();
        let data = frames(network.version, &[b"cut short"]);
        network.write(SERVER, stream, &data[..data.len() - 1], false);
        network.ends[SERVER].finish(stream);
        assert!(matches!(
            network.settled_events(CLIENT).last(),
            Some(Event::Answer(AnswerEvent::FetchClosed {
                code: Some(stream_error::WRONG_SIZE),
                ..
            }))
        ));
        network.assert_idle();
    });
}

#[test]
fn a_requester_that_finishes_gives_up_a_fetch() {
    everywhere(&[Version::Lite05, Version::Lite06], |network| {
        let fetch = network.ends[CLIENT].fetch(&fetch_message()).unwrap();
        let track = network.ends[CLIENT].track(&track_message()).unwrap();
        network.settle();
        assert_eq!(network.take_events(SERVER).len(), 2);
        network.write(CLIENT, fetch, &[], true);
        network.write(CLIENT, track, &[], true);
        let events = network.settled_events(SERVER);
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Request(RequestEvent::FetchEnded { .. })))
        );
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Request(RequestEvent::TrackEnded { .. })))
        );
        let events = network.settled_events(CLIENT);
        assert!(events.iter().any(|event| {
            matches!(
                event,
                Event::Answer(AnswerEvent::FetchClosed {
                    code: Some(stream_error::CANCEL),
                    ..
                })
            )
        }));
        assert!(events.iter().any(|event| {
            matches!(
                event,
                Event::Answer(AnswerEvent::TrackClosed {
                    code: stream_error::CANCEL,
                    ..
                })
            )
        }));
    });
}

#[test]
fn a_track_is_described_or_refused() {
    everywhere(&[Version::Lite05, Version::Lite06], |network| {
        let info = TrackInfo {
            epoch: 0,
            priority: 3,
            ordered: false,
            max_latency_ms: 1000,
            timescale: 90_000,
        };
        for (subscriber, publisher) in BOTH_WAYS {
            let stream = network.ends[subscriber].track(&track_message()).unwrap();
            assert!(matches!(
                network.settled_event(publisher),
                Event::Request(RequestEvent::Track { request, message }) if request == stream && message == track_message()
            ));
            network.ends[publisher].track_info(stream, &info);
            assert!(matches!(
                network.settled_event(subscriber),
                Event::Answer(AnswerEvent::TrackInfo { stream: got, info: described }) if got == stream && described == info
            ));

            let stream = network.ends[subscriber].track(&track_message()).unwrap();
            network.settle();
            network.take_events(publisher);
            network.ends[publisher].refuse(stream, stream_error::UNROUTABLE);
            assert!(matches!(
                network.settled_event(subscriber),
                Event::Answer(AnswerEvent::TrackClosed {
                    code: stream_error::UNROUTABLE,
                    ..
                })
            ));
        }
        network.assert_idle();
    });
}

#[test]
fn there_is_no_track_stream_before_05() {
    everywhere(&[Version::Lite03, Version::Lite04], |network| {
        assert_eq!(network.ends[CLIENT].track(&track_message()), None);
        network.assert_idle();
    });
}

#[test]
fn a_probe_without_a_target_asks_for_reports() {
    everywhere(&Version::ALL, |network| {
        for (subscriber, publisher) in BOTH_WAYS {
            let stream = network.ends[subscriber].probe(None).unwrap();
            assert!(matches!(
                network.settled_event(publisher),
                Event::Request(RequestEvent::Probe { request, message }) if request == stream && message == Probe::default()
            ));
            let report = Probe {
                bitrate: Some(1_000_000),
                rtt_ms: network.version.has_probe_rtt().then_some(12),
            };
            network.ends[publisher].probe_report(stream, &report);
            network.ends[publisher].probe_report(stream, &report);
            let events = network.settled_events(subscriber);
            assert_eq!(events.len(), 2);
            for event in events {
                assert!(matches!(event, Event::Answer(AnswerEvent::ProbeReport { report: got, .. }) if got == report));
            }
            network.ends[subscriber].cancel(stream, stream_error::CANCEL);
            assert!(matches!(
                network.settled_event(publisher),
                Event::Request(RequestEvent::ProbeEnded { .. })
            ));
        }
        network.assert_idle();
    });
}

#[test]
fn a_probe_target_follows_the_request() {
    everywhere(&Version::ALL, |network| {
        let stream = network.ends[CLIENT].probe(Some(5)).unwrap();
        let targets: Vec<Option<u64>> = network
            .settled_events(SERVER)
            .into_iter()
            .map(|event| {
                let Event::Request(RequestEvent::Probe { message, .. }) = event else {
                    panic!("{event:?}")
                };
                message.bitrate
            })
            .collect();
        assert_eq!(targets, [None, Some(5)]);
        network.ends[SERVER].finish(stream);
        assert!(matches!(
            network.settled_event(CLIENT),
            Event::Answer(AnswerEvent::ProbeClosed { code: None, .. })
        ));
        network.assert_idle();
    });
}

#[test]
fn a_probe_is_not_opened_to_a_peer_that_does_not_serve_it() {
    for version in [Version::Lite05, Version::Lite06] {
        let mut server = super::network::config(crate::session::Side::Server, version);
        server.setup.probe = ProbeLevel::None;
        let client = super::network::config(crate::session::Side::Client, version);
        let mut network = Network::with(client, server, super::network::Delivery::Whole);
        network.settle();
        assert_eq!(network.ends[CLIENT].probe(None), None);
        // One that is opened all the same is reset (draft "Probe").
        network.take_events(SERVER);
        network.write(CLIENT, StreamId(0), &[4], false);
        network.settle();
        assert!(network.take_events(SERVER).is_empty());
        assert_eq!(network.ends[SERVER].stats().live.requests, 0);
        network.assert_open();
    }
}

#[test]
fn goaway_is_sent_once_and_stops_new_requests() {
    everywhere(&[Version::Lite04, Version::Lite05, Version::Lite06], |network| {
        let (id, _) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        network.settle();
        network.take_events(SERVER);
        network.ends[SERVER].goaway("https://elsewhere.example/");
        network.ends[SERVER].goaway("https://nowhere.example/");
        assert!(matches!(
            network.settled_event(CLIENT),
            Event::Session(SessionEvent::Goaway { uri }) if uri == "https://elsewhere.example/"
        ));
        assert_eq!(network.ends[CLIENT].subscribe(subscribe_parameters()), None);
        assert_eq!(network.ends[CLIENT].request_announce(&super::network::path("")), None);
        assert_eq!(network.ends[CLIENT].fetch(&fetch_message()), None);
        // What runs goes on.
        network.write_group(SERVER, id, 0, b"", true);
        assert_eq!(network.settled_events(CLIENT).len(), 2);
        network.assert_open();
    });
}

#[test]
fn there_is_no_goaway_on_03() {
    everywhere(&[Version::Lite03], |network| {
        network.ends[SERVER].goaway("https://elsewhere.example/");
        assert!(network.settled_events(CLIENT).is_empty());
        network.assert_idle();
    });
}

#[test]
fn a_message_the_version_cannot_say_opens_no_stream() {
    everywhere(&[Version::Lite05], |network| {
        let fetch = crate::wire::Fetch {
            frame_start: 3,
            ..fetch_message()
        };
        assert_eq!(network.ends[CLIENT].fetch(&fetch), None);
        assert_eq!(network.ends[CLIENT].stats().counters.messages_unsendable, 1);
        let stream = network.ends[CLIENT].fetch(&fetch_message()).unwrap();
        assert_eq!(stream, StreamId(0));
    });
}
