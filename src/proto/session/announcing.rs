//! The announcements we make on one Announce Stream of the peer, in the terms of each version.
//!
//! Invariant: `live` is what the peer holds, and its ids are those the peer counts.

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};

use crate::limits::HOPS_MAX;
use crate::wire::{Advertisement, Announce, AnnounceInit, BroadcastPath, HopId, Version};

/// At most an end and a start.
pub(super) type Messages = SmallVec<[Announce; 2]>;

#[derive(Debug, Default)]
pub(super) struct Announcing {
    /// ANNOUNCE_OK, or on 01 and 02 ANNOUNCE_INIT: begun, if not sent.
    pub(super) is_ok_sent: bool,
    next_id: u64,
    live: HashMap<BroadcastPath, Sent>,
    /// The initial set that is not said yet.
    initial: Option<Box<Initial>>,
}

/// What goes into ANNOUNCE_INIT, which is one message.
#[derive(Debug)]
struct Initial {
    /// Announcements of the initial set that are still to come.
    left: u64,
    init: AnnounceInit,
    bytes: usize,
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
        // Up to 04 nothing can be replaced. Another route to the same publisher is not worth the
        // interruption; another publisher is. Up to 03 the wire carries no hops to tell them by.
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

    /// The next so many announcements are the initial set, which ANNOUNCE_INIT holds.
    pub(super) fn begin_initial(&mut self, left: u64) {
        self.initial = Some(Box::new(Initial {
            left,
            init: AnnounceInit::default(),
            bytes: 0,
        }));
    }

    /// Keeps what belongs into ANNOUNCE_INIT, and returns what does not.
    pub(super) fn gather(&mut self, messages: Messages) -> Messages {
        let Some(initial) = &mut self.initial else {
            return messages;
        };
        initial.left = initial.left.saturating_sub(1);
        match messages.as_slice() {
            // It was not worth an announcement.
            [] => messages,
            [Announce::Start { suffix, .. }]
                if suffix.is_within_limits()
                    && initial.bytes + AnnounceInit::suffix_bytes(suffix) <= AnnounceInit::SUFFIXES_BYTES_MAX =>
            {
                initial.bytes += AnnounceInit::suffix_bytes(suffix);
                initial.init.suffixes.push(suffix.clone());
                Messages::new()
            }
            // There is no room, or it is no announcement of the initial set: the rest follows one
            // by one.
            _ => {
                initial.left = 0;
                messages
            }
        }
    }

    /// ANNOUNCE_INIT, once the initial set is whole.
    pub(super) fn poll_init(&mut self) -> Option<AnnounceInit> {
        let initial = self.initial.take_if(|initial| initial.left == 0)?;
        Some(initial.init)
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
