//! How each dialled link stands, and the list of peers, for reports. The shards know the rest.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::watch;

/// A peer that is dialled.
#[derive(Clone, Debug)]
pub struct Dialled {
    /// Its shard.
    pub shard: usize,
    /// How often it was dialled.
    pub attempts: u64,
    /// Why the last link ended, or did not come to be.
    pub last_end: Option<String>,
    /// When it is dialled next; `None`: it is being dialled, or it is there.
    pub next: Option<Instant>,
}

/// The list of peers.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Where it is from. `None`: there is none.
    pub from: Option<String>,
    /// Peers that it has.
    pub peers: usize,
    /// When it was last good.
    pub good: Option<Instant>,
    /// Why what was last said by its source does not count.
    pub fault: Option<String>,
    /// How often it was another or for the first time, was what it had been, and was refused.
    pub counts: ListCounts,
}

/// Looks at a list, by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListCounts {
    pub taken: u64,
    pub unchanged: u64,
    pub refused: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Board {
    links: watch::Sender<BTreeMap<String, Dialled>>,
    list: watch::Sender<List>,
}

impl Board {
    /// What there is now.
    pub fn dialled(&self) -> BTreeMap<String, Dialled> {
        self.links.borrow().clone()
    }

    /// The list as it is now.
    pub fn list(&self) -> List {
        self.list.borrow().clone()
    }

    /// From here on it is from there; what it has is of before.
    pub(super) fn begin_list(&self, from: Option<String>, peers: usize) {
        self.list.send_modify(|list| {
            let counts = list.counts;
            let good = list.good.filter(|_| list.from == from);
            *list = List {
                from,
                peers,
                good,
                fault: None,
                counts,
            };
        });
    }

    pub(super) fn list_taken(&self, peers: usize, is_other: bool) {
        self.list.send_modify(|list| {
            list.peers = peers;
            list.good = Some(Instant::now());
            list.fault = None;
            match is_other {
                true => list.counts.taken += 1,
                false => list.counts.unchanged += 1,
            }
        });
    }

    /// Whether that has not been said.
    pub(super) fn list_refused(&self, fault: &str) -> bool {
        let mut is_new = false;
        self.list.send_modify(|list| {
            is_new = list.fault.as_deref() != Some(fault);
            list.fault = Some(fault.to_owned());
            list.counts.refused += 1;
        });
        is_new
    }

    pub(super) fn set(&self, name: &str, change: impl FnOnce(&mut Dialled)) {
        self.links.send_modify(|board| {
            change(board.entry(name.to_owned()).or_insert_with(|| Dialled {
                shard: 0,
                attempts: 0,
                last_end: None,
                next: None,
            }));
        });
    }

    pub(super) fn remove(&self, name: &str) {
        self.links.send_modify(|board| {
            board.remove(name);
        });
    }
}
