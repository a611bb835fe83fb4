//! The announce table against a locked ordered map with the same contents: what a lookup, a
//! scan below a prefix and a change cost, alone and while other threads read or change entries.
#![allow(clippy::disallowed_types, reason = "the lock is what is measured against")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId};
use moqswitch_relay::routing::{AnnounceTable, Entry, Holder, PeerKey, Precedence, Publisher, ShardId, Source};

mod workload;
use workload::timing::each_for;

/// What shards need of a table.
trait Table: Send + Sync + 'static {
    fn insert(&self, path: &BroadcastPath, source: Source);
    fn remove(&self, path: &BroadcastPath, source: Source);
    fn entries(&self, path: &BroadcastPath) -> usize;
    fn paths_under(&self, prefix: &BroadcastPath) -> usize;
}

impl Table for AnnounceTable {
    fn insert(&self, path: &BroadcastPath, source: Source) {
        AnnounceTable::insert(self, path, source, Holder::OURS, advertisement(), 1).expect("the table has room");
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
            share: 0,
            advertisement: Arc::new(advertisement()),
            received: 0,
            generation: 0,
            is_forwarded: false,
            is_of_kin: false,
            is_draining: false,
            tie: 0,
            publisher: Publisher(0),
            since: 0,
            claimed: 0,
            is_epoch_believed: false,
            precedence: Precedence::default(),
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

fn call(number: usize) -> BroadcastPath {
    BroadcastPath::new(&format!("call/{number}"))
}

fn path(call: usize, participant: usize) -> BroadcastPath {
    BroadcastPath::new(&format!("call/{call}/{participant}"))
}

/// Numbers of calls all over the table, no two alike among `calls` in a row.
struct Calls {
    calls: usize,
    last: usize,
}

impl Calls {
    fn next(&mut self) -> usize {
        self.last = (self.last + CALL_STEP) % self.calls;
        self.last
    }
}

/// What other threads do meanwhile, without pause.
struct Others {
    name: &'static str,
    readers: usize,
    writers: usize,
}

impl Others {
    fn beside<T: Table>(&self, table: &Arc<T>, calls: usize, body: impl FnOnce()) {
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = [(self.readers, read as fn(&T, usize)), (self.writers, write)]
            .into_iter()
            .flat_map(|(count, work)| std::iter::repeat_n(work, count))
            .map(|work| {
                let (table, stop) = (table.clone(), stop.clone());
                std::thread::spawn(move || {
                    let mut calls = Calls { calls, last: 0 };
                    while !stop.load(Ordering::Relaxed) {
                        work(&table, calls.next());
                    }
                })
            })
            .collect();
        body();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("the thread found what it looked for");
        }
    }
}

/// What a shard reads for a subscription, and for an announce request.
fn read<T: Table>(table: &T, number: usize) {
    assert_eq!(table.entries(&path(number, 3)), 1);
    assert!(table.paths_under(&call(number)) >= PARTICIPANTS);
}

fn write<T: Table>(table: &T, number: usize) {
    let path = path(number, PARTICIPANTS);
    table.insert(&path, source(2));
    table.remove(&path, source(2));
}

fn lookups<T: Table>(criterion: &mut Criterion, table: &T, name: &str, others: &str, calls: usize) {
    let mut group = criterion.benchmark_group(name);
    let mut calls = Calls { calls, last: 0 };
    group.bench_function(BenchmarkId::new("sources of a path", others), |bencher| {
        bencher.iter_batched_ref(
            || path(calls.next(), 3),
            |path| assert_eq!(table.entries(path), 1),
            BATCH,
        );
    });
    group.bench_function(BenchmarkId::new("paths of a call", others), |bencher| {
        bencher.iter_batched_ref(
            || call(calls.next()),
            |call| assert!(table.paths_under(call) >= PARTICIPANTS),
            BATCH,
        );
    });
}

/// Each batch is of paths none of which, or all of which, are there before it. At most a ninth of
/// the table comes and goes.
fn changes<T: Table>(criterion: &mut Criterion, table: &T, name: &str, others: &str, calls: usize) {
    let mut group = criterion.benchmark_group(name);
    let mut calls = Calls { calls, last: 0 };
    group.bench_function(BenchmarkId::new("insert", others), |bencher| {
        bencher.iter_batched_ref(
            || {
                let path = path(calls.next(), ADDED);
                table.remove(&path, source(3));
                path
            },
            |path| table.insert(path, source(3)),
            BATCH,
        );
        assert_eq!(table.entries(&path(calls.last, ADDED)), 1, "it was inserted");
    });
    group.bench_function(BenchmarkId::new("remove", others), |bencher| {
        bencher.iter_batched_ref(
            || {
                let path = path(calls.next(), ADDED);
                table.insert(&path, source(3));
                path
            },
            |path| table.remove(path, source(3)),
            BATCH,
        );
        assert_eq!(table.entries(&path(calls.last, ADDED)), 0, "it was removed");
    });
}

fn measure<T: Table>(criterion: &mut Criterion, name: &str, table: T, calls: usize) {
    for number in 0..calls {
        for participant in 0..PARTICIPANTS {
            table.insert(&path(number, participant), source(1));
        }
    }
    let table = Arc::new(table);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for others in &OTHERS {
        if others.readers + others.writers >= cores {
            // The scheduler would be measured.
            eprintln!("{name}, {}: left out, there are {cores} cores", others.name);
            continue;
        }
        others.beside(&table, calls, || {
            lookups(criterion, &*table, name, others.name, calls);
            changes(criterion, &*table, name, others.name, calls);
        });
    }
}

fn tables(criterion: &mut Criterion) {
    for calls in CALLS {
        let broadcasts = calls * PARTICIPANTS;
        measure(
            criterion,
            &format!("skip list of {broadcasts}"),
            AnnounceTable::new(),
            calls,
        );
        measure(
            criterion,
            &format!("locked tree of {broadcasts}"),
            Locked::default(),
            calls,
        );
    }
}

/// A thousand and a hundred thousand broadcasts.
const CALLS: [usize; 2] = [125, 12_500];
const PARTICIPANTS: usize = 8;
/// The participant that comes and goes.
const ADDED: usize = 9;

/// A prime that divides no number of calls.
const CALL_STEP: usize = 7919;

/// Fewer than there are calls, so that a batch does not meet its own changes.
const BATCH: BatchSize = BatchSize::NumIterations(100);

const OTHERS: [Others; 4] = [
    others("alone", 0, 0),
    others("beside a reader", 1, 0),
    others("beside 3 readers", 3, 0),
    others("beside a writer", 0, 1),
];

const fn others(name: &'static str, readers: usize, writers: usize) -> Others {
    Others { name, readers, writers }
}

criterion_group! {
    name = benches;
    config = each_for(Duration::from_millis(800));
    targets = tables
}
criterion_main!(benches);
