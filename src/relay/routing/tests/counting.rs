//! What is counted of single broadcasts.

use super::*;

fn counted_shard(shard: u8) -> Shard {
    let mut shard = Shard::numbered(shard, TrackLimits::default());
    shard.tracks.count_broadcasts(|path| path.starts_with("room/"));
    shard
}

fn path() -> BroadcastPath {
    BroadcastPath::new("room/alice")
}

#[test]
fn each_frame_is_counted_once_as_it_comes_and_once_for_each_hearer() {
    let mut shard = counted_shard(0);
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.subscribe(2, Version::Lite04, |_| {});
    let (mut first, mut second) = (Wire::open(), Wire::open());
    shard.publish(5, &[b"one", b"three"]);
    shard.pump(1, &mut first);
    shard.pump(2, &mut second);
    assert_eq!(shard.tracks.take_flowing(), [path()]);
    assert!(shard.tracks.take_flowing().is_empty());
    // 6 and 7 are missing; 7 comes later. One as a datagram, which a stream must carry for the older draft.
    shard.datagram(8, b"four");
    shard.publish(7, &[b"x"]);
    shard.pump(1, &mut first);
    shard.pump(2, &mut second);
    let counts = BroadcastCounts {
        frames: 4,
        bytes: 3 + 5 + 4 + 1,
        missing: 1,
        delivered: 8,
        ..BroadcastCounts::default()
    };
    assert_eq!(shard.tracks.take_flowing(), [path()]);
    assert_eq!(shard.tracks.take_counts(&path()), counts);
    assert_eq!(shard.tracks.take_counts(&path()), BroadcastCounts::default());
}

#[test]
fn what_is_too_old_is_late_and_what_was_not_asked_for_is_not_missing() {
    let mut shard = counted_shard(0);
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.publish(2000, &[b"a"]);
    assert_eq!(shard.start(1), None);
    // Nobody hears it for a while; the publisher counts on.
    shard.tracks.end_request(request(1, REQUEST), shard.now);
    shard.pass(Duration::from_secs(60));
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.publish(5000, &[b"b"]);
    let counts = shard.tracks.take_counts(&path());
    assert_eq!((counts.frames, counts.missing, counts.late), (2, 0, 1));
}

#[test]
fn another_shard_counts_what_it_sends_and_not_what_came() {
    let mut home = counted_shard(0);
    home.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    let mut away = counted_shard(1);
    away.subscribe(1, Version::Lite06, |_| {});
    exchange(&mut home, &mut away);
    home.publish(1, &[b"one", b"two"]);
    home.datagram(2, b"three");
    exchange(&mut home, &mut away);
    away.pump(1, &mut Wire::open());
    let (mut sum, there) = (home.tracks.take_counts(&path()), away.tracks.take_counts(&path()));
    assert_eq!((sum.frames, sum.delivered), (3, 0));
    assert_eq!((there.frames, there.delivered), (0, 3));
    sum.add(&there);
    assert_eq!((sum.frames, sum.bytes, sum.delivered), (3, 11, 3));
    assert!(away.tracks.take_flowing().is_empty());
}

#[test]
fn other_broadcasts_are_not_counted() {
    let mut shard = counted_shard(0);
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, |message| {
        message.broadcast = BroadcastPath::new("hall/alice")
    });
    shard.publish(1, &[b"one"]);
    assert!(shard.tracks.take_flowing().is_empty());
    let path = BroadcastPath::new("hall/alice");
    assert_eq!(shard.tracks.take_counts(&path), BroadcastCounts::default());
}

#[test]
fn uneven_arrival_and_pauses_are_told_from_loss() {
    let mut shard = counted_shard(0);
    shard.tracks.handle_peer(peer(PUBLISHER), Version::Lite06, true);
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.publish(1, &[b"x"]);
    // 20 ms apart, each second one 5 ms late.
    for sequence in 2..=401 {
        let step = if sequence % 2 == 0 { 25 } else { 15 };
        shard.pass(Duration::from_millis(step));
        shard.publish(sequence, &[b"x"]);
    }
    // Two are lost, then nothing is said for a second.
    shard.pass(Duration::from_millis(60));
    shard.publish(404, &[b"x"]);
    shard.pass(Duration::from_secs(1));
    shard.publish(454, &[b"x"]);
    let counts = shard.tracks.take_counts(&path());
    assert_eq!((counts.frames, counts.missing, counts.paused), (403, 2 + 49, 49));
    assert_eq!(counts.steps, 400, "gaps say nothing of it");
    let mean_us = counts.unevenness_us / counts.steps;
    assert!((4_800..=5_200).contains(&mean_us), "{mean_us}");
}

/// Messages between the two, until there are none.
fn exchange(home: &mut Shard, away: &mut Shard) {
    while !home.remote.is_empty() || !away.remote.is_empty() {
        for (_, message) in std::mem::take(&mut home.remote) {
            away.tracks.handle_remote(ShardId(0), message, away.now);
        }
        away.settle();
        for (_, message) in std::mem::take(&mut away.remote) {
            home.tracks.handle_remote(ShardId(1), message, home.now);
        }
        home.settle();
    }
}
