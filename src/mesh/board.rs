//! How each dialled link stands, for reports. The shards know the rest.

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

/// All of them, by name.
#[derive(Debug, Default)]
pub struct Board(watch::Sender<BTreeMap<String, Dialled>>);

impl Board {
    /// What there is now.
    pub fn dialled(&self) -> BTreeMap<String, Dialled> {
        self.0.borrow().clone()
    }

    pub(super) fn set(&self, name: &str, change: impl FnOnce(&mut Dialled)) {
        self.0.send_modify(|board| {
            change(board.entry(name.to_owned()).or_insert_with(|| Dialled {
                shard: 0,
                attempts: 0,
                last_end: None,
                next: None,
            }));
        });
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.send_modify(|board| {
            board.remove(name);
        });
    }
}
