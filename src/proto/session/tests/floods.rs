//! A peer that wants too much, of each thing there is.

use bytes::{Bytes, BytesMut};

use crate::session::{
    AnnouncementEvent, AnswerEvent, Event, RequestEvent, Session, SessionLimits, Side, Transmit, limits,
};
use crate::wire::{
    Advertisement, Announce, AnnounceOk, BidiType, HopId, Probe, StreamId, SubscribeId, Version, session_error,
    stream_error,
};

use super::network::{CLIENT, Delivery, Network, SERVER, config, path, subscribe_parameters};

fn met_with(version: Version, change: impl Fn(&mut SessionLimits)) -> Network {
    let mut client = config(Side::Client, version);
    let mut server = config(Side::Server, version);
    change(&mut client.limits);
    change(&mut server.limits);
    let mut network = Network::with(client, server, Delivery::Whole);
    network.settle();
    network.take_events(CLIENT);
    network.take_events(SERVER);
    network
}

fn assert_flooded(session: &mut Session) {
    assert!(session.is_closed());
    let last = std::iter::from_fn(|| session.poll_transmit()).last();
    assert!(matches!(
        last,
        Some(Transmit::Close {
            code: session_error::PROTOCOL_VIOLATION,
            ..
        })
    ));
}

#[test]
fn requests_above_their_limit_are_reset_and_room_is_given_back() {
    for version in Version::ALL {
        let mut network = met_with(version, |limits| limits.subscriptions_max = 2);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap());
        }
        network.settle();
        assert_eq!(network.take_events(SERVER).len(), 2);
        assert!(matches!(
            network.take_events(CLIENT)[..],
            [Event::Answer(AnswerEvent::SubscriptionClosed {
                code: Some(stream_error::INTERNAL),
                ..
            })]
        ));
        assert_eq!(network.ends[SERVER].stats().counters.requests_refused, 1);
        network.ends[CLIENT].unsubscribe(open[0].0);
        network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        network.settle();
        assert!(matches!(
            network.take_events(SERVER)[..],
            [
                Event::Request(RequestEvent::SubscribeEnded { .. }),
                Event::Request(RequestEvent::Subscribe { .. })
            ]
        ));
        network.assert_open();
    }
}

#[test]
fn every_kind_of_request_has_its_limit() {
    let none = |limits: &mut SessionLimits| {
        limits.subscriptions_max = 0;
        limits.announce_requests_max = 0;
        limits.fetches_max = 0;
        limits.track_requests_max = 0;
        limits.probes_max = 0;
    };
    for version in Version::ALL {
        let mut network = met_with(version, none);
        for (index, code) in [1, 2, 3, 4, 6].into_iter().enumerate() {
            let stream = StreamId(index as u64 * 4);
            network.ends[SERVER].handle_stream(stream, Bytes::from(vec![code]), false, 0);
        }
        let stats = network.ends[SERVER].stats();
        let known = if version.has_track_stream() { 5 } else { 4 };
        assert_eq!((stats.counters.requests_refused, stats.live.requests), (known, 0));
        assert!(!network.ends[SERVER].is_closed());
    }
}

#[test]
fn streams_without_a_type_are_limited() {
    let mut network = met_with(Version::Lite06, |limits| limits.requests_max = 10);
    for index in 0..50 {
        network.ends[SERVER].handle_stream(StreamId(index * 4), Bytes::from_static(&[0x40]), false, 0);
    }
    let stats = network.ends[SERVER].stats();
    assert_eq!((stats.live.requests, stats.counters.requests_refused), (10, 40));
}

#[test]
fn unfinished_messages_are_limited_over_all_streams() {
    let mut network = met_with(Version::Lite06, |limits| limits.control_bytes_max = 1000);
    // SUBSCRIBE of 16000 bytes, never complete.
    let start = Bytes::from([&[2, 0x7e, 0x80][..], &[0; 97]].concat());
    for index in 0..10 {
        network.ends[SERVER].handle_stream(StreamId(index * 4), start.clone(), false, 0);
        assert!(!network.ends[SERVER].is_closed());
    }
    assert_eq!(network.ends[SERVER].stats().live.buffered_bytes, 990);
    network.ends[SERVER].handle_reset(StreamId(0), stream_error::CANCEL);
    assert_eq!(network.ends[SERVER].stats().live.buffered_bytes, 891);
    for index in 10..12 {
        network.ends[SERVER].handle_stream(StreamId(index * 4), start.clone(), false, 0);
    }
    assert_flooded(&mut network.ends[SERVER]);
}

#[test]
fn events_that_are_not_taken_are_limited() {
    let mut network = met_with(Version::Lite06, |limits| limits.events_queued_max = 100);
    let probe = Probe {
        bitrate: Some(1),
        rtt_ms: None,
    };
    let mut bytes = BytesMut::new();
    BidiType::Probe.encode(Version::Lite06, &mut bytes).unwrap();
    for _ in 0..90 {
        probe.encode(Version::Lite06, &mut bytes).unwrap();
    }
    let server = &mut network.ends[SERVER];
    server.handle_stream(StreamId(0), bytes.freeze(), false, 0);
    assert!(!server.is_closed());
    let mut more = BytesMut::new();
    for _ in 0..10 {
        probe.encode(Version::Lite06, &mut more).unwrap();
    }
    server.handle_stream(StreamId(0), more.freeze(), false, 0);
    assert_flooded(server);
}

#[test]
fn a_stream_with_too_many_announcements_is_reset() {
    for version in Version::ALL {
        let mut network = met_with(version, |limits| limits.announced_max = 5);
        let first = network.ends[CLIENT].request_announce(&path("")).unwrap();
        let second = network.ends[CLIENT].request_announce(&path("")).unwrap();
        network.settle();
        let mut names: Vec<String> = (0..9).map(|index| format!("b{index}")).collect();
        let advertisement = Advertisement {
            hops: vec![HopId(1)],
            ..Advertisement::default()
        };
        for name in names.drain(..3) {
            network.ends[SERVER].announce(first, &path(&name), &advertisement);
        }
        network.settle();
        assert_eq!(network.take_events(CLIENT).len(), 3);
        let mut bytes = BytesMut::new();
        if version.has_announce_ok() {
            AnnounceOk {
                hop: HopId(2),
                active_count: 0,
            }
            .encode(version, &mut bytes)
            .unwrap();
        }
        for name in names {
            let message = Announce::Start {
                suffix: path(&name),
                advertisement: advertisement.clone(),
            };
            message.encode(version, &mut bytes).unwrap();
        }
        network.ends[CLIENT].handle_stream(second, bytes.freeze(), false, 0);
        let events: Vec<Event> = std::iter::from_fn(|| network.ends[CLIENT].poll_event()).collect();
        assert!(
            matches!(events.last(), Some(Event::Announcement(AnnouncementEvent::AnnounceStreamEnded { stream })) if *stream == second)
        );
        assert_eq!(events.len(), 7, "two and one too many come, three go");
        let live = network.ends[CLIENT].stats().live;
        assert_eq!((live.announced, live.opened), (3, 1));
        network.assert_open();
    }
}

#[test]
fn groups_above_their_limit_are_stopped() {
    for version in Version::ALL {
        let mut network = met_with(version, |limits| limits.groups_max = 2);
        let (id, _) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        network.settle();
        for sequence in 0..5 {
            network.write_group(SERVER, id, sequence, b"", false);
        }
        network.settle();
        let stats = network.ends[CLIENT].stats();
        assert_eq!((stats.live.incoming, stats.counters.groups_refused), (2, 3));
        assert_eq!(network.take_events(CLIENT).len(), 2);
        network.assert_open();
    }
}

#[test]
fn one_way_streams_that_say_nothing_are_limited() {
    let mut network = met_with(Version::Lite06, |limits| limits.groups_max = 4);
    for index in 1..20 {
        network.ends[SERVER].handle_stream(StreamId(2 + index * 4), Bytes::from_static(&[0x40]), false, 0);
    }
    assert_eq!(network.ends[SERVER].stats().live.incoming, 4);
    assert!(!network.ends[SERVER].is_closed());
}

#[test]
fn streams_far_out_of_order_are_limited() {
    let mut network = met_with(Version::Lite06, |_| {});
    let count = limits::STREAM_GAPS_MAX as u64 + 10;
    for index in 0..count {
        network.ends[SERVER].handle_reset(StreamId(index * 8), stream_error::CANCEL);
    }
    assert_flooded(&mut network.ends[SERVER]);
}

#[test]
fn finished_subscriptions_are_remembered_for_their_stragglers_up_to_a_limit() {
    let mut network = met_with(Version::Lite06, |_| {});
    let mut ids: Vec<SubscribeId> = Vec::new();
    for _ in 0..=limits::SUBSCRIPTIONS_ENDED_MAX {
        let (id, stream) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        ids.push(id);
        network.settle();
        network.ends[SERVER].finish(stream);
    }
    network.settle();
    network.take_events(CLIENT);
    network.write_group(SERVER, ids[0], 0, b"", true);
    network.settle();
    assert!(network.take_events(CLIENT).is_empty(), "the oldest is forgotten");
    network.write_group(SERVER, ids[1], 0, b"", true);
    network.settle();
    assert_eq!(network.take_events(CLIENT).len(), 2);
    network.ends[CLIENT].unsubscribe(ids[1]);
    network.write_group(SERVER, ids[1], 1, b"", true);
    network.settle();
    assert!(network.take_events(CLIENT).is_empty());
    assert_eq!(network.ends[CLIENT].stats().live.subscriptions, 0);
}
