//! Addresses of single devices (RFC 5627): a device that has a name for ever is told an address that reaches it and no other device
//! of its user, from wherever it registers. What is asked for by such an address is its own.
//!
//! The address is made of the user's and the device's name, so nothing is kept for it. Temporary ones, that hide who it is, are not
//! given.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::limits::{BINDINGS_PER_USER_MAX, GRUU_AWAY_NAME_BYTES_MAX, GRUUS_AWAY_USERS_MAX};
use crate::message::Message;
use crate::message::syntax::{NameAddress, Uri, escape_parameter, unescape};

use super::Agent;
use super::event::BindingId;
use super::registering::domain_of;
use super::registrar::{Binding, Registrar, name_of};

/// Devices that were there and are not, of each user by itself: nobody makes those of others forgotten.
#[derive(Debug, Default)]
pub(super) struct Away {
    users: HashMap<String, AwayOfUser>,
    /// Whose device went when, the first one first.
    order: BTreeMap<u64, String>,
    noted: u64,
}

#[derive(Debug)]
struct AwayOfUser {
    noted: u64,
    /// The one that went first at the front.
    instances: VecDeque<String>,
}

impl Away {
    /// Its contact is gone. It may have another one, and be found by that.
    pub(super) fn note(&mut self, binding: &Binding) {
        if let Some(instance) = &binding.instance {
            self.note_instance(name_of(&binding.user, &binding.domain), instance);
        }
    }

    fn note_instance(&mut self, user: String, instance: &str) {
        if user.len() > GRUU_AWAY_NAME_BYTES_MAX {
            return;
        }
        self.noted += 1;
        if !self.users.contains_key(&user)
            && self.users.len() >= GRUUS_AWAY_USERS_MAX
            && let Some((_, first)) = self.order.pop_first()
        {
            self.users.remove(&first);
        }
        let noted = self.noted;
        let own = self.users.entry(user.clone()).or_insert_with(|| AwayOfUser {
            noted,
            instances: VecDeque::new(),
        });
        self.order.remove(&own.noted);
        self.order.insert(noted, user);
        own.noted = noted;
        own.instances.retain(|other| other != instance);
        if own.instances.len() >= BINDINGS_PER_USER_MAX {
            own.instances.pop_front();
        }
        own.instances.push_back(instance.to_owned());
    }

    fn has(&self, user: &str, wanted: &str) -> bool {
        let own = self.users.get(user);
        own.is_some_and(|own| own.instances.iter().any(|instance| bare(instance) == wanted))
    }
}

impl Binding {
    /// The address that reaches this device alone, of its user's. None: it has no name.
    pub(super) fn gruu(&self, address: &str) -> Option<String> {
        let instance = bare(self.instance.as_deref()?);
        Some(format!("{address};gr={}", escape_parameter(instance)))
    }
}

impl Registrar {
    /// The device that an address names, or the status that says where it is: it was there (480), or nobody knows it (404).
    fn device(&self, user: &str, domain: &str, gr: &str) -> Result<BindingId, u16> {
        let wanted = unescape(gr).ok_or(404_u16)?;
        let all = self.users.get(&name_of(user, domain)).map_or(&[][..], Vec::as_slice);
        let is_it = |id: &&BindingId| {
            let instance = self.get(**id).and_then(|binding| binding.instance.as_deref());
            instance.is_some_and(|instance| bare(instance) == wanted)
        };
        match all.iter().find(is_it) {
            Some(id) => Ok(*id),
            None if self.away.has(&name_of(user, domain), &wanted) => Err(480),
            None => Err(404),
        }
    }

    /// Who is meant by an address. None: anybody of its user.
    pub(super) fn device_of(&self, uri: &Uri) -> Option<Result<BindingId, u16>> {
        if !uri.parameters.has("gr") {
            return None;
        }
        let domain = domain_of(uri);
        let gr = uri.parameters.value("gr").unwrap_or_default();
        Some(self.device(&uri.user, &domain, gr))
    }
}

impl Agent {
    /// The device of a user that is named by the `gr` of an address.
    ///
    /// # Errors
    /// 480: it is away. 404: there is none.
    pub fn device_named(&self, user: &str, domain: &str, gr: &str) -> Result<BindingId, u16> {
        self.registrar.device(user, domain, gr)
    }

    /// A device may say such an address as its own: what is for it goes to its contact. One of another user's stays what it is:
    /// where that is reached is nobody's matter. What goes by an account is for nobody of ours.
    pub(super) fn resolve(&self, request: &mut Message, account: Option<u64>) {
        if account.is_some() || !request.uri().contains(";gr") {
            return;
        }
        let named = Uri::parse(request.uri()).and_then(|uri| self.registrar.device_of(&uri)?.ok());
        let Some(binding) = named.and_then(|id| self.registrar.get(id)) else {
            return;
        };
        // Whom we talk to as the dialog had it when it began, which no answer changes.
        let peer = request.get("To").and_then(NameAddress::parse);
        let peer = peer.and_then(|peer| peer.address());
        if peer.is_some_and(|peer| peer.user == binding.user && domain_of(&peer) == binding.domain) {
            request.set_uri(&binding.target().uri);
        }
    }
}

/// `+sip.instance` without what stands around it.
fn bare(instance: &str) -> &str {
    instance.trim_matches(['<', '>'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_user_the_last_devices_are_known_and_nobody_makes_those_of_others_forgotten() {
        let mut away = Away::default();
        away.note_instance("desk@realm".to_owned(), "<a>");
        for number in 0..10 * BINDINGS_PER_USER_MAX {
            away.note_instance("other@realm".to_owned(), &format!("<{number}>"));
        }
        assert!(away.has("desk@realm", "a") && !away.has("other@realm", "a"));
        let last = 10 * BINDINGS_PER_USER_MAX - 1;
        assert!(away.has("other@realm", &last.to_string()));
        assert!(!away.has("other@realm", &(last - BINDINGS_PER_USER_MAX).to_string()));
        // One that comes and goes is one.
        for _ in 0..BINDINGS_PER_USER_MAX {
            away.note_instance("desk@realm".to_owned(), "<b>");
        }
        assert!(away.has("desk@realm", "a") && away.has("desk@realm", "b"));
        for number in 0..GRUUS_AWAY_USERS_MAX - 1 {
            away.note_instance(format!("{number}@realm"), "<a>");
        }
        assert!(away.has("desk@realm", "a") && !away.has("other@realm", &last.to_string()));
        away.note_instance("last@realm".to_owned(), "<a>");
        assert!(!away.has("desk@realm", "a") && away.has("0@realm", "a"));
        assert_eq!(
            (away.users.len(), away.order.len()),
            (GRUUS_AWAY_USERS_MAX, GRUUS_AWAY_USERS_MAX)
        );
    }
}
