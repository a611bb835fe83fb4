//! An INVITE of ours that somebody forked: one answer is wanted, the others are ended (report 25).

use std::time::Instant;

use crate::flow::Flow;
use crate::limits::FORKS_MAX;
use crate::message::Message;
use crate::transaction::ClientId;

use super::Agent;
use super::dialog::Dialog;

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
        let mut ack = dialog.request_numbered(crate::message::Method::Ack, number);
        ack.push_front("Via", self.via(flow.transport));
        self.transactions.send(flow, &ack);
        if is_known {
            return;
        }
        let mut bye = dialog.request(crate::message::Method::Bye);
        bye.push_front("Via", self.via(flow.transport));
        // Without room it is ended by the peer's own time-out.
        let _ = self.transactions.request(now, flow, bye);
    }

    /// Nothing more comes of a request of ours.
    pub(super) fn forget_client(&mut self, id: ClientId) -> Option<super::Purpose> {
        self.unwanted.remove(&id);
        self.clients.remove(&id)
    }

    pub(super) fn client_flow(&self, id: ClientId) -> Flow {
        let unknown = Flow::datagrams(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
        self.transactions.flow_of(id).unwrap_or(unknown)
    }
}
