//! Track aliases of the peer: which subscription of ours the groups are for that name one.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::ietf::limits::RETIRED_ALIASES_MAX;
use crate::session::limits::SUBSCRIPTIONS_ENDED_MAX;
use crate::wire::SubscribeId;

#[derive(Debug, Default)]
pub(super) struct Tracks {
    bound: FxHashMap<u64, Track>,
    aliases: FxHashMap<SubscribeId, u64>,
    /// Subscriptions that their publisher has finished, oldest first: late groups of them are still wanted.
    ended: VecDeque<SubscribeId>,
    /// Those of subscriptions that are over, oldest first.
    retired: VecDeque<u64>,
}

/// A track that has an alias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    /// `None`: it is published, and we have not subscribed.
    pub(super) subscribe: Option<SubscribeId>,
    /// Units per second of its timestamps.
    pub(super) timescale: Option<u64>,
}

/// What an alias stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alias {
    Of(SubscribeId, Option<u64>),
    Unwanted,
    Unknown,
}

impl Tracks {
    pub(super) fn find(&self, alias: u64) -> Alias {
        match self.bound.get(&alias) {
            Some(Track {
                subscribe: Some(id),
                timescale,
            }) => Alias::Of(*id, *timescale),
            Some(_) => Alias::Unwanted,
            None if self.retired.contains(&alias) => Alias::Unwanted,
            None => Alias::Unknown,
        }
    }

    /// False when the alias is another track's.
    pub(super) fn bind(&mut self, alias: u64, track: Track) -> bool {
        if self.bound.contains_key(&alias) {
            return false;
        }
        self.retired.retain(|retired| *retired != alias);
        self.bound.insert(alias, track);
        if let Some(id) = track.subscribe {
            self.aliases.insert(id, alias);
        }
        true
    }

    /// We subscribe to a track that has its alias already, or do not any more.
    pub(super) fn set_subscriber(&mut self, alias: u64, subscribe: Option<SubscribeId>) {
        let Some(track) = self.bound.get_mut(&alias) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut track.subscribe, subscribe) {
            self.aliases.remove(&before);
        }
        if let Some(id) = subscribe {
            self.aliases.insert(id, alias);
        }
    }

    /// The publisher has finished.
    pub(super) fn end(&mut self, id: SubscribeId) {
        self.ended.push_back(id);
        if self.ended.len() > SUBSCRIPTIONS_ENDED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.retire(oldest);
        }
    }

    /// The subscription is over, and late groups of it are not wanted.
    pub(super) fn retire(&mut self, id: SubscribeId) {
        self.ended.retain(|ended| *ended != id);
        if let Some(alias) = self.aliases.remove(&id) {
            self.retire_alias(alias);
        }
    }

    pub(super) fn retire_alias(&mut self, alias: u64) {
        if let Some(id) = self.bound.remove(&alias).and_then(|track| track.subscribe) {
            self.aliases.remove(&id);
        }
        self.retired.push_back(alias);
        if self.retired.len() > RETIRED_ALIASES_MAX {
            self.retired.pop_front();
        }
    }
}
