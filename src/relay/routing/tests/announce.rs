//! Announcements: prefixes, selection, and what each stream is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use moqswitch_proto::wire::{Advertisement, HopId, RouteCost};

const OUR_HOP: HopId = HopId(1000);

struct Watch {
    announcer: Announcer,
    table: Arc<AnnounceTable>,
    /// What each stream knows, from what it was told.
    known: BTreeMap<u32, BTreeMap<String, Advertisement>>,
    told: usize,
}

impl Watch {
    fn new() -> Self {
        Self::by_rule(NameRule::Holder)
    }

    fn by_rule(names: NameRule) -> Self {
        let table = Arc::new(AnnounceTable::new().with_names(names));
        Self {
            announcer: Announcer::new(table.clone(), ShardId(0), OUR_HOP),
            table,
            known: BTreeMap::new(),
            told: 0,
        }
    }

    fn watch(&mut self, index: u32, prefix: &str, exclude: u64) {
        self.known.insert(index, BTreeMap::new());
        self.announcer
            .handle_request(
                peer(index),
                REQUEST,
                BroadcastPath::new(prefix),
                HopId(exclude),
                false,
                None,
            )
            .unwrap();
        self.settle();
    }

    fn announce(&mut self, from: u32, path: &str, advertisement: Advertisement) {
        let path = BroadcastPath::new(path);
        self.table
            .insert(&path, source(from), Holder::OURS, advertisement, 1)
            .unwrap();
        self.announcer.handle_change(&path);
        self.settle();
    }

    fn withdraw(&mut self, from: u32, path: &str) {
        let path = BroadcastPath::new(path);
        self.table.remove(&path, source(from));
        self.announcer.handle_change(&path);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(key) = self.announcer.poll_ready() {
            while let Some(action) = self.announcer.next_action(key) {
                self.apply(action);
            }
        }
    }

    fn apply(&mut self, action: AnnounceAction) {
        self.told += 1;
        match action {
            AnnounceAction::Ok { .. } => {}
            AnnounceAction::Reset { .. } => panic!("a stream was reset"),
            AnnounceAction::Announce {
                peer,
                suffix,
                advertisement,
                ..
            } => {
                let known = self.known.get_mut(&peer.index).unwrap();
                known.insert(suffix.as_str().to_owned(), (*advertisement).clone());
            }
            AnnounceAction::Unannounce { peer, suffix, .. } => {
                let known = self.known.get_mut(&peer.index).unwrap();
                assert!(known.remove(suffix.as_str()).is_some(), "an end of something not told");
            }
        }
    }

    fn knows(&self, index: u32) -> Vec<&str> {
        self.known[&index].keys().map(String::as_str).collect()
    }
}

fn source(index: u32) -> Source {
    Source {
        shard: ShardId(u8::from(index.is_multiple_of(2))),
        peer: peer(index),
    }
}

fn by(hops: &[u64]) -> Advertisement {
    Advertisement {
        hops: hops.iter().map(|hop| HopId(*hop)).collect(),
        ..Advertisement::default()
    }
}

#[test]
fn prefixes_match_whole_segments_and_updates_are_live() {
    let mut watch = Watch::new();
    watch.announce(50, "room/a", by(&[1]));
    watch.announce(51, "room-a", by(&[2]));
    watch.watch(1, "room", 0);
    watch.watch(2, "", 0);
    watch.watch(3, "room/a", 0);
    assert_eq!(watch.knows(1), ["a"]);
    assert_eq!(watch.knows(2), ["room-a", "room/a"]);
    assert_eq!(watch.knows(3), [""]);
    watch.announce(52, "room/b/c", by(&[3]));
    watch.withdraw(50, "room/a");
    assert_eq!(watch.knows(1), ["b/c"]);
    assert_eq!(watch.knows(3), Vec::<&str>::new());
}

#[test]
fn the_best_of_several_sources_is_told_and_the_next_when_it_ends() {
    for rule in [NameRule::Holder, NameRule::Newest, NameRule::Epoch] {
        let mut watch = Watch::by_rule(rule);
        watch.watch(1, "", 0);
        watch.announce(50, "x", by(&[1, 2]));
        watch.announce(51, "x", by(&[3]));
        assert_eq!(watch.known[&1]["x"].hops, [HopId(3)], "the shorter path");
        watch.announce(52, "x", by(&[4]));
        let of_equals = HopId(if rule == NameRule::Newest { 4 } else { 3 });
        assert_eq!(watch.known[&1]["x"].hops, [of_equals], "{rule:?}");
        let mut costly = by(&[5]);
        costly.cost = RouteCost { warm: 9, cold: 9 };
        watch.announce(53, "x", costly);
        assert_eq!(watch.known[&1]["x"].hops, [of_equals], "the cheaper");
        let mut newer = by(&[6, 7, 8]);
        newer.epoch = 5;
        watch.announce(54, "x", newer);
        let is_believed = rule == NameRule::Epoch;
        assert_eq!(watch.known[&1]["x"].hops.len() == 3, is_believed, "{rule:?}");
        watch.withdraw(54, "x");
        watch.withdraw(52, "x");
        assert_eq!(watch.known[&1]["x"].hops, [HopId(3)]);
        for from in [51, 50, 53] {
            watch.withdraw(from, "x");
        }
        assert!(watch.knows(1).is_empty());
    }
}

#[test]
fn who_comes_back_has_its_name_and_who_yields_has_the_last_turn() {
    let table = AnnounceTable::new().with_names(NameRule::Holder);
    let path = BroadcastPath::new("x");
    let link = |publisher| Provenance {
        cost: 1,
        publisher: Publisher(publisher),
        ..Provenance::default()
    };
    let announce = |from, hop: u64, publisher| {
        let holder = Holder::OURS;
        table.insert_by(&path, source(from), holder, by(&[hop]), link(publisher))
    };
    let chosen = || select(&table.entries(&path), HopId::UNKNOWN, false).map(|entry| entry.source);
    assert_eq!(announce(1, 7, 70), Ok(false));
    assert_eq!(announce(2, 8, 80), Ok(true), "it is contested");
    assert_eq!(announce(2, 9, 80), Ok(false), "once");
    assert_eq!(chosen(), Some(source(1)));
    // By another session, which takes the place of the first; that one may say what it will.
    announce(3, 7, 70).unwrap();
    assert_eq!(chosen(), Some(source(3)));
    announce(1, 7, 70).unwrap();
    assert_eq!(chosen(), Some(source(3)));
    table.remove(&path, source(1));
    assert_eq!(chosen(), Some(source(3)), "its turn is that of the first");
    assert!(table.yield_turn(&path, source(3)));
    assert_eq!(chosen(), Some(source(2)));
    table.remove(&path, source(2));
    assert_eq!(chosen(), Some(source(3)));
}

#[test]
fn who_moves_to_the_process_that_follows_is_heard_there_and_its_tracks_go_on() {
    for rule in [NameRule::Holder, NameRule::Newest] {
        let [before, after] = [(); 2].map(|()| AnnounceTable::new().with_names(rule).with_publishers(&[7; 32]));
        let path = BroadcastPath::new("x");
        for credential in [None, Some(before.credential_of(("token", "a.b.c")))] {
            // Both processes know a publisher by the same number.
            let own = before.hop_of(credential, HopId(5));
            assert_eq!(own, after.hop_of(credential, HopId(5)));
            let publisher = before.publisher_of(credential, Some(own));
            assert_eq!(publisher, after.publisher_of(credential, Some(own)));
            assert_ne!(own, AnnounceTable::new().hop_of(credential, HopId(5)));
            let kin = Provenance {
                cost: 1,
                is_peer: true,
                is_kin: true,
                is_draining: true,
                ..Provenance::default()
            };
            // What it said of its epoch to the process before counts for no more than what it says here.
            let mut passed_on = by(&[own.0, OUR_HOP.0]);
            passed_on.epoch = 9;
            let old = after.insert_by(&path, source(1), Holder::OURS, passed_on, kin);
            assert_eq!(old, Ok(false));
            let session = Provenance {
                cost: 1,
                publisher,
                ..Provenance::default()
            };
            let mut direct = by(&[own.0]);
            direct.epoch = 9;
            let new = after.insert_by(&path, source(2), Holder::OURS, direct, session);
            assert_eq!(new, Ok(false), "the link holds no name");
            let entries = after.entries(&path);
            let chosen = select(&entries, HopId::UNKNOWN, false).map(|entry| entry.source);
            assert_eq!(chosen, Some(source(2)), "{rule:?}");
            assert!(is_spliceable(&entries[0], &entries[1]));
            // Who was quicker does not keep the name from it.
            after.remove(&path, source(2));
            after.insert(&path, source(3), Holder::OURS, by(&[6]), 1).unwrap();
            let chosen = || select(&after.entries(&path), HopId::UNKNOWN, false).map(|entry| entry.source);
            assert_eq!(chosen(), Some(source(3)), "{rule:?}");
            after
                .insert_by(&path, source(2), Holder::OURS, by(&[own.0]), session)
                .unwrap();
            assert_eq!(chosen(), Some(source(2)), "{rule:?}");
            after.remove(&path, source(3));
            // In the process before, its session there comes first until it has gone.
            before
                .insert_by(&path, source(2), Holder::OURS, by(&[own.0]), session)
                .unwrap();
            let mut staying = kin;
            staying.is_draining = false;
            let mut passed_on = by(&[own.0, OUR_HOP.0]);
            passed_on.epoch = 9;
            let back = before.insert_by(&path, source(1), Holder::OURS, passed_on, staying);
            assert_eq!(back, Ok(false), "nor does it want one");
            let chosen = || select(&before.entries(&path), HopId::UNKNOWN, false).map(|entry| entry.source);
            assert_eq!(chosen(), Some(source(2)), "{rule:?}");
            // And is known to be over if nothing more comes by it.
            let find = |table: &AnnounceTable, of| {
                let entries = table.entries(&path);
                entries.into_iter().find(|entry| entry.source == source(of)).unwrap()
            };
            assert!(find(&before, 2).is_followed_by(&find(&before, 1)));
            assert!(!find(&before, 1).is_followed_by(&find(&before, 2)));
            assert!(
                !find(&after, 2).is_followed_by(&find(&after, 1)),
                "the one before follows nobody"
            );
            before.remove(&path, source(2));
            assert_eq!(chosen(), Some(source(1)), "{rule:?}");
            before.remove(&path, source(1));
            after.remove(&path, source(1));
            after.remove(&path, source(2));
        }
    }
}

#[test]
fn nobody_is_told_what_passed_through_him_or_us() {
    let mut watch = Watch::new();
    watch.watch(1, "", 42);
    watch.announce(50, "through-them", by(&[1, 42]));
    watch.announce(51, "through-us", by(&[1, OUR_HOP.0, 2]));
    watch.announce(52, "through-them", by(&[3, 4, 5]));
    assert_eq!(watch.knows(1), ["through-them"]);
    assert_eq!(watch.known[&1]["through-them"].hops.len(), 3, "the best that remains");
    assert!(
        watch
            .announcer
            .route(&BroadcastPath::new("through-them"), peer(1), HopId(42))
            .is_some()
    );
    watch.withdraw(52, "through-them");
    assert!(watch.knows(1).is_empty());
    assert!(
        watch
            .announcer
            .route(&BroadcastPath::new("through-them"), peer(1), HopId(42))
            .is_none()
    );
}

#[test]
fn what_does_not_change_is_not_told_again() {
    let mut watch = Watch::new();
    watch.watch(1, "", 0);
    watch.announce(50, "x", by(&[1]));
    let told = watch.told;
    watch.announce(50, "x", by(&[1]));
    watch.announce(51, "x", by(&[1, 2, 3]));
    watch.withdraw(51, "x");
    assert_eq!(watch.told, told);
}

#[test]
fn who_ends_and_begins_anew_is_told_so_though_both_come_at_once() {
    let mut watch = Watch::new();
    watch.watch(1, "", 0);
    watch.announce(50, "x", by(&[1]));
    let (path, told) = (BroadcastPath::new("x"), watch.told);
    watch.table.remove(&path, source(50));
    watch.announcer.handle_change(&path);
    watch.announce(50, "x", by(&[1]));
    // Its end, and its beginning.
    assert_eq!((watch.told, watch.knows(1)), (told + 2, vec!["x"]));
    watch.announce(50, "x", by(&[1]));
    assert_eq!(watch.told, told + 2);
}

#[test]
fn a_source_that_ends_is_continued_by_one_of_the_same_content() {
    let mut watch = Watch::new();
    watch.announce(50, "x", by(&[7, 1]));
    watch.announce(51, "x", by(&[7, 2]));
    watch.announce(52, "x", by(&[8]));
    let path = BroadcastPath::new("x");
    watch.table.remove(&path, source(50));
    let change = watch.announcer.handle_change(&path);
    assert_eq!(
        change.fate_of(source(50)),
        RouteFate::ContinuedBy {
            source: source(51),
            hops: vec![HopId(7), HopId(2)],
        }
    );
    assert_eq!(change.fate_of(source(51)), RouteFate::Unchanged);
    watch.table.remove(&path, source(51));
    let change = watch.announcer.handle_change(&path);
    assert_eq!(change.fate_of(source(51)), RouteFate::Ended, "52 has other content");
}

#[test]
fn a_resync_after_missed_changes_ends_where_live_updates_would_have() {
    for seed in 1..=20u64 {
        let mut random = seed;
        let mut next = move |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut live = Watch::new();
        let mut late = Watch::new();
        for watch in [&mut live, &mut late] {
            watch.watch(1, "a", 3);
            watch.watch(2, "", 0);
        }
        for _ in 0..200 {
            let path = ["a", "a/b", "a/b/c", "b", "ab"][usize::try_from(next(5)).unwrap()];
            let from = 50 + u32::try_from(next(4)).unwrap();
            let advertisement = by(&[1 + next(5), 10 + next(3)]);
            if next(3) == 0 {
                live.withdraw(from, path);
                late.table.remove(&BroadcastPath::new(path), source(from));
            } else {
                live.announce(from, path, advertisement.clone());
                late.table
                    .insert(&BroadcastPath::new(path), source(from), Holder::OURS, advertisement, 1)
                    .unwrap();
            }
        }
        late.announcer.begin_resync();
        while late.announcer.is_resyncing() {
            for path in late.announcer.poll_resync(2) {
                late.announcer.handle_change(&path);
            }
        }
        late.settle();
        assert_eq!(live.known, late.known, "seed {seed}");
    }
}

#[test]
fn a_peer_may_ask_for_the_same_a_few_times() {
    let table = Arc::new(AnnounceTable::new());
    let mut announcer = Announcer::new(table, ShardId(0), HopId(1));
    let mut ask = |from: u32, stream: u64, prefix: &str| {
        let prefix = BroadcastPath::new(prefix);
        announcer.handle_request(peer(from), StreamId(stream), prefix, HopId::UNKNOWN, false, None)
    };
    for stream in 0..4 {
        assert_eq!(ask(1, stream, "room"), Ok(()));
    }
    assert_eq!(ask(1, 4, "room"), Err(TooManyRequests::Alike));
    assert_eq!(ask(1, 5, "room/1"), Ok(()));
    assert_eq!(ask(2, 6, "room"), Ok(()));
    announcer.handle_request_ended(peer(1), StreamId(0));
    let prefix = BroadcastPath::new("room");
    let again = announcer.handle_request(peer(1), StreamId(7), prefix, HopId::UNKNOWN, false, None);
    assert_eq!(again, Ok(()));
}

#[test]
fn the_table_serves_readers_while_it_is_written() {
    let table = Arc::new(AnnounceTable::new());
    let writers: Vec<_> = (0..2u8)
        .map(|shard| {
            let table = table.clone();
            std::thread::spawn(move || {
                for round in 0..2000u32 {
                    let path = BroadcastPath::new(&format!("room/{}", round % 50));
                    let source = Source {
                        shard: ShardId(shard),
                        peer: peer(round % 7),
                    };
                    table.insert(&path, source, Holder::OURS, by(&[1]), 1).unwrap();
                    if round % 3 == 0 {
                        table.remove(&path, source);
                    }
                }
            })
        })
        .collect();
    let prefix = BroadcastPath::new("room");
    while writers.iter().any(|writer| !writer.is_finished()) {
        for path in table.paths_under(&prefix, 100) {
            assert!(path.is_under(&prefix));
            assert!(
                table
                    .entries(&path)
                    .iter()
                    .all(|entry| entry.advertisement.hops == [HopId(1)])
            );
        }
    }
    for writer in writers {
        writer.join().unwrap();
    }
    let counted: usize = table
        .paths_under(&prefix, 100)
        .iter()
        .map(|path| table.entries(path).len())
        .sum();
    assert_eq!(counted, table.len());
}

#[test]
fn a_slow_reader_skips_what_is_over_by_then() {
    let mut watch = Watch::new();
    watch.watch(1, "", 0);
    let path = BroadcastPath::new("brief");
    for _ in 0..1000 {
        watch
            .table
            .insert(&path, source(50), Holder::OURS, by(&[1]), 1)
            .unwrap();
        watch.announcer.handle_change(&path);
        watch.table.remove(&path, source(50));
        watch.announcer.handle_change(&path);
    }
    let told = watch.told;
    watch.settle();
    assert_eq!(watch.told, told);
}

#[test]
fn the_initial_set_has_as_many_broadcasts_as_was_said() {
    let mut watch = Watch::new();
    let longest: Vec<u64> = (1..=moqswitch_proto::limits::HOPS_MAX as u64).collect();
    watch.announce(50, "has-no-room-for-us", by(&longest));
    watch.announce(51, "a", by(&[1]));
    watch.announce(52, "b", by(&[2]));
    watch
        .announcer
        .handle_request(peer(1), REQUEST, BroadcastPath::root(), HopId::UNKNOWN, false, None)
        .unwrap();
    // One of them ends before the stream could be told of it.
    let path = BroadcastPath::new("b");
    watch.table.remove(&path, source(52));
    watch.announcer.handle_change(&path);
    let key = watch.announcer.poll_ready().unwrap();
    let actions: Vec<_> = std::iter::from_fn(|| watch.announcer.next_action(key)).collect();
    assert!(matches!(actions[0], AnnounceAction::Ok { active_count: 2, .. }));
    assert!(matches!(actions[1], AnnounceAction::Announce { .. }));
    assert!(matches!(actions[2], AnnounceAction::Announce { .. }));
    assert!(matches!(actions[3], AnnounceAction::Unannounce { .. }));
    assert_eq!(actions.len(), 4);
}

#[test]
fn a_source_that_begins_anew_is_told_from_one_that_goes_on() {
    let mut watch = Watch::new();
    watch.announce(50, "x", by(&[7, 1]));
    let path = BroadcastPath::new("x");
    let replace = |watch: &mut Watch, advertisement| {
        watch
            .table
            .insert(&path, source(50), Holder::OURS, advertisement, 1)
            .unwrap();
        watch.announcer.handle_change(&path).fate_of(source(50))
    };
    assert_eq!(replace(&mut watch, by(&[7, 2])), RouteFate::Unchanged);
    assert_eq!(replace(&mut watch, by(&[8, 2])), RouteFate::Ended);
    watch.table.remove(&path, source(50));
    assert_eq!(
        replace(&mut watch, by(&[8, 2])),
        RouteFate::Ended,
        "it was gone in between"
    );
}

#[test]
fn a_stream_that_is_not_read_is_reset_at_its_bound_and_keeps_nothing() {
    let mut watch = Watch::new();
    watch.watch(1, "", 0);
    watch.watch(2, "", 0);
    let key = request(1, REQUEST);
    // More fresh paths than may wait; the second stream reads.
    for number in 0..140_000 {
        let path = BroadcastPath::new(&format!("storm/{number}"));
        watch.announcer.handle_change(&path);
        while let Some(ready) = watch.announcer.poll_ready() {
            if ready == key {
                continue;
            }
            while let Some(action) = watch.announcer.next_action(ready) {
                watch.apply(action);
            }
        }
    }
    assert!(matches!(
        watch.announcer.next_action(key),
        Some(AnnounceAction::Reset { .. })
    ));
    assert_eq!(watch.announcer.next_action(key), None);
    assert_eq!(watch.announcer.request_count(), 1);
}
