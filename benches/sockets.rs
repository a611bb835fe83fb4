//! What a datagram of RTP costs that is received on one of many sockets and answered from it: the
//! sockets added to a ring, against `recv_from` and `send_to` on the same number of plain ones,
//! and against the ring's own socket.
//!
//! Timed is what a forwarder does; a peer sends before and checks the answers after. The plain
//! loop is told which sockets have something to read, so it is spared what asking would cost.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqswitch_relay::net::{RingConfig, SocketId, SocketOptions, UdpRing, Wait, bind_client, wake};

mod workload;
use workload::timing::each_for;

/// One way to answer a batch of datagrams.
enum Way {
    Added { ring: Box<UdpRing> },
    Plain { sockets: Vec<UdpSocket> },
    Own { ring: Box<UdpRing> },
}

struct Bench {
    way: Way,
    targets: Vec<SocketAddr>,
    peer: UdpSocket,
    /// Where the next batch begins: the sockets take turns.
    next: usize,
}

impl Bench {
    fn added(count: usize) -> Self {
        let mut ring = Box::new(ring());
        let sockets = (0..count).map(|_| plain());
        let ids: Vec<_> = sockets
            .map(|socket| ring.add_socket(socket).expect("below the limit"))
            .collect();
        for _ in 0..count {
            ring.turn(Wait::None).expect("the ring works");
        }
        let addr = |id: &SocketId| ring.socket_local_addr(*id).expect("it was added");
        let targets = ids.iter().map(addr).collect();
        Self::new(Way::Added { ring }, targets)
    }

    fn plain(count: usize) -> Self {
        let sockets: Vec<_> = (0..count).map(|_| plain()).collect();
        let addr = |socket: &UdpSocket| socket.local_addr().expect("a bound socket");
        let targets = sockets.iter().map(addr).collect();
        Self::new(Way::Plain { sockets }, targets)
    }

    fn own() -> Self {
        let ring = Box::new(ring());
        let targets = vec![ring.local_addr().expect("a bound socket")];
        Self::new(Way::Own { ring }, targets)
    }

    fn new(way: Way, targets: Vec<SocketAddr>) -> Self {
        let peer = socket(false);
        peer.set_nonblocking(false).expect("a socket's own flag");
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a socket's own option");
        Self {
            way,
            targets,
            peer,
            next: 0,
        }
    }

    /// How long `batch` datagrams take, from being readable to being answered.
    fn round(&mut self, batch: usize) -> Duration {
        let first = self.next;
        self.next = (first + batch) % self.targets.len();
        for number in first..first + batch {
            let target = self.targets[number % self.targets.len()];
            self.peer.send_to(&PACKET, target).expect("room in the socket");
        }
        let start = Instant::now();
        match &mut self.way {
            Way::Added { ring } => answer_added(ring, batch),
            Way::Plain { sockets } => answer_plain(sockets, first, batch),
            Way::Own { ring } => answer_own(ring, batch),
        }
        let spent = start.elapsed();
        for _ in 0..batch {
            let bytes = self.peer.recv(&mut [0; 200]).expect("every datagram is answered");
            assert_eq!(bytes, PACKET.len());
        }
        spent
    }
}

fn answer_added(ring: &mut UdpRing, batch: usize) {
    let mut answered = 0;
    while answered < batch {
        ring.turn(Wait::None).expect("the ring works");
        while let Some((id, mut received)) = ring.poll_socket_receive() {
            let source = received.source;
            let datagram = received.datagrams().next().expect("one");
            ring.send_on(id, datagram, source, None);
            answered += 1;
        }
    }
    ring.turn(Wait::None).expect("the ring works");
}

fn answer_own(ring: &mut UdpRing, batch: usize) {
    let mut answered = 0;
    while answered < batch {
        ring.turn(Wait::None).expect("the ring works");
        while let Some(mut received) = ring.poll_receive() {
            let source = received.source;
            for datagram in received.datagrams() {
                let mut train = ring.acquire_train().expect("there are more than are used");
                train.spare_mut()[..datagram.len()].copy_from_slice(datagram);
                train.commit(datagram.len());
                let bytes = u16::try_from(datagram.len()).expect("a small one");
                ring.queue_train(train, bytes, source, None);
                answered += 1;
            }
        }
    }
    ring.turn(Wait::None).expect("the ring works");
}

fn answer_plain(sockets: &[UdpSocket], first: usize, batch: usize) {
    let mut datagram = [0; 1_500];
    for number in first..first + batch {
        let socket = &sockets[number % sockets.len()];
        let (bytes, source) = socket.recv_from(&mut datagram).expect("it has something to read");
        socket.send_to(&datagram[..bytes], source).expect("room in the socket");
    }
}

/// Each way alone, as criterion measures.
fn ways(criterion: &mut Criterion) {
    for count in SOCKETS {
        for batch in BATCHES {
            let mut measured = criterion.benchmark_group(format!("{count} sockets"));
            measured.throughput(Throughput::Elements(batch as u64));
            let mut measure = |name: &str, mut bench: Bench| {
                measured.bench_function(BenchmarkId::new(name, format!("batches of {batch}")), |bencher| {
                    bencher.iter_custom(|iterations| (0..iterations).map(|_| bench.round(batch)).sum());
                });
            };
            measure("added", Bench::added(count));
            measure("plain", Bench::plain(count));
            if count == 1 {
                measure("own", Bench::own());
            }
        }
    }
}

/// All of them by turns, so that what else the machine does is shared: medians, and what the
/// sockets added cost for each 1 that another way does.
fn side_by_side(_: &mut Criterion) {
    eprintln!("ns for each datagram, received and answered");
    eprintln!("sockets  batch    added    plain      own  added/plain  added/own");
    let rounds = if is_test() { 1 } else { ROUNDS };
    for count in SOCKETS {
        for batch in BATCHES {
            let mut benches = [Bench::added(count), Bench::plain(count), Bench::own()];
            let mut spent: [Vec<f64>; 3] = Default::default();
            for round in 0..rounds + rounds / 10 {
                for (bench, spent) in benches.iter_mut().zip(&mut spent) {
                    let each = bench.round(batch).as_secs_f64() * 1e9 / batch as f64;
                    // The first rounds only warm up.
                    if round >= rounds / 10 {
                        spent.push(each);
                    }
                }
            }
            let [added, plain, own] = spent.map(median);
            eprintln!(
                "{count:7}  {batch:5}  {added:7.0}  {plain:7.0}  {own:7.0}  {:11.2}  {:9.2}",
                added / plain,
                added / own
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

fn ring() -> UdpRing {
    let (_waker, wake) = wake::channel().expect("descriptors are left");
    UdpRing::new(socket(true), wake, &RingConfig::default()).expect("io_uring is permitted")
}

fn socket(joins_received: bool) -> UdpSocket {
    let options = SocketOptions {
        joins_received,
        ..SocketOptions::default()
    };
    bind_client(SocketAddr::from(([127, 0, 0, 1], 0)), &options).expect("loopback has a free port")
}

/// As a gateway opens them: no options, bound to one address.
fn plain() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    socket.set_nonblocking(true).expect("a socket's own flag");
    socket
}

const SOCKETS: [usize; 3] = [1, 100, 1_000];
/// Datagrams for each turn.
const BATCHES: [usize; 3] = [1, 20, 100];
const ROUNDS: usize = 2_000;

/// As long as one of RTP with 20 ms of G.711.
const PACKET: [u8; 172] = [0x80; 172];

criterion_group! {
    name = benches;
    config = each_for(Duration::from_secs(1));
    targets = side_by_side, ways
}
criterion_main!(benches);
