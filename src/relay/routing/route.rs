//! What the two halves of routing have in common: who offers a broadcast, and what it means for
//! the tracks of one that offers it no more.

use std::sync::Arc;

use moqswitch_proto::wire::{Advertisement, HopId};

use super::ids::Source;

/// One source's advertisement of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who publishes.
    pub source: Source,
    /// Whose share of the table it is taken from.
    pub share: u16,
    /// With the link's cost added to its own.
    pub advertisement: Arc<Advertisement>,
    /// Rises with every insertion: the most recently received has the highest.
    pub received: u64,
    /// What `received` was when the source began to publish this content.
    pub generation: u64,
}

/// What a change of routes means for the tracks of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteFate {
    /// The source publishes as before, has only now begun, or has never published.
    Unchanged,
    /// The source publishes the broadcast no more, or another generation of it. That does
    /// not disturb subscriptions in flight (draft, "ANNOUNCE_START", `Ended`).
    Ended,
    /// Another source has the same content, by this path, and takes over.
    ContinuedBy {
        /// The source that takes over.
        source: Source,
        /// The hops of its advertisement.
        hops: Vec<HopId>,
    },
}
