//! What one peer, or a full queue, may cost the others.

use super::*;
use moqswitch_proto::wire::stream_error;

fn patient(message: &mut Subscribe) {
    message.max_latency_ms = 60_000;
}

#[test]
fn who_starts_late_silences_nobody() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| {
        message.range.start = Some(GroupSequence(1 << 60));
    });
    shard.subscribe(2, Version::Lite06, patient);
    let asked = shard.actions.iter().rev().find_map(|action| match action {
        Action::UpdateSubscription { update, .. } => Some(update.range.start),
        _ => None,
    });
    assert_eq!(asked, Some(None));
}

#[test]
fn an_early_start_serves_those_who_want_the_latest_too() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    shard.publish(7, &[b"x"]);
    shard.subscribe(2, Version::Lite06, |message| {
        message.range.start = Some(GroupSequence(3));
    });
    let asked = shard.actions.iter().rev().find_map(|action| match action {
        Action::UpdateSubscription { update, .. } => Some(update.range.start),
        _ => None,
    });
    assert_eq!(asked, Some(Some(GroupSequence(3))));
}

#[test]
fn many_updates_in_a_turn_are_told_once() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    shard.actions.clear();
    for max_latency_ms in 0..1000 {
        let update = subscribe_message().preferences();
        let update = moqswitch_proto::wire::SubscribeUpdate {
            max_latency_ms,
            ..update
        };
        shard.tracks.handle_subscribe_update(request(1, REQUEST), &update);
    }
    shard.settle();
    assert_eq!(shard.actions.len(), 1);
}

#[test]
fn groups_that_have_a_stream_go_on_when_no_other_can_be_opened() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    let mut wire = Wire::open();
    wire.credit = 1;
    let token = shard.start(0).unwrap();
    let mut pieces = chunks(FrameForm::Timed, 0, &[b"first", b"second"], 9).into_iter();
    shard.tracks.group_chunk(token, pieces.next().unwrap());
    shard.pump(1, &mut wire);
    shard.publish(1, &[b"newer, and sent first if it could be"]);
    for chunk in pieces {
        shard.tracks.group_chunk(token, chunk);
    }
    shard.tracks.group_ended(token);
    shard.pump(1, &mut wire);
    assert!(wire.group(0).unwrap().fin);
    assert!(wire.group(1).is_none());
    wire.credit = 1;
    shard.pump(1, &mut wire);
    assert!(wire.group(1).unwrap().fin);
}

#[test]
fn datagrams_that_nobody_takes_are_not_kept() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite03, patient);
    let id = shard.upstream_id();
    for sequence in 0..10_000 {
        shard.tracks.datagram(
            peer(PUBLISHER),
            id,
            GroupSequence(sequence),
            sequence,
            Bytes::from_static(&[7; 100]),
            shard.now,
        );
    }
    let most = egress::OUTS_PER_PEER_MAX;
    assert_eq!(shard.tracks.statistics().groups, most);
    shard.tracks.handle_peer_gone(peer(1), shard.now);
    assert_eq!(shard.tracks.statistics().groups, 0);
}

#[test]
fn datagrams_that_became_streams_count_against_the_cache() {
    let mut shard = Shard::new(TrackLimits {
        cache_bytes_max: 100_000,
        ..TrackLimits::default()
    });
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, patient);
    let mut wire = Wire::open();
    (wire.datagram_bytes_max, wire.credit) = (500, 0);
    for sequence in 0..1000 {
        shard.datagram(sequence, &[7; 900]);
        shard.pump(1, &mut wire);
    }
    let held = shard.tracks.statistics();
    assert!(held.cache_bytes <= 100_000 && held.groups > 50);
}

#[test]
fn fetched_groups_count_against_the_cache() {
    let mut shard = Shard::new(TrackLimits {
        cache_bytes_max: 100_000,
        ..TrackLimits::default()
    });
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    let source = Some(shard.source());
    for index in 1..=20u32 {
        shard.tracks.handle_peer(peer(index), Version::Lite06, true);
        shard
            .tracks
            .handle_fetch(peer(index), REQUEST, &fetch_message(u64::from(index)), source);
        shard.settle();
        let fetch = FetchKey(u64::from(index));
        let stream = StreamId(u64::from(index) * 4);
        shard.tracks.on_fetching(peer(PUBLISHER), fetch, stream);
        for chunk in chunks(FrameForm::Timed, 1, &[&[1; 20_000]], 5000) {
            shard
                .tracks
                .handle_fetch_chunk(peer(PUBLISHER), stream, chunk, shard.now);
        }
        shard
            .tracks
            .handle_fetch_closed(peer(PUBLISHER), stream, None, shard.now);
        assert!(shard.tracks.statistics().cache_bytes <= 100_000);
    }
}

#[test]
fn a_fetch_whose_readers_left_is_given_up() {
    let mut shard = shard_with_publisher();
    let source = Some(shard.source());
    shard.tracks.handle_peer(peer(1), Version::Lite06, true);
    shard.tracks.handle_fetch(peer(1), REQUEST, &fetch_message(5), source);
    shard.settle();
    shard.tracks.on_fetching(peer(PUBLISHER), FetchKey(1), StreamId(40));
    let chunk = chunks(FrameForm::Timed, 1, &[&[1; 100]], 50).remove(0);
    shard
        .tracks
        .handle_fetch_chunk(peer(PUBLISHER), StreamId(40), chunk, shard.now);
    shard.tracks.handle_fetch_ended(peer(1), REQUEST, shard.now);
    shard.settle();
    let is_cancelled = |action: &Action| {
        matches!(
            action,
            Action::CancelRequest {
                stream: StreamId(40),
                ..
            }
        )
    };
    assert!(shard.actions.iter().any(is_cancelled));
    assert_eq!(shard.tracks.statistics().groups, 0);
}

#[test]
fn the_caches_list_does_not_outgrow_the_groups() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.track = "catalog".into());
    shard.publish(0, &[b"stays the latest"]);
    let source = Some(shard.source());
    shard
        .tracks
        .handle_subscribe(request(1, StreamId(4)), HopId::UNKNOWN, &subscribe_message(), source);
    shard.settle();
    for sequence in 0..3000 {
        shard.now += Duration::from_millis(20);
        shard.publish(sequence, &[b"x"]);
        let mut wire = Wire::open();
        shard.pump(1, &mut wire);
    }
    let groups = shard.tracks.statistics().groups;
    assert!(groups < 1000, "{groups} groups are cached");
    let names = shard.tracks.cache.len();
    assert!(names <= 2 * groups + 100, "{names} names of {groups} groups");
}

#[test]
fn empty_frames_cost_what_they_take_in_memory() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    let token = shard.start(0).unwrap();
    let frames = vec![&b""[..]; 8000];
    for chunk in chunks(FrameForm::Timed, 0, &frames, usize::MAX) {
        shard.tracks.group_chunk(token, chunk);
    }
    assert!(shard.tracks.statistics().cache_bytes >= 8000 * 24);
}

#[test]
fn who_cannot_be_sent_a_group_is_told_of_its_drop() {
    let mut shard = Shard::new(TrackLimits {
        groups_per_track_max: 10_000,
        ..TrackLimits::default()
    });
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, patient);
    let most = egress::OUTS_PER_PEER_MAX as u64;
    for sequence in 0..most {
        let token = shard.start(sequence).unwrap();
        shard.tracks.group_ended(token);
    }
    shard.actions.clear();
    shard.start(most).unwrap();
    let is_drop = |action: &Action| match action {
        Action::Drop { start, code, .. } => start.0 == most && *code == stream_error::TOO_FAR_BEHIND,
        _ => false,
    };
    assert!(shard.actions.iter().any(is_drop));
}

#[test]
fn updates_rank_what_is_on_its_way_once_and_for_all() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    for sequence in 0..50 {
        shard.publish(sequence, &[b"x"]);
    }
    for round in 0..=100 {
        let update = moqswitch_proto::wire::SubscribeUpdate {
            ordered: round % 2 == 0,
            ..subscribe_message().preferences()
        };
        let patient = moqswitch_proto::wire::SubscribeUpdate {
            max_latency_ms: 60_000,
            ..update
        };
        shard.tracks.handle_subscribe_update(request(1, REQUEST), &patient);
    }
    shard.settle();
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    let order: Vec<u64> = wire.order.iter().map(|sequence| sequence.0).collect();
    assert_eq!(order, (0..50).collect::<Vec<u64>>());
}
