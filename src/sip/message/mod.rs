//! Messages of SIP, as text (RFC 3261, section 7): read liberally, kept as they came, written exactly.
//!
//! A header's value is kept as it stands, so that what is to be repeated (Via, From, To, Record-Route) is repeated byte by
//! byte. What a value means is asked for where it is needed: [`syntax`].

mod framing;
mod method;
mod multipart;
mod parse;
pub mod syntax;

use std::fmt::Write as _;

pub use framing::{Framed, Framer, FramingError};
pub use method::Method;
pub use parse::{Fault, Refused};

use syntax::{NameAddress, Via};

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Somebody wants something.
    Request {
        /// What.
        method: Method,
        /// Of whom.
        uri: String,
    },
    /// An answer.
    Response {
        /// 100 to 699.
        status: u16,
        /// For people.
        reason: String,
    },
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: Start,
    headers: Vec<(Box<str>, String)>,
    /// What is behind the headers.
    pub body: Vec<u8>,
}

impl Message {
    /// A request without headers.
    pub fn request(method: Method, uri: &str) -> Self {
        let uri = clean(uri);
        Self::of(Start::Request { method, uri })
    }

    /// A response to a request (section 8.2.6.2), without a tag of ours.
    pub fn response(request: &Self, status: u16, reason: &str) -> Self {
        let reason = clean(reason);
        let mut response = Self::of(Start::Response { status, reason });
        for (name, value) in &request.headers {
            let is_repeated = match &**name {
                "Via" => true,
                // Of a request that is refused for having two there is one.
                "From" | "To" | "Call-ID" | "CSeq" => response.get(name).is_none(),
                // For a response that makes a dialog (section 12.1.1).
                "Record-Route" => status > 100 && status < 300,
                _ => false,
            };
            if is_repeated {
                response.headers.push((name.clone(), value.clone()));
            }
        }
        response
    }

    fn of(start: Start) -> Self {
        Self {
            start,
            headers: Vec::with_capacity(12),
            body: Vec::new(),
        }
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    /// Every value of a header, line by line.
    pub fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        let found = self
            .headers
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Every item of a header that is a list, over all its lines.
    pub fn items<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name)
            .flat_map(syntax::list)
            .take(crate::limits::LIST_ITEMS_MAX)
    }

    /// Every line, in its order.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// Has a list of tokens (`Supported`, `Require`) this one?
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.items(name).any(|item| item.eq_ignore_ascii_case(token))
    }

    /// Adds a line at the end. Line breaks in the value become spaces, so that nobody's text becomes a header.
    pub fn push(&mut self, name: &str, value: impl AsRef<str>) {
        self.headers.push((name.into(), clean(value.as_ref())));
    }

    /// Adds a line at the beginning.
    pub fn push_front(&mut self, name: &str, value: impl AsRef<str>) {
        self.headers.insert(0, (name.into(), clean(value.as_ref())));
    }

    /// One line instead of all of that name.
    pub fn set(&mut self, name: &str, value: impl AsRef<str>) {
        let value = clean(value.as_ref());
        let first = self.headers.iter().position(|(own, _)| own.eq_ignore_ascii_case(name));
        match first {
            Some(first) => {
                self.headers[first].1 = value;
                let mut seen = false;
                self.headers.retain(|(own, _)| {
                    let is_same = own.eq_ignore_ascii_case(name);
                    let is_kept = !is_same || !seen;
                    seen |= is_same;
                    is_kept
                });
            }
            None => self.headers.push((name.into(), value)),
        }
    }

    /// Adds to the first line of that name, if there is one. What is there stays as it came.
    pub fn append(&mut self, name: &str, more: &str) {
        let found = self.headers.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(name));
        if let Some((_, value)) = found {
            value.push_str(&clean(more));
        }
    }

    /// Takes every line of that name out.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
    }

    /// A body, and what it is.
    pub fn set_body(&mut self, kind: &str, body: impl Into<Vec<u8>>) {
        self.body = body.into();
        self.set("Content-Type", kind);
    }

    /// The body, if it is of that kind and not empty, or the first part of it that is. Parameters of the kind are not looked at.
    pub fn body_of(&self, kind: &str) -> Option<&[u8]> {
        let whole = self.get("Content-Type").unwrap_or_default();
        let own = whole.split(';').next().unwrap_or_default().trim();
        let is_kind = own.eq_ignore_ascii_case(kind) && !self.body.is_empty();
        let body = is_kind.then_some(&self.body[..]);
        body.or_else(|| multipart::part(whole, &self.body, kind))
    }

    /// What is wanted. None: it is a response.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// Of whom it is wanted. Empty: it is a response.
    pub fn uri(&self) -> &str {
        match &self.start {
            Start::Request { uri, .. } => uri,
            Start::Response { .. } => "",
        }
    }

    /// Of somebody else from now on. A response is of nobody.
    pub fn set_uri(&mut self, to: &str) {
        if let Start::Request { uri, .. } = &mut self.start {
            *uri = clean(to);
        }
    }

    /// The status of a response, 0 of a request.
    pub fn status(&self) -> u16 {
        match &self.start {
            Start::Response { status, .. } => *status,
            Start::Request { .. } => 0,
        }
    }

    /// The topmost hop.
    pub fn via(&self) -> Option<Via> {
        Via::parse(self.items("Via").next()?)
    }

    /// Number and method of `CSeq`.
    pub fn cseq(&self) -> Option<(u32, Method)> {
        let (number, method) = self.get("CSeq")?.split_once(|sign: char| sign.is_ascii_whitespace())?;
        // Below 2^31 (section 8.1.1.5).
        let number = syntax::number::<u32>(number).filter(|number| *number < 1 << 31)?;
        Some((number, Method::parse(method.trim())?))
    }

    /// The call's name. Empty: there is none.
    pub fn call_id(&self) -> &str {
        self.get("Call-ID").unwrap_or_default()
    }

    /// Who asks.
    pub fn from(&self) -> Option<NameAddress> {
        NameAddress::parse(self.get("From")?)
    }

    /// Who is asked.
    pub fn to(&self) -> Option<NameAddress> {
        NameAddress::parse(self.get("To")?)
    }

    /// The tag of `From`.
    pub fn from_tag(&self) -> Option<String> {
        self.from()?.parameters.value("tag").map(str::to_owned)
    }

    /// The tag of `To`.
    pub fn to_tag(&self) -> Option<String> {
        self.to()?.parameters.value("tag").map(str::to_owned)
    }

    /// A number in a header's first value.
    pub fn number(&self, name: &str) -> Option<u32> {
        let value = self.get(name)?.split(';').next()?.trim();
        let digits = value.bytes().take_while(u8::is_ascii_digit).count();
        value[..digits].parse().ok()
    }

    /// As it goes out, with its length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(640 + self.body.len());
        // Writing into a String does not fail.
        let _ = match &self.start {
            Start::Request { method, uri } => write!(text, "{method} {uri} SIP/2.0\r\n"),
            Start::Response { status, reason } => write!(text, "SIP/2.0 {status} {reason}\r\n"),
        };
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n", self.body.len());
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Without line breaks and other control characters.
fn clean(value: &str) -> String {
    let is_bad = |sign: char| sign.is_control() && sign != '\t';
    if value.contains(is_bad) {
        value.replace(is_bad, " ").trim().to_owned()
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests;
