//! Which messages are of one transaction (RFC 3261, sections 17.1.3 and 17.2.3).
//!
//! Of requests the address that they come from is part of it: who has seen a branch, or guesses it, ends nobody's call by a
//! CANCEL or an ACK from elsewhere, and has nothing sent again to others.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::message::syntax::Via;
use crate::message::{Message, Method};

/// Of a request that comes. An ACK has its INVITE's.
pub(super) fn of_request(request: &Message, from: IpAddr) -> Option<Box<str>> {
    let method = match request.method()? {
        Method::Ack => &Method::Invite,
        method => method,
    };
    of(request, method, from)
}

/// Of the INVITE that a CANCEL is about.
pub(super) fn of_cancelled(cancel: &Message, from: IpAddr) -> Option<Box<str>> {
    of(cancel, &Method::Invite, from)
}

fn of(request: &Message, method: &Method, from: IpAddr) -> Option<Box<str>> {
    let via = request.via()?;
    let from = from.to_canonical();
    let mut key = String::with_capacity(96);
    match cookie_of(&via) {
        // Writing into a String does not fail.
        Some(branch) => {
            let port = via.port.unwrap_or(0);
            let _ = write!(key, "{from} {branch} {} {port} {method}", via.host);
        }
        // Of RFC 2543, whose branches say nothing.
        None => {
            let (number, _) = request.cseq()?;
            let tag = request.from_tag().unwrap_or_default();
            let (call, uri) = (request.call_id(), request.uri());
            let _ = write!(key, "{from} - {} {call} {tag} {number} {uri} {method}", via.host);
        }
    }
    Some(key.into())
}

/// Of a request that goes out.
pub(super) fn of_client(request: &Message) -> Option<Box<str>> {
    let branch = request.via()?.parameters.value("branch")?.to_owned();
    Some(format!("{branch} {}", request.method()?).into())
}

/// Of an answer to one.
pub(super) fn of_response(response: &Message) -> Option<Box<str>> {
    let branch = response.via()?.parameters.value("branch")?.to_owned();
    Some(format!("{branch} {}", response.cseq()?.1).into())
}

fn cookie_of(via: &Via) -> Option<&str> {
    let branch = via.parameters.value("branch")?;
    let cookie = branch.get(..7)?;
    (cookie.eq_ignore_ascii_case("z9hG4bK") && branch.len() > 7).then_some(branch)
}
