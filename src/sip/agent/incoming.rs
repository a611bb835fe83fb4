//! Requests that come: whose they are, and calls that begin.

use std::time::{Duration, Instant};

use crate::flow::Flow;
use crate::limits::{LEGS_MAX, SESSION_MIN};
use crate::message::syntax::{NameAddress, Uri};
use crate::message::{Message, Method};
use crate::transaction::ServerId;

use super::dialog::{Dialog, contact_of};
use super::event::{BindingId, Caller, End, EndedBy, Event, Host, Invited, LegKey};
use super::leg::{Device, Leg, Offer, Session, State};
use super::registering::domain_of;
use super::trunks::TrunkId;
use super::{ALLOW, Agent, SUPPORTED, body_of, is_supported};

impl Agent {
    pub(super) fn take_request(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        message: Message,
        host: &mut dyn Host,
    ) {
        let Some(method) = message.method().cloned() else {
            return;
        };
        // Section 8.2.2.3. Of a REGISTER, too: what it wants must be understood.
        let unknown: Vec<&str> = message
            .items("Require")
            .filter(|extension| !is_supported(extension))
            .collect();
        if !unknown.is_empty() && method != Method::Cancel {
            let unknown = unknown.join(", ");
            return self.reply(now, id, &message, 420, &[("Unsupported", &unknown)]);
        }
        if let Some(tag) = message.to_tag() {
            let key = (message.call_id().to_owned(), tag);
            return match self.dialogs.get(&key).copied() {
                Some(leg) => self.take_inside(now, flow, id, leg, message, host),
                None if self.take_watched(now, flow, id, &message, &key.1) => {}
                None => self.reply(now, id, &message, 481, &[]),
            };
        }
        match method {
            Method::Invite => self.take_invite(now, flow, id, message, host),
            Method::Register => self.take_register(now, flow, id, &message, host),
            Method::Options => self.answer_options(now, id, &message),
            Method::Bye | Method::Update | Method::Prack | Method::Info | Method::Refer | Method::Notify => {
                self.reply(now, id, &message, 481, &[]);
            }
            Method::Subscribe => self.take_subscribe(now, flow, id, &message, host),
            Method::Publish => self.take_publish(now, flow, id, &message, host),
            Method::Message => self.take_text(now, flow, id, &message, host),
            Method::Ack | Method::Cancel => {}
            Method::Other(_) => self.reply(now, id, &message, 501, &[("Allow", ALLOW)]),
        }
    }

    fn take_invite(&mut self, now: Instant, flow: Flow, id: ServerId, message: Message, host: &mut dyn Host) {
        if self.is_merged(&message) {
            return self.reply(now, id, &message, 482, &[]);
        }
        let addresses = message.from().and_then(|from| Some((from.address()?, from.name)));
        let (Some((from, name)), Some(to)) = (addresses, Uri::parse(message.uri())) else {
            return self.reply(now, id, &message, 400, &[]);
        };
        if contact_of(&message).is_none() || message.from_tag().is_none() {
            return self.reply(now, id, &message, 400, &[]);
        }
        // Section 16.3: here it goes no further.
        if message.number("Max-Forwards") == Some(0) {
            return self.reply(now, id, &message, 483, &[]);
        }
        let is_description = message.body.is_empty() || body_of(&message).is_some();
        if !is_description {
            return self.reply(now, id, &message, 415, &[("Accept", super::ACCEPT)]);
        }
        if !takes_descriptions(&message) {
            return self.reply(now, id, &message, 406, &[]);
        }
        let domain = domain_of(&from);
        let trunk = self.trunk_of(flow, &message).filter(|trunk| host.trusts(*trunk, flow));
        if trunk.is_none() && !self.is_known(now, flow, id, &message, (&from.user, &domain), host) {
            return;
        }
        let to = self.dialled(trunk, to, &message);
        let interval = message
            .number("Session-Expires")
            .map(|seconds| Duration::from_secs(seconds.into()));
        if interval.is_some_and(|interval| interval < SESSION_MIN) {
            let least = SESSION_MIN.as_secs().to_string();
            return self.reply(now, id, &message, 422, &[("Min-SE", &least)]);
        }
        if self.legs.len() >= LEGS_MAX {
            return self.reply(now, id, &message, 503, &[("Retry-After", "10")]);
        }
        // What comes of it is judged with the number: who may not know of a device is told nothing by a status.
        let device = self.registrar.device_of(&to);
        let replaces = match self.replaced(&message) {
            Ok(found) => found,
            Err(status) => return self.reply(now, id, &message, status, &[]),
        };
        let contact = contact_of(&message);
        let sender = || self.registrar.sender(&from.user, &domain, flow, contact.as_deref());
        let binding = if trunk.is_none() { sender() } else { None };
        let caller = Caller {
            user: from.user,
            domain,
            name,
            binding,
        };
        let parties = (caller, trunk, to, (replaces, device));
        self.begin_called(now, flow, id, message, parties);
    }

    fn begin_called(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        message: Message,
        (caller, trunk, to, (replaces, device)): Parties,
    ) {
        let tag = self.random_text();
        // Where its answers go, its requests go, too.
        let flow = self.transactions.reply_flow(id).unwrap_or(flow);
        let Some(dialog) = Dialog::of_request(&message, tag, flow) else {
            return self.reply(now, id, &message, 400, &[]);
        };
        self.begun += 1;
        let key = LegKey(self.begun);
        let trying = Message::response(&message, 100, "Trying");
        self.transactions.respond(now, id, &trying);
        let invited = Invited {
            leg: key,
            caller,
            domain: domain_of(&to),
            to: to.user.clone(),
            body: body_of(&message),
            device,
            replaces,
            flow,
            agent: message.get("User-Agent").unwrap_or_default().chars().take(80).collect(),
            trunk,
            headers: self.passed_in(trunk, &message),
            max_forwards: message.number("Max-Forwards").map(one_hop_less),
        };
        let binding = invited.caller.binding.and_then(|id| self.registrar.get(id));
        let device = binding.map(Device::of);
        self.dialogs
            .insert((dialog.call_id.clone(), dialog.local_tag.clone()), key);
        let peers = (dialog.call_id.clone(), dialog.remote_tag.clone().unwrap_or_default());
        let number = dialog.remote_cseq.unwrap_or_default();
        self.called.insert(peers, (key, number));
        self.servers.insert(id, key);
        let leg = Leg {
            dialog,
            user: to.user,
            description: String::new(),
            offer: Offer::None,
            session: Session::default(),
            takes_update: message.lists("Allow", "UPDATE"),
            supports_timer: message.lists("Supported", "timer"),
            transfer: None,
            account: trunk.map(|trunk| trunk.0),
            device,
            is_cut: false,
            glare: None,
            is_caller: false,
            unacknowledged: None,
            is_interval_raised: false,
            state: State::Called {
                invite: id,
                request: Box::new(message),
                reliable: None,
                next: None,
                rseq: 0,
            },
        };
        self.legs.insert(key, leg);
        self.set_flow(key, flow);
        self.events.push_back(Event::Invited(Box::new(invited)));
    }

    /// The same request by another way (section 8.2.2.2).
    fn is_merged(&self, message: &Message) -> bool {
        let Some(tag) = message.from_tag() else { return false };
        let known = self.called.get(&(message.call_id().to_owned(), tag));
        let cseq = message.cseq().map(|(number, _)| number);
        known.is_some_and(|(_, number)| Some(*number) == cseq)
    }

    pub(super) fn take_ack(&mut self, now: Instant, message: &Message) {
        let Some(tag) = message.to_tag() else { return };
        let Some(key) = self.dialogs.get(&(message.call_id().to_owned(), tag)).copied() else {
            return;
        };
        let Some((number, _)) = message.cseq() else { return };
        let leg = self.legs.get_mut(&key);
        // Another one's tag: it knows the call, and is not the peer.
        let Some(leg) = leg.filter(|leg| leg.dialog.remote_tag == message.from_tag()) else {
            return;
        };
        match &leg.offer {
            Offer::Late { invite, cseq, is_offer } if *cseq == number => {
                let (invite, is_offer) = (*invite, *is_offer);
                leg.offer = Offer::None;
                self.servers.remove(&invite);
                self.transactions.acknowledged(invite);
                if is_offer {
                    let body = body_of(message);
                    self.events.push_back(Event::OfferAnswered { leg: key, body });
                }
                return;
            }
            _ => {}
        }
        let State::Answered {
            invite,
            cseq,
            is_offer,
            is_over,
        } = &mut leg.state
        else {
            return;
        };
        if *cseq != number {
            return;
        }
        let (invite, is_offer, is_over) = (*invite, *is_offer, is_over.take());
        leg.state = State::Up { ack: None };
        self.transactions.acknowledged(invite);
        self.servers.remove(&invite);
        if let Some(reason) = is_over {
            return self.say_bye(now, key, reason);
        }
        let body = is_offer.then(|| body_of(message)).flatten();
        self.events.push_back(Event::Confirmed { leg: key, body });
    }

    pub(super) fn take_cancel(&mut self, now: Instant, id: ServerId) {
        let Some(key) = self.servers.get(&id).copied() else {
            return;
        };
        let Some(leg) = self.legs.get(&key) else { return };
        match &leg.state {
            State::Called { invite, request, .. } if *invite == id => {
                let request = request.clone();
                self.respond_in(now, key, id, &request, 487, &[]);
                self.end(key, End::of(EndedBy::Peer, 487));
            }
            // Of an offer of other media: nothing changes.
            _ => {
                if let Some(Leg {
                    offer: Offer::Peers { request, message },
                    ..
                }) = self.legs.get(&key)
                    && *request == id
                {
                    let message = message.clone();
                    self.refuse_pending(now, key, id, &message, 487);
                }
            }
        }
    }

    fn refuse_pending(&mut self, now: Instant, key: LegKey, id: ServerId, message: &Message, status: u16) {
        self.servers.remove(&id);
        self.respond_in(now, key, id, message, status, &[]);
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.offer = Offer::None;
        }
    }

    /// Answers a request of a leg's: with our tag, our Contact and what else belongs to it.
    pub(super) fn respond_in(
        &mut self,
        now: Instant,
        key: LegKey,
        id: ServerId,
        request: &Message,
        status: u16,
        headers: &[(&str, &str)],
    ) {
        let response = self.response_in(key, request, status, headers);
        self.transactions.respond(now, id, &response);
    }

    pub(super) fn response_in(
        &mut self,
        key: LegKey,
        request: &Message,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Message {
        let mut response = Message::response(request, status, super::reason_of(status));
        let Some(leg) = self.legs.get(&key) else {
            self.add_tag(&mut response);
            return response;
        };
        if response.to_tag().is_none() && status > 100 {
            response.append("To", &format!(";tag={}", leg.dialog.local_tag));
        }
        let makes_target = |method: &Method| super::is_refresh_method(method) || *method == Method::Refer;
        let is_about_dialog = request.method().is_some_and(makes_target);
        if is_about_dialog && status > 100 && status < 300 {
            response.push("Contact", self.contact(&leg.user, leg.dialog.flow.transport));
            response.push("Allow", ALLOW);
            response.push("Supported", SUPPORTED);
        }
        for (name, value) in headers {
            response.push(name, value);
        }
        response.push("Server", &self.settings.agent);
        response
    }

    /// The leg is over, and told so, unless it was over before.
    pub(super) fn end(&mut self, key: LegKey, end: End) {
        let is_told = self.legs.get(&key).is_some_and(|leg| !leg.is_over());
        if self.forget_leg(key) && is_told {
            self.events.push_back(Event::Ended { leg: key, end });
        }
    }

    /// False: it is not there.
    pub(super) fn forget_leg(&mut self, key: LegKey) -> bool {
        self.forget_flow(key);
        let Some(leg) = self.legs.remove(&key) else {
            return false;
        };
        self.bygone.note(&leg);
        if !leg.is_caller {
            let peers = (leg.dialog.call_id.clone(), leg.dialog.remote_tag.unwrap_or_default());
            // A later call may have the same name.
            if self.called.get(&peers).is_some_and(|(other, _)| *other == key) {
                self.called.remove(&peers);
            }
        }
        self.dialogs.remove(&(leg.dialog.call_id, leg.dialog.local_tag));
        let invite = match leg.state {
            State::Called { invite, .. } | State::Answered { invite, .. } => Some(invite),
            State::Calling { .. } | State::Up { .. } => None,
        };
        let offer = match leg.offer {
            Offer::Peers { request: invite, .. } | Offer::Late { invite, .. } => Some(invite),
            Offer::None | Offer::Own { .. } => None,
        };
        for id in [invite, offer].into_iter().flatten() {
            self.servers.remove(&id);
            // An answer that nobody will acknowledge is not sent again.
            self.transactions.acknowledged(id);
        }
        self.set_timer(super::Timer::Leg(key), None);
        self.forget_refer(key);
        self.end_watches_of_leg(key);
        true
    }
}

/// Who calls, by which trunk, whom; in whose place, and at which device.
type Parties = (
    Caller,
    Option<TrunkId>,
    Uri,
    (Option<LegKey>, Option<Result<BindingId, u16>>),
);

/// For a call that is made of one that came (RFC 7332).
fn one_hop_less(hops: u32) -> u8 {
    u8::try_from(hops.saturating_sub(1)).unwrap_or(u8::MAX)
}

/// Answers have a description, and nothing else. Who does not say what it takes takes that (section 20.1).
fn takes_descriptions(message: &Message) -> bool {
    let is_it = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let all = [super::SDP, "application/*", "*/*"];
        all.iter().any(|own| own.eq_ignore_ascii_case(kind))
    };
    message.get("Accept").is_none() || message.items("Accept").any(is_it)
}

/// The first address of a header like `Refer-To`.
pub(super) fn address_in(message: &Message, name: &str) -> Option<Uri> {
    NameAddress::parse(message.get(name)?)?.address()
}
