//! Which of several advertisements of one path a subscriber is given (draft, "Routing"; where the draft leaves equals, as
//! moq-relay 0.17 decides, so that a mesh of both kinds agrees).

use std::cmp::Reverse;

use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId};

use super::route::{Entry, Precedence};

/// Who is heard of those that publish one path here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRule {
    /// Who began first, for as long as it is there. Then the next.
    #[default]
    Holder,
    /// Who began last.
    Newest,
    /// Whose content says the highest epoch (draft, "ANNOUNCE_START"); of those that say the same, or none, who began first.
    Epoch,
}

/// What an advertisement is worth; the greatest is chosen.
type Rank = (
    bool,
    u64,
    Reverse<u64>,
    Reverse<u64>,
    bool,
    Reverse<usize>,
    Reverse<u64>,
    Precedence,
    u64,
);

/// The best entry for a subscriber who declared `exclude`.
///
/// One whose whole path is named comes before one with an unknown hop. Then the highest epoch that is believed wins, any
/// above none; the lowest cost; what was published here before what a peer passed on; the shortest path; of peers' paths the
/// one with the lower [`tie`]; of what was published here what the [`NameRule`] says; and what was received last. What passed
/// through the subscriber never qualifies.
pub fn select(entries: &[Entry], exclude: HopId, wants_ended: bool) -> Option<&Entry> {
    entries
        .iter()
        .filter(|entry| exclude == HopId::UNKNOWN || !entry.advertisement.hops.contains(&exclude))
        .filter(|entry| wants_ended || !entry.advertisement.ended)
        .max_by_key(|entry| rank(entry))
}

fn rank(entry: &Entry) -> Rank {
    let advertisement = &entry.advertisement;
    (
        !advertisement.hops.contains(&HopId::UNKNOWN),
        if entry.is_epoch_believed {
            advertisement.epoch
        } else {
            0
        },
        Reverse(advertisement.cost.warm),
        Reverse(advertisement.cost.cold),
        !entry.is_forwarded,
        Reverse(advertisement.hops.len()),
        Reverse(entry.tie),
        entry.precedence,
        entry.received,
    )
}

/// The first property by which the chosen entry is better than another, in one word or two.
pub fn reason(chosen: &Entry, other: &Entry) -> &'static str {
    let (one, two) = (rank(chosen), rank(other));
    match () {
        () if one.0 != two.0 => "unknown hop",
        () if one.1 != two.1 => "epoch",
        () if (one.2, one.3) != (two.2, two.3) => "cost",
        () if one.4 != two.4 => "published elsewhere",
        () if one.5 != two.5 => "hops",
        () if one.6 != two.6 => "hash",
        () if one.7.0 != two.7.0 => "name held",
        () => "older",
    }
}

/// What decides between equals that peers pass on: FNV-1a over the path and the ids of its hops, each as 8 bytes, the lowest
/// first. Seed and prime are moq-relay's.
pub fn tie(path: &BroadcastPath, hops: &[HopId]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    let hash = path.as_str().as_bytes().iter().fold(FNV_SEED, mix);
    hops.iter()
        .fold(hash, |hash, hop| hop.0.to_le_bytes().iter().fold(hash, mix))
}

/// Whether two advertisements carry interchangeable content: the same epoch or, without
/// one, the same known original publisher.
pub fn is_spliceable(one: &Entry, other: &Entry) -> bool {
    is_interchangeable(&one.advertisement, &other.advertisement)
}

/// Whether a source that replaces its advertisement goes on with the same content. One that
/// names nobody as the publisher is taken at its word.
pub(super) fn is_same_content(old: &Entry, new: &Advertisement) -> bool {
    let first = |advertisement: &Advertisement| advertisement.hops.first().copied().unwrap_or(HopId::UNKNOWN);
    let old = &old.advertisement;
    is_interchangeable(old, new) || (old.epoch == 0 && new.epoch == 0 && first(old) == first(new))
}

fn is_interchangeable(one: &Advertisement, other: &Advertisement) -> bool {
    if one.epoch != 0 || other.epoch != 0 {
        return one.epoch == other.epoch;
    }
    match (one.hops.first(), other.hops.first()) {
        (Some(first), Some(second)) => first == second && *first != HopId::UNKNOWN,
        _ => false,
    }
}

const FNV_SEED: u64 = 0x420C_0DEC_B00B;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use moqswitch_proto::wire::RouteCost;

    use super::*;
    use crate::routing::{PeerKey, Publisher, ShardId, Source};

    #[test]
    fn the_order_is_that_of_moq_relay() {
        let best = [
            entry(&[1, 2], 0, 5, false),
            entry(&[1, 2, 3], 0, 5, false),
            entry(&[1, 2], 0, 5, true),
            entry(&[1, 2], 0, 6, false),
            entry(&[0, 2], 0, 1, false),
        ];
        for (place, better) in best.iter().enumerate() {
            for worse in &best[place + 1..] {
                let both = [worse.clone(), better.clone()];
                assert_eq!(
                    select(&both, HopId::UNKNOWN, false),
                    Some(better),
                    "{better:?} {worse:?}"
                );
            }
        }
    }

    #[test]
    fn equals_of_peers_are_told_apart_by_the_hash_and_not_by_their_age() {
        let path = BroadcastPath::new("call/1");
        let (one, two) = ([HopId(1), HopId(2)], [HopId(1), HopId(3)]);
        let of = |hops: &[HopId], received| Entry {
            tie: tie(&path, hops),
            received,
            ..entry(&hops.iter().map(|hop| hop.0).collect::<Vec<_>>(), 0, 1, true)
        };
        let first =
            select(&[of(&one, 1), of(&two, 2)], HopId::UNKNOWN, false).map(|best| best.advertisement.hops.clone());
        let second =
            select(&[of(&two, 1), of(&one, 2)], HopId::UNKNOWN, false).map(|best| best.advertisement.hops.clone());
        assert_eq!(first, second);
    }

    #[test]
    fn the_hash_is_fnv() {
        // With nothing mixed in it is the seed; one byte is one step of FNV-1a.
        assert_eq!(tie(&BroadcastPath::root(), &[]), FNV_SEED);
        let step = (FNV_SEED ^ u64::from(b'a')).wrapping_mul(FNV_PRIME);
        assert_eq!(tie(&BroadcastPath::new("a"), &[]), step);
        let whole = (1..=8u64).fold(step, |hash, place| {
            (hash ^ u64::from(place == 1)).wrapping_mul(FNV_PRIME)
        });
        assert_eq!(tie(&BroadcastPath::new("a"), &[HopId(1)]), whole);
    }

    fn entry(hops: &[u64], epoch: u64, cost: u64, is_forwarded: bool) -> Entry {
        Entry {
            source: Source {
                shard: ShardId(0),
                peer: PeerKey {
                    index: 1,
                    generation: 1,
                },
            },
            share: 0,
            advertisement: Arc::new(Advertisement {
                epoch,
                hops: hops.iter().map(|hop| HopId(*hop)).collect(),
                cost: RouteCost { warm: cost, cold: cost },
                ..Advertisement::default()
            }),
            received: 0,
            generation: 0,
            is_forwarded,
            is_of_kin: false,
            is_draining: false,
            tie: 0,
            publisher: Publisher::UNKNOWN,
            since: 0,
            claimed: 0,
            is_epoch_believed: true,
            precedence: Precedence::default(),
        }
    }
}
