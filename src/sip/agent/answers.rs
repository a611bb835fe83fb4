//! Answers of peers to requests of ours.

use std::time::{Duration, Instant};

use crate::flow::Flow;
use crate::limits::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, PROVISIONALS_MAX};
use crate::message::syntax::{Host, NameAddress};
use crate::message::{Message, Method};
use crate::transaction::{ClientId, Expired, ServerId};

use super::accounts::copy_credentials;
use super::event::{End, EndedBy, Event, Forward, LegKey, Named};
use super::inside::cause_of;
use super::leg::{Leg, Offer, State, early_of};
use super::{Agent, Purpose, body_of};

impl Agent {
    pub(super) fn take_response(&mut self, now: Instant, id: ClientId, response: Message) {
        let Some(purpose) = self.clients.get(&id).copied() else {
            return;
        };
        let is_final = response.status() >= 200;
        // Of an INVITE the answer may come again: it is known until its transaction is over.
        match purpose {
            Purpose::Invite(key) => return self.take_answer(now, id, key, &response),
            Purpose::Offer(key) if is_final => return self.take_offer_answer(now, id, key, &response),
            Purpose::Ping(binding) => self.ponged(binding),
            _ => {}
        }
        // In a dialog that is over nothing is asked again, but what ends it.
        let is_last = matches!(purpose, Purpose::Last(_));
        let is_over = !is_last && self.leg_of(purpose).is_some_and(|key| !self.legs.contains_key(&key));
        if !is_final || !is_over && self.ask_again(now, id, &response).is_some() {
            return;
        }
        self.forget_client(id);
        let is_unknown = matches!(response.status(), 408 | 481);
        match purpose {
            Purpose::Inside(key) if is_unknown => self.lose_dialog(now, key, response.status()),
            Purpose::Notify(key) if is_unknown => self.stop_telling(key),
            Purpose::Errand(errand) => self.end_errand(now, id, errand, Some(&response)),
            _ => {}
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
        if !is_cancelled && self.ask_again(now, id, response).is_some() {
            return;
        }
        if status == 422 && !is_cancelled && self.retry_with_interval(now, id, key, response) {
            return;
        }
        self.forget_client(id);
        self.note_refusal(now, key, response);
        let end = End {
            cause: cause_of(response),
            forward: self.forward_of(key, response),
            ..End::of(EndedBy::Peer, status)
        };
        self.end(key, end);
    }

    /// Whom the peer would have called instead. What is at somebody else's is not for us to call.
    fn forward_of(&self, key: LegKey, response: &Message) -> Option<Forward> {
        let (_, remote) = self.legs.get(&key)?.dialog.parties()?;
        let domain = remote.address()?.host;
        let reached = self.settings.reached;
        let own = [reached.udp, reached.tcp, reached.tls].map(|at| Host::Ip(at.ip()));
        let is_ours = |host: &Host| {
            Some(host) == domain.as_ref()
                || own.contains(host)
                || Host::parse(&self.settings.realm).as_ref() == Some(host)
        };
        let contacts = response
            .items("Contact")
            .filter(|_| (300..=302).contains(&response.status()));
        let addresses = contacts.filter_map(|contact| NameAddress::parse(contact)?.address());
        let mut addresses = addresses
            .filter(|address| !address.user.is_empty() && address.user.len() <= NAME_BYTES_MAX)
            .peekable();
        addresses.peek()?;
        let ours = addresses.find(|address| address.host.as_ref().is_none_or(is_ours));
        Some(ours.map_or(Forward::Elsewhere, |address| Forward::To(Named::of(address))))
    }

    fn take_provisional(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let State::Calling { cancel, can_cancel, .. } = &mut leg.state else {
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
        self.note_rung(key, &tag);
        if response.lists("Require", "100rel")
            && let Some(number) = response.number("RSeq")
            && !self.acknowledge_provisional(now, id, key, response, (tag, number))
        {
            return;
        }
        let body = body_of(response);
        self.events.push_back(Event::Progress {
            leg: key,
            status: response.status(),
            body,
        });
    }

    /// False: one that came again, or before others that are still to come (RFC 3262, section 4).
    fn acknowledge_provisional(
        &mut self,
        now: Instant,
        id: ClientId,
        key: LegKey,
        response: &Message,
        (tag, number): (String, u32),
    ) -> bool {
        let Some((cseq, _)) = self.transactions.sent(id).and_then(Message::cseq) else {
            return false;
        };
        let Some(Leg {
            dialog,
            state: State::Calling {
                early, provisionals, ..
            },
            ..
        }) = self.legs.get_mut(&key)
        else {
            return false;
        };
        let Some(early) = early_of(early, dialog, tag) else {
            return false;
        };
        let is_next = early
            .last
            .map_or(number > 0, |last| last.checked_add(1) == Some(number));
        if !is_next || *provisionals >= PROVISIONALS_MAX {
            return false;
        }
        early.last = Some(number);
        *provisionals += 1;
        early.dialog.learn(response);
        if let Some(answer) = body_of(response).filter(|body| body.len() <= DESCRIPTION_BYTES_MAX) {
            early.answer = Some(answer);
        }
        let mut prack = early.dialog.request(Method::Prack);
        let flow = early.dialog.next_hop();
        prack.push("RAck", format!("{number} {cseq} INVITE"));
        self.send_inside(now, key, flow, prack, Purpose::Prack(key));
        true
    }

    fn take_accepted(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let tag = response.to_tag();
        match &leg.state {
            State::Calling { .. } => self.begin_answered(now, id, key, response),
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

    /// The first answer: the call is with whoever sent it, on the way that it has by now.
    fn begin_answered(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let sent = self.transactions.sent(id).and_then(Message::cseq);
        let sent = sent.map_or(1, |(number, _)| number);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let State::Calling { cancel, early, .. } = &mut leg.state else {
            return;
        };
        let (cancelled, mut body, mut way) = (cancel.take(), body_of(response), leg.dialog.flow);
        let tag = response.to_tag();
        if let Some(at) = early.iter().position(|early| early.dialog.remote_tag == tag) {
            let early = early.swap_remove(at);
            let before = std::mem::replace(&mut leg.dialog, early.dialog).flow;
            body = body.or(early.answer);
            way = std::mem::replace(&mut leg.dialog.flow, before);
        }
        leg.dialog.learn(response);
        leg.takes_update = response.lists("Allow", "UPDATE");
        leg.state = State::Up { ack: None };
        if way != leg.dialog.flow {
            self.set_flow(key, way);
        }
        self.acknowledge(id, key, sent);
        self.take_timer(now, key, response);
        if let Some(reason) = cancelled {
            return self.say_bye(now, key, reason);
        }
        match body {
            Some(body) => self.events.push_back(Event::Answered { leg: key, body }),
            // There was no description at all: there is nothing to talk by.
            None => {
                let reason = "SIP;cause=488;text=\"Not Acceptable Here\"";
                self.close(now, key, 488, Some(reason), Some(End::of(EndedBy::Own, 488)));
            }
        }
    }

    /// Sends the ACK of a 2xx, and keeps it.
    fn acknowledge(&mut self, id: ClientId, key: LegKey, number: u32) {
        let Some(leg) = self.legs.get(&key) else { return };
        let flow = leg.dialog.next_hop();
        let mut ack = leg.dialog.request_numbered(Method::Ack, number);
        self.resolve(&mut ack, leg.account);
        ack.push_front("Via", self.via(flow.transport));
        if let Some(invite) = self.transactions.sent(id) {
            copy_credentials(invite, &mut ack);
        }
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
        let status = response.status();
        let is_accepted = (200..300).contains(&status);
        let Some(leg) = self.legs.get_mut(&key) else {
            if is_accepted {
                self.acknowledge_late(id);
            }
            return;
        };
        let is_ours = matches!(leg.offer, Offer::Own { request, .. } if request == id);
        if !is_ours {
            // It came again: the ACK was lost.
            if let State::Up { ack: Some(ack) } = &leg.state
                && is_accepted
            {
                let (flow, ack) = (leg.dialog.next_hop(), ack.clone());
                self.transactions.send(flow, &ack);
            }
            return;
        }
        let is_asked_again = match status {
            422 => self.retry_with_interval(now, id, key, response),
            _ => self.ask_again(now, id, response).is_some(),
        };
        if !is_asked_again {
            self.end_offer(now, id, key, response);
            self.rearm(key);
        }
    }

    /// It was answered, one way or the other.
    fn end_offer(&mut self, now: Instant, id: ClientId, key: LegKey, response: &Message) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let Offer::Own {
            is_invite,
            cseq,
            is_refresh,
            description,
            ..
        } = std::mem::replace(&mut leg.offer, Offer::None)
        else {
            return;
        };
        if !is_invite {
            self.forget_client(id);
        }
        let Some(leg) = self.legs.get_mut(&key) else { return };
        match response.status() {
            200..300 => {
                leg.dialog.retarget(response);
                if let Some(description) = description {
                    leg.description = description;
                }
                if is_invite {
                    self.acknowledge(id, key, cseq);
                }
                self.take_timer(now, key, response);
                if !is_refresh {
                    let body = body_of(response);
                    self.events.push_back(Event::OfferAnswered { leg: key, body });
                }
            }
            491 if is_refresh => leg.session.retry(now),
            491 => self.wait_to_offer(now, key, description.unwrap_or_default()),
            status @ (408 | 481) => self.lose_dialog(now, key, status),
            _ if is_refresh => leg.session.retry(now),
            _ => self.events.push_back(Event::OfferAnswered { leg: key, body: None }),
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
        self.close(now, key, status, None, Some(End::of(EndedBy::Peer, status)));
    }

    /// Takes what transactions ended without an answer.
    pub(super) fn end_transactions(&mut self, now: Instant) {
        while let Some(expired) = self.transactions.poll_expired() {
            match expired {
                Expired::Over(id) => drop(self.forget_client(id)),
                Expired::Request(id, flow) => {
                    if let Some(purpose) = self.forget_client(id) {
                        self.end_unanswered(now, id, flow, purpose);
                    }
                }
                Expired::Cancelled(id) => {
                    if let Some(Purpose::Invite(key)) = self.clients.get(&id) {
                        self.end_ringing(*key);
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

    /// It rang for too long, and is told to stop. What it answers is not told any more.
    fn end_ringing(&mut self, key: LegKey) {
        if let Some(Leg {
            state: State::Calling { cancel, .. },
            ..
        }) = self.legs.get_mut(&key)
            && cancel.is_none()
        {
            *cancel = Some(None);
            self.events.push_back(Event::Ended {
                leg: key,
                end: NO_ANSWER,
            });
        }
    }

    /// No answer came to a request of ours.
    fn end_unanswered(&mut self, now: Instant, id: ClientId, flow: Flow, purpose: Purpose) {
        match purpose {
            Purpose::Invite(key) => {
                let leg = self.legs.get(&key);
                if leg.is_some_and(|leg| matches!(leg.state, State::Calling { invite, .. } if invite == id)) {
                    self.end(key, NO_ANSWER);
                }
            }
            Purpose::Offer(key) => self.end_unanswered_offer(now, id, flow, key),
            // By a connection that is gone nothing comes to the peer, and says nothing of it.
            Purpose::Inside(key) if self.is_way_lost(key, flow) => {}
            Purpose::Inside(key) => self.lose_dialog(now, key, 408),
            Purpose::Notify(key) => self.stop_telling(key),
            Purpose::Errand(errand) => self.end_errand(now, id, errand, None),
            Purpose::Prack(_) | Purpose::Ping(_) | Purpose::Last(_) => {}
        }
    }

    fn end_unanswered_offer(&mut self, now: Instant, id: ClientId, flow: Flow, key: LegKey) {
        let is_lost = self.is_way_lost(key, flow);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let Offer::Own {
            request, is_refresh, ..
        } = leg.offer
        else {
            return;
        };
        if request != id {
            return;
        }
        leg.offer = Offer::None;
        match (is_lost, is_refresh) {
            (false, _) => return self.lose_dialog(now, key, 408),
            (true, true) if leg.is_cut => leg.session.retry(now),
            (true, true) => leg.session.due = Some(now),
            (true, false) => self.events.push_back(Event::OfferAnswered { leg: key, body: None }),
        }
        self.rearm(key);
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
        self.send_again(now, id, request).is_some()
    }
}

const NO_ANSWER: End = End::of(EndedBy::Time, 408);
