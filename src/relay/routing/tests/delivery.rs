//! What subscribers get, in which order, and what they do not get.

use super::*;
use moqswitch_proto::wire::stream_error;

#[test]
fn every_subscriber_gets_the_bytes_as_they_came_over_one_upstream_subscription() {
    let mut shard = shard_with_publisher();
    for index in 1..=50 {
        shard.subscribe(index, Version::Lite06, |_| {});
    }
    assert_eq!(shard.upstream.len(), 1, "subscribed upstream once");
    shard.publish(3, &[b"one", b"", &[7; 5000]]);
    let expected = encode(FrameForm::Timed, 60, &[b"one", b"", &[7; 5000]]);
    for index in 1..=50 {
        let mut wire = Wire::open();
        shard.pump(index, &mut wire);
        let group = wire.group(3).unwrap();
        assert_eq!(group.bytes, expected);
        assert!(group.fin);
        assert_eq!(group.header.unwrap().subscribe, SubscribeId(7));
    }
}

#[test]
fn a_group_that_came_whole_in_one_turn_is_one_write_with_its_end() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.publish(0, &[&[1; 200]]);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    assert_eq!(wire.writes, 1);
    assert!(wire.group(0).unwrap().fin);
}

#[test]
fn a_chunk_goes_on_before_its_frame_is_complete() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    let token = shard.start(0).unwrap();
    let mut wire = Wire::open();
    let mut sent = 0;
    for chunk in chunks(FrameForm::Timed, 0, &[&[1; 3000]], 1000) {
        sent += chunk.bytes.len();
        shard.tracks.group_chunk(token, chunk);
        shard.pump(1, &mut wire);
        assert_eq!(wire.group(0).unwrap().bytes.len(), sent);
    }
    assert!(!wire.group(0).unwrap().fin);
    shard.tracks.group_ended(token);
    shard.pump(1, &mut wire);
    assert!(wire.group(0).unwrap().fin);
}

#[test]
fn a_late_joiner_starts_at_the_first_frame_of_the_latest_group() {
    for version in Version::EVERY {
        let mut shard = shard_with_publisher();
        shard.subscribe(1, Version::Lite06, |_| {});
        shard.publish(0, &[b"old"]);
        shard.pass(Duration::from_secs(5));
        let token = shard.start(1).unwrap();
        for chunk in chunks(FrameForm::Timed, 5000, &[b"first", b"second"], usize::MAX) {
            shard.tracks.group_chunk(token, chunk);
        }
        shard.subscribe(2, version, |_| {});
        let mut wire = Wire::open();
        shard.pump(2, &mut wire);
        assert_eq!(wire.order, [GroupSequence(1)], "{version}");
        let expected = encode(version.frame_form(), 5000, &[b"first", b"second"]);
        assert_eq!(wire.group(1).unwrap().bytes, expected, "{version}");
    }
}

#[test]
fn a_newest_draft_subscriber_starts_as_far_back_as_its_latency_reaches() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    for sequence in 0..10 {
        shard.publish(sequence, &[b"frame"]);
        shard.pass(Duration::from_millis(20));
    }
    shard.subscribe(2, Version::Lite06, |message| message.max_latency_ms = 70);
    shard.subscribe(3, Version::Lite05, |message| message.max_latency_ms = 70);
    shard.subscribe(4, Version::Lite06, |message| {
        message.max_latency_ms = 10_000;
        message.range.start = Some(GroupSequence(4));
    });
    let sequences = |shard: &mut Shard, index| {
        let mut wire = Wire::open();
        shard.pump(index, &mut wire);
        let mut order: Vec<u64> = wire.order.iter().map(|sequence| sequence.0).collect();
        order.sort_unstable();
        order
    };
    assert_eq!(sequences(&mut shard, 2), [6, 7, 8, 9]);
    assert_eq!(sequences(&mut shard, 3), [9], "before 06 no start means the latest");
    assert_eq!(sequences(&mut shard, 4), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn drafts_that_frame_differently_hear_each_other() {
    for (from, to) in [(Version::Lite03, Version::Lite06), (Version::Lite06, Version::Lite03)] {
        let mut shard = Shard::new(TrackLimits::default());
        shard.tracks.handle_peer(peer(PUBLISHER), from, false);
        shard.subscribe(1, to, |_| {});
        if from == Version::Lite03 {
            let id = shard.upstream_id();
            shard.tracks.handle_upstream_ok(peer(PUBLISHER), id, &OK, shard.now);
            shard.settle();
        }
        let token = shard.start(0).unwrap();
        for chunk in chunks(from.frame_form(), 50, &[b"one", b"two", &[3; 900]], 7) {
            shard.tracks.group_chunk(token, chunk);
        }
        shard.tracks.group_ended(token);
        let mut wire = Wire::open();
        shard.pump(1, &mut wire);
        let mut parser = GroupParser::new(to.frame_form());
        let bytes = Bytes::copy_from_slice(&wire.group(0).unwrap().bytes);
        let chunk = parser.push(bytes, 0).unwrap().unwrap();
        let sizes: Vec<u64> = chunk.marks.iter().map(|mark| mark.size).collect();
        assert_eq!(sizes, [3, 3, 900]);
        assert!(wire.group(0).unwrap().fin && parser.is_at_boundary());
    }
}

#[test]
fn a_group_that_ends_after_the_next_began_comes_whole_to_who_is_not_behind() {
    for max_latency_ms in [0, 10] {
        let mut shard = shard_with_publisher();
        for index in [1, 2] {
            shard.subscribe(index, Version::Lite05, |message| {
                message.max_latency_ms = max_latency_ms
            });
        }
        let mut wires = [Wire::open(), Wire::open()];
        wires[1].window = 100;
        let mut open: Option<u64> = None;
        for sequence in 0..20 {
            let token = shard.start(sequence).unwrap();
            let first = chunks(FrameForm::Timed, sequence * 20, &[&[1; 60]], usize::MAX);
            first
                .into_iter()
                .for_each(|chunk| shard.tracks.group_chunk(token, chunk));
            for (index, wire) in (1..).zip(&mut wires) {
                shard.pump(index, wire);
            }
            shard.pass(Duration::from_millis(10));
            // Only now the one before gets its last frame.
            if let Some(before) = open.replace(token) {
                let last = chunks(FrameForm::Timed, 5, &[b"late"], usize::MAX);
                last.into_iter()
                    .for_each(|chunk| shard.tracks.group_chunk(before, chunk));
                shard.tracks.group_ended(before);
            }
            for (index, wire) in (1..).zip(&mut wires) {
                shard.pump(index, wire);
            }
            shard.pass(Duration::from_millis(10));
        }
        let [fast, slow] = wires;
        for sequence in 0..19 {
            let group = fast.group(sequence).unwrap();
            assert!(
                group.fin && group.reset.is_none(),
                "{sequence} with {max_latency_ms} ms"
            );
        }
        assert!(slow.streams.len() < 5, "what found no room is given up as before");
        assert!(shard.tracks.statistics().egress.expired >= 15);
    }
}

#[test]
fn groups_that_never_end_are_given_up_when_a_few_newer_ones_have_begun() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 10);
    let mut wire = Wire::open();
    for sequence in 0..100 {
        let token = shard.start(sequence).unwrap();
        let first = chunks(FrameForm::Timed, sequence * 20, &[&[1; 60]], usize::MAX);
        first
            .into_iter()
            .for_each(|chunk| shard.tracks.group_chunk(token, chunk));
        shard.pump(1, &mut wire);
        shard.pass(Duration::from_millis(20));
    }
    let open = wire.streams.values().filter(|stream| stream.reset.is_none()).count();
    assert!(open <= 5, "{open} streams stay open");
}

#[test]
fn what_waited_behind_a_blocked_connection_is_late() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 10);
    let mut wire = Wire::open();
    let token = shard.start(0).unwrap();
    let mut pieces = chunks(FrameForm::Timed, 0, &[&[1; 60], &[2; 60]], 62).into_iter();
    shard.tracks.group_chunk(token, pieces.next().unwrap());
    shard.pump(1, &mut wire);
    // More of it comes while nothing can be sent, and so does the next group.
    wire.window = 0;
    pieces.for_each(|chunk| shard.tracks.group_chunk(token, chunk));
    shard.pump(1, &mut wire);
    shard.pass(Duration::from_secs(3));
    shard.publish(1, &[b"newest"]);
    wire.window = usize::MAX;
    shard.pump(1, &mut wire);
    assert_eq!(wire.group(0).unwrap().reset, Some(stream_error::DELIVERY_TIMEOUT));
    assert!(wire.group(1).unwrap().fin);
}

#[test]
fn what_came_all_at_once_after_a_stall_is_sent_from_the_newest_on() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 100);
    let mut wire = Wire::open();
    // Ten seconds of groups, read in one turn.
    for sequence in 0..500 {
        shard.publish(sequence, &[&[9; 200]]);
    }
    shard.pump(1, &mut wire);
    let sent: Vec<u64> = wire.order.iter().map(|sequence| sequence.0).collect();
    assert_eq!(sent[0], 499, "the newest first");
    assert!(sent.iter().all(|sequence| *sequence >= 494), "{sent:?}");
}

#[test]
fn a_slow_subscriber_loses_its_oldest_groups_and_nobody_else_any() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 100);
    shard.subscribe(2, Version::Lite06, |message| message.max_latency_ms = 100);
    let mut slow = Wire::open();
    slow.window = 300;
    let mut fast = Wire::open();
    for sequence in 0..100 {
        shard.publish(sequence, &[&[9; 200]]);
        shard.pump(1, &mut slow);
        shard.pump(2, &mut fast);
        shard.pass(Duration::from_millis(20));
    }
    assert_eq!(fast.order.len(), 100);
    assert!(fast.streams.values().all(|stream| stream.fin));

    let statistics = shard.tracks.statistics();
    assert!(statistics.egress.expired >= 90, "{statistics:?}");
    slow.window = usize::MAX;
    shard.pump(1, &mut slow);
    assert!(slow.group(99).unwrap().fin, "the latest comes");
    let cut_short = slow.streams.values().filter(|stream| !stream.fin).count();
    assert!(
        slow.streams
            .values()
            .all(|stream| stream.fin || stream.reset == Some(stream_error::DELIVERY_TIMEOUT))
    );
    assert!(cut_short <= 2, "streams that had begun are reset, others never open");
    let dropped = shard
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Drop { peer: of, .. } if *of == peer(1)))
        .count();
    assert!(dropped >= 90, "{dropped} groups were told to be dropped");
}

#[test]
fn priorities_are_exact_and_the_newest_group_goes_first() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 60_000);
    for sequence in 0..5 {
        shard.publish(sequence, &[b"x"]);
    }
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    let order: Vec<u64> = wire.order.iter().map(|sequence| sequence.0).collect();
    assert_eq!(order, [4, 3, 2, 1, 0]);

    // An ordered subscription gets the oldest first.
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite05, |message| {
        message.max_latency_ms = 60_000;
        message.ordered = true;
    });
    for sequence in 0..5 {
        shard.publish(sequence, &[b"x"]);
    }
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    let order: Vec<u64> = wire.order.iter().map(|sequence| sequence.0).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn the_more_important_track_goes_first_and_updates_count_at_once() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.priority = 1);
    let audio = shard.upstream_id();
    let mut video = subscribe_message();
    video.id = SubscribeId(8);
    video.track = "video".into();
    video.priority = 2;
    let source = shard.source();
    shard
        .tracks
        .handle_subscribe(request(1, StreamId(8)), HopId::UNKNOWN, &video, Some(source));
    shard.settle();
    let both = |shard: &mut Shard, sequence| {
        for id in [audio, shard.upstream_id()] {
            let token = shard
                .tracks
                .group_started(peer(PUBLISHER), id, GroupSequence(sequence), shard.now)
                .unwrap();
            for chunk in chunks(FrameForm::Timed, 0, &[b"x"], usize::MAX) {
                shard.tracks.group_chunk(token, chunk);
            }
            shard.tracks.group_ended(token);
        }
    };
    let order = |shard: &mut Shard| {
        let mut wire = Wire::open();
        shard.pump(1, &mut wire);
        wire.streams
            .values()
            .map(|stream| stream.header.unwrap().subscribe.0)
            .collect::<Vec<u64>>()
    };
    both(&mut shard, 0);
    assert_eq!(order(&mut shard), [8, 7]);
    both(&mut shard, 1);
    let mut update = subscribe_message().preferences();
    update.priority = 200;
    shard.tracks.handle_subscribe_update(request(1, REQUEST), &update);
    shard.settle();
    assert_eq!(order(&mut shard), [7, 8]);
}

#[test]
fn without_stream_credit_groups_wait_and_go_on_when_it_comes() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 60_000);
    for sequence in 0..4 {
        shard.publish(sequence, &[b"x"]);
    }
    let mut wire = Wire::open();
    wire.credit = 1;
    shard.pump(1, &mut wire);
    assert_eq!(wire.order.len(), 1);
    wire.credit = 10;
    shard.pump(1, &mut wire);
    assert_eq!(wire.order.len(), 4);
    assert!(wire.streams.values().all(|stream| stream.fin));
}

#[test]
fn a_partial_write_goes_on_where_it_stopped() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite03, |_| {});
    let frames: [&[u8]; 3] = [&[1; 700], &[2; 300], &[3; 50]];
    shard.publish(0, &frames);
    let mut wire = Wire::open();
    wire.window = 0;
    for _ in 0..2000 {
        wire.window = 1;
        shard.pump(1, &mut wire);
    }
    assert_eq!(wire.group(0).unwrap().bytes, encode(FrameForm::Plain, 0, &frames));
    assert!(wire.group(0).unwrap().fin);
}

#[test]
fn datagrams_go_on_as_datagrams_or_as_streams_where_they_cannot() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.subscribe(2, Version::Lite04, |_| {});
    let id = shard.upstream_id();
    for _ in 0..2 {
        let payload = Bytes::from_static(b"opus");
        shard
            .tracks
            .datagram(peer(PUBLISHER), id, GroupSequence(6), 120, payload, shard.now);
    }
    let (mut new, mut old) = (Wire::open(), Wire::open());
    shard.pump(1, &mut new);
    shard.pump(2, &mut old);
    assert_eq!(new.datagrams.len(), 1, "a duplicate is dropped");
    assert_eq!(new.datagrams[0].0.subscribe, SubscribeId(7));
    assert_eq!(new.datagrams[0].1, b"opus"[..]);
    assert_eq!(old.group(6).unwrap().bytes, encode(FrameForm::Plain, 0, &[b"opus"]));
    assert!(old.group(6).unwrap().fin);
}

#[test]
fn a_datagram_longer_than_the_path_takes_goes_as_a_stream_every_time() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.subscribe(2, Version::Lite06, |_| {});
    let (mut narrow, mut wide) = (Wire::open(), Wire::open());
    narrow.datagram_bytes_max = 500;
    let long = [7; 900];
    for sequence in 6..10 {
        shard.datagram(sequence, &long);
        shard.pump(1, &mut narrow);
        shard.pump(2, &mut wide);
    }
    shard.datagram(10, b"opus");
    shard.pump(1, &mut narrow);
    let sequences: Vec<u64> = narrow.order.iter().map(|sequence| sequence.0).collect();
    assert_eq!(sequences, [6, 7, 8, 9]);
    for sequence in 6..10 {
        let group = narrow.group(sequence).unwrap();
        assert_eq!(group.header.unwrap().subscribe, SubscribeId(7));
        assert_eq!(group.bytes, encode(FrameForm::Timed, sequence * 20, &[&long]));
        assert!(group.fin);
    }
    assert_eq!(narrow.datagrams.len(), 1, "the short one");
    assert_eq!((wide.datagrams.len(), wide.streams.len()), (4, 0));
    let held = shard.tracks.statistics();
    assert_eq!(
        (held.egress.datagrams_dropped, held.groups, held.cache_bytes),
        (0, 0, 0)
    );
}

#[test]
fn a_datagram_that_finds_no_room_is_dropped_and_counted() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    let mut wire = Wire::open();
    wire.datagram_room = 1;
    for sequence in 0..3 {
        shard.datagram(sequence, b"opus");
    }
    shard.pump(1, &mut wire);
    assert_eq!((wire.datagrams.len(), wire.streams.len()), (1, 0));
    assert_eq!(shard.tracks.statistics().egress.datagrams_dropped, 2);
    assert_eq!(shard.tracks.statistics().egress.frames, 1);
}

#[test]
fn a_datagram_too_long_for_the_path_comes_before_the_end_of_its_subscription() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    let id = shard.upstream_id();
    shard.datagram(0, &[7; 900]);
    shard
        .tracks
        .handle_upstream_closed(peer(PUBLISHER), id, Some(ErrorCode(5)));
    shard.settle();
    let refused = |actions: &[Action]| {
        actions
            .iter()
            .any(|action| matches!(action, Action::Refuse { code: ErrorCode(5), .. }))
    };
    assert!(!refused(&shard.actions));
    let mut wire = Wire::open();
    wire.datagram_bytes_max = 500;
    shard.pump(1, &mut wire);
    assert_eq!(wire.group(0).unwrap().bytes, encode(FrameForm::Timed, 0, &[&[7; 900]]));
    assert!(wire.group(0).unwrap().fin);
    assert!(refused(&shard.actions));
    assert_eq!(shard.tracks.statistics().tracks, 0);
}

#[test]
fn a_datagram_whose_subscription_is_over_goes_to_nobody() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |_| {});
    shard.datagram(0, &[7; 900]);
    shard.tracks.handle_subscribe_ended(peer(1), REQUEST, shard.now);
    shard.subscribe(2, Version::Lite06, |_| {});
    let (mut narrow, mut other) = (Wire::open(), Wire::open());
    narrow.datagram_bytes_max = 500;
    shard.pump(1, &mut narrow);
    shard.pump(2, &mut other);
    assert_eq!((narrow.streams.len(), other.streams.len()), (0, 0));
    assert_eq!(shard.tracks.statistics().groups, 0);
}

#[test]
fn a_reset_group_is_reset_for_its_subscribers_and_no_other_is() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| message.max_latency_ms = 60_000);
    let mut wire = Wire::open();
    let token = shard.start(0).unwrap();
    for chunk in chunks(FrameForm::Timed, 0, &[&[1; 100]], 50) {
        shard.tracks.group_chunk(token, chunk);
    }
    shard.pump(1, &mut wire);
    shard.tracks.group_reset(token, ErrorCode(77));
    shard.publish(1, &[b"fine"]);
    shard.pump(1, &mut wire);
    assert_eq!(wire.group(0).unwrap().reset, Some(ErrorCode(77)));
    assert!(wire.group(1).unwrap().fin);
}

#[test]
fn a_frame_range_is_served_exactly() {
    let mut shard = shard_with_publisher();
    shard.subscribe(1, Version::Lite06, |message| {
        message.range = GroupRange {
            start: Some(GroupSequence(0)),
            end: Some(GroupSequence(0)),
            frame_start: 1,
            frame_end: Some(2),
        };
    });
    shard.publish(0, &[b"a", b"b", b"c", b"d"]);
    let mut wire = Wire::open();
    shard.pump(1, &mut wire);
    let group = wire.group(0).unwrap();
    assert_eq!(group.header.unwrap().frame_start, 1);
    let bytes = Bytes::copy_from_slice(&group.bytes);
    let chunk = GroupParser::new(FrameForm::Timed).push(bytes, 0).unwrap().unwrap();
    assert_eq!(chunk.marks.len(), 2);
    assert_eq!(chunk.marks[0].timestamp, 1);
    assert!(group.fin);
}
