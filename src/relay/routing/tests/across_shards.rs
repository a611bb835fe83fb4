//! Two shards: one has the publisher, the other subscribers.

use super::*;
use moqswitch_proto::wire::stream_error;

/// Shard 0 with the publisher, shard 1 with subscribers.
fn pair() -> (Shard, Shard) {
    let owner = shard_with_publisher();
    let other = Shard::numbered(1, TrackLimits::default());
    (owner, other)
}

/// Carries messages both ways until there are none.
fn carry(owner: &mut Shard, other: &mut Shard) -> usize {
    let mut carried = 0;
    loop {
        owner.settle();
        other.settle();
        let there = std::mem::take(&mut owner.remote);
        let back = std::mem::take(&mut other.remote);
        if there.is_empty() && back.is_empty() {
            return carried;
        }
        carried += there.len() + back.len();
        for (to, message) in there {
            assert_eq!(to, ShardId(1));
            other.tracks.handle_remote(ShardId(0), message, other.now);
        }
        for (to, message) in back {
            assert_eq!(to, ShardId(0));
            owner.tracks.handle_remote(ShardId(1), message, owner.now);
        }
    }
}

#[test]
fn one_message_a_chunk_serves_every_subscriber_of_a_shard() {
    let (mut owner, mut other) = pair();
    for index in 1..=30 {
        other.subscribe(index, Version::Lite06, |_| {});
    }
    carry(&mut owner, &mut other);
    assert_eq!(owner.upstream.len(), 1);
    owner.publish(0, &[b"across", &[5; 400]]);
    let carried = carry(&mut owner, &mut other);
    assert_eq!(carried, 3, "start, chunk, end");
    for index in 1..=30 {
        let mut wire = Wire::open();
        other.pump(index, &mut wire);
        assert_eq!(
            wire.group(0).unwrap().bytes,
            encode(FrameForm::Timed, 0, &[b"across", &[5; 400]])
        );
        assert!(wire.group(0).unwrap().fin);
    }
}

#[test]
fn a_late_shard_gets_the_latest_group_from_its_first_frame() {
    let (mut owner, mut other) = pair();
    owner.subscribe(1, Version::Lite06, |_| {});
    let token = owner.start(5).unwrap();
    let pieces = chunks(FrameForm::Timed, 100, &[b"first", b"second", b"third"], 8);
    let (early, late) = pieces.split_at(2);
    for chunk in early {
        owner.tracks.group_chunk(token, chunk.clone());
    }
    other.subscribe(2, Version::Lite05, |_| {});
    carry(&mut owner, &mut other);
    for chunk in late {
        owner.tracks.group_chunk(token, chunk.clone());
    }
    owner.tracks.group_ended(token);
    carry(&mut owner, &mut other);
    let mut wire = Wire::open();
    other.pump(2, &mut wire);
    assert_eq!(
        wire.group(5).unwrap().bytes,
        encode(FrameForm::Timed, 100, &[b"first", b"second", b"third"])
    );
    assert!(wire.group(5).unwrap().fin);
}

#[test]
fn refusals_infos_fetches_and_ends_cross_too() {
    let (mut owner, mut other) = pair();
    other.subscribe(1, Version::Lite03, |_| {});
    carry(&mut owner, &mut other);
    assert!(
        other
            .actions
            .iter()
            .any(|action| matches!(action, Action::Accept { ok, .. } if ok.priority == INFO.priority))
    );
    owner.publish(0, &[b"kept"]);
    owner.publish(1, &[b"latest"]);
    carry(&mut owner, &mut other);

    other.tracks.handle_peer(peer(2), Version::Lite06, true);
    let source = Some(owner.source());
    other.tracks.handle_fetch(peer(2), REQUEST, &fetch_message(50), source);
    carry(&mut owner, &mut other);
    let fetch = owner
        .actions
        .iter()
        .find_map(|action| match action {
            Action::Fetch { fetch, .. } => Some(*fetch),
            _ => None,
        })
        .unwrap();
    owner.tracks.on_fetching(peer(PUBLISHER), fetch, StreamId(40));
    for chunk in chunks(FrameForm::Timed, 1, &[b"fetched"], usize::MAX) {
        owner
            .tracks
            .handle_fetch_chunk(peer(PUBLISHER), StreamId(40), chunk, owner.now);
    }
    owner
        .tracks
        .handle_fetch_closed(peer(PUBLISHER), StreamId(40), None, owner.now);
    carry(&mut owner, &mut other);
    let mut wire = Wire::open();
    other.pump(2, &mut wire);
    assert_eq!(wire.streams[&REQUEST].bytes, encode(FrameForm::Timed, 1, &[b"fetched"]));

    owner.tracks.handle_peer_gone(peer(PUBLISHER), owner.now);
    carry(&mut owner, &mut other);
    let mut wire = Wire::open();
    other.pump(1, &mut wire);
    assert!(
        other
            .actions
            .iter()
            .any(|action| matches!(action, Action::Refuse { peer: of, .. } if *of == peer(1)))
    );
    for shard in [&mut owner, &mut other] {
        for index in 1..=2 {
            shard.tracks.handle_peer_gone(peer(index), shard.now);
        }
    }
    carry(&mut owner, &mut other);
    owner.pass(Duration::from_secs(60));
    other.pass(Duration::from_secs(60));
    assert_empty(&owner.tracks);
    assert_empty(&other.tracks);
}

#[test]
fn the_last_subscriber_of_a_shard_ends_its_subscription_there() {
    let (mut owner, mut other) = pair();
    other.subscribe(1, Version::Lite06, |_| {});
    carry(&mut owner, &mut other);
    other.tracks.handle_subscribe_ended(peer(1), REQUEST, other.now);
    other.pass(Duration::from_secs(3));
    carry(&mut owner, &mut other);
    assert_eq!(owner.tracks.statistics().subscriptions, 0);
    owner.pass(Duration::from_secs(3));
    assert!(
        owner
            .actions
            .iter()
            .any(|action| matches!(action, Action::Unsubscribe { .. }))
    );
}

#[test]
fn a_full_queue_costs_its_group_and_no_other() {
    let (mut owner, mut other) = pair();
    other.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 60_000);
    carry(&mut owner, &mut other);
    let token = owner.start(0).unwrap();
    carry(&mut owner, &mut other);
    for chunk in chunks(FrameForm::Timed, 0, &[&[1; 100]], 50) {
        owner.tracks.group_chunk(token, chunk);
        owner.settle();
        for (shard, lost) in std::mem::take(&mut owner.remote) {
            owner.tracks.handle_remote_overflow(shard, lost);
        }
        carry(&mut owner, &mut other);
    }
    owner.tracks.group_ended(token);
    owner.publish(1, &[b"whole"]);
    carry(&mut owner, &mut other);
    let mut wire = Wire::open();
    other.pump(1, &mut wire);
    assert!(wire.group(0).is_none_or(|group| !group.fin));
    assert!(wire.group(1).unwrap().fin);
    assert!(
        other
            .actions
            .iter()
            .any(|action| matches!(action, Action::Drop { code, .. } if *code == stream_error::TOO_FAR_BEHIND))
            || wire
                .group(0)
                .is_some_and(|group| group.reset == Some(stream_error::TOO_FAR_BEHIND))
    );
}

#[test]
fn a_fetch_that_is_under_way_serves_a_shard_that_joins() {
    let (mut owner, mut other) = pair();
    let source = Some(owner.source());
    owner.tracks.handle_peer(peer(1), Version::Lite06, true);
    owner.tracks.handle_fetch(peer(1), REQUEST, &fetch_message(50), source);
    owner.settle();
    owner.tracks.on_fetching(peer(PUBLISHER), FetchKey(1), StreamId(40));
    let mut pieces = chunks(FrameForm::Timed, 1, &[&[3; 100]], 60).into_iter();
    let first = pieces.next().unwrap();
    owner
        .tracks
        .handle_fetch_chunk(peer(PUBLISHER), StreamId(40), first, owner.now);
    other.tracks.handle_peer(peer(2), Version::Lite06, true);
    other.tracks.handle_fetch(peer(2), REQUEST, &fetch_message(50), source);
    carry(&mut owner, &mut other);
    for chunk in pieces {
        owner
            .tracks
            .handle_fetch_chunk(peer(PUBLISHER), StreamId(40), chunk, owner.now);
    }
    owner
        .tracks
        .handle_fetch_closed(peer(PUBLISHER), StreamId(40), None, owner.now);
    carry(&mut owner, &mut other);
    let mut wire = Wire::open();
    other.pump(2, &mut wire);
    let received = &wire.streams[&REQUEST];
    assert_eq!(received.bytes, encode(FrameForm::Timed, 1, &[&[3; 100]]));
    assert!(received.fin);
}

#[test]
fn answers_to_a_subscription_that_is_over_change_nothing() {
    let (mut owner, mut other) = pair();
    other.subscribe(1, Version::Lite06, |_| {});
    carry(&mut owner, &mut other);
    // The publisher leaves; before that is heard of, the other shard goes on elsewhere.
    owner.tracks.handle_peer_gone(peer(PUBLISHER), owner.now);
    owner.settle();
    let stale = std::mem::take(&mut owner.remote);
    assert!(!stale.is_empty());
    owner.tracks.handle_peer(peer(9), Version::Lite06, true);
    let successor = Source {
        shard: ShardId(0),
        peer: peer(9),
    };
    let path = BroadcastPath::new("room/alice");
    other
        .tracks
        .handle_route_changed(&path, other.now, |_| RouteFate::ContinuedBy {
            source: successor,
            hops: Vec::new(),
        });
    for (_, message) in stale {
        other.tracks.handle_remote(ShardId(0), message, other.now);
    }
    carry(&mut owner, &mut other);
    assert_eq!(owner.upstream.last().map(|(peer, _)| *peer), Some(peer(9)));
    let is_refusal = |action: &Action| matches!(action, Action::Refuse { .. });
    assert!(!other.actions.iter().any(is_refusal));
}

#[test]
fn a_long_group_is_one_message_to_a_late_shard() {
    let (mut owner, mut other) = pair();
    owner.subscribe(1, Version::Lite06, |_| {});
    let token = owner.start(0).unwrap();
    for chunk in chunks(FrameForm::Timed, 0, &[&[1; 10_000]], 10) {
        owner.tracks.group_chunk(token, chunk);
    }
    other.subscribe(2, Version::Lite06, |_| {});
    other.settle();
    for (_, message) in std::mem::take(&mut other.remote) {
        owner.tracks.handle_remote(ShardId(1), message, owner.now);
    }
    owner.settle();
    assert!(owner.remote.len() < 5, "{} messages", owner.remote.len());
    owner.tracks.group_ended(token);
    carry(&mut owner, &mut other);
    let mut wire = Wire::open();
    other.pump(2, &mut wire);
    assert!(wire.group(0).unwrap().fin);
    assert_eq!(
        wire.group(0).unwrap().bytes.len(),
        encode(FrameForm::Timed, 0, &[&[1; 10_000]]).len()
    );
}
