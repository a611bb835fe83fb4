//! From bytes to a message. What is wrong is told apart by whether it can be answered.

use crate::limits::{ADDRESS_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX};

use super::syntax::{NameAddress, Uri, Via, has_known_scheme, is_plain};
use super::{Message, Method, Start};

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no SIP, or one that cannot be answered: silence.
    #[error("no message of SIP")]
    Garbage,
    /// More headers or bytes than are taken.
    #[error("too large")]
    TooLarge,
    /// A header that must be there once is not, or is there twice, or says nothing that can be understood.
    #[error("{0} is missing, repeated or not understood")]
    Header(&'static str),
    /// `CSeq` names another method.
    #[error("CSeq is of another method")]
    OtherMethod,
    /// The body is shorter than the headers say.
    #[error("the body is cut off")]
    CutOff,
    /// Another version of SIP.
    #[error("another version of SIP")]
    Version,
    /// What is asked is an address of a scheme that is not known.
    #[error("the scheme of the address is not supported")]
    Scheme,
    /// What is asked is an address of more than [`ADDRESS_BYTES_MAX`].
    #[error("the address is too long")]
    TooLong,
}

/// A message that is not taken.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub fault: Fault,
    /// What there is to answer, and with which status. None: silence.
    pub answer: Option<(u16, Box<Message>)>,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { fault, answer: None }
    }
}

impl Message {
    /// One message of a datagram, or a whole one of a stream.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Fault::TooLarge.into());
        }
        let (head, body) = split_head(bytes).ok_or(Fault::Garbage)?;
        let head = std::str::from_utf8(head).map_err(|_| Fault::Garbage)?;
        // Some take a return alone for the end of a line (section 7), so what is repeated would be another message to them.
        if head.split('\n').any(|line| line.trim_end_matches('\r').contains('\r')) {
            return Err(Fault::Garbage.into());
        }
        let (start, rest) = head.split_once('\n').unwrap_or((head, ""));
        let (start, is_version) = start_of(start.trim_end_matches('\r')).ok_or(Fault::Garbage)?;
        let mut message = Self::of(start);
        let is_whole = take_headers(&mut message, rest);
        // Without a hop there is nowhere to answer. One of another version is not understood, and not needed.
        if message.via().is_none() && (is_version || message.get("Via").is_none()) {
            return Err(Fault::Garbage.into());
        }
        let fault = check(&message, is_version, is_whole);
        let fault = fault.or_else(|| take_body(&mut message, body).err());
        match fault {
            None => Ok(message),
            Some(fault) => Err(refusal(message, fault)),
        }
    }
}

fn refusal(message: Message, fault: Fault) -> Refused {
    let status = match fault {
        Fault::Version => 505,
        Fault::Scheme => 416,
        Fault::TooLarge => 513,
        Fault::TooLong => 414,
        Fault::Garbage | Fault::Header(_) | Fault::OtherMethod | Fault::CutOff => 400,
    };
    let is_answered = message.method().is_some_and(|method| *method != Method::Ack);
    Refused {
        fault,
        answer: is_answered.then(|| (status, Box::new(message))),
    }
}

/// Headers, and what is behind the empty line.
pub(super) fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let next = at + end + 1;
        match &bytes[next..] {
            [b'\r', b'\n', body @ ..] | [b'\n', body @ ..] => return Some((&bytes[..next], body)),
            _ => at = next,
        }
    }
    None
}

/// The first line, and whether its version is ours.
fn start_of(line: &str) -> Option<(Start, bool)> {
    if let Some(rest) = line.strip_prefix("SIP/") {
        let (version, rest) = rest.split_once(' ')?;
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_number = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        let status = status
            .parse()
            .ok()
            .filter(|status| is_number && (100..700).contains(status))?;
        let reason = reason.trim().to_owned();
        return Some((Start::Response { status, reason }, version == "2.0"));
    }
    let (method, rest) = line.split_once(' ')?;
    let (uri, version) = rest.trim_end().rsplit_once(' ')?;
    let is_version = version == "SIP/2.0";
    if !is_version && !version.starts_with("SIP/") {
        return None;
    }
    let method = Method::parse(method)?;
    let uri = uri.to_owned();
    Some((Start::Request { method, uri }, is_version))
}

/// False: there are more, or larger ones, than are taken.
fn take_headers(message: &mut Message, text: &str) -> bool {
    for line in text.split('\n') {
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            break;
        }
        // Folded (section 7.3.1).
        if line.starts_with([' ', '\t']) {
            let more = line.trim();
            if let Some((_, value)) = message.headers.last_mut().filter(|_| !more.is_empty()) {
                if value.len() + 1 + more.len() > HEADER_BYTES_MAX {
                    return false;
                }
                if !value.is_empty() {
                    value.push(' ');
                }
                value.push_str(more);
            }
            continue;
        }
        // A line without a colon says nothing.
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        if message.headers.len() >= HEADERS_MAX || value.len() > HEADER_BYTES_MAX {
            return false;
        }
        let name = long_name(name.trim());
        message.headers.push((name.into(), value.to_owned()));
    }
    true
}

/// Names that are sent often, as they are written here (sections 7.3.3 and 20).
fn long_name(name: &str) -> &str {
    let long = match name.as_bytes() {
        [letter] => match letter.to_ascii_lowercase() {
            b'a' => "Accept-Contact",
            b'b' => "Referred-By",
            b'c' => "Content-Type",
            b'e' => "Content-Encoding",
            b'f' => "From",
            b'i' => "Call-ID",
            b'k' => "Supported",
            b'l' => "Content-Length",
            b'm' => "Contact",
            b'o' => "Event",
            b'r' => "Refer-To",
            b's' => "Subject",
            b't' => "To",
            b'u' => "Allow-Events",
            b'v' => "Via",
            b'x' => "Session-Expires",
            _ => name,
        },
        _ => name,
    };
    let plain = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route", "Content-Length"];
    plain
        .into_iter()
        .find(|plain| plain.eq_ignore_ascii_case(long))
        .unwrap_or(long)
}

fn check(message: &Message, is_version: bool, is_whole: bool) -> Option<Fault> {
    if !is_version {
        return Some(Fault::Version);
    }
    if !is_whole {
        return Some(Fault::TooLarge);
    }
    for name in ["From", "To", "Call-ID", "CSeq"] {
        let mut all = message.all(name);
        if all.next().is_none_or(str::is_empty) || all.next().is_some() {
            return Some(Fault::Header(name));
        }
    }
    if message.all("Content-Length").count() > 1 {
        return Some(Fault::Header("Content-Length"));
    }
    if message
        .all("Via")
        .flat_map(super::syntax::list)
        .any(|via| Via::parse(via).is_none())
    {
        return Some(Fault::Header("Via"));
    }
    let Some((_, method)) = message.cseq() else {
        return Some(Fault::Header("CSeq"));
    };
    if !is_name(message.call_id()) {
        return Some(Fault::Header("Call-ID"));
    }
    if !is_party(message.from()) {
        return Some(Fault::Header("From"));
    }
    if !is_party(message.to()) {
        return Some(Fault::Header("To"));
    }
    let Start::Request { method: own, uri } = &message.start else {
        return None;
    };
    if *own != method {
        return Some(Fault::OtherMethod);
    }
    check_asked(uri)
}

/// The Request-URI: what is malformed is told from what is not known (RFC 4475, 3.3.2, and RFC 5118, 4.2).
fn check_asked(uri: &str) -> Option<Fault> {
    if uri.len() > ADDRESS_BYTES_MAX {
        return Some(Fault::TooLong);
    }
    let is_bad = |sign: char| sign.is_control() || sign.is_whitespace() || matches!(sign, '<' | '>' | '"');
    if uri.contains(is_bad) {
        return Some(Fault::Header("Request-URI"));
    }
    match Uri::parse(uri) {
        Some(_) => None,
        None if has_known_scheme(uri) => Some(Fault::Header("Request-URI")),
        None => Some(Fault::Scheme),
    }
}

/// Calls and tags are names in our tables, and go into requests of ours, Replaces among them.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && is_plain(name)
}

/// Whom it is from and to may be an address of any scheme (RFC 4475, 3.1.2.11 and 3.3.1).
fn is_party(party: Option<NameAddress>) -> bool {
    party.is_some_and(|party| party.uri.contains(':') && party.parameters.value("tag").is_none_or(is_name))
}

/// Without a length the body goes to the end of the datagram (section 18.3).
fn take_body(message: &mut Message, body: &[u8]) -> Result<(), Fault> {
    let length = match message.get("Content-Length") {
        None => body.len(),
        Some(length) => {
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = is_number.then(|| length.parse::<usize>().ok()).flatten();
            length.ok_or(Fault::Header("Content-Length"))?
        }
    };
    let body = body.get(..length).ok_or(Fault::CutOff)?;
    message.body = body.to_vec();
    message.remove("Content-Length");
    Ok(())
}
