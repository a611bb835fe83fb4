//! Tracks that a peer of this shard makes of those of others. Whoever subscribes to one at the broadcast's own publisher is
//! served by that peer instead, so that the publisher is not asked for what it does not have.

use moqswitch_proto::wire::{BroadcastPath, TrackName};

use super::ids::{PeerKey, Source};
use super::tracks::Tracks;

/// Who makes which.
#[derive(Debug, Default)]
pub(super) struct Derived(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    peer: PeerKey,
    prefix: BroadcastPath,
    names: Vec<TrackName>,
}

impl Derived {
    fn maker(&self, broadcast: &BroadcastPath, name: &TrackName) -> Option<PeerKey> {
        let mut rules = self.0.iter();
        let is_made = |rule: &&Rule| rule.names.contains(name) && broadcast.strip_prefix(&rule.prefix).is_some();
        rules.find(is_made).map(|rule| rule.peer)
    }

    pub(super) fn forget(&mut self, peer: PeerKey) {
        self.0.retain(|rule| rule.peer != peer);
    }
}

impl Tracks {
    /// From now on a peer makes tracks of these names, of every broadcast at and below the prefix whose publisher is on this
    /// shard. Subscriptions that there are go on as they are. Of two peers that make the same the first one does.
    pub fn handle_derived(&mut self, peer: PeerKey, prefix: BroadcastPath, names: Vec<TrackName>) {
        self.derived.0.push(Rule { peer, prefix, names });
    }

    /// Who is asked for a track of a source.
    pub(super) fn maker_of(&self, broadcast: &BroadcastPath, name: &TrackName, source: Source) -> Source {
        if self.derived.0.is_empty() || source.shard != self.shard {
            return source;
        }
        let peer = self.derived.maker(broadcast, name).unwrap_or(source.peer);
        Source { peer, ..source }
    }
}
