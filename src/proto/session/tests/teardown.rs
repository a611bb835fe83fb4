//! However a stream ends, in whatever state it is, nothing of it is left.

use bytes::{Bytes, BytesMut};

use crate::session::{AnswerEvent, Event, MediaEvent, SessionLive, Transmit};
use crate::wire::{
    Advertisement, AnnounceRequest, BidiType, GroupSequence, HopId, Probe, StreamId, Subscribe, SubscribeId,
    SubscribeOk, Version, stream_error,
};

use super::network::{
    CLIENT, Delivery, Network, SERVER, everywhere, fetch_message, path, subscribe_parameters, track_message,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Announce,
    Subscribe,
    Fetch,
    Track,
    Probe,
}

const KINDS: [Kind; 5] = [Kind::Announce, Kind::Subscribe, Kind::Fetch, Kind::Track, Kind::Probe];

#[derive(Clone, Copy, Debug)]
enum Ending {
    ServerSeesReset,
    ServerSeesStop,
    ClientSeesReset,
    ClientSeesStop,
    ClientCancels,
    ServerRefuses,
    ServerFinishes,
}

const ENDINGS: [Ending; 7] = [
    Ending::ServerSeesReset,
    Ending::ServerSeesStop,
    Ending::ClientSeesReset,
    Ending::ClientSeesStop,
    Ending::ClientCancels,
    Ending::ServerRefuses,
    Ending::ServerFinishes,
];

fn open(network: &mut Network, kind: Kind) -> Option<StreamId> {
    let client = &mut network.ends[CLIENT];
    match kind {
        Kind::Announce => client.request_announce(&path("room")),
        Kind::Subscribe => client.subscribe(subscribe_parameters()).map(|(_, stream)| stream),
        Kind::Fetch => client.fetch(&fetch_message()),
        Kind::Track => client.track(&track_message()),
        Kind::Probe => client.probe(Some(1)),
    }
}

fn answer(network: &mut Network, kind: Kind, stream: StreamId) {
    let server = &mut network.ends[SERVER];
    match kind {
        Kind::Announce => {
            server.announce_ok(stream, 1);
            server.announce(stream, &path("a"), &Advertisement::default());
            server.announce(stream, &path("b"), &Advertisement::default());
        }
        Kind::Subscribe => {
            let ok = SubscribeOk {
                priority: 0,
                ordered: false,
                max_latency_ms: 0,
                start: None,
                end: None,
                timescale: None,
            };
            server.subscribe_ok(stream, &ok);
            server.subscribe_start(stream, GroupSequence(1));
        }
        // A part of a frame.
        Kind::Fetch => network.write(SERVER, stream, &[9, 9, 9], false),
        Kind::Track => {}
        Kind::Probe => server.probe_report(
            stream,
            &Probe {
                bitrate: Some(1),
                rtt_ms: None,
            },
        ),
    }
}

fn end(network: &mut Network, stream: StreamId, ending: Ending) {
    let code = stream_error::CANCEL;
    match ending {
        Ending::ServerSeesReset => network.ends[SERVER].handle_reset(stream, code),
        Ending::ServerSeesStop => network.ends[SERVER].handle_stop_sending(stream),
        Ending::ClientSeesReset => network.ends[CLIENT].handle_reset(stream, code),
        Ending::ClientSeesStop => network.ends[CLIENT].handle_stop_sending(stream),
        Ending::ClientCancels => network.ends[CLIENT].cancel(stream, code),
        Ending::ServerRefuses => network.ends[SERVER].refuse(stream, code),
        Ending::ServerFinishes => network.ends[SERVER].finish(stream),
    }
}

#[test]
fn every_ending_in_every_state_frees_both_ends() {
    everywhere(&Version::ALL, |network| {
        for kind in KINDS {
            for ending in ENDINGS {
                for answered in [false, true] {
                    let Some(stream) = open(network, kind) else { continue };
                    network.settle();
                    if answered {
                        answer(network, kind, stream);
                        network.settle();
                    }
                    end(network, stream, ending);
                    network.assert_idle();
                }
            }
        }
    });
}

#[test]
fn every_ending_on_the_way_frees_both_ends() {
    // The ending crosses the request or the answer.
    everywhere(&Version::ALL, |network| {
        for kind in KINDS {
            for ending in ENDINGS {
                let Some(stream) = open(network, kind) else { continue };
                if !matches!(ending, Ending::ClientCancels | Ending::ClientSeesStop) {
                    network.settle();
                    answer(network, kind, stream);
                }
                end(network, stream, ending);
                network.assert_idle();
            }
        }
    });
}

#[test]
fn every_request_that_is_heard_of_is_heard_to_end_unless_it_was_answered() {
    everywhere(&Version::ALL, |network| {
        for kind in KINDS {
            for ending in ENDINGS {
                let Some(stream) = open(network, kind) else { continue };
                network.settle();
                network.take_events(SERVER);
                end(network, stream, ending);
                let events = network.settled_events(SERVER);
                let is_own = matches!(ending, Ending::ServerRefuses | Ending::ServerFinishes);
                assert_eq!(events.len(), usize::from(!is_own), "{kind:?} {ending:?} {events:?}");
            }
        }
    });
}

/// The first bytes of each kind of request, with its type.
fn request_bytes(version: Version, kind: Kind) -> Option<Bytes> {
    let mut out = BytesMut::new();
    let (bidi, encoded) = match kind {
        Kind::Announce => {
            let message = AnnounceRequest {
                prefix: path("room"),
                exclude_hop: HopId(3),
                ended: false,
            };
            (BidiType::Announce, message.encode(version, &mut out))
        }
        Kind::Subscribe => {
            let parameters = subscribe_parameters();
            let message = Subscribe {
                id: SubscribeId(5),
                broadcast: parameters.broadcast,
                track: parameters.track,
                epoch: 0,
                priority: 1,
                ordered: false,
                max_latency_ms: 1,
                range: parameters.range,
            };
            (BidiType::Subscribe, message.encode(version, &mut out))
        }
        Kind::Fetch => (BidiType::Fetch, fetch_message().encode(version, &mut out)),
        Kind::Track => (BidiType::Track, track_message().encode(version, &mut out)),
        Kind::Probe => {
            let message = Probe {
                bitrate: Some(4),
                rtt_ms: None,
            };
            (BidiType::Probe, message.encode(version, &mut out))
        }
    };
    encoded.ok()?;
    let mut bytes = BytesMut::new();
    bidi.encode(version, &mut bytes).ok()?;
    bytes.extend_from_slice(&out);
    Some(bytes.freeze())
}

#[test]
fn a_request_cut_anywhere_leaves_nothing_and_is_closed_once() {
    for version in Version::ALL {
        for kind in KINDS {
            let Some(bytes) = request_bytes(version, kind) else {
                continue;
            };
            for length in 0..=bytes.len() {
                for ending in 0..3 {
                    let mut network = Network::new(version, Delivery::Whole);
                    network.settle();
                    network.take_events(SERVER);
                    let server = &mut network.ends[SERVER];
                    let stream = StreamId(0);
                    server.handle_stream(stream, bytes.slice(..length), false, 0);
                    match ending {
                        0 => server.handle_reset(stream, stream_error::CANCEL),
                        1 => server.handle_stop_sending(stream),
                        _ => server.handle_stream(stream, Bytes::new(), true, 0),
                    }
                    assert_eq!(
                        server.stats().live,
                        SessionLive::default(),
                        "{kind:?} {length} {ending}"
                    );
                    assert!(!server.is_closed(), "{version:?} {kind:?} {length} {ending}");
                    let closes = std::iter::from_fn(|| server.poll_transmit())
                        .filter(|transmit| {
                            matches!(transmit, Transmit::Reset { .. } | Transmit::Write { fin: true, .. })
                        })
                        .count();
                    assert_eq!(closes, 1, "our side, {kind:?} {length} {ending}");
                    // Nothing that comes late brings it back.
                    server.handle_stream(stream, bytes.clone(), true, 0);
                    server.handle_reset(stream, stream_error::CANCEL);
                    assert!(server.poll_transmit().is_none());
                    assert_eq!(server.stats().live, SessionLive::default());
                }
            }
        }
    }
}

#[test]
fn group_streams_cut_anywhere_leave_nothing() {
    everywhere(&Version::ALL, |network| {
        let (id, _) = network.ends[CLIENT].subscribe(subscribe_parameters()).unwrap();
        let data = super::network::frames(network.version, &[b"abc", b"de"]);
        let mut stream = StreamId(0);
        for length in 0..=data.len() {
            stream = network.write_group(SERVER, id, length as u64, &data[..length], false);
            network.settle();
            network.reset(SERVER, stream, stream_error::OLD);
            let over = network.write_group(SERVER, id, 100 + length as u64, &data[..length], true);
            network.settle();
            let events = network.take_events(CLIENT);
            let ends = events
                .iter()
                .filter(|event| {
                    matches!(
                        event,
                        Event::Media(MediaEvent::GroupEnd { .. }) | Event::Media(MediaEvent::GroupReset { .. })
                    )
                })
                .count();
            assert_eq!(ends, 2, "{length} {over:?}");
            assert_eq!(network.ends[CLIENT].stats().live.incoming, 0);
        }
        network.ends[CLIENT].handle_stream(stream, data, true, 0);
        assert_eq!(network.ends[CLIENT].stats().live.incoming, 0);
        network.ends[CLIENT].unsubscribe(id);
        network.settle();
        network.assert_open();
    });
}

#[test]
fn an_answer_after_stop_sending_is_still_read() {
    // A released peer stops reading a request once it has answered it.
    everywhere(&[Version::Lite05, Version::Lite06], |network| {
        let stream = network.ends[CLIENT].track(&track_message()).unwrap();
        network.settle();
        let info = crate::wire::TrackInfo {
            epoch: 0,
            priority: 0,
            ordered: false,
            max_latency_ms: 0,
            timescale: 1000,
        };
        let mut answer = BytesMut::new();
        info.encode(network.version, &mut answer).unwrap();
        network.ends[CLIENT].handle_stop_sending(stream);
        network.ends[CLIENT].handle_stream(stream, answer.freeze(), true, 0);
        network.take_events(CLIENT);
        while let Some(event) = network.ends[CLIENT].poll_event() {
            assert!(
                matches!(event, Event::Answer(AnswerEvent::TrackInfo { .. })),
                "{event:?}"
            );
        }
        assert_eq!(network.ends[CLIENT].stats().live, SessionLive::default());
    });
}
