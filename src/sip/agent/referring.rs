//! The peer of a call is asked to call somebody else (REFER, RFC 3515), or to take another one's place in a call (RFC 3891):
//! it tells how that goes by notices in the call.

use std::time::Instant;

use crate::limits::REFER_WAIT;
use crate::message::{Message, Method};
use crate::transaction::ServerId;

use super::errands::{Alarm, Errand};
use super::event::LegKey;
use super::{Agent, Event, Purpose, Timer};

/// A transfer that a peer is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referring {
    /// Of the REFER: what notices of it may name.
    number: u32,
}

impl Agent {
    /// Asks a leg's peer to call somebody else: `sip:1003@example.org`. With `replaces` it takes the place of that leg of ours in
    /// its call (an attended transfer). [`Event::ReferProgress`] says how it goes; the leg stays until it is hung up. False: not
    /// now, there is no such call or a transfer is under way.
    pub fn refer(&mut self, now: Instant, key: LegKey, target: &str, replaces: Option<LegKey>) -> bool {
        let named = match replaces {
            Some(other) => match self.replaces(other) {
                Some(named) => format!("?Replaces={}", escape_header(&named)),
                None => return false,
            },
            None => String::new(),
        };
        let is_address = crate::message::syntax::Uri::parse(target).is_some_and(|uri| uri.headers.is_empty());
        if !is_address || self.referring.contains_key(&key) {
            return false;
        }
        let Some(leg) = self.legs.get_mut(&key).filter(|leg| leg.is_up() && !leg.is_over()) else {
            return false;
        };
        let mut refer = leg.dialog.request(Method::Refer);
        let (flow, user, number) = (leg.dialog.next_hop(), leg.user.clone(), leg.dialog.invite_cseq());
        let own = super::address(&user, &self.settings.realm);
        refer.push("Contact", self.contact(&user, flow.transport));
        refer.push("Refer-To", format!("<{target}{named}>"));
        // Who asks for it (RFC 3892).
        refer.push("Referred-By", format!("<{own}>"));
        let purpose = Purpose::Errand(Errand::Refer(key));
        let is_sent = self.send_inside(now, key, flow, refer, purpose).is_some();
        if is_sent {
            self.referring.insert(key, Referring { number });
            self.set_timer(Timer::Alarm(Alarm::Refer(key)), Some(now + REFER_WAIT));
        }
        is_sent
    }

    /// It went out once more, with another number.
    pub(super) fn refer_again(&mut self, key: LegKey, number: u32) {
        if let Some(referring) = self.referring.get_mut(&key) {
            referring.number = number;
        }
    }

    /// It is taken, or not. What comes of it is told by notices.
    pub(super) fn refer_answered(&mut self, key: LegKey, response: Option<&Message>) {
        let status = response.map_or(408, Message::status);
        if status >= 300 {
            self.refer_over(key, status);
        }
    }

    /// The peer says nothing of it.
    pub(super) fn refer_due(&mut self, key: LegKey) {
        self.refer_over(key, 408);
    }

    /// A notice in a call.
    pub(super) fn take_notice(&mut self, now: Instant, key: LegKey, id: ServerId, message: &Message) {
        let number = self.referring.get(&key).map(|referring| referring.number);
        let event = message.get("Event").unwrap_or_default();
        let (name, parameters) = event.split_once(';').unwrap_or((event, ""));
        let parameters = crate::message::syntax::Parameters::parse(parameters);
        let named = parameters.value("id").map(str::parse::<u32>);
        let is_of_refer = name.trim().eq_ignore_ascii_case("refer") && named.is_none_or(|named| named.ok() == number);
        // Others were taken before, too: what was not asked for says nothing.
        self.respond_in(now, key, id, message, 200, &[]);
        if number.is_none() || !is_of_refer {
            return;
        }
        let state = message.get("Subscription-State").unwrap_or_default();
        let state = state.split(';').next().unwrap_or_default().trim();
        let is_over = state.eq_ignore_ascii_case("terminated");
        match status_of(message) {
            Some(status) if status >= 200 => self.refer_over(key, status),
            // What became of it is never told.
            _ if is_over => self.refer_over(key, 408),
            Some(status) => {
                self.set_timer(Timer::Alarm(Alarm::Refer(key)), Some(now + REFER_WAIT));
                self.events.push_back(Event::ReferProgress { leg: key, status });
            }
            None => {}
        }
    }

    fn refer_over(&mut self, key: LegKey, status: u16) {
        // Of a leg that is over nothing is told any more.
        let is_told = self.legs.get(&key).is_some_and(|leg| !leg.is_over());
        if self.forget_refer(key) && is_told {
            self.events.push_back(Event::ReferProgress { leg: key, status });
        }
    }

    /// False: there was none.
    pub(super) fn forget_refer(&mut self, key: LegKey) -> bool {
        self.set_timer(Timer::Alarm(Alarm::Refer(key)), None);
        self.referring.remove(&key).is_some()
    }
}

/// Of a first line in a body: `SIP/2.0 180 Ringing` (RFC 3420).
fn status_of(message: &Message) -> Option<u16> {
    let body = message.body_of("message/sipfrag")?;
    let line = body.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.trim().split(' ').filter(|word| !word.is_empty());
    words.next().filter(|version| version.eq_ignore_ascii_case("SIP/2.0"))?;
    words.next()?.parse().ok().filter(|status| (100..700).contains(status))
}

/// As a header within an address has it (RFC 3261, section 19.1.1).
fn escape_header(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
