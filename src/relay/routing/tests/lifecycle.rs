//! Subscriptions coming and going, the cache, FETCH, TRACK_INFO, and that nothing stays.

use super::*;
use moqswitch_proto::wire::stream_error;

fn refusals(shard: &Shard) -> Vec<(PeerKey, ErrorCode)> {
    shard
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Refuse { peer, code, .. } => Some((*peer, *code)),
            _ => None,
        })
        .collect()
}

#[test]
fn upstream_is_left_when_the_last_subscriber_has_been_gone_for_the_linger() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.subscribe(2, Version::Lite06, |_| {});
    shard.tracks.handle_subscribe_ended(peer(1), REQUEST, shard.now);
    shard.tracks.handle_peer_gone(peer(2), shard.now);
    shard.pass(Duration::from_millis(1900));
    let unsubscribed = |shard: &Shard| {
        shard
            .actions
            .iter()
            .any(|action| matches!(action, Action::Unsubscribe { .. }))
    };
    assert!(!unsubscribed(&shard));

    // Someone comes back in time, and the same subscription serves them.
    shard.subscribe(3, Version::Lite06, |_| {});
    shard.pass(Duration::from_secs(10));
    assert!(!unsubscribed(&shard));
    assert_eq!(shard.upstream.len(), 1);

    shard.tracks.handle_subscribe_ended(peer(3), REQUEST, shard.now);
    shard.pass(Duration::from_secs(3));
    assert!(unsubscribed(&shard));
    assert_eq!(shard.tracks.statistics().tracks, 0);
}

#[test]
fn a_broadcast_without_a_publisher_is_refused_at_once() {
    let mut shard = shard_with_publisher();
    shard.tracks.handle_peer(peer(1), Version::Lite06, true);
    let message = subscribe_message();
    shard
        .tracks
        .handle_subscribe(request(1, REQUEST), HopId::UNKNOWN, &message, None);
    shard.settle();
    assert_eq!(refusals(&shard), [(peer(1), stream_error::NOT_FOUND)]);
}

#[test]
fn a_publishers_refusal_reaches_everyone_who_waits() {
    let mut shard = shard_with_publisher();
    for index in 1..=3 {
        shard.subscribe(index, Version::Lite06, |_| {});
    }
    let id = shard.upstream_id();
    shard
        .tracks
        .handle_upstream_closed(peer(PUBLISHER), id, Some(stream_error::NOT_FOUND));
    shard.settle();
    assert_eq!(refusals(&shard).len(), 3);
    assert!(
        refusals(&shard)
            .iter()
            .all(|(_, code)| *code == stream_error::NOT_FOUND)
    );
    assert_eq!(shard.tracks.statistics().tracks, 0);
}

#[test]
fn a_finished_track_delivers_what_is_left_and_then_ends() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 60_000);
    for sequence in 0..3 {
        shard.publish(sequence, &[b"x"]);
    }
    let id = shard.upstream_id();
    shard.tracks.handle_upstream_end(peer(PUBLISHER), id, GroupSequence(3));
    shard.tracks.handle_upstream_closed(peer(PUBLISHER), id, None);
    // The publisher leaves right behind its last group.
    shard.tracks.handle_peer_gone(peer(PUBLISHER), shard.now);
    shard.settle();
    let finished = |shard: &Shard| {
        shard
            .actions
            .iter()
            .any(|action| matches!(action, Action::Finish { .. }))
    };
    assert!(!finished(&shard), "groups are still on their way");
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert_eq!(wire.streams.values().filter(|stream| stream.fin).count(), 3);
    assert!(finished(&shard));
    assert!(
        shard
            .actions
            .iter()
            .any(|action| matches!(action, Action::End { end, .. } if *end == GroupSequence(3)))
    );
}

#[test]
fn a_range_with_an_end_finishes_after_it() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| {
        message.max_latency_ms = 60_000;
        message.range.end = Some(GroupSequence(1));
    });
    let mut wire = Wire::open();
    for sequence in 0..4 {
        if shard.start(sequence).is_some_and(|token| {
            for chunk in chunks(FrameForm::Timed, 0, &[b"x"], usize::MAX) {
                shard.tracks.group_chunk(token, chunk);
            }
            shard.tracks.group_ended(token);
            true
        }) {
            shard.pump(1, &mut wire);
        }
    }
    assert_eq!(wire.order.len(), 2);
    assert!(
        shard
            .actions
            .iter()
            .any(|action| matches!(action, Action::Finish { .. }))
    );
}

#[test]
fn drafts_without_starts_are_accepted_in_their_form() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite04, |_| {});
    assert!(
        shard
            .actions
            .iter()
            .any(|action| matches!(action, Action::Accept { ok, .. } if ok.priority == INFO.priority))
    );
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    let starts = |shard: &Shard| {
        let starts = shard.actions.iter().filter_map(|action| match action {
            Action::Start { group, .. } => Some(*group),
            _ => None,
        });
        starts.collect::<Vec<_>>()
    };
    assert_eq!(starts(&shard), [], "a start is told with the first group");
    shard.publish(4, &[b"x"]);
    assert_eq!(starts(&shard), [GroupSequence(4)]);
}

#[test]
fn track_info_is_asked_once_and_made_up_for_drafts_without_it() {
    let mut shard = shard_with_publisher();
    let source = Some(shard.source());
    let message = subscribe_message();
    for index in 1..=3 {
        shard.tracks.handle_peer(peer(index), Version::Lite06, true);
        shard.tracks.handle_track(
            peer(index),
            REQUEST,
            &message.broadcast,
            &message.track,
            source,
            shard.now,
        );
    }
    shard.settle();
    let infos: Vec<TrackInfo> = shard
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::TrackInfo { info, .. } => Some(*info),
            _ => None,
        })
        .collect();
    assert_eq!(infos, [INFO; 3]);

    let mut shard = Shard::new(TrackLimits::default());
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite03, false);
    shard.tracks.handle_peer(peer(1), Version::Lite06, true);
    shard
        .tracks
        .handle_track(peer(1), REQUEST, &message.broadcast, &message.track, source, shard.now);
    shard.settle();
    assert!(matches!(shard.actions[..], [Action::TrackInfo { info, .. }] if info.timescale == 1000));
}

#[test]
fn fetch_is_served_from_the_cache_or_else_once_from_the_publisher() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.publish(0, &[b"cached"]);
    shard.publish(1, &[b"latest"]);
    let source = Some(shard.source());
    let ask = |shard: &mut Shard, index: u32, group: u64| {
        shard.tracks.handle_peer(peer(index), Version::Lite06, true);
        shard
            .tracks
            .handle_fetch(peer(index), REQUEST, &fetch_message(group), source);
        shard.settle();
    };
    ask(&mut shard, 2, 0);
    let mut wire = Wire::open();
    shard.pump(2, &mut wire);
    assert_eq!(wire.streams[&REQUEST].bytes, encode(FrameForm::Timed, 0, &[b"cached"]));
    assert!(wire.streams[&REQUEST].fin);

    ask(&mut shard, 3, 99);
    ask(&mut shard, 4, 99);
    let asked: Vec<FetchKey> = shard
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Fetch { fetch, message, .. } => {
                assert_eq!(message.group, GroupSequence(99));
                Some(*fetch)
            }
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 1, "one upstream fetch for both");
    shard.tracks.on_fetching(peer(PUBLISHER), asked[0], StreamId(40));
    for chunk in chunks(FrameForm::Timed, 5, &[b"from", b"afar"], 3) {
        shard
            .tracks
            .handle_fetch_chunk(peer(PUBLISHER), StreamId(40), chunk, shard.now);
    }
    shard
        .tracks
        .handle_fetch_closed(peer(PUBLISHER), StreamId(40), None, shard.now);
    for index in [3, 4] {
        let mut wire = Wire::open();
        shard.pump(index, &mut wire);
        assert_eq!(
            wire.streams[&REQUEST].bytes,
            encode(FrameForm::Timed, 5, &[b"from", b"afar"])
        );
        assert!(wire.streams[&REQUEST].fin);
    }

    ask(&mut shard, 5, 100);
    let fetch = FetchKey(asked[0].0 + 1);
    shard.tracks.on_fetching(peer(PUBLISHER), fetch, StreamId(44));
    shard
        .tracks
        .handle_fetch_closed(peer(PUBLISHER), StreamId(44), Some(stream_error::NOT_FOUND), shard.now);
    shard.settle();
    assert_eq!(refusals(&shard), [(peer(5), stream_error::NOT_FOUND)]);
}

#[test]
fn the_cache_keeps_within_its_bytes_and_spares_the_latest() {
    let mut shard = Shard::new(TrackLimits {
        cache_bytes_max: 20_000,
        ..TrackLimits::default()
    });
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 60_000);
    for sequence in 0..100 {
        shard.publish(sequence, &[&[1; 1000]]);
        assert!(shard.tracks.statistics().cache_bytes <= 20_000);
    }
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert!(wire.group(99).unwrap().fin, "the latest is spared");
    assert!(shard.tracks.statistics().egress.evicted > 50);
}

#[test]
fn a_group_beyond_its_limit_is_reset_for_all() {
    let mut shard = Shard::new(TrackLimits {
        group_bytes_max: 5000,
        ..TrackLimits::default()
    });
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, |_| {});
    let token = shard.start(0).unwrap();
    let mut wire = Wire::open();
    for chunk in chunks(FrameForm::Timed, 0, &[&[1; 9000]], 1000) {
        shard.tracks.group_chunk(token, chunk);
        shard.pump(1, &mut wire);
    }
    assert_eq!(wire.group(0).unwrap().reset, Some(stream_error::GROUP_TOO_LARGE));
    assert!(shard.tracks.statistics().cache_bytes < 5000);
}

#[test]
fn duplicates_and_groups_of_long_ago_are_not_wanted() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.publish(5000, &[b"x"]);
    assert_eq!(shard.start(5000), None);
    assert_eq!(shard.start(1), None);
    assert!(shard.start(4999).is_some());
}

#[test]
fn subscribers_go_on_at_a_source_of_the_same_content() {
    let mut shard = shard_with_publisher();
    let other = Source {
        shard: ShardId(0),
        peer: peer(9),
    };
    shard.tracks.handle_peer(peer(9), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 60_000);
    shard.publish(0, &[b"from the first"]);
    let path = BroadcastPath::new("room/alice");
    shard
        .tracks
        .handle_route_changed(&path, shard.now, |_| RouteFate::ContinuedBy {
            source: other,
            hops: Vec::new(),
        });
    shard.tracks.handle_peer_gone(peer(PUBLISHER), shard.now);
    shard.settle();
    assert_eq!(shard.upstream.last().map(|(peer, _)| *peer), Some(peer(9)));
    let id = shard.upstream_id();
    let token = shard
        .tracks
        .group_started(peer(9), id, GroupSequence(1), shard.now)
        .unwrap();
    for chunk in chunks(FrameForm::Timed, 20, &[b"from the other"], usize::MAX) {
        shard.tracks.group_chunk(token, chunk);
    }
    shard.tracks.group_ended(token);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert!(wire.group(0).unwrap().fin && wire.group(1).unwrap().fin);
    assert!(refusals(&shard).is_empty());
}

/// Both in one turn: the session of the first is asked when the track has the second already.
#[test]
fn a_source_that_is_replaced_before_it_was_asked_serves_nothing() {
    let mut shard = shard_with_publisher();
    let (first, other) = (
        shard.source(),
        Source {
            shard: ShardId(0),
            peer: peer(9),
        },
    );
    shard.tracks.handle_peer(peer(9), Version::Lite06, true);
    shard.tracks.handle_peer(peer(1), Version::Lite06, true);
    shard
        .tracks
        .handle_subscribe(request(1, REQUEST), HopId::UNKNOWN, &subscribe_message(), Some(first));
    let path = BroadcastPath::new("room/alice");
    shard
        .tracks
        .handle_route_changed(&path, shard.now, |_| RouteFate::ContinuedBy {
            source: other,
            hops: Vec::new(),
        });
    shard.settle();
    let asked: Vec<PeerKey> = shard.upstream.iter().map(|(peer, _)| *peer).collect();
    assert_eq!(asked, [peer(PUBLISHER), peer(9)]);
    let given_back = |action: &Action| matches!(action, Action::Unsubscribe { peer: from, .. } if *from == first.peer);
    assert_eq!(shard.actions.iter().filter(|action| given_back(action)).count(), 1);
    let id = shard.upstream_id();
    let token = shard
        .tracks
        .group_started(peer(9), id, GroupSequence(1), shard.now)
        .expect("the second serves");
    for chunk in chunks(FrameForm::Timed, 20, &[b"from the other"], usize::MAX) {
        shard.tracks.group_chunk(token, chunk);
    }
    shard.tracks.group_ended(token);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert!(wire.group(1).unwrap().fin);
}

#[test]
fn nothing_stays_when_everyone_is_gone() {
    let mut shard = shard_with_publisher();
    let source = Some(shard.source());
    for index in 1..=20 {
        shard.subscribe(index, Version::EVERY[index as usize % 7], |message| {
            message.max_latency_ms = 60_000
        });
    }
    for sequence in 0..10 {
        shard.publish(sequence, &[&[1; 500], b"two"]);
    }
    let open = shard.start(10).unwrap();
    for chunk in chunks(FrameForm::Timed, 200, &[&[4; 4000]], 1000) {
        shard.tracks.group_chunk(open, chunk);
    }
    for index in 1..=10 {
        let mut wire = Wire::open();
        wire.window = 1000 * index as usize;
        shard.pump(index, &mut wire);
    }
    shard
        .tracks
        .handle_fetch(peer(3), StreamId(16), &fetch_message(77), source);
    shard
        .tracks
        .handle_fetch(peer(3), StreamId(20), &fetch_message(2), source);
    shard.settle();
    for index in 1..=20 {
        shard.tracks.handle_peer_gone(peer(index), shard.now);
    }
    shard.tracks.handle_peer_gone(peer(PUBLISHER), shard.now);
    shard.pass(Duration::from_secs(60));
    while shard.tracks.poll_dirty_peer().is_some() {}
    assert_empty(&shard.tracks);
}
