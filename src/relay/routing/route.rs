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
    /// A relay passed it on; it was not published here.
    pub is_forwarded: bool,
    /// The process before or after this one passed it on.
    pub is_of_kin: bool,
    /// Its source takes no new requests: the last choice.
    pub is_draining: bool,
    /// Decides between equals, the lower first: [`tie`](super::tie). 0 of what was published here.
    pub tie: u64,
    /// Who says this, as far as it can be told over several sessions.
    pub publisher: Publisher,
    /// Since when the name is held: what `received` was when this publisher took it, by whichever of its sessions.
    pub since: u64,
    /// What `received` was when this session took it.
    pub claimed: u64,
    /// Its epoch counts for more than its turn.
    pub is_epoch_believed: bool,
    /// Decides between those that publish the path here, the higher first.
    pub precedence: Precedence,
}

impl Entry {
    /// Whether a later session of the same publisher has taken its place.
    pub fn is_superseded_by(&self, other: &Entry) -> bool {
        self.publisher != Publisher::UNKNOWN && self.publisher == other.publisher && self.claimed < other.claimed
    }

    /// Whether its publisher has followed to the process after this one, which passes on what it says there.
    pub fn is_followed_by(&self, other: &Entry) -> bool {
        let is_after = other.is_of_kin && !other.is_draining && self.claimed < other.claimed;
        is_after && !self.is_forwarded && self.has_origin_of(other)
    }

    /// Whether its publisher has come from the process before this one, which passes on what it says there.
    pub fn has_come_from(&self, other: &Entry) -> bool {
        other.is_of_kin && other.is_draining && !self.is_forwarded && self.has_origin_of(other)
    }

    fn has_origin_of(&self, other: &Entry) -> bool {
        let first = |entry: &Entry| entry.advertisement.hops.first().copied();
        first(self) == first(other) && first(self).is_some_and(|hop| !hop.is_unknown())
    }

    /// Whether both say that they are the origin of one path, and are not the same publisher.
    pub fn is_rival_of(&self, other: &Entry) -> bool {
        let is_same = self.publisher != Publisher::UNKNOWN && self.publisher == other.publisher;
        self.source != other.source && !self.is_forwarded && !other.is_forwarded && !is_same
    }
}

/// Who publishes, whichever session it does so by: a number that tells nothing else of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Publisher(pub u64);

impl Publisher {
    /// Nothing tells it from others: each of its sessions is one by itself.
    pub const UNKNOWN: Self = Self(0);
}

/// The turn of who publishes a path, by the [`NameRule`](super::NameRule): first whose it is, then which of its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence(pub u64, pub u64);

/// What the table is to know of the session that an advertisement came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// What subscribing through it costs (draft, "Cost Parameter").
    pub cost: u64,
    /// It is another relay of the mesh.
    pub is_peer: bool,
    /// It is the process before or after this one, which takes no name from those that publish here: their epoch is not
    /// believed, so its is not either.
    pub is_kin: bool,
    /// It has said GOAWAY: what it offers costs the most that there is, and is chosen when nothing else is left.
    pub is_draining: bool,
    /// Whose session it is.
    pub publisher: Publisher,
}

impl Provenance {
    /// Of a client.
    pub fn of_cost(cost: u64) -> Self {
        Self {
            cost,
            ..Self::default()
        }
    }
}

/// One route to a broadcast, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Who offers it.
    pub source: Source,
    /// Hops, and the cost with that of the link.
    pub advertisement: Arc<Advertisement>,
    /// Another relay passed it on.
    pub is_forwarded: bool,
    /// Its source takes no new requests.
    pub is_draining: bool,
    /// By which property the chosen one is better. `None`: this is the chosen one.
    pub why: Option<&'static str>,
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
