//! Addresses of single devices (RFC 5627): a device that has a name for ever is told an address that reaches it and no other device
//! of its user, from wherever it registers. What is asked for by such an address is its own.
//!
//! The address is made of the user's and the device's name, so nothing is kept for it. Temporary ones, that hide who it is, are not
//! given.

use std::collections::VecDeque;

use crate::limits::{GRUU_AWAY_NAME_BYTES_MAX, GRUUS_AWAY_MAX};
use crate::message::Message;
use crate::message::syntax::{Uri, unescape};

use super::Agent;
use super::event::BindingId;
use super::registrar::{Binding, Registrar, name_of};

/// Devices that were there and are not, the one that went first at the front: user and name.
#[derive(Debug, Default)]
pub(super) struct Away(VecDeque<(String, String)>);

impl Away {
    /// Its contact is gone. It may have another one, and be found by that.
    pub(super) fn note(&mut self, binding: &Binding) {
        let Some(instance) = &binding.instance else { return };
        let user = name_of(&binding.user, &binding.domain);
        if user.len() > GRUU_AWAY_NAME_BYTES_MAX {
            return;
        }
        if self.0.len() >= GRUUS_AWAY_MAX {
            self.0.pop_front();
        }
        self.0.push_back((user, instance.clone()));
    }

    fn has(&self, user: &str, wanted: &str) -> bool {
        self.0
            .iter()
            .any(|(own, instance)| own == user && bare(instance) == wanted)
    }
}

impl Binding {
    /// The address that reaches this device alone, of its user's. None: it has no name.
    pub(super) fn gruu(&self, address: &str) -> Option<String> {
        let instance = bare(self.instance.as_deref()?);
        Some(format!("{address};gr={}", escape(instance)))
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
        let domain = super::registering::domain_of(uri);
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

    /// A peer may say such an address as its own: what is for it goes to its contact.
    pub(super) fn resolve(&self, request: &mut Message) {
        if !request.uri().contains(";gr") {
            return;
        }
        let named = Uri::parse(request.uri()).and_then(|uri| self.registrar.device_of(&uri)?.ok());
        if let Some(binding) = named.and_then(|id| self.registrar.get(id)) {
            request.set_uri(&binding.target().uri);
        }
    }
}

/// `+sip.instance` without what stands around it.
fn bare(instance: &str) -> &str {
    instance.trim_matches(['<', '>'])
}

/// As a parameter of an address has it (RFC 3261, section 25.1).
fn escape(instance: &str) -> String {
    let mut escaped = String::with_capacity(instance.len());
    for byte in instance.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
