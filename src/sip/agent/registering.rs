//! Requests outside of calls: registrations, and questions what we can.

use std::time::{Duration, Instant};

use crate::digest::{self, Challenger, Fault, Verdict};
use crate::flow::Flow;
use crate::limits::{CREDENTIALS_MAX, REALMS_MAX};
use crate::message::syntax::Uri;
use crate::message::{Message, Method};
use crate::transaction::ServerId;

use super::event::{Access, BindingId, Host, Noticed};
use super::registrar::{KeptBinding, Outcome, Request};
use super::{ACCEPT, ALLOW, Agent, Purpose, SUPPORTED, Timer, draw_key};

impl Agent {
    pub(super) fn answer_options(&mut self, now: Instant, id: ServerId, request: &Message) {
        let headers = [
            ("Allow", ALLOW),
            ("Accept", ACCEPT),
            ("Supported", SUPPORTED),
            super::watching::ALLOW_EVENTS,
        ];
        self.reply(now, id, request, 200, &headers);
    }

    pub(super) fn take_register(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        message: &Message,
        host: &mut dyn Host,
    ) {
        let Some(address) = message.to().and_then(|to| to.address()) else {
            return self.reply(now, id, message, 400, &[]);
        };
        let domain = domain_of(&address);
        let user = address.user;
        if user.is_empty() {
            return self.reply(now, id, message, 404, &[]);
        }
        if !self.is_known(now, flow, id, message, (&user, &domain), host) {
            return;
        }
        let Some(request) = Request::new(&user, &domain, message, flow) else {
            return self.reply(now, id, message, 400, &[]);
        };
        let bounds = (self.settings.expires_min, self.settings.expires_max);
        let (outcome, changed) = self.registrar.handle(now, &request, bounds, host);
        for binding in changed {
            self.watch_binding(now, binding);
            self.find_legs(now, binding);
        }
        match outcome {
            Outcome::Refused(423) => {
                let least = self.settings.expires_min.as_secs().to_string();
                self.reply(now, id, message, 423, &[("Min-Expires", &least)]);
            }
            Outcome::Refused(503) => self.reply(now, id, message, 503, &[("Retry-After", "30")]),
            Outcome::Refused(status) => self.reply(now, id, message, status, &[]),
            Outcome::Done => {
                let wants_gruu = ["Supported", "Require"].iter().any(|name| message.lists(name, "gruu"));
                let own = super::address(&user, &domain);
                let own = address.port.map_or(own.clone(), |port| format!("{own}:{port}"));
                let contacts = self
                    .registrar
                    .contacts(now, &user, &domain, Some(&*own).filter(|_| wants_gruu));
                let mut headers: Vec<(&str, &str)> =
                    contacts.iter().map(|contact| ("Contact", contact.as_str())).collect();
                // Hops that are to be gone through again (RFC 3327, section 5.3).
                let path: Vec<String> = message.all("Path").map(str::to_owned).collect();
                headers.extend(path.iter().map(|path| ("Path", path.as_str())));
                if message.lists("Supported", "outbound") {
                    headers.push(("Flow-Timer", FLOW_TIMER));
                }
                self.reply(now, id, message, 200, &headers);
            }
        }
    }

    /// Is the sender the user that it says? If not, it was answered.
    pub(super) fn is_known(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        message: &Message,
        (user, domain): (&str, &str),
        host: &mut dyn Host,
    ) -> bool {
        let access = host.access(user, domain, flow);
        let realm = match &access {
            Access::Open => return true,
            Access::Password(realm) | Access::Unknown(realm) => realm.clone(),
        };
        let method = message.method().map_or("", Method::name).to_owned();
        let is_register = method == "REGISTER";
        let (asks, answers, status) = if is_register {
            ("WWW-Authenticate", "Authorization", 401)
        } else {
            ("Proxy-Authenticate", "Proxy-Authorization", 407)
        };
        let (since, ip) = (self.since_start(now), flow.peer.ip().to_canonical());
        let mut verdict = None;
        for credentials in message.all(answers).take(CREDENTIALS_MAX) {
            let found =
                self.challenger(&realm)
                    .check(since, &method, message.uri(), credentials, ip, |name, algorithm| {
                        // A user may register and call as itself only.
                        let secret = host.secret(user, domain, algorithm);
                        secret.filter(|_| is_same_user(name, user, domain))
                    });
            // Of another realm or scheme: as if they were not there (RFC 4475, 3.3.7).
            if found == Verdict::OtherRealm || found == Verdict::Malformed(Fault::Scheme) {
                continue;
            }
            verdict = Some(found);
            break;
        }
        let is_stale = verdict.as_ref().is_some_and(Verdict::is_stale);
        match verdict {
            Some(Verdict::Good { .. }) => {
                self.notice(flow, Noticed::Known);
                return true;
            }
            Some(Verdict::Malformed(_)) => {
                self.notice(flow, Noticed::Malformed);
                self.reply(now, id, message, 400, &[]);
                return false;
            }
            // Both have a nonce that was sent to this address.
            Some(Verdict::Wrong { .. }) => self.notice(flow, Noticed::WrongPassword),
            Some(Verdict::Unknown { .. }) => self.notice(flow, Noticed::UnknownUser),
            // On a datagram anybody may write any address, and have who is there banned.
            _ if matches!(access, Access::Unknown(_)) && flow.transport.is_reliable() => {
                self.notice(flow, Noticed::UnknownUser);
            }
            _ => {}
        }
        // Who has no such user, or not its password, is told the same: else names could be found out.
        let challenges = self.challenger(&realm).challenge(since, ip, is_stale);
        let headers: Vec<(&str, &str)> = challenges.iter().map(|challenge| (asks, challenge.as_str())).collect();
        self.reply(now, id, message, status, &headers);
        false
    }

    /// Of a realm. There are as many as the host has domains; beyond a bound those of others are begun anew, and their
    /// telephones are asked once more.
    fn challenger(&mut self, realm: &str) -> &mut Challenger {
        if self.challengers.len() >= REALMS_MAX && !self.challengers.contains_key(realm) {
            self.challengers.clear();
            // What was used up would be good once more.
            self.key = draw_key(&mut self.random);
        }
        let (key, algorithms) = (self.key, &self.settings.algorithms);
        self.challengers.entry(realm.to_owned()).or_insert_with(|| {
            let settings = digest::Settings {
                algorithms: algorithms.clone(),
                ..digest::Settings::default()
            };
            Challenger::with(realm, key, settings)
        })
    }

    /// A contact of the process before is one again, for as long as is left of its time. False: its host does not want it, or
    /// there is no room.
    pub fn restore(&mut self, now: Instant, kept: KeptBinding, left: Duration, host: &mut dyn Host) -> bool {
        let Some(id) = self.registrar.restore(now, kept, left, host) else {
            return false;
        };
        self.watch_binding(now, id);
        true
    }

    fn watch_binding(&mut self, now: Instant, id: BindingId) {
        let Some(binding) = self.registrar.get(id) else {
            self.set_timer(Timer::Expiry(id), None);
            return self.set_timer(Timer::Ping(id), None);
        };
        let (end, transport) = (binding.end, binding.flow.transport);
        self.set_timer(Timer::Expiry(id), Some(end));
        if !self.settings.ping.is_zero() && !self.set.contains_key(&Timer::Ping(id)) && !transport.is_reliable() {
            let at = self.ping_at(now);
            self.set_timer(Timer::Ping(id), Some(at));
        }
    }

    /// Spread, so that ten thousand telephones are not asked in one moment.
    fn ping_at(&mut self, now: Instant) -> Instant {
        let interval = self.settings.ping;
        let share = u32::try_from((self.random)() % 1000).unwrap_or(0);
        now + interval / 2 + interval / 1000 * share
    }

    pub(super) fn forget_binding(&mut self, id: BindingId, host: &mut dyn Host) {
        self.set_timer(Timer::Expiry(id), None);
        self.set_timer(Timer::Ping(id), None);
        self.registrar.remove(id, host);
    }

    /// Asks a contact whether it is there. Its answer, whatever it is, says so.
    pub(super) fn ping(&mut self, now: Instant, id: BindingId, host: &mut dyn Host) {
        let at = self.ping_at(now);
        let is_busy = self.transactions.is_busy();
        let Some(binding) = self.registrar.get_mut(id) else {
            return;
        };
        if binding.outstanding_pings >= PINGS_MAX {
            return self.forget_binding(id, host);
        }
        // Calls go first, and nobody is gone for that.
        let target = (!is_busy).then(|| binding.target());
        binding.outstanding_pings += u32::from(!is_busy);
        self.set_timer(Timer::Ping(id), Some(at));
        let Some(target) = target else { return };
        let mut request = Message::request(Method::Options, &target.uri);
        for route in &target.route {
            request.push("Route", route);
        }
        request.push("Max-Forwards", "70");
        let (tag, call) = (self.random_text(), self.random_text());
        let realm = self.settings.realm.clone();
        request.push("From", format!("<sip:{realm}>;tag={tag}"));
        request.push("To", format!("<{}>", target.uri));
        request.push("Call-ID", call);
        request.push("CSeq", "1 OPTIONS");
        request.push("Contact", self.contact("", target.flow.transport));
        // Without room it counts as one that was not answered.
        let _ = self.send_request(now, target.flow, request, Purpose::Ping(id), (None, None));
    }

    pub(super) fn ponged(&mut self, id: BindingId) {
        if let Some(binding) = self.registrar.get_mut(id) {
            binding.outstanding_pings = 0;
        }
    }
}

/// As digest has it: the user, or the user and its domain.
fn is_same_user(name: &str, user: &str, domain: &str) -> bool {
    name == user || name.strip_prefix(user).and_then(|rest| rest.strip_prefix('@')) == Some(domain)
}

/// Of an address. Empty: `tel:`.
pub(super) fn domain_of(address: &Uri) -> String {
    address.host.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// Unanswered pings in a row, each of 32 s. Then the contact is taken away.
const PINGS_MAX: u32 = 3;
/// Seconds between keep-alives of who keeps a flow (RFC 5626, section 4.4).
const FLOW_TIMER: &str = "120";
