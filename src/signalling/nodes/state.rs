//! What one machine holds of several: its own devices as others know them, theirs, and legs on both sides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Instant;

use moqswitch_calls::{CallId, CallView, Codecs, Grants, LegId, Notice, RequestId, SessionId};
use ring::digest;
use serde::Serialize;

use super::link::{FromEngine, NodeLink, NodeName, NodeSettings, NodeTimes, ToEngine};
use super::message::{Body, Change, Envelope, FORM, Fact, Order, SharedDevice};
use super::peers::Peers;
use crate::figures::NodeFigures;
use crate::limits::{
    NODE_COUNTED_MAX, NODE_FACTS_MAX, NODE_LEGS_MAX, NODE_MESSAGE_BYTES_MAX, NODE_PART_BYTES_MAX, NODE_PART_ENTRIES,
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) name: NodeName,
    run: u64,
    said: tokio::sync::mpsc::Sender<ToEngine>,
    heard: Option<tokio::sync::mpsc::Receiver<FromEngine>>,
    pub(crate) times: NodeTimes,
    /// Are messages carried?
    pub(crate) is_up: bool,
    pub(crate) beat_at: Instant,
    pub(crate) peers: Peers,
    /// How often the table was changed, and what is to be told of it.
    version: u64,
    pub(crate) pending: Vec<Change>,
    /// Calls here that have changed in this turn, with why the last leg ended; and those that others know.
    pub(crate) changed_calls: BTreeMap<CallId, Option<moqswitch_calls::Cause>>,
    pub(crate) shared_calls: BTreeSet<CallId>,
    /// Devices that are registered here, by their own sessions and by those that others know.
    pub(crate) own: BTreeMap<SessionId, OwnDevice>,
    local: BTreeMap<SessionId, SessionId>,
    /// Devices of others.
    pub(crate) shadows: BTreeMap<SessionId, Shadow>,
    /// Their legs in calls here, each with whose it is.
    pub(crate) served: BTreeMap<LegId, (NodeName, SessionId)>,
    /// What they are to be told when the turn is over, and which request is being served.
    outbox: BTreeMap<NodeName, Vec<Order>>,
    pub(crate) serving: Option<(NodeName, u64)>,
    /// Legs of devices here in calls of others, and those of each device.
    legs: BTreeMap<LegId, AwayLeg>,
    legs_of: BTreeMap<SessionId, BTreeSet<LegId>>,
    /// What calls of each let a device here do, and what those here do.
    grants: BTreeMap<SessionId, BTreeMap<Option<NodeName>, Grants>>,
    /// Requests that others have not answered.
    pub(crate) awaited: BTreeMap<RequestId, Awaited>,
    /// Legs that are over, of which the counters are to come, with who wants them.
    counted: VecDeque<(LegId, NodeName)>,
    facts: BTreeMap<NodeName, Vec<Fact>>,
    /// Which legs a device has in calls of others, by call; and who is in each call of others. Sessions are as others know
    /// them: a device that comes back as another is the same.
    elsewhere: BTreeMap<SessionId, BTreeMap<CallId, bool>>,
    present: BTreeMap<CallId, Vec<SessionId>>,
    pub(crate) counts: NodeCounts,
}

/// What happened how often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeCounts {
    pub(crate) said: u64,
    /// For which there was no room, or nothing that carries them.
    pub(crate) unsaid: u64,
    pub(crate) heard: u64,
    /// That could not be read, or came of too many.
    pub(crate) unread: u64,
    /// Of these, those of another machine with the same name.
    namesakes: u64,
    /// Times that others said something that was lost.
    pub(crate) missed: u64,
    /// Requests that nobody answered in time.
    pub(crate) unanswered: u64,
    /// Devices of others for which there was no room here.
    pub(crate) refused: u64,
}

/// A device that is registered here.
#[derive(Clone, Debug)]
pub(crate) struct OwnDevice {
    pub(crate) shared: SharedDevice,
    /// When others were told last.
    pub(crate) told: Instant,
}

/// A device of another machine.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    pub(crate) node: NodeName,
    pub(crate) granted: Grants,
    pub(crate) since_ms: u64,
}

/// A request that another machine has.
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    pub(crate) node: NodeName,
    pub(crate) until: Instant,
    /// Who dials, and the call.
    pub(crate) dialled: Option<(SessionId, CallId)>,
}

/// A leg of a device here in a call of another machine.
#[derive(Clone, Debug)]
pub(crate) struct AwayLeg {
    pub(crate) node: NodeName,
    pub(crate) session: SessionId,
    /// Since when it is up.
    pub(crate) up: Option<Instant>,
    /// What the others of its call take, and what it may speak beside that.
    pub(crate) beside: Option<(Codecs, Codecs)>,
}

impl Nodes {
    pub(crate) fn new(settings: NodeSettings, run: u64, now: Instant) -> Self {
        let NodeSettings { name, link, times } = settings;
        let NodeLink { heard, said } = link;
        Self {
            name,
            run,
            said,
            heard: Some(heard),
            times,
            is_up: false,
            beat_at: now,
            peers: Peers::default(),
            version: 0,
            pending: Vec::new(),
            changed_calls: BTreeMap::new(),
            shared_calls: BTreeSet::new(),
            own: BTreeMap::new(),
            local: BTreeMap::new(),
            shadows: BTreeMap::new(),
            served: BTreeMap::new(),
            outbox: BTreeMap::new(),
            serving: None,
            legs: BTreeMap::new(),
            legs_of: BTreeMap::new(),
            grants: BTreeMap::new(),
            awaited: BTreeMap::new(),
            counted: VecDeque::new(),
            facts: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            present: BTreeMap::new(),
            counts: NodeCounts::default(),
        }
    }

    pub(crate) fn figures(&self) -> NodeFigures {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let counts = &self.counts;
        NodeFigures {
            is_up: self.is_up,
            peers: count(self.peers.names().count()),
            devices: count(self.shadows.len()),
            calls: count(self.peers.iter().map(|(_, peer)| peer.calls.len()).sum()),
            legs_away: count(self.legs.len()),
            legs_served: count(self.served.len()),
            said: counts.said,
            unsaid: counts.unsaid,
            heard: counts.heard,
            unread: counts.unread,
            missed: counts.missed,
            unanswered: counts.unanswered,
            refused: counts.refused,
        }
    }

    /// What is heard, for who waits for it. Once.
    pub(crate) fn take_heard(&mut self) -> Option<tokio::sync::mpsc::Receiver<FromEngine>> {
        self.heard.take()
    }

    /// The session of a device here as others know it. The device comes back by its own, which is a secret.
    pub(crate) fn public(&self, session: SessionId) -> SessionId {
        if let Some(own) = self.own.get(&session) {
            return own.shared.session;
        }
        if self.shadows.contains_key(&session) {
            return session;
        }
        let mut bytes = self.run.to_be_bytes().to_vec();
        bytes.extend(session.0.to_be_bytes());
        let hash = digest::digest(&digest::SHA256, &bytes);
        let half = hash.as_ref().first_chunk().copied().unwrap_or_default();
        SessionId(u128::from_be_bytes(half))
    }

    /// A session that others know as it is here.
    pub(crate) fn local(&self, public: SessionId) -> SessionId {
        self.local.get(&public).copied().unwrap_or(public)
    }

    pub(crate) fn insert_own(&mut self, session: SessionId, own: OwnDevice) {
        self.local.insert(own.shared.session, session);
        self.own.insert(session, own);
    }

    /// A device here is gone, with what it had elsewhere.
    pub(crate) fn remove_own(&mut self, session: SessionId) -> Option<OwnDevice> {
        let own = self.own.remove(&session)?;
        self.local.remove(&own.shared.session);
        for leg in self.legs_of.remove(&session).unwrap_or_default() {
            self.legs.remove(&leg);
        }
        self.grants.remove(&session);
        Some(own)
    }

    /// A device came back as another session: it is the same to others.
    pub(crate) fn move_own(&mut self, old: SessionId, new: SessionId) {
        if let Some(own) = self.own.remove(&old) {
            self.insert_own(new, own);
        }
        let legs = self.legs_of.remove(&old).unwrap_or_default();
        for leg in &legs {
            if let Some(leg) = self.legs.get_mut(leg) {
                leg.session = new;
            }
        }
        if !legs.is_empty() {
            self.legs_of.insert(new, legs);
        }
        if let Some(mut grants) = self.grants.remove(&old) {
            grants.remove(&None);
            self.grants.insert(new, grants);
        }
    }

    /// What a device here may do by calls of `of`, here or elsewhere; and what it may do by all of them.
    pub(crate) fn grant(&mut self, session: SessionId, of: Option<NodeName>, grants: Grants) -> Grants {
        let all = self.grants.entry(session).or_default();
        if grants.is_empty() {
            all.remove(&of);
        } else {
            all.insert(of, grants);
        }
        if all.is_empty() {
            self.grants.remove(&session);
        }
        self.granted(session)
    }

    /// What a device here may do by calls of all machines.
    pub(crate) fn granted(&self, session: SessionId) -> Grants {
        let mut sum = Grants::default();
        for grants in self.grants.get(&session).into_iter().flat_map(BTreeMap::values) {
            sum.publish.extend(grants.publish.iter().cloned());
            sum.subscribe.extend(grants.subscribe.iter().cloned());
        }
        for patterns in [&mut sum.publish, &mut sum.subscribe] {
            patterns.sort_unstable();
            patterns.dedup();
        }
        sum
    }

    /// A leg of a device here in a call of another. False: there are too many.
    pub(crate) fn insert_leg(&mut self, id: LegId, leg: AwayLeg) -> bool {
        if self.legs.len() >= NODE_LEGS_MAX {
            return false;
        }
        self.legs_of.entry(leg.session).or_default().insert(id);
        self.legs.insert(id, leg);
        true
    }

    pub(crate) fn remove_leg(&mut self, id: LegId) -> Option<AwayLeg> {
        let leg = self.legs.remove(&id)?;
        if let Some(legs) = self.legs_of.get_mut(&leg.session) {
            legs.remove(&id);
            if legs.is_empty() {
                self.legs_of.remove(&leg.session);
            }
        }
        Some(leg)
    }

    pub(crate) fn leg(&self, id: LegId) -> Option<&AwayLeg> {
        self.legs.get(&id)
    }

    pub(crate) fn leg_mut(&mut self, id: LegId) -> Option<&mut AwayLeg> {
        self.legs.get_mut(&id)
    }

    /// Those in calls of one machine.
    pub(crate) fn legs_at(&self, node: &NodeName) -> Vec<LegId> {
        let legs = self.legs.iter().filter(|(_, leg)| leg.node == *node);
        legs.map(|(id, _)| *id).collect()
    }

    /// Those of one device.
    pub(crate) fn legs_of(&self, session: SessionId) -> impl Iterator<Item = LegId> {
        self.legs_of.get(&session).into_iter().flatten().copied()
    }

    /// Whose calls a device is in, if it is in any of another machine.
    pub(crate) fn place_of(&self, session: SessionId) -> Option<&NodeName> {
        let leg = self.legs_of(session).next()?;
        self.legs.get(&leg).map(|leg| &leg.node)
    }

    /// The calls of others that a device is in.
    pub(crate) fn calls_of(&self, session: SessionId) -> impl Iterator<Item = &CallView> {
        let calls = self
            .elsewhere
            .get(&self.public(session))
            .into_iter()
            .flat_map(BTreeMap::keys);
        calls.filter_map(|call| self.call(*call).map(|(_, view)| view))
    }

    /// Is a device one of that machine?
    pub(crate) fn is_of(&self, session: SessionId, node: &NodeName) -> bool {
        self.shadows.get(&session).is_some_and(|shadow| shadow.node == *node)
    }

    /// A call of another machine.
    pub(crate) fn call(&self, call: CallId) -> Option<(&NodeName, &CallView)> {
        let mut found = self.peers.iter();
        found.find_map(|(name, peer)| Some((name, peer.calls.get(&call)?)))
    }

    /// Somebody is to be told when the turn is over.
    pub(crate) fn order(&mut self, node: &NodeName, order: Order) {
        self.outbox.entry(node.clone()).or_default().push(order);
    }

    /// Facts are told by the next sign of life: of those of one leg that say the same one is enough.
    pub(crate) fn tell_fact(&mut self, node: NodeName, fact: Fact) {
        let facts = self.facts.entry(node).or_default();
        let is_told = |other: &Fact| match (other, &fact) {
            (Fact::Flowing(other), Fact::Flowing(leg)) => other == leg,
            _ => false,
        };
        if facts.len() < NODE_FACTS_MAX && !facts.iter().any(is_told) {
            facts.push(fact);
        }
    }

    pub(crate) fn flush_facts(&mut self) {
        for (node, facts) in std::mem::take(&mut self.facts) {
            self.say(Some(&node), Body::Facts(facts));
        }
    }

    pub(crate) fn await_counters(&mut self, leg: LegId, node: NodeName) {
        if self.counted.len() >= NODE_COUNTED_MAX {
            self.counted.pop_front();
        }
        self.counted.push_back((leg, node));
    }

    /// Who wants the counters of a leg that is over.
    pub(crate) fn wanted_counters(&self, leg: LegId) -> Option<NodeName> {
        let mut counted = self.counted.iter();
        counted
            .find(|(counted, _)| *counted == leg)
            .map(|(_, node)| node.clone())
    }

    /// They come: they are not to come any more.
    pub(crate) fn take_counters(&mut self, leg: LegId) -> Option<NodeName> {
        let at = self.counted.iter().position(|(counted, _)| *counted == leg)?;
        self.counted.remove(at).map(|(_, node)| node)
    }

    /// Says what the turn brought.
    pub(crate) fn flush(&mut self, calls: Vec<Change>) {
        let serving = self.serving.take();
        for (node, orders) in std::mem::take(&mut self.outbox) {
            let answers = serving
                .as_ref()
                .filter(|(to, _)| *to == node)
                .map(|(_, request)| *request);
            self.say_orders(&node, answers, orders);
        }
        self.pending.extend(calls);
        for changes in parts(std::mem::take(&mut self.pending)) {
            self.version += 1;
            let version = self.version;
            self.say(None, Body::Changes { version, changes });
        }
    }

    /// In order, in as many messages as it takes: only notices with descriptions are long.
    fn say_orders(&mut self, node: &NodeName, answers: Option<u64>, orders: Vec<Order>) {
        for orders in parts(orders) {
            self.say(Some(node), Body::Told { answers, orders });
        }
    }

    pub(crate) fn say_beat(&mut self) {
        let version = self.version;
        self.say(None, Body::Beat { version });
    }

    /// Tells one of everything that there is here.
    pub(crate) fn say_table(&mut self, node: &NodeName, calls: Vec<Change>, extras: Vec<Change>) {
        let devices = self.own.values().map(|own| {
            let shared = SharedDevice {
                begins_anew: false,
                ..own.shared.clone()
            };
            Change::Device(Box::new(shared))
        });
        let changes: Vec<Change> = devices.chain(extras).chain(calls).collect();
        let version = self.version;
        for (part, is_last, changes) in numbered_parts(changes) {
            let table = Body::Table {
                version,
                part,
                is_last,
                changes,
            };
            self.say(Some(node), table);
        }
    }

    /// Tells one which legs its devices have here.
    pub(crate) fn say_legs(&mut self, node: &NodeName, legs: Vec<(SessionId, LegId, bool)>) {
        for (part, is_last, legs) in numbered_parts(legs) {
            self.say(Some(node), Body::Legs { legs, part, is_last });
        }
    }

    /// Says something to one, or to all. What finds no room is lost, and missed by its number.
    pub(crate) fn say(&mut self, to: Option<&NodeName>, body: Body) -> bool {
        let number = match to {
            None => 0,
            Some(to) => match self.peers.number(to) {
                Some(number) => number,
                None => return false,
            },
        };
        let envelope = Envelope {
            form: FORM,
            from: self.name.clone(),
            run: self.run,
            number,
            body,
        };
        let message = serde_json::to_vec(&envelope).unwrap_or_default();
        let is_said = self.is_up
            && !message.is_empty()
            && message.len() <= NODE_MESSAGE_BYTES_MAX
            && self
                .said
                .try_send(ToEngine {
                    to: to.cloned(),
                    message,
                })
                .is_ok();
        self.counts.said += u64::from(is_said);
        self.counts.unsaid += u64::from(!is_said);
        is_said
    }

    /// Reads a message of another machine.
    pub(crate) fn read(&mut self, message: &[u8]) -> Option<Envelope> {
        self.counts.heard += 1;
        let envelope: Option<Envelope> = serde_json::from_slice(message)
            .ok()
            .filter(|envelope: &Envelope| envelope.form == FORM);
        let Some(envelope) = envelope else {
            self.counts.unread += 1;
            if self.counts.unread.is_power_of_two() {
                tracing::warn!(
                    unread = self.counts.unread,
                    "a machine says what this version does not understand"
                );
            }
            return None;
        };
        if envelope.from == self.name {
            if envelope.run != self.run {
                self.counts.unread += 1;
                self.counts.namesakes += 1;
            }
            if envelope.run != self.run && self.counts.namesakes.is_power_of_two() {
                tracing::error!(node = %self.name, "another machine has the same name: set `cluster.store.node`");
            }
            return None;
        }
        Some(envelope)
    }

    /// A call of another machine is like this now, or over. Who has other legs elsewhere than before, as it is here.
    pub(crate) fn note_call(&mut self, id: CallId, call: Option<&CallView>) -> BTreeSet<SessionId> {
        let mut touched = BTreeSet::new();
        for session in self.present.remove(&id).unwrap_or_default() {
            if let Some(calls) = self.elsewhere.get_mut(&session) {
                calls.remove(&id);
                if calls.is_empty() {
                    self.elsewhere.remove(&session);
                }
            }
            touched.insert(self.local(session));
        }
        let Some(call) = call else { return touched };
        let mut present = Vec::new();
        for leg in &call.legs {
            let is_called = leg.state != moqswitch_calls::LegState::Up && leg.role != moqswitch_calls::LegRole::Caller;
            self.elsewhere.entry(leg.session).or_default().insert(id, !is_called);
            present.push(leg.session);
            touched.insert(self.local(leg.session));
        }
        self.present.insert(id, present);
        touched
    }

    /// How many legs a device has in calls of others, and whether one is more than called.
    pub(crate) fn elsewhere(&self, session: SessionId) -> (u16, bool) {
        let calls = self.elsewhere.get(&self.public(session));
        let legs = calls.map_or(0, BTreeMap::len);
        let is_busy = calls.is_some_and(|calls| calls.values().any(|is_busy| *is_busy));
        (u16::try_from(legs).unwrap_or(u16::MAX), is_busy)
    }
}

/// The leg that a notice is for.
pub(crate) fn leg_of_notice(notice: &Notice) -> Option<LegId> {
    match notice {
        Notice::Incoming(incoming) => Some(incoming.leg),
        Notice::Accepted(accepted) => Some(accepted.leg),
        Notice::Ended(ended) => Some(ended.leg),
        Notice::Left { own, .. } => Some(*own),
        Notice::Progress { leg, .. }
        | Notice::Participants { leg, .. }
        | Notice::Joined { leg, .. }
        | Notice::Held { leg, .. }
        | Notice::Muted { leg, .. }
        | Notice::Dtmf { leg, .. }
        | Notice::Signal { leg, .. }
        | Notice::Speak { leg, .. }
        | Notice::Transfer { leg, .. }
        | Notice::Queue { leg, .. }
        | Notice::Announcement { leg, .. }
        | Notice::Recording { leg, .. }
        | Notice::QualityWarning { leg, .. } => Some(*leg),
        Notice::Presence { .. } | Notice::Call(_) | Notice::Unregistered { .. } => None,
    }
}

/// What is too much for one message, in order. What is too long alone is alone.
fn parts<T: Serialize>(all: Vec<T>) -> Vec<Vec<T>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for one in all {
        let weight = weight_of(&one);
        if part.len() >= NODE_PART_ENTRIES || bytes + weight > NODE_PART_BYTES_MAX && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += weight;
        part.push(one);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// The same, each with its number and whether it is the last. Of nothing there is one, too.
fn numbered_parts<T: Serialize>(all: Vec<T>) -> impl Iterator<Item = (u32, bool, Vec<T>)> {
    let mut parts = parts(all);
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    let count = parts.len();
    parts
        .into_iter()
        .enumerate()
        .map(move |(at, part)| (u32::try_from(at).unwrap_or(u32::MAX), at + 1 == count, part))
}

/// The bytes of it in a message, with the comma.
fn weight_of(one: &impl Serialize) -> usize {
    let mut weight = Weight(1);
    // It is counted only: there is nothing that could fail but what cannot be said, which is found when it is.
    let _ = serde_json::to_writer(&mut weight, one);
    weight.0
}

/// Counts what is written.
struct Weight(usize);

impl io::Write for Weight {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_within_a_message_and_in_order() {
        let long = "x".repeat(NODE_PART_BYTES_MAX / 3);
        let all: Vec<String> = (0..7).map(|at| format!("{at}{long}")).collect();
        let split = parts(all.clone());
        assert_eq!(split.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 1]);
        assert!(
            split
                .iter()
                .all(|part| serde_json::to_vec(part).unwrap().len() <= NODE_MESSAGE_BYTES_MAX)
        );
        assert_eq!(split.concat(), all);
        // By count, too, and what is too long is alone.
        let short: Vec<usize> = (0..NODE_PART_ENTRIES + 1).collect();
        assert_eq!(
            parts(short).iter().map(Vec::len).collect::<Vec<_>>(),
            [NODE_PART_ENTRIES, 1]
        );
        let all = vec![String::new(), long.repeat(4), String::new()];
        assert_eq!(parts(all).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        let numbers = |count: usize| {
            let numbered = numbered_parts(vec![0; count]).map(|(part, is_last, _)| (part, is_last));
            numbered.collect::<Vec<_>>()
        };
        assert_eq!(numbers(0), [(0, true)]);
        assert_eq!(numbers(NODE_PART_ENTRIES + 1), [(0, false), (1, true)]);
    }
}
