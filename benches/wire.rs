//! What the codec costs: messages of the data and the control path, and splitting a group into
//! chunks.

use std::fmt::Debug;
use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqswitch_proto::wire::{
    Advertisement, Announce, BroadcastPath, DecodeError, EncodeError, FrameForm, GroupHeader, GroupParser, GroupRange,
    GroupSequence, HopId, RouteCost, Subscribe, SubscribeId, Transcoder, Version,
};

mod workload;
use workload::group::{FORM, VERSION, frames, pieces};
use workload::timing::each_for;

fn messages(criterion: &mut Criterion) {
    let group = GroupHeader {
        subscribe: SubscribeId(300),
        sequence: GroupSequence(70_000),
        frame_start: 0,
    };
    message(
        criterion,
        "group header",
        &group,
        GroupHeader::encode,
        GroupHeader::decode,
    );
    let announce = Announce::Start {
        suffix: BroadcastPath::new("call/1234/5"),
        advertisement: Advertisement {
            hops: vec![HopId(1 << 40), HopId(1 << 50)],
            cost: RouteCost { warm: 1, cold: 2 },
            ..Advertisement::default()
        },
    };
    message(criterion, "announce", &announce, Announce::encode, Announce::decode);
    let subscribe = Subscribe {
        id: SubscribeId(300),
        broadcast: BroadcastPath::new("call/1234/5"),
        track: "audio".into(),
        epoch: 0,
        priority: 5,
        ordered: false,
        max_latency_ms: 1000,
        range: GroupRange::default(),
    };
    message(criterion, "subscribe", &subscribe, Subscribe::encode, Subscribe::decode);
}

/// Both directions of one message.
fn message<Message: Debug + PartialEq>(
    criterion: &mut Criterion,
    name: &str,
    message: &Message,
    encode: impl Fn(&Message, Version, &mut BytesMut) -> Result<(), EncodeError>,
    decode: impl Fn(Version, &[u8]) -> Result<(Message, usize), DecodeError>,
) {
    let mut encoded = BytesMut::new();
    encode(message, VERSION, &mut encoded).expect("a message of the draft");
    let (decoded, used) = decode(VERSION, &encoded).expect("what was encoded");
    assert_eq!((&decoded, used), (message, encoded.len()));
    criterion.bench_function(&format!("{name}, decode"), |bencher| {
        bencher.iter(|| decode(VERSION, black_box(&encoded)));
    });
    criterion.bench_function(&format!("{name}, encode"), |bencher| {
        let mut out = BytesMut::with_capacity(64);
        bencher.iter(|| {
            out.clear();
            encode(black_box(message), VERSION, black_box(&mut out))
        });
    });
}

fn chunks(criterion: &mut Criterion) {
    let mut parse = criterion.benchmark_group("parse a group");
    for (name, count, bytes, step) in [
        ("1 x 200 B, whole", 1, 200, usize::MAX),
        ("5 x 200 B, whole", 5, 200, usize::MAX),
        ("30 x 10 kB, 1350 B reads", 30, 10_000, 1350),
    ] {
        let group = frames(count, bytes);
        parse.throughput(Throughput::Elements(count));
        parse.bench_with_input(BenchmarkId::from_parameter(name), &group, |bencher, group| {
            bencher.iter_batched(
                || pieces(group, step),
                |pieces| {
                    let mut parser = GroupParser::new(FORM);
                    for piece in pieces {
                        black_box(parser.push(piece, 0)).expect("a well-formed group");
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    parse.finish();
}

fn transcode(criterion: &mut Criterion) {
    let mut parser = GroupParser::new(FORM);
    let chunk = parser
        .push(frames(1, 200), 0)
        .expect("well-formed")
        .expect("a whole frame");
    criterion.bench_function("transcode 1 x 200 B, timed to plain", |bencher| {
        bencher.iter(|| {
            let mut transcoder = Transcoder::new(FrameForm::Plain, 0, None);
            transcoder.push(black_box(&chunk), &mut |piece| {
                black_box(piece);
            });
        });
    });
}

criterion_group! {
    name = benches;
    config = each_for(Duration::from_secs(3));
    targets = messages, chunks, transcode
}
criterion_main!(benches);
