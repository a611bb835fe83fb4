//! What holds of the tables of those who watch and publish, whatever came.

use std::collections::BTreeSet;

use crate::agent::invariants::is;
use crate::limits::{PUBLICATIONS_MAX, SUBSCRIPTIONS_MAX};

use super::publishing::{Publication, Publishing};
use super::{PublicationId, SubscriptionId, Watching};

impl Watching {
    pub(in crate::agent) fn has(&self, id: SubscriptionId) -> bool {
        self.subscriptions.contains_key(&id)
    }

    pub(in crate::agent) fn has_published(&self, id: PublicationId) -> bool {
        self.publishing.publications.contains_key(&id)
    }

    /// Do the tables agree with each other?
    pub(in crate::agent) fn check(&self) -> Result<(), String> {
        let all = self.subscriptions.len();
        is(all <= SUBSCRIPTIONS_MAX, "more subscriptions than there may be")?;
        is(self.listed(self.watchers.values()) == Some(all), "watchers of nobody")?;
        let of_legs = self.listed(self.legs.values());
        let is_whole = of_legs.is_some_and(|of_legs| of_legs + self.dialogs.len() == all);
        is(is_whole, "subscriptions without a dialog")?;
        let of_connections = self.listed(self.connections.values());
        is(of_connections.is_some(), "a connection of nobody")?;
        is(self.watched.values().sum::<usize>() == all, "who is watched by nobody")?;
        self.publishing.check()
    }

    /// How many there are in these. None: one is empty, or has one that is not.
    fn listed<'a>(&self, mut sets: impl Iterator<Item = &'a BTreeSet<SubscriptionId>>) -> Option<usize> {
        sets.try_fold(0, |sum, set| {
            let is_sound = !set.is_empty() && set.iter().all(|id| self.has(*id));
            is_sound.then(|| sum + set.len())
        })
    }
}

impl Publishing {
    fn check(&self) -> Result<(), String> {
        let all = self.publications.len();
        is(all <= PUBLICATIONS_MAX, "more publications than there may be")?;
        let is_tagged = |(id, own): (&PublicationId, &Publication)| self.tags.get(&own.tag) == Some(id);
        let is_whole = self.tags.len() == all && self.publications.iter().all(is_tagged);
        is(is_whole, "publications without their tags")?;
        let of_users: usize = self.users.values().map(Vec::len).sum();
        is(of_users == all, "publications of nobody")
    }
}
