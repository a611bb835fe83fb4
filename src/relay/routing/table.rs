//! The announce table: who publishes what, shared by all shards and locked by none.
//!
//! A skip list keyed by path and source. Each shard writes only entries of its own
//! sessions; all read. Paths below a prefix lie next to each other.

use std::hash::{BuildHasher, RandomState};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry as SkipEntry;

use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId};
use ring::hmac;

use super::ids::{PeerKey, ShardId, Source};
use super::route::{Entry, Precedence, Provenance, Publisher, RouteView};
use super::select::{NameRule, is_same_content, reason, select, tie};

/// One advertisement of a source; it may for a moment have two, and the later one counts.
type Key = (BroadcastPath, Source, u64);

/// The broadcast is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableFull {
    /// [`TableLimits::broadcasts_max`].
    #[error("the relay has its maximum of {0} broadcasts")]
    Broadcasts(usize),
    /// [`TableLimits::bytes_max`].
    #[error("the broadcasts of the relay take their maximum of {0} bytes")]
    Bytes(usize),
    /// [`TableLimits::share_max`].
    #[error("one address has its maximum of {0} broadcasts")]
    Share(usize),
    /// [`TableLimits::share_bytes_max`].
    #[error("the broadcasts of one address take their maximum of {0} bytes")]
    ShareBytes(usize),
}

/// How much an announce table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLimits {
    /// Advertisements of all sources together. Default: 1 048 576.
    pub broadcasts_max: usize,
    /// What they take: of each twice its path, its hops, and some 400 bytes beside. Default: 512 MiB.
    pub bytes_max: usize,
    /// Advertisements of the sources of one holder. Default: a quarter of all.
    pub share_max: usize,
    /// What those take. Default: a quarter of all.
    pub share_bytes_max: usize,
}

impl TableLimits {
    /// So many bytes, and the default part of them for one holder.
    #[must_use]
    pub fn with_bytes(self, bytes_max: usize) -> Self {
        Self {
            bytes_max,
            share_bytes_max: bytes_max / SHARES,
            ..self
        }
    }
}

impl Default for TableLimits {
    fn default() -> Self {
        Self {
            broadcasts_max: BROADCASTS_MAX,
            bytes_max: BYTES_MAX,
            share_max: BROADCASTS_MAX / SHARES,
            share_bytes_max: BYTES_MAX / SHARES,
        }
    }
}

/// Whose share of the table a broadcast is taken from: a number made of where its publisher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(pub Option<u64>);

impl Holder {
    /// The relay's own broadcasts, those of its applications, and what another relay passes on for many: bound by the size
    /// of the table alone.
    pub const OURS: Self = Self(None);
}

/// All broadcasts that all shards' sessions publish.
#[derive(Debug)]
pub struct AnnounceTable {
    entries: SkipMap<Key, Entry>,
    received: AtomicU64,
    limits: TableLimits,
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// What each holder has, in places of which holders may share one.
    shares: Box<[Share]>,
    hasher: RandomState,
    /// Of publishers' numbers.
    publishers: hmac::Key,
    names: NameRule,
}

/// Of one place.
#[derive(Debug, Default)]
struct Share {
    count: AtomicU32,
    bytes: AtomicUsize,
}

impl Default for AnnounceTable {
    fn default() -> Self {
        Self::with_limits(TableLimits::default())
    }
}

impl AnnounceTable {
    /// A table without any broadcast.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with other bounds.
    pub fn with_limits(limits: TableLimits) -> Self {
        let hasher = RandomState::new();
        let key: Vec<u8> = (0..4u8)
            .flat_map(|place| hasher.hash_one(place).to_le_bytes())
            .collect();
        Self {
            entries: SkipMap::new(),
            received: AtomicU64::new(0),
            limits,
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            shares: (0..SHARE_PLACES).map(|_| Share::default()).collect(),
            hasher,
            publishers: hmac::Key::new(hmac::HMAC_SHA256, &key),
            names: NameRule::default(),
        }
    }

    /// The same, with another rule for paths that several publish.
    #[must_use]
    pub fn with_names(self, names: NameRule) -> Self {
        Self { names, ..self }
    }

    /// The same, with the key of another table: both have the same numbers for the same publishers.
    #[must_use]
    pub fn with_publishers(self, key: &[u8; 32]) -> Self {
        let publishers = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { publishers, ..self }
    }

    /// The hop id of a session that is no peer, in place of the one that it says of itself or was given: the same for the
    /// same credential and the same hop, and nobody who hears it can say it.
    pub fn hop_of(&self, credential: Option<u64>, declared: HopId) -> HopId {
        let shown = credential.map(u64::to_le_bytes);
        let shown = shown.as_ref().map_or(&[][..], |shown| &shown[..]);
        HopId((self.number("hop", [&declared.0.to_le_bytes(), shown]) >> 2).max(1))
    }

    /// Whose session it is: who shows one credential, else who says one hop. `hop` is that of [`Self::hop_of`].
    pub fn publisher_of(&self, credential: Option<u64>, hop: Option<HopId>) -> Publisher {
        let number = |credential: u64| self.number("publisher", [&credential.to_le_bytes(), &[]]).max(1);
        let by_credential = credential.map(number);
        by_credential.map_or_else(|| Publisher(hop.map_or(0, |hop| hop.0)), Publisher)
    }

    /// A number for what a session shows, which tells nothing of it.
    pub fn credential_of(&self, shown: (&str, &str)) -> u64 {
        self.number("credential", [shown.0.as_bytes(), shown.1.as_bytes()])
    }

    /// By a key that nobody knows but processes that follow each other.
    fn number(&self, kind: &str, parts: [&[u8]; 2]) -> u64 {
        let mut context = hmac::Context::with_key(&self.publishers);
        for part in [kind.as_bytes(), parts[0], parts[1]] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let number = tag.as_ref().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(number)
    }

    /// Adds a source's advertisement or replaces the one it had. `link_cost` is what the
    /// link to it costs (draft, "Cost Parameter").
    pub fn insert(
        &self,
        path: &BroadcastPath,
        source: Source,
        holder: Holder,
        advertisement: Advertisement,
        link_cost: u64,
    ) -> Result<(), TableFull> {
        self.insert_by(path, source, holder, advertisement, Provenance::of_cost(link_cost))
            .map(|_| ())
    }

    /// The same, by a link that may be another relay's. True: it is new there, and somebody else publishes the path.
    pub fn insert_by(
        &self,
        path: &BroadcastPath,
        source: Source,
        holder: Holder,
        mut advertisement: Advertisement,
        provenance: Provenance,
    ) -> Result<bool, TableFull> {
        // Only the source's own shard writes its entries, so this cannot race.
        let old = self.of(path, source);
        // What replaces something takes only what it is larger by.
        let had = old.as_ref().map_or(0, |old| entry_bytes(path, &old.advertisement));
        let bytes = entry_bytes(path, &advertisement).saturating_sub(had);
        let shrunk = had.saturating_sub(entry_bytes(path, &advertisement));
        let share = old.as_ref().map_or_else(|| self.place_of(holder), |old| old.share);
        self.take_room(bytes, share, old.is_none())?;
        let is_draining = provenance.is_draining;
        advertisement.cost = advertisement
            .cost
            .plus_link(if is_draining { u64::MAX } else { provenance.cost });
        let is_forwarded = provenance.is_peer && advertisement.hops.len() > 1;
        let received = self.received.fetch_add(1, Ordering::Relaxed);
        let continued = old.as_ref().filter(|old| is_same_content(old, &advertisement));
        let mut entry = Entry {
            source,
            share,
            generation: continued.map_or(received, |old| old.generation),
            is_forwarded,
            is_of_kin: provenance.is_kin,
            is_draining,
            tie: if is_forwarded {
                tie(path, &advertisement.hops)
            } else {
                0
            },
            publisher: provenance.publisher,
            since: old.as_ref().map_or(received, |old| old.since),
            claimed: old.as_ref().map_or(received, |old| old.claimed),
            is_epoch_believed: (provenance.is_peer && !provenance.is_kin) || self.names == NameRule::Epoch,
            precedence: Precedence::default(),
            advertisement: Arc::new(advertisement),
            received,
        };
        let mut is_contested = false;
        if old.is_none() {
            let mut since = entry.since;
            self.visit(path, |other| {
                // Who comes back by another session has its turn, not a new one.
                if other.is_superseded_by(&entry) || entry.has_come_from(other) {
                    since = since.min(other.since);
                }
                is_contested |= other.is_rival_of(&entry);
            });
            entry.since = since;
        }
        entry.precedence = self.precedence_of(&entry);
        // The new one first: readers never find the source without any.
        self.entries.insert((path.clone(), source, received), entry);
        if let Some(old) = old {
            self.entries.remove(&(path.clone(), source, old.received));
            self.give_back(shrunk, share);
        }
        Ok(is_contested)
    }

    fn precedence_of(&self, entry: &Entry) -> Precedence {
        match self.names {
            // Between peers' routes nobody holds anything: they come and go with the mesh.
            _ if entry.is_forwarded => Precedence::default(),
            NameRule::Holder | NameRule::Epoch => Precedence(u64::MAX - entry.since, entry.claimed),
            NameRule::Newest => Precedence(entry.claimed, 0),
        }
    }

    /// A source has lost its turn at a path: others that publish it come first. False when it publishes nothing there.
    pub fn yield_turn(&self, path: &BroadcastPath, source: Source) -> bool {
        self.rewrite(path, source, |entry| {
            entry.since = entry.received;
            entry.precedence = self.precedence_of(entry);
        })
    }

    /// Takes room for an advertisement, of all and of a share, and a place if it is a source's first. Nothing is taken when
    /// there is not enough of all.
    fn take_room(&self, bytes: usize, share: u16, is_first: bool) -> Result<(), TableFull> {
        let limits = &self.limits;
        let of_all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let of_share = self
            .share(share)
            .map_or(0, |share| share.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes);
        // What another shard takes meanwhile may be counted here too, and then there is room for less.
        let places = u32::from(is_first);
        let all = self.count.fetch_add(places as usize, Ordering::Relaxed);
        let taken = self
            .share(share)
            .map_or(0, |share| share.count.fetch_add(places, Ordering::Relaxed));
        let failed = match () {
            () if of_all > limits.bytes_max => TableFull::Bytes(limits.bytes_max),
            () if bytes > 0 && of_share > limits.share_bytes_max => TableFull::ShareBytes(limits.share_bytes_max),
            () if is_first && all >= limits.broadcasts_max => TableFull::Broadcasts(limits.broadcasts_max),
            () if is_first && taken as usize >= limits.share_max => TableFull::Share(limits.share_max),
            () => return Ok(()),
        };
        self.give_back(bytes, share);
        self.count.fetch_sub(places as usize, Ordering::Relaxed);
        if let Some(share) = self.share(share) {
            share.count.fetch_sub(places, Ordering::Relaxed);
        }
        Err(failed)
    }

    fn give_back(&self, bytes: usize, share: u16) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(share) = self.share(share) {
            share.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// By a key that nobody knows: nobody can look for another's place. Beyond the last one no share is counted.
    fn place_of(&self, holder: Holder) -> u16 {
        let hash = |holder| self.hasher.hash_one(holder) % SHARE_PLACES as u64;
        let place = holder.0.map_or(SHARE_PLACES as u64, hash);
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    fn share(&self, place: u16) -> Option<&Share> {
        self.shares.get(usize::from(place))
    }

    /// A source takes no new requests: what it advertises becomes the last choice. False when it advertises nothing there.
    pub fn drain(&self, path: &BroadcastPath, source: Source) -> bool {
        self.rewrite(path, source, |entry| {
            let mut advertisement = (*entry.advertisement).clone();
            advertisement.cost = advertisement.cost.plus_link(u64::MAX);
            entry.advertisement = Arc::new(advertisement);
            entry.is_draining = true;
        })
    }

    /// Changes what a source has at a path, which takes no more room then than before.
    fn rewrite(&self, path: &BroadcastPath, source: Source, change: impl FnOnce(&mut Entry)) -> bool {
        let Some(old) = self.of(path, source) else { return false };
        let received = self.received.fetch_add(1, Ordering::Relaxed);
        let mut entry = Entry {
            received,
            ..old.clone()
        };
        change(&mut entry);
        self.entries.insert((path.clone(), source, received), entry);
        self.entries.remove(&(path.clone(), source, old.received));
        true
    }

    /// Takes a source's advertisement away. Nothing happens when it has none.
    pub fn remove(&self, path: &BroadcastPath, source: Source) {
        if let Some(old) = self.of(path, source) {
            self.entries.remove(&(path.clone(), source, old.received));
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.give_back(entry_bytes(path, &old.advertisement), old.share);
            if let Some(share) = self.share(old.share) {
                share.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn of(&self, path: &BroadcastPath, source: Source) -> Option<Entry> {
        let range = (path.clone(), source, 0)..=(path.clone(), source, u64::MAX);
        self.entries.range(range).next_back().map(|entry| entry.value().clone())
    }

    /// What the sources of one path advertise.
    pub fn entries(&self, path: &BroadcastPath) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.visit(path, |entry| entries.push(entry.clone()));
        entries
    }

    /// Looks at what each source of one path advertises.
    fn visit(&self, path: &BroadcastPath, mut look: impl FnMut(&Entry)) {
        let from_path = self.entries.range((path.clone(), SOURCE_MIN, 0)..);
        let mut of_path = from_path.take_while(|entry| entry.key().0 == *path).peekable();
        while let Some(entry) = of_path.next() {
            // Of two of one source the later counts.
            let is_last = |next: &SkipEntry<'_, Key, Entry>| next.value().source != entry.value().source;
            if of_path.peek().is_none_or(is_last) {
                look(entry.value());
            }
        }
    }

    /// What there is of one path, the chosen first, and why it is that for whoever asks and is not one of its hops.
    pub fn describe(&self, path: &BroadcastPath) -> Vec<RouteView> {
        let mut entries = self.entries(path);
        let chosen = select(&entries, HopId::UNKNOWN, true).cloned();
        entries.sort_by_key(|entry| chosen.as_ref().map(|chosen| chosen.source) != Some(entry.source));
        let view = |entry: Entry| {
            let better = chosen.as_ref().filter(|chosen| chosen.source != entry.source);
            RouteView {
                why: better.map(|better| reason(better, &entry)),
                source: entry.source,
                advertisement: entry.advertisement,
                is_forwarded: entry.is_forwarded,
                is_draining: entry.is_draining,
            }
        };
        entries.into_iter().map(view).collect()
    }

    /// Paths announced at or below a prefix, each once, at most `limit`.
    pub fn paths_under(&self, prefix: &BroadcastPath, limit: usize) -> Vec<BroadcastPath> {
        let mut paths = Vec::new();
        self.visit_under(prefix, |path| collect(&mut paths, path, limit));
        paths
    }

    /// Those of them behind `after` in their order.
    pub fn paths_under_after(
        &self,
        prefix: &BroadcastPath,
        after: Option<&BroadcastPath>,
        limit: usize,
    ) -> Vec<BroadcastPath> {
        let Some(after) = after else {
            return self.paths_under(prefix, limit);
        };
        let mut paths = Vec::new();
        self.visit_from(Bound::Excluded((after.clone(), SOURCE_MAX, u64::MAX)), |path| {
            if path.is_under(prefix) {
                collect(&mut paths, path, limit)
            } else {
                ControlFlow::Break(())
            }
        });
        paths
    }

    /// Visits each path announced at or below a prefix once, until the visitor breaks off.
    pub fn visit_under(&self, prefix: &BroadcastPath, mut visit: impl FnMut(&BroadcastPath) -> ControlFlow<()>) {
        let from = (prefix.range_start(), SOURCE_MIN, 0);
        self.visit_from(Bound::Included(from), |path| {
            if path.is_under(prefix) {
                visit(path)
            } else {
                ControlFlow::Break(())
            }
        });
    }

    /// Announced paths behind `after` in their order, each once, at most `limit`.
    pub fn paths_after(&self, after: Option<&BroadcastPath>, limit: usize) -> Vec<BroadcastPath> {
        let from = after.map_or(Bound::Unbounded, |path| {
            Bound::Excluded((path.clone(), SOURCE_MAX, u64::MAX))
        });
        let mut paths = Vec::new();
        self.visit_from(from, |path| collect(&mut paths, path, limit));
        paths
    }

    fn visit_from(&self, from: Bound<Key>, mut visit: impl FnMut(&BroadcastPath) -> ControlFlow<()>) {
        let mut last: Option<BroadcastPath> = None;
        for entry in self.entries.range((from, Bound::Unbounded)) {
            let path = &entry.key().0;
            if last.as_ref() == Some(path) {
                continue;
            }
            if visit(path).is_break() {
                return;
            }
            last = Some(path.clone());
        }
    }

    /// Advertisements in the table, one for each path and source.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// What the advertisements take.
    pub fn held_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing is advertised.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an advertisement takes, in the table and in what shards remember of it.
fn entry_bytes(path: &BroadcastPath, advertisement: &Advertisement) -> usize {
    2 * path.as_str().len() + advertisement.hops.len() * size_of::<u64>() + ENTRY_BYTES
}

/// Adds a path unless there are `limit` already.
fn collect(paths: &mut Vec<BroadcastPath>, path: &BroadcastPath, limit: usize) -> ControlFlow<()> {
    if paths.len() >= limit {
        return ControlFlow::Break(());
    }
    paths.push(path.clone());
    ControlFlow::Continue(())
}

/// Below every source that there is.
const SOURCE_MIN: Source = Source {
    shard: ShardId(0),
    peer: PeerKey {
        index: 0,
        generation: 0,
    },
};

/// Above every source that there is.
const SOURCE_MAX: Source = Source {
    shard: ShardId(u8::MAX),
    peer: PeerKey {
        index: u32::MAX,
        generation: u32::MAX,
    },
};

/// Advertisements of all sources together by default. Further ones are refused.
pub const BROADCASTS_MAX: usize = 1 << 20;

/// What they take by default.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// One holder has this part of the table at most.
const SHARES: usize = 4;

/// Places in which the shares of holders are counted.
const SHARE_PLACES: usize = 4_096;

/// What is held of an advertisement beside path and hops.
const ENTRY_BYTES: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(index: u32) -> Source {
        Source {
            shard: ShardId(0),
            peer: PeerKey { index, generation: 0 },
        }
    }

    fn insert(table: &AnnounceTable, path: &str, from: u32, holder: Holder) -> Result<(), TableFull> {
        table.insert(
            &BroadcastPath::new(path),
            source(from),
            holder,
            Advertisement::default(),
            1,
        )
    }

    #[test]
    fn a_holder_has_its_share_and_others_have_theirs() {
        let table = AnnounceTable::with_limits(TableLimits {
            broadcasts_max: 6,
            share_max: 2,
            ..TableLimits::default()
        });
        let (one, other) = (Holder(Some(1)), Holder(Some(2)));
        assert_eq!(insert(&table, "a", 1, one), Ok(()));
        assert_eq!(insert(&table, "b", 2, one), Ok(()));
        assert_eq!(insert(&table, "c", 1, one), Err(TableFull::Share(2)));
        assert_eq!(insert(&table, "b", 2, one), Ok(()), "what it has may change");
        assert_eq!(insert(&table, "c", 3, other), Ok(()));
        table.remove(&BroadcastPath::new("a"), source(1));
        assert_eq!(insert(&table, "d", 1, one), Ok(()));
        for path in ["e", "f", "g"] {
            assert_eq!(insert(&table, path, 4, Holder::OURS), Ok(()));
        }
        assert_eq!(insert(&table, "h", 3, other), Err(TableFull::Broadcasts(6)));
        assert_eq!(table.len(), 6);
    }

    #[test]
    fn long_paths_of_one_holder_leave_room_for_others() {
        let table = AnnounceTable::with_limits(TableLimits::default().with_bytes(40_000));
        let long = |number: u32| format!("{number}/{}", "x".repeat(900));
        let (one, other) = (Holder(Some(1)), Holder(Some(2)));
        let taken = |from, holder| {
            let numbers = 0..100;
            numbers
                .take_while(|number| insert(&table, &long(*number), from, holder).is_ok())
                .count()
        };
        assert_eq!(taken(1, one), 4);
        assert_eq!(insert(&table, &long(9), 1, one), Err(TableFull::ShareBytes(10_000)));
        assert_eq!(taken(2, other), 4);
        assert_eq!(insert(&table, &long(0), 1, one), Ok(()), "what it has may change");
        table.remove(&BroadcastPath::new(&long(0)), source(1));
        assert_eq!(insert(&table, &long(9), 1, one), Ok(()));
        assert_eq!(taken(3, Holder::OURS), 40_000 / 2_200 - 8);
    }

    #[test]
    fn bytes_are_counted_and_given_back() {
        let table = AnnounceTable::with_limits(TableLimits {
            bytes_max: 10_000,
            ..TableLimits::default()
        });
        let long = |number: u32| format!("{number}/{}", "x".repeat(900));
        for round in 0..10 {
            let kept = (0..10)
                .take_while(|number| insert(&table, &long(*number), 1, Holder::OURS).is_ok())
                .count();
            assert_eq!(kept, 4, "round {round}");
            assert_eq!(insert(&table, &long(9), 1, Holder::OURS), Err(TableFull::Bytes(10_000)));
            // One that is there may say something else.
            assert_eq!(insert(&table, &long(0), 1, Holder::OURS), Ok(()));
            for number in 0..10 {
                table.remove(&BroadcastPath::new(&long(number)), source(1));
            }
            assert_eq!((table.len(), table.bytes.load(Ordering::Relaxed)), (0, 0));
        }
    }
}
