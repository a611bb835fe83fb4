//! Groups and datagrams: the data path.

use bytes::{Bytes, BytesMut};

use crate::session::{Event, GROUP_TOKEN_NONE, MediaEvent};
use crate::wire::{DatagramHeader, GroupSequence, StreamId, SubscribeId, Version, stream_error};

use super::network::{ARRIVAL_MS, CLIENT, Network, SERVER, everywhere, frames, subscribe_parameters};

fn subscribed(network: &mut Network) -> SubscribeId {
    let (id, _) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
    network.settle();
    network.take_events(SERVER);
    id
}

/// What a caller sees that takes every event at once and names each group when it starts.
fn named_events(network: &mut Network, token: u64) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = network.ends[CLIENT].poll_event() {
        if let Event::Media(MediaEvent::GroupStart { stream, .. }) = &event {
            network.ends[CLIENT].set_group_token(*stream, token);
        }
        events.push(event);
    }
    events
}

#[test]
fn groups_of_many_streams_arrive_whole() {
    everywhere(&Version::EVERY, |network| {
        let id = subscribed(network);
        let data = frames(network.version, &[b"key frame", b"", &[9; 200]]);
        let streams: Vec<StreamId> = (0..5)
            .map(|sequence| network.write_group(SERVER, id, sequence, &data, true))
            .collect();
        let events = network.settled_events(CLIENT);
        for (index, stream) in streams.iter().enumerate() {
            let mut bytes = Vec::new();
            let mut stamps = Vec::new();
            let mut is_started = false;
            let mut is_ended = false;
            for event in &events {
                let Event::Media(event) = event else {
                    panic!("{event:?}")
                };
                match event {
                    MediaEvent::GroupStart { stream: got, .. }
                    | MediaEvent::GroupChunk { stream: got, .. }
                    | MediaEvent::GroupEnd { stream: got, .. }
                        if got != stream => {}
                    MediaEvent::GroupStart { header, .. } => {
                        assert_eq!((header.subscribe, header.sequence), (id, GroupSequence(index as u64)));
                        is_started = true;
                    }
                    MediaEvent::GroupChunk { token, chunk, .. } => {
                        assert!(is_started && !is_ended);
                        assert_eq!(*token, GROUP_TOKEN_NONE);
                        bytes.extend_from_slice(&chunk.bytes);
                        stamps.extend(chunk.marks.iter().map(|mark| mark.timestamp));
                    }
                    MediaEvent::GroupEnd { .. } => is_ended = true,
                    MediaEvent::GroupReset { .. } | MediaEvent::Datagram { .. } => panic!("{event:?}"),
                }
            }
            assert!(is_ended);
            assert_eq!(bytes, data);
            let expected = if network.version.has_track_stream() {
                [20, 40, 60]
            } else {
                [ARRIVAL_MS; 3]
            };
            assert_eq!(stamps, expected);
        }
        assert_eq!(network.ends[CLIENT].stats().live.incoming, 0);
        network.assert_open();
    });
}

#[test]
fn a_group_is_named_before_its_queued_chunks_are_taken() {
    let mut network = Network::new(Version::Lite06, super::network::Delivery::Whole);
    network.settle();
    let id = subscribed(&mut network);
    network.take_events(CLIENT);
    let mut whole = BytesMut::new();
    let header = crate::wire::GroupHeader {
        subscribe: id,
        sequence: GroupSequence(1),
        frame_start: 0,
    };
    network.ends[SERVER].group_header(&header, &mut whole);
    whole.extend_from_slice(&frames(Version::Lite06, &[b"abc"]));
    // The end of the group is in the queue before the caller hears of its start.
    network.ends[CLIENT].handle_stream(StreamId(7), whole.freeze(), true, 0);
    let events = named_events(&mut network, 42);
    assert!(matches!(
        events[..],
        [
            Event::Media(MediaEvent::GroupStart { .. }),
            Event::Media(MediaEvent::GroupChunk { token: 42, .. }),
            Event::Media(MediaEvent::GroupEnd { token: 42, .. })
        ]
    ));
}

#[test]
fn a_discarded_group_is_heard_of_no_more() {
    everywhere(&Version::EVERY, |network| {
        let id = subscribed(network);
        let data = frames(network.version, &[b"unwanted"]);
        let stream = network.write_group(SERVER, id, 0, &data[..3], false);
        network.settle();
        assert!(matches!(
            network.take_events(CLIENT)[0],
            Event::Media(MediaEvent::GroupStart { .. })
        ));
        network.ends[CLIENT].discard_group(stream, stream_error::OLD);
        network.write(SERVER, stream, &data[3..], true);
        assert!(network.settled_events(CLIENT).is_empty());
        assert_eq!(network.ends[CLIENT].stats().live.incoming, 0);
        // Bytes the transport still had are those of a stream that is over.
        network.ends[CLIENT].handle_stream(stream, Bytes::from_static(&[0, 3, 0]), true, 0);
        assert!(network.settled_events(CLIENT).is_empty());
        network.assert_open();
    });
}

#[test]
fn queued_events_of_a_discarded_group_are_dropped() {
    let mut network = Network::new(Version::Lite06, super::network::Delivery::Whole);
    network.settle();
    let id = subscribed(&mut network);
    let data = frames(Version::Lite06, &[b"abc"]);
    let header = crate::wire::GroupHeader {
        subscribe: id,
        sequence: GroupSequence(1),
        frame_start: 0,
    };
    let mut whole = BytesMut::new();
    network.ends[SERVER].group_header(&header, &mut whole);
    whole.extend_from_slice(&data);
    while network.ends[CLIENT].poll_event().is_some() {}
    network.ends[CLIENT].handle_stream(StreamId(7), whole.freeze(), false, 0);
    assert!(matches!(
        network.ends[CLIENT].poll_event(),
        Some(Event::Media(MediaEvent::GroupStart { .. }))
    ));
    network.ends[CLIENT].discard_group(StreamId(7), stream_error::CANCEL);
    assert!(network.ends[CLIENT].poll_event().is_none());
}

#[test]
fn a_reset_group_and_one_cut_short_end_with_a_code() {
    everywhere(&Version::ALL, |network| {
        let id = subscribed(network);
        let data = frames(network.version, &[b"cut short"]);
        network.write_group(SERVER, id, 0, &data[..data.len() - 1], true);
        let events = network.settled_events(CLIENT);
        assert!(matches!(
            events.last(),
            Some(Event::Media(MediaEvent::GroupReset {
                code: stream_error::WRONG_SIZE,
                ..
            }))
        ));
        let stream = network.write_group(SERVER, id, 1, &data, false);
        network.settle();
        network.take_events(CLIENT);
        network.reset(SERVER, stream, stream_error::OLD);
        assert!(matches!(
            network.settled_event(CLIENT),
            Event::Media(MediaEvent::GroupReset {
                code: stream_error::OLD,
                ..
            })
        ));
        assert_eq!(network.ends[CLIENT].stats().live.incoming, 0);
        network.assert_open();
    });
}

#[test]
fn a_frame_that_is_too_large_costs_its_group_alone() {
    everywhere(&Version::ALL, |network| {
        let id = subscribed(network);
        let mut data = if network.version.has_track_stream() {
            vec![0]
        } else {
            vec![]
        };
        data.extend_from_slice(&[0xff; 8]);
        let stream = network.write_group(SERVER, id, 0, &data, false);
        let events = network.settled_events(CLIENT);
        assert!(matches!(
            events.last(),
            Some(Event::Media(MediaEvent::GroupReset {
                code: stream_error::FRAME_TOO_LARGE,
                ..
            }))
        ));
        network.reset(SERVER, stream, stream_error::CANCEL);
        network.settle();
        assert_eq!(network.ends[CLIENT].stats().live.incoming, 0);
        network.assert_open();
    });
}

#[test]
fn a_group_for_no_subscription_is_stopped() {
    everywhere(&Version::ALL, |network| {
        let stream = network.write_group(SERVER, SubscribeId(99), 0, b"", false);
        assert!(network.settled_events(CLIENT).is_empty());
        assert_eq!(network.ends[CLIENT].stats().counters.groups_refused, 1);
        network.reset(SERVER, stream, stream_error::CANCEL);
        network.assert_idle();
    });
}

#[test]
fn datagrams_reach_live_subscriptions_alone() {
    everywhere(&[Version::Lite05, Version::Lite06], |network| {
        let id = subscribed(network);
        let datagram = |subscribe, payload: &[u8]| {
            let header = DatagramHeader {
                subscribe,
                sequence: GroupSequence(3),
                timestamp: 1234,
            };
            let mut out = BytesMut::new();
            header.encode(Version::Lite05, &mut out).unwrap();
            out.extend_from_slice(payload);
            out.freeze()
        };
        network.ends[CLIENT].handle_datagram(datagram(id, b"opus"));
        assert!(matches!(
            network.settled_event(CLIENT),
            Event::Media(MediaEvent::Datagram { header, payload }) if header.timestamp == 1234 && payload == b"opus"[..]
        ));
        network.ends[CLIENT].handle_datagram(datagram(SubscribeId(9), b"opus"));
        network.ends[CLIENT].handle_datagram(datagram(id, &[0; 1200]));
        network.ends[CLIENT].handle_datagram(Bytes::from_static(&[0]));
        network.ends[CLIENT].handle_datagram(Bytes::new());
        assert!(network.settled_events(CLIENT).is_empty());
        assert_eq!(network.ends[CLIENT].stats().counters.datagrams_dropped, 4);
        network.assert_open();
    });
}

#[test]
fn datagrams_before_05_are_dropped() {
    everywhere(&[Version::Lite03, Version::Lite04], |network| {
        subscribed(network);
        network.ends[CLIENT].handle_datagram(Bytes::from_static(&[0, 0, 0, 1]));
        assert!(network.settled_events(CLIENT).is_empty());
        assert_eq!(network.ends[CLIENT].stats().counters.datagrams_dropped, 1);
    });
}
