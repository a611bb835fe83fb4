//! Calls by trunks: whose a call is that comes, and how one that goes out names who calls and who is called.

use std::time::Instant;

use crate::agent::Agent;
use crate::agent::event::{Invited, LegKey, Target};
use crate::agent::outgoing::{Call, address};
use crate::agent::passing::Passes;
use crate::agent::registering::domain_of;
use crate::flow::Flow;
use crate::message::Message;
use crate::message::syntax::{NameAddress, Uri, quote};

use super::{Held, TrunkId, retry_after};

impl Agent {
    /// A call to a number by a trunk, as it wants to read it: numbers are translated before. `from` is the number that calls,
    /// and its name for people. None: there is no such trunk.
    pub fn trunk_call(&self, trunk: TrunkId, number: &str, from: (String, String), offer: String) -> Option<Call> {
        let held = self.trunks.held.get(&trunk)?;
        let target = Target {
            flow: held.trunk.target,
            uri: held.trunk.uri(number),
            route: Vec::new(),
        };
        Some(Call {
            target,
            from,
            to: address(number, &held.host),
            offer,
            headers: Vec::new(),
            account: Some(trunk.0),
            max_forwards: None,
        })
    }

    /// The trunk that a leg is of, either way.
    pub fn trunk_of_leg(&self, key: LegKey) -> Option<TrunkId> {
        let account = self.legs.get(&key)?.account?;
        Some(TrunkId(account)).filter(|trunk| self.trunks.held.contains_key(trunk))
    }

    /// The way to a trunk over streams, by a connection that is to be opened.
    pub(in crate::agent) fn trunk_flow(&self, trunk: TrunkId) -> Option<Flow> {
        let target = self.trunks.held.get(&trunk)?.trunk.target;
        Some(target).filter(|target| target.transport.is_reliable())
    }

    /// What addresses of a trunk have behind the `@`.
    pub(in crate::agent) fn trunk_host(&self, trunk: TrunkId) -> Option<&str> {
        Some(&self.trunks.held.get(&trunk)?.host)
    }

    /// The trunk that a request outside of calls comes from: by what our Contact there says and nobody else knows, by its
    /// certificate, or else by the address. Of several there, by their port, by whom they ask for, by the domain they call from. One
    /// that has a name for its certificate is none without that.
    pub(in crate::agent) fn trunk_of(&self, flow: Flow, message: &Message) -> Option<TrunkId> {
        let uri = Uri::parse(message.uri())?;
        let names = self
            .trunks
            .certified
            .get(&flow.connection)
            .map_or(&[][..], Vec::as_slice);
        let has_shown = |held: &Held| held.certificate_name().is_some_and(|name| names.contains(name));
        let line = uri.parameters.value("line");
        if let Some(trunk) = line.and_then(|line| self.trunks.lines.get(line)) {
            let held = self.trunks.held.get(trunk);
            let is_it = held.is_none_or(|held| held.certificate_name().is_none() || has_shown(held));
            return is_it.then_some(*trunk);
        }
        let ip = flow.peer.ip().to_canonical();
        let all = self.trunks.addresses.range((ip, TrunkId(0))..=(ip, TrunkId(u64::MAX)));
        let mut all = all.filter_map(|(_, id)| Some((*id, self.trunks.held.get(id)?)));
        let from = message.from().and_then(|from| from.address());
        let is_likely = |held: &Held| {
            let is_port = held.trunk.target.peer.port() == flow.peer.port();
            let is_user = !held.trunk.user.is_empty() && held.trunk.user == uri.user;
            let is_domain = from.as_ref().is_some_and(|from| domain_of(from) == held.host);
            (!is_port, !is_user, !is_domain)
        };
        if !names.is_empty() {
            let certified = self.trunks.held.iter().filter(|(_, held)| has_shown(held));
            let first = certified.min_by_key(|(id, held)| (is_likely(held), **id));
            if let Some((id, _)) = first {
                return Some(*id);
            }
        }
        // On one host there are many programs.
        let is_here = |held: &Held| !ip.is_loopback() || held.trunk.target.peer.port() == flow.peer.port();
        let may_be = |held: &Held| held.certificate_name().is_none() && is_here(held);
        let first = all.by_ref().filter(|(_, held)| may_be(held));
        let (id, _) = first.min_by_key(|(id, held)| (is_likely(held), *id))?;
        let is_telephone = from.is_some_and(|from| self.is_telephone(&from, flow));
        (!is_telephone).then_some(id)
    }

    /// It registered with us by this very way: one that shares the address of a trunk, and is none.
    fn is_telephone(&self, from: &Uri, flow: Flow) -> bool {
        let found = self.registrar.sender(&from.user, &domain_of(from), flow, None);
        let binding = found.and_then(|id| self.registrar.get(id));
        binding.is_some_and(|binding| binding.flow == flow)
    }

    /// Who is called. Where a trunk asks for our own user there, it is in To which of its numbers was dialled.
    pub(in crate::agent) fn dialled(&self, trunk: Option<TrunkId>, uri: Uri, message: &Message) -> Uri {
        let held = trunk.and_then(|trunk| self.trunks.held.get(&trunk));
        if held.is_none_or(|held| uri.user.is_empty() || held.trunk.user != uri.user) {
            return uri;
        }
        let to = message.to().and_then(|to| to.address());
        to.filter(|to| !to.user.is_empty()).unwrap_or(uri)
    }

    /// Headers of a call that came which are passed on. Who calls is believed of a trunk alone (RFC 3325, section 5).
    pub(in crate::agent) fn passed_in(&self, trunk: Option<TrunkId>, message: &Message) -> Vec<(String, String)> {
        // By its name: a list may have it by a star, too.
        let unbelieved = || message.lines().filter(|(name, _)| !name.eq_ignore_ascii_case(ASSERTED));
        match trunk.and_then(|trunk| self.trunks.held.get(&trunk)) {
            Some(held) if held.trunk.is_trusted => held.trunk.passes.filter(message.lines()),
            Some(held) => held.trunk.passes.filter(unbelieved()),
            None => Passes::default().filter(unbelieved()),
        }
    }

    /// Of a call that goes out: its From without a tag, and the headers beside ours.
    pub(in crate::agent) fn origin(&self, call: &Call) -> (String, Vec<(String, String)>) {
        let (user, people) = &call.from;
        let people = if people.is_empty() {
            String::new()
        } else {
            quote(people) + " "
        };
        let held = call.account.and_then(|account| self.trunks.held.get(&TrunkId(account)));
        let Some(held) = held else {
            let from = format!("{people}<{}>", address(user, &self.settings.realm));
            let asserted = (ASSERTED.to_owned(), from.clone());
            let headers = [asserted].into_iter().chain(call.headers.iter().cloned());
            return (from, headers.collect());
        };
        let caller = format!("{people}<{}>", address(user, &held.host));
        let given = call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut headers = held.trunk.passes.filter(given);
        if held.trunk.is_trusted {
            // Who called on another trunk is known better there.
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(ASSERTED)) {
                headers.push((ASSERTED.to_owned(), caller.clone()));
            }
        } else {
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case(ASSERTED));
        }
        let from = if held.trunk.is_from_line && !held.trunk.user.is_empty() {
            format!("{people}<{}>", address(&held.trunk.user, &held.host))
        } else {
            caller
        };
        (from, headers)
    }

    /// A refusal of a call may be of more than that call.
    pub(in crate::agent) fn note_refusal(&mut self, now: Instant, key: LegKey, response: &Message) {
        let wait = retry_after(response).filter(|_| response.status() == 503);
        if let (Some(wait), Some(trunk)) = (wait, self.trunk_of_leg(key)) {
            self.note_retry_after(now, trunk, wait);
        }
    }
}

impl Invited {
    /// Who calls, as a trunk that is trusted asserts (RFC 3325): the number, and the name for people.
    pub fn asserted(&self) -> Option<(String, String)> {
        let asserted = self
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(ASSERTED));
        let items = asserted.flat_map(|(_, value)| crate::message::syntax::list(value));
        let mut numbers = items.filter_map(|item| {
            let address = NameAddress::parse(item)?;
            let user = address.address()?.user;
            (!user.is_empty()).then_some((user, address.name))
        });
        numbers.next()
    }
}

/// Who calls, as somebody says who is believed (RFC 3325).
pub(in crate::agent) const ASSERTED: &str = "P-Asserted-Identity";
