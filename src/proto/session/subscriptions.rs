//! Our subscriptions, as far as groups and datagrams are concerned: which ids are live, and which
//! group streams belong to each.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::limits::SUBSCRIPTIONS_ENDED_MAX;
use crate::wire::{StreamId, SubscribeId};

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    next_id: u64,
    live: FxHashMap<SubscribeId, Subscription>,
    /// Finished by the publisher, oldest first: a group stream can arrive after the FIN of the
    /// Subscribe Stream that was sent before it.
    ended: VecDeque<SubscribeId>,
}

#[derive(Debug)]
struct Subscription {
    /// The Subscribe Stream; `None` once the publisher has finished it.
    stream: Option<StreamId>,
    groups: SmallVec<[StreamId; 2]>,
}

impl Subscriptions {
    /// The id the next one gets. Ids are never reused (draft "SUBSCRIBE").
    pub(crate) fn next_id(&self) -> SubscribeId {
        SubscribeId(self.next_id)
    }

    pub(crate) fn insert(&mut self, stream: StreamId) -> SubscribeId {
        let id = self.next_id();
        self.next_id += 1;
        let subscription = Subscription {
            stream: Some(stream),
            groups: SmallVec::new(),
        };
        self.live.insert(id, subscription);
        id
    }

    pub(crate) fn stream(&self, id: SubscribeId) -> Option<StreamId> {
        self.live.get(&id)?.stream
    }

    /// Whether groups and datagrams of it are wanted.
    pub(crate) fn contains(&self, id: SubscribeId) -> bool {
        self.live.contains_key(&id)
    }

    /// How many have their stream open.
    pub(crate) fn open_count(&self) -> usize {
        self.live.len() - self.ended.len()
    }

    /// False when there is no such subscription.
    pub(crate) fn add_group(&mut self, id: SubscribeId, group: StreamId) -> bool {
        match self.live.get_mut(&id) {
            Some(subscription) => {
                subscription.groups.push(group);
                true
            }
            None => false,
        }
    }

    pub(crate) fn remove_group(&mut self, id: SubscribeId, group: StreamId) {
        if let Some(subscription) = self.live.get_mut(&id)
            && let Some(index) = subscription.groups.iter().position(|stream| *stream == group)
        {
            subscription.groups.swap_remove(index);
        }
    }

    /// The publisher finished. Stragglers are still accepted until the caller or age ends that.
    pub(crate) fn end(&mut self, id: SubscribeId) {
        if let Some(subscription) = self.live.get_mut(&id)
            && subscription.stream.take().is_some()
        {
            self.ended.push_back(id);
            if self.ended.len() > SUBSCRIPTIONS_ENDED_MAX
                && let Some(oldest) = self.ended.pop_front()
            {
                self.live.remove(&oldest);
            }
        }
    }

    /// Forgets it. Returns its stream if that is open, and its group streams.
    pub(crate) fn remove(&mut self, id: SubscribeId) -> (Option<StreamId>, SmallVec<[StreamId; 2]>) {
        let Some(subscription) = self.live.remove(&id) else {
            return (None, SmallVec::new());
        };
        if subscription.stream.is_none() {
            self.ended.retain(|ended| *ended != id);
        }
        (subscription.stream, subscription.groups)
    }

    pub(crate) fn clear(&mut self) {
        self.live.clear();
        self.ended.clear();
    }
}
