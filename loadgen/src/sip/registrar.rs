//! How telephones of a group register: REGISTER, and once more with the digest that is asked for (RFC 3261, section 10).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_sip::digest::{Attempt, Client, Place, Secret};
use moqswitch_sip::flow::Flow;
use moqswitch_sip::message::{Message, Method};
use moqswitch_sip::transaction::{ClientId, Expired, Received, Transactions};
use rustc_hash::FxHashMap;

use super::random::Random;

/// Registrations of a group that are under way.
pub(super) struct Registrar {
    transactions: Transactions,
    asking: FxHashMap<ClientId, Asking>,
    ended: Vec<Registration>,
    flow: Flow,
    local: SocketAddr,
    domain: String,
    password: Option<String>,
    random: Random,
}

/// What became of one.
#[derive(Debug)]
pub(super) struct Registration {
    /// Which telephone of the shard.
    pub(super) phone: usize,
    pub(super) at: Instant,
    /// When it was to begin.
    pub(super) due: Instant,
    pub(super) is_challenged: bool,
    pub(super) outcome: Result<(), Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Refused, by this status.
    Refused(u16),
    /// Nobody answered.
    Unanswered,
    /// A password is asked for, and there is none, or it is wrong.
    Password,
    /// There is no room for a request.
    Room,
}

struct Asking {
    phone: usize,
    due: Instant,
    request: Message,
    client: Option<Client>,
    attempt: Attempt,
    is_challenged: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) phone: usize,
    pub(super) number: &'a str,
    /// Zero: it is not there any more.
    pub(super) expires: Duration,
    pub(super) due: Instant,
}

impl Registrar {
    pub(super) fn new(flow: Flow, local: SocketAddr, domain: &str, password: Option<String>, random: Random) -> Self {
        Self {
            transactions: Transactions::default(),
            asking: FxHashMap::default(),
            ended: Vec::new(),
            flow,
            local,
            domain: domain.to_owned(),
            password,
            random,
        }
    }

    /// Begins one, as a telephone that was just started: what it was asked before it does not know.
    pub(super) fn register(&mut self, now: Instant, asked: Asked<'_>) {
        let request = self.request(asked);
        let secret = self.password.clone().map(Secret::Password);
        self.ask(
            now,
            Asking {
                phone: asked.phone,
                due: asked.due,
                request,
                client: secret.map(|secret| Client::new(asked.number, secret)),
                attempt: Attempt::default(),
                is_challenged: false,
            },
        );
    }

    /// Takes a response to one.
    pub(super) fn receive(&mut self, now: Instant, message: Message) {
        if let Received::Response(id, response) = self.transactions.receive(now, self.flow, message) {
            self.take_response(now, id, &response);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        while let Some(expired) = self.transactions.poll_expired() {
            if let Expired::Request(id, _) = expired
                && let Some(asking) = self.asking.remove(&id)
            {
                self.end(now, &asking, Err(Failure::Unanswered));
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.transactions.poll_timeout()
    }

    pub(super) fn poll_send(&mut self) -> Option<(Flow, Arc<[u8]>)> {
        self.transactions.poll_send()
    }

    pub(super) fn poll_ended(&mut self) -> Option<Registration> {
        self.ended.pop()
    }

    fn request(&mut self, asked: Asked<'_>) -> Message {
        let (domain, number) = (&self.domain, asked.number);
        let address = format!("<sip:{number}@{domain}>");
        let contact = match self.flow.transport.parameter() {
            Some(name) => format!("<sip:{number}@{};transport={name}>", self.local),
            None => format!("<sip:{number}@{}>", self.local),
        };
        let mut request = Message::request(Method::Register, &format!("sip:{domain}"));
        request.push("Via", "");
        request.push("Max-Forwards", "70");
        request.push("From", format!("{address};tag={}", self.random.text()));
        request.push("To", address);
        request.push("Call-ID", self.random.text());
        request.push("CSeq", "0 REGISTER");
        request.push("Contact", contact);
        request.push("Expires", asked.expires.as_secs().to_string());
        request.push("User-Agent", USER_AGENT);
        request
    }

    /// Sends it, by the next number and a branch of its own.
    fn ask(&mut self, now: Instant, mut asking: Asking) {
        let number = asking.request.cseq().map_or(0, |(number, _)| number) + 1;
        let (transport, local, branch) = (self.flow.transport.name(), self.local, self.random.text());
        let via = format!("SIP/2.0/{transport} {local};branch=z9hG4bK{branch};rport");
        asking.request.set("Via", via);
        asking.request.set("CSeq", format!("{number} REGISTER"));
        match self.transactions.request(now, self.flow, asking.request.clone()) {
            Ok(id) => drop(self.asking.insert(id, asking)),
            Err(_) => self.end(now, &asking, Err(Failure::Room)),
        }
    }

    fn take_response(&mut self, now: Instant, id: ClientId, response: &Message) {
        let status = response.status();
        if status < 200 {
            return;
        }
        let Some(mut asking) = self.asking.remove(&id) else {
            return;
        };
        match status {
            200..300 => self.end(now, &asking, Ok(())),
            401 | 407 if self.answer(&mut asking, response) => self.ask(now, asking),
            401 | 407 => self.end(now, &asking, Err(Failure::Password)),
            status => self.end(now, &asking, Err(Failure::Refused(status))),
        }
    }

    /// Answers what was asked. False: it cannot.
    fn answer(&mut self, asking: &mut Asking, response: &Message) -> bool {
        let place = match response.status() {
            401 => Place::Server,
            _ => Place::Proxy,
        };
        let cnonce = self.random.text();
        let Some(client) = &mut asking.client else { return false };
        let challenges: Vec<&str> = response.all(place.asking()).collect();
        let uri = asking.request.uri().to_owned();
        let Ok(answers) = client.answer(&mut asking.attempt, place, &challenges, "REGISTER", &uri, &cnonce) else {
            return false;
        };
        asking.is_challenged = true;
        for answer in answers {
            asking.request.set(answer.place.answering(), &answer.value);
        }
        true
    }

    fn end(&mut self, now: Instant, asking: &Asking, outcome: Result<(), Failure>) {
        self.ended.push(Registration {
            phone: asking.phone,
            at: now,
            due: asking.due,
            is_challenged: asking.is_challenged,
            outcome,
        });
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(status) => write!(formatter, "refused with {status}"),
            Self::Unanswered => formatter.write_str("not answered"),
            Self::Password => formatter.write_str("the switch asks for a password, and --password is none or not it"),
            Self::Room => formatter.write_str("the generator has no room for a request"),
        }
    }
}

pub(super) const USER_AGENT: &str = "loadgen";
