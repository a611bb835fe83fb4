//! One message, as a datagram: what is read, printed and read again is the same, and a refusal is an answer.

use super::Outcome;
use crate::limits::{HEADERS_MAX, MESSAGE_BYTES_MAX, STREAM_HEAD_BYTES_MAX};
use crate::message::syntax::{Scheme, Uri};
use crate::message::{Framed, Framer, Message};

/// Reads a message.
///
/// # Errors
/// What does not hold.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let message = match Message::parse(input) {
        Ok(message) => message,
        Err(refused) => {
            if let Some((status, request)) = refused.answer {
                check_refusal(input, status, &request)?;
            }
            return Ok(Outcome::Rejected);
        }
    };
    check_again(&message)?;
    look_at(&message)?;
    Ok(Outcome::Accepted)
}

/// Messages of each kind.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seeds = SEEDS.iter();
    seeds
        .map(|(name, text)| ((*name).to_owned(), text.replace('\n', "\r\n").into_bytes()))
        .collect()
}

/// Not much longer than what it answers, and without what it was refused for having two of.
fn check_refusal(input: &[u8], status: u16, request: &Message) -> Result<(), String> {
    if !(400..600).contains(&status) {
        return Err(format!("a refusal by {status}"));
    }
    let answer = Message::response(request, status, "No");
    let length = answer.to_bytes().len();
    // Short names of headers become long.
    if length > 2 * input.len() + 200 {
        return Err(format!("{} bytes are answered by {length}", input.len()));
    }
    let is_single = |name: &str| answer.all(name).count() <= 1;
    if !["From", "To", "Call-ID", "CSeq"].into_iter().all(is_single) {
        return Err("an answer that has two of a header".to_owned());
    }
    Ok(())
}

fn check_again(message: &Message) -> Result<(), String> {
    let bytes = message.to_bytes();
    let head = bytes.len() - message.body.len();
    // What was at the limit is beyond it, with its length and long names.
    let lines = bytes[..head].iter().filter(|byte| **byte == b'\n').count();
    if bytes.len() > MESSAGE_BYTES_MAX || lines > HEADERS_MAX {
        return Ok(());
    }
    match Message::parse(&bytes) {
        Ok(again) if again == *message => {}
        Ok(again) => return Err(format!("{message:?} comes back as {again:?}")),
        Err(refused) => return Err(format!("{message:?} is not read again: {}", refused.fault)),
    }
    let mut framer = Framer::default();
    framer.push(&bytes);
    match framer.poll() {
        Ok(Some(Framed::Message(framed))) if framed == bytes => Ok(()),
        Err(_) if head > STREAM_HEAD_BYTES_MAX => Ok(()),
        other => Err(format!("{message:?} comes out of a stream as {other:?}")),
    }
}

/// Everything that is asked of a message.
fn look_at(message: &Message) -> Result<(), String> {
    let via = message.via();
    if via.is_none() || message.cseq().is_none() || message.call_id().is_empty() {
        return Err(format!("{message:?} was taken without what it needs"));
    }
    for name in [
        "Contact",
        "Route",
        "Record-Route",
        "Path",
        "Require",
        "Supported",
        "Reason",
    ] {
        let _ = message.items(name).count();
    }
    for name in ["Expires", "Session-Expires", "RSeq", "Min-SE"] {
        let _ = message.number(name);
    }
    let parties = [message.from(), message.to()];
    for address in parties.iter().flatten().filter_map(|party| party.address()) {
        check_address(&address)?;
    }
    match Uri::parse(message.uri()) {
        Some(address) => check_address(&address),
        None if message.status() > 0 => Ok(()),
        None => Err(format!("{message:?} asks nobody")),
    }
}

/// What is written is read as the same, but for parameters, whose quotes are gone.
fn check_address(address: &Uri) -> Result<(), String> {
    if address.scheme == Scheme::Tel {
        return Ok(());
    }
    let plain = Uri {
        parameters: crate::message::syntax::Parameters::default(),
        headers: Vec::new(),
        ..address.clone()
    };
    let text = plain.to_string();
    if Uri::parse(&text).as_ref() == Some(&plain) {
        Ok(())
    } else {
        Err(format!("{plain:?} is written {text}"))
    }
}

const SEEDS: [(&str, &str); 6] = [
    (
        "invite",
        "INVITE sip:1002@192.0.2.1;transport=tcp SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport\n\
         Via: SIP/2.0/TCP a.example;branch=z9hG4bK0, SIP/2.0/TLS [2001:db8::1]\nFrom: \"Al, \\\"x\" <sip:1001@a.example>;tag=8\n\
         To: <sip:1002@a.example>\nCall-ID: 7@a.example\nCSeq: 3 INVITE\nContact: <sip:1001@192.0.2.9:5062;ob>;q=0.5\n\
         Record-Route: <sip:p1;lr>,<sip:p2>\nRequire: 100rel\nSession-Expires: 1800;refresher=uac\n\
         Content-Type: application/sdp\nContent-Length: 3\n\nv=0",
    ),
    (
        "short",
        "OPTIONS sip:a SIP/2.0\nv:SIP/2.0/UDP a\nf:<sip:a@b>;tag=1\nt:sip:c@d;x\ni:1\nCSeq:1 OPTIONS\nl:0\n\n",
    ),
    (
        "folded",
        "REGISTER sips:%2B49%00@[::1]:5061 SIP/2.0\nVia : SIP / 2.0 / UDP\n a ;branch\n = z9hG4bKx\nFrom:\n <sip:a@b>\n ;tag = 1\n\
         To: <sip:a@b>\nCall-ID: 1\nCSeq: 0009\n  REGISTER\nContact: *\nExpires: 0\n\n",
    ),
    (
        "ringing",
        "SIP/2.0 180 Ringing, \u{e4}\nVia: SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1;rport=5060\nFrom: <tel:+1-2>;tag=1\n\
         To: <sip:c@d>;tag=2\nCall-ID: x\nCSeq: 1 INVITE\nRSeq: 1\nRequire: 100rel\nContent-Length: 0\n\n",
    ),
    (
        "refer",
        "REFER sip:a@b SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:c@d>;tag=2\nCall-ID: x\n\
         CSeq: 2 REFER\nRefer-To: <sip:b@c?Replaces=1%40x%3Bto-tag%3D2%3Bfrom-tag%3D3>\n\n",
    ),
    (
        "other-method",
        "!-_*`. sip:a@b?X=y SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\nFrom: <http://x>;tag=1\nTo: <isbn:1>\nCall-ID: (\"\n\
         CSeq: 2 !-_*`.\nAuthorization: Digest username=\"a\", realm=\"b\"\n\n",
    ),
];
