//! The announcements the peer makes on one Announce Stream of ours.
//!
//! Invariant: `paths` is what the peer believes we hold, announcements we discarded included,
//! since only so the ids and the repeats are right; the caller is told of the `delivered` alone.

use std::collections::HashMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::limits::HOPS_MAX;
use crate::wire::{Advertisement, Announce, AnnounceOk, BroadcastPath, HopId, StreamId, Version};

use super::AnnouncementEvent;

#[derive(Debug)]
pub(super) struct Announced {
    stream: StreamId,
    prefix: BroadcastPath,
    version: Version,
    own_hop: HopId,
    /// The peer's, once ANNOUNCE_OK came. Before 05 hops already end with it.
    sender: Option<HopId>,
    /// ANNOUNCE_INIT came (01 and 02).
    is_init_seen: bool,
    next_id: u64,
    /// By suffix.
    paths: HashMap<BroadcastPath, Path>,
    /// Suffixes by announce id (06).
    ids: FxHashMap<u64, BroadcastPath>,
    /// Announce ids whose paths were refused: too long to be held.
    refused: FxHashSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    is_delivered: bool,
}

/// What an announcement comes to.
#[derive(Debug)]
pub(super) enum Outcome {
    Event(AnnouncementEvent),
    /// The peer holds it, the caller does not see it.
    Discarded,
    Nothing,
}

/// Why the stream must be reset (draft "Announce").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnnounceFault;

impl Announced {
    pub(super) fn new(stream: StreamId, prefix: BroadcastPath, version: Version, own_hop: HopId) -> Self {
        Self {
            stream,
            prefix,
            version,
            own_hop,
            sender: None,
            is_init_seen: false,
            next_id: 0,
            paths: HashMap::new(),
            ids: FxHashMap::default(),
            refused: FxHashSet::default(),
        }
    }

    pub(super) fn is_ok_due(&self) -> bool {
        self.version.has_announce_ok() && self.sender.is_none()
    }

    pub(super) fn is_init_due(&self) -> bool {
        self.version.has_announce_init() && !self.is_init_seen
    }

    /// The announcements in it are to be handled like those that follow.
    pub(super) fn handle_init(&mut self) {
        self.is_init_seen = true;
    }

    pub(super) fn handle_ok(&mut self, ok: &AnnounceOk) {
        self.sender = Some(ok.hop);
    }

    /// Paths the peer believes we hold.
    pub(super) fn len(&self) -> usize {
        self.paths.len() + self.refused.len()
    }

    pub(super) fn handle(&mut self, announce: Announce) -> Result<Outcome, AnnounceFault> {
        match announce {
            Announce::Start { suffix, advertisement } => self.handle_start(suffix, advertisement),
            Announce::Update { id, .. } if self.refused.contains(&id) => Ok(Outcome::Discarded),
            Announce::EndId { id } if self.refused.remove(&id) => Ok(Outcome::Nothing),
            Announce::TooLong { is_start } => {
                if is_start && self.version.has_announce_ids() {
                    self.refused.insert(self.next_id);
                    self.next_id += 1;
                }
                Ok(if is_start { Outcome::Discarded } else { Outcome::Nothing })
            }
            Announce::Update { id, advertisement } => {
                let suffix = self.ids.get(&id).cloned().ok_or(AnnounceFault)?;
                Ok(self.replace(suffix, advertisement))
            }
            Announce::EndId { id } => {
                let suffix = self.ids.remove(&id).ok_or(AnnounceFault)?;
                Ok(self.end(&suffix))
            }
            // From 03 to 05 nothing says that an end for an unknown path is wrong, 01 and 02 do
            // (draft 01 "Announce"), and the released peers let it pass on all of them.
            Announce::EndSuffix { suffix } => Ok(self.end(&suffix)),
            Announce::Unknown { .. } => Ok(Outcome::Nothing),
        }
    }

    /// Every path the caller was told of, which is all gone.
    pub(super) fn into_unannounced(self) -> impl Iterator<Item = AnnouncementEvent> {
        let Self {
            stream, prefix, paths, ..
        } = self;
        paths
            .into_iter()
            .filter(|(_, path)| path.is_delivered)
            .map(move |(suffix, _)| AnnouncementEvent::Unannounced {
                stream,
                path: prefix.join(&suffix),
            })
    }

    fn handle_start(&mut self, suffix: BroadcastPath, advertisement: Advertisement) -> Result<Outcome, AnnounceFault> {
        let is_repeated = self.paths.contains_key(&suffix);
        // 05 replaces by announcing again; on every other version the stream is reset (draft 06
        // "Announce").
        if is_repeated && self.version != Version::Lite05 {
            return Err(AnnounceFault);
        }
        if self.version.has_announce_ids() {
            self.ids.insert(self.next_id, suffix.clone());
            self.next_id += 1;
        }
        if !is_repeated {
            self.paths.insert(suffix.clone(), Path { is_delivered: false });
        }
        Ok(self.replace(suffix, advertisement))
    }

    fn replace(&mut self, suffix: BroadcastPath, advertisement: Advertisement) -> Outcome {
        let path = self.prefix.join(&suffix);
        let accepted = if path.is_within_limits() {
            self.accept(advertisement)
        } else {
            None
        };
        let Some(entry) = self.paths.get_mut(&suffix) else {
            return Outcome::Nothing;
        };
        let was_delivered = std::mem::replace(&mut entry.is_delivered, accepted.is_some());
        let stream = self.stream;
        match (accepted, was_delivered) {
            (Some(advertisement), false) => Outcome::Event(AnnouncementEvent::Announced {
                stream,
                path,
                advertisement,
            }),
            (Some(advertisement), true) => Outcome::Event(AnnouncementEvent::AnnounceReplaced {
                stream,
                path,
                advertisement,
            }),
            (None, true) => Outcome::Event(AnnouncementEvent::Unannounced { stream, path }),
            (None, false) => Outcome::Discarded,
        }
    }

    /// The advertisement with its whole path of hops, unless it is one to be discarded: it has
    /// come back to us (draft "Routing") or to its sender, or has no room for another hop.
    fn accept(&self, mut advertisement: Advertisement) -> Option<Advertisement> {
        if let Some(sender) = self.sender {
            let is_reflected = !sender.is_unknown() && advertisement.hops.contains(&sender);
            if is_reflected || advertisement.hops.len() >= HOPS_MAX {
                return None;
            }
            advertisement.hops.push(sender);
        }
        let is_looped = !self.own_hop.is_unknown() && advertisement.hops.contains(&self.own_hop);
        (!is_looped).then_some(advertisement)
    }

    fn end(&mut self, suffix: &BroadcastPath) -> Outcome {
        match self.paths.remove(suffix) {
            Some(Path { is_delivered: true }) => Outcome::Event(AnnouncementEvent::Unannounced {
                stream: self.stream,
                path: self.prefix.join(suffix),
            }),
            _ => Outcome::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_is_refused_alone() {
        let start = |text: &str| Announce::Start {
            suffix: BroadcastPath::new(text),
            advertisement: Advertisement::default(),
        };
        for version in Version::EVERY {
            let mut announced = Announced::new(StreamId(1), BroadcastPath::root(), version, HopId::UNKNOWN);
            let mut told = Vec::new();
            for message in [start("a"), Announce::TooLong { is_start: true }, start("b")] {
                if let Outcome::Event(AnnouncementEvent::Announced { path, .. }) = announced.handle(message).unwrap() {
                    told.push(path);
                }
            }
            assert_eq!(told, [BroadcastPath::new("a"), BroadcastPath::new("b")], "{version}");
            if !version.has_announce_ids() {
                let end = announced.handle(Announce::TooLong { is_start: false });
                assert!(matches!(end, Ok(Outcome::Nothing)), "{version}");
                continue;
            }
            assert_eq!(announced.len(), 3);
            let update = Announce::Update {
                id: 1,
                advertisement: Advertisement::default(),
            };
            assert!(matches!(announced.handle(update), Ok(Outcome::Discarded)));
            assert!(matches!(
                announced.handle(Announce::EndId { id: 1 }),
                Ok(Outcome::Nothing)
            ));
            assert!(announced.handle(Announce::EndId { id: 1 }).is_err());
            // The one behind it has the id that it would have had.
            let end = announced.handle(Announce::EndId { id: 2 });
            assert!(
                matches!(end, Ok(Outcome::Event(AnnouncementEvent::Unannounced { path, .. })) if path.as_str() == "b")
            );
        }
    }
}
