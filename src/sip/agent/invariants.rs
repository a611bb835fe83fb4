//! What holds of the tables, whatever came, and when everything is over.

use super::errands::Alarm;
use super::leg::{Leg, Offer, State};
use super::registrar::{Registrar, name_of};
use super::{Agent, LegKey, Method, Purpose, Timer};
use crate::limits::{BINDINGS_MAX, BINDINGS_PER_USER_MAX, FORKS_MAX, LEGS_MAX, REALMS_MAX};

impl Agent {
    /// Do the tables agree with each other?
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        self.transactions.check()?;
        self.registrar.check()?;
        self.check_legs()?;
        self.check_requests()?;
        is(self.timers.len() == self.set.len(), "timers that nobody set")?;
        for (timer, at) in &self.set {
            is(
                self.timers.contains(&(*at, *timer)),
                "a timer that is set and does not come",
            )?;
            let has_owner = match timer {
                Timer::Leg(key) => self.legs.contains_key(key),
                Timer::Expiry(id) | Timer::Ping(id) => self.registrar.get(*id).is_some(),
                Timer::Alarm(alarm) => self.has_owner(*alarm),
            };
            is(has_owner, "a timer of nobody")?;
        }
        for (id, _) in self.registrar.iter() {
            is(self.set.contains_key(&Timer::Expiry(id)), "a contact for ever")?;
        }
        self.trunks.check()?;
        self.watching.check()?;
        is(self.challengers.len() <= REALMS_MAX, "more realms than there may be")
    }

    fn has_owner(&self, alarm: Alarm) -> bool {
        match alarm {
            Alarm::Register(line) => self.trunks.has_line(line),
            Alarm::Probe(trunk) => self.trunk(trunk).is_some(),
            Alarm::Subscription(id) => self.watching.has(id),
            Alarm::Publication(id) => self.watching.has_published(id),
            Alarm::Refer(key) => self.referring.contains_key(&key) && self.legs.contains_key(&key),
        }
    }

    /// Is nothing held, but for contacts and what was remembered of passwords?
    ///
    /// # Errors
    /// What is.
    pub fn check_idle(&self) -> Result<(), String> {
        let tables = [
            ("legs", self.legs.len()),
            ("dialogs", self.dialogs.len()),
            ("called", self.called.len()),
            ("servers", self.servers.len()),
            ("clients", self.clients.len()),
            ("credentials", self.asked.len()),
            (
                "connections of legs",
                self.flows.connections.len() + self.flows.cut.len(),
            ),
            ("unwanted", self.unwanted.len()),
            ("texts", self.texts.len()),
            ("transfers", self.referring.len()),
            (
                "timers",
                self.set.keys().filter(|timer| matches!(timer, Timer::Leg(_))).count(),
            ),
            ("transactions", self.transactions.count()),
        ];
        let held: Vec<String> = tables
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        is(held.is_empty(), &held.join(", "))
    }

    fn check_legs(&self) -> Result<(), String> {
        is(self.legs.len() <= LEGS_MAX, "more legs than there may be")?;
        is(self.dialogs.len() == self.legs.len(), "dialogs without a leg")?;
        for (key, leg) in &self.legs {
            let dialog = (leg.dialog.call_id.clone(), leg.dialog.local_tag.clone());
            is(self.dialogs.get(&dialog) == Some(key), "a leg without its dialog")?;
            for id in invites_of(leg) {
                is(self.servers.get(&id) == Some(key), "a leg without its INVITE")?;
            }
            if let State::Calling { invite, .. } = &leg.state {
                let is_there = self.clients.get(invite) == Some(&Purpose::Invite(*key));
                is(is_there, "a leg whose INVITE has no end")?;
            }
            if let Offer::Own { request, .. } = &leg.offer {
                let is_there = self.clients.get(request) == Some(&Purpose::Offer(*key));
                is(is_there, "an offer that has no end")?;
            }
        }
        self.check_flows()?;
        for ((call, tag), (key, _)) in &self.called {
            let leg = self.legs.get(key).filter(|leg| !leg.is_caller);
            let is_its =
                |leg: &Leg| leg.dialog.call_id == *call && leg.dialog.remote_tag.as_deref().unwrap_or_default() == tag;
            is(leg.is_some_and(is_its), "a call that came, without its leg")?;
        }
        Ok(())
    }

    fn check_flows(&self) -> Result<(), String> {
        let (mut reached, mut cut) = (0, 0);
        for (key, leg) in &self.legs {
            let flow = leg.dialog.flow;
            if flow.connection != 0 && !leg.is_cut {
                reached += 1;
                let is_there = self.flows.connections.contains(&(flow.connection, *key));
                is(is_there, "a leg without its connection")?;
            }
            if let Some(device) = leg.device.as_ref().filter(|_| leg.is_cut) {
                cut += 1;
                let all = self.flows.cut.get(&(device.user.clone(), device.domain.clone()));
                is(
                    all.is_some_and(|all| all.contains(key)),
                    "a leg that is not found again",
                )?;
            }
            if let State::Calling { early, .. } = &leg.state {
                is(early.len() <= FORKS_MAX, "more early dialogs than there may be")?;
            }
        }
        is(self.flows.connections.len() == reached, "connections of no leg")?;
        let listed: usize = self.flows.cut.values().map(std::collections::BTreeSet::len).sum();
        is(listed == cut, "legs that are over, to be found again")
    }

    fn check_requests(&self) -> Result<(), String> {
        for (id, key) in &self.servers {
            let leg: Option<&Leg> = self.legs.get(key);
            let is_its = leg.is_some_and(|leg| invites_of(leg).any(|own| own == *id));
            is(is_its, "an INVITE that came, of nobody")?;
        }
        for id in self.asked.keys() {
            is(self.clients.contains_key(id), "credentials without their request")?;
        }
        for id in self.clients.keys() {
            is(self.transactions.sent(*id).is_some(), "a purpose without its request")?;
        }
        for (id, tags) in &self.unwanted {
            let is_invite = matches!(self.clients.get(id), Some(Purpose::Invite(LegKey(_))));
            is(
                is_invite && tags.len() <= FORKS_MAX,
                "answers to no INVITE, or too many",
            )?;
        }
        Ok(())
    }
}

impl Registrar {
    fn check(&self) -> Result<(), String> {
        is(self.len() <= BINDINGS_MAX, "more contacts than there may be")?;
        let listed: usize = self.users.values().map(Vec::len).sum();
        is(listed == self.len(), "contacts of nobody")?;
        let mut connections = 0;
        for (name, ids) in &self.users {
            let is_bounded = (1..=BINDINGS_PER_USER_MAX).contains(&ids.len());
            is(is_bounded, "a user without contacts, or with too many")?;
            for id in ids {
                let is_its = |own: &&super::Binding| name_of(&own.user, &own.domain) == *name;
                let binding = self.get(*id).filter(is_its);
                let Some(binding) = binding else {
                    return Err("a contact of another user".to_owned());
                };
                if binding.flow.connection != 0 {
                    connections += 1;
                    let is_there = self.connections.contains(&(binding.flow.connection, *id));
                    is(is_there, "a contact without its connection")?;
                }
            }
        }
        is(self.connections.len() == connections, "connections of nobody")
    }
}

/// Requests that came, are INVITEs, and are not done with.
fn invites_of(leg: &Leg) -> impl Iterator<Item = crate::transaction::ServerId> {
    let begun = match &leg.state {
        State::Called { invite, .. } | State::Answered { invite, .. } => Some(*invite),
        State::Calling { .. } | State::Up { .. } => None,
    };
    let offered = match &leg.offer {
        Offer::Peers { request, message } => Some(*request).filter(|_| message.method() == Some(&Method::Invite)),
        Offer::Late { invite, .. } => Some(*invite),
        Offer::None | Offer::Own { .. } => None,
    };
    begun.into_iter().chain(offered)
}

pub(super) fn is(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
