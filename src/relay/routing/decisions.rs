//! What tracks have decided and nobody has fetched yet: things for sessions and other shards
//! to do, in their order, and what is decided once in a turn however often it changes.

use std::collections::VecDeque;

use super::action::Action;
use super::ids::{ShardId, TrackKey};
use super::remote::RemoteMessage;

#[derive(Debug, Default)]
pub(super) struct Decisions {
    actions: VecDeque<Action>,
    /// Subscriptions, by track and slot, with other preferences since the last turn.
    preferences: Vec<(TrackKey, usize)>,
    /// Tracks whose publishers may have to be told of a changed demand.
    demands: Vec<TrackKey>,
}

impl Decisions {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn send(&mut self, shard: ShardId, message: RemoteMessage) {
        self.actions.push_back(Action::Remote(shard, message));
    }

    /// Sends something before all that waits.
    pub(super) fn send_first(&mut self, shard: ShardId, message: RemoteMessage) {
        self.actions.push_front(Action::Remote(shard, message));
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(super) fn on_preferences_changed(&mut self, track: TrackKey, slot: usize) {
        self.preferences.push((track, slot));
    }

    pub(super) fn take_changed_preferences(&mut self) -> Vec<(TrackKey, usize)> {
        std::mem::take(&mut self.preferences)
    }

    pub(super) fn on_demand_changed(&mut self, track: TrackKey) {
        self.demands.push(track);
    }

    pub(super) fn pop_changed_demand(&mut self) -> Option<TrackKey> {
        self.demands.pop()
    }
}
