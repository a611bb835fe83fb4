//! Who watches whom (RFC 6665, as the notifier): how users are, their calls, messages that wait for them. A subscription is a
//! dialog of its own, or is in that of a call. Watchers are told at once, then of what is so at last, once in a second at most.

mod bodies;
#[cfg(any(test, feature = "exercise"))]
mod invariants;
mod notices;
mod pidf;
mod publishing;
mod state;
mod subscribing;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::flow::Flow;
use crate::transaction::ClientId;

use super::dialog::Dialog;
use super::errands::Alarm;
use super::event::LegKey;
use super::{Agent, Event, Timer};

pub(super) use publishing::PublicationId;
pub use state::{Activity, DialogStage, Package, Presence, Waiting, Watched, WatchedDialog};

use publishing::Publishing;
use subscribing::{Refusal, expires_of};

/// One who watches one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u64);

/// Who watches whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Which one.
    pub subscription: SubscriptionId,
    /// Of what kind.
    pub package: Package,
    /// Who is watched.
    pub user: String,
    /// Its domain, as the watcher writes it.
    pub domain: String,
    /// Who watches: the user and its domain.
    pub watcher: (String, String),
    /// The call within which it was asked for. The watcher is its peer, and who is watched is whom that talks to.
    pub leg: Option<LegKey>,
    /// Where the watcher is.
    pub flow: Flow,
}

/// Why a subscription ends from our side (RFC 6665, section 4.1.3): it says whether the watcher comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It may subscribe again at once: to another one of us, or to this one as it is then.
    Deactivated,
    /// Later.
    Probation,
    /// Never: it may not watch any more.
    Rejected,
    /// Never: there is nobody to be watched.
    NoResource,
}

impl Over {
    const fn name(self) -> &'static str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Rejected => "rejected",
            Self::NoResource => "noresource",
        }
    }
}

/// All of them, and what users publish.
#[derive(Debug, Default)]
pub(super) struct Watching {
    subscriptions: HashMap<SubscriptionId, Subscription>,
    /// By call and our tag: those that have a dialog of their own.
    dialogs: HashMap<(String, String), SubscriptionId>,
    watchers: HashMap<(String, String), BTreeSet<SubscriptionId>>,
    /// How many watch a user.
    watched: HashMap<(String, String), usize>,
    /// In calls.
    legs: HashMap<LegKey, BTreeSet<SubscriptionId>>,
    /// Those that are told by a connection.
    connections: HashMap<u64, BTreeSet<SubscriptionId>>,
    publishing: Publishing,
}

#[derive(Debug)]
struct Subscription {
    watch: Watch,
    /// None: that of its leg.
    dialog: Option<Box<Dialog>>,
    /// What `Event` says beside the package: it tells those of one dialog apart.
    id: Option<String>,
    /// Where the watcher is told, as it says.
    contact: String,
    end: Instant,
    state: Watched,
    /// Documents that went out.
    version: u32,
    /// There is something to tell.
    is_new: bool,
    /// The notice that is not answered yet.
    sent: Option<ClientId>,
    /// None before that.
    quiet_until: Instant,
    misses: u32,
}

impl Agent {
    /// What there is to tell of a user whom somebody watches. Of several in a second the last is told. False: nobody watches, or
    /// not that.
    pub fn notify(&mut self, now: Instant, id: SubscriptionId, state: Watched) -> bool {
        let Some(subscription) = self.watching.subscriptions.get_mut(&id) else {
            return false;
        };
        if state.package() != subscription.watch.package {
            return false;
        }
        if subscription.state != state {
            subscription.state = state;
            subscription.is_new = true;
            self.tell_watcher(now, id);
        }
        true
    }

    /// Ends a subscription, and tells the watcher why. It is not told of by an event. False: there is none.
    pub fn end_subscription(&mut self, now: Instant, id: SubscriptionId, over: Over) -> bool {
        let is_there = self.watching.subscriptions.contains_key(&id);
        if is_there {
            self.send_notice(now, id, Some(over.name()));
            self.forget_subscription(id);
        }
        is_there
    }

    fn remember_watch(&mut self, subscription: Subscription) {
        let (watch, key) = (&subscription.watch, subscription.watch.subscription);
        let watching = &mut self.watching;
        if let Some(dialog) = &subscription.dialog {
            let names = (dialog.call_id.clone(), dialog.local_tag.clone());
            watching.dialogs.insert(names, key);
        }
        if let Some(leg) = watch.leg {
            watching.legs.entry(leg).or_default().insert(key);
        } else if watch.flow.connection != 0 {
            let of_connection = watching.connections.entry(watch.flow.connection);
            of_connection.or_default().insert(key);
        }
        watching.watchers.entry(watch.watcher.clone()).or_default().insert(key);
        *watching
            .watched
            .entry((watch.user.clone(), watch.domain.clone()))
            .or_default() += 1;
        watching.subscriptions.insert(key, subscription);
    }

    /// It is over, and told so.
    fn lose_subscription(&mut self, id: SubscriptionId) {
        if self.watching.subscriptions.contains_key(&id) {
            self.forget_subscription(id);
            self.events.push_back(Event::Unsubscribed { subscription: id });
        }
    }

    fn forget_subscription(&mut self, id: SubscriptionId) {
        self.set_timer(Timer::Alarm(Alarm::Subscription(id)), None);
        let watching = &mut self.watching;
        let Some(subscription) = watching.subscriptions.remove(&id) else {
            return;
        };
        let watch = subscription.watch;
        if let Some(dialog) = subscription.dialog {
            watching.dialogs.remove(&(dialog.call_id, dialog.local_tag));
        }
        if let Some(leg) = watch.leg {
            remove_from(&mut watching.legs, leg, id);
        }
        remove_from(&mut watching.connections, watch.flow.connection, id);
        remove_from(&mut watching.watchers, watch.watcher, id);
        let user = (watch.user, watch.domain);
        if let Some(count) = watching.watched.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                watching.watched.remove(&user);
            }
        }
    }

    /// A call is over, and with it what was asked for in it.
    pub(super) fn end_watches_of_leg(&mut self, key: LegKey) {
        for id in self.watching.legs.remove(&key).into_iter().flatten() {
            self.lose_subscription(id);
        }
    }

    /// A connection is gone: nobody is reached by it any more.
    pub(super) fn end_watches_of_connection(&mut self, connection: u64) {
        for id in self.watching.connections.remove(&connection).into_iter().flatten() {
            self.lose_subscription(id);
        }
    }
}

fn remove_from<K: std::hash::Hash + Eq>(sets: &mut HashMap<K, BTreeSet<SubscriptionId>>, key: K, id: SubscriptionId) {
    if let Some(set) = sets.get_mut(&key) {
        set.remove(&id);
        if set.is_empty() {
            sets.remove(&key);
        }
    }
}

/// Kinds of what can be watched.
pub(super) const ALLOW_EVENTS: (&str, &str) = ("Allow-Events", "presence, dialog, message-summary");
/// It was not renewed, or was given up.
const TIMEOUT: &str = "timeout";

#[cfg(test)]
impl Watching {
    /// Of each table how many.
    pub(super) fn counts(&self) -> [usize; 9] {
        let [publications, tags, users] = self.publishing.counts();
        [
            self.subscriptions.len(),
            self.dialogs.len(),
            self.watchers.len(),
            self.watched.len(),
            self.legs.len(),
            self.connections.len(),
            publications,
            tags,
            users,
        ]
    }
}

#[cfg(test)]
mod tests;
