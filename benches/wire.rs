//! What the codec costs: headers of groups and frames, and splitting a group into chunks.

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqswitch::wire::{
    FrameForm, FrameHeader, GroupHeader, GroupParser, GroupSequence, SubscribeId, Transcoder, Version,
};
use std::hint::black_box;

fn headers(criterion: &mut Criterion) {
    let header = GroupHeader {
        subscribe: SubscribeId(300),
        sequence: GroupSequence(70_000),
        frame_start: 0,
    };
    let mut encoded = BytesMut::new();
    header.encode(Version::Lite06, &mut encoded).expect("a small header");
    criterion.bench_function("group header, decode", |bencher| {
        bencher.iter(|| GroupHeader::decode(Version::Lite06, black_box(&encoded)));
    });
    criterion.bench_function("group header, encode", |bencher| {
        let mut out = BytesMut::with_capacity(64);
        bencher.iter(|| {
            out.clear();
            header.encode(Version::Lite06, black_box(&mut out))
        });
    });
}

/// A group of `frames` frames of `bytes` each.
fn group(frames: u64, bytes: usize) -> Bytes {
    let mut out = BytesMut::new();
    for _ in 0..frames {
        let header = FrameHeader {
            timestamp_delta: 20,
            size: bytes as u64,
        };
        header.encode(FrameForm::Timed, &mut out).expect("a small header");
        out.extend_from_slice(&vec![7; bytes]);
    }
    out.freeze()
}

fn chunks(criterion: &mut Criterion) {
    let mut parse = criterion.benchmark_group("parse a group");
    for (name, frames, bytes, step) in [
        ("1 x 200 B, whole", 1, 200, usize::MAX),
        ("5 x 200 B, whole", 5, 200, usize::MAX),
        ("30 x 10 kB, 1350 B reads", 30, 10_000, 1350),
    ] {
        let group = group(frames, bytes);
        parse.throughput(Throughput::Elements(frames));
        parse.bench_with_input(BenchmarkId::from_parameter(name), &group, |bencher, group| {
            bencher.iter_batched(
                || pieces(group, step),
                |pieces| {
                    let mut parser = GroupParser::new(FrameForm::Timed);
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
    let mut parser = GroupParser::new(FrameForm::Timed);
    let chunk = parser
        .push(group(1, 200), 0)
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

fn pieces(group: &Bytes, step: usize) -> Vec<Bytes> {
    let mut rest = group.clone();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        pieces.push(rest.split_to(step.min(rest.len())));
    }
    pieces
}

criterion_group!(benches, headers, chunks, transcode);
criterion_main!(benches);
