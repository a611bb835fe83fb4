//! A dialog (RFC 3261, section 12): who is who, and which way requests in it go.

use std::net::SocketAddr;

use crate::flow::{Flow, Transport};
use crate::limits::{ADDRESS_BYTES_MAX, DIGEST_TRIES_MAX, PROVISIONALS_MAX, ROUTE_BYTES_MAX, ROUTES_MAX};
use crate::message::syntax::{Host, NameAddress, Uri, without_headers};
use crate::message::{Message, Method};

/// Between us and one peer.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    pub(super) local_tag: String,
    /// None: the peer has not answered yet.
    pub(super) remote_tag: Option<String>,
    /// From and To as they are written, without tags.
    local: String,
    remote: String,
    /// The peer's Contact.
    target: String,
    route: Vec<String>,
    local_cseq: u32,
    pub(super) remote_cseq: Option<u32>,
    /// The way of the latest message.
    pub(super) flow: Flow,
}

impl Dialog {
    /// Of an INVITE that came. None: it has not what a dialog needs, or a route that is too long.
    pub(super) fn of_request(request: &Message, local_tag: String, flow: Flow) -> Option<Self> {
        Some(Self {
            call_id: request.call_id().to_owned(),
            local_tag,
            remote_tag: request.from_tag(),
            local: without_tag(request.get("To")?),
            remote: without_tag(request.get("From")?),
            target: contact_of(request)?,
            route: hops(request, "Record-Route")?,
            local_cseq: 0,
            remote_cseq: request.cseq().map(|(number, _)| number),
            flow,
        })
    }

    /// For an INVITE that goes out.
    pub(super) fn to(target: super::Target, call_id: String, local_tag: String, from: String, to: String) -> Self {
        Self {
            call_id,
            local_tag,
            remote_tag: None,
            local: from,
            remote: to,
            target: target.uri,
            route: target.route,
            local_cseq: 0,
            remote_cseq: None,
            flow: target.flow,
        }
    }

    /// Of an answer that nobody waits for any more, to an INVITE of ours.
    pub(super) fn of_answer(sent: &Message, response: &Message, flow: Flow) -> Option<Self> {
        let mut dialog = Self {
            call_id: sent.call_id().to_owned(),
            local_tag: sent.from_tag()?,
            remote_tag: None,
            local: without_tag(sent.get("From")?),
            remote: without_tag(sent.get("To")?),
            target: sent.uri().to_owned(),
            route: Vec::new(),
            // Above that of whatever it was sent while it rang.
            local_cseq: sent.cseq()?.0.saturating_add(EARLY_REQUESTS),
            remote_cseq: None,
            flow,
        };
        dialog.learn(response);
        Some(dialog)
    }

    /// The ACK of a 2xx to a request of ours whose leg is gone: on the same way.
    pub(super) fn acknowledgement(invite: &Message) -> Option<Message> {
        let mut ack = Message::request(Method::Ack, invite.uri());
        for route in invite.all("Route") {
            ack.push("Route", route);
        }
        ack.push("Max-Forwards", "70");
        for name in ["From", "To", "Call-ID"] {
            ack.push(name, invite.get(name)?);
        }
        ack.push("CSeq", format!("{} ACK", invite.cseq()?.0));
        Some(ack)
    }

    /// What an answer to our INVITE says: its tag, its route in our order, its Contact (section 12.1.2).
    pub(super) fn learn(&mut self, response: &Message) {
        self.remote_tag = response.to_tag().or_else(|| self.remote_tag.take());
        let mut route = hops(response, "Record-Route").unwrap_or_default();
        route.reverse();
        self.route = route;
        self.retarget(response);
    }

    /// The peer's Contact may change with each INVITE or UPDATE (section 12.2). The route does not.
    pub(super) fn retarget(&mut self, message: &Message) {
        if let Some(target) = contact_of(message) {
            self.target = target;
        }
    }

    /// A request in the dialog. Via and Contact are the caller's matter.
    pub(super) fn request(&mut self, method: Method) -> Message {
        if method != Method::Ack {
            self.local_cseq += 1;
        }
        self.request_numbered(method, self.local_cseq)
    }

    /// With the number of an INVITE: its ACK has the same.
    pub(super) fn request_numbered(&self, method: Method, number: u32) -> Message {
        let (uri, route) = self.way();
        let mut request = Message::request(method.clone(), &uri);
        for route in route {
            request.push("Route", route);
        }
        request.push("Max-Forwards", "70");
        request.push("From", format!("{};tag={}", self.local, self.local_tag));
        match &self.remote_tag {
            Some(tag) => request.push("To", format!("{};tag={tag}", self.remote)),
            None => request.push("To", &self.remote),
        }
        request.push("Call-ID", &self.call_id);
        request.push("CSeq", format!("{number} {method}"));
        request
    }

    /// Request-URI and Route. A first hop that does not know loose routing has the Request-URI, and the target is the last
    /// (section 12.2.1.1).
    fn way(&self) -> (String, Vec<String>) {
        let first = self.route.first().and_then(|first| NameAddress::parse(first));
        let is_strict = first
            .as_ref()
            .and_then(NameAddress::address)
            .is_some_and(|first| !first.parameters.has("lr"));
        match first.filter(|_| is_strict) {
            None => (self.target.clone(), self.route.clone()),
            Some(first) => {
                let mut route = self.route[1..].to_vec();
                route.push(format!("<{}>", self.target));
                (first.uri, route)
            }
        }
    }

    /// Where a request in the dialog goes. What an address says is followed where it says an address that can be reached; a
    /// peer that names a private address of its own, or a name, is answered where it came from.
    pub(super) fn next_hop(&self) -> Flow {
        if self.flow.transport.is_reliable() {
            return self.flow;
        }
        let first = self
            .route
            .first()
            .and_then(|first| NameAddress::parse(first))
            .map(|first| first.uri);
        let Some(uri) = Uri::parse(first.as_deref().unwrap_or(&self.target)) else {
            return self.flow;
        };
        // A device that is named is where its messages come from: the host is ours (RFC 5627).
        if first.is_none() && uri.parameters.has("gr") {
            return self.flow;
        }
        let is_udp = uri
            .parameters
            .value("transport")
            .is_none_or(|name| name.eq_ignore_ascii_case("udp"));
        let Some(Host::Ip(ip)) = uri.host.filter(|_| is_udp) else {
            return self.flow;
        };
        let ip = ip.to_canonical();
        let peer = SocketAddr::new(ip, uri.port.unwrap_or(Transport::Udp.default_port()));
        let came_from = self.flow.peer.ip().to_canonical();
        if ip == came_from && first.is_none() && is_behind_translator(&self.target, self.flow) {
            return self.flow;
        }
        if ip != came_from && (!is_global(ip) || is_global(came_from) != is_global(ip)) {
            return self.flow;
        }
        Flow::datagrams(peer)
    }

    /// Of a request that is made otherwise.
    pub(super) fn count_request(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    pub(super) fn invite_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Who we are in it, and who the peer is: as was said when it began, whatever is said later (section 12.2.2).
    pub(super) fn parties(&self) -> Option<(NameAddress, NameAddress)> {
        Some((NameAddress::parse(&self.local)?, NameAddress::parse(&self.remote)?))
    }
}

/// The same host says another port than it sends from.
fn is_behind_translator(target: &str, flow: Flow) -> bool {
    let port = Uri::parse(target)
        .and_then(|uri| uri.port)
        .unwrap_or(Transport::Udp.default_port());
    port != flow.peer.port()
}

/// Of one host, which anybody may reach.
fn is_global(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            // From 224 on they are of many hosts, or of none.
            let is_of_one = a != 0 && a < 224;
            is_of_one && !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared)
        }
        std::net::IpAddr::V6(ip) => {
            let is_local = ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local();
            !(is_local || ip.is_unspecified() || ip.is_multicast())
        }
    }
}

/// A PRACK for each provisional answer, and each as often as somebody may ask who we are.
const EARLY_REQUESTS: u32 = PROVISIONALS_MAX * (1 + DIGEST_TRIES_MAX);

fn without_tag(value: &str) -> String {
    let Some(address) = NameAddress::parse(value) else {
        return value.to_owned();
    };
    let name = if address.name.is_empty() {
        String::new()
    } else {
        crate::message::syntax::quote(&address.name) + " "
    };
    format!("{name}<{}>", address.uri)
}

/// The first Contact, as it becomes a Request-URI.
pub(super) fn contact_of(message: &Message) -> Option<String> {
    let contact = NameAddress::parse(message.items("Contact").next()?)?;
    contact.address().filter(|_| contact.uri.len() <= ADDRESS_BYTES_MAX)?;
    Some(without_headers(&contact.uri).to_owned())
}

/// A header that is a route, as it stands. None: it is longer than a route may be.
pub(super) fn hops(message: &Message, name: &str) -> Option<Vec<String>> {
    let hops: Vec<String> = message.items(name).map(str::to_owned).collect();
    let bytes: usize = hops.iter().map(String::len).sum();
    (hops.len() <= ROUTES_MAX && bytes <= ROUTE_BYTES_MAX).then_some(hops)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(contact: &str, routes: &[&str], from: &str) -> Dialog {
        let routes: String = routes
            .iter()
            .map(|route| format!("Record-Route: {route}\r\n"))
            .collect();
        let text = format!(
            "INVITE sip:1 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: \"A\" <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
             Call-ID: x\r\nCSeq: 7 INVITE\r\nContact: {contact}\r\n{routes}\r\n"
        );
        let request = Message::parse(text.as_bytes()).unwrap();
        Dialog::of_request(&request, "9".to_owned(), Flow::datagrams(from.parse().unwrap())).unwrap()
    }

    #[test]
    fn requests_follow_the_route_and_name_the_contact() {
        // Reports 4 and 6: as a callee in the order of the headers, as a caller backwards.
        let routes = ["<sip:192.0.2.7;lr>", "<sip:192.0.2.8:5080;lr>, <sip:p3;lr>"];
        let mut own = dialog("<sip:a@10.0.0.1:5066>", &routes, "192.0.2.7:5060");
        let bye = own.request(Method::Bye);
        assert_eq!(bye.uri(), "sip:a@10.0.0.1:5066");
        let found: Vec<&str> = bye.all("Route").collect();
        assert_eq!(found, ["<sip:192.0.2.7;lr>", "<sip:192.0.2.8:5080;lr>", "<sip:p3;lr>"]);
        assert_eq!(own.next_hop().peer.to_string(), "192.0.2.7:5060");
        assert_eq!(
            (bye.get("From"), bye.get("To")),
            (Some("<sip:c@d>;tag=9"), Some("\"A\" <sip:a@b>;tag=1"))
        );
        let strict = dialog(
            "<sip:a@192.0.2.1>",
            &["<sip:192.0.2.7:5070>", "<sip:p2;lr>"],
            "192.0.2.7:5060",
        )
        .request(Method::Bye);
        assert_eq!(strict.uri(), "sip:192.0.2.7:5070");
        assert_eq!(
            strict.all("Route").collect::<Vec<_>>(),
            ["<sip:p2;lr>", "<sip:a@192.0.2.1>"]
        );
    }

    #[test]
    fn a_route_that_is_too_long_is_none_and_a_contact_has_no_headers() {
        let with = |header: &str, contact: &str| {
            let text = format!(
                "INVITE sip:1 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
                 Call-ID: x\r\nCSeq: 7 INVITE\r\nContact: <{contact}>\r\nRecord-Route: {header}\r\n\r\n"
            );
            let request = Message::parse(text.as_bytes()).unwrap();
            Dialog::of_request(
                &request,
                "9".to_owned(),
                Flow::datagrams(SocketAddr::from(([192, 0, 2, 1], 5060))),
            )
        };
        let hop = "<sip:p;lr>,";
        assert!(with(&hop.repeat(ROUTES_MAX), "sip:a@b").is_some());
        assert!(with(&hop.repeat(ROUTES_MAX + 1), "sip:a@b").is_none());
        let long = format!("<sip:{};lr>", "p".repeat(ROUTE_BYTES_MAX));
        assert!(with(&long, "sip:a@b").is_none());
        let long = format!("sip:{}@b", "a".repeat(ADDRESS_BYTES_MAX));
        assert!(with(hop, &long).is_none());
        assert_eq!(with(hop, "sip:a@b?Route=%3Csip:evil%3E&X=y").unwrap().target, "sip:a@b");
    }

    #[test]
    fn who_names_an_address_that_cannot_be_reached_is_answered_where_it_came_from() {
        for (contact, from, hop) in [
            ("<sip:a@10.0.0.1:5066>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@phone.local>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@203.0.113.9:5066>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@203.0.113.8:5066>", "203.0.113.9:5060", "203.0.113.8:5066"),
            ("<sip:a@127.0.0.1:5066>", "127.0.0.1:5066", "127.0.0.1:5066"),
            // Neither to ourselves nor to many.
            ("<sip:a@127.0.0.1:5066>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@[::ffff:127.0.0.1]:66>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@0.1.2.3>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@224.0.1.75>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@255.255.255.255>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@[ff02::1]>", "203.0.113.9:4000", "203.0.113.9:4000"),
            ("<sip:a@[::ffff:203.0.113.8]>", "203.0.113.9:4000", "203.0.113.8:5060"),
        ] {
            assert_eq!(dialog(contact, &[], from).next_hop().peer.to_string(), hop, "{contact}");
        }
    }
}
