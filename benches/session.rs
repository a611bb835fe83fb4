//! What a session costs that receives a group: stream bytes in, events out, by how the bytes
//! are cut.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

mod workload;
use workload::group;
use workload::session::Subscriber;
use workload::timing::each_for;

fn groups(criterion: &mut Criterion) {
    for (name, frames, bytes) in [("1 x 200 B", 1, 200), ("30 x 10 kB", 30, 10_000)] {
        let mut subscriber = Subscriber::new();
        let stream = subscriber.group(&group::frames(frames, bytes));
        let mut measured = criterion.benchmark_group(format!("session, group of {name}"));
        measured.throughput(Throughput::Elements(frames));
        // Larger than the stream, a size would be the whole again.
        for (size, bytes_max) in PIECES.iter().filter(|(_, max)| *max < stream.len()).chain(&WHOLE) {
            let pieces = group::pieces(&stream, *bytes_max);
            measured.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| assert_eq!(subscriber.receive(&pieces) as u64, frames));
            });
        }
    }
}

/// A crumb, a packet's worth, and what a read buffer holds.
const PIECES: [(&str, usize); 3] = [
    ("50 B pieces", 50),
    ("1350 B pieces", 1350),
    ("16 KiB pieces", 16 << 10),
];
const WHOLE: [(&str, usize); 1] = [("whole", usize::MAX)];

criterion_group! {
    name = benches;
    config = each_for(Duration::from_secs(3));
    targets = groups
}
criterion_main!(benches);
