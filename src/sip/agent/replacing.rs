//! Calls that come in the place of others (RFC 3891): which leg is meant, and what is said where there is none.

use std::collections::VecDeque;

use crate::limits::{FORKS_MAX, REPLACED_LATE_MAX};
use crate::message::Message;
use crate::message::syntax::Parameters;

use super::Agent;
use super::event::LegKey;
use super::leg::{Leg, State};

/// Dialogs that were up and are over, the oldest first: call, our tag, the peer's.
#[derive(Debug, Default)]
pub(super) struct Bygone(VecDeque<(String, String, String)>);

impl Bygone {
    /// Of a leg that is forgotten.
    pub(super) fn note(&mut self, leg: &Leg) {
        let Some(remote) = leg.dialog.remote_tag.clone().filter(|_| leg.is_up()) else {
            return;
        };
        if self.0.len() >= REPLACED_LATE_MAX {
            self.0.pop_front();
        }
        let (call, local) = (leg.dialog.call_id.clone(), leg.dialog.local_tag.clone());
        self.0.push_back((call, local, remote));
    }

    fn has(&self, named: &Named<'_>) -> bool {
        let is_it = |(call, local, remote): &(String, String, String)| {
            let mut sides = named.sides().into_iter();
            call == named.call && sides.any(|(own, other)| local == own && remote == other)
        };
        self.0.iter().any(is_it)
    }
}

/// `call;to-tag=…;from-tag=…`.
struct Named<'a> {
    call: &'a str,
    to: String,
    from: String,
    is_early_only: bool,
}

impl<'a> Named<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let (call, parameters) = value.split_once(';')?;
        let parameters = Parameters::parse(parameters);
        Some(Self {
            call: call.trim(),
            to: parameters.value("to-tag")?.to_owned(),
            from: parameters.value("from-tag")?.to_owned(),
            is_early_only: parameters.has("early-only"),
        })
    }

    /// Who names a dialog has the one tag or the other first, by who called; both are ours to find. Ours is the first here.
    fn sides(&self) -> [(&str, &str); 2] {
        [(&self.to, &self.from), (&self.from, &self.to)]
    }
}

impl Agent {
    /// The leg in whose place a call is to come, or the status of the refusal (section 3).
    pub(super) fn replaced(&self, message: &Message) -> Result<Option<LegKey>, u16> {
        let mut values = message.items("Replaces");
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let named = Named::parse(value).filter(|_| values.next().is_none());
        let named = named.ok_or(400_u16)?;
        for (own, other) in named.sides() {
            let Some((key, leg)) = self.leg_with(named.call, own) else {
                continue;
            };
            let is_peers = leg.dialog.remote_tag.as_deref() == Some(other);
            let is_early = matches!(&leg.state, State::Calling { rung, .. } if rung.iter().any(|tag| tag == other));
            return match &leg.state {
                _ if !is_peers && !is_early => continue,
                _ if leg.is_over() => Err(603),
                // One that the peer began, and that nobody has answered.
                State::Called { .. } => Err(481),
                State::Answered { .. } | State::Up { .. } if named.is_early_only => Err(486),
                State::Calling { .. } | State::Answered { .. } | State::Up { .. } => Ok(Some(key)),
            };
        }
        Err(if self.bygone.has(&named) { 603 } else { 481 })
    }

    /// The leg that a transfer names: one that is up.
    pub(super) fn leg_of_replaces(&self, value: &str) -> Option<LegKey> {
        let named = Named::parse(value)?;
        let mut sides = named.sides().into_iter();
        sides.find_map(|(own, other)| {
            let (key, leg) = self.leg_with(named.call, own)?;
            (leg.is_up() && leg.dialog.remote_tag.as_deref() == Some(other)).then_some(key)
        })
    }

    fn leg_with(&self, call: &str, own: &str) -> Option<(LegKey, &Leg)> {
        let key = *self.dialogs.get(&(call.to_owned(), own.to_owned()))?;
        Some((key, self.legs.get(&key)?))
    }

    /// One of those that our INVITE came to says something: calls may come in its place.
    pub(super) fn note_rung(&mut self, key: LegKey, tag: &str) {
        if let Some(Leg {
            state: State::Calling { rung, .. },
            ..
        }) = self.legs.get_mut(&key)
            && rung.len() < FORKS_MAX
            && !rung.iter().any(|known| known == tag)
        {
            rung.push(tag.to_owned());
        }
    }
}
