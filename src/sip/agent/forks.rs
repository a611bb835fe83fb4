//! An INVITE of ours that somebody forked: one answer is wanted, the others are ended (report 25). And answers that cross our
//! BYE.

use std::time::Instant;

use crate::limits::FORKS_MAX;
use crate::message::{Message, Method};
use crate::transaction::ClientId;

use super::accounts::copy_credentials;
use super::dialog::Dialog;
use super::{Agent, Purpose};

impl Agent {
    /// An answer that nobody wants: it is acknowledged and ended, with what the INVITE and it say. One that comes again is only
    /// acknowledged, so that an answer is worth one BYE however often it is sent.
    pub(super) fn end_unwanted(&mut self, now: Instant, id: ClientId, response: &Message) {
        let (Some(sent), Some(flow)) = (self.transactions.sent(id).cloned(), self.transactions.flow_of(id)) else {
            return;
        };
        let tag = response.to_tag().unwrap_or_default();
        let tags = self.unwanted.entry(id).or_default();
        let is_known = tags.contains(&tag);
        if !is_known && tags.len() >= FORKS_MAX {
            return;
        }
        if !is_known {
            tags.push(tag);
        }
        let Some((number, _)) = sent.cseq() else { return };
        let Some(mut dialog) = Dialog::of_answer(&sent, response, flow) else {
            return;
        };
        let flow = dialog.next_hop();
        let mut ack = dialog.request_numbered(Method::Ack, number);
        ack.push_front("Via", self.via(flow.transport));
        copy_credentials(&sent, &mut ack);
        self.transactions.send(flow, &ack);
        if is_known {
            return;
        }
        let bye = dialog.request(Method::Bye);
        let account = self.asked.get(&id).map(|asked| asked.account);
        // Without room it is ended by the peer's own time-out.
        let _ = self.send_request(now, flow, bye, Purpose::Last(None), (account, None));
    }

    /// An answer to an offer of ours that crossed our BYE. Its sender waits for the ACK (section 13.3.1.4).
    pub(super) fn acknowledge_late(&mut self, id: ClientId) {
        let (Some(sent), Some(flow)) = (self.transactions.sent(id).cloned(), self.transactions.flow_of(id)) else {
            return;
        };
        let is_invite = sent.method() == Some(&Method::Invite);
        let Some(mut ack) = Dialog::acknowledgement(&sent).filter(|_| is_invite) else {
            return;
        };
        ack.push_front("Via", self.via(flow.transport));
        copy_credentials(&sent, &mut ack);
        self.transactions.send(flow, &ack);
    }

    /// Nothing more comes of a request of ours.
    pub(super) fn forget_client(&mut self, id: ClientId) -> Option<Purpose> {
        self.unwanted.remove(&id);
        self.asked.remove(&id);
        self.clients.remove(&id)
    }
}
