use std::collections::HashMap;
use std::iter;
use std::os::fd::RawFd;
use std::thread;
use std::time::Instant;

use super::*;
use crate::net::ring::Wait;
use crate::net::socket::{SocketOptions, bind_client};
use crate::net::wake;

#[test]
fn every_added_socket_echoes() {
    for count in [1, 64, 2_000] {
        let mut ring = ring();
        let ids = add(&mut ring, "127.0.0.1:0", count);
        let peer = peer("127.0.0.1:0");
        for (number, id) in ids.iter().enumerate() {
            let target = ring.socket_local_addr(*id).unwrap();
            peer.send_to(&stamp(number), target).unwrap();
            if number % 100 == 99 {
                ring.turn(Wait::None).unwrap();
            }
        }
        let mut echoed = 0;
        let mut received_back = 0;
        while echoed < count {
            for (id, mut received) in gather(&mut ring) {
                let datagram = received.datagrams().next().unwrap().to_vec();
                assert_eq!(id, ids[number_of(&datagram)], "of that socket");
                assert_eq!(received.local, ring.socket_local_addr(id).unwrap().ip());
                ring.send_on(id, &datagram, received.source, Some(received.local));
                echoed += 1;
                if echoed % 100 == 0 {
                    ring.turn(Wait::None).unwrap();
                    received_back += take_echoes(&peer, &ring, &ids, 100);
                }
            }
        }
        ring.turn(Wait::None).unwrap();
        take_echoes(&peer, &ring, &ids, count - received_back);
        let statistics = ring.socket_statistics();
        assert_eq!(
            (statistics.receives, statistics.datagrams),
            (count as u64, count as u64)
        );
        assert_eq!((statistics.sends, statistics.segments), (count as u64, count as u64));
        assert_eq!(statistics.bytes_received, count as u64 * 172);
        assert_eq!(statistics.send_errors.total(), 0);
        assert_eq!(ring.statistics().receives, 0, "kept apart");
    }
}

#[test]
fn one_turn_sends_on_all_sockets_and_its_own() {
    let mut ring = ring();
    let ids = add(&mut ring, "127.0.0.1:0", 20);
    let peer = peer("127.0.0.1:0");
    let target = peer.local_addr().unwrap();
    ring.turn(Wait::None).unwrap();
    let before = ring.statistics().enters;
    for id in &ids {
        ring.send_on(*id, &[1; 172], target, None);
    }
    let mut train = ring.acquire_train().unwrap();
    train.commit(100);
    ring.queue_train(train, 100, target, None);
    assert_eq!(ring.turn(Wait::None).unwrap().sends, 21);
    assert_eq!(ring.statistics().enters, before + 1);
    let sources: Vec<_> = (0..21).map(|_| peer.recv_from(&mut [0; 200]).unwrap().1).collect();
    let expected = ids.iter().map(|id| ring.socket_local_addr(*id).unwrap());
    let expected: Vec<_> = expected.chain([ring.local_addr().unwrap()]).collect();
    assert_eq!(sources, expected);
}

#[test]
fn sends_on_added_sockets_do_not_end_the_wait() {
    let mut ring = ring();
    let id = add(&mut ring, "127.0.0.1:0", 1)[0];
    let peer = peer("127.0.0.1:0");
    ring.turn(Wait::None).unwrap();
    for _ in 0..50 {
        ring.send_on(id, &[1; 172], peer.local_addr().unwrap(), None);
    }
    let start = Instant::now();
    let turn = ring.turn(wait(20_000)).unwrap();
    assert_eq!((turn.socket_received, turn.sends), (0, 50));
    assert!(start.elapsed() >= Duration::from_millis(19));
}

#[test]
fn ipv6_and_both_addresses_of_a_datagram_are_known() {
    let mut ring = ring();
    for (bound, sender, local) in [
        ("[::1]:0", "[::1]:0", "::1"),
        ("[::]:0", "[::1]:0", "::1"),
        ("[::]:0", "127.0.0.1:0", "127.0.0.3"),
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.3"),
        ("127.0.0.3:0", "127.0.0.1:0", "127.0.0.3"),
    ] {
        let id = ring.add_socket(UdpSocket::bind(bound).unwrap()).unwrap();
        let peer = peer(sender);
        let local: std::net::IpAddr = local.parse().unwrap();
        let port = ring.socket_local_addr(id).unwrap().port();
        peer.send_to(&stamp(1), (local, port)).unwrap();
        let (from, received) = poll(&mut ring);
        assert_eq!((from, received.source), (id, peer.local_addr().unwrap()));
        assert_eq!(received.local, local);
        // And back from the very address it was sent to.
        ring.send_on(id, &stamp(2), received.source, Some(received.local));
        ring.turn(Wait::None).unwrap();
        assert_eq!(peer.recv_from(&mut [0; 200]).unwrap(), (172, (local, port).into()));
    }
}

#[test]
fn trains_leave_on_added_sockets_and_larger_datagrams_too() {
    let mut ring = ring();
    let id = add(&mut ring, "127.0.0.1:0", 1)[0];
    let peer = peer("127.0.0.1:0");
    let target = peer.local_addr().unwrap();
    let mut train = ring.acquire_train().unwrap();
    train.spare_mut()[..1_000].fill(7);
    train.commit(1_000);
    ring.queue_train_on(id, train, 400, target, None);
    ring.send_on(id, &[8; 9_000], target, None);
    ring.send_on(id, &[9; 65_508], target, None);
    ring.turn(Wait::None).unwrap();
    let sizes: Vec<_> = (0..4).map(|_| peer.recv(&mut [0; 10_000]).unwrap()).collect();
    assert_eq!(sizes, [400, 400, 200, 9_000]);
    let statistics = ring.socket_statistics();
    assert_eq!((statistics.sends, statistics.segments), (2, 4));
    assert_eq!(statistics.send_errors.too_large, 1);
}

#[test]
fn datagrams_without_payload_leave_on_added_sockets() {
    let mut ring = ring();
    let ids = add(&mut ring, "127.0.0.1:0", 2);
    let peer = peer("127.0.0.1:0");
    let target = peer.local_addr().unwrap();
    ring.connect_socket(ids[1], target).unwrap();
    for id in ids {
        ring.send_on(id, &[], target, None);
        ring.turn(Wait::None).unwrap();
        let (bytes, source) = peer.recv_from(&mut [0; 200]).unwrap();
        assert_eq!((bytes, source), (0, ring.socket_local_addr(id).unwrap()));
    }
}

#[test]
fn connected_sockets_send_to_their_peer() {
    let mut ring = ring();
    let (first, second) = (peer("127.0.0.1:0"), peer("127.0.0.1:0"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(first.local_addr().unwrap()).unwrap();
    let id = ring.add_socket(socket).unwrap();
    for peer in [&first, &second] {
        ring.connect_socket(id, peer.local_addr().unwrap()).unwrap();
        ring.send_on(id, &stamp(1), peer.local_addr().unwrap(), None);
        let mut train = ring.acquire_train().unwrap();
        train.commit(20);
        ring.queue_train_on(id, train, 10, peer.local_addr().unwrap(), None);
        ring.turn(Wait::None).unwrap();
        let sizes = [(); 3].map(|()| peer.recv(&mut [0; 200]).unwrap());
        assert_eq!(sizes, [172, 10, 10]);
    }
    // It sends to others too, but does not hear them.
    ring.send_on(id, &stamp(3), first.local_addr().unwrap(), None);
    ring.turn(Wait::None).unwrap();
    let target = ring.socket_local_addr(id).unwrap();
    assert_eq!(first.recv_from(&mut [0; 200]).unwrap(), (172, target));
    first.send_to(&stamp(4), target).unwrap();
    second.send_to(&stamp(2), target).unwrap();
    assert_eq!(poll(&mut ring).1.source, second.local_addr().unwrap());
}

#[test]
fn full_ring_gives_the_socket_back_and_has_room_again_after_a_removal() {
    let mut ring = ring_with(&RingConfig {
        sockets_max: 2,
        ..RingConfig::default()
    });
    let ids = add(&mut ring, "127.0.0.1:0", 2);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let refused = ring.add_socket(socket).unwrap_err();
    assert!(matches!(refused, AddSocketError::Full { sockets_max: 2, .. }));
    let socket = refused.into_socket();
    assert_eq!(socket.local_addr().unwrap(), addr);
    ring.turn(Wait::None).unwrap();
    assert!(ring.remove_socket(ids[0]));
    assert!(!ring.remove_socket(ids[0]), "once");
    settle(&mut ring);
    let id = ring.add_socket(socket).unwrap();
    assert_ne!(id, ids[0]);
    assert!(!ring.remove_socket(ids[0]), "its place is another's");
    assert_eq!(ring.socket_count(), 2);
    let none = RingConfig {
        sockets_max: 0,
        ..RingConfig::default()
    };
    let refused = ring_with(&none).add_socket(UdpSocket::bind("127.0.0.1:0").unwrap());
    assert!(matches!(refused, Err(AddSocketError::Full { sockets_max: 0, .. })));
}

#[test]
fn removed_socket_is_unknown_its_receives_are_dropped_and_its_port_is_free() {
    let mut ring = ring();
    let ids = add(&mut ring, "127.0.0.1:0", 2);
    let peer = peer("127.0.0.1:0");
    let target = ring.socket_local_addr(ids[0]).unwrap();
    for _ in 0..10 {
        peer.send_to(&stamp(0), target).unwrap();
    }
    peer.send_to(&stamp(1), ring.socket_local_addr(ids[1]).unwrap())
        .unwrap();
    while ring.socket_statistics().receives < 11 {
        ring.turn(Wait::None).unwrap();
    }
    // What was queued before leaves; what comes after is dropped.
    ring.send_on(ids[0], &stamp(2), peer.local_addr().unwrap(), None);
    ring.remove_socket(ids[0]);
    assert_eq!(buffers_provided(&ring), 1_023, "but for the other socket's");
    ring.send_on(ids[0], &stamp(3), peer.local_addr().unwrap(), None);
    let train = ring.acquire_datagram().unwrap();
    ring.queue_train_on(ids[0], train, 10, peer.local_addr().unwrap(), None);
    assert_eq!(ring.socket_statistics().sends_unknown, 2);
    assert_eq!(poll(&mut ring).0, ids[1]);
    settle(&mut ring);
    assert!(ring.poll_socket_receive().is_none());
    let mut datagram = [0; 200];
    let bytes = peer.recv(&mut datagram).unwrap();
    assert_eq!(number_of(&datagram[..bytes]), 2);
    UdpSocket::bind(target).unwrap();
    assert_eq!(buffers_provided(&ring), 1_024, "all buffers are back");
}

#[test]
fn socket_removed_before_its_first_turn_is_closed_after_what_it_sent() {
    let mut ring = ring();
    let peer = peer("127.0.0.1:0");
    for _ in 0..100 {
        let id = add(&mut ring, "127.0.0.1:0", 1)[0];
        let local = ring.socket_local_addr(id).unwrap();
        ring.send_on(id, &stamp(1), peer.local_addr().unwrap(), None);
        ring.remove_socket(id);
        ring.turn(Wait::None).unwrap();
        assert_eq!(peer.recv_from(&mut [0; 200]).unwrap(), (172, local));
    }
    settle(&mut ring);
    assert_eq!(ring.socket_statistics().send_errors.total(), 0);
}

#[test]
fn sockets_that_come_and_go_under_traffic_are_not_mistaken_for_each_other() {
    let mut ring = ring_with(&RingConfig {
        sockets_max: 64,
        socket_receive_buffers: 32,
        ..RingConfig::default()
    });
    let peer = peer("127.0.0.1:0");
    let mut numbers = HashMap::new();
    let mut open = VecDeque::new();
    let (mut next, mut received_from) = (0, 0);
    while next < 3_000 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = socket.local_addr().unwrap();
        match ring.add_socket(socket) {
            Ok(id) => {
                assert_eq!(numbers.insert(id, next), None, "ids are not used again");
                open.push_back((id, target, next));
                next += 1;
            }
            Err(error) => {
                drop(error.into_socket());
                ring.turn(Wait::None).unwrap();
            }
        }
        for (_, target, number) in &open {
            peer.send_to(&stamp(*number), target).unwrap();
        }
        if next % 3 == 0 {
            ring.turn(Wait::None).unwrap();
        }
        while open.len() > 40 + next % 20 {
            let (id, ..) = open.pop_front().unwrap();
            assert!(ring.remove_socket(id));
        }
        for _ in 0..8 {
            let Some((id, mut received)) = ring.poll_socket_receive() else {
                break;
            };
            let number = number_of(received.datagrams().next().unwrap());
            assert_eq!(numbers[&id], number);
            assert!(open.iter().any(|(open, ..)| *open == id), "a removed one gives nothing");
            received_from += 1;
        }
    }
    assert!(received_from > 1_000, "{received_from}");
    for (id, ..) in open {
        ring.remove_socket(id);
    }
    settle(&mut ring);
    assert_eq!(buffers_provided(&ring), 32);
    assert!(ring.socket_statistics().receive_buffers_exhausted > 0);
}

#[test]
fn flood_on_an_added_socket_takes_nothing_from_the_rings_own() {
    let mut ring = ring_with(&RingConfig {
        receive_buffers: 4,
        socket_receive_buffers: 16,
        ..RingConfig::default()
    });
    let id = add(&mut ring, "127.0.0.1:0", 1)[0];
    let (flooded, own) = (ring.socket_local_addr(id).unwrap(), ring.local_addr().unwrap());
    let peer = peer("127.0.0.1:0");
    let mut held = Vec::new();
    let mut own_received = 0;
    for number in 0..200 {
        for _ in 0..100 {
            peer.send_to(&stamp(number), flooded).unwrap();
        }
        peer.send_to(&stamp(number), own).unwrap();
        ring.turn(Wait::None).unwrap();
        ring.turn(Wait::None).unwrap();
        // The flood's buffers are never given back.
        held.extend(iter::from_fn(|| ring.poll_socket_receive()));
        while let Some(mut received) = ring.poll_receive() {
            assert_eq!(number_of(received.datagrams().next().unwrap()), own_received);
            own_received += 1;
        }
    }
    assert_eq!((own_received, held.len()), (200, 16));
    assert!(ring.socket_statistics().receive_buffers_exhausted > 0);
    assert_eq!(ring.statistics().receive_buffers_exhausted, 0);
    // It is received again when they are.
    held.clear();
    assert_eq!(poll(&mut ring).0, id);
}

#[test]
fn sockets_without_buffers_do_not_keep_a_turn_awake_and_lose_nothing() {
    let mut ring = ring_with(&RingConfig {
        socket_receive_buffers: 4,
        ..RingConfig::default()
    });
    let ids = add(&mut ring, "127.0.0.1:0", 10);
    let peer = peer("127.0.0.1:0");
    for round in 0..5 {
        for (number, id) in ids.iter().enumerate() {
            let target = ring.socket_local_addr(*id).unwrap();
            peer.send_to(&stamp(round * 10 + number), target).unwrap();
        }
    }
    let mut held = Vec::new();
    while held.len() < 4 {
        held.extend(gather(&mut ring));
    }
    ring.turn(Wait::None).unwrap();
    let start = Instant::now();
    assert_eq!(ring.turn(wait(20_000)).unwrap().socket_received, 0);
    assert!(start.elapsed() >= Duration::from_millis(19), "it did not spin");
    let mut next: Vec<_> = (0..10).collect();
    let mut count = 0;
    while count < 50 {
        for (id, mut received) in mem::take(&mut held) {
            let number = number_of(received.datagrams().next().unwrap());
            assert_eq!((ids[number % 10], next[number % 10]), (id, number), "in order");
            next[number % 10] += 10;
            count += 1;
        }
        held.extend(iter::from_fn(|| ring.poll_socket_receive()));
        if held.is_empty() {
            ring.turn(wait(1_000_000)).unwrap();
        }
    }
}

#[test]
fn unpolled_receives_of_added_sockets_keep_a_turn_awake() {
    let mut ring = ring();
    let id = add(&mut ring, "127.0.0.1:0", 1)[0];
    let peer = peer("127.0.0.1:0");
    peer.send_to(&stamp(0), ring.socket_local_addr(id).unwrap()).unwrap();
    while ring.turn(wait(1_000_000)).unwrap().socket_received == 0 {}
    let start = Instant::now();
    ring.turn(wait(10_000_000)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn datagram_larger_than_the_buffer_is_counted_and_joined_ones_come_singly() {
    let mut ring = ring();
    let socket = bind_client("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    let id = ring.add_socket(socket).unwrap(); // with GRO
    let peer = peer("127.0.0.1:0");
    let target = ring.socket_local_addr(id).unwrap();
    peer.send_to(&[1; 1_501], target).unwrap();
    let mut train = ring.acquire_train().unwrap();
    train.commit(5_000);
    ring.queue_train(train, 1_000, target, None);
    for _ in 0..5 {
        assert_eq!(poll(&mut ring).1.payload_bytes(), 1_000);
    }
    assert_eq!(ring.socket_statistics().truncated, 1);
}

#[test]
fn arrivals_are_noted_on_added_sockets_too() {
    let mut ring = ring_with(&RingConfig {
        notes_arrivals: true,
        ..RingConfig::default()
    });
    let id = add(&mut ring, "127.0.0.1:0", 1)[0];
    peer("127.0.0.1:0")
        .send_to(&stamp(0), ring.socket_local_addr(id).unwrap())
        .unwrap();
    assert!(poll(&mut ring).1.arrived.is_some());
}

#[test]
fn refused_peer_does_not_end_the_receive() {
    let mut ring = ring();
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = gone.local_addr().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(target).unwrap();
    let local = socket.local_addr().unwrap();
    let id = ring.add_socket(socket).unwrap();
    drop(gone);
    let mut sent = 0;
    // More often than failures of another kind may follow each other.
    while ring.socket_statistics().refusals <= u64::from(RECEIVE_FAILURES_MAX) {
        ring.send_on(id, &stamp(0), target, None);
        ring.turn(Wait::None).unwrap();
        sent += 1;
        assert!(sent < 10_000, "{:?}", ring.socket_statistics());
    }
    assert!(ring.poll_socket_event().is_none());
    assert_eq!(ring.socket_statistics().receive_errors, 0);
    let back = UdpSocket::bind(target).unwrap();
    back.send_to(&stamp(5), local).unwrap();
    let (from, mut received) = poll(&mut ring);
    assert_eq!((from, number_of(received.datagrams().next().unwrap())), (id, 5));
}

#[test]
fn receive_that_keeps_failing_is_stopped_and_reported_and_the_rest_goes_on() {
    let mut ring = ring();
    let ids = add(&mut ring, "127.0.0.1:0", 2);
    ring.turn(Wait::None).unwrap();
    let id = ids[0];
    for attempt in 0..RECEIVE_FAILURES_MAX {
        assert!(ring.poll_socket_event().is_none(), "after {attempt}");
        ring.handle_socket_receive(id.place(), id.mark(), -libc::EIO, MORE);
    }
    let SocketEvent::ReceiveStopped { socket, error } = ring.poll_socket_event().unwrap();
    assert_eq!((socket, error.raw_os_error()), (id, Some(libc::EIO)));
    assert!(ring.poll_socket_event().is_none());
    // A receive that ends then is not armed again.
    let rearms = ring.socket_statistics().receive_rearms;
    ring.handle_socket_receive(id.place(), id.mark(), -libc::ENOBUFS, MORE);
    assert_eq!(ring.socket_statistics().receive_rearms, rearms);
    let peer = peer("127.0.0.1:0");
    ring.send_on(id, &stamp(0), peer.local_addr().unwrap(), None);
    peer.send_to(&stamp(1), ring.socket_local_addr(ids[1]).unwrap())
        .unwrap();
    assert_eq!(poll(&mut ring).0, ids[1]);
    assert_eq!(peer.recv(&mut [0; 200]).unwrap(), 172, "it still sends");
    // The event of a removed socket is not told.
    ring.handle_socket_receive(ids[1].place(), ids[1].mark(), -libc::EIO, MORE);
    for _ in 0..RECEIVE_FAILURES_MAX {
        ring.handle_socket_receive(ids[1].place(), ids[1].mark(), -libc::EIO, MORE);
    }
    ring.remove_socket(ids[1]);
    assert!(ring.poll_socket_event().is_none());
    ring.remove_socket(id);
    settle(&mut ring);
}

#[test]
fn paused_ring_shows_datagrams_of_added_sockets_on_one_descriptor() {
    let mut ring = ring();
    assert!(ring.sockets_as_fd().is_none());
    let ids = add(&mut ring, "127.0.0.1:0", 1_000);
    let peer = peer("127.0.0.1:0");
    for number in [0, 999, 500, 3] {
        ring.pause().unwrap();
        let descriptor = ring.sockets_as_fd().unwrap().as_raw_fd();
        assert!(!is_readable(descriptor, 0));
        let target = ring.socket_local_addr(ids[number]).unwrap();
        peer.send_to(&stamp(number), target).unwrap();
        assert!(is_readable(descriptor, 10_000));
        ring.resume();
        assert!(ring.sockets_as_fd().is_none());
        let (id, mut received) = poll(&mut ring);
        assert_eq!(
            (id, number_of(received.datagrams().next().unwrap())),
            (ids[number], number)
        );
    }
}

#[test]
fn pause_and_resume_lose_nothing_of_added_sockets() {
    let mut ring = ring_with(&RingConfig {
        socket_receive_buffers: 8,
        ..RingConfig::default()
    });
    // It holds all of them.
    let socket = bind_client("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    let id = ring.add_socket(socket).unwrap();
    let target = ring.socket_local_addr(id).unwrap();
    let sender = thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..4_000 {
            socket.send_to(&stamp(number), target).unwrap();
            if number % 16 == 0 {
                thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while next < 4_000 {
        ring.pause().unwrap();
        while let Some((_, mut received)) = ring.poll_socket_receive() {
            assert_eq!(number_of(received.datagrams().next().unwrap()), next);
            next += 1;
        }
        if next < 4_000 {
            let descriptor = ring.sockets_as_fd().unwrap().as_raw_fd();
            assert!(is_readable(descriptor, 10_000), "stuck at {next}");
        }
        ring.resume();
        ring.turn(Wait::None).unwrap();
    }
    sender.join().unwrap();
}

#[test]
fn parked_shard_is_woken_by_a_datagram_on_an_added_socket() {
    let executor = glommio::LocalExecutorBuilder::default().make().unwrap();
    executor.run(async {
        let mut ring = ring();
        let ids = add(&mut ring, "127.0.0.1:0", 300);
        let long = Duration::from_secs(20);
        for number in [0, 299, 7] {
            ring.pause().unwrap();
            let begun = Instant::now();
            ring.parked(Duration::from_millis(50)).await.unwrap();
            let slept = begun.elapsed();
            assert!(slept >= Duration::from_millis(50), "slept {slept:?}");
            let target = ring.socket_local_addr(ids[number]).unwrap();
            let thread = thread::spawn(move || {
                // Nobody sends: this only lets the time pass.
                let (_sender, nothing) = std::sync::mpsc::sync_channel::<()>(1);
                let _ = nothing.recv_timeout(Duration::from_millis(50));
                peer("127.0.0.1:0").send_to(&stamp(number), target).unwrap();
            });
            let begun = Instant::now();
            ring.parked(long).await.unwrap();
            assert!(begun.elapsed() < long / 2, "a datagram ends it");
            thread.join().unwrap();
            ring.resume();
            assert_eq!(poll(&mut ring).0, ids[number]);
        }
        // One gathered by the pause itself does not wait until it is over.
        peer("127.0.0.1:0")
            .send_to(&stamp(1), ring.socket_local_addr(ids[1]).unwrap())
            .unwrap();
        ring.pause().unwrap();
        let begun = Instant::now();
        ring.parked(long).await.unwrap();
        assert!(begun.elapsed() < long / 2);
        ring.resume();
        assert_eq!(poll(&mut ring).0, ids[1]);
    });
}

#[test]
fn ring_may_be_dropped_with_traffic_on_added_sockets() {
    for round in 0..10 {
        let mut ring = ring();
        let ids = add(&mut ring, "127.0.0.1:0", 500);
        let locals: Vec<_> = ids.iter().map(|id| ring.socket_local_addr(*id).unwrap()).collect();
        let peer = peer("127.0.0.1:0");
        for (number, local) in locals.iter().enumerate() {
            peer.send_to(&stamp(number), local).unwrap();
        }
        for _ in 0..round {
            ring.turn(Wait::None).unwrap();
        }
        let kept = ring.poll_socket_receive();
        for id in &ids[..200] {
            ring.send_on(*id, &stamp(1), peer.local_addr().unwrap(), None);
            ring.remove_socket(*id);
        }
        let train = ring.acquire_datagram();
        drop(ring);
        // The kernel has let go of all ports.
        for local in locals.iter().step_by(50) {
            UdpSocket::bind(local).unwrap();
        }
        // Tokens outlive their ring.
        if let Some((_, mut received)) = kept {
            assert_eq!(received.datagrams().next().unwrap().len(), 172);
        }
        train.unwrap().spare_mut().fill(1);
        for _ in 0..200 {
            peer.recv(&mut [0; 200]).unwrap();
        }
    }
}

fn ring() -> UdpRing {
    ring_with(&RingConfig::default())
}

fn ring_with(config: &RingConfig) -> UdpRing {
    let socket = bind_client("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    let (_waker, receiver) = wake::channel().unwrap();
    UdpRing::new(socket, receiver, config).unwrap()
}

fn add(ring: &mut UdpRing, addr: &str, count: usize) -> Vec<SocketId> {
    let sockets = (0..count).map(|_| UdpSocket::bind(addr).unwrap());
    sockets.map(|socket| ring.add_socket(socket).unwrap()).collect()
}

/// A plain socket that waits for what it is sent, but not for ever.
fn peer(addr: &str) -> UdpSocket {
    let socket = bind_client(
        addr.parse().unwrap(),
        &SocketOptions {
            joins_received: false,
            ..SocketOptions::default()
        },
    );
    let socket = socket.unwrap();
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// A datagram as long as a packet of RTP with 20 ms of G.711, which says its number.
fn stamp(number: usize) -> [u8; 172] {
    let mut datagram = [0; 172];
    datagram[..8].copy_from_slice(&number.to_be_bytes());
    datagram
}

fn number_of(datagram: &[u8]) -> usize {
    assert_eq!(datagram.len(), 172);
    usize::from_be_bytes(*datagram.first_chunk().unwrap())
}

fn gather(ring: &mut UdpRing) -> Vec<(SocketId, Received)> {
    ring.turn(wait(1_000_000)).unwrap();
    iter::from_fn(|| ring.poll_socket_receive()).collect()
}

fn poll(ring: &mut UdpRing) -> (SocketId, Received) {
    let start = Instant::now();
    loop {
        if let Some(received) = ring.poll_socket_receive() {
            return received;
        }
        ring.turn(wait(1_000_000)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "nothing received");
    }
}

/// Turns until the kernel has let go of all removed sockets.
fn settle(ring: &mut UdpRing) {
    let start = Instant::now();
    let count = ring.socket_count();
    while ring.sockets.as_ref().unwrap().table.taken() > count {
        ring.turn(wait(10_000)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "a socket stays");
    }
}

fn buffers_provided(ring: &UdpRing) -> u16 {
    ring.sockets.as_ref().unwrap().buffers.provided()
}

fn take_echoes(peer: &UdpSocket, ring: &UdpRing, ids: &[SocketId], count: usize) -> usize {
    for _ in 0..count {
        let mut datagram = [0; 200];
        let (bytes, source) = peer.recv_from(&mut datagram).unwrap();
        let number = number_of(&datagram[..bytes]);
        assert_eq!(source, ring.socket_local_addr(ids[number]).unwrap());
    }
    count
}

fn wait(timeout_us: u64) -> Wait {
    Wait::Until {
        timeout: Duration::from_micros(timeout_us),
        batch_window: Duration::ZERO,
    }
}

fn is_readable(fd: RawFd, timeout_ms: i32) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd, alive during the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) > 0 }
}

/// `IORING_CQE_F_MORE`: the receive goes on.
const MORE: u32 = 1 << 1;
