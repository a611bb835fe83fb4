//! Trunks: carriers and PBXs that calls go out by and come in by. With each that wants it we register (RFC 3261, section 10)
//! and renew that before it ends; each is asked whether it is there. A trunk's number is the account that its calls are
//! known by, where it asks for a password.

mod calls;
mod health;
#[cfg(any(test, feature = "exercise"))]
mod invariants;
mod registration;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::digest::{Client, Secret};
use crate::flow::{Flow, Transport};
use crate::limits::{CERTIFICATE_NAMES_MAX, TRUNK_ADDRESSES_MAX, TRUNKS_MAX};
use crate::message::syntax::{Uri, escape, host_and_port};
use crate::transaction::ClientId;

use super::errands::Alarm;
use super::passing::Passes;
use super::{Agent, Event};

pub(super) use calls::ASSERTED;
use health::Health;
use registration::{Line, Registration};

/// One trunk, and the account by which its calls are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkId(pub u64);

/// A trunk as it is wanted. Where it is was found out before.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// The way to it.
    pub target: Flow,
    /// The domain of its addresses, as it wants to read it: a name or an address, and a port where it is not the usual one.
    pub domain: String,
    /// The user or the number that we are there. Empty: none, and then we cannot register.
    pub user: String,
    /// The name for its password, where that is not the user.
    pub login: Option<String>,
    /// What we answer where it asks who we are. None: nothing.
    pub secret: Option<Secret>,
    /// For how long to register, each time. None: we do not.
    pub registers: Option<Duration>,
    /// How often to ask whether it is there. Zero: never.
    pub ping: Duration,
    /// Further addresses that its calls come from.
    pub addresses: Vec<IpAddr>,
    /// The name in its certificate, in small letters. What comes from it is known by that alone, wherever it comes from. None: by its
    /// addresses.
    pub certificate_name: Option<String>,
    /// It is told by P-Asserted-Identity (RFC 3325) who calls: it believes us, and is believed.
    pub is_trusted: bool,
    /// Calls are from our own user there, whoever calls; who that is is told in P-Asserted-Identity alone.
    pub is_from_line: bool,
    /// Headers that are passed on, both ways.
    pub passes: Passes,
}

/// How a trunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrunkView {
    /// Are calls from it sent to us?
    pub registered: Registered,
    /// Does it answer?
    pub reachable: Reachable,
    /// Since when it does, or does not.
    pub since: Option<Instant>,
    /// How long its last answer to a ping took.
    pub round_trip: Option<Duration>,
    /// It wants no calls before (`Retry-After` of a 503).
    pub busy_until: Option<Instant>,
}

/// Whether we are registered with a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is not wanted.
    Unwanted,
    /// We are, until then unless it is renewed before.
    Until(Instant),
    /// We are not.
    Not {
        /// What was answered at last. 408: nothing. None: the first answer is waited for.
        status: Option<u16>,
        /// When it is tried again. None: it is being tried.
        again: Option<Instant>,
    },
}

/// Whether a trunk answers pings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachable {
    /// It was not asked, or has not answered yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not, or says that it takes nothing (503).
    Down,
}

/// What became of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkChange {
    /// We are registered with it.
    Registered,
    /// We are not, or not any more: the status that said so, 408 where nothing did.
    Unregistered(u16),
    /// It answers.
    Up,
    /// It does not answer.
    Down,
    /// It takes no calls for so long (`Retry-After` of a 503). It is told before the end of the call that it refused.
    Busy(Duration),
}

/// Why a trunk is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrunkError {
    /// There are [`TRUNKS_MAX`].
    #[error("there are as many trunks as there may be")]
    TooMany,
    /// More than [`TRUNK_ADDRESSES_MAX`].
    #[error("a trunk has too many addresses")]
    TooManyAddresses,
    /// The domain is neither a name nor an address.
    #[error("the domain of a trunk is none")]
    Domain,
    /// To register takes a user.
    #[error("a trunk to register with needs a user")]
    User,
}

/// One registration of ours, as long as its trunk knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LineKey(u64);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Trunks {
    held: BTreeMap<TrunkId, Held>,
    /// Those of trunks that are gone until they are taken back, too.
    registrations: HashMap<LineKey, Registration>,
    /// By what our Contact says there.
    lines: HashMap<String, TrunkId>,
    /// By where calls come from.
    addresses: BTreeSet<(IpAddr, TrunkId)>,
    /// Names in the certificates of who is at the other end of connections.
    certified: HashMap<u64, Vec<String>>,
}

#[derive(Debug)]
struct Held {
    trunk: Trunk,
    /// Of the domain, without its port.
    host: String,
    line: Option<LineKey>,
    health: Health,
    busy_until: Option<Instant>,
    /// The connection by which it spoke last. 0: none.
    connection: u64,
}

impl Held {
    fn certificate_name(&self) -> Option<&String> {
        self.trunk.certificate_name.as_ref()
    }
}

impl Trunk {
    /// One that we do not register with, and that is not asked whether it is there.
    pub fn to(target: Flow, domain: &str, user: &str) -> Self {
        Self {
            target,
            domain: domain.to_owned(),
            user: user.to_owned(),
            login: None,
            secret: None,
            registers: None,
            ping: Duration::ZERO,
            addresses: Vec::new(),
            certificate_name: None,
            is_trusted: false,
            is_from_line: false,
            passes: Passes::default(),
        }
    }

    /// Whether it can be taken.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self) -> Result<(), TrunkError> {
        self.host().map(drop)
    }

    /// The host of its domain.
    fn host(&self) -> Result<String, TrunkError> {
        let (host, _) = host_and_port(&self.domain).ok_or(TrunkError::Domain)?;
        if self.user.is_empty() && self.registers.is_some() {
            return Err(TrunkError::User);
        }
        if self.addresses.len() > TRUNK_ADDRESSES_MAX {
            return Err(TrunkError::TooManyAddresses);
        }
        Ok(host.to_string())
    }

    /// `sip:user@domain`, or without a user, as a Request-URI.
    fn uri(&self, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        let transport = self.target.transport.parameter();
        let transport = transport.map(|name| format!(";transport={name}")).unwrap_or_default();
        format!("sip:{}{at}{}{transport}", escape(user), self.domain)
    }

    /// Is a registration with the one good for the other?
    fn is_same_line(&self, other: &Self) -> bool {
        let line = |trunk: &Self| (trunk.target, trunk.domain.clone(), trunk.user.clone());
        line(self) == line(other) && other.registers.is_some()
    }
}

impl Agent {
    /// Takes a trunk, or another state of one, and registers with it at once.
    ///
    /// # Errors
    /// It cannot be taken, and what was before is as it was.
    pub fn set_trunk(&mut self, now: Instant, id: TrunkId, trunk: Trunk) -> Result<(), TrunkError> {
        let host = trunk.host()?;
        if self.trunks.held.len() >= TRUNKS_MAX && !self.trunks.held.contains_key(&id) {
            return Err(TrunkError::TooMany);
        }
        let before = self.take_trunk(id);
        let client = self.accounts.remove(&id.0);
        let (mut line, mut health, mut busy_until) = (None, Health::default(), None);
        if let Some(before) = before {
            if before.trunk.is_same_line(&trunk) {
                line = before.line;
            } else if let Some(line) = before.line {
                self.leave(now, line, client);
            }
            if before.trunk.target == trunk.target && before.trunk.domain == trunk.domain && !trunk.ping.is_zero() {
                (health, busy_until) = (before.health, before.busy_until);
            }
        }
        if let Some(secret) = trunk.secret.clone() {
            let login = trunk.login.as_deref().unwrap_or(&trunk.user);
            self.accounts.insert(id.0, Client::new(login, secret));
        }
        for ip in trunk.addresses.iter().chain([&trunk.target.peer.ip()]) {
            self.trunks.addresses.insert((ip.to_canonical(), id));
        }
        let registers = trunk.registers;
        if let Some(expires) = registers {
            line = Some(self.take_line(id, &trunk, &host, line, expires));
        }
        let held = Held {
            trunk,
            host,
            line,
            health,
            busy_until,
            connection: 0,
        };
        self.trunks.held.insert(id, held);
        self.name_streamed();
        if let Some(line) = line {
            self.register_again(now, line);
        }
        self.begin_pings(now, id);
        Ok(())
    }

    /// Forgets a trunk, and tells it that we are not there any more. Calls of it go on; where it asks who we are, they do not.
    /// False: there is none.
    pub fn remove_trunk(&mut self, now: Instant, id: TrunkId) -> bool {
        let Some(held) = self.take_trunk(id) else { return false };
        self.name_streamed();
        self.set_timer(super::Timer::Alarm(Alarm::Probe(id)), None);
        let client = self.accounts.remove(&id.0);
        if let Some(line) = held.line {
            self.leave(now, line, client);
        }
        true
    }

    /// Registers at once, and asks at once whether it is there: the network has changed, or somebody wants to know. False:
    /// there is none.
    pub fn refresh_trunk(&mut self, now: Instant, id: TrunkId) -> bool {
        let Some(held) = self.trunks.held.get(&id) else {
            return false;
        };
        if let Some(line) = held.line {
            self.register_again(now, line);
        }
        self.begin_pings(now, id);
        true
    }

    /// How a trunk is. None: there is none.
    pub fn trunk(&self, id: TrunkId) -> Option<TrunkView> {
        let held = self.trunks.held.get(&id)?;
        let registration = held.line.and_then(|line| self.trunks.registrations.get(&line));
        Some(TrunkView {
            registered: registration.map_or(Registered::Unwanted, Registration::view),
            reachable: held.health.reachable,
            since: held.health.since,
            round_trip: held.health.round_trip,
            busy_until: held.busy_until,
        })
    }

    /// What is too long for a datagram may go to trunks by a stream: they stay where they are.
    fn name_streamed(&mut self) {
        let targets = self.trunks.held.values().map(|held| &held.trunk.target);
        let peers = targets.filter(|target| target.transport == Transport::Udp);
        let peers = peers.map(|target| target.peer).collect();
        self.transactions.set_streamed(peers, self.settings.reached.tcp);
    }

    /// Is a connection that is to be opened for something there only because that is too long for a datagram?
    pub fn is_for_length(&self, flow: Flow) -> bool {
        let is_by_streams = |held: &Held| held.trunk.target == flow;
        self.transactions.is_for_length(flow) && !self.trunks.held.values().any(is_by_streams)
    }

    /// Every trunk.
    pub fn trunks(&self) -> impl Iterator<Item = TrunkId> {
        self.trunks.held.keys().copied()
    }

    /// Takes it out, with what it is found by.
    fn take_trunk(&mut self, id: TrunkId) -> Option<Held> {
        let held = self.trunks.held.remove(&id)?;
        for ip in held.trunk.addresses.iter().chain([&held.trunk.target.peer.ip()]) {
            self.trunks.addresses.remove(&(ip.to_canonical(), id));
        }
        Some(held)
    }

    /// The registration of a trunk: the one that there is, or another one.
    fn take_line(
        &mut self,
        id: TrunkId,
        trunk: &Trunk,
        host: &str,
        line: Option<LineKey>,
        expires: Duration,
    ) -> LineKey {
        let key = line.unwrap_or_else(|| {
            self.begun += 1;
            LineKey(self.begun)
        });
        if let Some(known) = self.trunks.registrations.get_mut(&key) {
            known.ask(expires);
            return key;
        }
        let token = self.random_text();
        let line = Line {
            trunk: id,
            flow: trunk.target,
            registrar: trunk.uri(""),
            address: super::address(&trunk.user, host),
            contact: self.line_contact(&trunk.user, &token, trunk.target.transport),
            token: token.clone(),
        };
        let names = (self.random_text(), self.random_text());
        let registration = Registration::new(line, names, expires);
        self.trunks.lines.insert(token, id);
        self.trunks.registrations.insert(key, registration);
        key
    }

    /// Our Contact, by which calls to it are known to be the trunk's.
    fn line_contact(&self, user: &str, token: &str, transport: Transport) -> String {
        let contact = self.contact(user, transport);
        format!("{};line={token}>", contact.trim_end_matches('>'))
    }

    /// A trunk on a stream speaks: what it wants of us comes by the same one.
    pub(super) fn note_trunk_connection(&mut self, flow: Flow) {
        if flow.connection == 0 || self.trunks.held.is_empty() {
            return;
        }
        let ip = flow.peer.ip().to_canonical();
        let Trunks { addresses, held, .. } = &mut self.trunks;
        for (_, id) in addresses.range((ip, TrunkId(0))..=(ip, TrunkId(u64::MAX))) {
            if let Some(held) = held
                .get_mut(id)
                .filter(|held| held.trunk.target.peer == flow.peer && held.trunk.target.transport == flow.transport)
            {
                held.connection = flow.connection;
            }
        }
    }

    /// Who is at the other end of a connection has shown a certificate with these names, which its host believes. True: a trunk has one
    /// of them.
    pub fn certify(&mut self, connection: u64, mut names: Vec<String>) -> bool {
        names.truncate(CERTIFICATE_NAMES_MAX);
        let mut all = self.trunks.held.values();
        let is_trunk = all.any(|held| held.certificate_name().is_some_and(|name| names.contains(name)));
        if connection != 0 && !names.is_empty() {
            self.trunks.certified.insert(connection, names);
        }
        is_trunk
    }

    /// The connection to a trunk is gone, and with it the way to us: we register by another one.
    pub(super) fn end_trunk_connection(&mut self, connection: u64) {
        self.trunks.certified.remove(&connection);
        let all = self.trunks.held.values_mut();
        let lines: Vec<LineKey> = all
            .filter(|held| connection != 0 && held.connection == connection)
            .filter_map(|held| {
                held.connection = 0;
                held.line
            })
            .collect();
        for line in lines {
            self.register_soon(line);
        }
    }

    fn tell_trunk(&mut self, trunk: TrunkId, change: TrunkChange) {
        self.events.push_back(Event::Trunk { trunk, change });
    }

    /// A trunk that takes nothing for a while.
    fn note_retry_after(&mut self, now: Instant, trunk: TrunkId, wait: Duration) {
        if let Some(held) = self.trunks.held.get_mut(&trunk) {
            held.busy_until = Some(now + wait);
            self.tell_trunk(trunk, TrunkChange::Busy(wait));
        }
    }
}

/// `Retry-After`, within bounds.
fn retry_after(response: &crate::message::Message) -> Option<Duration> {
    use crate::limits::{TRUNK_RETRY_AFTER_MAX, TRUNK_RETRY_AFTER_MIN};
    let seconds = response.number("Retry-After")?;
    let wait = Duration::from_secs(seconds.into());
    Some(wait.clamp(TRUNK_RETRY_AFTER_MIN, TRUNK_RETRY_AFTER_MAX))
}

/// Of `<uri>`.
fn uri_of(contact: &str) -> Option<Uri> {
    crate::message::syntax::NameAddress::parse(contact)?.address()
}

#[cfg(test)]
impl Trunks {
    /// Of each table how many.
    pub(super) fn counts(&self) -> [usize; 5] {
        [
            self.held.len(),
            self.registrations.len(),
            self.lines.len(),
            self.addresses.len(),
            self.certified.len(),
        ]
    }
}

#[cfg(test)]
mod tests;
