use std::thread;
use std::time::{Instant, SystemTime};

use std::os::fd::{AsRawFd, RawFd};

use super::*;
use crate::net::socket::{SocketGroup, SocketOptions, bind_group};
use crate::net::wake::{self, Waker};

#[test]
fn train_arrives_whole_in_order_and_split_right() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let (mut sender, mut receiver) = (ring(addr), ring(addr));
        let sizes = [&[1_200; 40][..], &[1_200, 1_200, 7], &[300; 64], &[1], &[1_350]];
        for sizes in sizes {
            send(&mut sender, &receiver, sizes);
            let datagrams = receive(&mut receiver, sizes.len());
            assert_eq!(datagrams, numbered(sizes));
        }
        let statistics = receiver.statistics();
        let sent: u64 = sizes.iter().map(|sizes| sizes.len() as u64).sum();
        assert_eq!(statistics.datagrams, sent);
        assert_eq!(sender.statistics().segments, sent);
        assert_eq!(sender.statistics().sends, 5);
        assert_eq!(sender.statistics().send_errors.total(), 0);
        // Loopback hands a train over whole.
        assert_eq!(statistics.receives, 5);
    }
}

#[test]
fn both_addresses_of_a_datagram_are_known_on_a_dual_stack_socket() {
    let mut receiver = ring("[::]:0");
    let port = receiver.local_addr().unwrap().port();
    for (addr, local) in [("127.0.0.1:0", "127.0.0.3"), ("[::1]:0", "::1")] {
        let mut sender = ring(addr);
        let local: IpAddr = local.parse().unwrap();
        let source = sender.local_addr().unwrap();
        send_to(&mut sender, (local, port).into(), &[100], None);
        let received = poll(&mut receiver);
        assert_eq!((received.source, received.local), (source, local));
        // And back from the very address it was sent to.
        drop(received);
        send_to(&mut receiver, source, &[50, 50], Some(local));
        assert_eq!(poll(&mut sender).source, SocketAddr::from((local, port)));
    }
}

#[test]
fn unspecified_ipv4_answers_from_the_address_it_was_asked_at() {
    let (mut sender, mut receiver) = (ring("127.0.0.1:0"), ring("0.0.0.0:0"));
    let target = SocketAddr::from(([127, 0, 0, 9], receiver.local_addr().unwrap().port()));
    send_to(&mut sender, target, &[100], None);
    let received = poll(&mut receiver);
    assert_eq!(received.local, target.ip());
    let source = received.source;
    drop(received);
    send_to(&mut receiver, source, &[100], Some(target.ip()));
    assert_eq!(poll(&mut sender).source, target);
}

#[test]
fn arrivals_are_noted_before_anyone_looks() {
    let config = RingConfig {
        notes_arrivals: true,
        ..RingConfig::default()
    };
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let (mut receiver, _waker) = ring_and_waker(addr, &config);
        let (mut sender, mut idle) = (ring(addr), ring(addr));
        let since_1970 = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        // Until the kernel has begun to note arrivals, it gives the time of the reading.
        let noted = (0..100).any(|_| {
            let before = since_1970();
            send(&mut sender, &receiver, &[1_200, 1_200, 7]);
            idle.turn(wait(30_000)).unwrap();
            let looked = since_1970();
            let arrived = poll(&mut receiver).arrived.unwrap();
            before <= arrived && arrived + Duration::from_millis(20) <= looked
        });
        assert!(noted);
        send(&mut receiver, &sender, &[100]);
        assert_eq!(poll(&mut sender).arrived, None, "not asked for");
    }
}

#[test]
fn wake_from_another_thread_ends_the_wait() {
    let (mut ring, waker) = ring_and_waker("127.0.0.1:0", &RingConfig::default());
    for _ in 0..200 {
        let remote = waker.clone();
        let thread = thread::spawn(move || remote.wake());
        let turn = ring.turn(wait(10_000_000)).unwrap();
        assert!(turn.woken);
        thread.join().unwrap();
    }
    waker.wake();
    waker.wake();
    assert!(ring.turn(wait(10_000_000)).unwrap().woken);
    assert!(!ring.turn(Wait::None).unwrap().woken, "wakes of one turn coalesce");
}

#[test]
fn idle_wait_lasts_its_timeout() {
    for config in both_windows() {
        let (mut ring, _waker) = ring_and_waker("127.0.0.1:0", &config);
        for batch_window_us in [0, 300, 50_000] {
            let start = Instant::now();
            let turn = ring.turn(wait_batch(20_000, batch_window_us)).unwrap();
            assert_eq!((turn.received, turn.woken), (0, false));
            assert!(start.elapsed() >= Duration::from_millis(19));
        }
    }
}

#[test]
fn sends_of_a_turn_do_not_end_its_wait() {
    for config in both_windows() {
        let (mut sender, _waker) = ring_and_waker("127.0.0.1:0", &config);
        let receiver = ring("127.0.0.1:0");
        for batch_window_us in [0, 300] {
            for _ in 0..50 {
                queue(&mut sender, receiver.local_addr().unwrap(), &[500, 500], None);
            }
            let start = Instant::now();
            let turn = sender.turn(wait_batch(20_000, batch_window_us)).unwrap();
            assert_eq!((turn.received, turn.sends), (0, 50));
            assert!(start.elapsed() >= Duration::from_millis(19));
        }
        assert_eq!(sender.statistics().waits, 2, "one system call a turn");
    }
}

#[test]
fn arrivals_inside_the_batch_window_come_together() {
    for config in both_windows() {
        let (mut receiver, _waker) = ring_and_waker("127.0.0.1:0", &config);
        receiver.turn(Wait::None).unwrap();
        let target = receiver.local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // One is there when the wait begins; nine more follow while it lasts.
        socket.send_to(&[0; 100], target).unwrap();
        let sender = thread::spawn(move || {
            for _ in 0..9 {
                socket.send_to(&[0; 100], target).unwrap();
            }
        });
        let start = Instant::now();
        let turn = receiver.turn(wait_batch(10_000_000, 200_000)).unwrap();
        sender.join().unwrap();
        assert_eq!(turn.received, 10);
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(199) && elapsed < Duration::from_secs(5));
    }
}

#[test]
fn lone_datagram_after_the_window_is_delivered_at_once_by_the_kernel_window() {
    let mut receiver = ring("127.0.0.1:0");
    if !receiver.kernel_batch_window {
        return;
    }
    let receiver_addr = receiver.local_addr().unwrap();
    let sender = thread::spawn(move || {
        let mut sender = ring("127.0.0.1:0");
        sender.turn(wait(400_000)).unwrap(); // idle until the window has closed
        queue(&mut sender, receiver_addr, &[100], None);
        sender.turn(Wait::None).unwrap();
        Instant::now()
    });
    let turn = receiver.turn(wait_batch(30_000_000, 300_000)).unwrap();
    let received = Instant::now();
    assert_eq!((turn.received, receiver.statistics().waits), (1, 1));
    let sent = sender.join().unwrap();
    assert!(received.saturating_duration_since(sent) < Duration::from_millis(250));
}

#[test]
fn pool_exhaustion_is_reported_and_recovers() {
    let config = RingConfig {
        send_buffers: 4,
        ..RingConfig::default()
    };
    let (mut sender, _waker) = ring_and_waker("127.0.0.1:0", &config);
    let mut receiver = ring("127.0.0.1:0");
    let mut held: Vec<_> = (0..4).map(|_| sender.acquire_train().unwrap()).collect();
    assert!(sender.acquire_train().is_none());
    held.pop();
    held.push(sender.acquire_train().expect("a dropped train is free again"));
    for mut train in held {
        train.spare_mut()[..10].fill(1);
        train.commit(10);
        sender.queue_train(train, 10, receiver.local_addr().unwrap(), None);
    }
    let train = sender
        .acquire_train()
        .expect("queued trains are submitted to make room");
    drop(train);
    assert_eq!(receive(&mut receiver, 4).len(), 4);
    // More trains than the pool or the submission queue hold at once.
    for _ in 0..100 {
        send(&mut sender, &receiver, &[1_000; 3]);
        assert_eq!(receive(&mut receiver, 3), numbered(&[1_000; 3]));
    }
}

#[test]
fn receive_buffers_run_out_without_loss() {
    let config = RingConfig {
        receive_buffers: 4,
        ..RingConfig::default()
    };
    let (mut receiver, _waker) = ring_and_waker("127.0.0.1:0", &config);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..50_u8 {
        sender.send_to(&[number; 100], receiver.local_addr().unwrap()).unwrap();
    }
    // Hold every buffer for a few turns: the ring must neither spin nor lose its receive.
    while receiver.ready.len() < 4 {
        receiver.turn(wait(10_000_000)).unwrap();
    }
    let held: Vec<_> = std::iter::from_fn(|| receiver.poll_receive()).collect();
    assert_eq!(held.len(), 4);
    assert_eq!(receiver.turn(wait(1_000)).unwrap().received, 0);
    assert_eq!(receiver.turn(wait(1_000)).unwrap().received, 0);
    drop(held);
    let datagrams = receive(&mut receiver, 46);
    assert!((4..50).eq(datagrams.iter().map(|datagram| datagram[0])));
    let statistics = receiver.statistics();
    assert!(statistics.receive_buffers_exhausted > 0 && statistics.receive_rearms > 0);
}

#[test]
fn receives_gathered_between_turns_are_reported_by_the_next() {
    let config = RingConfig {
        send_buffers: 1,
        ..RingConfig::default()
    };
    let (mut ring, _waker) = ring_and_waker("127.0.0.1:0", &config);
    ring.turn(Wait::None).unwrap();
    let target = ring.local_addr().unwrap();
    for _ in 0..10 {
        queue(&mut ring, target, &[100], None); // each but the first submits the one before
    }
    let (mut received, mut sends) = (0, 0);
    while received < 10 {
        let turn = ring.turn(wait(10_000_000)).unwrap();
        received += turn.received;
        sends += turn.sends;
        assert_eq!(std::iter::from_fn(|| ring.poll_receive()).count(), turn.received);
    }
    assert_eq!((received, sends), (10, 10));
}

#[test]
fn datagram_larger_than_the_buffer_is_counted_and_dropped() {
    let config = RingConfig {
        receive_payload_bytes_max: 1_000,
        ..RingConfig::default()
    };
    let (mut receiver, _waker) = ring_and_waker("127.0.0.1:0", &config);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for bytes in [1_001, 2_000, 1_000] {
        sender.send_to(&vec![1; bytes], receiver.local_addr().unwrap()).unwrap();
    }
    assert_eq!(receive(&mut receiver, 1), [vec![1; 1_000]]);
    assert_eq!(receiver.statistics().truncated, 2);
}

#[test]
fn refused_sends_are_counted_by_cause() {
    let mut sender = ring("127.0.0.1:0");
    let receiver = ring("127.0.0.1:0");
    queue(&mut sender, "[::1]:9".parse().unwrap(), &[100], None);
    queue(
        &mut sender,
        receiver.local_addr().unwrap(),
        &[100],
        Some([192, 0, 2, 1].into()),
    );
    send(&mut sender, &receiver, &[100]);
    let statistics = sender.statistics();
    assert_eq!(statistics.send_errors.total(), 2);
    assert_eq!(statistics.sends, 3);
    for _ in 0..300 {
        queue(&mut sender, "[::1]:9".parse().unwrap(), &[100], None);
    }
    sender.turn(Wait::None).unwrap();
    assert_eq!(sender.statistics().send_errors.total(), 302);
}

#[test]
fn devices_without_segmentation_are_sent_datagrams_singly() {
    let (mut sender, mut receiver) = (ring("127.0.0.1:0"), ring("127.0.0.1:0"));
    sender.handle_send_refused(-libc::EIO);
    send(&mut sender, &receiver, &[1_200, 1_200, 1_200, 5]);
    assert_eq!(receive(&mut receiver, 4), numbered(&[1_200, 1_200, 1_200, 5]));
    assert_eq!(receiver.statistics().receives, 4);
}

#[test]
fn pause_and_resume_lose_nothing() {
    let mut receiver = ring("127.0.0.1:0");
    let target = receiver.local_addr().unwrap();
    let sender = thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..4_000_u32 {
            socket.send_to(&number.to_be_bytes(), target).unwrap();
            if number % 16 == 0 {
                thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while next < 4_000 {
        receiver.pause().unwrap();
        take_in_order(&mut receiver, &mut next);
        if next < 4_000 {
            assert!(
                is_readable(receiver.socket_as_fd().as_raw_fd(), 10_000),
                "stuck at {next}"
            );
        }
        receiver.resume();
        receiver.turn(Wait::None).unwrap();
        take_in_order(&mut receiver, &mut next);
    }
    sender.join().unwrap();
}

#[test]
fn paused_ring_shows_wakes_on_its_descriptor_and_reports_them_when_resumed() {
    let (mut ring, waker) = ring_and_waker("127.0.0.1:0", &RingConfig::default());
    ring.turn(Wait::None).unwrap();
    ring.pause().unwrap();
    assert!(!is_readable(ring.wake_as_fd().as_raw_fd(), 0));
    let remote = waker.clone();
    let thread = thread::spawn(move || remote.wake());
    assert!(is_readable(ring.wake_as_fd().as_raw_fd(), 10_000));
    thread.join().unwrap();
    ring.resume();
    assert!(ring.turn(wait(10_000_000)).unwrap().woken);
    // One that came before the pause counts too.
    waker.wake();
    ring.pause().unwrap();
    assert!(is_readable(ring.wake_as_fd().as_raw_fd(), 0));
    ring.resume();
    assert!(ring.turn(wait(10_000_000)).unwrap().woken);
    ring.pause().unwrap();
    assert!(!is_readable(ring.wake_as_fd().as_raw_fd(), 0));
}

#[test]
fn paused_ring_still_sends() {
    let (mut sender, mut receiver) = (ring("127.0.0.1:0"), ring("127.0.0.1:0"));
    sender.turn(Wait::None).unwrap();
    sender.pause().unwrap();
    send(&mut sender, &receiver, &[10]);
    assert_eq!(receive(&mut receiver, 1), numbered(&[10]));
}

#[test]
fn ring_may_be_dropped_with_everything_in_flight() {
    for _ in 0..50 {
        let (mut sender, mut receiver) = (ring("127.0.0.1:0"), ring("127.0.0.1:0"));
        sender.turn(Wait::None).unwrap();
        let target = receiver.local_addr().unwrap();
        send(&mut sender, &receiver, &[1_200; 20]);
        let mut kept = poll(&mut receiver);
        let mut train = sender.acquire_train().unwrap();
        for _ in 0..20 {
            queue(&mut sender, target, &[1_200; 20], None);
        }
        drop(sender);
        receiver.turn(Wait::None).unwrap();
        drop(receiver);
        // Tokens outlive their ring.
        assert_eq!(kept.datagrams().count(), 20);
        assert!(kept.datagrams().all(|datagram| datagram.len() == 1_200));
        train.spare_mut().fill(1);
    }
}

#[test]
fn queued_trains_leave_when_the_ring_is_dropped() {
    let (mut sender, mut receiver) = (ring("127.0.0.1:0"), ring("127.0.0.1:0"));
    queue(&mut sender, receiver.local_addr().unwrap(), &[9], None);
    drop(sender);
    assert_eq!(receive(&mut receiver, 1), numbered(&[9]));
}

#[test]
#[should_panic(expected = "65 segments")]
fn train_of_too_many_segments_is_a_programming_error() {
    let mut sender = ring("127.0.0.1:0");
    let target = sender.local_addr().unwrap();
    queue(&mut sender, target, &[10; 65], None);
}

fn ring(addr: &str) -> UdpRing {
    ring_and_waker(addr, &RingConfig::default()).0
}

fn ring_and_waker(addr: &str, config: &RingConfig) -> (UdpRing, Waker) {
    let group = bind_group(addr.parse().unwrap(), 1, 1, &SocketOptions::default()).unwrap();
    let SocketGroup { mut sockets, .. } = group;
    let (waker, receiver) = wake::channel().unwrap();
    (UdpRing::new(sockets.remove(0), receiver, config).unwrap(), waker)
}

fn both_windows() -> [RingConfig; 2] {
    [true, false].map(|kernel_batch_window| RingConfig {
        kernel_batch_window,
        ..RingConfig::default()
    })
}

fn wait(timeout_us: u64) -> Wait {
    wait_batch(timeout_us, 0)
}

fn wait_batch(timeout_us: u64, batch_window_us: u64) -> Wait {
    Wait::Until {
        timeout: Duration::from_micros(timeout_us),
        batch_window: Duration::from_micros(batch_window_us),
    }
}

/// Datagrams that name their own place.
fn numbered(sizes: &[usize]) -> Vec<Vec<u8>> {
    sizes
        .iter()
        .enumerate()
        .map(|(number, size)| vec![u8::try_from(number).unwrap(); *size])
        .collect()
}

fn send(sender: &mut UdpRing, receiver: &UdpRing, sizes: &[usize]) {
    send_to(sender, receiver.local_addr().unwrap(), sizes, None);
}

fn send_to(sender: &mut UdpRing, target: SocketAddr, sizes: &[usize], source: Option<IpAddr>) {
    queue(sender, target, sizes, source);
    assert!(sender.turn(Wait::None).unwrap().sends > 0);
}

fn queue(sender: &mut UdpRing, target: SocketAddr, sizes: &[usize], source: Option<IpAddr>) {
    let mut train = sender.acquire_train().unwrap();
    for datagram in numbered(sizes) {
        train.spare_mut()[..datagram.len()].copy_from_slice(&datagram);
        train.commit(datagram.len());
    }
    sender.queue_train(train, u16::try_from(sizes[0]).unwrap(), target, source);
}

fn receive(receiver: &mut UdpRing, count: usize) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    while datagrams.len() < count {
        let mut received = poll(receiver);
        datagrams.extend(received.datagrams().map(|datagram| datagram.to_vec()));
    }
    datagrams
}

fn poll(receiver: &mut UdpRing) -> Received {
    let start = Instant::now();
    loop {
        if let Some(received) = receiver.poll_receive() {
            return received;
        }
        receiver.turn(wait(1_000_000)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "nothing received");
    }
}

fn take_in_order(receiver: &mut UdpRing, next: &mut u32) {
    while let Some(mut received) = receiver.poll_receive() {
        for datagram in received.datagrams() {
            assert_eq!(datagram, next.to_be_bytes());
            *next += 1;
        }
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

#[test]
fn a_parked_ring_sleeps_until_something_comes() {
    let executor = glommio::LocalExecutorBuilder::default().make().unwrap();
    executor.run(async {
        let (mut shard, waker) = ring_and_waker("127.0.0.1:0", &RingConfig::default());
        let mut sender = ring("127.0.0.1:0");
        let long = Duration::from_secs(20);

        shard.pause().unwrap();
        let begun = Instant::now();
        shard.parked(Duration::from_millis(100)).await.unwrap();
        let slept = begun.elapsed();
        assert!(slept >= Duration::from_millis(100), "slept {slept:?}");

        let begun = Instant::now();
        let target = shard.local_addr().unwrap();
        send_to(&mut sender, target, &[100], None);
        shard.parked(long).await.unwrap();
        assert!(begun.elapsed() < long / 2, "a datagram ends it");
        shard.resume();
        assert_eq!(poll(&mut shard).datagram_count(), 1);

        shard.pause().unwrap();
        let begun = Instant::now();
        let thread = thread::spawn(move || {
            // Nobody sends: this only lets the time pass.
            let (_sender, nothing) = std::sync::mpsc::sync_channel::<()>(1);
            let _ = nothing.recv_timeout(Duration::from_millis(50));
            waker.wake();
        });
        shard.parked(long).await.unwrap();
        let slept = begun.elapsed();
        assert!(
            (Duration::from_millis(50)..long / 2).contains(&slept),
            "slept {slept:?}"
        );
        thread.join().unwrap();
    });
}
