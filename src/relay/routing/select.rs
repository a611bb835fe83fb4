//! Which of several advertisements of one path a subscriber is given (draft, "Routing").

use std::cmp::Reverse;

use moqswitch_proto::wire::{Advertisement, HopId};

use super::route::Entry;

/// The best entry for a subscriber who declared `exclude`.
///
/// The highest epoch wins, any above none; then the lowest cost, the shortest path, and
/// what was received last. What passed through the subscriber never qualifies.
pub fn select(entries: &[Entry], exclude: HopId, wants_ended: bool) -> Option<&Entry> {
    entries
        .iter()
        .filter(|entry| exclude == HopId::UNKNOWN || !entry.advertisement.hops.contains(&exclude))
        .filter(|entry| wants_ended || !entry.advertisement.ended)
        .max_by_key(|entry| {
            let advertisement = &entry.advertisement;
            (
                advertisement.epoch,
                Reverse(advertisement.cost.warm),
                Reverse(advertisement.cost.cold),
                Reverse(advertisement.hops.len()),
                entry.received,
            )
        })
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
