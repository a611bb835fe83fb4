//! The announce table against a locked ordered map with the same contents: what a lookup, a
//! scan below a prefix and a change cost, alone and while another thread changes entries.
#![allow(clippy::disallowed_types, reason = "the lock is what is measured against")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use criterion::{Criterion, criterion_group, criterion_main};
use moqswitch::routing::{AnnounceTable, Entry, PeerKey, ShardId, Source};
use moqswitch::wire::{Advertisement, BroadcastPath, HopId};

/// What shards need of a table.
trait Table: Send + Sync + 'static {
    fn insert(&self, path: &BroadcastPath, source: Source);
    fn remove(&self, path: &BroadcastPath, source: Source);
    fn entries(&self, path: &BroadcastPath) -> usize;
    fn paths_under(&self, prefix: &BroadcastPath) -> usize;
}

impl Table for AnnounceTable {
    fn insert(&self, path: &BroadcastPath, source: Source) {
        AnnounceTable::insert(self, path, source, advertisement(), 1).expect("the table has room");
    }

    fn remove(&self, path: &BroadcastPath, source: Source) {
        AnnounceTable::remove(self, path, source);
    }

    fn entries(&self, path: &BroadcastPath) -> usize {
        AnnounceTable::entries(self, path).len()
    }

    fn paths_under(&self, prefix: &BroadcastPath) -> usize {
        AnnounceTable::paths_under(self, prefix, usize::MAX).len()
    }
}

/// The alternative.
#[derive(Default)]
struct Locked(RwLock<BTreeMap<(BroadcastPath, Source), Entry>>);

impl Table for Locked {
    fn insert(&self, path: &BroadcastPath, source: Source) {
        let entry = Entry {
            source,
            advertisement: Arc::new(advertisement()),
            received: 0,
            generation: 0,
        };
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert((path.clone(), source), entry);
    }

    fn remove(&self, path: &BroadcastPath, source: Source) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.remove(&(path.clone(), source));
    }

    fn entries(&self, path: &BroadcastPath) -> usize {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let from = Bound::Included((path.clone(), source(0)));
        let entries: Vec<Entry> = map
            .range((from, Bound::Unbounded))
            .take_while(|((at, _), _)| at == path)
            .map(|(_, entry)| entry.clone())
            .collect();
        entries.len()
    }

    fn paths_under(&self, prefix: &BroadcastPath) -> usize {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let from = Bound::Included((prefix.clone(), source(0)));
        let mut paths: Vec<BroadcastPath> = map
            .range((from, Bound::Unbounded))
            .take_while(|((path, _), _)| path.is_under(prefix))
            .map(|((path, _), _)| path.clone())
            .collect();
        paths.dedup();
        paths.len()
    }
}

fn advertisement() -> Advertisement {
    Advertisement {
        hops: vec![HopId(7)],
        ..Advertisement::default()
    }
}

fn source(index: u32) -> Source {
    Source {
        shard: ShardId(0),
        peer: PeerKey { index, generation: 0 },
    }
}

fn path(call: usize, participant: usize) -> BroadcastPath {
    BroadcastPath::new(&format!("call/{call}/{participant}"))
}

fn fill(table: &impl Table) {
    for call in 0..CALLS {
        for participant in 0..PARTICIPANTS {
            table.insert(&path(call, participant), source(1));
        }
    }
}

/// Runs `body` while another thread adds and removes broadcasts without pause.
fn beside_a_writer<T: Table>(table: &Arc<T>, body: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (table, stop) = (table.clone(), stop.clone());
        move || {
            let mut call = 0;
            while !stop.load(Ordering::Relaxed) {
                let path = path(call % CALLS, PARTICIPANTS);
                table.insert(&path, source(2));
                table.remove(&path, source(2));
                call += 1;
            }
        }
    });
    body();
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
}

fn measure<T: Table>(criterion: &mut Criterion, name: &str, table: T) {
    fill(&table);
    let table = Arc::new(table);
    let mut group = criterion.benchmark_group(name);
    let lookups = |group: &mut criterion::BenchmarkGroup<'_, _>, load: &str| {
        let mut call = 0;
        group.bench_function(format!("sources of a path, {load}"), |bencher| {
            bencher.iter(|| {
                call = (call + 7919) % CALLS;
                black_box(table.entries(&path(call, 3)))
            });
        });
        group.bench_function(format!("paths of a call, {load}"), |bencher| {
            bencher.iter(|| {
                call = (call + 7919) % CALLS;
                black_box(table.paths_under(&BroadcastPath::new(&format!("call/{call}"))))
            });
        });
        group.bench_function(format!("add and remove, {load}"), |bencher| {
            bencher.iter(|| {
                call = (call + 7919) % CALLS;
                let path = path(call, 9);
                table.insert(&path, source(3));
                table.remove(&path, source(3));
            });
        });
    };
    lookups(&mut group, "alone");
    beside_a_writer(&table, || lookups(&mut group, "beside a writer"));
    group.finish();
}

fn tables(criterion: &mut Criterion) {
    measure(criterion, "skip list", AnnounceTable::new());
    measure(criterion, "locked tree", Locked::default());
}

const CALLS: usize = 12_500;
const PARTICIPANTS: usize = 8;

criterion_group!(benches, tables);
criterion_main!(benches);
