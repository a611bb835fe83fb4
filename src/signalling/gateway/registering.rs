//! Telephones register: each contact is a device of its number.

use std::collections::HashMap;
use std::time::Duration;

use moqswitch_calls::{Event, RegisterEvent, Registration, SessionId, Text};
use moqswitch_sip::agent::{Access, Binding, BindingId, Host, Watch, Watched};
use moqswitch_sip::digest::{Algorithm, Ha1};
use moqswitch_sip::flow::Flow;
use moqswitch_sip::guard::{self, Guard, Load, Traffic, Verdict};

use super::codecs;
use crate::exchange::Exchange;

/// Which session is of which contact.
#[derive(Debug)]
pub(super) struct Registry {
    /// Who may send, and what may begin.
    pub(super) guard: Guard,
    sessions: HashMap<BindingId, SessionId>,
    bindings: HashMap<SessionId, BindingId>,
}

/// What the agent asks.
pub(super) struct Door<'a> {
    registry: &'a mut Registry,
    exchange: &'a mut Exchange,
}

impl Registry {
    pub(super) fn new(guard: guard::Settings) -> Self {
        Self {
            guard: Guard::new(guard),
            sessions: HashMap::new(),
            bindings: HashMap::new(),
        }
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

    /// The session is over, whatever the contact says. None: it has no contact.
    pub(super) fn forget(&mut self, session: SessionId) -> Option<BindingId> {
        let binding = self.bindings.remove(&session)?;
        self.sessions.remove(&binding);
        Some(binding)
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
        let known = self.registry.session(id);
        let session = known.unwrap_or_else(|| self.exchange.new_session());
        // Its name for ever, or where it is: so a telephone that was started again takes its own place.
        let device = binding.instance.as_deref().unwrap_or(&binding.contact);
        let device = device.trim_matches(['<', '>']);
        let registration = Registration {
            device: Some(Text::new(device)),
            display_name: Text::new(&binding.name),
            expires: Some(expires),
            meets: false,
            codecs: codecs::of_telephones(),
            contact: Text::new(&binding.flow.peer.to_string()),
            agent: Text::new(&binding.agent),
            ..Registration::phone(session, number)
        };
        if known.is_none() {
            self.exchange.outlet.insert(session);
            // Another contact of the same name was there: it is told, and goes.
            self.registry.sessions.insert(id, session);
            self.registry.bindings.insert(session, id);
        }
        match self.exchange.register_device(registration) {
            Ok(granted) => Ok(granted),
            Err(refusal) => {
                if known.is_none() {
                    self.registry.forget(session);
                    self.exchange.outlet.remove(session);
                }
                Err(super::telling::status_of(refusal))
            }
        }
    }

    fn watch(&mut self, watch: &Watch) -> Result<Watched, u16> {
        let number = self.exchange.sip_number(&watch.user, &watch.domain).ok_or(404_u16)?;
        // Who is not there may come: that is what lamps are for.
        if self
            .exchange
            .sip_access(&watch.user, &watch.domain, watch.flow.peer.ip())
            == Access::Unknown
            && self.exchange.plane().number(&number).is_none()
        {
            return Err(404);
        }
        Ok(self.exchange.sip_state(&number, watch.package))
    }

    fn weigh(&mut self, traffic: Traffic, load: Load) -> Verdict {
        // Any bits will do: nobody should come back in the same second as everybody else.
        let jitter = u32::try_from(self.exchange.new_session().0 & 0xFFFF).unwrap_or(0);
        self.registry.guard.weigh(traffic, load, jitter)
    }

    fn unregister(&mut self, id: BindingId) {
        let Some(session) = self.registry.session(id) else {
            return;
        };
        self.registry.forget(session);
        self.exchange.unregister_device(session);
    }
}

impl Exchange {
    /// A device that has no socket. Refused as any other.
    pub(super) fn register_device(&mut self, registration: Registration) -> Result<Duration, moqswitch_calls::Refusal> {
        let asked = registration.expires.unwrap_or_default();
        let registration = Box::new(registration);
        let reply = self.ask_now(|request| Event::Register(RegisterEvent::Register { request, registration }));
        match reply {
            moqswitch_calls::Reply::Registered(registered) => Ok(registered.expires.min(asked)),
            moqswitch_calls::Reply::Refused(refusal) => Err(refusal),
            _ => Err(moqswitch_calls::Refusal::Malformed),
        }
    }

    pub(super) fn unregister_device(&mut self, session: SessionId) {
        // Who is not there needs not go.
        let _ = self.ask_now(|request| Event::Register(RegisterEvent::Unregister { request, session }));
        self.outlet.remove(session);
    }
}
