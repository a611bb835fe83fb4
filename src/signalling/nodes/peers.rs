//! Which other machines there are, and whether everything that they said was heard: what each has in its table is numbered,
//! and so is what it says to this one. What is missing is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use moqswitch_calls::{CallId, CallView, Cause, SessionId};

use super::link::NodeName;
use super::message::{Body, Change, Envelope};
use crate::limits::{NODE_CHANGES_DELAYED_MAX, NODES_MAX};

/// All other machines.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    all: BTreeMap<NodeName, Peer>,
}

/// Another machine.
#[derive(Debug)]
pub(crate) struct Peer {
    run: u64,
    seen: Instant,
    /// How often its table had changed when it was known whole. None: it is not.
    version: Option<u64>,
    asked: Option<Instant>,
    coming: Option<Coming>,
    /// Messages to it, and from it.
    pub(super) said: u64,
    heard: Option<u64>,
    pub(crate) devices: BTreeSet<SessionId>,
    pub(crate) calls: BTreeMap<CallId, CallView>,
    /// Legs of which it has told, until all are told.
    legs: Vec<(SessionId, moqswitch_calls::LegId, bool)>,
}

/// A table that comes in parts.
#[derive(Debug)]
struct Coming {
    version: u64,
    part: u32,
    devices: BTreeSet<SessionId>,
    calls: BTreeSet<CallId>,
    /// What changed meanwhile.
    delayed: Vec<(u64, Vec<Change>)>,
}

/// What follows from a message.
#[derive(Debug)]
pub(crate) enum News {
    Joined,
    /// It is gone, or was started again: with these.
    Left(Box<Remains>),
    /// Its table is otherwise: each change is to be noted.
    Changed(Vec<Change>),
    /// It is to be asked for its table.
    AskTable,
    /// Something that it said was lost.
    Missed,
    /// It asks for the table here.
    WantsTable,
    /// For its calls, and its devices.
    Message(Body),
    /// All legs that devices here have in its calls.
    Legs(Vec<(SessionId, moqswitch_calls::LegId, bool)>),
}

/// What a machine leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    pub(crate) devices: BTreeSet<SessionId>,
    pub(crate) calls: BTreeMap<CallId, CallView>,
}

impl Peers {
    pub(crate) fn get(&self, name: &NodeName) -> Option<&Peer> {
        self.all.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.all.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeName, &Peer)> {
        self.all.iter()
    }

    /// The number of the next message to it.
    pub(super) fn number(&mut self, name: &NodeName) -> Option<u64> {
        let peer = self.all.get_mut(name)?;
        peer.said += 1;
        Some(peer.said)
    }

    /// Takes a message of another. None: there are too many of them.
    pub(crate) fn take(&mut self, envelope: Envelope, now: Instant) -> Option<Vec<News>> {
        let Envelope {
            from,
            run,
            number,
            body,
            ..
        } = envelope;
        let mut news = Vec::new();
        if matches!(body, Body::Bye) {
            if self.all.get(&from).is_some_and(|peer| peer.run == run) {
                news.extend(self.remove(&from).map(News::Left));
            }
            return Some(news);
        }
        let known = self.all.get(&from);
        if known.is_some_and(|peer| peer.run != run) {
            news.extend(self.remove(&from).map(News::Left));
        }
        if !self.all.contains_key(&from) {
            if self.all.len() >= NODES_MAX {
                return None;
            }
            self.all.insert(from.clone(), Peer::new(run, now));
            news.push(News::Joined);
        }
        let peer = self.all.get_mut(&from)?;
        peer.seen = now;
        if number > 0 {
            let expected = peer.heard.map_or(number, |heard| heard + 1);
            peer.heard = Some(number);
            if number != expected {
                peer.legs.clear();
                news.push(News::Missed);
            }
        }
        peer.take(body, now, &mut news);
        Some(news)
    }

    /// What a machine has is otherwise. The call that ended by it.
    pub(crate) fn note(&mut self, name: &NodeName, change: &Change) -> Option<CallView> {
        self.all.get_mut(name)?.note(change)
    }

    /// Who has not been heard for too long.
    pub(crate) fn silent(&mut self, now: Instant, silence: Duration) -> Vec<(NodeName, Box<Remains>)> {
        let is_silent = |peer: &Peer| now.saturating_duration_since(peer.seen) > silence;
        let gone: Vec<NodeName> = self
            .all
            .iter()
            .filter(|(_, peer)| is_silent(peer))
            .map(|(name, _)| name.clone())
            .collect();
        gone.into_iter()
            .filter_map(|name| Some((name.clone(), self.remove(&name)?)))
            .collect()
    }

    /// Nobody could be heard until now: nobody is silent.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        self.all.values_mut().for_each(|peer| peer.seen = now);
    }

    fn remove(&mut self, name: &NodeName) -> Option<Box<Remains>> {
        let peer = self.all.remove(name)?;
        Some(Box::new(Remains {
            devices: peer.devices,
            calls: peer.calls,
        }))
    }
}

impl Peer {
    fn new(run: u64, now: Instant) -> Self {
        Self {
            run,
            seen: now,
            version: None,
            asked: None,
            coming: None,
            said: 0,
            heard: None,
            devices: BTreeSet::new(),
            calls: BTreeMap::new(),
            legs: Vec::new(),
        }
    }

    /// Is everything known that it has?
    #[cfg(test)]
    pub(crate) fn is_known(&self) -> bool {
        self.version.is_some()
    }

    fn take(&mut self, body: Body, now: Instant, news: &mut Vec<News>) {
        match body {
            Body::Beat { version } => {
                if self.version != Some(version) {
                    self.ask(now, news);
                }
            }
            Body::Changes { version, changes } => self.take_changes(version, changes, now, news),
            Body::AskTable => news.push(News::WantsTable),
            Body::Table {
                version,
                part,
                is_last,
                changes,
            } => self.take_table((version, part, is_last), changes, now, news),
            Body::Legs { legs, part, is_last } => {
                if part == 0 {
                    self.legs.clear();
                }
                self.legs.extend(legs);
                if is_last {
                    news.push(News::Legs(std::mem::take(&mut self.legs)));
                }
            }
            Body::Bye => {}
            message @ (Body::Request { .. } | Body::Facts(_) | Body::Told { .. } | Body::AskLegs) => {
                news.push(News::Message(message));
            }
        }
    }

    /// Once in a while, until it comes.
    fn ask(&mut self, now: Instant, news: &mut Vec<News>) {
        let is_coming = self
            .asked
            .is_some_and(|at| now.saturating_duration_since(at) < TABLE_WAIT);
        if !is_coming {
            self.asked = Some(now);
            self.coming = None;
            news.push(News::AskTable);
        }
    }

    fn take_changes(&mut self, version: u64, changes: Vec<Change>, now: Instant, news: &mut Vec<News>) {
        if let Some(coming) = &mut self.coming {
            if coming.delayed.len() < NODE_CHANGES_DELAYED_MAX {
                return coming.delayed.push((version, changes));
            }
            self.coming = None;
            self.version = None;
        }
        match self.version {
            Some(own) if version <= own => {}
            Some(own) if version == own + 1 => {
                self.version = Some(version);
                news.push(News::Changed(changes));
            }
            Some(_) => {
                self.version = None;
                self.ask(now, news);
            }
            None => self.ask(now, news),
        }
    }

    fn take_table(
        &mut self,
        (version, part, is_last): (u64, u32, bool),
        changes: Vec<Change>,
        now: Instant,
        news: &mut Vec<News>,
    ) {
        self.asked = Some(now);
        if part == 0 {
            self.coming = Some(Coming {
                version,
                part: 0,
                devices: BTreeSet::new(),
                calls: BTreeSet::new(),
                delayed: Vec::new(),
            });
        }
        let Some(coming) = &mut self.coming else { return };
        if coming.version != version || coming.part != part {
            // A part is lost: it is asked for again by the next sign of life.
            self.coming = None;
            self.version = None;
            return;
        }
        coming.part += 1;
        for change in &changes {
            match change {
                Change::Device(device) => _ = coming.devices.insert(device.session),
                Change::Call(call) => _ = coming.calls.insert(call.call),
                Change::Lost(_) | Change::Back(_) | Change::Gone(_) | Change::Agent(..) | Change::Over(..) => {}
            }
        }
        news.push(News::Changed(changes));
        if !is_last {
            return;
        }
        let Some(coming) = self.coming.take() else { return };
        let gone = self.devices.difference(&coming.devices).copied().map(Change::Gone);
        let over = self.calls.keys().filter(|call| !coming.calls.contains(call));
        let over = over.map(|call| Change::Over(*call, Cause::Unreachable));
        let missing: Vec<Change> = gone.chain(over).collect();
        if !missing.is_empty() {
            news.push(News::Changed(missing));
        }
        self.version = Some(version);
        self.asked = None;
        for (version, changes) in coming.delayed {
            self.take_changes(version, changes, now, news);
        }
    }

    /// The call that a change ends.
    fn note(&mut self, change: &Change) -> Option<CallView> {
        match change {
            Change::Device(device) => _ = self.devices.insert(device.session),
            Change::Gone(session) => _ = self.devices.remove(session),
            Change::Call(call) => _ = self.calls.insert(call.call, (**call).clone()),
            Change::Over(call, _) => return self.calls.remove(call),
            Change::Lost(_) | Change::Back(_) | Change::Agent(..) => {}
        }
        None
    }
}

/// For a table, from one part of it to the next. Then it is asked for again.
const TABLE_WAIT: Duration = Duration::from_secs(3);
