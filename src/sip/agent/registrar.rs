//! Who can be reached where (RFC 3261, section 10).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::flow::Flow;
use crate::limits::{ADDRESS_BYTES_MAX, BINDINGS_MAX, BINDINGS_PER_USER_MAX};
use crate::message::Message;
use crate::message::syntax::{NameAddress, Uri, without_headers};

use super::dialog::hops;
use super::event::{BindingId, Host, Target};
use super::gruu::Away;
use super::leg::Device;

/// One contact of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The user.
    pub user: String,
    /// Its domain.
    pub domain: String,
    /// The name for people.
    pub name: String,
    /// Where it says that it is reached.
    pub contact: String,
    /// Where it is reached.
    pub flow: Flow,
    /// Hops before it (RFC 3327).
    pub path: Vec<String>,
    /// Its name for ever (RFC 5626), or none.
    pub instance: Option<String>,
    /// What its program calls itself.
    pub agent: String,
    call_id: String,
    cseq: u32,
    pub(super) end: Instant,
    /// A ping that is not answered yet.
    pub(super) outstanding_pings: u32,
}

/// A contact that is reached by datagrams, as it is kept for the process that comes after this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBinding {
    /// The user.
    pub user: String,
    /// Its domain.
    pub domain: String,
    /// The name for people.
    pub name: String,
    /// Where it says that it is reached.
    pub contact: String,
    /// Where it is reached.
    pub peer: SocketAddr,
    /// Hops before it (RFC 3327).
    pub path: Vec<String>,
    /// Its name for ever (RFC 5626), or none.
    pub instance: Option<String>,
    /// What its program calls itself.
    pub agent: String,
    /// Of its last REGISTER: an earlier one is not heeded.
    pub call_id: String,
    /// See `call_id`.
    pub cseq: u32,
}

impl Binding {
    /// What is to be kept of it. None: it is reached by a connection, which ends with the process.
    pub fn kept(&self) -> Option<KeptBinding> {
        (self.flow == Flow::datagrams(self.flow.peer)).then(|| KeptBinding {
            user: self.user.clone(),
            domain: self.domain.clone(),
            name: self.name.clone(),
            contact: self.contact.clone(),
            peer: self.flow.peer,
            path: self.path.clone(),
            instance: self.instance.clone(),
            agent: self.agent.clone(),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
        })
    }

    /// Where requests for it go.
    pub fn target(&self) -> Target {
        Target {
            flow: self.flow,
            uri: without_headers(&self.contact).to_owned(),
            route: self.path.clone(),
        }
    }

    /// Has it as many pings unanswered as this?
    pub const fn outstanding_pings(&self) -> u32 {
        self.outstanding_pings
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    bindings: BTreeMap<BindingId, Binding>,
    /// By user and domain, as [`name_of`] has it.
    pub(super) users: HashMap<String, Vec<BindingId>>,
    /// Those that are reached by a connection.
    pub(super) connections: BTreeSet<(u64, BindingId)>,
    pub(super) away: Away,
    begun: u64,
}

/// What a REGISTER wants.
pub(super) struct Wanted {
    contact: String,
    expires: Option<u32>,
    instance: Option<String>,
    name: String,
}

/// What becomes of a REGISTER.
pub(super) enum Outcome {
    /// 200, with the contacts that there are.
    Done,
    /// Another status.
    Refused(u16),
}

/// Of one REGISTER.
pub(super) struct Request<'a> {
    pub(super) user: &'a str,
    pub(super) domain: &'a str,
    pub(super) message: &'a Message,
    pub(super) flow: Flow,
    pub(super) path: Vec<String>,
}

impl<'a> Request<'a> {
    /// None: its Path is longer than a route may be.
    pub(super) fn new(user: &'a str, domain: &'a str, message: &'a Message, flow: Flow) -> Option<Self> {
        let path = hops(message, "Path")?;
        Some(Self {
            user,
            domain,
            message,
            flow,
            path,
        })
    }
}

impl Registrar {
    pub(super) fn get(&self, id: BindingId) -> Option<&Binding> {
        self.bindings.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: BindingId) -> Option<&mut Binding> {
        self.bindings.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (BindingId, &Binding)> {
        self.bindings.iter().map(|(id, binding)| (*id, binding))
    }

    /// Those that are reached by this connection.
    pub(super) fn of_connection(&self, connection: u64) -> Vec<BindingId> {
        let all = (connection, BindingId(0))..=(connection, BindingId(u64::MAX));
        self.connections.range(all).map(|(_, id)| *id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.bindings.len()
    }

    fn of_user(&self, user: &str, domain: &str) -> &[BindingId] {
        self.users.get(&name_of(user, domain)).map_or(&[], Vec::as_slice)
    }

    /// Where a device is reached whose connection was closed.
    pub(super) fn of_device(&self, device: &Device) -> Option<Flow> {
        let all = self.of_user(&device.user, &device.domain).iter();
        let mut bindings = all.filter_map(|id| self.bindings.get(id));
        bindings.find(|binding| device.is(binding)).map(|binding| binding.flow)
    }

    /// Which of the user's contacts this message is from.
    pub(super) fn sender(&self, user: &str, domain: &str, flow: Flow, contact: Option<&str>) -> Option<BindingId> {
        let all = self.of_user(user, domain);
        let of = |id: &&BindingId| self.bindings.get(*id);
        let same_flow = all.iter().find(|id| of(id).is_some_and(|binding| binding.flow == flow));
        let same_contact = || {
            all.iter()
                .find(|id| of(id).is_some_and(|binding| Some(&*binding.contact) == contact))
        };
        let same_host = || {
            let mut there = all
                .iter()
                .filter(|id| of(id).is_some_and(|binding| binding.flow.peer.ip() == flow.peer.ip()));
            there.next().filter(|_| there.next().is_none())
        };
        same_flow.or_else(same_contact).or_else(same_host).copied()
    }

    /// Carries a REGISTER out, whose sender is known by now, and says which contacts came, stayed or went. What is wrong with
    /// it is found before anything is done (section 10.3, step 7).
    pub(super) fn handle(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        bounds: (Duration, Duration),
        host: &mut dyn Host,
    ) -> (Outcome, Vec<BindingId>) {
        let message = request.message;
        let default = message.number("Expires");
        let cseq = message.cseq().map_or(0, |(number, _)| number);
        let is_late = |binding: &Binding| binding.call_id == message.call_id() && binding.cseq >= cseq;
        let mut changed = Vec::new();
        if message.items("Contact").any(|contact| contact == "*") {
            // Alone, and for nothing (step 6).
            let is_alone = message.items("Contact").count() == 1;
            if !is_alone || default != Some(0) {
                return (Outcome::Refused(400), changed);
            }
            let all = self.of_user(request.user, request.domain).to_vec();
            if all.iter().filter_map(|id| self.get(*id)).any(is_late) {
                return (Outcome::Refused(500), changed);
            }
            changed = all;
            for id in &changed {
                self.remove(*id, host);
            }
            return (Outcome::Done, changed);
        }
        let mut wanted = Vec::new();
        for contact in message.items("Contact") {
            match wanted_of(contact) {
                Some(_) if wanted.len() >= BINDINGS_PER_USER_MAX => return (Outcome::Refused(403), changed),
                Some(contact) => {
                    let found = self.find(request, &contact);
                    wanted.push((contact, found));
                }
                None => return (Outcome::Refused(400), changed),
            }
        }
        let seconds = |contact: &Wanted| contact.expires.or(default).unwrap_or(EXPIRES_DEFAULT);
        for (contact, found) in &wanted {
            if found.and_then(|id| self.get(id)).is_some_and(is_late) {
                return (Outcome::Refused(500), changed);
            }
            if seconds(contact) > 0 && Duration::from_secs(seconds(contact).into()) < bounds.0 {
                return (Outcome::Refused(423), changed);
            }
        }
        let is_new = |(contact, found): &&(Wanted, Option<BindingId>)| seconds(contact) > 0 && found.is_none();
        if let Some(status) = self.has_no_room(request, wanted.iter().filter(is_new).count()) {
            return (Outcome::Refused(status), changed);
        }
        for (contact, found) in wanted {
            let expires = Duration::from_secs(seconds(&contact).into()).min(bounds.1);
            // The same may be there twice, and come or go by the first.
            let found = found.filter(|id| self.bindings.contains_key(id));
            let found = found.or_else(|| self.find(request, &contact));
            match self.bind(now, request, (contact, found), expires, host) {
                Ok(id) => changed.extend(id),
                Err(status) => return (Outcome::Refused(status), changed),
            }
        }
        (Outcome::Done, changed)
    }

    /// A contact of the process before. None: its host does not want it, or there is no room.
    pub(super) fn restore(
        &mut self,
        now: Instant,
        kept: KeptBinding,
        left: Duration,
        host: &mut dyn Host,
    ) -> Option<BindingId> {
        let name = name_of(&kept.user, &kept.domain);
        let beside = self.users.get(&name).map_or(0, Vec::len);
        if beside >= BINDINGS_PER_USER_MAX || self.bindings.len() >= BINDINGS_MAX {
            return None;
        }
        let binding = Binding {
            user: kept.user,
            domain: kept.domain,
            name: kept.name,
            contact: kept.contact,
            flow: Flow::datagrams(kept.peer),
            path: kept.path,
            instance: kept.instance,
            agent: kept.agent,
            call_id: kept.call_id,
            cseq: kept.cseq,
            end: now + left,
            outstanding_pings: 0,
        };
        self.begun += 1;
        let id = BindingId(self.begun);
        let granted = host.register(id, &binding, left).ok()?;
        let end = now + granted.min(left);
        self.users.entry(name).or_default().push(id);
        self.bindings.insert(id, Binding { end, ..binding });
        Some(id)
    }

    /// The status of the refusal, where there are too many.
    fn has_no_room(&self, request: &Request<'_>, new: usize) -> Option<u16> {
        if new == 0 {
            None
        } else if self.of_user(request.user, request.domain).len() + new > BINDINGS_PER_USER_MAX {
            Some(403)
        } else {
            (self.bindings.len() + new > BINDINGS_MAX).then_some(503)
        }
    }

    fn bind(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        (contact, found): (Wanted, Option<BindingId>),
        expires: Duration,
        host: &mut dyn Host,
    ) -> Result<Option<BindingId>, u16> {
        if expires.is_zero() {
            if let Some(id) = found {
                self.remove(id, host);
            }
            return Ok(found);
        }
        let message = request.message;
        let name = match message.to().map(|to| to.name) {
            Some(name) if contact.name.is_empty() => name,
            _ => contact.name,
        };
        let binding = Binding {
            user: request.user.to_owned(),
            domain: request.domain.to_owned(),
            name,
            contact: contact.contact,
            flow: request.flow,
            path: request.path.clone(),
            instance: contact.instance,
            agent: message.get("User-Agent").unwrap_or_default().chars().take(80).collect(),
            call_id: message.call_id().to_owned(),
            cseq: message.cseq().map_or(0, |(number, _)| number),
            end: now + expires,
            outstanding_pings: 0,
        };
        let id = match found {
            Some(id) => id,
            None => {
                self.begun += 1;
                BindingId(self.begun)
            }
        };
        let granted = host.register(id, &binding, expires)?;
        if found.is_none() {
            let name = name_of(&binding.user, &binding.domain);
            self.users.entry(name).or_default().push(id);
        }
        let end = now + granted.min(expires);
        let connection = binding.flow.connection;
        let was = self.bindings.insert(id, Binding { end, ..binding });
        if let Some(was) = was {
            self.connections.remove(&(was.flow.connection, id));
        }
        if connection != 0 {
            self.connections.insert((connection, id));
        }
        Ok(Some(id))
    }

    /// By its name for ever, or by its address.
    fn find(&self, request: &Request<'_>, contact: &Wanted) -> Option<BindingId> {
        let wanted = (contact.instance.as_deref(), contact.contact.as_str());
        let is_it = |binding: &Binding| is_same_device((binding.instance.as_deref(), &binding.contact), wanted);
        let mut all = self.of_user(request.user, request.domain).iter().copied();
        all.find(|id| self.bindings.get(id).is_some_and(is_it))
    }

    /// Takes a contact away, and tells.
    pub(super) fn remove(&mut self, id: BindingId, host: &mut dyn Host) {
        let Some(binding) = self.bindings.remove(&id) else {
            return;
        };
        self.connections.remove(&(binding.flow.connection, id));
        self.away.note(&binding);
        let key = name_of(&binding.user, &binding.domain);
        if let Some(all) = self.users.get_mut(&key) {
            all.retain(|other| *other != id);
            if all.is_empty() {
                self.users.remove(&key);
            }
        }
        host.unregister(id);
    }

    /// Of a 200: every contact of the user, and for how long (section 10.3, step 8). `gruus_of`: and the address of each device, made of
    /// that of the user.
    pub(super) fn contacts(&self, now: Instant, user: &str, domain: &str, gruus_of: Option<&str>) -> Vec<String> {
        let all = self.of_user(user, domain);
        let bindings = all.iter().filter_map(|id| self.bindings.get(id));
        let written = bindings.map(|binding| {
            let left = binding.end.saturating_duration_since(now).as_secs();
            let instance = binding
                .instance
                .as_ref()
                .map(|instance| format!(";+sip.instance=\"{instance}\""));
            let gruu = gruus_of.and_then(|address| binding.gruu(address));
            let gruu = gruu.map(|gruu| format!(";pub-gruu=\"{gruu}\""));
            let (instance, gruu) = (instance.unwrap_or_default(), gruu.unwrap_or_default());
            format!("<{}>;expires={left}{instance}{gruu}", binding.contact)
        });
        written.collect()
    }
}

fn wanted_of(contact: &str) -> Option<Wanted> {
    let contact = NameAddress::parse(contact)?;
    // `tel:` is no place.
    contact.address()?.host?;
    if contact.uri.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    let expires = contact
        .parameters
        .value("expires")
        .map(|seconds| seconds.parse().unwrap_or(EXPIRES_DEFAULT));
    let instance = contact.parameters.value("+sip.instance");
    Some(Wanted {
        expires,
        instance: instance.filter(|instance| instance.len() <= 128).map(str::to_owned),
        name: contact.name,
        contact: contact.uri,
    })
}

/// An `@` is in no domain.
pub(super) fn name_of(user: &str, domain: &str) -> String {
    [user, "@", domain].concat()
}

/// By its name for ever, where both have one, or by its contact.
pub(super) fn is_same_device(one: (Option<&str>, &str), other: (Option<&str>, &str)) -> bool {
    match (one.0, other.0) {
        (Some(one), Some(other)) => one == other,
        _ => is_same_place(one.1, other.1),
    }
}

/// Section 19.1.4, as far as contacts of telephones differ: user, host, port and transport.
fn is_same_place(one: &str, other: &str) -> bool {
    let place = |uri: &str| {
        let uri = Uri::parse(uri)?;
        let transport = uri.parameters.value("transport").unwrap_or("udp").to_ascii_lowercase();
        Some((
            uri.scheme == crate::message::syntax::Scheme::Sips,
            uri.user,
            uri.host,
            uri.port,
            transport,
        ))
    };
    one == other || place(one).is_some_and(|one| place(other) == Some(one))
}

/// Seconds, where nothing is said (section 10.2.1.1).
const EXPIRES_DEFAULT: u32 = 3600;
