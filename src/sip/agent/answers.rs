//! Answers of peers to requests of ours.

use std::time::{Duration, Instant};

use crate::digest::{Client, Place, Secret};
use crate::limits::{FORKS_MAX, PROVISIONALS_MAX};
use crate::message::{Message, Method};
use crate::transaction::{ClientId, Expired, ServerId};

use super::event::{End, EndedBy, Event, LegKey};
use super::inside::cause_of;
use super::leg::{Leg, Offer, State};
use super::{Agent, Purpose, body_of};

impl Agent {
    /// By which we are known to a peer that is no trunk: a trunk has its own ([`Agent::set_trunk`]).
    pub fn set_account(&mut self, account: u64, user: &str, secret: Secret) {
        self.accounts.insert(account, Client::new(user, secret));
    }

    pub(super) fn take_response(&mut self, now: Instant, id: ClientId, response: Message) {
        let Some(purpose) = self.clients.get(&id).copied() else {
            return;
        };
        let is_final = response.status() >= 200;
        // Of an INVITE the answer may come again: it is known until its transaction is over.
        match purpose {
            Purpose::Invite(key) => return self.take_answer(now, id, key, &response),
            Purpose::Offer(key) => {
                if is_final {
                    self.take_offer_answer(now, id, key, &response);
                }
            }
            Purpose::Inside(key) => {
                if is_final && matches!(response.status(), 408 | 481) {
                    self.lose_dialog(now, key, response.status());
                }
            }
            Purpose::Notify(key) => {
                if is_final && matches!(response.status(), 408 | 481) {
                    self.stop_telling(key);
                }
            }
            Purpose::Ping(binding) => self.ponged(binding),
            Purpose::Errand(errand) => return self.take_errand(now, id, errand, &response),
            Purpose::Nothing => {}
        }
        if is_final && !matches!(purpose, Purpose::Offer(_)) {
            self.forget_client(id);
        }
    }

    fn take_answer(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let status = response.status();
        let Some(leg) = self.legs.get_mut(&key) else {
            // The leg was ended, and the answer crossed that: report 2.
            if (200..300).contains(&status) {
                self.end_unwanted(now, id, response);
            }
            return;
        };
        if status < 200 {
            return self.take_provisional(now, id, key, response);
        }
        if status < 300 {
            return self.take_accepted(now, id, key, response);
        }
        let State::Calling { cancel, .. } = &leg.state else {
            return;
        };
        let is_cancelled = cancel.is_some();
        if matches!(status, 401 | 407) && !is_cancelled && self.retry_with_credentials(now, id, key, response) {
            return;
        }
        if status == 422 && !is_cancelled && self.retry_with_interval(now, id, key, response) {
            return;
        }
        self.forget_client(id);
        self.note_refusal(now, key, response);
        let end = End {
            by: EndedBy::Peer,
            status,
            cause: cause_of(response),
        };
        self.end(key, end);
    }

    fn take_provisional(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let State::Calling {
            cancel,
            acknowledged,
            provisionals,
            can_cancel,
            ..
        } = &mut leg.state
        else {
            return;
        };
        *can_cancel = true;
        if let Some(reason) = cancel.clone() {
            self.transactions.cancel(now, id, reason.as_deref());
            return;
        }
        let Some(tag) = response.to_tag().filter(|_| response.status() > 100) else {
            return;
        };
        if response.lists("Require", "100rel")
            && let Some(number) = response.number("RSeq")
        {
            // One that came again was acknowledged, and others come in their order (RFC 3262, section 4).
            let is_first = acknowledged.iter().all(|(own, _)| *own != tag);
            if is_first && acknowledged.len() < FORKS_MAX {
                acknowledged.push((tag.clone(), number.saturating_sub(1)));
            }
            let last = acknowledged.iter_mut().find(|(own, _)| *own == tag);
            let next = last.filter(|(_, last)| last.checked_add(1) == Some(number));
            let Some((_, last)) = next.filter(|_| *provisionals < PROVISIONALS_MAX) else {
                return;
            };
            *last = number;
            *provisionals += 1;
            self.acknowledge_provisional(now, id, key, response, number);
        }
        let body = body_of(response);
        self.events.push_back(Event::Progress {
            leg: key,
            status: response.status(),
            body,
        });
    }

    fn acknowledge_provisional(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message, number: u32) {
        let Some(cseq) = self.transactions.sent(id).and_then(Message::cseq).map(|(cseq, _)| cseq) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(&key) else { return };
        // Of this early dialog, of which there may be several; their numbers are one row for us.
        let mut early = leg.dialog.clone();
        early.learn(response);
        let mut prack = early.request(Method::Prack);
        leg.dialog.count_request();
        let flow = early.next_hop();
        prack.push("RAck", format!("{number} {cseq} INVITE"));
        self.send_inside(now, key, flow, prack, Purpose::Nothing);
    }

    fn take_accepted(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let tag = response.to_tag();
        match &leg.state {
            State::Calling { cancel, .. } => {
                let cancelled = cancel.clone();
                let sent = self
                    .transactions
                    .sent(id)
                    .and_then(Message::cseq)
                    .map_or(1, |(number, _)| number);
                let Some(leg) = self.legs.get_mut(&key) else { return };
                leg.dialog.learn(response);
                leg.takes_update = response.lists("Allow", "UPDATE");
                leg.state = State::Up { ack: None };
                self.acknowledge(key, sent);
                self.take_timer(now, key, response);
                if let Some(reason) = cancelled {
                    return self.say_bye(now, key, reason);
                }
                match body_of(response) {
                    Some(body) => self.events.push_back(Event::Answered { leg: key, body }),
                    // An answer without a description: there is nothing to talk by.
                    None => {
                        let end = End {
                            by: EndedBy::Own,
                            status: 488,
                            cause: None,
                        };
                        self.close(
                            now,
                            key,
                            488,
                            Some("SIP;cause=488;text=\"Not Acceptable Here\""),
                            Some(end),
                        );
                    }
                }
            }
            State::Up { ack } if leg.dialog.remote_tag == tag => {
                // It came again: the ACK was lost.
                if let Some(ack) = ack.clone() {
                    let flow = leg.dialog.next_hop();
                    self.transactions.send(flow, &ack);
                }
            }
            // Another one that was forked to, and is too late: report 25.
            _ => self.end_unwanted(now, id, response),
        }
    }

    /// Sends the ACK of a 2xx, and keeps it.
    fn acknowledge(&mut self, key: LegKey, number: u32) {
        let Some(leg) = self.legs.get(&key) else { return };
        let flow = leg.dialog.next_hop();
        let mut ack = leg.dialog.request_numbered(Method::Ack, number);
        ack.push_front("Via", self.via(flow.transport));
        self.transactions.send(flow, &ack);
        if let Some(Leg {
            state: State::Up { ack: kept },
            ..
        }) = self.legs.get_mut(&key)
        {
            *kept = Some(Box::new(ack));
        }
    }

    fn take_offer_answer(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let status = response.status();
        let own = match &leg.offer {
            Offer::Own {
                request,
                is_invite,
                cseq,
                is_refresh,
            } if *request == id => (*is_invite, *cseq, *is_refresh),
            // It came again: the ACK was lost.
            _ => {
                if let State::Up { ack: Some(ack) } = &leg.state
                    && (200..300).contains(&status)
                {
                    let (flow, ack) = (leg.dialog.next_hop(), ack.clone());
                    self.transactions.send(flow, &ack);
                }
                return;
            }
        };
        let (is_invite, cseq, is_refresh) = own;
        let is_asked_again = match status {
            401 | 407 => self.retry_with_credentials(now, id, key, response),
            422 => self.retry_with_interval(now, id, key, response),
            _ => false,
        };
        let Some(leg) = self.legs.get_mut(&key).filter(|_| !is_asked_again) else {
            return;
        };
        leg.offer = Offer::None;
        if !is_invite {
            self.forget_client(id);
        }
        let Some(leg) = self.legs.get_mut(&key) else { return };
        match status {
            200..300 => {
                leg.dialog.retarget(response);
                if is_invite {
                    self.acknowledge(key, cseq);
                }
                self.take_timer(now, key, response);
                if !is_refresh {
                    let body = body_of(response);
                    self.events.push_back(Event::OfferAnswered { leg: key, body });
                }
            }
            491 => self.wait_for_other(now, key, is_refresh),
            408 | 481 => self.lose_dialog(now, key, status),
            _ if is_refresh => leg.session.retry(now),
            _ => self.events.push_back(Event::OfferAnswered { leg: key, body: None }),
        }
        self.rearm(key);
    }

    fn wait_for_other(&mut self, now: Instant, key: LegKey, is_refresh: bool) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        if is_refresh {
            leg.session.retry(now);
        } else {
            let description = leg.description.clone();
            self.wait_to_offer(now, key, description);
        }
    }

    /// Section 14.1: who began the call waits longer, so that both do not meet again.
    pub(super) fn wait_to_offer(&mut self, now: Instant, key: LegKey, description: String) {
        let random = u64::try_from((self.random)() % 190).unwrap_or(0);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let wait = if leg.is_caller { 2100 + random * 10 } else { random * 10 };
        leg.glare = Some((now + Duration::from_millis(wait), description));
    }

    /// The peer does not want to know what becomes of the transfer that it asked for. The call goes on (RFC 5057, section 5.2).
    fn stop_telling(&mut self, key: LegKey) {
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.transfer = None;
        }
    }

    /// The peer knows nothing of the call.
    fn lose_dialog(&mut self, now: Instant, key: LegKey, status: u16) {
        let end = End {
            by: EndedBy::Peer,
            status,
            cause: None,
        };
        self.close(now, key, status, None, Some(end));
    }

    /// Takes what transactions ended without an answer.
    pub(super) fn end_transactions(&mut self, now: Instant) {
        while let Some(expired) = self.transactions.poll_expired() {
            match expired {
                Expired::Over(id) => drop(self.forget_client(id)),
                Expired::Request(id) => {
                    if let Some(purpose) = self.forget_client(id) {
                        self.end_unanswered(now, id, purpose);
                    }
                }
                Expired::Response(id) => {
                    if let Some(key) = self.servers.remove(&id) {
                        self.end_unacknowledged(now, id, key);
                    }
                }
            }
        }
    }

    /// No answer came to a request of ours.
    fn end_unanswered(&mut self, now: Instant, id: ClientId, purpose: Purpose) {
        match purpose {
            Purpose::Invite(key) => {
                let leg = self.legs.get(&key);
                if leg.is_some_and(|leg| matches!(leg.state, State::Calling { invite, .. } if invite == id)) {
                    self.end(key, NO_ANSWER);
                }
            }
            Purpose::Offer(key) => {
                if let Some(Leg { offer, .. }) = self.legs.get_mut(&key)
                    && matches!(offer, Offer::Own { request, .. } if *request == id)
                {
                    *offer = Offer::None;
                    self.lose_dialog(now, key, 408);
                }
            }
            Purpose::Inside(key) => self.lose_dialog(now, key, 408),
            Purpose::Notify(key) => self.stop_telling(key),
            Purpose::Errand(errand) => self.end_errand(now, id, errand, None),
            Purpose::Ping(_) | Purpose::Nothing => {}
        }
    }

    /// Nobody acknowledged our answer (section 13.3.1.4).
    fn end_unacknowledged(&mut self, now: Instant, id: ServerId, key: LegKey) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let is_answer = matches!(leg.state, State::Answered { invite, .. } if invite == id);
        let is_offer = matches!(leg.offer, Offer::Late { invite, .. } if invite == id);
        if !is_answer && !is_offer {
            return;
        }
        let was_over = leg.is_over();
        leg.state = State::Up { ack: None };
        leg.offer = Offer::None;
        self.close(now, key, 408, None, (!was_over).then_some(NO_ANSWER));
    }

    /// Once more, with what the carrier asked for: the same call, the next number (section 22.2).
    pub(super) fn retry_with_credentials(
        &mut self,
        now: Instant,
        id: ClientId,
        key: LegKey,
        response: &Message,
    ) -> bool {
        let place = if response.status() == 401 {
            Place::Server
        } else {
            Place::Proxy
        };
        let Some(sent) = self.transactions.sent(id).cloned() else {
            return false;
        };
        let cnonce = self.random_text();
        let Some(leg) = self.legs.get_mut(&key) else {
            return false;
        };
        let Some(credentials) = &mut leg.credentials else {
            return false;
        };
        let Some(client) = self.accounts.get_mut(&credentials.account) else {
            return false;
        };
        let challenges: Vec<&str> = response.all(place.asking()).collect();
        let method = sent.method().map_or("", Method::name);
        let answered = client.answer(
            &mut credentials.attempt,
            place,
            &challenges,
            method,
            sent.uri(),
            &cnonce,
        );
        let Ok(answered) = answered else { return false };
        let mut request = sent.clone();
        for credentials in &answered {
            request.set(credentials.place.answering(), &credentials.value);
        }
        self.send_again(now, id, key, request)
    }

    /// RFC 4028, section 7.4: once more, with an interval that the other side takes.
    fn retry_with_interval(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) -> bool {
        let least = response.number("Min-SE").filter(|least| (1..=86_400).contains(least));
        let (Some(least), Some(sent)) = (least, self.transactions.sent(id).cloned()) else {
            return false;
        };
        let Some(leg) = self.legs.get_mut(&key) else {
            return false;
        };
        let value = sent.get("Session-Expires").unwrap_or_default();
        let before = sent.number("Session-Expires").unwrap_or(0);
        // Who asks for more each time is not followed.
        if before >= least || leg.is_interval_raised {
            return false;
        }
        leg.is_interval_raised = true;
        // Who refreshes stays the same.
        let refresher = value
            .split_once(';')
            .map_or(String::new(), |(_, rest)| format!(";{rest}"));
        let mut request = sent.clone();
        request.set("Session-Expires", format!("{least}{refresher}"));
        request.set("Min-SE", least.to_string());
        self.send_again(now, id, key, request)
    }

    fn send_again(&mut self, now: Instant, id: ClientId, key: LegKey, mut request: Message) -> bool {
        let flow = self.client_flow(id);
        let Some(leg) = self.legs.get_mut(&key) else {
            return false;
        };
        let number = leg.dialog.count_request();
        let method = request.method().map_or("", Method::name).to_owned();
        request.set("CSeq", format!("{number} {method}"));
        let via = self.via(flow.transport);
        request.set("Via", via);
        let Ok(sent) = self.transactions.request(now, flow, request) else {
            return false;
        };
        let Some(purpose) = self.forget_client(id) else {
            return false;
        };
        self.clients.insert(sent, purpose);
        let Some(leg) = self.legs.get_mut(&key) else {
            return false;
        };
        match (&mut leg.state, &mut leg.offer) {
            (
                State::Calling {
                    invite,
                    can_cancel,
                    acknowledged,
                    ..
                },
                _,
            ) => {
                *invite = sent;
                *can_cancel = false;
                acknowledged.clear();
            }
            (_, Offer::Own { request, cseq, .. }) => {
                *request = sent;
                *cseq = number;
            }
            _ => {}
        }
        true
    }

    /// What a carrier asked for last time is said before it asks again.
    pub(super) fn add_credentials(&mut self, key: LegKey, request: &mut Message) {
        let cnonce = self.random_text();
        let Some(credentials) = self.legs.get_mut(&key).and_then(|leg| leg.credentials.as_mut()) else {
            return;
        };
        let Some(client) = self.accounts.get_mut(&credentials.account) else {
            return;
        };
        credentials.attempt = crate::digest::Attempt::default();
        let method = request.method().map_or("", Method::name).to_owned();
        let answers = client.begin(&mut credentials.attempt, &method, request.uri(), &cnonce);
        for answer in answers {
            request.set(answer.place.answering(), &answer.value);
        }
    }
}

const NO_ANSWER: End = End {
    by: EndedBy::Time,
    status: 408,
    cause: None,
};
