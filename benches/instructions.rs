//! One workload so many times, for `perf/instructions.sh` to count its instructions.
//!
//!   instructions WORKLOAD TIMES
//!
//! Without these, as `cargo bench` runs it, it does each once and prints their names.
#![allow(clippy::print_stdout, reason = "what it is for")]

use std::hint::black_box;

use bytes::BytesMut;
use moqswitch_proto::wire::{FrameHeader, GroupHeader, GroupParser, GroupSequence, SubscribeId, UniType};

mod workload;
use workload::fan_out::FanOut;
use workload::group::{self, FORM, VERSION};
use workload::session::Subscriber;

/// What does an operation so many times, by the name of its figure.
type Workload = (&'static str, fn(u64));

/// Names and operations stay as they are, so that commits can be compared.
const WORKLOADS: [Workload; 5] = [
    ("wire_group_decode", wire_group_decode),
    ("wire_group_encode", wire_group_encode),
    ("session_group_1x200", session_group),
    ("fan_out_1", |times| fan_out(1, times)),
    ("fan_out_100", |times| fan_out(100, times)),
];

fn main() {
    // Cargo adds flags, of which none is for us.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let [name, times] = &arguments[..] else {
        for (name, run) in WORKLOADS {
            run(1);
            println!("{name}");
        }
        return;
    };
    let times = times.parse().expect("TIMES is a number");
    let (_, run) = WORKLOADS
        .iter()
        .find(|(known, _)| known == name)
        .expect("WORKLOAD is one of those printed without arguments");
    run(times);
}

/// The stream of a group of one 200 B frame, from its type to the place of its frame.
fn wire_group_decode(times: u64) {
    let stream = group::stream(&HEADER, &group::frames(1, 200));
    for _ in 0..times {
        let stream = black_box(&stream);
        let (_, type_bytes) = UniType::decode(VERSION, stream).expect("a whole type");
        let (header, header_bytes) = GroupHeader::decode(VERSION, &stream[type_bytes..]).expect("a whole header");
        assert_eq!(header, HEADER);
        let frames = stream.slice(type_bytes + header_bytes..);
        let chunk = GroupParser::new(FORM).push(frames, 0).expect("well-formed");
        assert_eq!(black_box(chunk).expect("a whole frame").marks.len(), 1);
    }
}

/// The headers of such a stream; the relay never writes payload.
fn wire_group_encode(times: u64) {
    let frame = FrameHeader {
        timestamp_delta: 20,
        size: 200,
    };
    let mut out = BytesMut::with_capacity(64);
    for _ in 0..times {
        out.clear();
        UniType::Group.encode(VERSION, &mut out).expect("a type of every draft");
        black_box(HEADER).encode(VERSION, &mut out).expect("a small header");
        black_box(frame).encode(FORM, &mut out).expect("a small header");
        assert!(!black_box(&out).is_empty());
    }
}

fn session_group(times: u64) {
    let mut subscriber = Subscriber::new();
    let pieces = [subscriber.group(&group::frames(1, 200))];
    for _ in 0..times {
        assert_eq!(subscriber.receive(&pieces), 1);
    }
}

fn fan_out(subscribers: u32, times: u64) {
    let mut fan_out = FanOut::new(subscribers);
    for _ in 0..times {
        fan_out.publish();
    }
    fan_out.assert_delivered();
}

const HEADER: GroupHeader = GroupHeader {
    subscribe: SubscribeId(300),
    sequence: GroupSequence(70_000),
    frame_start: 0,
};
