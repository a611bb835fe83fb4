//! Which of several advertisements of one path a subscriber is given (draft, "Routing").

use std::cmp::Reverse;

use crate::wire::HopId;

use super::table::Entry;

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
    let (one, other) = (&one.advertisement, &other.advertisement);
    if one.epoch != 0 || other.epoch != 0 {
        return one.epoch == other.epoch;
    }
    match (one.hops.first(), other.hops.first()) {
        (Some(first), Some(second)) => first == second && *first != HopId::UNKNOWN,
        _ => false,
    }
}
