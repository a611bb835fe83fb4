//! What routing costs for each delivered frame: groups of one 200 B frame from a publisher to
//! local subscribers, from the start of the group to the writes on their connections.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

mod workload;
use workload::fan_out::FanOut;
use workload::timing::each_for;

fn subscribers(criterion: &mut Criterion) {
    let mut measured = criterion.benchmark_group("fan-out of 1 x 200 B");
    for subscribers in [1, 10, 100, 1000] {
        let mut fan_out = FanOut::new(subscribers);
        measured.throughput(Throughput::Elements(u64::from(subscribers)));
        measured.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| fan_out.publish());
        });
        fan_out.assert_delivered();
    }
}

criterion_group! {
    name = benches;
    config = each_for(Duration::from_secs(3));
    targets = subscribers
}
criterion_main!(benches);
