//! Telephones register: each contact is a device of its number.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use moqswitch_calls::{DeviceKind, Event, Number, RegisterEvent, Registration, SessionId, Text};
use moqswitch_sip::agent::{Access, Binding, BindingId, Host, Watch, Watched};
use moqswitch_sip::digest::{Algorithm, Ha1};
use moqswitch_sip::flow::Flow;
use moqswitch_sip::guard::{self, Guard, Load, Traffic, Verdict};

use super::{Gateway, codecs};
use crate::exchange::Exchange;
use crate::limits::SIP_EXPIRES_MARGIN;

/// Which session is of which contact.
#[derive(Debug)]
pub(super) struct Registry {
    /// For how long there has been something to read all the time.
    pub(super) behind: Duration,
    /// How late this thread is.
    pub(super) lag: Duration,
    /// Who may send, and what may begin.
    pub(super) guard: Guard,
    sessions: HashMap<BindingId, SessionId>,
    bindings: HashMap<SessionId, BindingId>,
    devices: HashMap<BindingId, Known>,
    names: HashMap<(Number, String), BindingId>,
    /// Contacts that are gone, and have calls still.
    leaving: HashMap<SessionId, (Number, String)>,
    /// Connections on which somebody has registered.
    proven: Vec<u64>,
}

/// What a contact is to the plane.
#[derive(Debug)]
struct Known {
    number: Number,
    name: String,
    /// By which it was let in.
    secret: Option<Ha1>,
}

impl Known {
    /// By which it is noted.
    fn key(&self) -> String {
        format!("{} {}", self.number, self.name)
    }
}

/// What the agent asks.
pub(super) struct Door<'a> {
    registry: &'a mut Registry,
    exchange: &'a mut Exchange,
}

impl Registry {
    pub(super) fn new(guard: guard::Settings) -> Self {
        Self {
            behind: Duration::ZERO,
            lag: Duration::ZERO,
            guard: Guard::new(guard),
            sessions: HashMap::new(),
            bindings: HashMap::new(),
            devices: HashMap::new(),
            names: HashMap::new(),
            leaving: HashMap::new(),
            proven: Vec::new(),
        }
    }

    /// Somebody was let in on this connection. 0: it is none.
    pub(super) fn prove(&mut self, connection: u64) {
        if connection != 0 && !self.proven.contains(&connection) {
            self.proven.push(connection);
        }
    }

    /// A connection on which somebody was let in, each once or more.
    pub(super) fn poll_proven(&mut self) -> Option<u64> {
        self.proven.pop()
    }

    /// What a device is called: by its own name for ever, or by where it is, so that a telephone that was started again takes
    /// its own place. What else is in its contact may be another each time.
    fn name(&self, id: BindingId, binding: &Binding, number: &Number) -> String {
        if let Some(known) = self.devices.get(&id) {
            return known.name.clone();
        }
        let name = match &binding.instance {
            Some(instance) => instance.trim_matches(['<', '>']).to_owned(),
            None => place_of(&binding.contact),
        };
        match self.names.contains_key(&(number.clone(), name.clone())) {
            // The same telephone under another domain that means the same.
            true => format!("{name} {}", binding.domain),
            false => name,
        }
    }

    /// A session that it left, with calls that go on.
    pub(super) fn left(&mut self, number: &Number, name: &str) -> Option<SessionId> {
        let mut leaving = self.leaving.iter();
        let (session, _) = leaving.find(|(_, (own, known))| own == number && known == name)?;
        let session = *session;
        self.leaving.remove(&session);
        Some(session)
    }

    /// A device is gone, and has calls still: they go on, and end as they end. It is not rung meanwhile.
    pub(super) fn leave(
        &mut self,
        exchange: &mut Exchange,
        session: SessionId,
        gone: (Number, String),
        kind: DeviceKind,
    ) {
        let (number, name) = &gone;
        let registration = Registration {
            device: Some(Text::new(name)),
            kind,
            ringable: false,
            meets: false,
            expires: Some(LEAVING),
            codecs: codecs::of_telephones(),
            ..Registration::phone(session, number.clone())
        };
        match exchange.register_device(registration) {
            Ok(_) => drop(self.leaving.insert(session, gone)),
            Err(_) => exchange.unregister_device(session),
        }
    }

    /// Its last call is over.
    pub(super) fn has_left(&mut self, session: SessionId) -> bool {
        self.leaving.remove(&session).is_some()
    }

    pub(super) fn is_leaving(&self, session: SessionId) -> bool {
        self.leaving.contains_key(&session)
    }

    pub(super) fn host<'a>(&'a mut self, exchange: &'a mut Exchange) -> Door<'a> {
        Door {
            registry: self,
            exchange,
        }
    }

    pub(super) fn session(&self, binding: BindingId) -> Option<SessionId> {
        self.sessions.get(&binding).copied()
    }

    pub(super) fn binding(&self, session: SessionId) -> Option<BindingId> {
        self.bindings.get(&session).copied()
    }

    /// The session is over, and nothing of it is to outlive the process.
    pub(super) fn turn_away(&mut self, exchange: &Exchange, session: SessionId) -> Option<BindingId> {
        let known = self.binding(session).and_then(|id| self.devices.get(&id));
        if let Some(known) = known {
            exchange.note_no_contact(known.key());
        }
        self.forget(session)
    }

    /// The session is over, whatever the contact says. None: it has no contact.
    pub(super) fn forget(&mut self, session: SessionId) -> Option<BindingId> {
        let binding = self.bindings.remove(&session)?;
        self.sessions.remove(&binding);
        if let Some(known) = self.devices.remove(&binding) {
            self.names.remove(&(known.number, known.name));
        }
        Some(binding)
    }
}

impl Registry {
    fn is_let_in(&self, exchange: &Exchange, id: BindingId, binding: &Binding) -> bool {
        let (user, domain) = (&binding.user, &binding.domain);
        match exchange.sip_access(user, domain, binding.flow.peer.ip()) {
            Access::Unknown(_) => false,
            Access::Open => true,
            Access::Password(_) => {
                let secret = exchange.sip_secret(user, domain, Algorithm::Md5);
                self.devices.get(&id).is_some_and(|known| known.secret == secret)
            }
        }
    }
}

impl Host for Door<'_> {
    fn access(&mut self, user: &str, domain: &str, flow: Flow) -> Access {
        self.exchange.sip_access(user, domain, flow.peer.ip())
    }

    fn secret(&mut self, user: &str, domain: &str, algorithm: Algorithm) -> Option<Ha1> {
        self.exchange.sip_secret(user, domain, algorithm)
    }

    fn register(&mut self, id: BindingId, binding: &Binding, expires: Duration) -> Result<Duration, u16> {
        let number = self
            .exchange
            .sip_number(&binding.user, &binding.domain)
            .ok_or(404_u16)?;
        // Its user is another number than before, by another directory.
        let is_another = self
            .registry
            .devices
            .get(&id)
            .is_some_and(|known| known.number != number);
        if let Some(session) = self.registry.session(id).filter(|_| is_another) {
            self.registry.turn_away(self.exchange, session);
            self.exchange.unregister_device(session);
        }
        let known = self.registry.session(id);
        let name = self.registry.name(id, binding, &number);
        let session = known
            .or_else(|| self.registry.left(&number, &name))
            .unwrap_or_else(|| self.exchange.new_session());
        let secret = self.exchange.sip_secret(&binding.user, &binding.domain, Algorithm::Md5);
        let registration = Registration {
            device: Some(Text::new(&name)),
            display_name: self.exchange.sip_name(&number, &binding.name),
            // The agent ends it; the plane would end its calls with it.
            expires: Some(expires + SIP_EXPIRES_MARGIN),
            meets: false,
            codecs: codecs::of_telephones(),
            contact: Text::new(&binding.flow.peer.to_string()),
            agent: Text::new(&binding.agent),
            ..Registration::phone(session, number.clone())
        };
        if known.is_none() {
            self.exchange.outlet.insert(session);
            // Another contact of the same name was there: it is told, and goes.
            self.registry.sessions.insert(id, session);
            self.registry.bindings.insert(session, id);
            self.registry.names.insert((number.clone(), name.clone()), id);
        }
        let own = Known { number, name, secret };
        let (key, secret) = (own.key(), own.secret.clone());
        self.registry.devices.insert(id, own);
        match self.exchange.register_device(registration) {
            Ok(granted) => {
                self.registry.prove(binding.flow.connection);
                let granted = granted.min(expires);
                match binding.kept() {
                    Some(kept) => self.exchange.note_contact(key, kept, secret.as_ref(), granted),
                    None => self.exchange.note_no_contact(key),
                }
                Ok(granted)
            }
            Err(refusal) => {
                if known.is_none() {
                    self.registry.turn_away(self.exchange, session);
                    // It may have had calls, of which it knows nothing any more.
                    self.exchange.unregister_device(session);
                }
                Err(super::telling::status_of(refusal))
            }
        }
    }

    fn watch(&mut self, watch: &Watch) -> Result<Watched, u16> {
        let domain = self.exchange.sip_domain(&watch.domain, &watch.watcher.1);
        let number = self.exchange.sip_number(&watch.user, domain).ok_or(404_u16)?;
        // Who is not there may come: that is what lamps are for.
        let access = self.exchange.sip_access(&watch.user, domain, watch.flow.peer.ip());
        if matches!(access, Access::Unknown(_)) && self.exchange.plane().number(&number).is_none() {
            return Err(404);
        }
        Ok(self.exchange.sip_state(&number, watch.package))
    }

    fn publish(&mut self, user: &str, domain: &str) -> Result<(), u16> {
        let number = self.exchange.sip_number(user, domain).ok_or(404_u16)?;
        // It says how the user of a telephone is that is there.
        self.exchange.plane().number(&number).map(drop).ok_or(404)
    }

    fn text(&mut self, text: &moqswitch_sip::agent::Text) -> u16 {
        self.exchange.sip_takes_texts(text)
    }

    fn weigh(&mut self, traffic: Traffic, load: Load) -> Verdict {
        // A call takes the thread twice before it rings: for its INVITE, and for what its callee says.
        let behind = self.registry.behind.max(self.registry.lag * 2);
        let load = Load { behind, ..load };
        // Any bits will do: nobody should come back in the same second as everybody else.
        let jitter = u32::try_from(self.exchange.new_session().0 & 0xFFFF).unwrap_or(0);
        self.registry.guard.weigh(traffic, load, jitter)
    }

    fn unregister(&mut self, id: BindingId) {
        let Some(session) = self.registry.session(id) else {
            return;
        };
        let known = self.registry.devices.get(&id);
        let known = known.map(|known| (known.number.clone(), known.name.clone()));
        self.registry.turn_away(self.exchange, session);
        match known.filter(|(number, _)| self.exchange.has_legs(number, session)) {
            Some(gone) => self.registry.leave(self.exchange, session, gone, DeviceKind::Phone),
            None => self.exchange.unregister_device(session),
        }
    }
}

impl Gateway {
    /// Telephones of the process before are rung where they were. What was called there is not known any more.
    pub(crate) fn restore(&mut self, exchange: &mut Exchange) {
        let now = Instant::now();
        let contacts = exchange.take_contacts();
        let count = contacts.len();
        let mut host = self.registry.host(exchange);
        let restored = contacts
            .into_iter()
            .filter(|(kept, left)| self.agent.restore(now, kept.clone(), *left, &mut host))
            .count();
        if count > 0 {
            tracing::info!(restored, count, "telephones of SIP are known from before the start");
        }
    }

    /// Who is not let in any more, or has another password, goes with its calls.
    pub(super) fn turn_out(&mut self, exchange: &mut Exchange) {
        let bindings = self.agent.bindings();
        let out = bindings.filter(|(id, binding)| !self.registry.is_let_in(exchange, *id, binding));
        let out: Vec<BindingId> = out.map(|(id, _)| id).collect();
        for id in out {
            if let Some(session) = self.registry.session(id) {
                self.registry.turn_away(exchange, session);
                exchange.unregister_device(session);
            }
            let mut host = self.registry.host(exchange);
            self.agent.unregister(id, &mut host);
        }
    }

    /// One of its calls is over, and it may have been the last that a contact stayed for.
    pub(super) fn end_leaving(&mut self, exchange: &mut Exchange, session: SessionId) {
        let has_call = || self.calls.values().any(|call| call.session == session);
        if self.registry.is_leaving(session) && !has_call() {
            self.registry.has_left(session);
            exchange.unregister_device(session);
        }
    }
}

/// The address of a contact, without what it says beside.
fn place_of(contact: &str) -> String {
    let address = contact.trim_matches(['<', '>']);
    let end = address.find([';', '?', '>']).unwrap_or(address.len());
    address.get(..end).unwrap_or(address).to_owned()
}

/// Longer than any call.
const LEAVING: Duration = Duration::from_secs(24 * 60 * 60);

impl Exchange {
    fn has_legs(&self, number: &Number, session: SessionId) -> bool {
        let view = self.plane().number(number);
        let mut devices = view.into_iter().flat_map(|view| view.devices);
        devices.any(|device| device.session == session && !device.legs.is_empty())
    }

    /// The name of a user for others. A device has a say where the switch has none.
    fn sip_name(&self, number: &Number, said: &str) -> Text {
        let users = self.sip_entrance.users.as_ref();
        let own = users.and_then(|users| users.name(number));
        own.cloned().unwrap_or_else(|| Text::new(said))
    }

    /// A device that has no socket. Refused as any other.
    pub(crate) fn register_device(&mut self, registration: Registration) -> Result<Duration, moqswitch_calls::Refusal> {
        let asked = registration.expires.unwrap_or_default();
        let registration = Box::new(registration);
        let reply = self.ask_now(|request| Event::Register(RegisterEvent::Register { request, registration }));
        match reply {
            moqswitch_calls::Reply::Registered(registered) => Ok(registered.expires.min(asked)),
            moqswitch_calls::Reply::Refused(refusal) => Err(refusal),
            _ => Err(moqswitch_calls::Refusal::Malformed),
        }
    }

    pub(crate) fn unregister_device(&mut self, session: SessionId) {
        // Who is not there needs not go.
        let _ = self.ask_now(|request| Event::Register(RegisterEvent::Unregister { request, session }));
        self.outlet.remove(session);
    }
}
