//! What a forwarded frame costs at the least: a bare forwarder takes in as many datagrams as a relay
//! does under a load, opens none, seals those it sends with the AEAD of QUIC, and sends as many of the
//! same size, in trains, by the relay's own ring. No acknowledgements of its own, no header
//! protection, no QUIC, no MoQ. `perf/floor.sh` lays it beside the relay.
//!
//! ```text
//! core 1: driver     frames and acknowledgements, on a grid of 230 µs  -> core 0: forwarder
//!                    checks that everything came                        <- a train for each subscriber
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use moqswitch_relay::net::{Received, RingConfig, SocketOptions, UdpRing, Wait, bind_client, wake};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Measures the cost of a frame that is forwarded without QUIC.
#[derive(Parser)]
struct Arguments {
    /// `call` or `video`; without one, both.
    loads: Vec<String>,
    /// Measured for each load, after a second of warm-up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Of the forwarder.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Of the driver.
    #[arg(long, default_value_t = 1)]
    driver_core: usize,
    /// One short run of each, to see that it works.
    #[arg(long)]
    test: bool,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Datagrams as the relay had them under a workload of `perf/workloads`: `/metrics` after a run of it, 2026-11-21.
struct Load {
    name: &'static str,
    frames_in_per_s: u64,
    /// Subscribers of each.
    fan_out: u64,
    /// Datagrams of a frame: so many of one size, and one of another.
    full: usize,
    full_bytes: usize,
    last_bytes: usize,
    /// Acknowledgements that came for a hundred delivered frames.
    acknowledgements_percent: u64,
}

const LOADS: [Load; 2] = [
    Load {
        name: "call",
        frames_in_per_s: 5_000,
        fan_out: 4,
        full: 0,
        full_bytes: 0,
        last_bytes: 252,
        acknowledgements_percent: 48,
    },
    Load {
        name: "video",
        frames_in_per_s: 1_200,
        fan_out: 4,
        full: 7,
        full_bytes: 1_350,
        last_bytes: 600,
        acknowledgements_percent: 97,
    },
];

fn main() {
    let arguments = Arguments::parse();
    for load in &LOADS {
        if arguments.loads.is_empty() || arguments.loads.iter().any(|name| name == load.name) {
            let length = Duration::from_secs(if arguments.test { 1 } else { arguments.seconds });
            let us = measure(load, &arguments, length);
            report(load, us);
        }
    }
}

#[allow(clippy::print_stdout, reason = "what it is for")]
fn report(load: &Load, us: f64) {
    println!("{}", serde_json::json!({"floor": load.name, "us_per_frame": us}));
}

/// Microseconds of CPU for a forwarded frame.
fn measure(load: &Load, arguments: &Arguments, length: Duration) -> f64 {
    let is_ending = &AtomicBool::new(false);
    thread::scope(|scope| {
        let (tell, told) = sync_channel(1);
        scope.spawn(move || {
            pin(arguments.core);
            forward(load, is_ending, &tell);
        });
        let _end = EndOnDrop(is_ending);
        pin(arguments.driver_core);
        let forwarder: Forwarder = told.recv().expect("it says where it is");
        let mut driver = udp_ring();
        let mut schedule = Schedule::new(load, forwarder.address);
        schedule.run(&mut driver, WARM_UP);
        let (cpu_before, frames_before) = (forwarder.cpu(), schedule.frames);
        schedule.run(&mut driver, length);
        let cpu = forwarder.cpu() - cpu_before;
        let frames = (schedule.frames - frames_before) * load.fan_out;
        schedule.check_all_came(&mut driver);
        cpu.as_secs_f64() * 1e6 / frames as f64
    })
}

// --- the forwarder

/// Where the forwarder is, and its thread's directory below `/proc`.
struct Forwarder {
    address: SocketAddr,
    thread: PathBuf,
}

impl Forwarder {
    /// That it has used, user and system.
    fn cpu(&self) -> Duration {
        let path = self.thread.join("schedstat");
        let text = std::fs::read_to_string(path).expect("the thread is there");
        let first = text
            .split_whitespace()
            .next()
            .expect("it begins with the time on a CPU");
        Duration::from_nanos(first.parse().expect("a number of nanoseconds"))
    }
}

/// A driver that fails does not leave the forwarder behind.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn forward(load: &Load, is_ending: &AtomicBool, tell: &SyncSender<Forwarder>) {
    let mut ring = udp_ring();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("16 bytes are a key"));
    let mut sealed = 0;
    let forwarder = Forwarder {
        address: ring.local_addr().expect("a bound socket"),
        thread: Path::new("/proc").join(std::fs::read_link("/proc/thread-self").expect("/proc is mounted")),
    };
    tell.send(forwarder).expect("the driver waits for it");
    while !is_ending.load(Ordering::Acquire) {
        ring.turn(TURN).expect("the ring works");
        while let Some(mut received) = ring.poll_receive() {
            if received.payload_bytes() < MEDIA_BYTES_MIN {
                continue;
            }
            for _ in 0..load.fan_out {
                send_sealed(&mut ring, &mut received, &key, &mut sealed);
            }
        }
    }
}

/// Sends what was received once more, as a train, each datagram sealed by itself.
fn send_sealed(ring: &mut UdpRing, received: &mut Received, key: &LessSafeKey, sealed: &mut u64) {
    let source = received.source;
    let mut train = ring.acquire_train().expect("there are more than are used");
    let mut segment_bytes = 0;
    for datagram in received.datagrams() {
        let plain_bytes = datagram.len() - key.algorithm().tag_len();
        let spare = &mut train.spare_mut()[..datagram.len()];
        spare[..plain_bytes].copy_from_slice(&datagram[..plain_bytes]);
        let (header, payload) = spare[..plain_bytes].split_at_mut(HEADER_BYTES);
        let tag = key
            .seal_in_place_separate_tag(nonce(*sealed), Aad::from(header), payload)
            .expect("short enough for the AEAD");
        spare[plain_bytes..].copy_from_slice(tag.as_ref());
        *sealed += 1;
        segment_bytes = segment_bytes.max(datagram.len());
        train.commit(datagram.len());
    }
    let segment_bytes = u16::try_from(segment_bytes).expect("a UDP payload is below 64 KiB");
    ring.queue_train(train, segment_bytes, source, None);
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

// --- the driver

/// What was sent so far, and what came back.
struct Schedule<'a> {
    load: &'a Load,
    target: SocketAddr,
    begun: Instant,
    frames: u64,
    acknowledgements: u64,
    datagrams_came: u64,
}

impl<'a> Schedule<'a> {
    fn new(load: &'a Load, target: SocketAddr) -> Self {
        Self {
            load,
            target,
            begun: Instant::now(),
            frames: 0,
            acknowledgements: 0,
            datagrams_came: 0,
        }
    }

    fn run(&mut self, ring: &mut UdpRing, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            let elapsed_us = u64::try_from(self.begun.elapsed().as_micros()).expect("a run is short");
            let frames_due = elapsed_us * self.load.frames_in_per_s / 1_000_000;
            while self.frames < frames_due {
                self.send_frame(ring);
            }
            let acknowledgements_due = frames_due * self.load.fan_out * self.load.acknowledgements_percent / 100;
            while self.acknowledgements < acknowledgements_due {
                self.acknowledgements += 1;
                self.send(ring, &[ACKNOWLEDGEMENT_BYTES]);
            }
            self.take(ring, GRID);
        }
    }

    fn send_frame(&mut self, ring: &mut UdpRing) {
        self.frames += 1;
        let mut datagrams = vec![self.load.full_bytes; self.load.full];
        datagrams.push(self.load.last_bytes);
        self.send(ring, &datagrams);
    }

    fn send(&mut self, ring: &mut UdpRing, datagrams: &[usize]) {
        let mut train = ring.acquire_train().expect("there are more than are used");
        for bytes in datagrams {
            train.commit(*bytes);
        }
        let segment_bytes = u16::try_from(datagrams[0]).expect("a UDP payload is below 64 KiB");
        ring.queue_train(train, segment_bytes, self.target, None);
    }

    fn take(&mut self, ring: &mut UdpRing, length: Duration) {
        let wait = Wait::Until {
            timeout: length,
            batch_window: length,
        };
        ring.turn(wait).expect("the ring works");
        while let Some(received) = ring.poll_receive() {
            self.datagrams_came += received.datagram_count() as u64;
        }
    }

    /// A forwarder that does less than it has to would look cheap.
    fn check_all_came(&mut self, ring: &mut UdpRing) {
        for _ in 0..LAST_LOOKS {
            self.take(ring, GRID);
        }
        let expected = self.frames * self.load.fan_out * (self.load.full as u64 + 1);
        assert_eq!(
            self.datagrams_came, expected,
            "datagrams that came back, and that should have"
        );
    }
}

fn udp_ring() -> UdpRing {
    let (_waker, wake) = wake::channel().expect("descriptors are left");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = bind_client(any, &SocketOptions::default()).expect("loopback has a free port");
    UdpRing::new(socket, wake, &RingConfig::default()).expect("io_uring is permitted")
}

fn pin(core: usize) {
    let is_pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    assert!(is_pinned, "core {core} cannot be used");
}

/// As the relay waits by default.
const TURN: Wait = Wait::Until {
    timeout: Duration::from_millis(10),
    batch_window: Duration::from_micros(750),
};
/// As the generator's.
const GRID: Duration = Duration::from_micros(230);
const WARM_UP: Duration = Duration::from_secs(1);
/// More than the last datagrams take to come back.
const LAST_LOOKS: u32 = 400;

const ACKNOWLEDGEMENT_BYTES: usize = 43;
/// Nothing shorter is a frame.
const MEDIA_BYTES_MIN: usize = 64;
/// Of a packet with a short header: what is authenticated and not encrypted.
const HEADER_BYTES: usize = 13;
