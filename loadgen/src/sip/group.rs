//! A group of telephones: one user agent on one socket, and how they register.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_sip::agent::{
    Access, Agent, Binding, BindingId, Call, Event, Host, LegKey, Reached, Settings, Target, address,
};
use moqswitch_sip::digest::{Algorithm, Ha1, Secret};
use moqswitch_sip::flow::{self, Flow};
use moqswitch_sip::guard::{Load, Traffic, Verdict};
use moqswitch_sip::message::Message;

use crate::load::Transport;

use super::random::Random;
use super::registrar::{Asked, Registrar, Registration, USER_AGENT};

pub(super) struct Group {
    pub(super) agent: Agent,
    registrar: Registrar,
    flow: Flow,
    domain: String,
    password: Option<String>,
}

/// What a group is made of.
#[derive(Clone, Debug)]
pub(super) struct GroupPlan {
    /// Among those of the shard.
    pub(super) index: usize,
    pub(super) switch: SocketAddr,
    pub(super) transport: Transport,
    pub(super) local: SocketAddr,
    /// Of addresses.
    pub(super) domain: String,
    pub(super) password: Option<String>,
    /// Another one for each group of each process, each time.
    pub(super) seed: u64,
}

impl Group {
    pub(super) fn new(plan: &GroupPlan, now: Instant) -> Self {
        let flow = match plan.transport {
            Transport::Udp => Flow::datagrams(plan.switch),
            Transport::Tcp => Flow {
                transport: flow::Transport::Tcp,
                peer: plan.switch,
                connection: plan.index as u64 + 1,
            },
        };
        let reached = Reached {
            udp: plan.local,
            tcp: plan.local,
            tls: plan.local,
        };
        let settings = Settings {
            agent: USER_AGENT.to_owned(),
            ping: Duration::ZERO,
            ..Settings::at(reached, &plan.domain)
        };
        let mut random = Random::new(plan.seed);
        let own = Random::new(!plan.seed);
        Self {
            agent: Agent::new(settings, now, Box::new(move || random.next())),
            registrar: Registrar::new(flow, plan.local, &plan.domain, plan.password.clone(), own),
            flow,
            domain: plan.domain.clone(),
            password: plan.password.clone(),
        }
    }

    /// A telephone that may be asked for its password in calls.
    pub(super) fn let_in(&mut self, phone: usize, number: &str) {
        if let Some(password) = self.password.clone() {
            self.agent.set_account(phone as u64, number, Secret::Password(password));
        }
    }

    pub(super) fn register(&mut self, now: Instant, asked: Asked<'_>) {
        self.registrar.register(now, asked);
    }

    /// Calls somebody. `None`: the agent has no room.
    pub(super) fn call(&mut self, now: Instant, phone: usize, from: &str, to: &str, offer: String) -> Option<LegKey> {
        let to = address(to, &self.domain);
        let call = Call {
            target: Target {
                flow: self.flow,
                uri: to.clone(),
                route: Vec::new(),
            },
            from: (from.to_owned(), String::new()),
            to,
            offer,
            headers: Vec::new(),
            account: self.password.as_ref().map(|_| phone as u64),
            max_forwards: None,
        };
        self.agent.call(now, call).ok()
    }

    /// Takes a message that came.
    pub(super) fn receive(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        if is_of_register(bytes)
            && let Ok(message) = Message::parse(bytes)
        {
            return self.registrar.receive(now, message);
        }
        let flow = match self.flow.transport {
            flow::Transport::Udp => Flow::datagrams(source),
            _ => self.flow,
        };
        self.agent.receive(now, flow, bytes, &mut Open);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.agent.poll_timeout().is_some_and(|due| due <= now) {
            self.agent.handle_timeout(now, &mut Open);
        }
        if self.registrar.poll_timeout().is_some_and(|due| due <= now) {
            self.registrar.handle_timeout(now);
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.agent.poll_event()
    }

    pub(super) fn poll_registration(&mut self) -> Option<Registration> {
        self.registrar.poll_ended()
    }

    pub(super) fn poll_send(&mut self) -> Option<(Flow, Arc<[u8]>)> {
        self.agent.poll_send().or_else(|| self.registrar.poll_send())
    }
}

/// Whether it is an answer to a REGISTER, without reading all of it.
fn is_of_register(bytes: &[u8]) -> bool {
    bytes.starts_with(b"SIP/2.0 ") && bytes.windows(REGISTER.len()).any(|window| window == REGISTER)
}

/// The end of `CSeq`.
const REGISTER: &[u8] = b" REGISTER\r\n";

/// Telephones let everybody call them.
struct Open;

impl Host for Open {
    fn access(&mut self, _: &str, _: &str, _: Flow) -> Access {
        Access::Open
    }

    fn secret(&mut self, _: &str, _: &str, _: Algorithm) -> Option<Ha1> {
        None
    }

    /// Nobody registers at a telephone.
    fn register(&mut self, _: BindingId, _: &Binding, _: Duration) -> Result<Duration, u16> {
        Err(405)
    }

    fn weigh(&mut self, _: Traffic, _: Load) -> Verdict {
        Verdict::Accept
    }

    fn unregister(&mut self, _: BindingId) {}
}
