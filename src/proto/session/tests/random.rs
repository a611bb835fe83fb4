//! Thousands of random steps. The seed is in the message of a failure.

use bytes::Bytes;

use crate::session::{AnnouncementEvent, Event, RequestEvent, Session, exercise};
use crate::wire::{
    Advertisement, ErrorCode, GroupSequence, HopId, Probe, StreamId, SubscribeId, SubscribeOk, TrackInfo, Version,
    stream_error,
};

use super::network::{
    CLIENT, Delivery, Network, Random, SERVER, fetch_message, frames, path, subscribe_parameters, track_message,
};

#[test]
fn seeds_keep_every_promise() {
    for (name, input) in exercise::seeds() {
        let outcome = exercise::exercise(&input).unwrap_or_else(|broken| panic!("{name}: {broken}"));
        assert!(outcome.operations > 0);
    }
}

#[test]
fn random_operations_keep_every_promise() {
    let mut events = 0;
    let mut violations = 0;
    for seed in 0..6000 {
        let mut random = Random(seed);
        let length = 1 + random.below(1200);
        let input: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
        let outcome = exercise::exercise(&input).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        events += outcome.events;
        violations += usize::from(outcome.is_violated);
    }
    assert!(events > 10_000, "{events} events: the inputs reach too little");
    assert!(violations > 100, "{violations}");
}

#[test]
fn operations_that_are_mostly_sound_go_far() {
    // Without the raw bytes most runs stay open, and so reach the deep states.
    let mut events = 0;
    for seed in 0..3000 {
        let mut random = Random(seed);
        let mut input = vec![random.next().to_le_bytes()[0]];
        for _ in 0..200 {
            input.push([4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2][random.below(11)]);
            let mask = if random.below(4) == 0 { 0xff } else { 0x7f };
            input.extend((0..4).map(|_| random.next().to_le_bytes()[0] & mask));
        }
        let outcome = exercise::exercise(&input).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        events += outcome.events;
    }
    assert!(events > 30_000, "{events}");
}

/// What the two callers remember of the streams between them.
#[derive(Debug, Default)]
struct Caller {
    opened: Vec<StreamId>,
    subscriptions: Vec<SubscribeId>,
    requests: Vec<Event>,
    groups: Vec<StreamId>,
}

/// Two well-behaved ends that do whatever they may, with streams that end at any moment.
#[test]
fn random_traffic_between_two_sessions_is_no_violation_and_leaves_nothing() {
    for version in Version::EVERY {
        for seed in 0..40 {
            let mut random = Random(seed);
            let mut network = Network::new(version, Delivery::Shuffled(seed));
            let mut callers = [Caller::default(), Caller::default()];
            network.settle();
            for _ in 0..150 {
                let end = random.below(2);
                act(&mut network, &mut callers[end], end, &mut random);
                if random.below(3) == 0 {
                    network.settle();
                }
                for end in [CLIENT, SERVER] {
                    let events = network.take_events(end);
                    callers[end].requests.extend(events.into_iter().filter(is_request));
                }
            }
            network.settle();
            network.assert_open();
            for end in [CLIENT, SERVER] {
                for stream in callers[end].opened.drain(..) {
                    network.ends[end].cancel(stream, stream_error::CANCEL);
                }
                for id in callers[end].subscriptions.drain(..) {
                    network.ends[end].unsubscribe(id);
                }
                for stream in callers[end].groups.drain(..) {
                    network.reset(end, stream, stream_error::CANCEL);
                }
            }
            network.assert_idle();
        }
    }
}

fn is_request(event: &Event) -> bool {
    matches!(
        event,
        Event::Announcement(AnnouncementEvent::AnnounceRequest { .. })
            | Event::Request(RequestEvent::Subscribe { .. })
            | Event::Request(RequestEvent::Fetch { .. })
            | Event::Request(RequestEvent::Track { .. })
            | Event::Request(RequestEvent::Probe { .. })
    )
}

fn act(network: &mut Network, caller: &mut Caller, end: usize, random: &mut Random) {
    let session = &mut network.ends[end];
    match random.below(12) {
        0 => caller.opened.extend(session.request_announce(&path("room"))),
        1 => caller
            .subscriptions
            .extend(session.subscribe(subscribe_parameters()).map(|(id, _)| id)),
        2 => caller.opened.extend(session.fetch(&fetch_message())),
        3 => caller.opened.extend(session.track(&track_message())),
        4 => caller.opened.extend(session.probe(None)),
        5 if !caller.opened.is_empty() => {
            let stream = caller.opened.swap_remove(random.below(caller.opened.len()));
            session.cancel(stream, stream_error::CANCEL);
        }
        6 if !caller.subscriptions.is_empty() => {
            let id = caller
                .subscriptions
                .swap_remove(random.below(caller.subscriptions.len()));
            session.unsubscribe(id);
        }
        7 if !caller.opened.is_empty() => {
            // The transport says that the other end has had enough.
            let stream = caller.opened[random.below(caller.opened.len())];
            session.handle_stop_sending(stream);
        }
        8 if !caller.groups.is_empty() => {
            let stream = caller.groups.swap_remove(random.below(caller.groups.len()));
            network.reset(end, stream, stream_error::OLD);
        }
        _ if !caller.requests.is_empty() => {
            let index = random.below(caller.requests.len());
            let request = caller.requests[index].clone();
            if respond(network, caller, end, &request, random) {
                caller.requests.swap_remove(index);
            }
        }
        _ => {}
    }
}

/// True when the request is over.
fn respond(network: &mut Network, caller: &mut Caller, end: usize, request: &Event, random: &mut Random) -> bool {
    match request {
        Event::Announcement(event) => {
            let AnnouncementEvent::AnnounceRequest { request, .. } = event else {
                panic!("{event:?} is no request")
            };
            respond_announcements(&mut network.ends[end], *request, random)
        }
        Event::Request(request) => answer(network, caller, end, request, random),
        Event::Media(_) | Event::Answer(_) | Event::Session(_) => panic!("{request:?} is no request"),
    }
}

fn respond_announcements(session: &mut Session, request: StreamId, random: &mut Random) -> bool {
    let is_over = random.below(6) == 0;
    let suffix = path(["a", "b", "c"][random.below(3)]);
    let advertisement = Advertisement {
        hops: vec![HopId(1 + random.next() % 2)],
        ..Advertisement::default()
    };
    match random.below(3) {
        0 => session.unannounce(request, &suffix),
        _ => session.announce(request, &suffix, &advertisement),
    }
    if is_over {
        session.finish(request);
    }
    is_over
}

fn answer(network: &mut Network, caller: &mut Caller, end: usize, request: &RequestEvent, random: &mut Random) -> bool {
    let session = &mut network.ends[end];
    let is_over = random.below(6) == 0;
    match request {
        RequestEvent::Subscribe { request, message } => {
            let ok = SubscribeOk {
                priority: 0,
                ordered: false,
                max_latency_ms: 0,
                start: None,
                end: None,
                timescale: None,
            };
            session.subscribe_ok(*request, &ok);
            session.subscribe_drop(*request, GroupSequence(0), GroupSequence(1), stream_error::OLD);
            if is_over {
                session.subscribe_end(*request, GroupSequence(9));
                session.finish(*request);
            } else {
                let data = frames(network.version, &[b"frame", b""]);
                let fin = random.below(2) == 0;
                let cut = if fin { data.len() } else { random.below(data.len()) };
                let stream = network.write_group(end, message.id, random.next() % 100, &data[..cut], fin);
                if !fin {
                    caller.groups.push(stream);
                }
            }
        }
        RequestEvent::Fetch { request, .. } if is_over => session.refuse(*request, stream_error::NOT_FOUND),
        RequestEvent::Fetch { request, .. } => {
            session.finish(*request);
            return true;
        }
        RequestEvent::Track { request, .. } => {
            session.track_info(*request, &INFO);
            return true;
        }
        RequestEvent::Probe { request, .. } => {
            session.probe_report(
                *request,
                &Probe {
                    bitrate: Some(3),
                    rtt_ms: None,
                },
            );
            if is_over {
                session.refuse(*request, stream_error::CANCEL);
            }
        }
        RequestEvent::SubscribeUpdate { .. }
        | RequestEvent::SubscribeEnded { .. }
        | RequestEvent::FetchEnded { .. }
        | RequestEvent::TrackEnded { .. }
        | RequestEvent::ProbeEnded { .. } => panic!("{request:?} is no request"),
    }
    is_over
}

#[test]
fn random_bytes_on_random_streams_never_panic() {
    for seed in 0..2000 {
        let mut random = Random(seed);
        let version = Version::EVERY[random.below(7)];
        let mut network = Network::new(version, Delivery::Whole);
        network.settle();
        let server = &mut network.ends[SERVER];
        for _ in 0..100 {
            let stream = StreamId(random.next() % 64);
            let length = random.below(12);
            let data: Vec<u8> = (0..length).map(|_| (random.next() % 8).to_le_bytes()[0]).collect();
            match random.below(8) {
                0 => server.handle_reset(stream, ErrorCode(random.next())),
                1 => server.handle_stop_sending(stream),
                2 => server.handle_datagram(Bytes::from(data)),
                choice => server.handle_stream(stream, Bytes::from(data), choice == 3, 1),
            }
        }
        while server.poll_event().is_some() {}
        while server.poll_transmit().is_some() {}
    }
}

const INFO: TrackInfo = TrackInfo {
    epoch: 0,
    priority: 1,
    ordered: false,
    max_latency_ms: 1,
    timescale: 1000,
};
