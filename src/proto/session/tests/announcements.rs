//! Announcements in each version: starts, replacements, ends, loops and faults.

use bytes::{Bytes, BytesMut};

use crate::limits::HOPS_MAX;
use crate::session::{AnnouncementEvent, Event};
use crate::wire::{
    Advertisement, Announce, AnnounceOk, BroadcastPath, HopId, RouteCost, StreamId, Version, stream_error,
};

use super::network::{CLIENT, CLIENT_HOP, Network, SERVER, SERVER_HOP, everywhere, path};

fn route(hops: &[u64], warm: u64) -> Advertisement {
    Advertisement {
        hops: hops.iter().copied().map(HopId).collect(),
        cost: RouteCost { warm, cold: warm },
        ..Advertisement::default()
    }
}

/// The client asks the server for what is under `prefix`.
fn requested(network: &mut Network, prefix: &str) -> StreamId {
    let stream = network.ends[CLIENT].request_announce(&path(prefix)).unwrap();
    let Event::Announcement(AnnouncementEvent::AnnounceRequest { request, message }) = network.settled_event(SERVER)
    else {
        panic!()
    };
    assert_eq!((request, &message.prefix), (stream, &path(prefix)));
    let exclude = if network.version.has_exclude_hop() {
        CLIENT_HOP
    } else {
        HopId::UNKNOWN
    };
    assert_eq!(message.exclude_hop, exclude);
    stream
}

/// One event in short: what happened, the path, the hops.
fn told(event: Event) -> (&'static str, BroadcastPath, Vec<u64>) {
    let hops = |advertisement: Advertisement| advertisement.hops.iter().map(|hop| hop.0).collect();
    let Event::Announcement(event) = event else {
        panic!("{event:?}")
    };
    match event {
        AnnouncementEvent::Announced {
            path, advertisement, ..
        } => ("announced", path, hops(advertisement)),
        AnnouncementEvent::AnnounceReplaced {
            path, advertisement, ..
        } => ("replaced", path, hops(advertisement)),
        AnnouncementEvent::Unannounced { path, .. } => ("unannounced", path, Vec::new()),
        AnnouncementEvent::AnnounceStreamEnded { .. }
        | AnnouncementEvent::AnnounceRequest { .. }
        | AnnouncementEvent::AnnounceRequestEnded { .. } => panic!("{event:?}"),
    }
}

fn told_all(network: &mut Network) -> Vec<(&'static str, BroadcastPath, Vec<u64>)> {
    network.settled_events(CLIENT).into_iter().map(told).collect()
}

/// What the receiver sees of hops that the server has.
fn seen_hops(version: Version, hops: &[u64]) -> Vec<u64> {
    let mut hops = hops.to_vec();
    hops.push(SERVER_HOP.0);
    if !version.has_hops() {
        return Vec::new();
    }
    if version == Version::Lite03 {
        hops.fill(0);
    }
    hops
}

#[test]
fn announcements_come_change_and_go() {
    everywhere(&Version::EVERY, |network| {
        let version = network.version;
        let request = requested(network, "room");
        let server = &mut network.ends[SERVER];
        server.announce_ok(request, 2);
        server.announce(request, &path("ali"), &route(&[1, 2], 3));
        server.announce(request, &path("bob"), &route(&[], 0));
        assert_eq!(
            told_all(network),
            [
                ("announced", path("room/ali"), seen_hops(version, &[1, 2])),
                ("announced", path("room/bob"), seen_hops(version, &[])),
            ]
        );
        assert_eq!(network.ends[CLIENT].stats().live.announced, 2);

        network.ends[SERVER].announce(request, &path("ali"), &route(&[1, 5, 6], 1));
        let expected = if version <= Version::Lite04 {
            vec![]
        } else {
            vec![("replaced", path("room/ali"), seen_hops(version, &[1, 5, 6]))]
        };
        assert_eq!(told_all(network), expected, "the same publisher by another route");

        network.ends[SERVER].announce(request, &path("ali"), &route(&[9], 1));
        let hops = seen_hops(version, &[9]);
        let expected = if version <= Version::Lite04 {
            vec![
                ("unannounced", path("room/ali"), vec![]),
                ("announced", path("room/ali"), hops),
            ]
        } else {
            vec![("replaced", path("room/ali"), hops)]
        };
        assert_eq!(told_all(network), expected, "another publisher");

        network.ends[SERVER].unannounce(request, &path("ali"));
        network.ends[SERVER].unannounce(request, &path("ali"));
        network.ends[SERVER].unannounce(request, &path("carol"));
        assert_eq!(told_all(network), [("unannounced", path("room/ali"), vec![])]);

        network.ends[SERVER].announce(request, &path("ali"), &route(&[1], 0));
        assert_eq!(told_all(network).len(), 1, "announced again under another id");
        network.ends[SERVER].unannounce(request, &path("bob"));
        assert_eq!(told_all(network), [("unannounced", path("room/bob"), vec![])]);

        network.ends[SERVER].finish(request);
        let mut events = network.settled_events(CLIENT);
        assert!(
            matches!(events.pop(), Some(Event::Announcement(AnnouncementEvent::AnnounceStreamEnded { stream })) if stream == request)
        );
        assert_eq!(told(events.remove(0)), ("unannounced", path("room/ali"), vec![]));
        assert!(events.is_empty());
        network.assert_idle();
    });
}

#[test]
fn costs_arrive_on_06_alone() {
    everywhere(&Version::EVERY, |network| {
        let request = requested(network, "");
        network.ends[SERVER].announce(request, &path("a"), &route(&[], 7));
        let Event::Announcement(AnnouncementEvent::Announced { advertisement, .. }) = network.settled_event(CLIENT)
        else {
            panic!()
        };
        let expected = if network.version == Version::Lite06 { 7 } else { 0 };
        assert_eq!(advertisement.cost.warm, expected);
    });
}

#[test]
fn overlapping_prefixes_are_told_apart_by_their_streams() {
    everywhere(&Version::EVERY, |network| {
        let all = requested(network, "");
        let room = requested(network, "room");
        network.ends[SERVER].announce(all, &path("room/ali"), &route(&[1], 0));
        network.ends[SERVER].announce(room, &path("ali"), &route(&[1], 0));
        let mut streams: Vec<StreamId> = network
            .settled_events(CLIENT)
            .into_iter()
            .map(|event| {
                let Event::Announcement(AnnouncementEvent::Announced { stream, path: got, .. }) = event else {
                    panic!("{event:?}")
                };
                assert_eq!(got, path("room/ali"));
                stream
            })
            .collect();
        streams.sort_unstable();
        assert_eq!(streams, [all, room]);
        network.ends[CLIENT].cancel(all, stream_error::CANCEL);
        network.ends[CLIENT].cancel(room, stream_error::CANCEL);
        assert_eq!(network.settled_events(SERVER).len(), 2);
        assert!(network.settled_events(CLIENT).is_empty());
        network.assert_idle();
    });
}

#[test]
fn what_comes_back_to_us_is_discarded_until_its_route_is_another() {
    everywhere(&[Version::Lite05, Version::Lite06], |network| {
        let request = requested(network, "");
        network.ends[SERVER].announce(request, &path("a"), &route(&[1, CLIENT_HOP.0], 0));
        assert!(told_all(network).is_empty());
        let stats = network.ends[CLIENT].stats();
        assert_eq!((stats.counters.announcements_discarded, stats.live.announced), (1, 1));
        network.ends[SERVER].announce(request, &path("a"), &route(&[1], 0));
        assert_eq!(told_all(network), [("announced", path("a"), vec![1, SERVER_HOP.0])]);
        network.ends[SERVER].announce(request, &path("a"), &route(&[CLIENT_HOP.0], 0));
        assert_eq!(told_all(network), [("unannounced", path("a"), vec![])]);
        network.ends[SERVER].unannounce(request, &path("a"));
        assert!(told_all(network).is_empty());
        // One that has come through its sender before is a loop as well.
        network.ends[SERVER].announce(request, &path("b"), &route(&[SERVER_HOP.0], 0));
        assert!(told_all(network).is_empty());
        network.assert_open();
    });
}

#[test]
fn unknown_hops_are_no_loop() {
    everywhere(&Version::EVERY, |network| {
        let request = requested(network, "");
        network.ends[SERVER].announce(request, &path("a"), &route(&[0, 0], 0));
        assert_eq!(told_all(network).len(), 1);
    });
}

#[test]
fn a_path_without_room_for_a_hop_is_retracted() {
    everywhere(&Version::EVERY, |network| {
        let request = requested(network, "");
        let longest: Vec<u64> = (1000..1000 + HOPS_MAX as u64).collect();
        network.ends[SERVER].announce(request, &path("a"), &route(&longest[1..], 0));
        assert_eq!(told_all(network).len(), 1);
        network.ends[SERVER].announce(request, &path("a"), &route(&longest, 0));
        assert_eq!(told_all(network), [("unannounced", path("a"), vec![])]);
        network.ends[SERVER].announce(request, &path("b"), &route(&longest, 0));
        assert!(told_all(network).is_empty());
        network.assert_open();
    });
}

#[test]
fn a_path_that_is_too_long_takes_no_announce_id() {
    everywhere(&Version::EVERY, |network| {
        let request = requested(network, "");
        let long = path(&"x".repeat(2000));
        network.ends[SERVER].announce(request, &long, &route(&[], 0));
        network.ends[SERVER].announce(request, &path("a"), &route(&[], 0));
        network.ends[SERVER].unannounce(request, &long);
        network.ends[SERVER].unannounce(request, &path("a"));
        let told: Vec<_> = told_all(network)
            .into_iter()
            .map(|(what, path, _)| (what, path))
            .collect();
        assert_eq!(told, [("announced", path("a")), ("unannounced", path("a"))]);
        assert_ne!(network.ends[SERVER].stats().counters.messages_unsendable, 0);
    });
}

/// Bytes of an answer no session gives.
fn answer(version: Version, messages: &[Announce]) -> Bytes {
    let mut out = BytesMut::new();
    if version.has_announce_ok() {
        let ok = AnnounceOk {
            hop: SERVER_HOP,
            active_count: 0,
        };
        ok.encode(version, &mut out).unwrap();
    }
    for message in messages {
        message.encode(version, &mut out).unwrap();
    }
    out.freeze()
}

fn start(text: &str) -> Announce {
    Announce::Start {
        suffix: path(text),
        advertisement: route(&[1], 0),
    }
}

/// The server's answer costs the stream its announcements, and the session nothing.
fn assert_fault(version: Version, messages: &[Announce], announced: usize) {
    everywhere(&[version], |network| {
        let stream = requested(network, "");
        network.write(SERVER, stream, &answer(version, messages), false);
        let events = network.settled_events(CLIENT);
        assert_eq!(events.len(), 2 * announced + 1, "{events:#?}");
        assert!(matches!(
            events.last(),
            Some(Event::Announcement(AnnouncementEvent::AnnounceStreamEnded { .. }))
        ));
        let live = network.ends[CLIENT].stats().live;
        assert_eq!((live.opened, live.announced), (0, 0));
        assert!(matches!(
            network.settled_events(SERVER)[..],
            [Event::Announcement(AnnouncementEvent::AnnounceRequestEnded { .. })]
        ));
        network.assert_open();
    });
}

#[test]
fn wrong_ids_and_repeats_reset_the_stream() {
    let update = |id| Announce::Update {
        id,
        advertisement: route(&[], 0),
    };
    let end = |id| Announce::EndId { id };
    assert_fault(Version::Lite06, &[start("a"), start("a")], 1);
    assert_fault(Version::Lite06, &[start("a"), start("b"), end(2)], 2);
    assert_fault(Version::Lite06, &[update(0)], 0);
    assert_fault(Version::Lite03, &[start("a"), start("a")], 1);
    assert_fault(Version::Lite04, &[start("a"), start("a")], 1);
    everywhere(&[Version::Lite06], |network| {
        let stream = requested(network, "");
        let bytes = answer(Version::Lite06, &[start("a"), end(0), end(0)]);
        network.write(SERVER, stream, &bytes, false);
        assert_eq!(network.settled_events(CLIENT).len(), 3);
        assert_eq!(network.ends[CLIENT].stats().live.opened, 0);
    });
}

#[test]
fn a_malformed_announcement_resets_the_stream() {
    for version in Version::ALL {
        everywhere(&[version], |network| {
            let stream = requested(network, "");
            let mut bytes = BytesMut::from(&answer(version, &[])[..]);
            // A body that is too short for its fields.
            bytes.extend_from_slice(if version.has_announce_ids() { &[0, 0] } else { &[0] });
            network.write(SERVER, stream, &bytes, false);
            assert!(matches!(
                network.settled_events(CLIENT)[..],
                [Event::Announcement(AnnouncementEvent::AnnounceStreamEnded { .. })]
            ));
            network.settle();
            network.assert_open();
        });
    }
}

#[test]
fn an_announcement_of_an_unknown_kind_is_skipped() {
    everywhere(&[Version::Lite06], |network| {
        let stream = requested(network, "");
        let mut bytes = BytesMut::from(&answer(Version::Lite06, &[])[..]);
        bytes.extend_from_slice(&[9, 2, 1, 1]);
        network.write(SERVER, stream, &bytes, false);
        network.settle();
        let mut more = BytesMut::new();
        start("a").encode(Version::Lite06, &mut more).unwrap();
        network.write(SERVER, stream, &more, false);
        assert_eq!(told_all(network).len(), 1);
    });
}

#[test]
fn an_end_for_an_unknown_path_is_passed_over_before_06() {
    everywhere(&[Version::Lite03, Version::Lite04, Version::Lite05], |network| {
        let stream = requested(network, "");
        let end = Announce::EndSuffix { suffix: path("a") };
        network.write(SERVER, stream, &answer(network.version, &[end]), false);
        assert!(told_all(network).is_empty());
        network.assert_open();
    });
}

#[test]
fn an_announcement_says_announce_ok_if_nobody_did() {
    everywhere(&[Version::Lite05, Version::Lite06], |network| {
        let request = requested(network, "");
        network.ends[SERVER].announce(request, &path("a"), &route(&[], 0));
        network.ends[SERVER].announce_ok(request, 5);
        network.ends[SERVER].announce(request, &path("b"), &route(&[], 0));
        assert_eq!(told_all(network).len(), 2);
        network.assert_open();
    });
}
