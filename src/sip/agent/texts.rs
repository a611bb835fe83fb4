//! Texts of one message each (MESSAGE, RFC 3428): within a call or without one.

use std::time::Instant;

use crate::flow::Flow;
use crate::limits::{TEXT_BYTES_MAX, TEXT_DATAGRAM_BYTES_MAX};
use crate::message::syntax::{NameAddress, Uri, quote};
use crate::message::{Message, Method};
use crate::transaction::{NoRoom, ServerId};

use super::errands::Errand;
use super::event::{Host, LegKey, Target};
use super::registering::domain_of;
use super::trunks::TrunkId;
use super::{ALLOW, Agent, Event, Purpose};

/// A text of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextId(pub u64);

/// A text that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Who wrote it: the user, its domain, and its name for people.
    pub from: (String, String, String),
    /// Whom it is for: the user and its domain.
    pub to: (String, String),
    /// What it says.
    pub body: String,
    /// The call that it belongs to, as far as that is one.
    pub leg: Option<LegKey>,
    /// The trunk that it comes from.
    pub trunk: Option<TrunkId>,
    /// Where it came from.
    pub flow: Flow,
}

/// A text to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where to.
    pub target: Target,
    /// The number that writes, and its name for people.
    pub from: (String, String),
    /// Whom it is for, as an address.
    pub to: String,
    /// What it says.
    pub body: String,
    /// The trunk that it goes by, or the account that we are known by.
    pub account: Option<u64>,
}

/// Why a text is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More than a datagram may have (RFC 3428, section 8), or than we would take ourselves.
    #[error("the text is too long")]
    TooLong,
    /// There is no room.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl Agent {
    /// Sends a text. [`Event::TextSent`] says what became of it.
    ///
    /// # Errors
    /// It is too long, or there is no room.
    pub fn text(&mut self, now: Instant, letter: Letter) -> Result<TextId, TextError> {
        let (call, tag) = (self.random_text(), self.random_text());
        let flow = letter.target.flow;
        let mut request = Message::request(Method::Message, &letter.target.uri);
        for route in &letter.target.route {
            request.push("Route", route);
        }
        request.push("Max-Forwards", "70");
        let from = self.writer(letter.account, &letter.from);
        request.push("From", format!("{from};tag={tag}"));
        request.push("To", format!("<{}>", letter.to));
        request.push("Call-ID", call);
        request.push("CSeq", "1 MESSAGE");
        request.push("User-Agent", &self.settings.agent);
        request.set_body(TEXT, letter.body);
        let bytes = request.to_bytes().len() + VIA_BYTES;
        let is_too_long = !flow.transport.is_reliable() && bytes > TEXT_DATAGRAM_BYTES_MAX;
        if is_too_long || request.body.len() > TEXT_BYTES_MAX {
            return Err(TextError::TooLong);
        }
        let id = TextId(self.begun + 1);
        let purpose = Purpose::Errand(Errand::Text(id));
        self.send_request(now, flow, request, purpose, (letter.account, None))?;
        self.begun += 1;
        self.texts.insert(id);
        Ok(id)
    }

    /// From, without a tag.
    fn writer(&self, account: Option<u64>, (user, people): &(String, String)) -> String {
        let people = if people.is_empty() {
            String::new()
        } else {
            quote(people) + " "
        };
        let host = account.and_then(|account| self.trunk_host(TrunkId(account)));
        let domain = host.unwrap_or(&self.settings.realm);
        format!("{people}<{}>", super::address(user, domain))
    }

    /// An answer came, or none.
    pub(super) fn text_answered(&mut self, id: TextId, response: Option<&Message>) {
        let status = response.map_or(408, Message::status);
        if self.texts.remove(&id) {
            self.events.push_back(Event::TextSent { text: id, status });
        }
    }

    /// A text outside of calls.
    pub(super) fn take_text(&mut self, now: Instant, flow: Flow, id: ServerId, message: &Message, host: &mut dyn Host) {
        let trunk = self.trunk_of(flow, message).filter(|trunk| host.trusts(*trunk, flow));
        let Some(from) = message.from().and_then(|from| from.address()) else {
            return self.reply(now, id, message, 400, &[]);
        };
        let domain = domain_of(&from);
        if trunk.is_none() && !self.is_known(now, flow, id, message, (&from.user, &domain), host) {
            return;
        }
        let parties = Uri::parse(message.uri()).zip(message.from());
        let (status, headers) = self.read_text(message, parties, (flow, trunk, None), host);
        self.reply(now, id, message, status, headers);
    }

    /// A text in a call.
    pub(super) fn take_text_inside(
        &mut self,
        now: Instant,
        key: LegKey,
        id: ServerId,
        message: &Message,
        host: &mut dyn Host,
    ) {
        let Some(leg) = self.legs.get(&key) else { return };
        let (flow, trunk) = (leg.dialog.flow, self.trunk_of_leg(key));
        // Who was checked when the call began. What the headers of this one say was not (RFC 3261, section 12.2.2).
        let parties = leg
            .dialog
            .parties()
            .and_then(|(own, peer)| Some((own.address()?, peer)));
        let (status, headers) = self.read_text(message, parties, (flow, trunk, Some(key)), host);
        self.respond_in(now, key, id, message, status, headers);
    }

    /// What it is answered: the host says so.
    fn read_text(
        &mut self,
        message: &Message,
        parties: Option<(Uri, NameAddress)>,
        (flow, trunk, leg): (Flow, Option<TrunkId>, Option<LegKey>),
        host: &mut dyn Host,
    ) -> (u16, &'static [(&'static str, &'static str)]) {
        let parties = parties.and_then(|(to, from)| Some((to, from.address()?, from.name)));
        let Some((to, from, name)) = parties else {
            return (400, &[]);
        };
        if message.body.len() > TEXT_BYTES_MAX {
            return (413, &[]);
        }
        let kind = message.get("Content-Type").unwrap_or(TEXT);
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case(TEXT) {
            return (415, &[("Accept", TEXT)]);
        }
        let Ok(body) = std::str::from_utf8(&message.body) else {
            return (400, &[]);
        };
        let text = Text {
            from: (from.user.clone(), domain_of(&from), name),
            to: (to.user.clone(), domain_of(&to)),
            body: body.to_owned(),
            leg,
            trunk,
            flow,
        };
        match host.text(&text) {
            status @ 200..=299 => {
                self.events.push_back(Event::Text(Box::new(text)));
                (status, &[])
            }
            405 => (405, &[("Allow", ALLOW)]),
            // Anything else would be no final answer.
            status => (status.clamp(300, 699), &[]),
        }
    }
}

/// The only kind there is.
const TEXT: &str = "text/plain";
/// Of the Via that is still to come, at most about.
const VIA_BYTES: usize = 120;

#[cfg(test)]
mod tests;
