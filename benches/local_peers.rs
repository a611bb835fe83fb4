//! What a frame costs through local peers: from an application that publishes it to the one that subscribes, and from one
//! UDP socket to another with and without routing between, as a gateway's leg has it.
//!
//! A relay of one shard runs; the application measures itself on the shard's thread, from when it begins a batch to when
//! the last frame of it was told or sent. A batch is no more than one turn takes.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqswitch_proto::wire::{BroadcastPath, GroupRange, GroupSequence, SubscribeId, TrackInfo};
use moqswitch_relay::net::SocketId;
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{
    Application, Delivery, Host, Installation, LocalEvent, LocalFrame, LocalSubscription, LocalTrack, SocketDatagram,
};
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
use tokio::sync::oneshot;

mod workload;
use workload::timing::each_for;

/// What one batch is to do.
#[derive(Clone, Copy)]
enum Task {
    /// Publish frames to all subscribers.
    Publish { frames: u64, delivery: Delivery },
    /// Forward datagrams from the first socket to the second, when they have all been sent: straight, or as frames.
    Forward { datagrams: u64, routed: Option<Delivery> },
}

struct Measured {
    tasks: mpsc::Receiver<Task>,
    /// It waits for the datagrams of the task, and they are there.
    waits: mpsc::SyncSender<()>,
    filled: mpsc::Receiver<()>,
    spent: mpsc::SyncSender<Duration>,
    subscribers: u64,
    talker: Option<PeerKey>,
    wanted: Option<SubscribeId>,
    /// Not served yet.
    unserved: Option<[UdpSocket; 2]>,
    sockets: Option<[SocketId; 2]>,
    target: SocketAddr,
    sequence: u64,
    running: Option<Running>,
}

struct Running {
    task: Task,
    begun: Instant,
    left: u64,
}

impl Measured {
    fn set_up(&mut self, host: &mut Host<'_>) {
        let talker = host.open_peer().expect("room for peers");
        let broadcast = BroadcastPath::new("call/1/a");
        let track = LocalTrack {
            name: "audio".into(),
            info: INFO,
            tag: 0,
        };
        host.publish(talker, &broadcast, vec![track]).expect("a free path");
        for _ in 0..self.subscribers {
            let listener = host.open_peer().expect("room for peers");
            let subscription = LocalSubscription {
                broadcast: broadcast.clone(),
                track: "audio".into(),
                priority: 128,
                ordered: false,
                max_latency: Duration::from_secs(10),
                range: GroupRange::default(),
                tag: 0,
            };
            host.subscribe(listener, &subscription).expect("room for requests");
        }
        self.talker = Some(talker);
        let unserved = self.unserved.take();
        self.sockets = unserved.map(|both| both.map(|socket| host.add_socket(socket).expect("room for sockets")));
    }

    fn send(&mut self, payload: Bytes, delivery: Delivery, host: &mut Host<'_>) {
        let (Some(talker), Some(id)) = (self.talker, self.wanted) else {
            panic!("nobody subscribes");
        };
        self.sequence += 1;
        let frame = LocalFrame {
            group: GroupSequence(self.sequence),
            timestamp: self.sequence * 160,
            payload,
        };
        assert!(host.send(talker, id, frame, delivery), "the frame is wanted");
    }

    fn count(&mut self) {
        let Some(running) = &mut self.running else {
            panic!("more than was sent");
        };
        running.left -= 1;
        if running.left == 0 {
            let spent = running.begun.elapsed();
            self.running = None;
            self.spent.send(spent).expect("the bench waits for it");
        }
    }
}

impl Application for Measured {
    fn handle(&mut self, event: LocalEvent, host: &mut Host<'_>) {
        match event {
            LocalEvent::Wanted { id, .. } => self.wanted = Some(id),
            LocalEvent::Frame { payload, .. } => {
                assert_eq!(payload.len(), PACKET.len());
                if let Some(Running {
                    task: Task::Forward { .. },
                    ..
                }) = &self.running
                    && let Some([_, out]) = self.sockets
                {
                    host.send_on(out, &payload, self.target, None);
                }
                self.count();
            }
            LocalEvent::Closed { code, .. } => assert_eq!(code, None, "the subscription fails"),
            LocalEvent::DemandChanged { .. }
            | LocalEvent::Unwanted { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::Info { .. }
            | LocalEvent::Announced { .. }
            | LocalEvent::Unannounced { .. }
            | LocalEvent::WatchClosed { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
    }

    fn handle_datagram(&mut self, datagram: SocketDatagram<'_>, host: &mut Host<'_>) {
        let Some(Running {
            task: Task::Forward { routed, .. },
            ..
        }) = self.running
        else {
            panic!("nothing was sent")
        };
        match (routed, self.sockets) {
            (Some(delivery), _) => {
                let payload = host.copy(datagram.payload);
                self.send(payload, delivery, host);
            }
            (None, Some([_, out])) => {
                host.send_on(out, datagram.payload, self.target, None);
                self.count();
            }
            (None, None) => panic!("there are no sockets"),
        }
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        if self.talker.is_none() {
            self.set_up(host);
        }
        if self.wanted.is_none() || self.running.is_some() {
            return;
        }
        let Ok(task) = self.tasks.try_recv() else { return };
        match task {
            Task::Publish { frames, delivery } => {
                self.running = Some(Running {
                    task,
                    begun: Instant::now(),
                    left: frames * self.subscribers,
                });
                for _ in 0..frames {
                    self.send(Bytes::from_static(&PACKET), delivery, host);
                }
            }
            Task::Forward { datagrams, .. } => {
                self.waits.send(()).expect("the bench waits for it");
                self.filled.recv().expect("the bench fills the socket");
                self.running = Some(Running {
                    task,
                    begun: Instant::now(),
                    left: datagrams,
                });
            }
        }
    }

    fn has_work(&self) -> bool {
        self.running.is_some()
    }
}

/// A relay with the application, from outside.
struct Bench {
    relay: Option<RelayHandle>,
    port: ShardPort,
    tasks: mpsc::SyncSender<Task>,
    waits: mpsc::Receiver<()>,
    filled: mpsc::SyncSender<()>,
    spent: mpsc::Receiver<Duration>,
    /// Where datagrams go in, and where they come out.
    entrance: SocketAddr,
    peer: UdpSocket,
}

impl Bench {
    fn new(subscribers: u64) -> Self {
        let relay = Relay::start(RelayOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            shards: NonZeroUsize::new(1),
            ..RelayOptions::default()
        })
        .expect("io_uring is permitted");
        let port = relay.ports()[0].clone();
        let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        let target = peer.local_addr().expect("a bound socket");
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port"));
        let entrance = sockets[0].local_addr().expect("a bound socket");
        let (tasks, tasks_in) = mpsc::sync_channel(1);
        let (waits, waits_out) = mpsc::sync_channel(1);
        let (filled, filled_in) = mpsc::sync_channel(1);
        let (spent, spent_out) = mpsc::sync_channel(1);
        let (reply, answer) = oneshot::channel();
        let application = Installation::new(move || Measured {
            tasks: tasks_in,
            waits,
            filled: filled_in,
            spent,
            subscribers,
            talker: None,
            wanted: None,
            unserved: Some(sockets),
            sockets: None,
            target,
            sequence: 0,
            running: None,
        });
        port.send(ShardCommand::Install { application, reply })
            .expect("an empty queue");
        answer
            .blocking_recv()
            .expect("the shard answers")
            .expect("room for an application");
        Self {
            relay: Some(relay),
            port,
            tasks,
            waits: waits_out,
            filled,
            spent: spent_out,
            entrance,
            peer,
        }
    }
    fn publish(&self, frames: u64, delivery: Delivery) -> Duration {
        self.run(Task::Publish { frames, delivery }, || {})
    }

    fn forward(&self, datagrams: u64, routed: Option<Delivery>) -> Duration {
        let fill = || {
            self.waits.recv_timeout(LIMIT).expect("the application takes the task");
            for _ in 0..datagrams {
                self.peer.send_to(&PACKET, self.entrance).expect("room in the socket");
            }
            self.filled.send(()).expect("the application waits");
        };
        let spent = self.run(Task::Forward { datagrams, routed }, fill);
        for _ in 0..datagrams {
            let bytes = self.peer.recv(&mut [0; 200]).expect("every datagram is forwarded");
            assert_eq!(bytes, PACKET.len());
        }
        spent
    }

    fn run(&self, task: Task, meanwhile: impl Fn()) -> Duration {
        self.tasks.send(task).expect("the application runs");
        (self.port.wake)();
        meanwhile();
        self.spent.recv_timeout(LIMIT).expect("the task comes to an end")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.drain(Duration::ZERO);
            relay.join().expect("the shard ends as it should");
        }
    }
}

/// Each alone, as criterion measures.
fn alone(criterion: &mut Criterion) {
    for subscribers in SUBSCRIBERS {
        let bench = Bench::new(subscribers);
        let mut measured = criterion.benchmark_group(format!("{subscribers} local subscribers"));
        measured.throughput(Throughput::Elements(FRAMES * subscribers));
        for delivery in [Delivery::Datagram, Delivery::Stream] {
            measured.bench_function(BenchmarkId::new("publish", format!("{delivery:?}")), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| bench.publish(FRAMES, delivery)).sum());
            });
        }
    }
}

/// By turns, so that what else the machine does is shared: medians for each frame, and what routing adds to forwarding.
fn side_by_side(_: &mut Criterion) {
    let rounds = if is_test() { 1 } else { ROUNDS };
    eprintln!("ns for each frame and subscriber, {FRAMES} frames in a turn");
    eprintln!("subscribers  datagram   stream");
    for subscribers in SUBSCRIBERS {
        let bench = Bench::new(subscribers);
        let each = |spent: Duration| spent.as_secs_f64() * 1e9 / (FRAMES * subscribers) as f64;
        let [datagram, stream] = medians(rounds, |way| {
            let delivery = [Delivery::Datagram, Delivery::Stream][way];
            each(bench.publish(FRAMES, delivery))
        });
        eprintln!("{subscribers:11}  {datagram:8.0}  {stream:7.0}");
    }
    eprintln!("ns for each RTP packet from one socket to another");
    eprintln!("batch  straight  datagram   stream  datagram/straight  stream/straight");
    let bench = Bench::new(1);
    for batch in BATCHES {
        let [straight, datagram, stream] = medians(rounds, |way| {
            let routed = [None, Some(Delivery::Datagram), Some(Delivery::Stream)][way];
            bench.forward(batch, routed).as_secs_f64() * 1e9 / batch as f64
        });
        eprintln!(
            "{batch:5}  {straight:8.0}  {datagram:8.0}  {stream:7.0}  {:17.2}  {:15.2}",
            datagram / straight,
            stream / straight
        );
    }
}

/// The ways take turns; the first rounds only warm up.
fn medians<const WAYS: usize>(rounds: usize, measure: impl Fn(usize) -> f64) -> [f64; WAYS] {
    let mut spent: [Vec<f64>; WAYS] = std::array::from_fn(|_| Vec::new());
    for round in 0..rounds + rounds / 10 {
        for (way, spent) in spent.iter_mut().enumerate() {
            let one = measure(way);
            if round >= rounds / 10 {
                spent.push(one);
            }
        }
    }
    spent.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

const SUBSCRIBERS: [u64; 3] = [1, 10, 100];
/// In one batch: fewer than the datagrams that may wait for one subscriber.
const FRAMES: u64 = 100;
const BATCHES: [u64; 2] = [20, 100];
const ROUNDS: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(20);

/// As long as one of RTP with 20 ms of G.711.
const PACKET: [u8; 172] = [0x80; 172];

const INFO: TrackInfo = TrackInfo {
    epoch: 0,
    priority: 0,
    ordered: false,
    max_latency_ms: 10_000,
    timescale: 8000,
};

criterion_group! {
    name = benches;
    config = each_for(Duration::from_secs(1));
    targets = side_by_side, alone
}
criterion_main!(benches);
