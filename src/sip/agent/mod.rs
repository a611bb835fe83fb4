//! One user agent with many legs: what a switch is to telephones (a B2BUA, RFC 7092). Each leg is a dialog of its own, with
//! one peer; what is heard on one and said on another is decided by whoever drives the agent.
//!
//! Pure: messages that came and what time it is go in; messages to send, and [`Event`]s, come out.
//!
//! What one datagram causes, as anybody may write any address on it:
//! - Who is not let in by address or password gets one answer, at the address that it came from, and nothing is kept of it. It
//!   is up to 4.3 times as long as the shortest request, and never sent again by itself.
//! - An INVITE of who is let in is answered for up to 32 s, 11 times, as is any (RFC 3261, sections 13.3.1.4 and 17.2.1);
//!   and so is what is asked of its Contact. Only who has an address that is let in without a password, or knows one and can
//!   be reached (a nonce is good for one address), has this done.
//! - An answer to a request of ours causes an ACK, and of INVITEs a PRACK, or a BYE for one that comes too late: up to
//!   [`PROVISIONALS_MAX`](crate::limits::PROVISIONALS_MAX) and [`FORKS_MAX`](crate::limits::FORKS_MAX) for each. Its branch has
//!   64 random bits: only who has the request can answer it.

mod accounts;
mod answers;
mod choosing;
mod dialog;
mod errands;
mod event;
mod flows;
mod forks;
mod gruu;
mod incoming;
mod inside;
#[cfg(any(test, feature = "exercise"))]
mod invariants;
mod leg;
mod numbers;
mod outgoing;
mod passing;
mod referring;
mod registering;
mod registrar;
mod replacing;
mod texts;
mod timers;
mod trunks;
mod watching;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::{Algorithm, Challenger, Client};
use crate::flow::{Flow, Transport};
use crate::guard::{Load, Traffic, Verdict};
use crate::limits::{EXPIRES_MAX, EXPIRES_MIN, PING_INTERVAL};
use crate::message::{Message, Method};
use crate::transaction::{ClientId, Received, ServerId, Transactions};

pub use choosing::{Member, NoTrunk, TrunkGroup, TrunkLoads, fails_over};
pub use event::{
    Access, BindingId, Caller, End, EndedBy, Event, Forward, Host, Invited, LegKey, Named, Noticed, Reached, Target,
};
pub use numbers::{NumberRule, NumberRules, TooManyRules};
pub use outgoing::{Call, address};
pub use passing::{Passes, PassesError};
pub use registrar::{Binding, KeptBinding};
pub use texts::{Letter, Text, TextError, TextId};
pub use trunks::{Reachable, Registered, Trunk, TrunkChange, TrunkError, TrunkId, TrunkView};
pub use watching::{
    Activity, DialogStage, Over, Package, Presence, SubscriptionId, Waiting, Watch, Watched, WatchedDialog,
};

use accounts::Asked;
use errands::{Alarm, Errand};
use flows::Flows;
use leg::Leg;
use referring::Referring;
use registrar::Registrar;
use replacing::Bygone;
use trunks::Trunks;
use watching::Watching;

/// How the agent behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is reached, as it says in Via and Contact.
    pub reached: Reached,
    /// Of digest authentication, and the domain of addresses of ours.
    pub realm: String,
    /// What is offered for passwords, in this order.
    pub algorithms: Vec<Algorithm>,
    /// What it calls itself.
    pub agent: String,
    /// Registrations are at least so long: shorter ones are refused (423).
    pub expires_min: Duration,
    /// And at most so long: longer ones are cut.
    pub expires_max: Duration,
    /// Contacts are asked whether they are there, so often. Zero: never.
    pub ping: Duration,
}

impl Settings {
    /// The usual ones.
    pub fn at(reached: Reached, realm: &str) -> Self {
        Self {
            reached,
            realm: realm.to_owned(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            agent: "moqswitch".to_owned(),
            expires_min: EXPIRES_MIN,
            expires_max: EXPIRES_MAX,
            ping: PING_INTERVAL,
        }
    }
}

/// See the module's documentation.
pub struct Agent {
    settings: Settings,
    random: Box<dyn FnMut() -> u128 + Send>,
    started: Instant,
    transactions: Transactions,
    /// Of digest authentication, by realm.
    challengers: HashMap<String, Challenger>,
    key: [u8; 32],
    registrar: Registrar,
    legs: HashMap<LegKey, Leg>,
    /// By call and our tag.
    dialogs: HashMap<(String, String), LegKey>,
    /// Calls that came, by their name and the peer's tag, with the number of the INVITE.
    called: HashMap<(String, String), (LegKey, u32)>,
    servers: HashMap<ServerId, LegKey>,
    clients: HashMap<ClientId, Purpose>,
    /// Of those that are sent once more where somebody asks who we are.
    asked: HashMap<ClientId, Asked>,
    /// Of INVITEs of ours, by whom they were answered too late: tags.
    unwanted: HashMap<ClientId, Vec<String>>,
    /// By trunk, where it is one's.
    accounts: HashMap<u64, Client>,
    trunks: Trunks,
    watching: Watching,
    /// Those that are not answered yet.
    texts: HashSet<TextId>,
    flows: Flows,
    referring: HashMap<LegKey, Referring>,
    bygone: Bygone,
    timers: BTreeSet<(Instant, Timer)>,
    /// What each timer is set to.
    set: HashMap<Timer, Instant>,
    begun: u64,
    events: VecDeque<Event>,
}

/// Whose request it was that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Invite(LegKey),
    Offer(LegKey),
    /// Whose answer changes nothing, unless it says that the dialog is not there.
    Inside(LegKey),
    /// Whose answer changes nothing.
    Prack(LegKey),
    /// What became of a transfer is told by it.
    Notify(LegKey),
    Ping(BindingId),
    Errand(Errand),
    /// The last one of a dialog, or of what is in that of a leg. Its answer changes nothing.
    Last(Option<LegKey>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Timer {
    Leg(LegKey),
    Expiry(BindingId),
    Ping(BindingId),
    Alarm(Alarm),
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Agent")
            .field("legs", &self.legs.len())
            .field("bindings", &self.registrar.len())
            .field("transactions", &self.transactions.count())
            .finish()
    }
}

impl Agent {
    /// `random`: 128 bits that nobody can guess, each time.
    pub fn new(settings: Settings, now: Instant, mut random: Box<dyn FnMut() -> u128 + Send>) -> Self {
        Self {
            challengers: HashMap::new(),
            key: draw_key(&mut random),
            settings,
            random,
            started: now,
            transactions: Transactions::default(),
            registrar: Registrar::default(),
            legs: HashMap::new(),
            dialogs: HashMap::new(),
            called: HashMap::new(),
            servers: HashMap::new(),
            clients: HashMap::new(),
            asked: HashMap::new(),
            unwanted: HashMap::new(),
            accounts: HashMap::new(),
            trunks: Trunks::default(),
            watching: Watching::default(),
            texts: HashSet::new(),
            flows: Flows::default(),
            referring: HashMap::new(),
            bygone: Bygone::default(),
            timers: BTreeSet::new(),
            set: HashMap::new(),
            begun: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes a datagram, or one whole message of a stream.
    pub fn receive(&mut self, now: Instant, flow: Flow, bytes: &[u8], host: &mut dyn Host) {
        // Keep-alives of datagrams: nothing is said to them (RFC 5626 has STUN for that, others send empty lines).
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return;
        }
        self.note_trunk_connection(flow);
        match Message::parse(bytes) {
            Ok(message) if self.is_turned_away(flow, &message, host) => {}
            Ok(message) => match self.transactions.receive(now, flow, message) {
                Received::Nothing => {}
                Received::Request(id, message) => self.take_request(now, flow, id, *message, host),
                Received::Ack(message) => self.take_ack(now, &message),
                Received::Cancel(id) => self.take_cancel(now, id),
                Received::Response(id, message) => self.take_response(now, id, *message),
            },
            Err(refused) => {
                self.notice(flow, Noticed::Malformed);
                if let Some((status, message)) = refused.answer {
                    self.refuse_malformed(flow, status, *message);
                }
            }
        }
        self.end_transactions(now);
    }

    /// With too much to do, what begins is answered without being remembered, or not at all.
    fn is_turned_away(&mut self, flow: Flow, message: &Message, host: &mut dyn Host) -> bool {
        let Some(method) = message.method() else { return false };
        let traffic = Traffic::of_request(method.name(), message.to_tag().is_some());
        if traffic == Traffic::Ongoing || self.transactions.knows(flow, message) {
            return false;
        }
        let load = Load {
            transactions: self.transactions.open(),
            legs: self.legs.len(),
            // What waits before us our host knows.
            behind: Duration::ZERO,
        };
        match host.weigh(traffic, load) {
            Verdict::Accept => false,
            Verdict::Drop => true,
            Verdict::Unavailable { retry_after_s } => {
                let mut request = message.clone();
                let reply = Transactions::reply_to(&mut request, flow);
                let mut response = Message::response(&request, 503, reason_of(503));
                self.add_tag(&mut response);
                response.push("Retry-After", retry_after_s.to_string());
                response.push("Server", &self.settings.agent);
                self.transactions.send(reply, &response);
                true
            }
        }
    }

    /// A connection is gone. Contacts and watchers that were reached by it are not reached any more; calls go on, by the next
    /// connection by which the same device registers.
    pub fn connection_closed(&mut self, connection: u64, host: &mut dyn Host) {
        self.end_watches_of_connection(connection);
        self.end_trunk_connection(connection);
        for id in self.registrar.of_connection(connection) {
            self.forget_binding(id, host);
        }
        self.cut_legs(connection);
    }

    /// No connection to a peer could be opened. What was too long for a datagram goes as one; a trunk that is reached by streams
    /// alone is not there.
    pub fn connection_refused(&mut self, now: Instant, peer: SocketAddr) {
        self.transactions.refuse_streams(now, peer);
        self.probes_refused(now, peer);
    }

    /// There is no place for a connection to a peer that was to carry what is too long for a datagram.
    pub fn connection_missing(&mut self, now: Instant, peer: SocketAddr) {
        self.transactions.leave_streams(now, peer);
    }

    /// What is to be sent.
    pub fn poll_send(&mut self) -> Option<(Flow, Arc<[u8]>)> {
        self.transactions.poll_send()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.timers.first().map(|(at, _)| *at);
        [own, self.transactions.poll_timeout()].into_iter().flatten().min()
    }

    /// A contact, as long as it is registered.
    pub fn binding(&self, id: BindingId) -> Option<&Binding> {
        self.registrar.get(id)
    }

    /// Every contact.
    pub fn bindings(&self) -> impl Iterator<Item = (BindingId, &Binding)> {
        self.registrar.iter()
    }

    /// Takes a contact away: its user is not let in any more.
    pub fn unregister(&mut self, id: BindingId, host: &mut dyn Host) {
        self.forget_binding(id, host);
    }

    /// Legs, contacts and transactions that there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.legs.len(), self.registrar.len(), self.transactions.count())
    }

    fn notice(&mut self, flow: Flow, notice: Noticed) {
        self.events.push_back(Event::Noticed { flow, notice });
    }

    /// Nothing is remembered of it.
    fn refuse_malformed(&mut self, flow: Flow, status: u16, mut request: Message) {
        let reason = reason_of(status);
        let flow = Transactions::reply_to(&mut request, flow);
        let mut response = Message::response(&request, status, reason);
        self.add_tag(&mut response);
        response.push("Server", &self.settings.agent);
        self.transactions.send(flow, &response);
    }

    fn random_text(&mut self) -> String {
        let [.., a, b, c, d, e, f, g, h] = (self.random)().to_be_bytes();
        format!("{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    fn add_tag(&mut self, response: &mut Message) {
        if response.to_tag().is_none() {
            let tag = self.random_text();
            response.append("To", &format!(";tag={tag}"));
        }
    }

    /// Answers a request outside of legs. It is forgotten, unless something was changed by it: then it must not be taken once
    /// more.
    fn reply(&mut self, now: Instant, id: ServerId, request: &Message, status: u16, headers: &[(&str, &str)]) {
        let mut response = Message::response(request, status, reason_of(status));
        self.add_tag(&mut response);
        for (name, value) in headers {
            response.push(name, value);
        }
        response.push("Server", &self.settings.agent);
        if status < 300 && request.method() != Some(&Method::Options) {
            self.transactions.respond(now, id, &response);
        } else {
            self.transactions.answer_once(id, &response);
        }
    }

    fn via(&mut self, transport: Transport) -> String {
        let reached = self.reached(transport);
        let branch = self.random_text();
        // A flow that is there is used for answers (RFC 3581).
        format!("SIP/2.0/{} {reached};branch=z9hG4bK{branch};rport", transport.name())
    }

    fn reached(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Udp => self.settings.reached.udp,
            // What is on a WebSocket comes back by that one, whatever it is told.
            Transport::Tcp | Transport::Ws => self.settings.reached.tcp,
            Transport::Tls => self.settings.reached.tls,
        }
    }

    fn contact(&self, user: &str, transport: Transport) -> String {
        let reached = self.reached(transport);
        let user = crate::message::syntax::escape(user);
        let at = if user.is_empty() { "" } else { "@" };
        match transport.parameter() {
            Some(name) => format!("<sip:{user}{at}{reached};transport={name}>"),
            None => format!("<sip:{user}{at}{reached}>"),
        }
    }

    fn set_timer(&mut self, timer: Timer, at: Option<Instant>) {
        let was = match at {
            Some(at) => self.set.insert(timer, at),
            None => self.set.remove(&timer),
        };
        if let Some(was) = was {
            self.timers.remove(&(was, timer));
        }
        if let Some(at) = at {
            self.timers.insert((at, timer));
        }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

/// Of the nonces of challengers.
fn draw_key(random: &mut (dyn FnMut() -> u128 + Send)) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&random().to_be_bytes());
    key[16..].copy_from_slice(&random().to_be_bytes());
    key
}

/// What is said to people.
fn reason_of(status: u16) -> &'static str {
    let found = REASONS.iter().find(|(own, _)| *own == status);
    found.map_or("Refused", |(_, reason)| reason)
}

const REASONS: &[(u16, &str)] = &[
    (100, "Trying"),
    (180, "Ringing"),
    (181, "Call Is Being Forwarded"),
    (182, "Queued"),
    (183, "Session Progress"),
    (200, "OK"),
    (202, "Accepted"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (412, "Conditional Request Failed"),
    (413, "Request Entity Too Large"),
    (414, "Request-URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Unsupported URI Scheme"),
    (420, "Bad Extension"),
    (422, "Session Interval Too Small"),
    (423, "Interval Too Brief"),
    (480, "Temporarily Unavailable"),
    (481, "Call/Transaction Does Not Exist"),
    (482, "Loop Detected"),
    (483, "Too Many Hops"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (488, "Not Acceptable Here"),
    (489, "Bad Event"),
    (491, "Request Pending"),
    (500, "Server Internal Error"),
    (501, "Not Implemented"),
    (503, "Service Unavailable"),
    (504, "Server Time-out"),
    (505, "Version Not Supported"),
    (513, "Message Too Large"),
    (600, "Busy Everywhere"),
    (603, "Decline"),
];

/// Methods that are taken.
const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, PUBLISH, MESSAGE";
/// Extensions that are known.
const SUPPORTED: &str = "100rel, timer, replaces, path, outbound, gruu";
/// Bodies that are taken.
const ACCEPT: &str = "application/sdp, multipart/mixed";
/// The kind of descriptions.
const SDP: &str = "application/sdp";

fn is_supported(extension: &str) -> bool {
    SUPPORTED.split(", ").any(|own| own.eq_ignore_ascii_case(extension))
}

fn body_of(message: &Message) -> Option<Vec<u8>> {
    message.body_of(SDP).map(<[u8]>::to_vec)
}

fn is_refresh_method(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}

#[cfg(test)]
#[path = "tests/exercise.rs"]
mod exercise;
#[cfg(test)]
mod tests;
