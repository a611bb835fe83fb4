//! Namespaces of the peer. One may be told of in several ways (PUBLISH_NAMESPACE, NAMESPACE, PUBLISH of a track in it), and
//! is there as long as one of them stands.

use rustc_hash::FxHashMap;

use crate::wire::BroadcastPath;

#[derive(Debug, Default)]
pub(super) struct Announced {
    paths: FxHashMap<BroadcastPath, usize>,
}

impl Announced {
    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(super) fn contains(&self, path: &BroadcastPath) -> bool {
        self.paths.contains_key(path)
    }

    /// True when it was not there before.
    pub(super) fn add(&mut self, path: &BroadcastPath) -> bool {
        let count = self.paths.entry(path.clone()).or_default();
        *count += 1;
        *count == 1
    }

    /// True when it is not there any more.
    pub(super) fn remove(&mut self, path: &BroadcastPath) -> bool {
        let Some(count) = self.paths.get_mut(path) else {
            return false;
        };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.paths.remove(path);
        }
        is_last
    }
}
