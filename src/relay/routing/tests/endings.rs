//! Where tracks, subscriptions and sources end, and what goes on beyond that.

use super::*;

/// Subscribes as a peer who named its hop.
fn subscribe_from_hop(shard: &mut Shard, index: u32, hop: u64) {
    shard.tracks.handle_peer(peer(index), Version::Lite06, true);
    let source = Some(shard.source());
    shard
        .tracks
        .handle_subscribe(request(index, REQUEST), HopId(hop), &subscribe_message(), source);
    shard.settle();
}

fn is_finished(shard: &Shard, index: u32) -> bool {
    let is_finish = |action: &Action| matches!(action, Action::Finish { peer: of, .. } if *of == peer(index));
    shard.actions.iter().any(is_finish)
}

fn is_refused(shard: &Shard, index: u32) -> bool {
    let is_refusal = |action: &Action| matches!(action, Action::Refuse { peer: of, .. } if *of == peer(index));
    shard.actions.iter().any(is_refusal)
}

fn patient(message: &mut Subscribe) {
    message.max_latency_ms = 60_000;
}

/// The publisher ends its subscription behind `end`.
fn close(shard: &mut Shard, end: u64) {
    let id = shard.upstream_id();
    shard
        .tracks
        .handle_upstream_end(peer(PUBLISHER), id, GroupSequence(end));
    shard.tracks.handle_upstream_closed(peer(PUBLISHER), id, None);
    shard.settle();
}

#[test]
fn groups_that_come_behind_the_end_of_the_subscription_are_delivered() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    shard.publish(0, &[b"before"]);
    close(&mut shard, 2);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert!(!is_finished(&shard, 1));
    shard.publish(1, &[b"behind"]);
    shard.pump(1, &mut wire);
    assert!(wire.group(1).unwrap().fin);
    assert!(is_finished(&shard, 1));
    let is_left = |action: &Action| matches!(action, Action::Unsubscribe { .. });
    assert!(shard.actions.iter().any(is_left), "the session may forget it too");
}

#[test]
fn a_missing_group_holds_up_the_end_for_a_while_only() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    shard.publish(0, &[b"x"]);
    shard.publish(2, &[b"x"]);
    close(&mut shard, 3);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    shard.pass(Duration::ZERO);
    shard.pass(Duration::from_millis(500));
    assert!(!is_finished(&shard, 1));
    shard.pass(Duration::from_secs(1));
    assert!(is_finished(&shard, 1));
}

#[test]
fn the_end_of_a_range_is_not_the_end_of_the_track() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| {
        patient(message);
        message.range.end = Some(GroupSequence(1));
    });
    shard.publish(0, &[b"x"]);
    shard.publish(1, &[b"x"]);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert!(is_finished(&shard, 1));
    close(&mut shard, 2);
    shard.subscribe(2, Version::Lite06, patient);
    assert_eq!(shard.upstream.len(), 2, "asked for again");
    shard.publish(2, &[b"more"]);
    let mut wire = Wire::open();
    shard.pump(2, &mut wire);
    assert!(wire.group(2).unwrap().fin);
    assert!(!is_finished(&shard, 2));
}

#[test]
fn a_range_that_the_publisher_never_fills_ends_all_the_same() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.range.end = Some(GroupSequence(9)));
    shard.publish(3, &[b"x"]);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    close(&mut shard, 10);
    shard.pass(Duration::ZERO);
    shard.pass(Duration::from_secs(2));
    assert!(is_finished(&shard, 1));
}

#[test]
fn groups_of_a_range_may_come_in_any_order() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| {
        patient(message);
        message.range.end = Some(GroupSequence(2));
    });
    shard.subscribe(2, Version::Lite06, patient);
    let mut wire = Wire::open();
    for sequence in [0, 2, 3] {
        shard.publish(sequence, &[b"x"]);
        shard.pump(1, &mut wire);
    }
    assert!(!is_finished(&shard, 1), "group 1 may be on its way");
    shard.publish(1, &[b"late"]);
    shard.pump(1, &mut wire);
    assert!(wire.group(1).unwrap().fin);
    assert!(is_finished(&shard, 1));
}

#[test]
fn a_broadcast_that_is_announced_again_begins_a_new_track() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    shard.publish(0, &[b"old"]);
    let path = BroadcastPath::new("room/alice");
    shard
        .tracks
        .handle_route_changed(&path, shard.now, |_| RouteFate::Ended);
    shard.subscribe(2, Version::Lite06, patient);
    assert_eq!(shard.upstream.len(), 2);
    let mut wires = [Wire::open(), Wire::open()];
    shard.pump(1, &mut wires[0]);
    shard.pump(2, &mut wires[1]);
    assert!(wires[0].group(0).unwrap().fin, "what is in flight goes on");
    assert!(wires[1].group(0).is_none(), "another generation is not mixed in");
}

#[test]
fn nobody_is_continued_from_what_passed_through_him() {
    let mut shard = shard_with_publisher();
    let other = Source {
        shard: ShardId(0),
        peer: peer(9),
    };
    shard.tracks.handle_peer(peer(9), Version::Lite06, true);
    subscribe_from_hop(&mut shard, 1, 42);
    subscribe_from_hop(&mut shard, 2, 43);
    let path = BroadcastPath::new("room/alice");
    shard
        .tracks
        .handle_route_changed(&path, shard.now, |_| RouteFate::ContinuedBy {
            source: other,
            hops: vec![HopId(7), HopId(42)],
        });
    shard.settle();
    assert!(is_refused(&shard, 1));
    assert!(!is_refused(&shard, 2));
}

#[test]
fn draft_05_may_name_the_last_group_as_the_end() {
    for (version, is_wanted) in [(Version::Lite05, true), (Version::Lite06, false)] {
        let mut shard = Shard::new(TrackLimits::default());
        shard.tracks.handle_peer(peer(PUBLISHER), version, true);
        shard.subscribe(1, Version::Lite06, patient);
        shard.publish(6, &[b"x"]);
        let id = shard.upstream_id();
        shard.tracks.handle_upstream_end(peer(PUBLISHER), id, GroupSequence(7));
        assert_eq!(shard.start(7).is_some(), is_wanted);
        assert_eq!(shard.start(8), None);
    }
}

#[test]
fn a_publisher_that_leaves_behind_its_last_word_is_not_missed() {
    // Drafts 03 and 04 end a subscription without saying where.
    for version in Version::ALL {
        let mut shard = Shard::new(TrackLimits::default());
        shard.tracks.handle_peer(peer(PUBLISHER), version, true);
        shard.subscribe(1, version, patient);
        shard.publish(0, &[b"all there is"]);
        let id = shard.upstream_id();
        shard.tracks.handle_upstream_closed(peer(PUBLISHER), id, None);
        shard.tracks.handle_peer_gone(peer(PUBLISHER), shard.now);
        shard.settle();
        let mut wire = Wire::open();
        shard.pump(1, &mut wire);
        assert!(wire.group(0).unwrap().fin);
        assert!(is_finished(&shard, 1) && !is_refused(&shard, 1), "{version:?}");
        shard.tracks.handle_peer_gone(peer(1), shard.now);
        shard.pass(Duration::from_secs(60));
        shard.pass(Duration::from_secs(60));
        while shard.tracks.poll_dirty_peer().is_some() {}
        assert_empty(&shard.tracks);
    }
}

#[test]
fn a_group_that_outlasts_its_subscription_is_delivered_to_its_end() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, patient);
    let token = shard.start(0).unwrap();
    close(&mut shard, 1);
    let mut wire = Wire::open();
    let mut written = 0;
    for chunk in chunks(FrameForm::Timed, 0, &[&[5; 1000]], 100) {
        written += chunk.bytes.len();
        shard.tracks.group_chunk(token, chunk);
        shard.pass(Duration::from_secs(2));
        shard.pump(1, &mut wire);
    }
    let is_left = |action: &Action| matches!(action, Action::Unsubscribe { .. });
    assert!(!shard.actions.iter().any(is_left), "that would stop the group");
    shard.tracks.group_ended(token);
    shard.pump(1, &mut wire);
    assert!(wire.group(0).unwrap().fin);
    assert_eq!(wire.group(0).unwrap().bytes.len(), written);
    assert!(shard.actions.iter().any(is_left));
    assert!(is_finished(&shard, 1));
}
