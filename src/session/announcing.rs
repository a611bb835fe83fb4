//! The announcements we make on one Announce Stream of the peer, in the terms of each version.
//!
//! Invariant: `live` is what the peer holds, and its ids are those the peer counts.

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};

use crate::{
    limits::HOPS_MAX,
    wire::{Advertisement, Announce, BroadcastPath, HopId, Version},
};

/// At most an end and a start.
pub(super) type Messages = SmallVec<[Announce; 2]>;

#[derive(Debug, Default)]
pub(super) struct Announcing {
    pub(super) is_ok_sent: bool,
    next_id: u64,
    live: HashMap<BroadcastPath, Sent>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    id: u64,
    /// Names the publisher, on versions that cannot replace an announcement in place.
    first_hop: HopId,
}

impl Announcing {
    /// What tells the peer of `advertisement`, which came to us with the hops it has.
    pub(super) fn announce(
        &mut self,
        version: Version,
        own_hop: HopId,
        suffix: &BroadcastPath,
        advertisement: &Advertisement,
    ) -> Messages {
        // Where ANNOUNCE_OK names us, repeating our hop is forbidden (draft "ANNOUNCE_OK"), and
        // the receiver appends it. Before 05 the sender does. Either way a full path cannot be
        // extended: the broadcast is as good as gone for this peer.
        if advertisement.hops.len() >= HOPS_MAX {
            return self.unannounce(version, suffix);
        }
        let mut advertisement = advertisement.clone();
        if !version.has_announce_ok() {
            advertisement.hops.push(own_hop);
        }
        let first_hop = advertisement.hops.first().copied().unwrap_or(own_hop);

        let Some(sent) = self.live.get_mut(suffix) else {
            return smallvec![self.start(suffix, advertisement, first_hop)];
        };
        if version.has_announce_ids() {
            let id = sent.id;
            return smallvec![Announce::Update { id, advertisement }];
        }
        // 05 replaces by announcing again, which takes no id (draft appendix A).
        if version.has_announce_ok() {
            return smallvec![Announce::Start {
                suffix: suffix.clone(),
                advertisement
            }];
        }
        // 03 and 04 cannot replace. Another route to the same publisher is not worth the
        // interruption; another publisher is. On 03 the wire carries no hops to tell them by.
        if sent.first_hop == first_hop {
            return Messages::new();
        }
        let mut messages = self.unannounce(version, suffix);
        messages.push(self.start(suffix, advertisement, first_hop));
        messages
    }

    pub(super) fn unannounce(&mut self, version: Version, suffix: &BroadcastPath) -> Messages {
        let Some(sent) = self.live.remove(suffix) else {
            return Messages::new();
        };
        if version.has_announce_ids() {
            smallvec![Announce::EndId { id: sent.id }]
        } else {
            smallvec![Announce::EndSuffix { suffix: suffix.clone() }]
        }
    }

    /// The last START was not sent: the peer has not counted it.
    pub(super) fn take_back(&mut self, suffix: &BroadcastPath) {
        if self.live.remove(suffix).is_some() {
            self.next_id -= 1;
        }
    }

    fn start(&mut self, suffix: &BroadcastPath, advertisement: Advertisement, first_hop: HopId) -> Announce {
        let id = self.next_id;
        self.next_id += 1;
        self.live.insert(suffix.clone(), Sent { id, first_hop });
        Announce::Start {
            suffix: suffix.clone(),
            advertisement,
        }
    }
}
