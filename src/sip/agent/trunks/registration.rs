//! We register with a trunk: one Call-ID, ever higher numbers, renewed before the end, tried again ever more rarely.

use std::time::{Duration, Instant};

use crate::agent::accounts::answers_to;
use crate::agent::errands::{Alarm, Errand};
use crate::agent::{Agent, Timer};
use crate::digest::{Attempt, Client, Credentials};
use crate::flow::Flow;
use crate::limits::{
    TRUNK_BACK_OFF_MAX, TRUNK_BACK_OFF_MIN, TRUNK_EXPIRES_MAX, TRUNK_REFRESH_MARGIN, TRUNK_REFRESH_MIN,
};
use crate::message::syntax::NameAddress;
use crate::message::{Message, Method};

use super::{ClientId, LineKey, Registered, TrunkChange, TrunkId, retry_after, uri_of};

/// With whom we register, as what.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) trunk: TrunkId,
    pub(super) flow: Flow,
    /// The Request-URI.
    pub(super) registrar: String,
    /// Whom we register.
    pub(super) address: String,
    /// Where we are reached, in angle brackets.
    pub(super) contact: String,
    /// What the Contact alone says.
    pub(super) token: String,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct Registration {
    line: Line,
    call_id: String,
    tag: String,
    cseq: u32,
    /// For how long we ask.
    expires: Duration,
    attempt: Attempt,
    /// The request that is not answered yet.
    sent: Option<ClientId>,
    /// Once more as soon as that is answered.
    is_wanted_again: bool,
    /// When it was granted, and for how long.
    since: Option<Instant>,
    until: Option<Instant>,
    next: Option<Instant>,
    failures: u32,
    /// Why it failed at last.
    refusal: u16,
    /// What was told at last: 200, or why not.
    told: Option<u16>,
    /// The request that went out last takes it back.
    is_end_asked: bool,
    /// Its trunk is gone, and what it knew us by is here.
    leaving: Option<Option<Client>>,
}

impl Registration {
    pub(super) fn new(line: Line, (call_id, tag): (String, String), expires: Duration) -> Self {
        let mut registration = Self {
            line,
            call_id,
            tag,
            cseq: 0,
            expires,
            attempt: Attempt::default(),
            sent: None,
            is_wanted_again: false,
            since: None,
            until: None,
            next: None,
            failures: 0,
            refusal: 408,
            told: None,
            is_end_asked: false,
            leaving: None,
        };
        registration.ask(expires);
        registration
    }

    pub(super) fn ask(&mut self, expires: Duration) {
        self.expires = expires.clamp(Duration::from_secs(1), TRUNK_EXPIRES_MAX);
    }

    pub(super) fn view(&self) -> Registered {
        match (self.told, self.until) {
            (Some(200), Some(until)) => Registered::Until(until),
            (status, _) => Registered::Not {
                status,
                again: self.next.filter(|_| self.sent.is_none()),
            },
        }
    }

    /// The next one.
    fn request(&mut self, agent: &str) -> Message {
        self.cseq += 1;
        self.is_end_asked = self.leaving.is_some();
        let expires = if self.is_end_asked { 0 } else { self.expires.as_secs() };
        let mut request = Message::request(Method::Register, &self.line.registrar);
        request.push("Max-Forwards", "70");
        request.push("From", format!("<{}>;tag={}", self.line.address, self.tag));
        request.push("To", format!("<{}>", self.line.address));
        request.push("Call-ID", &self.call_id);
        request.push("CSeq", format!("{} REGISTER", self.cseq));
        request.push("Contact", format!("{};expires={expires}", self.line.contact));
        request.push("Expires", expires.to_string());
        request.push("Supported", "path");
        request.push("User-Agent", agent);
        request
    }

    /// For how long the registrar takes us: what it says of our Contact, or else of all, or else what we asked for
    /// (section 10.2.4).
    fn granted(&self, response: &Message) -> Duration {
        let seconds = response
            .items("Contact")
            .filter_map(NameAddress::parse)
            .find(|contact| self.is_ours(contact))
            .and_then(|contact| contact.parameters.value("expires")?.parse::<u32>().ok())
            .or_else(|| response.number("Expires"));
        seconds.map_or(self.expires, |seconds| {
            Duration::from_secs(seconds.into()).min(TRUNK_EXPIRES_MAX)
        })
    }

    /// By what it alone says; where a registrar leaves that out, by its place.
    fn is_ours(&self, contact: &NameAddress) -> bool {
        let (Some(uri), Some(own)) = (contact.address(), uri_of(&self.line.contact)) else {
            return false;
        };
        match uri.parameters.value("line") {
            Some(token) => token == self.line.token,
            None => (uri.user, uri.host, uri.port) == (own.user, own.host, own.port),
        }
    }

    /// How long after a failure it is tried again.
    fn back_off(&mut self, random: u128) -> Duration {
        // What is added at the end of the row is within its bound.
        let longest = TRUNK_BACK_OFF_MAX.mul_f64(0.8);
        let doubled = TRUNK_BACK_OFF_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(longest);
        wait + wait / 4000 * per_mille(random)
    }
}

impl Agent {
    /// Registers now, or as soon as what is under way is answered.
    pub(super) fn register_again(&mut self, now: Instant, key: LineKey) {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        registration.failures = 0;
        match registration.sent {
            // One at a time (section 10.2).
            Some(_) => registration.is_wanted_again = true,
            None => self.register_now(now, key),
        }
    }

    /// Renews what is registered as soon as it may be.
    pub(super) fn register_soon(&mut self, key: LineKey) {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        let soon = registration.since.map(|since| since + TRUNK_REFRESH_MIN);
        if registration.until.is_some() && soon < registration.next {
            registration.next = soon;
            self.rearm_registration(key);
        }
    }

    /// Takes a registration back, and keeps what it is known by until that is answered.
    pub(super) fn leave(&mut self, now: Instant, key: LineKey, client: Option<Client>) {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        registration.leaving = Some(client);
        registration.is_wanted_again = false;
        let (is_known, is_asked) = (registration.until.is_some(), registration.sent.is_some());
        self.trunks.lines.remove(&registration.line.token);
        self.set_timer(Timer::Alarm(Alarm::Register(key)), None);
        match (is_known, is_asked) {
            // Its answer says whether there is something to take back.
            (_, true) => {}
            (true, false) => self.register_now(now, key),
            (false, false) => drop(self.trunks.registrations.remove(&key)),
        }
    }

    /// Time has come: to renew it, to try it again, or it is over.
    pub(in crate::agent) fn registration_due(&mut self, now: Instant, key: LineKey) {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        if registration.until.is_some_and(|until| until <= now) {
            registration.until = None;
            let refusal = registration.refusal;
            self.tell_registration(key, refusal);
        }
        let Some(registration) = self.trunks.registrations.get(&key) else {
            return;
        };
        if registration.sent.is_none() && registration.next.is_some_and(|next| next <= now) {
            self.register_now(now, key);
        }
        self.rearm_registration(key);
    }

    fn register_now(&mut self, now: Instant, key: LineKey) {
        let cnonce = self.random_text();
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        registration.attempt = Attempt::default();
        let client = match &mut registration.leaving {
            Some(client) => client.as_mut(),
            None => self.accounts.get_mut(&registration.line.trunk.0),
        };
        let uri = &registration.line.registrar;
        let known = client.map(|client| client.begin(&mut registration.attempt, "REGISTER", uri, &cnonce));
        self.send_register(now, key, &known.unwrap_or_default());
    }

    fn send_register(&mut self, now: Instant, key: LineKey, credentials: &[Credentials]) {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        registration.is_wanted_again = false;
        registration.next = None;
        let mut request = registration.request(&self.settings.agent);
        for credentials in credentials {
            request.push(credentials.place.answering(), &credentials.value);
        }
        let flow = registration.line.flow;
        let sent = self.send_errand(now, flow, request, Errand::Register(key)).ok();
        if let Some(registration) = self.trunks.registrations.get_mut(&key) {
            registration.sent = sent;
        }
        match sent {
            Some(_) => self.rearm_registration(key),
            // No room, here.
            None => self.registration_failed(now, key, 503, None),
        }
    }

    /// An answer came, or none in time.
    pub(in crate::agent) fn registration_answered(
        &mut self,
        now: Instant,
        id: ClientId,
        key: LineKey,
        response: Option<&Message>,
    ) {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        if registration.sent != Some(id) {
            return;
        }
        registration.sent = None;
        let Some(response) = response else {
            return self.registration_failed(now, key, 408, None);
        };
        match response.status() {
            200..=299 => self.registration_taken(now, key, response),
            401 | 407 if self.answer_challenge(now, key, response) => {}
            423 if self.ask_for_longer(key, response) => self.register_now(now, key),
            status => self.registration_failed(now, key, status, retry_after(response)),
        }
    }

    /// Once more with what was asked for, unless that was wrong.
    fn answer_challenge(&mut self, now: Instant, key: LineKey, response: &Message) -> bool {
        let cnonce = self.random_text();
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return false;
        };
        let client = match &mut registration.leaving {
            Some(client) => client.as_mut(),
            None => self.accounts.get_mut(&registration.line.trunk.0),
        };
        let Some(client) = client else { return false };
        let (attempt, uri) = (&mut registration.attempt, &registration.line.registrar);
        match answers_to(client, attempt, ("REGISTER", uri), response, &cnonce) {
            Some(credentials) => {
                self.send_register(now, key, &credentials);
                true
            }
            None => false,
        }
    }

    /// Section 10.2.8. Each time it is longer, so there is an end.
    fn ask_for_longer(&mut self, key: LineKey, response: &Message) -> bool {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return false;
        };
        let least = response.number("Min-Expires").unwrap_or(0);
        let least = Duration::from_secs(least.into());
        let is_longer = registration.leaving.is_none() && registration.expires < least && least <= TRUNK_EXPIRES_MAX;
        if is_longer {
            registration.expires = least;
        }
        is_longer
    }

    fn registration_taken(&mut self, now: Instant, key: LineKey, response: &Message) {
        let random = (self.random)();
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        if registration.leaving.is_some() {
            registration.until = Some(now);
            return self.go_on_leaving(now, key);
        }
        let granted = registration.granted(response);
        if granted.is_zero() {
            // What says that it is done, and does not have us, is no success.
            return self.registration_failed(now, key, 480, retry_after(response));
        }
        let margin = TRUNK_REFRESH_MARGIN.min(granted / 2);
        // Spread, so that a thousand are not renewed in one moment.
        let early = granted / 20_000 * per_mille(random);
        let wait = (granted - margin).saturating_sub(early).max(TRUNK_REFRESH_MIN);
        registration.failures = 0;
        registration.refusal = 408;
        registration.since = Some(now);
        registration.until = Some(now + granted);
        registration.next = Some(now + wait);
        let is_wanted_again = registration.is_wanted_again;
        self.tell_registration(key, 200);
        if is_wanted_again {
            return self.register_now(now, key);
        }
        self.rearm_registration(key);
    }

    /// A refusal ends it at once; where the trunk could not answer, it is good until its end.
    fn registration_failed(&mut self, now: Instant, key: LineKey, status: u16, wait: Option<Duration>) {
        let random = (self.random)();
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        registration.refusal = status;
        if registration.leaving.is_some() {
            return self.go_on_leaving(now, key);
        }
        let back_off = registration.back_off(random);
        registration.next = Some(now + wait.unwrap_or(back_off));
        let is_over = !matches!(status, 408 | 500..=599);
        if is_over {
            registration.until = None;
        }
        let (is_left, is_wanted_again) = (registration.until.is_some(), registration.is_wanted_again);
        if !is_left {
            self.tell_registration(key, status);
        }
        if is_wanted_again {
            return self.register_now(now, key);
        }
        self.rearm_registration(key);
    }

    /// What was under way when the trunk went is answered. Was it not the end, that is asked for; else it is over.
    fn go_on_leaving(&mut self, now: Instant, key: LineKey) {
        let Some(registration) = self.trunks.registrations.get(&key) else {
            return;
        };
        if registration.until.is_some() && !registration.is_end_asked {
            self.register_now(now, key);
        } else {
            self.trunks.registrations.remove(&key);
        }
    }

    fn tell_registration(&mut self, key: LineKey, status: u16) {
        let Some(registration) = self.trunks.registrations.get_mut(&key) else {
            return;
        };
        let (trunk, before) = (registration.line.trunk, registration.told.replace(status));
        if before != Some(status) {
            let change = match status {
                200 => TrunkChange::Registered,
                status => TrunkChange::Unregistered(status),
            };
            self.tell_trunk(trunk, change);
        }
    }

    fn rearm_registration(&mut self, key: LineKey) {
        let Some(registration) = self.trunks.registrations.get(&key) else {
            return;
        };
        let next = registration.next.filter(|_| registration.sent.is_none());
        let due = [next, registration.until].into_iter().flatten().min();
        let due = due.filter(|_| registration.leaving.is_none());
        self.set_timer(Timer::Alarm(Alarm::Register(key)), due);
    }
}

/// 0 to 999.
fn per_mille(random: u128) -> u32 {
    u32::try_from(random % 1000).unwrap_or(0)
}
