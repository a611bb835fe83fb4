//! Requests of a peer inside of a call.

use std::time::{Duration, Instant};

use crate::flow::Flow;
use crate::limits::SESSION_MIN;
use crate::message::{Message, Method};
use crate::transaction::ServerId;

use super::event::{End, EndedBy, Event, Host, LegKey, Named};
use super::incoming::address_in;
use super::leg::{Offer, State};
use super::{ALLOW, Agent, body_of, is_refresh_method};

impl Agent {
    pub(super) fn take_inside(
        &mut self,
        now: Instant,
        flow: Flow,
        id: ServerId,
        key: LegKey,
        message: Message,
        host: &mut dyn Host,
    ) {
        let Some(method) = message.method().cloned() else {
            return;
        };
        let number = message.cseq().map_or(0, |(number, _)| number);
        let Some(leg) = self.legs.get_mut(&key) else {
            return self.reply(now, id, &message, 481, &[]);
        };
        let is_answered = !matches!(leg.state, State::Calling { .. });
        // Another one's tag: it knows the call, and is not the peer.
        let Some(dialog) = leg.dialog_from(message.from_tag()) else {
            return self.reply(now, id, &message, 481, &[]);
        };
        // Section 12.2.2: what is older than what came is out of order.
        if dialog.remote_cseq.is_some_and(|last| number <= last) {
            return self.respond_in(now, key, id, &message, 500, &[]);
        }
        dialog.remote_cseq = Some(number);
        let flow = self.transactions.reply_flow(id).unwrap_or(flow);
        if is_refresh_method(&method) {
            dialog.retarget(&message);
            if !is_answered {
                dialog.flow = flow;
            }
        }
        // We have ended it, and wait until we may say so. Nothing of it is told any more.
        if leg.is_over() && method != Method::Bye {
            return self.respond_in(now, key, id, &message, 481, &[]);
        }
        // Who comes by another connection where the last one is gone is reached by it.
        if is_answered && (is_refresh_method(&method) || leg.is_cut) {
            self.set_flow(key, flow);
        }
        match method {
            Method::Bye => self.take_bye(now, key, id, &message),
            Method::Invite | Method::Update => self.take_offer(now, key, id, message),
            Method::Prack => self.take_prack(now, key, id, &message),
            Method::Info => self.take_info(now, key, id, &message),
            Method::Refer => self.take_refer(now, key, id, &message),
            Method::Notify => self.take_notice(now, key, id, &message),
            Method::Options => self.answer_options(now, id, &message),
            Method::Subscribe => self.take_subscribe_inside(now, key, id, &message, host),
            Method::Message => self.take_text_inside(now, key, id, &message, host),
            Method::Publish => self.respond_in(now, key, id, &message, 489, &[]),
            Method::Register => self.respond_in(now, key, id, &message, 405, &[("Allow", ALLOW)]),
            Method::Ack | Method::Cancel => {}
            Method::Other(_) => self.respond_in(now, key, id, &message, 501, &[("Allow", ALLOW)]),
        }
    }

    fn take_bye(&mut self, now: Instant, key: LegKey, id: ServerId, message: &Message) {
        self.respond_in(now, key, id, message, 200, &[]);
        // What the peer still waits for is over, too (section 15.1.2).
        let pending = self.legs.get(&key).and_then(|leg| match (&leg.state, &leg.offer) {
            (State::Called { invite, request, .. }, _) => Some((*invite, request.clone())),
            (_, Offer::Peers { request, message }) => Some((*request, message.clone())),
            _ => None,
        });
        if let Some((id, request)) = pending {
            self.respond_in(now, key, id, &request, 487, &[]);
        }
        // Who ends the call has our answer to its INVITE, whatever became of the ACK.
        if let Some(State::Answered { invite, .. }) = self.legs.get(&key).map(|leg| &leg.state) {
            let invite = *invite;
            self.transactions.acknowledged(invite);
        }
        let end = End {
            cause: cause_of(message),
            ..End::of(EndedBy::Peer, 200)
        };
        // It came before its answer, or from one of several that ring: the others are not to go on ringing.
        if let Some(State::Calling { .. }) = self.legs.get(&key).map(|leg| &leg.state) {
            return self.close(now, key, 487, None, Some(end));
        }
        self.end(key, end);
    }

    fn take_offer(&mut self, now: Instant, key: LegKey, id: ServerId, message: Message) {
        let is_invite = message.method() == Some(&Method::Invite);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let has_body = body_of(&message).is_some();
        let wants_offer = is_invite || has_body;
        match (&leg.state, &leg.offer) {
            // Before the answer a description is in INVITE and its answers only, here.
            (State::Calling { .. } | State::Called { .. }, _) if wants_offer => {
                return self.respond_in(now, key, id, &message, 500, &[("Retry-After", "5")]);
            }
            // Both want something else: who loses tries again later (section 14.2).
            (_, Offer::Own { .. }) if wants_offer => return self.respond_in(now, key, id, &message, 491, &[]),
            (State::Answered { .. }, _) | (_, Offer::Peers { .. } | Offer::Late { .. }) if wants_offer => {
                return self.respond_in(now, key, id, &message, 500, &[("Retry-After", "2")]);
            }
            _ => {}
        }
        if !message.body.is_empty() && !has_body {
            return self.respond_in(now, key, id, &message, 415, &[("Accept", super::ACCEPT)]);
        }
        let interval = message
            .number("Session-Expires")
            .map(|seconds| Duration::from_secs(seconds.into()));
        if interval.is_some_and(|interval| interval < SESSION_MIN) {
            let least = SESSION_MIN.as_secs().to_string();
            return self.respond_in(now, key, id, &message, 422, &[("Min-SE", &least)]);
        }
        if !wants_offer {
            // The session goes on, and nothing else changes. Before the answer there is none.
            let timer = match leg.is_up() {
                true => self.agree_timer(now, key, &message),
                false => Vec::new(),
            };
            let headers: Vec<(&str, &str)> = timer.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.respond_in(now, key, id, &message, 200, &headers);
            return self.rearm(key);
        }
        let body = body_of(&message);
        leg.offer = Offer::Peers {
            request: id,
            message: Box::new(message),
        };
        if is_invite {
            self.servers.insert(id, key);
        }
        self.events.push_back(Event::Offered { leg: key, body });
    }

    fn take_prack(&mut self, now: Instant, key: LegKey, id: ServerId, message: &Message) {
        let named = rack_of(message);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let is_waited_for = named.is_some() && leg.unacknowledged == named;
        let mut next = None;
        if is_waited_for {
            leg.unacknowledged = None;
            if let State::Called {
                reliable,
                next: waiting,
                ..
            } = &mut leg.state
            {
                *reliable = None;
                next = waiting.take();
            }
        }
        let status = match named {
            None => 400,
            Some(_) if is_waited_for => 200,
            Some(_) => 481,
        };
        self.respond_in(now, key, id, message, status, &[]);
        self.rearm(key);
        if let Some(description) = next {
            self.ring(now, key, description.as_deref());
        }
    }

    /// Keys as telephones tell of them: `Signal=5` and `Duration=160`, or the digit alone.
    fn take_info(&mut self, now: Instant, key: LegKey, id: ServerId, message: &Message) {
        let relayed = message.body_of("application/dtmf-relay");
        let plain = message.body_of("application/dtmf");
        let Some(body) = relayed.or(plain) else {
            // Nothing in it that must be understood (RFC 6086): it says that the call is alive.
            let status = if message.body.is_empty() { 200 } else { 415 };
            return self.respond_in(now, key, id, message, status, &[]);
        };
        let text = String::from_utf8_lossy(body);
        let (mut digit, mut duration) = (None, DIGIT);
        for line in text.lines() {
            match line.split_once('=') {
                Some((name, value)) if name.trim().eq_ignore_ascii_case("signal") => digit = digit_of(value),
                Some((name, value)) if name.trim().eq_ignore_ascii_case("duration") => {
                    let ms = value.trim().parse().unwrap_or(0_u64);
                    duration = Duration::from_millis(ms.clamp(40, 5000));
                }
                Some(_) => {}
                None => digit = digit.or_else(|| digit_of(line)),
            }
        }
        let is_up = self.legs.get(&key).is_some_and(super::leg::Leg::is_up);
        match digit.filter(|_| is_up) {
            Some(digit) => {
                self.respond_in(now, key, id, message, 200, &[]);
                self.events.push_back(Event::Digit {
                    leg: key,
                    digit,
                    duration,
                });
            }
            None => self.respond_in(now, key, id, message, 400, &[]),
        }
    }

    fn take_refer(&mut self, now: Instant, key: LegKey, id: ServerId, message: &Message) {
        let Some(to) = address_in(message, "Refer-To").filter(|to| !to.user.is_empty()) else {
            return self.respond_in(now, key, id, message, 400, &[]);
        };
        let named = to
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("Replaces"));
        let replaces = named.and_then(|(_, value)| self.leg_of_replaces(value));
        if named.is_some() && replaces.is_none() {
            return self.respond_in(now, key, id, message, 481, &[]);
        }
        let Some(leg) = self.legs.get_mut(&key).filter(|leg| leg.is_up()) else {
            return self.respond_in(now, key, id, message, 481, &[]);
        };
        if leg.transfer.is_some() {
            return self.respond_in(now, key, id, message, 491, &[]);
        }
        leg.transfer = message.cseq().map(|(number, _)| number);
        self.respond_in(now, key, id, message, 202, &[]);
        self.events.push_back(Event::Transfer {
            leg: key,
            to: Named::of(to),
            replaces,
        });
    }
}

/// `RAck: 1 7 INVITE`: the number of a provisional answer, and that of the INVITE (RFC 3262, section 7.2).
fn rack_of(message: &Message) -> Option<(u32, u32)> {
    let mut parts = message.get("RAck")?.split_ascii_whitespace();
    let (number, cseq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next() == Some("INVITE") && parts.next().is_none()).then_some((number, cseq))
}

/// `Reason: Q.850;cause=16` (RFC 3326).
pub(super) fn cause_of(message: &Message) -> Option<u8> {
    let reason = message
        .items("Reason")
        .find(|item| item.len() > 5 && item.is_char_boundary(5) && item[..5].eq_ignore_ascii_case("Q.850"))?;
    let parameters = crate::message::syntax::Parameters::parse(reason.split_once(';')?.1);
    parameters.value("cause")?.parse().ok()
}

fn digit_of(text: &str) -> Option<char> {
    let text = text.trim();
    // As numbers, some say the star and the hash.
    let text = match text {
        "10" => "*",
        "11" => "#",
        text => text,
    };
    let mut signs = text.chars();
    let digit = signs.next()?.to_ascii_uppercase();
    (signs.next().is_none() && "0123456789*#ABCD".contains(digit)).then_some(digit)
}

/// How long a key is pressed, where nothing is said.
const DIGIT: Duration = Duration::from_millis(160);
